# %% [markdown]
# # Exercise 11 · Softmax and the MLP
#
# Six tasks on lesson 11: four pieces of code, two measured numbers, three short texts. They need what lessons 00 and
# 11 show and nothing more, take about two hours, and run in a few seconds.
#
# - Write your answer **in place of** `raise NotImplementedError()`, then run the cell and the check below it.
# - A check prints `ok:` and the name of the task, or one sentence about what is wrong. It tries your function on
#   several random inputs, also on a single image. It looks at what your function returns, never at how it is written.
# - `hint()` says more about the last mistake that a check has found. Call it in a cell of its own, as below.
# - You may add cells of your own anywhere. Change neither the checks nor the first line of a function.
# - Points stand beside each task. Tasks 1 to 4a and 5a are graded by a program, which also runs your functions on
#   inputs that you do not see here; 4b, 5b and 6 are read by a person.

# %%
import matplotlib.pyplot as plt
import torch
from torch import nn
from torch.nn import functional as F

from course_lib.checks import hint
from course_lib.checks import softmax_and_mlp as check
from course_lib.claims import claim
from course_lib.data import Batches, load
from course_lib.device import seed
from course_lib.train import fit

digits = load("digits")
(x_train, y_train), (x_test, y_test) = digits.train, digits.test

# %%
# Stuck after a check? Run hint(): it says where to look first, then how, and the code only at last.
hint()

# %% [markdown]
# ## 1 · Surprise, from logits
#
# The surprise of a model about the true class $y$ is $\ell = -\log p_y$, where $p$ is the softmax of its logits:
#
# $$\ell = -\log \frac{e^{a_y}}{\sum_k e^{a_k}} = \log \sum_k e^{a_k} - a_y .$$
#
# **Given** the logits of B images, `logits` of shape (B, K), and their true classes, `y` of shape (B,), integers from
# 0 to K − 1. **Asked:** one surprise for each image, in nats: a tensor of shape (B,). Training needs its gradient, so
# the result must know how it was computed. You may use whatever PyTorch offers; you learn most if you write the
# formula out, and the two checks come one after the other so that you can.
#
# **Checked in 1a (2 points):** value and gradient for ordinary logits. **In 1b (2 points):** the same function must
# stay exact for logits of $\pm 10{,}000$, also when one image of the batch has far larger logits than another. Look
# at `torch.tensor(100.0).exp()` and `torch.tensor(-200.0).exp()` first. What may you add to all logits of an image
# without changing its surprise?

# %% tags=["solution:cross_entropy"]
def cross_entropy(logits, y):
    """(B, K) and (B,) -> (B,)"""
    ### BEGIN SOLUTION
    logits = logits - logits.max(dim=1, keepdim=True).values      # (B, K) the largest of each row is 0 now
    log_sum = logits.exp().sum(dim=1).log()                       # (B,)
    return log_sum - logits[torch.arange(len(y)), y]              # (B,)
    ### END SOLUTION

# %% [markdown]
# **1a**

# %% tags=["test:check_cross_entropy:2"]
check.cross_entropy(cross_entropy)
### BEGIN HIDDEN TESTS
_logits, _y = torch.randn(7, 5, requires_grad=True), torch.randint(5, (7,))
_losses = cross_entropy(_logits * 1, _y)  # times 1: a leaf cannot be changed in place
torch.testing.assert_close(_losses.detach().float(),
                           F.cross_entropy(_logits, _y, reduction="none").detach(), rtol=1e-3, atol=1e-4)
_losses.sum().backward()
torch.testing.assert_close(_logits.grad, (_logits.softmax(1) - F.one_hot(_y, 5)).detach(),
                           rtol=1e-3, atol=1e-4)
### END HIDDEN TESTS

# %% [markdown]
# **1b**

# %% tags=["test:check_large_logits:2"]
check.large_logits(cross_entropy)
### BEGIN HIDDEN TESTS
_logits = torch.tensor([[20_000.0, 0, -20_000], [-9_000, -9_000, -9_000], [0, 0, 0]])
_losses = cross_entropy(_logits, torch.tensor([2, 1, 0])).detach().float()
torch.testing.assert_close(_losses, torch.tensor([40_000, 1.0986123, 1.0986123]), rtol=1e-3, atol=1e-3)
### END HIDDEN TESTS

# %% [markdown]
# ## 2 · An MLP without a class (2 points)
#
# Forward, with nothing but tensors: images in, logits out, one hidden layer of ReLU units between.
#
# **Given** B grey images `x` of shape (B, 1, H, W), so that an image has $D = H \cdot W$ pixels; the parameters of
# the hidden layer, `W1` of shape (M, D) and `b1` of shape (M,); those of the second layer, `W2` of shape (K, M) and
# `b2` of shape (K,). Each row of a matrix belongs to one unit, as in `nn.Linear`, and the pixels are read row by row.
# **Asked:** the logits, shape (B, K). **Checked:** the values, for images of several sizes (28 × 28 is not among
# them) and for B = 1.

# %% tags=["solution:mlp_logits"]
def mlp_logits(x, W1, b1, W2, b2):
    """(B, 1, H, W), (M, D), (M,), (K, M), (K,) -> (B, K)"""
    ### BEGIN SOLUTION
    x = x.flatten(1)                                              # (B, D)
    h = (x @ W1.T + b1).clamp(min=0)                              # (B, M)
    return h @ W2.T + b2                                          # (B, K)
    ### END SOLUTION

# %% tags=["test:check_mlp_logits:2"]
check.mlp_logits(mlp_logits)
### BEGIN HIDDEN TESTS
_model = nn.Sequential(nn.Flatten(), nn.Linear(28 * 28, 20), nn.ReLU(), nn.Linear(20, 10))
with torch.no_grad():
    _first, _last = _model[1], _model[3]
    _got = mlp_logits(x_test[:9].clone(), _first.weight, _first.bias, _last.weight, _last.bias)
    torch.testing.assert_close(_got.float(), _model(x_test[:9]), rtol=1e-3, atol=1e-3)
### END HIDDEN TESTS

# %% [markdown]
# ## 3 · And backward, by hand (3 points)
#
# In the lesson you saw the gradient of one image's surprise with respect to its logits, $p - \text{onehot}(y)$, and
# the chain rule for the weights of a single layer. Now there are two layers.
#
# **Given** flat inputs `x` of shape (N, D), true classes `y` of shape (N,), and the parameters of the network of task
# 2, with the same shapes. The loss is the **mean** surprise over the N examples. **Asked:** its gradients with
# respect to `W1` and `W2`, as a pair of tensors with the shapes of `W1` and `W2`. **Checked:** both values, also for
# N = 1.
#
# Go backward through the network: from the logits to `W2`; from the logits to the hidden units; through the ReLU,
# whose slope is 1 where a unit is active and 0 where it is silent; from there to `W1`. At each step, write down the
# shapes: there is usually only one product that fits. Autograd is not forbidden, and it is the best way to test your
# result.

# %% tags=["solution:mlp_gradients"]
def mlp_gradients(x, y, W1, b1, W2, b2):
    """(N, D), (N,), (M, D), (M,), (K, M), (K,) -> the gradients for W1 (M, D) and for W2 (K, M)"""
    ### BEGIN SOLUTION
    h = (x @ W1.T + b1).clamp(min=0)                              # (N, M)
    P = (h @ W2.T + b2).softmax(dim=1)                            # (N, K)
    for_logits = (P - F.one_hot(y, len(W2))) / len(x)             # (N, K) of the mean loss
    for_hidden = (for_logits @ W2) * (h > 0)                      # (N, M) nothing passes a silent unit
    return for_hidden.T @ x, for_logits.T @ h
    ### END SOLUTION

# %% tags=["test:check_mlp_gradients:3"]
check.mlp_gradients(mlp_gradients)
### BEGIN HIDDEN TESTS
_x, _y, _b1, _b2 = torch.randn(8, 6), torch.randint(4, (8,)), torch.randn(5), torch.randn(4)
_W1, _W2 = torch.randn(5, 6, requires_grad=True), torch.randn(4, 5, requires_grad=True)
F.cross_entropy((_x @ _W1.T + _b1).relu() @ _W2.T + _b2, _y).backward()
_got = mlp_gradients(_x.clone(), _y.clone(), _W1.detach().clone(), _b1.clone(),
                     _W2.detach().clone(), _b2.clone())
torch.testing.assert_close(_got[0].detach().float(), _W1.grad, rtol=2e-3, atol=1e-4)
torch.testing.assert_close(_got[1].detach().float(), _W2.grad, rtol=2e-3, atol=1e-4)
### END HIDDEN TESTS

# %% [markdown]
# ## 4 · Find the bug
#
# The function below trains a classifier by gradient descent with momentum: each step goes along a velocity, which
# keeps nine tenths of itself and adds the new gradient. It runs without an error, and its loss falls. Yet of the test
# digits it gets some 75 in 100 right, where a sound loop reaches some 87 with as many steps. It has **one bug**.

# %%
def train_broken(model, x, y, steps, lr):
    velocity = [torch.zeros_like(w) for w in model.parameters()]
    losses = []
    for _ in range(steps):
        probabilities = model(x).softmax(dim=1)                   # (N, K)
        loss = F.cross_entropy(probabilities, y)
        gradient = torch.autograd.grad(loss, list(model.parameters()))
        with torch.no_grad():
            for w, v, g in zip(model.parameters(), velocity, gradient):
                v.mul_(0.9).add_(g)
                w -= lr * v
        losses.append(loss.item())
    return losses

# %% [markdown]
# *Figure: its loss over 100 steps on 1,000 digits. It starts at $\log 10 \approx 2.3$, as it should, falls, and
# flattens out far above 0.*

# %% tags=["nbval-ignore-figure"]
# not compared: a network trained in place
def new_model():
    seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(784, 64), nn.ReLU(), nn.Linear(64, 10))

def test_accuracy(model):
    with torch.no_grad():
        return (model(x_test).argmax(1) == y_test).double().mean().item()

broken = new_model()
losses = train_broken(broken, x_train[:1000], y_train[:1000], steps=100, lr=0.1)
claim("loss after 100 steps", losses[-1], ">", 1.5)
claim("test accuracy", test_accuracy(broken), ">", 0.6)
claim("test accuracy", test_accuracy(broken), "<", 0.84)
fig, ax = plt.subplots(figsize=(4, 2.6))
ax.plot(losses)
ax.set(xlabel="step", ylabel="loss (nats per digit)", ylim=(0, 2.5));

# %% [markdown]
# ### 4a · Repair it (3 points)
#
# **Given** a `model` that maps images `x` (N images) to logits of shape (N, K), the true classes `y` of shape (N,),
# the number of `steps` and the learning rate `lr`. **Asked:** `train_classifier`, the same function without the bug.
# Copy the one above, find the line, and repair it; everything else is right, the momentum too. **Checked:** the list
# of losses, and the parameters of the model after the last step, for several small models.
#
# A test to try on any classifier: which loss would it have if it were certain and right? Which has this one?

# %% tags=["solution:train_classifier"]
def train_classifier(model, x, y, steps, lr):
    """Changes the model in place; returns the loss before each step, a list of `steps` numbers."""
    ### BEGIN SOLUTION
    velocity = [torch.zeros_like(w) for w in model.parameters()]
    losses = []
    for _ in range(steps):
        loss = F.cross_entropy(model(x), y)                       # of the logits: softmax is part of it
        gradient = torch.autograd.grad(loss, list(model.parameters()))
        with torch.no_grad():
            for w, v, g in zip(model.parameters(), velocity, gradient):
                v.mul_(0.9).add_(g)
                w -= lr * v
        losses.append(loss.item())
    return losses
    ### END SOLUTION

# %% tags=["test:check_train_classifier:3"]
check.train_classifier(train_classifier)
### BEGIN HIDDEN TESTS
_model = new_model()
_losses = train_classifier(_model, x_train[:200], y_train[:200], 50, 0.1)
_loss = torch.as_tensor(_losses[-1]).detach()
assert _loss < 0.5, "the loss on 200 digits is still large after 50 steps"
assert test_accuracy(_model) > 0.75, "the trained network reads too few test digits"
### END HIDDEN TESTS

# %% [markdown]
# ### 4b · Why it was worse (3 points)
#
# **Explain** in four to eight sentences. (i) However long it trains, the broken loss cannot fall below $\log(1 + 9/e)
# \approx 1.46$ for ten classes: why? (ii) Take an image that the model gets wrong and is quite sure of. Why does the
# broken loss hardly correct it, and the right one does? (iii) A colleague repairs the line with
# `F.cross_entropy(model(x).log_softmax(dim=1), y)`, which applies a softmax twice as well. The check accepts it. Why
# is that harmless? (If you are not sure of something, try it.)

# %% [markdown] tags=["manual:explain_softmax_twice:3"]
# (i) `F.cross_entropy` takes the probabilities for logits. They lie between 0 and 1, so the best "logits" it can ever
# be given are 1 for the true class and 0 for the nine others, and its softmax makes of these $p_y = e / (e + 9)$, a
# surprise of $\log(1 + 9/e)$. (ii) The gradient must pass the additional softmax. With respect to a logit $a_k$ the
# slopes of a softmax are $p_k(1 - p_k)$ and $-p_k p_j$, all close to 0 when one probability is close to 1, whether
# that one is right or wrong. So a sure mistake is hardly corrected. With the right loss the gradient is $p -
# \text{onehot}(y)$, largest for just such mistakes. (iii) `log_softmax` subtracts from all logits of an image the
# same number, $\log \sum_k e^{a_k}$. A constant does not change the softmax, so the second one gives the same
# probabilities as the first, and loss and gradient are the same.
#
# **Rubric.** 1 point: the inputs of the loss are confined to 0 … 1, so even a perfect model leaves the other nine
# classes probability. 1 point: the first softmax is flat where the model is sure, so the gradient is nearly 0,
# compared with $p - \text{onehot}(y)$; "the gradient is smaller" without a reason gets half a point. 1 point:
# log-softmax shifts all logits by the same constant, to which softmax is blind (or: shown by experiment *and* with
# this reason).

# %% [markdown]
# ## 5 · Measure: how good is the nearest neighbour?
#
# The oldest classifier needs no training: answer with the label of the training digit that is closest. As the
# distance, take the Euclidean one between the 784 pixels; `torch.cdist` computes all of them at once, from (1000,
# 784) and (4000, 784).
#
# ### 5a · Two numbers (3 points)
#
# **Given** `x_train`, `y_train`, `x_test`, `y_test` of the cell at the top. **Asked:** `nearest_accuracy`, the share
# of the 1,000 test digits that the nearest of the 4,000 training digits reads correctly (k = 1, and a fraction, not
# percent); and `standard_error`, the standard error of that accuracy, a fraction too. **Checked:** the first within 2
# digits of 1,000 (2 points), the second within 6 percent (1 point).

# %% tags=["solution:nearest"]
nearest_accuracy = ...  # set both to your numbers at the end
standard_error = ...
### BEGIN SOLUTION
distances = torch.cdist(x_test.flatten(1), x_train.flatten(1))    # (1000, 4000)
nearest = distances.argmin(dim=1)                                 # (1000,) places in the training set
nearest_accuracy = (y_train[nearest] == y_test).double().mean().item()
standard_error = (nearest_accuracy * (1 - nearest_accuracy) / len(y_test)) ** 0.5
print(f"{nearest_accuracy:.2f}, give or take {standard_error:.3f}")
### END SOLUTION

# %% tags=["test:check_nearest_accuracy:2"]
check.nearest_accuracy(nearest_accuracy, digits)
### BEGIN HIDDEN TESTS
_a, _b = x_test.flatten(1).double(), x_train.flatten(1).double()
_nearest = ((_b * _b).sum(1) - 2 * _a @ _b.T).argmin(1)           # |a|^2 is the same for all b
_q = (y_train[_nearest] == y_test).double().mean()
assert abs(float(nearest_accuracy) - _q) < 0.0025, "the accuracy is not that of the nearest neighbour"
### END HIDDEN TESTS

# %% tags=["test:check_standard_error:1"]
check.standard_error(standard_error, digits)
### BEGIN HIDDEN TESTS
_a, _b = x_test.flatten(1).double(), x_train.flatten(1).double()
_right = y_train[((_b * _b).sum(1) - 2 * _a @ _b.T).argmin(1)] == y_test
_want = _right.double().std() / 1000**0.5
assert abs(float(standard_error) - _want) < 0.0006, "the standard error is not right"
### END HIDDEN TESTS

# %% [markdown]
# ### 5b · Better, or lucky? (3 points)
#
# A friend has trained two networks, A and B. On the same 1,000 test digits, A reads 95.1 % correctly and B 94.2 %. "A
# is better," says the friend. Then you look at single digits: on 57 of them just one of the two is right, 33 times A
# and 24 times B; on all others both are right or both are wrong.
#
# **Explain** in four to eight sentences what you answer, with numbers. (i) What do the two standard errors say? (ii)
# What do the 57 digits say, and why are they the better evidence? (iii) If the difference of 0.9 points is real, what
# could you do to show it?

# %% [markdown] tags=["manual:explain_lucky:3"]
# (i) Each accuracy $q$ has a standard error of $\sqrt{q(1-q)/1000}$, about 0.7 points. Their difference, if the two
# were measured independently, has $\sqrt{2}$ times that, about 1 point. So 0.9 points are less than one standard
# error: ordinary luck. (ii) Both sat the same examination, and most of the luck (how many hard digits are in it) is
# common to both and cancels in the difference. Only the 57 digits on which they disagree tell the two apart. If both
# were equally good, each of these would be a fair coin toss: 28.5 expected for either, with a standard deviation of
# $\sqrt{57}/2 \approx 3.8$. 33 is 1.2 standard deviations away, $(33 - 24)/\sqrt{57} \approx 1.2$: more telling than
# (i), but as large a difference comes by chance about once in four times. So the claim is not shown; nor is it shown
# that they are equal. (iii) More test digits: standard errors shrink with the root of their number. If the shares
# stay as they are, about $(2 / 1.2)^2 \approx 3$ times as many give two standard errors. Training both from several
# starts would show in addition how much of the 0.9 points is the luck of a start. Trying other settings until the
# difference is larger on these 1,000 digits would show nothing.
#
# **Rubric.** 1 point: states the standard errors (about 0.7 points each) and concludes that 0.9 points may be chance.
# 1 point: 33 against 24 is compared with a fair coin, with a number (1.2 standard deviations, or a probability of
# about a quarter), and the reason that the common luck cancels. 1 point: more test digits, and by what factor roughly
# (anything from 2 to 6 with a reason). An answer that says "they are equally good" loses half a point: that has not
# been shown either.

# %% [markdown]
# ## 6 · Your own question (4 points)
#
# Ask a question about softmax regression or the MLP on the digits that the lesson does not answer, **write down your
# guess**, and find out. Examples: How many test digits are lost with 16 hidden units in place of 128? Does a second
# hidden layer help? What if every tenth training label is wrong? How few training digits give 80 percent? Does an MLP
# revive if half of its hidden units are silenced after training? Use your `cross_entropy` of task 1, and `fit` as in
# the lesson. Your code shall run in less than a minute.

# %% tags=["solution:own_experiment", "nbval-ignore-figure"]
# not compared: trained in place
def loss_fn(model, x, y):
    return {"loss": cross_entropy(model(x), y).mean()}

def with_hidden(n, start):
    seed(start)
    model = nn.Sequential(nn.Flatten(), nn.Linear(784, n), nn.ReLU(), nn.Linear(n, 10))
    fit(model, loss_fn, Batches(x_train, y_train, batch_size=64), steps=200, lr=5e-3, decay=0.6)
    return test_accuracy(model)

widths = (2, 8, 16, 128)
table = torch.tensor([[with_hidden(n, start) for start in range(3)] for n in widths])  # (4, 3)
claim("accuracy with 2 hidden units, mean of 3 starts", table[0].mean(), "<", 0.75)
claim("accuracy with 16 hidden units, mean of 3 starts", table[-2].mean(), ">", 0.86)
claim("lost with 16 units in place of 128", table[-1].mean() - table[-2].mean(), ">", 0.005)
fig, ax = plt.subplots(figsize=(4, 2.6))
ax.plot(widths, table, "o", color="0.6", ms=4)
ax.errorbar(widths, table.mean(1), yerr=2 * (table.mean(1) * (1 - table.mean(1)) / 1000).sqrt(), capsize=3,
            label="mean of 3 starts, ± 2 s.e.")
ax.set(xscale="log", xticks=widths, xticklabels=widths, xlabel="hidden units", ylabel="test accuracy")
ax.minorticks_off()
ax.legend(loc="lower right");

# %% [markdown]
# Write here: your question, your guess, what you did, what came out (a number or a figure), how sure you are of it,
# and what you would try next. Half a page is plenty.

# %% [markdown] tags=["manual:own_question:4"]
# *An example of an answer.* **Question:** how many hidden units does it take to read digits? **Guess:** at least one
# for each class, so that 8 will fail badly and 16 will do. **Experiment:** four widths, three starts each, 200 steps,
# everything else as in the lesson; accuracy on the 1,000 test digits, none of which was trained on. **Result:** with
# two units, more than 40 percent are right, where two classes of the ten would be 20: a unit does not stand for a
# class. With 8 units it is more than 80 percent, so my guess was wrong. From 16 to 128 units there is still a gain of
# about 3 points. **Sure?** Of that gain, yes: it is more than two standard errors of a difference, and every start
# with 128 units beats every start with 16. With 2 and with 8 units the three starts differ by many points, so one
# start per width would have misled me. **Next:** why do starts differ so much in small networks? I would count their
# dead units.
#
# **Rubric.** 1 point: a question that can be answered by an experiment, and a guess made before. 1 point: one thing
# is changed and the rest held fixed; measured on digits that were not trained on. 1 point: a number or a figure with
# labelled axes, described truthfully, whether or not it agrees with the guess. 1 point: says how sure the result is
# (several starts, or the standard error of an accuracy) or what might be wrong with it.
