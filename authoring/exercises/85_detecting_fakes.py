# %% [markdown]
# # Exercise 85 · Real or generated?
#
# Five parts on lesson 85: a function, a bug, a measurement, a short text and a question of your own. They take about
# two hours of yours and some ten seconds of the computer's.
#
# - Write your answer **in place of** `raise NotImplementedError()`, then run the cell and the check below it.
# - A check prints `ok:` and the name of the task, or one sentence about what is wrong; `hint()` then says more.
# - Tasks 1 to 3 are graded by a program, which also runs your functions on inputs that you do not see here; 4 and 5 are
#   read by a person. You may add cells of your own anywhere, and use whatever PyTorch offers.

# %%
import torch

from course_lib import checkpoint
from course_lib.checks import detecting_fakes as check
from course_lib.checks import hint
from course_lib.claims import claim
from course_lib.classify import predict
from course_lib.data import load
from course_lib.device import seeded
from course_lib.metrics import balanced
from course_lib.privacy import auc

digits = load("digits")
detector = checkpoint.load("detector_gan")
gan = checkpoint.load("gan")

def saved(x, levels=16):
    return (x * (levels - 1)).round() / (levels - 1)

def suspicion(model, x):
    """Above 0 the detector accuses.  (n, 1, 28, 28) -> (n,)"""
    scores = predict(model, saved(x)).double()
    return scores[:, 1] - scores[:, 0]

# %%
# Stuck after a check? Run hint(): it says where to look first, then how, and the code only at last.
hint()

# %% [markdown]
# ## 1 · Another base rate (3 points)
#
# A detector was calibrated where the share `old` of all pictures were fakes: of those to which it gave the probability
# 0.9, nine in ten were fakes. Now it is used where the share is `new`. Fakes and real pictures look as they did; there
# are only more or fewer of each. So among the pictures with one score the fakes are multiplied by `new / old`, and the
# real ones by $(1 - \text{new}) / (1 - \text{old})$.
#
# **Given** `p` of shape (n,), probabilities between 0 and 1; the numbers `old` and `new`, between 0 and 1. **Asked:**
# the probabilities of a fake where the share is `new`, a tensor of shape (n,). **Checked:** the values, for several
# shares.
#
# What becomes of 0.9, if `old` is one half and one picture in a thousand is a fake?

# %% tags=["solution:moved"]
def moved(p, old, new):
    """(n,), two numbers -> (n,)"""
    ### BEGIN SOLUTION
    fake = p * new / old
    real = (1 - p) * (1 - new) / (1 - old)
    return fake / (fake + real)
    ### END SOLUTION

# %% tags=["test:check_moved:3"]
check.moved(moved)
### BEGIN HIDDEN TESTS
_p = torch.tensor([0.5, 0.9, 0.2])
torch.testing.assert_close(moved(_p.clone(), 0.5, 0.5).float(), _p, rtol=1e-3, atol=1e-5)
torch.testing.assert_close(moved(_p.clone(), 0.5, 0.01)[:2].float(), torch.tensor([0.01, 0.09 / 1.08]), rtol=1e-3, atol=1e-5)
torch.testing.assert_close(moved(moved(_p.clone(), 0.3, 0.02), 0.02, 0.3).float(), _p, rtol=1e-3, atol=1e-5)
### END HIDDEN TESTS

# %% [markdown]
# ## 2 · Find the bug (3 points)
#
# Before they reach a network, pictures are often moved and scaled to the mean 0 and the deviation 1. The function below
# does so with both sides. It runs without an error, and the detector that is trained behind it is nearly perfect. But
# one pixel is enough to be as good. There is **one bug**.

# %%
def prepared_broken(real, fake):
    real = (real - real.mean()) / real.std()
    fake = (fake - fake.mean()) / fake.std()
    return real, fake

# %%
fakes = balanced(gan, 200, seeded(11))
real_side, fake_side = prepared_broken(saved(digits.test.x), saved(fakes))
corner = auc(fake_side[:, 0, 0, 0], real_side[:, 0, 0, 0])
claim("how well the upper left pixel tells fakes from real digits: distance of its area from one half",
      abs(corner - 0.5), "==", 0.5)

# %% [markdown]
# **Given** `real` of shape (n, C, H, W) and `fake` of shape (m, C, H, W). **Asked:** `prepared`, the same function
# without the bug: both sides are moved by the mean of all pixels of all *real* pictures, and divided by their deviation
# (`std`, as above). It returns `real` and `fake`, in this order. **Checked:** the values, for several n and m.
#
# Why is black no longer black in the broken one, and why does that help the detector?

# %% tags=["solution:prepared"]
def prepared(real, fake):
    """(n, C, H, W), (m, C, H, W) -> the same two shapes"""
    ### BEGIN SOLUTION
    mean, deviation = real.mean(), real.std()                     # one pair of numbers for both sides
    return (real - mean) / deviation, (fake - mean) / deviation
    ### END SOLUTION

# %% tags=["test:check_prepared:3"]
check.prepared(prepared)
### BEGIN HIDDEN TESTS
_real, _fake = 1 + torch.rand(4, 1, 3, 3), 5 * torch.rand(2, 1, 3, 3)
_a, _b = prepared(_real.clone(), _fake.clone())
torch.testing.assert_close(torch.stack([_a.mean(), _a.std()]).float(), torch.tensor([0.0, 1.0]), rtol=1e-3, atol=1e-3)
torch.testing.assert_close((_b * _real.std() + _real.mean()).float(), _fake, rtol=1e-3, atol=1e-3)
### END HIDDEN TESTS

# %% [markdown]
# ## 3 · Measure: how many of the accused are innocent? (3 points)
#
# The detector of the GAN looks at pictures of which one in 200 is a fake of the GAN. Its threshold was chosen on the
# first 500 test digits, so that 1 % of them is accused.

# %%
real_scores = suspicion(detector, digits.test.x)                  # (1000,)
fake_scores = suspicion(detector, balanced(gan, 500, seeded(12)))             # (500,)
share = 1 / 200
print(tuple(real_scores.shape), tuple(fake_scores.shape))

# %% [markdown]
# **Given** the suspicions above. Choose the threshold as the 0.99 quantile (`torch.quantile`) of `real_scores[:500]`.
# **Asked:** `innocent`, the share of real pictures among all that are accused, if one picture in 200 is a fake. What
# the detector does with real pictures is measured on the 500 digits that did not choose the threshold. **Checked:**
# your number, within 0.4 percent.

# %% tags=["solution:innocent"]
innocent = ...  # set it to your number at the end
### BEGIN SOLUTION
threshold = real_scores[:500].quantile(0.99)
found = (fake_scores > threshold).double().mean().item()
accused = (real_scores[500:] > threshold).double().mean().item()
right = share * found
wrong = (1 - share) * accused
innocent = wrong / (right + wrong)
claim("innocent among the accused", innocent, ">", 0.6)
### END SOLUTION

# %% tags=["test:check_innocent:3"]
check.innocent(innocent, fake_scores, real_scores, share)
### BEGIN HIDDEN TESTS
_real = suspicion(checkpoint.load("detector_gan"), load("digits").test.x)
_fake = suspicion(checkpoint.load("detector_gan"), balanced(checkpoint.load("gan"), 500, seeded(12)))
_t = _real[:500].quantile(0.99)
_right, _wrong = (_fake > _t).double().mean() / 200, (_real[500:] > _t).double().mean() * 199 / 200
assert abs(float(innocent) - _wrong / (_right + _wrong)) < 0.01, "another number comes out when it is measured again"
### END HIDDEN TESTS

# %% [markdown]
# ## 4 · A verdict on a student (4 points)
#
# A school buys a detector of written text. Its maker says: "tested on 10,000 essays, half of them by our own language
# model: accuracy 98 %, expected calibration error 0.01". A student's essay gets "96 % machine-written".
#
# **Explain** in six to ten sentences what the number 96 % does and does not say. Your text should name four things: (i)
# which share of the school's essays would have to be machine-written for the maker's calibration to hold, and what
# happens if it is one in twenty (your function from task 1 can help: a number, please); (ii) what the test says about
# essays by *another* language model, with a result of the lesson; (iii) a group of innocent people who might be accused
# more often than 2 %, and why the maker's test would not have shown it; (iv) what the school could ask for in place of
# a score.

# %% [markdown] tags=["manual:explain_verdict:4"]
# (i) In the maker's test half of the essays were machine-written, so "96 %" holds where every second essay is. If one
# in twenty is, the odds 24 : 1 are divided by 19, which leaves 1.26 : 1 or 56 %: nearly as likely innocent as not. (ii)
# All fakes of the test came from one model. In the lesson a detector of the GAN had an area of 0.98 for the GAN and of
# 0.65 for the flow, of whose fakes it found hardly one in ten; for another language model neither the 98 % nor the 96 %
# was measured. (iii) Learners of the language write simply and with common words, which detectors take for a sign of
# machines. If there were few of them among the test's human essays, an error of one half in this group would hardly
# move the overall 98 %. So the error must be measured for each group. (iv) The school can ask for what shows where a
# text comes from: drafts, the history of the file, a conversation about the essay; none of it accuses by a score.
#
# **Rubric.** 1 point: (i) one half, and for one in twenty a number between 0.5 and 0.6. 1 point: (ii) other models were
# not tested, with a result of the lesson. 1 point: (iii) a group, and that an average hides it. 1 point: (iv) something
# about where the text comes from.

# %% [markdown]
# ## 5 · Your own question (4 points)
#
# Ask a question about detectors that the lesson does not answer, **write down your guess**, and find out. Examples: Are
# fakes of a 1 easier to find than fakes of an 8? Does a detector that was trained with noise on both sides still accuse
# noisy real digits, and what does that cost? Do two detectors, of the GAN and of the flow, find more together? Does the
# generator's temperature matter? Your code shall run in less than a minute.

# %% tags=["solution:own_experiment"]
shares = []
sample = balanced(gan, 500, seeded(21))                           # image i shows the digit i % 10
scores = suspicion(detector, sample).view(50, 10)                 # (50, 10 digits)
real_by_digit = [suspicion(detector, digits.test.x[digits.test.y == d]) for d in range(10)]
areas = [auc(scores[:, d], real_by_digit[d]) for d in range(10)]
claim("area of the easiest digit", max(areas), ">", 0.97)
claim("area of the hardest digit", min(areas), "<", 0.97)

# %% [markdown]
# Write here: your question, your guess, what you did, what came out (a number or a figure), how sure you are of it, and
# what you would try next. Half a page is plenty.

# %% [markdown] tags=["manual:own_question:4"]
# *An example of an answer.* **Question:** are some digits easier to find than others? **Guess:** those with many
# strokes, 8 and 5, because there is more to get wrong. **Experiment:** 50 fakes of each digit against the 100 real ones
# of the same digit, one area for each. **Result:** the areas reach from 0.94 to above 0.99. **Sure?** Not of the order:
# with 50 and 100 pictures the 95 % interval of an area near 0.95 is about ± 0.04, so only the largest differences can
# be told from chance. **Next:** 500 of each.
#
# **Rubric.** 1 point: a question that can be answered by an experiment, and a guess made before. 1 point: one thing is
# changed and the rest held fixed. 1 point: a number or a figure with labelled axes, described truthfully, whether or
# not it agrees with the guess. 1 point: says how sure the result is (an interval, several seeds) or what might be wrong
# with it.
