"""The checks of exercise 63: a guided prediction, a loss that drops labels, a step of in-painting, a spread."""

import torch
from torch import Tensor
from torch.nn import functional as F

from course_lib import diffusion
from course_lib.checks import Implementation, Measurement, by_example, rand

# --- 1


class _Network:
    """A stand-in for a trained network: another smooth function of x and t for each label. It counts nothing, takes a
    label for all or one for each, and like an embedding it refuses labels that it does not have."""

    def __init__(self, g: torch.Generator, n_label: int, *shape: int):
        self.shape, self.table = shape, rand(g, 3, n_label, *shape) + 0.3     # scale, shift and slope in time

    def __call__(self, x: Tensor, t: Tensor, y: Tensor | int) -> Tensor:
        y = torch.as_tensor(y).expand(len(x))
        scale, shift, slope = (F.embedding(y, part.flatten(1)).view(len(x), *self.shape) for part in self.table)
        return (x * scale + shift).tanh() + slope * by_example(0.1 * t, x)


def _wished(g: torch.Generator) -> list[tuple]:
    """Points and images, labels from 0, and the empty label somewhere among them: it need not be the last."""
    cases = []
    for shape, null in (((1, 2), 3), ((3, 2), 5), ((2, 2), 2), ((3, 1, 4, 2), 4), ((2, 1, 3, 3), 5)):
        label = torch.randint(5, shape[:1], generator=g)
        scale = 1.5 + torch.arange(shape[0]) + torch.rand(shape[0], generator=g)
        cases.append((_Network(g, 6, *shape[1:]), rand(g, *shape), torch.randint(10, shape[:1], generator=g),
                      label + (label >= null), null, scale))
    return cases


def _guided(model, x, t, y, null, scale, rule=lambda u, c, s: u + s * (c - u), empty=torch.full_like,
            strength=by_example):
    """rule(the answer without the label, the one with it, scale)"""
    with_label, without = model(x, t, y), model(x, t, empty(y, null))
    return rule(without, with_label, strength(scale, x))


def _interleaved(model, x, t, y, null, scale):
    """The labels of a doubled batch in the order y0, null, y1, null, ..., its examples in the order x0, x1, x0, x1."""
    pairs = torch.stack([y, torch.full_like(y, null)], 1).flatten()
    c, u = model(torch.cat([x, x]), torch.cat([t, t]), pairs).chunk(2)
    return u + by_example(scale, x) * (c - u)


guided_prediction = Implementation(
    "guided_prediction",
    right=_guided,
    cases=_wished,
    slips=[
        ("the way begins at the answer *without* the label and leads to the one *with* it: {}",
         ("you start at the one with it, so that scale 0 is the conditional model and 1 exaggerates already. (So does "
          "the w of Ho & Salimans, 2022: our scale is 1 + w)", dict(rule=lambda u, c, s: c + s * (c - u))),
         ("the two have changed places", dict(rule=lambda u, c, s: c + s * (u - c))),
         ("you walk away from the label", dict(rule=lambda u, c, s: u - s * (c - u))),
         ("your start is missing", dict(rule=lambda u, c, s: s * (c - u)),
          lambda *case: case[1] + _guided(*case, rule=lambda u, c, s: s * (c - u))),
         ("your scale is one too small, and scale 1 goes all the way",
          dict(rule=lambda u, c, s: u + (s - 1) * (c - u)))),
        ("you scaled a whole answer: it is the *difference* of the two that is scaled, and added to the one without "
         "the label", *(dict(rule=rule) for rule in (
             lambda u, c, s: u + s * c, lambda u, c, s: c + s * u, lambda u, c, s: s * c - u, lambda u, c, s: c - s * u,
             lambda u, c, s: s * (c + u), lambda u, c, s: (u + s * c) / (1 + s)))),
        ("the {} not used: two answers of the model are needed, and the strength of each example",
         ("scale and the labels y are", dict(rule=lambda u, c, s: u)),
         ("scale and the empty label are", dict(rule=lambda u, c, s: c)),
         ("empty label is", dict(rule=lambda u, c, s: s * c))),
        ("you use one strength for all examples: each has its own",
         dict(strength=lambda s, x: s[0]), dict(strength=lambda s, x: s.mean())),
        ("you took label 0 for the empty label, and it is a class like any other: the empty one is `null`",
         dict(empty=lambda y, null: torch.zeros_like(y))),
        ("right for a single example; in a larger batch the labels do not meet their examples: you doubled x as x, x "
         "and the labels as label, null, label, null", _interleaved),
        ("scale of shape (B,) meets the last axis of x and not the first, so that coordinates get strengths in place "
         "of examples", dict(strength=lambda s, x: s)),
        ("right for images, and not for points: scale of shape (B,) needs as many axes as x", {0, 1, 2}),
        ("right for points (B, 2), and not for images (B, 1, H, W): scale of shape (B,) needs as many axes as x",
         {3, 4}),
    ],
    hints=("What should come out at scale 0, and what at scale 1? Try both, and then two examples with different "
           "scales.",
           "Ask the model twice, once with the labels y, once with the empty label for all. The result is the answer "
           "without the label plus scale times the difference, with minus without. Before that, give scale as many "
           "axes as x has: (B, 1) for points, (B, 1, 1, 1) for images.",
           "with_label, without = model(x, t, y), model(x, t, torch.full_like(y, null))\n"
           "without + scale.view(-1, *[1] * (x.ndim - 1)) * (with_label - without)"))

# --- 2

NULL, SHARE = 8, 0.1
NOISE = diffusion.linear_alphas_cumprod(100)


def _coins(g: torch.Generator) -> list[tuple]:
    """Which of the examples lose their label: the only one; the second; none; the first and the fourth."""
    cases = []
    for dropped in ((True,), (False, True, False), (False, False), (True, False, False, True, False)):
        B, lost = len(dropped), torch.tensor(dropped)
        u = torch.where(torch.arange(B) % 2 == 1, 0.15 + 0.3 * torch.rand(B, generator=g),    # some far from each end
                        0.92 + 0.07 * torch.rand(B, generator=g))
        u = torch.where(lost, 0.01 + 0.08 * torch.rand(B, generator=g), u)
        y = 1 + torch.randperm(7, generator=g)[:B]                # 1 ... 7, all different: 0 would hide the bug
        cases.append((_Network(g, 9, 2), rand(g, B, 2), y, torch.randint(5, 95, (B,), generator=g), rand(g, B, 2), u))
    return cases


def _labelled(model, x0, y, t, eps, u, coin=lambda u: u < SHARE, seen=lambda y, lost: y.masked_fill(lost, NULL),
              keep=None, mean=lambda square, lost: square.mean()):
    """The loss with the labels seen(y, lost), of the examples keep(lost)."""
    lost = coin(u)
    x_t, y = diffusion.q_sample(x0, t, eps, NOISE), seen(y, lost)
    if keep:
        x_t, t, y, eps = (v[keep(lost)] for v in (x_t, t, y, eps))
    return mean((model(x_t, t, y) - eps).square(), lost)


label_loss = Implementation(
    "label_loss",
    right=_labelled,
    cases=_coins,
    gradient=("x0",),
    slips=[
        ("the bug is still there: what label does the network see where one was erased, and what does this label mean?",
         dict(seen=lambda y, lost: y * ~lost), dict(seen=lambda y, lost: y * lost)),
        ("a label becomes the empty one, 8, where u < 0.1 and nowhere else: {}",
         ("none is erased any more, so that the network never learns what to do without one",
          dict(seen=lambda y, lost: y)),
         ("you erase all others, and keep these", dict(seen=lambda y, lost: y.masked_fill(~lost, NULL))),
         ("yours becomes 7, the last mode", dict(seen=lambda y, lost: y.masked_fill(lost, NULL - 1))),
         ("in yours others lose theirs", dict(coin=lambda u: u > 1 - SHARE), dict(coin=lambda u: u < 0.5)),
         ("in yours one coin decides for the whole batch, and each example has its own",
          *(dict(coin=lambda u, f=f: f(u < SHARE)) for f in (torch.any, torch.all, lambda lost: lost[0]))),
         ("you erase all", dict(seen=lambda y, lost: torch.full_like(y, NULL)))),
        ("the examples without a label must be learned as well, with the empty label: {}",
         ("you leave them out", dict(keep=lambda lost: ~lost),
          dict(seen=lambda y, lost: y, keep=lambda lost: ~lost | lost.all())),
         ("your loss counts them as 0", *(dict(seen=seen, mean=lambda square, lost: (square * ~lost[:, None]).mean())
                                          for seen in (lambda y, lost: y, lambda y, lost: y * ~lost,
                                                       lambda y, lost: y.masked_fill(lost, NULL))))),
        ("the last line was right as it stood: it returns the mean of all squared errors, one number",
         *(dict(mean=lambda square, lost, f=f: f(square)) for f in (
             torch.sum, lambda s: s.sum(1).mean(), lambda s: s.mean(1), lambda s: s.sqrt().mean()))),
    ],
    hints=("All lines but one are right. Print y and `seen` for a batch of six, with u = 0 for two of them: which of "
           "the nine labels do these two have?",
           "A product with False is 0, and 0 is the label of the first mode. Where a label is erased, the network must "
           "see the last of the nine, 8, which means that there is none.",
           "seen = torch.where(keep, y, 8)"))

# --- 3


def _holes(g: torch.Generator) -> list[tuple]:
    """Points and images in the middle of the way; in cases 2 and 4 at its end, and in the last a step before it."""
    cases = []
    for T, t, t_next, shape in ((10, 6, 3, (1, 2)), (40, 39, 26, (3, 2)), (20, 4, -1, (2, 3)),
                                (30, 20, 8, (3, 1, 4, 2)), (25, 3, -1, (1, 1, 3, 3)), (5, 2, 0, (2, 2))):
        mask = torch.rand(shape, generator=g) < 0.5
        mask.view(-1)[:2] = torch.tensor([True, False])
        eps, x, known, noise = (rand(g, *shape) for _ in range(4))
        schedule = torch.linspace(0.95, 0.05, T) ** (1 + torch.rand(1, generator=g))
        cases.append((eps, x, t, t_next, known, mask, 1.5 + noise, schedule) if t_next < 0 else
                     (eps, x, t, t_next, 1 + known, mask, noise, schedule))
    return cases


def _level(a: Tensor, time: int) -> Tensor:
    return a[time] if time >= 0 else torch.ones(())               # -1 is the clean image


def _mix(a: Tensor, known: Tensor, noise: Tensor) -> Tensor:
    return a.sqrt() * known + (1 - a).sqrt() * noise


def _inpaint(eps, x_t, t, t_next, known, mask, noise, alphas_cumprod, at=lambda t, t_next: t_next, level=_level,
             mix=_mix, rest=diffusion.ddim_step, put=torch.where):
    """What is put where mask is True has the noise of the time at(t, t_next)."""
    seen = mix(level(alphas_cumprod, at(t, t_next)), known, noise)
    return put(mask, seen, rest(eps, x_t, t, t_next, alphas_cumprod))


def _before(**change):
    """The known pixels are put into x_t, and then comes the step."""
    def inpaint_step(eps, x_t, t, t_next, known, mask, noise, a):
        x_t = _inpaint(eps, x_t, t, t_next, known, mask, noise, a, rest=lambda eps, x_t, *_: x_t, **change)
        return diffusion.ddim_step(eps, x_t, t, t_next, a)
    return inpaint_step


def _guess(eps, x_t, t, t_next, a):
    """The clean image that eps stands for."""
    return (x_t - (1 - a[t]).sqrt() * eps) / a[t].sqrt()


CLEAN = dict(mix=lambda a, known, noise: known)
LAST = dict(level=lambda a, time: a[time])                        # of the time T - 1, where time is -1
FLIP = dict(put=lambda mask, seen, x: torch.where(mask, x, seen))

inpaint_step = Implementation(
    "inpaint_step",
    right=_inpaint,
    cases=_holes,
    slips=[
        ("the known pixels have the noise of the time t or t - 1: after the step the others are at t_next",
         dict(at=lambda t, t_next: t), *(dict(at=lambda t, t_next, early=early: -1 if t_next < 0 else t - early)
                                         for early in (0, 1))),
        ("the known pixels stay clean on the way, while the rest of x is noisy: at the time t_next they need the noise "
         "of this time", CLEAN),
        ("the mask is the wrong way round: it is True where pixels are known, and there the sampler paints",
         FLIP, FLIP | LAST, FLIP | CLEAN),
        ("you make the known pixels noisy with eps, the network's prediction: take `noise`",
         *(lambda eps, x, t, n, known, mask, _, a, more=more: _inpaint(eps, x, t, n, known, mask, eps, a, **more)
           for more in ({}, LAST))),
        ("you put the known pixels into x_t before the step and not into its result: then the step changes them, and "
         "at the end they are not what was given", _before(), _before(**CLEAN), _before(at=lambda t, t_next: t)),
        ("known and mask are not used: this is the sampler's own step", dict(put=lambda mask, seen, x: x)),
        ("right on the way, but the last step leaves the known pixels full of noise: alphas_cumprod[-1] is the "
         "*noisiest* level, and t_next = -1 means the clean image", LAST),
        ("t_next = 0 is not yet the end, only -1 is: at 0 there still is a little noise",
         dict(level=lambda a, time: _level(a, time or -1))),
        ("the known pixels are mixed with the noise in other shares than in q_sample: the roots of a and of 1 - a, "
         "with a = alphas_cumprod[t_next]",
         *(way for f in (
             lambda a, x, noise: a * x + (1 - a) * noise, lambda a, x, noise: a.sqrt() * x + (1 - a) * noise,
             lambda a, x, noise: a.sqrt() * x + (1 - a.sqrt()) * noise, lambda a, x, noise: _mix(1 - a, x, noise),
             lambda a, x, noise: x + (1 - a).sqrt() * noise, lambda a, x, noise: x + noise,
             lambda a, x, noise: noise)
           for way in (dict(mix=f), LAST | dict(mix=f),
                       dict(mix=lambda a, x, noise, f=f: x if a == 1 else f(a, x, noise))))),
        ("you add the known pixels to those of the sampler: they take their place",
         dict(put=lambda mask, seen, x: x + mask * seen)),
        ("the known pixels are right, and not the others: where nothing is known, the step of DDIM is asked for",
         *(dict(rest=rest) for rest in (
             lambda eps, x, *_: 0 * x, lambda eps, x, *_: x, _guess,
             lambda eps, x, t, t_next, a: diffusion.ddim_step(eps, x, t, t - 1, a),
             lambda eps, x, t, t_next, a: diffusion.ddim_step(x, eps, t, t_next, a))),
         lambda *case: _inpaint(*case, rest=lambda *given: _mix(_level(given[4], given[3]), _guess(*given), case[6]))),
        ("right on the way, and wrong at its end, where t_next = -1 means the clean image: there the known pixels are "
         "`known` itself", {2, 4}),
    ],
    hints=("Look at one known and one unknown pixel of your result: how much noise has each, and how much should it "
           "have at the time t_next? And in the last step?",
           "The step of DDIM is right where nothing is known. Where mask is True, the known pixels take its place, "
           "with noise in the shares of the time t_next, as in eq. 1; where t_next is -1, they are clean.",
           "x = diffusion.ddim_step(eps, x_t, t, t_next, alphas_cumprod)\n"
           "a = alphas_cumprod[t_next] if t_next >= 0 else torch.ones(())\n"
           "torch.where(mask, a.sqrt() * known + (1 - a).sqrt() * noise, x)"))

# --- 4

S, SCALE = 0.6, 3

guided_spread = Measurement(
    "guided_spread",
    truth=lambda scale=SCALE: S**scale,            # DDIM with small steps; its equation can be solved
    tolerance=0.06,
    slips=[
        ("this belongs to the density p(x | y)^3 / p(x)^2, on paper: guided samples do not come from it; measure "
         "theirs",
         *((SCALE / S**2 + 1 - SCALE) ** power for power in (-0.5, -1, 1))),
        ("this is the spread without guidance: set the scale to 3", dict(scale=1)),
        ("this is the spread of all heights: are your samples guided, and by label 0?", 1.0),
        ("this is the variance: its root, the standard deviation, is asked for", dict(scale=2 * SCALE)),
        ("this is the spread at scale 2, or the variance at scale 1: the scale is 3, and the standard deviation is "
         "asked for", dict(scale=2)),
        ("this is the spread of samples by `ddpm`, whose fresh noise in every step widens them: draw with `ddim`",
         0.329),                                   # measured: 40,000 samples
        ("so much comes out with too few steps, or with the other schedule: take 250 of slow_alphas_cumprod, which has "
         "1,000", 0.192, 0.105),                   # measured: 50 and 10 steps; the schedule of the ring with its 100
        ("this is the mean of the samples: their standard deviation is asked for", 1.72),                 # measured
        ("the label and the empty label have changed places: 0 is the one, 1 the other", dict(scale=1 - SCALE)),
        ("this is the spread at scale 4: with `guided`, scale is 1 + w and not w", dict(scale=SCALE + 1)),
    ],
    hints=("Measure a case that you know first: at scale 1 the samples must have the spread of p(x | 0), which is 0.6.",
           "Wrap heights in guided, with label 0, the empty label 1 and scale 3. Give this to ddim, with 10,000 "
           "numbers of noise, (10000, 1), the schedule of 1,000 and 250 steps. Then take the standard deviation.",
           "guess = diffusion.guided(heights, 0, 1, 3.0)\n"
           "diffusion.ddim(guess, torch.randn(10_000, 1), slow_alphas_cumprod, 250).std()"))
