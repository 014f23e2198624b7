# %% [markdown]
# # 86 · What a sample costs
#
# Every picture of this course was computed, and computing takes time, memory and electricity. How much of it, for one
# sample? Does the best model cost the most? In this lesson we count the work of a sample, measure the seconds, and say
# of each further number whether it was measured or assumed. Then we pull the levers that are known to make samples
# cheaper, one after the other, and measure each time what becomes of the quality. At the end you will have made the
# picture below: quality against cost, for all generators of digits in this course.
#
# **After this lesson you can**
# - count the operations of a layer, a network and a sample by hand, and check the count;
# - turn seconds into joules and grams of CO2, and say which of these numbers were measured and which assumed;
# - make samples cheaper by fewer steps, a cache, distillation and smaller numbers, and say what each costs in quality.
#
# **You need** lessons [12](12_convnet.ipynb) (convolutions), [54](54_gpt.ipynb) (GPT and its cache) and
# [64](64_flow_matching.ipynb) (flow matching). **It takes** 60 minutes to read and a minute to run. **How hard:** ••.
# All symbols are in the [table of symbols](symbols.ipynb).
#
# ## Set-up

# %%
import matplotlib.pyplot as plt
import torch
from torch import nn
from torch.nn import functional as F
from torch.testing import assert_close

from course_lib import cost, flow
from course_lib.checkpoint import load as load_checkpoint
from course_lib.checkpoint import metadata
from course_lib.claims import claim

# %%
from course_lib.cost import n_bytes, operations, seconds
from course_lib.data import Batches
from course_lib.device import seed, seeded
from course_lib.plots import COLOURS, diagram, sliders, strip

painter = load_checkpoint("flow")                                 # lesson 64: 15 midpoint steps
quick = load_checkpoint("flow_one_step")                          # made for this lesson
writer = load_checkpoint("gpt")                                   # lesson 54
ten = torch.arange(10)                                            # the digits that we ask for

# %%
def operations_a_sample(name):
    """Counted while one digit is drawn as for the leaderboard: with a label, if it takes one."""
    model = load_checkpoint(name)
    if "control" in metadata(name)["metrics"]:
        return operations(lambda: model.sample(1, torch.tensor([3])))
    return operations(lambda: model.sample(1))

names = ["pca", "class_gaussians", "gaussian_mixture", "autoencoder", "vae", "vae_mixture", "gan",
         "conditional_gan", "ddpm", "conditional_ddpm", "flow", "image_gpt", "masked_codes"]
one_look = operations(lambda: painter.network(torch.zeros(1, 1, 28, 28), torch.tensor([0.5]), ten[:1]))
rows = {name: (operations_a_sample(name), metadata(name)["metrics"]) for name in names}
for name, row in metadata("flow_one_step")["levers"].items():     # measured when the checkpoint was made
    if row["weights"] == "float32":
        rows[name] = (row["evaluations"] * one_look, row)
best = cost.pareto([spent for spent, _ in rows.values()], [row["frechet"] for _, row in rows.values()])

# %%
# Figure: distance from the test digits over operations a sample, both axes logarithmic, a point with
# its 95 % interval for each of thirty generators and settings, from a PCA at 0.03 million operations to
# the flow at 2.5 thousand million. A line joins the points that no other beats in both.
_, ax = plt.subplots(figsize=(9, 4.8))
below = ["gaussian_mixture", "vae_mixture", "conditional_gan", "conditional_ddpm"]
series = {"flow, guided": COLOURS[2], "flow, not guided": COLOURS[1], "distilled": COLOURS[3],
          "ddpm, ": COLOURS[5], "conditional_ddpm, ": COLOURS[4]}
for name, (spent, row) in rows.items():
    colour = next((c for begins, c in series.items() if name.startswith(begins)), COLOURS[7])
    low, high = max(0.1, row["frechet"] - row["frechet_error"]), row["frechet"] + row["frechet_error"]
    ax.plot([spent, spent], [low, high], color=colour, lw=0.8)
    ax.plot(spent, row["frechet"], "o", color=colour, ms=5)
    if name in names:
        ax.annotate(name, (spent, row["frechet"]), (6, -10 if name in below else 3),
                    textcoords="offset points", fontsize=9,
                    bbox=dict(facecolor="white", edgecolor="none", alpha=0.75, pad=0.5))
points = [[*rows.values()][i] for i in best]
ax.plot([spent for spent, _ in points], [row["frechet"] for _, row in points], color=COLOURS[0], zorder=0)
for begins, colour in series.items():
    ax.plot([], [], "o", color=colour, ms=5, label=begins.rstrip(", ") + ", other steps")
ax.set(xscale="log", yscale="log", xlabel="operations for one digit",
       ylabel="Fréchet distance (0 is best)", ylim=(0.1, 120))
ax.legend(fontsize=9, loc="lower left");

# %% [markdown]
# Down is better, left is cheaper. The line is the **Pareto front**, the generators that no other beats. What lies above
# the line is beaten: something else is as good for less, or better for as much.
#
# ## Counting, by hand
#
# We count multiplications and additions, and call both **operations**. A matrix product of (m, k) with (k, n) makes
# m n numbers, each a sum of k products. So it takes 2 m k n.

# %%
a, b = torch.rand(2, 3), torch.rand(3, 4)
product, counted = torch.zeros(2, 4), 0
for i in range(2):
    for j in range(4):
        for k in range(3):
            product[i, j] += a[i, k] * b[k, j]
            counted += 2                                          # one multiplication, one addition
assert_close(product, a @ b)
print(counted, "=", 2 * 2 * 3 * 4, "=", operations(lambda: a @ b), "by PyTorch's own counter")

# %% [markdown]
# A **linear layer** is such a product, with a row for each image or token. In a **convolution** every output number is
# a sum over the window of all input channels. **Attention** over T tokens of C numbers is two products: T × T scores
# of C products each, then T × T weights times C numbers. Sums, norms and activation functions are left out: they are
# little arithmetic, though they take time, as we shall see.

# %%
def linear_operations(rows, n_in, n_out):
    return 2 * rows * n_in * n_out

def convolution_operations(n_in, n_out, kernel, height, width):
    """One image; height and width are those of the output."""
    return 2 * (n_out * height * width) * (n_in * kernel * kernel)

def attention_operations(T, C):
    return 2 * T * T * C + 2 * T * T * C                          # scores, then the means of the values

linear = nn.Linear(64, 256)
convolution = nn.Conv2d(3, 8, kernel_size=5, stride=2, padding=2)
tokens, image = torch.rand(1, 49, 64), torch.rand(1, 3, 28, 28)
found = {"linear": (linear_operations(49, 64, 256), operations(lambda: linear(tokens))),
         "convolution": (convolution_operations(3, 8, 5, 14, 14), operations(lambda: convolution(image))),
         "attention": (attention_operations(49, 64),
                       operations(lambda: F.scaled_dot_product_attention(tokens, tokens, tokens)))}
for name, (by_hand, by_pytorch) in found.items():
    print(f"{name:12} {by_hand:9,} by hand {by_pytorch:9,} by PyTorch")
    assert by_hand == by_pytorch

# %% [markdown]
# A rule of thumb follows: a layer does two operations for each weight, each time the weight is used. A linear layer
# uses its weights once a token, a convolution once a place.
#
# ## What we will build

# %%
# Figure: a diagram. A sample is counted: operations. On a machine they take seconds, which are measured.
# Seconds times watts are joules, and joules times grams a kilowatt-hour are grams of CO2; watts and grams
# a kilowatt-hour are assumptions. From the sample a second arrow leads to its distance: the quality.
sample_box, operations_box = "one sample", "operations\ncounted, exact"
seconds_box, joules_box = "seconds\nmeasured here", "joules\n= seconds × watts"
grams_box, quality_box = "grams of CO2\n= kWh × g / kWh", "distance\nmeasured, ± interval"
watts_box, grid_box = "watts\nassumed", "grid\nassumed"
boxes = {sample_box: (0, 1), operations_box: (1.3, 1), seconds_box: (2.7, 1), joules_box: (4.1, 1),
         grams_box: (5.6, 1), watts_box: (4.1, 0), grid_box: (5.6, 0), quality_box: (1.3, 0)}
arrows = [(sample_box, operations_box), (operations_box, seconds_box), (seconds_box, joules_box),
          (joules_box, grams_box), (watts_box, joules_box), (grid_box, grams_box),
          (sample_box, quality_box)]
diagram(boxes, arrows, dict.fromkeys([watts_box, grid_box], COLOURS[3]));

# %% [markdown]
# Each step to the right is less certain than the one before. In orange: what nobody measured.
#
# ## A whole network
#
# The U-Net of lesson 64 has layers of both kinds. `operations_by_layer` does the sums above for each of them.
# **Write down a guess:** are the parts with the most weights also those with the most operations?

# %%
def one_image():
    return painter.network(torch.zeros(1, 1, 28, 28), torch.tensor([0.5]), ten[:1])

by_layer = cost.operations_by_layer(painter.network, one_image)
assert sum(by_layer.values()) == one_look                         # this U-Net has no attention
parts = {}                                                        # part -> weights, operations
for name, layer in painter.network.named_modules():
    if name in by_layer:
        weights, work = parts.get(name.split(".")[0], (0, 0))
        parts[name.split(".")[0]] = (weights + layer.weight.numel(), work + by_layer[name])
print(f"{len(by_layer)} layers, {one_look:,} operations for one look at one image")

# %%
# Figure: two bars for each of the thirteen parts of the U-Net, its share of all weights and its share of
# all operations.
_, ax = plt.subplots(figsize=(7, 3.6))
for shift, which, label in ((0.2, 0, "weights"), (-0.2, 1, "operations")):
    total = sum(part[which] for part in parts.values())
    ax.barh([i + shift for i in range(len(parts))], [part[which] / total for part in parts.values()], 0.38,
            color=COLOURS[which], label=label)
ax.set(yticks=range(len(parts)), yticklabels=parts, xlabel="share of all")
ax.invert_yaxis()
ax.legend();

# %%
all_weights = sum(weights for weights, _ in parts.values())
claim("share of the weights in `overview`", parts["overview"][0] / all_weights, ">", 0.35)
claim("its share of the operations", parts["overview"][1] / one_look, "<", 0.02)

# %% [markdown]
# <details><summary>Answer</summary>
#
# Not always. `overview` holds more than a third of the weights and does less than a fiftieth of the work: its linear
# layers use each weight once an image. `up1` and `down1` are the opposite: few weights, used at 14 × 14 places.
# Parameters tell how much memory a model takes, not how much work it is.
# </details>
#
# One look, which is one evaluation of a network, is not a sample. The midpoint method looks twice a step, and guidance asks two networks each time:

# %%
all_looks = operations(lambda: painter.sample(1, y=3))
assert all_looks == 15 * 2 * 2 * one_look                         # steps, looks a step, networks
claim("looks of a network for one digit", all_looks / one_look, "==", 60)
claim("operations for one digit, in thousand millions", all_looks / 1e9, ">", 2.5)

# %% [markdown]
# ## Writing, with and without a cache
#
# A GPT without a cache reads its whole text again for each new token. With one, it reads each token once (lesson 54).
# `n_flops` is what a GPT needs to read T tokens. To write them one after the other without a cache, it reads 1, then
# 2, and so on up to T. With a cache a token meets all weights once, and attends to the tokens before it.

# %%
from course_lib.decoding import Cache, generate, generate_plainly
from course_lib.gpt import n_flops

def cached_operations(c, T):
    """Write T tokens after a first one: two operations a weight, and attention to all tokens so far."""
    weights = 12 * c.n_layer * c.n_embd**2 + c.vocab_size * c.n_embd
    return sum(2 * weights + 4 * c.n_layer * c.n_embd * now for now in range(1, T + 1))

c, prompt, T = writer.config, torch.tensor([10]), 32
with_cache = operations(lambda: generate(writer, [prompt], T))
without = operations(lambda: generate_plainly(writer, prompt, T))
assert with_cache == cached_operations(c, T)
assert without == sum(n_flops(c, length) for length in range(1, T + 1))
claim("operations without a cache for 32 tokens, as a multiple of those with it", without / with_cache,
      ">", 16)

# %%
# Figure: operations over the number of tokens written, from 1 to 255, without and with a cache, both axes
# logarithmic: the first line is twice as steep as the second.
lengths = range(1, 256)
plain = torch.tensor([n_flops(c, length) for length in lengths]).cumsum(0)
_, ax = plt.subplots(figsize=(6, 3))
ax.loglog(lengths, plain, label="without a cache")
ax.loglog(lengths, [cached_operations(c, length) for length in lengths], label="with a cache")
ax.set(xlabel="tokens written", ylabel="operations in all")
ax.legend();

# %% [markdown]
# Without a cache the work grows with the square of the length, with it nearly in proportion. This is the rare lever
# that changes nothing in what is written. It costs memory:
#
# ## Memory
#
# Three things take memory: the weights; the outputs of layers, which training must keep for the way backwards and
# sampling may forget at once; and the cache, two vectors for each layer and token.

# %%
def kept_for_training(model, call):
    """Bytes of the outputs of all layers."""
    sizes = []
    def note(layer, inputs, output):
        sizes.append(output.numel() * output.element_size())
    hooks = [layer.register_forward_hook(note) for layer in model.modules() if not list(layer.children())]
    call()
    for hook in hooks:
        hook.remove()
    return sum(sizes), max(sizes)

with torch.no_grad():
    outputs, largest = kept_for_training(painter.network, one_image)
bytes_a_token = 2 * c.n_layer * c.n_embd * 4
assert bytes_a_token * 100 == sum(t.numel() * t.element_size() for t in Cache(writer, 1, 100).kept)
print(f"bytes: U-Net {n_bytes(painter.network):,}, its largest output {largest:,} an image; GPT "
      f"{n_bytes(writer):,}, its cache {bytes_a_token:,} a token and text")
claim("outputs of all layers for 32 images, as a multiple of the weights",
      32 * outputs / n_bytes(painter.network), ">", 5)
claim("cache of 256 tokens, as a share of the GPT", 256 * bytes_a_token / n_bytes(writer), "<", 0.2)

# %% [markdown]
# For training on a batch of 32, the outputs need five times the memory of the weights. Sampling keeps the largest one
# or two. The cache of 256 tokens is a fifth of the GPT, but every text that is written at the same time needs its
# own.
#
# ## Operations are not seconds
#
# How many operations a second does this computer do? A large matrix product is the usual measure. **Write down a
# guess:** which share of its speed is reached by the U-Net with one image and with a hundred, by a GAN, by a GPT that
# writes?

# %% tags=["nbval-ignore-output"]
# not compared: seconds, which are those of a machine
square, gan = torch.rand(1024, 1024), load_checkpoint("conditional_gan")

def look(n):
    with torch.no_grad():
        painter.network(torch.zeros(n, 1, 28, 28), torch.full((n,), 0.5), torch.arange(n) % 10)

calls = {"matrix product": lambda: square @ square,
         "U-Net, 1 image": lambda: look(1), "U-Net, 100 images": lambda: look(100),
         "GAN, 1 image": lambda: gan.sample(1, 3), "GAN, 100 images": lambda: gan.sample(100, 3),
         "GPT writes 40 tokens": lambda: generate(writer, [prompt], 40),
         "GPT writes 50 texts": lambda: generate(writer, [prompt] * 50, 40),
         "GPT reads 256 tokens": lambda: writer(torch.zeros(1, 256, dtype=torch.int64))}
speed = {}
for name, call in calls.items():
    speed[name] = operations(call) / seconds(call)
    print(f"{name:21} {speed[name] / 1e9:6.1f} thousand million operations a second, "
          f"{speed[name] / speed['matrix product']:.2f} of the product's")

# %%
claim("speed of the GPT that writes one text, as a share of a matrix product's",
      speed["GPT writes 40 tokens"] / speed["matrix product"], "<", 0.4)
claim("speed with 50 texts, as a multiple of that with one",
      speed["GPT writes 50 texts"] / speed["GPT writes 40 tokens"], ">", 2)

# %% [markdown]
# <details><summary>Answer</summary>
#
# Large convolutions come near, or are better written than the product. Small things reach a small share. Each layer must
# be called, which takes some microseconds however little it does; norms and activations read and write memory for hardly
# any arithmetic; and a GPT that writes fetches every weight from memory to use it once. With many images or texts at a
# time, one call and one fetch serve them all. So seconds a sample depend on how many are made together.
# </details>
#
# ## From seconds to grams
#
# A machine that takes 15 watts for 20 seconds has used 300 joules. A kilowatt-hour is 3.6 million joules, and how
# many grams of CO2 it stands for depends on how it was made: in 2023, about 30 in Norway, 56 in France, 381 in
# Germany, 713 in India, 481 in the world (Ember). The 20 seconds below are about what the flow takes for 1,000 digits
# on one core of our machine. **Watts and grid are not measured**: turn them.

# %%
# Figure: two sliders, for watts and for grams of CO2 a kilowatt-hour, and the joules and milligrams for
# 1,000 digits.
def bill(watts, grams):
    """For 1,000 digits that take 20 seconds."""
    energy = cost.joules(20, watts)
    print(f"{energy:,.0f} joules, {energy / 3.6e6 * 1_000:.3f} watt-hours, "
          f"{1_000 * cost.grams_of_co2(energy, grams):.1f} milligrams of CO2")

sliders(bill, watts=(15, 5, 65, 5), grams=(381, 30, 713, 1))

# %%
least = cost.grams_of_co2(cost.joules(20, 5), grams_per_kwh=30)
most = cost.grams_of_co2(cost.joules(20, 65), grams_per_kwh=713)
claim("grams by the highest assumptions, as a multiple of those by the lowest", most / least,
      ">", 300, digits=0)
with torch.no_grad():
    for_a_hundred = seconds(lambda: painter.sample(100, 3, seeded(0), steps=2), repeats=1) * 15 / 2
claim("seconds for 1,000 digits of the flow, here", 10 * for_a_hundred, ">", 2, digits=1)

# %% [markdown]
# The digits are the same, and the grams differ by a factor of three hundred, because of what we assumed. Whoever
# reports grams without watts and grid has reported nothing. Comparisons are safer: on one machine, half the
# operations of one kind are half of everything that follows. So from here on we compare operations.
#
# ## The first lever: fewer steps, and no guidance
#
# The flow was shipped with 15 steps. For each of these settings 1,000 digits were drawn from the same noise and judged
# as on the leaderboard; the intervals come from 1,000 resamplings. **Write down a guess:** from 15 steps to 8, 4, 2 and
# 1, where does the distance begin to grow? And what does it cost to leave out guidance, which takes half of all
# looks? (The rows *distilled*, *8 bits* and *bfloat16* belong to the next two levers.)

# %%
levers = metadata("flow_one_step")["levers"]
size = {"float32": 1, "bfloat16": 1 / 2, "int8": 1 / 4}           # of a weight
print("setting                             looks  millions of operations   MB   distance    label right")
for name, row in sorted(levers.items(), key=lambda lever: -lever[1]["evaluations"]):
    if "ddpm" not in name:
        networks = 1 if "distilled" in name or "not guided" in name else 2
        print(f"{name:35} {row['evaluations']:4} {row['evaluations'] * one_look / 1e6:18,.0f}"
              f" {networks * n_bytes(painter.network) * size[row['weights']] / 1e6:10.2f}"
              f"{row['frechet']:7.2f} ± {row['frechet_error']:.2f}   {row['control']:.3f}")

# %%
# Figure: distance over looks of a network, both axes logarithmic, with 95 % intervals. One line for the
# flow with guidance, 4 to 60 looks, one for it without, 1 to 30, one for the distilled flow, 1 to 4; a
# dashed line for 1,000 training digits.
real = metadata("training_digits")["metrics"]["frechet"]
_, ax = plt.subplots(figsize=(7, 3.6))
for colour, begins in zip(COLOURS, ("flow, guided", "flow, not guided", "distilled")):
    line = [row for name, row in levers.items() if name.startswith(begins) and row["weights"] == "float32"]
    line.sort(key=lambda row: row["evaluations"])
    looks, distances = [row["evaluations"] for row in line], [row["frechet"] for row in line]
    up = [row["frechet_error"] for row in line]
    down = [min(half, distance - 0.1) for half, distance in zip(up, distances)]
    ax.errorbar(looks, distances, [down, up], marker="o", ms=4, capsize=3, color=colour, label=begins)
ax.axhline(real, ls="--", lw=1, color="black", label="training digits")
ax.set(xscale="log", yscale="log", xlabel="looks of a network for one digit", ylabel="Fréchet distance",
       ylim=(0.1, 200))
ax.legend();

# %% [markdown]
# <details><summary>Answer</summary>
#
# From 15 to 2 steps the cost falls by a factor of 7.5 and the distance stays within its interval; at 1 step it
# breaks. We had shipped 15 steps without measuring fewer. Guidance seems worth its price: 2 steps with it are nearer
# to the digits than 15 without (the interval of the difference just holds 0), and more of them show their label,
# 0.996 against 0.945.
# </details>

# %%
from course_lib.metrics import bootstrap, measure

def apart(one, other):
    """Difference of two distances; beyond 1 or -1 its 95 % interval does not contain 0."""
    half = (one["frechet_error"]**2 + other["frechet_error"]**2) ** 0.5
    return (other["frechet"] - one["frechet"]) / half

shipped, two = levers["flow, guided, 15 steps"], levers["flow, guided, 2 steps"]
claim("2 steps minus 15, in half-widths of the interval", apart(shipped, two), "<", 0.5)
claim("1 step minus 15", apart(shipped, levers["flow, guided, 1 step"]), ">", 2)
claim("15 steps without guidance minus 2 with it", apart(two, levers["flow, not guided, 15 steps"]),
      ">", 0)

again = measure(painter.sample(1_000, torch.arange(1_000) % 10, seeded(0), steps=2), n_bootstrap=10)
claim("distance with 2 steps, measured again here", again["frechet"], "<", 0.8)

# %% [markdown]
# ## The second lever: distillation
#
# Below two steps one needs another network. **Distillation** trains it on what the first one makes. In lesson 64
# *reflow* straightened a toy's paths: a student learns from pairs of a noise and the place where the teacher's path
# ends. `one_step_loss` does this for the two times at which a single midpoint step asks, 0 and ½. Guidance is inside
# the teacher's digits, so the student needs none.

# %%
def my_one_step_loss(model, eps, x):
    zero, middle = torch.zeros(len(x)), torch.full((len(x),), 0.5)
    first = model(eps, zero)                                      # where Euler's step goes
    second = model(eps + first.detach() / 2, middle)              # where the midpoint step goes
    euler_misses = (eps + first - x).square().mean()
    midpoint_misses = (eps + second - x).square().mean()
    return euler_misses + midpoint_misses

def toy(x, t):
    return (0.3 + t).view(-1, 1, 1, 1) * x

eps, x = torch.randn(2, 5, 1, 4, 4, generator=seeded(1))
assert_close(my_one_step_loss(toy, eps, x), flow.one_step_loss(toy, eps, x)["loss"])

# %% [markdown]
# We begin with a short training, on 400 pairs that the teacher made in 2 guided steps. The student is tested on the
# teacher's digits for 100 other noises.

# %%
from functools import partial

from course_lib.diffusion import autoguided
from course_lib.muon import muon_unet
from course_lib.pipeline import Pipeline, PipelineConfig
from course_lib.train import fit

eps, y = torch.randn(500, 1, 28, 28, generator=seeded(2)), torch.arange(500) % 10
teacher = autoguided(partial(painter.network, y=y), painter.weak, painter.config.guidance)
ends = flow.midpoint(teacher, eps, 2).clamp(-1, 1)                # (500, 1, 28, 28)

def student_loss(model, eps, x, y):
    return flow.one_step_loss(partial(model.network, y=y), eps, x)

def misses(model):
    with torch.no_grad():
        terms = student_loss(model, eps[400:], ends[400:], y[400:])
    return terms["midpoint"].item()

# %% tags=["nbval-ignore-output"]
# not compared: the progress of a training
seed(0)
student = Pipeline(PipelineConfig(steps=1, sizes=dict(n_class=10))).to(memory_format=torch.channels_last)
student.network.load_state_dict(painter.network.state_dict())
before = misses(student)
history = fit(student, student_loss, Batches(eps[:400], ends[:400], y[:400], batch_size=32), steps=60,
              optimizer=partial(muon_unet, lr=0.005, adam_lr=5e-4), warmup=5, decay=0.7, ema=0.9)
after = misses(student)

# %%
claim("squared miss after 60 batches, as a share of that before", after / before, "<", 0.7)

# %% [markdown]
# `flow_one_step` learnt for longer, in the same way: from 8,000 pairs in 1,500 batches. Beside it we see what the
# teacher does with as few looks.

# %%
# Figure: four rows of ten digits from one noise. The teacher with 60 looks; with one look; with two,
# without guidance; the distilled flow with two.
noise = torch.randn(10, 1, 28, 28, generator=seeded(3))
one_look_only = flow.euler(partial(painter.network, y=ten), noise, 1) / 2 + 0.5
strip({"teacher, 60 looks": painter.sample(10, ten, seeded(3)),
       "teacher, 1 look": one_look_only.clamp(0, 1),
       "teacher, 2 looks": painter.sample(10, ten, seeded(3), steps=1, guidance=1.0),
       "distilled, 2 looks": quick.sample(10, ten, seeded(3))});

# %%
made = metadata("flow_one_step")
assert all_looks / operations(lambda: quick.sample(1, y=3)) == 30
claim("distance of the distilled flow, 2 looks", made["metrics"]["frechet"], "<", 1.5)
claim("its teacher with 30 looks, without guidance, minus that, in half-widths",
      apart(made["metrics"], levers["flow, not guided, 15 steps"]), ">", -0.5)
claim("distance of its teacher with 2 looks", levers["flow, not guided, 1 step"]["frechet"], ">", 3)
claim("distance of its teacher with 1 look",
      levers["flow, not guided, 1 step of Euler"]["frechet"], ">", 20)
claim("distance of the distilled flow in 2 steps", levers["distilled, 2 steps"]["frechet"], ">", 3)

# %% [markdown]
# **Too few steps** break the teacher: with one look it draws the mean of each class, as lesson 64 proved. The student
# reaches in two looks what its teacher reaches in four to thirty without guidance, though not the distance of sixty with
# it. With more steps it gets *worse*. And it is not free: the pairs and the training are work too, done once.

# %%
from course_lib.checkpoints import part8_cost as recipe

drawing = recipe.PAIRS * recipe.TEACHER_STEPS * 4 * one_look
training = recipe.STEPS * 32 * 2 * 3 * one_look                   # 2 looks; backwards costs twice as much
pays_after = (drawing + training) / (all_looks - 2 * one_look)
print(f"distillation: {(drawing + training) / 1e12:.0f} million million operations")
claim("digits after which it has paid, against 60 looks a digit", pays_after, ">", 5_000, digits=0)
pays_later = (drawing + training) / (8 * one_look - 2 * one_look)
claim("the same, against 8 looks a digit", pays_later, ">", 50_000, digits=0)

# %% [markdown]
# ## The third lever: smaller numbers
#
# A weight is a float of 32 bits. It can be kept in 8: each row of a matrix gets one **scale**, a 127th of its largest
# number, and each weight becomes a whole number of scales, from −127 to 127.

# %%
def my_to_int8(weight):                                           # (n, m)
    scale = weight.abs().amax(1, keepdim=True) / 127              # (n, 1)
    return (weight / scale).round().to(torch.int8), scale

weight = torch.tensor([[0.5, -1.27, 0.024], [20.0, 3.0, -25.4]])
q, scale = my_to_int8(weight)
print(q, scale.flatten())
print(q * scale)
assert ((q * scale - weight).abs() <= scale / 2 + 1e-7).all()     # nothing moves by more than half a scale
library_q, library_scale = cost.to_int8(weight)
assert torch.equal(q, library_q)
assert_close(scale, library_scale)

# %% [markdown]
# `in_int8(model)` copies a model with all its linear layers and convolutions in this form. Beside it **bfloat16**: 16
# bits, of which 8 are the exponent, so that a number keeps its magnitude and two to three of its digits.

# %% tags=["nbval-ignore-output"]
# not compared: seconds, which are those of a machine
small, half = cost.in_int8(painter.network), load_checkpoint("flow").network.bfloat16()
some = torch.randn(32, 1, 28, 28, generator=seeded(0))
labels = torch.arange(32) % 10
with torch.no_grad():
    full_time = seconds(lambda: painter.network(some, 0.5, labels), repeats=15)
    for name, network in {"float32": painter.network, "bfloat16": half, "8 bits": small}.items():
        time_share = seconds(lambda: network(some, 0.5, labels), repeats=15) / full_time
        print(f"{name:9} {n_bytes(network) / 1e6:5.2f} MB, {time_share:.2f} of the time of float32")

# %%
plain = levers["flow, guided, 4 steps"]
share = n_bytes(small) / n_bytes(painter.network)
claim("bytes in 8 bits, as a share of those in float32", share, "<", 0.27)
claim("distance in 8 bits minus that in float32, in half-widths of its interval",
      apart(plain, levers["flow in 8 bits"]), "<", 0.5)
claim("bfloat16 minus float32", apart(plain, levers["flow in bfloat16"]), "<", 0.5)

# %% [markdown]
# A quarter of the memory, and no difference that the judge can see. But it is **not faster**: our layer makes floats of
# its weights before each product, which is work on top. Time is gained only where a processor multiplies 8-bit numbers
# itself. The same holds for bfloat16: time is gained where a processor multiplies it itself. With these instructions
# switched off, ours took more than five times as long.
#
# The same for text, in bits per byte, on novels by Jane Austen. The interval is that of the *difference*, window by
# window, from 1,000 resamplings.

# %%
from course_lib.data.text import load_text

windows = load_text("austen").test[:64 * 129].view(64, 129).long()     # 64 pieces of 129 bytes

def bits(model):
    """Bits a byte in each window.  -> (64,)"""
    with torch.no_grad():
        logits = model(windows[:, :-1])
    nats = F.cross_entropy(logits.transpose(1, 2), windows[:, 1:], reduction="none").mean(1)
    return nats / torch.log(torch.tensor(2.0))

exact = bits(writer)
small_writer = cost.in_int8(writer)
_, low, high = bootstrap(torch.mean, bits(small_writer) - exact, n=1_000)
claim("bits a byte in float32", exact.mean(), "<", 2)
claim("bits a byte that 8 bits of a weight cost, lower end", low, ">", -0.01, digits=4)
claim("bits a byte that 8 bits of a weight cost, upper end", high, "<", 0.01, digits=4)
claim("bytes of the GPT in 8 bits, as a share", n_bytes(small_writer) / n_bytes(writer), "<", 0.5)

# %% [markdown]
# ## Smaller, or trained for shorter
#
# `dit_minute` does half the work of `flow_minute` a digit, after the same minute of training:

# %%
small_one, large_one = metadata("dit_minute")["metrics"], metadata("flow_minute")["metrics"]
claim("operations of the DiT, as a share of the U-Net's",
      operations_a_sample("dit_minute") / operations_a_sample("flow_minute"), "<", 0.6)
claim("distance of the DiT minus the U-Net's, in half-widths", apart(large_one, small_one), ">", 5)
claim("distance of `flow_minute` minus that of `flow`, trained eleven times longer, in half-widths",
      apart(shipped, large_one), "<", 2)

# %% [markdown]
# A smaller network of the wrong kind is a bad saving. A shorter training of the right one is a good one: its digits
# cost the same, and the interval of the difference holds 0.
#
# ## The front
#
# Now the first picture can be read. The generators that no other beats, from the cheapest on:

# %%
everything = [*rows]
for i in best:
    spent, row = rows[everything[i]]
    print(f"{spent / 1e6:10,.2f} million operations  {row['frechet']:6.2f}  {everything[i]}")
cheap, dear = rows["conditional_gan"], rows["flow"]
claim("operations of the flow as shipped, as a multiple of the conditional GAN's", dear[0] / cheap[0],
      ">", 200, digits=0)
claim("distance of the GAN minus that of the flow, in half-widths", apart(dear[1], cheap[1]), "<", 1)

# %% [markdown]
# A conditional GAN draws digits that the judge can hardly tell from the flow's, for a two-hundredth of the work. The
# VAE with a fitted prior is next to it. The flow as we shipped it is beaten by itself with fewer steps. Near the
# bottom, differences are within the intervals: the front there is drawn by chance.
#
# ## Training, or sampling?
#
# Training is paid once, a sample each time. After how many samples has sampling cost more? The seconds of training
# stand in each checkpoint; those of a sample are measured here, a hundred at a time.

# %% tags=["nbval-ignore-output"]
# not compared: seconds, which are those of a machine
def seconds_a_sample(model, **settings):
    with torch.no_grad():
        return seconds(lambda: model.sample(100, 3, seeded(0), **settings), repeats=1) / 100

gan_each, quick_each = seconds_a_sample(gan), seconds_a_sample(quick)
flow_each = seconds_a_sample(painter, steps=2) * 15 / 2
clocks = {"conditional GAN": (metadata("conditional_gan")["seconds"], gan_each),
          "flow, 60 looks": (metadata("flow")["seconds"], flow_each),
          "distilled, with its teacher": (metadata("flow")["seconds"] + made["seconds"], quick_each)}
for name, (once, each) in clocks.items():
    print(f"{name:28} {once:6.0f} s of training, {1_000 * each:7.3f} ms a digit: "
          f"even after {once / each:12,.0f} digits")

# %%
even = {name: once / each for name, (once, each) in clocks.items()}
claim("digits after which the flow's sampling has cost more seconds than its training",
      even["flow, 60 looks"], ">", 5_000, digits=0)
claim("the same for the GAN, as a multiple of the flow's",
      even["conditional GAN"] / even["flow, 60 looks"], ">", 3, digits=1)

# %% tags=["nbval-ignore-figure"]
# Figure: seconds in all over the number of digits drawn, both axes logarithmic: three lines, flat at
# first, then rising. That of the flow rises first, the GAN's last.
# not compared: seconds, which are those of a machine
n = torch.logspace(2, 8, 50)
_, ax = plt.subplots(figsize=(6.4, 3))
for name, (once, each) in clocks.items():
    ax.loglog(n, once + n * each, label=name)
ax.set(xlabel="digits drawn", ylabel="seconds, training included")
ax.legend();

# %% [markdown]
# For few digits, whatever trains fastest is cheapest; for many, whatever samples fastest.
#
# ## Predict, then turn one knob: the number of bits
#
# **Write down a guess:** 8 bits changed nothing. And 6, 5, 4, 3, 2? With b bits the whole numbers go from
# −(2^(b−1) − 1) to 2^(b−1) − 1. Where does the GPT break?

# %%
import copy

def largest_of_row(weight):
    return weight.abs().amax(1, keepdim=True)                     # (n, 1)

def rounded(model, n_bit, largest=largest_of_row):
    """A copy whose linear layers have weights of so many bits."""
    model = copy.deepcopy(model)
    for layer in model.modules():
        if isinstance(layer, nn.Linear):
            scale = largest(layer.weight.data) / (2**(n_bit - 1) - 1)
            layer.weight.data = (layer.weight.data / scale).round() * scale
    return model

assert_close(bits(rounded(writer, 8)), bits(small_writer))        # 8 bits as before
by_bits = {n_bit: bits(rounded(writer, n_bit)).mean().item() for n_bit in (2, 3, 4, 5, 6, 7, 8)}

# %%
# Figure: bits per byte of the GPT over the bits of its weights, from 2 to 8, and a dashed line for
# float32.
_, ax = plt.subplots(figsize=(6, 2.8))
ax.plot(list(by_bits), list(by_bits.values()), "o-")
ax.axhline(exact.mean(), ls="--", lw=1, color="black", label="float32")
ax.set(xlabel="bits of a weight", ylabel="bits per byte of text")
ax.legend();

# %%
claim("bits a byte lost with 6 bits", by_bits[6] - exact.mean(), "<", 0.05)
claim("bits a byte lost with 3 bits", by_bits[3] - exact.mean(), ">", 0.2)

# %% [markdown]
# <details><summary>Answer</summary>
#
# Each bit less doubles every rounding error. Down to 5 bits nothing happens that matters, with 4 a little; then it goes
# fast. What is sold as "4 bits" has finer scales than ours, one for a few dozen weights (the exercise builds it).
# </details>
#
# ## Break it: one scale for the whole matrix
#
# Why one scale a *row*? One for the whole matrix would be simpler. We write the same GPT in another way: in one row
# of each `qkv` that makes values, all weights times 100, and in the column of `proj` that reads it, divided by 100. It
# computes the same.

# %%
uneven = copy.deepcopy(writer)
for block in uneven.blocks:
    row = 2 * c.n_embd + 5                                       # queries, keys, values: number 5 of these
    block.attn.qkv.weight.data[row] *= 100
    block.attn.proj.weight.data[:, 5] /= 100
assert_close(bits(uneven), exact, rtol=1e-4, atol=1e-4)

def largest_of_all(weight):
    return weight.abs().max()

# %%
as_trained = bits(rounded(writer, 8, largest_of_all)) - exact
one_scale = bits(rounded(uneven, 8, largest_of_all)) - exact
repaired = bits(rounded(uneven, 8)) - exact
claim("bits a byte lost to one scale, as trained", as_trained.mean(), "<", 0.05)
claim("bits a byte lost to one scale, with a large row", one_scale.mean(), ">", 0.3)
claim("bits a byte lost with a large row and a scale for each row", repaired.mean(), "<", 0.02)

# %% [markdown]
# One large row sets the scale for all, and the others are rounded to a handful of numbers, many to 0. Large language
# models grow such outliers by themselves, in a few of their activations (Dettmers et al., 2022).
#
# ## Break it: a convolution with a sixty-fourth of the operations
#
# A **depthwise** convolution looks at each channel alone: of 64 channels it does a sixty-fourth of the work. **Write
# down a guess:** how much faster is it?

# %%
images = torch.rand(100, 64, 14, 14)
whole, depthwise = nn.Conv2d(64, 64, 3, padding=1), nn.Conv2d(64, 64, 3, padding=1, groups=64)
with torch.no_grad():
    fewer = operations(lambda: whole(images)) / operations(lambda: depthwise(images))
    faster = seconds(lambda: whole(images)) / seconds(lambda: depthwise(images))
print(f"{fewer:.0f} times fewer operations")
claim("how many times faster, as a share of how many times fewer operations", faster / fewer, "<", 0.8)

# %% [markdown]
# Some ten times, on this machine. It reads and writes as much memory as the whole one, and has hardly anything to
# multiply in between. *Operations compare networks of one kind, seconds compare machines, and neither stands for the
# other* (Ma et al., 2018).
#
# ## What this does not show
#
# One judge of digits, one computer, networks that fit into a pocket. The distances are of one training each; an
# interval says how much they vary with the digits drawn, not with the training. Nobody held a meter to this computer:
# joules and grams are seconds times assumptions. And the largest things are in no line above: the making of the
# machine, its idle hours and its cooling, and all trainings that were tried before the one that is shipped. For the
# language model BLOOM, Luccioni et al. (2022) estimate 24.7 tonnes of CO2 for the power that its final training drew,
# and 50.5 with manufacture and idle machines.
#
# ## In the wild
#
# Luccioni, Jernite & Strubell (2023) measured published models at ten tasks: a thousand texts took 0.042 kWh in the
# median, a thousand pictures 1.35. Two figures for *one* model, Stable Diffusion XL, and a thousand pictures: 11.49
# kWh there, and 1.64 kWh on the AI Energy Score of 2024; its authors name the size of the pictures and the machine as
# reasons. The same table has 0.39 kWh for SDXL-Turbo, the same network distilled to one to four steps (Sauer et al.,
# 2023). Google reports 0.24 watt-hours for the median text prompt of its assistant (Elsworth et al., 2025), training
# and pictures not included. And Bertazzini et al. (2025), who measured 17 models, found that smaller numbers made
# most of them take *more* energy.
#
# On a GPU, our levers are arguments:
#
# ```python
# import torch
# from diffusers import AutoPipelineForText2Image            # pip install diffusers transformers
#
# pipe = AutoPipelineForText2Image.from_pretrained("stabilityai/sdxl-turbo", torch_dtype=torch.float16)
# pipe = pipe.to("cuda")                                     # 16 bits; distilled; one step; no guidance
# image = pipe("a red hat and a blue shirt", num_inference_steps=1, guidance_scale=0.0).images[0]
# ```

# %% [markdown]
# ## Recap
#
# 1. Two operations for each weight, each time it is used; attention adds 4 T² C. Weights are memory, not work.
# 2. Operations are counted, seconds measured, joules and grams assumed: say which.
# 3. Small calls reach a small share of a machine; operations are not seconds.
# 4. Measure before you pay: most steps of our flow bought nothing. A cache costs no quality, 8 bits hardly any.
# 5. Training is paid once, samples for ever: distillation pays after thousands of them, or tens of thousands.
#
# **What we left out.** Pruning, sharing experts, speculative decoding, and water.
#
# **Exercises:** [86_cost](../exercises/86_cost/86_cost.ipynb). One more: draw the front again with *seconds* a digit,
# ten at a time, in place of operations: who changes places? **Next**: this is the last lesson so far.
#
# ## Read on
#
# - A. S. Luccioni, Y. Jernite & E. Strubell, *Power hungry processing: watts driving the cost of AI deployment?* (2023),
#   [arXiv:2311.16863](https://arxiv.org/abs/2311.16863).
# - A. S. Luccioni, S. Viguier & A.-L. Ligozat, *Estimating the carbon footprint of BLOOM, a 176B parameter language
#   model* (2022), [arXiv:2211.02001](https://arxiv.org/abs/2211.02001).
# - C. Elsworth et al., *Measuring the environmental impact of delivering AI at Google scale* (2025),
#   [arXiv:2508.15734](https://arxiv.org/abs/2508.15734).
# - G. Bertazzini et al., *The hidden cost of an image: quantifying the energy consumption of AI image generation* (2025),
#   [arXiv:2506.17016](https://arxiv.org/abs/2506.17016).
# - A. Sauer et al., *Adversarial diffusion distillation* (2023), [arXiv:2311.17042](https://arxiv.org/abs/2311.17042).
# - T. Dettmers et al., *LLM.int8(): 8-bit matrix multiplication for transformers at scale* (2022),
#   [arXiv:2208.07339](https://arxiv.org/abs/2208.07339).
# - N. Ma et al., *ShuffleNet V2: practical guidelines for efficient CNN architecture design* (2018),
#   [arXiv:1807.11164](https://arxiv.org/abs/1807.11164).
# - Ember, *Yearly electricity data* (2024), as shown by Our World in Data: grams of CO2 a kilowatt-hour, by country.
# - In the library: `cost.py` (`operations`, `operations_by_layer`, `pareto`, `in_int8`), `flow.py` (`one_step_loss`).
