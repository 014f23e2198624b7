"""The checks of exercise 54: temperature and top-k, a step with a cache, a loss with the wrong shift, what context is
worth."""

import math
from collections.abc import Callable
from functools import cache, partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from course_lib.checks import Implementation, Measurement, Slip, filled, rand

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


def _masked(logits: Tensor, k: int, low: float = -math.inf, largest: bool = True) -> Tensor:
    kept = torch.zeros_like(logits, dtype=torch.bool).scatter(1, logits.topk(k, largest=largest).indices, True)
    return logits.masked_fill(~kept, low)


def _probs(logits: Tensor, temperature: float, top_k: int) -> Tensor:
    return (_masked(logits, top_k) / temperature).softmax(1)


def _cut_late(logits: Tensor, temperature: float, k: int) -> Tensor:
    return (logits / temperature).softmax(1) * (_masked(logits, k) > -math.inf)


def _one_threshold(logits: Tensor, temperature: float, k: int) -> Tensor:
    keep = logits >= logits.topk(k).values[0, -1]                 # that of the first row
    return (logits.masked_fill(~keep, -math.inf) / temperature).softmax(1)


def _too_many(logits: Tensor, temperature: float, k: int) -> Tensor:
    beyond = logits.sort(1, descending=True).values[:, k, None]   # fails where k is all of them
    return (logits.masked_fill(logits < beyond, -math.inf) / temperature).softmax(1)


COOL = "(logits / temperature).softmax(1)"
KEEP = "logits.masked_fill(logits < logits.topk(top_k).values[:, -1:], -math.inf), then softmax over axis 1."

next_probs = Implementation(
    "next_probs",
    right=_probs,
    cases=_logits,
    slips=[
        Slip(lambda z, t, k: _probs(z, 1 / t, k),
             "you multiplied by the temperature: divide by it, so that a high temperature makes all more alike", COOL),
        Slip(lambda z, t, k: _probs(z, 1, k), "the temperature has no effect", COOL),
        Slip(lambda z, t, k: _probs(z, 1, k) / t,
             "you divided the probabilities by the temperature: divide the logits, before the softmax", COOL),
        Slip(lambda z, t, k: _probs(z, 1, k) ** (1 / t),
             "raised to the power 1 / temperature, the probabilities of a row no longer sum to 1",
             "Divide each row by its sum; or divide the logits by the temperature, before the softmax."),
        Slip(lambda z, t, k: (z / t).softmax(1), "top_k has no effect: all tokens may be drawn", KEEP),
        Slip(_cut_late,
             "you removed the improbable tokens after the softmax: the rest of a row no longer sums to 1",
             "Set their logits to -inf before the softmax; or divide each row by its sum."),
        Slip(lambda z, t, k: (_masked(z, k, 0.0) / t).softmax(1),
             "a logit of 0 is not a probability of 0: exp(0) is 1", "Set the others to -inf. " + KEEP),
        Slip(tuple(lambda z, t, k, n=n: (_masked(z, n(z, k), largest=False) / t).softmax(1)
                   for n in (lambda z, k: k, lambda z, k: z.shape[1] - k + 1)),
             "you kept the least probable tokens", KEEP),
        Slip(lambda z, t, k: _probs(z, t, z.shape[1] - k + 1),
             "you sorted upwards: there the index top_k - 1 is that of the k-th *smallest*", KEEP),
        Slip(tuple(lambda z, t, k, low=low: _masked((z / t).softmax(1), k, low).softmax(1) for low in (0.0, -math.inf)),
             "one softmax too many: the second one, of the probabilities, makes them nearly alike",
             "Divide each row by its sum in place of the second softmax; or mask the logits. " + KEEP),
        Slip(lambda z, t, k: (z.masked_fill(z <= z.topk(k).values[:, -1:], -math.inf) / t).softmax(1),
             "you keep one token too few: the smallest of the top_k belongs to them", KEEP),
        Slip((lambda z, t, k: _probs(z, t, min(k + 1, z.shape[1])), _too_many),
             "you keep one token too many: the k-th largest has the index k - 1", KEEP),
        Slip(lambda z, t, k: _cut_late(z, t, k) / _cut_late(z, t, k).sum(),
             "you divided by the sum of all rows: each row must sum to 1", "Divide by .sum(1, keepdim=True)."),
        Slip(_one_threshold, "you compare all rows with the threshold of the first: each row has its own", KEEP),
        Slip(lambda z, t, k: (_masked(z, k) / t).softmax(0),
             "the softmax runs over the rows: the probabilities of the tokens, axis 1, must sum to 1", ".softmax(1)"),
        Slip(lambda z, t, k: (_masked(z, k) / t).log_softmax(1),
             "you return logarithms: probabilities are asked for", "softmax in place of log_softmax."),
        Slip(lambda z, t, k: _masked(z, k) / t, "these are logits: probabilities are asked for", ".softmax(1)"),
        Slip(lambda z, t, k: (z.topk(k).values / t).softmax(1),
             "you return the k probabilities alone: one for each token of the vocabulary is asked for, in its place",
             "Zero for the others. " + KEEP),
    ],
    hint="In this order: find the k-th largest logit of each row, in the shape (B, 1); set all that are smaller to "
         "-inf; divide by the temperature; softmax over axis 1.")

# --- 2


def _caches(g: torch.Generator) -> list[tuple]:
    """The last case begins with an empty cache."""
    cases = []
    for b, h, t, d in ((1, 1, 2, 2), (3, 2, 4, 3), (2, 3, 1, 5), (3, 1, 5, 1), (2, 2, 0, 3)):
        cases.append((*(rand(g, b, h, 1, d) for _ in range(3)), rand(g, b, h, t, d), rand(g, b, h, t, d)))
    return cases


def _step(scale: Callable = lambda d, t: d**-0.5, axis: int = -1, own: bool = True, before: bool = False,
          mask: Callable = lambda s: s) -> Callable:
    """A step with one thing changed."""
    def step(q, k, v, keys, values):
        old = keys, values
        keys, values = (torch.cat([new, kept] if before else [kept, new], 2) for kept, new in ((keys, k), (values, v)))
        seen_k, seen_v = (keys, values) if own else old
        scores = q @ seen_k.mT * scale(q.shape[-1], seen_k.shape[2])
        return mask(scores).softmax(axis) @ seen_v, keys, values
    return step


def _returned(change: Callable) -> Callable:
    def step(q, k, v, keys, values):
        return change(*_step()(q, k, v, keys, values), keys, values)
    return step


def _first_only(scores: Tensor) -> Tensor:
    return scores.masked_fill(~torch.ones_like(scores, dtype=torch.bool).tril(), -math.inf)


ROOT = "/ math.sqrt(q.shape[-1])"

cached_step = Implementation(
    "cached_step",
    right=_step(),
    cases=_caches,
    returns=("attention", "keys", "values"),
    slips=[
        Slip(_step(mask=_first_only),
             "your causal mask lets the new token see only the first one: a mask of one row begins at the left. All "
             "keys in the cache are of the past, so no mask is needed", "Leave out is_causal=True, or the mask."),
        Slip(_step(own=False),
             "the new token does not look at itself: append its key and value before you compute the scores",
             "keys = torch.cat([keys, k], 2), the same for values, and then the attention."),
        Slip(_step(before=True),
             "you put the new token before the old ones: the cache is in the order of the text, the newest last",
             "torch.cat([keys, k], dim=2)"),
        Slip(_step(scale=lambda d, t: 1.0), "the scores are not divided by sqrt(D)", ROOT),
        Slip(_step(scale=lambda d, t: 1 / d), "you divide the scores by D: by its root", ROOT),
        Slip(_step(scale=lambda d, t: d**0.5), "you multiply the scores by sqrt(D): divide by it", ROOT),
        Slip(_step(scale=lambda d, t: t**-0.5),
             "you divide by the root of the number of keys: by that of D, the length of a key", ROOT),
        Slip(lambda q, k, v, keys, values: _step(lambda d, t: q.shape[1] ** -0.5)(q, k, v, keys, values),
             "you divide by the root of the number of heads: by that of D, the length of a key", ROOT),
        Slip(lambda q, k, v, keys, values: (_step(lambda d, t: 1)(q, k, v, keys, values)[0] / q.shape[-1] ** 0.5,
                                            *_step()(q, k, v, keys, values)[1:]),
             "you divide by sqrt(D) after the softmax, so the weights no longer sum to 1: divide the scores",
             "scores = q @ keys.transpose(-2, -1) / math.sqrt(D), then .softmax(-1)"),
        Slip(_step(axis=1), "the softmax runs over the heads: it runs over the keys, the last axis", ".softmax(-1)"),
        Slip(_step(axis=-2),
             "the softmax runs over the one query, so all weights are 1: it runs over the keys, the last axis",
             ".softmax(-1)"),
        Slip(lambda q, k, v, keys, values: (_step()(q, k, k, keys, keys)[0], *_step()(q, k, v, keys, values)[1:]),
             "you average the keys: the weights belong to the values", "weights @ values"),
        Slip(lambda q, k, v, keys, values: _step()(k, k, v, keys, values),
             "the new key is used as the query: q asks, k answers", "scores = q @ keys.mT / math.sqrt(D)"),
        Slip(lambda q, k, v, keys, values: _step()(q, q, v, keys, values),
             "you put q into the cache: the key of the new token is k", "torch.cat([keys, k], dim=2)"),
        Slip(lambda q, k, v, keys, values: _step()(q, k, k, keys, values),
             "you put the new key among the values: the value of the new token is v", "torch.cat([values, v], dim=2)"),
        Slip(_returned(lambda y, new_k, new_v, keys, values: (y, keys, values)),
             "you return the old cache: the next step would not know of this token",
             "Return keys and values with the new ones appended."),
    ],
    hint="keys = torch.cat([keys, k], dim=2), the same for values; scores = q @ keys.transpose(-2, -1) / sqrt(D), of "
         "shape (B, H, 1, T + 1); no mask, since all keys are of the past; softmax over the last axis; times values. "
         "Return all three.",
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


def _shifted(logits: slice = slice(None, -1), targets: slice = slice(1, None), reduce: Callable = Tensor.mean,
             nats: float = 1.0) -> Callable:
    """Compare the logits at some places with the tokens at others."""
    def loss(model, idx):
        z = model(idx)[:, logits]
        return nats * reduce(F.cross_entropy(z.mT, idx[:, targets], reduction="none"))
    return loss


def _reversed_model(model, idx):
    return F.cross_entropy(model(idx[:, 1:]).flatten(0, 1), idx[:, :-1].flatten())


SHIFT = "Row t of model(idx[:, :-1]) is the guess at idx[:, 1:][:, t]: nothing more needs to be cut off."

next_byte_loss = Implementation(
    "next_byte_loss",
    right=_shifted(),
    cases=_texts,
    gradient=("model",),
    slips=[
        Slip(_shifted(slice(None, -2), slice(2, None)),
             "the bug is still there: write down for one text which letter each row of logits is asked for", SHIFT),
        Slip((*(_shifted(s, s) for s in (slice(None), slice(None, -1), slice(1, -1), slice(1, None))),
              lambda model, idx: _shifted(slice(None), slice(None))(model, idx[:, 1:])),
             "now the model is asked for the letter that it has just read: copying it is enough", SHIFT),
        Slip(lambda model, idx: F.cross_entropy(model(idx)[:, -2], idx[:, -1]),
             "only the last letter of each text is asked for: the model makes a guess at every place", SHIFT),
        Slip(lambda model, idx: F.cross_entropy(model(idx).softmax(-1)[:, :-1].mT, idx[:, 1:]),
             "you applied the softmax, and F.cross_entropy applies it once more: give it the logits",
             "Leave out the softmax."),
        Slip((_shifted(slice(1, None), slice(None, -1)), _reversed_model),
             "the shift has the wrong direction: the model is asked for the letter before", SHIFT),
        Slip(_shifted(slice(None, -2), slice(1, -1)),
             "the shift is right, but the last letter of each text is never asked for", SHIFT),
        Slip(_shifted(slice(1, -1), slice(2, None)),
             "the shift is right, but the second letter of each text is never asked for", SHIFT),
        Slip(_shifted(reduce=Tensor.sum), "you add up the nats: the mean over all letters is asked for",
             "F.cross_entropy takes the mean by itself."),
        Slip(_shifted(reduce=lambda t: t.sum() / len(t)),
             "you add up the nats of a text: the mean over all its letters is asked for",
             "F.cross_entropy takes the mean by itself."),
        Slip(_shifted(reduce=lambda t: t.mean(1)), "this is one number for each text: their mean is asked for",
             "Add .mean()."),
        Slip(_shifted(nats=1 / math.log(2)), "these are bits: the loss of this function is in nats",
             "Leave out the division by log 2."),
        Slip(_shifted(nats=-1.0), "the sign is wrong: the loss is minus the mean log-probability",
             "F.cross_entropy has the minus already."),
    ],
    hint="The function was right but for one line. Take the text abcd: which letters go into the model, and which "
         "letter is each row of its logits compared with?",
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


def _early() -> float:
    return _bits()[:, :8].mean().item()


def _late() -> float:
    return _bits()[:, 64:].mean().item()


def _gain(factor: float = 1.0) -> float:
    return factor * (_early() - _late())


MEANS = "bits[:, :8].mean() - bits[:, 64:].mean()"

context_gain = Measurement(
    "context_gain",
    truth=_gain,
    tolerance=0.02,
    slips=[
        Slip(partial(_gain, math.log(2)), "this is in nats: bits are asked for", "Divide by log 2."),
        Slip(partial(_gain, -1.0), "the sign is wrong: the bits at the beginning minus those at the end",
             "early - late"),
        Slip(lambda: _early() / _late(), "this is a ratio: the difference is asked for", "early - late"),
        Slip(lambda: 1 - _late() / _early(), "this is a share of the bits: the difference is asked for",
             "early - late"),
        Slip(tuple(lambda n=n: _bits()[:8].mean().item() - _bits()[n:].mean().item() for n in (64, -64)),
             "you compare the first windows with the last: rows are windows, columns are predictions", MEANS),
        Slip(_early, "these are the bits at the beginning: subtract those at the end", "early - late"),
        Slip(_late, "these are the bits at the end: subtract them from those at the beginning", "early - late"),
        Slip((lambda: _bits()[:, 0].mean().item() - _late(),
              lambda: _bits()[:, 0].mean().item() - _bits()[:, -1].mean().item()),
             "you took the first prediction alone: the mean of the first eight is asked for, and that of the last 64",
             MEANS),
        Slip(lambda: _early() - _bits()[:, 8:].mean().item(),
             "you compare with all the others: the last 64 predictions are asked for", "bits[:, 64:].mean()"),
        Slip(lambda: _early() - _bits().mean().item(),
             "you compare with all of them: the last 64 predictions are asked for", "bits[:, 64:].mean()"),
        Slip(lambda: _bits()[:, 1:9].mean().item() - _late(),
             "you left out the first prediction, that of byte 1: it stands in column 0", MEANS),
        Slip(lambda: _bits()[:, :64].mean().item() - _late(),
             "you compare the two halves of the window: the first eight predictions with the last 64 are asked for",
             MEANS),
        Slip(lambda: (_bits(0)[:, :8].mean() - _bits(0)[:, 64:].mean()).item(),
             "you compare each prediction with the byte that the model has just read: it is about the next one",
             "gpt(windows[:, :-1]) is compared with windows[:, 1:]."),
    ],
    hint="F.cross_entropy(logits.transpose(1, 2), windows[:, 1:], reduction=\"none\") has the shape (100, 128), in "
         "nats. Divide by log 2, and take two means.")
