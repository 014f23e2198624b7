import math

import torch
from torch import nn
from torch.nn import functional as F

from course_lib.checks import gan as check
from wrong_answers import equivalent, right, wrong

# --- 1


@right(check.ring_score)
def _(x, centres, radius, least):
    d, nearest = torch.cdist(x, centres).min(dim=1)
    return (torch.bincount(nearest[d <= radius], minlength=len(centres)) >= least).sum(), (d <= radius).float().mean()


@right(check.ring_score)
def _(x, centres, radius, least):
    nearest = [min((math.dist(p, c), k) for k, c in enumerate(centres.tolist())) for p in x.tolist()]
    good = [k for d, k in nearest if d <= radius]
    return sum(good.count(k) >= least for k in range(len(centres))), len(good) / len(x)


equivalent(check.ring_score, "d <= radius -> d < radius", "no sample lies on the very edge")
equivalent(check.ring_score, "share(near & mine, near, modes) -> share(near, near & mine, modes)", "near any, near one")


# --- 2


@wrong(check.losses, "right for moderate logits")
def _(real_logits, fake_logits, target):
    D_real, D_fake = torch.sigmoid(real_logits), torch.sigmoid(fake_logits)
    d = -(target * D_real.log() + (1 - target) * (1 - D_real).log()).mean() - (1 - D_fake).log().mean()
    return d, -D_fake.log().mean()


@right(check.losses)
def _(real_logits, fake_logits, target):
    real = target * F.softplus(-real_logits) + (1 - target) * F.softplus(real_logits)
    return real.mean() + F.softplus(fake_logits).mean(), F.softplus(-fake_logits).mean()


@right(check.losses)
def _(real_logits, fake_logits, target):
    bce = nn.BCEWithLogitsLoss()
    d = bce(real_logits, torch.full_like(real_logits, target)) + bce(fake_logits, torch.zeros_like(fake_logits))
    return [d, bce(fake_logits, torch.ones_like(fake_logits))]


REAL, FAKE = "mean(nll(real_logits, real))", "mean(nll(fake_logits, fake))"
equivalent(check.losses, " -> ".join(f"put({a}, {b}, mean(nll(fake_logits, asked)), target)"
                                     for a, b in ((REAL, FAKE), (FAKE, REAL))), "a sum")

# --- 3


@right(check.squared_slope)
def _(discriminator, x):
    x.requires_grad_()
    logits = discriminator(x)
    g, = torch.autograd.grad(logits, x, grad_outputs=torch.ones_like(logits), create_graph=True)
    return g.reshape(len(x), -1).norm(dim=1) ** 2


@right(check.squared_slope)
def _(discriminator, x):
    out = []
    for one in x.split(1):
        one = one.clone().requires_grad_()
        g, = torch.autograd.grad(discriminator(one).squeeze(), one, create_graph=True)
        out.append((g * g).sum())
    return torch.stack(out)


equivalent(check.squared_slope, "x.detach() -> x", "x asks for no gradient of its own")
equivalent(check.squared_slope, "g.square().flatten(1) -> g.flatten(1).square()", "number by number")


# --- 4


@right(check.train_step)
def _(generator, discriminator, g_opt, d_opt, real, z):
    g_opt.zero_grad()
    fake = generator(z)
    g_loss = F.softplus(-discriminator(fake)).mean()
    g_loss.backward()
    g_opt.step()
    d_opt.zero_grad()
    d_loss = F.softplus(-discriminator(real)).mean() + F.softplus(discriminator(fake.detach())).mean()
    d_loss.backward()
    d_opt.step()
    return d_loss.item(), g_loss.item()


@right(check.train_step)
def _(generator, discriminator, g_opt, d_opt, real, z):           # the discriminator first
    bce, labels = F.binary_cross_entropy_with_logits, torch.ones(len(z), 1)
    d_loss = bce(discriminator(real), labels) + bce(discriminator(generator(z).detach()), 0 * labels)
    d_opt.zero_grad()
    d_loss.backward()
    d_opt.step()
    g_loss = bce(discriminator(generator(z)), labels)
    g_opt.zero_grad()
    g_loss.backward()
    g_opt.step()
    return d_loss, g_loss


for value in "dg":
    equivalent(check.train_step, f"{value}.detach() -> {value}", "only its value is compared")

# --- 5

SHARES = torch.tensor([0.4, 0.2, 0.2, 0.1, 0.1, 0.0, 0.0, 0.0])

wrong(check.divergence, "too small", SHARES)(0.11)
wrong(check.divergence, "too large", SHARES)(0.21)
right(check.divergence, SHARES)(torch.tensor(0.177, requires_grad=True))
right(check.divergence, SHARES)(0.183)
