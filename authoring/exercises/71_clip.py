# %% [markdown]
# # Exercise 71 · Pictures and words in one space
#
# Six parts on lesson 71: two functions, a bug, a measurement, a short text and a question of your own. They take about two
# hours of yours and some ten seconds of the computer's.
#
# - Write your answer **in place of** `raise NotImplementedError()`, then run the cell and the check below it.
# - A check prints `ok:` and the name of the task, or one sentence about what is wrong; `hint()` then says more.
# - Tasks 1 to 4 are graded by a program, which also runs your functions on inputs that you do not see here; 5 and 6 are read
#   by a person. You may add cells of your own anywhere, and use whatever PyTorch offers.

# %%
import math

import torch
from torch.nn import functional as F

from course_lib import checkpoint, plots
from course_lib.checks import clip as check
from course_lib.checks import hint
from course_lib.claims import claim
from course_lib.clip import equal_rows, prompts
from course_lib.data import load
from course_lib.data.avatars import ATTRIBUTES, NAMES, caption, encode
from course_lib.device import seeded

faces = load("avatars").test_seen
model = checkpoint.load("clip")
without = checkpoint.load("clip_no_neighbours")

# %%
# Stuck after a check? Run hint(): it says where to look first, then how, and the code only at last.
hint()

# %% [markdown]
# ## 1 · The loss (3 points)
#
# Every picture of a batch chooses among the captions, and every caption among the pictures; the loss is the mean surprise
# at the right partner, averaged over both directions:
#
# $$L = -\frac{1}{2B} \sum_{i=1}^{B} \left( \log \frac{e^{s\, a_i \cdot b_i}}{\sum_j e^{s\, a_i \cdot b_j}} +
# \log \frac{e^{s\, a_i \cdot b_i}}{\sum_j e^{s\, a_j \cdot b_i}} \right)$$
#
# **Given** `a` and `b` of shape (B, D), whose rows have length 1, partners in the same row, and a number `scale`, $s$.
# **Asked:** $L$, a tensor with one number. **Checked:** the value, for B = 1 too and for scales up to 100, and the
# gradients with respect to `a` and `b`.

# %% tags=["solution:info_nce"]
def info_nce(a, b, scale):
    """(B, D), (B, D) -> ()"""
    ### BEGIN SOLUTION
    logits = scale * a @ b.T                                      # (B, B): row = picture, column = caption
    own = torch.arange(len(a))
    return (F.cross_entropy(logits, own) + F.cross_entropy(logits.T, own)) / 2
    ### END SOLUTION

# %% tags=["test:check_info_nce:3"]
check.info_nce(info_nce)
### BEGIN HIDDEN TESTS
_a, _b = torch.nn.functional.normalize(torch.randn(2, 7, 9), dim=2)
_scores = 12.0 * _a @ _b.T
_want = -(_scores.log_softmax(0).diagonal().mean() + _scores.log_softmax(1).diagonal().mean()) / 2
torch.testing.assert_close(torch.as_tensor(info_nce(_a.clone(), _b.clone(), 12.0)).detach().float(), _want,
                           rtol=1e-3, atol=1e-4)
### END HIDDEN TESTS

# %% [markdown]
# ## 2 · A classifier made of sentences (3 points)
#
# For each of K classes there are n sentences, already turned into vectors of length 1. What stands for a class is the
# **mean** of its sentences, brought to length 1 again. A picture belongs to the class whose vector is most like its own.
#
# **Given** `image` of shape (N, D), rows of length 1, and `text` of shape (K, n, D), the vectors of n sentences for each of
# K classes. **Asked:** the number of the class for each picture, a tensor of shape (N,) of whole numbers 0 … K − 1.
# **Checked:** the numbers, for several sizes, also with sentences that hardly agree.

# %% tags=["solution:classify"]
def classify(image, text):
    """(N, D), (K, n, D) -> (N,)"""
    ### BEGIN SOLUTION
    classes = F.normalize(text.mean(dim=1), dim=1)                # (K, D)
    return (image @ classes.T).argmax(dim=1)
    ### END SOLUTION

# %% tags=["test:check_classify:3"]
check.classify(classify)
### BEGIN HIDDEN TESTS
_image = torch.nn.functional.normalize(torch.randn(200, 4), dim=1)
_text = torch.nn.functional.normalize(torch.randn(3, 1, 4) + torch.tensor([0.1, 1.0, 2.0]).view(3, 1, 1)
                                      * torch.randn(3, 5, 4), dim=2)
_means = torch.stack([_t.sum(0) / _t.sum(0).norm() for _t in _text])
_gap = (_image @ _means.T).topk(2, dim=1).values
_clear = _gap[:, 0] - _gap[:, 1] > 1e-4
assert torch.equal(classify(_image.clone(), _text.clone()).long()[_clear], (_image @ _means.T).argmax(1)[_clear]), \
    "another class is more like the picture"
### END HIDDEN TESTS

# %% [markdown]
# With the shipped model it reads shirts from the test faces:

# %%
told = prompts("shirt", 20, seeded(0))                            # 5 lists of 20 sentences
with torch.no_grad():
    sentences = torch.stack([model.text(encode(captions)) for captions in told])              # (5, 20, 64)
    vectors = model.image(faces.x)                                # (1000, 64)
print([captions[0] for captions in told][:2])
print(sentences.shape, vectors.shape, ATTRIBUTES["shirt"], NAMES.index("shirt"))

# %% [markdown]
# ## 3 · Find the bug (3 points)
#
# Faces with the same caption are no wrong answers for each other, so their scores are to be taken out of both softmaxes.
# The function below does that, or so it seems: it runs, the loss falls, and the model learns. But the loss is larger than it
# should be. There is **one bug**, in one line.

# %%
def masked_info_nce_broken(a, b, words, scale):
    logits = scale * a @ b.T
    equal = (words[:, None] == words).all(dim=2)
    twins = equal & ~torch.eye(len(a), dtype=torch.bool)
    logits = logits.masked_fill(twins, 0)
    own = torch.arange(len(a))
    return (F.cross_entropy(logits, own) + F.cross_entropy(logits.T, own)) / 2

# %%
words = encode(["a red hat"] * 4 + ["a beard"] * 4)               # (8, 24): each caption four times
perfect = torch.eye(2).repeat_interleave(4, dim=0)                # (8, 2): the same vector for the same caption
for scale in (1.0, 3.0, 10.0):
    wanted = math.log(1 + 4 * math.exp(-scale))                   # its own against the four of the other kind
    print(f"scale {scale:4}: loss {masked_info_nce_broken(perfect, perfect, words, scale):.4f}, wanted {wanted:.4f}")

# %% [markdown]
# **Given** `a` and `b` of shape (B, D), `words` of shape (B, L), int64, and a number `scale`. **Asked:** `masked_info_nce`,
# the same function without the bug, which gives one number. **Checked:** the value, for captions that share some words and
# are not equal, and for B = 1, and the gradients with respect to `a` and `b`.
#
# At scale 10 the broken loss is nearly right. When does the bug do most harm: early in training, or late?

# %% tags=["solution:masked_info_nce"]
def masked_info_nce(a, b, words, scale):
    """(B, D), (B, D), (B, L) int64 -> ()"""
    ### BEGIN SOLUTION
    logits = scale * a @ b.T
    equal = (words[:, None] == words).all(dim=2)
    twins = equal & ~torch.eye(len(a), dtype=torch.bool)
    logits = logits.masked_fill(twins, -math.inf)                 # exp(-inf) = 0: no part of the sum
    own = torch.arange(len(a))
    return (F.cross_entropy(logits, own) + F.cross_entropy(logits.T, own)) / 2
    ### END SOLUTION

# %% tags=["test:check_masked_info_nce:3"]
check.masked_info_nce(masked_info_nce)
### BEGIN HIDDEN TESTS
_words = torch.tensor([[1, 2, 0], [1, 3, 0], [1, 2, 0], [4, 2, 0], [1, 2, 0]])
_a, _b = torch.nn.functional.normalize(torch.randn(2, 5, 4), dim=2)
_b = _b[[0, 1, 0, 3, 0]]
_want = 0.0
for _table in (7.0 * _a @ _b.T, 7.0 * _b @ _a.T):
    for _i in range(5):
        _kept = [_j for _j in range(5) if _j == _i or _words[_i].tolist() != _words[_j].tolist()]
        _want += (_table[_i, _kept].logsumexp(0) - _table[_i, _i]) / 10
_got = masked_info_nce(_a.clone(), _b.clone(), _words.clone(), 7.0)
torch.testing.assert_close(torch.as_tensor(_got).detach().float(), _want, rtol=1e-3, atol=1e-4)
### END HIDDEN TESTS

# %% [markdown]
# ## 4 · Measure: a floor under the loss (3 points)
#
# Here are captions of 256 faces that leave out most of what could be said, so many are equal. Suppose nobody masks them,
# and the vectors are as good as they can be: equal captions and their faces have equal vectors, and all others are far away.

# %%
told = seeded(3)
captions = [caption(row, told, leave_out=0.8) for row in faces.shown[:256]]
words = encode(captions)                                          # (256, 24)
print(captions[:3])
print("distinct captions:", len(words.unique(dim=0)))

# %% [markdown]
# **Given** `words` of shape (256, 24). **Asked:** `floor`, the value of the loss then, in nats: a pair whose caption is
# there $m$ times in the batch can do no better than choose among $m$. `equal_rows(words)` says which are equal.
# **Checked:** your number, within 1 percent.

# %% tags=["solution:floor"]
floor = ...  # set it to your number at the end
### BEGIN SOLUTION
many = equal_rows(words).sum(dim=1)                               # (256,): how often each caption is there
floor = many.double().log().mean().item()
claim("floor of the loss (nats)", floor, ">", 0.1)
### END SOLUTION

# %% tags=["test:check_floor:3"]
check.floor(floor, words)
### BEGIN HIDDEN TESTS
_told = seeded(3)
_rows = load("avatars").test_seen.shown[:256]
_captions = [tuple(_r) for _r in encode([caption(_row, _told, leave_out=0.8) for _row in _rows]).tolist()]
_want = sum(math.log(_captions.count(_c)) for _c in _captions) / 256
assert abs(float(floor) - _want) < 0.02 * _want, "another number comes out when it is measured again"
### END HIDDEN TESTS

# %% [markdown]
# Where in the figure does your number lie, at B = 256? Why is it not as low as the lower curve there?

# %%
# Figure: the loss of guessing, log B, and log B minus log of the number of distinct captions, over batches of 8 to
# 256 of these captions, as two curves.
sizes = [8, 16, 32, 64, 128, 256]
kinds = [len(words[:size].unique(dim=0)) for size in sizes]
plots.curves({"log B": (sizes, [math.log(size) for size in sizes]),
              "log B − log of the kinds": (sizes, [math.log(size / kind) for size, kind in zip(sizes, kinds)])},
             xlabel="batch size B", ylabel="nats");

# %% [markdown]
# ## 5 · What the loss does not ask for (3 points)
#
# Both shipped models were trained by the same recipe. `without` has no line that mixes a word with its neighbour.

# %%
for name, network in (("ours", model), ("without neighbours", without)):
    with torch.no_grad():
        both = network.text(encode(["a red hat and a blue shirt", "a blue hat and a red shirt",
                                    "a red shirt and a blue hat", "a green hat and a blue shirt"]))
    print(f"{name:18} colours exchanged {both[0] @ both[1]:.2f}, phrases exchanged {both[1] @ both[2]:.2f}, "
          f"another colour {both[0] @ both[3]:.2f}")
for name in ("clip", "clip_no_neighbours"):
    measured = checkpoint.metadata(name)["metrics"]
    print(f"{name:18} own caption first of 256: {measured['test_seen: caption of a picture']:.2f}, "
          f"hard pairs right: {measured['test_seen: hard pairs']:.2f}")

# %% [markdown]
# **Explain** in five to eight sentences. (i) The first two lines hold cosines of captions. Which of them tell you that one
# model reads order and the other does not? (ii) Why could the second model become so good at finding captions
# without reading order? What would have to be in the batch for order to pay? (iii) The bound of the lesson says $L \geq \log B
# - I$. A model has the loss 0.25 with batches of 256. How much information about a caption has it shown that a picture holds, at
# least, and why can this number never be more than $\log 256$, however good the model is?

# %% [markdown] tags=["manual:explain_order:3"]
# (i) Exchanging the colours makes another meaning from the same words: our model gives the two captions vectors that are far
# apart, the other gives nearly the same vector, cosine close to 1. Exchanging the phrases changes the order and keeps the
# meaning, and there both should be close to 1; another colour is another word, and both see it. (ii) Among 256 captions there is
# hardly ever one with the same words bound in another way, so a model that counts words already finds its own caption, and the
# loss has no gradient that asks for more. Order pays only if the batch holds captions with the same words and another meaning,
# as hard negatives do, and if the encoder can find out about order easily enough. (iii) $I \geq \log 256 - 0.25 = 5.55 - 0.25 =
# 5.3$ nats. The loss cannot be negative, so $\log B - L$ is at most $\log B$: who chooses among 256 cannot show more knowledge than
# the choice of one of 256 needs. To show more, the batch must be larger.
#
# **Rubric.** 1 point: (i) compares exchanged colours (another meaning, same words) with exchanged phrases (same meaning).
# 1 point: (ii) the batch rarely asks for order, and names what would: captions with the same words. 1 point: (iii) 5.3 nats,
# and the loss is at least 0, so the estimate ends at log B.

# %% [markdown]
# ## 6 · Your own question (4 points)
#
# Ask a question about pictures and words in one space that the lesson does not answer, **write down your guess**, and find out
# with `model`. Examples: Which faces find the wrong caption, and does it fit? What does the vector of a single word find? Is
# "red hat" minus "red" plus "blue" near "blue hat"? Which attribute moves the vector of a picture most? How much of the gap is
# the same for all captions? What does the model make of a caption that no face can fit? Your code shall run in less than a
# minute.

# %% tags=["solution:own_experiment"]
with torch.no_grad():
    vectors = model.image(faces.x)                                # (1000, 64)
    red, blue = (model.text(encode(prompts("hat", 20, seeded(0))[k])).mean(0) for k in (1, 2))
hats = faces.shown[:, NAMES.index("hat")]
moved = F.normalize(vectors[hats == 1] + 1.5 * (blue - red), dim=1)             # red hats, moved towards blue
nearest = (moved @ vectors.T).argmax(dim=1)                       # the most similar test face of each
share = (hats[nearest] == 2).float().mean()
claim("red hats whose nearest face has a blue hat, after the step", share, ">", 0.5)

# %% [markdown]
# Write here: your question, your guess, what you did, what came out (a number or a figure), how sure you are of it, and what
# you would try next. Half a page is plenty.

# %% [markdown] tags=["manual:own_question:4"]
# *An example of an answer.* **Question:** can a difference of words move a picture? **Guess:** roughly, but the gap spoils it.
# **Experiment:** from the vector of each test face with a red hat I go 1.5 times from the mean of 20 sentences with a red hat to
# that of the same 20 with a blue one, and look which test face is nearest then. **Result:** for most of them it wears a blue hat.
# The gap does no harm, since the difference of two captions does not hold it. **Sure?** It is one pair of colours and one length
# of step, which I chose; the number above is a share of more than fifty faces, so its standard error is below 0.07. **Next:** all
# pairs of colours, and what else changes: is skin, shirt and mood the same as before?
#
# **Rubric.** 1 point: a question that can be answered by an experiment, and a guess made before. 1 point: one thing is changed
# and the rest held fixed. 1 point: a number or a figure with labelled axes, described truthfully, whether or not it agrees with
# the guess. 1 point: says how sure the result is (several draws, a standard error) or what might be wrong with it.
