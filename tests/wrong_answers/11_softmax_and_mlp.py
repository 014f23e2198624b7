import math

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from course_lib.checks import softmax_and_mlp as check
from course_lib.data import load
from wrong_answers import right, wrong

# --- 1a


def log_p(logits, y):
    return torch.log_softmax(logits, 1)[torch.arange(len(y)), y]


@wrong(check.cross_entropy, "the sign is wrong")
def _(logits, y):
    return logits[torch.arange(len(y)), y] - logits.exp().sum(1).log()


@wrong(check.cross_entropy, "the sign is wrong")
def _(logits, y):
    p = torch.softmax(logits, dim=1)
    return torch.stack([p[i, k].log() for i, k in enumerate(y)])


@wrong(check.cross_entropy, "you took the mean over the images")
def _(logits, y):
    return nn.CrossEntropyLoss()(logits, y)


@wrong(check.cross_entropy, "you summed over the images")
def _(logits, y):
    return -log_p(logits, y).sum()


@wrong(check.cross_entropy, "the shape is (B, 1)")
def _(logits, y):
    return torch.logsumexp(logits, 1, keepdim=True) - logits.gather(1, y[:, None])


@wrong(check.cross_entropy, "log probability of all K classes")
def _(logits, y):
    p = logits.exp() / logits.exp().sum(dim=1, keepdim=True)
    return -p.log()


@wrong(check.cross_entropy, "takes the columns y of every row")
def _(logits, y):
    p = logits.exp() / logits.exp().sum(dim=1, keepdim=True)
    return -p[:, y].log()


@wrong(check.cross_entropy, "as if every class were the true one")
def _(logits, y):
    return -F.log_softmax(logits, 1).sum(-1)


@wrong(check.cross_entropy, "softmax is applied twice")
def _(logits, y):
    return F.cross_entropy(F.softmax(logits, dim=1), y, reduction="none")


@wrong(check.cross_entropy, "runs over the images (axis 0)")
def _(logits, y):
    p = logits.exp() / logits.exp().sum(0)
    return -p[torch.arange(len(y)), y].log()


@wrong(check.cross_entropy, "over all images together")
def _(logits, y):
    p = logits.exp() / logits.exp().sum()
    return -p[torch.arange(len(y)), y].log()


@wrong(check.cross_entropy, "you divide by sums of shape (B,)")
def _(logits, y):
    p = logits.exp() / logits.exp().sum(dim=1)
    return torch.stack([-row[k].log() for row, k in zip(p, y)])


@wrong(check.cross_entropy, "you subtract largest logits of shape (B,)")
def _(logits, y):
    logits = logits - logits.max(dim=1).values
    return logits.exp().sum(1).log() - logits[torch.arange(len(y)), y]


@wrong(check.cross_entropy, "the shift cancels only if it is in both")
def _(logits, y):
    highest = logits.max(dim=1, keepdim=True).values
    return (logits - highest).exp().sum(1).log() - logits[torch.arange(len(y)), y]


@wrong(check.cross_entropy, "the logarithm is missing")
def _(logits, y):
    return F.nll_loss(logits.softmax(1), y, reduction="none")


@wrong(check.cross_entropy, "1 - p is not the surprise")
def _(logits, y):
    return 1 - log_p(logits, y).exp()


@wrong(check.cross_entropy, "the first term is missing")
def _(logits, y):
    return F.nll_loss(logits, y, reduction="none")


@wrong(check.cross_entropy, "the logarithm of the sum is missing")
def _(logits, y):
    return logits.exp().sum(1) - logits[range(len(y)), y]


@wrong(check.cross_entropy, "you summed before the exponential")
def _(logits, y):
    return logits.sum(1).exp().log() - logits[range(len(y)), y]


@wrong(check.cross_entropy, "the mean of the exponentials")
def _(logits, y):
    return logits.exp().mean(1).log() - logits[range(len(y)), y]


@wrong(check.cross_entropy, "has base 2")
def _(logits, y):
    return -torch.log2(logits.softmax(1)).gather(1, y.unsqueeze(1)).squeeze(1)


@wrong(check.cross_entropy, "y is not used")
def _(logits, y):
    return -logits.softmax(1).max(1).values.log()


@wrong(check.cross_entropy, "the second term is missing")
def _(logits, y):
    return logits.exp().sum(1).log()


@wrong(check.cross_entropy, "cannot be differentiated")
def _(logits, y):
    return torch.tensor([-row[k].item() for row, k in zip(logits.log_softmax(1), y)])


@wrong(check.cross_entropy, "torch.stack makes one tensor")
def _(logits, y):
    return [torch.logsumexp(a, 0) - a[k] for a, k in zip(logits, y)]


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


def in_place(scores, truth):
    scores -= scores.max(dim=1, keepdim=True).values.detach()
    truth = F.one_hot(truth, scores.shape[1])
    return scores.exp().sum(1).log() - torch.einsum("bk,bk->b", scores, truth.to(scores.dtype))


def by_library(logits, y):
    return nn.CrossEntropyLoss(reduction="none")(logits.double(), y)


def by_nll(logits, y):
    return F.nll_loss(F.log_softmax(logits, dim=-1), y, reduction="none")


for answer in (by_hand, by_loops, in_place, by_library, by_nll):
    right(check.cross_entropy)(answer)

# --- 1b

for answer in (by_loops, in_place, by_library, by_nll):
    right(check.large_logits)(answer)

wrong(check.large_logits, "wrong for large ones")(by_hand)


@wrong(check.large_logits, "wrong for large ones")
def _(logits, y):
    return -torch.softmax(logits, 1)[torch.arange(len(y)), y].log()


@wrong(check.large_logits, "wrong for large ones")
def _(logits, y):
    return -(torch.softmax(logits, 1) + 1e-9)[torch.arange(len(y)), y].log()


@wrong(check.large_logits, "wrong for large ones")
def _(logits, y):
    return -torch.softmax(logits, 1).clamp(1e-7, 1)[torch.arange(len(y)), y].log()


@wrong(check.large_logits, "wrong for large ones")
def _(logits, y):
    return by_hand(logits.clamp(-50, 50), y)


@wrong(check.large_logits, "wrong for large ones")
def _(logits, y):
    return by_hand(logits.double(), y)


@wrong(check.large_logits, "wrong for large ones")
def _(logits, y):
    return torch.nan_to_num(by_hand(logits, y))


@wrong(check.large_logits, "wrong for large ones")
def _(logits, y):
    return by_hand(logits - logits.mean(1, keepdim=True), y)


@wrong(check.large_logits, "you subtract one number from all images")
def _(logits, y):
    return by_hand(logits - logits.max(), y)


@wrong(check.large_logits, "wrong for small logits already")
def _(logits, y):
    return -by_library(logits, y)


# --- 2


@wrong(check.mlp_logits, "the ReLU is missing")
def _(x, W1, b1, W2, b2):
    return (x.flatten(1) @ W1.T + b1) @ W2.T + b2


@wrong(check.mlp_logits, "to the logits too")
def _(x, W1, b1, W2, b2):
    x = x.flatten(1)
    for W, b in ((W1, b1), (W2, b2)):
        x = F.relu(F.linear(x, W, b))
    return x


@wrong(check.mlp_logits, "stands after the second matrix")
def _(x, W1, b1, W2, b2):
    return F.relu(F.linear(F.linear(x.flatten(1), W1, b1), W2, b2))


@wrong(check.mlp_logits, "you kept the negative part")
def _(x, W1, b1, W2, b2):
    h = torch.minimum(x.flatten(1) @ W1.T + b1, torch.tensor(0.0))
    return h @ W2.T + b2


@wrong(check.mlp_logits, "only 0 or 1")
def _(x, W1, b1, W2, b2):
    h = (x.flatten(1) @ W1.T + b1 > 0).float()
    return h @ W2.T + b2


@wrong(check.mlp_logits, "absolute value")
def _(x, W1, b1, W2, b2):
    return (x.flatten(1) @ W1.T + b1).abs() @ W2.T + b2


@wrong(check.mlp_logits, "you used the sigmoid")
def _(x, W1, b1, W2, b2):
    return torch.sigmoid(x.flatten(1) @ W1.T + b1) @ W2.T + b2


@wrong(check.mlp_logits, "you used tanh")
def _(x, W1, b1, W2, b2):
    return torch.tanh(x.flatten(1) @ W1.T + b1) @ W2.T + b2


@wrong(check.mlp_logits, "the leaky ReLU")
def _(x, W1, b1, W2, b2):
    h = x.flatten(1) @ W1.T + b1
    return torch.where(h > 0, h, 0.01 * h) @ W2.T + b2


@wrong(check.mlp_logits, "b1 is missing")
def _(x, W1, b1, W2, b2):
    return (x.flatten(1) @ W1.T).clamp(min=0) @ W2.T + b2


@wrong(check.mlp_logits, "b2 is missing")
def _(x, W1, b1, W2, b2):
    return (x.flatten(1) @ W1.T + b1).clamp(min=0) @ W2.T


@wrong(check.mlp_logits, "b1 and b2 are missing")
def _(x, W1, b1, W2, b2):
    return (x.flatten(1) @ W1.T).clamp(min=0) @ W2.T


@wrong(check.mlp_logits, "you added b1 after the ReLU")
def _(x, W1, b1, W2, b2):
    return ((x.flatten(1) @ W1.T).clamp(min=0) + b1) @ W2.T + b2


@wrong(check.mlp_logits, "you return probabilities")
def _(x, W1, b1, W2, b2):
    a = (x.flatten(1) @ W1.T + b1).clamp(min=0) @ W2.T + b2
    return a.exp() / a.exp().sum(1, keepdim=True)


@wrong(check.mlp_logits, "you return probabilities")
def _(x, W1, b1, W2, b2):
    return F.log_softmax((x.flatten(1) @ W1.T + b1).clamp(min=0) @ W2.T + b2, dim=1)


@wrong(check.mlp_logits, "you return the predicted classes")
def _(x, W1, b1, W2, b2):
    return ((x.flatten(1) @ W1.T + b1).clamp(min=0) @ W2.T + b2).argmax(dim=1)


@wrong(check.mlp_logits, "the second layer is missing")
def _(x, W1, b1, W2, b2):
    return (x.flatten(1) @ W1.T + b1).clamp(min=0)


@wrong(check.mlp_logits, "column by column")
def _(x, W1, b1, W2, b2):
    x = x[:, 0].permute(0, 2, 1).flatten(1)
    return (x @ W1.T + b1).clamp(min=0) @ W2.T + b2


@wrong(check.mlp_logits, "mixes the pixels of different images")
def _(x, W1, b1, W2, b2):
    x = x.reshape(W1.shape[1], -1)                                # (D, B), to be multiplied from the left
    return ((W1 @ x).T + b1).clamp(min=0) @ W2.T + b2


@wrong(check.mlp_logits, "the images are not flattened")
def _(x, W1, b1, W2, b2):
    return (x @ W1.T + b1).clamp(min=0) @ W2.T + b2


@wrong(check.mlp_logits, "wrong for a single one")
def _(x, W1, b1, W2, b2):
    return (x.squeeze().flatten(1) @ W1.T + b1).clamp(min=0) @ W2.T + b2


@wrong(check.mlp_logits, "wrong for a single one")
def _(x, W1, b1, W2, b2):
    return ((x.flatten(1) @ W1.T + b1).clamp(min=0) @ W2.T + b2).squeeze()


@wrong(check.mlp_logits, "both matrices are the wrong way round")
def _(x, W1, b1, W2, b2):
    return (x.flatten(1) @ W1 + b1).clamp(min=0) @ W2 + b2


@wrong(check.mlp_logits, "W1 is the wrong way round")
def _(x, W1, b1, W2, b2):
    return (x.flatten(1) @ W1 + b1).clamp(min=0) @ W2.T + b2


@wrong(check.mlp_logits, "W2 is the wrong way round")
def _(x, W1, b1, W2, b2):
    return (x.flatten(1) @ W1.T + b1).clamp(min=0) @ W2 + b2


@wrong(check.mlp_logits, "shape '[-1, 784]' is invalid")
def _(x, W1, b1, W2, b2):
    return (x.view(-1, 784) @ W1.T + b1).clamp(min=0) @ W2.T + b2


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


@right(check.mlp_logits)
def _(x, W1, b1, W2, b2):
    W1 = W1.view(len(W1), *x.shape[1:])
    h = torch.einsum("bchw,mchw->bm", x, W1) + b1
    h = h * (h > 0)
    return torch.einsum("bm,km->bk", h, W2) + b2


@right(check.mlp_logits)
def _(x, W1, b1, W2, b2):
    model = nn.Sequential(nn.Flatten(), nn.Linear(*W1.T.shape), nn.ReLU(), nn.Linear(*W2.T.shape))
    model.load_state_dict({"1.weight": W1, "1.bias": b1, "3.weight": W2, "3.bias": b2})
    return model(x)


@right(check.mlp_logits)
def _(x, W1, b1, W2, b2):
    columns = x.reshape(len(x), -1).T                             # (D, B)
    h = torch.maximum(W1 @ columns + b1[:, None], torch.zeros(1))  # (M, B)
    return (W2 @ h + b2[:, None]).T


# --- 3


def forward(x, y, W1, b1, W2, b2):
    h = (x @ W1.T + b1).relu()
    P = (h @ W2.T + b2).softmax(1)
    return h, P, F.one_hot(y, len(W2)).float()


def backward(x, h, e, W2):
    return ((e @ W2) * (h > 0)).T @ x, e.T @ h


@wrong(check.mlp_gradients, "in the wrong order")
def _(x, y, W1, b1, W2, b2):
    h, P, Y = forward(x, y, W1, b1, W2, b2)
    first, second = backward(x, h, (P - Y) / len(x), W2)
    return second, first


@wrong(check.mlp_gradients, "both gradients are transposed")
def _(x, y, W1, b1, W2, b2):
    h, P, Y = forward(x, y, W1, b1, W2, b2)
    e = (P - Y) / len(x)
    return x.T @ (e @ W2 * (h > 0)), h.T @ e


@wrong(check.mlp_gradients, "the gradient for W1 is transposed")
def _(x, y, W1, b1, W2, b2):
    h, P, Y = forward(x, y, W1, b1, W2, b2)
    e = (P - Y) / len(x)
    return x.T @ (e @ W2 * (h > 0)), e.T @ h


@wrong(check.mlp_gradients, "the gradient for W2 is transposed")
def _(x, y, W1, b1, W2, b2):
    h, P, Y = forward(x, y, W1, b1, W2, b2)
    e = (P - Y) / len(x)
    return (e @ W2 * (h > 0)).T @ x, h.T @ e


@wrong(check.mlp_gradients, "the sign is wrong")
def _(x, y, W1, b1, W2, b2):
    h, P, Y = forward(x, y, W1, b1, W2, b2)
    return backward(x, h, (Y - P) / len(x), W2)


@wrong(check.mlp_gradients, "yours has not: you summed")
def _(x, y, W1, b1, W2, b2):
    h, P, Y = forward(x, y, W1, b1, W2, b2)
    return backward(x, h, P - Y, W2)


@wrong(check.mlp_gradients, "missing in the gradient for W1")
def _(x, y, W1, b1, W2, b2):
    h, P, Y = forward(x, y, W1, b1, W2, b2)
    first, second = backward(x, h, P - Y, W2)
    return first, second / len(x)


@wrong(check.mlp_gradients, "missing in the gradient for W2")
def _(x, y, W1, b1, W2, b2):
    h, P, Y = forward(x, y, W1, b1, W2, b2)
    first, second = backward(x, h, P - Y, W2)
    return first / len(x), second


@wrong(check.mlp_gradients, "divided by N twice")
def _(x, y, W1, b1, W2, b2):
    h, P, Y = forward(x, y, W1, b1, W2, b2)
    first, second = backward(x, h, (P - Y) / len(x), W2)
    return first / len(x), second


@wrong(check.mlp_gradients, "over images and classes")
def _(x, y, W1, b1, W2, b2):
    h, P, Y = forward(x, y, W1, b1, W2, b2)
    return backward(x, h, (P - Y) / P.numel(), W2)


@wrong(check.mlp_gradients, "the gradient for W1 ignores the ReLU")
def _(x, y, W1, b1, W2, b2):
    h, P, Y = forward(x, y, W1, b1, W2, b2)
    e = (P - Y) / len(x)
    return (e @ W2).T @ x, e.T @ h


@wrong(check.mlp_gradients, "applied the ReLU to the gradient itself")
def _(x, y, W1, b1, W2, b2):
    h, P, Y = forward(x, y, W1, b1, W2, b2)
    e = (P - Y) / len(x)
    return F.relu(e @ W2).T @ x, e.T @ h


@wrong(check.mlp_gradients, "by the hidden units themselves")
def _(x, y, W1, b1, W2, b2):
    h, P, Y = forward(x, y, W1, b1, W2, b2)
    e = (P - Y) / len(x)
    return (e @ W2 * h).T @ x, e.T @ h


@wrong(check.mlp_gradients, "the wrong way round: the gradient passes")
def _(x, y, W1, b1, W2, b2):
    h, P, Y = forward(x, y, W1, b1, W2, b2)
    e = (P - Y) / len(x)
    into = e @ W2
    into[h > 0] = 0
    return into.T @ x, e.T @ h


@wrong(check.mlp_gradients, "before their ReLU")
def _(x, y, W1, b1, W2, b2):
    h, P, Y = forward(x, y, W1, b1, W2, b2)
    e = (P - Y) / len(x)
    return (e @ W2 * (h > 0)).T @ x, e.T @ (x @ W1.T + b1)


@wrong(check.mlp_gradients, "no ReLU at all")
def _(x, y, W1, b1, W2, b2):
    h = x @ W1.T + b1
    e = ((h @ W2.T + b2).softmax(1) - F.one_hot(y, len(W2))) / len(x)
    return (e @ W2).T @ x, e.T @ h


@wrong(check.mlp_gradients, "left out the labels")
def _(x, y, W1, b1, W2, b2):
    h, P, Y = forward(x, y, W1, b1, W2, b2)
    return backward(x, h, P / len(x), W2)


@wrong(check.mlp_gradients, "which may be too few")
def _(x, y, W1, b1, W2, b2):
    h, P, _ = forward(x, y, W1, b1, W2, b2)
    return backward(x, h, (P - F.one_hot(y)) / len(x), W2)


@wrong(check.mlp_gradients, "the softmax is missing")
def _(x, y, W1, b1, W2, b2):
    h, P, Y = forward(x, y, W1, b1, W2, b2)
    return backward(x, h, (h @ W2.T + b2 - Y) / len(x), W2)


@wrong(check.mlp_gradients, "runs over the images (axis 0)")
def _(x, y, W1, b1, W2, b2):
    h, P, Y = forward(x, y, W1, b1, W2, b2)
    P = torch.softmax(h @ W2.T + b2, dim=0)
    return backward(x, h, (P - Y) / len(x), W2)


@wrong(check.mlp_gradients, "through the softmax once more")
def _(x, y, W1, b1, W2, b2):
    h, P, Y = forward(x, y, W1, b1, W2, b2)
    slopes = torch.diag_embed(P) - P[:, :, None] * P[:, None]     # (N, K, K) of the softmax
    return backward(x, h, torch.einsum("nk,nkj->nj", P - Y, slopes) / len(x), W2)


@wrong(check.mlp_gradients, "multiplied by p (1 - p)")
def _(x, y, W1, b1, W2, b2):
    h, P, Y = forward(x, y, W1, b1, W2, b2)
    return backward(x, h, (P - Y) * P * (1 - P) / len(x), W2)


@wrong(check.mlp_gradients, "factor 2 too much")
def _(x, y, W1, b1, W2, b2):
    h, P, Y = forward(x, y, W1, b1, W2, b2)
    return backward(x, h, 2 * (P - Y) / len(x), W2)


@wrong(check.mlp_gradients, "forgets b1: it is part")
def _(x, y, W1, b1, W2, b2):
    h, P, Y = forward(x, y, W1, 0, W2, b2)
    return backward(x, h, (P - Y) / len(x), W2)


@wrong(check.mlp_gradients, "forgets b2: it is part")
def _(x, y, W1, b1, W2, b2):
    h, P, Y = forward(x, y, W1, b1, W2, 0)
    return backward(x, h, (P - Y) / len(x), W2)


@wrong(check.mlp_gradients, "forgets b1 and b2")
def _(x, y, W1, b1, W2, b2):
    h, P, Y = forward(x, y, W1, 0, W2, 0)
    return backward(x, h, (P - Y) / len(x), W2)


@wrong(check.mlp_gradients, "in this order")
def _(x, y, W1, b1, W2, b2):
    h, P, Y = forward(x, y, W1, b1, W2, b2)
    return backward(x, h, (P - Y) / len(x), W2)[0]


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


@right(check.mlp_gradients)
def _(x, y, W1, b1, W2, b2):
    dW1, dW2 = torch.zeros_like(W1), torch.zeros_like(W2)
    for image, label in zip(x, y):
        h = (W1 @ image + b1).clamp(min=0)
        p = torch.softmax(W2 @ h + b2, 0)
        p[label] -= 1
        dW2 += torch.outer(p, h) / len(x)
        dW1 += torch.outer((W2.T @ p) * (h > 0), image) / len(x)
    return [dW1, dW2]


@right(check.mlp_gradients)
def _(x, y, W1, b1, W2, b2):
    h, e, Y = forward(x, y, W1, b1, W2, b2)
    e -= Y
    arrives = torch.einsum("nk,km->nm", e, W2)
    arrives[h == 0] = 0
    return torch.einsum("nm,nd->nmd", arrives, x).mean(0), torch.einsum("nk,nm->nkm", e, h).mean(0)


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


@wrong(check.train_classifier, "the bug is still there: what")
def _(model, x, y, steps, lr):
    return walk(model, x, y, steps, lr, lambda a, y: F.cross_entropy(a.softmax(dim=-1), y))


@wrong(check.train_classifier, "the bug is still there: what")
def _(model, x, y, steps, lr):
    return walk(model, x, y, steps, lr, lambda a, y: -a.softmax(1).log_softmax(1)[range(len(y)), y].mean())


@wrong(check.train_classifier, "the softmax now runs over the images")
def _(model, x, y, steps, lr):
    return walk(model, x, y, steps, lr, lambda a, y: F.cross_entropy(a.softmax(dim=0), y))


@wrong(check.train_classifier, "a sigmoid in place of the softmax")
def _(model, x, y, steps, lr):
    return walk(model, x, y, steps, lr, lambda a, y: F.cross_entropy(torch.sigmoid(a), y))


@wrong(check.train_classifier, "-p, without the logarithm")
def _(model, x, y, steps, lr):
    return walk(model, x, y, steps, lr, lambda a, y: F.nll_loss(a.softmax(1), y))


@wrong(check.train_classifier, "minus a logit")
def _(model, x, y, steps, lr):
    return walk(model, x, y, steps, lr, lambda a, y: F.nll_loss(a, y))


@wrong(check.train_classifier, "the log-softmax runs over the images")
def _(model, x, y, steps, lr):
    return walk(model, x, y, steps, lr, lambda a, y: F.nll_loss(F.log_softmax(a, dim=0), y))


@wrong(check.train_classifier, "you sum the losses")
def _(model, x, y, steps, lr):
    return walk(model, x, y, steps, lr, lambda a, y: nn.CrossEntropyLoss(reduction="sum")(a, y))


@wrong(check.train_classifier, "the squared error is another loss")
def _(model, x, y, steps, lr):
    return walk(model, x, y, steps, lr, lambda a, y: F.mse_loss(a.softmax(1), F.one_hot(y, a.shape[1]).float()))


@wrong(check.train_classifier, "the sign of the logits")
def _(model, x, y, steps, lr):
    return walk(model, x, y, steps, lr, lambda a, y: F.cross_entropy(-a, y))


@wrong(check.train_classifier, "the momentum is gone")
def _(model, x, y, steps, lr):
    return walk(model, x, y, steps, lr, F.cross_entropy, keep=0)


@wrong(check.train_classifier, "without it the bug is still there")
def _(model, x, y, steps, lr):
    return walk(model, x, y, steps, lr, lambda a, y: F.cross_entropy(a.softmax(1), y), keep=0)


@wrong(check.train_classifier, "you add a tenth")
def _(model, x, y, steps, lr):
    return walk(model, x, y, steps, lr, F.cross_entropy, part=0.1)


@wrong(check.train_classifier, "with another one the bug is still there")
def _(model, x, y, steps, lr):
    return walk(model, x, y, steps, lr, lambda a, y: F.cross_entropy(a.softmax(1), y), part=0.1)


@wrong(check.train_classifier, "the step goes up")
def _(model, x, y, steps, lr):
    return walk(model, x, y, steps, -lr, F.cross_entropy)


@wrong(check.train_classifier, "nothing (None)")
def _(model, x, y, steps, lr):
    walk(model, x, y, steps, lr, F.cross_entropy)


@right(check.train_classifier)
def _(model, x, y, steps, lr):
    return walk(model, x, y, steps, lr, lambda a, y: F.nll_loss(a.softmax(1).log(), y))


@right(check.train_classifier)
def _(model, x, y, steps, lr):
    return walk(model, x, y, steps, lr, lambda a, y: F.cross_entropy(a.log_softmax(1), y))    # harmless, see 4b


@right(check.train_classifier)
def _(model, x, y, steps, lr):
    optimizer, losses = torch.optim.SGD(model.parameters(), lr=lr, momentum=0.9), []
    for _ in range(steps):
        optimizer.zero_grad()
        losses.append(F.cross_entropy(model(x), y))
        losses[-1].backward()
        optimizer.step()
    return losses


@right(check.train_classifier)
def _(model, x, y, steps, lr):
    velocity, losses = [0.0] * len(list(model.parameters())), np.zeros(steps)
    for step in range(steps):
        loss = sum(by_hand(model(a[None]), k[None])[0] for a, k in zip(x, y)) / len(y)
        model.zero_grad()
        loss.backward()
        for i, w in enumerate(model.parameters()):
            velocity[i] = 0.9 * velocity[i] + w.grad
            w.data -= lr * velocity[i]
        losses[step] = loss.item()
    return losses


# --- 5

DIGITS = load("digits")
Q = 0.937

wrong(check.nearest_accuracy, "the share of wrong answers", DIGITS)(1 - Q)
wrong(check.nearest_accuracy, "in percent", DIGITS)(100 * Q)
wrong(check.nearest_accuracy, "the number of right answers", DIGITS)(937)
wrong(check.nearest_accuracy, "each found itself", DIGITS)(1.0)
wrong(check.nearest_accuracy, "the farthest training digit", DIGITS)(torch.tensor(0.016))
wrong(check.nearest_accuracy, "the largest product", DIGITS)(0.679)
wrong(check.nearest_accuracy, "the mean image of each class", DIGITS)(0.804)
wrong(check.nearest_accuracy, "too small", DIGITS)(0.93)
wrong(check.nearest_accuracy, "too large", DIGITS)(0.95)
wrong(check.nearest_accuracy, "no value yet", DIGITS)(...)
right(check.nearest_accuracy, DIGITS)(Q)
right(check.nearest_accuracy, DIGITS)(torch.tensor(Q))
right(check.nearest_accuracy, DIGITS)(np.float64(0.938))

wrong(check.standard_error, "in percent", DIGITS)(0.768)
wrong(check.standard_error, "the square root is missing", DIGITS)(Q * (1 - Q) / 1000)
wrong(check.standard_error, "of a single answer", DIGITS)(torch.tensor(0.243))
wrong(check.standard_error, "after the square root", DIGITS)(0.000243)
wrong(check.standard_error, "not the training digits", DIGITS)(math.sqrt(Q * (1 - Q) / 4000))
wrong(check.standard_error, "this is two standard errors", DIGITS)(0.0154)
wrong(check.standard_error, "1 / root of n", DIGITS)(1000**-0.5)
wrong(check.standard_error, "1 / root of n", DIGITS)((Q / 1000) ** 0.5)
wrong(check.standard_error, "too large", DIGITS)(0.01)
wrong(check.standard_error, "one number is asked for", DIGITS)((Q, 0.0077))
right(check.standard_error, DIGITS)((Q * (1 - Q) / 1000) ** 0.5)
right(check.standard_error, DIGITS)(np.float32(0.0077))
right(check.standard_error, DIGITS)(float(np.random.default_rng(0).binomial(1000, Q, 20_000).std() / 1000))
