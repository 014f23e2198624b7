"""Each metric against an independent computation, and on cases whose answer is known beforehand."""

import numpy as np
import pytest
import torch
from scipy import linalg, stats
from sklearn.metrics.pairwise import polynomial_kernel
from sklearn.neighbors import NearestNeighbors
from torch import nn

from course_lib import metrics
from course_lib.convnet import ConvNet, ConvNetConfig
from course_lib.data import load
from course_lib.device import seeded
from course_lib.metrics import (
    bootstrap,
    control_accuracy,
    copy_ratio,
    effective_size,
    frechet_distance,
    judge_features,
    kernel_distance,
    mean_interval,
    memorisation,
    nearest_neighbours,
    precision_recall,
    samples_to_tell,
    wilson,
)


def cloud(n, d, seed, shift=0.0, scale=1.0):
    return torch.randn(n, d, generator=seeded(seed)) * scale + shift


def correlated(n, d, seed):
    return cloud(n, d, seed) @ cloud(d, d, seed + 100) + cloud(1, d, seed + 200)


@pytest.fixture(scope="module")
def judge():
    torch.manual_seed(0)
    return ConvNet(ConvNetConfig(n_channel=4, n_feature=8)).eval()


# ---------------------------------------------------------------------------------------------------- Fréchet distance

@pytest.mark.parametrize("n, m, d", [(300, 200, 12), (50, 80, 1), (500, 500, 64)])
def test_frechet_distance_is_the_formula_with_scipys_matrix_root(n, m, d):
    a, b = correlated(n, d, 0), correlated(m, d, 1)
    A, B = a.double().numpy(), b.double().numpy()
    S_a, S_b = (np.cov(x, rowvar=False).reshape(d, d) for x in (A, B))
    expected = ((A.mean(0) - B.mean(0)) ** 2).sum() + np.trace(S_a + S_b - 2 * linalg.sqrtm(S_a @ S_b).real)
    assert frechet_distance(a, b) == pytest.approx(expected, rel=1e-8)


def test_frechet_distance_of_a_shifted_cloud_is_the_squared_shift():
    a, shift = correlated(100, 5, 0).double(), torch.tensor([3.0, 0, 0, 4.0, 0]).double()
    assert frechet_distance(a, a + shift) == pytest.approx(25, abs=1e-6)


def test_frechet_distance_of_scaled_clouds_is_the_squared_difference_of_their_spreads():
    a = correlated(200, 6, 0).double()
    a = a - a.mean(0)
    variance = torch.cov(a.T).trace().item()                       # a and 3a commute: sum of (3 s - s)^2 = 4 sum s^2
    assert frechet_distance(a, 3 * a) == pytest.approx(4 * variance, rel=1e-9)


def test_frechet_distance_is_zero_to_itself_and_symmetric():
    a, b = correlated(100, 10, 0), correlated(120, 10, 1)
    assert frechet_distance(a, a) == pytest.approx(0, abs=1e-6 * torch.cov(a.T).trace().item())
    assert frechet_distance(a, b) == pytest.approx(frechet_distance(b, a), rel=1e-9)


def test_frechet_distance_works_with_fewer_samples_than_dimensions():
    a, b = correlated(5, 30, 0), correlated(3, 30, 1)
    expected = ((a.double().mean(0) - b.double().mean(0)) ** 2).sum() + torch.cov(a.double().T).trace() \
        + torch.cov(b.double().T).trace()
    # tr (S_a S_b)^(1/2) is the sum of the singular values of the (5, 3) matrix of products of the centred points
    A, B = (x.double() - x.double().mean(0) for x in (a, b))
    expected -= 2 * torch.linalg.svdvals(A @ B.T).sum() / np.sqrt(4 * 2)
    assert frechet_distance(a, b) == pytest.approx(expected.item(), rel=1e-6)
    assert frechet_distance(torch.zeros(4, 3), torch.zeros(9, 3)) == 0


def test_frechet_distance_shrinks_with_the_number_of_samples():
    few, many = (frechet_distance(cloud(n, 20, 0), cloud(n, 20, 1)) for n in (50, 5_000))
    assert few > 20 * many > 0


# ----------------------------------------------------------------------------------------------------- kernel distance

def test_kernel_distance_is_the_double_loop():
    a, b = cloud(7, 3, 0).double(), cloud(5, 3, 1, shift=0.5).double()

    def k(x, y):
        return (float(x @ y) / 3 + 1) ** 3

    aa = np.mean([k(x, y) for i, x in enumerate(a) for j, y in enumerate(a) if i != j])
    bb = np.mean([k(x, y) for i, x in enumerate(b) for j, y in enumerate(b) if i != j])
    ab = np.mean([k(x, y) for x in a for y in b])
    assert kernel_distance(a, b) == pytest.approx(aa + bb - 2 * ab, rel=1e-10)


def test_kernel_distance_agrees_with_sklearns_polynomial_kernel():
    a, b = correlated(60, 16, 0), correlated(40, 16, 1)
    A, B = a.double().numpy(), b.double().numpy()
    K_aa, K_bb, K_ab = polynomial_kernel(A), polynomial_kernel(B), polynomial_kernel(A, B)    # degree 3, 1/d, + 1
    expected = (K_aa.sum() - np.trace(K_aa)) / (60 * 59) + (K_bb.sum() - np.trace(K_bb)) / (40 * 39) - 2 * K_ab.mean()
    assert kernel_distance(a, b) == pytest.approx(expected, rel=1e-9)


def test_kernel_distance_of_two_halves_of_one_cloud_is_zero_on_average():
    x = cloud(60, 4, 0)
    values = []
    for s in range(300):
        i = torch.randperm(60, generator=seeded(s))
        values.append(kernel_distance(x[i[:30]], x[i[30:]]))
    error = np.std(values) / np.sqrt(len(values))
    assert abs(np.mean(values)) < 4 * error and min(values) < 0 < max(values)
    assert kernel_distance(x, x + 1) > 20 * error


# --------------------------------------------------------------------------------------------------- precision, recall

@pytest.mark.parametrize("k", [1, 3, 7])
def test_precision_and_recall_agree_with_a_brute_force_neighbour_search(k):
    real, fake = cloud(80, 5, 0), cloud(60, 5, 1, shift=0.7)

    def share_inside(points, balls):
        reach = NearestNeighbors(n_neighbors=k + 1, algorithm="brute").fit(balls).kneighbors(balls)[0][:, -1]
        d = np.linalg.norm(points[:, None].numpy() - balls[None].numpy(), axis=-1)
        return (d <= reach).any(1).mean()

    real, fake = real.double(), fake.double()
    precision, recall = precision_recall(real, fake, k)
    assert precision == pytest.approx(share_inside(fake, real)) and recall == pytest.approx(share_inside(real, fake))
    assert 0.1 < precision < 0.99 and 0.1 < recall < 0.99          # the case is not a trivial one


def test_precision_and_recall_of_the_same_cloud_and_of_a_far_one():
    x = cloud(50, 3, 0)
    assert precision_recall(x, x.clone()) == (1.0, 1.0)
    assert precision_recall(x, x + 100) == (0.0, 0.0)


def test_dropped_modes_cost_recall_and_not_precision():
    centres = torch.tensor([[0.0, 0], [100, 0], [0, 100], [100, 100]])
    real = centres.repeat_interleave(50, 0) + cloud(200, 2, 0)
    fake = centres[:2].repeat_interleave(100, 0) + cloud(200, 2, 1)
    precision, recall = precision_recall(real, fake)
    assert precision > 0.85 and 0.4 < recall <= 0.5
    more_precision, less = precision_recall(fake, real)            # the roles exchanged
    assert (more_precision, less) == (recall, precision)


def test_one_repeated_real_point_has_full_precision_and_hardly_any_recall():
    real = cloud(100, 4, 0)
    assert precision_recall(real, real[:1].repeat(100, 1)) == (1.0, 0.01)


# ---------------------------------------------------------------------------------------------- neighbours and copying

def test_nearest_neighbours_agree_with_sklearn():
    x, reference = cloud(700, 6, 0), cloud(90, 6, 1)               # more than one block of rows
    distances, indices = nearest_neighbours(x, reference, k=4)
    d, i = NearestNeighbors(n_neighbors=4, algorithm="brute").fit(reference.double()).kneighbors(x.double())
    np.testing.assert_allclose(distances, d, rtol=1e-9)
    np.testing.assert_array_equal(indices, i)


def test_a_point_is_its_own_nearest_neighbour_at_distance_exactly_zero():
    x = cloud(30, 100, 0, shift=1000.0)                            # |x|^2 - 2xy + |y|^2 would leave rounding errors
    distances, indices = nearest_neighbours(x, x)
    assert (distances == 0).all() and (indices[:, 0] == torch.arange(30)).all()


def test_memorisation_is_the_mann_whitney_statistic():
    train, test, samples = cloud(200, 3, 0), cloud(80, 3, 1), cloud(60, 3, 2, scale=0.8)
    d_test, d_samples = (NearestNeighbors(n_neighbors=1).fit(train.double()).kneighbors(x.double())[0][:, 0]
                         for x in (test, samples))
    U = stats.mannwhitneyu(d_test, d_samples).statistic            # pairs in which the test point lies farther away
    assert memorisation(samples, train, test) == pytest.approx(U / (60 * 80), abs=1e-12)


def test_memorisation_catches_copies_and_acquits_fresh_data():
    train, test, fresh = cloud(500, 4, 0), cloud(400, 4, 1), cloud(400, 4, 2)
    assert memorisation(train[:300], train, test) == 1.0
    assert memorisation(fresh, train, test) == pytest.approx(0.5, abs=0.06)
    assert memorisation(fresh + 50, train, test) == 0.0
    half = torch.cat([train[:200], fresh[:200]])
    assert memorisation(half, train, test) == pytest.approx(0.75, abs=0.05)


def test_equal_distances_count_one_half():
    assert memorisation(torch.ones(3, 2), torch.zeros(4, 2), torch.ones(5, 2)) == 0.5


def test_the_copy_ratio_by_hand_and_for_copies():
    train = torch.tensor([[0.0, 0.0], [10.0, 0.0], [0.0, 40.0]])
    ratio, which = copy_ratio(torch.tensor([[1.0, 0.0], [5.0, 0.0], [0.0, 30.0], [10.0, 0.0]]), train)
    np.testing.assert_allclose(ratio, [1 / 9, 1, 1 / 3, 0])
    assert which[0] == 0 and which[2:].tolist() == [2, 1]
    x, samples = cloud(300, 5, 0), cloud(40, 5, 1)
    torch.testing.assert_close(copy_ratio(7 * samples + 3, 7 * x + 3)[0], copy_ratio(samples, x)[0], rtol=1e-4, atol=0)


# ----------------------------------------------------------------------------------------------------------- bootstrap

def test_bootstrap_intervals_cover_a_known_mean_about_95_times_in_100():
    hits = 0
    for s in range(200):
        estimate, low, high = bootstrap(lambda x: x.mean().item(), cloud(50, 1, s), n=60, seed=s)
        hits += low <= 0 <= high
        assert low < estimate < high
    assert 0.88 <= hits / 200 <= 0.99


def test_bootstrap_error_of_a_mean_is_sigma_over_root_n():
    x = cloud(400, 1, 0, scale=5)
    estimate, low, high = bootstrap(lambda x: x.mean().item(), x, n=400)
    assert (high - low) / 2 == pytest.approx(1.96 * x.std().item() / 20, rel=0.15)
    assert (estimate, low, high) == bootstrap(lambda x: x.mean().item(), x, n=400)             # reproducible
    assert estimate == pytest.approx((low + high) / 2)


def test_bootstrap_resamples_every_set():
    def difference(a, b):
        return (a.mean() - b.mean()).item()

    a, b = cloud(100, 1, 0), cloud(100, 1, 1)
    half = {name: (lambda r: r[2] - r[0])(bootstrap(difference, *sets, n=300))
            for name, sets in dict(both=(a, b), first=(a, torch.zeros(100, 1))).items()}
    assert half["both"] == pytest.approx(half["first"] * 2**0.5, rel=0.25)


# -------------------------------------------------------------------------------------------------------------- shares

@pytest.mark.parametrize("hits, n", [(0, 1), (0, 40), (7, 50), (500, 1_000), (40, 40)])
@pytest.mark.parametrize("level", [0.8, 0.95])
def test_wilsons_interval_is_scipys(hits, n, level):
    its = stats.binomtest(hits, n).proportion_ci(level, method="wilson")
    assert wilson(hits, n, level) == pytest.approx((hits / n, its.low, its.high), abs=1e-12)


def test_the_ends_of_wilsons_interval_are_the_shares_that_a_test_just_rejects():
    share, low, high = wilson(37, 120)
    for p in (low, high):
        assert abs(share - p) == pytest.approx(stats.norm.ppf(0.975) * (p * (1 - p) / 120) ** 0.5)


@pytest.mark.parametrize("n, level", [(2, 0.95), (5, 0.95), (5, 0.8), (30, 0.99)])
def test_the_interval_of_a_mean_is_scipys(n, level):
    x = cloud(n, 1, n).flatten()
    its = stats.ttest_1samp(x.double().numpy(), 0).confidence_interval(level)
    assert mean_interval(x, level) == pytest.approx((x.double().mean().item(), its.low, its.high))


def test_nineteen_intervals_of_twenty_hold_the_true_mean_with_five_values_each():
    values = torch.randn(2_000, 5, generator=seeded(0)) * 3 + 7
    held = sum(low < 7 < high for _, low, high in map(mean_interval, values)) / 2_000
    assert held == pytest.approx(0.95, abs=0.015)                 # three standard errors


@pytest.mark.parametrize("share, other, power", [(0.8, 0.85, 0.8), (0.5, 0.45, 0.9), (0.33, 0.38, 0.8)])
def test_so_many_samples_tell_a_share_from_another_in_that_part_of_all_trials(share, other, power):
    n = samples_to_tell(share, other, power)
    hits = np.arange(n + 1)
    rejected = abs(hits - n * share) > stats.norm.ppf(0.975) * (n * share * (1 - share)) ** 0.5
    assert stats.binom.pmf(hits, n, other)[rejected].sum() == pytest.approx(power, abs=0.02)
    assert stats.binom.pmf(hits, n, share)[rejected].sum() == pytest.approx(0.05, abs=0.015)
    few = samples_to_tell(share, share + 2 * (other - share), power)
    assert n / few == pytest.approx(4, rel=0.15)                  # half the difference: four times as many


def test_weights_cost_as_much_as_fewer_samples_would():
    assert effective_size(torch.ones(7)) == effective_size(5 * torch.ones(7)) == pytest.approx(7)
    assert effective_size(torch.tensor([1.0, 0, 0])) == pytest.approx(1)
    w, x = torch.rand(40, generator=seeded(0)), torch.randn(20_000, 40, generator=seeded(1))
    spread = (x @ w / w.sum()).var().item()                       # of a weighted mean of 40 numbers of variance 1
    assert 1 / spread == pytest.approx(effective_size(w), rel=0.04)


# ----------------------------------------------------------------------------------------------------------- the judge

class Brightness(nn.Module):
    """A judge whose verdicts are known: the label is the pixel at (0, 0), in tenths."""

    def forward(self, x):
        return nn.functional.one_hot((x[:, 0, 0, 0] * 10).long(), 10).float()


@pytest.mark.parametrize("n", [1, 3, 1201])
def test_judge_features_are_the_judges_own_whatever_the_batches(judge, n):
    x = torch.rand(n, 1, 28, 28, generator=seeded(0))
    with torch.no_grad():
        torch.testing.assert_close(judge_features(x, judge, batch_size=500), judge.features(x), atol=1e-5, rtol=1e-4)


def test_the_judge_is_used_in_eval_mode_and_left_as_it_was(judge):
    x = torch.rand(20, 1, 28, 28, generator=seeded(0))
    expected = judge_features(x, judge)
    judge.train()
    state = {k: v.clone() for k, v in judge.state_dict().items()}
    assert torch.equal(judge_features(x, judge), expected) and judge.training
    assert all(torch.equal(v, state[k]) for k, v in judge.state_dict().items())
    judge.eval()


def test_control_accuracy_is_the_share_of_verdicts_that_match():
    labels = torch.tensor([0, 1, 2, 3, 4, 5, 6, 7, 8, 9])
    x = torch.zeros(10, 1, 28, 28)
    x[:, 0, 0, 0] = labels / 10 + 0.05
    assert control_accuracy(Brightness(), x, labels) == 1.0
    assert control_accuracy(Brightness(), x, labels.flip(0)) == 0.0
    assert control_accuracy(Brightness(), x, torch.where(labels < 3, labels, 0)) == pytest.approx(0.3)


def test_measure_reports_one_row_and_agrees_with_its_parts(judge):
    x, y = load("digits").train
    images, labels = x[:200], y[:200]
    row = metrics.measure(images, labels, judge=judge, n_bootstrap=5)
    assert list(row) == ["n", "frechet", "frechet_error", "kernel", "precision", "recall", "memorisation", "control"]
    fake, real = judge_features(images, judge), judge_features(load("digits").test.x, judge)
    assert row["frechet"] == pytest.approx(frechet_distance(fake, real), rel=1e-5)
    assert (row["precision"], row["recall"]) == pytest.approx(precision_recall(real, fake), abs=1e-6)
    assert row["memorisation"] == 1.0 and row["frechet_error"] > 0
    assert row["control"] == pytest.approx(control_accuracy(judge, images, labels), abs=1e-6)
    assert "control" not in metrics.measure(images, judge=judge, n_bootstrap=2)


# ------------------------------------------------------------------------------------------------------------ bad input

GOOD = torch.ones(5, 2)
BAD = [
    (lambda: frechet_distance(GOOD, GOOD[:, :1]), "points of 2 numbers cannot be compared with points of 1"),
    (lambda: frechet_distance(GOOD / 0, GOOD), "a holds 10 numbers that are not finite"),
    (lambda: kernel_distance(GOOD, GOOD[0]), "b must hold at least 2 points as rows (n, d), got shape (2,)"),
    (lambda: nearest_neighbours(GOOD, GOOD, k=6), "k=6 must be a whole number between 1 and 5"),
    (lambda: copy_ratio(GOOD, GOOD[:1]), "k=2 must be a whole number between 1 and 1"),
    (lambda: memorisation(GOOD[:0], GOOD, GOOD), "x must hold at least 1 points"),
    (lambda: wilson(1, 4, level=1), "between 0 and 1, not 1"),
    (lambda: mean_interval([0.9, 0.8], level=2), "a probability must lie between 0 and 1, not"),
    (lambda: samples_to_tell(0.8, 1.2), "other=1.2"),
    (lambda: effective_size(torch.tensor([1.0, -0.5])), "smallest -0.5"),
    (lambda: effective_size(torch.ones(0)), "smallest None"),
    (lambda: judge_features(torch.rand(28, 28)), "of shape (B, 1, 28, 28), got (28, 28)"),
    (lambda: judge_features(torch.rand(0, 1, 28, 28)), "28), got (0, 1, 28, 28)"),
    (lambda: judge_features(torch.full((1, 1, 28, 28), float("nan"))), "reach from nan to nan"),
]


@pytest.mark.parametrize("call, line", BAD, ids=[line[:30] for _, line in BAD])
def test_bad_input_gets_one_clear_line(call, line):
    with pytest.raises(ValueError) as e:
        call()
    assert line in str(e.value) and "\n" not in str(e.value)


def test_the_judge_is_loaded_once():
    assert metrics.the_judge() is metrics.the_judge()
