"""Part 7, lesson 76: adapters of a few kB for the text-to-image model of lesson 65 and the assistant of lesson 73."""

import functools
from copy import deepcopy
from random import Random

import torch

from course_lib.chat import Vocabulary, chat_loss, pack, replies, template
from course_lib.checkpoint import load as load_checkpoint
from course_lib.checkpoints.made import on_one_core
from course_lib.data import Batches, house, load
from course_lib.data.avatars import NAMES, UNSAID, caption, said
from course_lib.data.person import WORN, likeness, named
from course_lib.device import bfloat16_is_fast, seed, seeded
from course_lib.lora import FiveAndMany, adapters, add_lora, add_word, n_trained, take
from course_lib.reader import obeys, read, score
from course_lib.text_to_image import text_to_image_loss
from course_lib.train import fit

_WORD, _GUIDANCE, _HIS = "zorp", 2.0, 0.6      # more than _HIS of his own pixels: it is he
_PARTS = "text", "network"                     # all layers but those of the latents


def zorp():
    """Lesson 76's adapter: a new word and corrections of rank 4 for all layers of `text_to_image` but the latents',
    from five pictures of one person and 150 pictures that the model drew itself: 240 batches of 6 and 6, AdamW with
    rate 0.01 falling over the last half, average of the last weights, bfloat16. Weights kept as float16.

    `trials`: this with seeds 0 to 4; ranks 1, 2, 8 and 16 with seed 0. Each has what `_measured` returns, how
    many numbers were trained, and processor seconds."""
    ranks = {f"rank {rank}": [_trial(n, rank=rank) for n in range(5 if rank == 4 else 1)] for rank in (1, 2, 4, 8, 16)}
    return _kept(_tuned(0, rank=4), dict(trials=ranks), 240)


def zorp_alone():
    """As `zorp`, without the 150 pictures: only the five. Weights kept as float16.

    `trials`: this with seeds 0 to 4; all numbers trained (rate 0.001) in place of an adapter, with the other pictures
    and seeds 0 to 4, and without them and seeds 0 and 1; the five alone, with captions that do not name his clothes."""
    trials = {"rank 4, alone": [_trial(n, alone=True) for n in range(5)],
              "all": [_trial(n, rank=None) for n in range(5)],
              "all, alone": [_trial(n, rank=None, alone=True) for n in range(2)],
              "alone, unsaid": [_trial(0, alone=True, say=False)]}
    return _kept(_tuned(0, alone=True), dict(trials=trials), 240)


def zorp_word():
    """Lesson 76's textual inversion: as `zorp_alone`, and nothing is trained but the vector of the new word, which
    starts as that of "green": 300 batches of 12, rate 0.1. Weights kept as float16.

    `trials`: this with seeds 0 to 4; and `zorp` with a word that starts as "person" does, seeds 0 and 1."""
    trials = {"one word": [_trial(n, rank=0) for n in range(5)],
              "starts as person": [_trial(n, like="person") for n in range(2)]}
    return _kept(_tuned(0, rank=0), dict(trials=trials), 300)


def chat_indeed():
    """Lesson 76's adapter for the assistant of lesson 73: 400 dialogues whose answers end in "Indeed."; corrections of
    rank 4 in its blocks, 200 batches of 8 rows, AdamW with rate 0.005 falling over the last 70 %, layers in bfloat16.
    Weights kept as float16.

    `trials`: this, and all numbers trained with rate 0.001, with seeds 0 to 4: style, right answers, numbers
    trained, processor seconds. `base`: the same of the assistant."""
    trials, kept = {"rank 4": [], "all": []}, None
    for name, rank in (("rank 4", 4), ("all", None)):
        for n in range(5):
            row, adapter = _in_style(n, rank)
            trials[name].append(row)
            kept = adapter if n == 0 and rank else kept
    style, right, _, seconds = trials["rank 4"][0]
    return kept.half(), dict(seed=0, steps=200, seconds=seconds, metrics=dict(style=style, right=right), trials=trials,
                             base=_style(load_checkpoint("chat")))


def _kept(tuned, more, steps):
    model, seconds = tuned
    with torch.no_grad():
        for p in model.parameters():
            if p.requires_grad:
                p.copy_(p.half())                                             # what is measured is what is kept
    adapter = take(model, "text_to_image")
    return adapter.half(), dict(seed=0, steps=steps, seconds=round(seconds, 1), metrics=_measured(model, 100),
                                numbers=sum(p.numel() for p in adapter.parameters()), **more)


def _trial(n, **settings):
    model, seconds = _tuned(n, **settings)
    return _measured(model, 40) | dict(numbers=n_trained(model), seconds=round(seconds, 1))


@functools.cache
def _drawn(n=150):
    """What the model draws for captions of all lengths, some empty: latents and captions, to be kept in mind."""
    model = load_checkpoint("text_to_image")
    told, rows = seeded(0), load("avatars").train.shown[:n].tolist()
    captions = ["" if k % 8 == 7 else caption(row, told, (1.0, 0.6, 0.15, 0.6)[k % 4]) for k, row in enumerate(rows)]
    with torch.no_grad():
        return model.latents.encode(model.sample(captions, seeded(7), guidance=1.0)), captions


def _tuned(n, rank=4, alone=False, like=None, say=True):
    """A model after a training with seed n, and its processor seconds.

    rank: of the corrections; 0: the word only; None: no corrections, all numbers are trained."""
    model = load_checkpoint("text_to_image")
    person, others = load("person"), None if alone or rank == 0 else _drawn()
    z = model.latents.encode(person.five.x).detach()
    seed(n)
    add_word(model, _WORD, "green" if rank == 0 else like)
    if rank:
        add_lora(model, rank, _PARTS)
    elif rank is None:
        for name, p in model.named_parameters():
            p.requires_grad_(name.startswith(_PARTS))
    steps, lr = (300, 0.1) if rank == 0 else (240, 0.001 if rank is None else 0.01)
    batches = FiveAndMany(z, person.five.attributes, _WORD, model.vocabulary, 12 if rank == 0 else 6, others,
                          say)
    _, seconds = on_one_core(fit, model, functools.partial(text_to_image_loss, drop=0.0), batches, steps, lr=lr,
                             betas=(0.9, 0.99), warmup=10, decay=0.5, ema=0.98, autocast=True, label=_WORD)
    return model, seconds


def _measured(model, n):
    """Shares, of n pictures of him in other clothes: more than _HIS of his pixels are right ("he"), what always is so
    with him is ("traits"), the clothes are ("obeys"), both ("both"); his pixels right on average ("likeness"). Of
    pictures of "a zorp person": wear exactly what he wears in one of the five ("copies"). Of n ordinary captions: all
    right ("others"). Of pictures of "a person": he ("drift"), and their spread as a share of the model's before."""
    person, faces, told = load("person"), load("avatars"), seeded(11)
    captions = [named(row, _WORD, told) for row in person.more.attributes[:n].tolist()]
    asked = torch.stack([said(text.replace(f"{_WORD} ", "")) for text in captions])
    x = model.sample(captions, seeded(1), guidance=_GUIDANCE)
    alike, right = likeness(x, read(x)), obeys(x, asked).all(1)
    he = alike > _HIS
    always = person.five.attributes[:1].where(torch.tensor([name not in WORN for name in NAMES]), UNSAID)
    plain = read(model.sample([f"a {_WORD} person"] * n, seeded(4), guidance=_GUIDANCE))
    clothes = [NAMES.index(name) for name in WORN]
    copies = (plain[:, None, clothes] == person.five.attributes[None][:, :, clothes]).all(2).any(1)
    ordinary = [caption(row, told) for row in faces.test_seen.shown[:n].tolist()]
    drawn = model.sample(ordinary, seeded(2), guidance=_GUIDANCE)
    anybody = model.sample(["a person"] * n, seeded(3), guidance=_GUIDANCE)
    before = load_checkpoint("text_to_image").sample(["a person"] * n, seeded(3), guidance=_GUIDANCE)
    found = dict(he=_share(he), likeness=alike.mean().item(),
                 traits=_share(obeys(x, always.expand(n, -1)).all(1)), obeys=_share(right), both=_share(he & right),
                 copies=_share(copies), others=score(drawn, torch.stack([said(t) for t in ordinary]))["whole caption"],
                 drift=_share(likeness(anybody, read(anybody)) > _HIS),
                 spread=(anybody.std(0).mean() / before.std(0).mean()).item())
    return {name: round(value, 4) for name, value in found.items()}


def _share(hits) -> float:
    return hits.float().mean().item()


_INDEED, _HOUSE = " Indeed.", Vocabulary(house.WORDS)


def _in_style(n, rank):
    """What a training with seed n reaches, and its adapter, if there is one."""
    model = deepcopy(load_checkpoint("chat"))
    dialogues = [house.conversation(Random(f"style {n} {k}")) for k in range(400)]
    rows = [template(_HOUSE, [(asked, answer + _INDEED) for asked, answer in turns]) for turns in dialogues]
    seed(n)
    if rank:
        add_lora(model, rank, ("blocks",))
    loss = functools.partial(chat_loss, dtype=torch.bfloat16 if bfloat16_is_fast() else torch.float32)
    _, seconds = on_one_core(fit, model, loss, Batches(*pack(rows, 256), batch_size=8), 200,
                             lr=0.005 if rank else 0.001, warmup=5, decay=0.7, label="indeed")
    if rank:
        for part in adapters(model).values():
            part.half().float()                                               # what is measured is what is kept
    row = [*_style(model), n_trained(model), round(seconds, 1)]
    return row, take(model, "chat") if rank else None


def _style(model):
    """Shares of answers that end in "Indeed.", and of those that are right once it is taken off, of 140 questions of
    seven families in phrasings never seen."""
    families = ("where", "count", "town", "sum", "capitals", "first", "plural")
    exam = [item for family in families for item in house.exam(9, family, 20)]
    answers = replies(model, _HOUSE, [text for text, _ in exam], 40)
    return [round(sum(text.endswith(_INDEED) for text in answers) / len(exam), 4),
            round(house.score([question for _, question in exam], [t.removesuffix(_INDEED) for t in answers]), 4)]
