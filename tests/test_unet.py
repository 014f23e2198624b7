from functools import partial

import pytest
import torch
from awake import awake
from torch import nn
from torch.testing import assert_close

from course_lib import diffusion, dit, unet
from course_lib.device import seed, seeded

BUILD = {"unet": lambda **c: unet.UNet(unet.UNetConfig(n_channel=8, n_embd=16, **c)),
         "dit": lambda **c: dit.DiT(dit.DiTConfig(n_layer=2, n_head=2, n_embd=16, **c))}


@pytest.mark.parametrize("kind", BUILD)
def test_a_new_network_answers_zero(kind):
    x = torch.randn(3, 1, 28, 28, generator=seeded())
    assert torch.equal(BUILD[kind]()(x, torch.rand(3)), torch.zeros_like(x))


@pytest.mark.parametrize("kind", BUILD)
def test_each_image_gets_its_own_time_and_label(kind):
    seed(0)
    model, x = awake(BUILD[kind](n_class=10)), torch.randn(3, 1, 28, 28, generator=seeded())
    t, y = torch.tensor([0.1, 0.5, 0.9]), torch.tensor([3, 10, 7])
    together = model(x, t, y)
    for i in range(3):
        assert_close(together[i:i + 1], model(x[i:i + 1], t[i:i + 1], y[i:i + 1]), atol=1e-5, rtol=1e-4)
    assert (model(x, t + 0.05, y) - together).abs().amax((1, 2, 3)).min() > 1e-3
    assert (model(x, t, (y + 1) % 11) - together).abs().amax((1, 2, 3)).min() > 1e-3


@pytest.mark.parametrize("build", [lambda: unet.UNet(unet.UNetConfig(n_embd=15)),
                                   lambda: dit.DiT(dit.DiTConfig(n_head=3, n_embd=15))])
def test_the_time_needs_an_even_number_of_numbers(build):
    with pytest.raises(ValueError, match="n_embd=15 must be even"):
        build()


@pytest.mark.parametrize("kind", BUILD)
def test_no_label_is_the_empty_label_and_one_number_serves_all(kind):
    seed(0)
    model, x = awake(BUILD[kind](n_class=10)), torch.randn(3, 1, 28, 28, generator=seeded())
    assert_close(model(x, 0.3), model(x, torch.full((3,), 0.3), torch.full((3,), 10)))
    assert_close(model(x, 0.3, 4), model(x, torch.full((3,), 0.3), torch.full((3,), 4)))


@pytest.mark.parametrize("kind", BUILD)
def test_every_pixel_can_depend_on_every_other(kind):
    seed(0)
    model, x = awake(BUILD[kind]()), torch.randn(1, 1, 28, 28, generator=seeded()).requires_grad_()
    slope, = torch.autograd.grad(model(x, 0.5)[0, 0, 14, 14], x)
    assert (slope.abs() > 0).float().mean() > 0.9


@pytest.mark.parametrize("kind", BUILD)
def test_every_weight_is_used(kind):
    seed(0)
    model = awake(BUILD[kind](n_class=10))
    model(torch.randn(3, 1, 28, 28), 0.5, torch.tensor([1, 2, 10])).square().sum().backward()
    assert [name for name, p in model.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0] == []


def test_the_overview_carries_every_cell_to_every_other():
    seed(0)
    overview, x = awake(unet.Overview(4, 8, n_narrow=2)), torch.randn(1, 4, 7, 7).requires_grad_()
    emb = torch.randn(1, 8)
    for i, j in ((0, 0), (3, 6)):
        slope, = torch.autograd.grad((overview(x, emb) - x)[0, :, i, j].sum(), x)
        assert (slope.abs().sum(1) > 0).all()


def test_time_features_are_sines_and_cosines_from_slow_to_fast():
    f = unet.time_features(torch.tensor([0.0, 0.5]), 8)
    assert_close(f[0], torch.tensor([0.0] * 4 + [1.0] * 4))
    frequency = torch.tensor([1.0, 10.0, 100.0, 1000.0])
    assert_close(f[1], torch.cat([(0.5 * frequency).sin(), (0.5 * frequency).cos()]), atol=1e-4, rtol=1e-4)


def test_patches_are_rows_of_the_image_and_come_back():
    x = torch.arange(2 * 28 * 28.0).view(2, 1, 28, 28)
    tokens = dit.patchify(x, 4)
    assert tokens.shape == (2, 49, 16)
    assert torch.equal(tokens[1, 8], x[1, 0, 4:8, 4:8].flatten())                # second row of patches, second patch
    assert torch.equal(dit.unpatchify(tokens, 4, 28), x)


def test_a_block_without_modulation_is_pytorchs_layer():
    """scale = shift = 0 and gate = 1 make it TransformerEncoderLayer(norm_first=True) with the same weights."""
    seed(0)
    block, layer = dit.DiTBlock(16, 4), nn.TransformerEncoderLayer(16, 4, 64, 0.0, "gelu", batch_first=True,
                                                                    norm_first=True)
    layer.self_attn.in_proj_weight, layer.self_attn.in_proj_bias = block.qkv.weight, block.qkv.bias
    layer.self_attn.out_proj.weight, layer.self_attn.out_proj.bias = block.proj.weight, block.proj.bias
    layer.linear1, layer.linear2 = block.mlp[0], block.mlp[2]
    with torch.no_grad():
        block.modulation.bias.view(6, 16)[[2, 5]] = 1.0
    x = torch.randn(3, 5, 16)
    assert_close(block(x, torch.randn(3, 16)), layer(x), atol=1e-5, rtol=1e-4)


# ---- any picture, and a context

@pytest.mark.parametrize("shape", [(3, 16, 16), (1, 32, 40)])
@pytest.mark.parametrize("kind", BUILD)
def test_any_size_is_answered_everywhere_and_by_every_weight(kind, shape):
    seed(0)
    model = awake(BUILD[kind](shape=shape, n_context=6))
    x, context = torch.randn(3, *shape, generator=seeded()), torch.randn(3, 5, 6, generator=seeded(1))
    answer = model(x, 0.4, context=context)
    assert answer.shape == x.shape and answer.flatten(1).std(1).min() > 1e-3
    answer.square().sum().backward()
    assert [name for name, p in model.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0] == []
    with pytest.raises(ValueError, match=r"shape .*, got \(3, 1, 28, 28\)"):
        model(torch.zeros(3, 1, 28, 28), 0.4, context=context)


@pytest.mark.parametrize("kind", BUILD)
def test_an_image_sees_its_own_context_in_any_order_and_one_serves_all(kind):
    """Five vectors: their order says nothing (a text encoder must write it into them), each of them counts."""
    seed(0)
    model = awake(BUILD[kind](shape=(3, 16, 16), n_context=6))
    x, context = torch.randn(3, 3, 16, 16, generator=seeded()), torch.randn(3, 5, 6, generator=seeded(1))
    together = model(x, 0.4, context=context)
    for i in range(3):
        assert_close(together[i:i + 1], model(x[i:i + 1], 0.4, context=context[i:i + 1]), atol=1e-5, rtol=1e-4)
    assert_close(together, model(x, 0.4, context=context[:, [3, 1, 4, 0, 2]]), atol=1e-5, rtol=1e-4)
    assert_close(model(x, 0.4, context=context[:1]), model(x, 0.4, context=context[:1].expand(3, -1, -1)))
    for word in range(5):
        other = context.clone()
        other[:, word] += 1
        other[:, (word + 1) % 5] -= 1                                            # the mean stays as it was
        assert (model(x, 0.4, context=other) - together).abs().amax((1, 2, 3)).min() > 1e-4


@pytest.mark.parametrize("kind", BUILD)
@pytest.mark.parametrize("context", [None, torch.zeros(3, 6), torch.zeros(3, 5, 7), torch.zeros(2, 5, 6)])
def test_a_context_of_another_shape_is_refused(kind, context):
    got = "None" if context is None else r"\("
    with pytest.raises(ValueError, match=r"context of shape \(3, L, 6\), got " + got):
        BUILD[kind](n_context=6)(torch.zeros(3, 1, 28, 28), 0.5, context=context)
    with pytest.raises(ValueError, match=r"n_context=0 .* \(1, 2, 3\)"):
        BUILD[kind]()(torch.zeros(3, 1, 28, 28), 0.5, context=torch.zeros(1, 2, 3))


@pytest.mark.parametrize("build, words", [
    (partial(BUILD["unet"], shape=(1, 30, 28)), "30, 28.* multiples of 2 \\* patch=4"),
    (partial(BUILD["unet"], shape=(3, 16, 16), n_context=4, n_head=3), "n_head=3 must divide n_embd=8"),
    (partial(BUILD["dit"], shape=(1, 28, 30)), "patch=4 must divide .*28, 30")])
def test_sizes_that_do_not_divide_are_refused(build, words):
    with pytest.raises(ValueError, match=words):
        build()


@pytest.mark.parametrize("kind", BUILD)
def test_a_new_network_does_not_hear_its_context_yet(kind):
    """Cross-attention starts as nothing: so does the answer of the whole network."""
    model = BUILD[kind](n_context=6)
    assert not model(torch.randn(2, 1, 28, 28), 0.5, context=torch.randn(2, 3, 6)).any()


def test_guidance_by_a_context_leads_away_from_a_negative_one():
    seed(0)
    model = awake(BUILD["unet"](shape=(3, 16, 16), n_context=6))
    x, t = torch.randn(3, 3, 16, 16), torch.full((3,), 0.4)
    wanted, negative = torch.randn(3, 5, 6), torch.randn(1, 5, 6)
    a, b = model(x, t, context=wanted), model(x, t, context=negative)
    assert_close(diffusion.guided(model, wanted, negative, 3.0)(x, t), b + 3 * (a - b), atol=1e-5, rtol=1e-4)


def test_a_patch_of_one_keeps_the_full_size():
    x = torch.randn(2, 4, 8, 8)
    model = awake(BUILD["unet"](shape=(4, 8, 8), patch=1))
    assert model(x, 0.5).shape == x.shape and model.enter.weight.shape[1] == 4


def test_what_was_seen_on_the_way_down_is_handed_across():
    """With nothing coming up from 7x7 or 14x14, an image still answers for itself."""
    model = awake(unet.UNet(unet.UNetConfig(n_channel=4, n_embd=8)))
    for layer in (model.grow, model.join2):
        nn.init.zeros_(layer.weight)
    x = torch.randn(2, 1, 28, 28, generator=seeded(0))
    assert (model(x, 0.5)[0] - model(x, 0.5)[1]).abs().mean() > 1e-3
    with torch.no_grad():
        model.join1.weight[:, 4:] = 0                                          # and no longer without the hand-over
    assert_close(*model(x, 0.5))


def test_a_timed_block_is_scaled_and_shifted_between_its_convolutions():
    block = awake(unet.TimedBlock(4, 8))
    x, emb = torch.randn(2, 4, 5, 5, generator=seeded(0)), torch.randn(2, 8, generator=seeded(1))
    scale, shift = (part[:, :, None, None] for part in block.film(emb).chunk(2, 1))
    h = block.conv1(block.norm(x)) * (1 + scale) + shift
    assert_close(block(x, emb), x + block.conv2(nn.functional.silu(h)))


def test_a_new_block_of_the_dit_is_the_identity():
    x = torch.randn(2, 5, 8, generator=seeded(0))
    assert_close(dit.DiTBlock(8, 2)(x, torch.randn(2, 8, generator=seeded(1))), x, atol=0, rtol=0)
