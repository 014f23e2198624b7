"""CLIP (Radford et al., 2021): pictures and captions in one space. Two encoders, one for each, learn to give a picture
and its own caption vectors that point the same way, and all other pairs of a batch vectors that do not.

    model = load("clip")
    model.image(pictures) @ model.text(words).T        # (N, M): the cosine of every picture with every caption
"""

import math
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from course_lib.convnet import conv_block
from course_lib.data.avatars import ATTRIBUTES, NAMES, caption, encode
from course_lib.device import seeded
from course_lib.expect import floats, sizes
from course_lib.text_encoder import TextEncoder, TextEncoderConfig

# ------------------------------------------------------------------------------------------------------------ the model


@dataclass
class CLIPConfig:
    n_embd: int = 64                           # numbers of a vector, of a picture or a caption
    n_channel: int = 32                        # width of the first two convolutions; the next two have twice as many
    text: dict = field(default_factory=lambda: dict(n_layer=2))      # what TextEncoderConfig shall be


class CLIP(nn.Module):
    """Pictures (B, 3, 16, 16) in [0, 1] and words (B, L) -> vectors of length 1, (B, n_embd) each.

    `log_scale` is the logarithm of one over the temperature: it is learned, and starts at 1 / 0.07 as in the paper."""

    def __init__(self, config: CLIPConfig):
        super().__init__()
        sizes(config)
        self.config, c = config, config.n_channel
        self.convs = nn.Sequential(
            conv_block(3, c), conv_block(c, c), nn.MaxPool2d(2),                            # (B, c, 8, 8)
            conv_block(c, 2 * c), conv_block(2 * c, 2 * c), nn.MaxPool2d(2),                # (B, 2c, 4, 4)
            nn.Flatten())
        self.see = nn.Linear(2 * c * 4 * 4, config.n_embd, bias=False)
        self.reader = TextEncoder(TextEncoderConfig(**config.text))
        self.read = nn.Linear(self.reader.config.n_embd, config.n_embd, bias=False)
        self.log_scale = nn.Parameter(torch.tensor(math.log(1 / 0.07)))

    @property
    def scale(self) -> Tensor:
        """What cosines are multiplied by before the softmax, at most 100."""
        return self.log_scale.clamp(max=math.log(100)).exp()

    def image(self, x: Tensor) -> Tensor:
        """(B, 3, 16, 16) float in [0, 1] -> (B, n_embd) of length 1"""
        x = floats(x, 3, 16, 16, like=self.see.weight)
        return F.normalize(self.see(self.convs(2 * x - 1)), dim=1)

    def text(self, words: Tensor) -> Tensor:
        """(B, L) int64, 0 for padding -> (B, n_embd) of length 1: the mean over the words that are there."""
        there = (words > 0).to(self.read.weight)                               # (B, L)
        there = there / there.sum(1, keepdim=True).clamp(min=1)
        if self.reader.config.bag:
            return F.normalize(self.read(self.reader(words)[:, 0]), dim=1)
        return F.normalize(self.read((there[:, :, None] * self.reader(words)).sum(1)), dim=1)

    def forward(self, x: Tensor, words: Tensor) -> tuple[Tensor, Tensor]:
        return self.image(x), self.text(words)


# ------------------------------------------------------------------------------------------------------------- the loss

def info_nce(a: Tensor, b: Tensor, scale: Tensor | float, same: Tensor | None = None) -> Tensor:
    """How surprised a softmax over the batch is that a_i belongs to b_i, and b_i to a_i: the mean of both, in nats.

    a, b (B, D) of length 1, scale > 0 multiplies their cosines.  same (B, B) bool: pairs that are equal by chance, and
    must not be pushed apart; the diagonal always counts.  van den Oord, Li & Vinyals (2018), eq. 4; Radford et al.
    (2021), fig. 3."""
    if a.shape != b.shape or a.ndim != 2:
        raise ValueError(f"pairs need two tables (B, D) of one shape, got {tuple(a.shape)} and {tuple(b.shape)}")
    logits, own = scale * a @ b.T, torch.arange(len(a), device=a.device)
    if same is not None:
        logits = logits.masked_fill(same & ~torch.eye(len(a), dtype=torch.bool, device=a.device), -math.inf)
    return (F.cross_entropy(logits, own) + F.cross_entropy(logits.T, own)) / 2


def equal_rows(words: Tensor) -> Tensor:
    """Which captions of a batch are the same.  (B, L) -> (B, B) bool"""
    return (words[:, None] == words).all(2)


def clip_loss(model: CLIP, x: Tensor, words: Tensor, wrong: Tensor | None = None,
              mask: bool = True) -> dict[str, Tensor]:
    """InfoNCE between pictures x (B, 3, 16, 16) and their captions, words (B, L); equal captions are no negatives.

    wrong (B, L): a caption for each picture that describes it wrongly, a hard negative for the pictures (Yuksekgonul et
    al., 2023); 0 everywhere where there is none.  mask=False: equal captions are pushed apart, too."""
    image, text = model(x, words)
    loss = info_nce(image, text, model.scale, equal_rows(words) if mask else None)
    if wrong is None:
        return {"loss": loss, "scale": model.scale}
    there = wrong.any(1)                                                       # (B,)
    own, other = ((image * t).sum(1) * model.scale for t in (text, model.text(wrong)))
    hard = (F.softplus(other - own) * there).sum() / there.sum().clamp(min=1)
    return {"loss": loss + hard, "scale": model.scale, "hard": hard}


# ------------------------------------------------------------------------------------------------------------ measures

def recall_at_1(a: Tensor, b: Tensor) -> float:
    """In what share of the rows of a (N, D) the most similar row of b (N, D) is the one with the same number."""
    return (a @ b.T).argmax(1).eq(torch.arange(len(a), device=a.device)).double().mean().item()


def exchanged(row: list[int], first: str = "hat", second: str = "shirt") -> list[int] | None:
    """The attributes of a face with two colours exchanged: "a red hat and a blue shirt" becomes "a blue hat and a red
    shirt". None where that says the same or cannot be said (there is no purple shirt)."""
    row, (i, j) = list(map(int, row)), (NAMES.index(first), NAMES.index(second))
    if min(row[i], row[j]) < 0:
        return None
    a, b = ATTRIBUTES[first][row[i]], ATTRIBUTES[second][row[j]]
    if a == b or a not in ATTRIBUTES[second] or b not in ATTRIBUTES[first]:
        return None
    row[i], row[j] = ATTRIBUTES[first].index(b), ATTRIBUTES[second].index(a)
    return row


class Pairs:
    """Batches of pictures and the words of a caption drawn anew, for `fit`; with `hard`, also of a wrong caption, in
    which two colours are exchanged (all 0 where none can be).

    x (N, 3, 16, 16), shown (N, 8): of `Faces`. The last, smaller batch of a pass is dropped."""

    def __init__(self, x: Tensor, shown: Tensor, batch_size: int = 128, hard: bool = False):
        if len(x) != len(shown) or not 1 <= batch_size <= len(x):
            raise ValueError(f"batches of {batch_size} need as many pictures as rows, got {len(x)} and {len(shown)}")
        self.x, self.shown, self.batch_size, self.hard = x, shown, batch_size, hard

    def __len__(self) -> int:
        return len(self.x) // self.batch_size

    def __iter__(self):
        told = seeded(int(torch.randint(2**31, ())))
        for i in torch.randperm(len(self.x))[: len(self) * self.batch_size].split(self.batch_size):
            rows = self.shown[i].tolist()
            if not self.hard:
                yield self.x[i], encode([caption(row, told) for row in rows])
                continue
            right, wrong = zip(*(right_and_wrong(row, told) for row in rows))
            yield self.x[i], encode(list(right)), encode(list(wrong))


def right_and_wrong(row: list[int], generator: torch.Generator, leave_out: float = 0.15) -> tuple[str, str]:
    """A caption of a face, and the same words with the colours of two things exchanged ("" where that cannot be)."""
    state = generator.get_state()
    right = caption(row, generator, leave_out)
    for first in ("hat", "hair colour") if torch.rand((), generator=generator) < 0.5 else ("hair colour", "hat"):
        other = exchanged(row, first)
        if other is None:
            continue
        again = torch.Generator()
        again.set_state(state)
        wrong = caption(other, again, leave_out)
        if sorted(wrong.split()) == sorted(right.split()) and wrong != right:
            return right, wrong
    return right, ""


@torch.no_grad()
def hard_pairs(model: CLIP, x: Tensor, shown: Tensor, generator: torch.Generator) -> tuple[float, int]:
    """How often a picture is nearer to its caption than to the same caption with two colours exchanged, a tie counting
    one half, and of how many pictures: 0.5 is chance."""
    told = [right_and_wrong(row, generator, leave_out=0.0) for row in shown.tolist()]
    kept = [i for i, (_, wrong) in enumerate(told) if wrong]
    if not kept:
        raise ValueError(f"none of these {len(x)} faces has two colours that could be exchanged")
    right, wrong = (model.text(encode([told[i][k] for i in kept]).to(x.device)) for k in (0, 1))
    image = model.image(x[kept])
    ahead = ((image * right).sum(1) - (image * wrong).sum(1)).double()
    return ((ahead > 1e-6).double() + (ahead.abs() <= 1e-6).double() / 2).mean().item(), len(kept)
