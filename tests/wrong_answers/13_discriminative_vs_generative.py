import math

import numpy as np
import torch
from torch.distributions import Independent, MultivariateNormal, Normal

from course_lib.checks import discriminative_vs_generative as check
from wrong_answers import equivalent, right, wrong

# --- 1


@wrong(check.log_normal, "wrong for 2,000")
def _(x, mu, var):
    density = torch.exp(-((x - mu) ** 2) / (2 * var)) / torch.sqrt(2 * torch.pi * var)
    return density.prod(1).log()


@right(check.log_normal)
def _(x, mu, var):
    return Independent(Normal(mu, var.sqrt()), 1).log_prob(x)


@right(check.log_normal)
def _(x, mu, var):
    parts = [(x[:, d] - mu[d]) ** 2 / var[d] + math.log(2 * math.pi) + var[d].log() for d in range(len(mu))]
    return -torch.stack(parts).double().sum(0) / 2


# --- 2


@wrong(check.posterior, "wrong for logarithms such as")
def _(log_likelihood, log_prior):
    p = log_likelihood.exp() * log_prior.exp()
    return p / p.sum(1, keepdim=True)


@right(check.posterior)
def _(log_likelihood, log_prior):
    joint = log_likelihood + log_prior
    return (joint - torch.logsumexp(joint, 1, keepdim=True)).exp()


@right(check.posterior)
def _(ll, lp):
    rows = []
    for row in (ll + lp).tolist():
        p = [math.exp(v - max(row)) for v in row]
        rows.append([v / sum(p) for v in p])
    return torch.tensor(rows)


equivalent(check.posterior, "put(log_likelihood, log_prior) -> put(log_prior, log_likelihood)", "a sum")

# --- 3


@right(check.em_step)
def _(x, weights, mu, var):
    square = (x[:, None] - mu) ** 2 / var
    log_density = -0.5 * (square + torch.log(2 * torch.pi * var)).sum(2)
    joint = weights * log_density.exp()
    r = joint / joint.sum(1, keepdim=True)
    n = r.sum(0)
    mu = r.T @ x / n[:, None]
    var = (r[:, :, None] * (x[:, None] - mu) ** 2).sum(0) / n[:, None]
    return n / len(x), mu, var, joint.sum(1).log().mean()


@right(check.em_step)
def _(x, weights, mu, var):
    joint = Normal(mu, var.sqrt()).log_prob(x[:, None]).sum(2) + weights.log()
    r = (joint - joint.logsumexp(1, keepdim=True)).exp()
    share = r / r.sum(0)                                          # each column sums to 1
    mean = torch.einsum("nk,nd->kd", share, x)
    return r.mean(0), mean, torch.einsum("nk,nd->kd", share, x**2) - mean**2, joint.logsumexp(1).mean()


equivalent(check.em_step, "density(x[:, None], mu, var, reduce=lambda each: each.sum(2)) -> "
           "density(mu, x[:, None], var, reduce=lambda each: each.sum(2))", "the square of a difference")

# --- 4


@right(check.sample_normal)
def _(mu, cov, eps):
    return MultivariateNormal(mu, cov).loc + torch.einsum("ij,nj->ni", torch.linalg.cholesky(cov), eps)


@right(check.sample_normal)
def _(mu, cov, eps):
    variance, vectors = torch.linalg.eigh(cov)
    return mu + (eps * variance.sqrt()) @ vectors.T


equivalent(check.sample_normal, "mu + eps @ root(cov).T -> mu - eps @ root(cov).T", "the same law")

# --- 5

wrong(check.error_ratio, "too large")(9)
right(check.error_ratio)(torch.tensor(6.9))
right(check.error_ratio)(np.float64(0.2148 / 0.031))
