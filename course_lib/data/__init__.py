"""Image sets behind one call:  `digits = load("digits")`,  `x, y = digits.train`,  `x_test, y_test = digits.test`;
`faces = load("avatars")`,  `x, attributes, visible = faces.train`."""

from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from course_lib.data.avatars import Avatars, load_avatars
from course_lib.data.person import Person, load_person
from course_lib.expect import whole


class Split(NamedTuple):
    x: Tensor                                  # (N, C, H, W) float32 in [0, 1]
    y: Tensor                                  # (N,) int64

    def __repr__(self) -> str:                 # thousands of grey values are no use on a page
        return f"Split(x={tuple(self.x.shape)}, y={tuple(self.y.shape)})"


class Images(NamedTuple):
    train: Split
    test: Split
    classes: tuple[str, ...]                   # classes[k] is the name of label k


def load(name: str = "digits", cache: str | Path | None = None) -> Images | Avatars | Person:
    """An image set by name.

    `digits` (5,000 real handwritten digits, 28x28) and `avatars` (10,000 faces of which every attribute is known,
    16x16, colour: see `avatars.load_avatars`) travel with the package and need no network, as does `person`, one who is
    not among them. `mnist`, `fashion_mnist` and
    `cifar10` are downloaded once, checked, and kept in `cache` (default: the environment variable COURSE_DATA, or
    ~/.cache/course_lib).  Raises ValueError for an unknown name, DownloadError when a download fails.
    """
    names = ("digits", "avatars", "person", "mnist", "fashion_mnist", "cifar10")
    if name not in names:
        raise ValueError(f"unknown data set {name!r}: choose one of {', '.join(names)}")
    if name == "digits":
        return _digits()
    if name == "avatars":
        return load_avatars()
    if name == "person":
        return load_person()
    from course_lib.data.downloads import torchvision_set  # torchvision is slow to import, and digits do not need it

    return torchvision_set(name, cache)


def _digits() -> Images:
    with np.load(Path(__file__).parent / "digits.npz") as d:
        splits = [Split(torch.from_numpy(d[f"x_{s}"]).float().div(255).unsqueeze(1),
                        torch.from_numpy(d[f"y_{s}"]).long()) for s in ("train", "test")]
    return Images(*splits, classes=tuple("0123456789"))


class Batches:
    """Shuffled mini-batches of tensors that share their first axis: `for x, y in Batches(x, y, batch_size=64)`.

    One pass is one epoch in a new random order, drawn from PyTorch's global generator; the last, smaller batch is
    dropped so that every step costs the same. The tensors stay where they are: put them on the model's device first.
    """

    def __init__(self, *tensors: Tensor, batch_size: int = 64):
        sizes = [len(t) if isinstance(t, Tensor) and t.ndim else type(t).__name__ for t in tensors]
        if not sizes or 0 in sizes:
            raise ValueError(f"nothing to make batches of: the tensors have lengths {sizes}")
        if len(set(sizes)) > 1 or isinstance(sizes[0], str):
            raise ValueError(f"only tensors of one length can be batched together, and not {sizes}")
        whole(1, batch_size=batch_size)
        self.tensors, self.batch_size = tensors, min(batch_size, sizes[0])

    def __len__(self) -> int:
        return len(self.tensors[0]) // self.batch_size

    def __iter__(self):
        order = torch.randperm(len(self.tensors[0])).to(self.tensors[0].device)
        for i in order[: len(self) * self.batch_size].split(self.batch_size):
            yield tuple(t[i] for t in self.tensors)
