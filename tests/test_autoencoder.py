"""PCA against scikit-learn, principal angles against scipy, the convolutional halves against their contract, and the
shipped models against what their files say."""

import numpy as np
import pytest
import torch
from scipy.linalg import subspace_angles
from sklearn.decomposition import PCA as SklearnPCA
from torch import nn

from course_lib import autoencoder, checkpoint
from course_lib.autoencoder import (
    PCA,
    Autoencoder,
    AutoencoderConfig,
    CodeGaussian,
    Decoder,
    Encoder,
    interpolate,
    principal_angles,
    reconstruction_loss,
)
from course_lib.data import load
from course_lib.device import seeded


@pytest.fixture(scope="module")
def x():
    return load("digits").train.x[:600]


def randn(*shape, seed=0):
    return torch.randn(*shape, generator=seeded(seed), dtype=torch.float64)


# --- the mathematics

def test_the_loss_is_a_sum_over_pixels_and_a_mean_over_images():
    x = torch.zeros(2, 1, 2, 2)
    rebuilt = torch.tensor([[[[1.0, 0], [0, 2]]], [[[0, 0], [3.0, 0]]]])                        # errors 5 and 9
    assert reconstruction_loss(lambda x: rebuilt, x)["loss"] == 7


@pytest.mark.parametrize("k, m", [(1, 1), (3, 3), (5, 2), (2, 5), (1, 4)])
def test_principal_angles_are_scipys(k, m):
    A, B = randn(9, k), randn(9, m, seed=1)
    expected = subspace_angles(A.numpy(), B.numpy())
    np.testing.assert_allclose(principal_angles(A, B), expected, atol=1e-10)
    np.testing.assert_allclose(principal_angles(A.float(), B.float()), expected, atol=1e-5)


def test_principal_angles_of_known_planes():
    e = torch.eye(4).double()
    small = torch.stack([e[0], e[1] + 1e-9 * e[2]], 1)
    torch.testing.assert_close(principal_angles(e[:, :2], small), torch.tensor([1e-9, 0]).double(), atol=1e-15, rtol=0)
    tilted = torch.stack([e[0] + e[2], e[1]], 1)                                                # 45 degrees and 0
    torch.testing.assert_close(principal_angles(e[:, :2], tilted), torch.tensor([torch.pi / 4, 0]).double())


def test_another_basis_of_the_same_subspace_changes_no_angle():
    A, B = randn(8, 3), randn(8, 3, seed=1)
    mixed = principal_angles(A @ randn(3, 3, seed=2), B @ randn(3, 3, seed=3))
    torch.testing.assert_close(mixed, principal_angles(A, B))
    assert principal_angles(A, A @ randn(3, 3, seed=4)).max() < 1e-12


def test_a_line_of_codes_is_even_and_has_both_ends():
    a, b = randn(2, 3), randn(2, 3, seed=1)
    line = interpolate(a, b, 5)
    assert line.shape == (5, 2, 3) and torch.equal(line[0], a) and torch.equal(line[4], b)
    torch.testing.assert_close(line.diff(dim=0), ((b - a) / 4).expand(4, 2, 3))


# --- where codes lie

def test_codes_of_a_fitted_gaussian_have_the_mean_and_covariance_of_what_was_fitted():
    z = (randn(500, 3) @ randn(3, 3, seed=1) + 4).float()
    drawn = CodeGaussian(3).fit(z).sample(200_000, seeded(0))
    torch.testing.assert_close(drawn.mean(0), z.mean(0), atol=0.02, rtol=0)
    torch.testing.assert_close(torch.cov(drawn.T), torch.cov(z.T), atol=0.05, rtol=0.02)


def test_before_a_fit_codes_are_standard_normal_and_fitting_few_or_equal_codes_is_no_error():
    drawn = CodeGaussian(4).sample(100_000, seeded(0))
    torch.testing.assert_close(torch.cov(drawn.T), torch.eye(4), atol=0.02, rtol=0)
    assert CodeGaussian(4).fit(torch.ones(2, 4)).sample(3).sub(1).abs().max() < 1e-3


# --- PCA

def test_pca_is_scikit_learns(x):
    ours, theirs = PCA.fit(x, 12), SklearnPCA(12, svd_solver="full").fit(x.flatten(1).numpy())
    z = torch.from_numpy(theirs.transform(x.flatten(1).numpy()))
    torch.testing.assert_close(ours.encode(x).abs(), z.abs(), atol=1e-3, rtol=1e-3)              # an axis has no sign
    rebuilt = torch.from_numpy(theirs.inverse_transform(z.numpy())).clamp(0, 1).view_as(x)
    torch.testing.assert_close(ours(x), rebuilt, atol=1e-4, rtol=0)


def test_what_pca_leaves_over_is_the_sum_of_the_small_eigenvalues(x):
    model, flat = PCA.fit(x, 12), x.flatten(1).double()
    variance = torch.linalg.eigvalsh(torch.cov(flat.T, correction=0)).flip(0)
    unclamped = reconstruction_loss(lambda x: (model.mean + model.encode(x) @ model.axes).view_as(x), x)["loss"]
    torch.testing.assert_close(unclamped.double(), variance[12:].sum(), atol=1e-3, rtol=1e-4)
    assert reconstruction_loss(model, x)["loss"] < unclamped                                    # clamping helps


def test_codes_of_pca_do_not_vary_together(x):
    model = PCA.fit(x, 6)
    variance = torch.linalg.eigvalsh(torch.cov(x.flatten(1).T, correction=0)).flip(0)[:6]
    cov = model.codes.scale @ model.codes.scale.T
    torch.testing.assert_close(cov, variance.diag(), atol=2e-3, rtol=1e-3)


def test_pca_takes_other_sizes():
    model = PCA.fit(torch.rand(20, 1, 8, 8, generator=seeded(0)), 5)
    assert model.sample(3, seeded(0)).shape == (3, 1, 8, 8)


# --- the convolutional autoencoder

def test_the_identity_could_be_learned_a_new_block_is_it():
    block = autoencoder.ResidualBlock(6)
    x = torch.randn(2, 6, 5, 5, generator=seeded(0))
    assert torch.equal(block(x), x)


def test_an_autoencoder_is_the_encoder_then_the_decoder_and_a_sigmoid():
    model = Autoencoder(AutoencoderConfig(n_latent=3, n_channel=4))
    x = torch.rand(2, 1, 28, 28, generator=seeded(0))
    z = model.encode(x)
    assert z.shape == (2, 3) and torch.equal(z, model.encoder(x))
    torch.testing.assert_close(model(x), 1 / (1 + (-model.decoder(z)).exp()))


def test_no_image_of_a_batch_knows_the_others():
    model = Autoencoder(AutoencoderConfig(n_latent=3, n_channel=4)).eval()
    for p in model.parameters():
        nn.init.normal_(p, std=0.3, generator=seeded(p.numel()))
    x = torch.rand(3, 1, 28, 28, generator=seeded(0))
    torch.testing.assert_close(model(x), torch.cat([model(one[None]) for one in x]))


def test_every_pixel_reaches_the_code_and_every_number_of_the_code_reaches_every_pixel():
    encoder, decoder = Encoder(3, 4), Decoder(3, 4)
    for part in (encoder, decoder):
        for p in part.parameters():
            nn.init.normal_(p, std=0.3, generator=seeded(p.numel()))
    x = torch.rand(1, 1, 28, 28, generator=seeded(0)).requires_grad_()
    encoder(x).sum().backward()
    assert (x.grad != 0).all()
    z = torch.randn(1, 3, generator=seeded(0))
    for i in range(3):
        moved = z.clone()
        moved[0, i] += 1
        assert (decoder(moved) != decoder(z)).all()


def test_samples_follow_the_codes_and_the_generator():
    model = Autoencoder(AutoencoderConfig(n_latent=3, n_channel=4))
    model.codes.fit(torch.randn(50, 3, generator=seeded(1)) * 5 + 2)
    samples = model.sample(4, seeded(0))
    eps = torch.randn(4, 3, generator=seeded(0))
    torch.testing.assert_close(samples, model.decode(model.codes.mean + eps @ model.codes.scale.T))
    assert not samples.requires_grad


# --- what is shipped

@pytest.mark.parametrize("name", ["autoencoder", "pca"])
def test_the_shipped_models_rebuild_digits_as_well_as_they_say(name):
    model, claimed = checkpoint.load(name), checkpoint.metadata(name)["metrics"]["reconstruction"]
    with torch.no_grad():
        error = reconstruction_loss(model, load("digits").test.x[:300])["loss"].item()
    assert error == pytest.approx(claimed, rel=0.1)


def test_the_shipped_autoencoder_keeps_more_than_pca_of_equal_code_length():
    ours, linear = (checkpoint.metadata(name) for name in ("autoencoder", "pca"))
    assert ours["config"]["n_latent"] == linear["config"]["n_latent"]
    assert ours["metrics"]["reconstruction"] < 0.4 * linear["metrics"]["reconstruction"]


def test_the_shipped_codes_lie_where_their_gaussian_says():
    model = checkpoint.load("autoencoder")
    with torch.no_grad():
        z = model.encode(load("digits").train.x)
    torch.testing.assert_close(model.codes.mean, z.mean(0), atol=0.02, rtol=0.01)
    torch.testing.assert_close(model.codes.scale @ model.codes.scale.T, torch.cov(z.T), atol=0.05, rtol=0.02)
