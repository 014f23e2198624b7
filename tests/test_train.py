"""The loop against a loop written out by hand, against closed forms, and under every kind of interruption."""

import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from course_lib.data import Batches
from course_lib.device import seed, seeded
from course_lib.muon import Muon, muon
from course_lib.train import History, fit, learning_rate


def squared_error(model, x, y):
    error = (model(x) - y).pow(2)
    return {"loss": error.mean(), "largest": error.max()}


def problem():
    x = torch.randn(64, 3, generator=seeded(1))
    return x, x @ torch.tensor([[1.0], [-2.0], [0.5]]) + 3


def small_model():
    """With dropout and running statistics, so that randomness and buffers matter."""
    seed(0)
    return nn.Sequential(nn.Linear(3, 8), nn.BatchNorm1d(8), nn.Dropout(0.2), nn.Linear(8, 1))


def weights(model):
    return torch.cat([v.float().flatten() for v in model.state_dict().values()])


def train_by_hand(model, loader, steps, lr, weight_decay, clip, ema=None):
    optimizer, losses = torch.optim.AdamW(model.parameters(), lr=lr, weight_decay=weight_decay), []
    average = None
    while True:
        for batch in loader:
            loss = squared_error(model, *batch)["loss"]
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), clip)
            optimizer.step()
            losses.append(loss.item())
            now = [p.detach().clone() for p in model.parameters()]
            if average is None:
                average = now
            elif ema:
                n = len(losses) - 1
                d = min(ema, (1 + n) / (10 + n))
                average = [d * a + (1 - d) * p for a, p in zip(average, now)]
            if len(losses) == steps:
                return losses, average


def test_it_takes_the_steps_that_a_hand_written_loop_takes():
    x, y = problem()
    mine, theirs = small_model(), small_model()
    seed(5)
    history = fit(mine, squared_error, Batches(x, y, batch_size=16), steps=10, lr=0.01, weight_decay=0.1, clip=0.5)
    seed(5)
    losses, _ = train_by_hand(theirs, Batches(x, y, batch_size=16), 10, 0.01, 0.1, 0.5)
    assert history["loss"] == losses and len(history["largest"]) == len(history) == 10
    assert torch.equal(weights(mine), weights(theirs))
    assert not mine.training


def test_with_ema_the_model_ends_as_the_moving_average():
    x, y = problem()
    mine, theirs = small_model(), small_model()
    seed(5)
    fit(mine, squared_error, Batches(x, y, batch_size=16), steps=30, lr=0.01, ema=0.6)
    seed(5)
    _, average = train_by_hand(theirs, Batches(x, y, batch_size=16), 30, 0.01, 0.0, 1.0, ema=0.6)
    for a, b in zip(mine.parameters(), average):
        torch.testing.assert_close(a.detach(), b)
    for a, b in zip(mine.buffers(), theirs.buffers()):             # running statistics are copied, not averaged
        assert torch.equal(a, b)


def test_the_learning_rate_rises_stays_and_falls():
    rates = [learning_rate(i, 100, peak=2.0, warmup=3, decay=0.5) for i in range(100)]
    assert rates[:4] == [0.5, 1.0, 1.5, 2.0]
    assert rates[4:51] == [2.0] * 47
    assert rates[75] == pytest.approx(1.0) and rates[99] == pytest.approx(0.04)
    assert [learning_rate(i, 5, 1.0) for i in range(5)] == [1.0] * 5


def test_the_schedule_reaches_the_optimiser():
    """Plain gradient descent would move by lr; AdamW's first steps move a constant-gradient weight by exactly lr."""
    model = nn.Linear(1, 1, bias=False)
    nn.init.constant_(model.weight, 5.0)
    seen = []
    fit(model, lambda m, x: (seen.append(m.weight.item()), {"loss": m.weight.sum()})[1], [(torch.zeros(1),)], 6, lr=0.1,
        warmup=1, decay=0.5, clip=None)
    moves = [a - b for a, b in zip(seen, seen[1:] + [model.weight.item()])]
    assert moves == pytest.approx([0.05, 0.1, 0.1, 0.1, 0.1 * 2 / 3, 0.1 / 3], abs=1e-5)


SETTINGS = dict(steps=25, lr=0.01, ema=0.9, warmup=3, decay=0.3, eval_every=6, save_every=4, progress=False)


def evaluate(model):
    return {"test": model(problem()[0]).mean().item()}


class Stop(KeyboardInterrupt):
    pass


def stopping(loss_fn, at):
    calls = []

    def wrapped(model, *batch):
        calls.append(1)
        if len(calls) == at:
            raise Stop
        return loss_fn(model, *batch)
    return wrapped


def loaders():
    x, y = problem()
    shared = TensorDataset(x, y)
    return {"batches": lambda: Batches(x, y, batch_size=10),
            "dataloader": lambda: DataLoader(shared, batch_size=10, shuffle=True),
            "dataloader with a generator": lambda: DataLoader(shared, batch_size=10, shuffle=True, generator=seeded(7))}


@pytest.mark.parametrize("kind", loaders())
@pytest.mark.parametrize("at", [1, 7, 13, 25])
def test_an_interrupted_run_ends_with_the_same_bits(kind, at, tmp_path, capsys):
    whole = small_model()
    seed(5)
    expected = fit(whole, squared_error, loaders()[kind](), evaluate=evaluate, **SETTINGS)
    part, path = small_model(), tmp_path / "runs" / "a.safetensors"
    seed(5)
    with pytest.raises(KeyboardInterrupt):
        fit(part, stopping(squared_error, at), loaders()[kind](), evaluate=evaluate, resume=path, **SETTINGS)
    assert f"it goes on from step {(at - 1) // 4 * 4}" in capsys.readouterr().out
    again = nn.Sequential(nn.Linear(3, 8), nn.BatchNorm1d(8), nn.Dropout(0.2), nn.Linear(8, 1))     # a new process
    if at <= 4:                                   # nothing was saved yet: it starts again, from the same model
        again.load_state_dict(small_model().state_dict())
    seed(5 if at <= 4 else 99)
    history = fit(again, squared_error, loaders()[kind](), evaluate=evaluate, resume=path, **SETTINGS)
    assert torch.equal(weights(again), weights(whole))
    assert history.terms == expected.terms and history.evals == expected.evals
    assert history.eval_steps == expected.eval_steps == [6, 12, 18, 24, 25]
    assert not path.exists()


def two_optimizers(model):
    """Muon for the matrices in `blocks`, AdamW for the rest: two optimisers, three groups, two kinds of state."""
    return muon(model, lr=0.02, adam_lr=0.01)


class TwoParts(nn.Module):
    def __init__(self):
        super().__init__()
        seed(0)
        self.blocks = nn.ModuleList([nn.Linear(3, 8), nn.Linear(8, 8)])
        self.head = nn.Linear(8, 1)

    def forward(self, x):
        for layer in self.blocks:
            x = layer(x).relu()
        return self.head(x)


def test_a_given_optimiser_takes_the_steps_with_the_rates_of_its_groups_scaled():
    x, y = problem()
    mine, theirs = TwoParts(), TwoParts()
    seed(5)
    fit(mine, squared_error, Batches(x, y, batch_size=16), steps=6, decay=1.0, clip=None, optimizer=two_optimizers)
    optimizers = [Muon([p for p in theirs.blocks.parameters() if p.ndim == 2], lr=0.02, weight_decay=0.1),
                  torch.optim.AdamW([p for n, p in theirs.named_parameters() if p.ndim == 1 or "head" in n], lr=0.01,
                                    betas=(0.9, 0.95), weight_decay=0.0)]
    seed(5)
    batches = [batch for _ in range(2) for batch in Batches(x, y, batch_size=16)]
    for step, batch in enumerate(batches[:6]):
        theirs.zero_grad()
        squared_error(theirs, *batch)["loss"].backward()
        for optimizer, rate in zip(optimizers, (0.02, 0.01)):
            optimizer.param_groups[0]["lr"] = rate * (6 - step) / 6
            optimizer.step()
    torch.testing.assert_close(weights(mine), weights(theirs))


@pytest.mark.parametrize("at", [7, 13])
def test_an_interrupted_run_with_two_optimisers_ends_with_the_same_bits(at, tmp_path):
    settings = dict(steps=20, warmup=3, decay=0.5, save_every=4, progress=False, optimizer=two_optimizers)
    whole, part, again, path = TwoParts(), TwoParts(), TwoParts(), tmp_path / "run.safetensors"
    seed(5)
    fit(whole, squared_error, Batches(*problem(), batch_size=10), **settings)
    seed(5)
    with pytest.raises(KeyboardInterrupt):
        fit(part, stopping(squared_error, at), Batches(*problem(), batch_size=10), resume=path, **settings)
    seed(99)
    fit(again, squared_error, Batches(*problem(), batch_size=10), resume=path, **settings)
    assert torch.equal(weights(again), weights(whole))


def test_a_killed_process_goes_on_where_it_stopped(tmp_path):
    script = textwrap.dedent("""
        import os, sys, torch
        sys.path.insert(0, sys.argv[1])
        import test_train as t
        from safetensors.torch import save_file
        from course_lib.device import seed
        kill_at, n = int(sys.argv[3]), 0
        def loss(model, *batch):
            global n; n += 1
            if n == kill_at: os.kill(os.getpid(), 9)
            return t.squared_error(model, *batch)
        model = t.small_model(); seed(5)
        t.fit(model, loss, t.loaders()["batches"](), resume=sys.argv[2], **t.SETTINGS)
        save_file({"weights": t.weights(model)}, sys.argv[4])
    """)
    for kill in (11, 0):
        args = [Path(__file__).parent, tmp_path / "run.safetensors", kill, tmp_path / "out"]
        done = subprocess.run([sys.executable, "-c", script, *map(str, args)])
        assert done.returncode == (-9 if kill else 0)
    whole = small_model()
    seed(5)
    fit(whole, squared_error, loaders()["batches"](), **SETTINGS)
    assert torch.equal(weights(whole), load_file(tmp_path / "out")["weights"])


def test_evaluation_leaves_no_trace_in_the_training():
    runs = []
    for every in (None, 2):
        model = small_model()
        seed(5)
        fit(model, squared_error, Batches(*problem(), batch_size=16), steps=9, eval_every=every,
            evaluate=lambda m: {"noise": torch.rand(()).item(), "training": float(m.training)})
        runs.append(weights(model))
    assert torch.equal(*runs)


@pytest.mark.parametrize("ema", [None, 0.9])
def test_a_loss_that_is_no_number_stops_the_run_and_names_step_and_term(ema):
    model, calls = small_model(), []

    def loss_fn(m, x, y):
        calls.append(1)
        terms = squared_error(m, x, y)
        return {"loss": terms["loss"], "kl": terms["loss"] * (float("nan") if len(calls) == 4 else 1)}

    with pytest.raises(FloatingPointError, match=r"^step 4 of 10: the term 'kl' is nan\. Lower lr=0\.001"):
        fit(model, loss_fn, Batches(*problem()), steps=10, ema=ema)
    assert weights(model).isfinite().all()


@pytest.mark.parametrize("wrong, words", [
    (dict(decay=60), "decay=60"), (dict(save_every=0), "save_every=0"), (dict(loader=[]), "gave no batch")])
def test_settings_that_make_no_sense_are_refused(wrong, words):
    with pytest.raises(ValueError, match=words):
        fit(small_model(), squared_error, **dict(loader=Batches(*problem()), steps=3) | wrong)


def test_a_saved_state_of_something_else_is_refused_in_one_line(tmp_path):
    path = tmp_path / "run.safetensors"
    data = Batches(*problem(), batch_size=16)

    def interrupted(model, **settings):
        with pytest.raises(KeyboardInterrupt):
            fit(model, stopping(squared_error, 8), data, steps=10, save_every=3, resume=path, **settings)

    interrupted(small_model())
    with pytest.raises(ValueError, match=r"other settings \{'lr': \[0.001\]\}"):
        fit(small_model(), squared_error, data, steps=10, lr=0.5, resume=path)
    with pytest.raises(ValueError, match="belongs to another model"):
        fit(nn.Linear(3, 1), squared_error, data, steps=10, resume=path)
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(ValueError, match="not the saved state of a run"):
        fit(small_model(), squared_error, data, steps=10, resume=path)


def test_the_progress_bar_shows_the_loss_and_can_be_silenced(capsys, monkeypatch):
    monkeypatch.delenv("TQDM_DISABLE", raising=False)
    fit(small_model(), lambda *a: (time.sleep(0.15), squared_error(*a))[1], Batches(*problem()), 3, label="a small net")
    shown = capsys.readouterr().err
    assert "a small net" in shown and "loss" in shown
    fit(small_model(), squared_error, Batches(*problem()), steps=3, progress=False)
    monkeypatch.setenv("TQDM_DISABLE", "1")
    assert capsys.readouterr().err == ""


def test_a_bar_leaves_no_dead_widget_in_a_notebook_and_says_where_it_was_cut_short(monkeypatch):
    """A page that is saved and opened again would read "Error displaying widget: model not found" for each bar."""
    nbclient, nbformat = pytest.importorskip("nbclient"), pytest.importorskip("nbformat").v4
    monkeypatch.setenv("TQDM_DISABLE", "0")
    cells = [f"""from course_lib.train import progress_bar
bar = progress_bar(3, "a small net")
bar.update({n})
bar.close()""" for n in (3, 2)]
    page = nbformat.new_notebook(cells=[nbformat.new_code_cell(cell) for cell in cells])
    nbclient.NotebookClient(page, timeout=60).execute()
    (finished,), (cut,) = (cell.outputs for cell in page.cells)
    assert finished.data == {} and [*cut.data] == ["text/plain"] and "a small net:  67%" in cut.data["text/plain"]


def test_a_history_plots_itself_and_knows_its_terms():
    history = fit(small_model(), squared_error, Batches(*problem()), steps=4, eval_every=2, evaluate=evaluate)
    ax = history.plot()
    assert [line.get_label() for line in ax.lines] == ["loss", "largest", "test"]
    assert list(ax.lines[2].get_xdata()) == [2, 4] and list(ax.lines[0].get_ydata()) == pytest.approx(history["loss"])
    with pytest.raises(KeyError, match="choose one of"):
        history["accuracy"]
    with pytest.raises(ValueError, match="nothing to draw"):
        History().plot()


@pytest.mark.parametrize("asked, fast, bf16", [(True, True, True), (True, False, False), (False, True, False),
                                               (None, True, False)])
def test_bfloat16_is_used_where_it_is_asked_for_and_fast(monkeypatch, asked, fast, bf16):
    """Where the processor does not multiply it, a training in bfloat16 is right and takes many times as long."""
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_bf16": fast})
    seen = []

    def loss_fn(model, x, y):
        seen.append(model[0](x).dtype)
        return squared_error(model, x, y)

    fit(small_model(), loss_fn, Batches(*problem(), batch_size=32), steps=2, autocast=asked, progress=False)
    assert seen == [torch.bfloat16 if bf16 else torch.float32] * 2
