"""Autoencoders: an encoder squeezes an image into a few numbers, the code; a decoder rebuilds the image from them.
The best linear one is `PCA`. The convolutional halves, `Encoder` and `Decoder`, serve the VAE too.

    model = Autoencoder(AutoencoderConfig());  fit(model, reconstruction_loss, Batches(x), steps=400)
    model.codes.fit(model.encode(x));  model.sample(100)          # nothing in training says where codes lie: measure it
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from course_lib.expect import floats, same_shape, sizes, whole
from course_lib.gaussians import PrincipalAxes, cholesky, grey, principal_axes


@dataclass
class AutoencoderConfig:
    n_latent: int = 16                         # length of a code
    n_channel: int = 16                        # width at 14x14; twice as wide at 7x7


@dataclass
class PCAConfig:
    n_latent: int = 16
    size: int = 28                             # images are (1, size, size)


# ---------------------------------------------------------------------------------------------------- the mathematics

def reconstruction_loss(model, x: Tensor) -> dict[str, Tensor]:
    """How far images are from their reconstructions: squared error, *summed* over the pixels of an image, mean over
    images. So it is the same quantity as the variance that principal axes leave over.  model: x -> x, x (B, ...)"""
    rebuilt = model(x)                                            # (B, ...)
    same_shape(reconstructions=rebuilt, images=x)
    return {"loss": (rebuilt - x).square().flatten(1).sum(1).mean()}


def principal_angles(A: Tensor, B: Tensor) -> Tensor:
    """The angles between the subspaces that the columns of A and of B span, in radians, largest first.

    A (D, k), B (D, m), columns independent -> (min(k, m),). All 0: one subspace holds the other, whatever the columns.
    The cosines are the singular values of Qa^T Qb, which loses small angles to rounding; the sines, of what is left of
    Qb outside A, keep them.  Björck & Golub (1973).
    """
    for name, M in dict(A=A, B=B).items():
        if (M.ndim != 2 or 0 in M.shape or not M.is_floating_point() or not M.isfinite().all()
                or torch.linalg.matrix_rank(M) < M.shape[1]):
            raise ValueError(f"{name} of shape {tuple(M.shape)} needs columns that are finite and independent")
    same_shape(**{"a column of A": A[:, 0], "a column of B": B[:, 0]})
    if A.shape[1] < B.shape[1]:
        A, B = B, A                                               # the angle does not mind, the sines do
    Qa, Qb = torch.linalg.qr(A)[0], torch.linalg.qr(B)[0]
    inside = Qa.T @ Qb                                            # (k, m)
    cosines = torch.linalg.svdvals(inside).flip(0)                # smallest first, as the sines are largest first
    sines = torch.linalg.svdvals(Qb - Qa @ inside)
    return torch.atan2(sines, cosines)


def interpolate(z0: Tensor, z1: Tensor, n: int) -> Tensor:
    """n points on the straight line from z0 to z1, both included: codes or images.  (...) and (...) -> (n, ...)"""
    same_shape(z0=z0, z1=z1)
    whole(2, n=n)
    t = torch.linspace(0, 1, n, dtype=z0.dtype, device=z0.device).view(-1, *[1] * z0.ndim)
    return (1 - t) * z0 + t * z1                                  # (n, ...)


# ---------------------------------------------------------------------------------------------------------- the parts

class CodeGaussian(nn.Module):
    """Where codes lie, as a Gaussian: N(0, I) until it is fitted."""

    def __init__(self, n_latent: int):
        super().__init__()
        whole(1, n_latent=n_latent)
        self.register_buffer("mean", torch.zeros(n_latent))
        self.register_buffer("scale", torch.eye(n_latent))                    # Cholesky factor of the covariance

    @torch.no_grad()
    def fit(self, z: Tensor) -> "CodeGaussian":
        """Take over mean and covariance of codes z (N, n_latent); N may be small, a ridge of 1e-4 of the mean variance
        keeps the covariance invertible."""
        z = floats(z, len(self.mean), like=self.mean, what="codes")
        if len(z) < 2:
            raise ValueError(f"a Gaussian needs at least 2 codes, got {len(z)}")
        centred = z - z.mean(0)
        cov = centred.T @ centred / len(z)                                    # (D, D)
        ridge = 1e-4 * cov.diagonal().mean() + 1e-12
        self.mean.copy_(z.mean(0))
        self.scale.copy_(cholesky(cov + ridge * torch.eye(len(cov), dtype=z.dtype, device=z.device)))
        return self

    def sample(self, n: int, generator: torch.Generator | None = None) -> Tensor:
        """mean + scale eps.  -> (n, n_latent)"""
        whole(1, n=n)
        eps = torch.randn(n, len(self.mean), generator=generator, device=self.mean.device, dtype=self.mean.dtype)
        return self.mean + eps @ self.scale.T


class ChannelNorm(nn.LayerNorm):
    """Layer norm over the channels of each pixel.  (B, C, H, W) -> (B, C, H, W)"""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class ResidualBlock(nn.Module):
    """x + conv(SiLU(conv(norm(x)))), which starts as the identity (He et al., 2016).  (B, C, H, W) -> (B, C, H, W)"""

    def __init__(self, c: int):
        super().__init__()
        self.norm, self.conv1, self.conv2 = ChannelNorm(c), nn.Conv2d(c, c, 3, padding=1), nn.Conv2d(c, c, 3, padding=1)
        nn.init.zeros_(self.conv2.weight)
        nn.init.zeros_(self.conv2.bias)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv2(F.silu(self.conv1(self.norm(x))))


class Encoder(nn.Module):
    """Grey 28x28 images -> n_out numbers each.  (B, 1, 28, 28) -> (B, n_out)"""

    def __init__(self, n_out: int, n_channel: int = 16):
        super().__init__()
        c = n_channel
        self.layers = nn.Sequential(
            nn.PixelUnshuffle(2), nn.Conv2d(4, c, 3, padding=1), ResidualBlock(c),                # (B, c, 14, 14)
            nn.Conv2d(c, 2 * c, 3, stride=2, padding=1), ResidualBlock(2 * c), nn.SiLU(),         # (B, 2c, 7, 7)
            nn.Flatten(), nn.Linear(2 * c * 49, n_out),
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(floats(x, 1, 28, 28, like=self.layers[-1].weight))


class Decoder(nn.Module):
    """Codes -> logits of pixels; `.sigmoid()` makes an image of them.  (B, n_in) -> (B, 1, 28, 28)"""

    def __init__(self, n_in: int, n_channel: int = 16):
        super().__init__()
        c = n_channel
        self.n_in = n_in
        self.layers = nn.Sequential(
            nn.Linear(n_in, 2 * c * 49), nn.Unflatten(1, (2 * c, 7, 7)), ResidualBlock(2 * c),
            nn.Conv2d(2 * c, 4 * c, 3, padding=1), nn.PixelShuffle(2),                        # (c, 14, 14)
            ResidualBlock(c), nn.SiLU(),
            nn.Conv2d(c, 4, 3, padding=1), nn.PixelShuffle(2),                                # (1, 28, 28)
        )

    def forward(self, z: Tensor) -> Tensor:
        return self.layers(floats(z, self.n_in, like=self.layers[0].weight, what="codes"))


# ----------------------------------------------------------------------------------------------------- the two models

class Autoencoder(nn.Module):
    """Image -> code -> image."""

    def __init__(self, config: AutoencoderConfig):
        super().__init__()
        sizes(config)
        self.config = config
        self.encoder = Encoder(config.n_latent, config.n_channel)
        self.decoder = Decoder(config.n_latent, config.n_channel)
        self.codes = CodeGaussian(config.n_latent)                # not trained: `model.codes.fit(model.encode(x))`

    def encode(self, x: Tensor) -> Tensor:                        # (B, 1, 28, 28)
        return self.encoder(x)                                    # (B, n_latent)

    def decode(self, z: Tensor) -> Tensor:                        # (B, n_latent)
        return self.decoder(z).sigmoid()                          # (B, 1, 28, 28)

    def forward(self, x: Tensor) -> Tensor:
        return self.decode(self.encode(x))

    @torch.no_grad()
    def sample(self, n: int, generator: torch.Generator | None = None) -> Tensor:
        """n images in [0, 1], decoded from random codes -> (n, 1, 28, 28)"""
        return self.decode(self.codes.sample(n, generator))


class PCA(PrincipalAxes):
    """Principal component analysis as an autoencoder: no linear one has a smaller squared error on the images that it
    was fitted to. The code is the coordinates on the principal axes: `encode` and `decode` are those of PrincipalAxes.
    """

    def __init__(self, config: PCAConfig):
        sizes(config)
        super().__init__(config.size, config.n_latent)
        self.config = config
        self.codes = CodeGaussian(config.n_latent)

    @classmethod
    def fit(cls, x: Tensor, n_latent: int = 16) -> "PCA":
        """The axes of images x (N, 1, S, S), N > n_latent, and the Gaussian of their codes."""
        mean, axes = principal_axes(grey(x), n_latent)
        model = cls(PCAConfig(n_latent, x.shape[-1])).to(x.device)
        model.mean.copy_(mean)
        model.axes.copy_(axes)
        model.codes.fit(model.encode(x))
        return model

    def forward(self, x: Tensor) -> Tensor:                       # (B, 1, S, S)
        return self.decode(self.encode(x))

    def sample(self, n: int, generator: torch.Generator | None = None) -> Tensor:
        """n images in [0, 1], decoded from random codes -> (n, 1, S, S)"""
        return self.decode(self.codes.sample(n, generator))
