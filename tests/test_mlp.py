"""Softmax, cross-entropy and the MLP against PyTorch's, against scikit-learn's, and against answers known by hand."""

import math

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from torch.nn import functional as F

from course_lib.device import seeded
from course_lib.mlp import MLP, MLPConfig, cross_entropy, softmax, softmax_regression


def problem(B=7, scale=3.0):
    g = seeded(0)
    logits = (scale * torch.randn(B, 5, generator=g, dtype=torch.float64)).requires_grad_()
    return logits, torch.randint(5, (B,), generator=g), torch.randn(B, generator=g, dtype=torch.float64)


@pytest.mark.parametrize("B", [1, 3, 100])
@pytest.mark.parametrize("scale", [0.0, 1.0, 30.0])
def test_cross_entropy_and_its_gradient_are_pytorchs(B, scale):
    logits, y, weight = problem(B, scale=scale)
    mine, reference = cross_entropy(logits, y), F.cross_entropy(logits, y, reduction="none")
    torch.testing.assert_close(mine, reference)
    for total in (mine @ weight, reference @ weight):
        logits.grad, before = None, logits.grad
        total.backward()
    torch.testing.assert_close(before, logits.grad)


def test_the_gradient_is_softmax_minus_onehot():
    logits, y, _ = problem()
    gradient, = torch.autograd.grad(cross_entropy(logits, y).sum(), logits)
    torch.testing.assert_close(gradient, softmax(logits) - F.one_hot(y, 5))
    torch.testing.assert_close(gradient.sum(1), torch.zeros(7, dtype=torch.float64))


def test_the_gradient_holds_where_logits_are_equal():
    logits = torch.zeros(1, 4, requires_grad=True)
    gradient, = torch.autograd.grad(cross_entropy(logits, torch.tensor([2])).sum(), logits)
    torch.testing.assert_close(gradient, torch.tensor([[0.25, 0.25, -0.75, 0.25]]))


def test_huge_logits_stay_finite_and_exact():
    logits, y = torch.tensor([[1e4, 0.0, -1e4], [-3e38, 3e38, 0.0]]), torch.tensor([1, 1])
    torch.testing.assert_close(cross_entropy(logits, y), torch.tensor([1e4, 0.0]))
    torch.testing.assert_close(softmax(logits), torch.tensor([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]))


def test_a_small_loss_is_not_lost_beside_large_logits():
    logits, y = torch.tensor([[1000.0, 990.0]]), torch.tensor([0])
    assert cross_entropy(logits, y).item() == pytest.approx(math.log1p(math.exp(-10)), rel=2e-3)


def test_an_example_worked_by_hand():
    logits = torch.tensor([[math.log(2), 0.0, 0.0]])                    # exp: 2, 1, 1
    torch.testing.assert_close(softmax(logits), torch.tensor([[0.5, 0.25, 0.25]]))
    torch.testing.assert_close(cross_entropy(logits, torch.tensor([1])), torch.tensor([math.log(4)]))


@pytest.mark.parametrize("shape", [(4,), (1, 3), (3, 10), (2, 3, 4)])
def test_softmax_is_pytorchs_along_the_last_axis_and_ignores_a_shift(shape):
    logits = torch.randn(shape, generator=seeded(1), dtype=torch.float64)
    torch.testing.assert_close(softmax(logits), logits.softmax(-1))
    torch.testing.assert_close(softmax(logits + 123.0), softmax(logits))


@pytest.mark.parametrize("B", [1, 3])
def test_the_mlp_is_what_the_formula_says(B):
    model, x = MLP(MLPConfig(n_hidden=16)), torch.rand(B, 1, 28, 28, generator=seeded(2))
    layer = model.hidden[0]
    h = (x.reshape(B, 784) @ layer.weight.T + layer.bias).clamp(min=0)
    torch.testing.assert_close(model.features(x), h)
    torch.testing.assert_close(model(x), h @ model.head.weight.T + model.head.bias)


def test_batches_do_not_mix_and_layers_stack():
    model, x = MLP(MLPConfig(n_input=2, n_hidden=8, n_layer=3, n_class=4)), torch.randn(3, 2, generator=seeded(3))
    assert len(model.hidden) == 3 and model(x).shape == (3, 4)
    torch.testing.assert_close(torch.cat([model(one[None]) for one in x]), model(x))


def test_softmax_regression_starts_with_equal_probabilities():
    x, y = torch.rand(3, 1, 28, 28, generator=seeded(4)), torch.tensor([0, 3, 9])
    model = softmax_regression()
    assert torch.equal(softmax(model(x)), torch.full((3, 10), 0.1))
    torch.testing.assert_close(cross_entropy(model(x), y), torch.full((3,), math.log(10)))
    assert MLP(model.config).load_state_dict(model.state_dict())        # a checkpoint rebuilds it from its config


def test_scikit_learns_optimum_is_a_stationary_point_of_our_loss():
    g, C = np.random.default_rng(0), 0.5
    x = g.normal(size=(60, 4))
    y = (x @ g.normal(size=(4, 3)) + g.normal(size=(60, 3))).argmax(1)
    reference = LogisticRegression(C=C, tol=1e-10, max_iter=1_000).fit(x, y)
    model = softmax_regression(4, 3).double()
    model.head.weight.data, model.head.bias.data = (torch.tensor(a) for a in (reference.coef_, reference.intercept_))
    x, y = torch.tensor(x), torch.tensor(y)
    np.testing.assert_allclose(softmax(model(x)).detach(), reference.predict_proba(x))
    loss = C * cross_entropy(model(x), y).sum() + model.head.weight.square().sum() / 2
    for gradient in torch.autograd.grad(loss, model.parameters()):
        assert gradient.abs().max() < 1e-5


@pytest.mark.parametrize("logits, y, words", [
    (torch.zeros(3), torch.zeros(3, dtype=torch.int64), r"shape \(B, K\).*\(3,\)"),
    (torch.zeros(3, 2, dtype=torch.int64), torch.zeros(3, dtype=torch.int64), "floating-point.*int64"),
    (torch.zeros(3, 2), torch.zeros(2, dtype=torch.int64), r"shape \(3,\).*\(2,\)"),
    (torch.zeros(3, 2), torch.zeros(3, 1, dtype=torch.int64), r"\(3, 1\)"),
    (torch.zeros(3, 2), torch.zeros(3), r"got \(3,\) of float32"),
    (torch.zeros(3, 2), torch.tensor([0, -1, 1]), "from 0 to 1, got -1 to 1"),
])
def test_cross_entropy_names_what_is_wrong(logits, y, words):
    with pytest.raises(ValueError, match=words) as e:
        cross_entropy(logits, y)
    assert "\n" not in str(e.value)


@pytest.mark.parametrize("call, words", [
    (lambda: softmax(torch.tensor(1.0)), r"shape \(\.\.\., K\)"),
    (lambda: MLP(MLPConfig())(torch.rand(784)), r"784 numbers.*\(784,\)"),
    (lambda: softmax_regression()(torch.zeros(1, 28, 28, dtype=torch.uint8)), "float.*uint8"),
    (lambda: MLP(MLPConfig(n_layer=-1)), "n_layer=-1"),
])
def test_models_name_what_is_wrong(call, words):
    with pytest.raises(ValueError, match=words) as e:
        call()
    assert "\n" not in str(e.value)
