import torch

from course_lib import diffusion
from course_lib.checks import guidance as check
from wrong_answers import equivalent, right, wrong

ALPHAS_CUMPROD = diffusion.linear_alphas_cumprod(100)

# --- 1


def both(model, x, t, y, null):
    """With the label, without it."""
    return model(x, t, y), model(x, t, torch.full_like(y, null))


@wrong(check.guided_prediction, "right for images, and not for points")
def _(model, x, t, y, null, scale):
    cond, uncond = both(model, x, t, y, null)
    return uncond + scale[:, None, None, None] * (cond - uncond)


@wrong(check.guided_prediction, "right for points (B, 2), and not for images")
def _(model, x, t, y, null, scale):
    cond, uncond = both(model, x, t, y, null)
    return uncond + scale[:, None] * (cond - uncond)


@right(check.guided_prediction)
def _(model, x, t, y, null, scale):
    cond, uncond = both(model, x, t, y, null)
    s = scale.view(-1, *[1] * (x.dim() - 1))
    return s * cond + (1 - s) * uncond


@right(check.guided_prediction)
def _(model, x, t, y, null, scale):
    rows = []
    for i in range(len(x)):
        one = diffusion.guided(model, y[i], null, scale[i].item())
        rows.append(one(x[i:i + 1], t[i:i + 1]))
    return torch.cat(rows)


# --- 2


def loss(model, x0, t, eps, seen):
    return (model(diffusion.q_sample(x0, t, eps, ALPHAS_CUMPROD), t, seen) - eps).square().mean()


right(check.label_loss)(lambda model, x0, y, t, eps, u: loss(model, x0, t, eps, torch.where(u >= 0.1, y, 8)))
right(check.label_loss)(lambda model, x0, y, t, eps, u: loss(model, x0, t, eps, y * (u > 0.1) + 8 * (u <= 0.1)))
equivalent(check.label_loss, "u < SHARE -> u <= SHARE", "no u is exactly 0.1")

# --- 3


@wrong(check.inpaint_step, "right on the way, and wrong at its end")
def _(eps, x_t, t, t_next, known, mask, noise, a):
    seen = diffusion.q_sample(known, torch.full((len(known),), max(t_next, 0)), noise, a)
    return torch.where(mask, seen, diffusion.ddim_step(eps, x_t, t, t_next, a))


@right(check.inpaint_step)
def _(eps, x_t, t, t_next, known, mask, noise, a):
    seen = known if t_next == -1 else diffusion.q_sample(known, torch.full((len(known),), t_next), noise, a)
    return torch.where(mask, seen, diffusion.ddim_step(eps, x_t, t, t_next, a))


@right(check.inpaint_step)
def _(eps, x_t, t, t_next, known, mask, noise, a):
    a = torch.cat([a, torch.ones(1)])
    x0 = (x_t - (1 - a[t]) ** 0.5 * eps) / a[t] ** 0.5
    x0[mask], eps = known[mask], torch.where(mask, noise, eps)
    return a[t_next].sqrt() * x0 + (1 - a[t_next]).sqrt() * eps


# --- 4

wrong(check.guided_spread, "too small")(0.17)
wrong(check.guided_spread, "too large")(0.27)
right(check.guided_spread)(torch.tensor(0.2106))
right(check.guided_spread)(0.2162)
