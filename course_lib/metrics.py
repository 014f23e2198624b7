"""Numbers for sets of samples. Nearly all of them compare two clouds of points: features (n, d) of generated and of
real images. Whose features is up to the caller; in this course they are those of the judge, the CNN of lesson 12.

Everything is computed on the CPU in float64, so that a number does not depend on the device the samples came from.
"""

import functools
import math
from collections.abc import Callable
from statistics import NormalDist

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from course_lib import checkpoint
from course_lib.data import load
from course_lib.device import device_of, evaluating
from course_lib.expect import between, floats, indices, logits, probabilities, whole

# ------------------------------------------------------------------------------------- distances between distributions

def frechet_distance(a: Tensor, b: Tensor) -> float:
    """Squared Fréchet distance of two Gaussians with the means and covariances of a (n, d) and b (m, d).

        |mu_a - mu_b|^2 + tr(S_a + S_b - 2 (S_a S_b)^(1/2))

    0 for equal clouds; needs n, m >= 2, and not n > d. It depends on n (fewer samples, larger distance): compare
    numbers of equal sample sizes only.  Heusel et al. (2017), eq. 6.
    """
    a, b = _cloud("a", a, 2), _cloud("b", b, 2)
    _same_width(a, b)
    S_a, S_b = _covariance(a), _covariance(b)                                 # (d, d)
    # The trace of (S_a S_b)^(1/2) is the sum of the singular values of S_a^(1/2) S_b^(1/2).
    cross = torch.linalg.svdvals(_root(S_a) @ _root(S_b)).sum()
    distance = ((a.mean(0) - b.mean(0)) ** 2).sum() + S_a.trace() + S_b.trace() - 2 * cross
    return max(distance.item(), 0.0)                                          # rounding may leave -1e-13


def kernel_distance(a: Tensor, b: Tensor) -> float:
    """Squared maximum mean discrepancy with the kernel (x.y / d + 1)^3, without bias: KID.

    a (n, d), b (m, d), n, m >= 2. Zero on average for two samples of one distribution, so a single value may be
    negative; its mean does not depend on the number of samples.  Bińkowski et al. (2018), section 4.
    """
    a, b = _cloud("a", a, 2), _cloud("b", b, 2)
    _same_width(a, b)

    def k(x, y):
        return (x @ y.T / x.shape[1] + 1) ** 3                                # (n, m)

    def mean_of_pairs(k_xx):                                                  # of different points: no diagonal
        n = len(k_xx)
        return (k_xx.sum() - k_xx.trace()) / (n * (n - 1))

    return (mean_of_pairs(k(a, a)) + mean_of_pairs(k(b, b)) - 2 * k(a, b).mean()).item()


# ------------------------------------------------------------------------------------------------------------- spectra

def radial_spectrum(images: Tensor) -> Tensor:
    """How much power an image has at each frequency, whatever its direction.  (n, C, H, H) -> (n, K) float64

    Column k is the mean of |F / H^2|^2 over all channels and over the frequencies whose distance from 0 is nearest to k
    waves across the image; the last one is a chessboard's. F is the Fourier transform. By Parseval's theorem the
    columns, each times the number of its frequencies, sum up to the mean square of the pixels.  Durall, Keuper & Keuper
    (2020), who call it azimuthal integration."""
    if images.ndim != 4 or images.shape[2] != images.shape[3] or not images.numel() or not images.is_floating_point():
        raise ValueError(f"images must be square, floating-point numbers of shape (n, C, H, H), got "
                         f"{tuple(images.shape)} of {str(images.dtype).removeprefix('torch.')}")
    n, _, H, _ = images.shape
    power = (torch.fft.fft2(_cpu(images).double()).abs() / H**2).square().mean(1)        # (n, H, H)
    waves = torch.fft.fftfreq(H, 1 / H).abs()                                            # 0, 1, ... H / 2 ... 2, 1
    ring = torch.hypot(waves[:, None], waves).round().long().flatten()                   # (H * H,)
    total = power.new_zeros(n, int(ring.max()) + 1).index_add(1, ring, power.flatten(1))
    return total / torch.bincount(ring)


# ---------------------------------------------------------------------------------------------------------- neighbours

def nearest_neighbours(x: Tensor, reference: Tensor, k: int = 1) -> tuple[Tensor, Tensor]:
    """The k points of `reference` that are nearest to each point of x, nearest first.

    x (n, d), reference (m, d) -> Euclidean distances (n, k) float64, indices (n, k) int64, both on the CPU.
    """
    x, reference = _cloud("x", x, 1), _cloud("reference", reference, 1)
    _same_width(x, reference)
    whole(1, len(reference), k=k)
    found = [_distances(part, reference).topk(k, largest=False) for part in x.split(500)]       # bounds the memory
    return torch.cat([f.values for f in found]), torch.cat([f.indices for f in found])


def precision_recall(real: Tensor, fake: Tensor, k: int = 3) -> tuple[float, float]:
    """Precision: the share of fakes that fall where real points are. Recall: the share of real points where fakes are.

    "Where points are" is the union of balls around them, each reaching to its k-th nearest neighbour in its own cloud.
    real (n, d), fake (m, d), n, m > k -> two numbers in [0, 1].  Kynkäänniemi et al. (2019), eq. 1-2.
    """
    whole(1, k=k)
    real, fake = _cloud("real", real, k + 1), _cloud("fake", fake, k + 1)
    _same_width(real, fake)
    between = _distances(fake, real)                                          # (m, n)
    reach_real = nearest_neighbours(real, real, k + 1)[0][:, -1]              # (n,) the first is the point itself
    reach_fake = nearest_neighbours(fake, fake, k + 1)[0][:, -1]              # (m,)
    precision = (between <= reach_real).any(1).double().mean()
    recall = (between <= reach_fake[:, None]).any(0).double().mean()
    return precision.item(), recall.item()


def memorisation(samples: Tensor, train: Tensor, test: Tensor) -> float:
    """The probability that a sample lies nearer to the training set than a fresh real point does.

    0.5: as far from the training set as fresh data. 1: copies. Near 0: far from all data. Samples that are merely
    *typical* (smooth, near a class mean) also score above 0.5: look at nearest neighbours before you accuse a model.
    All (n_i, d) -> a number in [0, 1]; ties count one half.  The Mann-Whitney statistic of the data-copying test,
    Meehan, Chaudhuri & Dasgupta (2020), over one cell.
    """
    of_samples = nearest_neighbours(samples, train)[0].squeeze(1)             # (n,)
    of_test = nearest_neighbours(test, train)[0].squeeze(1).sort().values     # (m,) rising
    above = len(of_test) - torch.searchsorted(of_test, of_samples, right=True)
    at_least = len(of_test) - torch.searchsorted(of_test, of_samples, right=False)
    return ((above + at_least).double().mean() / (2 * len(of_test))).item()


def copy_ratio(samples: Tensor, train: Tensor) -> tuple[Tensor, Tensor]:
    """How far the nearest training point is, as a share of how far the second nearest is, and which one is the nearest.

    0: equal to one training point. Near 1: two are about as near. A small ratio says "a copy of this one" only if fresh
    data rarely have one so small: take the threshold from held-out points.
    samples (n, d), train (m, d), m >= 2, each point once -> ratios (n,) float64, indices (n,) int64, both on the CPU.
    Raises ValueError where two training points lie on a sample.  Gu et al. (2023) call a ratio below 1/3 a copy.
    """
    distance, which = nearest_neighbours(samples, train, 2)
    if not distance[:, 1].all():
        raise ValueError(f"sample {int(distance[:, 1].argmin())} lies on two training points at once: keep each once")
    return distance[:, 0] / distance[:, 1], which[:, 0]


# ---------------------------------------------------------------------------------------------------------- uncertainty

def bootstrap(metric: Callable[..., float], *sets: Tensor, n: int = 200, seed: int = 0) -> tuple[float, float, float]:
    """(estimate, low, high): the metric of the sets, and a 95 % interval, the estimate -+ 1.96 standard errors.

    The standard error is the standard deviation of the metric over n resamplings of the rows of every set, with
    replacement (Efron, 1979). Only the spread of these values is used, not where they lie: a resampled cloud holds
    repeated points, which moves distances like Fréchet's upwards. For a distance that is nearly 0 the interval is about
    twice too wide (measured on two halves of the digits); elsewhere it is right.
    """
    whole(2, n=n)
    sets = [_cpu(s) for s in sets]
    if not sets or any(not s.numel() or not s.ndim for s in sets):
        raise ValueError(f"there is nothing to resample in sets of shapes {[tuple(s.shape) for s in sets]}")
    draw = np.random.default_rng(seed)
    values = [metric(*(s[torch.from_numpy(draw.integers(len(s), size=len(s)))] for s in sets)) for _ in range(n)]
    estimate, half = float(metric(*sets)), 1.96 * float(np.std(values, ddof=1))
    return estimate, estimate - half, estimate + half


def wilson(hits: int, n: int, level: float = 0.95) -> tuple[float, float, float]:
    """(share, low, high): the share hits / n, and the shares that a test at this level does not reject. Unlike the
    share -+ 1.96 standard errors it stays within [0, 1] and says something for 0 hits.  Wilson (1927)."""
    whole(1, n=n)
    whole(0, n, hits=hits)
    z, share = _z(level), hits / n
    middle, half = share + z * z / (2 * n), z * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    return share, max(0.0, (middle - half) / (1 + z * z / n)), min(1.0, (middle + half) / (1 + z * z / n))


def mean_interval(values, level: float = 0.95) -> tuple[float, float, float]:
    """(mean, low, high) of a few repeated measurements, five seeds for example: by Student's t, which is wider than the
    normal interval because the spread itself is estimated, 2.78 standard errors to each side for five and 95 %.

    values (n,), n >= 2, independent. Of two ways that were tried with the same seeds, give the differences.
    Student (1908)."""
    from scipy.stats import t  # slow to import, and only needed here

    values = _cpu(values)
    if values.ndim != 1:
        raise ValueError(f"values have the shape (n,), one for each seed, got {tuple(values.shape)}")
    x = _cloud("values", values[:, None], 2)
    _z(level)                                                     # raises for 0 and 1
    half = float(t.ppf((1 + level) / 2, len(x) - 1)) * x.std().item() / math.sqrt(len(x))
    return x.mean().item(), x.mean().item() - half, x.mean().item() + half


def samples_to_tell(share: float, other: float, power: float = 0.8, level: float = 0.95) -> int:
    """How many samples show that their share is not `share`, when it is `other`: a test at this level then says so with
    probability `power`. The nearer the two, the more: half the difference needs four times as many.

    By the normal approximation of both counts; `share` is known, and not itself an estimate."""
    between(0, 1, share=share, other=other)
    if share == other:
        raise ValueError(f"no number of samples can tell share={share} from other={other}")
    spread = _z(level) * math.sqrt(share * (1 - share)) + _quantile(power) * math.sqrt(other * (1 - other))
    return max(1, math.ceil((spread / (other - share)) ** 2))


def effective_size(weights: Tensor) -> float:
    """As many samples of equal weight would give a mean that is as sure: (sum of w)^2 / (sum of w^2).  (n,) -> 1 to n

    Kish (1992)."""
    w = _cpu(weights).double()
    if w.ndim != 1 or not len(w) or not (w >= 0).all() or not 0 < w.sum() < math.inf:
        smallest = w.min().item() if w.numel() else None
        raise ValueError(f"weights (n,) must be at least 0 and not all 0: got {tuple(w.shape)}, smallest {smallest}")
    return (w.sum().square() / w.square().sum()).item()


def _z(level: float) -> float:
    """How many standard errors to each side hold this share of a normal distribution: 1.96 for 0.95."""
    return _quantile((1 + level) / 2)


def _quantile(p: float) -> float:
    if not 0 < p < 1:
        raise ValueError(f"a probability must lie between 0 and 1, not {p}")
    return NormalDist().inv_cdf(p)


# ------------------------------------------------------------------------------------------------------------ the judge

@functools.cache
def the_judge() -> nn.Module:
    """The shipped classifier that measures every generator; loaded once in a process."""
    return checkpoint.load("judge")


@torch.inference_mode()
def judge_features(images: Tensor, judge: nn.Module | None = None, batch_size: int = 500) -> Tensor:
    """What the judge sees in images (n, 1, 28, 28) in [0, 1]: its penultimate layer (n, d), float32 on the CPU.

    judge: anything with `features`; default: the shipped one.  Raises ValueError for another shape or range.
    """
    return _in_batches(judge, images, batch_size, lambda j, x: j.features(x))


@torch.inference_mode()
def control_accuracy(judge: nn.Module | None, images: Tensor, labels: Tensor, batch_size: int = 500) -> float:
    """The share of images in which the judge sees the label that was asked for.

    judge: anything that returns logits; None: the shipped one.  images (n, 1, 28, 28) in [0, 1], labels (n,) -> [0, 1]
    """
    scores = _in_batches(judge, images, batch_size, lambda j, x: logits(j(x)))
    labels = indices("labels", _cpu(labels), scores.shape[1], len(images))
    return (scores.argmax(1) == labels).double().mean().item()


@torch.no_grad()
def balanced(model, n: int, generator: torch.Generator | None = None, judge: nn.Module | None = None) -> Tensor:
    """n samples of a generator that cannot be asked for a digit, with equally many of each: the judge sees the digit
    i % 10 in image i.  -> (n, 1, 28, 28)

    It samples 50 at a time, and keeps the first n / 10 of each digit.  Raises ValueError unless 10 divides n, and when
    one digit is too rare: not found often enough among 50 n samples."""
    whole(1, n=n)
    if n % 10:
        raise ValueError(f"n={n} must be a multiple of 10 to hold equally many of ten digits")
    found = [[] for _ in range(10)]
    for _ in range(n):
        images = model.sample(50, generator=generator)
        seen = _in_batches(judge, images, 50, lambda j, x: logits(j(x))).argmax(1)
        for image, digit in zip(images, seen.tolist()):
            found[digit].append(image)
        if min(map(len, found)) >= n // 10:
            return torch.stack([image for row in zip(*(images[:n // 10] for images in found)) for image in row])
    rare = min(range(10), key=lambda digit: len(found[digit]))
    raise ValueError(f"of {50 * n} samples only {len(found[rare])} show the digit {rare}, and {n // 10} are needed")


def measure(images: Tensor, labels: Tensor | None = None, *, judge: nn.Module | None = None, n_bootstrap: int = 200,
            ) -> dict[str, float]:
    """All numbers of one row of the leaderboard: generated images against the 1,000 test digits, to the judge's eye.

    images (n, 1, 28, 28) in [0, 1]; use n = 1,000, since Fréchet distances compare only at equal n.  labels (n,): what
    was asked for, where the generator can be asked; adds "control".
    """
    digits = load("digits")
    fake, train, test = (judge_features(x, judge) for x in (images, digits.train.x, digits.test.x))
    frechet, low, high = bootstrap(frechet_distance, fake, test, n=n_bootstrap)
    precision, recall = precision_recall(test, fake)
    row = dict(n=float(len(images)), frechet=frechet, frechet_error=(high - low) / 2,
               kernel=kernel_distance(fake, test), precision=precision, recall=recall,
               memorisation=memorisation(fake, train, test))
    if labels is not None:
        row["control"] = control_accuracy(judge, images, labels)
    return {name: float(f"{value:.6g}") for name, value in row.items()}


# ---------------------------------------------------------------------------------------------------------------- text

@torch.inference_mode()
def bits_per_byte(model: Callable[[Tensor], Tensor], text: Tensor, block_size: int = 128, stride: int | None = None,
                  n_bytes: int | None = None, batch_size: int = 16) -> float:
    """How many bits a model needs for each byte of a text, if it predicts it from beginning to end.

    The loss of two language models compares only if their tokens are the same; bits per byte of text always compare,
    also with a file compressor. Every token is predicted once; the first one, which nothing precedes, costs 8 bits.

    model    callable, tokens (B, T) -> logits (B, T, vocab_size); row t predicts token t + 1
    text     (N,) whole numbers
    stride   the text is read in windows of block_size tokens that begin so far apart, and only what is new in a window
             counts. Default block_size: quick, but a token at the beginning of a window has nothing before it. With
             block_size / 2 every token has at least half a block before it, for twice the time.
    n_bytes  how many bytes the text has; default N, right where a token is a byte
    """
    stride, text = block_size if stride is None else stride, indices("tokens", text, None, "N")
    whole(1, block_size=block_size, batch_size=batch_size, n_bytes=len(text) if n_bytes is None else n_bytes)
    whole(1, block_size, stride=stride)
    if len(text) < 2:
        raise ValueError(f"a text of {len(text)} tokens has nothing to predict: at least 2 are needed")
    where = device_of(model) if isinstance(model, nn.Module) else text.device
    N, T = len(text), min(block_size, len(text) - 1)
    begin = torch.arange(0, N - T, stride)                                    # (n,) of windows that fit
    if begin[-1] < N - 1 - T:
        begin = torch.cat([begin, torch.tensor([N - 1 - T])])                 # the last one ends with the text
    windows = text.to(where).unfold(0, T + 1, 1)                              # (N - T, T + 1), a view
    nats, known = 0.0, 1                                                      # tokens that are predicted already
    with evaluating(model):
        for part in begin.split(batch_size):
            idx = windows[part.to(where)]                                     # (B, T + 1)
            scores = logits(model(idx[:, :-1]).flatten(0, 1))                 # (B * T, vocab_size)
            targets = indices("tokens", idx[:, 1:].flatten(), scores.shape[1], len(scores))
            losses = F.cross_entropy(scores.float(), targets, reduction="none").double().cpu().view(-1, T)
            for start, loss in zip(part.tolist(), losses):
                nats += loss[known - start - 1:].sum().item()
                known = start + T + 1
    return (8 + nats / math.log(2)) / (n_bytes or N)


# ------------------------------------------------------------------------------------------------------------ the parts

def _in_batches(judge: nn.Module | None, images: Tensor, batch_size: int, what: Callable) -> Tensor:
    images = probabilities(floats(images, 1, 28, 28, like=torch.empty(0)).cpu())
    whole(1, batch_size=batch_size)
    with evaluating(the_judge() if judge is None else judge) as judge:
        return torch.cat([what(judge, part.to(device_of(judge))).cpu() for part in images.split(batch_size)])


def _cpu(x) -> Tensor:
    return torch.as_tensor(x).detach().cpu()


def _cloud(name: str, x: Tensor, at_least: int) -> Tensor:
    """x as float64 on the CPU, or one line saying what is wrong with it."""
    x = _cpu(x)
    if x.ndim != 2 or x.shape[1] == 0 or len(x) < at_least:
        raise ValueError(f"{name} must hold at least {at_least} points as rows (n, d), got shape {tuple(x.shape)}")
    x = x.double()
    if not torch.isfinite(x).all():
        raise ValueError(f"{name} holds {int((~torch.isfinite(x)).sum())} numbers that are not finite")
    return x


def _same_width(a: Tensor, b: Tensor) -> None:
    if a.shape[1] != b.shape[1]:
        raise ValueError(f"points of {a.shape[1]} numbers cannot be compared with points of {b.shape[1]}")


def _covariance(x: Tensor) -> Tensor:
    return torch.cov(x.T).reshape(x.shape[1], x.shape[1])                     # (d, d), divides by n - 1


def _root(S: Tensor) -> Tensor:
    """The symmetric square root of a covariance; eigenvalues that rounding made negative count as 0."""
    values, vectors = torch.linalg.eigh(S)
    return vectors * values.clamp(min=0).sqrt() @ vectors.T


def _distances(x: Tensor, y: Tensor) -> Tensor:
    """Euclidean, (n, m), by differences and not by |x|^2 + |y|^2 - 2xy, which makes equal points lie 1e-8 apart."""
    return torch.cdist(x, y, compute_mode="donot_use_mm_for_euclid_dist")
