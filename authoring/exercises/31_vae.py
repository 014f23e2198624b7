# %% [markdown]
# # Exercise 31 · Variational autoencoders
#
# Seven parts on lesson 31: three functions, a bug, a measurement, a short text and a question of your own. They take about
# two hours of yours and some ten seconds of the computer's.
#
# - Write your answer **in place of** `raise NotImplementedError()`, then run the cell and the check below it.
# - A check prints `ok:` and the name of the task, or one sentence about what is wrong; `hint()` then says more.
# - Tasks 1 to 4a and 5 are graded by a program, which also runs your functions on inputs that you do not see here; 4b and 6
#   are read by a person. You may add cells of your own anywhere, and use whatever PyTorch offers.

# %%
import matplotlib.pyplot as plt
import torch
from torch import nn
from torch.nn import functional as F

from course_lib import checkpoint, plots
from course_lib.checks import hint
from course_lib.checks import vae as check
from course_lib.claims import claim
from course_lib.data import Batches, load
from course_lib.device import seed, seeded
from course_lib.train import fit
from course_lib.vae import bernoulli_log_prob, kl_per_dimension, vae_loss
from course_lib.vae import reparameterize as draw
(x_train, _), (x_test, y_test) = load("digits")[:2]               # 4,000 and 1,000 images (N, 1, 28, 28)

# %%
# Stuck after a check? Run hint(): it says where to look first, then how, and the code only at last.
hint()

# %% [markdown]
# ## 1 · Noise in its place (2 points)
#
# The encoder answers with a mean and a *log-variance* $\ell = \log\sigma^2$ for each number of the code. A code is drawn from
# this bell curve in such a way that the noise comes from outside and gradients pass.
#
# **Given** `mu` and `logvar`, both of shape (B, D), and `eps` of shape (B, D), which was drawn from $\mathcal N(0, I)$.
# **Asked:** the codes $z \sim \mathcal N(\mu, \operatorname{diag}\sigma^2)$ that this noise makes: a tensor of shape (B, D), the
# same for the same `eps`. **Checked:** the values, and the gradients with respect to `mu` and `logvar`.

# %% tags=["solution:reparameterize"]
def reparameterize(mu, logvar, eps):
    """(B, D), (B, D) and noise (B, D) -> codes (B, D)"""
    ### BEGIN SOLUTION
    return mu + (logvar / 2).exp() * eps                          # sqrt(exp(logvar)) = exp(logvar / 2)
    ### END SOLUTION

# %% tags=["test:check_reparameterize:2"]
check.reparameterize(reparameterize)
### BEGIN HIDDEN TESTS
_z = reparameterize(torch.tensor([[1.0, -2.0]]).repeat(20_000, 1),
                    torch.tensor([[0.5, -3.0]]).repeat(20_000, 1),
                    torch.randn(20_000, 2, generator=seeded(0)))
torch.testing.assert_close(_z.mean(0).float(), torch.tensor([1.0, -2.0]), rtol=0, atol=0.03)
torch.testing.assert_close(_z.var(0).log().float(), torch.tensor([0.5, -3.0]), rtol=0, atol=0.03)
### END HIDDEN TESTS

# %% [markdown]
# ## 2 · What a code costs under any Gaussian prior (3 points)
#
# In the lesson the prior was $\mathcal N(0, I)$. Often it is not: it may be fitted to the codes, or depend on a label. For one
# number of the code, with $q = \mathcal N(\mu_q, \sigma_q^2)$ and $p = \mathcal N(\mu_p, \sigma_p^2)$,
#
# $$\mathrm{KL}(q \,\|\, p) = \log\frac{\sigma_p}{\sigma_q} + \frac{\sigma_q^2 + (\mu_q - \mu_p)^2}{2\,\sigma_p^2} - \frac12,$$
#
# and the KL of a whole code is the sum over its numbers, which are independent.
#
# **Given** `mu_q` and `logvar_q` of shape (B, D), the answers of an encoder to B images, and `mu_p` and `logvar_p` of shape (D,),
# one prior for all. Each `logvar` is $\log\sigma^2$. **Asked:** $\mathrm{KL}(q \,\|\, p)$ in nats for each image, a tensor of shape
# (B,). **Checked:** the values, and the gradients with respect to all four.

# %% tags=["solution:kl_between"]
def kl_between(mu_q, logvar_q, mu_p, logvar_p):
    """(B, D), (B, D), (D,), (D,) -> (B,) in nats"""
    ### BEGIN SOLUTION
    var_q, var_p = logvar_q.exp(), logvar_p.exp()                 # log sigma = logvar / 2
    each = 0.5 * (logvar_p - logvar_q + (var_q + (mu_q - mu_p) ** 2) / var_p - 1)  # (B, D)
    return each.sum(1)
    ### END SOLUTION

# %% tags=["test:check_kl_between:3"]
check.kl_between(kl_between)
### BEGIN HIDDEN TESTS
_mu, _logvar, _mu_p, _logvar_p = torch.randn(6, 4), torch.randn(6, 4), torch.randn(4), torch.randn(4)
_q, _p = (torch.distributions.Normal(m, (v / 2).exp()) for m, v in ((_mu, _logvar), (_mu_p, _logvar_p)))
_want = torch.distributions.kl_divergence(_q, _p).sum(1)
torch.testing.assert_close(kl_between(_mu, _logvar, _mu_p, _logvar_p).detach().float(), _want,
                           rtol=1e-3, atol=1e-3)
### END HIDDEN TESTS

# %% [markdown]
# ## 3 · Find the bug (3 points)
#
# A small VAE without convolutions, which trains in a second, and its loss: minus the ELBO. The loss runs without
# an error, and it falls. But it has **one bug**, in one line.

# %%
def negative_elbo_broken(logits, x, mu, logvar):
    reconstruction = F.binary_cross_entropy_with_logits(logits, x)            # -log p(x | z)
    kl_each = 0.5 * (mu ** 2 + logvar.exp() - logvar - 1)                     # (B, D)
    kl = kl_each.sum(1).mean()                                                # KL( q(z | x) || N(0, I) )
    loss = reconstruction + kl
    return {"loss": loss, "reconstruction": reconstruction, "kl": kl}

# %%
class SmallVAE(nn.Module):
    def __init__(self, n_latent=8, n_hidden=128):
        super().__init__()
        self.encoder = nn.Sequential(nn.Flatten(), nn.Linear(784, n_hidden), nn.ReLU(),
                                     nn.Linear(n_hidden, 2 * n_latent))
        self.decoder = nn.Sequential(nn.Linear(n_latent, n_hidden), nn.ReLU(), nn.Linear(n_hidden, 784),
                                     nn.Unflatten(1, (1, 28, 28)))            # logits

    def encode(self, x):                                                      # (B, 1, 28, 28)
        return self.encoder(x).chunk(2, dim=1)                                # mu and logvar, (B, D) each

def trained(loss_fn, steps=140):
    """A SmallVAE after a second with loss_fn(model, x), and what happened in training."""
    seed(0)
    model = SmallVAE()
    return model, fit(model, loss_fn, Batches(x_train, batch_size=64), steps, lr=5e-3, decay=0.5)

def drawing(loss):
    """A loss_fn for `trained` out of a loss(logits, x, mu, logvar)."""
    def loss_fn(model, x):
        mu, logvar = model.encode(x)
        return loss(model.decoder(draw(mu, logvar)), x, mu, logvar)
    return loss_fn

# %%
model, history = trained(drawing(negative_elbo_broken))
claim("loss, first step", history["loss"][0], ">", 0.6)
claim("loss, last step", history["loss"][-1], "<", 0.3)

# %% [markdown]
# *Figure: two rows of ten. Above, test digits; below, what the model makes of them: ten times the same grey blot, the mean of all
# digits.*

# %% tags=["nbval-ignore-figure"]
# not compared: the model is trained here
with torch.no_grad():
    rebuilt = model.decoder(model.encode(x_test[:10])[0]).sigmoid()
    plots.strip({"test digits": x_test[:10], "rebuilt": rebuilt})

# %% [markdown]
# **Given** the decoder's `logits` and the images `x`, both of shape (B, C, H, W), `x` between 0 and 1, and `mu` and `logvar` of
# shape (B, D). **Asked:** `negative_elbo`, the same function without the bug. It returns a dict with the entries `"loss"`,
# `"reconstruction"` and `"kl"`: **nats per image**, the mean over the batch, each of shape `()`. Copy the one above, find the
# line, and repair it; everything else is right. **Checked:** the three values and their gradients, for images and codes of
# several sizes.
#
# Do not guess: what are the two terms of the ELBO for *one* image, and what does the function above return for it? How many
# nats of KL does it weigh against a nat of reconstruction?

# %% tags=["solution:negative_elbo"]
def negative_elbo(logits, x, mu, logvar):
    """(B, C, H, W), (B, C, H, W), (B, D), (B, D) -> {"loss", "reconstruction", "kl"} in nats per image"""
    ### BEGIN SOLUTION
    pixels = F.binary_cross_entropy_with_logits(logits, x, reduction="none")  # default: a mean over all
    reconstruction = pixels.flatten(1).sum(1).mean()
    kl_each = 0.5 * (mu ** 2 + logvar.exp() - logvar - 1)
    kl = kl_each.sum(1).mean()
    loss = reconstruction + kl
    return {"loss": loss, "reconstruction": reconstruction, "kl": kl}
    ### END SOLUTION

# %% tags=["test:check_negative_elbo:3"]
check.negative_elbo(negative_elbo)
### BEGIN HIDDEN TESTS
_logits, _x = torch.randn(3, 1, 6, 5), torch.rand(3, 1, 6, 5)
_mu, _logvar = torch.randn(3, 4), torch.randn(3, 4)
_r = -(_x * _logits.sigmoid().log() + (1 - _x) * (-_logits).sigmoid().log()).sum() / 3
_kl = kl_per_dimension(_mu, _logvar).sum() / 3
_got = negative_elbo(_logits, _x, _mu, _logvar)
for _key, _value in {"loss": _r + _kl, "reconstruction": _r, "kl": _kl}.items():
    assert abs(float(_got[_key]) - float(_value)) < 1e-2, f"the entry {_key!r} is wrong"
def _terms(*batch):
    _got = negative_elbo(*batch)
    return {"loss": _got["loss"], "kl": _got["kl"]}
_history = trained(drawing(_terms), steps=80)[1]
assert _history["kl"][-1] > 4, "a model trained with it does not use its code"
### END HIDDEN TESTS

# %% [markdown]
# ## 4 · Keeping a code in use
#
# ### 4a · Free bits (3 points)
#
# **Given** `kl_each` of shape (B, D), the KL of each number of the code for each image of a batch, and a number `floor` in nats.
# **Asked:** the KL term of a loss with free bits (Kingma et al., 2016). Each number of the code may hold `floor` nats, in the
# mean over the batch, at no cost:
#
# $$\sum_{d=1}^{D} \max\Bigl(\text{floor},\; \frac1B \sum_{b=1}^{B} \mathrm{KL}_{bd}\Bigr),$$
#
# a tensor of shape `()`. **Checked:** the value, also for B = 1 and D = 1, and the gradient with respect to `kl_each`.

# %% tags=["solution:free_bits"]
def free_bits(kl_each, floor):
    """(B, D) and a number -> ()"""
    ### BEGIN SOLUTION
    return kl_each.mean(0).clamp(min=floor).sum()                 # (B, D) -> (D,) -> ()
    ### END SOLUTION

# %% tags=["test:check_free_bits:3"]
check.free_bits(free_bits)
### BEGIN HIDDEN TESTS
_kl = torch.tensor([[3.0, 0.1, 0.0], [1.0, 0.3, 2.0]], requires_grad=True)
_total = free_bits(_kl.clone(), 0.5)
assert abs(float(_total.detach()) - (2.0 + 0.5 + 1.0)) < 1e-4, "the value of a small example is wrong"
_gradient, = torch.autograd.grad(_total, _kl)
torch.testing.assert_close(_gradient.float(), torch.tensor([[0.5, 0, 0.5], [0.5, 0, 0.5]]))
### END HIDDEN TESTS

# %% [markdown]
# ### 4b · Four losses (3 points)
#
# Here is the small VAE again, trained with *reconstruction* + β *KL* in nats per image, for β = 0, 1 and 50, and once more with
# β = 50 and free bits, a floor of half a nat. For each, digits rebuilt from the means of their codes, and images drawn from
# codes $z \sim \mathcal N(0, I)$.
#
# *Figure: nine rows of ten. Test digits. With β = 0, rebuilt digits are close to the originals, and drawn ones are grey tangles,
# few of them a digit. With β = 1, rebuilt ones are a little softer, and most of those drawn are soft digits. With β = 50 both
# rows show the same grey blot ten times. With free bits, all are blurred, but they differ: some are digits.*

# %%
losses = {"β = 0": (0, 0), "β = 1": (1, 0), "β = 50": (50, 0), "β = 50, free bits": (50, 0.5)}
rows, terms = {"test digits": x_test[:10]}, {}
for name, (beta, floor) in losses.items():
    model, _ = trained(lambda model, x: vae_loss(model, x, beta=beta, free_bits=floor))
    with torch.no_grad():
        terms[name] = vae_loss(model, x_test)
        rows[f"{name}: rebuilt"] = model.decoder(model.encode(x_test[:10])[0]).sigmoid()
        rows[" " * len(rows) + "drawn"] = model.decoder(torch.randn(10, 8, generator=seeded(0))).sigmoid()

# %% tags=["nbval-ignore-figure"]
# not compared: the models are trained here
plots.strip(rows);

# %%
claim("test digits, β = 0: KL (nats)", terms["β = 0"]["kl"], ">", 60, digits=1)
claim("β = 1: KL", terms["β = 1"]["kl"], ">", 10, digits=1)
claim("β = 50: KL", terms["β = 50"]["kl"], "<", 0.2)
claim("β = 50, free bits: KL", terms["β = 50, free bits"]["kl"], ">", 3)
claim("nats of reconstruction that β = 0 saves against β = 1",
      terms["β = 1"]["reconstruction"] - terms["β = 0"]["reconstruction"], ">", 5, digits=1)

# %% [markdown]
# **Explain** in five to eight sentences. (i) With β = 50, as with the bug of task 3, nothing went wrong in training. Why, then, do
# all digits come back as the same image, and why as this one? (ii) β = 0 rebuilds best. Why does it draw worst? (iii) With free bits
# the code holds nearly 8 × 0.5 = 4 nats. Why so many, and why does β = 50 not push them out?

# %% [markdown] tags=["manual:explain_beta:3"]
# (i) A nat of KL costs 50 times as much as a nat of reconstruction, and saves far less than 50. So the cheapest answer of the encoder
# is the prior itself, $\mu = 0$ and $\sigma = 1$ for every image: KL 0. The code is then pure noise that says nothing about the image;
# the decoder learns to ignore it, and the best single answer to all images is, in each pixel, the mean of all digits. (ii) With
# β = 0 nobody asks where the codes lie. The encoder makes $\sigma$ small and spreads the means far apart, as an autoencoder
# does, so that each image has a place of its own. A code from $\mathcal N(0, I)$ falls where the decoder has hardly seen an
# image in training, and what it draws there is arbitrary. (iii) Below the floor the maximum is a constant: the gradient of the KL term
# with respect to that number of the code is zero, and 50 times zero is zero. So each number grows as long as it holds less than half
# a nat, since up to there it improves the reconstruction and costs nothing. Above the floor the price of 50 pushes it back, and it
# stays just below.
#
# **Rubric.** 1 point: (i) the KL costs more than it saves, so q = p for every image, the code carries nothing, and the mean image is
# the best constant answer. 1 point: (ii) codes lie anywhere and are nearly points; draws from the prior fall between or beside
# them. 1 point: (iii) below the floor the KL term has no gradient, whatever its factor, so every number fills up to the floor.

# %% [markdown]
# ## 5 · Measure: what a baseline is worth (2 points)
#
# In the lesson, the score function $f(z)\,\frac{z - \mu}{\sigma^2}$ and the gradient through the sample, $\partial f(z) / \partial z$,
# estimated the same gradient, and the first had more than a thousand times the variance. There is an old repair. Since
# $\frac{z - \mu}{\sigma^2}$ has mean zero, a constant $b$, the *baseline*, may be subtracted,
#
# $$\bigl(f(z) - b\bigr)\,\frac{z - \mu}{\sigma^2},$$
#
# and the mean stays the same. What remains of the thousand?
#
# **Given** the shipped VAE, a test digit, the encoder's answer `mu` and `sigma` for it, both of shape (1, 8), and the function
# `lost(z)`, which is $f(z) = -\log p(x \mid z)$ in nats for each of N codes. **Asked:** `variance_ratio`. Draw at least 4,000 codes
# $z = \mu + \sigma\varepsilon$. From each make *one* estimate of the gradient in either way, eight numbers, where $b$ is the mean of $f$ over
# all your codes. The variance of an estimator shall be the sum of the variances of its eight numbers over the codes. Divide that
# of the score function with baseline by that of the gradient through the sample. **Checked:** your number, within 15 percent.
#
# With `z.requires_grad_()`, row $i$ of `torch.autograd.grad(lost(z).sum(), z)[0]` is the gradient of $f(z_i)$, since no other
# term of the sum depends on $z_i$.

# %%
vae = checkpoint.load("vae").requires_grad_(False)
digit = x_test[24:25]                                             # (1, 1, 28, 28)
mu, logvar = vae.encode(digit)                                    # (1, 8) each
sigma = (logvar / 2).exp()

def lost(z):                                                      # (N, 8), 500 at a time
    return torch.cat([-bernoulli_log_prob(vae.decoder(part), digit.expand(len(part), 1, 28, 28))
                      for part in z.split(500)])                  # (N,)

lost(mu.repeat(3, 1)).shape

# %% tags=["solution:variance_ratio"]
variance_ratio = ...  # set it to your number at the end
### BEGIN SOLUTION
eps = torch.randn(4000, 8, generator=seeded(1))
z = (mu + sigma * eps).requires_grad_()
f = lost(z)                                                       # (4000,)
through = torch.autograd.grad(f.sum(), z)[0]                      # (4000, 8)
f = f.detach()
# (z - mu) / sigma^2 = eps / sigma
plain, score = (weight[:, None] * eps / sigma for weight in (f, f - f.mean()))
variance_ratio = score.var(0).sum() / through.var(0).sum()
claim("without a baseline", plain.var(0).sum() / through.var(0).sum(), ">", 1000, digits=0)
claim("with a baseline", variance_ratio, "<", 50, digits=1)
### END SOLUTION

# %% tags=["test:check_variance_ratio:2"]
check.variance_ratio(variance_ratio)
### BEGIN HIDDEN TESTS
# mu and sigma may be names of the answer
_vae, _x = checkpoint.load("vae").requires_grad_(False), x_test[24:25]
_mu, _logvar = _vae.encode(_x)
_sigma, _eps = (_logvar / 2).exp(), torch.randn(2000, 8, generator=seeded(13))
_z = (_mu + _sigma * _eps).requires_grad_()
_f = -torch.cat([bernoulli_log_prob(_vae.decoder(_part), _x.expand(len(_part), 1, 28, 28))
                 for _part in _z.split(500)])
_g = torch.autograd.grad(_f.sum(), _z)[0]
_ratio = float(((_f - _f.mean()).detach()[:, None] * _eps / _sigma).var(0).sum() / _g.var(0).sum())
_distance = abs(float(variance_ratio) - _ratio)
assert _distance < 0.2 * _ratio, "the ratio is not near that of a second measurement"
### END HIDDEN TESTS

# %% [markdown]
# ## 6 · Your own question (4 points)
#
# Ask a question about VAEs that the lesson does not answer, **write down your guess**, and find out. Examples: Which digits take the
# most nats of code, and which are rebuilt worst? Is the mean of $f$ the best baseline in task 5? Does the small VAE draw better
# if β grows slowly from 0 to 1 (`trained(annealed(100))`)? Does a VAE know which images are no digits? How many numbers of the
# code of a 7 must be replaced by those of a 1 until it is a 1? Your code shall run in less than a minute.

# %% tags=["solution:own_experiment"]
with torch.no_grad():
    mu_test, logvar_test = vae.encode(x_test)
    kl = kl_per_dimension(mu_test, logvar_test).sum(1)                        # (1000,)
    rebuilt = -bernoulli_log_prob(vae.decoder(mu_test), x_test)               # (1000,)
fig, panels = plt.subplots(1, 2, figsize=(8, 2.5))
for ax, nats, name in zip(panels, (rebuilt, kl), ("reconstruction", "KL")):
    by_digit = torch.stack([nats[y_test == c] for c in range(10)])            # (10, 100)
    mean, error = by_digit.mean(1), by_digit.std(1) / 10
    ax.errorbar(range(10), mean, error, fmt="o", ms=4, capsize=2)
    ax.set(xlabel="digit", xticks=range(10), ylabel=f"{name} (nats)")
claim("nats for a 1, below any other digit by", mean[[0, *range(2, 10)]].min() - mean[1], ">", 1)
claim("nats for a 2 minus those for an 8", mean[2] - mean[8], ">", 0.5)
claim("largest standard error of a mean", error.max(), "<", 0.5)

# %% [markdown]
# Write here: your question, your guess, what you did, what came out (a number or a figure), how sure you are of it, and what
# you would try next. Half a page is plenty.

# %% [markdown] tags=["manual:own_question:4"]
# *An example of an answer.* **Question:** which digits take the most nats of code, and are they also the hardest to rebuild?
# **Guess:** the 8, with its two loops; the 1 is cheapest in both. **Experiment:** KL and reconstruction term of the shipped VAE
# for all 1,000 test digits, 100 of each class, means and standard errors; the code is the mean of $q$, without noise. **Result:** the 1 is
# cheapest in both, as I thought. But the 8 is hardest to rebuild and takes *fewer* nats than most: 2 and 0 take the most, 1.3 to 1.5
# nats more than an 8. So nats of code do not measure how much ink there is, but how much the decoder gains from
# knowing more; an 8 looks more like other 8s than one 2 like another. **Sure?** The standard errors are about 0.2 nats, so the order of
# 2 and 0 is open, and that of 2 and 8 is not. It is one trained model; another might spend its nats differently.
# **Next:** the same for β = 4, where nats are dearer, and with three seeds.
#
# **Rubric.** 1 point: a question that can be answered by an experiment, and a guess made before. 1 point: one thing is changed
# and the rest held fixed; measured on images that the model was not trained on, where that matters. 1 point: a number or a figure
# with labelled axes, described truthfully, whether or not it agrees with the guess. 1 point: says how sure the result is (several
# seeds or draws, a standard deviation) or what might be wrong with it.
