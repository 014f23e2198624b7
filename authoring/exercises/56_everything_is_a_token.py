# %% [markdown]
# # Exercise 56 · Everything is a token
#
# Six parts on lesson 56: two functions, a bug, a measurement, a short text and a question of your own. They take about two
# hours of yours and some ten seconds of the computer's.
#
# - Write your answer **in place of** `raise NotImplementedError()`, then run the cell and the check below it.
# - A check prints `ok:` and the name of the task, or one sentence about what is wrong; `hint()` then says more.
# - Tasks 1 to 4 are graded by a program, which also runs your functions on inputs that you do not see here; 5 and 6 are read
#   by a person. You may add cells of your own anywhere, and use whatever PyTorch offers.

# %%
import torch

from course_lib import checkpoint, plots
from course_lib.checks import everything_is_a_token as check
from course_lib.checks import hint
from course_lib.claims import claim
from course_lib.data import list_programs as lp
from course_lib.data import load
from course_lib.device import seeded
from course_lib.metrics import the_judge
from course_lib.preferences import answers, best_of_n
from course_lib.tokens import join

digits = load("digits")
painter = checkpoint.load("image_gpt")

# %%
# Stuck after a check? Run hint(): it says where to look first, then how, and the code only at last.
hint()

# %% [markdown]
# ## 1 · Only codes, please (3 points)
#
# In the middle of an image a label makes no sense, but a GPT gives every token some probability. So let it choose among codes
# alone. This is how large models are made to write valid JSON, too: what is not allowed is made impossible before the choice.
#
# **Given** `logits` of shape (B, V), of which the first `n_class` belong to labels and the others to codes, and a number
# `temperature`, greater than 0. **Asked:** the probabilities of the next token if no label may be drawn, of shape (B, V): 0 for
# labels, and for codes the softmax of their logits divided by the temperature; each row sums to 1. **Checked:** the values, also
# where labels have nearly all of the probability, and the gradient with respect to `logits`.

# %% tags=["solution:code_probs"]
def code_probs(logits, n_class, temperature):
    """(B, V), two numbers -> (B, V)"""
    ### BEGIN SOLUTION
    token = torch.arange(logits.shape[1], device=logits.device)
    allowed = (logits / temperature).masked_fill(token < n_class, -torch.inf)
    return allowed.softmax(dim=1)
    ### END SOLUTION

# %% tags=["test:check_code_probs:3"]
check.code_probs(code_probs)
### BEGIN HIDDEN TESTS
_z = torch.randn(4, 9)
_want = torch.cat([torch.zeros(4, 3), (_z[:, 3:] / 0.6).softmax(1)], 1)
torch.testing.assert_close(code_probs(_z.clone(), 3, 0.6).float(), _want, rtol=1e-3, atol=1e-5)
_z[:, 0] += 300
torch.testing.assert_close(code_probs(_z.clone(), 3, 0.6).float(), _want, rtol=1e-3, atol=1e-5)
### END HIDDEN TESTS

# %% [markdown]
# ## 2 · A musician's count (3 points)
#
# Two voices that move together a fifth apart sound like one voice, so pupils of harmony learn to avoid *parallel fifths*, and
# Bach has hardly any. A fifth is 7 semitones, give or take octaves: (upper − lower) modulo 12 is 7. Two voices make a parallel if
# they are a fifth apart at two moments in a row, and **both** move in between, in the **same direction**.
#
# **Given** `pitch` of shape (T, V), int64: the pitches of V voices at T moments, in semitones, the voices from top to bottom.
# **Asked:** the number of parallel fifths, over all pairs of voices (the upper one is the one further left, also where they cross)
# and all steps from one moment to the next. **Checked:** the number, for 2 to 4 voices.

# %%
pitch = torch.tensor([[67, 64, 60, 48],                           # soprano, alto, tenor, bass
                      [69, 65, 62, 53],                           # soprano and tenor: 7 apart, and again, both rose
                      [69, 67, 62, 55]])                          # both stood still: none

# %% tags=["solution:parallel_fifths"]
def parallel_fifths(pitch):
    """(T, V) -> a number"""
    ### BEGIN SOLUTION
    total = 0
    direction = pitch.diff(dim=0).sign()                          # (T - 1, V)
    for i in range(pitch.shape[1]):
        for j in range(i + 1, pitch.shape[1]):
            fifth = (pitch[:, i] - pitch[:, j]) % 12 == 7         # (T,)
            together = direction[:, i] * direction[:, j] > 0      # (T - 1,)
            total += (fifth[1:] & fifth[:-1] & together).sum()
    return total
    ### END SOLUTION

# %% tags=["test:check_parallel_fifths:3"]
check.parallel_fifths(parallel_fifths)
### BEGIN HIDDEN TESTS
assert int(parallel_fifths(torch.tensor([[67, 64, 60, 48], [69, 65, 62, 53], [69, 67, 62, 55]]))) == 1
_p, _n = torch.randint(48, 72, (60, 4)), 0
_p[:, 1], _p[20:40, 3] = _p[:, 0] - 19, _p[20:40, 2] - 7
for _t in range(59):
    for _i, _j in ((0, 1), (0, 2), (0, 3), (1, 2), (1, 3), (2, 3)):
        _a, _b, _c, _d = (int(_p[_s, _v]) for _s in (_t, _t + 1) for _v in (_i, _j))
        _n += (_a - _b) % 12 == 7 == (_c - _d) % 12 and (_c - _a) * (_d - _b) > 0
assert int(parallel_fifths(_p.clone())) == _n, "another number of parallels in 60 random chords"
### END HIDDEN TESTS

# %% [markdown]
# ## 3 · Find the bug: the rest of an image (3 points)
#
# The model can finish an image whose first rows are given, and even as another digit: keep the codes of these rows, put another
# label in front, and let it go on. The function below makes such a beginning from whole sentences. It runs, and images come out,
# but something is wrong with them. There is **one bug**.

# %%
def beginning_broken(idx, labels, n_row, width=7):
    codes = idx[:, :n_row * width]
    return torch.cat([labels[:, None], codes], dim=1)

# %%
# Figure: two rows of ten digits. Above, test digits, drawn from their codes. Below, the same for their first
# three rows of codes and finished by the model under the same label: the upper halves do not fit together.
idx = join(digits.test.y[:10], painter.vqvae.encode(digits.test.x[:10]), n_class=10)          # (10, 50)
finished = painter.write(beginning_broken(idx, digits.test.y[:10], 3), generator=seeded(0))
plots.strip({"from their codes": painter.draw(idx), "first three rows kept": painter.draw(finished)});

# %% [markdown]
# **Given** `idx` of shape (B, 1 + H * width), int64: sentences, each a label and then the codes of H rows; `labels` of shape
# (B,), the labels that shall stand in front, and `n_row`, at most H. **Asked:** `beginning`, the same function without the bug:
# the new label, then the codes of the first `n_row` rows, of shape (B, 1 + n_row * width). **Checked:** the values, for images of
# several sizes.
#
# Why does no line of the program complain?

# %% tags=["solution:beginning"]
def beginning(idx, labels, n_row, width=7):
    """(B, 1 + H * width), (B,), a number -> (B, 1 + n_row * width)"""
    ### BEGIN SOLUTION
    codes = idx[:, 1:1 + n_row * width]                           # place 0 holds the old label
    return torch.cat([labels[:, None], codes], dim=1)
    ### END SOLUTION

# %% tags=["test:check_beginning:3"]
check.beginning(beginning)
### BEGIN HIDDEN TESTS
_idx = torch.arange(2 * 13).view(2, 13) + 10
_want = torch.tensor([[3, 11, 12, 13, 14, 15, 16, 17, 18], [5, 24, 25, 26, 27, 28, 29, 30, 31]])
assert torch.equal(beginning(_idx.clone(), torch.tensor([3, 5]), 2, 4), _want), "two rows of four, after the new label"
assert torch.equal(beginning(_idx.clone(), torch.tensor([3, 5]), 3, 2), _want[:, :7]), "three rows of two"
### END HIDDEN TESTS

# %% [markdown]
# ## 4 · Measure: right by the example (3 points)
#
# Somebody needs a program, and does what a model could do, too: try all 1,846 compositions that are trained, and keep what is
# right on the one example of the task. Here are 30 tasks. `seen` says for each task and each program whether it is right on the
# example, `hidden` whether it is right on five others.

# %%
programs = [lp.body(steps) for steps in lp.compositions()[0]]
tasks = lp.tasks(30, seed=30)
seen = [lp.passes(program, [task.example]) for task in tasks for program in programs]
hidden = [lp.passes(program, task.hidden) for task in tasks for program in programs]
print(tasks[0].text, tasks[0].example)
print([program for program, right in zip(programs, seen) if right][:5])

# %% [markdown]
# **Given** `seen` and `hidden`, two lists of 55,380 times True or False. **Asked:** `false_passes`: of all cases,
# from all tasks together, in which a program is right on the example, in what share is it *not* right on the hidden ones?
# **Checked:** your number, within 1 percent.

# %% tags=["solution:false_passes"]
false_passes = ...  # set it to your number at the end
### BEGIN SOLUTION
kept = [good for shown, good in zip(seen, hidden) if shown]
false_passes = 1 - sum(kept) / len(kept)
claim("programs that are right on the example, for 30 tasks", len(kept), ">", 100)
### END SOLUTION

# %% tags=["test:check_false_passes:3"]
check.false_passes(false_passes, seen, hidden)
### BEGIN HIDDEN TESTS
_tasks, _programs = lp.tasks(30, seed=30), [lp.body(_steps) for _steps in lp.compositions()[0]]
_kept = [(_one, _task) for _task in _tasks for _one in _programs if lp.passes(_one, [_task.example])]
_wrong = [_one for _one, _task in _kept if not lp.passes(_one, _task.hidden)]
assert abs(float(false_passes) - len(_wrong) / len(_kept)) < 0.03, "another number comes out when it is measured again"
### END HIDDEN TESTS

# %% [markdown]
# ## 5 · Three rewards (3 points)
#
# The lesson let the model write many programs for a task, and kept the shortest of those with the highest reward. Here it is once
# more, for three rewards; the numbers are shares of tasks for which the one that is kept is right on hidden examples.

# %%
coder = checkpoint.load("list_coder")
asked = lp.tasks(40, seed=50, unseen=True)
written, _ = answers(coder, lp.prompts(asked), 32, lp.N_BODY, lp.END, generator=seeded(0))
texts = [lp.decode(row) for row in written[:, lp.N_PROMPT:]]
right = torch.tensor([lp.passes(text, asked[k // 32].hidden) for k, text in enumerate(texts)]).view(40, 32)
length = torch.tensor([len(text.split()) for text in texts]).view(40, 32)
rewards = {"is a program": lambda text, task: lp.parses(text),
           "example right": lambda text, task: lp.passes(text, [task.example]),
           "hidden right": lambda text, task: lp.passes(text, task.hidden)}
for name, reward in rewards.items():
    paid = torch.tensor([float(reward(text, asked[k // 32])) for k, text in enumerate(texts)]).view(40, 32)
    shares = [best_of_n(paid - 0.001 * length, right.float(), n).mean().item() for n in (1, 8, 32)]
    print(f"{name:14}", *(f"n = {n}: {share:.2f}  " for n, share in zip((1, 8, 32), shares)))
copies = sum(text == lp.literal(asked[k // 32].example[1]) for k, text in enumerate(texts))
print(f"of {len(texts)} programs {texts.count('x')} are x, and {copies} return the example's output")

# %% [markdown]
# **Explain** in five to eight sentences. (i) For each of the first two rewards, name a program that always gets it, and does not
# solve the task. (ii) No weight was changed, and the model seldom writes `x`. Why does the share of right programs nevertheless
# fall so far for the first reward? And why does it not fall for the second, although there is a cheat?
# (iii) "Right on the hidden examples" is a reward, too. How could a program win it without solving the task, and what would you
# do about it?

# %% [markdown] tags=["manual:explain_rewards:3"]
# (i) `x` is always a program. The output of the example as a constant, such as `38`, is always right on the example. (ii) Choosing
# among 32 programs looks for the highest reward, and finds what is rare: `x`, or a number alone, is seldom written, but most tasks
# have one among 32, and as the shortest program it wins each time. The reward is nearly the same for all; what decides is the small
# preference for short ones, which nobody meant as a wish for `x`. The second reward rules `x` out. Its own cheat is hardly ever
# among the 32, for this model has not learned to copy the output from the prompt. Choosing can only find what is written now and then:
# it is the model that is safe and not the reward. A model that can copy would have it among its 32.
# (iii) With five examples a wrong program may be right by chance, and if the same five are used again and again, a model can learn
# their outputs by heart. More examples, drawn anew each time and with odd cases among them; another set, never used for
# rewards, to measure with; and somebody who reads programs.
#
# **Rubric.** 1 point: (i) a program for each reward, such as `x` and a constant. 1 point: (ii) the best of many finds what is
# rare, and the second cheat is never written, so that nothing can choose it. 1 point: (iii) chance or examples known by heart, with
# a remedy: more, fresh or held-out examples, or reading programs.

# %% [markdown]
# ## 6 · Your own question (4 points)
#
# Ask a question about one GPT in many worlds that the lesson does not answer, **write down your guess**, and find out with its
# models. Examples: Does the painter finish an 8 as a 3 more often than a 3 as an 8? Which code costs most bits, and what does it
# show? How does the share of right programs fall when two words of the description are exchanged? Does a chorale that is continued
# at temperature 0.5 have fewer parallel fifths? Your code shall run in less than a minute.

# %% tags=["solution:own_experiment"]
threes = digits.test.x[digits.test.y == 3][:80]
sentences = join(torch.full((80,), 3), painter.vqvae.encode(threes), n_class=10)
shares = {}
for n_row in (0, 2, 3, 4, 5, 6):
    start = beginning(sentences, torch.full((80,), 8), n_row)
    finished = painter.draw(painter.write(start, generator=seeded(0)))
    with torch.no_grad():
        named = the_judge()(finished).argmax(dim=1)
    shares[n_row] = [(named == digit).double().mean().item() for digit in (3, 8)]
    print(f"{n_row} rows of a 3 under the label 8: read as a 3 {shares[n_row][0]:.2f}, as an 8 {shares[n_row][1]:.2f}")
claim("read as the 8 asked for, no row given less six rows given", shares[0][1] - shares[6][1], ">", 0.3)

# %% [markdown]
# Write here: your question, your guess, what you did, what came out (a number or a figure), how sure you are of it, and what
# you would try next. Half a page is plenty.

# %% [markdown] tags=["manual:own_question:4"]
# *An example of an answer.* **Question:** if the first rows of an image are those of a 3, and the label in front says 8, who wins?
# **Guess:** the label, up to the middle of the image. **Experiment:** the codes of the first 0 to 6 rows of 80 test digits that
# are a 3, finished under the label 8; the judge reads what comes out. **Result:** with no row 94 % are read as an 8, with two rows
# 86 %, with three 17 %, and with five none. With three rows more than half are read as neither: the model is caught between the two.
# **Sure?** Of these 80 digits, to about five points. The judge has seen no such mixtures, so what it says of them may mean little.
# **Next:** pairs whose upper halves are alike, such as 4 and 9, and the bits of the code where the model changes its mind.
#
# **Rubric.** 1 point: a question that can be answered by an experiment, and a guess made before. 1 point: one thing is changed
# and the rest held fixed. 1 point: a number or a figure with labelled axes, described truthfully, whether or not it agrees with
# the guess. 1 point: says how sure the result is (several draws, a standard error) or what might be wrong with it.
