"""Sounds that were asked for: a flow draws the spectrogram, Griffin-Lim finds a sound that has it.

    model = load("notes_flow")
    model.sample([[3, 7, 1]], seeded(0))               # (1, 4096): instrument 3 plays note 7, loudly
    load("spoken_flow").sample([[5, 0]] * 4)           # (4, 4096): four times a five by voice 0

The flow and the network are those of lesson 64, with what is asked for as its context. But a convolution does the same
at every height of a picture, while here each row is a frequency of its own. So the network is shown two more channels:
the height itself, and a comb that is 1 where the overtones of the wanted note lie (`guides`).
Training: `fit(model.fit_scale(pictures), sound_loss, Batches(pictures, what, ...))`.
"""

import math
from dataclasses import dataclass, field
from functools import partial

import torch
from torch import Tensor, nn

from course_lib import flow
from course_lib.audio import FLOOR, HOP, N_FFT, RATE, griffin_lim, magnitude_of, note_frequency
from course_lib.diffusion import drop_labels, guided
from course_lib.expect import between, finite, floats, indices, sizes, whole
from course_lib.unet import UNet, UNetConfig


@dataclass
class SoundFlowConfig:
    values: tuple[int, ...] = (22, 13, 2)      # of each thing that is asked for: how many it can be
    n_embd: int = 64                           # numbers that describe one of them
    network: dict = field(default_factory=dict)          # what UNetConfig shall be, where not the default
    n_fft: int = N_FFT                         # of the spectrogram
    hop: int = HOP
    length: int = 4_096                        # samples of a sound
    rate: int = RATE                           # samples a second
    note: int | None = 1                       # which of the things is a note, in semitones above `lowest`; None: none
    lowest: int = 60                           # the key of note 0
    guidance: float = 2.0                      # see diffusion.guided
    steps: int = 8                             # of the midpoint method
    rounds: int = 60                           # of Griffin-Lim


class SoundFlow(nn.Module):
    """What is asked for -> pictures of sounds -> sounds.  `shift` and `scale` bring the pictures to mean 0 in each row
    and deviation 1. They are measured, not trained: see `fit_scale`."""

    def __init__(self, config: SoundFlowConfig):
        super().__init__()
        sizes(config)
        whole(1, **{f"values[{k}]": n for k, n in enumerate(config.values)})
        self.config, self.shape = config, (1, config.n_fft // 2, config.length // config.hop)
        self.things = nn.Embedding(sum(config.values) + 1, config.n_embd)      # the last one: nothing is asked for
        if config.note is not None and not 0 <= config.note < len(config.values):
            raise ValueError(f"note={config.note} must be one of the {len(config.values)} things that are asked for")
        self.network = UNet(UNetConfig(**dict(patch=4) | config.network | dict(
            shape=(3, *self.shape[1:]), n_context=config.n_embd)))
        self.register_buffer("shift", torch.zeros(1, self.shape[1], 1))
        self.register_buffer("scale", torch.ones(1, 1, 1))

    @torch.no_grad()
    def fit_scale(self, pictures: Tensor) -> "SoundFlow":
        """Measure mean of each row and deviation of all on pictures (N, *shape)."""
        pictures = floats(pictures, *self.shape, like=self.scale, what="pictures")
        self.shift.copy_(pictures.mean((0, 3))[:, :, None])
        self.scale.copy_(1 / (pictures - self.shift).std().clamp(min=1e-6))
        return self

    def guides(self, what: Tensor) -> Tensor:
        """What the network is shown beside a picture: how high each row is, from -1 to 1, and cos(2 pi f / f0) for the
        frequency f0 of the note that is asked for, 0 where none is.  (n, K) -> (n, 2, rows, 1)"""
        f = torch.arange(self.shape[1], device=self.scale.device) * self.config.rate / self.config.n_fft      # Hz
        height = (4 * f / self.config.rate - 1).expand(len(what), -1)         # (n, rows)
        comb = torch.zeros_like(height)
        if self.config.note is not None:
            note = what[:, self.config.note].to(f.device)
            wanted = note_frequency(self.config.lowest + note).to(f.dtype)    # (n,)
            comb = (2 * math.pi * f / wanted[:, None]).cos() * (note >= 0)[:, None]
        return torch.stack([height, comb], 1)[..., None]

    def velocity(self, x: Tensor, t: Tensor, what: Tensor) -> Tensor:
        """What flow matching asks a model for.  x (n, *shape) of deviation 1, t (n,), what (n, K) -> as x"""
        context = self.context(what)
        seen = torch.cat([x, self.guides(what).to(x.dtype).expand(-1, -1, -1, x.shape[3])], 1)          # (n, 3, ...)
        return self.network(seen, t, context=context)[:, :1]

    def context(self, what: Tensor) -> Tensor:
        """What is asked for as vectors, but for the note, which the comb shows: a network that is told it twice learns
        each note by heart.  (n, K) int64, or of -1 for nothing -> (n, K or K - 1, n_embd)"""
        K, what = len(self.config.values), what.to(self.scale.device)
        if what.ndim != 2 or what.shape[1] != K or what.is_floating_point() or not len(what):
            raise ValueError(f"what is asked for are K={K} whole numbers for each sound, got {tuple(what.shape)}")
        columns, first = [], 0
        for k, n in enumerate(self.config.values):
            column = indices(f"things of column {k}", what[:, k] + 1, n + 1, "n") - 1         # -1 is allowed
            if k != self.config.note:                             # which note it is, the comb says
                columns.append(torch.where(column < 0, sum(self.config.values), column + first))
            first += n
        return self.things(torch.stack(columns, 1))

    @torch.no_grad()
    def pictures(self, what, generator: torch.Generator | None = None, *, guidance: float | None = None,
                 steps: int | None = None, batch_size: int = 50) -> Tensor:
        """One spectrogram for each row of `what` (n, K) -> (n, *shape) in [0, 1]"""
        what = torch.as_tensor(what)
        guidance = self.config.guidance if guidance is None else guidance
        steps = self.config.steps if steps is None else steps
        whole(1, batch_size=batch_size, steps=steps)
        finite(guidance=guidance)
        self.context(what)                                        # raises where it cannot be asked for
        what, null = what.to(self.scale.device), -torch.ones_like(what[:1])
        x, drawn = torch.randn(len(what), *self.shape, generator=generator, device=self.scale.device), []
        for i in torch.arange(len(x), device=x.device).split(batch_size):
            model = guided(self.velocity, what[i], null, guidance)
            drawn.append(flow.midpoint(model, x[i], steps) / self.scale + self.shift)
        return torch.cat(drawn).clamp(0, 1)

    @torch.no_grad()
    def sample(self, what, generator: torch.Generator | None = None, *, rounds: int | None = None,
               **settings) -> Tensor:
        """One sound for each row of `what` (n, K) -> (n, length) in [-1, 1].  settings: those of `pictures`."""
        rounds = self.config.rounds if rounds is None else rounds
        magnitude = magnitude_of(self.pictures(what, generator, **settings), FLOOR)
        return griffin_lim(magnitude, rounds, generator=generator, hop=self.config.hop).clamp(-1, 1)


def sound_loss(model: SoundFlow, pictures: Tensor, what: Tensor, drop: float = 0.1) -> dict[str, Tensor]:
    """Flow matching on pictures of sounds (B, *shape) in [0, 1], told what they are (B, K); a share `drop` of them is
    told nothing. See flow.flow_loss."""
    between(0, 1, drop=drop)
    what = drop_labels(what, -torch.ones_like(what[0]), drop)
    x = (floats(pictures, *model.shape, like=model.scale, what="pictures") - model.shift) * model.scale
    return flow.flow_loss(partial(model.velocity, what=what), x)
