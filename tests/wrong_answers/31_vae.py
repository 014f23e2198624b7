import math

import numpy as np
import torch
from torch.distributions import Independent, Normal, kl_divergence
from torch.nn import functional as F

from course_lib.checks import vae as check
from wrong_answers import right, wrong

# --- 1


@wrong(check.reparameterize, "draws random numbers of its own")
def _(mu, logvar, eps):
    std = torch.exp(0.5 * logvar)
    return mu + std * torch.randn_like(std)


@wrong(check.reparameterize, "no gradient reaches logvar")
def _(mu, logvar, eps):
    with torch.no_grad():
        std = torch.exp(logvar / 2)
    return mu + std * eps


@wrong(check.reparameterize, "cannot be differentiated")
def _(mu, logvar, eps):
    rows = zip(mu.tolist(), logvar.tolist(), eps.tolist())
    return torch.tensor([[m + math.exp(v / 2) * e for m, v, e in zip(*row)] for row in rows])


@right(check.reparameterize)
def _(mu, logvar, eps):
    return mu + logvar.exp().sqrt() * eps


@right(check.reparameterize)
def _(m, v, e):
    return torch.stack([torch.stack([m[i, j] + torch.exp(v[i, j] / 2) * e[i, j] for j in range(m.shape[1])])
                        for i in range(m.shape[0])])


# --- 2

KL_LINES = """
def kl_between(mu_q, logvar_q, mu_p, logvar_p):
    var_q, var_p = logvar_q.exp(), logvar_p.exp()
    return {0}
"""


def kl(line):
    """The function of a learner who writes this last line."""
    names = {"torch": torch}
    exec(KL_LINES.format(line), names)
    return names["kl_between"]


EACH = "(0.5 * (logvar_p - logvar_q) + (var_q + (mu_q - mu_p) ** 2) / (2 * var_p) - 0.5)"


@wrong(check.kl_between, "a NumPy array")
def _(*parameters):
    mu_q, logvar_q, mu_p, logvar_p = (p.detach().numpy() for p in parameters)
    ratio = (np.exp(logvar_q) + (mu_q - mu_p) ** 2) / np.exp(logvar_p)
    return 0.5 * (logvar_p - logvar_q + ratio - 1).sum(1)


@wrong(check.kl_between, "draws random numbers of its own")
def _(mu_q, logvar_q, mu_p, logvar_p):
    q, p = Normal(mu_q, (logvar_q / 2).exp()), Normal(mu_p, (logvar_p / 2).exp())
    z = q.rsample((1000,))
    return (q.log_prob(z) - p.log_prob(z)).sum(-1).mean(0)


right(check.kl_between)(kl(EACH + ".sum(dim=-1)"))


@right(check.kl_between)
def _(mu_q, logvar_q, mu_p, logvar_p):
    q, p = Normal(mu_q, (logvar_q / 2).exp()), Normal(mu_p, (logvar_p / 2).exp())
    return kl_divergence(Independent(q, 1), Independent(p.expand(mu_q.shape), 1))


# --- 3: each as a learner edits the function

ELBO_LINES = """
def negative_elbo(logits, x, mu, logvar):
    {given}
    reconstruction = {reconstruction}
    kl_each = 0.5 * (mu ** 2 + logvar.exp() - logvar - 1)
    kl = {kl}
    loss = {loss}
    return {{"loss": loss, "reconstruction": reconstruction, "kl": kl}}
"""
BCE = "F.binary_cross_entropy_with_logits"
SUMMED = BCE + '(logits, x, reduction="sum") / len(x)'
PIXELS = BCE + '(logits, x, reduction="none")'


def elbo(reconstruction=SUMMED, kl="kl_each.sum(1).mean()", loss="reconstruction + kl", given="B = len(x)"):
    names = {"torch": torch, "F": F}
    exec(ELBO_LINES.format(reconstruction=reconstruction, kl=kl, loss=loss, given=given), names)
    return names["negative_elbo"]


right(check.negative_elbo)(elbo())
right(check.negative_elbo)(elbo(f"{PIXELS}.sum(dim=(1, 2, 3)).mean()", "torch.mean(torch.sum(kl_each, dim=-1), dim=0)"))


# --- 4


@wrong(check.free_bits, "cannot be differentiated")
def _(kl_each, floor):
    return sum(max(floor, m.item()) for m in kl_each.mean(0))


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


class Later:
    """A number that depends on the shipped checkpoint: computed when it is looked at."""

    def __init__(self, f=check._ratio, **change):
        self.f, self.change = f, change

    def __float__(self):
        return float(self.f(**self.change))


wrong(check.variance_ratio, "is too large")(Later(lambda: check._ratio() * 3))
right(check.variance_ratio)(Later(lambda: check._ratio() * 1.03))
right(check.variance_ratio)(Later(lambda: np.float64(check._ratio() * 0.96)))
