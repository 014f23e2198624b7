import torch
from torch import nn
from torch.nn import functional as F

from course_lib import dit, flow
from course_lib.checks import flow_matching as check
from course_lib.data import toys
from course_lib.device import seeded
from wrong_answers import Later, equivalent, right, wrong

# --- 1


wrong(check.ends, "right for points, and not for images")(
    lambda x_t, v, t: (x_t - t[:, None] * v, x_t + (1 - t)[:, None] * v))
wrong(check.ends, "right for images, and not for points")(
    lambda x_t, v, t: (x_t - t[:, None, None, None] * v, x_t + (1 - t)[:, None, None, None] * v))


@right(check.ends)
def _(x_t, v, t):
    t = t.view(-1, *[1] * (v.ndim - 1))
    return [torch.lerp(x_t, x_t - v, t), x_t + v - t * v]


@right(check.ends)
def _(x_t, v, t):
    back = torch.einsum("b,b...->b...", t, v)
    return x_t - back, x_t - back + v


# --- 2


@right(check.heun)
def _(model, x, steps):
    for i in range(steps):
        t = torch.full((len(x),), i / steps)
        k1 = model(x, t)
        trial = x + k1 / steps
        x = 0.5 * x + 0.5 * (trial + model(trial, t + 1 / steps) / steps)
    return x


@right(check.heun)
def _(model, x, steps):
    times = torch.linspace(0, 1, steps + 1)
    for t, later in zip(times, times[1:]):
        k1 = model(x, t.repeat(len(x)))
        k2 = model(x + (later - t) * k1, later.repeat(len(x)))
        x = x + (later - t) * torch.stack([k1, k2]).mean(0)
    return x


equivalent(check.heun, "later(t, h) -> later(h, t)", "a sum")

# --- 3


@right(check.half_block)
def _(x, layer, scale, shift, gate):
    h = (x - x.mean(-1, keepdim=True)) / x.std(-1, keepdim=True, unbiased=False)
    return x + torch.einsum("bc,btc->btc", gate, layer(h + torch.einsum("bc,btc->btc", scale, h) + shift.unsqueeze(1)))


right(check.half_block)(lambda x, layer, scale, shift, gate: x + gate.unsqueeze(1) * layer(
    dit.modulate(nn.LayerNorm(x.shape[2], elementwise_affine=False)(x), scale, shift)))


# --- 4


def loss(model, x, eps, t):
    each = t.view(-1, *[1] * (x.ndim - 1))
    return F.mse_loss(model((1 - each) * eps + each * x, t), x - eps)


right(check.velocity_loss)(loss)


@right(check.velocity_loss)
def _(model, x, eps, t):
    each = t.view(-1, *[1] * (x.ndim - 1))
    x_t = torch.lerp(eps, x, each.expand_as(x))
    return (model(x_t, t) - (x - x_t) / (1 - each)).flatten(1).pow(2).mean(1).mean()


# --- 5


def saved(solve):
    """The share, with this way to follow the paths."""
    eps, x = torch.randn(5_000, 2, generator=seeded(5)), toys.ring().sample(5_000, seeded(6))
    end = solve(check.exact_velocity, eps)
    return 1 - (end - eps).square().mean() / (x - eps).square().mean()


wrong(check.saved, "is too small")(0.21)
wrong(check.saved, "is too large")(16)
right(check.saved)(Later(lambda: saved(lambda v, eps: check.heun.right(v, eps, 20))))
right(check.saved)(Later(lambda: saved(lambda v, eps: flow.euler(v, eps, 50))))
