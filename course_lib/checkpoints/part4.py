"""Part 4: the GANs of lesson 41, and what a minute makes of them for lesson 64."""

import torch

from course_lib.checkpoints.made import generator_row, on_one_core
from course_lib.data import Batches, load
from course_lib.dcgan import Discriminator, GANConfig, Generator
from course_lib.device import seed
from course_lib.gan import fit_gan, r1_penalty


def gan():
    """Lesson 41's DCGAN without labels: 2,500 batches of 32, one step of Adam (2e-3, betas 0 and 0.99) for each player,
    R1 of weight 0.1 every eighth step, learning rate falling over the second half, average of the last weights.

    The length of z was chosen by the distance of short runs from training digits: after 1,000 batches 7.0 with 16
    numbers, 10.2 with 64 (two seeds each)."""
    model, seconds = gan_after(0, 2_500)
    return model, generator_row(model, "GAN", lesson=41, steps=2_500, seconds=seconds)


def conditional_gan():
    """Lesson 41's DCGAN with labels, by projection in the discriminator: 5,000 batches of 32, as the one without."""
    model, seconds = gan_after(10, 5_000)
    return model, generator_row(model, "GAN", lesson=41, steps=5_000, seconds=seconds, labels=True)


def gan_after(n_class: int, steps: int, run: int = 0):
    """A generator after `steps` rounds, and the seconds they took. bfloat16 on a CPU too: no number of a lesson is
    compared with this run's, and it is 1.3 times faster."""
    x, y = load("digits").train
    seed(run)
    config = GANConfig(n_class=n_class)
    players = [m(config).to(memory_format=torch.channels_last) for m in (Generator, Discriminator)]
    history = fit_gan(*players, Batches(x, y, batch_size=32) if n_class else Batches(x, batch_size=32), steps,
                      n_latent=config.n_latent, penalty=r1_penalty, autocast=True, label="GAN")
    return players[0], history.seconds


def gan_minute():
    """The recipe of `gan` with 2,200 batches, about a minute of one processor core, for the table of lesson 64. Its
    seconds are those of the processor."""
    (model, _), seconds = on_one_core(gan_after, 0, 2_200)
    return model, generator_row(model, "GAN", lesson=64, steps=2_200, seconds=seconds)


def conditional_gan_minute():
    """The recipe of `conditional_gan` with 2,200 batches, about a minute of one processor core, for the table of lesson
    64. Its seconds are those of the processor."""
    (model, _), seconds = on_one_core(gan_after, 10, 2_200)
    return model, generator_row(model, "GAN", lesson=64, steps=2_200, seconds=seconds, labels=True)
