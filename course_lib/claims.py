"""A number in a lesson is printed as a claim with a margin, which is checked when it is printed."""

import math
import operator

OPERATORS = {">=": operator.ge, "<=": operator.le, ">": operator.gt, "<": operator.lt, "==": operator.eq}


def claim(name: str, value, op: str, bound, digits: int = 3) -> None:
    """Print `name >= bound (measured value)`, and raise AssertionError if that is not true.

    Training ends in slightly different numbers on another processor, so a lesson states what holds everywhere. When the
    notebooks are tested, the part in brackets is not compared; the claim itself is computed again.
    `digits` is the number of decimals of the measured value.  Raises ValueError for an unknown `op`.
    """
    if op not in OPERATORS:
        raise ValueError(f"unknown comparison {op!r}: choose one of {'  '.join(OPERATORS)}")
    value, bound = _plain(value), _plain(bound)
    measured = f"{value:.{digits}f}" if isinstance(value, float) and math.isfinite(value) else str(value)
    line = f"{name} {op} {bound} (measured {measured})"
    if not OPERATORS[op](value, bound):
        raise AssertionError(f"this claim does not hold: {line}")
    print(line)


def _plain(value):
    """A Python number out of a one-element tensor or array; anything else as it is."""
    return value.item() if hasattr(value, "item") else value
