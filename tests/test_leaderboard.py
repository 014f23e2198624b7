"""The table against the metadata it reads, on checkpoints made here and on the shipped ones."""

import html.parser

import pytest
import torch

from course_lib import checkpoint
from course_lib.baselines import Noise, NoiseConfig, TrainingDigits, TrainingDigitsConfig
from course_lib.data import load
from course_lib.device import seeded
from course_lib.gaussians import ClassGaussians, ClassGaussiansConfig
from course_lib.leaderboard import COLUMNS, leaderboard
from course_lib.metrics import control_accuracy, judge_features, kernel_distance, precision_recall

JUDGE = "f" * 64


def metrics(frechet, **more):
    return dict(frechet=frechet, frechet_error=frechet / 10, kernel=frechet / 2, precision=0.5, recall=0.25,
                memorisation=0.75) | more


@pytest.fixture
def shipped(tmp_path, monkeypatch):
    """A folder of checkpoints with one generator, both ends, and one model that is no generator."""
    monkeypatch.setattr(checkpoint, "FOLDER", tmp_path)

    def add(name, model, metrics, **more):
        checkpoint.save(tmp_path / f"{name}.safetensors", model, recipe="a test", seed=0, steps=1, seconds=12.3,
                        metrics=metrics, **more)

    add("judge", Noise(NoiseConfig()), {"accuracy": 0.99})
    judge = checkpoint.metadata("judge")["sha256"]
    add("noise", Noise(NoiseConfig()), metrics(800.0), role="floor", judge=judge, family="random pixels", lesson=13)
    add("real", TrainingDigits(TrainingDigitsConfig()), metrics(0.3), role="ceiling", judge=judge, family="real",
        lesson=13)
    add("blobs", ClassGaussians(ClassGaussiansConfig()), metrics(17.25, control=0.9), judge=judge, family="<Gaussians>",
        lesson=13, parameters=12_345)
    return add


def test_rows_are_the_generators_best_first(shipped):
    assert [r["name"] for r in leaderboard().rows] == ["real", "blobs", "noise"]
    assert [r["name"] for r in leaderboard("noise", "blobs").rows] == ["blobs", "noise"]


def test_text_shows_the_numbers_of_the_metadata(shipped):
    lines = str(leaderboard()).split("\n")
    assert lines[0].split() == [word for c in COLUMNS for word in c.split()]
    assert lines[3].split() == ["blobs", "<Gaussians>", "13", "12,345", "12", "s", "17.2", "±", "1.7", "8.62", "0.50",
                                "0.25", "0.90", "0.75"]
    assert lines[2].startswith("real ▲") and lines[4].startswith("noise ▼")
    assert all("\u2013" in line for line in (lines[2], lines[4]))  # nothing fitted, no control
    assert "▲ ceiling: real training digits" in lines[5] and "▼ floor: random pixels" in lines[6] and len(lines) == 7


def test_html_is_well_formed_and_escaped(shipped):
    page = leaderboard()._repr_html_()
    counts, open_tags = {}, []

    class Reader(html.parser.HTMLParser):
        def handle_starttag(self, tag, attrs):
            counts[tag] = counts.get(tag, 0) + 1
            open_tags.append(tag)

        def handle_endtag(self, tag):
            assert open_tags.pop() == tag

    Reader().feed(page)
    assert not open_tags and counts["th"] == len(COLUMNS) and counts["td"] == 3 * len(COLUMNS)
    assert "&lt;Gaussians&gt;" in page and "<Gaussians>" not in page


def test_a_row_of_another_judge_is_pointed_out(shipped):
    assert "earlier judge" not in str(leaderboard())
    shipped("old", Noise(NoiseConfig()), metrics(5.0), judge=JUDGE)
    assert "measured by an earlier judge, not comparable: old" in str(leaderboard())
    assert "earlier judge" in leaderboard()._repr_html_()


def test_asking_for_what_is_no_generator_is_one_clear_line(shipped):
    with pytest.raises(ValueError, match="'judge' was not measured as a generator"):
        leaderboard("judge")
    with pytest.raises(checkpoint.CheckpointError, match="did you mean 'noise'"):
        leaderboard("noisy")


def test_an_empty_leaderboard_prints(tmp_path, monkeypatch):
    monkeypatch.setattr(checkpoint, "FOLDER", tmp_path)
    assert str(leaderboard()).startswith("generator") and "<table" in leaderboard()._repr_html_()


def test_shipped_generators_between_floor_and_ceiling():
    table = leaderboard()
    names = [r["name"] for r in table.rows]
    assert {"training_digits", "class_gaussians", "gaussian_mixture", "noise"} <= set(names)
    assert names[0] == "training_digits" and names[-1] == "noise"
    assert "earlier judge" not in str(table), "run make checkpoints for the rows named above"
    for row in table.rows:
        assert row["metrics"]["n"] == 1000 and row["metrics"]["frechet_error"] > 0


@pytest.fixture(scope="module")
def real():
    return judge_features(load("digits").test.x)


@pytest.mark.parametrize("name", [row["name"] for row in leaderboard().rows])
def test_a_small_sample_agrees_with_what_the_file_claims(name, real):
    """100 images in place of 1,000, from other noise, by the numbers whose mean does not depend on their number."""
    claimed, model = checkpoint.metadata(name)["metrics"], checkpoint.load(name)
    labels = [torch.arange(100) % 10] if "control" in claimed else []
    images = model.sample(100, *labels, generator=seeded(1))
    seen = judge_features(images)
    assert kernel_distance(seen, real) == pytest.approx(claimed["kernel"], rel=0.02, abs=0.35)
    assert precision_recall(real, seen)[0] == pytest.approx(claimed["precision"], abs=0.14)
    if labels:
        assert control_accuracy(None, images, *labels) == pytest.approx(claimed["control"], abs=0.12)


def test_shipped_gaussians_can_be_asked_for_a_digit():
    model = checkpoint.load("class_gaussians")
    x = model.sample(3, torch.tensor([1, 2, 3]))
    assert x.shape == (3, 1, 28, 28)
    assert leaderboard("class_gaussians").rows[0]["metrics"]["control"] > 0.6
