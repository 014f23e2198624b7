"""2-D distributions whose log-density is known exactly, so that what a model learns can be compared with the truth.

Each has  sample(n) -> x (n, 2),  sample_labelled(n) -> x (n, 2), y (n,)  and  log_prob(x) -> (n,)  in nats.
Samples are born on the generator's device (without one, on PyTorch's default device); log_prob works where x is.
"""

import math

import torch
from torch import Generator, Tensor

from course_lib.expect import above, whole


class Gaussians:
    """An equal mixture of K round Gaussians N(means[k], std^2 I); labels[k] is the class of number k."""

    def __init__(self, means: Tensor, std: float, labels: Tensor):
        above(0, std=std)
        if labels.shape != _points(means).shape[:1]:
            raise ValueError(f"{len(means)} means need as many labels, got {tuple(labels.shape)}")
        self.means, self.std, self.labels = means, std, labels         # (K, 2), float, (K,) int64

    def sample(self, n: int, generator: Generator | None = None) -> Tensor:
        """n points, (n, 2) float32. Raises ValueError unless n is a whole number >= 1."""
        return self.sample_labelled(n, generator)[0]

    def sample_labelled(self, n: int, generator: Generator | None = None) -> tuple[Tensor, Tensor]:
        """n points and their classes: x (n, 2) float32, y (n,) int64."""
        k = _choose(len(self.means), n, generator)                     # (n,) which Gaussian
        noise = torch.randn(n, 2, generator=generator, device=k.device)
        return self.means.to(k.device)[k] + self.std * noise, self.labels.to(k.device)[k]

    def log_prob(self, x: Tensor) -> Tensor:
        """log p(x) = log 1/K sum_k N(x; means[k], std^2 I), in nats.  (n, 2) -> (n,)"""
        means = self.means.to(_points(x))
        squared = (x[:, :1] - means[:, 0]).square() + (x[:, 1:] - means[:, 1]).square()          # (n, K)
        one = -squared / (2 * self.std**2) - math.log(2 * math.pi * self.std**2)                 # (n, K)
        return one.logsumexp(1) - math.log(len(means))


def ring(n_modes: int = 8, radius: float = 2.0, std: float = 0.1) -> Gaussians:
    """Gaussians evenly spaced on a circle, the classic test for mode collapse (Metz et al. 2017). Class = mode."""
    whole(1, n_modes=n_modes)
    angle = torch.arange(n_modes) * (2 * math.pi / n_modes)
    return Gaussians(radius * torch.stack([angle.cos(), angle.sin()], 1), std, torch.arange(n_modes))


def spirals(n_arms: int = 2, turns: float = 1.25, std: float = 0.1, n_bumps: int = 100) -> Gaussians:
    """Interleaved spirals inside [-3, 3]^2, each a chain of `n_bumps` small Gaussians. Class = arm.

    No straight line separates the arms, yet the default two lie eight standard deviations apart.
    """
    whole(1, n_arms=n_arms, n_bumps=n_bumps)
    inner, outer = 0.5, 2.5
    radius = torch.linspace(inner**2, outer**2, n_bumps).sqrt()        # even in r^2: nearly even along the arm
    along = (radius - inner) / (outer - inner) * turns * 2 * math.pi   # (n_bumps,) the radius grows with the angle
    angle = torch.arange(n_arms)[:, None] * (2 * math.pi / n_arms) + along                       # (n_arms, n_bumps)
    means = torch.stack([radius * angle.cos(), radius * angle.sin()], -1)                        # (n_arms, n_bumps, 2)
    return Gaussians(means.flatten(0, 1), std, torch.arange(n_arms).repeat_interleave(n_bumps))


def _choose(k: int, n: int, generator: Generator | None) -> Tensor:
    whole(1, n=n)
    return torch.randint(k, (n,), generator=generator, device=None if generator is None else generator.device)


def _points(x: Tensor) -> Tensor:
    if x.ndim != 2 or x.shape[1] != 2 or not x.is_floating_point():
        raise ValueError(f"x is {x.dtype} of shape {tuple(x.shape)}: points are floating-point numbers of shape (n, 2)")
    return x
