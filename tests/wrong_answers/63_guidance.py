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


@wrong(check.guided_prediction, "you start at the prediction with the label")
def _(model, x, t, y, null, scale):
    cond, uncond = both(model, x, t, y, null)
    w = fit(scale, x)
    return (1 + w) * cond - w * uncond


@wrong(check.guided_prediction, "have changed places")
def _(model, x, t, y, null, scale):
    without, with_label = both(model, x, t, y, null)
    return without + fit(scale, x) * (with_label - without)


@wrong(check.guided_prediction, "have changed places")
def _(model, x, t, y, null, scale):
    n = len(x)
    labels = torch.cat([y, torch.full((n,), null)])
    out = model(torch.cat([x, x]), torch.cat([t, t]), labels)
    uncond, cond = out[:n], out[n:]
    return torch.lerp(uncond, cond, fit(scale, x))


@wrong(check.guided_prediction, "walk away from the label")
def _(model, x, t, y, null, scale):
    cond, uncond = both(model, x, t, y, null)
    return uncond + fit(scale, x) * (uncond - cond)


@wrong(check.guided_prediction, "you scaled a whole prediction")
def _(model, x, t, y, null, scale):
    cond, uncond = both(model, x, t, y, null)
    return uncond + fit(scale, x) * cond


def put_together(formula):
    """A learner's formula for x, c (with the label), u (without) and s (the scale)."""
    def guided_prediction(model, x, t, y, null, scale):
        c, u = both(model, x, t, y, null)
        return eval(formula, {"x": x, "c": c, "u": u, "s": fit(scale, x)})
    return guided_prediction


for formula in ("c + s * u", "s * c - u", "c - s * u", "s * (u + c)", "(u + s * c) / (1 + s)"):
    wrong(check.guided_prediction, "you scaled a whole prediction")(put_together(formula))
wrong(check.guided_prediction, "your scale is one too small")(put_together("u + (s - 1) * (c - u)"))
wrong(check.guided_prediction, "this is the unconditional model")(put_together("u"))
wrong(check.guided_prediction, "one strength for all")(put_together("u + s[0] * (c - u)"))
wrong(check.guided_prediction, "one strength for all")(put_together("u + s.mean() * (c - u)"))
wrong(check.guided_prediction, "the way starts there")(put_together("x + s * (c - u)"))


@wrong(check.guided_prediction, "the way starts there")
def _(model, x, t, y, null, scale):
    cond, uncond = both(model, x, t, y, null)
    return fit(scale, x) * (cond - uncond)


@wrong(check.guided_prediction, "noise of the wrong size comes out")
def _(model, x, t, y, null, scale):
    return fit(scale, x) * model(x, t, y)


@wrong(check.guided_prediction, "this is the conditional model")
def _(model, x, t, y, null, scale):
    return model(x, t, y)


@wrong(check.guided_prediction, "label 0 for the empty label")
def _(model, x, t, y, null, scale):
    without = model(x, t, torch.zeros_like(y))
    return without + fit(scale, x) * (model(x, t, y) - without)


@wrong(check.guided_prediction, "the labels do not meet their examples")
def _(model, x, t, y, null, scale):
    labels = torch.stack([y, torch.full_like(y, null)], dim=1).view(-1)
    cond, uncond = model(x.repeat(2, *[1] * (x.dim() - 1)), t.repeat(2), labels).chunk(2)
    return uncond + fit(scale, x) * (cond - uncond)


@wrong(check.guided_prediction, "right for images, and not for points")
def _(model, x, t, y, null, scale):
    cond, uncond = both(model, x, t, y, null)
    return uncond + scale[:, None, None, None] * (cond - uncond)


@wrong(check.guided_prediction, "right for points (B, D), and not for images")
def _(model, x, t, y, null, scale):
    cond, uncond = both(model, x, t, y, null)
    return uncond + scale[:, None] * (cond - uncond)


@wrong(check.guided_prediction, "meets the last axis of x")
def _(model, x, t, y, null, scale):
    cond, uncond = both(model, x, t, y, null)
    return uncond + scale * (cond - uncond)


@wrong(check.guided_prediction, "is a tuple of 2, and a tensor is asked for")
def _(model, x, t, y, null, scale):
    return both(model, x, t, y, null)


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


@right(check.guided_prediction)
def _(model, x, t, y, null, scale):
    with torch.no_grad():
        cond, uncond = model(x, t, y), model(x, t, null)          # one label for all
    cond -= uncond
    while scale.dim() < x.dim():
        scale = scale[..., None]
    return uncond + cond.mul_(scale)


@right(check.guided_prediction)
def _(model, x, t, y, null, scale):
    nothing = torch.zeros_like(y) + null
    out = model(torch.cat([x, x]), torch.cat([t, t]), torch.cat([nothing, y]))
    uncond, cond = out.split(len(x))
    return torch.einsum("b,b...->b...", 1 - scale, uncond) + torch.einsum("b,b...->b...", scale, cond)


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

wrong(check.label_loss, "the bug is still there")(loss())
wrong(check.label_loss, "the bug is still there")(loss(
    ("u >= 0.1", "u > 0.1"), (SEEN, "seen = torch.where(keep, y, 0)")))
wrong(check.label_loss, "the bug is still there")(loss(("u >= 0.1", "u < 0.1")))
wrong(check.label_loss, "others than those with u < 0.1")(loss(("u >= 0.1", "u < 0.9"), (SEEN, RIGHT)))
wrong(check.label_loss, "others than those with u < 0.1")(loss(("u >= 0.1", "u >= 0.5"), (SEEN, RIGHT)))
wrong(check.label_loss, "no label is erased any more")(loss((SEEN, "seen = y")))
wrong(check.label_loss, "the wrong labels are erased")(loss((SEEN, "seen = torch.where(keep, 8, y)")))
wrong(check.label_loss, "the wrong labels are erased")(loss(("u >= 0.1", "u < 0.1"), (SEEN, RIGHT)))
wrong(check.label_loss, "the wrong labels are erased")(loss((SEEN, "seen = y.masked_fill(keep, 8)")))
wrong(check.label_loss, "erased labels become 7")(loss((SEEN, "seen = torch.where(keep, y, 7)")))
wrong(check.label_loss, "one coin decides for the whole batch")(loss(
    (SEEN, "seen = y if keep.all() else torch.full_like(y, 8)")))
wrong(check.label_loss, "one coin decides for the whole batch")(loss((SEEN, "seen = y if keep[0] else y * 0 + 8")))
wrong(check.label_loss, "one coin decides for the whole batch")(loss((SEEN, "seen = y if keep.any() else y * 0 + 8")))
wrong(check.label_loss, "you leave out the examples")(loss(
    (SEEN, "seen = y[keep]"), ("model(x_t, t, seen)", "model(x_t[keep], t[keep], seen)"), ("- eps", "- eps[keep]")))
wrong(check.label_loss, "you leave out the examples")(loss(
    (SEEN, "keep = keep | ~keep.any()\nx_t, t, seen, eps = x_t[keep], t[keep], y[keep], eps[keep]")))
wrong(check.label_loss, "counts the examples without a label as 0")(loss(
    ("(guess - eps).square()", "((guess - eps).square() * keep[:, None])")))
wrong(check.label_loss, "counts the examples without a label as 0")(loss(
    (SEEN, RIGHT), ("(guess - eps).square()", "((guess - eps).square() * keep[:, None])")))
wrong(check.label_loss, "all labels are erased")(loss((SEEN, "seen = y * 0 + 8")))
wrong(check.label_loss, "draws random numbers of its own")(loss((SEEN, "seen = diffusion.drop_labels(y, 8, 0.1)")))
wrong(check.label_loss, "index out of range")(loss((SEEN, "seen = torch.where(keep, y, -1)")))
wrong(check.label_loss, "index out of range")(loss((SEEN, "seen = torch.where(keep, y, 9)")))
for reduce in (".sum()", ".sum(1).mean()", ".mean(1)", ".sqrt().mean()"):
    wrong(check.label_loss, "the last line was right")(loss((SEEN, RIGHT), (".mean()", reduce)))
wrong(check.label_loss, "the result of label_loss should be")(loss((SEEN, RIGHT), ("- eps", "+ eps")))
wrong(check.label_loss, "cannot be differentiated")(loss((SEEN, RIGHT), (".mean()", ".mean().item()")))

right(check.label_loss)(loss((SEEN, RIGHT)))
right(check.label_loss)(loss((SEEN, "seen = y * keep + 8 * ~keep")))
right(check.label_loss)(loss((SEEN, "y[~keep] = 8\nseen = y")))
right(check.label_loss)(loss(("u >= 0.1", "u < 0.1"), (SEEN, "seen = y.masked_fill(keep, 8)"), (
    "(guess - eps).square().mean()", "torch.nn.functional.mse_loss(eps, guess)")))


@right(check.label_loss)
def _(model, x0, y, t, eps, u):
    x_t = diffusion.q_sample(x0, t, eps, diffusion.linear_alphas_cumprod(100))
    guess = torch.where((u < 0.1)[:, None], model(x_t, t, 8), model(x_t, t, y))
    return ((guess - eps) ** 2).mean()


@right(check.label_loss)
def _(model, x0, y, t, eps, u):
    a = diffusion.linear_alphas_cumprod(100)
    total = 0
    for i in range(len(y)):
        level, label = a[t[i]], torch.tensor([8]) if u[i] < 0.1 else y[i:i + 1]
        x_t = level.sqrt() * x0[i:i + 1] + (1 - level).sqrt() * eps[i:i + 1]
        total = total + ((model(x_t, t[i:i + 1], label) - eps[i]) ** 2).sum()
    return total / x0.numel()


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

wrong(check.inpaint_step, "after the step the others are at t_next")(step("diffusion.q_sample(known, T, noise, a)"))
wrong(check.inpaint_step, "after the step the others are at t_next")(step(
    "known if t_next < 0 else diffusion.q_sample(known, T, noise, a)"))
wrong(check.inpaint_step, "after the step the others are at t_next")(step(
    "known if t_next < 0 else diffusion.q_sample(known, T - 1, noise, a)"))
for end in ("b = a[t_next] if t_next >= 0 else torch.ones(())", "b = a[t_next]"):
    for shares in ("b * known + (1 - b) * noise", "b ** 0.5 * known + (1 - b) * noise",
                   "b ** 0.5 * known + (1 - b ** 0.5) * noise", "(1 - b) ** 0.5 * known + b ** 0.5 * noise",
                   "known + (1 - b) ** 0.5 * noise", "known + noise", "noise",
                   "known if t_next < 0 else b * known + (1 - b) * noise"):
        wrong(check.inpaint_step, "in other shares than in q_sample")(step(shares, before=end))
wrong(check.inpaint_step, "you add the known pixels")(step(AT_END, result="x + mask * seen"))
for rest in ("0 * x", "x_t", "(x_t - (1 - a[t]) ** 0.5 * eps) / a[t] ** 0.5",
             "diffusion.ddim_step(eps, x_t, t, t - 1, a)", "diffusion.ddim_step(x_t, eps, t, t_next, a)"):
    wrong(check.inpaint_step, "right, and not the others")(step(AT_END, result=f"torch.where(mask, seen, {rest})"))
wrong(check.inpaint_step, "right, and not the others")(step(
    AT_END.replace("(known", "(full").replace("known if", "full if"), result="seen",
    before="full = torch.where(mask, known, (x_t - (1 - a[t]) ** 0.5 * eps) / a[t] ** 0.5)"))
wrong(check.inpaint_step, "t_next = 0 is not yet the end")(step(AT_END.replace("t_next == -1", "t_next <= 0")))
wrong(check.inpaint_step, "the known pixels stay clean")(step("known"))
wrong(check.inpaint_step, "the mask is the wrong way round")(step(AT_END, result="torch.where(mask, x, seen)"))
wrong(check.inpaint_step, "the mask is the wrong way round")(step(NEVER, result="~mask * seen + mask * x"))
wrong(check.inpaint_step, "the network's prediction: take `noise`")(step(AT_END.replace("noise", "eps")))
wrong(check.inpaint_step, "the network's prediction: take `noise`")(step(NEVER.replace("noise", "eps")))
for early in ("diffusion.q_sample(known, T, noise, a)", "known"):
    wrong(check.inpaint_step, "before the step and not into its result")(step(
        early, "diffusion.ddim_step(eps, torch.where(mask, seen, x_t), t, t_next, a)", "x"))
wrong(check.inpaint_step, "this is the sampler's own step")(step("0", result="x"))
wrong(check.inpaint_step, "full of noise")(step(NEVER))
wrong(check.inpaint_step, "full of noise")(step("a[t_next] ** 0.5 * known + (1 - a[t_next]) ** 0.5 * noise"))
wrong(check.inpaint_step, "right on the way, and wrong at its end")(step(
    "diffusion.q_sample(known, T_next.clamp(min=0), noise, a)"))
wrong(check.inpaint_step, "right on the way, and wrong at its end")(step(
    NEVER, x="x_t if t_next < 0 else diffusion.ddim_step(eps, x_t, t, t_next, a)"))
wrong(check.inpaint_step, "Subtraction, the `-` operator, with a bool tensor")(step(
    AT_END, result="mask * seen + (1 - mask) * x"))
wrong(check.inpaint_step, "you add the known pixels")(step(AT_END, result="mask * seen + x"))
wrong(check.inpaint_step, "should be")(step(AT_END.replace(", a)", ", a ** 2)")))
wrong(check.inpaint_step, "random numbers of its own")(step(AT_END.replace("noise", "torch.randn_like(known)")))

right(check.inpaint_step)(step(AT_END))
right(check.inpaint_step)(step(NEVER, result="mask * (seen if t_next >= 0 else known) + ~mask * x"))
right(check.inpaint_step)(step(
    "a[t_next] ** 0.5 * known + (1 - a[t_next]) ** 0.5 * noise",
    "((x_t - (1 - a[t]) ** 0.5 * eps) / a[t] ** 0.5) * a[t_next] ** 0.5 + (1 - a[t_next]) ** 0.5 * eps",
    before="a = torch.cat([a, torch.ones(1)])"))                  # so that a[-1] is 1


@right(check.inpaint_step)
def _(eps, x_t, t, t_next, known, mask, noise, alphas_cumprod):
    x = diffusion.ddim_step(eps, x_t, t, t_next, alphas_cumprod)
    if t_next == -1:
        x[mask] = known[mask]
    else:
        level = float(alphas_cumprod[t_next])
        x[mask] = (level**0.5 * known + (1 - level) ** 0.5 * noise)[mask]
    return x


# --- 4

wrong(check.guided_spread, "p(x | y)^3 / p(x)^2, on paper")(0.397)
wrong(check.guided_spread, "the spread without guidance")(0.593)
wrong(check.guided_spread, "the spread of all heights")(torch.tensor(0.99))
wrong(check.guided_spread, "this is the variance")(0.0462)
wrong(check.guided_spread, "the spread at scale 2")(0.353)
wrong(check.guided_spread, "the spread at scale 4")(0.127)
wrong(check.guided_spread, "samples by `ddpm`")(0.3315)
wrong(check.guided_spread, "p(x | y)^3 / p(x)^2, on paper")(1 / (3 / 0.36 - 2))
wrong(check.guided_spread, "p(x | y)^3 / p(x)^2, on paper")(3 / 0.36 - 2)
wrong(check.guided_spread, "or with the other schedule")(0.1927)
wrong(check.guided_spread, "or with the other schedule")(0.1048)
wrong(check.guided_spread, "the mean of the samples")(1.716)
wrong(check.guided_spread, "the label and the empty label have changed")(2.764)
wrong(check.guided_spread, "too small")(0.17)
wrong(check.guided_spread, "too large")(0.27)
right(check.guided_spread)(torch.tensor(0.2106))
right(check.guided_spread)(0.2162)
right(check.guided_spread)(0.6**3)
