"""Part 7, lesson 73: a base model that continues, and what becomes of it when it is shown dialogues."""

from functools import partial
from random import Random

import torch

from course_lib.chat import BEGIN, END, USER, Vocabulary, chat_loss, pack, prompt, replies, template, text_bits, write
from course_lib.checkpoint import load as load_checkpoint
from course_lib.checkpoints.made import on_one_core
from course_lib.data import Batches, house
from course_lib.device import bfloat16_is_fast, seed, seeded
from course_lib.gpt import GPT, fast
from course_lib.muon import muon
from course_lib.train import fit

_WORDS = Vocabulary(house.WORDS)
_SIZES = dict(n_layer=3, n_head=4, n_embd=64, block_size=256)
_FAMILIES = (*house.LOOK_UPS, *house.FACTS, *house.SKILLS, "talk")


def chat_base():
    """Lesson 73's base model: a GPT of 3 layers of width 64, fast settings, on 30,000 documents of the house in rows of
    256 tokens: 3,500 batches of 8 rows, Muon and AdamW with rates falling over the last 70 %, layers in bfloat16,
    weights kept as float16. It has seen no question.

    `stages`: after so many batches the bits per byte of new documents, and the shares of facts of a story, and of
    parts of the land, that are the most probable next word where a sentence tells them."""
    steps, stages, calls = 3_500, [], iter(range(100, 3_501, 100))

    def look(model):
        stages.append([next(calls), round(text_bits(model, _WORDS, _new_texts(50)), 4), *_known(model, 40)])
        return {}

    seed(0)
    model = GPT(fast(vocab_size=len(_WORDS), **_SIZES))
    rows = [_as_text(house.document(Random(f"train {n}"))) for n in range(30_000)]
    _, seconds = on_one_core(fit, model, _loss(), Batches(*pack(rows, 255), batch_size=8), steps, optimizer=muon,
                             warmup=20, decay=0.7, evaluate=look, eval_every=100, label="base")
    model = model.half().float()                                              # what is measured is what is kept
    facts, towns = _known(model, 200)
    told = write(model, [[BEGIN]] * 200, 120, 1.0, seeded(0))
    told = [text for text in map(_WORDS.decode, told) if " is in the " in text.split(".")[0]]  # stories, no lists
    possible, sentences = map(sum, zip(*map(house.coherence, told)))
    metrics = dict(bits_per_byte=round(text_bits(model, _WORDS, _new_texts(200)), 4), facts=facts, towns=towns,
                   coherence=round(possible / sentences, 4))
    return model.half(), dict(seed=0, steps=steps, seconds=round(seconds, 1), metrics=metrics, stages=stages,
                              parameters=sum(p.numel() for p in model.parameters()))


def chat():
    """Lesson 73's assistant: `chat_base`, and then 1,200 batches of 16 rows of 257 tokens, made of 20,000 dialogues and
    5,000 documents of its first training; loss on the answers alone (and on the documents), Muon and AdamW with rates
    falling over the last 70 %, layers in bfloat16, weights kept as float16.

    `trials`: short trainings of 200 batches with seeds 0 to 4, and what `metrics` measures: without documents, and as
    this one. `base`: the same of `chat_base`."""
    model, seconds = _tuned(0, 1_200, 20_000)
    model = model.half().float()
    trials = _trials({"no documents": dict(documents=0.0), "as it is": {}})[0]
    return model.half(), dict(seed=0, steps=1_200, seconds=round(seconds, 1), metrics=_measured(model, 200),
                              base=_measured(load_checkpoint("chat_base"), 100), trials=trials)


def chat_scratch():
    """As `chat`, 200 batches, from random weights in place of the base's. Weights kept as float16.

    `trials`: as those of `chat`, from random weights."""
    trials, model, seconds = _trials({"from scratch": dict(base=None)})
    model = model.half().float()
    metrics = _measured(model, 100)
    return model.half(), dict(seed=0, steps=200, seconds=round(seconds, 1), metrics=metrics, trials=trials)


def chat_sure():
    """As `chat`, 200 batches, without any question that nobody can answer: it always has an answer. Weights kept as
    float16.

    `trials`: as those of `chat`, for several shares of questions without an answer among those about a
    story."""
    trials, model, seconds = _trials({f"unknown {share}": dict(unknown=share) for share in (0.5, 0.05, 0.0)})
    model = model.half().float()
    metrics = _measured(model, 100)
    return model.half(), dict(seed=0, steps=200, seconds=round(seconds, 1), metrics=metrics, trials=trials)


def chat_careless():
    """As `chat`, 200 batches, without a mask and without an end: all tokens of the dialogues are learned, and no answer
    is closed by END. Weights kept as float16.

    `trials`: as those of `chat`, without the one, without the other, and without both."""
    trials, model, seconds = _trials({"no mask": dict(mask=False), "no end": dict(end=False),
                                      "neither": dict(mask=False, end=False)})
    model = model.half().float()
    metrics = _measured(model, 100)
    return model.half(), dict(seed=0, steps=200, seconds=round(seconds, 1), metrics=metrics, trials=trials)


def _trials(changes):
    """{name: what five short trainings reach}, the last change's model of seed 0, and the seconds that it took."""
    trials = {}
    for name, change in changes.items():
        found = [_tuned(n, **change) for n in range(5)]
        trials[name] = [_measured(model, 60) for model, _ in found]
    return trials, *found[0]


def _loss():
    return partial(chat_loss, dtype=torch.bfloat16 if bfloat16_is_fast() else torch.float32)


def _as_text(text: str) -> tuple[list[int], list[bool]]:
    tokens = [BEGIN, *_WORDS.encode(text)]
    return tokens, [False] + [True] * (len(tokens) - 1)


def _new_texts(n: int) -> list[str]:
    return [house.document(Random(f"test {k}")) for k in range(n)]


def _tuned(n, steps=200, n_dialogue=4_000, unknown=0.25, documents=0.25, mask=True, end=True, base="chat_base"):
    """A model after a training on dialogues with seed n, and its processor seconds. documents: how many of the base's
    sort are mixed in, as a share of the number of dialogues."""
    rows = [template(_WORDS, house.conversation(Random(f"{n} {k}"), unknown)) for k in range(n_dialogue)]
    if not mask:
        rows = [(tokens, [False] + [True] * (len(tokens) - 1)) for tokens, _ in rows]
    if not end:
        rows = [tuple(zip(*((t, m) for t, m in zip(*row) if t != END))) for row in rows]
    rows += [_as_text(house.document(Random(f"again {n} {k}"))) for k in range(round(documents * n_dialogue))]
    Random(n).shuffle(rows)
    seed(n)
    model = GPT(fast(vocab_size=len(_WORDS), **_SIZES))
    if base:
        model.load_state_dict(load_checkpoint(base).state_dict())
    _, seconds = on_one_core(fit, model, _loss(), Batches(*pack(rows, 256), batch_size=16), steps, optimizer=muon,
                             warmup=20, decay=0.7, label="dialogues")
    return model, seconds


def _right(model, family, n, exam_seed=1, **which) -> float:
    texts, questions = zip(*house.exam(exam_seed, family, n, **which))
    return round(house.score(questions, replies(model, _WORDS, list(texts), 32)), 4)


def _measured(model, n) -> dict[str, float]:
    """Shares of right answers by family, in phrasings never seen, and what else lesson 73 speaks of."""
    found = {family: _right(model, family, n) for family in (*_FAMILIES, house.HELD_OUT)}
    for name, which in (("phrasings seen", dict(tested=False)), ("new people", dict(people=house.NEW_PEOPLE))):
        found[name] = round(sum(_right(model, f, n // 2, 2, **which) for f in house.LOOK_UPS) / len(house.LOOK_UPS), 4)
    found["towns seen"] = _right(model, "town", n, tested=False)
    unknown, told, talk = [], [], []
    for family in house.LOOK_UPS:
        unknown += replies(model, _WORDS, [text for text, _ in house.exam(3, family, n // 2, unknown=True)], 32)
        told += replies(model, _WORDS, [text for text, _ in house.exam(3, family, n // 2)], 32)
    found["answered though nobody said"] = _share(not reply.startswith("Nobody said") for reply in unknown)
    found["refused though told"] = _share(reply.startswith("Nobody said") for reply in told)
    for family in ("where", "town", "sum", "capitals", "talk"):
        asked, questions = zip(*house.exam(4, family, n // 5))
        talk += zip(write(model, [prompt(_WORDS, [], text) for text in asked], 48), questions)
    found["user speaks too"] = _share(USER in row for row, _ in talk)
    found["begins right"] = _share(_WORDS.decode(row).startswith(question.answer) for row, question in talk)
    return found | {"bits_per_byte": round(text_bits(model, _WORDS, _new_texts(200)), 4)}


def _share(hits) -> float:
    hits = list(hits)
    return round(sum(hits) / len(hits), 4)


_VALUE = {"is": "room", "lie": "room", "hold": "person", "held": "room", "count": "number"}


def _known(model, n) -> tuple[float, float]:
    """The most probable next word where a sentence tells a fact, after a story (n of them) and of all towns: shares
    that are right."""
    facts, towns = [], [(f"{town} lies in the", part) for town, part in house.TOWNS.items()]
    for k in range(n):
        told, world = house.story(Random(f"known {k}"), 3, 3, 1)
        for verb, names in house.facts(world):
            begun, value = house.FORMS[verb][0].format(**names), names[_VALUE[verb]]
            facts.append((" ".join([*told, begun[:begun.rindex(value)].rstrip()]), value))
    return tuple(round(sum(_WORDS.decode(row) == value for row, (_, value) in zip(
        write(model, [[BEGIN, *_WORDS.encode(text)] for text, _ in items], 1), items)) / len(items), 4)
        for items in (facts, towns))
