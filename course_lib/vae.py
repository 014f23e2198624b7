"""Variational autoencoders: an encoder that answers with a bell curve instead of a point, a decoder that draws, and the
bound on log p(x) that trains both.

    log p(x)  >=  E_q(z|x) [ log p(x|z) ]  -  KL( q(z|x) || p(z) )                                     the ELBO
                  how well codes drawn from q    how much q says about x,
                  give the image back            beyond what the prior p(z) = N(0, I) says

Everything is in nats per image, pixels and codes summed and never averaged, so that beta = 1 is the bound itself.
Kingma & Welling (2014).
"""

import itertools
import math
from dataclasses import asdict, dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from course_lib.autoencoder import Decoder, Encoder
from course_lib.expect import finite, probabilities, same_shape, sizes, whole
from course_lib.gaussians import cholesky, em, gaussian_log_prob, kmeans_plus_plus


@dataclass
class VAEConfig:
    n_latent: int = 8                          # length of a code
    n_channel: int = 16                        # width at 14x14; twice as wide at 7x7
    sharpness: float = 1.0                     # factor on the logits of drawn images; no part of the likelihood


@dataclass
class MixtureVAEConfig(VAEConfig):
    n_gaussian: int = 20                       # of the prior that is fitted to the codes


# ---------------------------------------------------------------------------------------------------- the mathematics

def reparameterize(mu: Tensor, logvar: Tensor, generator: torch.Generator | None = None) -> Tensor:
    """Draw z ~ N(mu, exp(logvar)) so that z is differentiable in both.  (B, D), (B, D) -> (B, D)"""
    same_shape(2, mu=mu, logvar=logvar)
    eps = torch.randn(mu.shape, generator=generator, device=mu.device, dtype=mu.dtype)
    return mu + (0.5 * logvar).exp() * eps                        # exp(logvar / 2) is the standard deviation


def kl_per_dimension(mu: Tensor, logvar: Tensor) -> Tensor:
    """KL( N(mu, exp(logvar)) || N(0, 1) ) of each number of a code, in nats >= 0.  (B, D), (B, D) -> (B, D)

    Kingma & Welling (2014), appendix B."""
    same_shape(2, mu=mu, logvar=logvar)
    return 0.5 * (mu**2 + logvar.expm1() - logvar)                # expm1: exp(logvar) - 1 without rounding


def kl_to_standard_normal(mu: Tensor, logvar: Tensor) -> Tensor:
    """KL( N(mu, exp(logvar)) || N(0, I) ), in nats per example: summed over the code.  (B, D), (B, D) -> (B,)"""
    return kl_per_dimension(mu, logvar).sum(1)


def bernoulli_log_prob(logits: Tensor, x: Tensor) -> Tensor:
    """log p(x | z) in nats per image, pixels summed: each pixel a coin that shows ink with probability sigmoid(logit).

    logits and x (B, ...) alike, x in [0, 1] -> (B,).  A probability for black-and-white images only. Of grey values it
    is the mean over all black-and-white images whose pixels are inked with these probabilities: good to train with, no
    likelihood.
    """
    same_shape(logits=logits, images=x)
    return -F.binary_cross_entropy_with_logits(logits, probabilities(x), reduction="none").reshape(len(x), -1).sum(1)


def elbo(model: "VAE", x: Tensor, generator: torch.Generator | None = None) -> Tensor:
    """A lower bound of log p(x) in nats per image, estimated with one code for each.  (B, 1, 28, 28) -> (B,)

    Its mean over many draws is the bound: a single value has noise. For black-and-white x; see `bernoulli_log_prob`."""
    mu, logvar = model.encode(x)                                  # 2 x (B, D)
    z = reparameterize(mu, logvar, generator)                     # (B, D)
    return bernoulli_log_prob(model.decoder(z), x) - kl_to_standard_normal(mu, logvar)


def bits_per_dimension(nats: Tensor | float, n: int) -> Tensor | float:
    """log p(x) in nats -> code length in bits for each of the n numbers of x: -nats / (n log 2). Lower is better."""
    whole(1, n=n)
    return -nats / (n * math.log(2))


# -------------------------------------------------------------------------------------------------------- the training

def vae_loss(model: "VAE", x: Tensor, beta: float = 1.0, free_bits: float = 0.0) -> dict[str, Tensor]:
    """What `fit` minimises: the mean over the batch of  reconstruction + beta * kl,  which at beta = 1 is -ELBO.

    x (B, 1, 28, 28) in [0, 1] -> "loss", "reconstruction" = -log p(x|z) and "kl", all in nats per image.
    beta        weight of the KL term; other values than 1 are no bound (Higgins et al., 2017)
    free_bits   nats that each number of the code may hold (mean over the batch) before the loss counts them; they
                stop a number from being switched off (Kingma et al., 2016). "kl" stays the real one.
    """
    finite(0, beta=beta, free_bits=free_bits)
    mu, logvar = model.encode(x)
    logits = model.decoder(reparameterize(mu, logvar))            # (B, 1, 28, 28)
    reconstruction = -bernoulli_log_prob(logits, x).mean()
    kl = kl_per_dimension(mu, logvar).mean(0)                     # (D,)
    loss = reconstruction + beta * kl.clamp(min=free_bits).sum()
    return {"loss": loss, "reconstruction": reconstruction, "kl": kl.sum()}


def annealed(steps: int, loss=vae_loss, **settings):
    """`loss`, anything with a setting `beta`, with beta rising from 0 to 1 over its first `steps` calls (Bowman et al.,
    2016). The loss function that it returns counts its calls: make a new one for each training."""
    whole(1, steps=steps)
    calls = itertools.count()

    def loss_fn(model: nn.Module, x: Tensor) -> dict[str, Tensor]:
        return loss(model, x, beta=min(1.0, next(calls) / steps), **settings)

    return loss_fn


# ---------------------------------------------------------------------------------------------------------- the models

class VAE(nn.Module):
    """q(z|x) = N(mu(x), diag exp(logvar(x))),  p(z) = N(0, I),  p(x|z) = a coin for each pixel."""

    def __init__(self, config: VAEConfig):
        super().__init__()
        sizes(config)
        self.config = config
        self.encoder = Encoder(2 * config.n_latent, config.n_channel)
        self.decoder = Decoder(config.n_latent, config.n_channel)

    def encode(self, x: Tensor) -> tuple[Tensor, Tensor]:         # (B, 1, 28, 28)
        """Mean and log-variance of q(z|x).  (B, 1, 28, 28) -> (B, n_latent), (B, n_latent)"""
        mu, logvar = self.encoder(x).chunk(2, dim=1)
        return mu, logvar

    def decode(self, z: Tensor) -> Tensor:
        """The image of a code, in [0, 1]: the mean of p(x|z), or with sharpness > 1 one of more contrast, since a mean
        is grey wherever the decoder is not sure.  (B, n_latent) -> (B, 1, 28, 28)"""
        return (self.config.sharpness * self.decoder(z)).sigmoid()

    def draw_code(self, n: int, generator: torch.Generator | None = None) -> Tensor:
        """n codes from the prior p(z) = N(0, I).  -> (n, n_latent)"""
        whole(1, n=n)
        at = next(self.parameters())
        return torch.randn(n, self.config.n_latent, generator=generator, device=at.device, dtype=at.dtype)

    @torch.no_grad()
    def sample(self, n: int, generator: torch.Generator | None = None) -> Tensor:
        """n new images in [0, 1]: codes from the prior, decoded.  -> (n, 1, 28, 28)"""
        return self.decode(self.draw_code(n, generator))


class MixtureVAE(VAE):
    """The same VAE with another prior: a mixture of Gaussians, fitted after training to the codes of real images."""

    def __init__(self, config: MixtureVAEConfig):
        super().__init__(config)
        K, D = config.n_gaussian, config.n_latent
        self.register_buffer("log_weight", torch.full((K,), -math.log(K)))    # log p(k)
        self.register_buffer("mu", torch.zeros(K, D))
        self.register_buffer("scale", torch.eye(D).repeat(K, 1, 1))           # Cholesky factors of the covariances

    @classmethod
    @torch.no_grad()
    def fit(cls, vae: VAE, x: Tensor, *, n_gaussian: int = 20, steps: int = 50, pool: float = 20.0,
            generator: torch.Generator | None = None) -> "MixtureVAE":
        """Fit the prior to codes z ~ q(z|x), one for each image, by EM; encoder and decoder stay as they are.

        x (N, 1, 28, 28), N >= n_gaussian.  pool: see `gaussians.em`.  generator: on the CPU, where the fitting is done.
        """
        whole(1, len(probabilities(x)), n_gaussian=n_gaussian)
        model = cls(MixtureVAEConfig(**asdict(vae.config) | {"n_gaussian": n_gaussian})).to(x.device)
        model.encoder.load_state_dict(vae.encoder.state_dict())   # all but the prior, which may be another mixture
        model.decoder.load_state_dict(vae.decoder.state_dict())
        mu, logvar = (torch.cat(part).cpu().double() for part in zip(*(vae.encode(b) for b in x.split(500))))
        z = reparameterize(mu, logvar, generator)                 # (N, n_latent) float64
        weight, mu, cov, _ = em(z, kmeans_plus_plus(z, n_gaussian, generator), steps, pool=pool)
        for name, value in dict(log_weight=weight.log(), mu=mu, scale=cholesky(cov)).items():
            getattr(model, name).copy_(value)
        return model.eval()

    def log_prior(self, z: Tensor) -> Tensor:
        """log p(z) of the fitted mixture in nats.  (B, n_latent) -> (B,)"""
        return (self.log_weight + gaussian_log_prob(z, self.mu, self.scale)).logsumexp(1)

    def draw_code(self, n: int, generator: torch.Generator | None = None) -> Tensor:
        """n codes from the fitted mixture.  -> (n, n_latent)"""
        whole(1, n=n)
        k = torch.multinomial(self.log_weight.exp(), n, replacement=True, generator=generator)   # (n,)
        eps = torch.randn(n, self.config.n_latent, 1, generator=generator, device=self.mu.device, dtype=self.mu.dtype)
        return self.mu[k] + (self.scale[k] @ eps).squeeze(-1)
