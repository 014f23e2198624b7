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
from course_lib.data.avatars import ATTRIBUTES, NAMES, UNSAID, caption, encode
from course_lib.device import seeded
from course_lib.expect import floats, same_shape, sizes, whole
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
        vectors = self.reader(words)                                           # (B, L, n), of a bag (B, 1, n)
        if not self.reader.config.bag:
            there = (words > 0).to(vectors)                                    # (B, L)
            vectors = vectors * (there / there.sum(1, keepdim=True).clamp(min=1))[:, :, None]
        return F.normalize(self.read(vectors.sum(1)), dim=1)

    def forward(self, x: Tensor, words: Tensor) -> tuple[Tensor, Tensor]:
        return self.image(x), self.text(words)


# ------------------------------------------------------------------------------------------------------------- the loss

def info_nce(a: Tensor, b: Tensor, scale: Tensor | float, same: Tensor | None = None) -> Tensor:
    """How surprised a softmax over the batch is that a_i belongs to b_i, and b_i to a_i: the mean of both, in nats.

    a (B, D) and b (B + M, D) of length 1: the last M of b belong to no a, and stand in the choice of each.  scale > 0
    multiplies the cosines.  same (B, B + M) bool: pairs that are equal by chance, and must not be pushed apart; the
    diagonal always counts.  van den Oord, Li & Vinyals (2018), eq. 4; Radford et al. (2021), fig. 3."""
    if a.ndim != 2 or b.ndim != 2 or a.shape[1] != b.shape[1] or not 0 < len(a) <= len(b):
        raise ValueError(f"pairs are (B, D) and (B + M, D), got {tuple(a.shape)} and {tuple(b.shape)}")
    logits, own = scale * a @ b.T, torch.arange(len(a), device=a.device)       # (B, B + M), (B,)
    if same is not None:
        if same.shape != logits.shape or same.dtype != torch.bool:
            raise ValueError(f"same is {same.dtype} {tuple(same.shape)}, not bool {tuple(logits.shape)}")
        diagonal = torch.eye(*same.shape, dtype=torch.bool, device=a.device)
        logits = logits.masked_fill(same & ~diagonal, -math.inf)
    return (F.cross_entropy(logits, own) + F.cross_entropy(logits[:, :len(a)].T, own)) / 2


def equal_rows(words: Tensor, others: Tensor | None = None) -> Tensor:
    """Which captions are the same: those of a batch, or those of a batch and others.  (B, L), (M, L) -> (B, M) bool"""
    others = words if others is None else others
    if words.ndim != 2 or others.ndim != 2 or words.shape[1] != others.shape[1]:
        raise ValueError(f"captions need one length, got {tuple(words.shape)} and {tuple(others.shape)}")
    return (words[:, None] == others).all(2)


def clip_loss(model: CLIP, x: Tensor, words: Tensor, wrong: Tensor | None = None,
              mask: bool = True) -> dict[str, Tensor]:
    """InfoNCE between pictures x (B, 3, 16, 16) and their captions, words (B, L); equal captions are no negatives.

    wrong (B, L): for each picture a caption that describes it wrongly, 0 everywhere where there is none. Every picture
    must tell its own from all of them (hard negatives; Yuksekgonul et al., 2023).  mask=False: equal captions are
    pushed apart, too."""
    if wrong is not None and wrong.shape != words.shape:
        raise ValueError(f"wrong captions need the shape of words {tuple(words.shape)}, got {tuple(wrong.shape)}")
    choices = words if wrong is None else torch.cat([words, wrong[wrong.any(1)]])              # (B + M, L)
    loss = info_nce(model.image(x), model.text(choices), model.scale, equal_rows(words, choices) if mask else None)
    return {"loss": loss, "scale": model.scale}


# ------------------------------------------------------------------------------------------------------------ measures

def recall_at_1(a: Tensor, b: Tensor) -> float:
    """In what share of the rows of a (N, D) the most similar row of b (N, D) is the one with the same number."""
    same_shape(2, a=a, b=b)
    return (a @ b.T).argmax(1).eq(torch.arange(len(a), device=a.device)).double().mean().item()


def prompts(name: str, n: int, generator: torch.Generator) -> list[list[str]]:
    """For each value of an attribute n captions that say it, and otherwise say the same for all values: what else they
    say is drawn, each thing with probability one half. A value that is called "none" is not said."""
    if name not in NAMES:
        raise ValueError(f"{name!r} is no attribute: choose from {', '.join(NAMES)}")
    whole(1, n=n)
    told = [[] for _ in ATTRIBUTES[name]]
    for _ in range(n):
        u, v = torch.rand(2, len(NAMES), generator=generator).tolist()
        row = [int(u[k] * len(ATTRIBUTES[other])) if v[k] < 0.5 else UNSAID for k, other in enumerate(NAMES)]
        state = generator.get_state()
        for value, captions in enumerate(told):
            row[NAMES.index(name)] = value
            generator.set_state(state)                             # the same phrasing for every value
            captions.append(caption(row, generator, leave_out=0.0))
    return told


@torch.no_grad()
def zero_shot(model: CLIP, x: Tensor, told: list[list[str]]) -> Tensor:
    """A classifier that is made of words: which of K lists of captions has the mean vector most like a picture's.

    x (N, 3, 16, 16) -> (N,) int64, 0 to K - 1.  Radford et al. (2021), section 3.1"""
    if not told or not all(told):
        raise ValueError(f"each class needs at least one caption, got {[len(captions) for captions in told]}")
    classes = torch.stack([model.text(encode(captions).to(x.device)).mean(0) for captions in told])      # (K, D)
    return (model.image(x) @ F.normalize(classes, dim=1).T).argmax(1)


def exchanged(row: list[int], first: str = "hat", second: str = "shirt") -> list[int] | None:
    """The attributes of a face with two colours exchanged: "a red hat and a blue shirt" becomes "a blue hat and a red
    shirt". None where that says the same or cannot be said (there is no purple shirt)."""
    if len(row) != len(NAMES):
        raise ValueError(f"a face has 8 attributes, got {len(row)}")
    row, (i, j) = list(map(int, row)), (NAMES.index(first), NAMES.index(second))
    if min(row[i], row[j]) == UNSAID:
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
