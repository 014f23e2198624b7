"""The listener: a network that hears which instrument plays, or which digit is said. It judges what makes sounds, as
the judge of lesson 12 does for digits. It hears how energy is spread over mel bands and time, not how loud it all is.

    hear(sounds)                                       # (n,): what each is, as a number into CLASSES
    share_heard(sounds, wanted)                        # the share that is what was wanted
    listener_features(sounds)                          # (n, 64): the space of the Frechet audio distance
"""

import functools
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from course_lib import checkpoint
from course_lib.audio import mel_filters, stft
from course_lib.convnet import conv_block
from course_lib.data.sounds import INSTRUMENTS, LENGTH
from course_lib.device import device_of, evaluating
from course_lib.expect import floats, indices, sizes, whole

CLASSES = (*INSTRUMENTS, *"0123456789")                # digit d is number len(INSTRUMENTS) + d


@dataclass
class ListenerConfig:
    n_mel: int = 64                            # bands, a multiple of 8
    n_channel: int = 24                        # width of the first two convolutions; the next two have twice as many
    n_feature: int = 64                        # length of the description that `features` returns
    n_class: int = len(CLASSES)
    dropout: float = 0.2                       # on the features, in training only


class Listener(nn.Module):
    """Sounds (B, 4096) in [-1, 1] -> logits of n_class classes, (B, n_class)."""

    def __init__(self, config: ListenerConfig):
        super().__init__()
        sizes(config)
        if config.n_mel % 8:
            raise ValueError(f"n_mel={config.n_mel} must be a multiple of 8")
        self.config, c = config, config.n_channel
        self.convs = nn.Sequential(
            conv_block(1, c, kernel=5, stride=2), conv_block(c, c), nn.MaxPool2d(2),        # (B, c, n_mel / 4, 8)
            conv_block(c, 2 * c), conv_block(2 * c, 2 * c), nn.MaxPool2d(2),                # (B, 2c, n_mel / 8, 4)
        )
        self.embed = nn.Sequential(nn.Flatten(), nn.Linear(2 * c * config.n_mel // 8 * 4, config.n_feature, bias=False),
                                   nn.BatchNorm1d(config.n_feature), nn.ReLU())
        self.dropout = nn.Dropout(config.dropout)
        self.head = nn.Linear(config.n_feature, config.n_class)
        self.register_buffer("filters", mel_filters(config.n_mel), persistent=False)

    def picture(self, x: Tensor) -> Tensor:
        """Decibels in mel bands, from -1 for 60 below the loudest place to 1 there.  (B, 4096) -> (B, 1, n_mel, 32)"""
        x = floats(x, LENGTH, like=self.filters, what="sounds")
        bands = 10 * (self.filters @ stft(x).abs().square()).clamp(min=1e-8).log10()           # (B, n_mel, 32)
        return (1 + (bands - bands.amax((1, 2), keepdim=True)) / 30).clamp(min=-1)[:, None]

    def features(self, x: Tensor) -> Tensor:
        """The penultimate layer, after its ReLU: the space in which sets of sounds are compared.
        (B, 4096) -> (B, n_feature), all >= 0"""
        return self.embed(self.convs(self.picture(x).to(self.head.weight.dtype)))

    def forward(self, x: Tensor) -> Tensor:                       # (B, 4096)
        return self.head(self.dropout(self.features(x)))          # (B, n_class)


def listener_loss(model: Listener, x: Tensor, y: Tensor, shift: int = 300, noise: float = 0.003) -> dict[str, Tensor]:
    """Cross-entropy in nats a sound, of sounds x (B, 4096), each moved by up to `shift` samples and in noise of random
    loudness.  y (B,) numbers into CLASSES"""
    whole(0, shift=shift)
    y = indices("classes", y, model.config.n_class, len(x))
    by = torch.randint(-shift, shift + 1, (len(x), 1), device=x.device)
    x = x.gather(1, (torch.arange(x.shape[1], device=x.device) + by) % x.shape[1])
    x = x + noise * torch.rand(len(x), 1, device=x.device) * torch.randn(x.shape, device=x.device)
    return {"loss": F.cross_entropy(model(x), y, label_smoothing=0.05)}


@functools.cache
def the_listener() -> Listener:
    """The shipped listener; loaded once in a process."""
    return checkpoint.load("listener")


@torch.inference_mode()
def listener_features(x: Tensor, listener: Listener | None = None, batch_size: int = 500) -> Tensor:
    """What the listener hears in sounds (n, 4096): its penultimate layer, (n, n_feature) on the CPU.

    `metrics.frechet_distance` of two sets of these is the Frechet audio distance (Kilgour et al., 2019), to the ears of
    this listener."""
    return _in_batches(x, listener, batch_size, lambda model, part: model.features(part))


@torch.inference_mode()
def hear(x: Tensor, listener: Listener | None = None, batch_size: int = 500) -> Tensor:
    """What each sound is: numbers into CLASSES, (n,) int64 on the CPU.  x (n, 4096), on any device"""
    return _in_batches(x, listener, batch_size, lambda model, part: model(part).argmax(1))


def share_heard(x: Tensor, wanted: Tensor, listener: Listener | None = None) -> float:
    """The share of sounds x (n, 4096) in which the listener hears what was wanted, (n,) numbers into CLASSES."""
    wanted = indices("wanted classes", wanted.cpu(), len(CLASSES), len(x))
    return (hear(x, listener) == wanted).double().mean().item()


def _in_batches(x: Tensor, listener: Listener | None, batch_size: int, what) -> Tensor:
    whole(1, batch_size=batch_size)
    with evaluating(the_listener() if listener is None else listener) as model:
        x = floats(x, LENGTH, like=model.filters, what="sounds")
        return torch.cat([what(model, part.to(device_of(model))).cpu() for part in x.split(batch_size)])
