# %% [markdown]
# # Exercise 0 · Start here
#
# Six tasks on lesson 00: four pieces of code, one measurement, two short texts. They need what that lesson shows and
# nothing more, take about an hour and a half, and run in a few seconds.
#
# - Write your answer **in place of** `raise NotImplementedError()`, then run the cell and the check below it.
# - A check prints `ok:` and the name of the task, or one sentence about what is wrong. It tries your function on
#   several random inputs, also on a single example. It looks at what your function returns, never at how it is written.
# - `hint()` says more about the last mistake that a check has found. Call it in a cell of its own, as below.
# - You may add cells of your own anywhere. Change neither the checks nor the first line of a function.
# - Points stand beside each task. Tasks 1 to 5a are graded by a program, which also runs your functions on inputs
#   that you do not see here; 5b and 6 are read by a person.

# %%
import matplotlib.pyplot as plt
import torch
from torch import nn
from torch.nn import functional as F

from course_lib.checks import hint
from course_lib.checks import start_here as check
from course_lib.claims import claim
from course_lib.data import Batches
from course_lib.data.toys import spirals
from course_lib.device import seed, seeded
from course_lib.train import fit

# %%
# Stuck after a check? Run hint(): it says where to look first, then how, and the code only at last.
hint()

# %% [markdown]
# ## 1 · All distances at once (2 points)
#
# In lesson 00 broadcasting made a table: every $w$ with every example. Do the same with points.
#
# **Given** two sets of points, `x` of shape (N, D) and `y` of shape (M, D): N points and M points with D coordinates
# each. **Asked:** the table of *squared* distances, a tensor of shape (N, M) whose entry $(i, j)$ is
#
# $$\sum_{d=1}^{D} (x_{id} - y_{jd})^2 .$$
#
# **Checked:** the values, also for N = 1 and for D = 1. You can do it without a loop: what shape has `x[:, None]`?

# %% tags=["solution:squared_distances"]
def squared_distances(x, y):
    """(N, D) and (M, D) -> (N, M)"""
    ### BEGIN SOLUTION
    differences = x[:, None] - y                                  # (N, 1, D) with (M, D) gives (N, M, D)
    return differences.square().sum(-1)                           # (N, M)
    ### END SOLUTION

# %% tags=["test:check_squared_distances:2"]
check.squared_distances(squared_distances)
### BEGIN HIDDEN TESTS
_x, _y = torch.randn(6, 3), torch.randn(4, 3)
torch.testing.assert_close(squared_distances(_x, _y).float(), torch.cdist(_x, _y).square(),
                           rtol=1e-3, atol=1e-3)
### END HIDDEN TESTS

# %% [markdown]
# ## 2 · A loss that does not break (3 points)
#
# **Given** logits `a` of shape (N,) and answers `y` of shape (N,), integers 0 or 1. **Asked:** the binary cross-entropy
#
# $$-\frac1N \sum_{i=1}^{N} \bigl[\, y_i \log \sigma(a_i) + (1 - y_i) \log(1 - \sigma(a_i)) \,\bigr]$$
#
# as a tensor with a single number (shape `()`), in nats. It must stay exact for logits as large as $a = \pm 500$, where
# a computer rounds $\sigma(a)$ to exactly 0 or 1; and training needs its gradient, so the result must know how it was
# computed. **Checked:** the value, for small and for very large logits, and the gradient with respect to `a`.
#
# You may use whatever PyTorch offers. To see the difficulty first, look at `torch.sigmoid(torch.tensor(500.0))`, at one
# minus it, and at the logarithm of that.

# %% tags=["solution:binary_cross_entropy"]
def binary_cross_entropy(a, y):
    """(N,) logits and (N,) answers, 0 or 1 -> one number"""
    ### BEGIN SOLUTION
    return -torch.where(y == 1, F.logsigmoid(a), F.logsigmoid(-a)).mean()
    ### END SOLUTION

# %% tags=["test:check_binary_cross_entropy:3"]
check.binary_cross_entropy(binary_cross_entropy)
### BEGIN HIDDEN TESTS
_z, _y = torch.tensor([2.0, -500.0, 500.0, -1.0], requires_grad=True), torch.tensor([1, 0, 0, 0])
_loss = binary_cross_entropy(_z * 1, _y)
_loss.backward()
torch.testing.assert_close(_loss.detach().float(),
                           F.binary_cross_entropy_with_logits(_z.detach(), _y.float()),
                           rtol=1e-3, atol=1e-4)
torch.testing.assert_close(_z.grad, (torch.sigmoid(_z.detach()) - _y) / 4)
### END HIDDEN TESTS

# %% [markdown]
# ## 3 · One training step by hand (3 points)
#
# The model is the straight line of the lesson: the logit of a point is $a = x \cdot w + b$, and
# $p = \sigma(a)$ is the probability of the answer 1. The loss is the mean binary cross-entropy over the N points.
#
# **Given** the parameters `w` of shape (D,) and `b` of shape (), the points `x` of shape (N, D), their answers `y` of
# shape (N,) and the learning rate `eta`, a number. **Asked:** the new `w` and `b` after one step of gradient descent, as a
# pair. Use the formula for the gradient from the lesson; no `backward()` is needed (but it is not forbidden).
# **Checked:** both values, also for N = 1.

# %% tags=["solution:training_step"]
def training_step(w, b, x, y, eta):
    """(D,), (), (N, D), (N,) and a number -> new w (D,), new b ()"""
    ### BEGIN SOLUTION
    error = torch.sigmoid(x @ w + b) - y                          # (N,) the answer given minus that wanted
    return w - eta * x.T @ error / len(x), b - eta * error.mean()
    ### END SOLUTION

# %% tags=["test:check_training_step:3"]
check.training_step(training_step)
### BEGIN HIDDEN TESTS
_w, _b = torch.randn(3, requires_grad=True), torch.randn((), requires_grad=True)
_x, _y = torch.randn(8, 3), torch.randint(2, (8,)).float()
F.binary_cross_entropy_with_logits(_x @ _w + _b, _y).backward()
_new = training_step(_w.detach().clone(), _b.detach().clone(), _x, _y, 0.3)
for _got, _old in zip(_new, (_w, _b)):
    _wanted = (_old - 0.3 * _old.grad).detach()
    torch.testing.assert_close(torch.as_tensor(_got).detach().float(), _wanted, rtol=1e-3, atol=1e-4)
### END HIDDEN TESTS

# %% [markdown]
# ## 4 · Find the bug (3 points)
#
# The function below fits a network to points on a curve, by gradient descent on the mean squared error. It runs without
# an error, and its loss falls. It has **one bug** nevertheless, of a kind that everybody who writes such loops has met.

# %%
def fit_curve_broken(model, x, y, steps, eta):
    losses = []
    for _ in range(steps):
        prediction = model(x)
        loss = (prediction - y).square().mean()
        model.zero_grad()
        loss.backward()
        with torch.no_grad():
            for p in model.parameters():
                p -= eta * p.grad
        losses.append(loss.item())
    return losses

# %% [markdown]
# *Figure: the points, and what the network has learnt from them after 500 steps with the bug: next to nothing.*

# %% tags=["nbval-ignore-figure"]
# not compared: trained in place
seed(0)
inputs = torch.linspace(-3, 3, 60)[:, None]                       # (60, 1)
targets = 1 + inputs[:, 0].sin()                                  # (60,)
model = nn.Sequential(nn.Linear(1, 16), nn.Tanh(), nn.Linear(16, 1))
losses = fit_curve_broken(model, inputs, targets, steps=500, eta=0.1)
claim("loss at the start", losses[0], ">", 1)
claim("loss after 500 steps", losses[-1], "<", 1)
fig, ax = plt.subplots(figsize=(4, 2.6))
ax.plot(inputs, targets, "o", ms=3, label="points")
ax.plot(inputs, model(inputs).detach(), label="network")
ax.set(xlabel="$x$", ylabel="$y$")
ax.legend();

# %% [markdown]
# **Given** a `model` that maps `x` of shape (N, D) to an output of shape (N, 1), the targets `y` of shape (N,), the number of
# `steps` and the learning rate `eta`. **Asked:** `fit_curve`, the same function without the bug. Copy the one above, find the
# line, and repair it; everything else is right. **Checked:** the list of losses, and the parameters of the model after the
# last step, for several small models.
#
# Do not guess: print the shapes inside the loop first.

# %% tags=["solution:fit_curve"]
def fit_curve(model, x, y, steps, eta):
    """Changes the model in place; returns the loss before each step, a list of `steps` numbers."""
    ### BEGIN SOLUTION
    losses = []
    for _ in range(steps):
        prediction = model(x)[:, 0]                               # (N,): (N, 1) - (N,) would be (N, N)
        loss = (prediction - y).square().mean()
        model.zero_grad()
        loss.backward()
        with torch.no_grad():
            for p in model.parameters():
                p -= eta * p.grad
        losses.append(loss.item())
    return losses
    ### END SOLUTION

# %% tags=["test:check_fit_curve:3"]
check.fit_curve(fit_curve)
### BEGIN HIDDEN TESTS
seed(1)
_model = nn.Sequential(nn.Linear(1, 16), nn.Tanh(), nn.Linear(16, 1))
_x = torch.linspace(-3, 3, 60)[:, None]
fit_curve(_model, _x, 1 + _x[:, 0].sin(), 500, 0.1)
_error = _model(_x)[:, 0] - 1 - _x[:, 0].sin()
assert _error.square().mean() < 0.1, "the curve is not fitted after 500 steps"
### END HIDDEN TESTS

# %% [markdown]
# ## 5 · Measure: how large a step is too large?
#
# In the lesson, the border between a walk that arrives and one that leaves could be computed, for a single parameter. Here are
# two parameters, and a loss that is a long valley: steep across, flat along.

# %%
A = torch.tensor([[1.0, 0.9], [0.8, 1.1], [-1.2, -0.3], [0.5, 1.3]])
c = torch.tensor([1.0, -1.0, 0.5, 2.0])

def valley(w):  # w of shape (2,) -> one number
    return (A @ w - c).square().mean()

print(valley(torch.zeros(2)))

# %% [markdown]
# ### 5a · The number (2 points)
#
# **Given** the function `valley`. **Asked:** the largest learning rate $\eta$ with which gradient descent from
# `torch.zeros(2)`, run for long, still comes to rest at the bottom. Call it `largest_eta`. Find it by an experiment, with a
# loop of yours: walk some 200 steps, look at the loss, change $\eta$. **Checked:** your number, within 3 percent.

# %% tags=["solution:largest_eta"]
largest_eta = ...  # set it to your number at the end
### BEGIN SOLUTION
def arrives(eta, steps=500):
    w = torch.zeros(2, requires_grad=True)
    for _ in range(steps):
        slope, = torch.autograd.grad(valley(w), w)
        w = (w - eta * slope).detach().requires_grad_()
    return valley(w) < valley(torch.zeros(2))

low, high = 0.01, 10.0                                            # arrives; leaves
for _ in range(12):
    middle = (low * high) ** 0.5
    low, high = (middle, high) if arrives(middle) else (low, middle)
largest_eta = low
print(f"{largest_eta:.2f}")
### END SOLUTION

# %% tags=["test:check_largest_eta:2"]
check.largest_eta(largest_eta, valley)
### BEGIN HIDDEN TESTS
_border = 2 / torch.linalg.eigvalsh(2 * A.T @ A / 4)[-1]
_distance = abs(float(largest_eta) - _border)
assert _distance < 0.03 * _border, "the learning rate is not within 3 percent of the border"
### END HIDDEN TESTS

# %% [markdown]
# ### 5b · The reason (3 points)
#
# Take 0.9 times your `largest_eta`, and print the loss and both entries of `w` for the first 30 steps. One combination of the
# two entries jumps from side to side at each step; another creeps slowly in one direction. **Explain** in three to six
# sentences: why do both happen with the same learning rate, which of them sets the border, and why does a long narrow
# valley make gradient descent slow?

# %% [markdown] tags=["manual:explain_valley:3"]
# Across the valley the slope changes fast (the loss has a large second derivative $\lambda_1$ there), along it slowly
# (a small one, $\lambda_2$). One step multiplies the distance from the bottom by $1 - \eta\lambda$ in each of the two
# directions. With $\eta$ just below $2/\lambda_1$ this factor is nearly $-1$ across the valley: the walk jumps from side to
# side and each jump is hardly shorter than the one before. Along the valley the factor is $1 - \eta\lambda_2$, a little below 1:
# it creeps. The steep direction alone sets the border, $\eta < 2/\lambda_1$; and as $\eta$ cannot be larger, the flat direction
# needs about $\lambda_1/\lambda_2$ steps, so the narrower the valley is, the slower the descent.
#
# **Rubric.** 1 point: each direction has its own curvature, and a step shrinks the distance in each by its own factor (words
# are enough). 1 point: the steep direction sets the border, since there the factor falls below $-1$ first. 1 point: the
# learning rate that the steep direction allows is too small for the flat one, hence many steps. No point is lost for missing
# formulas; a text that only says "the learning rate is too large" gets none.

# %% [markdown]
# ## 6 · Your own question (4 points)
#
# Ask a question about the network on the spirals that the lesson does not answer, **write down your guess**, and find
# out. Examples: How many hidden numbers does it need? Does `nn.ReLU()` learn faster than `nn.Tanh()`? What happens if a tenth of
# the training labels are wrong? Is one start as good as another? Use `spirals(std=0.2).sample_labelled(400, seeded(0))`, the
# `binary_cross_entropy` of task 2, and `fit` as in the lesson. Your code shall run in less than a minute.

# %% tags=["solution:own_experiment", "nbval-ignore-figure"]
# not compared: trained in place
points, arm = spirals(std=0.2).sample_labelled(400, seeded(0))
new_points, new_arm = spirals(std=0.2).sample_labelled(2000, seeded(1))

def loss_fn(model, x, y):
    return {"loss": binary_cross_entropy(model(x)[:, 0], y)}

def measure(n, start):
    seed(start)
    network = nn.Sequential(nn.Linear(2, n), nn.Tanh(), nn.Linear(n, n), nn.Tanh(), nn.Linear(n, 1))
    fit(network, loss_fn, Batches(points, arm, batch_size=100), steps=200, lr=0.02, decay=0.5)
    with torch.no_grad():
        return ((network(new_points)[:, 0] > 0) == new_arm).float().mean().item()

widths = (2, 8, 32)
table = torch.tensor([[measure(width, start) for start in range(3)] for width in widths])
claim("accuracy with 2 hidden numbers, mean of 3 starts", table[0].mean(), "<", 0.85)
claim("accuracy with 32 hidden numbers, mean of 3 starts", table[-1].mean(), ">=", 0.9)
fig, ax = plt.subplots(figsize=(4, 2.6))
ax.plot(widths, table, "o", color="0.6")
ax.plot(widths, table.mean(1), label="mean of 3 starts")
ax.set(xscale="log", xticks=widths, xticklabels=widths, xlabel="hidden numbers in each layer",
       ylabel="accuracy on new points")
ax.minorticks_off()
ax.legend();

# %% [markdown]
# Write here: your question, your guess, what you did, what came out (a number or a figure), how sure you are of it, and what
# you would try next. Half a page is plenty.

# %% [markdown] tags=["manual:own_question:4"]
# *An example of an answer.* **Question:** how many hidden numbers does each layer need? **Guess:** 8, since the spiral has few
# bends. **Experiment:** three widths, three random starts each, 200 steps, everything else fixed; accuracy on 2,000
# new points, whose standard deviation is about half a percent. **Result:** with 2 hidden numbers the network is no better than
# a straight line, with 32 it is above 90 percent. With 8 it depends on the start: my three lie several percent apart, far more
# than the half percent of chance in measuring, so one start alone would have misled me. **Sure?** Of the two ends, yes; of
# the middle only with more starts. **Next:** whether small networks fail because they cannot represent the spiral or because
# training gets stuck; I would train the smallest ones ten times longer.
#
# **Rubric.** 1 point: a question that can be answered by an experiment, and a guess made before. 1 point: one thing is changed
# and the rest held fixed; measured on points that were not trained on. 1 point: a number or a figure with labelled axes,
# described truthfully, whether or not it agrees with the guess. 1 point: says how sure the result is (several starts, or
# the standard deviation of an accuracy) or what might be wrong with it.
