import math

import pytest
import torch
from scipy.stats import chi2
from torch.distributions import Categorical, Independent, MixtureSameFamily, Normal

from course_lib.data.toys import Gaussians, ring, spirals
from course_lib.device import seeded

ALL = {"ring": ring, "spirals": spirals}


@pytest.fixture(params=ALL)
def toy(request):
    return ALL[request.param]()


def cells(low, high, n):
    """The middles (n * n, 2) of a grid of small squares over [low, high]^2, and the area of one square."""
    middle = low + (torch.arange(n, dtype=torch.float64) + 0.5) * ((high - low) / n)
    return torch.cartesian_prod(middle, middle), ((high - low) / n) ** 2


def test_the_density_integrates_to_one(toy):
    x, area = cells(-4, 4, 200)
    torch.testing.assert_close(toy.log_prob(x).exp().sum() * area, torch.tensor(1.0, dtype=x.dtype), atol=1e-6, rtol=0)


@pytest.mark.parametrize("toy", [ring(), ring(5, radius=1.0, std=0.4), spirals(), spirals(3, std=0.2)])
def test_a_mixture_has_the_density_of_torch_distributions(toy):
    bumps = Independent(Normal(toy.means, toy.std), 1)
    reference = MixtureSameFamily(Categorical(torch.ones(len(toy.means))), bumps)
    x = torch.cat([toy.sample(500, seeded(0)), 3 * torch.randn(500, 2, generator=seeded(1))])
    torch.testing.assert_close(toy.log_prob(x), reference.log_prob(x), rtol=1e-4, atol=1e-4)


def test_samples_fall_into_cells_as_often_as_the_density_says(toy):
    """Chi-square over the cells of a coarse grid that expect ten samples or more; all others form one cell."""
    n, n_coarse, n_fine = 40_000, 16, 160
    x, area = cells(-4, 4, n_fine)
    p = toy.log_prob(x).exp().mul(area).view(n_coarse, n_fine // n_coarse, n_coarse, -1).sum((1, 3)).flatten()
    where = ((toy.sample(n, seeded(3)) + 4) / 8 * n_coarse).long()                # (n, 2) which coarse cell
    seen = torch.bincount(where[:, 0] * n_coarse + where[:, 1], minlength=n_coarse**2).double()
    big = p * n >= 10
    seen = torch.cat([seen[big], seen[~big].sum().view(1)])
    expected = torch.cat([p[big], 1 - p[big].sum().view(1)]).clamp(min=1e-9) * n
    if expected[-1] < 10:                                                         # too small to be a cell of its own
        assert seen[-1] < 40
        seen, expected = seen[:-1], expected[:-1]
    statistic = ((seen - expected) ** 2 / expected).sum().item()
    assert chi2.sf(statistic, len(seen) - 1) > 1e-3


def test_well_separated_modes_have_the_entropy_of_one_gaussian_plus_log_k():
    toy = ring(4, radius=20.0, std=0.5)
    entropy = 1 + math.log(2 * math.pi * 0.5**2) + math.log(4)                    # closed form, in nats
    assert -toy.log_prob(toy.sample(100_000, seeded(0))).mean().item() == pytest.approx(entropy, abs=0.02)


def test_labels_say_which_part_a_point_came_from():
    x, y = ring(std=0.05).sample_labelled(1_000, seeded(0))
    angle = torch.atan2(x[:, 1], x[:, 0]) % (2 * math.pi)
    assert torch.equal(y, (angle / (2 * math.pi / 8)).round().long() % 8)
    assert y.unique().tolist() == list(range(8))


def test_the_arms_are_separable_but_not_by_a_line():
    toy = spirals()
    x, y = toy.sample_labelled(4_000, seeded(0))
    assert x.abs().max() < 3
    torch.testing.assert_close(toy.means[:100][[0, -1]], torch.tensor([[0.5, 0.0], [0.0, 2.5]]))   # 1.25 turns left
    assert torch.bincount(y).min() > 1_800
    arms = [Gaussians(toy.means[toy.labels == k], toy.std, toy.labels[toy.labels == k]) for k in (0, 1)]
    bayes = (arms[1].log_prob(x) > arms[0].log_prob(x)).long()
    assert (bayes == y).float().mean() > 0.999
    plane = torch.linalg.lstsq(torch.cat([x, torch.ones(len(x), 1)], 1), 2.0 * y[:, None] - 1).solution
    line = (torch.cat([x, torch.ones(len(x), 1)], 1) @ plane > 0).squeeze(1).long()
    assert (line == y).float().mean() < 0.75


def test_gradients_are_finite_far_away_and_point_to_the_data():
    x = torch.tensor([[30.0, -40.0], [0.0, 0.0], [2.0, 0.0]], requires_grad=True)
    score, = torch.autograd.grad(ring(std=0.2).log_prob(x).sum(), x)
    assert score.isfinite().all()
    assert score[0] @ x[0] < 0
    torch.testing.assert_close(score[1:], torch.zeros(2, 2), atol=1e-4, rtol=0)   # the centre and a peak are flat


def test_the_gradient_exists_everywhere(toy):
    x = torch.cat([toy.sample(3, seeded(0)), torch.full((1, 2), 9.0)]).requires_grad_()
    assert torch.autograd.grad(toy.log_prob(x).sum(), x)[0].isfinite().all()


@pytest.mark.parametrize("n", [1, 3])
def test_one_and_three_points(toy, n):
    x, y = toy.sample_labelled(n, seeded(0))
    assert (x.shape, x.dtype, y.shape, y.dtype) == ((n, 2), torch.float32, (n,), torch.int64)
    assert toy.log_prob(x).shape == (n,)
    assert torch.equal(x, toy.sample(n, seeded(0)))


def test_without_a_generator_the_global_seed_rules(toy):
    torch.manual_seed(5)
    first = toy.sample(4)
    torch.manual_seed(5)
    assert torch.equal(first, toy.sample(4))


@pytest.mark.parametrize("make, words", [
    (lambda: ring(std=math.nan), "std=nan must be"), (lambda: spirals(n_arms=-1), "n_arms=-1 must be"),
    (lambda: ring().log_prob(torch.zeros(3, 3)), r"shape \(3, 3\)"),
    (lambda: ring().log_prob(torch.zeros(3, 2, dtype=torch.int64)), "int64"),
])
def test_bad_input_is_one_clear_line(make, words):
    with pytest.raises(ValueError, match=words) as error:
        make()
    assert "\n" not in str(error.value)


def test_bumps_lie_evenly_in_the_square_of_the_radius():
    radius = spirals(n_bumps=9).means[:9].norm(dim=1)
    torch.testing.assert_close(radius.square().diff(), torch.full((8,), (2.5**2 - 0.5**2) / 8))
