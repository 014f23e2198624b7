# %% [markdown]
# # 00 · Start here: how a program learns from examples
#
# Nobody can write down the rule by which we tell a handwritten 4 from a 9, yet a program can learn it from examples.
# How? A **model** is a function with adjustable numbers inside, its *parameters*. A **loss** says with one number how
# badly it does. Training changes all parameters a little, so that the loss falls, again and again. Nearly all models of
# this course are trained in this way. Here the model has 1,185 parameters and learns to tell two arms of a spiral apart. The
# picture below shows the best answer that is possible at all. At the end your network will have come close to it, and
# you will have broken it on purpose.
#
# **After this lesson you can**
# - compute the gradient of a loss by hand, let PyTorch compute it, and check that both agree;
# - write the five lines of every training loop, and say what each is for;
# - measure a model on examples that it has not seen, and say how far to trust the number.
#
# **You need** one year of Python, and derivatives and matrices from one term at university. **It takes** 60 minutes to
# read and ten seconds to run. **How hard:** •. All symbols are in the [table of symbols](symbols.ipynb).
#
# ## How this course works
#
# - **Run the cells in order** with Shift + Enter. Change something and run it again: nothing can break for good.
# - **Write down a guess** where the text asks for one. A wrong guess teaches more than a right one. The answers are
#   folded away below the figures.
# - **Claims are checked.** A line such as `test accuracy: 0.974  (checked: >= 0.95)` is computed when you run it, and
#   fails if it is false. The first number differs a little from machine to machine; the check does not.
# - **Cells that only draw are folded** in JupyterLab: click on the three dots.
# - **The library is yours to read.** Each lesson builds one idea in the open, then imports it from `course_lib`,
#   where it is one short file. Later lessons use what earlier ones have built.
# - **Numbers have gaps.** The first digit is the part, the second the lesson. Lessons 32, 42, 44, 52, 53, 55, 62, 66 and 87
#   are still to come. A text that points to one of them says so.
#
# ## Set-up

# %%
import matplotlib.pyplot as plt
import torch
from torch import nn
from torch.nn import functional as F
from torch.testing import assert_close

from course_lib.claims import claim
from course_lib.data.toys import Gaussians, spirals
from course_lib.device import seed, seeded
from course_lib.plots import COLOURS, diagram, field, scatter

# %%
data = spirals(std=0.2)                                           # two arms, made of small round Gaussians
arms = []                                                         # each arm alone
for k in (0, 1):
    here = data.labels == k
    arms.append(Gaussians(data.means[here], data.std, data.labels[here]))

def exact_logit(q):                                               # explained in "How good is it?"
    return arms[1].log_prob(q) - arms[0].log_prob(q)

# %%
# Figure: two kinds of points, blue and orange, in two arms of a spiral that are wound round each other.
# The background is the probability of orange by the best possible answer: its border follows the arms.
def draw(ax, logit, points, arm):
    field(lambda q: torch.sigmoid(logit(q)), ax=ax, vmin=0, vmax=1, alpha=0.45)
    scatter(points, 3 * arm, ax=ax, s=7)                          # colour 3 is the orange of the field
    ax.set(xlim=(-3, 3), ylim=(-3, 3))

_, ax = plt.subplots(figsize=(3.6, 3.6))
draw(ax, exact_logit, *data.sample_labelled(400, seeded(0)))

# %% [markdown]
# The two kinds of points overlap a little, so not even the best answer is always right. A network that sees only the
# points has to find this border. (`seeded(0)` is a source of random numbers that gives the same ones each time;
# `seed(0)` does that for whatever has no source of its own.)
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
# A `tensor` is PyTorch's array: numbers of one type (`dtype`) in a box with a `shape`. This one has a single axis of
# length three.
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
# You will rarely have to do this again. PyTorch writes down every operation that it performs on a tensor made with
# `requires_grad=True`, and `backward()` walks through that list from the end to the start, applying the chain rule at
# each entry. This is **autograd**. The result lands in `.grad`.

# %%
watched = torch.tensor(0.0, requires_grad=True)                   # w = 0
loss(watched).backward()
print(f"autograd says {watched.grad:.4f}")
assert_close(watched.grad, slope(0.0))                            # raises an error if they differ

# %% [markdown]
# ### Walk down
#
# Now the one line of all training. With $\theta$ for all parameters, here only $w$, it says
#
# $$\theta \;\leftarrow\; \theta - \eta\, \nabla L(\theta) .$$
#
# The **gradient** $\nabla L(\theta)$ says for every parameter how fast the loss grows with it, and the small number
# $\eta$ (eta), the **learning rate**, says how far to go against it.

# %%
def descend(eta, steps, w=0.0):
    path = [w]
    for _ in range(steps):
        w = w - eta * slope(w).item()
        path.append(w)
    return path

print([round(w, 3) for w in descend(eta=0.05, steps=8)])

# %% [markdown]
# To draw the loss we need it at many values of $w$, and tensors can do that at once. `ws[:, None]` has shape (200, 1),
# `x` has shape (3,). Where two shapes do not match, PyTorch lines them up from the right and repeats
# axes of length 1 until they do. This is **broadcasting**, and here it gives a table of shape (200, 3): every $w$ with
# every example. `mean(1)` averages over the examples.

# %%
ws = torch.linspace(-0.5, 4.5, 200)
table = (ws[:, None] * x - y).square()
print(ws[:, None].shape, "with", x.shape, "gives", table.shape)
curve = table.mean(1)                                             # (200,) the loss at each w

# %%
# Figure: the loss over w is a parabola with its lowest point at w = 2. Eight steps lead down its left side
# from w = 0, each shorter than the one before.
def draw_path(ax, eta, steps=8):
    path = torch.tensor(descend(eta, steps))
    ax.plot(ws, curve, color="0.7")
    ax.plot(path, [loss(w) for w in path], "o-", color=COLOURS[0], ms=4, lw=1)
    ax.set(xlabel="$w$", ylabel="loss $L(w)$", xlim=(-0.5, 4.5), ylim=(-3, 60))
    ax.set_title(rf"$\eta$ = {eta}")

_, ax = plt.subplots(figsize=(4, 3))
draw_path(ax, eta=0.05)

# %% [markdown]
# The steps get shorter as the slope gets flatter.
#
# **Write down a guess:** these steps were cautious. What happens with four times the learning rate, $\eta = 0.2$? And
# with $\eta = 0.22$? Draw what you expect before you run the next cell.

# %%
# Figure: the same walk of eight steps from w = 0, three times, with the learning rates 0.1, 0.2 and 0.22.
fig, axes = plt.subplots(1, 3, figsize=(9, 2.9), sharey=True)
for ax, eta in zip(axes, (0.1, 0.2, 0.22)):
    draw_path(ax, eta)
    ax.label_outer()

# %% [markdown]
# Follow the dots: the two walks on the right jump from side to side.
#
# <details><summary>Answer</summary>
#
# With 0.2 each jump is a little shorter than the last, and the walk arrives. With 0.22 each is a little longer, and
# the walk leaves.
# </details>
#
# The border can be computed. Put $y_i = 2x_i$ into the slope: it is $\frac{28}{3}(w - 2)$, since $1 + 4 + 9 = 14$.
# One step takes the distance $w - 2$ to $\left(1 - \frac{28}{3}\eta\right)(w - 2)$. It shrinks as long as the factor
# lies between $-1$ and $1$, that is, while $\eta < \frac{6}{28} \approx 0.214$. Too large a step is the commonest
# reason why training fails, for this parabola as for a network with a billion parameters.

# %%
claim("distance from w = 2 after 100 steps, eta = 0.21", abs(descend(0.21, 100)[-1] - 2), "<", 0.05)
claim("distance from w = 2 after 100 steps, eta = 0.22", abs(descend(0.22, 100)[-1] - 2), ">", 10)

# %% [markdown]
# ## Two kinds of points
#
# Back to the spirals. Each arm is a chain of small round Gaussians (bell curves) with standard deviation 0.2. We sample
# 400 points to learn from, and 2,000 more that the model will not see until it is measured.

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
# measured in *nats* because the logarithm is the natural one. To say $p = \frac12$ always costs $\log 2 \approx
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
assert_close(a.grad, by_hand.detach())                            # detach: the number, without its history
print("p - y agrees with autograd for all 400 points")

# %% [markdown]
# ### The simplest model: a straight line
#
# Let the logit be $a = x_1 w_1 + x_2 w_2 + b$. It is zero on a straight line, so the model can only cut the plane in
# two. By the chain rule, the gradient for $w$ is $\frac1N X^\top (p - y)$, where row $i$ of $X$ is point number $i$
# of $N$. We train without autograd, with nothing but this formula.

# %%
weights = torch.zeros(2)
offset = torch.zeros(())
for _ in range(200):
    error = torch.sigmoid(points @ weights + offset) - arm        # (400,)
    gradient = points.T @ error / 400                             # (2, 400) @ (400,) -> (2,)
    weights = weights - 1.0 * gradient
    offset = offset - 1.0 * error.mean()

def line(q):
    return q @ weights + offset                                   # (n, 2) -> (n,) logits

line_accuracy = ((line(test_points) > 0) == test_arm).float().mean().item()
claim("largest slope that is left", gradient.abs().max(), "<", 1e-4, digits=6)
claim("accuracy of the straight line on new points", line_accuracy, "<", 0.75)

# %%
# Figure: the 400 points and the probability of arm 1 that the line gives, from blue on the right to orange
# on the left: both arms lie partly on the wrong side.
_, ax = plt.subplots(figsize=(3.4, 3.4))
draw(ax, line, points, arm)
ax.set_title("a straight line");

# %% [markdown]
# The formula is right, and the gradient has reached the bottom: no straight line fits these points better, and on
# new ones it is right in about two cases of three.
#
# ## What we will build
#
# Two ideas turn the line into something that can follow a spiral. Use *many* lines at once: a layer of 32 of them
# maps a point to 32 numbers, $h = W_1 x + b_1$. And *bend* each result with a function that is not straight, here
# $\tanh$; without it, line after line would still be a line. A second layer combines bent lines into bent shapes, and
# the last one adds them up to one logit:
#
# $$a = w_3^\top \tanh\bigl(W_2 \tanh(W_1 x + b_1) + b_2\bigr) + b_3 .$$

# %%
# Figure: a diagram. Points of shape (400, 2) go through layer 1, tanh, layer 2, tanh and layer 3, which
# gives logits (400,). Logits and arms give the loss, one number. From the loss an arrow leads to the
# gradient, 1,185 slopes, and from there to a step that changes the three layers.
points_box = "points\n(400, 2)"
first_box = "layer 1, tanh\n$W_1, b_1$"
second_box = "layer 2, tanh\n$W_2, b_2$"
third_box = "layer 3\n$w_3, b_3$"
logits_box = "logits a\n(400,)"
loss_box = "loss\none number"
gradient_box = "gradient\n1,185 slopes"
step_box = "step\n$-\\eta$ times the gradient"
boxes = {points_box: (0, 1), first_box: (1, 1), second_box: (2.05, 1), third_box: (3.1, 1),
         logits_box: (4, 1), loss_box: (4.9, 1), "arms\n(400,)": (4.9, 2), gradient_box: (4.3, 0),
         step_box: (2.05, 0)}
arrows = [(points_box, first_box), (first_box, second_box), (second_box, third_box),
          (third_box, logits_box), (logits_box, loss_box), ("arms\n(400,)", loss_box),
          (loss_box, gradient_box), (gradient_box, step_box), (step_box, first_box),
          (step_box, second_box), (step_box, third_box)]
layers = {first_box: COLOURS[0], second_box: COLOURS[0], third_box: COLOURS[0]}
diagram(boxes, arrows, layers | {loss_box: COLOURS[3]});

# %% [markdown]
# The blue boxes hold the parameters. Read the upper row from left to right, and the way back from the loss to them
# below: one step of training is one round.
#
# ## A network that can bend
#
# PyTorch keeps parameters in *modules*. `nn.Linear(2, 32)` holds a matrix $W_1$ of 32 × 2 numbers and 32 offsets
# $b_1$, random ones to begin with.

# %%
def new_network():
    seed(0)                                                       # the same random start each time
    return nn.Sequential(nn.Linear(2, 32), nn.Tanh(), nn.Linear(32, 32), nn.Tanh(), nn.Linear(32, 1))

n = sum(p.numel() for p in new_network().parameters())
print(f"{n:,} parameters; by hand {(2 * 32 + 32) + (32 * 32 + 32) + (32 * 1 + 1):,}")

# %% [markdown]
# Autograd must now find 1,185 slopes. Do we trust it? A derivative is a limit, so we can test one: nudge a single
# weight by a tiny amount up and down, and see how much the loss changes. (In double precision, since the change is
# tiny.)

# %%
twin = new_network().double()
weight = twin[0].weight
nudge = 1e-6

def loss_of_twin():
    return cross_entropy(twin(points.double())[:, 0], arm)

loss_of_twin().backward()
with torch.no_grad():                                             # do not write down these operations
    weight[3, 1] += nudge
    up = loss_of_twin()
    weight[3, 1] -= 2 * nudge
    down = loss_of_twin()
assert_close((up - down) / (2 * nudge), weight.grad[3, 1], rtol=1e-5, atol=1e-9)
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
import copy

def train(network, steps, eta=0.5, clear=True, keep=()):
    losses = []
    album = {}                                                    # step -> a copy of the network
    for step in range(steps + 1):
        if step in keep:
            album[step] = copy.deepcopy(network)
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

plain = new_network()
losses, album = train(plain, steps=1200, keep=(0, 100, 300, 600, 1200))
claim("loss before training", losses[0], ">", 0.6)
claim("loss after 1,200 steps", losses[-1], "<", 0.2)
claim("accuracy on new points after 1,200 steps", accuracy(plain, test_points, test_arm), ">=", 0.92)

# %% tags=["nbval-ignore-figure"]
# Figure: what the network believes after 0, 100, 300, 600 and 1,200 steps: pale colours at first, then a
# nearly straight border, then one that bends, and at last one that is wound around the arms.
# not compared: trained in place; the shapes in the middle of training differ between processors
fig, axes = plt.subplots(1, 5, figsize=(11, 2.6))
for ax, step in zip(axes, album):
    draw(ax, lambda q: album[step](q)[:, 0], points, arm)
    ax.set(title=f"step {step:,}", xticks=[-2, 0, 2], yticks=[-2, 0, 2])
    ax.label_outer()

# %% [markdown]
# It starts undecided, finds a nearly straight cut, stays there for a while, and then winds itself around the arms.

# %% tags=["nbval-ignore-figure"]
# Figure: the loss during these 1,200 steps, with a dotted line at log 2 and a dashed one at the loss of
# the straight line. It falls quickly at first, then in stages, with spikes in between.
# not compared: trained in place; the steep part comes some steps earlier or later on another processor
fig, ax = plt.subplots(figsize=(6, 2.6))
ax.plot(losses)
ax.axhline(0.693, color="k", lw=0.8, ls=":", label=r"$\log 2$: never commit")
ax.axhline(cross_entropy(line(points), arm), color="k", lw=0.8, ls="--", label="the straight line")
ax.set(xlabel="step", ylabel="loss (nats)", ylim=(0, 0.9))
ax.legend();

# %% [markdown]
# The loss is soon that of a straight line; then it falls in stages, as the border bends. The spikes are moments where
# the step was too long, as on the right of the parabola, and the walk recovered.
#
# ## Meet the library version
#
# The same five lines are in `course_lib.train.fit`, which all lessons use from here on. You hand it a model, a *loss
# function* that returns a dictionary with a `"loss"`, and batches of examples. It adds what a longer training needs:
#
# - a better step than the plain one: **AdamW** (Loshchilov & Hutter, 2019) scales the step of each parameter by its
#   typical gradient, averaged over as many steps as `betas` say;
# - a learning rate `lr` that can rise over the first `warmup` steps and fall over the last fraction `decay` of them;
# - a limit on the length of the gradient (`clip`), and an average of the weights over the last steps (`ema`,
#   *exponential moving average*);
# - a look at the model now and then (`evaluate`), a progress bar, and the ability to go on after an interruption.
#
# To show that there is no magic inside, we run our five lines with AdamW beside `fit`, and demand the same bits.

# %%
from course_lib.data import Batches
from course_lib.train import fit

def loss_fn(model, x, y):
    return {"loss": cross_entropy(model(x)[:, 0], y)}

everything = Batches(points, arm, batch_size=400)                 # one batch, in a random order
theirs = new_network()
fit(theirs, loss_fn, everything, steps=20, lr=0.01, clip=None);

# %%
ours = new_network()                                              # it sets the seed: the same orders
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
# Read its source, `course_lib/train.py`: the loop fits on a screen. Now a longer run in small batches of 100 points.
# `fit` returns a history that draws itself.

# %% tags=["nbval-ignore-figure"]
# Figure: the loss of each of 800 steps (faint) and its running mean, which falls from 0.6 to below 0.1.
# not compared: trained in place
network = new_network()
history = fit(network, loss_fn, Batches(points, arm, batch_size=100), steps=800, lr=0.01, decay=0.5)
history.plot().set(ylabel="loss (nats)");

# %% [markdown]
# The faint line is noisy because every batch holds other points; the mean falls steadily.
#
# ## How good is it?
#
# A number means little alone, so we want a floor and a ceiling. The floor is the straight line. The ceiling is
# unusual: these points come from a density that we know, so we know the best possible answer. It is to ask which arm
# gives the point the higher density, and is called the **Bayes classifier**; its logit is the difference of the two
# log-densities, `exact_logit` of the first figure. Nothing can beat it on average, because where the arms overlap, a
# point truly may come from either.

# %%
best = ((exact_logit(test_points) > 0) == test_arm).float().mean().item()
mine = accuracy(network, test_points, test_arm)
print(f"accuracy of the Bayes classifier on these 2,000 points: {best:.4f}")
claim("accuracy of the network", mine, ">=", 0.9)
claim("accuracy of the Bayes classifier minus that of the network", best - mine, "<", 0.06)
claim("accuracy of the network minus that of the straight line", mine - line_accuracy, ">", 0.2)

# %% [markdown]
# How far can we trust such a number? Each of the $n = 2{,}000$ points is right or wrong, like the toss of a coin that
# falls on *right* with probability $q$. The share of successes then varies with a standard deviation of
# $\sqrt{q(1-q)/n}$. At $q = 0.95$ this is half a percent. Differences smaller than twice that are not worth a
# sentence.

# %%
print(f"standard deviation of a measured accuracy: {(0.95 * 0.05 / 2000) ** 0.5:.4f}")

# %% [markdown]
# An accuracy hides *where* the answers differ. Do they near the points? And how sure is the network in the four
# corners of the picture, where no points have ever been?

# %%
corners = torch.tensor([[-2.9, -2.9], [-2.9, 2.9], [2.9, -2.9], [2.9, 2.9]])
with torch.no_grad():
    agree = (network(test_points)[:, 0] > 0) == (exact_logit(test_points) > 0)    # (2000,)
    p = torch.sigmoid(network(corners)[:, 0])                     # (4,)
claim("share of new points with the same answer, learnt and exact", agree.float().mean(), ">", 0.93)
claim("mean confidence of the network in the corners", torch.maximum(p, 1 - p).mean(), ">", 0.9)

# %% tags=["nbval-ignore-figure"]
# Figure: left, the exact probability of arm 1; right, what the network has learnt from 400 points. The two
# borders are alike near the points, and differ towards the edge of the picture.
# not compared: the right half was trained in place
fig, axes = plt.subplots(1, 2, figsize=(7, 3.5), sharey=True)
draw(axes[0], exact_logit, points, arm)
draw(axes[1], lambda q: network(q)[:, 0], points, arm)
axes[0].set_title("exact")
axes[1].set_title("learnt")
axes[1].label_outer()

# %% [markdown]
# Near the points the two agree. In the corners no data have ever been, and the network is sure of its guess all the
# same.
#
# ## Predict, then turn one knob
#
# **Write down a guess:** the network has 1,185 parameters. With 25 points to learn from, how well will it do *on those
# 25*? And on new ones? Where will both meet as the number of points grows?

# %%
sizes = (25, 100, 400, 1600)
seen = []                                                         # accuracy on the points learnt from
unseen = []                                                       # accuracy on new ones
for size in sizes:
    some_x, some_y = data.sample_labelled(size, seeded(3))
    pupil = new_network()
    batches = Batches(some_x, some_y, batch_size=min(size, 100))
    fit(pupil, loss_fn, batches, steps=600, lr=0.01, decay=0.5)
    seen.append(accuracy(pupil, some_x, some_y))
    unseen.append(accuracy(pupil, test_points, test_arm))

# %%
claim("accuracy on 25 points after learning from them", seen[0], ">=", 0.95)
claim("accuracy on new points after learning from 25", unseen[0], "<=", 0.88)
claim("accuracy on new points after learning from 1,600", unseen[-1], ">=", 0.93)
claim("accuracy on 1,600 learnt points minus that on new ones", seen[-1] - unseen[-1], "<=", 0.05)

# %% tags=["nbval-ignore-figure"]
# Figure: two curves of accuracy over the number of training points, 25 to 1,600: on the points that were
# learnt from, and on new ones, with a dotted line at the best possible.
# not compared: trained in place
fig, ax = plt.subplots(figsize=(5.2, 2.8))
ax.plot(sizes, seen, "o-", label="points it learnt from")
ax.plot(sizes, unseen, "o-", label="new points")
ax.axhline(best, color="k", lw=0.8, ls=":", label="best possible on new points")
ax.set(xscale="log", xticks=sizes, xticklabels=sizes, xlabel="number of training points")
ax.set(ylabel="accuracy", ylim=(0.5, 1.02))
ax.minorticks_off()
ax.legend();

# %% [markdown]
# Look at the distance between the two curves: it is called **overfitting**.
#
# <details><summary>Answer</summary>
#
# With few points the network learns them by heart, accidents and all, and is much worse on new ones. The curves meet
# near the best possible accuracy, and then there is nothing left to learn. That is why every number in this course is
# measured on examples that the model has not seen.
# </details>
#
# ## Break it
#
# Line 3 of the five, `zero_grad`, looks like housekeeping. **Write down a guess:** what happens if it is left out:
# nothing, slower training, no training? Remember that `backward()` *adds* to `.grad`.

# %%
broken, _ = train(new_network(), steps=600, clear=False)
repaired, _ = train(new_network(), steps=600)

# %%
claim("lowest loss on the way, zero_grad forgotten", min(broken), "<", 0.3)
claim("highest loss of the last 200 steps, zero_grad forgotten", max(broken[-200:]), ">", 1)
claim("highest loss of the last 200 steps, zero_grad in place", max(repaired[-200:]), "<", 0.6)

# %% tags=["nbval-ignore-figure"]
# Figure: the loss over 600 steps, once with line 3 forgotten and once with it in place.
# not compared: trained in place, and chaotic without line 3
fig, ax = plt.subplots(figsize=(6, 2.6))
ax.plot(broken, label="zero_grad forgotten", color=COLOURS[3])
ax.plot(repaired, label="zero_grad in place", color=COLOURS[0])
ax.set(xlabel="step", ylabel="loss (nats)")
ax.legend();

# %% [markdown]
# Compare the first 200 steps with the last 200.
#
# <details><summary>Answer</summary>
#
# Each step now follows the sum of *all* gradients so far. It is like a ball that rolls without friction: it reaches
# the valley sooner than the careful walker, runs through it and up the other side, and nothing ever slows it down.
# </details>
#
# There is no error message: the program runs, prints numbers, and ends worse than it began. Bugs of this kind are the
# ordinary ones in machine learning, and the reason why we check so much by hand. The repair is one line. (With a little
# friction the ball is a good idea: it is called *momentum*, and is part of AdamW.)

# %% [markdown]
# ## In the wild
#
# PyTorch calls our loss `binary_cross_entropy_with_logits`, and our `Batches` a `DataLoader`. The five lines stay the
# same on a GPU; only the model and the batches move there:
#
# ```python
# from torch.nn.functional import binary_cross_entropy_with_logits
# from torch.optim import AdamW
# from torch.utils.data import DataLoader, TensorDataset
#
# network = new_network().to("cuda")
# optimizer = AdamW(network.parameters(), lr=0.01)
# loader = DataLoader(TensorDataset(points, arm.float()), batch_size=100, shuffle=True)
# for x_batch, y_batch in loader:
#     a = network(x_batch.to("cuda"))[:, 0]
#     value = binary_cross_entropy_with_logits(a, y_batch.to("cuda"))
#     optimizer.zero_grad()
#     value.backward()
#     optimizer.step()
# ```

# %% [markdown]
# ## Recap
#
# 1. A model is a function with parameters; a loss says in one number how badly it does.
# 2. Training repeats one line: a step against the gradient, which autograd finds by the chain rule.
# 3. Of a probability, the loss is the surprise at the truth, and its gradient is what was said minus what was true.
# 4. Layers of lines, bent in between, can follow any border; too long a step or a forgotten line ruins them.
# 5. Measure on examples that were not learnt from, beside a floor and a ceiling, and say how far to trust the number.
#
# **What we left out.** Why this network size: try 4 hidden numbers in place of 32, or `nn.ReLU()` in place of
# `nn.Tanh()`. Can a network say "I do not know" in an empty corner? This one cannot: it models $p(y \mid x)$ and has
# no idea which $x$ are likely. Models that do know are called *generative*; lesson 13 builds the first one.
#
# **Exercises:** [00_start_here](../exercises/00_start_here/00_start_here.ipynb), six tasks that check themselves.
# **Next**, [lesson 11](11_softmax_and_mlp.ipynb): from points to pictures of handwritten digits, and from two classes
# to ten.
#
# ## Read on
#
# - A. Baydin, B. Pearlmutter, A. Radul & J. Siskind, *Automatic differentiation in machine learning: a survey* (2018),
#   [arXiv:1502.05767](https://arxiv.org/abs/1502.05767): how autograd works inside.
# - D. Rumelhart, G. Hinton & R. Williams, *Learning representations by back-propagating errors* (1986),
#   [doi:10.1038/323533a0](https://doi.org/10.1038/323533a0): the idea, for networks.
# - D. Kingma & J. Ba, *Adam: a method for stochastic optimization* (2015),
#   [arXiv:1412.6980](https://arxiv.org/abs/1412.6980); I. Loshchilov & F. Hutter, *Decoupled weight decay
#   regularization* (2019), [arXiv:1711.05101](https://arxiv.org/abs/1711.05101): AdamW.
# - In the library: `train.py` (`fit`), `data/toys.py` (`spirals`), `claims.py` (`claim`).
