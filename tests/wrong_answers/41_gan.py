import math

import torch
from torch import nn
from torch.nn import functional as F

from course_lib.checks import gan as check
from wrong_answers import right, wrong

# --- 1


@right(check.ring_score)
def _(x, centres, radius, least):
    d, nearest = torch.cdist(x, centres).min(dim=1)
    return (torch.bincount(nearest[d <= radius], minlength=len(centres)) >= least).sum(), (d <= radius).float().mean()


@right(check.ring_score)
def _(x, centres, radius, least):
    counts, good = [0] * len(centres), 0
    for point in x.tolist():
        distances = [math.dist(point, centre) for centre in centres.tolist()]
        if min(distances) <= radius:
            good += 1
            counts[distances.index(min(distances))] += 1
    return sum(c >= least for c in counts), good / len(x)


# --- 2


@wrong(check.losses, "right for moderate logits")
def _(real_logits, fake_logits, target):
    D_real, D_fake = torch.sigmoid(real_logits), torch.sigmoid(fake_logits)
    d = -(target * D_real.log() + (1 - target) * (1 - D_real).log()).mean() - (1 - D_fake).log().mean()
    return d, -D_fake.log().mean()


@wrong(check.losses, "cannot be differentiated")
def _(real_logits, fake_logits, target):
    real = target * F.softplus(-real_logits) + (1 - target) * F.softplus(real_logits)
    return (real.mean() + F.softplus(fake_logits).mean()).item(), F.softplus(-fake_logits).mean().item()


@right(check.losses)
def _(real_logits, fake_logits, target):
    real = target * F.softplus(-real_logits) + (1 - target) * F.softplus(real_logits)
    return real.mean() + F.softplus(fake_logits).mean(), F.softplus(-fake_logits).mean()


@right(check.losses)
def _(real_logits, fake_logits, target):
    bce = nn.BCEWithLogitsLoss()
    d = bce(real_logits, torch.full_like(real_logits, target)) + bce(fake_logits, torch.zeros_like(fake_logits))
    return [d, bce(fake_logits, torch.ones_like(fake_logits))]


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


# --- 4: each as a learner edits the step

BROKEN = """g_opt.zero_grad()
d_opt.zero_grad()
fake = generator(z)
g_loss = softplus(-discriminator(fake)).mean()
g_loss.backward()
g_opt.step()
d_loss = softplus(-discriminator(real)).mean() + softplus(discriminator(fake.detach())).mean()
d_loss.backward()
d_opt.step()
return d_loss.item(), g_loss.item()"""


def step(*changes, broken=False):
    """The code of the exercise with these changes, (old, new), after the bug is repaired or not."""
    code = BROKEN if broken else BROKEN.replace("g_opt.step()", "g_opt.step()\nd_opt.zero_grad()")
    for old, new in changes:
        assert old in code
        code = code.replace(old, new)
    names = {"torch": torch, "softplus": F.softplus}
    exec("\n    ".join(["def train_step(generator, discriminator, g_opt, d_opt, real, z):", *code.splitlines()]), names)
    return names["train_step"]


wrong(check.train_step, "draws random numbers of its own")(step(("fake.detach()", "generator(torch.randn_like(z))")))

right(check.train_step)(step())
right(check.train_step)(step(("d_loss.backward()", "d_opt.zero_grad()\nd_loss.backward()"), broken=True))


# --- 5

SHARES = torch.tensor([0.4, 0.2, 0.2, 0.1, 0.1, 0.0, 0.0, 0.0])

wrong(check.divergence, "too small", SHARES)(0.11)
wrong(check.divergence, "too large", SHARES)(0.21)
right(check.divergence, SHARES)(torch.tensor(0.177, requires_grad=True))
right(check.divergence, SHARES)(0.183)
