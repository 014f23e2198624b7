# %% [markdown]
# # Exercise 86 · What a sample costs
#
# Five parts on lesson 86: a function, a bug, a measurement, a short text and a question of your own. They take about two
# hours of yours and some ten seconds of the computer's.
#
# - Write your answer **in place of** `raise NotImplementedError()`, then run the cell and the check below it.
# - A check prints `ok:` and the name of the task, or one sentence about what is wrong; `hint()` then says more.
# - Tasks 1 to 3 are graded by a program, which also runs your functions on inputs that you do not see here; 4 and 5 are read
#   by a person. You may add cells of your own anywhere, and use whatever PyTorch offers.

# %%
import torch
from torch import nn

from course_lib import cost
from course_lib.checkpoint import load
from course_lib.checks import cost as check
from course_lib.checks import hint
from course_lib.claims import claim
from course_lib.device import seeded
from course_lib.dit import DiT, DiTConfig

writer = load("gpt")

# %%
# Stuck after a check? Run hint(): it says where to look first, then how, and the code only at last.
hint()

# %% [markdown]
# ## 1 · Four bits, with finer scales (4 points)
#
# With one scale a row, 8 bits a weight cost the GPT of the lesson next to nothing, and 4 bits something. What is sold as "4
# bits" gives each **group** of neighbouring weights in a row a scale of its own.
#
# **Given** `weight` of shape (n, m), a number of bits `n_bit` from 2 to 8, and `group`, which divides m: the first `group`
# weights of a row are its first group, the next ones its second, and so on. With $b$ bits the whole numbers go from
# $-(2^{b-1} - 1)$ to $2^{b-1} - 1$. The scale of a group is its largest absolute value, divided by the largest whole number; a
# weight becomes the nearest whole number of scales. **Asked:** the weights that such numbers stand for, a tensor of shape
# (n, m), that is the whole number times the scale. A group of zeros stays zero. **Checked:** the values, for several sizes,
# also for n = 1, `group` = 1 and `group` = m.

# %% tags=["solution:rounded"]
def rounded(weight, n_bit, group):
    """(n, m), 2 ... 8, a divisor of m -> (n, m)"""
    ### BEGIN SOLUTION
    groups = weight.reshape(-1, group)                            # (n * m / group, group)
    largest = 2 ** (n_bit - 1) - 1
    scale = groups.abs().amax(1, keepdim=True).clamp(min=1e-12) / largest
    whole = (groups / scale).round()
    return (whole * scale).reshape(weight.shape)
    ### END SOLUTION

# %% tags=["test:check_rounded:4"]
check.rounded(rounded)
### BEGIN HIDDEN TESTS
_w = torch.randn(6, 24, generator=torch.Generator().manual_seed(3)) * torch.tensor([1.0, 20.0, 0.1]).repeat_interleave(8)
for _n_bit, _group in ((4, 8), (3, 24), (8, 1), (2, 6)):
    _got, _parts = rounded(_w.clone(), _n_bit, _group), _w.view(6, -1, _group)
    _scale = _parts.abs().amax(2, keepdim=True) / (2 ** (_n_bit - 1) - 1)
    _want = torch.fake_quantize_per_channel_affine(
        _parts.reshape(-1, _group), _scale.flatten(), torch.zeros(_scale.numel(), dtype=torch.int32), 0,
        1 - 2 ** (_n_bit - 1), 2 ** (_n_bit - 1) - 1)
    torch.testing.assert_close(_got.detach().float(), _want.view(6, 24), rtol=1e-3, atol=1e-5)
### END HIDDEN TESTS

# %% [markdown]
# What it is worth, to be run in a cell of your own:
#
# ```python
# from course_lib.data.text import load_text
# from course_lib.metrics import bits_per_byte
#
# text = load_text("austen").test[:4_096].long()
# for layer in writer.modules():
#     if isinstance(layer, nn.Linear):
#         layer.weight.data = rounded(layer.weight.data, 4, 16)
# print(bits_per_byte(writer, text))
# ```
#
# With 32 bits we measured 1.32 bits a byte; with 4 bits and one scale for a whole row of 192 or more weights 1.36 or 1.37,
# with groups of 16 weights 1.34. A scale of 16 bits for 16 weights is another bit a weight.

# %% [markdown]
# ## 2 · Find the bug (3 points)
#
# Which generators are on the Pareto front? One is **beaten** if another costs at most as much and is at most as far from the
# digits, and is strictly better in at least one of the two. The function below has been used in a report. It never leaves out
# a generator that belongs to the front; but it keeps some that do not. There is **one bug**.

# %%
def on_front_broken(spent, distance):
    cheaper = spent[None, :] < spent[:, None]                     # (n, n): row i, column j: is j cheaper than i?
    nearer = distance[None, :] < distance[:, None]
    beaten = (cheaper & nearer).any(dim=1)
    return ~beaten

# %%
spent = torch.tensor([5.7, 5.7, 11.4, 57.0, 1263.0])              # millions of operations for one digit
distance = torch.tensor([6.42, 1.20, 4.01, 1.20, 0.50])
print(on_front_broken(spent, distance))

# %% [markdown]
# **Given** `spent` and `distance`, both of shape (n,). **Asked:** `on_front`, a tensor of n truth values: does i belong to the
# front? Two generators that are equal in both numbers do not beat each other. **Checked:** the values, for several n, with and
# without ties.

# %% tags=["solution:on_front"]
def on_front(spent, distance):
    """(n,), (n,) -> (n,) bool"""
    ### BEGIN SOLUTION
    no_dearer = spent[None, :] <= spent[:, None]
    no_farther = distance[None, :] <= distance[:, None]
    better = (spent[None, :] < spent[:, None]) | (distance[None, :] < distance[:, None])
    return ~(no_dearer & no_farther & better).any(dim=1)
    ### END SOLUTION

# %% tags=["test:check_on_front:3"]
check.on_front(on_front)
### BEGIN HIDDEN TESTS
_s, _d = torch.tensor([5.7, 5.7, 11.4, 57.0, 1263.0]), torch.tensor([6.42, 1.20, 4.01, 1.20, 0.50])
assert on_front(_s, _d).tolist() == [False, True, False, False, True]
_g = torch.Generator().manual_seed(4)
for _n in (1, 2, 7, 30):
    _s, _d = torch.randint(0, 6, (_n,), generator=_g).float(), torch.randint(0, 6, (_n,), generator=_g).float()
    _want = [not any(_s[j] <= _s[i] and _d[j] <= _d[i] and (_s[j] < _s[i] or _d[j] < _d[i]) for j in range(_n))
             for i in range(_n)]
    assert on_front(_s.clone(), _d.clone()).tolist() == _want, "a generator that is equal in one number can still be beaten"
### END HIDDEN TESTS

# %% [markdown]
# ## 3 · Measure: what attention takes (3 points)
#
# A DiT (lesson 64) cuts a digit into patches, which are its tokens. Patches of 4 × 4 pixels are 49 tokens; of 2 × 2 pixels,
# 196. How much of its work is attention itself, the products of queries, keys and values, outside all linear layers?

# %%
network = DiT(DiTConfig(n_layer=4, n_embd=64, n_class=10, patch=2))
digit = torch.zeros(1, 1, 28, 28)

def look():
    return network(digit, 0.5, torch.tensor([3]))

by_layer = cost.operations_by_layer(network, look)                # linear layers and convolutions alone
print(f"{sum(by_layer.values()):,} operations in {len(by_layer)} layers")

# %% [markdown]
# **Given** `network` and `look`. **Asked:** `attention_share`, the share of all operations of one look that is done outside the
# linear layers. **Checked:** your number, within 1 percent.

# %% tags=["solution:attention_share"]
attention_share = ...  # set it to your number at the end
### BEGIN SOLUTION
everything = cost.operations(look)
attention_share = 1 - sum(by_layer.values()) / everything
by_hand = 4 * 4 * 196**2 * 64                                     # layers, then 4 T T C
claim("operations of attention by the formula", by_hand, "==", everything - sum(by_layer.values()))
### END SOLUTION

# %% tags=["test:check_attention_share:3"]
check.attention_share(attention_share, network, digit)
### BEGIN HIDDEN TESTS
_layers = 4 * (2 * 196 * 12 * 64**2 + 2 * 6 * 64**2) + 2 * 196 * 2 * 4 * 64 + 2 * 2 * 64**2 + 2 * 2 * 64**2
assert abs(float(attention_share) - 4 * 4 * 196**2 * 64 / (4 * 4 * 196**2 * 64 + _layers)) < 0.01
### END HIDDEN TESTS

# %% [markdown]
# ## 4 · Read a headline (6 points)
#
# A newspaper writes: **"One AI picture uses as much electricity as charging a phone."** Its source is a measurement of many
# published models, of which the *dearest* used 11.5 kWh for 1,000 pictures; half of the models used less than 1.35 kWh. Charging
# a phone takes 0.012 kWh.
#
# **Explain**, with numbers where there are numbers. (i) For which model is the headline right, and what would it say of the model
# in the middle? (ii) The same model was later measured at 1.64 kWh for 1,000 pictures. Name two things that may differ between
# the two measurements although the model is the same. (iii) What would you have to know to say how many *grams of CO2* a picture
# is? (iv) Name one cost that no measurement of sampling contains, and say for which models it matters least: those that draw few
# pictures in their life, or those that draw very many.

# %% [markdown] tags=["manual:explain_headline:6"]
# (i) 11.5 kWh for 1,000 is 0.0115 kWh a picture, so it is right for the dearest model. The one in the middle used 0.00135 kWh, a
# ninth of a charge: nine pictures a phone. (ii) The size of the pictures, and the machine (or the number of steps, the precision,
# how many pictures at once). (iii) How many grams of CO2 a kilowatt-hour of that grid stands for, at that place and time: from
# about 30 to above 700. (iv) Training, which is paid once; spread over very many pictures, little of it falls on each. (Or: making
# the machine, cooling, idle hours, trainings that failed. What is paid once matters least where very many are drawn; cooling grows
# with every picture.)
#
# **Rubric.** 1 point: (i) right for the dearest model, with 0.0115 against 0.012 or the like. 1 point: (i) about nine pictures a
# charge, or a ninth of a charge, for the model in the middle. 1 point: (ii) one thing that can differ with the same model. 1 point:
# (ii) a second one. 1 point: (iii) grams of CO2 a kilowatt-hour, of the grid. 1 point: (iv) a cost that is not sampling, with a
# right statement for few or many pictures.

# %% [markdown]
# ## 5 · Your own question (4 points)
#
# Ask a question about cost that the lesson does not answer, **write down your guess**, and find out. Examples: At which number of
# bits does the *flow* break, and which of its parts breaks first? Is it better to give the first half of the steps to a small
# network and the second half to a large one? What do 4 steps without guidance cost next to 2 with it, for one digit that is hard?
# How many seconds does a text take, if eight are written at the same time? Report a cost *and* a quality, and say how sure you
# are of the second. Your code shall run in less than a minute.

# %% tags=["solution:own_experiment"]
### BEGIN SOLUTION
flow = load("flow")
y = torch.arange(200) % 10
for n_bit in (8, 5, 4, 3):
    network = load("flow").network
    for layer in network.modules():
        if isinstance(layer, nn.Linear | nn.Conv2d):
            rows = layer.weight.data.flatten(1)
            layer.weight.data = rounded(rows, n_bit, rows.shape[1]).view(layer.weight.shape)
    flow.network.load_state_dict(network.state_dict())
    images = flow.sample(200, y, seeded(0), steps=2)
    right = (load("judge")(images).argmax(1) == y).double().mean().item()
    error = (right * (1 - right) / 200) ** 0.5
    claim(f"digits in which the judge sees what was asked for, {n_bit} bits", right, ">" if n_bit > 4 else "<", 0.95)
    claim("two standard errors of that", 2 * error, "<", 0.08)
### END SOLUTION

# %% [markdown] tags=["manual:explain_own_experiment:4"]
# *Question:* at how many bits a weight does the flow break? *Guess:* at 5, like the GPT. *Measured:* the share of digits in which
# the judge sees what was asked for, 200 digits in 2 steps, for 8, 5, 4 and 3 bits, one scale a row; the cost is the memory of the
# weights, which is proportional to the bits. The network that is walked away from keeps its 32 bits. *Result:* with 8 and 5 bits
# at least 95 in 100, with 4 and 3 bits fewer. *How sure:* shares of 200
# digits, so two standard errors are a few percent; nothing is said about how good the digits look.
#
# **Rubric.** 1 point: a question that can be answered by measuring, and a guess. 1 point: a cost is reported, counted or measured.
# 1 point: a quality is reported with how sure it is (an interval, several seeds, or the number of samples and what follows). 1 point:
# the conclusion says no more than was measured.
