# %% [markdown]
# # 41 · A forger and a detective: generative adversarial networks
#
# Every generator so far was given a formula that says how good it is: a likelihood, or a bound on one. Formulas of
# that kind have opinions about pixels, and pay for them with blur. Here the formula itself is learned. A **generator**,
# the forger, turns random numbers into images. A **discriminator**, the detective, looks at an image and says how
# probable it is that the image is real. Each is trained against the other, until the forgeries cannot be told from the
# real thing. The picture below shows how near we come to it, with strokes as sharp as ink. It also has a price, which
# is the other half of this lesson: nobody guarantees that a game between two learners ends well. You will see it fail,
# count the failure, and repair it.
#
# **After this lesson you can**
# - write the two losses and the round of the game, and say what the best discriminator is;
# - notice a collapse by counting, and name two ways to cause it;
# - ask a generator for a digit, and trade variety for safety with one number.
#
# **You need** lessons [00](00_start_here.ipynb) (binary cross-entropy), [12](12_convnet.ipynb) (convolution, the
# judge), [13](13_discriminative_vs_generative.ipynb) (Bayes' rule, Fréchet distance) and [31](31_vae.ipynb)
# (Kullback–Leibler divergence). **It takes** 75 minutes to read and 45 seconds to run. **How hard:** •••. All symbols
# are in the [table of symbols](symbols.ipynb).
#
# ## Set-up

# %%
import copy

import matplotlib.pyplot as plt
import torch
from torch import nn
from torch.nn import functional as F
from torch.testing import assert_close

from course_lib.checkpoint import load as load_checkpoint
from course_lib.claims import claim
from course_lib.data import Batches, load
from course_lib.device import seed, seeded
from course_lib.plots import COLOURS, curves, diagram, field, grid, sliders, strip

# %%
x, y = load("digits").train                                       # 4,000 images (4000, 1, 28, 28), labels
x_test, y_test = load("digits").test                              # 1,000

# %%
# Figure: four rows of the digits 0 to 9. The first is handwriting, the other three are drawn by a
# generator that was told which digit to draw. Their strokes are dark and sharp, and the rows differ in
# slant and width. Nearly all can be read; a few, like one of the eights, are torn.
artist, ten = load_checkpoint("conditional_gan"), torch.arange(10)
rows = {"real": torch.stack([x_test[y_test == c][0] for c in range(10)])}
rows |= {f"drawn {i + 1}": artist.sample(10, ten, seeded(i)) for i in range(3)}
strip(rows);

# %% [markdown]
# The first row is handwriting, the rest are forgeries. Nearly all can be read; a few, like one of the eights, are torn.
#
# ## A game with three cards
#
# Nature deals a card: 1 half of the time, 2 and 3 a quarter of the time each. A forger deals too, with another habit:
# $q = (\tfrac14, \tfrac14, \tfrac12)$. Before each deal a coin decides who it is. You see the card and bet on nature
# with probability $D$. What is the best $D$ for each card?
#
# If you see a 1: nature deals it twice as often as the forger, so $D(1) = \tfrac23$. A 2 says nothing,
# $D(2) = \tfrac12$. And $D(3) = \tfrac13$. It is Bayes' rule with an even prior:
#
# $$D^*(x) = \frac{p(x)}{p(x) + q(x)}$$
#
# Does the game find it by itself? Its three probabilities start at one half; gradient descent does the rest. We write
# $D = \sigma(a)$ with a *logit* $a$, because $-\log\sigma(a) = \log(1 + e^{-a})$, the **softplus** of $-a$, never
# overflows.

# %%
p, q = torch.tensor([1 / 2, 1 / 4, 1 / 4]), torch.tensor([1 / 4, 1 / 4, 1 / 2])
a = torch.zeros(3, requires_grad=True)
for _ in range(200):
    loss = (p * F.softplus(-a)).sum() + (q * F.softplus(a)).sum()  # -E log D(real) - E log(1 - D(fake))
    slope, = torch.autograd.grad(loss, a)
    a = (a - 2 * slope).detach().requires_grad_()
assert_close(a.sigmoid(), p / (p + q))
a.sigmoid().detach()

# %% [markdown]
# And what is the game worth? By hand, its loss is $\log\tfrac32 + \tfrac12\log 2 + \tfrac12\log 3 = 1.301$ nats, a
# little less than $2 \log 2 = 1.386$, the loss of someone who cannot see the cards. The gap measures how different the
# two dealers are: it is twice the **Jensen–Shannon divergence**, the mean distance in nats of $p$ and $q$ from their
# average $m = (p + q)/2$:
#
# $$\mathrm{JS}(p, q) = \tfrac12\,\mathrm{KL}(p \,\|\, m) + \tfrac12\,\mathrm{KL}(q \,\|\, m)$$
#
# It is 0 if the dealers are equal, and at most $\log 2$. So a generator that plays against a *perfect* discriminator
# minimises a divergence, as maximum likelihood does, only another one. It is smallest when $q = p$: the forger has won
# when $D = \tfrac12$ everywhere. That is the theory of GANs.

# %%
m = (p + q) / 2
js = ((p * (p / m).log()).sum() + (q * (q / m).log()).sum()) / 2
assert_close(loss.detach(), 2 * torch.tensor(2.0).log() - 2 * js)
claim("loss of the best discriminator (nats)", loss.detach(), "<", 1.31)
claim("Jensen-Shannon divergence (nats)", js, ">", 0.04)

# %% [markdown]
# ## Build it in the open: one dimension, and a network
#
# With a generator $G$ that makes an image $G(z)$ of random numbers $z$, and a discriminator $D$ that says how probable
# it is that an image is real, the game is (Goodfellow et al., 2014)
#
# $$\min_G \max_D\; \mathbb E_{x \sim p_\text{data}} \log D(x) + \mathbb E_{z} \log\big(1 - D(G(z))\big)$$

# %%
# Figure: a diagram. Noise z goes into the generator, which makes fakes; fakes and real images go into
# the discriminator, which gives a logit for each; the logits enter two losses, one for the discriminator
# and one for the generator.
noise_box = "noise z\n(B, n_latent)"
fake_box, real_box = "fakes\n(B, 1, 28, 28)", "real images\n(B, 1, 28, 28)"
logit_box, d_box, g_box = "logits\n(B,)", "loss of D", "loss of G"
boxes = {noise_box: (0, 0), "generator G": (1, 0), fake_box: (2.1, 0), real_box: (2.1, 1),
         "discriminator D": (3.4, 0.5), logit_box: (4.5, 0.5), d_box: (5.6, 1), g_box: (5.6, 0)}
arrows = [(noise_box, "generator G"), ("generator G", fake_box), (fake_box, "discriminator D"),
          (real_box, "discriminator D"), ("discriminator D", logit_box), (logit_box, d_box),
          (logit_box, g_box)]
players_and_losses = {"generator G": COLOURS[0], "discriminator D": COLOURS[0], d_box: COLOURS[3],
                      g_box: COLOURS[3]}
diagram(boxes, arrows, players_and_losses);

# %% [markdown]
# Each loss (orange) moves one of the two networks (blue) and leaves the other as it is.
#
# On a line we know both densities, but the discriminator does not: it is a small network that sees samples only. Real
# numbers come from two bumps, fakes from one wide bump. A thousand steps, each on fresh samples.

# %%
def bump(x, mu, sigma):
    return (-0.5 * ((x - mu) / sigma) ** 2).exp() / (sigma * (2 * torch.pi) ** 0.5)

def p_real(x): return 0.5 * bump(x, -1.5, 0.5) + 0.5 * bump(x, 1.5, 0.5)
def q_fake(x): return bump(x, 0.5, 1.0)

def draw_real(n): return (torch.randint(2, (n, 1)) * 2 - 1) * 1.5 + 0.5 * torch.randn(n, 1)
def draw_fake(n): return 0.5 + torch.randn(n, 1)

# %% [markdown]
# The two losses, from the library. A discriminator's loss has two halves. The generator's will need a discussion.

# %%
import inspect

from course_lib import gan
from course_lib.gan import discriminator_loss, generator_loss, saturating_loss

for loss in (discriminator_loss, generator_loss, saturating_loss):
    print(inspect.getsource(loss))

# %%
seed(0)
D = nn.Sequential(nn.Linear(1, 64), nn.Tanh(), nn.Linear(64, 64), nn.Tanh(), nn.Linear(64, 1))
steps = 1000
adam = torch.optim.Adam(D.parameters(), lr=5e-3)                  # AdamW without weight decay
cooling = torch.optim.lr_scheduler.LinearLR(adam, 1, 0, steps)    # smaller and smaller steps
for _ in range(steps):
    loss = discriminator_loss(D(draw_real(256)), D(draw_fake(256)))
    adam.zero_grad()
    loss.backward()
    adam.step()
    cooling.step()

# %% [markdown]
# **Prove it.** The formula $p / (p + q)$ against the network, on 601 points, each weighted by how often samples fall
# there.

# %% tags=["nbval-ignore-figure"]
# not compared: the network was trained in this notebook
# Figure: above, two densities on a line, real data with bumps at −1.5 and 1.5, fakes with one wide bump at
# 0.5. Below, the best discriminator, above one half where the real bumps are higher, and on it, hardly to
# be told apart, the trained one.
line = torch.linspace(-4, 4, 601)[:, None]                        # (601, 1)
best = gan.optimal_discriminator(p_real(line), q_fake(line))
with torch.no_grad():
    found = D(line).sigmoid()
fig, (top, bottom) = plt.subplots(2, 1, figsize=(6.4, 4), sharex=True)
top.plot(line, p_real(line), label="real, $p$")
top.plot(line, q_fake(line), label="fake, $q$")
bottom.plot(line, best, color=COLOURS[7], lw=4, alpha=0.25, label="$p/(p+q)$")
bottom.plot(line, found, color=COLOURS[2], label="trained network")
bottom.axhline(0.5, color="0.7", lw=1, zorder=0)
top.set(ylabel="density")
bottom.set(xlabel="$x$", ylabel="$D(x)$")
top.legend()
bottom.legend(loc="upper right")
weight = p_real(line) + q_fake(line)
error = ((found - best).abs() * weight).sum() / weight.sum()
claim("mean error of the trained discriminator", error, "<", 0.03)

# %% [markdown]
# It never saw a density, only samples, and has learned the *ratio* of two densities. (At the far left and right it is
# wrong: hardly any samples fall there to correct it.) That is the trick at the heart of
# this lesson: nobody can write down $p_\text{data}$ of digits, but a classifier can be trained.
#
# ## The generator's loss
#
# The generator moves its samples uphill on $D$. In the game as written it *minimises* $\log(1 - D)$. Early on its
# images are hopeless and the discriminator is sure: $D(G(z)) \approx 0$. How hard does the loss then push on the
# logit? **Write down a guess:** at $D = 0.01$, how do the two losses above compare?

# %%
def push(loss, D):
    """d loss / d logit, by automatic differentiation, where the discriminator says D."""
    a = torch.logit(D).requires_grad_()
    slope, = torch.autograd.grad(loss(a) * len(a), a)             # the losses are means
    return slope

said = torch.linspace(0.001, 0.999, 400)
saturating, non_saturating = push(saturating_loss, said), push(generator_loss, said)
assert_close(saturating, -said, atol=1e-5, rtol=0)
assert_close(non_saturating, said - 1, atol=1e-5, rtol=0)

# %%
# Figure: the size of the push on the logit against D(G(z)), for the saturating and the non-saturating
# loss; on the right with logarithmic axes.
fig, (left, right) = plt.subplots(1, 2, figsize=(8, 2.8))
for ax in (left, right):
    ax.plot(said, -saturating, label=r"saturating: $\log(1 - D)$")
    ax.plot(said, -non_saturating, label=r"non-saturating: $-\log D$")
    ax.set(xlabel="$D(G(z))$", ylabel="push on the logit")
right.set(xscale="log", yscale="log")
left.legend(fontsize=9)
ratio = push(generator_loss, torch.tensor([0.01])) / push(saturating_loss, torch.tensor([0.01]))
assert_close(ratio, torch.tensor([99.0]), atol=0.01, rtol=0)

# %% [markdown]
# The two diagonals are exactly $D$ and $1 - D$. The game's own loss **saturates**: the worse the forger, the less it learns. So in
# practice the generator minimises $-\log D(G(z))$ instead. Both have the same fixed point, but this one pushes hardest
# where help is needed most; at $D = 0.01$, 99 times as hard.

# %% [markdown]
# ## Eight modes: the game in the plane
#
# Now both move. Real points crowd around eight **modes**, the peaks of their density, which stand in a ring, and the
# forger has to bend a cloud of noise (8 standard normal numbers) until it falls on all of them. One round of the
# game:
#
# 1. **The discriminator's move.** Real and fake points, one step of Adam on its loss. The fakes are *detached*:
#    discriminating better must not mean forging worse.
# 2. **The generator's move.** The same fakes, judged again, one step on the generator's loss. The gradient runs through
#    the discriminator into the generator, and only the generator moves.

# %%
from course_lib.data.toys import ring

modes = ring()                                                    # 8 Gaussians on a circle of radius 2
points = modes.sample(8192, seeded(0))                            # (8192, 2)

def mlp(n_in, n_out, act, n=64):
    return nn.Sequential(nn.Linear(n_in, n), act, nn.Linear(n, n), act, nn.Linear(n, n_out))

def players():
    """Forger (B, 8) -> (B, 2), detective (B, 2) -> (B,)"""
    return mlp(8, 2, nn.ReLU()), nn.Sequential(mlp(2, 1, nn.LeakyReLU(0.2)), nn.Flatten(0))

# %%
def play_round(G, D, g_adam, d_adam, real):
    fake = G(torch.randn(len(real), 8))                           # (B, 2)
    d_loss = discriminator_loss(D(real), D(fake.detach()))
    d_adam.zero_grad()
    d_loss.backward()
    d_adam.step()

    g_loss = generator_loss(D(fake))
    g_adam.zero_grad()
    g_loss.backward()
    g_adam.step()

# %% [markdown]
# ### Meet the library version
#
# `fit_gan` plays the same rounds. It adds four things that you can find in its source: the moving average of the
# generator's weights (`ema`, as in lesson 00), a learning rate that falls, an optional penalty, and labels. Without
# them it must give our weights, to the last digits, after 20 rounds.

# %%
from course_lib.gan import fit_gan

seed(0)
ours, theirs = players(), players()
for a, b in zip(theirs, ours):
    a.load_state_dict(b.state_dict())
# fused=True: the same steps, faster
adams = [torch.optim.Adam(m.parameters(), lr=1e-3, betas=(0.0, 0.99), fused=True) for m in ours]
rounds = list(points[:2560].split(128))                           # 20 batches

seed(1)
for real in rounds:
    play_round(*ours, *adams, real)
seed(1)
fit_gan(*theirs, [(r,) for r in rounds], 20, n_latent=8, lr=1e-3, decay=0, ema=None)
for a, b in zip(ours, theirs):
    assert_close(a.state_dict(), b.state_dict(), atol=1e-5, rtol=1e-3)

# %% [markdown]
# Now 1,500 rounds. Five times we look at 1,000 fakes and count the modes on which at least 20 of them have landed,
# within three standard deviations of the centre.

# %%
from course_lib.gan import modes_hit

def film(frames):
    """A function for `evaluate` that keeps 1,000 points of the generator, always from the same noise."""
    def look(G):
        frames.append(G(torch.randn(1000, 8, generator=seeded(1))).detach())
        return {"modes": modes_hit(frames[-1], modes.means, 0.3, at_least=20)}
    return look

seed(0)
(G, D), frames = players(), []
batches = Batches(points, batch_size=128)
history = fit_gan(G, D, batches, 1500, n_latent=8, evaluate=film(frames), eval_every=300)

# %% tags=["nbval-ignore-figure"]
# not compared: the players were trained in this notebook
# Figure: five frames of the game. The modes of the data are grey rings, fakes blue dots. The cloud of
# fakes unfolds, reaches all eight modes, and gathers there, with a thin trail of dots along the bridges
# between neighbours. The colour of the last frame is the discriminator's opinion: blue, fake, nearly
# everywhere; white, undecided, on the modes.
def show(frames, titles):
    _, panels = plt.subplots(1, len(frames), figsize=(9, 9 / len(frames) + 0.5), sharex=True, sharey=True)
    for ax, fakes, title in zip(panels, frames, titles):
        for centre in modes.means:
            ax.add_patch(plt.Circle(centre.tolist(), 0.3, fc="none", ec="0.5"))
        ax.scatter(*fakes.T, s=3, color=COLOURS[0], alpha=0.4, lw=0)
        ax.set(title=title, xlim=(-3, 3), ylim=(-3, 3), aspect="equal", xlabel="$x_1$")
    panels[0].set_ylabel("$x_2$")
    return panels

panels = show(frames, [f"round {n}: {k:.0f} of 8" for n, k in zip(history.eval_steps, history["modes"])])
field(lambda x: D(x).sigmoid(), panels[-1], alpha=0.5, vmin=0, vmax=1)
panels[-1].set(ylabel="");

# %%
claim("modes hit at the end", history["modes"][-1], "==", 8, digits=0)
on_mode = (torch.cdist(frames[-1], modes.means) <= 0.3).any(1).double().mean()
claim("share of fakes on a mode", on_mode, ">=", 0.6)

# %% [markdown]
# The cloud unfolds and reaches all eight modes, with a thin trail of dots between neighbours. In the last frame the
# discriminator calls nearly everything fake (blue), and is undecided (white) on the modes. The bridges are no accident: a continuous function of a connected cloud is connected, so a network can make them thin,
# but not cut them. And the losses show why GANs are hard to steer: they say little about quality. The discriminator's
# begins near $2 \log 2$, since it knows nothing; it would end there, too, if the fakes were perfect.

# %% tags=["nbval-ignore-figure"]
# not compared: the players were trained in this notebook
# Figure: the two losses over 1,500 rounds. Both swing at first, then run level, the discriminator's below
# the dotted line at 1.386. No trend tells that the fakes are getting better.
ax = history.plot("discriminator", "generator")
ax.axhline(2 * torch.tensor(2.0).log(), color="0.5", ls=":")
ax.set(xlabel="round", ylabel="loss (nats)");

# %% [markdown]
# ## Break it: collapse
#
# Why must they take turns? Suppose the generator is quicker: ten of its moves for each of the discriminator's. Its best
# answer to a detective that stands still is not to imitate the data, but to send *everything* to the one point that the
# detective believes most. $\min_G \max_D$ has become $\max_D \min_G$. **Write down a guess:** what will the fakes do?

# %%
seed(0)
(G, D), frames = players(), []
g_adam, d_adam = (torch.optim.Adam(m.parameters(), lr=2e-3, betas=(0.0, 0.99), fused=True) for m in (G, D))
look = film(frames)
for n in range(200):
    real = points[torch.randint(len(points), (128,))]
    play_round(G, D, g_adam, d_adam, real)
    for _ in range(9):                                            # and nine more moves
        g_loss = generator_loss(D(G(torch.randn(128, 8))))
        g_adam.zero_grad()
        g_loss.backward()
        g_adam.step()
    if (n + 1) % 20 == 0:
        look(G)

# %% tags=["nbval-ignore-figure"]
# not compared: the players were trained in this notebook
# Figure: five frames, 20 rounds apart, with the eight modes as grey rings and the thousand fakes as blue
# dots.
show(frames[-5:], [f"round {n}" for n in range(120, 201, 20)]);

# %%
hit = [modes_hit(f, modes.means, 0.3, at_least=20) for f in frames]
claim("largest number of modes hit at any time", max(hit), "<=", 4)
claim("mean number of modes hit", sum(hit) / len(hit), "<=", 2, digits=1)

# %% [markdown]
# In each frame all fakes lie in one clump, and from frame to frame the clump is somewhere else. This is **mode collapse**: most modes of the data are lost. The forger finds the point believed most and puts
# everything there; the detective learns that everything there is fake; the forger moves on. They go round like this
# for as long as you let them, and neither loss says so. Only counting does. The repair on the ring is what we had
# before: one move each.
#
# ## Digits
#
# Now images. The networks follow the rules of DCGAN (Radford, Metz & Chintala, 2016): convolutions only, batch norm
# and ReLU in the generator, leaky ReLU and no pooling in the discriminator. We keep the work small: the generator
# starts from 7×7 and twice turns four channels of one pixel into a 2×2 square (`PixelShuffle`, lesson 21).

# %%
from course_lib.dcgan import Discriminator, GANConfig, Generator

print(inspect.getsource(Generator.__init__))
h = torch.randn(2, 16)
for layer in Generator(GANConfig()).layers:
    h = layer(h)
    print(f"{type(layer).__name__:12} -> {tuple(h.shape[1:])}")

# %% [markdown]
# Two choices carry most of the weight. Adam's **first beta is 0**: no momentum. An opponent who moves makes old
# gradients bad advice. And the discriminator pays a penalty for being steep where the data are, **R1** (Mescheder,
# Geiger & Nowozin, 2018):
#
# $$R_1 = \mathbb E_{x \sim p_\text{data}} \big\| \nabla_x \, a(x) \big\|^2$$
#
# with $a$ the logit. Near the end of a perfect game the detective has nothing left to say and should be flat; R1
# takes it there. For a linear $a = w \cdot x$ it is $\|w\|^2$, so for $w = (3, 4)$ it must be 25.

# %%
from course_lib.gan import r1_penalty

w = torch.tensor([3.0, 4.0])
assert r1_penalty(lambda x: x @ w, torch.randn(7, 2)) == 25

# %% [markdown]
# No loss tells how good the digits are. The judge of lesson 12 does: it names 500 fakes, and we ask how many kinds there
# are. Take the **entropy** of the mean of its probabilities, $H = -\sum_k \bar p_k \log \bar p_k$. Then $e^H$ is the
# number of classes in use: 10 if all are equally frequent, 1 if there is a single one. The Fréchet distance from the
# test digits comes with it (lesson 13).

# %%
from course_lib.gan import class_entropy
from course_lib.metrics import frechet_distance, judge_features, the_judge

real_features = judge_features(x_test)

def judged(G):
    images = G.sample(500, generator=seeded(0))
    with torch.no_grad():
        probs = the_judge()(images).softmax(1)                    # (500, 10)
    distance = frechet_distance(judge_features(images), real_features)
    return {"classes": class_entropy(probs).exp(), "Fréchet distance": distance}

# %% [markdown]
# Ten fixed $z$ show what becomes of each. (The run is short, and so is the average: `ema=0.98`.)

# %%
z = torch.randn(10, 16, generator=seeded(2))

def play_digits(betas, frames):
    def look(G):
        frames[f"round {50 * (len(frames) + 1)}"] = G(z)
        return judged(G)

    seed(0)
    G, D = (m(GANConfig()).to(memory_format=torch.channels_last) for m in (Generator, Discriminator))
    history = fit_gan(G, D, Batches(x, batch_size=32), 200, n_latent=16, penalty=r1_penalty, betas=betas,
                      ema=0.98, evaluate=look, eval_every=50)
    return G, D, history

frames = {}
live, D, history = play_digits((0.0, 0.99), frames)

# %% tags=["nbval-ignore-figure"]
# not compared: the generator was trained in this notebook
# Figure: ten digits, each from its own noise, every 50 rounds. Blobs at first, then strokes, then shapes
# of which many can be read.
strip(frames);

# %% [markdown]
# ### Broken in two ways
#
# First, momentum. Adam's usual first beta is 0.9, the one number we change now. **Write down a guess:** how many classes
# of digits will be in use?

# %%
heavy, _, broken = play_digits((0.9, 0.99), {})
print("at round 150")
claim("classes in use, without momentum", history["classes"][2], ">=", 6, digits=1)
claim("classes in use, with momentum", broken["classes"][2], "<=", 3, digits=1)
claim("Fréchet distance, without momentum", history["Fréchet distance"][2], "<=", 55, digits=1)
claim("Fréchet distance, with momentum", broken["Fréchet distance"][2], ">=", 70, digits=1)

# %% [markdown]
# Second, as on the ring: the forger goes on alone, 200 moves against a detective who stands still.

# %%
seed(0)
alone = copy.deepcopy(live).train()
adam = torch.optim.Adam(alone.parameters(), lr=2e-3, betas=(0.0, 0.99), fused=True)
D.requires_grad_(False)
for _ in range(200):
    g_loss = generator_loss(D(alone(torch.randn(32, 16))))
    adam.zero_grad()
    g_loss.backward()
    adam.step()
spread = [G.sample(300, generator=seeded(0)).std(0).mean() for G in (live, alone)]
claim("spread of fakes after 200 moves alone, as a share of that before", spread[1] / spread[0], "<=", 0.7)
claim("loss of the forger after them (nats)", g_loss, "<", 0.5)

# %% tags=["nbval-ignore-figure"]
# not compared: the generators were trained in this notebook
# Figure: thirty fakes each. Without momentum rough digits of many kinds; with it blank paper and grey
# patches, no digit; by the forger alone, nearly the same dark scribble thirty times. Right, the classes in
# use over the rounds: they rise towards ten without momentum, and stay low with it.
forgers = {r"$\beta_1 = 0$": live, r"$\beta_1 = 0.9$": heavy, "alone": alone}
fig, panels = plt.subplots(1, 4, figsize=(10, 2.3))
for ax, (title, G) in zip(panels, forgers.items()):
    grid(G.sample(30, generator=seeded(4)), n_col=6, ax=ax, title=title)
games = zip(forgers, (history, broken))
curves({title: (h.eval_steps, h["classes"]) for title, h in games}, panels[3], xlabel="round")
panels[3].set(ylabel="classes in use", ylim=(0, 10.5));

# %% [markdown]
# The third is mode collapse as on the ring: the loss of the forger is small, and its variety gone. In the second nothing
# is drawn at all, and the judge, who must name something, calls nearly all of it alike. The repairs: one move each, and
# no momentum. In an ordinary minimisation momentum averages noise away. In a game the slope turns round when the
# opponent moves, and momentum carries each player past the point where the other has just been.
#
# ## Results: the shipped generators
#
# The same code, trained for longer (`make checkpoints NAME=gan`). One draws whatever it likes; the other is
# **conditional**: its generator gets the label beside the noise, and its discriminator asks "is this a real *seven*?"
# by adding the product of a vector for each class with its features (Miyato & Koyama, 2018).

# %%
# Figure: three blocks of 50 digits at the same size: real ones, those of the unconditional GAN, and those
# of the conditional one, sorted by class. Most drawn digits could pass for real at this size; some are
# malformed, more of them in the second block.
free, artist = load_checkpoint("gan"), load_checkpoint("conditional_gan")
labels = torch.arange(50) // 5
blocks = {"real": x_test[:50], "unconditional": free.sample(50, generator=seeded(5)),
          "conditional": artist.sample(50, labels, seeded(5))}
fig, panels = plt.subplots(1, 3, figsize=(9, 2.1), gridspec_kw={"wspace": 0.1})
for ax, (name, images) in zip(panels, blocks.items()):
    grid(images, n_col=10, ax=ax, title=name)

# %% [markdown]
# In numbers: the **Fréchet distance** of 1,000 samples from the 1,000 test digits, in the judge's features, with a 95 %
# interval. For scale, in the table: real training digits score 0.3, lesson 13's mixture of Gaussians 26. (The table's
# row of each GAN is of other samples, so its number differs a little from ours.)

# %%
from course_lib.leaderboard import leaderboard
from course_lib.metrics import bootstrap, control_accuracy

thousand = {"gan": free.sample(1000, generator=seeded(1)),
            "conditional_gan": artist.sample(1000, torch.arange(1000) % 10, seeded(1))}
features = {name: judge_features(images) for name, images in thousand.items()}
for name, bound, upper in (("gan", 4.5, 5.5), ("conditional_gan", 0.9, 1.4)):
    value, low, high = bootstrap(frechet_distance, features[name], real_features, n=100)
    claim(f"Fréchet distance of {name}", value, "<=", bound, digits=2)
    claim("    upper end of its interval", high, "<=", upper, digits=2)
leaderboard("training_digits", "conditional_gan", "gan", "class_gaussians", "gaussian_mixture", "noise")

# %% [markdown]
# Why is the conditional one so much better? Count what the free one draws.

# %%
# Figure: bars for the digits 0 to 9, the share of 1,000 samples in which the judge sees them, for the
# conditional generator, all near 0.1, and for the free one, uneven.
with torch.no_grad():
    probs = {name: the_judge()(images).softmax(1) for name, images in thousand.items()}
share = {name: pr.argmax(1).bincount(minlength=10) / 1000 for name, pr in probs.items()}
fig, ax = plt.subplots(figsize=(6.4, 2.4))
for i, (name, s) in enumerate(share.items()):
    ax.bar(ten - 0.2 + 0.4 * i, s, width=0.38, label=name)
ax.axhline(0.1, color="0.4", lw=1, ls="--")
ax.set(xlabel="digit, to the judge", ylabel="share of samples", xticks=range(10), ylim=(0, 0.18))
ax.legend(ncols=2, loc="upper left");

# %%
claim("share of the rarest digit, free generator", share["gan"].min(), ">", 0.05)
claim("share of the rarest digit, conditional generator", share["conditional_gan"].min(), ">", 0.09)
claim("classes in use, free generator", class_entropy(probs["gan"]).exp(), ">=", 9.7)
in_use = class_entropy(probs["conditional_gan"]).exp()
claim("classes in use, conditional generator", in_use, ">=", 9.9)
seen = control_accuracy(None, thousand["conditional_gan"], torch.arange(1000) % 10)
claim("share in which the judge sees the digit asked for", seen, ">=", 0.98)

# %% [markdown]
# Nothing punishes a rare class until the discriminator notices that it is rare. That is a mild mode collapse, and labels
# cure it: each class then has a game of its own.
#
# ### Has it copied?
#
# A generator that stores the training set would score well. So we look at the nearest training digit of each sample, in
# the judge's features.

# %%
# Figure: ten samples of the conditional generator above, below each its nearest training digit: the same
# class and a similar hand, but different strokes.
from course_lib.metrics import memorisation, nearest_neighbours

train_features = judge_features(x)
_, nearest = nearest_neighbours(features["conditional_gan"][:10], train_features)
strip({"drawn": thousand["conditional_gan"][:10], "nearest real": x[nearest[:, 0]]})
pixels, _ = nearest_neighbours(thousand["conditional_gan"].flatten(1), x.flatten(1))            # (1000, 1)
claim("smallest distance from a training digit, grey value", pixels.min() / 28, ">", 0.03)
copying = memorisation(features["conditional_gan"], train_features, real_features)
claim("copying score of the conditional generator (real digits: 0.5)", copying, "<", 0.75)

# %% [markdown]
# ## Predict, then turn one knob: less noise
#
# A generator is trained on $z \sim \mathcal N(0, I)$. What if we hand it $\tau z$, as we did in lesson 13? **Write
# down a guess:** what happens to the images for $\tau = 0.3$, and to precision and recall?

# %%
# Figure: the digits 0 to 9 for four values of the knob, 0, 0.5, 1 and 1.5.
def at_temperature(tau, n=10):
    z = tau * torch.randn(n, artist.config.n_latent, generator=seeded(1))
    with torch.no_grad():
        return artist(z, torch.arange(n) % 10)                    # (n, 1, 28, 28)

strip({rf"$\tau$ = {tau}": at_temperature(tau) for tau in (0, 0.5, 1, 1.5)});

# %%
# Figure: left, precision and recall, right, the Fréchet distance, against the knob from 0.25 to 1.5.
from course_lib.metrics import precision_recall

taus = [0.25, 0.5, 0.75, 1.0, 1.25, 1.5]
clouds = [judge_features(at_temperature(tau, 1000)) for tau in taus]
precision, recall = zip(*(precision_recall(real_features, c) for c in clouds))
distances = [frechet_distance(c, real_features) for c in clouds]
fig, (left, right) = plt.subplots(1, 2, figsize=(8, 2.8))
curves({"precision": (taus, precision), "recall": (taus, recall)}, ax=left, xlabel=r"$\tau$",
       ylabel="share")
curves({"Fréchet distance": (taus, distances)}, ax=right, xlabel=r"$\tau$", ylabel="Fréchet distance")
right.set(ylim=(0, None))
claim("precision at τ = 0.5 minus that at 1", precision[1] - precision[3], ">", 0.03)
claim("recall at τ = 0.5 minus that at 1", recall[1] - recall[3], "<", -0.3)
claim("τ with the lowest distance", taus[distances.index(min(distances))], ">=", 0.75, digits=2)

# %% [markdown]
# Precision falls with $\tau$ and recall rises; the Fréchet distance counts both. Less noise makes every image typical: nothing is wrong, and nothing is new. BigGAN calls the knob that trades variety
# for safety the *truncation trick* (Brock, Donahue & Simonyan, 2019). When you run this page yourself, the slider moves:

# %%
# Figure: forty digits at temperature 1, four of each.
def turn(tau):
    grid(at_temperature(tau, 40), n_col=10)

sliders(turn, tau=(1.0, 0.0, 2.0, 0.1))

# %% [markdown]
# ## In the wild
#
# A GAN draws in one step, which is why its loss lives on in fast samplers, upscalers and the autoencoders of latent
# diffusion. An upscaler of that kind:
#
# ```python
# from diffusers import StableDiffusionUpscalePipeline
#
# name = "stabilityai/stable-diffusion-x4-upscaler"
# upscale = StableDiffusionUpscalePipeline.from_pretrained(name).to("cuda")
# upscale.vae                                   # trained with a discriminator beside the squared error
# ```
#
# In PyTorch the two losses are `binary_cross_entropy_with_logits` with the targets 1 and 0.

# %% [markdown]
# ## Recap
#
# - The best discriminator is $p / (p + q)$: a classifier learns a ratio of densities that nobody can write down.
# - The generator minimises $-\log D(G(z))$, which pushes hardest where the forgeries are worst.
# - The two take turns. A forger that moves too often, or with momentum, collapses, and no loss says so: count.
# - With labels each class has a game of its own, and none is lost.
# - Less noise is safer and less varied.
#
# **What we left out.**
#
# - **A better distance.** When real and fake data do not overlap, the Jensen–Shannon divergence is $\log 2$ however
#   far apart they are. The Wasserstein distance is not: lesson 42 (to come).
# - **Proofs of convergence.** Even the best players can circle for ever: with $D$ and $G$ one number each and the payoff
#   $d \cdot g$, gradient steps spiral outwards. R1 is one of the few repairs with a proof, near the solution.
#
# **Exercises:** [41_gan](../exercises/41_gan/41_gan.ipynb). One more to think about: play the game of one number each
# by hand, with and without momentum.
#
# **Next**, [lesson 51](51_attention.ipynb): from images to sequences, and to models that choose what to look at.
#
# ## Read on
#
# - I. Goodfellow et al., *Generative adversarial nets* (2014), [arXiv:1406.2661](https://arxiv.org/abs/1406.2661): the
#   game, proposition 1 and theorem 1.
# - A. Radford, L. Metz & S. Chintala, *Unsupervised representation learning with deep convolutional GANs* (2016),
#   [arXiv:1511.06434](https://arxiv.org/abs/1511.06434).
# - L. Metz, B. Poole, D. Pfau & J. Sohl-Dickstein, *Unrolled generative adversarial networks* (2017),
#   [arXiv:1611.02163](https://arxiv.org/abs/1611.02163): the ring.
# - L. Mescheder, A. Geiger & S. Nowozin, *Which training methods for GANs do actually converge?* (2018),
#   [arXiv:1801.04406](https://arxiv.org/abs/1801.04406): R1, and the game of one number each.
# - T. Miyato & M. Koyama, *cGANs with projection discriminator* (2018),
#   [arXiv:1802.05637](https://arxiv.org/abs/1802.05637); A. Brock, J. Donahue & K. Simonyan, *Large scale GAN training
#   for high fidelity natural image synthesis* (2019), [arXiv:1809.11096](https://arxiv.org/abs/1809.11096).
# - In the library: `gan.py` (`discriminator_loss`, `generator_loss`, `saturating_loss`, `r1_penalty`, `fit_gan`,
#   `optimal_discriminator`, `modes_hit`, `class_entropy`) and `dcgan.py` (`Generator`, `Discriminator`).
