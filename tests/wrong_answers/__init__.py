"""Answers that learners give to the tasks of the exercises, and the words that their hint must contain.

A file NN_name.py here holds those of one exercise, each written as a learner would:

    @wrong(check.squared_distances, "took the square root")        or   wrong(check.largest_eta, "half", valley)(0.3)
    def _(x, y): return torch.cdist(x, y)

    @right(check.squared_distances)
    def _(x, y): ...

test_checks.py runs them all. Two answers with the same words are the same mistake; others must be told apart.
"""

import functools
import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple


class Answer(NamedTuple):
    check: Callable
    answer: object
    words: str | None                              # None: it is right
    given: tuple                                   # what else the check takes

    def __str__(self) -> str:
        return f"{self.check.name}: {self.words or 'right'}"


ANSWERS: list[Answer] = []


def wrong(check: Callable, words: str, *given) -> Callable:
    return lambda answer: ANSWERS.append(Answer(check, answer, words, given))


def right(check: Callable, *given) -> Callable:
    return lambda answer: ANSWERS.append(Answer(check, answer, None, given))


@functools.cache
def read_all() -> list[Answer]:
    for path in sorted(Path(__file__).parent.glob("[0-9][0-9]_*.py")):
        spec = importlib.util.spec_from_file_location(f"wrong_answers_{path.stem}", path)
        spec.loader.exec_module(importlib.util.module_from_spec(spec))
    return ANSWERS
