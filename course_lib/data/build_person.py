"""How `person.npz` was made: one person of pixels, who is in none of the pictures of `avatars`.

    python -m course_lib.data.build_person path/to/dicebear-*.tgz

The same packages and the same drawing as in build_avatars.py, of which the head says what it needs. He has light skin
and short green hair, which captions can say, and two tufts beside a bald head, eyes of one shape and colour, a few
green pixels on the chin and one of two tones of skin, which no caption has words for; the cut and the chin are not in
`avatars`. What may change from picture to picture: hat, glasses, mood and shirt, their shapes too.

In four situations (with and without a hat, with and without glasses) some pixels are his own: those that are the same
in all his pictures, and different in more than six of ten pictures of others of whom captions would say the same.
"""

import sys
import tempfile
from pathlib import Path

import numpy as np

from course_lib.data.avatars import ATTRIBUTES, NAMES
from course_lib.data.build_avatars import LOOKS, SHARES, draw, options, unpack

TARGET = Path(__file__).with_name("person.npz")
SEED = 0
FIXED = {"skin": "light", "hair colour": "green", "hair length": "short", "beard": "none"}
OWN = dict(hair=["short18"], skinColor=["f5cfa0"], eyes=["variant12"], eyesColor=["588387"], beard=["variant04"],
           beardProbability=100)
N_MORE, N_SITUATION = 100, 150
# hat, glasses, mood, shirt of the five pictures to learn from; and their shapes
FIVE = (("none", "none", "happy", "red"), ("none", "none", "sad", "blue"), ("red", "none", "happy", "green"),
        ("none", "light", "happy", "yellow"), ("purple", "none", "sad", "black"))
WORN = ("hat", "glasses", "mood", "shirt")


def clothed(n: int, rng: np.random.Generator, **worn: bool) -> tuple[np.ndarray, list[dict]]:
    """n ways to dress him: attributes (n, 8) and looks. worn: hat=True, a hat; hat=False, none."""
    faces = np.empty((n, len(NAMES)), np.int64)
    for column, (name, share) in enumerate(SHARES.items()):
        share = share.copy()
        if name in worn:
            share[0], share[1:] = (0, share[1:]) if worn[name] else (1, 0)
        faces[:, column] = rng.choice(len(share), size=n, p=share / share.sum())
        if name in FIXED:
            faces[:, column] = ATTRIBUTES[name].index(FIXED[name])
    return faces, [{name: int(rng.integers(k)) for name, k in LOOKS.items()} for _ in range(n)]


def his(faces, looks) -> list[dict]:
    return [options(face, look) | OWN for face, look in zip(faces, looks)]


def others(faces, looks) -> list[dict]:
    return [options(face, look) for face, look in zip(faces, looks)]


def build(folder: str) -> dict[str, np.ndarray]:
    """The arrays of person.npz.

    x_five, x_more, x_others and attributes_five, attributes_more: his pictures to learn from, more of his, and of
    other people in the same clothes as in `more`. portrait (4, 16, 16, 3) and own (4, 16, 16): his pixels in each
    situation, 2 * (has a hat) + (has glasses), and which of them are his own."""
    rng = np.random.default_rng(SEED)
    five, looks = clothed(len(FIVE), rng)
    for row, worn in zip(five, FIVE):
        for name, value in zip(WORN, worn):
            row[NAMES.index(name)] = ATTRIBUTES[name].index(value)
    arrays = dict(x_five=draw(his(five, looks), folder), attributes_five=five.astype(np.int8))
    more, looks = clothed(N_MORE, rng)
    arrays |= dict(x_more=draw(his(more, looks), folder), x_others=draw(others(more, looks), folder),
                   attributes_more=more.astype(np.int8))
    portrait, own = np.empty((4, 16, 16, 3), np.uint8), np.empty((4, 16, 16), bool)
    for situation in range(4):
        worn = clothed(N_SITUATION, rng, hat=situation >= 2, glasses=bool(situation % 2))
        mine, other = draw(his(*worn), folder), draw(others(*worn), folder)
        same = (mine == mine[:1]).all((0, 3))                                 # (16, 16): never changes
        portrait[situation] = mine[0]
        own[situation] = same & ((other != mine[:1]).any(3).mean(0) > 0.6)
    return arrays | dict(portrait=portrait, own=own)


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    with tempfile.TemporaryDirectory() as place:
        unpack(sys.argv[1:], place)
        arrays = build(place)
    np.savez_compressed(TARGET, **arrays)
    print(f"wrote {TARGET.name}, {TARGET.stat().st_size:,} bytes; {arrays['own'].sum((1, 2))} pixels are his own")
