# %% [markdown]
# # 31 · Variational autoencoders: codes that you can sample
#
# An autoencoder (lesson 21) squeezes a digit into a few numbers, its *code*, and rebuilds the digit from them. Can it
# also make a *new* digit? For that it needs a new code, and nothing in its training says where the codes of digits
# lie: most random codes give blots. A **variational autoencoder** (VAE) is trained so that its codes lie around zero,
# where we can sample them. It takes one change: the encoder no longer answers "this number is 0.7" but "it is about
# 0.7, give or take 0.2". At the end you will have made the picture below: new digits from random codes. The same
# model also bounds how probable an image is, and it can fail in a way that its loss hardly shows.
#
# **After this lesson you can**
# - write the loss of a VAE in six lines, and say why it is a bound on the probability of an image;
# - sample digits, explore their codes with sliders, and compare generators fairly;
# - notice a VAE whose code carries no information, and repair it.
#
# **You need** lessons [13](13_discriminative_vs_generative.ipynb) (Gaussians, Bayes' rule, Fréchet distance) and
# [21](21_autoencoder.ipynb) (encoder, decoder). **It takes** 90 minutes to read and half a minute to run.
# **How hard:** •••. All symbols are in the [table of symbols](symbols.ipynb).
#
# ## Set-up

# %%
import matplotlib.pyplot as plt
import torch
from torch.distributions import Normal, kl_divergence
from torch.testing import assert_close

from course_lib.checkpoint import load as load_checkpoint
from course_lib.claims import claim
from course_lib.data import Batches, load
from course_lib.device import seed, seeded
from course_lib.plots import COLOURS, diagram, grid, scatter, sliders, strip

# %%
x, y = load("digits").train                                       # 4,000 images (4000, 1, 28, 28), labels
x_test, y_test = load("digits").test                              # 1,000
autoencoder = load_checkpoint("autoencoder")                      # of lesson 21
vae = load_checkpoint("vae")

# %%
# Figure: five rows of ten digits. Handwriting; samples of the mixture of Gaussians of lesson 13, grey
# and smeared; of the autoencoder of lesson 21, crooked strokes; of the VAE, clean strokes, some of them
# between two digits; of the VAE with a fitted prior, nearly all of them digits.
with torch.no_grad():
    crisp = (3 * autoencoder.decoder(autoencoder.codes.sample(10, seeded(1)))).sigmoid()
strip({"real": x_test[:10],
       "mixture (lesson 13)": load_checkpoint("gaussian_mixture").sample(10, seeded(1)),
       "autoencoder (21)": crisp,
       "VAE": vae.sample(10, seeded(1)),
       "VAE, fitted prior": load_checkpoint("vae_mixture").sample(10, seeded(1))});

# %% [markdown]
# All rows but the first are samples. The mixture gives grey smears, the autoencoder crooked strokes, the VAE clean
# strokes, of which some lie between two digits. In the last row the same VAE takes its codes from a prior that we fit
# below.
#
# ## One number, by hand
#
# Nature picks a hidden number $z \sim \mathcal N(0, 1)$, adds noise, and shows us only the sum, $x \sim \mathcal N(z,
# 1)$. We see $x = 2$. How probable was that, and what was $z$? Here both can be calculated. A sum of two independent
# normal numbers is normal, and its variance is the sum of theirs: $p(x) = \mathcal N(x; 0, 2)$. Bayes' rule gives
# $p(z \mid x) = \mathcal N(z; \tfrac x2, \tfrac12)$. So $z$ was probably near 1, halfway between what we saw and what
# we expected.

# %%
prior = Normal(0.0, 1.0)                                          # p(z)
posterior = Normal(1.0, 0.5**0.5)                                 # p(z | x = 2)
log_p = Normal(0.0, 2**0.5).log_prob(torch.tensor(2.0))           # log p(x = 2)
print(f"log p(x) = {log_p:.4f}")

# %% [markdown]
# If a neural network makes $x$ from $z$, neither can be calculated: the integral $p(x) = \int p(x \mid z)\,p(z)\,dz$
# has no formula. So we *guess* the posterior, with a normal distribution $q(z \mid x)$ that we may choose, and ask
# what a guess is worth. Four steps:
#
# $$\begin{aligned}
# \log p(x) &= \log \int p(x \mid z)\, p(z)\, dz && \text{sum over all hidden } z\\
# &= \log \mathbb E_{q}\!\left[\frac{p(x \mid z)\, p(z)}{q(z \mid x)}\right] && \text{multiply and divide by } q\\
# &\ge \mathbb E_{q}\!\left[\log \frac{p(x \mid z)\, p(z)}{q(z \mid x)}\right]
# && \text{the log of a mean} \ge \text{the mean of the logs (Jensen)}\\
# &= \mathbb E_{q}\big[\log p(x \mid z)\big] - \mathrm{KL}\big(q(z \mid x) \,\|\, p(z)\big)
# && \text{take the fraction apart}
# \end{aligned}$$
#
# The last line is the **ELBO**, the evidence lower bound. Its first term says how well codes sampled from $q$ give the
# image back. Its second, the *Kullback–Leibler divergence* $\mathrm{KL}(q \| p) = \mathbb E_q[\log q - \log p]$, says
# how much $q$ tells about this image, in nats, beyond what the **prior** $p(z)$ says about all images. How much did we
# lose in the third line? Put $p(x \mid z)\,p(z) = p(z \mid x)\,p(x)$ into it:
#
# $$\log p(x) - \mathrm{ELBO} = \mathrm{KL}\big(q(z \mid x) \,\|\, p(z \mid x)\big)$$
#
# The gap is the divergence of our guess from the true posterior. A perfect guess loses nothing.

# %%
def toy_elbo(q, seen=2.0):
    """The bound for a normal q. Under q, (seen - z)^2 has the mean (seen - mean)^2 + variance."""
    squared = (seen - q.mean) ** 2 + q.variance
    reconstruction = -0.5 * torch.tensor(2 * torch.pi).log() - 0.5 * squared
    return reconstruction - kl_divergence(q, prior)

for q in (prior, Normal(1.5, 0.4), posterior):
    assert_close(log_p - toy_elbo(q), kl_divergence(q, posterior))
    print(f"q = N({q.mean:.1f}, {q.stddev:.2f}^2)   ELBO {toy_elbo(q):.4f}")

# %% [markdown]
# **Write down a guess:** we move the mean of $q$ from left to right, once for a narrow $q$, once for one of the right
# width, and once for a wide one. Which of the three curves touches $\log p(x)$, and where?

# %%
# Figure: the bound over the mean of q from -0.5 to 2.5: three parabolas, for the standard deviations
# 0.20, 0.71 and 1.50, and a dashed line at log p(x) = -2.27.
mean = torch.linspace(-0.5, 2.5, 200)
_, ax = plt.subplots(figsize=(6.4, 2.8))
for deviation in (0.2, 0.5**0.5, 1.5):
    ax.plot(mean, toy_elbo(Normal(mean, deviation)), label=f"standard deviation {deviation:.2f}")
ax.axhline(log_p, color="black", ls="--", lw=1.2, label=r"$\log p(x)$")
ax.set(xlabel="mean of $q$", ylabel="ELBO (nats)", ylim=(-5.8, -2))
ax.legend(fontsize=9, ncols=2, loc="lower center");

# %% [markdown]
# Look at the distance between each curve and the dashed line: that is the gap.
#
# <details><summary>Answer</summary>
#
# All three are highest at 1, the mean of the posterior, but only the one with the right width touches. A narrow $q$
# claims to know too much, a wide one says too little, and both are charged for it.
# </details>
#
# ## What we will build

# %%
# Figure: a diagram. An image of shape (B, 1, 28, 28) goes into the encoder, which gives mu and logvar,
# each (B, 8). With noise eps they make the code z (B, 8); the decoder turns it into logits (B, 1, 28,
# 28). Logits and image give the reconstruction term, mu and logvar the KL term.
x_box = "image x\n(B, 1, 28, 28)"
answer_box = "mu and logvar\n(B, 8) each"
eps_box = "noise eps\n(B, 8)"
z_box = "z = mu + exp(logvar / 2) eps\n(B, 8)"
logits_box = "logits\n(B, 1, 28, 28)"
fit_box = "reconstruction term\n$-$log $p(x | z)$"
kl_box = "KL term\nKL( $q(z | x)$ || $p(z)$ )"
boxes = {x_box: (0, 2.3), "encoder": (0, 1), answer_box: (1, 1), eps_box: (2.3, 1.7), z_box: (2.3, 1),
         "decoder": (3.5, 1), logits_box: (4.5, 1), fit_box: (4.5, 2.3), kl_box: (1, 0)}
arrows = [(x_box, "encoder"), ("encoder", answer_box), (answer_box, z_box), (eps_box, z_box),
          (z_box, "decoder"), ("decoder", logits_box), (logits_box, fit_box), (x_box, fit_box),
          (answer_box, kl_box)]
blue_and_orange = {"encoder": COLOURS[0], "decoder": COLOURS[0], fit_box: COLOURS[3], kl_box: COLOURS[3]}
diagram(boxes, arrows, blue_and_orange);

# %% [markdown]
# Two networks (blue) with noise between them. The loss is the sum of the two orange terms: minus the ELBO.
#
# ## Build it in the open
#
# ### What a code costs
#
# For each of 8 numbers the encoder answers with a mean $\mu$ and a log-variance $\log \sigma^2$ (a logarithm may be any
# number, a variance may not). Against the prior $\mathcal N(0, 1)$ each number costs
#
# $$\mathrm{KL} = \tfrac12\big(\mu^2 + \sigma^2 - 1 - \log \sigma^2\big) \text{ nats}$$
#
# To say nothing ($\mu = 0$, $\sigma = 1$) is free. To be far from zero costs, and so does precision: $\mu = 3$ with
# $\sigma = 1$ costs 4.5 nats, and so does $\mu = 0$ with $\sigma \approx 0.0067$.

# %%
def kl(mu, logvar):
    return 0.5 * (mu**2 + logvar.exp() - 1 - logvar)              # (B, 8) nats

means, logs = torch.randn(2, 1000, 8, generator=seeded(0))
assert_close(kl(means, logs), kl_divergence(Normal(means, (logs / 2).exp()), prior))
kl(torch.tensor([3.0, 0.0]), torch.tensor([0.0, -10.0]))          # 0.0067 = exp(-10 / 2)

# %% [markdown]
# ### A gradient through a random number
#
# The first term of the bound is a mean over random codes, $\mathbb E_{z \sim \mathcal N(\mu, \sigma^2)}[f(z)]$. We need
# its derivative by $\mu$, which decides *where* the codes fall. There are two ways.
#
# - **Score function** (REINFORCE; Williams, 1992): the derivative of a density is the density times the derivative of
#   its logarithm, so $\nabla_\mu \mathbb E[f(z)] = \mathbb E[f(z)\, \nabla_\mu \log q(z)] = \mathbb
#   E[f(z)\,\frac{z - \mu}{\sigma^2}]$. It uses only the values of $f$.
# - **Reparameterisation:** write the code as $z = \mu + \sigma\varepsilon$ with $\varepsilon \sim \mathcal N(0, 1)$.
#   Now the randomness does not depend on $\mu$, and $z$ is an ordinary function of it: $\nabla_\mu \mathbb E[f(z)] =
#   \mathbb E[f'(\mu + \sigma\varepsilon)]$. It uses the slope of $f$.
#
# By hand, for $f(z) = z^2$ at $\mu = 2$, $\sigma = 1$: $\mathbb E[z^2] = \mu^2 + 1$, so both must give $2\mu = 4$ on
# average. The second is $2(\mu + \varepsilon)$, with variance 4. The first is $z^2\varepsilon$, with variance $\mathbb
# E[z^4\varepsilon^2] - 16 = 103 - 16 = 87$.

# %%
eps = torch.randn(200_000, generator=seeded(0))
by_score = (2 + eps) ** 2 * eps                                   # (200000,) one gradient for each eps
by_slope = 2 * (2 + eps)                                          # (200000,)
claim("distance of the mean gradient from 4, score function", (by_score.mean() - 4).abs(), "<", 0.1)
claim("variance of the gradient, score function", by_score.var(), ">", 80, digits=1)
claim("distance of the mean gradient from 4, reparameterisation", (by_slope.mean() - 4).abs(), "<", 0.1)
claim("variance of the gradient, reparameterisation", by_slope.var(), "<", 4.2, digits=1)

# %%
# Figure: two histograms of single gradients. Those by reparameterisation form a narrow bell around 4;
# those by the score function have a spike just below 0 and a long tail to beyond 40.
_, ax = plt.subplots(figsize=(6.4, 2.6))
style = {"bins": 120, "range": (-10, 50), "histtype": "step", "lw": 1.8, "density": True}
ax.hist(by_score, label="score function", **style)
ax.hist(by_slope, label="reparameterisation", **style)
ax.axvline(4, color="black", lw=1, ls="--")
ax.set(xlabel="one gradient (their mean, dashed, is 4)", ylabel="density")
ax.legend();

# %% [markdown]
# Same mean, very different widths: most gradients by the score function are near 0, and a few are ten times too large.
#
# **Write down a guess:** now 8 numbers, a decoder, and $f(z) = \log p(x \mid z)$, which is around −80 for one test
# digit. By what factor is the variance of the score function larger there?

# %%
from course_lib.vae import bernoulli_log_prob, reparameterize

three = x_test[y_test == 3][:1]                                   # (1, 1, 28, 28)
with torch.no_grad():
    mu, logvar = vae.encode(three)                                # 2 x (1, 8)
mu = mu.repeat(4000, 1).requires_grad_()                          # (4000, 8) a copy for each sample
logvar = logvar.repeat(4000, 1)
z = reparameterize(mu, logvar, seeded(0))                         # (4000, 8)
f = bernoulli_log_prob(vae.decoder(z), three.expand(4000, -1, -1, -1))                          # (4000,)
slope = torch.autograd.grad(f.sum(), mu)[0]                       # (4000, 8)
score = f.detach()[:, None] * (z - mu).detach() / logvar.exp()    # (4000, 8)

# %%
ratio = score.var(0).sum() / slope.var(0).sum()
error = ((score.var(0) + slope.var(0)) / 4000).sqrt()             # (8,) standard error of the difference
apart = (score.mean(0) - slope.mean(0)).abs() / error             # (8,)
claim("variance of the score function, as a multiple of the other's", ratio, ">", 1000, digits=0)
claim("largest difference of the two mean gradients, in standard errors", apart.max(), "<", 4, digits=1)

# %% [markdown]
# <details><summary>Answer</summary>
#
# The means agree, as they must, but the score function needs thousands of times as many samples for an equally good
# step. It has its uses where $f$ has no slope (a discrete choice, a game). Here $f$ has one, and a *single* code per
# image and step is enough. This made the VAE trainable (Kingma & Welling, 2014; Rezende et al., 2014).
# </details>
#
# ### The whole loss
#
# The decoder gives each pixel a probability $p_i$ of ink, a **Bernoulli** likelihood: $\log p(x \mid z) = \sum_i x_i
# \log p_i + (1 - x_i) \log(1 - p_i)$, *summed* over the 784 pixels, since the ELBO is about the whole image. The
# networks are those of lesson 21, but the encoder has twice as many outputs.

# %%
from torch.nn.functional import binary_cross_entropy_with_logits

from course_lib.autoencoder import Decoder, Encoder

encoder = Encoder(n_out=16)
decoder = Decoder(n_in=8)

def minus_elbo(x):
    mu, logvar = encoder(x).chunk(2, dim=1)                       # 2 x (B, 8)
    z = mu + (logvar / 2).exp() * torch.randn_like(mu)            # (B, 8)
    logits = decoder(z)                                           # (B, 1, 28, 28)
    reconstruction = binary_cross_entropy_with_logits(logits, x, reduction="none").flatten(1).sum(1)
    return (reconstruction + kl(mu, logvar).sum(1)).mean()        # nats per image

# %% [markdown]
# ## Meet the library version
#
# `course_lib.vae` has the same loss with two settings that we need when the model breaks: a weight `beta`, $\beta$, on
# the KL term, and `free_bits`. `annealed(n)` is this loss with `beta` rising from 0 to 1 over the first `n` steps. The
# first line below checks the settings.

# %%
import inspect

from course_lib.vae import VAE, VAEConfig, annealed, vae_loss

print(inspect.getsource(vae_loss).split('"""')[2])                # the lines below its description

# %%
model = VAE(VAEConfig(n_latent=8))
model.encoder.load_state_dict(encoder.state_dict())
model.decoder.load_state_dict(decoder.state_dict())
seed(1)
mine = minus_elbo(x[:64])
seed(1)                                                           # the same noise again
assert_close(vae_loss(model, x[:64])["loss"], mine)

# %% [markdown]
# ## Train
#
# A short run; the learning rate rises and falls (lesson 11), and the weights are averaged (`ema`, lesson 00). The
# shipped checkpoint is the same code for 7,000 steps.

# %%
from course_lib.train import fit

seed(0)
live = VAE(VAEConfig()).to(memory_format=torch.channels_last)     # a faster order in memory
history = fit(live, annealed(25), Batches(x, batch_size=64), steps=250, lr=2e-3, betas=(0.9, 0.99),
              warmup=20, decay=0.6, ema=0.99, label="VAE")

# %% tags=["nbval-ignore-figure"]
# Figure: minus the ELBO and its two terms over 250 steps, in nats per image, on a logarithmic axis. The
# reconstruction term falls from 540 to about 110; the KL term rises from almost 0 and settles near 15.
# not compared: a curve of something trained here
ax = history.plot()
ax.set(ylabel="nats per image", yscale="log", ylim=(1, 700), yticks=[1, 3, 10, 30, 100, 300],
       yticklabels=[1, 3, 10, 30, 100, 300]);

# %% [markdown]
# The two terms pull against each other: as the KL term rises, codes say more, and the reconstruction improves.

# %%
seed(0)
with torch.no_grad():
    live_terms = vae_loss(live, x_test)
    shipped_terms = vae_loss(vae, x_test)
claim("minus ELBO of test digits, live", live_terms["loss"], "<", 150, digits=1)
claim("minus ELBO of test digits, shipped", shipped_terms["loss"], "<", 118, digits=1)
claim("nats that a code tells about its digit, shipped", shipped_terms["kl"], ">", 15, digits=1)

# %% tags=["nbval-ignore-figure"]
# Figure: ten test digits, under them their reconstructions by the live model, blurred, by the shipped
# one, close but with grey edges, and by the shipped one with three times the logits, crisp.
# not compared: the live model was trained here
ten = torch.stack([x_test[y_test == c][1] for c in range(10)])    # (10, 1, 28, 28)
with torch.no_grad():
    logits = vae.decoder(vae.encode(ten)[0])
    strip({"real": ten, "live": live.decoder(live.encode(ten)[0]).sigmoid(), "shipped": logits.sigmoid(),
           "shipped, logits × 3": (3 * logits).sigmoid()});

# %% [markdown]
# The third row is right but grey at the edges. The decoder answers with a *probability* of ink. Where the code leaves
# the edge of a stroke open, the honest probability is near one half, and we see grey. To show an image,
# `VAE.decode` therefore multiplies the logits by its `sharpness`, 3 for the shipped VAE (last row). No likelihood
# changes. What the factor does to *comparisons* comes below.
#
# ## Look inside
#
# ### What each number does
#
# The KL term is a sum over 8 numbers: how much does each one tell about test digits? And what changes in the image
# when it goes from −3 to 3, while the others stay at the code of a 3?

# %%
from course_lib.vae import kl_per_dimension

with torch.no_grad():
    codes, logvars = vae.encode(x_test)                           # 2 x (1000, 8)
    start = vae.encode(three)[0]                                  # (1, 8)
nats = kl_per_dimension(codes, logvars).mean(0)                   # (8,)
claim("nats of the number that tells most", nats.max(), "<", 3.5, digits=2)
claim("nats of the number that tells least", nats.min(), ">", 1, digits=2)

# %%
# Figure: eight rows of nine digits, one row for each number of the code, the one with most nats at the
# top. From left to right this number goes from -3 to 3. The 3 leans, widens, closes, and turns smoothly
# into other digits such as 8, 5 or 7 at some ends.
rows = {}
for i in nats.argsort(descending=True).tolist():
    z = start.repeat(9, 1)                                        # (9, 8)
    z[:, i] = torch.linspace(-3, 3, 9)
    rows[f"$z_{i}$   {nats[i]:.2f} nats"] = vae.decode(z).detach()
strip(rows);

# %% [markdown]
# Each number changes shape gradually, and none is idle. Move them yourself (in a running notebook):

# %%
# Figure: eight sliders, one for each number of the code, beside the digit that they make; here a 3.
def show(**numbers):
    z = torch.tensor([list(numbers.values())])                    # (1, 8)
    plt.figure(figsize=(2.4, 2.4))
    plt.imshow(vae.decode(z).detach()[0, 0], vmin=0, vmax=1)
    plt.axis("off")

ranges = {f"z{i}": (number, -3.0, 3.0, 0.1) for i, number in enumerate(start[0].tolist())}
sliders(show, **ranges)

# %% [markdown]
# ### Where the codes are, and where we look for them
#
# To make a new digit we sample $z \sim \mathcal N(0, I)$. Do codes of real digits lie there? The KL term pulled each
# $q(z \mid x)$ towards the prior, but what must agree with it is their *average* over all images, the **aggregated
# posterior** $q(z) = \frac1N \sum_n q(z \mid x_n)$.

# %%
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

real_codes = reparameterize(codes, logvars, seeded(0))            # (1000, 8) of test digits
prior_codes = vae.draw_code(1000, seeded(0))                      # (1000, 8)
view = LinearDiscriminantAnalysis(n_components=2).fit(codes.numpy(), y_test.numpy())

# %%
# Figure: the 8 numbers, seen from the side on which labels lie furthest apart. Left, codes of 1,000 test
# digits in ten colours: clumps, some apart from the rest. Right, 1,000 samples of the prior in black: a
# round cloud of the same size, without clumps.
fig, (left, right) = plt.subplots(1, 2, figsize=(7.6, 4.3), sharex=True, sharey=True)
scatter(torch.from_numpy(view.transform(real_codes.numpy())), y_test, ax=left, s=12)
scatter(torch.from_numpy(view.transform(prior_codes.numpy())), ax=right, s=12)
left.set(title="codes of test digits", ylabel="second direction", xlim=(-6, 6), ylim=(-6, 6))
right.set(title="samples of the prior", ylabel="")
for ax in (left, right):
    ax.set_xlabel("first direction")
fig.legend(*left.get_legend_handles_labels(), ncols=10, loc="outside lower center", handletextpad=0);

# %% [markdown]
# Both clouds have the same size, but on the left there are clumps with gaps between them, and on the right there are
# none: the prior also samples from the gaps. How much does that matter? We fit a mixture of 20 Gaussians to codes of
# the *training* digits, by the EM of lesson 13, and use it as a prior afterwards. How many nats per *test* digit does
# it save? (The saving of the best possible prior is $\mathrm{KL}(q(z) \,\|\, p(z))$.)

# %%
from course_lib.vae import MixtureVAE

def advantage(z):
    """log p(z) under the mixture, less log p(z) under N(0, I).  (B, 8) -> (B,) nats"""
    return fitted.log_prior(z) - prior.log_prob(z).sum(1)

fitted = MixtureVAE.fit(vae, x, n_gaussian=20, generator=seeded(0))
claim("nats per test digit that the fitted prior saves", advantage(real_codes).mean(), ">", 1, digits=2)

# %%
# Figure: two blocks of fifteen samples with codes from N(0, I). Left, those of 1,000 whose codes the
# mixture finds most probable compared with N(0, I): clean digits. Right, the least probable: shapes
# between two digits.
best = advantage(prior_codes).topk(15).indices
worst = (-advantage(prior_codes)).topk(15).indices
fig, (left, right) = plt.subplots(1, 2, figsize=(8, 2.8))
with torch.no_grad():
    grid(vae.decode(prior_codes[best]), n_col=5, ax=left, title="codes inside the clumps")
    grid(vae.decode(prior_codes[worst]), n_col=5, ax=right, title="codes in the gaps")

# %% [markdown]
# The mixture saw no pixel of these samples, only their codes; still it separates digits from shapes between two digits.
#
# ## Results
#
# ### Samples: like compared with like
#
# We judge 1,000 samples by their Fréchet distance from the test digits, as in lesson 13. Our images use logits × 3,
# those of lesson 21 do not, and a factor can be added to any model that ends in logits. So we compare with and
# without. The same holds for the fitted prior: the codes of the autoencoder can have one too. (Lesson 21 fitted
# them one Gaussian.)

# %%
from course_lib.gaussians import em, kmeans_plus_plus

with torch.no_grad():
    ae_codes = autoencoder.encode(x).double()                     # (4000, 16) codes of training digits
weight, centres, cov, _ = em(ae_codes, kmeans_plus_plus(ae_codes, 20, seeded(0)), steps=50, pool=20.0)
k = torch.multinomial(weight, 1000, replacement=True, generator=seeded(0))            # (1000,)
eps = torch.randn(1000, 16, 1, generator=seeded(0)).double()
spread = (torch.linalg.cholesky(cov)[k] @ eps)[:, :, 0]           # (1000, 16)
ae_mixture_codes = (centres[k] + spread).float()                  # (1000, 16)

# %% tags=["nbval-ignore-output"]
# not compared: the last digit depends on the processor; the next cell checks what matters
from course_lib.metrics import frechet_distance, judge_features

real_features = judge_features(x_test)                            # (1000, d) what the judge sees
with torch.no_grad():
    sampled = {"autoencoder, one Gaussian": autoencoder.decoder(autoencoder.codes.sample(1000, seeded(0))),
               "VAE, N(0, I)": vae.decoder(vae.draw_code(1000, seeded(0))),
               "autoencoder, 20 Gaussians": autoencoder.decoder(ae_mixture_codes),
               "VAE, 20 Gaussians": vae.decoder(fitted.draw_code(1000, seeded(0)))}
distances = {}
print("Fréchet distance             logits × 1   logits × 3")
for name, logits in sampled.items():
    plain = frechet_distance(judge_features(logits.sigmoid()), real_features)
    sharp = frechet_distance(judge_features((3 * logits).sigmoid()), real_features)
    distances[name] = (plain, sharp)
    print(f"{name:28} {plain:10.2f} {sharp:12.2f}")

# %%
ae_plain, ae_sharp = distances["autoencoder, one Gaussian"]
vae_plain, vae_sharp = distances["VAE, N(0, I)"]
last_gap = distances["autoencoder, 20 Gaussians"][1] - distances["VAE, 20 Gaussians"][1]
claim("distance that the factor 3 takes off the autoencoder", ae_plain - ae_sharp, ">", 2, digits=1)
claim("distance that the factor 3 takes off the VAE", vae_plain - vae_sharp, ">", 3, digits=1)
claim("distance of the VAE as a share of the autoencoder's, both × 3", vae_sharp / ae_sharp, "<", 0.7)
claim("gap between the last two rows, × 3, whichever is ahead", abs(last_gap), "<", 0.7)

# %% [markdown]
# Part of the lead that a careless comparison shows (16.8 against 6.4) is the factor, not the model: the judge has never
# seen grey edges. Like with like, the VAE halves the distance, *without fitting anything to codes*. With 20 Gaussians
# fitted to its codes, the plain autoencoder (whose code is twice as long) does as well as the VAE (Ghosh et al., 2020).
# So a VAE is not needed for good samples. What it adds is a code with a known distribution, and a bound on the
# likelihood.
#
# The leaderboard holds shipped checkpoints, sampled and judged in the same way (seed 0). Its two VAEs are those of our
# right column; its autoencoder is the one of the left column. Below it we ask whether the samples are copies, and look
# up the training digit that is nearest to each in the features of the judge.

# %%
from course_lib.leaderboard import leaderboard

leaderboard("training_digits", "vae", "vae_mixture", "autoencoder", "gaussian_mixture", "noise")

# %%
from course_lib.metrics import memorisation, nearest_neighbours

images = fitted.sample(1000, generator=seeded(0))
features = judge_features(images)
train_features = judge_features(x)
nearest = nearest_neighbours(features[:8], train_features)[1][:, 0]           # (8,) numbers of digits
copying = memorisation(features, train_features, real_features)
claim("probability that a sample is nearer to the training digits than a test digit", copying, "<", 0.6)

# %%
# Figure: eight samples of the VAE with the fitted prior, each above the training digit nearest to it:
# the same digits in other handwriting.
strip({"sample": images[:8], "nearest\ntraining digit": x[nearest]});

# %% [markdown]
# Each pair shows one digit in two handwritings. Copies would be nearer than test digits nearly always, not in half of
# the cases.
#
# ### A bound in bits
#
# The ELBO is a statement about probability, so it can be compared with that of any other model. But a Bernoulli gives
# probabilities to black and white only. So we make the digits black and white, with ink where the grey value is above
# one half. The bound then says how many bits are enough to store a pixel. The baseline gives each pixel its own
# probability, the share of ink among the training digits.

# %%
from course_lib.vae import bits_per_dimension, elbo

black = (x > 0.5).float()
black_test = (x_test > 0.5).float()

def bits(nats):
    """log p(x) of images, (..., B) nats -> bits per pixel"""
    return bits_per_dimension(nats.mean(), 784).item()

# %%
share = (black.sum(0) + 1) / (len(black) + 2)                     # (1, 28, 28), never 0 or 1
baseline = bernoulli_log_prob(share.logit().expand_as(black_test), black_test)                  # (1000,)
with torch.no_grad():
    bound = torch.stack([elbo(vae, black_test, seeded(i)) for i in range(10)])        # (10, 1000)
    mu, logvar = vae.encode(black_test)                           # 2 x (1000, 8)
black_codes = reparameterize(mu, logvar, seeded(0))               # (1000, 8)
claim("bits per pixel, independent pixels", bits(baseline), ">", 0.35)
claim("bits per pixel, VAE", bits(bound), "<", 0.2)
claim("bits per pixel that the fitted prior saves", -bits(advantage(black_codes)), ">", 0.001, digits=4)

# %% [markdown]
# About half of the bits, by a model that was trained on grey digits only. The prior that gives better samples also
# gives a slightly better bound.
#
# ## Predict, then turn one knob: sharpness
#
# **Write down a guess:** the judge compares *training* digits with their own reconstructions, at six factors on the
# logits. At which factor are they most alike? And at which of 0.5, 1 and 3 is the likelihood best?

# %%
factors = [1, 1.5, 2, 3, 5, 10]
with torch.no_grad():
    mu, logvar = vae.encode(x[:1000])
    logits = vae.decoder(reparameterize(mu, logvar, seeded(0)))   # (1000, 1, 28, 28)
alike = []
for factor in factors:
    features = judge_features((factor * logits).sigmoid())
    alike.append(frechet_distance(features, train_features[:1000]))
stored = [bits(bernoulli_log_prob(factor * logits, black[:1000])) for factor in (0.5, 1, 3)]

# %%
claim("distance at factor 1, as a multiple of that at 3", alike[0] / alike[3], ">", 2, digits=1)
claim("bits per pixel that the factor 0.5 adds to those at factor 1", stored[0] - stored[1], ">", 0.005)
claim("bits per pixel that the factor 3 adds to those at factor 1", stored[2] - stored[1], ">", 0.005)

# %%
# Figure: left, a curve: the Fréchet distance between 1,000 training digits and their reconstructions,
# for factors from 1 to 10. Right, the reconstruction of one digit, a 9, with the factors 1, 3 and 20.
fig, axes = plt.subplots(1, 4, figsize=(9, 2.5), width_ratios=[2.6, 1, 1, 1])
axes[0].plot(factors, alike, "o-")
axes[0].set(xscale="log", xticks=factors, xticklabels=factors, ylim=(0, None),
            xlabel="factor on the logits", ylabel="Fréchet distance")
axes[0].minorticks_off()
for panel, factor in zip(axes[1:], (1, 3, 20)):
    panel.imshow((factor * logits[3, 0]).sigmoid(), vmin=0, vmax=1)
    panel.set_title(f"factor {factor}")
    panel.axis("off")

# %% [markdown]
# The curve is steep up to 3 and flat beyond. The 9 has grey edges at 1, is crisp at 3, and shows steps at 20.
#
# <details><summary>Answer</summary>
#
# The likelihood is best near 1, where the probabilities are honest, since that is what was trained. Images are better
# at 3 and more, since real digits have no grey edges. The two numbers answer different questions; report both.
# </details>
#
# ## Break it: a code that nobody reads
#
# The KL term charges for every nat, so a code is used only where it pays. Suppose the decoder does not depend on it:
# let it also **peek** at the pixels above and to the left of the one that it predicts. This is allowed, since $p(x \mid
# z) = \prod_i p(x_i \mid x_{<i}, z)$, with $x_{<i}$ the pixels before $x_i$, is a likelihood too, and strong: language
# models (lesson 54) work like this. What is left for the code to say, if peeking is learned first?

# %%
from torch import nn

class Peeking(nn.Module):
    """A VAE whose decoder also sees 24 neighbours of a pixel: in the 3 rows above, and 3 to its left."""

    def __init__(self, n_latent=8):
        super().__init__()
        self.encoder = nn.Sequential(nn.Flatten(), nn.Linear(784, 128), nn.SiLU(),
                                     nn.Linear(128, 2 * n_latent))
        self.decoder = nn.Sequential(nn.Linear(n_latent, 128), nn.SiLU(), nn.Linear(128, 784),
                                     nn.Unflatten(1, (1, 28, 28)))
        self.conv = nn.Conv2d(1, 16, kernel_size=(4, 7))
        self.out = nn.Conv2d(16, 1, kernel_size=1)

    def peek(self, x):                                            # (B, 1, 28, 28)
        seen = torch.ones(4, 7)
        seen[3, 3:] = 0                                           # not the pixel itself, nor what follows
        padded = nn.functional.pad(x, (3, 3, 3, 0))               # (B, 1, 31, 34)
        h = nn.functional.conv2d(padded, self.conv.weight * seen, self.conv.bias)
        return self.out(nn.functional.silu(h))                    # (B, 1, 28, 28) logits

# %%
def peeking_loss(model, x, beta=1.0, free_bits=0.0):
    mu, logvar = model.encoder(x).chunk(2, dim=1)
    logits = model.decoder(reparameterize(mu, logvar)) + model.peek(x)
    reconstruction = -bernoulli_log_prob(logits, x).mean()
    each = kl_per_dimension(mu, logvar).mean(0)                   # (8,) nats
    loss = reconstruction + beta * each.clamp(min=free_bits).sum()
    return {"loss": loss, "reconstruction": reconstruction, "kl": each.sum()}

# %% [markdown]
# Does it peek only where it may? The gradient of one pixel's logit with respect to the image shows what it sees.

# %%
# Figure: part of an image, empty but for a block of 24 pixels: three rows of seven above a pixel marked
# by a cross, and three to its left.
noise = torch.rand(1, 1, 28, 28, generator=seeded(0)).requires_grad_()
logit = Peeking().peek(noise)[0, 0, 14, 14]
sees = torch.autograd.grad(logit, noise)[0][0, 0] != 0            # (28, 28)
print(f"pixels that one pixel depends on: {sees.sum()}")
_, ax = plt.subplots(figsize=(2.4, 2.4))
ax.imshow(sees)
ax.plot(14, 14, "x", color=COLOURS[3], ms=10, mew=2)
ax.set(xlim=(8.5, 19.5), ylim=(18.5, 7.5), xlabel="column", ylabel="row");

# %% [markdown]
# The cross depends on the rows above and on its left, never on itself.
#
# First, 400 steps for peeking alone. Then the whole model, in three ways from the same weights:
#
# - **as it is**, with the loss from above;
# - **annealed**: $\beta$ rises from 0 to 1, so that the code is cheap until the decoder has learned to use it
#   (Bowman et al., 2016);
# - **free bits**: the first half nat of each number is never charged, so nothing is gained by giving it up (Kingma et
#   al., 2016).
#
# **Write down a guess:** how many nats does the code hold in each case? And how different are the three bounds?

# %%
import copy

def head_start(model, x):
    return {"loss": -bernoulli_log_prob(model.peek(x), x).mean()}

def free_bits_loss(model, x):
    return peeking_loss(model, x, free_bits=0.5)

seed(0)
strong = Peeking()
fit(strong, head_start, Batches(black, batch_size=64), steps=400, lr=1e-2, decay=0.5)
ways = {"as it is": peeking_loss, "annealed": annealed(300, peeking_loss), "free bits": free_bits_loss}
trained = {}
histories = {}
for name, loss in ways.items():
    seed(0)
    trained[name] = copy.deepcopy(strong)
    histories[name] = fit(trained[name], loss, Batches(black, batch_size=64), steps=300, lr=1e-3)

# %%
def report(model):
    """Nats of each number (8,), minus the ELBO, and the nats lost when digits exchange their codes."""
    with torch.no_grad():
        mu, logvar = model.encoder(black_test).chunk(2, dim=1)
        z = reparameterize(mu, logvar, seeded(0))
        peeked = model.peek(black_test)
        own = bernoulli_log_prob(model.decoder(z) + peeked, black_test).mean()
        others = bernoulli_log_prob(model.decoder(z.roll(1, 0)) + peeked, black_test).mean()
    each = kl_per_dimension(mu, logvar).mean(0)
    return {"each": each, "minus ELBO": each.sum() - own, "exchange": own - others}

reports = {name: report(model) for name, model in trained.items()}

# %%
for name, least in {"annealed": 1.5, "free bits": 3}.items():
    claim(f"nats in the code, {name}", reports[name]["each"].sum(), ">", least, digits=2)
claim("nats in the code, as it is", reports["as it is"]["each"].sum(), "<", 1.5, digits=2)
for name, least in {"annealed": 4, "free bits": 5}.items():
    claim(f"nats lost when digits exchange codes, {name}", reports[name]["exchange"], ">", least, digits=2)
claim("nats lost when digits exchange codes, as it is", reports["as it is"]["exchange"], "<", 4, digits=2)
bounds = [r["minus ELBO"].item() for r in reports.values()]
claim("largest difference between the three bounds (nats)", max(bounds) - min(bounds), "<", 2, digits=2)

# %% tags=["nbval-ignore-figure"]
# Figure: left, eight dots for each of four models, the nats of its eight numbers. Right, three curves:
# the KL term over 300 steps, for the model as it is, annealed, and with free bits.
# not compared: three models trained here
fig, (left, right) = plt.subplots(1, 2, figsize=(9, 3.2))
colours = {"cannot peek": COLOURS[7], "as it is": COLOURS[3], "annealed": COLOURS[1],
           "free bits": COLOURS[0]}
left.plot(["cannot peek"] * 8, nats, "o", ms=7, alpha=0.6, color=colours["cannot peek"])
for name in reports:
    left.plot([name] * 8, reports[name]["each"], "o", ms=7, alpha=0.6, color=colours[name])
    right.plot(histories[name]["kl"], color=colours[name], label=name, lw=1)
left.set(ylabel="nats (a dot for each number)", ylim=(0, None), xlim=(-0.5, 3.5))
right.set(xlabel="step", ylabel="KL term (nats per image)")
right.legend();

# %% [markdown]
# The dots of the model as it is lie at the bottom: $q(z \mid x) \approx p(z)$, which is called **posterior collapse**.
#
# <details><summary>Answer</summary>
#
# The code falls to about a tenth of a nat per number, while the three bounds differ by less than two nats. **A good
# bound does not promise a useful code**: measure nats per number. Annealing leaves the final loss as it was, and lets
# the code keep what pays. Free bits change the loss for good, and keep half a nat in each number whether it is worth
# that or not.
# </details>
#
# A more common cause is a slip: with the *mean* over 784 pixels in one term and the *sum* over numbers in the other,
# you train with $\beta = 784$.

# %% [markdown]
# ## In the wild
#
# Our line for $z$ is `Normal(mu, sigma).rsample()` in `torch.distributions` (`sample()` lets no gradient through). In
# `diffusers` a VAE is an `AutoencoderKL`. That of Stable Diffusion makes (4, 64, 64) numbers of an image of 512 × 512
# pixels. Its KL term weighs about 10⁻⁶, so it is almost an autoencoder, and a diffusion model (lesson 61) learns the
# prior afterwards: the last two rows of our table, on a large scale (Rombach et al., 2022). On a GPU:
#
# ```python
# import torch
# from diffusers import AutoencoderKL                       # pip install diffusers
#
# vae = AutoencoderKL.from_pretrained("stabilityai/sd-vae-ft-mse").to("cuda")
# with torch.no_grad():                                     # images (B, 3, 512, 512) in [0, 1]
#     q = vae.encode(2 * images.to("cuda") - 1).latent_dist
#     nats = q.kl()                                         # (B,): our kl(q.mean, q.logvar), summed
#     z = q.sample() * vae.config.scaling_factor            # (B, 4, 64, 64), deviation about 1
#     rebuilt = vae.decode(z / vae.config.scaling_factor).sample
# ```

# %% [markdown]
# ## Recap
#
# 1. The encoder of a VAE answers with a normal distribution; the loss, reconstruction plus KL, is minus the ELBO.
# 2. The ELBO is below $\log p(x)$ by the KL from $q(z \mid x)$ to the true posterior.
# 3. $z = \mu + \sigma\varepsilon$ lets gradients through, with far less noise than the score function.
# 4. Codes leave gaps in the prior. A prior that is fitted afterwards closes them, for a plain autoencoder too.
# 5. A good bound does not promise a used code: measure nats per number; anneal, or give free bits.
#
# **What we left out.** Likelihoods for grey values and colour. $\beta$ as a knob, labels, and tighter bounds from more
# samples: lesson 32 (to come). A prior learned together with the rest, as in VampPrior (Tomczak & Welling, 2018), and
# discrete codes: [lesson 33](33_vq_vae.ipynb).
#
# **Exercises:** [31_vae](../exercises/31_vae/31_vae.ipynb). One more: sample from $\mathcal N(0, \tau^2 I)$, let $\tau$
# go from 0.5 to 1.5, and measure precision and recall.
# **Next**, [lesson 33](33_vq_vae.ipynb): a code made of words, an image as a sentence of 49.
#
# ## Read on
#
# - D. Kingma & M. Welling, *Auto-encoding variational Bayes* (2014),
#   [arXiv:1312.6114](https://arxiv.org/abs/1312.6114): eq. 3 is our bound, appendix B the KL term. At the same time: D.
#   Rezende, S. Mohamed & D. Wierstra, *Stochastic backpropagation* (2014),
#   [arXiv:1401.4082](https://arxiv.org/abs/1401.4082).
# - R. Williams, *Simple statistical gradient-following algorithms* (1992),
#   [doi:10.1007/BF00992696](https://doi.org/10.1007/BF00992696): REINFORCE.
# - S. Bowman et al., *Generating sentences from a continuous space* (2016),
#   [arXiv:1511.06349](https://arxiv.org/abs/1511.06349): collapse and annealing. D. Kingma et al., *Improving
#   variational inference with inverse autoregressive flow* (2016),
#   [arXiv:1606.04934](https://arxiv.org/abs/1606.04934): free bits.
# - M. Hoffman & M. Johnson, *ELBO surgery* (2016): the aggregated posterior. J. Tomczak & M. Welling, *VAE with a
#   VampPrior* (2018), [arXiv:1705.07120](https://arxiv.org/abs/1705.07120).
# - P. Ghosh et al., *From variational to deterministic autoencoders* (2020),
#   [arXiv:1903.12436](https://arxiv.org/abs/1903.12436): priors fitted afterwards. R. Rombach et al., *High-resolution
#   image synthesis with latent diffusion models* (2022), [arXiv:2112.10752](https://arxiv.org/abs/2112.10752).
# - In the library: `vae.py` (`reparameterize`, `kl_per_dimension`, `vae_loss`, `elbo`, `MixtureVAE.fit`).
