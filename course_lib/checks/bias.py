"""The checks of exercise 82: shares after a tilt, weights that balance a habit, and the largest guidance that an audit
lets pass."""

import torch
from torch import Tensor

from course_lib.checks import Implementation, Measurement
from course_lib.metrics import wilson

# --- 1


def _tilt(prior, says, scale, power=lambda p, s: p**s, weigh=lambda a, b: a * b) -> Tensor:
    """prior and says (K,): the shares of the groups, and how often the label is given in each."""
    weights = weigh(prior, power(says, scale))
    return weights / weights.sum()


def _groups(g: torch.Generator) -> list[tuple]:
    cases = []
    for K, scale in ((2, 2.0), (1, 3.0), (3, 4.0), (5, 1.5), (4, 0.0), (3, 1.0), (4, 8.0)):
        prior = 0.2 + torch.rand(K, generator=g)
        cases.append((prior / prior.sum(), 0.3 + 0.6 * torch.rand(K, generator=g), scale))
    return cases


tilted = Implementation(
    "tilted",
    right=_tilt,
    cases=_groups,
    slips=[
        ("the shares do not sum to one: divide the weights by their own sum", lambda prior, says, s: prior * says**s,
         lambda prior, says, s: prior * says**s / prior.sum(),
         lambda prior, says, s: prior * says**s / (prior * says).sum()),
        ("the weights are no logarithms: divide them by their sum, in place of a softmax",
         lambda prior, says, s: (prior * says**s).softmax(0)),
        ("you raised {} to the power: only p(label | group) is",
         ("p(group) in place of p(label | group)", lambda prior, says, s: _normal(prior**s * says)),
         ("the whole product", lambda prior, says, s: _normal((prior * says) ** s))),
        ("your power is {}: at scale 1 the shares are those of the label's own groups, p(group) * p(label | group)",
         ("scale - 1", dict(power=lambda p, s: p ** (s - 1))), ("scale + 1", dict(power=lambda p, s: p ** (s + 1)))),
        ("you multiplied by the scale, which cancels when the shares are made to sum to one: it is a power",
         lambda prior, says, s: _normal(prior * says)),
        ("p(group) is {}", ("missing: a group that is rare stays rare at scale 0", dict(weigh=lambda a, b: b)),
         ("there twice", dict(weigh=lambda a, b: a * a * b))),
        ("p(label | group) is missing: the tilt changes nothing", dict(weigh=lambda a, b: a)),
        ("these are the shares for the *other* label", dict(power=lambda p, s: (1 - p) ** s)),
        ("the exponential of scale times p is another curve: p(label | group) itself is raised to the power",
         dict(power=lambda p, s: (s * p).exp())),
        ("you tilt away from the label: the power has no minus", dict(power=lambda p, s: p**-s)),
    ],
    hints=("Two groups, half and half, 0.8 and 0.2, scale 2: what must come out? The lesson says 0.94 and 0.06.",
           "Each group gets the weight p(group) * p(label | group) ** scale. A share is a weight divided by the sum of "
           "all weights.",
           "weights = prior * says**scale\nweights / weights.sum()"),
    gradient=("prior", "says"), rtol=1e-4, atol=1e-6)


def _normal(weights: Tensor) -> Tensor:
    return weights / weights.sum()


# --- 2


def _pairs(job, hat, size=lambda share: 1 / (4 * share)) -> Tensor:
    """The weight of each face, from the share of its pair of job and hat among all faces."""
    pair = 2 * job + hat.long()                                   # (N,) 0 to 3
    share = pair.bincount(minlength=4) / len(pair)
    return size(share)[pair]


def _separate(job, hat) -> tuple[Tensor, Tensor]:
    """For each face: how large a share has its job, and how large a share has as much of a hat."""
    return tuple((x.long().bincount(minlength=2) / len(x))[x.long()] for x in (job, hat))


def _worlds(g: torch.Generator) -> list[tuple]:
    cases = []
    for counts in ((1, 0, 0, 0), (1, 1, 0, 1), (8, 2, 1, 3), (40, 10, 10, 40), (1, 1, 1, 1), (30, 7, 20, 11),
                   (5, 5, 50, 40)):
        pair = torch.arange(4).repeat_interleave(torch.tensor(counts))
        pair = pair[torch.randperm(len(pair), generator=g)]
        cases.append((pair // 2, pair % 2 == 1))
    return cases


weights = Implementation(
    "weights",
    right=_pairs,
    cases=_worlds,
    slips=[
        ("the bug is still there: the share of a pair is not the product of two shares, unless job and hat are "
         "independent, and the habit is just that they are not",
         lambda job, hat: 1 / (4 * _separate(job, hat)[0] * _separate(job, hat)[1]),
         lambda job, hat: len(job) * _normal(1 / (_separate(job, hat)[0] * _separate(job, hat)[1])),
         "How many zorps with a hat are there? And how many would there be if hats and jobs did not go together?"),
        ("frequent pairs weigh more now: a pair that is twice as frequent must count half as much",
         dict(size=lambda share: 4 * share)),
        ("all weights are 1, and a weight must depend on the pair", lambda job, hat: torch.ones(len(job))),
        ("you balance {} alone: all four pairs of job and hat shall weigh the same",
         ("hats", lambda job, hat: 0.5 / _separate(job, hat)[1]),
         ("jobs", lambda job, hat: 0.5 / _separate(job, hat)[0])),
        ("in each job hats and bare heads weigh the same, and the jobs among each other do not",
         lambda job, hat: _separate(job, hat)[0] * _pairs(job, hat) * 2),
        ("for hats and for bare heads the jobs weigh the same, and hats and bare heads among each other do not",
         lambda job, hat: _separate(job, hat)[1] * _pairs(job, hat) * 2),
        ("the mean of the weights is not 1: with four pairs, each weighs a quarter of all", dict(size=lambda s: 1 / s)),
        ("the roots of the weights only soften the habit", dict(size=lambda share: (1 / (4 * share)).sqrt())),
        ("0.8 and 0.2 are the shares of the lesson's world: count those of the faces that you are given",
         lambda job, hat: torch.where((job == 0) == hat, 0.5 / 0.8, 0.5 / 0.2)),
    ],
    hints=("Give the function eight zorps with a hat, two without, two mips with one, eight without. What must the "
           "weights of these four be?",
           "There are four pairs of a job and a hat or none. Each shall weigh a quarter of all: its weight is 1/4, "
           "divided by the share of faces that are such a pair.",
           "both = (job[:, None] == job) & (hat[:, None] == hat)      # (N, N): is it the same pair?\n"
           "1 / (4 * both.float().mean(1))"),
    rtol=1e-4, atol=1e-6)

# --- 3


def _largest(scales, hits, n, passes=lambda k, n: wilson(k, n)[1] <= 0.8 <= wilson(k, n)[2], pick=max) -> float:
    """The largest scale whose interval holds the share of the data, 0.8."""
    found = [scale for scale, k in zip(scales, hits) if passes(k, n)]
    return pick(found) if found else float("nan")


largest_scale = Measurement(
    "largest_scale",
    truth=_largest,
    tolerance=0.01,
    slips=[
        ("a larger scale passes too: ask of each whether the interval around its share holds 0.8, and take the largest "
         "that does", dict(pick=min), dict(passes=lambda k, n: k / n <= 0.8),
         lambda scales, hits, n: min(zip(scales, hits), key=lambda row: abs(row[1] / n - 0.8))[0]),
        ("this is the smallest scale that the audit does not let pass: the one before it is asked for",
         lambda scales, hits, n: min([s for s, k in zip(scales, hits) if wilson(k, n)[1] > 0.8], default=float("nan"))),
        ("this is a number of pictures: the scale is asked for", lambda scales, hits, n: float(
            hits[scales.index(_largest(scales, hits, n))])),
        ("this is a share: the scale is asked for", lambda scales, hits, n: hits[scales.index(
            _largest(scales, hits, n))] / n),
        ("this is the number of a row: the scale itself is asked for", lambda scales, hits, n: float(
            scales.index(_largest(scales, hits, n)))),
    ],
    hints=("For one scale: between which two numbers does its share lie? Is 0.8 between them?",
           "wilson(hits, n) gives share, low, high. A scale passes if low <= 0.8 <= high. Of those that pass, take the "
           "largest.",
           "largest_scale = max(s for s, k in zip(scales, hits) if wilson(k, n)[1] <= 0.8 <= wilson(k, n)[2])"))
