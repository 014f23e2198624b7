"""A small U-Net: the image goes down to a quarter of its size and back up, and what was seen on the way down is handed
across. It is told the time and, if it has them, a label and a context: the words of a text, a vector, earlier frames.
It knows no schedule, no loss and no sampler. Shapes in comments are those of digits, (1, 28, 28)."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from course_lib.autoencoder import ChannelNorm
from course_lib.expect import classes, floats, sizes
from course_lib.transformer import CrossAttention


@dataclass
class UNetConfig:
    n_class: int = 0                           # 0: no labels. Else label n_class is the empty one, "no label"
    n_channel: int = 32                        # width at 14x14; twice as wide at 7x7
    n_embd: int = 128                          # numbers that describe the time and the label
    shape: tuple[int, int, int] = (1, 28, 28)  # (C, H, W) of an image; 2 * patch must divide H and W
    patch: int = 2                             # squares of patch x patch pixels become channels before anything else
    n_context: int = 0                         # numbers in a vector of the context; 0: it takes none
    n_head: int = 4                            # of the attention to the context; must divide n_channel


def time_features(t: Tensor, n: int) -> Tensor:
    """Sines and cosines of t in [0, 1], from slow to fast (Vaswani et al., 2017).  (B,) -> (B, n)"""
    frequency = torch.exp(torch.linspace(0, math.log(1_000), n // 2, device=t.device))           # (n/2,) radians
    angle = t.float()[:, None] * frequency                        # (B, n/2)
    return torch.cat([angle.sin(), angle.cos()], dim=1)           # (B, n)


class TimeAndLabel(nn.Module):
    """The time, with the label and the mean vector of the context where there are such -> (B, n_embd), which each block
    turns into a scale and a shift.

    y: a label for all, one for each (B,), or None for the empty label.  context (B, L, n_context)"""

    def __init__(self, n_class: int, n_embd: int, n_context: int = 0):
        super().__init__()
        if n_embd % 2:
            raise ValueError(f"n_embd={n_embd} must be even: each frequency of the time has a sine and a cosine")
        self.n_class, self.n_embd = n_class, n_embd
        self.mlp = nn.Sequential(nn.Linear(n_embd, n_embd), nn.SiLU(), nn.Linear(n_embd, n_embd))
        self.label = nn.Embedding(n_class + 1, n_embd) if n_class else None    # the last one is "no label"
        self.context = nn.Linear(n_context, n_embd) if n_context else None

    def forward(self, t: Tensor, y: Tensor | int | None, context: Tensor | None = None) -> Tensor:           # t (B,)
        h = self.mlp(time_features(t, self.n_embd).to(self.mlp[0].weight.dtype))              # (B, n_embd)
        if self.context is not None:
            h = h + self.context(context.mean(1))
        if self.label is None:
            if y is not None:
                raise ValueError("this network was built without classes (n_class=0) and takes no label y")
            return F.silu(h)
        y = classes(self.n_class if y is None else y, len(t), self.n_class + 1, t.device)         # (B,)
        return F.silu(h + self.label(y))                          # (B, n_embd)


class TimedBlock(nn.Module):
    """The residual block of lesson 21 between whose convolutions the channels are scaled and shifted by the time
    (Nichol & Dhariwal, 2021). It starts as the identity.  (B, C, H, W), (B, n_embd) -> (B, C, H, W)

    With n_context, every place then looks at the context (B, L, n_context)."""

    def __init__(self, c: int, n_embd: int, n_context: int = 0, n_head: int = 4):
        super().__init__()
        self.norm, self.conv1, self.conv2 = ChannelNorm(c), nn.Conv2d(c, c, 3, padding=1), nn.Conv2d(c, c, 3, padding=1)
        self.film = nn.Linear(n_embd, 2 * c)
        for layer in (self.film, self.conv2):
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)
        self.look_norm = ChannelNorm(c) if n_context else None
        self.look = CrossAttention(c, n_context, n_head) if n_context else None

    def forward(self, x: Tensor, emb: Tensor, context: Tensor | None = None) -> Tensor:
        scale, shift = self.film(emb)[:, :, None, None].chunk(2, dim=1)        # 2 x (B, C, 1, 1)
        h = self.conv1(self.norm(x)) * (1 + scale) + shift        # (B, C, H, W)
        x = x + self.conv2(F.silu(h))
        if self.look is None:
            return x
        places = self.look_norm(x).flatten(2).transpose(1, 2)     # (B, H*W, C)
        return x + self.look(places, context).transpose(1, 2).reshape(x.shape)


class Overview(nn.Module):
    """The whole map of `size` (H, W) pressed into one vector and spread out again, as in an autoencoder: convolutions
    see strokes, this sees which digit they are going to be. It starts as the identity.

    (B, C, H, W), (B, n_embd) -> (B, C, H, W)"""

    def __init__(self, c: int, n_embd: int, size: tuple[int, int] = (7, 7), n_narrow: int = 16):
        super().__init__()
        n = n_narrow * math.prod(size)
        self.norm, self.narrow, self.widen = ChannelNorm(c), nn.Conv2d(c, n_narrow, 1), nn.Conv2d(n_narrow, c, 1)
        self.press, self.spread = nn.Linear(n, n_embd), nn.Linear(n_embd, n)
        self.film = nn.Linear(n_embd, 2 * n_embd)
        for layer in (self.film, self.widen):
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)

    def forward(self, x: Tensor, emb: Tensor) -> Tensor:
        scale, shift = self.film(emb).chunk(2, dim=1)             # 2 x (B, n_embd)
        h = self.press(self.narrow(self.norm(x)).flatten(1)) * (1 + scale) + shift            # (B, n_embd)
        h = F.silu(self.spread(F.silu(h))).view(len(x), -1, *x.shape[2:])                     # (B, n_narrow, H, W)
        return x + self.widen(h)


def check_inputs(x: Tensor, t: Tensor | float, context: Tensor | None, config, like: Tensor,
                 ) -> tuple[Tensor, Tensor, Tensor | None]:
    """Images, and for each of them a time and a context, in the precision of the weights `like`.

    Raises ValueError where one is not what `config` says, and for a time outside [0, 1]."""
    x, t = floats(x, *config.shape, like=like), torch.as_tensor(t, device=x.device)
    if t.shape not in ((), (len(x),)) or t.is_cpu and not (0 <= t.min() and t.max() <= 1):
        raise ValueError(f"times t must be one number in [0, 1], or one for each of {len(x)} images: got "
                         f"{tuple(t.shape)}, the largest {t.max().item():.4g}")
    t = t.expand(len(x))
    if not config.n_context:
        if context is not None:
            raise ValueError(f"this network has n_context=0 and takes no context, got one of {tuple(context.shape)}")
        return x, t, None
    if context is None or context.ndim != 3 or context.shape[2] != config.n_context or len(context) not in (1, len(x)) \
            or not context.shape[1]:
        raise ValueError(f"this network needs a context of shape ({len(x)}, L, {config.n_context}), got "
                         f"{None if context is None else tuple(context.shape)}")
    return x, t, context.to(like.dtype).expand(len(x), -1, -1)


class UNet(nn.Module):
    """model(x, t), model(x, t, y) or model(x, t, context=c) -> a prediction of the shape of x.

    x (B, *config.shape), t (B,) or one number in [0, 1], y: see TimeAndLabel, context (B or 1, L, n_context).
    Raises ValueError for other shapes, and for sizes that do not divide each other."""

    def __init__(self, config: UNetConfig):
        super().__init__()
        sizes(config, "n_class", "n_context")
        self.config, c, e = config, config.n_channel, config.n_embd
        (C, H, W), p = config.shape, config.patch
        if min(C, H, W, p) < 1 or H % (2 * p) or W % (2 * p):
            raise ValueError(f"shape={tuple(config.shape)}: height and width must be multiples of 2 * patch={2 * p}")

        def block(c):
            return TimedBlock(c, e, config.n_context, config.n_head)

        self.embed = TimeAndLabel(config.n_class, e, config.n_context)
        self.enter = nn.Conv2d(C * p * p, c, 3, padding=1)
        self.down1 = block(c)
        self.shrink = nn.Conv2d(c, 2 * c, 3, stride=2, padding=1)
        self.down2, self.middle = block(2 * c), block(2 * c)
        self.overview = Overview(2 * c, e, (H // (2 * p), W // (2 * p)))
        self.join2, self.up2 = nn.Conv2d(4 * c, 2 * c, 1), block(2 * c)
        self.grow = nn.Conv2d(2 * c, 4 * c, 1)
        self.join1, self.up1 = nn.Conv2d(2 * c, c, 1), block(c)
        self.norm, self.leave = ChannelNorm(c), nn.Conv2d(c, C * p * p, 3, padding=1)
        nn.init.zeros_(self.leave.weight)
        nn.init.zeros_(self.leave.bias)

    def forward(self, x: Tensor, t: Tensor | float, y: Tensor | int | None = None,
                context: Tensor | None = None) -> Tensor:
        p = self.config.patch
        x, t, context = check_inputs(x, t, context, self.config, self.enter.weight)
        emb = self.embed(t, y, context)                                          # (B, n_embd)
        h1 = self.down1(self.enter(F.pixel_unshuffle(x, p)), emb, context)       # (B, c, 14, 14)
        h2 = self.down2(self.shrink(h1), emb, context)                           # (B, 2c, 7, 7)
        h = self.overview(self.middle(h2, emb, context), emb)                    # (B, 2c, 7, 7)
        h = self.up2(self.join2(torch.cat([h, h2], 1)), emb, context)            # (B, 2c, 7, 7)
        h = F.pixel_shuffle(self.grow(h), 2)                                     # (B, c, 14, 14)
        h = self.up1(self.join1(torch.cat([h, h1], 1)), emb, context)            # (B, c, 14, 14)
        return F.pixel_shuffle(self.leave(F.silu(self.norm(h))), p)              # (B, 1, 28, 28)
