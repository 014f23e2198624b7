import math

import pytest
import torch
from torch.testing import assert_close

from course_lib import diffusion
from course_lib.device import seed, seeded


def cloud(*shape, n=0):
    return torch.randn(*shape, generator=seeded(n))


def exact_eps(mean: float, std: float, alphas_cumprod):
    """The best possible answer where the data are normal, in closed form: E[eps | x_t]."""
    def model(x, t):
        a = diffusion.per_sample(alphas_cumprod, t, x)
        return (1 - a).sqrt() * (x - a.sqrt() * mean) / (a * std**2 + 1 - a)
    return model


def test_the_closed_form_is_the_product_of_single_steps():
    a = diffusion.linear_alphas_cumprod(50)
    step = torch.cat([a[:1], a[1:] / a[:-1]])                     # alpha of each step
    mean, var = torch.ones(1, dtype=torch.float64), torch.zeros(1, dtype=torch.float64)
    for s in step[:16].double():                                  # x_t = sqrt(alpha) x_{t-1} + sqrt(1 - alpha) noise
        mean, var = s.sqrt() * mean, s * var + 1 - s
    x = diffusion.q_sample(torch.ones(20_000, 1), torch.full((20_000,), 15), cloud(20_000, 1), a)
    assert_close(a[15].double().sqrt(), mean[0], rtol=1e-5, atol=0)
    assert_close(x.mean().double(), mean[0], rtol=0, atol=0.02)
    assert_close(x.var().double(), var[0], rtol=0.03, atol=0)


def test_schedules_fall_from_one_to_nearly_zero():
    for schedule in (diffusion.linear_alphas_cumprod, diffusion.cosine_alphas_cumprod):
        for T in (1000, 100):
            a = schedule(T)
            assert a.shape == (T,) and (a.diff() < 0).all() and 0 < a[-1] < 0.01 and a[0] > 0.9
    assert_close(diffusion.linear_alphas_cumprod()[1], torch.tensor((1 - 1e-4) * (1 - 1e-4 - 0.0199 / 999)))
    assert_close(diffusion.cosine_alphas_cumprod()[499],
                 torch.tensor(math.cos(0.508 / 1.008 * math.pi / 2) ** 2 / math.cos(0.008 / 1.008 * math.pi / 2) ** 2))


@pytest.mark.parametrize("target", diffusion.TARGETS)
def test_a_perfect_prediction_of_any_kind_gives_back_noise_and_image(target):
    a, t = diffusion.linear_alphas_cumprod(), torch.tensor([0, 400, 900])
    x0, eps = cloud(3, 1, 4, 4), cloud(3, 1, 4, 4, n=1)
    x_t = diffusion.q_sample(x0, t, eps, a)
    found = diffusion.to_eps(diffusion.target_of(x0, t, eps, a, target), x_t, t, a, target)
    assert_close(found, eps, atol=1e-4, rtol=1e-4)
    assert_close(diffusion.to_x0(eps, x_t, t, a), x0, atol=1e-3, rtol=1e-3)


def test_v_is_the_derivative_along_the_quarter_circle():
    """With sqrt(a) = cos(angle), x_t runs from x0 to eps, and v is d x_t / d angle (Salimans & Ho, 2022, app. D)."""
    a = diffusion.linear_alphas_cumprod()
    angle = a[300].sqrt().acos().double().requires_grad_()
    x0, eps = 0.7, -1.3
    slope, = torch.autograd.grad(angle.cos() * x0 + angle.sin() * eps, angle)
    v = diffusion.target_of(torch.full((1, 1), x0), torch.tensor([300]), torch.full((1, 1), eps), a, "v")
    assert_close(v.double().squeeze(), slope, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("target, expected", [("eps", 1.0), ("x0", 0.25), ("v", None)])
def test_the_loss_of_a_model_that_answers_zero_is_the_size_of_the_target(target, expected):
    seed(0)
    a = diffusion.linear_alphas_cumprod()
    x0 = 0.5 * torch.ones(4_000, 8)
    expected = (a + (1 - a) * 0.25).mean().item() if expected is None else expected
    loss = diffusion.diffusion_loss(lambda x, t: torch.zeros_like(x), x0, a, target)["loss"]
    assert loss.item() == pytest.approx(expected, rel=0.03)


def test_one_ddpm_step_has_the_mean_and_variance_of_the_posterior():
    """q(x_{t-1} | x_t, x_0) by Bayes' rule: a product of two normal densities, in one dimension."""
    a, t, x0, x_t = diffusion.linear_alphas_cumprod(100).double(), 60, 0.8, -0.4
    alpha = a[t] / a[t - 1]
    precision = alpha / (1 - alpha) + 1 / (1 - a[t - 1])
    mean = (alpha.sqrt() * x_t / (1 - alpha) + a[t - 1].sqrt() * x0 / (1 - a[t - 1])) / precision
    eps = torch.full((1,), float((x_t - a[t].sqrt() * x0) / (1 - a[t]).sqrt()), dtype=torch.float64)
    x = torch.full((1,), x_t, dtype=torch.float64)
    found = [diffusion.ddpm_step(eps, x, t, a, noise=torch.full_like(x, z)) for z in (0.0, 1.0)]
    assert_close(found[0][0], mean)
    assert_close(found[1][0] - found[0][0], precision.rsqrt())


def test_ddpm_is_ddim_with_eta_1():
    a, x = diffusion.cosine_alphas_cumprod(20), cloud(3, 2)
    model = exact_eps(1.0, 0.5, a)
    seed(0)
    one = diffusion.ddpm(model, x, a)
    seed(0)
    other = diffusion.ddim(model, x, a, steps=20, eta=1.0)
    assert_close(one, other, atol=1e-5, rtol=1e-5)
    seed(0)
    clipped = diffusion.ddpm(model, x, a, clip=0.9)
    seed(0)
    assert_close(clipped, diffusion.ddim(model, x, a, 20, 1.0, clip=0.9), atol=1e-5, rtol=1e-5)
    assert (clipped - one).abs().max() > 0.01


@pytest.mark.parametrize("sample", [lambda f, x, a: diffusion.ddpm(f, x, a),
                                    lambda f, x, a: diffusion.ddim(f, x, a, 500)])
def test_with_the_exact_noise_the_samplers_draw_from_the_data(sample):
    seed(0)
    a = diffusion.linear_alphas_cumprod(1000)
    x = sample(exact_eps(0.7, 0.3, a), torch.randn(4_000, 1), a)
    assert x.mean().item() == pytest.approx(0.7, abs=0.02) and x.std().item() == pytest.approx(0.3, abs=0.02)


def test_ddim_without_noise_is_the_same_every_time_and_ddpm_is_not():
    a, x = diffusion.cosine_alphas_cumprod(20), cloud(3, 2)
    model = exact_eps(1.0, 0.5, a)
    assert torch.equal(diffusion.ddim(model, x, a, 5), diffusion.ddim(model, x, a, 5))
    assert not torch.equal(diffusion.ddpm(model, x, a), diffusion.ddpm(model, x, a))


def test_clipping_keeps_the_predicted_image_in_range():
    a, x = diffusion.cosine_alphas_cumprod(20), 5 * cloud(3, 2)
    assert diffusion.ddim(lambda x, t: 0 * x, x, a, 20, clip=1.0).abs().max() <= 1
    assert diffusion.ddpm(lambda x, t: 0 * x, x, a, clip=1.0).abs().max() <= 1.5


def test_times_are_spread_from_the_noisiest_down():
    assert diffusion.timesteps(10, 3) == [9, 6, 3] and diffusion.timesteps(4, 4) == [3, 2, 1, 0]
    assert len(set(diffusion.timesteps(1000, 37))) == 37


def test_scale_1_is_conditional_and_0_unconditional():
    def model(x, t, y):
        return x * (y + 1).view(-1, 1) + t.view(-1, 1)

    x, t, y, null = cloud(3, 2), torch.arange(3), torch.tensor([0, 4, 2]), 9
    guided = {scale: diffusion.guided(model, y, null, scale)(x, t) for scale in (0.0, 1.0, 3.0)}
    assert_close(guided[1.0], model(x, t, y))
    assert_close(guided[0.0], model(x, t, torch.full((3,), null)))
    assert_close(guided[3.0], 3 * guided[1.0] - 2 * guided[0.0])
    assert_close(diffusion.guided(model, 4, null, 2.0)(x, t)[1], diffusion.guided(model, y, null, 2.0)(x, t)[1])
    asked = []
    diffusion.guided(lambda x, t, y: asked.append(len(x)) or x, y, null, 1.0)(x, t)
    assert asked == [3]                                                      # once for each, not twice


def test_autoguidance_goes_from_the_weak_model_through_the_other_and_beyond():
    def model(x, t):
        return 2 * x + t.view(-1, 1)

    def weak(x, t):
        return x.cos() - t.view(-1, 1)

    x, t = cloud(3, 2), torch.arange(3)
    assert_close(diffusion.autoguided(model, weak, 0.0)(x, t), weak(x, t))
    assert_close(diffusion.autoguided(model, None, 1.0)(x, t), model(x, t))    # nobody asks the weak one
    assert_close(diffusion.autoguided(model, weak, 2.5)(x, t), weak(x, t) + 2.5 * (model(x, t) - weak(x, t)))


def test_one_label_in_ten_is_dropped():
    seed(0)
    y = torch.arange(10).repeat(2_000)
    dropped = diffusion.drop_labels(y, 10, 0.1)
    assert (dropped == 10).float().mean().item() == pytest.approx(0.1, abs=0.01)
    assert torch.equal(dropped[dropped != 10], y[dropped != 10])


def test_a_caption_is_dropped_whole():
    seed(0)
    words, empty = torch.randint(1, 30, (2_000, 5)), torch.tensor([0, 0, 7, 0, 0])
    dropped = diffusion.drop_labels(words, empty, 0.1)
    gone = (dropped == empty).all(1)
    assert gone.float().mean().item() == pytest.approx(0.1, abs=0.03)
    assert torch.equal(dropped[~gone], words[~gone]) and dropped.dtype == words.dtype


def test_steps_become_times_between_zero_and_one():
    seen = []
    diffusion.in_steps(lambda x, t, *y: seen.append((t, *y)), 10)(None, torch.tensor([0, 9]), "label")
    assert_close(seen[0][0], torch.tensor([0.1, 1.0]))
    assert seen[0][1] == "label"


class TestDiffusers:
    """The peers' schedules and single steps, where they are installed (`pip install .[bench]`)."""

    @pytest.fixture
    def peers(self):
        return pytest.importorskip("diffusers")

    def test_the_schedules(self, peers):
        for ours, name in [(diffusion.linear_alphas_cumprod(), "linear"),
                           (diffusion.cosine_alphas_cumprod(), "squaredcos_cap_v2")]:
            theirs = peers.DDPMScheduler(1000, beta_schedule=name).alphas_cumprod
            assert_close(ours, theirs, atol=1e-5, rtol=1e-3)

    @pytest.mark.parametrize("target, name", [("eps", "epsilon"), ("x0", "sample"), ("v", "v_prediction")])
    @pytest.mark.parametrize("clip", [None, 1.0])
    def test_a_step_of_ddim(self, peers, target, name, clip):
        a, x, out = diffusion.linear_alphas_cumprod(), cloud(3, 1, 4, 4), cloud(3, 1, 4, 4, n=1)
        theirs = peers.DDIMScheduler(1000, prediction_type=name, clip_sample=clip is not None, set_alpha_to_one=True)
        theirs.set_timesteps(10, device="cpu")
        for t in (900, 500, 0):
            t_next = t - 100 if t >= 100 else -1
            eps = diffusion.to_eps(out, x, torch.full((3,), t), a, target)
            expected = theirs.step(out, t, x, use_clipped_model_output=True).prev_sample
            assert_close(diffusion.ddim_step(eps, x, t, t_next, a, clip=clip), expected, atol=1e-5, rtol=1e-5)

    @pytest.mark.parametrize("clip", [None, 1.0])
    def test_a_step_of_ddpm(self, peers, clip):
        a, x, eps = diffusion.linear_alphas_cumprod(), cloud(3, 1, 4, 4), cloud(3, 1, 4, 4, n=1)
        theirs = peers.DDPMScheduler(1000, clip_sample=clip is not None)
        theirs.alphas_cumprod = a.double()     # their 1 - a/a_next in float32 is off by 1e-4 near the end
        for t in (999, 300, 1, 0):
            expected = theirs.step(eps, t, x, generator=seeded(5)).prev_sample
            noise = torch.randn(x.shape, generator=seeded(5))
            assert_close(diffusion.ddpm_step(eps, x, t, a, clip, noise), expected, atol=1e-5, rtol=1e-5)

    def test_noising(self, peers):
        a, x, eps, t = diffusion.linear_alphas_cumprod(), cloud(3, 4), cloud(3, 4, n=1), torch.tensor([0, 500, 999])
        theirs = peers.DDPMScheduler(1000)
        assert_close(diffusion.q_sample(x, t, eps, a), theirs.add_noise(x, eps, t), atol=1e-5, rtol=1e-5)
        assert_close(diffusion.target_of(x, t, eps, a, "v"), theirs.get_velocity(x, eps, t), atol=1e-5, rtol=1e-5)


def test_the_ends_of_both_schedules_by_hand():
    """The first betas of 100 steps are ten times those of 1000; no beta of the cosine is above 0.999."""
    assert_close(diffusion.linear_alphas_cumprod(100)[0], torch.tensor(1 - 1e-3))
    assert_close(diffusion.linear_alphas_cumprod(100)[-1] / diffusion.linear_alphas_cumprod(100)[-2],
                 torch.tensor(0.8))
    a = diffusion.cosine_alphas_cumprod(1000).double()
    assert_close(a[-1] / a[-2], torch.tensor(1e-3).double(), rtol=1e-4, atol=0)
