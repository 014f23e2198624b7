"""Part 5: the GPT of lesson 56 that writes chorales."""

from functools import partial

import torch

from course_lib.checkpoints.made import on_one_core
from course_lib.chorales import START, Copied, continued, first_bar, table
from course_lib.data.chorales import STEP, VOCABULARY, ChoraleWindows, encode, load_chorales
from course_lib.device import bfloat16_is_fast, seed, seeded
from course_lib.gpt import GPT, fast, lm_loss
from course_lib.metrics import bits_per_byte
from course_lib.muon import muon
from course_lib.train import fit

N_STEP = 64                                            # eighths that it can look back at: eight bars


def chorales():
    """Lesson 54's GPT, fast settings, 5 layers of width 128, on 314 chorales on a grid of eighths, each in a new key in
    every epoch: 1,500 batches of 8 windows of 64 eighths (320 tokens), dropout 0.1, Muon and AdamW with rates falling
    linearly to zero, layers in bfloat16, weights kept as float16.

    `trials`: five times the 34 chorales of the test, each begun by Bach and continued to 64 eighths at temperature 0.9:
    what is counted in them, and the longest run that each shares with the training set."""
    data, steps, stages = load_chorales(grid=8), 1_500, []
    test = torch.cat([START] + [encode(piece) for piece in data.test])

    def look(model):
        stages.append([(len(stages) + 1) * steps // 10, round(bits_per_byte(model, test, block_size=STEP * N_STEP), 4)])
        return {}

    seed(0)
    model = GPT(fast(vocab_size=VOCABULARY, n_layer=5, n_head=4, n_embd=128, block_size=STEP * N_STEP, dropout=0.1))
    loss_fn = partial(lm_loss, dtype=torch.bfloat16 if bfloat16_is_fast() else torch.float32)
    _, seconds = on_one_core(fit, model, loss_fn, ChoraleWindows(data.train, 8, N_STEP), steps, optimizer=muon,
                             decay=1.0, evaluate=look, eval_every=steps // 10, label="chorales")
    model = model.half().float().eval()                                        # what is measured is what is kept
    bits = bits_per_byte(model, test, block_size=STEP * N_STEP, stride=STEP * N_STEP // 2)
    copied, trials = Copied(data.train), []
    for run in range(5):
        pieces = continued(model, [first_bar(piece) for piece in data.test], N_STEP - 8, 0.9, seeded(run))
        trials.append(table(pieces) | {"longest runs": [copied.longest(piece) for piece in pieces]})
    return model.half(), dict(seed=0, steps=steps, seconds=round(seconds, 1), metrics={"bits_per_token": bits},
                              family="GPT", lesson=56, parameters=sum(p.numel() for p in model.parameters()),
                              stages=stages, trials=trials)
