# %% [markdown]
# # Exercise 33 · VQ-VAE
#
# Seven parts on lesson 33: three functions, a bug, a measurement, a short text and a question of your own. They take about
# two hours of yours and some ten seconds of the computer's.
#
# - Write your answer **in place of** `raise NotImplementedError()`, then run the cell and the check below it.
# - A check prints `ok:` and the name of the task, or one sentence about what is wrong; `hint()` then says more.
# - Tasks 1 to 5a are graded by a program, which also runs your functions on inputs that you do not see here; 5b and 6
#   are read by a person. You may add cells of your own anywhere, and use whatever PyTorch offers.

# %%
import matplotlib.pyplot as plt
import torch
from torch import nn
from torch.nn import functional as F

from course_lib.autoencoder import ResidualBlock
from course_lib.checkpoint import load as load_checkpoint
from course_lib.checks import hint
from course_lib.checks import vq_vae as check
from course_lib.claims import claim
from course_lib.data import Batches, load
from course_lib.device import seed
from course_lib.plots import strip
from course_lib.train import fit
(x_train, y_train), (x_test, y_test) = load("digits")[:2]         # 4,000 and 1,000 images (N, 1, 28, 28)

# %%
# Stuck after a check? Run hint(): it says where to look first, then how, and the code only at last.
hint()

# %% [markdown]
# ## 1 · Straight through (2 points)
#
# **Given** two tensors `z` and `q` of one shape: what an encoder says, and the codes that were chosen for it. **Asked:** a tensor
# of the same shape that has the *value* of `q` and the *gradient* of `z`. Its Jacobian with respect to `z` is the identity; no gradient
# reaches `q`. **Checked:** the value, and both gradients.

# %% tags=["solution:straight_through"]
def straight_through(z, q):
    """(...), (...) -> (...)"""
    ### BEGIN SOLUTION
    return z + (q - z).detach()
    ### END SOLUTION

# %% tags=["test:check_straight_through:2"]
check.straight_through(straight_through)
### BEGIN HIDDEN TESTS
_z, _q = torch.randn(3, 4, requires_grad=True), torch.randn(3, 4, requires_grad=True)
_out = straight_through(_z, _q)
torch.testing.assert_close(_out.detach().float(), _q.detach())
_slopes = torch.autograd.grad((2 * _out).sum(), (_z, _q), allow_unused=True)
torch.testing.assert_close(_slopes[0].float(), torch.full((3, 4), 2.0))
assert _slopes[1] is None or not _slopes[1].any(), "a gradient reaches q"
### END HIDDEN TESTS

# %% [markdown]
# ## 2 · A codebook that follows (3 points)
#
# A code is the mean of all vectors that chose it, where those of earlier batches count less and less. With $n_k$ vectors of this
# batch, an old count $N_k$ and the decay $\gamma$,
#
# $$N_k' = \gamma N_k + n_k, \qquad e_k' = \frac{\gamma N_k\, e_k + \sum z}{N_k'},$$
#
# where the sum runs over the vectors that chose code $k$. A code that no vector has ever chosen ($N_k' = 0$) stays where it is.
#
# **Given** `codes` (K, D), `count` (K,), the vectors `z` (N, D), `idx` (N,), the number of the code that each chose, and `decay`.
# **Asked:** the new codes (K, D) and the new count (K,), in this order; the given tensors stay as they are. **Checked:** both,
# also with codes that are chosen for the first time, not now, or never.
#
# `F.one_hot(idx, K)` is a table (N, K) of whole numbers: who chose what.

# %% tags=["solution:ema_step"]
def ema_step(codes, count, z, idx, decay):
    """(K, D), (K,), (N, D), (N,) and a number -> (K, D), (K,)"""
    ### BEGIN SOLUTION
    hot = F.one_hot(idx, len(codes)).to(z.dtype)                  # (N, K)
    new = decay * count + hot.sum(0)                              # (K,)
    total = (decay * count)[:, None] * codes + hot.T @ z          # (K, D)
    return torch.where(new[:, None] > 0, total / new.clamp(min=1e-9)[:, None], codes), new
    ### END SOLUTION

# %% tags=["test:check_ema_step:3"]
check.ema_step(ema_step)
### BEGIN HIDDEN TESTS
_codes, _count = torch.tensor([[1.0], [5.0], [7.0]]), torch.tensor([4.0, 2.0, 0.0])
_moved, _new = ema_step(_codes, _count, torch.tensor([[2.0], [6.0]]), torch.tensor([0, 0]), 0.5)
torch.testing.assert_close(_moved.float(), torch.tensor([[2.5], [5.0], [7.0]]))
torch.testing.assert_close(_new.float(), torch.tensor([4.0, 1.0, 0.0]))
_vectors = torch.randn(30, 3)
_idx = torch.arange(30) % 4
_moved, _new = ema_step(torch.randn(4, 3), torch.zeros(4), _vectors, _idx, 0.9)
torch.testing.assert_close(_moved.float(), torch.stack([_vectors[_idx == k].mean(0) for k in range(4)]))
### END HIDDEN TESTS

# %% [markdown]
# ## 3 · Find the bug (3 points)
#
# An encoder of convolutions ends in a map (B, D, H, W): at each of H · W places a vector of D numbers. `quantise_map_broken`
# replaces each vector by the nearest code. All shapes are right, and a model with it trains so well that neither its loss
# nor its images show much. But it has **a bug**: the words do not belong to places.

# %%
def quantise_map_broken(h, codebook):
    B, D, H, W = h.shape
    vectors = h.reshape(-1, D)                                    # (B * H * W, D)
    idx = torch.cdist(vectors, codebook).argmin(1)                # (B * H * W,)
    codes = codebook[idx].reshape(B, D, H, W)                     # back to a map
    return codes, idx.view(B, H * W)

# %%
class SmallVQ(nn.Module):
    """A VQ-VAE whose codebook learns by gradient; 64 codes of 8 numbers."""

    def __init__(self, quantise):
        super().__init__()
        self.encoder = nn.Sequential(nn.PixelUnshuffle(4), nn.Conv2d(16, 32, 3, padding=1), ResidualBlock(32),
                                     nn.Conv2d(32, 8, 1))
        self.decoder = nn.Sequential(nn.Conv2d(8, 32, 3, padding=1), ResidualBlock(32),
                                     nn.Conv2d(32, 16, 3, padding=1), nn.PixelShuffle(4))
        self.codebook = nn.Parameter(0.3 * torch.randn(64, 8))
        self.quantise = quantise

    def forward(self, x):
        h = self.encoder(x)                                       # (B, 8, 7, 7)
        q, tokens = self.quantise(h, self.codebook)
        return h, q, self.decoder(h + (q - h).detach()), tokens   # ..., logits (B, 1, 28, 28), (B, 49)

# %%
def small_loss(model, x):
    h, q, logits, _ = model(x)
    image = F.binary_cross_entropy_with_logits(logits, x, reduction="sum") / len(x)
    book = (q - h.detach()).square().sum() / len(x)
    commitment = (h - q.detach()).square().sum() / len(x)
    return {"loss": image + book + 0.25 * commitment, "image": image}

def trained(quantise, steps=150):
    """A SmallVQ after two seconds, and what happened in training."""
    seed(0)
    model = SmallVQ(quantise)
    return model, fit(model, small_loss, Batches(x_train, batch_size=64), steps, lr=5e-3, decay=0.5)

# %%
broken, history = trained(quantise_map_broken)
claim("image term, first step", history["image"][0], ">", 400, digits=0)
claim("image term, last step", history["image"][-1], "<", 120, digits=0)

# %% [markdown]
# *Figure: two rows of ten. Above, test digits; below, what the model makes of them: the same digits, a little blurred.*

# %% tags=["nbval-ignore-figure"]
# not compared: the model is trained here
with torch.no_grad():
    strip({"test digits": x_test[:10], "rebuilt": broken(x_test[:10])[2].sigmoid()})

# %% [markdown]
# **Given** `h` (B, D, H, W) and `codebook` (K, D). **Asked:** `quantise_map`, the same function without the bug: the map of the codes
# (B, D, H, W), and the tokens (B, H · W), numbered row by row. **Checked:** both, for maps of several sizes.
#
# Do not guess: let `h` hold its own place, `h[b, d, i, j] = 100 d + 10 i + j`, and look at what becomes a vector.

# %% tags=["solution:quantise_map"]
def quantise_map(h, codebook):
    """(B, D, H, W), (K, D) -> (B, D, H, W), (B, H * W)"""
    ### BEGIN SOLUTION
    B, D, H, W = h.shape
    vectors = h.permute(0, 2, 3, 1).reshape(-1, D)                # channels last, then rows of D
    idx = torch.cdist(vectors, codebook).argmin(1)
    codes = codebook[idx].view(B, H, W, D).permute(0, 3, 1, 2)
    return codes, idx.view(B, H * W)
    ### END SOLUTION

# %% tags=["test:check_quantise_map:3"]
check.quantise_map(quantise_map)
### BEGIN HIDDEN TESTS
_h, _book = torch.randn(2, 3, 4, 5), torch.randn(6, 3)
_codes, _tokens = quantise_map(_h, _book)
for _b in range(2):
    for _i in range(4):
        for _j in range(5):
            _k = int((_book - _h[_b, :, _i, _j]).square().sum(1).argmin())
            assert int(_tokens[_b, 5 * _i + _j]) == _k, "a token is not the number of the nearest code"
            torch.testing.assert_close(_codes[_b, :, _i, _j].float(), _book[_k])
### END HIDDEN TESTS

# %% [markdown]
# ## 4 · Without a codebook (3 points)
#
# Finite scalar quantisation for an odd number of levels $L$: with $h = (L - 1)/2$ a number is squeezed to $s = h \tanh z$, rounded to the
# nearest whole number, and divided by $h$. So there are $L$ levels from −1 to 1, and 0 is one of them. Rounding has no gradient: the
# gradient is to be that of $s / h$, as if nothing had been rounded.
#
# **Given** `z` of any shape and an odd `L`. **Asked:** the levels, a tensor of the same shape. **Checked:** the values, and the
# gradient with respect to `z`.

# %% tags=["solution:round_to_levels"]
def round_to_levels(z, L):
    """(...) -> (...), with L levels from -1 to 1"""
    ### BEGIN SOLUTION
    h = (L - 1) / 2
    s = h * z.tanh()
    return (s + (s.round() - s).detach()) / h
    ### END SOLUTION

# %% tags=["test:check_round_to_levels:3"]
check.round_to_levels(round_to_levels)
### BEGIN HIDDEN TESTS
_z = torch.linspace(-4, 4, 200, requires_grad=True)
_levels = round_to_levels(_z, 5)
assert set(_levels.detach().mul(2).round().int().tolist()) == {-2, -1, 0, 1, 2}, "not the five levels"
assert float((_levels - _z.tanh()).detach().abs().max()) < 0.2501, "not the nearest level"
_slope, = torch.autograd.grad(_levels.sum(), _z)
torch.testing.assert_close(_slope.float(), 1 - _z.detach().tanh() ** 2, rtol=1e-3, atol=1e-4)
### END HIDDEN TESTS

# %% [markdown]
# ## 5 · Does a word know where it is?
#
# ### 5a · Measure (2 points)
#
# If a digit moves by one pixel, we see the same digit. Does the encoder use the same words?
#
# **Given** the shipped `vqvae` and 1,000 test digits. **Asked:** `changed_share`, the share of all 49,000 words that change when each
# digit moves by *one* pixel to the right: `x_test.roll(1, 3)`. **Checked:** your number, within 2 percent.

# %% tags=["solution:changed_share"]
vqvae = load_checkpoint("vqvae")
changed_share = ...  # set it to your number at the end
### BEGIN SOLUTION
tokens = vqvae.encode(x_test)                                     # (1000, 49)
changed_share = (vqvae.encode(x_test.roll(1, 3)) != tokens).float().mean()
claim("share of words that change", changed_share, ">", 0.3)
### END SOLUTION

# %% tags=["test:check_changed_share:2"]
check.changed_share(changed_share)
### BEGIN HIDDEN TESTS
_model = load_checkpoint("vqvae")
_share = (_model.encode(x_test.roll(1, 3)) != _model.encode(x_test)).double().mean()
assert abs(float(changed_share) - float(_share)) < 0.03 * float(_share), "not the share of a second measurement"
### END HIDDEN TESTS

# %% [markdown]
# ### 5b · Explain (3 points)
#
# Now the digits move by four pixels, the distance between two places. We compare each word with the one that stood a place further
# left before, `tokens[:, :, :-1]` of the grid.

# %%
before = vqvae.encode(x_test).view(-1, 7, 7)
after = vqvae.encode(x_test.roll(4, 3)).view(-1, 7, 7)
same = (after[:, 1:-1, 2:-1] == before[:, 1:-1, 1:-2]).float().mean()
claim("inner words that moved along with the digit, four pixels", same, ">", 0.95)

# %% [markdown]
# **Explain** in five to eight sentences. (i) Four places in ten are empty paper, and their word stays. So what you measured in 5a means
# that nearly all other words change. Why is that no defect? (ii) Why do the words move along when the shift is four pixels? (iii) A GPT
# shall learn sentences of these words from 4,000 digits. What does (i) mean for it, and why may it help to encode *moved* digits in
# training?

# %% [markdown] tags=["manual:explain_words:3"]
# (i) A word does not say "a vertical stroke", it says "a vertical stroke at this place of my window, this thick". If the stroke moves by a
# pixel, the word that describes it best is another one. The decoder needs exactly this, since it must draw the stroke where it is, and
# the moved digit is rebuilt as well as before. (ii) The encoder is made of convolutions, and all its strides together are
# four pixels: each place sees the window of 8 × 8 pixels around it. Shifted by four, the same window lies at the next place, so the
# same vector comes out and the same code is nearest. Only at the border, where something comes in, words may differ. (iii) A
# digit that moves by a pixel is a new sentence, with other words. So the 4,000 sentences show each digit in few of its spellings,
# and a large model learns them by heart. Digits moved and encoded again are new sentences that say the same, and cost nothing.
#
# **Rubric.** 1 point: (i) a word holds the position inside its window, which the decoder needs. 1 point: (ii) the strides multiply to
# four, so the same window lies at the next place. 1 point: (iii) many spellings of one digit, few seen; moved
# digits are more data.

# %% [markdown]
# ## 6 · Your own question (4 points)
#
# Ask a question about VQ-VAEs that the lesson does not answer, **write down your guess**, and find out. Examples: How well can a digit
# be recognised from its words? Which words are only used in 8s? What does the decoder draw if all 49 words are the same? Does the small
# model of task 3 collapse, and from what on? How does the error grow if a share of the words is replaced at random? Your code
# shall run in less than a minute.

# %% tags=["solution:own_experiment"]
train_tokens = vqvae.encode(x_train)                              # (4000, 49)
test_tokens = vqvae.encode(x_test)
seen = F.one_hot(train_tokens, 128).float()                       # (4000, 49, 128)
table = torch.stack([seen[y_train == c].sum(0) for c in range(10)]) + 0.1                 # (10, 49, 128)
by_place = (table / table.sum(2, keepdim=True)).log()
anywhere = table.sum(1) / table.sum((1, 2), keepdim=True)[:, 0]   # (10, 128)
with_place = torch.stack([by_place[:, i, test_tokens[:, i]].T for i in range(49)]).sum(0)  # (1000, 10)
bag = anywhere.log().T[test_tokens].sum(1)                        # (1000, 10)
right = {"place by place": (with_place.argmax(1) == y_test).float().mean(),
         "as a bag of words": (bag.argmax(1) == y_test).float().mean()}
for name, accuracy in right.items():
    claim(f"accuracy, words {name}", accuracy, ">", 0.3)
fig, ax = plt.subplots(figsize=(4, 2.5))
ax.bar(list(right), [float(a) for a in right.values()])
ax.set(ylabel="accuracy", ylim=(0, 1));

# %% [markdown]
# Write here: your question, your guess, what you did, what came out (a number or a figure), how sure you are of it, and what
# you would try next. Half a page is plenty.

# %% [markdown] tags=["manual:own_question:4"]
# *An example of an answer.* **Question:** can a digit be recognised from its words, and does it matter where they stand? **Guess:**
# 90 percent with places; much less from how often each word occurs, since the words are pieces of strokes that all digits have.
# **Experiment:** count how often each word stands at each place in training digits of each class (a tenth added), and take the class
# that makes the words of a test digit most probable, as if places were independent; then the same without places. **Result:** between
# 80 and 90 percent with places, and about 40 as a bag of words: less than half of that, but far more than the 10 percent of guessing. The
# strokes alone tell something (a 1 has few words and a 7 has horizontal ones), but where they stand tells more. **Sure?** 1,000 test digits: the standard error is about one percent, and the gap is much larger. It is one
# codebook; another one has other words. **Next:** how does the accuracy depend on the number of codes?
#
# **Rubric.** 1 point: a question that can be answered by an experiment, and a guess made before. 1 point: one thing is changed
# and the rest held fixed; measured on images that the model was not trained on, where that matters. 1 point: a number or a figure
# with labelled axes, described truthfully, whether or not it agrees with the guess. 1 point: says how sure the result is (several
# seeds or draws, a standard deviation) or what might be wrong with it.
