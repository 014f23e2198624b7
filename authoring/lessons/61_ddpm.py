# %% [markdown]
# # 61 · Destroy, then learn to undo: diffusion
#
# Every generator so far made an image in one stroke. That is hard. Destroying an image is easy: add a little noise,
# again and again, until nothing is left. **Diffusion** turns the easy direction round. A network looks at a noisy image
# and guesses the noise in it. Take a little of that noise away, guess again, and after many such steps pure noise has
# become a digit. The loss is plain least squares: no bound, no second player, nothing that collapses. At the end you
# will have made the picture below: noise, step by step, on its way to ten digits.
#
# **After this lesson you can**
# - add any amount of noise in one step, and train a network to guess it;
# - say what the best guess is, and check a network against it where it is known;
# - walk from noise to an image, and notice a sampler that forgets its noise.
#
# **You need** lessons [12](12_convnet.ipynb) (convolution), [13](13_discriminative_vs_generative.ipynb) (normal
# densities, Bayes' rule, the leaderboard), [21](21_autoencoder.ipynb) (residual blocks) and [54](54_gpt.ipynb) (Muon).
# **It takes** 90 minutes to read and half a minute to run. **How hard:** •••. All symbols are in the
# [table of symbols](symbols.ipynb).
#
# ## Set-up

# %%
import matplotlib.pyplot as plt
import torch
from torch import nn
from torch.testing import assert_close

from course_lib import diffusion
from course_lib.checkpoint import load as load_checkpoint
from course_lib.claims import claim
from course_lib.plots import COLOURS, curves, diagram, strip

# %%
from course_lib.data import Batches, load, toys
from course_lib.device import budget, device, seed, seeded

x, y = load("digits").train                                       # 4,000 images (4000, 1, 28, 28), labels
x_test, y_test = load("digits").test                              # 1,000
painter = load_checkpoint("ddpm")
cosine = diffusion.cosine_alphas_cumprod()                        # (1000,), of which below
guess = diffusion.predicts_eps(diffusion.in_steps(painter.network, 1000), cosine, "v")  # guess(x_t, t)

# %%
# Figure: ten columns, six rows. The first row is pure noise; below it shapes appear, first as shadows,
# then as strokes under ever finer grain; the last row is handwriting without a trace of noise, of which
# some are no clear digits.
seen = []

def watched(x_t, t):                                              # a model that keeps its input
    seen.append(x_t)
    return guess(x_t, t)

start = torch.randn(10, 1, 28, 28, generator=seeded(4))
done = diffusion.ddim(watched, start, cosine, steps=30, eta=1.0, clip=1.0, generator=seeded(5))
frames = {f"{30 - i} steps left": seen[i] for i in (0, 12, 18, 22, 26)} | {"done": done}
strip({name: x_t / 2 + 0.5 for name, x_t in frames.items()});

# %% [markdown]
# Read a column from top to bottom: first it is decided which digit, then how it is written.
#
# ## One pixel, three steps
#
# Take a single pixel, $x_0 = 1$. Each step shrinks it a little and adds a little noise:
#
# $$x_t = \sqrt{\alpha_t}\, x_{t-1} + \sqrt{1 - \alpha_t}\;\varepsilon_t, \qquad \varepsilon_t \sim \mathcal N(0, 1)$$
#
# If $x_{t-1}$ has variance 1, then $x_t$ has $\alpha_t + (1 - \alpha_t) = 1$ again. Let $\alpha = 0.9, 0.8, 0.5$ in
# three steps. What is left of the pixel is $\sqrt{0.9 \cdot 0.8 \cdot 0.5} = \sqrt{0.36} = 0.6$. The noise has the
# variance $0.1$ after one step; after two, $0.8 \cdot 0.1 + 0.2 = 0.28$; after three, $0.5 \cdot 0.28 + 0.5 = 0.64$. And
# $0.64 = 1 - 0.36$. That is no accident. With $\bar\alpha_t = \alpha_1 \cdots \alpha_t$ the whole way is *one* step:
#
# $$x_t = \sqrt{\bar\alpha_t}\, x_0 + \sqrt{1 - \bar\alpha_t}\;\varepsilon \tag{1}$$

# %%
alphas = torch.tensor([0.9, 0.8, 0.5])
left = torch.ones(())
variance = torch.zeros(())
for alpha in alphas:
    left = alpha.sqrt() * left
    variance = alpha * variance + (1 - alpha)
    print(f"left of the pixel {left:.3f}   variance of the noise {variance:.3f}")
assert_close(left, alphas.prod().sqrt())
assert_close(variance, 1 - alphas.prod())

# %% [markdown]
# Why? A sum of independent normal numbers is normal, and its variance is the sum of theirs. If eq. 1 is true one step
# before, the noise in $x_t$ has variance $\alpha_t (1 - \bar\alpha_{t-1}) + (1 - \alpha_t) = 1 - \bar\alpha_t$. So any
# $x_t$ can be sampled at once, which makes training cheap.
#
# ## What we will build

# %%
# Figure: an image and noise are mixed into a noisy image, which enters a network with the time; the
# network guesses the noise. In training a loss compares the guess with the noise; in sampling a step takes
# a part of it away.
noisy_image = "noisy image $x_t$\n(B, 1, 28, 28)"
network = "network\nU-Net"
guessed = "guessed noise\n(B, 1, 28, 28)"
loss = "training: mean of\n(noise - guess)²"
step = "sampling: take some\naway, add a little new"
diagram({"image $x_0$\n(B, 1, 28, 28)": (0, 1.6), "noise\n(B, 1, 28, 28)": (0, 0.2),
         noisy_image: (2.4, 0.9), "time t (B,)": (4.6, 0), network: (4.6, 1.1), guessed: (6.6, 0.9),
         loss: (9, 1.6), step: (9, 0.2)},
        [("image $x_0$\n(B, 1, 28, 28)", noisy_image), ("noise\n(B, 1, 28, 28)", noisy_image),
         (noisy_image, network), ("time t (B,)", network), (network, guessed), (guessed, loss),
         (guessed, step)],
        {network: COLOURS[0], loss: COLOURS[1]}, size=(9, 2.3));

# %% [markdown]
# One network (blue) and one loss term (orange). In sampling, what the step leaves enters the network again.
#
# ### A thousand steps of noise
#
# Ho et al. (2020) use $T = 1000$ steps, with $\beta_t = 1 - \alpha_t$ rising evenly from 0.0001 to 0.02. Nichol &
# Dhariwal (2021) noticed that half of these only add noise to noise, and let $\bar\alpha_t$ fall along a **cosine**
# instead: $\bar\alpha_t \propto \cos^2\!\big(\tfrac{\pi}{2} \tfrac{t/T + 0.008}{1.008}\big)$. (In code the first step
# has number 0: `a[t]` is what is left after $t + 1$ steps.)

# %%
T = 1000
betas = torch.linspace(1e-4, 0.02, T, dtype=torch.float64)
linear = (1 - betas).cumprod(0).float()                           # (T,): alpha-bar of eq. 1
angle = torch.pi / 2 * (torch.arange(T + 1).double() / T + 0.008) / 1.008
assert_close(linear, diffusion.linear_alphas_cumprod())
assert_close(cosine, (angle.cos() / angle[0].cos()).square()[1:].float(), atol=1e-5, rtol=0)
claim("share of the image's variance left half-way, linear", linear[500], "<", 0.1)
claim("share of the image's variance left half-way, cosine", cosine[500], ">", 0.45)

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
times = torch.tensor([0, 50, 150, 300, 450, 600, 999])
eps = torch.randn(7, 1, 28, 28, generator=seeded(1))
rows = {}
for name, a in {"linear": linear, "cosine": cosine}.items():
    for i in (300, 720):
        images = (2 * x_test[i] - 1).expand(7, 1, 28, 28)
        rows[f"a {y_test[i]}, {name}"] = q_sample(images, times, eps, a) / 2 + 0.5
ax = strip(rows)
ax.set(xticks=[30 * i + 14 for i in range(7)], xticklabels=times.tolist(), xlabel="time $t$");

# %% [markdown]
# With the linear schedule the right half of each row is all noise; the cosine spreads the work.
#
# **Prove it.** 20,000 copies of one pixel walk through 300 steps, and are compared with eq. 1 by the largest gap between
# two *distribution functions* (the share of samples below each number).

# %%
pixel = torch.full((20_000,), 1.0)
for t in range(300):
    noise = torch.randn(20_000, generator=seeded(t))
    pixel = (1 - betas[t]).sqrt().float() * pixel + betas[t].sqrt().float() * noise
jump = linear[299].sqrt() + (1 - linear[299]).sqrt() * torch.randn(20_000, generator=seeded(999))
below = torch.searchsorted(pixel.sort().values, jump.sort().values)
gap = (below - torch.arange(20_000)).abs().max() / 20_000
claim("largest gap between the distribution functions of 300 steps and of one", gap, "<", 0.02)

# %% [markdown]
# ## What should the network say?
#
# Many clean images lead to the same $x_t$, each with other noise. Least squares cannot know which one it was; its best
# answer is the **mean** of all the noises that could be in it, $\mathbb E[\varepsilon \mid x_t]$. (Of all numbers $c$,
# the mean makes $\mathbb E (\varepsilon - c)^2$ smallest.) This mean tells where the data are. Let $p_t$ be the density
# of $x_t$. Then (Tweedie's formula)
#
# $$\mathbb E[\varepsilon \mid x_t] = -\sqrt{1 - \bar\alpha_t}\;\nabla_{x_t} \log p_t(x_t) \tag{2}$$
#
# The gradient of $\log p_t$ is called the **score**. It points to where noisy data are more probable, and the best
# guess of the noise is minus the score, rescaled. Proof: $p_t(x) = \int p(x_0)\, \mathcal N(x;\, \sqrt{\bar\alpha_t}
# x_0,\, 1 - \bar\alpha_t)\, dx_0$, and the gradient of that normal density is the density times $-(x -
# \sqrt{\bar\alpha_t} x_0) / (1 - \bar\alpha_t) = -\varepsilon / \sqrt{1 - \bar\alpha_t}$. Divide by $p_t$: the integral
# becomes the mean of $-\varepsilon / \sqrt{1 - \bar\alpha_t}$ over all noises that lead to $x$.
#
# We check it where everything is known: eight Gaussians on a ring. With noise, Gaussians with means $\mu_k$ and standard
# deviation $\rho$ have the means $\sqrt{\bar\alpha_t}\, \mu_k$ and the variance $\bar\alpha_t \rho^2 + 1 -
# \bar\alpha_t$. So $p_t$ is a formula, and autograd gives its gradient. For the toy 100 steps are enough.

# %%
ring = toys.ring(std=0.2)
a_toy = diffusion.cosine_alphas_cumprod(100)                      # (100,)

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
# We make a million pairs of $x_0$ and $\varepsilon$, and look only at those that end near one place. Their mean noise
# should be the formula's.

# %%
place = torch.tensor([0.5, 0.9])
x0 = ring.sample(1_000_000, seeded(0))                            # (1000000, 2)
eps = torch.randn(1_000_000, 2, generator=seeded(1))
x_t = a_toy[60].sqrt() * x0 + (1 - a_toy[60]).sqrt() * eps
near = (x_t - place).abs().amax(1) < 0.1
formula = exact_eps(place[None], torch.tensor([60]))[0]
print(f"{near.sum()} end near (0.5, 0.9)")
print(f"their mean noise: {eps[near].mean(0).numpy().round(2)}, by eq. 2: {formula.numpy().round(2)}")
claim("distance of their mean noise from eq. 2", (eps[near].mean(0) - formula).norm(), "<", 0.05)

# %% [markdown]
# ## A network learns it
#
# With the weights $\theta$ the loss is $\mathbb E_{x_0,\,t,\,\varepsilon}\, \| \varepsilon - \varepsilon_\theta(x_t, t)
# \|^2$. A small network gets the coordinates and the time.

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
    t = torch.randint(100, (len(x0),))
    eps = torch.randn_like(x0)
    a = a_toy[t][:, None]                                         # (B, 1)
    x_t = a.sqrt() * x0 + (1 - a).sqrt() * eps
    return {"loss": (eps - model(x_t, t)).square().mean()}

# %% [markdown]
# The library has the same, for tensors of any shape and two more targets, of which below.

# %%
import inspect

print(inspect.getsource(diffusion.diffusion_loss))
toy = Toy()
some = ring.sample(512, seeded(2))
seed(1)
mine = noise_loss(toy, some)["loss"]
seed(1)                                                           # the same times and noise again
assert_close(diffusion.diffusion_loss(toy, some, a_toy)["loss"], mine)

# %%
from course_lib.train import fit

def train(target):
    """A network that guesses "eps", "x0" or "v" (see below), and its history."""
    def loss(model, x0):
        return diffusion.diffusion_loss(model, x0, a_toy, target)

    seed(0)
    model = Toy()
    points = Batches(ring.sample(20_000, seeded(3)), batch_size=256)
    return model, fit(model, loss, points, steps=1_200, lr=5e-3, warmup=50, decay=0.6, ema=0.99)

toy, history = train("eps")

# %% [markdown]
# The loss does not go to zero: several noises lead to the same $x_t$, and their spread is left. The exact mean has a
# loss too, and no network can have less.

# %%
def loss_of(model, n=1_000):
    t = torch.arange(100).repeat_interleave(n)                    # each time equally often
    x0 = ring.sample(100 * n, seeded(4))
    eps = torch.randn(100 * n, 2, generator=seeded(5))
    x_t = diffusion.q_sample(x0, t, eps, a_toy)
    with torch.no_grad():
        answers = [model(part, s) for part, s in zip(x_t.split(n), t.split(n))]
    return (eps - torch.cat(answers)).square().mean()

best = loss_of(exact_eps)
claim("loss of the exact mean", best, ">", 0.2)
claim("loss that the network adds to that of the exact mean", loss_of(toy) - best, "<", 0.02, digits=4)

# %% tags=["nbval-ignore-figure"]
# Figure: the loss over the steps of training. It falls from 1 at once and then runs along the dotted line,
# the loss of the exact mean.
# not compared: trained in this lesson
history.plot("loss").axhline(best, color=COLOURS[7], ls=":")
plt.ylim(0, 1);

# %% [markdown]
# The curve reaches the floor, the dotted line. And how far is the network's answer from the exact one, where data are?
# (The noise itself has size 1.)

# %%
def distance_from_exact(model, t):
    """Root mean square of the difference from the exact mean."""
    x_t = noisy_ring(t).sample(2_000, seeded(t))
    times = torch.full((2_000,), t)
    with torch.no_grad():
        return (model(x_t, times) - exact_eps(x_t, times)).square().mean().sqrt().item()

for t, bound in ((10, 0.3), (40, 0.1), (80, 0.1)):
    off = distance_from_exact(toy, t)
    claim(f"distance of the guessed noise from the exact mean at t = {t}", off, "<", bound)

# %% tags=["nbval-ignore-figure"]
# Figure: two fields of arrows over the noisy ring at t = 15, exact and learned. Each arrow takes away the
# guessed noise, and leads towards one of eight places. Among the data, in blue, both fields look alike; in
# the empty middle and the corners the learned one had nothing to learn from.
# not compared: the right half was trained in this lesson
fig, axes = plt.subplots(1, 2, figsize=(7, 3.7), sharey=True)
points = torch.cartesian_prod(*[torch.linspace(-2.8, 2.8, 15)] * 2)                   # (225, 2)
for ax, name, model in zip(axes, ("exact", "learned"), (exact_eps, toy)):
    with torch.no_grad():
        arrows = -(1 - a_toy[15]).sqrt() * model(points, torch.full((225,), 15))      # noise taken away
    ax.scatter(*noisy_ring(15).sample(600, seeded(5)).T, s=3, color=COLOURS[5])
    ax.quiver(*points.T, *arrows.T, color=COLOURS[7], angles="xy", scale_units="xy", scale=1, width=0.004)
    ax.set(title=name, xlabel="$x_1$", aspect="equal")
axes[0].set_ylabel("$x_2$");

# %% [markdown]
# Among the data (blue) the arrows agree. In the middle and the corners there was nothing to learn from.
#
# ## The way back
#
# We stand at $x_t$ and want $x_{t-1}$. Suppose that somebody tells us $x_0$. Then Bayes' rule gives the density of
# $x_{t-1}$ between the two, a product of two normal densities, and hence normal (Ho et al., eq. 6 and 7):
#
# $$\tilde\mu = \frac{\sqrt{\bar\alpha_{t-1}}\,\beta_t}{1 - \bar\alpha_t}\, x_0 + \frac{\sqrt{\alpha_t}\,(1 -
# \bar\alpha_{t-1})}{1 - \bar\alpha_t}\, x_t, \qquad \tilde\beta = \frac{1 - \bar\alpha_{t-1}}{1 - \bar\alpha_t}\,
# \beta_t \tag{3}$$
#
# Nobody tells us $x_0$; but a guess of the noise is a guess of $x_0$, by eq. 1 solved for it: $\hat x_0 = (x_t -
# \sqrt{1 - \bar\alpha_t}\,\hat\varepsilon) / \sqrt{\bar\alpha_t}$. We put that in, and add fresh noise of variance
# $\tilde\beta$. The guess need not be good; it is made anew at the next step. First we check eq. 3 on a fine grid, by
# multiplying the two densities.

# %%
t, x0, x_t = 60, 0.8, -0.4
a = a_toy[t].double()
a_before = a_toy[t - 1].double()
alpha = a / a_before
beta = 1 - alpha
mean = (a_before.sqrt() * beta * x0 + alpha.sqrt() * (1 - a_before) * x_t) / (1 - a)
variance = (1 - a_before) / (1 - a) * beta

u = torch.linspace(-5, 5, 20_001, dtype=torch.float64)            # candidates for x_{t-1}
step = -(x_t - alpha.sqrt() * u) ** 2 / (2 * beta)                # log-density of a step from u to x_t
start = -(u - a_before.sqrt() * x0) ** 2 / (2 * (1 - a_before))   # log-density of u, given x_0
p = (step + start).softmax(0)
assert_close((p * u).sum(), mean, atol=1e-5, rtol=0)
assert_close((p * (u - mean) ** 2).sum(), variance, atol=1e-5, rtol=0)

# %%
def ddpm_step(eps, x_t, t, a, noise):
    """One step back, from x_t to x_{t-1}: eq. 3 with the guessed x_0."""
    before = a[t - 1] if t > 0 else torch.ones(())
    alpha = a[t] / before
    x0 = (x_t - (1 - a[t]).sqrt() * eps) / a[t].sqrt()
    mean = (before.sqrt() * (1 - alpha) * x0 + alpha.sqrt() * (1 - before) * x_t) / (1 - a[t])
    return mean + ((1 - before) / (1 - a[t]) * (1 - alpha)).sqrt() * noise

eps, x_t, noise = torch.randn(3, 5, 2, generator=seeded(0))
for t in (0, 1, 50, 99):                                          # the library's can also clamp the guess
    assert_close(diffusion.ddpm_step(eps, x_t, t, a_toy, noise=noise),
                 ddpm_step(eps, x_t, t, a_toy, noise), atol=1e-4, rtol=1e-4)

# %% [markdown]
# Now 2,000 points walk from pure noise. To see them on the way, we wrap the model in a function that keeps what it is
# shown.

# %%
def walk(model, sampler=diffusion.ddpm):
    """2,000 points on their way from noise to data: 101 tensors (2000, 2)."""
    states = []
    def watched(x_t, t):
        states.append(x_t)
        return model(x_t, t)

    seed(6)
    end = sampler(watched, torch.randn(2_000, 2), a_toy)
    return states + [end]

learned = walk(toy)
exact = walk(exact_eps)

# %%
def on_a_mode(points):
    """Which of the points lie within three standard deviations of one of the eight means."""
    return torch.cdist(points, ring.means).min(1).values < 3 * ring.std

def width(points):
    """The standard deviation of the dots: of points on a mode, around its mean."""
    mode = torch.cdist(points, ring.means).argmin(1)
    return (points - ring.means[mode])[on_a_mode(points)].std().item()

for name, states in {"learned": learned, "exact": exact}.items():
    claim(f"share of points on a mode, {name}", on_a_mode(states[-1]).float().mean(), ">", 0.85)
    claim(f"width of the dots (0.2 in the data), {name}", width(states[-1]), ">", 0.16)

# %% tags=["nbval-ignore-figure"]
# Figure: two rows of five frames, the learned network above, the exact answer below. A round cloud of
# noise becomes a ring, which breaks into eight dots. The rows look alike, but for a few points between the
# dots of the learned one.
# not compared: the upper row shows the network that was trained in this lesson
fig, axes = plt.subplots(2, 5, figsize=(8.4, 3.6), sharex=True, sharey=True)
for row, name, states in zip(axes, ("learned", "exact"), (learned, exact)):
    for ax, i in zip(row, (0, 60, 75, 90, 100)):
        ax.scatter(*states[i][:1_000].T, s=1, color=COLOURS[0])
        ax.set(xlim=(-3, 3), ylim=(-3, 3), aspect="equal", xticks=[], yticks=[])
        if name == "learned":
            ax.set_title(f"{100 - i} steps left" if i < 100 else "done")
    row[0].set_ylabel(name)

# %% [markdown]
# The rows look alike. A hundred steps are few: even with the exact answer the dots are a little too narrow.
#
# ## Noise, image, or a mixture?
#
# Eq. 1 has two unknowns, and each gives the other. So why guess the noise, when we want the image? No network is
# exact. If its noise is wrong by $\delta$, the image that follows is wrong by $\delta\sqrt{(1 - \bar\alpha_t) /
# \bar\alpha_t}$: next to nothing at the end of the way back, where no later step can repair details. A network that
# guesses the image is wrong by $\delta$ there, too. At the noisy end it is the other way round. Salimans & Ho (2022)
# take a mixture:
#
# $$v = \sqrt{\bar\alpha_t}\,\varepsilon - \sqrt{1 - \bar\alpha_t}\,x_0 \tag{4}$$
#
# An error of $\delta$ in $v$ is one of $\sqrt{\bar\alpha_t}\,\delta$ in the noise and of $\sqrt{1 - \bar\alpha_t}\,
# \delta$ in the image, never more than $\delta$. Two more networks, trained alike, have the other targets. **Write down
# a guess:** which target has the largest error near $t = 0$, and which near $t = 99$?

# %%
answers = {"noise": toy}
for name, target in (("image", "x0"), ("v", "v")):
    network, _ = train(target)
    answers[name] = diffusion.predicts_eps(network, a_toy, target)          # its answer, turned into noise

ts = [0, 1, 2, 5, 10, 20, 40, 60, 80, 90, 95, 99]
noise_error = {}
image_error = {}
for name, model in answers.items():
    noise_error[name] = torch.tensor([distance_from_exact(model, t) for t in ts])
    image_error[name] = noise_error[name] * ((1 - a_toy[ts]) / a_toy[ts]).sqrt()

# %%
for t, worst, others in ((1, "image", ("noise", "v")), (95, "noise", ("image", "v"))):
    for other in others:
        ratio = noise_error[worst][ts.index(t)] / noise_error[other][ts.index(t)]
        claim(f"error at t = {t}, guessing {worst}, as a multiple of that guessing {other}", ratio, ">", 2)
by_image = walk(answers["image"])[-1]
by_v = walk(answers["v"])[-1]
claim("width of the dots (0.2 in the data), guessing the image", width(by_image), "<", 0.15)
claim("width of the dots (0.2 in the data), guessing v", width(by_v), ">", 0.16)

# %% tags=["nbval-ignore-figure"]
# Figure: the error of the noise (left) and of the image (right) over time, on logarithmic axes, for
# networks that guess the noise, the image, and v.
# not compared: trained in this lesson
fig, axes = plt.subplots(1, 2, figsize=(8, 2.8))
for ax, name, errors in zip(axes, ("noise", "image"), (noise_error, image_error)):
    curves({f"guesses {k}": (ts, e) for k, e in errors.items()}, ax=ax, xlabel="time $t$")
    ax.set(yscale="log", ylabel=f"error of the {name}")
axes[1].get_legend().remove()

# %% [markdown]
# Compare the left ends in both panels, then the right ends.
#
# <details><summary>Answer</summary>
#
# Guessing the image is worst near $t = 0$, guessing the noise near $t = 99$, and $v$ is close to the better one at
# both. The dots of the network that guesses the image are far too narrow. For digits we take $v$.
# </details>
#
# ## A perfect denoiser
#
# Nobody can write down the density of digits. But if the data are our 4,000 training images and nothing else, the mean
# of $x_0$ given $x_t$ is a weighted average of them, with weights by Bayes' rule: $w_i \propto \exp\big(-\|x_t -
# \sqrt{\bar\alpha_t}\, x_i\|^2 / 2(1 - \bar\alpha_t)\big)$. No network can beat this on the training loss. **Write down
# a guess:** what does it generate? (`ddim` takes the same walk in fewer, longer steps, with fresh noise if `eta=1` and
# without if `eta=0`; `clip=1.0` keeps each guessed image between −1 and 1. Lesson 62 (to come) derives it.)

# %%
def perfect_eps(x_t, t):
    """E[eps | x_t] if all images are the 4,000.  x_t (B, 1, 28, 28), t (B,), the same for all"""
    a = cosine[t[0]]
    known = (2 * x - 1).flatten(1)                                # (N, 784)
    square = torch.cdist(x_t.flatten(1), a.sqrt() * known).square()
    weight = (-square / (2 * (1 - a))).softmax(1)                 # (B, N)
    x0 = (weight @ known).view_as(x_t)
    return (x_t - a.sqrt() * x0) / (1 - a).sqrt()

noise = torch.randn(10, 1, 28, 28, generator=seeded(0))
perfect = diffusion.ddim(perfect_eps, noise, cosine, steps=60) / 2 + 0.5
distance, i = torch.cdist(perfect.flatten(1), x.flatten(1)).min(1)
claim("largest distance of ten samples from a training digit", distance.max(), "<", 0.1, digits=4)

# %%
# Figure: above, ten samples of the perfect denoiser; below, the training digit nearest to each.
strip({"sampled": perfect, "nearest": x[i]});

# %% [markdown]
# Compare the two rows.
#
# <details><summary>Answer</summary>
#
# They are the same images: it generates beautifully, and only what it has seen. **The loss is not the goal.** Diffusion
# is a generator because a network *cannot* be perfect: it must say something about the space between the training
# images, and a convolutional network says sensible things there.
# </details>
#
# ## Digits
#
# The network must see the whole image and every pixel, so it has the shape of a U (Ronneberger et al., 2015). Its blocks
# are those of lesson 21; the time scales and shifts the channels in each. Convolutions see strokes, and at the bottom an
# *overview* presses the whole map into one vector and spreads it out again, as an autoencoder does.

# %%
# Figure: the U-Net: down from the image to a map of 14 by 14, then 7 by 7, through the overview, and up
# again to 14 by 14 and the image. An arrow, the skip connection, leads across at 14 by 14.
down = "a block\n(B, 32, 14, 14)"
bottom = "three blocks, overview\n(B, 64, 7, 7)"
up = "joined, a block\n(B, 32, 14, 14)"
diagram({"$x_t$\n(B, 1, 28, 28)": (0, 2), down: (2.2, 1.2), bottom: (4.6, 0.2), up: (7, 1.2),
         "guess\n(B, 1, 28, 28)": (9.2, 2)},
        [("$x_t$\n(B, 1, 28, 28)", down), (down, bottom), (bottom, up), (down, up),
         (up, "guess\n(B, 1, 28, 28)")],
        {bottom: COLOURS[0]}, size=(8.4, 2.4));

# %% [markdown]
# Down and up again; the arrow across is the *skip connection*, for details that the bottom cannot hold. (A second one
# leads across inside the blue box.)

# %%
from functools import partial

from course_lib.muon import muon_unet
from course_lib.unet import UNet, UNetConfig

print(inspect.getsource(UNet.forward))

# %% [markdown]
# The image enters folded, four pixels to a cell of 14×14: convolutions at 28×28 would cost four times as much. The last
# layer starts at zero, so that nothing has to be unlearned.
#
# Now train it, with the target $v$ and with Muon (lesson 54), for which the kernel of a convolution is the matrix from
# all that it reads to all that it writes. A few hundred batches are few for all ten digits at once. So for this run
# we **tell the network which digit is in the noise**, as one more input beside the time; lesson 63 makes more of it.
# (`device()` is the GPU where there is one, and `budget` picks the steps that suit it.)

# %%
def digit_loss(model, x, y):
    told = diffusion.in_steps(partial(model, y=y), T)             # told(x_t, t)
    return diffusion.diffusion_loss(told, 2 * x - 1, cosine, target="v")

seed(0)
net = UNet(UNetConfig(n_class=10)).to(device(), memory_format=torch.channels_last)    # faster on a CPU
fit(net, digit_loss, Batches(x.to(device()), y.to(device()), batch_size=32),
    steps=budget(cpu=420, gpu=5_000), warmup=50, decay=0.6, ema=0.98, optimizer=muon_unet);

# %%
from course_lib.metrics import control_accuracy

ten = torch.arange(10, device=device())
told = diffusion.in_steps(partial(net, y=ten.repeat(5)), T)
seed(1)
noise = torch.randn(50, 1, 28, 28, device=device())
young = diffusion.ddim(diffusion.predicts_eps(told, cosine, "v"), noise, cosine, 30, eta=1.0, clip=1.0)
young = (young.cpu() / 2 + 0.5).clamp(0, 1)                       # as the shipped one samples
control = control_accuracy(None, young, ten.cpu().repeat(5))
claim("share of 50 samples that show the digit asked for, network trained here", control, ">", 0.5)

# %% tags=["nbval-ignore-figure"]
# Figure: five rows of ten. Real digits 0 to 9; two rows by the network that was trained here and told what
# to make, with rough strokes, some broken; two rows by the shipped checkpoint, which chooses by itself,
# smoother, with an odd shape here and there.
# not compared: the second and third row are sampled by the network that was trained in this lesson
shipped = painter.sample(20, generator=seeded(1))
real = torch.stack([x_test[y_test == c][0] for c in range(10)])
strip({"real": real, "trained here, told": young[:10], "again": young[10:20],
       "shipped, not told": shipped[:10], "again ": shipped[10:]});

# %% [markdown]
# Rough strokes above, smooth ones below. The shipped network has the harder task, since nobody tells it a digit; it was
# trained for 12,000 batches.

# %%
from course_lib.leaderboard import leaderboard

leaderboard("ddpm", "gan", "vae", "vae_mixture", "gaussian_mixture", "training_digits", "noise")

# %% [markdown]
# No row knows labels. Diffusion is level with the GAN, at eight times its training and 30 evaluations for one. The VAEs
# are shown with crisp logits, and `vae_mixture` has a fitted prior (lesson 31); with both, it is ahead here. With
# labels, lessons 63 and 64 overtake it.
#
# The shipped network is no copier like the perfect denoiser: "copying" would be 1 for copies. And pixel by pixel?

# %%
distance, i = torch.cdist(shipped.flatten(1), x.flatten(1)).min(1)
fresh = torch.cdist(x_test.flatten(1), x.flatten(1)).min(1).values
row = leaderboard("ddpm").rows[0]["metrics"]
claim("copying (0.5 for fresh digits, 1 for copies), shipped network", row["memorisation"], "<", 0.6)
claim("smallest distance of 20 samples from a training digit", distance.min(), ">", 1.0)
claim("mean distance from the nearest training digit, samples' as a multiple of test digits'",
      distance.mean() / fresh.mean(), ">", 0.8)

# %%
# Figure: ten samples above, the nearest training digit below each, with other slants, widths and curls.
strip({"sampled": shipped[:10], "nearest": x[i][:10]});

# %% [markdown]
# The pairs are alike, and no closer than a fresh test digit is to its nearest neighbour: look at slants and curls.
#
# ## Predict, then turn one knob
#
# A thousand evaluations for one image are many; above we took 30. **Write down a guess:** what happens with 50, 20, 10,
# 5, or 2 steps from the same noise? Where does it break, and are the images then noisy or blurred?

# %%
noise = torch.randn(10, 1, 28, 28, generator=seeded(2))
by_steps = {}
for n in (50, 20, 10, 5, 2):
    by_steps[n] = diffusion.ddim(guess, noise, cosine, n, clip=1.0) / 2 + 0.5

grey = {n: ((images > 0.1) & (images < 0.6)).double().mean() for n, images in by_steps.items()}
claim("grey pixels with 2 steps, as a multiple of those with 50", grey[2] / grey[50], ">", 2)
claim("grey pixels with 10 steps, as a multiple of those with 50", grey[10] / grey[50], "<", 1.5)

# %%
# Figure: five rows of the same ten images, with 50, 20, 10, 5 and 2 steps.
strip({f"{n} steps": images for n, images in by_steps.items()});

# %% [markdown]
# Go up from the last row until you are content.
#
# <details><summary>Answer</summary>
#
# From ten steps on nearly the same strokes; with five some gaps; with two, grey ghosts. Then the network must guess
# the image from almost pure noise, and answers with the mean of all digits that fit: a blur. Diffusion is sharp because
# no single step has to decide much.
# </details>
#
# ## Break it: forget the noise
#
# A common mistake in writing a sampler: take the mean $\tilde\mu$ of eq. 3 and forget the fresh noise. It looks like an
# improvement, for who wants noise in an image? We look at the ring, with the *exact* answers, so that nothing else is
# to blame. DDIM, which adds no noise either but takes other steps, walks beside it. **Write down a guess:** what will
# the eight dots look like?

# %%
def without_noise(model, x, a):
    for t in reversed(range(len(a))):
        x = diffusion.ddpm_step(model(x, torch.full((len(x),), t)), x, t, a, noise=torch.zeros_like(x))
    return x

def hundred_ddim(model, x, a):
    return diffusion.ddim(model, x, a, steps=100)

ends = {"DDPM": exact[-1], "noise forgotten": walk(exact_eps, without_noise)[-1],
        "DDIM": walk(exact_eps, hundred_ddim)[-1]}

# %%
forgot = ends["noise forgotten"].norm(dim=1)
right = ends["DDPM"].norm(dim=1)
claim("mean distance from the middle (2 in the data), DDPM", right.mean(), ">", 1.9)
claim("mean distance from the middle (2 in the data), noise forgotten", forgot.mean(), "<", 1.8)
claim("spread of that distance (0.2 in the data), noise forgotten", forgot.std(), "<", 0.1)
claim("width of the dots (0.2 in the data), DDIM", width(ends["DDIM"]), ">", 0.15)

# %%
# Figure: three panels around the ring: the ends of DDPM, of DDPM with the noise forgotten, and of DDIM.
fig, axes = plt.subplots(1, 3, figsize=(8, 2.9), sharey=True)
for ax, (name, points) in zip(axes, ends.items()):
    ax.scatter(*points[:1_000].T, s=2, color=COLOURS[0])
    ax.set(title=name, xlim=(-3, 3), ylim=(-3, 3), aspect="equal", xlabel="$x_1$")
axes[0].set_ylabel("$x_2$");

# %% [markdown]
# Only the panel in the middle is wrong.
#
# <details><summary>Answer</summary>
#
# Eight thin arcs, pulled inwards. Without the noise every point goes to the *mean* of what it could become, at each
# step again, and all variety inside a dot is averaged away. The noise is the part of the answer that the mean leaves
# out. DDIM repairs it: its steps are made for a walk without noise.
# </details>
#
# And on digits?

# %%
def back(add_noise, n=10, steps=30):
    """n images in `steps` of the 1,000 times, with or without the fresh noise of DDPM."""
    times = diffusion.timesteps(T, steps)
    g = seeded(7)
    x_t = torch.randn(n, 1, 28, 28, generator=seeded(3))
    for t, t_next in zip(times, [*times[1:], -1]):
        with torch.no_grad():
            eps = guess(x_t, torch.full((n,), t))
        noise = add_noise * torch.randn(x_t.shape, generator=g)
        x_t = diffusion.ddim_step(eps, x_t, t, t_next, cosine, eta=1.0, clip=1.0, noise=noise)
    return (x_t / 2 + 0.5).clamp(0, 1)

rows = {"with noise": back(True), "noise forgotten": back(False)}
ones = torch.ones(10, dtype=torch.int64)
for name, op, bound in (("with noise", "<", 0.5), ("noise forgotten", ">", 0.9)):
    share = control_accuracy(None, rows[name], ones)
    claim(f"share of ten samples that the judge reads as a 1, {name}", share, op, bound)

# %%
# Figure: two rows of ten images from the same checkpoint and the same start. With the noise, different
# digits; without it, ten times the same thin, upright stroke.
strip(rows);

# %% [markdown]
# Always the same 1. Ones vary least, so digits lie most densely among them, and without noise every start slides
# there. A sample is not the most probable image.

# %% [markdown]
# ## In the wild
#
# In `diffusers` our schedule and `ddpm_step` are a `DDPMScheduler`, and a network like ours is a `UNet2DModel`. With
# `prediction_type="v_prediction"` and `beta_schedule="squaredcos_cap_v2"` (the cosine) the scheduler walks with our own
# network:
#
# ```python
# import torch
# from diffusers import DDPMScheduler                       # pip install diffusers
#
# scheduler = DDPMScheduler(beta_schedule="squaredcos_cap_v2", prediction_type="v_prediction")
# scheduler.set_timesteps(30)
# for t in scheduler.timesteps:
#     with torch.no_grad():
#         v = network(x_t, (t + 1) / 1000)
#     x_t = scheduler.step(v, t, x_t).prev_sample
# ```

# %% [markdown]
# ## Recap
#
# 1. Any amount of noise is added in one step: shrink the image, add normal noise, keep the variance.
# 2. The best guess of the noise is its mean, which is minus the score of the noisy data, rescaled.
# 3. The way back: guess the image, go a little towards it, add fresh noise.
# 4. Guessing $v$ is safe at both ends. A perfect denoiser would only copy.
# 5. A sampler without its noise slides to the mean; measure variety.
#
# **What we left out.** Where the loss comes from: DDPM is a VAE (lesson 31) with 1,000 layers of codes and a fixed
# encoder, and each term of its ELBO is our squared error with a weight that depends on $t$. Better samplers: lesson 62
# (to come).
#
# **Exercises:** [61_ddpm](../exercises/61_ddpm/61_ddpm.ipynb). One more: how does the loss of the perfect denoiser
# compare with that of the checkpoint, on training and on test digits? **Next**, [lesson 63](63_guidance.ipynb): a
# network that is told which digit to make, and can be made to listen.
#
# ## Read on
#
# - J. Ho, A. Jain & P. Abbeel, *Denoising diffusion probabilistic models* (2020),
#   [arXiv:2006.11239](https://arxiv.org/abs/2006.11239): algorithms 1 and 2 are this lesson. The idea: J. Sohl-Dickstein
#   et al., *Deep unsupervised learning using nonequilibrium thermodynamics* (2015),
#   [arXiv:1503.03585](https://arxiv.org/abs/1503.03585).
# - Y. Song & S. Ermon, *Generative modeling by estimating gradients of the data distribution* (2019),
#   [arXiv:1907.05600](https://arxiv.org/abs/1907.05600): the same from the side of the score.
# - A. Nichol & P. Dhariwal, *Improved denoising diffusion probabilistic models* (2021),
#   [arXiv:2102.09672](https://arxiv.org/abs/2102.09672): the cosine. T. Salimans & J. Ho, *Progressive distillation*
#   (2022), [arXiv:2202.00512](https://arxiv.org/abs/2202.00512): $v$. J. Song, C. Meng & S. Ermon, *Denoising diffusion
#   implicit models* (2021), [arXiv:2010.02502](https://arxiv.org/abs/2010.02502).
# - O. Ronneberger, P. Fischer & T. Brox, *U-Net* (2015), [arXiv:1505.04597](https://arxiv.org/abs/1505.04597).
# - In the library: `diffusion.py` (`q_sample`, `diffusion_loss`, `predicts_eps`, `ddpm_step`, `ddpm`, `ddim`), `unet.py`,
#   and `pipeline.py`, which joins a network with its sampler.
