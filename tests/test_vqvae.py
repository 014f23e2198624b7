"""VQ-VAE: the codebook is k-means by other hands, the gradient goes straight through, FSQ is what its paper says."""

import itertools
import math

import numpy as np
import pytest
import torch
from awake import awake
from sklearn.cluster import KMeans, MiniBatchKMeans
from torch.testing import assert_close

from course_lib.checkpoint import load as load_checkpoint
from course_lib.checkpoint import metadata
from course_lib.data import Batches, load
from course_lib.device import seed, seeded
from course_lib.metrics import frechet_distance, judge_features
from course_lib.train import fit
from course_lib.vae import bernoulli_log_prob
from course_lib.vqvae import (
    FSQ,
    VQVAE,
    Codebook,
    VQVAEConfig,
    ema_step,
    fsq,
    fsq_bound,
    fsq_loss,
    nearest,
    perplexity,
    restarted,
    straight_through,
    vqvae_loss,
)


def randn(*shape, seed=0):
    return torch.randn(*shape, generator=seeded(seed), dtype=torch.float64)


def build(**config) -> VQVAE:
    seed(0)
    return awake(VQVAE(VQVAEConfig(**dict(n_code=12, n_embd=3, n_channel=4) | config)))


def images(n):
    return torch.rand(n, 1, 28, 28, generator=seeded(n))


# ------------------------------------------------------------------------------------------------------ the quantiser

def test_the_nearest_code_is_the_one_at_the_smallest_distance():
    z, codebook = randn(50, 5), randn(7, 5, seed=1)
    assert torch.equal(nearest(z, codebook), torch.cdist(z, codebook).argmin(1))
    assert nearest(torch.tensor([[0.0, 1.0]]), torch.tensor([[0.0, 2.0], [0.0, 0.0]])).item() == 0      # equals: first


def test_the_jacobian_of_straight_through_is_the_identity():
    z, q = randn(4), randn(4, seed=1)
    by_z, by_q = torch.autograd.functional.jacobian(straight_through, (z, q))
    assert torch.equal(by_z, torch.eye(4, dtype=z.dtype)) and torch.equal(by_q, torch.zeros(4, 4, dtype=z.dtype))
    assert_close(straight_through(z, q), q)


def test_a_step_without_memory_is_a_step_of_lloyd():
    z, start = randn(60, 2), randn(5, 2, seed=1)
    codes, count = ema_step(start, torch.full((5,), 9.0, dtype=z.dtype), z, nearest(z, start), decay=0)
    theirs = KMeans(5, init=start.numpy(), n_init=1, max_iter=1, algorithm="lloyd").fit(z.numpy())
    assert torch.equal(count, torch.bincount(nearest(z, start), minlength=5).double())
    assert_close(codes, torch.from_numpy(theirs.cluster_centers_))


@pytest.mark.parametrize("decay", [1.0, 0.9])
def test_steps_are_those_of_scikit_learns_mini_batch_k_means(decay):
    """It knows no decay: its counts are made smaller by hand, between its steps."""
    codes, count = randn(5, 2, seed=1), torch.zeros(5, dtype=torch.float64)
    theirs = MiniBatchKMeans(5, init=codes.numpy(), n_init=1, reassignment_ratio=0)
    for step in range(6):
        z = randn(20, 2, seed=2 + step)
        codes, count = ema_step(codes, count, z, nearest(z, codes), decay)
        if step:
            theirs._counts *= decay
        theirs.partial_fit(z.numpy())
        assert_close(codes, torch.from_numpy(theirs.cluster_centers_))
        assert_close(count, torch.from_numpy(np.asarray(theirs._counts, dtype=np.float64)))


def test_the_factors_of_the_paper_cancel():
    """N' = decay N + (1 - decay) n and m' = decay m + (1 - decay) sum, code = m / N: two averages instead of one."""
    decay, codes, count = 0.8, randn(4, 3, seed=1), torch.full((4,), 5.0, dtype=torch.float64)
    N, m = count * (1 - decay), codes * (count * (1 - decay)).unsqueeze(1)
    for step in range(5):
        z = randn(30, 3, seed=2 + step)
        one_hot = torch.nn.functional.one_hot(nearest(z, codes), 4).double()
        N, m = decay * N + (1 - decay) * one_hot.sum(0), decay * m + (1 - decay) * one_hot.T @ z
        codes, count = ema_step(codes, count, z, nearest(z, codes), decay)
        assert_close(codes, m / N.unsqueeze(1))
        assert_close(count * (1 - decay), N)


def test_a_code_that_nothing_chose_stays():
    codes, count = torch.tensor([[0.0], [10.0]]), torch.zeros(2)
    codes, count = ema_step(codes, count, torch.tensor([[1.0], [3.0]]), torch.tensor([0, 0]), 0.9)
    assert codes.tolist() == [[2.0], [10.0]] and count.tolist() == [2.0, 0.0]


def test_only_dead_codes_are_restarted_and_at_vectors_of_the_batch():
    codes, count, z = randn(4, 2), torch.tensor([30.0, 0.2, 9.8, 0.0], dtype=torch.float64), randn(6, 2, seed=1)
    new, after = restarted(codes, count, z, share=0.05, generator=seeded(0))                  # 0.05 of 10
    assert torch.equal(new[[0, 2]], codes[[0, 2]])
    assert_close(after, torch.tensor([30.0, 0.5, 9.8, 0.5], dtype=torch.float64))
    assert all(any(torch.equal(code, vector) for vector in z) for code in new[[1, 3]])
    assert torch.equal(restarted(codes, count, z, share=0)[0], codes)


def test_perplexity_is_the_number_of_codes_where_they_are_used_alike():
    assert perplexity(torch.arange(6).repeat(3), 20).item() == pytest.approx(6)
    assert perplexity(torch.zeros(3, 4, dtype=torch.long), 20).item() == pytest.approx(1)
    shares = torch.tensor([0.5, 0.25, 0.25])
    assert_close(perplexity(torch.tensor([0, 0, 1, 2]), 3), (-(shares * shares.log()).sum()).exp())


# ----------------------------------------------------------------------------------------------------------------- FSQ

@pytest.mark.parametrize("levels", [(8, 4, 4), (5, 3), (2, 2, 7)])
def test_fsq_is_its_formula(levels):
    """Appendix A.1 of Mentzer et al. (2024), number by number."""
    z = 3 * randn(40, len(levels))
    for row, mine in zip(z, fsq(z, levels)):
        for value, L, quantised in zip(row.tolist(), levels, mine.tolist()):
            half = (L - 1) * (1 - 1e-3) / 2
            offset = 0.5 if L % 2 == 0 else 0.0
            bounded = math.tanh(value + math.tan(offset / half)) * half - offset
            assert quantised == pytest.approx(round(bounded) / (L // 2))


@pytest.mark.parametrize("levels", [(8, 4, 4), (5, 3), (2, 7)])
def test_fsq_has_all_combinations_and_numbers_them(levels):
    book, K = FSQ(levels), math.prod(levels)
    words = book.lookup(torch.arange(K))                          # (K, D)
    assert words.unique(dim=0).shape == (K, len(levels)) and words.min() == -1
    ticks = [sorted(set(column.tolist())) for column in words.T]
    assert [len(t) for t in ticks] == list(levels)
    assert {tuple(w) for w in words.tolist()} == set(itertools.product(*ticks))
    assert words[1].tolist() != words[0].tolist() and words[1, 1:].tolist() == words[0, 1:].tolist()    # first is least
    z = 2 * randn(500, len(levels)).float()
    assert_close(book.lookup(book.index(z)), fsq(z, levels))


def test_the_gradient_of_fsq_is_that_without_rounding():
    z, levels = randn(6, 2).requires_grad_(), (8, 5)
    a, = torch.autograd.grad((fsq(z, levels) * randn(6, 2, seed=1)).sum(), z)
    b, = torch.autograd.grad((fsq_bound(z, levels) / torch.tensor([4, 2]) * randn(6, 2, seed=1)).sum(), z)
    assert_close(a, b)


# --------------------------------------------------------------------------------------------------------- the model

@pytest.mark.parametrize("config", [{}, dict(wide=True), dict(levels=(3, 4), wide=True)])
def test_words_are_places_in_rows(config):
    """Encoder and decoder number the places alike, row by row."""
    x = images(3)
    model = build(**config).start(x, seeded(0))
    tokens = model.encode(x)
    assert len(tokens.unique()) > 3 and tokens.dtype == torch.long
    assert tokens.shape == (3, 49) and model.grid == (7, 7) and model.K == 12
    assert 0 <= tokens.min() and tokens.max() < 12
    q = torch.zeros(3, model.n_embd, 7, 7)
    for place in range(49):
        q[:, :, place // 7, place % 7] = model.codes.lookup(tokens)[:, place]
    assert_close(model.decode(tokens), model.decoder(q).sigmoid())
    z = model.encoder(x)                                          # (3, D, 7, 7)
    for row, column in itertools.product(range(7), range(7)):
        assert torch.equal(model.codes.index(z[:, :, row, column]), tokens[:, 7 * row + column])


def test_a_word_sees_8_by_8_pixels_or_nearly_all():
    for wide, seen in ((False, list(range(10, 18))), (True, list(range(28)))):
        x = images(1).requires_grad_()
        build(wide=wide).vectors(x)[0, 24].sum().backward()       # the place in the middle
        assert x.grad[0, 0].any(1).nonzero().flatten().tolist() == seen
        assert x.grad[0, 0].any(0).nonzero().flatten().tolist() == seen


def test_a_decoded_image_is_what_the_loss_saw():
    model, x = build(sharpness=2.0), images(3)
    logits = model.draw(model.codes.lookup(model.encode(x)))
    assert_close(model.decode(model.encode(x)), (2 * logits).sigmoid())
    terms = vqvae_loss(model, x, beta=0.5)
    assert_close(terms["reconstruction"], -bernoulli_log_prob(logits, x).mean())
    z, q = model.vectors(x), model.codes.lookup(model.encode(x))
    assert_close(terms["commitment"], ((z - q) ** 2).sum() / 3)
    assert_close(terms["loss"], terms["reconstruction"] + 0.5 * terms["commitment"])
    assert_close(vqvae_loss(model, x, beta=0.5, decay=None)["loss"], terms["loss"] + terms["commitment"])


def test_who_learns_from_which_term():
    """The codes: from their own term alone. The encoder: from the image, through the codes, and from the commitment."""
    model, x = build(), images(4)
    vqvae_loss(model, x)["loss"].backward()
    assert model.codes.vectors.grad is None or not model.codes.vectors.grad.any()
    both = model.encoder[-1].weight.grad.clone()
    model.zero_grad()
    vqvae_loss(model, x, beta=0.0)["loss"].backward()
    image = model.encoder[-1].weight.grad.clone()
    model.zero_grad()
    z = model.vectors(x)
    (z - model.codes.lookup(model.encode(x)).detach()).square().flatten(1).sum(1).mean().backward()
    assert image.any() and model.encoder[-1].weight.grad.any()
    assert_close(both, image + 0.25 * model.encoder[-1].weight.grad)
    model.zero_grad()
    vqvae_loss(model, x, beta=0.0, decay=None)["loss"].backward()
    z, idx = model.vectors(x).flatten(0, 1).detach(), model.encode(x).flatten()
    pull = torch.zeros_like(model.codes.vectors).index_add_(0, idx, 2 * (model.codes.vectors[idx] - z)) / len(x)
    assert_close(model.codes.vectors.grad, pull.detach())


def test_the_codebook_follows_in_training_only():
    model, x = build(), images(4)
    before, z = model.codes.vectors.clone(), model.vectors(x).flatten(0, 1)
    vqvae_loss(model, x)
    assert torch.equal(model.codes.vectors, before)
    model.train()
    vqvae_loss(model, x, restart=0.0)
    codes, count = ema_step(before, torch.zeros(12), z, nearest(z, before))
    assert_close(model.codes.vectors, codes)
    assert_close(model.codes.count, count)


def test_a_codebook_starts_at_k_means():
    z = torch.cat([randn(30, 2, seed=k) * 0.01 + torch.tensor([float(k), k % 2]) for k in range(4)]).float()
    book = Codebook(4, 2).start(z, generator=seeded(0))
    centres = z.view(4, 30, 2).mean(1)
    assert_close(book.vectors[book.vectors[:, 0].argsort()], centres)


@pytest.mark.parametrize("loss, config", [(vqvae_loss, {}), (fsq_loss, dict(levels=(4, 3)))])
def test_it_learns_a_stroke(loss, config):
    x = torch.zeros(32, 1, 28, 28)
    for i in range(32):
        x[i, 0, :, 4 + i // 2 : 7 + i // 2] = 1
    seed(0)
    model = VQVAE(VQVAEConfig(**dict(n_code=12, n_embd=3, n_channel=4) | config)).start(x)
    before = (model(x) - x).abs().mean()
    history = fit(model, loss, Batches(x, batch_size=16), steps=60, lr=1e-2, progress=False)
    assert (model(x) - x).abs().mean() < 0.3 * before and history["perplexity"][-1] > 2


# ------------------------------------------------------------------------------------------------------ what is shipped

def test_the_shipped_words_are_what_they_claim():
    model, made, x = load_checkpoint("vqvae"), metadata("vqvae")["metrics"], load("digits").test.x[:300]
    tokens = model.encode(x)
    rebuilt = model.decode(tokens)
    error = (rebuilt - x).square().flatten(1).sum(1).mean().item()
    assert error == pytest.approx(made["squared_error"], rel=0.1)
    assert frechet_distance(judge_features(rebuilt), judge_features(x)) < 2 * made["rebuilt_frechet"] < 2
    assert perplexity(tokens, 128).item() == pytest.approx(made["perplexity"], rel=0.1)
    assert torch.equal(model.encode(x[7:8]), tokens[7:8])


def test_collapse_and_its_repairs_in_five_seeds():
    made = metadata("vqvae_collapsed")
    table = {name: torch.tensor(rows) for name, rows in made["trials"].items()}
    assert all(rows.shape == (5, len(made["columns"])) for rows in table.values())
    used = {name: rows[:, made["columns"].index("perplexity")] for name, rows in table.items()}
    assert used["as it is"].max() < 10 < 50 < used["restarts"].min()
    assert used["FSQ"].min() > used["as it is"].max()
    tokens = load_checkpoint("vqvae_collapsed").encode(load("digits").test.x[:300])
    assert perplexity(tokens, 128) < 10
