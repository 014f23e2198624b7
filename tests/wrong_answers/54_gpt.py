import math

import numpy as np
import torch
from torch.distributions import Categorical
from torch.nn import functional as F

from course_lib import checkpoint
from course_lib.checks import gpt as check
from course_lib.data.text import load_text
from course_lib.gpt import lm_loss
from wrong_answers import right, wrong

# --- 1: each as a learner writes the last lines

PROBS = """
def next_probs(logits, temperature, top_k):
    kept = logits.topk(top_k).values
    z = logits.masked_fill(logits < kept[:, -1:], -math.inf)
    return {0}
"""


def probs(line):
    names = {"torch": torch, "math": math, "F": F}
    exec(PROBS.format(line), names)
    return names["next_probs"]


wrong(check.next_probs, "you multiplied by the temperature")(probs("(z * temperature).softmax(1)"))
wrong(check.next_probs, "the temperature has no effect")(probs("F.softmax(z, dim=-1)"))
wrong(check.next_probs, "divided the probabilities by the temperature")(probs("z.softmax(1) / temperature"))
wrong(check.next_probs, "to the power 1 / temperature")(probs("z.softmax(1) ** (1 / temperature)"))
wrong(check.next_probs, "top_k has no effect")(probs("(logits / temperature).softmax(1)"))
wrong(check.next_probs, "after the softmax: the rest")(probs("(logits / temperature).softmax(1) * (z > -math.inf)"))
wrong(check.next_probs, "a logit of 0 is not")(probs("(z.masked_fill(z == -math.inf, 0) / temperature).softmax(1)"))
wrong(check.next_probs, "one token too few")(probs(
    "(logits.masked_fill(logits <= kept[:, -1:], -math.inf) / temperature).softmax(1)"))
wrong(check.next_probs, "with the threshold of the first")(probs(
    "(logits.masked_fill(logits < kept[0, -1], -math.inf) / temperature).softmax(1)"))
wrong(check.next_probs, "one softmax too many")(probs(
    "(logits / temperature).softmax(1).masked_fill(z == -math.inf, 0).softmax(1)"))
wrong(check.next_probs, "one softmax too many")(probs(
    "(logits / temperature).softmax(1).masked_fill(z == -math.inf, -math.inf).softmax(1)"))
wrong(check.next_probs, "sorted upwards")(probs(
    "logits.masked_fill(logits < logits.sort(1).values[:, top_k - 1, None], -math.inf).div(temperature).softmax(1)"))
wrong(check.next_probs, "the least probable tokens")(probs(
    "logits.masked_fill(logits > kept[:, -1:], -math.inf).div(temperature).softmax(1)"))
wrong(check.next_probs, "the softmax runs over the rows")(probs("torch.softmax(z / temperature, 0)"))
wrong(check.next_probs, "you return logarithms")(probs("F.log_softmax(z / temperature, dim=1)"))
wrong(check.next_probs, "these are logits")(probs("z / temperature"))
wrong(check.next_probs, "the k probabilities alone")(probs("(kept / temperature).softmax(1)"))
wrong(check.next_probs, "random numbers of its own")(probs(
    "F.one_hot(torch.multinomial((z / temperature).softmax(1), 1)[:, 0], z.shape[1]).float()"))


@wrong(check.next_probs, "the least probable tokens")
def _(logits, temperature, top_k):
    threshold = logits.sort(dim=1).values[:, top_k - 1:top_k]
    return logits.masked_fill(logits > threshold, -math.inf).div(temperature).softmax(1)


@wrong(check.next_probs, "one token too many")
def _(logits, temperature, top_k):
    ordered = logits.sort(dim=1, descending=True).values
    threshold = ordered[:, min(top_k, logits.shape[1] - 1)][:, None]
    return logits.masked_fill(logits < threshold, -math.inf).div(temperature).softmax(1)


@wrong(check.next_probs, "one token too many")
def _(logits, temperature, top_k):
    threshold = torch.sort(logits, descending=True)[0][:, top_k:top_k + 1]
    logits[logits < threshold] = -1e9
    return torch.softmax(logits / temperature, 1)


@wrong(check.next_probs, "by the sum of all rows")
def _(logits, temperature, top_k):
    p = torch.softmax(logits / temperature, 1)
    p[p < p.topk(top_k).values[:, -1:]] = 0
    return p / p.sum()


right(check.next_probs)(probs("(z / temperature).softmax(-1)"))
right(check.next_probs)(probs(
    "(z > -math.inf) * (logits / temperature).exp() / (kept / temperature).exp().sum(1, True)"))


@right(check.next_probs)
def _(logits, temperature, top_k):
    values, indices = logits.topk(top_k, dim=1)
    return torch.zeros_like(logits).scatter_(1, indices, (values / temperature).softmax(1))


@right(check.next_probs)
def _(logits, temperature, top_k):
    rows = []
    for row in logits.tolist():
        threshold = sorted(row)[-top_k]
        weights = [math.exp(z / temperature) if z >= threshold else 0.0 for z in row]
        rows.append([w / sum(weights) for w in weights])
    return torch.tensor(rows)


@right(check.next_probs)
def _(logits, temperature, top_k):
    p = Categorical(logits=logits / temperature).probs
    p[p < p.sort(1, descending=True)[0][:, top_k - 1, None]] = 0
    return p / p.sum(1, keepdim=True)


# --- 2

STEP = """
def cached_step(q, k, v, keys, values):
    {first}
    scores = {scores}
    y = {y}
    return {returned}
"""
APPEND = "keys, values = torch.cat([keys, k], dim=2), torch.cat([values, v], dim=2)"
SCORES = "q @ keys.transpose(-2, -1) / math.sqrt(q.shape[-1])"


def step(first=APPEND, scores=SCORES, y="scores.softmax(-1) @ values", returned="y, keys, values"):
    names = {"torch": torch, "math": math, "F": F}
    exec(STEP.format(first=first, scores=scores, y=y, returned=returned), names)
    return names["cached_step"]


wrong(check.cached_step, "see only the first one")(step(
    y="F.scaled_dot_product_attention(q, keys, values, is_causal=True)"))
wrong(check.cached_step, "does not look at itself")(step(
    "pass", returned="y, torch.cat([keys, k], 2), torch.cat([values, v], 2)"))
wrong(check.cached_step, "before the old ones")(step(
    "keys, values = torch.cat([k, keys], 2), torch.cat([v, values], 2)"))
wrong(check.cached_step, "not divided by sqrt(D)")(step(scores="q @ keys.transpose(-2, -1)"))
wrong(check.cached_step, "divide the scores by D: by its root")(step(scores="q @ keys.mT / q.shape[-1]"))
wrong(check.cached_step, "multiply the scores by sqrt(D)")(step(scores="q @ keys.mT * math.sqrt(q.shape[-1])"))
wrong(check.cached_step, "the root of the number of keys")(step(scores="q @ keys.mT / keys.shape[2] ** 0.5"))
wrong(check.cached_step, "over the one query")(step(y="scores.softmax(2) @ values"))
wrong(check.cached_step, "you average the keys")(step(y="scores.softmax(-1) @ keys"))
wrong(check.cached_step, "the new key is used as the query")(step(scores=SCORES.replace("q @", "k @")))
wrong(check.cached_step, "you put q into the cache")(step(APPEND.replace("[keys, k]", "[keys, q]")))
wrong(check.cached_step, "the new key among the values")(step(APPEND.replace("[values, v]", "[values, k]")))
wrong(check.cached_step, "you return the old cache")(step(f"old = keys, values; {APPEND}", returned="y, *old"))
wrong(check.cached_step, "in the wrong order")(step(returned="y, values, keys"))
wrong(check.cached_step, "in this order")(step(returned="y"))
wrong(check.cached_step, "Sizes of tensors must match")(step(APPEND.replace("dim=2", "dim=1")))

wrong(check.cached_step, "the root of the number of heads")(step(scores="q @ keys.mT / math.sqrt(q.shape[1])"))
wrong(check.cached_step, "after the softmax")(step(
    scores="q @ keys.mT", y="scores.softmax(-1) / math.sqrt(q.shape[-1]) @ values"))
wrong(check.cached_step, "runs over the heads")(step(y="scores.softmax(1) @ values"))

right(check.cached_step)(step())
right(check.cached_step)(step(y="F.scaled_dot_product_attention(q, keys, values)"))


@right(check.cached_step)
def _(q, k, v, keys, values):
    keys, values = torch.cat([keys, k], -2), torch.cat([values, v], -2)
    w = torch.einsum("bhid,bhjd->bhij", q, keys).mul(q.shape[-1] ** -0.5).exp()
    return [torch.einsum("bhij,bhjd->bhid", w / w.sum(-1, keepdim=True), values), keys, values]


@right(check.cached_step)
def _(q, k, v, keys, values):
    keys, values = torch.cat((keys, k), dim=2), torch.cat((values, v), dim=2)
    B, H, T, D = keys.shape
    y = torch.zeros(B, H, 1, D)
    for b in range(B):
        for h in range(H):
            w = torch.stack([q[b, h, 0].dot(keys[b, h, t]) / D**0.5 for t in range(T)]).softmax(0)
            y[b, h, 0] = sum(w[t] * values[b, h, t] for t in range(T))
    return y, keys, values


# --- 3

LOSS = """
def next_byte_loss(model, idx):
    inputs, targets = {pair}
    logits = model(inputs)
    return {loss}
"""
PAIR, FLAT = "idx[:, :-1], idx[:, 1:]", "F.cross_entropy(logits.flatten(0, 1), targets.flatten())"


def loss(pair=PAIR, loss=FLAT):
    names = {"torch": torch, "math": math, "F": F}
    exec(LOSS.format(pair=pair, loss=loss), names)
    return names["next_byte_loss"]


wrong(check.next_byte_loss, "the bug is still there")(loss(
    loss="F.cross_entropy(logits[:, :-1].flatten(0, 1), targets[:, 1:].flatten())"))
wrong(check.next_byte_loss, "the bug is still there")(loss(
    "idx, idx", "F.cross_entropy(logits[:, :-2].flatten(0, 1), targets[:, 2:].flatten())"))
wrong(check.next_byte_loss, "has just read")(loss("idx, idx"))
wrong(check.next_byte_loss, "has just read")(loss("idx[:, :-1], idx[:, :-1]"))
wrong(check.next_byte_loss, "has just read")(loss(
    loss="F.cross_entropy(logits[:, 1:].flatten(0, 1), targets[:, :-1].flatten())"))
wrong(check.next_byte_loss, "has just read")(loss("idx[:, 1:], idx[:, 1:]"))
wrong(check.next_byte_loss, "only the last letter of each text")(loss(
    loss="F.cross_entropy(logits[:, -1], targets[:, -1])"))
wrong(check.next_byte_loss, "applies it once more")(loss(loss=FLAT.replace("logits.", "logits.softmax(-1).")))
wrong(check.next_byte_loss, "cannot be differentiated")(loss(loss=FLAT + ".item()"))
wrong(check.next_byte_loss, "the wrong direction")(loss("idx[:, 1:], idx[:, :-1]"))
wrong(check.next_byte_loss, "the wrong direction")(loss(
    "idx, idx", "F.cross_entropy(logits[:, 1:].flatten(0, 1), targets[:, :-1].flatten())"))
wrong(check.next_byte_loss, "the last letter of each text is never")(loss(
    loss="F.cross_entropy(logits[:, :-1].flatten(0, 1), targets[:, :-1].flatten())"))
wrong(check.next_byte_loss, "the second letter of each text")(loss(
    loss="F.cross_entropy(logits[:, 1:].flatten(0, 1), targets[:, 1:].flatten())"))
wrong(check.next_byte_loss, "you add up the nats: the mean")(loss(loss=FLAT.replace("())", "(), reduction='sum')")))
wrong(check.next_byte_loss, "you add up the nats of a text")(loss(
    loss="F.cross_entropy(logits.mT, targets, reduction='sum') / len(idx)"))
wrong(check.next_byte_loss, "one number for each text")(loss(
    loss="F.cross_entropy(logits.mT, targets, reduction='none').mean(1)"))
wrong(check.next_byte_loss, "these are bits")(loss(loss=FLAT + " / math.log(2)"))
wrong(check.next_byte_loss, "the sign is wrong")(loss(
    loss="logits.log_softmax(-1).gather(2, targets[..., None]).mean()"))
wrong(check.next_byte_loss, "is a dict of 1")(lm_loss)
wrong(check.next_byte_loss, "Expected")(loss(loss="F.cross_entropy(logits, targets)"))

right(check.next_byte_loss)(loss())
right(check.next_byte_loss)(loss(loss="F.cross_entropy(logits.transpose(1, 2), targets)"))
right(check.next_byte_loss)(loss("idx, idx", "F.cross_entropy(logits[:, :-1].flatten(0, 1), targets[:, 1:].flatten())"))
right(check.next_byte_loss)(lambda model, idx: lm_loss(model, idx)["loss"])


@right(check.next_byte_loss)
def _(model, idx):
    p = model(idx[:, :-1]).softmax(-1)
    total, n = 0, 0
    for b in range(idx.shape[0]):
        for t in range(idx.shape[1] - 1):
            total = total - torch.log(p[b, t, idx[b, t + 1]])
            n += 1
    return total / n


@right(check.next_byte_loss)
def _(model, idx):
    return -Categorical(logits=model(idx)[:, :-1]).log_prob(idx[:, 1:]).mean()


# --- 4


class Later:
    """A number that depends on the shipped checkpoint and on this Python's texts: computed when it is looked at."""

    def __init__(self, f):
        self.f = f

    def __float__(self):
        return float(self.f())


def unshifted():
    model, windows = checkpoint.load("gpt"), load_text("austen").test[:100 * 129].long().view(100, 129)[:, :-1]
    with torch.no_grad():
        cost = F.cross_entropy(model(windows).mT, windows, reduction="none") / math.log(2)
    return cost[:, :8].mean() - cost[:, -64:].mean()


wrong(check.context_gain, "this is in nats")(Later(lambda: check._gain(math.log(2))))
wrong(check.context_gain, "the sign is wrong")(Later(lambda: -check._gain()))
wrong(check.context_gain, "this is a ratio")(Later(lambda: check._early() / check._late()))
wrong(check.context_gain, "the bits at the beginning: subtract")(Later(check._early))
wrong(check.context_gain, "the bits at the end: subtract")(Later(check._late))
wrong(check.context_gain, "the first prediction alone")(Later(lambda: check._bits()[:, 0].mean() - check._late()))
wrong(check.context_gain, "with all the others")(Later(lambda: check._early() - check._bits()[:, 8:].mean()))
wrong(check.context_gain, "the two halves of the window")(Later(lambda: check._bits()[:, :64].mean() - check._late()))
wrong(check.context_gain, "a share of the bits")(Later(lambda: 1 - check._late() / check._early()))
wrong(check.context_gain, "rows are windows")(Later(lambda: check._bits()[:8].mean() - check._bits()[64:].mean()))
wrong(check.context_gain, "the first prediction alone")(Later(
    lambda: check._bits()[:, 0].mean() - check._bits()[:, -1].mean()))
wrong(check.context_gain, "rows are windows")(Later(lambda: check._bits()[:8].mean() - check._bits()[-64:].mean()))
wrong(check.context_gain, "with all of them")(Later(lambda: check._early() - check._bits().mean()))
wrong(check.context_gain, "left out the first prediction")(Later(
    lambda: check._bits()[:, 1:9].mean() - check._late()))
wrong(check.context_gain, "just read")(Later(unshifted))
wrong(check.context_gain, "is too large")(5.5)
right(check.context_gain)(Later(check._gain))
right(check.context_gain)(Later(lambda: np.float64(1.01 * check._gain())))
