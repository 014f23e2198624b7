import math

import numpy as np
import torch
from torch.distributions import Independent, MultivariateNormal, Normal

from course_lib.checks import discriminative_vs_generative as check
from wrong_answers import right, wrong

# --- 1


@wrong(check.log_normal, "wrong for 2,000")
def _(x, mu, var):
    density = torch.exp(-((x - mu) ** 2) / (2 * var)) / torch.sqrt(2 * torch.pi * var)
    return density.prod(1).log()


@wrong(check.log_normal, "is a NumPy array")
def _(x, mu, var):
    x, mu, var = x.numpy(), mu.numpy(), var.numpy()
    return (-0.5 * (x - mu) ** 2 / var - 0.5 * np.log(2 * np.pi * var)).sum(1)


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
    for row in ll:
        logs = [a + b for a, b in zip(row.tolist(), lp.tolist())]
        top = max(logs)
        p = [math.exp(v - top) for v in logs]
        rows.append(torch.tensor([v / sum(p) for v in p]))
    return torch.stack(rows)


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


right(check.em_step)(em())
right(check.em_step)(em(joint="weights * log_density.exp()", log_likelihood="joint.sum(1).log().mean()",
                        r="joint / joint.sum(1, keepdim=True)"))


# --- 4


@right(check.sample_normal)
def _(mu, cov, eps):
    return MultivariateNormal(mu, cov).loc + torch.einsum("ij,nj->ni", torch.linalg.cholesky(cov), eps)


@right(check.sample_normal)
def _(mu, cov, eps):
    variance, vectors = torch.linalg.eigh(cov)
    return mu + (eps * variance.sqrt()) @ vectors.T


# --- 5

wrong(check.error_ratio, "too large")(9)
right(check.error_ratio)(torch.tensor(6.9))
right(check.error_ratio)(np.float64(0.2148 / 0.031))
