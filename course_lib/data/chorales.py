"""Bach's chorales: four voices on a grid, as numbers and as tokens for a language model.

    chorales = load_chorales(grid=8)                   # .train, .test: lists of pieces, on a grid of eighths
    piece = chorales.test[0]                           # piece.pitch (T, 4), piece.attack (T, 4), ...
    encode(transposed(piece, 2))                       # (5 T + 5,) int64: one tone higher, as tokens

A step of the grid is five tokens: where in the bar it is, then what soprano, alto, tenor and bass do. A pitch is a
number of semitones as MIDI counts them: 60 is middle C, 12 more is an octave higher. Pitch 0 is a rest.
"""

from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from course_lib.expect import indices, whole

VOICES = ("Soprano", "Alto", "Tenor", "Bass")
RANGES = ((57, 81), (53, 74), (48, 69), (36, 64))      # lowest and highest pitch of each voice in all chorales
LOWEST, HIGHEST = RANGES[3][0], RANGES[0][1]

# The tokens: seven for the place in the bar, one for silence, and two a pitch, for a note that begins and one that goes
# on. END stands behind every chorale, and so before the next.
END, BAR, BEAT, OFF = range(4)                         # first of a bar, another beat (quarter), between two beats
PAUSE = 3                                              # added to the last three under a fermata: a line of text ends
REST = 7
BEGINS = 8                                             # + pitch - LOWEST
HOLDS = BEGINS + HIGHEST - LOWEST + 1                  # + pitch - LOWEST
VOCABULARY = HOLDS + HIGHEST - LOWEST + 1
STEP = 5                                               # tokens of a step


class Piece(NamedTuple):
    pitch: Tensor                                      # (T, 4) int64, 0 is a rest; columns are VOICES
    attack: Tensor                                     # (T, 4) bool: does a note begin here?
    place: Tensor                                      # (T,) int64: BAR, BEAT or OFF
    pause: Tensor                                      # (T,) bool: a fermata begins here
    title: str = ""
    bwv: str = ""                                      # its number in the catalogue of Bach's works
    number: int = 0                                    # among the 371 of Riemenschneider's edition
    tonic: int = -1                                    # of the key, 0 is C ... 11 is B; -1 is unknown
    minor: bool = False

    def __repr__(self) -> str:
        return f"Piece({len(self.pitch)} steps, {self.title!r}, BWV {self.bwv or '?'})"

    def part(self, begin: int, end: int | None = None) -> "Piece":
        """Steps begin to end - 1 of it."""
        return self._replace(**{name: getattr(self, name)[begin:end] for name in ("pitch", "attack", "place", "pause")})


class Chorales(NamedTuple):
    train: list[Piece]
    test: list[Piece]

    def __repr__(self) -> str:
        return f"Chorales(train={len(self.train)} pieces, test={len(self.test)} pieces)"


def load_chorales(grid: int = 16) -> Chorales:
    """348 chorales from the file beside this one, on a grid of sixteenths, or of eighths (grid=8), which is coarser: of
    two sixteenths the second is not heard. A tenth is for the test; no tune is on both sides.

    Raises ValueError for another grid."""
    if grid not in (8, 16):
        raise ValueError(f"grid={grid} must be 16 or 8")
    with np.load(Path(__file__).with_name("chorales.npz")) as file:
        d = {name: file[name] for name in file.files}                          # once: each access decompresses
    place = np.where(d["position"] == 0, BAR, np.where(d["position"] % 4 == 0, BEAT, OFF))
    pitch, parts = d["pitch"].astype(np.int64), Chorales([], [])
    for k, (begin, end) in enumerate(zip(d["start"], d["start"][1:])):
        music = (torch.from_numpy(array[begin:end]) for array in (pitch, d["attack"], place, d["pause"]))
        piece = Piece(*music, title=str(d["title"][k]), bwv=str(d["bwv"][k]), number=int(d["number"][k]),
                      tonic=int(d["tonic"][k]), minor=bool(d["minor"][k]))
        if grid == 8:
            piece = _coarser(piece, torch.from_numpy(d["position"][begin:end] % 2 == 0))
        (parts.test if d["test"][k] else parts.train).append(piece)
    return parts


def _coarser(piece: Piece, kept: Tensor) -> Piece:
    """Only the steps that are kept. What began in one that is not, and still sounds, begins at the next."""
    before = piece.attack.roll(1, 0)
    before[0] = False
    attack = (piece.attack | before & ~kept.roll(1)[:, None]) & (piece.pitch > 0)
    pause = piece.pause | piece.pause.roll(1) & ~kept.roll(1)
    return piece._replace(pitch=piece.pitch[kept], attack=attack[kept], place=piece.place[kept], pause=pause[kept])


def room(piece: Piece) -> tuple[int, int]:
    """By how many semitones a piece can be moved down and up: no voice leaves its range of RANGES.  -> (-4, 3)"""
    low, high = torch.tensor(RANGES).T                                         # 2 x (4,)
    sounds = piece.pitch > 0
    down = (low - piece.pitch.masked_fill(~sounds, HIGHEST + 12).amin(0)).amax()
    up = (high - piece.pitch.amax(0)).amin()
    return min(int(down), 0), max(int(up), 0)


def transposed(piece: Piece, shift: int) -> Piece:
    """The same piece, `shift` semitones higher. Rests stay rests.  Raises ValueError where it does not fit."""
    whole(-48, 48, shift=shift)
    pitch = torch.where(piece.pitch > 0, piece.pitch + shift, 0)
    outside = (pitch > 0) & ((pitch < LOWEST) | (pitch > HIGHEST))
    if outside.any():
        raise ValueError(f"shift={shift} moves a note to pitch {int(pitch[outside][0])}: no token is below {LOWEST} or "
                         f"above {HIGHEST}")
    return piece._replace(pitch=pitch, tonic=(piece.tonic + shift) % 12 if piece.tonic >= 0 else -1)


# -------------------------------------------------------------------------------------------------------------- tokens

def encode(piece: Piece, end: bool = True) -> Tensor:
    """The tokens of a piece, five a step, and five more for its end if asked.  -> (5 T + 5,) or (5 T,) int64"""
    sung = torch.where(piece.attack, BEGINS, HOLDS) + piece.pitch - LOWEST                     # (T, 4)
    steps = torch.cat([(piece.place + PAUSE * piece.pause)[:, None], torch.where(piece.pitch > 0, sung, REST)], 1)
    if end:
        steps = torch.cat([steps, torch.tensor([[END] + 4 * [REST]])])
    return steps.flatten()


def decode(idx: Tensor) -> Piece:
    """The piece that tokens say, up to the first END.  (n,), of which five make a step and what is over is not read

    Raises ValueError where a token stands at a wrong place: a pitch for a place in the bar, say."""
    idx = indices("tokens", idx, VOCABULARY, "n").cpu()
    steps = idx[:len(idx) // STEP * STEP].view(-1, STEP)                       # (T, 5)
    ends = (steps[:, 0] == END).nonzero()
    steps = steps[:int(ends[0])] if len(ends) else steps
    wrong = torch.cat([steps[:, :1] >= REST, steps[:, 1:] < REST], 1).nonzero()
    if len(wrong):
        t, k = wrong[0].tolist()
        raise ValueError(f"token {int(steps[t, k])} of step {t} cannot be " +
                         (f"what the {VOICES[k - 1].lower()} sings" if k else "a place in the bar"))
    time, sung = steps[:, 0], steps[:, 1:]
    begins, rests = (sung >= BEGINS) & (sung < HOLDS), sung == REST
    pitch = torch.where(rests, 0, sung - torch.where(begins, BEGINS, HOLDS) + LOWEST)
    return Piece(pitch, begins, (time - 1) % PAUSE + 1, time > PAUSE)


class ChoraleWindows:
    """Random pieces of chorales: `for (idx,) in ChoraleWindows(chorales.train, batch_size=8, n_step=64)`, idx
    (B, 5 n_step + 1), each beginning at a step. One pass is about one epoch, with every chorale moved to a key of its
    own that lies in the voices' ranges (moved=False: as Bach wrote them), in a new order, one behind the other.

    Everything is drawn from PyTorch's global generator."""

    def __init__(self, pieces: list[Piece], batch_size: int, n_step: int, moved: bool = True):
        whole(1, batch_size=batch_size, n_step=n_step)
        if sum(len(piece.pitch) + 1 for piece in pieces) <= n_step:
            raise ValueError(f"{len(pieces)} chorales have no window of n_step={n_step} steps")
        self.pieces = [encode(piece) for piece in pieces]
        self.rooms = [room(piece) if moved else (0, 0) for piece in pieces]
        self.batch_size, self.n_step = batch_size, n_step

    def __len__(self) -> int:
        return max(1, sum(map(len, self.pieces)) // (STEP * self.batch_size * self.n_step))

    def __iter__(self):
        moved = []
        for k in torch.randperm(len(self.pieces)).tolist():
            (down, up), idx = self.rooms[k], self.pieces[k]
            shift = int(torch.randint(down, up + 1, ()))
            moved.append(torch.where(idx >= BEGINS, idx + shift, idx))
        text, offsets = torch.cat(moved), torch.arange(STEP * self.n_step + 1)
        for _ in range(len(self)):
            start = STEP * torch.randint(len(text) // STEP - self.n_step, (self.batch_size, 1))
            yield (text[start + offsets],)                                     # (B, 5 n_step + 1)
