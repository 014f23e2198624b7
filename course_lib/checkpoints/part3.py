"""Part 3: the VAE of lesson 31, and what a minute makes of it for lesson 64."""

import time

import torch

from course_lib.checkpoint import load as load_checkpoint
from course_lib.checkpoint import metadata
from course_lib.checkpoints.made import generator_row, on_one_core
from course_lib.data import Batches, load
from course_lib.device import seed, seeded
from course_lib.train import fit
from course_lib.vae import VAE, MixtureVAE, VAEConfig, annealed


def vae():
    """Lesson 31's VAE: 7,000 batches of 64 training digits, beta from 0 to 1 over the first tenth, AdamW with the
    learning rate falling over the last 60 %, average of the last weights. Its images are drawn with sharpness 3.

    Sharpness, number of steps and length of the code were chosen in runs that showed the test distance; for the
    sharpness, reconstructions of training digits say the same (lesson 31)."""
    model, seconds = vae_after(7_000)
    return model, generator_row(model, "VAE", lesson=31, steps=7_000, seconds=seconds)


def vae_after(steps: int):
    seed(0)
    model = VAE(VAEConfig(sharpness=3.0)).to(memory_format=torch.channels_last)
    history = fit(model, annealed(steps // 10), Batches(load("digits").train.x, batch_size=64), steps, lr=2e-3,
                  betas=(0.9, 0.99), warmup=50, decay=0.6, ema=0.998, label="vae")
    return model, history.seconds


def vae_mixture():
    """The networks of `vae` with another prior: 20 Gaussians, fitted by EM to codes of the 4,000 training digits."""
    start = time.perf_counter()
    model = MixtureVAE.fit(load_checkpoint("vae"), load("digits").train.x, generator=seeded(0))
    made, seconds = metadata("vae"), time.perf_counter() - start
    return model, generator_row(model, "VAE", lesson=31, steps=made["steps"], seconds=made["seconds"] + seconds)


def vae_minute():
    """The recipe of `vae` with 1,900 batches, about a minute of one processor core, for the table of lesson 64. Its
    seconds are those of the processor."""
    (model, _), seconds = on_one_core(vae_after, 1_900)
    return model, generator_row(model, "VAE", lesson=64, steps=1_900, seconds=seconds)


def vae_mixture_minute():
    """The recipe of `vae_mixture` on the networks of `vae_minute`: a minute for these, and what EM takes."""
    made, x = metadata("vae_minute"), load("digits").train.x
    model, seconds = on_one_core(lambda: MixtureVAE.fit(load_checkpoint("vae_minute"), x, generator=seeded(0)))
    return model, generator_row(model, "VAE", lesson=64, steps=made["steps"], seconds=made["seconds"] + seconds)
