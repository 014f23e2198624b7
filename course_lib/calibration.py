"""Does a classifier know what it does not know? Of all answers given with 80 % confidence, 80 % should be right.
Everything is computed on the CPU in float64, so that a number does not depend on the device it came from."""

from typing import NamedTuple

import torch
from torch import Tensor

from course_lib.expect import between, distributions, indices, logits, whole


class Reliability(NamedTuple):
    """The bars of a reliability diagram. Bin k holds the confidences in (edges[k], edges[k + 1]]; an empty one, nan."""

    edges: Tensor                              # (n_bins + 1,) from 0 to 1
    confidence: Tensor                         # (n_bins,) mean probability of the predicted class
    accuracy: Tensor                           # (n_bins,) fraction of predictions that are right
    count: Tensor                              # (n_bins,) how many predictions fell into the bin


def reliability(probs: Tensor, y: Tensor, n_bins: int = 15) -> Reliability:
    """Sort predictions into bins by their confidence, and see how often each bin is right.

    probs (N, n_class) rows that sum to 1, y (N,) int64.  Raises ValueError for logits in place of probabilities, and
    for labels that do not fit.  Source: Guo et al. (2017), "On calibration of modern neural networks", section 2.
    """
    probs, y = _scores(probs, y)
    distributions(probs)
    whole(1, n_bins=n_bins)
    top, label = probs.max(1)                                     # (N,), (N,)
    edges = torch.linspace(0, 1, n_bins + 1, dtype=torch.float64)
    k = torch.bucketize(top, edges[1:-1])                         # (N,) the bin; an edge belongs to the bin below it
    count = torch.bincount(k, minlength=n_bins)                   # (n_bins,)
    confidence = torch.bincount(k, weights=top, minlength=n_bins) / count
    right = torch.bincount(k, weights=(label == y).double(), minlength=n_bins) / count
    return Reliability(edges, confidence, right, count)


def ece(probs: Tensor, y: Tensor, n_bins: int = 15) -> float:
    """Expected calibration error: the mean gap between confidence and accuracy, bins weighted by their counts.

    A fraction: 0.02 means that confidences are off by two points on average.  Guo et al. (2017), eq. 3.
    """
    bins = reliability(probs, y, n_bins)
    gap = (bins.accuracy - bins.confidence).abs().nan_to_num()    # (n_bins,) an empty bin weighs nothing
    return (gap * bins.count).sum().item() / len(y)


def fit_temperature(logits: Tensor, y: Tensor) -> float:
    """The T for which softmax(logits / T) gives the labels the highest likelihood. Above 1: the model is overconfident.

    logits (N, n_class), y (N,) int64, from data that the model was not trained on. Predicted labels do not change.
    With b = 1 / T, the slope of the loss is the mean of sum_k p_k z_k - z_y. It only rises with b, so its zero is found
    by bisection, between T = 0.01 (where the search ends when every label is right) and T = 100.
    Raises ValueError for labels that do not fit.  Source: Guo et al. (2017), section 4.2.
    """
    z, y = _scores(logits, y)
    z_y = z.gather(1, y[:, None]).squeeze(1)                      # (N,) the logit of the right class
    low, high = -2.0, 2.0                                         # of log10(b)
    for _ in range(50):
        middle = (low + high) / 2
        p = (z * 10**middle).softmax(1)                           # (N, n_class)
        slope = ((p * z).sum(1) - z_y).mean()
        low, high = (low, middle) if slope > 0 else (middle, high)
    return 10**-middle


def predictive_value(share: float, sensitivity: float, specificity: float) -> float:
    """Of everything that is accused, the share that is guilty, by Bayes' rule: a number in [0, 1].

    share: of the guilty among all that is looked at; sensitivity: of the guilty, what is accused; specificity: of the
    innocent, what is not.  Raises ValueError where nobody is ever accused."""
    between(0, 1, share=share, sensitivity=sensitivity, specificity=specificity)
    guilty, innocent = share * sensitivity, (1 - share) * (1 - specificity)
    if guilty + innocent == 0:
        raise ValueError(f"nobody is accused with share={share}, sensitivity={sensitivity}, specificity={specificity}")
    return guilty / (guilty + innocent)


def _scores(scores: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Both on the CPU, scores in float64, or ValueError unless they are (N, n_class) with a label for each row."""
    scores, y = logits(scores).detach().cpu().double(), y.cpu()
    if not scores.isfinite().all():
        raise ValueError("the scores contain nan or infinity: look at the model's training")
    return scores, indices("labels", y, scores.shape[1], len(scores))
