import math
import warnings

import torch
from torch import nn
from torch.nn import functional as F

from course_lib.checks import gan as check
from wrong_answers import right, wrong

# --- 1


@wrong(check.ring_score, "compare the squared distance with the radius")
def _(x, centres, radius, least):
    d, nearest = (x[:, None] - centres).square().sum(2).min(1)
    good = d <= radius
    return (nearest[good].bincount() >= least).sum(), good.float().mean()


@wrong(check.ring_score, "a square and no circle")
def _(x, centres, radius, least):
    good = ((x[:, None] - centres).abs() <= radius).all(2)
    first = good & (torch.cdist(x, centres) == torch.cdist(x, centres).amin(1, keepdim=True))
    return (first.sum(0) >= least).sum(), good.any(1).float().mean()


@wrong(check.ring_score, "added up the absolute differences")
def _(x, centres, radius, least):
    d, nearest = torch.cdist(x, centres, p=1).min(1)
    return (nearest[d <= radius].bincount() >= least).sum(), (d <= radius).float().mean()


@wrong(check.ring_score, "a single good sample counts as found")
def _(x, centres, radius, least):
    d, nearest = torch.cdist(x, centres).min(1)
    return len(nearest[d <= radius].unique()), (d <= radius).float().mean()


@wrong(check.ring_score, "at least means >=")
def _(x, centres, radius, least):
    d, nearest = torch.cdist(x, centres).min(1)
    return (nearest[d <= radius].bincount() > least).sum(), (d <= radius).float().mean()


@wrong(check.ring_score, "a sample in both counts twice, for the modes and for the share")
def _(x, centres, radius, least):
    near = torch.cdist(x, centres) <= radius
    count = near.sum(0)
    return (count >= least).sum(), count.sum() / len(x)


@wrong(check.ring_score, "a sample in both counts for two modes")
def _(x, centres, radius, least):
    near = torch.cdist(x, centres) < radius
    return int((near.sum(0) >= least).sum()), near.any(1).float().mean().item()


@wrong(check.ring_score, "a sample in both counts twice in the share")
def _(x, centres, radius, least):
    distance = torch.cdist(x, centres)
    counts = [((distance.argmin(1) == k) & (distance[:, k] <= radius)).sum() for k in range(len(centres))]
    return sum(c >= least for c in counts), (distance <= radius).sum() / len(x)


@wrong(check.ring_score, "how many samples are good")
def _(x, centres, radius, least):
    d, nearest = torch.cdist(x, centres).min(1)
    good = d <= radius
    return (nearest[good].bincount() >= least).sum(), good.sum()


@wrong(check.ring_score, "divided by the number of centres")
def _(x, centres, radius, least):
    d, nearest = torch.cdist(x, centres).min(1)
    good = d <= radius
    return (nearest[good].bincount() >= least).sum(), good.sum() / len(centres)


@wrong(check.ring_score, "the mean over all N x K pairs")
def _(x, centres, radius, least):
    good = torch.cdist(x, centres) <= radius
    return (good.sum(0) >= least).sum(), good.float().mean()


@wrong(check.ring_score, "the sample that is nearest to each centre")
def _(x, centres, radius, least):
    d, who = torch.cdist(x, centres).min(0)
    return (who[d <= radius].bincount() >= least).sum(), (d <= radius).float().mean()


@wrong(check.ring_score, "right values in the wrong order")
def _(x, centres, radius, least):
    d, nearest = torch.cdist(x, centres).min(1)
    good = d <= radius
    return good.float().mean(), (nearest[good].bincount() >= least).sum()


@wrong(check.ring_score, "the sample that is nearest to each centre")
def _(x, centres, radius, least):
    d, nearest = torch.cdist(x, centres).min(0)
    return (d <= radius).sum(), (d <= radius).float().mean()


@wrong(check.ring_score, "is a percentage")
def _(x, centres, radius, least):
    d, nearest = torch.cdist(x, centres).min(1)
    good = d <= radius
    return (nearest[good].bincount() >= least).sum(), 100 * good.float().mean()


@wrong(check.ring_score, "share of the modes that are found")
def _(x, centres, radius, least):
    d, nearest = torch.cdist(x, centres).min(1)
    found = (nearest[d <= radius].bincount() >= least).sum()
    return found, found / len(centres)


@wrong(check.ring_score, "leaves out good samples of modes")
def _(x, centres, radius, least):
    d, nearest = torch.cdist(x, centres).min(1)
    count = nearest[d <= radius].bincount()
    return (count >= least).sum(), count[count >= least].sum() / len(x)


@wrong(check.ring_score, "samples that are *not* good")
def _(x, centres, radius, least):
    d, nearest = torch.cdist(x, centres).min(1)
    return (nearest[d <= radius].bincount() >= least).sum(), (d > radius).float().mean()


@wrong(check.ring_score, "added up the wrong axis")
def _(x, centres, radius, least):
    near = torch.cdist(x, centres) <= radius
    return (near.sum(1) >= least).sum(), near.any(1).float().mean()


@wrong(check.ring_score, "every sample that is nearest to it, however far")
def _(x, centres, radius, least):
    d, nearest = torch.cdist(x, centres).min(1)
    return (nearest.bincount() >= least).sum(), (d < radius).float().mean()


@wrong(check.ring_score, "how many modes are *missed*")
def _(x, centres, radius, least):
    d, nearest = torch.cdist(x, centres).min(1)
    count = nearest[d <= radius].bincount(minlength=len(centres))
    return len(centres) - (count >= least).sum(), (d <= radius).float().mean()


@wrong(check.ring_score, "number of modes found of ring_score has shape (3,)")
def _(x, centres, radius, least):
    d, nearest = torch.cdist(x, centres).min(1)
    return nearest[d <= radius].bincount(minlength=len(centres)) >= least, (d <= radius).float().mean()


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


@right(check.ring_score)
def _(samples, centres, r, n):
    squared = ((samples.unsqueeze(1) - centres.unsqueeze(0)) ** 2).sum(-1)
    hit = F.one_hot(squared.argmin(1), len(centres)) * (squared <= r * r)
    return [(hit.sum(0) >= n).sum().item(), hit.sum().item() / samples.shape[0]]


# --- 2


@wrong(check.losses, "right for moderate logits")
def _(real_logits, fake_logits, target):
    D_real, D_fake = torch.sigmoid(real_logits), torch.sigmoid(fake_logits)
    d = -(target * D_real.log() + (1 - target) * (1 - D_real).log()).mean() - (1 - D_fake).log().mean()
    return d, -D_fake.log().mean()


@wrong(check.losses, "right for moderate logits")
def _(real_logits, fake_logits, target):
    real, fake = real_logits.sigmoid(), fake_logits.sigmoid()
    bce = F.binary_cross_entropy
    d = bce(real, torch.full_like(real, target)) + bce(fake, torch.zeros_like(fake))
    return d, bce(fake, torch.ones_like(fake))


@wrong(check.losses, "right for moderate logits")
def _(real_logits, fake_logits, target):
    def log(p):
        return torch.log(p + 1e-8)

    p, q = real_logits.sigmoid(), fake_logits.sigmoid()
    return -(target * log(p) + (1 - target) * log(1 - p)).mean() - log(1 - q).mean(), -log(q).mean()


@wrong(check.losses, "right for moderate logits")
def _(real_logits, fake_logits, target):
    r, f = real_logits.clamp(-20, 20), fake_logits.clamp(-20, 20)
    d = target * F.softplus(-r).mean() + (1 - target) * F.softplus(r).mean() + F.softplus(f).mean()
    return d, F.softplus(-f).mean()


@wrong(check.losses, "target is not used")
def _(real_logits, fake_logits, target):
    return F.softplus(-real_logits).mean() + F.softplus(fake_logits).mean(), F.softplus(-fake_logits).mean()


@wrong(check.losses, "target is not used")
def _(real_logits, fake_logits, target):
    D_real, D_fake = torch.sigmoid(real_logits), torch.sigmoid(fake_logits)
    return -D_real.log().mean() - (1 - D_fake).log().mean(), -D_fake.log().mean()


@wrong(check.losses, "the other half is missing")
def _(real_logits, fake_logits, target):
    return target * F.softplus(-real_logits).mean() + F.softplus(fake_logits).mean(), F.softplus(-fake_logits).mean()


@wrong(check.losses, "smoothed the target of the fakes")
def _(real_logits, fake_logits, target):
    bce = F.binary_cross_entropy_with_logits
    real, fake = torch.full_like(real_logits, target), torch.full_like(fake_logits, 1 - target)
    return bce(real_logits, real) + bce(fake_logits, fake), bce(fake_logits, torch.ones_like(fake))


@wrong(check.losses, "you smoothed the fakes and not the real examples")
def _(real_logits, fake_logits, target):
    bce = F.binary_cross_entropy_with_logits
    d_loss = bce(real_logits, torch.ones_like(real_logits)) + bce(fake_logits, torch.full_like(fake_logits, 1 - target))
    return d_loss, bce(fake_logits, torch.ones_like(fake_logits))


@wrong(check.losses, "no gradient of the discriminator's loss reaches")
def _(real_logits, fake_logits, target):
    real = target * F.softplus(-real_logits) + (1 - target) * F.softplus(real_logits)
    return real.mean() + F.softplus(fake_logits.detach()).mean(), F.softplus(-fake_logits).mean()


@wrong(check.losses, "smoothed the generator's loss")
def _(real_logits, fake_logits, target):
    bce = F.binary_cross_entropy_with_logits
    real, fake = torch.full_like(real_logits, target), torch.full_like(fake_logits, target)
    return bce(real_logits, real) + bce(fake_logits, 0 * fake), bce(fake_logits, fake)


@wrong(check.losses, "smoothed all three targets")
def _(real_logits, fake_logits, target):
    def loss(s, t):
        return (t * F.softplus(-s) + (1 - t) * F.softplus(s)).mean()

    return loss(real_logits, target) + loss(fake_logits, 1 - target), loss(fake_logits, target)


@wrong(check.losses, "everything is upside down")
def _(real_logits, fake_logits, target):
    d = target * F.softplus(real_logits) + (1 - target) * F.softplus(-real_logits)
    return d.mean() + F.softplus(-fake_logits).mean(), F.softplus(fake_logits).mean()


@wrong(check.losses, "it must be -log(1 - D)")
def _(real_logits, fake_logits, target):
    d = (target * F.softplus(-real_logits) + (1 - target) * F.softplus(real_logits)).mean()
    return d + F.softplus(-fake_logits).mean(), F.softplus(-fake_logits).mean()


@wrong(check.losses, "to weigh real against fake")
def _(real_logits, fake_logits, target):
    d = target * F.softplus(-real_logits).mean() + (1 - target) * F.softplus(fake_logits).mean()
    return d, F.softplus(-fake_logits).mean()


@wrong(check.losses, "have changed places")
def _(real_logits, fake_logits, target):
    bce = F.binary_cross_entropy_with_logits
    real, one, zero = torch.full_like(real_logits, target), torch.ones_like(fake_logits), torch.zeros_like(fake_logits)
    return bce(real, real_logits) + bce(zero, fake_logits), bce(one, fake_logits)


@wrong(check.losses, "the logarithm of the logits")
def _(real_logits, fake_logits, target):
    d = -(target * real_logits.log() + (1 - target) * (1 - real_logits).log()).mean() - (1 - fake_logits).log().mean()
    return d, -fake_logits.log().mean()


@wrong(check.losses, "discriminator's targets are swapped")
def _(real_logits, fake_logits, target):
    bce = F.binary_cross_entropy_with_logits
    d = bce(real_logits, torch.zeros_like(real_logits)) + bce(fake_logits, torch.full_like(fake_logits, target))
    return d, bce(fake_logits, torch.ones_like(fake_logits))


@wrong(check.losses, "it would learn to be caught")
def _(real_logits, fake_logits, target):
    d_real = target * F.softplus(-real_logits).mean() + (1 - target) * F.softplus(real_logits).mean()
    g = F.softplus(fake_logits).mean()
    return d_real + g, g


@wrong(check.losses, "is the saturating one, log(1 - D)")
def _(real_logits, fake_logits, target):
    D_real, D_fake = torch.sigmoid(real_logits), torch.sigmoid(fake_logits)
    d = -(target * D_real.log() + (1 - target) * (1 - D_real).log()).mean() - (1 - D_fake).log().mean()
    return d, (1 - D_fake).log().mean()


@wrong(check.losses, "minus that of the discriminator")
def _(real_logits, fake_logits, target):
    d = (target * F.softplus(-real_logits) + (1 - target) * F.softplus(real_logits)).mean()
    d = d + F.softplus(fake_logits).mean()
    return d, -d


@wrong(check.losses, "both signs are wrong")
def _(real_logits, fake_logits, target):
    D_real, D_fake = torch.sigmoid(real_logits), torch.sigmoid(fake_logits)
    d = (target * D_real.log() + (1 - target) * (1 - D_real).log()).mean() + (1 - D_fake).log().mean()
    return d, D_fake.log().mean()


@wrong(check.losses, "the discriminator's loss has the wrong sign")
def _(real_logits, fake_logits, target):
    real = target * F.logsigmoid(real_logits) + (1 - target) * F.logsigmoid(-real_logits)
    return real.mean() + F.logsigmoid(-fake_logits).mean(), -F.logsigmoid(fake_logits).mean()


@wrong(check.losses, "in the wrong order")
def _(real_logits, fake_logits, target):
    d = (F.softplus(real_logits) - target * real_logits).mean() + F.softplus(fake_logits).mean()
    return F.softplus(-fake_logits).mean(), d


@wrong(check.losses, "one mean over real and fake examples together")
def _(real_logits, fake_logits, target):
    logits = torch.cat([real_logits, fake_logits])
    labels = torch.cat([torch.full_like(real_logits, target), torch.zeros_like(fake_logits)])
    return F.binary_cross_entropy_with_logits(logits, labels), F.softplus(-fake_logits).mean()


@wrong(check.losses, "half of what is asked for")
def _(real_logits, fake_logits, target):
    bce = F.binary_cross_entropy_with_logits
    real = bce(real_logits, torch.full_like(real_logits, target))
    fake = bce(fake_logits, torch.zeros_like(fake_logits))
    return (real + fake) / 2, bce(fake_logits, torch.ones_like(fake_logits))


@wrong(check.losses, "these are sums over the batch")
def _(real_logits, fake_logits, target):
    real = target * F.softplus(-real_logits) + (1 - target) * F.softplus(real_logits)
    return real.sum() + F.softplus(fake_logits).sum(), F.softplus(-fake_logits).sum()


@wrong(check.losses, "the sigmoid is taken twice")
def _(real_logits, fake_logits, target):
    bce = F.binary_cross_entropy_with_logits
    real, fake = real_logits.sigmoid(), fake_logits.sigmoid()
    d = bce(real, torch.full_like(real, target)) + bce(fake, torch.zeros_like(fake))
    return d, bce(fake, torch.ones_like(fake))


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


@right(check.losses)
def _(r, f, t):
    d = sum(torch.logaddexp(torch.zeros(()), s) - t * s for s in r) / len(r)
    d = d + sum(torch.logaddexp(torch.zeros(()), s) for s in f) / len(f)
    return d, torch.stack([-F.logsigmoid(s) for s in f]).mean()


# --- 3


@wrong(check.squared_slope, "the values are right, but no gradient flows")
def _(discriminator, x):
    x.requires_grad_()
    g, = torch.autograd.grad(discriminator(x).sum(), x)
    return g.flatten(1).square().sum(1)


@wrong(check.squared_slope, ".backward() ends the graph")
def _(discriminator, x):
    x.requires_grad_()
    discriminator(x).sum().backward()
    return (x.grad**2).flatten(1).sum(1)


@wrong(check.squared_slope, "has also filled the .grad")
def _(discriminator, x):
    x = x.clone().requires_grad_()
    with warnings.catch_warnings():                # a warning that the suite would make an error
        warnings.simplefilter("ignore")
        discriminator(x).sum().backward(create_graph=True)
    return x.grad.pow(2).flatten(1).sum(1)


@wrong(check.squared_slope, "you took the root")
def _(discriminator, x):
    x = x.detach().requires_grad_()
    g, = torch.autograd.grad(discriminator(x).sum(), x, create_graph=True)
    return g.flatten(1).norm(dim=1)


@wrong(check.squared_slope, "the mean over the coordinates")
def _(discriminator, x):
    x = x.detach().requires_grad_()
    g, = torch.autograd.grad(discriminator(x).sum(), x, create_graph=True)
    return (g**2).flatten(1).mean(1)


@wrong(check.squared_slope, "the mean over the batch")
def _(discriminator, x):
    x = x.detach().requires_grad_()
    g, = torch.autograd.grad(discriminator(x).sum(), x, create_graph=True)
    return g.flatten(1).square().sum(1).mean()


@wrong(check.squared_slope, "summed everything to one number")
def _(discriminator, x):
    x = x.detach().requires_grad_()
    g, = torch.autograd.grad(discriminator(x).sum(), x, create_graph=True)
    return (g**2).sum()


@wrong(check.squared_slope, "the mean of everything")
def _(discriminator, x):
    x = x.detach().requires_grad_()
    g, = torch.autograd.grad(discriminator(x).sum(), x, create_graph=True)
    return g.square().mean()


@wrong(check.squared_slope, "every gradient is divided by B")
def _(discriminator, x):
    x = x.detach().requires_grad_()
    g, = torch.autograd.grad(discriminator(x).mean(), x, create_graph=True)
    return g.flatten(1).square().sum(1)


@wrong(check.squared_slope, "the slope of the probability")
def _(discriminator, x):
    x = x.detach().requires_grad_()
    g, = torch.autograd.grad(torch.sigmoid(discriminator(x)).sum(), x, create_graph=True)
    return g.flatten(1).square().sum(1)


@wrong(check.squared_slope, "the slope of the loss")
def _(discriminator, x):
    x = x.detach().requires_grad_()
    g, = torch.autograd.grad(-F.logsigmoid(discriminator(x)).sum(), x, create_graph=True)
    return g.flatten(1).square().sum(1)


@wrong(check.squared_slope, "have not squared the gradient")
def _(discriminator, x):
    x = x.detach().requires_grad_()
    g, = torch.autograd.grad(discriminator(x).sum(), x, create_graph=True)
    return g.flatten(1).sum(1)


@wrong(check.squared_slope, "you squared the sum")
def _(discriminator, x):
    x = x.detach().requires_grad_()
    g, = torch.autograd.grad(discriminator(x).sum(), x, create_graph=True)
    return g.flatten(1).sum(1) ** 2


@wrong(check.squared_slope, "you added up absolute values")
def _(discriminator, x):
    x = x.detach().requires_grad_()
    g, = torch.autograd.grad(discriminator(x).sum(), x, create_graph=True)
    return g.flatten(1).abs().sum(1)


@wrong(check.squared_slope, "the squares of all entries")
def _(discriminator, x):
    x = x.detach().requires_grad_()
    g, = torch.autograd.grad(discriminator(x).sum(), x, create_graph=True)
    return g**2


@wrong(check.squared_slope, "over the first axis")
def _(discriminator, x):
    x = x.detach().requires_grad_()
    g, = torch.autograd.grad(discriminator(x).sum(), x, create_graph=True)
    return (g**2).sum(0)


@wrong(check.squared_slope, "right for points (B, 2)")
def _(discriminator, x):
    x = x.detach().requires_grad_()
    g, = torch.autograd.grad(discriminator(x).sum(), x, create_graph=True)
    return (g**2).sum(1)


@wrong(check.squared_slope, "right for points (B, 2)")
def _(discriminator, x):
    x.requires_grad = True
    g = torch.autograd.grad(discriminator(x).sum(), x, create_graph=True)[0]
    return g.square().sum(-1)


@wrong(check.squared_slope, "with respect to the discriminator's parameters: that")
def _(discriminator, x):
    gradients = torch.autograd.grad(discriminator(x).sum(), discriminator.parameters(), create_graph=True)
    return torch.cat([g.flatten() for g in gradients]).square().sum()


@wrong(check.squared_slope, "autograd has not followed x through")
def _(discriminator, x):
    g, = torch.autograd.grad(discriminator(x).sum(), x, create_graph=True)
    return g.flatten(1).square().sum(1)


@wrong(check.squared_slope, "autograd has not followed x through")
def _(discriminator, x):
    x.requires_grad_()
    with torch.no_grad():
        logits = discriminator(x)
    return torch.autograd.grad(logits.sum(), x, create_graph=True)[0].flatten(1).square().sum(1)


@wrong(check.squared_slope, "the logits do not depend on the tensor")
def _(discriminator, x):
    logits = discriminator(x)
    x = x.detach().requires_grad_()
    g, = torch.autograd.grad(logits.sum(), x, create_graph=True)
    return g.flatten(1).square().sum(1)


@wrong(check.squared_slope, "differentiates one number")
def _(discriminator, x):
    x = x.detach().requires_grad_()
    g, = torch.autograd.grad(discriminator(x), x, create_graph=True)
    return g.flatten(1).square().sum(1)


@wrong(check.squared_slope, "the Python number")
def _(discriminator, x):
    x = x.detach().requires_grad_()
    g, = torch.autograd.grad(discriminator(x).sum(), x, create_graph=True)
    return g.square().sum().item()


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


@right(check.squared_slope)
def _(discriminator, x):
    g = torch.func.vmap(torch.func.grad(lambda one: discriminator(one[None]).sum()))(x)
    return g.square().sum(tuple(range(1, g.dim())))


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


G_MOVES = "fake = generator(z)\ng_loss = softplus(-discriminator(fake)).mean()\ng_loss.backward()\ng_opt.step()\n"
CLEAR = "g_opt.zero_grad()\nd_opt.zero_grad()\n"

wrong(check.train_step, "the bug is still there")(step(broken=True))
wrong(check.train_step, "the bug is still there")(step(
    ("d_loss.backward()", "g_opt.zero_grad()\nd_loss.backward()"), broken=True))
wrong(check.train_step, "the bug is still there")(step(
    ("d_opt.step()", "d_opt.step()\nd_opt.zero_grad()"), broken=True))
wrong(check.train_step, "the bug is still there")(step(
    ("fake.detach()", "generator(z).detach()"), broken=True))
wrong(check.train_step, "no gradients are cleared any more")(step((CLEAR, ""), broken=True))
wrong(check.train_step, "discriminator's gradients are never cleared")(step(("d_opt.zero_grad()\n", ""), broken=True))
wrong(check.train_step, "generator's gradients are never cleared")(step(("g_opt.zero_grad()\n", "")))
wrong(check.train_step, "the discriminator never changes")(step(
    ("d_loss.backward()", "d_loss.backward()\nd_opt.zero_grad()"), broken=True))
wrong(check.train_step, "the generator never changes")(step(("discriminator(fake))", "discriminator(fake.detach()))")))
wrong(check.train_step, "the generator never changes")(step(
    ("fake = generator(z)", "with torch.no_grad():\n    fake = generator(z)"), broken=True))
wrong(check.train_step, "the generator never changes")(step(
    ("g_loss.backward()", "g_loss.backward()\nd_opt.zero_grad()\ng_opt.zero_grad()"), broken=True))
wrong(check.train_step, "draws random numbers of its own")(step(("fake.detach()", "generator(torch.randn_like(z))")))
wrong(check.train_step, "its way back is cut")(step(
    ("g_loss = softplus(-discriminator(fake)).mean()",
     "with torch.no_grad():\n    judged = discriminator(fake)\ng_loss = softplus(-judged).mean()")))
wrong(check.train_step, "it learns to be caught")(step(
    ("softplus(-discriminator(fake))", "softplus(discriminator(fake))")))
wrong(check.train_step, "the saturating one")(step(
    ("softplus(-discriminator(fake))", "-softplus(discriminator(fake))"), broken=True))
wrong(check.train_step, "upside down now")(step(
    ("softplus(-discriminator(real))", "softplus(discriminator(real))"),
    ("softplus(discriminator(fake.detach()))", "softplus(-discriminator(fake.detach()))")))
wrong(check.train_step, "you halved")(step(("d_loss.backward()", "d_loss = d_loss / 2\nd_loss.backward()")))
wrong(check.train_step, "the losses come back in the wrong order")(step(
    ("d_loss.item(), g_loss.item()", "g_loss.item(), d_loss.item()")))
wrong(check.train_step, "reaches back into the generator")(step(("fake.detach()", "fake")))
wrong(check.train_step, "reaches back into the generator")(step(
    ("g_loss.backward()", "g_loss.backward(retain_graph=True)"), ("fake.detach()", "fake"), broken=True))
wrong(check.train_step, "a tuple of 2 is asked for")(step(("return d_loss.item(), g_loss.item()", "return g_loss")))

right(check.train_step)(step())
right(check.train_step)(step(("d_loss.backward()", "d_opt.zero_grad()\nd_loss.backward()"), broken=True))
right(check.train_step)(step(("d_opt.zero_grad()\n", "discriminator.zero_grad()\n"),
                             (".item()", ".detach()")))
right(check.train_step)(step(                      # the discriminator moves first, so nothing is left over
    (G_MOVES, "fake = generator(z)\n"),
    ("d_opt.step()\n", "d_opt.step()\n" + G_MOVES.replace("fake = generator(z)\n", "")), broken=True))
right(check.train_step)(step(                      # the discriminator gets no gradients from the generator's loss
    ("fake = generator(z)", "discriminator.requires_grad_(False)\nfake = generator(z)"),
    ("g_opt.step()", "g_opt.step()\ndiscriminator.requires_grad_(True)"), broken=True))


@right(check.train_step)
def _(generator, discriminator, g_opt, d_opt, real, z):
    bce = nn.BCEWithLogitsLoss()
    one, zero = torch.ones(len(z), 1), torch.zeros(len(z), 1)
    fake = generator(z)
    g_loss = bce(discriminator(fake), one)
    for p, g in zip(generator.parameters(), torch.autograd.grad(g_loss, list(generator.parameters()))):
        p.grad = g
    g_opt.step()
    d_loss = bce(discriminator(real), one) + bce(discriminator(fake.detach()), zero)
    for p, g in zip(discriminator.parameters(), torch.autograd.grad(d_loss, list(discriminator.parameters()))):
        p.grad = g
    d_opt.step()
    return d_loss, g_loss.item()


# --- 5

SHARES = torch.tensor([0.4, 0.2, 0.2, 0.1, 0.1, 0.0, 0.0, 0.0])

wrong(check.divergence, "twice the divergence", SHARES)(1.3863 - 1.032)
wrong(check.divergence, "this is the loss of the discriminator", SHARES)(1.035)
wrong(check.divergence, "this is half of the loss", SHARES)(0.517)
wrong(check.divergence, "the sign is wrong", SHARES)(-0.176)
wrong(check.divergence, "the loss minus log 4", SHARES)(torch.tensor(1.032 - 1.3863))
wrong(check.divergence, "in bits", SHARES)(0.2556)
wrong(check.divergence, "half of the divergence", SHARES)(0.0886)
wrong(check.divergence, "too small", SHARES)(0.11)
wrong(check.divergence, "too large", SHARES)(0.21)
right(check.divergence, SHARES)(torch.tensor(0.177, requires_grad=True))
right(check.divergence, SHARES)(0.183)
right(check.divergence, SHARES)((math.log(4) - 1.0352) / 2)
