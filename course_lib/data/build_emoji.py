"""How `emoji.npz` was made.   python -m course_lib.data.build_emoji path/to/*.tgz

Two sets of vector graphics under names that agree, and English captions, all from npm; resvg turns them into pixels:

    npm pack @iconify-json/fluent-emoji-flat@1.2.6 @iconify-json/noto@1.2.9 emojibase-data@17.0.0
    pip install resvg-py==0.5.0 pillow

Left out are people and their bodies, symbols and flags, and what only one of the two styles draws. Colours are kept in
32 steps a channel, which halves the file and cannot be seen at this size."""

import hashlib
import io
import json
import re
import sys
import tarfile
import unicodedata
from pathlib import Path

import numpy as np

from course_lib.data.emoji import GROUPS, STYLES

TARGET = Path(__file__).with_name("emoji.npz")
SOURCES = Path(__file__).with_name("emoji_sources.json")                       # packages, hashes, licences
SIZE, LARGE, N_TEST, SEED = 32, 128, 100, 0
OF_EMOJIBASE = dict(zip((0, 3, 4, 5, 6, 7), GROUPS))                           # its numbers of groups


def unpacked(paths: list[str]) -> dict[str, dict[str, bytes]]:
    """package -> file -> bytes.  Raises ValueError for a file that emoji_sources.json does not name."""
    known = {p["sha256"]: p["name"] for p in json.loads(SOURCES.read_text(encoding="utf-8"))["packages"]}
    found = {}
    for path in paths:
        packed = Path(path).read_bytes()
        name = known.get(hashlib.sha256(packed).hexdigest())
        if name is None:
            raise ValueError(f"{Path(path).name} is no file that {SOURCES.name} names")
        with tarfile.open(fileobj=io.BytesIO(packed)) as tar:
            found[name] = {m.name.removeprefix("package/"): tar.extractfile(m).read() for m in tar
                           if m.isfile() and m.name.endswith(("icons.json", "en/data.json"))}
    return found


def slug(label: str) -> str:
    """'piñata' -> 'pinata', 'cat with tears of joy' -> 'cat-with-tears-of-joy': the icon's name"""
    plain = unicodedata.normalize("NFKD", label).encode("ascii", "ignore").decode().lower()
    return re.sub(r"[^a-z0-9]+", "-", re.sub(r"['’.]", "", plain)).strip("-")


def drawn(icons: dict, name: str) -> np.ndarray:
    """(32, 32, 3) uint8, on white, from a drawing four times as large"""
    import resvg_py
    from PIL import Image

    icon = icons["icons"][name]
    width, height = (icon.get(side, icons.get(side, 16)) for side in ("width", "height"))
    svg = (f'<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" '
           f'viewBox="0 0 {width} {height}" width="{LARGE}" height="{LARGE}">{icon["body"]}</svg>')
    png = resvg_py.svg_to_bytes(svg_string=svg, width=LARGE, height=LARGE, skip_system_fonts=True)
    picture = Image.open(io.BytesIO(png)).convert("RGBA")
    white = Image.new("RGBA", picture.size, "white")
    small = Image.alpha_composite(white, picture).convert("RGB").resize((SIZE, SIZE), Image.LANCZOS)
    pixels = np.asarray(small).astype(int)
    return np.round(np.round(pixels / 255 * 31) / 31 * 255).astype(np.uint8)


def build(packages: dict[str, dict[str, bytes]]) -> dict[str, np.ndarray]:
    icons = {"fluent": json.loads(packages["@iconify-json/fluent-emoji-flat"]["icons.json"]),
             "noto": json.loads(packages["@iconify-json/noto"]["icons.json"])}
    entries = json.loads(packages["emojibase-data"]["en/data.json"])
    chosen = []
    for entry in sorted((e for e in entries if e.get("group") in OF_EMOJIBASE), key=lambda e: e["order"]):
        name = slug(entry["label"])
        if all(name in icons[style]["icons"] for style in STYLES) and all(name != other for other, _ in chosen):
            chosen.append((name, entry))
    test = np.zeros(len(chosen), bool)
    test[np.random.default_rng(SEED).permutation(len(chosen))[:N_TEST]] = True
    return {style: np.stack([drawn(icons[style], name) for name, _ in chosen]) for style in STYLES} | {
        "groups": np.array([GROUPS.index(OF_EMOJIBASE[e["group"]]) for _, e in chosen], np.int8),
        "captions": np.array([e["label"] for _, e in chosen]),
        "tags": np.array(["|".join(e.get("tags", [])) for _, e in chosen]),
        "test": test,
    }


def fingerprint(arrays: dict[str, np.ndarray]) -> str:
    """SHA-256 of all arrays, by name: what the file holds, however it is packed."""
    total = hashlib.sha256()
    for name in sorted(arrays):
        total.update(name.encode() + str(arrays[name].dtype).encode() + arrays[name].tobytes())
    return total.hexdigest()


if __name__ == "__main__":
    if len(sys.argv) != 4:
        sys.exit(__doc__)
    arrays = build(unpacked(sys.argv[1:]))
    np.savez_compressed(TARGET, **arrays)
    print(f"wrote {TARGET.name}: {len(arrays['captions'])} names, {TARGET.stat().st_size:,} bytes")
    print(fingerprint(arrays))
