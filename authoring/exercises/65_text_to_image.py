# %% [markdown]
# # Exercise 65 · Words into pictures
#
# Six parts on lesson 65: two functions, a bug, a measurement, a short text and a question of your own. They take about two
# hours of yours and some ten seconds of the computer's.
#
# - Write your answer **in place of** `raise NotImplementedError()`, then run the cell and the check below it.
# - A check prints `ok:` and the name of the task, or one sentence about what is wrong; `hint()` then says more.
# - Tasks 1 to 4 are graded by a program, which also runs your functions on inputs that you do not see here; 5 and 6 are read
#   by a person. You may add cells of your own anywhere, and use whatever PyTorch offers.

# %%
import torch
from torch import nn

from course_lib import checkpoint, plots
from course_lib.checks import hint
from course_lib.checks import text_to_image as check
from course_lib.claims import claim
from course_lib.data import load
from course_lib.data.avatars import ATTRIBUTES, NAMES, encode
from course_lib.device import seeded
from course_lib.reader import read

faces = load("avatars")
model = checkpoint.load("text_to_image")
bag = checkpoint.load("text_to_image_bag")

# %%
# Stuck after a check? Run hint(): it says where to look first, then how, and the code only at last.
hint()

# %% [markdown]
# ## 1 · Words that know their neighbour (3 points)
#
# In a caption a colour stands before its thing. So the text encoder first mixes each word with the word on its right:
#
# $$y_l = x_l + W_\text{own}\,x_l + W_\text{right}\,x_{l+1} + c,$$
#
# where $x_l$ is the vector of word $l$, and nothing (a vector of zeros) stands on the right of the last word.
#
# **Given** `x` of shape (B, L, C), the vectors of the words of B captions, matrices `W_own` and `W_right` of shape (C, C),
# whose rows make the numbers of the output, as in `nn.Linear`, and `c` of shape (C,). **Asked:** $y$, a tensor of shape (B, L,
# C). **Checked:** the values, also for B = 1 and L = 1, and the gradients with respect to all four.

# %% tags=["solution:with_right"]
def with_right(x, W_own, W_right, c):
    """(B, L, C), (C, C), (C, C), (C,) -> (B, L, C)"""
    ### BEGIN SOLUTION
    nothing = torch.zeros_like(x[:, :1])                          # (B, 1, C)
    right = torch.cat([x[:, 1:], nothing], dim=1)                 # (B, L, C)
    return x + x @ W_own.T + right @ W_right.T + c
    ### END SOLUTION

# %% tags=["test:check_with_right:3"]
check.with_right(with_right)
### BEGIN HIDDEN TESTS
_conv, _x = nn.Conv1d(5, 5, 2), torch.randn(3, 7, 5)
_want = _x + _conv(nn.functional.pad(_x.mT, (0, 1))).mT
_got = with_right(_x.clone(), _conv.weight[:, :, 0], _conv.weight[:, :, 1], _conv.bias)
torch.testing.assert_close(_got.detach().float(), _want.detach(), rtol=1e-3, atol=1e-4)
### END HIDDEN TESTS

# %% [markdown]
# ## 2 · The number behind 0.18215 (3 points)
#
# A flow needs latents of mean 0 and deviation 1. Here each channel gets numbers of its own.
#
# **Given** `z` of shape (N, K, H, W), the latents of N pictures as an encoder makes them, K channels each. **Asked:** `shift`
# and `scale`, each of shape (K, 1, 1), such that `(z - shift) * scale` has mean 0 and standard deviation 1 in each channel,
# over all pictures and places. **Checked:** both values, for several sizes. Whether you divide by the number of values or by
# one less makes no difference here.

# %% tags=["solution:shift_and_scale"]
def shift_and_scale(z):
    """(N, K, H, W) -> (K, 1, 1) and (K, 1, 1)"""
    ### BEGIN SOLUTION
    each = z.transpose(0, 1).flatten(1)                           # (K, N * H * W)
    shift = each.mean(1).view(-1, 1, 1)
    scale = 1 / each.std(1).view(-1, 1, 1)
    return shift, scale
    ### END SOLUTION

# %% tags=["test:check_shift_and_scale:3"]
check.shift_and_scale(shift_and_scale)
### BEGIN HIDDEN TESTS
_z = torch.randn(40, 3, 6, 5) * torch.tensor([0.2, 1.0, 7.0]).view(3, 1, 1) + torch.tensor([5.0, 0, -3]).view(3, 1, 1)
_shift, _scale = shift_and_scale(_z.clone())
_scaled = ((_z - _shift) * _scale).transpose(0, 1).flatten(1)
torch.testing.assert_close(_scaled.mean(1).float(), torch.zeros(3), rtol=0, atol=1e-3)
torch.testing.assert_close(_scaled.std(1).float(), torch.ones(3), rtol=0, atol=1e-2)
### END HIDDEN TESTS

# %% [markdown]
# ## 3 · Find the bug (3 points)
#
# For guidance, one caption in ten is left out *whole* in training: all its words become padding, number 0. The function below
# should do that with the random numbers `u`, one for each caption, which are uniform between 0 and 1. It runs without an
# error when it is trained with batches of 24, and the loss falls. But the model that comes out draws worse with guidance
# than without. There is **one bug**, in one line.

# %%
def leave_out_broken(words, u, share=0.1):
    empty = torch.zeros_like(words)
    left_out = u < share
    return torch.where(left_out, empty, words)

# %%
captions = ["a happy person with a red hat", "a sad face with dark glasses and long hair"] * 12
words = encode(captions)                                          # (24, 24)
u = torch.linspace(0, 1, 24)                                      # three of them are below 0.1
broken = leave_out_broken(words, u)
print("captions that are empty now:", (broken == 0).all(dim=1).sum().item())
print("captions that have lost a word:", (broken != words).any(dim=1).sum().item())

# %% [markdown]
# **Given** `words` of shape (B, L), int64, and `u` of shape (B,), and a number `share`. **Asked:** `leave_out`, the same
# function without the bug: a caption whose number is below `share` becomes all 0, the others stay as they are; a tensor of
# shape (B, L). **Checked:** the values, for captions of several lengths and for B = 1.
#
# Why did it run at all? Which batches would have stopped it with an error?

# %% tags=["solution:leave_out"]
def leave_out(words, u, share=0.1):
    """(B, L) int64, (B,) -> (B, L)"""
    ### BEGIN SOLUTION
    left_out = (u < share)[:, None]                               # (B, 1): broadcast along the words, not the captions
    return torch.where(left_out, torch.zeros_like(words), words)
    ### END SOLUTION

# %% tags=["test:check_leave_out:3"]
check.leave_out(leave_out)
### BEGIN HIDDEN TESTS
_words, _u = torch.arange(1, 26).view(5, 5), torch.tensor([0.05, 0.5, 0.2, 0.9, 0.01])
_want = _words * torch.tensor([0, 1, 1, 1, 0])[:, None]
assert torch.equal(leave_out(_words.clone(), _u).long(), _want), "captions 0 and 4 should be empty, the others whole"
assert torch.equal(leave_out(_words[:, :3].clone(), _u, 0.3).long(), _want[:, :3] * torch.tensor([0, 1, 0, 1, 0])[:, None])
### END HIDDEN TESTS

# %% [markdown]
# ## 4 · Measure: whose colour is it? (3 points)
#
# `bag` is the model of the lesson that sees only the mean of the words. We ask it for "a ... hat and a ... shirt" in all 20
# pairs of two of the five colours that both can have, five pictures a pair, and the reader says what they show.

# %%
colours = ["red", "blue", "green", "yellow", "black"]
pairs = [(hat, shirt) for hat in colours for shirt in colours if hat != shirt] * 5
captions = [f"a {hat} hat and a {shirt} shirt" for hat, shirt in pairs]
pictures = bag.sample(captions, seeded(0))
seen = read(pictures)                                             # (100, 8) numbers of values
hats = [ATTRIBUTES["hat"][k] for k in seen[:, NAMES.index("hat")].tolist()]
shirts = [ATTRIBUTES["shirt"][k] for k in seen[:, NAMES.index("shirt")].tolist()]
print(pairs[0], "->", (hats[0], shirts[0]))

# %%
# Figure: two rows of five faces by the bag of words: above for "a red hat and a blue shirt", below for "a blue
# hat and a red shirt". Hats and shirts have many colours in both.
plots.strip({"a red hat and\na blue shirt": pictures[::20], "a blue hat and\na red shirt": pictures[4::20]});

# %% [markdown]
# **Given** `pairs`, `hats` and `shirts`, three lists of length 100: what was asked for, and what the reader saw. **Asked:**
# `binding`. Take the pictures that show the two colours of their caption on hat and shirt, in whichever order. Among these,
# what is the share in which each colour is where it should be? **Checked:** your number, within 2 percent.

# %% tags=["solution:binding"]
binding = ...  # set it to your number at the end
### BEGIN SOLUTION
right = sum((hat, shirt) == pair for hat, shirt, pair in zip(hats, shirts, pairs))
exchanged = sum((shirt, hat) == pair for hat, shirt, pair in zip(hats, shirts, pairs))
binding = right / (right + exchanged)
claim("pictures with the two colours, of 100", right + exchanged, ">", 20)
### END SOLUTION

# %% tags=["test:check_binding:3"]
check.binding(binding, pairs, hats, shirts)
### BEGIN HIDDEN TESTS
_colours, _bag = ["red", "blue", "green", "yellow", "black"], checkpoint.load("text_to_image_bag")
_pairs = [(_a, _b) for _a in _colours for _b in _colours if _a != _b] * 5
_seen = read(_bag.sample([f"a {_a} hat and a {_b} shirt" for _a, _b in _pairs], seeded(0)))
_shown = [(ATTRIBUTES["hat"][_r[3]], ATTRIBUTES["shirt"][_r[7]]) for _r in _seen.tolist()]
_right = sum(_s == _p for _s, _p in zip(_shown, _pairs))
_exchanged = sum(_s[::-1] == _p for _s, _p in zip(_shown, _pairs))
assert abs(float(binding) - _right / (_right + _exchanged)) < 0.03, "another number comes out when it is measured again"
### END HIDDEN TESTS

# %% [markdown]
# ## 5 · Between the bag and the neighbours (3 points)
#
# The lesson trained three text encoders, five times each, for 800 batches: the *bag* hands the network the mean of the word
# vectors; *no neighbours* hands it all 24 vectors, after one transformer block with learned places, but without your
# `with_right`; the third is ours. Here are the shares of whole captions, and of colours bound as they should be.

# %%
trials = checkpoint.metadata("text_to_image_bag")["trials"]
for name in ("bag of words", "no neighbours", "latents"):
    seen_share, unseen_share, bound = (torch.tensor(numbers).mean() for numbers in (
        [seed[0][-1][2] for seed in trials[name]], [seed[0][-1][3] for seed in trials[name]],
        [seed[1][0] for seed in trials[name]]))
    print(f"{name:14} seen {seen_share:.2f}   never seen {unseen_share:.2f}   bound right {bound:.2f}")

# %% [markdown]
# **Explain** in five to eight sentences. (i) Why is the bag's last number near one half, and could any training or any larger
# network improve it? (ii) The network without neighbours sees every word and its place. It *could* bind. Why is that hard to
# learn when phrases come in any order, and why does one convolution make it easy? (iii) For combinations never seen the first
# two lose far more than the third. What do they do in place of reading, and why does that work on combinations that they have
# seen?

# %% [markdown] tags=["manual:explain_binding:3"]
# (i) The mean of the vectors is the same for both captions with the colours exchanged, so the network draws the same pictures
# for both, and at most one of the two can be right: on average half, whatever the network and however long it trains. It gets
# above one half only by chance. (ii) "Red" stands now at place 2, now at place 9, and what it belongs to is whatever comes
# next. From learned places, attention has to learn for each place separately that it should look at the one after it, 23 rules
# in one block, each from the few captions in which a colour stood there. The convolution is one rule for all places: after it
# "red" before "hat" is another vector than "red" before "shirt", and cross-attention can pick it by its thing. (iii) They learn
# which colours go together in training: among seen combinations, hair, hat and shirt are not all equally likely, and what
# contradicts everything seen can be ruled out. For a pair that never occurred this habit is wrong each time: the model gives
# the colour to the thing that it knows in this colour.
#
# **Rubric.** 1 point: (i) the input is the same, so one half is the ceiling for any network. 1 point: (ii) a rule for each
# place against one for all, or: the colour must carry its noun to be found by content. 1 point: (iii) statistics of the
# training combinations replace reading; they are wrong exactly where a combination never occurred.

# %% [markdown]
# ## 6 · Your own question (4 points)
#
# Ask a question about text-to-image models that the lesson does not answer, **write down your guess**, and find out with
# `model` and `read`. Examples: Which captions does it get wrong most often? Does it obey longer captions less? What does it do
# with a contradiction, "a red hat and a blue hat"? Does the order of the phrases matter? How few steps are enough? Which
# attribute does it add by itself, and how often does that follow from the training faces? Your code shall run in less than a
# minute.

# %% tags=["solution:own_experiment"]
both = ["a red hat and a blue hat", "a blue hat and a red hat"]
counts = {}
for text in both:
    worn = read(model.sample([text] * 60, seeded(1)))[:, NAMES.index("hat")]
    counts[text] = [(worn == k).sum().item() for k in (1, 2)]     # red, blue
for text, (reds, blues) in counts.items():
    print(f"{text}: red {reds}, blue {blues}, other {60 - reds - blues}")
claim("hats that are red or blue, of 120", sum(map(sum, counts.values())), ">", 90)

# %% [markdown]
# Write here: your question, your guess, what you did, what came out (a number or a figure), how sure you are of it, and what
# you would try next. Half a page is plenty.

# %% [markdown] tags=["manual:own_question:4"]
# *An example of an answer.* **Question:** what does the model do with a contradiction, "a red hat and a blue hat"? **Guess:**
# it mixes, and many hats are purple. **Experiment:** 60 pictures for each order of the two hats, from the same 60 noises; the
# reader names the colour of each hat. **Result:** all 120 hats are blue, whichever is named first. The model neither mixes nor
# obeys the first or the last: for it one colour beats the other. **Sure?** Of this model and this pair, yes: with 120 of 120
# the share of other colours is below 0.03. Another trained model may prefer red. **Next:** which of the two wins when the first
# hat is yellow and the second black, and do the attention maps of the two colours differ?
#
# **Rubric.** 1 point: a question that can be answered by an experiment, and a guess made before. 1 point: one thing is changed
# and the rest held fixed, the noise among it. 1 point: a number or a figure with labelled axes, described truthfully, whether
# or not it agrees with the guess. 1 point: says how sure the result is (several draws, a standard error) or what might be wrong
# with it.
