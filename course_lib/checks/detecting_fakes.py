"""The checks of exercise 85: a probability for another base rate, pictures that go through the same hands, and a share
of innocent among the accused."""

import torch
from torch import Tensor

from course_lib.checks import Implementation, Measurement, rand

# --- 1


def _moved(p, old, new, up=lambda old, new: new / old, down=lambda old, new: (1 - new) / (1 - old),
           whole=True) -> Tensor:
    fake, real = p * up(old, new), (1 - p) * down(old, new)
    return fake / (fake + real) if whole else fake


def _probabilities(g: torch.Generator) -> list[tuple]:
    return [(torch.tensor([0.5, 0.9]), 0.5, 0.1),
            *((torch.rand(n, generator=g, dtype=torch.float64) * 0.98 + 0.01, old, new)
              for n, old, new in ((1, 0.5, 0.001), (3, 0.3, 0.02), (5, 0.2, 0.7), (4, 0.6, 0.25)))]


moved = Implementation(
    "moved",
    right=_moved,
    cases=_probabilities,
    slips=[
        ("you multiply p by new / old and stop there: the real side moves too, and both together must be 1",
         dict(whole=False)),
        ("the old and the new share are exchanged: divide by the share that the detector was trained with",
         dict(up=lambda old, new: old / new, down=lambda old, new: (1 - old) / (1 - new))),
        ("you took the old share to be one half: divide by old and by 1 - old",
         dict(up=lambda old, new: new, down=lambda old, new: 1 - new)),
        ("{} is missing: what belongs to the real side is 1 minus the share",
         ("(1 - new) / (1 - old), the factor of the real side,", dict(down=lambda old, new: 1.0)),
         ("1 - new", dict(down=lambda old, new: 1 / (1 - old))), ("1 - old", dict(down=lambda old, new: 1 - new))),
        ("the factor of the fakes is new / old: {}", ("yours is 1", dict(up=lambda old, new: 1.0)),
         ("you left out the division by old", dict(up=lambda old, new: new))),
        ("the odds are right, and a probability is asked for: odds / (1 + odds)",
         lambda p, old, new: p / (1 - p) * new / old * (1 - old) / (1 - new)),
        ("this is the probability of *real*: asked for is that of a fake", lambda p, old, new: 1 - _moved(p, old, new)),
        ("this moves the probability by the difference of the shares: it is the odds that are multiplied",
         lambda p, old, new: p + new - old, lambda p, old, new: (p + new - old).clamp(0, 1)),
    ],
    hints=("Imagine 1,000 pictures with this score, half of them fakes. Now fakes become ten times rarer, and real "
           "ones 1.8 times more frequent. How many of each are left?",
           "Fakes with this score are multiplied by new / old, real ones by (1 - new) / (1 - old). Asked for is the "
           "share of the fakes in the sum.",
           "fake = p * new / old\nreal = (1 - p) * (1 - new) / (1 - old)\nfake / (fake + real)"),
    rtol=1e-4, atol=1e-7)

# --- 2


def _prepared(real, fake, of=lambda real, fake: (real, real), middle=torch.mean, width=torch.std):
    first, second = of(real, fake)
    return (real - middle(first)) / width(first), (fake - middle(second)) / width(second)


def _two_sets(g: torch.Generator) -> list[tuple]:
    return [(1 + rand(g, 2, 1, 2, 2), 3 + 2 * rand(g, 3, 1, 2, 2)),
            *((2 + 3 * rand(g, n, 1, H, W), 0.5 * rand(g, m, 1, H, W) - 1) for n, m, H, W in
              ((1, 4, 3, 5), (5, 1, 4, 3), (6, 6, 5, 5)))]


prepared = Implementation(
    "prepared",
    right=_prepared,
    cases=_two_sets,
    slips=[
        ("the bug is still there: the fakes are moved by their own mean and deviation, so the two sides go through "
         "different hands, and black is no longer the same number on both", dict(of=lambda real, fake: (real, fake)),
         "What becomes of a black pixel of a real picture, and of one of a fake?"),
        ("both sides use the numbers of {}: asked for are those of the real pictures",
         ("the fakes", dict(of=lambda real, fake: (fake, fake))),
         ("all pictures together", dict(of=lambda real, fake: (torch.cat([real, fake]),) * 2))),
        ("the mean {}: both sides need the real pictures' mean and deviation",
         ("is still that of each side", lambda real, fake: ((real - real.mean()) / real.std(),
                                                           (fake - fake.mean()) / real.std())),
         ("is right, and the deviation is still that of each side",
          lambda real, fake: ((real - real.mean()) / real.std(), (fake - real.mean()) / fake.std()))),
        ("only the fakes are changed now: the real pictures need the same", lambda real, fake: (
            real, (fake - real.mean()) / real.std())),
        ("you divide by the variance: its root, the deviation, is right", dict(width=torch.var)),
        ("you took {}: one mean and one deviation of all pixels of all real pictures are asked for",
         ("a mean and a deviation for each pixel", lambda real, fake: _prepared(
             real, fake, middle=lambda x: x.mean(0), width=lambda x: x.std(0))),
         ("a mean and a deviation for each picture", lambda real, fake: tuple(
             (x - x.mean((1, 2, 3), keepdim=True)) / x.std((1, 2, 3), keepdim=True) for x in (real, fake)))),
        ("nothing is changed: subtract the mean and divide by the deviation", lambda real, fake: (real, fake)),
    ],
    hints=("Print what becomes of the number 0, black, on both sides.",
           "Take the mean and the deviation of the real pictures once, and use the same two numbers for both.",
           "mean, deviation = real.mean(), real.std()\n"
           "(real - mean) / deviation, (fake - mean) / deviation"),
    returns=("real", "fake"), rtol=1e-3, atol=1e-4)

# --- 3


def _innocent(fake, real, share, accused=0.01, choose=lambda real: real[:500], judge=lambda real: real[500:],
              answer=lambda right, wrong: wrong / (right + wrong), weigh=True) -> float:
    threshold = choose(real).quantile(1 - accused)
    found = (fake > threshold).double().mean().item()
    wrongly = (judge(real) > threshold).double().mean().item()
    right, wrong = (share * found, (1 - share) * wrongly) if weigh else (found, wrongly)
    return answer(right, wrong)


innocent = Measurement(
    "innocent",
    truth=_innocent,
    tolerance=0.004,
    slips=[
        ("this is the share of *fakes* among the accused: asked for is that of the innocent, 1 minus yours",
         dict(answer=lambda right, wrong: right / (right + wrong))),
        ("you forgot the base rate: of 200 pictures one is a fake, so found and accused must be weighed with 1/200 and "
         "199/200", dict(weigh=False)),
        ("this is the share of real pictures that are accused: asked for is the share of real ones among the accused",
         lambda fake, real, share: (real[500:] > real[:500].quantile(0.99)).double().mean()),
        ("you measured the accused on digits that the threshold was chosen with, where it is 1 % by construction: take "
         "the other 500", dict(judge=lambda real: real[:500])),
        ("the threshold was chosen on all real digits: take the first 500, so that the others are new to it",
         dict(choose=lambda real: real)),
        ("you left the threshold at 0: choose it so that 1 % of the first 500 real digits lie above",
         dict(choose=lambda real: torch.zeros(2, dtype=real.dtype))),
        ("this is the threshold for {}: 1 % of the first 500 real digits shall lie above it",
         ("5 %", dict(accused=0.05)), ("10 %", dict(accused=0.1))),
    ],
    hints=("Imagine 200,000 pictures of which 1,000 are fakes. How many fakes are accused, and how many real ones?",
           "The threshold is the 0.99 quantile of the first 500 real scores. Measure both shares above it, on the "
           "fakes and on the other 500. Weigh them with 1/200 and 199/200.",
           "threshold = real[:500].quantile(0.99)\n"
           "right = share * (fake > threshold).double().mean()\n"
           "wrong = (1 - share) * (real[500:] > threshold).double().mean()\n"
           "innocent = wrong / (right + wrong)"))
