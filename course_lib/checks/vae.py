"""The checks of exercise 31: noise in its place, a KL between Gaussians, a loss with an unstated beta, free bits, and
the variance of two gradients."""

from collections.abc import Callable
from functools import cache

import torch
from torch import Tensor
from torch.distributions import Normal, kl_divergence
from torch.nn import functional as F

from course_lib.checks import Implementation, Measurement, rand

# --- 1


def _code(mu, logvar, eps, sigma=lambda v: (v / 2).exp()) -> Tensor:
    return mu + sigma(logvar) * eps


reparameterize = Implementation(
    "reparameterize",
    right=_code,
    cases=lambda g: [(rand(g, b, d), rand(g, b, d), rand(g, b, d)) for b, d in ((1, 2), (3, 1), (3, 3), (4, 5))],
    gradient=("mu", "logvar"),
    slips=[
        ("you scaled eps by the variance; the standard deviation is exp(logvar / 2)", dict(sigma=Tensor.exp)),
        ("you scaled eps by logvar itself or by half of it, which may be negative: it is a logarithm, so take exp",
         dict(sigma=lambda v: v), dict(sigma=lambda v: v / 2)),
        ("the half belongs inside the exp, exp(logvar / 2), where it is a root: {}",
         ("you halved the variance", dict(sigma=lambda v: v.exp() / 2)),
         ("you doubled logvar, which squares the variance", dict(sigma=lambda v: (2 * v).exp()))),
        ("you divided eps by the standard deviation: a large variance must spread the codes, not narrow them",
         dict(sigma=lambda v: (-v / 2).exp())),
        ("logvar is a natural logarithm: exp undoes it, and no power of 2 or 10",
         dict(sigma=lambda v: 2 ** (v / 2)), dict(sigma=lambda v: 10 ** (v / 2))),
        ("you took the root of logvar (nan where it is negative) or of its size: take exp first, it is a logarithm",
         dict(sigma=Tensor.sqrt), dict(sigma=lambda v: v.abs().sqrt())),
        ("softplus makes it positive, but not the standard deviation: logvar is a logarithm, so exp undoes it",
         dict(sigma=F.softplus)),
        ("you subtracted the noise: the same bell curve, but not the code that this eps stands for",
         dict(sigma=lambda v: -(v / 2).exp())),
        ("the noise has the standard deviation 1, whatever logvar says", dict(sigma=torch.ones_like)),
        ("you return mu: the noise is not used", dict(sigma=torch.zeros_like)),
        ("mu is missing: the codes lie around 0", lambda mu, logvar, eps: _code(0 * mu, logvar, eps)),
        ("the standard deviation scales the noise and nothing else: {}",
         ("in yours it scales mu in its place", lambda mu, logvar, eps: mu * (logvar / 2).exp() + eps),
         ("you added mu before you multiplied", lambda mu, logvar, eps: (mu + eps) * (logvar / 2).exp()),
         ("in yours mu does", lambda mu, logvar, eps: mu * eps + (logvar / 2).exp())),
    ],
    hints=("How far from mu does the code lie when eps is 1? Which number is that, and how does it come from logvar?",
           "logvar is the logarithm of the variance. The standard deviation is the root of the variance, and the root "
           "of an exponential is the exponential of the half. It stretches eps, coordinate by coordinate; then add mu.",
           "mu + (logvar / 2).exp() * eps"))

# --- 2


def _kl(mu_q, logvar_q, mu_p, logvar_p, square=lambda a, b: (a - b) ** 2, one=1.0, log=lambda q, p: p - q,
        above=Tensor.exp, below=Tensor.exp, fraction=lambda variance, square, below: (variance + square) / below,
        reduce=lambda each: each.sum(1)) -> Tensor:
    share = fraction(above(logvar_q), square(mu_q, mu_p), below(logvar_p))
    return reduce(0.5 * (log(logvar_q, logvar_p) + share - one))


def _normal(of: Callable) -> Callable:
    """With what `of` makes of logvar taken for the standard deviation."""
    return lambda m, v, mp, vp: kl_divergence(Normal(m, of(v)), Normal(mp, of(vp))).sum(1)


def _two_gaussians(g: torch.Generator) -> list[tuple]:
    """In the first case all logvar are positive, so that who takes them for a scale gets a number there."""
    sizes = ((1, 2), (3, 1), (3, 3), (4, 5), (2, 3))
    cases = [(rand(g, b, d), rand(g, b, d), rand(g, d), rand(g, d)) for b, d in sizes]
    cases[0] = tuple(a.abs() + 0.1 for a in cases[0])
    return cases


kl_between = Implementation(
    "kl_between",
    right=_kl,
    cases=_two_gaussians,
    gradient=("mu_q", "logvar_q", "mu_p", "logvar_p"),
    slips=[
        ("you took the mean over the D coordinates: the nats of independent coordinates are added up. A mean weakens "
         "the KL by the factor D, an unstated beta", dict(reduce=lambda t: t.mean(1)), dict(reduce=Tensor.mean)),
        ("one number for each of the examples is asked for, the sum over its D coordinates: {}",
         ("you have not added up", dict(reduce=Tensor.clone)), ("you summed everything", dict(reduce=Tensor.sum)),
         ("you summed over the first axis, the examples", dict(reduce=lambda t: t.sum(0))),
         ("you took the mean over the examples as well", dict(reduce=lambda t: t.sum(1).mean()))),
        ("the variance of p stands below: {}", ("this is KL(p || q)", lambda m, v, mp, vp: _kl(mp, vp, m, v)),
         ("in your fraction it stands above, and that of q below",
          lambda m, v, mp, vp: _kl(m, vp, mp, v, log=lambda q, p: q - p))),
        ("this is the KL to the standard normal N(0, I): mu_p and logvar_p are not used",
         lambda m, v, mp, vp: _kl(m, v, 0 * mp, 0 * vp)),
        ("1/2 is subtracted in each of the D coordinates, so that the KL of a bell curve to itself is 0: yours is {}",
         ("missing", dict(one=0.0)), ("halved once more", dict(one=0.5)), ("added", dict(one=-1.0)),
         ("there once in all", lambda *case: _kl(*case, one=0.0) - 0.5)),
        ("the logarithm of sigma_p / sigma_q is half of logvar_p - logvar_q: yours is {}",
         ("twice that", dict(log=lambda q, p: 2 * (p - q))), ("upside down", dict(log=lambda q, p: q - p)),
         ("missing", dict(log=lambda q, p: 0 * q)),
         ("a quotient of logarithms", dict(log=lambda q, p: p / q), dict(log=lambda q, p: 2 * p / q))),
        ("you treat logvar as the logarithm of the standard deviation: exp(logvar) is the variance already",
         _normal(Tensor.exp)),
        ("you treat logvar as the standard deviation or as the variance itself, which cannot be negative: it is the "
         "logarithm of the variance", _normal(Tensor.clone),
         lambda m, v, mp, vp: ((vp / v).log() + (v**2 + (m - mp) ** 2) / (2 * vp**2) - 0.5).sum(1),
         dict(log=lambda q, p: p.log() - q.log(), above=Tensor.clone, below=Tensor.clone)),
        ("where the formula has variances you have standard deviations: sigma^2 is exp(logvar), without a half",
         *(dict(zip(where, [lambda v: (v / 2).exp()] * 2)) for where in (["above", "below"], ["above"], ["below"]))),
        ("variance_q + (mu_q - mu_p)^2, all of it, is divided by 2 sigma_p^2. Mind the brackets: {}",
         ("you multiply by the variance of p (a / 2 * b is half of a, times b)",
          dict(fraction=lambda a, s, b: (a + s) * b)),
         ("the square is not divided", dict(fraction=lambda a, s, b: a / b + s)),
         ("the variance of q is not divided",
          dict(fraction=lambda a, s, b: a + s / b), dict(fraction=lambda a, s, b: 2 * a + s / b)),
         ("the 2 is there once",
          dict(fraction=lambda a, s, b: 2 * (a + s) / b), dict(fraction=lambda a, s, b: (a + s) / b / 2))),
        ("{} in the fraction: above stand variance_q and the square of mu_q - mu_p",
         ("the variance of q is missing", dict(above=torch.zeros_like)),
         ("the means are not used", dict(square=lambda a, b: 0 * (a - b)))),
        ("the square belongs to the difference mu_q - mu_p: {}",
         ("you have forgotten it", dict(square=torch.sub), dict(square=lambda a, b: (a - b).abs())),
         ("yours is that of something else",
          dict(square=lambda a, b: (a + b) ** 2), dict(square=lambda a, b: a**2 - b**2),
          lambda m, v, mp, vp: _kl(m, v, mp, vp, fraction=lambda a, s, b: (a + m - mp) ** 2 / b))),
    ],
    hints=("Take q and p alike: then the KL must be 0 in each coordinate. Is yours? Then let only one thing differ, "
           "the means or the variances, and compute by hand what one coordinate should give.",
           "Translate the formula piece by piece. A variance is the exponential of logvar, the logarithm of sigma is "
           "half of logvar, the logarithm of a ratio is a difference. Add the D coordinates of each example.",
           "each = (0.5 * (logvar_p - logvar_q) + (logvar_q.exp() + (mu_q - mu_p)**2) / (2 * logvar_p.exp()) - 0.5)\n"
           "return each.sum(1)"))

# --- 3


def _a_sum(t: Tensor) -> Tensor:
    return t.sum() / len(t)                                       # per image


def _bce(logits: Tensor, x: Tensor) -> Tensor:
    return F.binary_cross_entropy_with_logits(logits, x, reduction="none")


def _elbo(logits, x, mu, logvar, rec: Callable = _a_sum, kl: Callable = _a_sum, loss: Callable = lambda r, k: r + k,
          nats: Callable = _bce, entries: Callable = lambda r, k: (r, k)) -> dict[str, Tensor]:
    """-ELBO: how nats of pixels (B, ...) and of codes (B, D) are reduced and put together."""
    r, k = rec(nats(logits, x)), kl(0.5 * (mu**2 + logvar.exp() - logvar - 1))
    entry = entries(r, k)
    return {"loss": loss(r, k), "reconstruction": entry[0], "kl": entry[1]}


def _per_pixel(logits, x, mu, logvar):
    return {key: value * len(x) / x.numel() for key, value in _elbo(logits, x, mu, logvar).items()}


def _loss_alone(*case):
    return _elbo(*case, rec=Tensor.mean) | {"loss": _elbo(*case)["loss"]}


def _repaired_or_not(**change: Callable) -> tuple[dict, dict]:
    """A new mistake, in the repaired function and in the one that still has the bug."""
    return change, dict(change, rec=Tensor.mean)


def _pictures(g: torch.Generator) -> list[tuple]:
    sizes = (((1, 1, 2, 2), 2), ((3, 1, 5, 4), 1), ((3, 3, 3, 7), 4), ((4, 2, 6, 2), 5))
    return [(rand(g, *size), torch.rand(size, generator=g), rand(g, size[0], d), rand(g, size[0], d))
            for size, d in sizes]


negative_elbo = Implementation(
    "negative_elbo",
    right=_elbo,
    cases=_pictures,
    gradient=("logits", "mu", "logvar"),
    slips=[
        ("the bug is still there: over how many numbers is each of the two terms a sum, and over how many a mean?",
         dict(rec=Tensor.mean), "Print both terms for a single image, and count the numbers that each is made of."),
        ("now both terms are means, one over the pixels and one over the code numbers: as there are many more pixels, "
         "the KL still has a hidden factor. Sum both, image by image", dict(rec=Tensor.mean, kl=Tensor.mean)),
        ("you balance the two terms by making the KL smaller: that is in nats per pixel, and nats per image are asked "
         "for", _per_pixel, dict(rec=Tensor.mean, kl=lambda t: _a_sum(t) / 784)),
        ("the KL was right as it stood: the sum of its numbers for an image, then the mean over the images",
         *(dict(kl=kl) for kl in (Tensor.mean, Tensor.sum, lambda t: 2 * _a_sum(t), lambda t: -_a_sum(t),
                                  lambda t: t.sum(0).mean()))),
        ("in both terms the mean over the images is asked for: {}",
         ("the reconstruction is a sum over them, and in a batch of 64 the KL counts only 1/64", dict(rec=Tensor.sum)),
         ("yours are sums over the whole batch", dict(rec=Tensor.sum, kl=Tensor.sum)),
         ("you divide by 64, whatever the batch", dict(rec=lambda t: t.sum() / 64))),
        ("a factor of 784 fits images of 28 × 28 pixels only, and none is needed: sum over the pixels, however many",
         dict(rec=lambda t: 784 * t.mean()), dict(rec=Tensor.mean, loss=lambda r, k: 784 * r + k),
         *_repaired_or_not(loss=lambda r, k: r + k / 784)),
        ("the loss is minus the ELBO, the plain sum of two positive terms: {}",
         ("you subtract the KL", *_repaired_or_not(loss=lambda r, k: r - k)),
         ("yours is the ELBO itself", *_repaired_or_not(loss=lambda r, k: -r - k)),
         ("yours is half of it", *_repaired_or_not(loss=lambda r, k: (r + k) / 2)),
         ("yours has no KL: an autoencoder", *_repaired_or_not(loss=lambda r, k: r)),
         ("your reconstruction has changed its sign", dict(rec=lambda t: -_a_sum(t), loss=lambda r, k: k - r))),
        ("the entry 'loss' is right, and {}", ("'reconstruction' is still in nats per pixel", _loss_alone),
         ("'reconstruction' and 'kl' have changed places", dict(entries=lambda r, k: (k, r)))),
        ("the values are right, but 'reconstruction' and 'kl' are cut from their graph: by .item() or .detach()?",
         dict(entries=lambda r, k: (r.detach(), k.detach()))),
        ("the cross-entropy itself was right: {}",
         ("it takes the logits first, and then x", *_repaired_or_not(nats=lambda z, x: _bce(x, z))),
         ("you applied the sigmoid, and so does it", *_repaired_or_not(nats=lambda z, x: _bce(z.sigmoid(), x))),
         ("you replaced it by a squared error", *_repaired_or_not(nats=lambda z, x: (z.sigmoid() - x) ** 2),
          *_repaired_or_not(nats=lambda z, x: (z - x) ** 2))),
        ("the pixels of an image are the axes 1, 2 and 3: you add up only some of these axes",
         *(dict(rec=lambda t, axes=axes: t.sum(axes).mean()) for axes in (1, (1, 2), (2, 3), -1))),
    ],
    hints=("The code was right but for one line. Which of the two terms depends on the number of pixels as it should?",
           "Minus the log-probability of an image is a sum over its pixels, as the KL is a sum over the code numbers; "
           "over the images of a batch take the mean of both. What does the library's function do if it is not told?",
           'reconstruction = F.binary_cross_entropy_with_logits(logits, x, reduction="sum") / len(x)'))

# --- 4


def _floored(kl_each, floor, mean=lambda t: t.mean(0), larger=lambda m, floor: m.clamp(min=floor)) -> Tensor:
    return larger(mean(kl_each), floor).sum()


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


free_bits = Implementation(
    "free_bits",
    right=_floored,
    cases=_codes,
    gradient=("kl_each",),
    slips=[
        ("you compare each image alone with the floor: take the mean over the batch first, so that a code number may "
         "be spent on some images and spared on others",
         lambda kl, floor: kl.clamp(min=floor), lambda kl, floor: kl.clamp(min=floor).sum(1),
         lambda kl, floor: kl.clamp(min=floor).sum(), lambda kl, floor: kl.clamp(min=floor).mean(0).sum()),
        ("this is the smaller of the two: what lies above the floor must count, so take the larger",
         dict(larger=lambda m, floor: m.clamp(max=floor))),
        ("the floor is for each code number, and you compare the whole code with it (or with D floors at once)",
         dict(mean=lambda t: t.sum(1).mean()), lambda kl, floor: kl.sum(1).clamp(min=floor).mean(),
         lambda kl, floor: kl.sum(1).mean().clamp(min=floor * kl.shape[1]),
         "One number of the code could spend it all, and the others be switched off."),
        ("you count only what lies above the floor: that has the right gradient, but max(floor, m) is asked for, which "
         "is floor below it, not 0", dict(larger=lambda m, floor: (m - floor).clamp(min=0))),
        ("a code number below the floor counts 0 in your sum: max(floor, m) is floor there",
         dict(larger=lambda m, floor: m * (m > floor))),
        ("you add the floor to each term: it should replace what lies below it", dict(larger=torch.add)),
        ("the floor has no effect: this is the plain KL", dict(larger=lambda m, floor: m), lambda kl, floor: kl.sum(1)),
        ("you add up the images of the batch, or compare their sum or their shares with the floor: what is compared "
         "is their mean", dict(mean=lambda t: t.sum(0)), dict(mean=lambda t: t / len(t)),
         lambda kl, floor: kl.sum(0).clamp(min=floor).sum() / len(kl)),
        ("you took the mean over axis 1, the code numbers: the batch is axis 0", dict(mean=lambda t: t.mean(1))),
        ("you took the mean over the whole table: each code number has a floor of its own", dict(mean=Tensor.mean)),
    ],
    hints=("What is compared with the floor: a number for one image, for one of the D code numbers, or for the batch?",
           "In this order: the mean over the batch, which leaves D numbers; for each of them the larger of it and the "
           "floor; their sum.",
           "kl_each.mean(0).clamp(min=floor).sum()"))

# --- 5


@cache
def _two_gradients() -> dict[str, Tensor]:
    """6,000 one-sample gradients (6000, D) of E_q[-log p(x|z)] with respect to mu for test digit 24, by two estimators;
    the factors in which one can go wrong."""
    from course_lib import checkpoint
    from course_lib.data import load
    from course_lib.vae import bernoulli_log_prob

    model, x = checkpoint.load("vae"), load("digits").test.x[24:25]
    mu, logvar = (p.detach() for p in model.encode(x))
    eps = torch.randn(6000, mu.shape[1], generator=torch.Generator().manual_seed(0))
    z = (mu + (logvar / 2).exp() * eps).requires_grad_()
    f = torch.cat([-bernoulli_log_prob(model.decoder(part), x.expand(len(part), -1, -1, -1)) for part in z.split(500)])
    through, = torch.autograd.grad(f.sum(), z)
    at_mu = -bernoulli_log_prob(model.decoder(mu), x).detach()
    return {"f": f.detach()[:, None], "at mu": at_mu, "through": through, "eps": eps, "sigma": (logvar / 2).exp()}


def _ratio(baseline="mean", power: int = -1, total=lambda g: g.var(0).sum()) -> float:
    """Of the variances of the gradients by the score function, (f - b) eps sigma^power, and through the sample."""
    g = _two_gradients()
    b = {"mean": g["f"].mean(), "none": 0, "at mu": g["at mu"]}[baseline]
    return (total((g["f"] - b) * g["eps"] * g["sigma"] ** power) / total(g["through"])).mean().item()


variance_ratio = Measurement(
    "variance_ratio",
    truth=_ratio,
    tolerance=0.15,
    slips=[
        ("your score function has the smaller variance, which it never has: is the ratio upside down? Or did you "
         "divide z - mu by sigma, in place of sigma**2?", lambda: 1 / _ratio(), dict(power=0)),
        ("this is the ratio of the standard deviations: its square is asked for", lambda: _ratio() ** 0.5),
        ("you multiplied f by z - mu: the score is (z - mu) / sigma**2, which is eps / sigma", dict(power=1)),
        ("you divided eps by sigma**2: the score is (z - mu) / sigma**2, and z - mu is sigma * eps", dict(power=-2)),
        ("this is the ratio without a baseline: subtract the mean of f from f in the score function",
         dict(baseline="none")),
        ("your baseline is f(mu), the loss of the mean code: the mean of f over all codes is asked for, which is "
         "larger, since noise costs nats", dict(baseline="at mu")),
        ("this is how many times the baseline lowers the variance of the score function: divide its variance with the "
         "baseline by that of the gradient through the sample", lambda: _ratio(baseline="none") / _ratio()),
        ("this is about the ratio of the mean squares: each of the eight numbers varies around its own mean over the "
         "codes; a variance over everything, or over the eight, subtracts another mean",
         dict(total=lambda g: g.square().sum())),
        ("this is the mean of eight ratios: the ratio of two sums is asked for, each over the eight numbers",
         dict(total=lambda g: g.var(0))),
        ("your gradients through the sample are N times too small: you differentiated the mean of f over the N codes, "
         "and the sum is needed", *(lambda n=n: n**2 * _ratio() for n in (4000, 5000, 8000, 10_000))),
        ("the two means are (nearly) equal, and so is their ratio to 1; the variances are far from equal", 1.0),
    ],
    hints=("Which two tables do you compare, each with one row for a code and eight columns? Over which axis does a "
           "number of the gradient vary?",
           "One table is the gradient of the sum of all f with respect to z. The other is f without its mean, times "
           "eps, divided by sigma. In each take the variance over the codes, and add up the eight.",
           "z = (mu + sigma * eps).requires_grad_(); f = lost(z); through = torch.autograd.grad(f.sum(), z)[0]\n"
           "score = (f - f.mean())[:, None] * eps / sigma\n"
           "score.var(0).sum() / through.var(0).sum()"))
