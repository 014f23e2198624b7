"""Autoencoders: an encoder squeezes an image into a few numbers, the code; a decoder rebuilds the image from them.
The convolutional halves, `Encoder` and `Decoder`, serve the VAE too."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F


@dataclass
class AutoencoderConfig:
    n_latent: int = 16                         # length of a code
    n_channel: int = 16                        # width at 14x14; twice as wide at 7x7


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
        if x.shape[1:] != (1, 28, 28):
            raise ValueError(f"the encoder needs images of shape (B, 1, 28, 28), got {tuple(x.shape)}")
        return self.layers(x)


class Decoder(nn.Module):
    """Codes of n_in numbers -> logits of 28x28 pixels: `.sigmoid()` makes them an image.  (B, n_in) -> (B, 1, 28, 28)"""

    def __init__(self, n_in: int, n_channel: int = 16):
        super().__init__()
        c = n_channel
        self.n_in = n_in
        self.layers = nn.Sequential(
            nn.Linear(n_in, 2 * c * 49), nn.Unflatten(1, (2 * c, 7, 7)), ResidualBlock(2 * c),    # (B, 2c, 7, 7)
            nn.Conv2d(2 * c, 4 * c, 3, padding=1), nn.PixelShuffle(2), ResidualBlock(c), nn.SiLU(),   # (B, c, 14, 14)
            nn.Conv2d(c, 4, 3, padding=1), nn.PixelShuffle(2),                                    # (B, 1, 28, 28)
        )

    def forward(self, z: Tensor) -> Tensor:
        if z.ndim != 2 or z.shape[1] != self.n_in:
            raise ValueError(f"the decoder needs codes of shape (B, {self.n_in}), got {tuple(z.shape)}")
        return self.layers(z)


class Autoencoder(nn.Module):
    """Image -> code -> image."""

    def __init__(self, config: AutoencoderConfig):
        super().__init__()
        self.config = config
        self.encoder = Encoder(config.n_latent, config.n_channel)
        self.decoder = Decoder(config.n_latent, config.n_channel)

    def encode(self, x: Tensor) -> Tensor:                        # (B, 1, 28, 28)
        return self.encoder(x)                                    # (B, n_latent)

    def decode(self, z: Tensor) -> Tensor:                        # (B, n_latent)
        return self.decoder(z).sigmoid()                          # (B, 1, 28, 28)

    def forward(self, x: Tensor) -> Tensor:
        return self.decode(self.encode(x))
