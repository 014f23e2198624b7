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


wrong(check.ece, "exactly 1, fall out")(ece(last=False))

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


right(check.train_augmented)(train())
right(check.train_augmented)(train(lambda x, distort: (x, x), each=True))

# --- 5

right(check.accuracy_moved)(0.578)
wrong(check.accuracy_moved, "in percent")(57.8)
