# %% [markdown]
# # Exercise 21 · Autoencoders
#
# Six tasks on lesson 21: two functions, a bug, a measurement, and two short texts. They take about two hours of
# yours, and some fifteen seconds of the computer's.
#
# - Write your answer **in place of** `raise NotImplementedError()`, then run the cell and the check below it.
# - A check prints `ok:` and the name of the task, or one sentence about what is wrong; `hint()` then says more.
# - Tasks 1 to 4 are graded by a program, which also runs your functions on inputs that you do not see here; 5 and 6
#   are read by a person. You may add cells of your own anywhere, and use whatever PyTorch offers.

# %%
import matplotlib.pyplot as plt
import torch
from torch import nn

from course_lib import checkpoint, gaussians
from course_lib.autoencoder import reconstruction_loss
from course_lib.checks import autoencoder as check
from course_lib.checks import hint
from course_lib.claims import claim
from course_lib.data import Batches, load
from course_lib.device import seed, seeded
from course_lib.metrics import frechet_distance, judge_features
from course_lib.plots import strip
from course_lib.train import fit
(x_train, y_train), (x_test, y_test) = load("digits")[:2]         # 4,000 and 1,000 images (N, 1, 28, 28)

# %%
# Stuck after a check? Run hint(): it says where to look first, then how, and the code only at last.
hint()

# %% [markdown]
# ## 1 · Rebuild from k axes (3 points)
#
# **Given** N points `x` of shape (N, D), B other points `new` of shape (B, D), and a number `k` < D. **Asked:** the
# points `new` rebuilt by PCA: the mean and the k principal axes of `x` (the directions of largest variance) are
# found, `new` is encoded as k coordinates on these axes, and decoded again; a tensor of shape (B, D).
#
# **Checked:** the values, also for B = 1. Axes have no sign and your function must not depend on one.
# `torch.linalg.svd` and `torch.linalg.eigh` are allowed and useful; read in their documentation which of the two
# sorts how, and whether the axes stand in rows or in columns.

# %% tags=["solution:pca_rebuild"]
def pca_rebuild(x, new, k):
    """(N, D), (B, D), k -> (B, D)"""
    ### BEGIN SOLUTION
    mean = x.mean(0)
    Vh = torch.linalg.svd(x - mean, full_matrices=False)[2]       # rows by falling singular value
    code = (new - mean) @ Vh[:k].T                                # (B, k)
    return mean + code @ Vh[:k]                                   # (B, D)
    ### END SOLUTION

# %% tags=["test:check_pca_rebuild:3"]
check.pca_rebuild(pca_rebuild)
### BEGIN HIDDEN TESTS
_x = torch.tensor([[3.0, 1], [1, 3], [-1, -3], [-3, -1]]).double() + torch.tensor([5.0, 7.0]).double()
_got = pca_rebuild(_x.clone(), _x[:3] + 1, 1)                     # onto the line from (5, 7) along (1, 1)
_want = torch.tensor([[8.0, 10], [8, 10], [4, 6]]).double()
torch.testing.assert_close(_got.double(), _want, rtol=1e-3, atol=1e-3)
### END HIDDEN TESTS

# %% [markdown]
# ## 2 · How different are two subspaces? (3 points)
#
# **Given** two matrices `A` and `B` of shape (D, k) with independent columns. The columns are *neither* of length 1
# *nor* at right angles to each other. **Asked:** the largest principal angle between the subspaces that they span,
# one number, **in degrees**.
#
# If `Qa` and `Qb` have orthonormal columns that span the same subspaces (`torch.linalg.qr(A)[0]`), then the cosines
# of the principal angles are the singular values of $Q_a^\top Q_b$. By rounding, a cosine can become 1.0000001, of
# which arccos is nan: take care. **Checked:** the angle, within a thousandth, also for lines (k = 1) and for nearly
# equal subspaces.

# %% tags=["solution:largest_angle"]
def largest_angle(A, B):
    """(D, k), (D, k) -> degrees, ()"""
    ### BEGIN SOLUTION
    Qa, Qb = torch.linalg.qr(A)[0], torch.linalg.qr(B)[0]
    cosines = torch.linalg.svdvals(Qa.T @ Qb).clamp(max=1)        # (k,) largest first
    return torch.rad2deg(torch.arccos(cosines[-1]))
    ### END SOLUTION

# %% tags=["test:check_largest_angle:3"]
check.largest_angle(largest_angle)
### BEGIN HIDDEN TESTS
_A = torch.tensor([[2.0, 1.0], [0.0, 3.0], [0.0, 0.0]]).double()  # the floor ...
_tilt = torch.tensor(20.0).deg2rad().double()
_second = torch.stack([0 * _tilt, _tilt.cos(), _tilt.sin()])
_B = torch.stack([torch.tensor([5.0, 0, 0]).double(), _second], 1)
_angle = float(largest_angle(_A.clone(), _B @ torch.tensor([[1.0, 1.0], [0.5, -1.0]]).double()))
assert abs(_angle - 20) < 0.05, "a plane tilted by 20 degrees against another"
### END HIDDEN TESTS

# %% [markdown]
# ## 3 · Find the bug (3 points)
#
# The loss of a linear autoencoder for images: the squared error, summed over the pixels of an image, mean over the
# images of a batch. It runs without an error, the loss falls and then stays level. But it has **one bug**.

# %%
def loss_broken(x, E, D):
    B, _, H, W = x.shape
    z = x.flatten(1) @ E                                          # (B, k) the code
    rebuilt = (z @ D).view(B, H, W)                               # the image again
    square = (x - rebuilt) ** 2                                   # the error of each pixel
    return square.sum((1, 2, 3)).mean()                           # sum over pixels, mean over images

# %% [markdown]
# We train with it, and rebuild ten digits from 16 numbers each.
#
# *Figure: above, ten different digits; below, their reconstructions, the same grey blob ten times.*

# %% tags=["nbval-ignore-figure"]
# not compared: trained here, and drawn at once
def train(loss, steps=100):
    seed(0)
    E, D = nn.Parameter(0.02 * torch.randn(784, 16)), nn.Parameter(0.02 * torch.randn(16, 784))
    model = nn.ParameterList([E, D])
    history = fit(model, lambda m, x: {"loss": loss(x, *m)}, Batches(x_train, batch_size=50), steps,
                  lr=5e-3, decay=0.5)
    return E.detach(), D.detach(), history["loss"]

E, D, history = train(loss_broken)
rebuilt = (x_test[:10].flatten(1) @ E @ D).view(-1, 1, 28, 28)
strip({"digits": x_test[:10], "rebuilt": rebuilt});

# %% [markdown]
# Suspicious: always drawing the mean image would cost 53, and this loss is fifty times as large. With a batch of
# one image it would be right.

# %%
claim("the loss at the end", history[-1], ">", 1000, digits=0)
variance = (x_train - x_train.mean(0)).square().sum((1, 2, 3)).mean()
claim("error of always predicting the mean image", variance, "<", 53, digits=1)
claim("variation between two reconstructions", rebuilt.std(0).max(), "<", 0.2)

# %% [markdown]
# **Given** images `x` of shape (B, 1, H, W) and the two matrices `E` of shape (HW, k) and `D` of shape (k, HW).
# **Asked:** `autoencoder_loss`, the same function without the bug. **Checked:** the loss and its gradients by `E`
# and `D`, for several B.
#
# Do not guess. Print the shape of every tensor for a batch of 3, then for a batch of 1.

# %% tags=["solution:autoencoder_loss"]
def autoencoder_loss(x, E, D):
    """(B, 1, H, W), (HW, k), (k, HW) -> ()"""
    ### BEGIN SOLUTION
    z = x.flatten(1) @ E                                          # (B, k)
    rebuilt = (z @ D).view_as(x)                                  # the bug: (B, H, W) made all pairs
    square = (x - rebuilt) ** 2                                   # (B, 1, H, W)
    return square.sum((1, 2, 3)).mean()
    ### END SOLUTION

# %% tags=["test:check_autoencoder_loss:3"]
check.autoencoder_loss(autoencoder_loss)
### BEGIN HIDDEN TESTS
_E, _D, _history = train(autoencoder_loss)
_rebuilt = (x_test.flatten(1) @ _E @ _D).view_as(x_test)
_error = (x_test - _rebuilt).square().sum((1, 2, 3)).mean()
assert _error < 35, "training with this loss does not rebuild digits"
_one = torch.rand(1, 1, 4, 3)
_loss = autoencoder_loss(_one, torch.zeros(12, 2), torch.zeros(2, 12))
assert abs(float(_loss) - float((_one**2).sum())) < 1e-3
### END HIDDEN TESTS

# %% [markdown]
# ## 4 · Measure: closer to the mean (2 points)
#
# The Gaussian fitted to the codes of the shipped autoencoder draws many codes into empty places. What if we draw
# all codes closer to their mean, by a factor $\tau$: $z = \mu + \tau\,L\varepsilon$? The images become cleaner, and
# more alike. Guess first: does the Fréchet distance fall?
#
# *Figure: four rows of ten images, with $\tau$ = 1, 0.6, 0.3 and 0. At 1 about half can be read and all are
# different; the smaller $\tau$, the more they resemble an eight; at 0 all are the same eight.*

# %%
model = checkpoint.load("autoencoder").requires_grad_(False)
mu, L = model.codes.mean, model.codes.scale                       # (16,), (16, 16)
eps = torch.randn(10, 16, generator=seeded(0))
strip({rf"$\tau$ = {tau}": model.decode(mu + tau * eps @ L.T) for tau in (1, 0.6, 0.3, 0.0)});

# %% [markdown]
# **Asked:** `shrunk_distance`, the Fréchet distance between what the judge sees in 1,000 images drawn with $\tau =
# 0.6$ and in the 1,000 test digits, as the mean of two or more draws. **Checked:** your number, within 8
# percent.

# %% tags=["solution:shrunk_distance"]
shrunk_distance = ...  # set it to your number at the end
### BEGIN SOLUTION
real = judge_features(x_test)

def drawn(tau, s):
    return model.decode(mu + tau * torch.randn(1000, 16, generator=seeded(s)) @ L.T)

distances = [frechet_distance(judge_features(drawn(0.6, s)), real) for s in range(2)]
shrunk_distance = sum(distances) / 2
at_one = frechet_distance(judge_features(drawn(1.0, 0)), real)
claim("Fréchet distance with tau = 0.6, minus that with 1", shrunk_distance - at_one, ">", 2, digits=1)
### END SOLUTION

# %% tags=["test:check_shrunk_distance:2"]
check.shrunk_distance(shrunk_distance)
### BEGIN HIDDEN TESTS
_real, _model = judge_features(x_test), checkpoint.load("autoencoder").requires_grad_(False)
_z = _model.codes.mean + 0.6 * torch.randn(1000, 16, generator=seeded(50)) @ _model.codes.scale.T
_image = _model.decode(_z)
_own = frechet_distance(judge_features(_image), _real)
assert abs(float(shrunk_distance) / _own - 1) < 0.12, "not within 12 percent of a second measurement"
### END HIDDEN TESTS

# %% [markdown]
# ## 5 · Explain: a letter from a friend (4 points)
#
# You and a friend train the same linear autoencoder on the same digits, with different seeds. Both end with the
# error of PCA, to three digits. She sends you the 16 numbers of ten digits, and you decode them with *your*
# decoder.
#
# *Figure: three rows of ten: the digits; your decoder on your codes, blurred and right; your decoder on her codes,
# blurred shapes that are other digits or none.*

# %% tags=["nbval-ignore-figure"]
# not compared: trained here, and drawn at once
mean = x_train.mean(0, keepdim=True)

def trained(s):
    seed(s)
    pair = nn.Sequential(nn.Linear(784, 16, bias=False), nn.Linear(16, 784, bias=False))
    centred = (x_train - mean).flatten(1)
    fit(pair, reconstruction_loss, Batches(centred, batch_size=250), 300, lr=1e-2, decay=0.8, clip=None)
    return pair.requires_grad_(False), reconstruction_loss(pair, centred)["loss"].item()

(yours, your_error), (hers, her_error) = trained(0), trained(1)
ten = (x_test[:10] - mean).flatten(1)

def show(flat):
    return (flat.view(-1, 1, 28, 28) + mean).clamp(0, 1)

strip({"digits": x_test[:10], "your codes": show(yours(ten)), "her codes": show(yours[1](hers[0](ten)))});

# %%
claim("your error", your_error, "<", 22.5, digits=1)
claim("difference between your errors", abs(your_error - her_error), "<", 1, digits=2)
on_her_codes = (yours[1](hers[0](ten)) - ten).square().sum(1).mean()
claim("your decoder's error on her codes", on_her_codes, ">", 53, digits=1)

# %% [markdown]
# **Explain** in five to eight sentences. Both errors are equal: what do the two autoencoders have in common, and
# what not? Why does no further training bring your codes together? You also have the codes that *both* of you gave
# to 100 digits: what could you compute from them so that you can read her letters, and why might that work less
# well for two *convolutional* autoencoders? Which of the two reasons why random codes decode to garbage
# (lesson 21, *Break it*) does this show?

# %% [markdown] tags=["manual:explain_letter:4"]
# Both have learned the same *subspace*, that of the first 16 principal axes; since that is the only thing the loss
# can see, their errors are equal. They have not learned the same *coordinates* in it: her code is yours times some
# invertible 16 × 16 matrix $M$, and her decoder undoes exactly that matrix. My decoder does not, so it adds up the
# right axes in the wrong amounts. Further training changes nothing, as every $M$ gives the same minimum: the
# gradient along these directions is zero, and where a training ends among them depends on its start. From 100 pairs
# of codes I can find $M$ by least squares, $\min_M \sum_i \lVert z_i - M z_i' \rVert^2$: 256 unknowns and 1,600
# equations; then I decode $M z'$. For two linear autoencoders it is exact (up to how far the trainings are from
# their minimum). Codes of convolutional autoencoders are related by a *curved* map, so a matrix is only an
# approximation. It shows the first reason, that the loss never says where codes lie; the holes between codes are
# the other.
#
# **Rubric.** 1 point: the same subspace and another basis (or: the codes differ by an invertible matrix that the
# decoders undo). 1 point: all of these are minima, and the loss does not distinguish them, so training cannot.
# 1 point: a linear map fitted by least squares to the pairs, and that it need not be linear for deep networks.
# 1 point: names the reason, nothing says where codes lie, and not the holes.

# %% [markdown]
# ## 6 · Your own question (4 points)
#
# Ask a question about codes that the lesson does not answer, **write down your guess**, and find out. Examples: How
# well does a *mixture* of Gaussians on the codes draw, by the number of Gaussians? Are the ten digits easier to
# tell apart in codes than on principal axes of equal number? Which digits does the decoder draw halfway between a 4
# and a 7? What do PCA and the autoencoder make of a digit that is shifted by four pixels, or of a letter? Your code
# shall run in less than a minute.

# %% tags=["solution:own_experiment"]
z = model.encode(x_train).double()

def mixture_distance(K, draws=2):
    """Fréchet distance of images from K Gaussians, fitted to the codes by EM as in lesson 13."""
    w, centre, cov, _ = gaussians.em(z, gaussians.kmeans_plus_plus(z, K, seeded(0)), 15, pool=20.0,
                                     ridge=1e-3)
    scale, found = torch.linalg.cholesky(cov), []
    for s in range(draws):
        g = seeded(s)
        k = torch.multinomial(w, 1000, replacement=True, generator=g)
        codes = centre[k] + (scale[k] @ torch.randn(1000, 16, 1, generator=g).double()).squeeze(-1)
        found.append(frechet_distance(judge_features(model.decode(codes.float())), real))
    return found

numbers = (1, 5, 20)
found = torch.tensor([mixture_distance(K) for K in numbers])      # (3, 2)
claim("one Gaussian", found[0].mean(), ">", 12, digits=1)
claim("twenty Gaussians", found[2].mean(), "<", 8, digits=1)
fig, ax = plt.subplots(figsize=(4.5, 2.6))
ax.plot(numbers, found, "o", color="C0")
ax.plot(numbers, found.mean(1), color="C0")
ax.set(xlabel="Gaussians in the mixture", ylabel="Fréchet distance", ylim=(0, None), xticks=numbers);

# %% [markdown]
# Write here: your question, your guess, what you did, what came out (a number or a figure), how sure you are of it,
# and what you would try next. Half a page is plenty.

# %% [markdown] tags=["manual:own_question:4"]
# *An example of an answer.* **Question:** how far does a better model of the codes get? **Guess:** ten Gaussians,
# one for each digit, will halve the distance, and more bring little. **Experiment:** a mixture of 1, 5 and 20
# Gaussians fitted to the codes of the training digits by the EM of lesson 13; 1,000 images each, two draws;
# everything else as in the lesson. **Result:** the distance falls from about 18 with one Gaussian to about 4 with
# twenty, see the figure. Rebuilt test digits are near 1, so most of the garbage came from the model of the codes
# and not from the decoder. My guess was too low. **Sure?** The two draws differ by about one at most, far less than
# the effect; but I fitted each number of Gaussians from one start only, and 20 full covariances have 3,000 numbers
# for
# 4,000 codes: I should look at the nearest training digits, to see whether it only repeats codes. **Next:** 80
# Gaussians, and the likelihood of test codes, which would show that.
#
# **Rubric.** 1 point: a question that can be answered by an experiment, and a guess made before. 1 point: one thing
# is changed and the rest held fixed; measured on images that the model was not fitted to, where that matters.
# 1 point: a number or a figure with labelled axes, described truthfully, whether or not it agrees with the guess.
# 1 point: says how sure the result is (several draws or seeds) or what might be wrong with it.
