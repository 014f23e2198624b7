import torch
from torch.nn import functional as F

from course_lib.checks import convnet as check
from wrong_answers import equivalent, right, wrong

# --- 1


@right(check.convolve)
def _(x, w, stride):
    (_, H, W), (_, kh, kw), s = x.shape, w.shape, stride
    rows, columns = (H - kh) // s + 1, (W - kw) // s + 1
    return torch.stack([torch.stack([(x[:, i * s:i * s + kh, j * s:j * s + kw] * w).sum() for j in range(columns)])
                        for i in range(rows)])


right(check.convolve)(lambda x, w, stride: F.conv2d(x[None], w[None], stride=stride).squeeze(0).squeeze(0))


@wrong(check.convolve, "right for square filters")
def _(x, w, stride):
    k = w.shape[-1]
    windows = x.unfold(1, k, stride).unfold(2, k, stride)
    return torch.einsum("cijuv,cuv->ij", windows, w)


# --- 2

right(check.max_pool)(lambda x, k: F.max_pool2d(x, k))
right(check.max_pool)(lambda x, k: x.unfold(2, k, k).unfold(3, k, k).max(-1).values.max(-1).values)
wrong(check.max_pool, "where k divides H and W")(
    lambda x, k: x.view(*x.shape[:2], x.shape[2] // k, k, x.shape[3] // k, k).amax((3, 5)))
equivalent(check.max_pool, "x.unfold(2, k, k).unfold(3, k, k) -> x.unfold(3, k, k).unfold(2, k, k)",
           "one maximum is taken over both")

# --- 3


def ece(inside=lambda c, low, high: (c > low) & (c <= high)):
    def answer(probs, y, n_bins):
        confidence, answers = probs.max(dim=1)
        error = 0.0
        for k in range(n_bins):
            here = inside(confidence, k / n_bins, (k + 1) / n_bins)
            if here.any():
                gap = confidence[here].mean() - (answers == y)[here].float().mean()
                error += here.float().mean() * gap.abs()
        return error
    return answer


right(check.ece)(ece())
right(check.ece)(lambda probs, y, n_bins: ece()(probs, y, n_bins).item())
wrong(check.ece, "exactly 1, fall out")(ece(lambda c, low, high: (c >= low) & (c < high)))

# --- 4


def train(distort_all):
    def answer(model, x, y, distort, epochs, eta):
        optimiser, losses = torch.optim.Adam(model.parameters(), lr=eta), []
        for _ in range(epochs):
            shown = distort(x) if distort_all else x
            for a, label in zip(shown.split(32), y.split(32)):
                loss = F.cross_entropy(model(a if distort_all else distort(a)), label)
                optimiser.zero_grad()
                loss.backward()
                optimiser.step()
                losses.append(loss.item())
        return losses
    return answer


right(check.train_augmented)(train(True))
right(check.train_augmented)(train(False))
equivalent(check.train_augmented, "x.split(32) -> x.split(33)", "these are not trained on")
equivalent(check.train_augmented, "value.detach() -> value", "only its value is compared")

# --- 5

right(check.accuracy_moved)(0.578)
