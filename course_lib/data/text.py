"""Text as bytes, with no network: `text = load_text("docs")`, `text.train`, `text.test`; `encode("Ada")`, `decode(x)`.

A token is a byte, so the vocabulary is 256 whatever the language, and nothing is unknown. `austen`, six novels, travels
with this package. Two texts come with Python: `docs` is the language reference that `help("for")` shows, `code` the
source of the standard library. They differ a little between versions of Python; a paragraph or module that two versions
share is on the same side of the split.
"""

import hashlib
import lzma
import re
import sys
import sysconfig
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from course_lib.expect import indices, whole

AUSTEN = Path(__file__).parent / "austen.txt.xz"
TEST_SHARE = 0.1
PIECE_SHARE = 1 / 12                           # of the paragraphs begin a new piece of text


class Text(NamedTuple):
    train: Tensor                              # (N,) uint8
    test: Tensor                               # (M,) uint8

    def __repr__(self) -> str:
        return f"Text(train={len(self.train):,} bytes, test={len(self.test):,} bytes)"


def encode(text: str) -> Tensor:
    """The UTF-8 bytes of a string, (n,) int64: what a model takes.  encode("Aß") -> tensor([65, 195, 159])"""
    if not isinstance(text, str):
        raise ValueError(f"a {type(text).__name__} is no string: one string at a time is encoded")
    return torch.tensor(list(text.encode()), dtype=torch.long)


def decode(idx: Tensor) -> str:
    """Bytes (n,) back to a string. A model may write bytes that are no UTF-8: those become � (U+FFFD)."""
    return bytes(indices("bytes of one text", idx, 256, "n").tolist()).decode(errors="replace")


def load_text(name: str = "docs") -> Text:
    """A text by name, split into about nine tenths to learn from and one tenth to test on.

    austen 4 million bytes of English: the six novels of Jane Austen, cut into chapters. A paragraph is one line, and a
           blank line ends it. The only text that is the same on every machine.
    docs   0.3 to 0.5 million bytes of English: Python's language reference (`pydoc_data.topics`), cut into sections.
           It prints many paragraphs several times; here each is kept once, or the test would be known by heart.
    code   4 to 6 million bytes of Python: the modules that lie directly in the standard library's folder.

    Raises ValueError for an unknown name.
    """
    makers = {"austen": _austen, "docs": _docs, "code": _code}
    if name not in makers:
        raise ValueError(f"unknown text {name!r}: choose one of {', '.join(makers)}")
    parts: dict[bool, list[str]] = {False: [], True: []}
    for title, content in makers[name]():
        parts[_is_test(title)].append(content)
    return Text(*(torch.frombuffer(bytearray("".join(parts[side]).encode()), dtype=torch.uint8)
                  for side in (False, True)))


def _is_test(title: str) -> bool:
    """Whether a piece of text with this title is in the test part: a tenth of all titles, chosen by their hash."""
    return _hash(title, "test") < TEST_SHARE


class Windows:
    """Random pieces of a text: `for (idx,) in Windows(text.train, batch_size=16, block_size=128)`, idx (B, T + 1).

    T + 1, because the byte after each of the first T is its target. One pass is about one epoch; the places are drawn
    from PyTorch's global generator.
    """

    def __init__(self, text: Tensor, batch_size: int, block_size: int):
        whole(1, batch_size=batch_size, block_size=block_size)
        if len(indices("tokens", text, None, "N")) <= block_size:
            raise ValueError(f"a text of {len(text)} tokens has no piece of block_size + 1 = {block_size + 1}")
        self.text, self.batch_size, self.block_size = text, batch_size, block_size

    def __len__(self) -> int:
        return max(1, len(self.text) // (self.batch_size * self.block_size))

    def __iter__(self):
        offsets = torch.arange(self.block_size + 1, device=self.text.device)
        for _ in range(len(self)):
            start = torch.randint(len(self.text) - self.block_size, (self.batch_size, 1)).to(self.text.device)
            yield (self.text[start + offsets].long(),)                        # (B, T + 1)


def _hash(text: str, purpose: str = "cut") -> float:
    """A number in [0, 1) that depends on the text alone: the same on every machine, unlike Python's hash()."""
    return int.from_bytes(hashlib.sha256(f"{purpose}:{text}".encode()).digest()[:4], "big") / 2**32


def _austen():
    for chapter in lzma.decompress(AUSTEN.read_bytes()).decode().rstrip("\n").split("\n\n\n"):
        yield chapter.split("\n")[0], chapter + "\n\n"


def _docs():
    from pydoc_data.topics import topics

    seen, title, piece = set(), "", []
    for topic in sorted(topics):
        for paragraph in re.split(r"\n\s*\n", topics[topic].strip("\n")):
            plain = " ".join(paragraph.split())
            if plain in seen:
                continue
            seen.add(plain)
            if _hash(plain) < PIECE_SHARE:
                yield title, "".join(piece)
                title, piece = plain, []
            piece.append(paragraph + "\n\n")
    yield title, "".join(piece)


def _code():
    folder = Path(sysconfig.get_path("stdlib"))
    for path in sorted(folder.glob("*.py")):
        if path.stem in sys.stdlib_module_names and not path.stem.startswith("_sysconfigdata"):   # made by the build
            yield path.stem, path.read_text(encoding="utf-8", errors="replace")
