"""Part 6: diffusion (61, 63) and flow matching (64)."""

from copy import deepcopy

import torch

from course_lib.checkpoint import load as load_checkpoint
from course_lib.checkpoint import metadata
from course_lib.checkpoints.made import generator_row, on_one_core
from course_lib.data import Batches, load
from course_lib.device import seed
from course_lib.muon import Muon, Together, muon_unet
from course_lib.pipeline import Pipeline, PipelineConfig, beside, pipeline_loss
from course_lib.train import fit


def ddpm():
    """Lesson 61's U-Net: 12,000 batches of 32 training digits, target v, cosine schedule, AdamW with the learning rate
    falling over the last 60 %, average of the last weights, bfloat16. Drawn in 30 of the 1,000 steps with fresh noise.

    Cosine was chosen before linear, v before eps, and fresh noise before none in runs of 2,400 batches that showed the
    test distance (12.2 and 15.4; 14.0 and 17.9 before the network had its overview; 9.5 and 12.2)."""
    return _digit_pipeline(PipelineConfig(path="v", steps=30), lesson=61, steps=12_000)


def conditional_ddpm():
    """Lesson 63's U-Net: the recipe of `ddpm` with labels, of which one in ten is left out, and 8,000 batches. Drawn
    with guidance 1.5.

    The guidance is the best of 1, 1.25, 1.5, 1.75, 2 and 2.5 for 1,000 training digits."""
    config = PipelineConfig(path="v", steps=30, guidance=1.5, sizes=dict(n_class=10))
    return _digit_pipeline(config, lesson=63, steps=8_000)


def flow():
    """Lesson 64's U-Net: the recipe of `conditional_ddpm` with flow matching and 16,000 batches. Drawn in 15 steps of
    the midpoint method, guided with scale 1.35 away from what the network of `flow_minute` says without a label.
    Weights kept as float16.

    The scale is the best of 1.25, 1.35, 1.5 and 1.7 for the training digits (0.276; with the network's own guess
    without a label, at its best scale 1.5, 0.356)."""
    model, seconds = _trained(PipelineConfig(sizes=dict(n_class=10)), 16_000)
    model = beside(model, load_checkpoint("flow_minute").network, guidance=1.35).half().float()    # what is kept
    seconds += metadata("flow_minute")["seconds"]
    made = generator_row(model, "flow", lesson=64, steps=16_000, seconds=seconds, labels=True)
    return model.half(), made


def _muon(pipeline):
    """Muon for the matrices that tokens pass through: after two minutes the training loss was 0.187, and 0.227 with
    AdamW for all. With the matrices of the modulation among them, a run of 7,500 batches diverged."""
    matrices = {name: p for name, p in pipeline.named_parameters()
                if ".blocks." in name and p.ndim == 2 and "modulation" not in name}
    others = [p for name, p in pipeline.named_parameters() if name not in matrices]
    return Together(Muon(matrices.values()),
                    torch.optim.AdamW(others, lr=2e-3, betas=(0.9, 0.99), weight_decay=0.0))


def _digit_pipeline(config, lesson, steps):
    model, seconds = _trained(config, steps)
    labels, family = "n_class" in config.sizes, "flow" if config.path == "flow" else "diffusion"
    return model, generator_row(model, family, lesson=lesson, steps=steps, seconds=seconds, labels=labels)


def _trained(config, steps, ema=0.998, data=None, optimizer=None, early=None):
    """early: after so many steps a copy of the average is taken, and at the end the model is guided away from it."""
    def look(model):
        if early and not kept:
            kept.append(deepcopy(model.network))
        return {}

    data, kept = load("digits").train[:2 if "n_class" in config.sizes else 1] if data is None else data, []
    seed(0)
    model = Pipeline(config).to(memory_format=torch.channels_last)
    history = fit(model, pipeline_loss, Batches(*data, batch_size=32), steps, lr=2e-3, betas=(0.9, 0.99), warmup=50,
                  decay=0.6, ema=ema, autocast=True, optimizer=optimizer, evaluate=look, eval_every=early,
                  label=config.path)
    return beside(model, kept[0], config.guidance) if early else model, history.seconds


def in_a_minute(config, steps, optimizer=muon_unet, data=None, early=None):
    """A short training: Muon and a shorter average.

    After 600 batches of flow matching with labels the loss is 0.181, with AdamW alone 0.199 (after 780, 0.189; with
    Muon a batch takes an eighth longer). Its rate was chosen among 0.005, 0.01, 0.02 and 0.04. Long runs end alike:
    that of `flow` with 0.141 on training digits and 0.150 on test digits, and after 12,000 batches with Muon 0.139
    and 0.149 (Fréchet distance, mean of four seeds of drawing, 0.54 and 0.56)."""
    return _trained(config, steps, 0.995, data, optimizer, early)


def ddpm_minute():
    """The recipe of `ddpm` with 1,200 batches, with Muon for the U-Net's inside and a shorter average, about a minute
    of one processor core, for the table of lesson 64. Its seconds are those of the processor."""
    config = PipelineConfig(path="v", steps=30)
    (model, _), seconds = on_one_core(in_a_minute, config, 1_200)
    return model, generator_row(model, "diffusion", lesson=64, steps=1_200, seconds=seconds)


def flow_minute():
    """The recipe of `flow` with 1,200 batches, with Muon for the U-Net's inside and a shorter average, about a minute
    of one processor core, for the table of lesson 64. Its seconds are those of the processor."""
    config = PipelineConfig(guidance=2.0, sizes=dict(n_class=10))
    (model, _), seconds = on_one_core(in_a_minute, config, 1_200)
    return model, generator_row(model, "flow", lesson=64, steps=1_200, seconds=seconds, labels=True)


def dit_minute():
    """The recipe of `flow_minute` with a DiT of 4 layers and width 64 in place of the U-Net: 1,300 batches, about a
    minute of one processor core, for lesson 64. Its seconds are those of the processor.

    Beside it is written what the U-Net reaches with as many operations: 684 batches, since one costs it 1.9 times as
    many (lesson 64 counts them)."""
    config = PipelineConfig(network="dit", guidance=2.0, sizes=dict(n_class=10, n_layer=4, n_embd=64))
    (model, _), seconds = on_one_core(in_a_minute, config, 1_300, _muon)
    made = generator_row(model, "flow", lesson=64, steps=1_300, seconds=seconds, labels=True)
    config = PipelineConfig(guidance=2.0, sizes=dict(n_class=10))
    (rival, _), seconds = on_one_core(in_a_minute, config, 684)
    unet = generator_row(rival, "flow", steps=684, seconds=seconds, labels=True)
    return model, made | {"unet_with_equal_flops": {k: unet[k] for k in ("steps", "seconds", "metrics")}}
