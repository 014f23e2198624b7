from functools import partial

import pytest
import torch
from awake import awake
from torch.testing import assert_close

from course_lib import diffusion, flow
from course_lib.device import seed, seeded
from course_lib.pipeline import PATHS, Pipeline, PipelineConfig, beside, pipeline_loss

SMALL = dict(n_class=10, n_channel=4, n_embd=8)


def build(**config) -> Pipeline:
    seed(0)
    return awake(Pipeline(PipelineConfig(**dict(sizes=SMALL, steps=3) | config)), 0.1)


def test_samples_are_those_of_the_sampler_that_the_configuration_names():
    model, x = build(guidance=2.0), torch.randn(4, 1, 28, 28, generator=seeded(1))
    y = torch.tensor([1, 2, 3, 4])
    expected = flow.midpoint(diffusion.guided(model.network, y, 10, 2.0), x, 3)
    assert_close(model.sample(4, y, seeded(1)), (expected / 2 + 0.5).clamp(0, 1))
    expected = flow.midpoint(partial(model.network, y=y), x, 2)
    assert_close(model.sample(4, y, seeded(1), guidance=1.0, steps=2), (expected / 2 + 0.5).clamp(0, 1))
    expected = flow.midpoint(model.network, x, 3)
    assert_close(model.sample(4, generator=seeded(1)), (expected / 2 + 0.5).clamp(0, 1))


@pytest.mark.parametrize("y", [None, torch.tensor([1, 2, 3, 4])], ids=["no labels", "labels"])
def test_a_pipeline_with_a_weak_network_is_guided_away_from_it(y):
    model, weak, x = build(), build(path="v").network, torch.randn(4, 1, 28, 28, generator=seeded(1))
    with torch.no_grad():
        for p in weak.parameters():
            p.mul_(0.5)
    both = beside(model, weak, guidance=1.5)
    assert both.config.guidance == 1.5 and model.config.guidance == 1.0 and model.weak is None

    def steered(x, t):
        good = model.network(x, t) if y is None else model.network(x, t, y)
        return 1.5 * good - 0.5 * weak(x, t)

    expected = (flow.midpoint(steered, x, 3) / 2 + 0.5).clamp(0, 1)
    assert_close(both.sample(4, y, seeded(1)), expected, atol=1e-5, rtol=1e-4)
    assert_close(both.sample(4, y, seeded(1), guidance=1.0), model.sample(4, y, seeded(1), guidance=1.0))


def test_a_weak_network_of_another_size_does_not_fit():
    with pytest.raises(ValueError, match="n_channel=4, n_embd=8.* and has .*n_channel=8"):
        beside(build(), Pipeline(PipelineConfig(sizes=dict(n_class=10, n_channel=8, n_embd=8))).network, 1.5)


@pytest.mark.parametrize("path", diffusion.TARGETS)
def test_a_diffusion_network_is_sampled_by_ddim(path):
    model, a, g = build(path=path, T=50), diffusion.cosine_alphas_cumprod(50), seeded(1)
    x = torch.randn(2, 1, 28, 28, generator=g)

    def eps(x, t):
        return diffusion.to_eps(model.network(x, (t + 1) / 50), x, t, a, path)

    expected = diffusion.ddim(eps, x, a, 3, eta=1.0, clip=1.0, generator=g)
    assert_close(model.sample(2, generator=seeded(1)), (expected / 2 + 0.5).clamp(0, 1))


def test_the_size_of_a_batch_changes_nothing():
    model, y = build(guidance=2.0), torch.arange(7)
    assert_close(model.sample(7, y, seeded(3), batch_size=3), model.sample(7, y, seeded(3)), atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("y", [10, -1, 2.5, torch.tensor([1, 2, 11])])
def test_a_label_that_does_not_exist_is_refused(y):
    """10 would be "no label": an image of anything, and no error."""
    with pytest.raises(ValueError, match="from 0 to 9"):
        build().sample(3, y)
    with pytest.raises(ValueError, match="trained with no labels"):
        Pipeline(PipelineConfig(sizes=dict(n_channel=4, n_embd=8))).sample(3, y)


def test_no_steps_are_too_few():
    with pytest.raises(ValueError, match="steps=0"):
        build().sample(3, steps=0)


def test_all_paths_are_known():
    assert set(PATHS) == {"flow", *diffusion.TARGETS}


@pytest.mark.parametrize("path", PATHS)
def test_the_loss_is_that_of_the_path_with_some_labels_left_out(path):
    model, y = build(path=path), torch.arange(500) % 10
    x, seen = torch.rand(500, 1, 28, 28, generator=seeded(2)), []

    def network(x_t, t, y):
        seen.append(y)
        return torch.zeros_like(x_t)

    model.network.forward = network
    seed(3)
    loss = pipeline_loss(model, x, y)["loss"].item()
    left_out = seen[0] == 10
    assert 20 < left_out.sum() < 90 and torch.equal(seen[0][~left_out], y[~left_out])
    square = (2 * x - 1).square().mean().item()                    # a network that answers 0 misses the whole target
    times = (torch.arange(1_000) + 0.5) / 1_000
    expected = {"flow": 1 + square, "eps": 1, "x0": square,
                "v": ((1 - times.mul(torch.pi / 2).sin() ** 2) + times.mul(torch.pi / 2).sin() ** 2 * square).mean()}
    assert loss == pytest.approx(float(expected[path]), rel=0.03)


@pytest.mark.parametrize("network", ["unet", "dit"])
def test_a_pipeline_draws_any_picture_from_a_context(network):
    sizes = dict(shape=[3, 16, 16], n_context=6, n_embd=8) | ({"n_channel": 4} if network == "unet" else {"n_head": 2})
    model = build(network=network, sizes=sizes, steps=2, guidance=3.0)
    context, null, x = torch.randn(4, 5, 6), torch.randn(1, 5, 6), torch.randn(4, 3, 16, 16, generator=seeded(1))
    expected = flow.midpoint(diffusion.guided(model.network, context, null, 3.0), x, 2)
    drawn = model.sample(4, generator=seeded(1), context=context, null=null, batch_size=3)
    assert_close(drawn, (expected / 2 + 0.5).clamp(0, 1), atol=1e-5, rtol=1e-4)
    plain = flow.midpoint(partial(model.network, context=context), x, 2)
    assert_close(model.sample(4, generator=seeded(1), context=context, guidance=1.0), (plain / 2 + 0.5).clamp(0, 1))
    with pytest.raises(ValueError, match="guidance=3.0 .*null"):
        model.sample(4, context=context)


@pytest.mark.parametrize("guidance", [0.0, 0.5])
def test_guidance_below_one_goes_towards_the_unconditional_model(guidance):
    model = build(steps=2)
    images = model.sample(3, 7, seeded(1), guidance=guidance)
    assert not torch.equal(images, model.sample(3, 7, seeded(1), guidance=1.0))
    if guidance == 0:
        assert_close(images, model.sample(3, None, seeded(1)))
