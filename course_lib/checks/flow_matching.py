"""The checks of exercise 64: both ends of a road, Heun's method, one half of a DiT block, a loss whose velocity fades
away, and how much shorter paths are than roads that cross."""

from functools import cache, partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from course_lib.checks import Implementation, Measurement, Mistake, by_example, rand
from course_lib.data import toys
from course_lib.device import seeded

# --- 1


def _roads(g: torch.Generator) -> list[tuple]:
    """Points and images; some at the very beginning of their road, at its very end, or near its middle."""
    cases = []
    for shape in ((1, 2), (3, 3), (5, 2), (3, 1, 4, 3), (2, 3, 5, 5)):
        t = 0.15 + 0.25 * torch.rand(shape[0], generator=g)       # not 0.5, where much is the same both ways
        t[1:2], t[2:3], t[3:4] = 0.0, 1.0, 1 - t[:1]
        cases.append((rand(g, *shape), rand(g, *shape), t))
    return cases


def _ends(x_t, v, t, noise=lambda x, v, t: x - t * v, data=lambda x, v, t: x + (1 - t) * v, each=by_example):
    return noise(x_t, v, each(t, v)), data(x_t, v, each(t, v))


BACK, AHEAD = dict(noise=lambda x, v, t: x - (1 - t) * v), dict(data=lambda x, v, t: x + t * v)
WHOLE = dict(noise=lambda x, v, t: x - v, data=lambda x, v, t: x + v)
WRONG = dict(noise=lambda x, v, t: x + t * v, data=lambda x, v, t: x - (1 - t) * v)

ends = Implementation(
    "ends", right=_ends, cases=_roads, returns=("noise", "data"),
    slips=[
        ("v leads from the noise to the data; t of the road lies behind x_t, and 1 - t of it is left: {}",
         ("you took what is behind for what is left", BACK | AHEAD), ("you walk a whole road from x_t", WHOLE),
         ("you walk the wrong way", WRONG),
         ("your data are right, and not your noise", *(dict(noise=way["noise"]) for way in (WRONG, BACK, WHOLE))),
         ("your noise is right, and not your data", *(dict(data=way["data"]) for way in (WRONG, AHEAD, WHOLE)),
          dict(data=lambda x, v, t: x))),
        ("every example has its own time: {}",
         ("t of shape (B,) meets the last axis of v, and not its examples", dict(each=lambda t, v: t)),
         ("you use one for all", dict(each=lambda t, v: t[0]), dict(each=lambda t, v: t.mean()))),
        ("right for points, and not for images: t needs as many axes as x_t, whatever their number", {3, 4}),
        ("right for images, and not for points: t needs as many axes as x_t, whatever their number", {0, 1, 2}),
    ],
    hints=("Draw a road from eps = 0 to x = 1, and on it x_t for t = 0.25. How far is it from there to each end, and "
           "which way does v lead?",
           "A share t of the road lies behind x_t, so the noise is t times v back; 1 - t of it is left, so the data "
           "are 1 - t times v ahead. There is nothing to divide by. First give t as many axes as v has.",
           "t = t.view(-1, *[1] * (v.ndim - 1))\n"
           "x_t - t * v, x_t + (1 - t) * v"))

# --- 2


class Field(nn.Module):
    """A velocity that changes with the place and with the time, and wants a time for each example."""

    def __init__(self, g: torch.Generator):
        super().__init__()
        self.turn = nn.Parameter(0.7 + 0.6 * torch.rand((), generator=g), requires_grad=False)
        self.phase = 6 * torch.rand((), generator=g)

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        if not isinstance(t, Tensor) or t.shape != (len(x),):
            what = f"shape {tuple(t.shape)}" if isinstance(t, Tensor) else f"type {type(t).__name__}"
            raise Mistake(f"your function calls the model with a time of {what}, for {len(x)} examples: it wants one "
                          f"time for each, a tensor of shape ({len(x)},)",
                          "Make a tensor with one number for each example. One that fits x is not for the model.")
        return self.turn * x.flip(-1) + (2 * x + 3 * by_example(t, x) + self.phase).sin()


def _starts(g: torch.Generator) -> list[tuple]:
    sizes = ((1, 2, 1), (3, 2, 2), (2, 4, 3), (3, 1, 2, 3, 5))
    return [(Field(g), rand(g, *shape), steps) for *shape, steps in sizes]


def _heun(model, x, steps, clock=lambda i, n: i / n, count=lambda n: n, there=lambda x, h, k: x + h * k,
          later=lambda t, h: t + h, move=lambda x, h, k1, k2: x + h * (k1 + k2) / 2):
    for i in range(count(steps)):
        t, h = clock(i, steps), 1 / steps
        k1 = model(x, torch.full((len(x),), t))
        k2 = model(there(x, h, k1), torch.full((len(x),), later(t, h)))
        x = move(x, h, k1, k2)
    return x


def _old_slope(model, x, steps, renew=False):
    """k1 is computed once, before the loop, and perhaps becomes k2 at the end of each step."""
    k1 = model(x, torch.zeros(len(x)))
    for i in range(1, steps + 1):
        k2 = model(x + k1 / steps, torch.full((len(x),), i / steps))
        x, k1 = x + (k1 + k2) / 2 / steps, k2 if renew else k1
    return x


EULER = dict(move=lambda x, h, k1, k2: x + h * k1)
MINUS = dict(there=lambda x, h, k: x - h * k, move=lambda x, h, k1, k2: x - h * (k1 + k2) / 2)
NO_H = dict(there=lambda x, h, k: x + k, move=lambda x, h, k1, k2: x + (k1 + k2) / 2)
FROM_1 = dict(clock=lambda i, n: 1 - i / n, later=lambda t, h: t - h)
ONE, LAST = dict(count=lambda n: 1), dict(clock=lambda i, n: (n - 1) / n, count=lambda n: 1)

heun = Implementation(
    "heun", right=_heun, cases=_starts,
    slips=[
        ("this is {}: Heun's takes the slopes at both ends of the step, and moves by their mean",
         ("Euler's method", EULER),
         ("the midpoint method", dict(there=lambda x, h, k: x + h / 2 * k, later=lambda t, h: t + h / 2,
                                      move=lambda x, h, k1, k2: x + h * k2))),
        ("the second slope is that where Euler's step ends, at the time t + h: yours has the old {}",
         ("place", dict(there=lambda x, h, k: x)), ("time", dict(later=lambda t, h: t))),
        ("the real step starts at the old x, and moves it by h times the mean of both slopes: {}",
         ("you move by their sum, twice too far", dict(move=lambda x, h, k1, k2: x + h * (k1 + k2))),
         ("you go on from the end of Euler's step, which was a trial",
          dict(move=lambda x, h, k1, k2: x + h * k1 + h * (k1 + k2) / 2)),
         ("you move by the second alone", dict(move=lambda x, h, k1, k2: x + h * k2)),
         ("k1 counts in full in yours, and only k2 by half", dict(move=lambda x, h, k1, k2: x + h * (k1 + k2 / 2)),
          dict(move=lambda x, h, k1, k2: x + h * k1 + k2 / 2)),
         ("you walk backwards", MINUS, dict(move=MINUS["move"]))),
        ("only one of the steps is made: does `return` stand inside the loop, or does every step start at the same x?",
         ONE, LAST),
        ("torch.linspace(0, 1, steps) has steps - 1 gaps, and its last time is 1, where no step begins",
         lambda model, x, steps: _heun(model, x, steps - 1) if steps > 1 else x,
         dict(clock=lambda i, n: i / max(n - 1, 1))),
        ("your clock runs from 1 to 0: here the noise is at t = 0 and the data at t = 1", FROM_1, FROM_1 | MINUS),
        ("h = 1 / steps is missing: the trial goes by h * k1, the clock by h, and the move by h times the mean",
         dict(later=lambda t, h: t + 1), *({key: way} for key, way in NO_H.items()), dict(clock=lambda i, n: i),
         NO_H, NO_H | dict(later=lambda t, h: t + 1), NO_H | dict(later=lambda t, h: t + 1, clock=lambda i, n: i)),
        ("there are as many steps as `steps`, the first at t = 0, the last at t = 1 - h: {}",
         ("you make one too few", *(dict(clock=lambda i, n, s=s: (i + s) / n, count=lambda n: n - 1) for s in (0, 1))),
         ("you make one too many", dict(count=lambda n: n + 1)),
         ("your clock is one step ahead", dict(clock=lambda i, n: (i + 1) / n)),
         ("your clock stands still", dict(clock=lambda i, n: 0.0)),
         ("your clock goes twice in a step", dict(clock=lambda i, n: 2 * i / n))),
        ("k1 is not that of the step: compute it in the loop, at the x and the t where the step begins",
         _old_slope, partial(_old_slope, renew=True)),
        ("your last step is Euler's: it too takes both slopes, the second at t = 1",
         lambda model, x, n: _heun(model, _heun(model, x, n, count=lambda n: n - 1), n, **LAST, **EULER)),
        ("you return the noise as it was: the loop must change x itself", dict(count=lambda n: 0)),
    ],
    hints=("Take one step by hand, for a velocity that is 1 at t = 0 and 3 at t = 1 everywhere: how far must x go?",
           "For each of the steps: k1 at the x and the time where it begins; k2 where h times k1 leads, h later; then "
           "move the old x by h times the mean of both. h is 1 over the number of steps, and the model wants the time "
           "as a tensor, one for each example.",
           "t = torch.full((len(x),), i / steps)\n"
           "k1 = model(x, t)\n"
           "k2 = model(x + h * k1, t + h)\n"
           "x = x + h * (k1 + k2) / 2"), rtol=1e-3)

# --- 3


class Mixer:
    """A small layer that mixes tokens and channels.  (B, T, C) -> (B, T, C)"""

    def __init__(self, g: torch.Generator, c: int):
        self.here, self.before = 0.6 * rand(g, c, c), 0.3 * rand(g, c, c)

    def __call__(self, x: Tensor) -> Tensor:
        return (x @ self.here + x.cumsum(1) @ self.before).sin()


def _spread(g: torch.Generator, *shape: int) -> Tensor:
    """Tokens whose numbers lie well apart, so that a small term under the root of the norm is of no account."""
    return 2 * torch.rand(shape, generator=g).argsort(-1) + 0.5 * torch.rand(shape, generator=g)


def _tokens(g: torch.Generator) -> list[tuple]:
    sizes = ((1, 2, 4), (3, 3, 5), (2, 3, 4), (3, 4, 6), (5, 1, 8))
    return [(_spread(g, b, t, c), Mixer(g, c), *(0.5 + rand(g, b, c) for _ in range(3))) for b, t, c in sizes]


def _norm(x: Tensor) -> Tensor:
    return F.layer_norm(x, x.shape[-1:])


def _over(x: Tensor, axes=(-1,), least: float = 0, correction: int = 0, power: float = 0.5) -> Tensor:
    """A norm over some axes, with a small number under the root, with C - 1, or without a root."""
    return (x - x.mean(axes, True)) / (x.var(axes, keepdim=True, correction=correction) + least) ** power


def _half(x, layer, scale, shift, gate, norm=_norm, enter=lambda n, scale, shift: n * (1 + scale) + shift,
          leave=lambda x, y, gate: x + gate * y, each=lambda p: p[:, None]):
    return leave(x, layer(enter(norm(x), each(scale), each(shift))), each(gate))


half_block = Implementation(
    "half_block", right=_half, cases=_tokens,
    slips=[
        ("each image has its own scale, shift and gate, the same for all its tokens: {}",
         ("yours, of shape (B, C), meet the tokens in place of the images", dict(each=lambda p: p)),
         ("you use the same for all images", dict(each=lambda p: p[0]), dict(each=lambda p: p.mean(0)))),
        ("you multiply by scale, and by 1 + scale is asked for: where scale is 0, the layer must get norm(x)",
         dict(enter=lambda n, scale, shift: n * scale + shift)),
        ("what goes into the layer is norm(x) * (1 + scale) + shift, in this order: {}",
         ("the norm is missing", dict(norm=Tensor.clone)),
         ("you normalise after you have scaled and shifted",
          dict(norm=Tensor.clone, enter=lambda x, scale, shift: _norm(x * (1 + scale) + shift))),
         ("you scale and shift what comes out",
          lambda x, f, *p: _half(x, Tensor.clone, *p, norm=lambda x: f(_norm(x))),
          lambda x, f, *p: _half(x, Tensor.clone, *p, norm=lambda x: _norm(f(x)))),
         ("your brackets stand in another place", *(dict(enter=enter) for enter in (
             lambda n, scale, shift: n + scale + shift, lambda n, scale, shift: n * (1 + scale + shift),
             lambda n, scale, shift: (n + shift) * (1 + scale))))),
        ("{} have changed places", ("scale and shift", lambda x, f, a, b, c: _half(x, f, b, a, c)),
         ("gate and another of the three", *(lambda x, f, *p, order=order: _half(x, f, *(p[i] for i in order))
                                             for order in ((2, 1, 0), (0, 2, 1), (1, 2, 0), (2, 0, 1))))),
        ("the norm gives each token mean 0 and variance 1 over its C channels, the last axis: {}",
         (".std() divides by C - 1, and nn.LayerNorm divides by C", dict(norm=partial(_over, correction=1))),
         ("you normalise over other axes", *(dict(norm=partial(_over, axes=axes, least=least)) for least in (0, 1e-5)
                                             for axes in ((1, 2), (0, 1, 2), (1,), (0,), (0, 1)))),
         ("in yours the mean is not subtracted, or what it is divided by is no standard deviation",
          *(dict(norm=norm) for norm in (
              lambda x: x - x.mean(-1, True), lambda x: x / x.std(-1, keepdim=True, correction=0),
              lambda x: F.rms_norm(x, x.shape[-1:]), lambda x: F.normalize(x, dim=-1),
              *(partial(_over, correction=n, power=1) for n in (0, 1)))))),
        ("{} no effect", ("scale has", dict(enter=lambda n, scale, shift: n + shift)),
         ("shift has", dict(enter=lambda n, scale, shift: n * (1 + scale))),
         ("gate has", dict(leave=lambda x, y, gate: x + y)),
         ("the layer has", lambda x, f, *p: _half(x, Tensor.clone, *p))),
        ("the layer's result, times gate, is added to x itself, as it came: {}",
         ("x is missing", dict(leave=lambda x, y, gate: gate * y)),
         ("yours is added to norm(x)", dict(leave=lambda x, y, gate: _norm(x) + gate * y)),
         ("yours is added to what went into the layer", lambda x, f, *p: _half(
             x, f, *p, leave=lambda x, y, gate: gate * y) + _half(x, Tensor.clone, *p, leave=lambda x, y, gate: y))),
        ("the gate multiplies the layer's result, and nothing else: {}",
         ("you multiply by 1 + gate, and where gate is 0, the block must return x",
          dict(leave=lambda x, y, gate: x + (1 + gate) * y)),
         ("yours stands on the way past the layer", dict(leave=lambda x, y, gate: gate * (x + y)),
          dict(leave=lambda x, y, gate: gate * x + y), dict(leave=lambda x, y, gate: (1 - gate) * x + gate * y)),
         ("yours stands before the layer", lambda x, f, a, b, gate: _half(
             x, lambda h: f(gate[:, None] * h), a, b, torch.ones_like(gate)))),
        ("scale and gate are taken as they are: no sigmoid, tanh or exp of them",
         *(dict(leave=lambda x, y, gate, f=f: x + f(gate) * y) for f in (torch.sigmoid, torch.tanh)),
         dict(enter=lambda n, scale, shift: n * scale.exp() + shift)),
    ],
    hints=("What must come out where gate is 0? And where scale and shift are 0 and gate is 1? Try both, with a layer "
           "that returns its input.",
           "Give scale, shift and gate the shape (B, 1, C), so that each image meets all its own tokens. Normalise x "
           "over its last axis, multiply by 1 plus scale, add shift. Then the layer, times gate, is added to x.",
           "h = F.layer_norm(x, x.shape[-1:]) * (1 + scale[:, None]) + shift[:, None]\n"
           "x + gate[:, None] * layer(h)"), rtol=2e-3, atol=1e-4)

# --- 4


def _batches(g: torch.Generator) -> list[tuple]:
    sizes = ((1, 2), (3, 3), (4, 2), (3, 1, 2, 3))
    return [(Field(g), rand(g, *s), rand(g, *s), 0.15 + 0.7 * torch.rand(s[0], generator=g)) for s in sizes]


def _loss(model, x, eps, t, place=lambda x, eps, t: (1 - t) * eps + t * x, target=lambda x, eps, x_t, t: x - eps,
          told=lambda t: t, guess=lambda v, t: v, reduce=lambda d: d.square().mean()) -> Tensor:
    each = by_example(t, x)
    x_t = place(x, eps, each)
    return reduce(guess(model(x_t, told(t)), each) - target(x, eps, x_t, each))


velocity_loss = Implementation(
    "velocity_loss", right=_loss, cases=_batches, gradient=("model",),
    slips=[
        ("the bug is still there: what is the velocity of a road that leads from eps to x in a time of 1?",
         *(dict(target=lambda x, eps, x_t, t, f=f: f(t) * (x - x_t)) for f in (
             lambda t: 1, lambda t: -1, lambda t: 1 - t, lambda t: 1 / t)), dict(guess=lambda v, t: v / (1 - t))),
        ("the velocity is the whole way from eps to x, the same at all times: {}",
         ("your target is the way behind x_t", dict(target=lambda x, eps, x_t, t: x_t - eps)),
         ("yours leads from x to eps", dict(target=lambda x, eps, x_t, t: eps - x)),
         ("yours is no difference of the two", *(dict(target=lambda x, eps, x_t, t, i=i, j=j: i * x + j * eps)
                                                 for i, j in ((1, 0), (0, 1), (1, 1))))),
        ("this has the right minimum, but an error counts less the later it is made: the plain mean is asked for",
         dict(target=lambda x, eps, x_t, t: x - x_t, guess=lambda v, t: (1 - t) * v)),
        ("now your road begins at x: x_t was right as it stood, eps at t = 0",
         *(dict(place=lambda x, eps, t: t * eps + (1 - t) * x, target=target) for target in (
             lambda x, eps, x_t, t: x - eps, lambda x, eps, x_t, t: eps - x, lambda x, eps, x_t, t: x - x_t))),
        ("the model gets x_t and t: {}",
         ("yours is shown an end of the road", dict(place=lambda x, eps, t: x), dict(place=lambda x, eps, t: eps)),
         ("yours is told the time 1 - t, and here t is 0 at the noise", dict(told=lambda t: 1 - t))),
        ("you add up the numbers {}: the mean over all examples and all their numbers is asked for",
         ("of all examples", dict(reduce=lambda d: d.square().sum())),
         ("of an example", dict(reduce=lambda d: d.square().sum() / len(d)),
          dict(reduce=lambda d: d.square().sum(1).mean()))),
        ("square each error first, and then take the mean of all: without absolute values or a root",
         *(dict(reduce=f) for f in (Tensor.mean, lambda d: d.abs().mean(), lambda d: d.mean().square(),
                                    lambda d: d.flatten(1).norm(dim=1).mean()))),
    ],
    hints=("The function was right but for one line. Take eps = 0, x = 1 and a few times t: what is the target, and "
           "what is the velocity of the road?",
           "The road is walked at the same speed all the time, and is done in a time of 1. So its velocity is the "
           "whole way from the noise to the data, wherever on it we stand.",
           "velocity = x - eps"), rtol=1e-3)

# --- 5


def exact_velocity(x: Tensor, t: Tensor) -> Tensor:
    """E[data - eps | x] at time t where the data are those of toys.ring().  (B, 2), (B,) -> (B, 2)"""
    ring, t = toys.ring(), t[:, None]
    variance = (t * ring.std) ** 2 + (1 - t) ** 2                 # (B, 1), of x around t m
    away = x[:, None] - t[:, None] * ring.means                   # (B, 8, 2)
    share = (-away.square().sum(2) / (2 * variance)).softmax(1)   # (B, 8) which mode does it go to?
    gain = (t * ring.std**2 - (1 - t)) / variance                 # (B, 1)
    return (share[:, :, None] * (ring.means + gain[:, None] * away)).sum(1)


@cache
def _roads_and_ends(start: int, steps: int) -> tuple[Tensor, Tensor, Tensor]:
    pair = torch.randn(5_000, 2, generator=seeded(5)), toys.ring().sample(5_000, seeded(6))
    return *pair, heun.right(exact_velocity, pair[start], steps)


def _saved(start=0, origin=0, steps=50, norm=lambda way: way.square().sum(1).mean(),
           share=lambda before, after: 1 - after / before) -> float:
    """`share` of the roads, and of the ways from `origin` to the end of a path that begins at `start`: 0 is the noise
    of a pair, and 1 its data."""
    *pair, end = _roads_and_ends(start, steps)
    return float(share(norm(pair[1] - pair[0]), norm(end - pair[origin])))


saved = Measurement(
    "saved", truth=_saved, tolerance=0.02,
    slips=[
        ("1 - after / before is asked for: {}",
         ("yours is the share that is left", dict(share=lambda before, after: after / before)),
         ("yours is a difference", *(dict(share=lambda before, after, n=n: (before - after) / n) for n in (1, 2))),
         ("you divide by the mean of the paths", *(dict(share=lambda before, after, i=i, j=j: i + j * before / after)
                                                   for i, j in ((0, 1), (-1, 1), (1, -1)))),
         ("yours is the mean of the paths", *(dict(share=lambda before, after, n=n: after / n) for n in (1, 2))),
         ("yours is the mean of the roads", *(dict(share=lambda before, after, n=n: before / n) for n in (1, 2)))),
        ("this is a mean of 5,000 ratios: take both means first, and divide then",
         *(dict(norm=lambda way, p=p: way.norm(dim=1) ** p, share=lambda before, after: 1 - (after / before).mean())
           for p in (2, 1))),
        ("your paths begin at the data: they begin at the noise", *(dict(start=1, origin=origin) for origin in (1, 0))),
        ("you measure how far the ends are from the data of the pairs: how far are they from their beginning, eps?",
         dict(origin=1)),
        ("you compare lengths: the means of the squared lengths are asked for",
         dict(norm=lambda way: way.norm(dim=1).mean())),
        ("so much comes out if the paths are followed in only one or two steps (take at least 20), or if the sum over "
         "the two coordinates is missing in one of the means",                            # too near to be told apart
         dict(steps=1), dict(steps=2), dict(share=lambda before, after: 1 - 2 / before),
         *(dict(share=lambda before, after, f=f: 1 - f * after / before) for f in (0.5, 2))),
    ],
    hints=("Compute both means by themselves first. The one of the roads can be known by hand: 4 + 0.02 + 2.",
           "Follow the paths from the 5,000 points of noise. Twice take the squared distance from eps, summed over the "
           "two coordinates, and its mean: for the ends of the paths, and for the data. Their ratio is what is left.",
           "end = heun(exact_velocity, eps, 50)\n"
           "before, after = ((to - eps).square().sum(1).mean() for to in (x, end))\n"
           "1 - after / before"))
