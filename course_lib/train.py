"""One training loop for the whole course:  `history = fit(model, loss_fn, loader, steps=500)`.

`loss_fn(model, *batch)` returns a dict of tensors. Its `"loss"` is minimised; every entry is recorded. The loop knows
no model and no data set, and a model knows no loop.
"""

import json
import math
import os
import time
from collections.abc import Callable, Iterable
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import safetensors
import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel
from torch.utils.data import Dataset
from tqdm.auto import tqdm

from course_lib.device import bfloat16_is_fast, device_of, evaluating
from course_lib.expect import above, between, finite, whole


@dataclass
class History:
    """What happened in training: `history["loss"]` has one number per step; `history.plot()` draws it."""

    terms: dict[str, list[float]] = field(default_factory=dict)    # name -> one value per step
    evals: dict[str, list[float]] = field(default_factory=dict)    # name -> one value per evaluation
    eval_steps: list[int] = field(default_factory=list)            # after how many steps each evaluation was made
    seconds: float = 0.0                                           # time spent in `fit`, evaluations included

    def __getitem__(self, name: str) -> list[float]:
        if name not in self.terms and name not in self.evals:
            raise KeyError(f"{name!r} was not recorded: choose one of {[*self.terms, *self.evals]}")
        return self.terms[name] if name in self.terms else self.evals[name]

    def __len__(self) -> int:
        return len(next(iter(self.terms.values()), []))

    def add(self, rows: list[dict[str, Tensor]], steps: int, remedy: str) -> None:
        """Append the terms of some steps in a row; one wait for the device for all of them.

        Raises FloatingPointError, which ends in `remedy`, for a term that is not finite: step and term are named."""
        for terms in rows:
            known = [*self.terms] or [*rows[0]]
            if [*terms] != known or any(isinstance(v, Tensor) and v.numel() != 1 for v in terms.values()):
                raise ValueError(f"the loss returned {_shapes(terms)}: each term is one number, and each step has the "
                                 f"terms {known}")
        at = next((v.device for terms in rows for v in terms.values() if isinstance(v, Tensor)), None)
        values = [torch.as_tensor(v, device=at).detach().float().reshape(()) for terms in rows for v in terms.values()]
        for row in torch.stack(values).view(len(rows), -1).tolist() if rows else ():
            terms = dict(zip(rows[0], row))
            for name, value in terms.items():
                if not math.isfinite(value):
                    raise FloatingPointError(f"step {len(self) + 1} of {steps}: the term {name!r} is {value}. {remedy}")
            for name, value in terms.items():
                self.terms.setdefault(name, []).append(value)

    def evaluate(self, step: int, measure: Callable[[nn.Module], dict[str, float]], model: nn.Module) -> None:
        """Record `measure(model)`, in eval mode, after so many steps. It leaves no trace in the training: the random
        numbers go on as if nothing had happened.  Raises ValueError for a name that is one of the loss's terms."""
        rng = _rng()
        try:
            with torch.no_grad(), evaluating(model):
                values = measure(model)
        finally:
            _set_rng(rng)
        if not isinstance(values, dict):
            raise ValueError(f"evaluate must return a dict of numbers by name, got {type(values).__name__}")
        self.eval_steps.append(step)
        for name, value in values.items():
            if name in self.terms:
                raise ValueError(f"the loss records {name!r} already: let evaluate call it 'test {name}'")
            try:
                self.evals.setdefault(name, []).append(float(value))
            except (TypeError, ValueError, RuntimeError):
                raise ValueError(f"evaluate must return numbers, and {name!r} is {type(value).__name__}") from None

    def plot(self, *names: str, ax=None):
        """Draw the named terms (all of them, if none is named) over the steps; returns the matplotlib axes."""
        from course_lib.plots import curves  # training itself needs no matplotlib

        lines = {}
        for name in names or [*self.terms, *self.evals]:
            values = self[name]
            lines[name] = (range(1, len(values) + 1), values) if name in self.terms else (self.eval_steps, values)
        return curves(lines, ax=ax)


def learning_rate(step: int, steps: int, peak: float, warmup: int = 0, decay: float = 0.0) -> float:
    """The rate of step 0 ... steps-1: a linear rise over `warmup` steps, then `peak`, then over the last fraction
    `decay` of all steps a linear fall that would reach 0 at step `steps`."""
    rise = min(1.0, (step + 1) / (warmup + 1))
    fall = min(1.0, (steps - step) / (decay * steps)) if decay > 0 else 1.0
    return peak * min(rise, fall)


def fit(model: nn.Module, loss_fn: Callable[..., dict[str, Tensor]], loader: Iterable, steps: int, *,
        lr: float = 1e-3, betas: tuple[float, float] = (0.9, 0.999), weight_decay: float = 0.0,
        warmup: int = 0, decay: float = 0.0, clip: float | None = 1.0, ema: float | None = None,
        evaluate: Callable[[nn.Module], dict[str, float]] | None = None, eval_every: int | None = None,
        optimizer: Callable[[nn.Module], torch.optim.Optimizer] | None = None, autocast: bool | None = None,
        resume: str | Path | None = None, save_every: int = 200,
        progress: bool = True, label: str = "") -> History:
    """Train `model` in place with AdamW (Loshchilov & Hutter, 2019) for `steps` batches of `loader`.

    loader      any re-iterable of batches, as often as needed; tensors are moved to the model's device
    warmup      steps over which the learning rate rises;  decay  fraction of the steps over which it falls to zero
    clip        largest norm of the gradient, or None
    ema         decay of an exponential moving average of the weights. The average is what `evaluate` sees and what
                `model` holds at the end. The decay grows to `ema`, so that the random start is forgotten quickly.
    evaluate    called as `evaluate(model)` in eval mode every `eval_every` steps and at the end
    optimizer   called as `optimizer(model)`; what it returns is used in place of AdamW (`lr`, `betas`, `weight_decay`
                then mean nothing). `warmup` and `decay` scale the rate that each of its groups has.
    autocast    bfloat16 where it is safe and the device is fast at it (`device.bfloat16_is_fast`), float32 elsewhere;
                None means on CUDA only, so that CPU numbers can be compared
    resume      a file that keeps the state of the run. When `fit` is interrupted, call it again in the same way with
                this file: it goes on where it stopped and ends with the same bits. The file is removed at the end.

    Raises ValueError for impossible settings and FloatingPointError, naming the step and the term, when a loss is no
    longer finite.
    """
    check_settings(steps, lr, betas, decay, ema, evaluate, eval_every, autocast, model)
    whole(1, save_every=save_every)
    whole(0, warmup=warmup)
    finite(0, weight_decay=weight_decay)
    if clip is not None:
        above(0, clip=clip)
    check_functions(loss_fn=loss_fn, optimizer=optimizer)
    device = device_of(model)
    if optimizer is None:
        optimizer = torch.optim.AdamW(model.parameters(), lr=lr, betas=betas, weight_decay=weight_decay)
    else:
        optimizer = optimizer(model)
    peaks = [group["lr"] for group in optimizer.param_groups]
    finite(0, **{f"lr of group {i} of the optimizer": peak for i, peak in enumerate(peaks)})
    average = AveragedModel(model, multi_avg_fn=_ema_update(ema)) if ema else None    # buffers are copied, not averaged
    history = History()
    precision = partial(torch.autocast, device.type, torch.bfloat16, enabled=uses_bfloat16(autocast, device))
    settings = dict(optimizer=[type(o).__name__ for o in getattr(optimizer, "optimizers", [optimizer])], steps=steps,
                    lr=peaks, warmup=warmup, decay=decay, clip=clip, ema=ema, bfloat16=uses_bfloat16(autocast, device))
    settings |= {f"{name} of group {i}": value for i, group in enumerate(optimizer.param_groups)
                 for name, value in group.items() if name not in ("params", "lr")}
    settings = json.loads(json.dumps(settings, default=str))                          # as a file keeps them
    done, place = _load_state(resume, settings, model, average, optimizer, history, device)
    batches = Endless(loader, place)
    if place:
        _set_rng(place["rng"])                     # as it was after the last finished step
    unread: list[dict[str, Tensor]] = []           # terms of recent steps, still on the device
    start, before, saved = time.perf_counter(), history.seconds, done
    bar = progress_bar(steps, label or "training", progress, done)
    remedy = f"Lower lr={peaks[0]:g}, clip the gradient, or look for a log(0) or a division by 0 in the loss"

    def read_terms() -> None:
        history.add(unread, steps, remedy)
        unread.clear()
        history.seconds = before + time.perf_counter() - start

    try:
        model.train()
        while done < steps:
            for group, peak in zip(optimizer.param_groups, peaks):
                group["lr"] = learning_rate(done, steps, peak, warmup, decay)
            batch = [t.to(device) for t in next(batches)]
            with precision(), explained(batch):
                terms = loss_fn(model, *batch)
            cost = check_cost(terms, "loss")
            optimizer.zero_grad(set_to_none=True)
            cost.backward()
            if clip is not None:
                nn.utils.clip_grad_norm_(model.parameters(), clip)
            unread.append(terms)
            done += 1
            if device.type == "cpu" or done % 20 == 0 or done == steps:
                read_terms()                       # raises before a broken gradient reaches the weights (on CPU)
                bar.set_postfix_str(f"loss {history['loss'][-1]:.4g}", refresh=False)
            optimizer.step()
            if average is not None:
                average.update_parameters(model)
            bar.update()
            if evaluate and (done == steps or (eval_every and done % eval_every == 0)):
                read_terms()
                history.evaluate(done, evaluate, model if average is None else average.module)
            if resume and done < steps and done % save_every == 0:
                read_terms()
                _save_state(resume, settings, done, batches, model, average, optimizer, history)
                saved = done
    except KeyboardInterrupt:
        if resume:
            print(f"\ninterrupted at step {done} of {steps}: call fit again with resume={str(resume)!r}, "
                  f"and it goes on from step {saved}")
        raise
    finally:
        bar.close()
    if average is not None:
        model.load_state_dict(average.module.state_dict())
    model.eval()
    if resume:
        Path(resume).unlink(missing_ok=True)
    return history


def check_settings(steps: int, lr: float, betas: tuple[float, float], decay: float, ema: float | None, evaluate,
                   eval_every: int | None, autocast: bool | None, *models: nn.Module) -> None:
    """Raise ValueError for what no training can be told, of what `fit` and `fit_gan` share."""
    whole(1, steps=steps)
    above(0, lr=lr)
    between(0, 1, decay=decay)
    if len(betas) != 2 or not all(0 <= beta < 1 for beta in betas):
        raise ValueError(f"betas={betas} must be two numbers from 0 to 1, and below 1")
    if ema is not None and not 0 < ema < 1:
        raise ValueError(f"ema={ema} must lie between 0 and 1, for example 0.995")
    check_functions(evaluate=evaluate)
    if eval_every is not None:
        whole(1, eval_every=eval_every)
    if autocast not in (None, True, False):
        raise ValueError(f"autocast={autocast} must be True, False or None")
    for model in models:
        if not isinstance(model, nn.Module) or not any(p.requires_grad for p in model.parameters()):
            raise ValueError(f"{type(model).__name__} has 0 parameters that can be trained")


def check_cost(terms: dict[str, Tensor], name: str) -> Tensor:
    """The term that is to be made small: one number that depends on the weights, or ValueError."""
    cost = terms.get(name) if isinstance(terms, dict) else None
    if not isinstance(cost, Tensor) or cost.numel() != 1 or not cost.requires_grad:
        raise ValueError(f"the loss is {_shapes(terms)}: it must be a dict with a {name!r}, one number that depends "
                         f"on the weights")
    return cost


def check_functions(**functions) -> None:
    """Raise ValueError for what is neither a function nor None."""
    for name, f in functions.items():
        if f is not None and not callable(f):
            raise ValueError(f"{name}={type(f).__name__} must be a function")


def _shapes(terms) -> str:
    """What a loss function returned, in a few words."""
    if not isinstance(terms, dict):
        return f"{type(terms).__name__}"
    return str({k: tuple(v.shape) if isinstance(v, Tensor) else v for k, v in terms.items()})


@contextmanager
def explained(batch: list[Tensor]):
    """Where batch norm meets a batch of one, say what to do."""
    try:
        yield
    except ValueError as e:
        if "more than 1 value per channel" not in str(e):
            raise
        raise ValueError(f"batch norm learns nothing from a batch of {len(batch[0])}: use larger batches, and leave "
                         f"out a last one that is smaller (drop_last=True)") from None


def uses_bfloat16(autocast: bool | None, device: torch.device) -> bool:
    """Whether a training with this `autocast` (see `fit`) multiplies in bfloat16 on this device."""
    return (device.type == "cuda" if autocast is None else autocast) and bfloat16_is_fast(device)


def progress_bar(steps: int, label: str, progress: bool = True, done: int = 0) -> tqdm:
    """A bar that disappears at the end; none where `progress` or the environment variable TQDM_DISABLE says so."""
    quiet = not progress or os.environ.get("TQDM_DISABLE", "0") not in ("", "0")   # tqdm's notebook bar ignores it
    return _Bar(total=steps, initial=done, desc=label, leave=False, disable=quiet)


class _Bar(tqdm):
    """tqdm's bar, which in a notebook leaves a dead widget in the cell: whoever saves the page and opens it again reads
    "Error displaying widget: model not found". This one leaves nothing, or a line that says where it was cut short."""

    place = None                                   # where it stands in the page of a notebook

    def __init__(self, **settings):
        if settings["disable"] or all(c.__module__ != "tqdm.notebook" for c in tqdm.__mro__):
            super().__init__(**settings)
            return
        from IPython.display import display  # it is there where tqdm has chosen its notebook bar

        super().__init__(**settings, display=False)
        self.place = display(self.container, display_id=True)

    def close(self) -> None:
        super().close()
        if self.place is not None:
            self.place.update({} if self.n >= self.total else {"text/plain": str(self)}, raw=True)
            self.place = None


def _ema_update(ema: float):
    """average += (1 - decay) (weights - average), with a decay that grows to `ema`, as TensorFlow's does."""
    @torch.no_grad()
    def update(averages: list[Tensor], weights: list[Tensor], n: Tensor) -> None:
        decay = min(ema, (1 + float(n)) / (10 + float(n)))
        torch._foreach_lerp_(averages, weights, 1 - decay)
    return update


class Endless:
    """Batches without end, and the place in them as plain data, so that a run can go on from the same batch.

    A batch is a tensor or a tuple of tensors; a list of tensors comes out."""

    def __init__(self, loader: Iterable, place: dict | None = None):
        if isinstance(loader, (Tensor, Dataset)) or not hasattr(loader, "__iter__"):
            raise ValueError(f"a {type(loader).__name__} gives no batches: wrap it in Batches or a DataLoader")
        self.loader, self.count, self.start, self.batches, self.sizes = loader, 0, None, None, None
        if place:
            _set_rng(place["start"], getattr(loader, "generator", None))
            self._begin()
            for _ in range(place["count"]):        # draw the batches of this epoch again, up to the saved place
                next(self)
            if (self.count, self.sizes) != (place["count"], place["sizes"]):
                raise ValueError(f"batch {place['count']} of an epoch had the shapes {place['sizes']} in the saved "
                                 f"run, here batch {self.count} has {self.sizes}: use its loader, or delete its file")

    def _begin(self) -> None:
        self.start = _rng(getattr(self.loader, "generator", None))
        self.batches, self.count = iter(self.loader), 0

    def __next__(self) -> list[Tensor]:
        if self.batches is None:
            self._begin()
        batch = next(self.batches, None)
        if batch is None:
            given = self.count
            self._begin()
            batch = next(self.batches, None)
            if batch is None:
                raise ValueError(f"the loader gave {given} batches and then no more: a generator can be read once only"
                                 if given else "the loader gave no batch: its data set is empty, or smaller than one "
                                 "batch, or it is a generator that was read before")
        self.count += 1
        batch = [batch] if isinstance(batch, Tensor) else batch
        if not isinstance(batch, (tuple, list)) or not batch or not all(isinstance(t, Tensor) for t in batch):
            raise ValueError(f"batch {self.count} is no tensor and no tuple of tensors: got {type(batch).__name__}")
        self.sizes = [list(t.shape) for t in batch]
        return list(batch)


def _rng(generator: torch.Generator | None = None) -> dict[str, Tensor]:
    """The state of every random generator that training draws from."""
    state = {"cpu": torch.get_rng_state()}
    if torch.cuda.is_available():
        state |= {f"cuda{i}": s for i, s in enumerate(torch.cuda.get_rng_state_all())}
    if torch.backends.mps.is_available():
        state["mps"] = torch.mps.get_rng_state()
    if generator is not None:
        state["loader"] = generator.get_state()
    return state


def _set_rng(state: dict[str, Tensor], generator: torch.Generator | None = None) -> None:
    for name, s in state.items():
        if name == "cpu":
            torch.set_rng_state(s)
        elif name == "mps":
            torch.mps.set_rng_state(s)
        elif name == "loader":
            if generator is not None:
                generator.set_state(s)
        else:
            torch.cuda.set_rng_state(s, int(name.removeprefix("cuda")))


def _save_state(path, settings, done, batches: Endless, model, average, optimizer, history) -> None:
    """Everything that a run needs to go on, as safetensors: nothing in the file can execute when it is read."""
    tensors = {f"model/{k}": v for k, v in model.state_dict().items()}
    if average is not None:
        tensors |= {f"average/{k}": v for k, v in average.state_dict().items()}
    for i, state in optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer/{i}/{k}": torch.as_tensor(v) for k, v in state.items() if v is not None}
    tensors |= {f"start/{k}": v for k, v in batches.start.items()} | {f"rng/{k}": v for k, v in _rng().items()}
    info = dict(settings=settings, done=done, count=batches.count, sizes=batches.sizes, terms=history.terms,
                evals=history.evals, eval_steps=history.eval_steps, seconds=history.seconds)
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    save_file({k: v.detach().cpu().contiguous().clone() for k, v in tensors.items()}, part, {"run": json.dumps(info)})
    os.replace(part, path)                         # the old state stays whole until the new one is


def _load_state(path, settings, model, average, optimizer, history, device) -> tuple[int, dict | None]:
    if path is None or not Path(path).exists():
        return 0, None
    try:
        with safetensors.safe_open(path, "pt") as f:
            info = json.loads(f.metadata()["run"])
            groups: dict[str, dict] = {}
            for key in f.keys():
                kind, rest = key.split("/", 1)
                groups.setdefault(kind, {})[rest] = f.get_tensor(key)
    except (OSError, safetensors.SafetensorError, KeyError, TypeError, ValueError) as e:
        raise ValueError(f"{path} is not the saved state of a run ({e}): delete it to start again") from None
    if info["settings"] != settings:
        other = {k: v for k, v in (settings | info["settings"]).items() if settings.get(k, ...) != v}
        raise ValueError(f"{path} belongs to a run with other settings {str(other)[:200]}: use those, or delete it")
    try:
        model.load_state_dict(groups["model"])
        if average is not None:
            average.load_state_dict(groups["average"])
        state: dict[int, dict] = {}
        for key, value in groups.get("optimizer", {}).items():
            i, name = key.split("/")
            state.setdefault(int(i), {})[name] = value
        optimizer.load_state_dict(optimizer.state_dict() | {"state": state})
    except (RuntimeError, KeyError, ValueError) as e:
        reason = str(e).splitlines()[0]
        raise ValueError(f"{path} belongs to another model ({reason}): delete it to start again") from None
    history.terms, history.evals, history.eval_steps = info["terms"], info["evals"], info["eval_steps"]
    history.seconds = info["seconds"]
    return info["done"], {"count": info["count"], "sizes": info.get("sizes"), "start": groups["start"],
                          "rng": groups["rng"]}
