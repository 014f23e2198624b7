"""unCLIP, a miniature DALL-E 2 (Ramesh et al., 2022): from a caption to a picture by way of CLIP's vectors. A *prior*
samples the vector of a picture that could have this caption, and a *decoder* draws a picture that has this vector.

    model = load("unclip")
    model.sample(["a happy person with a red hat"] * 8, seeded(0))                # caption -> vector -> picture
    model.draw(model.image(picture).expand(8, -1), seeded(0))                     # variations of one picture

Both are flows, and one loss serves both. Training: `fit(model.prior, vector_loss, Batches(pictures' vectors, captions'
vectors), ...)` and `fit(model.decoder, vector_loss, Batches(latents, pictures' vectors), ...)`. CLIP and the
autoencoder of the latents are not trained: they were before.
"""

import math
from dataclasses import dataclass, field
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from course_lib import flow
from course_lib.clip import CLIP, CLIPConfig
from course_lib.data.avatars import encode
from course_lib.diffusion import drop_labels, guided
from course_lib.expect import between, finite, floats, same_shape, sizes, whole
from course_lib.muon import OUTSIDE, muon_unet
from course_lib.text_to_image import Latents, LatentsConfig
from course_lib.unet import UNet, UNetConfig, time_features

# ------------------------------------------------------------------------------------------------------- the two flows

@dataclass
class PriorConfig:
    n_vector: int = 64                         # numbers of CLIP's vectors
    n_hidden: int = 128                        # width inside
    n_layer: int = 3                           # residual blocks
    n_time: int = 32                           # numbers that describe the time, even


class Prior(nn.Module):
    """model(x, t, y): the velocity of a picture's vector x (B, n) at the times t in [0, 1], told the vector y (B, n) of
    its caption; all 0 stands for no caption.  A few residual blocks: 64 numbers have no neighbours."""

    def __init__(self, config: PriorConfig):
        super().__init__()
        sizes(config)
        self.config, c = config, config
        if c.n_time % 2:
            raise ValueError(f"n_time={c.n_time} must be even: each frequency of the time has a sine and a cosine")
        self.enter = nn.Linear(2 * c.n_vector + c.n_time, c.n_hidden)
        self.blocks = nn.ModuleList(
            nn.Sequential(nn.LayerNorm(c.n_hidden), nn.Linear(c.n_hidden, 2 * c.n_hidden), nn.SiLU(),
                          nn.Linear(2 * c.n_hidden, c.n_hidden)) for _ in range(c.n_layer))
        self.leave = nn.Sequential(nn.LayerNorm(c.n_hidden), nn.Linear(c.n_hidden, c.n_vector))

    def forward(self, x: Tensor, t: Tensor, y: Tensor) -> Tensor:
        weight = self.enter.weight
        x, y = (floats(v, self.config.n_vector, like=weight, what="vectors") for v in (x, y))
        times = time_features(torch.as_tensor(t, device=x.device).expand(len(x)), self.config.n_time).to(weight.dtype)
        h = self.enter(torch.cat([x, y.expand(len(x), -1), times], dim=1))     # (B, n_hidden)
        for block in self.blocks:
            h = h + block(h)
        return self.leave(h)                                                   # (B, n_vector)


class Decoder(nn.Module):
    """model(x, t, y): the velocity of a latent x (B, *shape) at the times t in [0, 1], told the vector y (B, n) of the
    picture; all 0 stands for no picture.  The U-Net looks at `n_token` words, each a linear map of the vector."""

    def __init__(self, n_vector: int, n_token: int, config: UNetConfig):
        super().__init__()
        whole(1, n_vector=n_vector, n_token=n_token)
        self.n_vector, self.n_token = n_vector, n_token
        self.tokens = nn.Linear(n_vector, n_token * config.n_context)
        self.unet = UNet(config)

    def forward(self, x: Tensor, t: Tensor, y: Tensor) -> Tensor:
        y = floats(y, self.n_vector, like=self.tokens.weight, what="vectors")
        return self.unet(x, t, context=self.tokens(y).unflatten(1, (self.n_token, -1)))       # (B, n_token, n_context)


def vector_loss(model: Prior | Decoder, x: Tensor, y: Tensor, drop: float = 0.1) -> dict[str, Tensor]:
    """Flow matching of x (B, ...) under a vector y (B, n); a share `drop` of the vectors is replaced by 0, and the
    network learns both, with and without. See flow.flow_loss."""
    between(0, 1, drop=drop)
    return flow.flow_loss(partial(model, y=drop_labels(y, torch.zeros_like(y[0]), drop)), x)


def muon_decoder(model: nn.Module) -> torch.optim.Optimizer:
    """Muon inside the U-Net, AdamW for the words made of the vector, for times and both ends. For `fit`."""
    return muon_unet(model, outside=(*OUTSIDE, "tokens"))


# ------------------------------------------------------------------------------------------------------------ the model

@dataclass
class UnCLIPConfig:
    clip: dict = field(default_factory=dict)             # what CLIPConfig shall be, where not the default
    latents: dict = field(default_factory=dict)          # ... LatentsConfig
    prior: dict = field(default_factory=dict)            # ... PriorConfig; n_vector follows from CLIP
    network: dict = field(default_factory=dict)          # ... UNetConfig; shape follows from the latents
    n_token: int = 4                           # words that the decoder makes of a vector
    guidance: float = 2.0                      # of the decoder: see diffusion.guided
    prior_guidance: float = 1.0
    steps: int = 8                             # of the midpoint method, in both flows


class UnCLIP(nn.Module):
    """CLIP, prior, decoder and latents together.

    Vectors here are CLIP's times the root of their length, (n, 64) of length 8: so their numbers have about the
    deviation of the noise, 1, as latents have."""

    def __init__(self, config: UnCLIPConfig):
        super().__init__()
        sizes(config)
        self.config = config
        self.clip = CLIP(CLIPConfig(**config.clip)).requires_grad_(False)
        self.latents = Latents(LatentsConfig(**config.latents)).requires_grad_(False)
        n = self.clip.config.n_embd
        self.prior = Prior(PriorConfig(**config.prior | dict(n_vector=n)))
        network = dict(patch=1, n_context=n) | config.network | dict(shape=self.latents.shape)
        self.decoder = Decoder(n, config.n_token, UNetConfig(**network))

    def text(self, captions: str | list[str]) -> Tensor:
        """The vectors of captions.  n captions -> (n, 64); one -> (1, 64)

        Raises ValueError, in the words of `avatars.encode`, for a word that no caption has."""
        words = encode(captions, self.clip.reader.config.block_size).to(self.latents.scale.device)
        whole(1, captions=len(words))
        return self.clip.text(words) * math.sqrt(self.clip.config.n_embd)

    def image(self, x: Tensor) -> Tensor:
        """The vectors of pictures.  (n, 3, 16, 16) in [0, 1] -> (n, 64)"""
        return self.clip.image(x) * math.sqrt(self.clip.config.n_embd)

    @torch.no_grad()
    def imagine(self, captions: str | list[str], generator: torch.Generator | None = None, *,
                guidance: float | None = None) -> Tensor:
        """The prior: a vector of a picture for each caption, another one each time.  n captions -> (n, 64)

        guidance: `prior_guidance` of the configuration, if None."""
        y = self.text(captions)                                                # (n, 64)
        x = torch.randn(y.shape, generator=generator, device=y.device)
        z = flow.midpoint(self._told(self.prior, y, self.config.prior_guidance if guidance is None else guidance),
                          x, self.config.steps)
        return F.normalize(z, dim=1) * math.sqrt(z.shape[1])                   # back to where CLIP's vectors lie

    @torch.no_grad()
    def draw(self, z: Tensor, generator: torch.Generator | None = None, *, guidance: float | None = None,
             steps: int | None = None, noise: Tensor | None = None, batch_size: int = 100) -> Tensor:
        """The decoder: a picture for each vector.  z (n, 64) -> (n, C, H, W) in [0, 1]

        guidance, steps: those of the configuration, if None.  noise (1 or n, *latents.shape): where to start, in place
        of random numbers.  Raises ValueError for noise of another shape."""
        like = self.latents.scale
        z = floats(z, self.clip.config.n_embd, like=like, what="vectors").to(like.device)
        guidance = self.config.guidance if guidance is None else guidance
        steps = self.config.steps if steps is None else steps
        whole(1, batch_size=batch_size)
        if noise is None:
            noise = torch.randn(len(z), *self.latents.shape, generator=generator, device=like.device)
        noise = floats(noise, *self.latents.shape, like=like, what="noise").to(like.device)
        if len(noise) not in (1, len(z)):
            raise ValueError(f"noise for {len(z)} vectors is needed once or {len(z)} times, not {len(noise)} times")
        noise = noise.expand(len(z), *self.latents.shape)
        pictures = [self.latents.decode(flow.midpoint(self._told(self.decoder, z[i], guidance), noise[i], steps))
                    for i in torch.arange(len(z), device=like.device).split(batch_size)]
        return torch.cat(pictures).clamp(0, 1)

    def sample(self, captions: str | list[str], generator: torch.Generator | None = None, *,
               guidance: float | None = None, prior_guidance: float | None = None, steps: int | None = None,
               noise: Tensor | None = None, batch_size: int = 100) -> Tensor:
        """One picture a caption -> (n, C, H, W) in [0, 1]: `draw` what was imagined. For the settings see there."""
        z = self.imagine(captions, generator, guidance=prior_guidance)
        return self.draw(z, generator, guidance=guidance, steps=steps, noise=noise, batch_size=batch_size)

    @torch.no_grad()
    def noise_behind(self, x: Tensor, z: Tensor, *, guidance: float | None = None, steps: int | None = None) -> Tensor:
        """The noise from which `draw` makes these pictures under these vectors: the road walked backwards, as in "DDIM
        inversion".  x (n, C, H, W) in [0, 1], z (n, 64) -> (n, *latents.shape)"""
        guidance = self.config.guidance if guidance is None else guidance
        way_back = flow.backwards(self._told(self.decoder, z, guidance))
        return flow.midpoint(way_back, self.latents.encode(x), self.config.steps if steps is None else steps)

    def _told(self, model: nn.Module, y: Tensor, scale: float):
        """A network that is told these vectors, guided: f(x, t)."""
        finite(guidance=scale)
        return guided(model, y, torch.zeros_like(y[:1]), scale)


# ------------------------------------------------------------------------------------------- what vectors are good for

def slerp(a: Tensor, b: Tensor, share: float | Tensor) -> Tensor:
    """The point on the arc from a to b: share 0 is a, 1 is b, and the way is walked at an even speed.

    a, b (n, D), share a number or (n, 1) -> (n, D).  Between vectors of one length, the length stays.
    Shoemake (1985)."""
    same_shape(a=a, b=b)
    cosine = F.cosine_similarity(a, b, dim=1)[:, None].clamp(-1, 1)            # (n, 1)
    angle = cosine.acos().clamp(min=1e-4)                                      # where a = b, all shares are the same
    return (((1 - share) * angle).sin() * a + (share * angle).sin() * b) / angle.sin()


def text_difference(z: Tensor, old: Tensor, new: Tensor, share: float | Tensor) -> Tensor:
    """A picture's vector, turned by `share` of the way towards what one caption says and the other does not (Ramesh et
    al., 2022, section 3.3). Whatever all captions have in common, such as the gap to pictures, is not in a difference.

    z (n, D) of pictures, old and new (1 or n, D) of captions, share a number or (n, 1) -> (n, D), as long as z.
    Raises ValueError for two captions with the same vector, whose difference has no direction."""
    difference = (new - old).expand_as(z)                                      # (n, D)
    length = difference.norm(dim=1, keepdim=True)
    if length.is_cpu and length.min() == 0:
        raise ValueError(f"the captions old and new have the same vector, of length {old[0].norm():.4g}: their "
                         f"difference shows in no direction")
    return slerp(z, difference / length * z.norm(dim=1, keepdim=True), share)
