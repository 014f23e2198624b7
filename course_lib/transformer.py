"""Transformers (Vaswani et al., 2017): every token looks at the others and takes a weighted average of what it finds.
`attention` is that average; `Block` is multi-head attention plus an MLP; `Transformer` is embedding, blocks, logits."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from course_lib.expect import indices, sizes, whole

POSITIONS = ("none", "learned", "sinusoidal", "alibi")


@dataclass
class TransformerConfig:
    vocab_size: int = 256
    block_size: int = 128                      # the longest sequence
    n_layer: int = 4
    n_head: int = 4                            # must divide n_embd
    n_embd: int = 128
    causal: bool = True                        # may a token look only at itself and what came before?
    positions: str = "learned"                 # one of POSITIONS
    dropout: float = 0.0                       # on the embedding and on what each branch adds, in training only


# ------------------------------------------------------------------------------------------------------- attention

def attention_weights(q: Tensor, k: Tensor, mask: Tensor | None = None) -> Tensor:
    """How much of its attention each query gives to each key: softmax(q k^T / sqrt(D)).

    q (..., T, D), k (..., S, D) -> (..., T, S), every row sums to 1.  mask, broadcast to (..., T, S):
    boolean, True = may look; or float, added to the scores before the softmax. A query that may look
    nowhere gets zeros.  Raises ValueError for a query and a key of different lengths, or a mask of whole
    numbers.
    Vaswani et al. (2017), eq. 1.
    """
    if q.shape[-1] != k.shape[-1] or q.shape[-1] == 0:
        raise ValueError(f"queries of {q.shape[-1]} numbers cannot be compared with keys of {k.shape[-1]}")
    scores = q @ k.transpose(-2, -1) / math.sqrt(q.shape[-1])                  # (..., T, S) of variance 1
    if mask is None:
        return scores.softmax(-1)
    mask, nowhere = _additive(mask, scores)
    scores = scores + mask
    return scores.softmax(-1) if nowhere is None else scores.softmax(-1).masked_fill(nowhere, 0)


def attention(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None) -> Tensor:
    """The weighted average of the values: equals F.scaled_dot_product_attention.

    q (..., T, D), k (..., S, D), v (..., S, E) -> (..., T, E);  mask as in `attention_weights`."""
    return attention_weights(q, k, mask) @ v                                   # (..., T, S) @ (..., S, E)


def causal_mask(T: int, device: torch.device | str | None = None) -> Tensor:
    """Who may look where, if nobody may look ahead: row t is True up to and including column t.  (T, T) bool"""
    whole(1, T=T)
    return torch.ones(T, T, dtype=torch.bool, device=device).tril()


def _additive(mask: Tensor, scores: Tensor) -> tuple[Tensor, Tensor | None]:
    """What is added to the scores, -inf where one may not look; and which rows may look nowhere, if any. To them 0 is
    added, and their weights are to become 0, as in PyTorch's attention."""
    _check_mask(mask, scores.shape)
    if mask.dtype == torch.bool:
        mask = torch.zeros_like(mask, dtype=scores.dtype).masked_fill(~mask, -math.inf)
    nowhere = mask.amax(-1, keepdim=True) == -math.inf                         # (..., T, 1)
    return (mask, None) if nowhere.is_cpu and not nowhere.any() else (mask.masked_fill(nowhere, 0), nowhere)


# ------------------------------------------------------------------------------------------------------- positions

def sinusoidal_positions(T: int, C: int, device: torch.device | str | None = None) -> Tensor:
    """Position t as sines and cosines of t / 10000^(2i/C): hands of clocks, from fast to slow.  -> (T, C), C even

    Columns 2i and 2i+1 are the sine and the cosine of one clock.  Vaswani et al. (2017), section 3.5.
    """
    whole(1, T=T, C=C)
    if C % 2:
        raise ValueError(f"C={C} must be even: each frequency has a sine and a cosine")
    speed = 10_000 ** (-torch.arange(0, C, 2, device=device) / C)              # (C/2,) radians a step
    angle = torch.arange(T, device=device)[:, None] * speed                    # (T, C/2)
    return torch.stack([angle.sin(), angle.cos()], dim=-1).flatten(1)          # (T, C)


def alibi(n_head: int, T: int, device: torch.device | str | None = None) -> Tensor:
    """A penalty on distance, to be added to the scores: -slope |t - s|.  -> (n_head, T, T) float, 0 on the diagonal

    Head h = 1 ... n_head has the slope 2^(-8h / n_head): some heads see only what is near, others nearly all.
    Press, Smith & Lewis (2022), "Train short, test long", section 3. Combine it with `causal_mask` where one is needed.
    """
    whole(1, n_head=n_head, T=T)
    slope = 2 ** (-8 / n_head * torch.arange(1, n_head + 1, device=device))    # (n_head,)
    t = torch.arange(T, device=device)
    return slope[:, None, None] * -(t[:, None] - t).abs()                      # (n_head, T, T)


# --------------------------------------------------------------------------------------------------------- modules

class Linear(nn.Linear):
    """nn.Linear that works in the precision of its input: weights stay float32, and are cast on the fly."""

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, self.weight.to(x.dtype), None if self.bias is None else self.bias.to(x.dtype))


def split_heads(qkv: Tensor, n_head: int) -> Tensor:
    """Queries, keys and values of every head, from one product.  (B, T, 3C) -> (3, B, n_head, T, C / n_head)"""
    B, T, _ = qkv.shape
    return qkv.view(B, T, 3, n_head, -1).permute(2, 0, 3, 1, 4)


class MultiHeadAttention(nn.Module):
    """n_head attentions side by side, each on its own n_embd / n_head numbers.  (B, T, C) -> (B, T, C)

    In three steps, so that others (a cache, a picture of the weights) can stand between them: `heads`, `attention`,
    `merge`.
    """

    def __init__(self, n_embd: int, n_head: int, bias: bool = True):
        super().__init__()
        if n_head < 1 or n_embd % n_head:
            raise ValueError(f"n_head={n_head} must divide n_embd={n_embd}")
        self.n_head = n_head
        self.qkv = Linear(n_embd, 3 * n_embd, bias=bias)
        self.proj = Linear(n_embd, n_embd, bias=bias)

    def heads(self, x: Tensor) -> Tensor:
        """Queries, keys and values of every head.  (B, T, C) -> (3, B, n_head, T, C / n_head)"""
        _check_sequence(x, self.proj.in_features)
        return split_heads(self.qkv(x), self.n_head)

    def merge(self, y: Tensor) -> Tensor:
        """What the heads found, side by side, and projected.  (B, n_head, T, C / n_head) -> (B, T, C)"""
        return self.proj(y.transpose(1, 2).flatten(2))                         # (B, T, C)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:        # (B, T, C)
        q, k, v = self.heads(x)                                                # each (B, n_head, T, D)
        written_out = q.is_cpu and q.dtype == torch.bfloat16                   # there PyTorch's is slow
        attend = attention if written_out else F.scaled_dot_product_attention  # two ways to the same y
        _check_mask(mask, (*q.shape[:-1], x.shape[1]))
        return self.merge(attend(q, k, v, mask))                               # (B, T, C)


class CrossAttention(nn.Module):
    """Attention whose keys and values come from elsewhere: the words of a text, a vector, earlier frames.

    x (B, T, C) asks, context (B, L, n_context) answers -> (B, T, C). What it returns starts as zero: added to x, it is
    the identity.  Rombach et al. (2022), section 3.3."""

    def __init__(self, n_embd: int, n_context: int, n_head: int):
        super().__init__()
        if n_head < 1 or n_embd % n_head:
            raise ValueError(f"n_head={n_head} must divide n_embd={n_embd}")
        self.n_head = n_head
        self.q, self.kv, self.proj = Linear(n_embd, n_embd), Linear(n_context, 2 * n_embd), Linear(n_embd, n_embd)
        nn.init.zeros_(self.proj.weight)
        nn.init.zeros_(self.proj.bias)

    def heads(self, x: Tensor, context: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Queries, keys and values of every head.  -> (B, n_head, T, C / n_head), 2 x (B, n_head, L, C / n_head)"""
        _check_sequence(x, self.q.in_features)
        _check_sequence(context, self.kv.in_features)
        return tuple(h.unflatten(-1, (self.n_head, -1)).transpose(1, 2)
                     for h in (self.q(x), *self.kv(context).chunk(2, dim=-1)))

    def forward(self, x: Tensor, context: Tensor) -> Tensor:
        return self.proj(attention(*self.heads(x, context)).transpose(1, 2).flatten(2))       # (B, T, C)


class FeedForward(nn.Module):
    """Two linear layers with a GELU between, on each token alone.  (B, T, C) -> (B, T, C)"""

    def __init__(self, n_embd: int, bias: bool = True, gelu: str = "none"):
        super().__init__()
        self.fc = Linear(n_embd, 4 * n_embd, bias=bias)
        self.proj = Linear(4 * n_embd, n_embd, bias=bias)
        if gelu not in ("none", "tanh"):
            raise ValueError(f"unknown gelu {gelu!r}: choose none or tanh")
        self.gelu = gelu                                                       # "none" is exact, "tanh" nearly

    def forward(self, x: Tensor) -> Tensor:
        return self.proj(F.gelu(self.fc(x), approximate=self.gelu))


class Block(nn.Module):
    """Tokens talk to each other (attention), then each thinks alone (MLP); both are added to what was there.

    Layer norm stands before each branch (pre-norm; Xiong et al., 2020).  (B, T, C) -> (B, T, C)
    bias: have the linear layers one?  affine: has a norm a weight and a bias?  gelu: "none" (exact) or "tanh".
    """

    def __init__(self, n_embd: int, n_head: int, dropout: float = 0.0, bias: bool = True, affine: bool = True,
                 gelu: str = "none"):
        super().__init__()
        self.norm1 = nn.LayerNorm(n_embd, elementwise_affine=affine)
        self.attn = MultiHeadAttention(n_embd, n_head, bias)
        self.norm2 = nn.LayerNorm(n_embd, elementwise_affine=affine)
        self.mlp = FeedForward(n_embd, bias, gelu)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:        # (B, T, C)
        x = x + self.dropout(self.attn(self.norm1(x), mask))
        return x + self.dropout(self.mlp(self.norm2(x)))                       # (B, T, C)


class Transformer(nn.Module):
    """Tokens in, logits of a token at every place out.  idx (B, T) whole numbers -> (B, T, vocab_size)

    Whether it looks ahead, and how it knows positions, are two buffers and nothing else: what is added to the
    embedding, `positions` (block_size, n_embd), and what is added to the scores, `mask` (1 or n_head, block_size,
    block_size). `mask` gets a fourth axis in front, without which PyTorch's attention takes a way twice as slow.
    """

    def __init__(self, config: TransformerConfig):
        super().__init__()
        sizes(config)
        self.config, c = config, config
        self.tok_emb = nn.Embedding(c.vocab_size, c.n_embd)
        positions, mask = _positions_and_mask(c)
        if c.positions == "learned":
            self.positions = nn.Parameter(positions)
        else:
            self.register_buffer("positions", positions, persistent=False)
        self.register_buffer("mask", mask, persistent=False)
        self.dropout = nn.Dropout(c.dropout)
        self.blocks = nn.ModuleList(Block(c.n_embd, c.n_head, c.dropout) for _ in range(c.n_layer))
        self.norm = nn.LayerNorm(c.n_embd)
        self.head = nn.Linear(c.n_embd, c.vocab_size, bias=False)
        initialise(self)

    def embed(self, idx: Tensor) -> Tensor:
        """What each token is, plus where it stands.  (B, T) -> (B, T, C)"""
        idx = indices("tokens", idx, self.config.vocab_size, "B", "T")
        if not 1 <= idx.shape[1] <= self.config.block_size:
            raise ValueError(f"{idx.shape[1]} tokens do not fit: from 1 to block_size={self.config.block_size}")
        return self.dropout(self.tok_emb(idx) + self.positions[:idx.shape[1]])

    def forward(self, idx: Tensor) -> Tensor:                                  # (B, T)
        T = idx.shape[-1]
        x = self.embed(idx)                                                    # (B, T, C)
        mask = self.mask[None, :, :T, :T]                                      # (1, 1 or n_head, T, T)
        for block in self.blocks:
            x = block(x, mask)
        return self.head(self.norm(x))                                         # (B, T, vocab_size)


def initialise(model: nn.Module, std: float = 0.02) -> None:
    """Normal weights of size `std` and zero biases in place; the last layer of every branch starts at zero, so that
    every block starts as the identity (compare GPT-2, which scales it down; Radford et al., 2019, section 2.3)."""
    for name, module in model.named_modules():
        if isinstance(module, nn.Embedding):
            nn.init.normal_(module.weight, std=std)
        if isinstance(module, nn.Linear):
            last = name.split(".")[-1] == "proj"
            nn.init.normal_(module.weight, std=0.0 if last else std)
            if module.bias is not None:
                nn.init.zeros_(module.bias)


@torch.no_grad()
def attention_maps(model: nn.Module, idx: Tensor) -> Tensor:
    """Who looks where in every layer and head.  idx (B, T) -> (n_layer, B, n_head, T, T), each row sums to 1

    model: a Transformer, or anything with its `embed`, `mask` and `blocks`."""
    T, maps = idx.shape[-1], []
    x = model.embed(idx)                                                       # (B, T, C)
    mask = model.mask[:, :T, :T]
    for block in model.blocks:
        q, k, _ = block.attn.heads(block.norm1(x))
        maps.append(attention_weights(q, k, mask))                             # (B, n_head, T, T)
        x = block(x, mask)
    return torch.stack(maps)


def induction_score(maps: Tensor, idx: Tensor, places: Tensor | None = None) -> Tensor:
    """How much each head looks at what followed the same token before: 1 for a perfect induction head.

    maps (n_layer, B, n_head, T, T), from `attention_maps`, of idx (B, T) -> (n_layer, n_head). Mean over the places
    whose token stood in the row before, if given only those of `places` (B, T), bool; nan if there is none.
    Olsson et al. (2022)."""
    B, T = idx.shape
    if maps.ndim != 5 or maps.shape[1] != B or maps.shape[3:] != (T, T):
        raise ValueError(f"maps of shape {tuple(maps.shape)} are not those of {B} rows of {T} tokens")
    same = (idx[:, :, None] == idx[:, None]).tril(-1)                          # (B, T, T): s < t holds the token of t
    after = F.pad(same, (1, 0))[..., :-1]                                      # s - 1 does: s is what followed
    weight = (maps * after[:, None]).sum(-1)                                   # (n_layer, B, n_head, T)
    again = same.any(-1) if places is None else same.any(-1) & places          # (B, T)
    return (weight * again[:, None]).sum((1, 3)) / again.sum()


# ---------------------------------------------------------------------------------------------------------- the parts

def _check_mask(mask: Tensor | None, scores: tuple[int, ...]) -> None:
    """Raise ValueError for a mask that is not broadcast to scores of this shape, or is neither boolean nor float."""
    if mask is None or (mask.dtype == torch.bool or mask.is_floating_point()) and mask.ndim <= len(scores) and all(
            m in (1, s) for m, s in zip(mask.shape[::-1], scores[::-1])):
        return
    raise ValueError(f"a mask of {mask.dtype} {tuple(mask.shape)} does not fit scores of shape {tuple(scores)}: it is "
                     f"boolean (True = may look), or float (added to the scores)")


def _check_sequence(x: Tensor, C: int) -> None:
    if x.ndim != 3 or x.shape[-1] != C:
        raise ValueError(f"attention needs sequences of shape (B, T, {C}), got {tuple(x.shape)}")


def _positions_and_mask(c: TransformerConfig) -> tuple[Tensor, Tensor]:
    """(block_size, n_embd), and (1 or n_head, block_size, block_size)"""
    if c.positions not in POSITIONS:
        raise ValueError(f"unknown positions {c.positions!r}: choose one of {', '.join(POSITIONS)}")
    T = c.block_size
    positions = torch.zeros(T, c.n_embd)
    if c.positions == "sinusoidal":
        positions = 0.02 * 2**0.5 * sinusoidal_positions(T, c.n_embd)          # as large as what it is added to
    if c.positions == "learned":
        positions = 0.02 * torch.randn(T, c.n_embd)
    mask = alibi(c.n_head, T) if c.positions == "alibi" else torch.zeros(1, T, T)
    if c.causal:
        mask = mask.masked_fill(~causal_mask(T), -math.inf)
    return positions, mask
