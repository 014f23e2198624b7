"""Attacks beside scikit-learn, gradients beside torch.func, the accountant beside published values."""

import math

import pytest
import torch
from sklearn.metrics import roc_auc_score, roc_curve
from torch import nn
from torch.func import functional_call, grad, vmap
from torch.nn import functional as F

from course_lib.device import seeded
from course_lib.privacy import auc, clipped, drawn_often, epsilon, found_at, private_gradient, roc


@pytest.fixture
def scores():
    g = seeded(0)
    members, others = torch.randn(60, generator=g) + 1, torch.randn(80, generator=g)
    return members.mul(4).round(), others.mul(4).round()                      # some tie


def test_rates_are_those_of_scikit_learn(scores):
    members, others = scores
    truth = [1] * len(members) + [0] * len(others)
    wrong, right, _ = roc_curve(truth, torch.cat(scores).numpy(), drop_intermediate=False)
    for ours, theirs in zip(roc(members, others), (wrong, right)):
        torch.testing.assert_close(ours, torch.from_numpy(theirs))
    assert auc(members, others) == pytest.approx(roc_auc_score(truth, torch.cat(scores).numpy()))


def test_found_members_are_counted_where_few_others_are_accused():
    others = torch.arange(100.0)
    members = torch.tensor([98.5, 99.5, 150.0, -1.0])
    assert found_at(members, others, 0.0) == 0.5                              # 99.5 and 150 lie above all others
    assert found_at(members, others, 0.01) == 0.75                            # one of a hundred, 99, may be accused
    assert auc(others, others) == 0.5 and auc(others + 200, others) == 1


def test_what_is_drawn_often_is_found_without_the_training_set():
    line = torch.tensor([[9.0], [0.0], [0.9], [0.1], [5.0], [0.0], [5.1]])
    groups = [group.tolist() for group in drawn_often(line, 0.15)]
    assert groups == [[1, 3, 5], [4, 6]]                                      # 0.9 and 9 stand alone
    assert [len(group) for group in drawn_often(line, 0.15, at_least=3)] == [3]
    assert len(drawn_often(line, 0.15, at_least=1)) == 4 and drawn_often(line[:1], 1.0) == []
    centres = 10 * torch.randn(6, 8, generator=seeded(0))
    samples = torch.cat([centres[:4].repeat_interleave(torch.tensor([9, 7, 5, 3]), 0), centres[4:]])
    samples = (samples + 0.01 * torch.randn(samples.shape, generator=seeded(1)))[
        order := torch.randperm(len(samples), generator=seeded(2))]
    groups = drawn_often(samples, 0.2)
    assert [sorted(order[group].tolist()) for group in groups] == [
        list(range(9)), list(range(9, 16)), list(range(16, 21)), list(range(21, 24))]


def test_a_sample_belongs_to_one_group_and_the_middle_comes_first():
    assert [group.tolist() for group in drawn_often(torch.tensor([[0.0], [1.0], [2.0], [3.0]]), 1.0)] == [[1, 0, 2]]


def test_rows_are_shortened_and_never_lengthened():
    g = torch.tensor([[3.0, 4.0], [0.3, 0.4], [0.0, 0.0]])
    torch.testing.assert_close(clipped(g, 1.0), torch.tensor([[0.6, 0.8], [0.3, 0.4], [0.0, 0.0]]))


def loss(model, x, y):
    return F.cross_entropy(model(x), y)


def small():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(5, 4), nn.Tanh(), nn.Linear(4, 3)), torch.randn(7, 5), torch.arange(7) % 3


def test_without_noise_it_is_the_mean_of_the_clipped_gradients():
    model, x, y = small()
    share = private_gradient(model, loss, (x, y), most=1.35, noise=0.0)
    weights = {name: p.detach() for name, p in model.named_parameters()}
    each = vmap(grad(lambda w, x, y: F.cross_entropy(functional_call(model, w, x[None]), y[None])),
                in_dims=(None, 0, 0))(weights, x, y)
    rows = torch.cat([g.flatten(1) for g in each.values()], 1)                # (7, P)
    factor = (1.35 / rows.norm(dim=1)).clamp(max=1)
    ours = torch.cat([p.grad.flatten() for p in model.parameters()])
    torch.testing.assert_close(ours, (factor[:, None] * rows).mean(0))
    assert share == (rows.norm(dim=1) > 1.35).double().mean() and 0 < share < 1


def test_noise_has_the_deviation_that_was_asked_for():
    model, x, y = small()
    private_gradient(model, loss, (x, y), most=0.5, noise=0.0)
    plain = torch.cat([p.grad.flatten() for p in model.parameters()])
    g, noisy = seeded(1), []
    for _ in range(200):
        private_gradient(model, loss, (x, y), most=0.5, noise=3.0, generator=g)
        noisy.append(torch.cat([p.grad.flatten() for p in model.parameters()]) - plain)
    assert torch.stack(noisy).std().item() == pytest.approx(3.0 * 0.5 / 7, rel=0.03)


@pytest.mark.parametrize("noise, epochs, published", [(1.12, 60, 2.92), (0.6, 30, 9.74), (1.2, 10, 1.20)])
def test_the_accountant_gives_the_published_values(noise, epochs, published):
    """MNIST in batches of 256, delta 1e-5: the table in tutorials/README.md of TensorFlow Privacy. It also tries orders
    that are not whole."""
    value = epsilon(256 / 60_000, noise, epochs * 60_000 // 256, 1e-5)
    assert published - 0.005 < value < published + 0.04


def test_the_accountant_knows_the_plain_gaussian_and_the_edges():
    sigma, delta = 4.0, 1e-6                       # the whole set in each batch: Rényi divergence order / (2 sigma^2)
    best = 1 + sigma * math.sqrt(2 * math.log(1 / delta))                     # of all real orders
    exact = best / (2 * sigma**2) + math.log(1 / delta) / (best - 1)
    assert exact <= epsilon(1.0, sigma, 1, delta) < exact * 1.001
    assert epsilon(0.01, 1.0, 0, 1e-5) == epsilon(0.0, 1.0, 10, 1e-5) == 0
    more = [epsilon(0.01, 1.0, steps, 1e-5) for steps in (1, 10, 100, 1000)]
    assert more == sorted(more) and epsilon(0.01, 2.0, 100, 1e-5) < more[2] < epsilon(0.02, 1.0, 100, 1e-5)
    assert epsilon(0.999999, 2.0, 5, 1e-5) == pytest.approx(epsilon(1.0, 2.0, 5, 1e-5), rel=1e-3)


@pytest.mark.parametrize("call, message", [
    (lambda: roc(torch.tensor([float("nan")]), torch.rand(3)), "1 of 1 scores are nan"),
    (lambda: drawn_often(torch.rand(3, 2), 0.0), "radius=0"),
    (lambda: drawn_often(torch.rand(3, 2), 1.0, 0), "at_least=0"),
    (lambda: private_gradient(nn.Linear(1, 1), loss, (torch.rand(2, 1),), 1.0, -1.0), "noise=-1"),
    (lambda: epsilon(1.5, 1.0, 1, 1e-5), "share=1.5"),
    (lambda: epsilon(0.1, 1.0, 1, 0.0), "delta=0"),
])
def test_what_promises_nothing_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()
