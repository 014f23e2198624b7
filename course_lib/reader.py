"""The reader: a network that looks at an avatar and says what it sees, attribute by attribute. It judges every model
that is asked for faces, as the judge of lesson 12 does for digits.

    read(images)                                       # (N, 8): what each picture shows
    score(images, wanted)                              # {"skin": 0.98, ..., "whole caption": 0.91}
    print(table({"ours": score(images, wanted)}))      # beside what it gets right on real faces

It always answers, also for what nobody could see (the hair under a hat). So only what was asked for is counted:
`wanted` holds `avatars.UNSAID` for the rest, as `Faces.shown` and `avatars.said` do.
"""

import functools
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from course_lib import checkpoint
from course_lib.convnet import conv_block
from course_lib.data.avatars import ATTRIBUTES, NAMES, UNSAID
from course_lib.device import device_of, evaluating
from course_lib.expect import floats, probabilities, whole

SIZES = tuple(len(values) for values in ATTRIBUTES.values())
WHOLE = "whole caption"


@dataclass
class ReaderConfig:
    n_channel: int = 32                        # width of the first two convolutions; the next two have twice as many
    n_feature: int = 128                       # length of the description from which all attributes are read
    dropout: float = 0.2                       # on the features, in training only


class Reader(nn.Module):
    """Faces (B, 3, 16, 16) in [0, 1] -> logits of each attribute's values: 8 tensors (B, n_value), as in ATTRIBUTES."""

    def __init__(self, config: ReaderConfig):
        super().__init__()
        self.config, c = config, config.n_channel
        self.convs = nn.Sequential(
            conv_block(3, c), conv_block(c, c), nn.MaxPool2d(2),                            # (B, c, 8, 8)
            conv_block(c, 2 * c), conv_block(2 * c, 2 * c), nn.MaxPool2d(2),                # (B, 2c, 4, 4)
        )
        self.embed = nn.Sequential(nn.Flatten(), nn.Linear(2 * c * 4 * 4, config.n_feature, bias=False),
                                   nn.BatchNorm1d(config.n_feature), nn.ReLU())
        self.dropout = nn.Dropout(config.dropout)
        self.heads = nn.Linear(config.n_feature, sum(SIZES))

    def features(self, x: Tensor) -> Tensor:
        """What the attributes are read from: a space in which sets of faces are compared.

        (B, 3, 16, 16) float in [0, 1] -> (B, n_feature), all >= 0.  Raises ValueError for another shape or dtype."""
        return self.embed(self.convs(floats(x, 3, 16, 16, like=self.heads.weight)))           # (B, n_feature)

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:           # (B, 3, 16, 16)
        return self.heads(self.dropout(self.features(x))).split(SIZES, dim=1)     # 8 x (B, n_value)


def reader_loss(model, x: Tensor, shown: Tensor) -> dict[str, Tensor]:
    """Cross-entropy in nats a face, summed over the attributes that can be seen.  x (B, 3, 16, 16), shown (B, 8) int64

    Raises ValueError if there is not one row of 8 attributes for each face."""
    _check_wanted(shown, len(x))
    logits = model(x)
    losses = [F.cross_entropy(logits[k], shown[:, k], ignore_index=UNSAID, reduction="sum") for k in range(len(NAMES))]
    return {"loss": torch.stack(losses).sum() / len(x)}


@functools.cache
def the_reader() -> Reader:
    """The shipped reader; loaded once in a process."""
    return checkpoint.load("reader")


@torch.inference_mode()
def read(images: Tensor, reader: nn.Module | None = None, batch_size: int = 500) -> Tensor:
    """What each picture shows, (n, 8) int64 on the CPU, in the order of ATTRIBUTES.

    images (n, 3, 16, 16) float in [0, 1], on any device.  reader: default is the shipped one.
    Raises ValueError for another shape or range.
    """
    images = probabilities(floats(images, 3, 16, 16, like=torch.empty(0)).cpu())
    whole(1, batch_size=batch_size)
    with evaluating(the_reader() if reader is None else reader) as reader:
        return torch.cat([torch.stack([logits.argmax(1) for logits in reader(part.to(device_of(reader)))], 1).cpu()
                          for part in images.split(batch_size)])


def obeys(images: Tensor, wanted: Tensor, reader: nn.Module | None = None) -> Tensor:
    """Which attributes are as they were wanted; what was UNSAID is as it should be.

    images (n, 3, 16, 16), wanted (n, 8) -> (n, 8) bool on the CPU; `.all(1)` are the pictures with nothing wrong."""
    _check_wanted(wanted, len(images))
    wanted = wanted.cpu()
    return (read(images, reader) == wanted) | (wanted == UNSAID)


def score(images: Tensor, wanted: Tensor, reader: nn.Module | None = None) -> dict[str, float]:
    """The share of pictures that show what was wanted: for each attribute, among those that were asked for it, and
    "whole caption", everything right at once, among those that were asked for anything. An attribute that nobody asked
    for is not in the dictionary.

    images (n, 3, 16, 16) in [0, 1]; wanted (n, 8) int64, from `Faces.shown` or `avatars.said`.
    Raises ValueError if nothing at all is wanted."""
    right, asked = obeys(images, wanted, reader), wanted.cpu() != UNSAID
    if not asked.any():
        raise ValueError(f"nothing is wanted of these {len(images)} pictures: all of `wanted` is {UNSAID}")
    shares = {name: right[asked[:, k], k].double().mean().item() for k, name in enumerate(NAMES) if asked[:, k].any()}
    return shares | {WHOLE: right[asked.any(1)].all(1).double().mean().item()}


def ceiling(part: str = "test_seen") -> dict[str, float]:
    """What the shipped reader gets right on real faces it was not trained on, from its file: `score` of all 1,000 of
    test_seen or test_unseen. No model's score can be trusted beyond it."""
    if part not in ("test_seen", "test_unseen"):
        raise ValueError(f"the reader was not measured on {part!r}: choose test_seen or test_unseen")
    metrics = checkpoint.metadata("reader")["metrics"]
    return {name: metrics[f"{part}: {name}"] for name in (*NAMES, WHOLE)}


def table(columns: dict[str, dict[str, float]]) -> str:
    """Scores side by side, beside what the reader gets right on real faces: a line an attribute.

    columns: a title and what `score` returned, for each column. A dash: nobody asked for it."""
    columns = {"real, seen": ceiling("test_seen"), "real, unseen": ceiling("test_unseen")} | columns
    rows = [["", *columns]]
    for name in (*NAMES, WHOLE):
        rows.append([name, *(f"{shares[name]:.3f}" if name in shares else "-" for shares in columns.values())])
    widths = [max(map(len, column)) for column in zip(*rows)]
    return "\n".join("  ".join([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])]) for row in rows)


def _check_wanted(wanted: Tensor, n: int) -> None:
    if wanted.shape != (n, len(NAMES)) or wanted.dtype != torch.int64:
        raise ValueError(f"{n} pictures need int64 attributes of shape ({n}, {len(NAMES)}), got {wanted.dtype} of "
                         f"{tuple(wanted.shape)}")
