"""The checks of exercise 61: noise from any time to any later one, one step back, a loss with the wrong time, how early
the ring's mode is decided."""

from functools import cache

import torch
from torch import Tensor, nn

from course_lib.checks import Implementation, Measurement, by_example, filled


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
    """The last case alone has clean images, and not in all rows; one has as many rows as columns."""
    cases = []
    for shape, s, t in (((1, 2), [1], [3]), ((3, 3), [0, 3, 1], [4, 5, 2]), ((2, 1, 3, 2), [2, 0], [3, 5]),
                        ((4, 2), [1, 0, 2, 0], [2, 1, 5, 3]), ((3, 2), [-1, 1, -1], [2, 4, 0])):
        cases.append((_away(g, *shape), torch.tensor(s), torch.tensor(t), _away(g, *shape), _schedule(g, 6)))
    return cases


def _jump(x_s, s, t, eps, alphas_cumprod, of_x=lambda s, t: (t / s).sqrt(), of_eps=lambda s, t: (1 - t / s).sqrt(),
          at=lambda s, t: (s, t)) -> Tensor:
    """The factors of x_s and of the noise come from what is left at the times at(s, t)."""
    left = [by_example(_left(alphas_cumprod, i), x_s) for i in at(s, t)]
    return of_x(*left) * x_s + of_eps(*left) * eps


def _same_noise(x_s, s, t, eps, alphas_cumprod):
    """All the small steps, each with the same noise."""
    for i in range(len(alphas_cumprod)):
        further = (s < i) & (i <= t)
        x_s = _jump(x_s, torch.where(further, i - 1, i), 0 * t + i, eps, alphas_cumprod)
    return x_s


noisier = Implementation(
    "noisier",
    right=_jump,
    cases=_jumps,
    slips=[
        ("right but for batches with s = -1: alphas_cumprod[-1] is the last entry, and a clean image has all left", {4},
         "How much of x_s is noise at the time -1? So how much of the image is left there?"),
        ("right for points, and not for images: r of shape (B,) needs as many axes as x_s", {2}),
        ("x_s has been shrunk and has noise already, at the time s: {}",
         ("yours is the jump from a clean image, and s is not used",
          dict(of_x=lambda s, t: t.sqrt(), of_eps=lambda s, t: (1 - t).sqrt())),
         ("you add all the noise of x_t, and part of it is in x_s already", dict(of_eps=lambda s, t: (1 - t).sqrt())),
         ("you shrink it by sqrt(alpha-bar_t), and only the rest of that is left to do",
          dict(of_x=lambda s, t: t.sqrt())),
         ("you take eps out of it, as if it were the noise in there, and eps is fresh",
          dict(of_eps=lambda s, t: (1 - t).sqrt() - (t / s * (1 - s)).sqrt()))),
        ("the variance of the new noise is not the difference of the two: the noise in x_s shrinks with x_s",
         dict(of_eps=lambda s, t: (s - t).sqrt()),
         dict(of_eps=lambda s, t: (s - t).sqrt(), of_x=lambda s, t: (1 - s + t).sqrt())),
        ("the shares r and 1 - r are variances, and numbers are multiplied by standard deviations: {}",
         ("a root is missing", dict(of_x=lambda s, t: t / s, of_eps=lambda s, t: 1 - t / s),
          dict(of_x=lambda s, t: t / s), dict(of_eps=lambda s, t: 1 - t / s)),
         ("you multiply the noise by 1 - sqrt(r), not sqrt(1 - r)", dict(of_eps=lambda s, t: 1 - (t / s).sqrt()))),
        ("x_s and the noise have changed places",
         dict(of_x=lambda s, t: (1 - t / s).sqrt(), of_eps=lambda s, t: (t / s).sqrt())),
        ("the factors are sqrt(r) and sqrt(1 - r), so that the variances add up to 1: {}",
         ("eps has none in yours", dict(of_eps=lambda s, t: 1)), ("x_s has none in yours", dict(of_x=lambda s, t: 1)),
         ("in yours no eps comes in", dict(of_eps=lambda s, t: 0))),
        ("the same noise in each of the small steps adds up to too much: one jump adds it once", _same_noise),
        ("you multiply entries of alphas_cumprod, which are products already: the ratio of two is left",
         lambda x_s, s, t, eps, a: _jump(x_s, s, t, eps, a.cumprod(0))),
        ("this is {}: all steps from s + 1 to t are asked for",
         ("the last step alone, from t - 1 to t", dict(at=lambda s, t: (t - 1, t))),
         ("a jump of t - s steps from the clean image, which have other shares of noise",
          *(dict(at=lambda s, t, early=early: (0 * s - 1, t - s - early)) for early in (0, 1)))),
        ("your index is off by one: alphas_cumprod[s] is left at the time s, and alphas_cumprod[t] at t",
         *(dict(at=lambda s, t, low=low, i=i, j=j: ((s - i).clamp(min=low), t - j))
           for low in (-1, -2) for i, j in ((0, 1), (1, 0), (1, 1)))),
        ("all rows are treated like the first: each has its own s and t",
         dict(at=lambda s, t: (s[:1].expand_as(s), t[:1].expand_as(t)))),
    ],
    hints=("One step from t - 1 to t leaves the share alpha_t of the variance. What is left after all steps from s + 1 "
           "to t, in terms of two entries of alphas_cumprod?",
           "Their product is a ratio r, alpha-bar at t divided by alpha-bar at s, which is 1 for s = -1. Then it is "
           "eq. 1 with x_s in place of the clean image, and r in place of alpha-bar. r has the shape (B,), and to "
           "multiply the rows of x_s it needs as many axes as x_s.",
           "left = torch.cat([torch.ones(1), alphas_cumprod])\n"
           "r = (left[t + 1] / left[s + 1]).view(-1, *[1] * (x_s.ndim - 1))\n"
           "r.sqrt() * x_s + (1 - r).sqrt() * eps"), rtol=1e-3, atol=1e-4)

# --- 2


def _states(g: torch.Generator) -> list[tuple]:
    """Every second guess of x_0 lies far outside -1 ... 1. The last case alone is the last step."""
    cases = []
    for shape, t in (((1, 2), 2), ((3, 3), 1), ((2, 1, 3, 2), 4), ((4, 2), 3), ((3, 2), 0)):
        a, eps, odd = _schedule(g, 5), _away(g, *shape), torch.arange(shape[-1]) % 2 == 1
        x0 = torch.where(odd, _away(g, *shape, low=1.6, high=2.2), _away(g, *shape, low=0.3, high=0.7))
        cases.append((eps, a[t].sqrt() * x0 + (1 - a[t]).sqrt() * eps, t, a, _away(g, *shape)))
    return cases


def _clamp(x0: Tensor) -> Tensor:
    return x0.clamp(-1, 1)


def _step(eps, x_t, t, alphas_cumprod, noise,
          guess=lambda x_t, eps, a: (x_t - (1 - a).sqrt() * eps) / a.sqrt(), clamp=_clamp,
          of_x0=lambda a, b: b.sqrt() * (1 - a / b) / (1 - a), of_x=lambda a, b: (a / b).sqrt() * (1 - b) / (1 - a),
          std=lambda a, b: ((1 - b) / (1 - a) * (1 - a / b)).sqrt()) -> Tensor:
    """Eq. 3, where a and b are what is left at t and before."""
    a, b = _left(alphas_cumprod, t), _left(alphas_cumprod, t - 1)
    return of_x0(a, b) * clamp(guess(x_t, eps, a)) + of_x(a, b) * x_t + std(a, b) * noise


FROM_X0 = dict(of_x0=lambda a, b: b.sqrt(), of_x=lambda a, b: 0, std=lambda a, b: (1 - b).sqrt())
NO_ALPHA = FROM_X0 | dict(of_x=lambda a, b: a.sqrt() * (1 - b) / (1 - a))

ddpm_step = Implementation(
    "ddpm_step",
    right=_step,
    cases=_states,
    slips=[
        ("only the last step, t = 0, is wrong: before it all of the image was left, so alpha-bar is 1 there "
         "(alphas_cumprod[-1] is the last entry), and no noise is added", {4}),
        ("only t = 1 is wrong: before it alphas_cumprod[0] was left, and 1 only before t = 0", {1}),
        ("the guess of x_0, and nothing else, is clamped to -1 ... 1: {}", ("yours is not", dict(clamp=Tensor.clone)),
         ("you clamp x_{t-1}, which has noise and may lie outside",
          *(lambda *case, clamp=clamp: _clamp(_step(*case, clamp=clamp)) for clamp in (Tensor.clone, _clamp))),
         ("you clamp the mean", lambda *case: _clamp(_step(*case[:-1], 0, clamp=Tensor.clone))
          + _step(*(0 * v for v in case[:2]), *case[2:])),
         ("you clamp what comes in", lambda eps, x, *rest: _step(eps, _clamp(x), *rest, clamp=Tensor.clone),
          lambda eps, *rest: _step(_clamp(eps), *rest, clamp=Tensor.clone)),
         ("you clamp at 0, and grey values run from -1 here", dict(clamp=lambda x0: x0.clamp(0, 1))),
         ("yours is another", *(dict(clamp=f) for f in (
             torch.tanh, lambda x0: x0.clamp(max=1), lambda x0: x0.clamp(min=-1))))),
        ("eps and noise are mixed up: eps gives the guess of x_0, and noise is what is added at the end",
         lambda eps, x, t, a, noise: _step(eps, x, t, a, eps), lambda eps, x, t, a, noise: _step(noise, x, t, a, noise),
         lambda eps, x, t, a, noise: _step(noise, x, t, a, eps)),
        ("x_t has a part in the mean of eq. 3, besides the guess of x_0, and fresh noise comes in: {}",
         ("yours is a step of DDIM", *(lambda eps, x, t, a, _, clamp=clamp: _step(
             eps, x, t, a, eps, clamp=clamp, **FROM_X0) for clamp in (Tensor.clone, _clamp))),
         ("yours is that guess", dict(of_x0=lambda a, b: 1, of_x=lambda a, b: 0, std=lambda a, b: 0)),
         ("you draw x_{t-1} from it alone, by eq. 1", FROM_X0)),
        ("the noise is multiplied by the root of beta-tilde, as in eq. 3: {}",
         ("yours is its variance, without the root", dict(std=lambda a, b: (1 - b) / (1 - a) * (1 - a / b))),
         ("you take beta_t, which is larger",
          *(dict(std=lambda a, b, last=last: (1 - a / b).sqrt() * (b < last)) for last in (1, 2))),
         ("yours is missing", dict(std=lambda a, b: 0)), ("yours has no factor", dict(std=lambda a, b: 1)),
         ("yours has another factor", *(
             dict(std=lambda a, b, f=f, last=last: f(a, b).sqrt() * (b < last)) for last in (1, 2) for f in (
              lambda a, b: (1 - a / b) ** 2, lambda a, b: 1 - a, lambda a, b: 1 - b, lambda a, b: (1 - b) / (1 - a))))),
        ("the guess of x_0 is eq. 1 solved for x_0, with eps for the noise: {}",
         ("you use eps as if it were x_0", dict(guess=lambda x, eps, a: eps)),
         ("yours is not", *(dict(guess=lambda x, eps, a, f=f: f(x, (1 - a).sqrt() * eps, a.sqrt())) for f in (
             lambda x, noise, root: x - noise, lambda x, noise, root: (x - noise) / root**2,
             lambda x, noise, root: (x + noise) / root, lambda x, noise, root: x - noise / root)),
          *(dict(guess=lambda x, eps, a, f=f: (x - (1 - a) * eps) / f(a)) for f in (Tensor.clone, Tensor.sqrt)),
          dict(guess=lambda x, eps, a: x - eps))),
        ("alphas_cumprod[t] is alpha-bar_t, what is left after all steps; its ratio to the entry before is alpha_t, of "
         "this step alone: {}",
         ("you put alpha-bar_t for alpha_t", NO_ALPHA, {key: NO_ALPHA[key] for key in ("of_x0", "of_x")}),
         ("you put alpha_t for alpha-bar_t", lambda eps, x, t, a, noise: _step(
             eps, x, t, torch.where(torch.arange(len(a)) == t, a[t] / _left(a, t - 1), a), noise, **NO_ALPHA))),
        ("the factors in the mean are not those of eq. 3: {}",
         ("x_0 and x_t have changed places", dict(of_x0=lambda a, b: (a / b).sqrt() * (1 - b) / (1 - a),
                                                  of_x=lambda a, b: b.sqrt() * (1 - a / b) / (1 - a))),
         ("compare them one by one, with roots and divisors",
          *(dict(of_x0=lambda a, b, f=f: f(a, b) / (1 - a)) for f in (
              lambda a, b: a.sqrt() * (1 - a / b), lambda a, b: b * (1 - a / b), lambda a, b: b.sqrt(),
              lambda a, b: b.sqrt() * (1 - a / b) * (1 - a))),
          *(dict(of_x=lambda a, b, f=f: f(a, b) * (1 - b) / (1 - a)) for f in (
              lambda a, b: a / b, lambda a, b: a.sqrt(), lambda a, b: -(a / b).sqrt())),
          dict(of_x0=lambda a, b: b.sqrt() * (1 - a / b), of_x=lambda a, b: (a / b).sqrt() * (1 - b)))),
    ],
    hints=("Print the guess of x_0, the two factors of the mean and that of the noise, each for itself, for t = 1, "
           "where you can compute them by hand.",
           "Five numbers come first: alpha-bar at t; alpha-bar before it, 1 for t = 0; alpha, their ratio; beta, 1 "
           "minus that; and the variance of eq. 3. Then the guess of x_0 from eq. 1, clamped; the mean; and the root "
           "of the variance times the noise.",
           "a, before = alphas_cumprod[t], alphas_cumprod[t - 1] if t > 0 else torch.ones(())\n"
           "alpha, beta = a / before, 1 - a / before\n"
           "x0 = ((x_t - (1 - a).sqrt() * eps) / a.sqrt()).clamp(-1, 1)\n"
           "mean = (before.sqrt() * beta * x0 + alpha.sqrt() * (1 - before) * x_t) / (1 - a)\n"
           "mean + ((1 - before) / (1 - a) * beta).sqrt() * noise"), rtol=1e-3, atol=1e-4)

# --- 3


class Model(nn.Linear):
    """A guess of the noise that depends on the points and on the time.  (B, D), (B,) -> (B, D)"""

    def forward(self, x_t: Tensor, t: Tensor) -> Tensor:
        return super().forward(x_t) + 0.7 * t.view(-1, 1)


def _points(g: torch.Generator) -> list[tuple]:
    cases = []
    for b, d, t in ((1, 2, [2]), (3, 2, [3, 0, 1]), (4, 3, [0, 2, 4, 3]), (3, 3, [1, 4, 2])):
        cases.append((filled(Model(d, d), g), _away(g, b, d), torch.tensor(t), _away(g, b, d), _schedule(g, 5)))
    return cases


def _loss(model, x0, t, eps, alphas_cumprod, time=lambda t: t, told=lambda t, a: t, of_x=lambda a: a.sqrt(),
          of_eps=lambda a: (1 - a).sqrt(), shown=lambda x_t, x0: x_t, target=lambda eps, x0, x_t: eps,
          reduce=lambda error: error.square().mean()) -> Tensor:
    a = alphas_cumprod[time(t)][:, None]
    x_t = of_x(a) * x0 + of_eps(a) * eps
    return reduce(model(shown(x_t, x0), told(t, alphas_cumprod)) - target(eps, x0, x_t))


def _first(t: Tensor, _=None) -> Tensor:
    return t[:1].expand(len(t))


noise_loss = Implementation(
    "noise_loss",
    right=_loss,
    cases=_points,
    gradient=("model",),
    slips=[
        ("the bug is still there: give two points the times 0 and 99, and look at the noise that each got",
         dict(time=_first), dict(time=lambda t: t[-1:].expand(len(t))), dict(time=lambda t: t.max().expand(len(t))),
         dict(of_x=lambda a: a.mean().sqrt(), of_eps=lambda a: (1 - a.mean()).sqrt())),
        ("each point has a time of its own: {}",
         ("network and noise agree now, on that of the first", dict(time=_first, told=_first)),
         ("the noise is right, but the network is told that of the first for all", dict(told=_first))),
        ("x_t was right as it stood, sqrt(a) x_0 + sqrt(1 - a) eps: {}",
         ("in yours the two have changed places", dict(of_x=lambda a: (1 - a).sqrt(), of_eps=lambda a: a.sqrt())),
         ("yours has other shares", dict(of_x=lambda a: a, of_eps=lambda a: 1 - a), dict(of_eps=lambda a: 1 - a),
          dict(of_eps=lambda a: 1 - a.sqrt()), dict(of_x=lambda a: a), dict(of_x=lambda a: 1))),
        ("the network gets x_t, and the whole number t: {}",
         ("yours is shown the clean points", dict(shown=lambda x_t, x0: x0)),
         ("yours is told something else than t", dict(told=lambda t, a: a[t]), dict(told=lambda t, a: t / 100))),
        ("the network of this lesson guesses the noise, so its guess is compared with eps, as it was drawn: {}",
         ("you compare with x_0", dict(target=lambda eps, x0, x_t: x0)),
         ("you compare with x_t, its own input, and copying it is enough", dict(target=lambda eps, x0, x_t: x_t)),
         ("yours is not", dict(target=lambda eps, x0, x_t: -eps), dict(target=lambda eps, x0, x_t: x_t - x0))),
        ("square each error first, and then take the mean of all: {}",
         ("you add them up", dict(reduce=lambda e: e.square().sum())),
         ("you take absolute values, which have another best answer", dict(reduce=lambda e: e.abs().mean())),
         ("you take the mean before", dict(reduce=Tensor.mean), dict(reduce=lambda e: e.mean().square())),
         ("you take a root in between", dict(reduce=lambda e: e.norm(dim=1).mean()))),
    ],
    hints=("The function was right but for one line. Take a batch of three points with the times 0, 50 and 99: how "
           "much noise does each get, and how much should it get?",
           "What is left of a point is looked up at its own time. For all times at once these are numbers of the "
           "shape (B,), and in the shape (B, 1) each multiplies both coordinates of its point.",
           "a = alphas_cumprod[t][:, None]"), rtol=1e-3, atol=1e-4)

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
        ("all pairs agree: did both get the same fresh noise, or none? Is one a copy of the other?", 1.0),
        ("this is chance, one in eight: the two of a pair must share the way from x_99 to x_20", 0.125),
        ("this is the share of pairs that end at different modes", lambda: 1 - _shares()["agree"]),
        ("so many agree if the second walk goes on from the end of the first one, or if both begin nearer to the end "
         "than x_20", 0.847, 0.917),               # measured; from x_10
        ("this is a number of pairs: divide it by how many there are", lambda: 10_000 * _shares()["agree"]),
        ("you compare the end with the mode that was nearest at t = 20: compare two ends of the same x_20",
         lambda: _shares()["now"]),
    ],
    hints=("From which tensor does each of the two walks begin, which step do they do first, and what differs in them?",
           "Write a function for the steps from one time down to another. Those from 99 to 21 give x_20. Keep it: "
           "those from 20 to 0 give one end, and again, with fresh noise, the other. Which mean is nearest to each?",
           "x_20 = walk(torch.randn(10_000, 2), 99, 21)\n"
           "one, other = (torch.cdist(walk(x_20, 20, 0), ring.means).argmin(1) for _ in range(2))\n"
           "(one == other).double().mean()"))
