"""Pixel-art faces of which every attribute is known, and captions that say some of them.

    faces = load("avatars")                            # of course_lib.data: 10,000 faces, 16x16, colour
    caption(faces.train.shown[0], seeded(0))           # 'a sad person with long blue hair, a green shirt and a beard'
    encode(["a red hat", "dark glasses"])              # (2, 24) int64

One face is a row of 8 small numbers, one an attribute in the order of ATTRIBUTES. UNSAID, -1, stands for what cannot be
seen in a picture (hair under a hat), what a caption leaves out, and what nobody asks for: it is never counted.
"""

import difflib
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from course_lib.expect import between

# attribute -> the names of its values; value k of attribute a is ATTRIBUTES[a][k]
ATTRIBUTES = {
    "skin": ("light", "tan", "dark"),
    "hair colour": ("black", "brown", "blond", "red", "blue", "green"),
    "hair length": ("short", "long"),
    "hat": ("none", "red", "blue", "green", "yellow", "black", "purple"),
    "glasses": ("none", "dark", "light"),
    "beard": ("none", "beard"),
    "mood": ("happy", "sad"),
    "shirt": ("red", "blue", "green", "yellow", "black"),
}
NAMES = tuple(ATTRIBUTES)
UNSAID = -1

# What no training face shows: two values of two attributes together.
HELD_OUT = (
    (("hair colour", "blue"), ("shirt", "red")),
    (("hair colour", "green"), ("shirt", "black")),
    (("hat", "green"), ("glasses", "dark")),
    (("hat", "red"), ("shirt", "yellow")),
    (("hat", "blue"), ("hair colour", "blond")),
)

# Word k of a caption is the number k; 0 fills up what a caption is shorter than the longest.
WORDS = ("<pad>", "a", "and", "with", "wearing", "looking", "has", "of", "portrait", "person", "face",
         "light", "tan", "dark", "skin", "short", "long", "hair", "black", "brown", "blond", "red", "blue", "green",
         "yellow", "purple", "hat", "glasses", "beard", "shirt", "happy", "sad")
LENGTH = 24                                            # words of the longest caption


class Faces(NamedTuple):
    x: Tensor                                          # (N, 3, 16, 16) float32 in [0, 1]
    attributes: Tensor                                 # (N, 8) int64, also of what is hidden
    visible: Tensor                                    # (N, 8) bool

    @property
    def shown(self) -> Tensor:
        """The attributes that can be seen, and UNSAID for those that cannot: what may be told and asked.  (N, 8)"""
        return self.attributes.masked_fill(~self.visible, UNSAID)

    def __repr__(self) -> str:
        return f"Faces(x={tuple(self.x.shape)}, attributes={tuple(self.attributes.shape)})"


class Avatars(NamedTuple):
    train: Faces
    test_seen: Faces
    test_unseen: Faces


def load_avatars() -> Avatars:
    """10,000 faces from the file beside this one; `load("avatars")` of course_lib.data calls this.

    train (8,000) and test_seen (1,000) show no pair of HELD_OUT; every face of test_unseen (1,000) shows one, 200 faces
    a pair: combinations of values that a model has met one by one and never together. No picture occurs twice.
    """
    with np.load(Path(__file__).with_name("avatars.npz")) as d:
        return Avatars(*(Faces(torch.from_numpy(d[f"x_{part}"]).permute(0, 3, 1, 2).contiguous().float().div(255),
                               torch.from_numpy(d[f"attributes_{part}"]).long(),
                               torch.from_numpy(d[f"visible_{part}"])) for part in Avatars._fields))


def with_jobs(has: Tensor, share: float, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Give faces one of two invented jobs, so that the job goes with something that can be seen: of those with job 0,
    `share` have it, of those with job 1, 1 - share, and half of all faces have it. Which of them is drawn by lot, so
    that nothing else goes with the job but what goes with `has`.

    has (N,) bool: who has it.  -> the rows that get a job, (2m,) int64, and their jobs (2m,), 0 or 1, m of each; m is
    as large as it can be.  Raises ValueError if nobody has it, or everybody."""
    between(0, 1, share=share)
    if has.dtype != torch.bool or has.ndim != 1:
        raise ValueError(f"who has it is true or false for each face, (N,) bool, got {tuple(has.shape)} of {has.dtype}")
    those, others = (which.nonzero()[:, 0] for which in (has, ~has))
    m = min(len(those), len(others))
    if not m:
        raise ValueError(f"{len(those)} faces have it and {len(others)} do not: both kinds are needed")
    those, others = (rows[torch.randperm(len(rows), generator=generator)[:m]] for rows in (those, others))
    cut = round(share * m)
    rows = torch.cat([those[:cut], others[cut:], those[cut:], others[:cut]])
    return rows, torch.arange(2 * m) // m


# ------------------------------------------------------------------------------------------------------------ captions

def caption(attributes: Tensor | list[int], generator: torch.Generator, leave_out: float = 0.15) -> str:
    """One of many ways to describe a face: seven phrasings, what is said in any order, each part left out with
    probability `leave_out`. UNSAID is not said, nor is what is not there: no caption says "no hat".

    attributes (8,): a row of `Faces.shown`.  The generator, on the CPU, decides everything: the same one, the same
    caption.  Raises ValueError for a value that an attribute does not have.
    """
    if len(attributes) != len(NAMES):
        raise ValueError(f"a face has {len(NAMES)} attributes, got {len(attributes)}")
    draw = torch.rand(20, generator=generator).tolist()                       # one call: captions are made in training
    value = {}
    for name, k, u in zip(NAMES, map(int, attributes), draw):
        if not UNSAID <= k < len(ATTRIBUTES[name]):
            raise ValueError(f"{name} has the values 0 to {len(ATTRIBUTES[name]) - 1}, not {k}")
        if k != UNSAID and ATTRIBUTES[name][k] != "none" and u >= leave_out:
            value[name] = ATTRIBUTES[name][k]
    hair = " ".join(value[n] for n in ("hair length", "hair colour") if n in value)
    has, wears = [], []
    for name, phrases, words in (("skin", has, "{} skin"), ("beard", has, "a beard"), ("hat", wears, "a {} hat"),
                                 ("glasses", wears, "{} glasses"), ("shirt", wears, "a {} shirt")):
        if name in value:
            phrases.append(words.format(value[name]))
    if hair:
        has.append(f"{hair} hair")
    order = dict(zip(has + wears, draw[8:]))                                  # sorted by these numbers
    both, has, wears = (sorted(part, key=order.get) for part in (has + wears, has, wears))
    mood = value.get("mood", "")
    person, face = (" ".join(filter(None, ["a", mood, noun])) for noun in ("person", "face"))
    looking = f", looking {mood}" if mood else ""
    form = int(7 * draw[16])
    if form == 0 or not both:
        return _join(person, " with ", both)
    if form == 1:
        return _join(face, " with ", both)
    if form == 2:
        return _join(f"a portrait of {person}", " with ", both)
    if form == 3:
        return _join(person, " has ", both)
    if form == 4:
        return _join("a person", " with ", both) + looking
    if form == 5:
        parts = [(" wearing ", wears), (" with ", has)]
        if draw[17] < 0.5:
            parts.reverse()
        (link, first), (then, second) = parts
        return _join(_join(person, link, first), f",{then}" if first else then, second)
    return _join("", "", sorted([*both, face] if mood else both, key=(order | {face: draw[18]}).get))


def _join(start: str, link: str, phrases: list[str]) -> str:
    """start, link and "p, q and r"; the start alone if there is nothing to say."""
    told = " and ".join(filter(None, [", ".join(phrases[:-1]), *phrases[-1:]]))
    return start + link + told if phrases else start


def encode(captions: list[str], length: int = LENGTH, words: tuple[str, ...] = WORDS) -> Tensor:
    """Captions as numbers of their words, filled up with 0: B captions -> (B, length) int64. Commas, full stops and
    capitals are ignored; "" is all 0.

    words: another vocabulary, such as (*WORDS, "zorp").  Raises ValueError for a word that is not in it and names the
    nearest one, and for a caption that is too long.
    """
    number, rows = {word: k for k, word in enumerate(words)}, []
    for text in [captions] if isinstance(captions, str) else captions:
        row = [number.get(word) for word in _words(text)]
        if None in row:
            word = _words(text)[row.index(None)]
            near = difflib.get_close_matches(word, words[1:], n=1, cutoff=0.0)
            raise ValueError(f"no caption has the word {word!r}: did you mean {near[0]!r}?")
        if len(row) > length:
            raise ValueError(f"a caption of {len(row)} words is longer than {length}: {text!r}")
        rows.append(row + [0] * (length - len(row)))
    return torch.tensor(rows, dtype=torch.long).view(len(rows), length)


def said(text: str) -> Tensor:
    """What a caption asks for: (8,) int64, UNSAID where it says nothing; `caption` backwards, for any order of words.

    An adjective belongs to the next noun. A hat of no colour asks for nothing, since no value stands for "any hat".
    Raises ValueError for an unknown word, and for one that does not fit its noun ("tan hair").
    """
    encode([text], length=max(LENGTH, len(_words(text))))                     # names an unknown word
    values, waiting = dict.fromkeys(NAMES, UNSAID), []
    moods, lengths = ATTRIBUTES["mood"], ATTRIBUTES["hair length"]
    for word in _words(text):
        if word in moods:
            values["mood"] = moods.index(word)
        elif word == "beard":
            values["beard"] = 1
        elif word in ("skin", "hair", "hat", "glasses", "shirt"):
            for adjective in waiting:
                name = {"hair": "hair length" if adjective in lengths else "hair colour"}.get(word, word)
                if adjective not in ATTRIBUTES[name]:
                    raise ValueError(f"there is no {adjective} {word}: {word} can be "
                                     f"{', '.join(v for v in ATTRIBUTES[name] if v != 'none')}")
                values[name] = ATTRIBUTES[name].index(adjective)
            waiting = []
        elif any(word in known for known in ATTRIBUTES.values()):
            waiting.append(word)
    return torch.tensor(list(values.values()))


def _words(text: str) -> list[str]:
    return text.lower().replace(",", " ").replace(".", " ").split()
