import math

import pytest
import torch
from torch.testing import assert_close

from course_lib import flow
from course_lib.device import seed, seeded


def exact_velocity(mean: float, std: float):
    """E[x - eps | x_t] where the data are normal, in closed form."""
    def model(x_t, t):
        t = t.view(-1, 1)
        gain = (t * std**2 - (1 - t)) / (t**2 * std**2 + (1 - t) ** 2)
        return mean + gain * (x_t - t * mean)
    return model


def test_the_road_leads_from_noise_to_data_at_constant_velocity():
    x, eps = torch.randn(3, 1, 4, 4, generator=seeded()), torch.randn(3, 1, 4, 4, generator=seeded(1))
    assert_close(flow.interpolate(x, eps, torch.zeros(3)), eps)
    assert_close(flow.interpolate(x, eps, torch.ones(3)), x)
    for t in (0.0, 0.7):
        move = flow.interpolate(x, eps, torch.full((3,), t + 0.25)) - flow.interpolate(x, eps, torch.full((3,), t))
        assert_close(move / 0.25, x - eps)


def test_times_lie_between_zero_and_one_in_their_proportions():
    seed(0)
    like = torch.zeros(1)
    t = flow.logit_normal(20_000, like).sort().values
    normal = torch.distributions.Normal(0.0, 1.0)
    assert_close((t < 0.3).float().mean(), normal.cdf(torch.tensor(math.log(0.3 / 0.7))), atol=0.01, rtol=0)
    u = flow.uniform(20_000, like)
    assert_close((u < 0.3).float().mean(), torch.tensor(0.3), atol=0.01, rtol=0)


def test_the_loss_is_the_mean_squared_error_of_the_velocity():
    seed(0)
    x = torch.full((5_000, 4), 0.5)
    assert flow.flow_loss(lambda x, t: 0 * x, x)["loss"].item() == pytest.approx(1.25, rel=0.03)      # 0.5^2 + 1
    at_noise = flow.flow_loss(lambda x_t, t: 0.5 - x_t, x, times=lambda n, like: torch.zeros(n))      # knows eps
    assert at_noise["loss"].item() == pytest.approx(0, abs=1e-10)


def test_a_sample_of_weight_two_counts_as_two():
    x, weight = torch.randn(3, 2, 4, generator=seeded(1)), torch.tensor([2.0, 0.0, 4.0])

    def loss(**given):
        seed(0)
        return flow.flow_loss(lambda x_t, t: 0.5 * x_t, x, **given)["loss"]

    seed(0)
    eps, t = torch.randn(x.shape), flow.logit_normal(3, x)
    each = (0.5 * flow.interpolate(x, eps, t) - (x - eps)).square()
    assert_close(loss(weight=weight), (2 * each[0].mean() + 4 * each[2].mean()) / 3)
    assert_close(loss(weight=torch.ones(3)), loss())
    with pytest.raises(ValueError, match="weight"):
        loss(weight=torch.ones(3, 1))


def test_what_one_step_misses_is_what_the_samplers_miss():
    eps, x = torch.randn(3, 2, 4, generator=seeded(1)), torch.randn(3, 2, 4, generator=seeded(2))
    a = torch.tensor(0.7, requires_grad=True)

    def model(x_t, t):
        return (a + t.view(-1, 1, 1)) * x_t

    terms = flow.one_step_loss(model, eps, x)
    assert_close(terms["euler"], (flow.euler(model, eps, 1) - x).square().mean())
    assert_close(terms["midpoint"], (flow.midpoint(model, eps, 1) - x).square().mean())
    assert_close(terms["loss"], terms["euler"] + terms["midpoint"])
    half = eps * (1 + 0.7 / 2)                                                 # is data for the second velocity
    slope = (2 * (eps + 0.7 * eps - x) * eps).mean() + (2 * (eps + 1.2 * half - x) * half).mean()
    assert_close(torch.autograd.grad(terms["loss"], a)[0], slope)


def test_no_model_beats_the_exact_velocity():
    seed(0)
    x = 0.7 + 0.3 * torch.randn(4_000, 1)
    best, other = exact_velocity(0.7, 0.3), exact_velocity(0.5, 0.4)
    losses = []
    for model in (best, other):
        seed(1)
        losses.append(flow.flow_loss(model, x)["loss"].item())
    assert losses[0] < losses[1]


@pytest.mark.parametrize("solve, steps", [(flow.euler, 100), (flow.midpoint, 20)])
def test_with_the_exact_velocity_the_samplers_draw_from_the_data(solve, steps):
    x = solve(exact_velocity(0.7, 0.3), torch.randn(8_000, 1, generator=seeded()), steps)
    assert x.mean().item() == pytest.approx(0.7, abs=0.02) and x.std().item() == pytest.approx(0.3, abs=0.02)


def test_the_order_of_each_method_by_halving_the_step():
    """x' = x: the exact end is e. Euler's error halves with the step, the midpoint method's falls to a quarter."""
    def error(solve, steps):
        return abs(solve(lambda x, t: x, torch.ones(1, 1, dtype=torch.float64), steps).item() - math.e)

    assert error(flow.euler, 200) / error(flow.euler, 400) == pytest.approx(2, rel=0.02)
    assert error(flow.midpoint, 200) / error(flow.midpoint, 400) == pytest.approx(4, rel=0.02)
    assert flow.euler(lambda x, t: x, torch.ones(1, 1), 2).item() == pytest.approx(2.25)
    assert flow.midpoint(lambda x, t: t.view(-1, 1), torch.zeros(1, 1), 1).item() == pytest.approx(0.5)


def test_the_losses_of_examples_are_asked_for_in_the_middles_of_equal_parts():
    asked = []
    flow.flow_losses(lambda x, t: asked.append(t.tolist()) or x, torch.zeros(2, 3), 4)
    assert asked == [[0.125] * 2, [0.375] * 2, [0.625] * 2, [0.875] * 2]


def test_the_losses_of_examples_have_the_loss_as_their_mean():
    x, model = torch.randn(400, 3, generator=seeded()), exact_velocity(0.0, 1.0)
    each = flow.flow_losses(model, x, 16, seeded(1))
    assert each.shape == (400,)
    seed(0)
    whole = torch.stack([flow.flow_loss(model, x, flow.uniform)["loss"] for _ in range(16)]).mean()
    assert_close(each.mean(), whole, rtol=0.05, atol=0)
    half = flow.flow_losses(lambda x, t: 0 * x, torch.tensor([[3.0, 3.0], [0.0, 0.0]]), 4000, seeded(2))
    assert_close(half, torch.tensor([10.0, 1.0]), rtol=0.05, atol=0)          # |x - eps|^2: 9 + 1, and 1
    assert_close(flow.flow_losses(model, x[:3], 4, seeded(3)), flow.flow_losses(model, x[:3], 4, seeded(3)))


def test_the_velocity_of_points_is_the_mean_over_them_and_its_samples_are_points():
    points = torch.tensor([[1.0, 0.0], [-1.0, 0.5], [0.2, 2.0]])
    model = flow.velocity_of_points(points)
    x, t = torch.randn(5, 2, generator=seeded(0)), torch.linspace(0, 0.9, 5)
    for i in range(5):
        normal = torch.distributions.MultivariateNormal(torch.zeros(2), torch.eye(2))
        eps = (x[i] - t[i] * points) / (1 - t[i])                             # (3, 2): the noise if it is this point
        weight = normal.log_prob(eps).softmax(0)
        assert_close(model(x, t)[i], (weight[:, None] * (points - eps)).sum(0), rtol=1e-4, atol=1e-5)
    samples = flow.midpoint(model, torch.randn(300, 2, generator=seeded(1)), 40)
    distance = torch.cdist(samples, points)
    assert distance.amin(1).max() < 0.02
    assert (torch.bincount(distance.argmin(1), minlength=3) > 60).all()       # each about a third
    with pytest.raises(ValueError, match=r"\(5, 3\) cannot move"):
        model(torch.zeros(5, 3), t)


def test_straightness_is_zero_on_a_straight_road_only():
    x = torch.randn(5, 2, generator=seeded())
    assert flow.straightness(lambda x, t: torch.ones_like(x), x, 10) == pytest.approx(0, abs=1e-6)

    def turning(x, t):                                            # a quarter of a circle of radius 1, at constant speed
        angle = t.view(-1, 1) * math.pi / 2
        return math.pi / 2 * torch.cat([-angle.sin(), angle.cos()], 1)

    speed, chord = (math.pi / 2) ** 2, 2.0                        # mean |v|^2, |x1 - x0|^2
    assert flow.straightness(turning, x, 400) == pytest.approx((speed - chord) / speed, abs=0.01)
