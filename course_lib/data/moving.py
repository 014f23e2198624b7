"""Films of handwritten digits that walk through a corridor and bounce off its ends. They are drawn from `digits`, as
many as are wanted; which digit it is, and where it is in every frame, is known.

    films = draw(8, seeded(0))                 # films.x (8, 12, 1, 16, 32), films.y (8, 1), films.place (8, 12, 1)

After Srivastava, Mansimov & Salakhutdinov (2015), whose "moving MNIST" has two digits in frames of 64x64. A corridor,
in place of a square, is what a small network learns in minutes: a digit has 17 places, and not 289."""

from functools import lru_cache
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from course_lib.data import load
from course_lib.device import seeded
from course_lib.expect import floats, whole

HEIGHT, WIDTH, N_FRAME = 16, 32, 12            # pixels of a frame, frames of a film
SMALL = 16                                     # pixels of a side of a digit
FREE = WIDTH - SMALL                           # the left side of a digit is between 0 and this
FASTEST = 2                                    # pixels a frame, to the right or left


class Films(NamedTuple):
    x: Tensor                                  # (n, T, 1, 16, 32) float32 in [0, 1]
    y: Tensor                                  # (n, n_digit) int64: which digits
    place: Tensor                              # (n, T, n_digit) int64: column of the centre, 8 to 24
    speed: Tensor                              # (n, n_digit) int64: pixels a frame before the first bounce

    def __repr__(self) -> str:
        return f"Films({', '.join(f'{name}={tuple(t.shape)}' for name, t in self._asdict().items())})"


def shrink(digits: Tensor) -> Tensor:
    """Digits of 28x28 without most of their border, as small pictures.  (n, 1, 28, 28) -> (n, 1, 16, 16)"""
    x = floats(digits, 1, 28, 28, like=torch.empty(0), what="digits")[..., 4:24, 4:24]
    return F.interpolate(x, (SMALL, SMALL), mode="bilinear", antialias=True).clamp(0, 1)


def enlarge(small: Tensor) -> Tensor:
    """The way back, for the judge of digits: a little blurred.  (n, 1, 16, 16) -> (n, 1, 28, 28)"""
    x = floats(small, 1, SMALL, SMALL, like=torch.empty(0), what="small digits")
    return F.pad(F.interpolate(x, (20, 20), mode="bicubic"), (4, 4, 4, 4)).clamp(0, 1)


def bounce(place: Tensor, far: int = FREE) -> Tensor:
    """Where something is that moves straight on between walls at 0 and `far`, given where it would be without walls: a
    walk of 2 * far brings it back.  (...) -> (...)     For far=16: 15, 16, 17, 18 -> 15, 16, 15, 14;  -1 -> 1"""
    whole(1, far=far)
    there = place % (2 * far)                                     # in [0, 2 far), also for what is below 0
    return torch.minimum(there, 2 * far - there)


def paste(picture: Tensor, corner: Tensor) -> Tensor:
    """A film of each picture on an empty ground, given the column of its left side in each frame: what lies outside of
    the frame is cut off.  (n, 1, 16, w), (n, T) of whole numbers -> (n, T, 1, 16, 32)"""
    n, _, _, w = picture.shape
    if corner.ndim != 2 or len(corner) != n or corner.is_floating_point():
        raise ValueError(f"columns of {n} pictures are whole numbers of shape ({n}, T), got {corner.dtype} "
                         f"{tuple(corner.shape)}")
    x = F.pad(floats(picture, 1, HEIGHT, w, like=torch.empty(0), what="pictures")[:, 0], (0, 1))            # empty rim
    at = torch.arange(WIDTH, device=x.device) - corner[..., None]                            # (n, T, 32)
    at = torch.where((at >= 0) & (at < w), at, w)
    film = torch.arange(n, device=x.device)[:, None, None, None]
    row = torch.arange(HEIGHT, device=x.device)[:, None]
    return x[film, row, at[:, :, None]][:, :, None]                                          # (n, T, 1, 16, 32)


def draw(n: int, generator: torch.Generator | None = None, *, part: str = "train", n_digit: int = 1,
         n_frame: int = N_FRAME) -> Films:
    """n films. Digit, place and speed are random: 1 or 2 pixels a frame, to the right or left. Where two digits meet,
    the darker ink counts.  part: of `digits`, train or test."""
    whole(1, n=n, n_digit=n_digit, n_frame=n_frame)
    x, y = _small(part)

    def some(high, *shape):
        return torch.randint(high, shape, generator=generator)

    which, start = some(len(x), n, n_digit), some(FREE + 1, n, n_digit)
    speed = some(2 * FASTEST, n, n_digit) - FASTEST               # -2, -1, 0, 1
    speed = speed + (speed >= 0)                                  # never at rest: -2, -1, 1, 2
    corner = bounce(start[:, None] + torch.arange(n_frame)[:, None] * speed[:, None])        # (n, T, n_digit)
    films = [paste(x[which[:, k]], corner[:, :, k]) for k in range(n_digit)]
    return Films(torch.stack(films).amax(0), y[which], corner + SMALL // 2, speed)


class MovingDigits:
    """Batches of new films of one training digit and their labels for `fit`, another n_batch of them each time:
    (B, n_frame, 1, 16, 32), (B,)"""

    def __init__(self, batch_size: int = 32, n_batch: int = 100, n_frame: int = N_FRAME):
        whole(1, batch_size=batch_size, n_batch=n_batch, n_frame=n_frame)
        self.batch_size, self.n_batch, self.n_frame = batch_size, n_batch, n_frame

    def __len__(self) -> int:
        return self.n_batch

    def __iter__(self):
        told = seeded(int(torch.randint(2**31, ())))              # films are drawn on the CPU
        for _ in range(self.n_batch):
            films = draw(self.batch_size, told, n_frame=self.n_frame)
            yield films.x, films.y[:, 0]


@lru_cache
def _small(part: str) -> tuple[Tensor, Tensor]:
    digits = load("digits")
    if part not in ("train", "test"):
        raise ValueError(f"unknown part {part!r}: choose train or test")
    x, y = getattr(digits, part)
    return shrink(x), y
