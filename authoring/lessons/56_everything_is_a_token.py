# %% [markdown]
# # 56 · Everything is a token: one GPT in three more worlds
#
# The GPT of lesson 54 wrote English. It knows nothing of letters: it sees numbers below some limit, one after the other,
# and guesses the next. So whatever can be written as such a row can be learned by the same class, without a changed
# line: images, as the words of lesson 33; four-part chorales by Bach, as notes on a grid; and programs, which are judged
# by running them. At the end you will have made the picture below, and heard a chorale that nobody composed.
#
# **After this lesson you can**
# - turn images, music and programs into tokens, and say what should come first;
# - measure each world by its own standards: distances, a musician's counts, programs that pass tests;
# - recognise a reward that can be won without solving the task, and show that it was.
#
# **You need** lessons [33](33_vq_vae.ipynb) (images as codes) and [54](54_gpt.ipynb) (GPT, writing with a cache). **It takes** 90
# minutes to read and a minute to run. **How hard:** ••. All symbols are in the [table of symbols](symbols.ipynb).
#
# ## Set-up

# %%
import math
import time
from itertools import combinations

import matplotlib.pyplot as plt
import torch
from torch.testing import assert_close

from course_lib.augment import augment
from course_lib.checkpoint import load as load_checkpoint, metadata
from course_lib.claims import claim

# %%
from course_lib.data import list_programs as lp
from course_lib.data import load
from course_lib.device import seed, seeded
from course_lib.gpt import lm_loss
from course_lib.leaderboard import leaderboard
from course_lib.metrics import bits_per_byte, measure
from course_lib.muon import muon
from course_lib.plots import COLOURS, diagram, grid, listen, sliders, strip
from course_lib.preferences import answers, best_of_n, pass_at_k
from course_lib.tokens import HALF, Encoded, ImageGPT, join, sentence_bits, split
from course_lib.train import fit

# %%
from course_lib.chorales import START, Copied, continued, first_bar, piano_roll
from course_lib.chorales import shuffled, synthesise, table
from course_lib.data.chorales import encode, load_chorales, transposed
from course_lib.ngrams import NGram

digits = load("digits")
songs = load_chorales(grid=8)
painter = load_checkpoint("image_gpt")                            # three GPTs, with weights of their own
composer = load_checkpoint("chorales")
coder = load_checkpoint("list_coder")

hymn = songs.test[0]
openings = [first_bar(piece) for piece in songs.test]
sung = continued(composer, openings, 54, temperature=0.9, generator=seeded(0))

# %%
# Figure: above, twenty handwritten digits, 0 to 9 twice. In the middle a piano roll of four voices, whose
# first bar, on grey ground, is by Bach. Below, a line in words and the body of a Python function.
task = lp.tasks(1, seed=21, unseen=True)[0]
rows, _ = answers(coder, lp.prompts([task]), 1, lp.N_BODY, lp.END, temperature=0)
fig, (above, middle) = plt.subplots(2, 1, figsize=(9, 5), height_ratios=[1, 2.2], layout="constrained")
grid(painter.sample(20, torch.arange(20) % 10, seeded(1)), ax=above)
piano_roll(sung[0], middle, len(openings[0].pitch))
fig.supxlabel(f"“{task.text}”\ndef f(x): return {lp.decode(rows[0, lp.N_PROMPT:])}", fontsize=11);

# %% [markdown]
# These are three models of one class. Nobody wrote the digits; of the music, only the first bar is by Bach; and the
# program does what the line above it says, although no program in the training data does the same.
#
# ## One alphabet for two kinds of things
#
# Take an image of two by two places, in a world with 3 codes and 10 digits. Its label is 7, and its codes are 2, 0, 0, 1.
# A row of tokens needs one alphabet for both. Labels get the numbers 0 to 9, so code $k$ becomes token $10 + k$, and
# there are 13 tokens. The label comes first: then everything after it can depend on it.

# %%
label = torch.tensor([7])
codes = torch.tensor([[2, 0, 0, 1]])                              # row by row
sentence = torch.cat([label[:, None], 10 + codes], dim=1)         # (1, 5)
print(sentence)
assert_close(sentence, join(label, codes, n_class=10))
assert_close(split(sentence, n_class=10)[1], codes)

# %% [markdown]
# ## What we will build

# %%
# Figure: a diagram in three rows that meet in one box, GPT. On the left, what goes in: a label and codes,
# 138 tokens; places and notes, 100 tokens; a description and an example, 182 tokens. On the right, what
# is made of what comes out: an image, by the VQ-VAE; sound, by a synthesiser; right or wrong, by running.
gpt_box = "GPT, lesson 54\n(B, T) → (B, T, vocabulary)"
label_box = "label, codes so far\n138 tokens"
notes_box = "places, notes so far\n100 tokens"
words_box = "description, example\n182 tokens"
image_box = "codes → VQ-VAE\n→ image"
sound_box = "notes → synthesiser\n→ sound"
program_box = "words → interpreter\n→ right or wrong"
boxes = {label_box: (0, 2), notes_box: (0, 1), words_box: (0, 0), gpt_box: (2, 1), image_box: (4, 2),
         sound_box: (4, 1), program_box: (4, 0)}
arrows = [(box, gpt_box) for box in (label_box, notes_box, words_box)]
arrows += [(gpt_box, box) for box in (image_box, sound_box, program_box)]
diagram(boxes, arrows, {gpt_box: COLOURS[0]}, size=(9, 3.2));

# %% [markdown]
# What differs stands to the left and to the right of the GPT: how things become tokens, and what is made of tokens.
#
# ## Images: a label, and 49 codes
#
# The VQ-VAE of lesson 33 turns a digit into 49 codes, numbers below 128, row by row. We do as the first DALL·E did: put in
# front what was asked for (there a caption, here a label), and let a GPT learn to go on.

# %%
x, y = digits.test
codes = painter.vqvae.encode(x)                                   # (1000, 49)
idx = join(y, codes, n_class=10)                                  # (1000, 50)
print(idx[0])
assert_close(painter.draw(idx[:3]), painter.vqvae.decode(codes[:3]))

# %% [markdown]
# How many bits does an image take? In lesson 33 it took 343 if nothing is known, 241 if one has counted how frequent each
# code is, and 198 if one has counted it for each place. **Write down a guess:** how many does the GPT need, which knows
# the label and all codes before?

# %%
train = painter.vqvae.encode(digits.train.x)                      # (4000, 49)
one_hot = torch.nn.functional.one_hot(train, 128).double()        # (4000, 49, 128)
at_place = one_hot.sum(0) + 0.1                                   # (49, 128): how often each occurs
at_place = at_place / at_place.sum(1, keepdim=True)
anywhere = at_place.mean(0)                                       # (128,)
with torch.no_grad():
    gpt_bits = sentence_bits(painter.gpt, idx)                    # (1000,)
cost = {"counting": -anywhere[codes].log2().sum(1),
        "counting at each place": -at_place[torch.arange(49), codes].log2().sum(1),
        "GPT": gpt_bits}
for (name, bits), limit in zip(cost.items(), (340, 300, 220)):
    claim(f"bits an image, {name}", bits.mean(), "<", limit)

# %%
# Figure: left, a histogram over 1,000 test digits of the bits that each costs, from 0 to the ceiling of
# 343, for counting, for counting at each place, and for the GPT. Right, a map of 7 by 7 places: how many
# bits the code there costs the GPT, from light to dark.
with torch.no_grad():
    logp = painter.gpt(idx[:, :-1]).log_softmax(2)                # (1000, 49, 138)
each = -logp.gather(2, idx[:, 1:, None])[:, :, 0] / math.log(2)   # (1000, 49) bits
fig, (left, right) = plt.subplots(1, 2, figsize=(9, 2.8), width_ratios=[2, 1])
for (name, bits), colour in zip(cost.items(), COLOURS):
    left.hist(bits.numpy(), bins=40, range=(0, 343), alpha=0.7, color=colour, label=name)
left.axvline(343, color="black", ls=":")
left.set(xlabel="bits an image", ylabel="images", xlim=(0, 350))
left.legend()
shown = right.imshow(each.mean(0).view(7, 7), cmap="Oranges", vmin=0)
right.set(xticks=[], yticks=[], title="bits of each code")
fig.colorbar(shown, ax=right);

# %% [markdown]
# <details><summary>Answer</summary>
#
# 123, and 3.3 more for the label. What costs most is the middle, where digits differ; corners cost nearly nothing.
# </details>
#
# ### Training
#
# The loss is that of any text. One thing is new. Digits that were encoded once would be the same 4,000 sentences again
# and again. So each batch is distorted a little, half as much as in lesson 12, and encoded anew.

# %%
class MyEncoded:
    """Batches of sentences without end."""
    def __iter__(self):
        while True:
            i = torch.randint(4000, (32,))
            distorted = augment(digits.train.x[i], **HALF)
            idx = join(digits.train.y[i], painter.vqvae.encode(distorted), n_class=10)
            yield (idx,)                                          # a batch is a tuple, here of one tensor

seed(1)
mine = next(iter(MyEncoded()))[0]
seed(1)
assert_close(mine, next(iter(Encoded(*digits.train, painter.vqvae, batch_size=32)))[0])

# %%
seed(0)
beginner = ImageGPT(painter.config)
beginner.vqvae.load_state_dict(painter.vqvae.state_dict())
fit(beginner.gpt, lm_loss, MyEncoded(), steps=60, optimizer=muon, decay=0.5)
with torch.no_grad():
    claim("bits an image after 60 batches", sentence_bits(beginner.gpt, idx[:500]).mean(), "<", 260)

# %% tags=["nbval-ignore-figure"]
# not compared: one of the models was trained in this lesson
# Figure: two rows of ten images, asked for as 0 to 9: above by the model of 60 batches, below by the
# shipped one, which saw 4,400.
strip({"60 batches": beginner.sample(10, torch.arange(10), seeded(1)),
       "4,400 batches": painter.sample(10, torch.arange(10), seeded(1))});

# %% [markdown]
# After 60 batches there are strokes, in the right places; which belong together is learned later.
#
# ### Results
#
# We judge 1,000 digits of the shipped model, 100 for each label. The floor is the distance of real digits that the VQ-VAE
# has encoded and drawn again.

# %%
asked = torch.arange(1000) % 10
found = measure(painter.sample(1000, asked, seeded(0)), asked)
floor = measure(painter.vqvae(x), y)["frechet"]
claim("distance of test digits that are rebuilt from their codes", floor, "<", 1)
claim("distance of 1,000 samples", found["frechet"], "<", 4)
claim("samples that show the digit asked for", found["control"], ">", 0.9)

# %%
leaderboard("image_gpt", "flow", "conditional_gan", "conditional_ddpm", "vae_mixture", "training_digits")

# %% [markdown]
# The distance is 1.4: a little behind the GAN, flow and diffusion (lessons 61 to 64), which make pixels, and beside the
# VAE with a fitted prior. Nearly all of it is the GPT's: the floor is 0.1.
#
# How fast is it? The GPT runs 49 times for an image, but each time for one new token only, since keys and values are kept
# (lesson 54). The flow runs its network 30 times, and each time for a whole image.

# %%
def seconds_for(model, n):
    start = time.perf_counter()
    model.sample(n, torch.arange(n) % 10, generator=seeded(0))
    return time.perf_counter() - start

flow = load_checkpoint("flow")
seconds_for(flow, 1)                                              # first calls are slow
ratio = (seconds_for(flow, 50) / 50) / (seconds_for(painter, 200) / 200)
claim("images a second, as a multiple of the flow's", ratio, ">", 1)

# %% [markdown]
# ### Going on with half an image
#
# A language model goes on with any beginning. We give it the first three rows of codes of a real digit, and any label.

# %%
# Figure: three rows of images, each a real digit at the left and then the same upper part finished under
# other labels: a 7 as 7, 9, 2; a 3 as 3, 5, 8; a 4 as 4, 9, 6, each twice.
def finished(number, label, n_row=3):
    """Twice the rest of a test digit whose first rows of codes are given.  -> (2, 1, 28, 28)"""
    given = join(torch.tensor([label]), codes[number:number + 1, :7 * n_row], n_class=10)
    return painter.draw(painter.write(given.expand(2, -1), generator=seeded(label)))

tops = {}
for real, labels in ((7, (7, 9, 2)), (3, (3, 5, 8)), (4, (4, 9, 6))):
    number = int((y == real).nonzero()[0])
    name = f"a {real}; its top as {', '.join(map(str, labels))}"
    tops[name] = torch.cat([x[number:number + 1], *(finished(number, label) for label in labels)])
strip(tops);

# %% [markdown]
# In each row the first image is real, and the others share its upper part. The rest obeys the label as far as the top
# allows: the 4 becomes a 6, and the 3 nearly an 8; but the 7 becomes no 2, and a 9 with an open top looks like a 4.

# %% [markdown]
# ## Music: four voices in one row
#
# Bach set hundreds of hymn tunes for a choir: the **soprano** sings the tune; below it go **alto**,
# **tenor** and **bass**. We have 348 of these chorales on a grid of eighth notes. A pitch is a number of semitones: 60 is
# middle C, and 12 more sound an octave higher.
#
# A step of the grid becomes five tokens: its place in the bar, then what the four voices do, from top to bottom. A place
# is 1 for the first of a bar, 2 for another beat, 3 between two beats, and 3 more under a **fermata**, the sign at the end
# of a line of the hymn, where everybody waits. For a voice, token 7 is a rest, 8 to 53 begin a note of pitch 36 to 81, and
# 54 to 99 let the same pitches go on.

# %%
print(hymn, "and", len(songs.train), "to learn from")
print(encode(hymn)[:20].view(4, 5))                               # place, soprano, alto, tenor, bass

# %% [markdown]
# The hymn begins with an upbeat: its first place is a 2. The soprano sings pitch 65, the F above middle C, for two steps:
# token $65 - 36 + 8 = 37$ begins it, and 46 more, 83, goes on.
#
# A model that knows a chorale in F major should know it in G major, too. So in every epoch each chorale is moved to
# another key, as far as the voices reach. For tokens this is an addition:

# %%
higher = encode(transposed(hymn, 2)) - encode(hymn)
print(higher[:20].view(4, 5))
assert (higher == 2 * (encode(hymn) > 7)).all()                   # places and rests do not move

# %% [markdown]
# Bach set many tunes several times, and one setting says much about the next. So no tune is in both parts of the data.
#
# The GPT has 5 layers of width 128 and sees eight bars. Three simpler models count: how frequent each token is; the same,
# but what sounds goes on with probability 0.4; and what followed the five tokens before. **Write down a guess:** how many
# bits a token does the GPT need?

# %%
train = torch.cat([START] + [encode(piece) for piece in songs.train])
test = torch.cat([START] + [encode(piece) for piece in songs.test])
frequency = torch.bincount(train, minlength=100) / len(train)     # (100,)

last = test[:-5]                                                  # the same voice, a step before
held = torch.where((last >= 8) & (last < 54), last + 46, last)    # what it is if it goes on
going_on = 0.4 * (test[5:] == held) + 0.6 * frequency[test[5:]]

bits = {"frequency": -frequency[test].log2().mean(), "going on": -going_on.log2().mean(),
        "6-gram": NGram(train, 6).bits_per_byte(test),
        "GPT": bits_per_byte(composer, test, block_size=320, stride=160)}
for (name, value), limit in zip(bits.items(), (6, 4.5, 2.5, 1.0)):
    claim(f"bits a token, {name}", value, "<", limit)

# %%
# Figure: two piano rolls, time to the right and pitch upwards, a colour a voice: the hymn as Bach set it,
# and below it what the model wrote; in both the opening by Bach is on grey ground.
_, rows = plt.subplots(2, 1, figsize=(9, 5.2), layout="constrained")
piano_roll(hymn, rows[0], len(openings[0].pitch), f"Bach, BWV {hymn.bwv}")
piano_roll(sung[0], rows[1], len(openings[0].pitch), "the model, after the same opening");

# %% [markdown]
# <details><summary>Answer</summary>
#
# 0.88 bits. A whole step, five tokens, costs 4.4, as much as a choice among 21.
# </details>
#
# In the figure, the model goes on from the first bar of Bach's hymn. It keeps the bars and the order of the voices, lets
# the tune move in small steps, and pauses every two bars or so (triangles), as a hymn does. But here it never rests, no
# line of the tune returns, and from F major it wanders to B flat and does not come home.
#
# ### Listen to it
#
# Pitch 69 is a tone of 440 Hz, and each semitone multiplies the frequency by $2^{1/12}$. A string or a throat that sounds
# a note of frequency $f$ also swings at $2f, 3f, 4f, \dots$, its **harmonics**. **Additive synthesis** adds sines at
# these frequencies, each softer than the last, and multiplies the sum by an **envelope** that rises quickly and fades
# (dashed).

# %%
# Figure: the first thirty milliseconds of a note of 440 Hz, made of six harmonics: a wave that repeats
# every 2.3 milliseconds and grows, between two dashed lines, its envelope.
t = torch.arange(240) / 8000                                      # seconds
tone = sum(torch.sin(2 * math.pi * k * 440 * t) / k**1.5 for k in range(1, 7))
envelope = (t / 0.015).clamp(max=1) * torch.exp(-t)               # rises in 15 milliseconds, then fades
_, ax = plt.subplots(figsize=(6, 2))
ax.plot(1000 * t, tone * envelope)
ax.plot(1000 * t, tone.max() * envelope, "--", color="0.5")
ax.plot(1000 * t, -tone.max() * envelope, "--", color="0.5")
ax.set(xlabel="milliseconds", ylabel="pressure");

# %%
sound = synthesise(sung[0].part(0, 34), seconds=0.28)             # four bars
listen([sound], 8_000, ["one bar by Bach, three by the model"])

# %% [markdown]
# ### What would a teacher say?
#
# Harmony has rules that can be counted. Two voices that move in **parallel fifths** (7 semitones apart) or **octaves**
# (12) sound like one, which is forbidden. Voices should not **cross**. **Dissonance**, a second, a seventh or a tritone
# (1, 2, 6, 10 or 11 semitones) between two voices, is spice. A line ends on a **triad**, as *c e g*, with its root (here
# *c*) in the bass. Three neighbours give these counts a meaning: Bach's other chorales; the same with the voices
# *shifted* against each other by whole bars, so that each sings Bach's melody and none listens; and *copies* of the
# training set.

# %% tags=["nbval-ignore-output"]
# not compared: counts of sampled music; those that matter are claimed below
mixed = [shuffled(piece, seeded(0)) for piece in songs.test]
judged = {"Bach": table(songs.test), "model": table(sung), "shifted": table(mixed),
          "copies": table(songs.train)}
print(f"{'':20}" + "".join(f"{name:>10}" for name in judged))
for row in judged["Bach"]:
    print(f"{row:20}" + "".join(f"{column[row]:10.1f}" for column in judged.values()))

# %%
fifths = judged["model"]["parallel fifths"]
claim("parallel fifths of the model, per 100 changes of the chord", fifths, ">", 2)
claim("dissonant beats of the model, per cent", judged["model"]["dissonant beats"], "<", 40)
claim("dissonant beats of the shifted voices", judged["shifted"]["dissonant beats"], ">", 60)
claim("the model's pauses on a triad, per cent", judged["model"]["pauses on a triad"], ">", 60)

# %% [markdown]
# Parallels are counted per 100 changes of the chord, the rest in per cent. In dissonance and crossing, where the shifted
# voices are far from Bach, the model stands beside him: its singers listen. But it has 5.7 parallel fifths where Bach has
# 0.2, as many as voices that do not listen at all. To obey, it would have to compare two voices at two moments. And one
# pause in five is on another chord.
#
# By these counts the copies are as good as Bach. So we ask how much was copied: the longest run of chords, note for note
# but in any key, that a piece shares with the training set. **Write down a guess** for the model, and for real chorales
# that nobody copied.

# %%
copied = Copied(songs.train)
runs = {"model": [copied.longest(piece) for piece in sung],
        "Bach, of the test": [copied.longest(piece.part(0, 64)) for piece in songs.test],
        "copies": [copied.longest(piece.part(0, 64)) for piece in songs.train[:34]]}
claim("longest run of the model, in eighths", max(runs["model"]), "<", 20)

# %%
# Figure: for 34 pieces each by the model, by Bach in the test set and of the training set, a dot at the
# longest run of eighths that the piece shares with the training set.
_, ax = plt.subplots(figsize=(7, 2))
for i, lengths in enumerate(runs.values()):
    height = i + 0.25 * torch.rand(34, generator=seeded(i)) - 0.12
    ax.plot(lengths, height, "o", color=COLOURS[i], alpha=0.5)
ax.set(yticks=range(3), yticklabels=list(runs), ylim=(2.5, -0.5), xlabel="longest shared run (eighths)");

# %% [markdown]
# The model's runs are at most a bar long, and not longer than those that Bach shares with himself. It composes, with
# mistakes.

# %% [markdown]
# ## Programs: from a line in words
#
# Code is text that can be run, and then it is right or it is not. Our small language works on lists, with twelve
# primitives, written as in Python. A task is a line in words, with one example; the program is the body of `def f(x)`.

# %%
print(", ".join(lp.PRIMITIVES))
task = lp.tasks(1, seed=3)[0]
print("task:   ", lp.prompt(task))
print("program:", lp.body(task.steps))
print(lp.run("sum ( evens ( x ) )", [3, 4, 6]))
for program in ("sum ( sum ( x ) )", "import os"):
    try:
        lp.run(program, [3, 4, 6])
    except ValueError as error:
        print(f"{program}: {error}")

# %% [markdown]
# Never hand a program that a model wrote to `exec`. Our interpreter knows the primitives and nothing else, and visits each
# token once: so it can do no harm, and it always ends.
#
# One to three steps make 2,307 useful compositions. A fifth of them is kept out of training, chosen by what they *do*:
# no trained program has the outputs of one of these.

# %%
trained, never = lp.compositions()
print(len(trained), "compositions are trained,", len(never), "never, such as", never[100], never[200])

lists = torch.randint(10, (100, 6), generator=seeded(0)).tolist()

def behaviour(steps):
    """What a composition does to a hundred lists."""
    return str([lp.run(lp.body(steps), numbers) for numbers in lists])

known = {behaviour(steps) for steps in trained}
print(sum(behaviour(steps) in known for steps in never), "of these do what a trained one does")

# %% [markdown]
# Descriptions name steps sometimes from first to last ("sort it , then ..."), sometimes from last to first ("the sum
# of ..."); the program always begins with the last. The loss counts the tokens of the program alone. One in twenty of our
# training programs is careless, as in code that people publish: it returns `x`, or just the example's output.

# %%
def write(model, tasks, n, temperature=1.0):
    """n programs for each task, and which are right on its five hidden examples: texts, (P, n) bool"""
    rows, _ = answers(model, lp.prompts(tasks), n, lp.N_BODY, lp.END, temperature=temperature,
                      generator=seeded(0))
    texts = [lp.decode(row) for row in rows[:, lp.N_PROMPT:]]
    right = [lp.passes(text, tasks[k // n].hidden) for k, text in enumerate(texts)]
    return texts, torch.tensor(right).view(-1, n)

tasks = lp.tasks(100, seed=5, unseen=True)
texts, right = write(coder, tasks, 16, temperature=0.2)
for k in range(4):
    print(f"{tasks[k].text}\n    {texts[16 * k]}    right: {right[k, 0].item()}")

# %% [markdown]
# ### pass@k
#
# **pass@k** is the probability that of k programs for a task at least one is right. If $c$ of 16 programs are right, we can
# take the mean over *all* ways to choose k of them: $\binom{16-c}{k}$ of the $\binom{16}{k}$ choices hold no right one
# (Chen et al., 2021). So
#
# $$\text{pass@}k = 1 - \binom{16 - c}{k} \Big/ \binom{16}{k}.$$
#
# By hand, with one right program of four and $k = 2$: three of the six pairs hold it, one half.

# %%
def my_pass_at_k(right, k):                                       # (P, N) bool
    N = right.shape[1]
    missed = [math.comb(N - c, k) / math.comb(N, k) for c in right.sum(1).tolist()]
    return 1 - torch.tensor(missed, dtype=torch.double)

one = torch.tensor([[True, False, False, False]])
print([one[0, list(pair)].any().item() for pair in combinations(range(4), 2)], my_pass_at_k(one, 2).item())
assert_close(my_pass_at_k(right, 8), pass_at_k(right, 8))

# %% [markdown]
# We compare with a look-up, which searches 2,000 trained tasks for the description that shares most words with ours, and
# takes its program. It must fail, as must any model that only remembers: what is right here was never trained.

# %%
memory = lp.tasks(2_000, seed=9)
vocabularies = [set(one.text.split()) for one in memory]

def look_up(task):
    own = set(task.text.split())
    likeness = [len(own & other) / len(own | other) for other in vocabularies]
    return lp.body(memory[likeness.index(max(likeness))].steps)

looked_up = [lp.passes(look_up(task), task.hidden) for task in tasks]
claim("look-up, right on compositions never trained", sum(looked_up) / 100, "<", 0.1)
claim("pass@1 on compositions never trained", pass_at_k(right, 1).mean(), ">", 0.85)
claim("pass@8 on these", pass_at_k(right, 8).mean(), ">", 0.9)
_, seen_right = write(coder, lp.tasks(100, seed=6), 4, temperature=0.2)
claim("pass@1 on compositions that were trained", pass_at_k(seen_right, 1).mean(), ">", 0.85)

# %% [markdown]
# It is right on programs that nobody showed it as often as on those that it was trained on. It has learned the steps, and
# how one is put inside the other, not a list of programs.
#
# ## Predict, then turn one knob
#
# One knob is the same in all worlds: the temperature. The programs above were written at 0.2. **Write down a guess:** what
# does 1 do to pass@1, and what to pass@8? The digits were sampled at 0.85: what does 0.7 do to the share that shows the
# digit asked for, and to recall, the share of real digits that samples come near?

# %%
by_temperature = metadata("list_coder")["temperatures"]           # temperature -> [pass@1, pass@8]
for temperature in sorted(by_temperature, key=float):
    print(f"programs at {temperature:>4}: pass@1 {by_temperature[temperature][0]:.2f}, "
          f"pass@8 {by_temperature[temperature][1]:.2f}")
drawn = metadata("image_gpt")["temperatures"]                     # ... -> [distance, control, recall]
for temperature in sorted(drawn, key=float):
    distance, control, recall = drawn[temperature]
    print(f"digits at {temperature:>4}: distance {distance:.1f}, control {control:.3f}, "
          f"recall {recall:.2f}")

# %% [markdown]
# <details><summary>Answer</summary>
#
# Programs: pass@1 falls from 0.99 to 0.93 at temperature 1 and to 0.75 at 1.5, since what is improbable, careless programs
# and slips, is written more often. pass@8 stays: one of eight is right anyway. Digits: 0.85 is best for the distance and
# for what was asked for. Colder, they become alike, and recall falls; hotter, codes are sampled that do not belong
# together. (0.85 was chosen while looking at this distance, which flatters it a little.)
# </details>

# %%
# Figure: a 3 whose first rows of codes are given, finished six times; sliders change the label, the number
# of rows that are given, and the temperature.
def show(label, rows, temperature):
    given = join(torch.tensor([label]), codes[number:number + 1, :7 * rows], n_class=10)
    rest = painter.write(given.expand(6, -1), temperature, generator=seeded(0))
    grid(torch.cat([x[number:number + 1], painter.draw(rest)]))

number = int((y == 3).nonzero()[0])
sliders(show, label=(8, 0, 9, 1), rows=(3, 0, 6, 1), temperature=(1.0, 0.1, 2.0, 0.1))

# %% [markdown]
# ## Break it: a grid that is shifted by one
#
# A sentence has 50 tokens, an image 49 codes. Somewhere a slice begins one place too early, and no line complains. Here are
# sentences of the model, drawn right and with every code one place late:

# %%
# Figure: ten digits, and below them the same sentences read one place late: moved, with spots beside them.
asked = torch.arange(500) % 10
sentences = painter.write(asked[:, None], generator=seeded(0))    # (500, 50)
late = sentences.clone()
late[:, 2:] = sentences[:, 1:-1]
strip({"right": painter.draw(sentences[:10]), "one place late": painter.draw(late[:10])});

# %% [markdown]
# How can one tell that from a bad model? Measure, and ask the model: how many bits do its own sentences cost, right and
# late?

# %%
right_score = measure(painter.draw(sentences), asked)
late_score = measure(painter.draw(late), asked)
with torch.no_grad():
    right_bits = sentence_bits(painter.gpt, sentences).mean()
    late_bits = sentence_bits(painter.gpt, late).mean()
claim("late digits that the judge reads as what was asked for", late_score["control"], ">", 0.85)
claim("distance of the late ones, as a multiple", late_score["frechet"] / right_score["frechet"], ">", 2)
claim("bits of the late ones, as a multiple", late_bits / right_bits, ">", 1.2)

# %% [markdown]
# The judge does not mind: shifted digits are still digits, so control says that all is well. But the distance is several
# times as large. And the model is surprised, since it has learned what follows what. That needs no judge. The repair is
# one slice.
#
# ## Break it: a reward that is won without solving the task
#
# Since programs can be run, a model can be *rewarded* for them, and trained to get more. For what? That it is a program?
# That the example in the prompt comes out right? That five hidden examples do? **Write down a guess:** which of these can
# be had without solving the task?

# %%
rewards = {"it is a program": lambda text, task: lp.parses(text),
           "the example is right": lambda text, task: lp.passes(text, [task.example]),
           "hidden ones are right": lambda text, task: lp.passes(text, task.hidden)}
programs = {"return x": lambda task: "x",
            "return the example's output": lambda task: lp.literal(task.example[1]),
            "solve the task": lambda task: lp.body(task.steps)}
print(" " * 28, *rewards, sep="   ")
for name, program in programs.items():
    shares = [sum(reward(program(task), task) for task in tasks) / 100 for reward in rewards.values()]
    print(f"{name:28}", *(f"{share:17.2f}" for share in shares))

# %% [markdown]
# The first two cannot tell a cheat from a solution. Does a model find that out? We press it in the mildest way: it writes
# 32 programs, and we keep one with the highest reward, the shortest if several have it. No weight changes.

# %%
texts, right = write(coder, tasks[:60], n=32)
length = torch.tensor([len(text.split()) for text in texts]).view(60, 32)
sizes = (1, 2, 4, 8, 16, 32)
chosen = {}
for name, reward in rewards.items():
    rewarded = torch.tensor([float(reward(text, tasks[k // 32])) for k, text in enumerate(texts)])
    proxy = rewarded.view(60, 32) - 0.001 * length                # shorter ones first, among equals
    chosen[name] = [best_of_n(proxy, right.float(), n).mean().item() for n in sizes]
    first = proxy[:3].argmax(dim=1).tolist()                      # kept for the first three tasks, of 32
    print(f"{name:22}", [texts[32 * k + best] for k, best in enumerate(first)])
claim("right, kept as the shortest program of 32", chosen["it is a program"][-1], "<", 0.5)
claim("right, kept as the shortest of 32 that has hidden examples right",
      chosen["hidden ones are right"][-1], ">", 0.9)
share = texts.count("x") / len(texts)
claim("share of x among all that was written", share, "<", 0.08)

# %%
# Figure: the share of programs that are right on hidden examples, over the number of programs of which the
# best is kept, from 1 to 32 on a logarithmic axis: three curves, one for each reward.
_, ax = plt.subplots(figsize=(6, 3))
for name, shares in chosen.items():
    ax.plot(sizes, shares, "o-", label=name)
ax.set(xscale="log", xticks=sizes, xticklabels=sizes, ylim=(0, 1.02), xlabel="programs to choose from",
       ylabel="right on hidden examples")
ax.legend(title="kept: the shortest for which");

# %% [markdown]
# Nobody asked for `x` or for a lone number, and the model seldom writes them. But the best of 32 finds what is rare, and
# by the first reward they are best: programs, and none is shorter. The second reward rules them out, and does no harm
# *here*: the example's output is hardly ever among the 32, for this model has not learned to copy it. That is luck; a
# model that can copy would have it. (Lesson [74](74_preferences.ipynb) shows what training makes of such a reward.) The
# repair is to ask for what the task asks for, on examples that the writer does not see.

# %% [markdown]
# ## In the wild
#
# The first DALL·E is our first world with 12 billion parameters: 256 tokens of text, then 1,024 codes, each one of 8,192.
# This GPT draws pixel by pixel, on a GPU:
#
# ```python
# import torch
# from transformers import ImageGPTForCausalImageModeling           # pip install transformers
#
# model = ImageGPTForCausalImageModeling.from_pretrained("openai/imagegpt-small").to("cuda")
# start = torch.full((4, 1), model.config.vocab_size - 1, device="cuda")    # the token that begins an image
# tokens = model.generate(start, max_length=1025, do_sample=True, top_k=40) # 32 x 32 pixels of 512 colours
# ```

# %% [markdown]
# ## Recap
#
# 1. A GPT sees numbers below some limit. Images, music and programs become such numbers, and nothing else changes.
# 2. What is asked for comes first; all that follows depends on it.
# 3. Each world has its own measure: distance, a musician's counts, tests; beside each stands something simple.
# 4. A slice that is off by one raises no error. Draw what comes out, and let the model read it.
# 5. A reward is won by whatever fulfils it. Ask for what the task asks for, on examples that nobody was shown.
#
# **What we left out.** One set of weights for all worlds. Orders other than row by row. Programs with loops, which need not
# end.
#
# **Exercises:** [56_everything_is_a_token](../exercises/56_everything_is_a_token/56_everything_is_a_token.ipynb). One
# more: let the choir try each bar eight times, and keep the one with the fewest parallels.
# **Next**, [lesson 61](61_ddpm.ipynb): destroy, then learn to undo.
#
# ## Read on
#
# - A. Ramesh et al., *Zero-shot text-to-image generation* (2021), [arXiv:2102.12092](https://arxiv.org/abs/2102.12092): the
#   first DALL·E, text and image tokens in one stream.
# - P. Sun et al., *Autoregressive model beats diffusion* (2024), [arXiv:2406.06525](https://arxiv.org/abs/2406.06525), and
#   K. Tian et al., *Visual autoregressive modeling* (2024), [arXiv:2404.02905](https://arxiv.org/abs/2404.02905).
# - S. Reed et al., *A generalist agent* (2022), [arXiv:2205.06175](https://arxiv.org/abs/2205.06175): one network, one set of
#   weights, 604 tasks.
# - M. Chen et al., *Evaluating large language models trained on code* (2021),
#   [arXiv:2107.03374](https://arxiv.org/abs/2107.03374): pass@k, and code that is judged by running it.
# - Z. Zhong, A. Raghunathan & N. Carlini, *ImpossibleBench* (2025), [arXiv:2510.20270](https://arxiv.org/abs/2510.20270): how
#   often large models pass tests that contradict the task.
# - In the library: `tokens.py` (`join`, `Encoded`, `ImageGPT`), `chorales.py`, `data/chorales.py`, `data/list_programs.py`.
