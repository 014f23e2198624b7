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


wrong(check.noisier, "this is the jump from a clean image")(noisier("a_t.sqrt() * x_s + (1 - a_t).sqrt() * eps"))
wrong(check.noisier, "you add all the noise of x_t")(noisier("(a_t / a_s).sqrt() * x_s + (1 - a_t).sqrt() * eps"))
wrong(check.noisier, "the difference of the two")(noisier("(a_t / a_s).sqrt() * x_s + (a_s - a_t).sqrt() * eps"))
wrong(check.noisier, "a root is missing")(noisier("a_t / a_s * x_s + (1 - a_t / a_s) * eps"))
wrong(check.noisier, "a root is missing")(noisier("(a_t / a_s) ** 0.5 * x_s + (1 - a_t / a_s) * eps"))
wrong(check.noisier, "multiplied by 1 - sqrt(r)")(noisier(
    "torch.sqrt(a_t / a_s) * x_s + (1 - torch.sqrt(a_t / a_s)) * eps"))
wrong(check.noisier, "have changed places")(noisier("(1 - a_t / a_s).sqrt() * x_s + (a_t / a_s).sqrt() * eps"))
wrong(check.noisier, "do not shrink x_s")(noisier("x_s + (1 - a_t / a_s).sqrt() * eps"))
wrong(check.noisier, "nan comes from")(noisier("(a_s / a_t).sqrt() * x_s + (1 - a_s / a_t).sqrt() * eps"))
wrong(check.noisier, "random numbers of its own")(noisier(
    "(a_t / a_s).sqrt() * x_s + (1 - a_t / a_s).sqrt() * torch.randn_like(x_s)"))
wrong(check.noisier, "RuntimeError")(noisier(
    "(a_t / a_s).sqrt() * x_s + (1 - a_t / a_s).sqrt() * eps", "shape = -1"))


@wrong(check.noisier, "only s = -1 is wrong")
def _(x_s, s, t, eps, alphas_cumprod):
    r = diffusion.per_sample(alphas_cumprod, t, x_s) / diffusion.per_sample(alphas_cumprod, s, x_s)
    return r.sqrt() * x_s + (1 - r).sqrt() * eps


@wrong(check.noisier, "only s = -1 is wrong")
def _(x_s, s, t, eps, alphas_cumprod):
    a = torch.cat([torch.zeros(1), alphas_cumprod])
    r = (a[t + 1] / a[s + 1]).clamp(max=1).view(-1, *[1] * (x_s.dim() - 1))
    return r.sqrt() * x_s + (1 - r).sqrt() * eps


@wrong(check.noisier, "treated like the first")
def _(x_s, s, t, eps, alphas_cumprod):
    a = torch.cat([torch.ones(1), alphas_cumprod])
    r = a[t[0] + 1] / a[s[0] + 1]
    return r.sqrt() * x_s + (1 - r).sqrt() * eps


right(check.noisier)(noisier("(a_t / a_s).sqrt() * x_s + (1 - a_t / a_s).sqrt() * eps"))
right(check.noisier)(noisier("(a_t.sqrt() * x_s + (a_s - a_t).sqrt() * eps) / a_s.sqrt()"))


@right(check.noisier)
def _(x_s, s, t, eps, alphas_cumprod):
    rows = []
    for x, i, j, e in zip(x_s, s.tolist(), t.tolist(), eps):
        left = alphas_cumprod[j].item() / (alphas_cumprod[i].item() if i >= 0 else 1)
        rows.append(math.sqrt(left) * x + math.sqrt(1 - left) * e)
    return torch.stack(rows)


@right(check.noisier)
def _(x_s, s, t, eps, alphas_cumprod):
    """Step by step: the factors of all small steps, and their noises put together as one."""
    alphas = torch.cat([alphas_cumprod[:1], alphas_cumprod[1:] / alphas_cumprod[:-1]])
    out = torch.empty_like(x_s)
    for i in range(len(x_s)):
        kept, variance = 1.0, 0.0
        for step in range(int(s[i]) + 1, int(t[i]) + 1):
            kept, variance = kept * alphas[step] ** 0.5, variance * alphas[step] + 1 - alphas[step]
        out[i] = kept * x_s[i] + variance**0.5 * eps[i]
    return out


@right(check.noisier)
def _(x_s, s, t, eps, alphas_cumprod):
    padded = F.pad(alphas_cumprod, (1, 0), value=1.0).double()
    log_r = (padded[t + 1].log() - padded[s + 1].log())[(...,) + (None,) * (x_s.ndim - 1)]
    return (log_r / 2).exp() * x_s + (-torch.expm1(log_r)).sqrt() * eps


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
wrong(check.ddpm_step, "only the last step, t = 0")(step(
    "alphas_cumprod[t - 1]", last="mean + std * noise if t > 0 else mean"))
wrong(check.ddpm_step, "only the last step, t = 0")(step("alphas_cumprod[max(t - 1, 0)]"))
wrong(check.ddpm_step, "only the last step, t = 0")(step(last="mean + std * noise if t > 0 else x_t"))
wrong(check.ddpm_step, "is not clamped")(step(x0=X0.replace(".clamp(-1, 1)", "")))
wrong(check.ddpm_step, "you clamp x_{t-1}")(step(
    x0=X0.replace(".clamp(-1, 1)", ""), last="(mean + std * noise).clamp(-1, 1)"))
wrong(check.ddpm_step, "you clamp at 0")(step(x0=X0.replace("-1, 1", "0, 1")))
wrong(check.ddpm_step, "by the root of it")(step(std=STD.replace(".sqrt()", "")))
wrong(check.ddpm_step, "has the variance beta_t")(step(std="beta.sqrt()"))
wrong(check.ddpm_step, "has the variance beta_t")(step(std="beta.sqrt()", last="mean + (std * noise if t else 0)"))
wrong(check.ddpm_step, "fresh noise is missing")(step(last="mean"))
wrong(check.ddpm_step, "the noise has no factor")(step(last="mean + noise"))
wrong(check.ddpm_step, "is not eq. 1 solved")(step(x0="(x_t - (1 - a).sqrt() * eps).clamp(-1, 1)"))
wrong(check.ddpm_step, "is not eq. 1 solved")(step(x0="((x_t - (1 - a) * eps) / a).clamp(-1, 1)"))
wrong(check.ddpm_step, "as if it were x_0")(step(x0="eps.clamp(-1, 1)"))
wrong(check.ddpm_step, "this is the guess of x_0 itself")(step(last="x0"))
wrong(check.ddpm_step, "from the guess of x_0 alone")(step(mean="before.sqrt() * x0", std="(1 - before).sqrt()"))
wrong(check.ddpm_step, "changed places in the mean")(step(
    mean="(before.sqrt() * beta * x_t + alpha.sqrt() * (1 - before) * x0) / (1 - a)"))
wrong(check.ddpm_step, "what is left after all steps")(step(
    alpha="a, 1 - a", std="((1 - before) / (1 - a) * (1 - a / before)).sqrt()"))
wrong(check.ddpm_step, "what is left after all steps")(step(alpha="a, 1 - a"))
wrong(check.ddpm_step, "stands where alpha-bar_t belongs")(step(alpha="(a := a / before), 1 - a"))
wrong(check.ddpm_step, "random numbers of its own")(step(last="mean + std * torch.randn_like(x_t)"))

right(check.ddpm_step)(step())
right(check.ddpm_step)(step(
    "alphas_cumprod[t - 1] if t else torch.tensor(1.0)", last="mean if t == 0 else mean + std * noise"))
right(check.ddpm_step)(lambda eps, x_t, t, a, noise: diffusion.ddpm_step(eps, x_t, t, a, 1.0, noise))
right(check.ddpm_step)(lambda eps, x_t, t, a, noise: diffusion.ddim_step(eps, x_t, t, t - 1, a, 1.0, 1.0, noise))


@right(check.ddpm_step)
def _(eps, x_t, t, alphas_cumprod, noise):
    """The formula of algorithm 2, with the noise that the clamped guess implies."""
    a = alphas_cumprod[t]
    alpha = a / alphas_cumprod[t - 1] if t > 0 else a
    x0 = torch.clip((x_t - torch.sqrt(1 - a) * eps) / torch.sqrt(a), -1, 1)
    eps = (x_t - torch.sqrt(a) * x0) / torch.sqrt(1 - a)
    mean = (x_t - (1 - alpha) / torch.sqrt(1 - a) * eps) / torch.sqrt(alpha)
    if t == 0:
        return mean
    return mean + torch.sqrt((1 - alphas_cumprod[t - 1]) / (1 - a) * (1 - alpha)) * noise


@right(check.ddpm_step)
def _(eps, x_t, t, alphas_cumprod, noise):
    """A product of two normal densities, by their precisions."""
    a = alphas_cumprod[t]
    x0 = ((x_t - (1 - a).sqrt() * eps) / a.sqrt()).clamp(min=-1.0, max=1.0)
    if t == 0:
        return x0
    b = alphas_cumprod[t - 1]
    alpha = a / b
    precision = alpha / (1 - alpha) + 1 / (1 - b)
    return (alpha.sqrt() * x_t / (1 - alpha) + b.sqrt() * x0 / (1 - b)) / precision + noise / precision.sqrt()


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


wrong(check.noise_loss, "the bug is still there")(loss("alphas_cumprod[t[0]]"))
wrong(check.noise_loss, "the bug is still there")(loss("alphas_cumprod[t].view(-1, 1)[0]"))
wrong(check.noise_loss, "agree on the time now")(loss(
    "alphas_cumprod[t[0]]", loss=MSE.replace("x_t, t)", "x_t, t[0].expand(len(t)))")))
wrong(check.noise_loss, "is told the time of the first point")(loss(
    loss=MSE.replace("x_t, t)", "x_t, t[0] + 0 * t)")))
wrong(check.noise_loss, "a root is missing in x_t")(loss(x_t="a * x0 + (1 - a) * eps"))
wrong(check.noise_loss, "a root is missing in x_t")(loss(x_t="a.sqrt() * x0 + (1 - a.sqrt()) * eps"))
wrong(check.noise_loss, "changed places in x_t")(loss(x_t="(1 - a).sqrt() * x0 + a.sqrt() * eps"))
wrong(check.noise_loss, "is compared with x_0")(loss(loss="(model(x_t, t) - x0).square().mean()"))
wrong(check.noise_loss, "with x_t, its own input")(loss(loss="F.mse_loss(model(x_t, t), x_t)"))
wrong(check.noise_loss, "you add up all squares")(loss(loss=MSE.replace("mean", "sum")))
wrong(check.noise_loss, "the squares of a point")(loss(loss=MSE.replace("mean()", "sum(dim=1).mean()")))
wrong(check.noise_loss, "one number for each point")(loss(loss=MSE.replace("mean()", "mean(1)")))
wrong(check.noise_loss, "absolute values")(loss(loss="F.l1_loss(model(x_t, t), eps)"))
wrong(check.noise_loss, "cannot be differentiated")(loss(loss=MSE + ".item()"))
wrong(check.noise_loss, "RuntimeError")(loss("alphas_cumprod[t]"))
wrong(check.noise_loss, "is a dict of 1")(lambda model, x0, t, eps, a: {"loss": loss()(model, x0, t, eps, a)})

right(check.noise_loss)(loss())
right(check.noise_loss)(loss(loss="F.mse_loss(model(x_t, t), eps)"))
right(check.noise_loss)(lambda model, x0, t, eps, a: (model(diffusion.q_sample(x0, t, eps, a), t) - eps).pow(2).mean())


@right(check.noise_loss)
def _(model, x0, t, eps, alphas_cumprod):
    total = 0
    for i in range(len(t)):
        a = alphas_cumprod[t[i]]
        x_t = torch.sqrt(a) * x0[i:i + 1] + torch.sqrt(1 - a) * eps[i:i + 1]
        total = total + ((eps[i] - model(x_t, t[i:i + 1])[0]) ** 2).sum()
    return total / x0.numel()


# --- 5: 0.58 of the pairs

wrong(check.share_agreed, "all pairs agree")(torch.tensor(1.0))
wrong(check.share_agreed, "this is chance")(0.124)
wrong(check.share_agreed, "that end at different modes")(0.42)
wrong(check.share_agreed, "the mode that was nearest at t = 20")(0.69)
wrong(check.share_agreed, "is in percent")(58.1)
wrong(check.share_agreed, "is too small")(0.3514)         # t = 30
right(check.share_agreed)(0.585)
right(check.share_agreed)(np.float32(0.572))
