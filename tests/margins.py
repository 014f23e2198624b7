"""How far wrong answers are from right ones, over many draws:  python tests/margins.py [DRAWS] [TASK ...]

Checks draw fresh inputs at every call. A wrong answer that is far off on most of them and nearly right on a few would
pass once in a while. For each task and each of its slips this prints the smallest distance, in tolerances, from the
right answer, and from the slips before it that have another sentence. Below 1 a learner is told the wrong thing. Aim at
10 or more, from where on it does not measure; below that, change the cases, not the tolerance.
"""

import sys
from collections import defaultdict

import torch
from test_checks import TASKS

from course_lib import checks

ENOUGH = 10.0


def distance(got: list, other: list, task) -> float:
    """The largest difference, in tolerances, between two outcomes of all cases, or the first that is enough; inf where
    their forms differ."""
    largest = 0.0
    for a, b in zip(got, other):
        if a is None or b is None:
            if a is not b:
                return float("inf")
            continue
        for key in b:
            if key not in a or a[key].shape != b[key].shape:
                return float("inf")
            p, q = a[key].detach().double(), b[key].detach().double()
            alike = (p == q) | (p.isnan() & q.isnan())
            off = ((p - q).abs() / (task.atol + task.rtol * q.abs())).masked_fill(alike, 0).nan_to_num(float("inf"))
            largest = max(largest, off.max().item() if off.numel() else 0.0)
            if largest >= ENOUGH:
                return largest
    return largest


def outcomes(task, fn, cases, wanted) -> list:
    found = []
    for case, want in zip(cases, wanted):
        try:
            found.append(task.outcome(fn, case, want))
        except Exception:
            found.append(None)
    return found


def margins(task, draws: int) -> dict[tuple, float]:
    smallest = defaultdict(lambda: float("inf"))
    for draw in range(draws):
        cases, seen = task.cases(torch.Generator().manual_seed(draw)), {}
        wanted = [task.outcome(task.right, case) for case in cases]
        for i, slip in enumerate(task.slips):
            seen[i] = [outcomes(task, wrong, cases, wanted) for wrong in slip.formulas]
            for mine in seen[i]:
                smallest[i, "right"] = min(smallest[i, "right"], distance(mine, wanted, task))
                for j, other in [(j, other) for j, others in seen.items() if j < i for other in others]:
                    if task.slips[j].sentence != slip.sentence:
                        smallest[i, j] = min(smallest[i, j], distance(mine, other, task))
    return smallest


def main(draws: int = 100, *names: str) -> None:
    torch.set_num_threads(1)
    checks.SECONDS = 600.0                         # nothing here loops for ever, and the machine may be busy
    for task in (task for task in TASKS if not names or task.name in names):
        low = {f"slip {i} from {j}": round(m, 2) for (i, j), m in margins(task, draws).items() if m < ENOUGH}
        print(task.name, low or "all at least 10", flush=True)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:2]), *sys.argv[2:])
