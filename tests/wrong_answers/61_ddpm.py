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
wrong(check.noisier, "the difference of the two")(noisier("(1 - a_s + a_t).sqrt() * x_s + (a_s - a_t).sqrt() * eps"))
wrong(check.noisier, "eps comes in as it is, or not at all")(noisier("(a_t / a_s).sqrt() * x_s + eps"))
wrong(check.noisier, "eps comes in as it is, or not at all")(noisier("(a_t / a_s).sqrt() * x_s"))
wrong(check.noisier, "it has been shrunk already")(noisier("a_t.sqrt() * x_s + (1 - a_t / a_s).sqrt() * eps"))
wrong(check.noisier, "you take eps out of x_s")(noisier(
    "a_t.sqrt() * (x_s - (1 - a_s).sqrt() * eps) / a_s.sqrt() + (1 - a_t).sqrt() * eps"))
for i, j in (("s + 1", "t"), ("s", "t + 1"), ("s", "t")):         # alphas_cumprod with a 1 in front
    wrong(check.noisier, "your index is off by one")(noisier(
        "r.sqrt() * x_s + (1 - r).sqrt() * eps", "shape = -1, *[1] * (x_s.dim() - 1)\n    "
        f"a = torch.cat([torch.ones(1), alphas_cumprod]); r = (a[{j}] / a[{i}]).view(shape)"))
wrong(check.noisier, "your index is off by one")(noisier(
    "r.sqrt() * x_s + (1 - r).sqrt() * eps", "shape = -1, *[1] * (x_s.dim() - 1)\n    "
    "a = torch.cat([torch.ones(1), alphas_cumprod]); r = (a[t + 1] / a[s.clamp(min=0)]).view(shape)"))
wrong(check.noisier, "this is the last step alone")(noisier(
    "r.sqrt() * x_s + (1 - r).sqrt() * eps", "shape = -1, *[1] * (x_s.dim() - 1)\n    "
    "a = torch.cat([torch.ones(1), alphas_cumprod]); r = (a[t + 1] / a[t]).view(shape)"))
for n in ("t - s", "t - s - 1"):
    wrong(check.noisier, "steps from the clean image")(lambda x_s, s, t, eps, a, n=n: diffusion.q_sample(
        x_s, eval(n, {"s": s, "t": t}), eps, a))
wrong(check.noisier, "right for points, and not for images")(noisier(
    "(a_t / a_s).sqrt() * x_s + (1 - a_t / a_s).sqrt() * eps", "shape = -1, 1"))


@wrong(check.noisier, "the same noise in each of the small steps")
def _(x_s, s, t, eps, alphas_cumprod):
    alphas = torch.cat([alphas_cumprod[:1], alphas_cumprod[1:] / alphas_cumprod[:-1]])
    for b in range(len(x_s)):
        for step in range(int(s[b]) + 1, int(t[b]) + 1):
            x_s[b] = alphas[step] ** 0.5 * x_s[b] + (1 - alphas[step]) ** 0.5 * eps[b]
    return x_s


@wrong(check.noisier, "which are products already")
def _(x_s, s, t, eps, alphas_cumprod):
    r = [alphas_cumprod[i + 1:j + 1].prod() for i, j in zip(s.tolist(), t.tolist())]
    return torch.stack([a ** 0.5 * x + (1 - a) ** 0.5 * e for a, x, e in zip(r, x_s, eps)])


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
for clamp in ("max=1", "min=-1"):
    wrong(check.ddpm_step, "the clamp is another")(step(x0=X0.replace("-1, 1", clamp)))
wrong(check.ddpm_step, "the clamp is another")(step(x0=X0.replace("clamp(-1, 1)", "tanh()")))
wrong(check.ddpm_step, "the clamp is another")(step(last="(mean + std * noise).clamp(-1, 1)"))
wrong(check.ddpm_step, "the clamp is another")(step(
    x0=X0.replace(".clamp(-1, 1)", ""), last="mean.clamp(-1, 1) + std * noise"))
wrong(check.ddpm_step, "the clamp is another")(step(x0=X0.replace(".clamp(-1, 1)", "").replace(
    "* eps", "* (eps := eps.clamp(-1, 1))")))
wrong(check.ddpm_step, "the clamp is another")(step(x0=X0.replace(".clamp(-1, 1)", "").replace(
    "x_t", "(x_t := x_t.clamp(-1, 1))")))
for std in ("beta", "(1 - a).sqrt()", "(1 - before).sqrt()", "((1 - before) / (1 - a)).sqrt()"):
    for last in ("mean + std * noise", "mean + std * noise if t else mean"):
        wrong(check.ddpm_step, "another factor than in eq. 3")(step(std=std, last=last))
wrong(check.ddpm_step, "eps and noise are mixed up")(step(last="mean + std * eps"))
wrong(check.ddpm_step, "eps and noise are mixed up")(step(x0=X0.replace("eps", "noise")))
wrong(check.ddpm_step, "eps and noise are mixed up")(step(x0=X0.replace("eps", "noise"), last="mean + std * eps"))
wrong(check.ddpm_step, "this is a step of DDIM")(
    lambda eps, x_t, t, a, noise: diffusion.ddim_step(eps, x_t, t, t - 1, a))
wrong(check.ddpm_step, "this is a step of DDIM")(step(last="before.sqrt() * x0 + (1 - before).sqrt() * eps"))
wrong(check.ddpm_step, "only t = 1 is wrong")(step("alphas_cumprod[t - 1] if t > 1 else torch.ones(())"))
for x0 in ("(x_t + (1 - a).sqrt() * eps) / a.sqrt()", "x_t - (1 - a).sqrt() * eps / a.sqrt()"):
    wrong(check.ddpm_step, "is not eq. 1 solved")(step(x0=f"({x0}).clamp(-1, 1)"))
for old, new in (("before.sqrt()", "a.sqrt()"), ("before.sqrt()", "before"), ("alpha.sqrt()", "alpha"),
                 ("alpha.sqrt()", "a.sqrt()"), (" * beta", ""), ("+ alpha", "- alpha"), (" / (1 - a)", ""),
                 ("x0 + alpha", "x0 * (1 - a) + alpha")):
    wrong(check.ddpm_step, "compare them one by one")(step(mean=MEAN.replace(old, new)))
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
for time in ("[t[-1]]", "[t.max()]", "[t].mean()"):
    wrong(check.noise_loss, "the bug is still there")(loss("alphas_cumprod" + time))
wrong(check.noise_loss, "agree on the time now")(loss(
    "alphas_cumprod[t[0]]", loss=MSE.replace("x_t, t)", "x_t, t[0].expand(len(t)))")))
wrong(check.noise_loss, "is told the time of the first point")(loss(
    loss=MSE.replace("x_t, t)", "x_t, t[0] + 0 * t)")))
for x_t in ("a * x0 + (1 - a) * eps", "a.sqrt() * x0 + (1 - a.sqrt()) * eps", "a * x0 + (1 - a).sqrt() * eps",
            "x0 + (1 - a).sqrt() * eps"):
    wrong(check.noise_loss, "x_t is mixed in other shares")(loss(x_t=x_t))
wrong(check.noise_loss, "is shown the clean points")(loss(loss=MSE.replace("x_t, t", "x0, t")))
for told in ("alphas_cumprod[t]", "t / 100"):
    wrong(check.noise_loss, "is told something else than t")(loss(loss=MSE.replace("x_t, t", f"x_t, {told}")))
for target in ("+ eps", "- (x_t - x0)"):
    wrong(check.noise_loss, "is compared with something else than eps")(loss(loss=MSE.replace("- eps", target)))
for reduce in ("mean()", "mean().square()", "square().mean().sqrt()", "norm(dim=1).mean()"):
    wrong(check.noise_loss, "square each error first")(loss(loss=MSE.replace("square().mean()", reduce)))
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
wrong(check.share_agreed, "goes on from the end of the first one")(0.8472)
wrong(check.share_agreed, "goes on from the end of the first one")(0.9166)
wrong(check.share_agreed, "this is a number of pairs")(torch.tensor(5682))
wrong(check.share_agreed, "is too small")(0.3514)         # t = 30
right(check.share_agreed)(0.585)
right(check.share_agreed)(np.float32(0.572))
