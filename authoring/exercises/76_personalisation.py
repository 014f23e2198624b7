# %% [markdown]
# # Exercise 76 · A model that knows one face
#
# Six parts on lesson 76: two functions, a bug, a measurement, a short text and a question of your own. They take about two
# hours of yours and some ten seconds of the computer's.
#
# - Write your answer **in place of** `raise NotImplementedError()`, then run the cell and the check below it.
# - A check prints `ok:` and the name of the task, or one sentence about what is wrong; `hint()` then says more.
# - Tasks 1 to 4 are graded by a program, which also runs your functions on inputs that you do not see here; 5 and 6 are read
#   by a person. You may add cells of your own anywhere, and use whatever PyTorch offers.

# %%
import torch

from course_lib import checkpoint, plots
from course_lib.checks import hint
from course_lib.checks import personalisation as check
from course_lib.claims import claim
from course_lib.data import load
from course_lib.data.avatars import NAMES
from course_lib.data.person import likeness
from course_lib.device import seeded
from course_lib.lora import adapters, put, strength
from course_lib.reader import read

zorp = load("person")
base = checkpoint.load("text_to_image")
model = put(checkpoint.load("zorp"), base)

# %%
# Stuck after a check? Run hint(): it says where to look first, then how, and the code only at last.
hint()

# %% [markdown]
# ## 1 · A layer with its correction (3 points)
#
# A frozen linear layer makes $Wx + c$. Beside it stand two thin matrices: `down` reads $r$ numbers off the input, `up` says
# what to do with them. A dial, the strength, multiplies the correction; at 0 it is off.
#
# **Given** `x` (B, n_in), `W` (n_out, n_in), whose rows make the numbers of the output, `c` (n_out,), `up` (n_out, r), `down`
# (r, n_in) and a number `strength`. **Asked:** the output, (B, n_out). **Checked:** the values, also for B = 1, r = 1 and
# strengths of 0 and below, and the gradients with respect to `x`, `up` and `down`.

# %% tags=["solution:corrected"]
def corrected(x, W, c, up, down, strength):
    """(B, n_in), (n_out, n_in), (n_out,), (n_out, r), (r, n_in), number -> (B, n_out)"""
    ### BEGIN SOLUTION
    beside = x @ down.T @ up.T                                    # (B, n_in) -> (B, r) -> (B, n_out)
    return x @ W.T + c + strength * beside
    ### END SOLUTION

# %% tags=["test:check_corrected:3"]
check.corrected(corrected)
### BEGIN HIDDEN TESTS
_x, _W, _c, _up, _down = (torch.randn(*_s) for _s in ((4, 7), (5, 7), (5,), (5, 2), (2, 7)))
for _s in (0.0, 0.3, -2.0):
    _got = corrected(_x.clone(), _W.clone(), _c.clone(), _up.clone(), _down.clone(), _s)
    torch.testing.assert_close(_got.detach().float(), _x @ (_W + _s * _up @ _down).T + _c, rtol=1e-3, atol=1e-4)
### END HIDDEN TESTS

# %% [markdown]
# ## 2 · An adapter made afterwards (3 points)
#
# Somebody has trained *all* numbers of a model, and you want a small file. The change of each weight matrix has full rank.
# Its best approximation of rank $r$, the one with the smallest squared error, keeps its $r$ largest singular values and
# drops the others (Eckart and Young, 1936).
#
# **Given** `change` (n_out, n_in) and a whole number `rank`. **Asked:** the best approximation of that rank, (n_out, n_in).
# **Checked:** the values. `torch.linalg.svd` is allowed.

# %% tags=["solution:compress"]
def compress(change, rank):
    """(n_out, n_in), number -> (n_out, n_in)"""
    ### BEGIN SOLUTION
    U, s, Vh = torch.linalg.svd(change, full_matrices=False)      # U diag(s) Vh, the largest s first
    return (U[:, :rank] * s[:rank]) @ Vh[:rank]
    ### END SOLUTION

# %% tags=["test:check_compress:3"]
check.compress(compress)
### BEGIN HIDDEN TESTS
_a, _b = torch.linalg.qr(torch.randn(9, 4)).Q, torch.linalg.qr(torch.randn(6, 4)).Q
_s = torch.tensor([8.0, 4.0, 2.0, 1.0])
for _r in (1, 3):
    _got = compress((_a * _s) @ _b.T, _r)
    torch.testing.assert_close(_got.detach().float(), (_a[:, :_r] * _s[:_r]) @ _b[:, :_r].T, rtol=1e-3, atol=1e-3)
### END HIDDEN TESTS

# %% [markdown]
# ## 3 · Find the bug (3 points)
#
# For DreamBooth, a batch holds pictures of Zorp and as many pictures of others, each with its own caption. The function
# below puts one together. `i` says which of the few pictures are in the batch, `j` which of the others. It runs without an
# error, and the loss falls. But after the training the model has forgotten what "a red hat" is. There is **one bug**, in
# one line.

# %%
def mixed_broken(z_few, words_few, z_many, words_many, i, j):
    z = torch.cat([z_few[i], z_many[j]])
    words = torch.cat([words_few[i], words_many[i]])
    return z, words

# %%
few, many = torch.arange(5.0), 100 + torch.arange(20.0)           # numbers in place of latents and of captions
pictures, captions = mixed_broken(few, few, many, many, torch.tensor([0, 3]), torch.tensor([17, 4]))
print("pictures:", pictures.tolist())
print("captions:", captions.tolist())

# %% [markdown]
# **Given** `z_few` (N, ...) and `words_few` (N, L), `z_many` (M, ...) and `words_many` (M, L), and whole numbers `i` and
# `j`, each (B,). **Asked:** `mixed`, the same function without the bug, which returns two tensors: latents (2B, ...) and
# words (2B, L), first the few, then the others. **Checked:** both.
#
# Why did it run at all, although there are fewer pictures of Zorp than of others? What would have happened the other way
# round?

# %% tags=["solution:mixed"]
def mixed(z_few, words_few, z_many, words_many, i, j):
    """(N, ...), (N, L), (M, ...), (M, L), (B,), (B,) -> (2B, ...), (2B, L)"""
    ### BEGIN SOLUTION
    z = torch.cat([z_few[i], z_many[j]])
    words = torch.cat([words_few[i], words_many[j]])              # the others are chosen by j, their captions too
    return z, words
    ### END SOLUTION

# %% tags=["test:check_mixed:3"]
check.mixed(mixed)
### BEGIN HIDDEN TESTS
_few, _many = torch.arange(5.0).view(5, 1), 100 + torch.arange(20.0).view(20, 1)
_i, _j = torch.tensor([4, 0, 0]), torch.tensor([19, 2, 7])
_z, _words = mixed(_few, _few.long(), _many, _many.long(), _i, _j)
assert _z.flatten().tolist() == [4, 0, 0, 119, 102, 107], "these are not the latents that i and j ask for"
assert _words.flatten().tolist() == [4, 0, 0, 119, 102, 107], "a caption must stand where its picture stands"
### END HIDDEN TESTS

# %% [markdown]
# ## 4 · Measure: from which strength on is it Zorp? (3 points)
#
# The adapter `zorp` was trained at strength 1. We draw 10 pictures of "a zorp person" at each of ten strengths, always from
# the same 10 noises, and ask how many of his own pixels are right.

# %%
strengths = [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0]
rows, alike = [], []
for value in strengths:
    with strength(model, value):
        drawn = model.sample(["a zorp person"] * 10, seeded(3), guidance=2)
    rows.append(drawn)
    alike.append(likeness(drawn, read(drawn)))
alike = torch.stack(alike)                                        # (10 strengths, 10 pictures)

# %%
# Figure: five rows of eight faces from the same noises, for the strengths 0.1, 0.3, 0.5, 0.7 and 1. From row to
# row more of them become Zorp.
plots.strip({f"strength {strengths[k]}": rows[k][:8] for k in (0, 2, 4, 6, 9)});

# %% [markdown]
# **Given** `strengths`, a list of ten numbers, and `alike` (10, 10), the likeness of each picture. A picture is Zorp if its
# likeness is above 0.6. **Asked:** `halfway`, the smallest of the ten strengths at which at least half of the 10 pictures are
# Zorp. **Checked:** your number.

# %% tags=["solution:halfway"]
halfway = ...  # set it to your number at the end
### BEGIN SOLUTION
shares = (alike > 0.6).float().mean(1)                            # (10,)
halfway = next(value for value, share in zip(strengths, shares) if share >= 0.5)
claim("share of pictures that are Zorp at strength 1", shares[-1], ">", 0.7)
### END SOLUTION

# %% tags=["test:check_halfway:3"]
check.halfway(halfway, strengths, alike)
### BEGIN HIDDEN TESTS
_model, _found = put(checkpoint.load("zorp"), checkpoint.load("text_to_image")), []
for _value in [_k / 10 for _k in range(1, 11)]:
    with strength(_model, _value):
        _x = _model.sample(["a zorp person"] * 10, seeded(3), guidance=2)
    if (likeness(_x, read(_x)) > 0.6).float().mean() >= 0.5:
        _found.append(_value)
assert abs(float(halfway) - _found[0]) < 0.01, "another number comes out when it is measured again"
### END HIDDEN TESTS

# %% [markdown]
# ## 5 · What goes wrong, and why? (3 points)
#
# Here are means over five trainings of the lesson: with the model's own pictures beside the five, without them, and the word
# alone.

# %%
made, alone, word = (checkpoint.metadata(name)["trials"] for name in ("zorp", "zorp_alone", "zorp_word"))
for way, runs in (("with others", made["rank 4"]), ("the five alone", alone["rank 4, alone"]),
                  ("the word alone", word["one word"])):
    means = {name: sum(run[name] for run in runs) / len(runs) for name in ("he", "others", "drift")}
    print(f"{way:15}", "  ".join(f"{name} {value:.2f}" for name, value in means.items()))

# %% [markdown]
# **Explain** in five to eight sentences. (i) "A person" occurs in no caption of the five pictures: they all say "a zorp
# person" or "a zorp face". Why does a picture of "a person" become Zorp all the same? (ii) Why do the model's own pictures
# prevent this, and why can they come from the model itself, which knows nothing new? (iii) The word alone forgets nothing,
# whatever happens in its training. Why? And why is its first number so low?

# %% [markdown] tags=["manual:explain_drift:3"]
# (i) The five captions contain the word "person" beside "zorp". The training lowers the loss by any change that makes the
# network draw Zorp for them; to change what "person" or any caption leads to is as good as to change what "zorp" leads to,
# and nothing in the five pictures says that they differ. (ii) They hold captions without the word, and what the model drew
# for them before. A change that makes everybody Zorp raises the loss on these, so only changes that depend on the new word
# remain. They need no new knowledge: they shall only hold in place what is there. (iii) A caption without the word never
# touches the new row of the table, and nothing else was changed, so the computation is the same to the last bit. Its number
# is low because a word can only ask for what the network draws already, and it never learned to draw such a head.
#
# **Rubric.** 1 point: (i) the other words of the caption and the shared layers learn too; nothing in the data tells them
# apart. 1 point: (ii) the prior's pictures punish changes for captions without the word; they keep what was, so the model
# can make them. 1 point: (iii) captions without the word do not use the new vector; and a vector cannot ask for what no
# layer can draw.

# %% [markdown]
# ## 6 · Your own question (4 points)
#
# Ask a question about personalised models that the lesson does not answer, **write down your guess**, and find out with
# `model`, `strength`, `adapters` and `read`. Examples: How far can every correction be compressed with your `compress`
# before he is lost? Does he stay himself when the caption contradicts him ("a zorp person with long red hair")? Is the
# correction of some layers enough? Does the order of the words matter? Your code shall run in less than a minute.

# %% tags=["solution:own_experiment"]
shares = {}
for text in ("a zorp person", "a zorp person with long red hair"):
    drawn = model.sample([text] * 20, seeded(5), guidance=2)
    hair = read(drawn)[:, NAMES.index("hair colour")]             # 3 is red, 5 is green
    shares[text] = (hair == 3).float().mean().item(), (hair == 5).float().mean().item()
claim("green hair of a zorp person", shares["a zorp person"][1], ">", 0.8)
claim("red hair, when it is asked for", shares["a zorp person with long red hair"][0], ">", 0.2)
claim("green hair, when red is asked for", shares["a zorp person with long red hair"][1], "<", 0.4)
print(len(adapters(model)), "layers have a correction")

# %% [markdown]
# Write here: your question, your guess, what you did, what came out (a number or a figure), how sure you are of it, and what
# you would try next. Half a page is plenty.

# %% [markdown] tags=["manual:own_question:4"]
# *An example of an answer.* **Question:** does he obey a caption that contradicts him, "a zorp person with long red hair"?
# **Guess:** the word wins, his hair stays green. **Experiment:** 20 pictures of "a zorp person" and 20 of the contradiction,
# from the same noises; the reader names the colour of the hair. **Result:** my guess was wrong. Of "a zorp person" all hair is
# green; when red is asked for, about half is red and a tenth green. The other words of a caption still count. **Sure?** 20
# pictures give a standard error of 0.11 at one half, so "about half" it is; green has lost for certain. Another adapter may
# differ. **Next:** is it the colour or the length that decides, and what does it do at strength 1.5?
#
# **Rubric.** 1 point: a question that can be answered by an experiment, and a guess made before. 1 point: one thing is
# changed and the rest held fixed, the noise among it. 1 point: a number or a figure with labelled axes, described
# truthfully, whether or not it agrees with the guess. 1 point: says how sure the result is (several draws, a standard
# error) or what might be wrong with it.
