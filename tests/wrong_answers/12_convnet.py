import numpy as np
import torch
from torch.nn import functional as F

from course_lib.checks import convnet as check
from wrong_answers import right, wrong

# --- 1


def convolve(window=lambda a, w: (a * w).sum(), size=lambda n, k, s: (n - k) // s + 1, step=lambda s: s):
    def answer(x, w, stride):
        (_, H, W), (_, kh, kw), s = x.shape, w.shape, step(stride)
        rows, columns = size(H, kh, stride), size(W, kw, stride)
        return torch.stack([torch.stack([window(x[:, i * s:i * s + kh, j * s:j * s + kw], w) for j in range(columns)])
                            for i in range(rows)])
    return answer


right(check.convolve)(convolve())
right(check.convolve)(lambda x, w, stride: F.conv2d(x[None], w[None], stride=stride).squeeze(0).squeeze(0))


@right(check.convolve)
def _(x, w, stride):
    windows = x.unfold(1, w.shape[1], stride).unfold(2, w.shape[2], stride)
    return torch.einsum("cijuv,cuv->ij", windows, w)


wrong(check.convolve, "upside down")(convolve(lambda a, w: (a * w.flip(1, 2)).sum()))
wrong(check.convolve, "only the first channel")(convolve(lambda a, w: (a[0] * w[0]).sum()))
wrong(check.convolve, "mean of the products")(convolve(lambda a, w: (a * w).mean()))
wrong(check.convolve, "windows are those of stride 1")(convolve(step=lambda s: 1))
wrong(check.convolve, "one row and one column too small")(convolve(size=lambda n, k, s: (n - k) // s))
wrong(check.convolve, "an axis too many")(lambda x, w, stride: F.conv2d(x[None], w[None], stride=stride)[0])
wrong(check.convolve, "stride is not used")(lambda x, w, stride: F.conv2d(x[None], w[None])[0, 0])
wrong(check.convolve, "not summed over the channels")(
    lambda x, w, stride: F.conv2d(x[None], w[:, None], stride=stride, groups=len(x))[0])


@wrong(check.convolve, "right for square filters")
def _(x, w, stride):
    k = w.shape[-1]
    windows = x.unfold(1, k, stride).unfold(2, k, stride)
    return torch.einsum("cijuv,cuv->ij", windows, w)


# --- 2

right(check.max_pool)(lambda x, k: F.max_pool2d(x, k))
right(check.max_pool)(lambda x, k: x.unfold(2, k, k).unfold(3, k, k).max(-1).values.max(-1).values)


@right(check.max_pool)
def _(x, k):
    y = torch.zeros(*x.shape[:2], x.shape[2] // k, x.shape[3] // k)
    for i in range(y.shape[2]):
        for j in range(y.shape[3]):
            y[:, :, i, j] = x[:, :, i * k:i * k + k, j * k:j * k + k].amax((2, 3))
    return y


@wrong(check.max_pool, "maximum starts from 0")
def _(x, k):
    y = torch.zeros(*x.shape[:2], x.shape[2] // k, x.shape[3] // k)
    for i in range(k):
        for j in range(k):
            y = torch.maximum(y, x[:, :, i::k, j::k][:, :, :y.shape[2], :y.shape[3]])
    return y


wrong(check.max_pool, "mean of each window")(lambda x, k: F.avg_pool2d(x, k))
wrong(check.max_pool, "windows overlap: each")(lambda x, k: F.max_pool2d(x, k, 1))
wrong(check.max_pool, "incomplete windows")(lambda x, k: F.max_pool2d(x, k, ceil_mode=True))
wrong(check.max_pool, "2 by 2 whatever")(lambda x, k: F.max_pool2d(x, 2))
wrong(check.max_pool, "one maximum for the whole map")(lambda x, k: x.flatten(2).amax(2))
wrong(check.max_pool, "every k-th pixel")(lambda x, k: x[:, :, ::k, ::k])
wrong(check.max_pool, "where k divides H and W")(
    lambda x, k: x.view(*x.shape[:2], x.shape[2] // k, k, x.shape[3] // k, k).amax((3, 5)))
wrong(check.max_pool, "the pair (values, indices)")(
    lambda x, k: x.unfold(2, k, k).unfold(3, k, k).flatten(4).max(-1))

# --- 3


def ece(gap=lambda c, r: (c.mean() - r.mean()).abs(), weight=lambda here: here.float().mean(), empty=False, last=True,
        total=sum):
    def answer(probs, y, n_bins):
        confidence, answers = probs.max(dim=1)
        terms = [torch.tensor(0.0)]
        for k in range(n_bins):
            here = (confidence > k / n_bins) & (confidence <= (k + 1) / n_bins)
            if not last:
                here = (confidence >= k / n_bins) & (confidence < (k + 1) / n_bins)
            if empty or here.any():
                terms.append(weight(here) * gap(confidence[here], (answers == y)[here].float()))
        return total(terms)
    return answer


right(check.ece)(ece())
right(check.ece)(lambda probs, y, n_bins: ece()(probs, y, n_bins).item())


@right(check.ece)
def _(probs, y, n_bins):
    confidence, correct = probs.numpy().max(1), (probs.argmax(1) == y).numpy()
    bins = np.minimum((confidence * n_bins).astype(int), n_bins - 1)
    return sum(abs((confidence[bins == k] - correct[bins == k]).sum()) for k in range(n_bins)) / len(confidence)


wrong(check.ece, "nan as soon as a bin is empty")(ece(empty=True))
wrong(check.ece, "exactly 1, fall out")(ece(last=False))
wrong(check.ece, "without weights")(ece(weight=lambda here: 1))
wrong(check.ece, "not by their share")(ece(weight=lambda here: here.sum()))
wrong(check.ece, "absolute value once")(ece(gap=lambda c, r: c.mean() - r.mean(), total=lambda t: sum(t).abs()))
wrong(check.ece, "squared the gaps")(ece(gap=lambda c, r: (c.mean() - r.mean()) ** 2))
wrong(check.ece, "that is not empty counts the same")(
    ece(weight=lambda here: 1, total=lambda t: sum(t) / max(1, len(t) - 1)))
wrong(check.ece, "softmax to numbers")(lambda probs, y, n_bins: ece()(probs.softmax(1), y, n_bins))

# --- 4


def train(epoch=lambda x, distort: (x, distort(x)), before=lambda x, distort: x, clear=True, both=False, each=None):
    def answer(model, x, y, distort, epochs, eta):
        optimiser, losses = torch.optim.Adam(model.parameters(), lr=eta), []
        x = before(x, distort)
        for _ in range(epochs):
            x, shown = epoch(x, distort)
            for a, b, label in zip(x.split(32), shown.split(32), y.split(32)):
                if each:
                    b = distort(a)
                loss = F.cross_entropy(model(torch.cat([a, b]) if both else b), torch.cat([label] * (1 + both)))
                if clear:
                    optimiser.zero_grad()
                loss.backward()
                optimiser.step()
                losses.append(loss.item())
        return losses
    return answer


def pile_up(x, distort):
    x = distort(x)
    return x, x


right(check.train_augmented)(train())
right(check.train_augmented)(train(lambda x, distort: (x, x), each=True))
right(check.train_augmented)(
    lambda model, x, y, distort, epochs, eta: torch.tensor(train()(model, x, y, distort, epochs, eta)))
wrong(check.train_augmented, "the bug is still there: on what")(train(pile_up))
wrong(check.train_augmented, "cleared either")(train(pile_up, clear=False))
wrong(check.train_augmented, "once for all epochs")(
    train(lambda x, distort: (x, x), before=lambda x, distort: distort(x)))
wrong(check.train_augmented, "never sees a distorted")(train(lambda x, distort: (x, x)))
wrong(check.train_augmented, "right now, but the gradients")(train(clear=False))
wrong(check.train_augmented, "clean and the distorted")(train(both=True))

# --- 5

right(check.accuracy_moved)(0.578)
wrong(check.accuracy_moved, "in percent")(57.8)
wrong(check.accuracy_moved, "share of wrong answers")(0.422)
wrong(check.accuracy_moved, "come in again at the top")(0.383)
wrong(check.accuracy_moved, "moved up")(0.544)
wrong(check.accuracy_moved, "moved to the right")(0.895)
