"""CLIP: its loss by hand and by another formula, the bound that gives it its name, and the pairs that make it hard."""

import math

import pytest
import torch
from torch.nn import functional as F
from torch.testing import assert_close

from course_lib import clip
from course_lib.checkpoint import load as load_checkpoint
from course_lib.checkpoint import metadata
from course_lib.checkpoints.part7 import measured
from course_lib.data import load
from course_lib.data.avatars import ATTRIBUTES, NAMES, UNSAID, WORDS, encode, said
from course_lib.device import seed, seeded


def row(**values) -> list[int]:
    """The attributes of a face, by name; UNSAID for the others."""
    return [ATTRIBUTES[n].index(values[n]) if n in values else UNSAID for n in NAMES]


def unit(*shape, n=0):
    return F.normalize(torch.randn(shape, generator=seeded(n)).double(), dim=-1)


# ---- the loss

def test_the_loss_of_two_pairs_by_hand():
    """Two pictures and two captions at right angles: cosines 1 and 0, so each choice has e^s / (e^s + 1)."""
    a = torch.eye(2)
    assert clip.info_nce(a, a, 3.0).item() == pytest.approx(math.log(1 + math.exp(-3)))
    assert clip.info_nce(a, a.flip(0), 3.0).item() == pytest.approx(math.log(1 + math.exp(3)))


def test_it_is_the_mean_of_a_cross_entropy_over_rows_and_one_over_columns():
    a, b = unit(7, 5), unit(7, 5, n=1)
    scores = torch.tensor([[20 * float(x @ y) for y in b] for x in a]).double()
    rows = -torch.stack([s[i] - s.logsumexp(0) for i, s in enumerate(scores)]).mean()
    columns = -torch.stack([s[i] - s.logsumexp(0) for i, s in enumerate(scores.T)]).mean()
    assert_close(clip.info_nce(a, b, 20.0), (rows + columns) / 2)


def test_vectors_that_belong_to_no_picture_stand_in_its_choice_alone():
    a, b, more = unit(3, 5), unit(3, 5, n=1), unit(2, 5, n=2)
    rows = F.cross_entropy(20 * a @ torch.cat([b, more]).T, torch.arange(3))
    columns = F.cross_entropy(20 * b @ a.T, torch.arange(3))
    assert_close(clip.info_nce(a, torch.cat([b, more]), 20.0), (rows + columns) / 2)


def test_the_gradient_of_the_scale_is_the_mean_cosine_expected_minus_the_own():
    a, b, scale = unit(6, 4), unit(6, 4, n=1), torch.tensor(9.0, dtype=torch.float64, requires_grad=True)
    slope, = torch.autograd.grad(clip.info_nce(a, b, scale), scale)
    cosine = a @ b.T
    expected = [((scale * c).softmax(1) * c).sum(1) - c.diagonal() for c in (cosine, cosine.T)]
    assert_close(slope, torch.stack(expected).mean())


def test_the_loss_cannot_fall_below_log_b_minus_the_information():
    """Of all critics on a table of two by two states the best one included, by enumeration of all batches of two."""
    joint = torch.tensor([[0.4, 0.1], [0.1, 0.4]]).double()
    information = (joint * (joint / (joint.sum(0) * joint.sum(1, keepdim=True))).log()).sum()
    for size in (0.3, 0.5 * math.log(4), 2.0, 8.0):                # the second is half of the log-ratio: the best
        score = size * torch.tensor([[1.0, -1.0], [-1.0, 1.0]]).double()
        loss = 0.0
        for i in range(4):
            for j in range(4):
                (x1, y1), (x2, y2) = divmod(i, 2), divmod(j, 2)
                s = torch.stack([score[x1, y1], score[x1, y2]])
                loss += joint[x1, y1] * joint[x2, y2] * (s.logsumexp(0) - s[0])
        assert loss >= math.log(2) - information


def test_equal_captions_are_no_negatives():
    a = F.normalize(torch.tensor([[1.0, 0], [1, 0], [0, 1]]), dim=1)
    words = torch.tensor([[3, 4], [3, 4], [5, 0]])
    same = clip.equal_rows(words)
    assert same.tolist() == [[True, True, False], [True, True, False], [False, False, True]]
    floor = clip.info_nce(a, a, 50.0)
    assert floor.item() == pytest.approx(2 / 3 * math.log(2), abs=1e-4)    # two of three look alike
    assert clip.info_nce(a, a, 50.0, same).item() == pytest.approx(0, abs=1e-4)
    by_hand = (2 * math.log(1 + math.exp(-1)) + math.log(1 + 2 * math.exp(-1))) / 3    # one negative, one, two
    assert clip.info_nce(a, a, 1.0, same).item() == pytest.approx(by_hand)


def test_logits_and_loss_are_those_of_transformers_with_the_same_vectors():
    peers = pytest.importorskip("transformers")
    sizes = dict(hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2)
    seed(0)
    theirs = peers.CLIPModel(peers.CLIPConfig(
        projection_dim=8, text_config=sizes | dict(vocab_size=20, max_position_embeddings=6, eos_token_id=19),
        vision_config=sizes | dict(image_size=8, patch_size=4))).eval()
    words = torch.cat([torch.randint(3, 18, (5, 5)), torch.full((5, 1), 19)], 1)
    with torch.no_grad():
        out = theirs(input_ids=words, pixel_values=torch.randn(5, 3, 8, 8), return_loss=True)
        a, b, scale = out.image_embeds, out.text_embeds, theirs.logit_scale.exp()
        assert_close(scale * a @ b.T, out.logits_per_image)
        assert_close(clip.info_nce(a, b, scale), out.loss)
    assert_close(build().scale, scale, atol=1e-3, rtol=1e-3)         # 1 / 0.07, which theirs writes as exp(2.6592)


def test_pairs_of_unequal_number_are_refused():
    with pytest.raises(ValueError, match=r"\(3, 4\) and \(2, 4\)"):
        clip.info_nce(unit(3, 4), unit(2, 4), 1.0)


# ---- the model

def build(**text) -> clip.CLIP:
    seed(0)
    return clip.CLIP(clip.CLIPConfig(n_embd=8, n_channel=4, text=dict(n_embd=8, n_head=2) | text)).eval()


def test_vectors_have_length_one_and_a_text_is_the_mean_of_its_words():
    model, words = build(), encode(["a red hat", "dark skin and a beard"])
    mean = torch.stack([v[:n].mean(0) for v, n in zip(model.reader(words), (3, 5))])
    assert_close(model.text(words), F.normalize(model.read(mean), dim=1))
    image, text = model(torch.rand(2, 3, 16, 16, generator=seeded(0)), words)
    assert_close(image.norm(dim=1), torch.ones(2))
    assert_close(text.norm(dim=1), torch.ones(2))
    assert_close(model.scale, torch.tensor(1 / 0.07))
    with torch.no_grad():
        model.log_scale.fill_(9.0)
    assert_close(model.scale, torch.tensor(100.0))


def test_a_bag_of_words_cannot_tell_what_is_exchanged_and_one_that_sees_neighbours_can():
    words = encode(["a red hat and a blue shirt", "a blue hat and a red shirt"])
    bag = build(bag=True, neighbours=False, n_layer=0).text(words)
    assert_close(bag[0], bag[1])
    other = build().text(words)
    assert (other[0] - other[1]).abs().max() > 1e-3


def test_a_hard_negative_stands_in_the_choice_of_every_picture_where_there_is_one():
    model, x = build(), torch.rand(2, 3, 16, 16, generator=seeded(0))
    words, wrong = encode(["a red hat and a blue shirt", "a beard"]), encode(["a blue hat and a red shirt", ""])
    with torch.no_grad():
        image, text, other = model.image(x), model.text(words), model.text(wrong[:1])
        pictures = F.cross_entropy(model.scale * torch.cat([image @ text.T, image @ other.T], 1), torch.arange(2))
        captions = F.cross_entropy(model.scale * text @ image.T, torch.arange(2))
        assert_close(clip.clip_loss(model, x, words, wrong)["loss"], (pictures + captions) / 2)
        assert_close(clip.clip_loss(model, x, words, 0 * wrong), clip.clip_loss(model, x, words))


def test_a_hard_negative_that_is_another_picture_s_caption_is_none():
    model, x = build(), torch.rand(2, 3, 16, 16, generator=seeded(0))
    words = encode(["a red hat and a blue shirt", "a blue hat and a red shirt"])
    with torch.no_grad():
        image, text = model(x, words)
        scores = model.scale * image @ text.T                        # each caption is the hard negative of the other
        again = torch.cat([scores, scores.flip(1)], 1)
        again[0, 3] = again[1, 2] = -math.inf                        # equal to the own one
        rows = F.cross_entropy(again, torch.arange(2))
        assert_close(clip.clip_loss(model, x, words, words.flip(0))["loss"],
                     (rows + F.cross_entropy(scores.T, torch.arange(2))) / 2)


# ---- words as a classifier

def test_prompts_differ_only_in_the_value():
    told = clip.prompts("hat", 20, seeded(0))
    assert len(told) == 7 and all(len(captions) == 20 for captions in told)
    for each in zip(*told):
        rows = torch.stack([said(text) for text in each])
        assert rows[:, NAMES.index("hat")].tolist() == [UNSAID, 1, 2, 3, 4, 5, 6]
        rows[:, NAMES.index("hat")] = 0
        assert (rows == rows[:1]).all()
        assert len({text.replace("a red hat", "a blue hat") for text in each[1:3]}) == 1
    assert len({text for text in told[1]}) > 10


def test_the_class_of_a_picture_has_the_mean_vector_most_like_it():
    model = build()
    told = clip.prompts("mood", 5, seeded(1))
    x = torch.rand(9, 3, 16, 16, generator=seeded(2))
    with torch.no_grad():
        happy, sad = (sum(model.text(encode([text]))[0] for text in captions) for captions in told)
        ahead = model.image(x) @ sad / sad.norm() > model.image(x) @ happy / happy.norm()
    assert clip.zero_shot(model, x, told).tolist() == ahead.long().tolist() and 0 < ahead.sum() < 9


# ---- measures

def test_recall_is_the_share_of_own_partners_found():
    a = torch.eye(4)
    assert clip.recall_at_1(a, a) == 1 and clip.recall_at_1(a, a[[1, 0, 2, 3]]) == 0.5
    b = torch.tensor([[2.0, 3, 0], [1, 4, 0], [0, 0, 1]])         # each finds its own, and not each is found by it
    assert clip.recall_at_1(torch.eye(3), b) == 1 and clip.recall_at_1(b, torch.eye(3)) == pytest.approx(2 / 3)


def test_two_colours_change_places_where_they_can():
    mine = row(hat="red", shirt="blue", mood="sad")
    other = clip.exchanged(mine)
    assert other == row(hat="blue", shirt="red", mood="sad") and clip.exchanged(other) == mine
    assert clip.exchanged(row(hat="purple", shirt="blue")) is None                     # there is no purple shirt
    assert clip.exchanged(row(hat="none", shirt="blue")) is None
    assert clip.exchanged(row(hat="red", shirt="red")) is None
    assert clip.exchanged(row(shirt="red")) is None


def test_the_wrong_caption_has_the_same_words_and_says_something_else():
    mine = row(hat="red", shirt="blue", skin="tan", mood="happy")
    for n in range(20):
        right, wrong = clip.right_and_wrong(mine, seeded(n), leave_out=0.0)
        assert sorted(right.split()) == sorted(wrong.split()) and right != wrong
        assert said(right).tolist() == mine and said(wrong).tolist() == clip.exchanged(mine)
    assert clip.right_and_wrong(row(hat="purple", shirt="blue"), seeded(0), 0.0)[1] == ""


def test_a_bag_of_words_is_at_chance_on_hard_pairs():
    hats = {"red": "blue", "purple": "blue", "green": "black"}
    rows = torch.tensor([row(hat=hat, shirt=shirt) for hat, shirt in hats.items()])
    share, n = clip.hard_pairs(build(bag=True, neighbours=False, n_layer=0), torch.rand(3, 3, 16, 16), rows, seeded(0))
    assert (share, n) == (0.5, 2)


def test_batches_hold_captions_of_their_own_faces():
    hats = ("red", "green", "yellow", "black")
    shown = torch.tensor([row(hat=hat, shirt="blue") for hat in hats])
    x = torch.arange(4.0).view(4, 1, 1, 1).expand(4, 3, 16, 16) / 4
    for hard in (True, False):
        pairs = clip.Pairs(x, shown, batch_size=2, hard=hard)
        seed(0)
        batches = list(pairs)
        assert len(pairs) == len(batches) == 2
        for image, right, *wrong in batches:
            assert right.shape == (2, 24) and [w.shape for w in wrong] == [(2, 24)] * hard
            for picture, words in zip(image, right):
                colour = WORDS.index(hats[int(4 * picture[0, 0, 0])])
                assert colour in words or WORDS.index("hat") not in words              # a part may be left out
    with pytest.raises(ValueError, match="batches of 9"):
        clip.Pairs(x, shown, batch_size=9)


# ---- what is shipped

def test_the_shipped_models_find_and_bind_as_their_files_say():
    """The same measure on fewer faces; neighbours are what makes the difference in hard pairs."""
    faces = load("avatars").test_seen
    few = type(faces)(faces.x[:400], faces.attributes[:400], faces.visible[:400])
    for name, low, high in (("clip", 0.97, 1.0), ("clip_no_neighbours", 0.4, 0.7)):
        model, claimed = load_checkpoint(name), metadata(name)["metrics"]
        found = measured(model, few, n=1)
        for key in ("caption of a picture", "picture of a caption", "gap"):
            assert found[key] == pytest.approx(claimed[f"test_seen: {key}"], abs=0.06), (name, key)
        assert low <= found["hard pairs"] <= high and low <= claimed["test_unseen: hard pairs"] <= high
