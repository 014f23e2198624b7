import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from course_lib.checks import start_here as check
from wrong_answers import right, wrong

# --- 1


@wrong(check.squared_distances, "took the square root")
def _(x, y):
    return torch.cdist(x, y)


@wrong(check.squared_distances, "took the square root")
def _(x, y):
    return (x.unsqueeze(1) - y.unsqueeze(0)).norm(dim=2)


@wrong(check.squared_distances, "absolute differences")
def _(x, y):
    return torch.cdist(x, y, p=1)


@wrong(check.squared_distances, "summed before you squared")
def _(x, y):
    return (x.sum(1)[:, None] - y.sum(1)) ** 2


@wrong(check.squared_distances, "took the mean over the D coordinates")
def _(x, y):
    return torch.stack([F.mse_loss(a.expand_as(y), y, reduction="none").mean(1) for a in x])


@wrong(check.squared_distances, "rows and columns are swapped")
def _(x, y):
    return ((x - y[:, None]) ** 2).sum(2)


@wrong(check.squared_distances, "have not summed")
def _(x, y):
    return (x[:, None, :] - y[None, :, :]) ** 2


@wrong(check.squared_distances, "wrong axis: the differences")
def _(x, y):
    return (x[:, None, :] - y[None, :, :]).pow(2).sum(dim=1)


@wrong(check.squared_distances, "over the first axis")
def _(x, y):
    return (x[:, None, :] - y[None, :, :]).pow(2).sum(axis=0)


@wrong(check.squared_distances, "summed everything to one number")
def _(x, y):
    total = 0.0
    for a in x:
        for b in y:
            total = total + ((a - b) ** 2).sum()
    return total


@wrong(check.squared_distances, "every row of x must meet")
def _(x, y):
    return ((x - y) ** 2).sum(dim=1)


@wrong(check.squared_distances, "lost the factor 2")
def _(x, y):
    return (x * x).sum(1, keepdim=True) + (y * y).sum(1) - x @ y.T


@wrong(check.squared_distances, "last sign is a minus")
def _(x, y):
    return (x * x).sum(1, keepdim=True) + (y * y).sum(1) + 2 * torch.einsum("nd,md->nm", x, y)


@wrong(check.squared_distances, "is a NumPy array")
def _(x, y):
    x, y = x.detach().numpy(), y.detach().numpy()
    return ((x[:, None] - y) ** 2).sum(-1)


@wrong(check.squared_distances, "torch.stack makes one tensor")
def _(x, y):
    return [[((a - b) ** 2).sum() for b in y] for a in x]


@right(check.squared_distances)
def _(x, y):
    table = [[((a - b) ** 2).sum().item() for b in y] for a in x]
    return torch.tensor(table)


@wrong(check.squared_distances, "IndexError")
def _(x, y):
    return torch.stack([torch.stack([((x[i] - y[j + 1]) ** 2).sum() for j in range(len(y))]) for i in range(len(x))])


@right(check.squared_distances)
def _(x, y):
    table = torch.empty(len(x), len(y))
    for i in range(len(x)):
        for j in range(len(y)):
            table[i, j] = ((x[i] - y[j]) ** 2).sum()
    return table


@right(check.squared_distances)
def _(x, y):
    return (x**2).sum(1, keepdim=True) - 2 * torch.einsum("nd,md->nm", x, y) + (y**2).sum(1)


@right(check.squared_distances)
def _(x, y):
    return torch.cdist(x.double(), y.double(), compute_mode="donot_use_mm_for_euclid_dist") ** 2


@right(check.squared_distances)
def _(points, others):
    points = points.unsqueeze(1).repeat(1, len(others), 1)
    points -= others
    points *= points
    return points.sum(dim=2)


@right(check.squared_distances)
def _(x, y):
    return torch.stack([F.mse_loss(a.expand_as(y), y, reduction="none").sum(1) for a in x])


# --- 2


@wrong(check.binary_cross_entropy, "wrong for large ones")
def _(z, y):
    p = 1 / (1 + torch.exp(-z))
    return -(y * torch.log(p) + (1 - y) * torch.log(1 - p)).mean()


@wrong(check.binary_cross_entropy, "wrong for large ones")
def _(z, y):
    p = torch.sigmoid(z)
    return -(y * torch.log(p + 1e-8) + (1 - y) * torch.log(1 - p + 1e-8)).mean()


@wrong(check.binary_cross_entropy, "wrong for large ones")
def _(z, y):
    return F.binary_cross_entropy(torch.sigmoid(z).clamp(1e-6, 1 - 1e-6), y.float())


@wrong(check.binary_cross_entropy, "wrong for large ones")
def _(z, y):
    return nn.BCELoss()(z.sigmoid(), y.float())


@wrong(check.binary_cross_entropy, "wrong for large ones")
def _(z, y):
    return (torch.log(1 + torch.exp(z)) - y * z).mean()


@wrong(check.binary_cross_entropy, "wrong for large ones")
def _(z, y):
    p = torch.nan_to_num(torch.sigmoid(z))
    return -torch.nan_to_num(torch.where(y == 1, p, 1 - p).log()).mean()


@wrong(check.binary_cross_entropy, "the sign is wrong")
def _(z, y):
    return (y * F.logsigmoid(z) + (1 - y) * F.logsigmoid(-z)).mean()


@wrong(check.binary_cross_entropy, "you summed over the N examples")
def _(z, y):
    return F.binary_cross_entropy_with_logits(z, y.float(), reduction="sum")


@wrong(check.binary_cross_entropy, "one loss per example")
def _(z, y):
    return -torch.where(y == 1, F.logsigmoid(z), F.logsigmoid(-z))


@wrong(check.binary_cross_entropy, "the two classes are swapped")
def _(z, y):
    return -torch.where(y == 0, F.logsigmoid(z), F.logsigmoid(-z)).mean()


@wrong(check.binary_cross_entropy, "the examples with y = 0 cost nothing")
def _(z, y):
    return -(F.logsigmoid(z) * y).sum() / len(z)


@wrong(check.binary_cross_entropy, "the examples with y = 1 cost nothing")
def _(z, y):
    return (F.softplus(z) * (y == 0)).mean()


@wrong(check.binary_cross_entropy, "the sigmoid is applied twice")
def _(z, y):
    return nn.BCEWithLogitsLoss()(torch.sigmoid(z), y.float())


@wrong(check.binary_cross_entropy, "not 1 - log p")
def _(z, y):
    log_p = F.logsigmoid(z)
    return -torch.where(y == 1, log_p, 1 - log_p).mean()


@wrong(check.binary_cross_entropy, "has base 2")
def _(z, y):
    return F.softplus(torch.where(y == 1, -z, z)).mean() / np.log(2)


@wrong(check.binary_cross_entropy, "squared error of the probability")
def _(z, y):
    return F.mse_loss(torch.sigmoid(z), y.float())


@wrong(check.binary_cross_entropy, "y is not used")
def _(z, y):
    return F.softplus(-z).mean()


@wrong(check.binary_cross_entropy, "cannot be differentiated")
def _(z, y):
    return F.binary_cross_entropy_with_logits(z, y.float()).item()


@wrong(check.binary_cross_entropy, "cannot be differentiated")
def _(z, y):
    with torch.no_grad():
        return F.binary_cross_entropy_with_logits(z, y.double())


@wrong(check.binary_cross_entropy, "cannot be differentiated")
def _(z, y):
    z, y = z.detach().numpy(), y.numpy()
    return np.logaddexp(0, np.where(y == 1, -z, z)).mean()


@wrong(check.binary_cross_entropy, "expected Float), in line")
def _(z, y):
    return F.binary_cross_entropy(torch.sigmoid(z), y)


@right(check.binary_cross_entropy)
def _(z, y):
    return F.binary_cross_entropy_with_logits(z, y.float())


@right(check.binary_cross_entropy)
def _(z, y):
    total = 0
    for a, b in zip(z, y):
        total += -F.logsigmoid(a) if b else -F.logsigmoid(-a)
    return total / len(z)


@right(check.binary_cross_entropy)
def _(z, y):
    return (z.clamp(min=0) - z * y + torch.log1p(torch.exp(-z.abs()))).mean()


@right(check.binary_cross_entropy)
def _(z, y):
    two = torch.stack([torch.zeros_like(z), z], dim=1).double()
    return nn.CrossEntropyLoss()(two, y)


@right(check.binary_cross_entropy)
def _(logits, labels):
    sign = 2 * labels - 1
    logits *= sign
    return -F.logsigmoid(logits).mean()


# --- 3


def error(w, b, x, y):
    return torch.sigmoid(x @ w + b) - y


@wrong(check.training_step, "you went up")
def _(w, b, x, y, eta):
    e = y - torch.sigmoid(x @ w + b)
    return w - eta * (x.T @ e) / len(y), b - eta * e.mean()


@wrong(check.training_step, "you went up")
def _(w, b, x, y, eta):
    e = error(w, b, x, y)
    return w + eta * (x.T @ e) / len(y), b + eta * e.mean()


@wrong(check.training_step, "yours has not")
def _(w, b, x, y, eta):
    e = error(w, b, x, y)
    return w - eta * (e[:, None] * x).sum(0), b - eta * e.sum()


@wrong(check.training_step, "missing in the gradient for w")
def _(w, b, x, y, eta):
    e = error(w, b, x, y)
    return w - eta * e @ x, b - eta * e.mean()


@wrong(check.training_step, "missing in the gradient for b")
def _(w, b, x, y, eta):
    e = error(w, b, x, y)
    return w - eta * (e[:, None] * x).mean(0), b - eta * e.sum()


@wrong(check.training_step, "divided by N twice")
def _(w, b, x, y, eta):
    e = error(w, b, x, y)
    return w - eta * (e[:, None] * x).mean(0) / len(x), b - eta * e.mean()


@wrong(check.training_step, "b has not changed")
def _(w, b, x, y, eta):
    w = w - eta * x.T @ error(w, b, x, y) / len(x)
    return w, b


@wrong(check.training_step, "w has not changed")
def _(w, b, x, y, eta):
    return w, b - eta * error(w, b, x, y).mean()


@wrong(check.training_step, "neither w nor b")
def _(w, b, x, y, eta):
    e = error(w, b, x, y)
    w - eta * x.T @ e / len(x)
    b - eta * e.mean()
    return w, b


@wrong(check.training_step, "with the new w")
def _(w, b, x, y, eta):
    w = w - eta * x.T @ error(w, b, x, y) / len(x)
    b = b - eta * error(w, b, x, y).mean()
    return w, b


@wrong(check.training_step, "the sigmoid is missing")
def _(w, b, x, y, eta):
    e = (x @ w + b) - y
    return w - eta * x.T @ e / len(x), b - eta * e.mean()


@wrong(check.training_step, "you have left out b")
def _(w, b, x, y, eta):
    e = error(w, 0, x, y)
    return w - eta * x.T @ e / len(x), b - eta * e.mean()


@wrong(check.training_step, "you have left out y")
def _(w, b, x, y, eta):
    p = torch.sigmoid(x @ w + b)
    return w - eta * x.T @ p / len(x), b - eta * p.mean()


@wrong(check.training_step, "multiplied by p (1 - p)")
def _(w, b, x, y, eta):
    p = torch.sigmoid(x @ w + b)
    e = (p - y) * p * (1 - p)
    return w - eta * x.T @ e / len(x), b - eta * e.mean()


@wrong(check.training_step, "factor 2 too much")
def _(w, b, x, y, eta):
    e = error(w, b, x, y)
    return w - eta * 2 * x.T @ e / len(x), b - eta * 2 * e.mean()


@wrong(check.training_step, "eta is not used")
def _(w, b, x, y, eta):
    e = error(w, b, x, y)
    return w - x.T @ e / len(x), b - e.mean()


@wrong(check.training_step, "you return the changes")
def _(w, b, x, y, eta):
    e = error(w, b, x, y)
    return eta * x.T @ e / len(x), eta * e.mean()


@wrong(check.training_step, "you return the gradients")
def _(w, b, x, y, eta):
    e = error(w, b, x, y)
    return x.T @ e / len(x), e.mean()


@wrong(check.training_step, "in the wrong order")
def _(w, b, x, y, eta):
    e = error(w, b, x, y)
    return b - eta * e.mean(), w - eta * x.T @ e / len(x)


@wrong(check.training_step, "in this order")
def _(w, b, x, y, eta):
    return w - eta * x.T @ error(w, b, x, y) / len(x)


@wrong(check.training_step, "the b of training_step has shape")
def _(w, b, x, y, eta):
    e = error(w, b, x, y)
    return w - eta * x.T @ e / len(x), b - eta * e


@wrong(check.training_step, "nothing (None)")
def _(w, b, x, y, eta):
    e = error(w, b, x, y)
    w -= eta * x.T @ e / len(x)
    b -= eta * e.mean()


@right(check.training_step)
def _(w, b, x, y, eta):
    w, b = w.requires_grad_(), b.requires_grad_()
    F.binary_cross_entropy_with_logits(x @ w + b, y).backward()
    with torch.no_grad():
        return w - eta * w.grad, b - eta * b.grad


@right(check.training_step)
def _(w, b, x, y, eta):
    e = error(w, b, x, y)
    w -= eta * torch.einsum("n,nd->d", e, x) / len(x)
    b -= eta * e.mean()
    return [w, b]


@right(check.training_step)
def _(w, b, x, y, eta):
    n, d = x.shape
    new_w, new_b = w.clone().double(), float(b)
    for i in range(n):
        p = 1 / (1 + torch.exp(-(sum(x[i, j] * w[j] for j in range(d)) + b)))
        for j in range(d):
            new_w[j] -= eta * (p - y[i]) * x[i, j] / n
        new_b -= eta * float(p - y[i]) / n
    return new_w, new_b


# --- 4


def walk(model, x, y, steps, eta, loss_of, clear=True):
    losses = []
    model.zero_grad()
    for _ in range(steps):
        loss = loss_of(model(x), y)
        if clear:
            model.zero_grad()
        loss.backward()
        with torch.no_grad():
            for p in model.parameters():
                p -= eta * p.grad
        losses.append(loss.item())
    return losses


@wrong(check.fit_curve, "the bug is still there: look at the shape")
def _(model, x, y, steps, eta):
    return walk(model, x, y, steps, eta, lambda out, y: (out - y).square().mean())


@wrong(check.fit_curve, "the bug is still there: look at the shape")
def _(model, x, y, steps, eta):
    return walk(model, x, y, steps, eta, lambda out, y: ((out - y[None]) ** 2).mean())


@wrong(check.fit_curve, "gradients are no longer cleared: backward")
def _(model, x, y, steps, eta):
    return walk(model, x, y, steps, eta, lambda out, y: (out.squeeze(1) - y).square().mean(), clear=False)


@wrong(check.fit_curve, "no longer cleared either")
def _(model, x, y, steps, eta):
    return walk(model, x, y, steps, eta, lambda out, y: (out - y).square().mean(), clear=False)


@wrong(check.fit_curve, "the mean was asked for")
def _(model, x, y, steps, eta):
    return walk(model, x, y, steps, eta, lambda out, y: (out[:, 0] - y).pow(2).sum())


@wrong(check.fit_curve, "still is a table")
def _(model, x, y, steps, eta):
    return walk(model, x, y, steps, eta, lambda out, y: (out - y).square().mean(1).sum())


@wrong(check.fit_curve, "average the predictions")
def _(model, x, y, steps, eta):
    return walk(model, x, y, steps, eta, lambda out, y: (out.mean(0) - y).square().mean())


@wrong(check.fit_curve, "another loss")
def _(model, x, y, steps, eta):
    return walk(model, x, y, steps, eta, lambda out, y: F.l1_loss(out[:, 0], y))


@wrong(check.fit_curve, "before you square")
def _(model, x, y, steps, eta):
    return walk(model, x, y, steps, eta, lambda out, y: (out[:, 0] - y).mean() ** 2)


@wrong(check.fit_curve, "the step goes up")
def _(model, x, y, steps, eta):
    return walk(model, x, y, steps, -eta, lambda out, y: F.mse_loss(out[:, 0], y))


@wrong(check.fit_curve, "is a list of 0, and a list of 1 is asked for")
def _(model, x, y, steps, eta):
    return walk(model, x, y, steps, eta, lambda out, y: F.mse_loss(out[:, 0], y))[1:]


@wrong(check.fit_curve, "nothing (None)")
def _(model, x, y, steps, eta):
    walk(model, x, y, steps, eta, lambda out, y: F.mse_loss(out[:, 0], y))


@right(check.fit_curve)
def _(model, x, y, steps, eta):
    return walk(model, x, y, steps, eta, lambda out, y: ((out - y[:, None]) ** 2).mean())


@right(check.fit_curve)
def _(model, x, y, steps, eta):
    return walk(model, x, y, steps, eta, lambda out, y: F.mse_loss(out.squeeze(), y.squeeze()))


@right(check.fit_curve)
def _(model, x, y, steps, eta):
    optimizer, losses = torch.optim.SGD(model.parameters(), lr=eta), []
    for _ in range(steps):
        loss = nn.MSELoss()(model(x).flatten(), y)
        losses.append(loss)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return losses


@right(check.fit_curve)
def _(model, x, y, steps, eta):
    losses = torch.zeros(steps)
    for k in range(steps):
        value = sum((model(a[None])[0, 0] - b) ** 2 for a, b in zip(x, y)) / len(x)
        losses[k] = value.detach()
        slopes = torch.autograd.grad(value, list(model.parameters()))
        for p, slope in zip(model.parameters(), slopes):
            p.data.add_(slope, alpha=-eta)
    return losses.numpy()


# --- 5a

A = torch.tensor([[1.0, 0.9], [0.8, 1.1], [-1.2, -0.3], [0.5, 1.3]])
c = torch.tensor([1.0, -1.0, 0.5, 2.0])


def valley(w):
    return (A @ w - c).square().mean()


BORDER = 0.6284
wrong(check.largest_eta, "half the border", valley)(0.314)
wrong(check.largest_eta, "the flat direction alone", valley)(5.23)
wrong(check.largest_eta, "the steep one leaves", valley)(torch.tensor(2.61))
wrong(check.largest_eta, "twice the border", valley)(2 * BORDER)
wrong(check.largest_eta, "do not add up", valley)(0.561)
wrong(check.largest_eta, "the mean of the two", valley)(1.122)
wrong(check.largest_eta, "too large", valley)(0.7)
wrong(check.largest_eta, "too small", valley)(0.5)
wrong(check.largest_eta, "no value yet", valley)(...)
wrong(check.largest_eta, "one number is asked for", valley)((0.1, 0.2))
wrong(check.largest_eta, "is a function", valley)(lambda: 0.6284)
wrong(check.largest_eta, "grew without limit", valley)(float("nan"))
right(check.largest_eta, valley)(0.63)
right(check.largest_eta, valley)(torch.tensor([BORDER], requires_grad=True))
right(check.largest_eta, valley)(np.float32(0.62))
right(check.largest_eta, valley)(np.array(0.64))
