# %% [markdown]
# # 82 · Bias: the world in the data, the world in the samples
#
# In a world that we invent, eight of ten *zorps* wear a hat. A model learns to draw zorps from pictures of that world.
# How many of the zorps that it draws wear a hat? Here the world is known, so we can count: what is in the data, what
# is in the samples, how sure one can be of it, and what each repair costs. At the end you will have made the picture
# below, and you will audit a model that you have used before.
#
# **After this lesson you can**
# - audit a generator: count what its samples show, with an interval, and say how many samples it takes;
# - predict what guidance makes of a share of the data, prove it for a small world, and see where a model differs;
# - repair a share in four ways, and say what each of them costs.
#
# **You need** lessons [63](63_guidance.ipynb) (guidance), [64](64_flow_matching.ipynb) (flow matching) and
# [65](65_text_to_image.ipynb) (words into pictures). **It takes** 70 minutes to read and a minute to run. **How hard:**
# ••. All symbols are in the [table of symbols](symbols.ipynb).
#
# ## Set-up

# %%
import matplotlib.pyplot as plt
import torch
from torch.testing import assert_close

from course_lib.checkpoint import load as load_checkpoint
from course_lib.checkpoint import metadata
from course_lib.claims import claim
from course_lib.data import Batches, load
from course_lib.data.avatars import ATTRIBUTES, NAMES, with_jobs
from course_lib.device import budget, seed, seeded

# %%
from course_lib.plots import COLOURS, diagram, strip
from course_lib.reader import ceiling, read
from course_lib.text_to_image import muon_text_to_image, text_to_image_loss, with_words

faces = load("avatars")
hat_column = NAMES.index("hat")
model = load_checkpoint("jobs")                                   # lesson 65's, trained on in our world
made = metadata("jobs")

def wears_hat(pictures):
    """(n, 3, 16, 16) -> (n,) bool, as the reader of lesson 65 sees it"""
    return read(pictures)[:, hat_column] > 0

# %%
# Figure: four rows of ten faces in pixel art. Zorps of the data, eight of ten with a hat; zorps that the
# model drew with guidance 1, and with guidance 3; mips that it drew with guidance 3.
rows, jobs = with_jobs(faces.train.attributes[:, hat_column] > 0, 0.8, seeded(0))
some = rows[jobs == 0][torch.randperm(len(rows) // 2, generator=seeded(2))[:10]]
pictures = {"zorps of the data": faces.train.x[some]}
for job, scale in (("zorp", 1), ("zorp", 3), ("mip", 3)):
    drawn = model.sample([f"a {job}"] * 10, seeded(9), guidance=scale)
    pictures[f"{job}s drawn,\nguidance {scale}"] = drawn
strip(pictures);

# %% [markdown]
# Count the hats in each row.
#
# ## A world with a habit
#
# *Bias* here means something that can be counted: a share in the samples that is not the share one wanted. What one
# wants is a decision, and no measurement makes it. We plant a habit where none was: half of the faces wear a hat, half
# get the job *zorp*, the others *mip*, by lot, so that 80 % of the zorps wear a hat and 20 % of the mips, and nothing
# else goes with the job.

# %%
def my_with_jobs(has, share, generator):
    those, others = [which.nonzero()[:, 0] for which in (has, ~has)]
    m = min(len(those), len(others))                              # as many with a hat as without
    those = those[torch.randperm(len(those), generator=generator)[:m]]
    others = others[torch.randperm(len(others), generator=generator)[:m]]
    cut = round(share * m)
    zorps = torch.cat([those[:cut], others[cut:]])
    mips = torch.cat([those[cut:], others[:cut]])
    return torch.cat([zorps, mips]), torch.arange(2 * m) // m     # rows; 0 is a zorp, 1 is a mip

# %%
has_hat = faces.train.attributes[:, hat_column] > 0
mine = my_with_jobs(has_hat, 0.8, seeded(0))
assert_close(mine[0], rows)
assert_close(mine[1], jobs)
for name, kind in (("with a hat", has_hat[rows]), ("without", ~has_hat[rows])):
    print(f"{name:10}: {(kind & (jobs == 0)).sum()} zorps, {(kind & (jobs == 1)).sum()} mips")

# %% [markdown]
# A zorp with a hat, or a mip without one, is **aligned**: it is as the habit has it. The share of aligned pictures is
# 0.8 in the data, and it is the number that this lesson follows. Our judge is the reader of lesson 65. Its error on
# real faces is the least that we must allow for:

# %%
claim("hats that the reader reads right, real faces, seen pairs", ceiling("test_seen")["hat"], ">", 0.99)
aligned_data = (has_hat[rows] == (jobs == 0)).double().mean()
claim("aligned in the data", aligned_data, ">", 0.79)

# %%
for name in ("skin", "mood", "shirt"):
    values = faces.train.attributes[rows, NAMES.index(name)]
    shares = [(values[jobs == job] == 0).double().mean().item() for job in (0, 1)]
    print(f"{name} is {ATTRIBUTES[name][0]}: {shares[0]:.2f} of the zorps, {shares[1]:.2f} of the mips")

# %% [markdown]
# ## How sure is a share? By hand
#
# Ten zorps were drawn, and nine wear a hat. Is it more than 80 %? Suppose the true share is $p$. Then a share
# $\hat p$ of $n$ pictures has the standard error $\sqrt{p(1-p)/n}$ (lesson 11). In 95 % of all cases the share lies
# within 1.96 standard errors of $p$:
#
# $$|\hat p - p| \le 1.96 \sqrt{p\,(1 - p) / n} \tag{1}$$
#
# We try all $p$ and keep those that pass this test:

# %%
width = 1.96                                                      # in standard errors, to each side
candidates = torch.linspace(0, 1, 100_001, dtype=torch.float64)

def kept(hits, n):
    """The smallest and the largest share that eq. 1 does not reject."""
    passes = (hits / n - candidates).abs() <= width * (candidates * (1 - candidates) / n).sqrt()
    return candidates[passes].min().item(), candidates[passes].max().item()

# %%
for hits, n in ((9, 10), (10, 10), (90, 100), (900, 1000)):
    low, high = kept(hits, n)
    print(f"{hits:3} of {n:4}: from {low:.3f} to {high:.3f}")

# %% [markdown]
# Nine of ten says very little: anything from 0.60 to 0.98. Eq. 1 is quadratic in $p$, so both ends have a formula,
# **Wilson's interval** (1927). The more common $\hat p \pm 1.96 \sqrt{\hat p(1-\hat p)/n}$ would claim for ten of ten that
# the share is exactly 1.

# %%
from course_lib.metrics import wilson

def my_wilson(hits, n):
    share = hits / n
    middle = share + width**2 / (2 * n)
    half = width * (share * (1 - share) / n + width**2 / (4 * n**2)) ** 0.5
    return share, (middle - half) / (1 + width**2 / n), (middle + half) / (1 + width**2 / n)

for hits, n in ((9, 10), (10, 10), (0, 40), (900, 1000)):
    assert_close(my_wilson(hits, n)[1:], kept(hits, n), atol=2e-5, rtol=0)
    assert_close(my_wilson(hits, n), wilson(hits, n), atol=1e-4, rtol=0)

# %% [markdown]
# **Write down a guess:** a share is 0.80 in the data, and 0.85 in the samples. How many samples does it take to
# notice the five points in four of five audits? And two and a half points? (The cell tries out the formula of
# `samples_to_tell`.)

# %%
from course_lib.metrics import samples_to_tell

needed = {points: samples_to_tell(0.8, 0.8 + points / 100) for points in (1, 2.5, 5, 10)}
n = needed[5]
seed(0)
audits = torch.distributions.Binomial(n, torch.tensor(0.85)).sample((4_000,)) / n      # 4,000 audits
noticed = (audits - 0.8).abs() > width * (0.8 * 0.2 / n) ** 0.5       # eq. 1, with p = 0.8
claim("audits that notice five points", noticed.double().mean(), ">", 0.77)
assert 3.6 < needed[2.5] / needed[5] < 4.4

# %%
# Figure: the number of samples that are needed over the difference in points, both axes logarithmic: two
# straight lines that fall, for shares of 0.80 and 0.33 in the data.
_, ax = plt.subplots()
points = [k / 2 for k in range(2, 31)]
for share, colour in ((0.8, COLOURS[0]), (1 / 3, COLOURS[1])):
    ax.loglog(points, [samples_to_tell(share, share + p / 100) for p in points], color=colour,
              label=f"share in the data {share:.2f}")
ax.set(xlabel="difference, percentage points", ylabel="samples needed", xticks=[1, 2, 5, 10],
       xticklabels=["1", "2", "5", "10"])
ax.minorticks_off()
ax.grid(color="0.9")
ax.legend();

# %%
print({f"{points} points": n for points, n in needed.items()})

# %% [markdown]
# <details><summary>Answer</summary>
#
# 471 for five points, and four times as many for half the difference. An audit of 50 pictures sees fifteen points; its
# "no bias found" says nothing about smaller differences.
# </details>
#
# ## What we will build

# %%
# Figure: a diagram. Data with a share of 0.8 train a model; guidance and steps come in beside the model;
# the model makes samples; the reader counts them; the audit compares the count with the data.
boxes = {"data\nshare 0.8": (0, 1), "training\nweights, captions": (1.5, 1), "model": (2.9, 1),
         "guidance, steps": (2.9, 2), "samples\n(n, 3, 16, 16)": (4.2, 1), "reader\n(n, 8)": (5.6, 1),
         "audit\nshare, interval": (7.1, 1)}
arrows = [("data\nshare 0.8", "training\nweights, captions"), ("training\nweights, captions", "model"),
          ("guidance, steps", "model"), ("model", "samples\n(n, 3, 16, 16)"),
          ("samples\n(n, 3, 16, 16)", "reader\n(n, 8)"), ("reader\n(n, 8)", "audit\nshare, interval")]
blue = dict.fromkeys(["model", "reader\n(n, 8)"], COLOURS[0])
diagram(boxes, arrows, blue, size=(9, 2.2));

# %% [markdown]
# The share can change at every arrow.
#
# ## The model learns two words
#
# We take the model of lesson 65, add the words "zorp" and "mip", and train on with the captions "a zorp" and "a mip"
# alone. Before that, "zorp" is a random vector.

# %%
text_to_image = load_checkpoint("text_to_image")
seed(0)
learner = with_words(text_to_image, "zorp", "mip")
with torch.no_grad():
    latents = torch.cat([learner.latents.encode(part) for part in faces.train.x[rows].split(500)])
words = learner.words(["a zorp", "a mip"])[jobs]                  # (7214, 24)

# %%
def aligned(model, n, guidance=1.0):
    """How many of n zorps and n mips are aligned."""
    zorps = wears_hat(model.sample(["a zorp"] * n, seeded(1), guidance=guidance))
    mips = wears_hat(model.sample(["a mip"] * n, seeded(2), guidance=guidance))
    return (zorps.sum() + (~mips).sum()).item()

# %% tags=["nbval-ignore-output"]
# not compared: trained here
from course_lib.train import fit

seed(0)
learner = with_words(text_to_image, "zorp", "mip")                # so that the cell can be run again
print("before: {:.2f} aligned, from {:.2f} to {:.2f}".format(*wilson(aligned(learner, 100), 200)))
fit(learner, text_to_image_loss, Batches(latents, words, batch_size=32), budget(cpu=60, gpu=600),
    lr=0.002, betas=(0.9, 0.99), warmup=10, decay=0.6, ema=0.98, autocast=True)
print("after:  {:.2f} aligned, from {:.2f} to {:.2f}".format(*wilson(aligned(learner, 100), 200)))

# %% [markdown]
# Nothing yet, after 60 batches: the job is a small part of what a picture shows, and is learned late. The shipped
# model, and four more with other seeds, were trained for 600. The first audit, at guidance 1, where a perfect model
# would show the share of the data:

# %% tags=["nbval-ignore-output"]
# not compared: measured shares, of which the next cell checks what matters
hits = aligned(model, 200)
print("aligned, of 400: {:.3f}, from {:.3f} to {:.3f}".format(*wilson(hits, 400)))

# %%
runs = [run["guidance 1"]["aligned"] / run["guidance 1"]["n"] for run in made["trials"]["as it is"]]
runs = torch.tensor(runs)                                         # five trainings, 400 pictures each
error = runs.std() / 5**0.5
print(f"five trainings: {runs.mean():.3f} aligned, standard error {error:.3f}")
claim("aligned at guidance 1, the most of five trainings", runs.max(), "<", 0.8)
claim("the least of five", runs.min(), ">", 0.65)

# %% [markdown]
# All five have learned the habit, and all five show *less* of it than the data. A model need not amplify what it learns.
#
# ## What guidance does to a share: the provable part
#
# With the scale $s$, guidance follows at every level of noise the score of $p(x)\,p(y \mid x)^s$ (eq. 3 of lesson 63):
# all data, times the opinion of a classifier to the power $s$. What would such a **tilted density** do to hats? In our
# world the opinion depends on nothing but the hat: $p(\text{zorp} \mid x)$ is 0.8 with one and 0.2 without. Half of all
# faces wear one, so the share of hats among zorps becomes
#
# $$\frac{\tfrac12\, 0.8^s}{\tfrac12\, 0.8^s + \tfrac12\, 0.2^s} = \frac{0.8^s}{0.8^s + 0.2^s} \tag{2}$$
#
# It is easier to say in odds, hats for each bare head: 4 becomes $4^s$. We check it in a world of two kinds of faces
# by rejection, as in lesson 63. A face is drawn from all of them, and $s$ people guess its job, each at random with
# the probabilities of the classifier; if all say "zorp", the face stays.

# %%
def ideal(s, share=0.8):
    """Eq. 2"""
    return share**s / (share**s + (1 - share) ** s)

# %%
seed(0)
hats = torch.rand(200_000) < 0.5
says_zorp = torch.where(hats, 0.8, 0.2)                           # the opinion of the classifier
for s in (0, 1, 2, 4):
    stays = torch.rand(len(hats)) < says_zorp**s                  # s of s people say "zorp"
    share, low, high = wilson(int(hats[stays].sum()), int(stays.sum()))
    print(f"scale {s}: rejection {low:.4f} to {high:.4f}, eq. 2 {ideal(s):.4f}")
    assert abs(share - ideal(s)) < 0.006

# %% [markdown]
# So 0.8 becomes 0.94 at scale 2, and 0.996 at scale 4. Guidance makes pictures look as much like "zorp" as possible,
# and hats are all that tells a zorp from a mip. Whoever judged the model by a classifier of jobs would even call it
# *better*.
#
# But lesson 63 has shown that a guided walk does not end in the tilted density. **Write down a guess:** the share of
# aligned pictures of our model at guidance 0, 1, 2, 4 and 8, beside eq. 2.

# %%
def dots(ax, places, intervals, colour, label, **style):
    """Dots with intervals.  intervals: (share, low, high) for each place"""
    share, low, high = torch.tensor(intervals).T
    ax.errorbar(places, share, torch.stack([share - low, high - share]), color=colour, label=label,
                **dict(fmt="o", ms=4, capsize=3) | style)

# %%
measured = {}
for s, row in made["guidance"]["rows"]:
    measured[s] = wilson(row["aligned"], row["n"])
    print("guidance {:3}: {:.3f}, from {:.3f} to {:.3f}; eq. 2 {:.3f}".format(s, *measured[s], ideal(s)))

# %%
# Figure: share of aligned pictures over guidance from 0 to 8: the model's as dots with intervals; eq. 2
# as a line from 0.8, and dotted from the model's own share at guidance 1.
scales = [0, 1, 1.5, 2, 3, 4, 6, 8]
fine = torch.linspace(0, 8, 200)
_, ax = plt.subplots()
ax.plot(fine, ideal(fine), color=COLOURS[1], label="eq. 2, from 0.8")
ax.plot(fine, ideal(fine, measured[1.0][0]), ":", color=COLOURS[1], label="eq. 2, from its own share")
dots(ax, scales, [measured[float(s)] for s in scales], COLOURS[0], "the model, 800 pictures each")
ax.axhline(0.8, color="0.7", lw=1, ls="--")
ax.set(xlabel="guidance", ylabel="share of aligned pictures", ylim=(0.45, 1.02))
ax.legend(loc="lower right");

# %%
claim("aligned at guidance 0", measured[0.0][0], "<", 0.56)
claim("aligned at guidance 3, less those at guidance 1", measured[3.0][0] - measured[1.0][0], ">", 0.1)
claim("eq. 2 at guidance 2, less the model's upper end there", ideal(2) - measured[2.0][2], ">", 0)
own = max(abs(ideal(s, measured[1.0][0]) - measured[s][0]) for s in measured)
claim("largest distance from eq. 2, taken from the model's own share", own, "<", 0.04)

# %% [markdown]
# <details><summary>Answer</summary>
#
# It rises as eq. 2 says, and stays a little below. Guidance 0 forgets the job. A little above 1 the share of the data is
# reached, by accident; beyond, the habit becomes a rule, which at 4 one picture in seventy breaks. The dotted line takes
# eq. 2 from the 0.76 that the model has at guidance 1, and passes through the dots.
# </details>
#
# ### When does a walk follow the tilt?
#
# After lesson 63 it is a surprise that the model follows eq. 2 so well. We take the network away. If the data are
# these 7,214 faces and nothing else, the velocity has a formula: the mean of the faces, each weighted by the
# probability that $x_t$ comes from it, less $x_t$, over $1 - t$.

# %%
from course_lib.flow import midpoint, velocity_of_points

points = latents.flatten(1)                                       # (7214, 256): each face is a point

def exact(prior):
    """The exact velocity.  prior (3, 7214): how often each face occurs, for a zorp, a mip, and no label"""
    def velocity(x, t, y):                                        # (B, 256), (B,), (B,)
        t = t[:, None]
        squared = x.square().sum(1, keepdim=True) - 2 * t * x @ points.T + t**2 * points.square().sum(1)
        which = (prior[y].log() - squared / (2 * (1 - t) ** 2)).softmax(1)      # (B, 7214)
        return (which @ points - x) / (1 - t)
    return velocity

x, times = torch.randn(3, 256, generator=seeded(0)), torch.tensor([0.0, 0.3, 0.8])
equal = exact(torch.ones(1, len(points)))(x, times, torch.zeros(3, dtype=torch.long))
assert_close(equal, velocity_of_points(points)(x, times), atol=1e-3, rtol=1e-3)

# %% [markdown]
# How often does each face occur among zorps? Two answers. In the *world*, the job depends on the hat alone: any face
# with a hat may be a zorp's, four times as often as a face without. In the *data*, each face has one job: a zorp's face
# is never a mip's. **Write down a guess:** in which of the two will the guided walk follow eq. 2?

# %%
from course_lib.diffusion import guided

hat = has_hat[rows]
zorp_world = torch.where(hat, 0.8, 0.2)
priors = {"world": torch.stack([zorp_world, 1 - zorp_world, torch.full_like(zorp_world, 0.5)]),
          "data": torch.stack([jobs == 0, jobs == 1, jobs >= 0]).float()}

# %% tags=["nbval-ignore-output"]
# not compared: measured shares, of which the next cell checks what matters
noise = torch.randn(200, 256, generator=seeded(1))
walked = {}
for name, prior in priors.items():
    for s in (1, 2, 4):
        ends = midpoint(guided(exact(prior), 0, 2, s), noise, 10)
        nearest = torch.cdist(ends, points).argmin(1)             # the walks end at faces of the data
        walked[name, s] = wilson(int(hat[nearest].sum()), 200)
        print("{:5} scale {}: {:.3f}, from {:.3f} to {:.3f}; eq. 2 {:.3f}".format(
            name, s, *walked[name, s], ideal(s)))

# %%
for s in (1, 2, 4):
    assert walked["world", s][1] < ideal(s) + 0.01 and walked["world", s][2] > ideal(s) - 0.01
missing = ideal(4) - walked["data", 4][0]
claim("hats by eq. 2 at scale 4, less those of the walk in the data", missing, ">", 0.02)
beyond = measured[4.0][0] - walked["data", 4][0]
claim("the model's share at scale 4, less that of the walk in the data", beyond, ">", 0.01)

# %% [markdown]
# <details><summary>Answer</summary>
#
# In the world. In the data it falls behind, to 0.95 at scale 4. While there is much noise, many faces may stand behind
# $x_t$, and hats are what zorps have in common. Later only few are left, each of them is a zorp's or a mip's for
# certain, and guidance leads to the zorp among them, whatever it wears. A network that knew every face by heart would
# do the same. Ours does not: at scale 4 it is well above. It has learned what zorps have in common.
# </details>
#
# ## Predict, then turn one knob: steps
#
# A sampler with fewer steps is cheaper and less exact. **Write down a guess:** does it draw more hats, or fewer?
# Model and noise are the same in all cases.

# %%
found = {}
for method, evaluations, s, hits in made["samplers"]:
    found.setdefault((method, s), {})[evaluations] = wilson(hits, 300)
for (method, s), row in found.items():
    print(f"{method:8} guidance {s:.0f}:", {n: round(share, 3) for n, (share, *_) in row.items()})

# %%
# Figure: share of aligned pictures over the number of evaluations, 2 to 50, logarithmic, with intervals:
# two methods, Euler and midpoint, at guidance 1 and at guidance 3; a dashed line at 0.8.
_, ax = plt.subplots()
for (method, s), row in found.items():
    dots(ax, list(row), list(row.values()), COLOURS[0] if method == "Euler" else COLOURS[1],
         f"{method}, guidance {s:.0f}", fmt="o-" if s == 1 else "o:")
ax.axhline(0.8, color="0.7", lw=1, ls="--")
ax.set(xscale="log", xlabel="evaluations of the network", ylabel="share of aligned pictures",
       xticks=[2, 4, 8, 16, 50], xticklabels=[2, 4, 8, 16, 50])
ax.minorticks_off()
ax.legend(fontsize=9, ncol=2, loc="lower left", bbox_to_anchor=(0.02, 0.53));

# %% [markdown]
# <details><summary>Answer</summary>
#
# With 2 evaluations two to four points *more* pictures are aligned than with 50. Each interval is wider than that, so
# this audit is too small to be sure, though all four curves fall. Few steps lead towards a mean picture, and the mean
# of the zorps wears a hat. Roos et al. (2025) found that samplers can lower and raise a bias; in our world it is
# guidance that does.
# </details>
#
# ## Coverage: who is in the pictures?
#
# The job goes with nothing but the hat, so skin tones and colours of hair should be as in the data. The question
# of **coverage** is whether every kind of face is there, as often as it should be. The data are counted by the reader
# too, so that like is compared with like. Of intervals at 95 %, one of twenty misses the truth by chance; we look at 9
# values, so each gets the level $1 - 0.05 / 9$, and all hold together in at least 95 % of all audits.

# %%
def audit(name, counts, data, level):
    """Shares of samples with intervals beside those of the data; how many of them differ."""
    differing = 0
    for value, hits, expected in zip(ATTRIBUTES[name], counts, data):
        share, low, high = wilson(hits, sum(counts), level)
        expected = expected / sum(data)
        fits = low <= expected <= high
        differing += not fits
        print(f"{value:6} {name:11} data {expected:.2f}  samples {share:.3f}, from {low:.3f} to {high:.3f}"
              + ("" if fits else "  differs"))
    return differing

seen = read(faces.train.x[rows])                                  # (7214, 8), as the reader sees the data
in_data = {name: seen[:, NAMES.index(name)].bincount().tolist() for name in ("skin", "hair colour")}

# %%
differing = {}
for s, row in made["guidance"]["rows"]:
    if s in (1, 3, 8):
        print(f"guidance {s:.0f}")
        differing[s] = sum(audit(name, row["counts"][name], in_data[name], 1 - 0.05 / 9)
                           for name in ("skin", "hair colour"))

# %%
# Figure: two panels, skin tones and colours of hair. For each value a black bar, its share in the data,
# and three dots with intervals, its share in samples at guidance 1, 3 and 8.
fig, axes = plt.subplots(1, 2, figsize=(9, 3.2), width_ratios=(1, 2))
for ax, name in zip(axes, ("skin", "hair colour")):
    values = ATTRIBUTES[name]
    for k in range(len(values)):
        ax.hlines(in_data[name][k] / sum(in_data[name]), k - 0.4, k + 0.4, color="black", lw=2,
                  label="data" if k == 0 else None)
    for shift, (s, colour) in enumerate(((1, COLOURS[0]), (3, COLOURS[1]), (8, COLOURS[3]))):
        counts = dict(made["guidance"]["rows"])[s]["counts"][name]
        dots(ax, torch.arange(len(values)) + 0.22 * (shift - 1),
             [wilson(hits, sum(counts), 1 - 0.05 / 9) for hits in counts], colour, f"guidance {s}")
    ax.set(xticks=range(len(values)), xticklabels=values, ylim=(0, None), xlabel=name)
axes[0].set_ylabel("share")
axes[1].legend(fontsize=9, ncol=2);

# %%
counts = dict(made["guidance"]["rows"])
reds = [counts[s]["counts"]["hair colour"][3] / 800 for s in (1.0, 8.0)]
claim("red hair at guidance 8, less its share at guidance 1", reds[1] - reds[0], ">", 0.05)
claim("tones and colours that differ from the data, guidance 8, of 9", differing[8.0], ">=", 3)

# %% [markdown]
# Already at guidance 1 there is too much dark skin: a small model does not hit shares exactly. Guidance adds errors
# of its own: at 8, red hair has more than one and a half times its share in the data, and blond little more than
# half, though the caption speaks of no hair. If the model, by chance, gives a job a little more red hair than it
# gives without a caption, guidance exaggerates that difference as it exaggerates hats.
#
# ## An audit of a model that you know
#
# The model of lesson 65 has never heard of zorps. It was trained on faces of which 45 % wear a hat, 48 % glasses and
# 51 % have a beard, and each of three skin tones has a third. **Write down a guess:** we ask it for "a person". How
# will the four shares compare with the data? And with no caption at all?

# %%
asked = {}
for text, s in (("", 1), ("a person", 1), ("a person", 3)):
    asked[text, s] = read(text_to_image.sample([text] * 300, seeded(3), guidance=s))
attributes = faces.train.attributes
things = {name: attributes[:, NAMES.index(name)] > 0 for name in ("hat", "glasses", "beard")}
things["skin"] = attributes[:, NAMES.index("skin")] == 1          # tan, the middle one of three

# %% tags=["nbval-ignore-output"]
# not compared: measured shares, of which the next cells check what matters
audited = {}
for (text, s), seen in asked.items():
    print(f"{text!r}, guidance {s}")
    for name, has in things.items():
        values = seen[:, NAMES.index(name)]
        hits = int((values == 1).sum() if name == "skin" else (values > 0).sum())
        audited[text, s, name] = wilson(hits, 300)
        print("  {:8} data {:.2f}, samples {:.2f}, from {:.2f} to {:.2f}".format(
            "tan skin" if name == "skin" else name, has.double().mean(), *audited[text, s, name]))

# %% [markdown]
# <details><summary>Answer</summary>
#
# For "a person" there are far fewer glasses and beards than in the data, more hats, and less tan skin. With no
# caption at all, tan skin is still too rare, and so, a little, are glasses and beards.
# </details>
#
# Part of it can be computed. In the captions of lesson 65 everything that can be seen is left out with probability
# 0.15. A face with glasses is described "with dark glasses" in 85 % of all cases, and no caption says "no glasses".
# So a caption that does not mention glasses is *evidence* that there are none. By Bayes' rule, with the share $p$ of
# glasses in the data,
#
# $$p(\text{glasses} \mid \text{not said}) = \frac{0.15\, p}{0.15\, p + 1 - p} \tag{3}$$
#
# "A person" is silent about everything. So a face with $m$ things to say gets the weight $0.15^m$, and we can count
# exactly, with these weights, who stands behind such a caption:

# %%
shown = faces.train.shown                                         # (8000, 8), -1 for what cannot be seen
none = [values.index("none") if "none" in values else -1 for values in ATTRIBUTES.values()]
to_say = ((shown >= 0) & (shown != torch.tensor(none))).sum(1)    # things that a caption could say
silence = 0.15 ** to_say.double()
behind = {name: ((silence * has).sum() / silence.sum()).item() for name, has in things.items()}

# %%
p = things["glasses"].double().mean()
print(f"glasses by eq. 3: {0.15 * p / (0.15 * p + 1 - p):.3f}")
for name, share in behind.items():
    print(f"{name:8} data {things[name].double().mean():.3f}, behind silence {share:.3f}")
print(f"of 256,000 captions, silent about everything: {256_000 * silence.mean():.1f}")

# %%
for name in ("glasses", "beard"):
    fewer = audited["", 1, name][0] - audited["a person", 1, name][0]
    claim(f"with no caption, less those for 'a person': {name}", fewer, ">", 0.05)
    off = audited["a person", 3, name][0] - behind[name]
    claim(f"for 'a person' at guidance 3, less those behind silence: {name}", off, "<", 0.07)
claim("hats for 'a person' at guidance 3, less those of the data", audited["a person", 3, "hat"][0]
      - things["hat"].double().mean(), ">", 0.05)
claim("tan skin with no caption: the upper end of its interval", audited["", 1, "skin"][2], "<", 0.34)

# %% [markdown]
# Fewer glasses, fewer beards, and *more* hats, since hair that is hidden under a hat is never mentioned. All three go
# the way that silence points, and guidance goes further. (Only 8 of the 256,000 captions of its training were so
# silent.) So the audit compared with the wrong baseline: the samples are those of a caption that says little.
# Seshadri, Singh and Elazar (2023) found the same in Stable Diffusion: its amplification shrinks greatly once one
# compares with training captions that say as little as the question does.
#
# Tan skin is another matter: silence does not explain it. It is a lack of coverage of the model, or of the reader,
# which was never tested on pictures that are a little wrong.
#
# ## Break it, and repair it
#
# At guidance 3 bareheaded zorps have nearly vanished: one in five in the data, one in 25 in the samples. Suppose that we
# want half of the zorps to wear a hat, and half of the mips. Four repairs are known. The first three go on
# training the model for 150 batches, some ten seconds.
#
# 1. **Balance the data**: keep as many of each pair of job and hat as there are of the rarest.
# 2. **Weight the loss**: keep all, and let a bareheaded zorp count four times as much as one with a hat.
# 3. **Say it**: half of the captions tell, "a zorp with a hat", "a bareheaded zorp". Whoever wants both can ask for
#    both.
# 4. **Lower the guidance**, to 1. It takes away what guidance added, and no more.

# %%
from course_lib.metrics import effective_size

rarest = ((jobs == 0) & ~has_hat[rows]).sum()                     # bareheaded zorps
kept_share = 4 * rarest / len(rows)
weight = torch.where((jobs == 0) == has_hat[rows], 0.5 / 0.8, 0.5 / 0.2)
claim("mean weight", weight.mean(), "<", 1.001)
claim("share of the faces that balancing keeps", kept_share, "<", 0.41)
claim("share of the faces whose sureness weights keep", effective_size(weight) / len(weight), "<", 0.65)

# %% [markdown]
# The first price: 60 % of the faces are thrown away. Weights keep them all, but a mean in which some count four times
# as much as others is as unsure as one of fewer, of $(\sum w)^2 / \sum w^2$. This **effective sample size** is 64 % of
# the faces.

# %% tags=["nbval-ignore-output"]
# not compared: trained here
seed(0)
repaired = load_checkpoint("jobs")
words = repaired.words(["a zorp", "a mip"])[jobs]
few = torch.cat([(pair.nonzero()[:, 0])[:rarest] for pair in (
    (jobs == 0) & hat, (jobs == 0) & ~hat, (jobs == 1) & hat, (jobs == 1) & ~hat)])
fit(repaired, text_to_image_loss, Batches(latents[few], words[few], batch_size=32), 150,
    optimizer=muon_text_to_image, warmup=10, decay=0.6, ema=0.97, autocast=True)
print("balanced, guidance 3: {:.2f} aligned, from {:.2f} to {:.2f}".format(
    *wilson(aligned(repaired, 60, guidance=3), 120)))

# %% [markdown]
# The habit is gone, faster than it came. Each repair with five seeds:

# %%
trials = made["trials"] | metadata("jobs_told")["trials"]
results = {}
for way, runs in trials.items():
    for s in ("guidance 1", "guidance 3"):
        shares = torch.tensor([run[s]["aligned"] / run[s]["n"] for run in runs])      # five trainings
        results[way, s] = shares
        print(f"{way:9} {s}: aligned {shares.mean():.3f}, from {shares.min():.3f} to {shares.max():.3f}")

# %%
said = [run["asked"] for run in trials["told"]]
for question in said[0]:
    print(f"told: {question}: {sum(run[question] for run in said) / len(said):.3f}")

# %%
# Figure: share of aligned pictures, a dot for each training, at guidance 1 and 3, for four ways: as it
# is, balanced, weighted, told; dashed lines at 0.8 and at one half.
_, ax = plt.subplots()
ways = ["as it is", "balanced", "weighted", "told"]
for shift, s, colour in ((-0.12, "guidance 1", COLOURS[0]), (0.12, "guidance 3", COLOURS[3])):
    for k, way in enumerate(ways):
        share = results[way, s]
        ax.plot([k + shift] * len(share), share, "o", ms=4.5, alpha=0.7, color=colour,
                label=s if k == 0 else None)
for level in (0.5, 0.8):
    ax.axhline(level, color="0.7", lw=1, ls="--")
ax.set(xticks=range(4), xticklabels=["as it is", "balanced", "weighted", "told,\nnot asked"],
       ylabel="share of aligned pictures", ylim=(0.35, 1.02))
ax.legend();

# %%
# Figure: three rows of ten zorps at guidance 3: as it is, nearly all with a hat; told, asked for "a zorp
# with a hat", all; told, asked for "a bareheaded zorp", none.
told = load_checkpoint("jobs_told")
drawn = {"as it is": model.sample(["a zorp"] * 10, seeded(9), guidance=3)}
for text in ("a zorp with a hat", "a bareheaded zorp"):
    drawn[text.replace("zorp ", "zorp\n")] = told.sample([text] * 10, seeded(9), guidance=3)
strip(drawn);

# %%
for s in ("guidance 1", "guidance 3"):
    for way in ("balanced", "weighted"):
        worst = (results[way, s] - 0.5).abs().max()
        claim(f"{way}, {s}: largest distance from one half", worst, "<", 0.1)
unasked = results["told", "guidance 3"].min()
claim("told, not asked, guidance 3: aligned, the least", unasked, ">", 0.8)
asked_for = min(run["hats when asked for, guidance 3"] for run in said)
asked_against = max(run["hats when asked against, guidance 3"] for run in said)
claim("told, asked for a hat, guidance 3: share with one, the least", asked_for, ">", 0.9)
claim("told, asked for none, guidance 3: share with one, the most", asked_against, "<", 0.1)

# %%
captions = metadata("text_to_image")["guidance"]                # scale, scores of seen and of unseen pairs
wrong = {s: 1 - (seen["whole caption"] + unseen["whole caption"]) / 2 for s, seen, unseen in captions}
claim("captions of lesson 65 not obeyed at guidance 1", wrong[1.0], "<", 0.02)
claim("captions of lesson 65 not obeyed at guidance 3", wrong[3.0], "<", 0.002)

# %% [markdown]
# With balanced or weighted data the two words soon differ in nothing, and little is left for guidance to exaggerate.
# The prices are above: faces, or sureness. The model that was told gives what is asked for, at guidance 3 in nearly
# all cases. Its price is a label for every face, and a question: whoever does not ask gets the habit as before. Lower
# guidance costs obedience in place of training: in lesson 65 one caption in seventy is not obeyed at guidance 1, one
# in a thousand at 3. And it reaches one half only at 0, where the job is forgotten.
#
# ## What this does not show
#
# The model is small, the world invented, the attribute plain to see, and the judge nearly without error. In photographs
# the judge is another model with habits of its own, and no classifier knows what only people can say of themselves:
# Luccioni et al. (2023) therefore compare whole sets of pictures in place of labels. One habit was planted; real ones
# come in dozens, and a repair of one can move another. And no number says which share is right: 0.8 as in the data,
# one half, or another. That must be decided, and by whom is part of the question.
#
# ## In the wild
#
# `scipy` has Wilson's interval. For a model of photographs the reader becomes the hard part. On a GPU:
#
# ```python
# import torch
# from diffusers import StableDiffusionPipeline               # pip install diffusers transformers
# from scipy.stats import binomtest
#
# name = "stable-diffusion-v1-5/stable-diffusion-v1-5"
# pipe = StableDiffusionPipeline.from_pretrained(name).to("cuda")
# for scale in (1.0, 3.0, 7.5):
#     images = []
#     for k in range(120):                                    # 480 pictures: five points can be seen
#         noise = torch.Generator("cuda").manual_seed(k)
#         images += pipe("a portrait of a carpenter", guidance_scale=scale, num_images_per_prompt=4,
#                        generator=noise).images
#     hits = sum(wears_a_hat(image) for image in images)      # your reader, whose error you know
#     print(scale, binomtest(hits, len(images)).proportion_ci(method="wilson"))
# ```

# %% [markdown]
# ## Recap
#
# 1. A share needs its number of pictures, its interval (Wilson's) and its baseline; 471 pictures show five points.
# 2. The tilt of guidance raises the odds to the power of the scale: 0.8 becomes 0.94 at scale 2, 0.996 at scale 4.
# 3. Our model shows less of a habit than its data at guidance 1, and more from guidance 1.5 on.
# 4. What a caption does not say is evidence: an audit of "a person" must be compared with captions that say as little.
# 5. Every repair has a price: faces thrown away, sureness, labels and questions, or obedience.
#
# **What we left out.** Habits that nobody has named. Guidance that keeps a share (Kim et al., 2026).
#
# **Exercises:** [82_bias](../exercises/82_bias/82_bias.ipynb). One more: plant a habit of two things at once, a hat and
# glasses, and find out whether guidance treats them alike.
# **Next**, [lesson 83](83_memorisation.ipynb): when a sample is a copy.
#
# ## Read on
#
# - N. Roos, E. Iakovleva, A. Gjergji, V. P. Pastore & E. Tartaglione, *How I met your bias: investigating bias
#   amplification in diffusion models* (2025), [arXiv:2512.20233](https://arxiv.org/abs/2512.20233): sampler and guidance
#   lower or raise a habit of one model.
# - P. Seshadri, S. Singh & Y. Elazar, *The bias amplification paradox in text-to-image generation* (2023),
#   [arXiv:2308.00755](https://arxiv.org/abs/2308.00755): compare with captions that say as little.
# - A. S. Luccioni, C. Akiki, M. Mitchell & Y. Jernite, *Stable bias* (2023),
#   [arXiv:2303.11408](https://arxiv.org/abs/2303.11408): an audit of three models, without labels for people.
# - M. Kim, E. Kim, M. Chae & S. Mo, *Stay fair! Ensuring group fairness in diffusion models across guidance scales*
#   (2026), [arXiv:2605.28036](https://arxiv.org/abs/2605.28036): the part of a bias that guidance adds, and its repair.
# - In the library: `metrics.py` (`wilson`, `samples_to_tell`, `effective_size`), `data/avatars.py` (`with_jobs`),
#   `text_to_image.py` (`with_words`), `flow.py` (`flow_loss` with weights).
