"""The checks of exercise 51: attention with padding, heads, a leak, a bias for distance, a measurement."""

import functools
import math
from functools import partial

import torch
from torch import Tensor

from course_lib.checks import Implementation, Measurement, conform, rand

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


def _attend(q, k, v, length, root=lambda q, k, v: q.shape[-1], real=_real, fill=-INF,
            weigh=lambda s, real, fill: s.masked_fill(~real, fill).softmax(-1)) -> Tensor:
    return weigh(q @ k.mT / root(q, k, v) ** 0.5, real(q, k, length), fill) @ v


def _shared(axes: tuple, stable: int, sliced: bool = False) -> dict:
    """One sum for all queries. Padding that is cut off is never 0 / 0."""
    def weigh(s, real, _):
        s = s.masked_fill(~real, -INF)
        e = (s - stable * s.amax(axes, keepdim=True)).exp()
        weights = e / e.sum(axes, keepdim=True)
        return weights.masked_fill(~real, 0) if sliced else weights
    return dict(weigh=weigh)


attention = Implementation(
    "attention",
    right=_attend,
    cases=_padded,
    slips=[
        ("right where scores are small, and wrong where *padding* has a large score: you mask too late, after the "
         "softmax or the exp has been taken over all keys", {3},
         "How large is the share of padding before you set it to 0? What is left for the others in float32?"),
        ("right where scores are small, and wrong where they are beyond 100 or -100: there exp is infinite in "
         "float32, or 0", {4, 5}, {3, 4, 5},
         "A softmax stays the same when one number is taken from all scores of a row."),
        ("right where scores are small, and wrong where those of the real keys are far below 0, near -120", {5},
         "What you give to padding must be less than any score can be. And what is exp of -120 in float32?"),
        ("the scores are to be divided by the square root of D, the last axis of q and of k: {}",
         ("yours are not, they grow with D, and the softmax becomes too sharp", dict(root=lambda q, k, v: 1)),
         ("you divide by D", dict(root=lambda q, k, v: q.shape[-1] ** 2)),
         ("you multiply by it", dict(root=lambda q, k, v: 1 / q.shape[-1])),
         ("you take S, the number of keys", dict(root=lambda q, k, v: k.shape[1])),
         ("you take T, the number of queries", dict(root=lambda q, k, v: q.shape[1])),
         ("you take E, the length of a value", dict(root=lambda q, k, v: v.shape[2])),
         ("you divide after the softmax", lambda *case: _attend(*case, lambda *_: 1) / case[0].shape[-1] ** 0.5)),
        ("your softmax goes over {}: each *query* shares out its attention among the keys, so each row of the weights "
         "must sum to 1",
         *((where, dict(weigh=lambda s, real, fill, axis=axis: s.masked_fill(~real, fill).softmax(axis)))
           for axis, where in enumerate(("the examples of the batch (axis 0)", "the queries (axis 1)"))),
         ("queries and keys, with one sum for all", _shared((1, 2), 0, True),
          *(_shared(axes, stable) for axes in ((1, 2), (0, 1, 2)) for stable in (0, 1)))),
        ("padding still gets a share: {}. A score that shall count for nothing is -inf",
         ("you set its scores to 0, and exp(0) = 1", dict(fill=0)),
         ("`length` is not used", dict(real=lambda q, k, n: _real(q, k, n + 99))),
         ("you set padded keys and values to 0, so that their scores are 0, and exp(0) = 1",
          lambda q, k, v, n: _attend(q, k * _real(q, k, n).mT, v * _real(q, k, n).mT, n + 99))),
        ("padding gets the weight 0, but only after the softmax, so that the weights of the real keys no longer sum to "
         "1", dict(weigh=lambda s, real, _: s.softmax(-1).masked_fill(~real, 0))),
        ("your mask is the wrong way round: the queries look at the padding alone",
         *(dict(real=lambda q, k, n: ~_real(q, k, n), fill=fill) for fill in FILLS)),
        ("{}: with length = 2, the real keys are 0 and 1",
         ("one key too many", dict(real=lambda q, k, n: _real(q, k, n + 1))),
         ("the last real key is missing", *(dict(real=lambda q, k, n: _real(q, k, n - 1), fill=f) for f in FILLS),
          lambda q, k, v, n: _attend(q, k, v, n - 1, fill=-1e9) * (n > 1)[:, None, None])),          # by slices
        ("you use one length for all examples: each has its own entry in `length`",
         *(dict(real=lambda q, k, n, pick=pick: _real(q, k, pick(n).expand_as(n)))
           for pick in (lambda n: n[0], torch.max, torch.min))),
        ("what is to be hidden are the padded keys, the columns of the scores: {}",
         ("you mask queries, its rows", *(dict(real=lambda q, k, n: _real(k, q, n).mT, fill=f) for f in FILLS)),
         ("your mask is causal too, and here a query may look ahead as well as back",
          dict(real=lambda q, k, n: _real(q, k, n) & _all(99).tril()[:q.shape[1], :k.shape[1]]))),
        ("the output is an average of the values, with the softmax of the scores as weights: {}",
         ("you return the weights", lambda q, k, v, n: _attend(q, k, torch.eye(k.shape[1]).expand(len(q), -1, -1), n)),
         ("there is no softmax", dict(weigh=lambda s, real, _: s.masked_fill(~real, 0))),
         ("in yours all real keys count the same", lambda q, k, v, n: _attend(0 * q, k, v, n))),
    ],
    hints=("Print the weights of the first example, a row for a query: does each row sum to 1? Where are its zeros?",
           "The scores have the shape (B, T, S): every query with every key, divided by the root of D. A key is real "
           "where its index is less than its example's length. The scores of all others become minus infinity; then "
           "comes the softmax over the last axis, and the weights multiply the values.",
           "scores = q @ k.transpose(1, 2) / q.shape[-1] ** 0.5\n"
           "real = torch.arange(k.shape[1]) < length[:, None, None]\n"
           "scores.masked_fill(~real, -float('inf')).softmax(-1) @ v"),
    gradient=("q", "k", "v"), rtol=2e-3, atol=1e-3)                            # large scores are rounded


# --- 2 and 3


def _causal(q, k, v, may=_past, fill=-INF, axis=-1, root=None, late=None) -> Tensor:
    """With `late` the future is masked after the softmax, and late(weights) is a repair of that."""
    may = may(q.shape[-2])
    scores = q @ k.mT / (root or q.shape[-1]) ** 0.5
    if late:
        scores = scores if fill else scores.masked_fill(~may, 0)
        return late(scores.softmax(axis).masked_fill(~may, 0)) @ v
    return scores.masked_fill(~may, fill).softmax(axis) @ v


CAUSAL_SLIPS = [                                 # that can be made with one head or many
    ("the future keeps a share, as {}: its scores must be -inf, so that position t looks at the positions 0 to t only",
     ("you set its scores to 0, and exp(0) = 1", dict(fill=0)), ("there is no causal mask", dict(may=_all)),
     ("you added the mask to the scores as it is, True for 1 and False for 0",
      dict(may=_all, late=lambda w: (e := w * _past(w.shape[-1]).float().exp()) / e.sum(-1, True)))),
    ("your mask is the wrong way round: position t looks at the *future*", dict(may=lambda T: _past(T).T),
     *(dict(may=lambda T: ~_past(T), fill=fill) for fill in FILLS)),
    ("your mask is one column off, and {}: t may look at the positions 0 to t",
     ("position t looks at t + 1 as well", dict(may=lambda T: _all(T).tril(1))),
     ("a position cannot look at itself", *(dict(may=lambda T: _all(T).tril(-1), fill=fill) for fill in FILLS))),
]


def _split(h: Tensor, n_head: int) -> Tensor:
    return h.unflatten(-1, (n_head, -1)).transpose(1, 2)                       # (B, n_head, T, d)


def _merge(y: Tensor) -> Tensor:
    return y.transpose(1, 2).flatten(2)


def _cut(h: Tensor, n_head: int) -> Tensor:
    return h.reshape(len(h), n_head, h.shape[1], -1)                           # a wrong way to split


def _glue(y: Tensor) -> Tensor:
    return y.reshape(len(y), y.shape[2], -1)                                   # a wrong way to merge


def _heads(x, w_qkv, w_out, n_head, order=(0, 1, 2), split=_split, merge=_merge, root=lambda d, n: d, **changes):
    q, k, v = (split((x @ w_qkv.T).chunk(3, -1)[i], n_head) for i in order)
    return merge(_causal(q, k, v, root=root(q.shape[-1], n_head), **changes)) @ w_out.T


def _heads_first(x, w_qkv, w_out, n_head):
    return _merge(_causal(*_split(x @ w_qkv.T, n_head).chunk(3, -1))) @ w_out.T


def _sequences(g: torch.Generator) -> list[tuple]:
    sizes = ((1, 2, 2, 2), (3, 5, 6, 2), (2, 4, 6, 3), (1, 3, 4, 1), (2, 7, 8, 4))
    return [(rand(g, B, T, C), rand(g, 3 * C, C) / C**0.5, rand(g, C, C) / C**0.5, n_head) for B, T, C, n_head in sizes]


multi_head = Implementation(
    "multi_head",
    right=lambda x, w_qkv, w_out, n_head: _heads(x, w_qkv, w_out, n_head),
    knobs=partial(partial, _heads),
    cases=_sequences,
    slips=[
        ("your heads look at each other, and not the positions: the axis of the positions must stand behind that of "
         "the heads, (B, n_head, T, d), before q meets k",
         *(dict(split=lambda h, n: h.unflatten(-1, (n, -1)), merge=lambda y: y.flatten(2), may=may)
           for may in (_past, _all))),
        ("view cannot swap axes: cutting (B, T, C) straight into (B, n_head, T, d) gives each head pieces of other "
         "positions, and gluing them the same way hides it", dict(split=_cut, merge=_glue)),
        ("your split is wrong: head h owns d numbers of each position that stand side by side",
         dict(split=_cut), dict(split=lambda h, n: h.unflatten(-1, (-1, n)).permute(0, 3, 1, 2)), _heads_first,
         "Who owns the first C rows of w_qkv, and which of them belong to head 0? A view cannot swap axes."),
        ("the heads are right and your merge is wrong: for each position first all d numbers of head 0, then those of "
         "head 1", dict(merge=_glue), dict(merge=lambda y: y.permute(0, 2, 3, 1).flatten(2))),
        ("n_head is not used: this is one head with all C numbers", lambda x, w, o, n: _heads(x, w, o, 1)),
        ("queries, keys and values are mixed up: the rows of w_qkv make the queries first, then the keys, then the "
         "values", *(dict(order=order) for order in ((0, 2, 1), (1, 0, 2), (1, 2, 0), (2, 0, 1), (2, 1, 0)))),
        *CAUSAL_SLIPS,
        ("your softmax goes over the {}: each query shares out its attention among the keys, the last axis",
         ("queries", dict(axis=-2)), ("heads", dict(axis=1))),
        ("the scores are to be divided by the square root of d = C / n_head, how many numbers a head compares: {}",
         ("yours are not", dict(root=lambda d, n: 1)), ("you take C", dict(root=lambda d, n: d * n)),
         ("you take n_head", dict(root=lambda d, n: n))),
        ("behind the heads comes one product with w_out, and nothing else: {}",
         ("in yours it is not used", lambda x, w, o, n: _heads(x, w, torch.eye(len(o)), n)),
         ("yours is the wrong way round. As in nn.Linear, each *row* makes one number of the output",
          lambda x, w, o, n: _heads(x, w, o.T, n)),
         ("you added x, which belongs to the block around it", lambda x, w, o, n: x + _heads(x, w, o, n))),
    ],
    hints=("Take a single head first: is it right with n_head = 1? Then write down the shape after each line.",
           "Split x times w_qkv into queries, keys and values; cut each into heads and bring the heads before the "
           "positions, (B, n_head, T, d). Scores (B, n_head, T, T) over the root of d, the future at minus infinity, "
           "softmax, times the values. Then the way back to (B, T, C), and w_out.",
           "q, k, v = (h.view(B, T, n_head, d).transpose(1, 2) for h in (x @ w_qkv.T).chunk(3, dim=-1))\n"
           "future = torch.ones(T, T, dtype=torch.bool).triu(1)\n"
           "y = (q @ k.mT / d ** 0.5).masked_fill(future, -float('inf')).softmax(-1) @ v\n"
           "y.transpose(1, 2).reshape(B, T, C) @ w_out.T"),
    gradient=("x", "w_qkv", "w_out"), rtol=1e-3, atol=1e-4)


causal_attention = Implementation(
    "causal_attention",
    right=_causal,
    cases=lambda g: [tuple(rand(g, *size) for _ in "qkv") for size in ((1, 2, 2), (3, 4, 3), (2, 6, 5), (1, 5, 1))],
    slips=[
        ("the bug is still there: add up the weights in a row", dict(late=lambda w: w),
         "By what has the softmax divided? Its sum knows the scores of the future."),
        ("the softmax goes over the queries now, and over the keys it was right: look at the order of the softmax and "
         "the mask", dict(late=lambda w: w, axis=-2), dict(axis=-2)),
        ("you have changed the mask, which was right: look at the order of the softmax and the mask",
         *(dict(late=lambda w: w, may=may) for may in (
             lambda T: _past(T).T, lambda T: ~_past(T), lambda T: _past(T).tril(-1)))),
        ("the scores of the future are 0 now, and still part of the sum in the softmax: they must be -inf",
         dict(late=lambda w: w, fill=0)),
        ("each query (row) must share out its attention, all of it: you divide by {}",
         ("the sums of the columns", dict(late=lambda w: w / w.sum(-2, keepdim=True))),
         ("the sums of the rows, but without keepdim=True they meet the columns", dict(late=lambda w: w / w.sum(-1))),
         ("how many positions may be looked at, and the softmax has divided already",
          *(dict(late=lambda w, many=many: w * many(w) / torch.arange(1, 1 + w.shape[1])[:, None])
            for many in (lambda w: 1, lambda w: w.shape[1])))),
        ("you set *weights* to -inf, after the softmax: the scores are what must be -inf, before it",
         dict(late=lambda w: w.masked_fill(w == 0, -INF))),
        ("one softmax too many: a second one, of the weights, makes them nearly equal, and gives masked ones a share "
         "again unless they are -inf",
         dict(late=lambda w: w.softmax(-1)), dict(late=lambda w: w.masked_fill(w == 0, -INF).softmax(-1))),
        ("the division by the square root of D was right: now it is missing", dict(root=1)),
        *CAUSAL_SLIPS,
    ],
    hints=("The code was right but for one line. Take T = 2 and compute the output at position 0 by hand: which of the "
           "numbers you used came from position 1?",
           "The softmax divides by a sum over all keys, the future with them. So the future must be gone before: its "
           "scores at minus infinity, and then the softmax.",
           "weights = scores.masked_fill(~past, -math.inf).softmax(-1)"),
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


def _bias(slopes, T, future=-INF, past=_past, distance=lambda t, s: t - s):
    t = torch.arange(T)
    return (-slopes[:, None, None] * distance(t[:, None], t)).masked_fill(~past(T), future)


distance_bias = Implementation(
    "distance_bias",
    right=_bias,
    run=_run_bias,
    cases=_slopes,
    slips=[
        ("right for positive slopes, and wrong (or nan, as 0 times infinity) for a slope of 0: what is masked depends "
         "on t and s alone", {5}, lambda slopes, T: slopes[:, None, None] * _bias(torch.ones(1), T)),
        ("your mask is the wrong way round: the *past* is -inf in yours, and the future is not",
         dict(past=lambda T: _past(T).T), dict(past=lambda T: ~_past(T))),
        ("nan in place of all that is past: 0 times infinity is nan, so a mask cannot be multiplied by infinity",
         lambda slopes, T: _bias(slopes, T, 0) + torch.ones(T, T).triu(1) * -INF),
        ("the sign is wrong: a far key must *lose* score, so the bias is 0 on the diagonal and negative to its left",
         dict(distance=lambda t, s: s - t)),
        ("rows and columns are swapped, so that each query looks at the future: row t belongs to the query",
         lambda slopes, T: _bias(slopes, T).mT),
        ("the future must have the bias -inf: {}", ("yours is 0, which still is a share after exp", dict(future=0)),
         ("yours is +inf, and all that will be looked at", dict(future=INF)),
         ("yours is not masked", dict(past=_all), dict(past=_all, distance=lambda t, s: (t - s).abs()))),
        ("the diagonal is -inf: a query may look at its own position, at distance 0",
         dict(past=lambda T: _past(T).tril(-1))),
        ("the distance is that between query and key, t - s, as it is: {}",
         ("that of a position to itself is 0, and yours is 1", dict(distance=lambda t, s: t - s + 1)),
         ("yours grows from the start of the sequence", dict(distance=lambda t, s: s + 0 * t)),
         ("you squared it", dict(distance=lambda t, s: (t - s) ** 2))),
        ("each head has its own slope: {}",
         ("all of yours have the first", lambda slopes, T: _bias(slopes[:1].expand_as(slopes), T)),
         ("in yours they are not used", lambda slopes, T: _bias(torch.ones_like(slopes), T)),
         ("yours are in the wrong order, and head h has slopes[h]", lambda slopes, T: _bias(slopes.flip(0), T))),
    ],
    hints=("Write down the table for T = 3 and a slope of 1 by hand: a row for a query, a column for a key.",
           "The distance is the query's index, a column, minus the key's, a row: (T, T). Multiply it by minus the "
           "slope of each head, (H, T, T). Then what lies above the diagonal becomes minus infinity.",
           "t = torch.arange(T)\n"
           "bias = -slopes[:, None, None] * (t[:, None] - t)\n"
           "bias.masked_fill(torch.ones(T, T, dtype=torch.bool).triu(1), -float('inf'))"))


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
        ("this is what queries see *with* the division by sqrt(D): leave it out", dict(scale=1 / 8)),
        ("100 is (nearly) all of the keys: are the scores divided by D, or all alike, or is your softmax over the "
         "queries?", dict(scale=1 / 64), 100.0),
        ("your softmax goes over the queries (or the scores are multiplied by sqrt(D)): each query shares out its "
         "attention among the keys", 1.1),
        ("the minus has come too late: it belongs to the entropy, inside exp", dict(how="minus")),
        ("you took the exp of the mean entropy: the mean of the exp of each query's entropy is asked for",
         dict(how="exp of mean")),
        ("this is the entropy itself, in nats or in bits: the number of keys is the exp of the entropy in nats",
         dict(how="nats"), dict(how="bits")),
        ("you took the exp of an entropy in bits: exp belongs to nats, the entropy with the natural logarithm",
         dict(how="exp of bits")),
        ("you raised 2 to an entropy in nats: exp belongs to nats, 2 to the power to bits", dict(how="2")),
        ("this is one over the sum of the squared weights, another count of keys: the exp of the entropy is asked for",
         dict(how="squares")),
        ("this is the largest weight of a query, and a number of keys is asked for", dict(how="largest")),
    ],
    hints=("Print one row of your weights: does it sum to 1, and how many of its entries can be seen with two digits?",
           "Draw queries and keys, and take the softmax of their products over the keys. The entropy of each row, in "
           "nats; its exp; and only then the mean over the queries, over some ten draws.",
           "weights = (torch.randn(1000, 64) @ torch.randn(64, 100)).softmax(1)\n"
           "torch.special.entr(weights).sum(1).exp().mean()"))
