"""Gaussians against scipy and scikit-learn, EM against its own theorem, and both generators against their contract."""

import math
import warnings

import numpy as np
import pytest
import torch
from scipy.stats import multivariate_normal
from sklearn.decomposition import PCA
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis, QuadraticDiscriminantAnalysis
from sklearn.exceptions import ConvergenceWarning
from sklearn.mixture import GaussianMixture as SklearnMixture

from course_lib.baselines import Noise, NoiseConfig, TrainingDigits, TrainingDigitsConfig
from course_lib.data import load
from course_lib.device import seeded
from course_lib.gaussians import (
    ClassGaussians,
    ClassGaussiansConfig,
    GaussianMixture,
    GaussianMixtureConfig,
    em,
    gaussian_log_prob,
    kmeans_plus_plus,
    moments,
    principal_axes,
    shrink,
)


def blobs(n, centres, seed=0):
    """n points of a mixture of stretched Gaussians around the rows of `centres`, float64, and their groups."""
    g = seeded(seed)
    centres = torch.as_tensor(centres, dtype=torch.float64)
    k = torch.randint(len(centres), (n,), generator=g)
    stretch = torch.randn(len(centres), centres.shape[1], centres.shape[1], generator=g, dtype=torch.float64)
    eps = torch.randn(n, centres.shape[1], 1, generator=g, dtype=torch.float64)
    return centres[k] + (stretch[k] @ eps).squeeze(-1), k


@pytest.fixture(scope="module")
def digits():
    return load("digits")


@pytest.fixture(scope="module")
def by_class(digits):
    return ClassGaussians.fit(*digits.train)


@pytest.fixture(scope="module")
def mixture(digits):
    return GaussianMixture.fit(digits.train.x, n_axis=10, n_gaussian=8, steps=15, generator=seeded(0))


# ------------------------------------------------------------------------------------------------------ the mathematics

def test_log_density_is_scipys():
    z, _ = blobs(7, [[0.0, 0, 0]])
    mu = torch.randn(2, 3, generator=seeded(1), dtype=torch.float64)
    scale = torch.tril(torch.rand(2, 3, 3, generator=seeded(2), dtype=torch.float64) + 0.5)
    expected = [multivariate_normal(m, s @ s.T).logpdf(z) for m, s in zip(mu, scale)]
    torch.testing.assert_close(gaussian_log_prob(z, mu, scale), torch.tensor(np.stack(expected, axis=1)))


def test_log_density_of_one_point_and_one_dimension():
    got = gaussian_log_prob(torch.tensor([[3.0]]), torch.tensor([[1.0]]), torch.tensor([[[2.0]]]))
    assert got.item() == pytest.approx(-0.5 - math.log(2) - 0.5 * math.log(2 * math.pi))        # one sigma off


def test_a_density_in_the_plane_sums_to_one():
    step = 0.1
    line = torch.arange(-12, 12, step, dtype=torch.float64)
    grid = torch.cartesian_prod(line, line)
    mu, scale = torch.tensor([[1.0, -1]]).double(), torch.tensor([[[1.5, 0], [0.8, 0.7]]]).double()
    p = gaussian_log_prob(grid, mu, scale).exp()
    assert p.sum().item() * step**2 == pytest.approx(1, abs=1e-9)


def test_principal_axes_are_those_of_sklearn_up_to_sign(digits):
    x = digits.train.x[:1000]
    mean, axes = principal_axes(x, 20)
    theirs = PCA(20, svd_solver="full").fit(x.flatten(1).double())
    torch.testing.assert_close(mean, x.flatten(1).mean(0))
    cosine = (axes.double() * torch.from_numpy(theirs.components_)).sum(1).abs()
    torch.testing.assert_close(cosine, torch.ones(20).double(), atol=1e-5, rtol=0)
    assert (axes.gather(1, axes.abs().argmax(1, keepdim=True)) > 0).all()


def test_moments_of_hard_groups_are_numpys():
    z, k = blobs(60, [[0.0, 0], [5, 5], [0, 9]])
    n, mu, cov = moments(z, torch.nn.functional.one_hot(k, 3).double())
    for g in range(3):
        torch.testing.assert_close(mu[g], z[k == g].mean(0))
        torch.testing.assert_close(cov[g], torch.from_numpy(np.cov(z[k == g].T.numpy(), bias=True)))
        assert n[g] == (k == g).sum()


def test_moments_of_shared_points_weigh_them():
    z = torch.tensor([[0.0], [4.0]])
    n, mu, cov = moments(z, torch.tensor([[0.25], [0.75]]))
    assert (n.item(), mu.item(), cov.item()) == (1.0, 3.0, pytest.approx(0.25 * 9 + 0.75 * 1))


def test_shrinking_goes_from_each_its_own_to_one_for_all():
    cov = torch.stack([torch.eye(2), 3 * torch.eye(2)])
    n = torch.tensor([10.0, 30.0])
    torch.testing.assert_close(shrink(cov, n, 0, 0.5), cov)
    torch.testing.assert_close(shrink(cov, n, math.inf, 0.0), 2.5 * torch.eye(2).expand(2, 2, 2))
    torch.testing.assert_close(shrink(cov, n, 10, 0.2)[0], (0.5 * 1 + 0.5 * 2.5 * 1.2) * torch.eye(2))
    assert torch.linalg.eigvalsh(shrink(torch.ones(2, 3, 3), n, 1.0, 0.1)).min() > 0            # of rank 1 before
    uneven = torch.tensor([[[1.0, 0.5], [0.5, 3.0]]])                                           # mean variance 2
    torch.testing.assert_close(shrink(uneven, n[:1], math.inf, 0.2), uneven + 0.2 * 2 * torch.eye(2))


def test_starting_means_are_points_and_lie_apart():
    z, _ = blobs(300, [[0.0, 0], [100, 0], [0, 100], [100, 100]])
    for s in range(5):
        mu = kmeans_plus_plus(z, 4, seeded(s))
        assert all((z == m).all(1).any() for m in mu)
        assert torch.pdist(mu).min() > 50                          # one in every blob
    assert torch.equal(kmeans_plus_plus(z, 4, seeded(3)), kmeans_plus_plus(z, 4, seeded(3)))
    assert kmeans_plus_plus(torch.ones(5, 2), 3, seeded(0)).shape == (3, 2)         # all distances are 0


# ------------------------------------------------------------------------------------------------------------------- EM

def test_em_equals_sklearns_from_the_same_start():
    z, _ = blobs(400, [[0.0, 0, 0], [4, 0, 1], [0, 5, 0]], seed=3)
    start, ridge = z[[0, 1, 2]], 1e-6
    cov = torch.cov(z.T, correction=0) + ridge * torch.eye(3)
    theirs = SklearnMixture(3, reg_covar=ridge, tol=0, max_iter=1, warm_start=True, means_init=start.numpy(),
                            weights_init=np.full(3, 1 / 3), precisions_init=np.stack([np.linalg.inv(cov)] * 3))
    *_, history = em(z, start, 25, ridge=ridge)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        for step in range(25):
            theirs.fit(z.numpy())
            assert theirs.score(z.numpy()) == pytest.approx(history[step + 1], abs=1e-7), f"step {step}"
    weights, mu, cov, _ = em(z, start, 25, ridge=ridge)
    np.testing.assert_allclose(weights, theirs.weights_, atol=1e-7)
    np.testing.assert_allclose(mu, theirs.means_, atol=1e-6)
    np.testing.assert_allclose(cov, theirs.covariances_, atol=1e-6)


@pytest.mark.parametrize("seed", range(6))
def test_the_likelihood_never_falls_in_em(seed):
    z, _ = blobs(200, [[0.0, 0], [3, 0], [0, 3], [3, 3]], seed)
    *_, history = em(z, kmeans_plus_plus(z, 5, seeded(seed)), 40, ridge=1e-9)
    assert len(history) == 41 and history[-1] > history[0] + 0.1
    assert np.diff(history).min() >= -1e-9


def test_pooling_in_em_pulls_covariances_together_and_keeps_small_groups_from_collapsing():
    z, _ = blobs(60, torch.zeros(1, 8), seed=2)
    start = kmeans_plus_plus(z, 6, seeded(0))
    spread = {}
    for pool in (0, 10, math.inf):
        *_, cov, _ = em(z, start, 15, pool=pool)
        spread[pool] = torch.linalg.eigvalsh(cov)[:, 0]                       # the smallest variance of each Gaussian
    assert spread[0].min() < 1e-3 * spread[10].min()
    torch.testing.assert_close(spread[math.inf], spread[math.inf][:1].expand(6))


def test_em_finds_what_the_points_were_drawn_from():
    centres = [[0.0, 0], [30, 0], [0, 30]]
    z, k = blobs(600, centres, seed=1)
    weights, mu, cov, _ = em(z, kmeans_plus_plus(z, 3, seeded(0)), 20)
    order = torch.cdist(torch.tensor(centres).double(), mu).argmin(1)
    n, expected, expected_cov = moments(z, torch.nn.functional.one_hot(k, 3).double())
    torch.testing.assert_close(mu[order], expected, atol=1e-4, rtol=0)
    torch.testing.assert_close(cov[order], expected_cov, atol=1e-3, rtol=0)
    torch.testing.assert_close(weights[order], n / 600, atol=1e-6, rtol=0)


def test_em_with_one_gaussian_is_the_mean_and_covariance():
    z, _ = blobs(50, [[1.0, 2, 3]])
    weights, mu, cov, history = em(z, z[:1], 1, ridge=0.0)
    torch.testing.assert_close(mu[0], z.mean(0))
    torch.testing.assert_close(cov[0], torch.cov(z.T, correction=0), atol=1e-9, rtol=1e-9)
    expected = multivariate_normal(z.mean(0), torch.cov(z.T, correction=0)).logpdf(z).mean()
    assert history[-1] == pytest.approx(expected, abs=1e-9)


# ------------------------------------------------------------------------------------------------------ class Gaussians

def test_class_gaussians_are_sklearns_quadratic_discriminant_analysis(digits):
    (x, y), (x_test, _) = digits.train, digits.test
    model = ClassGaussians.fit(x, y, n_axis=8, pool=0)
    z, z_test = model.encode(x), model.encode(x_test)
    theirs = QuadraticDiscriminantAnalysis().fit(z.numpy(), y.numpy())     # divides by n - 1 where we divide by n
    p = model.log_prob(x_test).softmax(1)
    np.testing.assert_allclose(p, theirs.predict_proba(z_test.numpy()), atol=5e-3)
    assert (model.predict(x_test).numpy() == theirs.predict(z_test.numpy())).mean() > 0.995


def test_one_shared_covariance_is_linear_discriminant_analysis(digits):
    (x, y), (x_test, _) = digits.train, digits.test
    model = ClassGaussians.fit(x, y, n_axis=12, pool=math.inf, ridge=0.0)
    theirs = LinearDiscriminantAnalysis(solver="lsqr").fit(model.encode(x).numpy(), y.numpy())
    p = theirs.predict_proba(model.encode(x_test).numpy())
    np.testing.assert_allclose(model.log_prob(x_test).softmax(1), p, atol=5e-3)


def test_joint_log_probability_is_prior_times_density(digits, by_class):
    x = digits.test.x[:3]
    z = by_class.encode(x).double().numpy()
    for c in (0, 7):
        cov = (by_class.scale[c] @ by_class.scale[c].T).double().numpy()
        prior = (digits.train.y == c).double().mean().item()
        expected = math.log(prior) + multivariate_normal(by_class.mu[c].numpy(), cov).logpdf(z)
        np.testing.assert_allclose(by_class.log_prob(x)[:, c], expected, rtol=1e-4)


def test_class_gaussians_recognise_held_out_digits(digits, by_class):
    assert (by_class.predict(digits.test.x) == digits.test.y).double().mean() > 0.955
    few = torch.cat([(digits.train.y == c).nonzero()[:3, 0] for c in range(10)])                # 3 a class, 50 axes
    scarce = ClassGaussians.fit(digits.train.x[few], digits.train.y[few], axes=principal_axes(digits.train.x, 50))
    assert (scarce.predict(digits.test.x) == digits.test.y).double().mean() > 0.45


def test_samples_of_a_class_have_its_mean_and_covariance(by_class):
    x = by_class.sample(4000, 3, seeded(0))
    free = by_class.mu[3] + (by_class.scale[3] @ torch.randn(4000, 50, 1, generator=seeded(0))).squeeze(-1)
    torch.testing.assert_close(x, by_class.decode(free))           # without clamping: z = mu + L eps
    torch.testing.assert_close(torch.cov(free.T), by_class.scale[3] @ by_class.scale[3].T, atol=0.35, rtol=0.1)
    assert (by_class.predict(x) == 3).double().mean() > 0.95


def test_class_gaussians_draw_labels_by_their_prior(digits):
    keep = (digits.train.y < 2).nonzero().squeeze(1)
    keep = keep[(digits.train.y[keep] == 0) | (torch.arange(len(keep)) % 4 == 0)]
    x, y = digits.train.x[keep], digits.train.y[keep]
    model = ClassGaussians.fit(x, y, n_axis=10, n_class=2)
    share = (model.predict(model.sample(2000, generator=seeded(0))) == 1).double().mean()
    assert share == pytest.approx((y == 1).double().mean().item(), abs=0.04)


# -------------------------------------------------------------------------------------------------------------- mixture

def test_mixture_density_and_responsibilities_come_from_one_joint(digits, mixture):
    model, history = mixture
    x = digits.test.x[:3]
    torch.testing.assert_close(model.log_prob(x).exp(), model.log_joint(x).exp().sum(1), rtol=1e-4, atol=0)
    torch.testing.assert_close(model.responsibilities(x).sum(1), torch.ones(3))
    assert model.log_prob(digits.train.x).mean().item() == pytest.approx(history[-1], abs=1e-3)


def test_mixture_explains_held_out_digits_better_than_one_gaussian(digits, mixture):
    one, _ = GaussianMixture.fit(digits.train.x, n_axis=10, n_gaussian=1, steps=1)
    assert mixture[0].log_prob(digits.test.x).mean() > one.log_prob(digits.test.x).mean() + 1


def test_mixture_samples_follow_its_weights(mixture):
    k = mixture[0].choose(20_000, seeded(0))
    torch.testing.assert_close(k.bincount(minlength=8) / 20_000, mixture[0].log_weight.exp(), atol=0.015, rtol=0)


# ------------------------------------------------------------------------------------------------------------ contracts

GENERATORS = [
    lambda: ClassGaussians(ClassGaussiansConfig(n_axis=5)), lambda: GaussianMixture(GaussianMixtureConfig(n_axis=5)),
    lambda: TrainingDigits(TrainingDigitsConfig()), lambda: Noise(NoiseConfig()),
]
IDS = ["class_gaussians", "gaussian_mixture", "training_digits", "noise"]


@pytest.mark.parametrize("make", GENERATORS, ids=IDS)
@pytest.mark.parametrize("n", [1, 3])
def test_generators_keep_their_contract(make, n):
    model = make()
    x = model.sample(n, generator=seeded(4))
    assert x.shape == (n, 1, 28, 28) and x.dtype == torch.float32 and 0 <= x.min() <= x.max() <= 1
    assert torch.equal(x, model.sample(n, generator=seeded(4)))
    with pytest.raises(ValueError, match="n=0 must be"):
        model.sample(0)


@pytest.mark.parametrize("make", GENERATORS, ids=IDS)
def test_generators_are_rebuilt_from_their_config_and_state(make):
    model = make()
    for b in model.buffers():
        b.add_(0.25) if b.is_floating_point() and len(model.state_dict()) > 1 else None
    twin = type(model)(type(model.config)(**vars(model.config)))
    twin.load_state_dict(model.state_dict())
    assert torch.equal(model.sample(3, generator=seeded(0)), twin.sample(3, generator=seeded(0)))


def test_training_digits_are_different_real_images_with_the_label_asked_for(digits):
    model = TrainingDigits(TrainingDigitsConfig())
    x = model.sample(1000, generator=seeded(0)).flatten(1)
    assert len(x.unique(dim=0)) == 1000
    assert (torch.cdist(x[:20], digits.train.x.flatten(1), compute_mode="donot_use_mm_for_euclid_dist").min(1).values
            == 0).all()
    y = torch.arange(10).repeat(2)
    for image, label in zip(model.sample(20, y, seeded(0)), y):
        assert digits.train.y[(digits.train.x == image).all(dim=(1, 2, 3))].tolist() == [label]
    assert model.sample(450, 0, seeded(0)).shape[0] == 450         # more than there are: they repeat
    with pytest.raises(ValueError, match="from 0 to 9, got 12"):
        model.sample(3, 12)


def test_noise_is_uniform():
    x = Noise(NoiseConfig()).sample(100, generator=seeded(0))
    assert x.mean() == pytest.approx(0.5, abs=0.01) and x.var() == pytest.approx(1 / 12, abs=0.002)


X, Y = torch.rand(20, 1, 4, 4, generator=seeded(0)), torch.arange(20) % 10
BAD = [
    (lambda: ClassGaussians.fit(X, Y[:5]), "of shape (20,): got (5,)"),
    (lambda: ClassGaussians.fit(X[:0], Y[:0]), "got shape (0, 1, 4, 4)"),
    (lambda: ClassGaussians.fit(X, Y + 1, n_axis=3), "must be whole numbers from 0 to 9, got 1 to 10"),
    (lambda: ClassGaussians.fit(X, Y.float(), n_axis=3), "got (20,) of float32"),
    (lambda: ClassGaussians.fit(X, Y, n_axis=17), "n_axis=17 must be a whole number between 1 and 16"),
    (lambda: ClassGaussians.fit(X / 0, Y, n_axis=3), "must be finite floats, got torch.float32 with 320 numbers"),
]


@pytest.mark.parametrize("call, line", BAD, ids=[line[:30] for _, line in BAD])
def test_bad_input_gets_one_clear_line(call, line):
    with pytest.raises(ValueError) as e:
        call()
    assert line in str(e.value) and "\n" not in str(e.value)
