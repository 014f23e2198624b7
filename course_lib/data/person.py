"""One person of pixels who is in none of the pictures of `avatars`: five pictures to learn from, and what is his.

    zorp = load("person")                              # of course_lib.data
    named([1, 5, 0, 1, 0, 0, 0, 2], "zorp", seeded(0))    # 'a happy zorp person with a red hat and a green shirt'
    likeness(images, read(images))                     # (n,): how much of what is his is as it is with him

Captions can say that he has light skin and short green hair. They have no words for the rest: two tufts beside a bald
head, eyes of one shape, four pixels of a beard, one of two tones of skin.
"""

import functools
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from course_lib.data.avatars import NAMES, UNSAID, Faces, caption

WORN = ("hat", "glasses", "mood", "shirt")             # what changes from picture to picture; all else is his
NEAR = 0.25                                            # a pixel is as it should be if no colour is further away


class Person(NamedTuple):
    five: Faces                                        # to learn from
    more: Faces                                        # 100 more pictures of him
    others: Faces                                      # 100 pictures of others, in the same clothes, same captions
    portrait: Tensor                                   # (4, 3, 16, 16) float32, one a situation: see `likeness`
    own: Tensor                                        # (4, 16, 16) bool: which of its pixels are his


@functools.cache
def load_person() -> Person:
    """From the file beside this one; `load("person")` of course_lib.data calls this."""
    with np.load(Path(__file__).with_name("person.npz")) as d:
        arrays = {name: torch.from_numpy(d[name]) for name in d.files}

    def faces(x, attributes):
        attributes = arrays[f"attributes_{attributes}"].long()
        return Faces(_pixels(arrays[f"x_{x}"]), attributes, torch.ones_like(attributes, dtype=torch.bool))

    return Person(faces("five", "five"), faces("more", "more"), faces("others", "more"),
                  _pixels(arrays["portrait"]), arrays["own"])


def _pixels(x: Tensor) -> Tensor:
    return x.permute(0, 3, 1, 2).contiguous().float() / 255


def worn(attributes: Tensor) -> Tensor:
    """What changes from picture to picture, and UNSAID for what is always the same with him.  (n, 8) -> (n, 8)"""
    changes = torch.tensor([name in WORN for name in NAMES], device=attributes.device)
    return attributes.where(changes, UNSAID)


def named(attributes, word: str, generator: torch.Generator, leave_out: float = 0.15) -> str:
    """A caption, as `avatars.caption` makes one, of what he wears, in which the person is called by a word:
    "a sad zorp face with a red hat".  attributes (8,)"""
    text = caption([int(k) if name in WORN else UNSAID for name, k in zip(NAMES, attributes)], generator, leave_out)
    if "person" not in text and "face" not in text:
        text += " and a face"                          # one phrasing names parts only
    return text.replace("person", f"{word} person").replace("face", f"{word} face")


def likeness(images: Tensor, attributes: Tensor) -> Tensor:
    """The share of his own pixels that are as they are with him: within NEAR of his in each of red, green and blue.

    Which pixels these are depends on what hides them: there are four situations, with and without a hat, with and
    without glasses, and 47, 28, 25 and 7 pixels. attributes (n, 8): what each picture shows, as `read` says.
    images (n, 3, 16, 16) in [0, 1] -> (n,) on the CPU"""
    if images.shape[1:] != (3, 16, 16) or attributes.shape != (len(images), len(NAMES)):
        raise ValueError(f"pictures (n, 3, 16, 16) and attributes (n, {len(NAMES)}) are compared, got "
                         f"{tuple(images.shape)} and {tuple(attributes.shape)}")
    him, attributes = load_person(), attributes.cpu()
    situation = 2 * (attributes[:, NAMES.index("hat")] > 0) + 1 * (attributes[:, NAMES.index("glasses")] > 0)
    own = him.own[situation]                                                  # (n, 16, 16)
    near = (images.cpu() - him.portrait[situation]).abs().amax(1) < NEAR      # (n, 16, 16)
    return (near & own).sum((1, 2)) / own.sum((1, 2))
