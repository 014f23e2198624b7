"""How `austen.txt.xz` was made.   python -m course_lib.data.build_austen path/to/janeaustenr_1.0.0.tar.gz

The source is the R package `janeaustenr` 1.0.0 (Silge, 2022, licence MIT), which holds the six novels of Jane Austen as
Project Gutenberg has typed them. R is not needed. The archive is at CRAN, and Debian has the same file as
`r-cran-janeaustenr_1.0.0.orig.tar.gz` (`apt-get source --download-only r-cran-janeaustenr`).

What is left out: titles, headings of chapters, editors' notes, underscores around words in italics, and the breaks of
lines inside a paragraph. A blank line ends a paragraph, two end a chapter.
"""

import bz2
import hashlib
import lzma
import re
import struct
import sys
import tarfile
from pathlib import Path

TARGET = Path(__file__).parent / "austen.txt.xz"
SOURCE_SHA256 = "b4c32ee1395ee4a8efe714c535c0fe578b0dbf5f3bb85b41fa5cc87569b8e8aa"
NOVELS = "sensesensibility", "prideprejudice", "mansfieldpark", "emma", "northangerabbey", "persuasion"
HEADING = re.compile(r"(?:CHAPTER|Chapter) (?:[IVXL]+|\d+)\.?")
NOT_HERS = re.compile(r"[\[(](?:At this point|End (?:of )?volume).*|VOLUME [IVX]+|THE END|FINIS|Finis|[* ]+")


def read_source(archive: str) -> dict[str, list[str]]:
    """The lines of each novel, by its name in the package."""
    found = hashlib.sha256(Path(archive).read_bytes()).hexdigest()
    if found != SOURCE_SHA256:
        raise ValueError(f"the archive has sha256 {found}, expected {SOURCE_SHA256}: use janeaustenr 1.0.0")
    with tarfile.open(archive) as tar:
        return {name: r_strings(bz2.decompress(tar.extractfile(f"janeaustenr/data/{name}.rda").read()), name)
                for name in NOVELS}


def r_strings(data: bytes, name: str) -> list[str]:
    """The one vector of strings that R has saved under this name: a type and a number of strings, then a type, a length
    and the bytes of each ("R Internals", section 1.8)."""
    at = data.index(name.encode()) + len(name)
    kind, n = struct.unpack_from(">ii", data, at)
    if kind != 16:
        raise ValueError(f"{name} is of R's type {kind}, not 16, strings")
    at, lines = at + 8, []
    for _ in range(n):
        _, length = struct.unpack_from(">ii", data, at)
        lines.append(data[at + 8:at + 8 + length].decode())
        at += 8 + length
    return lines


def chapters(lines: list[str]) -> list[str]:
    """The chapters of a novel, each in paragraphs of one line that a blank line divides."""
    result = []
    for paragraph in re.split(r"\n\s*\n", "\n".join(lines)):
        plain = " ".join(paragraph.replace("_", "").split())
        if HEADING.fullmatch(plain):
            result.append([])
        elif plain.startswith("A NOTE ON THE TEXT"):                           # Northanger Abbey: the rest is by others
            break
        elif result and plain and not NOT_HERS.fullmatch(plain):               # what is before chapter 1 is title
            result[-1].append(plain)
    return ["\n\n".join(paragraphs) for paragraphs in result]


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    text = "\n\n\n".join(chapter for lines in read_source(sys.argv[1]).values() for chapter in chapters(lines)) + "\n"
    TARGET.write_bytes(lzma.compress(text.encode(), preset=9 | lzma.PRESET_EXTREME))
    print(f"wrote {TARGET.name}: {len(text.encode()):,} bytes in {TARGET.stat().st_size:,}, sha256 of the text "
          f"{hashlib.sha256(text.encode()).hexdigest()}")
