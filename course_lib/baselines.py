"""The two ends of every comparison: real digits (nothing can look more real) and noise (nothing can look less real).
They keep the contract of a generator, `sample(n, ...) -> (n, 1, 28, 28)`, so that no table needs a special case. And
samples that slow generators drew once, to be compared without waiting."""

from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from course_lib.data import load
from course_lib.expect import classes, probabilities, sizes, whole


@dataclass
class TrainingDigitsConfig:
    dataset: str = "digits"


@dataclass
class NoiseConfig:
    size: int = 28


@dataclass
class KeptConfig:
    sizes: dict[str, int] = field(default_factory=dict)            # name of a generator -> how many of its samples


class TrainingDigits(nn.Module):
    """Hands out the training images themselves: the ceiling of every quality score, and a copier that the memorisation
    test must catch. Nothing is stored but the name of the data set."""

    def __init__(self, config: TrainingDigitsConfig):
        super().__init__()
        self.config = config
        x, y = load(config.dataset).train
        self.register_buffer("x", x, persistent=False)             # (N, C, H, W)
        self.register_buffer("y", y, persistent=False)             # (N,)

    def sample(self, n: int, y: int | Tensor | None = None, generator: torch.Generator | None = None) -> Tensor:
        """n different images (as long as there are so many) -> (n, C, H, W).  y: the labels, one for all or (n,)"""
        whole(1, n=n)
        if y is None:
            return self.x[self._shuffled(torch.arange(len(self.y), device=self.y.device), n, generator)]
        wanted = classes(y, n, int(self.y.max()) + 1, self.y.device)
        i = torch.empty(n, dtype=torch.long, device=self.y.device)
        for label in wanted.unique():
            pool = (self.y == label).nonzero().squeeze(1)
            places = wanted == label
            i[places] = self._shuffled(pool, int(places.sum()), generator)
        return self.x[i]

    def _shuffled(self, pool: Tensor, n: int, generator: torch.Generator | None) -> Tensor:
        order = torch.randperm(len(pool), generator=generator, device=pool.device)
        return pool[order[torch.arange(n, device=pool.device) % len(pool)]]


class Noise(nn.Module):
    """Every pixel independent and uniform in [0, 1]: the floor."""

    def __init__(self, config: NoiseConfig):
        super().__init__()
        sizes(config)
        self.config = config
        self.register_buffer("origin", torch.zeros(0))             # knows the device; a file needs one tensor

    def sample(self, n: int, generator: torch.Generator | None = None) -> Tensor:
        """-> (n, 1, size, size)"""
        whole(1, n=n)
        return torch.rand(n, 1, self.config.size, self.config.size, generator=generator, device=self.origin.device)


class Kept(nn.Module):
    """Samples of generators, drawn once and kept as bytes: `kept.of("flow")`."""

    def __init__(self, config: KeptConfig):
        super().__init__()
        whole(1, **config.sizes)
        self.config = config
        if odd := [name for name in config.sizes if not name.isidentifier() or hasattr(self, name)]:
            raise ValueError(f"samples of {odd[0]!r} cannot be kept: choose another name, of letters and digits")
        for name, n in config.sizes.items():
            self.register_buffer(name, torch.zeros(n, 1, 28, 28, dtype=torch.uint8))

    def keep(self, name: str, images: Tensor) -> None:
        """Round images (n, 1, 28, 28) in [0, 1] to whole grey levels, 0 to 255, and keep them under a known name."""
        if images.shape != self._bytes(name).shape:
            raise ValueError(f"of {name} there is room for {tuple(self._bytes(name).shape)}, got {tuple(images.shape)}")
        self._bytes(name).copy_((255 * probabilities(images)).round())

    def of(self, name: str) -> Tensor:
        """All samples that this generator drew -> (n, 1, 28, 28) float32 in [0, 1], in steps of 1 / 255"""
        return self._bytes(name).float() / 255

    def _bytes(self, name: str) -> Tensor:
        if name not in self.config.sizes:
            raise ValueError(f"no samples of {name!r} are kept, only of {', '.join(self.config.sizes)}")
        return getattr(self, name)
