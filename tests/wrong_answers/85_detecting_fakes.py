import numpy as np
import torch

from course_lib.checks import detecting_fakes as check
from wrong_answers import right, wrong

# --- 1


@right(check.moved)
def _(p, old, new):
    logit = torch.logit(p) + np.log(new / (1 - new)) - np.log(old / (1 - old))
    return logit.sigmoid()


@right(check.moved)
def _(p, old, new):
    moved = []
    for value in p.tolist():
        odds = value / (1 - value) * (new / old) * ((1 - old) / (1 - new))
        moved.append(odds / (1 + odds))
    return torch.tensor(moved)


# --- 2


@right(check.prepared)
def _(real, fake):
    both = torch.cat([real, fake])
    both = (both - real.mean()) / real.std()
    return both[:len(real)], both[len(real):]


@right(check.prepared)
def _(real, fake):
    mean = real.sum() / real.numel()
    deviation = (((real - mean) ** 2).sum() / (real.numel() - 1)) ** 0.5
    return [(x - mean) / deviation for x in (real, fake)]


wrong(check.prepared, "the real of prepared should be")(lambda real, fake: (
    real - real.mean(), fake - real.mean()))

# --- 3: the threshold is 494; above it lie 20 of the other 500 real scores, and 84 of 100 fakes

REAL = torch.cat([torch.arange(500.0), 1.03 * torch.arange(500.0)]).double()
FAKE = torch.linspace(400, 1_000, 100).double()
right(check.innocent, FAKE, REAL, 1 / 200)(199 * 0.04 / (199 * 0.04 + 0.84))
