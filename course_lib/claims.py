"""A number in a lesson is printed as a claim with a margin, which is checked when it is printed."""

import math
import operator

OPERATORS = {">=": operator.ge, "<=": operator.le, ">": operator.gt, "<": operator.lt, "==": operator.eq}


def claim(name: str, value, op: str, bound, digits: int = 3) -> None:
    """Print `name: value  (checked: >= bound)`, and raise AssertionError if that is not true.

    Training ends in slightly different numbers on another processor, so a lesson says what was measured here and then
    what holds everywhere. When the notebooks are tested, the value is not compared; the check is computed again.
    `name` is a noun phrase.  `digits`: decimals of the value.  Raises ValueError for an unknown `op`.
    """
    if op not in OPERATORS:
        raise ValueError(f"unknown comparison {op!r}: choose one of {'  '.join(OPERATORS)}")
    value, bound = _plain(value), _plain(bound)
    measured = f"{value:.{digits}f}" if isinstance(value, float) and math.isfinite(value) else str(value)
    if not OPERATORS[op](value, bound):
        raise AssertionError(f"this claim does not hold: {name}: {measured} is not {op} {bound}")
    print(f"{name}: {measured}  (checked: {op} {bound})")


def _plain(value):
    """A Python number out of a one-element tensor or array; anything else as it is."""
    return value.item() if hasattr(value, "item") else value
