# %% [markdown]
# # 81 · Synthetic data: models that learn from models
#
# Labelled pictures are expensive, and a generator makes as many as you like. So why not train a classifier on
# generated ones? And since the web fills up with the work of models, what becomes of the models that are trained on
# that? At the end you will have made the picture below: digits, and what is left of them after ten models that each
# learned from the one before.
#
# **After this lesson you can**
# - measure whether generated data help a classifier, at equal cost, with intervals, and recognise a leak;
# - prove how fast a model that learns from its own samples loses variety, and check the formula;
# - say what keeping the real data repairs, and what it does not.
#
# **You need** lessons [13](13_discriminative_vs_generative.ipynb) (Gaussians, the judge),
# [22](22_self_supervised.ipynb) (few labels), [31](31_vae.ipynb) (VAE) and [64](64_flow_matching.ipynb) (flow). **It
# takes** 70 minutes to read and 40 seconds to run. **How hard:** ••. All symbols are in the
# [table of symbols](symbols.ipynb).
#
# ## Set-up

# %%
import math

import matplotlib.pyplot as plt
import torch
from torch.testing import assert_close

from course_lib.checkpoint import load as load_checkpoint
from course_lib.checkpoint import metadata
from course_lib.claims import claim
from course_lib.data import Batches, load
from course_lib.device import seed, seeded

# %%
from course_lib.metrics import mean_interval
from course_lib.plots import COLOURS, diagram, strip

x, y = load("digits").train                                       # 4,000 images (4000, 1, 28, 28), labels
x_test, y_test = load("digits").test                              # 1,000

# %%
# Figure: four rows of ten digits. Real ones; digits of the tenth mixture of Gaussians in a chain, all of
# which look like the same grey eight; digits of the tenth when the real data were kept, soft but still of
# many kinds; and digits of the tenth VAE in a chain, which are crisp.
tenth = {"real": x_test[:10]}
for name, title in (("mixture_tenth", "tenth mixture"), ("mixture_kept", "... real data kept"),
                    ("vae_tenth", "tenth VAE")):
    tenth[title] = load_checkpoint(name).sample(10, generator=seeded(0))
strip(tenth);

# %% [markdown]
# The second row was drawn by the tenth model in a chain of models, each of which learned from the one before. It has one
# digit left, a grey eight. The third row comes from a chain of models of the same kind, in which nobody threw the
# real digits away. The last row comes from a chain of VAEs: its digits are crisp, and yet something is missing.
#
# ## What can a generator add?
#
# Twenty points in the plane, ten of each class. To each class we fit a Gaussian, draw 200 new points from it, and add
# them. The classifier is the simplest there is: a new point gets the label of its **nearest neighbour** among the points
# it was given. Two worlds: in *stripes*, each class really is a long thin Gaussian. In *rings*, one class surrounds the
# other.

# %%
def stripes(n, g):
    label = torch.arange(n) % 2
    across = 0.8 * label - 0.4 + 0.15 * torch.randn(n, generator=g)
    return torch.stack([2 * torch.randn(n, generator=g), across], dim=1), label

# %%
def rings(n, g):
    label = torch.arange(n) % 2
    radius = 1 + label + 0.15 * torch.randn(n, generator=g)
    angle = 2 * math.pi * torch.rand(n, generator=g)
    return torch.stack([radius * angle.cos(), radius * angle.sin()], dim=1), label

# %%
def drawn_from_gaussians(points, label, n, g):
    """n new points of each class, from the Gaussian with the mean and covariance of its points."""
    new = []
    for k in range(2):
        own = points[label == k]
        scale = torch.linalg.cholesky(torch.cov(own.T))           # (2, 2)
        new.append(own.mean(0) + torch.randn(n, 2, generator=g) @ scale.T)
    return torch.cat(new), torch.arange(2).repeat_interleave(n)

# %%
def right_by_neighbour(points, label, new, truth):
    nearest = torch.cdist(new, points).argmin(1)
    return (label[nearest] == truth).double().mean().item()

# %% [markdown]
# **Write down a guess:** in which of the two worlds do the generated points help?

# %%
def gain(world, number):
    """What generated points add to the share of right answers, in one draw."""
    g = seeded(number)
    points, label = world(20, g)
    new, truth = world(1000, seeded(1000 + number))
    made, made_label = drawn_from_gaussians(points, label, 200, g)
    alone = right_by_neighbour(points, label, new, truth)
    both, both_label = torch.cat([points, made]), torch.cat([label, made_label])
    return right_by_neighbour(both, both_label, new, truth) - alone

# %%
gains = {world.__name__: [gain(world, number) for number in range(20)] for world in (stripes, rings)}
for name, runs in gains.items():
    mean, low, high = mean_interval(runs)
    print(f"{name}: gain {mean:+.2f}, between {low:+.2f} and {high:+.2f}")
claim("lower end of the gain, stripes", mean_interval(gains["stripes"])[1], ">", 0.06)
claim("upper end of the gain, rings", mean_interval(gains["rings"])[2], "<", -0.15)

# %%
# Figure: two panels of points in two colours: left stripes, right rings. Large dots are the twenty
# labelled points, small ones what the Gaussians made of them. In stripes they fill two thin bands; in
# rings the two clouds lie on top of each other.
fig, panels = plt.subplots(1, 2, figsize=(9, 3))
for panel, world in zip(panels, (stripes, rings)):
    g = seeded(0)
    points, label = world(20, g)
    made, made_label = drawn_from_gaussians(points, label, 200, g)
    for k in range(2):
        panel.plot(*made[made_label == k].T, ".", color=COLOURS[k], ms=3, alpha=0.5)
        panel.plot(*points[label == k].T, "o", color=COLOURS[k], ms=7, mec="black", label=f"class {k}")
    panel.set(title=world.__name__, xlabel="$x_1$", ylabel="$x_2$", aspect="equal")
panels[0].legend(fontsize=9);

# %% [markdown]
# <details><summary>Answer</summary>
#
# In stripes they add 10 points of accuracy, in rings they take 20 away.
# </details>
#
# Why? The samples were made from the labelled points and from dice, and from nothing else. So they can hold **no news
# about the world**: whoever has the twenty points could have made them. What they add is the *assumption* of the
# generator, here "each class is a Gaussian", put into a form that the classifier can read. Where it is true, it is worth
# a lot. Where it is false, the classifier learns something false.
#
# ## A fair test on digits
#
# Now we take a hundred labelled digits, ten of each class, and the classifier of lesson 22, which is lesson 12's
# network, a third as wide. Four rules keep the comparison fair:
#
# 1. everybody has the same labelled digits, and the generator has seen **no other digit**;
# 2. everybody has the same computing time for the classifier: 250 batches of 64;
# 3. what costs nothing is a rival: **augmentation**, random distortions of the labelled digits (lesson 12);
# 4. five seeds, of labels, weights and batches; differences are taken seed by seed.

# %% [markdown]
# ## What we will build

# %%
# Figure: a diagram. A hundred labelled digits go to a generator, whose samples are mixed with them, half
# and half, into batches for a classifier, which is measured on test digits. A second arrow leads from
# 4,000 labelled digits to the generator: a leak. Below, a loop: data, model, samples, back to data.
few_box, all_box = "100 labelled\ndigits", "4,000 labelled\ndigits"
generator_box, mixed_box = "generator\n→ (1000, 1, 28, 28)", "batches: half real,\nhalf generated"
classifier_box, right_box = "classifier\n250 batches of 64", "accuracy on\n1,000 test digits"
data_box, model_box, sample_box = "data of round $t$", "model of round $t$", "its samples"
boxes = {few_box: (0, 2), all_box: (0, 1), generator_box: (1.7, 1.5), mixed_box: (3.4, 2),
         classifier_box: (5, 2), right_box: (6.4, 2)}
boxes |= {data_box: (1.7, 0), model_box: (3.4, 0), sample_box: (5, 0)}
arrows = [(few_box, generator_box), (all_box, generator_box), (few_box, mixed_box),
          (generator_box, mixed_box), (mixed_box, classifier_box), (classifier_box, right_box),
          (data_box, model_box), (model_box, sample_box)]
ax = diagram(boxes, arrows, {classifier_box: COLOURS[0], generator_box: COLOURS[0], all_box: COLOURS[1],
                             model_box: COLOURS[0]}, size=(9.5, 3.6))
ax.annotate("", (1.75, -0.2), (4.95, -0.2), arrowprops=dict(arrowstyle="-|>", color="0.25",
                                                            connectionstyle="arc3,rad=-0.15"));

# %% [markdown]
# Above, the first half of the lesson, with a shortcut in orange; below, the loop of the second half.
#
# We try two generators. Lesson 13's **Gaussians**, one for each class, are fitted to the hundred digits. The **flow**
# of lesson 64 is trained for a minute on distorted copies of the same hundred; the judge reads 71 % of its digits as
# what was asked for. And there is a temptation: the course has a much better flow, the **shipped flow** of lesson 64,
# which draws excellent digits of any class at once.

# %%
from course_lib.gaussians import ClassGaussians
from course_lib.masked import few_labels

labelled = few_labels(y, 100, seeded(0))                          # ten of each class
x_few, y_few = x[labelled], y[labelled]
asked = torch.arange(1000) % 10                                   # 100 digits of each class
gaussians = ClassGaussians.fit(x_few, y_few, n_axis=50)
made_by_gaussians = gaussians.sample(1000, asked, generator=seeded(0))

# %%
shown_as_asked = sum(metadata("flow_hundred")["trials"]["control"]["100"]) / 5
claim("share of its digits that show what was asked", shown_as_asked, ">", 0.6, digits=2)

# %%
# Figure: four rows of ten digits, 0 to 9: labelled ones; noisy ones of the Gaussians; those of the flow
# that has learned from a hundred; clean ones of the shipped flow.
ten = torch.arange(10)
one_each = torch.stack([x_few[y_few == k][0] for k in range(10)])
strip({"labelled": one_each, "Gaussians": made_by_gaussians[:10],
       "flow of the same": load_checkpoint("flow_hundred").sample(10, ten, generator=seeded(0)),
       "shipped flow": load_checkpoint("flow").sample(10, ten, generator=seeded(0))});

# %% [markdown]
# Half of each batch is real. The real digits are repeated until there are as many as generated ones:

# %%
def mixed(x_real, y_real, x_made, y_made):
    times = len(x_made) // len(x_real)
    return torch.cat([x_real.repeat(times, 1, 1, 1), x_made]), torch.cat([y_real.repeat(times), y_made])

# %%
from course_lib.augment import augment
from course_lib.classify import classifier_loss, predict
from course_lib.convnet import ConvNet, ConvNetConfig
from course_lib.train import fit

def accuracy_after(x_given, y_given, number, augmented=False):
    """Accuracy on the test digits after 250 batches of 64, whatever they hold."""
    def loss_fn(model, images, labels):
        return classifier_loss(model, augment(images) if augmented else images, labels)

    seed(number)
    model = ConvNet(ConvNetConfig(n_channel=16)).to(memory_format=torch.channels_last)
    fit(model, loss_fn, Batches(x_given, y_given, batch_size=64), 250, lr=4e-3, betas=(0.9, 0.99),
        weight_decay=0.02, warmup=20, decay=0.7, ema=0.99)
    return (predict(model, x_test).argmax(1) == y_test).double().mean().item()

# %% [markdown]
# ## Does it help?
#
# **Write down a guess:** a hundred labels give 84 % right without augmentation. What will it be with the Gaussians' digits?
# With those of the flow that saw the same hundred? With augmentation? With the shipped flow?
#
# All of it was measured once, by the recipes of `generated_hundred` and `flow_hundred`, and we repeat a part here. In
# the table, *copies* are distorted copies of the hundred, and *no real* means that the classifier was given generated
# digits alone.

# %%
trials = metadata("hundred_labels")["trials"]                     # lesson 22: labels alone
trials = trials | metadata("generated_hundred")["trials"] | metadata("flow_hundred")["trials"]
again = {"supervised": accuracy_after(x_few, y_few, 0),
         "Gaussians": accuracy_after(*mixed(x_few, y_few, made_by_gaussians, asked), 0),
         "supervised, augmented": accuracy_after(x_few, y_few, 0, augmented=True)}
for name, share in again.items():
    assert_close(share, trials[name]["100"][0], atol=0.03, rtol=0)

# %% tags=["nbval-ignore-output"]
# not compared: read from the files, and retrained with them
budgets = ("30", "100", "1000", "4000")
print(f"{'accuracy in %, mean of five':30}", *(f"{n:>6}" for n in budgets))
for name, runs in trials.items():
    if name != "control":
        print(f"{name:30}", *(f"{20 * sum(runs[n]):6.1f}" if n in runs else " " * 6 for n in budgets))

# %%
def difference(name, other, n="100"):
    """By how many points the first is ahead of the other: mean and 95 % interval over five seeds."""
    return mean_interval(100 * (torch.tensor(trials[name][n]) - torch.tensor(trials[other][n])))

# %%
pairs = [("Gaussians", "supervised"), ("flow of the same", "supervised"), ("shipped flow", "supervised"),
         ("augmented, Gaussians", "supervised, augmented"),
         ("augmented, flow of the same", "supervised, augmented"),
         ("augmented, shipped flow", "supervised, augmented")]
for name, other in pairs:
    mean, low, high = difference(name, other)
    print(f"{name:28} minus {other:22} {mean:+5.1f} points, between {low:+5.1f} and {high:+5.1f}")

# %%
free = difference("supervised, augmented", "supervised")
claim("points that augmentation adds, lower end", free[1], ">", 8, digits=1)
by_gaussians = difference("Gaussians", "supervised")
claim("points that the Gaussians add, upper end", by_gaussians[2], "<", 2, digits=1)
on_top = difference("augmented, Gaussians", "supervised, augmented")
claim("points that the Gaussians add to augmentation, upper end", on_top[2], "<", 1.5, digits=1)
on_top = difference("augmented, flow of the same", "supervised, augmented")
claim("points that the flow of the same adds to augmentation, upper end", on_top[2], "<", 1.5, digits=1)

# %%
# Figure: for each of ten ways to use a hundred labels, its accuracy on the test digits: five dots, one for
# each seed, and their mean with a 95 % interval. Above five ways without augmentation, below four with it;
# at the bottom, 4,000 labels.
ways = ["supervised", "Gaussians", "Gaussians of copies", "flow of the same", "shipped flow",
        "supervised, augmented", "augmented, Gaussians", "augmented, flow of the same",
        "augmented, shipped flow"]
shown = [(name.replace("supervised", "labels alone"), trials[name]["100"]) for name in ways]
shown.append(("4,000 labels alone", trials["supervised"]["4000"]))
_, ax = plt.subplots(figsize=(8, 3.6))
for place, (name, runs) in enumerate(shown):
    mean, low, high = mean_interval(runs)
    colour = COLOURS[1] if "shipped" in name or "4,000" in name else COLOURS[0]
    ax.plot(runs, [place + 0.15] * 5, "o", ms=3, color=colour, alpha=0.5)
    ax.errorbar(mean, place - 0.1, xerr=high - mean, fmt="s", ms=5, capsize=3, color=colour)
ax.set(yticks=range(len(shown)), yticklabels=[name for name, _ in shown], xlabel="accuracy on test digits")
ax.invert_yaxis();

# %% [markdown]
# Orange is what has seen 4,000 labels, directly or by way of the flow.
#
# <details><summary>Answer</summary>
#
# With the Gaussians it is 83 %: no gain (between −3.5 and +0.1 points). With the flow of the same hundred it is 89 %;
# with augmentation, which costs nothing, 95 %, and no more if Gaussians or this flow are added. With the shipped flow
# it is 96 %, and 97 % together with augmentation.
# </details>
#
# What does it say?
#
# - **Generators that have only the same hundred labels add nothing** to augmentation: the intervals of both contain zero.
#   Without augmentation the flow is 5 points ahead of labels alone. But it was trained on distorted copies.
# - **It is knowledge that helps.** The row *Gaussians of copies* has Gaussians that were fitted to distorted copies of the
#   hundred, and they add 5 points as well. Both pass on what we know of handwriting, that a shifted seven is a seven, and
#   lose half of it on the way: used directly, it is worth 11.
# - **More labels, less to gain.** With 1,000 labels generated digits help nowhere, not even those of the shipped flow. With 30,
#   Gaussians on top of augmentation may help: 1.9 points, between −0.3 and 4.1. Five seeds cannot tell.
#
# ## The leak
#
# The shipped flow wins, and it breaks rule 1. It was trained on 4,000 labelled digits, and through it their labels come in by
# the back door. Such a way in is called a **leak**, and nobody needs to intend it. Two experiments show it.
#
# First, take the labels away. Beside the digits of the shipped flow, is the classifier worse off with 30 labelled
# ones, or with none at all? (Accuracy on real digits after learning from generated ones alone is called the
# **classification accuracy score** of a generator: Ravuri & Vinyals, 2019.) Second, use directly what the generator
# has seen: its 4,000 digits. The table above holds both answers. **Find them** before you read on.

# %%
for n in ("30", "100", "1000"):
    _, low, high = mean_interval(100 * torch.tensor(trials["shipped flow"][n]))
    print(f"shipped flow and {n:>4} labels:  {low:.1f} to {high:.1f} %")
_, low, high = mean_interval(100 * torch.tensor(trials["shipped flow, no real"]["100"]))
print(f"shipped flow and no label:    {low:.1f} to {high:.1f} %")
_, low, high = mean_interval(100 * torch.tensor(trials["supervised"]["4000"]))
print(f"its 4,000 labels, no flow:    {low:.1f} to {high:.1f} %")

# %%
hundred = torch.tensor(trials["shipped flow"]["100"])
added = mean_interval(100 * (hundred - torch.tensor(trials["shipped flow, no real"]["100"])))
claim("points that a hundred labels add to the shipped flow, upper end", added[2], "<", 1, digits=1)
direct = mean_interval(100 * (torch.tensor(trials["supervised"]["4000"]) - hundred))
claim("its 4,000 digits used directly, minus the flow, lower end", direct[1], ">", 0.5, digits=1)

# %% [markdown]
# <details><summary>Answer</summary>
#
# The hundred labels do not matter: without a single one of them it is as good. And the 4,000 digits are better than the
# flow that learned from them, by two points.
# </details>
#
# Both say that the knowledge comes from the generator's training set. Whoever may use the flow should compare it with
# these digits.

# %% [markdown]
# ## Models trained on models
#
# Now the second question. Fit a model to data, draw as many samples as there were data, throw the data away, fit the
# next model to the samples, and so on. Shumailov et al. (2024) call what follows **model collapse**. We begin where
# everything can be computed.
#
# ### One Gaussian, in three lines
#
# In round $t$ the model is a Gaussian with mean $\mu_t$ and variance $\sigma_t^2$. We draw $n$ numbers $x_i$ from it, and
# the next model has their mean $\bar x$ and their mean squared distance from it (maximum likelihood). For any $n$
# numbers,
#
# $$\sum_i (x_i - \bar x)^2 = \sum_i (x_i - \mu_t)^2 - n\,(\bar x - \mu_t)^2 .$$
#
# On average the first sum on the right is $n \sigma_t^2$, and $(\bar x - \mu_t)^2$ is $\sigma_t^2 / n$. So
#
# $$\mathbb E\,[\sigma_{t+1}^2] = \frac{n \sigma_t^2 - \sigma_t^2}{n} = \Big(1 - \frac 1n\Big)\, \sigma_t^2 .$$
#
# **Each round multiplies the variance by $1 - 1/n$, on average**, and after $t$ rounds $(1 - 1/n)^t$ is left. We check it
# on 5,000 chains of 40 models each, with $n = 20$ and data of variance 1.

# %%
n, rounds = 20, 40

def chains_of_gaussians(correction=0, keep=False, chains=5000):
    """Variances of chains of 40 models, 5,000 side by side: (40, 5000)."""
    g = seeded(0)
    data = torch.randn(chains, n, generator=g)                    # the only real numbers
    variances = []
    for _ in range(rounds):
        mean, variance = data.mean(1), data.var(1, correction=correction)
        samples = mean[:, None] + variance.sqrt()[:, None] * torch.randn(chains, n, generator=g)
        data = torch.cat([data, samples], dim=1) if keep else samples
        variances.append(variance)
    return torch.stack(variances)

# %%
variances = chains_of_gaussians()
t = torch.arange(1, rounds + 1)
formula = (1 - 1 / n) ** t
error = 1.96 * variances.std(1) / math.sqrt(5000)                 # half of a 95 % interval
distance = (variances.mean(1) - formula).abs() / error
print(f"after 20 rounds: {variances[19].mean():.3f} ± {error[19]:.3f}, by the formula {formula[19]:.3f}")
claim("largest distance from the formula, in half intervals", distance.max(), "<", 1.5)
half = math.log(2) / -math.log(1 - 1 / n)
claim("rounds until half of the variance is left, by the formula", half, "<", 14, digits=1)

# %% [markdown]
# "But the usual estimate divides by $n - 1$, and has no such error." True: with it the variance stays at 1 for ever,
# on average. **Write down a guess:** does a chain of *these* models keep its variance?

# %%
unbiased = chains_of_gaussians(correction=1)
stays = (unbiased.mean(1) - 1).abs() / (1.96 * unbiased.std(1) / math.sqrt(5000))
claim("largest distance of the mean from 1, in half intervals", stays.max(), "<", 1.5)
claim("median variance after 40 rounds, dividing by n - 1", unbiased[-1].median(), "<", 0.2)
claim("median variance after 40 rounds, dividing by n", variances[-1].median(), "<", 0.05)

# %%
# a sum of squares is the variance times a chi-squared variable with n - 1 degrees; its mean log is known
per_round = torch.digamma(torch.tensor((n - 1) / 2)) + math.log(2 / (n - 1))
fell = unbiased[-1].log() / rounds
_, low, high = mean_interval(fell)
print(f"log variance changes by {low:.4f} to {high:.4f} a round, by the formula {per_round:.4f}")
claim("formula minus lower end", per_round - low, ">", 0)
claim("upper end minus formula", high - per_round, ">", 0)

# %%
# Figure: variance over the rounds on a logarithmic axis, in two panels, for estimates that divide by n and
# by n - 1: twenty thin grey chains that wander; the mean of 5,000 as dots, on the line of the
# formula; and the median as a dashed line.
fig, panels = plt.subplots(1, 2, figsize=(9, 3.2), sharey=True)
for panel, runs, line, title in zip(panels, (variances, unbiased), (formula, torch.ones(rounds)),
                                    ("divided by $n$", "divided by $n - 1$")):
    panel.plot(t, runs[:, :20], color="0.8", lw=0.7)
    panel.plot(t, runs.mean(1), "o", ms=3, color=COLOURS[0], label="mean of 5,000 chains")
    panel.plot(t, line, color=COLOURS[1], label="formula for the mean")
    panel.plot(t, runs.median(1).values, "--", color=COLOURS[2], label="median")
    panel.set(yscale="log", ylim=(1e-3, 10), xlabel="round $t$", title=title)
panels[0].set_ylabel("variance of the model")
panels[0].legend(fontsize=9, loc="lower left");

# %% [markdown]
# <details><summary>Answer</summary>
#
# No. The mean stays at 1, but it is kept up by few chains with a huge variance; the **median** has fallen to a tenth. Each
# round multiplies the variance by a random factor of mean 1, and a product of such factors goes to zero: its
# logarithm falls by 0.054 a round on average, as a formula of statistics says, in the cell before the figure. No
# other estimate helps: this is the price of drawing $n$ numbers.
# </details>
#
# ### What is rare goes first
#
# The simplest model of language is a table of shares: how frequent is each letter? We count the letters of Jane
# Austen's novels, draw $n = 1000$ letters by these shares, count them, draw again. A letter with share $p$ is missed
# by one draw with probability $1 - p$, so it is **lost in one round with probability $(1 - p)^n$**. And what is lost
# never comes back.

# %%
from course_lib.data.text import load_text

text = torch.bincount(load_text("austen").train.long(), minlength=256)
counts = (text[ord("a"):ord("z") + 1] + text[ord("A"):ord("Z") + 1]).double()
share = (counts / counts.sum()).float()                           # (26,)

def drawn_counts(share, n, g):
    """How often each of 26 letters comes in n draws.  (rows, 26) -> (rows, 26)"""
    letters = torch.multinomial(share, n, replacement=True, generator=g)      # (rows, n)
    return torch.zeros_like(share).scatter_add_(1, letters, torch.ones(letters.shape))

# %%
one_round = drawn_counts(share.expand(4000, 26), 1000, seeded(0))
for letter in "zqjxk":
    p = share[ord(letter) - ord("a")].item()
    lost = (one_round[:, ord(letter) - ord("a")] == 0).double().mean().item()
    missed = (1 - p) ** 1000
    print(f"{letter}: share {p:.4f}, lost in {lost:.3f} of 4,000 rounds, formula {missed:.3f}")
    assert abs(lost - missed) < 3 * math.sqrt(missed * (1 - missed) / 4000)

# %% [markdown]
# And over many rounds? The probability that two letters of a text differ, $1 - \sum_k p_k^2$, is a measure of variety.
# It shrinks by the same factor as the variance, $1 - 1/n$ a round: with probability $1/n$ two letters of the next
# text are copies of the same one of the $n$ letters before, and are equal then. (In biology this is
# **genetic drift**.)

# %%
def chains_of_tables(keep, chains=200, rounds=100):
    g, total, current, history = seeded(1), 0, share.expand(chains, 26), []
    for _ in range(rounds):
        new = drawn_counts(current, 1000, g)
        total = total + new if keep else new                      # keep: all letters that were ever drawn
        current = total / total.sum(1, keepdim=True)
        history.append(current)
    return torch.stack(history)                                   # (100, 200, 26)

# %%
replaced, kept = chains_of_tables(keep=False), chains_of_tables(keep=True)
variety = 1 - (replaced**2).sum(2)                                # (100, 200)
start = 1 - (share**2).sum().item()
for after in (10, 50, 100):
    law = start * (1 - 1 / 1000) ** after
    _, low, high = mean_interval(variety[after - 1])
    print(f"{after:3} rounds: variety between {low:.4f} and {high:.4f}, by the formula {law:.4f}")

# %%
alive = (replaced > 0).sum(2).double().mean(1)                    # (100,): letters, mean over chains
claim("letters left after 100 rounds, of 26", alive[-1], "<", 14, digits=1)
claim("the same, if nothing is thrown away", (kept[-1] > 0).sum(1).double().mean(), ">", 24, digits=1)

# %%
# Figure: left, for each letter, the most frequent first, the part of 200 chains in which it is still alive
# after 1, 10, 30 and 100 rounds: four lines that fall to the right. Right, the number of letters that are
# alive over the rounds, replaced and kept.
order = share.argsort(descending=True)
fig, (left, right) = plt.subplots(1, 2, figsize=(9.5, 3))
for after, colour in zip((1, 10, 30, 100), COLOURS):
    lives = (replaced[after - 1] > 0).double().mean(0)[order]
    left.plot(lives, "o-", ms=3, color=colour, label=f"round {after}")
names = [chr(ord("a") + k) for k in order]
left.set(xticks=range(26), xticklabels=names, xlabel="letter", ylabel="share of chains in which it lives")
left.legend(fontsize=9)
right.plot(alive, color=COLOURS[0], label="replaced")
right.plot((kept > 0).sum(2).double().mean(1), color=COLOURS[1], label="everything kept")
right.set(xlabel="round", ylabel="letters alive", ylim=(0, 27))
right.legend(fontsize=9);

# %% [markdown]
# On average each letter keeps its share, but each single chain becomes poorer, and the rare letters go first.
#
# ### The repair, proved
#
# Throw nothing away: let each model learn from the real numbers *and* all samples so far. When model $t$ learns, it has
# $tn$ numbers. Add $n$ from this model. The squares around the mean of all have three parts: those of the old numbers
# around their mean, $tn\sigma_t^2$; those of the new ones around theirs, on average $(n - 1)\sigma_t^2$; and, because
# the two means differ by some $d$, $\frac{tn \cdot n}{tn + n}\, d^2$. The mean of $d^2$ is $\sigma_t^2 / n$, so that
# this part is $\frac{t}{t+1}\sigma_t^2$ on average. The sum is $\big((t + 1)\,n - \frac{1}{t+1}\big)\,\sigma_t^2$.
# Divided by $(t + 1)\,n$:
#
# $$\mathbb E\,[\sigma_{t+1}^2] = \Big(1 - \frac{1}{n\,(t+1)^2}\Big)\, \sigma_t^2 .$$
#
# The loss of a round shrinks with the square of its number. Since $(1 - a)(1 - b) \ge 1 - a - b$, the product of all
# rounds stays above zero:
#
# $$\prod_{t=1}^{\infty} \Big(1 - \frac{1}{n t^2}\Big) \;\ge\; 1 - \frac 1n \sum_{t=1}^{\infty} \frac{1}{t^2} =
# 1 - \frac{\pi^2}{6\,n} .$$
#
# (The sum of all $1/t^2$ is $\pi^2/6$, as Euler found.) With $n = 20$, 0.918 of the variance stays *for ever*, while
# replacing goes to 0. Gerstgrasser et al. (2024) prove such a bound for linear regression.

# %%
accumulated = chains_of_gaussians(keep=True)
law = (1 - 1 / (n * t**2)).cumprod(0)
error = 1.96 * accumulated.std(1) / math.sqrt(5000)
distance = (accumulated.mean(1) - law).abs() / error
print(f"after 40 rounds: {accumulated[-1].mean():.3f} ± {error[-1]:.3f}, by the formula {law[-1]:.3f}")
claim("largest distance from the formula, in half intervals", distance.max(), "<", 1.5)
million = torch.arange(1, 1_000_001, dtype=torch.float64)
claim("left after a million rounds, by the formula", (1 - 1 / (n * million**2)).prod(), ">", 0.918)

# %% [markdown]
# ## Break it: ten rounds of digits
#
# The data of the first round are 1,000 digits, 120 of each class, except two that are **rare**: 30 fours and 10 sixes.
# The model is lesson 13's mixture of 20 Gaussians on 50 axes, without labels. Its 1,000 samples are the data of the
# next model.

# %%
def with_rare(x, y, common, rare):
    """The first digits of each class: so many, unless another number is given for the class."""
    return torch.cat([x[y == k][:rare.get(k, common)] for k in range(10)])

order = torch.randperm(4000, generator=seeded(0))
first = with_rare(x[order], y[order], 120, {4: 30, 6: 10})        # (1000, 1, 28, 28)

# %%
from course_lib.gaussians import GaussianMixture

def ten_rounds(data, n=1000, keep=False):
    g, rounds = seeded(0), []
    for _ in range(10):
        model, _ = GaussianMixture.fit(data, n_axis=50, n_gaussian=20, steps=15, generator=g)
        samples = model.sample(n, generator=g)
        data = torch.cat([data, samples]) if keep else samples
        rounds.append(samples)
    return rounds

by_round = ten_rounds(first)

# %% tags=["nbval-ignore-figure"]
# not compared: the models were fitted in this notebook
# Figure: five rows of ten digits: of the data, and of the samples of rounds 1, 2, 5 and 10. They grow
# greyer and more alike, until all are the same eight.
one_each = torch.stack([x[order][y[order] == k][0] for k in range(10)])
strip({"data": one_each} | {f"round {t}": by_round[t - 1][:10] for t in (1, 2, 5, 10)});

# %% [markdown]
# We measure the samples of each round with the judge: their distance from test digits with the same rare classes; the share of
# these that they cover (recall); the variance of a pixel, summed over pixels; and how many the judge reads as fours and sixes.

# %%
from course_lib.metrics import frechet_distance, judge_features

files = ("mixture_tenth", "mixture_kept", "vae_tenth")
rows = {f"{file.split('_')[0]}, {name}": torch.tensor(runs)       # (seeds, 11 rounds, 6 columns)
        for file in files for name, runs in metadata(file)["trials"].items()}
columns = metadata("mixture_tenth")["columns"]
real = judge_features(with_rare(x_test, y_test, 100, {4: 25, 6: 8}))   # the same shares
for after in (1, 10):
    again = frechet_distance(judge_features(by_round[after - 1]), real)
    assert_close(again, rows["mixture, replace"][0, after, 0].item(), rtol=0.1, atol=1)

# %% tags=["nbval-ignore-output"]
# not compared: read from the files, and retrained with them
print(f"{'mean over seeds':24} round", *(f"{name:>13}" for name in columns))
for name in ("mixture, replace", "mixture, accumulate", "vae, replace", "vae, accumulate"):
    for after in (0, 1, 5, 10):
        print(f"{name:24} {after:5}", *(f"{value:13.3f}" for value in rows[name].mean(0)[after]))

# %%
def at_ten(name, column):
    return rows[name][:, 10, columns.index(column)]               # of each seed

replaced_far, kept_far = at_ten("mixture, replace", "distance"), at_ten("mixture, accumulate", "distance")
mean, low, high = mean_interval(replaced_far - kept_far)
print(f"distance after ten rounds, replaced minus kept: {mean:.1f}, between {low:.1f} and {high:.1f}")
claim("distance after ten rounds, replaced, the smallest of five", replaced_far.min(), ">", 70, digits=1)
claim("... everything kept, the largest of five", kept_far.max(), "<", 55, digits=1)

# %%
rare_share = {name: runs[:, :, 3] + runs[:, :, 4] for name, runs in rows.items()}         # (seeds, 11)
mean, low, high = mean_interval(rare_share["mixture, accumulate"][:, 10])
print(f"share of fours and sixes in round 10, kept: {mean:.3f}, between {low:.3f} and {high:.3f}")
claim("fours and sixes in 1,000 digits", 1000 * rare_share["mixture, replace"][0, 0], ">", 35, digits=0)
lost = 1000 * rare_share["mixture, replace"][:, 10].max()
claim("... in round 10, replaced, the most of five seeds", lost, "<", 3, digits=0)
covered = at_ten("mixture, accumulate", "recall") - at_ten("mixture, replace", "recall")
claim("test digits covered, kept minus replaced, the least of five", covered.min(), ">", 0.03)

# %%
by_vae = {name: rows[f"vae, {name}"][0, :, columns.index("recall")] for name in ("replace", "accumulate")}
claim("test digits covered by the first VAE", by_vae["replace"][1], ">", 0.35)
claim("... by the tenth, replaced", by_vae["replace"][10], "<", 0.15)
claim("... by the tenth, everything kept", by_vae["accumulate"][10], ">", 0.35)

# %%
# Figure: four panels over ten rounds: distance from the test digits, share of them covered, variance
# of the pixels, share of fours and sixes. Five thin lines and their mean for mixtures, replaced and kept;
# dashed lines for one chain of VAEs each.
styles = {"mixture, replace": ("-", COLOURS[0]), "mixture, accumulate": ("-", COLOURS[1]),
          "vae, replace": ("--", COLOURS[0]), "vae, accumulate": ("--", COLOURS[1])}
fig, panels = plt.subplots(1, 4, figsize=(11, 2.9))
for name, (line, colour) in styles.items():
    series = [rows[name][:, :, 0], rows[name][:, :, 1], rows[name][:, :, 2], rare_share[name]]
    for panel, runs in zip(panels, series):
        panel.plot(runs.T, line, color=colour, lw=0.5, alpha=0.5)
        label = name.replace("accumulate", "everything kept")
        panel.plot(runs.mean(0), line, color=colour, lw=2, label=label)
titles = ("distance", "test digits covered", "variance", "share of fours and sixes")
for panel, title in zip(panels, titles):
    panel.set(title=title, xlabel="round", ylim=(0, None), xticks=(0, 5, 10))
handles, labels = panels[0].get_legend_handles_labels()
fig.legend(handles, labels, loc="lower center", ncol=4, bbox_to_anchor=(0.5, -0.12));

# %% [markdown]
# Replaced, the fours and sixes are gone after four rounds, and after ten there is hardly anything but eights.
#
# The VAEs (dashed) deceive the eye. Their tenth model draws digits with clear strokes, as the first picture showed.
# But they cover 8 % of the test digits, where the first covered 44 %, and their distance has nearly doubled. The
# variance of the pixels says nothing of it. It measures contrast, too, and each VAE draws with more contrast than it
# has learned (lesson 31). **Variety must be measured on many samples, against real ones.** When everything is kept,
# the VAEs stay where they were.
#
# Kept, the mixtures are far better, too. But look closely: their distance still grows, from 33 to 47. Does that contradict
# the proof? No: it is about a model that *can* be right, so that only drawing errs. Our mixture errs by itself, and in the
# same direction each time. If each fit leaves a share $c$ of the variance, replacing leaves $c^t$. When everything is
# kept, round $t$ spoils only one part in $t$ of the data: it multiplies the variance by about $1 - (1-c)/t$. The
# logarithms of these factors add up to about $-(1-c) \sum 1/t \approx -(1-c) \log t$, so about $t^{-(1-c)}$ is left:
# it falls slowly, but without end.
#
# ## Predict, then turn one knob: more samples a round
#
# The Gaussian lost $1/n$ of its variance a round. The mixture loses far more than a thousandth. **Write down a guess:**
# if each round draws 4,000 samples in place of 1,000, will it take four times as many rounds to lose as much?

# %%
left = {name: rows[f"mixture, {name}"][:, :, 2] / rows[f"mixture, {name}"][:, :1, 2]
        for name in ("replace", "replace, 4,000")}                # (5 seeds, 11): share of the variance
for name, runs in left.items():
    _, low, high = mean_interval(runs[:, 10])
    print(f"{name:15} after ten rounds {low:.3f} to {high:.3f} of the variance is left")
more = left["replace, 4,000"][:, 10].mean() - left["replace"][:, 10].mean()
claim("what 4,000 samples a round save of the variance", more, "<", 0.05)
claim("what drawing alone would have left, by the formula", (1 - 1 / 1000) ** 10, ">", 0.98)

# %% [markdown]
# Where does the variance go, if not with the dice? We follow it through the first model:

# %% tags=["nbval-ignore-output"]
# not compared: samples of a model that was fitted in this notebook
def variance(images):
    return images.flatten(1).var(0).sum().item()

model, _ = GaussianMixture.fit(first, n_axis=50, n_gaussian=20, steps=15, generator=seeded(0))
codes = model.encode(first)                                       # (1000, 50): coordinates on the axes
steps = {"the digits": variance(first), "on 50 axes": variance(codes),
         "drawn again, grey values cut to 0 ... 1": variance(model.decode(codes)),
         "samples of the model": variance(model.sample(1000, generator=seeded(1)))}
for name, value in steps.items():
    print(f"{name:40} {value:5.1f}")
left_over = steps["samples of the model"] / steps["the digits"]
claim("what the samples have of the digits' variance", left_over, "<", 0.6)

# %% [markdown]
# <details><summary>Answer</summary>
#
# No: with 4,000 samples it is nearly the same. Drawing 1,000 samples costs a thousandth of the variance. The *model's own*
# error costs nearly half in the first round, and something in every round after it: what does not lie on its axes is lost,
# and its Gaussians reach below 0 and above 1, where grey values are cut off. More samples do not repair that.
# Shumailov et al. (2024) name both: errors of a finite sample, and errors of what a model can express or learns.
# </details>
#
# ## What this does not show
#
# One data set, small models, ten rounds, and of VAEs one chain of each kind. And what stands in the web
# was selected by people, who add what no dice can: their choice. In the first half, generators had a hundred
# pictures and a minute.
#
# ## In the wild
#
# Mixing real and generated examples takes two lines of PyTorch:
#
# ```python
# import torch
# from torch.utils.data import ConcatDataset, DataLoader, WeightedRandomSampler
# from diffusers import StableDiffusionPipeline               # pip install diffusers
#
# pipe = StableDiffusionPipeline.from_pretrained("stable-diffusion-v1-5/stable-diffusion-v1-5").to("cuda")
# made = pipe(["a photo of a tabby cat"] * 8).images          # labelled by the words that asked for them
# # real_set, made_set: datasets of pictures and labels
# weights = [0.5 / len(real_set)] * len(real_set) + [0.5 / len(made_set)] * len(made_set)
# both = ConcatDataset([real_set, made_set])
# loader = DataLoader(both, batch_size=64, sampler=WeightedRandomSampler(weights, num_samples=len(both)))
# ```
#
# With ImageNet's photographs and a generator fine-tuned on them, added samples improved classifiers (Azizi et al., 2023).
# That generator had first been trained on other pictures, 400 million of the web among them. Geng et al. (2024) asked the question of our leak: are
# samples better than the pictures that the generator was trained on? They searched its training set for fitting ones, and
# those were as good or better in every test.

# %% [markdown]
# ## Recap
#
# 1. Samples hold no news about the world: they are the labels, the assumption of the generator, and dice.
# 2. Here they add nothing to augmentation; where they seem to help, ask what the generator has seen.
# 3. A chain of models loses variance by $1 - 1/n$ a round, and a rare thing of share $p$ with probability $(1 - p)^n$.
# 4. Keeping all data bounds what sampling costs: with $n$ numbers a round, $1 - \pi^2/(6n)$ of the variance stays.
# 5. It does not bound the model's own error: that comes anew each round, however many samples are drawn.
#
# **What we left out.** Samples that somebody has selected: answers that a program has checked (lesson 74) are news.
# Generators trained for one classifier.
#
# **Exercises:** [81_synthetic_data](../exercises/81_synthetic_data/81_synthetic_data.ipynb).
# **Next**, [lesson 82](82_bias.ipynb): the world in the data, and the world in the samples.
#
# ## Read on
#
# - I. Shumailov et al., *AI models collapse when trained on recursively generated data*, Nature 631 (2024),
#   [doi:10.1038/s41586-024-07566-y](https://doi.org/10.1038/s41586-024-07566-y).
# - M. Gerstgrasser et al., *Is model collapse inevitable? Breaking the curse of recursion by accumulating real and synthetic
#   data* (2024), [arXiv:2404.01413](https://arxiv.org/abs/2404.01413).
# - S. Alemohammad et al., *Self-consuming generative models go MAD* (2023),
#   [arXiv:2307.01850](https://arxiv.org/abs/2307.01850): fresh real data in every round.
# - S. Azizi et al., *Synthetic data from diffusion models improves ImageNet classification* (2023),
#   [arXiv:2304.08466](https://arxiv.org/abs/2304.08466).
# - S. Geng et al., *The unmet promise of synthetic training images: using retrieved real images performs better* (2024),
#   [arXiv:2406.05184](https://arxiv.org/abs/2406.05184).
# - S. Ravuri & O. Vinyals, *Classification accuracy score for conditional generative models* (2019),
#   [arXiv:1905.10887](https://arxiv.org/abs/1905.10887).
# - In the library: `metrics.py` (`mean_interval`), `gaussians.py`, `checkpoints/part8_synthetic.py`.
