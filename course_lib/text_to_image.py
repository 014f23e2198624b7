"""A miniature Stable Diffusion (Rombach et al., 2022): a text encoder reads the caption, a U-Net that looks at its
words carries noise to latents, and the decoder of an autoencoder makes a picture of them.

    model = load("text_to_image")
    model.sample(["a happy person with a red hat"] * 8, seeded(0), negative="dark glasses")       # (8, 3, 16, 16)

Training, in two stages: `fit(latents, latent_loss, ...)`, then `fit(model, text_to_image_loss, Captioned(...))`.
"""

from dataclasses import dataclass, field, replace
from functools import partial

import torch
from torch import Tensor, nn

from course_lib import flow
from course_lib.autoencoder import ResidualBlock
from course_lib.data.avatars import WORDS, caption, encode
from course_lib.device import seeded
from course_lib.diffusion import drop_labels, guided
from course_lib.expect import between, finite, floats, sizes, whole
from course_lib.muon import OUTSIDE, muon_unet
from course_lib.text_encoder import TextEncoder, TextEncoderConfig
from course_lib.transformer import attention_weights
from course_lib.unet import UNet, UNetConfig

# ------------------------------------------------------------------------------------------------------------- latents

@dataclass
class LatentsConfig:
    n_latent: int = 4                          # channels of a latent
    n_channel: int = 32                        # width of encoder and decoder
    shape: tuple[int, int, int] = (3, 16, 16)  # of a picture: (C, H, W), H and W even


class Latents(nn.Module):
    """An autoencoder whose code is a small picture again, half as high and half as wide:
    images (B, C, H, W) in [0, 1] <-> latents (B, *shape) of mean 0 and deviation 1 in every channel.

    `shift` and `scale` see to the deviation. They are measured, not trained: see `fit_scale`. Shapes in comments are
    those of avatars."""

    def __init__(self, config: LatentsConfig):
        super().__init__()
        sizes(config)
        (C, H, W), c, n = config.shape, config.n_channel, config.n_latent
        if min(C, H, W) < 1 or H % 2 or W % 2:
            raise ValueError(f"shape={tuple(config.shape)} of an image needs an even height and an even width")
        self.config, self.shape = config, (n, H // 2, W // 2)
        self.encoder = nn.Sequential(
            nn.Conv2d(C, c, 3, padding=1), ResidualBlock(c),                                  # (B, c, 16, 16)
            nn.PixelUnshuffle(2), nn.Conv2d(4 * c, c, 1), ResidualBlock(c), nn.SiLU(),        # (B, c, 8, 8)
            nn.Conv2d(c, n, 1),                                                               # (B, n_latent, 8, 8)
        )
        self.decoder = nn.Sequential(
            nn.Conv2d(n, c, 3, padding=1), ResidualBlock(c), ResidualBlock(c),                # (B, c, 8, 8)
            nn.Conv2d(c, 4 * c, 1), nn.PixelShuffle(2), ResidualBlock(c), nn.SiLU(),          # (B, c, 16, 16)
            nn.Conv2d(c, C, 3, padding=1),                                                    # (B, C, 16, 16)
        )
        self.register_buffer("shift", torch.zeros(n, 1, 1))
        self.register_buffer("scale", torch.ones(n, 1, 1))

    def raw(self, x: Tensor) -> Tensor:
        """What the encoder says, before shift and scale.  (B, C, H, W) -> (B, *shape)"""
        return self.encoder(2 * floats(x, *self.config.shape, like=self.scale) - 1)

    def encode(self, x: Tensor) -> Tensor:                        # (B, C, H, W)
        return (self.raw(x) - self.shift) * self.scale            # (B, n_latent, H/2, W/2)

    def decode(self, z: Tensor) -> Tensor:
        """(B, *shape) -> (B, C, H, W), nearly always in [0, 1]: clamp what is shown."""
        z = floats(z, *self.shape, like=self.scale, what="latents")
        return self.decoder(z / self.scale + self.shift) / 2 + 0.5

    def forward(self, x: Tensor) -> Tensor:
        return self.decode(self.encode(x))

    @torch.no_grad()
    def fit_scale(self, x: Tensor) -> "Latents":
        """Measure mean and deviation of each channel on images x (N, C, H, W), so that latents have 0 and 1."""
        z = torch.cat([self.raw(part) for part in x.split(500)]).transpose(0, 1).flatten(1)   # (n_latent, N*H*W/4)
        self.shift.copy_(z.mean(1).view(-1, 1, 1))
        self.scale.copy_(1 / z.std(1).clamp(min=1e-6).view(-1, 1, 1))
        return self


class Pixels(nn.Module):
    """No autoencoder: a picture (B, *shape) in [0, 1] is its own latent, in [-1, 1]. To compare with."""

    def __init__(self, shape: tuple[int, int, int] = (3, 16, 16)):
        super().__init__()
        self.shape = tuple(shape)
        self.register_buffer("scale", torch.full((1, 1, 1), 2.0))

    def encode(self, x: Tensor) -> Tensor:
        return (floats(x, *self.shape, like=self.scale) - 0.5) * self.scale

    def decode(self, z: Tensor) -> Tensor:
        return floats(z, *self.shape, like=self.scale, what="latents") / self.scale + 0.5


def latent_loss(model: Latents, x: Tensor, noise: float = 0.05, size: float = 1e-3) -> dict[str, Tensor]:
    """Squared error of the rebuilt images, mean over batch and pixels, when latents are shaken by `noise` on their way
    to the decoder, and `size` times their mean square, which keeps them from growing until the noise is nothing.
    It is the loss of a VAE whose deviation is fixed: the KL divergence is half the square, and a constant.

    x (B, C, H, W) in [0, 1]"""
    z = model.raw(x)
    rebuilt = model.decoder(z + noise * torch.randn_like(z)) / 2 + 0.5
    error, square = (rebuilt - x).square().mean(), z.square().mean()
    return {"loss": error + size * square, "error": error, "square": square}


# ------------------------------------------------------------------------------------------------------------ the model

@dataclass
class TextToImageConfig:
    latents: dict = field(default_factory=dict)          # what LatentsConfig shall be, where not the default
    text: dict = field(default_factory=dict)             # ... TextEncoderConfig
    network: dict = field(default_factory=dict)          # ... UNetConfig; shape and n_context follow from the others
    pixels: bool = False                       # no latents: the picture itself, with patch=2 at the same cost
    guidance: float = 3.0                      # see diffusion.guided
    steps: int = 8                             # of the midpoint method
    extra: tuple[str, ...] = ()                # words that it learned later: see lora.add_word


class TextToImage(nn.Module):
    """Text encoder, latents and U-Net together. The latents are not trained with the rest: they were before."""

    def __init__(self, config: TextToImageConfig):
        super().__init__()
        self.config = config
        its = LatentsConfig(**config.latents)
        self.latents = (Pixels(its.shape) if config.pixels else Latents(its)).requires_grad_(False)
        self.text = TextEncoder(TextEncoderConfig(**config.text))
        given = dict(shape=self.latents.shape, n_context=self.text.config.n_embd)
        self.network = UNet(UNetConfig(**dict(patch=2 if config.pixels else 1) | config.network | given))

    @property
    def vocabulary(self) -> tuple[str, ...]:
        return (*WORDS, *self.config.extra)

    def words(self, captions: str | list[str]) -> Tensor:
        """The numbers of the words, on the model's device.  n captions -> (n, block_size); one -> (1, block_size)

        Raises ValueError, in the words of `avatars.encode`, for a word that no caption has."""
        return encode(captions, self.text.config.block_size, self.vocabulary).to(self.latents.scale.device)

    @torch.no_grad()
    def sample(self, captions: str | list[str], generator: torch.Generator | None = None, *,
               guidance: float | None = None, negative: str = "", steps: int | None = None,
               noise: Tensor | None = None, batch_size: int = 100) -> Tensor:
        """One picture a caption -> (n, C, H, W) in [0, 1].

        guidance, steps: those of the configuration, if None.  negative: what guidance leads away from; "", the empty
        caption, is what stood in for captions that training left out.  noise (1 or n, *latents.shape): where to start,
        in place of random numbers.  Raises ValueError for no caption, an unknown word, and noise of another shape."""
        words, null = self.words(captions), self.words(negative)
        guidance = self.config.guidance if guidance is None else guidance
        steps = self.config.steps if steps is None else steps
        whole(1, batch_size=batch_size, captions=len(words))
        finite(guidance=guidance)
        x, context, null = self._noise(len(words), noise, generator), self.text(words), self.text(null)
        pictures = []
        for i in torch.arange(len(x), device=x.device).split(batch_size):
            model = guided(self.network, context[i], null, guidance)
            pictures.append(self.latents.decode(flow.midpoint(model, x[i], steps)))
        return torch.cat(pictures).clamp(0, 1)

    def _noise(self, n: int, noise: Tensor | None, generator: torch.Generator | None) -> Tensor:
        """Where n roads begin: at this noise (1 or n, *latents.shape), or at random.  -> (n, *latents.shape)"""
        shape, like = self.latents.shape, self.latents.scale
        if noise is None:
            return torch.randn(n, *shape, generator=generator, device=like.device)
        noise = floats(noise, *shape, like=like, what="noise").to(like.device)
        if len(noise) not in (1, n):
            raise ValueError(f"noise for {n} captions is needed once or {n} times, not {len(noise)} times")
        return noise.expand(n, *shape)


def text_to_image_loss(model: TextToImage, z: Tensor, words: Tensor, drop: float = 0.1,
                       weight: Tensor | None = None) -> dict[str, Tensor]:
    """Flow matching in latents z (B, *latents.shape) of deviation 1, told the words (B, L) of a caption; a share `drop`
    of the captions is left out whole, and the network learns both, with and without. weight: see flow.flow_loss."""
    between(0, 1, drop=drop)
    if weight is not None and weight.is_cpu and not (weight >= 0).all():
        raise ValueError(f"weights must be at least 0, and the smallest is {weight.min().item():.4g}")
    words = drop_labels(words, torch.zeros_like(words[0]), drop)
    return flow.flow_loss(partial(model.network, context=model.text(words)), z, weight=weight)


def with_words(model: TextToImage, *words: str) -> TextToImage:
    """A copy of the model that knows more words, to be trained further; their vectors are random, of the size of the
    others', drawn from PyTorch's global generator. For one word and nothing else to train, see lora.add_word.

    Raises ValueError for a word that is known, or has anything in it but small letters."""
    for k, word in enumerate(words):
        if not word.isalpha() or not word.islower() or word in (*model.vocabulary, *words[:k]):
            raise ValueError(f"a new word is made of small letters and not one of {len(model.vocabulary) + k} known "
                             f"ones, not {word!r}")
    old = model.text.words.weight.detach()                                    # (V, C)
    vectors = old.std() * torch.randn(len(words), old.shape[1]).to(old)
    config = replace(model.config, extra=(*model.config.extra, *words),
                     text=model.config.text | dict(vocab_size=len(old) + len(words)))
    with old.device:
        longer = TextToImage(config)
    longer.load_state_dict(model.state_dict() | {"text.words.weight": torch.cat([old, vectors])})
    return longer.train(model.training)


class Captioned:
    """Batches of latents and the words of captions, (B, *shape) and (B, 24), for `fit`. A face is described anew every
    time that it comes by.

    z (N, ...), shown (N, 8) on the CPU: rows of `Faces.shown`. The last, smaller batch of a pass is dropped."""

    def __init__(self, z: Tensor, shown: Tensor, batch_size: int = 32):
        if len(z) != len(shown) or not 1 <= batch_size <= len(z):
            raise ValueError(f"batches of batch_size={batch_size} need as many latents as descriptions, got {len(z)} "
                             f"and {len(shown)}")
        self.z, self.shown, self.batch_size = z, shown, batch_size

    def __len__(self) -> int:
        return len(self.z) // self.batch_size

    def __iter__(self):
        told = seeded(int(torch.randint(2**31, ())))              # captions are drawn on the CPU
        for i in torch.randperm(len(self.z))[: len(self) * self.batch_size].split(self.batch_size):
            yield self.z[i.to(self.z.device)], encode([caption(row, told) for row in self.shown[i].tolist()])


def muon_text_to_image(model: nn.Module) -> torch.optim.Optimizer:
    """Muon inside the U-Net and the text encoder, AdamW for words, places, times and both ends. For `fit`."""
    return muon_unet(model, outside=(*OUTSIDE, "words", "places", "latents"))


# ---------------------------------------------------------------------------------------------------- looking inside

@torch.no_grad()
def word_maps(model: TextToImage, captions: str | list[str], generator: torch.Generator | None = None, *,
              steps: int = 8, noise: Tensor | None = None) -> Tensor:
    """Which places look at which word while a picture appears: the attention of all blocks at full size, mean over
    heads, blocks and time.  n captions -> (n, L, h, w), with sum 1 over the L words at every place of the latent.

    As in Hertz et al. (2022, "Prompt-to-Prompt", fig. 4) and Tang et al. (2023, "DAAM")."""
    words = model.words(captions)
    x, context, seen = model._noise(len(words), noise, generator), model.text(words), []
    (_, H, W), patch = model.latents.shape, model.network.config.patch

    def look(attention, inputs):
        q, k, _ = attention.heads(*inputs)
        seen.append(attention_weights(q, k).mean(1))              # (n, h*w, L)

    hooks = [block.look.register_forward_pre_hook(look) for block in (model.network.down1, model.network.up1)]
    try:
        flow.midpoint(partial(model.network, context=context), x, steps)
    finally:
        for hook in hooks:
            hook.remove()
    return torch.stack(seen).mean(0).transpose(1, 2).unflatten(2, (H // patch, W // patch))
