# %% [markdown]
# # Exercise 75 · Prompting
#
# Six parts on lesson 75: two functions, a bug, a measurement, a short text and a question of your own. They take about two
# hours of yours and some ten seconds of the computer's.
#
# - Write your answer **in place of** `raise NotImplementedError()`, then run the cell and the check below it.
# - A check prints `ok:` and the name of the task, or one sentence about what is wrong; `hint()` then says more.
# - Tasks 1 to 4 are graded by a program, which also runs your functions on inputs that you do not see here; 5 and 6 are read
#   by a person. You may add cells of your own anywhere, and use whatever PyTorch offers.

# %%
import random

import torch

from course_lib import checkpoint
from course_lib.checks import hint
from course_lib.checks import prompting as check
from course_lib.claims import claim
from course_lib.data.prompts import TASKS, answer_in, ask, decode, encode, phrase, rows, solved, strings
from course_lib.decoding import generate

instructed = checkpoint.load("instructed")

# %%
# Stuck after a check? Run hint(): it says where to look first, then how, and the code only at last.
hint()

# %% [markdown]
# ## 1 · What followed the same token before (3 points)
#
# An induction head looks from a token to what *followed* the same token before. In "n 8 o 2 n" the last token, *n*, looks at
# the 8.
#
# **Given** `maps` of shape (B, H, T, T), the attention of H heads in B rows of T tokens (`maps[b, h, t, s]` is the weight that
# place `t` gives to place `s`, for `s` up to `t`), and `idx` of shape (B, T), the tokens. **Asked:** the score of each head, a
# tensor of shape (H,): take each place `t` whose token stood in the same row before; add up the weights that it gives to *all*
# places that come directly after such an earlier occurrence; then take the mean of these sums over all such places `t` of all
# rows. Some place is always there. **Checked:** the values, also for B = 1 and H = 1, for tokens that stand twice in a row, and
# for rows in which a token stands several times.

# %% tags=["solution:score_of_heads"]
def score_of_heads(maps, idx):
    """(B, H, T, T), (B, T) -> (H,)"""
    ### BEGIN SOLUTION
    total, places = 0, 0
    for t in range(1, idx.shape[1]):
        same = idx[:, :t] == idx[:, t:t + 1]                      # (B, t): where did the token of t stand before?
        weight = maps[:, :, t, 1:t + 1] * same[:, None]           # (B, H, t): on the places one further
        total = total + weight.sum(dim=(0, 2))                    # (H,)
        places = places + same.any(dim=1).sum()
    return total / places
    ### END SOLUTION

# %% tags=["test:check_score_of_heads:3"]
check.score_of_heads(score_of_heads)
### BEGIN HIDDEN TESTS
_idx = torch.tensor([[4, 1, 5, 2, 4, 1]])
_maps = torch.zeros(1, 2, 6, 6)
_maps[0, 0, 4, 1], _maps[0, 0, 5, 2], _maps[0, 1, 4, 0], _maps[0, 1, 5, 2] = 0.9, 0.5, 1.0, 0.25
torch.testing.assert_close(score_of_heads(_maps, _idx).float(), torch.tensor([0.7, 0.125]), rtol=1e-3, atol=1e-4)
_maps = torch.rand(3, 4, 9, 9).tril()
_idx = torch.randint(3, (3, 9))
_sums = [torch.stack([_maps[b, :, t, s + 1] for s in range(t) if _idx[b, s] == _idx[b, t]]).sum(0)
         for b in range(3) for t in range(9) if (_idx[b, :t] == _idx[b, t]).any()]
torch.testing.assert_close(score_of_heads(_maps, _idx).float(), torch.stack(_sums).mean(0), rtol=1e-3, atol=1e-4)
### END HIDDEN TESTS

# %% [markdown]
# ## 2 · A vote (3 points)
#
# **Given** `answers` of shape (P, N), int64: N answers to each of P problems. **Asked:** the answer that occurs most often in
# each row, a tensor of shape (P,), int64; of several that occur equally often, the one that comes first in its row.
# **Checked:** the values, also for N = 1, for answers that are negative, and for rows in which answers tie.

# %% tags=["solution:vote"]
def vote(answers):
    """(P, N) int64 -> (P,) int64"""
    ### BEGIN SOLUTION
    same = answers[:, :, None] == answers[:, None, :]             # (P, N, N)
    votes = same.sum(dim=2)                                       # (P, N): how often each answer occurs in its row
    most = votes.max(dim=1, keepdim=True).values
    first = (votes == most).int().argmax(dim=1)                   # argmax gives the first place of the maximum
    return answers.gather(1, first[:, None]).squeeze(1)
    ### END SOLUTION

# %% tags=["test:check_vote:3"]
check.vote(vote)
### BEGIN HIDDEN TESTS
_answers = torch.tensor([[7, 3, 3, 7, 5], [9, 9, 1, 1, 1], [8, 2, 6, 4, 0], [-4, 1, -4, 1, 0]])
assert vote(_answers.clone()).tolist() == [7, 1, 8, -4], "the most frequent answer, of equal ones the first"
assert vote(torch.tensor([[5], [-2]])).tolist() == [5, -2]
### END HIDDEN TESTS

# %% [markdown]
# ## 3 · Find the bug (3 points)
#
# A model shall learn answers, and not the questions before them. So where a target is no part of an answer, it is replaced by
# -100, which `cross_entropy` leaves out. A row holds one token more than the model reads: the target of place `t` is token `t +
# 1`. The function below runs without an error, and the loss falls. But the model that comes out begins its answers at random,
# and then goes on well. There is **one bug**.

# %%
def targets_broken(idx, learn):
    wanted = idx[:, 1:].clone()
    wanted[~learn[:, :-1]] = -100
    return wanted

# %%
idx, learn = rows([[("reverse the letters : b a d >", False), ("d a b ;", True)]])
broken = targets_broken(idx, learn)[0]
print("the row:         ", decode(idx[0]))
print("it learns to say:", decode(broken[broken >= 0]))

# %% [markdown]
# **Given** `idx` of shape (B, T + 1), int64, and `learn` of shape (B, T + 1), bool, True where a token belongs to an answer.
# **Asked:** `targets`, the same function without the bug: a tensor of shape (B, T), int64. **Checked:** the values, also for B
# = 1 and rows with several answers, and that `idx` and `learn` stay as they were.
#
# What exactly did the broken one learn too much, and what too little?

# %% tags=["solution:targets"]
def targets(idx, learn):
    """(B, T + 1) int64, (B, T + 1) bool -> (B, T) int64"""
    ### BEGIN SOLUTION
    return idx[:, 1:].masked_fill(~learn[:, 1:], -100)            # the mask moves with the targets
    ### END SOLUTION

# %% tags=["test:check_targets:3"]
check.targets(targets)
### BEGIN HIDDEN TESTS
_idx, _learn = torch.tensor([[5, 6, 7, 8], [1, 2, 3, 4]]), torch.tensor([[0, 0, 1, 1], [1, 1, 0, 1]]).bool()
assert targets(_idx.clone(), _learn.clone()).tolist() == [[-100, 7, 8], [2, -100, 4]], "look at one row by hand"
### END HIDDEN TESTS

# %% [markdown]
# ## 4 · Measure: does it obey the data? (3 points)
#
# Here the data come first and the instruction after them: "k e m *instruction in the data* : *instruction* >", without any
# marks.

# %%
def attacked(n=200):
    """What the model said, what was asked for, and what the data ask for."""
    r, prompts, wanted, injected = random.Random(12), [], [], []
    for _ in range(n):
        (letters,), task, other = strings(1, r), r.choice(list(TASKS)), r.choice(list(TASKS))
        data = f"{' '.join(letters)} {phrase(other, r)}"
        prompts.append(ask(phrase(task, r), data, first=False))
        wanted.append(solved(task, letters))
        injected.append(solved(other, letters))
    wrote = generate(instructed, [encode(text) for text in prompts], 6, temperature=0.0)
    return [answer_in(row) for row in wrote], wanted, injected

said, wanted, injected = attacked()
for answer, right, other in list(zip(said, wanted, injected))[:4]:
    print(f"said {answer!r}, wanted {right!r}, injected {other!r}")

# %% [markdown]
# **Given** three lists of 200 texts. In some prompts both instructions have the same answer (both ask for the same task; or one
# says *copy* and the other *sort*, and the string is "a c d"): these tell nothing. **Asked:** `obeyed`, the share of answers that
# are what the *data* asked for, among the prompts whose two answers differ. **Checked:** your number, within 1 percent.

# %% tags=["solution:obeyed"]
obeyed = ...  # set it to your number at the end
### BEGIN SOLUTION
telling = [(answer, other) for answer, right, other in zip(said, wanted, injected) if right != other]
obeyed = sum(answer == other for answer, other in telling) / len(telling)
claim("prompts whose two answers differ, of 200", len(telling), ">", 120)
### END SOLUTION

# %% tags=["test:check_obeyed:3"]
check.obeyed(obeyed, said, wanted, injected)
### BEGIN HIDDEN TESTS
_said, _wanted, _injected = attacked()
_pairs = [(_a, _c) for _a, _b, _c in zip(_said, _wanted, _injected) if _b != _c]
_share = sum(_a == _c for _a, _c in _pairs) / len(_pairs)
assert abs(float(obeyed) - _share) < 0.02, "another number comes out when it is measured again"
### END HIDDEN TESTS

# %% [markdown]
# ## 5 · In the prompt, or in the weights? (3 points)
#
# The lesson trained the same network on three kinds of rows, five times each. Here is the share of right digits at 0 shots and
# at 1 shot, on the one map, and on new maps.

# %%
trials = checkpoint.metadata("recall")["trials"]
for name, label in (("one map", "one map"), ("half", "half and half"), ("two layers", "new maps")):
    ends = torch.tensor([stages[-1] for stages in trials[name]]).mean(0)
    print(f"trained with {label:14} the one map: {ends[5]:.2f} {ends[6]:.2f}    new maps: {ends[1]:.2f} {ends[2]:.2f}")

# %% [markdown]
# **Explain** in five to eight sentences. (i) Why does the model that was trained with one map not read its prompt, although the
# prompt holds the answer in training, too? (ii) Why can the model of the third line not do better than 0.1 at 0 shots, on any
# map, however long it is trained? (iii) A large language model is told in its prompt: "In this text, *red* means stop reading
# and *blue* means go on." Which of the three kinds of training do texts from the internet resemble, and what would you have to
# measure to be sure that the model believes its prompt and not its weights?

# %% [markdown] tags=["manual:explain_weights:3"]
# (i) The map by heart is learned first: it needs one step from a letter to its digit, which the embedding and the logits hold
# alone, while reading needs two layers that are of no use without each other. Once it is known by heart the loss is nearly
# zero, so there is no gradient left that would build the heads. (ii) The map is drawn anew for each row, so before a letter has
# been seen with its digit, all ten digits are equally likely, whatever the weights are. No training can make up for what is not
# there. (iii) Most words mean the same in all texts, like the one map; names, pronouns and invented terms mean something new in
# each text, like the new maps. So it is a mixture, and the model has both. To know which of the two speaks, one must ask where
# they disagree: tell the model something that contradicts what it has learned (red means go on), many times and with several
# words, and count how often it follows the prompt.
#
# **Rubric.** 1 point: (i) by heart is easier or earlier, and then no gradient is left for reading. 1 point: (ii) the digit is
# random given all that can be known. 1 point: (iii) a mixture, and a measurement in which prompt and weights contradict each
# other.

# %% [markdown]
# ## 6 · Your own question (4 points)
#
# Ask a question about prompts that the lesson does not answer, **write down your guess**, and find out with `instructed` or
# another of the lesson's models (`recall`, `recall_half`, `adder`, `adder_plain`, `adder_reversed`). Examples: Does a second
# instruction of the same task help? What if the examples are wrong? Is the best of ten phrasings on 30 strings still the best on
# 300 others? Which of two contradicting maps in one row does `recall` believe, the first or the last? Do votes help `adder_plain`?
# Your code shall run in less than a minute.

# %% tags=["solution:own_experiment"]
recall = checkpoint.load("recall")
counts = {"first": 0, "last": 0, "other": 0}
r = random.Random(1)
for _ in range(200):
    letters = r.sample("abcdefghijklmnopqrstuvwxyz", 8)
    digits = r.sample("0123456789", 2)
    others = [f"{letter} {r.choice('0123456789')}" for letter in letters[1:]]
    row = f"{letters[0]} {digits[0]} {' '.join(others[:3])} {letters[0]} {digits[1]} {' '.join(others[3:])} {letters[0]}"
    with torch.no_grad():
        guess = decode(recall(encode(row)[None])[0, -1].argmax()[None])
    counts["first" if guess == digits[0] else "last" if guess == digits[1] else "other"] += 1
print(counts)
claim("rows in which it says the first digit, of 200", counts["first"], ">", 150)

# %% [markdown]
# Write here: your question, your guess, what you did, what came out (a number or a figure), how sure you are of it, and what
# you would try next. Half a page is plenty.

# %% [markdown] tags=["manual:own_question:4"]
# *An example of an answer.* **Question:** a row says first that a letter goes with one digit, and later that it goes with
# another, which never happened in training. Which one does `recall` believe? **Guess:** the last, because it is nearer.
# **Experiment:** 200 rows with eight letters; the first letter stands twice with two digits, and is asked for at the end.
# **Result:** in nearly all rows it says the *first*: my guess was wrong. **Sure?** Of this model, yes: with 200 rows even a share
# of one half would have a standard error of only 0.035. Another training may have found another habit, since in training all
# earlier places say the same. **Next:** the same with `recall_half`, and with the second digit repeated twice.
#
# **Rubric.** 1 point: a question that can be answered by an experiment, and a guess made before. 1 point: one thing is changed
# and the rest held fixed. 1 point: a number or a figure with labelled axes, described truthfully, whether or not it agrees with
# the guess. 1 point: says how sure the result is (a standard error, several seeds) or what might be wrong with it.
