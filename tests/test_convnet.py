"""The small CNN: its shapes, what it may and may not depend on, and that it can learn."""

import pytest
import torch
from torch.nn import functional as F

from course_lib.convnet import ConvNet, ConvNetConfig, conv_block
from course_lib.device import seed, seeded


def images(n: int) -> torch.Tensor:
    return torch.rand(n, 1, 28, 28, generator=seeded(n))


def trained(**config) -> ConvNet:
    """A network whose batch-norm statistics are no longer those of a fresh one."""
    seed(0)
    model = ConvNet(ConvNetConfig(**config))
    for _ in range(3):
        model(images(50))
    return model.eval()


def test_logits_are_a_linear_map_of_the_features():
    model, x = trained(n_channel=4, n_feature=7), images(3)
    features = model.features(x)
    assert features.shape == (3, 7) and (features >= 0).all() and (features > 0).any()
    torch.testing.assert_close(model(x), features @ model.head.weight.T + model.head.bias)


def test_an_image_is_judged_alike_alone_and_in_company():
    model, x = trained(), images(3)
    together = model(x)
    for i in range(3):
        torch.testing.assert_close(model(x[i : i + 1]), together[i : i + 1], rtol=1e-4, atol=1e-5)


def test_a_block_is_convolution_then_normalisation_then_relu():
    seed(0)
    block, x = conv_block(1, 5, kernel=5, stride=2).train(), images(6)
    z = F.conv2d(x, block[0].weight, stride=2, padding=2)                     # (6, 5, 14, 14)
    mean, var = z.mean((0, 2, 3), keepdim=True), z.var((0, 2, 3), keepdim=True, correction=0)
    expected = ((z - mean) / (var + 1e-5).sqrt()).clamp_min(0)
    torch.testing.assert_close(block(x), expected, rtol=1e-4, atol=1e-4)


def test_every_pixel_of_the_centre_matters():
    """The receptive field, drawn by back-propagation: only the margin that no stride reaches may be blind."""
    model, x = trained(), images(8).requires_grad_()
    model(x).logsumexp(1).sum().backward()
    seen = x.grad.abs().sum((0, 1)) > 0                                       # (28, 28)
    assert seen[2:24, 2:24].all()


def test_drop_out_acts_in_training_only():
    model, x = trained(dropout=0.5), images(3)
    torch.testing.assert_close(model(x), model(x), rtol=0, atol=0)
    model.dropout.train()
    assert not torch.equal(model(x), model(x))


def test_it_learns_a_handful_of_images_by_heart():
    seed(0)
    model, x, y = ConvNet(ConvNetConfig(n_channel=8)), images(20), torch.arange(20) % 10
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    for _ in range(30):
        loss = F.cross_entropy(model(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert (model.eval()(x).argmax(1) == y).all()


@pytest.mark.parametrize("x", [torch.rand(28, 28), torch.rand(1, 28, 28), torch.rand(2, 3, 28, 28),
                               torch.rand(2, 1, 32, 32), torch.zeros(2, 1, 28, 28, dtype=torch.uint8)],
                         ids=lambda x: f"{x.dtype} {tuple(x.shape)}")
def test_other_inputs_are_refused_in_one_line(x):
    with pytest.raises(ValueError, match=r"\(B, 1, 28, 28\), got \(") as e:
        ConvNet(ConvNetConfig(n_channel=4))(x)
    assert "\n" not in str(e.value)


def test_each_half_ends_with_the_largest_of_four():
    model = ConvNet(ConvNetConfig(n_channel=2, n_feature=4)).eval()
    x = torch.rand(3, 1, 28, 28, generator=seeded(0))
    for i in (2, 5):
        before = model.convs[:i](x)
        torch.testing.assert_close(model.convs[:i + 1](x), F.max_pool2d(before, 2))
    assert model.convs[:6](x).shape == (3, 4, 3, 3) and len(model.convs) == 6
