"""The checks of exercise 51: attention with padding, heads, a leak, a bias for distance, a measurement."""

import functools
import math
from functools import partial

import torch
from torch import Tensor

from course_lib.checks import Implementation, Measurement, Slip, conform, rand

INF = math.inf
FILLS = -INF, -1e9                               # what a mask is made with; they differ where all of a row is masked


def _past(T: int) -> Tensor:
    return _all(T).tril()


def _all(T: int) -> Tensor:
    return torch.ones(T, T, dtype=torch.bool)


# --- 1


def _padded(g: torch.Generator) -> list[tuple]:
    """Sentences of different length. In case 3 the padding has very large scores, in case 4 the real keys have, and in
    case 5 all scores are near -120."""
    cases = []
    for T, S, D, E, length in ((2, 3, 2, 2, [2]), (2, 5, 4, 3, [4, 1, 3]), (4, 6, 3, 1, [2, 4]), (3, 5, 4, 2, [1, 3]),
                               (2, 5, 4, 3, [3, 2, 1]), (3, 4, 4, 2, [2, 3])):
        length = torch.tensor(length)[torch.randperm(len(length), generator=g)]
        q, k, v = (rand(g, len(length), *size) for size in ((T, D), (S, D), (S, E)))
        if len(cases) == 3:
            q[..., 0] = 1 + q[..., 0].abs()
            k[..., 0] = torch.where(torch.arange(S) < length[:, None], k[..., 0], 300.0)
        if len(cases) == 4:
            q[..., 0], k[..., 0] = 14.0, 14.0                                   # scores near 98: exp overflows at 88.7
        if len(cases) == 5:
            q[..., 0], k[..., 0] = 15.5, -15.5                                  # exp is 0 below -103
        cases.append((q, k, v, length))
    return cases


def _real(q: Tensor, k: Tensor, length: Tensor) -> Tensor:
    return torch.arange(k.shape[1]) < length[:, None, None]                    # (B, 1, S)


def _attend(q, k, v, length, scale=None, real=_real, fill=-INF, axis=-1):
    scores = q @ k.mT * (q.shape[-1] ** -0.5 if scale is None else scale(q, k, v))
    return scores.masked_fill(~real(q, k, length), fill).softmax(axis) @ v


def _without_softmax(q, k, v, length):
    return (q @ k.mT / q.shape[-1] ** 0.5).masked_fill(~_real(q, k, length), 0) @ v


def _zeroed(q, k, v, length):
    return (q @ k.mT / q.shape[-1] ** 0.5).softmax(-1).masked_fill(~_real(q, k, length), 0) @ v


def _without_padding(q, k, v, length):
    real = _real(q, k, length).mT                                              # (B, S, 1)
    return _zeroed(q, k * real, v, length)


def _scaled_late(q, k, v, length):
    return (q @ k.mT).masked_fill(~_real(q, k, length), -INF).softmax(-1) / q.shape[-1] ** 0.5 @ v


def _shared(q, k, v, length, axes, stable, sliced=False):
    real = _real(q, k, length)
    scores = (q @ k.mT / q.shape[-1] ** 0.5).masked_fill(~real, -INF)
    e = (scores - stable * scores.amax(axes, keepdim=True)).exp()
    weights = e / e.sum(axes, keepdim=True)
    return (weights.masked_fill(~real, 0) if sliced else weights) @ v         # padding that is cut off is never 0 / 0


attention = Implementation(
    "attention",
    right=_attend,
    cases=_padded,
    slips=[
        Slip(None,
             "right where scores are small, and wrong where *padding* has a large score: you mask too late, after the "
             "softmax or the exp has been taken over all keys",
             "Set the scores of padding to -inf (scores.masked_fill) before the softmax.", only=(3,)),
        *[Slip(None,
               "right where scores are small, and wrong where they are beyond 100 or -100: there exp is infinite in "
               "float32, or 0", "Use .softmax(-1), or subtract the largest score of each row before exp.", only=only)
          for only in ((4, 5), (3, 4, 5))],
        Slip(None,
             "right where scores are small, and wrong where those of the real keys are far below 0, near -120",
             "What you give to padding must be less than any score: -inf, and not -100. If you take exp yourself, "
             "subtract the largest score of each row before.", only=(5,)),
        Slip(partial(_attend, scale=lambda q, k, v: 1),
             "the scores are not divided by the square root of D: they grow with D, and the softmax becomes too sharp"),
        Slip(partial(_attend, scale=lambda q, k, v: 1 / q.shape[-1]),
             "you divide the scores by D, and its square root is right"),
        Slip(partial(_attend, scale=lambda q, k, v: q.shape[-1] ** 0.5),
             "you multiply the scores by the square root of D: divide by it"),
        *[Slip(partial(_attend, scale=lambda q, k, v, n=n: n(q, k, v) ** -0.5),
               f"you divide the scores by the square root of {name}: D, the last axis of q and of k, is right")
          for name, n in {"S, the number of keys": lambda q, k, v: k.shape[1],
                          "T, the number of queries": lambda q, k, v: q.shape[1],
                          "E, the length of a value": lambda q, k, v: v.shape[2]}.items()],
        Slip(partial(_attend, axis=1),
             "your softmax goes over the queries (axis 1): each *query* shares out its attention among the keys, so "
             "each row of the weights must sum to 1"),
        Slip(partial(_attend, axis=0),
             "your softmax goes over the examples of the batch (axis 0), which must not know of each other: it belongs "
             "over the keys"),
        Slip(partial(_attend, real=lambda q, k, n: _real(q, k, n + 99)),
             "`length` is not used: your queries look at the padding too"),
        Slip(partial(_attend, fill=0),
             "you set the scores of padding to 0, and exp(0) = 1 still is a share: a score that shall count for "
             "nothing is -inf", "scores.masked_fill(~real, -float('inf'))"),
        Slip(_without_padding,
             "you set padded keys and values to 0, and still they get a share: their score is 0, and exp(0) = 1",
             "Set the scores of padding to -inf before the softmax."),
        Slip(_zeroed,
             "padding gets the weight 0, but only after the softmax, so that the weights of the real keys no longer "
             "sum to 1", "Mask the scores, with -inf, before the softmax."),
        Slip(tuple(partial(_attend, real=lambda q, k, n: ~_real(q, k, n), fill=fill) for fill in FILLS),
             "your mask is the wrong way round: the queries look at the padding alone",
             "Where length says that a key is real, its score stays."),
        Slip(partial(_attend, real=lambda q, k, n: _real(q, k, n + 1)),
             "one key too many: with length = 2, the real keys are 0 and 1, and yours looks at key 2 as well",
             "Replace <= by <."),
        Slip((*(partial(_attend, real=lambda q, k, n: _real(q, k, n - 1), fill=fill) for fill in FILLS),
              lambda q, k, v, n: _attend(q, k, v, n - 1, fill=-1e9) * (n > 1)[:, None, None]),       # by slices
             "the last real key is missing: with length = 2, the real keys are 0 and 1",
             "torch.arange(S) < length, without a minus 1."),
        Slip(tuple(partial(_attend, real=lambda q, k, n, pick=pick: _real(q, k, pick(n).expand_as(n)))
                   for pick in (lambda n: n[0], torch.max, torch.min)),
             "you use one length for all examples: each has its own entry in `length`",
             "length[:, None, None] has shape (B, 1, 1) and meets torch.arange(S)."),
        Slip(partial(_attend, real=lambda q, k, n: _real(q, k, n) & torch.ones(q.shape[1], k.shape[1]).bool().tril()),
             "your mask is causal too: here each query may look ahead as well as back, at all real keys",
             "Leave out the tril(): nothing but `length` says what may be looked at."),
        Slip(tuple(partial(_attend, real=lambda q, k, n: _real(k, q, n).mT, fill=fill) for fill in FILLS),
             "you mask queries (rows of the scores): the padding is among the keys, the columns"),
        Slip(lambda q, k, v, n: _attend(q, k, torch.eye(k.shape[1]).expand(len(q), -1, -1), n),
             "these are the weights: multiply them by the values, weights @ v"),
        Slip(_without_softmax, "there is no softmax: the scores must become shares that are positive and sum to 1"),
        Slip(_scaled_late,
             "you divide by the square root of D after the softmax: it belongs to the scores, before it",
             "softmax(q k^T / sqrt(D)), and not softmax(q k^T) / sqrt(D)"),
        Slip(lambda q, k, v, length: _attend(0 * q, k, v, length),
             "all real keys count the same in your average: their weights must come from q and k"),
        Slip((*(partial(_shared, axes=axes, stable=stable) for axes in ((1, 2), (0, 1, 2)) for stable in (0, 1)),
              partial(_shared, axes=(1, 2), stable=0, sliced=True)),
             "you divide by one sum for all queries: each query has its own, the sum of its row",
             "Sum over the last axis only: .sum(-1, keepdim=True)"),
    ],
    hint="scores (B, T, S) = q @ k.transpose(1, 2) / sqrt(D). real = torch.arange(S) < length[:, None, None] has shape "
         "(B, 1, S). Scores that are not real become -inf; then softmax over the last axis, times v.",
    gradient=("q", "k", "v"), rtol=2e-3, atol=1e-3)                            # large scores are rounded


# --- 2 and 3


def _causal(q, k, v, may=_past, fill=-INF, axis=-1, root=None, late=None):
    """With `late` the future is masked after the softmax, and late(weights) is a repair of that."""
    may = may(q.shape[-2])
    scores = q @ k.mT / (root or q.shape[-1]) ** 0.5
    if late:
        scores = scores if fill else scores.masked_fill(~may, 0)
        return late(scores.softmax(axis).masked_fill(~may, 0)) @ v
    return scores.masked_fill(~may, fill).softmax(axis) @ v


def _causal_slips(fn) -> list[Slip]:
    """The mistakes that can be made in a causal attention, with one head or many; fn takes what _causal takes."""
    return [
        Slip(partial(fn, fill=0),
             "you set the scores of the future to 0, and exp(0) = 1 still is a share: they must be -inf",
             "scores.masked_fill(~past, -float('inf')) before the softmax"),
        Slip(partial(fn, may=_all),
             "there is no causal mask: position t may look at the positions 0 to t only",
             "scores.masked_fill(~torch.ones(T, T, dtype=torch.bool).tril(), -float('inf')) before the softmax"),
        Slip((partial(fn, may=lambda T: _past(T).T), *(partial(fn, may=lambda T: ~_past(T), fill=f) for f in FILLS)),
             "your mask is the wrong way round: position t looks at the *future*",
             "~past must become -inf, where past = torch.ones(T, T, dtype=torch.bool).tril()"),
        Slip(tuple(partial(fn, may=lambda T: _past(T).tril(-1), fill=fill) for fill in FILLS),
             "a position cannot look at itself in yours: t may look at the positions 0 to t, t included",
             ".tril() with the diagonal; torch.triu(..., diagonal=1) is what is forbidden"),
        Slip(partial(fn, may=lambda T: _all(T).tril(1)),
             "your mask reaches one column too far: position t looks at t + 1 as well", ".tril(), and not .tril(1)"),
        Slip(partial(fn, may=_all, late=lambda w: (e := w * _past(w.shape[-1]).float().exp()) / e.sum(-1, True)),
             "you added the mask to the scores as it is: True adds 1 and False adds 0, so the future keeps a share",
             "scores.masked_fill(~past, -float('inf')) before the softmax"),
        Slip(partial(fn, axis=-2),
             "your softmax goes over the queries: each query shares out its attention among the keys, the last axis",
             ".softmax(-1)"),
        Slip(partial(fn, root=1),
             "the scores are not divided by the square root of how many numbers a query has",
             "/ q.shape[-1] ** 0.5 (where there are heads, after q was split)"),
    ]


def _split(h: Tensor, n_head: int) -> Tensor:
    return h.unflatten(-1, (n_head, -1)).transpose(1, 2)                       # (B, n_head, T, d)


def _merge(y: Tensor) -> Tensor:
    return y.transpose(1, 2).flatten(2)


def _cut(h: Tensor, n_head: int) -> Tensor:
    return h.reshape(len(h), n_head, h.shape[1], -1)                           # a wrong way to split


def _glue(y: Tensor) -> Tensor:
    return y.reshape(len(y), y.shape[2], -1)                                   # a wrong way to merge


def _heads(x, w_qkv, w_out, n_head, order=(0, 1, 2), split=_split, merge=_merge, **changes):
    qkv = (x @ w_qkv.T).chunk(3, -1)
    return merge(_causal(*(split(qkv[i], n_head) for i in order), **changes)) @ w_out.T


def _heads_first(x, w_qkv, w_out, n_head):
    return _merge(_causal(*_split(x @ w_qkv.T, n_head).chunk(3, -1))) @ w_out.T


def _sequences(g: torch.Generator) -> list[tuple]:
    sizes = ((1, 2, 2, 2), (3, 5, 6, 2), (2, 4, 6, 3), (1, 3, 4, 1), (2, 7, 8, 4))
    return [(rand(g, B, T, C), rand(g, 3 * C, C) / C**0.5, rand(g, C, C) / C**0.5, n_head) for B, T, C, n_head in sizes]


multi_head = Implementation(
    "multi_head",
    right=lambda x, w_qkv, w_out, n_head: _heads(x, w_qkv, w_out, n_head),
    cases=_sequences,
    slips=[
        Slip(tuple(partial(_heads, split=lambda h, n: h.unflatten(-1, (n, -1)), merge=lambda y: y.flatten(2), may=may)
                   for may in (_past, _all)),
             "your heads look at each other, and not the positions: the axis of the positions must stand behind that "
             "of the heads, (B, n_head, T, d), before q meets k"),
        Slip(partial(_heads, split=_cut, merge=_glue),
             "view cannot swap axes: cutting (B, T, C) straight into (B, n_head, T, d) gives each head pieces of other "
             "positions, and gluing them the same way hides it",
             "Split with .view(B, T, n_head, d).transpose(1, 2), and merge with .transpose(1, 2).reshape(B, T, C)."),
        Slip(partial(_heads, split=_cut),
             "your split is wrong: cutting (B, T, C) straight into (B, n_head, T, d) gives each head pieces of other "
             "positions"),
        Slip(partial(_heads, merge=_glue),
             "the heads are right and your merge is wrong: reshaping (B, n_head, T, d) straight into (B, T, C) mixes "
             "positions"),
        Slip(partial(_heads, split=lambda h, n: h.unflatten(-1, (-1, n)).permute(0, 3, 1, 2)),
             "your heads own every n_head-th number: head h owns d numbers that stand side by side"),
        Slip(partial(_heads, merge=lambda y: y.permute(0, 2, 3, 1).flatten(2)),
             "your merge shuffles the numbers of the heads: first all d numbers of head 0, then those of head 1"),
        Slip(_heads_first,
             "you split the 3C numbers into heads before you split them into q, k, v: the first C rows of w_qkv belong "
             "to the queries of all heads"),
        Slip(lambda x, w, o, n: _heads(x, w, o, 1), "n_head is not used: this is one head with all C numbers"),
        Slip(tuple(partial(_heads, order=order) for order in ((0, 2, 1), (1, 0, 2), (1, 2, 0), (2, 0, 1), (2, 1, 0))),
             "queries, keys and values are mixed up: the rows of w_qkv make the queries first, then the keys, then the "
             "values"),
        *_causal_slips(_heads),
        *[Slip(lambda x, w, o, n, root=root: _heads(x, w, o, n, root=root(x, n)),
               f"you divide the scores by the square root of {name}: a head compares d = C / n_head numbers",
               "/ q.shape[-1] ** 0.5, after q was split into heads")
          for name, root in {"C": lambda x, n: x.shape[-1], "n_head": lambda x, n: n}.items()],
        Slip(partial(_heads, axis=1),
             "your softmax goes over the heads, and they do not compete: it belongs over the keys, the last axis"),
        Slip(lambda x, w, o, n: _heads(x, w, torch.eye(len(o)), n),
             "w_out is not used: what the heads found, side by side, still is to be multiplied by it"),
        Slip(lambda x, w, o, n: _heads(x, w, o.T, n),
             "w_out is the wrong way round: as in nn.Linear, each *row* makes one number of the output"),
        Slip(lambda x, w, o, n: x + _heads(x, w, o, n),
             "you added x: that belongs to the block around it, and was not asked for", "Return y @ w_out.T alone."),
    ],
    hint="q, k, v = (x @ w_qkv.T).chunk(3, dim=-1); each .view(B, T, n_head, d).transpose(1, 2) to (B, n_head, T, d). "
         "Scores (B, n_head, T, T) / sqrt(d), -inf above the diagonal, softmax(-1), @ v. Then .transpose(1, 2)"
         ".reshape(B, T, C) @ w_out.T.",
    gradient=("x", "w_qkv", "w_out"), rtol=1e-3, atol=1e-4)


causal_attention = Implementation(
    "causal_attention",
    right=_causal,
    cases=lambda g: [tuple(rand(g, *size) for _ in "qkv") for size in ((1, 2, 2), (3, 4, 3), (2, 6, 5), (1, 5, 1))],
    slips=[
        Slip(partial(_causal, late=lambda w: w),
             "the bug is still there: add up the weights in a row",
             "By what has the softmax divided? Its sum knows the scores of the future."),
        Slip(partial(_causal, late=lambda w: w, axis=-2),
             "the softmax goes over the queries now, and the mask still comes after it: the softmax over the keys was "
             "right", "Look at the order of the softmax and the mask."),
        Slip(tuple(partial(_causal, late=lambda w: w, may=may)
                   for may in (lambda T: _past(T).T, lambda T: ~_past(T), lambda T: _past(T).tril(-1))),
             "you have changed the mask, which was right: the bug is not in what is masked",
             "Look at the order of the softmax and the mask."),
        Slip(partial(_causal, late=lambda w: w, fill=0),
             "the scores of the future are 0 now, and still part of the sum in the softmax: they must be -inf",
             "scores.masked_fill(~past, -math.inf)"),
        Slip(partial(_causal, late=lambda w: w / w.sum(-2, keepdim=True)),
             "you divide by the sums of the columns: each query (row) shares out its attention, and these sums hold "
             "queries of the future",
             "Divide by .sum(-1, keepdim=True), or mask the scores with -inf before the softmax."),
        Slip(partial(_causal, late=lambda w: w.masked_fill(w == 0, -INF)),
             "you set *weights* to -inf, after the softmax: the scores are what must be -inf, before it",
             "Mask scores, not weights."),
        Slip(partial(_causal, late=lambda w: w / w.sum(-1)),
             "dividing by the sums of the rows is right, but without keepdim=True they meet the columns",
             "weights / weights.sum(-1, keepdim=True)"),
        Slip(tuple(partial(_causal, late=late) for late in (
                lambda w: w.softmax(-1), lambda w: w.masked_fill(w == 0, -INF).softmax(-1))),
             "one softmax too many: a second one, of the weights, makes them nearly equal, and gives masked ones a "
             "share again unless they are -inf", "Mask the scores with -inf, and take one softmax, after that."),
        Slip(tuple(partial(_causal, late=lambda w, many=many: w * many(w) / torch.arange(1, 1 + w.shape[1])[:, None])
                   for many in (lambda w: 1, lambda w: w.shape[1])),
             "you divide by how many positions may be looked at: the softmax has divided by its own sum, with the "
             "future in it", "Mask the scores with -inf before the softmax."),
        *_causal_slips(_causal),
    ],
    hint="The code was right but for one line. Take T = 2 and compute the output at position 0 by hand: which of the "
         "numbers you used came from position 1?",
    gradient=("q", "k", "v"), rtol=1e-3, atol=1e-4)


# --- 4


def _slopes(g: torch.Generator) -> list[tuple]:
    """The last one has a slope of 0."""
    return [*((0.1 + torch.rand(H, generator=g), T) for H, T in ((1, 2), (3, 5), (2, 7), (4, 4), (2, 1))),
            (torch.tensor([0.5, 0.0]) * (1 + torch.rand(2, generator=g)), 3)]


def _run_bias(fn, slopes, T):
    bias = fn(slopes, T)
    if isinstance(bias, Tensor):
        bias = conform("distance_bias", bias, slopes)[""]
        bias = bias.masked_fill(bias <= -1e3, -INF)                            # as good as -inf, for a softmax
    return {"": bias}


def _unmasked(slopes, T):
    return -slopes[:, None, None] * (torch.arange(T)[:, None] - torch.arange(T))


def _bias(slopes, T, future=-INF, distance=lambda t, s: t - s):
    t = torch.arange(T)
    return (-slopes[:, None, None] * distance(t[:, None], t)).masked_fill(~_past(T), future)


distance_bias = Implementation(
    "distance_bias",
    right=_bias,
    run=_run_bias,
    cases=_slopes,
    slips=[
        Slip(lambda slopes, T: -slopes[:, None, None] * -_bias(torch.ones(1), T),
             "right for positive slopes, and nan for a slope of 0: 0 times infinity is nan",
             "Multiply the distances by the slopes first, and then set the future to -inf."),
        Slip(None,
             "right for positive slopes, and wrong for a slope of 0: is the sign of the bias what you mask by?",
             "What is masked depends on t and s alone.", only=(5,)),
        Slip((lambda slopes, T: _unmasked(slopes, T).masked_fill(~_past(T).T, -INF),
              lambda slopes, T: _unmasked(slopes, T).masked_fill(_past(T), -INF)),
             "your mask is the wrong way round: the *past* is -inf in yours, and the future is not"),
        Slip(lambda slopes, T: _bias(slopes, T, 0) + torch.ones(T, T).triu(1) * -INF,
             "nan in place of all that is past: 0 times infinity is nan, so a mask cannot be multiplied by infinity"),
        Slip(partial(_bias, distance=lambda t, s: s - t),
             "the sign is wrong: a far key must *lose* score, so the bias is 0 on the diagonal and negative to its "
             "left"),
        Slip(lambda slopes, T: _bias(slopes, T).mT,
             "rows and columns are swapped, so that each query looks at the future: row t belongs to the query"),
        Slip(partial(_bias, future=0), "the future has the score 0, which still is a share after exp: it must be -inf"),
        Slip((_unmasked, lambda slopes, T: -_unmasked(slopes, T).abs()),
             "the future is not masked: keys with s > t must have the bias -inf"),
        Slip(partial(_bias, future=INF), "the future has +inf, and is all that will be looked at: it must be -inf"),
        Slip(lambda slopes, T: _bias(slopes, T).masked_fill(torch.eye(T, dtype=torch.bool), -INF),
             "the diagonal is -inf: a query may look at its own position, at distance 0",
             ".tril() with the diagonal; torch.triu(..., diagonal=1) is what is forbidden"),
        Slip(partial(_bias, distance=lambda t, s: t - s + 1),
             "the distance of a position to itself is 0, and yours is 1"),
        Slip(partial(_bias, distance=lambda t, s: s + 0 * t),
             "your penalty grows from the start of the sequence: the distance is that between query and key, t - s"),
        Slip(partial(_bias, distance=lambda t, s: (t - s) ** 2),
             "you squared the distance: the penalty is linear in it"),
        Slip(lambda slopes, T: _bias(slopes[:1].expand_as(slopes), T),
             "all your heads have the first slope: each has its own"),
        Slip(lambda slopes, T: _bias(torch.ones_like(slopes), T), "the slopes are not used: each head has its own"),
        Slip(lambda slopes, T: _bias(slopes.flip(0), T), "the heads are in the wrong order: head h has slopes[h]"),
    ],
    hint="t = torch.arange(T); t[:, None] - t[None, :] is query minus key, (T, T). Times -slopes[:, None, None] it is "
         "(H, T, T). Then set what lies above the diagonal to -inf.")


# --- 5


@functools.cache
def _keys(scale: float = 1.0, how: str = "exp of each") -> float:
    """The mean, over random queries, of the effective number of 100 random keys of 64 numbers."""
    g, found = torch.Generator().manual_seed(0), []
    for _ in range(60):
        weights = (rand(g, 1000, 64) @ rand(g, 64, 100) * scale).softmax(1)
        H = torch.special.entr(weights).sum(1)
        found.append({"exp of each": H.exp(), "exp of mean": H, "minus": -(-H).exp(), "nats": H,
                      "bits": H / math.log(2), "exp of bits": (H / math.log(2)).exp(), "2": 2**H,
                      "squares": 1 / weights.square().sum(1),
                      "largest": weights.amax(1)}[how].mean())
    mean = torch.stack(found).mean().item()
    return math.exp(mean) if how == "exp of mean" else mean


keys_seen = Measurement(
    "keys_seen",
    truth=_keys,
    tolerance=0.04,
    slips=[
        Slip(lambda: _keys(1 / 8), "this is what queries see *with* the division by sqrt(D): leave it out"),
        Slip(lambda: _keys(1 / 64), "here the scores were divided by D: leave out the division"),
        Slip(lambda: 1.1,
             "your softmax goes over the queries (or the scores are multiplied by sqrt(D)): each query shares out its "
             "attention among the keys"),
        Slip(lambda: _keys(how="minus"),
             "the minus has come too late: it belongs to the entropy, inside exp",
             "(-(weights * weights.log()).sum(1)).exp().mean()"),
        Slip(lambda: _keys(how="exp of mean"),
             "you took the exp of the mean entropy: the mean of the exp of each query's entropy is asked for"),
        Slip(lambda: _keys(how="nats"), "this is the entropy itself: the number of keys is its exp"),
        Slip(lambda: _keys(how="bits"), "this is the entropy in bits: take it in nats, and then exp"),
        Slip(lambda: _keys(how="exp of bits"),
             "you took the exp of an entropy in bits: exp belongs to nats, the entropy with the natural logarithm"),
        Slip(lambda: _keys(how="2"), "you raised 2 to an entropy in nats: exp belongs to nats, 2 to the power to bits"),
        Slip(lambda: _keys(how="squares"),
             "this is one over the sum of the squared weights, another count of keys: the exp of the entropy is "
             "asked for"),
        Slip(lambda: _keys(how="largest"), "this is the largest weight of a query, and a number of keys is asked for"),
        Slip(lambda: 100.0, "100 is all of the keys: is your softmax over the queries, or are your scores all alike?"),
    ],
    hint="q = torch.randn(1000, 64), k = torch.randn(100, 64), weights = (q @ k.T).softmax(1), and each row sums to 1. "
         "entropy = torch.special.entr(weights).sum(1). Its exp, and then the mean; over some ten draws.")
