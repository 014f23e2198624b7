"""The checks of exercise 31: noise in its place, a KL between Gaussians, a loss with an unstated beta, free bits, and
the variance of two gradients."""

import math
from collections.abc import Callable
from functools import cache, partial

import torch
from torch import Tensor
from torch.distributions import Normal, kl_divergence
from torch.nn import functional as F

from course_lib.checks import Implementation, Measurement, Slip, rand, wrong_sums

# --- 1

ROOT = "The variance is exp(logvar), and the standard deviation is its root: (logvar / 2).exp()."

reparameterize = Implementation(
    "reparameterize",
    right=lambda mu, logvar, eps: mu + (logvar / 2).exp() * eps,
    cases=lambda g: [(rand(g, b, d), rand(g, b, d), rand(g, b, d)) for b, d in ((1, 2), (3, 1), (3, 3), (4, 5))],
    gradient=("mu", "logvar"),
    slips=[
        Slip(lambda mu, logvar, eps: mu + logvar.exp() * eps,
             "you scaled eps by the variance; the standard deviation is exp(logvar / 2)", ROOT),
        Slip(lambda mu, logvar, eps: mu + logvar * eps,
             "you scaled eps by logvar itself, which may be negative: it is the logarithm of the variance", ROOT),
        Slip(lambda mu, logvar, eps: mu + logvar / 2 * eps,
             "you scaled eps by logvar / 2, the logarithm of the standard deviation: take exp of it", ROOT),
        Slip(lambda mu, logvar, eps: mu + logvar.exp() / 2 * eps,
             "you halved the variance: the half belongs inside the exp, exp(logvar / 2), where it is a root", ROOT),
        Slip(lambda mu, logvar, eps: mu + (2 * logvar).exp() * eps,
             "you doubled logvar, which squares the variance: half of it gives the root", ROOT),
        Slip(lambda mu, logvar, eps: mu + (-logvar / 2).exp() * eps,
             "you divided eps by the standard deviation: a large variance must spread the codes, not narrow them",
             "Multiply eps by (logvar / 2).exp(), without a minus."),
        Slip(tuple(lambda mu, logvar, eps, base=base: mu + base ** (logvar / 2) * eps for base in (2, 10)),
             "logvar is a natural logarithm: exp undoes it, and no power of 2 or 10", ROOT),
        Slip(lambda mu, logvar, eps: mu * (logvar / 2).exp() + eps,
             "the standard deviation scales mu in place of the noise", "mu + (logvar / 2).exp() * eps"),
        Slip(lambda mu, logvar, eps: mu + logvar.abs().sqrt() * eps,
             "you took the root of the size of logvar: it is a logarithm, and exp undoes it", ROOT),
        Slip(lambda mu, logvar, eps: mu + logvar.sqrt() * eps,
             "you took the root of logvar (nan where it is negative): take exp first, as it is a logarithm", ROOT),
        Slip(lambda mu, logvar, eps: mu + F.softplus(logvar) * eps,
             "softplus makes it positive, but not the standard deviation: logvar is a logarithm, so exp undoes it",
             ROOT),
        Slip(lambda mu, logvar, eps: mu - (logvar / 2).exp() * eps,
             "you subtracted the noise: the same bell curve, but not the code that this eps stands for",
             "mu + (logvar / 2).exp() * eps"),
        Slip(lambda mu, logvar, eps: mu + eps, "the noise has the standard deviation 1, whatever logvar says", ROOT),
        Slip(lambda mu, logvar, eps: mu + 0 * eps, "you return mu: the noise is not used",
             "Add (logvar / 2).exp() * eps."),
        Slip(lambda mu, logvar, eps: (logvar / 2).exp() * eps, "mu is missing: the codes lie around 0",
             "mu + (logvar / 2).exp() * eps"),
        Slip(lambda mu, logvar, eps: (mu + eps) * (logvar / 2).exp(),
             "you added mu before you multiplied: so mu is scaled as well", "mu + (logvar / 2).exp() * eps"),
        Slip(lambda mu, logvar, eps: mu * eps + (logvar / 2).exp(),
             "mu and the standard deviation have changed places: eps scales the second, and mu is added",
             "mu + (logvar / 2).exp() * eps"),
    ],
    hint="z = mu + sigma * eps, coordinate by coordinate, with sigma = (logvar / 2).exp(). eps is the noise already; "
         "stay with torch functions, so that gradients flow to mu and logvar.")

# --- 2


def _kl_parts(mu_q, logvar_q, mu_p, logvar_p, square=lambda d: d**2, half=0.5, one=1.0, log=1.0) -> Tensor:
    """The KL of each coordinate, with the factors in which one can go wrong."""
    ratio = ((logvar_q - logvar_p).exp() + square(mu_q - mu_p) / logvar_p.exp())
    return half * (log * (logvar_p - logvar_q) + ratio - one)


def _kl(*case, **change) -> Tensor:
    return _kl_parts(*case, **change).sum(1)


def _two_gaussians(g: torch.Generator) -> list[tuple]:
    """In the first case all logvar are positive, so that who takes them for a scale gets a number there."""
    sizes = ((1, 2), (3, 1), (3, 3), (4, 5), (2, 3))
    cases = [(rand(g, b, d), rand(g, b, d), rand(g, d), rand(g, d)) for b, d in sizes]
    cases[0] = tuple(a.abs() + 0.1 for a in cases[0])
    return cases


kl_between = Implementation(
    "kl_between",
    right=lambda mu_q, logvar_q, mu_p, logvar_p: _kl(mu_q, logvar_q, mu_p, logvar_p),
    cases=_two_gaussians,
    gradient=("mu_q", "logvar_q", "mu_p", "logvar_p"),
    slips=[
        *wrong_sums(_kl_parts, "coordinates", "examples", "the nats of independent coordinates are added up. A mean "
                    "weakens the KL by the factor D, an unstated beta"),
        Slip(lambda m, v, mp, vp: _kl(mp, vp, m, v), "this is KL(p || q): q and p have changed places",
             "The differences are divided by the variance of p, exp(logvar_p); log(sigma_p / sigma_q) has p on top."),
        Slip(lambda *case: -_kl(*case), "the sign is wrong: a KL is never negative",
             "Compare log(sigma_p / sigma_q) and - 1/2 with your signs."),
        Slip(lambda m, v, mp, vp: _kl(m, v, 0 * mp, 0 * vp),
             "this is the KL to the standard normal N(0, I): mu_p and logvar_p are not used",
             "The squares are (mu_q - mu_p)**2, and both terms are divided by exp(logvar_p)."),
        Slip(partial(_kl, one=0.0),
             "the - 1/2 of each coordinate is missing: so the KL of a bell curve to itself is not 0",
             "Subtract 1/2 in each coordinate, before the sum."),
        Slip(lambda *case: _kl(*case, one=0.0) - 0.5, "you subtract 1/2 once in all: each of the D coordinates has it",
             "Subtract 1/2 before the sum."),
        Slip(partial(_kl, one=0.5), "your 1/2 is halved once more: either 0.5 * (... - 1), or ... - 0.5",
             "0.5 * (logvar_p - logvar_q + (variance_q + square) / variance_p - 1)"),
        Slip(partial(_kl, half=1.0), "your result is twice as large as it should be: the factor 1/2 is missing",
             "log(sigma) is logvar / 2, and the fraction has 2 sigma_p^2 below."),
        Slip(partial(_kl, log=2.0), "the logarithm counts twice: log(sigma_p / sigma_q) is half of logvar_p - logvar_q",
             "A variance is the square of sigma, so log sigma = logvar / 2."),
        Slip(partial(_kl, log=-1.0), "the logarithm is upside down: sigma_p stands above, so it is logvar_p - logvar_q",
             "0.5 * (logvar_p - logvar_q)"),
        Slip(partial(_kl, log=0.0), "the logarithm of sigma_p / sigma_q is missing",
             "Add 0.5 * (logvar_p - logvar_q)."),
        Slip(lambda m, v, mp, vp: _kl(m, 2 * v, mp, 2 * vp),
             "you treat logvar as the logarithm of the standard deviation: exp(logvar) is the variance already",
             "Where the formula has sigma^2, write logvar.exp()."),
        Slip(lambda m, v, mp, vp: ((vp / v).log() + (v**2 + (m - mp) ** 2) / (2 * vp**2) - 0.5).sum(1),
             "you treat logvar as the standard deviation itself: it is the logarithm of its square",
             "sigma = (logvar / 2).exp(), variance = logvar.exp()"),
        Slip(tuple(lambda m, v, mp, vp, half=half: _kl(m, v, mp, vp, log=0.0) + (half * vp / v).sum(1)
                   for half in (0.5, 1)),
             "you divide the logarithms: log(sigma_p / sigma_q) is their difference, log(sigma_p) - log(sigma_q)",
             "0.5 * (logvar_p - logvar_q)"),
        Slip(lambda m, v, mp, vp: kl_divergence(Normal(m, v), Normal(mp, vp)).sum(1),
             "you gave logvar to torch.distributions.Normal as a standard deviation, which cannot be negative: that is "
             "exp(logvar / 2)", "Normal(mu, (logvar / 2).exp())"),
        Slip(lambda m, v, mp, vp: 0.5 * (vp - v + ((v / 2).exp() + (m - mp) ** 2) / (vp / 2).exp() - 1).sum(1),
             "where the formula has variances you have standard deviations: sigma^2 is exp(logvar), without a half",
             "variance = logvar.exp()"),
        Slip(lambda m, v, mp, vp: 0.5 * (vp.log() - v.log() + (v + (m - mp) ** 2) / vp - 1).sum(1),
             "you treat logvar as the variance itself, and the logarithm of a negative number is nan",
             "variance = logvar.exp(), and log(sigma) = logvar / 2."),
        Slip(lambda m, v, mp, vp: 0.5 * (vp - v + v.exp() / vp.exp() + (m - mp) ** 2 - 1).sum(1),
             "the square of mu_q - mu_p is not divided by the variance of p: mind the brackets",
             "(variance_q + (mu_q - mu_p)**2) / variance_p"),
        Slip(tuple(lambda m, v, mp, vp, k=k: 0.5 * (vp - v + k * v.exp() + (m - mp) ** 2 / vp.exp() - 1).sum(1)
                   for k in (1, 2)),
             "the variance of q is not divided by the variance of p: mind the brackets",
             "(variance_q + (mu_q - mu_p)**2) / (2 * variance_p)"),
        Slip(lambda m, v, mp, vp: 0.5 * (vp - v + (v.exp() + (m - mp) ** 2) / 2 * vp.exp() * 2 - 1).sum(1),
             "you multiply by the variance of p and must divide by it: a / 2 * b is (a / 2) times b",
             "Write the brackets: a / (2 * b)."),
        Slip(lambda *case: _kl(*case) / math.log(2), "this is in bits: nats are asked for, with the natural logarithm"),
        Slip(partial(_kl, one=-1.0), "you add 1/2 in each coordinate, and it is subtracted",
             "The KL of a bell curve to itself must be 0."),
        Slip((lambda m, v, mp, vp: _kl(m, v, -mp, vp),
              lambda m, v, mp, vp: _kl(m, v, mp, vp, square=lambda d: d * (m + mp)),
              lambda m, v, mp, vp: 0.5 * (vp - v + (v.exp() + m - mp) ** 2 / vp.exp() - 1).sum(1)),
             "the square belongs to the difference mu_q - mu_p, and to nothing else", "(mu_q - mu_p)**2"),
        Slip(lambda m, v, mp, vp: 0.5 * (vp - v + (vp.exp() + (m - mp) ** 2) / v.exp() - 1).sum(1),
             "your fraction has the variance of p above and that of q below: it is the other way round",
             "(variance_q + (mu_q - mu_p)**2) / (2 * variance_p)"),
        Slip(tuple(lambda m, v, mp, vp, k=k: (0.5 * (vp - v) + k * (v.exp() + (m - mp) ** 2) / vp.exp() - 0.5).sum(1)
                   for k in (1, 0.25)),
             "below the fraction stands 2 sigma_p^2: the 2 is there once, and is not squared",
             "(variance_q + (mu_q - mu_p)**2) / (2 * variance_p)"),
        Slip((lambda m, v, mp, vp: 0.5 * (vp - v + (v.exp() + (m - mp) ** 2) / (vp / 2).exp() - 1).sum(1),
              lambda m, v, mp, vp: 0.5 * (vp - v + ((v / 2).exp() + (m - mp) ** 2) / vp.exp() - 1).sum(1)),
             "one sigma is not squared: above stands sigma_q^2, below 2 sigma_p^2", "variance = logvar.exp()"),
        Slip(lambda m, v, mp, vp: 0.5 * (vp - v + (m - mp) ** 2 / vp.exp() - 1).sum(1),
             "the variance of q is missing in the fraction", "(variance_q + (mu_q - mu_p)**2) / (2 * variance_p)"),
        Slip((partial(_kl, square=lambda d: d), partial(_kl, square=torch.abs)),
             "you have forgotten to square mu_q - mu_p", "(mu_q - mu_p)**2"),
        Slip(partial(_kl, square=lambda d: 0 * d), "the means are not used: a bell curve elsewhere must cost more",
             "Add (mu_q - mu_p)**2 / (2 * variance_p)."),
    ],
    hint="For one coordinate, with variance = logvar.exp() and log sigma = logvar / 2: 0.5 * (logvar_p - logvar_q) + "
         "(variance_q + (mu_q - mu_p)**2) / (2 * variance_p) - 0.5. Then .sum(1).")

# --- 3


def _a_sum(t: Tensor) -> Tensor:
    return t.sum() / len(t)                                       # per image


def _elbo(rec: Callable = _a_sum, kl: Callable = _a_sum, loss: Callable = lambda r, k: r + k, nats=None) -> Callable:
    """-ELBO with one thing changed: how nats of pixels (B, ...) and of codes (B, D) are reduced and put together."""
    def fn(logits, x, mu, logvar):
        pixels = F.binary_cross_entropy_with_logits(logits, x, reduction="none") if nats is None else nats(logits, x)
        r, k = rec(pixels), kl(0.5 * (mu**2 + logvar.exp() - logvar - 1))
        return {"loss": loss(r, k), "reconstruction": r, "kl": k}
    return fn


def _pictures(g: torch.Generator) -> list[tuple]:
    sizes = (((1, 1, 2, 2), 2), ((3, 1, 5, 4), 1), ((3, 3, 3, 7), 4), ((4, 2, 6, 2), 5))
    return [(rand(g, *size), torch.rand(size, generator=g), rand(g, size[0], d), rand(g, size[0], d))
            for size, d in sizes]


def _per_pixel(logits, x, mu, logvar):
    return {key: value * len(x) / x.numel() for key, value in _elbo()(logits, x, mu, logvar).items()}


def _loss_alone(logits, x, mu, logvar):
    return _elbo(Tensor.mean)(logits, x, mu, logvar) | {"loss": _elbo()(logits, x, mu, logvar)["loss"]}


def _and_with_bug(sentence: str, hint: str, **change) -> list[Slip]:
    """A new mistake, in the repaired function and in the one that still has the bug."""
    return [Slip(_elbo(**change), sentence, hint),
            Slip(_elbo(Tensor.mean, **change), f"{sentence}. And the line with the bug is not repaired", hint)]


negative_elbo = Implementation(
    "negative_elbo",
    right=_elbo(),
    cases=_pictures,
    gradient=("logits", "mu", "logvar"),
    slips=[
        Slip(_elbo(rec=Tensor.mean),
             "the bug is still there: over how many numbers is each of the two terms a sum, and over how many a mean?",
             "Print both terms for one image. In -log p(x | z) all pixels are added up, as the code numbers are in the "
             "KL. F.binary_cross_entropy_with_logits takes a mean over everything if it is not told otherwise."),
        Slip(_elbo(rec=Tensor.mean, kl=Tensor.mean),
             "now both terms are means, one over the pixels and one over the code numbers: as there are many more "
             "pixels, the KL still has a hidden factor. Sum both, image by image",
             "For both: sum over everything that belongs to an image, then take the mean over the images."),
        Slip(_per_pixel,
             "the balance of the two terms is right, but the unit is nats per pixel: nats per image are asked for",
             "Leave the KL as it was, and sum the reconstruction over the pixels of an image."),
        Slip(_elbo(kl=Tensor.mean),
             "the reconstruction is right, but the KL is a mean over the code numbers now: it was a sum, and right",
             "kl = kl_each.sum(1).mean()"),
        Slip(_elbo(rec=Tensor.sum),
             "you sum the reconstruction over the images too, and the KL is a mean over them: in a batch of 64, the KL "
             "counts only 1/64", "Divide the sum by len(x)."),
        Slip(_elbo(rec=Tensor.sum, kl=Tensor.sum),
             "both terms are sums over the whole batch: nats per image are asked for, the mean over the images",
             "Divide both by len(x)."),
        Slip(_elbo(kl=Tensor.sum), "the KL is a sum over the batch now, and the reconstruction a mean over it",
             "kl = kl_each.sum(1).mean()"),
        Slip((_elbo(lambda t: 784 * t.mean()), _elbo(Tensor.mean, loss=lambda r, k: 784 * r + k)),
             "you multiply by 784 whatever the size of the images: right for 28 × 28 pixels only",
             "Sum over the pixels: reduction=\"sum\", divided by len(x)."),
        Slip(tuple(_elbo(kl=kl) for kl in (
                lambda t: 2 * _a_sum(t), lambda t: -_a_sum(t), lambda t: t.sum(0).mean())),
             "the KL was right as it stood: 0.5 * (...) for each number, their sum for an image, the mean of these",
             "kl = kl_each.sum(1).mean()"),
        Slip((_elbo(loss=lambda r, k: (r + k) / 2), _elbo(loss=lambda r, k: r + k / 784),
              _elbo(Tensor.mean, loss=lambda r, k: r + k / 784)),
             "the loss is not the plain sum of the two terms in nats per image", "loss = reconstruction + kl"),
        Slip(_elbo(lambda t: t.sum() / 64), "you divide by 64, whatever the batch: divide by len(x)"),
        Slip(lambda *case: (e := _elbo()(*case)) | {"reconstruction": e["kl"], "kl": e["reconstruction"]},
             "the entries 'reconstruction' and 'kl' have changed places"),
        Slip(lambda *case: (e := _elbo()(*case)) | {key: e[key].detach() for key in ("reconstruction", "kl")},
             "the values are right, but 'reconstruction' and 'kl' are cut from their graph: by .item() or .detach()?",
             "Return them as they are, as tensors."),
        Slip(_elbo(nats=lambda z, x: F.binary_cross_entropy_with_logits(x, z, reduction="none")),
             "logits and x have changed places in the cross-entropy: the logits come first"),
        Slip(_loss_alone, "the entry 'loss' is right, but 'reconstruction' is still in nats per pixel",
             "Repair the line of the reconstruction, and leave loss = reconstruction + kl."),
        Slip((_elbo(rec=lambda t: t.sum(1).mean()), _elbo(rec=lambda t: t.sum((1, 2)).mean())),
             "your .sum(1) adds up the channels alone: the pixels of an image are the axes 1, 2 and 3",
             ".sum((1, 2, 3)), or .flatten(1).sum(1)"),
        Slip(_elbo(rec=lambda t: t.sum((2, 3)).mean()),
             "you take the mean over the channels, where an image has several: its pixels are the axes 1, 2 and 3",
             ".sum((1, 2, 3)), or .flatten(1).sum(1)"),
        Slip(_elbo(Tensor.mean, kl=lambda t: _a_sum(t) / 784),
             "you divide the KL by 784: that balances 28 × 28 pixels, in nats per pixel; nats per image are asked for",
             "Leave the KL as it was, and sum the reconstruction over the pixels of an image."),
        Slip(_elbo(rec=lambda t: t.sum(-1).mean()),
             "you add up the pixels of a row only: the pixels of an image are the axes 1, 2 and 3",
             ".sum((1, 2, 3)), or .flatten(1).sum(1)"),
        Slip(_elbo(rec=lambda t: t.flatten(1).sum(1)),
             "the reconstruction is one number for each image: take the mean over the images, as for the KL",
             "Add .mean() at its end."),
        Slip(_elbo(rec=lambda t: t.flatten(1).sum(1), kl=lambda t: t.sum(1)),
             "you return one number for each image: their mean over the batch is asked for",
             "Add .mean() to both terms."),
        *_and_with_bug("you subtract the KL: the ELBO subtracts it, so the loss, minus the ELBO, adds it",
                       "loss = reconstruction + kl", loss=lambda r, k: r - k),
        *_and_with_bug("your loss is the ELBO itself: training minimises, so it needs minus the ELBO",
                       "loss = reconstruction + kl, both positive.", loss=lambda r, k: -r - k),
        Slip(_elbo(rec=lambda t: -_a_sum(t), loss=lambda r, k: k - r),
             "the reconstruction has changed its sign: the binary cross-entropy is -log p(x | z) already",
             "No minus in front of F.binary_cross_entropy_with_logits."),
        *_and_with_bug("you applied the sigmoid, and the loss applies it once more: give it the logits",
                       "F.binary_cross_entropy_with_logits(logits, x, ...)",
                       nats=lambda z, x: F.binary_cross_entropy_with_logits(z.sigmoid(), x, reduction="none")),
        *[slip for guess in (Tensor.sigmoid, lambda z: z) for slip in _and_with_bug(
            "you replaced the cross-entropy by a squared error, and the cross-entropy was right",
            "Keep F.binary_cross_entropy_with_logits, and look at its `reduction`.",
            nats=lambda z, x, guess=guess: (guess(z) - x) ** 2)],
        *_and_with_bug("your loss has no KL any more: that is an autoencoder", "loss = reconstruction + kl",
                       loss=lambda r, k: r),
    ],
    hint="The code was right but for one line. -log p(x | z) of an image is a sum over its pixels, as the KL is a sum "
         "over the code numbers; over the images of a batch, take the mean of both.")

# --- 4


def _codes(g: torch.Generator) -> list[tuple]:
    """KLs around the floor: some coordinates above it in the mean, others below, single examples on both sides, and
    in the last case all of a code together is below the floor."""
    levels = (0.1, 0.5, 1.6, 0.3, 1.9, 0.7, 1.3)                  # of the mean over the batch, in floors
    cases = []
    for b, floor, level in ((1, 0.5, levels[1:3]), (3, 0.25, levels[:3]), (3, 0.5, levels[2:3]), (4, 1.5, levels),
                            (5, 0.8, levels[:2] + levels[3:4])):
        spread = torch.linspace(0.3, 1.7, b)[torch.randperm(b, generator=g), None] + 0.3 * torch.rand(
            b, len(level), generator=g)
        cases.append((floor * torch.tensor(level) * spread / spread.mean(0), floor))
    return cases


CLAMP = "kl_each.mean(0).clamp(min=floor).sum()"

free_bits = Implementation(
    "free_bits",
    right=lambda kl_each, floor: kl_each.mean(0).clamp(min=floor).sum(),
    cases=_codes,
    gradient=("kl_each",),
    slips=[
        Slip(lambda kl, floor: kl.clamp(min=floor).mean(0).sum(),
             "you compare each image alone with the floor: take the mean over the batch first, so that a code number "
             "may be spent on some images and spared on others", CLAMP),
        Slip(lambda kl, floor: kl.mean(0).clamp(max=floor).sum(),
             "this is the smaller of the two: what lies above the floor must count, so take the larger",
             "clamp(min=floor) is max(floor, ...); clamp(max=floor) is the smaller one."),
        Slip(lambda kl, floor: kl.sum(1).mean().clamp(min=floor),
             "the floor is for each code number, and you compare it with the KL of the whole code",
             "First the mean over the batch, then the floor for each of the D numbers, then their sum."),
        Slip(lambda kl, floor: kl.sum(1).clamp(min=floor).mean(),
             "you compare the KL of each image's whole code with the floor, which is for each number of the code",
             "First the mean over the batch, then the floor for each of the D numbers, then their sum."),
        Slip(lambda kl, floor: kl.sum(1).mean().clamp(min=floor * kl.shape[1]),
             "you compare the whole KL with D floors: one number could spend it all, and the others be switched off",
             CLAMP),
        Slip(lambda kl, floor: (kl.mean(0) - floor).clamp(min=0).sum(),
             "you count only what lies above the floor: that has the right gradient, but max(floor, m) is asked for, "
             "which is floor below it, not 0", CLAMP),
        Slip(lambda kl, floor: (kl.mean(0) * (kl.mean(0) > floor)).sum(),
             "a code number below the floor counts 0 in your sum: max(floor, m) is floor there", CLAMP),
        Slip(lambda kl, floor: kl.mean(0).sum() + floor * kl.shape[1],
             "you add the floor to each term: it should replace what lies below it", CLAMP),
        Slip(lambda kl, floor: kl.mean(0).sum(), "the floor has no effect: this is the plain KL", CLAMP),
        Slip(lambda kl, floor: kl.sum(1), "you return the plain KL of each image: there is no floor in it", CLAMP),
        Slip(lambda kl, floor: kl.mean(0).clamp(min=floor),
             "you return one number for each of the D code numbers: add them up", "End with .sum()."),
        Slip(lambda kl, floor: kl.mean(0).clamp(min=floor).mean(),
             "you took the mean over the D code numbers: their nats are added up", "End with .sum()."),
        Slip(lambda kl, floor: kl.clamp(min=floor),
             "you return the whole table: take the mean over the batch, compare with the floor, and sum over the D",
             CLAMP),
        Slip(lambda kl, floor: kl.clamp(min=floor).sum(1),
             "you compare each image alone with the floor, one number for each: first the mean over the batch", CLAMP),
        Slip(lambda kl, floor: kl.sum(0).clamp(min=floor).sum(),
             "you add up the images of the batch: take their mean, as the loss is in nats per image",
             "Replace .sum(0) by .mean(0)."),
        Slip(lambda kl, floor: (kl / len(kl)).clamp(min=floor).sum(),
             "you compare the B shares of each mean with the floor: add them up first", CLAMP),
        Slip(lambda kl, floor: kl.sum(0).clamp(min=floor).sum() / len(kl),
             "you compare the sum over the batch with the floor: take the mean over the batch first", CLAMP),
        Slip(lambda kl, floor: kl.clamp(min=floor).sum(),
             "you compare each image alone with the floor, and add up the batch: first the mean over the batch", CLAMP),
        Slip(lambda kl, floor: kl.mean(1).clamp(min=floor).sum(),
             "you took the mean over axis 1, the code numbers: the batch is axis 0", CLAMP),
        Slip(lambda kl, floor: kl.mean().clamp(min=floor),
             "you took the mean over the whole table: each code number has a floor of its own", CLAMP),
    ],
    hint="In this order: the mean over the batch (axis 0), which leaves D numbers; for each the larger of it and the "
         "floor (torch.max wants two tensors, .clamp(min=floor) takes a number); their sum.")

# --- 5


@cache
def _two_gradients(n: int = 6000) -> dict[str, Tensor]:
    """n one-sample gradients (n, D) of E_q[-log p(x|z)] with respect to mu for the first test digit, by two estimators;
    the factors in which one can go wrong."""
    from course_lib import checkpoint
    from course_lib.data import load
    from course_lib.vae import bernoulli_log_prob

    model, x = checkpoint.load("vae"), load("digits").test.x[:1]
    mu, logvar = (p.detach() for p in model.encode(x))
    eps = torch.randn(n, mu.shape[1], generator=torch.Generator().manual_seed(0))
    z = (mu + (logvar / 2).exp() * eps).requires_grad_()
    f = torch.cat([-bernoulli_log_prob(model.decoder(part), x.expand(len(part), -1, -1, -1)) for part in z.split(500)])
    through, = torch.autograd.grad(f.sum(), z)
    at_mu = -bernoulli_log_prob(model.decoder(mu), x).detach()
    return {"f": f.detach()[:, None], "at mu": at_mu, "through": through, "eps": eps, "sigma": (logvar / 2).exp()}


def _both(baseline="mean", power: int = -1) -> tuple[Tensor, Tensor]:
    """The gradients (n, D) by the score function, (f - b) eps sigma^power, and through the sample."""
    g = _two_gradients()
    b = {"mean": g["f"].mean(), "none": 0, "at mu": g["at mu"]}[baseline]
    return (g["f"] - b) * g["eps"] * g["sigma"] ** power, g["through"]


def _ratio(**change) -> float:
    score, through = _both(**change)
    return (score.var(0).sum() / through.var(0).sum()).item()


def _ratio_of_squares() -> float:
    score, through = _both()
    return (score.square().sum() / through.square().sum()).item()


SCORE = "score = (f - f.mean())[:, None] * eps / sigma"

variance_ratio = Measurement(
    "variance_ratio",
    truth=_ratio,
    tolerance=0.15,
    slips=[
        Slip((lambda: 1 / _ratio(), lambda: _ratio(power=0)),
             "your score function has the smaller variance, which it never has: is the ratio upside down? Or did you "
             "divide z - mu by sigma, in place of sigma**2?",
             "score = (f - f.mean())[:, None] * eps / sigma, then score.var(0).sum() / through.var(0).sum()"),
        Slip(lambda: _ratio() ** 0.5, "this is the ratio of the standard deviations: its square is asked for",
             "Use .var(0), not .std(0)."),
        Slip(lambda: _ratio(power=1),
             "you multiplied f by z - mu: the score is (z - mu) / sigma**2, which is eps / sigma",
             "score = (f - f.mean())[:, None] * (z - mu) / sigma**2"),
        Slip(lambda: _ratio(power=-2),
             "you divided eps by sigma**2: the score is (z - mu) / sigma**2, and z - mu is sigma * eps", SCORE),
        Slip(lambda: _ratio(baseline="none"),
             "this is the ratio without a baseline: subtract the mean of f from f in the score function", SCORE),
        Slip(lambda: _ratio(baseline="at mu"),
             "your baseline is f(mu), the loss of the mean code: the mean of f over all codes is asked for, which is "
             "larger, since noise costs nats", "f.mean(), with f = lost(z)"),
        Slip(lambda: _ratio(baseline="none") / _ratio(),
             "this is how many times the baseline lowers the variance of the score function: divide its variance with "
             "the baseline by that of the gradient through the sample", "score.var(0).sum() / through.var(0).sum()"),
        Slip(_ratio_of_squares,
             "this is about the ratio of the mean squares: each of the eight numbers varies around its own mean over "
             "the codes, as in .var(0); .var() and .var(1) subtract another mean",
             "score.var(0).sum() / through.var(0).sum()"),
        *[Slip(lambda n=n: n**2 * _ratio(),
               f"your gradients through the sample are {n} times too small: you differentiated the mean of {n} values "
               "of f, and their sum is needed",
               "torch.autograd.grad(f.sum(), z): the gradient with respect to a row of z is that of its own f.")
          for n in (4000, 5000, 8000, 10_000)],
        Slip(lambda: 1.0,
             "the two means are (nearly) equal, and so is their ratio to 1; the variances are far from equal",
             "score.var(0).sum() / through.var(0).sum(), over thousands of samples."),
    ],
    hint="Draw eps of shape (4000, 8), z = mu + sigma * eps with z.requires_grad_(), f = lost(z). One estimator is "
         "torch.autograd.grad(f.sum(), z)[0], the other (f - f.mean())[:, None] * eps / sigma. For each, "
         ".var(0).sum().")
