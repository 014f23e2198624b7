import math

import numpy as np
import torch
from torch.distributions import Bernoulli, Independent, Normal, kl_divergence
from torch.nn import functional as F

from course_lib.checks import vae as check
from course_lib.vae import bernoulli_log_prob, kl_to_standard_normal
from wrong_answers import right, wrong

# --- 1


@wrong(check.reparameterize, "scaled eps by the variance; the standard deviation is exp(logvar / 2)")
def _(mu, logvar, eps):
    return mu + torch.exp(logvar) * eps


@wrong(check.reparameterize, "scaled eps by logvar itself")
def _(mu, logvar, eps):
    return mu + logvar * eps


@wrong(check.reparameterize, "the logarithm of the standard deviation: take exp")
def _(mu, logvar, eps):
    return mu + 0.5 * logvar * eps


@wrong(check.reparameterize, "you halved the variance")
def _(mu, logvar, eps):
    std = logvar.exp() / 2
    return mu + std * eps


@wrong(check.reparameterize, "which squares the variance")
def _(mu, logvar, eps):
    return mu + eps * logvar.exp() ** 2


@wrong(check.reparameterize, "must spread the codes")
def _(mu, logvar, eps):
    return mu + eps / logvar.exp().sqrt()


@wrong(check.reparameterize, "you took the root of logvar")
def _(mu, logvar, eps):
    return mu + torch.sqrt(logvar) * eps


@wrong(check.reparameterize, "softplus makes it positive")
def _(mu, logvar, eps):
    return mu + F.softplus(logvar) * eps


for base in (2, 10):
    wrong(check.reparameterize, "logvar is a natural logarithm")(
        lambda mu, logvar, eps, base=base: mu + base ** (0.5 * logvar) * eps)
wrong(check.reparameterize, "scales mu in place of the noise")(lambda mu, logvar, eps: mu * (logvar / 2).exp() + eps)
wrong(check.reparameterize, "the root of the size of logvar")(lambda mu, logvar, eps: mu + logvar.abs().sqrt() * eps)


@wrong(check.reparameterize, "you subtracted the noise")
def _(mu, logvar, eps):
    return mu - eps * torch.exp(logvar / 2)


@wrong(check.reparameterize, "draws random numbers of its own")
def _(mu, logvar, eps):
    std = torch.exp(0.5 * logvar)
    return mu + std * torch.randn_like(std)


@wrong(check.reparameterize, "draws random numbers of its own")
def _(mu, logvar, eps):
    return Normal(mu, (logvar / 2).exp()).rsample()


@wrong(check.reparameterize, "draws random numbers of its own")
def _(mu, logvar, eps):
    return torch.normal(mu, (logvar / 2).exp())


@wrong(check.reparameterize, "has the standard deviation 1")
def _(mu, logvar, eps):
    return mu + eps


@wrong(check.reparameterize, "the noise is not used")
def _(mu, logvar, eps):
    return mu


@wrong(check.reparameterize, "mu is missing")
def _(mu, logvar, eps):
    return eps * torch.exp(logvar / 2)


@wrong(check.reparameterize, "so mu is scaled as well")
def _(mu, logvar, eps):
    return (mu + eps) * torch.exp(logvar / 2)


@wrong(check.reparameterize, "have changed places")
def _(mu, logvar, eps):
    return torch.exp(logvar / 2) + mu * eps


@wrong(check.reparameterize, "no gradient reaches logvar")
def _(mu, logvar, eps):
    with torch.no_grad():
        std = torch.exp(logvar / 2)
    return mu + std * eps


@wrong(check.reparameterize, "no gradient reaches mu")
def _(mu, logvar, eps):
    return torch.addcmul(mu.data, (logvar / 2).exp(), eps)


@wrong(check.reparameterize, "cannot be differentiated")
def _(mu, logvar, eps):
    rows = zip(mu.tolist(), logvar.tolist(), eps.tolist())
    return torch.tensor([[m + math.exp(v / 2) * e for m, v, e in zip(*row)] for row in rows])


@wrong(check.reparameterize, "has shape (1, 1, 2)")
def _(mu, logvar, eps):
    return (mu + (logvar / 2).exp() * eps)[None]


@right(check.reparameterize)
def _(mu, logvar, eps):
    return mu + logvar.exp().sqrt() * eps


@right(check.reparameterize)
def _(m, v, e):
    return torch.stack([torch.stack([m[i, j] + torch.exp(v[i, j] / 2) * e[i, j] for j in range(m.shape[1])])
                        for i in range(m.shape[0])])


@right(check.reparameterize)
def _(m, v, e):
    return Normal(m, torch.exp(v) ** 0.5).icdf(Normal(0, 1).cdf(e.double())).to(m.dtype)


@right(check.reparameterize)
def _(m, v, e):
    return torch.einsum("bd,bd->bd", torch.exp(0.5 * v), e).add_(m)


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

wrong(check.kl_between, "have not added up")(kl(EACH))
wrong(check.kl_between, "took the mean over the D coordinates")(kl(EACH + ".mean(1)"))
wrong(check.kl_between, "over the first axis")(kl(EACH + ".sum(0)"))
wrong(check.kl_between, "summed everything to one number")(kl(EACH + ".sum()"))
wrong(check.kl_between, "took the mean over the examples as well")(kl(EACH + ".sum(1).mean()"))
wrong(check.kl_between, "took the mean over everything")(kl(EACH + ".mean()"))
wrong(check.kl_between, "the sign is wrong")(kl("-" + EACH + ".sum(1)"))
wrong(check.kl_between, "the - 1/2 of each coordinate is missing")(kl(EACH.replace(" - 0.5)", ")") + ".sum(1)"))
wrong(check.kl_between, "once in all")(kl(EACH.replace(" - 0.5)", ")") + ".sum(1) - 0.5"))
wrong(check.kl_between, "halved once more")(kl(EACH.replace("- 0.5)", "- 0.25)") + ".sum(1)"))
wrong(check.kl_between, "the factor 1/2 is missing")(kl(
    "(logvar_p - logvar_q + (var_q + (mu_q - mu_p) ** 2) / var_p - 1).sum(1)"))
wrong(check.kl_between, "the logarithm counts twice")(kl(EACH.replace("0.5 * (log", "(log") + ".sum(1)"))
wrong(check.kl_between, "upside down")(kl(EACH.replace("logvar_p - logvar_q", "logvar_q - logvar_p") + ".sum(1)"))
wrong(check.kl_between, "sigma_p / sigma_q is missing")(kl(
    "((var_q + (mu_q - mu_p) ** 2) / (2 * var_p) - 0.5).sum(1)"))
wrong(check.kl_between, "have standard deviations")(kl(
    EACH.replace("var_q +", "(logvar_q / 2).exp() +").replace("(2 * var_p)", "(2 * (logvar_p / 2).exp())") + ".sum(1)"))
wrong(check.kl_between, "logvar as the standard deviation itself")(kl(
    "(torch.log(logvar_p / logvar_q) + (logvar_q**2 + (mu_q - mu_p) ** 2) / (2 * logvar_p**2) - 0.5).sum(1)"))
wrong(check.kl_between, "you divide the logarithms")(kl(
    EACH.replace("logvar_p - logvar_q", "logvar_p / logvar_q") + ".sum(1)"))
wrong(check.kl_between, "you divide the logarithms")(kl(
    "(logvar_p / logvar_q + (var_q + (mu_q - mu_p) ** 2) / (2 * var_p) - 0.5).sum(1)"))
wrong(check.kl_between, "the variance of q is not divided")(kl(
    "(0.5 * (logvar_p - logvar_q) + var_q + (mu_q - mu_p) ** 2 / (2 * var_p) - 0.5).sum(1)"))
wrong(check.kl_between, "the logarithm of a negative number")(kl(
    "(0.5 * (logvar_p.log() - logvar_q.log()) + (logvar_q + (mu_q - mu_p) ** 2) / (2 * logvar_p) - 0.5).sum(1)"))
wrong(check.kl_between, "the square of mu_q - mu_p is not divided")(kl(
    "(0.5 * (logvar_p - logvar_q) + var_q / (2 * var_p) + (mu_q - mu_p) ** 2 / 2 - 0.5).sum(1)"))
wrong(check.kl_between, "the variance of q is not divided")(kl(
    "0.5 * (logvar_p - logvar_q + var_q + (mu_q - mu_p) ** 2 / var_p - 1).sum(1)"))
wrong(check.kl_between, "a / 2 * b is")(kl(EACH.replace("/ (2 * var_p)", "/ 2 * var_p") + ".sum(1)"))
wrong(check.kl_between, "forgotten to square")(kl(EACH.replace(" ** 2", "") + ".sum(1)"))
wrong(check.kl_between, "forgotten to square")(kl(
    EACH.replace("(mu_q - mu_p) ** 2", "(mu_q - mu_p).abs()") + ".sum(1)"))
wrong(check.kl_between, "this is in bits")(kl(EACH + ".sum(1) / 0.693147"))
wrong(check.kl_between, "you add 1/2 in each coordinate")(kl(EACH.replace("- 0.5)", "+ 0.5)") + ".sum(1)"))
for square in ("(mu_q + mu_p) ** 2", "mu_q ** 2 - mu_p ** 2"):
    wrong(check.kl_between, "to the difference mu_q - mu_p")(kl(
        EACH.replace("(mu_q - mu_p) ** 2", square) + ".sum(1)"))
wrong(check.kl_between, "to the difference mu_q - mu_p")(kl(
    EACH.replace("(var_q + (mu_q - mu_p) ** 2)", "(var_q + mu_q - mu_p) ** 2") + ".sum(1)"))
wrong(check.kl_between, "the variance of p above and that of q below")(kl(
    EACH.replace("var_q + (", "var_p + (").replace("(2 * var_p)", "(2 * var_q)") + ".sum(1)"))
wrong(check.kl_between, "the 2 is there once")(kl(EACH.replace("(2 * var_p)", "var_p") + ".sum(1)"))
wrong(check.kl_between, "the 2 is there once")(kl(
    EACH.replace("(2 * var_p)", "(2 * (logvar_p / 2).exp()) ** 2") + ".sum(1)"))
for var in ("var_q + ", "var_p)"):
    wrong(check.kl_between, "one sigma is not squared")(kl(EACH.replace(var, var.replace(var[:5], f"{var[:5]} ** 0.5"))
                                                           + ".sum(1)"))
wrong(check.kl_between, "the variance of q is missing")(kl(EACH.replace("var_q + ", "") + ".sum(1)"))
wrong(check.kl_between, "the means are not used")(kl(
    "(0.5 * (logvar_p - logvar_q) + var_q / (2 * var_p) - 0.5).sum(1)"))


@wrong(check.kl_between, "q and p have changed places")
def _(mu_q, logvar_q, mu_p, logvar_p):
    return kl_divergence(Normal(mu_p, (logvar_p / 2).exp()), Normal(mu_q, (logvar_q / 2).exp())).sum(1)


@wrong(check.kl_between, "the KL to the standard normal")
def _(mu_q, logvar_q, mu_p, logvar_p):
    return kl_to_standard_normal(mu_q, logvar_q)


@wrong(check.kl_between, "as the logarithm of the standard deviation")
def _(mu_q, logvar_q, mu_p, logvar_p):
    return kl_divergence(Normal(mu_q, logvar_q.exp()), Normal(mu_p, logvar_p.exp())).sum(1)


@wrong(check.kl_between, "to torch.distributions.Normal as a standard deviation")
def _(mu_q, logvar_q, mu_p, logvar_p):
    return kl_divergence(Normal(mu_q, logvar_q), Normal(mu_p, logvar_p)).sum(1)


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


@right(check.kl_between)
def _(mu_q, logvar_q, mu_p, logvar_p):
    result = []
    for mu, logvar in zip(mu_q, logvar_q):
        total = 0
        for m, v, mp, vp in zip(mu, logvar, mu_p, logvar_p):
            total = total + torch.log((vp / 2).exp() / (v / 2).exp()) - 1 / 2
            total = total + (v.exp() + (m - mp) ** 2) / (2 * vp.exp())
        result.append(total)
    return torch.stack(result)


@right(check.kl_between)
def _(mu_q, logvar_q, mu_p, logvar_p):
    d = mu_q - mu_p
    quadratic = torch.einsum("bd,d->b", torch.exp(logvar_q) + d * d, torch.exp(-logvar_p))
    return (quadratic - logvar_q.sum(1) + logvar_p.sum() - mu_q.shape[1]) / 2


@right(check.kl_between)
def _(mu_q, logvar_q, mu_p, logvar_p):
    return kl_to_standard_normal((mu_q - mu_p) * (-logvar_p / 2).exp(), logvar_q - logvar_p)


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


wrong(check.negative_elbo, "the bug is still there")(elbo(f"{BCE}(logits, x)"))
wrong(check.negative_elbo, "the bug is still there")(elbo(f"{BCE}(logits, x, reduction='sum') / x.numel()"))
wrong(check.negative_elbo, "now both terms are means")(elbo(f"{BCE}(logits, x)", "kl_each.mean()"))
wrong(check.negative_elbo, "the balance of the two terms is right")(elbo(
    f"{BCE}(logits, x)", "kl_each.sum(1).mean() / x[0].numel()"))
wrong(check.negative_elbo, "a mean over the code numbers now")(elbo(kl="kl_each.mean()"))
wrong(check.negative_elbo, "counts only 1/64")(elbo(f"{BCE}(logits, x, reduction='sum')"))
wrong(check.negative_elbo, "sums over the whole batch")(elbo(f"{BCE}(logits, x, reduction='sum')", "kl_each.sum()"))
wrong(check.negative_elbo, "a sum over the batch now")(elbo(kl="kl_each.sum()"))
wrong(check.negative_elbo, "784 whatever the size")(elbo(f"28 * 28 * {BCE}(logits, x)"))
wrong(check.negative_elbo, "784 whatever the size")(elbo(f"{BCE}(logits, x)", loss="784 * reconstruction + kl"))
wrong(check.negative_elbo, "'reconstruction' is still in nats per pixel")(elbo(
    f"{BCE}(logits, x)", loss="x[0].numel() * reconstruction + kl"))
wrong(check.negative_elbo, "you subtract the KL")(elbo(f"{BCE}(logits, x)", loss="reconstruction - kl"))
wrong(check.negative_elbo, "by a squared error")(elbo("F.mse_loss(logits, x, reduction='sum') / B"))
wrong(check.negative_elbo, "by a squared error")(elbo("F.mse_loss(logits.sigmoid(), x)"))
wrong(check.negative_elbo, "that is an autoencoder")(elbo(f"{BCE}(logits, x)", loss="reconstruction"))
wrong(check.negative_elbo, "adds up the channels")(elbo(f"{PIXELS}.sum(1).mean()"))
wrong(check.negative_elbo, "the mean over the channels")(elbo(f"{PIXELS}.sum((2, 3)).mean()"))
wrong(check.negative_elbo, "you divide the KL by 784")(elbo(f"{BCE}(logits, x)", "kl_each.sum(1).mean() / 784"))
wrong(check.negative_elbo, "the pixels of a row only")(elbo(f"{PIXELS}.sum(-1).mean()"))
wrong(check.negative_elbo, "the reconstruction is one number for each image")(elbo(f"{PIXELS}.flatten(1).sum(1)"))
wrong(check.negative_elbo, "you return one number for each image")(elbo(f"{PIXELS}.sum((1, 2, 3))", "kl_each.sum(1)"))
wrong(check.negative_elbo, "you subtract the KL")(elbo(loss="reconstruction - kl"))
wrong(check.negative_elbo, "your loss is the ELBO itself")(elbo(loss="-(reconstruction + kl)"))
wrong(check.negative_elbo, "has changed its sign")(elbo(f"-{SUMMED}", loss="kl - reconstruction"))
wrong(check.negative_elbo, "the loss applies it once more")(elbo(SUMMED.replace("logits, x", "logits.sigmoid(), x")))
wrong(check.negative_elbo, "by a squared error")(elbo("((logits.sigmoid() - x) ** 2).sum() / B"))
wrong(check.negative_elbo, "that is an autoencoder")(elbo(loss="reconstruction"))
for line in ("2 * kl_each.sum(1).mean()", "-kl_each.sum(1).mean()", "kl_each.sum(0).mean()"):
    wrong(check.negative_elbo, "the KL was right as it stood")(elbo(kl=line))
wrong(check.negative_elbo, "the plain sum of the two terms")(elbo(loss="(reconstruction + kl) / 2"))
wrong(check.negative_elbo, "the plain sum of the two terms")(elbo(loss="reconstruction + kl / 784"))
wrong(check.negative_elbo, "the plain sum of the two terms")(
    elbo(f"{BCE}(logits, x)", loss="reconstruction + kl / 784"))
wrong(check.negative_elbo, "you divide by 64")(elbo(SUMMED.replace("len(x)", "64")))
wrong(check.negative_elbo, "'reconstruction' and 'kl' have changed places")(
    lambda *args: dict(zip(("loss", "kl", "reconstruction"), elbo()(*args).values())))
wrong(check.negative_elbo, "are cut from their graph")(
    lambda *args: {k: v if k == "loss" else v.item() for k, v in elbo()(*args).items()})
wrong(check.negative_elbo, "the logits come first")(elbo(SUMMED.replace("logits, x", "x, logits")))
wrong(check.negative_elbo, "adds up the channels")(elbo(f"{PIXELS}.sum(1).sum(1).mean()"))
wrong(check.negative_elbo, "no entry 'reconstruction'")(lambda *args: {"loss": elbo()(*args)["loss"]})
wrong(check.negative_elbo, "a dict with 'loss'")(lambda *args: elbo()(*args)["loss"])

right(check.negative_elbo)(elbo())
right(check.negative_elbo)(elbo(f"{PIXELS}.sum(dim=(1, 2, 3)).mean()", "torch.mean(torch.sum(kl_each, dim=-1), dim=0)"))
right(check.negative_elbo)(elbo(f"x[0].numel() * {BCE}(logits, x)", "kl_each.mean() * mu.shape[1]"))


@right(check.negative_elbo)
def _(logits, x, mu, logvar):
    reconstruction = -bernoulli_log_prob(logits, x).mean()
    kl = kl_divergence(Normal(mu, (logvar / 2).exp()), Normal(0.0, 1.0)).sum() / len(mu)
    return {"loss": kl + reconstruction, "kl": kl, "reconstruction": reconstruction}


@right(check.negative_elbo)
def _(logits, x, mu, logvar):
    losses, kls = [], []
    for i in range(len(x)):
        losses.append(-Bernoulli(logits=logits[i], validate_args=False).log_prob(x[i]).sum())
        kls.append(kl_to_standard_normal(mu[i:i + 1], logvar[i:i + 1]))
    reconstruction, kl = sum(losses) / len(losses), torch.cat(kls).mean()
    return {"reconstruction": reconstruction, "kl": kl, "loss": reconstruction + kl}


# --- 4


@wrong(check.free_bits, "compare each image alone with the floor: take")
def _(kl_each, floor):
    return torch.clamp(kl_each, min=floor).mean(0).sum()


@wrong(check.free_bits, "compare each image alone with the floor: take")
def _(kl_each, floor):
    return kl_each.clamp(min=floor).sum(1).mean()


@wrong(check.free_bits, "the smaller of the two")
def _(kl_each, floor):
    return kl_each.mean(0).clamp(max=floor).sum()


@wrong(check.free_bits, "you compare it with the KL of the whole code")
def _(kl_each, floor):
    return torch.clamp(kl_each.sum(1).mean(), min=floor)


@wrong(check.free_bits, "the KL of each image's whole code")
def _(kl_each, floor):
    return kl_each.sum(1).clamp(min=floor).mean()


@wrong(check.free_bits, "the whole KL with D floors")
def _(kl_each, floor):
    return kl_each.sum(1).mean().clamp(min=kl_each.shape[1] * floor)


@wrong(check.free_bits, "only what lies above the floor")
def _(kl_each, floor):
    return F.relu(kl_each.mean(0) - floor).sum()


@wrong(check.free_bits, "counts 0 in your sum")
def _(kl_each, floor):
    kl = kl_each.mean(0)
    return kl[kl > floor].sum()


@wrong(check.free_bits, "you add the floor to each term")
def _(kl_each, floor):
    return (kl_each.mean(0) + floor).sum()


@wrong(check.free_bits, "the floor has no effect: this is the plain KL")
def _(kl_each, floor):
    return kl_each.sum(1).mean()


@wrong(check.free_bits, "there is no floor in it")
def _(kl_each, floor):
    return kl_each.sum(1)


@wrong(check.free_bits, "one number for each of the D")
def _(kl_each, floor):
    return kl_each.mean(0).clamp(min=floor)


@wrong(check.free_bits, "the mean over the D code numbers")
def _(kl_each, floor):
    return kl_each.mean(0).clamp(min=floor).mean()


@wrong(check.free_bits, "the whole table: take")
def _(kl_each, floor):
    return torch.where(kl_each < floor, torch.full_like(kl_each, floor), kl_each)


@wrong(check.free_bits, "one number for each: first")
def _(kl_each, floor):
    return kl_each.clamp(min=floor).sum(dim=1)


@wrong(check.free_bits, "you add up the images of the batch: take")
def _(kl_each, floor):
    return kl_each.sum(0).clamp(min=floor).sum()


wrong(check.free_bits, "the B shares of each mean")(
    lambda kl_each, floor: (kl_each / len(kl_each)).clamp(min=floor).sum())


@wrong(check.free_bits, "the sum over the batch with the floor")
def _(kl_each, floor):
    return torch.clamp(kl_each.sum(0), min=floor).sum() / kl_each.shape[0]


@wrong(check.free_bits, "and add up the batch: first")
def _(kl_each, floor):
    return kl_each.clamp(min=floor).sum()


@wrong(check.free_bits, "the batch is axis 0")
def _(kl_each, floor):
    return kl_each.mean(1).clamp(min=floor).sum()


@wrong(check.free_bits, "the mean over the whole table")
def _(kl_each, floor):
    return kl_each.mean().clamp(min=floor)


@wrong(check.free_bits, "cannot be differentiated")
def _(kl_each, floor):
    return sum(max(floor, m.item()) for m in kl_each.mean(0))


@wrong(check.free_bits, "TypeError")
def _(kl_each, floor):
    return torch.maximum(kl_each.mean(0), floor).sum()


@wrong(check.free_bits, "Boolean value of Tensor")
def _(kl_each, floor):
    return max(floor, kl_each.mean(0)).sum()


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


@right(check.free_bits)
def _(kl_each, floor):
    means = torch.einsum("bd->d", kl_each) / kl_each.shape[0]
    return floor * len(means) + F.relu(means - floor).sum()


# --- 5


class Later:
    """A number that depends on the shipped checkpoint: computed when it is looked at."""

    def __init__(self, f=check._ratio, **change):
        self.f, self.change = f, change

    def __float__(self):
        return float(self.f(**self.change))


wrong(check.variance_ratio, "has the smaller variance")(Later(lambda: 1 / check._ratio()))
wrong(check.variance_ratio, "the ratio of the standard deviations")(Later(lambda: check._ratio() ** 0.5))
wrong(check.variance_ratio, "has the smaller variance")(Later(power=0))
wrong(check.variance_ratio, "multiplied f by z - mu")(Later(power=1))
wrong(check.variance_ratio, "divided eps by sigma**2")(Later(power=-2))
wrong(check.variance_ratio, "without a baseline")(Later(baseline="none"))
wrong(check.variance_ratio, "your baseline is f(mu)")(Later(baseline="at mu"))
wrong(check.variance_ratio, "how many times the baseline lowers")(Later(
    lambda: check._ratio(baseline="none") / check._ratio()))
wrong(check.variance_ratio, "the mean squares")(Later(check._ratio_of_squares))
wrong(check.variance_ratio, "4000 times too small")(Later(lambda: check._ratio() * 4000**2))
wrong(check.variance_ratio, "10000 times too small")(Later(lambda: check._ratio() * 1e8))
wrong(check.variance_ratio, "the variances are far from equal")(1.02)
wrong(check.variance_ratio, "is too large")(Later(lambda: check._ratio() * 3))
right(check.variance_ratio)(Later(lambda: check._ratio() * 1.03))
right(check.variance_ratio)(Later(lambda: np.float64(check._ratio() * 0.96)))
