"""Images as sentences: a label and the codes of an image in one sequence of tokens, which the GPT of lesson 54 writes
like any other (Ramesh et al., 2021, "Zero-shot text-to-image generation"). The codes are those of lesson 33's VQ-VAE.

    idx = join(labels, vqvae.encode(x), n_class=10)              # (B, 50): a label, then 49 codes, row by row
    fit(model.gpt, lm_loss, Encoded(x, y, vqvae), steps=400)     # the loss of any text
    model.sample(100, y=7)                                       # (100, 1, 28, 28), as every generator does it

One vocabulary serves both: tokens 0 to n_class - 1 are labels, and those from n_class on are codes.
"""

import math
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from course_lib.augment import augment
from course_lib.decoding import generate
from course_lib.device import device_of
from course_lib.expect import classes, indices, whole
from course_lib.gpt import GPT, fast
from course_lib.vqvae import VQVAE, VQVAEConfig


def join(labels: Tensor, codes: Tensor, n_class: int) -> Tensor:
    """Sentences that begin with a label, and then have each code moved up by n_class.  (B,), (B, T) -> (B, T + 1)"""
    whole(1, n_class=n_class)
    labels, codes = indices("labels", labels, n_class, "B"), indices("codes", codes, None, len(labels), "T")
    return torch.cat([labels[:, None], codes + n_class], 1)


def split(idx: Tensor, n_class: int) -> tuple[Tensor, Tensor]:
    """Labels and codes of such sentences: `join` backwards.  (B, T + 1) -> (B,), (B, T)

    Raises ValueError for a sentence that does not begin with a label, or has a second one."""
    whole(1, n_class=n_class)
    idx = indices("tokens", idx, None, "B", "T + 1")
    return indices("labels", idx[:, 0], n_class, "B"), indices("codes", idx[:, 1:] - n_class, None, "B", "T")


HALF = dict(rotate=6.0, scale=0.06, shear=0.08, shift=1.0, elastic=0.5)       # half of what `augment` does by default:
#                                                                               how images are distorted is learnt, too


class Encoded:
    """Batches without end for `fit` and `lm_loss`: sentences of images that are distorted anew each time, a little, and
    encoded as they are then. Images that are encoded once are the same few sentences again and again.

    x (N, 1, 28, 28) in [0, 1], y (N,).  Batches: idx (B, 50)"""

    def __init__(self, x: Tensor, y: Tensor, vqvae: VQVAE, batch_size: int = 32, n_class: int = 10):
        whole(1, batch_size=batch_size)
        if len(x) != len(y) or not len(x):
            raise ValueError(f"{len(x)} images do not go with {len(y)} labels")
        self.x, self.y, self.vqvae, self.batch_size, self.n_class = x, y, vqvae, batch_size, n_class

    def __iter__(self):
        while True:
            i = torch.randint(len(self.x), (self.batch_size,)).to(self.x.device)
            yield join(self.y[i], self.vqvae.encode(augment(self.x[i], **HALF)), self.n_class),


@torch.no_grad()
def sentence_bits(model: nn.Module, idx: Tensor) -> Tensor:
    """How many bits a model needs for each sentence, if its first token is known.  (B, T + 1) -> (B,) float64"""
    scores = model(indices("tokens", idx, None, "B", "T + 1")[:, :-1])                        # (B, T, vocab_size)
    nats = F.cross_entropy(scores.transpose(1, 2).float(), idx[:, 1:], reduction="none")      # (B, T)
    return nats.double().sum(1) / math.log(2)


# ------------------------------------------------------------------------------------------------------------ the model

@dataclass
class ImageGPTConfig:
    vqvae: dict = field(default_factory=dict)  # what VQVAEConfig shall be, where not the default
    gpt: dict = field(default_factory=dict)    # ... gpt.fast(); sizes of vocabulary and block follow from the rest
    n_class: int = 10
    temperature: float = 1.0                   # at which codes are drawn


class ImageGPT(nn.Module):
    """Label -> codes -> image. The VQ-VAE is not trained with the GPT: it was before."""

    def __init__(self, config: ImageGPTConfig):
        super().__init__()
        whole(1, n_class=config.n_class)
        self.config = config
        self.vqvae = VQVAE(VQVAEConfig(**config.vqvae)).requires_grad_(False)
        self.n_code = math.prod(self.vqvae.grid)                  # 49
        self.gpt = GPT(fast(**config.gpt | dict(vocab_size=config.n_class + self.vqvae.K, block_size=self.n_code + 1)))

    def write(self, prompts: Tensor, temperature: float | None = None,
              generator: torch.Generator | None = None) -> Tensor:
        """Go on with sentences, or with labels alone, until they are whole.  (B, T) -> (B, 50), T from 1 to 49"""
        prompts = indices("prompts", prompts, self.gpt.config.vocab_size, "B", "T").to(device_of(self))
        whole(1, self.n_code, T=prompts.shape[1])
        new = generate(self.gpt, list(prompts), self.n_code + 1 - prompts.shape[1],
                       self.config.temperature if temperature is None else temperature, generator=generator)
        return torch.cat([prompts, new.clone()], 1)

    def draw(self, idx: Tensor) -> Tensor:
        """The images of sentences. A second label, which is hardly ever written, counts as code 0.
        (B, 50) -> (B, 1, 28, 28) in [0, 1]"""
        idx = indices("tokens", idx, self.gpt.config.vocab_size, "B", self.n_code + 1)
        return self.vqvae.decode((idx[:, 1:] - self.config.n_class).clamp(min=0))

    @torch.no_grad()
    def sample(self, n: int, y: int | Tensor | None = None, generator: torch.Generator | None = None, *,
               temperature: float | None = None, batch_size: int = 250) -> Tensor:
        """n images -> (n, 1, 28, 28).  y: labels, one for all or (n,); None: each as likely as any other."""
        whole(1, n=n, batch_size=batch_size)
        where, K = device_of(self), self.config.n_class
        y = torch.randint(K, (n,), generator=generator, device=where) if y is None else classes(y, n, K, where)
        return torch.cat([self.draw(self.write(part[:, None], temperature, generator)) for part in y.split(batch_size)])
