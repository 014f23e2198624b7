
import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from course_lib.checks import softmax_and_mlp as check
from course_lib.data import load
from wrong_answers import right, wrong

# --- 1a


@wrong(check.cross_entropy, "cannot be differentiated")
def _(logits, y):
    return torch.tensor([-row[k].item() for row, k in zip(logits.log_softmax(1), y)])


@wrong(check.cross_entropy, "is a NumPy array")
def _(logits, y):
    a = logits.detach().numpy()
    return np.log(np.exp(a).sum(1)) - a[np.arange(len(a)), y.numpy()]


def by_hand(logits, y):                                           # right for small logits, and so for 1a
    return logits.exp().sum(1).log() - logits[torch.arange(len(y)), y]


def by_loops(logits, y):
    losses = []
    for a, k in zip(logits, y):
        a = a - max(a)
        losses.append(sum(torch.exp(b) for b in a).log() - a[k])
    return torch.stack(losses)


def by_library(logits, y):
    return nn.CrossEntropyLoss(reduction="none")(logits.double(), y)


for answer in (by_hand, by_library):
    right(check.cross_entropy)(answer)

# --- 1b


for answer in (by_loops, by_library):
    right(check.large_logits)(answer)
wrong(check.large_logits, "wrong for large ones")(by_hand)


@wrong(check.large_logits, "you subtract one number from all images")
def _(logits, y):
    return by_hand(logits - logits.max(), y)


@wrong(check.large_logits, "wrong for small logits already")
def _(logits, y):
    return -by_library(logits, y)


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
    rows = []
    for image in images:
        pixels = [p for row in image[0] for p in row]
        hidden = [max(torch.tensor(0.0), sum(w * p for w, p in zip(ws, pixels)) + b) for ws, b in zip(W1, b1)]
        rows.append(torch.stack([sum(w * h for w, h in zip(ws, hidden)) + b for ws, b in zip(W2, b2)]))
    return torch.stack(rows)


# --- 3


@right(check.mlp_gradients)
def _(x, y, W1, b1, W2, b2):
    W1.requires_grad_()
    W2.requires_grad_()
    F.cross_entropy((x @ W1.T + b1).relu() @ W2.T + b2, y).backward()
    return W1.grad, W2.grad


@right(check.mlp_gradients)
def _(x, y, W1, b1, W2, b2):
    W1, W2 = nn.Parameter(W1.double()), nn.Parameter(W2.double())
    h = F.relu(F.linear(x.double(), W1, b1.double()))
    return torch.autograd.grad(F.cross_entropy(F.linear(h, W2, b2.double()), y), (W1, W2))


# --- 4


def walk(model, x, y, steps, lr, loss_of, keep=0.9, part=1.0):
    velocity, losses = [torch.zeros_like(w) for w in model.parameters()], []
    for _ in range(steps):
        loss = loss_of(model(x), y)
        gradient = torch.autograd.grad(loss, list(model.parameters()))
        with torch.no_grad():
            for w, v, g in zip(model.parameters(), velocity, gradient):
                v.mul_(keep).add_(part * g)
                w -= lr * v
        losses.append(loss.item())
    return losses


@right(check.train_classifier)
def _(model, x, y, steps, lr):
    return walk(model, x, y, steps, lr, lambda a, y: F.nll_loss(a.softmax(1).log(), y))


@right(check.train_classifier)
def _(model, x, y, steps, lr):
    return walk(model, x, y, steps, lr, lambda a, y: F.cross_entropy(a.log_softmax(1), y))    # harmless, see 4b


# --- 5

DIGITS = load("digits")
Q = 0.937

wrong(check.nearest_accuracy, "in percent", DIGITS)(100 * Q)
wrong(check.nearest_accuracy, "too small", DIGITS)(0.93)
wrong(check.nearest_accuracy, "too large", DIGITS)(0.95)
wrong(check.nearest_accuracy, "no value yet", DIGITS)(...)
right(check.nearest_accuracy, DIGITS)(Q)
right(check.nearest_accuracy, DIGITS)(torch.tensor(Q))

wrong(check.standard_error, "in percent", DIGITS)(0.768)
wrong(check.standard_error, "too large", DIGITS)(0.01)
wrong(check.standard_error, "one number is asked for", DIGITS)((Q, 0.0077))
right(check.standard_error, DIGITS)((Q * (1 - Q) / 1000) ** 0.5)
right(check.standard_error, DIGITS)(np.float32(0.0077))
