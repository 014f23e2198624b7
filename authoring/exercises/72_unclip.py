# %% [markdown]
# # Exercise 72 · A vector between words and picture
#
# Six parts on lesson 72: two functions, a bug, a measurement, a short text and a question of your own. They take about two
# hours of yours and some ten seconds of the computer's.
#
# - Write your answer **in place of** `raise NotImplementedError()`, then run the cell and the check below it.
# - A check prints `ok:` and the name of the task, or one sentence about what is wrong; `hint()` then says more.
# - Tasks 1 to 4 are graded by a program, which also runs your functions on inputs that you do not see here; 5 and 6 are read
#   by a person. You may add cells of your own anywhere, and use whatever PyTorch offers.

# %%
import torch
from torch.nn import functional as F

from course_lib import checkpoint, plots
from course_lib.checks import hint
from course_lib.checks import unclip as check
from course_lib.claims import claim
from course_lib.data import load
from course_lib.data.avatars import NAMES, UNSAID, caption, said
from course_lib.device import seeded
from course_lib.reader import obeys, read
from course_lib.unclip import text_difference

faces = load("avatars")
model = checkpoint.load("unclip")

# %%
# Stuck after a check? Run hint(): it says where to look first, then how, and the code only at last.
hint()

# %% [markdown]
# ## 1 · Along the arc (3 points)
#
# Vectors of one length $r$ lie on a sphere. The way from $a$ to $b$ along the sphere, of which the share $s$ has been walked,
# ends at
#
# $$\frac{\sin((1 - s)\,w)\; a + \sin(s\,w)\; b}{\sin w},$$
#
# where $w$ is the angle between $a$ and $b$.
#
# **Given** `a` and `b` of shape (n, D): the two vectors in row $i$ have the same length, which is not 1 and differs from row
# to row; they never point the same way or in opposite ways. `share` is a number from 0 to 1. **Asked:** the points on the n
# arcs, a tensor of shape (n, D). **Checked:** the values, for several n, D and shares.

# %% tags=["solution:along_the_arc"]
def along_the_arc(a, b, share):
    """(n, D), (n, D), a number -> (n, D)"""
    ### BEGIN SOLUTION
    cosine = F.cosine_similarity(a, b, dim=1)[:, None]            # (n, 1): the lengths are divided away
    w = torch.acos(cosine)                                        # (n, 1), in radians
    return (torch.sin((1 - share) * w) * a + torch.sin(share * w) * b) / torch.sin(w)
    ### END SOLUTION

# %% tags=["test:check_along_the_arc:3"]
check.along_the_arc(along_the_arc)
### BEGIN HIDDEN TESTS
_a, _b = 5 * F.normalize(torch.randn(4, 6), dim=1), 5 * F.normalize(torch.randn(4, 6), dim=1)
_road = torch.stack([along_the_arc(_a.clone(), _b.clone(), _k / 6) for _k in range(7)])      # (7, 4, 6)
torch.testing.assert_close(_road.norm(dim=2).float(), torch.full((7, 4), 5.0), rtol=1e-3, atol=1e-3)
torch.testing.assert_close(_road[0].float(), _a, rtol=1e-3, atol=1e-3)
_steps = (_road[1:] - _road[:-1]).norm(dim=2)
torch.testing.assert_close(_steps, _steps[:1].expand(6, 4), rtol=1e-2, atol=1e-3)
### END HIDDEN TESTS

# %% [markdown]
# ## 2 · From a caption's vector to a picture's (3 points)
#
# The prior is a velocity: `prior(x, t, y)` says where `x` should go at the times `t`, if the caption has the vector `y`. All
# zeros in place of `y` mean "no caption". Sample with **Euler's method** and guidance:
#
# - start at `noise`, at $t = 0$, and make `steps` equal steps to $t = 1$;
# - each step moves along the velocity at its start, by 1 / `steps`;
# - the velocity is the one without caption plus `scale` times the difference, with caption minus without;
# - at last put each vector back to where CLIP's vectors lie in lesson 72: the length $\sqrt D$.
#
# **Given** `prior`, a function of `x` (n, D), `t` (n,) and `y` (n, D) that returns (n, D); `y` and `noise` of shape (n, D); the
# numbers `steps` and `scale`. **Asked:** the vectors, a tensor of shape (n, D). **Checked:** the values, for several sizes,
# numbers of steps and scales.

# %% tags=["solution:imagine"]
def imagine(prior, y, noise, steps, scale):
    """A velocity, (n, D), (n, D), two numbers -> (n, D)"""
    ### BEGIN SOLUTION
    x = noise
    nothing = torch.zeros_like(y)
    for i in range(steps):
        t = torch.full((len(x),), i / steps)                      # (n,)
        without = prior(x, t, nothing)
        velocity = without + scale * (prior(x, t, y) - without)
        x = x + velocity / steps
    return F.normalize(x, dim=1) * x.shape[1] ** 0.5
    ### END SOLUTION

# %% tags=["test:check_imagine:3"]
check.imagine(imagine)
### BEGIN HIDDEN TESTS
_y, _noise = torch.randn(3, 4), torch.randn(3, 4)
_got = imagine(lambda x, t, y: (2 * y + 1 - x) / (1 - t[:, None]), _y.clone(), _noise.clone(), 5, 1.5)
torch.testing.assert_close(_got.float(), 2 * F.normalize(1 + 1.5 * 2 * _y, dim=1), rtol=1e-3, atol=1e-3)
_got = imagine(lambda x, t, y: t[:, None] + 0 * x, _y.clone(), torch.zeros(3, 4), 4, 1.0)
torch.testing.assert_close(_got.float(), torch.ones(3, 4), rtol=1e-3, atol=1e-3)
### END HIDDEN TESTS

# %% [markdown]
# ## 3 · Find the bug (3 points)
#
# The prior learns from pairs. To have more of them, each face got K captions: first all N faces were described once, then all
# of them again, and so on; so `y` of shape (K · N, D) holds the captions' vectors of round 1, then those of round 2, ... The
# function below puts each caption's vector beside the vector of its picture. It runs without an error, and the prior that is
# trained on its pairs gets a lower and lower loss. But what it imagines has nothing to do with the caption. There is **one
# bug**, in one line.

# %%
def pairs_broken(z, y):
    rounds = len(y) // len(z)
    pictures = z.repeat_interleave(rounds, dim=0)
    return pictures, y

# %%
told = seeded(0)
some = faces.train.shown[:200]
z_some = model.image(faces.train.x[:200])                         # (200, 64)
rounds = [model.text([caption(row, told) for row in some]) for _ in range(3)]
y_some = torch.cat(rounds)                                        # (600, 64)
pictures, captions = pairs_broken(z_some, y_some)
cosine = F.cosine_similarity(pictures, captions, dim=1)
print("shapes:", tuple(pictures.shape), tuple(captions.shape))
claim("mean cosine of a picture and the caption beside it", cosine.mean(), "<", 0.5)

# %% [markdown]
# **Given** `z` of shape (N, D) and `y` of shape (K · N, D), in rounds as described. **Asked:** `pairs`, the same function
# without the bug: `pictures` and `captions`, each of shape (K · N, D), in which row $i$ of the first belongs to row $i$ of the
# second, and `captions` is `y` as it came. **Checked:** the values, for several N and K.
#
# What did the broken prior learn, so that its loss could fall at all?

# %% tags=["solution:pairs"]
def pairs(z, y):
    """(N, D), (K * N, D) -> (K * N, D), (K * N, D)"""
    ### BEGIN SOLUTION
    rounds = len(y) // len(z)
    pictures = z.repeat(rounds, 1)                                # all pictures, and all of them again
    return pictures, y
    ### END SOLUTION

# %% tags=["test:check_pairs:3"]
check.pairs(pairs)
### BEGIN HIDDEN TESTS
_z = torch.arange(5.0).view(5, 1)
_pictures, _captions = pairs(_z.clone(), torch.cat([_z + 10, _z + 20, _z + 30]))
assert _pictures.flatten().tolist() == [0, 1, 2, 3, 4] * 3, "row i of both do not belong together"
assert _captions.flatten().tolist() == [*range(10, 15), *range(20, 25), *range(30, 35)], "y should stay"
### END HIDDEN TESTS

# %% [markdown]
# ## 4 · Measure: what else has changed? (3 points)
#
# 60 faces with red hats get blue ones by a text difference, each with another share of the way, from 0.15 to 0.75. The reader
# says what they show before and after.

# %%
hat = NAMES.index("hat")
worn = (faces.test_seen.shown[:, hat] == 1).nonzero()[:60, 0]
x = faces.test_seen.x[worn]                                       # (60, 3, 16, 16)
before = faces.test_seen.shown[worn]                              # (60, 8)
z = model.image(x)
noise = model.noise_behind(x, z, guidance=1.0)
shares = torch.linspace(0.15, 0.75, 60)[:, None]                  # (60, 1)
turned = text_difference(z, model.text("a red hat"), model.text("a blue hat"), shares)
changed = model.draw(turned, noise=noise, guidance=1.0)
after = read(changed)                                             # (60, 8)
print(NAMES)
print("before:", before[30].tolist(), "  after:", after[30].tolist())

# %%
# Figure: two rows of eight faces: with red hats, and the same faces after the change, at growing shares of
# the way.
plots.strip({"before": x[::8], "after": changed[::8]});

# %% [markdown]
# **Given** `before` and `after`, each of shape (60, 8): the numbers of the values, in the order of `NAMES`. In `before`, −1
# (`UNSAID`) stands for what cannot be seen in the picture; the reader answers there too, and its answer means nothing. A blue
# hat is the value 2. **Asked:** `unchanged`. Among the faces whose hat is blue *after*, what is the share in which every other
# attribute that could be seen before is as it was? **Checked:** your number, within 1 percent.

# %% tags=["solution:unchanged"]
unchanged = ...  # set it to your number at the end
### BEGIN SOLUTION
is_blue = after[:, hat] == 2                                      # (60,)
as_before = (after == before) | (before == UNSAID)                # (60, 8)
as_before[:, hat] = True                                          # the hat shall change
unchanged = as_before[is_blue].all(dim=1).double().mean().item()
claim("blue hats, of 60", is_blue.sum(), ">", 40)
### END SOLUTION

# %% tags=["test:check_unchanged:3"]
check.unchanged(unchanged, before, after)
### BEGIN HIDDEN TESTS
_unclip, _part = checkpoint.load("unclip"), load("avatars").test_seen
_worn = (_part.shown[:, 3] == 1).nonzero()[:60, 0]
_z = _unclip.image(_part.x[_worn]).detach()
_red, _blue = _unclip.text(["a red hat", "a blue hat"]).detach().split(1)
_way = text_difference(_z, _red, _blue, torch.linspace(0.15, 0.75, 60)[:, None])
_noise = _unclip.noise_behind(_part.x[_worn], _z, guidance=1.0)
_seen = read(_unclip.draw(_way, noise=_noise, guidance=1.0)).tolist()
_rows = [[_b == -1 or _b == _a or _k == 3 for _k, (_b, _a) in enumerate(zip(_old, _new))]
         for _old, _new in zip(_part.shown[_worn].tolist(), _seen) if _new[3] == 2]
assert abs(float(unchanged) - sum(map(all, _rows)) / len(_rows)) < 0.02, "another number comes out"
### END HIDDEN TESTS

# %% [markdown]
# ## 5 · Obedience and variety (3 points)
#
# Three ways to find a vector for the decoder: the caption's own; the caption's, moved over the gap; sampled by the prior, another
# one each time. Obedience is measured with 60 captions of test faces, variety with 40 pictures of "a person with a beard", which
# start from the same 40 noises in all three ways.

# %% tags=["nbval-ignore-output"]
# not compared: measured shares
told = seeded(3)
gap = model.image(faces.train.x[:500]).mean(0) - model.text(
    [caption(row, told) for row in faces.train.shown[:500]]).mean(0)              # (64,)

def vectors(captions, way):
    own = model.text(captions)
    return {"caption": own, "moved": own + gap, "prior": model.imagine(captions, seeded(4))}[way]

wish = "a person with a beard"
long = [caption(row, told) for row in faces.test_seen.shown[:60]]
wanted = torch.stack([said(text) for text in long])
for way in ("caption", "moved", "prior"):
    obeyed = obeys(model.draw(vectors(long, way), seeded(5)), wanted).all(1).double().mean()
    spread = model.draw(vectors([wish] * 40, way), seeded(5)).std(0).mean()
    print(f"{way:8} captions obeyed {obeyed:.1f}   deviation of a pixel among the 40 {spread:.2f}")

# %% [markdown]
# **Explain** in five to eight sentences. (i) Why does the decoder draw badly from the caption's own vector, although CLIP was
# trained to bring captions and pictures together? (ii) Moving costs one line and restores obedience. Why do the pictures remain
# nearly the same, although each starts from another noise? (iii) A friend replaces the prior by a network that is trained with
# squared error to predict the picture's vector from the caption's. Which of the two numbers will be good, which will not, and
# why?

# %% [markdown] tags=["manual:explain_variety:3"]
# (i) CLIP's loss compares: a caption must be nearer to its picture than to other pictures. It does not ask that the two vectors
# are equal, and they are not: all captions lie on one side, all pictures on the other. The decoder was trained on vectors of
# pictures alone, so a caption's vector is an input of a kind that it never met. (ii) The moved vector is the same for all 40
# pictures. The decoder has learned that everything that CLIP sees, shirt, skin and mood among it, is fixed by the vector, and
# only details come from the noise. The caption says nothing about the shirt, but its vector still has some value there, near the
# average, and the decoder obeys that value each time. (iii) It learns the mean of all vectors that the caption could mean. Its
# pictures will obey, since the mean keeps what all of them have in common, the beard. But there is one mean for one caption, so
# the variety stays as low as with the moved caption: what is left open must be sampled.
#
# **Rubric.** 1 point: (i) the gap: contrastive training brings them nearer than others, not together, and the decoder knows one
# side only. 1 point: (ii) one caption, one vector, and the vector fixes all that CLIP sees; the noise only decides the rest.
# 1 point: (iii) squared error gives the conditional mean: obedience good, variety not.

# %% [markdown]
# ## 6 · Your own question (4 points)
#
# Ask a question about unCLIP that the lesson does not answer, **write down your guess**, and find out with `model` and `read`.
# Examples: DALL·E 2 samples two vectors and keeps the one nearer to the caption: what does that do to obedience and variety, for
# two, four, sixteen? Does guidance in the prior (`prior_guidance=`) help, and what does it cost? How few steps are enough in
# each of the two flows? Can a sum of two captions' vectors stand for both? Do text differences work as well for skin or mood as
# for hats? Your code shall run in less than a minute.

# %% tags=["solution:own_experiment"]
wanted = torch.stack([said(wish)] * 60)
for n in (1, 4, 16):
    z = model.imagine([wish] * 60 * n, seeded(6)).view(60, n, 64)
    nearness = F.cosine_similarity(z, model.text(wish)[:, None], dim=2)          # (60, n)
    best = z[torch.arange(60), nearness.argmax(1)]                # (60, 64)
    drawn = model.draw(best, seeded(7))
    share = obeys(drawn, wanted).all(1).double().mean()
    spread = drawn.std(0).mean()
    claim(f"best of {n}: pictures that obey", share, ">", 0.9)
    claim(f"best of {n}: deviation of a pixel", spread, ">", 0.05)

# %% [markdown]
# Write here: your question, your guess, what you did, what came out (a number or a figure), how sure you are of it, and what
# you would try next. Half a page is plenty.

# %% [markdown] tags=["manual:own_question:4"]
# *An example of an answer.* **Question:** what does it cost to keep the best of n sampled vectors? **Guess:** obedience rises a
# little, variety falls. **Experiment:** 60 pictures of "a person with a beard" for n = 1, 4 and 16, from the same 60 noises of
# the decoder; of each n vectors that with the largest cosine to the caption's vector is drawn. **Result:** nearly all obey already
# with n = 1, so there is little to gain; the deviation of a pixel falls with n, since the nearest vectors are alike. **Sure?** Of
# this caption: it falls at each step from 1 to 4 to 16, by a sixth in all. For captions that ask for many things n may help. **Next:** captions of test faces, of which one in a hundred is not obeyed; 1,000 of them, to see a difference.
#
# **Rubric.** 1 point: a question that can be answered by an experiment, and a guess made before. 1 point: one thing is changed
# and the rest held fixed, the noise among it. 1 point: a number or a figure with labelled axes, described truthfully, whether
# or not it agrees with the guess. 1 point: says how sure the result is (several draws, a standard error) or what might be wrong
# with it.
