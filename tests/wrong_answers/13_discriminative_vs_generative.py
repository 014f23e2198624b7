import math

import numpy as np
import torch
from torch.distributions import Independent, MultivariateNormal, Normal

from course_lib.checks import discriminative_vs_generative as check
from wrong_answers import right, wrong

# --- 1


@wrong(check.log_normal, "return the density itself")
def _(x, mu, var):
    return MultivariateNormal(mu, torch.diag(var)).log_prob(x).exp()


@wrong(check.log_normal, "minus the log-density")
def _(x, mu, var):
    return (0.5 * (x - mu) ** 2 / var + 0.5 * torch.log(2 * torch.pi * var)).sum(-1)


@wrong(check.log_normal, "have not added up")
def _(x, mu, var):
    return Normal(mu, var.sqrt()).log_prob(x)


@wrong(check.log_normal, "took the mean over the D coordinates")
def _(x, mu, var):
    return Normal(mu, var.sqrt()).log_prob(x).mean(dim=1)


@wrong(check.log_normal, "over the first axis")
def _(x, mu, var):
    return Normal(mu, var.sqrt()).log_prob(x).sum(0)


@wrong(check.log_normal, "summed everything to one number")
def _(x, mu, var):
    return Normal(mu, var.sqrt()).log_prob(x).sum()


@wrong(check.log_normal, "as if it were the standard deviation")
def _(x, mu, var):
    return Normal(mu, var).log_prob(x).sum(1)


@wrong(check.log_normal, "use the standard deviation, var.sqrt(), where")
def _(x, mu, var):
    std = var.sqrt()
    return (-((x - mu) ** 2) / (2 * std) - 0.5 * torch.log(2 * torch.pi * std)).sum(1)


@wrong(check.log_normal, "divide the square by the standard deviation")
def _(x, mu, var):
    std = var.sqrt()
    return (-((x - mu) ** 2) / (2 * std) - torch.log(std * math.sqrt(2 * math.pi))).sum(1)


@wrong(check.log_normal, "divide the square by var squared")
def _(x, mu, var):
    return (-0.5 * ((x - mu) / var) ** 2 - 0.5 * torch.log(2 * torch.pi * var)).sum(1)


@wrong(check.log_normal, "a / 2 * var is")
def _(x, mu, var):
    return (-((x - mu) ** 2) / 2 * var - 0.5 * torch.log(2 * torch.pi * var)).sum(1)


@wrong(check.log_normal, "the logarithm of the sum of the variances")
def _(x, mu, var):
    D = len(mu)
    return -0.5 * ((x - mu) ** 2 / var).sum(1) - 0.5 * (D * math.log(2 * math.pi) + torch.log(var.sum()))


@wrong(check.log_normal, "left out the 2 pi")
def _(x, mu, var):
    return -0.5 * ((x - mu) ** 2 / var).sum(1) - var.sqrt().log().sum()


@wrong(check.log_normal, "once in all")
def _(x, mu, var):
    return -0.5 * ((x - mu) ** 2 / var).sum(1) - 0.5 * math.log(2 * math.pi) - 0.5 * var.log().sum()


@wrong(check.log_normal, "only the exponent is there")
def _(x, mu, var):
    return -((x - mu) ** 2 / (2 * var)).sum(1)


@wrong(check.log_normal, "the log-determinant is missing")
def _(x, mu, var):
    return Normal(0, 1).log_prob((x - mu) / var**0.5).sum(1)


@wrong(check.log_normal, "the log-determinant has the wrong sign")
def _(x, mu, var):
    return (Normal(0, 1).log_prob((x - mu) / var**0.5) + var.log() / 2).sum(1)


@wrong(check.log_normal, "you subtract log(var), and a half of it")
def _(x, mu, var):
    return (Normal(0, 1).log_prob((x - mu) / var**0.5) - var.log()).sum(1)


@wrong(check.log_normal, "the root in 1 / sqrt(2 pi var) is missing")
def _(x, mu, var):
    return (-((x - mu) ** 2) / (2 * var) - torch.log(2 * torch.pi * var)).sum(1)


@wrong(check.log_normal, "you subtract log(2 pi) for each coordinate")
def _(x, mu, var):
    D = x.shape[1]
    return -0.5 * ((x - mu) ** 2 / var).sum(1) - 0.5 * var.log().sum() - D * math.log(2 * math.pi)


@wrong(check.log_normal, "the 2 in exp")
def _(x, mu, var):
    return (-((x - mu) ** 2) / var - 0.5 * torch.log(2 * torch.pi * var)).sum(1)


@wrong(check.log_normal, "the square has the wrong sign")
def _(x, mu, var):
    return ((mu - x) ** 2 / (2 * var) - 0.5 * torch.log(2 * torch.pi * var)).sum(1)


@wrong(check.log_normal, "forgotten to square")
def _(x, mu, var):
    return (-(x - mu) / (2 * var) - 0.5 * torch.log(2 * torch.pi * var)).sum(1)


@wrong(check.log_normal, "mu is not used")
def _(x, mu, var):
    return Normal(torch.zeros_like(mu), var.sqrt()).log_prob(x).sum(1)


@wrong(check.log_normal, "wrong for 2,000")
def _(x, mu, var):
    density = torch.exp(-((x - mu) ** 2) / (2 * var)) / torch.sqrt(2 * torch.pi * var)
    return density.prod(1).log()


@wrong(check.log_normal, "wrong for 2,000")
def _(x, mu, var):
    D = len(mu)
    return -0.5 * (((x - mu) ** 2 / var).sum(1) + torch.log((2 * torch.pi) ** D * torch.det(torch.diag(var))))


@wrong(check.log_normal, "wrong for 2,000")
def _(x, mu, var):
    return -0.5 * (((x - mu) ** 2 / var).sum(1) + len(mu) * math.log(2 * math.pi) + var.prod().log())


@wrong(check.log_normal, "(1, 1), and (1,) is asked for")
def _(x, mu, var):
    return Normal(mu, var.sqrt()).log_prob(x).sum(1, keepdim=True)


@wrong(check.log_normal, "is a NumPy array")
def _(x, mu, var):
    x, mu, var = x.numpy(), mu.numpy(), var.numpy()
    return (-0.5 * (x - mu) ** 2 / var - 0.5 * np.log(2 * np.pi * var)).sum(1)


@wrong(check.log_normal, "TypeError")
def _(x, mu, var):
    return (-0.5 * (x - mu) ** 2 / var - 0.5 * torch.log(2 * torch.pi) - 0.5 * var.log()).sum(1)


@right(check.log_normal)
def _(x, mu, var):
    return Independent(Normal(mu, var.sqrt()), 1).log_prob(x)


@right(check.log_normal)
def _(x, mu, var):
    out = []
    for row in x:
        total = 0.0
        for a, m, v in zip(row.tolist(), mu.tolist(), var.tolist()):
            total += -0.5 * (a - m) ** 2 / v - 0.5 * math.log(2 * math.pi * v)
        out.append(total)
    return torch.tensor(out, dtype=torch.float64)


@right(check.log_normal)
def _(points, centre, v):
    points -= centre
    points *= points
    D = points.shape[-1]
    constant = D / 2 * torch.log(torch.tensor(2 * torch.pi)) + v.log().sum() / 2
    return -torch.einsum("nd,d->n", points, 1 / v) / 2 - constant


# --- 2


@wrong(check.posterior, "the prior is left out: this")
def _(log_likelihood, log_prior):
    return torch.softmax(log_likelihood, dim=-1)


@wrong(check.posterior, "the prior is left out; and")
def _(log_likelihood, log_prior):
    p = log_likelihood.exp()
    return p / p.sum(1, keepdim=True)


@wrong(check.posterior, "added the prior itself to a logarithm")
def _(log_likelihood, log_prior):
    joint = log_likelihood + log_prior.exp()
    return (joint - joint.logsumexp(1, keepdim=True)).exp()


@wrong(check.posterior, "is a logarithm already")
def _(log_likelihood, log_prior):
    joint = log_likelihood + log_prior.log()
    return (joint - joint.logsumexp(1, keepdim=True)).exp()


@wrong(check.posterior, "subtracted the log-prior")
def _(log_likelihood, log_prior):
    return (log_likelihood - log_prior).softmax(dim=1)


@wrong(check.posterior, "multiplied two logarithms")
def _(log_likelihood, log_prior):
    return (log_likelihood * log_prior).softmax(dim=1)


@wrong(check.posterior, "the prior came after the division")
def _(log_likelihood, log_prior):
    return log_likelihood.softmax(1) * log_prior.exp()


@wrong(check.posterior, "multiplied the probabilities by the logarithm")
def _(log_likelihood, log_prior):
    return torch.softmax(log_likelihood, 1) * log_prior


@wrong(check.posterior, "multiplied the densities by the logarithm")
def _(log_likelihood, log_prior):
    p = torch.exp(log_likelihood) * log_prior
    return p / p.sum(dim=1, keepdim=True)


@wrong(check.posterior, "added the log-prior to the probabilities")
def _(log_likelihood, log_prior):
    return torch.softmax(log_likelihood, 1) + log_prior


@wrong(check.posterior, "over the wrong axis")
def _(log_likelihood, log_prior):
    joint = log_likelihood + log_prior
    return torch.exp(joint - torch.logsumexp(joint, 0))


@wrong(check.posterior, "over the wrong axis")
def _(log_likelihood, log_prior):
    joint = torch.exp(log_likelihood + log_prior)
    return joint / joint.sum(0)


@wrong(check.posterior, "over all points and classes")
def _(log_likelihood, log_prior):
    joint = log_likelihood + log_prior
    joint = torch.exp(joint - joint.max())
    return joint / joint.sum()


@wrong(check.posterior, "over all points and classes")
def _(log_likelihood, log_prior):
    joint = log_likelihood.exp() * log_prior.exp()
    return joint / joint.sum()


@wrong(check.posterior, "you return log p(y | x)")
def _(log_likelihood, log_prior):
    joint = log_likelihood + log_prior
    return joint - joint.exp().sum(1)[:, None].log()


@wrong(check.posterior, "you return log p(y | x)")
def _(log_likelihood, log_prior):
    joint = log_likelihood + log_prior
    return joint - torch.logsumexp(joint, dim=1, keepdim=True)


@wrong(check.posterior, "this is log p(x, y)")
def _(log_likelihood, log_prior):
    return log_prior[None] + log_likelihood


@wrong(check.posterior, "this is p(x, y)")
def _(log_likelihood, log_prior):
    return torch.exp(log_likelihood) * torch.exp(log_prior)


@wrong(check.posterior, "did not divide by the sum")
def _(log_likelihood, log_prior):
    joint = log_likelihood + log_prior
    return torch.exp(joint - joint.max(dim=1, keepdim=True).values)


@wrong(check.posterior, "did not divide by the sum")
def _(log_likelihood, log_prior):
    top = log_likelihood.max(1, keepdim=True)[0]
    return torch.exp(log_likelihood - top) * torch.exp(log_prior)


@wrong(check.posterior, "the maximum of each column")
def _(log_likelihood, log_prior):
    joint = log_likelihood + log_prior
    joint = (joint - joint.max(0).values).exp()
    return joint / joint.sum(1, keepdim=True)


@wrong(check.posterior, "divided the logarithms by their sum")
def _(log_likelihood, log_prior):
    joint = log_likelihood + log_prior
    return joint / joint.sum(1)[:, None]


@wrong(check.posterior, "a sigmoid decides about each class alone")
def _(log_likelihood, log_prior):
    return torch.sigmoid(log_likelihood + log_prior)


@wrong(check.posterior, "the sign is wrong")
def _(log_likelihood, log_prior):
    return torch.softmax(-log_likelihood - log_prior, 1)


@wrong(check.posterior, "you return the most probable class")
def _(log_likelihood, log_prior):
    return (log_likelihood + log_prior).max(1)[1]


@wrong(check.posterior, "the logarithm of the denominator")
def _(log_likelihood, log_prior):
    return torch.logsumexp(log_likelihood + log_prior, 1)


@wrong(check.posterior, "wrong for logarithms such as")
def _(log_likelihood, log_prior):
    p = log_likelihood.exp() * log_prior.exp()
    return p / p.sum(1, keepdim=True)


@wrong(check.posterior, "wrong for logarithms such as")
def _(log_likelihood, log_prior):
    p = log_likelihood.exp() * log_prior.exp()
    return (p + 1e-30) / (p + 1e-30).sum(1, keepdim=True)


@wrong(check.posterior, "wrong for logarithms such as")
def _(log_likelihood, log_prior):
    joint = log_likelihood + log_prior
    p = (joint - joint.max()).exp()                               # one maximum for all rows
    return p / p.sum(1, keepdim=True)


@wrong(check.posterior, "meets the columns")
def _(log_likelihood, log_prior):
    joint = log_likelihood + log_prior
    return (joint - joint.logsumexp(1)).exp()


@right(check.posterior)
def _(log_likelihood, log_prior):
    joint = log_likelihood + log_prior
    return (joint - torch.logsumexp(joint, 1, keepdim=True)).exp()


@right(check.posterior)
def _(ll, lp):
    rows = []
    for row in ll:
        logs = [a + b for a, b in zip(row.tolist(), lp.tolist())]
        top = max(logs)
        p = [math.exp(v - top) for v in logs]
        rows.append(torch.tensor([v / sum(p) for v in p]))
    return torch.stack(rows)


@right(check.posterior)
def _(ll, lp):
    ll += lp
    ll -= ll.max(1, keepdim=True).values
    ll.exp_()
    ll /= ll.sum(dim=1, keepdim=True)
    return ll


@right(check.posterior)
def _(ll, lp):
    ll = ll - ll.amax(1, keepdim=True)
    return torch.distributions.Categorical(logits=ll + lp).probs


# --- 3: each as a learner edits the loop


def em(joint="weights.log() + log_density", r="joint.softmax(1)", mu="r.T @ x / n[:, None]", log_likelihood=None,
       var="(r[:, :, None] * (x[:, None] - mu) ** 2).sum(0) / n[:, None]", weights="n / len(x)", returned="weights"):
    """The code of the exercise with the given expressions in it."""
    lines = ["def em_step(x, weights, mu, var):",
             "old_mu = mu",
             "square = (x[:, None] - mu) ** 2 / var",
             "log_density = -0.5 * (square + torch.log(2 * torch.pi * var)).sum(2)",
             f"joint = {joint}",
             f"log_likelihood = {log_likelihood or 'joint.logsumexp(1).mean()'}",
             f"r = {r}",
             "n = r.sum(0)",
             f"mu = {mu}",
             f"var = {var}",
             f"weights = {weights}",
             f"return {returned}, mu, var, log_likelihood"]
    names = {"torch": torch}
    exec("\n    ".join(lines), names)
    return names["em_step"]


wrong(check.em_step, "the bug is still there")(em(joint="weights + log_density"))
wrong(check.em_step, "the responsibilities are right now")(em(
    r="(weights.log() + log_density).softmax(1)", joint="weights + log_density"))
wrong(check.em_step, "the log-likelihood is right now")(em(
    joint="weights + log_density", log_likelihood="(weights.log() + log_density).logsumexp(1).mean()"))
wrong(check.em_step, "removed the weights from the E-step")(em(joint="log_density"))
wrong(check.em_step, "multiply a logarithm by the weight")(em(joint="weights * log_density"))
wrong(check.em_step, "r comes from the densities alone")(em(r="log_density.softmax(1)"))
wrong(check.em_step, "you multiply two logarithms")(em(joint="weights.log() * log_density"))
wrong(check.em_step, "joint is p(x, k) itself now")(em(joint="weights * log_density.exp()"))
wrong(check.em_step, "subtract the logarithm of the weights")(em(joint="log_density - weights.log()"))
wrong(check.em_step, "has lost its log-determinant")(em(
    joint="weights.log() - 0.5 * (square + torch.log(2 * torch.pi * torch.ones_like(var))).sum(2)"))
wrong(check.em_step, "r is normalised over the wrong axis")(em(r="joint.softmax(0)"))
wrong(check.em_step, "r is not normalised")(em(r="joint.exp()"))
wrong(check.em_step, "around the old mean")(em(
    var="(r[:, :, None] * (x[:, None] - old_mu) ** 2).sum(0) / n[:, None]"))
wrong(check.em_step, "divided by N")(em(var="(r[:, :, None] * (x[:, None] - mu) ** 2).mean(0)"))
wrong(check.em_step, "divided by n_k - 1")(em(
    var="(r[:, :, None] * (x[:, None] - mu) ** 2).sum(0) / (n[:, None] - 1)"))
wrong(check.em_step, "return the standard deviation")(em(
    var="((r[:, :, None] * (x[:, None] - mu) ** 2).sum(0) / n[:, None]).sqrt()"))
wrong(check.em_step, "how many points each Gaussian has")(em(weights="n"))
wrong(check.em_step, "the weights are all equal")(em(weights="torch.ones(len(n)) / len(n)"))
wrong(check.em_step, "return the logarithm of the weights")(em(returned="weights.log()"))
wrong(check.em_step, "is a sum over the points")(em(log_likelihood="joint.logsumexp(1).sum()"))
wrong(check.em_step, "adds up logarithms of the K Gaussians")(em(log_likelihood="joint.sum(1).mean()"))
wrong(check.em_step, "summed over the wrong axis")(em(log_likelihood="joint.logsumexp(0).mean()"))
wrong(check.em_step, "the log-likelihood has the wrong sign")(em(log_likelihood="-joint.logsumexp(1).mean()"))
wrong(check.em_step, "returns a tuple of 3")(lambda *args: em()(*args)[:3])


@wrong(check.em_step, "the one before it was asked for")
def _(x, weights, mu, var):
    weights, mu, var, _ = em()(x, weights, mu, var)
    return weights, mu, var, em()(x, weights, mu, var)[3]


right(check.em_step)(em())
right(check.em_step)(em(joint="weights * log_density.exp()", log_likelihood="joint.sum(1).log().mean()",
                        r="joint / joint.sum(1, keepdim=True)"))
right(check.em_step)(em(var="r.T @ x**2 / n[:, None] - mu**2"))


@right(check.em_step)
def _(x, weights, mu, var):
    N, K = len(x), len(weights)
    p = torch.empty(N, K)
    for i in range(N):
        for k in range(K):
            p[i, k] = weights[k] * Normal(mu[k], var[k].sqrt()).log_prob(x[i]).sum().exp()
    r = p / p.sum(1, keepdim=True)
    means = torch.stack([(r[:, k, None] * x).sum(0) / r[:, k].sum() for k in range(K)])
    variances = torch.stack([(r[:, k, None] * (x - means[k]) ** 2).sum(0) / r[:, k].sum() for k in range(K)])
    return r.mean(0), means, variances, p.sum(1).log().mean().item()


@right(check.em_step)
def _(x, weights, mu, var):
    mixture = torch.distributions.MixtureSameFamily(torch.distributions.Categorical(weights),
                                                    Independent(Normal(mu, var.sqrt()), 1))
    r = (Independent(Normal(mu, var.sqrt()), 1).log_prob(x[:, None]) + torch.log(weights)).softmax(-1)
    share = r / r.sum(0)
    mean = torch.einsum("nk,nd->kd", share, x)
    variance = torch.einsum("nk,nkd->kd", share, (x[:, None] - mean).square())
    return [r.mean(0), mean, variance, mixture.log_prob(x).mean()]


# --- 4


@wrong(check.sample_normal, "the wrong way round: a sample in a column")
def _(mu, cov, eps):
    return mu + eps @ torch.linalg.cholesky(cov)


@wrong(check.sample_normal, "mixed the noise with the covariance itself")
def _(mu, cov, eps):
    return mu + eps @ cov


@wrong(check.sample_normal, "but on its own")
def _(mu, cov, eps):
    return mu + torch.sqrt(torch.diag(cov)) * eps


@wrong(check.sample_normal, "each coordinate by its variance")
def _(mu, cov, eps):
    return mu + torch.diag(cov) * eps


@wrong(check.sample_normal, "the root of each entry")
def _(mu, cov, eps):
    return mu + eps @ torch.sqrt(cov)


@wrong(check.sample_normal, "mu is missing")
def _(mu, cov, eps):
    return (torch.linalg.cholesky(cov) @ eps.T).T


@wrong(check.sample_normal, "you added mu before you multiplied")
def _(mu, cov, eps):
    return (torch.linalg.cholesky(cov) @ (mu + eps).T).T


@wrong(check.sample_normal, "you subtracted mu")
def _(mu, cov, eps):
    return eps @ torch.linalg.cholesky(cov).T - mu


@wrong(check.sample_normal, "is the identity")
def _(mu, cov, eps):
    return eps + mu


@wrong(check.sample_normal, "divided by the Cholesky factor")
def _(mu, cov, eps):
    return mu + (torch.linalg.inv(torch.linalg.cholesky(cov)) @ eps.T).T


@wrong(check.sample_normal, "the root of the inverse")
def _(mu, cov, eps):
    return mu + eps @ torch.linalg.cholesky(cov.inverse()).T


@wrong(check.sample_normal, "have not turned it to the eigenvectors")
def _(mu, cov, eps):
    return mu + eps * torch.linalg.eigvalsh(cov).sqrt()


@wrong(check.sample_normal, "have not turned it to the eigenvectors")
def _(mu, cov, eps):
    U, s, _ = torch.linalg.svd(cov)
    return mu + eps @ U @ torch.diag(s.sqrt())


@wrong(check.sample_normal, "the eigenvectors are the wrong way round")
def _(mu, cov, eps):
    variance, vectors = torch.linalg.eigh(cov)
    return mu + eps @ torch.diag(variance.sqrt()) @ vectors


@wrong(check.sample_normal, "is the identity")
def _(mu, cov, eps):
    _, vectors = torch.linalg.eigh(cov)
    return mu + eps @ vectors.T


@wrong(check.sample_normal, "all your samples are mu")
def _(mu, cov, eps):
    return mu.repeat(len(eps), 1)


@wrong(check.sample_normal, "you draw noise of your own")
def _(mu, cov, eps):
    return MultivariateNormal(mu, cov).sample((len(eps),))


@wrong(check.sample_normal, "do you clamp")
def _(mu, cov, eps):
    return mu + eps**2 @ torch.linalg.cholesky(cov).T


@wrong(check.sample_normal, "a column for each sample")
def _(mu, cov, eps):
    return mu[:, None] + torch.linalg.cholesky(cov) @ eps.T


@wrong(check.sample_normal, "one sample for each row of eps")
def _(mu, cov, eps):
    return mu + torch.linalg.cholesky(cov) @ eps[0]


@right(check.sample_normal)
def _(mu, cov, eps):
    return MultivariateNormal(mu, cov).loc + torch.einsum("ij,nj->ni", torch.linalg.cholesky(cov), eps)


@right(check.sample_normal)
def _(mu, cov, eps):
    variance, vectors = torch.linalg.eigh(cov)
    return mu + (eps * variance.sqrt()) @ vectors.T


@right(check.sample_normal)
def _(mu, cov, eps):
    U, s, _ = torch.linalg.svd(cov)                               # the symmetric root
    return eps @ (U * s.sqrt()) @ U.T + mu


@right(check.sample_normal)
def _(mu, cov, eps):
    return torch.stack([mu + torch.linalg.cholesky(cov) @ e for e in eps])


@right(check.sample_normal)
def _(mu, cov, eps):
    return mu + eps @ torch.linalg.cholesky(cov, upper=True)


# --- 5

wrong(check.error_ratio, "upside down")(1 / 6.9)
wrong(check.error_ratio, "the ratio of the accuracies")(0.969 / 0.785)
wrong(check.error_ratio, "an accuracy, or a ratio of two")(0.785)
wrong(check.error_ratio, "an accuracy, or a ratio of two")(0.969)
wrong(check.error_ratio, "the share of errors with 10 labels")(0.215)
wrong(check.error_ratio, "an accuracy, or a ratio of two")(torch.tensor(0.785 / 0.969))
wrong(check.error_ratio, "the difference of the two accuracies:")(0.969 - 0.785)
wrong(check.error_ratio, "the difference of the two accuracies:")(18.4)
wrong(check.error_ratio, "did you measure on the images")(0.0)
wrong(check.error_ratio, "20 labels of each class")(0.138 / 0.031)
wrong(check.error_ratio, "too large")(9)
right(check.error_ratio)(torch.tensor(6.9))
right(check.error_ratio)(np.float64(0.2148 / 0.031))
right(check.error_ratio)(7)
