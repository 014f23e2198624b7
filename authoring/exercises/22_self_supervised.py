# %% [markdown]
# # Exercise 22 · Self-supervised learning
#
# Six tasks on lesson 22: two functions, a bug, a measurement, a short text and a question of your own. They take about
# two hours of yours, and some fifteen seconds of the computer's.
#
# - Write your answer **in place of** `raise NotImplementedError()`, then run the cell and the check below it.
# - A check prints `ok:` and the name of the task, or one sentence about what is wrong; `hint()` then says more.
# - Tasks 1 to 4 are graded by a program, which also runs your functions on inputs that you do not see here; 5 and 6
#   are read by a person. You may add cells of your own anywhere, and use whatever PyTorch offers.

# %%
from functools import partial

import matplotlib.pyplot as plt
import torch

from course_lib import checkpoint
from course_lib.checks import hint
from course_lib.checks import self_supervised as check
from course_lib.claims import claim
from course_lib.classify import predict
from course_lib.data import Batches, load
from course_lib.device import seed, seeded
from course_lib.masked import MAE, MAEConfig, choose, few_labels, hidden, linear_probe, patchify
from course_lib.masked import smooth_fill
from course_lib.muon import muon
from course_lib.plots import strip
from course_lib.train import fit
(x_train, y_train), (x_test, y_test) = load("digits")[:2]         # 4,000 and 1,000 images (N, 1, 28, 28)
mae, judge = checkpoint.load("mae").requires_grad_(False), checkpoint.load("judge")

# %%
# Stuck after a check? Run hint(): it says where to look first, then how, and the code only at last.
hint()

# %% [markdown]
# ## 1 · The best guess (3 points)
#
# A point is one of K known points, `means` (K, D), with the probabilities `weights` (K,), which sum to 1 and are not
# equal. **Given** B `told` points (B, D), each the true one plus normal noise of deviation `noise`, a number.
# **Asked:** for each told point the guess with the smallest expected squared distance from the true one; (B, D).
#
# **Checked:** the values and the gradient by `told`, also for B = 1, and for a told point so far from all known ones that
# every density is 0 in floating point.

# %% tags=["solution:best_guess"]
def best_guess(told, means, weights, noise):
    """(B, D), (K, D), (K,), number -> (B, D)"""
    ### BEGIN SOLUTION
    squared = ((told[:, None] - means) ** 2).sum(2)               # (B, K)
    share = (weights.log() - squared / (2 * noise**2)).softmax(1)
    return share @ means
    ### END SOLUTION

# %% tags=["test:check_best_guess:3"]
check.best_guess(best_guess)
### BEGIN HIDDEN TESTS
_means = torch.tensor([[1.0, 0.0], [-1.0, 0.0]])
_told = torch.tensor([[0.3, 5.0], [0.0, 0.0], [-200.0, 0.0]])
_got = best_guess(_told.clone(), _means, torch.tensor([0.5, 0.5]), 0.8)
_want = torch.stack([torch.tanh(_told[:, 0] / 0.64), torch.zeros(3)], 1)
torch.testing.assert_close(_got.float(), _want, rtol=1e-3, atol=1e-3)
_flat = best_guess(_told.clone(), _means, torch.tensor([0.9, 0.1]), 1e4)
torch.testing.assert_close(_flat.float(), torch.tensor([[0.8, 0.0]] * 3), rtol=1e-2, atol=1e-2)
### END HIDDEN TESTS

# %% [markdown]
# ## 2 · Count what was hidden (3 points)
#
# **Given** the guesses of a masked autoencoder and the true patches, both (B, T, P): images, patches, pixels of a
# patch; and `kept` (B, K), the numbers of the patches that the encoder saw, different ones in each image. **Asked:** the
# squared error of a hidden patch: summed over its pixels, mean over all hidden patches of all images; one number.
#
# **Checked:** the value and its gradient by `guess`, also for B = 1 and for K = 0.

# %% tags=["solution:hidden_loss"]
def hidden_loss(guess, patches, kept):
    """(B, T, P), (B, T, P), (B, K) -> ()"""
    ### BEGIN SOLUTION
    hide = torch.ones(guess.shape[:2], dtype=torch.bool)          # (B, T)
    hide[torch.arange(len(kept))[:, None], kept] = False
    return ((guess - patches) ** 2).sum(2)[hide].mean()
    ### END SOLUTION

# %% tags=["test:check_hidden_loss:3"]
check.hidden_loss(hidden_loss)
### BEGIN HIDDEN TESTS
_guess, _patches = torch.zeros(2, 3, 2), torch.arange(12.0).view(2, 3, 2)
_kept = torch.tensor([[0, 2], [1, 0]])                            # hidden: (2, 3) and (10, 11)
assert abs(float(hidden_loss(_guess, _patches, _kept)) - (4 + 9 + 100 + 121) / 2) < 1e-3
### END HIDDEN TESTS

# %% [markdown]
# ## 3 · Find the bug (3 points)
#
# Between encoder and decoder: the descriptions of the kept patches are put together with the vector "hidden", so that
# the decoder gets a list of all places. It runs without an error, the loss falls. But it has **one bug**.

# %%
def assemble_broken(h, kept, hidden_vector, n_patch):
    B, K, C = h.shape
    rest = hidden_vector.expand(B, n_patch - K, C)                # one for each hidden patch
    return torch.cat([h, rest], dim=1)                            # (B, n_patch, C)

# %% [markdown]
# We train with it: 250 batches of 32, a small network.

# %%
def guess_with(assemble, model, x, kept):
    """(B, 1, 28, 28), (B, K) -> guessed patches (B, 49, 16)"""
    everywhere = assemble(model.encode(x, kept), kept, model.hidden, 49) + model.decoder_places
    for block in model.blocks["decoder"]:
        everywhere = block(everywhere)
    return model.head(model.decoder_norm(everywhere))

def train(assemble, steps=250):
    seed(0)
    model = MAE(MAEConfig(n_embd=32, n_layer=1, n_decoder=1))

    def loss_fn(model, x):
        kept = choose(len(x), 49, 24)
        error = (guess_with(assemble, model, x, kept) - patchify(x, 4)).square().sum(2)
        return {"loss": error[hidden(kept, 49)].mean()}

    history = fit(model, loss_fn, Batches(x_train, batch_size=32), steps, warmup=10, decay=0.7,
                  optimizer=partial(muon, lr=0.04, adam_lr=1e-2))
    return model.requires_grad_(False), sum(history["loss"][-20:]) / 20

broken, broken_loss = train(assemble_broken)

# %% [markdown]
# *Figure: three rows of eight digits: the digits; the broken network's guesses at their patches, grey
# blurs, of which at best a 0 and a 1 can be told; and the shipped network's guesses, legible.*

# %% tags=["nbval-ignore-figure"]
# not compared: the network was trained in this notebook
kept = choose(8, 49, 24, seeded(0))

def picture(patches):                                             # (8, 49, 16) -> (8, 1, 28, 28)
    return patches.view(8, 7, 7, 4, 4).permute(0, 1, 3, 2, 4).reshape(8, 1, 28, 28)

strip({"digits": x_test[:8], "broken": picture(guess_with(assemble_broken, broken, x_test[:8], kept)),
       "shipped": picture(mae(x_test[:8], kept))});

# %% [markdown]
# Half of each digit was seen, and the network does only a little better than the mean digit would. The decoder adds to
# each place a vector that says where it is.

# %%
mean_error = (patchify(x_train, 4) - patchify(x_train.mean(0, keepdim=True), 4)).square().sum(2).mean()
claim("loss at the end", broken_loss, ">", 0.88)
claim("error of a patch of the mean digit", mean_error, "<", 1.15)

# %% [markdown]
# **Given** the descriptions `h` (B, K, C), where `h[b, i]` belongs to patch number `kept[b, i]`; `kept` (B, K), in any
# order; the vector `hidden_vector` (C,); and the number of patches `n_patch`. **Asked:** `assemble`, the same function
# without the bug: (B, n_patch, C). **Checked:** the values and the gradients by `h` and the hidden vector.

# %% tags=["solution:assemble"]
def assemble(h, kept, hidden_vector, n_patch):
    """(B, K, C), (B, K), (C,), number -> (B, n_patch, C)"""
    ### BEGIN SOLUTION
    B, K, C = h.shape
    everywhere = hidden_vector.expand(B, n_patch, C).clone()
    everywhere[torch.arange(B)[:, None], kept] = h                # the bug: always the first K places
    return everywhere
    ### END SOLUTION

# %% tags=["test:check_assemble:3"]
check.assemble(assemble)
### BEGIN HIDDEN TESTS
_h = torch.arange(4.0).view(1, 2, 2)
_got = assemble(_h.clone(), torch.tensor([[3, 1]]), torch.tensor([7.0, 8.0]), 4)
assert _got[0].tolist() == [[7, 8], [2, 3], [7, 8], [0, 1]]
_model, _loss = train(assemble)
assert _loss < 0.85, "training with this function does not fill in patches"
### END HIDDEN TESTS

# %% [markdown]
# ## 4 · Measure: nine patches of 49 (2 points)
#
# In the lesson 12 patches of 49 were kept. What if only **9** are, fewer than the network was trained with? Guess
# first: of how many test digits will the judge still name the right label, when the network has filled in the other 40?
#
# **Asked:** `recognised_with_nine`, the share of the 1,000 test digits of which the judge's largest logit is the label,
# after `mae.fill_in`, as the mean of two or more choices of patches. **Checked:** your number, within 7 percent.

# %% tags=["solution:recognised_with_nine"]
recognised_with_nine = ...  # set it to your number at the end
### BEGIN SOLUTION
def recognised(n_keep, s):
    kept = choose(1000, 49, n_keep, seeded(s))
    return (predict(judge, mae.fill_in(x_test, kept)).argmax(1) == y_test).double().mean().item()

recognised_with_nine = sum(recognised(9, s) for s in range(3)) / 3
lost = recognised(12, 0) - recognised_with_nine
claim("recognised with 12 patches, minus with 9", lost, ">", 0.04, digits=2)
### END SOLUTION

# %% tags=["test:check_recognised_with_nine:2"]
check.recognised_with_nine(recognised_with_nine)
### BEGIN HIDDEN TESTS
_mae, _judge = checkpoint.load("mae").requires_grad_(False), checkpoint.load("judge")
_filled = _mae.fill_in(x_test, choose(1000, 49, 9, seeded(50)))
_own = (predict(_judge, _filled).argmax(1) == y_test).double().mean().item()
assert abs(float(recognised_with_nine) / _own - 1) < 0.14, "not within 14 percent of a second measurement"
### END HIDDEN TESTS

# %% [markdown]
# ## 5 · Explain: a friend's good loss (4 points)
#
# A friend pre-trains a masked autoencoder on X-ray pictures. She hides 5 patches of 49, "so that the task is not too
# hard", and reports: the squared error of a hidden patch is less than half of what you get with 37 hidden. "My network
# has understood X-rays better than yours." Below are five trainings of each kind on digits, of 400 batches each.

# %%
trials = checkpoint.metadata("mae_small_mask")["trials"]          # patches kept -> 5 x (error, accuracy)
few_hidden, many_hidden = torch.tensor(trials["44"]), torch.tensor(trials["12"])          # (5, 2) each
kept = choose(1000, 49, 44, seeded(0))
copied = patchify(smooth_fill(x_test, kept, 4), 4)                # neighbours' grey continued
copying = (copied - patchify(x_test, 4)).square().sum(2)[hidden(kept, 49)].mean()
ratio = few_hidden[:, 0].mean() / many_hidden[:, 0].mean()
claim("error of a hidden patch with 5 hidden, over that with 37", ratio, "<", 0.7)
claim("error of copying neighbours with 5 hidden", copying, "<", 0.8)
worse = many_hidden[:, 1].mean() - few_hidden[:, 1].mean()
claim("accuracy of probes with 100 labels, 37 hidden minus 5 hidden", worse, ">", 0.0)

# %% [markdown]
# **Explain** in five to eight sentences. Why do the two errors say nothing about which network knows more? What can a
# network do with 5 hidden patches that it cannot do with 37, and how would you show her that this is what hers does?
# What should she measure in place of the loss, with which baselines, and what must she *not* use to choose the share
# that is hidden? Name one reason why a very large share (48 of 49) would not be best either.

# %% [markdown] tags=["manual:explain_loss:4"]
# The two errors belong to two different tasks: with 5 hidden, nearly every hidden patch has all its neighbours beside
# it, so it can be guessed by continuing their strokes across a gap of four pixels; with 37 hidden one must know what the
# whole picture shows. A smaller error at an easier task is no evidence of understanding. To show it, compare with a rule
# that knows nothing of the pictures, the neighbours' grey continued: with 5 hidden it is already much better than the
# mean picture, and the question is by how much her network beats it. Or change something far from the hidden patch and
# see whether her guess changes. She should measure what she wants the descriptions for: the accuracy of a probe with few
# labels, over several draws of the labels, beside pixels, random filters, an untrained network and a network trained on
# those labels alone with augmentation. The share should be chosen on labelled pictures that are not the test set (and if
# she has few labels, their number is part of the price). With 48 of 49 hidden there is hardly anything to describe: the
# encoder sees one patch, the best guess is nearly the mean picture whatever it says, and little can be learned.
#
# **Rubric.** 1 point: errors of different tasks cannot be compared. 1 point: copying or continuing neighbours, and a
# way to show it (a baseline that copies, or a change far away). 1 point: a probe with few labels on held-out pictures,
# with baselines that learned nothing; test set and pre-training loss are not used to choose. 1 point: with too large a
# share, what is seen does not determine anything.

# %% [markdown]
# ## 6 · Your own question (4 points)
#
# Ask a question about descriptions or missing patches that the lesson does not answer, **write down your guess**, and
# find out. Examples: Which layer of the encoder gives the best descriptions? Which digits need most patches? Are
# descriptions of the *alphabet* network better than those of the MAE? What does a 2 look like to a network that may
# see only its lower half? Are random filters as good with 9 × 9 pixels, or if there are only 16? Your code shall run in
# less than a minute.

# %% tags=["solution:own_experiment"]
labelled = few_labels(y_train, 100, seeded(0))

def features_after(n_block, x):
    """The encoder cut off after n_block blocks: 49 vectors of 64 numbers."""
    h = mae.embed(patchify(x, 4)) + mae.places
    for block in mae.blocks["encoder"][:n_block]:
        h = block(h)
    return h.flatten(1)

accuracy = []
for n_block in range(5):
    told, new = features_after(n_block, x_train[labelled]), features_after(n_block, x_test)
    accuracy.append((linear_probe(told, y_train[labelled], new) == y_test).double().mean().item())
claim("best layer minus none at all", max(accuracy) - accuracy[0], ">", 0.01, digits=3)
fig, ax = plt.subplots(figsize=(4.5, 2.6))
ax.plot(range(5), accuracy, "o-")
ax.set(xlabel="blocks of the encoder", ylabel="accuracy with 100 labels", xticks=range(5));

# %% [markdown]
# Write here: your question, your guess, what you did, what came out (a number or a figure), how sure you are of it,
# and what you would try next. Half a page is plenty.

# %% [markdown] tags=["manual:own_question:4"]
# *An example of an answer.* **Question:** after which block are descriptions best for a probe? **Guess:** after the
# last one. **Experiment:** the encoder of the shipped network, cut off after 0, 1, 2, 3 and 4 blocks; probes with the
# same 100 labels, accuracy on the test digits. **Result:** see the figure; without any block the description is a linear
# function of the pixels and as good as pixels are; most of the gain comes with the first blocks. **Sure?** One draw of
# labels: the bars of the lesson say that draws differ by one or two points, so neighbouring layers cannot be told
# apart. **Next:** five draws, and the same for the decoder's blocks.
#
# **Rubric.** 1 point: a question that can be answered by an experiment, and a guess made before. 1 point: one thing
# is changed and the rest held fixed; measured on images that the model was not fitted to, where that matters.
# 1 point: a number or a figure with labelled axes, described truthfully, whether or not it agrees with the guess.
# 1 point: says how sure the result is (several draws or seeds) or what might be wrong with it.
