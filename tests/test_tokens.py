import math

import pytest
import torch

from course_lib.augment import augment
from course_lib.checkpoint import load as load_checkpoint
from course_lib.checkpoint import metadata
from course_lib.data import list_programs, load
from course_lib.decoding import generate_plainly
from course_lib.device import seeded
from course_lib.gpt import lm_loss
from course_lib.metrics import control_accuracy, the_judge
from course_lib.preferences import answers
from course_lib.tokens import HALF, Encoded, ImageGPT, ImageGPTConfig, join, sentence_bits, split
from course_lib.vqvae import VQVAE, VQVAEConfig

SMALL = dict(vqvae=dict(n_code=20, n_channel=4, n_embd=4), gpt=dict(n_layer=1, n_head=2, n_embd=8))


def small(**changes) -> ImageGPT:
    torch.manual_seed(0)
    model = ImageGPT(ImageGPTConfig(**SMALL | changes)).eval()
    for p in model.gpt.parameters():                              # some branches start at zero, and would say nothing
        torch.nn.init.normal_(p, std=1.0)
    return model


def test_a_sentence_is_a_label_and_codes_above_all_labels():
    idx = join(torch.tensor([7, 0]), torch.tensor([[0, 127], [3, 3]]), n_class=10)
    assert idx.tolist() == [[7, 10, 137], [0, 13, 13]]
    labels, codes = split(idx, 10)
    assert labels.tolist() == [7, 0] and codes.tolist() == [[0, 127], [3, 3]]


def test_every_batch_is_distorted_anew_and_encoded_as_it_is_then():
    torch.manual_seed(3)
    x, y = load("digits").train.x[:30], torch.arange(30) % 10
    vqvae = VQVAE(VQVAEConfig(n_code=20, n_channel=4, n_embd=4)).start(x)
    assert not torch.equal(vqvae.encode(x), vqvae.encode(augment(x, **HALF)))
    torch.manual_seed(3)
    batches = iter(Encoded(x, y, vqvae, batch_size=8))
    (first,), (second,) = next(batches), next(batches)
    assert first.shape == (8, 50) and not torch.equal(first, second)
    torch.manual_seed(3)
    i = torch.randint(30, (8,))
    assert torch.equal(first, torch.cat([y[i, None], vqvae.encode(augment(x[i], **HALF)) + 10], 1))


def test_the_bits_of_a_sentence_are_those_of_its_tokens_one_by_one():
    model, idx = small().gpt, torch.randint(30, (3, 6))
    by_hand = torch.zeros(3, dtype=torch.double)
    with torch.no_grad():
        for i, row in enumerate(idx):
            for t in range(1, 6):
                by_hand[i] -= model(row[None, :t])[0, -1].double().log_softmax(0)[row[t]] / math.log(2)
        assert torch.allclose(sentence_bits(model, idx), by_hand, atol=1e-3)
        assert sentence_bits(model, idx).mean().item() == pytest.approx(
            5 * lm_loss(model, idx)["loss"].item() / math.log(2), rel=1e-4)
        model.head.weight.zero_()
        assert sentence_bits(model, idx)[0].item() == pytest.approx(5 * math.log2(30))


def test_it_goes_on_with_a_beginning_as_plain_writing_does():
    model = small()
    begun = torch.tensor([[3, 11, 12], [5, 29, 10]])
    idx = model.write(begun, temperature=0)
    assert idx.shape == (2, 50) and torch.equal(idx[:, :3], begun)
    for row in idx:
        assert torch.equal(generate_plainly(model.gpt, row[:3], 47, temperature=0), row[3:])


def test_a_sentence_is_drawn_by_the_vqvae_without_its_label():
    model, x = small(), torch.rand(2, 1, 28, 28)
    idx = join(torch.tensor([1, 9]), model.vqvae.encode(x), 10)
    assert torch.equal(model.draw(idx), model.vqvae(x))
    spoilt, zero = idx.clone(), idx.clone()
    spoilt[:, 5], zero[:, 5] = 4, 10                              # a label where a code belongs
    assert torch.equal(model.draw(spoilt), model.draw(zero)) and not torch.equal(model.draw(spoilt), model.draw(idx))


def test_samples_are_images_of_what_was_asked_for():
    model = small(temperature=0.0)
    x = model.sample(3, 7)
    assert x.shape == (3, 1, 28, 28) and 0 <= x.min() and x.max() <= 1
    assert torch.allclose(x[:1], model.draw(model.write(torch.tensor([[7]]))), atol=1e-5)
    y = torch.tensor([4, 7, 1])
    assert torch.allclose(model.sample(3, y, batch_size=2)[1], x[1], atol=1e-5)
    assert not torch.equal(model.sample(3, y)[0], x[0])
    free = model.sample(40, generator=seeded(1))
    assert len({tuple(image.flatten().tolist()) for image in free}) > 3                       # of several labels
    warm = small()
    assert torch.equal(warm.sample(2, 1, seeded(5)), warm.sample(2, 1, seeded(5)))
    assert not torch.equal(warm.sample(2, 1, seeded(5)), warm.sample(2, 1, seeded(6)))


def test_only_the_gpt_is_trained():
    model = small()
    assert not any(p.requires_grad for p in model.vqvae.parameters())
    assert all(p.requires_grad for p in model.gpt.parameters())
    assert model.gpt.config.vocab_size == 30 and model.gpt.config.block_size == 50


@pytest.mark.parametrize("call, words", [
    (lambda: join(torch.tensor([1, 2]), torch.tensor([[1]]), 10), "(1, 1)"),
    (lambda: split(torch.tensor([[12, 12]]), 10), "12"), (lambda: small().write(torch.tensor([[30]])), "30"),
    (lambda: small().sample(0), "n=0")])
def test_what_cannot_be_is_one_clear_line(call, words):
    with pytest.raises(ValueError) as error:
        call()
    assert words in str(error.value) and "\n" not in str(error.value)


# ---------------------------------------------------------------------------------------------------- what is shipped

def test_the_shipped_painter_draws_what_it_is_asked_for():
    model, claimed = load_checkpoint("image_gpt"), metadata("image_gpt")["metrics"]
    y = torch.arange(200) % 10
    assert control_accuracy(the_judge(), model.sample(200, y, seeded(3)), y) > claimed["control"] - 0.05
    x, y = (part[:300] for part in load("digits").test)
    bits = sentence_bits(model.gpt, join(y, model.vqvae.encode(x), 10)).mean().item()
    assert bits == pytest.approx(claimed["bits"], rel=0.03)
    own, apart = model.vqvae.state_dict(), load_checkpoint("vqvae").state_dict()
    assert all(torch.equal(own[name], value) for name, value in apart.items())


def test_the_shipped_coder_is_as_right_as_it_claims():
    asked = list_programs.tasks(60, seed=40, unseen=True)
    idx, _ = answers(load_checkpoint("list_coder"), list_programs.prompts(asked), 2, list_programs.N_BODY,
                     list_programs.END, temperature=0.2, generator=seeded(1))
    texts = [list_programs.decode(row) for row in idx[:, list_programs.N_PROMPT:]]
    right = [list_programs.passes(text, asked[k // 2].hidden) for k, text in enumerate(texts)]
    assert sum(right) / len(right) > metadata("list_coder")["metrics"]["pass@1"] - 0.07
