import torch
from torch.nn import functional as F

from course_lib.checks import start_here as check
from wrong_answers import equivalent, right, walk, wrong

# --- 1


@right(check.squared_distances)
def _(x, y):
    return torch.tensor([[((a - b) ** 2).sum().item() for b in y] for a in x])


@right(check.squared_distances)
def _(x, y):
    table = torch.empty(len(x), len(y))
    for i in range(len(x)):
        for j in range(len(y)):
            table[i, j] = ((x[i] - y[j]) ** 2).sum()
    return table


# --- 2


@wrong(check.binary_cross_entropy, "wrong for large ones")
def _(z, y):
    p = 1 / (1 + torch.exp(-z))
    return -(y * torch.log(p) + (1 - y) * torch.log(1 - p)).mean()


@right(check.binary_cross_entropy)
def _(z, y):
    return F.binary_cross_entropy_with_logits(z, y.float())


@right(check.binary_cross_entropy)
def _(z, y):
    total = 0
    for a, b in zip(z, y):
        total += -F.logsigmoid(a) if b else -F.logsigmoid(-a)
    return total / len(z)


# --- 3


@right(check.training_step)
def _(w, b, x, y, eta):
    w, b = w.requires_grad_(), b.requires_grad_()
    F.binary_cross_entropy_with_logits(x @ w + b, y).backward()
    with torch.no_grad():
        return w - eta * w.grad, b - eta * b.grad


@right(check.training_step)
def _(w, b, x, y, eta):
    e = torch.sigmoid(x @ w + b) - y
    return [w - eta * torch.einsum("n,nd->d", e, x) / len(x), b - eta * e.mean()]

# --- 4

right(check.fit_curve)(walk(lambda out, y: ((out - y[:, None]) ** 2).mean()))
right(check.fit_curve)(walk(lambda out, y: F.mse_loss(out.squeeze(), y.squeeze())))
equivalent(check.fit_curve, "value.detach() -> value", "only its value is compared")

# --- 5a

A = torch.tensor([[1.0, 0.9], [0.8, 1.1], [-1.2, -0.3], [0.5, 1.3]])
c = torch.tensor([1.0, -1.0, 0.5, 2.0])


def valley(w):
    return (A @ w - c).square().mean()


wrong(check.largest_eta, "too large", valley)(0.7)
wrong(check.largest_eta, "too small", valley)(0.5)
right(check.largest_eta, valley)(0.63)
right(check.largest_eta, valley)(torch.tensor([0.6284], requires_grad=True))
