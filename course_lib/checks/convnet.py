"""The checks of exercise 12: a convolution, max-pooling, calibration, a bug hunt in augmentation, a moved test set."""

import functools
import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from course_lib import checkpoint
from course_lib.checks import Implementation, Measurement, Mistake, filled, rand, trained
from course_lib.classify import accuracy
from course_lib.data import load

# --- 1


def _images(g: torch.Generator) -> list[tuple]:
    """Filters that are higher than wide and wider than high; two square ones (cases 2 and 4); places left over."""
    sizes = [((1, 2, 3), (1, 2), 1), ((2, 5, 7), (3, 2), 1), ((3, 9, 8), (3, 3), 2), ((1, 7, 9), (2, 3), 3),
             ((2, 6, 8), (2, 2), 1), ((2, 6, 9), (4, 3), 2)]
    return [(rand(g, *image), rand(g, image[0], *size), stride) for image, size, stride in sizes]


def _convolve(x: Tensor, w: Tensor, stride: int) -> Tensor:
    return F.conv2d(x[None], w[None], stride=stride)[0, 0]


def _visiting(last):
    """The right windows, in each direction only those places in range(0, last(n, k, stride), stride) of all."""
    def convolve(x, w, stride):
        (_, H, W), (_, kh, kw) = x.shape, w.shape
        return _convolve(x, w, 1)[:last(H, kh, stride):stride, :last(W, kw, stride):stride]
    return convolve


def _beginning(x, w, stride):
    n_row, n_column = _convolve(x, w, stride).shape
    return _convolve(x, w, 1)[:n_row, :n_column]


def _zeros_at_the_end(x, w, stride):
    y, short = _convolve(x, w, stride), _visiting(lambda n, k, s: n - k)(x, w, stride)
    return F.pad(short, (0, y.shape[1] - short.shape[1], 0, y.shape[0] - short.shape[0]))


convolve = Implementation(
    "convolve",
    right=_convolve,
    cases=_images,
    slips=[
        ("you turned the filter upside down and back to front: mathematicians do that in a convolution; in deep "
         "learning, and in the formula of the task, w[c, 0, 0] meets the first pixel of the window",
         lambda x, w, s: _convolve(x, w.flip(1, 2), s)),
        ("one filter gives one map (H', W'), the sum over all C channels and the whole window: {}",
         ("you have not summed over the channels",
          lambda x, w, s: torch.stack([_convolve(a[None], b[None], s) for a, b in zip(x, w)])),
         ("yours has an axis too many in front, or two", lambda x, w, s: _convolve(x, w, s)[None],
          lambda x, w, s: _convolve(x, w, s)[None, None]),
         ("only the first channel is used", lambda x, w, s: _convolve(x[:1], w[:1], s)),
         ("you took the mean of the products", lambda x, w, s: _convolve(x, w, s) / w.numel()),
         ("you took the mean over the channels", lambda x, w, s: _convolve(x, w, s) / len(w))),
        ("entry (i, j) belongs to the window that begins at row i * stride and column j * stride: {}",
         ("the size is right, but your windows are those of stride 1", _beginning),
         ("the stride is not used", lambda x, w, s: _convolve(x, w, 1)),
         ("the stride is used for the rows only", lambda x, w, s: _convolve(x, w, 1)[::s]),
         ("the stride is used for the columns only", lambda x, w, s: _convolve(x, w, 1)[:, ::s])),
        ("a filter of kh rows fits into H rows at the places 0 to H - kh, that is H - kh + 1 with stride 1: {}",
         ("the last place, where it would just fit, is missing", _visiting(lambda n, k, s: n - k)),
         ("your output is a row and a column too small, as (H - kh) // stride counts the steps between the places",
          _visiting(lambda n, k, s: (n - k) // s * s)),
         ("your loops stop too early, and zeros are left in the last row and column", _zeros_at_the_end)),
        ("you put a frame of zeros around the image: no padding is asked for, the filter stays inside",
         lambda x, w, s: F.conv2d(x[None], w[None], stride=s, padding=(w.shape[1] // 2, w.shape[2] // 2))[0, 0]),
        ("right for square filters, and wrong where the filter's height kh differs from its width kw", {0, 1, 3, 5}),
    ],
    hints=("Take an image of 3 rows and 4 columns with the numbers 0 to 11, and a filter with a single 1. What should "
           "come out, and in which shape, with stride 1 and with stride 2?",
           "The result has (H - kh) // stride + 1 rows, and columns likewise. Fill a tensor of zeros in two loops: cut "
           "the window of an entry out of x with all its channels, multiply it with w, and add everything up.",
           "r, c = i * stride, j * stride\n"
           "y[i, j] = (x[:, r:r + kh, c:c + kw] * w).sum()"),
    gradient=("x", "w"), rtol=1e-3, atol=1e-4)

# --- 2


def _maps(g: torch.Generator) -> list[tuple]:
    """Around -1, so that some windows have no positive number; k divides height and width in cases 1 and 2 only."""
    sizes = [((1, 1, 2, 3), 2), ((3, 2, 6, 4), 2), ((1, 3, 9, 6), 3), ((2, 1, 7, 5), 2), ((2, 2, 5, 8), 3)]
    return [(rand(g, *shape) - 1, k) for shape, k in sizes]


def _run_pool(fn, x, k):
    y = fn(x, k)
    if isinstance(y, tuple) and hasattr(y, "values") and hasattr(y, "indices"):
        raise Mistake("max_pool returns the pair (values, indices) that .max(axis) gives: only the values are asked "
                      "for", "Which method gives the largest values alone? Or take the first of the two.")
    return {"": y}


def _windows(x: Tensor, k: int) -> Tensor:
    return x.unfold(2, k, k).unfold(3, k, k)                      # (B, C, H // k, W // k, k, k)


def _cut(x, k, order, axes):
    """The maximum over `axes` after a reshape whose last four axes have these sizes: 0 and 1 stand for H and W // k."""
    H, W = x.shape[2] // k, x.shape[3] // k
    return x[:, :, :H * k, :W * k].reshape(*x.shape[:2], *((H, W, k)[i] for i in order)).amax(axes)


def _pool(x, k, of=lambda windows: windows.amax((-2, -1)), cut=_windows) -> Tensor:
    return of(cut(x, k))


max_pool = Implementation(
    "max_pool",
    right=_pool,
    run=_run_pool,
    cases=_maps,
    slips=[
        ("you kept the incomplete windows at the right and at the bottom: the task drops them",
         lambda x, k: F.max_pool2d(x, k, ceil_mode=True)),
        ("the largest value of each window is asked for: {}",
         ("this is their mean", dict(of=lambda windows: windows.mean((-2, -1)))),
         ("this is the smallest", dict(of=lambda windows: windows.amin((-2, -1)))),
         ("you took the first pixel of each", dict(of=lambda windows: windows[..., 0, 0])),
         ("you took every k-th pixel", lambda x, k: x[..., ::k, ::k]),
         ("you took absolute values first, and its sign belongs to it", lambda x, k: _pool(x.abs(), k)),
         ("yours starts from 0, so that a window with negative numbers only gives 0",
          lambda x, k: _pool(x, k).clamp(min=0))),
        ("a window is k rows high and k columns wide, and begins where the one before ends: {}",
         ("yours overlap", dict(cut=lambda x, k: x.unfold(2, k, 1).unfold(3, k, 1))),
         ("the size is right, but yours overlap",
          lambda x, k: F.max_pool2d(x, k, stride=1)[..., :x.shape[2] // k, :x.shape[3] // k]),
         ("yours are 2 by 2 whatever k is", lambda x, k: _pool(x, 2)),
         ("you took one maximum for the whole map", lambda x, k: x.amax((2, 3))),
         ("only the rows are pooled", lambda x, k: F.max_pool2d(x, (k, 1))),
         ("only the columns are pooled", lambda x, k: F.max_pool2d(x, (1, k)))),
        ("in view or reshape, an axis that counts windows stands before the one inside them, H // k, k, W // k, k: {}",
         ("yours hold pixels that lie far apart", lambda x, k: _cut(x, k, (2, 0, 2, 1), (2, 4))),
         ("yours are pieces of rows, as view swaps no axes", lambda x, k: _cut(x, k, (0, 1, 2, 2), (4, 5)))),
        ("you also took the maximum over the channels: each channel is pooled by itself",
         lambda x, k: _pool(x, k).amax(1), lambda x, k: _pool(x, k).amax(1, keepdim=True)),
        ("right where k divides H and W, and wrong where it does not: rows and columns left over shall be dropped",
         {0, 3, 4}),
    ],
    hints=("Take a map of 4 rows and 5 columns with the numbers 0 to 19, and k 2. Which four numbers should come out?",
           "Fill a tensor of shape (B, C, H // k, W // k) in two loops: the window of entry (i, j) begins at row i * k "
           "and column j * k. Or cut off what is left over, reshape to (B, C, H // k, k, W // k, k), and take the "
           "maximum over the two axes of length k.",
           "y[:, :, i, j] = x[:, :, i * k:(i + 1) * k, j * k:(j + 1) * k].amax((2, 3))"),
    gradient=("x",), rtol=1e-3, atol=1e-4)

# --- 3


def _predictions(g: torch.Generator) -> list[tuple]:
    """Three answers in one bin; one alone; right in the three middle bins and wrong in the two outer ones; all right;
    all wrong; and right or wrong in turns as the confidence grows, with some that are certain."""
    cases = []
    for n, n_class, n_bins in ((3, 3, 1), (1, 4, 5), (200, 6, 5), (61, 2, 10), (40, 3, 4), (60, 3, 6)):
        probs = (torch.linspace(0.1, 2, n)[:, None] ** 2 * rand(g, n, n_class)).softmax(1)
        if len(cases) == 5:
            probs[:9] = F.one_hot(torch.arange(9) % 3, 3).float()
        confidence, answer = probs.max(1)
        second = torch.arange(n) % 2 == 1
        strips = torch.where(confidence == 1, second, 8 * confidence % 2 < 1)
        wrong = (second, second, (confidence - 0.5).abs() > 0.3, confidence < 0, confidence > 0, strips)[len(cases)]
        cases.append((probs, torch.where(wrong, (answer + 1) % n_class, answer), n_bins))
    return cases


def _ece(probs, y, n_bins, confidence=lambda probs, y: probs.amax(1),
         mean=lambda gap, n, n_bins: (gap.abs() * n).sum() / n.sum()) -> Tensor:
    """`mean` of the gaps in all bins that hold n > 0 examples"""
    top = confidence(probs, y)
    k = torch.bucketize(top, torch.linspace(0, 1, n_bins + 1)[1:-1])
    n = torch.bincount(k, minlength=n_bins)
    gap = torch.bincount(k, weights=(probs.argmax(1) == y).double() - top, minlength=n_bins) / n
    return mean(gap[n > 0], n[n > 0], n_bins)


ece = Implementation(
    "ece",
    right=_ece,
    cases=_predictions,
    slips=[
        ("your result is nan as soon as a bin is empty: the mean of no numbers is 0 / 0", dict(
            mean=lambda gap, n, n_bins: (gap.abs() * n).sum() / n.sum() + (math.nan if len(n) < n_bins else 0))),
        ("opposite gaps must not cancel each other, so the absolute value belongs to each bin: {}",
         ("you take it once, at the end", dict(mean=lambda gap, n, _: (gap * n).sum().abs() / n.sum())),
         ("yours keep their sign", dict(mean=lambda gap, n, _: (gap * n).sum() / n.sum()),
          dict(mean=lambda gap, n, _: -(gap * n).sum() / n.sum())),
         ("you have squared them", dict(mean=lambda gap, n, _: (gap.square() * n).sum() / n.sum()))),
        ("each gap is weighted by the share of all examples in its bin, n_k / N: {}",
         ("in yours each bin counts the same", dict(mean=lambda gap, n, _: gap.abs().mean())),
         ("in yours each bin counts the same, even an empty one",
          dict(mean=lambda gap, n, n_bins: gap.abs().sum() / n_bins)),
         ("you added them up without weights", dict(mean=lambda gap, n, _: gap.abs().sum())),
         ("you weigh by n_k, and have not divided by N", dict(mean=lambda gap, n, _: (gap.abs() * n).sum())),
         ("you took the largest gap", dict(mean=lambda gap, n, _: gap.abs().max())),
         ("yours is in percent", dict(mean=lambda gap, n, _: 100 * (gap.abs() * n).sum() / n.sum()))),
        ("you sorted by the probability of the true class: the confidence is the largest probability of a row, whether "
         "the answer is right or not", dict(confidence=lambda probs, y: probs.gather(1, y[:, None])[:, 0])),
        ("there are no bins in your result: you compare the confidence of each single answer with 0 or 1",
         lambda p, y, n_bins: ((p.argmax(1) == y).double() - p.amax(1)).abs().mean()),
        ("you applied the softmax to numbers that are probabilities already",
         lambda p, y, n_bins: _ece(p.softmax(1), y, n_bins)),
        ("you made {} bins whatever n_bins is", ("10", lambda p, y, n_bins: _ece(p, y, 10)),
         ("15", lambda p, y, n_bins: _ece(p, y, 15))),
        ("answers that are certain, with confidence exactly 1, fall out of your last bin", {5},
         "On which side of a bin does its edge belong to it?"),
    ],
    hints=("Print for each bin how many examples it holds, its share of right answers, and its mean confidence. Does "
           "every example lie in exactly one bin?",
           "The largest probability of each row, and where it stands. Bin by bin: which confidences are above its "
           "lower edge and not above its upper? If there are any, add the absolute difference of the two means over "
           "these, times their share of all examples.",
           "confidence, answer = probs.max(1)\n"
           "here = (confidence > k / n_bins) & (confidence <= (k + 1) / n_bins)\n"
           "gap = ((answer == y)[here].float().mean() - confidence[here].mean()).abs()\n"
           "error += here.float().mean() * gap    # if here.any()"),
    rtol=1e-3, atol=1e-5)

# --- 4


class _Roll:
    """A distortion that can be followed: the n-th call moves the images n pixels to the right, in a circle."""

    def __init__(self, fresh: bool):
        self.fresh, self.n = fresh, 0

    def __call__(self, x: Tensor) -> Tensor:
        self.n += 1
        return x.roll(self.n if self.fresh else 1, -1)


def _lessons(g: torch.Generator) -> list[tuple]:
    """At most 32 images are one minibatch. More of them are distorted alike in each call, so that it makes no
    difference whether the epoch is distorted as a whole or minibatch by minibatch."""
    cases = []
    for n, width, epochs, eta in ((3, 5, 1, 0.1), (1, 5, 3, 0.05), (6, 5, 4, 0.1), (40, 5, 3, 0.05)):
        model = filled(nn.Sequential(nn.Flatten(), nn.Linear(2 * width, 3)), g)
        cases.append((model, rand(g, n, 1, 2, width), torch.randint(3, (n,), generator=g), _Roll(n <= 32), epochs, eta))
    return cases


def _augmented(model, x, y, distort, epochs, eta, start=lambda x, distort: x, epoch=lambda x, distort: (x, distort(x)),
               batch=lambda clean, shown, y: (shown, y), loss=F.cross_entropy, clear=True):
    """The repaired loop. epoch() returns what the next one begins with, and what this one trains on."""
    optimiser, losses, x = torch.optim.Adam(model.parameters(), lr=eta), [], start(x, distort)
    for _ in range(epochs):
        x, shown = epoch(x, distort)
        for parts in zip(x.split(32), shown.split(32), y.split(32)):
            x_batch, y_batch = batch(*parts)
            value = loss(model(x_batch), y_batch)
            if clear:
                optimiser.zero_grad()
            value.backward()
            optimiser.step()
            losses.append(value.detach())
    return losses


def _piled_up(x, distort):
    return [distort(x)] * 2


train_augmented = Implementation(
    "train_augmented",
    right=_augmented,
    run=trained,
    cases=_lessons,
    slips=[
        ("the bug is still there: on what does distort work in the third epoch?", dict(epoch=_piled_up)),
        ("backward() adds to the gradients of the step before, and you no longer clear them, {}",
         ("though the bug is gone", dict(clear=False)),
         ("with the bug still there", dict(clear=False, epoch=_piled_up))),
        ("the images are distorted once for all epochs: each epoch needs a new distortion, of the original images",
         dict(start=lambda x, distort: distort(x), epoch=lambda x, distort: (x, x))),
        ("the model never sees a distorted image: is the result of distort what you split into minibatches?",
         dict(epoch=lambda x, distort: (x, x))),
        ("you train on the clean and the distorted images together: only the distorted ones were asked for",
         dict(batch=lambda clean, shown, y: (torch.cat([clean, shown]), torch.cat([y, y])))),
        ("the repair is right, but you sum the loss over the minibatch, and the mean was asked for",
         dict(loss=functools.partial(F.cross_entropy, reduction="sum"))),
    ],
    hints=("The loop was right but for one line. Look at the images that the first epoch trains on, and the last.",
           "Whoever gives the result of distort the name of the training images has lost these: the next epoch "
           "distorts what was distorted before. Give it a name of its own, and split that into minibatches.",
           "distorted = distort(x)\n"
           "for x_batch, y_batch in zip(distorted.split(32), y.split(32)):"),
    rtol=1e-3, atol=1e-4)

# --- 5


@functools.cache
def _share(move) -> float:
    digits = load("digits").test
    return accuracy(checkpoint.load("judge"), move(digits.x), digits.y)


def _moved(move=lambda x: F.pad(x, (0, 0, 7, -7)), of=lambda share: share) -> float:
    return of(_share(move))


accuracy_moved = Measurement(
    "accuracy_moved",
    truth=_moved,
    tolerance=0.01,
    slips=[
        ("the share of right answers is asked for: {}", ("this is their number", dict(of=lambda share: 1000 * share)),
         ("this is that of wrong ones", dict(of=lambda share: 1 - share))),
        ("the rows that leave at the bottom come in again at the top, as with roll: zeros shall come in there",
         dict(move=lambda x: x.roll(7, 2))),
        ("your digits have moved {}: rows are the axis 2 of x, columns the axis 3, and zeros must come in at the top",
         ("up", dict(move=lambda x: F.pad(x, (0, 0, -7, 7)))),
         ("to the right", dict(move=lambda x: F.pad(x, (7, -7, 0, 0)))),
         ("to the left", dict(move=lambda x: F.pad(x, (-7, 7, 0, 0))))),
        ("this is the accuracy on digits that were not moved", dict(move=lambda x: x)),
    ],
    hints=("Show one of your moved digits beside the original. Is it 7 rows lower, with zeros above?",
           "Padding takes left, right, top and bottom, in this order, and a negative number cuts off: seven rows of "
           "zeros above, and seven fewer below. Then the accuracy of the judge on these.",
           "moved = F.pad(digits.test.x, (0, 0, 7, -7))\n"
           "accuracy(judge, moved, digits.test.y)"))
