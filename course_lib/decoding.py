"""Writing with a model that predicts the next token: one token drawn from its logits, a plain loop that reads
everything again for each, and a fast one that keeps keys and values (a cache)."""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from course_lib import expect
from course_lib.device import device_of, evaluating
from course_lib.gpt import GPT
from course_lib.transformer import alibi


def next_token(logits: Tensor, temperature: float = 1.0, top_k: int | None = None,
               generator: torch.Generator | None = None) -> Tensor:
    """Draw one token per row from softmax(logits / temperature), of the top_k most probable ones only, if given.

    (B, vocab_size) -> (B,) int64.  temperature 0: always the most probable token."""
    expect.between(0, math.inf, temperature=temperature)
    expect.whole(1, top_k=1 if top_k is None else top_k)
    highest, best = expect.logits(logits).max(-1, keepdim=True)
    if logits.is_cpu and not highest.isfinite().all():
        raise ValueError(f"the highest logits are {highest.flatten().tolist()[:5]}: no token can be drawn from that")
    if temperature == 0:
        return best.squeeze(1)
    if top_k is not None and top_k < logits.shape[-1]:
        kept = logits.topk(top_k)                                              # exactly so many, also where some tie
        logits = torch.full_like(logits, -math.inf).scatter(-1, kept.indices, kept.values)
    p = ((logits - highest) / max(temperature, 1e-30)).softmax(-1)             # 0 stays 0, however cold it is
    return torch.multinomial(p, 1, generator=generator).squeeze(1)


def _first_seen(length: int, first: int, block_size: int) -> int:
    """Which tokens a model sees that are `length` tokens into a text: all from this one on, at most block_size.

    When the block is full it forgets the older half. (To forget one token at each step would move every learned
    position, and nothing that is kept in a cache would hold any longer.)"""
    return length - (block_size + 1) // 2 if length - first > block_size else first


@torch.inference_mode()
def generate_plainly(model: nn.Module, prompt: Tensor, n_new: int, temperature: float = 1.0, top_k: int | None = None,
                     generator: torch.Generator | None = None) -> Tensor:
    """Write n_new tokens after one prompt (T,), by reading everything again for each of them.  -> (n_new,) int64

    Short and slow: what `generate` must equal. model: anything with `config.block_size` that returns logits."""
    prompt, = _check_prompts([prompt], n_new, model)
    block = model.config.block_size
    idx, first = prompt.to(device_of(model)), max(0, len(prompt) - block)
    with evaluating(model):
        for _ in range(n_new):
            first = _first_seen(len(idx), first, block)
            logits = model(idx[None, first:])[:, -1]                           # (1, vocab_size)
            idx = torch.cat([idx, next_token(logits, temperature, top_k, generator)])
    return idx[len(prompt):]


@torch.inference_mode()
def generate(model: GPT, prompts: list[Tensor], n_new: int, temperature: float = 1.0, top_k: int | None = None,
             generator: torch.Generator | None = None, processor=None) -> Tensor:
    """Write n_new tokens after each of B prompts (T_i,) of any lengths, keys and values kept.  -> (B, n_new) int64

    A key and a value depend on nothing that comes later, so those of old tokens are computed once and stay in a cache.
    Prompts end in the same column: shorter ones begin further right, and nobody looks at the columns before them.
    processor(logits (B, V), tokens so far (B, T)) -> logits changes them before a token is drawn (a watermark does).
    Raises ValueError for an empty prompt.
    """
    prompts = _check_prompts(prompts, n_new, model)
    where, block = device_of(model), model.config.block_size
    B, T = len(prompts), max(map(len, prompts))
    idx = torch.stack([F.pad(p.to(where), (T - len(p), n_new)) for p in prompts])              # (B, T + n_new)
    first = [T - min(len(p), block) for p in prompts]                          # the first column that each row sees
    done = min(first)                                                          # columns whose keys are in the cache
    cache = Cache(model, B, T + n_new)                                         # draws nothing: no dropout, no mode
    for t in range(T, T + n_new):
        for i in range(B):                                                     # a full row forgets, and reads again
            now = _first_seen(t, first[i], block)
            if now != first[i]:
                first[i] = now
                if done > now:
                    cache.read(idx[i:i + 1, now:done], now, [now], slice(i, i + 1))
        logits = cache.read(idx[:, done:t], done, first)                       # (B, vocab_size)
        if processor is not None:
            logits = processor(logits, idx[:, :t])
        idx[:, t] = next_token(logits, temperature, top_k, generator)
        done = t
    return idx[:, T:]


class Cache:
    """Keys and values of B texts in n columns, and the weights in the layout in which one token is multiplied fastest:
    transposed and contiguous. At this size most of the time goes into calling PyTorch, so `read` calls it little."""

    def __init__(self, model: GPT, B: int, n: int):
        c, p = model.config, model.tok_emb.weight
        self.model, self.n_head = model, c.n_head
        self.kept = [p.new_zeros(2, B, c.n_head, n, c.n_embd // c.n_head) for _ in model.blocks]   # keys and values
        self.layers = [[(layer.weight.T.contiguous(), layer.bias)
                        for layer in (block.attn.qkv, block.attn.proj, block.mlp.fc, block.mlp.proj)]
                       for block in model.blocks]
        self.table = (model.tok_emb if model.head is None else model.head).weight.T.contiguous()
        self.slope = self.penalty = None                                       # (n_head, 1, 1) at distance 1, and
        if c.positions == "alibi":                                             # (n_head, 1, n) at distance n - 1 ... 0
            self.slope = alibi(c.n_head, 2, p.device)[:, 1:, :1].to(p)
            self.penalty = self.slope * torch.arange(n - 1, -1, -1, device=p.device)

    def read(self, idx: Tensor, at: int, first: list[int], rows: slice = slice(None)) -> Tensor:
        """Take in tokens idx (B, T) that stand in columns at, at + 1, ... of these rows, of which row i sees nothing
        before column first[i]. Their keys and values are stored.  -> logits of the last column (B, vocab_size)"""
        (B, T), C, model = idx.shape, self.table.shape[0], self.model
        start, end = min(first), at + T
        x = F.embedding(idx, model.tok_emb.weight)                             # (B, T, C)
        if model.pos_emb is not None:
            place = torch.arange(at, end, device=x.device) - _column(first, x)                     # (B, T)
            x = x + F.embedding(place.clamp(min=0), model.pos_emb.weight)
        x = x.view(B * T, C)
        mask = self.mask(at, end, first, x)                                    # (B or 1, n_head or 1, T, end - start)
        for block, kept, (qkv, proj, fc, back) in zip(model.blocks, self.kept, self.layers):
            heads = _times(_norm(block.norm1, x), *qkv).view(B, T, 3, self.n_head, -1).permute(2, 0, 3, 1, 4)
            kept = kept[:, rows]                                               # (2, B, n_head, n, C/n_head)
            kept.narrow(3, at, T).copy_(heads[1:])
            k, v = kept.narrow(3, start, end - start).unbind()                 # 2 x (B, n_head, end - start, C/n_head)
            y = F.scaled_dot_product_attention(heads[0], k, v, attn_mask=mask)                     # (B, n_head, T, ...)
            x = x + _times(y.transpose(1, 2).reshape(B * T, C), *proj)
            x = x + _times(F.gelu(_times(_norm(block.norm2, x), *fc), approximate=model.config.gelu), *back)
        return _norm(model.norm, x.view(B, T, C)[:, -1]) @ self.table          # (B, vocab_size)

    def mask(self, at: int, end: int, first: list[int], x: Tensor) -> Tensor | None:
        """What is added to the scores of columns at ... end - 1, None if that is nothing.

        -> (B or 1, n_head or 1, end - at, end - start), start = min(first); -inf where nobody may look."""
        start = min(first)
        if end - at == 1 and max(first) == start:                              # one token, and all see the same columns
            return None if self.penalty is None else self.penalty[None, :, :, start - end:]
        query, key = torch.arange(at, end, device=x.device)[:, None], torch.arange(start, end, device=x.device)
        begin = _column(first, x)[:, :, None]                                  # (B, 1, 1)
        hidden = (key > query) | ((key < begin) & (key < query))               # (B, T, end - start); a place before its
        mask = x.new_zeros(1)                                                  # text sees itself: no row is empty
        if self.slope is not None:
            mask = self.slope * (query - key)                                  # (n_head, T, end - start)
        return torch.where(hidden[:, None], -math.inf, mask)


def _column(numbers: list[int], like: Tensor) -> Tensor:
    """(B, 1) on the device of `like`"""
    return torch.stack([torch.full((1,), n, device=like.device) for n in numbers])


def _norm(norm: nn.LayerNorm, x: Tensor) -> Tensor:
    """norm(x), with less ceremony"""
    return torch.layer_norm(x, norm.normalized_shape, norm.weight, norm.bias, norm.eps)


def _times(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """x (n, m) times weight (m, k), plus bias (k,) -> (n, k)"""
    return torch.mm(x, weight) if bias is None else torch.addmm(bias, x, weight)


def _check_prompts(prompts: list[Tensor], n_new: int, model: nn.Module) -> list[Tensor]:
    expect.whole(1, n_new=n_new)
    prompts = [expect.indices(f"tokens of prompt {i}", p, model.config.vocab_size, "T") for i, p in enumerate(prompts)]
    empty = [i for i, p in enumerate(prompts) if not len(p)]
    if not prompts or empty:
        raise ValueError(f"prompt {empty[0]} has 0 tokens: begin with a line break" if empty else "got 0 prompts")
    return prompts
