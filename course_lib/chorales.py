"""Chorales that a GPT writes: what a teacher of harmony would count in them, how they sound, and how they look.

    model = load("chorales")
    pieces = continued(model, [real.part(0, 8)], 56, generator=seeded(0))      # real: of data.chorales.load_chorales(8)
    table(pieces)                                                              # {"parallel fifths": 0.9, ...}
    synthesise(pieces[0])                                                      # (T,) in [-1, 1], 8,000 a second

A piece is a `data.chorales.Piece`: pitch (T, 4) in semitones, 0 is a rest; soprano, alto, tenor and bass.
"""

from contextlib import suppress
from itertools import combinations

import torch
from torch import Tensor

from course_lib.data.chorales import BAR, END, OFF, RANGES, REST, STEP, VOICES, Piece, decode, encode
from course_lib.decoding import generate
from course_lib.expect import above, between, whole
from course_lib.gpt import GPT

START = torch.tensor([END] + 4 * [REST])               # the step before every chorale
FIFTH, OCTAVE = 7, 0                                   # semitones, octaves left out
RATE = 8_000                                           # samples a second
TRIES = 8                                              # a piece that cannot be read is written again so often


def continued(model: GPT, beginnings: list[Piece], n_step: int, temperature: float = 1.0,
              generator: torch.Generator | None = None) -> list[Piece]:
    """Each beginning, and up to n_step steps that the model writes after it; a chorale that ends before stays so.

    A model can misplace a token, a pitch where the place in the bar should stand, say. Such a piece is thrown away and
    written again.  Raises ValueError where that happens TRIES times."""
    whole(1, n_step=n_step)
    prompts = [torch.cat([START, encode(piece, end=False)]) for piece in beginnings]
    pieces: dict[int, Piece] = {}
    for _ in range(TRIES):
        todo = [i for i in range(len(prompts)) if i not in pieces]
        new = generate(model, [prompts[i] for i in todo], STEP * n_step, temperature, generator=generator).cpu()
        for i, idx in zip(todo, new):
            with suppress(ValueError):
                pieces[i] = decode(torch.cat([prompts[i][STEP:], idx]))
        if len(pieces) == len(prompts):
            return [pieces[i] for i in range(len(prompts))]
    raise ValueError(f"{len(prompts) - len(pieces)} of {len(prompts)} pieces still have tokens in wrong places after "
                     f"{TRIES} tries: has this model learnt chorales?")


def first_bar(piece: Piece) -> Piece:
    """Everything before the second bar line: the upbeat, if there is one, and the first bar."""
    bars = (piece.place == BAR).nonzero()[:, 0].tolist()
    return piece.part(0, bars[1] if len(bars) > 1 else None)


# ------------------------------------------------------------------------------------------------------------ counting

def moves(piece: Piece) -> Tensor:
    """By how many semitones each voice moves from a step to the next, 0 from or to a rest.  -> (T - 1, 4)"""
    before, after = piece.pitch[:-1], piece.pitch[1:]
    return torch.where((before > 0) & (after > 0), after - before, 0)


def parallels(piece: Piece, interval: int) -> int:
    """How often two voices move in the same direction from this interval to this interval, octaves not counted: 7
    semitones are a fifth, 0 an octave or unison. Both are forbidden to beginners, for two voices then sound as one."""
    whole(0, 11, interval=interval)
    move, count = moves(piece), 0
    for upper, lower in combinations(range(4), 2):
        same = (piece.pitch[:, upper] - piece.pitch[:, lower]) % 12 == interval                # (T,)
        together = move[:, upper].sign() * move[:, lower].sign() > 0                           # (T - 1,)
        count += int((same[:-1] & same[1:] & together).sum())
    return count


def dissonant(piece: Piece) -> Tensor:
    """Does the chord hold a second, a seventh or a tritone, octaves not counted?  -> (T,) bool"""
    found = torch.zeros(len(piece.pitch), dtype=torch.bool)
    for upper, lower in combinations(range(4), 2):
        apart = (piece.pitch[:, upper] - piece.pitch[:, lower]) % 12
        both = (piece.pitch[:, upper] > 0) & (piece.pitch[:, lower] > 0)
        found |= both & ((apart == 1) | (apart == 2) | (apart == 6) | (apart == 10) | (apart == 11))
    return found


def crossed(piece: Piece) -> Tensor:
    """Does a lower voice sound above a higher one?  -> (T,) bool"""
    upper, lower = piece.pitch[:, :-1], piece.pitch[:, 1:]                     # 2 x (T, 3): neighbours
    return ((lower > upper) & (upper > 0)).any(1)


def outside(piece: Piece) -> Tensor:
    """Does a note begin that no chorale asks of this voice?  -> (T, 4) bool"""
    low, high = torch.tensor(RANGES).T                                         # 2 x (4,)
    return piece.attack & ((piece.pitch < low) | (piece.pitch > high))


def triad(piece: Piece) -> Tensor:
    """Is the chord a major or minor triad with its root in the bass? (The fifth may be missing.)  -> (T,) bool"""
    above_bass = (piece.pitch - piece.pitch[:, 3:]) % 12                       # (T, 4)
    third = ((above_bass == 3) | (above_bass == 4)).any(1)
    allowed = (above_bass == 0) | (above_bass == 3) | (above_bass == 4) | (above_bass == 7)
    both = (above_bass == 3).any(1) & (above_bass == 4).any(1)
    return allowed.all(1) & third & ~both & (piece.pitch > 0).all(1)


def table(pieces: list[Piece]) -> dict[str, float]:
    """All counts of some pieces together: parallels per 100 changes of the chord, everything else in per cent.

    `dissonant beats` and `crossed voices` of all beats and steps, `out of range` and `repeated notes` of all notes,
    `pauses` of all beats, `pauses on a triad` of all pauses, `rests` of all steps of all voices."""
    if not pieces or not any(len(piece.pitch) > 1 for piece in pieces):
        raise ValueError(f"got {len(pieces)} pieces: nothing can be counted in less than two steps")
    n = dict.fromkeys(("changes", "fifths", "octaves", "beats", "dissonant", "steps", "crossed", "notes", "outside",
                       "repeated", "pauses", "triads", "rests"), 0)
    for piece in pieces:
        beat, sounds = piece.place != OFF, piece.pitch > 0
        again = piece.attack[1:] & (piece.pitch[1:] == piece.pitch[:-1])
        n["changes"] += int((moves(piece) != 0).any(1).sum())
        n["fifths"] += parallels(piece, FIFTH)
        n["octaves"] += parallels(piece, OCTAVE)
        n["beats"] += int(beat.sum())
        n["dissonant"] += int((beat & dissonant(piece)).sum())
        n["steps"] += len(piece.pitch)
        n["crossed"] += int(crossed(piece).sum())
        n["notes"] += int(piece.attack.sum())
        n["outside"] += int(outside(piece).sum())
        n["repeated"] += int(again.sum())
        n["pauses"] += int(piece.pause.sum())
        n["triads"] += int((piece.pause & triad(piece)).sum())
        n["rests"] += int((~sounds).sum())
    rows = {"parallel fifths": ("fifths", "changes"), "parallel octaves": ("octaves", "changes"),
            "dissonant beats": ("dissonant", "beats"), "crossed voices": ("crossed", "steps"),
            "out of range": ("outside", "notes"), "repeated notes": ("repeated", "notes"),
            "pauses": ("pauses", "beats"), "pauses on a triad": ("triads", "pauses")}
    shares = {name: 100 * n[part] / max(n[whole_], 1) for name, (part, whole_) in rows.items()}
    return shares | {"rests": 100 * n["rests"] / (4 * n["steps"])}


def shuffled(piece: Piece, generator: torch.Generator | None = None) -> Piece:
    """A control: every voice keeps its melody, but each begins at another bar (what is over comes first). Their notes
    are still of one key, and have nothing to do with each other.  Raises ValueError for less than four bars."""
    bars = (piece.place == BAR).nonzero()[:, 0]
    if len(bars) < 4:
        raise ValueError(f"a piece of {len(bars)} bars cannot give each of 4 voices a bar of its own to begin at")
    first = bars[torch.randperm(len(bars), generator=generator)[:4]] - bars[0]                 # (4,) steps
    rows = (torch.arange(len(piece.pitch))[:, None] + first) % len(piece.pitch)                # (T, 4)
    return piece._replace(pitch=piece.pitch.gather(0, rows), attack=piece.attack.gather(0, rows))


class Copied:
    """How much of a piece stands, note for note, in others: `Copied(train).longest(piece)`, in steps. In which key does
    not matter."""

    def __init__(self, pieces: list[Piece]):
        self.texts = [_relative(piece) for piece in pieces]
        self.runs: dict[int, set] = {}                                         # length -> every run of that length

    def longest(self, piece: Piece) -> int:
        """The longest run of chords, in steps, that some piece has too. Lengths are halved until it is found: whoever
        shares 12 steps shares 11."""
        text, low, high = _relative(piece), 0, len(piece.pitch)
        while low < high:
            n = (low + high + 1) // 2
            low, high = (n, high) if self._shares(text, n) else (low, n - 1)
        return low

    def _shares(self, text: list, n: int) -> bool:
        if n not in self.runs:
            self.runs[n] = {run for other in self.texts for run in _runs(other, n)}
        return any(run in self.runs[n] for run in _runs(text, n))


def _runs(text: list[tuple], n: int):
    """All runs of n chords; how the first was reached does not count."""
    return ((text[i][1],) + tuple(text[i + 1:i + n]) for i in range(len(text) - n + 1))


def _relative(piece: Piece) -> list[tuple]:
    """Each chord as what a change of key leaves alone: how far the voices have moved, and how far each is below the
    highest that sounds (a rest is 99)."""
    move = torch.cat([torch.zeros(1, 4, dtype=torch.long), moves(piece)])
    below = torch.where(piece.pitch > 0, piece.pitch.amax(1, keepdim=True) - piece.pitch, 99)
    return [(tuple(m), tuple(b)) for m, b in zip(move.tolist(), below.tolist())]


# --------------------------------------------------------------------------------------------------- sound and picture

def notes(piece: Piece) -> Tensor:
    """The notes of a piece: (n, 4) int64, each a row of voice, first step, step after the last, pitch.

    A note begins at its attack, and wherever a voice goes on at another pitch."""
    found = []
    for voice in range(4):
        pitch, start = piece.pitch[:, voice].tolist(), None
        attack = piece.attack[:, voice].tolist()
        for t in range(len(pitch) + 1):
            ends = t == len(pitch) or attack[t] or t == 0 or pitch[t] != pitch[t - 1]
            if ends and start is not None:
                found.append([voice, start, t, pitch[start]])
                start = None
            if ends and t < len(pitch) and pitch[t] > 0:
                start = t
    return torch.tensor(found, dtype=torch.long).view(-1, 4)


def synthesise(piece: Piece, seconds: float = 0.3, rate: int = RATE, n_harmonic: int = 6) -> Tensor:
    """A sound (T,) in [-1, 1], `seconds` a step: additive synthesis.

    A note of frequency f is a sum of sines of f, 2 f, 3 f, ..., each softer than the last, by 1/k^1.5; those above half
    the rate are left out, since it cannot hold them. Under an envelope it starts in 15 milliseconds, fades slowly, and
    is gone 60 milliseconds after its end."""
    above(0, seconds=seconds)
    whole(100, rate=rate)
    whole(1, n_harmonic=n_harmonic)
    tail = round(0.06 * rate)
    sound = torch.zeros(round(len(piece.pitch) * seconds * rate) + tail)
    for _, begin, end, pitch in notes(piece).tolist():
        first, last = round(begin * seconds * rate), round(end * seconds * rate)
        t = torch.arange(last - first + tail, dtype=torch.float64) / rate     # (n,) seconds since it began
        f = 440 * 2 ** ((pitch - 69) / 12)                                     # Hz; pitch 69 is the A of 440
        tone = sum(torch.sin(2 * torch.pi * k * f * t) / k**1.5 for k in range(1, n_harmonic + 1) if k * f < rate / 2)
        envelope = (t / 0.015).clamp(max=1) * torch.exp(-t) * ((t[-1] - t) / 0.06).clamp(max=1)
        sound[first:last + tail] += (tone * envelope).float()
    return 0.9 * sound / sound.abs().max().clamp(min=1e-9)


def piano_roll(piece: Piece, ax=None, given: int = 0, title: str | None = None):
    """Draw a piece (on a grid of eighths): time to the right, pitch upwards, a colour a voice; returns the axes.

    given: how many steps are real; they stand on grey ground.  Thin lines are bars, triangles are pauses."""
    import matplotlib.pyplot as plt

    from course_lib.plots import COLOURS

    between(0, len(piece.pitch), given=given)
    if ax is None:
        _, ax = plt.subplots(figsize=(9, 2.8))
    for voice, begin, end, pitch in notes(piece).tolist():
        ax.barh(pitch, end - begin - 0.15, left=begin, height=0.9, color=COLOURS[voice], align="center")
    for t in (piece.place == BAR).nonzero()[:, 0].tolist():
        ax.axvline(t, color="0.85", lw=0.8, zorder=0)
    top = 83.5
    ax.plot(piece.pause.nonzero()[:, 0] + 0.5, [top - 1] * int(piece.pause.sum()), "v", color="0.3", ms=5)
    if given:
        ax.axvspan(0, given, color="0.9", zorder=-1)
    for voice, name in enumerate(VOICES):
        ax.plot([], [], color=COLOURS[voice], lw=5, label=name)
    ax.set(xlim=(0, len(piece.pitch)), ylim=(34.5, top), xlabel="eighths",
           yticks=[36, 48, 60, 72], yticklabels=["C2", "C3", "C4", "C5"])
    ax.set_title(title or "", loc="left")
    ax.legend(ncols=4, fontsize=8, loc="lower right", bbox_to_anchor=(1, 1), frameon=False)
    return ax
