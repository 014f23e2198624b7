"""The VAE against torch.distributions, against models whose likelihood is known exactly, and against its contract."""

import math

import pytest
import torch
from torch import nn
from torch.distributions import Bernoulli, MixtureSameFamily, MultivariateNormal, Normal, kl_divergence

from course_lib import checkpoint
from course_lib.data import load
from course_lib.device import seeded
from course_lib.vae import (
    VAE,
    MixtureVAE,
    MixtureVAEConfig,
    VAEConfig,
    annealed,
    bernoulli_log_prob,
    bits_per_dimension,
    elbo,
    kl_per_dimension,
    kl_to_standard_normal,
    reparameterize,
    vae_loss,
)


class Lookup(nn.Module):
    """A VAE over four black-and-white pixels with tables for encoder and decoder: small enough to integrate by hand."""

    def __init__(self, mu, logvar, weight):
        super().__init__()
        self.mu, self.logvar = nn.Parameter(torch.tensor(mu)), nn.Parameter(torch.tensor(logvar))       # (D,)
        self.weight = nn.Parameter(torch.tensor(weight))                                                # (D, 4)

    def encode(self, x):
        return self.mu.expand(len(x), -1), self.logvar.expand(len(x), -1)

    def decoder(self, z):
        return (z @ self.weight).view(-1, 1, 2, 2)


@pytest.fixture
def small():
    torch.manual_seed(0)
    return VAE(VAEConfig(n_latent=3, n_channel=2))


@pytest.fixture
def lookup():
    return Lookup([0.3], [-1.0], [[2.0, -1.0, 0.5, 3.0]]).double()


@pytest.fixture(scope="module")
def x():
    return load("digits").train.x[:64]


def black_and_white():
    """All 16 images of four pixels, float64 (16, 1, 2, 2)."""
    return torch.cartesian_prod(*[torch.tensor([0.0, 1.0])] * 4).double().view(16, 1, 2, 2)


# ------------------------------------------------------------------------------------------------------ the mathematics

def test_kl_is_that_of_torch_distributions():
    mu, logvar = torch.randn(2, 50, 3, generator=seeded(0), dtype=torch.float64) * 2
    expected = kl_divergence(Normal(mu, (logvar / 2).exp()), Normal(0.0, 1.0))
    torch.testing.assert_close(kl_per_dimension(mu, logvar), expected.double())
    torch.testing.assert_close(kl_to_standard_normal(mu, logvar), expected.sum(1).double())


def test_kl_by_hand():
    mu, logvar = torch.tensor([[0.0, 3.0, 0.0]]), torch.tensor([[0.0, 0.0, math.log(4)]])
    assert kl_per_dimension(mu, logvar)[0].tolist() == pytest.approx([0, 4.5, 0.5 * (4 - 1 - math.log(4))])


def test_kl_of_nearly_nothing_is_not_lost_to_rounding():
    tiny = torch.full((1, 1), 1e-4)
    assert kl_per_dimension(torch.zeros(1, 1), tiny).item() == pytest.approx(1e-8 / 4, rel=0.01)


def test_codes_have_the_mean_and_the_standard_deviation_asked_for():
    mu, logvar = torch.tensor([[1.0, -2.0]]), torch.tensor([[0.0, math.log(9)]])
    z = reparameterize(mu.expand(200_000, 2), logvar.expand(200_000, 2), seeded(0))
    torch.testing.assert_close(z.mean(0), mu[0], atol=0.03, rtol=0)
    torch.testing.assert_close(z.std(0), torch.tensor([1.0, 3.0]), atol=0.03, rtol=0)


def test_a_code_is_differentiable_in_mean_and_log_variance():
    mu, logvar = torch.zeros(5, 2, requires_grad=True), torch.full((5, 2), math.log(4.0), requires_grad=True)
    z = reparameterize(mu, logvar, seeded(0))
    z.sum().backward()
    torch.testing.assert_close(mu.grad, torch.ones(5, 2))
    torch.testing.assert_close(logvar.grad, z.detach() / 2)       # z = 2 eps, and d exp(v/2) eps / dv = z / 2


def test_every_example_and_number_gets_noise_of_its_own():
    z = reparameterize(torch.zeros(4, 3), torch.zeros(4, 3))
    assert len(z.unique()) == 12


def test_bernoulli_is_that_of_torch_distributions_summed_over_pixels():
    logits = torch.randn(5, 1, 4, 4, generator=seeded(0)) * 3
    x = (torch.rand(5, 1, 4, 4, generator=seeded(1)) > 0.5).float()
    expected = Bernoulli(logits=logits).log_prob(x).sum((1, 2, 3))
    torch.testing.assert_close(bernoulli_log_prob(logits, x), expected)


def test_bernoulli_probabilities_of_all_images_sum_to_one():
    logits = torch.randn(1, 1, 2, 2, generator=seeded(0)).double().expand(16, 1, 2, 2)
    assert bernoulli_log_prob(logits, black_and_white()).exp().sum().item() == pytest.approx(1)


def test_of_grey_values_it_is_the_mean_over_random_black_and_white_images():
    grey, logits = torch.rand(2, 1, 1, 2, 2, generator=seeded(0), dtype=torch.float64) * 0.98 + 0.01
    images = black_and_white()
    share = Bernoulli(grey).log_prob(images).sum((1, 2, 3)).exp()                               # (16,)
    mean = (share * bernoulli_log_prob(logits.expand(16, 1, 2, 2), images)).sum()
    torch.testing.assert_close(bernoulli_log_prob(logits, grey)[0], mean)


def exact(model, x):
    """log p(x) of a Lookup with one latent number, by adding up the integral over z."""
    z = torch.linspace(-12, 12, 4001, dtype=torch.float64)[:, None]
    joint = [bernoulli_log_prob(model.decoder(z), image.expand(len(z), 1, 2, 2)) for image in x]    # 16 x (Z,)
    return (torch.stack(joint) + Normal(0.0, 1.0).log_prob(z.squeeze(1))).logsumexp(1) + math.log(24 / 4000)


@torch.no_grad()
def test_elbo_is_below_the_likelihood_by_the_kl_to_the_true_posterior(lookup):
    x = black_and_white()
    log_p = exact(lookup, x)
    assert log_p.exp().sum().item() == pytest.approx(1)
    z = torch.linspace(-12, 12, 4001, dtype=torch.float64)[:, None]
    q = Normal(0.3, math.exp(-0.5)).log_prob(z.squeeze(1))
    for i in (0, 5, 15):
        image = x[i:i + 1]
        posterior = (bernoulli_log_prob(lookup.decoder(z), image.expand(4001, 1, 2, 2))
                     + Normal(0.0, 1.0).log_prob(z.squeeze(1)) - log_p[i])
        gap = (q.exp() * (q - posterior)).sum() * 24 / 4000
        estimate = elbo(lookup, image.expand(100_000, 1, 2, 2), seeded(i))
        assert gap > 0.01
        assert (estimate.mean() + gap).item() == pytest.approx(log_p[i].item(), abs=0.02)


def test_the_score_function_and_the_reparameterised_gradient_agree_in_mean():
    """For f(z) = z^2 and z ~ N(2, 1): both 4; variances 4 and 87."""
    mu = torch.full((400_000, 1), 2.0, dtype=torch.float64, requires_grad=True)
    z = reparameterize(mu, torch.zeros_like(mu), seeded(0))
    (z**2).sum().backward()
    score = (z**2 * (z - mu)).detach()
    assert mu.grad.mean().item() == pytest.approx(4, abs=0.02) and mu.grad.var().item() == pytest.approx(4, rel=0.02)
    assert score.mean().item() == pytest.approx(4, abs=0.07) and score.var().item() == pytest.approx(87, rel=0.05)


@pytest.mark.parametrize("n", [1, 784])
def test_a_fair_coin_for_each_dimension_costs_one_bit(n):
    assert bits_per_dimension(-n * math.log(2), n) == pytest.approx(1)
    torch.testing.assert_close(bits_per_dimension(torch.tensor([-n * math.log(4)]), n), torch.tensor([2.0]))


# -------------------------------------------------------------------------------------------------------- the training

def test_the_loss_at_beta_1_is_minus_the_elbo(small, x):
    torch.manual_seed(3)
    terms = vae_loss(small, x)
    torch.manual_seed(3)
    torch.testing.assert_close(terms["loss"], -elbo(small, x).mean())
    torch.testing.assert_close(terms["loss"], terms["reconstruction"] + terms["kl"])


def test_beta_weighs_the_kl_alone(small, x):
    def loss(beta):
        torch.manual_seed(0)
        return vae_loss(small, x, beta=beta)
    none, four = loss(0.0), loss(4.0)
    torch.testing.assert_close(none["loss"], none["reconstruction"])
    torch.testing.assert_close(four["loss"], four["reconstruction"] + 4 * four["kl"])
    torch.testing.assert_close(four["kl"], none["kl"])


def test_terms_are_nats_per_image_whatever_the_batch(small, x):
    def total(n):
        torch.manual_seed(0)
        return vae_loss(small, x[:1].expand(n, 1, 28, 28))
    assert total(1)["kl"].item() == pytest.approx(total(32)["kl"].item(), rel=1e-4)
    assert 300 < total(1)["reconstruction"] < 900                # an untrained one: about 784 log 2 = 543
    assert total(32)["reconstruction"].item() == pytest.approx(total(1)["reconstruction"].item(), rel=0.05)


def test_free_bits_are_a_floor_for_each_number_of_the_code():
    """Batch means of the KL are 2, 0.5 and 0: with 0.25 nats free, the loss counts 2 + 0.5 + 0.25."""
    model = Lookup([2.0, 1.0, 0.0], [0.0, 0.0, 0.0], [[0.0] * 4] * 3)
    terms = vae_loss(model, torch.ones(6, 1, 2, 2), free_bits=0.25)
    assert terms["kl"].item() == pytest.approx(2.5)
    assert (terms["loss"] - terms["reconstruction"]).item() == pytest.approx(2.75)
    terms["loss"].backward()
    assert model.mu.grad.tolist() == pytest.approx([2, 1, 0])


def test_within_its_free_bits_a_number_feels_no_pull_to_the_prior():
    model = Lookup([0.5], [0.0], [[0.0] * 4])
    vae_loss(model, torch.ones(6, 1, 2, 2), free_bits=0.25)["loss"].backward()
    assert model.mu.grad.item() == 0


def test_free_bits_look_at_the_mean_over_the_batch():
    """One image spends 2 nats, the other none: the mean, 1, lies above a floor of 0.5, so both are counted."""
    class Two(Lookup):
        def encode(self, x):
            return torch.tensor([[2.0], [0.0]]) * self.mu, torch.zeros(2, 1)
    terms = vae_loss(Two([1.0], [0.0], [[0.0] * 4]), torch.ones(2, 1, 2, 2), free_bits=0.5)
    assert (terms["loss"] - terms["reconstruction"]).item() == pytest.approx(1.0)


def test_annealing_raises_beta_to_1_and_stays():
    model, x = Lookup([2.0], [0.0], [[0.0] * 4]), torch.ones(2, 1, 2, 2)
    loss_fn = annealed(4)
    weights = [((t := loss_fn(model, x))["loss"] - t["reconstruction"]).item() / 2 for _ in range(6)]
    assert weights == pytest.approx([0, 0.25, 0.5, 0.75, 1, 1], abs=1e-6)
    first = annealed(4)(model, x)                                 # a new one starts again
    assert first["loss"] == first["reconstruction"]


def test_annealing_passes_settings_on():
    terms = annealed(1, free_bits=3.0)
    terms(Lookup([0.0], [0.0], [[0.0] * 4]), torch.ones(2, 1, 2, 2))
    second = terms(Lookup([0.0], [0.0], [[0.0] * 4]), torch.ones(2, 1, 2, 2))
    assert (second["loss"] - second["reconstruction"]).item() == pytest.approx(3)


def test_training_lowers_the_loss_and_gradients_reach_everything(small, x):
    optimizer = torch.optim.Adam(small.parameters(), lr=3e-3)
    torch.manual_seed(0)
    losses = []
    for _ in range(30):
        optimizer.zero_grad()
        losses.append(vae_loss(small, x)["loss"])
        losses[-1].backward()
        optimizer.step()
    assert losses[-1] < 0.7 * losses[0]
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in small.parameters())


# ---------------------------------------------------------------------------------------------------------- the models

@pytest.fixture
def mixture():
    torch.manual_seed(0)
    model = MixtureVAE(MixtureVAEConfig(n_latent=2, n_channel=2, n_gaussian=3))
    model.log_weight.copy_(torch.tensor([0.2, 0.3, 0.5]).log())
    model.mu.copy_(torch.tensor([[0.0, 0], [4, 0], [0, -4]]))
    model.scale.copy_(torch.tril(torch.rand(3, 2, 2, generator=seeded(0)) + 0.3))
    return model


@pytest.mark.parametrize("n", [1, 3])
def test_samples_are_images_and_repeat_with_their_generator(small, mixture, n):
    for model in (small, mixture):
        a, b, c = (model.sample(n, generator=seeded(s)) for s in (1, 1, 2))
        assert a.shape == (n, 1, 28, 28) and 0 <= a.min() and a.max() <= 1 and not a.requires_grad
        assert a.equal(b) and not a.equal(c)


def test_samples_of_the_vae_are_decoded_standard_normals(small):
    expected = small.decode(torch.randn(4, 3, generator=seeded(7)))
    torch.testing.assert_close(small.sample(4, seeded(7)), expected)


def test_the_fitted_prior_has_the_density_of_torch_distributions(mixture):
    z = torch.randn(20, 2, generator=seeded(1)) * 3
    expected = MixtureSameFamily(torch.distributions.Categorical(logits=mixture.log_weight),
                                 MultivariateNormal(mixture.mu, scale_tril=mixture.scale))
    torch.testing.assert_close(mixture.log_prior(z), expected.log_prob(z))


def test_codes_drawn_from_the_fitted_prior_have_its_mean_and_covariance(mixture):
    z = mixture.draw_code(200_000, seeded(0))
    weight, cov = mixture.log_weight.exp(), mixture.scale @ mixture.scale.mT
    mean = weight @ mixture.mu
    second = (weight[:, None, None] * (cov + mixture.mu[:, :, None] * mixture.mu[:, None])).sum(0)
    torch.testing.assert_close(z.mean(0), mean, atol=0.03, rtol=0)
    torch.testing.assert_close(torch.cov(z.T), second - mean[:, None] * mean, atol=0.08, rtol=0)


def test_a_fitted_prior_finds_the_codes_and_leaves_the_networks_alone(small, x):
    small.encoder.layers[-1].bias.data.add_(torch.tensor([2.0, 0, 0, -1, -1, -1]))              # codes off N(0, I)
    model = MixtureVAE.fit(small, x, n_gaussian=4, generator=seeded(0))
    z = reparameterize(*small.encode(x), seeded(5))
    gain = model.log_prior(z) - Normal(0.0, 1.0).log_prob(z).sum(1)
    assert gain.mean() > 0.5
    assert all(model.state_dict()[k].equal(v) for k, v in small.state_dict().items())


def test_a_prior_can_be_fitted_anew(small, x):
    """With other numbers of Gaussians, from a model that has a mixture already."""
    first = MixtureVAE.fit(small, x, n_gaussian=4, generator=seeded(0))
    again = MixtureVAE.fit(first, x, n_gaussian=3, generator=seeded(0))
    expected = MixtureVAE.fit(small, x, n_gaussian=3, generator=seeded(0))
    assert again.config == expected.config
    assert all(torch.equal(v, again.state_dict()[k]) for k, v in expected.state_dict().items())


def test_a_fitted_vae_travels_in_a_file(small, x, tmp_path):
    model = MixtureVAE.fit(small, x, n_gaussian=4, generator=seeded(0))
    checkpoint.save(tmp_path / "m.safetensors", model, recipe="", seed=0, steps=0, seconds=0.0, metrics={})
    again = checkpoint.load(tmp_path / "m.safetensors")
    assert all(torch.equal(v, again.state_dict()[k]) for k, v in model.state_dict().items())
    torch.testing.assert_close(again.sample(3, seeded(0)), model.sample(3, seeded(0)))    # in another memory layout


def test_decode_is_the_mean_image_of_the_decoder(small):
    z = torch.randn(2, 3, generator=seeded(0))
    torch.testing.assert_close(small.decode(z), small.decoder(z).sigmoid())


def test_sharpness_changes_what_is_drawn_and_not_the_likelihood(small, x):
    before, z = elbo(small, x, seeded(0)), torch.randn(2, 3, generator=seeded(0))
    small.config.sharpness = 3.0
    p = small.decoder(z).sigmoid()
    torch.testing.assert_close(small.decode(z), p**3 / (p**3 + (1 - p) ** 3))
    torch.testing.assert_close(elbo(small, x, seeded(0)), before)
    assert MixtureVAE.fit(small, x, n_gaussian=2).config.sharpness == 3.0
