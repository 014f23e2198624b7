"""A large model learns something small: a low-rank correction beside each weight matrix (LoRA: Hu et al., 2021), one
new word (textual inversion: Gal et al., 2022), and five pictures beside what was known before (DreamBooth: Ruiz et al.,
2022). The weights that were there stay as they are.

    add_lora(model, rank=4)                            # every linear layer and convolution: W becomes W + s U D
    fit(model, loss_fn, ...)                           # trains U and D alone
    with strength(model, 0): ...                       # switched off: the old model, to the last bit
    adapter = take(model, base="text_to_image")        # a few kB; checkpoint.save writes it
    theirs = put(adapter, load("text_to_image"))       # a copy that can do it too; another model is refused
"""

from collections.abc import Iterator
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from course_lib.checkpoint import CheckpointError, fingerprint
from course_lib.data.avatars import encode
from course_lib.data.person import named
from course_lib.device import seeded
from course_lib.expect import above, finite, whole

LAYERS = nn.Linear, nn.Conv1d, nn.Conv2d


class LowRank(nn.Module):
    """What is added to a weight: strength * scale * up @ down, of `rank` columns and rows, in the shape of the weight.

    up (n_out, rank) starts as zero, so that nothing changes at first; down (rank, n_in) with random numbers. A kernel
    (C_out, C_in, k, k) counts as the matrix (C_out, C_in * k * k). `strength` is a dial for who uses it: 0 is off."""

    def __init__(self, n_out: int, n_in: int, rank: int, scale: float = 1.0, device: torch.device | None = None):
        super().__init__()
        whole(1, min(n_out, n_in), rank=rank)
        above(0, scale=scale)
        self.up = nn.Parameter(torch.zeros(n_out, rank, device=device))
        self.down = nn.Parameter(torch.randn(rank, n_in, device=device) / n_in**0.5)
        self.scale, self.strength = float(scale), 1.0

    def change(self) -> Tensor:
        """(n_out, n_in)"""
        return self.strength * self.scale * (self.up @ self.down)

    def forward(self, weight: Tensor) -> Tensor:
        return weight + self.change().view(weight.shape)


class NewWords(nn.Module):
    """Vectors of new words, below those that a table of words has.  (V, C) -> (V + n, C)"""

    def __init__(self, vectors: Tensor):
        super().__init__()
        self.vectors = nn.Parameter(vectors.clone())              # (n, C)

    def forward(self, table: Tensor) -> Tensor:
        return torch.cat([table, self.vectors.to(table.dtype)])


# ------------------------------------------------------------------------------------------------------------ adapters

def add_lora(model: nn.Module, rank: int, where: tuple[str, ...] = (), scale: float = 1.0) -> nn.Module:
    """Give the linear layers and convolutions of a model, in place, a correction of low rank each, and freeze all else.

    where: parts of names, such as ("network",) or ("look", "attn"); a layer takes part if its name contains one of
    them, and every layer does if there are none. Layers that are smaller than the rank take what they can.
    Raises ValueError if no layer is meant."""
    whole(1, rank=rank)
    layers = {name: layer for name, layer in model.named_modules() if isinstance(layer, LAYERS)
              and (not where or any(part in name for part in where))}
    if not layers:
        raise ValueError(f"0 layers of {type(model).__name__} have {' or '.join(where) or 'a weight'} in their name")
    for name, layer in layers.items():
        if parametrize.is_parametrized(layer, "weight"):
            raise ValueError(f"{name} has an adapter of rank {adapters(model)[name].up.shape[1]}: merge it first")
    _freeze(model)
    for layer in layers.values():
        n_out, n_in = layer.weight.flatten(1).shape
        low = LowRank(n_out, n_in, min(rank, n_out, n_in), scale, layer.weight.device)
        parametrize.register_parametrization(layer, "weight", low)
    return model


def _freeze(model: nn.Module) -> None:
    added = {p for part in model.modules() if isinstance(part, LowRank | NewWords) for p in part.parameters()}
    for p in model.parameters():
        p.requires_grad_(p in added)


def adapters(model: nn.Module) -> dict[str, LowRank]:
    """The corrections of a model by the name of their layer."""
    return {name: layer.parametrizations.weight[0] for name, layer in model.named_modules()
            if isinstance(layer, LAYERS) and parametrize.is_parametrized(layer, "weight")}


def n_trained(model: nn.Module) -> int:
    """How many numbers a training would change."""
    return sum(p.numel() for p in model.parameters() if p.requires_grad)


@contextmanager
def strength(model: nn.Module, value: float) -> Iterator[nn.Module]:
    """All corrections of a model multiplied by a number while a `with` lasts: 0 is off, 1 as trained."""
    finite(**{"strength": value})
    parts = list(adapters(model).values())
    before = [part.strength for part in parts]
    try:
        for part in parts:
            part.strength = value
        yield model
    finally:
        for part, old in zip(parts, before):
            part.strength = old


def merge(model: nn.Module) -> nn.Module:
    """Add the corrections to the weights for good, in place: plain layers again, as fast as before.

    By hand: parametrize.remove_parametrizations changes a class that a copy of the model has too."""
    for layer in list(model.modules()):
        if isinstance(layer, (*LAYERS, nn.Embedding)) and parametrize.is_parametrized(layer, "weight"):
            weight = layer.weight.detach()
            del layer.parametrizations
            layer.__class__ = type(layer).__bases__[0]
            layer.weight = nn.Parameter(weight)
    return model


# ------------------------------------------------------------------------------------------------------- one new word

def add_word(model: nn.Module, word: str, like: str | None = None) -> nn.Module:
    """Teach a text-to-image model, in place, that there is one more word; its vector starts as that of a known word, or
    as random numbers of the same size, and is all that can be trained. Captions may hold the word from now on.

    Raises ValueError for a word that is known or has a space in it, and for an unknown `like`."""
    if not word.isalpha() or not word.islower() or word in model.vocabulary:
        raise ValueError(f"a new word is made of small letters and not one of {len(model.vocabulary)} known ones, "
                         f"not {word!r}")
    if model.config.extra:
        raise ValueError(f"{model.config.extra[0]!r} was added before, and 1 new word is what a model can have")
    if like is not None and like not in model.vocabulary:
        raise ValueError(f"{word!r} cannot start as {like!r}, which is none of {len(model.vocabulary)} known words")
    table = model.text.words
    old = table.weight.detach()
    start = old.std() * torch.randn_like(old[:1]) if like is None else old[model.vocabulary.index(like)][None]
    parametrize.register_parametrization(table, "weight", NewWords(start), unsafe=True)       # its shape changes
    model.config = replace(model.config, extra=(word,))
    model.text.config = replace(model.text.config, vocab_size=table.weight.shape[0])
    _freeze(model)
    return model


# ------------------------------------------------------------------------------------------------------------- in files

@dataclass
class AdapterConfig:
    base: str = ""                             # the name of the checkpoint that it belongs to
    base_sha256: str = ""                      # and the fingerprint of its weights
    layers: list = field(default_factory=list)           # [name, n_out, n_in, rank, scale] of each correction
    word: str = ""                             # the new word, if there is one
    n_embd: int = 0                            # and the length of its vector


class Adapter(nn.Module):
    """What was added to a model, apart from it: the numbers that a training changed, and whose they are."""

    def __init__(self, config: AdapterConfig):
        super().__init__()
        self.config = config
        self.layers = nn.ModuleDict({name.replace(".", "/"): LowRank(n_out, n_in, rank, scale)
                                     for name, n_out, n_in, rank, scale in config.layers})
        self.word = NewWords(torch.zeros(1, config.n_embd)) if config.word else None


def take(model: nn.Module, base: str) -> Adapter:
    """A copy of all that was added to a model by `add_lora` and `add_word`.  base: the checkpoint that it began as."""
    parts = adapters(model)
    extra = getattr(model.config, "extra", ())
    if not parts and not extra:
        raise ValueError(f"{type(model).__name__} has 0 adapters and no new word: there is nothing to take")
    layers = [[name, len(p.up), p.down.shape[1], p.up.shape[1], p.scale] for name, p in parts.items()]
    config = AdapterConfig(base, base_fingerprint(model), layers, *((extra[0], model.text.words.weight.shape[1])
                                                                    if extra else ()))
    adapter = Adapter(config)
    for name, part in parts.items():
        adapter.layers[name.replace(".", "/")].load_state_dict(part.state_dict())
    if extra:
        adapter.word.load_state_dict(model.text.words.parametrizations.weight[0].state_dict())
    return adapter


def put(adapter: Adapter, model: nn.Module) -> nn.Module:
    """A copy of the model that has what the adapter adds.  Raises CheckpointError for a model it was not made for."""
    c, found = adapter.config, base_fingerprint(model)
    if found != c.base_sha256:
        raise CheckpointError(f"this adapter belongs to {c.base!r} (weights {c.base_sha256[:8]}), and this "
                              f"{type(model).__name__} has the weights {found[:8]}: load the one that it was made for")
    model = deepcopy(model)
    if c.word:
        add_word(model, c.word)
        model.text.words.parametrizations.weight[0].load_state_dict(adapter.word.state_dict())
    named_layers = dict(model.named_modules())
    for name, n_out, n_in, rank, scale in c.layers:
        layer = named_layers[name]
        part = LowRank(n_out, n_in, rank, scale, layer.weight.device)
        part.load_state_dict(adapter.layers[name.replace(".", "/")].state_dict())
        parametrize.register_parametrization(layer, "weight", part)
    _freeze(model)
    return model.eval()


def base_fingerprint(model: nn.Module) -> str:
    """One hash of a model's weights without what was added to them, wherever they are."""
    kept = {}
    for name, t in model.state_dict().items():
        if ".parametrizations." not in name or name.endswith(".original"):
            kept[name.replace(".parametrizations", "").removesuffix(".original")] = t.detach().cpu()
    return fingerprint(kept, {})


# ------------------------------------------------------------------------------------- few pictures, and what was known

class FiveAndMany:
    """Batches for `fit`: latents and words, of few pictures of somebody and, as many in each batch, of the pictures of
    many others that the model drew before (the prior preservation of DreamBooth).

    z (N, ...) and attributes (N, 8) of the few pictures, who are called `word`; say=False leaves unsaid what they wear.
    prior: latents (M, ...) and their captions; None for no others. A pass has one batch."""

    def __init__(self, z: Tensor, attributes: Tensor, word: str, words: tuple[str, ...], batch_size: int = 8,
                 prior: tuple[Tensor, list[str]] | None = None, say: bool = True):
        whole(1, batch_size=batch_size)
        if len(z) != len(attributes) or prior is not None and len(prior[0]) != len(prior[1]):
            raise ValueError(f"{len(z)} pictures have {len(attributes)} rows of attributes" + (
                f", {len(prior[0])} others {len(prior[1])} captions: one each is needed" if prior else ""))
        self.z, self.attributes, self.word, self.words = z, attributes, word, words
        self.batch_size, self.prior, self.say = batch_size, prior, say

    def __len__(self) -> int:
        return 1

    def __iter__(self):
        told = seeded(int(torch.randint(2**31, ())))
        i = torch.randint(len(self.z), (self.batch_size,))
        captions = [named(row, self.word, told, 0.15 if self.say else 1.0) for row in self.attributes[i].tolist()]
        z = self.z[i.to(self.z.device)]
        if self.prior is not None:
            others, texts = self.prior
            i = torch.randint(len(others), (self.batch_size,))
            z = torch.cat([z, others[i.to(others.device)]])
            captions += [texts[k] for k in i.tolist()]
        yield z, encode(captions, words=self.words)
