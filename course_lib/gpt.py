"""GPT: a causal transformer that predicts the next token. `decoding.py` writes with it.

`GPTConfig()` is GPT-2 in small (Radford et al., 2019): the same weights give the same logits as Hugging Face's.
`fast()` is the same model with a few fields changed, so that it learns more in a minute; lesson 54 measures them.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from course_lib.expect import indices, logits, sizes, whole
from course_lib.transformer import Block, alibi, causal_mask


@dataclass
class GPTConfig:
    vocab_size: int = 256                      # bytes
    block_size: int = 128                      # the most tokens it can look back at, itself included
    n_layer: int = 4
    n_head: int = 4                            # must divide n_embd
    n_embd: int = 128
    dropout: float = 0.0                       # on the embedding and on what each branch adds, in training only
    positions: str = "learned"                 # "learned" (a vector for each place) or "alibi" (a penalty on distance)
    bias: bool = True                          # in linear layers
    affine: bool = True                        # has a layer norm a weight and a bias?
    zero_init: bool = False                    # do the branches start as zero?
    gelu: str = "tanh"                         # "tanh" (GPT-2's approximation) or "none" (exact, and faster)
    tied: bool = True                          # is the table of the embedding also that of the logits?


def fast(**changes) -> GPTConfig:
    """The settings that learn most in a minute on a CPU; changes to them by name."""
    settings = dict(positions="alibi", bias=False, affine=False, zero_init=True, gelu="none", tied=False)
    return GPTConfig(**settings | changes)


class GPT(nn.Module):
    """The model.  idx (B, T) int64 -> logits (B, T, vocab_size) float32; row t predicts token t + 1.

    Its blocks are those of lesson 51, `transformer.Block`.
    forward(idx, dtype=torch.bfloat16) keeps the residual stream, and with it all layers, in that precision; the default
    is that of the weights.
    """

    def __init__(self, config: GPTConfig):
        super().__init__()
        sizes(config)
        self.config, c = config, config
        if c.positions not in ("learned", "alibi"):
            raise ValueError(f"unknown positions {c.positions!r}: choose learned or alibi")
        self.tok_emb = nn.Embedding(c.vocab_size, c.n_embd)
        self.pos_emb = nn.Embedding(c.block_size, c.n_embd) if c.positions == "learned" else None
        self.dropout = nn.Dropout(c.dropout)
        self.blocks = nn.ModuleList(Block(c.n_embd, c.n_head, c.dropout, c.bias, c.affine, c.gelu)
                                    for _ in range(c.n_layer))
        self.norm = nn.LayerNorm(c.n_embd, elementwise_affine=c.affine)
        self.head = None if c.tied else nn.Linear(c.n_embd, c.vocab_size, bias=False)
        may_look = causal_mask(c.block_size)
        mask = alibi(c.n_head, c.block_size) if c.positions == "alibi" else torch.zeros(1, *may_look.shape)
        self.register_buffer("mask", mask.masked_fill(~may_look, -math.inf), persistent=False)
        self.initialise()

    def initialise(self) -> None:
        """Normal weights of size 0.02; the last matrix of each branch smaller, by the number of branches that are added
        up (GPT-2, section 2.3), or zero. A table that is not also that of the logits may start larger."""
        c = self.config
        for name, p in self.named_parameters():
            if name.endswith("proj.weight"):
                nn.init.normal_(p, std=0.0 if c.zero_init else 0.02 / math.sqrt(2 * c.n_layer))
            elif name == "tok_emb.weight" and not c.tied:
                nn.init.normal_(p, std=0.3)
            elif p.ndim == 2:
                nn.init.normal_(p, std=0.02)
            elif name.endswith("bias"):
                nn.init.zeros_(p)

    def embed(self, idx: Tensor) -> Tensor:
        """What each token is, plus where it stands.  (B, T) -> (B, T, C)"""
        idx = indices("tokens", idx, self.config.vocab_size, "B", "T")
        if not 1 <= idx.shape[1] <= self.config.block_size:
            raise ValueError(f"{idx.shape[1]} tokens do not fit: from 1 to block_size={self.config.block_size}")
        x = self.tok_emb(idx)                                                  # (B, T, C)
        if self.pos_emb is not None:
            x = x + self.pos_emb.weight[:idx.shape[1]]
        return self.dropout(x)

    def forward(self, idx: Tensor, dtype: torch.dtype | None = None) -> Tensor:
        x, T = self.embed(idx), idx.shape[-1]                                  # (B, T, C)
        dtype = x.dtype if dtype is None else dtype
        x = x.to(dtype)
        mask = self.mask[None, :, :T, :T].to(dtype)                            # of four axes, as in `Transformer`
        for block in self.blocks:
            x = block(x, mask)
        x = self.norm(x)
        table = self.tok_emb.weight if self.head is None else self.head.weight
        return F.linear(x, table.to(dtype)).to(torch.promote_types(dtype, torch.float32))     # (B, T, vocab_size)


def lm_loss(model: nn.Module, idx: Tensor, **kwargs) -> dict[str, Tensor]:
    """How surprised the model is by each next token, in nats per token.  idx (B, T + 1): T inputs and their targets."""
    idx = indices("tokens", idx, None, "B", "T + 1")
    scores = logits(model(idx[:, :-1], **kwargs).flatten(0, 1))                # (B * T, vocab_size)
    targets = indices("tokens", idx[:, 1:].flatten(), scores.shape[1], len(scores))
    return {"loss": F.cross_entropy(scores, targets)}


# ------------------------------------------------------------------------------------------------------------ counting

def n_parameters(c: GPTConfig) -> int:
    """How many numbers a GPT has, by formula: 12 n_layer n_embd^2, and small change."""
    sizes(c)
    C = c.n_embd
    matrices = 12 * C**2 + (9 * C if c.bias else 0)                            # 3 + 1 + 4 + 4, and their biases
    norms = (2 * c.n_layer + 1) * (2 * C if c.affine else 0)
    tables = c.vocab_size * C * (1 if c.tied else 2) + (c.block_size * C if c.positions == "learned" else 0)
    return c.n_layer * matrices + norms + tables


def n_flops(c: GPTConfig, T: int | None = None) -> int:
    """Multiplications and additions in matrix products, to read a text of T (default block_size) tokens.

    Two per parameter in a matrix and token, and 4 T n_embd per layer and token for attention. A training
    step costs three times as much: backwards needs two products for each one forwards.
    Kaplan et al. (2020), table 1.
    """
    T = c.block_size if T is None else T
    whole(1, T=T)
    per_token = c.n_layer * (2 * 12 * c.n_embd**2 + 4 * T * c.n_embd) + 2 * c.vocab_size * c.n_embd
    return T * per_token


# -------------------------------------------------------------------------------------------------- the original GPT-2

def to_gpt2(model: GPT) -> dict[str, Tensor]:
    """The weights by the names, and in the layout, of Hugging Face's GPT2LMHeadModel: matrices stand as (in, out).

    Raises ValueError for a model that GPT-2 cannot be."""
    _check_gpt2(model.config)
    return {_gpt2_name(name): p.T.clone() if _is_matrix(name, p) else p.clone()
            for name, p in model.state_dict().items()} | {"lm_head.weight": model.tok_emb.weight.detach().clone()}


def from_gpt2(model: GPT, weights: dict[str, Tensor]) -> GPT:
    """Fill a model with the weights of a Hugging Face GPT2LMHeadModel of the same size; returns the model."""
    _check_gpt2(model.config)
    try:
        own = {name: weights[_gpt2_name(name)] for name in model.state_dict()}
        model.load_state_dict({name: p.T if _is_matrix(name, p) else p for name, p in own.items()})
    except (KeyError, RuntimeError) as e:
        raise ValueError(f"these are no weights of {model.config}: {' '.join(str(e).split())[:200]}") from None
    return model


def _check_gpt2(c: GPTConfig) -> None:
    if (c.positions, c.bias, c.affine, c.tied, c.gelu) != ("learned", True, True, True, "tanh"):
        raise ValueError("GPT-2 has learned positions, biases, affine norms, tied tables and the tanh form of GELU: "
                         "this model's config differs")


def _gpt2_name(name: str) -> str:
    for ours, theirs in {"tok_emb": "wte", "pos_emb": "wpe", "blocks": "h", "norm1": "ln_1", "norm2": "ln_2",
                         "norm.": "ln_f.", "attn.qkv": "attn.c_attn", "attn.proj": "attn.c_proj", "mlp.fc": "mlp.c_fc",
                         "mlp.proj": "mlp.c_proj"}.items():
        name = name.replace(ours, theirs)
    return "transformer." + name


def _is_matrix(name: str, p: Tensor) -> bool:
    return name.startswith("blocks") and p.ndim == 2
