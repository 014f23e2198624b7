# %% [markdown]
# # 33 · VQ-VAE: a digit in 49 words
#
# A sentence is a row of words from a fixed list, and a language model needs nothing more than that. Could a
# picture be one too? In this lesson an encoder looks at 7 × 7 places of a digit and names for each of them the most
# fitting of 128 words. A decoder sees only the 49 names, and draws the digit again. At the end you will have made the
# picture below, you will know what each of the 128 words looks like, and you will have seen how such a list dies: most
# of its words are never used again, and the loss does not say so.
#
# **After this lesson you can**
# - train through a choice that has no derivative, and keep a codebook of words alive;
# - show that the codebook is learned by k-means, and replace it by rounding;
# - count what a picture costs in bits, and compare that fairly with a PNG.
#
# **You need** lessons [21](21_autoencoder.ipynb) (encoder, decoder) and [31](31_vae.ipynb) (Bernoulli likelihood,
# sharpness). **It takes** 80 minutes to read and half a minute to run. **How hard:** ••.
# All symbols are in the [table of symbols](symbols.ipynb).
#
# ## Set-up

# %%
import matplotlib.pyplot as plt
import torch
from torch.testing import assert_close

from course_lib.checkpoint import load as load_checkpoint
from course_lib.checkpoint import metadata
from course_lib.claims import claim
from course_lib.data import Batches, load
from course_lib.device import seed, seeded
from course_lib.plots import COLOURS, diagram, grid, sliders, strip

# %%
x, y = load("digits").train                                       # 4,000 images (4000, 1, 28, 28), labels
x_test, y_test = load("digits").test                              # 1,000
shipped = load_checkpoint("vqvae")
tokens = shipped.encode(x_test)                                     # (1000, 49) whole numbers, 0 to 127
rebuilt = shipped.decode(tokens)                                    # (1000, 1, 28, 28)
print(f"{shipped.K} words, {shipped.grid} places; the first digit begins with {tokens[0, :7].tolist()}")

# %%
# Figure: three panels. Left, a handwritten 0 with thin lines that cut it into 7 by 7 fields. Middle, the
# same fields, each with a number from 0 to 127 in it, one and the same in all empty fields. Right, the
# digit as it is drawn from these numbers alone: hardly different from the left one.
chosen = 4
fig, (left, middle, right) = plt.subplots(1, 3, figsize=(9, 3.1))
for ax, picture in ((left, x_test[chosen, 0]), (right, rebuilt[chosen, 0])):
    ax.imshow(picture, vmin=0, vmax=1, extent=(0, 7, 7, 0))
left.set_title("a digit")
right.set_title("drawn from the 49 words")
middle.set(title="its 49 words", xlim=(0, 7), ylim=(7, 0), aspect="equal")
for place, token in enumerate(tokens[chosen].tolist()):
    middle.text(place % 7 + 0.5, place // 7 + 0.5, token, ha="center", va="center", fontsize=9)
for ax in (left, middle):
    ax.hlines(range(1, 7), 0, 7, color=COLOURS[5], lw=0.6)
    ax.vlines(range(1, 7), 0, 7, color=COLOURS[5], lw=0.6)
for ax in (left, middle, right):
    ax.set(xticks=[], yticks=[])

# %% [markdown]
# The decoder never saw the digit on the left. All that it was told are the 49 numbers in the middle. Find the word for
# empty paper.
#
# ## Five numbers and two words, by hand
#
# Take five "vectors" of one number each, 1, 2, 3, 8 and 10, and two words, or **codes**, at 0 and 9. Each vector is
# replaced by the nearest code: 1, 2 and 3 become 0; 8 and 10 become 9. The squared error is $1 + 4 + 9 + 1 + 1 = 16$.
# Now let each code move to the mean of the vectors that chose it, to 2 and 9: the error falls to $1 + 0 + 1 + 1 + 1 =
# 4$. That was one step of **k-means**.

# %%
def nearest(z, codebook):
    """The number of the code that is nearest to each vector.  (N, D), (K, D) -> (N,)"""
    return torch.cdist(z, codebook).argmin(1)

five = torch.tensor([[1.0], [2.0], [3.0], [8.0], [10.0]])         # (5, 1) vectors
two = torch.tensor([[0.0], [9.0]])                                # (2, 1) codes
for codebook in (two, torch.tensor([[2.0], [9.0]])):
    idx = nearest(five, codebook)                                 # (5,)
    print(idx.tolist(), "squared error", (five - codebook[idx]).square().sum().item())

# %% [markdown]
# ## What we will build

# %%
# Figure: a diagram. An image (B, 1, 28, 28) goes into the encoder, which gives 49 vectors of 8 numbers.
# Each is replaced by the nearest code of a codebook (128, 8); the numbers of the codes are the tokens (B,
# 49). The decoder makes logits (B, 1, 28, 28) of the codes. Reconstruction and commitment are the loss.
image_box = "image x\n(B, 1, 28, 28)"
vector_box = "vectors z\n(B, 49, 8)"
book_box = "codebook\n(128, 8)"
choice_box = "nearest code\n(B, 49, 8)"
token_box = "tokens\n(B, 49)"
logit_box = "logits\n(B, 1, 28, 28)"
fit_box = "reconstruction\n$-$log $p$"
commit_box = "commitment\n|z $-$ code|$^2$"
boxes = {image_box: (0, 2.1), "encoder": (0, 1), vector_box: (1.1, 1), choice_box: (2.3, 1),
         book_box: (2.3, 0), token_box: (3.4, 0), "decoder": (3.4, 1), logit_box: (4.5, 1),
         fit_box: (4.5, 2.1), commit_box: (1.1, 0)}
arrows = [(image_box, "encoder"), ("encoder", vector_box), (vector_box, choice_box),
          (book_box, choice_box), (choice_box, token_box), (choice_box, "decoder"),
          ("decoder", logit_box), (logit_box, fit_box), (image_box, fit_box), (vector_box, commit_box),
          (choice_box, commit_box)]
paint = {"encoder": COLOURS[0], "decoder": COLOURS[0], fit_box: COLOURS[3], commit_box: COLOURS[3]}
diagram(boxes, arrows, paint);

# %% [markdown]
# This autoencoder (blue) with a choice in its middle is a **VQ-VAE**: VQ for vector quantisation, VAE because its loss
# can be derived as a bound, as in lesson 31 (van den Oord et al., 2017). The letters of lesson 22 were patches of pixels,
# found once; these words are learned together with both networks. How does a gradient pass the choice, why does the loss
# have a second term (orange), and who moves the **codebook**, the list of codes?
#
# ## Build it in the open
#
# ### A gradient through a choice
#
# Move a vector a little: the nearest code stays the same, so the output does not change. The derivative is 0 nearly
# everywhere, and the encoder would learn nothing. The way out is to *pretend that nothing was chosen.* On the way
# forward the decoder gets the code; on the way back the encoder gets the decoder's gradient unchanged. This is the
# **straight-through** gradient (Bengio et al., 2013). With `detach()`, which lets no gradient through, it is one line.

# %%
def straight_through(z, code):
    """The value of the code, the gradient of z."""
    return z + (code - z).detach()

def chosen_code(v):                                               # (4,) -> (4,), no trick
    return book[nearest(v[None], book)[0]]                        # `book` is made in the next cell

def with_trick(v):
    return straight_through(v, chosen_code(v))

# %%
from torch.autograd.functional import jacobian

book = torch.randn(10, 4, generator=seeded(1))                    # 10 codes of 4 numbers
v = torch.randn(4, generator=seeded(2))
assert_close(with_trick(v), chosen_code(v))                       # forward: the code
assert torch.equal(jacobian(with_trick, v), torch.eye(4))         # backward: exactly the identity
assert torch.equal(jacobian(chosen_code, v), torch.zeros(4, 4))   # without the trick: nothing

# %% [markdown]
# The Jacobian, the table of all derivatives, is exactly the identity. But it is not the derivative of what was
# computed, so descent may do strange things. Try it on one number: the codes are the whole numbers, a number $z$ is
# rounded to the nearest, and the loss is $(\text{round}(z) - 0.3)^2$. The best code is 0. We start at $z = 0.9$.
#
# **Write down a guess:** where does $z$ end? And where, if the loss has a second term $(z - \text{code})^2$?

# %%
def descend(weight, z=0.9, steps=60, rate=0.03):
    """Gradient descent with the straight-through gradient; `weight` is that of the second term."""
    path = [z]
    for _ in range(steps):
        code = round(z)
        slope = 2 * (code - 0.3) + weight * 2 * (z - code)        # by z, both terms
        z = z - rate * slope
        path.append(z)
    return torch.tensor(path)

free = descend(weight=0.0)
held = descend(weight=1.0)
print(f"codes chosen in the last 20 steps: alone {free[-20:].round().unique().tolist()}, "
      f"with the second term {held[-20:].round().unique().tolist()}")

# %%
# Figure: two paths over 60 steps of descent, both from 0.9, one for the loss alone, one with the second
# term. A dashed line at 0.5 separates numbers that are rounded to 1 from those that are rounded to 0.
_, ax = plt.subplots(figsize=(6.4, 2.7))
ax.plot(free, ".-", label="loss alone")
ax.plot(held, ".-", label="with the second term")
ax.axhline(0.5, color="black", lw=1, ls="--")
ax.set(xlabel="step", ylabel="$z$", ylim=(0, 1))
ax.legend();

# %% [markdown]
# The dashed line is the border between the two codes.
#
# <details><summary>Answer</summary>
#
# Alone, $z$ never comes to rest: below the border the code is 0, which is less than 0.3, so $z$ is pushed up; above it
# the code is 1, and $z$ is pushed down. It chooses now one, now the other. The second term pulls $z$ towards the code
# that it chose, away from the border, and the choice becomes calm.
# </details>
#
# ### The loss
#
# The second term is the **commitment**. With $e_k$ for the code nearest to $z$ and $\mathrm{sg}$, *stop gradient*, for
# `detach()`:
#
# $$L = -\log p(x \mid z) \;+\; \beta\, \lVert z - \mathrm{sg}(e_k) \rVert^2 \;+\; \lVert \mathrm{sg}(z) - e_k
# \rVert^2$$
#
# The first term is that of lesson 31, computed from the codes. All three are summed over the pixels or the 49 places of
# an image; $\beta = 0.25$ is usual. The last two have the same value, but stop different gradients. Who learns from
# which?

# %%
from course_lib.vae import bernoulli_log_prob
from course_lib.vqvae import VQVAE, VQVAEConfig

def three_terms(model, x):
    z = model.vectors(x)                                          # (B, 49, 8) from the encoder
    idx = nearest(z.flatten(0, 1), model.codes.vectors)           # (B * 49,)
    e = model.codes.vectors[idx].view_as(z)                       # (B, 49, 8)
    logits = model.draw(straight_through(z, e))                   # (B, 1, 28, 28) from the decoder
    return {"reconstruction": -bernoulli_log_prob(logits, x).mean(),
            "commitment": (z - e.detach()).square().flatten(1).sum(1).mean(),
            "codebook": (z.detach() - e).square().flatten(1).sum(1).mean()}

# %%
seed(0)
fresh = VQVAE(VQVAEConfig(n_channel=16))
for name in ("reconstruction", "commitment", "codebook"):
    fresh.zero_grad()
    three_terms(fresh, x[:64])[name].backward()
    learns = [part for part in ("encoder", "codes", "decoder")
              if any(p.grad is not None and p.grad.any() for p in getattr(fresh, part).parameters())]
    print(f"{name:15} moves: {', '.join(learns)}")

# %% [markdown]
# ### The codebook is k-means
#
# Only the last term moves the codes, each towards the vectors that chose it. For this no gradient is needed: the best
# place for a code is the mean of its vectors, as in our toy. But the encoder changes all the time, so old vectors
# should count less and less. Let $n_k$ vectors of a batch choose code $k$, and let $N_k$ be the number of vectors that
# it stands for so far. Then
#
# $$N_k' = \gamma N_k + n_k \qquad e_k' = \frac{\gamma N_k\, e_k + \sum z}{N_k'}$$
#
# where the sum runs over these vectors. This is an *exponential moving average* (EMA): with the decay $\gamma = 0.99$,
# a batch counts about a third as much after a hundred more. By hand, for the toy: with $N = (6, 6)$ and $\gamma = 0.5$
# the first code goes from 0 to $(3 \cdot 0 + 6)/(3 + 3) = 1$, halfway to its mean; the second stays at $(3 \cdot 9 +
# 18)/(3 + 2) = 9$.

# %%
def ema_step(codes, count, z, gamma):
    """(K, D), (K,), (N, D) -> the new codes and counts"""
    one_hot = nearest(z, codes)[:, None] == torch.arange(len(codes))                  # (N, K)
    new = gamma * count + one_hot.sum(0)                                              # (K,)
    total = gamma * count[:, None] * codes + one_hot.to(z.dtype).T @ z                # (K, D)
    return torch.where(new[:, None] > 0, total / new[:, None], codes), new

moved, count = ema_step(two, torch.tensor([6.0, 6.0]), five, gamma=0.5)
assert_close(moved, torch.tensor([[1.0], [9.0]]))

# %% [markdown]
# **Mini-batch k-means** (Sculley, 2010) is what clusters data that do not fit into memory. It takes vectors one by one,
# and each pulls its code towards itself, by one over the number of vectors that this code has had. Is our step the
# same? We write theirs as a loop, and ask scikit-learn as well.

# %%
from sklearn.cluster import MiniBatchKMeans

def kmeans_step(codes, count, z):
    """Mini-batch k-means, vector by vector."""
    idx = nearest(z, codes)
    codes = codes.clone()
    count = count.clone()
    for vector, k in zip(z, idx):
        count[k] += 1
        codes[k] += (vector - codes[k]) / count[k]
    return codes, count

# %%
batches = torch.randn(8, 50, 2, generator=seeded(3)).double()     # 8 batches of 50 vectors
codes, count = batches[0, :6], torch.zeros(6).double()
library = MiniBatchKMeans(6, init=codes.numpy(), n_init=1, reassignment_ratio=0)
for z in batches:
    slow, _ = kmeans_step(codes, 0.9 * count, z)                  # with old counts made smaller first:
    assert_close(ema_step(codes, count, z, gamma=0.9)[0], slow)   # ... any decay is their step
    codes, count = ema_step(codes, count, z, gamma=1.0)           # and without forgetting,
    library.partial_fit(z.numpy())                                # ... it is scikit-learn's
    assert_close(codes, torch.from_numpy(library.cluster_centers_))
print("eight steps, equal to both")

# %% [markdown]
# So a VQ-VAE clusters its own features by k-means, while they are being learned.
#
# ## Meet the library version
#
# `course_lib.vqvae` has the same functions; the first four lines below check the input. Its loss, `vqvae_loss`, leaves the
# third term out and moves the codebook instead.

# %%
import inspect

from course_lib import vqvae

print(inspect.getsource(vqvae.ema_step).split('"""')[2])           # the lines below its description

# %%
z = batches[0]
assert_close(vqvae.ema_step(codes, count, z, vqvae.nearest(z, codes), 0.9), ema_step(codes, count, z, 0.9))
assert_close(vqvae.straight_through(v, chosen_code(v)), with_trick(v))
fresh.eval()                                                      # or the codebook would move
terms = three_terms(fresh, x[:64])
mine = terms["reconstruction"] + 0.25 * terms["commitment"]
assert_close(vqvae.vqvae_loss(fresh, x[:64])["loss"], mine)

# %% [markdown]
# It adds two things that we need below: `start` puts the codes at vectors of real images, by k-means, and a code that
# stands for less than a twentieth of its fair share is *restarted* at a random vector of the batch.
#
# ## Train
#
# We train a small network (16 channels) for a short time, and watch how many codes are in use. The **perplexity** is
# $\exp H$, where $H = -\sum_k p_k \log p_k$ is the entropy of the shares $p_k$ with which the codes are chosen: 128 if
# all are chosen equally often, 1 if only one is.

# %%
from course_lib.train import fit

seed(0)
live = VQVAE(VQVAEConfig(n_channel=16)).start(x[:200])
live.to(memory_format=torch.channels_last)                        # a faster order in memory
history = fit(live, vqvae.vqvae_loss, Batches(x, batch_size=64), steps=150, lr=2e-3, betas=(0.9, 0.99),
              warmup=50, decay=0.5, ema=0.98, label="VQ-VAE")

# %% tags=["nbval-ignore-figure"]
# Figure: left, the reconstruction term over 150 steps, falling from 540 to about 80 nats. Right, the
# perplexity of each batch, falling at first and then rising above 10.
# not compared: curves of something trained here
fig, (left, right) = plt.subplots(1, 2, figsize=(8, 2.7))
history.plot("reconstruction", ax=left)
history.plot("perplexity", ax=right)
left.set(ylabel="nats per image", title="reconstruction", yscale="log")
left.set(yticks=[70, 100, 200, 500], yticklabels=[70, 100, 200, 500])
left.minorticks_off()
right.set(ylim=(0, None));

# %% tags=["nbval-ignore-figure"]
# Figure: ten test digits, below them their reconstructions from 49 words each, by the live model and by
# the shipped one. The live ones are slightly blurred, the shipped ones look like the originals.
# not compared: the live model was trained here
ten = torch.stack([x_test[y_test == c][2] for c in range(10)])    # (10, 1, 28, 28)
strip({"real": ten, "live": live(ten), "shipped": shipped(ten)});

# %% [markdown]
# At first nearly all places choose the same few codes; then the perplexity rises, and the reconstruction improves. The
# shipped checkpoint is twice as wide, and it was trained for 1,600 steps on digits that are slightly turned, stretched
# and bent each time (`augment`, lesson 12). Its images are drawn with sharpness (lesson 31).
#
# ## Look inside
#
# ### What the words look like
#
# The places are 4 pixels apart. How many pixels does the encoder see at each? The gradient of one vector tells, as in
# lesson 12.

# %%
probe = torch.rand(1, 1, 28, 28, generator=seeded(0)).requires_grad_()
shipped.vectors(probe)[0, 24].sum().backward()                      # the place in the middle
rows_seen = probe.grad[0, 0].any(1).nonzero().flatten()
print(f"the place in row 3 has the pixels 12 to 15, and sees {rows_seen.min()} to {rows_seen.max()}")

# %% [markdown]
# It sees 8 × 8 pixels. For each word we collect the places in 4,000 digits where it was chosen, cut out these pixels, and
# take the mean.

# %%
from torch.nn.functional import one_hot, unfold

train_tokens = shipped.encode(x)                                    # (4000, 49)
seen = unfold(x, kernel_size=8, stride=4, padding=2)              # (4000, 64, 49) what each place sees
seen = seen.transpose(1, 2).flatten(0, 1)                         # (196000, 64)
words = train_tokens.flatten()                                    # (196000,)
used = torch.bincount(words, minlength=128)                       # (128,)
patches = torch.zeros(128, 64).index_add_(0, words, seen) / used[:, None].clamp(min=1)
by_ink = patches.mean(1).argsort()                                # from empty to black

# %%
# Figure: the codebook as a wall of 8 rows of 16 small grey pictures, one for each word, with little ink at
# the top and much at the bottom: empty paper, edges and corners of strokes, thin strokes in all
# directions and at all places of the window, ends, curves, and black.
grid(patches[by_ink].view(128, 1, 8, 8), n_col=16);

# %% [markdown]
# Nearly every word is a piece of a stroke: an edge, a line, a curve, an end, in one direction and at one place of its
# window. Nobody told the model about strokes.

# %%
claim("words in use on test digits", len(tokens.unique()), ">=", 120)
claim("perplexity on test digits", vqvae.perplexity(tokens, 128), "<", 50, digits=1)
claim("share of the most frequent word, empty paper", used.max() / used.sum(), ">", 0.3)

# %% [markdown]
# All words are in use. The perplexity is much lower than their number, mainly since four places in ten are empty paper.
#
# ### One word exchanged
#
# What does a single word decide? We take a 0, and exchange the word at one place of its stroke for eight others from the
# wall, from empty to black.

# %%
place = 7 * 3 + 5                                                 # row 3, column 5
others = by_ink[torch.linspace(0, 127, 8).long()]                 # 8 words
changed = tokens[chosen].repeat(8, 1)                             # (8, 49)
changed[:, place] = others
exchanged = shipped.decode(changed)                                 # (8, 1, 28, 28)
difference = (exchanged - rebuilt[chosen]).abs().sum((0, 1))      # (28, 28)
inside = difference[8:20, 16:28].sum() / difference.sum()
claim("share of the change in the 12 × 12 pixels around the place", inside, ">", 0.6)

# %%
# Figure: nine pictures of one 0. The first is its reconstruction; in the eight others one word at the
# right was exchanged, and the stroke there is interrupted, thinner, or goes another way.
_, ax = plt.subplots(figsize=(9, 1.2))
grid(torch.cat([rebuilt[chosen:chosen + 1], exchanged]), n_col=9, ax=ax);

# %% [markdown]
# The rest of the digit stays. Try any place and any word yourself (in a running notebook):

# %%
# Figure: three sliders, for row, column and word, beside the digit that they make.
def show(row, column, word):
    edited = tokens[chosen:chosen + 1].clone()                    # (1, 49)
    edited[0, 7 * int(row) + int(column)] = int(word)
    plt.figure(figsize=(2.4, 2.4))
    plt.imshow(shipped.decode(edited)[0, 0], vmin=0, vmax=1)
    plt.axis("off")

word = tokens[chosen, place].item()                               # as it is
sliders(show, row=(3, 0, 6, 1), column=(5, 0, 6, 1), word=(word, 0, 127, 1))

# %% [markdown]
# ## Without a codebook: round the numbers
#
# A codebook is one way to say "one of 128". In another, the encoder gives only three numbers, and we round the first to
# one of 8 levels and the others to one of 4: $8 \cdot 4 \cdot 4 = 128$. This is **finite scalar quantisation** (FSQ;
# Mentzer et al., 2024). A number is first squeezed between its lowest and highest level, then rounded, then scaled:
#
# $$\text{code} = \frac{\text{round}\big(h \tanh(z + \tan\tfrac{o}{h}) - o\big)}{\lfloor L / 2 \rfloor} \qquad h =
# \tfrac{L - 1}{2} \cdot 0.999$$
#
# for $L$ levels, with $o = \tfrac12$ if $L$ is even (there is no middle level) and 0 if it is odd. The tangent is there
# so that $z = 0$ becomes the code 0, and 0.999 is a margin for rounding errors.

# %%
def fsq_by_hand(number, L):
    h = (L - 1) / 2 * 0.999
    o = 0.5 if L % 2 == 0 else 0.0
    squeezed = h * torch.tanh(number + torch.tan(torch.tensor(o / h))) - o
    return squeezed.round() / (L // 2)

z = 2 * torch.randn(1000, 3, generator=seeded(0))
levels = (8, 4, 4)
columns = [fsq_by_hand(z[:, i], levels[i]) for i in range(3)]
assert_close(vqvae.fsq(z, levels), torch.stack(columns, dim=1))
print("levels of the first number:", (columns[0].unique() + 0).tolist())

# %%
# Figure: two panels of the same 2,000 points in the plane, in two clumps. Left, 16 codes of k-means and
# the cells of their points in different colours: small cells where points are dense. Right, 16 codes of
# FSQ, 4 by 4 levels: the cells are rectangles on a fixed grid, whatever the points do.
a = torch.randn(2000, 2, generator=seeded(4)) * torch.tensor([0.6, 0.3])
cloud = a + torch.where(torch.arange(2000) % 3 > 0, 0.7, -0.9)[:, None]
kmeans_codes = vqvae.Codebook(16, 2).start(cloud, generator=seeded(0))
fsq_codes = vqvae.FSQ((4, 4))
fig, axes = plt.subplots(1, 2, figsize=(8, 3.4), sharey=True)
for ax, codes16, title in zip(axes, (kmeans_codes, fsq_codes), ("codebook of 16", "FSQ, 4 × 4 levels")):
    ax.scatter(*cloud.T, c=[COLOURS[k % 8] for k in codes16.index(cloud)], s=4, lw=0)
    ax.set(title=title, xlabel="first number", xlim=(-2.6, 2.6), ylim=(-2.2, 2.2))
axes[0].plot(*kmeans_codes.vectors.detach().T, "kx", ms=6)
axes[0].set_ylabel("second number");

# %% [markdown]
# A codebook puts its cells where the vectors are (crosses are codes). FSQ has fixed cells, and the *encoder* must spread
# its vectors over them. It has nothing to learn, nothing to start, and no commitment term: the loss is the reconstruction
# alone (`fsq_loss`).
#
# ## Results
#
# ### What a digit costs in bits
#
# 49 words of 128 cost at most $49 \log_2 128 = 49 \cdot 7 = 343$ bits. If some words are more frequent than others, less
# is enough: a word with the probability $p$ costs $-\log_2 p$ bits, its surprise (lesson 11). We count on training digits
# and pay on test digits, with three simple models: one table of shares for all places; a table for each place; and a
# table of what follows the word to the left.

# %%
def shares(counts):
    """Counts (..., 128) -> probabilities; a tenth is added, so that nothing is impossible."""
    return (counts + 0.1) / (counts + 0.1).sum(-1, keepdim=True)

hot = one_hot(train_tokens, 128).float()                          # (4000, 49, 128)
before = train_tokens.roll(1, 1)                                  # the word to the left (first: the last)
everywhere = shares(hot.sum((0, 1)))                              # (128,)
each_place = shares(hot.sum(0))                                   # (49, 128)
after = torch.zeros(128, 128).index_add_(0, before.flatten(), hot.flatten(0, 1))
follows = shares(after)                                           # (128, 128)

# %%
def bits(p):
    """Probabilities (1000, 49) of the words that came -> bits per image"""
    return -p.log2().sum(1).mean().item()

ceiling = 49 * torch.tensor(128.0).log2().item()
cost = {"one table": bits(everywhere[tokens]),
        "a table for each place": bits(each_place.gather(1, tokens.T).T),
        "given the word to the left": bits(follows[tokens.roll(1, 1), tokens])}
claim("bits an image, ceiling", ceiling, "==", 343.0, digits=0)
for name, value in cost.items():
    claim(f"bits an image, {name}", value, "<", 260, digits=0)

# %% [markdown]
# And a PNG? It is lossless, so this is not like with like, and it has a frame: signature, size, checksums. We measure
# file and frame, then put all digits into *one* picture that shares the frame, and at last allow a loss: black and white.

# %%
import io

from PIL import Image

def png_of(picture, mode="L"):
    """The bytes of a PNG of grey values (H, W) in [0, 1]; mode "1" is black and white."""
    file = io.BytesIO()
    grey = Image.fromarray((255 * (1 - picture)).byte().numpy())
    grey.convert(mode, dither=Image.Dither.NONE).save(file, "PNG", optimize=True)
    return file.getvalue()

# %%
single = [8 * len(png_of(digit[0])) for digit in x_test]          # bits of each
together = x_test.flatten(0, 2)                                   # (28000, 28) one picture
png_grey = 8 * len(png_of(together)) / 1000
png_black = 8 * len(png_of(together, mode="1")) / 1000
first = png_of(x_test[0, 0])
at = first.index(b"IDAT")                                         # the four bytes before it say how long
frame = 8 * (len(first) - int.from_bytes(first[at - 4:at], "big"))                    # the data are
claim("bits a PNG of one digit, mean", sum(single) / 1000, ">", 1500, digits=0)
claim("of these, its frame", frame, "==", 456)
claim("bits a digit, all digits in one PNG", png_grey, ">", 1200, digits=0)
claim("bits a digit, all in one PNG, black and white", png_black, ">", 250, digits=0)

# %% [markdown]
# The frame of a PNG alone costs more than the whole digit in words, so we compare with the shared PNG. How much is lost?
# We ask the judge of lesson 12 how far the reconstructions are from the digits (Fréchet distance; the same digits on
# both sides, so 0 is possible). The autoencoder of lesson 21 gets the same sharpness, and each of its 16 numbers is
# rounded to one of 256 steps, 8 bits in place of 32.

# %%
from course_lib.metrics import frechet_distance, judge_features

autoencoder = load_checkpoint("autoencoder")                      # of lesson 21
with torch.no_grad():
    numbers = autoencoder.encode(x_test)                          # (1000, 16)
    step = (numbers.max() - numbers.min()) / 255
    steps = (numbers / step).round() * step                       # 8 bits each
    by_numbers = (shipped.config.sharpness * autoencoder.decoder(steps)).sigmoid()

# %% tags=["nbval-ignore-output"]
# not compared: the last digit depends on the processor; the next cell checks what matters
table = {"PNG, grey": (png_grey, x_test), "PNG, black and white": (png_black, (x_test > 0.5).float()),
         "autoencoder, 16 × 8 bits": (16 * 8, by_numbers),
         "VQ-VAE": (ceiling, rebuilt),
         "VQ-VAE, table for a place": (cost["a table for each place"], rebuilt)}
real = judge_features(x_test)
distance = {}
error = {}
print("                            bits   distance   squared error")
for name, (price, images) in table.items():
    distance[name] = frechet_distance(judge_features(images), real)
    error[name] = (images - x_test).square().flatten(1).sum(1).mean()
    print(f"{name:26} {price:5.0f} {distance[name]:10.2f} {error[name]:12.2f}")

# %%
claim("distance of the VQ-VAE's reconstructions", distance["VQ-VAE"], "<", 0.3)
claim("distance of the black and white PNG", distance["PNG, black and white"], ">", 0.5)
saved = png_black - cost["a table for each place"]
claim("bits that the words with a table save against it", saved, ">", 50, digits=0)
claim("squared error of the autoencoder, as a multiple of the VQ-VAE's",
      error["autoencoder, 16 × 8 bits"] / error["VQ-VAE"], ">", 2, digits=1)
weights = 16 * sum(p.numel() for p in shipped.parameters())         # bits
claim("digits whose words cost as much as the network itself", weights / ceiling, ">", 5000, digits=0)

# %% [markdown]
# With a table for each place, the words cost less than black and white, and lose less. The autoencoder needs still fewer
# bits and loses more: its code has no places, and is no sentence. And to read the words one needs the network, which
# costs as many bits as the words of thousands of digits (last line). Storing digits is not what words are for.
#
# ### Can we write new digits?
#
# What does a random sentence look like? We sample each word with its probability at its place, without its neighbours.

# %%
drawn = torch.multinomial(each_place, 1000, replacement=True, generator=seeded(0)).T  # (1000, 49)
random_digits = shipped.decode(drawn)
far = frechet_distance(judge_features(random_digits), real)
claim("distance of digits of random words", far, ">", 20, digits=1)

# %%
# Figure: three rows of ten. Real digits; the same from their words; pictures of words that were sampled
# place by place: crumbs of strokes that do not meet.
strip({"real": x_test[:10], "their words": rebuilt[:10], "random words": random_digits[:10]});

# %% [markdown]
# Every piece is a piece of handwriting, but they do not know each other. So a VQ-VAE generates nothing by itself. It
# needs a model of which words follow which: a language model. [Lesson 56](56_everything_is_a_token.ipynb) trains a GPT
# on these sentences.
#
# ## Predict, then turn one knob: the size of the codebook
#
# Small models, 8 channels and 200 steps, were trained with 8, 32, 128 and 512 codes, five seeds each; the numbers
# travel with a checkpoint. **Write down a guess:** each step multiplies the codebook by 4, which is two more
# bits a place. By how much does the distance fall? How many of the 512 words are in use?

# %%
made = metadata("vqvae_collapsed")
print(made["columns"])
trials = {name: torch.tensor(rows) for name, rows in made["trials"].items()}          # (5, 4) each
sizes = [8, 32, 128, 512]
by_size = torch.stack([trials[str(K)] for K in sizes])            # (4 sizes, 5 seeds, 4 columns)

# %%
# Figure: two panels over the number of codes, 8, 32, 128 and 512, five dots for each. Left, the distance
# of reconstructions. Right, the perplexity, below a dashed diagonal for a codebook whose words are all
# used equally often.
fig, (left, right) = plt.subplots(1, 2, figsize=(8, 2.9))
for column, ax in ((0, left), (1, right)):
    for i in range(5):
        ax.plot(sizes, by_size[:, i, column], "o", color=COLOURS[0], alpha=0.6)
    ax.set(xscale="log", yscale="log", xticks=sizes, xticklabels=sizes, xlabel="codes")
    ax.minorticks_off()
right.plot(sizes, sizes, "k--", lw=1, label="all equally often")
left.set(ylabel="distance of reconstructions", yticks=[4, 6, 8, 10, 12], yticklabels=[4, 6, 8, 10, 12])
right.set(ylabel="perplexity", yticks=sizes, yticklabels=sizes)
right.legend();

# %%
middle_of = by_size.median(1).values                              # (4 sizes, 4 columns)
wide = trials["restarts"].median(0).values                        # 128 codes that see nearly all
print("medians of five seeds")
for K, row in zip(sizes, middle_of):
    print(f"{K:3} codes: distance {row[0]:4.1f}, words in use {row[2]:3.0f}")
claim("distance with 8 codes, as a multiple of that with 512", middle_of[0, 0] / middle_of[3, 0], ">", 1.3)
claim("share of 512 words that are in use", middle_of[3, 2] / 512, "<", 0.8)
claim("distance of 128 words that see the whole digit", wide[0], "<", 5, digits=1)
claim("perplexity of 128 words that see the whole digit", wide[1], ">", 64, digits=1)
claim("perplexity of 128 words that see 8 × 8 pixels", middle_of[2, 1], "<", 30, digits=1)

# %% [markdown]
# <details><summary>Answer</summary>
#
# From 8 to 32 codes the median distance falls by a third, from 11.0 to 7.1. Then it falls to 6.7 and 6.0, which is less
# than five seeds differ among themselves. Of 512 words 147 are in use: a large codebook is hard to keep in use.
# </details>
#
# The last three lines turn another knob. If each word sees nearly the whole digit, and not only 8 × 8 pixels, even empty
# paper tells something about the strokes around it. Digits are rebuilt better (3.9 in place of 6.7), and the words are
# used much more evenly. But every place then costs more than 6 bits, and no word means anything by itself.
#
# ## Break it: a codebook that dies
#
# Now we do it as it was done at first: codes start at random, $\mathcal N(0, I)$, and learn by gradient from the third
# term of the loss. Let each word see nearly the whole digit (`wide`), so that a healthy codebook is used evenly. **Write
# down a guess:** what is the perplexity after 100 steps?

# %%
def first_way(model, x):
    return vqvae.vqvae_loss(model, x, decay=None)

perplexities = {}
for name, loss in {"as it is": first_way, "repaired": vqvae.vqvae_loss}.items():
    seed(0)
    small = VQVAE(VQVAEConfig(n_channel=16, wide=True)).to(memory_format=torch.channels_last)
    if name == "repaired":
        small.start(x[:200])
    perplexities[name] = fit(small, loss, Batches(x, batch_size=64), steps=100, lr=4e-3)["perplexity"]
claim("perplexity after 100 steps, as it is", perplexities["as it is"][-1], "<", 10, digits=1)
claim("perplexity after 100 steps, repaired", perplexities["repaired"][-1], ">", 30, digits=1)

# %% tags=["nbval-ignore-figure"]
# Figure: the perplexity of each batch over 100 steps, for the codebook as it is and for the repaired one.
# not compared: two models trained here
_, ax = plt.subplots(figsize=(6.4, 2.7))
for name in perplexities:
    ax.plot(perplexities[name], label=name)
ax.set(xlabel="step", ylabel="perplexity", ylim=(0, 128))
ax.legend();

# %% [markdown]
# <details><summary>Answer</summary>
#
# About 4, a handful of words: this is **codebook collapse**. Random codes lie far from what an untrained encoder says.
# The few that are nearest get all the vectors; the others are never chosen, so no gradient ever moves them. The loss
# still falls, since a few words draw something.
# </details>
#
# Three repairs, each added to those before it, with five seeds (small models, 200 steps):
#
# - **start at data:** the first codes are k-means of what the untrained encoder says;
# - **moving averages:** a code goes to the mean of its vectors, instead of a small step at the learning rate;
# - **restarts:** a code that dies anyway moves to a vector of the batch.

# %%
rows = {"as it is": "as it is", "started at data": "started at data",
        "+ moving averages": "moving averages", "+ restarts": "restarts", "FSQ": "FSQ",
        "FSQ, 600 steps": "FSQ, 600 batches"}
print("perplexity of 128       five seeds                    worst   distance, median")
for label, name in rows.items():
    five_seeds = trials[name][:, 1]                               # (5,)
    listed = "  ".join(f"{p:5.1f}" for p in five_seeds.tolist())
    print(f"{label:22}  {listed}  {five_seeds.min():6.1f}  {trials[name][:, 0].median():8.2f}")

# %%
worst = {name: rows[:, 1].min() for name, rows in trials.items()}
claim("perplexity as it is, the best of five seeds", trials["as it is"][:, 1].max(), "<", 10, digits=1)
claim("perplexity, all repairs, the worst of five", worst["restarts"], ">", 50, digits=1)
claim("perplexity, FSQ with 600 steps, the worst of five", worst["FSQ, 600 batches"], ">", 20, digits=1)

# %% [markdown]
# By its distance, in the last column, the dying codebook is no worse than the two rows below it. FSQ needs none
# of the repairs, since it has no code that could lie in the wrong place: its cells cover everything that a squeezed
# number can be. But it does not make a bad encoder good. In one of five seeds the encoder had spread over few cells after
# 200 steps; after 600 all have spread.

# %% [markdown]
# ## In the wild
#
# `diffusers` calls it `VQModel`. That of aMUSEd makes 16 × 16 words out of an image of 256 × 256 pixels. On a GPU:
#
# ```python
# import torch
# from diffusers import VQModel                             # pip install diffusers
#
# vq = VQModel.from_pretrained("amused/amused-256", subfolder="vqvae").to("cuda")
# with torch.no_grad():                                     # images (B, 3, 256, 256) in [0, 1]
#     z = vq.encode(images.to("cuda")).latents              # our model.vectors(x)
#     code, _, (_, _, tokens) = vq.quantize(z)              # straight_through(...), and which
#     rebuilt = vq.decode(z).sample                         # quantises again, and draws
# ```
#
# Training code with all the repairs, and with FSQ, is in `vector-quantize-pytorch`. The first DALL·E was a language
# model over such words (Ramesh et al., 2021); speech and music are turned into words in the same way.

# %% [markdown]
# ## Recap
#
# 1. A VQ-VAE replaces each vector of its encoder by the nearest of $K$ codes; which ones is all that the decoder knows.
# 2. A choice has no derivative. Straight-through pretends that there was none; the commitment keeps the choice calm.
# 3. A codebook by moving averages is mini-batch k-means that forgets. Start it at data and restart what dies.
# 4. FSQ rounds a few numbers instead. It has no codebook that could collapse; its encoder must still learn to spread.
# 5. Watch the perplexity: the loss does not tell you that a codebook is dying.
#
# **What we left out.** Several codebooks, each for what the one before left over (residual quantisation), which audio
# codecs use. A critic and features of a classifier in the loss, which make words of photographs sharp (VQGAN; Esser et
# al., 2021). The derivation of the loss as a bound.
#
# **Exercises:** [33_vq_vae](../exercises/33_vq_vae/33_vq_vae.ipynb). **Next**, [lesson 41](41_gan.ipynb): a generator
# without any likelihood, whose loss is learned.
#
# ## Read on
#
# - A. van den Oord, O. Vinyals & K. Kavukcuoglu, *Neural discrete representation learning* (2017),
#   [arXiv:1711.00937](https://arxiv.org/abs/1711.00937): the loss is eq. 3, the moving averages are in appendix A.1.
# - Y. Bengio, N. Léonard & A. Courville, *Estimating or propagating gradients through stochastic neurons for
#   conditional computation* (2013), [arXiv:1308.3432](https://arxiv.org/abs/1308.3432): straight-through.
# - D. Sculley, *Web-scale k-means clustering* (2010),
#   [doi:10.1145/1772690.1772862](https://doi.org/10.1145/1772690.1772862).
# - P. Dhariwal et al., *Jukebox: a generative model for music* (2020),
#   [arXiv:2005.00341](https://arxiv.org/abs/2005.00341): random restarts.
# - F. Mentzer, D. Minnen, E. Agustsson & M. Tschannen, *Finite scalar quantization: VQ-VAE made simple* (2024),
#   [arXiv:2309.15505](https://arxiv.org/abs/2309.15505).
# - A. Ramesh et al., *Zero-shot text-to-image generation* (2021),
#   [arXiv:2102.12092](https://arxiv.org/abs/2102.12092). P. Esser, R. Rombach & B. Ommer, *Taming transformers for
#   high-resolution image synthesis* (2021), [arXiv:2012.09841](https://arxiv.org/abs/2012.09841).
# - In the library: `vqvae.py` (`straight_through`, `ema_step`, `restarted`, `perplexity`, `fsq`, `VQVAE`).
