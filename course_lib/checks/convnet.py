"""The checks of exercise 12: a convolution, max-pooling, calibration, a bug hunt in augmentation, a moved test set."""

import functools

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from course_lib import checkpoint
from course_lib.checks import Implementation, Measurement, Mistake, Slip, filled, rand, trained
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
    y = _convolve(x, w, stride)
    short = _visiting(lambda n, k, s: n - k)(x, w, stride)
    return F.pad(short, (0, y.shape[1] - short.shape[1], 0, y.shape[0] - short.shape[0]))


convolve = Implementation(
    "convolve",
    right=_convolve,
    cases=_images,
    slips=[
        Slip(lambda x, w, s: _convolve(x, w.flip(1, 2), s),
             "you turned the filter upside down and back to front: mathematicians do that in a convolution; in deep "
             "learning, and in the formula of the task, w[c, 0, 0] meets the first pixel of the window",
             "Leave out the flip (or use scipy's correlate in place of its convolve)."),
        Slip(lambda x, w, s: torch.stack([_convolve(a[None], b[None], s) for a, b in zip(x, w)]),
             "you have not summed over the channels: one filter gives one map, of shape (H', W'), for all channels "
             "together", "Sum the products over all three axes of the window: channel, row, column."),
        Slip((lambda x, w, s: _convolve(x, w, s)[None], lambda x, w, s: _convolve(x, w, s)[None, None]),
             "your result has an axis too many in front, or two: one image and one filter give one map, of shape "
             "(H', W')", "End with [0], or [0, 0] if F.conv2d has added two axes."),
        Slip(lambda x, w, s: _convolve(x[:1], w[:1], s),
             "only the first channel is used: sum over all C channels",
             "A window with all its channels is x[:, i:i + kh, j:j + kw]."),
        Slip(lambda x, w, s: _convolve(x, w, s) / w.numel(),
             "you took the mean of the products, and the task asks for their sum", "Replace .mean() by .sum()."),
        Slip(lambda x, w, s: _convolve(x, w, s) / len(w),
             "you took the mean over the channels, and the task asks for their sum",
             "Sum over the channels as over rows and columns."),
        Slip(_beginning,
             "the size is right, but the windows are those of stride 1: entry (i, j) belongs to the window that begins "
             "at row i * stride and column j * stride", "x[:, i * stride:i * stride + kh, j * stride:j * stride + kw]"),
        Slip(lambda x, w, s: _convolve(x, w, 1),
             "the stride is not used: with stride 2 the filter visits every second place only",
             "Begin the window of entry (i, j) at row i * stride and column j * stride."),
        Slip(lambda x, w, s: _convolve(x, w, 1)[::s],
             "the stride is used for the rows only: columns are skipped in the same way",
             "j * stride : j * stride + kw"),
        Slip(lambda x, w, s: _convolve(x, w, 1)[:, ::s],
             "the stride is used for the columns only: rows are skipped in the same way",
             "i * stride : i * stride + kh"),
        Slip(_visiting(lambda n, k, s: n - k),
             "the last place is missing where the filter would just fit: range(0, H - kh, stride) stops before H - kh",
             "A filter of kh rows fits into H rows at the places 0 to H - kh, which is H - kh + 1 of them."),
        Slip(_visiting(lambda n, k, s: (n - k) // s * s),
             "the output is one row and one column too small: (H - kh) // stride counts the steps, and the places are "
             "one more", "H' = (H - kh) // stride + 1"),
        Slip(_zeros_at_the_end,
             "your loops stop one place too early, so that zeros are left in the last row and column",
             "A filter of kh rows fits into H rows at the places 0 to H - kh, which is H - kh + 1 of them."),
        Slip(lambda x, w, s: F.conv2d(x[None], w[None], stride=s, padding=(w.shape[1] // 2, w.shape[2] // 2))[0, 0],
             "you put a frame of zeros around the image: no padding is asked for, the filter stays inside",
             "H' = (H - kh) // stride + 1, and smaller than H."),
        Slip(lambda x, w, s: _convolve(x, w, s).T,
             "rows and columns of the result are swapped",
             "The first index belongs to the rows: y[i, j] comes from rows i * stride to i * stride + kh - 1."),
        Slip(None,
             "right for square filters, and wrong where the filter's height kh differs from its width kw",
             "_, kh, kw = w.shape, and a window is x[:, i:i + kh, j:j + kw].", only=(0, 1, 3, 5)),
    ],
    hint="H' = (H - kh) // stride + 1, and W' likewise. Entry (i, j) is the sum of x[:, r:r + kh, c:c + kw] * w, with "
         "r = i * stride and c = j * stride. Fill a tensor of zeros in two loops.",
    gradient=("x", "w"), rtol=1e-3, atol=1e-4)


# --- 2


def _maps(g: torch.Generator) -> list[tuple]:
    """Around -1, so that some windows have no positive number; k divides height and width in cases 1 and 2 only."""
    sizes = [((1, 1, 2, 3), 2), ((3, 2, 6, 4), 2), ((1, 3, 9, 6), 3), ((2, 1, 7, 5), 2), ((2, 2, 5, 8), 3)]
    return [(rand(g, *shape) - 1, k) for shape, k in sizes]


def _cropped(x: Tensor, k: int) -> Tensor:
    return x[..., :x.shape[2] // k * k, :x.shape[3] // k * k]


def _run_pool(fn, x, k):
    y = fn(x, k)
    if isinstance(y, tuple) and hasattr(y, "values") and hasattr(y, "indices"):
        raise Mistake("max_pool returns the pair (values, indices) that .max(axis) gives: only the values are asked "
                      "for", ".amax(axis) gives the values alone; or write .max(axis).values")
    return {"": y}


LARGEST = "Take .amax((2, 3)) of each window."

max_pool = Implementation(
    "max_pool",
    right=lambda x, k: F.max_pool2d(x, k),
    run=_run_pool,
    cases=_maps,
    slips=[
        Slip(lambda x, k: F.max_pool2d(x, k, ceil_mode=True),
             "you kept the incomplete windows at the right and at the bottom: the task drops them",
             "H' = H // k and W' = W // k, rounded down."),
        Slip(lambda x, k: F.avg_pool2d(x, k),
             "this is the mean of each window, and the task asks for the largest value", "Replace .mean by .amax."),
        Slip(lambda x, k: F.max_pool2d(x, k, stride=1),
             "your windows overlap: each shall begin where the one before ends",
             "The window of entry (i, j) begins at row i * k and column j * k."),
        Slip(lambda x, k: F.max_pool2d(x, k, stride=1)[..., :x.shape[2] // k, :x.shape[3] // k],
             "the size is right, but your windows overlap: that of entry (i, j) begins at row i * k and column j * k",
             "x[:, :, i * k:(i + 1) * k, j * k:(j + 1) * k]"),
        Slip(lambda x, k: _cropped(x, k)[..., ::k, ::k],
             "you took the first pixel of each window, not the largest", LARGEST),
        Slip(lambda x, k: x[..., ::k, ::k],
             "you took every k-th pixel, and not the largest one of each window", LARGEST),
        Slip(lambda x, k: _cropped(x, k).reshape(*x.shape[:2], k, x.shape[2] // k, k, x.shape[3] // k).amax((2, 4)),
             "your windows hold pixels that lie far apart: k and H // k are in the wrong order in view or reshape",
             "x.reshape(B, C, H // k, k, W // k, k): the axis that counts windows comes before the one inside them."),
        Slip(lambda x, k: _cropped(x, k).reshape(*x.shape[:2], x.shape[2] // k, x.shape[3] // k, k, k).amax((4, 5)),
             "your windows are pieces of rows, no squares: view cannot swap axes, it only cuts the same order of "
             "numbers differently",
             "x.reshape(B, C, H // k, k, W // k, k) keeps rows with rows; then the maximum over axes 3 and 5."),
        Slip(lambda x, k: F.max_pool2d(x, (k, 1)),
             "only the rows are pooled: a window is k rows high and k columns wide",
             "Pool the columns of your result in the same way."),
        Slip(lambda x, k: F.max_pool2d(x, (1, k)),
             "only the columns are pooled: a window is k rows high and k columns wide",
             "Pool the rows of your result in the same way."),
        Slip((lambda x, k: F.max_pool2d(x, k).amax(1), lambda x, k: F.max_pool2d(x, k).amax(1, keepdim=True)),
             "you also took the maximum over the channels: each channel is pooled by itself",
             "Rows and columns are the axes 2 and 3 of x."),
        Slip(lambda x, k: F.max_pool2d(x, k).clamp(min=0),
             "your maximum starts from 0, so that a window with negative numbers only gives 0",
             "Start from the first number of the window, or from -float('inf'); or let .amax do it."),
        Slip(lambda x, k: F.max_pool2d(x, 2), "your windows are 2 by 2 whatever k is", "Use k in place of 2."),
        Slip(lambda x, k: -F.max_pool2d(-x, k),
             "this is the smallest value of each window", "Replace the minimum by the maximum."),
        Slip(lambda x, k: F.max_pool2d(x.abs(), k),
             "you took the absolute values first: the largest number is asked for, with its sign", "Leave out .abs()."),
        Slip(lambda x, k: x.amax((2, 3)),
             "you took one maximum for the whole map: one for each window of k by k pixels is asked for",
             "The window of entry (i, j) is x[:, :, i * k:(i + 1) * k, j * k:(j + 1) * k]."),
        Slip(None,
             "right where k divides H and W, and wrong where it does not: rows and columns left over shall be dropped",
             "Cut them off first: x = x[:, :, :H // k * k, :W // k * k]", only=(0, 3, 4)),
    ],
    hint="Fill a tensor of shape (B, C, H // k, W // k) in two loops: entry (i, j) is "
         "x[:, :, i * k:(i + 1) * k, j * k:(j + 1) * k].amax((2, 3)).",
    gradient=("x",), rtol=1e-3, atol=1e-4)


# --- 3


def _predictions(g: torch.Generator) -> list[tuple]:
    """Three answers in one bin; one alone; wrong where the confidence is high and right where it is low; all right; all
    wrong; and every second one wrong, with some that are certain."""
    cases = []
    for n, n_class, n_bins in ((3, 3, 1), (1, 4, 5), (200, 3, 5), (61, 2, 10), (40, 3, 4), (30, 3, 6)):
        probs = (2 * rand(g, n, n_class)).softmax(1)
        if len(cases) == 5:
            probs[:9] = F.one_hot(torch.arange(9) % 3, 3).float()
        confidence, answer = probs.max(1)
        second = torch.arange(n) % 2 == 1
        wrong = (second, second, confidence > 0.75, confidence < 0, confidence > 0, second)[len(cases)]
        cases.append((probs, torch.where(wrong, (answer + 1) % n_class, answer), n_bins))
    return cases


def _bins(probs: Tensor, y: Tensor, n_bins: int, confidence: Tensor | None = None) -> tuple[Tensor, Tensor, Tensor]:
    """Of each bin that is not empty: accuracy minus confidence, and how many answers it holds; and of all bins"""
    top, answer = probs.max(1)
    top = top if confidence is None else confidence
    k = torch.bucketize(top, torch.linspace(0, 1, n_bins + 1)[1:-1])
    count = torch.bincount(k, minlength=n_bins)
    gap = torch.bincount(k, weights=(answer == y).double() - top, minlength=n_bins)
    return (gap / count)[count > 0], count[count > 0], count


def _ece(probs: Tensor, y: Tensor, n_bins: int) -> Tensor:
    gap, count, _ = _bins(probs, y, n_bins)
    return (gap.abs() * count).sum() / len(y)


def _ece_of_true_class(probs, y, n_bins):
    gap, count, _ = _bins(probs, y, n_bins, probs.gather(1, y[:, None])[:, 0])
    return (gap.abs() * count).sum() / len(y)


def _signed(probs, y, n_bins):
    gap, count, _ = _bins(probs, y, n_bins)
    return (gap * count).sum() / len(y)


WEIGH = "Multiply the gap of a bin by here.float().mean() and sum."


def _broken_by_empty_bins(probs, y, n_bins):
    return _ece(probs, y, n_bins) if (_bins(probs, y, n_bins)[2] > 0).all() else torch.tensor(float("nan"))


ece = Implementation(
    "ece",
    right=_ece,
    cases=_predictions,
    slips=[
        Slip(_broken_by_empty_bins,
             "your result is nan as soon as a bin is empty: the mean of no numbers is 0 / 0",
             "Skip an empty bin: if here.any(): ..."),
        Slip(lambda p, y, m: _signed(p, y, m).abs(),
             "you take the absolute value once, at the end: gaps of opposite sign have cancelled each other before",
             "Take .abs() of the gap of each bin, and then the mean."),
        Slip((_signed, lambda p, y, m: -_signed(p, y, m)),
             "your gaps keep their sign, and opposite ones cancel each other: take the absolute value in each bin",
             "(confidence - accuracy).abs()"),
        Slip(lambda p, y, m: _bins(p, y, m)[0].abs().mean(),
             "every bin that is not empty counts the same in your mean: weight each by the share of the answers in it",
             WEIGH),
        Slip(lambda p, y, m: _bins(p, y, m)[0].abs().sum() / m,
             "every bin counts the same in your mean, even an empty one: weight each by the share of the answers in it",
             WEIGH),
        Slip(lambda p, y, m: _bins(p, y, m)[0].abs().sum(),
             "you added up the gaps without weights: weight each by the share of the answers in its bin", WEIGH),
        Slip(lambda p, y, m: _ece(p, y, m) * len(y),
             "the gaps are weighted by how many answers a bin holds, and not by their share: divide by N",
             "Divide by len(y)."),
        Slip(lambda p, y, m: 100 * _ece(p, y, m),
             "your result is in percent: a fraction is asked for", "Leave out the factor 100."),
        Slip(lambda p, y, m: _bins(p, y, m)[0].abs().max(),
             "this is the largest gap of all bins: their weighted mean is asked for", WEIGH),
        Slip(lambda p, y, m: (_bins(p, y, m)[0].square() * _bins(p, y, m)[1]).sum() / len(y),
             "you squared the gaps: their absolute values are asked for", "Replace .square() by .abs()."),
        Slip(_ece_of_true_class,
             "you sorted by the probability of the true class: the confidence is the largest probability of a row, "
             "whether the answer is right or not", "confidence, answer = probs.max(1)"),
        Slip(lambda p, y, m: ((p.argmax(1) == y).double() - p.amax(1)).abs().mean(),
             "there are no bins in your result: you compare the confidence of each single answer with 0 or 1",
             "Take the means of confidence and accuracy over all answers of a bin, and then their difference."),
        Slip(lambda p, y, m: _ece(p.softmax(1), y, m),
             "you applied the softmax to numbers that are probabilities already", "confidence, answer = probs.max(1)"),
        *[Slip(lambda p, y, m, n=n: _ece(p, y, n),
               f"you made {n} bins whatever n_bins is", f"Use n_bins in place of {n}.") for n in (10, 15)],
        Slip(None,
             "answers that are certain, with confidence exactly 1, fall out of your last bin",
             "Bin k holds k / n_bins < confidence <= (k + 1) / n_bins: the upper edge belongs to the bin.", only=(5,)),
    ],
    hint="confidence, answer = probs.max(1). For each k, here = (confidence > k / n_bins) & (confidence <= (k + 1) / "
         "n_bins) tells the answers of a bin. Skip it if it is empty. Its gap is the difference of two means over "
         "here; its weight is here.float().mean().",
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


def _training(images, clear=True, both=False, reduction="mean"):
    """A repaired or broken version of the loop: images(x, distort) yields what each epoch trains on."""
    def train(model, x, y, distort, epochs, eta):
        optimiser = torch.optim.Adam(model.parameters(), lr=eta)
        losses = []
        for _, shown in zip(range(epochs), images(x, distort)):
            for some, y_batch in zip(torch.arange(len(x)).split(32), y.split(32)):
                x_batch = torch.cat([x[some], shown[some]]) if both else shown[some]
                loss = F.cross_entropy(model(x_batch), torch.cat([y_batch] * (1 + both)), reduction=reduction)
                if clear:
                    optimiser.zero_grad()
                loss.backward()
                optimiser.step()
                losses.append(loss.detach())
        return losses
    return train


def _fresh(x, distort):
    while True:
        yield distort(x)


def _piled_up(x, distort):
    while True:
        x = distort(x)
        yield x


def _once(x, distort):
    x = distort(x)
    while True:
        yield x


def _clean(x, distort):
    while True:
        yield x


train_augmented = Implementation(
    "train_augmented",
    right=_training(_fresh),
    run=trained,
    cases=_lessons,
    slips=[
        Slip(_training(_piled_up),
             "the bug is still there: on what does distort work in the third epoch?",
             "x = distort(x) replaces the training images: the next epoch distorts what was distorted before, and so "
             "on. Give the result another name, so that x stays as it was."),
        Slip(_training(_piled_up, clear=False),
             "the bug is still there, and the gradients are no longer cleared either",
             "Keep optimiser.zero_grad() in each step, and look at what distort works on in the third epoch."),
        Slip(_training(_once),
             "the images are distorted once for all epochs: each epoch needs a new distortion, of the original images",
             "Call distort inside the loop over the epochs, and give its result another name than x."),
        Slip(_training(_clean),
             "the model never sees a distorted image: is the result of distort what you split into minibatches?",
             "distorted = distort(x), and then zip(distorted.split(32), y.split(32))"),
        Slip(_training(_fresh, clear=False),
             "the distortions are right now, but the gradients are no longer cleared: backward() adds to those of the "
             "step before", "Keep optimiser.zero_grad() in each step, before loss.backward()."),
        Slip(_training(_fresh, both=True),
             "you train on the clean and the distorted images together: only the distorted ones were asked for",
             "Leave out torch.cat."),
        Slip(_training(_fresh, reduction="sum"),
             "the repair is right, but you sum the loss over the minibatch, and the mean was asked for",
             "F.cross_entropy takes the mean by itself."),
    ],
    hint="The loop was right but for one line. Look at the images that the first epoch trains on, and the last.",
    rtol=1e-3, atol=1e-4)


# --- 5


@functools.cache
def _accuracy_of(change: str) -> float:
    digits, judge = load("digits"), checkpoint.load("judge")
    x, y = digits.test
    moved = {"up": (0, 0, -7, 7), "right": (7, -7, 0, 0), "left": (-7, 7, 0, 0), "not at all": (0, 0, 0, 0)}
    x = x.roll(7, 2) if change == "in a circle" else F.pad(x, moved.get(change, (0, 0, 7, -7)))
    return accuracy(judge, x, y)


accuracy_moved = Measurement(
    "accuracy_moved",
    truth=lambda: _accuracy_of("down"),
    tolerance=0.01,
    slips=[
        Slip(lambda: 1000 * _accuracy_of("down"),
             "this is the number of right answers: their share is asked for", "Divide by the number of test digits."),
        Slip(lambda: 1 - _accuracy_of("down"),
             "this is the share of wrong answers: that of the right ones is asked for", "Subtract it from 1."),
        Slip(lambda: _accuracy_of("in a circle"),
             "the rows that leave at the bottom come in again at the top (as with roll): zeros shall come in there",
             "F.pad(x, (0, 0, 7, -7)) adds seven rows of zeros above and cuts off seven below."),
        Slip(lambda: _accuracy_of("up"),
             "your digits have moved up: rows of zeros must come in at the top",
             "F.pad(x, (0, 0, 7, -7)); look at a picture with plt.imshow."),
        *[Slip(functools.partial(_accuracy_of, way),
               f"your digits have moved to the {way}: rows are the axis 2 of x, columns the axis 3",
               "F.pad takes (left, right, top, bottom); look at one with plt.imshow.") for way in ("right", "left")],
        Slip(lambda: _accuracy_of("not at all"),
             "this is the accuracy on digits that were not moved",
             "Give the moved digits to the judge; look at one with plt.imshow."),
    ],
    hint="moved = F.pad(digits.test.x, (0, 0, 7, -7)); look at a few; then accuracy(judge, moved, digits.test.y).")
