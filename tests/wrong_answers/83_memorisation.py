import numpy as np
import torch

from course_lib.checks import memorisation as check
from wrong_answers import equivalent, right, wrong

# --- 1


@right(check.copies)
def _(samples, train, fresh, false_alarms):
    def ratio(x):
        near = torch.cdist(x, train).sort(dim=1).values
        return near[:, 0] / near[:, 1]

    return ratio(samples) < torch.quantile(ratio(fresh), false_alarms)


@right(check.copies)
def _(samples, train, fresh, false_alarms):
    def ratio(point):
        distances = sorted((point - other).norm().item() for other in train)
        return distances[0] / distances[1]

    limit = np.quantile([ratio(point) for point in fresh], false_alarms)
    return torch.tensor([ratio(point) < limit for point in samples])


@wrong(check.copies, "should be")                                 # a fresh point in place of the second nearest
def _(samples, train, fresh, false_alarms):
    def ratio(x):
        return torch.cdist(x, train).amin(1) / torch.cdist(x, fresh).amin(1).clamp(min=1e-9)

    return ratio(samples) < ratio(fresh).quantile(false_alarms)


equivalent(check.copies, "by(*_near(samples, train)) < border -> by(*_near(samples, train)) <= border",
           "no ratio is the threshold itself")

# --- 2


@right(check.private_mean)
def _(gradients, most, deviation, normal):
    lengths = gradients.norm(dim=1, keepdim=True).clamp(min=1e-12)
    short = gradients * torch.minimum(most / lengths, torch.ones_like(lengths))
    return short.mean(0) + most * deviation * normal / len(gradients)


@right(check.private_mean)
def _(gradients, most, deviation, normal):
    total = most * deviation * normal
    for row in gradients:
        length = row.square().sum().sqrt()
        total = total + (row * most / length if length > most else row)
    return total / len(gradients)


# --- 3: thirteen samples, of which eight are copies, of five pictures; one is a little farther away

_g = torch.Generator().manual_seed(0)
TRAIN, FRESH = torch.randn(200, 1, 6, 6, generator=_g), torch.randn(300, 1, 6, 6, generator=_g)
SAMPLES = torch.cat([TRAIN[[17, 17, 3, 40, 17, 3, 50]] + 1e-4, TRAIN[[9]] + 0.6, FRESH[:5]])
right(check.different, SAMPLES, TRAIN, FRESH)(5)
