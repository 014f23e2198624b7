"""DDPM and DDIM. The whole schedule is one tensor, alphas_cumprod (T,): the share of the image's variance that is left
after each of T steps of noise. The network is any callable model(x, t) with whole numbers t (B,) from 0 to T-1; nothing
here knows a U-Net. It predicts one of three things, each of which gives the others: the noise eps, the image x0, or
v = sqrt(a) eps - sqrt(1 - a) x0. To see the states on the way, wrap the model in a function that keeps its x.

A schedule may end in 0, where nothing is left of the image. A network that predicts eps cannot guess it from there; x0
and v can (v = -x0): their `to_eps` leaves a trace of it in eps, which samplers follow back."""

import math

import torch
from torch import Tensor

from course_lib.expect import above, between, finite, indices, probabilities, same_shape, whole

TRACE = 2**-10                                 # of x0 in an eps, where the schedule leaves none
TARGETS = ("eps", "x0", "v")


def linear_alphas_cumprod(T: int = 1000, first: float = 1e-4, last: float = 0.02) -> Tensor:
    """The schedule of Ho, Jain & Abbeel (2020): beta rises linearly, and alphas_cumprod is the product of 1 - beta.

    `first` and `last` are meant for T = 1000; for another T they are scaled so that as much noise is added.  -> (T,)"""
    whole(1, T=T)
    first, last = first * 1000 / T, last * 1000 / T
    if not (0 < first < 1 and 0 < last < 1):
        raise ValueError(f"betas from {first:.3g} to {last:.3g} must lie between 0 and 1: use more steps than "
                         f"T={T}, or smaller betas")
    return (1 - torch.linspace(first, last, T, dtype=torch.float64)).cumprod(0).float()


def cosine_alphas_cumprod(T: int = 1000, s: float = 0.008) -> Tensor:
    """The schedule of Nichol & Dhariwal (2021, eq. 17), whose noise grows evenly to the eye.  -> (T,)

    No beta is above 0.999, so the last step leaves a trace of the image."""
    whole(1, T=T)
    finite(0, s=s)
    a = (((torch.arange(T + 1, dtype=torch.float64) / T + s) / (1 + s)) * math.pi / 2).cos() ** 2       # (T + 1,)
    return (a[1:] / a[:-1]).clamp(min=0.001).cumprod(0).float()


def per_sample(values: Tensor, t: Tensor, like: Tensor) -> Tensor:
    """values[t], shaped so that it multiplies a batch.  values (T,), t (B,), like (B, ...) -> (B, 1, ...)"""
    t = indices("times t", t, len(values), len(like))
    return probabilities(values.to(like.device).gather(0, t), "alphas_cumprod").view(-1, *[1] * (like.ndim - 1))


def q_sample(x0: Tensor, t: Tensor, eps: Tensor, alphas_cumprod: Tensor) -> Tensor:
    """x_t ~ q(x_t | x_0) in one step (Ho et al., 2020, eq. 4).  x0, eps (B, ...), t (B,) -> (B, ...)"""
    same_shape(x0=x0, eps=eps)
    a = per_sample(alphas_cumprod, t, x0)                         # (B, 1, ...)
    return a.sqrt() * x0 + (1 - a).sqrt() * eps


def target_of(x0: Tensor, t: Tensor, eps: Tensor, alphas_cumprod: Tensor, target: str = "eps") -> Tensor:
    """What a network with this target should answer for x_t: eps, x0, or v (Salimans & Ho, 2022).  -> (B, ...)"""
    if target not in TARGETS:
        raise ValueError(f"unknown target {target!r}: choose one of {', '.join(TARGETS)}")
    same_shape(x0=x0, eps=eps)
    a = per_sample(alphas_cumprod, t, x0)
    return {"eps": eps, "x0": x0, "v": a.sqrt() * eps - (1 - a).sqrt() * x0}[target]


def to_eps(prediction: Tensor, x_t: Tensor, t: Tensor, alphas_cumprod: Tensor, target: str) -> Tensor:
    """The noise that a prediction of this kind implies: x_t = sqrt(a) x0 + sqrt(1 - a) eps, solved for eps.

    prediction, x_t (B, ...), t (B,) -> (B, ...)"""
    if target not in TARGETS:
        raise ValueError(f"unknown target {target!r}: choose one of {', '.join(TARGETS)}")
    same_shape(prediction=prediction, x_t=x_t)
    a = per_sample(alphas_cumprod, t, x_t)
    root, rest = a.sqrt().where(a > 0, TRACE), (1 - a).sqrt()
    return {"eps": prediction, "x0": (x_t - root * prediction) / rest.where(a < 1, 1.0),
            "v": root * prediction + rest * x_t}[target]


def to_x0(eps: Tensor, x_t: Tensor, t: Tensor, alphas_cumprod: Tensor) -> Tensor:
    """The image that is left when this noise is taken away: x0 = (x_t - sqrt(1 - a) eps) / sqrt(a).

    eps, x_t (B, ...), t (B,) -> (B, ...)"""
    same_shape(eps=eps, x_t=x_t)
    a = per_sample(alphas_cumprod, t, x_t)
    return (x_t - (1 - a).sqrt() * eps) / a.sqrt().where(a > 0, TRACE)


def predicts_eps(model, alphas_cumprod: Tensor, target: str):
    """Wrap a model(x, t) with another target, so that every sampler accepts it: returns f(x, t) -> eps."""
    return lambda x, t: to_eps(model(x, t), x, t, alphas_cumprod, target)


def diffusion_loss(model, x0: Tensor, alphas_cumprod: Tensor, target: str = "eps") -> dict[str, Tensor]:
    """L_simple (Ho et al., 2020, eq. 14): squared error of the prediction at a random time.

    Mean over batch and pixels.  x0 (B, ...), about in [-1, 1]"""
    t = torch.randint(len(alphas_cumprod), (len(x0),), device=x0.device)                      # (B,)
    eps = torch.randn(x0.shape, device=x0.device)
    prediction = model(q_sample(x0, t, eps, alphas_cumprod), t)
    same_shape(prediction=prediction, x0=x0)
    return {"loss": (prediction - target_of(x0, t, eps, alphas_cumprod, target)).square().mean()}


def ddim_step(eps: Tensor, x_t: Tensor, t: int, t_next: int, alphas_cumprod: Tensor, eta: float = 0.0,
              clip: float | None = None, noise: Tensor | None = None) -> Tensor:
    """One step back in time, from x_t to x_{t_next} (Song, Meng & Ermon, 2021, eq. 12).  -> the shape of x_t

    t_next = -1 is the clean image.  eta = 0: nothing random; eta = 1: as much noise as DDPM adds, from `noise`.
    clip      the predicted image is clamped to [-clip, clip] and eps made to agree with it"""
    between(0, 1, eta=eta)
    a, a_next, x0 = _levels_and_image(eps, x_t, t, t_next, alphas_cumprod, clip, noise)
    if a == 1:                                                    # no noise to take away
        return x0
    if clip is not None or a == 0:
        eps = (x_t - math.sqrt(a) * x0) / math.sqrt(1 - a)
    sigma = eta * math.sqrt((1 - a_next) / (1 - a) * (1 - (a / a_next if a_next else 1.0)))
    x = math.sqrt(a_next) * x0 + math.sqrt(max(0.0, 1 - a_next - sigma**2)) * eps
    if sigma == 0:
        return x
    return x + sigma * (torch.randn_like(x) if noise is None else noise)


def ddpm_step(eps: Tensor, x_t: Tensor, t: int, alphas_cumprod: Tensor, clip: float | None = None,
              noise: Tensor | None = None) -> Tensor:
    """One ancestral step from x_t to x_{t-1}: the mean and variance of q(x_{t-1} | x_t, x_0) with x_0 predicted (Ho et
    al., 2020, eq. 6 and 7). The last step, t = 0, adds no noise.  -> the shape of x_t"""
    a, a_next, x0 = _levels_and_image(eps, x_t, t, t - 1, alphas_cumprod, clip, noise)
    if a == 1:                                                    # no noise to take away
        return x0
    alpha = a / a_next if a_next else 1.0
    beta = 1 - alpha
    mean = (math.sqrt(a_next) * beta * x0 + math.sqrt(alpha) * (1 - a_next) * x_t) / (1 - a)
    if t == 0:
        return mean
    return mean + math.sqrt((1 - a_next) / (1 - a) * beta) * (torch.randn_like(x_t) if noise is None else noise)


def _levels_and_image(eps: Tensor, x_t: Tensor, t: int, t_next: int, alphas_cumprod: Tensor, clip: float | None,
                      noise: Tensor | None) -> tuple[float, float, Tensor]:
    """What a step needs: alphas_cumprod before and after it, and the image that the noise implies."""
    same_shape(eps=eps, x_t=x_t, noise=x_t if noise is None else noise)
    if not -1 <= t_next < t < len(alphas_cumprod):
        raise ValueError(f"a step from t={t} to t_next={t_next} does not go back in 0 ... {len(alphas_cumprod) - 1}")
    a, a_next = float(alphas_cumprod[t]), float(alphas_cumprod[t_next]) if t_next >= 0 else 1.0
    if not 0 <= a <= a_next <= 1:
        raise ValueError(f"alphas_cumprod must fall from 1 to 0: it is {a_next:.4g} at t={t_next} and {a:.4g} at t={t}")
    x0 = (x_t - math.sqrt(1 - a) * eps) / (math.sqrt(a) or TRACE)
    if clip is not None:
        above(0, clip=clip)
        x0 = x0.clamp(-clip, clip)
    return a, a_next, x0


@torch.no_grad()
def ddpm(model, x: Tensor, alphas_cumprod: Tensor, clip: float | None = None) -> Tensor:
    """All T ancestral steps from noise x to an image.  x (B, ...) -> (B, ...); see ddpm_step

    model(x, t) predicts eps; t (B,) int64"""
    for t in timesteps(len(alphas_cumprod), len(alphas_cumprod)):
        x = ddpm_step(model(x, _times(x, t)), x, t, alphas_cumprod, clip)
    return x


@torch.no_grad()
def ddim(model, x: Tensor, alphas_cumprod: Tensor, steps: int, eta: float = 0.0, clip: float | None = None,
         generator: torch.Generator | None = None) -> Tensor:
    """From noise x to an image in `steps` of the T times, evenly spread.  x (B, ...) -> (B, ...); see ddim_step

    generator: where fresh noise comes from, if eta > 0"""
    times = timesteps(len(alphas_cumprod), steps)
    between(0, 1, eta=eta)
    for t, t_next in zip(times, [*times[1:], -1]):
        noise = torch.randn(x.shape, generator=generator, device=x.device, dtype=x.dtype) if eta else None
        x = ddim_step(model(x, _times(x, t)), x, t, t_next, alphas_cumprod, eta, clip, noise)
    return x


def in_steps(model, T: int):
    """Wrap a network that takes a time in [0, 1] as one that takes the steps 0 ... T-1: returns f(x, t, ...)."""
    whole(1, T=T)
    return lambda x, t, *y, **context: model(x, (t + 1) / T, *y, **context)


def timesteps(T: int, steps: int) -> list[int]:
    """`steps` of the times T-1 ... 0, evenly spread, the noisiest always among them.  timesteps(10, 3) -> [9, 6, 3]"""
    whole(1, T, steps=steps)
    return [T - 1 - i * T // steps for i in range(steps)]


def guided(model, y: Tensor | int, null: Tensor | int, scale: float):
    """Classifier-free guidance as a wrapper: returns f(x, t), so that every sampler accepts it. Scale 1 is the
    conditional model, at half of the cost; 0 the unconditional one; more than 1 exaggerates.

    model(x, t, y) was trained with some labels replaced by `null`.  y: one label, or one for each of x.
    Or y and null are contexts (B or 1, L, n) for model(x, t, context=c); a null that says something is what to avoid,
    a "negative prompt".  Ho & Salimans (2022), eq. 6 with scale = 1 + w.
    """
    finite(scale=scale)

    def ask(x: Tensor, t: Tensor, told: Tensor) -> Tensor:
        return model(x, t, context=told) if told.ndim == 3 else model(x, t, told)

    def predict(x: Tensor, t: Tensor) -> Tensor:
        wanted = for_each(y, x)                                                # (B,) or (B, L, n)
        if scale == 1:
            return ask(x, t, wanted)
        both = torch.cat([wanted, for_each(null, x)])                          # (2B,) or (2B, L, n)
        with_label, without = ask(torch.cat([x, x]), torch.cat([t, t]), both).chunk(2)
        return without + scale * (with_label - without)

    return predict


def for_each(condition: Tensor | int, x: Tensor) -> Tensor:
    """A label or a context, once for each of a batch x.  () or (B,) -> (B,);  (1 or B, L, n) -> (B, L, n)"""
    condition = torch.as_tensor(condition, device=x.device)
    if condition.ndim and len(condition) not in (1, len(x)):
        raise ValueError(f"{len(condition)} labels or contexts for {len(x)} images: give one for all, or one for each")
    return condition.expand(len(x), *condition.shape[1:])


def autoguided(model, weak, scale: float):
    """Autoguidance as a wrapper: returns f(x, t), which walks away from what a weaker model says. Scale 1 is the model
    itself, 0 the weak one.

    model, weak: (x, t) -> predictions of the same kind. The weak one has been trained like the other, but for a
    shorter time, and errs in the same places, only more; no label is needed.  Karras et al. (2024).
    """
    finite(scale=scale)

    def predict(x: Tensor, t: Tensor) -> Tensor:
        good = model(x, t)
        if scale == 1:
            return good
        bad = weak(x, t)
        same_shape(good=good, bad=bad)
        return bad + scale * (good - bad)

    return predict


def drop_labels(y: Tensor, null: Tensor | int, share: float = 0.1) -> Tensor:
    """Replace a random share of the labels by `null`: one network learns both models.  (B,) -> (B,)

    So with the words of captions (B, L), of which `null` (L,) is the empty one."""
    between(0, 1, share=share)
    left_out = (torch.rand(len(y), device=y.device) < share).view(-1, *[1] * (y.ndim - 1))
    return torch.where(left_out, null, y)


def _times(x: Tensor, t: int) -> Tensor:
    return torch.full((len(x),), t, device=x.device)
