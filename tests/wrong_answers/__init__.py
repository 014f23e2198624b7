"""Answers that learners give to the tasks of the exercises, and the words that their hint must contain.

A file NN_name.py here holds those of one exercise, each written as a learner would:

    @wrong(check.squared_distances, "took the square root")        or   wrong(check.largest_eta, "half", valley)(0.3)
    def _(x, y): return torch.cdist(x, y)

    @right(check.squared_distances)
    def _(x, y): ...

test_checks.py runs them all, two right ones a task, and wrong ones only where no formula can state them: the slips of
the checks, the reference with one operation changed (mutants.py), and what can go wrong in any task (NumPy, own noise,
a lost gradient, an argument changed in place, no answer) run there without being written here. If a mutant computes
the same, it stands here, with the reason:

    equivalent(check.losses, "f(a, b) -> f(b, a)", "a sum")
"""

import functools
import importlib.util
import pkgutil
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import torch

from course_lib import checks


class Answer(NamedTuple):
    check: Callable
    answer: object
    words: str | None                              # None: it is right
    given: tuple                                   # what else the check takes

    def __str__(self) -> str:
        return f"{self.check.name}: {self.words or 'right'}"


class Later:
    """A number that is computed when it is looked at, and not when the file is read: it may need a checkpoint."""

    def __init__(self, f: Callable[[], float]):
        self.f = f

    def __float__(self) -> float:
        return float(self.f())


def walk(loss_of: Callable, momentum: float = 0.0) -> Callable:
    """A training loop as learners write it, with the loss loss_of(model(x), y)."""
    def train(model, x, y, steps, lr):
        optimiser, losses = torch.optim.SGD(model.parameters(), lr=lr, momentum=momentum), []
        for _ in range(steps):
            loss = loss_of(model(x), y)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            losses.append(loss.item())
        return losses
    return train


ANSWERS: list[Answer] = []
EQUIVALENT: dict[tuple[int, str], str] = {}        # by the task's id, as two may have one name


def wrong(check: Callable, words: str, *given) -> Callable:
    return lambda answer: ANSWERS.append(Answer(check, answer, words, given))


def right(check: Callable, *given) -> Callable:
    return lambda answer: ANSWERS.append(Answer(check, answer, None, given))


def equivalent(check: Callable, change: str, why: str) -> None:
    EQUIVALENT[id(check), change] = why


@functools.cache
def read_all() -> list[Answer]:
    there = {module.name for module in pkgutil.iter_modules(checks.__path__)}         # tests/teeth.py leaves some out
    for path in sorted(p for p in Path(__file__).parent.glob("[0-9][0-9]_*.py") if p.stem[3:] in there):
        spec = importlib.util.spec_from_file_location(f"wrong_answers_{path.stem}", path)
        spec.loader.exec_module(importlib.util.module_from_spec(spec))
    return ANSWERS
