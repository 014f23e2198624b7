"""Part 3: the VAE of lesson 31, and what a minute makes of it for lesson 64; the VQ-VAE of lesson 33."""

import time
from functools import partial

import torch

from course_lib.augment import augment
from course_lib.checkpoint import load as load_checkpoint
from course_lib.checkpoint import metadata
from course_lib.checkpoints.made import generator_row, on_one_core
from course_lib.data import Batches, load
from course_lib.device import seed, seeded
from course_lib.metrics import frechet_distance, judge_features
from course_lib.train import fit
from course_lib.vae import VAE, MixtureVAE, VAEConfig, annealed
from course_lib.vqvae import VQVAE, VQVAEConfig, fsq_loss, perplexity, vqvae_loss


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


def vqvae():
    """Lesson 33's VQ-VAE, 128 codes of 8 numbers: 1,600 batches of 64 distorted training digits, codebook started by
    k-means, moving averages and restarts, AdamW with the learning rate falling over the last 60 %, average of the last
    weights, kept as float16. Of the factors 1, 1.5, 2, 2.5 and 3 on the logits of its images it has the one that is
    best on reconstructions of training digits.

    Learning rate and length of a code were chosen in runs of 400 batches."""
    model, seconds = _vqvae(1_600, vqvae_loss, wide=False)
    made = dict(seed=0, steps=1_600, seconds=round(seconds, 1), metrics=_rebuilds(_sharpened(model)))
    return model.half(), made


def vqvae_collapsed():
    """A small VQ-VAE of 8 channels after 200 batches whose codebook collapses: its 128 codes start at random and learn
    by gradient. Each word sees nearly the whole digit.

    `trials`, of small models with seeds 0 to 4, logits x 2: four sizes of the codebook, with words that see 8 x 8
    pixels as those of `vqvae` do; and the ways from this model to one that does not collapse. A row is what `columns`
    says, on test digits."""
    start = time.perf_counter()
    trials = {str(K): [_trial(seed, n_code=K, wide=False)[1] for seed in range(5)] for K in (8, 32, 128, 512)}
    trials |= {name: [_trial(seed, **how)[1] for seed in range(5)] for name, how in REPAIRS.items()}
    model, _ = _trial(0, **REPAIRS["as it is"])
    return model.half(), dict(seed=0, steps=200, seconds=round(time.perf_counter() - start, 1), trials=trials,
                              metrics=_rebuilds(model), columns=["distance", "perplexity", "live", "squared error"])


# From a codebook that collapses to one that does not, one repair after the other; and what needs none.
REPAIRS = {
    "as it is": dict(start=False, decay=None),
    "started at data": dict(decay=None),
    "moving averages": dict(restart=0.0),
    "restarts": dict(),
    "FSQ": dict(levels=(8, 4, 4)),
    "FSQ, 600 batches": dict(levels=(8, 4, 4), steps=600),
}


def _trial(seed_: int, start: bool = True, levels: tuple = (), n_code: int = 128, wide: bool = True, steps: int = 200,
           **settings) -> tuple[VQVAE, list[float]]:
    loss = fsq_loss if levels else partial(vqvae_loss, **settings)
    model, _ = _vqvae(steps, loss, seed_, start, n_channel=8, levels=levels, n_code=n_code, sharpness=2.0, wide=wide)
    row = _rebuilds(model)
    return model, [row[name] for name in ("rebuilt_frechet", "perplexity", "live", "squared_error")]


def _vqvae(steps: int, loss, seed_: int = 0, start: bool = True, **config):
    """A VQ-VAE after `steps` batches of distorted digits, and the seconds that it took."""
    x = load("digits").train.x
    seed(seed_)
    model = VQVAE(VQVAEConfig(**config)).to(memory_format=torch.channels_last)
    if start:
        model.start(x[:200])
    history = fit(model, lambda model, x: loss(model, augment(x)), Batches(x, batch_size=64), steps, lr=4e-3,
                  betas=(0.9, 0.99), warmup=50, decay=0.6, ema=0.998, label="vqvae")
    if hasattr(model.codes, "count"):
        model.codes.count.zero_()                                 # serves training only, and is no number for float16
    return model.half().float(), history.seconds                  # what is measured is what is kept


def _sharpened(model: VQVAE) -> VQVAE:
    """With the factor on the logits that is best on reconstructions of training digits."""
    x = load("digits").train.x[:1_000]
    model.config.sharpness = min((1.0, 1.5, 2.0, 2.5, 3.0), key=lambda factor: _distance(model, x, factor))
    return model


def _rebuilds(model: VQVAE) -> dict:
    """What lesson 33 says of a VQ-VAE, on the test digits."""
    x = load("digits").test.x
    tokens = model.encode(x)
    return {name: float(f"{value:.4g}") for name, value in dict(
        rebuilt_frechet=_distance(model, x, model.config.sharpness), squared_error=(
            model.decode(tokens) - x).square().flatten(1).sum(1).mean().item(),
        perplexity=perplexity(tokens, model.K).item(), live=len(tokens.unique())).items()}


def _distance(model: VQVAE, x: torch.Tensor, sharpness: float) -> float:
    """How far reconstructions are from the images themselves, to the judge's eye."""
    logits = model.draw(model.codes.lookup(model.encode(x)))
    return frechet_distance(judge_features((sharpness * logits).sigmoid()), judge_features(x))
