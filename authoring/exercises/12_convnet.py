# %% [markdown]
# # Exercise 12 · Convolution, and the judge
#
# Six tasks on lesson 12: three functions, a bug, a measurement with its reason, and a question of your own. They take about two
# hours of yours and a few seconds of the computer's.
#
# - Write your answer **in place of** `raise NotImplementedError()`, then run the cell and the check below it.
# - A check prints `ok:` and the name of the task, or one sentence about what is wrong; `hint()` then says more.
# - Tasks 1 to 5a are graded by a program, which also runs your functions on inputs that you do not see here; 5b and 6 are
#   read by a person. You may add cells of your own anywhere, and use whatever PyTorch offers.

# %%
import math

import matplotlib.pyplot as plt
import torch
from torch.nn import functional as F

from course_lib import checkpoint, plots
from course_lib.augment import augment
from course_lib.checks import convnet as check
from course_lib.checks import hint
from course_lib.claims import claim
from course_lib.classify import accuracy, predict
from course_lib.convnet import ConvNet, ConvNetConfig
from course_lib.data import load
from course_lib.device import seed

digits = load("digits")

# %%
# Stuck after a check? Run hint(): it says where to look first, then how, and the code only at last.
hint()

# %% [markdown]
# ## 1 · One filter (2 points)
#
# **Given** an image `x` of shape (C, H, W), one filter `w` of shape (C, kh, kw), which need not be square, and a number `stride`.
# **Asked:** its response, a tensor of shape (H', W') with
#
# $$y_{ij} = \sum_{c}\sum_{u}\sum_{v} w_{cuv}\; x_{c,\; i\cdot\text{stride}+u,\; j\cdot\text{stride}+v},
# \qquad H' = \lfloor (H - k_h) / \text{stride} \rfloor + 1,$$
#
# and $W'$ likewise. There is no padding and no bias. **Checked:** the values, and the gradients with respect to `x` and `w`.

# %% tags=["solution:convolve"]
def convolve(x, w, stride):
    """(C, H, W), (C, kh, kw) and a number -> (H', W')"""
    ### BEGIN SOLUTION
    _, kh, kw = w.shape
    windows = x.unfold(1, kh, stride).unfold(2, kw, stride)       # (C, H', W', kh, kw)
    return torch.einsum("chwuv,cuv->hw", windows, w)
    ### END SOLUTION

# %% tags=["test:check_convolve:2"]
check.convolve(convolve)
### BEGIN HIDDEN TESTS
_x, _w = torch.randn(3, 8, 11), torch.randn(3, 2, 5)
torch.testing.assert_close(convolve(_x, _w, 2).float(), F.conv2d(_x[None], _w[None], stride=2)[0, 0],
                           rtol=1e-3, atol=1e-3)
### END HIDDEN TESTS

# %% [markdown]
# ## 2 · Max-pooling (2 points)
#
# **Given** a batch `x` of shape (B, C, H, W) and a number `k`. **Asked:** the largest value of each window of `k` × `k` pixels, a
# tensor of shape (B, C, H // k, W // k). Windows do not overlap; rows and columns that are left over at the bottom and at the
# right are dropped. **Checked:** the values, also where `k` does not divide H or W, and the gradient with respect to `x`.
# Do it without `F.max_pool2d` first.

# %% tags=["solution:max_pool"]
def max_pool(x, k):
    """(B, C, H, W) and a number -> (B, C, H // k, W // k)"""
    ### BEGIN SOLUTION
    B, C, H, W = x.shape
    x = x[:, :, :H // k * k, :W // k * k]                         # drop what is left over
    return x.reshape(B, C, H // k, k, W // k, k).amax((3, 5))
    ### END SOLUTION

# %% tags=["test:check_max_pool:2"]
check.max_pool(max_pool)
### BEGIN HIDDEN TESTS
_x = torch.randn(2, 3, 9, 10) - 1
torch.testing.assert_close(max_pool(_x, 4).float(), F.max_pool2d(_x, 4))
### END HIDDEN TESTS

# %% [markdown]
# ## 3 · Is it as sure as it should be? (3 points)
#
# **Given** probabilities `probs` of shape (N, K), whose rows sum to 1, the true classes `y` of shape (N,), and a number `n_bins`.
# The *answer* to an example is its most probable class, the *confidence* is the probability of this answer. Bin
# $k = 0, 1, \ldots$ holds the examples with $k / n_\text{bins} < \text{confidence} \le (k + 1) / n_\text{bins}$. **Asked:** the
# expected calibration error, one number:
#
# $$\sum_k \frac{n_k}{N} \; \bigl| \text{share of right answers in bin } k \;-\; \text{mean confidence in bin } k \bigr|,$$
#
# where $n_k$ is how many examples bin $k$ holds; an empty bin adds nothing. **Checked:** the value, also with empty bins, with
# one example and with a confidence of exactly 1. A tensor of shape `()` and a Python number are both fine.

# %% tags=["solution:ece"]
def ece(probs, y, n_bins):
    """(N, K), (N,) and a number -> one number"""
    ### BEGIN SOLUTION
    confidence, answer = probs.max(1)
    right = (answer == y).float()
    error = torch.tensor(0.0)
    for k in range(n_bins):
        here = (confidence > k / n_bins) & (confidence <= (k + 1) / n_bins)
        if here.any():
            error += here.float().mean() * (right[here].mean() - confidence[here].mean()).abs()
    return error
    ### END SOLUTION

# %% tags=["test:check_ece:3"]
check.ece(ece)
### BEGIN HIDDEN TESTS
_probs = torch.tensor([[0.9, 0.1], [0.3, 0.7], [0.25, 0.75], [1.0, 0.0]])
# bins: 0.7 and 0.75, half right; 0.9 and 1, both right
_error = float(ece(_probs, torch.tensor([0, 1, 0, 0]), 5))
assert abs(_error - (0.5 * 0.225 + 0.5 * 0.05)) < 1e-4, "the calibration error of a small example is wrong"
### END HIDDEN TESTS

# %% [markdown]
# ## 4 · Find the bug (3 points)
#
# The function below trains with augmentation: `distort` is called at the start of each epoch and returns distorted copies of
# all images. It runs without an error and its loss falls. It has **one bug** nevertheless: on new digits the network is
# *worse* than without any distortion, when it should be better.

# %%
def train_broken(model, x, y, distort, epochs, eta):
    optimiser = torch.optim.Adam(model.parameters(), lr=eta)
    losses = []
    for _ in range(epochs):
        x = distort(x)
        for x_batch, y_batch in zip(x.split(32), y.split(32)):
            loss = F.cross_entropy(model(x_batch), y_batch)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            losses.append(loss.item())
    return losses

# %% [markdown]
# *Figure: ten of the training digits, as they are.*

# %%
few, few_y = digits.train.x[:200], digits.train.y[:200]
plots.grid(few[:10]);

# %%
def gently(x):
    return augment(x, rotate=6, scale=0.06, shear=0.08, shift=1, elastic=0.5)

def result_of(train, distort):
    seed(0)
    model = ConvNet(ConvNetConfig(n_channel=8))
    losses = train(model, few, few_y, distort, epochs=16, eta=3e-3)
    return losses, accuracy(model, digits.test.x, digits.test.y)

losses, with_bug = result_of(train_broken, gently)
_, without_distortion = result_of(train_broken, lambda x: x)
claim("loss, last step / first step", losses[-1] / losses[0], "<", 0.7)
claim("test accuracy without distortion", without_distortion, ">", 0.75)
claim("lost by distorting", without_distortion - with_bug, ">", 0.03)

# %% [markdown]
# **Given** a `model` that maps images `x` of shape (N, C, H, W) to logits, the classes `y` of shape (N,), the function `distort`,
# the number of `epochs` and the learning rate `eta`. **Asked:** `train_augmented`, the same function without the bug. Copy the
# one above, find the line, and repair it; everything else is right. **Checked:** the list of losses, one for each step, and the
# parameters after the last step, for several small models.
#
# Do not guess: look at the images of the first epoch and of the last, with `plots.grid(x[:20])`.

# %% tags=["solution:train_augmented"]
def train_augmented(model, x, y, distort, epochs, eta):
    """Changes the model in place; returns the loss of each step, a list of numbers."""
    ### BEGIN SOLUTION
    optimiser = torch.optim.Adam(model.parameters(), lr=eta)
    losses = []
    for _ in range(epochs):
        distorted = distort(x)                                    # x stays as it was, for the next epoch
        for x_batch, y_batch in zip(distorted.split(32), y.split(32)):
            loss = F.cross_entropy(model(x_batch), y_batch)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            losses.append(loss.item())
    return losses
    ### END SOLUTION

# %% tags=["test:check_train_augmented:3"]
check.train_augmented(train_augmented)
### BEGIN HIDDEN TESTS
_fixed = result_of(train_augmented, gently)[1]
assert _fixed > with_bug + 0.05, "the network is not better than with the bug"
### END HIDDEN TESTS

# %% [markdown]
# ## 5 · Measure: how far does the judge follow?
#
# In the lesson the judge still read digits that had moved to the right. Now they move *down*.

# %%
judge = checkpoint.load("judge")
claim("accuracy of the judge", accuracy(judge, digits.test.x, digits.test.y), ">", 0.98)

# %% [markdown]
# ### 5a · The number (2 points)
#
# **Asked:** the share of the 1,000 test digits that the judge reads correctly after each has moved **down by 7 pixels**. Zeros come
# in at the top, and what leaves at the bottom is lost. Call it `accuracy_moved`, a number between 0 and 1. **Checked:** your
# number, within 1 percent. Look at a moved digit before you trust it.

# %% tags=["solution:accuracy_moved"]
accuracy_moved = ...  # set it to your number at the end
### BEGIN SOLUTION
moved = F.pad(digits.test.x, (0, 0, 7, -7))                       # left, right, top, bottom
accuracy_moved = accuracy(judge, moved, digits.test.y)
### END SOLUTION

# %% tags=["test:check_accuracy_moved:2"]
check.accuracy_moved(accuracy_moved)
### BEGIN HIDDEN TESTS
_moved = torch.zeros_like(digits.test.x)
_moved[:, :, 7:] = digits.test.x[:, :, :-7]
_share = (predict(judge, _moved).argmax(1) == digits.test.y).float().mean().item()
_distance = abs(float(accuracy_moved) - _share)
assert _distance < 0.01 * _share, "not the accuracy on digits moved down by 7 pixels"
### END HIDDEN TESTS

# %% [markdown]
# ### 5b · The reason (3 points)
#
# Measure the same for 7 pixels to the *right*; and, for both directions, which share of the ink leaves the picture. Then
# **explain** in four to seven sentences: (i) why does sharing weights make the response of a convolution move with the
# image? (ii) The judge is made of convolutions: where in it is this lost, so that its answer can change? Name two places.
# (iii) Why is "down" worse than "right"?

# %% [markdown] tags=["manual:explain_equivariance:3"]
# (i) The same weights lie on every place, so the filter computes at the new place of a stroke exactly what it
# computed at the old one; the response is the same picture, moved. (ii) With a stride of 2, or after pooling by 2, it moves
# with the image only for shifts by a multiple of two (with all halvings of the judge, of eight). At the frame, zeros come in and
# ink is lost. Above all, the linear layer behind the convolutions has its own weight for each place of the last map and shares
# nothing. (iii) Digits were scaled to fill 20 of the 28 rows, and most are narrower than high. Moved down by 7, they
# lose about 15 percent of their ink, to the right about 5 percent: a 7 without its foot cannot be told from other digits.
# No equivariance brings back what has left the picture.
#
# **Rubric.** 1 point: (i) the same weights at every place, hence the same numbers at a moved place. 1 point: (ii) two of
# stride or pooling, frame, linear layer. 1 point: (iii) more ink leaves at the bottom, with a measured number. An answer
# that the judge "was not trained on such digits" is true and earns half a point in place of a missing one.

# %% [markdown]
# ## 6 · Your own question (4 points)
#
# Ask a question about convolutional networks or about the judge that the lesson does not answer, **write down your
# guess**, and find out. Examples: Which change that a person hardly notices costs the judge most: thinner strokes, noise, a grey
# background? Does it know when it is wrong (use your `ece`)? Which part of the augmentation helps most with 200 digits
# (use your `train_augmented`)? Does max-pooling beat a stride of 2? Your code shall run in less than a minute.

# %% tags=["solution:own_experiment"]
def rotated(x, degrees):
    cos, sin = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    rotation = torch.tensor([[cos, -sin, 0], [sin, cos, 0]]).expand(len(x), 2, 3)
    grid = F.affine_grid(rotation, list(x.shape), align_corners=False)
    return F.grid_sample(x, grid, align_corners=False)

angles, table = range(0, 181, 30), []
for angle in angles:
    p = predict(judge, rotated(digits.test.x, angle)).softmax(1)
    right = (p.argmax(1) == digits.test.y).float().mean()
    table.append([right, p.amax(1).mean(), ece(p, digits.test.y, 10)])
table = torch.tensor(table)                                       # (7, 3)
claim("upside down: accuracy", table[-1, 0], "<", 0.5)
claim("upside down: mean confidence", table[-1, 1], ">", 0.85)
fig, ax = plt.subplots(figsize=(4, 2.6))
ax.plot(angles, table, marker="o", ms=4, label=["accuracy", "mean confidence", "calibration error"])
ax.set(xlabel="rotation (degrees)", xticks=angles, ylim=(0, 1.02))
ax.legend(fontsize=8);

# %% [markdown]
# Write here: your question, your guess, what you did, what came out (a number or a figure), how sure you are of it, and what
# you would try next. Half a page is plenty.

# %% [markdown] tags=["manual:own_question:4"]
# *An example of an answer.* **Question:** does the judge notice that a digit is rotated? **Guess:** its confidence falls with its
# accuracy. **Experiment:** all 1,000 test digits, turned by 0 to 180 degrees; accuracy, mean confidence, and the `ece` of task 3
# with ten bins. **Result:** the guess was wrong. At 90 degrees about a quarter of the answers are right, while the mean confidence
# stays above 80 percent, so the calibration error rises from below 0.01 to about 0.6. Accuracy rises again towards 180 degrees,
# since 0, 1 and 8 look the same upside down. **Sure?** The standard deviation of these accuracies is at most 1.6 percent. **Next:**
# do the 64 features know better than the probabilities?
#
# **Rubric.** 1 point: a question that can be answered by an experiment, and a guess made before. 1 point: one thing is changed
# and the rest held fixed; measured on digits that were not trained on. 1 point: a number or a figure with labelled axes,
# described truthfully, whether or not it agrees with the guess. 1 point: says how sure the result is or what might be wrong.
