# %% [markdown]
# # 51 · Who looks at whom: attention
#
# A convolution sees its neighbours. But who is *it* in a sentence, and which earlier letter comes next in a sorted
# word? The answer may stand anywhere. **Attention** lets every element of a sequence look at all others, decide which
# of them matter, and take an average of what it finds there, in which those that matter count more. Language models,
# image generators and speech recognisers are stacks of this one step. We begin with six words that can be checked by
# hand, and end with a **transformer** that learns to copy, to reverse and to sort. These tasks were chosen because we
# know beforehand where it *ought* to look: the picture below shows it, and at the end the model's own maps look alike.
#
# **After this lesson you can**
# - write attention with heads and a mask in ten lines, and prove that it is PyTorch's;
# - say how a transformer knows the order of its input, and which way of telling it works on longer inputs;
# - expose the two classic bugs, a missing square root and a mask that leaks, before they cost you a week.
#
# **You need** lessons [11](11_softmax_and_mlp.ipynb) (softmax, cross-entropy) and [21](21_autoencoder.ipynb)
# (residual blocks, layer norm). **It takes** 60 minutes to read and half a minute to run. **How hard:** ••. All
# symbols are in the [table of symbols](symbols.ipynb).
#
# ## Set-up

# %%
import math

import matplotlib.pyplot as plt
import torch
from torch import nn
from torch.nn import functional as F
from torch.testing import assert_close

from course_lib.claims import claim
from course_lib.data import Batches
from course_lib.device import seed, seeded
from course_lib.plots import COLOURS, DIVERGING, curves, diagram
from course_lib.train import fit
torch.set_printoptions(precision=2, sci_mode=False)

# %% [markdown]
# A map of attention is a table: row = who looks, column = at whom, shade = how much. We draw many of them.

# %%
def show(ax, weights, rows, columns, title="", **imshow):
    """One attention map.  weights (T, S), a name for each row and column"""
    ax.imshow(weights, **(dict(vmin=0, vmax=1, cmap="Blues") | imshow))
    ax.set(xticks=range(len(columns)), yticks=range(len(rows)), title=title)
    ax.set_xticklabels(columns)
    ax.set_yticklabels(rows)
    ax.tick_params(length=0)

# %% [markdown]
# Here is the picture of the end, as it *should* be: not learned, but computed from the answer.

# %%
# Figure: three maps of 8 by 8 with one dark square in each row. For copy they form the falling diagonal,
# for reverse the rising one, for sort a scattered pattern with one square in every row and every column.
WORD = "computer"
SOURCE = {"copy": lambda x: torch.arange(8).expand_as(x),         # which letter of x is needed at t
          "reverse": lambda x: torch.arange(7, -1, -1).expand_as(x),
          "sort": lambda x: x.argsort(dim=-1)}                    # (..., 8) -> (..., 8)
code = torch.tensor([ord(c) - ord("a") for c in WORD])            # (8,)
fig, panels = plt.subplots(1, 3, figsize=(8, 2.9))
for ax, (task, source) in zip(panels, SOURCE.items()):
    where = source(code)                                          # (8,)
    show(ax, F.one_hot(where, 8), [WORD[s] for s in where], WORD, f"{task}: the right map")
panels[0].set_ylabel("letter to be written")
panels[1].set_xlabel("letter to be looked at");

# %% [markdown]
# To copy `computer` letter by letter, look at its first letter, then at the second; to reverse it, at the last one
# first; to sort it, at the `c`, then at the `e` in seventh place.
#
# ## Six words that can be checked by hand
#
# Our sentence is *the cat sat on the mat*. Each word is a vector of four numbers, invented by us: is it a **thing**, is
# it **living**, is it a **deed**, does it **link** other words?

# %%
words = "the cat sat on the mat".split()
meaning = {"the": [0, 0, 0, 1], "cat": [1, 1, 0, 0], "sat": [0, 0, 1, 0],
           "on": [0, 0, 0, 2], "mat": [1, 0, 0, 0]}
X = torch.tensor([meaning[w] for w in words]).float()             # (6, 4): thing, living, deed, link
X

# %% [markdown]
# ### A weighted average
#
# The simplest way to tell a word about the others: give it the average of all. As a matrix product, that is a table of
# weights $A$, every row of which sums to one, times $X$. Two extremes:
#
# - all weights $1/6$: everybody receives the same, and who is who is lost;
# - a single 1: an exact look-up, here of the second word.

# %%
A = torch.full((2, 6), 1 / 6)
A[1] = F.one_hot(torch.tensor(1), 6)
A @ X

# %% [markdown]
# Attention is everything between these two, and the weights come from the words themselves.
#
# ### Weights from likeness
#
# The dot product $x_t \cdot x_s$ is large where two vectors agree. Softmax turns a row of such **scores** into weights.
# By hand for *cat*: its score with itself is 2, with *mat* 1, with the four others 0. So its weights are proportional to
# $e^2 = 7.39$, $e^1 = 2.72$ and four times $e^0 = 1$, in total 14.11: it gives 0.52 to itself, 0.19 to *mat* and 0.07 to
# each of the rest.

# %%
scores = X @ X.T                                                  # (6, 6)
A = scores.softmax(dim=-1)                                        # (6, 6), rows sum to 1
claim("weight that cat gives to itself", A[1, 1], "<", 0.53)
claim("weight that cat gives to mat", A[1, 5], ">", 0.19)
A[1]

# %% [markdown]
# Likeness is not yet what we want. A verb wants to know *who* did it, and a cat is nothing like sitting. What a word
# looks for, what it offers, and what it hands over are three different things. So each word makes three vectors out of
# itself, with three matrices (here invented, later learned):
#
# - the **query** $q_t = W_q x_t$: what am I looking for?
# - the **key** $k_s = W_k x_s$: what can I be found by?
# - the **value** $v_s = W_v x_s$: what do I tell those who look at me?
#
# In our first head a deed looks for something living, and a linking word looks for a thing.

# %%
Wq = torch.tensor([[0.0, 0, 4, 0],                                # asks "living?"   if it is a deed
                   [0, 0, 0, 4]])                                 # asks "a thing?"  if it is a link
Wk = Wv = torch.tensor([[0.0, 1, 0, 0],                           # answers "living"
                        [1, 0, 0, 0]])                            # answers "a thing"
q, k, v = X @ Wq.T, X @ Wk.T, X @ Wv.T                            # 3 x (6, 2)
q @ k.T                                                           # (6, 6) scores

# %% [markdown]
# Read the third row: *sat* asks, and only *cat* answers. Now the whole formula, with the queries as rows of $Q$, the
# keys of $K$, the values of $V$ (`k.mT` swaps the last two axes of $K$):
#
# $$\text{attention}(Q, K, V) = \text{softmax}\!\Big(\frac{QK^\top}{\sqrt D}\Big)\,V$$
#
# $D$ is the number of entries of a query, here 2. Why the scores are divided by $\sqrt D$ is the first thing that we
# shall break.

# %%
def weights(q, k, mask=None):
    """(..., T, D), (..., S, D) -> (..., T, S).  mask (T, S): True = may look"""
    scores = q @ k.mT / math.sqrt(q.shape[-1])                    # (..., T, S)
    if mask is not None:
        scores = scores.masked_fill(~mask, -math.inf)             # e^-inf = 0: no weight at all
    return scores.softmax(dim=-1)

def attend(q, k, v, mask=None):
    """(..., T, D), (..., S, D), (..., S, E) -> (..., T, E)"""
    return weights(q, k, mask) @ v

claim("weight that sat gives to cat", weights(q, k)[2, 1], ">", 0.75)
attend(q, k, v)                                                   # (6, 2): living?  a thing?

# %% [markdown]
# *sat* has learned that something living did it (0.77), *on* that there are things around. But both *the* receive
# exactly the same, and each looks at *cat* and *mat* alike: nothing says which comes next.
#
# ### No looking ahead
#
# A model that writes has only what was written so far. So word $t$ may look at itself and at what came before: the
# mask is **causal**. All other scores become $-\infty$ *before* the softmax, so that the rest still sums to one.

# %%
past = torch.ones(6, 6, dtype=torch.bool).tril()                  # row t: True up to column t
print(weights(q, k, past))

# %% [markdown]
# The first word can only look at itself. *on* can now find only the cat.
#
# ### Several heads
#
# One softmax makes one average. To look for two things at once, take two **heads**, each with matrices of its own, and
# lay their findings side by side. In our second head, things ask what was done, and only deeds answer.

# %%
Wq2 = torch.tensor([[4.0, 0, 0, 0], [0, 0, 0, 0]])                # asks "what deed?" if it is a thing
Wk2 = Wv2 = torch.tensor([[0.0, 0, 1, 0], [0, 0, 0, 1]])          # answers "a deed", "a link"
q2, k2, v2 = X @ Wq2.T, X @ Wk2.T, X @ Wv2.T                      # 3 x (6, 2)
two = torch.cat([attend(q, k, v, past), attend(q2, k2, v2, past)], dim=-1)                     # (6, 4)
two

# %%
# Figure: four maps of six words. Head 1 without mask: sat looks at cat, both the and on share between cat
# and mat, the rest is even. Head 2 without mask: cat and mat look at sat. With the causal mask the upper
# right triangle is empty; on and the second the now look mostly at cat, and cat, which cannot see sat,
# shares between the and itself.
fig, panels = plt.subplots(1, 4, figsize=(10, 2.9))
maps = {"head 1": weights(q, k), "head 2": weights(q2, k2),
        "head 1, causal": weights(q, k, past), "head 2, causal": weights(q2, k2, past)}
for ax, (name, w) in zip(panels, maps.items()):
    show(ax, w, words, words, name)
    ax.tick_params(axis="x", rotation=60)
panels[0].set(ylabel="who looks", xlabel="at whom");

# %% [markdown]
# With the mask the upper right triangle is empty: *cat* cannot see *sat* any more, and shares its look between what is
# left.
#
# In practice all queries, keys and values come out of *one* matrix product, and a batch of B sequences goes through at
# once. Four axes, (B, heads, T, D), and the same function `attend`, which never cared how many axes stand in front.

# %%
def many_heads(x, W, n_head, mask=None):
    """x (B, T, C), W (3C, C): all queries, then all keys, then all values.  -> (B, T, C)"""
    B, T, C = x.shape
    q, k, v = (x @ W.T).view(B, T, 3, n_head, C // n_head).permute(2, 0, 3, 1, 4)  # 3 x (B, n_head, T, D)
    y = attend(q, k, v, mask)                                     # (B, n_head, T, D)
    return y.transpose(1, 2).reshape(B, T, C)                     # heads side by side

W = torch.cat([Wq, Wq2, Wk, Wk2, Wv, Wv2])                        # (12, 4)
assert_close(many_heads(X[None], W, 2, past)[0], two)             # the sentence again

# %% [markdown]
# ## Prove it
#
# **It is the attention of PyTorch**, in its values and in its gradients, with and without mask, for a batch of 3.

# %%
q4, k4, v4 = (torch.randn(3, 2, 6, 5, generator=seeded(i)).double() for i in range(3))  # (B, n_head, T, D)
for mask in (None, past):
    both = []
    for f in (attend, F.scaled_dot_product_attention):
        inputs = [t.clone().requires_grad_() for t in (q4, k4, v4)]
        y = f(*inputs, mask)
        both.append([y, *torch.autograd.grad(y.sin().sum(), inputs)])
    assert_close(*both)

# %% [markdown]
# **It is blind to order.** Shuffle the words and the outputs are shuffled in the same way, no more. For if $P$ permutes
# the rows, the scores become $PQ(PK)^\top = P\,(QK^\top)P^\top$, softmax works row by row, and $P A P^\top P V = P A V$.
# One calls this *permutation equivariance*. For us it means that *the cat sat on the mat* and *the mat sat on the cat*
# are the same **bag of words**: all words receive what they received before.

# %%
swap = torch.tensor([0, 5, 2, 3, 4, 1])                           # cat <-> mat
print(" ".join(words[i] for i in swap))
assert_close(many_heads(X[swap][None], W, 2), many_heads(X[None], W, 2)[:, swap])
shuffle = torch.randperm(6, generator=seeded(0))
x = torch.randn(3, 6, 4, generator=seeded(1))
assert_close(many_heads(x[:, shuffle], W, 2), many_heads(x, W, 2)[:, shuffle])
moved = many_heads(x[:, shuffle], W, 2, past) - many_heads(x, W, 2, past)[:, shuffle]
claim("largest change of an output by the shuffle, with the causal mask", moved.abs().max(), ">", 0.1)

# %% [markdown]
# The causal mask breaks the symmetry a little: the third word sees three words. Remember this.
#
# **The future cannot change the past.** We ask the gradient, which cannot be deceived: by how much does output $t$
# change when input $s$ does? All these derivatives together are the *Jacobian*. Where one is exactly zero, nothing
# passes.

# %%
def receptive_field(f, T=12, C=8):
    """Size of the derivative of output t with respect to input s.  f: (1, T, C) -> (1, T, C); -> (T, T)"""
    x = torch.randn(T, C, generator=seeded(0))
    J = torch.autograd.functional.jacobian(lambda x: f(x[None])[0], x)                # (T, C, T, C)
    return J.pow(2).sum((1, 3)).sqrt()

def near(T, width):
    """May look at itself and the width - 1 before."""
    distance = torch.arange(T)[:, None] - torch.arange(T)
    return (distance >= 0) & (distance < width)

# %%
layers = [torch.randn(24, 8, generator=seeded(i)) * 0.5 for i in range(3)]

def stack(mask, n_layer):
    def f(x):
        for W in layers[:n_layer]:
            x = x + many_heads(x, W, 2, mask)
        return x
    return f

# %%
# Figure: four squares of 12 by 12, dark where an output depends on an input. No mask: full. Causal:
# exactly the lower triangle with the diagonal. A window of three: a band of three. Three layers of it: a
# band of seven.
everyone = torch.ones(12, 12, dtype=torch.bool)
settings = {"no mask": (everyone, 1), "causal": (everyone.tril(), 1), "window of 3": (near(12, 3), 1),
            "window of 3, three layers": (near(12, 3), 3)}
fields = {name: receptive_field(stack(*setting)) > 0 for name, setting in settings.items()}
fig, panels = plt.subplots(1, 4, figsize=(10, 2.7), sharey=True)
for ax, (name, seen) in zip(panels, fields.items()):
    ax.imshow(seen, cmap="Blues", vmin=0, vmax=1.3)
    ax.set(title=name, xlabel="input s", xticks=range(0, 12, 2), yticks=range(0, 12, 2))
panels[0].set_ylabel("output t")
assert torch.equal(fields["causal"], everyone.tril())
claim("inputs that the last output sees, one layer", fields["window of 3"][11].sum(), "==", 3)
three_layers = fields["window of 3, three layers"]
claim("inputs that the last output sees, three layers", three_layers[11].sum(), "==", 7)

# %% [markdown]
# Layers pass on what they have seen: with a window of 3, three layers see $1 + 3 \cdot 2 = 7$ places.
#
# ## Meet the library version
#
# `course_lib.transformer` has the same functions. Its mask may also be a *number* to be added to the scores; we shall
# need that at once.

# %%
import inspect

from course_lib.transformer import (Block, MultiHeadAttention, Transformer, TransformerConfig, alibi,
                                    attention, attention_maps, attention_weights, sinusoidal_positions)

print(inspect.getsource(attention_weights))
print(inspect.getsource(MultiHeadAttention.forward))

# %% [markdown]
# The module adds biases, and a last matrix (`proj`) that mixes what the heads found. With the same weights it equals
# ours, and `nn.MultiheadAttention` too (whose mask means the opposite: True = may *not* look).

# %%
mine = MultiHeadAttention(4, 2, bias=False)
theirs = nn.MultiheadAttention(4, 2, bias=False, batch_first=True)
with torch.no_grad():
    mine.qkv.weight.copy_(W)
    theirs.load_state_dict({"in_proj_weight": W, "out_proj.weight": mine.proj.weight})
assert_close(attention(q4, k4, v4, past), attend(q4, k4, v4, past))
assert_close(mine(x, past), many_heads(x, W, 2, past) @ mine.proj.weight.T)
assert_close(mine(x, past), theirs(x, x, x, attn_mask=~past)[0])

# %% [markdown]
# The elements of a sequence are called **tokens**: words, letters, pieces of an image. A **block** wraps attention,
# which moves information between tokens; then a small MLP works on each token alone. Both are *added* to what was
# there, as in lesson 21, after a layer norm that keeps sizes in hand. A **transformer** is an **embedding**
# (`nn.Embedding`: a table with a learned vector for each token), some blocks, and a linear layer that gives logits.

# %%
# Figure: a diagram. Tokens (B, T) go through the embedding, to which positions are added, into a block:
# layer norm and attention, added to the stream, then layer norm and MLP, added to the stream; after some
# blocks a layer norm and a linear layer give logits (B, T, words).
tokens_box = "tokens\n(B, T)"
embedding_box = "embedding\n+ positions"
stream_box = "stream\n(B, T, C)"
attention_box = "layer norm,\nattention"
mlp_box = "layer norm,\nMLP"
head_box = "layer norm,\nlinear"
logits_box = "logits\n(B, T, vocabulary)"
boxes = {tokens_box: (0, 1), embedding_box: (1, 1), stream_box: (2, 1), "plus": (3, 1), "plus ": (4, 1),
         head_box: (5, 1), logits_box: (6, 1), attention_box: (2.5, 0), mlp_box: (3.5, 0)}
arrows = [(tokens_box, embedding_box), (embedding_box, stream_box), (stream_box, "plus"),
          (stream_box, attention_box), (attention_box, "plus"), ("plus", "plus "), ("plus", mlp_box),
          (mlp_box, "plus "), ("plus ", head_box), (head_box, logits_box)]
networks = [embedding_box, attention_box, mlp_box, head_box]
diagram(boxes, arrows, {box: COLOURS[0] for box in networks});

# %% [markdown]
# What is between the stream and the second plus is one block; a transformer has several, one behind the other.

# %%
print(inspect.getsource(Block.forward))
print(inspect.getsource(Transformer.forward))

# %% [markdown]
# ## Where am I?
#
# A bag of words cannot be reversed. Four ways to deal with positions:
#
# - **none**: say nothing;
# - **learned**: add a trainable vector to the embedding of each place;
# - **sinusoidal** (Vaswani et al., 2017): add sines and cosines of $t$ at many speeds, like the hands of many clocks;
# - **ALiBi** (Press, Smith & Lewis, 2022): add nothing to the embedding, but subtract from the score of each pair
#   their distance, times a slope that differs from head to head.

# %%
# Figure: left, sinusoids for 64 positions as a picture, fast stripes on the left, slow ones on the right.
# Middle, dot product of the encodings of two positions: stripes parallel to the diagonal, darkest on it.
# Right, what ALiBi multiplies the weight of a token at distance 0 to 60 by, for four heads: from a steep
# fall within ten tokens to nearly flat.
P = sinusoidal_positions(64, 32)                                  # (64, 32): T, C
fig, (left, middle, right) = plt.subplots(1, 3, figsize=(10, 2.9))
left.imshow(P, cmap=DIVERGING, aspect="auto")
left.set(xlabel="column", ylabel="position t", title="sinusoidal")
middle.imshow(P @ P.T, cmap="Blues")
middle.set(xlabel="position s", ylabel="position t", title="dot products")
for h, bias in enumerate(alibi(4, 64)[:, -1].flip(-1)):           # seen from the last token, by distance
    right.plot(bias.exp(), label=f"slope 1/{4 ** (h + 1)}")
right.set(xlabel="distance t - s", ylabel="factor on the weight", title="ALiBi, 4 heads", ylim=(0, 1.02))
right.legend(fontsize=9, loc="center left", bbox_to_anchor=(1, 0.5), handlelength=1)
stripes = [(P @ P.T).diagonal(d) for d in range(64)]
spread = max(stripe.max() - stripe.min() for stripe in stripes)
claim("largest difference between two entries of a stripe", spread, "<", 1e-4, digits=6)
alibi(4, 6)[0]                                                    # head 1, slope 1/4

# %% [markdown]
# The stripes are exact: $\sin\omega t \sin\omega s + \cos\omega t\cos\omega s = \cos\omega(t - s)$, so a dot product
# of two encodings knows only the distance. A single head can therefore learn to look "three places back".
#
# ## Train: three tasks whose maps are known
#
# Each example is eight different letters, a start sign `>`, and the answer: `computer>cemoprtu`. The model is a causal
# transformer with one block and one head, so there is only one map to look at. At each place of the answer it must name
# the next letter. Its 16 inputs end with the last letter but one, since the last is never needed.

# %%
def dataset(task, n, generator):
    """idx (n, 16) what the model sees, y (n, 8) the answer, where (n, 8) the place that holds it"""
    x = torch.rand(n, 26, generator=generator).argsort(1)[:, :8]  # eight different letters
    where = SOURCE[task](x)
    y = x.gather(1, where)
    return torch.cat([x, torch.full((n, 1), 26), y[:, :-1]], dim=1), y, where

def loss_fn(model, idx, y):
    logits = model(idx)[:, -8:]                                   # (B, 8, 27) at the places of the answer
    return {"loss": F.cross_entropy(logits.flatten(0, 1), y.flatten())}

text = "abcdefghijklmnopqrstuvwxyz>"
idx, y, _ = dataset("reverse", 2, seeded(3))
for i in range(2):
    print("".join(text[c] for c in idx[i]), "->", "".join(text[c] for c in y[i]))

# %%
def train(task, positions="learned", steps=150):
    seed(0)
    model = Transformer(TransformerConfig(27, 16, n_layer=1, n_head=1, n_embd=64, positions=positions))
    idx, y, _ = dataset(task, 64 * steps, seeded(0))              # every example is new
    history = fit(model, loss_fn, Batches(idx, y), steps, lr=1e-2, warmup=20, decay=0.5, label=task)
    return model, history

trained = {task: train(task) for task in SOURCE}

# %% tags=["nbval-ignore-figure"]
# not compared: losses of models that were trained in this place
# Figure: the loss of the three tasks over 150 steps. All begin at log 27 = 3.3. Copy and reverse wait for
# ten steps, then drop to nearly zero by step 30; sort falls at once, but more slowly.
ax = curves({task: (range(1, 151), history["loss"]) for task, (_, history) in trained.items()}, smooth=999)
ax.axhline(math.log(27), color="0.6", lw=1)
ax.set(ylabel="loss (nats per letter)", ylim=(0, None));

# %% [markdown]
# Does it get *new* words right, and does it look where it ought to? We measure both: the share of right letters, and the
# **mass**, the attention that lies on the one right place, on average. A model that looks everywhere alike would
# have between 1/9 and 1/16.

# %%
@torch.no_grad()
def test(model, task):
    """(share of right letters, mass on the right place) of 1,000 new words"""
    idx, y, where = dataset(task, 1000, seeded(99))
    accuracy = (model(idx)[:, -8:].argmax(-1) == y).float().mean().item()
    w = attention_maps(model, idx)[0, :, 0, -8:]                  # (1000, 8, 16): layer 0, head 0
    return accuracy, w.gather(2, where[..., None]).mean().item()

for task, (model, _) in trained.items():
    accuracy, mass = test(model, task)
    claim(f"share of letters right, {task}", accuracy, ">=", 0.97)
    claim(f"attention on the right place, {task}", mass, ">=", {"sort": 0.5}.get(task, 0.95))

# %% tags=["nbval-ignore-figure"]
# not compared: maps of models that were trained in this place
# Figure: three learned maps for the word computer. Rows are the letters of the answer, columns the 16
# inputs: the word, the start sign, and the answer so far. Copy shows the falling diagonal in the left
# half, reverse the rising one, sort the scattered pattern of the first figure, with a fainter shade on the
# letters that come next in the alphabet.
fig, panels = plt.subplots(1, 3, figsize=(10.5, 2.5))
for ax, (task, (model, _)) in zip(panels, trained.items()):
    where = SOURCE[task](code)
    idx = torch.cat([code, torch.tensor([26]), code[where][:-1]])                              # (16,)
    written = [text[c] for c in code[where]]
    learned = attention_maps(model, idx[None])[0, 0, 0, -8:]      # (8, 16)
    show(ax, learned, written, [text[c] for c in idx], f"{task}, learned")
    ax.axvline(8.5, color="0.6", lw=0.8)
panels[0].set_ylabel("next letter")
panels[1].set_xlabel("input that is looked at (the word, then the answer so far)");

# %% [markdown]
# Compare with the first figure. Nobody ever told it where to look; only the letters were graded. Sorting is done by
# content and not by place: the last written letter asks for "the smallest letter above me", and those that come after
# it answer a little, too. The values of those are then outvoted.
#
# ## Predict, then turn one knob: how positions are told
#
# **Write down a guess** for each of the four encodings: which can reverse? Which can sort?

# %%
table = {}
for positions in ("none", "learned", "sinusoidal", "alibi"):
    for task in ("reverse", "sort"):
        again = trained[task] if positions == "learned" else train(task, positions)
        table[positions, task] = test(again[0], task)[0]
claim("share of letters right, sort without positions", table["none", "sort"], ">=", 0.97)
claim("share of letters right, reverse without positions", table["none", "reverse"], "<=", 0.5)
claim("share of letters right, reverse with sinusoids", table["sinusoidal", "reverse"], ">=", 0.9)
claim("share of letters right, reverse with ALiBi, one head", table["alibi", "reverse"], "<=", 0.6)

# %% [markdown]
# Sorting needs no positions: a bag of letters can be sorted. Reversing a bag is hopeless. And ALiBi, which only says
# "nearer counts more", cannot point at a far place. So is it useless? That depends on the question.
#
# ### A game of memory, and inputs that are longer than in training
#
# Four boxes, a to d, each hold a digit. A sequence is made of notes, `a=3`, and questions, `a?`; each is one token. The
# right answer is the *latest* note about that box. The models see sequences of 32 tokens, then are asked about 64, 128
# and 256.

# %%
def memory(n, T, generator=None):
    """idx (n, T): 8 * box + digit is a note, 32 + box a question.  y (n, T): the answer, or -100"""
    box = torch.randint(4, (n, T), generator=generator)
    digit = torch.randint(8, (n, T), generator=generator)
    ask = torch.rand(n, T, generator=generator) < 0.3
    t = torch.arange(T)
    notes = (box[:, :, None] == box[:, None]) & ~ask[:, None] & (t < t[:, None])              # (n, T, T)
    latest = (notes * (t + 1)).amax(2) - 1                        # (n, T), -1: no note so far
    y = torch.where(ask & (latest >= 0), digit.gather(1, latest.clamp(min=0)), -100)
    return torch.where(ask, 32 + box, 8 * box + digit), y

idx, y = memory(1, 12, seeded(2))
name = [f"{'abcd'[i // 8]}={i % 8}" if i < 32 else f"{'abcd'[i - 32]}?" for i in range(36)]
print(" ".join(name[i] + (f"[{a}]" if a >= 0 else "") for i, a in zip(idx[0], y[0])))

# %%
def memory_loss(model, idx, y):
    return {"loss": F.cross_entropy(model(idx)[..., :8].flatten(0, 1), y.flatten())}  # skips -100

def train_memory(positions, steps=300):
    seed(0)
    model = Transformer(TransformerConfig(36, 256, n_layer=1, n_head=4, n_embd=64, positions=positions))
    games = Batches(*memory(32 * steps, 32, seeded(0)), batch_size=32)
    fit(model, memory_loss, games, steps, lr=3e-3, warmup=20, decay=0.5, label=positions)
    return model

players = {positions: train_memory(positions) for positions in ("none", "learned", "sinusoidal", "alibi")}

# %%
@torch.no_grad()
def score(model, T):
    """Share of right answers in sequences of T tokens, over about 6,400 tokens"""
    idx, y = memory(6400 // T, T, seeded(T))
    asked = y >= 0
    return (model(idx)[..., :8].argmax(-1) == y)[asked].float().mean().item()

lengths = [32, 64, 128, 256]
scores = {positions: [score(model, T) for T in lengths] for positions, model in players.items()}

# %% [markdown]
# ## Results

# %% tags=["nbval-ignore-figure"]
# not compared: scores of models that were trained in this place
# Figure: share of right answers against the length of the sequence, 32 to 256: four lines, for none,
# learned, sinusoidal and ALiBi, and a dashed one at 0.125, guessing.
fig, ax = plt.subplots(figsize=(6.4, 3.4))
for (positions, values), marker in zip(scores.items(), "osD^"):
    ax.plot(lengths, values, marker=marker, label=positions)
ax.axhline(1 / 8, color="0.6", lw=1, ls="--", label="guessing")
ax.axvspan(29, 34, color="0.92", zorder=0)
ax.set(xscale="log", xlabel="tokens in the sequence (trained on 32)", ylabel="answers right",
       ylim=(0, 1.03), xlim=(29, 280), xticks=lengths, xticklabels=lengths)
ax.minorticks_off()
ax.legend(fontsize=9, ncol=2, loc="center right", bbox_to_anchor=(1, 0.62))
for positions in ("learned", "sinusoidal", "alibi"):
    claim(f"share of answers right at length 32, {positions}", scores[positions][0], ">=", 0.9)
claim("share of answers right at length 32, none", scores["none"][0], "<=", 0.65)
claim("share of answers right at length 256, ALiBi", scores["alibi"][3], ">=", 0.9)
others = max(scores[p][3] for p in ("none", "learned", "sinusoidal"))
claim("share of answers right at length 256, the best of the other three", others, "<=", 0.4)

# %% [markdown]
# All but the model without positions answer at the length of the training; only ALiBi's line stays up.
#
# The learned vectors of places 32 and later have never been trained. Sinusoids are defined everywhere, but the model has
# never seen those values, and a linear layer need not treat them sensibly. ALiBi asks only how far away something is,
# and a distance of five means the same at place 200.
#
# | | none | learned | sinusoidal | ALiBi |
# |---|---|---|---|---|
# | sort (a bag is enough) | yes | yes | yes | yes |
# | reverse (needs places) | no | yes | yes | **no** |
# | latest note, same length | no | yes | yes | yes |
# | latest note, eight times longer | no | no | no | **yes** |

# %%
for kind in players:
    right = table[kind, "sort"], table[kind, "reverse"], scores[kind][0], scores[kind][3]
    print(f"{kind:10}", *("yes" if share > 0.85 else "no " for share in right))

# %% [markdown]
# No encoding wins everywhere: an encoding is an assumption about what will matter. In text what is near matters more,
# and lesson 54 will measure how much ALiBi gains there.
#
# ## Break it: forget the square root
#
# Queries and keys of $D$ independent numbers of variance 1 have a dot product of variance $D$. At $D = 1024$ scores of
# ±32 enter a softmax, and it **saturates**: one key takes all, and the gradient vanishes (for weights $w$ it is a
# matrix with $w$ on its diagonal, minus $w w^\top$). We measure the entropy of the weights, $-\sum_s w_s \log w_s$,
# over 64 keys (at most $\log 64 = 4.16$ nats) and the size of that gradient. **Write down a guess:** how does each
# change with $D$, with the division and without?

# %%
def saturation(D, scale):
    """(entropy of the weights in nats, norm of d weights / d scores), means over 200 queries to 64 keys"""
    q, k = torch.randn(200, 1, D, generator=seeded(0)), torch.randn(200, 64, D, generator=seeded(1))
    w = (q @ k.mT * scale).softmax(-1)[:, 0]                      # (200, 64)
    entropy = -torch.xlogy(w, w).sum(-1)
    jacobian = torch.diag_embed(w) - w[:, :, None] * w[:, None]   # (200, 64, 64)
    return entropy.mean().item(), jacobian.norm(dim=(1, 2)).mean().item()

widths = [4, 16, 64, 256, 1024, 4096]
forgotten = torch.tensor([saturation(D, 1) for D in widths])      # (6, 2)
divided = torch.tensor([saturation(D, D**-0.5) for D in widths])

# %%
# Figure: two panels over D from 4 to 4096: the entropy of the weights, and the size of the gradient, each
# with the division by the square root of D and without.
fig, panels = plt.subplots(1, 2, figsize=(8, 2.8))
for i, (ax, label) in enumerate(zip(panels, ("entropy (nats)", "size of the gradient"))):
    ax.plot(widths, forgotten[:, i], "o-", color=COLOURS[3], label="forgotten")
    ax.plot(widths, divided[:, i], "o-", color=COLOURS[0], label=r"divided by $\sqrt{D}$")
    ax.set(xscale="log", xlabel="width D of queries and keys", ylabel=label, ylim=(0, None))
    ax.set_xticks(widths, widths)
    ax.minorticks_off()
panels[0].legend(loc="center right", bbox_to_anchor=(1, 0.7))
claim("entropy at D = 4096 without the root (nats)", forgotten[-1, 0], "<", 0.2)
claim("entropy at D = 4096 with the root (nats)", divided[-1, 0], ">", 3.5)
ratio = divided[-1, 1] / forgotten[-1, 1]
claim("gradient at D = 4096 with the root, as a multiple of that without", ratio, ">", 4, digits=1)

# %% [markdown]
# <details><summary>Answer</summary>
#
# With the division both stay where they are. Without it the entropy falls to nearly zero, one key takes all, and the
# gradient, which is larger at first, dies with it: such a head can no longer learn to look elsewhere.
# </details>
#
# ## Break it again: a mask that leaks
#
# The most popular bug of all: the mask reaches one column too far, `tril(1)` in place of `tril()`. Nothing crashes,
# and the loss is *excellent*. To expose it, give the model something that nobody can predict, random letters. An
# honest model cannot get below $\log 26 = 3.26$ nats per letter. Who does has seen the answer. (Of 16 places the last
# has nobody to its right, so even the leak cannot get below $3.26 / 16 = 0.20$.)

# %%
def next_letter_loss(model, idx):
    return {"loss": F.cross_entropy(model(idx[:, :-1]).flatten(0, 1), idx[:, 1:].flatten())}

def train_on_noise(leak):
    seed(0)
    model = Transformer(TransformerConfig(vocab_size=26, block_size=16, n_layer=1, n_head=1, n_embd=64))
    if leak:
        model.mask = torch.zeros(1, 16, 16).masked_fill(~torch.ones(16, 16).bool().tril(1), -math.inf)
    letters = torch.randint(26, (64 * 120, 17), generator=seeded(0))
    return model, fit(model, next_letter_loss, Batches(letters), 120, lr=1e-2, warmup=20, decay=0.5)

leaking, honest = train_on_noise(leak=True), train_on_noise(leak=False)

# %% tags=["nbval-ignore-figure"]
# not compared: losses and models that were trained in this place
# Figure: left, the loss on random letters of the honest and the leaking model over 120 steps, with a line
# at log 26. Right, two squares of 16 by 16, dark where an output depends on an input.
fig, (left, middle, right) = plt.subplots(1, 3, figsize=(10, 2.8), width_ratios=[1.6, 1, 1])
losses = {"leaking": leaking[1]["loss"], "honest": honest[1]["loss"]}
curves({name: (range(1, 121), loss) for name, loss in losses.items()}, left, smooth=999)
left.axhline(math.log(26), color="0.6", lw=1)
left.set(ylabel="loss (nats per letter)", ylim=(0, 4))
seen = {}
for ax, name, (model, _) in ((middle, "leaking", leaking), (right, "honest", honest)):
    seen[name] = receptive_field(lambda x: model.blocks[0](x, model.mask), T=16, C=64) > 0
    ax.imshow(seen[name], cmap="Blues", vmin=0, vmax=1.3)
    ax.set(title=name, xlabel="input s", ylabel="output t", xticks=range(0, 16, 5), yticks=range(0, 16, 5))
claim("loss on random letters, leaking (nats per letter)", leaking[1]["loss"][-1], "<", 0.3)
claim("loss on random letters, honest (nats per letter)", honest[1]["loss"][-1], ">", 3.2)
claim("outputs of 16 that see the future, leaking", seen["leaking"].triu(1).any(1).sum(), "==", 15)
claim("outputs of 16 that see the future, honest", seen["honest"].triu(1).any(1).sum(), "==", 0)

# %% [markdown]
# The honest model stays on the line, and its square is a lower triangle; the leaking one has a diagonal more.
#
# Two tests that find every leak: random data, and the gradient. Both cost a second. Use them whenever a loss looks too
# good.

# %% [markdown]
# ## In the wild
#
# In PyTorch attention is `F.scaled_dot_product_attention`, which on a GPU never stores the whole table (Dao et al.,
# 2022), and a block is `nn.TransformerEncoderLayer(norm_first=True)`. A trained one, with its maps:
#
# ```python
# from transformers import AutoModel, AutoTokenizer
#
# tokenizer = AutoTokenizer.from_pretrained("openai-community/gpt2")
# model = AutoModel.from_pretrained("openai-community/gpt2", attn_implementation="eager").to("cuda")
# inputs = tokenizer("the cat sat on the mat", return_tensors="pt").to("cuda")
# maps = model(**inputs, output_attentions=True).attentions        # 12 layers of (1, 12 heads, T, T)
# ```

# %% [markdown]
# ## Recap
#
# - Attention is a weighted average of values; the weights come from how well a query fits each key.
# - A mask says who may look where; heads look for several things at once; a block adds an MLP that works on each token.
# - Without positions a transformer sees a bag. Sinusoids and learned vectors say where, ALiBi says how far.
# - Scores are divided by the root of $D$, or the softmax saturates and its gradient dies.
# - A loss that is too good is a leak: random data and the gradient expose it.
#
# **What we left out.**
#
# - **Cost.** Every token looks at every other: time and memory grow with $T^2$.
# - **Cross-attention**: queries from one sequence, keys and values from another. It is `attention(q, k, v)` as it
#   stands; lesson 52 (to come) translates with it.
# - **Rotary positions** (Su et al., 2021) turn queries and keys by an angle that grows with the position; most current
#   language models use them.
# - **No positions, more layers.** The causal mask tells a second layer how many tokens came before (Haviv et al., 2022).
#   Try `n_layer=2` with `positions="none"` in the memory game.
#
# **Exercises:** [51_attention](../exercises/51_attention/51_attention.ipynb). Two more to think about: how many
# layers with a window of 3 does `reverse` need? And which score must a head give to each pair, so that it sorts
# *downwards*?
#
# **Next**, [lesson 54](54_gpt.ipynb): a causal transformer that guesses the next byte, and so can write.
#
# ## Read on
#
# - D. Bahdanau, K. Cho & Y. Bengio, *Neural machine translation by jointly learning to align and translate* (2015),
#   [arXiv:1409.0473](https://arxiv.org/abs/1409.0473): the first attention.
# - A. Vaswani et al., *Attention is all you need* (2017), [arXiv:1706.03762](https://arxiv.org/abs/1706.03762): eq. 1,
#   section 3.
# - O. Press, N. Smith & M. Lewis, *Train short, test long* (2022),
#   [arXiv:2108.12409](https://arxiv.org/abs/2108.12409): ALiBi.
# - R. Xiong et al., *On layer normalization in the transformer architecture* (2020),
#   [arXiv:2002.04745](https://arxiv.org/abs/2002.04745): why the norm stands first. T. Dao et al., *FlashAttention*
#   (2022), [arXiv:2205.14135](https://arxiv.org/abs/2205.14135): attention without the table.
# - In the library: `transformer.py` (`attention`, `MultiHeadAttention`, `Block`, `Transformer`, `attention_maps`).
