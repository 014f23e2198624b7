# %% [markdown]
# # Exercise 61 · Diffusion
#
# Six tasks on lesson 61: two functions, a bug, a short text, a measurement and a question of your own. They take about two hours
# of yours and some ten seconds of the computer's.
#
# - Write your answer **in place of** `raise NotImplementedError()`, then run the cell and the check below it.
# - A check prints `ok:` and the name of the task, or one sentence about what is wrong; `hint()` then says more.
# - Tasks 1, 2, 3 and 5 are graded by a program, which also runs your functions on inputs that you do not see here; 4 and 6 are read
#   by a person. You may add cells of your own anywhere, and use whatever PyTorch offers.
#
# Everything happens in the plane, where all is known: the points lie on a ring of eight round Gaussians of width 0.2, there are
# $T = 100$ steps of noise, $t = 0 \dots 99$, and `exact_eps` is the best answer that any network can learn (eq. 2 of the lesson).

# %%
from functools import partial

import matplotlib.pyplot as plt
import torch
from torch import nn

from course_lib import diffusion
from course_lib.checks import ddpm as check
from course_lib.checks import hint
from course_lib.claims import claim
from course_lib.data import Batches, toys
from course_lib.device import seed, seeded
from course_lib.plots import COLOURS, curves
from course_lib.train import fit

T = 100
ring, alphas_cumprod = toys.ring(std=0.2), diffusion.linear_alphas_cumprod(T)           # (100,)

def exact_eps(x_t, t, alphas_cumprod=alphas_cumprod):
    """E[eps | x_t] for points on the ring.  x_t (B, 2), t (B,), a time for each -> (B, 2)"""
    a = alphas_cumprod[t][:, None]                                # (B, 1)
    variance = a * ring.std**2 + 1 - a                            # (B, 1) of each Gaussian with its noise
    far = x_t[:, None] - a.sqrt()[:, None] * ring.means           # (B, 8, 2)
    weight = (-far.square().sum(2) / (2 * variance)).softmax(1)   # (B, 8): which one is it from?
    return (1 - a).sqrt() / variance * (weight[:, :, None] * far).sum(1)

# %%
# Stuck after a check? Run hint(): it says where to look first, then how, and the code only at last.
hint()

# %% [markdown]
# ## 1 · From any time to any later one (3 points)
#
# One step of noise is $x_t = \sqrt{\alpha_t}\, x_{t-1} + \sqrt{1 - \alpha_t}\;\varepsilon_t$, and all steps from the clean image at once are
#
# $$x_t = \sqrt{\bar\alpha_t}\, x_0 + \sqrt{1 - \bar\alpha_t}\;\varepsilon, \qquad \bar\alpha_t = \alpha_0\, \alpha_1 \cdots \alpha_t. \tag{1}$$
#
# But what if we do not have the clean image, only $x_s$, which has some noise already? All steps from $s + 1$ to $t$ at once are possible
# too.
#
# **Given** `x_s` of shape (B, ...), points or images; whole numbers `s` and `t` of shape (B,), with $-1 \le s < t$: each row has its
# own two times, and $s = -1$ says that the row is clean; `eps` of the shape of `x_s`, standard normal; and `alphas_cumprod` of shape
# (T,), the numbers $\bar\alpha_0 \dots \bar\alpha_{T-1}$. **Asked:** $x_t$, of the shape of `x_s`, made with this noise and no other.
# **Checked:** the values, for shapes from (1, 2) to (2, 1, 3, 2), and for $s = -1$.

# %% tags=["solution:noisier"]
def noisier(x_s, s, t, eps, alphas_cumprod):
    """(B, ...), (B,), (B,), (B, ...) and (T,) -> (B, ...)"""
    ### BEGIN SOLUTION
    left = torch.cat([torch.ones(1), alphas_cumprod])             # (T + 1,): left[0] is for the time -1
    r = left[t + 1] / left[s + 1]                                 # (B,) what the steps s + 1 ... t leave
    r = r.view(-1, *[1] * (x_s.ndim - 1))                         # (B, 1, ...)
    return r.sqrt() * x_s + (1 - r).sqrt() * eps
    ### END SOLUTION

# %% tags=["test:check_noisier:3"]
check.noisier(noisier)
### BEGIN HIDDEN TESTS
_n = torch.full((4_000,), 1)
_eps0, _eps1 = (torch.randn(4_000, 1, generator=seeded(_i)) for _i in range(2))
_x = noisier(torch.full((4_000, 1), 2.0), _n - 2, 30 * _n, _eps0, alphas_cumprod)
_x = noisier(_x, 30 * _n, 45 * _n, _eps1, alphas_cumprod)         # must be as one jump
_a = float(alphas_cumprod[45])
assert abs(float(_x.mean()) - 2 * _a**0.5) < 0.05, "the mean after two jumps is not that of one"
assert abs(float(_x.var()) - 1 + _a) < 0.05, "the variance after two jumps is not that of one"
### END HIDDEN TESTS

# %% [markdown]
# ## 2 · One step back (4 points)
#
# From $x_t$ and a guess $\hat\varepsilon$ of the noise in it, DDPM draws $x_{t-1}$. With the guess $\hat x_0$ that follows from eq. 1, and with
# $\beta_t = 1 - \alpha_t$, it has the mean and the variance
#
# $$\tilde\mu = \frac{\sqrt{\bar\alpha_{t-1}}\,\beta_t}{1 - \bar\alpha_t}\, \hat x_0 + \frac{\sqrt{\alpha_t}\,(1 -
# \bar\alpha_{t-1})}{1 - \bar\alpha_t}\, x_t, \qquad \tilde\beta = \frac{1 - \bar\alpha_{t-1}}{1 - \bar\alpha_t}\,\beta_t. \tag{3}$$
#
# For images there is one thing more. Where there is much noise, $\hat x_0$ is a bad guess, and may well be 30. But we know that grey values
# lie between −1 and 1, so each number of $\hat x_0$ is **clamped** to this range before it enters the mean.
#
# **Given** `eps`, the guess $\hat\varepsilon$, and `x_t`, both of shape (B, ...); one whole number `t` for all of them, from 0 to T − 1;
# `alphas_cumprod` of shape (T,); and `noise`, standard normal, of the shape of `x_t`. **Asked:** $x_{t-1}$, of the shape of `x_t`, made with
# this noise. For $t = 0$ this is the finished image, without noise. **Checked:** the values, for several t, 0 among them.

# %% tags=["solution:ddpm_step"]
def ddpm_step(eps, x_t, t, alphas_cumprod, noise):
    """(B, ...), (B, ...), a number, (T,) and (B, ...) -> (B, ...)"""
    ### BEGIN SOLUTION
    a = alphas_cumprod[t]
    before = alphas_cumprod[t - 1] if t > 0 else torch.ones(())   # beta-tilde is 0 in the last step
    alpha, beta = a / before, 1 - a / before
    x0 = ((x_t - (1 - a).sqrt() * eps) / a.sqrt()).clamp(-1, 1)
    mean = (before.sqrt() * beta * x0 + alpha.sqrt() * (1 - before) * x_t) / (1 - a)
    return mean + ((1 - before) / (1 - a) * beta).sqrt() * noise
    ### END SOLUTION

# %% tags=["test:check_ddpm_step:4"]
check.ddpm_step(ddpm_step)
### BEGIN HIDDEN TESTS
_eps, _x, _noise = torch.randn(3, 4, 2, generator=seeded(2))
for _t in (0, 1, 60):
    _want = diffusion.ddpm_step(_eps, _x, _t, alphas_cumprod, clip=1.0, noise=_noise)
    torch.testing.assert_close(ddpm_step(_eps, _x, _t, alphas_cumprod, _noise).float(), _want,
                               rtol=1e-2, atol=1e-3)
### END HIDDEN TESTS

# %% [markdown]
# ## 3 · Find the bug (3 points)
#
# The loss that a network is trained with, for points in the plane. Times and noise are drawn outside and handed in. It runs
# without an error, and it falls. But it has **one bug**, in one line.

# %%
def noise_loss_broken(model, x0, t, eps, alphas_cumprod):
    a = alphas_cumprod[t[0]]                                      # what is left of the points at time t
    x_t = a.sqrt() * x0 + (1 - a).sqrt() * eps                    # (B, 2)
    guess = model(x_t, t)                                         # (B, 2)
    return (guess - eps).square().mean()

# %% [markdown]
# We train a small network with it for a second, and draw points from it with the sampler of the library.

# %%
class Net(nn.Module):
    """Guesses the noise in points of the plane.  (B, 2), (B,) -> (B, 2)"""

    def __init__(self, n=64):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(8, n), nn.ReLU(), nn.Linear(n, n), nn.ReLU(),
                                    nn.Linear(n, n), nn.ReLU(), nn.Linear(n, 2))

    def forward(self, x_t, t):
        angle = torch.pi * t[:, None] / T * torch.tensor([1, 2, 4])             # (B, 3)
        return self.layers(torch.cat([x_t, angle.sin(), angle.cos()], 1))

# %%
def trained(loss, steps=400):
    """A network after some seconds with this loss, and the loss of each step."""
    def loss_fn(model, x0):
        t, eps = torch.randint(T, (len(x0),)), torch.randn_like(x0)
        return {"loss": loss(model, x0, t, eps, alphas_cumprod)}

    seed(0)
    model, points = Net(), Batches(ring.sample(20_000, seeded(3)), batch_size=256)
    return model, fit(model, loss_fn, points, steps, lr=1e-2, warmup=20, decay=0.6, ema=0.98)

def drawn(model, n=2_000):
    seed(6)
    return diffusion.ddpm(model, torch.randn(n, 2), alphas_cumprod)

def share_on_modes(points):
    """How many lie within three standard deviations of one of the eight."""
    return (torch.cdist(points, ring.means).amin(1) < 3 * ring.std).double().mean().item()

# %%
model, history = trained(noise_loss_broken)
samples = {"data": ring.sample(2_000, seeded(5)), "exact_eps": drawn(exact_eps),
           "the network": drawn(model)}
claim("loss, first step", history["loss"][0], ">", 0.9)
claim("loss, last 50 steps", sum(history["loss"][-50:]) / 50, "<", 0.75)
for name, points in samples.items():
    bound = ("<", 0.4) if name == "the network" else (">", 0.95)
    claim(f"{name}: on a mode", share_on_modes(points), *bound)

# %% [markdown]
# *Figure: three clouds of points. The data are eight round dots on a ring of radius 2, and so is what the sampler draws with the exact
# answer. With the trained network it draws one cloud that fills the ring, without any dots.*

# %% tags=["nbval-ignore-figure"]
# not compared: the right cloud is drawn by a network that was trained here
fig, axes = plt.subplots(1, 3, figsize=(8, 2.8), sharex=True, sharey=True)
for ax, (name, points) in zip(axes, samples.items()):
    ax.scatter(*points.T, s=1, color=COLOURS[0])
    ax.set(title=name, xlim=(-4, 4), ylim=(-4, 4), aspect="equal", xlabel="$x_1$")
axes[0].set_ylabel("$x_2$");

# %% [markdown]
# The middle panel says that the sampler is not to blame.
#
# **Given** `model(x_t, t)`, which maps points (B, 2) and whole numbers (B,) to guesses (B, 2); points `x0` of shape (B, 2); the times `t` of
# shape (B,), one for each point; noise `eps` of shape (B, 2); and `alphas_cumprod` of shape (T,). **Asked:** `noise_loss`, the same
# function without the bug: the mean of all squared errors, a tensor of shape `()`. **Checked:** the value, for several small models.
#
# Do not guess. Give it three points with `t = torch.tensor([0, 50, 99])`, and look at `x_t`: how much noise must each have, and how much has
# it?

# %% tags=["solution:noise_loss"]
def noise_loss(model, x0, t, eps, alphas_cumprod):
    """A model, (B, 2), (B,), (B, 2) and (T,) -> ()"""
    ### BEGIN SOLUTION
    a = alphas_cumprod[t][:, None]                                # (B, 1): each point has its own time
    x_t = a.sqrt() * x0 + (1 - a).sqrt() * eps
    guess = model(x_t, t)
    return (guess - eps).square().mean()
    ### END SOLUTION

# %% tags=["test:check_noise_loss:3"]
check.noise_loss(noise_loss)
### BEGIN HIDDEN TESTS
_t = torch.arange(len(alphas_cumprod)).repeat(3)
_x0, _eps = ring.sample(len(_t), seeded(10)), torch.randn(len(_t), 2, generator=seeded(11))
_want = (exact_eps(diffusion.q_sample(_x0, _t, _eps, alphas_cumprod), _t) - _eps).square().mean()
_loss = torch.as_tensor(noise_loss(exact_eps, _x0.clone(), _t.clone(), _eps.clone(), alphas_cumprod))
torch.testing.assert_close(_loss.detach().float(), _want.float(), rtol=1e-3, atol=1e-4)
### END HIDDEN TESTS

# %% [markdown]
# ## 4 · Explain: one guess, two errors (3 points)
#
# The loss is the mean over all times of the squared error of $\hat\varepsilon$. Here it is for each time by itself, for the *exact*
# answer, which no network can beat; and beside it the squared error of the guess $\hat x_0$ that follows from the same
# $\hat\varepsilon$. Both are means over many points and their two coordinates.

# %%
x0, noise = ring.sample(4_000, seeded(7)), torch.randn(4_000, 2, generator=seeded(8))
errors = {"of the noise": [], "of the clean point": []}
for t in torch.arange(T)[:, None].expand(T, 4_000):               # t (4000,), the same for all
    x_t = diffusion.q_sample(x0, t, noise, alphas_cumprod)
    guess = exact_eps(x_t, t)
    errors["of the noise"].append((guess - noise).square().mean().item())
    guess_x0 = diffusion.to_x0(guess, x_t, t, alphas_cumprod)
    errors["of the clean point"].append((guess_x0 - x0).square().mean().item())
for t in (0, 99):
    print(f"t = {t:2}   " + "   ".join(f"error {name} {values[t]:.3f}" for name, values in errors.items()))

# %% [markdown]
# *Figure: two curves over t. The error of the noise begins at 1, falls below a half at t = 8, rises a little to a flat bump at 20 and falls to
# 0 from 60 on. The error of the clean point begins at 0, rises most steeply around t = 30, and is flat at 2 from 70 on.*

# %%
ax = curves({name: (range(T), values) for name, values in errors.items()}, xlabel="t",
            ylabel="squared error", smooth=T)                     # so wide that nothing is smoothed
ax.figure.set_size_inches(5, 2.8)

# %% [markdown]
# **Explain** in four to seven sentences: (i) Why is the error of the noise nearly 1 at $t = 0$, where the points are all but clean, and nearly
# 0 at $t = 99$, where nothing is left of them? (ii) One error is the other times a factor that depends on $t$ alone. Derive it from
# eq. 1 in one line. Why does the error of $\hat x_0$ end at 2? (iii) A friend trains the network on the error of $\hat x_0$ instead, all
# times alike. The best answer at each time is the same, and yet a network of limited size would learn something else. At which times
# would it be better than yours, at which worse, and what would that do to images?

# %% [markdown] tags=["manual:explain_errors:3"]
# (i) At $t = 0$ the noise has a standard deviation of 0.03, much less than the width of the dots: wherever the point lies in its dot,
# noise to the left and noise to the right are about equally probable. So the best guess is nearly 0, and costs the variance of
# $\varepsilon$, which is 1. At $t = 99$ the point *is* the noise, $x_t \approx \varepsilon$, and copying it is nearly perfect; that needs no
# knowledge of the data at all. (ii) Eq. 1 holds for the truth and for the guesses, with the same $x_t$; subtract: $\sqrt{\bar\alpha_t}\,
# (\hat x_0 - x_0) = -\sqrt{1 - \bar\alpha_t}\, (\hat\varepsilon - \varepsilon)$, so the error of $x_0$ is $(1 - \bar\alpha_t) / \bar\alpha_t$ times
# that of $\varepsilon$. From pure noise the best guess of $x_0$ is the mean of the data, the middle of the ring; its squared error is the variance
# of a coordinate of the data, $2^2 / 2 + 0.2^2 \approx 2$. (iii) The friend's loss is ours with the weight $(1 - \bar\alpha_t) / \bar\alpha_t$, tiny at
# small $t$ and huge at large $t$. So that network spends its capacity on large $t$, where the rough shape and place are decided, and
# neglects the small $t$ of the last steps, where the details are: images with a right outline, but blurred or grainy strokes.
#
# **Rubric.** 1 point: (i) both ends: at t = 0 the noise is hidden inside the width of the data, at t = 99 copying the input suffices.
# 1 point: (ii) the factor, derived; at the end the guess is the mean of the data and the error their variance. 1 point: (iii) better at
# large t, worse at small t, because of the weight; the details suffer.

# %% [markdown]
# ## 5 · Measure: when is it decided? (3 points)
#
# A walk starts as pure noise and ends at one of eight modes. At which time is it decided which? A test: let it walk down to some
# $x_t$, copy that, and let both copies finish on their own, each with fresh noise. If the mode was decided before, both end at the
# same one; if nothing was decided, they agree by chance, in one case of eight.
#
# **Given** `exact_eps`, the ring, `alphas_cumprod`, and `diffusion.ddpm_step(eps, x_t, t, alphas_cumprod)`, which draws its own noise and does not
# clamp. Take 10,000 points of pure noise $x_{99}$ and do the steps $t = 99, 98, \dots, 21$, which gives $x_{20}$. From there do the steps $t = 20, 19,
# \dots, 0$ twice. (`ddpm_step` takes one whole number $t$; `exact_eps` wants one for each point, as `torch.full((10_000,), t)` makes them.) A
# point belongs to the mode whose mean, in `ring.means`, is nearest.
# **Asked:** `share_agreed`, the share of the 10,000 pairs in which both end at the same mode, a number between 0 and 1. **Checked:** your number,
# within 5 percent. **Predict** it first.

# %% tags=["solution:share_agreed"]
share_agreed = ...  # set it to your number at the end
### BEGIN SOLUTION
def walk(x, first, last):
    for t in range(first, last - 1, -1):
        x = diffusion.ddpm_step(exact_eps(x, torch.full((len(x),), t)), x, t, alphas_cumprod)
    return x

def agreed(t, n=10_000):
    """The share of pairs that end at the same mode, after a common way down to x_t."""
    x_t = walk(torch.randn(n, 2), 99, t + 1)
    one, other = (torch.cdist(walk(x_t, t, 0), ring.means).argmin(1) for _ in range(2))
    return (one == other).double().mean().item()

seed(0)
share_agreed = agreed(20)
claim("pairs that agree from t = 20 on", share_agreed, ">", 0.5)
claim("from t = 60 on (chance: 0.125)", agreed(60, 2_000), "<", 0.2)
### END SOLUTION

# %% tags=["test:check_share_agreed:3"]
check.share_agreed(share_agreed)
### BEGIN HIDDEN TESTS
_a = alphas_cumprod[20]
_x0, _eps = ring.sample(20_000, seeded(0)), torch.randn(20_000, 2, generator=seeded(1))
_x = _a.sqrt() * _x0 + (1 - _a).sqrt() * _eps
# Bayes' rule
_p = (-torch.cdist(_x, _a.sqrt() * ring.means).square() / (2 * (_a * ring.std**2 + 1 - _a))).softmax(1)
_share = float(_p.square().sum(1).mean())
assert abs(float(share_agreed) - _share) < 0.06, "draws from p(mode | x_20) agree otherwise"
### END HIDDEN TESTS

# %% [markdown]
# ## 6 · Your own question (4 points)
#
# Ask a question about diffusion that the lesson does not answer, **write down your guess**, and find out. Examples: Is the clamp of task 2
# good or bad for points that lie outside of it? Which schedule needs fewer steps, the linear or the cosine one
# (`diffusion.cosine_alphas_cumprod`)? Does a network trained on 20 points draw only these? What happens if the sampler starts with
# noise that is 10 percent too small? Your code shall run in less than a minute.

# %% tags=["solution:own_experiment"]
def width(points):
    """The standard deviation of the points around the modes, without those that lie between two."""
    far = points[:, None] - ring.means                            # (N, 8, 2)
    distance, mode = far.norm(dim=2).min(1)
    return far[torch.arange(len(points)), mode][distance < 3 * ring.std].square().mean().sqrt().item()

numbers, widths = [25, 50, 100, 200], {}
schedules = {"linear": diffusion.linear_alphas_cumprod, "cosine": diffusion.cosine_alphas_cumprod}
for name, schedule in schedules.items():
    seed(0)
    widths[name] = [width(diffusion.ddpm(partial(exact_eps, alphas_cumprod=a), torch.randn(4_000, 2), a))
                    for a in map(schedule, numbers)]
truth = width(ring.sample(100_000, seeded(0)))
claim("width of the data", truth, ">", 0.19)
claim("linear, 25 steps", widths["linear"][0], "<", 0.17)
claim("linear, 200 steps", widths["linear"][-1], ">", 0.175)
claim("cosine wider at 50 steps, by", widths["cosine"][1] - widths["linear"][1], ">", 0.002)
ax = curves({name: (numbers, values) for name, values in widths.items()}, xlabel="steps T",
            ylabel="width of a dot")
ax.axhline(truth, color="0.4", linestyle=":", label="data")
ax.legend()
ax.figure.set_size_inches(4.5, 2.6)

# %% [markdown]
# Write here: your question, your guess, what you did, what came out (a number or a figure), how sure you are of it, and what
# you would try next. Half a page is plenty.

# %% [markdown] tags=["manual:own_question:4"]
# *An example of an answer.* **Question:** how many steps does DDPM need, and which schedule needs fewer? **Guess:** with 25 steps some points
# will lie between the dots; the two schedules do not differ. **Experiment:** the exact answer in place of a network, so that only the
# sampler can err; 4,000 points for each of four numbers of steps and both schedules; measured is the width of the dots. **Result:** hardly any
# points lie between the dots even with 25 steps, but the dots are too narrow, 0.16 instead of 0.2, and the gap shrinks slowly, to a half with
# about four times as many steps. The cosine schedule is ahead at every number, as if it had twice as many steps. So both guesses were wrong. A
# likely reason: the variance $\tilde\beta$ of eq. 3 is right if $x_0$ is known, and too small if it is only guessed; the longer a step, the more so.
# **Sure?** The standard error of a width, from 8,000 coordinates, is about $0.2 / \sqrt{2 \cdot 8000} \approx 0.002$, so the gap to the data is
# certain, and so is the difference of the schedules up to 100 steps; but this is one ring and one width. **Next:** the variance $\beta_t$ in place of $\tilde\beta$, which should be too large: are the
# dots then too wide?
#
# **Rubric.** 1 point: a question that can be answered by an experiment, and a guess made before. 1 point: one thing is changed
# and the rest held fixed, compared with the data or with the exact answer. 1 point: a number or a figure with labelled axes,
# described truthfully, whether or not it agrees with the guess. 1 point: says how sure the result is or what might be wrong.
