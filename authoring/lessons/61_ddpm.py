# %% [markdown]
# # 61 · Destroy, then learn to undo: diffusion
#
# Every generator so far had to make an image in one stroke, from code to digit. That is hard. Destroying an image is
# easy: add a little noise, again and again, until nothing is left of it. **Diffusion** turns the easy direction
# round. A network looks at a noisy image and guesses the noise in it. Take a little of that noise away, and after
# many such steps pure noise has become a digit (Sohl-Dickstein et al., 2015; Ho, Jain & Abbeel, 2020). With $x_0$ an
# image, $x_t$ the same after $t$ steps of noise and $\varepsilon$ the noise in it, the network $\varepsilon_\theta$
# with the weights $\theta$ minimises
#
# $$\mathbb E_{x_0,\,t,\,\varepsilon}\; \big\| \varepsilon - \varepsilon_\theta(x_t, t) \big\|^2$$
#
# That is least squares: no bound, no second player, nothing that collapses. At the end you will understand the picture
# below: noise, step by step, on its way to ten digits.
#
# **You need** lessons [12](12_convnet.ipynb) (convolution), [13](13_discriminative_vs_generative.ipynb) (normal
# densities, Bayes' rule, the leaderboard), [21](21_autoencoder.ipynb) (residual blocks) and [54](54_gpt.ipynb) (Muon).
# All symbols are in the [table of symbols](symbols.ipynb). **It takes** about an hour and a half to read and 50 seconds
# to run on a laptop CPU.

# %% [markdown]
# ## Set-up

# %%
import inspect

import matplotlib.pyplot as plt
import torch
from torch import nn
from torch.testing import assert_close

from course_lib import diffusion
from course_lib.checkpoint import load as load_checkpoint
from course_lib.claims import claim
from course_lib.data import Batches, load, toys
from course_lib.device import budget, device, seed, seeded
from course_lib.plots import COLOURS, curves, strip
from course_lib.train import fit
(x, y), (x_test, y_test) = load("digits")[:2]                     # 4,000 and 1,000 images (N, 1, 28, 28)

# %%
# Figure: ten columns, six rows. The first row is pure noise; below it shapes appear, first as shadows,
# then as strokes under ever finer grain; the last row is handwriting without a trace of noise, of which
# two, the sixth and the seventh, are no clear digits.
painter, seen, cosine = load_checkpoint("ddpm"), [], diffusion.cosine_alphas_cumprod()
guess = diffusion.predicts_eps(diffusion.in_steps(painter.network, 1000), cosine, "v")

def watched(x_t, t):                                      # a model like any other, which keeps its input
    seen.append(x_t)
    return guess(x_t, t)

start = torch.randn(10, 1, 28, 28, generator=seeded(4))
final = diffusion.ddim(watched, start, cosine, steps=30, eta=1.0, clip=1.0, generator=seeded(5))
frames = {f"{30 - i} steps left": seen[i] for i in (0, 12, 18, 22, 26)} | {"done": final}
strip({name: (x_t / 2 + 0.5).clamp(0, 1) for name, x_t in frames.items()});

# %% [markdown]
# ## One pixel, three steps
#
# Take a single pixel, $x_0 = 1$. One step shrinks it a little and adds a little noise, so that the total amount stays
# the same:
#
# $$x_t = \sqrt{\alpha_t}\, x_{t-1} + \sqrt{1 - \alpha_t}\;\varepsilon_t, \qquad \varepsilon_t \sim \mathcal N(0, 1)$$
#
# If $x_{t-1}$ has variance 1, then $x_t$ has $\alpha_t \cdot 1 + (1 - \alpha_t) = 1$ again. Let $\alpha = 0.9, 0.8,
# 0.5$ for the three steps. The part that is left of the pixel is $\sqrt{0.9 \cdot 0.8 \cdot 0.5} = \sqrt{0.36} = 0.6$.
# The noise grows: its variance after one step is $0.1$; after two, $0.8 \cdot 0.1 + 0.2 = 0.28$; after three, $0.5
# \cdot 0.28 + 0.5 = 0.64$. And $0.64 = 1 - 0.36$. That is no accident. With $\bar\alpha_t = \alpha_1 \cdots \alpha_t$
# the whole way is *one* step:
#
# $$x_t = \sqrt{\bar\alpha_t}\, x_0 + \sqrt{1 - \bar\alpha_t}\;\varepsilon \tag{1}$$

# %%
alphas = torch.tensor([0.9, 0.8, 0.5])
left, variance = torch.ones(()), torch.zeros(())
for alpha in alphas:
    left, variance = alpha.sqrt() * left, alpha * variance + (1 - alpha)
    print(f"left of the pixel {left:.3f}   variance of the noise {variance:.3f}")
a_bar = alphas.cumprod(0)
assert_close(left, a_bar[-1].sqrt())
assert_close(variance, 1 - a_bar[-1])

# %% [markdown]
# Why? A sum of independent normal numbers is normal, and its variance is the sum of theirs. If eq. 1 is true one step
# before, the noise in $x_t$ has variance $\alpha_t (1 - \bar\alpha_{t-1}) + (1 - \alpha_t) = 1 - \bar\alpha_t$. So any
# $x_t$ is drawn at once, which makes training cheap.
#
# ## Build it in the open: a thousand steps of noise
#
# Ho et al. use $T = 1000$ steps, with $\beta_t = 1 - \alpha_t$ rising evenly from 0.0001 to 0.02: small steps first,
# while the details are still there, larger ones later. Nichol & Dhariwal (2021) noticed that half of these steps only
# add noise to noise, and let $\bar\alpha_t$ fall along a **cosine** instead: $\bar\alpha_t \propto
# \cos^2\!\big(\tfrac{\pi}{2} \tfrac{t/T + 0.008}{1.008}\big)$. (In code the first step has number 0: `a[t]` is what
# is left after $t + 1$ steps.)

# %%
T = 1000
betas = torch.linspace(1e-4, 0.02, T, dtype=torch.float64)
linear = (1 - betas).cumprod(0).float()                           # (T,): alpha-bar of eq. 1
angle = torch.pi / 2 * (torch.arange(T + 1).double() / T + 0.008) / 1.008
assert_close(linear, diffusion.linear_alphas_cumprod())
assert_close(cosine, (angle.cos() / angle[0].cos()).square()[1:].float(), atol=1e-5, rtol=0)
claim("left of the image's variance half-way, linear", linear[500], "<", 0.1)
claim("left of the image's variance half-way, cosine", cosine[500], ">", 0.45)

# %%
def q_sample(x0, t, eps, a):
    """Eq. 1.  x0, eps (B, 1, 28, 28), t (B,), a (T,) -> (B, 1, 28, 28)"""
    a = a[t].view(-1, 1, 1, 1)                                    # (B, 1, 1, 1)
    return a.sqrt() * x0 + (1 - a).sqrt() * eps

# %% [markdown]
# From here on grey values run from −1 (white) to 1 (ink), so that an image has about the size of the noise.

# %%
# Figure: a seven and a nine at seven times, with both schedules. With the linear one they are shadows at t
# = 300 and gone at 450; with the cosine they can be read until 450, and a shadow is left at 600. At t =
# 999 all are only noise.
times, eps = torch.tensor([0, 50, 150, 300, 450, 600, 999]), torch.randn(7, 1, 28, 28, generator=seeded(1))
rows = {}
for name, a in {"linear": linear, "cosine": cosine}.items():
    for i in (300, 720):
        images = (2 * x_test[i] - 1).expand(7, 1, 28, 28)
        rows[f"a {y_test[i]}, {name}"] = q_sample(images, times, eps, a) / 2 + 0.5
ax = strip(rows)
ax.set(xticks=[30 * i + 14 for i in range(7)], xticklabels=times.tolist(), xlabel="time $t$");

# %% [markdown]
# **Prove it.** We walk 20,000 copies of one pixel through the first 300 steps, and compare with eq. 1: mean, standard
# deviation, and the whole *distribution function*, which says what share of the draws lies below each number.

# %%
pixel = torch.full((20_000,), 1.0)
for t in range(300):
    noise = torch.randn(20_000, generator=seeded(t))
    pixel = (1 - betas[t]).sqrt().float() * pixel + betas[t].sqrt().float() * noise
jump = linear[299].sqrt() + (1 - linear[299]).sqrt() * torch.randn(20_000, generator=seeded(999))
claim("difference of the means", (pixel.mean() - jump.mean()).abs(), "<", 0.03)
claim("difference of the standard deviations", (pixel.std() - jump.std()).abs(), "<", 0.02)
gap = torch.searchsorted(pixel.sort().values, jump.sort().values) / 20_000 - torch.arange(20_000) / 20_000
claim("largest gap between the two distribution functions", gap.abs().max(), "<", 0.02)

# %% [markdown]
# ## What should the network say?
#
# Many clean images lead to the same $x_t$, each with other noise. A network trained by least squares cannot know which
# one it was; its best answer is the **mean** of all the noises that could be in it, $\mathbb E[\varepsilon \mid x_t]$.
# (Of all numbers $c$, the mean makes $\mathbb E (\varepsilon - c)^2$ smallest.) This mean tells where the data are. Let
# $p_t$ be the density of $x_t$. Then (Tweedie's formula)
#
# $$\mathbb E[\varepsilon \mid x_t] = -\sqrt{1 - \bar\alpha_t}\;\nabla_{x_t} \log p_t(x_t) \tag{2}$$
#
# The gradient of $\log p_t$ is called the **score**. It points to where noisy data are more probable, and the best
# guess of the noise is minus the score, rescaled. Proof: $p_t(x) = \int p(x_0)\, \mathcal N(x;\, \sqrt{\bar\alpha_t}
# x_0,\, 1 - \bar\alpha_t)\, dx_0$, and the gradient of that normal density is the density times $-(x -
# \sqrt{\bar\alpha_t} x_0) / (1 - \bar\alpha_t) = -\varepsilon / \sqrt{1 - \bar\alpha_t}$. Divide by $p_t$: the integral
# becomes the mean of $-\varepsilon / \sqrt{1 - \bar\alpha_t}$ over all noises that lead to $x$.
#
# We check it where everything is known: eight Gaussians on a ring. Noise on a mixture of Gaussians with means $\mu_k$
# and standard deviation $\rho$ is again one, with means $\sqrt{\bar\alpha_t}\, \mu_k$ and variance $\bar\alpha_t
# \rho^2 + 1 - \bar\alpha_t$. So $p_t$ is a formula, and autograd gives its gradient. For the toy 100 steps are
# enough.

# %%
ring, a_toy = toys.ring(std=0.2), diffusion.cosine_alphas_cumprod(100)       # (100,)

def noisy_ring(t):
    """The exact density of x_t, for a whole number t."""
    a = a_toy[t].item()
    return toys.Gaussians(a**0.5 * ring.means, (a * ring.std**2 + 1 - a) ** 0.5, ring.labels)

def exact_eps(x_t, t):
    """E[eps | x_t] by eq. 2.  x_t (B, 2), t (B,), the same for all -> (B, 2)"""
    place = x_t.detach().requires_grad_()
    with torch.enable_grad():
        score, = torch.autograd.grad(noisy_ring(t[0]).log_prob(place).sum(), place)
    return -(1 - a_toy[t[0]]).sqrt() * score

# %% [markdown]
# A million draws of $x_0$ and $\varepsilon$; we look only at those that end near one place. Their mean noise should be
# the formula's.

# %%
t, place = 60, torch.tensor([0.5, 0.9])
x0 = ring.sample(1_000_000, seeded(0))                            # (1000000, 2)
eps = torch.randn(1_000_000, 2, generator=seeded(1))
x_t = a_toy[t].sqrt() * x0 + (1 - a_toy[t]).sqrt() * eps
near = (x_t - place).abs().amax(1) < 0.1
formula = exact_eps(place[None], torch.tensor([t]))[0]
print(f"{near.sum()} draws end near (0.5, 0.9)")
print(f"their mean noise: {eps[near].mean(0).numpy().round(2)}, by eq. 2: {formula.numpy().round(2)}")
claim("difference", (eps[near].mean(0) - formula).norm(), "<", 0.05)

# %% [markdown]
# ## A network learns it
#
# A small network with the coordinates and the time as inputs. The loss is the equation at the top.

# %%
class Toy(nn.Module):
    """Guesses the noise in points of the plane.  (B, 2), (B,) -> (B, 2)"""

    def __init__(self, n=128):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(8, n), nn.ReLU(), nn.Linear(n, n), nn.ReLU(),
                                    nn.Linear(n, n), nn.ReLU(), nn.Linear(n, 2))

    def forward(self, x_t, t):
        angle = torch.pi * t[:, None] / 100 * torch.tensor([1, 2, 4], device=t.device)    # (B, 3)
        return self.layers(torch.cat([x_t, angle.sin(), angle.cos()], dim=1))

# %%
def noise_loss(model, x0):
    t, eps = torch.randint(100, (len(x0),)), torch.randn_like(x0)
    a = a_toy[t][:, None]                                         # (B, 1)
    return {"loss": (eps - model(a.sqrt() * x0 + (1 - a).sqrt() * eps, t)).square().mean()}

# %% [markdown]
# The library has the same, for tensors of any shape and two more targets, of which below.

# %%
print(inspect.getsource(diffusion.q_sample))
print(inspect.getsource(diffusion.diffusion_loss))
seed(0)
toy, some = Toy(), ring.sample(512, seeded(2))
losses = []
for loss in (noise_loss, lambda m, x0: diffusion.diffusion_loss(m, x0, a_toy)):
    seed(1)
    losses.append(loss(toy, some)["loss"])
assert_close(*losses)
claim("loss at the start (the noise has variance 1; guessing 0 costs 1)", losses[0], ">", 0.8)

# %%
def train(toy, loss_fn):
    points = Batches(ring.sample(20_000, seeded(3)), batch_size=256)
    return fit(toy, loss_fn, points, steps=1_200, lr=5e-3, warmup=50, decay=0.6, ema=0.99)

history = train(toy, noise_loss)

# %% [markdown]
# The loss does not go to zero: several noises lead to the same $x_t$, and their spread is left. The exact mean has a
# loss too, and no network can have less.

# %% tags=["nbval-ignore-figure"]
# not compared: trained in this lesson
# Figure: the loss over the steps of training. It falls from 1 at once and then runs along the dotted line,
# the loss of the exact mean.
def loss_of(model, n=1_000):
    t = torch.arange(100).repeat_interleave(n)                    # each time equally often
    x0, eps = ring.sample(100 * n, seeded(4)), torch.randn(100 * n, 2, generator=seeded(5))
    x_t = diffusion.q_sample(x0, t, eps, a_toy)
    with torch.no_grad():
        answers = [model(x, s) for x, s in zip(x_t.split(n), t.split(n))]
    return (eps - torch.cat(answers)).square().mean()

best = loss_of(exact_eps)
history.plot("loss").axhline(best, color=COLOURS[7], ls=":")
plt.ylim(0, 1)
claim("loss of the exact mean", best, ">", 0.2)
claim("loss of the network above it", loss_of(toy) - best, "<", 0.02, digits=4)

# %% [markdown]
# And how far is its answer from the exact one, where data are? The noise itself has size 1.

# %%
def miss(model, t):
    """Root mean square of the difference from the exact mean."""
    x_t, times = noisy_ring(t).sample(2_000, seeded(t)), torch.full((2_000,), t)
    with torch.no_grad():
        return (model(x_t, times) - exact_eps(x_t, times)).square().mean().sqrt().item()

for t, bound in ((10, 0.3), (40, 0.1), (80, 0.1)):
    claim(f"t = {t}: distance of the guessed noise from the exact mean", miss(toy, t), "<", bound)

# %% tags=["nbval-ignore-figure"]
# not compared: the right half was trained in this lesson
# Figure: two fields of arrows over the noisy ring at t = 15, exact and learned. Each arrow takes away the
# guessed noise, and leads towards one of eight places. Among the data, in blue, both fields look alike; in
# the empty middle and the corners the learned one had nothing to learn from.
fig, axes = plt.subplots(1, 2, figsize=(8, 4.2), sharey=True)
points, times = torch.cartesian_prod(*[torch.linspace(-2.8, 2.8, 17)] * 2), torch.full((289,), 15)
for ax, name, model in zip(axes, ("exact", "learned"), (exact_eps, toy)):
    with torch.no_grad():
        arrows = -(1 - a_toy[15]).sqrt() * model(points, times)   # (1 - alpha-bar) times the score (eq. 2)
    ax.scatter(*noisy_ring(15).sample(1_000, seeded(5)).T, s=3, color=COLOURS[5])
    ax.quiver(*points.T, *arrows.T, color=COLOURS[7], angles="xy", scale_units="xy", scale=1, width=0.004)
    ax.set(title=name, xlabel="$x_1$", aspect="equal")
axes[0].set_ylabel("$x_2$");

# %% [markdown]
# ## The way back
#
# We stand at $x_t$ and want $x_{t-1}$. Suppose for a moment that somebody tells us $x_0$. Then Bayes' rule gives the
# density of $x_{t-1}$ between the two, a product of two normal densities, and hence normal (Ho et al., eq. 6 and 7):
#
# $$\tilde\mu = \frac{\sqrt{\bar\alpha_{t-1}}\,\beta_t}{1 - \bar\alpha_t}\, x_0 + \frac{\sqrt{\alpha_t}\,(1 -
# \bar\alpha_{t-1})}{1 - \bar\alpha_t}\, x_t, \qquad \tilde\beta = \frac{1 - \bar\alpha_{t-1}}{1 - \bar\alpha_t}\,
# \beta_t \tag{3}$$
#
# Nobody tells us $x_0$; but the guess of the noise is a guess of $x_0$, by eq. 1 solved for it: $\hat x_0 = (x_t -
# \sqrt{1 - \bar\alpha_t}\,\hat\varepsilon) / \sqrt{\bar\alpha_t}$. We put that in, and add fresh noise of variance
# $\tilde\beta$. The guess need not be good; it is made anew at the next step. Before we trust eq. 3, we compute the
# same on a fine grid, by multiplying the two densities.

# %%
t, x0, x_t = 60, 0.8, -0.4
a, a_before = a_toy[t].double(), a_toy[t - 1].double()
alpha, beta = a / a_before, 1 - a / a_before
mean = (a_before.sqrt() * beta * x0 + alpha.sqrt() * (1 - a_before) * x_t) / (1 - a)
variance = (1 - a_before) / (1 - a) * beta

u = torch.linspace(-5, 5, 20_001, dtype=torch.float64)            # candidates for x_{t-1}
log_p = (-(x_t - alpha.sqrt() * u) ** 2 / (2 * beta)
         - (u - a_before.sqrt() * x0) ** 2 / (2 * (1 - a_before)))
p = log_p.softmax(0)
assert_close((p * u).sum(), mean, atol=1e-5, rtol=0)
assert_close((p * (u - mean) ** 2).sum(), variance, atol=1e-5, rtol=0)
print(f"mean {mean:.4f}, variance {variance:.4f}")

# %%
def ddpm_step(eps, x_t, t, a, noise):
    """One step back, from x_t to x_{t-1}: eq. 3 with the guessed x_0."""
    before = a[t - 1] if t > 0 else torch.ones(())
    alpha, beta = a[t] / before, 1 - a[t] / before
    x0 = (x_t - (1 - a[t]).sqrt() * eps) / a[t].sqrt()
    mean = (before.sqrt() * beta * x0 + alpha.sqrt() * (1 - before) * x_t) / (1 - a[t])
    return mean + ((1 - before) / (1 - a[t]) * beta).sqrt() * noise

eps, x_t, noise = torch.randn(3, 5, 2, generator=seeded(0))
for t in (0, 1, 50, 99):                                          # the library's can also clamp the guess
    assert_close(diffusion.ddpm_step(eps, x_t, t, a_toy, noise=noise),
                 ddpm_step(eps, x_t, t, a_toy, noise), atol=1e-4, rtol=1e-4)

# %% [markdown]
# Now walk: 2,000 points start as pure noise. To see them on the way, we wrap the model in a function that keeps what it
# is shown.

# %%
def walk(model, sampler=diffusion.ddpm, n=2_000):
    """Points on their way from noise to data: 101 tensors (n, 2)."""
    states = []
    def watched(x_t, t):
        states.append(x_t)
        return model(x_t, t)

    seed(6)
    end = sampler(watched, torch.randn(n, 2), a_toy)
    return states + [end]

learned, exact = walk(toy), walk(exact_eps)

# %% tags=["nbval-ignore-figure"]
# not compared: the upper row is drawn by the network that was trained in this lesson
# Figure: two rows of six frames, the learned network above, the exact answer below. A round cloud of noise
# becomes a ring, which breaks into eight dots. The rows look alike, but for a few points between the dots
# of the learned one.
fig, axes = plt.subplots(2, 6, figsize=(10, 3.6), sharex=True, sharey=True)
for row, name, states in zip(axes, ("learned", "exact"), (learned, exact)):
    for ax, i in zip(row, (0, 40, 60, 75, 90, 100)):
        ax.scatter(*states[i].T, s=1, color=COLOURS[0])
        ax.set(xlim=(-3, 3), ylim=(-3, 3), aspect="equal", xticks=[], yticks=[])
        if name == "learned":
            ax.set_title(f"{100 - i} steps left" if i < 100 else "done")
    row[0].set_ylabel(name)

# %% [markdown]
# In numbers: how many of the eight modes (lesson 41: peaks of the density) are hit, how many points lie within three
# standard deviations of one, and how wide the dots are. (A hundred steps are few; even with the exact answer the dots
# end a little too narrow.)

# %%
def describe(points):
    distance, mode = torch.cdist(points, ring.means).min(1)
    on = distance < 3 * ring.std
    spread = (points - ring.means[mode])[on].std().item()
    return len(mode[on].unique()), on.float().mean().item(), spread

for name, states in {"learned": learned, "exact": exact}.items():
    modes, share, spread = describe(states[-1])
    print(f"{name}: {modes} modes of 8")
    claim(f"{name}: points on a mode", share, ">", 0.85)
    claim(f"{name}: width of the dots (0.2 in the data)", spread, ">", 0.16)

# %% [markdown]
# ## Noise, image, or a mixture?
#
# Eq. 1 has two unknowns, and who knows one knows the other. So why guess the noise, when we want the image? Because no
# network is exact. If its noise is wrong by $\delta$, the image that follows is wrong by $\delta\sqrt{(1 -
# \bar\alpha_t) / \bar\alpha_t}$: next to nothing at the end of the way back, where the details are made and no later
# step can repair them. Who answers the image itself is wrong by $\delta$ there, too. At the noisy end it is the other
# way round. Salimans & Ho (2022) take a mixture, which is the noise where there is little of it, and minus the image
# where there is little else:
#
# $$v = \sqrt{\bar\alpha_t}\,\varepsilon - \sqrt{1 - \bar\alpha_t}\,x_0 \tag{4}$$
#
# An error of $\delta$ in $v$ is one of $\sqrt{\bar\alpha_t}\,\delta$ in the noise and of $\sqrt{1 - \bar\alpha_t}\,
# \delta$ in the image, never more than $\delta$. **Predict** three curves over $t$. We train two more networks with the
# other targets; `predicts_eps` turns their answers into noise.

# %%
answers = {"noise": toy}
for name, target in (("image", "x0"), ("v", "v")):
    seed(0)
    net = Toy()
    train(net, lambda m, x0: diffusion.diffusion_loss(m, x0, a_toy, target))
    answers[name] = diffusion.predicts_eps(net, a_toy, target)

ts = torch.tensor([0, 1, 2, 5, 10, 20, 40, 60, 80, 90, 95, 99])
noise_error = {name: torch.tensor([miss(m, t) for t in ts.tolist()]) for name, m in answers.items()}
image_error = {name: error * ((1 - a_toy[ts]) / a_toy[ts]).sqrt() for name, error in noise_error.items()}

# %% tags=["nbval-ignore-figure"]
# not compared: trained in this lesson
# Figure: the error of the noise (left) and of the image (right) over time, on logarithmic axes. Guessing
# the image is worst near t = 0, guessing the noise is worst near t = 99, and v follows the better of the
# two at both ends.
fig, axes = plt.subplots(1, 2, figsize=(8, 3))
for ax, name, errors in zip(axes, ("noise", "image"), (noise_error, image_error)):
    curves({f"guesses {k}": (ts.tolist(), e) for k, e in errors.items()}, ax=ax, xlabel="time $t$")
    ax.set(yscale="log", ylabel=f"error of the {name}")
axes[1].get_legend().remove()

# %%
noise, image, v = ({t.item(): e for t, e in zip(ts, image_error[name])} for name in answers)
claim("error at t = 1, guessing the image / guessing the noise", image[1] / noise[1], ">", 3)
claim("error at t = 95, guessing the noise / guessing the image", noise[95] / image[95], ">", 4)
claim("error at t = 1, guessing v / guessing the noise", v[1] / noise[1], "<", 3)
claim("error at t = 95, guessing v / guessing the image", v[95] / image[95], "<", 3)
width = {name: describe(walk(model)[-1])[2] for name, model in answers.items()}
claim("width of the dots by who guesses the image", width["image"], "<", 0.15)
claim("width of the dots by who guesses v", width["v"], ">", 0.16)

# %% [markdown]
# The dots of the network that guesses the image are far too narrow: its last details are guesses of the mean. For
# digits we shall take $v$.
#
# ## A perfect denoiser
#
# Nobody can write down the density of digits. But one perfect answer is known, the one for our 4,000 training digits.
# If the data are *these* images and nothing else, then the mean of $x_0$ given $x_t$ is a weighted average of them,
# with weights by Bayes' rule: $w_i \propto \exp\big(-\|x_t - \sqrt{\bar\alpha_t}\, x_i\|^2 / 2(1 -
# \bar\alpha_t)\big)$. No network can beat this on the training loss. **Predict** what it draws. (`ddim` takes the
# same walk in fewer, longer steps, with fresh noise if `eta=1` and without if `eta=0`; `clip=1.0` keeps each guess of
# the image between −1 and 1. Lesson 62 (to come) derives it.)

# %%
def perfect_eps(x_t, t):
    """E[eps | x_t] if every image is one of the 4,000.  x_t (B, 1, 28, 28), t (B,), the same for all"""
    a, known = cosine[t[0]], (2 * x - 1).flatten(1)               # (N, 784)
    square = torch.cdist(x_t.flatten(1), a.sqrt() * known).square()
    weight = (-square / (2 * (1 - a))).softmax(1)                 # (B, N)
    x0 = (weight @ known).view_as(x_t)
    return (x_t - a.sqrt() * x0) / (1 - a).sqrt()

seed(0)
drawn = diffusion.ddim(perfect_eps, torch.randn(10, 1, 28, 28), cosine, steps=100) / 2 + 0.5
distance, i = torch.cdist(drawn.flatten(1), x.flatten(1)).min(1)

# %%
# Figure: above, ten clean digits from the perfect denoiser; below, the training digit nearest to each.
# They are the same images.
strip({"drawn": drawn.clamp(0, 1), "nearest": x[i]});
claim("largest distance to a training digit", distance.max(), "<", 0.1, digits=4)

# %% [markdown]
# It draws beautifully, and only what it has seen. **The loss is not the goal.** What makes diffusion a generator is
# that a network *cannot* be perfect: it must say something about the space between the training images, and a
# convolutional network says sensible things there.
#
# ## Digits
#
# The network must see the whole image and every pixel, so it has the shape of a U (Ronneberger et al., 2015): down
# from 14×14 to 7×7, where a stroke is a few cells wide, and up again, with a bridge (*skip connection*) from each
# level to its counterpart. Its blocks are those of lesson 21, and the time scales and shifts the channels in each.
# Convolutions see strokes; something must see which digit they are going to be. So at the bottom an *overview*
# presses the whole map into one vector and spreads it out again, as an autoencoder does.

# %%
from course_lib.muon import muon_unet
from course_lib.unet import UNet, UNetConfig

print(inspect.getsource(UNet.forward))
seed(0)
net = UNet(UNetConfig(n_class=10)).to(device(), memory_format=torch.channels_last)    # faster on a CPU
claim("numbers to learn", sum(p.numel() for p in net.parameters()), "<", 700_000)

# %% [markdown]
# Two details matter. The last layer starts at zero, so that no garbage has to be unlearned. And the image enters
# folded, four pixels to a cell of 14×14: convolutions at 28×28 would cost four times as much and see less far.
#
# Now train it, for half a minute, with the target $v$ and with Muon (lesson 54), for which the kernel of a convolution
# is the matrix from all that it reads to all that it writes. (`device()` is the GPU where there is one, and `budget`
# picks the steps that suit it.) That is short for all ten digits at once. So for this run we make the problem ten times
# smaller, and **tell the network which digit is in the noise**, as one more input beside the time. (Lesson 63 makes
# more of it. The shipped checkpoint, which was trained for longer, had to do without.)

# %%
def told(model, y):
    """The network as the sampler and the loss want it: whole steps of time, and the label bound."""
    return lambda x_t, t: model(x_t, (t + 1) / T, y)

def digit_loss(model, x, y):
    return diffusion.diffusion_loss(told(model, y), 2 * x - 1, cosine, target="v")

# %% tags=["nbval-ignore-figure"]
# not compared: trained in this lesson
seed(0)
history = fit(net, digit_loss, Batches(x.to(device()), y.to(device()), batch_size=32),
              steps=budget(cpu=450, gpu=5_000), warmup=50, decay=0.6, ema=0.99, optimizer=muon_unet)
history.plot("loss").set(ylim=(0, 0.6));

# %%
ten = torch.arange(10, device=device())
seed(1)
x_T = torch.randn(50, 1, 28, 28, device=device())
young = diffusion.predicts_eps(told(net, ten.repeat(5)), cosine, "v")
young = diffusion.ddim(young, x_T, cosine, steps=30, eta=1.0, clip=1.0) / 2 + 0.5

# %% tags=["nbval-ignore-figure"]
# not compared: the second and third row are drawn by the network that was trained in this lesson
# Figure: five rows of ten. The first are real digits 0 to 9. The second and third, from the network that
# was trained for half a minute and told what to draw, have rougher strokes; most of them can be read, and
# some are broken. The last two, from the shipped checkpoint, which chooses by itself, are smoother, with
# an odd shape here and there.
rows = {"real": torch.stack([x_test[y_test == c][0] for c in range(10)])}
rows |= {"half a minute": young[:10], "again": young[10:20]}
rows |= {name: painter.sample(10, generator=seeded(i)) for i, name in ((1, "checkpoint"), (2, "again "))}
strip(rows);

# %%
from course_lib.leaderboard import leaderboard
from course_lib.metrics import control_accuracy

control = control_accuracy(None, young.clamp(0, 1), ten.repeat(5))
claim("after half a minute the judge sees the digit that was asked for", control, ">", 0.5)
leaderboard("ddpm", "gan", "vae", "vae_mixture", "gaussian_mixture", "training_digits", "noise")

# %%
row = leaderboard("ddpm").rows[0]["metrics"]
claim("Fréchet distance of 1,000 samples of the checkpoint", row["frechet"], "<", 5.0)
claim("copying (0.5 for fresh digits, 1 for copies)", row["memorisation"], "<", 0.6)

# %% [markdown]
# The checkpoint is the same network without labels, trained by the same lines for twenty times as long. And it is no
# copier like the perfect denoiser: for each sample we look up the training digit that is nearest in pixels.

# %%
# Figure: ten samples above, the nearest training digit below each. Nearly all show the same digit, but
# with other slants, widths and curls.
drawn = torch.cat([rows["checkpoint"], rows["again "]])
distance, i = torch.cdist(drawn.flatten(1), x.flatten(1)).min(1)
fresh, _ = torch.cdist(x_test.flatten(1), x.flatten(1)).min(1)
strip({"drawn": drawn[:10], "nearest": x[i][:10]})
claim("smallest distance of 20 to a training digit", distance.min(), ">", 1.0)
claim("their mean distance, relative to that of fresh digits", distance.mean() / fresh.mean(), ">", 0.8)

# %% [markdown]
# ## Predict, then turn one knob
#
# A thousand evaluations for one image are many; above we took 30. **Predict** what happens with 50, 20, 10, 5, or 2
# steps from the same noise. Where does it break, and are the images then noisy or blurred?

# %%
# Figure: five rows of the same ten images. With 50, 20 and 10 steps nearly the same strokes, but for the
# seventh; with 5 some gaps; with 2 grey, blurred ghosts.
start = torch.randn(10, 1, 28, 28, generator=seeded(2))
rows = {f"{n} steps": diffusion.ddim(guess, start, cosine, n, clip=1.0) / 2 + 0.5
        for n in (50, 20, 10, 5, 2)}
strip(rows)
grey = {name: ((drawn > 0.1) & (drawn < 0.6)).double().mean() for name, drawn in rows.items()}
claim("grey pixels, 2 steps / 50 steps", grey["2 steps"] / grey["50 steps"], ">", 2)
claim("grey pixels, 10 steps / 50 steps", grey["10 steps"] / grey["50 steps"], "<", 1.5)

# %% [markdown]
# With two steps the network must guess the image from almost pure noise, and answers with a mean of all digits that
# fit: a blur. Diffusion is sharp because no single step has to decide much.
#
# ## Break it: forget the noise
#
# The most common mistake in a sampler of one's own: take the mean $\tilde\mu$ of eq. 3 and forget the fresh noise. It
# looks like an improvement. Who wants noise in an image? We look at the ring, with the *exact* answers, so that nothing
# else is to blame.

# %%
def without_noise(model, x, a):
    for t in reversed(range(len(a))):
        x = diffusion.ddpm_step(model(x, torch.full((len(x),), t)), x, t, a, noise=torch.zeros_like(x))
    return x

forgot = walk(exact_eps, sampler=without_noise)
repaired = walk(exact_eps, sampler=lambda model, x, a: diffusion.ddim(model, x, a, steps=100))

# %%
# Figure: three panels around the ring. With the noise of eq. 3, eight round dots; without it, eight thin
# arcs, pulled inwards; with DDIM, which adds no noise but takes other steps, eight round dots again.
fig, axes = plt.subplots(1, 3, figsize=(9, 3.2), sharey=True)
for ax, (name, states) in zip(axes, {"DDPM": exact, "noise forgotten": forgot, "DDIM": repaired}.items()):
    ax.scatter(*states[-1].T, s=2, color=COLOURS[0])
    ax.set(title=name, xlim=(-3, 3), ylim=(-3, 3), aspect="equal",
           xlabel="$x_1$")
axes[0].set_ylabel("$x_2$")
radius = {"with": exact[-1].norm(dim=1), "without": forgot[-1].norm(dim=1)}
claim("mean distance from the middle with the noise (2 in the data)", radius["with"].mean(), ">", 1.9)
claim("without the noise", radius["without"].mean(), "<", 1.8)
claim("its spread without the noise (0.2 in the data)", radius["without"].std(), "<", 0.1)
claim("width with DDIM", describe(repaired[-1])[2], ">", 0.15)

# %% [markdown]
# Without the noise every point goes to the *mean* of what it could become, at each step again; all variety inside a dot
# is averaged away. The noise is the part of the answer that the mean leaves out. And on digits?

# %%
def back(add_noise, n=10, steps=30):
    """n images in `steps` of the 1,000 times, with or without the fresh noise of DDPM."""
    times, g = diffusion.timesteps(T, steps), seeded(7)
    x_t = torch.randn(n, 1, 28, 28, generator=seeded(3))
    for t, t_next in zip(times, [*times[1:], -1]):
        with torch.no_grad():
            eps = guess(x_t, torch.full((n,), t))
        noise = add_noise * torch.randn(x_t.shape, generator=g)
        x_t = diffusion.ddim_step(eps, x_t, t, t_next, cosine, eta=1.0, clip=1.0, noise=noise)
    return (x_t / 2 + 0.5).clamp(0, 1)

# %%
# Figure: two rows of ten images from the same checkpoint and the same start. With the noise, different
# digits; without it, ten times the same thin, upright stroke.
rows = {"with noise": back(True), "noise forgotten": back(False)}
strip(rows)
variety = {name: drawn.std(0).mean() for name, drawn in rows.items()}
claim("variety of the ten images with noise", variety["with noise"], ">", 0.1)
claim("variety with the noise forgotten", variety["noise forgotten"], "<", 0.05)

# %% [markdown]
# Always the same one. Ones vary least, so nowhere do digits lie more densely, and without noise every start slides
# there. A sample is not the most probable image.
#
# ## What we left out
#
# - **Where the loss comes from.** DDPM is a VAE (lesson 31) with 1,000 layers of codes and a fixed encoder. Each term
#   of its ELBO is a squared error of $\varepsilon$ with a weight that depends on $t$. We dropped the weights, for
#   better images and a worse likelihood.
# - **Better samplers**: lesson 62 (to come). **Asking for a digit**: lesson 63. **Straight roads**: lesson 64.
#
# ## Read on
#
# - J. Ho, A. Jain & P. Abbeel, *Denoising diffusion probabilistic models* (2020): algorithms 1 and 2 are this lesson.
# - J. Sohl-Dickstein et al., *Deep unsupervised learning using nonequilibrium thermodynamics* (2015): the idea.
# - Y. Song & S. Ermon, *Generative modeling by estimating gradients of the data distribution* (2019): the same from the
#   side of the score.
# - A. Nichol & P. Dhariwal, *Improved denoising diffusion probabilistic models* (2021): the cosine.
# - T. Salimans & J. Ho, *Progressive distillation for fast sampling of diffusion models* (2022): $v$, in appendix D.
# - O. Ronneberger, P. Fischer & T. Brox, *U-Net: convolutional networks for biomedical image segmentation* (2015).
# - In the library: `diffusion.py` (`q_sample`, `diffusion_loss`, `predicts_eps`, `ddpm_step`, `ddpm`, `ddim`),
#   `unet.py`, and `pipeline.py`, which joins a network with its sampler.
#
# **Exercises:** [61_ddpm](../exercises/61_ddpm/61_ddpm.ipynb). One more to think about: how does the loss of the
# perfect denoiser compare with that of the checkpoint, on training and on test digits?
#
# **Next**, [lesson 63](63_guidance.ipynb): a network that is told which digit to draw, and can be made to listen.
