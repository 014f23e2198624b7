"""Flow matching: a straight road from noise at t = 0 to data at t = 1, and a network that learns the velocity on it.
Every function takes any callable model(x, t) -> velocity of the shape of x; nothing here knows a network."""


import torch
from torch import Tensor

from course_lib.expect import same_shape, whole


def interpolate(x: Tensor, eps: Tensor, t: Tensor) -> Tensor:
    """The point on the straight road (Lipman et al., 2023, eq. 22 with sigma_min = 0): x_t = (1 - t) eps + t x.

    x, eps (B, ...), t (B,) -> (B, ...)"""
    _check(x, eps, t)
    t = t.view(-1, *[1] * (x.ndim - 1))                           # (B, 1, ...)
    return (1 - t) * eps + t * x


def logit_normal(n: int, like: Tensor) -> Tensor:
    """Times in (0, 1), more of them in the middle: the sigmoid of a normal number (Esser et al., 2024).  -> (n,)"""
    return torch.randn(n, device=like.device).sigmoid()


def uniform(n: int, like: Tensor) -> Tensor:
    """Times in [0, 1), all equally often.  -> (n,)"""
    return torch.rand(n, device=like.device)


def flow_loss(model, x: Tensor, times=logit_normal, weight: Tensor | None = None) -> dict[str, Tensor]:
    """Squared error of the velocity x - eps, mean over batch and pixels.  x (B, ...) in about [-1, 1]

    weight (B,): how much each of x counts; their mean over all data should be 1."""
    eps, t = torch.randn(x.shape, device=x.device), times(len(x), x)
    velocity = model(interpolate(x, eps, t), t)                   # (B, ...)
    same_shape(velocity=velocity, x=x)
    error = (velocity - (x - eps)).square()
    if weight is None:
        return {"loss": error.mean()}
    error = error.flatten(1).mean(1)                              # (B,)
    same_shape(weight=weight, error=error)
    return {"loss": (weight * error).mean()}


@torch.no_grad()
def flow_losses(model, x: Tensor, draws: int = 8, generator: torch.Generator | None = None) -> Tensor:
    """The error of `flow_loss` for each example by itself, mean over its numbers and over `draws` times, the middles of
    equal parts of [0, 1], each with noise of its own.  x (B, ...) -> (B,), what an attacker can measure"""
    whole(1, draws=draws)
    total = 0
    for k in range(draws):
        eps = torch.randn(x.shape, generator=generator, device=x.device)
        t = x.new_full((len(x),), (k + 0.5) / draws)
        velocity = model(interpolate(x, eps, t), t)
        same_shape(velocity=velocity, x=x)
        total = total + (velocity - (x - eps)).square().flatten(1).mean(1)
    return total / draws


def velocity_of_points(points: Tensor):
    """The model(x, t) whose flow_loss on these training points no network can beat: E[x - eps | x_t], in closed form.

    Each point's share is a softmax of how near t * point lies to x_t, in units of (1 - t), and the road leads to the
    mean of all points with these shares. What its samplers draw is points.  points (n, ...), x (B, ...) -> (B, ...)"""
    flat = points.flatten(1)                                      # (n, D)
    whole(1, n_point=len(flat))

    def model(x: Tensor, t: Tensor) -> Tensor:
        if x.shape[1:] != points.shape[1:]:
            raise ValueError(f"x of shape {tuple(x.shape)} cannot move to points of shape {tuple(points.shape)}")
        t, places = t.view(-1, 1), flat.to(x)
        left = (1 - t).clamp(min=1e-6)
        nearness = t * (x.flatten(1) @ places.T) - t**2 * places.square().sum(1) / 2          # (B, n), but for |x|^2
        share = (nearness / left**2).softmax(1)
        return ((share @ places - x.flatten(1)) / left).view_as(x)
    return model


@torch.no_grad()
def euler(model, x: Tensor, steps: int) -> Tensor:
    """From noise x at t = 0 to data at t = 1 in `steps` equal steps, each along the velocity at its start: one
    evaluation a step.  x (B, ...) -> (B, ...)"""
    whole(1, steps=steps)
    for i in range(steps):
        x = x + _velocity(model, x, i / steps) / steps
    return x


@torch.no_grad()
def midpoint(model, x: Tensor, steps: int) -> Tensor:
    """The same with the velocity at the middle of each step: two evaluations a step, an error of second order."""
    whole(1, steps=steps)
    for i in range(steps):
        half = x + _velocity(model, x, i / steps) / (2 * steps)
        x = x + _velocity(model, half, (i + 0.5) / steps) / steps
    return x


def one_step_loss(model, eps: Tensor, x: Tensor) -> dict[str, Tensor]:
    """How far one step of `midpoint` from noise eps ends from x, where a teacher's many steps from there have ended:
    distillation. Both velocities of the step should lead there, the first one too, so that Euler's step is trained as
    well. As in reflow (Liu, Gong & Liu, 2023) the pairs are the teacher's, but only the two times are learnt at which
    one step asks. No gradient passes from the second velocity through the point at which it is asked.

    Squared errors, mean over batch and pixels.  eps, x (B, ...)"""
    first = _velocity(model, eps, 0.0)                            # (B, ...)
    second = _velocity(model, eps + first.detach() / 2, 0.5)      # (B, ...)
    same_shape(velocity=second, x=x)
    euler_misses, misses = ((eps + v - x).square().mean() for v in (first, second))
    return {"loss": euler_misses + misses, "euler": euler_misses, "midpoint": misses}


def backwards(model):
    """The model of the way back: f(x, t) = -model(x, 1 - t), so that a sampler walks from data at 0 to noise at 1."""
    return lambda x, t: -model(x, 1 - t)


@torch.no_grad()
def straightness(model, x: Tensor, steps: int) -> float:
    """How far the roads from x are from straight ones, 0 for perfectly straight: the mean of |v - (x_1 - x_0)|^2 over
    the road, as a share of the mean of |v|^2 (Liu, Gong & Liu, 2023, sec. 2.2, divided by the speed).  x (B, ...)

    Where nothing moves, every road is straight: 0."""
    whole(1, steps=steps)
    start, velocities = x, []
    for i in range(steps):
        velocities.append(_velocity(model, x, i / steps))
        x = x + velocities[-1] / steps
    v = torch.stack(velocities)                                   # (steps, B, ...)
    speed = v.square().mean().item()
    return (v - (x - start)).square().mean().item() / speed if speed else 0.0


def _velocity(model, x: Tensor, t: float) -> Tensor:
    v = model(x, torch.full((len(x),), t, device=x.device))
    same_shape(velocity=v, x=x)
    return v


def _check(x: Tensor, eps: Tensor, t: Tensor) -> None:
    same_shape(x=x, eps=eps)
    if t.shape != (len(x),) or not t.is_floating_point() or t.is_cpu and not (0 <= t.min() and t.max() <= 1):
        raise ValueError(f"times t must be numbers in [0, 1] of shape ({len(x)},), got {t.dtype} {tuple(t.shape)}, of "
                         f"which the largest is {t.max().item():.4g}")
