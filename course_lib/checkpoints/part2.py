"""Part 2: the autoencoders of lesson 21."""

import time

import torch

from course_lib.autoencoder import PCA, Autoencoder, AutoencoderConfig, reconstruction_loss
from course_lib.checkpoints.made import generator_row
from course_lib.data import Batches, load
from course_lib.device import seed
from course_lib.train import fit


def pca():
    """Lesson 21's principal component analysis of the 4,000 training digits, 16 axes, in closed form; it draws codes
    from the Gaussian of the training digits' codes."""
    x, start = load("digits").train.x, time.perf_counter()
    model = PCA.fit(x, n_latent=16)
    return model, _rebuilds(model, generator_row(model, "PCA", lesson=21, steps=1, seconds=time.perf_counter() - start))


def autoencoder():
    """Lesson 21's convolutional autoencoder with codes of 16 numbers: 2,000 batches of 64 training digits, squared
    error, AdamW, learning rate falling over the last 70 %, average of the last weights. It draws codes from the
    Gaussian of the training digits' codes.

    Learning rate and steps were chosen on 800 of the training digits."""
    model, history = _autoencoder(n_latent=16)
    made = generator_row(model, "autoencoder", lesson=21, steps=len(history), seconds=history.seconds)
    return model, _rebuilds(model, made)


def autoencoder_2d():
    """Lesson 21's convolutional autoencoder with codes of 2 numbers, for the map of all digits; otherwise as
    `autoencoder`."""
    model, history = _autoencoder(n_latent=2)
    return model, _rebuilds(model, dict(seed=0, steps=len(history), seconds=round(history.seconds, 1), metrics={}))


def _autoencoder(n_latent: int):
    x = load("digits").train.x
    seed(0)
    model = Autoencoder(AutoencoderConfig(n_latent)).to(memory_format=torch.channels_last)
    history = fit(model, reconstruction_loss, Batches(x, batch_size=64), steps=2_000, lr=4e-3, betas=(0.9, 0.99),
                  warmup=20, decay=0.7, ema=0.998, label=f"codes of {n_latent}")
    with torch.no_grad():
        model.codes.fit(model.encode(x))
    return model, history


@torch.no_grad()
def _rebuilds(model, made: dict) -> dict:
    """Adds how far the test digits are from their reconstructions: squared error, summed over pixels."""
    error = reconstruction_loss(model, load("digits").test.x)["loss"].item()
    return made | {"metrics": made["metrics"] | {"reconstruction": float(f"{error:.4g}")}}
