import torch

from course_lib import diffusion
from course_lib.checks import guidance as check
from wrong_answers import right, wrong

# --- 1


def both(model, x, t, y, null):
    """With the label, without it."""
    return model(x, t, y), model(x, t, torch.full_like(y, null))


def fit(scale, x):
    return scale.view(-1, *[1] * (x.dim() - 1))


@wrong(check.guided_prediction, "right for images, and not for points")
def _(model, x, t, y, null, scale):
    cond, uncond = both(model, x, t, y, null)
    return uncond + scale[:, None, None, None] * (cond - uncond)


@wrong(check.guided_prediction, "right for points (B, D), and not for images")
def _(model, x, t, y, null, scale):
    cond, uncond = both(model, x, t, y, null)
    return uncond + scale[:, None] * (cond - uncond)


@right(check.guided_prediction)
def _(model, x, t, y, null, scale):
    cond, uncond = both(model, x, t, y, null)
    s = fit(scale, x)
    return s * cond + (1 - s) * uncond


@right(check.guided_prediction)
def _(model, x, t, y, null, scale):
    rows = []
    for i in range(len(x)):
        one = diffusion.guided(model, y[i], null, scale[i].item())
        rows.append(one(x[i:i + 1], t[i:i + 1]))
    return torch.cat(rows)


# --- 2: each as a learner edits the loss

BROKEN = """x_t = diffusion.q_sample(x0, t, eps, alphas_cumprod)
keep = u >= 0.1
seen = y * keep
guess = model(x_t, t, seen)
return (guess - eps).square().mean()"""


def loss(*changes):
    """The code of the exercise with these changes, (old, new)."""
    code = BROKEN
    for old, new in changes:
        assert old in code
        code = code.replace(old, new)
    names = {"torch": torch, "diffusion": diffusion, "alphas_cumprod": diffusion.linear_alphas_cumprod(100)}
    exec("\n    ".join(["def label_loss(model, x0, y, t, eps, u):", *code.splitlines()]), names)
    return names["label_loss"]


SEEN, RIGHT = "seen = y * keep", "seen = torch.where(keep, y, 8)"

wrong(check.label_loss, "draws random numbers of its own")(loss((SEEN, "seen = diffusion.drop_labels(y, 8, 0.1)")))
wrong(check.label_loss, "cannot be differentiated")(loss((SEEN, RIGHT), (".mean()", ".mean().item()")))

right(check.label_loss)(loss((SEEN, RIGHT)))
right(check.label_loss)(loss((SEEN, "seen = y * keep + 8 * ~keep")))


# --- 3


def step(seen, x="diffusion.ddim_step(eps, x_t, t, t_next, a)", result="torch.where(mask, seen, x)", before=""):
    """A learner's step: what is seen of the known pixels, what the sampler makes, and how they are put together."""
    names = {"torch": torch, "diffusion": diffusion}
    lines = ["def inpaint_step(eps, x_t, t, t_next, known, mask, noise, a):",
             "T = torch.full((len(known),), t)", "T_next = torch.full((len(known),), t_next)",
             before or "pass", f"seen = {seen}", f"x = {x}", f"return {result}"]
    exec("\n    ".join(lines), names)
    return names["inpaint_step"]


AT_END = "known if t_next == -1 else diffusion.q_sample(known, T_next, noise, a)"
NEVER = "diffusion.q_sample(known, T_next, noise, a)"

wrong(check.inpaint_step, "right on the way, and wrong at its end")(step(
    "diffusion.q_sample(known, T_next.clamp(min=0), noise, a)"))
wrong(check.inpaint_step, "random numbers of its own")(step(AT_END.replace("noise", "torch.randn_like(known)")))

right(check.inpaint_step)(step(AT_END))
right(check.inpaint_step)(step(NEVER, result="mask * (seen if t_next >= 0 else known) + ~mask * x"))


# --- 4

wrong(check.guided_spread, "too small")(0.17)
wrong(check.guided_spread, "too large")(0.27)
right(check.guided_spread)(torch.tensor(0.2106))
right(check.guided_spread)(0.2162)
