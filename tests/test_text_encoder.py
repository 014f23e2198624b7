import pytest
import torch
from awake import awake
from torch.testing import assert_close

from course_lib.data.avatars import WORDS, encode
from course_lib.device import seed, seeded
from course_lib.text_encoder import TextEncoder, TextEncoderConfig

RED_HAT, BLUE_HAT = encode(["a red hat and a blue shirt", "a blue hat and a red shirt"]).split(1)


def build(**config) -> TextEncoder:
    seed(0)
    return awake(TextEncoder(TextEncoderConfig(**dict(n_embd=8, n_head=2) | config)), 0.3)


def moved(model: TextEncoder, place: int) -> list[int]:
    """The places whose vector changes when the word at `place` does."""
    words = torch.tensor([[5, 6, 7, 8, 9, 10]])
    other = words.clone()
    other[0, place] = 20
    return ((model(words) - model(other)).abs().amax(2)[0] > 1e-6).nonzero().flatten().tolist()


def test_a_word_is_mixed_with_the_one_on_its_right():
    assert [moved(build(n_layer=0), place) for place in (0, 3, 5)] == [[0], [2, 3], [4, 5]]
    assert [moved(build(n_layer=0, neighbours=False), place) for place in (0, 3)] == [[0], [3]]
    assert moved(build(), 3) == [0, 1, 2, 3, 4, 5]                 # attention carries it everywhere


def test_the_pair_is_one_product_of_two_words_side_by_side():
    model, words = build(n_layer=0), encode(["a sad person"])
    x = model.words.weight[words[0]]                               # (24, 8)
    both = torch.cat([x, torch.cat([x[1:], torch.zeros(1, 8)])], 1)                           # (24, 16)
    W = torch.cat([model.pair.weight[:, :, 0], model.pair.weight[:, :, 1]], 1)                # (8, 16)
    assert_close(model(words)[0], model.norm(x + both @ W.T + model.pair.bias + model.places))


def test_a_bag_of_words_cannot_tell_whose_colour_is_whose():
    bag = build(bag=True, neighbours=False, n_layer=0)
    assert RED_HAT.sort().values.equal(BLUE_HAT.sort().values) and not RED_HAT.equal(BLUE_HAT)
    assert bag(RED_HAT).shape == (1, 1, 8)
    assert_close(bag(RED_HAT), bag(BLUE_HAT))
    assert_close(bag(RED_HAT)[0, 0], bag.norm(bag.words.weight[RED_HAT[0]].sum(0) / 24))
    assert (bag(RED_HAT) - bag(encode(["a green hat and a blue shirt"]))).abs().max() > 0.01
    assert (build()(RED_HAT).mean(1) - build()(BLUE_HAT).mean(1)).abs().max() > 0.01


def test_without_places_and_neighbours_attention_sees_a_set():
    """Then another order of the words is another order of the same vectors: no network after it can bind."""
    model, order = build(neighbours=False), torch.randperm(24, generator=seeded(1))
    with torch.no_grad():
        model.places.zero_()
    assert_close(model(RED_HAT[:, order]), model(RED_HAT)[:, order])
    assert (build(neighbours=False)(RED_HAT[:, order]) - build(neighbours=False)(RED_HAT)[:, order]).abs().max() > 0.01


def test_each_caption_is_read_alone_and_short_ones_too():
    model, words = build(n_layer=2), encode(["a red hat", "a sad face with dark skin", ""])
    assert_close(torch.cat([model(one) for one in words.split(1)]), model(words), atol=1e-5, rtol=1e-4)
    assert model(words[:, :5]).shape == (3, 5, 8)


def test_every_parameter_is_reached_by_the_gradient():
    for model in (build(n_layer=2), build(bag=True, neighbours=False, n_layer=0)):
        (model(RED_HAT) * torch.randn(8, generator=seeded(3))).sum().backward()
        assert [name for name, p in model.named_parameters() if p.grad is None or not p.grad.abs().sum()] == []


def test_the_vocabulary_of_avatars_fits_the_default():
    config = TextEncoderConfig()
    assert config.vocab_size == len(WORDS) and config.block_size == encode([""]).shape[1]


@pytest.mark.parametrize("words, what", [
    (torch.zeros(2, 24), "float32"), (torch.zeros(24).long(), "(24,)"), (torch.full((1, 3), 32), "32"),
    (torch.full((1, 3), -1), "-1"), (torch.zeros(2, 25).long(), "25"), (torch.zeros(2, 0).long(), "=0")])
def test_what_are_no_words_is_one_clear_line(words, what):
    with pytest.raises(ValueError) as error:
        build()(words)
    assert what in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize("config, what", [
    (dict(bag=True), "neighbours=True and n_layer=1"), (dict(bag=True, neighbours=False), "n_layer=1"),
    (dict(n_layer=-1), "n_layer=-1"), (dict(block_size=0), "block_size=0"), (dict(n_head=3), "n_head=3")])
def test_a_configuration_that_cannot_be_is_one_clear_line(config, what):
    with pytest.raises(ValueError, match=what):
        build(**config)
