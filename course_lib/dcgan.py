"""Convolutional generator and discriminator (DCGAN: Radford, Metz & Chintala, 2016), with or without labels. They work
at half and a quarter of the image's size, 14x14 and 7x7 for digits, whose shapes stand in the comments:
`PixelShuffle(2)` makes four channels of one pixel a 2x2 square."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from course_lib.convnet import conv_block
from course_lib.device import device_of, evaluating
from course_lib.expect import classes, floats, indices, probabilities, sizes, whole


@dataclass
class GANConfig:
    n_latent: int = 16                         # length of z
    n_class: int = 0                           # 0: unconditional, no labels
    n_channel: int = 64                        # width of the generator at 7x7; the discriminator ends as wide
    shape: tuple[int, int, int] = (1, 28, 28)  # (C, H, W) of an image; H and W are multiples of 4


def _quarter(config: GANConfig) -> tuple[int, int, int]:
    """(C, H, W) -> (C, H/4, W/4).  Raises ValueError where 4 does not divide H and W, and for other sizes."""
    sizes(config, "n_class")
    whole(4, n_channel=config.n_channel)
    C, H, W = config.shape
    if min(C, H, W) < 1 or H % 4 or W % 4:
        raise ValueError(f"shape={tuple(config.shape)}: height and width must be multiples of 4")
    return C, H // 4, W // 4


class Generator(nn.Module):
    """Noise -> images in [0, 1].  z (B, n_latent), with labels y (B,) if n_class > 0 -> (B, *config.shape)"""

    def __init__(self, config: GANConfig):
        super().__init__()
        self.config, c = config, config.n_channel
        C, H, W = _quarter(config)
        self.layers = nn.Sequential(
            nn.Linear(config.n_latent + config.n_class, c * H * W, bias=False), nn.Unflatten(1, (c, H, W)),
            nn.BatchNorm2d(c), nn.ReLU(),                                         # (B, c, 7, 7)
            conv_block(c, 2 * c), nn.PixelShuffle(2),                             # (B, c/2, 14, 14)
            conv_block(c // 2, c // 2),
            nn.Conv2d(c // 2, 4 * C, 3, padding=1), nn.PixelShuffle(2),           # (B, 1, 28, 28)
        )

    def forward(self, z: Tensor, y: Tensor | None = None) -> Tensor:                              # (B, n_latent)
        z = floats(z, self.config.n_latent, like=self.layers[0].weight, what="numbers z")
        label = _one_hot(y, len(z), self.config.n_class)
        if self.config.n_class:
            label = 3 * label.to(z)        # nearly as long as z: sqrt(n_latent) = 4
            z = torch.cat([z, label], 1)                                                      # (B, n_latent + n_class)
        return (self.layers(z).tanh() + 1) / 2                                                    # (B, 1, 28, 28)

    @torch.no_grad()
    def sample(self, n: int, y: int | Tensor | None = None, generator: torch.Generator | None = None) -> Tensor:
        """n images in [0, 1] -> (n, *config.shape).  y: the class asked for, one for all or (n,); None draws it evenly.

        The statistics of batch norm are the stored ones, whatever mode the module is in. Raises ValueError for n < 1
        and for a class that does not exist."""
        whole(1, n=n)
        device, K = device_of(self), self.config.n_class
        if y is not None and not K:
            raise ValueError("this generator was trained with no labels and cannot be asked for a class: leave y out")
        if y is not None:
            y = classes(y, n, K, device)
        elif K:
            y = torch.randint(K, (n,), generator=generator, device=device)
        z = torch.randn(n, self.config.n_latent, generator=generator, device=device)              # (n, n_latent)
        labels = [None] * n if y is None else y.split(500)
        with evaluating(self):
            return torch.cat([self(*zy) for zy in zip(z.split(500), labels)])                     # bounds the memory


class Discriminator(nn.Module):
    """Images in [0, 1] -> logits, positive for "real".  x (B, *config.shape), with labels y (B,) if n_class > 0 -> (B,)

    No batch norm: it would let one image of a batch be judged by the others. A label adds the product of its own vector
    with the features (projection: Miyato & Koyama, 2018, eq. 4)."""

    def __init__(self, config: GANConfig):
        super().__init__()
        self.config, c = config, config.n_channel
        C, H, W = _quarter(config)
        self.features = nn.Sequential(
            nn.PixelUnshuffle(2), nn.Conv2d(4 * C, c // 4, 3, padding=1), nn.LeakyReLU(0.2),      # (B, c/4, 14, 14)
            nn.Conv2d(c // 4, c // 2, 3, stride=2, padding=1), nn.LeakyReLU(0.2),                 # (B, c/2, 7, 7)
            nn.Conv2d(c // 2, c, 3, padding=1), nn.LeakyReLU(0.2),                                # (B, c, 7, 7)
            nn.Flatten(), nn.Linear(c * H * W, 2 * c), nn.LeakyReLU(0.2),                         # (B, 2c)
        )
        self.head = nn.Linear(2 * c, 1)
        self.embedding = nn.Embedding(config.n_class, 2 * c) if config.n_class else None

    def forward(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        x = probabilities(floats(x, *self.config.shape, like=self.head.weight))
        h = self.features(2 * x - 1)                                                              # (B, 2c)
        logits, label = self.head(h).squeeze(1), _one_hot(y, len(x), self.config.n_class)         # (B,)
        if self.config.n_class:
            logits = logits + (label.to(h) @ self.embedding.weight * h).sum(1)
        return logits                                                                             # (B,)


def _one_hot(y: Tensor | None, n: int, n_class: int) -> Tensor | None:
    if n_class:
        return F.one_hot(indices("labels", y, n_class, n), n_class)
    if y is not None:
        raise ValueError("this player has n_class=0 and takes no labels")
