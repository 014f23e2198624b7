import math

import numpy as np
import torch
from torch.nn import functional as F

from course_lib.checks import gpt as check
from wrong_answers import Later, equivalent, right, wrong

# --- 1


@right(check.next_probs)
def _(logits, temperature, top_k):
    kept, places = logits.topk(top_k)
    return torch.zeros_like(logits).scatter(1, places, F.softmax(kept / temperature, dim=-1))


@right(check.next_probs)
def _(logits, temperature, top_k):
    p = (logits / temperature).softmax(-1)
    p = torch.where(p >= p.sort(1, descending=True).values[:, top_k - 1:top_k], p, 0.0)
    return p / p.sum(1, keepdim=True)


# --- 2


@right(check.cached_step)
def _(q, k, v, keys, values):
    keys, values = torch.cat([keys, k], dim=2), torch.cat([values, v], dim=2)
    return F.scaled_dot_product_attention(q, keys, values), keys, values


@right(check.cached_step)
def _(q, k, v, keys, values):
    keys, values = torch.cat((keys, k), -2), torch.cat((values, v), -2)
    weights = torch.einsum("bhqd,bhtd->bhqt", q / math.sqrt(k.size(-1)), keys).softmax(3)
    return [(weights.mT * values).sum(2, keepdim=True), keys, values]


equivalent(check.cached_step, "root(q, at_k) -> root(at_k, q)", "their last axes are the same")

# --- 3


@right(check.next_byte_loss)
def _(model, idx):
    return F.cross_entropy(model(idx[:, :-1]).flatten(0, 1), idx[:, 1:].flatten())


@right(check.next_byte_loss)
def _(model, idx):
    return -model(idx).log_softmax(-1)[:, :-1].gather(2, idx[:, 1:, None]).mean()


# --- 4


wrong(check.context_gain, "is too large")(5.5)
right(check.context_gain)(Later(check._gain))
right(check.context_gain)(Later(lambda: np.float64(1.01 * check._gain())))
