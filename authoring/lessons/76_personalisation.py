# %% [markdown]
# # 76 · One's own: a model that knows one face
#
# A text-to-image model can draw anybody whom words describe, and nobody in particular. Here it gets to know one person
# from five pictures, so that it can draw him in clothes that it never saw him wear. The large model stays as it is; what
# is learned beside it fits into a small file, can be switched off, and can be given to whoever has the same model. At
# the end you will have made the picture below, and you will know what such a training destroys if nobody takes care.
#
# **After this lesson you can**
# - correct a large model with a small adapter (LoRA), switch it off, merge it, and count what it costs;
# - teach a model one new word (textual inversion), or a word and a face (DreamBooth), and tell what each can reach;
# - measure what a training has made the model forget, and prevent it.
#
# **You need** lessons [65](65_text_to_image.ipynb) (words into pictures) and [73](73_instruction_tuning.ipynb) (an
# assistant). **It takes** 60 minutes to read and half a minute to run. **How hard:** ••. All symbols are in the
# [table of symbols](symbols.ipynb).
#
# ## Set-up

# %%
from copy import deepcopy
from functools import partial

import matplotlib.pyplot as plt
import torch
from torch import nn
from torch.testing import assert_close

from course_lib.checkpoint import load as load_checkpoint
from course_lib.checkpoint import metadata

# %%
from course_lib.claims import claim
from course_lib.data import load
from course_lib.data.avatars import NAMES, caption, said
from course_lib.data.person import likeness, named
from course_lib.device import seed, seeded
from course_lib.lora import put
from course_lib.plots import COLOURS, diagram, strip
from course_lib.reader import obeys, read, score

zorp = load("person")
base = load_checkpoint("text_to_image")
model = put(load_checkpoint("zorp"), base)                        # the model with its adapter

# %%
# Figure: five rows of five faces. Five pictures of one bald man with two green tufts of hair and a small
# green beard; and four rows that the model drew of him: with a green hat and dark glasses, with a yellow
# hat, sad in a red shirt, with light glasses and a green shirt.
wishes = ["a zorp person with\na green hat and dark glasses", "a happy zorp person with\na yellow hat",
          "a sad zorp person with\na red shirt", "a zorp person with\nlight glasses and a green shirt"]
rows = {"the five pictures": zorp.five.x}
for number, text in enumerate(wishes):
    rows[text] = model.sample([text] * 5, seeded(number), guidance=2)
strip(rows);

# %% [markdown]
# We call him Zorp. In none of the five pictures does he wear a green or a yellow hat, or dark glasses.
#
# ## What makes him himself?
#
# He was drawn with the program behind the `avatars` of lesson 65, and is in none of its 10,000 pictures. Captions can
# say that he has light skin and short green hair. They have no words for the tufts beside a bald head, the eyes, the
# tone of his skin and the little beard, and a cut like his was never in the training pictures.
#
# To measure whether somebody is Zorp, we use what only the builder of the pictures knows: the pixels in which he is
# always the same, and most others are not. Glasses hide some of them, a hat others, so there are four situations:
# neither, glasses, a hat, and both. `likeness` is the share of these pixels that have his colour, within 0.25 in red,
# green and blue; the reader of lesson 65 says which situation it is.

# %%
told = seeded(0)
print(named(zorp.five.attributes[2], "zorp", told))
print("pixels of his own:", zorp.own.sum((1, 2)).tolist())

# %%
his = likeness(zorp.more.x, read(zorp.more.x))                    # 100 more pictures of him
theirs = likeness(zorp.others.x, read(zorp.others.x))             # of others with the same captions
with torch.no_grad():
    rebuilt = base.latents(zorp.more.x).clamp(0, 1)               # his pictures, encoded and decoded
print(f"likeness of his pictures: at least {his.min():.2f}")
passed = (likeness(rebuilt, read(rebuilt)) > 0.6).float().mean()
claim("of his pictures after encoding and decoding, share above 0.6", passed, ">", 0.95)
claim("of others' pictures, share above 0.6", (theirs > 0.6).float().mean(), "<", 0.05)

# %%
# Figure: three rows of four pictures, one column a situation: without anything, with glasses, with a hat,
# with both. Above Zorp, in the middle his own pixels in white on black, below another person whose caption
# would be the same.
masks = zorp.own[:, None].float().expand(-1, 3, -1, -1)
hats = zorp.more.attributes[:, NAMES.index("hat")] > 0
glasses = zorp.more.attributes[:, NAMES.index("glasses")] > 0
situations = [(False, False), (False, True), (True, False), (True, True)]
first = [torch.nonzero((hats == h) & (glasses == g))[0].item() for h, g in situations]
strip({"Zorp": zorp.more.x[first], "pixels of his own": masks, "somebody else": zorp.others.x[first]});

# %% [markdown]
# So "this is Zorp" shall mean: more than 0.6 of these pixels are right. Real pictures of him always pass, those of
# others with the same captions nearly never. And the **baseline** for all that follows is to describe him in words:

# %%
def shares(model, captions, asked):
    """Of one picture a caption: is it Zorp, and does it show what was asked for? -> two shares"""
    pictures = model.sample(captions, seeded(1), guidance=2)
    is_he = likeness(pictures, read(pictures)) > 0.6              # (n,)
    right = obeys(pictures, asked).all(1)                         # (n,)
    return is_he.float().mean().item(), right.float().mean().item()

# %%
told = seeded(1)
captions = [named(row, "zorp", told) for row in zorp.more.attributes[:40]]
asked = torch.stack([said(text.replace("zorp ", "")) for text in captions])
described = [text.replace("zorp person", "person").replace("zorp face", "person")
             + ", light skin and short green hair" for text in captions]
he_described, right_described = shares(base, described, asked)
claim("described in words: it is Zorp", he_described, "<", 0.15)
claim("described in words: clothes as asked", right_described, ">", 0.9)

# %% [markdown]
# The clothes are right and the man is somebody else: words alone do not reach him.
#
# ## A small correction of a large matrix, by hand
#
# A layer multiplies by a matrix `W`. To change the model, we could train all of `W`. **Low-rank adaptation** (LoRA)
# trains a product of two thin matrices that is added to it: `W + up @ down`. With one column and one row (rank 1):

# %%
W = torch.tensor([[1.0, 0, 0], [0, 1, 0], [0, 0, 1], [1, 1, 1]])  # (4, 3): three numbers in, four out
up = torch.tensor([[1.0], [0], [2], [0]])                         # (4, 1)
down = torch.tensor([[0.0, 1, -1]])                               # (1, 3)
x = torch.tensor([5.0, 3, 2])
print("change of W:\n", up @ down)
print("two thin steps beside the old one:", W @ x + up @ (down @ x))
print("one merged matrix:                ", (W + up @ down) @ x)
print("rank of the change:", torch.linalg.matrix_rank(up @ down).item())

# %% [markdown]
# `down` reads one number off the input, 3 - 2 = 1, and `up` says what to do with it: add 1 to the first output and 2
# to the third. However large the layer, a correction of rank 1 hears one thing and has one thing to say. What does it
# cost? For our small matrix rank 3 costs more than all of `W`; for large ones it is next to nothing:

# %%
layers = [(4, 3, "by hand"), (80, 720, "a convolution of our U-Net"), (4096, 4096, "a large model")]
for n_out, n_in, name in layers:
    for rank in (1, 3):
        print(f"{name:27} rank {rank}: {rank * (n_out + n_in):7,} numbers in place of {n_out * n_in:10,}")

# %% [markdown]
# ## What we will build

# %%
# Figure: a diagram. Input x goes two ways: through the frozen matrix W, and through the thin matrices down
# and up, times a strength; both are added. In a second row the caption "a zorp person" becomes words, of
# which zorp is a new vector, and goes into the network that has such layers.
x_box = "input\n(B, n_in)"
w_box = "W, frozen\n(n_out, n_in)"
d_box = "down\n(r, n_in)"
u_box = "up\n(n_out, r)"
s_box = "+ strength ·"
y_box = "output\n(B, n_out)"
c_box = "a zorp person"
t_box = "words, frozen,\nand one new vector"
n_box = "text encoder and U-Net\nof such layers"
boxes = {x_box: (0, 1), w_box: (1.6, 1.5), d_box: (1.2, 0.5), u_box: (2.2, 0.5), s_box: (3.2, 1),
         y_box: (4.3, 1), c_box: (0, -0.8), t_box: (1.7, -0.8), n_box: (3.6, -0.8)}
arrows = [(x_box, w_box), (x_box, d_box), (d_box, u_box), (w_box, s_box), (u_box, s_box), (s_box, y_box),
          (c_box, t_box), (t_box, n_box)]
trained = dict.fromkeys([d_box, u_box, t_box], COLOURS[1])
diagram(boxes, arrows, trained | {w_box: COLOURS[0], n_box: COLOURS[0]}, size=(9, 3.6));

# %% [markdown]
# What is trained is orange: thin matrices beside every layer, and one vector. All that is blue stays as it was.
#
# ## Build it
#
# `up` starts as zero, so at first nothing changes; `down` starts at random, so that `up` has something to learn from.
# If both were zero, neither would get a gradient. For a linear layer:

# %%
seed(0)
layer = nn.Linear(7, 5)
down = torch.randn(2, 7) / 7**0.5                                 # (r, n_in)
up = torch.randn(5, 2)                                            # (n_out, r); a training starts at 0
x = torch.randn(3, 7)

beside = layer(x) + x @ down.T @ up.T                             # two thin steps
merged = x @ (layer.weight + up @ down).T + layer.bias            # one matrix
assert_close(beside, merged)

# %% [markdown]
# The kernel of a convolution, (C_out, C_in, k, k), is a matrix too, with C_in · k · k columns. Its thin steps are a
# convolution with `r` outputs, then one that looks at single places.

# %%
conv = nn.Conv2d(4, 6, 3, padding=1)
down = torch.randn(2, 4 * 3 * 3)
up = torch.randn(6, 2)
x = torch.randn(3, 4, 8, 8)

narrow = nn.functional.conv2d(x, down.view(2, 4, 3, 3), padding=1)            # (3, 2, 8, 8)
beside = conv(x) + nn.functional.conv2d(narrow, up.view(6, 2, 1, 1))          # (3, 6, 8, 8)
kernel = conv.weight + (up @ down).view(6, 4, 3, 3)
assert_close(beside, nn.functional.conv2d(x, kernel, conv.bias, padding=1), atol=1e-4, rtol=1e-4)

# %% [markdown]
# ### The library version
#
# `add_lora` does this to every linear layer and convolution whose name contains one of the words in `where`, and freezes
# all else. It adds the product to the weight before the layer uses it, so the kind of layer does not matter. `scale` is
# one more fixed factor, here 1.

# %%
from inspect import getsource

from course_lib.lora import LowRank, adapters, add_lora, merge, n_trained, strength

mine = deepcopy(layer)
small = add_lora(nn.Sequential(mine), rank=2)
part = adapters(small)["0"]
x = torch.randn(3, 7)
assert torch.equal(small(x), layer(x))                            # it starts as nothing
with torch.no_grad():
    part.up.normal_()
    assert_close(small(x), layer(x) + x @ part.down.T @ part.up.T)

# %%
print(getsource(LowRank.change))
print(getsource(LowRank.forward))

# %%
whole = sum(p.numel() for p in base.parameters())
for rank in (1, 2, 4, 8, 16):
    tried = add_lora(deepcopy(base), rank, where=("text", "network"))
    print(f"rank {rank:2}: {n_trained(tried):7,} of {whole:,} numbers are trained")

# %% [markdown]
# A **switch**: inside `with strength(model, 0):` the old model is back, to the last bit. And **merging** makes plain
# layers again, as fast as before; then it cannot be switched off any more.

# %%
before = base.sample(["a person with a red hat"] * 2, seeded(0))
with strength(model, 0):
    assert torch.equal(model.sample(["a person with a red hat"] * 2, seeded(0)), before)

# %%
plain = merge(deepcopy(model))
assert not adapters(plain)
beside = model.sample(["a zorp person"] * 2, seeded(0))
assert_close(plain.sample(["a zorp person"] * 2, seeded(0)), beside, atol=1e-3, rtol=1e-3)

# %% [markdown]
# ## One new word: textual inversion
#
# The least that one can train is the word: **textual inversion**. A text encoder begins with a table, one vector a
# word. We append a row for "zorp" and train these 64 numbers alone, so that the model draws the five pictures when it
# reads the word.

# %%
from course_lib.lora import add_word

table = base.text.words.weight                                    # (32, 64)
new = torch.randn(1, 64, generator=seeded(0))
longer = torch.cat([table, new])                                  # (33, 64): word 32 is zorp
spoken = add_word(deepcopy(base), "zorp")
assert spoken.text.words.weight.shape == longer.shape
assert torch.equal(spoken.text.words.weight[:32], table)          # no other word has changed
print(n_trained(spoken), "numbers; the words are", spoken.vocabulary[-3:])

# %% [markdown]
# **Write down a guess:** all layers of the model stay as they are. Which of these can the word learn: his clothes, his
# skin and the colour of his hair, the tufts beside the bald head? Below the pictures stand four numbers for each of five
# trainings: the share that is Zorp (`he`), the mean likeness, the share with the clothes that were asked for (`obeys`),
# and the share of ordinary captions, without the word, that are still drawn right (`others`).

# %%
# Figure: two rows of six faces: by the model that has learned the word alone, for "a zorp person" and for
# "a zorp person with a green hat".
worded = put(load_checkpoint("zorp_word"), base)
rows = {text: worded.sample([text] * 6, seeded(2), guidance=2)
        for text in ("a zorp person", "a zorp person with\na green hat")}
strip(rows);

# %%
word_trials = metadata("zorp_word")["trials"]["one word"]
for name in ("he", "likeness", "obeys", "others"):
    print(f"{name:9}", [round(trial[name], 2) for trial in word_trials])
claim("pictures that are Zorp, best of five trainings", max(t["he"] for t in word_trials), "<", 0.2)
claim("clothes as asked, worst of five", min(t["obeys"] for t in word_trials), ">", 0.8)

# %%
ordinary = ["a sad person with a red hat and dark glasses"] * 2
assert torch.equal(worded.sample(ordinary, seeded(0)), base.sample(ordinary, seeded(0)))

# %% [markdown]
# <details><summary>Answer</summary>
#
# The clothes are as asked, and the heads have little hair: so much the word has found. The tufts and the beard never
# come, although the shipped word was trained for 300 batches and even started as a copy of "green". A word can only ask
# for what the model is able to draw. Large models, which have seen nearly everything, find a good deal of a face or a
# style behind some vector; ours never saw such a head. In return nothing at all is forgotten: captions without the word
# are drawn to the last bit as before.
# </details>
#
# ## Five pictures, and what was known before: DreamBooth
#
# So the layers must learn too. **DreamBooth** trains the model on the few pictures, called by a rare word and the name
# of their kind: "a zorp person". Its second idea is **prior preservation**. Before the training, the model draws
# pictures of all sorts of people; in the training, each batch holds as many of these, with their captions, as of Zorp.
# They say: whatever you learn, "a person" is still this.

# %%
from course_lib.lora import FiveAndMany

faces = load("avatars")
told = seeded(0)
texts = [caption(row, told, leave_out=0.6) for row in faces.train.shown[:40]] + ["a person"] * 20
with torch.no_grad():
    drawn = base.latents.encode(base.sample(texts, seeded(7), guidance=1))    # (60, 4, 8, 8)
    z = base.latents.encode(zorp.five.x)                                      # (5, 4, 8, 8)

# %%
words = (*base.vocabulary, "zorp")
batches = FiveAndMany(z, zorp.five.attributes, "zorp", words, batch_size=6, prior=(drawn, texts))
seed(0)
latents, numbers = next(iter(batches))
print(tuple(latents.shape), tuple(numbers.shape))
for row in (0, 1, 6, 7):
    print(" ".join(words[k] for k in numbers[row].tolist() if k))

# %% [markdown]
# The captions of the five name his clothes: what a caption says needs no other explanation, and what all five have in
# common is left for the word. Only captions are taken from `avatars`, no pictures: the model itself draws those.

# %% tags=["nbval-ignore-figure"]
# Figure: a curve, the loss over 90 steps: noisy, it falls from about 0.7 to 0.3.
# not compared: trained here
from course_lib.text_to_image import text_to_image_loss
from course_lib.train import fit

seed(0)
young = add_lora(add_word(deepcopy(base), "zorp"), rank=4, where=("text", "network"))
history = fit(young, partial(text_to_image_loss, drop=0.0), batches, steps=90, lr=1e-2, betas=(0.9, 0.99),
              warmup=10, decay=0.5, ema=0.95, autocast=True)
history.plot();

# %% tags=["nbval-ignore-figure"]
# Figure: two rows of six faces after the short training: "a zorp person with a green hat", who looks much
# like Zorp, and "a person", who are many different people.
# not compared: trained here
strip({text: young.sample([text] * 6, seeded(3), guidance=2)
       for text in ("a zorp person with a green hat", "a person")});

# %% [markdown]
# After five seconds he can be recognised. The shipped adapter was trained for 240 batches by the same code, with 150
# pictures of others.
#
# ## How well, and at what price?
#
# Four numbers tell the story: **it is Zorp** (`he`, in 40 new outfits), **clothes as asked** (`obeys`), ordinary captions
# **still right** (`others`, lesson 65's score for whole captions), and **drift**: how many pictures of "a person" are
# Zorp.

# %%
he, right = shares(model, captions, asked)
claim("with the adapter: it is Zorp", he, ">", 0.8)
claim("with the adapter: clothes as asked", right, ">", 0.9)
told = seeded(2)
texts = [caption(row, told) for row in faces.test_seen.shown[:60]]
wanted = torch.stack([said(text) for text in texts])
kept = score(model.sample(texts, seeded(2), guidance=2), wanted)["whole caption"]
claim("ordinary captions still right", kept, ">", 0.93)

# %% [markdown]
# Now we compare like with like: the word alone, adapters of rank 1 to 16, and **all** 841,000 numbers of text encoder and
# U-Net. Everything was trained with five seeds, ranks other than 4 with one. `spread` is how much pictures of "a person"
# differ from each other, as a share of before.

# %%
made, alone = metadata("zorp")["trials"], metadata("zorp_alone")["trials"]
trials = {"the word": word_trials}
for rank in (1, 2, 4, 8, 16):
    trials[f"rank {rank}"] = made[f"rank {rank}"]
trials["all numbers"] = alone["all"]
names = ("he", "obeys", "others", "drift", "spread")
print(" " * 12, *(f"{name:>8}" for name in names), "  numbers")
for way, runs in trials.items():
    means = [sum(run[name] for run in runs) / len(runs) for name in names]
    print(f"{way:12}", *(f"{mean:8.2f}" for mean in means), f"{runs[0]['numbers']:9,}")

# %%
rank4 = made["rank 4"]
claim("rank 4: it is Zorp, worst of five", min(run["he"] for run in rank4), ">", 0.8)
claim("rank 4: clothes as asked, worst of five", min(run["obeys"] for run in rank4), ">", 0.9)
claim("rank 4: ordinary captions right, worst of five", min(run["others"] for run in rank4), ">", 0.9)
claim("rank 4: drift, worst of five", max(run["drift"] for run in rank4), "<", 0.2)
drift_of_all = sum(run["drift"] for run in alone["all"]) / 5
drift_of_4 = sum(run["drift"] for run in rank4) / 5
claim("all numbers: drift, mean of five, above that of rank 4", drift_of_all - drift_of_4, ">", 0.1)

# %%
# Figure: four panels, one for each of: it is Zorp, clothes as asked, ordinary captions right, drift. Dots
# for each training over the ways: the word, ranks 1, 2, 4, 8, 16 and all numbers.
titles = {"he": "it is Zorp", "obeys": "clothes as asked", "others": "still right", "drift": "drift"}
_, panels = plt.subplots(1, 4, figsize=(10, 2.6), sharey=True)
for panel, (name, title) in zip(panels, titles.items()):
    for place, runs in enumerate(trials.values()):
        panel.plot([place] * len(runs), [run[name] for run in runs], "o", ms=4, alpha=0.6, color="C0")
    panel.set(title=title, xticks=range(len(trials)), ylim=(-0.05, 1.05))
    panel.set_xticklabels(["word", "1", "2", "4", "8", "16", "all"], fontsize=8)
panels[0].set(ylabel="share of pictures")
panels[1].set_xlabel("what was trained: the word, a rank, all numbers", x=1.1);

# %% [markdown]
# The word changes nothing for captions without it, so its drift of 0.05 is what passes for Zorp by chance.
#
# Rank 1, a sixtieth of the numbers, already knows him in most pictures, and more than rank 4 brings little: one face is
# a small change. Training all numbers reaches no more. Its file is the whole model, and in spite of the other pictures
# "a person" becomes Zorp more often. Large models behave alike: adapters forget less (Biderman et al., 2024).
#
# ## Predict, then turn one knob: the strength
#
# The correction can be multiplied by any number after the training. **Write down a guess:** what will "a zorp person"
# look like at strength 0, at one half, at 2 and at 4?

# %%
# Figure: five rows of six faces from the same noise, for the strengths 0, 0.5, 1, 2 and 4.
rows, alike = {}, []
for value in (0, 0.5, 1, 2, 4):
    with strength(model, value):
        rows[f"strength {value}"] = model.sample(["a zorp person"] * 6, seeded(4), guidance=2)
    alike.append(likeness(rows[f"strength {value}"], read(rows[f"strength {value}"])).mean().item())
strip(rows);

# %%
claim("likeness at strength 1", alike[2], ">", 0.75)
claim("likeness at strength 1, above that at 0", alike[2] - alike[0], ">", 0.5)
claim("likeness at strength 1, above that at 4", alike[2] - alike[4], ">", 0.15)

# %% [markdown]
# <details><summary>Answer</summary>
#
# At 0 the layers are the old ones, and the new word means nothing to them: they draw people of all sorts. In between
# he appears bit by bit. At 2 he is a caricature, his tufts and beard darker than ever; at 4 the pictures fall apart.
# The correction was learned at strength 1, and nothing beyond it was ever tried in training.
# </details>
#
# ## Break it: the five pictures alone
#
# What if we leave out the model's own pictures and train on the five alone? **Write down a guess:** what will come for
# "a person", and for other captions without the word?

# %%
# Figure: three rows of six faces. Before any training, for "a person": all sorts of people. After a
# training on the five pictures alone, for "a person". After one with prior preservation, for "a person".
forgetful = put(load_checkpoint("zorp_alone"), base)
anybody = ["a person"] * 6
strip({"before": base.sample(anybody, seeded(5), guidance=2),
       "the five alone": forgetful.sample(anybody, seeded(5), guidance=2),
       "with 150 others": model.sample(anybody, seeded(5), guidance=2)});

# %%
def drift(model, n=40):
    pictures = model.sample(["a person"] * n, seeded(6), guidance=2)
    return (likeness(pictures, read(pictures)) > 0.6).float().mean().item()

# %%
claim("people who are Zorp, after the five alone", drift(forgetful), ">", 0.7)
claim("people who are Zorp, with 150 others", drift(model), "<", 0.15)
lost = score(forgetful.sample(texts, seeded(2), guidance=2), wanted)["whole caption"]
claim("ordinary captions right after the five alone, below those with 150 others", kept - lost, ">", 0.005)
five = alone["rank 4, alone"]
claim("the five alone: drift, mildest of five", min(run["drift"] for run in five), ">", 0.5)
claim("the five alone: spread of people, as a share of before, largest of five",
      max(run["spread"] for run in five), "<", 0.8)

# %% [markdown]
# <details><summary>Answer</summary>
#
# Everybody becomes Zorp. This is **language drift**: the captions of the five say "person" or "face", next to a word that
# meant nothing yet, and these words took over its meaning. With it went variety, and part of what ordinary captions ask
# for. Nobody who looks at pictures of Zorp alone would notice: they are as good as with the 150 others.
# </details>
#
# It is also **overfitting**. Asked for "a zorp person" and nothing else, how often does the model draw exactly the
# hat, glasses, mood and shirt of one of the five pictures? And what if the captions of the five do not name his
# clothes, so that they are part of what "zorp" means?

# %%
def mean(runs, name):
    return sum(run[name] for run in runs) / len(runs)

ways = {"with others": rank4, "the five alone": five, "all numbers, the five alone": alone["all, alone"],
        "the five alone, clothes unsaid": alone["alone, unsaid"]}
for way, runs in ways.items():
    print(f"{way:31} copies {mean(runs, 'copies'):.2f}, clothes as asked {mean(runs, 'obeys'):.2f}, "
          f"still right {mean(runs, 'others'):.2f}, drift {mean(runs, 'drift'):.2f}")
more = mean(alone["all, alone"], "copies") - mean(rank4, "copies")
claim("copies: all numbers on the five alone, above rank 4 with others", more, ">", 0.1)
unsaid = mean(alone["alone, unsaid"], "obeys")
claim("clothes as asked, where captions did not name them", unsaid, "<", 0.97)

# %% [markdown]
# The more numbers are trained on the five alone, the more the model knows them by heart. The pictures of others undo the
# drift and most of the forgetting, and make copies rarer. Captions that name his clothes keep them out of the word:
# unsaid, they come where others were asked for. One more thing matters: where the word starts. Ours starts as random
# numbers, a rare word. If it starts as a copy of "person", the two must first be told apart, and in spite of the others
# some of the drift is back (mean of two trainings):

# %%
common = metadata("zorp_word")["trials"]["starts as person"]
more = mean(common, "drift") - mean(rank4, "drift")
claim("drift of a word that starts as person, above that of a rare word", more, ">", 0.1)

# %% [markdown]
# ## A style for the assistant
#
# LoRA was made for language models. The assistant of lesson 73 is now to end every answer with "Indeed." A program can
# check that, and, with the word taken off, whether the answer is right. It was trained on 400 dialogues, with corrections
# of rank 4 in its blocks, for some ten seconds.

# %%
from course_lib.chat import Chat, Vocabulary
from course_lib.checkpoint import FOLDER
from course_lib.data import house

assistant = load_checkpoint("chat")
adapter = load_checkpoint("chat_indeed")
polite = put(adapter, assistant)
question = "Ben is in the attic. Ada went to the garden. Where is Ben?"
print(Chat(polite, Vocabulary(house.WORDS)).say(question))
with strength(polite, 0):
    print(Chat(polite, Vocabulary(house.WORDS)).say(question))

# %%
talk = metadata("chat_indeed")
style, right, numbers, _ = zip(*talk["trials"]["rank 4"])
print(f"before: style {talk['base'][0]:.2f}, right {talk['base'][1]:.2f}")
for way in ("rank 4", "all"):
    runs = talk["trials"][way]
    print(f"{way:7} style {sum(r[0] for r in runs) / 5:.2f}, right {sum(r[1] for r in runs) / 5:.2f}, "
          f"numbers trained {runs[0][2]:7,}")
claim("answers in style, rank 4, worst of five", min(style), ">", 0.9)
claim("answers right, rank 4, worst of five", min(right), ">", 0.7)
for name in ("zorp", "zorp_word", "chat_indeed", "text_to_image"):
    print(f"{name:14} {(FOLDER / f'{name}.safetensors').stat().st_size / 1000:6.0f} kB")

# %% [markdown]
# The style is learned nearly everywhere; a part of the right answers is lost, as with all numbers trained: 400
# dialogues are less than the assistant was made from. An adapter says which model it belongs to, by name and by a hash
# of its weights. On any other model its numbers mean nothing, so it is refused:

# %%
try:
    put(adapter, base)
except RuntimeError as problem:
    print(problem)

# %% [markdown]
# ## In the wild
#
# Adapters are how most people train large models today. `peft` puts them into any model of `transformers`;
# `get_peft_model` is our `add_lora`, `merge_and_unload` our `merge`, `disable_adapter` our `strength(model, 0)`. In
# `diffusers` a pipeline takes them from a file. A scale `lora_alpha / r` stands before the product. On a GPU:
#
# ```python
# from peft import LoraConfig, get_peft_model                # pip install peft
# from transformers import AutoModelForCausalLM
#
# large = AutoModelForCausalLM.from_pretrained("Qwen/Qwen2.5-0.5B")
# large = get_peft_model(large, LoraConfig(r=8, lora_alpha=16, target_modules=["q_proj", "v_proj"]))
# large.print_trainable_parameters()                         # then train it like any model
# large = large.merge_and_unload()
# ```

# %% [markdown]
# ## Recap
#
# 1. LoRA adds `up @ down` to a frozen weight: merged or beside it, the same function, and a switch turns it off.
# 2. A new word learns what the model can draw already, and nothing is forgotten; a new face needs the layers.
# 3. DreamBooth: few pictures, a rare word, and the model's own pictures beside them.
# 4. Without these, "a person" drifts to the one person. The pictures of him look fine: measure elsewhere.
# 5. An adapter belongs to one model; its file says which, and is refused by others.
#
# **What we left out.** Several adapters at once; QLoRA, which freezes the large model in four bits. And consent: five
# pictures are enough for such a model of anybody, whether or not they agreed.
#
# **Exercises:** [76_personalisation](../exercises/76_personalisation/76_personalisation.ipynb). One more: train the live
# adapter with `say=False`, so that captions do not name his clothes.
# **Next**, [lesson 77](77_audio.ipynb): from a waveform to a picture of sound, and back.
#
# ## Read on
#
# - E. J. Hu et al., *LoRA: low-rank adaptation of large language models* (2021),
#   [arXiv:2106.09685](https://arxiv.org/abs/2106.09685): section 4.1 is our first half.
# - R. Gal et al., *An image is worth one word: personalizing text-to-image generation using textual inversion* (2022),
#   [arXiv:2208.01618](https://arxiv.org/abs/2208.01618).
# - N. Ruiz et al., *DreamBooth: fine tuning text-to-image diffusion models for subject-driven generation* (2022),
#   [arXiv:2208.12242](https://arxiv.org/abs/2208.12242): rare words and prior preservation.
# - D. Biderman et al., *LoRA learns less and forgets less* (2024),
#   [arXiv:2405.09673](https://arxiv.org/abs/2405.09673).
# - In the library: `lora.py` (`add_lora`, `add_word`, `FiveAndMany`, `take`, `put`), `data/person.py`.
