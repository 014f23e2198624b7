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
    returns=("noise", "image"),
    slips=[
        Slip(_ends(lambda x, v, t: x + (1 - t) * v, lambda x, v, t: x - t * v),
             "noise and image have changed places: here t = 0 is the noise, v leads away from it, and it comes first"),
        Slip(_ends(lambda x, v, t: x - (1 - t) * v, lambda x, v, t: x + t * v),
             "you took the part of the road that lies behind for the one that is left: at t = 0 all of it is left"),
        Slip(_ends(lambda x, v, t: x + t * v, lambda x, v, t: x - (1 - t) * v),
             "you walk the wrong way: v leads from the noise to the image, so the image is where +v leads"),
        Slip(_ends(lambda x, v, t: x - v, lambda x, v, t: x + v),
             "you walk a whole road from x_t, which lies somewhere on it: t of it is behind, 1 - t is left"),
        Slip(_ends(each=lambda t, v: t),
             "t of shape (B,) meets the last axis of v, and not its examples: every example has its own time",
             "t.view(-1, 1, 1, 1) for images. For any shape: t.view(-1, *[1] * (x_t.ndim - 1))."),
        Slip(_ends(each=lambda t, v: t[0]), "you use the first time for all examples: each has its own",
             "t.view(-1, *[1] * (x_t.ndim - 1))"),
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
                          "torch.full((len(x),), i / steps, device=x.device)")
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
        Slip(_walk(_two(), count=lambda n: 1),
             "only one of the steps is made: does `return` stand inside the loop, or does every step start at the "
             "same x?", "return x after the loop, at the depth of `for`."),
        Slip(_gaps, "you make one step too few: torch.linspace(0, 1, steps) has steps - 1 gaps",
             "torch.linspace(0, 1, steps + 1), or t = i / steps for i in range(steps)."),
        Slip(_walk(_two(lambda f, x, t, h, k: f(x + h * k, t - h)), clock=lambda i, n: 1 - i / n),
             "your clock runs from 1 to 0: here the noise is at t = 0 and the data at t = 1", "t = i / steps"),
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
        Slip(_half(lambda x, scale, shift: _norm(x) * (1 + shift) + scale), "scale and shift have changed places"),
        Slip(_half(lambda x, scale, shift: _norm(x), call=lambda f, h, scale, shift: f(h) * (1 + scale) + shift),
             "you scale and shift what comes out of the layer: what goes in"),
        Slip(_half(lambda x, scale, shift: (x - x.mean(-1, True)) / x.std(-1, keepdim=True) * (1 + scale) + shift),
             ".std() divides by C - 1: the norm of nn.LayerNorm divides by C",
             "x.std(-1, unbiased=False), x.var(-1, correction=0), or F.layer_norm(x, x.shape[-1:])"),
        Slip(_half(lambda x, scale, shift: F.layer_norm(x, x.shape[-2:]) * (1 + scale) + shift),
             "you normalise all tokens of an example together: each token has its own mean and variance, over its C "
             "numbers", "F.layer_norm(x, x.shape[-1:])"),
        Slip(_half(leave=lambda x, y, gate: gate * y), "x itself is missing: the layer's result is added to it"),
        Slip(_half(leave=lambda x, y, gate: x + y), "gate has no effect"),
        Slip(_half(leave=lambda x, y, gate: x + (1 + gate) * y),
             "you multiply by 1 + gate, and gate alone is asked for: where gate is 0, the block must return x"),
        Slip(_half(leave=lambda x, y, gate: gate * (x + y)),
             "the gate also closes the way past the layer: it belongs to the layer's result alone"),
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
        Slip(_loss(lambda x, eps, x_t, t: x - x_t),
             "the bug is still there: what is the velocity of a road that leads from eps to x in a time of 1?"),
        Slip(_loss(lambda x, eps, x_t, t: x_t - eps),
             "this target is the way behind x_t, which is short at the beginning: the velocity is the same at all "
             "times"),
        Slip(_loss(lambda x, eps, x_t, t: x - x_t, guess=lambda v, t: (1 - t) * v),
             "this has the right minimum, but an error counts less the later it is made: the plain mean of "
             "(model(x_t, t) - velocity)^2 is asked for"),
        Slip(_loss(lambda x, eps, x_t, t: eps - x), "the sign is wrong: the road leads from eps to x"),
        Slip(_loss(place=lambda x, eps, t: t * eps + (1 - t) * x),
             "now your road begins at x: x_t was right as it stood, eps at t = 0", "x_t = (1 - t) * eps + t * x"),
        Slip(_loss(place=lambda x, eps, t: x), "the model is shown x in place of x_t", "model(x_t, t)"),
        Slip(_loss(lambda x, eps, x_t, t: x), "this target is the image: the velocity is asked for"),
        Slip(_loss(reduce=lambda d: d.square().sum()), "this is a sum: the mean is asked for", ".square().mean()"),
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


def _lengths() -> float:
    eps, x, end = _roads_of(50)
    return 1 - ((end - eps).norm(dim=1).mean() / (x - eps).norm(dim=1).mean()).item()


saved = Measurement(
    "saved",
    truth=lambda: 1 - _after() / _before(),
    tolerance=0.02,
    slips=[
        Slip(lambda: _after() / _before(), "this is the share that is left: the share that is saved is asked for"),
        Slip(lambda: _before() - _after(), "this is a difference: divide it by the mean before"),
        Slip(lambda: _before() / _after(), "this is how many times more it was before: 1 - after / before is asked "
             "for"),
        Slip(_lengths, "you compare lengths: the means of the squared lengths are asked for"),
        Slip(_after, "this is the mean of the paths alone: 1 - after / before is asked for"),
        Slip(_before, "this is the mean of the roads alone: 1 - after / before is asked for"),
        Slip(lambda: 1 - _after(1) / _before(), "so much is saved if the paths are followed in a single step, which "
             "ends far from the ring: take at least 20", "heun(exact_velocity, eps, 50)"),
    ],
    hint="1 - after / before, with (end - eps).square().sum(1).mean() for after, and x in place of end for before. "
         "Both begin at the same eps; end = heun(exact_velocity, eps, 50).")
