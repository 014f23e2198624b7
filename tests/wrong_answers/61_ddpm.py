import numpy as np
import torch
from torch.nn import functional as F

from course_lib import diffusion
from course_lib.checks import ddpm as check
from wrong_answers import right, wrong


def left(a, t, x):
    """alpha-bar of each row, 1 at the time -1, with as many axes as x"""
    return torch.where(t < 0, torch.ones(()), a[t]).view(-1, *[1] * (x.dim() - 1))


# --- 1


@wrong(check.noisier, "right for points, and not for images")
def _(x_s, s, t, eps, a):
    r = (left(a, t, s) / left(a, s, s))[:, None]
    return r.sqrt() * x_s + (1 - r).sqrt() * eps


@wrong(check.noisier, "right but for batches with s = -1")
def _(x_s, s, t, eps, a):
    r = diffusion.per_sample(a, t, x_s) / diffusion.per_sample(a, s, x_s)
    return r.sqrt() * x_s + (1 - r).sqrt() * eps


@right(check.noisier)
def _(x_s, s, t, eps, a):
    before, after = left(a, s, x_s), left(a, t, x_s)
    return (after.sqrt() * x_s + (before - after).sqrt() * eps) / before.sqrt()


@right(check.noisier)
def _(x_s, s, t, eps, a):
    a = torch.cat([a, torch.ones(1)])                             # a[-1] is that of the time -1
    return torch.stack([(a[j] / a[i]) ** 0.5 * x + (1 - a[j] / a[i]) ** 0.5 * e for i, j, x, e in zip(s, t, x_s, eps)])


# --- 2


def step(eps, x_t, t, a, noise, before):
    """Eq. 3 with another entry before"""
    beta, x0 = 1 - a[t] / before, ((x_t - (1 - a[t]).sqrt() * eps) / a[t].sqrt()).clamp(-1, 1)
    mean = before.sqrt() * beta * x0 + (a[t] / before).sqrt() * (1 - before) * x_t
    return mean / (1 - a[t]) + ((1 - before) / (1 - a[t]) * beta).sqrt() * noise


wrong(check.ddpm_step, "only the last step, t = 0")(
    lambda eps, x_t, t, a, noise: step(eps, x_t, t, a, noise, a[t - 1]))
wrong(check.ddpm_step, "only t = 1 is wrong")(
    lambda eps, x_t, t, a, noise: step(eps, x_t, t, a, noise, a[t - 1] if t > 1 else torch.ones(())))
right(check.ddpm_step)(
    lambda eps, x_t, t, a, noise: step(eps, x_t, t, a, noise, a[t - 1] if t > 0 else torch.ones(())))


@right(check.ddpm_step)
def _(eps, x_t, t, a, noise):
    x0 = torch.clamp((x_t - (1 - a[t]) ** 0.5 * eps) / a[t] ** 0.5, -1, 1)
    if t == 0:
        return x0
    alpha = a[t] / a[t - 1]                                       # Bayes' rule for two Gaussians: precisions add up
    precision = 1 / (1 - a[t - 1]) + alpha / (1 - alpha)
    mean = (x0 * a[t - 1].sqrt() / (1 - a[t - 1]) + x_t * alpha.sqrt() / (1 - alpha)) / precision
    return mean + noise / precision.sqrt()


# --- 3


@right(check.noise_loss)
def _(model, x0, t, eps, a):
    a = a[t][:, None]
    return (model(a.sqrt() * x0 + (1 - a).sqrt() * eps, t) - eps).square().mean()


right(check.noise_loss)(lambda model, x0, t, eps, a: F.mse_loss(model(diffusion.q_sample(x0, t, eps, a), t), eps))


# --- 5: 0.58 of the pairs

wrong(check.share_agreed, "is too small")(0.3514)         # t = 30
right(check.share_agreed)(0.585)
right(check.share_agreed)(np.float32(0.572))
