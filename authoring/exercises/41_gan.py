# %% [markdown]
# # Exercise 41 · Generative adversarial networks
#
# Six tasks on lesson 41: four pieces of code, one measurement, two short texts. They take about two hours, and run in
# some twenty seconds. Everything happens on the ring of eight Gaussians, where training takes seconds and a sample that
# is wrong can be seen to be wrong.
#
# - Write your answer **in place of** `raise NotImplementedError()`, then run the cell and the check below it.
# - A check prints `ok:` and the name of the task, or one sentence about what is wrong. It tries your function on
#   several random inputs, also on a single example. It looks at what your function returns, never at how it is written.
# - `hint()` says more about the last mistake that a check has found. Call it in a cell of its own, as below.
# - You may add cells of your own anywhere. Change neither the checks nor the first line of a function.
# - Points stand beside each task. Tasks 1 to 4a and 5 are graded by a program, which also runs your functions on
#   inputs that you do not see here; 4b and 6 are read by a person.

# %%
import math

import matplotlib.pyplot as plt
import torch
from torch import nn
from torch.nn.functional import softplus

from course_lib.checks import gan as check
from course_lib.checks import hint
from course_lib.claims import claim
from course_lib.data import toys
from course_lib.device import seed, seeded
from course_lib.plots import curves, scatter

ring = toys.ring()                                                # 8 Gaussians: .means (8, 2), .std = 0.1

# %%
# Stuck after a check? Run hint(): it says where to look first, then how, and the code only at last.
hint()

# %% [markdown]
# ## 1 · How many modes, and how good? (2 points)
#
# Two numbers tell at a glance what a generator has learned of the ring. A sample *belongs* to the centre that is nearest to
# it, and it is **good** if it lies within a distance `radius` of that centre. A mode is **found** if at least `least` good
# samples belong to it.
#
# **Given** N samples `x` of shape (N, 2), K centres of shape (K, 2), the number `radius`, and the whole number `least`.
# **Asked:** how many modes are found, and which share of the N samples is good, a number between 0 and 1: two numbers, in this
# order. **Checked:** both, also for N = 1, for a single centre, and for circles that overlap.

# %% tags=["solution:ring_score"]
def ring_score(x, centres, radius, least):
    """(N, 2), (K, 2), a distance, a count -> modes found (0 ... K), share of good samples (0 ... 1)"""
    ### BEGIN SOLUTION
    distance, nearest = torch.cdist(x, centres).min(1)            # (N,), (N,)
    good = distance <= radius
    count = nearest[good].bincount(minlength=len(centres))        # (K,)
    return (count >= least).sum(), good.float().mean()
    ### END SOLUTION

# %% tags=["test:check_ring_score:2"]
check.ring_score(ring_score)
### BEGIN HIDDEN TESTS
_y = torch.tensor([0] * 50 + [3] * 30 + [5] * 20)
_x = ring.means[_y] + 0.01 * torch.randn(100, 2)
_x[::5] *= 3                                                      # a fifth of the samples, far out
_found, _share = ring_score(_x, ring.means, 0.3, 20)
assert int(_found) == 2 and abs(float(_share) - 0.8) < 1e-5
### END HIDDEN TESTS

# %% [markdown]
# ## 2 · A discriminator that may not be too sure (3 points)
#
# A discriminator that is certain of its answers teaches a generator little. *One-sided label smoothing* (Salimans et al.,
# 2016) asks it for a little doubt: it shall call a real example real with probability `target`, for instance 0.9, instead of 1.
# With $D = \sigma(\text{logit})$, the probability of "real", and $t$ for the target, the losses are
#
# $$L_D = -\mathbb E_\text{real}\bigl[\,t \log D + (1 - t) \log(1 - D)\,\bigr] - \mathbb E_\text{fake}\bigl[\log(1 - D)\bigr],
# \qquad L_G = -\mathbb E_\text{fake}\bigl[\log D\bigr].$$
#
# With $t = 1$ they are those of the lesson. The generator's is the non-saturating one, and it is not smoothed.
#
# **Given** the logits of N real and M fake examples, of shape (N,) and (M,), and the number `target`. **Asked:** both losses,
# the discriminator's first, each $\mathbb E$ as a mean over its own batch. **Checked:** the values and their gradients,
# also for N = 1, for batches of different size, and for logits like 300 or −300, of a discriminator that is far too sure.

# %% tags=["solution:losses"]
def losses(real_logits, fake_logits, target):
    """(N,), (M,) and a number -> loss of the discriminator (), loss of the generator ()"""
    ### BEGIN SOLUTION
    # softplus(-s) = -log sigmoid(s)
    real = target * softplus(-real_logits) + (1 - target) * softplus(real_logits)
    return real.mean() + softplus(fake_logits).mean(), softplus(-fake_logits).mean()
    ### END SOLUTION

# %% tags=["test:check_losses:3"]
check.losses(losses)
### BEGIN HIDDEN TESTS
_real, _fake = torch.randn(6), torch.randn(4)
_bce = nn.functional.binary_cross_entropy
_got = losses(_real.clone(), _fake.clone(), 0.85)
_want = (_bce(_real.sigmoid(), torch.full((6,), 0.85)) + _bce(_fake.sigmoid(), torch.zeros(4)),
         _bce(_fake.sigmoid(), torch.ones(4)))
assert all(abs(float(a) - float(b)) < 2e-3 for a, b in zip(_got, _want))
assert abs(float(losses(torch.tensor([200.0]), torch.tensor([-150.0]), 0.9)[0]) - 20) < 0.1
### END HIDDEN TESTS

# %% [markdown]
# ## 3 · How steep is a discriminator? (3 points)
#
# The R1 penalty of the lesson is the mean over real examples of one quantity: the squared length of the gradient of the logit
# in the example,
#
# $$\bigl\| \nabla_{x}\, a(x) \bigr\|^2 = \sum_{j} \Bigl(\frac{\partial a(x)}{\partial x_j}\Bigr)^2 ,$$
#
# where $a(x)$ is the logit and $j$ runs over all numbers of which $x$ consists. Write it for each example, so that it can also
# be looked at, and so that a discriminator can be *trained* with it: that is, gradients must flow on into the parameters of
# the discriminator.
#
# **Given** a `discriminator`, any module that turns `x` into one logit for each example, in the shape (B,) or (B, 1), and treats
# each example by itself; and `x`, a batch of points (B, D) or of images (B, C, H, W). **Asked:** the squared length for each
# example, shape (B,). **Checked:** the values, for points and for images, also for B = 1; their gradient with
# respect to the discriminator's parameters; and that the call alone leaves nothing behind in the parameters' `.grad`.

# %% tags=["solution:squared_slope"]
def squared_slope(discriminator, x):
    """a module and (B, ...) -> (B,), differentiable with respect to the module's parameters"""
    ### BEGIN SOLUTION
    x = x.detach().requires_grad_()
    slope, = torch.autograd.grad(discriminator(x).sum(), x, create_graph=True)   # (B, ...)
    return slope.flatten(1).square().sum(1)
    ### END SOLUTION

# %% tags=["test:check_squared_slope:3"]
check.squared_slope(squared_slope)
### BEGIN HIDDEN TESTS
_plane = nn.Linear(3, 1)                                          # s = w.x + b: the slope is w everywhere
_got = squared_slope(_plane, torch.randn(4, 3))
torch.testing.assert_close(_got.float(), (_plane.weight**2).sum().expand(4), rtol=1e-3, atol=1e-3)
_got.sum().backward()
torch.testing.assert_close(_plane.weight.grad, 8 * _plane.weight.detach(), rtol=1e-3, atol=1e-3)
_image = nn.Sequential(nn.Conv2d(1, 1, 2, stride=2), nn.Flatten(), nn.Linear(4, 1))
_want = torch.kron(_image[2].weight.view(2, 2), _image[0].weight[0, 0])
_got = squared_slope(_image, torch.randn(3, 1, 4, 4))
torch.testing.assert_close(_got.float(), (_want**2).sum().expand(3), rtol=1e-3, atol=1e-3)
### END HIDDEN TESTS

# %% [markdown]
# ## 4 · A game that goes on all the same
#
# ### 4a · Find the bug (3 points)
#
# One step of the game: first the generator moves, then the discriminator. It runs without an error, and the generator learns.
# But it has **one bug**.

# %%
def train_step_broken(generator, discriminator, g_opt, d_opt, real, z):
    g_opt.zero_grad()
    d_opt.zero_grad()
    fake = generator(z)
    g_loss = softplus(-discriminator(fake)).mean()                            # -log D(fake)
    g_loss.backward()
    g_opt.step()
    d_loss = softplus(-discriminator(real)).mean() + softplus(discriminator(fake.detach())).mean()
    d_loss.backward()
    d_opt.step()
    return d_loss.item(), g_loss.item()

# %% [markdown]
# We play it on the ring, from two random numbers `z` for each sample, with two small networks.

# %%
def play(train_step, steps, n=0, n_z=2):
    """Train two new players from the seed n -> the generator, and both losses in each step (steps, 2)"""
    seed(n)
    generator = nn.Sequential(nn.Linear(n_z, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(),
                              nn.Linear(64, 2))
    discriminator = nn.Sequential(nn.Linear(2, 64), nn.LeakyReLU(0.2), nn.Linear(64, 64),
                                  nn.LeakyReLU(0.2), nn.Linear(64, 1))
    players = generator, discriminator
    g_opt, d_opt = (torch.optim.Adam(p.parameters(), lr=1e-3, betas=(0.0, 0.99)) for p in players)
    history = [train_step(*players, g_opt, d_opt, ring.sample(128), torch.randn(128, n_z))
               for _ in range(steps)]
    return generator, torch.tensor(history)

generator, history = play(train_step_broken, steps=1200)
with torch.no_grad():
    drawn = generator(torch.randn(1000, 2, generator=seeded(0)))

# %% [markdown]
# *Figure: left, the eight dots of the ring in black, over them 1,000 samples of the generator in orange, along the whole
# circle and through all of the dots, a few inside. Right, both losses by step: after 600 steps that of the discriminator stays near
# 1.43, above the line at log 4, and that of the generator near 0.43, below the line at log 2.*

# %% tags=["nbval-ignore-figure"]
# not compared: the networks were trained in this notebook
fig, (left, right) = plt.subplots(1, 2, figsize=(8, 3.2), width_ratios=[1, 1.5])
scatter(ring.sample(1000, seeded(1)), ax=left, s=4)
left.scatter(*drawn.T, s=4, color="C1")
curves({"discriminator": (range(1200), history[:, 0]), "generator": (range(1200), history[:, 1])},
       ax=right, smooth=50)
for value, name in ((math.log(4), "log 4"), (math.log(2), "log 2")):
    right.axhline(value, color="0.4", lw=1, ls="--")
    right.text(1275, value, name, va="center", fontsize=8)
right.set_ylabel("loss (nats)")
right.legend(fontsize=8, loc="center right");

# %% [markdown]
# The samples look promising. But the losses cannot be right. A discriminator that knows nothing and always says $D = \tfrac12$
# has the loss $\log 4 = 1.386$. This one is trained to lower its loss, and in the long run it is *worse* than that:

# %%
late = history[-400:].mean(0)
claim("loss of the discriminator, last 400 steps", late[0], ">", 1.387, digits=3)
claim("loss of the generator, last 400 steps", late[1], "<", 0.5)

# %% [markdown]
# **Given** both players, an optimiser for each, B real examples `real`, and B random inputs `z`. **Asked:** `train_step`,
# the same function without the bug: it makes one step of each player, and returns the discriminator's loss and the
# generator's, in this order. Copy the one above and repair it; what each loss computes is right. **Checked:** both losses and
# what each player's parameters are afterwards. (Each player is tried beside one that holds still, so it does not matter which
# of them moves first.)
#
# Do not guess. Which gradients are where, before and after each line? `discriminator[0].weight.grad` shows some of them.

# %% tags=["solution:train_step"]
def train_step(generator, discriminator, g_opt, d_opt, real, z):
    """One step of both players -> loss of the discriminator, loss of the generator"""
    ### BEGIN SOLUTION
    g_opt.zero_grad()
    fake = generator(z)
    g_loss = softplus(-discriminator(fake)).mean()
    g_loss.backward()                                             # fills the discriminator's gradients too
    g_opt.step()
    d_opt.zero_grad()                                             # so they must be cleared here
    d_loss = softplus(-discriminator(real)).mean() + softplus(discriminator(fake.detach())).mean()
    d_loss.backward()
    d_opt.step()
    return d_loss.item(), g_loss.item()
    ### END SOLUTION

# %% tags=["test:check_train_step:3"]
check.train_step(train_step)
### BEGIN HIDDEN TESTS
torch.manual_seed(0)
_g, _d, _real, _z = nn.Linear(2, 2), nn.Linear(2, 1), torch.randn(5, 2), torch.randn(5, 2)
_w, _still = _d.weight.detach().clone(), _g.weight.detach().clone()
_fake = _g(_z).detach()                                           # by hand: the gradient of D's loss
_want = (-(1 - _d(_real).sigmoid()) * _real).mean(0) + (_d(_fake).sigmoid() * _fake).mean(0)
_optimizers = torch.optim.SGD(_g.parameters(), lr=0.0), torch.optim.SGD(_d.parameters(), lr=1.0)
train_step(_g, _d, *_optimizers, _real, _z)
torch.testing.assert_close(_w - _d.weight.detach(), _want.detach()[None], rtol=1e-3, atol=1e-4)
_w, _before = _d.weight.detach().clone(), _d(_g(_z)).mean().item()
_optimizers = torch.optim.SGD(_g.parameters(), lr=0.1), torch.optim.SGD(_d.parameters(), lr=0.0)
train_step(_g, _d, *_optimizers, _real, _z)
assert torch.equal(_w, _d.weight) and not torch.equal(_still, _g.weight)
assert _d(_g(_z)).mean().item() > _before
### END HIDDEN TESTS

# %% [markdown]
# ### 4b · What did it play? (3 points)
#
# Play with your `train_step`, in a cell of your own, and compare. The broken game was no accident: it converges, to
# losses that can be predicted.
#
# **Explain** in four to eight sentences. Which loss does the broken discriminator minimise? Suppose the generator is already
# perfect, so that real and fake examples have the same density: which $D$ is then the best for *that* loss, and what are the
# two losses that the loop reports? Compare with the figure. And why does the generator learn all the same?
#
# (At a point with densities $p$ and $q$, write down what the point adds to the loss, as a function of $D$,
# and set its derivative to zero.)

# %% [markdown] tags=["manual:explain_broken_game:3"]
# `g_loss.backward()` leaves its gradient in the discriminator's parameters, `d_loss.backward()` adds its own, and so the
# discriminator descends on the *sum* of both losses (but for the small step that the generator made in between). At a point with
# densities $p$ and $q$ this sum is $-p \log D - q \log(1 - D) - q \log D$. Its derivative $-(p + q)/D + q/(1 - D)$ is zero at
# $D = (p + q)/(p + 2q)$. For $p = q$ that is $\tfrac23$: the fakes plead for themselves, so the discriminator doubts them less than
# it should. The loop then reports $-\log\tfrac23 - \log\tfrac13 = 1.50$ for the discriminator and $-\log\tfrac23 = 0.41$ for the generator.
# Both agree with the figure, where the generator is not yet perfect (about 1.43, and 0.43), while the losses of
# the right game stay below $\log 4$ and above $\log 2$ and come closer to them. The generator learns all the same because this $D$ still grows with $p/q$: uphill is where real
# examples are more frequent than fakes. But it only runs from $\tfrac12$ to 1, so the slopes are smaller, and a fake is never called
# a fake; the generator learns the same more slowly.
#
# **Rubric.** 1 point: the discriminator minimises the sum of both losses, because the gradients of `g_loss` are still there. 1 point:
# the best $D$ is $(p + q)/(p + 2q)$, or directly 2/3 for equal densities, and the losses are 1.50 and 0.41; allow small errors of
# arithmetic. 1 point: $D$ still rises where real examples are more frequent, so that the generator is pushed in the right direction
# (more weakly).

# %% [markdown]
# ## 5 · Measure: what does forgetting cost? (2 points)
#
# Here is a generator that draws perfect samples, but has forgotten three of the eight modes and prefers one.
#
# *Figure: the eight dots of the ring in black, over them in orange samples of the forgetful generator: five neighbouring dots, the first
# one dense; the other three are empty.*

# %%
shares = torch.tensor([0.4, 0.2, 0.2, 0.1, 0.1, 0.0, 0.0, 0.0])   # of the modes; in the ring, each has 1/8

def forgetful(n, generator=None):
    """n samples (n, 2)"""
    mode = torch.multinomial(shares, n, replacement=True, generator=generator)
    return ring.means[mode] + ring.std * torch.randn(n, 2, generator=generator)

ax = scatter(ring.sample(1000, seeded(1)), s=4)
ax.scatter(*forgetful(1000, seeded(0)).T, s=4, color="C1");

# %% [markdown]
# A likelihood would be of no help, since a forgetful generator gives the lost modes a density of nearly zero, and its logarithm may be
# anything down to $-\infty$. The Jensen–Shannon divergence between the ring and this generator is finite, and the lesson says how to find it without
# knowing any density: train a discriminator until it is as good as it can be. Its loss is then $\log 4 - 2\,\text{JS}$.
#
# **Given** `ring.sample(n)` and `forgetful(n)`. **Asked:** `divergence`, the Jensen–Shannon divergence between the two in nats,
# measured with a discriminator that you train, and on samples that it has not been trained on. **Checked:** your number, within 8
# percent.
#
# A network with two hidden layers of 64 units and some 500 steps of Adam are enough. `play` shows how such a network is made.

# %% tags=["solution:divergence"]
divergence = ...  # set it to your number at the end
### BEGIN SOLUTION
def measured(fake, steps=500, lr=3e-3, n=0):
    """Jensen-Shannon divergence between the ring and what fake(n) draws, in nats; n is the seed"""
    seed(n)
    critic = nn.Sequential(nn.Linear(2, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 1))
    adam = torch.optim.Adam(critic.parameters(), lr=lr)
    for _ in range(steps):
        d_loss, _ = losses(critic(ring.sample(256)), critic(fake(256)), 1.0)
        adam.zero_grad()
        d_loss.backward()
        adam.step()
    with torch.no_grad():
        d_loss, _ = losses(critic(ring.sample(20_000)), critic(fake(20_000)), 1.0)
    return (math.log(4) - d_loss.item()) / 2

divergence = measured(forgetful)
p = torch.full((8,), 1 / 8)                                       # by hand, as the modes do not overlap
m = (p + shares) / 2
by_hand = (torch.xlogy(p, p / m) + torch.xlogy(shares, shares / m)).sum().item() / 2
claim("divergence, computed by hand (nats)", by_hand, "<", 0.179, digits=4)
claim("the measured one, as a share of it", divergence / by_hand, ">", 0.95)
### END SOLUTION

# %% tags=["test:check_divergence:2"]
check.divergence(divergence, shares)
### BEGIN HIDDEN TESTS
assert 0.1635 < float(divergence) < 0.1925, "the divergence is not within 8 percent of 0.178 nats"
### END HIDDEN TESTS

# %% [markdown]
# ## 6 · Your own question (4 points)
#
# Ask a question about the game that the lesson does not answer, **write down your guess**, and find out. Examples: Does the
# smoothing of task 2, or the penalty of task 3, help on the ring, and which of `ring_score`'s two numbers does it change? What
# if the discriminator gets two steps for each of the generator? With how many random numbers `z` does the game go best?
# How does the divergence of task 5 grow when one mode after the other is lost? And in the shipped GAN of the lesson: which
# digit does the judge see least often? Your code shall run in less than a minute.

# %% tags=["solution:own_experiment"]
def knows(k):
    """A generator that draws the first k modes equally often"""
    return lambda n: ring.means[torch.randint(k, (n,))] + ring.std * torch.randn(n, 2)

lost = (0, 2, 4, 6, 7)
cost = torch.tensor([[measured(knows(8 - k), 200, 5e-3, n) for n in range(2)] for k in lost])  # (5, 2)
mean = cost.mean(1)
claim("what each of the first two modes costs (nats)", (mean[1] - mean[0]) / 2, "<", 0.06)
claim("what the seventh costs (nats)", mean[4] - mean[3], ">", 0.09)
fig, ax = plt.subplots(figsize=(4.5, 2.8))
ax.plot(lost, cost, "o", color="C0")
ax.plot(lost, mean, "-", color="C0", label="mean of two seeds")
ax.axhline(math.log(2), color="0.4", lw=1, ls="--", label="log 2, the largest possible")
ax.set(xlabel="modes forgotten, of eight", ylabel="divergence (nats)")
ax.legend(fontsize=8);

# %% [markdown]
# Write here: your question, your guess, what you did, what came out (a number or a figure), how sure you are of it, and what
# you would try next. Half a page is plenty.

# %% [markdown] tags=["manual:own_question:4"]
# *An example of an answer.* **Question:** how much does the divergence of task 5 grow when a generator forgets one mode after the
# other? **Guess:** the first mode costs most, since one error is what spoils perfection. **Experiment:** generators that draw 8, 6, 4,
# 2 or 1 of the modes, equally often; the divergence as in task 5, with 200 steps for each discriminator and two seeds. **Result:** from 0 it
# grows to about 0.1, 0.21, 0.38 and 0.5 nats. So the first two modes cost some 0.05 each, and the seventh more than twice as much: the
# opposite of what I had guessed. A generator that draws one mode of eight is still 0.2 nats below the limit of log 2, because its samples
# are real ones. **Sure?** Two seeds differ by less than 0.01. What a discriminator measures is a lower bound, since a better one would
# find a larger value; but task 5 was right to a few percent, and the differences are larger. **Next:** unequal shares, to see if a
# mode that is merely rare costs as much as one that is lost.
#
# **Rubric.** 1 point: a question that can be answered by an experiment, and a guess made before. 1 point: one thing is changed
# and the rest held fixed. 1 point: a number or a figure with labelled axes, described truthfully, whether or not it agrees with
# the guess. 1 point: says how sure the result is (several seeds, the spread of a share) or what might be wrong with it.
