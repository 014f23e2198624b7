"""The checks of exercise 83: copies with a threshold of known error, the private mean of gradients, and how many
training pictures a generator gives back."""

import torch
from torch import Tensor

from course_lib.checks import Implementation, Measurement, rand

# --- 1


def _near(x, train) -> tuple[Tensor, Tensor]:
    distance = torch.cdist(x.double(), train.double(), compute_mode="donot_use_mm_for_euclid_dist")
    return distance.topk(2, largest=False).values.unbind(1)                    # the nearest, the second nearest


def _copies(samples, train, fresh, false_alarms, by=lambda first, second: first / second) -> Tensor:
    border = by(*_near(fresh, train)).quantile(false_alarms)
    return by(*_near(samples, train)) < border


def _ratio(x, train) -> Tensor:
    first, second = _near(x, train)
    return first / second


def _clouds(g: torch.Generator) -> list[tuple]:
    """Some samples lie near a training point, at different distances; there are few fresh points, or many."""
    cases = []
    for n, m, k, d, false_alarms in ((4, 3, 5, 2, 0.2), (1, 6, 9, 3, 0.3), (150, 12, 60, 4, 0.1), (120, 8, 40, 6, 0.4),
                                     (150, 15, 80, 3, 0.05)):
        train, fresh, samples = rand(g, m, d), rand(g, k, d), rand(g, n, d)
        near = torch.arange(n) % 2 == 0
        own = train[torch.randint(m, (n,), generator=g)] + 0.6 * torch.rand(n, 1, generator=g) * rand(g, n, d)
        cases.append((torch.where(near[:, None], own, samples), train, fresh, false_alarms))
    return cases


copies = Implementation(
    "copies",
    right=_copies,
    cases=_clouds,
    slips=[
        ("you compared the distance to the nearest training point alone: some points lie close together, so divide "
         "it by the distance to the second nearest", dict(by=lambda first, second: first)),
        ("you divided the second distance by the first: copies have the largest of these, not the smallest",
         dict(by=lambda first, second: second / first)),
        ("you took the difference of the two distances: their ratio is asked for",
         dict(by=lambda first, second: first - second)),
        ("the threshold comes from {}: the fresh points alone choose it",
         ("the samples, of which many may be copies", lambda samples, train, fresh, q: _copies(
             samples, train, samples, q)),
         ("the samples and the fresh points together", lambda samples, train, fresh, q: _copies(
             samples, train, torch.cat([fresh, samples]), q))),
        ("your threshold is the quantile 1 - false_alarms: then nearly all fresh points are called copies",
         lambda samples, train, fresh, q: _copies(samples, train, fresh, 1 - q)),
        ("false_alarms is a share, not a percentage: do not divide it by 100",
         lambda samples, train, fresh, q: _copies(samples, train, fresh, q / 100)),
        ("your threshold is {}: its rate of false alarms is not known",
         ("1/3, whatever the fresh points say", lambda samples, train, fresh, q: _ratio(samples, train) < 1 / 3),
         ("false_alarms itself, which is a share of points", lambda samples, train, fresh, q: _ratio(
             samples, train) < q)),
        ("True stands where the ratio is *above* the threshold: copies lie below",
         lambda samples, train, fresh, q: _ratio(samples, train) > _ratio(fresh, train).quantile(q)),
        ("this is the share of copies: asked for is a bool for each sample",
         lambda samples, train, fresh, q: _copies(samples, train, fresh, q).double().mean()),
    ],
    hints=("For three training points on a line, 0, 10 and 14, which ratio has a sample at 1? And one at 12?",
           "topk(2, largest=False) of the distances, (n, m), gives the two smallest in each row. Write a function for "
           "the ratio: it is needed for the fresh points and for the samples.",
           "def ratio(x):\n    near = torch.cdist(x, train).topk(2, dim=1, largest=False).values\n"
           "    return near[:, 0] / near[:, 1]\nreturn ratio(samples) < ratio(fresh).quantile(false_alarms)"))

# --- 2


def _shortened(gradients, most) -> Tensor:
    return gradients * (most / gradients.norm(dim=1, keepdim=True)).clamp(max=1)


def _private(gradients, most, deviation, normal, short=_shortened) -> Tensor:
    return (short(gradients, most).sum(0) + most * deviation * normal) / len(gradients)


def _of_the_sum(gradients, most) -> Tensor:
    return _shortened(gradients.sum(0, keepdim=True), most)


def _mean_shortened(gradients, most, deviation, normal) -> Tensor:
    noise = most * deviation * normal / len(gradients)
    return _shortened(gradients.mean(0, keepdim=True), most).squeeze(0) + noise


def _gradients(g: torch.Generator) -> list[tuple]:
    cases = []
    for B, P, most, deviation in ((2, 2, 1.0, 0.5), (1, 5, 0.7, 2.0), (3, 4, 2.0, 1.5), (6, 7, 1.5, 0.8),
                                  (5, 3, 3.0, 0.0)):
        gradients = rand(g, B, P) * (0.2 + 3 * torch.rand(B, 1, generator=g)) * most
        gradients[0] = 3 * most * gradients[0] / gradients[0].norm()
        if B > 1:
            gradients[-1] = 0.3 * most * gradients[-1] / gradients[-1].norm()             # one that is short enough
        cases.append((gradients, most, deviation, rand(g, P)))
    return cases


private_mean = Implementation(
    "private_mean",
    right=_private,
    cases=_gradients,
    slips=[
        ("the bug is still there: you shorten the sum of all gradients, and one example can still turn it round",
         dict(short=_of_the_sum), "Whose influence shall be bounded? Which row belongs to one example?"),
        ("you shorten the mean of all gradients: each example's own must be short before they are added",
         _mean_shortened),
        ("you clip each number of a gradient: the length of the whole row is what counts",
         dict(short=lambda g, most: g.clamp(-most, most))),
        ("nothing is shortened: a gradient longer than most keeps its direction and gets the length most",
         dict(short=lambda g, most: g)),
        ("all rows are shortened by one factor, that of the longest: each row has its own",
         dict(short=lambda g, most: g * (most / g.norm(dim=1).max()).clamp(max=1))),
        ("short gradients are made longer: the factor is 1 at most",
         dict(short=lambda g, most: most * g / g.norm(dim=1, keepdim=True))),
        ("the noise is shortened as well: shorten first, then add it", lambda g, most, deviation, normal: _shortened(
            g + most * deviation * normal, most).mean(0)),
        ("the deviation of the noise is deviation times most: {}",
         ("most is missing", lambda g, most, deviation, normal: _private(g, most, deviation / most, normal)),
         ("deviation is missing", lambda g, most, deviation, normal: _private(g, most, 1.0, normal)),
         ("there is no noise at all", lambda g, most, deviation, normal: _private(g, most, 0.0, normal))),
        ("the noise is not divided by the number of examples: it is added to the sum, once",
         lambda g, most, deviation, normal: _private(g, most, deviation * len(g), normal)),
        ("this is the sum: it is divided by the number of examples",
         lambda g, most, deviation, normal: _private(g, most, deviation, normal) * len(g)),
    ],
    hints=("Take two gradients, (100, 0) and (0, 1), and most = 1. What remains of the second in the broken function?",
           "Lengths of the rows: gradients.norm(dim=1, keepdim=True), (B, 1). The factor of a row is most / length, "
           "and 1 at most. Then add up, add the noise, divide by B.",
           "factor = (most / gradients.norm(dim=1, keepdim=True)).clamp(max=1)\n"
           "total = (factor * gradients).sum(0) + most * deviation * normal\nreturn total / len(gradients)"),
    rtol=1e-3, atol=1e-5)

# --- 3


def _different(samples, train, fresh, limit=None, of=lambda copy, which: len(set(which[copy].tolist()))) -> float:
    x, theirs, own = (t.flatten(1) for t in (samples, fresh, train))
    copy = _ratio(x, own) < (_ratio(theirs, own).quantile(0.01) if limit is None else limit)
    which = torch.cdist(x.double(), own.double(), compute_mode="donot_use_mm_for_euclid_dist").argmin(1)
    return float(of(copy, which))


different = Measurement(
    "different",
    truth=_different,
    tolerance=0.001,
    slips=[
        ("this is the number of samples that are copies: several may be copies of one picture, which counts once",
         dict(of=lambda copy, which: copy.sum())),
        ("you counted the nearest pictures of all samples: only of those that are copies",
         dict(of=lambda copy, which: len(set(which.tolist())))),
        ("this is a share: a number of pictures is asked for",
         dict(of=lambda copy, which: len(set(which[copy].tolist())) / 200),
         dict(of=lambda copy, which: copy.double().mean())),
        ("you took 1/3 as the threshold: here it is the one with 1 % false alarms", dict(limit=1 / 3)),
        ("you counted the pictures that came out once only: those that came out several times count, too",
         dict(of=lambda copy, which: (which[copy].bincount(minlength=200) == 1).sum())),
        ("you counted the pictures that came out several times only: those that came out once count, too",
         dict(of=lambda copy, which: (which[copy].bincount(minlength=200) > 1).sum())),
    ],
    hints=("Two samples are copies of picture 17, and one of picture 3. Which number is asked for?",
           "copy_ratio gives the ratios and the numbers of the nearest pictures. Keep the numbers where the ratio is "
           "below the threshold, and count how many different ones there are: unique().",
           "ratio, which = copy_ratio(samples.flatten(1), train.flatten(1))\n"
           "limit = copy_ratio(fresh.flatten(1), train.flatten(1))[0].quantile(0.01)\n"
           "different = len(which[ratio < limit].unique())"))
