# %% [markdown]
# # Exercise 63 · Guidance
#
# Five tasks on lesson 63: three pieces of code, one measurement, two short texts. They take about two hours, and run in
# some ten seconds. Most of it happens on the ring of eight Gaussians, where the perfect network is known as a formula.
#
# - Write your answer **in place of** `raise NotImplementedError()`, then run the cell and the check below it.
# - A check prints `ok:` and the name of the task, or one sentence about what is wrong. It tries your function on
#   several random inputs, also on a single example. It looks at what your function returns, never at how it is written.
# - `hint()` says more about the last mistake that a check has found. Call it in a cell of its own, as below.
# - You may add cells of your own anywhere. Change neither the checks nor the first line of a function.
# - Points stand beside each task. Tasks 1, 2a, 3 and 4 are graded by a program, which also runs your functions on
#   inputs that you do not see here; 2b and 5 are read by a person.

# %%
import math
from functools import partial

import matplotlib.pyplot as plt
import torch
from torch import nn

from course_lib import diffusion
from course_lib.checks import guidance as check
from course_lib.checks import hint
from course_lib.claims import claim
from course_lib.data import toys
from course_lib.device import seed, seeded
from course_lib.plots import COLOURS, scatter  # noqa: F401 (scatter is for the learner)

ring = toys.ring(std=0.2)                                         # 8 Gaussians; a label is a Gaussian
alphas_cumprod = diffusion.linear_alphas_cumprod(100)             # 100 steps of noise

# %%
# Stuck after a check? Run hint(): it says where to look first, then how, and the code only at last.
hint()

# %% [markdown]
# On the ring, what a perfectly trained network would say can be written down (lesson 61): noisy points of a Gaussian
# are Gaussian again, and the best guess of the noise points from the mean of all that could have led here. The labels
# are 0 to 7; 8 is the empty label, with which the network knows nothing but the ring.

# %%
def perfect(x, t, y, dots=ring):
    """Best guess of the noise in points of a ring.  x (B, 2), t (B,), labels y (B,), 8 empty -> (B, 2)"""
    a = alphas_cumprod[t][:, None]                                # (B, 1)
    var = a * dots.std**2 + 1 - a                                 # (B, 1)
    log_p = -(x[:, None] - a[:, None].sqrt() * dots.means).square().sum(2) / (2 * var)          # (B, 8)
    y = torch.as_tensor(y).expand(len(x))[:, None]
    log_p = log_p.masked_fill((y != 8) & (y != torch.arange(8)), -math.inf)
    return (1 - a).sqrt() * (x - a.sqrt() * (log_p.softmax(1) @ dots.means)) / var

# %% [markdown]
# ## 1 · A strength for each example (2 points)
#
# Guidance asks the network twice, with the label and with the empty label. It starts at the answer *without* the
# label and walks towards the answer *with* it: all the way at scale 1, and beyond at larger scales. To compare
# several strengths in one picture, we want one for each example.
#
# **Given** `model`, noisy examples `x` of shape (B, 2) or (B, 1, H, W), times `t` (B,), labels `y` (B,), the number
# `null` of the empty label, and `scale` (B,). `model(x, t, y)` returns its guess of the noise, of the shape of `x`.
# **Asked:** the guided guess, of the shape of `x`. **Checked:** the values, for points and for images, also for B = 1.

# %% tags=["solution:guided_prediction"]
def guided_prediction(model, x, t, y, null, scale):
    """(B, ...), times (B,), labels (B,), a label, strengths (B,) -> (B, ...)"""
    ### BEGIN SOLUTION
    with_label = model(x, t, y)
    without = model(x, t, torch.full_like(y, null))
    return without + scale.view(-1, *[1] * (x.ndim - 1)) * (with_label - without)
    ### END SOLUTION

# %% tags=["test:check_guided_prediction:2"]
check.guided_prediction(guided_prediction)
### BEGIN HIDDEN TESTS
_x, _t, _y, _scale = torch.randn(6, 2), torch.arange(6) * 15, torch.arange(6), torch.arange(6) / 2
_got = guided_prediction(perfect, _x.clone(), _t, _y.clone(), 8, _scale.clone())
_want = torch.stack([(1 - s) * perfect(x[None], t[None], 8)[0] + s * perfect(x[None], t[None], y[None])[0]
                     for x, t, y, s in zip(_x, _t, _y, _scale)])
torch.testing.assert_close(_got.float(), _want, rtol=1e-3, atol=1e-4)
def _paint(x, t, y):
    return x * torch.as_tensor(y).view(-1, 1, 1, 1)
_got = guided_prediction(_paint, torch.ones(2, 1, 3, 3), torch.zeros(2).long(), torch.tensor([2, 3]), 5,
                         torch.tensor([2.0, 0.5]))
torch.testing.assert_close(_got[:, 0, 0, 0].float(), torch.tensor([-1.0, 4.0]), rtol=1e-3, atol=1e-4)
### END HIDDEN TESTS

# %% [markdown]
# Look at what it does, in a cell of your own: `draw(lambda x, t, y: guided_prediction(perfect, x, t, y, 8,
# torch.full((len(x),), 2.0)), 3)` gives 1,000 points for label 3, and `scatter` shows them. Try the scales 0, 1, 2
# and 5.

# %%
def draw(model, label, n=1000, steps=25):
    """n points of model(x, t, y), all with the same label (n, 2)"""
    x = torch.randn(n, 2, generator=seeded(5))
    return diffusion.ddim(lambda x, t: model(x, t, torch.full((len(x),), label)), x, alphas_cumprod, steps)

# %% [markdown]
# ## 2 · A network that cannot forget
#
# ### 2a · Find the bug (3 points)
#
# To know an answer without a label, the network must be trained without one now and then. This loss erases each label
# with probability 0.1. The random numbers come from outside: `u` are B uniform ones between 0 and 1, one coin for
# each example. It runs without an error, and the network learns seven of eight labels well. But it has **one bug**,
# in one line.

# %%
def label_loss_broken(model, x0, y, t, eps, u):
    x_t = diffusion.q_sample(x0, t, eps, alphas_cumprod)          # (B, 2)
    keep = u >= 0.1                                               # (B,) nine of ten
    seen = y * keep                                               # (B,) the labels that the network sees
    guess = model(x_t, t, seen)                                   # (B, 2)
    return (guess - eps).square().mean()

# %%
class Painter(nn.Module):
    """model(x, t, y) for points of the plane; the row of label 8 describes the empty label."""

    def __init__(self, n=64):
        super().__init__()
        self.label = nn.Embedding(9, 16)
        self.layers = nn.Sequential(nn.Linear(20, n), nn.SiLU(), nn.Linear(n, n), nn.SiLU(),
                                    nn.Linear(n, n), nn.SiLU(), nn.Linear(n, 2))

    def forward(self, x, t, y):
        time = t[:, None] / 100                                   # (B, 1)
        return self.layers(torch.cat([x, time, time.sqrt(), self.label(y)], dim=1))

# %%
def train(loss_fn, steps=800, n=0):
    """A new painter, trained on the ring with this loss from the seed n."""
    seed(n)
    model = Painter()
    adam = torch.optim.Adam(model.parameters(), lr=1e-2)
    slower = torch.optim.lr_scheduler.LinearLR(adam, 1, 0, steps)
    for _ in range(steps):
        x0, y = ring.sample_labelled(256)
        loss = loss_fn(model, x0, y, torch.randint(100, (256,)), torch.randn(256, 2), torch.rand(256))
        adam.zero_grad()
        loss.backward()
        adam.step()
        slower.step()
    return model

broken = train(label_loss_broken)

# %% [markdown]
# *Figure: three times the eight dots of the ring in grey, over them in orange what the broken network draws. Left,
# for label 3: one dot, filled. Middle, for label 0: the first dot is dense, but many points lie on all others and
# between them. Right, for label 3 with guidance of scale 2 by the empty label 8: a streak of points outside
# the ring, on no dot.*

# %% tags=["nbval-ignore-figure"]
# not compared: the network was trained in this notebook
three, zero = draw(broken, 3), draw(broken, 0)
strong = draw(lambda x, t, y: diffusion.guided(broken, 3, 8, 2.0)(x, t), 3)
fig, axes = plt.subplots(1, 3, figsize=(9, 3.2), sharex=True, sharey=True)
titles = "label 3", "label 0", "label 3, guided, scale 2"
for ax, title, points in zip(axes, titles, (three, zero, strong)):
    ax.scatter(*ring.sample(1000, seeded(1)).T, s=3, color="0.8")
    ax.scatter(*points.T, s=4, color=COLOURS[1])
    ax.set(title=title, xlabel="$x_1$", aspect="equal", xlim=(-4, 4), ylim=(-4, 4))
axes[0].set_ylabel("$x_2$");

# %% [markdown]
# In numbers, a point belongs to the dot that is nearest to it, and counts if it lies within 1 of its centre:

# %%
def share(points, label):
    """The share of the points (n, 2) that lie on the dot of this label."""
    distance, nearest = torch.cdist(points, ring.means).min(1)    # (n,), (n,)
    return ((nearest == label) & (distance < 1)).float().mean()

claim("label 3: share on its dot", share(three, 3), ">", 0.9)
claim("label 0: share on its dot", share(zero, 0), "<", 0.75)
claim("label 3, guided: share on its dot", share(strong, 3), "<", 0.85)

# %% [markdown]
# **Given** clean points `x0` (B, 2), their labels `y` (B,) from 0 to 7, times `t` (B,), the noise `eps` (B, 2), and
# `u` (B,). **Asked:** `label_loss`, the same function without the bug. Copy the one above, find the line, and repair
# it; everything else is right. **Checked:** the loss, and its gradient with respect to `x0`. Then train with it and
# compare: `share(draw(train(label_loss), 0), 0)`.

# %% tags=["solution:label_loss"]
def label_loss(model, x0, y, t, eps, u):
    """(B, 2), labels (B,), times (B,), noise (B, 2), coins (B,) -> loss ()"""
    ### BEGIN SOLUTION
    x_t = diffusion.q_sample(x0, t, eps, alphas_cumprod)
    keep = u >= 0.1
    seen = torch.where(keep, y, 8)                                # 0 is a label too; the empty one is 8
    guess = model(x_t, t, seen)
    return (guess - eps).square().mean()
    ### END SOLUTION

# %% tags=["test:check_label_loss:3"]
check.label_loss(label_loss)
### BEGIN HIDDEN TESTS
def _says_the_label(x, t, y):
    return 0 * x + torch.as_tensor(y).expand(len(x))[:, None]
_eps = torch.randn(4, 2)
_loss = label_loss(_says_the_label, torch.randn(4, 2), torch.tensor([5, 0, 2, 0]),
                   torch.tensor([3, 50, 7, 99]), _eps.clone(), torch.tensor([0.05, 0.5, 0.95, 0.01]))
_said = torch.tensor([[8.0], [0.0], [2.0], [8.0]])
assert abs(float(_loss) - float((_said - _eps).square().mean())) < 1e-3
### END HIDDEN TESTS

# %% [markdown]
# ### 2b · What had it learned? (3 points)
#
# **Explain** in four to eight sentences, with the broken loss before you.
#
# - Which examples does the network see under the label 0? If it learns them perfectly, what share of the points that
#   it draws for label 0 lies on dot 0? (All eight labels are equally frequent. The figure shows a little less,
#   because the network is small.)
# - What has the network learned about label 8, and what does that do to guidance at scales 1 and 2?
# - A friend leaves the training as it is and takes 0 for the empty label in guidance: `guided(broken, y, 0, 2.0)`.
#   What happens for y = 0, and what is wrong for the other labels?

# %% [markdown] tags=["manual:explain_label_zero:3"]
# Under label 0 the network sees the points of dot 0, an eighth of all, and a tenth of the points of every other dot.
# Of the examples with this label, $\tfrac18 \big/ \bigl(\tfrac18 + \tfrac1{10} \cdot \tfrac78\bigr) = \tfrac{10}{17}
# = 0.59$ lie on dot 0, and each other dot gets $\tfrac1{17}$. That is what it draws. Label 8 never occurs in
# training, so its row of the embedding is what it was at the start, random numbers, and what the network says for it
# means nothing. At scale 1 that does no harm, because the answer without label has the weight $1 - \text{scale} = 0$.
# At scale 2 its weight is $-1$, so the samples go astray. With 0 as the empty label, both answers are the same for y
# = 0: their difference is zero, and the scale has no effect; label 0 cannot be guided, and still draws the whole
# ring. For the other labels there is a direction now, but not from the ring to the dot: the "unconditional" model has
# a preference for dot 0, so guidance pushes away from dot 0 more than from all others.
#
# **Rubric.** 1 point: 10/17, or 0.59, with its reason; allow small errors of arithmetic. 1 point: label 8 was never
# trained, so its answer is arbitrary; harmless at scale 1 (weight 0), harmful beyond. 1 point: for y = 0 the
# difference is zero and the scale does nothing; for other labels the reference is not the unconditional model (it
# prefers dot 0). Half of this point for one of the two.

# %% [markdown]
# ## 3 · Paint what is missing (3 points)
#
# Half of an image is known, and a trained network shall paint the rest. Nothing has to be trained for it. The sampler
# makes its step on the whole image, and then the known pixels of the result are replaced by the true ones: not clean,
# but with as much noise as the sampler's result has at this time, since the network expects an image that is noisy
# everywhere.
#
# **Given** `eps`, the network's guess of the noise in `x_t`, both of shape (B, ...); the time `t` of `x_t`, and the
# time `t_next` of the result, two whole numbers; the clean `known`, of which only the pixels count where `mask` is
# True, both of the shape of `x_t`; standard normal `noise` of this shape, for the known pixels; and `alphas_cumprod`.
# As in `diffusion.ddim_step`, which you may use, `t_next = -1` stands for the clean image.
#
# **Asked:** the state at the time `t_next`: the step of DDIM where nothing is known, and where `mask` is True the
# known pixels, with the noise of this time. **Checked:** the values, for points and images, on the way and in the
# last step.

# %% tags=["solution:inpaint_step"]
def inpaint_step(eps, x_t, t, t_next, known, mask, noise, alphas_cumprod):
    """(B, ...), (B, ...), two times, (B, ...), (B, ...) bool, (B, ...), (T,) -> (B, ...)"""
    ### BEGIN SOLUTION
    x = diffusion.ddim_step(eps, x_t, t, t_next, alphas_cumprod)
    a = alphas_cumprod[t_next] if t_next >= 0 else torch.tensor(1.0)
    return torch.where(mask, a.sqrt() * known + (1 - a).sqrt() * noise, x)
    ### END SOLUTION

# %% tags=["test:check_inpaint_step:3"]
check.inpaint_step(inpaint_step)
### BEGIN HIDDEN TESTS
_a = torch.tensor([0.9, 0.64, 0.25])
_x0, _eps, _known, _noise = (torch.randn(3, 1, 2, 2) for _ in range(4))
_mask = torch.tensor([[True, False], [False, True]]).expand(3, 1, 2, 2)
def _step(x_t, t, t_next):
    return inpaint_step(_eps.clone(), x_t, t, t_next, *(v.clone() for v in (_known, _mask, _noise, _a))).float()
_got = _step(0.5 * _x0 + 0.75**0.5 * _eps, 2, 1)
torch.testing.assert_close(_got, torch.where(_mask, 0.8 * _known + 0.6 * _noise, 0.8 * _x0 + 0.6 * _eps),
                           rtol=1e-3, atol=1e-4)
_got = _step(0.9**0.5 * _x0 + 0.1**0.5 * _eps, 0, -1)
torch.testing.assert_close(_got, torch.where(_mask, _known, _x0), rtol=1e-3, atol=1e-4)
### END HIDDEN TESTS

# %% [markdown]
# Try it: `scatter(inpaint(inpaint_step, 0.0))` completes points of which the first coordinate is known to be 0. The
# dots there are (0, 2) and (0, −2). What else do you find, and where does it come from?

# %%
def inpaint(step, first, label=8, n=1000):
    """Points (n, 2) whose first coordinate is known; the second is painted by the perfect network."""
    g = seeded(0)
    x, known = torch.randn(n, 2, generator=g), torch.tensor([first, 0.0]).expand(n, 2)
    mask = torch.tensor([True, False]).expand(n, 2)
    for t in reversed(range(100)):
        eps = perfect(x, torch.full((n,), t), label)
        x = step(eps, x, t, t - 1, known, mask, torch.randn(n, 2, generator=g), alphas_cumprod)
    return x

# %% [markdown]
# ## 4 · Measure: what does guidance draw? (2 points)
#
# By Bayes' rule $p(y \mid x) \propto p(x \mid y) / p(x)$. So the guided guess at scale $w$ looks like the score of
# $p(x)\, p(y \mid x)^w \propto p(x \mid y)^w\, p(x)^{1-w}$, and it is often said that guided samples come from this
# density. A case in which everything is a bell curve can tell. Heights of people are normal; in suitable units $p(x)
# = \mathcal N(0, 1)$. The label 0 says "tall": $p(x \mid 0) = \mathcal N(1,\, 0.6^2)$. Label 1 is the empty one. The
# perfect network is one line:

# %%
def heights(x, t, y):
    """Best guess of the noise in heights x (B, 1), at t (B,) of 1,000 steps, labels y (B,) -> (B, 1)"""
    a, tall = slow_alphas_cumprod[t][:, None], (y == 0)[:, None]
    mean, var = torch.where(tall, 1.0, 0.0), torch.where(tall, 0.6**2, 1.0)
    return (1 - a).sqrt() * (x - a.sqrt() * mean) / (a * var + 1 - a)

slow_alphas_cumprod = diffusion.linear_alphas_cumprod(1000)

# %% [markdown]
# **Asked:** `guided_spread`, the standard deviation of samples for the label 0 at **scale 3**, drawn by
# `diffusion.ddim`. **Checked:** your number, within 6 percent; at least 10,000 samples and 250 of the 1,000 steps
# come near enough.
#
# Before you run it, compute what $p(x \mid 0)^3\, p(x)^{-2}$ would give (the exponent is a parabola in $x$; the
# number in front of $-x^2/2$ is one over the variance), and write down your guess.

# %% tags=["solution:guided_spread"]
guided_spread = ...  # set it to your number at the end
### BEGIN SOLUTION
def spread_at(scale, n=10_000, steps=250):
    x = torch.randn(n, 1, generator=seeded(0))
    guess = diffusion.guided(heights, 0, 1, scale)
    return diffusion.ddim(guess, x, slow_alphas_cumprod, steps).std().item()

guided_spread = spread_at(3.0)
on_paper = (3 / 0.6**2 - 2) ** -0.5                               # of p(x | 0)^3 p(x)^-2
claim("spread of p(x | 0)^3 / p(x)^2, on paper", on_paper, ">", 0.39)
claim("spread of the guided samples", guided_spread, "<", 0.23)
claim("as a share of 0.6 cubed", guided_spread / 0.6**3, ">", 0.95)  # exact for small steps
### END SOLUTION

# %% tags=["test:check_guided_spread:2"]
check.guided_spread(guided_spread)
### BEGIN HIDDEN TESTS
assert 0.203 < float(guided_spread) < 0.229, "the spread is not within 6 percent of 0.216"
### END HIDDEN TESTS

# %% [markdown]
# ## 5 · Your own question (4 points)
#
# Ask a question about guidance that the lesson does not answer, **write down your guess**, and find out. Examples:
# When does guidance matter, early in the noise or late? What if the empty label is replaced by another *class*, from
# which to keep away (a negative prompt)? In-painting in task 3 put some points where no data are: does it help to go
# back and forth, to make $x$ noisy again after a step and repeat it (Lugmayr et al., 2022), or to say the label? How
# does the spread in task 4 depend on the scale, and where does the mean go? Which digit of the lesson's checkpoint
# gains most by guidance? Your code shall run in less than a minute.

# %% tags=["solution:own_experiment"]
blurred = partial(perfect, dots=toys.ring(std=0.5))               # dots that overlap
times = {"never": (0, 0), "t < 20": (0, 20), "20 ... 59": (20, 60), "t >= 60": (60, 100),
         "always": (0, 100)}

def limited(low, high, scale=3.0):
    """Guidance only at these times.  -> share on the asked dot, spread, distance of the points from 0"""
    def model(x, t, y):
        return diffusion.guided(blurred, y, 8, scale if low <= t[0] < high else 1.0)(x, t)
    points = draw(model, 1, steps=100)
    nearest = torch.cdist(points, ring.means).argmin(1)
    return (nearest == 1).float().mean(), points.std(0).mean(), points.mean(0).norm()

table = {name: torch.stack(limited(*when)) for name, when in times.items()}
fig, axes = plt.subplots(1, 3, figsize=(9, 2.4), sharey=True)
labels = "share on the asked dot", "spread of the points", "distance from the middle"
for ax, column, label in zip(axes, torch.stack(list(table.values())).T, labels):
    ax.barh(list(table), column)
    ax.set_xlabel(label)
claim("share on the dot without guidance", table["never"][0], "<", 0.93)
claim("with guidance at t < 20 only", table["t < 20"][0], ">", 0.99)
wider = table["t < 20"][1] / table["always"][1]
claim("its spread, as a share of that with guidance always", wider, ">", 1.3)

# %% [markdown]
# Write here: your question, your guess, what you did, what came out (a number or a figure), how sure you are of it,
# and what you would try next. Half a page is plenty.

# %% [markdown] tags=["manual:own_question:4"]
# *An example of an answer.* **Question:** when does guidance matter? **Guess:** early, while the noise decides which
# dot a point will belong to. **Experiment:** the perfect network on a ring whose dots overlap (standard deviation
# 0.5), label 1, scale 3 in one part of the 100 times and 1 in the others; share of 1,000 points that are nearest to
# the dot that was asked for, their spread, and the distance of their mean from the middle, which is 2 for the dot.
# **Result:** without guidance 90 percent are on the right dot. Guidance at the last times, t < 20, brings all of them
# there, that at the noisiest, t >= 60, only 95 percent: the opposite of what I had guessed. The distance is 2.1 for
# the late guidance, and 2.9 when guidance is always on; the spread 0.34 against 0.23 (0.47 without). So late guidance
# removes the points between the dots and leaves more of the variety; guidance in the middle and early pushes everything
# outwards. **Sure?** The share has a standard error of 1 percent without guidance; the other differences are much
# larger, and the network is exact. But dots that overlap are a special case: where two classes are far apart, the
# decision falls earlier. **Next:** the same on digits, with the judge's accuracy and recall; Kynkäänniemi et al.
# (2024) found that guidance in the middle of the way is best for photographs.
#
# **Rubric.** 1 point: a question that can be answered by an experiment, and a guess made before. 1 point: one thing
# is changed and the rest held fixed. 1 point: a number or a figure with labelled axes, described truthfully, whether
# or not it agrees with the guess. 1 point: says how sure the result is (several seeds, the spread of a share) or what
# might be wrong with it.
