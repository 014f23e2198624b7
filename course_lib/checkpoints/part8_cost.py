"""Part 8, what a sample costs (86): the flow of lesson 64 in one step, and what each lever does to its digits."""

from dataclasses import replace
from functools import partial

import torch

from course_lib import flow
from course_lib.checkpoint import load as load_checkpoint
from course_lib.checkpoints.made import generator_row, on_one_core
from course_lib.cost import in_int8
from course_lib.data import Batches
from course_lib.device import seed, seeded
from course_lib.diffusion import autoguided
from course_lib.metrics import measure
from course_lib.muon import muon_unet
from course_lib.pipeline import Pipeline
from course_lib.train import fit

PAIRS, TEACHER_STEPS, STEPS = 8_000, 4, 1_500


def flow_one_step():
    """Lesson 86's distillation of `flow` to one step of the midpoint method without guidance: 8,000 pairs of noise and
    the digit that the teacher makes of it in 4 guided steps, then 1,500 batches of 32 of these, from the teacher's own
    weights, with Muon for the U-Net's inside, rates falling over the last 70 %, average of the last weights, bfloat16.
    Weights kept as float16.

    `spent` holds the processor seconds of drawing and of training. `levers` holds, for each setting of the lesson's
    table, the looks of a network for one digit and what the judge says of 1,000 digits, with an interval from 1,000
    resamplings; of all settings with labels the noise is the same."""
    teacher = load_checkpoint("flow")
    (eps, x, y), drawing = on_one_core(_pairs, teacher, PAIRS)
    model, training = on_one_core(_distilled, teacher, eps, x, y, STEPS)
    model = model.half().float()                                              # what is measured is what is kept
    made = generator_row(model, "flow", lesson=86, steps=STEPS, seconds=drawing + training, labels=True,
                         spent=[round(drawing, 1), round(training, 1)])
    made["levers"] = _levers(teacher, model)
    return model.half(), made


def _pairs(teacher, n):
    """Noise, the digit in [-1, 1] that the teacher makes of it, and its label, for n digits of ten kinds."""
    eps, y, ends = torch.randn(n, 1, 28, 28, generator=seeded(86)), torch.arange(n) % 10, []
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        for i in torch.arange(n).split(100):
            guided = autoguided(partial(teacher.network, y=y[i]), teacher.weak, teacher.config.guidance)
            ends.append(flow.midpoint(guided, eps[i], TEACHER_STEPS).float().clamp(-1, 1))
    return eps, torch.cat(ends), y


def _distilled(teacher, eps, x, y, steps):
    def loss_fn(model, eps, x, y):
        return flow.one_step_loss(partial(model.network, y=y), eps, x)

    seed(0)
    model = Pipeline(replace(teacher.config, weak=False, guidance=1.0, steps=1)).to(memory_format=torch.channels_last)
    model.network.load_state_dict(teacher.network.state_dict())
    fit(model, loss_fn, Batches(eps, x, y, batch_size=32), steps, optimizer=partial(muon_unet, lr=0.005, adam_lr=5e-4),
        warmup=20, decay=0.7, ema=0.995, autocast=True, label="one step")
    return model.eval()


def _levers(teacher, student):
    """name -> looks of a network for one digit, in which numbers the weights are, and what the judge says."""
    y, rows = torch.arange(1_000) % 10, {}

    def row(name, model, looks, weights="float32", labels=True, **settings):
        x = model.sample(1_000, *[y] * labels, generator=seeded(0), **settings).float()
        said = measure(x, y if labels else None, n_bootstrap=1_000)
        rows[name] = dict(evaluations=looks, weights=weights) | {
            k: said[k] for k in ("frechet", "frechet_error", "precision", "recall", "control") if k in said}

    for steps in (15, 8, 4, 2, 1):
        row(f"flow, guided, {_count(steps)}", teacher, 4 * steps, steps=steps)
    for steps in (15, 4, 2, 1):
        row(f"flow, not guided, {_count(steps)}", teacher, 2 * steps, steps=steps, guidance=1.0)
    row("flow, not guided, 1 step of Euler", _Euler(teacher.network), 1)
    row("distilled, 2 steps", student, 4, steps=2)
    row("distilled, 1 step", student, 2)
    row("distilled, 1 step of Euler", _Euler(student.network), 1)
    row("flow in 8 bits", in_int8(teacher), 16, "int8", steps=4)
    row("flow in bfloat16", load_checkpoint("flow").bfloat16(), 16, "bfloat16", steps=4)
    row("distilled in 8 bits", in_int8(student), 2, "int8")
    for name, looks, labels in (("ddpm", 1, False), ("conditional_ddpm", 2, True)):
        for steps in (15, 8):
            row(f"{name}, {steps} steps", load_checkpoint(name), looks * steps, labels=labels, steps=steps)
    return rows


def _count(steps):
    return f"{steps} step{'s' * (steps > 1)}"


class _Euler:
    """One look: where the velocity at the noise points."""

    def __init__(self, network):
        self.network = network

    def sample(self, n, y, generator):
        x = torch.randn(n, 1, 28, 28, generator=generator)
        parts = [flow.euler(partial(self.network, y=y[i]), x[i], 1) for i in torch.arange(n).split(100)]
        return (torch.cat(parts) / 2 + 0.5).clamp(0, 1)
