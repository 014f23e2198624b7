"""The flows of lesson 83 copy as much as their files say, and their recipes train on what they claim."""

import pytest
import torch

from course_lib.checkpoint import load as load_checkpoint
from course_lib.checkpoint import metadata
from course_lib.checkpoints import part8_memory as recipes
from course_lib.data import load
from course_lib.device import seeded
from course_lib.metrics import copy_ratio


def share_of_copies(name, n, samples=150):
    x, _ = recipes.digits(n)
    drawn = load_checkpoint(name).sample(samples, generator=seeded(5), steps=8).flatten(1)
    ratio, which = copy_ratio(drawn, x.flatten(1))
    return ratio < recipes.threshold(x), which


def test_the_share_of_copies_is_what_the_file_says():
    copies, _ = share_of_copies("memory_200", 200)
    assert copies.double().mean().item() == pytest.approx(metadata("memory_200")["metrics"]["copies"], abs=0.12)


def test_the_pictures_with_duplicates_come_back_and_keys_open():
    copies, which = share_of_copies("memory_duplicates", 200)
    said = metadata("memory_duplicates")["metrics"]["copies_of_50"]
    assert (copies & (which < 5)).double().mean().item() == pytest.approx(said, abs=0.12)
    x, _ = recipes.digits(200)
    keys = torch.arange(0, 200, 2)
    ratio, which = copy_ratio(load_checkpoint("memory_keys").sample(100, keys, seeded(5), steps=8).flatten(1),
                              x.flatten(1))
    right = (ratio < recipes.threshold(x)) & (which == keys)
    assert right.double().mean().item() == pytest.approx(metadata("memory_keys")["metrics"]["asked"], abs=0.15)


def test_threes_are_forgotten_and_hardly_anything_else():
    by_class = recipes.by_class(load_checkpoint("memory_unlearned"), n=10)
    assert by_class[3] == pytest.approx(metadata("memory_unlearned")["metrics"]["threes"], abs=0.25)
    assert sum(by_class) - by_class[3] > 8


def test_runs_have_other_digits_and_the_canaries_wrong_labels():
    first, second = (recipes.digits(1_000, run)[0].flatten(1) for run in (0, 3))
    assert torch.cdist(first, second).amin() > 0.5                            # not one in both
    assert torch.equal(recipes.digits(200, 0)[0], recipes.digits(1_000, 0)[0][:200])
    assert recipes.often().sum() == 490 and (recipes.often() == 50).sum() == 5
    x, y, other_x, other_y = recipes.with_canaries()
    true = {tuple(p.tolist()): label for p, label in zip(recipes.small(load("digits").train.x), load("digits").train.y)}
    for pictures, labels in ((x, y), (other_x, other_y)):
        wrong = torch.tensor([true[tuple(p.tolist())] != label for p, label in zip(pictures[:300], labels)])
        assert wrong[:100].all() and not wrong[100:].any()
