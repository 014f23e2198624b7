"""How `avatars.npz` was made.   python -m course_lib.data.build_avatars path/to/dicebear-*.tgz

The faces are drawn by DiceBear (Florian Körner) in its style "Pixel Art", whose grid is 16x16, and turned into pixels
by resvg. Needs node 18 or newer, which nobody needs who only loads them:

    npm pack @dicebear/core@9.4.3 @dicebear/pixel-art@9.4.3
    pip install resvg-py==0.5.0 pillow

Every attribute of every face is put to the proof: the face is drawn again with each other value that the attribute
could take. Where one of these drawings has the same pixels, nobody can tell the values apart, and the attribute of this
face is marked as not visible. Where it differs in one, two or three pixels, the face is left out.
"""

import hashlib
import io
import json
import re
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

import numpy as np

from course_lib.data.avatars import ATTRIBUTES, HELD_OUT, NAMES

TARGET = Path(__file__).with_name("avatars.npz")
SCRIPT = Path(__file__).with_name("draw_avatars.mjs")
SOURCES = Path(__file__).with_name("avatars_sources.json")                     # packages, hashes, licences
SEED = 0
N_TRAIN, N_SEEN, N_PER_PAIR = 8_000, 1_000, 200
PLAIN = 4                                              # pixels: of what shows in fewer, nobody would speak

# How often each value occurs: half of all faces have a hat, and half have glasses.
SHARES = {name: np.full(len(values), 1 / len(values)) for name, values in ATTRIBUTES.items()}
SHARES["hat"] = np.array([1 / 2] + [1 / 12] * 6)
SHARES["glasses"] = np.array([1 / 2, 1 / 4, 1 / 4])

# The design's shapes that can be told apart with 16x16 pixels: cuts that are plainly short or long, no mouth that is
# neither happy nor sad, no beard of four pixels, no shirt of a few.
CUTS = ([f"short{k:02d}" for k in (1, 2, 3, 4, 6, 8, 9, 10, 14, 15, 16, 17, 22)],
        [f"long{k:02d}" for k in (1, 2, 3, 4, 7, 9, 12, 13, 20, 21)])
HATS = [f"variant{k:02d}" for k in range(1, 11)]
FRAMES = ("02", "05", "06", "07")
BEARDS = [f"variant{k:02d}" for k in (1, 3, 5, 6, 7, 8)]
MOUTHS = (["happy06", "happy09"], ["sad01"])
SHIRTS = [f"variant{k:02d}" for k in (1, 2, 3, 4, 5, 6, 8, 10, 11, 13, 14, 16, 17, 23)]
EYES = [f"variant{k:02d}" for k in range(1, 13)]

SKINS = (("ffdbac", "f5cfa0"), ("cb9e6e", "c08f5c"), ("8d5524", "9a6030"))
HAIRS = dict(black="1b1512", brown="5a2d0c", blond="ecc45c", red="d2451e", blue="38a3e8", green="6cbf4b")
CLOTHES = dict(red="d01f3c", blue="2257c4", green="1f8f45", yellow="fde01c", black="26262b", purple="8a3fb0")
FRAME_COLOURS = {"dark": ("191919", "323232"), "light": ("7f95aa", "93a7b9")}
EYE_COLOURS = ("5b7c8b", "876658", "588387")
MOUTH_COLOURS = ("a3122a", "8f1030")
LOOKS = dict(tone=2, short=len(CUTS[0]), long=len(CUTS[1]), hat=len(HATS), frame=len(FRAMES), beard=len(BEARDS),
             happy=len(MOUTHS[0]), sad=len(MOUTHS[1]), shirt=len(SHIRTS), eyes=len(EYES), eye_colour=3, colour=2)


def options(face: np.ndarray, look: dict[str, int]) -> dict:
    """What DiceBear is told for one face: its attributes (8,), and in `look` all that no attribute says."""
    value = {name: ATTRIBUTES[name][k] for name, k in zip(NAMES, face)}
    long, sad = value["hair length"] == "long", value["mood"] == "sad"
    tint = "dark" if value["glasses"] == "dark" else "light"
    chosen = dict(
        skinColor=SKINS[face[0]][look["tone"]],
        hair=CUTS[long][look["long" if long else "short"]], hairColor=HAIRS[value["hair colour"]],
        hat=HATS[look["hat"]], hatColor=CLOTHES.get(value["hat"], "ffffff"),
        glasses=tint + FRAMES[look["frame"]], glassesColor=FRAME_COLOURS[tint][look["colour"]],
        beard=BEARDS[look["beard"]], mouth=MOUTHS[sad][look["sad" if sad else "happy"]],
        mouthColor=MOUTH_COLOURS[look["colour"]], clothing=SHIRTS[look["shirt"]],
        clothingColor=CLOTHES[value["shirt"]], eyes=EYES[look["eyes"]], eyesColor=EYE_COLOURS[look["eye_colour"]],
        backgroundColor="ffffff")
    there = {f"{part}Probability": 100 * (value[part] != "none") for part in ("hat", "glasses", "beard")}
    return {name: [choice] for name, choice in chosen.items()} | there | {"accessoriesProbability": 0}


def draw(faces: list[dict], folder: str) -> np.ndarray:
    """Options of N faces -> pixels (N, 16, 16, 3) uint8.  folder: where node finds the packages.

    Two things of the design are changed, since they could not be seen. A beard was as dense as its hair is bright, and
    paler: here it is as dense for black hair as for blond, and of the same colour. The lenses of dark glasses are
    darker."""
    import resvg_py
    from PIL import Image

    lines = "".join(json.dumps(face) + "\n" for face in faces)
    svgs = subprocess.run(["node", SCRIPT.name], input=lines, text=True, capture_output=True, check=True, cwd=folder)
    pixels = np.empty((len(faces), 16, 16, 3), np.uint8)
    for k, svg in enumerate(svgs.stdout.splitlines()):
        svg = re.sub(r'(<mask id="beard.*?fill=")#\w+', r"\1#ffffff", svg)
        svg = svg.replace('<path fill="#fff" fill-opacity=".3" d="M0 0h16v16H0z"/>', "")
        svg = svg.replace('fill="#000" fill-opacity=".3"', 'fill="#000" fill-opacity=".75"')
        png = resvg_py.svg_to_bytes(svg_string=svg, width=16, height=16, skip_system_fonts=True)
        pixels[k] = np.asarray(Image.open(io.BytesIO(png)).convert("RGB"))
    return pixels


def holds(faces: np.ndarray, pair) -> np.ndarray:
    """Which faces (N, 8) have both values of a pair of HELD_OUT.  -> (N,) bool"""
    return np.all([faces[:, NAMES.index(name)] == ATTRIBUTES[name].index(value) for name, value in pair], axis=0)


def choose(n: int, rng: np.random.Generator, pair=()) -> tuple[np.ndarray, list[dict]]:
    """n faces that hold this pair of HELD_OUT, or, without one, no pair: attributes (n, 8) and looks."""
    faces = np.stack([rng.choice(len(share), size=20 * n, p=share) for share in SHARES.values()], axis=1)
    for name, value in pair:
        faces[:, NAMES.index(name)] = ATTRIBUTES[name].index(value)
    if not pair:
        faces = faces[~np.any([holds(faces, p) for p in HELD_OUT], axis=0)]
    looks = [{name: int(rng.integers(k)) for name, k in LOOKS.items()} for _ in range(n)]
    return faces[:n], looks


def seen_by(faces: np.ndarray, looks: list[dict], folder: str) -> tuple[np.ndarray, np.ndarray]:
    """The faces drawn, (n, 16, 16, 3), and by how many pixels each attribute can be seen, (n, 8): by those in which the
    drawing with another value differs, of all other values the one that differs least.

    The colour of hair is looked for above the beard, which has it too: a green beard under a hat is no green hair. And
    hair of which nothing is seen is neither short nor long."""
    def drawn(faces):
        return draw([options(face, look) for face, look in zip(faces, looks)], folder)

    pixels, count = drawn(faces), np.full(faces.shape, 256)
    for column, name in enumerate(NAMES):
        before, changed = pixels, faces.copy()
        if name == "hair colour":
            changed[:, NAMES.index("beard")] = 0
            before = drawn(changed)
        for k in range(len(ATTRIBUTES[name])):
            changed[:, column] = k
            other = faces[:, column] != k
            differ = (before != drawn(changed)).any(3).sum((1, 2))                             # (n,) pixels
            count[other, column] = np.minimum(count, differ[:, None])[other, column]
    count[count[:, NAMES.index("hair colour")] == 0, NAMES.index("hair length")] = 0
    return pixels, count


def unpack(tarballs: list[str], folder: str) -> None:
    """Put the packages where node finds them.  Raises ValueError for a file that avatars_sources.json does not name."""
    known = {p["sha256"]: p["name"] for p in json.loads(SOURCES.read_text(encoding="utf-8"))["packages"]}
    for path in tarballs:
        packed = Path(path).read_bytes()
        found = hashlib.sha256(packed).hexdigest()
        if found not in known:
            raise ValueError(f"{Path(path).name} has sha256 {found}, which {SOURCES.name} does not name: use 9.4.3")
        with tarfile.open(fileobj=io.BytesIO(packed)) as tar:
            tar.extractall(folder, filter="data")                             # everything is in package/
        place = Path(folder, "node_modules", known[found])
        place.parent.mkdir(parents=True, exist_ok=True)
        Path(folder, "package").rename(place)
    Path(folder, SCRIPT.name).write_bytes(SCRIPT.read_bytes())


def build(folder: str) -> dict[str, np.ndarray]:
    """The arrays of avatars.npz: `x_`, `attributes_` and `visible_` of train, test_seen and test_unseen."""
    rng, old = np.random.default_rng(SEED), set()

    def fresh(n, pair=(), spare=1.2):
        """n faces whose picture has not been there yet, and that show their pair and whatever they show plainly."""
        faces, looks = choose(int(spare * n), rng, pair)
        pixels, count = seen_by(faces, looks, folder)
        plain, visible, keep = ((count == 0) | (count >= PLAIN)).all(1), count > 0, []
        for k in np.flatnonzero(plain):
            shows_pair = all(visible[k, NAMES.index(name)] for name, _ in pair)
            if shows_pair and pixels[k].tobytes() not in old and len(keep) < n:
                old.add(pixels[k].tobytes())
                keep.append(k)
        if len(keep) < n:
            raise RuntimeError(f"only {len(keep)} of {n} faces are new and show {pair}: draw more")
        return pixels[keep], faces[keep].astype(np.int8), visible[keep]

    parts = dict(train=fresh(N_TRAIN), test_seen=fresh(N_SEEN))
    unseen = [np.concatenate(part) for part in zip(*(fresh(N_PER_PAIR, pair, spare=4) for pair in HELD_OUT))]
    order = rng.permutation(len(unseen[0]))
    parts["test_unseen"] = tuple(part[order] for part in unseen)
    return {f"{what}_{name}": array for name, part in parts.items()
            for what, array in zip(("x", "attributes", "visible"), part)}


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    with tempfile.TemporaryDirectory() as place:
        unpack(sys.argv[1:], place)
        arrays = build(place)
    np.savez_compressed(TARGET, **arrays)
    print(f"wrote {TARGET.name}: {sum(len(a) for k, a in arrays.items() if k[0] == 'x')} faces, "
          f"{TARGET.stat().st_size:,} bytes")
