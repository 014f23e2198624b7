# %% [markdown]
# # 75 · Prompting: learning without training
#
# Show a language model two solved examples, and it solves the third, though none of its weights has changed. Ask it to
# write its steps down, and sums come out right that were wrong before. Hide an instruction in a text that it should only
# read, and it may obey. All of this is called prompting, and most of what is written about it is a collection of
# recipes. Here the models are so small that we can watch: find the attention heads that do the learning, take one away,
# and count. At the end you will have made the picture below, of where a model looks when it answers from its prompt.
#
# **After this lesson you can**
# - find the heads that learn from the prompt, by a score, and say when a model learns in its weights instead;
# - measure what written steps, votes and a checker add to the same model, and what a bad checker takes away;
# - compare prompts as an experiment with error bars, and measure how often a hidden instruction is obeyed.
#
# **You need** lessons [51](51_attention.ipynb) (attention) and [54](54_gpt.ipynb) (GPT). **It takes** 75 minutes to
# read and 45 seconds to run. **How hard:** ••. All symbols are in the [table of symbols](symbols.ipynb).
#
# ## Set-up

# %%
import random
from collections import Counter

import matplotlib.pyplot as plt
import torch
from torch.nn import functional as F
from torch.testing import assert_close

from course_lib.checkpoint import load as load_checkpoint, metadata
from course_lib.claims import claim
from course_lib.device import seed, seeded

# %%
from course_lib.data.prompts import TASKS, VOCABULARY, decode, encode, pairs, shots
from course_lib.plots import COLOURS, diagram
from course_lib.transformer import attention_maps

recall = load_checkpoint("recall")
prompt = "n 8 o 2 e 4 s 6 o 2 e 4 n"
with torch.no_grad():
    p = recall(encode(prompt)[None])[0, -1].softmax(0)            # of the next token
claim("probability of 8", p[encode("8")], ">", 0.9)

# %%
# Figure: a prompt of seven pairs of a letter and a digit, as tiles in a row; the last letter has no digit
# yet. The tiles are the darker the more the heads of the second layer, in the mean, look at them from the
# last letter: most of the weight lies on the digit that followed the same letter before.
maps = attention_maps(recall, encode(prompt)[None])               # (2 layers, 1, 4 heads, 13, 13)
looks = maps[1, 0, :, -1].mean(0)                                 # (13,): from the last token
_, ax = plt.subplots(figsize=(9, 1.2))
ax.imshow(looks[None], cmap="Oranges", vmin=0, vmax=1, aspect="auto")
for place, token in enumerate(prompt.split()):
    ax.text(place, 0, token, ha="center", va="center", fontsize=16, family="monospace")
ax.set(yticks=[], xticks=[])
ax.set_xlabel("the second layer looks from the last letter at …");

# %% [markdown]
# The model has never seen that *n* goes with 8: the map was invented for this prompt. It read it, once, and uses it.
#
# ## A new map in every row
#
# A row is made of 24 pairs, a letter and a digit. It has eight letters of its own, and a new map that says which digit
# belongs to which letter. How often has the letter stood in the row before? That is the number of **shots**. At 0 shots
# nobody can know the digit, and one guess in ten is right. From 1 shot on, it can be known.

# %%
row = pairs(1, generator=seeded(3))                               # (1, 48)
print(decode(row[0]))
print(shots(row)[0].tolist(), "shots")

# %% [markdown]
# ### Two looks, by hand
#
# How could attention do this? In two looks. Four tokens as vectors that we choose: *n*, *o*, 8 and 2. First every token
# looks at its left neighbour and makes a note of it. Then the last token, *n*, searches the notes for itself, and reads
# what the token with that note *is*.

# %%
n, o, eight, two = torch.eye(4)
tokens = torch.stack([n, eight, o, two, n])                       # (5 tokens, 4 numbers): n 8 o 2 n

notes = torch.cat([torch.zeros(1, 4), tokens[:-1]])               # first look: who stands on my left?
weights = (10 * notes @ tokens[-1]).softmax(0)                    # second look: whose note is n?
found = weights @ tokens
print("weights:", [f"{w:.2f}" for w in weights], " found:", [f"{v:.2f}" for v in found], "(n, o, 8, 2)")

# %% [markdown]
# The weight lies on the second token, and what is found there is 8. A head that does the second look is an **induction
# head** (Olsson et al., 2022). It needs a layer below it that has made the notes.
#
# ### One layer cannot
#
# Without positions the proof is short (with them, we shall measure). In one layer, the last token takes an average of all
# tokens before it, and an average does not depend on their order. So "n 8 o 2 n" and "n 2 o 8 n" look the same from the
# end. Two layers differ: with a causal mask, what a token has seen in the first depends on what came before it.

# %%
from course_lib.transformer import Transformer, TransformerConfig

rows = torch.stack([encode("n 8 o 2 n"), encode("n 2 o 8 n")])    # (2, 5)

def last_logits(n_layer):
    seed(0)
    model = Transformer(TransformerConfig(vocab_size=len(VOCABULARY), n_layer=n_layer, positions="none"))
    for p in model.parameters():                                  # any weights at all
        torch.nn.init.normal_(p, std=0.2)
    with torch.no_grad():
        return model(rows)[:, -1]                                 # (2, vocabulary)

one, two_layers = last_logits(1), last_logits(2)
assert_close(one[0], one[1], rtol=1e-4, atol=1e-4)
claim("largest difference with two layers", (two_layers[0] - two_layers[1]).abs().max(), ">", 0.01)

# %% [markdown]
# ## What we will build

# %%
# Figure: a diagram. Tokens (B, T) are embedded and go through layer 1, in which each token notes its left
# neighbour, and layer 2, in which the last token looks for its own note; then logits (B, T, 88). At the
# left, three prompts that become tokens: pairs, sums with steps, and an instruction with its data.
tokens_box, logits_box = "tokens\n(B, T)", "logits\n(B, T, 88)"
one_box = "layer 1\nnotes its left neighbour\n(B, T, 64)"
two_box = "layer 2\nlooks for its own note\n(B, T, 64)"
kinds = {"n 8 o 2 n": (0, 1.8), "48+39= 8+9+0=17 …": (0, 1), "sort the letters : b a d >": (0, 0.2)}
boxes = {tokens_box: (1.6, 1), one_box: (2.9, 1), two_box: (4.6, 1), logits_box: (6, 1)}
arrows = [(tokens_box, one_box), (one_box, two_box), (two_box, logits_box)]
arrows += [(text, tokens_box) for text in kinds]
diagram(kinds | boxes, arrows, {one_box: COLOURS[0], two_box: COLOURS[0]});

# %% [markdown]
# It is the GPT of lesson 54, with a width of 64 and 88 tokens: letters, digits, signs and some words. At the left, the
# prompts of this lesson; each kind has its own model.
#
# ## Train: when does it learn to learn?
#
# We measure the share of digits that are right, by shots. The baseline is a rule that does not look at letters: name
# the digit that has been most frequent in the row so far.

# %%
test = pairs(300, generator=seeded(1))                            # (300, 48)
seen = shots(test)                                                # (300, 24)

def by_shots(guess, idx=test, seen=seen):
    """The share of right digits at 0, 1, 2 and 3 shots.  guess (300, 24), as tokens"""
    right = guess == idx[:, 1::2]
    return [right[seen == k].float().mean().item() for k in range(4)]

def guesses(model, idx=test):
    with torch.no_grad():
        return model(idx[:, :-1])[:, ::2].argmax(-1)              # at the letters: what comes next?

digits = F.one_hot(test[:, 1::2], len(VOCABULARY))                # (300, 24, 88)
before = digits.cumsum(1) - digits                                # how often each digit stood before
frequent = by_shots(before.argmax(-1))
print("most frequent digit so far:", [f"{share:.2f}" for share in frequent])

# %% [markdown]
# **Write down a guess:** we train for 300 batches (the loss counts digits alone, as in lesson 73). How will the share at 1
# shot rise?

# %%
from course_lib.chat import chat_loss
from course_lib.data.prompts import Pairs
from course_lib.gpt import GPT, fast
from course_lib.muon import muon
from course_lib.train import fit

def look(model):
    return {f"{k} shots": share for k, share in enumerate(by_shots(guesses(model)))}

seed(0)
two = GPT(fast(vocab_size=len(VOCABULARY), block_size=48, n_layer=2, n_embd=64))
history = fit(two, chat_loss, Pairs(32), steps=300, optimizer=muon, decay=0.5, evaluate=look,
              eval_every=15)
claim("right at 1 shot after 300 batches", history["1 shots"][-1], ">", 0.8)

# %% tags=["nbval-ignore-figure"]
# Figure: the share of right digits over the training batches, for 0, 1, 2 and 3 shots, and as dashed lines
# what the rule of the most frequent digit reaches.
# not compared: trained here
_, ax = plt.subplots(figsize=(7, 3.2))
for k in range(4):
    ax.plot(history.eval_steps, history[f"{k} shots"], color=COLOURS[k], label=f"{k} shots")
    ax.axhline(frequent[k], color=COLOURS[k], ls=":", lw=1)
ax.plot([], [], ":", color="0.4", label="most frequent digit")
ax.set(xlabel="training batches", ylabel="share right", ylim=(0, 1.03))
ax.legend(loc="center right", fontsize=9);

# %% [markdown]
# <details><summary>Answer</summary>
#
# Not evenly. At first the model does no better than the rule, and after 75 to 100 batches it rises steeply: notes are of
# no use without somebody who reads them, and reading without notes is of no use either. At 0 shots it stays at one in
# ten, as it must.
# </details>
#
# Was that luck? The file of `recall` holds five trainings with two layers and five with one, 400 batches each.

# %%
made = metadata("recall")
trials = made["trials"]                                           # name -> five seeds -> stages

def shot(name, k, on=0):
    """Right at k shots at each stage, on new maps (on=0) or the one map (on=4).  (5 seeds, 16)"""
    return torch.tensor([[stage[1 + k + on] for stage in stages] for stages in trials[name]])

claim("two layers, 1 shot, the worst of five seeds", shot("two layers", 1)[:, -1].min(), ">", 0.95)
claim("two layers, 0 shots, the best of five seeds", shot("two layers", 0)[:, -1].max(), "<", 0.14)
claim("one layer, 1 shot, the best of five seeds", shot("one layer", 1)[:, -1].max(), "<", 0.3)

# %%
# Figure: left, the share right at 1 shot over the training batches, five lines for two layers, which jump
# at different batches, and five for one layer, which stay near 0.2. Right, the share over the number of
# shots at the end: two layers 0.1 and then nearly 1, one layer hardly more than the rule of the most
# frequent digit.
batches = [stage[0] for stage in trials["two layers"][0]]
_, (left, right_panel) = plt.subplots(1, 2, figsize=(9, 3), sharey=True)
for name, colour in zip(("two layers", "one layer"), COLOURS):
    left.plot(batches, shot(name, 1).T, color=colour, lw=1)
    ends = torch.stack([shot(name, k)[:, -1] for k in range(4)])  # (4, 5)
    right_panel.plot(range(4), ends.mean(1), "o-", color=colour, label=name)
right_panel.plot(range(4), frequent, "o:", color="0.5", label="most frequent digit")
left.set(xlabel="training batches", ylabel="share right", title="1 shot, five seeds each", ylim=(0, 1.03))
right_panel.set(xlabel="shots", xticks=range(4), title="after 400 batches")
right_panel.legend(fontsize=9);

# %% [markdown]
# All five jump, each at its own time. One layer never does: it ends where the rule of the most frequent digit is.
# `recall` itself has two layers and was trained for 600 batches.
#
# ## Find the head
#
# An induction head looks at what *followed* the same token before. Its score is the weight on those tokens, averaged
# over all places whose token has stood in the row before. Only letters count here: nothing can be known after a digit.

# %%
from course_lib.transformer import induction_score

def my_induction_score(maps, idx):                                # (n_layer, B, n_head, T, T), (B, T)
    total, places = 0, 0
    for t in range(0, idx.shape[1], 2):                           # the letters
        same = idx[:, :t] == idx[:, t:t + 1]                      # (B, t): where did it stand before?
        weight = maps[:, :, :, t, 1:t + 1] * same[:, None]        # on the right neighbours of those
        total = total + weight.sum((1, 3))                        # (n_layer, n_head)
        places = places + same.any(1).sum()
    return total / places

some = test[:60]
maps = attention_maps(recall, some)                               # (2, 60, 4, 48, 48)
is_letter = (some < 26)                                           # (60, 48)
assert_close(my_induction_score(maps, some), induction_score(maps, some, is_letter), rtol=1e-3, atol=1e-4)

# %% [markdown]
# And a second score for the notes: how much does a digit look at its left neighbour?

# %%
induction = induction_score(maps, some, is_letter)                # (2, 4)
to_the_left = maps.diagonal(-1, 3, 4)[..., ::2].mean((1, 3))      # (2, 4): from place t to t - 1, t odd
claim("weight on the left neighbour, best head of layer 1", to_the_left[0].max(), ">", 0.2)
claim("induction score, best head of layer 2", induction[1].max(), ">", 0.8)
claim("induction score, best head of layer 1", induction[0].max(), "<", 0.4)

# %%
# Figure: two bar charts for the four heads of each of two layers. Left, the weight of digits on their left
# neighbours: high in layer 1. Right, the induction score: high in layer 2.
_, panels = plt.subplots(1, 2, figsize=(9, 2.6), sharey=True)
titles = ("weight on the left neighbour", "induction score")
for panel, values, title in zip(panels, (to_the_left, induction), titles):
    for layer in range(2):
        places = torch.arange(4) + 0.4 * layer
        panel.bar(places, values[layer], 0.38, color=COLOURS[layer], label=f"layer {layer + 1}")
    panel.set(title=title, xticks=[k + 0.2 for k in range(4)], xticklabels=[f"head {k}" for k in range(4)])
panels[0].legend();

# %%
# Figure: two maps of 20 by 20 tokens of one row. Left, a head of layer 1: a dark band on and just below
# the diagonal, which fades with distance. Right, a head of layer 2: each letter that has stood before
# looks at the digit that followed it, and at little else.
writer, reader = to_the_left[0].argmax(), induction[1].argmax()
_, panels = plt.subplots(1, 2, figsize=(9, 4.4))
names = decode(some[0, :20]).split()
for panel, layer, which in zip(panels, range(2), (writer, reader)):
    panel.imshow(maps[layer, 0, which, :20, :20], cmap="Oranges", vmin=0, vmax=(0.5, 1)[layer])
    panel.set(xticks=range(20), yticks=range(20), xticklabels=names, yticklabels=names, xlabel="looks at",
              title=f"layer {layer + 1}, head {which}")
panels[0].set_ylabel("token");

# %% [markdown]
# On the left, each token looks at what is nearest: the note is blurred, and good enough. On the right, letters that
# have stood before look at their digits. To show that these heads *do* the work, we set what some of them add to zero.
# **Write down a guess:** what is left at 1 shot without the induction heads, and what without the best writer of notes,
# which is one head of eight?

# %%
from copy import deepcopy

def without(model, layer, heads):
    """A copy in which some heads of a layer add nothing."""
    broken = deepcopy(model)
    for head in heads:
        with torch.no_grad():
            broken.blocks[layer].attn.proj.weight[:, 16 * head:16 * head + 16] = 0
    return broken

readers = (induction[1] > 0.4).nonzero()[:, 0].tolist()
cut = {"whole": recall, f"without the {len(readers)} induction heads": without(recall, 1, readers),
       "without the best writer": without(recall, 0, [writer])}
at_one = {name: by_shots(guesses(model))[1] for name, model in cut.items()}
for name, share in list(at_one.items())[1:]:
    claim(f"right at 1 shot, {name}", share, "<", 0.4)

# %% [markdown]
# <details><summary>Answer</summary>
#
# Next to nothing: both times the model is back at chance, below the rule of the most frequent digit.
# </details>

# %% [markdown]
# ## Break it: the same map in every row
#
# What if the map is the same in all rows of the training? Then there are two ways to know the digit: read it in the
# prompt, or know it by heart, in the weights. **Write down a guess:** which one will the model learn, and what will it
# do with a new map?

# %%
table = torch.randint(10, (26,), generator=seeded(75))            # the one map: a digit for each letter
seed(0)
by_heart = GPT(fast(vocab_size=len(VOCABULARY), block_size=48, n_layer=2, n_embd=64))
fit(by_heart, chat_loss, Pairs(32, table=table), steps=60, optimizer=muon, decay=0.5)
known = pairs(300, table=table, generator=seeded(2))
on_known = by_shots(guesses(by_heart, known), known, shots(known))
on_new = by_shots(guesses(by_heart))
claim("the map of the training, 0 shots", on_known[0], ">", 0.95)
claim("new maps, 1 shot", on_new[1], "<", 0.3)

# %% [markdown]
# It learns by heart, in sixty batches, and is deaf to its prompt: told three times that *n* goes with 8, it says what
# it has always said. Chan et al. (2022) found what decides: meanings that change from text to text, and things that
# come in bursts, teach a model to read its prompt. Language has both. The repair is to mix: the one map in half of the
# rows, new maps in the others.

# %%
half = load_checkpoint("recall_half")
lines = {"one map": (on_known, on_new),
         "half and half": (by_shots(guesses(half, known), known, shots(known)), by_shots(guesses(half))),
         "new maps": (by_shots(guesses(recall, known), known, shots(known)), by_shots(guesses(recall)))}
claim("half and half, the known map, 0 shots", lines["half and half"][0][0], ">", 0.95)
claim("half and half, new maps, 1 shot", lines["half and half"][1][1], ">", 0.9)
claim("the same after 400 batches, the worst of five seeds", shot("half", 1)[:, -1].min(), ">", 0.95)
claim("one map, new maps at 3 shots, the best of five seeds", shot("one map", 3)[:, -1].max(), "<", 0.2)

# %% tags=["nbval-ignore-figure"]
# Figure: two panels, the share right over the number of shots: left for the map of the training, right for
# new maps. Three lines each, for models trained with one map, with new maps, and with half of each.
# not compared: one of the three models is trained here
_, panels = plt.subplots(1, 2, figsize=(9, 2.8), sharey=True)
for panel, which, title in zip(panels, range(2), ("the map that some were trained on", "new maps")):
    for (name, both), style in zip(lines.items(), ("o-", "s--", "^:")):
        panel.plot(range(4), both[which], style, label=f"trained with {name}")
    panel.set(xlabel="shots", xticks=range(4), title=title, ylim=(0, 1.03))
panels[0].set_ylabel("share right")
panels[0].legend(fontsize=9);

# %% [markdown]
# The mixture does both: it knows the old map before it has seen anything, and believes its prompt where that says
# otherwise.
#
# ## Written steps
#
# Now sums. The same small GPT learns to add numbers of one to four digits, written in three ways. *Plain* and
# *reversed* answer at once, the second with the last digit first, as one adds on paper. *Steps* writes each column
# down, from the right: two digits, what was carried, and their sum.

# %%
from course_lib.data.prompts import sums, total_in, worked_sum

for way in ("plain", "reversed", "steps"):
    text, answer = worked_sum(4821, 1397, 4, way)
    print(f"{way:9} {text}{answer}   {len(encode(answer))} tokens to write")

# %% [markdown]
# The answer's first digit depends on all eight digits, through a chain of carries. Written plain, a network of two
# layers must work the whole chain out before it writes its first token. With steps, every token is a small problem, and
# what it found out can be read again. **Write down a guess:** steps also go from right to left. Is it the steps that
# help, or only the order?

# %%
from course_lib.decoding import generate

adders = {"plain": load_checkpoint("adder_plain"), "reversed": load_checkpoint("adder_reversed"),
          "steps": load_checkpoint("adder")}

def write(model, prompts, n_new, temperature=0.0, generator=None):
    return generate(model, [encode(text) for text in prompts], n_new, temperature, generator=generator)

def exact(way, n_digit, n=200):
    """The share of sums that are right to the last digit."""
    problems = sums(n, n_digit, way, seeded(1))
    wrote = write(adders[way], [text for text, _ in problems], len(encode(problems[0].answer)))
    return sum(total_in(row) == total_in(encode(answer)) for row, (_, answer) in zip(wrote, problems)) / n

shares = {way: [exact(way, n_digit) for n_digit in range(1, 6)] for way in adders}
claim("exactly right, four digits, with steps", shares["steps"][3], ">", 0.93)
claim("exactly right, four digits, reversed", shares["reversed"][3], "<", 0.2)
claim("exactly right, four digits, plain", shares["plain"][3], "<", 0.3)

# %%
# Figure: the share of sums that are exactly right over the number of digits, 1 to 5, for sums written
# plain, reversed and with steps: dots for each of five seeds, and lines through their means. The five
# digits are marked as longer than anything trained.
trained = {"plain": metadata("adder_plain")["trials"], "reversed": metadata("adder_reversed")["trials"],
           "steps": metadata("adder")["trials"]}                  # way -> five seeds -> [shares, seconds]
_, ax = plt.subplots(figsize=(7, 3.2))
for way, colour in zip(trained, COLOURS):
    runs = torch.tensor([run[0] for run in trained[way]])         # (5 seeds, 5 lengths)
    ax.plot(range(1, 6), runs.mean(0), color=colour, label=way)
    for run in runs:
        ax.plot(range(1, 6), run, "o", ms=4, color=colour)
ax.axvspan(4.5, 5.3, color="0.9")
ax.text(4.9, 0.5, "never\ntrained", ha="center", fontsize=9)
ax.set(xlabel="digits of each number", ylabel="share right", xticks=range(1, 6), ylim=(-0.03, 1.03))
ax.legend(fontsize=9);

# %%
for way in trained:
    print(f"{way:9} {sum(run[1] for run in trained[way]) / 5:.0f} processor seconds of training")
four = {way: [run[0][3] for run in trained[way]] for way in trained}
claim("four digits, with steps, the worst of five seeds", min(four["steps"]), ">", 0.8)
claim("four digits, reversed, the best of five seeds", max(four["reversed"]), "<", 0.1)
claim("four digits, plain, the best of five seeds", max(four["plain"]), "<", 0.4)

# %% [markdown]
# <details><summary>Answer</summary>
#
# It is the steps. All three have the same number of parameters, and those without steps had more time, and neither
# learns four digits. The order alone is even worse than plain here. That is no law: Lee et al. (2023) find that
# reversed digits help small transformers, and steps help them more. (The figure's five with steps had 600 batches, the
# shipped one 1,400.)
# </details>
#
# Each written token takes the whole network once more: steps are computation that is paid when the model is used.
#
# ### Longer than anything trained

# %%
longer = sums(200, 5, "steps", seeded(9))
wrote = write(adders["steps"], [text for text, _ in longer], len(encode(longer[0].answer)))
written = [decode(row).replace(" ", "") for row in wrote]
correct = [answer for _, answer in longer]
columns = sum(a.split(">")[0] == b.split(">")[0] for a, b in zip(written, correct)) / 200
totals = sum(a == b for a, b in zip(written, correct)) / 200
for line, (text, answer) in list(zip(written, longer))[:3]:
    print(f"{text}\n  should be {answer}\n  and it is {line}")
claim("five digits: all columns right", columns, ">", 0.3)
claim("five digits: the sum right", totals, "<", 0.5)
claim("what is lost between the columns and the sum", columns - totals, ">", 0.1)

# %% [markdown]
# Compare the lines. It writes five columns, as it should, and many are right. The sum at the end often has a digit too
# few: it has never written one of six. What it has learned is less than what we would call "adding in columns".
#
# ## Votes, and a checker
#
# Steps can be sampled, and another sample may end in another sum. We sample 32 answers to each problem. Three ways to
# make one answer of $n$ of them:
#
# - **vote**: take the most frequent sum (Wang et al., 2022, call it self-consistency);
# - **a perfect checker**: a program that can add picks a right one, if there is one;
# - **a weak checker**: a small model that has seen few marked answers picks the one that it trusts most.

# %% tags=["nbval-ignore-output"]
# not compared: answers that are drawn from a network; what matters is claimed
def drawn(n_digit, n_problem, temperature, number, N=32):
    """N answers to each problem: texts, sums (both n_problem * N), and which are right (n_problem, N)."""
    problems = sums(n_problem, n_digit, "steps", seeded(number))
    texts = [text for text, _ in problems for _ in range(N)]
    length = len(encode(problems[0].answer))
    wrote = write(adders["steps"], texts, length, temperature, seeded(number))
    totals = [total_in(row) for row in wrote]
    targets = [total_in(encode(answer)) for _, answer in problems for _ in range(N)]
    right = torch.tensor([total == target for total, target in zip(totals, targets)])
    return texts, totals, right.view(n_problem, N)

def readable(total):
    return len(total) == 6 and total.isdigit()

four = drawn(4, 60, temperature=1.8, number=6)
five = drawn(5, 60, temperature=1.4, number=6)
for name, draws in (("four digits", four), ("five digits", five)):
    print(f"{name}: {draws[0][0]} {Counter(draws[1][:32]).most_common(3)}")
claim("single answers that are right, four digits", four[2].double().mean(), "<", 0.92)
claim("single answers that are right, five digits", five[2].double().mean(), "<", 0.5)

# %% [markdown]
# With four digits we sample at temperature 1.8, so that many single answers are wrong though the model knows how to add.
# With five digits it does not know. The weak checker is trained now. It reads a sum and an answer,
# "48213+13979=062192?", and says "y" or "n". It learns from fewer than a hundred answers to other problems that somebody
# has marked. An answer that is not six digits is rejected unread.

# %%
from course_lib.data.prompts import Answers

texts, totals, right = drawn(5, 300, temperature=1.4, number=77, N=1)
marked = [(f"{text}{total}?", "y" if good else "n")
          for text, total, good in zip(texts, totals, right[:, 0]) if readable(total)]

def one_marked(r):
    question, verdict = r.choice(marked)
    return [(question, False), (verdict, True)]

seed(0)
checker = GPT(fast(vocab_size=len(VOCABULARY), block_size=24, n_layer=2, n_embd=32))
fit(checker, chat_loss, Answers(one_marked, 32), steps=60, optimizer=muon, decay=0.5)

def believed(texts, totals):                                      # the probability of "y", (problems, 32)
    belief = torch.zeros(len(texts))
    known = [i for i, total in enumerate(totals) if readable(total)]
    idx = torch.stack([encode(f"{texts[i]}{totals[i]}?") for i in known])
    with torch.no_grad():
        belief[known] = checker(idx)[:, -1].softmax(1)[:, VOCABULARY.index("y")]
    return belief.view(-1, 32)

belief = believed(five[0], five[1])
claim("answers marked, of 300", len(marked), "<", 200)
claim("verdicts of the checker that are true", ((belief > 0.5) == five[2]).double().mean(), ">", 0.7)

# %% [markdown]
# **Write down a guess:** what will votes, the perfect and the weak checker do as $n$ grows to 32?

# %%
from course_lib.preferences import best_of_n, pass_at_k

def voted(totals, right, n):
    """The share of right answers when each group of n votes."""
    winners = []
    for problem in range(len(right)):
        for start in range(0, 32, n):
            group = totals[problem * 32 + start:problem * 32 + start + n]
            winner = group.index(Counter(group).most_common(1)[0][0])
            winners.append(right[problem, start + winner].item())
    return sum(winners) / len(winners)

ns = [1, 2, 4, 8, 16, 32]
curves = {}
for name, (_, totals, right) in (("four digits", four), ("five digits", five)):
    curves[name] = {"vote": [voted(totals, right, n) for n in ns],
                    "perfect checker": [pass_at_k(right, n).mean().item() for n in ns]}
curves["five digits"]["weak checker"] = [best_of_n(belief, five[2].float(), n).mean().item() for n in ns]

# %% tags=["nbval-ignore-figure"]
# Figure: two panels, the share of right sums over the number n of answers, from 1 to 32. Left for four
# digits, where votes and a perfect checker are drawn; right for five digits, where a weak checker is drawn
# too. Dashed: always the most probable token.
# not compared: the weak checker is trained here
_, panels = plt.subplots(1, 2, figsize=(9, 3), sharey=True)
for panel, (name, lines), n_digit in zip(panels, curves.items(), (4, 5)):
    for (label, line), colour in zip(lines.items(), COLOURS):
        panel.plot(ns, line, "o-", color=colour, label=label)
    panel.axhline(shares["steps"][n_digit - 1], color="black", ls="--", lw=1, label="most probable tokens")
    panel.set(xscale="log", xticks=ns, xticklabels=ns, xlabel="answers $n$", title=name, ylim=(0, 1.03))
    panel.minorticks_off()
panels[0].set_ylabel("share right")
panels[1].legend(fontsize=9, loc="upper left");

# %%
vote_four, vote_five = curves["four digits"]["vote"], curves["five digits"]["vote"]
claim("four digits: what 32 votes add to a single answer", vote_four[-1] - vote_four[0], ">", 0.1)
claim("five digits: what 32 votes leave wrong", 1 - vote_five[-1], ">", 0.4)
perfect = curves["five digits"]["perfect checker"]
claim("five digits: what the perfect checker adds to 32 votes", perfect[-1] - vote_five[-1], ">", 0.1)
weak = curves["five digits"]["weak checker"]
claim("weak checker: the best n minus a single answer", max(weak) - weak[0], ">", 0.02)
claim("weak checker: best of 32 minus the best n", weak[-1] - max(weak), "<", -0.01)

# %% [markdown]
# <details><summary>Answer</summary>
#
# Votes repair what is random. With four digits they win back all that the temperature had spoiled, and end where the
# most probable tokens are anyway. With five digits the model is wrong in the same way again and again, and 32 votes for
# the same mistake help little. A perfect checker gains from every further answer. The weak one gains at first. Then,
# the more answers it may choose from, the more it finds those that it is wrong about: **Goodhart's law** (lesson 74),
# without any training of the model. Four in five of its verdicts are true, no more than if it always said "n".
# </details>
#
# ## A model that takes instructions
#
# Now a third model: three layers, trained for a minute on five small tasks with strings of letters, *copy, reverse,
# sort, first, last*. A task is given in words, in one of many phrasings, or by examples.

# %%
from course_lib.data.prompts import answer_in, ask, phrase, shown, solved, strings

instructed = load_checkpoint("instructed")

def answers(prompts):
    return [answer_in(row) for row in write(instructed, prompts, 6)]

r = random.Random(0)
asked = [ask(phrase(task, r), "b a d") for task in TASKS]
asked.append(shown("reverse", [["k", "i", "t"], ["m", "u", "s"]]) + "b a d >")
for text, answer in zip(asked, answers(asked)):
    print(f"{text:55} {answer}")
follows = metadata("instructed")["trials"]                        # three seeds -> shares by name
for task in TASKS:
    claim(f"{task}, by instruction, the worst of three seeds", min(run[task] for run in follows), ">", 0.9)

# %% [markdown]
# ## Predict, then turn one knob: the words of the question
#
# Which words work is an experiment like any other: the same 200 strings for each phrasing, and a share $q$ of right
# answers, with a standard error of $\sqrt{q(1-q)/n}$. Two phrasings differ if their bars, two standard errors to each
# side, do not overlap. Three of those below are from the training; the others use its words in new ways. **Write down a
# guess:** which will fail?

# %%
phrasings = [("last", "what is the last letter"), ("last", "which letter is the last"),
             ("last", "the letter at the end"), ("last", "last"),
             ("sort", "sort the letters"), ("sort", "sort them by alphabet"), ("sort", "alphabet"),
             ("reverse", "turn them around"), ("reverse", "could you please reverse the letters now"),
             ("reverse", "backwards"), ("reverse", "write all letters from last to first")]
r = random.Random(3)
tested = [strings(1, r)[0] for _ in range(200)]
found = []
for task, words in phrasings:
    said = answers([ask(words, " ".join(letters)) for letters in tested])
    found.append(sum(answer == solved(task, letters) for answer, letters in zip(said, tested)) / 200)

# %%
# Figure: eleven phrasings of three tasks in rows, and for each a dot for the share of right answers, with
# a bar of two standard errors on both sides. Most are near 1; "last" and "alphabet" alone are near 0.
fig, ax = plt.subplots(figsize=(8, 3.6))
for place, ((task, _), q) in enumerate(zip(phrasings, found)):
    error = 2 * (q * (1 - q) / 200) ** 0.5
    colour = COLOURS[["last", "sort", "reverse"].index(task)]
    ax.errorbar(q, -place, xerr=error, fmt="o", color=colour, capsize=3)
ax.set(yticks=[-k for k in range(len(phrasings))], yticklabels=[words for _, words in phrasings],
       xlim=(-0.03, 1.03), xlabel="share right, and two standard errors");

# %%
by_words = dict(zip([words for _, words in phrasings], found))
claim("'what is the last letter'", by_words["what is the last letter"], ">", 0.95)
claim("'last'", by_words["last"], "<", 0.3)
claim("'alphabet'", by_words["alphabet"], "<", 0.5)
print("to 'last : b a d >' it says:", answers([ask("last", "b a d")])[0])

# %% [markdown]
# <details><summary>Answer</summary>
#
# Whole sentences work, also in combinations that never occurred. Single words are a lottery: "backwards" works,
# "alphabet" rarely, and at "last" it reverses the letters. The meaning of the words does not tell: it must be measured.
# Large models are not immune: Sclar et al. (2023) change nothing but the format of a prompt, and accuracies move by up
# to 76 points.
# </details>
#
# ### Examples in place of words
#
# Without any instruction, only solved examples say which task is meant. How well could it be known? Take all tasks that
# fit the examples, and give the answer that most of them give: nobody can do better. **Write down a guess:** how near
# does the model come, and what does it do with examples of a task that it has never been trained on, "the second"?

# %%
def best_possible(examples, letters):
    """The probability of the best answer, if each of the five tasks is as likely as any other."""
    fitting = [task for task in TASKS.values() if all(task(given) == made for given, made in examples)]
    says = Counter(" ".join(task(letters)) for task in fitting)
    return max(says.values(), default=0) / max(1, len(fitting))

def by_examples(tasks, k, n=300):
    """The share of right answers after k examples, and the best that is possible."""
    r, prompts, wanted, best = random.Random(4), [], [], []
    for _ in range(n):
        task = r.choice(tasks)
        *examples, letters = strings(k + 1, r)
        solved_ones = [(given, task(given)) for given in examples]
        before = "".join(f"{' '.join(given)} > {' '.join(made)} ; " for given, made in solved_ones)
        prompts.append(f"{before}{' '.join(letters)} >")
        wanted.append(" ".join(task(letters)))
        best.append(best_possible(solved_ones, letters))
    return sum(a == b for a, b in zip(answers(prompts), wanted)) / n, sum(best) / n

# %%
def second(letters):
    return letters[1:2]

ks = range(1, 6)
known_tasks = [by_examples(list(TASKS.values()), k) for k in ks]
new_task = [by_examples([second], k)[0] for k in ks]
claim("five examples of a known task", known_tasks[-1][0], ">", 0.45)
claim("five examples: best possible minus the model", known_tasks[-1][1] - known_tasks[-1][0], ">", 0.1)
claim("five examples of a new task", new_task[-1], "<", 0.35)

# %%
# Figure: the share of right answers over the number of examples, one to five: a line near 1 for the best
# that is possible, a line for the model on the five known tasks, at 0.5 to 0.7, and a line for the new
# task, far below.
_, ax = plt.subplots(figsize=(7, 3))
ax.plot(ks, [best for _, best in known_tasks], "k--", label="best possible")
ax.plot(ks, [share for share, _ in known_tasks], "o-", label="the five tasks")
ax.plot(ks, new_task, "o-", label="a new task: the second")
ax.axhline(0.2, color="0.6", lw=1, ls=":", label="one task in five")
ax.set(xlabel="examples", ylabel="share right", xticks=ks, ylim=(0, 1.03))
ax.legend(fontsize=9);

# %% [markdown]
# <details><summary>Answer</summary>
#
# One example nearly settles the task, and this model is right in five of ten cases, with more examples in six: above
# chance, and far below what an instruction in words reached. The new task it does not learn at all. Examples can do two
# things: tell *which* known task is meant, or teach a new one. Pan et al. (2023) take the two apart in large models, and
# find that the second comes with size. Here it does not show, and no prompt will bring it out.
# </details>
#
# ## An instruction in the data
#
# A program passes on a text that somebody else has written: "what is the last letter : *text*". What if that text holds
# an instruction itself? This attack is called **prompt injection**.

# %%
def attack(marks, hide, n=300):
    """An example, and the shares of answers that do what was asked, and what the data ask for.
    hide(letters, instruction): the data."""
    r, prompts, wanted, injected = random.Random(7), [], [], []
    for _ in range(n):
        (letters,), (task, other) = strings(1, r), r.sample(list(TASKS), 2)
        data = hide(" ".join(letters), phrase(other, r))
        prompts.append(ask(phrase(task, r), data, marks))
        wanted.append(solved(task, letters))
        injected.append(solved(other, letters))
    said = answers(prompts)
    right = sum(a == b for a, b in zip(said, wanted)) / n
    obeyed = sum(a == b != c for a, b, c in zip(said, injected, wanted)) / n
    return prompts[0], right, obeyed

def at_the_end(letters, instruction):
    return f"{letters} {instruction}"

attacks = {"no marks": attack("", at_the_end), "quotes": attack('""', at_the_end),
           "brackets": attack("[]", at_the_end)}
for name, measured in attacks.items():
    print(f"{name}: {measured[0]}")

# %% [markdown]
# In the training, data stood alone, in quotes or in brackets. Only in brackets did they sometimes hold an instruction,
# and the right answer ignored it. **Write down a guess** for the three.

# %%
claim("no marks: the data's instruction is obeyed", attacks["no marks"][2], ">", 0.12)
claim("no marks: right", attacks["no marks"][1], "<", 0.75)
claim("quotes: the data's instruction is obeyed", attacks["quotes"][2], ">", 0.12)
claim("brackets: the data's instruction is obeyed", attacks["brackets"][2], "<", 0.06)
claim("brackets: right", attacks["brackets"][1], ">", 0.88)
claim("no marks: obeyed, the least of three seeds", min(run["bare: obeyed"] for run in follows), ">", 0.2)
claim("quotes: obeyed, the least of three seeds", min(run["quotes: obeyed"] for run in follows), ">", 0.2)
claim("brackets: obeyed, most of three seeds", max(run["brackets: obeyed"] for run in follows), "<", 0.15)

# %% [markdown]
# <details><summary>Answer</summary>
#
# Without marks the model often obeys the text that it should only have read, and is right in about half of the cases.
# Quotes change nothing, though it has seen thousands: a mark means something only if training made it mean something.
# Brackets do. That is the idea of StruQ (Chen et al., 2024), and of the system prompts of large models.
# </details>
#
# Whoever writes the data can use the brackets too. The last attack closes them at once: "] *instruction* : *letters*".

# %%
def shut_first(letters, instruction):
    return f"] {instruction} : {letters}"

def filtered(letters, instruction):
    """What a careful program makes of that: no marks within the data."""
    return shut_first(letters, instruction).replace("]", "").replace(":", "")

attacks["brackets,\nshut by the data"] = attack("[]", shut_first)
attacks["the same,\nfiltered"] = attack("[]", filtered)
claim("brackets shut by the data: right", attacks["brackets,\nshut by the data"][1], "<", 0.75)
claim("the same, with marks filtered out of the data: right", attacks["the same,\nfiltered"][1], ">", 0.85)

# %%
# Figure: five groups of two bars, for no marks, quotes, brackets, brackets that the data shut, and the
# same after a filter: the share of answers that do what was asked, and the share that obey the instruction
# in the data.
_, ax = plt.subplots(figsize=(9, 3))
for shift, which, label in ((-0.2, 1, "does what was asked"), (0.2, 2, "obeys the data")):
    heights = [measured[which] for measured in attacks.values()]
    places = [place + shift for place in range(len(attacks))]
    ax.bar(places, heights, 0.38, color=COLOURS[which - 1], label=label)
ax.set(xticks=range(len(attacks)), xticklabels=list(attacks), ylabel="share of answers", ylim=(0, 1.03))
ax.legend();

# %% [markdown]
# The filter is a rule outside the model, and the only part of this defence that is certain. What the training gave is a
# habit, with a rate of errors that you can measure, and so can an attacker.

# %% [markdown]
# ## In the wild
#
# With a real model the same things have names: what the first half of this lesson does is **in-context learning**,
# examples in the prompt are *few-shot*, steps are **chain of thought**, sampling many answers is `num_return_sequences`.
# On a GPU:
#
# ```python
# from transformers import pipeline                          # pip install transformers
#
# write = pipeline("text-generation", model="Qwen/Qwen2.5-1.5B-Instruct", device_map="auto")
# question = [{"role": "user", "content": "What is 48213 + 13979? Think step by step."}]
# for answer in write(question, max_new_tokens=300, do_sample=True, temperature=1.0, num_return_sequences=8):
#     print(answer["generated_text"][-1]["content"])
# ```
#
# What needs that size, and does not show here: learning a new task from examples; being helped by "think step by step"
# without having been trained on steps of this very kind; and instructions nobody has foreseen.

# %% [markdown]
# ## Recap
#
# 1. Learning from the prompt is a mechanism that training builds: notes in one layer, a search in the next. It appears
#    suddenly, and one layer cannot have it.
# 2. It is built when meanings change from text to text. What never changes is learned by heart, and the prompt ignored.
# 3. Written steps are computation that is paid in tokens. Here they, and not the order of the digits, bring the sums.
# 4. Votes repair chance, not ignorance. A perfect checker gains with every answer; a weak one is fooled in the end.
# 5. A prompt is an experiment: same data, error bars. And whatever a model reads may instruct it, unless it was trained
#    otherwise and the marks are kept out of the data.
#
# **What we left out.** Prompts that are trained (soft prompts); search over thoughts; retrieval; tools; long chains of
# thought that are learned by reinforcement.
#
# **Exercises:** [75_prompting](../exercises/75_prompting/75_prompting.ipynb). One more: train *plain*
# and *reversed* on sums of three digits only, and compare again.
# **Next**, [lesson 76](76_personalisation.ipynb): one's own face, from five pictures.
#
# ## Read on
#
# - C. Olsson et al., *In-context learning and induction heads* (2022), [arXiv:2209.11895](https://arxiv.org/abs/2209.11895).
# - S. Chan et al., *Data distributional properties drive emergent in-context learning in transformers* (2022),
#   [arXiv:2205.05055](https://arxiv.org/abs/2205.05055).
# - M. Nye et al., *Show your work: scratchpads for intermediate computation* (2021),
#   [arXiv:2112.00114](https://arxiv.org/abs/2112.00114); N. Lee et al., *Teaching arithmetic to small transformers*
#   (2023), [arXiv:2307.03381](https://arxiv.org/abs/2307.03381), on reversed digits.
# - X. Wang et al., *Self-consistency improves chain of thought reasoning* (2022),
#   [arXiv:2203.11171](https://arxiv.org/abs/2203.11171); K. Cobbe et al., *Training verifiers to solve math word problems*
#   (2021), [arXiv:2110.14168](https://arxiv.org/abs/2110.14168), where a learned checker is fooled as well.
# - J. Pan et al., *What in-context learning "learns" in-context* (2023), [arXiv:2305.09731](https://arxiv.org/abs/2305.09731).
# - M. Sclar et al., *Quantifying language models' sensitivity to spurious features in prompt design* (2023),
#   [arXiv:2310.11324](https://arxiv.org/abs/2310.11324).
# - S. Chen et al., *StruQ: defending against prompt injection with structured queries* (2024),
#   [arXiv:2402.06363](https://arxiv.org/abs/2402.06363).
# - In the library: `data/prompts.py` (`pairs`, `sums`, `ask`), `transformer.py` (`attention_maps`, `induction_score`),
#   `preferences.py` (`best_of_n`, `pass_at_k`).
