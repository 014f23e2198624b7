"""The judge of faces: what it reads, what is counted, and that its file holds what it claims."""

import math

import pytest
import torch
from torch import nn

from course_lib import reader as judge
from course_lib.checkpoint import metadata
from course_lib.checkpoints import part6
from course_lib.data import load
from course_lib.data.avatars import ATTRIBUTES, HELD_OUT, NAMES, UNSAID
from course_lib.data.build_avatars import CLOTHES
from course_lib.reader import Reader, ReaderConfig, ceiling, obeys, read, reader_loss, score, table


class ReadsTheFirstRow(nn.Module):
    """A reader whose answers are written into the picture: pixel k of the first row is a tenth of attribute k."""

    def __init__(self):
        super().__init__()
        self.unused = nn.Parameter(torch.zeros(()))

    def forward(self, x):
        values = (10 * x[:, 0, 0, :8]).round().long()
        return tuple(nn.functional.one_hot(values[:, k], n).float() for k, n in enumerate(judge.SIZES))


def written(*rows):
    x = torch.full((len(rows), 3, 16, 16), 0.5)
    x[:, 0, 0, :8] = torch.tensor(rows) / 10
    return x


SAW = (0, 5, 1, 6, 2, 0, 1, 4)


def test_each_attribute_is_read_from_its_own_logits():
    assert read(written(SAW, (2, 0, 0, 0, 0, 1, 0, 3)), ReadsTheFirstRow()).tolist() == [
        [*SAW], [2, 0, 0, 0, 0, 1, 0, 3]]
    assert judge.SIZES == (3, 6, 2, 7, 3, 2, 2, 5)


def test_only_what_was_asked_for_is_counted():
    x = written(SAW, SAW, SAW)
    wanted = torch.full((3, 8), UNSAID)
    wanted[0, 1], wanted[0, 7] = 5, 4                                        # both right
    wanted[1, 1], wanted[1, 7] = 5, 0                                        # the shirt is wrong; nothing asked of 2
    found = score(x, wanted, ReadsTheFirstRow())
    assert found == {"hair colour": 1.0, "shirt": 0.5, "whole caption": 0.5}
    right = obeys(x, wanted, ReadsTheFirstRow())
    assert right.all(1).tolist() == [True, False, True] and right[1].tolist() == [True] * 7 + [False]


def test_the_loss_is_the_log_probability_of_what_can_be_seen():
    torch.manual_seed(0)
    model = Reader(ReaderConfig(n_channel=4, n_feature=8)).eval()
    x, shown = torch.rand(3, 3, 16, 16), torch.tensor([SAW, SAW, SAW])
    shown[0, 1] = shown[2, 0] = UNSAID
    by_hand = 0.0
    for face in range(3):
        for logits, value in zip(model(x), shown[face].tolist()):
            if value != UNSAID:
                by_hand -= math.log(logits[face].softmax(0)[value].item())
    assert reader_loss(model, x, shown)["loss"].item() == pytest.approx(by_hand / 3, rel=1e-5)


def test_a_face_of_which_nothing_is_known_teaches_nothing():
    model = Reader(ReaderConfig(n_channel=4, n_feature=8)).eval()
    assert reader_loss(model, torch.rand(2, 3, 16, 16), torch.full((2, 8), UNSAID))["loss"] == 0


def test_the_mode_of_the_model_is_left_alone_and_dropout_is_off():
    torch.manual_seed(0)
    model = Reader(ReaderConfig(n_channel=4, n_feature=8, dropout=0.9)).train()
    x = torch.rand(7, 3, 16, 16)
    assert torch.equal(read(x, model), read(x, model, batch_size=2)) and model.training


@pytest.mark.parametrize("bad, words", [
    (torch.rand(3, 16, 16), "(3, 16, 16)"),
    (torch.rand(2, 1, 28, 28), "(2, 1, 28, 28)"),
    (torch.rand(0, 3, 16, 16), "(0, 3, 16, 16)"),
    (torch.zeros(2, 3, 16, 16, dtype=torch.uint8), "of uint8"),
    (torch.rand(2, 3, 16, 16) * 255 + 1, "[0, 1]"),
    (torch.rand(2, 3, 16, 16) - 1, "clamp"),
    (torch.full((2, 3, 16, 16), math.nan), "nan"),
])
def test_what_is_no_picture_is_one_clear_line(bad, words):
    with pytest.raises(ValueError) as error:
        read(bad, ReadsTheFirstRow())
    assert words in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize("wanted, words", [
    (torch.zeros(2, 8).long(), "3 pictures need int64 attributes of shape (3, 8), got torch.int64 of (2, 8)"),
    (torch.zeros(3, 8), "float32"),
    (torch.full((3, 8), UNSAID), "nothing is wanted of these 3 pictures"),
])
def test_a_wrong_wish_is_one_clear_line(wanted, words):
    with pytest.raises(ValueError) as error:
        score(written(SAW, SAW, SAW), wanted, ReadsTheFirstRow())
    assert words in str(error.value) and "\n" not in str(error.value)


# ---- how it was trained

@pytest.fixture(scope="module")
def dyed():
    """2,000 training faces with the colours of hats and shirts exchanged: pixels and what they show."""
    torch.manual_seed(0)
    faces = load("avatars").train
    return part6._dyed(faces.x[:2_000], faces.shown[:2_000], part6._clothes(faces.x[:2_000]))


def test_dyed_faces_are_labelled_with_their_new_colours(dyed):
    """Looked up in the picture: a hat's colour is above the eyes, a shirt's at the bottom, and no other colour is."""
    x, shown = dyed
    colours = torch.tensor([[*bytes.fromhex(rgb)] for rgb in CLOTHES.values()])[:, :, None, None]
    found = ((x * 255).round()[:, None] == colours).all(2)                    # (N, 6, 16, 16)
    for name, rows, names in (("hat", slice(0, 4), CLOTHES), ("shirt", slice(13, 16), list(CLOTHES)[:5])):
        pixels = found[:, :, rows].sum((2, 3))
        column = shown[:, NAMES.index(name)]
        for k, colour in enumerate(names):
            worn = column == ATTRIBUTES[name].index(colour)
            assert worn.sum() > 50 and (pixels[worn, k] >= 2).all() and not pixels[~worn, k].any()


def test_dyed_faces_know_no_pair_that_never_occurs(dyed):
    _, shown = dyed
    for pair in HELD_OUT:
        assert torch.stack([shown[:, NAMES.index(n)] == ATTRIBUTES[n].index(v) for n, v in pair]).all(0).sum() >= 5


# ---- the shipped reader

@pytest.mark.parametrize("part", ["test_seen", "test_unseen"])
def test_the_file_says_what_the_shipped_reader_gets_right(part):
    faces = getattr(load("avatars"), part)
    found, claimed = score(faces.x, faces.shown), ceiling(part)
    assert [*claimed] == [*found] == [*NAMES, "whole caption"]
    assert all(abs(found[name] - claimed[name]) < 0.003 for name in claimed)
    assert min(claimed[name] for name in NAMES) >= 0.99 and claimed["whole caption"] >= 0.97


def test_the_shipped_reader_bears_a_little_noise():
    faces = load("avatars").test_seen
    noisy = (faces.x + 0.05 * torch.randn(faces.x.shape, generator=torch.Generator().manual_seed(0))).clamp(0, 1)
    assert score(noisy, faces.shown)["whole caption"] >= 0.97


def test_the_shipped_reader_does_not_guess_hair_from_shirts():
    """Pairs that it never met are read as well as others: it did not learn what goes with what."""
    seen, unseen = ceiling("test_seen"), ceiling("test_unseen")
    assert all(abs(seen[name] - unseen[name]) < 0.01 for name in ("hair colour", "hat", "glasses", "shirt"))


def test_a_table_shows_scores_beside_those_on_real_faces():
    lines = table({"ours": {"skin": 0.5, "whole caption": 0.25}}).splitlines()
    assert lines[0].endswith(" ours") and "real, seen" in lines[0] and "real, unseen" in lines[0]
    assert [line[:14].strip() for line in lines[1:]] == [*ATTRIBUTES, "whole caption"]
    assert [line.split()[-1] for line in lines[1:]] == ["0.500", *"-" * 7, "0.250"]
    assert f"{ceiling('test_seen')['skin']:.3f}" in lines[1] and len({len(line) for line in lines}) == 1


def test_the_recipe_is_in_the_file():
    made = metadata("reader")
    assert made["kind"] == "reader" and "8,000 training faces" in made["recipe"] and made["steps"] > 0
