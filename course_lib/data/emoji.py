"""The same thousand things in two drawing styles, with a caption each: emoji of Fluent (flat) and of Noto.

    emoji = load_emoji()                           # 1,015 names
    emoji.train.x                                  # (915, 2, 3, 32, 32): style 0 is Fluent, style 1 Noto
    emoji.train.captions[0], emoji.train.tags[0]   # 'grinning face', ('cheerful', 'cheery', ...)

One picture of a kind: that suits memorisation, style and detection. They cannot teach how words combine, since most
words of the captions occur once."""

from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

STYLES = ("fluent", "noto")
GROUPS = ("smileys", "animals", "food", "travel", "activities", "objects")


class Emoji(NamedTuple):
    x: Tensor                                      # (N, 2, 3, 32, 32) float32 in [0, 1], by style, on white
    groups: Tensor                                 # (N,) int64, numbers of GROUPS
    captions: list[str]
    tags: list[tuple[str, ...]]

    def __repr__(self) -> str:
        return f"Emoji(x={tuple(self.x.shape)}, groups={tuple(self.groups.shape)})"


class EmojiSet(NamedTuple):
    train: Emoji
    test: Emoji                                    # other things: no name is in both


def load_emoji() -> EmojiSet:
    """915 names to learn from and 100 for the test, chosen at random once."""
    with np.load(Path(__file__).with_name("emoji.npz")) as file:
        d = {name: file[name] for name in file.files}
    x = torch.from_numpy(np.stack([d[style] for style in STYLES], 1)).permute(0, 1, 4, 2, 3).float().contiguous() / 255
    groups, captions = torch.from_numpy(d["groups"]).long(), d["captions"].tolist()
    tags = [tuple(line.split("|")) if line else () for line in d["tags"].tolist()]

    def part(chosen: np.ndarray) -> Emoji:
        i = np.flatnonzero(chosen)
        return Emoji(x[i], groups[i], [captions[k] for k in i], [tags[k] for k in i])

    return EmojiSet(part(~d["test"]), part(d["test"]))
