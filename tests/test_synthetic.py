"""Recipes of lesson 81: what a classifier or a model is given, and what the shipped ones say of themselves."""

import pytest
import torch

from course_lib import checkpoint
from course_lib.checkpoints.part8_synthetic import (
    ASKED,
    COLUMNS,
    RARE,
    gaussians_of,
    generations,
    labelled,
    look,
    mixed,
    rare_digits,
    rare_test,
)
from course_lib.classify import accuracy
from course_lib.data import load
from course_lib.device import seeded
from course_lib.masked import few_labels
from course_lib.metrics import control_accuracy


@pytest.mark.parametrize("n", [30, 100])
def test_half_of_what_a_classifier_is_given_is_real(n):
    x, y = labelled(n, 3)
    made, asked = torch.zeros(1_000, 1, 28, 28), torch.full((1_000,), 7)
    both, labels = mixed(x, y, made, asked)
    real = both.flatten(1).sum(1) > 0
    assert real.double().mean().item() == pytest.approx(0.5, abs=0.01) and labels[~real].unique().tolist() == [7]
    assert torch.bincount(labels[real]).unique().numel() == 1     # each real digit as often as the others
    assert both[real].unique(dim=0).shape[0] == n


def test_without_real_digits_it_is_given_the_generated_ones():
    x, y = labelled(30, 0)
    both, labels = mixed(x[:0], y[:0], x, y)
    assert torch.equal(both, x) and torch.equal(labels, y)


def test_the_labels_are_those_of_lesson_22():
    x, y = labelled(100, 2)
    assert torch.equal(x, load("digits").train.x[few_labels(load("digits").train.y, 100, seeded(2))])
    assert torch.bincount(y).tolist() == [10] * 10


def test_gaussians_of_thirty_digits_can_be_sampled():
    made = gaussians_of(*labelled(30, 0)).sample(20, torch.arange(20) % 10, generator=seeded(0))
    assert made.shape == (20, 1, 28, 28) and made.std() > 0.1


def test_two_classes_are_rare():
    x, (train, y) = rare_digits(1), load("digits").train
    where = torch.cdist(x.flatten(1), train.flatten(1)).argmin(1)
    assert torch.bincount(y[where]).tolist() == [RARE.get(k, 120) for k in range(10)]
    assert len(where.unique()) == 1_000 and not torch.equal(x, rare_digits(2))


class Numbered:
    """Draws images of one grey value, the number of the model."""

    def __init__(self, number):
        self.number = number

    def sample(self, n, generator):
        return torch.rand(n, 1, 28, 28, generator=generator) * 1e-3 + self.number / 10


@pytest.mark.parametrize("keep, given", [(False, [[0], [1], [2]]), (True, [[0], [0, 1], [0, 1, 2]])])
def test_samples_replace_the_data_or_are_added_to_them(keep, given):
    seen = []

    def model_of(data, generator):
        seen.append((10 * data[::8, 0, 0, 0]).long().tolist())
        return Numbered(len(seen))

    model, rows = generations(model_of, Numbered(0).sample(8, seeded(0)), 3, 8, keep, seeded(0))
    assert seen == given and model.number == 3
    assert len(rows) == 4 and all(len(row) == len(COLUMNS) for row in rows)


def test_a_row_says_what_the_columns_name():
    x, y = load("digits").test
    row = dict(zip(COLUMNS, look(torch.cat([x[y == 4][:30], x[y == 6][:10], x[y == 1][:60]]))))
    assert row["share of 4"] == pytest.approx(0.3, abs=0.02) and row["share of 6"] == pytest.approx(0.1, abs=0.02)
    assert row["largest share"] == pytest.approx(0.6, abs=0.03)
    same = dict(zip(COLUMNS, look(rare_test())))
    assert same["distance"] < 1e-6 and same["recall"] == 1 and same["share of 4"] == pytest.approx(0.03, abs=0.005)


# ---------------------------------------------------------------------------------------------- what is shipped

def test_the_shipped_classifier_is_as_good_as_its_file_says():
    digits, made = load("digits"), checkpoint.metadata("generated_hundred")
    share = accuracy(checkpoint.load("generated_hundred"), digits.test.x, digits.test.y)
    assert share == pytest.approx(made["metrics"]["test_accuracy"], abs=0.004)
    assert all(len(runs) == 5 for rows in made["trials"].values() for runs in rows.values())


def test_the_flow_of_a_hundred_digits_draws_what_is_asked_as_often_as_its_file_says():
    made = checkpoint.load("flow_hundred").sample(60, ASKED[:60], generator=seeded(1))
    share = control_accuracy(None, made, ASKED[:60])
    assert share == pytest.approx(checkpoint.metadata("flow_hundred")["metrics"]["control"], abs=0.15)


@pytest.mark.parametrize("name", ["mixture_tenth", "mixture_kept", "vae_tenth"])
def test_the_tenth_model_draws_what_its_file_says(name):
    made, row = checkpoint.metadata(name), dict(zip(COLUMNS, look(checkpoint.load(name).sample(1_000, seeded(1)))))
    assert row["distance"] == pytest.approx(made["metrics"]["distance"], rel=0.1, abs=1)
    assert row["variance"] == pytest.approx(made["metrics"]["variance"], rel=0.05)
    assert [len(rows) for rows in next(iter(made["trials"].values()))][0] == 11
