"""A small U-Net: the image goes down to 7x7 and back up to 28x28, and what was seen on the way down is handed across.
It is told the time and, if it has classes, the label. It knows no schedule, no loss and no sampler."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from course_lib.autoencoder import ChannelNorm


@dataclass
class UNetConfig:
    n_class: int = 0                           # 0: no labels. Else label n_class is the empty one, "no label"
    n_channel: int = 32                        # width at 14x14; twice as wide at 7x7
    n_embd: int = 128                          # numbers that describe the time and the label


def time_features(t: Tensor, n: int) -> Tensor:
    """Sines and cosines of t in [0, 1], from slow to fast (Vaswani et al., 2017).  (B,) -> (B, n)"""
    frequency = torch.exp(torch.linspace(0, math.log(1_000), n // 2, device=t.device))           # (n/2,) radians
    angle = t.float()[:, None] * frequency                        # (B, n/2)
    return torch.cat([angle.sin(), angle.cos()], dim=1)           # (B, n)


class TimeAndLabel(nn.Module):
    """The time, and the label where there are classes -> (B, n_embd), which each block turns into a scale and a shift.

    y: a label for all, one for each (B,), or None for the empty label."""

    def __init__(self, n_class: int, n_embd: int):
        super().__init__()
        if n_embd % 2:
            raise ValueError(f"n_embd={n_embd} must be even: each frequency of the time has a sine and a cosine")
        self.n_class, self.n_embd = n_class, n_embd
        self.mlp = nn.Sequential(nn.Linear(n_embd, n_embd), nn.SiLU(), nn.Linear(n_embd, n_embd))
        self.label = nn.Embedding(n_class + 1, n_embd) if n_class else None    # the last one is "no label"

    def forward(self, t: Tensor, y: Tensor | int | None) -> Tensor:            # (B,)
        h = self.mlp(time_features(t, self.n_embd))               # (B, n_embd)
        if self.label is None:
            if y is not None:
                raise ValueError("this network was built without classes (n_class=0) and takes no label y")
            return F.silu(h)
        y = torch.as_tensor(self.n_class if y is None else y, device=t.device).expand(len(t))    # (B,)
        return F.silu(h + self.label(y))                          # (B, n_embd)


class TimedBlock(nn.Module):
    """The residual block of lesson 21 between whose convolutions the channels are scaled and shifted by the time
    (Nichol & Dhariwal, 2021). It starts as the identity.  (B, C, H, W), (B, n_embd) -> (B, C, H, W)"""

    def __init__(self, c: int, n_embd: int):
        super().__init__()
        self.norm, self.conv1, self.conv2 = ChannelNorm(c), nn.Conv2d(c, c, 3, padding=1), nn.Conv2d(c, c, 3, padding=1)
        self.film = nn.Linear(n_embd, 2 * c)
        for layer in (self.film, self.conv2):
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)

    def forward(self, x: Tensor, emb: Tensor) -> Tensor:
        scale, shift = self.film(emb)[:, :, None, None].chunk(2, dim=1)        # 2 x (B, C, 1, 1)
        h = self.conv1(self.norm(x)) * (1 + scale) + shift        # (B, C, H, W)
        return x + self.conv2(F.silu(h))


class Overview(nn.Module):
    """The whole map pressed into one vector and spread out again, as in an autoencoder: convolutions see strokes, this
    sees which digit they are going to be. It starts as the identity.  (B, C, 7, 7), (B, n_embd) -> (B, C, 7, 7)"""

    def __init__(self, c: int, n_embd: int, n_narrow: int = 16):
        super().__init__()
        n = n_narrow * 7 * 7
        self.norm, self.narrow, self.widen = ChannelNorm(c), nn.Conv2d(c, n_narrow, 1), nn.Conv2d(n_narrow, c, 1)
        self.press, self.spread = nn.Linear(n, n_embd), nn.Linear(n_embd, n)
        self.film = nn.Linear(n_embd, 2 * n_embd)
        for layer in (self.film, self.widen):
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)

    def forward(self, x: Tensor, emb: Tensor) -> Tensor:
        scale, shift = self.film(emb).chunk(2, dim=1)             # 2 x (B, n_embd)
        h = self.press(self.narrow(self.norm(x)).flatten(1)) * (1 + scale) + shift            # (B, n_embd)
        h = F.silu(self.spread(F.silu(h))).view(len(x), -1, 7, 7)                             # (B, n_narrow, 7, 7)
        return x + self.widen(h)


class UNet(nn.Module):
    """model(x, t) or model(x, t, y) -> a prediction of the shape of x.

    x (B, 1, 28, 28), t (B,) or one number in [0, 1], y: see TimeAndLabel.  Raises ValueError for other shapes."""

    def __init__(self, config: UNetConfig):
        super().__init__()
        self.config, c, e = config, config.n_channel, config.n_embd
        self.embed = TimeAndLabel(config.n_class, e)
        self.enter = nn.Conv2d(4, c, 3, padding=1)
        self.down1 = TimedBlock(c, e)
        self.shrink = nn.Conv2d(c, 2 * c, 3, stride=2, padding=1)
        self.down2, self.middle, self.overview = TimedBlock(2 * c, e), TimedBlock(2 * c, e), Overview(2 * c, e)
        self.join2, self.up2 = nn.Conv2d(4 * c, 2 * c, 1), TimedBlock(2 * c, e)
        self.grow = nn.Conv2d(2 * c, 4 * c, 1)
        self.join1, self.up1 = nn.Conv2d(2 * c, c, 1), TimedBlock(c, e)
        self.norm, self.leave = ChannelNorm(c), nn.Conv2d(c, 4, 3, padding=1)
        nn.init.zeros_(self.leave.weight)
        nn.init.zeros_(self.leave.bias)

    def forward(self, x: Tensor, t: Tensor | float, y: Tensor | int | None = None) -> Tensor:
        if x.shape[1:] != (1, 28, 28):
            raise ValueError(f"the U-Net needs images of shape (B, 1, 28, 28), got {tuple(x.shape)}")
        emb = self.embed(torch.as_tensor(t, device=x.device).expand(len(x)), y)  # (B, n_embd)
        h1 = self.down1(self.enter(F.pixel_unshuffle(x, 2)), emb)                # (B, c, 14, 14)
        h2 = self.down2(self.shrink(h1), emb)                                    # (B, 2c, 7, 7)
        h = self.overview(self.middle(h2, emb), emb)                             # (B, 2c, 7, 7)
        h = self.up2(self.join2(torch.cat([h, h2], 1)), emb)                     # (B, 2c, 7, 7)
        h = F.pixel_shuffle(self.grow(h), 2)                                     # (B, c, 14, 14)
        h = self.up1(self.join1(torch.cat([h, h1], 1)), emb)                     # (B, c, 14, 14)
        return F.pixel_shuffle(self.leave(F.silu(self.norm(h))), 2)              # (B, 1, 28, 28)
