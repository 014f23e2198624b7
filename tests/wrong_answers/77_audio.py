import math

import torch

from course_lib.checks import audio as check
from wrong_answers import equivalent, right

# --- 1


@right(check.alias)
def _(f, rate):
    rest = f % rate
    return torch.minimum(rest, rate - rest)


@right(check.alias)
def _(f, rate):
    return torch.tensor([abs(v - rate * round(v / rate)) for v in f.tolist()])


# --- 2


@right(check.picture)
def _(magnitude, full, floor=-60.0):
    lowest = full * 10 ** (floor / 20)
    return (torch.log(magnitude.clamp(lowest, full) / lowest) / math.log(full / lowest))


@right(check.picture)
def _(magnitude, full, floor=-60.0):
    energy = 10 * torch.log10((magnitude / full) ** 2 + 1e-20)
    return ((energy - floor) / -floor).clamp(0, 1)


equivalent(check.picture, "1e-10 -> 2e-10", "both are far below the floor")
equivalent(check.picture, "ratio(magnitude, full).clamp(min=tiny) -> ratio(magnitude, full)", "-inf becomes 0 too")

# --- 3


@right(check.overlap_add)
def _(frames, window, hop):
    n, J, n_fft = frames.shape

    def laid(x):
        return torch.nn.functional.fold(x.transpose(1, 2), (1, (J - 1) * hop + n_fft), (1, n_fft), stride=(1, hop))

    weight = laid((window**2).expand(n, J, n_fft))
    return (laid(frames * window) / weight)[:, 0, 0]


@right(check.overlap_add)
def _(frames, window, hop):
    n, J, n_fft = frames.shape
    rows = []
    for sound in frames:
        samples = []
        for t in range((J - 1) * hop + n_fft):
            inside = [j for j in range(J) if 0 <= t - j * hop < n_fft]
            top = sum(sound[j, t - j * hop] * window[t - j * hop] for j in inside)
            samples.append(top / sum(window[t - j * hop] ** 2 for j in inside))
        rows.append(torch.stack(samples))
    return torch.stack(rows)


# --- 4: nine notes, of which three are right in both

FOUND = torch.tensor([440.0, 444.0, 262.0, 300.0, 523.0, 349.0, 330.0, 392.0, float("nan")])
WANTED = torch.tensor([440.0, 440.0, 261.63, 311.13, 523.25, 349.23, 311.13, 415.3, 440.0])
HEARD, ASKED = torch.tensor([3, 4, 5, 6, 7, 8, 9, 2, 1]), torch.tensor([3, 4, 5, 6, 8, 9, 9, 2, 1])

right(check.both_right, FOUND, WANTED, HEARD, ASKED)(3 / 9)
