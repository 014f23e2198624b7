"""Calibration: a reliability diagram drawn by hand, a plain NumPy loop, and predictors with a known error."""

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from course_lib.calibration import ece, fit_temperature, predictive_value, reliability
from course_lib.device import seeded


def two(*p: float) -> torch.Tensor:
    """Probabilities of two classes, from those of class 0."""
    p = torch.tensor(p, dtype=torch.float64)
    return torch.stack([p, 1 - p], dim=1)


def some(n: int = 400) -> tuple[torch.Tensor, torch.Tensor]:
    return 2 * torch.randn(n, 4, generator=seeded(0)), torch.randint(4, (n,), generator=seeded(1))


def test_by_hand():
    """Four bins; sure of class 0 with 0.9, 0.9, 0.6 (right, wrong, right) and of class 1 with 0.7 (right)."""
    probs, y = two(0.9, 0.9, 0.6, 0.3), torch.tensor([0, 1, 0, 1])
    bins = reliability(probs, y, n_bins=4)
    assert bins.edges.tolist() == [0, 0.25, 0.5, 0.75, 1]
    assert bins.count.tolist() == [0, 0, 2, 2]
    assert bins.confidence[2:].tolist() == pytest.approx([0.65, 0.9])
    assert bins.accuracy[2:].tolist() == [1, 0.5]
    assert bins.confidence[:2].isnan().all() and bins.accuracy[:2].isnan().all()
    assert ece(probs, y, n_bins=4) == pytest.approx((2 * 0.35 + 2 * 0.4) / 4)


@pytest.mark.parametrize("n_bins", [1, 2, 7, 15])
@pytest.mark.parametrize("n", [1, 3, 400])
def test_against_a_numpy_loop(n_bins, n):
    logits, y = some(n)
    probs = logits.softmax(1)
    p, t = probs.double().numpy(), y.numpy()
    expected = 0.0
    for k in range(n_bins):
        inside = [i for i in range(n) if k / n_bins < p[i].max() <= (k + 1) / n_bins]
        if inside:
            accuracy = np.mean([p[i].argmax() == t[i] for i in inside])
            expected += len(inside) / n * abs(accuracy - np.mean([p[i].max() for i in inside]))
    assert ece(probs, y, n_bins) == pytest.approx(expected, abs=1e-12)
    assert reliability(probs, y, n_bins).count.sum() == n


def test_an_edge_belongs_to_the_bin_below():
    bins = reliability(two(0.5, 0.75, 1.0), torch.zeros(3, dtype=torch.int64), n_bins=4)
    assert bins.count.tolist() == [0, 1, 1, 1]


def test_the_sure_and_right_are_perfect_and_the_sure_and_wrong_are_not():
    y = torch.tensor([0, 1, 2])
    assert ece(F.one_hot(y, 3).float(), y) == 0
    assert ece(F.one_hot((y + 1) % 3, 3).float(), y) == 1


def test_labels_drawn_from_the_probabilities_are_calibrated():
    logits, _ = some(50_000)
    probs = logits.softmax(1)
    y = torch.multinomial(probs, 1, generator=seeded(3)).squeeze(1)
    assert ece(probs, y) < 0.01
    assert ece((3 * logits).softmax(1), y) > 0.1                              # too sure


@pytest.mark.parametrize("T", [0.3, 1.0, 2.5])
def test_the_temperature_that_was_used_is_found(T):
    logits, _ = some(50_000)
    y = torch.multinomial(logits.softmax(1), 1, generator=seeded(3)).squeeze(1)
    assert fit_temperature(T * logits, y) == pytest.approx(T, rel=0.03)


def test_temperature_of_one_sure_answer_by_hand():
    """Logits (a, 0), right in 3 of 4: the best probability is 3/4, so a / T = log 3."""
    logits, y = torch.tensor([[5.0, 0.0]] * 4), torch.tensor([0, 0, 0, 1])
    assert fit_temperature(logits, y) == pytest.approx(5 / np.log(3))


def test_no_other_temperature_is_better():
    logits, _ = some()
    y = torch.multinomial((logits / 2).softmax(1), 1, generator=seeded(3)).squeeze(1)
    T = fit_temperature(logits, y)
    best = F.cross_entropy(logits / T, y)
    assert all(F.cross_entropy(logits / (T * f), y) >= best for f in (0.5, 0.9, 1.1, 2))


def test_the_search_ends_where_there_is_no_best():
    y = torch.tensor([0, 1])
    assert fit_temperature(torch.eye(2), y) == pytest.approx(0.01)            # all right: the surer the better
    assert fit_temperature(torch.eye(2), 1 - y) == pytest.approx(100)         # all wrong


@pytest.mark.parametrize("scores, y, says", [
    (torch.randn(3, 4, generator=seeded(0)), torch.tensor([0, 1, 2]), "softmax"),
    (two(0.5, 0.5), torch.tensor([0, 1, 1]), r"of shape \(2,\): got \(3,\)"),
    (two(0.5, 0.5), torch.tensor([0, 2]), "from 0 to 1, got 0 to 2"),
    (two(0.5, 0.5), torch.tensor([0.0, 1.0]), r"got \(2,\) of float32"),
    (two(0.5, 0.5)[:0], torch.tensor([], dtype=torch.int64), r"\(0, 2\)"),
    (torch.tensor([0.5, 0.5]), torch.tensor([0, 1]), r"\(B, K\)"),
    (two(0.5, float("nan")), torch.tensor([0, 1]), "nan"),
])
def test_bad_input_is_refused_in_one_line(scores, y, says):
    with pytest.raises(ValueError, match=says) as e:
        ece(scores, y)
    assert "\n" not in str(e.value)
    if says != "softmax":                                                     # which are welcome here
        with pytest.raises(ValueError, match=says):
            fit_temperature(scores, y)


def test_at_least_one_bin():
    with pytest.raises(ValueError, match="n_bins=0"):
        reliability(two(0.5), torch.tensor([0]), n_bins=0)


@pytest.mark.parametrize("guilty, innocent, found, accused", [(1_000, 999_000, 990, 9_990), (3, 7, 2, 1), (5, 5, 5, 0)])
def test_of_the_accused_the_guilty_are_counted(guilty, innocent, found, accused):
    """A town in which everybody is counted, in place of a formula."""
    everybody = guilty + innocent
    value = predictive_value(guilty / everybody, found / guilty, 1 - accused / innocent)
    assert value == pytest.approx(found / (found + accused))


def test_bayes_rule_for_logits_is_the_same():
    """Odds of guilt, times the likelihood ratio of an accusation, are the odds after it."""
    share, sensitivity, specificity = 0.02, 0.9, 0.95
    odds = share / (1 - share) * sensitivity / (1 - specificity)
    assert predictive_value(share, sensitivity, specificity) == pytest.approx(odds / (1 + odds))


def test_whoever_accuses_nobody_has_no_predictive_value():
    with pytest.raises(ValueError, match="nobody is accused with share=0.1, sensitivity=0, specificity=1"):
        predictive_value(0.1, 0, 1)
    with pytest.raises(ValueError, match="share=1.5"):
        predictive_value(1.5, 0.5, 0.5)
