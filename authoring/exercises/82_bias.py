# %% [markdown]
# # Exercise 82 · Shares
#
# Five parts on lesson 82: a function, a bug, a measurement, a short text and a question of your own. They take about an
# hour and a half of yours and some ten seconds of the computer's.
#
# - Write your answer **in place of** `raise NotImplementedError()`, then run the cell and the check below it.
# - A check prints `ok:` and the name of the task, or one sentence about what is wrong; `hint()` then says more.
# - Tasks 1 to 3 are graded by a program, which also runs your functions on inputs that you do not see here; 4 and 5 are
#   read by a person. You may add cells of your own anywhere, and use whatever PyTorch offers.

# %%
import torch

from course_lib import checkpoint
from course_lib.checks import bias as check
from course_lib.checks import hint
from course_lib.claims import claim
from course_lib.data.avatars import NAMES
from course_lib.device import seeded
from course_lib.metrics import wilson
from course_lib.reader import read

model = checkpoint.load("jobs")
hat_column = NAMES.index("hat")

# %%
# Stuck after a check? Run hint(): it says where to look first, then how, and the code only at last.
hint()

# %% [markdown]
# ## 1 · The tilt, for any number of groups (3 points)
#
# The faces of a world fall into $K$ groups. In group $k$ the label "zorp" is given with the probability
# $p(\text{zorp} \mid k)$. Guidance of scale $s$ would ideally draw from $p(x)\,p(\text{zorp} \mid x)^s$.
#
# **Given** `prior` (K,), the share of each group among all faces; `says` (K,), the probability of the label in each
# group; and a number `scale`, 0 or more. **Asked:** the share of each group after the tilt, (K,). **Checked:** the
# values, also for K = 1 and scales that are no whole numbers, and the gradients with respect to `prior` and `says`.

# %% tags=["solution:tilted"]
def tilted(prior, says, scale):
    """(K,), (K,), number -> (K,)"""
    ### BEGIN SOLUTION
    weights = prior * says**scale
    return weights / weights.sum()
    ### END SOLUTION

# %% tags=["test:check_tilted:3"]
check.tilted(tilted)
### BEGIN HIDDEN TESTS
for _s in (0.0, 1.0, 2.5, 6.0):
    _got = tilted(torch.tensor([0.5, 0.5]), torch.tensor([0.8, 0.2]), _s)
    _one = 0.8**_s / (0.8**_s + 0.2**_s)
    torch.testing.assert_close(_got.detach().float(), torch.tensor([_one, 1 - _one]), rtol=1e-3, atol=1e-4)
_got = tilted(torch.tensor([0.5, 0.3, 0.2]), torch.tensor([0.1, 0.2, 0.4]), 2)
torch.testing.assert_close(_got.detach().float(), torch.tensor([0.005, 0.012, 0.032]) / 0.049, rtol=1e-3, atol=1e-4)
### END HIDDEN TESTS

# %% [markdown]
# ## 2 · Find the bug (3 points)
#
# To repair a habit without throwing faces away, each face gets a weight in the loss, such that all four pairs of job and
# hat weigh the same and the mean weight is 1. The function below runs, its weights are positive, and in the world of the
# lesson their mean is 1. But a model trained with them wears its hats as before. There is **one bug**, in one line.

# %%
def weights_broken(job, hat):
    share_of_job = torch.stack([(job == k).float().mean() for k in (0, 1)])                # (2,)
    share_of_hat = torch.stack([(hat == k).float().mean() for k in (False, True)])         # (2,)
    share = share_of_job[job] * share_of_hat[hat.long()]          # of all faces, this one's pair: (N,)
    return 1 / (4 * share)

# %%
job = torch.tensor([0] * 10 + [1] * 10)                           # 0 is a zorp, 1 a mip
hat = torch.tensor([True] * 8 + [False] * 2 + [True] * 2 + [False] * 8)
print(weights_broken(job, hat))

# %% [markdown]
# **Given** `job` (N,), 0 or 1, and `hat` (N,), True or False. **Asked:** `weights`, the same function without the bug,
# (N,): one over four times the share of a face's pair. **Checked:** the weights, also in worlds where jobs or hats are not
# half and half, and for N = 1.
#
# When would the function with the bug be right?

# %% tags=["solution:weights"]
def weights(job, hat):
    """(N,) int64, (N,) bool -> (N,)"""
    ### BEGIN SOLUTION
    pair = 2 * job + hat.long()                                   # (N,) which of the four pairs
    share = (pair.bincount(minlength=4) / len(pair))[pair]        # counted, not multiplied
    return 1 / (4 * share)
    ### END SOLUTION

# %% tags=["test:check_weights:3"]
check.weights(weights)
### BEGIN HIDDEN TESTS
for _counts in ((8, 2, 2, 8), (12, 3, 4, 1)):
    _pair = torch.arange(4).repeat_interleave(torch.tensor(_counts))
    _w = weights(_pair // 2, _pair % 2 == 1)
    assert abs(_w.mean() - 1) < 1e-4, "the mean of the weights must be 1"
    _sums = torch.stack([_w[_pair == k].sum() for k in range(4)])
    torch.testing.assert_close(_sums, torch.full((4,), len(_pair) / 4), rtol=1e-3, atol=1e-3)
### END HIDDEN TESTS

# %% [markdown]
# ## 3 · Measure: how much guidance does an audit let pass? (3 points)
#
# We draw 60 zorps at each of six scales of guidance, from the same noises. In the data 0.8 of the zorps wear a hat.

# %%
scales = [0.5, 1.0, 1.25, 1.75, 2.25, 3.0]
n, hits = 60, []
for scale in scales:
    drawn = model.sample(["a zorp"] * n, seeded(5), guidance=scale, steps=6)
    hits.append(int((read(drawn)[:, hat_column] > 0).sum()))

# %% [markdown]
# **Given** `scales`, the counts `hits`, and `n`. **Asked:** `largest_scale`, the largest of the six scales at which
# Wilson's interval (95 %) around the share of hats still holds 0.8, so that an audit of 60 pictures finds nothing.
# **Checked:** your number.
#
# What would the number become with 600 pictures a scale?

# %% tags=["solution:largest_scale"]
largest_scale = ...  # set it to your number at the end
### BEGIN SOLUTION
passing = []
for scale, count in zip(scales, hits):
    share, low, high = wilson(count, n)
    if low <= 0.8 <= high:
        passing.append(scale)
largest_scale = max(passing)
claim("share of zorps with a hat at the largest scale, 3", hits[-1] / n, ">", 0.9)
### END SOLUTION

# %% tags=["test:check_largest_scale:3"]
check.largest_scale(largest_scale, scales, hits, n)
### BEGIN HIDDEN TESTS
_model, _found = checkpoint.load("jobs"), []
for _s in [0.5, 1.0, 1.25, 1.75, 2.25, 3.0]:
    _x = _model.sample(["a zorp"] * 60, seeded(5), guidance=_s, steps=6)
    _p = (read(_x)[:, NAMES.index("hat")] > 0).double().mean().item()
    if abs(_p - 0.8) <= 1.96 * (0.8 * 0.2 / 60) ** 0.5:
        _found.append(_s)
assert abs(float(largest_scale) - max(_found)) < 0.01, "another number comes out when it is measured again"
### END HIDDEN TESTS

# %% [markdown]
# ## 4 · An audit that accuses the wrong one (4 points)
#
# A newspaper asks a model like that of lesson 65 for 500 pictures of "a person". 13 % of them wear glasses, in the
# training pictures 48 % do. It writes: "The model makes glasses disappear. Its makers should train it on more people with
# glasses."
#
# **Explain** in six to nine sentences. (i) Is 13 % against 48 % a difference of chance? Say how you know. (ii) Where does
# it come from? Use that captions of faces with glasses mention them in 85 % of all cases, and that no caption says "no
# glasses"; compute the share that an exact model would show. (iii) Would more faces with glasses repair it: what would
# the share become if 80 % of the training faces wore some? (iv) Name one change of the captions, or of the question,
# that would.

# %% [markdown] tags=["manual:explain_audit:4"]
# (i) No: Wilson's interval for 13 % of 500 reaches from about 10 to 16 %, far from 48 %. (ii) The question does not
# mention glasses, and in training such captions belong mostly to faces without: an exact model shows
# 0.15 · 0.48 / (0.15 · 0.48 + 0.52) = 0.12. The model does what its captions taught it; the comparison with all
# training pictures is the wrong baseline. (iii) Hardly: with 80 % it becomes 0.15 · 0.8 / (0.15 · 0.8 + 0.2) = 0.375, still
# less than half of 80 %. (iv) Captions that leave glasses out as often where there are none, so "no glasses" must be
# said in 85 % of those cases; or asking with no caption at all, or with "glasses" in the share that is wanted.
#
# **Rubric.** 1 point: (i) an interval or a test with its numbers, and the conclusion that it is not chance. 1 point:
# (ii) Bayes' rule and a number between 0.11 and 0.13. 1 point: (iii) the number 0.375 (0.36 to 0.39), and that it does
# not repair it. 1 point: (iv) one change that makes silence say nothing, or that asks for what is wanted.

# %% [markdown]
# ## 5 · Your own question (4 points)
#
# Ask a question about shares in samples that the lesson does not answer, **write down your guess**, and find out.
# Examples: Does the habit come through when the caption says more ("a zorp with green hair")? What does a negative
# prompt ("a mip") do to a zorp's hat? At which guidance does the diversity of skin tones fall? Does the first half of
# the steps decide about the hat? Your code shall run in less than a minute, and your answer needs an interval.

# %% tags=["solution:own_experiment"]
shares = {}
for text in ("a zorp", "a zorp with green hair"):
    drawn = model.sample([text] * 80, seeded(6), guidance=1)
    shares[text] = wilson(int((read(drawn)[:, hat_column] > 0).sum()), 80)
claim("hats of zorps, the lower end", shares["a zorp"][1], ">", 0.58)
claim("hats of zorps with green hair, the upper end", shares["a zorp with green hair"][2], "<", 0.6)

# %% [markdown]
# Write here: your question, your guess, what you did, what came out (a number with its interval, or a figure), how sure
# you are of it, and what you would try next. Half a page is plenty.

# %% [markdown] tags=["manual:own_question:4"]
# *An example of an answer.* **Question:** does the habit come through when the caption says more, "a zorp with green
# hair"? **Guess:** yes, hair has nothing to do with jobs. **Experiment:** 80 zorps and 80 zorps with green hair, guidance
# 1, from the same noises, counted by the reader. **Result:** my guess was wrong. Of the zorps 76 % wear a hat (66 to 84),
# of those with green hair 41 % (31 to 52). The model learned captions in which hair is mentioned only where it can be
# seen, and a hat often hides it, so green hair speaks against a hat. **Sure?** The intervals are far apart; 80 pictures
# can show differences of about 15 points. It is one model, trained once. **Next:** "a zorp with a beard", which no hat hides.
#
# **Rubric.** 1 point: a question that can be answered by an experiment, and a guess made before. 1 point: one thing is
# changed and the rest held fixed, the noise among it. 1 point: a share with its interval, or a figure with labelled
# axes, described truthfully, whether or not it agrees with the guess. 1 point: says how large a difference could have
# been seen with so many pictures, or what might be wrong with the result.
