"""The checks of exercise 63: a guided prediction, a loss that drops labels, a step of in-painting, a spread."""

import torch
from torch import Tensor
from torch.nn import functional as F

from course_lib import diffusion
from course_lib.checks import Implementation, Measurement, Slip, rand

# --- 1


class _Network:
    """A stand-in for a trained network: another smooth function of x and t for each label. It counts nothing, takes a
    label for all or one for each, and like an embedding it refuses labels that it does not have."""

    def __init__(self, g: torch.Generator, n_label: int, *shape: int):
        self.shape, self.table = shape, rand(g, 3, n_label, *shape) + 0.3     # scale, shift and slope in time

    def __call__(self, x: Tensor, t: Tensor, y: Tensor | int) -> Tensor:
        y = torch.as_tensor(y).expand(len(x))
        scale, shift, slope = (F.embedding(y, part.flatten(1)).view(len(x), *self.shape) for part in self.table)
        return (x * scale + shift).tanh() + slope * _each(0.1 * t, x)


def _wished(g: torch.Generator) -> list[tuple]:
    """Points and images, labels from 0, and the empty label somewhere among them: it need not be the last."""
    cases = []
    for shape, null in (((1, 2), 3), ((3, 2), 5), ((2, 2), 2), ((3, 1, 4, 2), 4), ((2, 1, 3, 3), 5)):
        label = torch.randint(5, shape[:1], generator=g)
        scale = 1.5 + torch.arange(shape[0]) + torch.rand(shape[0], generator=g)
        cases.append((_Network(g, 6, *shape[1:]), rand(g, *shape), torch.randint(10, shape[:1], generator=g),
                      label + (label >= null), null, scale))
    return cases


def _each(value: Tensor, x: Tensor) -> Tensor:
    """A number for each example, ready to be multiplied with x.  (B,), (B, ...) -> (B, 1, ...)"""
    return value.view(-1, *[1] * (x.ndim - 1))


def _guided(rule=lambda c, u, s: u + s * (c - u), null=None):
    """rule(with the label, without, scale), or with another label in place of the empty one"""
    def guided(model, x, t, y, null_label, scale):
        empty = torch.full_like(y, null_label if null is None else null)
        return rule(model(x, t, y), model(x, t, empty), _each(scale, x))
    return guided


def _interleaved(model, x, t, y, null, scale):
    """The labels of a doubled batch in the order y0, null, y1, null, ..., its examples in the order x0, x1, x0, x1."""
    pairs = torch.stack([y, torch.full_like(y, null)], 1).flatten()
    c, u = model(torch.cat([x, x]), torch.cat([t, t]), pairs).chunk(2)
    return u + _each(scale, x) * (c - u)


guided_prediction = Implementation(
    "guided_prediction",
    right=_guided(),
    cases=_wished,
    slips=[
        Slip(_guided(lambda c, u, s: c + s * (c - u)),
             "you start at the prediction with the label, so scale 0 is the conditional model and 1 exaggerates "
             "already: start at the one without",
             "This is the w of Ho & Salimans (2022), and our scale is 1 + w: the same walk begins at `without`."),
        Slip(_guided(lambda c, u, s: c + s * (u - c)),
             "with and without have changed places: at scale 0 you have the conditional model, at 1 the unconditional "
             "one"),
        Slip(_guided(lambda c, u, s: u - s * (c - u)),
             "you walk away from the label: the way goes from the prediction without it *to* the one with it"),
        Slip(tuple(map(_guided, (lambda c, u, s: u + s * c, lambda c, u, s: c + s * u, lambda c, u, s: s * c - u,
                                 lambda c, u, s: c - s * u, lambda c, u, s: s * (c + u),
                                 lambda c, u, s: (u + s * c) / (1 + s)))),
             "you scaled a whole prediction: it is the *difference* of the two that is scaled, and added to the one "
             "without the label"),
        Slip((_guided(lambda c, u, s: s * (c - u)),
              lambda *case: case[1] + _guided(lambda c, u, s: s * (c - u))(*case)),
             "the prediction without the label is missing: the way starts there"),
        Slip(_guided(lambda c, u, s: u + (s - 1) * (c - u)),
             "your scale is one too small: scale 1 goes all the way, to the prediction with the label"),
        Slip(_guided(lambda c, u, s: u), "scale and the labels y are not used: this is the unconditional model"),
        Slip((_guided(lambda c, u, s: u + s[0] * (c - u)), _guided(lambda c, u, s: u + s.mean() * (c - u))),
             "you use one strength for all examples: each has its own",
             "scale.view(-1, *[1] * (x.ndim - 1)) fits any x"),
        Slip(_guided(lambda c, u, s: s * c),
             "you scaled the prediction with the label: the empty label is not used, and noise of the wrong size comes "
             "out"),
        Slip(_guided(lambda c, u, s: c), "scale and the empty label are not used: this is the conditional model"),
        Slip(_guided(null=0),
             "you took label 0 for the empty label, and it is a class like any other: the empty one is `null`"),
        Slip(_interleaved,
             "right for a single example; in a larger batch the labels do not meet their examples: you doubled x as x, "
             "x and the labels as label, null, label, null",
             "torch.cat([y, torch.full_like(y, null)]) has the order of torch.cat([x, x])."),
        Slip(lambda *case: _guided(lambda c, u, s: u + case[5] * (c - u))(*case),
             "scale of shape (B,) meets the last axis of x and not the first, so coordinates get strengths in place of "
             "examples", "scale.view(-1, *[1] * (x.ndim - 1)), which is (B, 1) for points and (B, 1, 1, 1) for images"),
        Slip(None, "right for images, and not for points: scale of shape (B,) needs as many axes as x",
             "scale.view(-1, *[1] * (x.ndim - 1)) fits any x", only=(0, 1, 2)),
        Slip(None,
             "right for points (B, D), and not for images (B, C, H, W): scale of shape (B,) needs as many axes as x",
             "scale.view(-1, 1, 1, 1) for images; for any x, scale.view(-1, *[1] * (x.ndim - 1))", only=(3, 4)),
    ],
    hint="Ask the model twice, with the labels y and with torch.full_like(y, null). Then without + scale * (with - "
         "without), where scale is brought to the shape (B, 1) for points and (B, 1, 1, 1) for images.")

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


def _labelled(seen=lambda y, lost: y.masked_fill(lost, NULL), keep=None, mean=lambda square, lost: square.mean(),
              coin=lambda u: u < SHARE):
    """The loss with the labels seen(y, lost), of the examples keep(lost)."""
    def label_loss(model, x0, y, t, eps, u):
        lost = coin(u)
        x_t, y = diffusion.q_sample(x0, t, eps, NOISE), seen(y, lost)
        if keep:
            x_t, t, y, eps = (v[keep(lost)] for v in (x_t, t, y, eps))
        return mean((model(x_t, t, y) - eps).square(), lost)
    return label_loss


label_loss = Implementation(
    "label_loss",
    right=_labelled(),
    cases=_coins,
    gradient=("x0",),
    slips=[
        Slip((_labelled(lambda y, lost: y * ~lost), _labelled(lambda y, lost: y * lost)),
             "the bug is still there: what label does the network see where one was erased, and what does this label "
             "mean?",
             "y * False is 0, and 0 is the label of the first mode. Labels that are erased must become the empty one, "
             "8."),
        Slip(_labelled(lambda y, lost: y),
             "no label is erased any more: the network never learns what to do without one",
             "Where u < 0.1, the label must become 8."),
        Slip(_labelled(lambda y, lost: y.masked_fill(~lost, NULL)),
             "the wrong labels are erased: those with u < 0.1 go, a tenth; you keep these and erase all others",
             "torch.where(condition, where true, otherwise)"),
        Slip(_labelled(lambda y, lost: y.masked_fill(lost, NULL - 1)),
             "erased labels become 7, which is the last mode: the empty label is 8"),
        Slip((_labelled(coin=lambda u: u > 1 - SHARE), _labelled(coin=lambda u: u < 0.5)),
             "others than those with u < 0.1 lose their label", "torch.where(u >= 0.1, y, 8)"),
        Slip(tuple(_labelled(lambda y, lost, f=f: y.masked_fill(f(lost), NULL))
                   for f in (torch.any, torch.all, lambda lost: lost[0])),
             "one coin decides for the whole batch: each example has its own number in u"),
        Slip(_labelled(keep=lambda lost: ~lost),
             "you leave out the examples without a label: they must be learned as well, with the empty label"),
        Slip(_labelled(lambda y, lost: y, keep=lambda lost: ~lost | lost.all()),
             "you leave out the examples without a label: they must be learned as well, with the empty label"),
        *[Slip(_labelled(seen, mean=lambda square, lost: (square * ~lost[:, None]).mean()),
               "the loss counts the examples without a label as 0: they must be learned as well, with the empty label")
          for seen in (lambda y, lost: y, lambda y, lost: y * ~lost, lambda y, lost: y.masked_fill(lost, NULL))],
        Slip(_labelled(lambda y, lost: torch.full_like(y, NULL)), "all labels are erased: only those with u < 0.1 go"),
        Slip(tuple(_labelled(mean=lambda square, lost, f=f: f(square)) for f in (
                 torch.sum, lambda s: s.sum(1).mean(), lambda s: s.mean(1), lambda s: s.sqrt().mean())),
             "the last line was right as it stood: it returns the mean of all squared errors, one number"),
    ],
    hint="All lines but one are right. Print y and `seen` for a batch of six, with u = 0 for two of them. There are "
         "nine labels, and the last one, 8, means that there is none.")

# --- 3

KEEPS = ("the known pixels stay clean on the way, while the rest of x is noisy: at the time t_next they need the noise "
         "of this time")


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


def _now(known, t, t_next, noise, eps, a):
    """The known pixels with the noise of the time t; -1 is the clean image."""
    level = a[t] if t >= 0 else torch.ones(())
    return level.sqrt() * known + (1 - level).sqrt() * noise


def _next(known, t, t_next, noise, eps, a):
    return _now(known, t_next, t_next, noise, eps, a)


def _last(known, t, t_next, noise, eps, a):
    return a[t_next].sqrt() * known + (1 - a[t_next]).sqrt() * noise          # of the time T - 1, where t_next is -1


def _clean(known, *_):
    return known


def _mixed(formula, end):
    """Another mixture of the known pixels and the noise; at the end with a = 1, with a[-1], or clean."""
    def seen(known, t, t_next, noise, eps, a):
        level = torch.ones(()) if t_next < 0 and end == "one" else a[t_next]
        return known if t_next < 0 and end == "clean" else formula(level, known, noise)
    return seen


def _elsewhere(rest):
    """rest(eps, x_t, t, t_next, noise, a) in place of the step of DDIM"""
    def inpaint_step(eps, x_t, t, t_next, known, mask, noise, alphas_cumprod):
        at = _next(known, t, t_next, noise, eps, alphas_cumprod)
        return torch.where(mask, at, rest(eps, x_t, t, t_next, noise, alphas_cumprod))
    return inpaint_step


def _guess(eps, x_t, t, t_next, noise, a):
    """The clean image that eps stands for."""
    return (x_t - (1 - a[t]).sqrt() * eps) / a[t].sqrt()


def _inpaint(seen=_next, flip=False, before=False):
    """`seen` are the known pixels as they are put into the result, or into x_t before the step."""
    def inpaint_step(eps, x_t, t, t_next, known, mask, noise, alphas_cumprod):
        at = seen(known, t, t_next, noise, eps, alphas_cumprod)
        if before:
            return diffusion.ddim_step(eps, torch.where(mask, at, x_t), t, t_next, alphas_cumprod)
        x = diffusion.ddim_step(eps, x_t, t, t_next, alphas_cumprod)
        return torch.where(mask, x, at) if flip else torch.where(mask, at, x)
    return inpaint_step


inpaint_step = Implementation(
    "inpaint_step",
    right=_inpaint(),
    cases=_holes,
    slips=[
        Slip((_inpaint(_now), *(_inpaint(lambda known, t, t_next, noise, eps, a, early=early: _now(
                known, -1 if t_next < 0 else t - early, t_next, noise, eps, a)) for early in (0, 1))),
             "the known pixels have the noise of the time t or t - 1: after the step the others are at t_next",
             "Use alphas_cumprod[t_next], and the clean pixels where t_next is -1."),
        Slip(_inpaint(_clean), KEEPS,
             "q_sample(known, t_next, noise): the sampler expects an x whose pixels are all equally noisy."),
        Slip(tuple(_inpaint(seen, flip=True) for seen in (_next, _last, _clean)),
             "the mask is the wrong way round: it is True where pixels are known, and there the sampler paints"),
        Slip(tuple(_inpaint(lambda known, t, t_next, noise, eps, a, seen=seen: seen(known, t, t_next, eps, eps, a))
                   for seen in (_next, _last)),
             "you make the known pixels noisy with eps, the network's prediction: take `noise`"),
        Slip(tuple(_inpaint(seen, before=True) for seen in (_now, _next, _clean)),
             "you put the known pixels into x_t before the step and not into its result: then the step changes them, "
             "and at the end they are not what was given"),
        Slip(lambda eps, x_t, t, t_next, known, mask, noise, alphas_cumprod: diffusion.ddim_step(
            eps, x_t, t, t_next, alphas_cumprod), "known and mask are not used: this is the sampler's own step"),
        Slip(_inpaint(_last),
             "right on the way, but the last step leaves the known pixels full of noise: alphas_cumprod[-1] is the "
             "*noisiest* level, and t_next = -1 means the clean image", "known if t_next == -1 else the noisy version"),
        Slip(_inpaint(lambda known, t, t_next, noise, eps, a: _now(known, t_next or -1, t_next, noise, eps, a)),
             "t_next = 0 is not yet the end, only -1 is: at 0 there still is a little noise",
             "Ask if t_next >= 0, or if t_next == -1."),
        Slip(tuple(_inpaint(_mixed(formula, end)) for end in ("one", "last", "clean") for formula in (
                 lambda a, x, noise: a * x + (1 - a) * noise, lambda a, x, noise: a.sqrt() * x + (1 - a) * noise,
                 lambda a, x, noise: a.sqrt() * x + (1 - a.sqrt()) * noise,
                 lambda a, x, noise: (1 - a).sqrt() * x + a.sqrt() * noise,
                 lambda a, x, noise: x + (1 - a).sqrt() * noise, lambda a, x, noise: x + noise,
                 lambda a, x, noise: noise)),
             "the known pixels are mixed with the noise in other shares than in q_sample: sqrt(a) of the ones and "
             "sqrt(1 - a) of the other, with a = alphas_cumprod[t_next]"),
        Slip(lambda eps, x_t, t, t_next, known, mask, noise, a: diffusion.ddim_step(eps, x_t, t, t_next, a)
             + mask * _next(known, t, t_next, noise, eps, a),
             "you add the known pixels to those of the sampler: they take their place", "torch.where(mask, seen, x)"),
        Slip(tuple(map(_elsewhere, (
                 lambda eps, x, t, t_next, noise, a: 0 * x, lambda eps, x, t, t_next, noise, a: x, _guess,
                 lambda eps, x, t, t_next, noise, a: _next(
                     _guess(eps, x, t, t_next, noise, a), t, t_next, noise, eps, a),
                 lambda eps, x, t, t_next, noise, a: diffusion.ddim_step(eps, x, t, t - 1, a),
                 lambda eps, x, t, t_next, noise, a: diffusion.ddim_step(x, eps, t, t_next, a)))),
             "the known pixels are right, and not the others: where nothing is known, the step of DDIM is asked for",
             "diffusion.ddim_step(eps, x_t, t, t_next, alphas_cumprod), and torch.where(mask, ..., ...)"),
        Slip(None, "right on the way, and wrong at its end, where t_next = -1 means the clean image: there the known "
             "pixels are `known` itself", only=(2, 4)),
    ],
    hint="x = diffusion.ddim_step(eps, x_t, t, t_next, alphas_cumprod) is right where nothing is known. Where mask is "
         "True, put sqrt(a) known + sqrt(1 - a) noise in its place, with a = alphas_cumprod[t_next], or 1 at the end.")

# --- 4

S, SCALE = 0.6, 3

guided_spread = Measurement(
    "guided_spread",
    truth=lambda: S**SCALE,                        # DDIM with small steps; its equation can be solved
    tolerance=0.06,
    slips=[
        Slip(tuple(lambda power=power: (SCALE / S**2 + 1 - SCALE) ** power for power in (-0.5, -1, 1)),
             "this belongs to the density p(x | y)^3 / p(x)^2, on paper: guided samples do not come from it; "
             "measure theirs"),
        Slip(lambda: S, "this is the spread without guidance: set the scale to 3"),
        Slip(lambda: 1.0, "this is the spread of all heights: are your samples guided, and by label 0?"),
        Slip(lambda: S ** (2 * SCALE), "this is the variance: its root, the standard deviation, is asked for"),
        Slip(lambda: S**2, "this is the spread at scale 2, or the variance at scale 1: the scale is 3, and the "
             "standard deviation is asked for"),
        Slip(lambda: 0.329,                        # measured: 40,000 samples
             "this is the spread of samples by `ddpm`, whose fresh noise in every step widens them: draw with `ddim`"),
        Slip((lambda: 0.192, lambda: 0.105),       # measured: 50 and 10 steps; the schedule of the ring with its 100
             "so much comes out with too few steps, or with the other schedule: take 250 of slow_alphas_cumprod, which "
             "has 1,000"),
        Slip(lambda: 1.72, "this is the mean of the samples: their standard deviation is asked for"),      # measured
        Slip(lambda: S ** (1 - SCALE), "the label and the empty label have changed places: 0 is the one, 1 the other"),
        Slip(lambda: S ** (SCALE + 1), "this is the spread at scale 4: with `guided`, scale is 1 + w and not w"),
    ],
    hint="x = torch.randn(10_000, 1); wrap heights by diffusion.guided(heights, 0, 1, 3.0) and give it to "
         "diffusion.ddim with 250 steps of the schedule of 1,000. Then .std().")
