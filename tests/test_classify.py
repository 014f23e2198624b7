"""Loss, prediction and accuracy of a classifier, against numbers worked out by hand."""

import math

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from course_lib.classify import accuracy, classifier_loss, predict
from course_lib.device import seed, seeded

LOGITS = torch.tensor([[2.0, 0.0], [0.0, 1.0], [1.0, 0.0]])                   # says 0, 1, 0
LABELS = torch.tensor([0, 1, 1])                                              # right, right, wrong


def same(x):
    return x


def test_loss_and_accuracy_by_hand():
    out = classifier_loss(same, LOGITS, LABELS)
    by_hand = (math.log(1 + math.exp(-2)) + math.log(1 + math.exp(-1)) + math.log(1 + math.exp(1))) / 3
    assert out["loss"].item() == pytest.approx(by_hand, rel=1e-6)
    assert out["accuracy"].item() == pytest.approx(2 / 3)
    assert set(out) == {"loss", "accuracy"}


def test_the_gradient_is_probability_minus_one_hot():
    logits = LOGITS.clone().requires_grad_()
    classifier_loss(same, logits, LABELS)["loss"].backward()
    torch.testing.assert_close(logits.grad, (LOGITS.softmax(1) - F.one_hot(LABELS)) / 3)


def test_accuracy_by_hand():
    assert accuracy(same, LOGITS, LABELS) == pytest.approx(2 / 3)
    assert accuracy(same, LOGITS, 1 - LABELS) == pytest.approx(1 / 3)
    assert accuracy(same, LOGITS[:1], LABELS[:1]) == 1


@pytest.mark.parametrize("batch_size", [1, 2, 3, 500])
def test_pieces_make_no_difference(batch_size):
    seed(0)
    model = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Dropout(0.5), nn.Linear(8, 3)).eval()
    x = torch.randn(7, 4, generator=seeded(1))
    torch.testing.assert_close(predict(model, x, batch_size), model(x).detach())


def test_prediction_is_in_evaluation_mode_without_gradient_and_leaves_no_trace():
    seed(0)
    model = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Dropout(0.5)).train()
    x, before = torch.randn(6, 4, generator=seeded(1)), {k: v.clone() for k, v in model.state_dict().items()}
    first = predict(model, x)
    assert not first.requires_grad and torch.equal(first, predict(model, x)) and model.training
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())      # batch norm did not move
    predict(model.eval(), x)
    assert not model.training


def test_training_mode_comes_back_after_an_error():
    model = nn.Linear(4, 2).train()
    with pytest.raises(RuntimeError):
        predict(model, torch.zeros(3, 5))
    assert model.training


@pytest.mark.parametrize("y, says", [
    (torch.tensor([0, 1]), r"labels must be whole numbers from 0 to 1, of shape \(3,\): got \(2,\)"),
    (torch.tensor([0.0, 1.0, 1.0]), r"got \(3,\) of float32"),
    (torch.tensor([[0], [1], [1]]), r"got \(3, 1\) of int64"),
    (torch.tensor([0, 1, 2]), "from 0 to 1, got 0 to 2"),
    (torch.tensor([0, 1, -1]), "from 0 to 1, got -1 to 1"),
])
def test_labels_that_do_not_fit_are_refused_in_one_line(y, says):
    for function in (classifier_loss, accuracy):
        with pytest.raises(ValueError, match=says) as e:
            function(same, LOGITS, y)
        assert "\n" not in str(e.value)


def test_batches_of_nothing_are_an_error():
    with pytest.raises(ValueError, match="batch_size=0"):
        predict(same, LOGITS, batch_size=0)
