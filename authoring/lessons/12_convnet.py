# %% [markdown]
# # 12 · Convolution: one small detector, used everywhere
#
# The MLP of lesson 11 reads a digit as a list of 784 numbers. It is never told which pixels are neighbours, and what
# it learns about a stroke at the top left is of no use at the bottom right. A **convolution** builds both facts in: it
# lays one small table of weights on every place of the image, and writes down how well the two agree. We build this
# layer from loops and train a network of such layers on only 200 digits. Its larger twin, trained on 4,000 digits,
# misreads fewer than one in a hundred. It is called **the judge**, because it will measure every generator of this
# course. The picture below is its map of handwriting; at the end you will know how it came about.
#
# **After this lesson you can**
# - write a convolution in five lines, and say what it sees, what it shares, and how it follows a shift;
# - get more from few examples by augmentation, and compare networks fairly;
# - check whether a probability keeps its promise, and repair it with one number.
#
# **You need** [lesson 11](11_softmax_and_mlp.ipynb) (softmax, cross-entropy, MLP). **It takes** 90 minutes to read and
# half a minute to run. **How hard:** ••. All symbols are in the [table of symbols](symbols.ipynb).
#
# ## Set-up

# %%
import matplotlib.pyplot as plt
import torch
from torch import nn
from torch.nn import functional as F

from course_lib import checkpoint, plots
from course_lib.claims import claim
from course_lib.data import Batches, load
from course_lib.device import seed, seeded

# %%
# Figure: two maps of the 1,000 test digits, coloured by class. From pixels the classes overlap in one
# cloud; from the judge's 64 numbers for each image, its features, they lie in separate groups.
from course_lib.metrics import judge_features

digits = load("digits")
few, few_y = digits.train.x[:200], digits.train.y[:200]           # about 20 of each kind, to learn from
held_out, held_out_y = digits.train.x[-2000:], digits.train.y[-2000:]
test, test_y = digits.test
features = judge_features(test)                                   # (1000, 64)
features_train = judge_features(digits.train.x)                   # (4000, 64)

def flat_map(f):                                                  # (n, d) -> (n, 2)
    f = f - f.mean(0)
    axes = torch.linalg.svd(f, full_matrices=False).Vh[:2]        # (2, d) directions of largest variance
    return f @ (axes * axes.sum(1, keepdim=True).sign()).T        # a direction has no sign: choose one

fig, axes = plt.subplots(1, 2, figsize=(7.8, 3.9))
for ax, f, name in zip(axes, [test.flatten(1), features], ["784 pixels", "64 features of the judge"]):
    points = flat_map(f)
    plots.scatter(points, test_y, ax=ax, s=7)
    for k in range(10):
        ax.text(*points[test_y == k].median(0).values, str(k), weight="bold", ha="center", va="center",
                bbox=dict(boxstyle="circle,pad=0.15", fc="white", ec="none", alpha=0.8))
    ax.set(title=name, xlabel="first direction", ylabel="second direction", aspect="auto")
    ax.set(xticks=[], yticks=[])

# %% [markdown]
# On the right, digits of one kind lie together. (Each map shows the two directions in which its numbers vary most, the
# first two principal components: lesson 13.)
#
# ## A toy to check by hand
#
# Let the table of weights be $w$, $k$ pixels wide, and the image $x$. The response at the place $(i, j)$ is a sum of
# products, plus a bias $b$, a single number:
#
# $$h_{ij} = b + \sum_{u=0}^{k-1}\sum_{v=0}^{k-1} w_{uv}\, x_{i+u,\,j+v}$$
#
# Take five by five pixels: empty on the left, ink on the right, and an empty bottom row. The table, called a **filter**,
# has $-1$ in its left column and $+1$ in its right one. It subtracts what is left of a place from what is right of it, so
# it answers where ink begins. At the first place that is nine products and one sum, $0 + 0 + 1 + 0 + 0 + 1 + 0 + 0 + 1 =
# 3$. The filter fits into the image at 3 × 3 places. Calculate two more with a pencil before you look: in the last
# column, and in the last row.

# %%
toy = torch.tensor([[0., 0, 1, 1, 1]] * 4 + [[0.] * 5])           # (5, 5)
edge = torch.tensor([[-1., 0, 1]] * 3)                            # (3, 3)
response = torch.zeros(3, 3)
for i in range(3):
    for j in range(3):
        response[i, j] = (toy[i:i + 3, j:j + 3] * edge).sum()
claim("response at the first place", response[0, 0], "==", 3.0, digits=1)

# %%
# Figure: the image, the filter and the response, as three tables with their numbers.
fig, axes = plt.subplots(1, 3, figsize=(6.4, 2.5), width_ratios=[5, 3, 3])
for ax, table, name in zip(axes, [toy, edge, response], ["image $x$", "filter $w$", "response $h$"]):
    ax.pcolormesh(table, cmap=plots.DIVERGING, vmin=-3, vmax=3, ec="0.6", lw=0.5, clip_on=False)
    for i, row in enumerate(table.tolist()):
        for j, value in enumerate(row):
            ax.text(j + 0.5, i + 0.5, f"{value:.0f}", ha="center", va="center")
    ax.set(title=name, aspect="equal", ylim=(len(table), 0), xlim=(-0.3, len(table) + 0.3))
    ax.set_axis_off()

# %% [markdown]
# The response is 3 where the window covers the whole edge, 2 in the row that touches the empty bottom, and 0 where the
# window sees no edge.
#
# ## What we will build

# %%
# Figure: a diagram. An image (B, 1, 28, 28) goes through two convolutions to (B, c, 14, 14), is halved to
# (B, c, 7, 7), goes through two more to (B, 2c, 7, 7), is halved to (B, 2c, 3, 3), and a linear layer
# makes 64 features of it, from which a last layer makes 10 logits.
names = ["image\n(B, 1, 28, 28)", "2 convolutions\n(B, c, 14, 14)", "halve\n(B, c, 7, 7)",
         "2 convolutions\n(B, 2c, 7, 7)", "halve\n(B, 2c, 3, 3)", "linear layer:\nfeatures\n(B, 64)",
         "linear layer:\nlogits\n(B, 10)"]
places = [(0, 1), (1.15, 1), (2.2, 1), (3.3, 1), (3.3, 0), (2.2, 0), (1.15, 0)]
arrows = [(names[i], names[i + 1]) for i in range(6)]
learned = {names[i]: plots.COLOURS[0] for i in (1, 3, 5, 6)}
plots.diagram(dict(zip(names, places)), arrows, learned, size=(7.5, 2.2));

# %% [markdown]
# The blue parts have weights; $c$ is the number of filters. While the picture shrinks, the channels grow.
#
# ## Build it in the open
#
# A layer does this for a batch of $B$ images with $C$ channels, using $O$ filters at once. Each filter has a $k
# \times k$ table for each input channel, and its response becomes one output channel: $(B, C, H, W) \to (B, O, H-k+1,
# W-k+1)$. First the definition, word for word.

# %%
def conv2d_loops(x, w, b):
    """x (B, C, H, W), w (O, C, k, k), b (O,) -> (B, O, H-k+1, W-k+1)"""
    B, _, H, W = x.shape
    n_out, _, k, _ = w.shape
    y = x.new_zeros(B, n_out, H - k + 1, W - k + 1)
    for n in range(B):
        for o in range(n_out):
            for i in range(H - k + 1):
                for j in range(W - k + 1):
                    y[n, o, i, j] = (x[n, :, i:i + k, j:j + k] * w[o]).sum() + b[o]
    return y

# %% [markdown]
# Correct, and slow. But each answer is the dot product of a window with a filter, and all dot products of many
# windows with many filters are *one matrix product*. `unfold(axis, k, stride)` cuts an axis into all windows of
# length $k$, without copying the image. Two options cost a line each: **padding** puts a frame of zeros around the
# image, so that the output can keep its size, and a **stride** of 2 visits only every second place.

# %%
def conv2d(x, w, b, stride=1, padding=0):
    """x (B, C, H, W), w (O, C, k, k), b (O,) -> (B, O, H', W'), H' = (H + 2 padding - k) // stride + 1"""
    k = w.shape[-1]
    x = F.pad(x, [padding] * 4)
    windows = x.unfold(2, k, stride).unfold(3, k, stride)         # (B, C, H', W', k, k)
    windows = windows.permute(0, 2, 3, 1, 4, 5).flatten(3)        # (B, H', W', C k k)  one row a place
    return (windows @ w.flatten(1).T + b).permute(0, 3, 1, 2)     # (B, O, H', W')

# %%
# Figure: a handwritten 3 and its response to four filters, orange positive, blue negative. The first
# colours the left side of each stroke orange and the right side blue, the second the upper and lower
# sides; the mean blurs; the last answers to pixels that hold more ink than what surrounds them.
filters = {"left to right": edge, "top to bottom": edge.T, "mean": torch.full((3, 3), 1 / 3),
           "spot": torch.tensor([[-1., -1, -1], [-1, 8, -1], [-1, -1, -1]]) / 2}
bank = torch.stack(list(filters.values())).unsqueeze(1)           # (4, 1, 3, 3)
digit = test[3:4]                                                 # (1, 1, 28, 28)
maps = conv2d(digit, bank, torch.zeros(4), padding=1)[0]          # (4, 28, 28)

fig, axes = plt.subplots(1, 5, figsize=(9, 2.1))
axes[0].imshow(digit[0, 0])
axes[0].set_title("the digit")
for ax, picture, name in zip(axes[1:], maps, filters):
    ax.imshow(picture, cmap=plots.DIVERGING, vmin=-3, vmax=3)
    ax.set_title(name)
for ax in axes:
    ax.set_axis_off()

# %% [markdown]
# Each filter draws another property of the stroke. In deep learning these tables are not designed: they are parameters,
# found by gradient descent.
#
# ## Prove it
#
# Both versions must equal `F.conv2d`, in their values and in the gradients that autograd finds through them. We
# compare in double precision, with odd shapes, two input channels and a batch of three.

# %%
from torch.testing import assert_close

def random(*shape):
    return torch.randn(shape, dtype=torch.float64, generator=seeded(len(shape)), requires_grad=True)

x, w, b = random(3, 2, 9, 8), random(4, 2, 3, 3), random(4)
assert_close(conv2d_loops(x, w, b), F.conv2d(x, w, b))
for options in [{}, {"padding": 1}, {"stride": 2}, {"stride": 2, "padding": 2}]:
    assert_close(conv2d(x, w, b, **options), F.conv2d(x, w, b, **options))

# %%
def gradients(f):
    y = f(x, w, b)
    weights = torch.randn(y.shape, dtype=y.dtype, generator=seeded(3))                # any weighted sum
    return torch.autograd.grad((y * weights).sum(), (x, w, b))

for mine in (conv2d_loops, conv2d):
    for gradient, reference in zip(gradients(mine), gradients(F.conv2d)):
        assert_close(gradient, reference)

# %% [markdown]
# **It is a linear layer with most of its freedom taken away.** Feed the 25 images that have a single inked pixel, and
# the responses are the columns of the matrix by which the convolution multiplies the flattened image. A fully
# connected layer from 25 to 9 numbers would have 225 free weights; here 9 are shared by all rows. The first cell counts
# the same for 12 filters of 5 × 5 on a digit, which with stride 2 make 12 maps of 14 × 14.

# %%
conv = nn.Conv2d(1, 12, kernel_size=5, stride=2, padding=2)
n_conv = sum(p.numel() for p in conv.parameters())
n_full = (28 * 28 + 1) * conv(digit).numel()                      # weights and a bias, for each output
print(f"convolution: {n_conv:,} parameters    fully connected, same output: {n_full:,}")
claim("parameters of the full layer, as a multiple of the other's", n_full / n_conv, ">", 5_000, digits=0)

# %%
# Figure: the 9 x 25 matrix of the toy convolution. Each row holds the same six non-zero numbers, moved to
# the right; everything else is zero.
pixels = torch.eye(25).view(25, 1, 5, 5)                          # 25 images with one inked pixel each
matrix = conv2d(pixels, edge.view(1, 1, 3, 3), torch.zeros(1)).view(25, 9).T          # (9, 25)
assert_close(matrix @ toy.flatten(), response.flatten())

_, ax = plt.subplots(figsize=(6.4, 2.7))
ax.imshow(matrix, cmap=plots.DIVERGING, vmin=-3, vmax=3)
ax.set(xlabel="pixel of the flattened image", ylabel="place in the response", yticks=range(0, 9, 2));

# %% [markdown]
# Every row is the same filter, moved.
#
# ## Shift the image, and the response shifts
#
# Let $S$ move an image by $d$ pixels: $(Sx)_{ij} = x_{i,\,j-d}$. Put that into the definition: $\sum_{uv}
# w_{uv}\,x_{i+u,\,j+v-d}$ is the old response, read at $j-d$. Convolving the shifted image equals shifting the
# convolved image. This is **translation equivariance**: a stroke that was learned in one corner is known in all
# others. Near the frame, where zeros come in, it fails, so we test it on images whose left edge is glued to the right
# one, for all 28 shifts.
#
# **Pooling** makes an image smaller: max-pooling by 2 keeps the largest of each 2 × 2 pixels. A pooled map still
# follows shifts by an even number of pixels, and no others. Two poolings leave only multiples of four.

# %%
def respond(x):
    return F.conv2d(F.pad(x, [1] * 4, mode="circular"), bank)     # (B, 4, 28, 28)

def pooled(x):
    return F.max_pool2d(respond(x), 2)                            # (B, 4, 14, 14)

for d in range(28):
    assert_close(respond(digit.roll(d, dims=3)), respond(digit).roll(d, dims=3))
even = pooled(digit.roll(2, dims=3)) - pooled(digit).roll(1, dims=3)
odd = pooled(digit.roll(1, dims=3)) - pooled(digit)               # half a pooled pixel: it cannot follow
claim("largest error of the pooled map, shift by 2", even.abs().max(), "<", 1e-5)
claim("largest error of the pooled map, shift by 1", odd.abs().max(), ">", 0.5)

# %% [markdown]
# ## How far does one unit see?
#
# A unit of the second layer sees $k \times k$ units of the first, and through them more pixels. Which ones? Ask
# autograd: the gradient of one unit with respect to the image is non-zero exactly where the unit looks. We give all
# filters equal weights, so that the gradient counts the paths from a pixel to the unit.

# %%
def averaging(k):
    return nn.AvgPool2d(k, stride=1, padding=k // 2)              # a convolution with equal weights

def receptive_field(*layers):
    x = torch.zeros(1, 1, 28, 28, requires_grad=True)
    y = nn.Sequential(*layers)(x)
    y[0, 0, y.shape[2] // 2, y.shape[3] // 2].backward()          # one unit in the middle
    return x.grad[0, 0]                                           # (28, 28)

# %%
# Figure: what one unit sees after one, two and three 3 x 3 convolutions (3, 5 and 7 pixels wide), and
# after three with two halvings in between: 18 pixels, most of a digit.
stacks = {"1 layer": [averaging(3)], "2 layers": [averaging(3)] * 2, "3 layers": [averaging(3)] * 3,
          "3 layers, 2 halvings": [averaging(3), nn.AvgPool2d(2)] * 2 + [averaging(3)]}
fields = {name: receptive_field(*layers) for name, layers in stacks.items()}
seen = {name: (field > 0).any(0).sum() for name, field in fields.items()}
fig, axes = plt.subplots(1, 4, figsize=(9, 2.6))
for ax, (name, field) in zip(axes, fields.items()):
    ax.imshow(field, cmap="Blues")
    ax.set(title=f"{name}:\n{seen[name]} pixels wide", xticks=[0, 14, 27], yticks=[0, 14, 27])

# %% [markdown]
# Depth alone widens the view slowly; halving widens it fast. The rule: a layer of size $k$ sees $k - 1$ places more of
# the layer below, and one place there is as many pixels wide as all strides before it multiplied.

# %%
def field_width(*layers):
    """layers: (size, stride) from the image upwards -> how many pixels wide the last unit's view is"""
    width = 1
    step = 1
    for size, stride in layers:
        width += (size - 1) * step
        step *= stride
    return width

halved = field_width((3, 1), (2, 2), (3, 1), (2, 2), (3, 1))
claim("width of the view after 3 layers", field_width((3, 1), (3, 1), (3, 1)), "==", seen["3 layers"])
claim("width of the view with 2 halvings", halved, "==", seen["3 layers, 2 halvings"])

# %% [markdown]
# ## Meet the library version
#
# `nn.Conv2d` is your `conv2d` with the parameters kept inside, and with code tuned for each processor. The brick of
# the course's network, in `course_lib/convnet.py`, is convolution, **batch norm**, ReLU. Batch norm takes each channel
# for itself: it subtracts the mean over all images and places of the batch, divides by the standard deviation, and then
# multiplies by one learned number and adds another. So no layer's input drifts away, and large steps are safe. After
# `eval()` it takes averages from training in place of the batch's. Four bricks, halved on the way; then 64 **features**
# and ten logits, as in the drawing.

# %%
import inspect

from course_lib.convnet import ConvNet, ConvNetConfig, conv_block

print(inspect.getsource(conv_block))
print(inspect.getsource(ConvNet.__init__))

net = ConvNet(ConvNetConfig(n_channel=12)).eval()
three = test[:3]
h = three                                                         # (3, 1, 28, 28)
for layer in net.convs:
    h = layer(h)
    print(f"{type(layer).__name__:12}{tuple(h.shape)}")
print(f"{'features':12}{tuple(net.features(three).shape)}")

first = net.convs[0][0]
mine = conv2d(three, first.weight, torch.zeros(12), stride=2, padding=2)
assert_close(mine, first(three), atol=1e-5, rtol=1e-4)
mean = mine.mean((0, 2, 3), keepdim=True)                         # (1, 12, 1, 1), batch norm by hand
variance = mine.var((0, 2, 3), unbiased=False, keepdim=True)
assert_close((mine - mean) / (variance + 1e-5).sqrt(), nn.BatchNorm2d(12)(mine), atol=1e-4, rtol=1e-4)
width = field_width((5, 2), (3, 1), (2, 2), (3, 1), (3, 1), (2, 2))
claim("pixels that the last unit sees, in width", width, ">=", 28)

# %% [markdown]
# ## Train: 200 digits
#
# With all 4,000 training digits every network does well. We take 200, about 20 of each kind; of the others, 2,000
# stay *held out* and get a job later. The baseline is the MLP of lesson 11, trained with the same digits and settings.

# %%
from course_lib.classify import accuracy, classifier_loss, predict
from course_lib.mlp import MLP, MLPConfig
from course_lib.train import fit

def train(model, x=few, loss_fn=classifier_loss):
    return fit(model, loss_fn, Batches(x, few_y, batch_size=32), steps=400, lr=4e-3, warmup=20, decay=0.6)

def new_mlp():
    seed(0)
    return MLP(MLPConfig())

def new_cnn():
    seed(0)
    return ConvNet(ConvNetConfig(n_channel=12))

# %%
models = {"MLP": new_mlp(), "CNN": new_cnn()}
histories = {name: train(model) for name, model in models.items()}
a_mlp = accuracy(models["MLP"], test, test_y)
a_cnn = accuracy(models["CNN"], test, test_y)
claim("test accuracy of the MLP", a_mlp, "<", 0.85)
claim("test accuracy of the CNN", a_cnn, ">", 0.83)
claim("test accuracy of the CNN minus that of the MLP", a_cnn - a_mlp, ">", 0.02)

# %% [markdown]
# Sharing pays: the network has to learn what a stroke is only once.
#
# **More data for nothing.** A digit that is moved, tilted or stretched a little is still the same digit. So we may
# distort the training images at random at each step. This **augmentation** tells the network *which changes do not
# matter*. Ours slants, turns, stretches, moves and smoothly bends each image at random. Only the loss function
# changes.

# %%
# Figure: six rows of ten digits: a training digit, then nine random distortions of it; all stay readable.
from course_lib.augment import augment

def augmented_loss(model, x, y):
    return classifier_loss(model, augment(x), y)

versions = augment(few[:6].repeat_interleave(9, 0), seeded(0)).view(6, 9, 1, 28, 28)  # nine of each
plots.grid(torch.cat([few[:6, None], versions], dim=1).flatten(0, 1), n_col=10);

# %% [markdown]
# The first digit of each row is the original.
#
# **Write down a guess:** who gains more from it, the MLP or the CNN? And what will it do to their training losses?

# %%
models["MLP, augmented"] = new_mlp()
histories["MLP, augmented"] = train(models["MLP, augmented"], loss_fn=augmented_loss)
models["CNN, augmented"] = new_cnn()
histories["CNN, augmented"] = train(models["CNN, augmented"], loss_fn=augmented_loss)

def late(history):
    return sum(history["loss"][-50:]) / 50                        # mean loss of the last 50 steps

a_mlp_augmented = accuracy(models["MLP, augmented"], test, test_y)
a_augmented = accuracy(models["CNN, augmented"], test, test_y)
claim("test accuracy of the CNN, augmented", a_augmented, ">", 0.93)
claim("accuracy that augmentation adds to the CNN", a_augmented - a_cnn, ">", 0.03)
claim("accuracy that augmentation adds to the MLP", a_mlp_augmented - a_mlp, ">", 0.03)
claim("accuracy of the CNN minus the MLP's, both augmented", a_augmented - a_mlp_augmented, ">", 0.02)
claim("late loss of the CNN, augmented, as a multiple of the plain one's",
      late(histories["CNN, augmented"]) / late(histories["CNN"]), ">", 10, digits=0)

# %% tags=["nbval-ignore-figure"]
# Figure: training loss of four networks over 400 steps, on a logarithmic axis: MLP and CNN, each plain and
# augmented.
# not compared: losses of networks that were trained here
_, ax = plt.subplots(figsize=(6.4, 3))
plots.curves({name: (range(1, 401), h["loss"]) for name, h in histories.items()}, ax=ax)
ax.set(yscale="log", ylabel="training loss (nats)");

# %% [markdown]
# Two curves end far below: those of networks that see the same images again and again.
#
# <details><summary>Answer</summary>
#
# Both gain about as much (another seed may turn the order), and the CNN stays ahead. The losses rise: that of the
# augmented CNN is about a hundred times as high, and it is the best on new digits. A low training loss only tells what
# has been memorised.
# </details>
#
# ## The judge
#
# The shipped **checkpoint** (weights that travel with the course) is the same class with more channels, trained by
# the same code on all 4,000 training digits and for longer. `make checkpoints NAME=judge` makes it again.

# %%
judge = checkpoint.load("judge")
print(checkpoint.metadata("judge")["recipe"])

logits = predict(judge, test)                                     # (1000, 10)
probs = logits.softmax(1)
errors = (logits.argmax(1) != test_y).sum().item()
claim("errors of the judge on 1,000 test digits", errors, "<", 10)

# %% [markdown]
# **How sure is that number?** Another 1,000 digits would give another count. If the true error rate is $p$, the count
# is binomial: a thousand tosses of a coin that shows "error" with probability $p$. Which $p$ are plausible? Those under
# which a count as high as ours, or higher, has a probability above 2.5 %, and a count as low as ours, or lower, as well
# ([Clopper & Pearson, 1934](https://doi.org/10.1093/biomet/26.4.404)). Three errors more or less in 1,000 tell nothing.

# %%
from scipy.stats import binom, binomtest

def plausible(errors, n=1000):
    """The lowest and the highest error rate under which this count is no surprise."""
    p = torch.linspace(0, 1, 100_001, dtype=torch.float64).numpy()
    ok = (binom.cdf(errors, n, p) > 0.025) & (binom.sf(errors - 1, n, p) > 0.025)
    return float(p[ok].min()), float(p[ok].max())

reference = binomtest(errors, 1000).proportion_ci()
assert_close(plausible(errors), (reference.low, reference.high), atol=2e-5, rtol=0)
low, high = plausible(errors)
claim("highest plausible error rate, as a multiple of the lowest", high / low, ">", 2, digits=1)

# %% tags=["nbval-ignore-figure"]
# Figure: test accuracy of five networks with their 95 % intervals. The MLP is last; the CNN and the
# augmented MLP are close to each other; then come the augmented CNN and the judge, whose interval is the
# narrowest.
# not compared: four of the five networks were trained here
models["judge, 4,000 digits"] = judge
fig, ax = plt.subplots(figsize=(6.4, 2.5))
for row, model in enumerate(models.values()):
    wrong = round(1000 * (1 - accuracy(model, test, test_y)))
    low, high = plausible(wrong)
    reach = [[100 * high - wrong / 10], [wrong / 10 - 100 * low]]
    ax.errorbar(100 - wrong / 10, row, xerr=reach, fmt="o", capsize=3)
ax.set(xlabel="test accuracy (%)", xlim=(76, 100.5), ylim=(4.5, -0.5))
ax.set_yticks(range(5), models);

# %% [markdown]
# Augmentation is worth about as much as sharing weights here, and both together are worth more. What does the judge confuse,
# and which digits does it find hardest?

# %%
# Figure: a table of the judge's answers, rows the true class and columns the answer. Nearly all of the 100
# digits of each class stand on the diagonal; the few errors beside it are coloured. And the eight test
# digits to whose true label the judge gives the lowest probability, each above its ten probabilities.
counts = torch.zeros(10, 10, dtype=torch.long)
for truth, answer in zip(test_y, logits.argmax(1)):
    counts[truth, answer] += 1
plots.confusion(counts, digits.classes)

of_truth = probs[torch.arange(1000), test_y]                      # (1000,) probability of the true class
fig, axes = plt.subplots(4, 4, figsize=(7.5, 6), height_ratios=[2, 1, 2, 1])
for n, i in enumerate(of_truth.argsort()[:8].tolist()):
    picture, bars = axes[n // 4 * 2, n % 4], axes[n // 4 * 2 + 1, n % 4]
    picture.imshow(test[i, 0])
    picture.set_title(f"a {test_y[i]}; read as {probs[i].argmax()}")
    picture.set_axis_off()
    colours = [plots.COLOURS[2 if k == test_y[i] else 9] for k in range(10)]
    bars.bar(range(10), probs[i], color=colours)
    bars.set(xticks=range(10), ylim=(0, 1), yticks=[0, 1], ylabel="probability" if n % 4 == 0 else "")

# %% [markdown]
# Green is the probability of the true class. The first seven are the errors; the eighth is read right, but only just. Most
# would make you hesitate, too.
#
# **What has it learned?** Nobody designed the filters of the first layer. Of its 48, these six answer most strongly to
# our 3.

# %%
# Figure: above, six filters of 5 x 5 weights, several of them orange on one side and blue on the other.
# Below, the response of each to the 3, 14 x 14 pixels: each shows other parts of the stroke.
with torch.no_grad():
    answer = judge.convs[0](digit)[0]                             # (48, 14, 14) after batch norm and ReLU
    table = judge.convs[0][0].weight[:, 0].detach()               # (48, 5, 5)
strongest = answer.amax((1, 2)).topk(6).indices.tolist()

fig, axes = plt.subplots(2, 6, figsize=(9, 3.2))
for i, (above, below) in zip(strongest, axes.T):
    largest = table[i].abs().max()
    above.imshow(table[i], cmap=plots.DIVERGING, vmin=-largest, vmax=largest)
    below.imshow(answer[i], vmin=0)
    above.set(title=f"filter {i}", xticks=[], yticks=[])
    below.set(xticks=[], yticks=[])
    below.spines[:].set_visible(True)
axes[0, 0].set_ylabel("weights")
axes[1, 0].set_ylabel("response");

# %% [markdown]
# A filter that is orange on one side and blue on the other is an edge detector, at some angle.
#
# ## Does it know what it does not know?
#
# A probability is a promise: of all answers given with 80 % confidence, 80 % should be right. A network that keeps it
# is **calibrated**. Let us break it by training a copy of the MLP on and on. It already reads all its 200 digits
# correctly; more steps can only raise its confidence.

# %%
import copy

seed(0)
overtrained = copy.deepcopy(models["MLP"])
fit(overtrained, classifier_loss, Batches(few, few_y, batch_size=32), steps=2_000, lr=2e-3)
p_before = predict(models["MLP"], test).softmax(1)                # (1000, 10)
p_long = predict(overtrained, test).softmax(1)
confidence, answer = p_long.max(1)                                # (1000,), (1000,)
claim("accuracy of the MLP on its training digits", accuracy(models["MLP"], few, few_y), "==", 1.0)
claim("mean confidence after minus before", (confidence - p_before.amax(1)).mean(), ">", 0.02)
claim("mean confidence minus accuracy", confidence.mean() - (answer == test_y).float().mean(), ">", 0.08)

# %% [markdown]
# Sort the answers into bins by confidence, and compare in each bin the mean confidence with the share of right
# answers. The mean gap, each bin weighted by how many answers it holds, is the **expected calibration error** (ECE;
# Guo et al., 2017, eq. 3).

# %%
from course_lib.calibration import ece, fit_temperature, reliability

gap = 0.0
for k in range(15):
    here = (confidence > k / 15) & (confidence <= (k + 1) / 15)   # the answers of this bin
    if here.any():
        share_right = (answer[here] == test_y[here]).float().mean()
        gap += here.float().mean() * (confidence[here].mean() - share_right).abs()
claim("distance of our ECE from the library's", abs(gap.item() - ece(p_long, test_y)), "<", 1e-3, digits=6)
claim("ECE of the MLP before", ece(p_before, test_y), ">", 0.03)
claim("ECE of the MLP trained on and on", gap, ">", 0.08)
claim("ECE of the judge, with 20 times as many digits", ece(probs, test_y), "<", 0.015)

# %% [markdown]
# The repair is one number. Divide all logits by a **temperature** $\tau$ (tau) before the softmax. Every answer
# stays, but $\tau > 1$ makes all probabilities more modest. Choose the $\tau$ with the lowest cross-entropy on digits
# that the network was *not* trained on, and not on the test digits either: this is the job of the held-out digits.

# %%
held_out_logits = predict(overtrained, held_out)                  # (2000, 10)
candidates = torch.arange(0.5, 10, 0.01)
losses = torch.stack([F.cross_entropy(held_out_logits / t, held_out_y) for t in candidates])
tau = candidates[losses.argmin()].item()
p_cooled = (predict(overtrained, test) / tau).softmax(1)
assert torch.equal(p_cooled.argmax(1), answer)                    # not one answer has changed
claim("distance of our tau from the library's",
      abs(tau - fit_temperature(held_out_logits, held_out_y)), "<", 0.02)
claim("temperature", tau, ">", 1.5, digits=2)
claim("ECE with temperature", ece(p_cooled, test_y), "<", 0.06)

# %% tags=["nbval-ignore-figure"]
# Figure: two reliability diagrams, bars of the share of right answers over confidence, with a diagonal.
# On the left, trained on and on, most bars end below the diagonal; on the right, with temperature, they
# follow it.
# not compared: the MLP was trained here
fig, axes = plt.subplots(1, 2, figsize=(6.4, 3.2), sharey=True)
for ax, p, name in zip(axes, [p_long, p_cooled], ["trained on and on", rf"with $\tau$ = {tau:.1f}"]):
    bins = reliability(p, test_y, n_bins=10)
    ax.bar(bins.edges[:-1], bins.accuracy.nan_to_num(), 0.1, align="edge", fc=plots.COLOURS[5], ec="white")
    ax.plot([0, 1], [0, 1], color="k", lw=1, ls=":")
    ax.set(xlabel="confidence", xlim=(0, 1), ylim=(0, 1), title=f"{name}\nECE {ece(p, test_y):.3f}")
axes[0].set_ylabel("share of right answers");

# %% [markdown]
# A bar below the diagonal: fewer answers are right than promised.
#
# ## Predict, then turn one knob
#
# **Write down a guess:** move every test digit by $d$ pixels to the right. At which $d$ are half of the answers wrong,
# for each of the five networks? The convolutions are equivariant, but the linear layer behind them is not.

# %%
def moved(x, d):
    return F.pad(x, (d, -d, 0, 0))                                # zeros come in at the left

curves = {name: [accuracy(m, moved(test, d), test_y) for d in range(9)] for name, m in models.items()}
claim("accuracy at a shift of 4, MLP", curves["MLP"][4], "<", 0.35)
claim("accuracy at a shift of 4, MLP, augmented", curves["MLP, augmented"][4], "<", 0.7)
claim("accuracy at a shift of 4, CNN", curves["CNN"][4], ">", 0.45)
claim("accuracy at a shift of 4, CNN, augmented", curves["CNN, augmented"][4], ">", 0.8)

# %% tags=["nbval-ignore-figure"]
# Figure: five curves: test accuracy of the networks over the shift, from 0 to 8 pixels.
# not compared: four of the five networks were trained here
_, ax = plt.subplots(figsize=(7.6, 3.2))
for name, values in curves.items():
    ax.plot(range(9), values, marker="o", ms=4, label=name)
ax.axhline(0.5, color="k", lw=0.8, ls=":")
ax.set(xlabel="shift to the right (pixels)", ylabel="test accuracy", ylim=(0, 1.02))
ax.legend(loc="center left", bbox_to_anchor=(1, 0.5));

# %% [markdown]
# Where a curve crosses the dotted line, half of the answers are wrong.
#
# <details><summary>Answer</summary>
#
# The MLP falls first. Sharing weights buys some pixels, practice with moved digits buys some, and both together buy
# most.
# </details>
#
# ## Break it: shuffle the pixels
#
# Choose one random order of the 784 pixels and apply it to *all* images. The MLP cannot even notice: reorder the
# columns of its first weight matrix in the same way, and it gives the same answers. A convolution was built on the
# belief that neighbours belong together, and now the belief is false. (All without augmentation.)

# %%
order = torch.randperm(784, generator=seeded(0))

def shuffled(x):
    return x.flatten(1)[:, order].view(-1, 1, 28, 28)

twin = copy.deepcopy(models["MLP"])
twin.hidden[0].weight.data = twin.hidden[0].weight.data[:, order]
assert_close(twin(shuffled(test)), models["MLP"](test), atol=1e-3, rtol=1e-3)

cnn_shuffled = new_cnn()
train(cnn_shuffled, shuffled(few))
a_shuffled = accuracy(cnn_shuffled, shuffled(test), test_y)
claim("accuracy that shuffling takes from the CNN", a_cnn - a_shuffled, ">", 0.07)
claim("accuracy of the CNN minus that of the MLP, both on shuffled pixels", a_shuffled - a_mlp, "<", -0.01)

# %% [markdown]
# Its advantage is gone.
#
# ### Repair it: find the neighbours *(optional)*
#
# If nobody tells us the order, neighbours can be found in the data. Two pixels that lie side by side are nearly
# always inked together, so correlation measures nearness; and from a table of distances between towns one can make the map. `Isomap` ([Tenenbaum et al., 2000](https://doi.org/10.1126/science.290.5500.2319)) adds up short distances
# along chains of the five nearest neighbours and looks for points in the plane with these distances. It gets no
# labels, only the pixels that vary.

# %%
# Figure: two pictures of the recovered places, coloured by the true row and by the true column of each
# pixel, which the method did not know. Both colours change smoothly from one side to the other.
from sklearn.manifold import Isomap

scrambled = shuffled(digits.train.x).flatten(1)                   # (4000, 784)
inked = (scrambled.std(0) > 0.15).nonzero().squeeze(1)            # the n pixels that vary
far = (1 - torch.corrcoef(scrambled[:, inked].T)).clamp(min=0).sqrt()                 # (n, n)
isomap = Isomap(n_neighbors=5, metric="precomputed", eigen_solver="dense")
town = torch.from_numpy(isomap.fit_transform(far.double().numpy()))                   # (n, 2) in the plane

fig, axes = plt.subplots(1, 2, figsize=(6.4, 2.7))
for ax, truth, name in zip(axes, [order[inked] // 28, order[inked] % 28], ["row", "column"]):
    dots = ax.scatter(*town.T, c=truth, s=14, cmap="viridis")
    ax.set(aspect="equal", title=f"true {name}")
    ax.set_axis_off()
    fig.colorbar(dots, ax=ax, shrink=0.8, ticks=[5, 10, 15, 20])

# %% [markdown]
# The grid has come back, turned by some angle. Last step: scale the map to an image and give each pixel a cell of the
# raster, so that all together move as little as possible.

# %%
# Figure: ten digits in three rows: as they are; shuffled, like noise; and restored, readable, though
# tilted and ragged.
from scipy.optimize import linear_sum_assignment

low, high = town.min(0).values, town.max(0).values
place = (town - (low + high) / 2) / (high - low).max() * 23 + 13.5                    # 24 cells wide
raster = torch.cartesian_prod(torch.arange(28.), torch.arange(28.)).double()          # (784, 2)
cell = torch.from_numpy(linear_sum_assignment(torch.cdist(place, raster) ** 2)[1])    # (n,)

def restored(x):
    y = torch.zeros(len(x), 784)
    y[:, cell] = x.flatten(1)[:, inked]
    return y.view(-1, 1, 28, 28)

ten = test[:10]
plots.strip({"original": ten, "shuffled": shuffled(ten), "restored": restored(shuffled(ten))});

# %% [markdown]
# We train the same network on restored digits, plain and augmented, and compare each with the network that learned the
# original digits in the same way.

# %%
accuracies = {}
for name, loss_fn in {"plain": classifier_loss, "augmented": augmented_loss}.items():
    cnn_restored = new_cnn()
    train(cnn_restored, restored(shuffled(few)), loss_fn)
    accuracies[name] = accuracy(cnn_restored, restored(shuffled(test)), test_y)
claim("accuracy that restoring adds to that on shuffled digits, both plain",
      accuracies["plain"] - a_shuffled, ">", 0.05)
claim("accuracy on the original digits minus that on restored ones, both plain",
      a_cnn - accuracies["plain"], "<", 0.06)
claim("the same difference, both augmented", a_augmented - accuracies["augmented"], "<", 0.05)

# %% [markdown]
# So an architecture is a belief about the data. Where the belief is true, it replaces examples; where it is false, it
# is a burden.
#
# ## Why this network is the judge
#
# From lesson 13 on, models will *make* digits, and we must say how good they are. The judge's 64 features are a
# better place to compare than pixels: what does not matter for reading has been trained away, as the first figure
# shows. A number for the same: call each digit by the class whose *mean training digit* is nearest.

# %%
def nearest_mean(f_train, f_test):
    means = torch.stack([f_train[digits.train.y == k].mean(0) for k in range(10)])    # (10, d)
    return (torch.cdist(f_test, means).argmin(1) == test_y).float().mean()

by_pixels = nearest_mean(digits.train.x.flatten(1), test.flatten(1))
claim("share read right by the nearest class mean, pixels", by_pixels, "<", 0.85)
by_features = nearest_mean(features_train, features)
claim("share read right by the nearest class mean, features", by_features, ">", 0.975)

# %% [markdown]
# Now a first taste of judging. Take a cloud of pictures and ask how far, on average, each lies from the nearest
# training digit; real test digits give the yardstick. The candidates: digits moved by two pixels (still good), blurred
# digits, *ghosts* (each the average of two digits), and noise. **Write down a guess:** in which order will pixels
# rank these five, and in which order the features?

# %%
# Figure: five rows of ten pictures: real digits, moved ones, blurred ones, ghosts, noise.
clouds = {"real": test, "moved": moved(test, 2), "blurred": F.avg_pool2d(test, 3, stride=1, padding=1),
          "ghosts": (test + test.roll(1, 0)) / 2, "noise": torch.rand(test.shape, generator=seeded(0))}
plots.strip({name: x[:10] for name, x in clouds.items()});

# %%
def distances(view, reference):
    """The mean distance of a cloud to the nearest training digit, as a multiple of that of real digits"""
    d = {name: torch.cdist(view(x), reference).min(1).values.mean().item() for name, x in clouds.items()}
    return {name: value / d["real"] for name, value in d.items()}

pixel = distances(lambda x: x.flatten(1), digits.train.x.flatten(1))
feature = distances(judge_features, features_train)
claim("distance of blurred digits by pixels (real = 1)", pixel["blurred"], "<", 0.95)
claim("distance of moved digits minus that of ghosts, pixels", pixel["moved"] - pixel["ghosts"], ">", 0.1)
claim("distance of blurred digits by features (real = 1)", feature["blurred"], ">", 1.15)
claim("distance of ghosts minus that of moved digits, features",
      feature["ghosts"] - feature["moved"], ">", 0.5)
sure = predict(judge, clouds["noise"]).softmax(1).amax(1).mean()
claim("mean confidence of the judge on noise", sure, ">", 0.8)

# %%
# Figure: two bars for each of the five clouds, one for the 784 pixels and one for the 64 features: the
# mean distance to the nearest training digit, as a multiple of that of real test digits.
_, ax = plt.subplots(figsize=(6.4, 2.8))
ax.bar([i - 0.2 for i in range(5)], pixel.values(), width=0.38, label="784 pixels")
ax.bar([i + 0.2 for i in range(5)], feature.values(), width=0.38, label="64 features")
ax.axhline(1, color="k", lw=0.8, ls=":")
ax.set(xticks=range(5), xticklabels=clouds, ylabel="distance (real digits = 1)")
ax.legend();

# %% [markdown]
# A bar below the dotted line would be better than real.
#
# <details><summary>Answer</summary>
#
# By pixels, blurred digits are better than real ones, and moved ones worse than ghosts: a judge who counts pixels would
# reward a model that blurs, and punish one that writes two pixels further to the right. The features rank them moved,
# blurred, ghosts, noise.
# </details>
#
# But the last claim is a warning: there are only ten answers, and noise gets one of them. The probabilities are
# calibrated for digits and mean nothing elsewhere; it is the *features* that put noise far away. Lesson 13 makes the
# first measure of it, the Fréchet distance.
#
# ## In the wild
#
# Our `conv_block` is `Conv2dNormActivation` in `torchvision`, and our `augment` a chain of two transforms. A network for
# photographs, trained on 1.2 million of them, is one line. Another, `inception_v3`, is the judge of the wide world: with
# its features most published image generators are measured.
#
# ```python
# from torchvision.models import ResNet18_Weights, resnet18
# from torchvision.transforms.v2 import Compose, ElasticTransform, RandomAffine
#
# augment = Compose([RandomAffine(degrees=12, translate=(0.07, 0.07), shear=9),
#                    ElasticTransform(alpha=20.0)])
# weights = ResNet18_Weights.DEFAULT
# network = resnet18(weights=weights).eval().to("cuda")
# x = weights.transforms()(photos).to("cuda")        # (B, 3, H, W) -> (B, 3, 224, 224)
# logits = network(x)                                # (B, 1000) one for each kind of thing
# ```
#
# ## Recap
#
# 1. A convolution lays one filter on all places: a linear layer whose rows share their weights.
# 2. It follows a shift of the image; depth and halving widen what a unit sees.
# 3. Sharing weights and augmentation replace examples, and add up.
# 4. Confidence is a promise to be measured (ECE); a temperature, chosen on held-out digits, repairs it.
# 5. Features of a good classifier compare pictures better than pixels: this is the judge.
#
# **What we left out.** Residual connections, which make networks of a hundred layers trainable: our generators use them,
# from lesson 21 on. Other symmetries: a network can be made equivariant to rotations too (Cohen & Welling, 2016).
#
# **Exercises:** [12_convnet](../exercises/12_convnet/12_convnet.ipynb). Two more: how does the gain from augmentation
# change with 100, 1,000 and 4,000 digits? And what happens if *shuffled* digits are augmented? **Next**,
# [lesson 13](13_discriminative_vs_generative.ipynb): a classifier answers "which digit is this?". What would it take to
# answer "draw me one"?
#
# ## Read on
#
# - Y. LeCun, L. Bottou, Y. Bengio & P. Haffner, *Gradient-based learning applied to document recognition* (1998),
#   [doi:10.1109/5.726791](https://doi.org/10.1109/5.726791), section II: the network that read cheques.
# - V. Dumoulin & F. Visin, *A guide to convolution arithmetic for deep learning* (2016),
#   [arXiv:1603.07285](https://arxiv.org/abs/1603.07285): all about shapes.
# - P. Simard, D. Steinkraus & J. Platt, *Best practices for convolutional neural networks applied to visual document
#   analysis* (2003), [doi:10.1109/ICDAR.2003.1227801](https://doi.org/10.1109/ICDAR.2003.1227801): elastic distortion.
# - C. Guo, G. Pleiss, Y. Sun & K. Weinberger, *On calibration of modern neural networks* (2017),
#   [arXiv:1706.04599](https://arxiv.org/abs/1706.04599).
# - T. Cohen & M. Welling, *Group equivariant convolutional networks* (2016),
#   [arXiv:1602.07576](https://arxiv.org/abs/1602.07576).
# - In the library: `convnet.py` (`ConvNet`), `augment.py` (`augment`), `calibration.py` (`reliability`, `ece`,
#   `fit_temperature`).
