# %% [markdown]
# # 64 · Straight roads: flow matching
#
# Diffusion (lesson 61) turns noise into a digit along a schedule that somebody had to invent. **Flow matching** needs
# none. Pair an image with noise by chance, join the two by a straight road, and train a network to tell, anywhere on
# such roads, how fast and in which direction the traffic moves. To sample, start in noise and follow the network. Why
# do roads between random pairs lead to digits? And are the paths that we follow straight? At the end a transformer
# takes the place of the U-Net, every family of this course gets one minute to train, and you will have made the
# picture below.
#
# **After this lesson you can**
# - train a generator with a loss of three lines, and say why it works;
# - choose a solver and its steps, and straighten paths so that one step is enough;
# - compare generators at equal time, and find a clock that runs backwards.
#
# **You need** lessons [51](51_attention.ipynb) (attention), [61](61_ddpm.ipynb) (diffusion) and
# [63](63_guidance.ipynb) (guidance). **It takes** 60 minutes to read and half a minute to run. **How hard:** •••. All
# symbols are in the [table of symbols](symbols.ipynb).
#
# ## Set-up

# %%
import matplotlib.pyplot as plt
import torch
from torch import nn
from torch.testing import assert_close

from course_lib import flow
from course_lib.checkpoint import load as load_checkpoint
from course_lib.checkpoint import metadata
from course_lib.claims import claim
from course_lib.plots import COLOURS, diagram, grid, strip

# %%
from course_lib.data import Batches, load, toys
from course_lib.device import budget, device, seed, seeded
from course_lib.diffusion import drop_labels, guided

x, y = load("digits").train                                       # 4,000 images (4000, 1, 28, 28), labels
x_test, y_test = load("digits").test                              # 1,000
painter = load_checkpoint("flow").to(device())
ten = torch.arange(10)                                            # the digits that we ask for

# %%
# Figure: five rows of ten images. At t = 0 pure noise, from row to row more of a digit in it; at t = 1 the
# digits 0 to 9, clean.
noise = torch.randn(10, 1, 28, 28, generator=seeded(4)).to(device())
states = {0.0: noise}
for i in range(50):
    with torch.no_grad():
        velocity = guided(painter.network, ten, 10, 2.0)(noise, torch.full((10,), i / 50).to(device()))
    noise = noise + velocity / 50
    states[(i + 1) / 50] = noise
strip({f"t = {t}": states[t] / 2 + 0.5 for t in (0.0, 0.4, 0.6, 0.8, 1.0)});

# %% [markdown]
# Each column follows one velocity field from noise to a digit, with nothing random on the way. Half-way the digit is
# decided; the rest is cleaning up.
#
# ## One number, by hand
#
# Let $x$ be data and $\varepsilon$ noise. (Mind the clock: in lesson 61 $t$ counted steps of noise; here $t = 0$ is
# noise and $t = 1$ the image.) The road between them, driven at constant speed, is
#
# $$x_t = (1 - t)\,\varepsilon + t\,x, \qquad \text{velocity } x - \varepsilon$$
#
# Take data that are a single number, $\mathcal N(0, 1)$ like the noise. Then $x_t$ has the variance $(1 - t)^2 +
# t^2$: 1 at both ends, $\tfrac12$ at half time. Many roads with different velocities lead through each place, and the
# best answer to them all, in least squares, is their **mean** (lesson 61). For normal numbers the mean of $a$ given
# $b$ is $\operatorname{cov}(a, b) / \operatorname{var}(b) \cdot b$, and the covariance of $x - \varepsilon$ with
# $x_t$ is $t - (1 - t)$:
#
# $$v(x_t, t) = \mathbb E[x - \varepsilon \mid x_t] = \frac{2t - 1}{(1 - t)^2 + t^2}\; x_t$$
#
# Start at $\varepsilon = 2$ and follow $v$: inwards at first, with velocity $-2$, then outwards again. The solution
# is $2 \sqrt{(1 - t)^2 + t^2}$ (differentiate it), so we end at 2, where we began. Small steps agree; one large step
# does not:

# %%
def v(x_t, t):
    return (2 * t - 1) / ((1 - t) ** 2 + t**2) * x_t

place = 2.0
for i in range(1000):
    place += v(place, i / 1000) / 1000                            # along the velocity for a thousandth
print(f"from 2.00 in a thousand steps to {place:.2f}, in one step to {2.0 + v(2.0, 0.0):.2f}")

# %% [markdown]
# Keep that zero in mind. At $t = 0$ the place says nothing about the data, so $v = \mathbb E[x] - \varepsilon$, and
# one step of length 1 takes *everything* to the mean of the data.

# %%
# Figure: left, forty straight roads between two normal distributions, which cross. Right, what following
# the mean velocity does: forty curves that draw together, part again, and never cross.
eps = torch.randn(40, generator=seeded(0))
data = torch.randn(40, generator=seeded(1))
times = torch.linspace(0, 1, 101)
scale = ((1 - times) ** 2 + times**2).sqrt()                      # standard deviation of x_t
fig, (left, right) = plt.subplots(1, 2, figsize=(7, 2.4), sharey=True)
left.plot([0, 1], torch.stack([eps, data]), color=COLOURS[0], lw=0.9, alpha=0.7)
right.plot(times, scale[:, None] * eps, color=COLOURS[3], lw=0.9, alpha=0.8)
left.set(title="roads", xlabel="time $t$", ylabel="place $x_t$")
right.set(title="paths of the mean velocity", xlabel="time $t$");

# %% [markdown]
# Roads cross, paths cannot: at each place and time there is only one mean velocity.
#
# ## Why the mean is enough
#
# Compare two crowds that start at the same noise. One drives on the roads; each member of the other follows the
# *mean* velocity $v$ of the place where it is. Single members part at once. But let $f$ be any smooth function, and
# ask how its average changes in the first crowd:
#
# $$\frac{d}{dt}\,\mathbb E\, f(x_t) = \mathbb E\big[\nabla f(x_t) \cdot (x - \varepsilon)\big] = \mathbb E\big[\nabla
# f(x_t) \cdot \mathbb E[x - \varepsilon \mid x_t]\big] = \mathbb E\big[\nabla f(x_t) \cdot v(x_t, t)\big] \tag{1}$$
#
# The second step averages first over the roads through one place. The right-hand side is how the average changes in
# the second crowd. Both start alike and obey the same law, so they agree **for every $f$ and at all times**: they
# have the same distribution, and at $t = 1$ the first crowd is the data. So pairing by chance is good enough.
#
# ### The ring, exactly
#
# Eight Gaussians on a ring have means $\mu_k$ and standard deviation $\rho$. Let a road be $x_t = \alpha x + \sigma
# \varepsilon$ with any $\alpha(t)$ and $\sigma(t)$; we shall need other roads soon. If $x$ comes from Gaussian $k$,
# the rule above gives, with $r = (x_t - \alpha \mu_k) / (\alpha^2 \rho^2 + \sigma^2)$,
#
# $$\mathbb E[x \mid x_t, k] = \mu_k + \alpha \rho^2 r, \qquad \mathbb E[\varepsilon \mid x_t, k] = \sigma r$$
#
# The velocity of the road is $\alpha' x + \sigma' \varepsilon$ (dashes are derivatives). Averaged over the eight,
# with the probability of each by Bayes' rule, it is a formula:

# %%
ring = toys.ring(std=0.2)

def straight(t):
    """alpha, its derivative, sigma, its derivative, at the time t."""
    return t, 1.0, 1 - t, -1.0

def mean_velocity(road):
    """The exact v(x_t, t) for the ring, on this road.  x_t (B, 2), t (B,), the same for all -> (B, 2)"""
    def model(x_t, t):
        a, da, s, ds = road(t[0].item())
        away = x_t[:, None] - a * ring.means.to(x_t)              # (B, 8, 2)
        variance = a**2 * ring.std**2 + s**2
        r = away / variance
        weight = (-away.square().sum(2) / (2 * variance)).softmax(1)        # (B, 8): which Gaussian is it?
        each = da * (ring.means.to(x_t) + a * ring.std**2 * r) + ds * s * r                     # (B, 8, 2)
        return (weight[:, :, None] * each).sum(1)
    return model

exact = mean_velocity(straight)

# %% [markdown]
# Two crowds of 20,000 put eq. 1 to the test. We compare how far from the centre they are, by the largest gap between
# the two distribution functions.

# %%
data = ring.sample(20_000, seeded(0))                             # (20000, 2)
eps = torch.randn(20_000, 2, generator=seeded(1))
crowd = torch.randn(20_000, 2, generator=seeded(2))
for i in range(200):
    crowd = crowd + exact(crowd, torch.full((20_000,), i / 200)) / 200
    t = (i + 1) / 200
    if t in (0.5, 0.8, 1.0):
        roads = flow.interpolate(data, eps, torch.full((20_000,), t)).norm(dim=1).sort().values
        below = torch.searchsorted(crowd.norm(dim=1).sort().values, roads)
        gap = (below - torch.arange(20_000)).abs().max() / 20_000
        claim(f"largest gap between the two crowds at t = {t}", gap, "<", 0.03)

# %%
@torch.no_grad()
def paths(model, start, steps=100):
    """Where points are after 0 ... steps steps along the velocity.  (B, 2) -> (steps + 1, B, 2)"""
    states = [start]
    for i in range(steps):
        states.append(states[-1] + model(states[-1], torch.full((len(start),), i / steps)) / steps)
    return torch.stack(states)

# %%
# Figure: left, 100 straight roads from the noise in the centre to the eight modes of the data, a thicket
# of crossings. Right, the paths of the mean velocity from the same starting points: they move together to
# the centre and bend outwards to the nearest mode, without crossing.
fig, panels = plt.subplots(1, 2, figsize=(6.4, 3.3), sharey=True)
both = {"roads": torch.stack([eps[:100], data[:100]]),
        "paths of the mean velocity": paths(exact, eps[:100])}
for ax, (name, lines), colour in zip(panels, both.items(), (COLOURS[0], COLOURS[3])):
    ax.plot(lines[:, :, 0], lines[:, :, 1], color=colour, lw=0.6)
    ax.scatter(lines[-1, :, 0], lines[-1, :, 1], s=6, color=COLOURS[7], zorder=3)
    ax.set(title=name, xlim=(-3, 3), ylim=(-3, 3), aspect="equal", xlabel="$x_1$")
panels[0].set_ylabel("$x_2$");

# %% [markdown]
# Both end in the same eight clusters. The paths go to the centre first, and then bend towards one mode.
#
# ## What we will build

# %%
# Figure: image and noise are mixed into a place on the road between them, at a time t; with time and label
# it enters a network, which answers with a velocity; in training a loss compares the velocity with image
# minus noise; in sampling a step follows it.
road = "place on the road\n(1 - t) ε + t x\n(B, 1, 28, 28)"
network = "network\nU-Net or DiT"
velocity = "velocity\n(B, 1, 28, 28)"
loss = "training: mean of\n(x - ε - velocity)²"
step = "sampling: place +=\nvelocity / steps"
diagram({"image x\n(B, 1, 28, 28)": (0, 1.6), "noise ε\n(B, 1, 28, 28)": (0, 0.2), road: (2.4, 0.9),
         "time t (B,)\nlabel y (B,)": (4.6, 0), network: (4.6, 1.2), velocity: (6.6, 0.9), loss: (9, 1.6),
         step: (9, 0.2)},
        [("image x\n(B, 1, 28, 28)", road), ("noise ε\n(B, 1, 28, 28)", road), (road, network),
         ("time t (B,)\nlabel y (B,)", network), (network, velocity), (velocity, loss), (velocity, step)],
        {network: COLOURS[0], loss: COLOURS[1]}, size=(9, 2.4));

# %% [markdown]
# One network (blue) and one loss term (orange). In sampling the place that a step reaches enters the network again.
#
# ## A network learns it
#
# With the weights $\theta$ the loss is $\mathbb E_{x,\,\varepsilon,\,t}\, \| (x - \varepsilon) - v_\theta(x_t, t)
# \|^2$, three lines. The network is the one of lesson 61's toy.

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

def velocity_loss(model, x):
    eps = torch.randn_like(x)
    t = torch.rand(len(x))
    x_t = (1 - t)[:, None] * eps + t[:, None] * x
    return {"loss": (model(x_t, t) - (x - eps)).square().mean()}

# %% [markdown]
# The library's `flow_loss` takes images too, and a choice of times; and examples can be made to count more or less (`weight`, for
# lesson [82](82_bias.ipynb)). With uniform times it must be ours.

# %%
import inspect

print(inspect.getsource(flow.flow_loss))
toy = Toy()
seed(1)
mine = velocity_loss(toy, data[:512])["loss"]
seed(1)                                                           # the same noise and times again
assert_close(flow.flow_loss(toy, data[:512], times=flow.uniform)["loss"], mine)

# %%
from course_lib.train import fit

def train_toy(loss, *tensors, start=None):
    seed(0)
    net = Toy()
    if start is not None:
        net.load_state_dict(start.state_dict())
    fit(net, loss, Batches(*tensors, batch_size=256), steps=1000, lr=5e-3, warmup=50, decay=0.6, ema=0.99)
    return net

toy = train_toy(velocity_loss, data)

# %% [markdown]
# The loss cannot go to zero: roads that cross have different velocities, and their spread is left. But the formula
# says what the network should answer, so we can measure how far it is from that, and how far single roads are.

# %%
def distance_from_exact(t, model=None):
    """Root mean square over points of the roads at time t, of a model, or of the roads' own velocities."""
    times = torch.full((4_000,), t)
    x_t = flow.interpolate(data[:4_000], eps[:4_000], times)
    with torch.no_grad():
        answer = data[:4_000] - eps[:4_000] if model is None else model(x_t, times)
        return (answer - exact(x_t, times)).square().mean().sqrt().item()

for t in (0.1, 0.5, 0.9):
    claim(f"distance from the exact velocity at t = {t}, network", distance_from_exact(t, toy), "<", 0.3)
    claim(f"distance from the exact velocity at t = {t}, single roads", distance_from_exact(t), ">", 0.9)

# %%
def share_on_modes(points):
    """The share of points within three standard deviations of one of the eight means."""
    return (torch.cdist(points.float(), ring.means).min(1).values < 3 * ring.std).float().mean()

# %%
start = torch.randn(2_000, 2, generator=seeded(3))
sampled = flow.midpoint(toy, start, 30)
reached = torch.cdist(sampled, ring.means).argmin(1).unique()
print(f"{len(reached)} modes of 8 are reached")
claim("share of sampled points on a mode, network", share_on_modes(sampled), ">", 0.9)
claim("share of data on a mode", share_on_modes(data), ">", 0.98)

# %% [markdown]
# ## Steps, and what they cost
#
# Following $v$ means solving a differential equation, $\frac{dx_t}{dt} = v(x_t, t)$. **Euler's** method steps along
# the velocity where it stands. The **midpoint** method looks half a step ahead, and takes the whole step with the
# velocity that it finds *there*: two evaluations of the network a step.

# %%
def midpoint(model, x, steps):
    for i in range(steps):
        half = x + model(x, torch.full((len(x),), i / steps)) / (2 * steps)
        x = x + model(half, torch.full((len(x),), (i + 0.5) / steps)) / steps
    return x

assert_close(flow.midpoint(exact, start, 7), midpoint(exact, start, 7))

# %% [markdown]
# **Write down a guess:** if the number of evaluations doubles, by what factor does each method's error shrink? We use
# the exact velocity and double precision, and compare with 500 steps.

# %%
precise = start[:500].double()
truth = flow.midpoint(exact, precise, 500)
evaluations = [2, 4, 8, 16, 32, 64, 128]

def errors(model):
    """Mean distance from where the path really ends, for each number of evaluations, by both methods."""
    found = {"Euler": [], "midpoint": []}
    for n in evaluations:
        found["Euler"].append((flow.euler(model, precise, n) - truth).norm(dim=1).mean().item())
        found["midpoint"].append((flow.midpoint(model, precise, n // 2) - truth).norm(dim=1).mean().item())
    return found

of_flow = errors(exact)

# %%
for method, least in {"Euler": 1.9, "midpoint": 3}.items():
    at_64, at_128 = of_flow[method][5:]
    claim(f"error at 64 evaluations, as a multiple of that at 128, {method}", at_64 / at_128, ">", least)

# %%
# Figure: the error of both methods over 2 to 128 evaluations of the network, both axes logarithmic.
fig, ax = plt.subplots(figsize=(5, 2.7))
for name, values in of_flow.items():
    ax.loglog(evaluations, values, "o-", label=name)
ax.set(xlabel="evaluations of the velocity", ylabel="distance from the end", xticks=evaluations,
       xticklabels=evaluations)
ax.minorticks_off()
ax.legend();

# %% [markdown]
# The midpoint's line is steeper, but starts higher.
#
# <details><summary>Answer</summary>
#
# Euler is of *first order*: its error halves. Midpoint is of *second order*: a quarter or less. With four evaluations
# or fewer Euler is better here.
# </details>
#
# ## How straight?
#
# A path that is straight and driven at constant speed needs a single step. So how far is the velocity on the way from
# the average velocity $x_1 - x_0$, between the ends of the path? As a share of the velocity's own square this is the
# **straightness**, 0 on straight paths (after Liu et al., 2023, section 2.2):
#
# $$S = \int_0^1 \mathbb E\, \big\| v(x_t, t) - (x_1 - x_0) \big\|^2 dt \Big/ \int_0^1 \mathbb E\, \| v(x_t, t) \|^2 dt$$
#
# We compare with diffusion. In continuous time its road is $\alpha = \sqrt{\bar\alpha}$, $\sigma = \sqrt{1 -
# \bar\alpha}$, run backwards. That is one more choice in the formula for the ring: diffusion, too, has a velocity
# that can be followed without noise.

# %%
def diffusion_road(t):
    """Lesson 61's linear schedule with infinitely many steps: beta falls from 20 to 0.1."""
    beta = 0.1 + 19.9 * (1 - t)
    total = 0.1 * (1 - t) + 19.9 * (1 - t) ** 2 / 2               # beta, added up from t to the end
    a = torch.tensor(-total / 2).exp().item()
    s = max(1 - a**2, 1e-12) ** 0.5
    return a, a * beta / 2, s, -a * a * beta / (2 * s)

diffusion = mean_velocity(diffusion_road)
of_diffusion = errors(diffusion)
claim("straightness S of the paths of flow", flow.straightness(exact, precise, 100), ">", 0.5)
claim("straightness S of the paths of diffusion", flow.straightness(diffusion, precise, 100), ">", 0.5)
end = flow.midpoint(diffusion, precise, 500)
claim("mean distance between the ends of both paths", (end - truth).norm(dim=1).mean(), "<", 0.02)

# %% [markdown]
# Neither is straight! Straight *roads* do not make straight *paths*. But both lead from each noise to the same end:
# on any road, $x_t / (\alpha + \sigma)$ lies on the straight one, at the time $\alpha / (\alpha + \sigma)$. They are
# the same paths in other coordinates, on another clock. (And lesson 61's target $v$ is, up to its sign, the velocity
# on the quarter circle $\alpha = \sin\varphi$, $\sigma = \cos\varphi$.) **Flow matching and diffusion are one
# model.** What differs is which times the loss weighs most, and what a solver with few steps makes of the path:

# %%
print("evaluations".ljust(24) + "".join(f"{n:8}" for n in evaluations))
for road, found in {"flow": of_flow, "diffusion": of_diffusion}.items():
    for method, values in found.items():
        print(f"{road + ', ' + method:24}" + "".join(f"{value:8.3f}" for value in values))
claim("midpoint's error at 16 evaluations, diffusion's as a multiple of flow's",
      of_diffusion["midpoint"][3] / of_flow["midpoint"][3], ">", 5, digits=1)
claim("Euler's error at 16 evaluations, diffusion's as a multiple of flow's",
      of_diffusion["Euler"][3] / of_flow["Euler"][3], "<", 1.5, digits=1)

# %% [markdown]
# With the midpoint method the straight road wins by far. With Euler's, diffusion is worse up to 8 evaluations, and as
# good or better from 16 on.
#
# ### Straighter: reflow
#
# The paths bend because roads cross, and roads cross because chance did the pairing. But now we have a better
# pairing: each noise with the place where *its* path ends. A second network learns from those pairs (Liu et al.).

# %%
noise = torch.randn(20_000, 2, generator=seeded(5))
ends = flow.midpoint(toy, noise, 20)

def pair_loss(model, eps, x):
    t = torch.rand(len(x))
    return {"loss": (model(flow.interpolate(x, eps, t), t) - (x - eps)).square().mean()}

reflow = train_toy(pair_loss, noise, ends, start=toy)
one_step = {"flow": flow.euler(toy, start, 1), "reflow": flow.euler(reflow, start, 1)}
claim("straightness S of the learned flow", flow.straightness(toy, start, 100), ">", 0.5)
claim("straightness S after reflow", flow.straightness(reflow, start, 100), "<", 0.01)
claim("share on a mode after one step, flow", share_on_modes(one_step["flow"]), "<", 0.05)
claim("share on a mode after one step, reflow", share_on_modes(one_step["reflow"]), ">", 0.7)

# %% tags=["nbval-ignore-figure"]
# Figure: three panels, one coordinate of thirty points over time. Diffusion: all stay where they are for
# half the time, then fan out in bends. Flow: in to the middle, then out. Reflow: straight lines from
# beginning to end.
# not compared: the last panel shows a network that was trained in this lesson
fig, panels = plt.subplots(1, 3, figsize=(8, 2.4), sharey=True)
for ax, (name, model) in zip(panels, {"diffusion": diffusion, "flow": exact, "reflow": reflow}.items()):
    states = paths(model, eps[:30])                               # (101, 30, 2)
    ax.plot(torch.linspace(0, 1, 101), states[:, :, 0], color=COLOURS[3], lw=0.9, alpha=0.8)
    ax.set(title=name, xlabel="time $t$")
panels[0].set_ylabel("$x_1$");

# %% [markdown]
# Diffusion waits, then bends; flow draws in first; after reflow the lines are straight, and one step is enough. The
# price: reflow learns from *generated* pairs, and inherits the errors of the first network.
#
# ## Which times? *(optional)*
#
# Nothing in eq. 1 says how often to train at each $t$. Esser et al. (2024) prefer the middle, where it is decided
# what the image will be: times are the sigmoid of a normal number, **logit-normal**. **Write down a guess:** where
# does that help on the ring, and where does it hurt?

# %%
when = [0.02, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.98]
toy_middle = train_toy(flow.flow_loss, data)                      # its default times are logit-normal
uniform = [distance_from_exact(t, toy) for t in when]
middle = [distance_from_exact(t, toy_middle) for t in when]
for i in (0, -1):
    claim(f"distance from exact at t = {when[i]}, logit-normal's as a multiple of uniform's",
          middle[i] / uniform[i], ">", 1.2, digits=2)

# %% tags=["nbval-ignore-figure"]
# Figure: left, the density of both choices of times, a flat line and a hill. Right, for a network trained
# with each, the distance from the exact velocity over time.
# not compared: the right half belongs to networks that were trained in this lesson
fig, (left, right) = plt.subplots(1, 2, figsize=(7.4, 2.5))
moment = torch.linspace(0.002, 0.998, 300)
hill = (-moment.logit() ** 2 / 2).exp() / (2 * torch.pi) ** 0.5 / (moment * (1 - moment))
left.plot([0, 1], [1, 1], label="uniform")
left.plot(moment, hill, label="logit-normal")
left.set(xlabel="time $t$", ylabel="density", ylim=(0, None))
left.legend()
right.plot(when, uniform, "o-", ms=4)
right.plot(when, middle, "o-", ms=4)
right.set(xlabel="time $t$", ylabel="distance from exact", ylim=(0, None));

# %% [markdown]
# The curves agree in the middle and part at the ends.
#
# <details><summary>Answer</summary>
#
# It helps a little in the middle, which is easy here anyway, and hurts at both ends. On digits, errors in the last
# moments are too small to be seen.
# </details>
#
# ## Digits
#
# The same loss with logit-normal times and the U-Net of lesson 61. As in lesson 63 one label in ten is dropped, and
# **guidance** of scale $s = 2$ exaggerates what the label changes: $v_\text{none} + s\,(v_\text{label} -
# v_\text{none})$. (`autocast=True` multiplies in bfloat16 where that is faster.)

# %%
from functools import partial

from course_lib.metrics import control_accuracy
from course_lib.muon import muon_unet
from course_lib.unet import UNet, UNetConfig

def digit_loss(model, x, y):
    return flow.flow_loss(partial(model, y=drop_labels(y, 10)), 2 * x - 1)  # from -1, white, to 1, ink

# %%
seed(0)
net = UNet(UNetConfig(n_class=10)).to(device(), memory_format=torch.channels_last)
fit(net, digit_loss, Batches(x.to(device()), y.to(device()), batch_size=32),
    steps=budget(cpu=300, gpu=5_000), warmup=50, decay=0.6, ema=0.98, optimizer=muon_unet, autocast=True);

# %%
def sample(network, labels, solve=flow.midpoint, steps=15, n_seed=1):
    """Images (B, 1, 28, 28) in [0, 1] of these labels (B,), guided with scale 2."""
    noise = torch.randn(len(labels), 1, 28, 28, generator=seeded(n_seed)).to(device())
    model = guided(network, labels.to(device()), 10, 2.0)
    return (solve(model, noise, steps) / 2 + 0.5).clamp(0, 1).cpu()

sixty = torch.arange(60) % 10
for name, network, least in (("trained here", net, 0.6), ("shipped", painter.network, 0.97)):
    share = control_accuracy(None, sample(network, sixty, steps=6, n_seed=2), sixty)
    claim(f"share of 60 samples that show the digit asked for, {name}", share, ">=", least)

# %% tags=["nbval-ignore-figure"]
# Figure: three rows of the digits 0 to 9: real ones; those of the network trained just now, with ragged
# strokes; and those of the shipped checkpoint, clean.
# not compared: the second row is sampled by the network that was trained in this lesson
real = torch.stack([x_test[y_test == c][0] for c in range(10)])
strip({"real": real, "trained here": sample(net, ten), "shipped": sample(painter.network, ten)});

# %% [markdown]
# Three hundred batches give ragged digits, sixteen thousand by the same loss clean ones. (On the leaderboard
# the shipped network is also guided away from a weaker one: eq. 4 of lesson 63. Not here.)
#
# ### Predict, then turn one knob: how few steps?
#
# **Write down a guess:** what does the shipped network make of one Euler step? (You have seen it in one dimension.)

# %%
counts = [1, 2, 4, 8, 32]
by_euler = {f"steps: {n}": sample(painter.network, ten, flow.euler, n) for n in counts}

means = torch.stack([x[y == c].mean(0) for c in range(10)])       # (10, 1, 28, 28)
velocity = partial(painter.network, y=ten.to(device()))           # no guidance
noise = torch.randn(10, 1, 28, 28, generator=seeded(1)).to(device())
one_step = (flow.euler(velocity, noise, 1) / 2 + 0.5).cpu()
off = (one_step - means).square().mean().sqrt()
claim("distance of one step, not guided, from the mean of its class (RMS of grey values)", off, "<", 0.12)
claim("straightness S of the paths to digits", flow.straightness(velocity, noise, 32), "<", 0.1)

# %%
# Figure: five rows of the same ten digits, sampled by Euler's method with 1, 2, 4, 8 and 32 steps.
strip(by_euler);

# %% [markdown]
# Compare the first row with the last, then find the first row that will do.
#
# <details><summary>Answer</summary>
#
# One step gives grey blurs: the mean of each class, sharpened by guidance. From four or eight on, the digits hardly
# change. These paths are far straighter than the ring's: most of the velocity is minus the noise, 784 numbers that are
# known from the beginning.
# </details>
#
# ## A transformer in place of the U-Net
#
# The loss does not care about the network. Peebles & Xie (2023) took a plain transformer, the **DiT**. Its tokens are
# patches of the image.

# %%
from course_lib import dit

def patchify(x, p):
    """(B, 1, 28, 28) -> (B, 28/p * 28/p, p * p)"""
    n = 28 // p
    return x.view(-1, n, p, n, p).permute(0, 1, 3, 2, 4).reshape(-1, n * n, p * p)

tokens = patchify(x_test[:3], 4)                                  # (3, 49, 16)
assert_close(tokens, dit.patchify(x_test[:3], 4))
assert_close(dit.unpatchify(tokens, 4, 28), x_test[:3])
print(f"{(tokens[0].amax(1) == 0).sum()} of the 49 tokens of a zero see only paper")

# %%
# Figure: a zero; beside it the same zero, cut into 7 × 7 patches of 4 × 4 pixels, with gaps between them.
_, panels = plt.subplots(1, 2, figsize=(4.4, 2.2))
grid(x_test[:1], ax=panels[0], title="a digit")
grid(0.1 + 0.9 * tokens[0].view(49, 1, 4, 4), n_col=7, ax=panels[1], title="its 49 tokens");

# %% [markdown]
# To the transformer this is a sentence of 49 words.
#
# Every token must hear the time and the label. DiT says it through the norms: a LayerNorm's scale and shift are
# computed from them by a linear layer, for each image anew (**adaLN**), and so is a *gate* for what attention and MLP
# add. Gates start at **zero**, so at first a block passes on what it got (adaLN-*Zero*).

# %%
def dit_block(block, h, emb):
    """h (B, T, C), emb (B, C) -> (B, T, C)"""
    parts = block.modulation(emb)[:, None].chunk(6, dim=2)        # 6 x (B, 1, C)
    scale1, shift1, gate1, scale2, shift2, gate2 = parts
    h = h + gate1 * block.attend(block.norm1(h) * (1 + scale1) + shift1)
    return h + gate2 * block.mlp(block.norm2(h) * (1 + scale2) + shift2)

seed(2)
block = dit.DiTBlock(64, n_head=4)
h = torch.randn(3, 49, 64)
emb = torch.randn(3, 64)
assert torch.equal(dit_block(block, h, emb), h)                   # the gates are closed
nn.init.normal_(block.modulation.weight, std=0.1)
assert_close(block(h, emb), dit_block(block, h, emb))
print("        emb =" + inspect.getsource(dit.DiT.forward).split("emb =")[1])

# %% [markdown]
# ### At equal time, and at equal arithmetic
#
# Which is better? It depends on what is equal. Three trainings by this lesson's loss, all sampled in 15 midpoint steps
# with guidance 2, are written into the metadata of checkpoints: DiT and U-Net for about a minute of one core, and a
# U-Net that stopped at the DiT's number of operations (FLOPs). **Write down a guess:** in what order do they come?

# %%
from torch.utils.flop_counter import FlopCounterMode

def flops(network):
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        network(x[:1], 0.5, 3)
    return counter.get_total_flops()

per_image = {"DiT": flops(load_checkpoint("dit_minute").network),
             "U-Net": flops(load_checkpoint("flow_minute").network)}
runs = {"DiT": metadata("dit_minute"), "U-Net": metadata("flow_minute"),
        "U-Net, equal FLOPs": metadata("dit_minute")["unet_with_equal_flops"]}
for name, run in runs.items():
    print(f"{name:19} {run['steps']:5} batches, {run['seconds']:2.0f} s: Fréchet distance "
          f"{run['metrics']['frechet']:4.1f}, digit asked for {run['metrics']['control']:.1%}")

# %%
spent = runs["DiT"]["steps"] * per_image["DiT"]
allowed = runs["U-Net, equal FLOPs"]["steps"] * per_image["U-Net"]
claim("operations of the DiT's training, as a multiple of the last one's", spent / allowed, ">", 0.98)
for name in ("U-Net", "U-Net, equal FLOPs"):
    behind = runs["DiT"]["metrics"]["frechet"] / runs[name]["metrics"]["frechet"]
    claim(f"Fréchet distance of the DiT, as a multiple of that of {name}", behind, ">", 5, digits=1)

# %% [markdown]
# The U-Net wins both ways. That strokes may be anywhere, and that neighbours belong together, is built into a
# convolution; the transformer must learn it, in a minute, from 4,000 images.
#
# ## One minute for everybody
#
# Every family had 61 to 77 seconds of one core with the recipe of its lesson and fewer steps (the Gaussians need
# less). The trainings differ in size; diffusion, flow and DiT have Muon; flow and DiT are guided with scale 2. Real
# training digits and noise are ceiling and floor.

# %%
from course_lib.leaderboard import leaderboard

minute = ("class_gaussians", "gaussian_mixture", "autoencoder", "vae_minute", "vae_mixture_minute",
          "gan_minute", "conditional_gan_minute", "ddpm_minute", "flow_minute", "dit_minute")
leaderboard("training_digits", *minute, "noise")

# %%
frechet = {name: metadata(name)["metrics"]["frechet"] for name in minute}
error = {name: metadata(name)["metrics"]["frechet_error"] for name in minute}
apart = frechet["flow_minute"] - frechet["conditional_gan_minute"]
claim("Fréchet distance by which flow is behind the GAN with labels", apart, "<",
      round(error["flow_minute"], 2))
claim("Fréchet distance of the GAN without labels, as a multiple of that with labels",
      frechet["gan_minute"] / frechet["conditional_gan_minute"], ">", 3, digits=1)
claim("Fréchet distance of DDPM, as a multiple of that of the GAN, both without labels",
      frechet["ddpm_minute"] / frechet["gan_minute"], ">", 2, digits=1)

# %%
# Figure: ten rows of ten samples, best distance first. The upper rows are clean digits, the DiT's fall
# apart into patches, and the Gaussians' in the last two rows are smeared.
rows = {}
for row in leaderboard(*minute).rows:
    labels = [ten] if "control" in row["metrics"] else []         # it can be asked for a digit
    rows[row["name"]] = load_checkpoint(row["name"]).sample(10, *labels, generator=seeded(3))
strip(rows);

# %% [markdown]
# Rows that show 0 to 9 in order were asked for. The GAN with labels and flow come first, and 1,000 images cannot say
# which of the two. Read the rest with care: these are single runs; the VAEs have crisp logits and one has a fitted
# prior, which also take the autoencoder from 16.8 to 1.3 (lesson 31); and the GAN samples in one evaluation, flow in
# 60. For the GAN we have both: **labels divide its distance by more than three.**
#
# ## Break it: the clock runs backwards
#
# Half of the papers put the noise at $t = 0$, as we do; half at $t = 1$, as Stable Diffusion 3 does. Take a network
# from one and a sampler from the other, and every shape fits. Two changes are needed: their clock is $1 - t$, and
# their velocity *minus* ours.

# %%
def for_their_sampler(model, clock=True, sign=True):
    """Our model for a sampler that goes from noise at t = 1 to the image at t = 0."""
    def velocity(x_t, t):
        ours = model(x_t, 1 - t if clock else t)
        return -ours if sign else ours
    return velocity

def their_euler(model, x, steps):
    for i in range(steps):
        x = x - model(x, torch.full((len(x),), 1 - i / steps, device=x.device)) / steps
    return x

# %% [markdown]
# **Write down a guess:** what do you get if you forget the one change, the other, or both?

# %%
forgotten = {"nothing": {}, "clock": {"clock": False}, "sign": {"sign": False},
             "both": {"clock": False, "sign": False}}
broken = {}
for name, slip in forgotten.items():
    noise = torch.randn(30, 1, 28, 28, generator=seeded(1)).to(device())
    asked = sixty[:30]
    with torch.no_grad():
        model = for_their_sampler(guided(painter.network, asked.to(device()), 10, 2.0), **slip)
        broken[name] = (their_euler(model, noise, 12) / 2 + 0.5).clamp(0, 1).cpu()
    share = control_accuracy(None, broken[name], asked)
    op, bound = (">", 0.9) if name == "nothing" else ("<", 0.5)
    claim(f"share of 30 samples that show the digit asked for, forgotten: {name}", share, op, bound)

# %%
# Figure: four rows of ten samples, with both changes, without the clock, without the sign, without both.
strip({f"forgotten: {name}": images[:10] for name, images in broken.items()});

# %% [markdown]
# Three slips, two outcomes.
#
# <details><summary>Answer</summary>
#
# The wrong clock gives dark ghosts of digits, the wrong sign noise in black and white, alone or with the wrong clock.
# </details>
#
# No error message, and a loss that looks as always. The repair is both changes; the protection is a test from the
# example by hand: at pure noise the velocity must be *mean minus noise*.

# %%
noise = torch.randn(10, 1, 28, 28, generator=seeded(4)).to(device())
expected = noise - (2 * means - 1).to(device())                   # theirs: minus our velocity
for name, slip in forgotten.items():
    with torch.no_grad():
        answer = for_their_sampler(velocity, **slip)(noise, torch.ones(10, device=device()))
    off = (answer - expected).square().mean().sqrt()
    op, bound = ("<", 0.3) if name == "nothing" else (">", 0.5)
    claim(f"RMS from noise minus mean, forgotten: {name}", off, op, bound)

# %% [markdown]
# ## In the wild
#
# Stable Diffusion 3 is this lesson with an autoencoder in front (lesson 31) and a larger transformer. Its sampler is
# `FlowMatchEulerDiscreteScheduler`: Euler's method with *sigma* for $1 - t$. It takes our network once both changes are
# made. On a GPU:
#
# ```python
# import torch
# from diffusers import FlowMatchEulerDiscreteScheduler     # pip install diffusers
#
# scheduler = FlowMatchEulerDiscreteScheduler()
# scheduler.set_timesteps(sigmas=[1 - i / 20 for i in range(20)])
# for sigma, time in zip(scheduler.sigmas, scheduler.timesteps):
#     t = (1 - sigma).expand(len(x_t)).to(x_t)
#     with torch.no_grad():
#         x_t = scheduler.step(-network(x_t, t, y), time, x_t).prev_sample
# ```

# %% [markdown]
# ## Recap
#
# 1. Join noise and data by straight roads; a network learns the mean velocity by least squares.
# 2. A crowd that follows the mean velocity has, at all times, the distribution of the crowd on the roads.
# 3. Paths still bend. Solvers differ in order; reflow makes paths so straight that one step is enough.
# 4. Diffusion and flow are one model in other coordinates, on another clock.
# 5. At equal time and at equal arithmetic, a small U-Net beats a small transformer on 4,000 digits.
#
# **What we left out.** Better pairs within a batch (Tong et al., 2024); the exact likelihood along a path; one step by
# distillation, which lesson 86 tries and lesson 66 (to come) takes further.
#
# **Exercises:** [64_flow_matching](../exercises/64_flow_matching/64_flow_matching.ipynb). One more: what is $v$ if the
# noise is no noise but *other images*, sevens at $t = 0$ and ones at $t = 1$? **Next**, [lesson
# 65](65_text_to_image.ipynb): from a label to a sentence.
#
# ## Read on
#
# - Y. Lipman et al., *Flow matching for generative modeling* (2023), [arXiv:2210.02747](https://arxiv.org/abs/2210.02747).
#   At the same time: X. Liu, C. Gong & Q. Liu, *Flow straight and fast* (2023),
#   [arXiv:2209.03003](https://arxiv.org/abs/2209.03003), and M. Albergo & E. Vanden-Eijnden, *Building normalizing flows
#   with stochastic interpolants* (2023), [arXiv:2209.15571](https://arxiv.org/abs/2209.15571).
# - W. Peebles & S. Xie, *Scalable diffusion models with transformers* (2023),
#   [arXiv:2212.09748](https://arxiv.org/abs/2212.09748).
# - P. Esser et al., *Scaling rectified flow transformers for high-resolution image synthesis* (2024),
#   [arXiv:2403.03206](https://arxiv.org/abs/2403.03206): logit-normal times, Stable Diffusion 3.
# - A. Tong et al., *Improving and generalizing flow-based generative models with minibatch optimal transport* (2024),
#   [arXiv:2302.00482](https://arxiv.org/abs/2302.00482).
# - In the library: `flow.py` (`interpolate`, `flow_loss`, `logit_normal`, `euler`, `midpoint`, `straightness`),
#   `dit.py`, `pipeline.py`.
