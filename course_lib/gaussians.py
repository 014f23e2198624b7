"""Gaussians as generators: one for each class (labels known), or a mixture of them fitted by EM (labels unknown).

Both are the same density, K Gaussians with weights,  p(z, k) = w_k N(z; mu_k, Sigma_k).  They live on the principal
axes of the images, since a covariance of 784 pixels has 307,720 entries and many pixels never change.

    model = ClassGaussians.fit(x, y);  model.log_prob(x) (B, 10);  model.predict(x);  model.sample(100, y=7)
    model, history = GaussianMixture.fit(x, n_gaussian=40);  model.log_prob(x) (B,);  model.sample(100)
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from course_lib.expect import classes, finite, floats, indices, same_shape, sizes, whole


@dataclass
class ClassGaussiansConfig:
    size: int = 28                             # images are (1, size, size)
    n_axis: int = 50                           # principal axes kept
    n_class: int = 10


@dataclass
class GaussianMixtureConfig:
    size: int = 28
    n_axis: int = 50
    n_gaussian: int = 40


# ---------------------------------------------------------------------------------------------------- the mathematics

def principal_axes(x: Tensor, n_axis: int) -> tuple[Tensor, Tensor]:
    """The mean image and the n_axis directions in which images vary most (PCA).

    x (N, ...) -> mean (P,), axes (n_axis, P): orthonormal rows by falling variance, the largest entry of each positive;
    P is the length of a flat image. Computed in float64, returned in x's dtype.  Raises ValueError if N or P is below
    n_axis.
    """
    flat = _finite(x.cpu()).flatten(1).double()                               # (N, P) Apple's GPU has no float64
    whole(1, min(flat.shape), n_axis=n_axis)
    mean = flat.mean(0)
    _, vectors = torch.linalg.eigh((flat - mean).T @ (flat - mean))           # (P, P) columns by rising variance
    axes = vectors.T.flip(0)[:n_axis]                                         # (n_axis, P)
    largest = axes.gather(1, axes.abs().argmax(1, keepdim=True))              # an axis has no sign: choose one
    return mean.to(x), (axes * largest.sign()).to(x)


def gaussian_log_prob(z: Tensor, mu: Tensor, scale: Tensor) -> Tensor:
    """log N(z; mu_k, scale_k scale_k^T) in nats, for every point and every Gaussian.

    z (B, D), mu (K, D), scale (K, D, D) lower triangular (Cholesky) -> (B, K).  With u = scale^-1 (z - mu), the density
    is that of D standard normals u, divided by the volume that `scale` stretches: the product of its diagonal.
    """
    K, D = mu.shape
    if z.shape[1:] != (D,) or scale.shape != (K, D, D) or scale.is_cpu and not (scale.diagonal(0, 1, 2) > 0).all():
        raise ValueError(f"points {tuple(z.shape)}, means {tuple(mu.shape)} and scales {tuple(scale.shape)} do not "
                         f"fit together: they are (B, D), (K, D) and (K, D, D) with a positive diagonal")
    u = [torch.linalg.solve_triangular(L, (z - m).T, upper=False) for m, L in zip(mu, scale)]   # K x (D, B)
    log_volume = scale.diagonal(dim1=1, dim2=2).log().sum(1)                                    # (K,)
    squared = torch.stack([(v**2).sum(0) for v in u], dim=1)                                    # (B, K)
    return -0.5 * (squared + D * math.log(2 * math.pi)) - log_volume                            # (B, K)


def moments(z: Tensor, r: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Count, mean and covariance of each of K groups, where point i belongs to group k with weight r[i, k].

    z (N, D), r (N, K) >= 0 -> n (K,), mu (K, D), cov (K, D, D).  The maximum-likelihood estimates: they divide by n.
    """
    n = r.sum(0)                                                              # (K,)
    if r.shape != (len(z), len(n)) or r.is_cpu and not (r.min() >= 0 and n.min() > 0):
        raise ValueError(f"weights of shape {tuple(r.shape)} for points {tuple(z.shape)} must be (N, K), at least 0 "
                         f"and more in each group: the least is {r.min():.3g}, the least group has {n.min():.3g}")
    mu = r.T @ z / n[:, None]                                                 # (K, D)
    second = torch.stack([(z * w[:, None]).T @ z for w in r.T])               # (K, D, D) sums of r z z^T
    return n, mu, second / n[:, None, None] - mu[:, :, None] * mu[:, None, :]


def shrink(cov: Tensor, n: Tensor, pool: float, ridge: float) -> Tensor:
    """Covariances that can be inverted, even where a group has fewer points than dimensions.

    Each is averaged with what all groups share, as if the shared covariance had been seen in `pool` more
    points: 0 keeps every group's own, math.inf gives all the same one.  `ridge` times the mean variance is
    added to the diagonal of what is shared.  cov (K, D, D), n (K,) -> (K, D, D).  After Friedman (1989),
    "Regularized discriminant analysis".
    """
    D = cov.shape[-1]
    _check_shrink(cov, n, pool, ridge)
    shared = (n[:, None, None] * cov).sum(0) / n.sum()                                          # (D, D)
    shared = shared + ridge * shared.diagonal().mean() * torch.eye(D, dtype=cov.dtype, device=cov.device)
    own = (n / (n + pool))[:, None, None] if pool > 0 else torch.ones_like(cov[:, :1, :1])      # (K, 1, 1)
    return own * cov + (1 - own) * shared


def cholesky(cov: Tensor) -> Tensor:
    """Lower triangular L with L L^T = cov.  (..., D, D) -> (..., D, D).  Raises ValueError where there is none."""
    scale, failed = torch.linalg.cholesky_ex(cov)
    if failed.is_cpu and failed.any():
        raise ValueError(f"{int((failed > 0).sum())} of {failed.numel()} covariances cannot be inverted, or hold nan: "
                         f"give more points, or a larger ridge")
    return scale


def kmeans_plus_plus(z: Tensor, k: int, generator: torch.Generator | None = None) -> Tensor:
    """k points of z, far from each other: each next one is drawn in proportion to its squared distance to the nearest
    already chosen (k-means++, Arthur & Vassilvitskii, 2007).  z (N, D) -> (k, D)"""
    whole(1, len(_finite(z)), k=k)
    chosen = torch.randint(len(z), (1,), generator=generator, device=z.device)
    nearest = ((z - z[chosen]) ** 2).sum(1)                                   # (N,)
    for _ in range(k - 1):
        i = torch.multinomial(nearest.clamp(min=1e-12), 1, generator=generator)                 # also where all are 0
        chosen = torch.cat([chosen, i])
        nearest = torch.minimum(nearest, ((z - z[i]) ** 2).sum(1))
    return z[chosen]


def em(z: Tensor, mu: Tensor, steps: int, *, pool: float = 0.0, ridge: float = 1e-6,
       ) -> tuple[Tensor, Tensor, Tensor, list[float]]:
    """Fit a mixture of K Gaussians by expectation-maximisation, starting at the means `mu` with all else equal.

    z (N, D), mu (K, D) -> weights (K,), mu (K, D), cov (K, D, D), and the mean log-likelihood in nats per point before
    each step and after the last one (steps + 1 numbers).  `ridge`, in the units of z squared, is added to the diagonal
    of each covariance, and `pool` shrinks it as in `shrink`. Without the two (a tiny ridge, pool 0) the likelihood
    never falls (Dempster, Laird & Rubin, 1977); with them it hardly does, and is better for points not seen.
    """
    K, D = mu.shape
    whole(0, steps=steps)
    same_shape(**{"a point z": z[:1], "a mean mu": mu[:1]})
    eye = torch.eye(D, dtype=z.dtype, device=z.device)
    weights = torch.full((K,), 1 / K, dtype=z.dtype, device=z.device)
    cov = (torch.cov(z.T, correction=0).reshape(D, D) + ridge * eye).expand(K, D, D)
    history = []
    for step in range(steps + 1):
        joint = weights.log() + gaussian_log_prob(z, mu, cholesky(cov))            # (N, K) log p(z, k)
        evidence = joint.logsumexp(1, keepdim=True)                                             # (N, 1) log p(z)
        history.append(evidence.mean().item())
        if step < steps:
            r = (joint - evidence).exp()                                      # E: r[i, k] = p(k | z_i)
            n, mu, cov = moments(z, r + 1e-12)                                # M: the weighted averages; no n is 0
            weights, cov = n / n.sum(), shrink(cov, n, pool, 0.0) + ridge * eye
    return weights, mu, cov, history


# --------------------------------------------------------------------------------------------------------- the models

class PrincipalAxes(nn.Module):
    """Images <-> their coordinates on n_axis orthonormal axes, once `mean` and `axes` are those of `principal_axes`."""

    def __init__(self, size: int, n_axis: int):
        super().__init__()
        whole(1, size * size, n_axis=n_axis)
        self.register_buffer("mean", torch.zeros(size * size))                # of the images
        self.register_buffer("axes", torch.eye(n_axis, size * size))

    def encode(self, x: Tensor) -> Tensor:
        """Coordinates on the principal axes.  (B, 1, size, size) -> (B, n_axis)"""
        side = math.isqrt(len(self.mean))
        return (floats(x, 1, side, side, like=self.mean).flatten(1) - self.mean) @ self.axes.T

    def decode(self, z: Tensor) -> Tensor:
        """The image at coordinates z, clamped to [0, 1], which can only bring it nearer to a real one.

        (B, n_axis) -> (B, 1, size, size)"""
        z = floats(z, len(self.axes), like=self.axes, what="coordinates")
        side = math.isqrt(len(self.mean))
        return (self.mean + z @ self.axes).clamp(0, 1).view(-1, 1, side, side)


class Gaussians(PrincipalAxes):
    """K Gaussians with weights on the principal axes of images; what both models below share."""

    def __init__(self, size: int, n_axis: int, K: int):
        super().__init__(size, n_axis)
        self.register_buffer("log_weight", torch.full((K,), -math.log(K)))    # log p(k)
        self.register_buffer("mu", torch.zeros(K, n_axis))
        self.register_buffer("scale", torch.eye(n_axis).repeat(K, 1, 1))      # Cholesky factors of the covariances

    def log_joint(self, x: Tensor) -> Tensor:
        """log p(z, k) in nats, a density over the n_axis coordinates.  (B, 1, size, size) -> (B, K)"""
        return self.log_weight + gaussian_log_prob(self.encode(x), self.mu, self.scale)

    def draw(self, k: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """One image from each Gaussian named in k: z = mu + scale eps.  k (B,) int64 -> (B, 1, size, size)"""
        k = indices("numbers of Gaussians", k, len(self.mu), "B")
        eps = torch.randn(len(k), self.mu.shape[1], 1, generator=generator, device=self.mu.device, dtype=self.mu.dtype)
        return self.decode(self.mu[k] + (self.scale[k] @ eps).squeeze(-1))

    def choose(self, n: int, generator: torch.Generator | None = None) -> Tensor:
        """n components drawn by their weights.  -> (n,) int64"""
        whole(1, n=n)
        return torch.multinomial(self.log_weight.exp(), n, replacement=True, generator=generator)

    def set(self, mean: Tensor, axes: Tensor, weight: Tensor, mu: Tensor, cov: Tensor) -> "Gaussians":
        """Take over fitted values (any float dtype; cov must be positive definite)."""
        scale = cholesky(cov)
        for name, value in dict(mean=mean, axes=axes, log_weight=weight.log(), mu=mu, scale=scale).items():
            same_shape(**{f"the model's {name}": getattr(self, name), name: value})
            getattr(self, name).copy_(value)
        return self


class ClassGaussians(Gaussians):
    """A classifier that can draw: p(x, y) = p(y) N(x; mu_y, Sigma_y) on principal axes."""

    def __init__(self, config: ClassGaussiansConfig):
        sizes(config)
        super().__init__(config.size, config.n_axis, config.n_class)
        self.config = config

    @classmethod
    def fit(cls, x: Tensor, y: Tensor, *, n_axis: int = 50, n_class: int = 10, pool: float = 10.0, ridge: float = 0.5,
            axes: tuple[Tensor, Tensor] | None = None) -> "ClassGaussians":
        """Means and covariances by class, in closed form: no steps, no learning rate.

        x (N, 1, S, S), y (N,) int64, every class present.  pool, ridge: see `shrink`.  axes: (mean, axes) of
        `principal_axes` where they were found on other images, unlabelled ones for example; default: those of x.
        """
        whole(1, n_class=n_class)
        labels = indices("labels", torch.as_tensor(y), n_class, len(grey(x)))
        missing = sorted(set(range(n_class)) - set(labels.tolist()))
        if missing:
            raise ValueError(f"no image of class {missing[0]} to fit a Gaussian to: give at least one of each class")
        mean, basis = principal_axes(x, n_axis) if axes is None else axes
        model = cls(ClassGaussiansConfig(x.shape[-1], len(basis), n_class)).to(x.device)
        z = _coordinates(x, mean, basis)                                                        # (N, n_axis)
        r = nn.functional.one_hot(labels.cpu(), n_class).to(z)                                        # (N, n_class)
        n, mu, cov = moments(z, r)
        return model.set(mean, basis, n / n.sum(), mu, shrink(cov, n, pool, ridge))

    def log_prob(self, x: Tensor) -> Tensor:
        """log p(x, y) for every y, in nats.  (B, 1, S, S) -> (B, n_class)"""
        return self.log_joint(x)

    def predict(self, x: Tensor) -> Tensor:
        """The most probable label, by Bayes' rule: p(y | x) is p(x, y) divided by a number that y does not change."""
        return self.log_joint(x).argmax(1)                                    # (B,)

    def sample(self, n: int, y: int | Tensor | None = None, generator: torch.Generator | None = None) -> Tensor:
        """n images in [0, 1] -> (n, 1, S, S).  y: the class asked for, one for all or (n,); None draws it from p(y)."""
        if y is None:
            return self.draw(self.choose(n, generator), generator)
        return self.draw(classes(y, n, self.config.n_class, self.mu.device), generator)


class GaussianMixture(Gaussians):
    """The same density fitted without labels: p(x) = sum_k w_k N(x; mu_k, Sigma_k) on principal axes."""

    def __init__(self, config: GaussianMixtureConfig):
        sizes(config)
        super().__init__(config.size, config.n_axis, config.n_gaussian)
        self.config = config

    @classmethod
    def fit(cls, x: Tensor, *, n_axis: int = 50, n_gaussian: int = 40, steps: int = 40, pool: float = 20.0,
            ridge: float = 0.01, generator: torch.Generator | None = None) -> tuple["GaussianMixture", list[float]]:
        """`em` from spread-out means.  x (N, 1, S, S) -> the model, and the mean log-likelihood in nats by step.

        pool, ridge: see `em`; without them a Gaussian that has few images collapses onto them.
        generator: on the CPU, where all fitting is done, in float64.
        """
        whole(1, len(grey(x)), n_gaussian=n_gaussian)
        mean, axes = principal_axes(x, n_axis)
        model = cls(GaussianMixtureConfig(x.shape[-1], n_axis, n_gaussian)).to(x.device)
        z = _coordinates(x, mean, axes)                                                         # (N, n_axis)
        *fitted, history = em(z, kmeans_plus_plus(z, n_gaussian, generator), steps, pool=pool, ridge=ridge)
        return model.set(mean, axes, *fitted), history

    def log_prob(self, x: Tensor) -> Tensor:
        """log p(x) in nats.  (B, 1, S, S) -> (B,)"""
        return self.log_joint(x).logsumexp(1)

    def responsibilities(self, x: Tensor) -> Tensor:
        """p(k | x): which Gaussian an image came from.  (B, 1, S, S) -> (B, n_gaussian), rows sum to 1"""
        return self.log_joint(x).softmax(1)

    def sample(self, n: int, generator: torch.Generator | None = None) -> Tensor:
        """n images in [0, 1] -> (n, 1, S, S)."""
        return self.draw(self.choose(n, generator), generator)


def _coordinates(x: Tensor, mean: Tensor, axes: Tensor) -> Tensor:
    """Of images on principal axes, float64 on the CPU.  (N, ...) -> (N, n_axis)"""
    if not x[:1].numel() == mean.numel() == axes.shape[1]:
        raise ValueError(f"a mean {tuple(mean.shape)} and axes {tuple(axes.shape)} do not fit images {tuple(x.shape)}")
    return (_finite(x).flatten(1) - mean).cpu().double() @ axes.cpu().double().T


def _check_shrink(cov: Tensor, n: Tensor, pool: float, ridge: float) -> None:
    finite(0, ridge=ridge)
    same_shape(**{"n": n, "the diagonals of cov": cov[:, 0, 0]})
    if not pool >= 0:
        raise ValueError(f"pool={pool} must be a number of points: at least 0, and math.inf for one covariance")


def grey(x: Tensor) -> Tensor:
    """x, if it is a batch of square grey images (N, 1, S, S)"""
    if x.ndim != 4 or x.shape[1:] != (1, x.shape[-1], x.shape[-1]) or len(x) == 0:
        raise ValueError(f"grey images (N, 1, S, S) can be fitted, got shape {tuple(x.shape)}")
    return x


def _finite(x: Tensor) -> Tensor:
    if not x.is_floating_point() or x.is_cpu and not torch.isfinite(x).all():
        raise ValueError(f"numbers must be finite floats, got {x.dtype} with "
                         f"{int((~torch.isfinite(x)).sum())} numbers that are not finite")
    return x
