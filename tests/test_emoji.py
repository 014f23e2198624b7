"""Emoji in two styles: the recorded file, pictures that fit their captions, a builder that takes nothing unknown."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from course_lib.data import build_emoji
from course_lib.data.build_emoji import fingerprint, slug
from course_lib.data.emoji import GROUPS, STYLES, load_emoji

FOLDER = Path(build_emoji.__file__).parent
RECORDED = json.loads((FOLDER / "emoji_sources.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def emoji():
    return load_emoji()


def test_the_arrays_are_the_recorded_ones_and_the_file_is_small():
    with np.load(FOLDER / "emoji.npz") as d:
        assert fingerprint({name: d[name] for name in d.files}) == RECORDED["arrays_sha256"]
    assert (FOLDER / "emoji.npz").stat().st_size < 3_000_000
    for package in RECORDED["packages"]:
        assert len(package["sha256"]) == 64 and len(package["licence_text"]) > 500 and package["version"]


def test_the_parts_have_the_promised_sizes_and_share_no_name(emoji):
    for part, n in ((emoji.train, 915), (emoji.test, 100)):
        assert (part.x.shape, part.x.dtype) == ((n, len(STYLES), 3, 32, 32), torch.float32)
        assert 0 <= part.x.min() < 0.1 and part.x.max() == 1
        assert part.groups.shape == (n,) and set(part.groups.tolist()) == set(range(len(GROUPS)))
        assert len(part.captions) == len(set(part.captions)) == len(part.tags) == n
    assert not set(emoji.train.captions) & set(emoji.test.captions)
    assert repr(emoji.test) == "Emoji(x=(100, 2, 3, 32, 32), groups=(100,))"


def test_colours_and_groups_are_those_of_the_captions(emoji):
    where = {caption: i for i, caption in enumerate(emoji.train.captions)}
    for name, channel in (("red apple", 0), ("green apple", 1), ("blue book", 2)):
        for picture in emoji.train.x[where[name]]:                            # in both styles
            ink = picture[:, picture.mean(0) < 0.8]                           # not the white ground
            assert ink.mean(1).argmax() == channel, name
    assert emoji.train.groups[where["red apple"]] == GROUPS.index("food")
    assert "fruit" in emoji.train.tags[where["red apple"]]
    assert (emoji.train.x[:, :, :, 0, 0] > 0.9).double().mean() > 0.95        # corners are white


def test_a_thing_is_nearer_to_itself_in_the_other_style_than_chance(emoji):
    small = torch.nn.functional.avg_pool2d(emoji.test.x.flatten(0, 1), 4).view(100, 2, -1)
    nearest = torch.cdist(small[:, 0], small[:, 1]).argmin(1)
    assert (nearest == torch.arange(100)).double().mean() > 0.15              # chance: 0.01


def test_names_are_made_as_the_icons_are_named():
    assert slug("cat with tears of joy") == "cat-with-tears-of-joy" and slug("piñata") == "pinata"
    assert slug("twelve o’clock") == "twelve-oclock" and slug("1st place medal") == "1st-place-medal"


def test_a_file_that_is_not_named_is_refused(tmp_path):
    (tmp_path / "x.tgz").write_bytes(b"something else")
    with pytest.raises(ValueError, match="x.tgz is no file that emoji_sources.json names"):
        build_emoji.unpacked([str(tmp_path / "x.tgz")])
