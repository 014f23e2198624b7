import math

import numpy as np
import torch
from torch.nn import functional as F

from course_lib import diffusion
from course_lib.checks import ddpm as check
from wrong_answers import right, wrong

# --- 1: each as a learner writes the last line

NOISIER = """
def noisier(x_s, s, t, eps, alphas_cumprod):
    {first}
    a_s = torch.where(s < 0, torch.ones(()), alphas_cumprod[s]).view(shape)
    a_t = alphas_cumprod[t].view(shape)
    return {last}
"""


def noisier(last, first="shape = -1, *[1] * (x_s.dim() - 1)"):
    names = {"torch": torch, "math": math}
    exec(NOISIER.format(first=first, last=last), names)
    return names["noisier"]


wrong(check.noisier, "right for points, and not for images")(noisier(
    "(a_t / a_s).sqrt() * x_s + (1 - a_t / a_s).sqrt() * eps", "shape = -1, 1"))


wrong(check.noisier, "random numbers of its own")(noisier(
    "(a_t / a_s).sqrt() * x_s + (1 - a_t / a_s).sqrt() * torch.randn_like(x_s)"))


@wrong(check.noisier, "only s = -1 is wrong")
def _(x_s, s, t, eps, alphas_cumprod):
    r = diffusion.per_sample(alphas_cumprod, t, x_s) / diffusion.per_sample(alphas_cumprod, s, x_s)
    return r.sqrt() * x_s + (1 - r).sqrt() * eps


right(check.noisier)(noisier("(a_t / a_s).sqrt() * x_s + (1 - a_t / a_s).sqrt() * eps"))
right(check.noisier)(noisier("(a_t.sqrt() * x_s + (a_s - a_t).sqrt() * eps) / a_s.sqrt()"))


# --- 2

STEP = """
def ddpm_step(eps, x_t, t, alphas_cumprod, noise):
    a, before = alphas_cumprod[t], {before}
    alpha, beta = {alpha}
    x0 = {x0}
    mean = {mean}
    std = {std}
    return {last}
"""
X0 = "((x_t - (1 - a).sqrt() * eps) / a.sqrt()).clamp(-1, 1)"
MEAN = "(before.sqrt() * beta * x0 + alpha.sqrt() * (1 - before) * x_t) / (1 - a)"
STD = "((1 - before) / (1 - a) * beta).sqrt()"


def step(before="alphas_cumprod[t - 1] if t > 0 else torch.ones(())", alpha="a / before, 1 - a / before", x0=X0,
         mean=MEAN, std=STD, last="mean + std * noise"):
    names = {"torch": torch, "math": math}
    exec(STEP.format(before=before, alpha=alpha, x0=x0, mean=mean, std=std, last=last), names)
    return names["ddpm_step"]


wrong(check.ddpm_step, "only the last step, t = 0")(step("alphas_cumprod[t - 1]"))
wrong(check.ddpm_step, "only t = 1 is wrong")(step("alphas_cumprod[t - 1] if t > 1 else torch.ones(())"))
wrong(check.ddpm_step, "random numbers of its own")(step(last="mean + std * torch.randn_like(x_t)"))

right(check.ddpm_step)(step())
right(check.ddpm_step)(step(
    "alphas_cumprod[t - 1] if t else torch.tensor(1.0)", last="mean if t == 0 else mean + std * noise"))


# --- 3

LOSS = """
def noise_loss(model, x0, t, eps, alphas_cumprod):
    a = {a}
    x_t = {x_t}
    return {loss}
"""
A, X_T = "alphas_cumprod[t][:, None]", "a.sqrt() * x0 + (1 - a).sqrt() * eps"
MSE = "(model(x_t, t) - eps).square().mean()"


def loss(a=A, x_t=X_T, loss=MSE):
    names = {"torch": torch, "F": F}
    exec(LOSS.format(a=a, x_t=x_t, loss=loss), names)
    return names["noise_loss"]


wrong(check.noise_loss, "cannot be differentiated")(loss(loss=MSE + ".item()"))

right(check.noise_loss)(loss())
right(check.noise_loss)(loss(loss="F.mse_loss(model(x_t, t), eps)"))


# --- 5: 0.58 of the pairs

wrong(check.share_agreed, "is in percent")(58.1)
wrong(check.share_agreed, "is too small")(0.3514)         # t = 30
right(check.share_agreed)(0.585)
right(check.share_agreed)(np.float32(0.572))
