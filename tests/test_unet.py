import pytest
import torch
from torch import nn
from torch.testing import assert_close

from course_lib import dit, unet
from course_lib.device import seed, seeded

NETWORKS = [lambda n_class=0: unet.UNet(unet.UNetConfig(n_class=n_class, n_channel=8, n_embd=16)),
            lambda n_class=0: dit.DiT(dit.DiTConfig(n_class=n_class, n_layer=2, n_head=2, n_embd=16))]


def awake(model: nn.Module) -> nn.Module:
    """Weights that start at zero would hide what they multiply."""
    with torch.no_grad():
        for p in model.parameters():
            p.add_(0.1 * torch.randn(p.shape, generator=seeded(p.numel())))
    return model


@pytest.mark.parametrize("build", NETWORKS)
def test_a_new_network_answers_zero(build):
    x = torch.randn(3, 1, 28, 28, generator=seeded())
    assert torch.equal(build()(x, torch.rand(3)), torch.zeros_like(x))


@pytest.mark.parametrize("build", NETWORKS)
def test_each_image_gets_its_own_time_and_label(build):
    seed(0)
    model, x = awake(build(n_class=10)), torch.randn(3, 1, 28, 28, generator=seeded())
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


@pytest.mark.parametrize("build", NETWORKS)
def test_no_label_is_the_empty_label_and_one_number_serves_all(build):
    seed(0)
    model, x = awake(build(n_class=10)), torch.randn(3, 1, 28, 28, generator=seeded())
    assert_close(model(x, 0.3), model(x, torch.full((3,), 0.3), torch.full((3,), 10)))
    assert_close(model(x, 0.3, 4), model(x, torch.full((3,), 0.3), torch.full((3,), 4)))


@pytest.mark.parametrize("build", NETWORKS)
def test_every_pixel_can_depend_on_every_other(build):
    seed(0)
    model, x = awake(build()), torch.randn(1, 1, 28, 28, generator=seeded()).requires_grad_()
    slope, = torch.autograd.grad(model(x, 0.5)[0, 0, 14, 14], x)
    assert (slope.abs() > 0).float().mean() > 0.9


@pytest.mark.parametrize("build", NETWORKS)
def test_every_weight_is_used(build):
    seed(0)
    model = awake(build(n_class=10))
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
