"""Faces, what can be seen of them, and captions that say nothing else."""

import difflib
import hashlib
import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch

from course_lib.data import avatars, build_avatars, load
from course_lib.data.avatars import ATTRIBUTES, HELD_OUT, NAMES, UNSAID, WORDS, caption, encode, said, with_jobs
from course_lib.device import seeded

FOLDER = Path(avatars.__file__).parent
PARTS = dict(train=8_000, test_seen=1_000, test_unseen=1_000)
HAIR, LENGTH, HAT, BEARD, SHIRT = (NAMES.index(n) for n in ("hair colour", "hair length", "hat", "beard", "shirt"))


@pytest.fixture(scope="module")
def faces():
    return load("avatars")


def the_face(**values):
    """Attributes by name (_ for a blank) and value; the others are UNSAID."""
    row = [UNSAID] * len(NAMES)
    for name, value in values.items():
        name = name.replace("_", " ")
        row[NAMES.index(name)] = ATTRIBUTES[name].index(value)
    return row


def shows(part, pair, column):
    """Which faces have both values of a pair, in `attributes` or, where they can be seen, in `shown`."""
    table = getattr(part, column)
    return torch.stack([table[:, NAMES.index(n)] == ATTRIBUTES[n].index(v) for n, v in pair]).all(0)


# ---- the faces

def test_the_parts_have_the_promised_sizes_and_types(faces):
    for (name, n), part in zip(PARTS.items(), faces):
        assert part is getattr(faces, name)
        assert (part.x.shape, part.x.dtype) == ((n, 3, 16, 16), torch.float32)
        assert (part.attributes.shape, part.attributes.dtype) == ((n, 8), torch.int64)
        assert (part.visible.shape, part.visible.dtype) == ((n, 8), torch.bool)
        assert 0 <= part.x.min() < 0.1 and part.x.max() == 1 and part.attributes.min() == 0
        assert part.x.is_contiguous() and torch.equal((part.x * 255).round() / 255, part.x)
        assert (part.attributes.amax(0) == torch.tensor([len(v) - 1 for v in ATTRIBUTES.values()])).all()
    x, attributes, visible = faces.train
    assert x is faces.train.x and visible is faces.train.visible
    assert repr(faces.test_seen) == "Faces(x=(1000, 3, 16, 16), attributes=(1000, 8))"


def test_the_arrays_are_the_recorded_ones_and_the_file_is_small():
    digest = hashlib.sha256()
    with np.load(FOLDER / "avatars.npz") as d:
        for name in sorted(d):
            digest.update(name.encode() + np.ascontiguousarray(d[name]).tobytes())
    assert digest.hexdigest() == sources()["arrays_sha256"]
    assert (FOLDER / "avatars.npz").stat().st_size <= 1.5e6


def sources():
    return json.loads((FOLDER / "avatars_sources.json").read_text(encoding="utf-8"))


def test_sources_and_licences_are_named():
    packages = {p["name"]: p for p in sources()["packages"]}
    assert sorted(packages) == ["@dicebear/core", "@dicebear/pixel-art"]
    for package in packages.values():
        assert package["version"] == "9.4.3" and re.fullmatch("[0-9a-f]{64}", package["sha256"])
        assert "Florian Körner" in package["licence_text"] and "MIT License" in package["licence_text"]
    assert "License: CC0 1.0" in packages["@dicebear/pixel-art"]["licence_text"]
    readme = (FOLDER / "README.md").read_text(encoding="utf-8")
    assert "CC0 1.0" in readme and "`@dicebear/pixel-art` 9.4.3" in readme


def test_no_picture_occurs_twice(faces):
    pictures = [x.numpy().tobytes() for part in faces for x in part.x]
    assert len(set(pictures)) == len(pictures) == 10_000


def test_training_shows_every_value_often_and_no_held_out_pair(faces):
    for column, values in enumerate(ATTRIBUTES.values()):
        assert torch.bincount(faces.train.attributes[:, column], minlength=len(values)).min() > 500
    for pair in HELD_OUT:
        assert not shows(faces.train, pair, "attributes").any() and not shows(faces.test_seen, pair, "attributes").any()


def test_every_unseen_face_shows_a_held_out_pair(faces):
    shown = torch.stack([shows(faces.test_unseen, pair, "shown") for pair in HELD_OUT])           # (5, 1000)
    assert shown.any(0).all() and shown.sum(1).min() >= 200
    assert shown[:, :100].any(1).all()                                                            # shuffled


def test_every_single_value_of_a_held_out_pair_is_learnt_with_others(faces):
    for pair in HELD_OUT:
        for one in pair:
            assert shows(faces.train, [one], "shown").sum() > 300


# ---- what can be seen

def test_only_hair_is_ever_hidden_and_only_under_a_hat(faces):
    part = faces.train
    hidden = ~part.visible
    assert hidden.any(0).nonzero().flatten().tolist() == [HAIR, LENGTH]
    assert 0.05 < hidden[:, HAIR].float().mean() < 0.15
    under = part.attributes[hidden[:, HAIR]]
    assert (under[:, HAT] > 0).all() and (under[:, LENGTH] == 0).all()                # short, and a hat
    assert (hidden[:, HAIR] <= hidden[:, LENGTH]).all()                               # unseen hair has no length


def colours_of_hair(part):
    """How many pixels of the colours that only hair has: those of beardless faces without any of it are hidden."""
    rgb = torch.tensor([[int(c[i:i + 2], 16) for i in (0, 2, 4)] for c in build_avatars.HAIRS.values()])
    own = rgb[part.attributes[:, HAIR]].view(-1, 3, 1, 1)
    return ((part.x * 255).round() == own).all(1).sum((1, 2))


def test_hair_is_seen_where_its_colour_is_in_the_picture(faces):
    """Another way to know it: without a beard, the exact colour of the hair is there if and only if it is visible."""
    part = faces.test_seen
    shaved = part.attributes[:, BEARD] == 0
    found = colours_of_hair(part)[shaved]
    assert ((found > 0) == part.visible[shaved, HAIR]).all() and (found[found > 0] >= build_avatars.PLAIN).all()


def test_shown_says_minus_one_for_what_is_hidden(faces):
    part = faces.test_seen
    assert (part.shown[~part.visible] == UNSAID).all() and (~part.visible).any()
    assert torch.equal(part.shown[part.visible], part.attributes[part.visible])


# ---- captions

def test_captions_say_only_what_can_be_seen(faces):
    g = seeded(0)
    for row in faces.train.shown[:1_500]:
        asked = said(caption(row, g))
        assert ((asked == UNSAID) | (asked == row)).all()


def test_a_caption_that_leaves_out_nothing_says_everything(faces):
    g = seeded(1)
    for row in faces.test_unseen.shown[:300]:
        absent = (row == 0) & torch.tensor(["none" in values for values in ATTRIBUTES.values()])  # no "no hat"
        assert torch.equal(said(caption(row, g, leave_out=0.0)), row.masked_fill(absent, UNSAID))


def test_each_part_is_left_out_with_its_probability():
    g, row = seeded(2), torch.tensor([0, 1, 1, 2, 1, 1, 1, 3])
    told = torch.stack([said(caption(row, g, leave_out=0.3)) for _ in range(4_000)]) != UNSAID
    assert (told.float().mean(0) - 0.7).abs().max() < 0.03
    pairs = (told.float().T @ told.float() / 4_000).fill_diagonal_(0.49)
    assert (pairs - 0.49).abs().max() < 0.04                                           # one by one, not together


def test_there_are_many_phrasings_and_every_order():
    g, row = seeded(3), the_face(hat="red", shirt="blue", mood="sad")
    texts = {caption(row, g, leave_out=0.0) for _ in range(500)}
    forms = {re.sub("a red hat|a blue shirt", "X", text) for text in texts}
    assert {"a sad person with X and X", "a sad face with X and X", "a portrait of a sad person with X and X",
            "a sad person has X and X", "a person with X and X, looking sad", "a sad person wearing X and X",
            "X, X and a sad face"} <= forms
    assert {"a sad person with a red hat and a blue shirt", "a sad person with a blue shirt and a red hat"} <= texts


def test_what_is_worn_may_come_before_or_after_the_rest():
    g, row = seeded(4), the_face(hat="red", hair_length="long")
    texts = {caption(row, g, leave_out=0.0) for _ in range(500)}
    assert {"a person wearing a red hat, with long hair", "a person with long hair, wearing a red hat",
            "long hair and a red hat"} <= texts


def test_nothing_to_say_is_still_a_caption():
    assert {caption([UNSAID] * 8, seeded(k)) for k in range(20)} == {"a person"}
    assert {caption(the_face(hat="none", glasses="none", beard="none"), seeded(k)) for k in range(20)} == {"a person"}
    assert said("a person").tolist() == [UNSAID] * 8


def test_the_generator_decides_everything(faces):
    row = faces.train.shown[0]
    first, second = ([caption(row, g) for _ in range(9)] for g in (seeded(5), seeded(5)))
    assert first == second and len(set(first)) > 5
    assert caption(row.tolist(), seeded(6)) == caption(row, seeded(6))


@pytest.mark.parametrize("row, words", [
    ([0] * 7, "a face has 8 attributes, got 7"),
    ([0, 6, 0, 0, 0, 0, 0, 0], "hair colour has the values 0 to 5, not 6"),
    ([0, 0, 0, 0, -2, 0, 0, 0], "glasses has the values 0 to 2, not -2"),
])
def test_a_wrong_face_is_one_clear_line(row, words):
    with pytest.raises(ValueError, match=re.escape(words)):
        caption(row, seeded(0))


# ---- words

def test_every_word_is_used_and_no_other(faces):
    g = seeded(7)
    text = " ".join(caption(row, g) for row in faces.train.shown[:3_000])
    assert set(text.replace(",", "").split()) == set(WORDS[1:]) and len(set(WORDS)) == len(WORDS) == 32


def test_encoding_numbers_the_words_and_fills_up_with_zeros():
    idx = encode(["a red hat, dark glasses", "", "A RED hat."])
    assert idx.shape == (3, 24) and idx.dtype == torch.int64
    assert [WORDS[k] for k in idx[0, :5]] == ["a", "red", "hat", "dark", "glasses"] and not idx[0, 5:].any()
    assert not idx[1].any() and torch.equal(idx[2, :3], idx[0, :3])
    assert encode("a hat", length=3).tolist() == [[WORDS.index("a"), WORDS.index("hat"), 0]]
    assert encode([], length=5).shape == (0, 5)


def test_the_longest_caption_fits(faces):
    """Longest: all attributes said, in "a portrait of ..."; one word less would be too short for it."""
    row, g = the_face(skin="tan", hair_colour="blue", hair_length="long", hat="red", glasses="dark", beard="beard",
                      mood="sad", shirt="green"), seeded(8)
    lengths = [len(caption(row, g, leave_out=0.0).split()) for _ in range(300)]
    assert max(lengths) in (avatars.LENGTH, avatars.LENGTH - 1)
    with pytest.raises(ValueError, match="a caption of 25 words is longer than 24"):
        encode(["a " * 25])


@pytest.mark.parametrize("typed, near", [("hatt", "hat"), ("purpel", "purple"), ("glases", "glasses")])
def test_an_unknown_word_is_answered_with_the_nearest(typed, near):
    with pytest.raises(ValueError) as error:
        encode(["a red hat", f"a {typed}"])
    assert str(error.value) == f"no caption has the word {typed!r}: did you mean {near!r}?"
    assert near == difflib.get_close_matches(typed, WORDS, n=1)[0]
    with pytest.raises(ValueError, match=near):
        said(typed)


def test_a_vocabulary_can_grow():
    assert encode(["a zorp"], words=(*WORDS, "zorp"))[0, :2].tolist() == [1, 32]


def test_colours_belong_to_the_noun_that_follows():
    assert said("a red hat and a blue shirt").tolist() == the_face(hat="red", shirt="blue")
    assert said("a blue hat and a red shirt").tolist() == the_face(hat="blue", shirt="red")
    assert said("happy, green short hair, light glasses, light skin").tolist() == the_face(
        mood="happy", hair_colour="green", hair_length="short", glasses="light", skin="light")
    assert said("a hat").tolist() == the_face()


# ---- the builder

def test_the_builder_chooses_as_the_split_demands():
    rng = np.random.default_rng(1)
    free, looks = build_avatars.choose(300, rng)
    assert free.shape == (300, 8) and len(looks) == 300
    assert not any(build_avatars.holds(free, pair).any() for pair in HELD_OUT)
    for pair in HELD_OUT:
        assert build_avatars.holds(build_avatars.choose(10, rng, pair)[0], pair).all()


def test_what_dicebear_is_told_follows_the_attributes():
    look = dict.fromkeys(build_avatars.LOOKS, 0)
    told = build_avatars.options(np.array(the_face(
        skin="dark", hair_colour="green", hair_length="long", hat="none", glasses="light", beard="beard", mood="sad",
        shirt="red")), look)
    assert told["hair"] == ["long01"] and told["hairColor"] == [build_avatars.HAIRS["green"]]
    assert (told["hatProbability"], told["glassesProbability"], told["beardProbability"]) == (0, 100, 100)
    assert told["glasses"] == ["light02"] and told["mouth"] == ["sad01"]
    assert told["clothingColor"] == [build_avatars.CLOTHES["red"]]


def test_what_changes_no_pixel_is_not_seen(monkeypatch):
    """A painter with a column of pixels an attribute, who paints no colour of hair under a hat."""
    def paint(faces, folder):
        pixels = np.zeros((len(faces), 16, 16, 3), np.uint8)
        for k, face in enumerate(faces):
            pixels[k, :, :8, 0] = face
            pixels[k, :, :8, 1] = face[BEARD] * face[HAIR]                    # a beard has the colour of hair
            if face[HAT]:
                pixels[k, :, HAIR, 0] = 0
        return pixels

    monkeypatch.setattr(build_avatars, "draw", paint)
    monkeypatch.setattr(build_avatars, "options", lambda face, look: face.copy())
    faces = np.array([the_face(**values) for values in (
        dict(hat="none", beard="none"), dict(hat="red", beard="none"), dict(hat="red", beard="beard"))]).clip(0)
    pixels, count = build_avatars.seen_by(faces, [{}] * 3, "nowhere")
    assert np.array_equal(pixels, paint(faces, ""))
    assert (count[0] == 16).all()
    assert count[1:, [HAIR, LENGTH]].tolist() == [[0, 0], [0, 0]] and (count[1:, [0, HAT, BEARD, SHIRT]] > 0).all()


def test_other_packages_are_refused(tmp_path):
    (tmp_path / "other.tgz").write_bytes(b"?")
    with pytest.raises(ValueError, match="other.tgz has sha256 8a8de823.*does not name: use 9.4.3"):
        build_avatars.unpack([str(tmp_path / "other.tgz")], str(tmp_path))


def test_the_script_of_the_builder_travels_with_it():
    assert "@dicebear/pixel-art" in build_avatars.SCRIPT.read_text(encoding="utf-8")


# ---- jobs

@pytest.mark.parametrize("n, share", [(100, 0.8), (40, 0.5), (9, 1.0)])
def test_a_job_goes_with_what_it_is_planted_in_and_with_nothing_else(n, share):
    has = torch.arange(150) < n
    rows, job = with_jobs(has, share, seeded(0))
    m = min(n, 150 - n)
    assert len(rows) == len(rows.unique()) == 2 * m and job.bincount().tolist() == [m, m]
    assert has[rows][job == 0].sum() == m - has[rows][job == 1].sum() == round(share * m)
    again, other = (with_jobs(has, share, seeded(k))[0] for k in (0, 1))
    assert torch.equal(rows, again) and not torch.equal(rows, other)


def test_other_attributes_do_not_go_with_the_job(faces):
    rows, job = with_jobs(faces.train.attributes[:, HAT] > 0, 0.8, seeded(0))
    rows = faces.train.attributes[rows]
    for name in ("skin", "mood", "shirt", "beard"):
        shares = [rows[job == j, NAMES.index(name)].bincount() / (job == j).sum() for j in (0, 1)]
        assert (shares[0] - shares[1]).abs().max() < 0.035, name   # 3 standard errors of two shares of 3,600
