"""Learning without labels: corrupt a picture or hide most of it, and train a network to put it back.

    fit(model, partial(denoising_loss, corrupt=partial(add_noise, std=0.5)), Batches(x), steps=1000)       # DAE
    fit(MAE(MAEConfig()), partial(mae_loss, n_keep=12), Batches(x), steps=1000)         # 37 of 49 patches hidden
    model = load("masked_codes");  model.fill_in(x, kept, seeded(0))                    # one of many answers

A patch is a square of pixels; patches are numbered row by row. The network that sees only some of them is a small
vision transformer (Dosovitskiy et al., 2021), made of the blocks of `transformer`.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from course_lib.expect import above, between, finite, floats, indices, same_shape, sizes, whole
from course_lib.gaussians import kmeans_plus_plus
from course_lib.transformer import Block, initialise

# ---------------------------------------------------------------------------------------------------------- corruption

def blank(x: Tensor, share: float, generator: torch.Generator | None = None) -> Tensor:
    """Every pixel becomes 0 with probability `share`, each for itself.  (B, C, H, W) -> (B, C, H, W)"""
    between(0, 1, share=share)
    same_shape(4, images=x)
    return x * (_uniform(x, generator) >= share)


def add_noise(x: Tensor, std: float, generator: torch.Generator | None = None) -> Tensor:
    """x + std eps, eps from N(0, I); values leave [0, 1].  Any shape."""
    finite(0, std=std)
    same_shape(x=x)
    return x + std * torch.randn(x.shape, generator=generator, dtype=x.dtype, device=x.device)


def salt_and_pepper(x: Tensor, share: float, generator: torch.Generator | None = None) -> Tensor:
    """Every pixel becomes 0 or 1, each with probability share / 2.  (B, C, H, W) -> (B, C, H, W)"""
    between(0, 1, share=share)
    same_shape(4, images=x)
    u = _uniform(x, generator)
    return torch.where(u < share, (u < share / 2).to(x), x)


def denoising_loss(model, x: Tensor, corrupt) -> dict[str, Tensor]:
    """Squared error between x and what the model makes of corrupt(x), summed over the pixels of an image, mean over
    images (Vincent et al., 2008).  model, corrupt: (B, ...) -> (B, ...)"""
    rebuilt = model(corrupt(x))
    same_shape(reconstructions=rebuilt, images=x)
    return {"loss": (rebuilt - x).square().flatten(1).sum(1).mean()}


# --------------------------------------------------------------------------------------------------- the best denoiser

def posterior_mean(y: Tensor, means: Tensor, std: float, noise: float) -> Tensor:
    """E[x | y], the best guess by squared error, where x is drawn from an equal mixture of round Gaussians
    N(means[k], std^2 I), and y = x + noise eps.  y (B, D), means (K, D) -> (B, D)

    Given k, it lies on the way from means[k] to y, std^2 / (std^2 + noise^2) of the way; the K guesses are weighted by
    p(k | y).  std = 0 will do: then x is one of the means.  Raises ValueError for noise = 0."""
    finite(0, std=std)
    above(0, noise=noise)
    same_shape(2, **{"a point y": y[:1], "a mean": means[:1]})
    total = std**2 + noise**2
    weight = (-torch.cdist(y, means).square() / (2 * total)).softmax(1)       # (B, K) p(k | y)
    return y + noise**2 / total * (weight @ means - y)


def noisy_score(y: Tensor, means: Tensor, std: float, noise: float) -> Tensor:
    """The gradient of log p(y), p the density of what the noise has made of the mixture: where it is uphill.

    (E[x | y] - y) / noise^2: Tweedie's formula (Efron, 2011), learned by denoising (Vincent, 2011).  -> (B, D)"""
    return (posterior_mean(y, means, std, noise) - y) / noise**2


# ------------------------------------------------------------------------------------------------------------- patches

def patchify(x: Tensor, patch: int) -> Tensor:
    """Cut images into squares, row by row.  (B, C, H, W) -> (B, H/patch * W/patch, C * patch^2)"""
    whole(1, patch=patch)
    same_shape(4, images=x)
    if x.shape[2] % patch or x.shape[3] % patch:
        raise ValueError(f"patch={patch} must divide height and width of images of shape {tuple(x.shape)}")
    return F.unfold(x, patch, stride=patch).transpose(1, 2)


def unpatchify(patches: Tensor, shape: tuple[int, int, int]) -> Tensor:
    """The inverse of `patchify`.  (B, T, C * patch^2), shape (C, H, W) -> (B, C, H, W)"""
    same_shape(3, patches=patches)
    C, H, W = shape
    patch = round((patches.shape[2] / C) ** 0.5)
    if (patches.shape[1] * patches.shape[2], patches.shape[2]) != (C * H * W, C * patch**2) or H % patch or W % patch:
        raise ValueError(f"patches of shape {tuple(patches.shape)} do not make images of shape {tuple(shape)}")
    return F.fold(patches.transpose(1, 2), (H, W), patch, stride=patch)


def choose(n: int, n_patch: int, n_keep: int, generator: torch.Generator | None = None,
           device: torch.device | str | None = None) -> Tensor:
    """For each of n images, which patches are kept: n_keep different numbers of 0 ... n_patch - 1, in random order.
    -> (n, n_keep) int64"""
    whole(1, n=n, n_patch=n_patch)
    whole(0, n_patch, n_keep=n_keep)
    return torch.rand(n, n_patch, generator=generator, device=device).argsort(1)[:, :n_keep]


def hidden(kept: Tensor, n_patch: int) -> Tensor:
    """True where a patch is not among the kept ones.  kept (B, n_keep) -> (B, n_patch) bool"""
    kept = indices("kept patches", kept, n_patch, "B", "n_keep")
    return torch.ones(len(kept), n_patch, dtype=torch.bool, device=kept.device).scatter(1, kept, False)


def hidden_pixels(x: Tensor, kept: Tensor, patch: int) -> Tensor:
    """True where a pixel of x (B, C, H, W) lies in a patch that is not among the kept ones.  -> (B, C, H, W) bool"""
    patches = patchify(x, patch)                                              # (B, n_patch, P)
    if len(kept) != len(x):
        raise ValueError(f"{len(x)} images need as many rows of kept patches, got {len(kept)}")
    hide = hidden(kept, patches.shape[1])[..., None].expand(patches.shape)
    return unpatchify(hide.to(x.dtype), x.shape[1:]) > 0


def smooth_fill(x: Tensor, kept: Tensor, patch: int, steps: int = 300) -> Tensor:
    """Hidden patches filled in by copying neighbours: starting at 0, each hidden pixel becomes the mean of the four
    pixels around it, `steps` times. It knows nothing of digits: the baseline that shows when a mask is too small.

    x (B, C, H, W), kept (B, n_keep) -> (B, C, H, W)"""
    hide = hidden_pixels(x, kept, patch)
    whole(0, steps=steps)
    x = torch.where(hide, 0, x)
    for _ in range(steps):
        around = F.pad(x, (1, 1, 1, 1), mode="replicate")
        mean = (around[:, :, 2:, 1:-1] + around[:, :, :-2, 1:-1] + around[:, :, 1:-1, 2:] + around[:, :, 1:-1, :-2]) / 4
        x = torch.where(hide, mean, x)
    return x


# -------------------------------------------------------------------------------------------------- the masked networks

@dataclass
class MAEConfig:
    shape: tuple[int, int, int] = (1, 28, 28)  # of an image: (C, H, W)
    patch: int = 4                             # side of a patch, must divide H and W
    n_embd: int = 64
    n_head: int = 4                            # must divide n_embd
    n_layer: int = 4                           # of the encoder, which sees what is kept
    n_decoder: int = 2                         # layers of the decoder, which sees all places


@dataclass
class MaskedCodesConfig(MAEConfig):
    n_code: int = 128                          # size of the alphabet of patches


class MAE(nn.Module):
    """A masked autoencoder (He et al., 2022): the encoder sees the patches that are kept and nothing else, the decoder
    adds one learned vector for each hidden place and guesses the pixels of every patch.

    Images (B, *shape), kept (B, n_keep) -> patches (B, n_patch, C * patch^2)"""

    def __init__(self, config: MAEConfig, n_out: int | None = None):
        super().__init__()
        sizes(config, "n_decoder")
        (C, H, W), p, c = config.shape, config.patch, config.n_embd
        if min(C, H, W) < 1 or H % p or W % p:
            raise ValueError(f"patch={p} must divide height and width of shape={tuple(config.shape)}")
        self.config, self.n_patch = config, (H // p) * (W // p)
        self.embed = nn.Linear(C * p * p, c)
        self.places = nn.Parameter(0.4 * torch.randn(self.n_patch, c))        # loud: else it learns late where it is
        self.hidden = nn.Parameter(0.02 * torch.randn(c))                     # stands in for every hidden patch
        self.decoder_places = nn.Parameter(0.4 * torch.randn(self.n_patch, c))
        self.blocks = nn.ModuleDict({name: nn.ModuleList(Block(c, config.n_head) for _ in range(n)) for name, n in
                                     dict(encoder=config.n_layer, decoder=config.n_decoder).items()})
        self.norm, self.decoder_norm = nn.LayerNorm(c), nn.LayerNorm(c)
        self.head = nn.Linear(c, C * p * p if n_out is None else n_out)
        initialise(self)
        nn.init.xavier_uniform_(self.embed.weight)                            # patches are mostly 0: let them be heard

    def encode(self, x: Tensor, kept: Tensor | None = None) -> Tensor:
        """A description of each patch that is kept, of all patches if kept is None.  -> (B, n_keep, n_embd)"""
        patches = patchify(floats(x, *self.config.shape, like=self.places), self.config.patch)
        h = self.embed(patches) + self.places                                 # (B, n_patch, n_embd)
        if kept is not None:
            h = h.gather(1, self._kept(kept, len(x))[..., None].expand(-1, -1, h.shape[2]))  # hidden ones never enter
        if h.shape[1]:
            for block in self.blocks["encoder"]:
                h = block(h)
        return self.norm(h)

    def decode(self, h: Tensor, kept: Tensor) -> Tensor:
        """Guesses for all places.  h (B, n_keep, n_embd), kept (B, n_keep) -> (B, n_patch, n_out)"""
        kept = self._kept(kept, len(h))[..., None].expand(-1, -1, h.shape[2])
        full = self.hidden.to(h.dtype).expand(len(h), self.n_patch, -1).scatter(1, kept, h)
        full = full + self.decoder_places
        for block in self.blocks["decoder"]:
            full = block(full)
        return self.head(self.decoder_norm(full))

    def forward(self, x: Tensor, kept: Tensor) -> Tensor:
        return self.decode(self.encode(x, kept), kept)

    def features(self, x: Tensor) -> Tensor:
        """The description of all patches, nothing hidden, end to end.  (B, *shape) -> (B, n_patch * n_embd)"""
        return self.encode(x).flatten(1)

    @torch.no_grad()
    def fill_in(self, x: Tensor, kept: Tensor) -> Tensor:
        """The picture with its hidden patches guessed, the kept ones as they are.  -> (B, *shape) in [0, 1]"""
        guess = unpatchify(self(x, kept), self.config.shape).clamp(0, 1)
        return torch.where(hidden_pixels(x, kept, self.config.patch), guess, x)

    def _kept(self, kept: Tensor, B: int) -> Tensor:
        return indices("kept patches", kept, self.n_patch, B, "n_keep")


def mae_loss(model: MAE, x: Tensor, n_keep: int) -> dict[str, Tensor]:
    """Squared error of the guessed patches, summed over the pixels of a patch, mean over the patches that were hidden:
    what could be seen does not count.  x (B, *shape), 0 <= n_keep < n_patch"""
    whole(0, model.n_patch - 1, n_keep=n_keep)
    kept = choose(len(x), model.n_patch, n_keep, device=x.device)
    error = (model(x, kept) - patchify(x, model.config.patch)).square().sum(2)            # (B, n_patch)
    hide = hidden(kept, model.n_patch)
    return {"loss": (error * hide).sum() / hide.sum()}


class MaskedCodes(MAE):
    """The same network with an alphabet: a patch is the nearest of n_code typical ones, and what is guessed for a
    hidden place is not its pixels but the probability of each letter (as in BEiT, Bao et al., 2022). Several answers
    can be drawn from it: letter by letter, each given all that is there so far.

    The alphabet is measured, not trained: see `fit_alphabet`."""

    def __init__(self, config: MaskedCodesConfig):
        super().__init__(config, config.n_code)
        C, p = config.shape[0], config.patch
        self.register_buffer("alphabet", torch.zeros(config.n_code, C * p * p))

    @torch.no_grad()
    def fit_alphabet(self, x: Tensor, steps: int = 20, generator: torch.Generator | None = None) -> "MaskedCodes":
        """k-means on the patches of images x (N, *shape); the first letter is the empty patch, all 0."""
        patches = patchify(x, self.config.patch).flatten(0, 1)                # (N * n_patch, P)
        patches = patches[patches.amax(1) > 0.05]
        if len(patches) < self.config.n_code:
            raise ValueError(f"an alphabet of n_code={self.config.n_code} needs as many patches that are not empty: "
                             f"there are {len(patches)} patches")
        centres = kmeans_plus_plus(patches, self.config.n_code - 1, generator)
        for _ in range(steps):
            nearest = torch.cdist(patches, centres).argmin(1)
            sums = torch.zeros_like(centres).index_add(0, nearest, patches)
            count = torch.bincount(nearest, minlength=len(centres))[:, None]
            centres = torch.where(count > 0, sums / count.clamp(min=1), centres)
        self.alphabet.copy_(torch.cat([torch.zeros_like(centres[:1]), centres]))
        return self

    def spell(self, x: Tensor) -> Tensor:
        """The nearest letter for each patch.  (B, *shape) -> (B, n_patch) int64"""
        patches = patchify(floats(x, *self.config.shape, like=self.alphabet), self.config.patch)
        return torch.cdist(patches, self.alphabet).argmin(2)

    def draw(self, letters: Tensor) -> Tensor:
        """The picture that is spelled so.  (B, n_patch) -> (B, *shape)"""
        letters = indices("letters", letters, self.config.n_code, "B", self.n_patch)
        return unpatchify(self.alphabet[letters], self.config.shape)

    @torch.no_grad()
    def fill_in(self, x: Tensor, kept: Tensor, generator: torch.Generator | None = None, *, rounds: int | None = None,
                temperature: float = 1.0) -> Tensor:
        """One answer for each image, drawn at random: hidden patches are drawn in a random order, in so many rounds.
        Those of one round do not know of each other; None: one at a time, so that each knows all before it.

        temperature below 1 prefers what is probable.  -> (B, *shape)"""
        above(0, temperature=temperature)
        n_hidden = self.n_patch - kept.shape[1]
        rounds = n_hidden if rounds is None else rounds
        whole(0 if n_hidden == 0 else 1, max(n_hidden, 0), rounds=rounds)
        hide, x = hidden(self._kept(kept, len(x)), self.n_patch), x.clone()
        u = torch.rand(hide.shape, generator=generator, device=x.device)
        order = torch.where(hide, u, 2.0).argsort(1)[:, :n_hidden]            # (B, n_hidden)
        for places in order.tensor_split(rounds, dim=1) if rounds else ():
            at = places[..., None]
            probs = (self(x, kept) / temperature).softmax(2).gather(1, at.expand(-1, -1, self.config.n_code))
            letters = torch.multinomial(probs.flatten(0, 1), 1, generator=generator).view(places.shape)
            patches = patchify(x, self.config.patch)
            new = self.alphabet[letters]                                      # (B, a few, P)
            x = unpatchify(patches.scatter(1, at.expand(-1, -1, patches.shape[2]), new), self.config.shape)
            kept = torch.cat([kept, places], dim=1)
        return x

    def sample(self, n: int, generator: torch.Generator | None = None) -> Tensor:
        """n images, all of whose patches are drawn -> (n, *shape)"""
        whole(1, n=n)
        nothing = torch.zeros(n, 0, dtype=torch.long, device=self.alphabet.device)
        return self.fill_in(torch.zeros(n, *self.config.shape, device=self.alphabet.device), nothing, generator)


def codes_loss(model: MaskedCodes, x: Tensor, n_keep: int | None = None) -> dict[str, Tensor]:
    """Cross-entropy in nats of the letters of hidden patches, mean over the hidden ones.

    n_keep: how many patches each image keeps; None draws it anew for every batch, from 0 to n_patch - 1."""
    if n_keep is None:
        n_keep = int(torch.randint(model.n_patch, ()))
    whole(0, model.n_patch - 1, n_keep=n_keep)
    kept = choose(len(x), model.n_patch, n_keep, device=x.device)
    letters, hide = model.spell(x), hidden(kept, model.n_patch)
    surprise = F.cross_entropy(model(x, kept).transpose(1, 2), letters, reduction="none")         # (B, n_patch)
    return {"loss": (surprise * hide).sum() / hide.sum()}


# ------------------------------------------------------------------------------------------ what descriptions are worth

class RandomFilters(nn.Module):
    """Descriptions that nobody has learned: n_out random filters of size x size pixels, ReLU, and the mean over squares
    of pool x pool.  (B, 1, H, W) -> (B, n_out * H/pool * W/pool)"""

    def __init__(self, n_out: int = 64, size: int = 5, pool: int = 4, generator: torch.Generator | None = None):
        super().__init__()
        whole(1, n_out=n_out, size=size, pool=pool)
        self.pool = pool
        filters = torch.randn(n_out, 1, size, size, generator=generator)
        self.register_buffer("filters", filters - filters.mean((2, 3), keepdim=True))         # blind to grey areas

    def forward(self, x: Tensor) -> Tensor:
        if not isinstance(x, Tensor) or x.ndim != 4:
            raise ValueError(f"filters need images of shape (B, 1, H, W), got {tuple(x.shape)}")
        x = floats(x, 1, *x.shape[2:], like=self.filters)
        return F.avg_pool2d(F.conv2d(x, self.filters, padding="same").relu(), self.pool).flatten(1)


def few_labels(y: Tensor, n: int, generator: torch.Generator | None = None) -> Tensor:
    """Numbers of n examples to be labelled, as many of each class: the others stay without.  y (N,) whole -> (n,)"""
    y = indices("labels", y, None, "N")
    known = y.unique()
    if n < 1 or n % len(known) or n // len(known) > torch.bincount(y)[known].min():
        raise ValueError(f"n={n} labels cannot be shared equally by {len(known)} classes of which the smallest has "
                         f"{int(torch.bincount(y)[known].min())} examples")
    order = torch.randperm(len(y), generator=generator, device=y.device)
    return torch.cat([order[y[order] == k][:n // len(known)] for k in known])


def linear_probe(described: Tensor, y: Tensor, new: Tensor, C: float = 100.0) -> Tensor:
    """Labels of new descriptions, by a linear classifier (logistic regression) of n descriptions and their labels.

    described (n, F), y (n,) whole, new (N, F) -> (N,) int64. All are centred on the n and divided by one number, so
    that the n have the mean square length 1; then the n cross-entropies count C times as much as half the squared
    weights. What a description is worth: no network could be simpler."""
    above(0, C=C)
    same_shape(2, **{"a description": described[:1], "a new description": new[:1]})
    y = indices("labels", y, None, len(described))
    if len(y.unique()) < 2:
        raise ValueError(f"a probe needs labels of at least 2 classes, got {len(y.unique())}")
    from sklearn.linear_model import LogisticRegression  # slow to import

    mean = described.mean(0)
    size = (described - mean).square().sum(1).mean().sqrt().clamp(min=1e-12)
    a, b = (((z - mean) / size).detach().cpu().float().numpy() for z in (described, new))
    probe = LogisticRegression(C=C, tol=1e-3, max_iter=300).fit(a, y.cpu().numpy())
    return torch.from_numpy(probe.predict(b)).to(new.device)


def _uniform(x: Tensor, generator: torch.Generator | None) -> Tensor:
    return torch.rand(x.shape, generator=generator, dtype=x.dtype, device=x.device)
