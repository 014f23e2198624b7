# %% [markdown]
# # Exercise 83 · When is a sample a copy?
#
# Five parts on lesson 83: a function, a bug, a measurement, a judgement in words and a question of your own. They take
# about two hours of yours and some ten seconds of the computer's.
#
# - Write your answer **in place of** `raise NotImplementedError()`, then run the cell and the check below it.
# - A check prints `ok:` and the name of the task, or one sentence about what is wrong; `hint()` then says more.
# - Tasks 1 to 3 are graded by a program, which also runs your functions on inputs that you do not see here; 4 and 5 are
#   read by a person. You may add cells of your own anywhere, and use whatever PyTorch offers.

# %%
import torch

from course_lib import checkpoint
from course_lib.checks import hint
from course_lib.checks import memorisation as check
from course_lib.claims import claim
from course_lib.data import load
from course_lib.device import seeded
from course_lib.metrics import copy_ratio

digits = load("digits")
order = torch.randperm(4000, generator=seeded(83))
train = digits.train.x[order[:200]]                               # what memory_200 was trained on
fresh = digits.test.x                                             # in no training set

# %%
# Stuck after a check? Run hint(): it says where to look first, then how, and the code only at last.
hint()

# %% [markdown]
# ## 1 · Copies, with a known rate of false alarms (3 points)
#
# The ratio of a point is its distance to the nearest training point, divided by its distance to the second nearest. A
# sample is called a copy if its ratio is smaller than the threshold, and the threshold is the ratio below which the share
# `false_alarms` of the *fresh* points lies, as `torch.quantile` gives it.
#
# **Given** `samples` (n, d), `train` (m, d) with m of at least 2, and `fresh` (k, d), points that cannot be copies;
# `false_alarms`, a share from 0 to 1. No sample and no fresh point lies exactly on a training point. **Asked:** a bool
# for each sample, True if it is called a copy: a tensor of shape (n,). **Checked:** the values, also for one sample and
# for few training points.

# %% tags=["solution:copies"]
def copies(samples, train, fresh, false_alarms):
    """(n, d), (m, d), (k, d), a share -> (n,) bool"""
    ### BEGIN SOLUTION
    def ratio(x):
        distances = torch.cdist(x, train)                         # (n, m)
        near = distances.topk(2, dim=1, largest=False).values     # (n, 2): the nearest, the second nearest
        return near[:, 0] / near[:, 1]

    threshold = ratio(fresh).quantile(false_alarms)
    return ratio(samples) < threshold
    ### END SOLUTION

# %% tags=["test:check_copies:3"]
check.copies(copies)
### BEGIN HIDDEN TESTS
_train = torch.tensor([[0.0, 0.0], [10.0, 0.0], [0.0, 30.0]])
_fresh = torch.tensor([[5.0, 0.1], [4.0, 0.0], [6.5, 0.0], [4.5, 0.0], [0.0, 16.0]])
_found = copies(torch.tensor([[1.0, 0.0], [4.9, 0.0], [10.0, 0.2]]), _train, _fresh, 0.25)
assert _found.tolist() == [True, False, True], "points near to one training point alone are copies"
_x = torch.randn(300, 4)
_few = copies(_x, torch.randn(20, 4), _x, 0.1)
assert abs(_few.float().mean().item() - 0.1) < 0.01, "the share of false alarms"
### END HIDDEN TESTS

# %% [markdown]
# ## 2 · Find the bug (3 points)
#
# DP-SGD adds up the gradients of a batch so that no single example can change the sum by more than the length `most`,
# adds noise, and divides by the number of examples. The function below runs, its result is never long, and it has noise
# of the right size. But its promise is worth nothing: **one line** is wrong.

# %%
def private_mean_broken(gradients, most, deviation, normal):
    total = gradients.sum(dim=0)                                  # (P,)
    total = total * (most / total.norm()).clamp(max=1)
    total = total + most * deviation * normal
    return total / len(gradients)

# %%
honest = torch.tensor([[0.0, 0.8], [0.1, 0.9], [-0.1, 0.7]])
loud = torch.tensor([[100.0, 0.0]])                               # one example more, with a long gradient
without = private_mean_broken(honest, 1.0, 0.0, torch.zeros(2))
with_it = private_mean_broken(torch.cat([honest, loud]), 1.0, 0.0, torch.zeros(2))
print("direction without it:", (without / without.norm()).tolist())
print("direction with it:   ", [round(v, 3) for v in (with_it / with_it.norm()).tolist()])

# %% [markdown]
# One example has turned the step by a right angle: it decides alone what is learned.
#
# **Given** `gradients` (B, P), a row for each example, none of which is zero; `most`, the largest length allowed;
# `deviation`; and `normal` (P,), standard normal numbers, to be multiplied by `deviation` and by `most` and added to the
# sum once. **Asked:** `private_mean`, the same function without the bug: a tensor of shape (P,). **Checked:** the values,
# for several B and P, with gradients longer and shorter than `most`, and that `gradients` stay as they were.

# %% tags=["solution:private_mean"]
def private_mean(gradients, most, deviation, normal):
    """(B, P), two numbers, (P,) -> (P,)"""
    ### BEGIN SOLUTION
    length = gradients.norm(dim=1, keepdim=True)                  # (B, 1): one for each example
    short = gradients * (most / length).clamp(max=1)              # (B, P)
    total = short.sum(dim=0) + most * deviation * normal
    return total / len(gradients)
    ### END SOLUTION

# %% tags=["test:check_private_mean:3"]
check.private_mean(private_mean)
### BEGIN HIDDEN TESTS
_g = torch.tensor([[3.0, 4.0], [0.3, 0.4], [0.0, -8.0]])
_want = torch.tensor([1.2 + 0.3 + 0.5, 1.6 + 0.4 - 2.0 + 1.0]) / 3
torch.testing.assert_close(private_mean(_g.clone(), 2.0, 0.5, torch.tensor([0.5, 1.0])).float(), _want)
_g = torch.randn(5, 6)
_got = private_mean(_g.clone(), 1e6, 0.0, torch.randn(6)).float()
torch.testing.assert_close(_got, _g.mean(0), rtol=1e-4, atol=1e-5)
### END HIDDEN TESTS

# %% [markdown]
# ## 3 · Measure: how many pictures come out? (3 points)
#
# An owner of pictures does not ask which share of the samples are copies, but how many of the *pictures* come out.

# %%
def drawn():
    """500 samples of the model that was trained on the 200 pictures, (500, 1, 28, 28)"""
    return checkpoint.load("memory_200").sample(500, generator=seeded(3), steps=8)

samples = drawn()
print("samples", tuple(samples.shape), " training pictures", tuple(train.shape))

# %% [markdown]
# **Given** the `samples`, the `train` pictures and `fresh` digits; the threshold is that of the lesson, the quantile 0.01
# of all 1,000 fresh digits. **Asked:** `different`, the number of different training pictures of which at least one of
# the 500 samples is a copy. `copy_ratio` (lesson 83) gives ratios and which picture is the nearest. **Checked:** your
# number.

# %% tags=["solution:different"]
different = ...  # set it to your number at the end
### BEGIN SOLUTION
ratio, which = copy_ratio(samples.flatten(1), train.flatten(1))
threshold = copy_ratio(fresh.flatten(1), train.flatten(1))[0].quantile(0.01)
different = len(which[ratio < threshold].unique())
claim("training pictures of 200 that come out", different, ">", 30)
### END SOLUTION

# %% tags=["test:check_different:3"]
check.different(different, samples, train, fresh)
### BEGIN HIDDEN TESTS
_train = digits.train.x[torch.randperm(4000, generator=seeded(83))[:200]].flatten(1).double()
_near = torch.cdist(drawn().flatten(1).double(), _train).sort(1)
_fresh = torch.cdist(digits.test.x.flatten(1).double(), _train).sort(1).values
_limit = (_fresh[:, 0] / _fresh[:, 1]).quantile(0.01)
_copied = _near.values[:, 0] / _near.values[:, 1] < _limit
_number = len(set(_near.indices[_copied, 0].tolist()))
assert abs(float(different) - _number) <= 1, "another number comes out when it is counted again"
### END HIDDEN TESTS

# %% [markdown]
# ## 4 · An audit (4 points)
#
# A company writes about its generator: "*Privacy report.* We trained on 100,000 photographs of customers. (a) We drew
# 10,000 samples and compared them with the training set: the mean distance to the nearest training picture is as large as
# that of 10,000 new photographs. (b) A membership attack by the loss has an AUC of 0.52. (c) We trained with DP-SGD and
# noise, with epsilon = 40 and delta = 0.00001. (d) A customer asked to be removed: we fine-tuned the model until the
# prompt with their name gave other people. *So our model contains no personal pictures.*"

# %%
often = checkpoint.metadata("memory_duplicates")["trials"]["private"][0]
for name in ("plain", "noise 0.8", "noise 1.5", "noise 3"):
    epsilon, accuracy, area, found = often[name]
    promised = "none" if epsilon is None else f"{epsilon:.1f}"
    print(f"{name:10} epsilon {promised}, accuracy {accuracy:.2f}, AUC {area:.2f}")

# %% [markdown]
# **Explain** in eight to twelve sentences: for each of (a) to (d), what the number leaves open (one reason with an
# example from lesson 83), and what you would ask for in its place.

# %% [markdown] tags=["manual:explain_audit:4"]
# (a) A mean hides a few copies: if 50 samples of 10,000 are exact copies, the mean hardly moves. In the lesson, five
# pictures that stood in the training set fifty times were copied by more than half of all samples, and the other 190 hardly
# at all. I ask for the *share* of samples, and for the number of pictures, below a threshold that new photographs
# calibrate, and for a search for duplicates first. (b) An AUC of 0.52 is a mean over all members. A few may be found for
# sure, as the wrongly labelled canaries were, while typical members were not. I ask for the share found at 1 % (or 0.1 %)
# falsely accused, for canaries, and for an attack that compares with another model. (c) The promise with epsilon = 40 is
# that an attack finds at most exp(40) times the share of those it accuses wrongly: more than everything, so it promises
# nothing. I ask for epsilon of a few units, with delta well below 1 / 100,000, and for the accuracy that it costs. (d)
# That a prompt gives other people shows that the name was forgotten, not the picture: in the lesson the threes came back
# after ten batches of ten threes, while a model that never saw one did not draw them. I ask for that test, against a
# model trained without the customer.
#
# **Rubric.** 1 point: (a) a mean hides a few copies; asks for a share below a calibrated threshold, or for duplicates.
# 1 point: (b) an AUC hides a few members that are found for sure; asks for what is found at few false, or canaries, or
# another model's loss. 1 point: (c) exp(40) bounds nothing; asks for a smaller epsilon.
# 1 point: (d) the name is forgotten and not the picture; asks how fast it is relearned, compared with a model that never
# saw it. Half of it where only the reason or only the better measurement is named.

# %% [markdown]
# ## 5 · Your own question (4 points)
#
# Ask a question about copying that the lesson does not answer, **write down your guess**, and find out with `memory_200`,
# `memory_keys`, `memory_duplicates` or a small training of your own (twenty pictures are learned by heart
# in a few seconds). Examples: Do fewer steps of sampling give fewer copies? Does a copy that is shifted by one pixel
# still count? Are ones copied more often than eights? What does `memory_keys` draw *between* two keys, or without any?
# Does adding noise to the training pictures help? Your code shall run in less than a minute.

# %% tags=["solution:own_experiment"]
threshold = copy_ratio(fresh.flatten(1), train.flatten(1))[0].quantile(0.01)
shares = {}
for pixels in range(4):
    moved = torch.roll(samples, pixels, dims=3)                   # to the right
    shares[pixels] = (copy_ratio(moved.flatten(1), train.flatten(1))[0] < threshold).double().mean().item()
claim("share of copies without a shift", shares[0], ">", 0.4)
claim("share of copies after a shift by one pixel", shares[1], "<", 0.2)
claim("copies after a shift by two pixels, as a share of those without", shares[2] / shares[0], "<", 0.3)

# %% [markdown]
# Write here: your question, your guess, what you did, what came out (a number or a figure), how sure you are of it, and
# what you would try next. Half a page is plenty.

# %% [markdown] tags=["manual:own_question:4"]
# *An example of an answer.* **Question:** are copies still found if they are shifted by a few pixels? **Guess:** one
# pixel does little harm, two do some. **Experiment:** the 500 samples of `memory_200`, shifted to the right by 0 to 3
# pixels, with the same threshold. **Result:** after one pixel 7 % of the samples are called copies in place of 53 %,
# after two pixels none. My guess was wrong: so whoever wants to hide copies from this test only has to shift them.
# **Sure?** Of this model, yes: with 500 samples the standard error of a share is 0.02 at most. **Next:** compare features
# of the judge in place of pixels, with a threshold calibrated anew, and see whether the shift still hides the copies, and
# how many false alarms there are.
#
# **Rubric.** 1 point: a question that can be answered by an experiment, and a guess made before. 1 point: one thing is
# changed and the rest held fixed. 1 point: a number or a figure with labelled axes, described truthfully, whether or not
# it agrees with the guess. 1 point: says how sure the result is (a standard error, several seeds) or what might be wrong
# with it.
