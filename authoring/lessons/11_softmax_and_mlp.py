# %% [markdown]
# # 11 · From pixels to probabilities: softmax regression and the MLP
#
# A scanned digit is 784 grey values, such as those below. Which digit is it, and how sure may we be? In this lesson you
# build the two simplest models that answer with probabilities, first by hand and then with the library. One lays ten
# *templates* over the image, one for each digit. The other combines 128 small detectors. At the end you will see their
# templates and detectors as pictures, the digits that are misread together with what the model believed about them,
# and how far an examination with 1,000 digits can be trusted. You will also watch a network die, and wake it up.
#
# **After this lesson you can**
# - turn any numbers into probabilities, and write a loss for them whose gradient you know by heart;
# - train a network with one hidden layer, compare it fairly with three baselines, and say which differences count;
# - notice hidden units that are dead, and revive them.
#
# **You need** [lesson 00](00_start_here.ipynb) (tensors, autograd, the training loop). **It takes** 60 minutes to read
# and half a minute to run. **How hard:** •. All symbols are in the [table of symbols](symbols.ipynb).
#
# ## Set-up

# %%
import matplotlib.pyplot as plt
import torch
from torch.nn import functional as F
from torch.testing import assert_close

from course_lib.claims import claim
from course_lib.data import Batches, load
from course_lib.device import seed, seeded
from course_lib.plots import COLOURS, DIVERGING, curves, diagram, field, grid, scatter, strip

# %%
# Figure: handwritten digits, three rows of ten: three examples of each of the ten digits.
digits = load("digits")
x_train, y_train = digits.train                                   # images and labels, to learn from
x_test, y_test = digits.test                                      # to be examined on
print(digits.train, digits.test)
first = torch.stack([(y_train == k).nonzero()[:3, 0] for k in range(10)], dim=1)      # (3, 10)
grid(x_train[first.flatten()]);

# %% [markdown]
# The course travels with 5,000 digits that people wrote by hand: images of 28 × 28 grey values from 0, paper, to 1, ink.
#
# ## Three images that fit in your head
#
# Take images of 2 × 2 pixels, where 1 is ink and 0 is paper, and three classes: a bar at the left `|`, a bar at the top
# `–`, a diagonal `\`. An image is a list of $D = 4$ numbers $x$, read row by row. Here are three: a clear left bar, the
# same bar in faint ink, and a single dot.

# %%
x = torch.tensor([[1.0, 0, 1, 0],                                 # a clear |
                  [0.5, 0, 0.5, 0],                               # a faint |
                  [1.0, 0, 0, 0]])                                # a dot, meant as –
y = torch.tensor([0, 0, 1])                                       # (B,) the true classes: |, |, –

# %% [markdown]
# To score an image for a class, lay a **template** over it: $+1$ where that class has ink, $-1$ where it has none. Multiply
# pixel by pixel and add up. Ink in the right place earns a point, ink in the wrong place costs one. The $K = 3$ templates
# are the rows of a matrix, and all scores of all images are one matrix product. Such scores are called **logits**.

# %%
templates = torch.tensor([[1.0, -1, 1, -1],                       # |
                          [1.0, 1, -1, -1],                       # –
                          [1.0, -1, -1, 1]])                      # \
logits = x @ templates.T                                          # (B, D) @ (D, K) -> (B, K)
logits

# %% [markdown]
# The clear bar scores 2 for `|` and 0 for the others. Probabilities must be positive and sum to 1. The exponential makes
# any number positive, and dividing by the sum does the rest. That is **softmax**: with logits $a_1, \dots, a_K$,
# $$p_k = \frac{e^{a_k}}{\sum_{j} e^{a_j}} .$$
# By hand for the first image: $e^2 = 7.39$ and $e^0 = 1$ twice, so $p = (7.39,\ 1,\ 1) / 9.39$.

# %%
p = logits.exp() / logits.exp().sum(dim=1, keepdim=True)          # (B, K)
p

# %% [markdown]
# The clear bar and the faint one get the same *answer*, but half the ink gives half the logit and less confidence. The dot
# fits all three templates equally well, so the model says one third each: an honest answer. And only differences of logits
# count: $p_1 / p_2 = e^{a_1 - a_2}$, so adding the same number to all logits changes nothing. That is also a
# repair. Logits of 1,000 are too much for `exp`, unless the highest is shifted to 0 first.

# %%
assert_close(p[2], torch.full((3,), 1 / 3))
assert_close((p[0, 0] / p[0, 1]).log(), logits[0, 0] - logits[0, 1])
large = torch.tensor([1000.0, 0.0, 0.0])
shifted = large - large.max()
print("as written:", large.exp() / large.exp().sum())
print("shifted:   ", shifted.exp() / shifted.exp().sum())

# %% [markdown]
# ## A loss that asks: how surprised are you?
#
# The model gave the true class $y$ the probability $p_y$. Its **surprise** is $\ell = -\log p_y$, measured in nats: 0 if it
# was certain of the truth, $\log 3 \approx 1.10$ if it guessed among three, without limit if it had ruled the truth out. Put
# softmax in, and the logarithm undoes the exponential:
# $$\ell = -\log p_y = \log \sum_j e^{a_j} - a_y .$$
# This is called **cross-entropy**. To learn, we need to know how it changes with each logit $a_k$. The derivative of
# $\log \sum_j e^{a_j}$ is $e^{a_k} / \sum_j e^{a_j}$, which is $p_k$ again. The derivative of $a_y$ is 1 for $k = y$ and 0
# elsewhere. Together:
# $$\frac{\partial \ell}{\partial a_k} = p_k - [k = y] .$$
# What the model said, minus what it should have said (the *one-hot* label: 1 at the true class, else 0).

# %%
surprise = logits.exp().sum(dim=1).log() - logits[torch.arange(3), y]  # (B,)
gradient = p - F.one_hot(y, num_classes=3)                        # (B, K)
print("surprise", surprise)
print("gradient", gradient, sep="\n")

# %%
# Figure: a row for each toy image, with bars for its logits, its probabilities, and the push on each
# logit, which is minus the gradient; the true class is blue, the others grey.
fig, axes = plt.subplots(3, 4, figsize=(7.2, 4.6), width_ratios=[0.7, 1, 1, 1], sharex="col")
for row, name in enumerate(["clear |", "faint |", "dot, meant as –"]):
    picture, *bars = axes[row]
    picture.imshow(x[row].view(2, 2), vmin=0, vmax=1)
    picture.set(xticks=[], yticks=[], ylabel=name)
    picture.spines[:].set_visible(True)
    picture.axhline(0.5, color="0.8", lw=0.8)
    picture.axvline(0.5, color="0.8", lw=0.8)
    colours = [COLOURS[0] if k == y[row] else "0.7" for k in range(3)]
    for ax, values, limits in zip(bars, (logits, p, -gradient), ((0, 2.2), (0, 1), (-1, 1))):
        ax.bar(range(3), values[row], color=colours)
        ax.axhline(0, color="black", lw=0.8)
        ax.set(ylim=limits, xticks=range(3), xticklabels=["|", "–", "\\"])
for ax, title in zip(axes[0], ("image $x$", "logits $a$", "probabilities $p$", "push on the logits")):
    ax.set_title(title)

# %% [markdown]
# Learning moves each logit *against* the gradient. The true class is pushed up, all others down, and the pushes of a row
# cancel. The clear bar is hardly pushed at all, the dot hardest.
#
# ## What we will build

# %%
# Figure: a diagram. Images (B, 784) go into a hidden layer of 128 units, which gives h (B, 128), and this
# into ten templates, which give logits (B, 10). A second arrow leads from the images to the templates
# directly. Softmax makes probabilities (B, 10) of the logits, and these with the labels give the loss.
image_box = "images x\n(B, 784)"
hidden_box = "hidden layer\nh = max(0, $W_1$x + $b_1$)\n(B, 128)"
head_box = "ten templates\n$W_2, b_2$"
logits_box = "logits a\n(B, 10)"
p_box = "softmax:\nprobabilities p\n(B, 10)"
label_box = "labels y\n(B,)"
loss_box = "surprise\n$-\\log p_y$"
boxes = {image_box: (0, 0), hidden_box: (1.15, 0.9), head_box: (2.3, 0), logits_box: (3.2, 0),
         p_box: (4.15, 0), loss_box: (5.1, 0), label_box: (5.1, 0.9)}
arrows = [(image_box, hidden_box), (hidden_box, head_box), (image_box, head_box),
          (head_box, logits_box), (logits_box, p_box), (p_box, loss_box), (label_box, loss_box)]
colours = {hidden_box: COLOURS[0], head_box: COLOURS[0], loss_box: COLOURS[3]}
diagram(boxes, arrows, colours, size=(9, 2.4));

# %% [markdown]
# The straight way below is **softmax regression**, templates alone. The way through the hidden layer is the **MLP**,
# the multi-layer perceptron. The rest is the same for both: it is what you have just built.
#
# ## Prove it, and meet the library version
#
# Three examples may agree by luck. Here are 1,000 random ones, against PyTorch's loss and against autograd
# (`torch.autograd.grad` returns the gradients that `backward()` would write into `.grad`). The library's `cross_entropy` is
# our line plus the shift, and clear words for bad input. Its last lines are printed below.

# %%
import inspect

from course_lib.mlp import MLP, MLPConfig, cross_entropy, softmax, softmax_regression

a = (3 * torch.randn(1000, 10, generator=seeded(1))).requires_grad_()                 # (B, K)
t = torch.randint(10, (1000,), generator=seeded(2))               # (B,)
reference = F.cross_entropy(a, t, reduction="none")               # (B,)
assert_close(a.exp().sum(1).log() - a[torch.arange(1000), t], reference)
assert_close(cross_entropy(a, t), reference)
assert_close(softmax(1000 * a), F.softmax(1000 * a, dim=1))       # no overflow
by_autograd, = torch.autograd.grad(reference.sum(), a)            # (B, K)
by_formula = a.softmax(1) - F.one_hot(t, 10)
claim("largest difference between the gradients, by autograd and by our formula",
      (by_autograd - by_formula).abs().max(), "<", 1e-6, digits=9)
print("".join(inspect.getsource(cross_entropy).splitlines(keepends=True)[-4:]))

# %% [markdown]
# ## Real handwriting
#
# The model stays the same, with $D = 784$ pixels and $K = 10$ classes, and nobody wants to invent templates for them. We
# start with all of $W$, and a constant $b_k$ per class, at zero and let the gradient write them. Before the first step
# every class has the probability 1/10, so the surprise is $\log 10 \approx 2.303$.
#
# One logit is $a_k = \sum_d x_d W_{dk} + b_k$, so by the chain rule the gradient for $W_{dk}$ is $x_d$ times the gradient
# for $a_k$. Averaged over $N$ images that is one matrix product: $X^\top (P - Y) / N$, where the rows of $X$ are images,
# of $P$ probabilities, and of $Y$ one-hot labels.
#
# **Write down a guess:** starting from zero, what do the ten templates look like after a single step?

# %%
# Figure: ten pictures of 28 x 28 weights, the templates of the digits 0 to 9 after one step. Orange speaks
# for the class, blue against it.
X = x_train.flatten(1)                                            # (N, D)
Y = F.one_hot(y_train, 10).float()                                # (N, K)
N = len(x_train)
lr = 0.5                                                          # the learning rate, eta in lesson 00
W = torch.zeros(784, 10)                                          # (D, K) one column per class
b = torch.zeros(10)
claim("loss before training", cross_entropy(X @ W + b, y_train).mean(), "<", 2.3027, digits=5)
W = W - lr * X.T @ (softmax(X @ W + b) - Y) / N

def show_weights(weights, titles):
    fig, axes = plt.subplots(2, 5, figsize=(6.5, 3))
    for w, title, ax in zip(weights, titles, axes.flat):
        ax.imshow(w.view(28, 28), cmap=DIVERGING, vmin=-w.abs().max(), vmax=w.abs().max())
        ax.set_title(title)
        ax.set_axis_off()

show_weights(W.T, digits.classes)

# %% [markdown]
# Each shows the digit of its title in orange, with blue where the other digits have ink.
#
# <details><summary>Answer</summary>
#
# They are ghosts of the digits, and the formula says why. With all of $P$ at 1/10 and 400 images in each class, the step
# is the learning rate over 10, times *the average image of class $k$ minus the average of all images*: what is typical
# of a digit, without what all digits share.
# </details>
#
# The next cell checks that. The loop in the one after it is all of supervised learning, in four lines.

# %%
class_means = torch.stack([X[y_train == k].mean(0) for k in range(10)], dim=1)        # (D, K)
one_step = lr / 10 * (class_means - X.mean(0)[:, None])
assert_close(-lr * X.T @ (0.1 - Y) / N, one_step, atol=1e-6, rtol=0)

# %%
W = torch.zeros(784, 10)
b = torch.zeros(10)
losses = []
for _ in range(100):
    P = softmax(X @ W + b)                                        # (N, K) what the model says
    losses.append(-P[torch.arange(N), y_train].log().mean().item())
    W = W - lr * X.T @ (P - Y) / N                                # chain rule, one step downhill
    b = b - lr * (P - Y).mean(0)

by_hand = ((x_test.flatten(1) @ W + b).argmax(1) == y_test).float().mean()
rises = sum(losses[i + 1] > losses[i] for i in range(99))
claim("steps in which the loss rose", rises, "==", 0)
claim("test accuracy after 100 steps", by_hand, ">", 0.87)

# %%
# Figure: the loss over 100 steps, from log 10 (dotted) down to 0.35; and the ten templates at the end,
# with finer blue and orange patches than after one step.
fig, ax = plt.subplots(figsize=(6.4, 2.6))
ax.plot(losses)
ax.axhline(torch.tensor(10.0).log(), color="0.5", lw=1, ls=":")
ax.set(xlabel="step", ylabel="loss (nats per digit)", ylim=(0, 2.5))
show_weights(W.T, digits.classes)

# %% [markdown]
# The templates are no longer averages. A 0 is recognised above all by the *absence* of ink in the middle: a template learns
# what tells its class from the others, not what the class looks like. From lesson 13 on we will want the second.
#
# The library's `softmax_regression` is this model: given our $W$ and $b$ (`load_state_dict` sets parameters by name),
# it gives our logits. What it gains is a better loop. Our 100 steps looked at 4,000 digits each, 400,000 looks in
# all. `fit` takes 600 steps with 64 random digits each, a tenth of that. Their gradient is noisy but right on average,
# and AdamW gives every weight a step size of its own.

# %%
from course_lib.classify import accuracy, classifier_loss, predict
from course_lib.train import fit

same = softmax_regression()
same.load_state_dict({"head.weight": W.T.contiguous(), "head.bias": b})
assert_close(same(x_test), x_test.flatten(1) @ W + b)

def train(model, x=x_train, y=y_train, steps=600):
    return fit(model, classifier_loss, Batches(x, y, batch_size=64), steps=steps, lr=5e-3, decay=0.6)

seed(0)
linear = softmax_regression()
train(linear)
claim("test accuracy after 600 x 64 looks, by fit", accuracy(linear, x_test, y_test), ">", 0.90)

# %% [markdown]
# ## What a straight line cannot do
#
# One template per class has a hard limit. The border between two classes is where their logits are equal, and
# $a_1(x) = a_2(x)$ is a linear equation: in a plane, a straight line. Two spirals need more.
#
# Stacking a second matrix on the first does not help: $W_2 (W_1 x)$ is again one matrix times $x$. Something must bend in
# between. The **ReLU**, $\max(0, h)$, is a line with one fold. A **hidden unit** computes $\max(0, w^\top x + b)$: silent
# on one side of a straight line, rising on the other. The second layer adds up such folded sheets:
# $$p(y \mid x) = \operatorname{softmax}\big(W_2 \max(0,\; W_1 x + b_1) + b_2\big) .$$

# %%
from course_lib.data.toys import spirals

points, arm = spirals().sample_labelled(600, generator=seeded(3))                     # (600, 2), (600,)
new_points, new_arm = spirals().sample_labelled(2000, generator=seeded(4))

seed(0)
small = MLP(MLPConfig(n_input=2, n_hidden=16, n_class=2))
layer = small.hidden[0]
h = (points @ layer.weight.T + layer.bias).clamp(min=0)           # (600, 16) hidden units
assert_close(small(points), h @ small.head.weight.T + small.head.bias)                # (600, 2) logits

# %% [markdown]
# **Write down a guess:** how many folds does it take to follow one and a quarter turns: 4, 16, 64?

# %%
seed(0)
models = {"no hidden layer": softmax_regression(2, 2)}
for n in (4, 16, 64):
    models[f"{n} hidden units"] = MLP(MLPConfig(n_input=2, n_hidden=n, n_class=2))
found = {}
for name, model in models.items():
    fit(model, classifier_loss, Batches(points, arm, batch_size=100), steps=800, lr=2e-2, decay=0.6)
    found[name] = accuracy(model, new_points, new_arm)

claim("share of new points read right, no hidden layer", found["no hidden layer"], "<", 0.70)
claim("share of new points read right, 16 hidden units", found["16 hidden units"], ">", 0.88)
claim("share of new points read right, 64 hidden units", found["64 hidden units"], ">", 0.96)

# %% tags=["nbval-ignore-figure"]
# Figure: four pictures of the plane with the points of two spirals, for no hidden layer and for 4, 16 and
# 64 hidden units. Colour is the probability of the orange arm; thin lines (4 and 16 units) are the folds.
# not compared: four networks trained in place
fig, axes = plt.subplots(2, 2, figsize=(6.6, 6.6), sharex=True, sharey=True)
for ax, (name, model) in zip(axes.flat, models.items()):
    field(lambda z: softmax(model(z))[:, 1], ax=ax, vmin=-0.7, vmax=1.7)
    scatter(points, arm * 3, ax=ax, s=12)
    if name.startswith(("4", "16")):
        layer = model.hidden[0]
        for w, c in zip(layer.weight.detach(), layer.bias.detach()):                  # where w . x + c = 0
            foot = -c * w / w.dot(w)
            ax.axline(foot.tolist(), (foot + torch.stack([-w[1], w[0]])).tolist(), color="0.35", lw=0.6)
    ax.set(title=f"{name}: {found[name]:.0%} right", xlim=(-3, 3), ylim=(-3, 3))

# %% [markdown]
# Compare the thin lines with the border between the colours: it bends where it crosses one.
#
# <details><summary>Answer</summary>
#
# 4 folds cut the plane into too few pieces, 16 nearly suffice, and with 64 the border follows the spiral. One hidden
# layer with enough units can approximate any continuous function (Cybenko, 1989), though the theorem says neither how
# many are enough nor that training will find them.
# </details>
#
# ## One hidden layer reads digits
#
# The same class, now with 784 inputs and 128 hidden units: $784 \cdot 128 + 128$ parameters in the first layer, $128
# \cdot 10 + 10$ in the second.

# %%
def evaluate(model):
    return {"test loss": classifier_loss(model, x_test, y_test)["loss"],
            "test accuracy": accuracy(model, x_test, y_test)}

seed(0)
mlp = MLP(MLPConfig(n_input=784, n_hidden=128, n_class=10))
history = fit(mlp, classifier_loss, Batches(x_train, y_train, batch_size=64),
              steps=600, lr=5e-3, decay=0.6, evaluate=evaluate, eval_every=25)
claim("parameters", sum(w.numel() for w in mlp.parameters()), "==", 784 * 128 + 128 + 128 * 10 + 10)
claim("training accuracy of the MLP", accuracy(mlp, x_train, y_train), ">", 0.99)
claim("test accuracy of the MLP", accuracy(mlp, x_test, y_test), ">", 0.925)

# %% tags=["nbval-ignore-figure"]
# Figure: left, the loss over 600 steps: on the training batches it falls to 0, on the test digits it stays
# near 0.2. Right, the accuracy: it rises to 1 on the training batches and to 0.95 on the test digits.
# not compared: a network trained in place
fig, axes = plt.subplots(1, 2, figsize=(7.2, 3))
history.plot("loss", "test loss", ax=axes[0]).set(ylabel="cross-entropy (nats per digit)", ylim=(0, 1.5))
history.plot("accuracy", "test accuracy", ax=axes[1]).set(ylabel="accuracy", ylim=(0.8, 1.005))
for ax in axes:
    ax.legend([ax.lines[1], ax.lines[-1]], ["training batches", "test digits"])

# %% [markdown]
# It knows its training digits by heart, while the test curves level off much earlier: **overfitting** (lesson 00).
#
# What do the hidden units look for? Each has 784 incoming weights: again a picture.

# %% tags=["nbval-ignore-figure"]
# Figure: above, the incoming weights of the eight hidden units that move the logits most, with orange and
# blue strokes; below each, the three training digits to which it responds most strongly.
# not compared: a network trained in place
features = predict(mlp.features, x_train)                         # (N, 128)
moves = mlp.head.weight.detach().std(0) * features.std(0)         # (128,) how much a unit moves the logits
fig, axes = plt.subplots(4, 8, figsize=(7.2, 3.8))
for i, unit in enumerate(moves.topk(8).indices.tolist()):
    w = mlp.hidden[0].weight.detach()[unit]
    axes[0, i].imshow(w.view(28, 28), cmap=DIVERGING, vmin=-w.abs().max(), vmax=w.abs().max())
    for ax, k in zip(axes[1:, i], features[:, unit].topk(3).indices):
        ax.imshow(x_train[k, 0])
for ax in axes.flat:
    ax.set_axis_off()

# %% [markdown]
# Through the noise of the random start one sees strokes and gaps in particular places. Nobody asked for strokes. They
# lower the surprise.
#
# ## A number, its baselines, and how far to trust them
#
# An accuracy measured on $n$ test digits is the average of $n$ coin tosses that come up "right" with probability $q$. Its
# **standard error** is $\sqrt{q(1-q)/n}$. We check that formula on simulated examinations before we rely on it.

# %%
q = 0.93
n = 1000
exams = (torch.rand(2000, n, generator=seeded(5)) < q).float().mean(1)                # (2000,) accuracies
standard_error = (q * (1 - q) / n) ** 0.5
print(f"standard error by the formula: {100 * standard_error:.2f} percentage points")
claim("relative distance of the simulated spread from the formula",
      abs(exams.std() / standard_error - 1), "<", 0.05)

# %% [markdown]
# So 93 % means 93 % ± 0.8, and two standard errors either way make a fair interval. Our baselines need no neural
# network. **k-nearest neighbours** stores all training digits and lets the $k$ closest ones vote. scikit-learn's
# **logistic regression** is softmax regression with a penalty $\frac{1}{2C} \lVert W \rVert^2$ (*weight decay*),
# solved to the optimum. $C$ and $k$ must not be chosen on the test digits, or they examine nothing. We hold out 1,000
# *training* digits for that.

# %%
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier

few, held_out = (x_train[:3000], y_train[:3000]), (x_train[3000:], y_train[3000:])
held_out_x = held_out[0].flatten(1)

by_C = {}
for C in (0.01, 0.1, 1.0):
    by_C[C] = LogisticRegression(C=C, max_iter=1000).fit(X[:3000], few[1]).score(held_out_x, held_out[1])
by_k = {}
for k in (1, 3, 5, 9):
    by_k[k] = KNeighborsClassifier(n_neighbors=k).fit(X[:3000], few[1]).score(held_out_x, held_out[1])

best_C = max(by_C, key=by_C.get)
best_k = max(by_k, key=by_k.get)
claim("C with the best accuracy on held-out digits", best_C, "==", 0.1)
claim("k with the best accuracy on held-out digits", best_k, "<=", 5)
logistic = LogisticRegression(C=best_C, max_iter=1000).fit(X, y_train)
neighbours = KNeighborsClassifier(n_neighbors=best_k).fit(X, y_train)

# %% [markdown]
# Is logistic regression really our model? If so, *our* gradient must vanish at *their* solution.

# %%
W_theirs = torch.tensor(logistic.coef_.T)                         # (784, 10)
P = softmax(X.to(W_theirs) @ W_theirs + torch.tensor(logistic.intercept_))            # (N, K)
assert_close(P, torch.tensor(logistic.predict_proba(X)).to(P), atol=1e-5, rtol=0)
at_optimum = X.T.to(W_theirs) @ (P - Y) / N + W_theirs / (best_C * N)                 # with the penalty
claim("largest entry of our gradient at their optimum", at_optimum.abs().max(), "<", 1e-3, digits=6)

# %%
answers = {"logistic regression\n(scikit-learn)": torch.tensor(logistic.predict(x_test.flatten(1))),
           "softmax regression": predict(linear, x_test).argmax(1),
           f"nearest neighbours, k = {best_k}": torch.tensor(neighbours.predict(x_test.flatten(1))),
           "MLP": predict(mlp, x_test).argmax(1)}
right = [answer == y_test for answer in answers.values()]         # 4 x (1000,)

# %% tags=["nbval-ignore-figure"]
# Figure: test accuracy of the four classifiers, between 90 and 95 %, with bars of two standard errors on
# either side; neighbouring bars overlap.
# not compared: two of the four were trained in place
fig, ax = plt.subplots(figsize=(6.4, 2.4))
for i, r in enumerate(right):
    q = r.float().mean().item()
    two_errors = 2 * (q * (1 - q) / 1000) ** 0.5
    ax.errorbar(100 * q, -i, xerr=100 * two_errors, fmt="o", capsize=4, color=COLOURS[i])
    ax.text(98, -i, f"{100 * q:.1f} %", va="center")
ax.set(yticks=range(0, -4, -1), yticklabels=answers, ylim=(-3.5, 0.5),
       xlabel="test accuracy (%), ± 2 standard errors", xlim=(86, 100));

# %% [markdown]
# Some of the intervals overlap. Yet all four sat the *same* examination, so we can do better: count only the digits on
# which two models disagree (McNemar, 1947). If both were equally good, each disagreement would be a fair coin toss, and
# the difference of the two counts, divided by the root of their sum, would rarely exceed 2.

# %%
def standard_errors_apart(r1, r2):
    only_1 = (r1 & ~r2).sum()                                     # digits that only the first got right
    only_2 = (~r1 & r2).sum()
    return ((only_1 - only_2) / (only_1 + only_2).clamp(min=1).sqrt()).item()

_, by_linear, by_neighbours, by_mlp = right
claim("standard errors by which the MLP is better than softmax regression",
      standard_errors_apart(by_mlp, by_linear), ">", 2)
claim("standard errors by which it is better than nearest neighbours",
      standard_errors_apart(by_mlp, by_neighbours), "<", 3)

# %% [markdown]
# The hidden layer beats the straight line. Whether it beats nearest neighbours, a method from 1951, 1,000 digits
# hardly suffice to tell. What the MLP does have over it is size: some 100 thousand parameters instead of three
# million stored pixels, no search.
#
# ## The digits that go wrong
#
# A hesitant mistake is a different thing from a certain one.

# %%
probs = softmax(predict(mlp, x_test))                             # (1000, 10)
wrong = (probs.argmax(1) != y_test).nonzero()[:, 0]
wrong = wrong[probs[wrong].amax(1).argsort(descending=True)]      # the surest first
claim("mean confidence of the MLP in its wrong answers", probs[wrong].amax(1).mean(), ">", 0.55)
claim("confidence in the surest of the wrong answers", probs[wrong].max(), ">", 0.95)

# %% tags=["nbval-ignore-figure"]
# Figure: eight misread test digits, each above the probabilities that the MLP gave to the ten classes,
# green for the truth. The upper four have one bar near 1, the lower four have several small ones.
# not compared: a network trained in place
fig, axes = plt.subplots(4, 4, figsize=(7.2, 6), height_ratios=[1.4, 1, 1.4, 1])
for i, k in enumerate([*wrong[:4], *wrong[-4:]]):
    image, bars = axes[i // 4 * 2, i % 4], axes[i // 4 * 2 + 1, i % 4]
    image.imshow(x_test[k, 0])
    image.set_title(f"a {y_test[k]}, read as {probs[k].argmax()}")
    image.set_axis_off()
    bars.bar(range(10), probs[k],
             color=[COLOURS[2] if c == y_test[k] else COLOURS[3] for c in range(10)])
    bars.set(xticks=range(10), yticks=[0, 0.5, 1], ylim=(0, 1))
    bars.set_ylabel("probability" if i % 4 == 0 else None)
    bars.tick_params(axis="x", length=0, labelsize=8)

# %% [markdown]
# Above the four surest mistakes, below the four most hesitant. The model's **confidence**, the probability of its
# answer, is more than one half on average even where it is wrong. Whether such a model is **overconfident** is
# measured, and repaired, in lesson 12.
#
# ## More data, less overfitting
#
# **Write down a guess:** the MLP has 25 times as many parameters as there are training digits. Trained on only 50
# digits, how many of *those* will it get right, and how many of the test digits? (Every model gets 300 steps here.)

# %%
sizes = [50, 150, 500, 1500, 4000]
seen = {"MLP": [], "softmax regression": []}                      # accuracy on its training digits
unseen = {"MLP": [], "softmax regression": []}                    # and on the test digits
for n in sizes:
    seed(0)
    for name, model in {"MLP": MLP(MLPConfig()), "softmax regression": softmax_regression()}.items():
        train(model, x_train[:n], y_train[:n], steps=300)
        seen[name].append(accuracy(model, x_train[:n], y_train[:n]))
        unseen[name].append(accuracy(model, x_test, y_test))

claim("accuracy of the MLP on its 50 training digits", seen["MLP"][0], "==", 1.0)
claim("that minus its accuracy on test digits", seen["MLP"][0] - unseen["MLP"][0], ">", 0.3)
claim("the same difference with 4,000 training digits", seen["MLP"][-1] - unseen["MLP"][-1], "<", 0.09)

# %% tags=["nbval-ignore-figure"]
# Figure: four curves over the number of training digits, 50 to 4,000: accuracy on the training digits
# (dotted) and on the test digits (solid) of the MLP and of softmax regression.
# not compared: ten networks trained in place
fig, ax = plt.subplots(figsize=(6.4, 3.4))
for i, name in enumerate(seen):
    ax.plot(sizes, seen[name], "o:", ms=4, color=COLOURS[i], label=f"{name}, training")
    ax.plot(sizes, unseen[name], "o-", ms=4, color=COLOURS[i], label=f"{name}, test")
ax.set(xscale="log", xticks=sizes, xticklabels=sizes, xlabel="training digits")
ax.set(ylabel="accuracy", ylim=(0.5, 1.02))
ax.minorticks_off()
ax.legend();

# %% [markdown]
# Compare the dotted with the solid line of one colour.
#
# <details><summary>Answer</summary>
#
# All of its 50, and about six in ten of the others. The training accuracy alone says nothing: it is perfect where the
# model is worst. Data closes the gap. On the right edge the MLP's test curve still climbs: lesson 12 makes more digits.
# </details>
#
# ## Predict, then turn one knob
#
# The **learning rate** decides how far one step goes. **Write down a guess:** over five powers of ten, where is the best
# rate, and what happens on either side of it? Every network gets 150 steps on 3,000 digits and is judged on the 1,000
# held-out training digits, because a knob must not be turned while looking at the test.

# %%
rates = [1e-5, 1e-4, 1e-3, 3e-3, 1e-2, 3e-2, 1e-1, 3e-1, 1.0]
swept = {}
for rate in rates:
    seed(0)
    swept[rate] = MLP(MLPConfig())
    fit(swept[rate], classifier_loss, Batches(*few, batch_size=64), steps=150, lr=rate)

def silent(model):
    return (predict(model.features, x_train) == 0).all(0)         # (128,) 0 on all training digits

scores = [accuracy(model, *held_out) for model in swept.values()]
share = [silent(model).float().mean() for model in swept.values()]

# %%
best = rates[scores.index(max(scores))]
claim("best rate of the sweep", best, "<", 0.1, digits=4)
claim("best rate of the sweep", best, ">", 1e-4, digits=4)
claim("best held-out accuracy minus that at the rate 0.00001", max(scores) - scores[0], ">", 0.3)
claim("best held-out accuracy minus that at the rate 1", max(scores) - scores[-1], ">", 0.4)

# %% tags=["nbval-ignore-figure"]
# Figure: two curves over the learning rate, 0.00001 to 1: left the held-out accuracy, right the share of
# hidden units that are 0 for every one of the training digits.
# not compared: nine networks trained in place
fig, axes = plt.subplots(1, 2, figsize=(7.2, 3), sharex=True)
axes[0].semilogx(rates, scores, marker="o", ms=4)
axes[0].set(xlabel="learning rate", ylabel="held-out accuracy", ylim=(0, 1))
axes[1].semilogx(rates, share, marker="o", ms=4, color=COLOURS[3])
axes[1].set(xlabel="learning rate", ylabel="share of silent hidden units", ylim=(0, 1));

# %% [markdown]
# Compare the two panels at their right edges.
#
# <details><summary>Answer</summary>
#
# A wide plateau between two cliffs: search the learning rate in powers of ten. The left cliff is harmless, since more
# steps would take the network there. At the right one, most hidden units have fallen silent.
# </details>
#
# ## Break it: a network that died
#
# A large step can push a unit's weights so far that $w^\top x + b$ is negative for every digit. Its ReLU then returns 0
# for all of them, and its slope there is 0 as well: no gradient reaches the weights. Such a unit is **dead**. Look at
# the network trained with the rate 1.

# %%
broken = swept[1.0]
dead = silent(broken)                                             # (128,)
claim("share of dead units at the rate 1", dead.float().mean(), ">", 0.6)
claim("held-out accuracy at the rate 1", accuracy(broken, *held_out), "<", 0.5)

mean_loss = cross_entropy(broken(x_train), y_train).mean()
into_hidden, = torch.autograd.grad(mean_loss, [broken.hidden[0].weight])              # (128, 784)
claim("largest gradient into a dead unit", into_hidden[dead].abs().max(), "==", 0)

# %% [markdown]
# The gradient is not small but exactly 0, so a lower learning rate should not bring them back. We try it all the same:
# 300 more steps at 0.003. Beside it a copy in which each dead unit was first given fresh random weights, and a new
# network that has only these 300 steps.

# %%
import copy

seed(0)
fresh = MLP(MLPConfig())
lowered = copy.deepcopy(broken)
revived = copy.deepcopy(broken)
with torch.no_grad():
    revived.hidden[0].weight[dead] = fresh.hidden[0].weight[dead]
    revived.hidden[0].bias[dead] = fresh.hidden[0].bias[dead]
    revived.head.weight[:, dead] = fresh.head.weight[:, dead]

for model in (lowered, revived, fresh):
    fit(model, classifier_loss, Batches(*few, batch_size=64), steps=300, lr=3e-3, decay=0.6)

# %%
claim("held-out accuracy, lower rate only", accuracy(lowered, *held_out), "<", 0.5)
claim("held-out accuracy, dead units given new weights", accuracy(revived, *held_out), ">", 0.85)
claim("share of dead units after new weights", silent(revived).float().mean(), "<", 0.3)
claim("held-out accuracy, a fresh start", accuracy(fresh, *held_out), ">", 0.88)

# %% tags=["nbval-ignore-figure"]
# Figure: four panels of 40 digits (rows) by 128 hidden units (columns), black where a unit responds to a
# digit. The broken network and the one with a lower rate are all but empty; the revived one and the fresh
# one are about half black.
# not compared: four networks trained in place
treated = {"rate 1": broken, "then rate 0.003": lowered,
           "new weights, then 0.003": revived, "fresh, 0.003": fresh}
fig, axes = plt.subplots(2, 2, figsize=(7.2, 4.2), sharex=True, sharey=True)
for ax, (name, model) in zip(axes.flat, treated.items()):
    ax.imshow(predict(model.features, held_out[0][:40]) > 0, aspect="auto", vmin=0, vmax=1)
    ax.set_title(f"{name}: {accuracy(model, *held_out):.0%} right")
    ax.spines[:].set_visible(True)
fig.supxlabel("hidden unit", fontsize=10.5)
fig.supylabel("digit", fontsize=10.5);

# %% [markdown]
# Black is a response. The lower rate brings nobody back; new weights do. Prevention is cheaper: a rate from the
# plateau, one that rises slowly at first (`warmup=` of `fit`), or an activation that is never quite flat, such as the
# leaky ReLU.
#
# ## Why an image deserves a convolution
#
# Does our model know that it looks at *images*? We train another one on digits whose 784 pixels were shuffled, by the
# same permutation for every image. And we show the original network test digits shifted by a few pixels.

# %%
# Figure: eight test digits in three rows: as written, with shuffled pixels, and shifted to the right by
# three pixels.
order = torch.randperm(784, generator=seeded(6))

def shuffle(images):
    return images.flatten(1)[:, order].view_as(images)

def shift(images, k):
    return F.pad(images, (k, -k))                                 # k pixels to the right

some = x_test[:8]
strip({"as written": some, "shuffled": shuffle(some), "shifted by 3": shift(some, 3)});

# %% [markdown]
# **Write down a guess:** which of the two is harder for you, and which for the MLP?

# %%
seed(0)
puzzled = MLP(MLPConfig())
train(puzzled, shuffle(x_train))
on_shuffled = accuracy(puzzled, shuffle(x_test), y_test)
claim("test accuracy of an MLP that learnt from shuffled pixels", on_shuffled, ">", 0.92)
claim("that minus the accuracy of the MLP on digits as written",
      on_shuffled - accuracy(mlp, x_test, y_test), ">", -0.03)

moved = {"MLP": [], "softmax regression": []}
for k in range(-4, 5):
    moved["MLP"].append(accuracy(mlp, shift(x_test, k), y_test))
    moved["softmax regression"].append(accuracy(linear, shift(x_test, k), y_test))
claim("accuracy of the MLP as written minus that at a shift of two",
      moved["MLP"][4] - moved["MLP"][6], ">", 0.15)
claim("accuracy of the MLP at a shift of three pixels", moved["MLP"][7], "<", 0.65)

# %% tags=["nbval-ignore-figure"]
# Figure: two curves, for the MLP and for softmax regression: test accuracy against the number of pixels by
# which the test digits are shifted, from four to the left to four to the right.
# not compared: networks trained in place
ax = curves({name: (range(-4, 5), values) for name, values in moved.items()},
            xlabel="shift to the right (pixels)", ylabel="test accuracy")
ax.set(ylim=(0, 1));

# %% [markdown]
# The top of both curves is at no shift at all, where the models were trained.
#
# <details><summary>Answer</summary>
#
# Shuffling, which ruins the picture for us, is nothing to the MLP: it never knew which pixels are neighbours. Shifting,
# which we hardly notice, ruins it for the MLP: a stroke learned in one place is unknown in the next.
# </details>
#
# A model for images should look at *neighbouring* pixels together and use *the same* weights everywhere. A layer that
# does both is a convolution: lesson 12.

# %% [markdown]
# ## In the wild
#
# In PyTorch our loss is `cross_entropy`; it takes *logits*, so a softmax before it is a common mistake. `torchvision`
# brings the network and twelve times as many digits. scikit-learn's `MLPClassifier` is the same model in one line.
#
# ```python
# from torch.nn.functional import cross_entropy
# from torchvision.datasets import MNIST
# from torchvision.ops import MLP
#
# mnist = MNIST("data", download=True)                          # 60,000 digits, downloaded once
# x = (mnist.data.flatten(1) / 255).to("cuda")                  # (60000, 784)
# mlp = MLP(784, [128, 10]).to("cuda")                          # the last size is the number of classes
# loss = cross_entropy(mlp(x), mnist.targets.to("cuda"))
# ```

# %% [markdown]
# ## Recap
#
# 1. Softmax turns logits into probabilities; the loss is the surprise at the truth, its gradient $p - y$.
# 2. Softmax regression learns a template per class, and its borders are straight; hidden units fold the plane.
# 3. Nothing is chosen on test digits. An accuracy has a standard error, and a comparison counts disagreements.
# 4. Too high a learning rate kills hidden units, whose gradient is then exactly 0; only new weights revive them.
# 5. An MLP does not know which pixels are neighbours, and does not recognise what has moved.
#
# **What we left out.** A penalty on the weights, a second hidden layer, the best width. And a confession: the settings
# of the MLP were chosen while looking at the test accuracy of a few candidates, which flatters it a little.
#
# **Exercises:** [11_softmax_and_mlp](../exercises/11_softmax_and_mlp/11_softmax_and_mlp.ipynb). One more: why does
# softmax regression on *two* classes need only one template? **Next**, [lesson 12](12_convnet.ipynb): a layer that
# knows which pixels are neighbours.
#
# ## Read on
#
# - C. Bishop, *Pattern recognition and machine learning* (2006), eq. 4.104–4.109: softmax regression.
# - G. Cybenko, *Approximation by superpositions of a sigmoidal function* (1989),
#   [doi:10.1007/BF02551274](https://doi.org/10.1007/BF02551274), theorem 2: one hidden layer suffices.
# - X. Glorot, A. Bordes & Y. Bengio, *Deep sparse rectifier neural networks* (2011),
#   [PMLR 15](https://proceedings.mlr.press/v15/glorot11a.html): ReLU.
# - Q. McNemar, *Note on the sampling error of the difference between correlated proportions or percentages* (1947),
#   [doi:10.1007/BF02295996](https://doi.org/10.1007/BF02295996). T. Dietterich, *Approximate statistical tests for
#   comparing supervised classification learning algorithms* (1998),
#   [doi:10.1162/089976698300017197](https://doi.org/10.1162/089976698300017197), section 3.1.
# - In the library: `mlp.py` (`softmax`, `cross_entropy`, `MLP`), `classify.py` (`classifier_loss`, `accuracy`, `predict`).
