"""Predict the next byte by counting what followed the same few bytes before: the language model of Shannon (1948), with
the smoothing of Witten & Bell (1991) for what was never seen."""

from dataclasses import dataclass

import torch
from torch import Tensor

from course_lib.expect import indices, whole

LONGEST = 8                                    # bytes in one int64


@dataclass
class Counts:
    """How often each context of one length was seen, with how many different next bytes, and each pair of both."""

    contexts: Tensor                           # (m,) int64, ascending: the bytes of a context as one number
    total: Tensor                              # (m,) how often it was seen
    kinds: Tensor                              # (m,) how many different bytes followed
    grams: Tensor                              # (g,) int64, ascending: context and next byte as one number
    count: Tensor                              # (g,) how often


class NGram:
    """The probability of a byte after the n - 1 bytes before it.

        p_k(c | h) = (count(h c) + kinds(h) p_{k-1}(c | h')) / (count(h) + kinds(h))

    h are the k bytes before c and h' the same without the first; p_{-1} = 1/256. A context that was often followed by
    something new leaves much to the shorter one.  Witten & Bell (1991), method C.

        model = NGram(text.train, n=5);  model.bits_per_byte(text.test)
    """

    def __init__(self, text: Tensor, n: int = 5):
        whole(1, LONGEST, n=n)
        self.n, text = n, _bytes(text, n)
        self.tables = [_count(text, k) for k in range(n)]

    def prob(self, text: Tensor) -> Tensor:
        """The probability of each byte of a text after those before it, all of them as far as n - 1.  (N,) -> (N,)"""
        text = _bytes(text)
        p = torch.full((len(text),), 1 / 256, dtype=torch.float64)
        for k, table in enumerate(self.tables):
            if len(text) > k:                                                  # the first k bytes have a shorter past
                grams = _numbers(text, k + 1)                                  # (N - k,)
                p[k:] = _interpolate(table, _contexts(grams), grams, p[k:])
        return p

    def bits_per_byte(self, text: Tensor) -> float:
        """What it would cost to write this text down with these probabilities (Shannon, 1948)."""
        return -self.prob(_bytes(text, 1)).log2().mean().item()

    def next_probs(self, context: Tensor) -> Tensor:
        """The probabilities of all 256 next bytes.  context (T,) -> (256,) float64"""
        context = _bytes(context)[len(context) - min(len(context), self.n - 1):]
        p, bytes_ = torch.full((256,), 1 / 256, dtype=torch.float64), torch.arange(256)
        for k, table in enumerate(self.tables[:len(context) + 1]):
            h = torch.zeros((), dtype=torch.long)
            for byte in context[len(context) - k:]:
                h = h * 256 + byte
            p = _interpolate(table, h.expand(256), h * 256 + bytes_, p)
        return p

    def generate(self, prompt: Tensor, n_new: int, generator: torch.Generator | None = None) -> Tensor:
        """Write n_new bytes after a prompt (T,), one draw at a time.  -> (n_new,) int64"""
        whole(1, n_new=n_new)
        idx = _bytes(prompt)
        for _ in range(n_new):
            idx = torch.cat([idx, torch.multinomial(self.next_probs(idx), 1, generator=generator)])
        return idx[len(prompt):]


def _bytes(text: Tensor, at_least: int = 0) -> Tensor:
    text = indices("bytes of a text", text, 256, "N").cpu()
    if len(text) < at_least:
        raise ValueError(f"a text of {len(text)} bytes is too short: at least {at_least} are needed")
    return text


def _numbers(text: Tensor, k: int) -> Tensor:
    """Every k bytes in a row as one number, first byte most significant.  (N,) -> (N - k + 1,)

    Eight bytes may come out negative: still one number for each."""
    number = torch.zeros(len(text) - k + 1, dtype=torch.long)
    for i in range(k):
        number = number * 256 + text[i:len(text) - k + 1 + i]
    return number


def _contexts(grams: Tensor) -> Tensor:
    """All bytes but the last. `>>` fills a negative number with ones from the left, which the mask takes away again."""
    return grams >> 8 & (1 << 56) - 1


def _count(text: Tensor, k: int) -> Counts:
    grams, count = _numbers(text, k + 1).unique(return_counts=True)
    contexts, which, kinds = _contexts(grams).unique(return_inverse=True, return_counts=True)
    total = torch.zeros_like(kinds).scatter_add(0, which, count)
    return Counts(contexts, total, kinds, grams, count)


def _interpolate(table: Counts, context: Tensor, gram: Tensor, shorter: Tensor) -> Tensor:
    """The formula of the class.  context, gram and the probabilities with a shorter context: (N,) -> (N,)"""
    total, kinds = (_look_up(table.contexts, context, values) for values in (table.total, table.kinds))
    count = _look_up(table.grams, gram, table.count)
    return torch.where(total > 0, (count + kinds * shorter) / (total + kinds).clamp(min=1), shorter)


def _look_up(keys: Tensor, wanted: Tensor, values: Tensor) -> Tensor:
    place = torch.searchsorted(keys, wanted.contiguous()).clamp(max=len(keys) - 1)
    return torch.where(keys[place] == wanted, values[place], 0)
