"""The checks of exercise 54: temperature and top-k, a step with a cache, a loss with the wrong shift, what context is
worth."""

import math
from functools import cache

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from course_lib.checks import Implementation, Measurement, filled, rand

INF = math.inf

# --- 1


def _logits(g: torch.Generator) -> list[tuple]:
    """Logits that lie well apart, in a random order, so that it is clear which are the largest; higher in each row, so
    that no row has the threshold of another."""
    cases = []
    for b, n, temperature, k in ((1, 3, 0.5, 2), (3, 5, 2.0, 3), (3, 4, 0.7, 1), (2, 6, 1.5, 4), (4, 5, 0.6, 5)):
        order = torch.rand(b, n, generator=g).argsort(1)
        rows = 1.3 * torch.arange(b)[:, None] - 1
        cases.append((rows + 0.7 * order + 0.2 * torch.rand(b, n, generator=g), temperature, k))
    return cases


def _kept(z: Tensor, k: int) -> Tensor:
    return z >= z.topk(k).values[:, -1:]


def _probs(logits, temperature, top_k, kept=_kept, low=-INF, cool=torch.div, softmax=lambda z: z.softmax(1)) -> Tensor:
    return softmax(cool(logits.masked_fill(~kept(logits, top_k), low), temperature))


def _cut(z, t, k, share=lambda p: p) -> Tensor:
    """What is left of the softmax over all tokens."""
    return share((z / t).softmax(1) * _kept(z, k))


next_probs = Implementation(
    "next_probs",
    right=_probs,
    cases=_logits,
    slips=[
        ("the logits are divided by the temperature, before the softmax: {}",
         ("you multiply by it, and a high temperature must make all more alike", dict(cool=torch.mul)),
         ("in yours it has no effect", dict(cool=lambda z, t: z)),
         ("you divide the probabilities", lambda z, t, k: _probs(z, 1, k) / t),
         ("you raise probabilities to the power 1 / temperature, and they no longer sum to 1",
          lambda z, t, k: _probs(z, 1, k) ** (1 / t))),
        ("top_k has no effect: all tokens may be drawn", dict(kept=lambda z, k: z == z)),
        ("you removed the improbable tokens after the softmax: the rest of a row no longer sums to 1", _cut),
        ("you divided by the sum of all rows: each row must sum to 1", dict(softmax=lambda z: z.exp() / z.exp().sum()),
         lambda z, t, k: _cut(z, t, k, lambda p: p / p.sum())),
        ("a logit of 0 is not a probability of 0: exp(0) is 1, and exp(-inf) is 0", dict(low=0.0)),
        ("you keep the wrong tokens: {}",
         ("the least probable ones", *(dict(kept=kept, low=low) for low in (0.0, -INF) for kept in (
             lambda z, k: z <= z.topk(k, largest=False).values[:, -1:],
             lambda z, k: z <= z.topk(k).values[:, -1:]))),
         ("you sorted upwards, and there the index top_k - 1 is that of the k-th *smallest*",
          dict(kept=lambda z, k: z >= z.sort(1).values[:, k - 1:k])),
         ("one too few, as the smallest of the top_k belongs to them",
          dict(kept=lambda z, k: z > z.topk(k).values[:, -1:])),
         ("one too many, as the k-th largest has the index k - 1",
          dict(kept=lambda z, k: _kept(z, min(k + 1, z.shape[1]))),
          dict(kept=lambda z, k: z >= z.sort(1, descending=True).values[:, k, None]))),
        ("one softmax too many: the second one, of the probabilities, makes them nearly alike",
         *(lambda z, t, k, low=low: (z / t).softmax(1).masked_fill(~_kept(z, k), low).softmax(1)
           for low in (0.0, -INF))),
        ("you compare all rows with the threshold of the first: each row has its own",
         dict(kept=lambda z, k: z >= z.topk(k).values[0, -1])),
        ("the softmax runs over the rows: the probabilities of the tokens, axis 1, must sum to 1",
         dict(softmax=lambda z: z.softmax(0))),
        ("{}: probabilities are asked for", ("these are logits", dict(softmax=lambda z: z)),
         ("you return logarithms", dict(softmax=lambda z: z.log_softmax(1)))),
        ("you return the k probabilities alone: one for each token of the vocabulary is asked for, in its place",
         lambda z, t, k: (z.topk(k).values / t).softmax(1)),
    ],
    hints=("Print one row of your result: does it sum to 1, and how many of its numbers are not 0? Are these those of "
           "the largest logits?",
           "In this order: find the k-th largest logit of each row, in the shape (B, 1); set all that are smaller to "
           "minus infinity; divide by the temperature; take the softmax over axis 1.",
           "smallest = logits.topk(top_k).values[:, -1:]\n"
           "kept = logits.masked_fill(logits < smallest, -math.inf)\n"
           "(kept / temperature).softmax(1)"))

# --- 2


def _caches(g: torch.Generator) -> list[tuple]:
    """The last case begins with an empty cache."""
    cases = []
    for b, h, t, d in ((1, 1, 2, 2), (3, 2, 4, 3), (2, 3, 1, 5), (3, 1, 5, 1), (2, 2, 0, 3)):
        cases.append((*(rand(g, b, h, 1, d) for _ in range(3)), rand(g, b, h, t, d), rand(g, b, h, t, d)))
    return cases


def _step(q, k, v, keys, values, join=lambda old, new: torch.cat([old, new], 2), seen=lambda old, new: new,
          root=lambda q, keys: q.shape[-1], axis=-1, mask=lambda s: s, average=lambda keys, values: values, after=None):
    """With `after` the scores are not divided, and after(y, D) is the repair of that."""
    new_k, new_v = join(keys, k), join(values, v)
    at_k, at_v = seen(keys, new_k), seen(values, new_v)
    scores = q @ at_k.mT / (1 if after else root(q, at_k) ** 0.5)
    y = mask(scores).softmax(axis) @ average(at_k, at_v)
    return after(y, q.shape[-1]) if after else y, new_k, new_v


def _first_only(scores: Tensor) -> Tensor:
    return scores.masked_fill(~torch.ones_like(scores, dtype=torch.bool).tril(), -INF)


cached_step = Implementation(
    "cached_step",
    right=_step,
    cases=_caches,
    returns=("y", "keys", "values"),
    slips=[
        ("your causal mask lets the new token see only the first one: a mask of one row begins at the left. All keys "
         "in the cache are of the past, so no mask is needed", dict(mask=_first_only)),
        ("the new token does not look at itself: append its key and value before you compute the scores",
         dict(seen=lambda old, new: old)),
        ("you put the new token before the old ones: the cache is in the order of the text, the newest last",
         dict(join=lambda old, new: torch.cat([new, old], 2))),
        ("the scores are to be divided by the square root of D, the length of a key: {}",
         ("yours are not", dict(root=lambda q, keys: 1)),
         ("you divide by D", dict(root=lambda q, keys: q.shape[-1] ** 2)),
         ("you multiply by it", dict(root=lambda q, keys: 1 / q.shape[-1])),
         ("you take the number of keys", dict(root=lambda q, keys: keys.shape[2])),
         ("you take the number of heads", dict(root=lambda q, keys: q.shape[1])),
         ("you divide after the softmax, so that the weights no longer sum to 1", dict(after=lambda y, d: y / d**0.5))),
        ("the softmax runs over {}: it runs over the keys, the last axis",
         ("the examples of the batch", dict(axis=0)), ("the heads", dict(axis=1)),
         ("the one query, so that all weights are 1", dict(axis=2))),
        ("q asks, k is compared with it, and v is what is averaged: {}",
         ("you average the keys", dict(average=lambda keys, values: keys)),
         ("you used the new key as the query", lambda q, k, v, *cache: _step(k, k, v, *cache)),
         ("you put q into the cache, in place of k", lambda q, k, v, *cache: _step(q, q, v, *cache)),
         ("you put k among the values, in place of v", lambda q, k, v, *cache: _step(q, k, k, *cache))),
        ("you return the old cache: the next step would not know of this token",
         lambda *case: (_step(*case)[0], *case[3:])),
    ],
    hints=("Which keys may the newest token look at? Compute y by hand for an empty cache: there is one key, so one "
           "weight, and it is 1.",
           "First append the new key and value to the cache, along the axis of the tokens. The scores of the query "
           "with all keys have the shape (B, H, 1, T + 1): divide by the root of D, take the softmax over the last "
           "axis, and average the values. No mask: all keys are of the past.",
           "keys, values = torch.cat([keys, k], dim=2), torch.cat([values, v], dim=2)\n"
           "scores = q @ keys.transpose(-2, -1) / math.sqrt(q.shape[-1])\n"
           "return scores.softmax(-1) @ values, keys, values"),
    rtol=1e-3, atol=1e-5)

# --- 3


class Model(nn.Module):
    """A causal one: what it says after a token depends on all tokens up to it.  (B, T) -> (B, T, n)"""

    def __init__(self, n: int):
        super().__init__()
        self.table, self.head = nn.Parameter(torch.empty(n, 4)), nn.Parameter(torch.empty(4, n))

    def forward(self, idx: Tensor) -> Tensor:
        return self.table[idx].cumsum(1).tanh() @ self.head


def _texts(g: torch.Generator) -> list[tuple]:
    sizes = ((1, 3, 4), (3, 4, 5), (2, 6, 7), (4, 9, 3))
    return [(filled(Model(n), g), torch.randint(n, (b, t), generator=g)) for b, t, n in sizes]


def _shifted(model, idx, rows=slice(None, -1), targets=slice(1, None), logits=lambda z: z, reduce=Tensor.mean):
    """The logits in some rows are compared with the bytes at some places."""
    return reduce(F.cross_entropy(logits(model(idx)[:, rows]).mT, idx[:, targets], reduction="none"))


next_byte_loss = Implementation(
    "next_byte_loss",
    right=_shifted,
    cases=_texts,
    gradient=("model",),
    slips=[
        ("the bug is still there: write down for one text which byte each row of logits is asked for",
         dict(rows=slice(None, -2), targets=slice(2, None))),
        ("now the model is asked for the byte that it has just read: copying it is enough",
         *(dict(rows=s, targets=s) for s in (slice(None), slice(None, -1), slice(1, -1), slice(1, None))),
         lambda model, idx: _shifted(model, idx[:, 1:], slice(None), slice(None))),
        ("only the last byte of each text is asked for: the model makes a guess at every place",
         dict(rows=slice(-2, -1), targets=slice(-1, None))),
        ("you applied the softmax, and F.cross_entropy applies it once more: give it the logits",
         dict(logits=lambda z: z.softmax(-1))),
        ("the shift has the wrong direction: the model is asked for the byte before",
         dict(rows=slice(1, None), targets=slice(None, -1)),
         lambda model, idx: F.cross_entropy(model(idx[:, 1:]).mT, idx[:, :-1])),
        ("the shift is right, but the {} byte of each text is never asked for",
         ("last", dict(rows=slice(None, -2), targets=slice(1, -1))),
         ("second", dict(rows=slice(1, -1), targets=slice(2, None)))),
        ("you add up the nats of {}: the mean over all bytes of all texts is asked for",
         ("all bytes", dict(reduce=Tensor.sum)), ("a text", dict(reduce=lambda t: t.sum(1).mean()))),
    ],
    hints=("The function was right but for one line. Take the text abcd: which bytes go into the model, and which byte "
           "is each row of its logits compared with?",
           "What goes in ends before the last byte, and what is asked for begins with the second: so row t already is "
           "the guess at the byte after the one in place t. No more needs to be cut off.",
           "inputs, targets = idx[:, :-1], idx[:, 1:]\n"
           "F.cross_entropy(model(inputs).flatten(0, 1), targets.flatten())"),
    rtol=1e-3, atol=1e-5)

# --- 4


@cache
def _bits(ahead: int = 1) -> Tensor:
    """Bits of each of the 128 bytes after the first in the first 100 windows of the test text, or of the first 128 if
    each prediction is wrongly compared with the byte just read, ahead=0.  (100, 128)"""
    from course_lib import checkpoint
    from course_lib.data.text import load_text

    model, test = checkpoint.load("gpt"), load_text("austen").test.long()
    windows = test[:100 * 129].view(100, 129)
    with torch.no_grad():
        nats = [F.cross_entropy(model(w[:, :-1]).mT, w[:, ahead:][:, :128], reduction="none")
                for w in windows.split(25)]
    return torch.cat(nats) / math.log(2)


def _gain(early=slice(8), late=slice(64, None), ahead: int = 1, compare=lambda early, late: early - late) -> float:
    return compare(_bits(ahead)[:, early].mean().item(), _bits(ahead)[:, late].mean().item())


context_gain = Measurement(
    "context_gain",
    truth=_gain,
    tolerance=0.02,
    slips=[
        ("this is in nats: bits are asked for", lambda: math.log(2) * _gain()),
        ("the sign is wrong: the bits at the beginning minus those at the end", lambda: -_gain()),
        ("{}: the difference is asked for", ("this is a ratio", dict(compare=lambda early, late: early / late)),
         ("this is a share of the bits", dict(compare=lambda early, late: 1 - late / early))),
        ("you compare the first windows with the last: rows are windows, columns are predictions",
         *(lambda n=n: _bits()[:8].mean().item() - _bits()[n:].mean().item() for n in (64, -64))),
        ("these are the bits at {} alone: the difference is asked for",
         ("the beginning", dict(compare=lambda early, late: early)),
         ("the end", dict(compare=lambda early, late: late))),
        ("you took the first prediction alone: the mean of the first eight is asked for, and that of the last 64",
         dict(early=0), dict(early=0, late=-1)),
        ("you compare with all {}: the last 64 predictions are asked for", ("the others", dict(late=slice(8, None))),
         ("of them", dict(late=slice(None)))),
        ("you left out the first prediction, that of byte 1: it stands in column 0", dict(early=slice(1, 9))),
        ("you compare the two halves of the window: the first eight predictions with the last 64 are asked for",
         dict(early=slice(64))),
        ("you compare each prediction with the byte that the model has just read: it is about the next one",
         dict(ahead=0)),
    ],
    hints=("Make a table of the cost of each prediction, (100, 128): what stands in its first column, and in which "
           "unit?",
           "The cross-entropy without a reduction gives the nats of each prediction; divide by the logarithm of 2. "
           "Take the mean over all windows of the first eight columns, and of the last 64, and subtract.",
           "nats = F.cross_entropy(gpt(windows[:, :-1]).transpose(1, 2), windows[:, 1:], reduction='none')\n"
           "bits = nats / math.log(2)\n"
           "bits[:, :8].mean() - bits[:, 64:].mean()"))
