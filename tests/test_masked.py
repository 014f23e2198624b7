"""Corruptions counted, the best denoiser against integrals and autograd, the masked networks against loops, and the
shipped ones against what their files say."""

import math

import pytest
import torch
from awake import awake
from torch.testing import assert_close

from course_lib import checkpoint
from course_lib.autoencoder import reconstruction_loss
from course_lib.checkpoints import part2
from course_lib.classify import predict
from course_lib.data import load, toys
from course_lib.device import seed, seeded
from course_lib.masked import (
    MAE,
    MAEConfig,
    MaskedCodes,
    MaskedCodesConfig,
    RandomFilters,
    add_noise,
    blank,
    choose,
    codes_loss,
    denoising_loss,
    few_labels,
    hidden,
    hidden_pixels,
    linear_probe,
    mae_loss,
    noisy_score,
    patchify,
    posterior_mean,
    salt_and_pepper,
    smooth_fill,
    unpatchify,
)


@pytest.fixture(scope="module")
def x():
    return load("digits").train.x[:200]


def small(**config):
    seed(0)
    return awake(MAE(MAEConfig(**dict(shape=(1, 8, 8), patch=2, n_embd=8, n_head=2, n_layer=2, n_decoder=1) | config)))


def speller(**config):
    seed(0)
    model = awake(MaskedCodes(MaskedCodesConfig(**dict(shape=(1, 4, 4), patch=2, n_embd=8, n_head=2, n_layer=1,
                                                       n_decoder=1, n_code=3) | config)))
    model.alphabet.copy_(torch.arange(model.config.n_code)[:, None] / 2)      # 0, 1/2, 1
    return model


# --- corruptions

def test_blank_pixels_are_as_many_as_asked_and_the_others_unchanged():
    x = torch.rand(40, 1, 28, 28, generator=seeded(0)) + 0.1
    y = blank(x, 0.75, seeded(1))
    assert ((y == 0) | (y == x)).all()
    assert (y == 0).double().mean().item() == pytest.approx(0.75, abs=0.01)
    assert torch.equal(blank(x, 0.0), x) and not blank(x, 1.0).any()


def test_noise_has_the_deviation_that_is_asked_for():
    x = torch.rand(40, 1, 28, 28, generator=seeded(0))
    assert (add_noise(x, 0.5, seeded(1)) - x).std().item() == pytest.approx(0.5, abs=0.01)
    assert torch.equal(add_noise(x, 0.0), x)


def test_salt_is_as_frequent_as_pepper():
    x = torch.full((40, 1, 28, 28), 0.5)
    y = salt_and_pepper(x, 0.6, seeded(1))
    assert [(y == v).double().mean().item() for v in (0, 0.5, 1)] == pytest.approx([0.3, 0.4, 0.3], abs=0.01)


def test_the_denoising_loss_compares_with_the_clean_image(x):
    assert denoising_loss(lambda y: y, x, lambda x: x + 0.1)["loss"].item() == pytest.approx(784 * 0.01, rel=1e-4)
    model = checkpoint.load("autoencoder").requires_grad_(False)
    assert_close(denoising_loss(model, x, lambda x: x), reconstruction_loss(model, x))


# --- the best denoiser

def test_between_two_points_the_best_guess_is_a_hyperbolic_tangent():
    y = torch.linspace(-3, 3, 13).double()[:, None]
    means = torch.tensor([[1.0], [-1.0]]).double()
    for noise in (0.3, 1.0, 2.0):
        assert_close(posterior_mean(y, means, 0.0, noise), (y / noise**2).tanh())


def test_of_one_gaussian_it_is_the_shrinkage_towards_the_mean():
    y, mean = torch.randn(5, 3, generator=seeded(0)).double(), torch.randn(1, 3, generator=seeded(1)).double()
    assert_close(posterior_mean(y, mean, 2.0, 1.0), mean + 4 / 5 * (y - mean))


def test_it_is_the_integral_over_all_x():
    means, std, noise = torch.tensor([[-1.0], [0.5], [2.0]]).double(), 0.4, 0.7
    x = torch.linspace(-8, 8, 20_001).double()
    prior = (-(x - means).square() / (2 * std**2)).exp().sum(0)
    for y in (-2.0, 0.1, 1.3):
        weight = prior * (-(y - x).square() / (2 * noise**2)).exp()
        expected = (weight * x).sum() / weight.sum()
        assert_close(posterior_mean(torch.tensor([[y]]).double(), means, std, noise)[0, 0], expected)


def test_what_it_moves_is_the_score_of_the_noisy_density():
    """Tweedie's formula, with the gradient from autograd on the density of the noisy points."""
    ring, noise = toys.ring(std=0.2), 0.5
    y = (2 * torch.randn(50, 2, generator=seeded(0))).double().requires_grad_()
    noisy = toys.Gaussians(ring.means, math.hypot(0.2, noise), ring.labels)
    uphill, = torch.autograd.grad(noisy.log_prob(y).sum(), y)
    assert_close(noisy_score(y.detach(), ring.means.double(), 0.2, noise), uphill)


def test_no_guess_has_a_smaller_error():
    """Its error is noise^2 D - noise^4 E|score|^2, and any change of it costs the square of the change."""
    ring, noise = toys.ring(std=0.2), 0.6
    x = ring.sample(40_000, seeded(0)).double()
    y = x + noise * torch.randn(x.shape, generator=seeded(1)).double()
    best = posterior_mean(y, ring.means.double(), 0.2, noise)
    error = (best - x).square().sum(1).mean()
    score = noisy_score(y, ring.means.double(), 0.2, noise)
    assert error.item() == pytest.approx((2 * noise**2 - noise**4 * score.square().sum(1).mean()).item(), rel=0.02)
    changed = (best + 0.1 * y.sin() - x).square().sum(1).mean()
    assert (changed - error).item() == pytest.approx((0.1 * y.sin()).square().sum(1).mean().item(), rel=0.2)


# --- patches

def test_patches_are_cut_row_by_row():
    x = torch.rand(2, 3, 4, 6, generator=seeded(0))
    patches = patchify(x, 2)
    assert patches.shape == (2, 6, 12)
    for t in range(6):
        i, j = divmod(t, 3)
        assert torch.equal(patches[:, t], x[:, :, 2 * i:2 * i + 2, 2 * j:2 * j + 2].flatten(1))
    assert torch.equal(unpatchify(patches, (3, 4, 6)), x)


def test_the_kept_patches_are_different_and_all_equally_often():
    kept = choose(4_000, 9, 3, seeded(0))
    assert all(len(set(row)) == 3 for row in kept.tolist())
    assert torch.bincount(kept.flatten()).double() / 4_000 == pytest.approx([1 / 3] * 9, abs=0.03)


def test_hidden_is_what_is_not_kept():
    kept = torch.tensor([[3, 0], [1, 2]])
    assert hidden(kept, 4).tolist() == [[False, True, True, False], [True, False, False, True]]
    pixels = hidden_pixels(torch.zeros(2, 1, 4, 4), kept, 2)
    assert pixels[0, 0].tolist() == [[False, False, True, True]] * 2 + [[True, True, False, False]] * 2
    assert pixels[1, 0].tolist() == [[True, True, False, False]] * 2 + [[False, False, True, True]] * 2


def test_copying_neighbours_continues_a_slope():
    """The mean of the four around: a plane is its own mean, so a hole in one is filled without an error."""
    plane = (torch.arange(12.0)[:, None] + 2 * torch.arange(12.0)).view(1, 1, 12, 12)
    kept = torch.tensor([[t for t in range(16) if t != 5]])
    assert_close(smooth_fill(plane, kept, 3, steps=400), plane, atol=1e-3, rtol=0)
    filled = smooth_fill(plane, kept, 3, steps=1)
    assert torch.equal(filled[~hidden_pixels(plane, kept, 3)], plane[~hidden_pixels(plane, kept, 3)])
    assert filled[0, 0, 4, 4] == 0 and filled[0, 0, 3, 4] == plane[0, 0, 2, 4] / 4


# --- the masked autoencoder

def test_what_is_hidden_cannot_be_seen():
    model, x, kept = small(), torch.rand(3, 1, 8, 8, generator=seeded(1)), choose(3, 16, 4, seeded(2))
    other = torch.where(hidden_pixels(x, kept, 2), torch.rand(x.shape, generator=seeded(3)), x)
    assert torch.equal(model(x, kept), model(other, kept))
    assert not torch.equal(model(x, kept), model(x + 0.1, kept))


def test_the_order_of_the_kept_patches_does_not_matter():
    model, x, kept = small(), torch.rand(3, 1, 8, 8, generator=seeded(1)), choose(3, 16, 5, seeded(2))
    assert_close(model(x, kept.flip(1)), model(x, kept))
    assert_close(model.encode(x, kept.flip(1)).flip(1), model.encode(x, kept))
    everything = torch.arange(16).expand(3, -1)
    assert_close(model.encode(x, everything), model.encode(x))
    assert_close(model.features(x), model.encode(x).flatten(1))


def test_a_description_goes_back_to_the_place_that_it_came_from():
    model, x, kept = small(n_decoder=0), torch.rand(2, 1, 8, 8, generator=seeded(1)), torch.tensor([[7, 2], [0, 15]])
    h, guess = model.encode(x, kept), model(x, kept)
    for b in range(2):
        for t in range(16):
            at = kept[b].tolist()
            own = h[b, at.index(t)] if t in at else model.hidden
            assert_close(guess[b, t], model.head(model.decoder_norm(own + model.decoder_places[t])))


def test_the_loss_counts_hidden_patches_only():
    model, x = small(), torch.rand(3, 1, 8, 8, generator=seeded(1))
    seed(4)
    loss = mae_loss(model, x, n_keep=4)["loss"]
    seed(4)
    kept = choose(3, 16, 4)
    guess, total = model(x, kept), 0
    for b in range(3):
        for t in set(range(16)) - set(kept[b].tolist()):
            i, j = divmod(t, 4)
            total += (guess[b, t] - x[b, 0, 2 * i:2 * i + 2, 2 * j:2 * j + 2].flatten()).square().sum()
    assert_close(loss, total / (3 * 12))


def test_filling_in_leaves_what_was_seen():
    model, x, kept = small(), torch.rand(3, 1, 8, 8, generator=seeded(1)), choose(3, 16, 4, seeded(2))
    filled, hide = model.fill_in(x, kept), hidden_pixels(x, kept, 2)
    assert torch.equal(filled[~hide], x[~hide])
    assert_close(filled[hide], unpatchify(model(x, kept), (1, 8, 8)).clamp(0, 1)[hide])


# --- letters

def test_the_alphabet_is_the_fixed_point_of_k_means(x):
    model = MaskedCodes(MaskedCodesConfig(n_code=8)).fit_alphabet(x[:50], steps=100, generator=seeded(0))
    patches = patchify(x[:50], 4).flatten(0, 1)
    patches = patches[patches.amax(1) > 0.05]
    nearest = torch.cdist(patches, model.alphabet[1:]).argmin(1)
    assert not model.alphabet[0].any()
    for k in nearest.unique():
        assert_close(model.alphabet[1 + k], patches[nearest == k].mean(0), atol=1e-4, rtol=0)


def test_what_is_spelled_is_drawn_with_the_nearest_letters():
    model, letters = speller(), torch.tensor([[0, 2, 1, 2], [1, 1, 0, 0]])
    picture = model.draw(letters)
    assert torch.equal(model.spell(picture + 0.2), letters)
    assert picture[0, 0].tolist() == [[0, 0, 1, 1]] * 2 + [[0.5, 0.5, 1, 1]] * 2


def test_the_loss_of_letters_is_their_surprise():
    model = speller()
    x = model.draw(torch.tensor([[0, 2, 1, 2], [1, 1, 0, 0]]))
    seed(3)
    loss = codes_loss(model, x, n_keep=1)["loss"]
    seed(3)
    kept = choose(2, 4, 1)
    log_p, letters = model(x, kept).log_softmax(2), model.spell(x)
    missing = [-log_p[b, t, letters[b, t]] for b in range(2) for t in range(4) if t not in kept[b].tolist()]
    assert_close(loss, torch.stack(missing).mean())


def test_without_a_number_every_batch_keeps_another():
    model, counts = speller(), []
    model.register_forward_hook(lambda m, given, out: counts.append(given[1].shape[1]))
    for _ in range(60):
        codes_loss(model, torch.zeros(2, 1, 4, 4))
    assert set(counts) == {0, 1, 2, 3}


def test_answers_are_drawn_with_the_probabilities_of_the_network():
    """By the chain rule: the frequency of whole answers is the product of what the network says, letter by letter."""
    model, kept = speller(), torch.tensor([[0, 3]])
    x = model.draw(torch.tensor([[2, 0, 0, 1]]))
    n = 6_000
    filled = model.spell(model.fill_in(x.expand(n, -1, -1, -1), kept.expand(n, -1), seeded(0)))
    assert (filled[:, [0, 3]] == torch.tensor([2, 1])).all()
    expected = torch.zeros(3, 3)
    with torch.no_grad():
        first = model(x, kept).softmax(2)[0]
        for k in range(3):
            for order in ((1, 2), (2, 1)):                                    # either place may be drawn first
                known = model.draw(torch.tensor([[2, k if order[0] == 1 else 0, k if order[0] == 2 else 0, 1]]))
                then = model(known, torch.tensor([[0, 3, order[0]]])).softmax(2)[0, order[1]]
                for m in range(3):
                    expected[(k, m) if order[0] == 1 else (m, k)] += first[order[0], k] * then[m] / 2
    seen = torch.stack([((filled[:, 1] == a) & (filled[:, 2] == b)).double().mean() for a in range(3)
                        for b in range(3)])
    assert seen.tolist() == pytest.approx(expected.flatten().tolist(), abs=0.02)


def test_in_one_round_letters_do_not_know_of_each_other():
    model, calls = speller(), []
    model.register_forward_hook(lambda m, given, out: calls.append(given[1].shape[1]))
    nothing = torch.zeros(2, 0, dtype=torch.long)
    for rounds, seen in ((1, [0]), (2, [0, 2]), (None, [0, 1, 2, 3])):
        calls.clear()
        model.fill_in(torch.zeros(2, 1, 4, 4), nothing, rounds=rounds)
        assert calls == seen
    everything = torch.arange(4).expand(2, -1)
    assert torch.equal(model.fill_in(torch.ones(2, 1, 4, 4), everything), torch.ones(2, 1, 4, 4))


def test_a_low_temperature_draws_the_most_probable_letter():
    model, x, kept = speller(), torch.zeros(50, 1, 4, 4), torch.tensor([[0, 1, 2]]).expand(50, -1)
    best = model(x, kept)[0, 3].argmax()
    assert (model.spell(model.fill_in(x, kept, seeded(0), temperature=1e-4))[:, 3] == best).all()


# --- descriptions

def test_random_filters_are_a_convolution_a_relu_and_a_mean():
    describe, x = RandomFilters(3, size=3, pool=2, generator=seeded(0)), torch.rand(2, 1, 4, 4, generator=seeded(1))
    around = torch.nn.functional.pad(x, (1, 1, 1, 1))
    found = torch.zeros(2, 3, 2, 2)
    for k in range(3):
        for i in range(4):
            for j in range(4):
                response = (around[:, 0, i:i + 3, j:j + 3] * describe.filters[k, 0]).sum((1, 2)).relu()
                found[:, k, i // 2, j // 2] += response / 4
    assert_close(describe(x), found.flatten(1))
    plain = torch.ones(2, 1, 8, 8) * torch.tensor([1.0, -1.0]).view(2, 1, 1, 1)
    assert describe(plain).view(2, 3, 4, 4)[:, :, 1:3, 1:3].max() < 1e-5                 # no contrast, no word


def test_labels_are_shared_equally():
    y = torch.arange(1_000) % 10
    i = few_labels(y, 30, seeded(0))
    assert len(i.unique()) == 30 and torch.bincount(y[i]).tolist() == [3] * 10
    assert i.tolist() != few_labels(y, 30, seeded(1)).tolist()


def test_a_probe_is_logistic_regression_on_centred_and_scaled_descriptions():
    """Its answers are those of the minimum that L-BFGS finds of the loss written out."""
    z, y = torch.randn(60, 5, generator=seeded(0)).double(), torch.arange(60) % 3
    z = z * 7 + 3 + 4 * torch.eye(3, 5).double()[y]
    new = torch.randn(200, 5, generator=seeded(1)).double() * 7 + 3
    a, b = ((v - z.mean(0)) / (z - z.mean(0)).square().sum(1).mean().sqrt() for v in (z, new))
    W, c = torch.zeros(5, 3).double().requires_grad_(), torch.zeros(3).double().requires_grad_()
    optimizer = torch.optim.LBFGS([W, c], max_iter=500, tolerance_grad=1e-9, line_search_fn="strong_wolfe")

    def loss():
        optimizer.zero_grad()
        value = 5.0 * torch.nn.functional.cross_entropy(a @ W + c, y, reduction="sum") + W.square().sum() / 2
        value.backward()
        return value

    optimizer.step(loss)
    expected = (b @ W + c).argmax(1)
    assert (linear_probe(z, y, new, C=5.0) == expected).double().mean() > 0.98
    assert torch.equal(linear_probe(100 * z - 5, y, 100 * new - 5, C=5.0), linear_probe(z, y, new, C=5.0))


# --- the shipped networks

@pytest.mark.parametrize("name", ["noise", "blank", "salt and pepper"])
def test_a_shipped_denoiser_does_what_its_file_says(name):
    file, x = "dae_" + name.replace(" ", "_"), load("digits").test.x[:300]
    with torch.no_grad():
        error = denoising_loss(checkpoint.load(file), x, part2.CORRUPTIONS[name])["loss"].item()
    assert error == pytest.approx(checkpoint.metadata(file)["metrics"]["error"], rel=0.08)


@pytest.mark.parametrize("name, n_keep", [("mae", 12), ("mae_small_mask", 44)])
def test_a_shipped_masked_autoencoder_does_what_its_file_says(name, n_keep):
    with torch.no_grad():
        error = mae_loss(checkpoint.load(name), load("digits").test.x[:300], n_keep)["loss"].item()
    assert error == pytest.approx(checkpoint.metadata(name)["metrics"]["hidden_error"], rel=0.12)


def test_the_shipped_letters_are_as_surprising_as_their_file_says():
    with torch.no_grad():
        surprise = codes_loss(checkpoint.load("masked_codes"), load("digits").test.x[:300], 12)["loss"].item()
    assert surprise == pytest.approx(checkpoint.metadata("masked_codes")["metrics"]["surprise"], rel=0.08)


def test_the_curves_of_the_files_can_be_measured_again():
    (x, y), (x_test, y_test) = load("digits")[:2]
    trials, model = checkpoint.metadata("mae")["trials"], checkpoint.load("mae")
    for name, describe in (("pixels", torch.nn.Flatten()), ("MAE", model.features),
                           ("random filters", RandomFilters(generator=seeded(0)))):
        i = few_labels(y, 100, seeded(0))
        guess = linear_probe(predict(describe, x[i]), y[i], predict(describe, x_test))
        assert (guess == y_test).double().mean().item() == pytest.approx(trials[name]["100"][0], abs=0.02)
    winner = checkpoint.load("hundred_labels")
    assert part2._share_right(predict(winner, x_test).argmax(1)) == pytest.approx(
        checkpoint.metadata("hundred_labels")["metrics"]["test_accuracy"], abs=0.01)
