# %% [markdown]
# # 54 · GPT: the next byte, again and again
#
# A picture of a digit appears all at once, but a text comes one letter after the other. That suggests a generative model
# of another kind: look at what stands there so far, guess the next letter, append it, and guess again. Counting what
# followed before gave Shannon the first such model in 1948. If a causal transformer does the guessing, it is a **GPT**.
# Ours reads the novels of Jane Austen. The picture below shows how much each letter of a sentence surprises it, in
# bits; at the end it writes paragraphs of its own, and a twin of it writes Python.
#
# **After this lesson you can**
# - build a GPT from the block of lesson 51, count its parameters and operations, and train it;
# - measure a language model in bits per byte, beside counting and a program that packs files;
# - say what makes a small one learn fast, and recognise the loss that is too good to be true.
#
# **You need** lessons [11](11_softmax_and_mlp.ipynb) (cross-entropy) and [51](51_attention.ipynb) (attention, the
# transformer block). **It takes** 60 minutes to read and 45 seconds to run. **How hard:** ••. All symbols are in the
# [table of symbols](symbols.ipynb).
#
# ## Set-up

# %%
import math
from dataclasses import replace
from textwrap import fill

import matplotlib.pyplot as plt
import torch
from torch import nn
from torch.nn import functional as F
from torch.testing import assert_close

from course_lib.checkpoint import load as load_checkpoint, metadata
from course_lib.claims import claim
from course_lib.data.text import Windows, decode, encode, load_text
from course_lib.device import seed, seeded
from course_lib.plots import COLOURS, curves, diagram, sliders

# %%
# Figure: the sentence "Elizabeth could not help being very much pleased with the new bicycle pump." in two
# rows, each letter on a tile that is the darker the more bits the letter cost.
def surprise(model, sentence):
    """Bits of every byte after the first.  -> (n - 1,)"""
    idx = encode(sentence)[None]                                  # (1, n)
    with torch.no_grad():
        nats = F.cross_entropy(model(idx[:, :-1])[0], idx[0, 1:], reduction="none")
    return nats / math.log(2)

gpt = load_checkpoint("gpt")
sentence = "\nElizabeth could not help being very much pleased with the new bicycle pump."
bits = surprise(gpt, sentence)                                    # (75,)
cut = sentence.index("much")                                      # where the second row begins
fig, rows = plt.subplots(2, 1, figsize=(9, 1.3))
for ax, part, letters in zip(rows, bits.split([cut - 1, 76 - cut]), (sentence[1:cut], sentence[cut:])):
    ax.imshow(part[None], cmap="Oranges", vmin=0, vmax=12, aspect="auto")
    for i, letter in enumerate(letters):
        colour = "white" if part[i] > 7 else "black"
        ax.text(i, 0, letter, ha="center", va="center", fontsize=11, family="monospace", color=colour)
    ax.set(xlim=(-0.5, 44.5))
    ax.set_axis_off()

# %% [markdown]
# Only the first letter of a word is a surprise, until the sentence leaves Jane Austen's world.

# %%
claim("bits per byte of 'could not help being'", bits[10:30].mean(), "<", 1.2)
claim("bits per byte of 'new bicycle pump'", bits[-17:-1].mean(), ">", 4.0)

# %% [markdown]
# ## Four letters, by hand
#
# The probability of a whole text $x_1 \dots x_N$ is a product of guesses, exactly and always:
#
# $$p(x_1, \dots, x_N) = \prod_{t=1}^{N} p(x_t \mid x_1, \dots, x_{t-1})$$
#
# So a model needs nothing but $p(x_t \mid x_1, \dots, x_{t-1})$, a guess at the next letter. The simplest counts. The
# text *abac* has been seen. What follows an *a*? Once *b*, once *c*. If we trust that, the text *ab* has, after
# its *a*, the probability 1/2, which costs $-\log_2 \tfrac12 = 1$ bit, and *aa* costs infinitely many: one surprise, and
# the whole product is zero. So something must be left for what was never seen. Witten and Bell (1991) mix with the
# model that looks one letter less far back, and the weight of the unknown is the number of *different* letters that
# followed:
#
# $$p(c \mid h) = \frac{n(hc) + K(h)\,p(c \mid h')}{n(h) + K(h)}$$
#
# $h$ is what came before, $h'$ the same without its first letter, $n$ counts, $K(h)$ is how many kinds of letters
# followed $h$. All that *abac* has to say:
#
# | after $h$ | came: $n(hc)$ | letters in all: $n(h)$ | kinds: $K(h)$ |
# |---|---|---|---|
# | nothing | *a* twice, *b* once, *c* once | 4 | 3 |
# | *a* | *b* once, *c* once | 2 | 2 |
# | *b* | *a* once | 1 | 1 |
#
# One level below *nothing*, we know nothing: each of the 256 bytes has $1/256$. So *b* has, without context,
# $(1 + 3/256)/(4 + 3) = 0.1445$, and after *a* it has $(1 + 2 \cdot 0.1445)/(2 + 2) = 0.3223$.

# %%
from course_lib.ngrams import NGram

pair = NGram(encode("abac"), n=2)                                 # looks at n - 1 = 1 byte
p = pair.prob(encode("ab"))
assert_close(p[1], torch.tensor((1 + 2 * (1 + 3 / 256) / 7) / 4).double(), rtol=1e-6, atol=0)
print([f"{q:.4f}" for q in p], f"{-p.log2().mean():.3f} bits per byte")

# %% [markdown]
# ### Real text
#
# Letters are **bytes** here: 256 of them write every language and every program. We take two texts: `austen`, the six
# novels that Jane Austen finished (1811–1818), and `code`, the source of Python's standard library. A tenth of the
# chapters and of the modules is kept for the test, chosen by a hash, so that it is the same tenth for everybody.

# %%
novels, code = load_text("austen"), load_text("code")
test = novels.test[:30_000]                                       # about 5,000 words
print(f"{len(novels.train):,} bytes to learn from. The first of the others:\n\n{decode(test[:260])}")
claim("bytes of Python to learn from", len(code.train), ">=", 2_000_000)
print(encode("naïve").tolist(), decode(encode("naïve")))

# %% [markdown]
# How good is a guess? We add up the bits of all test bytes and divide by their number: **bits per byte**. It is the
# length of the file if the model's probabilities were used to compress it, so it can be compared with anything that
# compresses. A model that knows nothing needs 8.
#
# **Write down a guess:** an $n$-gram looks at $n - 1$ bytes. Which $n$ is best?

# %%
counted = {n: NGram(novels.train, n).bits_per_byte(test) for n in (1, 3, 5, 6, 7, 8)}
best = min(counted, key=counted.get)
print({n: round(bits, 2) for n, bits in counted.items()}, "best:", best)
assert best == 7

# %% [markdown]
# Longer contexts say more, but most of them were never seen. At seven letters, counting has come to its end: it
# cannot know that *"his sister"* and *"his cousin"* behave alike. And a program that packs files, `xz`, which looks for
# long repetitions?

# %%
import lzma

def packed(data):
    return len(lzma.compress(data))

known, new = bytes(novels.train.tolist()), bytes(test.tolist())
alone = 8 * packed(new) / len(new)
xz = 8 * (packed(known + new) - packed(known)) / len(new)         # what the test adds to the training text
claim("bits per byte of xz", alone, ">", 2.8)
claim("bits per byte of xz that has packed the training text before", xz, "<", 2.1)

# %% [markdown]
# ## Build it in the open
#
# From lesson 51 we take the block: attention, then an MLP, both added to what was there. A GPT is a stack of blocks,
# with a vector for each byte and each place at the bottom. At the top, it compares the result with the same table of
# byte vectors; what matches best is the guess.

# %%
# Figure: a diagram. Bytes (B, T) are looked up in a table of vectors, to which those of places are
# added; a stack of blocks follows, then a layer norm; multiplied by the table again this gives logits
# (B, T, 256). Below, the next byte of each place and the logits meet in the loss.
bytes_box, blocks_box = "bytes\n(B, T)", "n_layer blocks\n(B, T, C)"
table_box, logits_box = "table of bytes\n+ places", "logits\n(B, T, 256)"
next_box, loss_box = "next bytes\n(B, T)", "cross-entropy"
boxes = {bytes_box: (0, 1), table_box: (1, 1), blocks_box: (2.2, 1), "layer norm,\nsame table": (3.4, 1),
         logits_box: (4.5, 1), next_box: (3.4, 0), loss_box: (4.5, 0)}
arrows = [(bytes_box, table_box), (table_box, blocks_box), (blocks_box, "layer norm,\nsame table"),
          ("layer norm,\nsame table", logits_box), (logits_box, loss_box), (next_box, loss_box)]
blue = [table_box, blocks_box, "layer norm,\nsame table"]
diagram(boxes, arrows, {box: COLOURS[0] for box in blue} | {loss_box: COLOURS[3]});

# %% [markdown]
# Every place guesses at once, and the mask sees to it that none has read its answer.

# %%
from course_lib.gpt import GPT, GPTConfig
from course_lib.transformer import Block, causal_mask

class TinyGPT(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.tok_emb = nn.Embedding(c.vocab_size, c.n_embd)
        self.pos_emb = nn.Embedding(c.block_size, c.n_embd)
        self.blocks = nn.ModuleList(Block(c.n_embd, c.n_head) for _ in range(c.n_layer))
        self.norm = nn.LayerNorm(c.n_embd)

    def forward(self, idx):                                       # (B, T)
        T = idx.shape[1]
        x = self.tok_emb(idx) + self.pos_emb.weight[:T]           # (B, T, C)
        for block in self.blocks:
            x = block(x, causal_mask(T))                          # (B, T, C)
        return self.norm(x) @ self.tok_emb.weight.T               # (B, T, vocab_size)

# %% [markdown]
# Thanks to the causal mask, one pass makes a guess at *every* place, and none has seen its answer. So a window of
# $T + 1$ bytes is $T$ exercises: the inputs are all but the last, the targets all but the first.

# %%
config = GPTConfig(block_size=64, n_layer=2, n_head=4, n_embd=64)  # small: for learning while you wait
idx = encode("the cat")[None]                                     # (1, 7)
inputs, targets = idx[:, :-1], idx[:, 1:]
for t in (0, 1, 5):
    print(f"{decode(inputs[0, :t + 1])!r:9} -> {decode(targets[0, t:t + 1])!r}")

# %%
def lm_loss(model, idx):                                          # (B, T + 1)
    logits = model(idx[:, :-1])                                   # (B, T, vocab_size)
    return {"loss": F.cross_entropy(logits.flatten(0, 1), idx[:, 1:].flatten())}

seed(0)
tiny, (batch,) = TinyGPT(config), next(iter(Windows(novels.train, 16, 64)))
claim("loss of the first guess (bits)", lm_loss(tiny, batch)["loss"] / math.log(2), ">", 20, digits=1)

# %% [markdown]
# **Something is wrong**, and no error said so. A model that knows nothing should need $\log_2 256 = 8$ bits a byte. PyTorch fills an
# embedding with numbers of size 1, and multiplied with each other in the last line they become logits of size 8: a
# model that is sure of itself before it has read a word. GPT-2 starts all matrices with size 0.02. *Loss at the start
# = log of the vocabulary* is the first test of any language model.

# %%
seed(0)
for parameter in tiny.parameters():
    if parameter.ndim == 2:
        nn.init.normal_(parameter, std=0.02)
first = lm_loss(tiny, batch)["loss"]
claim("distance from log 256 (nats)", abs(first - math.log(256)), "<", 0.15)

# %% [markdown]
# The second test: can it learn a *single* batch by heart? It must, quickly. If not, the code is broken, and there is no
# use in training on anything larger.

# %%
import copy

from course_lib.train import fit

pupil = copy.deepcopy(tiny)
history = fit(pupil, lm_loss, [(batch[:4],)], steps=120, lr=5e-3, warmup=10, label="one batch")
claim("bits per byte of a batch known by heart", history["loss"][-1] / math.log(2), "<", 0.7)

# %% [markdown]
# ## Prove it
#
# `course_lib.gpt.GPT` has the same names inside, so our weights fit as they are. (GELU is a smooth
# ReLU. GPT-2 computes it by an approximation with tanh; `gelu="none"` is the exact one, which our block has.)

# %%
library = GPT(replace(config, gelu="none"))
library.load_state_dict(pupil.state_dict())
with torch.no_grad():
    assert_close(library(batch[:, :64]), pupil(batch[:, :64]), atol=1e-4, rtol=1e-4)

# %% [markdown]
# And the library's is GPT-2: with the same weights, Hugging Face's `GPT2LMHeadModel` gives the same logits. That package
# is not part of the course (`pip install transformers`, if you like); the tests of `course_lib` make this comparison in
# both directions.

# %%
import importlib.util

from course_lib.gpt import to_gpt2

if importlib.util.find_spec("transformers"):
    from transformers import GPT2Config, GPT2LMHeadModel
    sizes = GPT2Config(vocab_size=256, n_positions=64, n_layer=2, n_head=4, n_embd=64, bos_token_id=None,
                       eos_token_id=None)
    ours, theirs = GPT(config).eval(), GPT2LMHeadModel(sizes).eval()
    theirs.load_state_dict(to_gpt2(ours))
    with torch.no_grad():
        assert_close(theirs(batch[:, :64]).logits, ours(batch[:, :64]), atol=1e-4, rtol=1e-4)

# %% [markdown]
# ## Meet the library version: what does it cost?
#
# The library can also count what a model costs. A block has matrices of $3C^2$ (queries, keys, values), $C^2$, $4C^2$ and $4C^2$
# numbers, $12 C^2$ in all, if $C$ is its width. Every number in a matrix costs a multiplication and an addition per
# byte; only attention costs something on top, $4TC$ per layer. We let PyTorch count the operations.

# %%
import inspect

from torch.utils.flop_counter import FlopCounterMode

from course_lib import gpt as gpt_module

print(inspect.getsource(gpt_module.n_flops))

# %%
large = gpt.config                                                # the shipped one: 5 layers, width 192
counter, model = FlopCounterMode(display=False), GPT(large)
with counter, torch.no_grad():
    model(torch.zeros(1, 256, dtype=torch.long), dtype=torch.bfloat16)
print(f"{sum(p.numel() for p in model.parameters()):,} parameters, "
      f"{counter.get_total_flops():,} operations")
assert counter.get_total_flops() == gpt_module.n_flops(large)
assert sum(p.numel() for p in model.parameters()) == gpt_module.n_parameters(large)

# %%
# Figure: operations per byte, in millions, for our model and contexts of 16 to 4,096 bytes: a constant
# part for the matrices and a rising part for attention, equal at about 1,200 bytes.
contexts = 2 ** torch.arange(4, 13)
all_in = torch.tensor([gpt_module.n_flops(large, int(T)) / int(T) for T in contexts]) / 1e6
attention = 4 * contexts * large.n_embd * large.n_layer / 1e6
ax = curves({"all": (contexts, all_in), "matrices": (contexts, all_in - attention),
             "attention": (contexts, attention)}, xlabel="context $T$ (bytes)")
ax.set(ylabel="million operations per byte", xscale="log")
ax.set(xticks=contexts[::2], xticklabels=contexts[::2].tolist())
ax.minorticks_off();

# %% [markdown]
# At our 256 bytes the matrices cost nearly everything; beyond about 1,200 bytes attention costs more.
#
# ## Train
#
# The plain GPT-2, in small, with AdamW, on 150 batches of 16 windows. **Write down a guess:** will it beat counting in
# a few seconds?

# %%
from course_lib.gpt import fast, lm_loss
from course_lib.metrics import bits_per_byte

STEPS = 150

def train(config, optimizer=None):
    """A model and its losses; the rates fall linearly to zero, and AdamW warms up for 20 steps."""
    seed(0)
    model = GPT(config)
    history = fit(model, lm_loss, Windows(novels.train, 16, 64), STEPS, lr=3e-3, betas=(0.9, 0.95),
                  weight_decay=0.1, warmup=0 if optimizer else 20, decay=1.0, optimizer=optimizer)
    return model, [loss / math.log(2) for loss in history["loss"]]

losses = {}
plain, losses["GPT-2, AdamW"] = train(config)
results = {"GPT-2, AdamW": bits_per_byte(plain, test, block_size=64)}
claim("bits per byte of plain GPT-2 after 150 steps", results["GPT-2, AdamW"], ">", 2.9)

# %% [markdown]
# A disappointment: counting is far better, and has not even a learning rate. For a long time it knows no more than
# how frequent single letters and pairs are. Two ideas change this, and neither makes the model larger.
#
# ### One: distance instead of place
#
# A learned vector for every place has to be learned for every place: that *q* is followed by *u* must be found out at
# place 7, at place 8, at place 9. **ALiBi** (Press, Smith & Lewis, 2022) drops these vectors and subtracts
# $m \cdot \text{distance}$ from the attention scores, with another slope $m$ in each head. Nearness is built in, and
# nothing has to be learned.

# %%
# Figure: four triangles, what each head's penalty leaves of the weight from one byte (row) to an earlier
# one (column): next to nothing beyond a few bytes in the first, nearly all of it in the last.
penalty = GPT(fast(block_size=64)).mask                           # (4, 64, 64), -inf above the diagonal
fig, panels = plt.subplots(1, 4, figsize=(9, 2.5), sharey=True)
for h, (ax, head) in enumerate(zip(panels, penalty)):
    shown = ax.imshow(head.exp(), vmin=0, vmax=1, cmap="Blues")
    ax.set(title=f"head {h + 1}: $m$ = 1/{4 ** (h + 1)}", xlabel="looks at")
panels[0].set_ylabel("from")
fig.colorbar(shown, ax=panels, label=r"$\exp(-m \cdot$ distance$)$");

# %% [markdown]
# The first head sees only a few bytes; the last sees the whole window nearly evenly.
#
# ### Two: every direction at the same pace *(optional)*
#
# The gradient of a matrix is one-sided: a few directions, such as "spaces are frequent", get nearly all of it. **Muon**
# (Jordan et al., 2024) evens that out before it takes the step. Below, what a small matrix makes of all directions.

# %%
# Figure: a circle of arrows' tips; the thin ellipse that a one-sided 2x2 matrix makes of it; and what the
# same matrix makes of it after its two sizes were set to 1: a circle again, turned.
from course_lib.muon import muon, orthogonalise

angle = torch.linspace(0, 2 * math.pi, 41)
circle = torch.stack([angle.cos(), angle.sin()])                  # (2, 41)
one_sided = torch.tensor([[1.6, 0.8], [0.5, 0.5]])
fig, panels = plt.subplots(1, 3, figsize=(8, 2.6), sharex=True, sharey=True)
for ax, (name, points) in zip(panels, {"all directions": circle, "a gradient": one_sided @ circle,
                                       "after Muon": orthogonalise(one_sided) @ circle}.items()):
    ax.scatter(*points, c=angle, cmap="viridis", s=14)
    ax.set(title=name, aspect="equal", xlabel="first number")
panels[0].set_ylabel("second number");

# %% [markdown]
# The sizes of the ellipse along its two main directions are the matrix's *singular values*, here 1.9 and 0.2. Muon
# makes them nearly equal, between 0.7 and 1.2, so that rare directions move too. It needs no decomposition: five times
# a polynomial that pulls every singular value to that range.

# %%
sizes = torch.linalg.svdvals(one_sided)                            # (2,)
evened = torch.linalg.svdvals(orthogonalise(one_sided))
print(f"{sizes[0]:.2f} and {sizes[1]:.2f} become {evened[0]:.2f} and {evened[1]:.2f}")
print(inspect.getsource(orthogonalise))

# %% tags=["nbval-ignore-figure"]
# not compared: a gradient of a model trained in this lesson
# Figure: singular values of a gradient of our model, largest first, on a logarithmic axis. They fall over
# two powers of ten; after Newton–Schulz all lie between 0.7 and 1.2 (but for the last, which is zero: the
# outputs of a layer norm sum to zero).
lm_loss(library, batch)["loss"].backward()
G = library.blocks[0].mlp.fc.weight.grad                          # (256, 64)
before, after = torch.linalg.svdvals(G), torch.linalg.svdvals(orthogonalise(G))
ax = curves({"gradient (largest = 1)": (range(1, 65), before / before[0]),
             "after 5 steps": (range(1, 65), after)}, xlabel="rank", ylabel="singular value")
ax.set(yscale="log", ylim=(1e-3, 3))
claim("largest singular value as a multiple of the median", before[0] / before.median(), ">", 5, digits=1)
claim("the same multiple after orthogonalise", after[0] / after.median(), "<", 1.6)

# %% [markdown]
# After five steps all directions have nearly the same size. For the tables, which are no maps from vectors to vectors,
# AdamW stays. `fit` takes the pair as `optimizer=muon`.
#
# ## Predict, then turn one knob
#
# We add one thing at a time: ALiBi; then Muon; then all that makes up `fast()`, which also drops biases and the weights
# of the layer norms, lets every branch start at zero, has a table of its own for the logits and the exact GELU. **Write
# down a guess:** how many bits is each worth?

# %%
steps = {"+ ALiBi": (replace(config, positions="alibi"), None),
         "+ Muon": (replace(config, positions="alibi"), muon),
         "fast()": (fast(block_size=64, n_layer=2, n_head=4, n_embd=64), muon)}
for name, (c, optimizer) in steps.items():
    model, losses[name] = train(c, optimizer)
    results[name] = bits_per_byte(model, test, block_size=64)

# %% tags=["nbval-ignore-figure"]
# not compared: losses of models trained in this lesson
# Figure: training loss in bits per byte over 150 steps for the four versions.
lines = {name: (range(1, STEPS + 1), loss) for name, loss in losses.items()}
ax = curves(lines, ylabel="bits per byte (training)")
ax.set_ylim(2, 6)
by_alibi = results["GPT-2, AdamW"] - results["+ ALiBi"]
by_muon = results["+ ALiBi"] - results["+ Muon"]
by_rest = results["+ Muon"] - results["fast()"]
claim("bits per byte that ALiBi saves", by_alibi, ">", 0.05)
claim("bits per byte that Muon saves after that", by_muon, ">", 0.3)
claim("bits per byte that the rest of fast() saves after that (negative: costs)", by_rest, "<", 0.1)

# %% [markdown]
# <details><summary>Answer</summary>
#
# Distance and pace make the difference. The rest of `fast()` saves no bits here; it costs some. It is there for speed:
# without biases and norm weights there is less to read and write, and on processors that multiply bfloat16 (numbers of
# 16 bits) natively, the training of the shipped model does so. `benchmarks/README.md` shows it beside a textbook GPT and
# Hugging Face's.
# </details>
#
# ## The shipped model, stage by stage
#
# Trained by the same functions for longer: `checkpoints/part5.py`, `gpt`. While it trained, it wrote down what it could
# say, always from the same random numbers.

# %%
about = metadata("gpt")
times = about["steps"] * 8 * 256 / about["train_bytes"]           # 8 windows of 256 bytes a step
print(f"{about['parameters']:,} parameters, {about['steps']:,} steps: saw the novels {times:.1f} times\n")
for step, bits, sample in about["stages"]:
    print(f"----- after {step} steps, {bits:.2f} bits per byte\n{fill(sample, 105)}\n")

# %% [markdown]
# First the short words, and long ones that only sound English; then most words exist; then names, speeches in
# quotation marks and paragraphs; at last clauses that could stand in a novel. The **loss** shows no such stages; it only
# falls.
#
# ## Writing
#
# `generate` draws byte after byte. Read naively, each new byte means reading all before it again. But with a causal
# mask, a key and a value never change once they are computed, so they can be kept: the **cache**. Prompts of different
# lengths end in the same column; shorter ones begin further to the right, and nobody looks at the padding before them:
#
# ```
# column       0 1 2 3 4 5 6 7 8 9   10 11 ...
# She          . . . . . . S h e _   written here
# Mr. Darcy    M r . _ D a r c y _   written here
# ```
#
# That is where most home-made caches go wrong, so we compare, with the small model that we have just trained: three
# prompts together with a cache, against each alone without one.

# %%
from course_lib.decoding import generate, generate_plainly

prompts = [encode(p) for p in ("She ", "It is a truth universally acknowledged, ", "Mr. Darcy ")]
together = generate(model, prompts, 100, temperature=0)           # (3, 100), past the block of 64
singly = torch.stack([generate_plainly(model, p, 100, temperature=0) for p in prompts])
assert torch.equal(together, singly)
print(f"{together.numel()} bytes, all equal")

# %%
import time

def seconds(f, *args):
    begin = time.perf_counter()
    f(*args)
    return time.perf_counter() - begin

speed_up = min(seconds(generate_plainly, gpt, prompts[0], 150) / seconds(generate, gpt, prompts[:1], 150)
               for _ in range(2))
claim("speed with a cache, as a multiple of that without", speed_up, ">=", 1.5, digits=1)

# %% [markdown]
# Now read aloud. (A temperature $\tau$ below 1 makes it more careful, as in lesson 12.)

# %%
for start in ("Elizabeth", "\"My dear", "The ball"):
    words = decode(generate(gpt, [encode("\n\n" + start)], 420, temperature=0.6, generator=seeded(1))[0])
    paragraph, _, rest = words.partition("\n\n")
    print(fill(start + paragraph + ("" if rest else " ..."), 100), "\n")

# %% [markdown]
# The words are right, the grammar holds for half a sentence at a time, the tone is unmistakable, and it means nothing.
# The same, trained on the standard library, speaks Python:

# %%
coder = load_checkpoint("gpt_code")
print("def " + decode(generate(coder, [encode("\n\ndef ")], 330, temperature=0.6, generator=seeded(3))[0]))

# %% [markdown]
# Your turn: change the prompt, or use the field below when you run this page yourself.

# %%
prompt = "The neural network was"
words = generate(gpt, [encode(prompt)], 300, temperature=0.6, generator=seeded(0))[0]
print(fill(prompt + decode(words), 100))

# %%
def write(prompt, temperature):
    new = generate(gpt, [encode(prompt or "\n")], 300, temperature=temperature, generator=seeded(2))[0]
    print(fill(prompt + decode(new), 100, replace_whitespace=False))

sliders(write, prompt="Miss Bingley ", temperature=(0.7, 0.0, 1.5, 0.1))

# %% [markdown]
# ## Results
#
# Everything on the same test bytes, for English and for Python (to save time, of 20,000 bytes, with a million for xz to
# learn from). `stride=192` lets the model see at least 64 bytes before every byte that counts.

# %%
part, last = code.test[:20_000], bytes(code.train[-1_000_000:].tolist())
new = bytes(part.tolist())
english = {"7-gram": counted[7], "xz": xz, "GPT": bits_per_byte(gpt, test, block_size=256, stride=192)}
python = {"7-gram": NGram(code.train, 7).bits_per_byte(part),
          "xz": 8 * (packed(last + new) - packed(last)) / len(new),
          "GPT": bits_per_byte(coder, part, block_size=256, stride=192)}

# %% tags=["nbval-ignore-figure"]
# not compared: the source of Python differs a little between its versions
# Figure: bits per byte of 7-gram, xz (after the training text) and GPT, for English and Python.
fig, ax = plt.subplots(figsize=(6.4, 2.8))
for i, (method, colour) in enumerate(zip(english, COLOURS)):
    x, heights = [0.25 * (i - 1), 0.25 * (i - 1) + 1], [english[method], python[method]]
    bars = ax.bar(x, heights, 0.23, color=colour, label=method)
    ax.bar_label(bars, fmt="%.2f")
ax.set(xticks=range(2), xticklabels=["English (austen)", "Python (code)"], ylabel="bits per byte (test)")
ax.legend(ncols=3, loc="upper center", bbox_to_anchor=(0.5, 1.18))
claim("bits per byte of the GPT, English", english["GPT"], "<", 1.45)
claim("bits per byte that it saves on the 7-gram, English", english["7-gram"] - english["GPT"], ">", 0.2)
claim("bits per byte that it saves on xz, English", english["xz"] - english["GPT"], ">", 0.5)
claim("bits per byte of the GPT, Python", python["GPT"], "<", 1.6)
claim("bits per byte that it saves on the 7-gram, Python", python["7-gram"] - python["GPT"], ">", 0.5)
claim("bits per byte that it saves on xz, Python", python["xz"] - python["GPT"], ">", 0.2)

# %% [markdown]
# The GPT wins twice. Of the two baselines, counting is the better one on English, `xz` on Python, since
# programs repeat licences, imports and idioms to the letter, thousands of bytes apart, and copying from afar is all
# that `xz` does. Our model looks back 256 bytes and was shown each line about four times. Never trust a language model's bits
# without such baselines.
#
# What does it use its context for? The same bits, by how many bytes it had seen before.

# %%
# Figure: bits per byte against the number of bytes that the shipped model had seen before, in groups of
# doubling size (1, 2, 3–4, 5–8, ...), up to 256.
windows = test[:116 * 257].view(116, 257).long()
with torch.no_grad():
    logits = torch.cat([gpt(w[:, :-1]) for w in windows.split(16)])           # (116, 256, 256)
nats = F.cross_entropy(logits.mT, windows[:, 1:], reduction="none").mean(0)   # (256,)
ends = [0] + [2**k for k in range(9)]
seen = {b: nats[a:b].mean().item() / math.log(2) for a, b in zip(ends, ends[1:])}
ax = curves({"": (list(seen), list(seen.values()))}, xlabel="bytes of context, up to")
ax.set(ylabel="bits per byte", xscale="log", xticks=list(seen), xticklabels=list(seen))
ax.minorticks_off()
claim("bits per byte with 1 byte of context", seen[1], ">", 2.5)
claim("bits that 9–16 bytes of context save on 5–8", seen[8] - seen[16], ">", 0.1)
claim("bits that 129–256 bytes of context save on 9–16", seen[16] - seen[256], "<", 0.15)

# %% [markdown]
# Sixteen bytes, about three words, are nearly all that it uses, though it may look at 256. That is why its clauses are
# right and its paragraphs are not: who is speaking, and of whom, stands further back. That costs few bits, but a
# story depends on it.
#
# ## Break it: a loss that is too good
#
# The most common bug of home-made language models: the targets are not shifted. **Write down a guess:** what is the
# loss, and what does such a model write?

# %%
def unshifted_loss(model, idx):
    logits = model(idx[:, :-1])
    return {"loss": F.cross_entropy(logits.flatten(0, 1), idx[:, :-1].flatten())}  # the input itself

seed(0)
broken = GPT(fast(block_size=64, n_layer=2, n_head=4, n_embd=64))
history = fit(broken, unshifted_loss, Windows(novels.train, 16, 64), 60, decay=1.0, optimizer=muon)
claim("loss after 60 steps without the shift (bits)", history["loss"][-1] / math.log(2), "<", 0.5)

# %%
writing = generate(broken, [encode("The ")], 60, generator=seeded(0))[0]
claim("share of bytes that repeat the one before", (writing.diff() == 0).double().mean(), ">", 0.8)
honest = bits_per_byte(broken, test[:5000], block_size=64)
claim("true bits per byte of that model", honest, ">", 8)

# %% [markdown]
# Its loss looks wonderful, and the model is worse than one that knows nothing: it writes each byte twice. The mask was right, the shift was not, and the
# loss alone could never tell. Three things could: a loss *below* what the best compressor needs is no success but an
# alarm; `bits_per_byte` has a shift of its own; and a look at a sample. The repair is one slice, `idx[:, 1:]`, and
# brings back the honest 8 bits at the start.

# %%
seed(0)
fresh = GPT(config)
claim("loss at the start with the shift (bits)", lm_loss(fresh, batch)["loss"] / math.log(2), ">", 7.8)

# %% [markdown]
# ## In the wild
#
# `transformers` calls the plain model `GPT2LMHeadModel`; `course_lib.gpt.from_gpt2` takes its weights. The real thing:
#
# ```python
# from transformers import AutoTokenizer, GPT2LMHeadModel
#
# tokenizer = AutoTokenizer.from_pretrained("openai-community/gpt2")
# model = GPT2LMHeadModel.from_pretrained("openai-community/gpt2").to("cuda")
# prompt = tokenizer("Elizabeth could not help", return_tensors="pt").to("cuda")
# print(tokenizer.decode(model.generate(**prompt, max_new_tokens=50, do_sample=True)[0]))
# ```

# %% [markdown]
# ## Recap
#
# - A text's probability is a product of guesses at the next byte; its logarithm, per byte, compares all models.
# - A GPT is a table, a stack of causal blocks, and the table again; a window of $T$ bytes holds $T$ lessons.
# - Distance in place of places (ALiBi) and a step of equal size in every direction (Muon) make it learn fast.
# - To write, draw a byte and go on; a cache of keys and values makes that many times faster.
# - A loss below the best compressor's is an alarm: look for the shift, then at a sample.
#
# **What we left out.**
#
# - **Larger tokens.** Bytes waste steps on spelling; lesson 53 (to come) joins frequent ones.
# - **How to choose** from the guesses (top-k, top-p, beams): lesson 55 (to come).
# - **Scale.** Nothing here changes on the way to billions of parameters but the numbers, and the plumbing of lesson 87 (to
#   come).
#
# **Exercises:** [54_gpt](../exercises/54_gpt/54_gpt.ipynb). Two more to think about: train the small model on `code` for
# the same 150 steps. Is Python easier than English? And: let the plain model with learned positions see windows that
# are shifted by one. Which of its guesses change, and why do those of `fast()` not?
#
# **Next**, [lesson 56](56_everything_is_a_token.ipynb): the same GPT, unchanged, in three more worlds: pictures, music and programs.
#
# ## Read on
#
# - C. Shannon, *A mathematical theory of communication* (1948),
#   [doi:10.1002/j.1538-7305.1948.tb01338.x](https://doi.org/10.1002/j.1538-7305.1948.tb01338.x): $n$-grams, entropy, and
#   the first samples.
# - A. Radford et al., *Language models are unsupervised multitask learners* (2019): GPT-2; section 2.3 for the
#   architecture.
# - O. Press, N. Smith & M. Lewis, *Train short, test long* (2022),
#   [arXiv:2108.12409](https://arxiv.org/abs/2108.12409), section 3.
# - K. Jordan et al., *Muon: an optimizer for hidden layers in neural networks* (2024).
# - I. Witten & T. Bell, *The zero-frequency problem* (1991), method C.
# - In the library: `gpt.py` (`GPT`, `fast`), `decoding.py` (`generate`, `Cache`), `muon.py`, `ngrams.py`, `metrics.bits_per_byte`.
