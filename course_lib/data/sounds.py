"""Sounds of half a second of which everything is known: notes of 22 instruments, and spoken digits of four voices.

    notes = load_sounds("notes")                       # notes.train.x (484, 4096) in [-1, 1], .what (484, 3)
    spoken = load_sounds("spoken")                     # spoken.train.x (800, 4096), .what (800, 2)

`what` says in its columns: instrument, note, loudness; or digit, voice. RATE samples a second, of course_lib.audio; in
the files beside this one, each sample is one byte (mu-law).
"""

from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from course_lib.audio import from_mu_law

LENGTH = 4_096                                         # samples: 0.512 seconds
INSTRUMENTS = {                                        # name -> its programme in General MIDI, counted from 0
    "piano": 0, "electric piano": 4, "harpsichord": 6, "celesta": 8, "music box": 10, "vibraphone": 11, "marimba": 12,
    "accordion": 21, "harmonica": 22, "steel guitar": 25, "overdriven guitar": 29, "cello": 42, "harp": 46, "voice": 53,
    "trumpet": 56, "trombone": 57, "saxophone": 64, "oboe": 68, "bassoon": 70, "clarinet": 71, "flute": 73,
    "ocarina": 79}
NOTES = tuple(range(60, 73))                           # keys: middle C, 262 Hz, up to the next C, in semitones
NOTE_NAMES = ("C4", "C#4", "D4", "D#4", "E4", "F4", "F#4", "G4", "G#4", "A4", "A#4", "B4", "C5")
VELOCITIES = (50, 115)                                 # how hard a key is struck: softly, loudly
VOICES = ("kal16", "awb", "rms", "slt")                # of flite
VARIANTS = 25                                          # of each digit by each voice: 5 lengths x 5 heights


class Sounds(NamedTuple):
    x: Tensor                                          # (N, LENGTH) float32 in [-1, 1]
    what: Tensor                                       # (N, 3): instrument, note, loudness; or (N, 2): digit, voice

    def __repr__(self) -> str:
        return f"Sounds(x={tuple(self.x.shape)}, what={tuple(self.what.shape)})"


class SoundSet(NamedTuple):
    train: Sounds
    test: Sounds


def load_sounds(name: str) -> SoundSet:
    """`notes` or `spoken`, from the file beside this one.

    Of each instrument, two notes are in `test` and not in `train`, in both loudnesses: others play them, and the
    instrument plays others. Of each digit by each voice, five of 25 variants are in `test`.
    Raises ValueError for another name."""
    if name not in ("notes", "spoken"):
        raise ValueError(f"unknown sounds {name!r}: choose notes or spoken")
    with np.load(Path(__file__).with_name(f"{name}.npz")) as d:
        x, what = from_mu_law(torch.from_numpy(d["x"])), torch.from_numpy(d["what"]).long()
    if name == "notes":
        test = kept_apart(what[:, 0], what[:, 1])
    else:
        test = torch.arange(len(x)) % 5 == torch.arange(len(x)) // VARIANTS % 5
    return SoundSet(*(Sounds(x[i], what[i]) for i in (~test, test)))


def kept_apart(instrument: Tensor, note: Tensor) -> Tensor:
    """Whether no training sound is this note by this instrument: two of the 13 for each.  (n,), (n,) -> (n,) bool"""
    first = 5 * instrument % len(NOTES)
    return (note == first) | (note == (first + 6) % len(NOTES))
