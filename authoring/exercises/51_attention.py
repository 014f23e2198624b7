# %% [markdown]
# # Exercise 51 · Attention: who looks at whom
#
# Six tasks on lesson 51: four pieces of code, one of them a bug hunt; a measurement; and two texts. They take about two
# hours of yours and some ten seconds of the computer's.
#
# - Write your answer **in place of** `raise NotImplementedError()`, then run the cell and the check below it.
# - A check prints `ok:` and the name of the task, or one sentence about what is wrong; `hint()` then says more. It tries
#   your function on several random inputs and looks only at what comes back.
# - You may add cells of your own anywhere, and use whatever PyTorch offers. In tasks 1 to 4a, use
#   nothing of `course_lib.transformer` (what is imported below is for 4b): write it, and compare afterwards.
# - Tasks 1 to 4a and 5 are graded by a program, which also runs your functions on inputs that you do not see here; 4b and
#   6 are read by a person.

# %%
import math

import matplotlib.pyplot as plt
import torch
from torch import nn
from torch.nn import functional as F

from course_lib import plots
from course_lib.checks import attention as check
from course_lib.checks import hint
from course_lib.claims import claim
from course_lib.device import seed, seeded
from course_lib.transformer import MultiHeadAttention, causal_mask

# %%
# Stuck after a check? Run hint(): it says where to look first, then how, and the code only at last.
hint()

# %% [markdown]
# ## 1 · Attention that ignores padding (3 points)
#
# Sentences differ in length. To make one tensor of several, the shorter ones are filled up with *padding*, of which nothing
# may be read.
#
# **Given** queries `q` of shape (B, T, D), keys `k` (B, S, D) and values `v` (B, S, E), and whole numbers `length` of shape (B,):
# of the S keys of example $b$ only the first `length[b]` are real, at least one. **Asked:** for each query the average of
# the *real* values,
#
# $$y_{bt} = \sum_{s < \text{length}_b} w_{bts}\, v_{bs}, \qquad
# w_{bts} = \frac{\exp(q_{bt} \cdot k_{bs} / \sqrt{D})}{\sum_{r < \text{length}_b} \exp(q_{bt} \cdot k_{br} / \sqrt{D})},$$
#
# a tensor of shape (B, T, E). **Checked:** the values, also for B = 1, for scores beyond 100 and below −100, and for padding with such scores;
# and the gradients with respect to `q`, `k` and `v`.

# %% tags=["solution:attention"]
def attention(q, k, v, length):
    """(B, T, D), (B, S, D), (B, S, E) and (B,) -> (B, T, E)"""
    ### BEGIN SOLUTION
    scores = q @ k.transpose(1, 2) / math.sqrt(q.shape[-1])       # (B, T, S)
    real = torch.arange(k.shape[1]) < length[:, None, None]       # (B, 1, S)
    return scores.masked_fill(~real, -math.inf).softmax(-1) @ v   # (B, T, E)
    ### END SOLUTION

# %% tags=["test:check_attention:3"]
check.attention(attention)
### BEGIN HIDDEN TESTS
_q, _k, _v = torch.randn(3, 4, 6), torch.randn(3, 7, 6), torch.randn(3, 7, 5)
_y = attention(_q.clone(), _k.clone(), _v.clone(), torch.tensor([4, 7, 1]))
for _b, _n in enumerate((4, 7, 1)):
    _want = F.scaled_dot_product_attention(_q[_b], _k[_b, :_n], _v[_b, :_n])
    torch.testing.assert_close(_y[_b].float(), _want, rtol=1e-3, atol=1e-3)
### END HIDDEN TESTS

# %% [markdown]
# ## 2 · Many heads, with given weights (3 points)
#
# **Given** a batch of sequences `x` of shape (B, T, C), a matrix `w_qkv` of shape (3C, C), a matrix `w_out` of shape (C, C), and
# `n_head`, which divides C. Both matrices are laid out as in `nn.Linear`, so that `F.linear(x, w)` is `x @ w.T`; there are
# no biases. **Asked:** causal multi-head attention, a tensor of shape (B, T, C), in four steps:
#
# 1. The first C rows of `w_qkv` make the queries, the next C the keys, the last C the values.
# 2. Head $h = 0, 1, \ldots$ owns the numbers $hd, \ldots, (h + 1)d - 1$ of each, where $d = C / n_\text{head}$.
# 3. In each head, position $t$ looks at the positions $0, \ldots, t$, with the scale of *its* queries.
# 4. What the heads found is put side by side, head 0 first, and goes through `w_out`.
#
# **Checked:** the values, also for one head and for B = 1, and the gradients with respect to `x`, `w_qkv` and `w_out`.

# %% tags=["solution:multi_head"]
def multi_head(x, w_qkv, w_out, n_head):
    """(B, T, C), (3C, C), (C, C) and a number -> (B, T, C)"""
    ### BEGIN SOLUTION
    B, T, C = x.shape
    q, k, v = (x @ w_qkv.T).chunk(3, dim=-1)                                  # 3 x (B, T, C)
    q, k, v = (h.view(B, T, n_head, C // n_head).transpose(1, 2) for h in (q, k, v))  # (B, n_head, T, d)
    scores = q @ k.transpose(-2, -1) / math.sqrt(q.shape[-1])                 # (B, n_head, T, T)
    past = torch.ones(T, T, dtype=torch.bool).tril()
    y = scores.masked_fill(~past, -math.inf).softmax(-1) @ v                  # (B, n_head, T, d)
    return y.transpose(1, 2).reshape(B, T, C) @ w_out.T
    ### END SOLUTION

# %% tags=["test:check_multi_head:3"]
check.multi_head(multi_head)
### BEGIN HIDDEN TESTS
_x, _w, _out = torch.randn(2, 5, 9), torch.randn(27, 9) / 3, torch.randn(9, 9)
_module = nn.MultiheadAttention(9, 3, bias=False, batch_first=True)
_module.load_state_dict({"in_proj_weight": _w, "out_proj.weight": _out})
_want = _module(_x, _x, _x, attn_mask=torch.ones(5, 5, dtype=torch.bool).triu(1))[0].detach()
torch.testing.assert_close(multi_head(_x.clone(), _w, _out, 3).float(), _want, rtol=1e-3, atol=1e-3)
### END HIDDEN TESTS

# %% [markdown]
# ## 3 · Find the bug: the network that foresees dice (3 points)
#
# Below is a small network that reads a sequence and predicts, at each position, what comes next. The attention in it shall be
# causal. It runs, it trains, its mask is right to the last entry, and it has **one bug**.

# %%
def causal_attention_broken(q, k, v):
    T, D = q.shape[-2:]
    past = torch.ones(T, T, dtype=torch.bool).tril()              # query t may look at keys 0 ... t
    scores = q @ k.transpose(-2, -1) / math.sqrt(D)               # (B, T, T)
    weights = scores.softmax(-1)
    weights = weights.masked_fill(~past, 0.0)                     # of the future, nothing is taken
    return weights @ v                                            # (B, T, D)

# %%
class DiceReader(nn.Module):
    """Reads rolls of a die, (B, 12) of 0 ... 5, gives logits of the next at each position, (B, 12, 6)."""

    def __init__(self, attention, C=32):
        super().__init__()
        self.attention = attention                                # one of the functions of this exercise
        self.face, self.position = nn.Embedding(6, C), nn.Embedding(12, C)
        self.qkv, self.head = nn.Linear(C, 3 * C), nn.Linear(C, 6)
        self.mlp = nn.Sequential(nn.Linear(C, 2 * C), nn.GELU(), nn.Linear(2 * C, C))

    def forward(self, rolls):
        x = self.face(rolls) + self.position.weight               # (B, 12, C)
        x = x + self.attention(*self.qkv(x).chunk(3, dim=-1))
        return self.head(x + self.mlp(x))

# %% [markdown]
# The lesson has two tests that find every leak. The first is random data: every roll of a fair die is independent of all
# others, nobody can foresee it, so the best prediction is 1/6 for each face, and the best loss is $\log 6 \approx 1.79$ nats.

# %%
def train_on_dice(attention, steps=400):
    seed(0)
    model, losses = DiceReader(attention), []
    optimiser = torch.optim.Adam(model.parameters(), lr=5e-3)
    for _ in range(steps):
        rolls = torch.randint(6, (32, 13))
        loss = F.cross_entropy(model(rolls[:, :-1]).flatten(0, 1), rolls[:, 1:].flatten())
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    return model, losses

model, losses = train_on_dice(causal_attention_broken)
claim("best honest loss, log 6", math.log(6), ">", 1.79)
claim("loss on fair dice, mean of the last 50 steps", sum(losses[-50:]) / 50, "<", 1.3)

# %% [markdown]
# The network foresees dice. So the future leaks into it. But where? We look in two ways, each time at the mean over 200 sequences:
# at the weights of the attention, and at the gradient, the second test of the lesson: how strongly does the output at
# position $t$ change with the input at position $s$?
#
# *Figure: left, the loss falls far below the dashed line at log 6. Middle, the attention weights, a triangle: everything above
# the diagonal is white, as it should be. Right, the gradient: coloured below the diagonal, and also one step above it, where
# the roll stands that is to be predicted.*

# %% tags=["nbval-ignore-figure"]
# not compared: the network is trained in place
rolls = torch.randint(6, (200, 12), generator=seeded(0))
x = (model.face(rolls) + model.position.weight).detach().requires_grad_()
q, k, v = model.qkv(x).chunk(3, dim=-1)                           # 3 x (200, 12, C)
# one-hot values make the weights visible
weights = causal_attention_broken(q, k, torch.eye(12)).mean(0).detach()
found = causal_attention_broken(q, k, v).sum((0, 2))              # (12,)
reach = torch.stack([torch.autograd.grad(found[t], x, retain_graph=True)[0].norm(dim=-1).mean(0)
                     for t in range(12)])

fig, axes = plt.subplots(1, 3, figsize=(8, 2.4), width_ratios=(1.2, 1, 1))
plots.curves({"loss (nats)": (range(1, 401), losses)}, ax=axes[0])
axes[0].axhline(math.log(6), color="black", ls="--", lw=1)
for ax, picture, title in zip(axes[1:], (weights, reach), ("attention weights", "gradient")):
    fig.colorbar(ax.imshow(picture, cmap="Blues", vmin=0), ax=ax)
    ax.set(title=title, xlabel="input position $s$", ylabel="output position $t$",
           xticks=(0, 5, 10), yticks=(0, 5, 10))

# %% [markdown]
# **Given** `q`, `k` and `v`, all of shape (B, T, D). **Asked:** `causal_attention`, the same function without the bug; copy the one
# above, and repair it. **Checked:** the values and the gradients. Everything but one line is right.
#
# Do not guess: try the broken function on T = 2, with numbers that you choose, and compute the output at position 0 by hand.

# %% tags=["solution:causal_attention"]
def causal_attention(q, k, v):
    """3 x (B, T, D) -> (B, T, D)"""
    ### BEGIN SOLUTION
    T, D = q.shape[-2:]
    past = torch.ones(T, T, dtype=torch.bool).tril()
    scores = q @ k.transpose(-2, -1) / math.sqrt(D)
    weights = scores.masked_fill(~past, -math.inf).softmax(-1)    # before, the softmax summed the future
    return weights @ v
    ### END SOLUTION

# %% tags=["test:check_causal_attention:3"]
check.causal_attention(causal_attention)
### BEGIN HIDDEN TESTS
_q, _k, _v = torch.randn(3, 2, 7, 4)
_want = F.scaled_dot_product_attention(_q, _k, _v, is_causal=True)
torch.testing.assert_close(causal_attention(_q.clone(), _k.clone(), _v.clone()).float(), _want,
                           rtol=1e-3, atol=1e-3)
assert train_on_dice(causal_attention, 150)[1][-1] > 1.7, "the network still foresees dice"
### END HIDDEN TESTS

# %% [markdown]
# ## 4 · Where is everybody?
#
# ### 4a · A bias for distance (2 points)
#
# Attention compares contents, and does not know what stands where. ALiBi tells it by a bias, added to the scores: a
# query at position $t$ counts a key at position $s$ less, the further back it lies, and a key in the future not at all.
#
# **Given** `slopes` of shape (H,), one number $m_h \ge 0$ for each head, and the length `T`. **Asked:** one tensor of shape (H, T, T)
# with
#
# $$b_{hts} = \begin{cases} -m_h\,(t - s) & s \le t \\ -\infty & s > t. \end{cases}$$
#
# **Checked:** the values, also for T = 1 and for a slope of 0. A very large negative number is as good as $-\infty$.

# %% tags=["solution:distance_bias"]
def distance_bias(slopes, T):
    """(H,) and a number -> (H, T, T), to be added to the scores: row = query, column = key"""
    ### BEGIN SOLUTION
    t = torch.arange(T)
    distance = t[:, None] - t                                     # (T, T) query minus key
    return (-slopes[:, None, None] * distance).masked_fill(distance < 0, -math.inf)
    ### END SOLUTION

# %% tags=["test:check_distance_bias:2"]
check.distance_bias(distance_bias)
### BEGIN HIDDEN TESTS
_got = distance_bias(torch.tensor([0.5, 0.0, 2.0]), 3).float().softmax(-1)
_row = torch.tensor([[math.exp(-1), math.exp(-0.5), 1], [1, 1, 1], [math.exp(-4), math.exp(-2), 1]])
torch.testing.assert_close(_got[:, 2], _row / _row.sum(1, keepdim=True), rtol=1e-3, atol=1e-4)
torch.testing.assert_close(_got[:, 0], torch.tensor([[1.0, 0, 0]] * 3), rtol=1e-3, atol=1e-4)
### END HIDDEN TESTS

# %% [markdown]
# ### 4b · Can it tell the order? (3 points)
#
# Now an experiment without any positions: neither an embedding nor a bias. Six random tokens pass through one or two layers of
# attention, with random weights. Then the first five are shuffled, while the sixth stays the last. How much does the output
# *at the last position* change?

# %%
def change_of_the_last(n_layer, mask):
    seed(0)
    layers = [MultiHeadAttention(16, 2) for _ in range(n_layer)]
    tokens = torch.randn(1, 6, 16, generator=seeded(1))
    last = []
    for order in ([0, 1, 2, 3, 4, 5], [3, 1, 4, 0, 2, 5]):
        x = tokens[:, order]
        for layer in layers:
            x = x + layer(x, mask)                                # (1, 6, 16)
        last.append(x[0, -1])
    return (last[1] - last[0]).abs().max().item()

claim("one layer,  everybody looks at everybody", change_of_the_last(1, None), "<", 1e-5, digits=6)
claim("two layers, everybody looks at everybody", change_of_the_last(2, None), "<", 1e-5, digits=6)
claim("one layer,  causal", change_of_the_last(1, causal_mask(6)), "<", 1e-5, digits=6)
claim("two layers, causal", change_of_the_last(2, causal_mask(6)), ">", 0.01, digits=6)

# %% [markdown]
# **Explain** in four to seven sentences: (i) why do both networks without a mask give the same, whatever the order? (ii) Why does *one*
# causal layer give the same as well, and where do *two* get the order from? (iii) If a causal network can tell the order by itself:
# what does a bias such as yours give it nevertheless?

# %% [markdown] tags=["manual:explain_order:3"]
# (i) A query compares itself with each key and sums up the values: a sum does not depend on the order of its terms, and the
# scores depend on what the tokens are, not on where they stand. So shuffling the inputs only shuffles the outputs; the last token
# has stayed where it was and gets the same sum, in every layer. (ii) In one causal layer the last token still sees all six, so for
# it nothing has changed. But the others see only what stands before them: the token that was first saw itself alone, and now sees
# three others before it. So after one layer the tokens in the middle have become different vectors, depending on the set of those
# before them, and in the second layer the last token looks at *these*. The mask is what tells the order. (iii) This knowledge is
# indirect: it must be learned, needs two layers, and is blurred, since an average over many tokens hardly changes with one more. The
# bias says directly, in the first layer, how far away each token is, prefers what is near (which in text is mostly what matters), and
# it means the same at any length.
#
# **Rubric.** 1 point: (i) the weighted sum runs over a *set*: scores depend on contents only, so that a permutation of the inputs only
# permutes the outputs. 1 point: (ii) the last position sees the same set in one layer, while the positions before it see different
# sets, and the second layer reads that. 1 point: (iii) one good reason: direct in the first layer, relative distance, a preference for
# what is near, longer sequences than in training.

# %% [markdown]
# ## 5 · Measure: how many keys does a query see? (2 points)
#
# Why the division by $\sqrt D$? Draw 1,000 queries and 100 keys, all numbers independently from the standard normal distribution, with D = 64,
# and compute the weights **without** dividing the scores by $\sqrt D$. If a query shared its attention evenly among $n$ keys, the
# entropy of its weights, $-\sum_s w_s \log w_s$, would be $\log n$. So $\exp(\text{entropy})$ is called the *effective number* of keys:
# 100 if it sees all alike, 1 if it sees a single one. With the division it is about 62.
#
# **Guess first:** how many are left without it? Write your guess down.
#
# **Asked:** `keys_seen`, the effective number of keys, as the mean over all queries, and over at least ten such draws, since luck
# plays a part. **Checked:** your number, within 4 percent of ours.

# %% tags=["solution:keys_seen"]
keys_seen = ...  # set it to your number at the end
### BEGIN SOLUTION
def effective_number(scale, D=64, n_draw=20):
    found = []
    for n in range(n_draw):
        q, k = torch.randn(1000, D, generator=seeded(n)), torch.randn(100, D, generator=seeded(1000 + n))
        weights = (q @ k.T * scale).softmax(1)                    # (1000, 100), each row sums to 1
        found.append(torch.special.entr(weights).sum(1).exp().mean())
    return torch.stack(found).mean().item()

keys_seen = effective_number(scale=1)
claim("of 100 keys, seen without the division", keys_seen, "<", 2.3)
claim("and with it", effective_number(scale=1 / 8), ">", 60, digits=1)
### END SOLUTION

# %% tags=["test:check_keys_seen:2"]
check.keys_seen(keys_seen)
### BEGIN HIDDEN TESTS
assert 2.09 < float(keys_seen) < 2.28, "not within 4 percent of what many draws give"
### END HIDDEN TESTS

# %% [markdown]
# ## 6 · Your own question (4 points)
#
# Ask a question about attention that the lesson does not answer, **write down your guess**, and find out. Examples: If each position
# may look at itself and the two before it only, how *strongly* does a stack of layers see the furthest one (use the gradient)?
# How much gradient reaches the queries of task 5 without the division? How fast does the dice network learn to cheat, with
# more faces or with two layers? What happens when each head has its own slope, or all have the same? Your code shall run in less
# than a minute.

# %% tags=["solution:own_experiment"]
def reach_of(n_layer, n, T=20, C=16):
    """How strongly the output at the last position depends on inputs so far back, (T,), nearest first."""
    seed(n)
    layers = [MultiHeadAttention(C, 2) for _ in range(n_layer)]
    x = start = torch.randn(1, T, C, requires_grad=True)
    for layer in layers:
        x = x + layer(x, causal_mask(T).triu(-2))                 # itself and the two before it
    gradient, = torch.autograd.grad((x[0, -1] * torch.randn(C)).sum(), start)
    return gradient[0].norm(dim=-1).flip(0)

fig, ax = plt.subplots(figsize=(4.5, 2.8))
for n_layer in (1, 2, 4, 6):
    reaches = torch.stack([reach_of(n_layer, n) for n in range(20)])          # (20, T), 20 seeds
    furthest = {int(reach.nonzero().max()) for reach in reaches}              # with any gradient at all
    print(f"layers: {n_layer}, furthest input that is seen at all, in 20 seeds: {furthest} back")
    ax.plot(reaches.mean(0)[:2 * n_layer + 1], "o-", ms=4, label=f"layers: {n_layer}")
claim("6 layers: gradient 12 back / gradient 1 back", (reaches[:, 12] / reaches[:, 1]).mean(), "<", 1e-3,
      digits=6)
ax.set(yscale="log", xlabel="how far back (positions)", ylabel="gradient", xticks=range(0, 13, 2))
ax.legend(fontsize=8);

# %% [markdown]
# Write here: your question, your guess, what you did, what came out (a number or a figure), how sure you are of it, and what
# you would try next. Half a page is plenty.

# %% [markdown] tags=["manual:own_question:4"]
# *An example of an answer.* **Question:** if every position may look at itself and the two before it only, how far back do 1, 2, 4 and 6
# layers see? **Guess:** three positions a layer, so 18 back for 6 layers, all of them well. **Experiment:** stacks of
# attention with random weights, two heads and the window as a mask; the gradient of one output at the last position with
# respect to each input; 20 seeds. **Result:** exactly 2 positions further with each layer, so 12 back for 6 layers; beyond that
# the gradient is exactly 0. I had counted the position itself as part of the step. And they do not see well: the gradient falls
# steeply with the distance, and 12 back it is less than a thousandth of what it is 1 back. One path alone leads there, 2 back in every
# layer, and each of its six steps takes one of three terms of an average; nearer inputs can use many paths, and skip layers by the
# residual connections. **Sure?** The reach is
# exact and the same for all seeds; the strength is that of random weights, and training could make a path strong. **Next:** the
# same after training on a task that needs the far position.
#
# **Rubric.** 1 point: a question that can be answered by an experiment, and a guess made before. 1 point: one thing is changed
# and the rest held fixed, and chance is thought of (several seeds, or data that were not trained on). 1 point: a number or a
# figure with labelled axes, described truthfully, whether or not it agrees with the guess. 1 point: says how sure the result is
# or what might be wrong with it.
