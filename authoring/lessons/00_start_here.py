# %% [markdown]
# # 00 · Start here: how a program learns from examples
#
# Every model in this course, from the classifier of the next lesson to those that write text and draw digits on
# demand, is trained in the same way. A **model** is a function with adjustable numbers $\theta$ inside, its
# *parameters*. A **loss** $L(\theta)$ is one number that says how badly the model does on some examples. Training
# repeats one line,
#
# $$\theta \;\leftarrow\; \theta - \eta\, \nabla L(\theta),$$
#
# where the gradient $\nabla L(\theta)$ says for every parameter how fast the loss grows with it, and the small number
# $\eta$ (eta), the *learning rate*, says how far to go against it. At the end of this lesson you will have trained a
# network of 1,185 parameters to tell two spirals apart, watched it bend its decision around them, and compared it with
# the best decision that is possible at all, the picture below. You will also have broken it on purpose.
#
# **You need** one year of Python, and derivatives and matrices from one term at university. All symbols are in the
# [table of symbols](symbols.ipynb). **It takes** about an hour to read and half a minute to run on a laptop CPU.

# %% [markdown]
# ## How this course works
#
# - **Run the cells in order** with Shift + Enter. Change something, run it again: nothing here can break for good.
# - **Predict before you run.** Some cells ask for a guess. Write it down; a wrong guess teaches more than a right one.
# - **Claims are checked.** A line such as `accuracy >= 0.95 (measured 0.974)` is computed when you run it, and it
#   fails loudly if it is false. The number in brackets differs a little from machine to machine; the claim does not.
# - **The library is yours to read.** Each lesson builds one idea in the open, then imports it from `course_lib`,
#   where it is one short file. Later lessons use what earlier ones have built.
# - **Numbers have gaps.** The first digit is the part, the second the lesson. Lessons 22, 32, 33, 42, 43, 44, 52, 53,
#   55, 56, 62, 65, 66 and 87 are still to come. A text that points to one of them says so.
#
# ## Set-up

# %%
import matplotlib.pyplot as plt
import torch
from torch import nn
from torch.nn import functional as F

from course_lib.claims import claim
from course_lib.data.toys import Gaussians, spirals
from course_lib.device import seed, seeded
from course_lib.plots import COLOURS, field, scatter

# %%
# Figure: two kinds of points, blue and orange, in two arms of a spiral. The background is the probability
# of orange by the best possible answer, which follows the arms. A network that sees only the points must
# find it.
data = spirals(std=0.2)
of_arm = [data.labels == k for k in (0, 1)]
halves = [Gaussians(data.means[mask], data.std, data.labels[mask]) for mask in of_arm]
def exact_logit(q):                                               # explained in "How good is it?"
    return halves[1].log_prob(q) - halves[0].log_prob(q)
ax = field(lambda q: torch.sigmoid(exact_logit(q)), vmin=0, vmax=1, alpha=0.45)
scatter(*data.sample_labelled(400, seeded(0)), ax=ax, s=5)
ax.set(xlim=(-3, 3), ylim=(-3, 3));

# %% [markdown]
# `seeded(0)` is a source of random numbers that gives the same ones each time; `seed(0)` does that for everything which
# has no source of its own.
#
# ## One number to learn
#
# We begin with a model so small that a pencil is enough. Three examples are given, an input $x$ and a wanted output $y$
# each:

# %%
x = torch.tensor([1.0, 2.0, 3.0])
y = torch.tensor([2.0, 4.0, 6.0])
print(x.shape, x.dtype)

# %% [markdown]
# A `tensor` is PyTorch's array: numbers of one type (`dtype`) in a box with a `shape`. This one has a single axis
# with three places.
#
# Our model is $\hat y = w x$ with a single parameter $w$. You can see that $w = 2$ is right; the program cannot. It
# gets a loss instead, the mean of the squared errors,
#
# $$L(w) = \frac13 \sum_{i=1}^{3} (w x_i - y_i)^2 .$$
#
# At $w = 0$ the three errors are $-2, -4, -6$, and the loss is $(4 + 16 + 36)/3 = 56/3$.

# %%
def loss(w):
    return (w * x - y).square().mean()

print(f"L(0) = {loss(0.0):.4f}, and 56/3 = {56 / 3:.4f}")
print(f"L(2) = {loss(2.0):.4f}")

# %% [markdown]
# ### Which way is down?
#
# The chain rule gives the slope: $\frac{dL}{dw} = \frac13 \sum_i 2\,(w x_i - y_i)\,x_i$. At $w = 0$ this is
# $-\frac23 (2 + 8 + 18) = -\frac{56}{3}$. The minus sign says that the loss falls when $w$ grows.

# %%
def slope(w):
    return (2 * (w * x - y) * x).mean()

print(f"dL/dw at 0 is {slope(0.0):.4f}")

# %% [markdown]
# You will never have to do this again. PyTorch writes down every operation it performs on a tensor that was made with
# `requires_grad=True`, and `backward()` walks through that list from the end to the start, applying the chain rule at
# each entry. This is **autograd**. The result lands in `.grad`.

# %%
w = torch.tensor(0.0, requires_grad=True)
loss(w).backward()
print(f"autograd says {w.grad:.4f}")
torch.testing.assert_close(w.grad, slope(0.0))                    # raises an error if they differ

# %% [markdown]
# ### Walk down
#
# Now the one line of all training: change $w$ by $-\eta$ times the slope, and again, and again.

# %%
def descend(eta, steps, w=0.0):
    path = [w]
    for _ in range(steps):
        w = w - eta * slope(w).item()
        path.append(w)
    return path

print([round(w, 3) for w in descend(eta=0.05, steps=8)])

# %% [markdown]
# To draw the loss we need it at many values of $w$. A loop would do, but tensors can do it at once. `ws[:, None]` has
# shape (200, 1), `x` has shape (3,). Where two shapes do not match, PyTorch lines them up from the right and repeats
# axes of length 1 until they do. This is **broadcasting**, and here it gives a table of shape (200, 3): every $w$ with
# every example. `mean(1)` averages over the examples.

# %%
ws = torch.linspace(-0.5, 4.5, 200)
table = (ws[:, None] * x - y).square()
print(ws[:, None].shape, "with", x.shape, "gives", table.shape)
curve = table.mean(1)                                             # (200,) the loss at each w

# %%
# Figure: the loss is a parabola with its lowest point at $w = 2$. The steps get shorter as the slope gets
# flatter.
def draw_path(ax, eta, steps=8):
    path = torch.tensor(descend(eta, steps))
    ax.plot(ws, curve, color="0.7")
    ax.plot(path, [loss(w) for w in path], "o-", color=COLOURS[0], ms=4, lw=1)
    ax.set(xlabel="$w$", ylabel="loss $L(w)$", xlim=(-0.5, 4.5), ylim=(-3, 60))
    ax.set_title(rf"$\eta$ = {eta}")

fig, ax = plt.subplots(figsize=(4, 3))
draw_path(ax, eta=0.05)

# %% [markdown]
# **Predict.** The steps above were cautious. What happens with four times the learning rate, $\eta = 0.2$? And with
# $\eta = 0.22$? Draw what you expect before you run the next cell.

# %%
# Figure: the same walk with three learning rates. The middle one jumps from side to side and still
# arrives; the right one jumps further each time and leaves.
fig, axes = plt.subplots(1, 3, figsize=(9, 2.9), sharey=True)
for ax, eta in zip(axes, (0.1, 0.2, 0.22)):
    draw_path(ax, eta)
    ax.label_outer()

# %% [markdown]
# The border can be computed. Put $y_i = 2x_i$ into the slope: it is $\frac{28}{3}(w - 2)$, since $1 + 4 + 9 = 14$.
# One step takes the distance $w - 2$ to $\left(1 - \frac{28}{3}\eta\right)(w - 2)$. It shrinks as long as the factor
# lies between $-1$ and $1$, that is, while $\eta < \frac{6}{28} \approx 0.214$. Too large a step is the commonest
# reason why training fails, for this parabola as for a network with a billion parameters.

# %%
claim("distance from 2 after 100 steps with eta = 0.21", abs(descend(0.21, 100)[-1] - 2), "<", 0.05)
claim("distance from 2 after 100 steps with eta = 0.22", abs(descend(0.22, 100)[-1] - 2), ">", 10)

# %% [markdown]
# ## Two kinds of points
#
# Now a problem where nobody can see the answer from the formula: points in the plane that belong to two arms of a
# spiral. Each arm is a chain of small round Gaussians (bell curves) with standard deviation 0.2, so that the arms
# overlap a little. We draw 400 points to learn from, and 2,000 more that the model will not see until it is measured.

# %%
points, arm = data.sample_labelled(400, seeded(0))                # (400, 2) and (400,) of 0 or 1
test_points, test_arm = data.sample_labelled(2000, seeded(1))
print(points.shape, arm.shape, arm[:8].tolist())

# %% [markdown]
# ### From a number to a probability
#
# The model shall say *how sure* it is that a point belongs to arm 1. It computes any number $a$, called the
# **logit**, and the **sigmoid** function turns it into a probability between 0 and 1:
#
# $$p = \sigma(a) = \frac{1}{1 + e^{-a}} .$$
#
# The loss is the *surprise* at the true answer: $-\log p$ when the arm $y$ is 1 and $-\log(1 - p)$ when it is 0.
# Being sure and right costs nothing, being sure and wrong costs without limit. This is the **binary cross-entropy**,
# measured in *nats* because the logarithm is the natural one. Saying $p = \frac12$ always costs $\log 2 \approx
# 0.693$.
#
# Since $1 - \sigma(a) = \sigma(-a)$, both cases are a $\log \sigma$. PyTorch has it as one function, `logsigmoid`,
# which stays exact where $e^{-a}$ alone would be too large for a computer's numbers.

# %%
def cross_entropy(a, y):                                          # (N,) logits and (N,) arms -> one number
    return -torch.where(y == 1, F.logsigmoid(a), F.logsigmoid(-a)).mean()

print(f"cost of never committing: {cross_entropy(torch.zeros(400), arm):.4f} nats")

# %% [markdown]
# Its derivative is worth doing once by hand. With $y = 1$, $-\log \sigma(a) = \log(1 + e^{-a})$ has the derivative
# $-\frac{e^{-a}}{1 + e^{-a}} = p - 1$. With $y = 0$ it is $p$. Both together: **the gradient is $p - y$**, the answer
# given minus the answer wanted. You will meet this difference again in nearly every lesson.

# %%
a = torch.randn(400, generator=seeded(2)).requires_grad_()
cross_entropy(a, arm).backward()
by_hand = (torch.sigmoid(a) - arm) / 400                          # the mean of 400 points brings the 1/400
torch.testing.assert_close(a.grad, by_hand.detach())              # detach: the number, without its history
print("p - y agrees with autograd for all 400 points")

# %% [markdown]
# ### The simplest model: a straight line
#
# Let the logit be $a = x_1 w_1 + x_2 w_2 + b$. It is zero on a straight line, so the model can only cut the plane in
# two. By the chain rule, the gradient for $w$ is $\frac1N X^\top (p - y)$, where row $i$ of $X$ is point number $i$
# of $N$. We train without autograd, with nothing but this formula.

# %%
w, b = torch.zeros(2), torch.zeros(())
for _ in range(200):
    error = torch.sigmoid(points @ w + b) - arm                   # (400,)
    w = w - 1.0 * points.T @ error / 400                          # (2, 400) @ (400,) -> (2,)
    b = b - 1.0 * error.mean()
line_accuracy = ((test_points @ w + b > 0) == test_arm).float().mean()
claim("accuracy of the straight line on new points", line_accuracy, "<", 0.75)

# %% [markdown]
# The formula is right, and the gradient reached the bottom: about two thirds is the best that a straight line can do
# here.

# %%
# Figure: the probability of arm 1 that the line gives, from blue (arm 0) to orange (arm 1).
def draw(ax, logit):
    field(lambda q: torch.sigmoid(logit(q)), ax=ax, vmin=0, vmax=1, alpha=0.45)
    scatter(points, arm, ax=ax, s=5)
    ax.set(xlim=(-3, 3), ylim=(-3, 3))

fig, ax = plt.subplots(figsize=(3.4, 3.4))
draw(ax, lambda q: q @ w + b)
ax.set_title("a straight line");

# %% [markdown]
# ## A network that can bend
#
# Two ideas turn the line into something that can follow a spiral. Use *many* lines at once: a layer of 32 of them
# maps a point to 32 numbers, $h = W_1 x + b_1$. And *bend* each result with a function that is not straight, here
# $\tanh$; without it, line after line would still be a line. A second layer combines bent lines into bent shapes, and
# the last one adds them up to one logit:
#
# $$a = w_3^\top \tanh\bigl(W_2 \tanh(W_1 x + b_1) + b_2\bigr) + b_3 .$$
#
# PyTorch keeps parameters in *modules*. `nn.Linear(2, 32)` holds a matrix $W_1$ of 32 × 2 numbers and 32 offsets
# $b_1$, drawn at random.

# %%
def new_network():
    seed(0)                                                       # the same random start each time
    return nn.Sequential(nn.Linear(2, 32), nn.Tanh(), nn.Linear(32, 32), nn.Tanh(), nn.Linear(32, 1))

network = new_network()
n = sum(p.numel() for p in network.parameters())
print(f"{n:,} parameters; by hand {(2 * 32 + 32) + (32 * 32 + 32) + (32 * 1 + 1):,}")

# %% [markdown]
# Autograd must now find 1,185 slopes. Do we trust it? A derivative is a limit, so we can test one: nudge a single
# weight by a tiny amount up and down, and see how much the loss changes. (In double precision, since the change is
# tiny.)

# %%
twin = new_network().double()
weight, nudge = twin[0].weight, 1e-6
def loss_of_twin():
    return cross_entropy(twin(points.double())[:, 0], arm)
loss_of_twin().backward()
with torch.no_grad():  # do not write down these operations
    weight[3, 1] += nudge
    up = loss_of_twin()
    weight[3, 1] -= 2 * nudge
    down = loss_of_twin()
torch.testing.assert_close((up - down) / (2 * nudge), weight.grad[3, 1], rtol=1e-5, atol=1e-9)
print("nudging weight (3, 1) changes the loss as autograd says")

# %% [markdown]
# ### The five lines
#
# Here they are, the five lines inside every training loop of this course, in every framework, at every size:
#
# 1. run the model on a batch of examples;
# 2. compute the loss;
# 3. clear the old gradients, because `backward()` *adds* to them;
# 4. compute the new ones;
# 5. take a step.
#
# While it trains we keep a copy of the network now and then, to look at later.

# %%
def train(network, steps, eta=0.5, clear=True, keep=()):
    losses, album = [], {}
    for step in range(steps + 1):
        if step in keep:
            album[step] = [p.detach().clone() for p in network.parameters()]
        a = network(points)[:, 0]                                 # 1  (400,)
        value = cross_entropy(a, arm)                             # 2
        if clear:
            network.zero_grad()                                   # 3
        value.backward()                                          # 4
        with torch.no_grad():
            for p in network.parameters():                        # 5
                p -= eta * p.grad
        losses.append(value.item())
    return losses, album

# %%
def accuracy(network, x, y):
    with torch.no_grad():
        return ((network(x)[:, 0] > 0) == y).float().mean().item()

losses, album = train(network, steps=1200, keep=(0, 100, 300, 600, 1200))
claim("loss before training", losses[0], ">", 0.6)
claim("loss after 1,200 steps", losses[-1], "<", 0.2)
claim("accuracy on new points", accuracy(network, test_points, test_arm), ">=", 0.92)

# %% tags=["nbval-ignore-figure"]
# not compared: trained in place; the shapes in the middle of training differ between processors
# Figure: what the network believes after 0, 100, 300, 600 and 1,200 steps. It starts undecided, finds a
# nearly straight cut, gets stuck there for a while, and then wraps itself around the arms.
fig, axes = plt.subplots(1, 5, figsize=(11, 2.6))
for ax, (step, numbers) in zip(axes, album.items()):
    old = new_network()
    nn.utils.vector_to_parameters(nn.utils.parameters_to_vector(numbers), old.parameters())
    draw(ax, lambda q: old(q)[:, 0])
    ax.set(title=f"step {step:,}", xticks=[-2, 0, 2], yticks=[-2, 0, 2])
    ax.label_outer()

# %% tags=["nbval-ignore-figure"]
# not compared: trained in place; the steep part comes some steps earlier or later on another processor
# Figure: the loss during these 1,200 steps. The straight cut costs about 0.6; then the loss falls in
# stages, one for each bend. The spikes are moments where the step was too long, as on the right of the
# parabola, and it recovered.
fig, ax = plt.subplots(figsize=(6, 2.6))
ax.plot(losses)
ax.axhline(0.693, color="k", lw=0.8, ls=":", label=r"$\log 2$")
ax.set(xlabel="step", ylabel="loss (nats)", ylim=(0, 0.9))
ax.legend();

# %% [markdown]
# ## Meet the library version
#
# The same five lines are in `course_lib.train.fit`, which all lessons use from here on. You hand it a model, a *loss
# function* that returns a dictionary with a `"loss"`, and batches of examples. It adds what a longer training needs:
# a better step than the plain one (AdamW, Loshchilov & Hutter, 2019: it scales the step of each parameter by its
# typical gradient, averaged over as many steps as `betas` say), a learning rate `lr` that can rise over the first
# `warmup` steps and fall over the last fraction `decay` of them, a limit on the length of the gradient (`clip`), an
# average of the weights over the last steps (`ema`, *exponential moving average*), a look at the model now and then
# (`evaluate`), a progress bar, and the ability to go on after an interruption.
#
# To show that there is no magic inside, we run our five lines with AdamW beside `fit`, and demand the same bits.

# %%
from course_lib.data import Batches
from course_lib.train import fit

def loss_fn(model, x, y):
    return {"loss": cross_entropy(model(x)[:, 0], y)}

everything = Batches(points, arm, batch_size=400)  # all points in one batch, in a random order
seed(1)
theirs = new_network()
fit(theirs, loss_fn, everything, steps=20, lr=0.01, clip=None);

# %%
ours = new_network()
optimizer = torch.optim.AdamW(ours.parameters(), lr=0.01, weight_decay=0)
for _ in range(20):
    for x_batch, y_batch in everything:
        value = loss_fn(ours, x_batch, y_batch)["loss"]
        optimizer.zero_grad()
        value.backward()
        optimizer.step()
same = [torch.equal(a, b) for a, b in zip(ours.parameters(), theirs.parameters())]
print("identical parameter tensors:", sum(same), "of", len(same))

# %% [markdown]
# Read its source: `course_lib/train.py` is one file, and the loop in it fits on a screen. Now a longer run in small
# batches of 100 points. `fit` returns a history that draws itself.

# %% tags=["nbval-ignore-figure"]
# not compared: trained in place
# Figure: the loss of each step (faint) and its running mean.
seed(0)
network = new_network()
history = fit(network, loss_fn, Batches(points, arm, batch_size=100), steps=800, lr=0.01, decay=0.5)
history.plot();

# %% [markdown]
# ## How good is it?
#
# A number means little alone, so we want a floor and a ceiling. The floor is the straight line. The ceiling is
# unusual: these points come from a density that we know, so we know the best possible answer. It is to ask which arm
# gives the point the higher density, and is called the *Bayes classifier*; its logit is the difference of the two
# log-densities, `exact_logit` of the first figure. Nothing can beat it on average, because where the arms overlap, a
# point truly may come from either.

# %%
best = ((exact_logit(test_points) > 0) == test_arm).float().mean().item()
mine = accuracy(network, test_points, test_arm)

# %%
print(f"best possible: {best:.4f} on these 2,000 points")
claim("accuracy of the network", mine, ">=", 0.9)
claim("what the best possible has over the network", best - mine, "<", 0.06)
claim("what the network has over the straight line", mine - line_accuracy.item(), ">", 0.2)

# %% [markdown]
# How far can we trust such a number? Each of the $n = 2{,}000$ points is right or wrong, like the toss of a coin that
# falls on *right* with probability $q$. The share of successes then varies with a standard deviation of
# $\sqrt{q(1-q)/n}$. At $q = 0.95$ this is half a percent. Differences smaller than twice that are not worth a
# sentence.

# %%
print(f"standard deviation of a measured accuracy: {(0.95 * 0.05 / 2000) ** 0.5:.4f}")

# %% tags=["nbval-ignore-figure"]
# not compared: the right half was trained in place
# Figure: left, the exact probability of arm 1; right, what the network has learnt from 400 points. Near
# the points they agree. In the corners no data have ever been, and there the network is just as sure of
# its guess.
fig, axes = plt.subplots(1, 2, figsize=(7, 3.5), sharey=True)
for ax, f, title in zip(axes, (exact_logit, lambda q: network(q)[:, 0]), ("exact", "learnt")):
    draw(ax, f)
    ax.set_title(title)
    ax.label_outer()

# %% [markdown]
# ## Predict, then turn one knob
#
# **Predict.** The network has 1,185 parameters. With 25 points to learn from, how well will it do *on those 25*? And
# on new ones? Where will both meet as the number of points grows? Write down three numbers.

# %%
sizes, seen, unseen = (25, 100, 400, 1600), [], []
for size in sizes:
    some_x, some_y = data.sample_labelled(size, seeded(3))
    seed(0)
    pupil = new_network()
    batches = Batches(some_x, some_y, batch_size=min(size, 100))
    fit(pupil, loss_fn, batches, steps=600, lr=0.01, decay=0.5)
    seen.append(accuracy(pupil, some_x, some_y))
    unseen.append(accuracy(pupil, test_points, test_arm))

# %% tags=["nbval-ignore-figure"]
# not compared: trained in place
# Figure: accuracy on the points that were learnt from, and on new ones.
fig, ax = plt.subplots(figsize=(5.2, 2.8))
ax.plot(sizes, seen, "o-", label="points it learnt from")
ax.plot(sizes, unseen, "o-", label="new points")
ax.axhline(best, color="k", lw=0.8, ls=":", label="best possible on new points")
ax.set(xscale="log", xticks=sizes, xticklabels=sizes, xlabel="number of training points")
ax.set(ylabel="accuracy", ylim=(0.5, 1.02))
ax.minorticks_off()
ax.legend();

# %%
claim("25 points: accuracy on them", seen[0], ">=", 0.95)
claim("25 points: accuracy on new ones", unseen[0], "<=", 0.88)
claim("1,600 points: accuracy on new ones", unseen[-1], ">=", 0.93)
claim("1,600 points: gap between the two", seen[-1] - unseen[-1], "<=", 0.05)

# %% [markdown]
# With few points the network learns them by heart, mistakes and all, and is much worse on new ones. The gap is called
# **overfitting**. That is why every number in this course is measured on examples that the model has not seen.

# %% [markdown]
# ## Break it
#
# Line 3 of the five, `zero_grad`, looks like housekeeping. **Predict** what happens if it is left out: nothing? slower
# training? no training? Remember that `backward()` *adds* to `.grad`.

# %%
forgetful = new_network()
broken, _ = train(forgetful, steps=600, clear=False)
repaired, _ = train(new_network(), steps=600)
claim("zero_grad forgotten: lowest loss on the way", min(broken), "<", 0.3)
claim("zero_grad forgotten: highest loss of the last 200 steps", max(broken[-200:]), ">", 1)
claim("zero_grad in place: highest loss of the last 200 steps", max(repaired[-200:]), "<", 0.6)

# %% tags=["nbval-ignore-figure"]
# not compared: trained in place, and chaotic without line 3
# Figure: the loss with line 3 forgotten, and with it.
fig, ax = plt.subplots(figsize=(6, 2.6))
ax.plot(broken, label="zero_grad forgotten", color=COLOURS[3])
ax.plot(repaired, label="zero_grad in place", color=COLOURS[0])
ax.set(xlabel="step", ylabel="loss (nats)")
ax.legend();

# %% [markdown]
# Each step now follows the sum of *all* gradients so far. It is like a ball that rolls without friction: it reaches
# the valley sooner than the careful walker, runs through it and up the other side, and nothing ever slows it down.
# There is no error message: the program runs, prints numbers, and ends worse than it began. Bugs of this kind are the
# ordinary ones in machine learning, and the reason why we check so much by hand. The repair is one line. (A ball with
# a little friction is a good idea, though. It is called *momentum*, and it is part of AdamW.)

# %% [markdown]
# ## What we left out
#
# - **Why this network size?** Try 4 hidden numbers in place of 32, or `nn.ReLU()` in place of `nn.Tanh()`, in
#   `new_network`.
# - **Why does a loss get stuck for 200 steps and then fall?** Look at the strip of pictures again, and start from
#   another seed.
# - **Can the network say "I do not know" in the empty corners?** This one cannot: it models $p(y \mid x)$ and has no
#   idea which $x$ are likely. Models that do know are called *generative*; lesson 13 builds the first one, and most
#   of the course is about them.
#
# ## Read on
#
# - **How does autograd work inside?** Baydin, Pearlmutter, Radul & Siskind, "Automatic differentiation in machine
#   learning: a survey" (2018). The idea for networks: Rumelhart, Hinton & Williams, "Learning representations by
#   back-propagating errors" (1986).
# - **AdamW**: Kingma & Ba, "Adam: a method for stochastic optimization" (2015); Loshchilov & Hutter, "Decoupled
#   weight decay regularization" (2019).
# - In the library: `train.py` (`fit`), `data/toys.py` (`spirals`), `claims.py` (`claim`).
#
# **Exercises:** [00_start_here](../exercises/00_start_here/00_start_here.ipynb), six tasks that check themselves.
#
# **Next**, [lesson 11](11_softmax_and_mlp.ipynb): from points to pictures of handwritten digits, and from two classes
# to ten.
