"""The checks of exercise 64: both ends of a road, Heun's method, one half of a DiT block, a loss whose velocity fades
away, and how much shorter paths are than roads that cross."""

from collections.abc import Callable
from functools import cache

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from course_lib.checks import Implementation, Measurement, Mistake, Slip, rand
from course_lib.data import toys
from course_lib.device import seeded


def _each(t: Tensor, x: Tensor) -> Tensor:
    """A time for each example, ready to be multiplied with x.  (B,), (B, ...) -> (B, 1, ...)"""
    return t.view(-1, *[1] * (x.ndim - 1))


# --- 1


def _roads(g: torch.Generator) -> list[tuple]:
    """Points and images; some at the very beginning of their road, at its very end, or near its middle."""
    cases = []
    for shape in ((1, 2), (3, 3), (5, 2), (3, 1, 4, 3), (2, 3, 5, 5)):
        t = 0.15 + 0.25 * torch.rand(shape[0], generator=g)       # not 0.5, where much is the same both ways
        t[1:2], t[2:3], t[3:4] = 0.0, 1.0, 1 - t[:1]
        cases.append((rand(g, *shape), rand(g, *shape), t))
    return cases


def _ends(noise: Callable = lambda x, v, t: x - t * v, image: Callable = lambda x, v, t: x + (1 - t) * v,
          each: Callable = _each) -> Callable:
    def ends(x_t, v, t):
        return noise(x_t, v, each(t, v)), image(x_t, v, each(t, v))
    return ends


ends = Implementation(
    "ends",
    right=_ends(),
    cases=_roads,
    returns=("noise", "data"),
    slips=[
        Slip(_ends(lambda x, v, t: x + (1 - t) * v, lambda x, v, t: x - t * v),
             "noise and data have changed places: here t = 0 is the noise, v leads away from it, and it comes first"),
        Slip(_ends(lambda x, v, t: x - (1 - t) * v, lambda x, v, t: x + t * v),
             "you took the part of the road that lies behind for the one that is left: at t = 0 all of it is left"),
        Slip(_ends(lambda x, v, t: x + t * v, lambda x, v, t: x - (1 - t) * v),
             "you walk the wrong way: v leads from the noise to the data, so the data are where +v leads"),
        Slip(_ends(lambda x, v, t: x - v, lambda x, v, t: x + v),
             "you walk a whole road from x_t, which lies somewhere on it: t of it is behind, 1 - t is left"),
        Slip(_ends(each=lambda t, v: t),
             "t of shape (B,) meets the last axis of v, and not its examples: every example has its own time",
             "t.view(-1, 1, 1, 1) for images. For any shape: t.view(-1, *[1] * (x_t.ndim - 1))."),
        Slip((_ends(each=lambda t, v: t[0]), _ends(each=lambda t, v: t.mean())),
             "you use one time for all examples: each has its own", "t.view(-1, *[1] * (x_t.ndim - 1))"),
        Slip(tuple(_ends(noise=f) for f in (lambda x, v, t: x + t * v, lambda x, v, t: x - (1 - t) * v,
                                            lambda x, v, t: x - v)),
             "the data are right, and not the noise: t of the road lies behind x_t, and the way back is -v"),
        Slip(tuple(_ends(image=f) for f in (lambda x, v, t: x - (1 - t) * v, lambda x, v, t: x + t * v,
                                            lambda x, v, t: x + v, lambda x, v, t: x)),
             "the noise is right, and not the data: 1 - t of the road lies before x_t, and the way on is +v"),
        *[Slip(None, f"right for {here}, and not for {there}: t needs as many axes as x_t, whatever their number",
               "t.view(-1, *[1] * (x_t.ndim - 1))", only=only)
          for here, there, only in (("points", "images", (3, 4)), ("images", "points", (0, 1, 2)))],
    ],
    hint="x_t lies a share t of the road behind eps, and 1 - t of it is left to x: x = x_t + (1 - t) * v and "
         "eps = x_t - t * v. There is nothing to divide by. Reshape t first, so that it has as many axes as v.")

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
                          "torch.full((len(x),), i / steps) makes them of a number; .flatten() undoes a reshape.")
        return self.turn * x.flip(-1) + (2 * x + 3 * _each(t, x) + self.phase).sin()


def _starts(g: torch.Generator) -> list[tuple]:
    sizes = ((1, 2, 1), (3, 2, 2), (2, 4, 3), (3, 1, 2, 3, 5))
    return [(Field(g), rand(g, *shape), steps) for *shape, steps in sizes]


def _walk(step: Callable, clock: Callable = lambda i, n: i / n, count: Callable = lambda n: n) -> Callable:
    """`count` steps of x = step(f, x, t, h), where f(x, t) takes a number as its time."""
    def walk(model, x, steps):
        def f(x, t):
            return model(x, torch.full((len(x),), t))
        for i in range(count(steps)):
            x = step(f, x, clock(i, steps), 1 / steps)
        return x
    return walk


def _two(second: Callable = lambda f, x, t, h, k: f(x + h * k, t + h), move: Callable = lambda x, h, k1, k2:
         x + h * (k1 + k2) / 2) -> Callable:
    """A step with two slopes."""
    def step(f, x, t, h):
        k1 = f(x, t)
        return move(x, h, k1, second(f, x, t, h, k1))
    return step


def _gaps(model, x, steps):
    """torch.linspace(0, 1, steps) has one gap too few."""
    return _walk(_two())(model, x, steps - 1) if steps > 1 else x


def _old_slope(renew: bool) -> Callable:
    """k1 is computed once, before the loop, and perhaps becomes k2 at the end of each step."""
    def walk(model, x, steps):
        h, k1 = 1 / steps, model(x, torch.zeros(len(x)))
        for i in range(steps):
            k2 = model(x + h * k1, torch.full((len(x),), (i + 1) * h))
            x, k1 = x + h * (k1 + k2) / 2, k2 if renew else k1
        return x
    return walk


def _euler_at_the_end(f, x, t, h):
    return _two()(f, x, t, h) if t < 1 - 1.5 * h else x + h * f(x, t)


heun = Implementation(
    "heun",
    right=_walk(_two()),
    cases=_starts,
    slips=[
        Slip(_walk(lambda f, x, t, h: x + h * f(x, t)),
             "this is Euler's method: move by the mean of the slopes at both ends of the step"),
        Slip(_walk(_two(lambda f, x, t, h, k: f(x + h / 2 * k, t + h / 2), lambda x, h, k1, k2: x + h * k2)),
             "this is the midpoint method: Heun's takes the slopes at both ends of the step, and their mean"),
        Slip(_walk(_two(lambda f, x, t, h, k: f(x, t + h))),
             "your second slope has the later time, but the old place: take it where Euler's step ends"),
        Slip(_walk(_two(lambda f, x, t, h, k: f(x + h * k, t))),
             "your second slope has the new place, but the old time: at the end of the step it is t + h"),
        Slip(_walk(_two(move=lambda x, h, k1, k2: x + h * (k1 + k2))),
             "you move by the sum of both slopes, twice too far: by their mean"),
        Slip(_walk(_two(move=lambda x, h, k1, k2: x + h * k1 + h * (k1 + k2) / 2)),
             "you go on from the end of Euler's step: that was a trial. The real step starts at the old x"),
        Slip(_walk(_two(move=lambda x, h, k1, k2: x + h * k2)),
             "you move by the second slope alone: by the mean of both"),
        Slip((_walk(_two(), count=lambda n: 1), _walk(_two(), clock=lambda i, n: (n - 1) / n, count=lambda n: 1)),
             "only one of the steps is made: does `return` stand inside the loop, or does every step start at the "
             "same x?", "return x after the loop, at the depth of `for`."),
        Slip((_gaps, _walk(_two(), clock=lambda i, n: i / max(n - 1, 1))),
             "torch.linspace(0, 1, steps) has steps - 1 gaps, and its last time is 1, where no step begins",
             "torch.linspace(0, 1, steps + 1), or t = i / steps for i in range(steps)."),
        Slip((_walk(_two(lambda f, x, t, h, k: f(x + h * k, t - h)), clock=lambda i, n: 1 - i / n),
              _walk(_two(lambda f, x, t, h, k: f(x - h * k, t - h), lambda x, h, k1, k2: x - h * (k1 + k2) / 2),
                    clock=lambda i, n: 1 - i / n)),
             "your clock runs from 1 to 0: here the noise is at t = 0 and the data at t = 1", "t = i / steps"),
        Slip((_walk(_two(lambda f, x, t, h, k: f(x + h * k, t + 1))),
              _walk(_two(lambda f, x, t, h, k: f(x + k, t + h))),
              _walk(_two(move=lambda x, h, k1, k2: x + (k1 + k2) / 2)), _walk(_two(), clock=lambda i, n: i),
              *(_walk(_two(lambda f, x, t, h, k, s=s: f(x + k, t + (s or h)), lambda x, h, k1, k2: x + (k1 + k2) / 2),
                      clock=lambda i, n, c=c: i * (c or 1 / n)) for s, c in ((0, 0), (1, 0), (1, 1)))),
             "h = 1 / steps is missing: the trial goes by h * k1, the clock by h, and the move by h times the mean"),
        Slip((_walk(_two(move=lambda x, h, k1, k2: x + h * (k1 + k2 / 2))),
              _walk(_two(move=lambda x, h, k1, k2: x + h * k1 + k2 / 2))),
             "k1 counts in full and k2 by half: the mean is (k1 + k2) / 2, in brackets, and the old x moves by it"),
        Slip(tuple(_walk(_two(), clock=lambda i, n, s=s: (i + s) / n, count=lambda n: n - 1) for s in (0, 1)),
             "you make one step too few: they are as many as `steps`", "for i in range(steps), with t = i / steps"),
        Slip(_walk(_two(), count=lambda n: n + 1), "you make one step too many: it begins at t = 1, where you are done",
             "for i in range(steps), with t = i / steps"),
        Slip(_walk(_two(), clock=lambda i, n: (i + 1) / n),
             "your clock is one step ahead: the first step begins at t = 0", "t = i / steps for i in range(steps)"),
        Slip((_walk(_two(), clock=lambda i, n: 0.0), _walk(_two(), clock=lambda i, n: 2 * i / n)),
             "your clock stands still, or goes twice in a step: t grows by h from each step to the next",
             "t = i / steps for i in range(steps)"),
        Slip((_walk(_two(move=lambda x, h, k1, k2: x - h * (k1 + k2) / 2)),
              _walk(_two(lambda f, x, t, h, k: f(x - h * k, t + h), lambda x, h, k1, k2: x - h * (k1 + k2) / 2))),
             "you walk backwards: x moves along its velocity, by + h times the mean"),
        Slip((_old_slope(True), _old_slope(False)),
             "k1 is not that of the step: compute it in the loop, at the x and the t where the step begins"),
        Slip(_walk(_euler_at_the_end), "your last step is Euler's: it too takes both slopes, the second at t = 1"),
        Slip(lambda model, x, steps: x, "you return the noise as it was: the loop must change x itself"),
    ],
    hint="k1 = model(x, t); k2 = model(x + h * k1, t + h); x = x + h * (k1 + k2) / 2, with h = 1 / steps. "
         "Start with t = 0, and let t grow by h.",
    rtol=1e-3)

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


def _over(x: Tensor, axes: tuple[int, ...], least: float) -> Tensor:
    """A norm over other axes, with or without a small number under the root."""
    return (x - x.mean(axes, True)) / (x.var(axes, keepdim=True, correction=0) + least).sqrt()


def _half(enter: Callable = lambda x, scale, shift: _norm(x) * (1 + scale) + shift,
          leave: Callable = lambda x, y, gate: x + gate * y,
          call: Callable = lambda f, h, scale, shift: f(h), each: Callable = lambda p: p[:, None]) -> Callable:
    def half_block(x, layer, scale, shift, gate):
        scale, shift, gate = each(scale), each(shift), each(gate)
        return leave(x, call(layer, enter(x, scale, shift), scale, shift), gate)
    return half_block


half_block = Implementation(
    "half_block",
    right=_half(),
    cases=_tokens,
    slips=[
        Slip(_half(each=lambda p: p),
             "scale, shift and gate of shape (B, C) meet the tokens in place of the examples: each example has its "
             "own, the same for all its tokens"),
        Slip(_half(lambda x, scale, shift: _norm(x) * scale + shift),
             "you multiply by scale, and by 1 + scale is asked for: where scale is 0, the layer must get norm(x)"),
        Slip(_half(lambda x, scale, shift: x * (1 + scale) + shift), "norm(x) is missing"),
        Slip(_half(lambda x, scale, shift: _norm(x * (1 + scale) + shift)),
             "you normalise after you have scaled and shifted: norm(x) comes first"),
        *[Slip(tuple(lambda x, f, *p, order=order: _half()(x, f, *(p[i] for i in order)) for order in orders),
               f"{names} have changed places")
          for names, orders in (("scale and shift", [(1, 0, 2)]), ("gate and another of the three", [
              (2, 1, 0), (0, 2, 1), (1, 2, 0), (2, 0, 1)]))],
        Slip((_half(lambda x, scale, shift: _norm(x), call=lambda f, h, scale, shift: f(h) * (1 + scale) + shift),
              _half(lambda x, scale, shift: x, call=lambda f, h, scale, shift: _norm(f(h)) * (1 + scale) + shift)),
             "you scale and shift what comes out of the layer: what goes in"),
        Slip(_half(lambda x, scale, shift: (x - x.mean(-1, True)) / x.std(-1, keepdim=True) * (1 + scale) + shift),
             ".std() divides by C - 1: the norm of nn.LayerNorm divides by C",
             "x.std(-1, unbiased=False), x.var(-1, correction=0), or F.layer_norm(x, x.shape[-1:])"),
        Slip(tuple(_half(lambda x, scale, shift, axes=axes, least=least: _over(x, axes, least) * (1 + scale) + shift)
                   for axes in ((1, 2), (0, 1, 2), (1,), (0,), (0, 1)) for least in (0, 1e-5)),
             "you normalise over other axes than the last: each token has its own mean and variance, over C numbers",
             "F.layer_norm(x, x.shape[-1:])"),
        Slip((_half(lambda x, scale, shift: (x - x.mean(-1, True)) * (1 + scale) + shift),
              _half(lambda x, scale, shift: x / x.std(-1, keepdim=True, correction=0) * (1 + scale) + shift),
              _half(lambda x, scale, shift: F.rms_norm(x, x.shape[-1:]) * (1 + scale) + shift),
              _half(lambda x, scale, shift: F.normalize(x, dim=-1) * (1 + scale) + shift),
              *(_half(lambda x, scale, shift, n=n: (x - x.mean(-1, True)) / x.var(-1, keepdim=True, correction=n)
                      * (1 + scale) + shift) for n in (0, 1))),
             "your norm is another: subtract the mean of each token, and divide by its standard deviation, the root of "
             "its variance", "F.layer_norm(x, x.shape[-1:])"),
        Slip((_half(lambda x, scale, shift: _norm(x) + scale + shift),
              _half(lambda x, scale, shift: _norm(x) * (1 + scale + shift)),
              _half(lambda x, scale, shift: (_norm(x) + shift) * (1 + scale))),
             "your brackets stand in another place: norm(x) * (1 + scale) first, and then + shift"),
        Slip(_half(lambda x, scale, shift: _norm(x) + shift), "scale has no effect"),
        Slip(_half(lambda x, scale, shift: _norm(x) * (1 + scale)), "shift has no effect"),
        Slip(_half(call=lambda f, h, scale, shift: h), "the layer is missing: it gets norm(x), scaled and shifted"),
        Slip((_half(each=lambda p: p[0]), _half(each=lambda p: p.mean(0))),
             "you use the same scale, shift and gate for all images: each has its own"),
        Slip(_half(leave=lambda x, y, gate: gate * y), "x itself is missing: the layer's result is added to it"),
        Slip(_half(leave=lambda x, y, gate: x + y), "gate has no effect"),
        Slip(_half(leave=lambda x, y, gate: x + (1 + gate) * y),
             "you multiply by 1 + gate, and gate alone is asked for: where gate is 0, the block must return x"),
        Slip((_half(leave=lambda x, y, gate: gate * (x + y)), _half(leave=lambda x, y, gate: gate * x + y),
              _half(leave=lambda x, y, gate: (1 - gate) * x + gate * y)),
             "the gate stands on the way past the layer: it belongs to the layer's result alone"),
        Slip(lambda x, f, scale, shift, gate: x + f(gate[:, None] * (_norm(x) * (1 + scale[:, None]) + shift[:, None])),
             "the gate stands before the layer: it multiplies what comes out of it"),
        Slip((lambda x, f, *p: _norm(x) + _half(leave=lambda x, y, gate: gate * y)(x, f, *p),
              lambda x, f, scale, shift, gate: (h := _norm(x) * (1 + scale[:, None]) + shift[:, None])
              + gate[:, None] * f(h)),
             "the layer's result is added to what went into the layer: to x itself, as it came"),
        Slip((*(_half(leave=lambda x, y, gate, f=f: x + f(gate) * y) for f in (torch.sigmoid, torch.tanh)),
              _half(lambda x, scale, shift: _norm(x) * scale.exp() + shift)),
             "scale and gate are taken as they are: no sigmoid, tanh or exp of them"),
    ],
    hint="h = norm(x) * (1 + scale) + shift; return x + gate * layer(h). Give scale, shift and gate the shape "
         "(B, 1, C) first, by scale[:, None] and so on. The norm is F.layer_norm(x, x.shape[-1:]).",
    rtol=2e-3, atol=1e-4)

# --- 4


def _batches(g: torch.Generator) -> list[tuple]:
    sizes = ((1, 2), (3, 3), (4, 2), (3, 1, 2, 3))
    return [(Field(g), rand(g, *s), rand(g, *s), 0.15 + 0.7 * torch.rand(s[0], generator=g)) for s in sizes]


def _loss(target: Callable = lambda x, eps, x_t, t: x - eps, place: Callable = lambda x, eps, t: (1 - t) * eps + t * x,
          reduce: Callable = lambda d: d.square().mean(), guess: Callable = lambda v, t: v) -> Callable:
    def velocity_loss(model, x, eps, t):
        each = _each(t, x)
        x_t = place(x, eps, each)
        return reduce(guess(model(x_t, t), each) - target(x, eps, x_t, each))
    return velocity_loss


velocity_loss = Implementation(
    "velocity_loss",
    right=_loss(),
    cases=_batches,
    gradient=("model",),
    slips=[
        Slip((*(_loss(lambda x, eps, x_t, t, f=f: f(t) * (x - x_t)) for f in (
                  lambda t: 1, lambda t: -1, lambda t: 1 - t, lambda t: 1 / t)), _loss(guess=lambda v, t: v / (1 - t))),
             "the bug is still there: what is the velocity of a road that leads from eps to x in a time of 1?"),
        Slip(_loss(lambda x, eps, x_t, t: x_t - eps),
             "this target is the way behind x_t, which is short at the beginning: the velocity is the same at all "
             "times"),
        Slip(_loss(lambda x, eps, x_t, t: x - x_t, guess=lambda v, t: (1 - t) * v),
             "this has the right minimum, but an error counts less the later it is made: the plain mean of "
             "(model(x_t, t) - velocity)^2 is asked for"),
        Slip(_loss(lambda x, eps, x_t, t: eps - x), "the sign is wrong: the road leads from eps to x"),
        Slip(tuple(_loss(target, lambda x, eps, t: t * eps + (1 - t) * x) for target in (
                 lambda x, eps, x_t, t: x - eps, lambda x, eps, x_t, t: eps - x, lambda x, eps, x_t, t: x - x_t)),
             "now your road begins at x: x_t was right as it stood, eps at t = 0", "x_t = (1 - t) * eps + t * x"),
        Slip((_loss(place=lambda x, eps, t: x), _loss(place=lambda x, eps, t: eps)),
             "the model is shown an end of the road in place of x_t", "model(x_t, t)"),
        Slip(lambda model, x, eps, t: _loss()(lambda x_t, t: model(x_t, 1 - t), x, eps, t),
             "the model is told the time 1 - t: here t is 0 at the noise", "model(x_t, t)"),
        Slip((_loss(lambda x, eps, x_t, t: x), _loss(lambda x, eps, x_t, t: eps),
              _loss(lambda x, eps, x_t, t: x + eps)),
             "this target is no velocity: how far, and which way, is it from eps to x?"),
        Slip((_loss(reduce=lambda d: d.square().sum()), _loss(reduce=lambda d: d.square().sum(1).mean()),
              _loss(reduce=lambda d: d.square().sum() / len(d))),
             "this is a sum, if only over the numbers of an example: the mean is asked for", ".square().mean()"),
        Slip((_loss(reduce=lambda d: d.mean()), _loss(reduce=lambda d: d.abs().mean()),
              _loss(reduce=lambda d: d.mean().square()), _loss(reduce=lambda d: d.square().mean().sqrt()),
              _loss(reduce=lambda d: d.flatten(1).norm(dim=1).mean())),
             "square each error first, and then take the mean of all: without absolute values or a root",
             ".square().mean()"),
        Slip(_loss(reduce=lambda d: d.square().flatten(1).mean(1)),
             "this is one number for each example: their mean is asked for", ".square().mean()"),
    ],
    hint="The function was right but for one line. Take eps = 0, x = 1 and a few times t: what is the target, and what "
         "is the velocity of the road?",
    rtol=1e-3)

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
def _roads_of(steps: int) -> tuple[Tensor, Tensor, Tensor]:
    """The noise and the data of the task, paired at random, and the ends of the paths from it.  3 x (5000, 2)"""
    eps, x = torch.randn(5_000, 2, generator=seeded(5)), toys.ring().sample(5_000, seeded(6))
    return eps, x, heun.right(exact_velocity, eps, steps)


def _before() -> float:
    eps, x, _ = _roads_of(50)
    return (x - eps).square().sum(1).mean().item()


def _after(steps: int = 50) -> float:
    eps, _, end = _roads_of(steps)
    return (end - eps).square().sum(1).mean().item()


def _between(start: int, goal: int) -> float:
    """Mean squared distance from the noise (goal 0) or the data (1) to the ends of paths that begin at the noise
    (start 0) or, wrongly, at the data (1)."""
    pair = _roads_of(50)[:2]
    return (heun.right(exact_velocity, pair[start], 50) - pair[goal]).square().sum(1).mean().item()


def _ratios(power: int) -> float:
    eps, x, end = _roads_of(50)
    return 1 - ((end - eps).norm(dim=1) / (x - eps).norm(dim=1)).pow(power).mean().item()


def _lengths() -> float:
    eps, x, end = _roads_of(50)
    return 1 - ((end - eps).norm(dim=1).mean() / (x - eps).norm(dim=1).mean()).item()


saved = Measurement(
    "saved",
    truth=lambda: 1 - _after() / _before(),
    tolerance=0.02,
    slips=[
        Slip(lambda: _after() / _before(), "this is the share that is left: the share that is saved is asked for"),
        Slip((lambda: _before() - _after(), lambda: (_before() - _after()) / 2),
             "this is a difference: divide it by the mean before"),
        Slip((lambda: _before() / _after(), lambda: _before() / _after() - 1, lambda: 1 - _before() / _after()),
             "you divide by the mean of the paths: 1 - after / before is asked for"),
        Slip((lambda: _ratios(2), lambda: _ratios(1)),
             "this is a mean of 5,000 ratios: take both means first, and divide then"),
        Slip((lambda: 1 - _between(1, 1) / _before(), lambda: 1 - _between(1, 0) / _before()),
             "your paths begin at the data: they begin at the noise, heun(exact_velocity, eps, 50)"),
        Slip(lambda: 1 - _between(0, 1) / _before(), "you measure how far the ends are from the data of the pairs: how "
             "far are they from where they began, from eps?"),
        Slip(_lengths, "you compare lengths: the means of the squared lengths are asked for"),
        Slip((_after, lambda: _after() / 2), "this is the mean of the paths alone: 1 - after / before is asked for"),
        Slip((_before, lambda: _before() / 2), "this is the mean of the roads alone: 1 - after / before is asked for"),
        Slip((*(lambda n=n: 1 - _after(n) / _before() for n in (1, 2)), lambda: 1 - 2 / _before(),
              *(lambda f=f: 1 - f * _after() / _before() for f in (0.5, 2))),
             "so much comes out if the paths are followed in only one or two steps (take at least 20), or if the sum "
             "over the two coordinates is missing in one of the means"),           # too near to be told apart
    ],
    hint="1 - after / before, with (end - eps).square().sum(1).mean() for after, and x in place of end for before. "
         "Both begin at the same eps; end = heun(exact_velocity, eps, 50).")
