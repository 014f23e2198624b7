# %% [markdown]
# # 63 · Ask for a seven, and be heard: guidance
#
# The generator of lesson 61 draws what it likes. This lesson lets you say what you want. Telling the network the
# label is easy, and not enough: it listens, but not very carefully. **Classifier-free guidance** (Ho & Salimans,
# 2022) makes it listen harder. One network gives two guesses of the noise, one *with* the label $y$ and one *without*
# it ($\varnothing$, the empty label), and we walk along the difference, further than either of them says:
#
# $$\hat\varepsilon = \varepsilon_\theta(x_t, t, \varnothing) + s\,\big(\varepsilon_\theta(x_t, t, y) -
# \varepsilon_\theta(x_t, t, \varnothing)\big) \tag{1}$$
#
# The number $s$ is the **scale**; the line is behind nearly every image that a text-to-image model has drawn. We
# shall see why it works, what it costs, and how it does without a label. At the end the same network completes
# half-erased digits. The picture below shows the scale at work.
#
# **You need** lessons [13](13_discriminative_vs_generative.ipynb) (Bayes' rule, precision and recall),
# [51](51_attention.ipynb) (embeddings) and [61](61_ddpm.ipynb) (diffusion). All symbols are in the
# [table of symbols](symbols.ipynb). **It takes** about an hour to read and 50 seconds to run on a laptop CPU.
#
# ## Set-up

# %%
import inspect
from functools import partial

import matplotlib.pyplot as plt
import torch
from torch import nn
from torch.testing import assert_close

from course_lib import diffusion
from course_lib.checkpoint import load as load_checkpoint
from course_lib.claims import claim
from course_lib.data import Batches, load, toys
from course_lib.device import seed, seeded
from course_lib.pipeline import pipeline_loss
from course_lib.plots import COLOURS, curves, field, strip
from course_lib.train import fit
(x, y), (x_test, y_test) = load("digits")[:2]                     # 4,000 and 1,000 images (N, 1, 28, 28)

# %%
# Figure: four rows of ten images from one network and the same noise, asked for the digits 0 to 9. At
# scale 0 it draws what it likes; at 1 the digits asked for, though some are faint; at 3 they are firmer;
# at 12 heavy and black, and one has fallen apart.
painter, digits = load_checkpoint("conditional_ddpm"), torch.arange(10)
strip({f"scale {s}": painter.sample(10, digits, seeded(0), guidance=s, steps=20) for s in (0, 1, 3, 12)});

# %% [markdown]
# ## One number, two guesses
#
# Let $x$ be a child's height, compared with the mean, and $y$ that of the parents; in these units $x = y + u$ with
# $y$ and $u$ independent standard normal numbers. Who knows nothing about the parents believes $p(x) = \mathcal N(0,
# 2)$. Who knows that $y = 0$ believes $p(x \mid y) = \mathcal N(0, 1)$.
#
# Lesson 61 has shown that guessing noise is the same as knowing the **score**, the gradient of the log-density. For
# $\mathcal N(0, \sigma^2)$ it is $-x / \sigma^2$. At $x = 1$ the guess without the label is therefore $-\tfrac12$,
# the one with it $-1$. Guidance with $s = 3$ says
#
# $$-\tfrac12 + 3 \cdot \big({-1} - ({-\tfrac12})\big) = -2$$
#
# A step twice as long as the label alone would have made it. Of which density is that the score? Of $\mathcal N(0,
# \tfrac12)$: a child that is even more like its parents than children are.

# %%
def guided_score(x, s):
    without, with_label = -x / 2, -x / 1                          # the variances are 2 and 1
    return without + s * (with_label - without)

[guided_score(1.0, s) for s in (0, 1, 2, 3)]

# %% [markdown]
# In general, by Bayes' rule, $p(x \mid y) = p(x)\, p(y \mid x) / p(y)$. Take logarithms and gradients; $p(y)$ does
# not depend on $x$ and drops out:
#
# $$\nabla_x \log p(x \mid y) - \nabla_x \log p(x) = \nabla_x \log p(y \mid x) \tag{2}$$
#
# The difference of the two guesses is the gradient of a **classifier** that nobody trained. It points to where the
# label would be more certain. Put it into eq. 1:
#
# $$\nabla_x \log p(x \mid y) + (s - 1)\, \nabla_x \log p(y \mid x) = \nabla_x \log\; p(x \mid y)\, p(y \mid x)^{s - 1}
# \tag{3}$$
#
# So guidance follows the score of a **tilted** density: that of the class, times the classifier's opinion to the
# power $s - 1$. In our example $e^{-x^2/2}\,(e^{-x^2/4})^{2} = e^{-x^2}$, which is $\mathcal N(0, \tfrac12)$ indeed.
#
# ## Build it in the open: three classes in the plane
#
# Six Gaussians, two for each class. One half of the blue class lies alone, the other half overlaps with the orange
# class. All densities are formulas, with noise as well, just as in lesson 61.

# %%
means = torch.tensor([[-1.6, 0.6], [0.3, 0.6], [1.1, 0.6], [1.4, -1.0], [-0.9, -1.2], [0.2, -1.2]])
of_class, a_toy, null = torch.tensor([0, 0, 1, 1, 2, 2]), diffusion.linear_alphas_cumprod(100), 3
everything = toys.Gaussians(means, 0.35, of_class)
known = [toys.Gaussians(means[of_class == c], 0.35, of_class[of_class == c])
         for c in range(3)] + [everything]

def noisy(density, t):
    """The exact density of x_t, for a whole number t."""
    a = a_toy[t].item()
    return toys.Gaussians(a**0.5 * density.means, (a * density.std**2 + 1 - a) ** 0.5, density.labels)

def exact_eps(x_t, t, y):
    """E[eps | x_t, y], by eq. 2 of lesson 61.  x_t (B, 2), t (B,), all the same; y (B,), 3 is no label"""
    place = x_t.detach().requires_grad_()
    with torch.enable_grad():
        log_p = torch.stack([noisy(density, t[0]).log_prob(place) for density in known], dim=1)    # (B, 4)
        score, = torch.autograd.grad(log_p.gather(1, y[:, None]).sum(), place)
    return -(1 - a_toy[t[0]]).sqrt() * score

def posterior(x_t, t, c=0):
    """p(c | x_t) by Bayes' rule; each class has a third of the points.  (B, 2) -> (B,)"""
    return (noisy(known[c], t).log_prob(x_t) - noisy(everything, t).log_prob(x_t)).exp() / 3

# %% [markdown]
# Eq. 2 says that we never need a classifier: its gradient is the difference of two guesses, here rescaled from noise
# to scores. Is it so?

# %%
t = 15
points = everything.sample(500, seeded(0)).requires_grad_()
of_classifier, = torch.autograd.grad(posterior(points, t).log().sum(), points)
times, blue, no_label = torch.full((500,), t), torch.full((500,), 0), torch.full((500,), null)
difference = exact_eps(points, times, blue) - exact_eps(points, times, no_label)
assert_close(-difference / (1 - a_toy[t]).sqrt(), of_classifier, atol=1e-3, rtol=1e-3)

# %%
# Figure: left, the three classes, blue with two modes of which the right one runs into orange. Right, the
# darker a place, the more probable blue is there; arrows along the difference of the two guesses lead away
# from the other classes, to the upper left, and vanish where blue is certain.
fig, (left, right) = plt.subplots(1, 2, figsize=(8.4, 3.9), sharey=True)
some, its_class = everything.sample_labelled(900, seeded(1))
for c in range(3):
    left.scatter(*some[its_class == c].T, s=5, color=COLOURS[c])
field(lambda p: posterior(p, t), ax=right, cmap="Blues", vmin=0, vmax=1.6)
lattice = torch.cartesian_prod(*[torch.linspace(-2.6, 2.6, 14)] * 2)
size = len(lattice)
arrows = exact_eps(lattice, torch.full((size,), t), torch.full((size,), null)) - exact_eps(
    lattice, torch.full((size,), t), torch.zeros(size, dtype=torch.int64))
right.quiver(*lattice.T, *arrows.T, angles="xy", width=0.004, color=COLOURS[7])
left.set(xlim=(-3, 3), ylim=(-3, 3), aspect="equal", xlabel="$x_1$", ylabel="$x_2$", title="data")
right.set(ylabel="", title=rf"$p_t($blue$\mid x_t)$ and its arrows, t = {t}");

# %% [markdown]
# ### The wrapper
#
# A sampler knows only `model(x, t)`. So guidance is no option of a sampler, and no method of a network; it is a
# function that takes a `model(x, t, y)` and returns a model without labels, which every sampler accepts.

# %%
def guided(model, y, null, scale):
    """Eq. 1.  model(x, t, y); y (B,) -> a function of (x, t)"""
    def predict(x, t):
        with_label, without = model(x, t, y), model(x, t, torch.full_like(y, null))
        return without + scale * (with_label - without)

    return predict

# %% [markdown]
# **Prove it.** Scale 1 must be the conditional model and scale 0 the unconditional one; and with the exact guesses at
# $t = 0$, where there is next to no noise, scale 3 must be the score of the tilted density of eq. 3.

# %%
x_t, times = torch.randn(200, 2, generator=seeded(2)), torch.full((200,), 40)
wanted, nothing = torch.arange(200) % 3, torch.full((200,), null)
assert_close(guided(exact_eps, wanted, null, 1.0)(x_t, times), exact_eps(x_t, times, wanted))
assert_close(guided(exact_eps, wanted, null, 0.0)(x_t, times), exact_eps(x_t, times, nothing))

points, first = known[0].sample(200, seeded(3)).requires_grad_(), torch.zeros(200, dtype=torch.int64)
log_tilted = noisy(known[0], 0).log_prob(points) + 2 * posterior(points, 0).log()      # eq. 3, s = 3
score, = torch.autograd.grad(log_tilted.sum(), points)
mine = -guided(exact_eps, first, null, 3.0)(points, first) / (1 - a_toy[0]).sqrt()
assert_close(mine, score, atol=1e-2, rtol=1e-3)

# %% [markdown]
# The library's does the same. It puts both questions into one batch, since a network answers one large batch faster
# than two small ones, and takes a single label for all as well.

# %%
print(inspect.getsource(diffusion.guided))
assert_close(guided(exact_eps, wanted, null, 2.5)(x_t, times),
             diffusion.guided(exact_eps, wanted, null, 2.5)(x_t, times))

# %% [markdown]
# Now walk from noise, with `ddim` as in lesson 61, asking for blue.

# %%
# Figure: five panels, the same noise taken to blue points at scales 0, 1, 2, 4 and 8, over all data in
# grey. At 0 they fill all classes, at 1 both blue modes. At 2 the mode beside orange has thinned; at 4 it
# is almost gone; at 8 all points crowd on the far side of the lonely mode, where there are hardly any
# data.
start, scales = torch.randn(1_000, 2, generator=seeded(4)), (0, 1, 2, 4, 8)

def walk(model, scale):
    """1,000 points from `start`, asked for blue."""
    return diffusion.ddim(diffusion.guided(model, 0, null, scale), start, a_toy, steps=100)

exact = {s: walk(exact_eps, s) for s in scales}

def panels(rows):
    """One row of panels for each name, one panel for each scale."""
    size = (10, 1.7 * len(rows) + 0.4)
    fig, axes = plt.subplots(len(rows), 5, figsize=size, sharex=True, sharey=True, squeeze=False)
    for i, (name, row) in enumerate(rows.items()):
        for ax, s in zip(axes[i], row):
            ax.scatter(*some.T, s=1, color="0.85")
            ax.scatter(*row[s].T, s=1.5, color=COLOURS[0])
            ax.set(xlim=(-3.4, 2.6), ylim=(-2.6, 2.6), aspect="equal", title="" if i else f"scale {s}")
        axes[i, 0].set_ylabel(f"{name}\n$x_2$")
    for ax in axes[-1]:
        ax.set_xlabel("$x_1$")

panels({"guided": exact});

# %%
def in_orange(points):
    """The share of points nearest to the blue mode that overlaps with orange (one half in the data)."""
    return (torch.cdist(points, means).argmin(1) == 1).double().mean()

claim("scale 1: share in the mode beside orange", in_orange(exact[1]), ">", 0.38)
claim("scale 4: share in the mode beside orange", in_orange(exact[4]), "<", 0.08)
claim("scale 1: mean probability of blue", posterior(exact[1], 0).mean(), "<", 0.94)
claim("scale 4: mean probability of blue", posterior(exact[4], 0).mean(), ">", 0.999, digits=4)

# %% [markdown]
# So this is the trade: the larger the scale, the more certainly blue, and the less of what blue can be. A classifier
# would call the last panel perfect.
#
# ## What guidance is not
#
# Everything here was exact, and eq. 3 is proved. Are the points, then, a sample of the tilted density? We can draw
# from that one honestly, by **rejection**. For $s = 4$: draw a point of the class, show it to three people who each
# call out a label with the probabilities $p(y \mid x)$, and keep it if all three say blue. The points that are left
# have the density $p(x \mid y)\,p(y \mid x)^3$, up to a constant. **Predict** how the mode beside orange fares.

# %%
def tilted_sample(s, n=1_000):
    """n draws from p(x | blue) p(blue | x)^(s - 1), up to a constant."""
    candidates, g = known[0].sample(20 * n, seeded(5)), seeded(6)
    keep = torch.rand(len(candidates), generator=g) < posterior(candidates, 0) ** (s - 1)
    return candidates[keep][:n]

tilted = {s: tilted_sample(s) for s in scales if s > 0}
tilted = {0: everything.sample(1_000, seeded(7))} | tilted       # scale 0: all of the data

# %%
# Figure: the panels above, and below them the tilted densities. There the mode beside orange loses only
# its right edge, and keeps a third of the points even at scale 8; nothing moves to the upper left.
panels({"guided": exact, "tilted": tilted});
claim("scale 8: share in the mode beside orange, tilted", in_orange(tilted[8]), ">", 0.28)
claim("the same, guided", in_orange(exact[8]), "<", 0.01)

# %% [markdown]
# They are not the same at all. Eq. 3 holds at each level of noise *by itself*. But a walk from noise to data ends in
# a density only if it follows the scores of *that density with noise on it*. Tilting and adding noise cannot be
# swapped: far out in the noise the modes blur together, the noisy classifier prefers everything on the left, and the
# walk takes points away from the right mode long before that has a shape.
#
# Our heights make it a formula. There the small steps of DDIM can be followed exactly: they end in $\mathcal N(0,
# 2^{1 - s})$, while the tilted density is $\mathcal N(0, 2 / (1 + s))$ (Bradley & Nakkiran, 2024). At $s = 3$ a
# variance of $\tfrac14$ in place of $\tfrac12$. We check it with the sampler.

# %%
a_linear = diffusion.linear_alphas_cumprod()

def height_eps(x_t, t, y):
    """E[eps | x_t] for heights.  x_t (B, 1), y (B,): 0 with the label, 1 without"""
    a = diffusion.per_sample(a_linear, t, x_t)                       # (B, 1)
    return (1 - a).sqrt() * x_t / (a * (1 + y[:, None]) + 1 - a)

heights = torch.randn(5_000, 1, generator=seeded(0))
heights = heights / heights.std()
variance = {s: diffusion.ddim(diffusion.guided(height_eps, 0, 1, s), heights, a_linear, 500).var().item()
            for s in (0, 1, 2, 3, 4)}
worst = max(abs(v / 2 ** (1 - s) - 1) for s, v in variance.items())
claim("largest relative error of the formula", worst, "<", 0.05)

# %% [markdown]
# Only at $s = 0$ and $s = 1$ is a guided sample a sample of anything that we have written down. Beyond, guidance is a
# *procedure*, judged by what comes out. We shall measure that.
#
# ## A network learns both guesses
#
# Two models, then, one with labels and one without? **Label drop-out** makes one of them do: while it is trained,
# every tenth label is replaced by the empty one. That is the whole change to the training of lesson 61.
# (`partial(model, y=y)` is `model` with its label filled in, and `nn.Embedding` of lesson 51 keeps a vector for each
# label.)

# %%
print(inspect.getsource(diffusion.drop_labels))

class Toy(nn.Module):
    """Lesson 61's, which also hears a label.  points (B, 2), times (B,), labels (B,) -> noise (B, 2)"""

    def __init__(self, n=128):
        super().__init__()
        self.label, self.enter = nn.Embedding(4, n), nn.Linear(8, n)   # three classes and the empty label
        self.rest = nn.Sequential(nn.ReLU(), nn.Linear(n, n), nn.ReLU(), nn.Linear(n, n), nn.ReLU(),
                                  nn.Linear(n, 2))

    def forward(self, x_t, t, y):
        angle = torch.pi * t[:, None] / 100 * torch.tensor([1, 2, 4])   # (B, 3)
        return self.rest(self.enter(torch.cat([x_t, angle.sin(), angle.cos()], dim=1)) + self.label(y))

# %%
def labelled_loss(model, x0, y, share=0.1):
    y = diffusion.drop_labels(y, null, share)
    return diffusion.diffusion_loss(partial(model, y=y), x0, a_toy)

def train(share):
    seed(0)
    model, data = Toy(), Batches(*everything.sample_labelled(20_000, seeded(8)), batch_size=256)
    loss = partial(labelled_loss, share=share)
    return model, fit(model, loss, data, steps=1_200, lr=5e-3, warmup=50, decay=0.6, ema=0.99)

# %% [markdown]
# We train it twice, with drop-out and without. What each guess misses is its squared distance from the exact one, as
# a share of that one's squared length. **Predict** the four numbers: nearly 0, or not?

# %%
(toy, _), (deaf, _) = train(0.1), train(0.0)

def missed(model, t, y):
    """The share of the exact answer that the model misses, for one label (3: none)."""
    x_t, times = noisy(known[y], t).sample(2_000, seeded(t)), torch.full((2_000,), t)
    label = torch.full((2_000,), y)
    exact = exact_eps(x_t, times, label)
    with torch.no_grad():
        return ((model(x_t, times, label) - exact).square().sum() / exact.square().sum()).item()

for name, model, bound in (("drop-out", toy, ("<", 0.02)), ("no drop-out", deaf, (">", 0.05))):
    claim(f"{name}: missed with the label", missed(model, 40, 0), "<", 0.02)
    claim(f"{name}: missed without it", missed(model, 40, null), *bound)

# %% tags=["nbval-ignore-figure"]
# not compared: two rows are drawn by networks that were trained in this lesson
# Figure: three rows of panels for scales 0 to 8. With the network that was trained with drop-out they look
# like the exact ones, somewhat smeared, but for thin lines at scales 4 and 8, where the network's errors
# are multiplied, too. Without drop-out only the panel of scale 1 does: at 0 there is one thin line, and
# from 2 on the points fly off, most of them out of the picture.
networks = {"drop-out 0.1": toy, "no drop-out": deaf}
learned = {name: {s: walk(model, s) for s in scales} for name, model in networks.items()}
panels({"exact": exact, **learned})
for s in (1, 2, 4):
    off = (learned["drop-out 0.1"][s] - exact[s]).norm(dim=1).median()
    claim(f"scale {s}: distance of a point from where the exact walk ends (median)", off, "<", 0.5)
off = (learned["no drop-out"][4] - exact[4]).norm(dim=1).median()
claim("the same without drop-out, scale 4", off, ">", 1.5)

# %% [markdown]
# Without drop-out the network has never seen the empty label, and answers it at random. Guidance multiplies that
# nonsense by $s - 1$. A model that is perfect at scale 1 says nothing about whether it can be guided.
#
# ## Digits
#
# The network for digits is lesson 61's U-Net, which now adds a learned vector for the label to the one for the time.
# The shipped one was trained on 8,000 batches of 32 with the loss below: yours, with images scaled to −1…1, and with
# the target $v$ of lesson 61.

# %%
print(inspect.getsource(pipeline_loss))
T, none = painter.config.T, painter.network.config.n_class        # 1000 steps; label 10 is the empty one
a_bar = diffusion.cosine_alphas_cumprod(T)                        # (1000,)

from course_lib.leaderboard import leaderboard

leaderboard("conditional_ddpm", "conditional_gan", "class_gaussians", "training_digits")

# %% [markdown]
# Its row was measured at scale 1.5. To work with guesses themselves, we join network, guidance and schedule as
# before, in one line each.

# %%
def asked(label, scale):
    """A model(x_t, t) -> eps for the digits `label` (n,); scale 1 needs no second guess."""
    net = painter.network
    model = partial(net, y=label) if scale == 1 else diffusion.guided(net, label, none, scale)
    return diffusion.predicts_eps(diffusion.in_steps(model, T), a_bar, painter.config.path)

real, its_label = x_test[::10], y_test[::10]                      # 100 test digits, ten of each
seed(0)
x_t, times = torch.randn(100, 1, 28, 28), torch.full((100,), 700)
with torch.no_grad():
    two = asked(its_label, 2.0)(x_t, times)
    one, zero = asked(its_label, 1)(x_t, times), asked(torch.full((100,), none), 1)(x_t, times)
assert_close(two, zero + 2 * (one - zero), atol=1e-4, rtol=1e-3)

# %% [markdown]
# ### When does the label matter?
#
# We add noise to test digits and let the network guess the clean image, told the right label, none, or a wrong one.
# **Predict:** with how much noise is the label worth most?

# %%
# Figure: the error of the guessed image over the share of its variance that is left. On the left, where
# little is left, the error is largest, smallest with the right label and largest with a wrong one. The
# curves approach each other and meet on the right: whoever sees the digit needs no label.
left, told = [0.001, 0.01, 0.05, 0.1, 0.2, 0.3, 0.5, 0.7, 0.9], {}
no_label, wrong = torch.full((100,), none), (its_label + 1) % 10
answers = {"right label": its_label, "no label": no_label, "wrong label": wrong}
for name, label in answers.items():
    told[name] = []
    for share in left:
        times = torch.full((100,), int((a_bar - share).abs().argmin()))
        x_t = diffusion.q_sample(2 * real - 1, times, torch.randn(real.shape, generator=seeded(1)), a_bar)
        with torch.no_grad():
            guess = diffusion.to_x0(asked(label, 1)(x_t, times), x_t, times, a_bar).clamp(-1, 1)
        told[name].append((guess / 2 + 0.5 - real).square().sum((1, 2, 3)).mean().item())

ax = curves({name: (left, errors) for name, errors in told.items()}, ylabel="squared error of the image")
ax.set(ylim=(0, None), xlabel=r"share of the image's variance left, $\bar\alpha_t$")
right, without, wrong = told.values()
claim("saved by the label, nothing left of the image", 1 - right[0] / without[0], ">", 0.1)
claim("saved by the label, 70 % left", 1 - right[7] / without[7], "<", 0.05)

# %% [markdown]
# The label decides early, in the noise, what the image is to be. Later the image itself is the better witness.
#
# ## Predict, then turn one knob: the scale
#
# Ten times the digit 5, from ten noises. **Predict** what grows with the scale and what shrinks, before you look.

# %%
# Figure: seven rows of ten fives, scales from 0 to 16. At 0 any digit, at 1 fives in many hands, one or
# two of them broken; from 2 on all can be read. Then they become alike: at 16 broad, black, and nearly the
# same.
def fives(scale):
    return painter.sample(10, 5, seeded(3), guidance=scale, steps=20)

strip({f"scale {s}": fives(s) for s in (0, 0.5, 1, 2, 4, 8, 16)});

# %% [markdown]
# When you run this page yourself, there is a slider (the saved page has none):

# %% tags=["nbval-ignore-output"]
# not compared: a slider keeps its picture in the browser
from ipywidgets import FloatSlider, interact

def turn(scale):
    strip({"": fives(scale)})
    plt.show()

interact(turn, scale=FloatSlider(2, min=0, max=16, step=0.5, continuous_update=False));

# %% [markdown]
# In numbers: 200 images at each scale, 20 of each digit, in 10 steps. (So few have larger distances than the
# leaderboard's 1,000.)

# %%
from course_lib.metrics import control_accuracy, frechet_distance, judge_features, precision_recall

wanted, facts = torch.arange(200) % 10, judge_features(x_test)

def measured(images):
    seen = judge_features(images)
    precision, recall = precision_recall(facts, seen)
    return {"control": control_accuracy(None, images, wanted), "precision": precision, "recall": recall,
            "distance": frechet_distance(seen, facts), "ink": images.mean().item()}

scales = (1, 1.5, 2, 3, 6, 12)
drawn = {s: painter.sample(200, wanted, seeded(0), guidance=s, steps=10) for s in scales}
at = {s: measured(images) for s, images in drawn.items()}
floor = frechet_distance(judge_features(x[torch.randperm(4000, generator=seeded(0))[:200]]), facts)

# %%
# Figure: three panels over the scale. Left, control accuracy rises from 0.94 to 1, precision rises and
# falls again beyond 2, recall falls all the way from 0.8 to 0.3. Middle, the Fréchet distance is lowest at
# 1.5 and then climbs. Right, the ink on the paper: as in real digits between 1 and 1.5, a third more at
# 12.
fig, axes = plt.subplots(1, 3, figsize=(10, 2.9))
rows = {name: (scales, [m[name] for m in at.values()]) for name in at[1]}
curves({name: rows[name] for name in ("control", "precision", "recall")}, ax=axes[0])
for ax, name, base in ((axes[1], "distance", floor), (axes[2], "ink", x_test.mean())):
    curves({"guided": rows[name]}, ax=ax)
    ax.axhline(base, color="0.6", lw=1, label="real digits")
    ax.legend()
for ax, name in zip(axes, ("share", "Fréchet distance (200 images)", "ink (mean grey value)")):
    ax.set(xscale="log", xticks=scales, xticklabels=scales, xlabel="scale", ylabel=name)
    ax.minorticks_off()

claim("control at scale 1", at[1]["control"], "<", 0.98)
claim("control at scale 3", at[3]["control"], ">", 0.98)
claim("recall at scale 1", at[1]["recall"], ">", 0.7)
claim("recall at scale 3", at[3]["recall"], "<", 0.65)
claim("Fréchet distance at 1.5 by that at 1", at[1.5]["distance"] / at[1]["distance"], "<", 0.95)

# %% [markdown]
# A little guidance is a bargain: the digits that the network was not sure about are the ones that get better. The
# best scale depends on what you want. For one image that must be right, take 3; for a set that is to look like the
# world, 1.5.
#
# ## Break it: shout
#
# If 3 is more obedient than 1, why not 12? Control accuracy, the number that a customer would ask for, has nothing
# against it.

# %%
claim("scale 12: control", at[12]["control"], ">", 0.98)
claim("recall", at[12]["recall"], "<", 0.45)
claim("distance by that at 1.5", at[12]["distance"] / at[1.5]["distance"], ">", 3)
claim("ink by that of real digits", at[12]["ink"] / x_test.mean(), ">", 1.25)

# %% [markdown]
# This is **over-guidance**: in photographs, garish colours and the same face again and again; here, black ink and one
# way to write each digit. It is the last panel of our toy. No accuracy will tell.
#
# The first repair is a smaller scale. The second asks *when* to guide (Kynkäänniemi et al., 2024). In nearly pure
# noise, guidance decides for one mode before there is anything to decide, as in the toy; with the digit in view the
# label says nothing new, and only exaggeration is left. Between the two it does its work. Since models are functions,
# this is a wrapper again.

# %%
def between(guided, plain, low, high):
    """Guide only while a share from low to high of the image's variance is left."""
    return lambda x_t, t: (guided if low <= a_bar[t[0]] < high else plain)(x_t, t)

g = seeded(0)
noise, parts = torch.randn(200, 1, 28, 28, generator=g), []
for i in torch.arange(200).split(100):                           # as `sample` does, with one more wrapper
    model = between(asked(wanted[i], 12), asked(wanted[i], 1), 0.03, 0.3)
    parts.append(diffusion.ddim(model, noise[i], a_bar, 10, eta=1.0, clip=1.0, generator=g))
repaired = (torch.cat(parts) / 2 + 0.5).clamp(0, 1)

times = diffusion.timesteps(T, 10)
print(f"guided in {sum(0.03 <= a_bar[t] < 0.3 for t in times)} of {len(times)} steps")
after = measured(repaired)
claim("scale 12, repaired: control", after["control"], ">", 0.97)
claim("recall", after["recall"], ">", 0.55)
claim("distance by that at 12 without the repair", after["distance"] / at[12]["distance"], "<", 0.5)
claim("ink", after["ink"], "<", 0.16)

# %% [markdown]
# Two steps of ten! The range was chosen among seven by distances from training digits, with other noise.

# %%
# Figure: three rows of twenty digits, asked for 0 to 9 twice. At scale 1 varied and partly hard to read;
# at 12 all heavy; with the repair, thin and thick, slanted and upright, and every one the digit asked for.
strip({"scale 1": drawn[1][:20], "scale 12": drawn[12][:20], "repaired": repaired[:20]});

# %% [markdown]
# ## Guidance without a label: away from a weaker self
#
# Guidance needs a better guess and a worse one. A label makes that difference; so does training. A network that was
# stopped early errs where the finished one does, only more: broken strokes, shapes between two digits. So the
# difference of their guesses points away from errors (Karras et al., 2024, **autoguidance**):
#
# $$\hat v = v_\text{weak} + s\,\big(v_\theta - v_\text{weak}\big) \tag{4}$$
#
# Our `ddpm` of lesson 61 never heard of labels; `ddpm_minute` is the same U-Net after a tenth as many batches.
# **Predict** what happens to precision and recall.

# %%
print(inspect.getsource(diffusion.autoguided).split('"""')[2].strip("\n"))
strong, weak = (load_checkpoint(name).network for name in ("ddpm", "ddpm_minute"))

@torch.no_grad()
def unlabelled(scale, n=200, steps=10):
    """n digits of lesson 61's network, guided away from the weak one; at scale 1 its own."""
    model, g = strong if scale == 1 else diffusion.autoguided(strong, weak, scale), seeded(0)
    model = diffusion.predicts_eps(diffusion.in_steps(model, T), a_bar, "v")
    x_t = torch.randn(n, 1, 28, 28, generator=g)
    x_0 = diffusion.ddim(model, x_t, a_bar, steps, eta=1.0, clip=1.0, generator=g)
    return (x_0 / 2 + 0.5).clamp(0, 1)

# %%
alone, away = unlabelled(1), unlabelled(2.5)
before, after = measured(alone), measured(away)
claim("scale 2.5: distance by that at 1", after["distance"] / before["distance"], "<", 0.8)
claim("precision, more than at 1", after["precision"] - before["precision"], ">", 0.0)
claim("recall, more than at 1", after["recall"] - before["recall"], ">", -0.05)

# %%
# Figure: three rows of twenty digits from the same noise, in 30 steps. At scale 0, the weak network's,
# many are broken, at 1 fewer, at 2.5 two.
strip({f"scale {s}": unlabelled(s, n=20, steps=30) for s in (0, 1, 2.5)});

# %% [markdown]
# Errors are punished, variety is not: the weak one has as much. Both guidances can be one: lesson 64's
# checkpoint walks from what a weak network says without a label to what its own says with it.
#
# ## Half a digit
#
# A diffusion model can also fill in what is missing, though it was never trained to: **in-painting**. Half of a digit
# is known. At each step we overwrite that half of $x_t$ with the known one *plus noise of just this step's level*, so
# that the network sees an $x_t$ like those it was trained on, and fills the other half so that it fits.

# %%
known_half = torch.zeros(28, 28, dtype=torch.bool)
known_half[:14] = True                                            # the upper 14 rows

def step(x_t, t, t_next, image, model, g):
    """Put the known half into x_t at the noise of t, then one step of `ddim` with fresh noise."""
    times, draw = torch.full((len(x_t),), t), lambda: torch.randn(x_t.shape, generator=g)
    x_t = torch.where(known_half, diffusion.q_sample(2 * image - 1, times, draw(), a_bar), x_t)
    return diffusion.ddim_step(model(x_t, times), x_t, t, t_next, a_bar, eta=1.0, clip=1.0, noise=draw())

# %% [markdown]
# The halves must agree, but the unknown one has just one step at each level to react to what it sees. So we go back
# up a step, by adding noise, and down again, a few rounds at each level (Lugmayr et al., 2022).

# %%
@torch.no_grad()
def complete(image, model, steps=20, rounds=4, run=0):
    """Images (n, 1, 28, 28) in [0, 1] with their lower half drawn anew."""
    g, times = seeded(run), diffusion.timesteps(T, steps)
    x_t = torch.randn(image.shape, generator=g)
    for t, t_next in zip(times, [*times[1:], -1]):
        for i in range(rounds if t_next >= 0 else 1):
            if i > 0:                                             # up from t_next to t: eq. 1 of lesson 61
                keep = a_bar[t] / a_bar[t_next]
                x_t = keep.sqrt() * x_t + (1 - keep).sqrt() * torch.randn(image.shape, generator=g)
            x_t = step(x_t, t, t_next, image, model, g)
    return torch.where(known_half, image, (x_t / 2 + 0.5).clamp(0, 1))

# %% [markdown]
# Does it fit? We compare how much pixels differ where the halves meet, for 60 test digits: real, completed with one
# round, with four, and with a lower half that was drawn without looking at the upper one.

# %%
halves, free = x_test[torch.arange(60) * 16], asked(torch.full((60,), none), 1)

def seam(images):
    return (images[:, :, 13] - images[:, :, 14]).abs().mean().item()

blind = torch.where(known_half, halves, painter.sample(60, generator=seeded(0), steps=20))
print(f"real digits: {seam(halves):.3f}")
claim("drawn without looking", seam(blind), ">", 0.16)
claim("one round", seam(complete(halves, free, rounds=1)), "<", 0.15)

# %%
# Figure: twelve columns: the real digit, the half that is left, and its completion without a label. All
# completions are joined without a seam. Many are the digit that was erased; others are another digit that
# begins like it.
def erased(images):
    return torch.where(known_half, images, 0.3)

completed = complete(halves, free)
strip({"real": halves[:12], "left": erased(halves[:12]), "completed": completed[:12]})
claim("four rounds", seam(completed), "<", 0.12)

# %% [markdown]
# With the label, we can say what the half is to become: the guided model goes in where the free one was.

# %%
# Figure: four rows. On the left the upper half of a digit, then ten completions of that same half, asked
# for 0 to 9. Most are what was asked for, with a lower half that suits the given pen. Some wishes cannot
# be fulfilled.
given = torch.stack([x_test[y_test == c][i] for c, i in ((7, 5), (9, 1), (5, 0), (8, 1))])
rows = {}
for image, run in zip(given, range(4)):
    ten = complete(image.expand(10, 1, 28, 28), asked(digits, 2.0), run=run)
    rows[f"half {run + 1}"] = torch.cat([erased(image[None]), ten])
strip(rows)

ten = complete(given[:1].expand(10, 1, 28, 28), asked(torch.full((10,), none), 1), run=9)
lower = ten[:, 0, 14:].flatten(1)
claim("mean distance between two free completions of half 1", torch.pdist(lower).mean(), ">", 2)
claim("difference in the known half", (ten - given[:1])[:, :, :14].abs().max(), "==", 0.0)

# %% [markdown]
# Forty answers, and no one of them *the* right one: least squares in one stroke would give their mean, a
# blur.
#
# ## What we left out
#
# - **Clusters for labels.** The mixture of lesson 13 sorts unlabelled images into clusters, and these can serve as
#   labels (Bao et al., 2022; `make bench` measures it). A text for $\varnothing$ is the *negative prompt*: "no hands".
# - **Paying once.** A student can be trained to answer with the guided guess at once (Meng et al., 2023).
#
# ## Read on
#
# - J. Ho & T. Salimans, *Classifier-free diffusion guidance* (2022): eq. 6, with $s = 1 + w$. P. Dhariwal & A. Nichol,
#   *Diffusion models beat GANs on image synthesis* (2021): with a classifier that somebody trained.
# - A. Bradley & P. Nakkiran, *Classifier-free guidance is a predictor-corrector* (2024): our heights, and what
#   guidance is.
# - T. Kynkäänniemi et al., *Applying guidance in a limited interval improves sample and distribution quality in
#   diffusion models* (2024). T. Karras et al., *Guiding a diffusion model with a bad version of itself* (2024).
# - A. Lugmayr et al., *RePaint: inpainting using denoising diffusion probabilistic models* (2022).
# - In the library: `diffusion.py` (`guided`, `autoguided`, `drop_labels`), `pipeline.py` (`beside`,
#   `Pipeline.sample(guidance=...)`).
#
# **Exercises:** [63_guidance](../exercises/63_guidance/63_guidance.ipynb). One more to think about: paste the known
# half *clean* into every step. The network has never seen such a thing. Does it mind? Measure the seam.
#
# **Next**, [lesson 64](64_flow_matching.ipynb): from noise to image on a straight road.
