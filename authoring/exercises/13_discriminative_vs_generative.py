# %% [markdown]
# # Exercise 13 · Discriminative and generative
#
# Six tasks on lesson 13: four pieces of code, one measurement, two short texts. They take about two hours, and run in
# some ten seconds.
#
# - Write your answer **in place of** `raise NotImplementedError()`, then run the cell and the check below it.
# - A check prints `ok:` and the name of the task, or one sentence about what is wrong. It tries your function on
#   several random inputs, also on a single example. It looks at what your function returns, never at how it is written.
# - `hint()` says more about the last mistake that a check has found. Call it in a cell of its own, as below.
# - You may add cells of your own anywhere. Change neither the checks nor the first line of a function.
# - Points stand beside each task. Tasks 1 to 4a and 5 are graded by a program, which also runs your functions on
#   inputs that you do not see here; 4b and 6 are read by a person.

# %%
import matplotlib.pyplot as plt
import torch

from course_lib.checks import discriminative_vs_generative as check
from course_lib.checks import hint
from course_lib.claims import claim
from course_lib.data import load
from course_lib.device import seeded
from course_lib.gaussians import ClassGaussians, principal_axes
from course_lib.plots import strip
(x_train, y_train), (x_test, y_test) = load("digits")[:2]         # 4,000 and 1,000 images (N, 1, 28, 28)

# %%
# Stuck after a check? Run hint(): it says where to look first, then how, and the code only at last.
hint()

# %% [markdown]
# ## 1 · The density of independent coordinates (2 points)
#
# The simplest Gaussian in $D$ dimensions has independent coordinates: a mean $\mu_d$ and a variance $\sigma_d^2$ for
# each. Its density is the product of $D$ bell curves,
#
# $$p(x) = \prod_{d=1}^{D} \frac{1}{\sqrt{2\pi\sigma_d^2}}\, \exp\Bigl(-\frac{(x_d - \mu_d)^2}{2\sigma_d^2}\Bigr).$$
#
# **Given** N points `x` of shape (N, D), the means `mu` of shape (D,) and the *variances* `var` of shape (D,).
# **Asked:** $\log p(x)$ of each point in nats (natural logarithm), a tensor of shape (N,). **Checked:** the values, also
# for N = 1, for D = 1, and for D = 2,000, where a product of densities would be rounded to 0.

# %% tags=["solution:log_normal"]
def log_normal(x, mu, var):
    """(N, D), (D,) and (D,) -> (N,)"""
    ### BEGIN SOLUTION
    log_each = -0.5 * (x - mu) ** 2 / var - 0.5 * torch.log(2 * torch.pi * var)                 # (N, D)
    return log_each.sum(1)                                        # log of a product: the sum of the logs
    ### END SOLUTION

# %% tags=["test:check_log_normal:2"]
check.log_normal(log_normal)
### BEGIN HIDDEN TESTS
_x, _mu, _var = torch.randn(5, 7), torch.randn(7), torch.rand(7) + 0.2
_normal = torch.distributions.MultivariateNormal(_mu, torch.diag(_var))
torch.testing.assert_close(log_normal(_x.clone(), _mu, _var).float(), _normal.log_prob(_x),
                           rtol=1e-3, atol=1e-3)
### END HIDDEN TESTS

# %% [markdown]
# ## 2 · Bayes' rule in logarithms (3 points)
#
# **Given** $\log p(x_i \mid k)$ of N images for each of K classes, `log_likelihood` of shape (N, K), and the logarithms of
# the shares of the classes, $\log p(k)$, `log_prior` of shape (K,). **Asked:** the probabilities
#
# $$p(k \mid x_i) = \frac{p(x_i \mid k)\,p(k)}{\sum_j p(x_i \mid j)\,p(j)}$$
#
# themselves, not their logarithms: a tensor of shape (N, K) whose rows sum to 1.
#
# Densities of images are extreme. A $\log p(x \mid k)$ of −2,000 is common, and +900 is possible, as a density may exceed 1.
# Look at `torch.tensor([-2000.0, 900.0]).exp()` to see the difficulty. **Checked:** the values, also for N = 1, K = 1, and
# for logarithms between −2,000 and +3,000.

# %% tags=["solution:posterior"]
def posterior(log_likelihood, log_prior):
    """(N, K) and (K,) -> (N, K), each row a distribution over the classes"""
    ### BEGIN SOLUTION
    joint = log_likelihood + log_prior                            # (N, K) log p(x, k)
    evidence = joint.logsumexp(1, keepdim=True)                   # (N, 1) log p(x), without underflow
    return (joint - evidence).exp()
    ### END SOLUTION

# %% tags=["test:check_posterior:3"]
check.posterior(posterior)
### BEGIN HIDDEN TESTS
_joint = torch.rand(6, 4) + 0.1
_got = posterior((_joint / _joint.sum(0)).log() - 3000, (_joint.sum(0) / _joint.sum()).log())
torch.testing.assert_close(_got.float(), _joint / _joint.sum(1, keepdim=True), rtol=1e-2, atol=1e-3)
### END HIDDEN TESTS

# %% [markdown]
# ## 3 · Find the bug (3 points)
#
# One step of EM for a mixture of K Gaussians with independent coordinates. It runs without an error, and it finds
# *something*. But it has **one bug**, in one line.

# %%
def em_step_broken(x, weights, mu, var):
    square = (x[:, None] - mu) ** 2 / var                                     # (N, K, D)
    log_density = -0.5 * (square + torch.log(2 * torch.pi * var)).sum(2)      # (N, K) log p(x | k)
    joint = weights + log_density                                             # (N, K) log p(x, k)
    log_likelihood = joint.logsumexp(1).mean()                                # (), before this step
    r = joint.softmax(1)                                                      # (N, K) E: who made it?
    n = r.sum(0)                                                              # (K,)
    mu = r.T @ x / n[:, None]                                                 # (K, D) M: weighted averages
    var = (r[:, :, None] * (x[:, None] - mu) ** 2).sum(0) / n[:, None]        # (K, D)
    weights = n / len(x)                                                      # (K,)
    return weights, mu, var, log_likelihood

# %% [markdown]
# We try it on 2,000 numbers, of which 1,800 come from a Gaussian around 0 and 200 from one around 4, both of variance 1.
#
# *Figure: left, a histogram of the points, a large hill around 0 and a small one around 4; over it the two Gaussians
# that EM has found, one tall and narrow around 0 and one wide and flat around 1. Their sum, dashed, has no second hill.
# Right, the log-likelihood by step: it jumps from −1.1 to −0.54, then slowly falls.*

# %%
many, few = torch.randn(1800, 1, generator=seeded(0)), torch.randn(200, 1, generator=seeded(1))
points = torch.cat([many, 4 + few]).double()                      # (2000, 1)

def run_em(step, steps=60):
    weights, mu, var = torch.full((2,), 0.5), torch.tensor([[-1.0], [4.0]]), torch.full((2, 1), 2.0)
    history = []
    for _ in range(steps):
        weights, mu, var, log_likelihood = step(points, weights.double(), mu.double(), var.double())
        history.append(float(log_likelihood))
    return weights, mu, var, history

weights, mu, var, history = run_em(em_step_broken)
for k in range(2):
    print(f"weight {weights[k]:.2f}, mean {mu[k, 0]:.2f}, variance {var[k, 0]:.2f}")

# %%
fig, (left, right) = plt.subplots(1, 2, figsize=(8, 2.6))
t = torch.linspace(-4, 7, 200).double()
curves = weights * torch.distributions.Normal(mu[:, 0], var[:, 0].sqrt()).log_prob(t[:, None]).exp()
left.hist(points[:, 0], bins=60, density=True, color="0.85")
left.plot(t, curves, label=["Gaussian 1", "Gaussian 2"])
left.plot(t, curves.sum(1), "k--", lw=1, label="sum")
left.legend(fontsize=8)
left.set(xlabel="$x$", ylabel="density")
right.plot(history)
right.set(xlabel="step of EM", ylabel="log-likelihood\n(nats per point)");

# %% [markdown]
# Two things are suspicious. The log-likelihood falls in some steps, which EM forbids. And it is too good: the very density
# that made these points has a log-likelihood of −1.72 only.

# %%
normal = torch.distributions.Normal(torch.tensor([0.0, 4.0]), 1.0)
truth = (torch.tensor([0.9, 0.1]).log() + normal.log_prob(points)).logsumexp(1).mean()
claim("log-likelihood of the density that made the points", truth, "<", -1.7)
claim("what the broken EM reports", history[-1], ">", -0.6)
steps = [b - a for a, b in zip(history, history[1:])]
claim("its largest loss in a step", min(steps), "<", -0.003, digits=4)

# %% [markdown]
# **Given** the points `x` of shape (N, D), and the old `weights` (K,), `mu` (K, D) and `var` (K, D), the variances.
# **Asked:** `em_step`, the same function without the bug: it returns the new weights, means and variances, and the mean
# log-likelihood per point *before* the step, in this order. Copy the one above, find the line, and repair it; everything
# else is right. **Checked:** all four results.
#
# Do not guess. Take one point and two equal Gaussians with the weights 0.9 and 0.1. What must `r` be, and what is it?

# %% tags=["solution:em_step"]
def em_step(x, weights, mu, var):
    """(N, D), (K,), (K, D), (K, D) -> weights (K,), mu (K, D), var (K, D), log-likelihood ()"""
    ### BEGIN SOLUTION
    square = (x[:, None] - mu) ** 2 / var                                     # (N, K, D)
    log_density = -0.5 * (square + torch.log(2 * torch.pi * var)).sum(2)      # (N, K) log p(x | k)
    joint = weights.log() + log_density                                       # the bug: weight + logarithm
    log_likelihood = joint.logsumexp(1).mean()
    r = joint.softmax(1)
    n = r.sum(0)
    mu = r.T @ x / n[:, None]
    var = (r[:, :, None] * (x[:, None] - mu) ** 2).sum(0) / n[:, None]
    weights = n / len(x)
    return weights, mu, var, log_likelihood
    ### END SOLUTION

# %% tags=["test:check_em_step:3"]
check.em_step(em_step)
### BEGIN HIDDEN TESTS
_weights, _mu, _var, _history = run_em(em_step, steps=20)
_near = float(_weights[0]) > 0.8 and float(_mu[1, 0]) > 3
assert _near, "after 20 steps EM is not near the two Gaussians"
_steps = [b - a for a, b in zip(_history, _history[1:])]
assert min(_steps) > -1e-6, "the log-likelihood falls in a step of EM"
### END HIDDEN TESTS

# %% [markdown]
# ## 4 · Drawing
#
# ### 4a · Samples with a covariance (3 points)
#
# **Given** a mean `mu` of shape (D,), a covariance matrix `cov` of shape (D, D), symmetric with positive eigenvalues, and
# `eps` of shape (N, D), each number of which was drawn independently from the standard normal distribution. **Asked:** N
# samples of $\mathcal N(\mu, \Sigma)$, made from this noise: a tensor of shape (N, D), row $i$ from row $i$ of `eps`. Draw no
# other random numbers.
#
# **Checked:** the mean and the covariance that your samples have, exactly. There are several matrices that do it, and all of
# them are accepted.

# %% tags=["solution:sample_normal"]
def sample_normal(mu, cov, eps):
    """(D,), (D, D) and noise (N, D) -> samples (N, D)"""
    ### BEGIN SOLUTION
    L = torch.linalg.cholesky(cov)                                # cov = L L^T
    return mu + eps @ L.T                                         # each row is mu + L eps_i
    ### END SOLUTION

# %% tags=["test:check_sample_normal:3"]
check.sample_normal(sample_normal)
### BEGIN HIDDEN TESTS
_cov = torch.tensor([[2.0, 1.2, 0.0], [1.2, 1.0, -0.3], [0.0, -0.3, 0.5]])
_samples = sample_normal(torch.tensor([1.0, 2.0, 3.0]), _cov, torch.randn(100_000, 3, generator=seeded(0)))
torch.testing.assert_close(_samples.mean(0).float(), torch.tensor([1.0, 2.0, 3.0]), rtol=0, atol=0.03)
torch.testing.assert_close(torch.cov(_samples.T).float(), _cov, rtol=0, atol=0.05)
### END HIDDEN TESTS

# %% [markdown]
# ### 4b · Fog (3 points)
#
# *Naive Bayes* assumes that, within a class, all pixels are independent: it keeps the mean and the variance of each pixel,
# and sets all other entries of the covariance to 0. We draw one image of each class from this model, and one from the full
# Gaussian on 50 axes.
#
# *Figure: three rows of the digits 0 to 9: handwriting; naive Bayes, a digit-shaped cloud of unrelated dots, dark and
# light side by side; the full covariance, with smeared but connected strokes.*

# %%
digit = torch.arange(10)
mean = torch.stack([x_train[y_train == c].mean(0) for c in digit])            # (10, 1, 28, 28)
variance = torch.stack([x_train[y_train == c].var(0) for c in digit])
fog = (mean + variance.sqrt() * torch.randn(mean.shape, generator=seeded(0))).clamp(0, 1)
full = ClassGaussians.fit(x_train, y_train, n_axis=50)
strip({"handwriting": torch.stack([x_test[y_test == c][0] for c in digit]),
       "naive Bayes": fog, "full covariance": full.sample(10, digit, seeded(0))});

# %% [markdown]
# As a classifier, however, naive Bayes is not so bad (0.05 is added to each variance, as some pixels never change):

# %%
pixels = [torch.distributions.Normal(m, (v + 0.05).sqrt()) for m, v in zip(mean, variance)]
log_likelihood = torch.stack([p.log_prob(x_test).sum((1, 2, 3)) for p in pixels], dim=1)  # (1000, 10)
claim("accuracy of naive Bayes", (log_likelihood.argmax(1) == y_test).double().mean(), ">=", 0.75)
claim("accuracy of the full covariance", (full.predict(x_test) == y_test).double().mean(), ">=", 0.96)

# %% [markdown]
# **Explain** in four to seven sentences: what about the naive images is right, and what is lost, so that they look like fog?
# Why can the same model nevertheless say in most cases which digit an image shows? And does its wrong assumption
# make it too sure or too unsure of its answers? (You can measure that with `log_likelihood` and your `posterior`.)

# %% [markdown] tags=["manual:explain_fog:3"]
# Each pixel by itself is right: over many samples, its mean and its variance are those of the handwriting. What is lost is
# how pixels vary *together*. In handwriting, a pixel is dark because a stroke passes through it, so its neighbours along the
# stroke are dark too and those across are light; and a stroke is *either* here *or* further left. Drawn independently, each
# pixel in the region where strokes of this class occur throws its own coin, and the picture is a cloud of dots with the outline of
# the mean image, without any stroke. To classify, the model need not be a good description; it is enough that the right
# class gets a higher density than the nine others. The mean images of the classes differ in hundreds of pixels, and
# each adds a little evidence in the right direction. But neighbouring pixels repeat the same evidence, and the model counts it
# as if each were news; so it is far too sure: nearly all its answers have a probability close to 1, and a fifth are wrong.
#
# **Rubric.** 1 point: the mean and variance of each pixel are right, but the dependence between pixels (strokes, neighbours)
# is lost; "the samples are noisy" alone is not enough. 1 point: classification only needs the right class to be ahead of the
# others, which many pixels together achieve. 1 point: too sure, because dependent evidence is counted several times.

# %% [markdown]
# ## 5 · Measure: what are labels worth? (2 points)
#
# How many times as many errors does `ClassGaussians` make when it sees only 10 labels of each class, in place of all 400?
#
# **Given** the digits above. **Asked:** `error_ratio`, the share of wrong answers on `x_test` with 10 labelled images of each
# class (100 in all), divided by the share with all 4,000. The ten images of a class shall be chosen at random from
# `x_train`; since the luck of the draw matters, take the mean of the errors of at least ten draws. Images without labels are
# cheap: use the 50 principal axes of all training images, `axes` below, in every fit.
#
# **Checked:** your number, within 10 percent of the mean of many draws. `y_train == c` tells you where class `c` is,
# `torch.randperm(400)[:10]` draws ten of 400.

# %%
axes = principal_axes(x_train, 50)
everything = ClassGaussians.fit(x_train, y_train, axes=axes)
print(everything.predict(x_test[:5]), y_test[:5])

# %% tags=["solution:error_ratio"]
error_ratio = ...  # set it to your number at the end
### BEGIN SOLUTION
def errors(model):
    return (model.predict(x_test) != y_test).double().mean().item()

def few(n_label, seed):
    g = seeded(seed)
    return torch.cat([(y_train == c).nonzero()[:, 0][torch.randperm(400, generator=g)[:n_label]]
                      for c in range(10)])

draws = [few(10, seed) for seed in range(100, 115)]
with_10 = torch.tensor([errors(ClassGaussians.fit(x_train[i], y_train[i], axes=axes)) for i in draws])
error_ratio = with_10.mean() / errors(everything)
claim("errors with 10 labels of each class", with_10.mean(), ">", 0.18)
claim("how many times as many as with 400", error_ratio, ">", 6, digits=1)
### END SOLUTION

# %% tags=["test:check_error_ratio:2"]
check.error_ratio(error_ratio)
### BEGIN HIDDEN TESTS
assert 5.9 < float(error_ratio) < 7.9, "the ratio is not within 10 percent of what many draws give"
### END HIDDEN TESTS

# %% [markdown]
# ## 6 · Your own question (4 points)
#
# Ask a question about the Gaussians of the lesson that the lesson does not answer, **write down your guess**, and find out.
# Examples: How many axes are best, for reading and for drawing? Does `pool` matter more with 10 labels than with 400? Which two
# digits does the model confuse, and does it draw something between them? Given the upper half of a digit, what does
# a Gaussian expect in the lower half? Use `ClassGaussians`, or the functions of tasks 1 to 4. Your code shall run in less
# than a minute.

# %% tags=["solution:own_experiment"]
mean_image, all_axes = principal_axes(x_train, 150)
few_images = [few(10, seed) for seed in range(5)]
many_images = torch.arange(4000)

def accuracy(images, n_axis):
    model = ClassGaussians.fit(x_train[images], y_train[images], axes=(mean_image, all_axes[:n_axis]))
    return 1 - errors(model)

numbers = (5, 10, 20, 50, 100, 150)
with_few = torch.tensor([[accuracy(images, n) for images in few_images] for n in numbers])      # (6, 5)
with_many = torch.tensor([accuracy(many_images, n) for n in numbers])                           # (6,)
claim("400 labels: accuracy with 50 axes minus that with 10", with_many[3] - with_many[1], ">", 0.03)
claim("10 labels: accuracy with 20 axes minus that with 150", (with_few[2] - with_few[5]).mean(), ">", 0)
fig, ax = plt.subplots(figsize=(4.5, 2.8))
ax.plot(numbers, with_many, "o-", label="400 labels of each class")
ax.errorbar(numbers, with_few.mean(1), with_few.std(1), marker="o", capsize=3,
            label="10 labels of each class")
ax.set(xscale="log", xticks=numbers, xticklabels=numbers, xlabel="principal axes",
       ylabel="accuracy on test digits")
ax.minorticks_off()
ax.legend(fontsize=8);

# %% [markdown]
# Write here: your question, your guess, what you did, what came out (a number or a figure), how sure you are of it, and what
# you would try next. Half a page is plenty.

# %% [markdown] tags=["manual:own_question:4"]
# *An example of an answer.* **Question:** is the best number of principal axes the same for few labels as for many? **Guess:**
# fewer labels want fewer axes, since each axis more is one more row of a covariance to estimate; 10 and 100. **Experiment:** six
# numbers of axes, 10 labels of each class (five draws, mean and standard deviation) and all 400; everything else as in task 5.
# **Result:** with 400 labels the accuracy rises to about 0.97 at 50 axes and falls slightly after that; with 10 labels it is best
# at about 20, near 0.80, and about six points lower at 150 axes. So the direction of my guess was right, and the numbers were
# not. **Sure?** The draws spread by one to two points, so that 150 axes are worse than 20 is certain, and whether 20 is better
# than 50 is not. One accuracy on 1,000 test digits is known to about half a point, so the slight fall at 400 labels
# may be chance. I have compared settings on the test digits; to *choose* one I should hold out training digits. **Next:**
# the same with `pool=100`, which should make additional axes less harmful.
#
# **Rubric.** 1 point: a question that can be answered by an experiment, and a guess made before. 1 point: one thing is changed
# and the rest held fixed; measured on images that the model was not fitted to. 1 point: a number or a figure with labelled
# axes, described truthfully, whether or not it agrees with the guess. 1 point: says how sure the result is (several draws, or
# the standard deviation of an accuracy) or what might be wrong with it.
