"""Part 5: the GPTs of lesson 54."""

import platform
from functools import partial

import torch

from course_lib.checkpoints.made import on_one_core
from course_lib.data.text import Windows, decode, encode, load_text
from course_lib.decoding import generate
from course_lib.device import bfloat16_is_fast, seed, seeded
from course_lib.gpt import GPT, fast, lm_loss
from course_lib.metrics import bits_per_byte
from course_lib.muon import muon
from course_lib.train import fit


def gpt():
    """Lesson 54's GPT, fast settings, 5 layers of width 192, on the novels of Jane Austen: 7,000 batches of 8 windows
    of 256 bytes, Muon and AdamW with rates falling linearly to zero, layers in bfloat16, weights kept as float16.

    Four passes over the text: little is learned by heart yet, and dropout has nothing to do."""
    return _language_model("austen", "She ")


def gpt_code():
    """Lesson 54's GPT, fast settings, 5 layers of width 192, on the source of Python's standard library: 7,000 batches
    of 8 windows of 256 bytes, Muon and AdamW with rates falling linearly to zero, layers in bfloat16, weights kept as
    float16.

    Its Python's version is in the metadata."""
    return _language_model("code", "def ")


def _language_model(name: str, prompt: str, steps: int = 7_000):
    """`seconds` are those of one core: others who work on this machine do not count."""
    text, calls, stages = load_text(name), iter(range(1, 51)), []

    def look(model):                                                          # a sample at some stages of training
        if (call := next(calls)) in (1, 2, 5, 10, 25, 50):
            writing = generate(model, [encode(prompt)], 240, temperature=0.8, generator=seeded(0))[0]
            bits = bits_per_byte(model, text.test[:20_000], block_size=256)
            stages.append([call * steps // 50, round(bits, 4), prompt + decode(writing)])
        return {}

    seed(0)
    model = GPT(fast(n_layer=5, n_head=6, n_embd=192, block_size=256))
    loss_fn = partial(lm_loss, dtype=torch.bfloat16 if bfloat16_is_fast() else torch.float32)
    _, seconds = on_one_core(fit, model, loss_fn, Windows(text.train, 8, 256), steps, optimizer=muon, decay=1.0,
                              evaluate=look, eval_every=steps // 50, label=name)
    model = model.half().float()                                              # what is measured is what is kept
    metrics = {"bits_per_byte": bits_per_byte(model, text.test[:60_000], block_size=256, stride=128)}
    parameters = sum(p.numel() for p in model.parameters())
    return model.half(), dict(seed=0, steps=steps, seconds=round(seconds, 1), metrics=metrics, family="GPT", lesson=54,
                              parameters=parameters, text=name, train_bytes=len(text.train), stages=stages,
                              python=".".join(platform.python_version_tuple()[:2]))
