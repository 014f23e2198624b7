"""The checks of exercise 61: noise from any time to any later one, one step back, a loss with the wrong time, how early
the ring's mode is decided."""

from collections.abc import Callable
from functools import cache

import torch
from torch import Tensor, nn

from course_lib.checks import Implementation, Measurement, Slip


def _away(g: torch.Generator, *shape: int, low: float = 0.5, high: float = 1.5) -> Tensor:
    """Numbers of either sign that are far from 0, so that what is done to them can be seen."""
    sign = 2.0 * torch.randint(2, shape, generator=g) - 1
    return sign * (low + (high - low) * torch.rand(shape, generator=g))


def _schedule(g: torch.Generator, T: int) -> Tensor:
    """Few steps with much noise in each."""
    return (0.5 + 0.3 * torch.rand(T, generator=g)).cumprod(0)


def _left(alphas_cumprod: Tensor, t: Tensor | int) -> Tensor:
    """alphas_cumprod[t], and 1 for t = -1."""
    return torch.cat([torch.ones(1), alphas_cumprod])[t + 1]


# --- 1


def _jumps(g: torch.Generator) -> list[tuple]:
    """The last case alone begins at the clean image; one has as many rows as columns."""
    cases = []
    for shape, s, t in (((1, 2), [1], [3]), ((3, 3), [0, 3, 1], [4, 5, 2]), ((2, 1, 3, 2), [2, 0], [3, 5]),
                        ((4, 2), [1, 0, 2, 0], [2, 1, 5, 3]), ((3, 2), [-1, -1, -1], [2, 0, 4])):
        cases.append((_away(g, *shape), torch.tensor(s), torch.tensor(t), _away(g, *shape), _schedule(g, 6)))
    return cases


def _jump(mix: Callable = lambda s, t: ((t / s).sqrt(), (1 - t / s).sqrt()),
          at: Callable = lambda s, t: (s, t)) -> Callable:
    """mix(what is left at s, at t) -> the factors of x_s and of the noise; at(s, t) are the times looked up."""
    def jump(x_s, s, t, eps, alphas_cumprod):
        left = [_left(alphas_cumprod, i) for i in at(s, t)]
        of_x, of_eps = (f.view(-1, *[1] * (x_s.ndim - 1)) for f in mix(*left))
        return of_x * x_s + of_eps * eps
    return jump


def _same_noise(x_s, s, t, eps, alphas_cumprod):
    """All the small steps, each with the same noise."""
    rows = []
    for x, i, j, e in zip(x_s, s.tolist(), t.tolist(), eps):
        for step in range(i + 1, j + 1):
            alpha = _left(alphas_cumprod, step) / _left(alphas_cumprod, step - 1)
            x = alpha.sqrt() * x + (1 - alpha).sqrt() * e
        rows.append(x)
    return torch.stack(rows)


def _product(x_s, s, t, eps, a):
    r = torch.stack([a[i + 1:j + 1].prod() for i, j in zip(s.tolist(), t.tolist())])
    return _jump(lambda *_: (r.sqrt(), (1 - r).sqrt()))(x_s, s, t, eps, a)


JUMP = "With r = alpha-bar_t / alpha-bar_s: sqrt(r) x_s + sqrt(1 - r) eps, and alpha-bar_s = 1 for s = -1."

noisier = Implementation(
    "noisier",
    right=_jump(),
    cases=_jumps,
    slips=[
        Slip(None, "only s = -1 is wrong: for Python alphas_cumprod[-1] is the last entry, and of a clean image all is "
                   "left", "Take 1 for alphas_cumprod[s] where s = -1, for example with torch.where.", only=(4,)),
        Slip(_jump(lambda s, t: (t.sqrt(), (1 - t).sqrt())),
             "this is the jump from a clean image, and s is not used: x_s has been shrunk and has noise already", JUMP),
        Slip(_jump(lambda s, t: ((t / s).sqrt(), (1 - t).sqrt())),
             "x_s shrinks as it should, but you add all the noise of x_t: part of it is in x_s already", JUMP),
        Slip(tuple(_jump(lambda s, t, f=f: (f(s, t).sqrt(), (s - t).sqrt())) for f in (
                lambda s, t: t / s, lambda s, t: 1 - s + t)),
             "the variance of the new noise is not the difference of the two: the noise in x_s shrinks with x_s", JUMP),
        Slip((_jump(lambda s, t: (t / s, 1 - t / s)), _jump(lambda s, t: (t / s, (1 - t / s).sqrt())),
              _jump(lambda s, t: ((t / s).sqrt(), 1 - t / s))),
             "a root is missing: the shares r and 1 - r are variances, and numbers are multiplied by standard "
             "deviations", JUMP),
        Slip(_jump(lambda s, t: ((t / s).sqrt(), 1 - (t / s).sqrt())),
             "the noise is multiplied by 1 - sqrt(r): by sqrt(1 - r), so that the variances add up to 1", JUMP),
        Slip(_jump(lambda s, t: ((1 - t / s).sqrt(), (t / s).sqrt())), "x_s and the noise have changed places", JUMP),
        Slip(tuple(_jump(lambda s, t, n=n: ((t / s).sqrt(), n + 0 * t)) for n in (0, 1)),
             "eps comes in as it is, or not at all: its factor is sqrt(1 - r), so that the variances add up", JUMP),
        Slip(_jump(lambda s, t: (t.sqrt(), (1 - t / s).sqrt())),
             "x_s shrinks by sqrt(alpha-bar_t), and it has been shrunk already, at the time s: only by the rest", JUMP),
        Slip(_jump(lambda s, t: ((t / s).sqrt(), (1 - t).sqrt() - (t / s * (1 - s)).sqrt())),
             "you take eps out of x_s, as if it were the noise in there: eps is fresh, that in x_s another", JUMP),
        Slip(_same_noise, "the same noise in each of the small steps adds up to too much: one jump adds it once", JUMP),
        Slip(_jump(at=lambda s, t: (t - 1, t)), "this is the last step alone, from t - 1 to t", JUMP),
        Slip(tuple(_jump(at=at) for at in (
                lambda s, t: (s, t - 1), lambda s, t: (s - 1, t), lambda s, t: (s - 1, t - 1),
                lambda s, t: ((s - 1).clamp(min=-1), t), lambda s, t: ((s - 1).clamp(min=-1), t - 1))),
             "your index is off by one: alphas_cumprod[s] is left at the time s, and alphas_cumprod[t] at t",
             "If you put a 1 in front of alphas_cumprod, its entries move: look at [s + 1] and [t + 1]. " + JUMP),
        Slip(tuple(_jump(lambda s, t: (t.sqrt(), (1 - t).sqrt()), at) for at in (
                lambda s, t: (s, t - s), lambda s, t: (s, t - s - 1))),
             "you count t - s steps from the clean image: those from s to t have other shares of noise", JUMP),
        Slip(_product, "you multiply entries of alphas_cumprod, which are products already: the ratio of two is left",
             JUMP),
        Slip(None, "right for points, and not for images: r of shape (B,) needs as many axes as x_s",
             "r.view(-1, *[1] * (x_s.ndim - 1))", only=(2,)),
        Slip(_jump(lambda s, t: (torch.ones_like(t), (1 - t / s).sqrt())),
             "you add noise and do not shrink x_s: its variance grows", JUMP),
        Slip(_jump(lambda s, t: ((t / s).sqrt()[:1], (1 - t / s).sqrt()[:1])),
             "all rows are treated like the first: each has its own s and t",
             "alphas_cumprod[t] has shape (B,): view it as (B, 1, ...) so that it meets the rows."),
    ],
    hint="One step from t-1 to t leaves the share alpha_t of the variance. What is left after the steps s+1 ... t? "
         "Their product is a ratio of two entries of alphas_cumprod. Then it is eq. 1 with x_s in place of x_0. A "
         "number for each row has the shape (B,): to multiply the rows it must be (B, 1), [:, None].",
    rtol=1e-3, atol=1e-4)

# --- 2


def _states(g: torch.Generator) -> list[tuple]:
    """Every second guess of x_0 lies far outside -1 ... 1. The last case alone is the last step."""
    cases = []
    for shape, t in (((1, 2), 2), ((3, 3), 1), ((2, 1, 3, 2), 4), ((4, 2), 3), ((3, 2), 0)):
        a, eps, odd = _schedule(g, 5), _away(g, *shape), torch.arange(shape[-1]) % 2 == 1
        x0 = torch.where(odd, _away(g, *shape, low=1.6, high=2.2), _away(g, *shape, low=0.3, high=0.7))
        cases.append((eps, a[t].sqrt() * x0 + (1 - a[t]).sqrt() * eps, t, a, _away(g, *shape)))
    return cases


def _step(guess: Callable = lambda x_t, eps, a: (x_t - (1 - a).sqrt() * eps) / a.sqrt(),
          clamp: Callable = lambda x0: x0.clamp(-1, 1),
          mean: Callable = lambda x0, x_t, a, before: (before.sqrt() * (1 - a / before) * x0
                                                       + (a / before).sqrt() * (1 - before) * x_t) / (1 - a),
          std: Callable = lambda a, before: ((1 - before) / (1 - a) * (1 - a / before)).sqrt()) -> Callable:
    """Eq. 3 with one thing changed."""
    def step(eps, x_t, t, alphas_cumprod, noise):
        a, before = _left(alphas_cumprod, t), _left(alphas_cumprod, t - 1)
        return mean(clamp(guess(x_t, eps, a)), x_t, a, before) + std(a, before) * noise
    return step


def _mean(x0, x_t, a, before):
    return (before.sqrt() * (1 - a / before) * x0 + (a / before).sqrt() * (1 - before) * x_t) / (1 - a)


def _with_alpha(eps, x_t, t, alphas_cumprod, noise):
    """Eq. 3 with alpha_t in place of alpha-bar_t."""
    before = _left(alphas_cumprod, t - 1)
    a = alphas_cumprod[t] / before
    x0 = ((x_t - (1 - a).sqrt() * eps) / a.sqrt()).clamp(-1, 1)
    return before.sqrt() * x0 + (a.sqrt() * (1 - before) / (1 - a)) * x_t + (1 - before).sqrt() * noise


def _tilde(a: Tensor, before: Tensor) -> Tensor:
    return (1 - before) / (1 - a) * (1 - a / before)


GUESS = "x0 = ((x_t - sqrt(1 - a) eps) / sqrt(a)).clamp(-1, 1), with a = alphas_cumprod[t]."
MEAN = "sqrt(before) beta / (1 - a) belongs to x0, sqrt(alpha) (1 - before) / (1 - a) to x_t; alpha = a / before."
NOISE = "Add (((1 - before) / (1 - a)) * beta).sqrt() * noise, with beta = 1 - a / before."

ddpm_step = Implementation(
    "ddpm_step",
    right=_step(),
    cases=_states,
    slips=[
        Slip(None, "only the last step, t = 0, is wrong: before it all of the image was left, so alpha-bar is 1 there "
                   "(alphas_cumprod[-1] is the last entry), and no noise is added",
             "before = alphas_cumprod[t - 1] if t > 0 else torch.ones(()), and eq. 3 does the rest.", only=(4,)),
        Slip(_step(clamp=lambda x0: x0), "the guess of x_0 is not clamped to -1 ... 1", GUESS),
        Slip(lambda *case: _step(clamp=lambda x0: x0)(*case).clamp(-1, 1),
             "you clamp x_{t-1}, which has noise and may lie outside: only the guess of x_0 is clamped", GUESS),
        Slip((lambda *case: _step()(*case).clamp(-1, 1),
              _step(clamp=lambda x0: x0, mean=lambda *args: _mean(*args).clamp(-1, 1)),
              lambda eps, x_t, *rest: _step(clamp=lambda x0: x0)(eps, x_t.clamp(-1, 1), *rest),
              lambda eps, *rest: _step(clamp=lambda x0: x0)(eps.clamp(-1, 1), *rest),
              *(_step(clamp=f) for f in (lambda x0: x0.clamp(max=1), lambda x0: x0.clamp(min=-1), torch.tanh))),
             "the clamp is another: the guess of x_0, and nothing else, is clamped, at -1 and at 1", GUESS),
        Slip(_step(clamp=lambda x0: x0.clamp(0, 1)), "grey values run from -1 to 1 here: you clamp at 0", GUESS),
        Slip(_step(std=_tilde), "the noise is multiplied by its variance: by the root of it", NOISE),
        Slip((_step(std=lambda a, before: (1 - a / before).sqrt()),
              _step(std=lambda a, before: (1 - a / before).sqrt() * (before < 1))),
             "the noise has the variance beta_t: that of eq. 3 is smaller, and 0 at t = 0", NOISE),
        Slip(_step(std=lambda a, before: 0 * a), "fresh noise is missing: this is only the mean of eq. 3", NOISE),
        Slip(tuple(_step(std=lambda a, b, f=f, last=last: f(a, b) * (b < last)) for last in (1, 2) for f in (
                lambda a, b: 1 - a / b, lambda a, b: (1 - a).sqrt(), lambda a, b: (1 - b).sqrt(),
                lambda a, b: ((1 - b) / (1 - a)).sqrt())),
             "the noise has another factor than in eq. 3: the root of beta-tilde", NOISE),
        Slip((lambda eps, x_t, t, a, noise: _step()(eps, x_t, t, a, eps),
              lambda eps, x_t, t, a, noise: _step()(noise, x_t, t, a, noise),
              lambda eps, x_t, t, a, noise: _step()(noise, x_t, t, a, eps)),
             "eps and noise are mixed up: eps gives the guess of x_0, and noise is what is added at the end"),
        Slip((lambda eps, x_t, t, a, noise: _left(a, t - 1).sqrt() * (x_t - (1 - a[t]).sqrt() * eps) / a[t].sqrt()
              + (1 - _left(a, t - 1)).sqrt() * eps,
              lambda eps, x_t, t, a, noise: _left(a, t - 1).sqrt() * ((x_t - (1 - a[t]).sqrt() * eps) / a[t].sqrt())
              .clamp(-1, 1) + (1 - _left(a, t - 1)).sqrt() * eps),
             "this is a step of DDIM, without fresh noise: that of DDPM is asked for, eq. 3", MEAN),
        Slip(None, "only t = 1 is wrong: before it alphas_cumprod[0] was left, and 1 only before t = 0",
             "alphas_cumprod[t - 1] if t > 0", only=(1,)),
        Slip(_step(std=lambda a, before: a / a), "the noise has no factor: its variance in eq. 3 is beta-tilde", NOISE),
        Slip(tuple(_step(guess=guess) for guess in (
                lambda x_t, eps, a: x_t - (1 - a).sqrt() * eps, lambda x_t, eps, a: (x_t - (1 - a) * eps) / a,
                lambda x_t, eps, a: (x_t - (1 - a) * eps) / a.sqrt(), lambda x_t, eps, a: x_t - eps,
                lambda x_t, eps, a: (x_t - (1 - a).sqrt() * eps) / a,
                lambda x_t, eps, a: (x_t + (1 - a).sqrt() * eps) / a.sqrt(),
                lambda x_t, eps, a: x_t - (1 - a).sqrt() * eps / a.sqrt())),
             "the guess of x_0 is not eq. 1 solved for x_0", GUESS),
        Slip(_step(guess=lambda x_t, eps, a: eps),
             "eps is used as if it were x_0: it is the guess of the noise, from which that of x_0 follows", GUESS),
        Slip(_step(mean=lambda x0, *_: x0, std=lambda a, before: 0 * a),
             "this is the guess of x_0 itself: it is used in the mean of eq. 3, and x_t has a part in it too", MEAN),
        Slip(lambda eps, x_t, t, a, noise: (1 - _left(a, t - 1)).sqrt() * noise + _left(a, t - 1).sqrt() * (
            (x_t - (1 - a[t]).sqrt() * eps) / a[t].sqrt()).clamp(-1, 1),
             "you draw x_{t-1} from the guess of x_0 alone, by eq. 1: x_t has a part in the mean of eq. 3", MEAN),
        Slip(tuple(_step(mean=lambda x0, x_t, a, b, f=f: f(x0 / (1 - a), x_t / (1 - a), a, b, a / b)) for f in (
                lambda x0, x_t, a, b, alpha: a.sqrt() * (1 - alpha) * x0 + alpha.sqrt() * (1 - b) * x_t,
                lambda x0, x_t, a, b, alpha: b * (1 - alpha) * x0 + alpha.sqrt() * (1 - b) * x_t,
                lambda x0, x_t, a, b, alpha: b.sqrt() * (1 - alpha) * x0 + alpha * (1 - b) * x_t,
                lambda x0, x_t, a, b, alpha: b.sqrt() * (1 - alpha) * x0 + a.sqrt() * (1 - b) * x_t,
                lambda x0, x_t, a, b, alpha: b.sqrt() * x0 + alpha.sqrt() * (1 - b) * x_t,
                lambda x0, x_t, a, b, alpha: b.sqrt() * (1 - alpha) * x0 - alpha.sqrt() * (1 - b) * x_t,
                lambda x0, x_t, a, b, alpha: (1 - a) * (b.sqrt() * (1 - alpha) * x0 + alpha.sqrt() * (1 - b) * x_t),
                lambda x0, x_t, a, b, alpha: (1 - a) * b.sqrt() * (1 - alpha) * x0 + alpha.sqrt() * (1 - b) * x_t)),
             "a factor in the mean is not that of eq. 3: compare them one by one, with roots and divisors", MEAN),
        Slip(_step(mean=lambda x0, x_t, a, before: (before.sqrt() * (1 - a / before) * x_t
                                                    + (a / before).sqrt() * (1 - before) * x0) / (1 - a)),
             "x_0 and x_t have changed places in the mean", MEAN),
        Slip(tuple(_step(mean=lambda x0, x_t, a, before: before.sqrt() * x0 + a.sqrt() * (1 - before) / (1 - a) * x_t,
                         std=std) for std in (lambda a, before: _tilde(a, before).sqrt(),
                                              lambda a, before: (1 - before).sqrt())),
             "alphas_cumprod[t] is what is left after all steps: alpha_t, of this one alone, is its ratio to the entry "
             "before", MEAN),
        Slip(_with_alpha,
             "alpha_t, of this one step, stands where alpha-bar_t belongs: a is alphas_cumprod[t] itself, not its "
             "ratio to the entry before", GUESS + " " + MEAN),
    ],
    hint="a = alphas_cumprod[t]; before = alphas_cumprod[t - 1], or 1 for t = 0; alpha = a / before; beta = 1 - alpha. "
         "First the guess of x_0, clamped; then eq. 3.",
    rtol=1e-3, atol=1e-4)

# --- 3


class Model(nn.Module):
    """A guess of the noise that depends on the points and on the time.  (B, D), (B,) -> (B, D)"""

    def __init__(self, d: int, g: torch.Generator):
        super().__init__()
        self.weight = nn.Parameter(_away(g, d, d))

    def forward(self, x_t: Tensor, t: Tensor) -> Tensor:
        return x_t @ self.weight + 0.7 * t.view(-1, 1)


def _points(g: torch.Generator) -> list[tuple]:
    cases = []
    for b, d, t in ((1, 2, [2]), (3, 2, [3, 0, 1]), (4, 3, [0, 2, 4, 3]), (3, 3, [1, 4, 2])):
        cases.append((Model(d, g), _away(g, b, d), torch.tensor(t), _away(g, b, d), _schedule(g, 5)))
    return cases


def _loss(time: Callable = lambda t: t, told: Callable = lambda t: t, target: Callable = lambda x0, x_t, eps: eps,
          mix: Callable = lambda a: (a.sqrt(), (1 - a).sqrt()),
          reduce: Callable = lambda error: error.square().mean()) -> Callable:
    """The loss with one thing changed."""
    def loss(model, x0, t, eps, alphas_cumprod):
        of_x, of_eps = mix(alphas_cumprod[time(t)][:, None])
        x_t = of_x * x0 + of_eps * eps
        return reduce(model(x_t, told(t)) - target(x0, x_t, eps))
    return loss


def _first(t: Tensor) -> Tensor:
    return t[:1].expand(len(t))


OWN = "a = alphas_cumprod[t][:, None], of shape (B, 1)."
MIX = "x_t = a.sqrt() * x0 + (1 - a).sqrt() * eps, as it was."

noise_loss = Implementation(
    "noise_loss",
    right=_loss(),
    cases=_points,
    gradient=("model",),
    slips=[
        Slip((_loss(time=_first), _loss(time=lambda t: t.flip(0)[:1].expand(len(t))),
              _loss(time=lambda t: t.max().expand(len(t))),
              _loss(mix=lambda a: (a.mean().sqrt(), (1 - a.mean()).sqrt()))),
             "the bug is still there: give two points the times 0 and 99, and look at the noise that each got", OWN),
        Slip(_loss(time=_first, told=_first),
             "network and noise agree on the time now, but it is that of the first point: each has its own", OWN),
        Slip(_loss(told=_first), "the noise is right now, but the network is told the time of the first point for all",
             "Tell it t, as it was."),
        Slip(tuple(_loss(mix=mix) for mix in (
                lambda a: (a, 1 - a), lambda a: (a.sqrt(), 1 - a), lambda a: (a.sqrt(), 1 - a.sqrt()),
                lambda a: (a, (1 - a).sqrt()), lambda a: (1, (1 - a).sqrt()))),
             "x_t is mixed in other shares, perhaps without a root: sqrt(a) x_0 + sqrt(1 - a) eps", MIX),
        Slip(lambda model, x0, t, eps, a: _loss()(lambda x_t, t: model(x0, t), x0, t, eps, a),
             "the network is shown the clean points: x_t is its input", "model(x_t, t)"),
        Slip(tuple(lambda model, x0, t, eps, a, f=f: _loss()(lambda x_t, t: model(x_t, f(t, a)), x0, t, eps, a)
                   for f in (lambda t, a: a[t], lambda t, a: t / 100)),
             "the network is told something else than t, the whole number of the step", "model(x_t, t)"),
        Slip((_loss(target=lambda x0, x_t, eps: x_t - x0), _loss(target=lambda x0, x_t, eps: -eps)),
             "the guess is compared with something else than eps, as it was drawn", "(model(x_t, t) - eps)"),
        Slip(_loss(mix=lambda a: ((1 - a).sqrt(), a.sqrt())), "x_0 and the noise have changed places in x_t", MIX),
        Slip(_loss(target=lambda x0, x_t, eps: x0),
             "the guess is compared with x_0: the network of this lesson guesses the noise", "(model(x_t, t) - eps)"),
        Slip(_loss(target=lambda x0, x_t, eps: x_t),
             "the guess is compared with x_t, its own input: copying it is enough", "(model(x_t, t) - eps)"),
        Slip(_loss(reduce=lambda error: error.square().sum()), "you add up all squares: their mean is asked for",
             "End with .square().mean()."),
        Slip(_loss(reduce=lambda error: error.square().sum(1).mean()),
             "you add up the squares of a point: the mean over all numbers is asked for", "End with .square().mean()."),
        Slip(_loss(reduce=lambda error: error.square().mean(1)),
             "this is one number for each point: their mean is asked for", "End with .square().mean()."),
        Slip(_loss(reduce=lambda error: error.abs().mean()),
             "you take absolute values: only with squares is the best answer the mean of all noises that are possible",
             ".square().mean()"),
        Slip(tuple(_loss(reduce=reduce) for reduce in (
                lambda e: e.mean(), lambda e: e.mean().square(), lambda e: e.square().mean().sqrt(),
                lambda e: e.norm(dim=1).mean())),
             "square each error first, and then take the mean of all, without a root", ".square().mean()"),
    ],
    hint="The function was right but for one line. Take a batch of three points with the times 0, 50 and 99: how much "
         "noise does each get, and how much should it get?",
    rtol=1e-3, atol=1e-4)

# --- 5


@cache
def _shares() -> dict[str, float]:
    """Of 40,000 pairs on the ring that share their way down to x_20: how many end at the same mode, and what else
    may be counted."""
    from course_lib import diffusion
    from course_lib.data import toys

    ring, a, g = toys.ring(std=0.2), diffusion.linear_alphas_cumprod(100), torch.Generator().manual_seed(0)

    def walk(x: Tensor, times: range) -> Tensor:
        for t in reversed(times):
            var = a[t] * ring.std**2 + 1 - a[t]
            weight = (-torch.cdist(x, a[t].sqrt() * ring.means).square() / (2 * var)).softmax(1)                # (N, 8)
            eps = (1 - a[t]).sqrt() * (x - weight @ (a[t].sqrt() * ring.means)) / var
            x = diffusion.ddpm_step(eps, x, t, a, noise=torch.randn(x.shape, generator=g))
        return x

    x = walk(torch.randn(40_000, 2, generator=g), range(21, 100))
    now, one, other = (torch.cdist(p, ring.means).argmin(1) for p in (x, walk(x, range(21)), walk(x, range(21))))
    return {"agree": (one == other).double().mean().item(), "now": (one == now).double().mean().item()}


share_agreed = Measurement(
    "share_agreed",
    truth=lambda: _shares()["agree"],
    tolerance=0.05,
    slips=[
        Slip(lambda: 1.0, "all pairs agree: did both get the same fresh noise, or none? Is one a copy of the other?",
             "Walk from the same x_20 twice, without setting a seed in between."),
        Slip(lambda: 0.125, "this is chance, one in eight: the two of a pair must share the way from x_99 to x_20",
             "Walk once down to x_20, then twice from there."),
        Slip(lambda: 1 - _shares()["agree"], "this is the share of pairs that end at different modes",
             "Count those that end at the same one."),
        Slip((lambda: 0.847, lambda: 0.917),       # measured; from x_10
             "so many agree if the second walk goes on from the end of the first one, or if both begin nearer to "
             "the end than x_20", "x_20 is what the steps 99 ... 21 give. Keep it, and walk from it twice."),
        Slip(lambda: 10_000 * _shares()["agree"], "this is a number of pairs: divide it by how many there are"),
        Slip(lambda: _shares()["now"],
             "you compare the end with the mode that was nearest at t = 20: compare two ends of the same x_20",
             "Walk twice from x_20, and compare the two ends."),
    ],
    hint="Steps 99 ... 21 from noise give x_20. Steps 20 ... 0 from it give one end, and the same again, with fresh "
         "noise, the other. torch.cdist(end, ring.means).argmin(1) is the mode of each.")
