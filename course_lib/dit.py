"""DiT, a diffusion transformer (Peebles & Xie, 2023): the image is cut into patches, the patches are tokens, and every
block is scaled, shifted and gated by the time and the label. It is called like the U-Net and can stand in its place,
also where there is a context, to which each block then looks (as in PixArt: Chen et al., 2024)."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from course_lib.expect import sizes
from course_lib.transformer import CrossAttention, attention, split_heads
from course_lib.unet import TimeAndLabel, check_inputs


@dataclass
class DiTConfig:
    n_class: int = 0                           # 0: no labels. Else label n_class is the empty one, "no label"
    patch: int = 4                             # must divide H and W: of 28 x 28 pixels, 4 makes 49 tokens of 16
    n_layer: int = 4
    n_head: int = 4                            # must divide n_embd
    n_embd: int = 128
    shape: tuple[int, int, int] = (1, 28, 28)  # (C, H, W) of an image
    n_context: int = 0                         # numbers in a vector of the context; 0: it takes none


def patchify(x: Tensor, p: int) -> Tensor:
    """Cut images into p x p patches, row by row.  (B, C, H, W) -> (B, H/p * W/p, C*p*p)"""
    return F.pixel_unshuffle(x, p).flatten(2).transpose(1, 2)


def unpatchify(tokens: Tensor, p: int, H: int) -> Tensor:
    """Put the patches of images of height H together again.  (B, H/p * W/p, C*p*p) -> (B, C, H, W)"""
    return F.pixel_shuffle(tokens.transpose(1, 2).unflatten(2, (H // p, -1)), p)


def modulate(x: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
    """Every channel of every token, scaled and shifted as its image asks.  (B, T, C), (B, C), (B, C) -> (B, T, C)"""
    return x * (1 + scale[:, None]) + shift[:, None]


class DiTBlock(nn.Module):
    """A transformer block with adaLN-Zero: its norms have no weights of their own; the time and the label give them,
    and a gate for what each half adds. The gates start at 0, the block as the identity.  (B, T, C), (B, C) -> (B, T, C)

    With n_context, the tokens look at the context (B, L, n_context) between the two halves."""

    def __init__(self, n_embd: int, n_head: int, n_context: int = 0):
        super().__init__()
        self.n_head = n_head
        self.norm1, self.norm2 = (nn.LayerNorm(n_embd, elementwise_affine=False) for _ in range(2))
        self.qkv, self.proj = nn.Linear(n_embd, 3 * n_embd), nn.Linear(n_embd, n_embd)
        self.mlp = nn.Sequential(nn.Linear(n_embd, 4 * n_embd), nn.GELU(), nn.Linear(4 * n_embd, n_embd))
        self.modulation = nn.Linear(n_embd, 6 * n_embd)
        nn.init.zeros_(self.modulation.weight)
        nn.init.zeros_(self.modulation.bias)
        self.look_norm = nn.LayerNorm(n_embd) if n_context else None
        self.look = CrossAttention(n_embd, n_context, n_head) if n_context else None

    def attend(self, x: Tensor) -> Tensor:
        """Multi-head attention of lesson 51, without a mask.  (B, T, C) -> (B, T, C)"""
        q, k, v = split_heads(self.qkv(x), self.n_head)           # 3 x (B, n_head, T, C/n_head)
        return self.proj(attention(q, k, v).transpose(1, 2).flatten(2))                       # (B, T, C)

    def forward(self, x: Tensor, emb: Tensor, context: Tensor | None = None) -> Tensor:
        scale1, shift1, gate1, scale2, shift2, gate2 = self.modulation(emb).chunk(6, dim=1)   # 6 x (B, C)
        x = x + gate1[:, None] * self.attend(modulate(self.norm1(x), scale1, shift1))         # (B, T, C)
        if self.look is not None:
            x = x + self.look(self.look_norm(x), context)                                     # (B, T, C)
        return x + gate2[:, None] * self.mlp(modulate(self.norm2(x), scale2, shift2))         # (B, T, C)


class DiT(nn.Module):
    """model(x, t), model(x, t, y) or model(x, t, context=c) -> a prediction of the shape of x: see UNet.

    Raises ValueError for other shapes, and for sizes that do not divide each other."""

    def __init__(self, config: DiTConfig):
        super().__init__()
        sizes(config, "n_class", "n_context")
        C, H, W = config.shape
        if min(C, H, W, config.patch) < 1 or H % config.patch or W % config.patch:
            raise ValueError(f"patch={config.patch} must divide height and width of shape={tuple(config.shape)}")
        if config.n_embd % config.n_head:
            raise ValueError(f"n_head={config.n_head} must divide n_embd={config.n_embd}")
        self.config, c, n = config, config.n_embd, C * config.patch**2
        self.embed = TimeAndLabel(config.n_class, c, config.n_context)
        self.enter = nn.Linear(n, c)
        T = H * W // config.patch**2
        self.position = nn.Parameter(0.02 * torch.randn(T, c))                                # (T, C), learned
        self.blocks = nn.ModuleList(DiTBlock(c, config.n_head, config.n_context) for _ in range(config.n_layer))
        self.norm, self.modulation = nn.LayerNorm(c, elementwise_affine=False), nn.Linear(c, 2 * c)
        self.leave = nn.Linear(c, n)
        for layer in (self.modulation, self.leave):
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)

    def forward(self, x: Tensor, t: Tensor | float, y: Tensor | int | None = None,
                context: Tensor | None = None) -> Tensor:
        x, t, context = check_inputs(x, t, context, self.config, self.enter.weight)
        emb = self.embed(t, y, context)                                          # (B, C)
        h = self.enter(patchify(x, self.config.patch)) + self.position           # (B, T, C)
        for block in self.blocks:
            h = block(h, emb, context)                                           # (B, T, C)
        h = modulate(self.norm(h), *self.modulation(emb).chunk(2, dim=1))        # (B, T, C)
        return unpatchify(self.leave(h), self.config.patch, x.shape[2])          # (B, 1, 28, 28)
