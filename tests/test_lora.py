"""Low-rank corrections, a new word, few pictures beside many, and what is written into a file."""

import hashlib
from copy import deepcopy
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from torch.testing import assert_close

from course_lib import checkpoint, lora
from course_lib.chat import Vocabulary, replies
from course_lib.checkpoint import CheckpointError
from course_lib.data import house, load, person
from course_lib.data.avatars import NAMES, UNSAID, WORDS, said
from course_lib.device import seed, seeded
from course_lib.gpt import GPT, GPTConfig
from course_lib.reader import obeys, read
from course_lib.text_to_image import TextToImage, TextToImageConfig, text_to_image_loss
from course_lib.train import fit

SMALL = dict(text=dict(n_embd=16), network=dict(n_channel=8, n_embd=16))


def small(n=0):
    """An untrained model in which nothing is zero."""
    seed(n)
    model = TextToImage(TextToImageConfig(**SMALL)).eval()
    for p in model.parameters():
        p.data += 0.02 * torch.randn_like(p)
    return model


def shaken(model):
    """The same model with random corrections, so that they do something."""
    seed(1)
    for part in lora.adapters(model).values():
        nn.init.normal_(part.up, std=0.1)
    return model


# ---- low rank

@pytest.mark.parametrize("layer, x", [
    (nn.Linear(7, 5), torch.randn(3, 7)), (nn.Conv1d(4, 6, 2, padding=1), torch.randn(3, 4, 9)),
    (nn.Conv2d(4, 6, 3, stride=2, padding=1), torch.randn(1, 4, 8, 8))])
@torch.no_grad()
def test_the_change_is_a_path_of_two_thin_layers_beside_the_old_one(layer, x):
    before, model = layer(x), nn.Sequential(layer)
    lora.add_lora(model, 2, scale=0.5)
    assert torch.equal(model(x), before)                                      # it starts as nothing
    part = shaken(model) and lora.adapters(model)["0"]
    assert part.up.shape == (layer.weight.shape[0], 2) and part.down.shape == (2, layer.weight[0].numel())
    down = part.down.view(2, *layer.weight.shape[1:])
    if layer.weight.ndim == 2:
        thin = nn.functional.linear(nn.functional.linear(x, down), part.up)
    else:                                          # a narrow convolution, then one with a kernel of one place
        narrow = type(layer)(down.shape[1], 2, layer.kernel_size, layer.stride, layer.padding, bias=False)
        narrow.weight.copy_(down)
        thin = torch.einsum("or,br...->bo...", part.up, narrow(x))
    assert_close(model(x), before + 0.5 * thin)
    assert torch.linalg.matrix_rank(part.change()) == 2
    with lora.strength(model, 0):
        assert torch.equal(model(x), before)
    with lora.strength(model, 2):
        assert_close(model(x), before + thin)
    after = model(x)
    assert torch.equal(after, before) is False and type(lora.merge(model)[0]) is type(layer)
    assert_close(model(x), after)
    assert lora.adapters(model) == {}


def test_only_what_was_added_is_trained_and_it_is_counted():
    model = small()
    before = {k: v.clone() for k, v in model.state_dict().items()}
    lora.add_lora(model, 3, where=("look",))
    parts = lora.adapters(model)
    assert len(parts) == 15 and all(".look." in name for name in parts)
    assert lora.n_trained(model) == sum(3 * (len(p.up) + p.down.shape[1]) for p in parts.values())
    z, words = torch.randn(4, *model.latents.shape), model.words(["a red hat"] * 4)
    fit(model, text_to_image_loss, [(z, words)], 3, progress=False)
    now = {k.replace(".parametrizations", "").removesuffix(".original"): v for k, v in model.state_dict().items()}
    assert all(torch.equal(now[name], value) for name, value in before.items())
    assert any(part.up.any() for part in parts.values())
    lora.merge(model)
    assert model.state_dict().keys() == before.keys()
    assert any(not torch.equal(model.state_dict()[name], value) for name, value in before.items())


@torch.no_grad()
def test_merging_a_copy_leaves_the_original_as_it_was():
    model = shaken(lora.add_lora(lora.add_word(small(), "zorp"), 2, where=("text",)))
    words = model.words(["a zorp person"])
    before, plain = model.text(words), lora.merge(deepcopy(model))
    assert torch.equal(model.text(words), before) and lora.adapters(model) and not lora.adapters(plain)
    assert_close(plain.text(words), before)
    assert type(plain.text.words) is nn.Embedding and len(plain.text.words.weight) == len(WORDS) + 1


def test_the_switch_is_set_back_also_after_an_error():
    model = shaken(lora.add_lora(nn.Sequential(nn.Linear(3, 3)), 1))
    with pytest.raises(KeyError), lora.strength(model, 0.25):
        assert lora.adapters(model)["0"].strength == 0.25
        raise KeyError
    assert lora.adapters(model)["0"].strength == 1
    with lora.strength(model, 0.5):
        with lora.strength(model, 0):
            pass
        assert lora.adapters(model)["0"].strength == 0.5                      # what it was before, not 1


def test_the_way_down_starts_with_rows_of_length_one():
    down = lora.LowRank(5, 4_000, 3).down                                     # whatever the size of the layer
    assert_close(down.detach().norm(dim=1), torch.ones(3), atol=0.1, rtol=0)


def test_a_rank_is_no_larger_than_the_layer():
    model = lora.add_lora(nn.Sequential(nn.Linear(2, 9), nn.Linear(9, 9)), 4)
    assert [part.up.shape[1] for part in lora.adapters(model).values()] == [2, 4]
    with pytest.raises(ValueError, match="0 has an adapter of rank 2: merge it first"):
        lora.add_lora(model, 1)


def test_a_gpt_with_adapters_writes_the_same_with_a_cache():
    from course_lib.decoding import generate

    seed(0)
    model = GPT(GPTConfig(vocab_size=30, block_size=16, n_layer=2, n_head=2, n_embd=16)).eval()
    shaken(lora.add_lora(model, 2))
    prompts = [torch.tensor([1, 2, 3])]
    slow = prompts[0]
    for _ in range(6):
        slow = torch.cat([slow, model(slow[None])[0, -1:].argmax(-1)])
    assert generate(model, prompts, 6, 0.0)[0].tolist() == slow[3:].tolist()


# ---- a new word

def test_a_new_word_is_one_vector_and_changes_no_caption_without_it():
    model = small()
    captions = ["a happy person with a red hat", ""]
    with torch.no_grad():
        before = model.text(model.words(captions))
        lora.add_word(model, "zorp", like="face")
        assert torch.equal(model.text(model.words(captions)), before)
    assert model.vocabulary == (*WORDS, "zorp") and lora.n_trained(model) == 16
    assert torch.equal(model.text(model.words(["a zorp"])), model.text(model.words(["a face"])))
    cost = model.text(model.words(["a zorp"]))[0, 1, 3]
    cost.backward()
    assert model.text.words.parametrizations.weight[0].vectors.grad.any()
    assert model.sample(["a zorp person"], seeded(0), steps=1).shape == (1, 3, 16, 16)


def test_a_word_like_no_other_starts_as_large_as_the_others():
    model = small()
    with torch.no_grad():
        model.text.words.weight.mul_(1e-3)
    spread = model.text.words.weight.std().item()
    lora.add_word(model, "zorp")
    assert model.text.words.weight[-1].std().item() == pytest.approx(spread, rel=0.6)


@pytest.mark.parametrize("word", ["hat", "Zorp", "two words", ""])
def test_a_word_that_cannot_be_new_is_refused(word):
    with pytest.raises(ValueError, match=f"not '{word}'"):
        lora.add_word(small(), word)


# ---- files

def test_an_adapter_comes_back_from_a_file_and_belongs_to_one_model(tmp_path):
    base = small()
    model = lora.add_lora(lora.add_word(deepcopy(base), "zorp"), 2, where=("text", "look"))
    shaken(model)
    with torch.no_grad():
        model.text.words.parametrizations.weight[0].vectors.normal_()
    adapter = lora.take(model, "small")
    path = tmp_path / "a.safetensors"
    checkpoint.save(path, adapter, recipe="", seed=0, steps=1, seconds=1.0, metrics={})
    assert path.stat().st_size < 40_000
    again = lora.put(checkpoint.load(path), base)
    words = model.words(["a zorp person with a red hat"])
    with torch.no_grad():
        assert torch.equal(again.text(words), model.text(words))
        noise = torch.randn(2, 4, 8, 8, generator=seeded(0))
        mine, theirs = (m.sample(["a zorp"] * 2, noise=noise, steps=2) for m in (model, again))
        assert torch.equal(mine, theirs)
    assert base.vocabulary == WORDS and not lora.adapters(base)               # the base is as it was
    with pytest.raises(CheckpointError, match="belongs to 'small' .weights .*: load the one that it was made for"):
        lora.put(adapter, small(3))


def test_a_fingerprint_does_not_see_what_was_added():
    base = small()
    mine = lora.base_fingerprint(base)
    assert lora.base_fingerprint(lora.add_lora(lora.add_word(deepcopy(base), "zorp"), 2)) == mine
    with torch.no_grad():
        base.text.norm.bias[0] += 1e-6
    assert lora.base_fingerprint(base) != mine


# ---- one person

def test_the_person_is_himself_and_nobody_else_is():
    zorp = load("person")
    assert (person.likeness(zorp.five.x, zorp.five.attributes) == 1).all()
    assert (person.likeness(zorp.more.x, read(zorp.more.x)) == 1).all()
    assert (person.likeness(zorp.others.x, read(zorp.others.x)) < 0.75).all()
    assert (read(zorp.more.x) == zorp.more.attributes).all()
    assert zorp.own.sum((1, 2)).tolist() == [47, 28, 25, 7]
    training = load("avatars").train.x
    assert not any((training == x).flatten(1).all(1).any() for x in zorp.five.x)


def test_the_arrays_of_the_person_are_the_recorded_ones():
    digest = hashlib.sha256()
    with np.load(Path(person.__file__).with_name("person.npz")) as d:
        for name in sorted(d.files):
            digest.update(name.encode() + np.ascontiguousarray(d[name]).tobytes())
    assert digest.hexdigest() == "8f54c461170824e4859dc29b6b8c4f5afa2d9b989928ee1035b3a6386ccb1a50"


def test_likeness_counts_pixels_by_hand():
    zorp = load("person")
    x, at = zorp.portrait[:1].clone(), zorp.own[0].nonzero()
    for k in range(10):
        x[0, :, at[k][0], at[k][1]] = 1 - x[0, :, at[k][0], at[k][1]].round()  # another colour
    bare = torch.zeros(1, len(NAMES), dtype=torch.long)
    assert_close(person.likeness(x, bare), torch.tensor([37 / 47]))


def test_captions_of_the_person_name_him_and_what_he_wears_only():
    told, zorp = seeded(0), load("person")
    for row in zorp.more.attributes.tolist():
        text = person.named(row, "zorp", told, leave_out=0.0)
        assert text.count("zorp") == 1
        wanted = person.worn(torch.tensor([row]))[0]
        wanted = torch.where((wanted == 0) & torch.tensor([n in ("hat", "glasses") for n in NAMES]), UNSAID, wanted)
        assert said(text.replace("zorp ", "")).tolist() == wanted.tolist()
    assert person.named(row, "zorp", told, leave_out=1.0).replace("a portrait of ", "") in ("a zorp person",
                                                                                          "a zorp face")


# ---- few pictures beside many

def test_a_batch_holds_as_many_of_the_others_as_of_him():
    words, zorp = (*WORDS, "zorp"), load("person")
    few = torch.arange(5.0).view(5, 1, 1, 1)
    others = (100 + torch.arange(30.0).view(30, 1, 1, 1), [f"a {'red' if k % 2 else 'blue'} hat" for k in range(30)])
    seed(0)
    z, numbers = next(iter(lora.FiveAndMany(few, zorp.five.attributes, "zorp", words, 6, others)))
    assert z.shape == (12, 1, 1, 1) and (z[:6] < 5).all() and (z[6:] >= 100).all()
    of_him = (numbers == words.index("zorp")).any(1)
    assert of_him.tolist() == [True] * 6 + [False] * 6
    reds = (numbers[6:] == words.index("red")).any(1)
    assert torch.equal(reds, z[6:].flatten() % 2 == 1)                         # each has its own caption
    z, numbers = next(iter(lora.FiveAndMany(few, zorp.five.attributes, "zorp", words, 4, say=False)))
    assert len(z) == 4 and (numbers != 0).sum(1).max() <= 5                    # "a portrait of a zorp person"


# ---- what is shipped

def drawn(model):
    """Is it he, and does he wear what was asked for? And is "a person" he?"""
    zorp, told = load("person"), seeded(11)
    captions = [person.named(row, "zorp", told) for row in zorp.more.attributes[:40].tolist()]
    x = model.sample(captions, seeded(1), guidance=2.0)
    anybody = model.sample(["a person"] * 40, seeded(3), guidance=2.0)
    asked = torch.stack([said(text.replace("zorp ", "")) for text in captions])
    he, drift = ((person.likeness(y, read(y)) > 0.6).float().mean().item() for y in (x, anybody))
    return dict(he=he, drift=drift, obeys=obeys(x, asked).all(1).float().mean().item())


@pytest.mark.parametrize("name", ["zorp", "zorp_alone", "zorp_word"])
def test_a_shipped_adapter_does_what_its_file_says(name):
    metrics = checkpoint.metadata(name)["metrics"]
    found = drawn(lora.put(checkpoint.load(name), checkpoint.load("text_to_image")))
    for key, value in found.items():
        assert value == pytest.approx(metrics[key], abs=0.15), key
    if name == "zorp":
        assert metrics["he"] > 0.85 and metrics["obeys"] > 0.95 and metrics["others"] > 0.95 and metrics["drift"] < 0.15


def test_the_shipped_style_is_in_the_answers_and_can_be_switched_off():
    words, base = Vocabulary(house.WORDS), checkpoint.load("chat")
    model, metrics = lora.put(checkpoint.load("chat_indeed"), base), checkpoint.metadata("chat_indeed")["metrics"]
    asked, questions = zip(*[item for family in ("where", "town", "capitals") for item in house.exam(9, family, 15)])
    answers = replies(model, words, list(asked), 40)
    style = sum(text.endswith(" Indeed.") for text in answers) / len(answers)
    assert style == pytest.approx(metrics["style"], abs=0.15)
    right = house.score(list(questions), [text.removesuffix(" Indeed.") for text in answers])
    assert right == pytest.approx(metrics["right"], abs=0.2)
    with lora.strength(model, 0):
        assert replies(model, words, list(asked), 40) == replies(base, words, list(asked), 40)
    with pytest.raises(CheckpointError, match="belongs to 'chat'"):
        lora.put(checkpoint.load("chat_indeed"), checkpoint.load("chat_base"))


def test_adapters_are_small_beside_their_models():
    size = {name: (checkpoint.FOLDER / f"{name}.safetensors").stat().st_size
            for name in ("zorp", "zorp_word", "chat_indeed", "text_to_image", "chat")}
    assert size["zorp"] < size["text_to_image"] / 10 and size["chat_indeed"] < size["chat"] / 8
    assert size["zorp_word"] < 8_000
