# %% [markdown]
# # Exercise 54 · GPT
#
# Six parts on lesson 54: two functions, a bug, a measurement, a short text and a question of your own. They take about two hours
# of yours and some ten seconds of the computer's.
#
# - Write your answer **in place of** `raise NotImplementedError()`, then run the cell and the check below it.
# - A check prints `ok:` and the name of the task, or one sentence about what is wrong; `hint()` then says more.
# - Tasks 1, 2, 3a and 4 are graded by a program, which also runs your functions on inputs that you do not see here; 3b and 5 are
#   read by a person. You may add cells of your own anywhere, and use whatever PyTorch offers.

# %%
import math

import matplotlib.pyplot as plt
import torch
from torch.nn import functional as F

from course_lib import checkpoint
from course_lib.checks import gpt as check
from course_lib.checks import hint
from course_lib.claims import claim
from course_lib.data.text import Windows, decode, encode, load_text
from course_lib.device import seed
from course_lib.decoding import generate_plainly
from course_lib.gpt import GPT, fast
from course_lib.plots import curves
from course_lib.train import fit

novels = load_text("austen")

# %%
# Stuck after a check? Run hint(): it says where to look first, then how, and the code only at last.
hint()

# %% [markdown]
# ## 1 · Temperature and top-k (3 points)
#
# A model says how probable each next token is; how to *draw* one is our choice. With **top-k**, only the `top_k` most probable
# tokens may be drawn, and with a **temperature** $\tau$ the logits $a$ are divided by $\tau$ first:
#
# $$p_i = \frac{\exp(a_i / \tau)}{\sum_{j \in \text{top } k} \exp(a_j / \tau)} \text{ for } i \text{ among the top } k, \qquad p_i = 0
# \text{ for all others.}$$
#
# **Given** `logits` of shape (B, V), a number `temperature` > 0 and a whole number `top_k` from 1 to V. No two logits of a row are
# equal. **Asked:** the probability of each token to be drawn, a tensor of shape (B, V) whose rows sum to 1. Draw nothing.
# **Checked:** the values, also for `top_k` = 1 and `top_k` = V.

# %% tags=["solution:next_probs"]
def next_probs(logits, temperature, top_k):
    """(B, V) and two numbers -> (B, V)"""
    ### BEGIN SOLUTION
    smallest = logits.topk(top_k).values[:, -1:]                  # (B, 1) the k-th largest of each row
    kept = logits.masked_fill(logits < smallest, -math.inf)       # exp(-inf) = 0
    return (kept / temperature).softmax(1)
    ### END SOLUTION

# %% tags=["test:check_next_probs:3"]
check.next_probs(next_probs)
### BEGIN HIDDEN TESTS
_p = torch.tensor([[0.1, 0.6, 0.3], [0.2, 0.35, 0.45]])
torch.testing.assert_close(next_probs((5 * _p).log(), 1.0, 2).float(),
                           torch.tensor([[0, 2 / 3, 1 / 3], [0, 0.4375, 0.5625]]), rtol=1e-3, atol=1e-4)
torch.testing.assert_close(next_probs(_p.log(), 0.5, 3).float(), _p**2 / (_p**2).sum(1, keepdim=True),
                           rtol=1e-3, atol=1e-4)
### END HIDDEN TESTS

# %% [markdown]
# ## 2 · One step with a cache (3 points)
#
# While a GPT writes, only the newest token is new: keys and values of all earlier ones are kept. In a step, attention gets the
# query, key and value of this one token, appends key and value to the cache, and lets the token look at everything in it, itself
# included.
#
# **Given** `q`, `k`, `v` of shape (B, H, 1, D), of the new token in each of H heads, and the cache, `keys` and `values` of shape
# (B, H, T, D), oldest token first. T may be 0. **Asked:** three tensors, `y, keys, values`: the result of attention for the new
# token, of shape (B, H, 1, D), with scores divided by $\sqrt D$ as always; and the new cache, each of shape (B, H, T + 1, D).
# **Checked:** all three, also for an empty cache.

# %% tags=["solution:cached_step"]
def cached_step(q, k, v, keys, values):
    """3 x (B, H, 1, D) and 2 x (B, H, T, D) -> (B, H, 1, D) and 2 x (B, H, T + 1, D)"""
    ### BEGIN SOLUTION
    keys, values = torch.cat([keys, k], dim=2), torch.cat([values, v], dim=2)
    scores = q @ keys.transpose(-2, -1) / math.sqrt(q.shape[-1])  # (B, H, 1, T + 1); all past: no mask
    return scores.softmax(-1) @ values, keys, values
    ### END SOLUTION

# %% tags=["test:check_cached_step:3"]
check.cached_step(cached_step)
### BEGIN HIDDEN TESTS
_q, _k, _v = torch.randn(3, 2, 4, 5, 6).unbind(0)                 # (2, 4, 5, 6): a text of five tokens
_want = F.scaled_dot_product_attention(_q, _k, _v, is_causal=True)
_keys = _values = torch.zeros(2, 4, 0, 6)
for _t in range(5):
    _y, _keys, _values = cached_step(*(h[:, :, _t:_t + 1] for h in (_q, _k, _v)), _keys, _values)
    torch.testing.assert_close(_y, _want[:, :, _t:_t + 1], rtol=1e-3, atol=1e-4)
### END HIDDEN TESTS

# %% [markdown]
# ## 3 · Shifts
#
# ### 3a · Find the bug (3 points)
#
# The loss of a language model: how surprised it is by each next byte, in nats. It runs, it falls, and it falls far. But
# it has **one bug**, in one line.

# %%
def next_byte_loss_broken(model, idx):                            # idx: (B, T + 1)
    inputs, targets = idx[:, :-1], idx[:, 1:]
    logits = model(inputs)                                        # row t is the guess at byte t + 1
    logits, targets = logits[:, :-1], targets[:, 1:]
    return F.cross_entropy(logits.flatten(0, 1), targets.flatten())

# %% [markdown]
# We teach a tiny GPT the alphabet, and let it go on from *abc*.

# %%
def taught(loss, text, steps=60):
    """A tiny GPT after a second with loss(model, idx), and the loss of each step."""
    seed(0)
    model = GPT(fast(block_size=33, n_layer=1, n_head=2, n_embd=32))
    history = fit(model, lambda model, idx: {"loss": loss(model, idx)}, Windows(text, 16, 32), steps,
                  lr=1e-2, decay=0.5)
    return model, history["loss"]

alphabet = encode("abcdefghijklmnopqrstuvwxyz " * 100)
model, losses = taught(next_byte_loss_broken, alphabet)
claim("loss, first step (log 256 = 5.545)", losses[0], ">", 5.3)
claim("loss, last step", losses[-1], "<", 0.2)
print(decode(generate_plainly(model, encode("abc"), 20, temperature=0)))

# %% [markdown]
# **Given** a causal `model`, which maps tokens of shape (B, T) to logits of shape (B, T, V), and `idx` of shape (B, T + 1).
# **Asked:** `next_byte_loss`, the same function without the bug: the mean over all T next bytes of all texts, in nats, a tensor of
# shape `()`. **Checked:** the value, for several small models and texts.
#
# Do not guess: which byte is each row of the logits compared with? Write it down for the text *abcd*.

# %% tags=["solution:next_byte_loss"]
def next_byte_loss(model, idx):
    """A model and (B, T + 1) -> ()"""
    ### BEGIN SOLUTION
    inputs, targets = idx[:, :-1], idx[:, 1:]                     # the one shift that is needed
    logits = model(inputs)
    return F.cross_entropy(logits.flatten(0, 1), targets.flatten())
    ### END SOLUTION

# %% tags=["test:check_next_byte_loss:3"]
check.next_byte_loss(next_byte_loss)
### BEGIN HIDDEN TESTS
_model, _ = taught(next_byte_loss, alphabet)
_written = decode(generate_plainly(_model, encode("abc"), 8, temperature=0))
assert _written == "defghijk", "a model trained with it cannot say the alphabet"
### END HIDDEN TESTS

# %% [markdown]
# ### 3b · Too good (3 points)
#
# Somebody else forgets the shift altogether, and trains on the novels. After 60 steps of a tiny model the loss is far below what
# any honest model of the lesson reached.

# %%
def without_shift(model, idx):
    return F.cross_entropy(model(idx).flatten(0, 1), idx.flatten())

model, losses = taught(without_shift, novels.train)
claim("bits per byte, last step", losses[-1] / math.log(2), "<", 0.5)
print(decode(generate_plainly(model, encode("The family"), 40, temperature=0)))

# %% [markdown]
# **Explain** in four to seven sentences: (i) What has the model learned, and why is that so easy for a transformer, causal mask
# or not? (ii) Why does it write what it writes? (iii) The lesson had two quick tests of a language model, the loss at the start and a
# single batch learned by heart. What do they say here, and which test would have found this bug?

# %% [markdown] tags=["manual:explain_shift:3"]
# (i) Row $t$ of the logits is asked for byte $t$, which is the very input at place $t$. The causal mask hides what comes later, not the
# place itself, so the model only has to copy: the residual stream carries the embedding of the byte past all blocks to the
# logits, and no attention is needed. (ii) Its most probable next byte is always the last one that it has read, which it then
# appends and copies again. (iii) Both tests pass: the loss starts at log 256, and a batch is learned even faster than it should.
# What gives it away is that the loss is too good, far below the two bits of counting and of `xz`, on text that it has never
# seen, after a second of training. Other tests find it too: let it write; or change byte $t + 1$ of a text and see whether
# the loss at place $t$ changes, as it must.
#
# **Rubric.** 1 point: (i) the input at place t is the answer, and the residual stream copies it. 1 point: (ii) it repeats the last
# byte, since that is what it was trained for. 1 point: (iii) both tests pass; a test that finds it (a comparison with a baseline
# that is hard to beat, a sample, a changed byte).

# %% [markdown]
# ## 4 · Measure: what is context worth? (2 points)
#
# The first bytes of a window have little before them. How much do they cost more than later ones?
#
# **Given** the shipped GPT and 100 windows of the test text, each of 129 bytes. In each, the model makes 128 predictions, of bytes 1 to
# 128, each from all bytes before it. **Asked:** `context_gain`, in bits per byte: the mean cost of the first eight predictions, minus the
# mean cost of the last 64, over all windows. **Checked:** your number, within 2 percent.

# %%
gpt = checkpoint.load("gpt")
windows = novels.test[:100 * 129].long().view(100, 129)
print(tuple(windows.shape), tuple(gpt(windows[:2, :-1]).shape))

# %% tags=["solution:context_gain"]
context_gain = ...  # set it to your number at the end
### BEGIN SOLUTION
with torch.no_grad():
    logits = gpt(windows[:, :-1])                                 # (100, 128, 256)
    nats = F.cross_entropy(logits.transpose(1, 2), windows[:, 1:], reduction="none")  # (100, 128)
bits = nats / math.log(2)
context_gain = bits[:, :8].mean() - bits[:, 64:].mean()
claim("what context is worth (bits per byte)", context_gain, ">", 0.4)
### END SOLUTION

# %% tags=["test:check_context_gain:2"]
check.context_gain(context_gain)
### BEGIN HIDDEN TESTS
with torch.no_grad():
    _p = gpt(windows[:, :-1]).log_softmax(-1).gather(2, windows[:, 1:, None])[..., 0] / math.log(2)
_gain = float(_p[:, 64:].mean() - _p[:, :8].mean())
assert abs(float(context_gain) - _gain) < 0.03, "not the difference asked for"
### END HIDDEN TESTS

# %% [markdown]
# ## 5 · Your own question (4 points)
#
# Ask a question about GPTs that the lesson does not answer, **write down your guess**, and find out. Examples: Which letter
# of a word costs most? Does the GPT trained on novels know anything about Python? At which temperature does its own text cost it as
# many bits as real text? How far back does it really look (replace what is older by noise)? Your code shall run in less than a minute.

# %% tags=["solution:own_experiment"]
is_letter = ((windows >= 97) & (windows <= 122)) | ((windows >= 65) & (windows <= 90))      # (100, 129)
place = torch.zeros_like(windows)                                 # 1: first letter of a word, 0: no letter
for t in range(1, 129):
    place[:, t] = torch.where(is_letter[:, t], torch.where(is_letter[:, t - 1], place[:, t - 1] + 1, 1), 0)
with torch.no_grad():
    logits = gpt(windows[:, :-1])
    cost = F.cross_entropy(logits.transpose(1, 2), windows[:, 1:], reduction="none") / math.log(2)
by_place = [cost[place[:, 1:] == k] for k in range(1, 9)]
mean, error = torch.tensor([[c.mean(), c.std() / len(c) ** 0.5] for c in by_place]).T           # (8,) each
claim("first letter, bits", mean[0], ">", 3, digits=2)
claim("second letter, bits", mean[1], "<", 2.7, digits=2)
claim("fifth letter, bits", mean[4], "<", 1.3, digits=2)
_, ax = plt.subplots(figsize=(4.5, 2.6))
curves({"cost": (range(1, 9), mean)}, ax=ax, xlabel="place of a letter in its word", ylabel="bits")
ax.errorbar(range(1, 9), mean, 2 * error, fmt="none", capsize=2)
ax.set_ylim(0, None);

# %% [markdown]
# Write here: your question, your guess, what you did, what came out (a number or a figure), how sure you are of it, and what
# you would try next. Half a page is plenty.

# %% [markdown] tags=["manual:own_question:4"]
# *An example of an answer.* **Question:** which letter of a word costs most? **Guess:** the first, about twice as many bits as the
# others. **Experiment:** the cost of each letter in the 100 windows of task 4, by its place in the word; means and twice their standard
# errors. **Result:** the first letter costs more than four bits, the second about two, and from the fifth on less than one. So my guess
# was right about the first letter and too simple about the rest: a word is chosen with its first letter or two, and
# what follows is spelling. **Sure?** The standard errors are below 0.1 bits, so the fall over the first five letters is certain, and
# the differences among the sixth to eighth are not. Long words are other words than short ones, so that places above five
# are of a selected sort. **Next:** the same for the n-gram of the lesson: where does the GPT gain most over it?
#
# **Rubric.** 1 point: a question that can be answered by an experiment, and a guess made before. 1 point: one thing is changed
# and the rest held fixed; measured on text that the model was not trained on. 1 point: a number or a figure with labelled axes,
# described truthfully, whether or not it agrees with the guess. 1 point: says how sure the result is or what might be wrong.
