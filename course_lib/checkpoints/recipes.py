"""How each shipped checkpoint was made: one function a checkpoint, named like its file.

A recipe takes nothing, trains with the same functions that the lesson shows, measures, and returns the model with what
`checkpoint.save` writes beside it: recipe, seed, steps, seconds, metrics.  `make checkpoints NAME=judge` runs one.
The first paragraph of its docstring is the `recipe` text in the file.
"""

import platform
import time
from copy import deepcopy
from functools import partial

import torch

from course_lib.augment import augment
from course_lib.autoencoder import PCA, Autoencoder, AutoencoderConfig, reconstruction_loss
from course_lib.baselines import Noise, NoiseConfig, TrainingDigits, TrainingDigitsConfig
from course_lib.checkpoint import load as load_checkpoint
from course_lib.checkpoint import metadata
from course_lib.classify import accuracy, classifier_loss
from course_lib.convnet import ConvNet, ConvNetConfig
from course_lib.data import Batches, load
from course_lib.data.text import Windows, decode, encode, load_text
from course_lib.dcgan import Discriminator, GANConfig, Generator
from course_lib.device import bfloat16_is_fast, seed, seeded
from course_lib.gan import fit_gan, r1_penalty
from course_lib.gaussians import ClassGaussians, GaussianMixture
from course_lib.gpt import GPT, fast, generate, lm_loss
from course_lib.metrics import bits_per_byte, measure
from course_lib.muon import Muon, Together, muon, muon_unet
from course_lib.pipeline import Pipeline, PipelineConfig, beside, pipeline_loss
from course_lib.train import fit
from course_lib.vae import VAE, MixtureVAE, VAEConfig, annealed


def judge():
    """Lesson 12's CNN on the 4,000 training digits, each time with another random affine and elastic distortion:
    5,000 batches of 64, AdamW, learning rate falling over the last 70 %, average of the last weights.

    The settings were chosen on parts of the training digits. Two candidates were measured on the test digits: this one
    (99.3 %) and one with 32 channels and 6,000 steps (99.1 %), a difference that 1,000 digits cannot tell from chance.
    """
    def loss_fn(model, x, y):
        return classifier_loss(model, augment(x), y)

    digits, steps = load("digits"), 5_000
    seed(0)
    model = ConvNet(ConvNetConfig(n_channel=48)).to(memory_format=torch.channels_last)    # 1.4 times faster on a CPU
    history = fit(model, loss_fn, Batches(*digits.train, batch_size=64), steps, lr=4e-3, betas=(0.9, 0.99),
                  weight_decay=0.02, warmup=100, decay=0.7, ema=0.998, label="judge")
    metrics = {"test_accuracy": accuracy(model, *digits.test)}
    return model, dict(seed=0, steps=steps, seconds=round(history.seconds, 1), metrics=metrics)


def class_gaussians():
    """Lesson 13's class-conditional Gaussians, fitted in closed form to the 4,000 training digits.

    The number of axes and the shrinkage were chosen on 800 of the training digits."""
    digits, start = load("digits"), time.perf_counter()
    model = ClassGaussians.fit(*digits.train)
    seconds = time.perf_counter() - start
    return model, _generator(model, "Gaussians", steps=1, seconds=seconds, labels=True)


def gaussian_mixture():
    """Lesson 13's mixture of 80 Gaussians, fitted by 40 steps of EM to the 4,000 training digits without their labels.

    The number of Gaussians and the shrinkage were chosen on 800 of the training digits."""
    digits, start = load("digits"), time.perf_counter()
    model, _ = GaussianMixture.fit(digits.train.x, n_gaussian=80, steps=40, generator=seeded(0))
    seconds = time.perf_counter() - start
    return model, _generator(model, "mixture", steps=40, seconds=seconds)


def pca():
    """Lesson 21's principal component analysis of the 4,000 training digits, 16 axes, in closed form; it draws codes
    from the Gaussian of the training digits' codes."""
    x, start = load("digits").train.x, time.perf_counter()
    model = PCA.fit(x, n_latent=16)
    return model, _rebuilds(model, _generator(model, "PCA", lesson=21, steps=1, seconds=time.perf_counter() - start))


def autoencoder():
    """Lesson 21's convolutional autoencoder with codes of 16 numbers: 2,000 batches of 64 training digits, squared
    error, AdamW, learning rate falling over the last 70 %, average of the last weights. It draws codes from the
    Gaussian of the training digits' codes.

    Learning rate and steps were chosen on 800 of the training digits."""
    model, history = _autoencoder(n_latent=16)
    made = _generator(model, "autoencoder", lesson=21, steps=len(history), seconds=history.seconds)
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


def vae():
    """Lesson 31's VAE: 7,000 batches of 64 training digits, beta from 0 to 1 over the first tenth, AdamW with the
    learning rate falling over the last 60 %, average of the last weights. Its images are drawn with sharpness 3.

    Sharpness, number of steps and length of the code were chosen in runs that showed the test distance; for the
    sharpness, reconstructions of training digits say the same (lesson 31)."""
    model, seconds = _vae(7_000)
    return model, _generator(model, "VAE", lesson=31, steps=7_000, seconds=seconds)


def _vae(steps: int):
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
    return model, _generator(model, "VAE", lesson=31, steps=made["steps"], seconds=made["seconds"] + seconds)


def gan():
    """Lesson 41's DCGAN without labels: 2,500 batches of 32, one step of Adam (2e-3, betas 0 and 0.99) for each player,
    R1 of weight 0.1 every eighth step, learning rate falling over the second half, average of the last weights.

    The length of z was chosen by the distance of short runs from training digits: after 1,000 batches 7.0 with 16
    numbers, 10.2 with 64 (two seeds each)."""
    model, seconds = _game(0, 2_500)
    return model, _generator(model, "GAN", lesson=41, steps=2_500, seconds=seconds)


def conditional_gan():
    """Lesson 41's DCGAN with labels, by projection in the discriminator: 5,000 batches of 32, as the one without."""
    model, seconds = _game(10, 5_000)
    return model, _generator(model, "GAN", lesson=41, steps=5_000, seconds=seconds, labels=True)


def _game(n_class: int, steps: int, run: int = 0):
    """A generator after `steps` rounds, and the seconds they took. bfloat16 on a CPU too: no number of a lesson is
    compared with this run's, and it is 1.3 times faster."""
    x, y = load("digits").train
    seed(run)
    config = GANConfig(n_class=n_class)
    players = [m(config).to(memory_format=torch.channels_last) for m in (Generator, Discriminator)]
    history = fit_gan(*players, Batches(x, y, batch_size=32) if n_class else Batches(x, batch_size=32), steps,
                      n_latent=config.n_latent, penalty=r1_penalty, autocast=True, label="GAN")
    return players[0], history.seconds


def vae_minute():
    """The recipe of `vae` with 1,900 batches, about a minute of one processor core, for the table of lesson 64. Its
    seconds are those of the processor."""
    (model, _), seconds = _on_one_core(_vae, 1_900)
    return model, _generator(model, "VAE", lesson=64, steps=1_900, seconds=seconds)


def vae_mixture_minute():
    """The recipe of `vae_mixture` on the networks of `vae_minute`: a minute for these, and what EM takes."""
    made, x = metadata("vae_minute"), load("digits").train.x
    model, seconds = _on_one_core(lambda: MixtureVAE.fit(load_checkpoint("vae_minute"), x, generator=seeded(0)))
    return model, _generator(model, "VAE", lesson=64, steps=made["steps"], seconds=made["seconds"] + seconds)


def gan_minute():
    """The recipe of `gan` with 2,200 batches, about a minute of one processor core, for the table of lesson 64. Its
    seconds are those of the processor."""
    (model, _), seconds = _on_one_core(_game, 0, 2_200)
    return model, _generator(model, "GAN", lesson=64, steps=2_200, seconds=seconds)


def conditional_gan_minute():
    """The recipe of `conditional_gan` with 2,200 batches, about a minute of one processor core, for the table of lesson
    64. Its seconds are those of the processor."""
    (model, _), seconds = _on_one_core(_game, 10, 2_200)
    return model, _generator(model, "GAN", lesson=64, steps=2_200, seconds=seconds, labels=True)


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
    made = _generator(model, "flow", lesson=64, steps=16_000, seconds=seconds, labels=True)
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
    return model, _generator(model, family, lesson=lesson, steps=steps, seconds=seconds, labels=labels)


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


def _in_a_minute(config, steps, optimizer=muon_unet, data=None, early=None):
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
    (model, _), seconds = _on_one_core(_in_a_minute, config, 1_200)
    return model, _generator(model, "diffusion", lesson=64, steps=1_200, seconds=seconds)


def flow_minute():
    """The recipe of `flow` with 1,200 batches, with Muon for the U-Net's inside and a shorter average, about a minute
    of one processor core, for the table of lesson 64. Its seconds are those of the processor."""
    config = PipelineConfig(guidance=2.0, sizes=dict(n_class=10))
    (model, _), seconds = _on_one_core(_in_a_minute, config, 1_200)
    return model, _generator(model, "flow", lesson=64, steps=1_200, seconds=seconds, labels=True)


def dit_minute():
    """The recipe of `flow_minute` with a DiT of 4 layers and width 64 in place of the U-Net: 1,300 batches, about a
    minute of one processor core, for lesson 64. Its seconds are those of the processor.

    Beside it is written what the U-Net reaches with as many operations: 684 batches, since one costs it 1.9 times as
    many (lesson 64 counts them)."""
    config = PipelineConfig(network="dit", guidance=2.0, sizes=dict(n_class=10, n_layer=4, n_embd=64))
    (model, _), seconds = _on_one_core(_in_a_minute, config, 1_300, _muon)
    made = _generator(model, "flow", lesson=64, steps=1_300, seconds=seconds, labels=True)
    config = PipelineConfig(guidance=2.0, sizes=dict(n_class=10))
    (rival, _), seconds = _on_one_core(_in_a_minute, config, 684)
    unet = _generator(rival, "flow", steps=684, seconds=seconds, labels=True)
    return model, made | {"unet_with_equal_flops": {k: unet[k] for k in ("steps", "seconds", "metrics")}}


def _on_one_core(train, *settings, **named):
    """What `train(*settings, **named)` returns, and the processor's seconds that it took with one thread: the time on
    the clock of a machine that does nothing else."""
    threads, start = torch.get_num_threads(), time.process_time()
    torch.set_num_threads(1)
    try:
        return train(*settings, **named), time.process_time() - start
    finally:
        torch.set_num_threads(threads)


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
    _, seconds = _on_one_core(fit, model, loss_fn, Windows(text.train, 8, 256), steps, optimizer=muon, decay=1.0,
                              evaluate=look, eval_every=steps // 50, label=name)
    model = model.half().float()                                              # what is measured is what is kept
    metrics = {"bits_per_byte": bits_per_byte(model, text.test[:60_000], block_size=256, stride=128)}
    parameters = sum(p.numel() for p in model.parameters())
    return model.half(), dict(seed=0, steps=steps, seconds=round(seconds, 1), metrics=metrics, family="GPT", lesson=54,
                              parameters=parameters, text=name, train_bytes=len(text.train), stages=stages,
                              python=".".join(platform.python_version_tuple()[:2]))


def training_digits():
    """The training digits themselves: what a perfect generator would be measured to be."""
    model = TrainingDigits(TrainingDigitsConfig())
    return model, _generator(model, "real", labels=True, role="ceiling")


def noise():
    """Independent uniform pixels: the worst of the leaderboard."""
    model = Noise(NoiseConfig())
    return model, _generator(model, "noise", role="floor")


def _generator(model, family: str, *, labels: bool = False, steps: int = 0, seconds: float = 0.0, lesson: int = 13,
               **more) -> dict:
    """What is written beside a generator: its row of the leaderboard, of 1,000 samples with seed 0, and who judged.
    labels: it can be asked for a class, and is, for 100 of each."""
    y = torch.arange(1_000) % 10 if labels else None
    x = model.sample(1_000, y, generator=seeded(0)) if labels else model.sample(1_000, generator=seeded(0))
    parameters = sum(t.numel() for t in model.state_dict().values())
    return dict(seed=0, steps=steps, seconds=round(seconds, 1), metrics=measure(x, y), family=family, lesson=lesson,
                parameters=parameters, judge=metadata("judge")["sha256"]) | more
