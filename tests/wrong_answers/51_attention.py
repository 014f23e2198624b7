import math

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from course_lib.checks import attention as check
from wrong_answers import right, wrong

# --- 1


@right(check.attention)
def _(q, k, v, length):
    rows = []
    for b in range(len(q)):
        n = int(length[b])
        rows.append(F.softmax(q[b] @ k[b, :n].T / k.shape[-1] ** 0.5, dim=1) @ v[b, :n])
    return torch.stack(rows)


@right(check.attention)
def _(q, k, v, length):
    mask = torch.arange(k.size(1))[None, None, :] < length[:, None, None]
    return F.scaled_dot_product_attention(q, k, v, attn_mask=mask)


@right(check.attention)
def _(q, k, v, length):
    scores = torch.einsum("btd,bsd->bts", q / math.sqrt(q.shape[-1]), k)
    scores = scores + -1e9 * (torch.arange(k.shape[1]) >= length[:, None])[:, None].float()
    e = torch.exp(scores - scores.max(-1, keepdim=True).values)
    return torch.einsum("bts,bse->bte", e / e.sum(-1, keepdim=True), v)


@right(check.attention)
def _(q, k, v, length):
    scores = q @ k.permute(0, 2, 1) / q.size(2) ** 0.5
    for b in range(len(length)):
        scores[b, :, length[b]:] = float("-inf")
    return torch.softmax(scores, -1) @ v


@right(check.attention)
def _(q, k, v, length):                            # one query after the other, in double precision
    out = torch.zeros(q.shape[0], q.shape[1], v.shape[2], dtype=torch.float64)
    for b in range(q.shape[0]):
        for t in range(q.shape[1]):
            s = torch.stack([(q[b, t] * k[b, i]).sum() for i in range(length[b])]).double() / q.shape[2] ** 0.5
            out[b, t] = (s.softmax(0)[:, None] * v[b, :length[b]]).sum(0)
    return out


def attend(scale=lambda q, k, v: q.shape[-1] ** 0.5, hide=lambda s, pad: s.masked_fill(pad, float("-inf")), dim=-1,
           pad=lambda s, n: (torch.arange(s.shape[-1]) >= n[:, None])[:, None, :]):
    """As a learner writes it, with one thing changed."""
    def answer(q, k, v, length):
        scores = torch.bmm(q, k.transpose(1, 2)) / scale(q, k, v)
        scores = hide(scores, pad(scores, length).expand_as(scores))
        return torch.bmm(F.softmax(scores, dim=dim), v)
    return answer


wrong(check.attention, "not divided by the square root of D")(attend(lambda q, k, v: 1))
wrong(check.attention, "its square root is right")(attend(lambda q, k, v: q.shape[-1]))
wrong(check.attention, "multiply the scores by the square root")(attend(lambda q, k, v: q.shape[-1] ** -0.5))
wrong(check.attention, "square root of S,")(attend(lambda q, k, v: math.sqrt(k.size(1))))
wrong(check.attention, "square root of T,")(attend(lambda q, k, v: math.sqrt(q.size(-2))))
wrong(check.attention, "square root of E,")(attend(lambda q, k, v: math.sqrt(v.size(-1))))
wrong(check.attention, "over the queries (axis 1)")(attend(dim=1))
wrong(check.attention, "over the examples of the batch")(attend(dim=0))
wrong(check.attention, "`length` is not used")(attend(hide=lambda s, pad: s))
wrong(check.attention, "`length` is not used")(lambda q, k, v, length: F.scaled_dot_product_attention(q, k, v))
wrong(check.attention, "set the scores of padding to 0")(attend(hide=lambda s, pad: s.masked_fill(pad, 0)))
wrong(check.attention, "set the scores of padding to 0")(attend(hide=lambda s, pad: s * ~pad))
wrong(check.attention, "look at the padding alone")(attend(hide=lambda s, pad: s.masked_fill(~pad, -math.inf)))
wrong(check.attention, "look at the padding alone")(attend(hide=lambda s, pad: s + ~pad * -1e9))
wrong(check.attention, "nan comes from")(attend(hide=lambda s, pad: s + pad * float("-inf")))
wrong(check.attention, "one key too many")(attend(pad=lambda s, n: torch.arange(s.shape[-1]) > n[:, None, None]))
wrong(check.attention, "last real key is missing")(
    attend(pad=lambda s, n: torch.arange(s.shape[-1]) >= n[:, None, None] - 1))
wrong(check.attention, "may look ahead as well as back")(attend(pad=lambda s, n: (
    torch.arange(s.shape[-1]) >= n[:, None, None]) | torch.ones(s.shape[1:]).bool().triu(1)))
wrong(check.attention, "far below 0")(attend(hide=lambda s, pad: s.masked_fill(pad, -100)))
wrong(check.attention, "one length for all examples")(attend(pad=lambda s, n: torch.arange(s.shape[-1]) >= n[0]))
wrong(check.attention, "one length for all examples")(attend(pad=lambda s, n: torch.arange(s.shape[-1]) >= n.max()))
wrong(check.attention, "you mask queries")(
    attend(pad=lambda s, n: (torch.arange(s.shape[1]) >= n[:, None])[:, :, None]))


@wrong(check.attention, "modified by an inplace operation")
def _(q, k, v, length):
    w = (q @ k.mT / q.shape[-1] ** 0.5).softmax(dim=2)
    for b, n in enumerate(length):
        w[b, :, n:] = 0
    return w @ v


wrong(check.attention, "in line")(lambda q, k, v, length: q @ k / q.shape[-1] ** 0.5 @ v)


@wrong(check.attention, "padding gets the weight 0, but only after")
def _(q, k, v, length):
    v = v * (torch.arange(v.shape[1]) < length[:, None])[..., None]
    return F.scaled_dot_product_attention(q, k, v)


@wrong(check.attention, "padded keys and values to 0")
def _(q, k, v, length):
    real = (torch.arange(k.shape[1]) < length[:, None])[..., None]
    return F.scaled_dot_product_attention(q, k * real, v * real)


@wrong(check.attention, "you mask too late")
def _(q, k, v, length):
    w = (q @ k.mT / q.shape[-1] ** 0.5).softmax(-1) * (torch.arange(k.shape[1]) < length[:, None, None])
    return w / w.sum(-1, keepdim=True) @ v


@wrong(check.attention, "exp is infinite in float32")
def _(q, k, v, length):
    w = torch.exp(q @ k.mT / q.shape[-1] ** 0.5) * (torch.arange(k.shape[1]) < length[:, None, None])
    return w / w.sum(-1, keepdim=True) @ v


@wrong(check.attention, "exp is infinite in float32")
def _(q, k, v, length):
    out = []
    for b in range(len(q)):
        e = torch.exp(q[b] @ k[b, :length[b]].T / math.sqrt(q.shape[-1]))
        out.append(e / e.sum(1, keepdim=True) @ v[b, :length[b]])
    return torch.stack(out)


@wrong(check.attention, "last real key is missing")
def _(q, k, v, length):
    return torch.stack([(q[b] @ k[b, :n - 1].T / q.shape[-1] ** 0.5).softmax(-1) @ v[b, :n - 1]
                        for b, n in enumerate(length.tolist())])


@wrong(check.attention, "one sum for all queries")
def _(q, k, v, length):
    out = []
    for qb, kb, vb, n in zip(q, k, v, length):
        w = torch.exp(qb @ kb[:n].T / math.sqrt(q.shape[-1]))
        out.append((w / w.sum()) @ vb[:n])
    return torch.stack(out)


@wrong(check.attention, "these are the weights")
def _(q, k, v, length):
    scores = q @ k.mT / q.shape[-1] ** 0.5
    return scores.masked_fill(torch.arange(k.shape[1]) >= length[:, None, None], -math.inf).softmax(-1)


@wrong(check.attention, "there is no softmax")
def _(q, k, v, length):
    return (q @ k.mT / q.shape[-1] ** 0.5 * (torch.arange(k.shape[1]) < length[:, None, None])) @ v


@wrong(check.attention, "after the softmax: it belongs to the scores")
def _(q, k, v, length):
    scores = (q @ k.mT).masked_fill(torch.arange(k.shape[1]) >= length[:, None, None], -math.inf)
    return scores.softmax(-1) @ v / q.shape[-1] ** 0.5


@wrong(check.attention, "count the same in your average")
def _(q, k, v, length):
    mean = torch.stack([v[b, :n].mean(0) for b, n in enumerate(length)])
    return mean[:, None] + 0 * q[..., :1]


@wrong(check.attention, "in line")
def _(q, k, v, length):
    real = torch.arange(k.shape[1]) < length       # shapes (S,) and (B,)
    return (q @ k.mT / q.shape[-1] ** 0.5).masked_fill(~real, -math.inf).softmax(-1) @ v


# --- 2


@right(check.multi_head)
def _(x, w_qkv, w_out, n_head):
    q, k, v = F.linear(x, w_qkv).chunk(3, dim=-1)
    d, out = x.shape[-1] // n_head, []
    mask = torch.triu(torch.full((x.shape[1], x.shape[1]), float("-inf")), diagonal=1)
    for h in range(n_head):
        part = slice(h * d, (h + 1) * d)
        out.append((q[..., part] @ k[..., part].mT / d**0.5 + mask).softmax(-1) @ v[..., part])
    return torch.cat(out, -1) @ w_out.T


@right(check.multi_head)
def _(x, w_qkv, w_out, n_head):
    qkv = torch.einsum("btc,khdc->kbhtd", x, w_qkv.reshape(3, n_head, -1, x.shape[-1]))
    y = F.scaled_dot_product_attention(*qkv, is_causal=True)
    return torch.einsum("bhtd,chd->btc", y, w_out.reshape(x.shape[-1], n_head, -1))


@right(check.multi_head)
def _(x, w_qkv, w_out, n_head):
    C, T = x.shape[-1], x.shape[1]
    hidden = torch.ones(T, T, dtype=torch.bool).triu(1)
    y, _ = F.multi_head_attention_forward(*[x.transpose(0, 1)] * 3, C, n_head, w_qkv, None, None, None, False, 0.0,
                                          w_out, None, attn_mask=hidden)
    return y.transpose(0, 1)


@right(check.multi_head)
def _(x, w_qkv, w_out, n_head):
    B, T, C = x.shape
    layer = nn.Linear(C, 3 * C, bias=False)
    layer.weight.requires_grad_(False)
    q, k, v = (h.reshape(B, T, n_head, C // n_head) for h in (x @ w_qkv.T).split(C, dim=2))
    scores = torch.einsum("bthd,bshd->bhts", q, k) / math.sqrt(C // n_head)
    weights = (scores - 1e9 * (1 - torch.tril(torch.ones(T, T)))).softmax(dim=-1)
    return torch.einsum("bhts,bshd->bthd", weights, v).flatten(2) @ w_out.T


def heads(split=lambda a, B, T, H: a.view(B, T, H, -1).transpose(1, 2), axis=-1, first=F.linear, out=F.linear,
          merge=lambda y, B, T, C: y.transpose(1, 2).contiguous().view(B, T, C), scale=lambda C, H: math.sqrt(C // H),
          mask=lambda s, T: s.masked_fill(torch.ones(T, T).triu(1) > 0, -math.inf)):
    """As a learner writes it, with one thing changed."""
    def answer(x, w_qkv, w_out, n_head):
        B, T, C = x.shape
        q, k, v = (split(a, B, T, n_head) for a in first(x, w_qkv).chunk(3, dim=2))
        weights = F.softmax(mask(q @ k.transpose(-1, -2) / scale(C, n_head), T), dim=axis)
        return out(merge(weights @ v, B, T, C), w_out)
    return answer


right(check.multi_head)(heads())
cut = dict(split=lambda a, B, T, H: a.reshape(B, H, T, -1))
glue = dict(merge=lambda y, B, T, C: y.reshape(B, T, C))
wrong(check.multi_head, "gluing them the same way hides it")(heads(**cut, **glue))
wrong(check.multi_head, "your split is wrong")(heads(**cut))
wrong(check.multi_head, "your merge is wrong")(heads(**glue))
wrong(check.multi_head, "own every n_head-th number")(
    heads(split=lambda a, B, T, H: a.reshape(B, T, -1, H).permute(0, 3, 1, 2)))
wrong(check.multi_head, "merge shuffles the numbers")(
    heads(merge=lambda y, B, T, C: y.permute(0, 2, 3, 1).reshape(B, T, C)))
wrong(check.multi_head, "n_head is not used")(heads(split=lambda a, B, T, H: a[:, None], scale=lambda C, H: C**0.5))
wrong(check.multi_head, "square root of C")(heads(scale=lambda C, H: C**0.5))
wrong(check.multi_head, "square root of n_head")(heads(scale=lambda C, H: H**0.5))
wrong(check.multi_head, "square root of how many")(heads(scale=lambda C, H: 1))
wrong(check.multi_head, "no causal mask")(heads(mask=lambda s, T: s))
wrong(check.multi_head, "looks at the *future*")(
    heads(mask=lambda s, T: s.masked_fill(torch.tril(torch.ones(T, T)) == 1, -math.inf)))
wrong(check.multi_head, "looks at the *future*")(
    heads(mask=lambda s, T: s.masked_fill(torch.tril(torch.ones(T, T)) == 1, -1e9)))
wrong(check.multi_head, "looks at the *future*")(
    heads(mask=lambda s, T: s.masked_fill(torch.ones(T, T).tril(-1) > 0, -math.inf)))
wrong(check.multi_head, "cannot look at itself")(
    heads(mask=lambda s, T: s.masked_fill(torch.triu(torch.ones(T, T)) == 1, -math.inf)))
wrong(check.multi_head, "cannot look at itself")(
    heads(mask=lambda s, T: s.masked_fill(torch.triu(torch.ones(T, T)) == 1, -1e9)))
wrong(check.multi_head, "one column too far")(
    heads(mask=lambda s, T: s.masked_fill(~torch.ones(T, T, dtype=torch.bool).tril(1), -math.inf)))
wrong(check.multi_head, "True adds 1 and False adds 0")(heads(mask=lambda s, T: s + torch.ones(T, T).tril()))
wrong(check.multi_head, "exp(0) = 1")(heads(mask=lambda s, T: s * torch.ones(T, T).tril()))
wrong(check.multi_head, "over the queries")(heads(axis=-2))
wrong(check.multi_head, "over the heads")(heads(axis=1))
wrong(check.multi_head, "w_out is not used")(heads(out=lambda y, w: y))
wrong(check.multi_head, "w_out is the wrong way round")(heads(out=lambda y, w: y @ w))
wrong(check.multi_head, "mixed up")(heads(first=lambda x, w: torch.cat([x @ p.T for p in w.chunk(3)[::-1]], -1)))
wrong(check.multi_head, "in line")(heads(first=lambda x, w: x @ w))
wrong(check.multi_head, "you added x")(lambda x, w_qkv, w_out, n_head: x + heads()(x, w_qkv, w_out, n_head))


@wrong(check.multi_head, "heads look at each other")
def _(x, w_qkv, w_out, n_head):
    B, T, C = x.shape
    q, k, v = ((x @ w_qkv.T)[..., i * C:(i + 1) * C].reshape(B, T, n_head, C // n_head) for i in range(3))
    return F.scaled_dot_product_attention(q, k, v, is_causal=True).reshape(B, T, C) @ w_out.T


@wrong(check.multi_head, "in line")                # "Use .reshape(...) instead", says PyTorch
def _(x, w_qkv, w_out, n_head):
    B, T, C = x.shape
    q, k, v = (h.view(B, n_head, T, C // n_head) for h in (x @ w_qkv.T).chunk(3, dim=-1))
    return F.scaled_dot_product_attention(q, k, v, is_causal=True).reshape(B, T, C) @ w_out.T


@wrong(check.multi_head, "3C numbers into heads")
def _(x, w_qkv, w_out, n_head):
    B, T, C = x.shape
    q, k, v = F.linear(x, w_qkv).view(B, T, n_head, 3 * C // n_head).transpose(1, 2).chunk(3, dim=-1)
    y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
    return y.transpose(1, 2).reshape(B, T, C) @ w_out.T


@wrong(check.multi_head, "cannot be differentiated")
def _(x, w_qkv, w_out, n_head):
    attention = nn.MultiheadAttention(x.shape[-1], n_head, bias=False, batch_first=True)
    attention.load_state_dict({"in_proj_weight": w_qkv, "out_proj.weight": w_out})
    with torch.no_grad():
        return attention(x, x, x, attn_mask=torch.ones(x.shape[1], x.shape[1]).triu(1) > 0)[0]


# --- 3: each as a learner edits the function


def repaired(weights="scores.masked_fill(~past, -math.inf).softmax(-1)", late="weights",
             past="torch.ones(T, T, dtype=torch.bool).tril()", scores="q @ k.transpose(-2, -1) / math.sqrt(D)"):
    lines = ["def causal_attention(q, k, v):",
             "T, D = q.shape[-2:]",
             f"past = {past}",
             f"scores = {scores}",
             f"weights = {weights}",
             f"weights = {late}",
             "return weights @ v"]
    names = {"torch": torch, "math": math, "F": F}
    exec("\n    ".join(lines), names)
    return names["causal_attention"]


late = dict(weights="scores.softmax(-1)", late="weights.masked_fill(~past, 0.0)")
right(check.causal_attention)(repaired())
right(check.causal_attention)(repaired("scores.softmax(-1) * past", late="weights / weights.sum(-1, keepdim=True)"))
right(check.causal_attention)(lambda q, k, v: F.scaled_dot_product_attention(q, k, v, is_causal=True))


@right(check.causal_attention)
def _(q, k, v):
    rows = []
    for t in range(q.shape[1]):
        scores = q[:, t:t + 1] @ k[:, :t + 1].mT / k.shape[-1] ** 0.5
        rows.append(scores.softmax(-1) @ v[:, :t + 1])
    return torch.cat(rows, dim=1)


wrong(check.causal_attention, "the bug is still there")(repaired(**late))
wrong(check.causal_attention, "the bug is still there")(
    repaired("scores.softmax(-1)", late="torch.tril(weights)"))
wrong(check.causal_attention, "sums of the columns")(
    repaired("scores.softmax(-1) * past", late="weights / weights.sum(-2, keepdim=True)"))
wrong(check.causal_attention, "the mask still comes after it")(repaired("scores.softmax(-2)", late=late["late"]))
wrong(check.causal_attention, "one softmax too many")(
    repaired("scores.softmax(-1)", late="weights.masked_fill(~past, -math.inf).softmax(-1)"))
wrong(check.causal_attention, "one softmax too many")(
    repaired("scores.softmax(-1)", late="weights.masked_fill(~past, 0).softmax(-1)"))
wrong(check.causal_attention, "exp(0) = 1")(repaired("scores.masked_fill(~past, 0.0).softmax(-1)"))
wrong(check.causal_attention, "your softmax goes over the queries")(
    repaired("scores.masked_fill(~past, -1e9).softmax(1)"))
wrong(check.causal_attention, "changed the mask, which was right")(repaired(past="torch.ones(T, T).triu() > 0", **late))
wrong(check.causal_attention, "changed the mask, which was right")(
    repaired(past="torch.ones(T, T).tril(-1) > 0", **late))
wrong(check.causal_attention, "part of the sum in the softmax")(
    repaired(scores="(q @ k.mT / math.sqrt(D)).tril()", **late))
wrong(check.causal_attention, "set *weights* to -inf")(
    repaired("scores.softmax(-1)", late="weights.masked_fill(~past, -math.inf)"))
wrong(check.causal_attention, "without keepdim=True")(
    repaired("scores.softmax(-1) * past", late="weights / weights.sum(-1)"))
wrong(check.causal_attention, "looks at the *future*")(repaired("scores.masked_fill(past, -math.inf).softmax(-1)"))
wrong(check.causal_attention, "looks at the *future*")(repaired("scores.masked_fill(~past.T, -math.inf).softmax(-1)"))
wrong(check.causal_attention, "cannot look at itself")(repaired(past="torch.ones(T, T, dtype=torch.bool).tril(-1)"))
wrong(check.causal_attention, "one column too far")(repaired(
    "scores.masked_fill(~past, -math.inf).softmax(-1)", past="torch.ones(T, T, dtype=torch.bool).tril(1)"))
wrong(check.causal_attention, "True adds 1 and False adds 0")(repaired("(scores + past).softmax(-1)"))
wrong(check.causal_attention, "there is no causal mask")(repaired("scores.softmax(-1)"))
wrong(check.causal_attention, "square root of how many")(repaired(scores="q @ k.transpose(-2, -1)"))
wrong(check.causal_attention, "how many positions may be looked at")(
    repaired("scores.softmax(-1) * past", late="weights / past.sum(-1, keepdim=True)"))

# --- 4


@right(check.distance_bias)
def _(slopes, T):
    bias = torch.full((len(slopes), T, T), float("-inf"))
    for h, m in enumerate(slopes):
        for t in range(T):
            for s in range(t + 1):
                bias[h, t, s] = -m * (t - s)
    return bias


@right(check.distance_bias)
def _(slopes, T):
    t = torch.arange(T)
    penalty = torch.einsum("h,ts->hts", -slopes, (t[:, None] - t).abs().float())
    return penalty + torch.full((T, T), -torch.inf).triu(1)


@right(check.distance_bias)
def _(slopes, T):
    rows, columns = torch.meshgrid(torch.arange(T), torch.arange(T), indexing="ij")
    return torch.stack([torch.where(columns > rows, -1e9, m * (columns - rows)) for m in slopes])


def bias(distance=lambda t, s: t - s, future=-math.inf, slope=lambda m: m[:, None, None], sign=-1, diagonal=1):
    def answer(slopes, T):
        t, s = torch.arange(T)[:, None], torch.arange(T)[None]
        b = sign * slope(slopes) * distance(t, s)
        return b if future is None else b.masked_fill(torch.ones(T, T).triu(diagonal) > 0, future)
    return answer


right(check.distance_bias)(bias())
wrong(check.distance_bias, "the sign is wrong")(bias(sign=1))
wrong(check.distance_bias, "the sign is wrong")(bias(lambda t, s: s - t))
wrong(check.distance_bias, "the future has the score 0")(bias(future=0.0))
wrong(check.distance_bias, "the future is not masked")(bias(future=None))
wrong(check.distance_bias, "the future is not masked")(bias(lambda t, s: (t - s).abs(), future=None))
wrong(check.distance_bias, "wrong way round: the *past*")(
    lambda slopes, T: bias(future=None)(slopes, T).masked_fill(torch.ones(T, T).tril(-1) > 0, -math.inf))
wrong(check.distance_bias, "the sign of the bias")(
    lambda slopes, T: (b := bias(future=None)(slopes, T)).masked_fill(b > 0, -math.inf))
wrong(check.distance_bias, "+inf")(bias(future=math.inf))
wrong(check.distance_bias, "the diagonal is -inf")(bias(diagonal=0))
wrong(check.distance_bias, "and yours is 1")(bias(lambda t, s: t - s + 1))
wrong(check.distance_bias, "from the start of the sequence")(bias(lambda t, s: s))
wrong(check.distance_bias, "you squared the distance")(bias(lambda t, s: (t - s) ** 2))
wrong(check.distance_bias, "have the first slope")(bias(slope=lambda m: m[0].expand(len(m), 1, 1)))
wrong(check.distance_bias, "the slopes are not used")(bias(slope=lambda m: torch.ones(len(m), 1, 1)))
wrong(check.distance_bias, "in the wrong order")(bias(slope=lambda m: m.flip(0)[:, None, None]))
wrong(check.distance_bias, "rows and columns are swapped")(lambda slopes, T: bias()(slopes, T).transpose(1, 2))
wrong(check.distance_bias, "in another order")(lambda slopes, T: bias()(slopes, T).permute(1, 2, 0))
wrong(check.distance_bias, "is a NumPy array")(lambda slopes, T: np.zeros((len(slopes), T, T)))


@wrong(check.distance_bias, "nan for a slope of 0")
def _(slopes, T):
    t = torch.arange(T)
    distance = (t[:, None] - t).float().masked_fill(t[:, None] < t, math.inf)
    return -slopes[:, None, None] * distance


@wrong(check.distance_bias, "in place of all that is past")
def _(slopes, T):
    t = torch.arange(T)
    return -slopes[:, None, None] * (t[:, None] - t) + torch.triu(torch.ones(T, T), diagonal=1) * float("-inf")


# --- 5

right(check.keys_seen)(2.19)
right(check.keys_seen)(torch.tensor(2.2))
wrong(check.keys_seen, "*with* the division")(62.4)
wrong(check.keys_seen, "divided by D")(99.2)
wrong(check.keys_seen, "over the queries")(1.11)
wrong(check.keys_seen, "the minus has come too late")(-0.6)
wrong(check.keys_seen, "the mean entropy")(1.88)
wrong(check.keys_seen, "the entropy itself")(0.63)
wrong(check.keys_seen, "the entropy in bits: take")(0.91)
wrong(check.keys_seen, "raised 2")(1.66)
wrong(check.keys_seen, "squared weights")(1.75)
wrong(check.keys_seen, "largest weight")(0.78)
wrong(check.keys_seen, "exp of an entropy in bits")(3.38)
