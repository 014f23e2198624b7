# %% [markdown]
# # 85 · Real or generated? Detectors, and what a verdict is worth
#
# Can a network tell generated pictures from real ones? A small one learns it in seconds, if it is tested on the
# generator that it was trained on. This lesson asks what comes after: what does it do when it meets another generator,
# what does it look at, what does its "99 % sure" mean, and how many of those whom it accuses are innocent? We use all
# ten generators of digits of this course, so nobody's face is needed. At the end you will have made the table below.
#
# **After this lesson you can**
# - train a detector without handing it a shortcut, and test it on generators that it has never seen;
# - read spectra, areas under curves and reliability diagrams, each with an interval;
# - work out how many of the accused are innocent, before anybody believes a score.
#
# **You need** lessons [12](12_convnet.ipynb) (convolutional networks, calibration), [41](41_gan.ipynb) (GANs) and
# [64](64_flow_matching.ipynb) (flow matching). **It takes** 75 minutes to read and a minute to run. **How hard:** ••.
# All symbols are in the [table of symbols](symbols.ipynb).
#
# ## Set-up

# %%
import matplotlib.pyplot as plt
import torch
from torch.nn import functional as F
from torch.testing import assert_close

from course_lib.checkpoint import load as load_checkpoint, metadata
from course_lib.claims import claim
from course_lib.data import Batches, load
from course_lib.device import seed, seeded

# %%
from course_lib.plots import COLOURS, diagram, sliders, strip

digits = load("digits")
trials = {}                                                       # trained on -> what five seeds measured
for name in ("detector_gan", "detector_flow"):
    trials |= metadata(name)["trials"]
generators = ["gaussian_mixture", "autoencoder", "vae", "vae_mixture", "image_gpt", "gan",
              "conditional_gan", "ddpm", "conditional_ddpm", "flow"]
short = ["mixture", "autoencoder", "VAE", "VAE\n+ prior", "image\nGPT", "GAN", "GAN\n+ label", "DDPM",
         "DDPM\n+ label", "flow"]

def areas(trained_on, tested_on):
    """What was measured with each seed: five seeds of detectors of the GAN, one of the others."""
    return torch.tensor([seeds[tested_on][0] for seeds in trials[trained_on]])

# %%
# Figure: a table of ten rows, trained on, by ten columns, tested on, in colours from brown, 0, over
# white, one half, to green, 1. The diagonal is green. VAEs and image GPT are brown for the mixture; the
# mixture, the autoencoder and the diffusion models are brown for VAEs. GANs find VAEs and the mixture,
# and hardly any diffusion model.
_, ax = plt.subplots(figsize=(8.6, 5))
mean = torch.tensor([[areas(row, name).mean() for name in generators] for row in generators])
ax.imshow(mean, cmap="BrBG", vmin=0, vmax=1, aspect="auto")
for i in range(10):
    for j in range(10):
        ink = "white" if abs(mean[i, j] - 0.5) > 0.35 else "black"
        ax.text(j, i, f"{mean[i, j]:.2f}", ha="center", va="center", fontsize=10, color=ink)
ax.set_xticks(range(10), short, fontsize=9)
ax.set_yticks(range(10), [name.replace("\n", " ") for name in short], fontsize=9)
ax.set(xlabel="tested on", ylabel="trained on");

# %% [markdown]
# Each number says how well fakes of the column are told from real digits by a detector that learned from the fakes of
# the row: 1 is perfect, 0.5 is guessing. Numbers near 0 are worse than guessing. ("+ prior" is the VAE with a fitted
# prior; "+ label" is a second version that can be asked for a digit.)
#
# ## Ten sources of fakes
#
# Of each generator there are 500 fakes to test on, 50 of each digit, drawn with other seeds than those to learn from.
# The real side is the 1,000 test digits, which no generator and no detector has seen. Three generators are slow, so
# their fakes are kept in a file. A generator that cannot be asked for a digit is sampled until the judge has seen
# enough of each (`balanced`).

# %%
from course_lib.metrics import balanced

def draw(name, n, start):
    """n fakes, of which number i shows the digit i % 10.  -> (n, 1, 28, 28)"""
    model = load_checkpoint(name)
    if name in ("image_gpt", "conditional_gan"):                  # these two can be asked
        return model.sample(n, torch.arange(n) % 10, generator=seeded(start))
    return balanced(model, n, seeded(start))

kept = load_checkpoint("fakes")
slow = ["ddpm", "conditional_ddpm", "flow"]
fakes = {name: kept.of(name) if name in slow else draw(name, 500, 2) for name in generators}

# %%
# Figure: six rows of ten digits, 0 to 9: real ones, a Gaussian mixture, a VAE, a GAN, a DDPM and a flow.
shown = ["gaussian_mixture", "vae", "gan", "ddpm", "flow"]
order = digits.test.y.argsort(stable=True)[::100]                 # the first of each digit
strip({"real": digits.test.x[order]} | {name: fakes[name][:10] for name in shown});

# %% [markdown]
# Which rows could you tell from the first one?
#
# ## Break it: a perfect detector that is worth nothing
#
# Real digits were stored with 256 grey levels: each pixel is a whole number of 255ths. What comes out of a network is
# not.

# %%
from course_lib.privacy import auc

def off_grid(x):
    """How far the pixels lie from whole numbers of 255ths, on average.  (n, 1, 28, 28) -> (n,)"""
    grey = 255 * x
    return (grey - grey.round()).abs().mean((1, 2, 3))

def eight_bits(x):
    return (255 * x).round() / 255

raw, real = fakes["gan"], digits.test.x
before = auc(off_grid(raw), off_grid(real))
after = auc(off_grid(eight_bits(raw)), off_grid(eight_bits(real)))
claim("fakes told from real digits by rounding alone (1 is perfect)", before, "==", 1.0)
claim("the same, once both are saved as files of 8 bits", after, "<", 0.9)

# %% [markdown]
# The detector is perfect, and has learned nothing about generating. This is a **shortcut**: a difference in how the
# files came about, gone once a picture is saved. So fakes must be saved like real pictures. **Write down a guess:**
# what else could differ between a scan and a network's picture, in 256 grey levels?

# %%
def nearly_black(x):
    """The share of pixels with the grey levels 1 to 7 of 255.  -> (n,)"""
    grey = (255 * x).round()
    return ((grey > 0) & (grey < 8)).double().mean((1, 2, 3))

def saved(x, levels=16):
    """The pictures in a file with so many grey levels."""
    return (x * (levels - 1)).round() / (levels - 1)

for name in generators:
    in_256 = auc(nearly_black(fakes[name]), nearly_black(real))
    in_16 = auc(nearly_black(saved(fakes[name])), nearly_black(saved(real)))
    claim(f"{name}: told by nearly black pixels, 256 levels", in_256, ">", 0.9, digits=2)
    assert in_16 == 0.5                                           # with 16 levels nothing is nearly black

# %% [markdown]
# <details><summary>Answer</summary>
#
# The background. In the scans somebody has set it to exactly 0, which is black (our figures show it white); networks
# only come close. One number, the share of nearly black pixels, tells all ten generators from real digits. Our table
# would be excellent, for a reason that the next scanner does not share.
# </details>
#
# With 16 levels both shortcuts are gone, so from now on everything, real and fake, passes through `saved`. Published
# data sets had such shortcuts, too: real pictures as JPEG, generated ones as PNG (Grommelt et al., 2024).
#
# ## A number for a score: by hand
#
# A detector gives each picture a score, its **suspicion**. Take three fakes with 2.0, 0.5 and −1.0, and two real
# pictures with 0.5 and −2.0. In how many of the six pairs of a fake and a real one is the fake more suspicious? Ties
# count one half. This share is the **area under the ROC curve** (lesson 83).

# %%
from sklearn.metrics import roc_auc_score

three, two = torch.tensor([2.0, 0.5, -1.0]), torch.tensor([0.5, -2.0])
wins = 0.0
for f in three:
    for r in two:
        wins += 1.0 if f > r else 0.5 if f == r else 0.0
by_hand = wins / 6
labels = [1, 1, 1, 0, 0]
print(f"{wins} of 6 pairs: {by_hand:.3f}")
assert by_hand == auc(three, two) == roc_auc_score(labels, torch.cat([three, two]))
assert auc(three.exp(), two.exp()) == by_hand                     # only the order counts

# %% [markdown]
# The area says that fakes get *higher* scores, not how high. Whoever accuses needs a threshold. So beside the area
# stand two shares, at the threshold 0: of the fakes that are **found**, and of the real pictures that are
# **accused**.
#
# ## What we will build

# %%
# Figure: a diagram. A picture (B, 1, 28, 28) is saved with 16 grey levels, then goes through a
# convolutional network to its suspicion (B,). From there one arrow leads over a threshold to "accused or
# not", another over a temperature and the base rate to the probability that the picture is a fake.
picture_box, network_box, score_box = "picture\n(B, 1, 28, 28)", "network\nof lesson 12", "suspicion\n(B,)"
boxes = {picture_box: (0, 1), "16 grey\nlevels": (1.1, 1), network_box: (2.3, 1), score_box: (3.5, 1),
         "threshold": (4.5, 1.6), "accused\nor not": (5.6, 1.6), "temperature,\nbase rate": (4.5, 0.4),
         "probability\nof a fake": (5.8, 0.4)}
arrows = [(picture_box, "16 grey\nlevels"), ("16 grey\nlevels", network_box), (network_box, score_box),
          (score_box, "threshold"), ("threshold", "accused\nor not"),
          (score_box, "temperature,\nbase rate"), ("temperature,\nbase rate", "probability\nof a fake")]
diagram(boxes, arrows, {network_box: COLOURS[0]});

# %% [markdown]
# ## A detector of GANs
#
# It is the network of lesson 12 with two classes. It sees 4,000 real digits, and 1,500 fakes, repeated until they are
# 4,000, too.

# %%
from course_lib.classify import classifier_loss, predict
from course_lib.convnet import ConvNet, ConvNetConfig
from course_lib.train import fit

learn_fake = draw("gan", 1_500, 1)
again = torch.arange(4_000) % 1_500                               # each of them two or three times
x = saved(torch.cat([digits.train.x, learn_fake[again]]))         # (8000, 1, 28, 28)
y = torch.cat([torch.zeros(4_000), torch.ones(4_000)]).long()     # 0 real, 1 generated

# %% tags=["nbval-ignore-figure"]
# Figure: a curve over 200 steps: the accuracy on the batches rises from one half to above 0.8.
# not compared: trained here
seed(0)
young = ConvNet(ConvNetConfig(n_channel=32, n_class=2)).to(memory_format=torch.channels_last)
history = fit(young, classifier_loss, Batches(x, y, batch_size=64), steps=200, lr=2e-3, warmup=50,
              decay=0.6, ema=0.99)
history.plot("accuracy");

# %%
def suspicion(model, x):
    """The logit of "generated" minus that of "real": above 0, the network accuses.  -> (n,)"""
    scores = predict(model, saved(x)).double()                    # (n, 2)
    return scores[:, 1] - scores[:, 0]

claim("area, fakes of the GAN, the network trained here",
      auc(suspicion(young, fakes["gan"]), suspicion(young, real)), ">", 0.7)

detectors = {name: load_checkpoint(f"detector_{name}") for name in ("gan", "flow")}
real_scores = {name: suspicion(model, real) for name, model in detectors.items()}
fake_scores = {name: {source: suspicion(model, fakes[source]) for source in generators}
               for name, model in detectors.items()}
claim("the same after 600 steps, as shipped",
      auc(fake_scores["gan"]["gan"], real_scores["gan"]), ">", 0.93)

# %% [markdown]
# ## It meets another generator
#
# The table at the top tells how well the *order* of the scores travels. And the threshold? At 0 the detector of the GAN
# finds most fakes of the GAN. **Write down a guess:** which share of the VAE's fakes does it find, for which its area
# is nearly as good, and which share of the flow's?
#
# An area from 500 fakes and 1,000 real digits needs an interval: the **bootstrap** of lesson 13 draws both sides again,
# with replacement, 1,000 times.

# %%
def how_often(size, n, generator):
    """n bootstrap draws of so many pictures: how often each of them counts.  -> (n, size)"""
    draws = [torch.randint(size, (size,), generator=generator) for _ in range(n)]
    return torch.stack([torch.bincount(chosen, minlength=size) for chosen in draws]).double()

def with_interval(fake, real, n=1_000):
    """(area, half of the 95 % interval), from n bootstrap draws.  scores (N,), (M,)"""
    pairs = (fake[:, None] > real).double() + 0.5 * (fake[:, None] == real)       # (N, M)
    coin = seeded(0)
    won = how_often(len(fake), n, coin) @ pairs                   # (n, M): against each real picture
    drawn = (won * how_often(len(real), n, coin)).sum(1) / pairs.numel()          # (n,): areas
    return pairs.mean().item(), 1.96 * drawn.std().item()

from course_lib.metrics import bootstrap

area, half = with_interval(fake_scores["gan"]["flow"], real_scores["gan"])
_, low, high = bootstrap(auc, fake_scores["gan"]["flow"], real_scores["gan"], n=200)
claim("half width by our bootstrap, as a multiple of the library's", half / ((high - low) / 2), "<", 1.25)

# %% tags=["nbval-ignore-output"]
# not compared: measured shares, of which the next cell checks what matters
accused = (real_scores["gan"] > 0).double().mean()
print(f"trained on the GAN: {accused:.3f} of the real digits are accused\n")
print("tested on          area             found   five seeds, area")
for name in generators:
    area, half = with_interval(fake_scores["gan"][name], real_scores["gan"])
    found = (fake_scores["gan"][name] > 0).double().mean()
    seeds = areas("gan", name)
    print(f"{name:17} {area:.2f} ± {half:.2f} {found:14.2f}   {seeds.min():.2f} to {seeds.max():.2f}")

# %%
claim("trained on GAN, tested on GAN: the worst of five seeds", areas("gan", "gan").min(), ">", 0.9)
claim("GAN, VAE: the worst", areas("gan", "vae").min(), ">", 0.8)
claim("GAN, flow: the best", areas("gan", "flow").max(), "<", 0.7)
for name, op, bound in (("gan", ">", 0.7), ("vae", "<", 0.7), ("flow", "<", 0.2),
                        ("conditional_gan", "<", 0.5), ("gaussian_mixture", ">", 0.9)):
    claim(f"fakes of {name} found by the detector of the GAN",
          (fake_scores["gan"][name] > 0).double().mean(), op, bound)
claim("VAE, Gaussian mixture (one seed)", areas("vae", "gaussian_mixture")[0], "<", 0.1)
claim("flow, VAE (one seed)", areas("flow", "vae")[0], "<", 0.45)
widest = max(trials[row][0][name][2] for row in generators for name in generators)
claim("widest half of the 95 % intervals of all 100 entries of the table", widest, "<", 0.04)

# %% [markdown]
# <details><summary>Answer</summary>
#
# A little more than half of the VAE's, and fewer than one in ten of the flow's. Most of the VAE's fakes are more
# suspicious than most real digits, but many are below 0: an order travels further than a threshold. The mixture,
# never seen, is found nearly always; the conditional GAN, a sister, in a third of the cases. And to the detectors of
# VAEs the mixture is more real than real.
# </details>

# %% [markdown]
# ## What does it look at? Spectra
#
# The brown fields of the table speak of a common cue, which for some generators points the wrong way. A picture is a
# sum of waves, and its **spectrum** says how strong each is: slow waves are the shapes, fast ones the edges.
#
# ### By hand: what making a picture larger does
#
# All our networks draw small maps and make them larger. One way is to write zeros between the numbers and let a
# convolution fill them; another is to write each number twice.

# %%
row = torch.tensor([3.0, 1.0, 0.0, 2.0])
with_zeros = torch.tensor([3.0, 0.0, 1.0, 0.0, 0.0, 0.0, 2.0, 0.0])
twice = row.repeat_interleave(2)                                  # 3 3 1 1 0 0 2 2

def power(x):
    return torch.fft.fft(x).abs().square()

for name, x in (("four numbers", row), ("zeros between", with_zeros), ("each one twice", twice)):
    print(f"{name:15}", "  ".join(f"{v:5.1f}" for v in power(x).tolist()))
assert_close(power(with_zeros), power(row).repeat(2))
waves = torch.arange(8)
weaker = 4 * torch.cos(torch.pi * waves / 8).square()              # 4 for the mean, 0 for wave 4
assert_close(power(twice), weaker * power(row).repeat(2), atol=1e-4, rtol=0)

# %% [markdown]
# With zeros the whole spectrum appears a second time, among the fast waves: number 4, up and down at each step, is as
# strong as number 0, the mean. Writing each number twice weakens the copy, and removes number 4. A convolution must
# take away the rest; what it leaves is called **aliasing**.
#
# Our networks end with a convolution to four channels, from which `PixelShuffle` makes 2 × 2 squares. That is the
# same as zeros between and a larger kernel, a **transposed convolution**:

# %%
small = F.avg_pool2d(real[:200], 2)                               # (200, 1, 14, 14), to be made larger
kernels = torch.randn(4, 1, 3, 3, generator=seeded(0))
shuffled = F.pixel_shuffle(F.conv2d(small, kernels, padding=1), 2)            # (200, 1, 28, 28)
large = torch.zeros(1, 1, 6, 6)
for i in range(4):                                                # the four, interleaved and turned round
    large[0, 0, i // 2::2, i % 2::2] = kernels[i, 0].flip(0, 1)
assert_close(F.conv_transpose2d(small, large, stride=2, padding=2), shuffled, atol=1e-5, rtol=1e-5)

# %% [markdown]
# How strong is the trace of layers that have learned nothing? We compare 20 random ones of either kind. For pictures,
# `radial_spectrum` takes the mean over all waves that are equally fast: 0 to 14 across the picture, up to 20 along the
# diagonals.

# %%
from course_lib.metrics import radial_spectrum

def my_radial_spectrum(x):                                        # (n, 1, 28, 28) -> (n, 21)
    strength = (torch.fft.fft2(x[:, 0].double()) / 28**2).abs().square()      # (n, 28, 28)
    along = torch.fft.fftfreq(28, 1 / 28)                         # 0, 1 ... 13, -14 ... -1 waves
    speed = torch.hypot(along[:, None], along).round()            # (28, 28), 0 to 20
    return torch.stack([strength[:, speed == k].mean(1) for k in range(21)], dim=1)

assert_close(my_radial_spectrum(real[:50]), radial_spectrum(real[:50]))

def fast_share(x):
    """Mean strength of the fast waves, 15 and more, as a share of that of all waves."""
    spectrum = radial_spectrum(x).mean(0)
    return (spectrum[15:].mean() / spectrum.mean()).item()

ratios = []
for number in range(20):
    draw_weights = seeded(number)
    weights = torch.randn(4, 1, 3, 3, generator=draw_weights)
    shuffle = F.pixel_shuffle(F.conv2d(small, weights, padding=1), 2)
    weights = torch.randn(1, 1, 3, 3, generator=draw_weights)
    nearest = F.conv2d(F.interpolate(small, scale_factor=2), weights, padding=1)
    ratios.append(fast_share(shuffle) / fast_share(nearest))
claim("fast waves, transposed convolution against nearest and convolution: smallest ratio of 20",
      min(ratios), ">", 2)

# %% [markdown]
# ### The spectra of our fakes
#
# Untrained, a transposed convolution leaves at least 29 times as much of the fast waves as the other way.
# **Write down a guess:** compared with real digits, do trained networks draw too many fast waves, or too few?

# %%
real_spectrum = radial_spectrum(saved(digits.train.x)).mean(0)    # (21,)
relative = {name: radial_spectrum(saved(fakes[name])).mean(0) / real_spectrum for name in generators}

# %%
fast = {name: relative[name][15:].mean().item() for name in generators}
claim("fast waves of the Gaussian mixture, real digits = 1", fast["gaussian_mixture"], "<", 0.3)
claim("... of the autoencoder", fast["autoencoder"], "<", 0.8)
claim("... of the GAN", fast["gan"], ">", 1.3)
claim("... of the VAE", fast["vae"], ">", 1.8)
claim("... of the flow, its distance from 1", abs(fast["flow"] - 1), "<", 0.15)

def stripes(x):
    """Straight waves: the fastest, where the copy of the mean would be, against the next to it."""
    strength = torch.fft.fft2(saved(x)[:, 0]).abs().square().mean(0)          # (28, 28)
    return ((strength[14, 0] + strength[0, 14]) / (strength[13, 0] + strength[0, 13])).item()

usual = stripes(digits.train.x)
claim("stripes of test digits, training digits = 1", stripes(real) / usual, "<", 1.05)
for name in ("gan", "vae", "ddpm", "flow", "gaussian_mixture"):
    claim(f"... of {name}", stripes(fakes[name]) / usual, ">", 1.15)

# %%
# Figure: six curves: strength relative to real digits, on a logarithmic axis, over 0 to 20 waves across
# the picture, for the Gaussian mixture, the autoencoder, the VAE, the GAN, the DDPM and the flow.
_, ax = plt.subplots(figsize=(7, 3.6))
for name, colour in zip(["gaussian_mixture", "autoencoder", "vae", "gan", "ddpm", "flow"], COLOURS):
    ax.plot(relative[name], color=colour, label=name.replace("_", " "))
ax.axhline(1, color="black", lw=0.8)
ax.set(xlabel="waves across the picture", ylabel="strength, real digits = 1", yscale="log",
       yticks=[0.2, 0.5, 1, 2, 3], yticklabels=["0.2", "0.5", "1", "2", "3"], xticks=range(0, 21, 5))
ax.minorticks_off()
ax.legend(ncols=2, fontsize=9);

# %% [markdown]
# <details><summary>Answer</summary>
#
# Both. Averages are soft, so the mixture and the autoencoder lack fast waves. GANs and VAEs have too many; for the VAE,
# whose logits lesson 31 multiplies by 3, sharpening adds to the trace. The DDPM is a little too soft, the flow nearly
# right.
# </details>
#
# And the copy of the slow waves? The networks have more stripes of one pixel than real digits. But so has the mixture,
# which makes nothing larger: this number does not prove the cause.
#
# Too sharp and too soft are opposite sides of reality. A detector that has met only sharp fakes takes soft ones for
# more real than real. That this cue is enough, a second detector shows: logistic regression on the logarithms of 21
# numbers.

# %%
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

def features(x):
    return (radial_spectrum(saved(x)) + 1e-9).log().numpy()       # (n, 21)

def spectral_detector(fake):
    """Logistic regression on spectra, of these fakes against as many training digits."""
    chosen = digits.train.x[torch.randperm(4_000, generator=seeded(0))[:len(fake)]]
    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1_000))
    return model.fit(features(torch.cat([chosen, fake])), [0] * len(fake) + [1] * len(fake))

def spectral_area(model, fake):
    scores = [torch.from_numpy(model.decision_function(features(x))) for x in (fake, real)]
    return auc(*scores)

# %%
learned_from = ["gaussian_mixture", "vae", "gan"]
by_spectrum = {name: spectral_detector(draw(name, 1_000, 1)) for name in learned_from}
for name, tested_on, op, bound in (("gan", "gan", ">", 0.7), ("vae", "vae", ">", 0.93),
                                   ("vae", "gaussian_mixture", "<", 0.1),
                                   ("gaussian_mixture", "vae", "<", 0.2), ("gan", "flow", "<", 0.6)):
    claim(f"spectra: learned from {name}, tested on {tested_on}",
          spectral_area(by_spectrum[name], fakes[tested_on]), op, bound)

# %% [markdown]
# ### Know more generators
#
# One detector learned from 150 fakes of each of the ten, another from as many in all, of the seven that are no
# diffusion models.

# %%
for name in ("vae", "gan", "ddpm", "flow"):
    own, known, unknown = areas(name, name), areas("all", name), areas("no diffusion", name)
    print(f"{name:6} own detector {own.mean():.2f}   all ten {known.mean():.2f}   "
          f"no diffusion {unknown.mean():.2f}")
claim("flow, lost by knowing all ten", (areas("flow", "flow") - areas("all", "flow"))[0], ">", 0.05)
claim("flow, by a detector that knows no diffusion: distance from one half",
      abs(areas("no diffusion", "flow")[0] - 0.5), "<", 0.05)

# %% [markdown]
# The detector that knows all ten finds VAEs nearly as well as their own detector does, GANs less well, and diffusion
# models much less well. The one that knows seven tosses a coin about the other three. The hope of Wang et al. (2020),
# that the traces of one network betray many, is not fulfilled here; none of theirs was a diffusion model.
#
# ## How sure is it? Calibration
#
# Of all answers given with 80 % confidence, 80 % should be right (lesson 12). A temperature repairs that. We fit it on
# one half of the GAN's test fakes and as many real digits, and look at the others. **Write down a guess:** is the
# repaired detector calibrated for the flow, too?

# %%
from course_lib.calibration import ece, fit_temperature, reliability

def both_classes(fake, real):
    """Suspicions as logits of two classes, with labels.  (N,), (N,) -> (2N, 2), (2N,)"""
    scores = torch.cat([real, fake])
    y = torch.cat([torch.zeros(len(real)), torch.ones(len(fake))]).long()
    return torch.stack([torch.zeros_like(scores), scores], dim=1), y

fit_logits, fit_y = both_classes(fake_scores["gan"]["gan"][::2], real_scores["gan"][:250])
tau = fit_temperature(fit_logits, fit_y)
claim("temperature", tau, ">", 1, digits=2)

errors = {}
tested = {"GAN": fake_scores["gan"]["gan"][1::2], "flow": fake_scores["gan"]["flow"][:250]}
for name, scores in tested.items():
    z, z_y = both_classes(scores, real_scores["gan"][500:750])
    errors[name] = ece(z.softmax(1), z_y, 10), ece((z / tau).softmax(1), z_y, 10)

# %%
claim("calibration error on the GAN, before", errors["GAN"][0], "<", 0.2)
claim("... with the temperature", errors["GAN"][1], "<", 0.08)
claim("calibration error on the flow, before", errors["flow"][0], ">", 0.2)
claim("... with the same temperature", errors["flow"][1], ">", 0.2)

# %%
# Figure: two reliability diagrams, bars of the share of right answers over confidence, each with a
# diagonal: left the GAN, right the flow, both with the same temperature.
_, panels = plt.subplots(1, 2, figsize=(7.6, 3.2), sharey=True)
for ax, (name, scores) in zip(panels, tested.items()):
    z, z_y = both_classes(scores, real_scores["gan"][500:750])
    bins = reliability((z / tau).softmax(1), z_y, n_bins=10)
    ax.bar(bins.edges[:-1], bins.accuracy.nan_to_num(), width=0.1, align="edge", edgecolor="white")
    ax.plot([0, 1], [0, 1], color="black", lw=0.8)
    ax.set(xlabel="confidence", xlim=(0.5, 1), ylim=(0, 1), title=f"tested on: {name}")
panels[0].set_ylabel("share of right answers");

# %% [markdown]
# <details><summary>Answer</summary>
#
# No. "98 % sure" was measured on the GAN and holds for the GAN. On the flow the same words are right about half of the
# time, which is guessing. Whoever reads the score cannot know which case it is.
# </details>
#
# ## How many of the accused are innocent? Base rates
#
# A detector finds 99 % of all fakes, and clears 99 % of all real pictures. Of a million pictures, one in a thousand
# is a fake. **Write down a guess:** a picture is accused. How probable is it that it is a fake?

# %%
pictures, one_in = 1_000_000, 1_000
fake_pictures = pictures // one_in                                # 1,000
found = 0.99 * fake_pictures                                      # 990
wrongly = 0.01 * (pictures - fake_pictures)                       # 9,990 real ones are accused, too
print(f"accused: {found + wrongly:,.0f}, of them fakes: {found:,.0f}, real: {wrongly:,.0f}")
guilty = found / (found + wrongly)
print(f"fakes among the accused: {guilty:.3f}")

# %% [markdown]
# <details><summary>Answer</summary>
#
# 9 %: of eleven accused ten are innocent. Fakes are so rare that even 1 % of the others outnumbers them.
# </details>
#
# Behind the count stands Bayes' rule:
#
# $$p(\text{fake} \mid \text{accused}) = \frac{p(\text{fake})\; p(\text{accused} \mid \text{fake})}
# {p(\text{fake})\; p(\text{accused} \mid \text{fake}) + p(\text{real})\; p(\text{accused} \mid \text{real})}$$
#
# $p(\text{fake})$ is the **base rate**. It stands in no detector and in no picture; it depends on where the picture was
# found.

# %%
from course_lib.calibration import predictive_value

def my_predictive_value(share, sensitivity, specificity):
    """Fakes among the accused, where the share `sensitivity` of the fakes is found, and the share
    `specificity` of the real pictures is cleared."""
    right = share * sensitivity
    wrong = (1 - share) * (1 - specificity)
    return right / (right + wrong)

assert_close(my_predictive_value(0.001, 0.99, 0.99), guilty)
assert my_predictive_value(0.001, 0.99, 0.99) == predictive_value(0.001, 0.99, 0.99)

coin = seeded(0)
is_fake = torch.rand(2_000_000, generator=coin) < 0.001
is_accused = torch.rand(2_000_000, generator=coin) < torch.where(is_fake, 0.99, 0.01)
counted = is_fake[is_accused].double().mean()
claim("fakes among the accused, counted among two million", abs(counted - guilty), "<", 0.006, digits=4)

# %%
# Figure: share of fakes among the accused over the base rate, from 1 in 100,000 to 1 in 2, on a
# logarithmic axis. For 99 % the curve passes one half at 1 in 100.
def show(specificity):
    shares = torch.logspace(-5, -0.3, 100)
    _, ax = plt.subplots(figsize=(6, 3))
    ax.plot(shares, [predictive_value(s, 0.99, specificity / 100) for s in shares.tolist()])
    ax.axhline(0.5, color="black", lw=0.8)
    ax.set(xscale="log", xlabel="base rate of fakes", ylabel="fakes among the accused", ylim=(0, 1),
           title=f"finds 99 %, clears {specificity:g} % of the real ones")

sliders(show, specificity=(99, 90, 99.9, 0.1))

# %% [markdown]
# At one fake in a thousand, half of the accused are fakes only if 99.9 % of the real pictures are cleared. What would
# it take to *know* that of a detector? Say it is shown 1,000 real pictures and accuses none. The interval of this
# share, after Wilson, still reaches to 0.4 %:

# %%
from course_lib.metrics import wilson

_, low, high = wilson(0, 1_000)
print(f"0 of 1,000 accused: the true share is between {low:.4f} and {high:.4f}")
print(f"if it is {high:.4f}, fakes among the accused: {predictive_value(0.001, 0.99, 1 - high):.2f}")
enough = 1_000
while wilson(0, enough)[2] >= 0.001:
    enough += 100
print(f"real pictures to be shown, none of them accused, until 99.9 % is sure: {enough:,}")

# %% [markdown]
# And *our* detector? Let its threshold be such that it accuses one real digit in a hundred.

# %% tags=["nbval-ignore-output"]
# not compared: measured shares, of which the claim says what matters
threshold = real_scores["gan"][:500].quantile(0.99)               # chosen on one half of the real digits
accused = (real_scores["gan"][500:] > threshold).double().mean().item()       # measured on the other
for name in ("gan", "vae", "flow"):
    found = (fake_scores["gan"][name] > threshold).double().mean().item()
    value = predictive_value(0.001, found, 1 - max(accused, 0.005))
    print(f"{name:4} found {found:.2f}; fakes among the accused, one fake in a thousand: {value:.3f}")
claim("the best of these three", predictive_value(0.001, 1.0, 1 - max(accused, 0.005)), "<", 0.2)

# %% [markdown]
# ## Predict, then turn one knob: grey levels
#
# What did we gain by throwing away 240 of 256 grey levels? A detector of the flow is trained for 250 batches on
# pictures with 256, 16 and 2 levels, and tested on pictures with as many. **Write down a guess:** at which number of
# levels does it find the flow's fakes, and the GAN's, which it has not seen?

# %%
levels = [256, 16, 2]
by_level = {"flow, seen in training": [], "GAN, not seen": []}
flow_fakes = kept.of("flow")                                      # 1,500, of which 500 are for testing
for n_level in levels:
    pool = torch.cat([digits.train.x, flow_fakes[500:].repeat(4, 1, 1, 1)])   # 4,000 and 4 x 1,000
    seed(0)
    model = ConvNet(ConvNetConfig(n_channel=16, n_class=2)).to(memory_format=torch.channels_last)
    fit(model, classifier_loss, Batches(saved(pool, n_level), y, batch_size=64), steps=250, lr=2e-3,
        warmup=50, decay=0.6, ema=0.98)
    scores = [predict(model, saved(x, n_level)).diff(dim=1)[:, 0]
              for x in (fakes["flow"], fakes["gan"], real)]
    by_level["flow, seen in training"].append(auc(scores[0], scores[2]))
    by_level["GAN, not seen"].append(auc(scores[1], scores[2]))

# %%
claim("flow at 256 levels", by_level["flow, seen in training"][0], ">", 0.9)
claim("flow, lost from 256 to 16 levels",
      by_level["flow, seen in training"][0] - by_level["flow, seen in training"][1], ">", 0.15)

# %% tags=["nbval-ignore-figure"]
# Figure: area over the number of grey levels, from 256 down to 2: two curves, for the flow and the GAN.
# not compared: trained here
_, ax = plt.subplots(figsize=(5, 3))
for name, values in by_level.items():
    ax.plot(values, "o-", label=name)
ax.axhline(0.5, color="black", lw=0.8)
ax.set(xticks=range(3), xticklabels=levels, xlabel="grey levels", ylabel="area", ylim=(0, 1.02))
ax.legend();

# %% [markdown]
# <details><summary>Answer</summary>
#
# With 256 levels the flow's fakes are told nearly without fail, by pixels that are nearly black. With 16, or 2, only
# the drawing is left, and the area falls by a fifth. None of it helps much with the GAN.
# </details>
#
# ## Fakes that are meant to pass
#
# A detector meets people who would like their fakes to pass. The cheapest attempts change the picture a little
# (`spoil`, of lesson 84). We do the same to real pictures, since phones and platforms do it to all.

# %% tags=["nbval-ignore-output"]
# not compared: measured shares, of which the next cell checks what matters
from course_lib.watermark import spoil

shares = {}
print("                 fakes of the GAN found   real digits accused")
for name, how, strength in (("as they are", "levels", 256), ("JPEG", "jpeg", 60), ("blurred", "blur", 0.5),
                            ("cut, enlarged", "crop", 1), ("noisy", "noise", 0.05)):
    spoiled = [spoil(x, how, strength, seeded(0)) for x in (fakes["gan"], real)]
    shares[name] = [(suspicion(detectors["gan"], x) > 0).double().mean().item() for x in spoiled]
    print(f"{name:14} {shares[name][0]:15.2f} {shares[name][1]:22.2f}")

# %%
before = shares["as they are"]
claim("fakes found after JPEG, as a share of those found before", shares["JPEG"][0] / before[0], ">", 0.8)
claim("... after cutting and enlarging", shares["cut, enlarged"][0] / before[0], "<", 0.85)
claim("real digits accused as they are", before[1], "<", 0.15)
claim("real digits accused after JPEG", shares["JPEG"][1], ">", 0.15)
claim("real digits accused after noise", shares["noisy"][1], ">", 0.5)

# %% [markdown]
# JPEG and noise give the fakes away; cutting off the margin and enlarging the rest, which blurs, hides more than half
# of those that were found. But look at the right column: after JPEG a third of the *real* digits are accused, after
# noise nearly all: they are no longer what the detector knows as real. A real picture that went through a messenger
# may be accused for that alone. So detectors are trained with such changes on both sides; for Wang et al. (2020) this
# also helped with new generators.
#
# ### A generator that learns to pass
#
# Whoever has the detector can train the generator against it: low suspicion is rewarded, and a second term keeps the
# pictures near the old ones.

# %%
gan = load_checkpoint("gan")
for parameter in detectors["gan"].parameters():
    parameter.requires_grad_(False)

def sly_loss(model, z):
    x = model(z)
    with torch.no_grad():
        before = gan(z)
    in_file = x + (saved(x) - x).detach()                         # rounded, with the gradient of x
    scores = detectors["gan"](in_file)
    suspicious = F.softplus(scores[:, 1] - scores[:, 0]).mean()
    return {"loss": suspicious + 20 * (x - before).square().mean(), "suspicion": suspicious}

# %% tags=["nbval-ignore-figure"]
# Figure: a curve over 100 steps: the mean suspicion of the generator's pictures falls.
# not compared: trained here
seed(0)
sly = load_checkpoint("gan")                                      # begins as the GAN
codes = torch.randn(6_400, 16)
fit(sly, sly_loss, Batches(codes, batch_size=64), steps=100, lr=2e-4, betas=(0.5, 0.99)).plot("suspicion");

# %%
z = torch.randn(500, 16, generator=seeded(7))
with torch.no_grad():
    honest_fakes, sly_fakes = gan.eval()(z), sly.eval()(z)
found_before = (suspicion(detectors["gan"], honest_fakes) > 0).double().mean()
found_after = (suspicion(detectors["gan"], sly_fakes) > 0).double().mean()
claim("the GAN's fakes found by its detector", found_before, ">", 0.6)
claim("found after the generator's training, as a share of that", found_after / found_before, "<", 0.5)
spectral_before = spectral_area(by_spectrum["gan"], honest_fakes)
spectral_after = spectral_area(by_spectrum["gan"], sly_fakes)
claim("gained by the spectral detector: area after minus before", spectral_after - spectral_before, ">", 0)

# %% tags=["nbval-ignore-figure"]
# Figure: two rows of ten digits from the same ten codes: before and after the generator was trained to
# pass. They look alike.
# not compared: trained here
strip({"before": honest_fakes[:10], "trained\nto pass": sly_fakes[:10]});

# %% [markdown]
# A hundred batches, and most of its fakes pass. They are not more real: their edges are ragged, and the spectral
# detector, of which the generator knew nothing, finds them more easily. What has been learned is one detector's blind
# spot.
#
# ### How many new fakes does a detector need?
#
# A new generator appears, the flow. The detector of the GAN learns on for 200 batches, in which half of the fakes are
# the flow's, of which it has 10, 50, 200 or 1,500. **Write down a guess:** are 50 enough?

# %%
amounts = [10, 50, 200, 1_500]
adapted = torch.tensor([trials["adapted"][str(n)] for n in amounts])          # (4, 5 seeds, [flow, GAN])
start = torch.stack([areas("gan", "flow"), areas("gan", "gan")], dim=1)       # (5, 2): with none
curve = torch.cat([start[None], adapted])                         # (5, 5, 2)
own = areas("flow", "flow")
for n, row in zip([0, *amounts], curve):
    print(f"{n:5} new fakes: area for the flow {row[:, 0].mean():.2f}, for the GAN {row[:, 1].mean():.2f}")
gained = curve[:, :, 0] - curve[0, :, 0]                          # (5 amounts, 5 seeds)
claim("flow, gained by 50 new fakes: the most of five seeds", gained[2].max(), "<", 0.05)
claim("flow, gained by 1,500: the least of five seeds", gained[4].min(), ">", 0.05)
claim("the GAN, after 1,500 fakes of the flow: the least of five seeds", curve[4, :, 1].min(), ">", 0.93)

# %%
# Figure: area over the number of new fakes, 0 to 1,500: for the flow and for the GAN, mean and range of
# five seeds. A dashed line: a detector that was trained on 1,500 fakes of the flow alone.
_, ax = plt.subplots(figsize=(5.6, 3.2))
for column, name in enumerate(("flow", "GAN")):
    values = curve[:, :, column]
    ax.plot(values.mean(1), "o-", color=COLOURS[column], label=f"tested on the {name}")
    ax.fill_between(range(5), values.min(1).values, values.max(1).values, color=COLOURS[column], alpha=0.2)
ax.axhline(own.mean(), color=COLOURS[0], ls="--", lw=1)
ax.set(xticks=range(5), xticklabels=[0, *amounts], xlabel="new fakes", ylabel="area", ylim=(0.5, 1.01))
ax.legend();

# %% [markdown]
# <details><summary>Answer</summary>
#
# No: 50 gain two hundredths, 1,500 about nine. The GAN's fakes are not forgotten. But even the specialist, the dashed
# line, stays far from 1. The better a generator, the less there is to learn.
# </details>
#
# ## A score, or a proof?
#
# What follows for a picture in the news? Some facts:
#
# - In a census of fact-checked claims until November 2023, simple means were still the majority, above all real
#   pictures in a wrong context (Dufour et al., 2024). No detector of fakes can see that a real picture shows another
#   year.
# - In experiments with 15,000 people, politicians gained support by calling true written reports of a scandal fake;
#   with video it hardly worked (Schiff, Schiff & Bueno, 2025).
# - OpenAI's detector of written text found 26 % of machine-made texts, accused 9 % of human ones, and was withdrawn
#   after half a year. Seven detectors accused more than half of the essays of learners of English (Liang et al., 2023):
#   errors do not fall on everybody alike.
#
# A detector answers "how unusual is this picture?" The other way is to ask where it comes from: a signature by the
# camera, a watermark by the generator ([lesson 84](84_watermarks.ipynb)). A valid signature proves something; that
# there is none proves nothing. Open questions: Who may accuse on the ground of a score? What must the accused be told?
# Who counts the base rate, and who pays for the wrongly accused?
#
# ## What this does not show
#
# Ten small generators, one kind of picture, one architecture of detectors, 16 grey levels. Large detectors learn from
# millions of pictures with changes of all kinds, and the cues of large generators are others.

# %% [markdown]
# ## In the wild
#
# The detector of Wang et al. (2020) learned from one GAN. Its published table, for StyleGAN2: average precision 98 %, a
# measure of order as our area is, accuracy 68 %: the threshold did not travel. A detector from a public hub:
#
# ```python
# from sklearn.calibration import calibration_curve            # is a probability to be believed?
# from sklearn.metrics import roc_auc_score                    # our area
# from transformers import pipeline                            # pip install transformers pillow
#
# detector = pipeline("image-classification", model="Ateeqq/ai-vs-human-image-detector")
# print(detector("photo.jpg"))                                # [{"label": ..., "score": ...}, ...]
# ```
#
# What it learned from, and at which base rate, the score does not say.

# %% [markdown]
# ## Recap
#
# 1. Real and generated pictures must have gone through the same hands; else a detector learns the hands.
# 2. A detector of one generator may find its relatives, miss others, and take a third kind for more real than real.
# 3. Fast waves are a cue: too many and too few of them lie on both sides of reality.
# 4. A probability is calibrated for the generator and the base rate that it was fitted with.
# 5. Where fakes are rare, most of the accused are innocent.
#
# **What we left out.** Text, sound, video; detectors that look at shadows, hands and letters; asking the generator how
# well it can rebuild the picture.
#
# **Exercises:** [85_detecting_fakes](../exercises/85_detecting_fakes/85_detecting_fakes.ipynb). One more: which of the
# GAN's fakes are missed, the sharp or the soft ones?
# **Next**, [lesson 86](86_cost.ipynb): what a sample costs.
#
# ## Read on
#
# - S.-Y. Wang et al., *CNN-generated images are surprisingly easy to spot... for now* (2020),
#   [arXiv:1912.11035](https://arxiv.org/abs/1912.11035): meeting other generators.
# - R. Durall, M. Keuper & J. Keuper, *Watch your up-convolution* (2020),
#   [arXiv:2003.01826](https://arxiv.org/abs/2003.01826), and J. Ricker et al., *Towards the detection of diffusion
#   model deepfakes* (2022), [arXiv:2210.14571](https://arxiv.org/abs/2210.14571): spectra.
# - P. Grommelt et al., *Fake or JPEG?* (2024), [arXiv:2403.17608](https://arxiv.org/abs/2403.17608): shortcuts.
# - S. Axelsson, *The base-rate fallacy and the difficulty of intrusion detection* (2000),
#   [doi:10.1145/357830.357849](https://doi.org/10.1145/357830.357849).
# - N. Dufour et al., *AMMeBa* (2024), [arXiv:2405.11697](https://arxiv.org/abs/2405.11697); W. Liang et al., *GPT
#   detectors are biased against non-native English writers* (2023),
#   [arXiv:2304.02819](https://arxiv.org/abs/2304.02819); K. Schiff, D. Schiff & N. Bueno, *The liar's dividend*
#   (2025), [doi:10.1017/S0003055423001454](https://doi.org/10.1017/S0003055423001454).
# - In the library: `privacy.py` (`auc`), `metrics.py` (`radial_spectrum`, `balanced`, `bootstrap`, `wilson`),
#   `calibration.py` (`predictive_value`, `fit_temperature`), `baselines.py` (`Kept`), `checkpoints/part8_fakes.py`.
