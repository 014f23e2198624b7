# %% [markdown]
# # Exercise 84 · Who made this? Watermarks and signatures
#
# Six parts on lesson 84: two functions, a bug, a measurement, a judgement and a question of your own. They take about two
# hours of yours and some ten seconds of the computer's.
#
# - Write your answer **in place of** `raise NotImplementedError()`, then run the cell and the check below it.
# - A check prints `ok:` and the name of the task, or one sentence about what is wrong; `hint()` then says more.
# - Tasks 1 to 4 are graded by a program, which also runs your functions on inputs that you do not see here; 5 and 6 are read
#   by a person. You may add cells of your own anywhere, and use whatever PyTorch offers.

# %%
import math

import torch

from course_lib import checkpoint
from course_lib.checks import hint
from course_lib.checks import watermarks as check
from course_lib.claims import claim
from course_lib.data.emoji import load_emoji
from course_lib.data.text import load_text
from course_lib.decoding import generate
from course_lib.device import seeded
from course_lib.metrics import wilson

# %%
from course_lib.watermark import (
    count_green,
    false_alarm,
    favouring,
    green_lists,
    new_keys,
    sign,
    spoil,
    verify,
)

gpt = checkpoint.load("gpt")
austen = load_text("austen").test

# %%
# Stuck after a check? Run hint(): it says where to look first, then how, and the code only at last.
hint()

# %% [markdown]
# ## 1 · Count the coins (3 points)
#
# **Given** `tokens` of shape (T,), whole numbers, and `green` of shape (V, V), True where token $j$ is green after token $i$
# (row $i$, column $j$). **Asked:** how many of the *different* pairs of neighbours are green, and how many different pairs
# there are: two numbers, in this order. **Checked:** both, for several texts and lists.

# %% tags=["solution:green_pairs"]
def green_pairs(tokens, green):
    """(T,), (V, V) bool -> n_green, n"""
    ### BEGIN SOLUTION
    pairs = torch.stack([tokens[:-1], tokens[1:]], dim=1).unique(dim=0)           # (n, 2)
    return green[pairs[:, 0], pairs[:, 1]].sum().item(), len(pairs)
    ### END SOLUTION

# %% tags=["test:check_green_pairs:3"]
check.green_pairs(green_pairs)
### BEGIN HIDDEN TESTS
_green = torch.zeros(4, 4, dtype=torch.bool)
_green[0, 1] = _green[3, 3] = True
assert [int(v) for v in green_pairs(torch.tensor([0, 1, 0, 1, 2, 3, 3, 3]), _green)] == [2, 5]
assert [int(v) for v in green_pairs(torch.tensor([1, 0]), _green)] == [0, 1]
### END HIDDEN TESTS

# %% [markdown]
# ## 2 · How often are we wrong? (3 points)
#
# **Given** `k` of shape (m,), whole numbers, one of each text; the whole number `n`, at most 80; and `share`, the share of green
# tokens, between 0 and 1. **Asked:** for each `k`, the exact probability that a text which knows nothing of the key has at least
# `k` green tokens among `n`: a tensor of shape (m,). **Checked:** the values, for several shares, to five digits. `math.comb(n, j)` is
# the number of ways to choose j of n.

# %% tags=["solution:tail"]
def tail(k, n, share):
    """(m,), a whole number, a share -> (m,) probabilities"""
    ### BEGIN SOLUTION
    exactly = [math.comb(n, j) * share**j * (1 - share) ** (n - j) for j in range(n + 1)]
    return torch.tensor([sum(exactly[least:]) for least in k.tolist()], dtype=torch.float64)
    ### END SOLUTION

# %% tags=["test:check_tail:3"]
check.tail(tail)
### BEGIN HIDDEN TESTS
_got = tail(torch.tensor([2, 0, 3]), 3, 0.5)
assert [round(float(_v), 5) for _v in _got] == [0.5, 1.0, 0.125], "two or three heads of three: 4 of 8"
assert abs(float(tail(torch.tensor([4]), 4, 0.25)[0]) - 0.25**4) < 1e-6
### END HIDDEN TESTS

# %% [markdown]
# ## 3 · Find the bug (3 points)
#
# Someone looks for a marked passage in a long text. The function below gets the p-value of each window, and says whether the
# mark is in the text, with a false-alarm rate of at most `level`. It never raises an error, and finds every passage. There is
# **one bug**.

# %%
def any_window_broken(p_values, level):
    return bool(p_values.min() < level)

# %%
innocent = torch.rand(1_000, 50, generator=seeded(0), dtype=torch.float64)        # 1,000 texts without a mark
alarms = sum(any_window_broken(p_values, 0.01) for p_values in innocent)
claim("innocent texts of 1,000 in which a mark is found, where 10 were promised", alarms, ">", 100)

# %% [markdown]
# **Given** `p_values` of shape (m,), one of each window, and `level`. **Asked:** `any_window`, the same function without the
# bug: True if the mark is in the text. Windows may overlap, so nothing may be assumed but that each p-value lies below any
# $\alpha$ with probability at most $\alpha$. **Checked:** the answer, for several m.

# %% tags=["solution:any_window"]
def any_window(p_values, level):
    """(m,), a number -> True or False"""
    ### BEGIN SOLUTION
    return bool(p_values.min() < level / len(p_values))
    ### END SOLUTION

# %% tags=["test:check_any_window:3"]
check.any_window(any_window)
### BEGIN HIDDEN TESTS
_p = torch.rand(2_000, 20, generator=seeded(1), dtype=torch.float64)
assert sum(bool(any_window(_row, 0.05)) for _row in _p) < 140, "more innocent texts than promised"
_p[:, 3] = 0.002
assert all(bool(any_window(_row, 0.05)) for _row in _p[:50]), "a clear window is enough"
### END HIDDEN TESTS

# %% [markdown]
# ## 4 · Measure: how long must a text be? (3 points)
#
# The model writes 20 texts with $\delta = 2$, where three tokens choose the list. For each text and each length, `found` says
# whether the mark is found at 1 % in its first bytes.

# %%
green = green_lists(256, share=0.5, key=7)
beginnings = [austen[8_000 * k + 300:8_000 * k + 364].long() for k in range(20)]
texts = generate(gpt, beginnings, 200, generator=seeded(2), processor=favouring(green, 2.0, width=3))     # (20, 200)
lengths = list(range(20, 201, 20))
found = torch.tensor([[false_alarm(*count_green(text[:length], green, 3), 0.5) < 0.01 for length in lengths]
                      for text in texts])                         # (20, 10) bool
print(lengths)
print([found[:, k].sum().item() for k in range(3)], "found at the first three lengths, of 20")

# %% [markdown]
# **Given** `found` of shape (20, 10) and `lengths`. **Asked:** `shortest`, the shortest of the lengths, in bytes, from which on
# at least 90 % of the texts are found, there and at every greater length. **Checked:** your number, exactly.

# %% tags=["solution:shortest"]
shortest = ...  # set it to your number at the end
### BEGIN SOLUTION
enough = found.double().mean(dim=0) >= 0.9                        # (10,)
shortest = next(length for k, length in enumerate(lengths) if enough[k:].all())
claim("texts found at this length", found[:, lengths.index(shortest)].double().mean(), ">=", 0.9)
### END SOLUTION

# %% tags=["test:check_shortest:3"]
check.shortest(shortest, found, lengths)
### BEGIN HIDDEN TESTS
_lists = green_lists(256, 0.5, key=7)
_starts = [load_text("austen").test[8_000 * _k + 300:8_000 * _k + 364].long() for _k in range(20)]
_texts = generate(checkpoint.load("gpt"), _starts, 200, generator=seeded(2), processor=favouring(_lists, 2.0, 3))
_shares = [sum(false_alarm(*count_green(_t[:_n], _lists, 3), 0.5) < 0.01 for _t in _texts) / 20
           for _n in range(20, 201, 20)]
_good = [20 * _k + 20 for _k in range(10) if all(_s >= 0.9 - 1e-9 for _s in _shares[_k:])]
assert abs(float(shortest) - _good[0]) < 1e-6, "another number comes out"
### END HIDDEN TESTS

# %% [markdown]
# ## 5 · What may be said? (4 points)
#
# A newspaper gets a picture with a note: "made by a camera; signed". Below is what its tests say.

# %%
picture = load_emoji().test.x[3, 1]
secret, public = new_keys()
note = {"made by": "a camera"}
signature = sign(picture, note, secret)
print("as it came:            ", verify(picture, note, signature, public))
print("after JPEG, quality 95:", verify(spoil(picture[None], "jpeg", 95)[0], note, signature, public))
share, low, high = wilson(0, 200)
print(f"a detector of one maker's mark: p = 0.4; it accused {share:.3f} of 200 innocent pictures ({low:.3f} to {high:.3f})")

# %% [markdown]
# **Explain**, for each sentence, whether the tests support it, and why or why not, in one or two sentences of yours. (a) "A camera made it." (b)
# "Since it was signed, not a pixel has changed." (c) "The picture is not from this maker's model, since its mark was not found." (d)
# "The detector never accuses the innocent."

# %% [markdown] tags=["manual:explain_claims:4"]
# (a) Not supported. The signature shows that the holder of the secret key has said so; a key signs lies as well as truths, so we must
# know whose key it is, and trust him. (b) Supported: one grey level at one pixel, or a JPEG of the best quality, would have made the
# signature void. (c) Not supported. A mark can be lost on the way, by cropping or turning, or be left away; p = 0.4 is what pictures
# without a mark show, and also those that lost it. (d) Not supported. None of 200 is compatible with a rate of nearly 2 %: one in
# fifty, which among a million pictures would be twenty thousand.
#
# **Rubric.** One point for each letter, if both are right: the verdict (no, yes, no, no) and the reason. 1 point: (a) the signature
# names who says it, not whether it is true. 1 point: (b) any change of a pixel voids it. 1 point: (c) the absence of a mark has other
# causes: lost or never there. 1 point: (d) the interval's upper end is near 0.02, not 0.

# %% [markdown]
# ## 6 · Your own question (4 points)
#
# Ask a question about marks or signatures that the lesson does not answer, **write down your guess**, and find out. Examples: is
# $\gamma = 1/4$ found earlier than 1/2 at the same price? How many words must be exchanged at random before the mark is gone? Does
# a low temperature hide it? How long must a text be if the level is one in a million? How many marked pictures does the thief of the
# key need? Your code shall run in less than a minute.

# %% tags=["solution:own_experiment"]
few = beginnings[:10]
for temperature in (0.5, 1.0, 1.5):
    written = generate(gpt, few, 160, temperature=temperature, generator=seeded(4),
                       processor=favouring(green, 2.0 * temperature, width=3))
    shares = [false_alarm(*count_green(text, green, 3), 0.5) < 0.01 for text in written]
    claim(f"texts found at temperature {temperature}, of 10", sum(shares), ">=", 2)

# %% [markdown]
# Write here: your question, your guess, what you did, what came out (a number or a figure), how sure you are of it, and what
# you would try next. Half a page is plenty.

# %% [markdown] tags=["manual:own_question:4"]
# *An example of an answer.* **Question:** is a colder text harder to mark? **Guess:** yes, since it leaves less choice. **Experiment:**
# 10 texts of 160 bytes at temperatures 0.5, 1 and 1.5; $\delta$ is multiplied by the temperature, so that after division by it the mark
# is the same 2 nats. **Result:** at 0.5 the mark is found in 7 of 10 texts, at 1 and 1.5 in all. **Sure?** No: Wilson's interval of 7
# in 10 reaches from 0.40 to 0.89, that of 10 in 10 from 0.72 on, and all texts share one key. **Next:** 50 texts, each with a key of
# its own, and the number of different coins, since cold text also repeats itself more.
#
# **Rubric.** 1 point: a question that can be answered by an experiment, and a guess made before. 1 point: one thing is changed
# and the rest held fixed. 1 point: a number or a figure with labelled axes, described truthfully, whether or not it agrees with the
# guess. 1 point: says how sure the result is (several keys, an interval) or what might be wrong with it.
