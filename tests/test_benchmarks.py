"""What `make bench` compares with what. The measurements themselves take most of an hour and are no tests."""

import importlib.util
import sys
from pathlib import Path

import pytest
import torch

from course_lib.device import seeded

BENCHMARKS = Path(__file__).resolve().parents[1] / "benchmarks"
sys.path.append(str(BENCHMARKS))                # they import `tables`, as when they are run


def imported(name: str):
    spec = importlib.util.spec_from_file_location(f"benchmarks_{name}", BENCHMARKS / f"{name}.py")
    module = sys.modules[spec.name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def bench():
    return imported("run")


@pytest.fixture(scope="module")
def images():
    module = imported("images")
    module.x, module.y = module.x[:500], module.y[:500]         # enough for a few steps
    return module


@pytest.mark.parametrize("value, sign, must, aim, verdict", [
    (4.9, "<=", 5, 3, "must"), (5, "<=", 5, 3, "must"), (3, "<=", 5, 3, "aim"), (5.1, "<=", 5, 3, "**missed**"),
    (1.3, ">=", 1.3, 1.7, "must"), (1.8, ">=", 1.3, 1.7, "aim"), (1.2, ">=", 1.3, 1.7, "**missed**"),
    (float("nan"), "<=", 5, 3, "not measured"), (float("nan"), ">=", 5, 3, "not measured")])
def test_a_verdict_says_which_limit_was_kept(bench, value, sign, must, aim, verdict):
    assert bench.verdict(value, sign, must, aim) == verdict


def test_the_table_of_targets_takes_each_number_from_its_row(bench, images, capsys, monkeypatch):
    monkeypatch.setattr(bench, "bfloat16_is_fast", lambda: True)
    monkeypatch.setattr(bench, "import_seconds", lambda: 0.05)
    monkeypatch.setattr(bench, "grading_seconds", lambda: 7.0)
    judged = {name: {"frechet": 10.0 + i} for i, name in enumerate(images.OURS)}
    speed = {("4 training steps of a GPT, 32 x 128 tokens", "textbook, AdamW, fp32"): 1.5,
             ("writing 112 bytes, cached, batch 1", "transformers' GPT-2"): 4.5}
    bench.targets(speed, {"ours": 1.9}, judged, 4)
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in capsys.readouterr().out.splitlines()
            if line.startswith("|")][2:]
    found = {what: (measured, verdict) for what, _, _, measured, verdict in rows}
    assert len(found) == len(rows) == 12                                      # no row hides another
    names = list(images.OURS)
    for what, name in [("digits, 60 s: flow with labels, guided", "flow with labels, guidance 2"),
                       ("... GAN with labels", "GAN with labels"),
                       ("... no labels, autoguidance", "flow, autoguidance 2")]:
        assert found[what] == (f"{10 + names.index(name)}", "**missed**"), what
    assert found["GPT, speed of training, textbook = 1"] == ("1.5", "must")
    assert found["cached writing, transformers = 1"] == ("4.5", "aim")
    assert found["... eight texts"] == ("nan", "not measured")
    assert found["grading, s per submission and core"] == ("7", "must")
    assert found["... GAN, seeds of 5 with all ten digits"] == ("4", "**missed**")


@pytest.mark.parametrize("name", ["flow", "flow, autoguidance 2", "flow with labels, guidance 2",
                                  "flow with clusters, guidance 2", "DDPM (v)", "GAN", "GAN with labels", "VAE",
                                  "VAE, 20 Gaussians as prior", "textbook DCGAN", "textbook VAE"])
def test_a_contender_is_trained_and_drawn_from(images, name):
    model = (images.OURS | images.PEERS)[name](10)
    labels = (images.ASKED[:3],) if "with labels" in name else ()
    drawn = model.sample(3, *labels, generator=seeded(0))
    assert drawn.shape == (3, 1, 28, 28) and 0 <= drawn.min() and drawn.max() <= 1
    assert torch.equal(drawn, model.sample(3, *labels, generator=seeded(0))) or "clusters" in name    # draws on


def test_the_weak_network_is_the_average_of_a_twelfth_of_the_steps(images, monkeypatch):
    """After 2 of 24 steps the moving average holds both: its decay at the second is 2 / 11, see `fit`."""
    states, original = [], images.in_a_minute.__globals__["pipeline_loss"]

    def watched(model, *batch):
        states.append(model.network.middle.conv1.weight.detach().clone())
        return original(model, *batch)

    monkeypatch.setitem(images.in_a_minute.__globals__, "pipeline_loss", watched)
    model = images.flow_away_from_its_beginning(24)
    weak = model.weak.middle.conv1.weight
    assert model.config.weak and model.config.guidance == 2.0 and len(states) == 24
    assert torch.allclose(weak, states[1].lerp(states[2], 1 - 2 / 11), atol=1e-6)
    assert (model.network.middle.conv1.weight - weak).abs().max() > 1e-3


def test_the_digits_that_each_seed_of_the_gan_draws_are_counted(images, capsys):
    assert images.seeds_of_the_gan(steps=10, n=2) in (0, 1, 2)
    rows = [line for line in capsys.readouterr().out.splitlines() if line.startswith(("| 0 |", "| 1 |"))]
    assert len(rows) == 2 and all("(digit " in row for row in rows)


def test_the_check_of_a_gpu_runs_and_keeps_its_table_between_its_marks(monkeypatch, tmp_path, capsys):
    monkeypatch.setenv("COURSE_PROFILE", "cpu")
    monkeypatch.setenv("COURSE_DEVICE", "cpu")
    gpu = imported("gpu")
    monkeypatch.setattr(gpu.sys, "argv", ["gpu.py"])
    gpu.main()
    assert capsys.readouterr().out.startswith("There is no GPU here")
    monkeypatch.setattr(gpu, "contracts", lambda: "5 passed")
    monkeypatch.setattr(gpu.torch.nn.Module, "compile", lambda self: None)      # needs a compiler of C++
    lines = gpu.measure()
    table = [line for line in lines if line.startswith("|")]
    assert len(table) == 9 and all(line.count("|") == 4 for line in table) and "5 passed" in lines[2]
    page = tmp_path / "README.md"
    page.write_text(f"before\n{gpu.BEGIN}\nold\n{gpu.END}\nafter\n")
    gpu.keep(lines, page)
    gpu.keep(["new"], page)
    assert page.read_text() == f"before\n{gpu.BEGIN}\nnew\n{gpu.END}\nafter\n"


@pytest.mark.parametrize("name", ["ours", "diffusers"])
def test_a_text_to_image_model_is_trained_and_read(name, monkeypatch):
    if name == "diffusers":
        pytest.importorskip("diffusers")
    faces = imported("faces")
    few = type(faces.faces.train)(*(part[:64] for part in faces.faces.train))
    monkeypatch.setattr(faces, "faces", faces.faces._replace(train=few))
    scores = faces.obeyed(getattr(faces, name)(2), faces.faces.test_seen, 4)
    assert 0 <= scores["whole caption"] <= scores["mean"] <= 1 and scores["drawn/s"] > 0


def test_instruction_tuning_beside_a_peer_learns_the_same_rows():
    chat = imported("chat")
    steps = chat.our_tuning()
    first = steps()
    assert steps() < first
    if chat.rows():
        assert chat.tuning(chat.theirs, chat.adamw, chat.their_loss)() > 0
