"""Images as words. A VQ-VAE (van den Oord et al., 2017) has an encoder that gives a vector to each of 7x7 places; a
codebook of K vectors, of which the nearest takes the place of each; and a decoder. What is left of an image is which.

    model = VQVAE(VQVAEConfig()).start(x);  fit(model, vqvae_loss, Batches(x), steps=400)
    tokens = model.encode(x);  model.decode(tokens)               # (n, 49) whole numbers below K, and images again

The nearest vector has no gradient: see `straight_through`. A codebook may lose its words: see `ema_step`, `restarted`.
`FSQ` rounds a few numbers instead, and has no codebook to lose.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from course_lib.autoencoder import ResidualBlock
from course_lib.expect import between, finite, floats, indices, probabilities, same_shape, sizes, whole
from course_lib.gaussians import kmeans_plus_plus
from course_lib.vae import bernoulli_log_prob


@dataclass
class VQVAEConfig:
    n_code: int = 128                          # K, how many words there are; with levels, their product counts
    n_embd: int = 8                            # numbers a code; with levels, as many as these
    n_channel: int = 32                        # width at 14x14; twice as wide at 7x7
    sharpness: float = 1.0                     # factor on the logits of decoded images; no part of the likelihood
    levels: tuple[int, ...] = ()               # finite scalar quantisation with so many steps for each number
    wide: bool = False                         # each word sees nearly the whole image, not only 8x8 pixels at its place


# ---------------------------------------------------------------------------------------------------- the mathematics

def nearest(z: Tensor, codebook: Tensor) -> Tensor:
    """Which code is nearest to each vector, by Euclidean distance; of equals, the first.  (N, D), (K, D) -> (N,)"""
    z = _vectors("z", z, codebook)
    with torch.autocast(z.device.type, enabled=False):            # 8 bits of a bfloat16 mistake one code for another
        return (codebook.square().sum(1) - 2 * z.float() @ codebook.float().T).argmin(1)   # |z|^2 is the same for all


def straight_through(z: Tensor, q: Tensor) -> Tensor:
    """The value of q with the gradient of z: the decoder sees codes, and the encoder learns as if there were none.
    Its Jacobian by z is the identity, that by q is 0.  (...), (...) -> (...)
    Van den Oord et al. (2017), section 3.2"""
    same_shape(z=z, q=q)
    return z + (q - z).detach()


@torch.no_grad()
def ema_step(codebook: Tensor, count: Tensor, z: Tensor, idx: Tensor, decay: float = 0.99) -> tuple[Tensor, Tensor]:
    """Move each code to the mean of the vectors that chose it, those of earlier batches included with less and less
    weight.  codebook (K, D), count (K,), z (N, D), idx (N,) -> the new codebook and the new count

        count'_k = decay count_k + n_k        code'_k = (decay count_k code_k + sum of its vectors) / count'_k

    n_k vectors of the batch chose code k. This is a step of mini-batch k-means: with decay = 1, of Sculley's (2010, and
    scikit-learn's), with decay = 0 of Lloyd's on this batch. Van den Oord et al. (2017, appendix A.1) put a factor
    1 - decay before what is new, in both lines; it cancels. A code that no vector ever chose stays where it is.
    """
    z = _vectors("z", z, codebook).to(codebook.dtype)
    idx = indices("idx", idx, len(codebook), len(z))
    between(0, 1, decay=decay)
    same_shape(1, count=count, **{"a row of the codebook's": codebook[:, 0]})
    old = decay * count                                                       # (K,)
    new = old.index_add(0, idx, torch.ones_like(idx, dtype=count.dtype))      # (K,) one a vector
    total = (old.unsqueeze(1) * codebook).index_add(0, idx, z)                # (K, D)
    return torch.where(new.unsqueeze(1) > 0, total / new.clamp(min=1e-12).unsqueeze(1), codebook), new


@torch.no_grad()
def restarted(codebook: Tensor, count: Tensor, z: Tensor, share: float = 0.05,
              generator: torch.Generator | None = None) -> tuple[Tensor, Tensor]:
    """Give dead codes another life: those that stand for less than `share` of their fair part (the mean count) move to
    vectors of the batch, drawn at random.  codebook (K, D), count (K,), z (N, D) -> codebook and count, changed

    A restarted code gets the count at which codes die, so that it lives on if one vector chooses it, and moves fast.
    Dhariwal et al. (2020, "Jukebox", section 3.1)"""
    z = _vectors("z", z, codebook).to(codebook.dtype)
    between(0, 1, share=share)
    same_shape(1, count=count, **{"a row of the codebook's": codebook[:, 0]})
    least = share * count.mean()
    dead = count < least                                                                                      # (K,)
    chosen = torch.randint(len(z), (len(codebook),), generator=generator, device=z.device)                    # (K,)
    return torch.where(dead.unsqueeze(1), z[chosen], codebook), torch.where(dead, least, count)


def perplexity(idx: Tensor, n_code: int) -> Tensor:
    """How many codes are in use, as if all of these were used equally often: exp of the entropy of their shares.
    Between 1 and n_code.  idx: whole numbers of any shape -> one number"""
    whole(1, n_code=n_code)
    idx = indices("idx", idx.flatten(), n_code, "N")
    each = torch.ones_like(idx, dtype=torch.float32) / len(idx)
    return torch.special.entr(torch.zeros(n_code, device=idx.device).index_add_(0, idx, each)).sum().exp()


def fsq_bound(z: Tensor, levels: tuple[int, ...], eps: float = 1e-3) -> Tensor:
    """Squeeze each of the D numbers into the reach of its levels: what `round` makes of it are `levels[i]` neighbouring
    whole numbers.  z (..., D) -> (..., D)   Mentzer et al. (2024), appendix A.1"""
    L = _levels(z, levels)
    half = (L - 1) * (1 - eps) / 2
    offset = torch.where(L % 2 == 0, 0.5, 0.0).to(z.dtype)        # an even number of levels cannot lie around 0
    return (z + (offset / half).tan()).tanh() * half - offset


def fsq(z: Tensor, levels: tuple[int, ...]) -> Tensor:
    """Finite scalar quantisation: each number of z is squeezed, rounded, and scaled to [-1, 1], with the gradient of
    the squeezed one.  z (..., D) -> (..., D)   Mentzer et al. (2024), section 3.1"""
    squeezed = fsq_bound(z, levels)
    return straight_through(squeezed, squeezed.round()) / (_levels(z, levels) // 2)


# ------------------------------------------------------------------------------------------------------ the codebooks

class Codebook(nn.Module):
    """K vectors, and how many vectors each stood for lately. With `ema_step` no gradient reaches them."""

    def __init__(self, n_code: int, n_embd: int):
        super().__init__()
        whole(1, n_code=n_code, n_embd=n_embd)
        self.vectors = nn.Parameter(torch.randn(n_code, n_embd))
        self.register_buffer("count", torch.zeros(n_code))

    def index(self, z: Tensor) -> Tensor:                         # (N, D)
        return nearest(z, self.vectors)                           # (N,)

    def lookup(self, idx: Tensor) -> Tensor:                      # (...)
        return self.vectors[idx]                                  # (..., D)

    @torch.no_grad()
    def start(self, z: Tensor, steps: int = 10, generator: torch.Generator | None = None) -> "Codebook":
        """Begin at data: k-means++ and Lloyd's k-means on vectors z (N, D), N >= K."""
        z = _vectors("z", z, self.vectors).to(self.vectors.dtype)
        self.vectors.copy_(kmeans_plus_plus(z, len(self.vectors), generator))
        for _ in range(steps):
            codes, _ = ema_step(self.vectors, self.count, z, self.index(z), decay=0)
            self.vectors.copy_(codes)
        return self

    @torch.no_grad()
    def follow(self, z: Tensor, idx: Tensor, decay: float, share: float) -> None:
        """One step after the encoder: `ema_step`, and `restarted` unless share is 0."""
        codes, count = ema_step(self.vectors, self.count, z, idx, decay)
        if share:
            codes, count = restarted(codes, count, z, share)
        self.vectors.copy_(codes)
        self.count.copy_(count)


class FSQ(nn.Module):
    """Finite scalar quantisation as a codebook: its words are all combinations of the levels, and never move."""

    def __init__(self, levels: tuple[int, ...]):
        super().__init__()
        whole(2, **{f"levels[{i}]": n for i, n in enumerate(levels)}, **{} if levels else {"the number of levels": 0})
        self.levels = tuple(levels)
        basis = [math.prod(self.levels[:i]) for i in range(len(self.levels))]
        self.register_buffer("basis", torch.tensor(basis), persistent=False)                  # (D,) 1, L_1, L_1 L_2 ...
        self.register_buffer("middle", torch.tensor([n // 2 for n in self.levels]), persistent=False)

    def index(self, z: Tensor) -> Tensor:
        """The digits of a number in a mixed base, the first counting least.  (N, D) -> (N,)"""
        return ((fsq_bound(z.float(), self.levels).round().long() + self.middle) * self.basis).sum(-1)

    def lookup(self, idx: Tensor) -> Tensor:                      # (...)
        L = torch.tensor(self.levels, device=idx.device)
        return ((idx.unsqueeze(-1) // self.basis) % L - self.middle) / self.middle                # (..., D)


# ----------------------------------------------------------------------------------------------------------- the model

class VQVAE(nn.Module):
    """Images <-> tokens: (n, 1, 28, 28) in [0, 1] <-> (n, 49) whole numbers below `K`, row by row of `grid` = (7, 7).

    `codes` is a `Codebook`, or `FSQ` if the configuration has levels."""

    grid = (7, 7)

    def __init__(self, config: VQVAEConfig):
        super().__init__()
        sizes(config)
        self.config, c = config, config.n_channel
        levels = tuple(config.levels)                             # a file keeps a list
        self.codes = FSQ(levels) if levels else Codebook(config.n_code, config.n_embd)
        self.K, self.n_embd = (math.prod(levels), len(levels)) if levels else (config.n_code, config.n_embd)
        if config.wide:
            self.encoder = nn.Sequential(
                nn.PixelUnshuffle(2), nn.Conv2d(4, c, 3, padding=1), ResidualBlock(c),            # (B, c, 14, 14)
                nn.Conv2d(c, 2 * c, 3, stride=2, padding=1), ResidualBlock(2 * c), nn.SiLU(),     # (B, 2c, 7, 7)
                nn.Conv2d(2 * c, self.n_embd, 1),                                                 # (B, n_embd, 7, 7)
            )
        else:
            self.encoder = nn.Sequential(
                nn.PixelUnshuffle(2), nn.Conv2d(4, c, 3, padding=1), nn.SiLU(),                   # (B, c, 14, 14)
                nn.Conv2d(c, 2 * c, 2, stride=2), nn.SiLU(), nn.Conv2d(2 * c, 2 * c, 1), nn.SiLU(),     # (B, 2c, 7, 7)
                nn.Conv2d(2 * c, self.n_embd, 1),                                                 # (B, n_embd, 7, 7)
            )
        self.decoder = nn.Sequential(
            nn.Conv2d(self.n_embd, 2 * c, 3, padding=1), ResidualBlock(2 * c), ResidualBlock(2 * c),
            nn.Conv2d(2 * c, 4 * c, 1), nn.PixelShuffle(2),                                       # (B, c, 14, 14)
            ResidualBlock(c), nn.SiLU(), nn.Conv2d(c, 4, 3, padding=1), nn.PixelShuffle(2),       # (B, 1, 28, 28)
        )

    def vectors(self, x: Tensor) -> Tensor:
        """What the encoder says, before anything is rounded.  (B, 1, 28, 28) -> (B, 49, n_embd)"""
        return self.encoder(floats(x, 1, 28, 28, like=self.encoder[1].weight)).flatten(2).transpose(1, 2).float()

    def draw(self, q: Tensor) -> Tensor:
        """Logits of pixels, from vectors.  (B, 49, n_embd) -> (B, 1, 28, 28)"""
        q = floats(q, 49, self.n_embd, like=self.decoder[0].weight, what="vectors")
        return self.decoder(q.transpose(1, 2).unflatten(2, self.grid))

    @torch.no_grad()
    def encode(self, x: Tensor) -> Tensor:
        """The words of images.  (B, 1, 28, 28) -> (B, 49) int64, each from 0 to K - 1"""
        return self.codes.index(self.vectors(x).flatten(0, 1)).view(len(x), -1)

    @torch.no_grad()
    def decode(self, tokens: Tensor) -> Tensor:
        """The images of words.  (B, 49) -> (B, 1, 28, 28) in [0, 1], with more contrast if sharpness > 1"""
        tokens = indices("tokens", tokens, self.K, "B", 49)
        return (self.config.sharpness * self.draw(self.codes.lookup(tokens))).sigmoid()

    def forward(self, x: Tensor) -> Tensor:
        return self.decode(self.encode(x))

    @torch.no_grad()
    def start(self, x: Tensor, generator: torch.Generator | None = None) -> "VQVAE":
        """Let the codebook begin at what the encoder says of images x (N, 1, 28, 28); FSQ has nothing to begin."""
        if isinstance(self.codes, Codebook):
            self.codes.start(self.vectors(probabilities(x)).flatten(0, 1), generator=generator)
        return self


# -------------------------------------------------------------------------------------------------------- the training

def vqvae_loss(model: VQVAE, x: Tensor, beta: float = 0.25, decay: float | None = 0.99, restart: float = 0.05,
               ) -> dict[str, Tensor]:
    """What `fit` minimises for a codebook: reconstruction + beta * commitment, summed over the pixels and the places of
    an image, mean over images. In training, the codebook moves too.  x (B, 1, 28, 28) in [0, 1]

    beta      weight of the commitment |z - sg(code)|^2, which keeps the encoder near the codes that it chose
    decay     of `ema_step`; None: codes learn by gradient, from |sg(z) - code|^2, as van den Oord et al. had it first
    restart   the share below which codes are restarted; 0: never, and with decay=None never either
    "perplexity" is that of the batch."""
    finite(0, beta=beta, restart=restart)
    z = model.vectors(x)                                          # (B, 49, D)
    idx = model.codes.index(z.detach().flatten(0, 1))             # (B * 49,)
    q = model.codes.lookup(idx).view_as(z)                        # (B, 49, D)
    reconstruction = -bernoulli_log_prob(model.draw(straight_through(z, q)).float(), x).mean()
    commitment = (z - q.detach()).square().flatten(1).sum(1).mean()
    loss = reconstruction + beta * commitment
    if decay is None:
        loss = loss + (q - z.detach()).square().flatten(1).sum(1).mean()
    elif model.training:
        model.codes.follow(z.detach().flatten(0, 1), idx, decay, restart)
    return {"loss": loss, "reconstruction": reconstruction, "commitment": commitment,
            "perplexity": perplexity(idx, model.K)}


def fsq_loss(model: VQVAE, x: Tensor) -> dict[str, Tensor]:
    """The same for FSQ: reconstruction alone. There is no codebook to move, and nothing to commit to."""
    z = model.vectors(x)                                          # (B, 49, D)
    reconstruction = -bernoulli_log_prob(model.draw(fsq(z, model.codes.levels)).float(), x).mean()
    return {"loss": reconstruction, "perplexity": perplexity(model.codes.index(z.detach().flatten(0, 1)), model.K)}


# ----------------------------------------------------------------------------------------------------------- the parts

def _vectors(name: str, z: Tensor, codebook: Tensor) -> Tensor:
    """Vectors (N, D) as long as the codes."""
    if codebook.ndim != 2 or not codebook.numel():
        raise ValueError(f"a codebook has the shape (K, D), not {tuple(codebook.shape)}")
    return floats(z, codebook.shape[1], like=z, what=name)


def _levels(z: Tensor, levels: tuple[int, ...]) -> Tensor:
    """How many levels each number has, beside z.  -> (D,)"""
    whole(2, **{f"levels[{i}]": n for i, n in enumerate(levels)})
    if not z.is_floating_point() or z.shape[-1:] != (len(levels),):
        raise ValueError(f"levels={tuple(levels)} quantise {len(levels)} numbers, got {z.dtype} {tuple(z.shape)}")
    return torch.tensor(levels, device=z.device)
