"""The checks of exercise 77: where a tone that is too high is heard, decibels, windows laid over each other, and notes
that are right in pitch and instrument."""

import torch
from torch import Tensor

from course_lib.checks import Implementation, Measurement, rand

# --- 1


def _nearest(f: Tensor, rate: float, multiple=lambda f, rate: (f / rate).round(), size=torch.abs,
             step=lambda rate: rate) -> Tensor:
    """The distance of f from a multiple of the rate."""
    return size(f - step(rate) * multiple(f, step(rate)))


def _tones(g: torch.Generator) -> list[tuple]:
    """Below half of the rate, between half and once, between once and one and a half times, and far above."""
    cases = [(torch.tensor([3.0, 5.0, 1.0, 9.0]), 8.0)]
    for n, rate in ((1, 4_000.0), (3, 100.0), (5, 8_000.0), (8, 22.0)):
        share = 0.05 + 0.4 * torch.rand(n, generator=g)
        turns = torch.tensor([1.0, 0.0, 1.0, 2.0, 3.0, 0.0, 5.0, 1.0])[:n]
        sign = torch.tensor([1.0, 1.0, -1.0, 1.0, -1.0, 1.0, -1.0, -1.0])[:n]
        cases.append(((turns + sign * share) * rate, rate))
    return cases


alias = Implementation(
    "alias",
    right=_nearest,
    cases=_tones,
    slips=[
        ("this is the distance from the multiple of the rate *below* f: a tone just below the rate is nearer to the "
         "one above", dict(multiple=lambda f, rate: (f / rate).floor()), lambda f, rate: f % rate),
        ("this is the distance from the multiple of the rate *above* f: the nearest one is asked for",
         dict(multiple=lambda f, rate: (f / rate).ceil())),
        ("you measure from the rate itself: tones below half of the rate stay what they are, and far above it the "
         "nearest multiple is a higher one", dict(multiple=lambda f, rate: torch.ones_like(f)),
         lambda f, rate: torch.where(f > rate / 2, (f - rate).abs(), f)),
        ("you fold at *half* the rate: it is multiples of the whole rate that sound like nothing at all",
         dict(step=lambda rate: rate / 2), lambda f, rate: f % (rate / 2)),
        ("a frequency is not negative: a tone that turns backwards sounds like one that turns forwards",
         dict(size=lambda d: d)),
        ("what is above half of the rate is not gone: it is heard somewhere else",
         lambda f, rate: f.where(f <= rate / 2, torch.zeros_like(f))),
        ("only tones up to half of the rate stay what they are: yours are not folded back",
         lambda f, rate: f.clone(), lambda f, rate: f.clamp(max=rate / 2)),
        ("this is a share of the rate: Hz are asked for", lambda f, rate: (f / rate - (f / rate).round()).abs()),
    ],
    hints=("Take eight samples a second. Where are 7, 8 and 9 Hz heard? And 3, 4 and 5?",
           "A tone of 8 Hz has the same value at every sample: it is heard as 0 Hz. From there it is the distance that "
           "counts, in both directions. So find the nearest multiple of the rate, and take the distance.",
           "(f - rate * (f / rate).round()).abs()"),
    rtol=1e-3, atol=1e-3)

# --- 2


def _decibels(magnitude, full, floor=-60.0, factor=20.0, log=torch.log10, ratio=lambda m, full: m / full,
              tiny=1e-10, scale=lambda db, floor: 1 - db / floor, limit=lambda x: x.clamp(0, 1)) -> Tensor:
    return limit(scale(factor * log(ratio(magnitude, full).clamp(min=tiny)), floor))


def _magnitudes(g: torch.Generator) -> list[tuple]:
    """Loud and soft ones, some below the floor, some above full, and silence."""
    cases = [(torch.tensor([[100.0, 10.0, 1.0, 0.0]]), 100.0)]
    for shape, full, *floor in (((1, 1), 128.0), ((3, 4), 64.0, -40.0), ((2, 5, 3), 128.0), ((7,), 10.0, -80.0)):
        m = full * 10 ** (-3.4 * torch.rand(shape, generator=g))
        m.view(-1)[-1] = 0.0 if m.numel() > 1 else 0.03 * full
        if m.numel() > 4:
            m.view(-1)[0] = 1.5 * full
        cases.append((m, full, *floor))
    return cases


picture = Implementation(
    "picture",
    right=_decibels,
    cases=_magnitudes,
    slips=[
        ("the logarithm of a magnitude is multiplied by 20: 10 is for energies, which are its square",
         dict(factor=10.0)),
        ("decibels use the logarithm to base 10: {}",
         ("yours is the natural one", dict(log=torch.log)), ("yours is to base 2", dict(log=torch.log2))),
        ("the magnitude is not yet compared with `full`: {}",
         ("it is missing", dict(ratio=lambda m, full: m)),
         ("you multiplied by it", dict(ratio=lambda m, full: m * full)),
         ("you compared with the largest magnitude that is there", dict(ratio=lambda m, full: m / m.max()))),
        ("you return decibels: 1 stands for full loudness and 0 for the floor",
         dict(scale=lambda db, floor: db, limit=lambda x: x),
         dict(scale=lambda db, floor: db, limit=lambda x: x.clamp(min=-60))),
        ("the picture is upside down: loud is 1 and the floor is 0", dict(scale=lambda db, floor: db / floor)),
        ("values outside 0 ... 1 are cut off: {}", ("yours are not", dict(limit=lambda x: x)),
         ("yours only at 0", dict(limit=lambda x: x.clamp(min=0))),
         ("yours only at 1", dict(limit=lambda x: x.clamp(max=1)))),
        ("`floor` is not used: yours is always -60", lambda m, full, floor=-60.0: _decibels(m, full)),
        ("a magnitude of 0 has no logarithm: the darkest value is 0, and yours is not",
         lambda m, full, floor=-60.0: _decibels(m, full, floor, tiny=0.0).where(m > 0, torch.ones_like(m))),
        ("you shift magnitudes by adding something to all of them: that changes the soft ones; set a lowest value in "
         "its place", lambda m, full, floor=-60.0: _decibels(m + 0.01 * full, full, floor),
         lambda m, full, floor=-60.0: _decibels(m + 1.0, full, floor)),
        ("this is linear in the magnitude: a tenth of it shall be 20 decibels less, a third of the way to -60",
         lambda m, full, floor=-60.0: (m / full).clamp(0, 1)),
    ],
    hints=("What is 20 log10 of 1, of a tenth and of a thousandth? Where in the picture do these three lie?",
           "Divide by full, take 20 times the logarithm to base 10 (of at least 1e-10, so that silence has one), and "
           "map floor ... 0 to 0 ... 1 by a line. Then cut off what lies outside.",
           "decibels = 20 * (magnitude / full).clamp(min=1e-10).log10()\n(1 - decibels / floor).clamp(0, 1)"),
    rtol=1e-3, atol=1e-3)

# --- 3


def _overlap(frames, window, hop, weight=lambda w: w**2, again=lambda w: w, divide=True) -> Tensor:
    n, J, n_fft = frames.shape
    total = frames.new_zeros(n, (J - 1) * hop + n_fft)
    norm = frames.new_zeros(total.shape[1])
    for j in range(J):
        total[:, j * hop: j * hop + n_fft] += frames[:, j] * again(window)
        norm[j * hop: j * hop + n_fft] += weight(window)
    return total / norm if divide else total


def _pieces(g: torch.Generator) -> list[tuple]:
    cases = []
    for n, J, n_fft, hop in ((1, 2, 4, 2), (3, 4, 8, 2), (2, 5, 6, 3), (1, 1, 5, 2), (4, 6, 8, 4)):
        window = 0.3 + torch.rand(n_fft, generator=g)                         # nowhere 0: nothing is divided by 0
        cases.append((rand(g, n, J, n_fft), window, hop))
    return cases


overlap_add = Implementation(
    "overlap_add",
    right=_overlap,
    cases=_pieces,
    slips=[
        ("the bug is still there: a sample has met the window twice, before the transform and now again, so it is "
         "divided by the sum of the *squares*", dict(weight=lambda w: w),
         "Follow one sample of a sound through one piece: by what has it been multiplied at the end?"),
        ("the window is not applied a second time: that is the other way to make it exact, but then each sample counts "
         "as much at the edge of a piece as in its middle, and it is not what is asked for",
         dict(again=lambda w: torch.ones_like(w), weight=lambda w: w)),
        ("the window is not applied a second time, and the division is by its squares: both must fit",
         dict(again=lambda w: torch.ones_like(w))),
        ("you divide by the *number* of pieces that lie over each other: windows make them unlike in weight",
         dict(weight=lambda w: torch.ones_like(w))),
        ("the division is missing", dict(divide=False)),
        ("you divide by the root of the sum of squares", lambda frames, window, hop: _overlap(
            frames, window, hop, divide=False) / _overlap(torch.ones_like(frames) * window, window, hop,
                                                          divide=False).sqrt()),
        ("you divide by the fourth powers of the window", dict(weight=lambda w: w**4)),
    ],
    hints=("Print what comes back for frames that are the window itself: it should be 1 everywhere.",
           "A piece is sound times window. It is multiplied by the window once more, so sample t has been counted with "
           "the square of the window. Divide by the sum of these squares.",
           "norm[j * hop: j * hop + n_fft] += window**2"),
    rtol=1e-3, atol=1e-4)

# --- 4


def _right(found, wanted, heard, asked, count=lambda tune, same: (tune & same).double().mean()) -> float:
    return count(1200 * (found / wanted).log2().abs() < 20, heard == asked).item()


both_right = Measurement(
    "both_right",
    truth=_right,
    tolerance=0.01,
    slips=[
        ("this counts notes that are in tune, whatever plays them",
         dict(count=lambda tune, same: tune.double().mean())),
        ("this counts the right instruments, in tune or not", dict(count=lambda tune, same: same.double().mean())),
        ("this counts notes of which one of the two is right: both are asked for",
         dict(count=lambda tune, same: (tune | same).double().mean())),
        ("this is the share among notes {}",
         ("that are in tune: divide by all", dict(count=lambda tune, same: same[tune].double().mean())),
         ("of which the instrument is right: divide by all",
          dict(count=lambda tune, same: tune[same].double().mean()))),
        ("this is a number of notes: a share is asked for", dict(count=lambda tune, same: (tune & same).sum())),
        ("this is the share of notes of which something is wrong", dict(
            count=lambda tune, same: 1 - (tune & same).double().mean())),
    ],
    hints=("Take one note: how many cents is it off, and what plays it? Is it right?",
           "Cents are 1,200 times the logarithm to base 2 of found / wanted, without its sign. A note counts if that "
           "is below 20 and heard equals asked. The share is their number over that of all notes.",
           "in_tune = 1200 * (found / wanted).log2().abs() < 20\n"
           "both_right = (in_tune & (heard == asked)).double().mean().item()"))
