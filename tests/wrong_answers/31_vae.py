import numpy as np
import torch
from torch.distributions import Independent, Normal, kl_divergence
from torch.nn import functional as F

from course_lib.checks import vae as check
from course_lib.vae import kl_to_standard_normal
from wrong_answers import Later, equivalent, right, wrong

# --- 1


@right(check.reparameterize)
def _(mu, logvar, eps):
    return mu + logvar.exp().sqrt() * eps


@right(check.reparameterize)
def _(m, v, e):
    return torch.stack([torch.stack([m[i, j] + torch.exp(v[i, j] / 2) * e[i, j] for j in range(m.shape[1])])
                        for i in range(m.shape[0])])


# --- 2


@right(check.kl_between)
def _(mu_q, logvar_q, mu_p, logvar_p):
    ratio = torch.einsum("bd,d->b", torch.exp(logvar_q) + (mu_q - mu_p) ** 2, torch.exp(-logvar_p))
    return (ratio - logvar_q.sum(1) + logvar_p.sum() - mu_q.shape[1]) / 2


@right(check.kl_between)
def _(mu_q, logvar_q, mu_p, logvar_p):
    q, p = Normal(mu_q, (logvar_q / 2).exp()), Normal(mu_p, (logvar_p / 2).exp())
    return kl_divergence(Independent(q, 1), Independent(p.expand(mu_q.shape), 1))


equivalent(check.kl_between, "square(mu_q, mu_p) -> square(mu_p, mu_q)", "an even function")
equivalent(check.kl_between, "fraction(above(logvar_q), square(mu_q, mu_p), below(logvar_p)) -> "
           "fraction(square(mu_q, mu_p), above(logvar_q), below(logvar_p))", "a sum")

# --- 3


@right(check.negative_elbo)
def _(logits, x, mu, logvar):
    reconstruction = F.binary_cross_entropy_with_logits(logits, x, reduction="sum") / len(x)
    kl = 0.5 * (mu**2 + logvar.exp() - logvar - 1).sum(1).mean()
    return {"loss": reconstruction + kl, "reconstruction": reconstruction, "kl": kl}


@right(check.negative_elbo)
def _(logits, x, mu, logvar):
    pixels = x * F.softplus(-logits) + (1 - x) * F.softplus(logits)
    parts = {"reconstruction": pixels.flatten(1).sum(1).mean(), "kl": kl_to_standard_normal(mu, logvar).mean()}
    return parts | {"loss": sum(parts.values())}


equivalent(check.negative_elbo, "loss(r, k) -> loss(k, r)", "a sum")

# --- 4


@right(check.free_bits)
def _(kl_each, floor):
    return torch.maximum(kl_each.mean(0), torch.tensor(floor)).sum()


@right(check.free_bits)
def _(kl_each, floor):
    total = 0
    for d in range(kl_each.shape[1]):
        mean = sum(kl_each[:, d]) / len(kl_each)
        total += mean if mean > floor else torch.tensor(floor)
    return total


# --- 5


wrong(check.variance_ratio, "is too large")(Later(lambda: check._ratio() * 3))
right(check.variance_ratio)(Later(lambda: check._ratio() * 1.03))
right(check.variance_ratio)(Later(lambda: np.float64(check._ratio() * 0.96)))
