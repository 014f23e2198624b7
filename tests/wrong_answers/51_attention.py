import math

import torch
from torch import nn
from torch.nn import functional as F

from course_lib.checks import attention as check
from wrong_answers import equivalent, right, wrong

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


@wrong(check.attention, "far below 0")
def _(q, k, v, length):
    pad = torch.arange(k.shape[1]) >= length[:, None, None]
    return (q @ k.mT / q.shape[-1] ** 0.5).masked_fill(pad, -100).softmax(-1) @ v


@wrong(check.attention, "but only after the softmax")
def _(q, k, v, length):
    w = (q @ k.mT / q.shape[-1] ** 0.5).softmax(dim=2)
    for b, n in enumerate(length):
        w[b, :, n:] = 0
    return w @ v


@wrong(check.attention, "you mask too late")
def _(q, k, v, length):
    w = (q @ k.mT / q.shape[-1] ** 0.5).softmax(-1) * (torch.arange(k.shape[1]) < length[:, None, None])
    return w / w.sum(-1, keepdim=True) @ v


@wrong(check.attention, "exp is infinite in float32")
def _(q, k, v, length):
    w = torch.exp(q @ k.mT / q.shape[-1] ** 0.5) * (torch.arange(k.shape[1]) < length[:, None, None])
    return w / w.sum(-1, keepdim=True) @ v


equivalent(check.attention, "root(q, k, v) -> root(k, q, v)", "their last axes are the same")

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


@wrong(check.multi_head, "cannot be differentiated")
def _(x, w_qkv, w_out, n_head):
    attention = nn.MultiheadAttention(x.shape[-1], n_head, bias=False, batch_first=True)
    attention.load_state_dict({"in_proj_weight": w_qkv, "out_proj.weight": w_out})
    with torch.no_grad():
        return attention(x, x, x, attn_mask=torch.ones(x.shape[1], x.shape[1]).triu(1) > 0)[0]


equivalent(check.multi_head, "q.shape[-2] -> q.shape[2]", "with heads there are four axes")

# --- 3


@right(check.causal_attention)
def _(q, k, v):
    future = torch.full((q.shape[1], q.shape[1]), -math.inf).triu(1)
    return (q @ k.transpose(-2, -1) / math.sqrt(q.shape[-1]) + future).softmax(-1) @ v


@right(check.causal_attention)
def _(q, k, v):
    weights = (q @ k.mT / q.shape[-1] ** 0.5).softmax(-1).tril()
    return weights / weights.sum(-1, keepdim=True) @ v


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
    return penalty + torch.full((T, T), -1e9).triu(1)                 # as good as -inf, for a softmax


@wrong(check.distance_bias, "for a slope of 0")
def _(slopes, T):
    bias = -slopes[:, None, None] * (torch.arange(T)[:, None] - torch.arange(T))
    return bias.masked_fill(bias > 0, -math.inf)


# --- 5

right(check.keys_seen)(2.19)
right(check.keys_seen)(torch.tensor(2.2))
