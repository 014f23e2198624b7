import math

import numpy as np
import torch
from torch.nn import functional as F

from course_lib.checks import gpt as check
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


wrong(check.next_probs, "random numbers of its own")(probs(
    "F.one_hot(torch.multinomial((z / temperature).softmax(1), 1)[:, 0], z.shape[1]).float()"))


right(check.next_probs)(probs("(z / temperature).softmax(-1)"))
right(check.next_probs)(probs(
    "(z > -math.inf) * (logits / temperature).exp() / (kept / temperature).exp().sum(1, True)"))


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


right(check.cached_step)(step())
right(check.cached_step)(step(y="F.scaled_dot_product_attention(q, keys, values)"))


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


wrong(check.next_byte_loss, "cannot be differentiated")(loss(loss=FLAT + ".item()"))

right(check.next_byte_loss)(loss())
right(check.next_byte_loss)(loss(loss="F.cross_entropy(logits.transpose(1, 2), targets)"))


# --- 4


class Later:
    """A number that depends on the shipped checkpoint and on this Python's texts: computed when it is looked at."""

    def __init__(self, f):
        self.f = f

    def __float__(self):
        return float(self.f())


wrong(check.context_gain, "is too large")(5.5)
right(check.context_gain)(Later(check._gain))
right(check.context_gain)(Later(lambda: np.float64(1.01 * check._gain())))
