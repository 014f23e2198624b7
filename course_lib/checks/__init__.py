"""What the test cells of the exercises call. A check prints `ok: name`, or it raises `Mistake` with one sentence about
the learner's error; `hint()` then helps in three steps. A check is made of the typical errors themselves: each is a row
with a sentence and the wrong formulas it names, and what the learner's function returns is compared with what each of
them gives on the same fresh inputs. Nothing ever looks at source text.

A recipe for authors, for lesson NN (a task costs about 45 lines here and 20 in the tests):

1. In course_lib/checks/name.py (the name of the lesson without its number) write for each task one of
       attention = Implementation(
           "attention",                                                        # as the learner calls it
           right=_attend,                                                      # def _attend(q, k, v, scale=None): ...
           cases=lambda g: [(rand(g, 1, 2), ...), (rand(g, 3, 4), ...)],       # the first tiny; odd sizes, 1 and 3
           slips=[("you divide the scores by D, and its square root is right", dict(scale=1)),
                  ("a sentence", dict(axis=0), dict(axis=1), lambda q, k, v: ...),      # several ways to one mistake
                  ("right where scores are small, and wrong where ...", {3, 4}, "Where does exp overflow?")],
           hints=("where to look, in words", "how it is done, in words", "the code"),
           gradient=("q", "k"),                            # what it must be differentiable in: arguments, models
           returns=("loss", "accuracy"))                   # the names of its values, if it returns several
       largest_eta = Measurement("largest_eta", truth=_eta, tolerance=0.05, slips=[...], hints=(...))
   In a row a dict turns knobs of the reference (`right`, or what `knobs(**dict)` makes), a callable is a whole wrong
   formula, a number is a wrong measurement, a set holds the only cases that fail, and a second string takes the place
   of the first hint. Where the sentence has {}, a tuple holds what stands there, and its ways. If the function changes
   its arguments, `run=lambda fn, *case: {"words": value}` calls it and returns what shall be compared;
   `trained` does so for one that trains a model.
2. At most twelve rows, from the special to the general; test_checks.py demands that each is told from all others. Say
   what the learner did and what is right, in their words, and nothing that is only perhaps true. Without any row are
   told: a crash, an argument changed in place, own random numbers, where nan comes from, a gradient that does not come
   back, values or axes in another order, a sum or mean that is missing or too much, a mean in place of a sum, a factor,
   an offset, a sign, a root, a square, exp and log, a share in percent.
3. In authoring/exercises/NN_name.py a cell tagged solution:ID, below it one tagged test:ID:POINTS that calls the check.
   Hidden tests there use plain torch, no check, and accept what the check accepts. A cell tagged manual:ID:POINTS ends
   with **Rubric.** and sentences `1 point: ...`. `make exercises NB=NN` builds; work through it as a student.
4. In tests/wrong_answers/NN_name.py write two right answers a task, in two different ways, and a wrong one only where
   no formula can state it. The slips themselves, and your reference with one operation changed (tests/mutants.py), run
   as wrong answers without your help: an accepted mutant is a hole in your cases, or one for the list of equivalents.
   `python tests/margins.py 100 TASK` shows whether a mistake is seen in every draw. Plant a bug in tests/teeth.py.
"""

import contextlib
import copy
import ctypes
import functools
import inspect
import io
import itertools
import linecache
import math
import random
import re
import signal
import sys
import sysconfig
import textwrap
import threading
import traceback
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import NamedTuple

import torch
from torch import Tensor, nn

SECONDS = 10.0                                 # a learner's function may take this long for one case
PRINTED = 2_000                                # characters that a learner's function may print in one check
GRADIENT = "gradient with respect to "
NOT_WRITTEN = "is not written yet: put your answer in place of `raise NotImplementedError()`"


HELP = {                                       # the first step of help for what goes wrong in any task
    "not written": "Read the task once more: what comes in, and what shall come out, in which shape? Write a first "
                   "line that may be wrong: the check will say what is.",
    "slow": "Print a counter inside the loop: does it ever end? If so, one operation on a whole tensor takes the place "
            "of a loop over its numbers.",
    "call": "The first line of the function stands in the task: it is called with these arguments, in this order.",
    "crash": "Print the shape and the type of everything in the line that is named, just before it. The first thing "
             "that is not what you expect leads to the mistake.",
    "type": "Print what your function returns, and compare it with what the task asks for: a tensor, a number, or "
            "several of them, and in which order?",
    "shape": "Print the shape after each line of your function: where does it cease to be what you expect? Which axis "
             "has gone, or is still there?",
    "gradient": "Which line turns a tensor into a Python number, a NumPy array or a tensor without history? From there "
                "no gradient comes back. Stay with operations on tensors.",
    "noise": "All randomness that is needed comes in through the arguments. Which line draws numbers, or drops some?",
    "in place": "Assigning to a part of a tensor, += and methods whose name ends in _ write into the tensor itself: "
                "another may need it as it was, the caller or the gradient. Make a copy first, or write the operation "
                "so that it gives a new tensor.",
}


class Mistake(AssertionError):
    """One sentence about a learner's error, and perhaps a first step of help of its own. A notebook shows the sentence
    and no traceback."""

    def __init__(self, sentence: str, first: str = ""):
        super().__init__(" ".join(sentence.split()))
        self.hints: tuple[str, ...] = (first,) if first else ()

    def is_again(self, other: "Mistake | None") -> bool:
        """Numbers differ from draw to draw."""
        return other is not None and re.sub(r"[-\d.]+", "", f"{self}") == re.sub(r"[-\d.]+", "", f"{other}")

    def _render_traceback_(self) -> list[str]:     # IPython asks for it
        return [wrapped(f"Mistake: {self}")]


class Slip(NamedTuple):
    """A typical error: what it computes (several formulas, if it can be made in several ways), the sentence that names
    it, and a first hint of its own. `only` holds sets of cases, if failing in just those is enough to know it."""

    formulas: tuple[Callable, ...]
    sentence: str
    hint: str = ""
    only: tuple[set[int], ...] = ()


def slips_of(rows: Iterable, knobs: Callable[..., Callable]) -> list[Slip]:
    """Rows as in the recipe at the top of the file. One with {} in its sentence gives a slip for each of its ways."""
    def formula(way) -> Callable:
        return knobs(**way) if isinstance(way, dict) else way if callable(way) else lambda *given: float(way)

    slips = []
    for row in rows:
        words, only = [part for part in row if isinstance(part, str)], [part for part in row if isinstance(part, set)]
        ways = [part for part in row if not isinstance(part, str | set)]
        if "{}" in words[0]:
            slips += [Slip(tuple(map(formula, own)), words[0].replace("{}", which), *words[1:]) for which, *own in ways]
        else:
            slips.append(Slip(tuple(map(formula, ways)), *words, only=tuple(only)))
    return slips


_last: Mistake | None = None
_right = ""                                    # the name of the check, where the last one found nothing wrong
_shown = 0                                     # how many steps of help it has had


def hint() -> None:
    """Print the next step of help for the last mistake that a check has found: where to look, then how, then code."""
    global _shown
    if _right:
        print(f"The last check, {_right}, found nothing wrong: go on.")
    elif _last is None:
        print("No check has found a mistake yet. Run the check below your answer first.")
    elif _shown >= len(_last.hints):
        print("There is no further hint for this mistake: compare your code with the last one, line by line.")
    else:
        _shown += 1
        print(wrapped(f"Hint {_shown} of {len(_last.hints)}. {_last.hints[_shown - 1]}"))


def wrapped(text: str) -> str:
    """JupyterLab would break long lines in the middle of a word."""
    return "\n".join(textwrap.fill(line, 96, break_long_words=False, break_on_hyphens=False)
                     for line in text.split("\n"))


# --- running what a learner wrote -----------------------------------------------------------------------------------

class TooSlow(BaseException):                      # no Exception: `except Exception` must not stop it
    pass


@contextlib.contextmanager
def time_limit(seconds: float):
    """Raise TooSlow in the block when it takes longer: by an alarm where the system has one, which interrupts a sleep
    too; else (Windows, other threads) by a thread that can only interrupt between two steps of Python. It is raised
    again every tenth of a second, because a bare `except:` in a loop would swallow it. While something is imported (the
    first optimiser makes PyTorch import a thousand modules) the clock starts anew: half a module would stay broken."""
    active = True
    if hasattr(signal, "setitimer") and threading.current_thread() is threading.main_thread():
        def ring(_, frame):
            if importing(frame):
                signal.setitimer(signal.ITIMER_REAL, seconds, 0.1)
            elif active:
                raise TooSlow

        before = signal.signal(signal.SIGALRM, ring)
        signal.setitimer(signal.ITIMER_REAL, seconds, 0.1)
        try:
            yield
        finally:
            active = False
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, before)
        return

    def watch():
        wait = seconds
        while not done.wait(wait):
            if importing(sys._current_frames()[caller]):
                wait = seconds
            else:
                ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(caller), ctypes.py_object(TooSlow))
                wait = 0.1

    caller, done = threading.get_ident(), threading.Event()
    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield
    finally:
        while True:
            with contextlib.suppress(TooSlow):
                done.set()
                watcher.join()
                for _ in range(9):                 # one that is on its way arrives here. To take it back would leave
                    pass                           # a mark in Python 3.11, which then hangs under a profiler
                break


def importing(frame: FrameType | None) -> bool:
    while frame and not frame.f_code.co_filename.startswith("<frozen importlib"):
        frame = frame.f_back
    return frame is not None


class _Output(io.TextIOBase):
    """What a learner's function prints, up to a limit."""

    def __init__(self):
        self.text = ""

    def write(self, text: str) -> int:
        self.text += text[:max(0, PRINTED - len(self.text))]
        return len(text)


_output = _Output()


def call(name: str, fn: Callable, *args):
    """fn(*args), or a Mistake that says in one sentence how it failed. What it prints, warnings included, is kept for
    the end of the check, on stdout."""
    if not callable(fn):
        raise Mistake(f"{name} must be a function, and it is {kind(fn)}: keep the line `def {name}(...):`",
                      HELP["call"])
    first = HELP["crash"]
    try:
        with contextlib.redirect_stdout(_output), contextlib.redirect_stderr(_output), time_limit(SECONDS):
            result = fn(*args)
    except TooSlow as e:
        sentence, first = (f"{name} was stopped after {SECONDS:g} s{place(e)}, where a small part of a second should "
                           "do: does one of its loops never end?"), HELP["slow"]
    except NotImplementedError as e:
        if not str(e):
            raise Mistake(f"{name} {NOT_WRITTEN}", HELP["not written"]) from None
        sentence = f"{name} stopped with {said(e)}{place(e)}"
    except TypeError as e:
        if not place(e) and "argument" in str(e):                                      # it was never entered
            sentence, first = (f"{name} cannot be called as the task says ({said(e)}): keep its first line as it was",
                               HELP["call"])
        else:
            sentence = f"{name} stopped with {said(e)}{place(e)}{given(args)}"
    except (Mistake, KeyboardInterrupt):
        raise
    except BaseException as e:                     # SystemExit too: the kernel must live on
        sentence = f"{name} stopped with {said(e)}{place(e)}{given(args)}"
    else:
        if result is None:
            raise Mistake(f"{name} returns nothing (None)" + (": it prints a result, and must `return` it" if
                          _output.text else ": does it end with a `return`?"), HELP["type"])
        if result is ... or result is NotImplemented:
            raise Mistake(f"{name} {NOT_WRITTEN}", HELP["not written"])
        return result
    raise Mistake(sentence, first)


def said(error: BaseException) -> str:
    try:
        text = (str(error).strip().splitlines() or [""])[0][:200]
    except BaseException:                          # an exception of the learner's own with a broken __str__
        text = ""
    return f"{type(error).__name__}" + (f" ({text})" if text else "")


OURS = tuple(str(Path(p).resolve()) for p in (Path(__file__).parents[1], *(
    sysconfig.get_paths()[key] for key in ("stdlib", "platstdlib", "purelib", "platlib"))))


def place(error: BaseException) -> str:
    """The last line of the learner's own code that an error passed, as ", in line 3, `x = 1 / 0`"."""
    frames = [f for f in traceback.extract_tb(error.__traceback__)
              if not (f.filename.startswith((*OURS, "<frozen")) or str(Path(f.filename).resolve()).startswith(OURS))]
    if not frames:
        return ""
    line = linecache.getline(frames[-1].filename, frames[-1].lineno).strip() or frames[-1].line
    return f", in line {frames[-1].lineno}" + (f", `{line}`" if line else "")


def given(args: tuple) -> str:
    shapes = [str(tuple(a.shape)) for a in args if isinstance(a, Tensor)]
    return f", for inputs of shape {' and '.join(shapes)}" if shapes else ""


# --- looking at what it returned ------------------------------------------------------------------------------------

def kind(value) -> str:
    """A value in the words of a learner."""
    module = type(value).__module__.split(".")[0]
    if isinstance(value, Tensor):
        return f"a tensor of shape {tuple(value.shape)}"
    if isinstance(value, bool | int | float):
        return f"the Python number {value!r:.30}"
    if module == "numpy":
        return "a NumPy array" if getattr(value, "shape", ()) else "a NumPy number"
    if isinstance(value, tuple | list | dict):
        return f"a {type(value).__name__} of {len(value)}"
    return "nothing (None)" if value is None else f"an object of type {type(value).__name__}"


def conform(name: str, got, want, label: str = "") -> dict[str, Tensor]:
    """The tensors in `got` by label, when it is built like `want`; else a Mistake. Shapes and values are not compared.
    A number stands for a tensor with one value, where a single value is wanted."""
    what = f"the {label} that {name} returns" if label else f"what {name} returns"
    if isinstance(want, dict):
        if not isinstance(got, dict):
            raise Mistake(f"{what} is {kind(got)}, and a dict with {', '.join(map(repr, want))} is asked for",
                          HELP["type"])
        if missing := [key for key in want if key not in got]:
            raise Mistake(f"{what} has no entry {missing[0]!r}: it needs {', '.join(map(repr, want))}",
                          HELP["type"])
        return {k: v for key in want for k, v in conform(name, got[key], want[key], f"entry {key!r}").items()}
    if isinstance(want, tuple | list):
        if not isinstance(got, tuple | list) or len(got) != len(want):
            raise Mistake(f"{what} is {kind(got)}, and a {type(want).__name__} of {len(want)} is asked for",
                          HELP["type"])
        return {k: v for i, (g, w) in enumerate(zip(got, want), start=1)
                for k, v in conform(name, g, w, f"{label and label + ', '}value {i}").items()}
    single = not isinstance(want, Tensor) or want.dim() == 0
    if not isinstance(got, Tensor):
        if single and (isinstance(got, bool | int | float) or kind(got) == "a NumPy number"):
            return {label: torch.tensor(float(got), dtype=torch.float64)}
        remedy = {"numpy": "stay with torch functions, so that gradients and devices work"}.get(
            type(got).__module__.split(".")[0], "return a tensor")
        if isinstance(got, tuple | list):
            remedy = "torch.stack makes one tensor of several, torch.tensor one of numbers"
        raise Mistake(f"{what} is {kind(got)}, and a tensor is asked for: {remedy}", HELP["type"])
    if type(got) is not Tensor:                    # a class of one's own can lie about what is in it
        with torch._C.DisableTorchFunctionSubclass():
            got = got.as_subclass(Tensor)
    device = want.device if isinstance(want, Tensor) else torch.device("cpu")
    if got.device.type != device.type:
        raise Mistake(f"{what} is on the device {got.device.type!r}, and the inputs are on {device.type!r}: "
                      "make new tensors with device=x.device", HELP["type"])
    if got.is_complex():
        raise Mistake(f"{what} has complex numbers", HELP["type"])
    got = got.to_dense() if got.layout != torch.strided else got
    return {label: got.reshape(()) if not isinstance(want, Tensor) and got.numel() == 1 else got}


def close(a: Tensor, b: Tensor, rtol: float, atol: float) -> bool:
    return a.shape == b.shape and torch.allclose(a.detach().double(), b.detach().double(), rtol, atol, equal_nan=True)


# --- checks ---------------------------------------------------------------------------------------------------------

def rand(generator: torch.Generator, *shape: int, dtype=torch.float32) -> Tensor:
    """Standard normal numbers for a case."""
    return torch.randn(shape, generator=generator, dtype=dtype)


def _report(name: str, hints: tuple[str, ...], work: Callable[[], None]) -> None:
    """Run a check, show what the learner's code printed, and end with `ok: name` or one Mistake. The learner's random
    numbers afterwards are what they were."""
    global _last, _right, _shown
    _output.text, found = "", None
    try:
        with torch.random.fork_rng(devices=[]):
            work()
    except Mistake as mistake:
        found = mistake.with_traceback(None)
    except Exception as e:                         # a value so odd that the checker itself stumbled
        found = Mistake(f"the check of {name} cannot make sense of your answer ({type(e).__name__}): compare what it "
                        "returns with what the task asks for", HELP["type"])
    if _output.text:
        print(_output.text, end="" if _output.text.endswith("\n") else "\n")
        if len(_output.text) >= PRINTED:
            print("[and so on]")
    if found:
        found.hints = (found.hints or hints[:1]) + hints[1:]
        _shown = _shown if found.is_again(_last) else 0
        _last, _right = found, ""
        raise found from None
    _last, _right = None, name
    print(f"ok: {name}")


def filled(model: nn.Module, generator: torch.Generator, scale: float = 1.0) -> nn.Module:
    """A model of a case: its parameters are normal numbers."""
    with torch.no_grad():
        for p in model.parameters():
            p.copy_(scale * rand(generator, *p.shape))
    return model


def flat(tensors: Iterable[Tensor]) -> Tensor:
    """All their numbers in one vector."""
    return torch.cat([t.detach().flatten() for t in tensors])


def by_example(value: Tensor, x: Tensor) -> Tensor:
    """A number for each example, ready to be multiplied with x.  (B,), (B, ...) -> (B, 1, ...)"""
    return value.view(-1, *[1] * (x.ndim - 1))


def trained(fn: Callable, model: nn.Module, *case) -> dict:
    """The `run` of a function that trains a model and returns the loss of each step."""
    losses = fn(model, *case)
    if getattr(losses, "ndim", 0) == 1:                           # an array or a tensor is as good as a list
        losses = list(losses)
    return {"list of losses": losses, "vector of parameters after the last step": flat(model.parameters())}


class Outcome(dict):
    """Tensors by label, the gradients among them; beside them what the function returned, in named values, and which of
    its arguments it has changed."""

    def __init__(self, tensors: dict[str, Tensor], like: dict, changed: set[str]):
        super().__init__(tensors)
        self.like, self.changed = like, changed


def tensors_in(value) -> list[Tensor]:
    if isinstance(value, Tensor):
        return [value.detach()]
    parts = (value.parameters() if isinstance(value, nn.Module) else value.values() if isinstance(value, dict) else
             value if isinstance(value, list | tuple) else ())
    return [t for part in parts for t in tensors_in(part)]


@dataclass
class Implementation:
    """The check of a function that a learner writes. See the recipe at the top of the file."""

    name: str
    right: Callable
    cases: Callable[[torch.Generator], list[tuple]]
    slips: list = field(default_factory=list)      # rows
    hints: tuple[str, ...] = ()                    # where to look, how, code
    gradient: tuple[str, ...] = ()                 # names of arguments; of a model its parameters are meant
    returns: tuple[str, ...] = ()                  # names of the values, if there are several
    run: Callable[..., dict] | None = None         # run(fn, *case), where fn(*case) will not do
    knobs: Callable[..., Callable] | None = None   # knobs(**dict) is the formula of a row; else `right` takes the dict
    rtol: float = 1e-4
    atol: float = 1e-5

    def __post_init__(self):
        self.rows = self.slips
        self.slips = slips_of(self.rows, self.knobs or functools.partial(functools.partial, self.right))
        self.arguments = list(inspect.signature(self.right).parameters)

    def __call__(self, fn: Callable) -> None:
        _report(self.name, self.hints, lambda: self.compare(fn))

    def compare(self, fn: Callable) -> None:
        cases = self.cases(torch.Generator().manual_seed(random.SystemRandom().getrandbits(63)))
        wanted, noise = zip(*[(self.outcome(self.right, case), _drawn()) for case in cases])
        got, failed, own_noise = [], None, False
        for case, want in zip(cases, wanted):
            try:
                got.append(self.outcome(fn, case, want))
                own_noise |= _drawn() and not any(noise)
            except Mistake as mistake:             # one case fails: perhaps another says why
                if not got and (str(mistake).endswith(NOT_WRITTEN) or "was stopped after" in str(mistake)):
                    raise
                got.append(None)
                failed = failed or mistake
                if "was stopped after" in str(mistake):
                    break
        values = [(g, w) for g, w in zip(got, wanted) if g is not None]
        right = not failed and all(self.same(g, w) for g, w in values)
        changed = [name for name in self.arguments if any(name in g.changed - w.changed for g, w in values)]
        if right and not changed:
            return
        if own_noise and any(not self.same(self.outcome(fn, case, want, seed=1), g)   # a layer may be made, then filled
                             for case, want, g in zip(cases, wanted, got) if g is not None):
            raise Mistake(f"{self.name} draws random numbers of its own: what it returns must depend on its arguments "
                          "alone", HELP["noise"])
        for slip in self.slips * (bool(values) and not right):
            if self.explains(slip, cases, wanted, got):
                raise Mistake(slip.sentence, slip.hint)
        if failed:                                 # it says where, and is to be repaired first
            raise failed
        if changed:
            raise self.in_place(changed[0])
        if any(all(close(g[a], w[b], self.rtol, self.atol) for g, w in values for a, b in zip(order, self.returns))
               for order in itertools.permutations(self.returns) if order != self.returns):
            raise Mistake(f"{self.name} returns the right values in the wrong order: return {', '.join(self.returns)}",
                          HELP["type"])
        raise self.difference(cases, got, wanted)

    def outcome(self, fn: Callable, case: tuple, want: Outcome | None = None, seed: int = 0) -> Outcome:
        """What fn makes of a case, by label, and the gradients, where they are asked for. With `want`, the outcome of
        the right function, it is built like that one or a Mistake is raised. All draw the same random numbers."""
        args, leaves, changed = list(copy.deepcopy(case)), {}, set()
        for name, i in ((name, self.arguments.index(name)) for name in self.gradient):
            if isinstance(args[i].requires_grad_(), nn.Module):
                leaves[f"{GRADIENT}the parameters of {name}"] = list(args[i].parameters())
            else:
                leaves[GRADIENT + name] = [args[i]]
                args[i] = args[i].clone()          # a leaf cannot change in place

        def learner(*given):
            before = [[t.clone() for t in tensors_in(value)] for value in given]
            result = call(self.name, fn, *given)
            for name, old, new in zip(self.arguments, before, map(tensors_in, given)):
                if len(old) != len(new) or not all(close(a, b, 0, 0) for a, b in zip(old, new)):
                    changed.add(name)
            return result

        torch.default_generator.manual_seed(seed)
        result = self.run(learner, *args) if self.run else self.named(learner(*args))
        like = want.like if want else result
        tensors = {k: v for key in like for k, v in conform(self.name, result[key], like[key], key).items()}
        if leaves and (differentiable := [t for t in tensors.values() if t.requires_grad]):
            try:
                tensors |= self.gradients(differentiable, leaves)
            except Mistake as mistake:             # a graph does not survive a change in place
                if changed:
                    raise self.in_place(min(changed)) from None
                if not want or all(close(t, want[key], self.rtol, self.atol) for key, t in tensors.items()):
                    raise mistake from None        # where the value is wrong as well, that comes first
        elif leaves and want:                      # a constant needs no graph
            tensors |= {key: t for key, t in want.items() if key.startswith(GRADIENT) and not t.any()}
        return Outcome(tensors, like, changed)

    def in_place(self, argument: str) -> Mistake:
        return Mistake(f"{self.name} changes its argument {argument} in place, which belongs to whoever calls it: work "
                       "on a copy", HELP["in place"])

    def named(self, result) -> dict:
        if self.returns and (not isinstance(result, tuple | list) or len(result) != len(self.returns)):
            raise Mistake(f"{self.name} returns {kind(result)}: return {', '.join(self.returns)}, in this order",
                          HELP["type"])
        return dict(zip(self.returns, result)) if self.returns else {"": result}

    def gradients(self, tensors: list[Tensor], leaves: dict[str, list[Tensor]]) -> dict[str, Tensor]:
        """Of a sum with fixed random weights, so that a gradient in the wrong place is seen."""
        draw = torch.Generator().manual_seed(1)
        total = sum((t.double() * rand(draw, *t.shape, dtype=torch.float64)).sum() for t in tensors)
        try:
            found = iter(torch.autograd.grad(total, sum(leaves.values(), []), allow_unused=True))
        except Exception as e:
            if "modified by an inplace operation" in str(e):
                raise Mistake(f"the result of {self.name} cannot be differentiated: it changes a tensor in place that "
                              "its gradient still needs. torch.where, masked_fill and multiplying by a mask give a new "
                              "one", HELP["in place"]) from None
            raise Mistake(f"the result of {self.name} cannot be differentiated: {said(e)}", HELP["gradient"]) from None
        found = {name: [torch.zeros_like(leaf) if (g := next(found)) is None else g for leaf in own]
                 for name, own in leaves.items()}
        return {name: own[0] if len(own) == 1 else flat(own) for name, own in found.items()}

    def same(self, got: Outcome, want: Outcome) -> bool:
        return all(key in got and close(got[key], want[key], self.rtol, self.atol) for key in want)

    def explains(self, slip: Slip, cases: list, wanted: list, got: list) -> bool:
        """Does it give what the learner's function gave, in every case, and not what is right?"""
        failed = {i for i, (g, w) in enumerate(zip(got, wanted)) if g is None or not self.same(g, w)}
        return failed in slip.only or any(self.equals(formula, cases, wanted, got) for formula in slip.formulas)

    def equals(self, formula: Callable, cases: list, wanted: list, got: list) -> bool:
        different = False
        for case, want, g in zip(cases, wanted, got):
            try:
                wrong = self.outcome(formula, case, want)
            except Exception:
                wrong = None
            if g is None or wrong is None:         # where the learner's function stopped, so must the formula
                if (g is None) != (wrong is None):
                    return False
                continue
            keys = [key for key in wrong if key in g]
            if g.keys() - wrong.keys() or not all(close(wrong[key], g[key], self.rtol, self.atol) for key in keys):
                return False
            different |= not all(close(g[key], want[key], self.rtol, self.atol) for key in keys)
            different |= len(wrong) < len(want)                                       # it loses a gradient
        return different

    def difference(self, cases: list, got: list, wanted: list) -> Mistake:
        """The general sentence: the first thing that is not as it should be, with its input."""
        case, g, want = next((c, g, w) for c, g, w in zip(cases, got, wanted) if not self.same(g, w))
        key = next(key for key in want if key not in g or not close(g[key], want[key], self.rtol, self.atol))
        what = f"the {key} of {self.name}" if key else f"the result of {self.name}"
        if key not in g:
            return Mistake(f"{self.name} has the right value but cannot be differentiated: .item(), .detach(), "
                           "float(), torch.tensor(...), NumPy or torch.no_grad() cut its graph", HELP["gradient"])
        if key.startswith(GRADIENT) and not g[key].any():
            return Mistake(f"the values of {self.name} are right, but no gradient reaches "
                           f"{key.removeprefix(GRADIENT)}: a detach(), .data or torch.no_grad() cuts its way",
                           HELP["gradient"])
        inputs = f"for {shown(dict(zip(self.arguments, case)))}"
        like = self.resemblance([(c, g[key].detach().double(), w[key].detach().double())
                                 for c, g, w in zip(cases, got, wanted) if key in g])
        g, w = g[key].detach(), want[key].detach()
        if g.shape != w.shape:
            return Mistake(f"{what} has shape {tuple(g.shape)}, and {tuple(w.shape)} is asked for{like}, {inputs}",
                           HELP["shape"])
        bad = ~torch.isclose(g.double(), w.double(), self.rtol, self.atol, equal_nan=True)
        at = tuple(bad.nonzero()[0].tolist())
        where = f" at {list(at)}" if at else ""
        odd = " (is it rounded? its dtype is " + str(g.dtype).removeprefix("torch.") + ")" if (
            w.dtype.is_floating_point and not g.dtype.is_floating_point) else ""
        if g[at].isnan():
            odd = " (nan comes from 0 / 0, 0 * inf, inf - inf, or the root or logarithm of a negative number)"
        return Mistake(f"{what} should be {w[at].item():.4g}{where} and is {g[at].item():.4g}{odd}{like}, {inputs}")

    def resemblance(self, found: list[tuple[tuple, Tensor, Tensor]]) -> str:
        """What wrong results have in common with the right ones in all cases, so that no slip needs to be written for
        it; found are (case, got, want)."""
        def alike(a: Tensor, b: Tensor) -> bool:
            return close(a, b, self.rtol, self.atol)

        found = [(case, g, w) for case, g, w in found if not alike(g, w)]
        if sum(w.numel() for _, _, w in found) < 3:
            return ""
        for words, change in FAMILIES:
            with contextlib.suppress(RuntimeError, IndexError):
                if all(any(alike(a, b) for a, b in change(g, w)) for _, g, w in found):
                    return f" ({words})"
        if any(g.shape != w.shape for _, g, w in found):
            return ""
        off = torch.cat([(g - w).flatten() for _, g, w in found])
        if off.isfinite().all() and alike(off, off[:1].expand_as(off)) and off[0].abs() > 10 * self.atol:
            return f" (all of it is {off[0].abs():.4g} too {'large' if off[0] > 0 else 'small'})"
        factors = [(g * w).sum() / w.square().sum() for _, g, w in found]
        if not all(f.isfinite() and f != 0 and alike(g, f * w) for f, (_, g, w) in zip(factors, found)):
            return ""
        factor = torch.stack(factors)
        if alike(factor, factor[:1].expand_as(factor)):
            unit = {1 / math.log(2): ": in bits, and not in nats?", math.log(2): ": in nats, and not in bits?"}
            return (f" (all of it is {factor[0].item():.4g} times what it should be"
                    f"{next((words for f, words in unit.items() if abs(factor[0] / f - 1) < 1e-3), '')})")
        for i, name in enumerate(self.arguments):
            sizes = [case[i].shape if i < len(case) and isinstance(case[i], Tensor) else () for case, _, _ in found]
            for axis in range(min(map(len, sizes))):
                n = torch.tensor([size[axis] for size in sizes], dtype=torch.float64)
                for verb, swap, right in (("divided", "mean in place of a sum", 1 / n),
                                          ("multiplied", "sum in place of a mean", n)):
                    if alike(factor, right):
                        return f" (all of it is {verb} by the size of axis {axis} of {name}: a {swap}?)"
        if all(w.numel() == 1 for _, _, w in found):                   # any number is a multiple of any other
            return ""
        return f" (all of it is {factor[0].item():.4g} times what it should be, and another factor in other cases)"


FAMILIES: list[tuple[str, Callable[[Tensor, Tensor], Iterable[tuple[Tensor, Tensor]]]]] = [
    # words, and pairs (a, b) made of what came and what is right, of which one must be equal in every case
    ("its numbers are right, and its axes are in another order", lambda g, w: (
        (g.permute(order), w) for order in itertools.permutations(range(g.dim())) if g.dim() in (2, 3, 4))),
    ("its numbers are right: reshape it", lambda g, w: [(g.reshape(w.shape), w)]),
    *((f"it is right once it is {done} over its axis {d}", lambda g, w, d=d, f=f: [(f(g, d), w)])
      for d in range(4) for done, f in (("added up", torch.sum), ("averaged", torch.mean))),
    *((f"it is right once it is {done} over all axes but the first", lambda g, w, f=f: [(f(g.flatten(1), 1), w)])
      for done, f in (("added up", torch.sum), ("averaged", torch.mean))),
    *((f"it is right once it is {done} over all axes", lambda g, w, f=f: [(f(g), w)] if g.dim() else [])
      for done, f in (("added up", torch.sum), ("averaged", torch.mean))),
    *((f"it is the {name} of the numbers that are asked for: leave them apart",
       lambda g, w, f=f: [(g, f(w)), *((g, f(w, d)) for d in range(w.dim()))] if w.dim() else [])
      for name, f in (("sum", torch.sum), ("mean", torch.mean))),
    ("it is the root of what it should be", lambda g, w: [(g, w.sqrt())]),
    ("it is the square of what it should be", lambda g, w: [(g, w.square())]),
    ("it is exp of what it should be", lambda g, w: [(g, w.exp())]),
    ("it is the logarithm of what it should be", lambda g, w: [(g, w.log())]),
    ("it is 1 divided by what it should be", lambda g, w: [(g, 1 / w)]),
    ("it is 1 minus what it should be", lambda g, w: [(g, 1 - w)]),
    ("it is the absolute value of what it should be", lambda g, w: [(g, w.abs())]),
    *((f"its order along axis {d} is reversed", lambda g, w, d=d: [(g, w.flip(d))]) for d in range(4)),
]


EULER_SLIPS = [                                # rows for a walk in small steps whose reference has these three knobs
    ("a step moves by the velocity / steps: {}", ("yours moves by all of it", dict(move=lambda v, n: v)),
     ("yours moves against it", dict(move=lambda v, n: -v / n))),
    ("the velocity is taken at the start of each step, so t is 0, 1 / steps, 2 / steps, ...: {}",
     ("yours is taken at its end", dict(clock=lambda i, n: (i + 1) / n)),
     ("yours is taken at its middle", dict(clock=lambda i, n: (i + 0.5) / n)),
     ("your last step begins at 1 already", dict(clock=lambda i, n: i / max(1, n - 1))),
     ("your clock stands still", dict(clock=lambda i, n: 0.0)),
     ("yours goes from 1 to 0", dict(clock=lambda i, n: 1 - i / n), dict(clock=lambda i, n: (n - 1 - i) / n)),
     ("yours counts steps", dict(clock=lambda i, n: float(i)))),
    ("`steps` steps lead to t = 1: {}", ("you make one too few", dict(count=lambda n: n - 1)),
     ("you make one too many", dict(count=lambda n: n + 1)), ("you make only one", dict(count=lambda n: 1))),
]


def _drawn() -> bool:
    """Has anything drawn from PyTorch's generator since `outcome` has seeded it?"""
    return not torch.equal(torch.default_generator.get_state(), torch.Generator().manual_seed(0).get_state())


@dataclass
class Measurement:
    """The check of a number that a learner has measured: check(answer, *given), with truth(*given) to compare with."""

    name: str
    truth: Callable[..., float]
    tolerance: float                               # relative
    slips: list = field(default_factory=list)      # rows
    hints: tuple[str, ...] = ()                    # where to look, how, code

    def __post_init__(self):
        self.rows = self.slips
        self.slips = slips_of(self.rows, functools.partial(functools.partial, self.truth))

    def __call__(self, answer, *given) -> None:
        _report(self.name, self.hints, lambda: self.compare(answer, *given))

    def compare(self, answer, *given) -> None:
        value, true = number(self.name, answer), float(self.truth(*given))

        def near(x: float) -> bool:
            return abs(value - x) <= self.tolerance * abs(x)

        if near(true):
            return
        for slip in self.slips:
            if any(near(float(wrong(*given))) for wrong in slip.formulas):
                raise Mistake(slip.sentence, slip.hint)
        if 0 < true <= 1 and near(100 * true):
            raise Mistake(f"{self.name} is in percent: a share between 0 and 1 is asked for", "Divide it by 100.")
        raise Mistake(f"{self.name} = {value:.4g} is too {'large' if value > true else 'small'}: a careful "
                      f"measurement comes within {100 * self.tolerance:g} percent of ours")


def number(name: str, answer) -> float:
    """A measured number as a float, whatever it came in; else a Mistake."""
    if answer is None or answer is ...:
        raise Mistake(f"{name} has no value yet: put your answer in place of `raise NotImplementedError()`",
                      HELP["not written"])
    if callable(answer):
        raise Mistake(f"{name} is a function, and a number is asked for", HELP["type"])
    try:
        value = float(answer.detach() if isinstance(answer, Tensor) else answer)
    except Exception:
        raise Mistake(f"{name} is {kind(answer)}, and one number is asked for", HELP["type"]) from None
    if value != value or abs(value) == float("inf"):
        raise Mistake(f"{name} is {value}: something divided by zero or grew without limit before you measured it")
    return value


def shown(values: dict) -> str:
    """The inputs of a case: small ones with their numbers, large ones with their shape."""
    def one(value) -> str:
        if not isinstance(value, Tensor):
            return f" = {value!r}" if isinstance(value, bool | int | float | str) else f", {kind(value)}"
        if value.numel() > 8:
            return f" of shape {tuple(value.shape)}"
        digits = 3 if value.dtype.is_floating_point else 0
        return f" = {rounded(value.tolist(), digits)}"
    return " and ".join(name + one(value) for name, value in values.items())


def rounded(values, digits: int):
    if isinstance(values, list):
        return [rounded(v, digits) for v in values]
    return round(values, digits) if digits else values
