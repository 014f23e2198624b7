# %% [markdown]
# # 64 · Straight roads: flow matching
#
# Diffusion (lesson 61) destroys an image in a thousand steps and walks back at random, along a schedule that somebody
# had to invent. **Flow matching** (Lipman et al., 2023; Liu, Gong & Liu, 2023) asks for less. Take an image $x$ and
# noise $\varepsilon$, and draw a straight road from one to the other. Drive along it at constant speed from $t = 0$ to
# $t = 1$. A network $v_\theta$ with weights $\theta$ sees where you are, and learns your velocity:
#
# $$x_t = (1 - t)\,\varepsilon + t\,x, \qquad \mathbb E_{x,\,\varepsilon,\,t}\; \big\| (x - \varepsilon) - v_\theta(x_t,
# t) \big\|^2 \tag{1}$$
#
# To draw, start from noise and follow the network's velocity until $t = 1$. No schedule, nothing random on the way.
#
# Two things should make you suspicious. Noise and image are paired *by chance*, so why should following such roads
# lead to digits? And are the paths that we follow really straight? The answers: because of one line of algebra; and
# no. At the end a transformer takes the place of the U-Net, and every family gets one minute to show what it can do.
#
# **You need** lessons [51](51_attention.ipynb) (attention), [61](61_ddpm.ipynb) (diffusion) and
# [63](63_guidance.ipynb) (guidance). All symbols are in the [table of symbols](symbols.ipynb). Mind the clock: in
# lesson 61 $t$ counted the steps of noise; here $t = 0$ is noise and $t = 1$ the image. **It takes** about an hour
# and a half to read and 50 seconds to run on a laptop CPU.

# %% [markdown]
# ## Set-up

# %%
import inspect

import matplotlib.pyplot as plt
import torch
from torch import nn
from torch.testing import assert_close

from course_lib import flow
from course_lib.checkpoint import load as load_checkpoint
from course_lib.checkpoint import metadata
from course_lib.claims import claim
from course_lib.data import Batches, load, toys
from course_lib.device import budget, device, seed, seeded
from course_lib.diffusion import drop_labels, guided
from course_lib.plots import COLOURS, strip
from course_lib.train import fit
(x, y), (x_test, y_test) = load("digits")[:2]                     # 4,000 and 1,000 images (N, 1, 28, 28)

# %%
# Figure: six rows of ten. At t = 0 pure noise, from row to row more of a digit in it; at t = 1 the digits
# 0 to 9, clean.
painter, ten, seen = load_checkpoint("flow"), torch.arange(10), []

def watched(x_t, t):                                              # a model that also keeps its input
    seen.append(x_t)
    return guided(painter.network, ten, 10, 2.0)(x_t, t)          # see lesson 63

final = flow.euler(watched, torch.randn(10, 1, 28, 28, generator=seeded(4)), steps=50)
strip({f"t = {i / 5:.1f}": (s / 2 + 0.5).clamp(0, 1) for i, s in enumerate([*seen, final][::10])});

# %% [markdown]
# ## One number, by hand
#
# Let the data be a single number, and normal, $\mathcal N(0, 1)$: the same as the noise. A road from $\varepsilon$ to
# $x$ passes $x_t = (1 - t)\varepsilon + t x$, which has the variance $(1 - t)^2 + t^2$: 1 at both ends, but
# $\tfrac12$ at half time.
#
# Through each place lead many roads, with different velocities. Least squares cannot tell them apart; its best answer
# is their **mean** (lesson 61). For normal numbers the mean of $a$ given $b$ is $\operatorname{cov}(a, b) /
# \operatorname{var}(b) \cdot b$, and the covariance of $x - \varepsilon$ with $x_t$ is $t - (1 - t)$:
#
# $$v(x_t, t) = \mathbb E[x - \varepsilon \mid x_t] = \frac{2t - 1}{(1 - t)^2 + t^2}\; x_t$$
#
# Start at $\varepsilon = 2$ and follow it: velocity $-2$ at first, 0 at half time, then outwards. The solution is $2
# \sqrt{(1 - t)^2 + t^2}$ (differentiate it), so we come through $\sqrt 2$ and end at 2, where we began. Many small
# steps agree:

# %%
def v(x_t, t):
    return (2 * t - 1) / ((1 - t) ** 2 + t**2) * x_t

place = 2.0
for i in range(1000):
    place += v(place, i / 1000) / 1000                            # along the velocity for a thousandth
print(f"from 2.00 in a thousand steps to {place:.2f}, in one step to {2.0 + v(2.0, 0.0):.2f}")

# %% [markdown]
# Keep that zero in mind. At $t = 0$ the place says nothing about the image, so $v = \mathbb E[x] - \varepsilon$, and
# one step of length 1 takes *everything* to the mean of the data.

# %%
# Figure: left, forty straight roads between two normal distributions, which cross. Right, what following
# the mean velocity does: forty curves that draw together, part again, and never cross.
eps, data = torch.randn(2, 40, generator=seeded(0))
times = torch.linspace(0, 1, 101)
scale = ((1 - times) ** 2 + times**2).sqrt()                      # standard deviation of x_t
fig, (left, right) = plt.subplots(1, 2, figsize=(8, 2.8), sharey=True)
left.plot([0, 1], torch.stack([eps, data]), color=COLOURS[0], lw=0.9, alpha=0.7)
right.plot(times, scale[:, None] * eps, color=COLOURS[3], lw=0.9, alpha=0.8)
left.set(title="roads", xlabel="time $t$", ylabel="place $x_t$")
right.set(title="the paths of the mean velocity", xlabel="time $t$");

# %% [markdown]
# ## Why the mean is enough
#
# Compare two crowds. One drives on the roads; the other starts at the same noise, and each of its members follows the
# *mean* velocity $v$ of the place where it is. Single members part at once. But let $f$ be any smooth function and ask
# how the average of $f$ changes in the first crowd:
#
# $$\frac{d}{dt}\,\mathbb E\, f(x_t) = \mathbb E\big[\nabla f(x_t) \cdot (x - \varepsilon)\big] = \mathbb E\big[\nabla
# f(x_t) \cdot \mathbb E[x - \varepsilon \mid x_t]\big] = \mathbb E\big[\nabla f(x_t) \cdot v(x_t, t)\big] \tag{2}$$
#
# The second step averages first over the roads through one place. The right-hand side is just how the average changes in
# the second crowd. Both start alike and obey the same law, so they agree **for every $f$ and at all times**: the crowds
# have the same distribution. At $t = 1$ the first one is the data.
#
# So chance may do the pairing.
#
# ## The ring, exactly
#
# We test it where everything is known: eight Gaussians on a ring with means $\mu_k$ and standard deviation $\rho$.
# Let a road be $x_t = \alpha x + \sigma \varepsilon$ with any $\alpha(t)$ and $\sigma(t)$ (not the $\alpha_t$ of
# lesson 61, which was that of one step); we shall need other roads soon. If $x$ comes from Gaussian $k$, all is
# normal, and with $r = (x_t - \alpha \mu_k) / (\alpha^2 \rho^2 + \sigma^2)$ the rule above says
#
# $$\mathbb E[x \mid x_t, k] = \mu_k + \alpha \rho^2 r, \qquad \mathbb E[\varepsilon \mid x_t, k] = \sigma r$$
#
# The velocity of the road is $\alpha' x + \sigma' \varepsilon$, with dashes for derivatives. Average over the eight,
# with the probability of each by Bayes' rule, and the mean velocity is a formula:

# %%
ring = toys.ring(std=0.2)

def straight(t):
    """alpha, its derivative, sigma, its derivative, at the time t."""
    return t, 1.0, 1 - t, -1.0

def mean_velocity(road):
    """The exact v(x_t, t) for the ring, on this road.  x_t (B, 2), t (B,), the same for all -> (B, 2)"""
    def model(x_t, t):
        a, da, s, ds = road(t[0].item())
        away, variance = x_t[:, None] - a * ring.means.to(x_t), a**2 * ring.std**2 + s**2       # (B, 8, 2)
        r = away / variance
        weight = (-away.square().sum(2) / (2 * variance)).softmax(1)  # (B, 8): which Gaussian is it?
        v = da * (ring.means.to(x_t) + a * ring.std**2 * r) + ds * s * r                        # (B, 8, 2)
        return (weight[:, :, None] * v).sum(1)
    return model

exact = mean_velocity(straight)

# %% [markdown]
# And so is eq. 2 put to the test: two crowds of 20,000, one on the roads, one following $v$ in 200 steps. We compare how
# far from the centre they are, by the largest gap between the two distribution functions.

# %%
data, eps = ring.sample(20_000, seeded(0)), torch.randn(20_000, 2, generator=seeded(1))
crowd = torch.randn(20_000, 2, generator=seeded(2))
for i in range(200):
    crowd = crowd + exact(crowd, torch.full((20_000,), i / 200)) / 200
    if i + 1 in (100, 160, 200):
        roads = flow.interpolate(data, eps, torch.tensor([(i + 1) / 200])).norm(dim=1).sort().values
        gap = torch.searchsorted(crowd.norm(dim=1).sort().values, roads) - torch.arange(20_000)
        claim(f"t = {(i + 1) / 200}: gap between the crowds", gap.abs().max() / 20_000, "<", 0.03)

# %%
# Figure: left, 150 straight roads from the noise in the centre to the eight modes of the data, a thicket
# of crossings. Right, the paths of the mean velocity from the same starting points: they move together to
# the centre and bend outwards to the nearest mode, without crossing.
@torch.no_grad()
def paths(model, start, steps=100):
    """Where points are after 0 ... steps steps of Euler's.  (B, 2) -> (steps + 1, B, 2)"""
    states = [start]
    for i in range(steps):
        states.append(states[-1] + model(states[-1], torch.full((len(start),), i / steps)) / steps)
    return torch.stack(states)

fig, panels = plt.subplots(1, 2, figsize=(8, 4), sharey=True)
both = {"roads": torch.stack([eps[:150], data[:150]]),
        "paths of the mean velocity": paths(exact, eps[:150])}
for i, (ax, (name, lines)) in enumerate(zip(panels, both.items())):
    ax.plot(*lines.permute(2, 0, 1), color=COLOURS[3 * i], lw=0.6, alpha=0.7)
    ax.scatter(*lines[-1].T, s=6, color=COLOURS[7], zorder=3)
    ax.set(title=name, xlim=(-3, 3), ylim=(-3, 3), aspect="equal", xlabel="$x_1$")
panels[0].set_ylabel("$x_2$");

# %% [markdown]
# ## A network learns it
#
# The network is the one of lesson 61's toy. The loss is eq. 1, three lines.

# %%
class Toy(nn.Module):
    """A velocity for points of the plane.  (B, 2), (B,) -> (B, 2)"""

    def __init__(self, n=128):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(8, n), nn.ReLU(), nn.Linear(n, n), nn.ReLU(),
                                    nn.Linear(n, n), nn.ReLU(), nn.Linear(n, 2))

    def forward(self, x_t, t):
        angle = torch.pi * t[:, None] * torch.tensor([1, 2, 4])   # (B, 3)
        return self.layers(torch.cat([x_t, angle.sin(), angle.cos()], dim=1))

def loss_1(model, x):
    eps, t = torch.randn_like(x), torch.rand(len(x))
    x_t = (1 - t)[:, None] * eps + t[:, None] * x
    return {"loss": (model(x_t, t) - (x - eps)).square().mean()}

# %% [markdown]
# The library's `flow_loss` works for images too, and takes the choice of times as an argument. With uniform times it
# must be ours.

# %%
print(inspect.getsource(flow.interpolate).split('"""')[2].strip("\n"))
print(inspect.getsource(flow.flow_loss))
seed(0)
toy, losses = Toy(), []
for loss in (loss_1, lambda model, x: flow.flow_loss(model, x, times=flow.uniform)):
    seed(1)
    losses.append(loss(toy, data[:512])["loss"])
assert_close(*losses)

# %%
def train_toy(loss, *tensors, steps=1_000, start=None):
    seed(0)
    net = Toy()
    if start is not None:
        net.load_state_dict(start.state_dict())
    return net, fit(net, loss, Batches(*tensors, batch_size=256), steps, lr=5e-3, warmup=50,
                    decay=0.6, ema=.99)

toy, history = train_toy(loss_1, data)

# %% [markdown]
# The loss does not go to zero, and must not: crossing roads have different velocities, and their spread is left. With
# the formula at hand we know what the answer should be; single roads differ from it by about 1 or more.

# %%
def miss(model, t):
    """Distance from the exact velocity at time t: root of the mean square, over points of the roads."""
    x_t, times = flow.interpolate(data[:4_000], eps[:4_000], torch.tensor([t])), torch.full((4_000,), t)
    with torch.no_grad():
        return (model(x_t, times) - exact(x_t, times)).square().mean().sqrt().item()

for t in (0.1, 0.5, 0.9):
    claim(f"t = {t}: distance from the exact velocity", miss(toy, t), "<", 0.3)
    single = miss(lambda x_t, times: data[:4_000] - eps[:4_000], t)
    claim("         the same for single roads", single, ">", 0.9)

# %%
def describe(points):
    """How many modes are reached, the share of points on one, and the width of the dots."""
    distance, mode = torch.cdist(points.float(), ring.means).min(1)
    on = distance < 3 * ring.std
    spread = (points - ring.means[mode])[on].std(correction=0).item() if on.any() else 0.0
    return len(mode[on].unique()), on.float().mean().item(), spread

start = torch.randn(2_000, 2, generator=seeded(3))
modes, share, width = describe(flow.midpoint(toy, start, 30))
print(f"{modes} modes of 8")
claim("points on a mode", share, ">", 0.9)
claim("width of the dots (0.2 in the data)", width, ">", 0.15)

# %% [markdown]
# ## Steps, and what they cost
#
# Following $v$ is solving an ordinary differential equation, $\frac{dx_t}{dt} = v(x_t, t)$, and for that there are
# two hundred years of methods. **Euler** takes a step along the velocity where it stands. The **midpoint** method
# uses Euler to look half a step ahead, and takes the whole step with the velocity it finds *there*: two evaluations
# of the network a step.

# %%
def midpoint(model, x, steps):
    for i in range(steps):
        half = x + model(x, torch.full((len(x),), i / steps)) / (2 * steps)
        x = x + model(half, torch.full((len(x),), (i + 0.5) / steps)) / steps
    return x

assert_close(flow.midpoint(exact, start, 7), midpoint(exact, start, 7))

# %% [markdown]
# **Predict:** with twice the steps, by what factor does each error shrink? We use the exact velocity and double
# precision, and compare with 500 steps.

# %%
start = start[:500].double()
truth = flow.midpoint(exact, start, 500)

def error(solve, model, steps, truth):
    """Mean distance from where the path really ends."""
    return (solve(model, start, steps) - truth).norm(dim=1).mean().item()

evaluations = [2, 4, 8, 16, 32, 64, 128]
errors = {"Euler": [error(flow.euler, exact, n, truth) for n in evaluations],
          "midpoint": [error(flow.midpoint, exact, n // 2, truth) for n in evaluations]}
claim("Euler: factor from 64 to 128", errors["Euler"][-2] / errors["Euler"][-1], ">", 1.9)
claim("midpoint: factor from 64 to 128", errors["midpoint"][-2] / errors["midpoint"][-1], ">", 3)

# %%
# Figure: error against evaluations of the network, both axes logarithmic. Euler's line falls with slope
# −1, that of the midpoint method with about −2, and lies below it from 8 evaluations on.
fig, ax = plt.subplots(figsize=(5.4, 3))
for name, values in errors.items():
    ax.loglog(evaluations, values, "o-", label=name)
ax.set(xlabel="evaluations of the velocity", ylabel="mean distance from the end", xticks=evaluations,
       xticklabels=evaluations)
ax.minorticks_off()
ax.legend();

# %% [markdown]
# Euler is of *first order*: its error halves. The midpoint method is of *second order*: a quarter. With very few
# evaluations it need not win.
#
# ## How straight?
#
# A path that is straight and driven at constant speed would need a single step. So measure: how far is the velocity,
# on the way, from the average velocity $x_1 - x_0$? ($x_0$, noise, and $x_1$ are the two ends of the path.) As a
# share of its own square, this is the **straightness** (Liu et al., 2023, section 2.2), which is 0 on straight paths:
#
# $$S = \int_0^1 \mathbb E\, \big\| v(x_t, t) - (x_1 - x_0) \big\|^2 dt \Big/ \int_0^1 \mathbb E\, \| v(x_t, t) \|^2 dt$$
#
# We compare with diffusion: in continuous time its road is $\alpha = \sqrt{\bar\alpha}$, $\sigma = \sqrt{1 -
# \bar\alpha}$, run backwards. That is one more choice of $\alpha$ and $\sigma$ in the formula for the ring, so
# diffusion, too, has a velocity to follow without any noise.

# %%
def diffusion_road(t):
    """The schedule of lesson 61 with infinitely many steps: beta falls from 20 to 0.1."""
    beta, total = 0.1 + 19.9 * (1 - t), 0.1 * (1 - t) + 19.9 * (1 - t) ** 2 / 2  # total: from t to the end
    a = torch.tensor(-total / 2).exp().item()
    s = max(1 - a**2, 1e-12) ** 0.5
    return a, a * beta / 2, s, -a * a * beta / (2 * s)

diffusion = mean_velocity(diffusion_road)
for name, model in (("flow", exact), ("diffusion", diffusion)):
    claim(f"S on the road of {name}", flow.straightness(model, start, 100), ">", 0.5)

# %% [markdown]
# Both are far from straight! Straight *roads* do not make straight *paths*, as the figures have shown. But they lead
# to the same place: on any road, $x_t / (\alpha + \sigma)$ lies on the straight one, at the time $\alpha / (\alpha +
# \sigma)$. These are the same paths in other coordinates, on another clock. (And the target $v$ of lesson 61 is the
# velocity on a third road, the quarter circle $\alpha = \sin\varphi$, $\sigma = \cos\varphi$, up to its sign.) **Flow
# matching and diffusion are one model.** What differs is which times the loss takes seriously, and how kind the path
# is to a solver with few steps.

# %%
end = flow.midpoint(diffusion, start, 500)
claim("distance between the ends of the two", (end - truth).norm(dim=1).mean(), "<", 0.02)
for n in (4, 8):
    ours, theirs = error(flow.midpoint, exact, n, truth), error(flow.midpoint, diffusion, n, end)
    claim(f"midpoint, {n} steps: error of diffusion over that of flow", theirs / ours, ">", 5, digits=1)

# %% [markdown]
# ### Straighter: reflow
#
# The paths bend because roads cross, and they cross because chance did the pairing. But now we own a better pairing:
# each noise with the place where *its* path ends. Their straight roads hardly cross. Train a second network on those
# pairs (Liu et al., 2023).

# %%
noise = torch.randn(20_000, 2, generator=seeded(5))
ends = flow.midpoint(toy, noise, 20)

def pair_loss(model, eps, x):
    t = torch.rand(len(x))
    return {"loss": (model(flow.interpolate(x, eps, t), t) - (x - eps)).square().mean()}

reflow, _ = train_toy(pair_loss, noise, ends, start=toy)
claim("S of the learned flow", flow.straightness(toy, start.float(), 100), ">", 0.5)
claim("S after reflow", flow.straightness(reflow, start.float(), 100), "<", 0.01)

# %% tags=["nbval-ignore-figure"]
# not compared: the last panel is drawn by a network that was trained in this lesson
# Figure: three panels, one coordinate of forty points over time. Diffusion: all stay where they are for
# half the time, then fan out in bends. Flow: in to the middle, then out. Reflow: straight lines from
# beginning to end.
fig, panels = plt.subplots(1, 3, figsize=(10, 3), sharey=True)
for ax, (name, model) in zip(panels, {"diffusion": diffusion, "flow": exact, "reflow": reflow}.items()):
    states = paths(model, eps[:40])                               # (101, 40, 2)
    ax.plot(torch.linspace(0, 1, 101), states[:, :, 0], color=COLOURS[3], lw=0.9, alpha=0.8)
    ax.set(title=name, xlabel="time $t$")
panels[0].set_ylabel("$x_1$");

# %%
for name, model in {"flow": toy, "reflow": reflow}.items():
    share = describe(flow.euler(model, start.float(), 1))[1]
    claim(f"{name}: on a mode after one step", share, *(("<", 0.05) if name == "flow" else (">", 0.7)))

# %% [markdown]
# One step of the flow takes everything to the mean, as in the example by hand; one step of reflow draws. The price: it
# learns from *generated* pairs, and inherits the errors of the first network.
#
# ## Which times?
#
# Nothing in eq. 2 says how often to train at each $t$. Early, the answer is nearly known (minus the noise); late, little
# is left to decide. What will be drawn is settled in the middle. Esser et al. (2024) therefore draw times as the sigmoid
# of a normal number, **logit-normal**, most of them around one half. **Predict** where that helps and where it hurts.

# %%
toy_middle, _ = train_toy(flow.flow_loss, data)
when = [0.02, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.98]
both = {"uniform": toy, "logit-normal": toy_middle}
missed = {name: [miss(model, t) for t in when] for name, model in both.items()}

# %% tags=["nbval-ignore-figure"]
# not compared: the right half belongs to networks that were trained in this lesson
# Figure: left, the density of both choices of times; logit-normal is a hill that falls to zero at both
# ends. Right, how far each network is from the exact velocity: about the same in the middle, and
# logit-normal much further off at the ends.
fig, (left, right) = plt.subplots(1, 2, figsize=(8, 2.8))
grid = torch.linspace(0.002, 0.998, 300)
left.plot([0, 1], [1, 1], label="uniform")
hill = (-grid.logit() ** 2 / 2).exp() / (2 * torch.pi) ** 0.5 / (grid * (1 - grid))
left.plot(grid, hill, label="logit-normal")
left.set(xlabel="time $t$", ylabel="density", ylim=(0, None))
for name, values in missed.items():
    right.semilogy(when, values, "o-", ms=4, label=name)
right.set(xlabel="time $t$", ylabel="distance from exact")
left.legend()
ratio = [b / a for a, b in zip(*missed.values())]                 # logit-normal over uniform
claim("t = 0.02: distance, over that of uniform", ratio[0], ">", 1.2, digits=2)
claim("t = 0.98: distance, over that of uniform", ratio[-1], ">", 1.2, digits=2)

# %% [markdown]
# Here uniform times are the better choice: points are easy in the middle, and the last moments make the dots round. On
# digits, the last moments are invisible.

# %% [markdown]
# ## Digits
#
# The same loss, the U-Net of lesson 61, logit-normal times. Two things are borrowed from lesson 63: the network is
# told the label, but for one image in ten; and drawing with **guidance** of scale $s = 2$ exaggerates what the label
# changes: $v_\text{none} + s\,(v_\text{label} - v_\text{none})$. (`autocast=True` multiplies in bfloat16, numbers
# with fewer digits, where that is faster; Muon as in lesson 61.)

# %%
from functools import partial

from course_lib.metrics import control_accuracy
from course_lib.muon import muon_unet
from course_lib.unet import UNet, UNetConfig

def digit_loss(model, x, y):
    return flow.flow_loss(partial(model, y=drop_labels(y, 10)), 2 * x - 1)  # from -1, white, to 1, ink

seed(0)
net = UNet(UNetConfig(n_class=10)).to(device(), memory_format=torch.channels_last)
history = fit(net, digit_loss, Batches(x.to(device()), y.to(device()), batch_size=32),
              steps=budget(cpu=360, gpu=5_000), warmup=50, decay=0.6, ema=0.98, optimizer=muon_unet,
              autocast=True)

# %% tags=["nbval-ignore-figure"]
# not compared: the second row is drawn by the network that was trained in this lesson
# Figure: three rows of the digits 0 to 9. Real ones; those of the network trained just now, most of which
# can be read, with ragged strokes; and those of the shipped checkpoint, clean.
def draw(network, labels, solve=flow.midpoint, steps=15, n_seed=1):
    noise = torch.randn(len(labels), 1, 28, 28, generator=seeded(n_seed)).to(device())
    return (solve(guided(network, labels.to(device()), 10, 2.0), noise, steps) / 2 + 0.5).clamp(0, 1).cpu()

painter.to(device())
rows = {"real": torch.stack([x_test[y_test == c][0] for c in range(10)]),
        "360 batches": draw(net, ten), "shipped": draw(painter.network, ten)}
strip(rows)
for name, network, bound in (("trained here", net, 0.6), ("shipped", painter.network, 0.97)):
    labels = torch.arange(60) % 10
    seen = control_accuracy(None, draw(network, labels, steps=6, n_seed=2), labels)
    claim(f"{name}: the judge sees the digit asked for", seen, ">=", bound)

# %% [markdown]
# ### Predict, then turn one knob: how few steps?
#
# What does the checkpoint draw with one Euler step? You know the answer from the example by hand.

# %%
# Figure: six rows of the same ten digits by Euler's method with 1, 2, 4, 8, 16 and 32 steps. One step:
# grey blurs, the mean of each class, sharpened by guidance. From four or eight on the digits are crisp and
# hardly change.
counts = [1, 2, 4, 8, 16, 32]
by_euler = {f"steps: {n}": draw(painter.network, ten, flow.euler, n) for n in counts}
strip(by_euler);

# %%
means = torch.stack([x[y == c].mean(0) for c in range(10)])       # (10, 1, 28, 28)
velocity = partial(painter.network, y=ten.to(device()))           # no guidance
noise = torch.randn(10, 1, 28, 28, generator=seeded(1)).to(device())
one_step = (flow.euler(velocity, noise, 1) / 2 + 0.5).cpu()
claim("one step: RMS from the class means, grey value", (one_step - means).pow(2).mean().sqrt(), "<", 0.12)
claim("S on digits", flow.straightness(velocity, noise, 32), "<", 0.1)
best = draw(painter.network, ten, steps=40)
rms = {solve.__name__: [(draw(painter.network, ten, solve, n // k) - best).square().mean().sqrt().item()
                        for n in (4, 16)] for solve, k in ((flow.euler, 1), (flow.midpoint, 2))}
for name, values in rms.items():
    claim(f"{name} with 16 evaluations: RMS from the end of the path", values[-1], "<", 0.1)

# %% [markdown]
# These paths are far straighter than the ring's. Most of the velocity is minus the noise, 784 numbers that are known
# from the beginning; only the digit must be decided on the way.
#
# ## A transformer in place of the U-Net
#
# Nothing in the loss knows a network. Peebles & Xie (2023) put a plain transformer there, the **DiT**. Its tokens are
# patches of the image.

# %%
# Figure: a digit; beside it the same digit, cut into 7 × 7 patches of 4 × 4 pixels, with gaps between
# them.
def patchify(x, p):
    """(B, 1, 28, 28) -> (B, 28/p * 28/p, p * p)"""
    B, n = len(x), 28 // p
    return x.view(B, n, p, n, p).permute(0, 1, 3, 2, 4).reshape(B, n * n, p * p)

from course_lib import dit
from course_lib.plots import tile

tokens = patchify(x_test[:3], 4)                                  # (3, 49, 16)
assert_close(tokens, dit.patchify(x_test[:3], 4))
assert_close(dit.unpatchify(tokens, 4, 28), x_test[:3])
fig, panels = plt.subplots(1, 2, figsize=(4.4, 2.2))
panels[0].imshow(x_test[0, 0], vmin=0, vmax=1)
panels[1].imshow(tile(0.1 + 0.9 * tokens[0].view(49, 1, 4, 4), n_col=7, pad=1), vmin=0, vmax=1)
for ax in panels:
    ax.set_axis_off()

# %% [markdown]
# Every token should hear the time and the label. DiT says it through the norms. A LayerNorm usually has a learned
# scale and shift; here a linear layer computes them from the embedding of time and label, for each image anew
# (**adaLN**). It also computes a *gate* for what attention and MLP add. It starts at **zero**, so at first each block
# passes on what it got, and depth costs nothing (adaLN-*Zero*).

# %%
def dit_block(block, h, emb):
    """h (B, T, C), emb (B, C) -> (B, T, C)"""
    parts = block.modulation(emb)[:, None].chunk(6, dim=2)        # 6 x (B, 1, C)
    scale1, shift1, gate1, scale2, shift2, gate2 = parts
    h = h + gate1 * block.attend(block.norm1(h) * (1 + scale1) + shift1)
    return h + gate2 * block.mlp(block.norm2(h) * (1 + scale2) + shift2)

seed(2)
block, h, emb = dit.DiTBlock(64, n_head=4), torch.randn(3, 49, 64), torch.randn(3, 64)
assert torch.equal(dit_block(block, h, emb), h)                   # the gates are closed
nn.init.normal_(block.modulation.weight, std=0.1)
assert_close(block(h, emb), dit_block(block, h, emb))
print("        emb =" + inspect.getsource(dit.DiT.forward).split("emb =")[1])

# %% [markdown]
# ### At equal time, and at equal arithmetic
#
# Which is better? It depends on what must be equal. PyTorch counts operations (FLOPs) for us. Three trainings by this
# lesson's loss are written into the metadata of checkpoints: DiT and U-Net for about a minute of one core, and a
# U-Net that stopped when it had used as many operations as the DiT. **Predict** their order.

# %%
from torch.utils.flop_counter import FlopCounterMode

def flops(network):
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        network(x[:1], 0.5, 3)
    return counter.get_total_flops()

transformer, unet = (load_checkpoint(name).network for name in ("dit_minute", "flow_minute"))
for network in (transformer, unet):
    n = sum(p.numel() for p in network.parameters())
    print(f"{type(network).__name__}: {n:,} parameters, {flops(network) / 1e6:.1f} million FLOPs an image")

# %%
timed, equal = metadata("dit_minute"), metadata("dit_minute")["unet_with_equal_flops"]
for name, run in {"DiT": timed, "U-Net": metadata("flow_minute"), "U-Net, equal FLOPs": equal}.items():
    print(f"{name:18}{run['steps']:6} batches, {run['seconds']:3.0f} s: Fréchet distance "
          f"{run['metrics']['frechet']:.1f}, digit asked for {run['metrics']['control']:.1%}")
ratio = timed["steps"] * flops(transformer) / (equal["steps"] * flops(unet))
claim("operations of the first, over those of the last", ratio, ">", 0.98)
behind = timed["metrics"]["frechet"] / equal["metrics"]["frechet"]
claim("Fréchet distance of the first, over the last", behind, ">", 1.2)

# %% [markdown]
# The U-Net wins both ways. That neighbouring patches belong together, and that a stroke may be anywhere, is built into a
# convolution; the transformer must learn it, from 4,000 images, in a minute.
#
# ## One minute for everybody
#
# Now the table that this part of the course has led up to. Every family had about a minute of one processor core,
# with the recipe of its own lesson and fewer steps: each in the form that we found best, so sizes differ, and diffusion,
# flow and DiT have Muon. (Mixture of Gaussians and class Gaussians converge before the minute is over.) Training digits
# and noise are ceiling and floor.

# %%
from course_lib.leaderboard import leaderboard

minute = ("class_gaussians", "gaussian_mixture", "autoencoder", "vae_minute", "vae_mixture_minute",
          "gan_minute", "conditional_gan_minute", "ddpm_minute", "flow_minute", "dit_minute")
leaderboard("training_digits", *minute, "noise")

# %%
# Figure: ten rows of ten samples, best distance first. The upper rows are clean digits, the DiT's fall
# apart into patches, and the Gaussians' in the last two rows are smeared.
ranked = [row["name"] for row in leaderboard(*minute).rows]
rows = {}
for name in ranked:
    asked = "control" in metadata(name)["metrics"]                # it can be asked for a digit
    rows[name] = load_checkpoint(name).sample(10, *[ten] * asked, generator=seeded(3))
strip(rows);

# %% [markdown]
# Read it honestly. In a minute the conditional GAN and flow come first, and 1,000 images cannot say which of the two;
# without labels the VAE with a fitted prior. **Labels are worth more than most changes of family** (and guidance buys
# precision with recall). Without labels, diffusion needs more than a minute, and the DiT more than that even with
# them. The GAN draws in one evaluation, flow in 60. These are single runs, of different sizes, with some
# settings chosen where the test distance was seen.

# %%
# Figure: for six families, the Fréchet distance after a minute and after the longest training that the
# course ships, on a logarithmic axis; dashed, real training digits. The GANs stay about where they are;
# diffusion gains most, and flow comes nearest.
pairs = {"VAE": ("vae_minute", "vae"), "VAE, fitted prior": ("vae_mixture_minute", "vae_mixture"),
         "GAN": ("gan_minute", "gan"), "GAN, labels": ("conditional_gan_minute", "conditional_gan"),
         "DDPM": ("ddpm_minute", "ddpm"), "flow, labels": ("flow_minute", "flow")}
fig, ax = plt.subplots(figsize=(6.4, 3))
for i, names in enumerate(pairs.values()):
    rows = [metadata(name) for name in names]
    value = [row["metrics"]["frechet"] for row in rows]
    ax.plot(value, [i, i], color="0.7", zorder=0)
    ax.scatter(value, [i, i], s=50, c=["white", COLOURS[0]], edgecolors=COLOURS[0], lw=2)
    ax.annotate(f"{rows[1]['seconds']:.0f} s", (value[1], i - 0.18), ha="center", fontsize=8)
ax.axvline(metadata("training_digits")["metrics"]["frechet"], color=COLOURS[2], ls="--")
ax.set(xscale="log", yticks=range(len(pairs)), yticklabels=pairs, ylim=(len(pairs) - 0.5, -0.7),
       xlabel="Fréchet distance (hollow: one minute; full: shipped)")
frechet = {name: metadata(name)["metrics"]["frechet"] for names in pairs.values() for name in names}
claim("without labels: DDPM over GAN", frechet["ddpm_minute"] / frechet["gan_minute"], ">", 2, digits=1)
claim("with labels: flow over GAN", frechet["flow_minute"] / frechet["conditional_gan_minute"], "<", 2)
claim("shipped: flow", frechet["flow"], "<", 0.45)

# %% [markdown]
# (It walks away from the one that had a minute, eq. 4 of lesson 63.)
#
# ## Break it: the clock runs backwards
#
# Half of the papers put the noise at $t = 0$, as we do; half at $t = 1$, as diffusion does (and Stable Diffusion 3).
# Take a network from one and a sampler from the other, and every shape fits. Their velocity is *minus* ours at $1 -
# t$.

# %%
def theirs(model):
    """Our network for a sampler that goes from noise at t = 1 to the image at t = 0."""
    return lambda x_t, t: -model(x_t, 1 - t)

def their_euler(model, x, steps):
    for i in range(steps):
        x = x - model(x, torch.full((len(x),), 1 - i / steps, device=x.device)) / steps
    return x

# %%
# Figure: four rows of ten. With both changes made, ten digits. With the wrong clock, dark ghosts of digits
# on a dirty ground. With the wrong sign, or both wrong, black and white noise.
wrong = {"right": theirs, "wrong clock": lambda m: lambda x_t, t: -m(x_t, t),
         "wrong sign": lambda m: lambda x_t, t: m(x_t, 1 - t), "both wrong": lambda m: m}

@torch.no_grad()
def broken(wrap, n=10):
    asked = torch.arange(n) % 10
    noise = torch.randn(n, 1, 28, 28, generator=seeded(1)).to(device())
    model = wrap(guided(painter.network, asked.to(device()), 10, 2.0))
    return (their_euler(model, noise, 12) / 2 + 0.5).clamp(0, 1).cpu(), asked

strip({name: broken(wrap)[0] for name, wrap in wrong.items()})
for name, wrap in wrong.items():
    got = control_accuracy(None, *broken(wrap, 30))
    claim(f"{name}: judge sees the digit asked for", got, *((">", 0.9) if name == "right" else ("<", 0.5)))

# %% [markdown]
# No error message, and a loss that looks as always, for the network is good. The repair is `theirs`; the protection
# is a test that takes one line, the one from the example by hand: at pure noise the velocity must be *mean minus
# noise*. It tells which of the four you have.

# %%
noise = torch.randn(10, 1, 28, 28, generator=seeded(4)).to(device())
expected = (2 * means - 1).to(device()) - noise
for name, wrap in wrong.items():
    with torch.no_grad():
        answer = -wrap(velocity)(noise, torch.ones(10, device=device()))  # their clock, so minus ours
    off = (answer - expected).square().mean().sqrt()
    claim(f"{name}: RMS from mean minus noise", off, *(("<", 0.3) if name == "right" else (">", 0.5)))

# %% [markdown]
# ## What we left out
#
# - **Better pairs from the start.** Within a batch, pair noise and images so that roads are short (Tong et al., 2024).
# - **Likelihood.** Along a path $\log p$ changes by minus the sum of the slopes of $v$, each along its own axis, so a
#   flow has an exact likelihood.
# - **One step.** Distillation and consistency models: lesson 66 (to come).
# - **Scale.** Stable Diffusion 3 is this lesson with an autoencoder in front and a far larger transformer.
#
# ## Read on
#
# - Y. Lipman et al., *Flow matching for generative modeling* (2023): eq. 2 is their theorem 2.
# - X. Liu, C. Gong & Q. Liu, *Flow straight and fast: learning to generate and transfer data with rectified flow*
#   (2023).
# - M. Albergo & E. Vanden-Eijnden, *Building normalizing flows with stochastic interpolants* (2023): any $\alpha$ and
#   $\sigma$.
# - W. Peebles & S. Xie, *Scalable diffusion models with transformers* (2023): DiT.
# - P. Esser et al., *Scaling rectified flow transformers for high-resolution image synthesis* (2024): logit-normal
#   times.
# - A. Tong et al., *Improving and generalizing flow-based generative models with minibatch optimal transport* (2024).
# - In the library: `flow.py` (`interpolate`, `flow_loss`, `logit_normal`, `euler`, `midpoint`, `straightness`), `dit.py`
#   (`patchify`, `DiTBlock`, `DiT`), `pipeline.py`.
#
# **Exercises:** [64_flow_matching](../exercises/64_flow_matching/64_flow_matching.ipynb). Two more to think about:
# what would a perfect network draw, if the data are just 4,000 images (lesson 61)? And what is $v$ if the noise is no
# noise but *other images*, sevens at $t = 0$ and ones at $t = 1$?
#
# **Next**: this is the last lesson so far. Lesson 65 (to come) goes from a label to a sentence. The
# [map of the lessons](../README.md#the-lessons) shows what is there.
