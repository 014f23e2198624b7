"""A claim prints one line, the fact first, whose value can be masked; and it raises when it is false."""

import numpy as np
import pytest
import torch

from course_lib.claims import claim


@pytest.mark.parametrize("value, op, bound, line", [
    (0.9741, ">=", 0.95, "test accuracy: 0.974  (checked: >= 0.95)"),
    (torch.tensor(0.5), "<", 1, "test accuracy: 0.500  (checked: < 1)"),
    (np.float32(2.0), "<=", 2, "test accuracy: 2.000  (checked: <= 2)"),
    (7, "==", 7, "test accuracy: 7  (checked: == 7)"),
    (3, ">", 2.5, "test accuracy: 3  (checked: > 2.5)"),
    (0.95, ">=", 0.95, "test accuracy: 0.950  (checked: >= 0.95)"),
])
def test_a_true_claim_prints_one_line(value, op, bound, line, capsys):
    claim("test accuracy", value, op, bound)
    assert capsys.readouterr().out == line + "\n"


@pytest.mark.parametrize("value, op, bound", [
    (0.94, ">=", 0.95), (1.0, "<", 1), (2.1, "<=", 2), (8, "==", 7), (2, ">", 2), (float("nan"), ">=", 0),
    (float("nan"), "<=", 0)])
def test_a_false_claim_raises_and_prints_nothing(value, op, bound, capsys):
    with pytest.raises(AssertionError, match=f"this claim does not hold: test accuracy: .* is not {op} {bound}"):
        claim("test accuracy", value, op, bound)
    assert capsys.readouterr().out == ""
