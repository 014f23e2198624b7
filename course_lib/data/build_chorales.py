"""How `chorales.npz` was made.   python -m course_lib.data.build_chorales path/to/music21-10.5.1-py3-none-any.whl

The scores come from the corpus of music21 (Michael Scott Asato Cuthbert and others). Needs, which nobody needs who only
loads them:

    pip download --no-deps music21==10.5.1
    pip install music21==10.5.1

The book of 371 chorales that music21 counts by (Riemenschneider) prints some of them twice or three times: 349 scores
are left. One of them has five voices and is left out. Every other is put on a grid of sixteenths: of each voice, the
note that sounds and whether it begins here. Notes shorter than a sixteenth that lie between two places of the grid
vanish, interludes of instruments, in which the choir is silent for bars, are cut out, and repeats are not played.

Bach set many a tune several times. A tune is on one side of the split only: chorales of one title, or with twelve
steps of the soprano in common, stay together.
"""

import hashlib
import json
import sys
from collections import Counter
from pathlib import Path

import numpy as np

from course_lib.data.chorales import VOICES

TARGET = Path(__file__).with_name("chorales.npz")
SOURCES = Path(__file__).with_name("chorales_sources.json")                    # package, hash, licence
TEST_SHARE = 0.1
TUNE = 12                                              # steps in common: by then it is the same tune


def choir(score) -> list | None:
    """The parts of soprano, alto, tenor and bass, or None where somebody else sings."""
    if all(part.partName is None for part in score.parts) and len(score.parts) == 4:
        return list(score.parts)
    found = [[part for part in score.parts if (part.partName or "").startswith(voice)] for voice in VOICES]
    return [parts[0] for parts in found] if all(len(parts) == 1 for parts in found) else None


def on_grid(parts) -> dict[str, np.ndarray]:
    """Four parts of a score -> pitch (n, 4), 0 for a rest, attack (n, 4), pause (n,), position (n,) and bar (n,), how
    many sixteenths this bar has."""
    flat = [part.flatten() for part in parts]
    n = max(round(4 * part.highestTime) for part in flat)
    grid = dict(pitch=np.zeros((n, 4), np.uint8), attack=np.zeros((n, 4), bool), pause=np.zeros(n, bool),
                position=np.zeros(n, np.uint8), bar=np.zeros(n, np.uint8))
    for voice, part in enumerate(flat):
        for note in part.notes:
            begin, end = (int(np.ceil(4 * float(t) - 1e-6)) for t in (note.offset, note.offset + note.quarterLength))
            if begin < end:
                grid["pitch"][begin:end, voice] = note.pitch.midi
                new = begin == 0 or grid["pitch"][begin - 1, voice] != note.pitch.midi
                grid["attack"][begin, voice] = new or note.tie is None or note.tie.type == "start"
                grid["pause"][begin] |= any(type(mark).__name__ == "Fermata" for mark in note.expressions)
    for measure in parts[0].getElementsByClass("Measure"):                     # one that is not full ends a bar
        begin, left_out = round(4 * measure.offset), round(4 * measure.paddingLeft)
        grid["position"][begin:] = np.arange(n - begin) + left_out
        grid["bar"][begin:] = round(4 * measure.barDuration.quarterLength)
    return grid


def without_silence(grid: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Take away what is silent at both ends, and whole bars of silence inside."""
    sounds = np.flatnonzero(grid["pitch"].any(1))
    keep = np.zeros(len(grid["pitch"]), bool)
    keep[sounds[0]:sounds[-1] + 1] = True
    for last, following in zip(sounds, sounds[1:]):
        bar = int(grid["bar"][last])
        keep[last + 1:last + 1 + (following - last - 1) // bar * bar] = False
    return {name: array[keep] for name, array in grid.items()}


def families(titles: list[str], grids: list[dict]) -> np.ndarray:
    """Which chorales have one tune: a number for each, (n,), that of the first of its family."""
    family, owner = list(range(len(titles))), {}
    for k, (title, grid) in enumerate(zip(titles, grids)):
        tune = grid["pitch"][grid["attack"][:, 0], 0].astype(int)
        steps = np.diff(tune)
        for key in [title] + [tuple(steps[i:i + TUNE]) for i in range(len(steps) - TUNE + 1)]:
            ours, theirs = family[k], family[owner.setdefault(key, k)]
            if ours != theirs:
                family = [min(ours, theirs) if f in (ours, theirs) else f for f in family]
    return np.array(family)


def build() -> dict[str, np.ndarray]:
    """The arrays of chorales.npz."""
    from music21 import corpus

    pieces = {}
    for number, score in enumerate(corpus.chorales.Iterator(returnType="stream"), 1):
        name = Path(str(score.metadata.corpusFilePath)).name
        if name not in pieces and (parts := choir(score)) is not None:
            key = score.analyze("key")
            pieces[name] = dict(number=number, title=score.metadata.title.replace("’", "'"), tonic=key.tonic.pitchClass,
                                minor=key.mode == "minor", grid=without_silence(on_grid(parts)))
    names, grids = list(pieces), [piece["grid"] for piece in pieces.values()]
    family = families([piece["title"] for piece in pieces.values()], grids)
    test, size = np.zeros(len(names), bool), Counter(family.tolist())
    for f in sorted(size, key=lambda f: hashlib.sha256(names[f].encode()).digest()):
        if test.sum() + size[f] <= TEST_SHARE * len(names):
            test |= family == f
    arrays = {name: np.concatenate([grid[name] for grid in grids]) for name in ("pitch", "attack", "pause", "position")}
    arrays["start"] = np.cumsum([0] + [len(grid["pitch"]) for grid in grids]).astype(np.int32)
    for name, dtype in dict(number=np.int16, title=None, tonic=np.int8, minor=bool).items():
        arrays[name] = np.array([piece[name] for piece in pieces.values()], dtype)
    return arrays | dict(bwv=np.array([name.removeprefix("bwv").rsplit(".", 1)[0] for name in names]), test=test)


def fingerprint(arrays: dict[str, np.ndarray]) -> str:
    """One hash of all names, types and values."""
    h = hashlib.sha256()
    for name in sorted(arrays):
        h.update(f"{name} {arrays[name].dtype} {arrays[name].shape}".encode() + arrays[name].tobytes())
    return h.hexdigest()


if __name__ == "__main__":
    known = json.loads(SOURCES.read_text(encoding="utf-8"))
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    found = hashlib.sha256(Path(sys.argv[1]).read_bytes()).hexdigest()
    if found != known["package"]["sha256"]:
        raise ValueError(f"{Path(sys.argv[1]).name} has sha256 {found}, and {SOURCES.name} names another: use 10.5.1")
    arrays = build()
    np.savez_compressed(TARGET, **arrays)
    known["arrays_sha256"] = fingerprint(arrays)
    SOURCES.write_text(json.dumps(known, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    print(f"wrote {TARGET.name}: {len(arrays['bwv'])} chorales, {len(arrays['pitch']):,} sixteenths, "
          f"{arrays['test'].sum()} of them for the test, {TARGET.stat().st_size:,} bytes")
