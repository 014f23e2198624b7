import math

import torch
from scipy.stats import binom

from course_lib.checks import watermarks as check
from course_lib.watermark import count_green, false_alarm
from wrong_answers import equivalent, right, wrong

# --- 1

right(check.green_pairs)(count_green)


@right(check.green_pairs)
def _(tokens, green):
    pairs = set(zip(tokens[:-1].tolist(), tokens[1:].tolist()))
    return sum(bool(green[i, j]) for i, j in pairs), len(pairs)


@wrong(check.green_pairs, "counts once")
def _(tokens, green):
    return green[tokens[:-1], tokens[1:]].sum(), len(tokens) - 1


# --- 2

right(check.tail)(lambda k, n, share: torch.from_numpy(binom.sf((k - 1).numpy(), n, share)))
right(check.tail)(lambda k, n, share: torch.tensor([false_alarm(a, n, share) for a in k.tolist()]).double())
wrong(check.tail, "k itself included")(lambda k, n, share: torch.from_numpy(binom.sf(k.numpy(), n, share)))
wrong(check.tail, "normal approximation")(
    lambda k, n, share: 0.5 - 0.5 * torch.erf((k - share * n) / math.sqrt(2 * share * (1 - share) * n)))
equivalent(check.tail, "n + 1 -> n + 2", "there is no way to choose n + 1 of n")
equivalent(check.tail, "n + 1 - end -> n + 1 + end", "end is 0 in the reference")

# --- 3

right(check.any_window)(lambda p_values, level: bool((p_values < level / len(p_values)).any()))
right(check.any_window)(lambda p_values, level: (p_values * len(p_values)).min() < level)
equivalent(check.any_window, "low < level -> low <= level", "a p-value at the level itself has probability 0")
wrong(check.any_window, "the bug is still there")(lambda p_values, level: bool((p_values < level).any()))

# --- 4

FOUND = torch.zeros(20, 7, dtype=torch.bool)
for column, hits in enumerate((2, 11, 17, 18, 19, 20, 20)):
    FOUND[:hits, column] = True
LENGTHS = [25, 50, 75, 100, 150, 200, 300]

right(check.shortest, FOUND, LENGTHS)(100)
