import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from course_lib.checks import softmax_and_mlp as check
from course_lib.data import load
from wrong_answers import equivalent, right, walk, wrong

# --- 1


def by_hand(logits, y):                                           # right for small logits, and so for 1a
    return logits.exp().sum(1).log() - logits[torch.arange(len(y)), y]


def by_library(logits, y):
    return nn.CrossEntropyLoss(reduction="none")(logits.double(), y)


right(check.cross_entropy)(by_hand)
right(check.cross_entropy)(by_library)
right(check.large_logits)(lambda z, y: by_hand(z - z.max(1, keepdim=True).values, y))
right(check.large_logits)(by_library)
wrong(check.large_logits, "wrong for large ones")(by_hand)
wrong(check.large_logits, "you subtract one number from all images")(lambda z, y: by_hand(z - z.max(), y))
wrong(check.large_logits, "wrong for small logits already")(lambda z, y: -by_library(z, y))

# --- 2


@wrong(check.mlp_logits, "wrong for a single one")
def _(x, W1, b1, W2, b2):
    return (x.squeeze().flatten(1) @ W1.T + b1).clamp(min=0) @ W2.T + b2


@right(check.mlp_logits)
def _(x, W1, b1, W2, b2):
    h = F.linear(x.flatten(1), W1, b1)
    h[h < 0] = 0
    return F.linear(h, W2, b2)


@right(check.mlp_logits)
def _(images, W1, b1, W2, b2):
    hidden = [[max(torch.zeros(()), w @ x.flatten() + b) for w, b in zip(W1, b1)] for x in images]
    return torch.stack([W2 @ torch.stack(h) + b2 for h in hidden])


# --- 3


@right(check.mlp_gradients)
def _(x, y, W1, b1, W2, b2):
    W1.requires_grad_()
    W2.requires_grad_()
    F.cross_entropy((x @ W1.T + b1).relu() @ W2.T + b2, y).backward()
    return W1.grad, W2.grad


@right(check.mlp_gradients)
def _(x, y, W1, b1, W2, b2):
    h = F.relu(F.linear(x, W1, b1))
    e = F.linear(h, W2, b2).softmax(1)
    e[torch.arange(len(y)), y] -= 1
    d = torch.where(h == 0, 0, e @ W2)
    return torch.einsum("nm,nd->md", d, x) / len(x), torch.einsum("nk,nm->km", e, h) / len(x)


equivalent(check.mlp_gradients, "h > 0 -> h >= 0", "no unit is exactly 0")

# --- 4

right(check.train_classifier)(walk(lambda a, y: F.nll_loss(a.softmax(1).log(), y), momentum=0.9))
right(check.train_classifier)(walk(lambda a, y: F.cross_entropy(a.log_softmax(1), y), momentum=0.9))  # harmless, see 4b
equivalent(check.train_classifier, "value.detach() -> value", "only its value is compared")

# --- 5

DIGITS = load("digits")
Q = 0.937

wrong(check.nearest_accuracy, "too large", DIGITS)(0.95)
right(check.nearest_accuracy, DIGITS)(torch.tensor(Q))
right(check.standard_error, DIGITS)((Q * (1 - Q) / 1000) ** 0.5)
right(check.standard_error, DIGITS)(np.float32(0.0077))
