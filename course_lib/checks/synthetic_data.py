"""The checks of exercise 81: a round of models that learn from samples, a generator without a leak, a half-life."""

import math

import torch
from torch import Tensor

from course_lib.checks import Implementation, Measurement, rand

# --- 1


def _next_data(data, eps, keep, centre=lambda d: d.mean(1, keepdim=True),
               spread=lambda d: d.std(1, correction=0, keepdim=True), scaled=lambda s, eps: s * eps,
               kept=lambda keep: keep, join=lambda data, new: torch.cat([data, new], 1)) -> Tensor:
    new = centre(data) + scaled(spread(data), eps)                # (B, n)
    return join(data, new) if kept(keep) else new


def _rows(g: torch.Generator) -> list[tuple]:
    cases = [(torch.tensor([[1.0, 3.0]]), torch.tensor([[0.0, 1.0, -2.0]]), False)]
    for B, N, n, keep in ((3, 5, 4, True), (2, 7, 3, False), (1, 3, 6, True), (4, 6, 2, False), (3, 4, 1, True),
                          (2, 4, 4, True), (3, 5, 5, False)):
        cases.append((3 * rand(g, B, N) + 2 * rand(g, B, 1), rand(g, B, n), keep))
    return cases


next_data = Implementation(
    "next_data",
    right=_next_data,
    cases=_rows,
    slips=[
        ("the noise is multiplied by the standard deviation: yours by the variance", dict(
            spread=lambda d: d.var(1, correction=0, keepdim=True))),
        ("maximum likelihood divides by N: your deviation divides by N - 1", dict(
            spread=lambda d: d.std(1, keepdim=True))),
        ("the deviation is measured from the mean of the row: yours from 0", dict(
            spread=lambda d: d.square().mean(1, keepdim=True).sqrt())),
        ("each row has a model of its own: yours share {}",
         ("one mean", dict(centre=lambda d: d.mean())), ("one deviation", dict(spread=lambda d: d.std(correction=0))),
         ("mean and deviation", dict(centre=lambda d: d.mean(), spread=lambda d: d.std(correction=0)))),
        ("the new numbers need the {} of the model",
         ("mean", dict(centre=lambda d: 0 * d[:, :1])),
         ("deviation", dict(spread=lambda d: torch.ones_like(d[:, :1])))),
        ("keep decides: {}", ("yours never keeps the old data", dict(kept=lambda keep: False)),
         ("yours always keeps the old data", dict(kept=lambda keep: True)),
         ("yours keeps them when it should not, and the other way round", dict(kept=lambda keep: not keep))),
        ("the old data come first, then the new ones: yours are the other way round", dict(
            join=lambda data, new: torch.cat([new, data], 1))),
        ("with keep=True this is the old data alone: the samples are missing", dict(join=lambda data, new: data)),
        ("the sign of eps is lost: a sample of eps = 1 lies above the mean, one of -1 below", dict(
            scaled=lambda s, eps: -s * eps), dict(scaled=lambda s, eps: s * eps.abs())),
    ],
    hints=("Take the row 1, 3 by hand: which mean, which deviation? Where do eps = 0, 1 and -2 lead?",
           "Mean and deviation (correction=0) along axis 1, with keepdim=True, so that they are (B, 1). The samples "
           "are the mean plus the deviation times eps; if keep, the old data stand before them.",
           "samples = data.mean(1, keepdim=True) + data.std(1, correction=0, keepdim=True) * eps\n"
           "torch.cat([data, samples], dim=1) if keep else samples"))

# --- 2


def _others(few, n) -> Tensor:
    """The numbers that are not among the few."""
    left = torch.ones(n, dtype=torch.bool)
    left[few] = False
    return left.nonzero().squeeze(1)


def _given(x, y, few, eps, asked, middle_of=lambda few, n: few, spread_of=lambda few, n: few,
           centre=lambda own: own.mean(0), spread=lambda own: own.std(0), own=lambda x, y, k: x[y == k],
           real=lambda few, n: few, parts=("real", "made")):
    made = torch.zeros_like(eps)
    for k in asked.unique():
        middle, around = (own(x[i], y[i], k) for i in (middle_of(few, len(x)), spread_of(few, len(x))))
        made[asked == k] = centre(middle) + spread(around) * eps[asked == k]
    i = real(few, len(x))
    pairs = {"real": (x[i], y[i]), "made": (made, asked)}
    return tuple(torch.cat(both) for both in zip(*(pairs[part] for part in parts)))


def _everything(few, n):
    return torch.arange(n)


def _labelled_worlds(g: torch.Generator) -> list[tuple]:
    cases = []
    for K, D, N, M in ((1, 1, 5, 1), (2, 3, 12, 4), (3, 2, 20, 7), (2, 4, 15, 5), (3, 1, 24, 6)):
        y = (torch.arange(N) % K)[torch.randperm(N, generator=g)]
        order = torch.randperm(N, generator=g)
        few = torch.cat([order[y[order] == k][:2 + (k + N) % 2] for k in range(K)])
        few = few[torch.randperm(len(few), generator=g)]
        asked = torch.arange(M).flip(0) % K
        cases.append((2 * rand(g, N, D) + 3 * y[:, None], y, few, rand(g, M, D), asked))
    return cases


given = Implementation(
    "given",
    right=_given,
    cases=_labelled_worlds,
    returns=("images", "labels"),
    slips=[
        ("the bug is still there: the generator learns from all examples, those of the test set among them", dict(
            middle_of=_everything, spread_of=_everything),
         "Which rows of x does the loop look at? Which of them is it allowed to see?"),
        ("half of the leak is left: the {} still come from all examples",
         ("means", dict(middle_of=_everything)), ("deviations", dict(spread_of=_everything))),
        ("the generator learns from the examples that are *not* labelled: just these are forbidden", dict(
            middle_of=_others, spread_of=_others)),
        ("each class has its own mean and deviation: yours has one for all", dict(own=lambda x, y, k: x)),
        ("the noise is missing: all generated examples of a class are equal", dict(
            spread=lambda own: torch.zeros_like(own[0]))),
        ("each entry has a mean of its own: yours is one number for the class", dict(centre=lambda own: own.mean()),
         dict(centre=lambda own: own.mean(), spread=lambda own: own.std())),
        ("you hand out all examples as real ones: only the few are labelled", dict(real=_everything)),
        ("the {} are missing: real and generated ones are asked for",
         ("real examples", dict(parts=("made",))), ("generated examples", dict(parts=("real",)))),
        ("the real ones come first, then the generated ones: yours are the other way round",
         dict(parts=("made", "real"))),
        ("the deviation was not the bug: std(0) is right, and yours is {}",
         ("the variance", dict(spread=lambda own: own.var(0))),
         ("divided by n and not by n - 1", dict(spread=lambda own: own.std(0, correction=0))),
         ("one number for all entries", dict(spread=lambda own: own.std()))),
    ],
    hints=("The test examples are rows of x, too. Where does the function look at rows that are not in few?",
           "Take x[few] and y[few] at the beginning, and use nothing else from there on.",
           "x_few, y_few = x[few], y[few]\nown = x_few[y_few == k]"))

# --- 3


def _half_life(n=50, typical=True):
    """Rounds until half of the variance is left: of the median row (nearly), or of the mean over rows."""
    if typical:
        fall = math.log(n / 2) - torch.digamma(torch.tensor((n - 1) / 2, dtype=torch.float64)).item()
    else:
        fall = math.log(n / (n - 1))
    return math.log(2) / fall


half_life = Measurement(
    "half_life", truth=_half_life, tolerance=0.1,
    slips=[
        ("this is twice as long. The mean over rows takes 34 rounds, the median with division by n - 1 too, and so "
         "does the median standard deviation: asked for is the median of the variance, divided by n",
         dict(typical=False)),
        ("this is the half-life with n = {}: here each model draws 50", ("20", dict(n=20)), ("10", dict(n=10)),
         ("200", dict(n=200))),
        ("this is the fall of the logarithm in one round: how many rounds is it until the half is left?",
         lambda: math.log(2) / _half_life()),
    ],
    hints=("Print the median variance after 1, 2, 3, ... rounds: where does it pass 0.5?",
           "5,000 rows side by side: data of shape (5000, 50), the function of task 1 again and again; after each "
           "round the median over rows of data's variance (correction=0). Count rounds until it is below 0.5.",
           "rounds = 0\nwhile data.var(1, correction=0).median() > 0.5:\n"
           "    data = next_data(data, torch.randn(5000, 50, generator=g), keep=False)\n    rounds += 1"))
