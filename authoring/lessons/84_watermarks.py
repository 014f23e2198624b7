# %% [markdown]
# # 84 · Who made this? Watermarks and signatures
#
# A text or a picture comes to you, and you would like to know where it is from. Good models leave no traces that a
# reader could see, so the maker must leave one on purpose. Three ways are in use. A text prefers certain words that
# only its maker can list. A picture grows out of noise that holds a secret pattern. Both are called **watermarks**. And a
# file carries a **signature** that nobody else can write. We shall attack all three, and count which claims survive. At
# the end you will know how to read the picture below: where is the mark, and how sure can one be?
#
# **After this lesson you can**
# - mark a text and a picture, find the marks again, and say how often you will be wrong;
# - attack a mark by rewriting, mixing, noise, cropping and theft, and measure what is left of it;
# - say what a signature proves, and what its absence does not.
#
# **You need** lessons [54](54_gpt.ipynb) (a model that writes) and [64](64_flow_matching.ipynb) (flows). **It takes**
# 70 minutes to read and a minute to run. **How hard:** ••. All symbols are in the [table of symbols](symbols.ipynb).
#
# ## Set-up

# %%
import math

import matplotlib.pyplot as plt
import torch
from torch.nn import functional as F
from torch.testing import assert_close

from course_lib.checkpoint import load as load_checkpoint, metadata
from course_lib.claims import claim
from course_lib.data.text import decode, encode, load_text

# %%
from course_lib.data import load
from course_lib.decoding import generate
from course_lib.device import seeded
from course_lib.metrics import bootstrap, wilson
from course_lib.plots import COLOURS, diagram, strip
from course_lib.watermark import (count_green, false_alarm, favouring, green_lists, list_numbers,
                                  z_score)

torch.set_grad_enabled(False)                                     # nothing is trained here
gpt = load_checkpoint("gpt")
austen = load_text("austen").test
kept = load_checkpoint("marked")                                  # pictures, and what befell them
trials = metadata("marked")["trials"]
green = green_lists(256, share=0.5, key=1)                        # (256, 256) bool, from a secret number
beginnings = [austen[10_000 * k:10_000 * k + 64].long() for k in range(20)]

# %%
# Figure: two lines of text by lesson 54's model, each letter on a green or a red ground. In the first,
# without a mark, green and red are about equally frequent; in the second, with a mark, most letters are
# green. Below, two rows of ten digits by the flow, from the same noise, without a mark and with one.
fig, ax = plt.subplots(figsize=(9, 1.1))
for row, (name, delta) in enumerate((("without", 0.0), ("with a mark", 3.0))):
    processor = favouring(green, delta, width=3)
    text = generate(gpt, beginnings[:1], 70, generator=seeded(2), processor=processor)[0]
    lists = list_numbers(torch.cat([beginnings[0][-3:], text])[:-1], 256, width=3)
    colours = ["#B8E0B8" if is_green else "#F2C4BC" for is_green in green[lists, text].tolist()]
    ax.bar(range(70), 0.8, width=1, bottom=-row - 0.4, color=colours)
    for place, byte in enumerate(text.tolist()):
        ax.text(place, -row, chr(byte).replace("\n", " "), family="monospace", ha="center", va="center")
    ax.text(-2, -row, name, ha="right", va="center")
ax.set(xlim=(-12, 70), ylim=(-1.5, 0.5))
ax.set_axis_off()
strip({"without": kept.of("plain")[:10], "with a mark": kept.of("free")[:10]});

# %% [markdown]
# Which letters are green is a secret.
#
# ## What we will build

# %%
# Figure: a diagram of three lines. Text: the tokens before choose a list; the green tokens of that list
# get a larger logit; whoever knows the lists counts green tokens. Picture: a key goes into the noise (1,
# 28, 28), the flow makes a picture of it, the flow backwards finds the noise again, and it is compared
# with the key. Signature: picture and claims are signed with a secret key and verified with a public one.
boxes = {"tokens before\n(B, T)": (0, 2), "list\n(256,) green or red": (2, 2), "GPT\nlogits + δ": (4, 2),
         "text\n(B, n)": (6, 2), "count green\nz, false alarm": (8, 2),
         "noise + key\n(B, 1, 28, 28)": (0, 1), "flow": (2, 1), "picture\n(B, 1, 28, 28)": (4, 1),
         "flow\nbackwards": (6, 1), "compare with key\np-value": (8, 1), "picture, claims": (0, 0),
         "sign\nsecret key": (2, 0), "signature": (4, 0), "verify\npublic key": (6, 0), "valid?": (8, 0)}
names = list(boxes)
arrows = [(names[5 * line + k], names[5 * line + k + 1]) for line in range(3) for k in range(4)]
diagram(boxes, arrows, dict.fromkeys([names[2], names[6], names[8]], COLOURS[0]), size=(10, 3.3));

# %% [markdown]
# Between the third and the fourth column lies the world: what happens to a text or picture before it is tested.
#
# ## Text: a coin for every token
#
# For each new token, a secret key and the token before it choose a **green list**: a share $\gamma$ of the
# vocabulary. The rest is red. The writer adds $\delta$ to the logits of green tokens. If the model gives the
# probability $g$ to all green tokens together, they are now drawn with the probability
#
# $$\frac{g\, e^\delta}{g\, e^\delta + 1 - g}.$$
#
# ### By hand
#
# Four tokens with the probabilities 1/2, 1/4, 1/8, 1/8; the second and the fourth are green, so $g = 3/8$. With
# $e^\delta = 3$ the green ones get $9/8$ against $5/8$: 9 of 14.

# %%
p = torch.tensor([1 / 2, 1 / 4, 1 / 8, 1 / 8])
is_green = torch.tensor([False, True, False, True])
delta = math.log(3)
with_mark = (p.log() + delta * is_green).softmax(0)
assert_close(with_mark[is_green].sum(), torch.tensor(9 / 14))
print("with the mark:", [round(v, 3) for v in with_mark.tolist()])

# %% [markdown]
# For $g$ near 0 or 1 the mark changes hardly anything: a token of which the model is sure stays as it is. The mark
# lives on choice.
#
# ### Write with it
#
# The model of lesson 54 writes bytes: 256 tokens, 256 lists. `generate` lets us change the logits.

# %%
def my_processor(logits, so_far):                                 # (B, 256), (B, T)
    before = so_far[:, -1]                                        # (B,) the last token chooses the list
    return logits + 2.0 * green[before]                           # delta = 2

texts = generate(gpt, beginnings, 400, generator=seeded(0), processor=my_processor)   # (20, 400)
few = generate(gpt, beginnings, 20, generator=seeded(0), processor=favouring(green, 2.0))
assert torch.equal(few, texts[:, :20])                            # the library's, to be used from here on
print(decode(texts[0][:160]))

# %% [markdown]
# ### Find it again
#
# Whoever knows the lists counts green tokens, and needs no model. In a text that knows nothing of the key each token
# tosses a coin: among $n$, on average $\gamma n$ are green, with a variance of $\gamma (1 - \gamma) n$. How many
# standard deviations above that is a count of $k$?
#
# $$z = \frac{k - \gamma n}{\sqrt{\gamma (1 - \gamma)\, n}}$$
#
# The coin of a pair of neighbours is always the same: if "th" is green, it is green each time. So a pair may count only
# once.

# %%
def my_count(text):
    pairs = set(zip(text[:-1].tolist(), text[1:].tolist()))       # each pair once
    return sum(green[first, second].item() for first, second in pairs), len(pairs)

k, n = my_count(texts[0])
assert (k, n) == count_green(texts[0], green)
z = (k - 0.5 * n) / math.sqrt(0.5 * 0.5 * n)
assert_close(z, z_score(k, n, share=0.5))
print(f"{k} of {n} pairs are green: z = {z:.2f}")

# %% [markdown]
# ### How often will we be wrong?
#
# If we call a text marked that has at least $k$ green tokens, an innocent one is called so with the probability that
# $n$ coins show at least $k$ heads: the tail of the binomial distribution, exactly. This is the **false-alarm rate**.
# From here on "found" means that it is below 1 %.

# %%
from scipy.stats import binom

for heads, tosses in ((75, 120), (96, 150), (140, 200)):
    exact = sum(math.comb(tosses, j) for j in range(heads, tosses + 1)) / 2**tosses
    assert_close(false_alarm(heads, tosses, 0.5), exact)
    assert_close(binom.sf(heads - 1, tosses, 0.5), exact)
    print(f"{heads} of {tosses}: z = {z_score(heads, tosses, 0.5):.2f}, false alarm {exact:.2g}")

# %% [markdown]
# ## Break it: a longer text
#
# With twice the coins, the surplus doubles and the deviation grows by the root of two. So four times the text should
# have twice the $z$. **Write down a guess:** do ours?

# %%
def mean_z(texts, lists, width=1):
    return sum(z_score(*count_green(text, lists, width), 0.5) for text in texts) / len(texts)

lengths = [50, 100, 200, 300, 400]
narrow_z = [mean_z(texts[:, :length], green) for length in lengths]
narrow_n = [count_green(texts[0][:length], green)[1] for length in lengths]
claim("different pairs in the first text of 400 bytes", narrow_n[-1], "<", 200)
claim("mean z after 100 bytes", narrow_z[1], ">", 1)
claim("what 300 bytes more add to it", narrow_z[-1] - narrow_z[1], "<", 1.2)

# %% [markdown]
# <details><summary>Answer</summary>
#
# No. English has few pairs of letters: in 400 bytes fewer than 200 different ones. The coins run out.
# </details>
#
# ### Repaired: more tokens choose the list
#
# Let the last three tokens choose the list. Ours reads them as a number in base 31, modulo 256. How many tokens
# choose is the **width** of the mark.

# %%
three = torch.tensor([3, 1, 4])
assert list_numbers(three, 256, width=3).item() == (3 * 31**2 + 1 * 31 + 4) % 256

wide = generate(gpt, beginnings, 400, generator=seeded(0), processor=favouring(green, 2.0, width=3))
wide_z = [mean_z(wide[:, :length], green, 3) for length in lengths]
wide_n = [count_green(wide[0][:length], green, 3)[1] for length in lengths]
claim("what 300 bytes more add to the mean z, width 3", wide_z[-1] - wide_z[1], ">", 1.5)
claim("mean z after 400 bytes, width 3", wide_z[-1], ">", 5)
claim("the same with width 1", narrow_z[-1], "<", 4)

# %%
# Figure: two panels over the length of a text, 50 to 400 bytes, each with a curve for width 1 and one for
# width 3. Left, different pairs of list and token in one text; right, the mean z of 20 texts, with a
# dashed line that grows like the root of the length.
_, (left, right) = plt.subplots(1, 2, figsize=(9, 3))
for name, n, z, colour in (("width 1", narrow_n, narrow_z, "C1"), ("width 3", wide_n, wide_z, "C0")):
    left.plot(lengths, n, "o-", color=colour, label=name)
    right.plot(lengths, z, "o-", color=colour, label=name)
right.plot(lengths, [wide_z[1] * (n / 100) ** 0.5 for n in lengths], "--", color="0.5", label="root")
left.set(xlabel="bytes", ylabel="coins", ylim=(0, None))
right.set(xlabel="bytes", ylabel="mean z of 20 texts", ylim=(0, None))
right.legend();

# %% [markdown]
# With width 3 the evidence grows with the text, nearly as the root does.
#
# ## Does the promise hold on real text?
#
# We ask real texts: 400 pieces of 300 bytes by Jane Austen, who knew no key, against 40 keys, counting every pair each
# time or once. One per cent may be called marked. **Write down a guess:** the mean share of false alarms, and that of
# the unluckiest key.

# %%
def coins(text, width, once):
    pairs = torch.stack([list_numbers(text[:-1], 256, width), text[width:]], dim=1)       # (n, 2)
    return pairs.unique(dim=0) if once else pairs

needed = {}                                                       # coins -> green ones for "found"
def is_found(k, n):
    if n not in needed:
        enough = (j for j in range(n // 2, n + 1) if false_alarm(j, n, 0.5) < 0.01)
        needed[n] = next(enough)
    return k >= needed[n]

def alarms(pieces, keys, width, once=True):
    """For each key, the share of pieces in which it is found.  -> (n_keys,)"""
    tosses = [coins(piece, width, once) for piece in pieces]
    rates = []
    for key in keys:
        lists = green_lists(256, 0.5, key)
        hits = [is_found(lists[t[:, 0], t[:, 1]].sum().item(), len(t)) for t in tosses]
        rates.append(sum(hits) / len(hits))
    return torch.tensor(rates)

# %%
pieces = austen[:120_000].view(400, 300).long()
ways = {"width 1, every time": (1, False), "width 1, once": (1, True), "width 3, once": (3, True)}
rates = {name: alarms(pieces, range(40), width, once) for name, (width, once) in ways.items()}
for name, rate in rates.items():
    mean, low, high = bootstrap(lambda r: r.mean().item(), rate, n=1_000)
    print(f"{name:22} mean {mean:.3f} ({low:.3f} to {high:.3f})   worst key {rate.max():.3f}")
claim("false alarms when repeated pairs count, mean of 40 keys",
      rates["width 1, every time"].mean(), ">", 0.04)
claim("when they count once", rates["width 1, once"].mean(), "<", 0.02)
claim("with width 3", rates["width 3, once"].mean(), "<", 0.02)
claim("with width 3, for the unluckiest of 40 keys", rates["width 3, once"].max(), ">", 0.02)

# %%
# Figure: 40 dots, one a key, for each of three ways to count: the share of 400 innocent texts in which the
# key is found. A dashed line stands at the promised 1 %.
_, ax = plt.subplots(figsize=(6, 3))
for place, rate in enumerate(rates.values()):
    shift = torch.linspace(-0.25, 0.25, 40)
    ax.scatter(place + shift, rate, s=14, color=COLOURS[place])
ax.axhline(0.01, ls="--", color="0.4")
ax.text(2.35, 0.02, "promised")
ax.set(xticks=range(3), xticklabels=list(ways), ylabel="false alarms, one dot a key", xlim=(-0.5, 2.9));

# %% [markdown]
# <details><summary>Answer</summary>
#
# Counted every time, about one innocent text in ten is accused. Counted once, the promise holds in the mean over
# *keys*. For a single key it need not: all English texts share the frequent pairs, and a key that happens to paint
# those green accuses English as such. Width 3 does not remove this: the unluckiest of 40 keys still accuses 8 %.
# </details>
#
# **Repaired by an audit:** try keys on text of the kind that will be tested, and keep those that behave.

# %%
other_pieces = load_text("austen").train[:120_000].view(400, 300).long()
audited = alarms(other_pieces, range(40), width=3)
passed = audited < 0.01
after_audit = rates["width 3, once"][passed]
claim("keys of 40 that pass the audit", passed.sum(), ">", 10)
claim("their false alarms on other text, mean", after_audit.mean(), "<", 0.01)
claim("the worst of them", after_audit.max(), "<", 0.04)

# %% [markdown]
# ## Predict, then turn one knob: what does the mark cost?
#
# A larger $\delta$ is easier to find, and pushes the model away from what it would have written. How many bits per byte
# does the model itself, without a mark, need for the result? **Write down a guess:** which $\delta$ is found nearly
# always in 200 bytes, and what does it cost?

# %%
def bits(texts):
    """Bits per byte that the model needs for the first 192 bytes of each text.  -> a number"""
    whole = torch.cat([torch.stack(beginnings), texts[:, :192]], dim=1)           # (20, 256)
    logits = gpt(whole)[:, 63:-1]                                 # (20, 192, 256)
    return F.cross_entropy(logits.transpose(1, 2), whole[:, 64:]).item() / math.log(2)

outcome = {}                                                      # delta -> bits, mean z, texts found
for delta in (0.0, 1.0, 2.0, 4.0):
    processor = favouring(green, delta, width=3)
    written = generate(gpt, beginnings, 200, generator=seeded(0), processor=processor)
    found = sum(is_found(*count_green(text, green, 3)) for text in written)
    outcome[delta] = bits(written), mean_z(written, green, 3), found
claim("bits that delta = 2 adds to each byte", outcome[2.0][0] - outcome[0.0][0], "<", 0.45)
claim("bits that delta = 4 adds", outcome[4.0][0] - outcome[0.0][0], ">", 0.4)
claim("texts of 200 bytes found, of 20, delta = 2", outcome[2.0][2], ">=", 17)
claim("the same without a mark", outcome[0.0][2], "<=", 2)

# %%
# Figure: four dots, for delta 0, 1, 2 and 4: across, bits per byte of what was written; upwards, the mean
# z of texts of 200 bytes. A dashed line stands where a text is found.
_, ax = plt.subplots(figsize=(5, 3))
for delta, (cost, score, found) in outcome.items():
    ax.scatter(cost, score, color=COLOURS[0])
    ax.annotate(f"  δ = {delta:g}: found {found} of 20", (cost, score - 0.2), va="top")
ax.axhline(2.33, ls="--", color="0.5")
ax.set(xlabel="bits per byte, by the model without a mark", ylabel="mean z",
       xlim=(1.3, 2.7), ylim=(-2, 9));

# %% [markdown]
# <details><summary>Answer</summary>
#
# From $\delta = 2$ on, for about a fifth of a bit. At 4 the text costs half as much again: words begin to break.
# </details>
#
# ### Where there is no choice, there is no mark
#
# Does the formula hold? For every token of the marked texts we know $g$. And code, with brackets and names that must
# come, should leave less choice. **Write down a guess:** will it be found as easily as the novel?

# %%
def tokens_of(model, starts, texts):
    """For 192 tokens of each text: g, and whether the token is green.  -> (n, 192), (n, 192)"""
    whole = torch.cat([starts, texts[:, :192]], dim=1)            # (n, 256), of which 64 are the beginning
    p = model(whole)[:, 63:-1].softmax(-1)                        # (n, 192, 256)
    lists = list_numbers(whole[:, 61:-1], 256, width=3)           # (n, 192)
    return (p * green[lists]).sum(-1), green[lists, whole[:, 64:]]

coder = load_checkpoint("gpt_code")
lines = ["import os\nimport sys\n\n", "def read(path):\n    ", "class Node:\n    def __init__(self",
         "for i in range("]
code_starts = generate(coder, [encode(line) for line in lines * 5], 64, generator=seeded(1))
processor = favouring(green, 2.0, width=3)
code = generate(coder, list(code_starts), 400, generator=seeded(1), processor=processor)
sets = {"novel": tokens_of(gpt, torch.stack(beginnings), wide),
        "code": tokens_of(coder, code_starts, code)}
for name, (g, _) in sets.items():
    sure = ((g - 0.5).abs() > 0.45).double().mean()
    claim(f"{name}: tokens without a choice, g below 0.05 or above 0.95", sure, ">", 0.3)
claim("mean z of the novel, 400 bytes", wide_z[-1], ">", 5)
claim("mean z of the code", mean_z(code, green, 3), ">", 4)

# %%
# Figure: across, g from 0 to 1 in ten bins; upwards, the share of tokens that are green. A curve, the
# formula for delta = 2; dots for the novel and for the code; and a dashed diagonal, where no mark would
# be.
_, ax = plt.subplots(figsize=(5, 3.2))
line = torch.linspace(0, 1, 101)
ax.plot(line, line * math.exp(2) / (line * math.exp(2) + 1 - line), color="0.3", label="formula")
ax.plot([0, 1], [0, 1], "--", color="0.6", label="no mark")
for (name, (g, is_green)), colour in zip(sets.items(), COLOURS):
    bins = (10 * g).long().clamp(max=9)
    for k in range(10):
        inside = bins == k
        label = name if k == 0 else None
        ax.scatter(g[inside].mean(), is_green[inside].double().mean(), color=colour, s=20, label=label)
ax.set(xlabel="g, without the mark", ylabel="green with the mark")
ax.legend();

# %% [markdown]
# <details><summary>Answer</summary>
#
# Nearly. The model is sure of 58 % of the code's bytes, and of 48 % of the novel's. But both lie on the formula's
# curve: where the coder has a choice, it is marked in full. What cannot be marked is a text that leaves no choice: a
# date, a sum.
# </details>
#
# ## Four attacks on a text
#
# Here each of 24 texts has a key of its own, so that the intervals contain the luck of keys.

# %%
keys = torch.stack([green_lists(256, 0.5, key) for key in range(100, 124)])   # (24, 256, 256)
starts = [austen[9_000 * k + 777:9_000 * k + 841].long() for k in range(24)]

def own_keys(logits, so_far):
    lists = list_numbers(so_far[:, -3:], 256, width=3)[:, 0]      # (24,)
    return logits + 2.0 * keys[torch.arange(24), lists]

ours = generate(gpt, starts, 300, generator=seeded(3), processor=own_keys)                    # (24, 300)

def found_of(texts, keys=keys):
    """How many of the texts are found, each with its key."""
    return sum(is_found(*count_green(text, key, 3)) for text, key in zip(texts, keys))

text_claims = {"untouched": found_of(ours)}
claim("texts of 300 bytes found, of 24", text_claims["untouched"], ">=", 22)

# %% [markdown]
# ### Rewriting
#
# A model without a mark writes some words anew, seeing what stood before. **Write down a guess:** if 30 % of the words
# change, how many texts are still found?

# %%
def rewrite(text, share, generator):
    words = decode(text).split(" ")
    order = torch.randperm(len(words) - 1, generator=generator) + 1
    chosen = order[:round(share * len(words))].tolist()
    before = [encode(" ".join(words[:i]) + " ")[-48:] for i in chosen]
    written = generate(gpt, before, 12, generator=generator)      # (number of chosen words, 12)
    for i, new in zip(chosen, written):
        words[i] = decode(new).split(" ")[0]
    return encode(" ".join(words))

generator = seeded(4)
rewritten = {share: [rewrite(text, share, generator) for text in ours] for share in (0.1, 0.3, 0.6)}
print("before:", decode(ours[0][:90]).replace("\n", " "))
print("after: ", decode(rewritten[0.3][0][:90]).replace("\n", " "))
shares = [0.0, 0.1, 0.3, 0.6]
hits = [text_claims["untouched"]] + [found_of(rewritten[share]) for share in shares[1:]]
text_claims["30 % of words anew"] = hits[2]
text_claims["60 % of words anew"] = hits[3]
claim("texts found after 30 % of the words were written anew, of 24", hits[2], ">", 8)
claim("after 60 %", hits[3], "<", hits[2])

# %%
# Figure: the share of 24 texts that are found, over the share of words that were written anew, 0 to 60 %,
# with Wilson intervals.
_, ax = plt.subplots(figsize=(5, 2.8))
for share, hit in zip(shares, hits):
    middle, low, high = wilson(hit, 24)
    ax.errorbar(share, middle, [[middle - low], [high - middle]], fmt="o", color=COLOURS[0], capsize=3)
ax.set(xlabel="share of words written anew", ylabel="texts found", ylim=(-0.03, 1.03));

# %% [markdown]
# <details><summary>Answer</summary>
#
# Most: what was not touched still shows the mark. A wide mark suffers more, because a changed letter also spoils the
# lists of the next three. So width is a trade: large against running out of coins and against theft (below), small
# against rewriting.
# </details>
#
# ### Mixing, and another key
#
# Put 300 marked bytes into 1,500 of Austen's, and the mark is thinned out. A reader who suspects this looks through
# windows of 300 bytes, and must pay: whoever looks $m$ times finds something up to $m$ times as often by chance, so
# each window needs a false alarm below 1 % / $m$.

# %%
def windows_find(text, key, length=300, step=50):
    places = range(0, len(text) - length + 1, step)
    rates = [false_alarm(*count_green(text[i:i + length], key, 3), 0.5) for i in places]
    return min(rates) < 0.01 / len(rates)

mixed = []
for k, text in enumerate(ours):
    human = austen[200_000 + 1_500 * k:201_500 + 1_500 * k].long()
    mixed.append(torch.cat([human[:700], text, human[700:]]))
text_claims["1 part in 6, whole"] = found_of(mixed)
text_claims["1 part in 6, windows"] = sum(windows_find(text, key) for text, key in zip(mixed, keys))
text_claims["another's key"] = found_of(ours, keys.roll(1, 0))
for name in list(text_claims)[3:]:
    print(f"{name:22} {text_claims[name]:2} of 24")
claim("found by windows and not in the whole, of 24",
      text_claims["1 part in 6, windows"] - text_claims["1 part in 6, whole"], ">", 5)
claim("found with somebody else's key, of 24", text_claims["another's key"], "<=", 2)

# %% [markdown]
# ### Theft
#
# A thief collects marked text and counts: after "t", which letters are more frequent than in ordinary English? Those he
# takes for green. **Write down a guess:** with 8,000 marked bytes, in how many of 10 texts that he writes himself will
# the owner find her own mark?

# %%
def followers(parts):
    """How often each byte follows each other one.  -> (256, 256)"""
    table = torch.zeros(256, 256)
    for part in parts:
        table.index_put_((part[:-1], part[1:]), torch.ones(len(part) - 1), accumulate=True)
    return table

usual = followers([load_text("austen").train[:500_000].long()])
usual = usual / usual.sum(1, keepdim=True).clamp(min=1)
finds = {}
for width, collected in ((1, texts), (3, wide)):                  # 20 texts of 400 bytes each
    counts = followers(collected)
    guess = counts > counts.sum(1, keepdim=True) * usual          # (256, 256): more often than in English
    forged = generate(gpt, starts[:10], 400, generator=seeded(5), processor=favouring(guess, 4.0))
    finds[width] = sum(is_found(*count_green(text, green, width)) for text in forged)
claim("forgeries in which the owner finds her mark, of 10, width 1", finds[1], ">=", 7)
claim("the same, width 3", finds[3], "<=", 3)

# %% [markdown]
# <details><summary>Answer</summary>
#
# In most, at width 1. So "it holds our mark" never proves "we wrote it". With width 3 this thief fails; one who counts
# runs of four tokens in more text succeeds, as the paper on watermark stealing shows for real models.
# </details>
#
# ## Pictures: a pattern in the noise
#
# The flow makes a picture from noise $\varepsilon$. Let the maker choose a part of it. Noise, too, is a sum of waves:
# `fft2` takes squares apart as lesson 77 did with sounds, into a complex number for each wave; we put the slowest in
# the middle. At distances of 1 to 12 from there, the real parts become the numbers of a **key**. Then the flow draws
# as always. In `kept` are 200 pictures with each kind of mark, and 200 from the same noise without.

# %%
from functools import partial

from course_lib.diffusion import autoguided
from course_lib.flow import backwards, midpoint
from course_lib.watermark import (free_key, key_p_value, ring_key, ring_p_value, rings, spoil,
                                  with_ring)

flow = load_checkpoint("flow")
network = flow.network
where = rings(28, 28, 1, 12)                                      # (28, 28) bool
key = free_key(where, seeded(100))                                # (28, 28), as symmetric as real noise
noise = torch.randn(40, 1, 28, 28, generator=seeded(0))

def frequencies(noise):
    return torch.fft.fftshift(torch.fft.fft2(noise[:, 0]), dim=(1, 2)).real   # (n, 28, 28)

def my_mark(noise):
    spectrum = torch.fft.fftshift(torch.fft.fft2(noise[:, 0]), dim=(1, 2))    # (n, 28, 28), complex
    real = torch.where(where, key, spectrum.real)
    changed = torch.complex(real, spectrum.imag)
    return torch.fft.ifft2(torch.fft.ifftshift(changed, dim=(1, 2))).real[:, None]

with_key = my_mark(noise)
assert_close(with_key, with_ring(noise, key, where), atol=1e-4, rtol=1e-4)

# %%
# Figure: four squares: noise; the real parts of its frequencies, 0 in the middle; the same with the key
# between two circles; and the noise that belongs to it. All four look like noise.
_, axes = plt.subplots(1, 4, figsize=(9, 2.5))
images = {"noise": noise[0, 0], "its frequencies": frequencies(noise)[0],
          "with the key": frequencies(with_key)[0], "noise again": with_key[0, 0]}
for ax, (title, image) in zip(axes, images.items()):
    ax.imshow(image, cmap="gray")
    ax.set(xticks=[], yticks=[], title=title)
for ax, radius in ((axes[1], 1), (axes[1], 12), (axes[2], 1), (axes[2], 12)):
    ax.add_patch(plt.Circle((14, 14), radius, fill=False, color=COLOURS[1]))

# %% [markdown]
# ### The way back
#
# A flow can be walked backwards, as in lesson 72. The finder knows neither the label nor that guidance was used, and
# asks the plain network. **Write down a guess:** which frequencies of the noise will come back, the low ones or the
# high?

# %%
def my_noise_behind(pictures, steps=6):
    def minus(x, t):
        return -network(x, 1 - t)                                 # no label
    return midpoint(minus, 2 * pictures - 1, steps)

plain, free = kept.of("plain")[:40], kept.of("free")[:40]         # both from the noise above
behind_plain = my_noise_behind(plain)
behind_free = midpoint(backwards(network), 2 * free - 1, 6)       # the library's, the same

def correlation(a, b):
    return torch.corrcoef(torch.stack([a.flatten(), b.flatten()]))[0, 1].item()

back = []                                                         # for each distance from the middle
for d in range(14):
    ring = rings(28, 28, max(0, d - 0.5), min(13, d + 0.5))
    back.append(correlation(frequencies(noise)[:, ring], frequencies(behind_plain)[:, ring]))
claim("correlation of true and found noise, all of it", correlation(noise, behind_plain), "<", 0.7)

# %%
# Figure: a curve over the distance of a frequency from the middle, 0 to 13: the correlation of the noise
# that was found with the noise that had been there. The distances that hold the key are shaded.
_, ax = plt.subplots(figsize=(5.5, 2.8))
ax.plot(range(14), back, "o-")
ax.axvspan(1, 12, color="0.92")
ax.text(6, 0.03, "the key is here", ha="center")
ax.set(xlabel="distance from frequency 0", ylabel="correlation", ylim=(0, 1));

# %% [markdown]
# <details><summary>Answer</summary>
#
# All about alike, with a correlation of 0.4 to 0.5 (only at distance 1 it is half of that). The background of a digit
# is empty whatever noise was there, and label and guidance have pushed the picture about. But a test adds up many
# agreements.
# </details>
#
# ### How near is near?
#
# Add up the squared distances between the found numbers and the key's. The probability that white noise comes as near
# is the **p-value**. It has a formula (the non-central chi-squared distribution), which we check with 4,000 white
# noises.

# %%
distance_p = ring_p_value(behind_plain, key, where)               # (40,)
white = frequencies(torch.randn(4_000, 1, 28, 28, generator=seeded(6)))[:, where]
nearer = []
for picture in behind_plain:
    its_own = (frequencies(picture[None])[0, where] - key[where]).square().sum()
    others = (picture.std() * white - key[where]).square().sum(1)             # as loud as this one
    nearer.append((others < its_own).double().mean())
difference = (torch.stack(nearer) - distance_p).abs().max()
claim("largest difference of p by trying and by formula", difference, "<", 0.04)
marked_p = ring_p_value(behind_free, key, where)
claim("pictures with the mark found at 1 %, of 40", (marked_p < 0.01).sum(), ">=", 36)
claim("pictures without it, of 40", (distance_p < 0.01).sum(), "<=", 4)

# %%
labels = torch.arange(40) % 10                                    # what if the finder knew more?
with_label = midpoint(backwards(partial(network, y=labels)), 2 * free - 1, 6)
exact_way = autoguided(partial(network, y=labels), flow.weak, flow.config.guidance)
with_guidance = midpoint(backwards(exact_way), 2 * free - 1, 6)
for name, behind in (("no label", behind_free), ("label", with_label), ("label, guidance", with_guidance)):
    values = ring_p_value(behind, key, where)
    print(f"{name:16} correlation with the true noise {correlation(behind, with_key):.2f}"
          f"   found {(values < 0.01).sum().item()} of 40   median p {values.median().item():.0e}")

# %% [markdown]
# Knowing more helps little.
#
# ## Break it: a little noise
#
# Pictures *without* a mark get a little noise, of deviation 0.2. **Write down a guess:** in how many of 40 is the mark
# found?

# %%
grainy = my_noise_behind(spoil(plain, "noise", 0.2, seeded(7)))
accused = (ring_p_value(grainy, key, where) < 0.01).sum()
claim("innocent pictures found, of 40", accused, ">", 3)

from scipy.stats import t as student

row, column = torch.meshgrid(torch.arange(28), torch.arange(28), indexing="ij")
half = where & ((row > 14) | ((row == 14) & (column > 14)))       # one of each pair of mirror images

def my_key_p(noise):
    parts = frequencies(noise)[:, half]                           # (n, m)
    r = parts @ key[half] / (parts.norm(dim=1) * key[half].norm())            # (n,) a correlation
    dims = half.sum() - 1
    return torch.from_numpy(student.sf(r * (dims / (1 - r**2)).sqrt(), dims))

assert_close(my_key_p(grainy), key_p_value(grainy, key, where), atol=1e-4, rtol=1e-3, check_dtype=False)
claim("innocent pictures found by correlation, of 40", (my_key_p(grainy) < 0.01).sum(), "<=", 3)

# %% [markdown]
# <details><summary>Answer</summary>
#
# In 8, where less than one was promised. The noise behind a spoilt picture is not white: at the key's frequencies it
# is weak, and so near to *every* key. The formula was right, and its assumption was not.
# </details>
#
# **Repaired:** `my_key_p` asks for the *correlation*. A key of free numbers is a random direction, so whatever the
# noise is, among all keys the correlation has Student's distribution. As with texts, the promise holds over keys, for
# any picture.
#
# ### What befalls a picture
#
# Pictures are cut, turned, compressed. One attack is made on purpose: **washing** puts a picture back to the time $t$
# on a road to fresh noise, and lets the flow draw the rest.
#
# And the finder has a trick. At $t = 1$ the network expects a clean digit, further back it expects noise. So he makes
# the picture fainter by a half, and walks back from $t = 1/2$.

# %%
def washed(pictures, t, generator, steps=6):
    eps = torch.randn(pictures.shape, generator=generator)
    x = (1 - t) * eps + t * (2 * pictures - 1)
    def rest(x, s):                                               # s from 0 to 1 is the time from t to 1
        return (1 - t) * network(x, t + (1 - t) * s)
    return (midpoint(rest, x, steps) / 2 + 0.5).clamp(0, 1)

def noise_behind(pictures, start=0.5, steps=6):
    def minus(x, s):                                              # s from 0 to 1: the time from start to 0
        return -start * network(x, start * (1 - s))
    return midpoint(minus, start * (2 * pictures - 1), steps)

assert_close(noise_behind(free, start=1.0), behind_free, atol=1e-3, rtol=1e-3)
ways = [("noise", 0.2), ("blur", 1.0), ("crop", 1), ("crop", 4), ("turn", 5), ("turn", 20),
        ("jpeg", 20)]
spoilt = {f"{how} {strength}": spoil(free, how, strength, seeded(9)) for how, strength in ways}
spoilt["wash 0.5"] = washed(free, 0.5, seeded(9))

# %%
# Figure: nine rows of eight digits: as they are; with noise of deviation 0.2; blurred by 1 pixel; one
# pixel, and four, cut off on each side; turned by 5 and by 20 degrees; as JPEG of quality 20; washed from
# t = 0.5.
strip({"as it is": free[:8]} | {name: pictures[:8] for name, pictures in spoilt.items()});

# %% [markdown]
# **Write down a guess:** which of these does the mark survive? The recipe `part8_marks.py` tried five keys with 40
# pictures each: keys of free numbers, and keys of **rings**, equal all around as in the paper, so that they can be
# turned. In the last column are pictures without a mark; *levels 2* leaves black and white alone.

# %%
print("found at 1 %, of 200    free, whole way     free, half way    rings, half way     without")
for name, by in trials.items():
    columns = [by["whole way"]["free"], by["half way"]["free"], by["half way"]["rings"]]
    shares = ["{:.2f} ({:.2f} to {:.2f})".format(*wilson(sum(hits), 200)) for hits in columns]
    print(f"{name:10} {'  '.join(shares):>75}   {sum(by['half way']['plain, free']) / 200:.3f}")
live = (key_p_value(noise_behind(spoilt["jpeg 20"]), key, where) < 0.01).sum().item()
claim("found after JPEG of quality 20 here, of 40, and not by the recipe",
      live - trials["jpeg 20"]["half way"]["free"][0], "<", 5)

# %% [markdown]
# <details><summary>Answer</summary>
#
# Half-way, free numbers survive light noise and blur, a pixel cut off, five degrees and even bad JPEG in most cases;
# the whole way, few do. Four pixels or twenty degrees end it, for rings too. Washing removes a third.
# </details>
#
# ### Whose key, and can it be stolen?
#
# Is it ours, or another maker's? We test pictures against 100 strange keys of the same kind. And the thief is back:
# he has the network and 40 marked pictures. All hold the same numbers in their noise, so he walks all of them back
# and takes the mean.

# %%
behind = {"free": noise_behind(free), "rings": noise_behind(kept.of("rings")[:40])}
confused = {}
for kind, make in {"free": free_key, "rings": ring_key}.items():
    p = torch.stack([key_p_value(behind[kind], make(where, seeded(k)), where) for k in range(200, 300)])
    confused[kind] = (p < 0.01).double().mean().item()            # of 100 keys and 40 pictures
claim("share of strange keys found, free numbers", confused["free"], "<", 0.03)
claim("share of strange keys found, rings", confused["rings"], ">", 0.02)

shared = frequencies(behind_free).mean(0)                         # what all 40 have in common
stolen_key = torch.where(where, shared, torch.zeros(()))
stolen_key = stolen_key * key[where].std() / stolen_key[where].std()          # as loud as a key should be
forged = with_ring(torch.randn(20, 1, 28, 28, generator=seeded(8)), stolen_key, where)
forged_pictures = (midpoint(partial(network, y=labels[:20]), forged, 8) / 2 + 0.5).clamp(0, 1)
forged_found = (key_p_value(noise_behind(forged_pictures), key, where) < 0.01).sum().item()
claim("correlation of stolen and true key", correlation(stolen_key[where], key[where]), ">", 0.3)
claim("forged pictures in which the owner finds her mark, of 20", forged_found, ">=", 14)

# %% [markdown]
# Rings are a dozen numbers, and a dozen numbers often look alike. Free numbers tell keys apart, but no key is safe from
# a thief who can walk the flow backwards.
#
# ### The price
#
# Are marked pictures worse, or less varied? The judge of lesson 12 compares all 200 of each kind with 200 test digits.

# %%
from course_lib.metrics import control_accuracy, frechet_distance, judge_features

real = judge_features(load("digits").test.x[:200])
for name in ("plain", "free", "rings"):
    features = judge_features(kept.of(name))
    distance, low, high = bootstrap(frechet_distance, features, real, n=50)
    print(f"{name:6} distance {distance:5.2f} ({low:5.2f} to {high:5.2f})")
    right = control_accuracy(None, kept.of(name), labels.repeat(5))
    claim("pictures that show their label", right, ">", 0.93)

# %% [markdown]
# The distances differ by far less than their intervals: 200 pictures cannot show a small price. One price is certain:
# all pictures with a key share a part of their noise.
#
# ## A signature
#
# The third trace is not in the picture at all. It needs a pair of keys: the secret one signs, and with the public one
# everybody can check. What is signed are the pixels and the claims about them: here, of an emoji.

# %%
# Figure: three emoji: as it was signed; the same with one pixel changed by one grey level, which nobody
# can see; and the difference, enlarged 255 times, one bright dot.
from course_lib.data.emoji import load_emoji
from course_lib.watermark import new_keys, sign, verify

emoji = load_emoji().train
picture, other_picture = emoji.x[0, 0], emoji.x[1, 0]             # (3, 32, 32)
secret, public = new_keys()
claims = {"made by": "the flow of lesson 84", "on": "2026-11-30"}
signature = sign(picture, claims, secret)                         # 64 bytes

tampered = picture.clone()
tampered[0, 16, 16] += 1 / 255 if tampered[0, 16, 16] < 0.5 else -1 / 255     # one step of one colour
difference = (tampered - picture).abs() * 255
_, axes = plt.subplots(1, 3, figsize=(7, 2.5))
titles = ("as it was signed", "one pixel, one grey level", "difference × 255")
for ax, title, image in zip(axes, titles, (picture, tampered, difference)):
    ax.imshow(image.permute(1, 2, 0))
    ax.set(xticks=[], yticks=[], title=title)

# %%
checks = {
    "as it was signed": verify(picture, claims, signature, public),
    "one pixel, one grey level": verify(tampered, claims, signature, public),
    "JPEG of quality 95": verify(spoil(picture[None], "jpeg", 95)[0], claims, signature, public),
    "another date": verify(picture, claims | {"on": "2025-01-01"}, signature, public),
    "put under another picture": verify(other_picture, claims, signature, public),
    "somebody else's public key": verify(picture, claims, signature, new_keys()[1]),
}
for name, valid in checks.items():
    print(f"{name:28} {valid}")
assert list(checks.values()) == [True, False, False, False, False, False]

valid = 0
for place in range(0, 3072, 4):                                   # one step of one colour, at 768 places
    changed = picture.flatten().clone()
    changed[place] += 1 / 255 if changed[place] < 0.5 else -1 / 255
    valid += verify(changed.view(3, 32, 32), claims, signature, public)
claim("changed pictures with a valid signature, of 768", valid, "==", 0)

# %% [markdown]
# ### Break it: strip, and lie
#
# Nobody need forge a signature: it can be *left away*. And a key signs whatever its owner wishes, true or not.
#
# So **the absence of a signature proves nothing**: what was made before signatures, by somebody else, or passed on
# through a program that throws them away has none either. If half of the honest pictures are unsigned, one picture in
# ten is a lie, and liars strip all of theirs, what does "unsigned" tell?

# %%
screenshot = picture.clone()                                      # the pixels, and nothing beside them
assert torch.equal(screenshot, picture)

lie = {"made by": "a camera, no model was involved"}
my_secret, my_public = new_keys()
assert verify(picture, lie, sign(picture, lie, my_secret), my_public)         # valid, and false

unsigned = 0.9 * 0.5 + 0.1 * 1.0
print(f"unsigned pictures that are honest: {0.9 * 0.5 / unsigned:.2f}")

# %% [markdown]
# ## Which claims survive?
#
# Each line is a claim and what happens before it is tested; the number says how often the claim is made, at a
# false-alarm rate of 1 %, with Wilson's interval. Above the line the mark should be found, below it should not.

# %%
should, should_not = {}, {}
for name in list(text_claims)[:5]:
    should[f"text: {name}"] = wilson(text_claims[name], 24)
for name in ("as it is", "noise 0.2", "blur 1.0", "crop 1", "crop 4", "turn 20", "jpeg 20", "wash 0.5"):
    should[f"picture: {name}"] = wilson(sum(trials[name]["half way"]["free"]), 200)
should["signature: as it is"] = (1.0, 1.0, 1.0)                   # exact: no statistics
should["signature: JPEG, crop, stripped"] = (0.0, 0.0, 0.0)
should_not["text: another's key"] = wilson(text_claims["another's key"], 24)
should_not["text: stolen lists, width 1"] = wilson(finds[1], 10)
should_not["picture: no mark"] = wilson(sum(trials["as it is"]["half way"]["plain, free"]), 200)
should_not["picture: stolen key"] = wilson(forged_found, 20)
should_not["signature: one pixel changed"] = (0.0, 0.0, 0.0)

# %%
# Figure: a list of claims with a dot and an interval each, from 0 to 1: how often the claim is made.
# Above, what should be found; below a line, what should not.
_, ax = plt.subplots(figsize=(8, 5.5))
lines = list(should.items()) + list(should_not.items())
for place, (name, (share, low, high)) in enumerate(lines):
    reach = [[max(0, share - low)], [max(0, high - share)]]
    ax.errorbar(share, -place, xerr=reach, fmt="o", color=COLOURS[name in should_not], capsize=3)
ax.axhline(0.5 - len(should), color="0.6")
ax.set(yticks=[-place for place in range(len(lines))], yticklabels=[name for name, _ in lines],
       xlabel="how often the claim is made", xlim=(-0.03, 1.03));

# %% [markdown]
# - "**This text holds our mark**" survives copying, mixing and light rewriting, if the text is long and free.
# - "**This picture holds our mark**" survives noise, blur and compression if the finder starts half-way, and not
#   cropping or turning.
# - "**We wrote it**" does not survive theft: a mark that is found says that somebody knew the key.
# - "**We signed exactly this**" cannot be forged; any change, or a screenshot, ends it.
# - "**There is no mark, so a person made it**" is never supported.
#
# **What this does not show.** Our tokens are bytes, our model writes badly, our pictures are small digits. Real
# vocabularies leave more choice, real pictures more room, and real detectors are trained. The thieves knew the network,
# or human text by the same author. And with 1 %, whoever tests a million innocent texts accuses ten thousand.
#
# ## In the wild
#
# `transformers` has green lists as one argument of `generate`; its detector counts repeated pairs each time unless told
# otherwise. SynthID-Text, in Google's Gemini, replaces the lists by a tournament among candidates, which can be set so
# that the mean over keys leaves the distribution as it was. The C2PA standard ("Content Credentials") signs claims
# about a file and its history.
#
# ```python
# from transformers import AutoModelForCausalLM, AutoTokenizer, WatermarkDetector, WatermarkingConfig
#
# tokenizer = AutoTokenizer.from_pretrained("openai-community/gpt2")
# model = AutoModelForCausalLM.from_pretrained("openai-community/gpt2").to("cuda")
# mark = WatermarkingConfig(greenlist_ratio=0.5, bias=2.0, context_width=1)
# inputs = tokenizer("It is a truth universally", return_tensors="pt").to("cuda")
# text = model.generate(**inputs, do_sample=True, max_new_tokens=200, watermarking_config=mark)
# detector = WatermarkDetector(model.config, "cuda", mark, ignore_repeated_ngrams=True)
# print(detector(text, return_dict=True).z_score)
# ```

# %% [markdown]
# ## Recap
#
# 1. A green list adds $\delta$ to the logits of tokens that a secret chooses; whoever knows the secret counts.
# 2. Its false alarms are a binomial tail, exact over keys if each coin counts once; a single key needs an audit.
# 3. Marks live on choice and length: facts and short texts have little of either.
# 4. A key in the noise is found by walking the flow backwards, best from half-way.
# 5. A signature is exact and fragile. Its absence, like that of a mark, proves nothing.
#
# **What we left out.** Marks that leave the distribution as it was, that carry a message, or that lie in a model's weights.
#
# **Exercises:** [84_watermarks](../exercises/84_watermarks/84_watermarks.ipynb). One more: is $\gamma = 1/4$ found
# earlier at the same price in bits?
# **Next**, [lesson 85](85_detecting_fakes.ipynb): telling real from generated, and what such a verdict is worth.
#
# ## Read on
#
# - J. Kirchenbauer, J. Geiping, Y. Wen, J. Katz, I. Miers & T. Goldstein, *A watermark for large language models* (2023),
#   [arXiv:2301.10226](https://arxiv.org/abs/2301.10226): green lists. *On the reliability of watermarks for large language models*
#   (2023), [arXiv:2306.04634](https://arxiv.org/abs/2306.04634): attacks.
# - Y. Wen, J. Kirchenbauer, J. Geiping & T. Goldstein, *Tree-ring watermarks* (2023),
#   [arXiv:2305.20030](https://arxiv.org/abs/2305.20030): the key in the noise.
# - N. Jovanović, R. Staab & M. Vechev, *Watermark stealing in large language models* (2024),
#   [arXiv:2402.19361](https://arxiv.org/abs/2402.19361), and P. Yang, H. Ci, Y. Song & M. Z. Shou, *Can simple averaging defeat
#   modern watermarks?* (2024), [arXiv:2406.09026](https://arxiv.org/abs/2406.09026): the two thieves.
# - H. Zhang et al., *Watermarks in the sand* (2023), [arXiv:2311.04378](https://arxiv.org/abs/2311.04378): why no mark withstands
#   everything. S. Dathathri et al., *Scalable watermarking for identifying large language model outputs*, Nature 634
#   (2024), [doi:10.1038/s41586-024-08025-4](https://doi.org/10.1038/s41586-024-08025-4): SynthID-Text. The [C2PA
#   specification](https://c2pa.org/specifications/specifications/2.1/specs/C2PA_Specification.html).
# - In the library: `watermark.py` (`favouring`, `count_green`, `false_alarm`, `with_ring`, `ring_p_value`, `spoil`, `sign`, `verify`),
#   `flow.py` (`backwards`).
