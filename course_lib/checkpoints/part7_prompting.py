"""Part 7: learning without training (75): pairs to recall, sums with and without steps, instructions."""

import random
from functools import partial

import torch

from course_lib.chat import chat_loss
from course_lib.checkpoints.made import on_one_core
from course_lib.data.prompts import (
    TASKS,
    VOCABULARY,
    Answers,
    Pairs,
    answer_in,
    ask,
    encode,
    lesson,
    pairs,
    phrase,
    shots,
    shown,
    solved,
    strings,
    sums,
    total_in,
)
from course_lib.decoding import generate
from course_lib.device import seed, seeded
from course_lib.gpt import GPT, fast
from course_lib.muon import muon
from course_lib.train import fit

TABLE = torch.randint(10, (26,), generator=seeded(75))                        # the one map of `recall_one_map`


def recall():
    """Lesson 75's model of two layers of 64: 600 batches of 32 rows of 24 pairs, 8 keys a row, a new map in every row,
    Muon and AdamW with rates falling over the last half. Weights kept as float16.

    `trials`: this ("two layers"), one layer, one map for all rows, and one map in half of the rows, 400 batches each
    with seeds 0 to 4: [batches, right at 0, 1, 2 and 3 shots on new maps, the same on the one map] at each stage."""
    settings = {"two layers": {}, "one layer": dict(n_layer=1), "one map": dict(table=TABLE),
                "half": dict(table=TABLE, share=0.5)}
    trials = {name: [_recaller(400, run=n, **changes)[1] for n in range(5)] for name, changes in settings.items()}
    model, stages, seconds = _recaller(600)
    return _kept(model, lambda m: dict(zip(("0 shots", "1 shot", "2 shots", "3 shots"), recalled(m, n=1_000))),
                 steps=600, seconds=seconds, stages=stages, trials=trials)


def recall_half():
    """The recipe of `recall` with one fixed map in half of the rows, and a new one in the others. Weights kept as
    float16."""
    model, stages, seconds = _recaller(600, table=TABLE, share=0.5)
    return _kept(model, lambda m: dict(zip(("0 shots", "1 shot", "2 shots", "3 shots"), recalled(m, n=1_000))),
                 steps=600, seconds=seconds, stages=stages)


def _recaller(steps, n_layer=2, run=0, table=None, share=1.0):
    stages = []

    def look(model):
        stages.append([25 * (len(stages) + 1), *recalled(model), *recalled(model, TABLE)])
        return {}

    seed(run)
    model = GPT(fast(vocab_size=len(VOCABULARY), block_size=48, n_layer=n_layer, n_embd=64))
    _, seconds = on_one_core(fit, model, chat_loss, Pairs(32, table=table, share=share), steps, optimizer=muon,
                             decay=0.5, evaluate=look, eval_every=25, label="recall")
    return model, stages, seconds


@torch.no_grad()
def recalled(model, table=None, n=200):
    """The share of values that are right at 0, 1, 2 and 3 shots."""
    idx = pairs(n, table=table, generator=seeded(1))
    right = model(idx[:, :-1])[:, ::2].argmax(-1) == idx[:, 1::2]                             # (n, n_pair)
    return [round(right[shots(idx) == k].float().mean().item(), 4) for k in range(4)]


def adder():
    """Lesson 75's sums with written steps: two layers of 64, batches of 64 sums of two numbers of 1, 2, 3 or 4 digits,
    1,400 batches, Muon and AdamW with rates falling over the last half. Weights kept as float16.

    `trials`: 600 batches each with seeds 0 to 4, in fewer seconds than those of `adder_plain` and `adder_reversed`:
    [exact right with 1, 2, 3, 4 and 5 digits, of 200 each] and processor seconds."""
    model, seconds = _adder("steps", 1_400)
    return _kept(model, partial(_by_length, way="steps"), steps=1_400, seconds=seconds, trials=_trials("steps", 600)[1])


def adder_plain():
    """The recipe of `adder` with sums written plain, 2,000 batches. Weights kept as float16.

    `trials`: as those of `adder`; the first is the one that is kept."""
    return _at_once("plain")


def adder_reversed():
    """The recipe of `adder` without steps and the digits of the sum reversed, 2,000 batches. Weights kept as float16.

    `trials`: as those of `adder`; the first is the one that is kept."""
    return _at_once("reversed")


def _at_once(way):
    model, trials = _trials(way, 2_000)
    return _kept(model, partial(_by_length, way=way), steps=2_000, seconds=trials[0][1], trials=trials)


def _trials(way, steps):
    runs = [_adder(way, steps, n) for n in range(5)]
    return runs[0][0], [[summed(model, way), seconds] for model, seconds in runs]


def _by_length(model, way):
    return {f"{k} digits": share for k, share in enumerate(summed(model, way), 1)}


def _adder(way, steps, run=0):
    seed(run)
    model = GPT(fast(vocab_size=len(VOCABULARY), block_size=96, n_layer=2, n_embd=64))
    _, seconds = on_one_core(fit, model, chat_loss, Answers(_draw_sums(way), 64), steps, optimizer=muon, decay=0.5,
                             label=way)
    return model, round(seconds, 1)


def _draw_sums(way):
    def draw(r):
        prompt, = sums(1, r.choice([1, 2, 3, 4]), way, seeded(r.getrandbits(60)))
        return [(prompt.text, False), (prompt.answer, True)]
    return draw


def summed(model, way, n=200):
    """The share of sums that are right, with 1, 2, 3, 4 and 5 digits."""
    found = []
    for n_digit in range(1, 6):
        prompts = sums(n, n_digit, way, seeded(1))
        wrote = generate(model, [encode(p.text) for p in prompts], max(len(encode(p.answer)) for p in prompts), 0.0)
        found.append(sum(total_in(row) == total_in(encode(p.answer)) for row, p in zip(wrote, prompts)) / n)
    return found


def instructed():
    """Lesson 75's model of instructions and examples: three layers of 64, batches of 32 rows, 2,000 batches, Muon and
    AdamW with rates falling over the last half. Weights kept as float16.

    `trials`: the metrics of three trainings, with seeds 0 to 2; the first is the one that is kept."""
    runs = [_follower(n) for n in range(3)]
    model, seconds = runs[0]
    return _kept(model, followed, steps=2_000, seconds=seconds, trials=[followed(m) for m, _ in runs])


def _follower(run, steps=2_000):
    seed(run)
    model = GPT(fast(vocab_size=len(VOCABULARY), block_size=96, n_layer=3, n_embd=64))
    _, seconds = on_one_core(fit, model, chat_loss, Answers(lesson, 32), steps, optimizer=muon, decay=0.5,
                             label="instructions")
    return model, round(seconds, 1)


def followed(model, n=150):
    """Shares of answers that are right: for each task by instruction; for each number of examples without one; and with
    a second instruction at the end of the data, obeyed or not, for each kind of marks."""
    r, found = random.Random(5), {}
    for task in TASKS:
        ones = [strings(1, r)[0] for _ in range(n)]
        found[task] = right(model, [(ask(phrase(task, r), " ".join(s)), solved(task, s)) for s in ones])
    for k in (1, 2, 3, 4, 5):
        given = []
        for _ in range(2 * n):
            task, (*examples, s) = r.choice([*TASKS]), strings(k + 1, r)
            given.append((f"{shown(task, examples)}{' '.join(s)} >", solved(task, s)))
        found[f"{k} examples"] = right(model, given)
    for name, marks in (("bare", ""), ("quotes", '""'), ("brackets", "[]")):
        trusted, injected = [], []
        for _ in range(2 * n):
            (s,), (a, b) = strings(1, r), r.sample([*TASKS], 2)
            text = ask(phrase(a, r), f"{' '.join(s)} {phrase(b, r)}", marks)
            trusted.append((text, solved(a, s)))
            injected.append((text, solved(b, s)))
        found |= {f"{name}: right": right(model, trusted), f"{name}: obeyed": right(model, injected)}
    return found


def right(model, given):
    wrote = generate(model, [encode(text) for text, _ in given], 6, 0.0)
    return round(sum(answer_in(row) == answer for row, (_, answer) in zip(wrote, given)) / len(given), 4)


def _kept(model, measure, *, steps, seconds, **more):
    model = model.half().float().eval()                                       # what is measured is what is kept
    metrics = {name: round(value, 4) for name, value in measure(model).items()}
    return model.half(), dict(seed=0, steps=steps, seconds=round(seconds, 1), metrics=metrics, **more)
