"""Generative adversarial networks: the game. A generator turns noise into samples, a discriminator tells them from real
ones, each is trained against the other (Goodfellow et al., 2014).

    history = fit_gan(generator, discriminator, Batches(x), steps=2_000)

The game knows no network: any  generator(z, *y) -> x  and  discriminator(x, *y) -> logits (B,)  can play it. A logit is
positive for "real"; the probability D(x) is its sigmoid. The networks that draw digits are in dcgan.py.
"""

import math
import time
from collections.abc import Callable, Iterable
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from course_lib.device import device_of
from course_lib.expect import above, distributions, finite, same_shape, whole
from course_lib.train import (
    Endless,
    History,
    check_cost,
    check_functions,
    check_settings,
    explained,
    learning_rate,
    progress_bar,
    uses_bfloat16,
)

# ----------------------------------------------------------------------------------------------------------- the losses

def discriminator_loss(real_logits: Tensor, fake_logits: Tensor) -> Tensor:
    """-E log D(real) - E log(1 - D(fake)), in nats; 2 log 2 for a coin toss.  (B,), (B,) -> ()

    Goodfellow et al. (2014), eq. 1, to be minimised. softplus(-s) = -log sigmoid(s), without overflow."""
    return F.softplus(-real_logits).mean() + F.softplus(fake_logits).mean()


def generator_loss(fake_logits: Tensor) -> Tensor:
    """-E log D(fake): the loss that is used, called non-saturating, in nats.  (B,) -> ()

    Its gradient at a logit is -(1 - D): largest where the fake is recognised.
    Goodfellow et al. (2014), section 3."""
    return F.softplus(-fake_logits).mean()


def saturating_loss(fake_logits: Tensor) -> Tensor:
    """E log(1 - D(fake)): minus the discriminator's loss, the game of the theory, in nats.  (B,) -> ()

    Its gradient at a logit is -D: it vanishes where the fake is recognised.
    Goodfellow et al. (2014), eq. 1."""
    return -F.softplus(fake_logits).mean()


def r1_penalty(discriminator: Callable[[Tensor], Tensor], real: Tensor, fake: Tensor | None = None) -> Tensor:
    """E |gradient of the logit in the image|^2 at real images: a discriminator that is flat there cannot run away.

    real (B, ...) -> (), differentiable.  For logits w.x it is |w|^2. `fake` is not used: `fit_gan` hands it to every
    penalty.  Mescheder, Geiger & Nowozin (2018), eq. 9, without its factor gamma / 2."""
    same_shape(images=real)
    x = real.detach().requires_grad_()
    slope, = torch.autograd.grad(discriminator(x).sum(), x, create_graph=True)                  # (B, ...)
    return slope.flatten(1).square().sum(1).mean()


# ------------------------------------------------------------------------------------------------- what the theory says

def optimal_discriminator(p: Tensor, q: Tensor) -> Tensor:
    """p / (p + q): the best D(x) where real data have density p(x) and fakes q(x).  Same shapes -> in [0, 1]

    Where both are 0, nothing is known, and the answer is 1/2.  Raises ValueError for a negative density.
    Goodfellow et al. (2014), proposition 1."""
    same_shape(p=p, q=q)
    if not all(0 <= density.min() and density.max() < math.inf for density in (p, q)):
        raise ValueError(f"densities cannot be negative or infinite, and p reaches from {p.min().item():.3g} to "
                         f"{p.max().item():.3g}, q from {q.min().item():.3g} to {q.max().item():.3g}")
    larger = torch.maximum(p, q)
    a, b = (density / larger.where(larger > 0, 1.0) for density in (p, q))                      # p + q might overflow
    return torch.where(larger > 0, a / (a + b), 0.5)


# ------------------------------------------------------------------------------------------------------------- the loop

def fit_gan(generator: nn.Module, discriminator: nn.Module, loader: Iterable, steps: int, *, n_latent: int = 16,
            d_loss: Callable[[Tensor, Tensor], Tensor] = discriminator_loss,
            g_loss: Callable[[Tensor], Tensor] = generator_loss,
            penalty: Callable[..., Tensor] | None = None, penalty_weight: float = 0.1, penalty_every: int = 8,
            lr: float = 2e-3, betas: tuple[float, float] = (0.0, 0.99), decay: float = 0.5, ema: float | None = 0.995,
            evaluate: Callable[[nn.Module], dict[str, float]] | None = None, eval_every: int | None = None,
            autocast: bool | None = None, progress: bool = True, label: str = "") -> History:
    """Train both players in place, one step of Adam each per batch (x,) or (x, y) of `loader`. At the end `generator`
    holds the moving average of its weights.

    n_latent    how many standard normal numbers the generator starts from
    d_loss      minimised by the discriminator: d_loss(real_logits, fake_logits)
    g_loss      minimised by the generator: g_loss(fake_logits)
    penalty     `r1_penalty`, or None: penalty(f, real, fake), with f(x) the discriminator of these labels, is added to
                d_loss every `penalty_every` steps, times `penalty_weight`
    decay       fraction of the steps over which lr falls to zero
    ema         decay of the moving average of the generator's weights; the statistics of batch norm are copied
    evaluate    called with the averaged generator in eval mode every `eval_every` steps and at the end; draws of random
                numbers inside it do not change the training
    autocast    as for `fit`

    The history has "discriminator" and "generator" (losses, nats), and "D(real)" and "D(fake)": the mean probability
    of "real" before the discriminator's step. Raises ValueError for impossible settings and FloatingPointError, naming
    the step, when a loss is no longer finite.
    """
    check_settings(steps, lr, betas, decay, ema, evaluate, eval_every, autocast, generator, discriminator)
    whole(1, n_latent=n_latent, penalty_every=penalty_every)
    finite(0, penalty_weight=penalty_weight)
    check_functions(d_loss=d_loss, g_loss=g_loss, penalty=penalty)
    device = device_of(generator)
    d_optimizer = torch.optim.Adam(discriminator.parameters(), lr=lr, betas=betas, fused=True)
    g_optimizer = torch.optim.Adam(generator.parameters(), lr=lr, betas=betas, fused=True)
    average = AveragedModel(generator, multi_avg_fn=get_ema_multi_avg_fn(ema)) if ema else None   # buffers are copied
    precision = partial(torch.autocast, device.type, torch.bfloat16, enabled=uses_bfloat16(autocast, device))
    history, start, batches = History(), time.perf_counter(), Endless(loader)
    remedy = f"Lower lr={lr:g}, or add a penalty such as r1_penalty"
    learners = [p for p in generator.parameters() if p.requires_grad]
    generator.train()
    discriminator.train()
    bar = progress_bar(steps, label or "the game", progress)
    for step in range(steps):
        for group in d_optimizer.param_groups + g_optimizer.param_groups:
            group["lr"] = learning_rate(step, steps, lr, decay=decay)
        real, *y = (t.to(device) for t in next(batches))                                        # (B, ...), maybe (B,)
        z = torch.randn(len(real), n_latent, device=device)                                     # (B, n_latent)
        with precision(), explained(real):
            fake = generator(z, *y)                                                             # as real
            same_shape(**{"the generator's output": fake, "a batch of the loader": real})

            # The discriminator's move. Fakes are detached: it must not change the generator.
            real_logits, fake_logits = discriminator(real, *y), discriminator(fake.detach(), *y)   # (B,)
            terms = {"discriminator": d_loss(real_logits, fake_logits)}
        cost = check_cost(terms, "discriminator")
        if penalty and step % penalty_every == 0:                                               # dear, and may be rare
            cost = cost + penalty_weight * penalty(lambda x, y=y: discriminator(x, *y), real, fake.detach())
        d_optimizer.zero_grad(set_to_none=True)
        cost.backward()
        d_optimizer.step()

        # The generator's move, against the new discriminator, whose weights need no gradient now.
        with precision():
            terms["generator"] = g_loss(discriminator(fake, *y))
        g_optimizer.zero_grad(set_to_none=True)
        check_cost(terms, "generator").backward(inputs=learners)
        g_optimizer.step()

        if average is not None:
            average.update_parameters(generator)
        terms |= {"D(real)": real_logits.sigmoid().mean(), "D(fake)": fake_logits.sigmoid().mean()}
        history.add([terms], steps, remedy)
        bar.update()
        if evaluate and (step + 1 == steps or (eval_every and (step + 1) % eval_every == 0)):
            history.evaluate(step + 1, evaluate, generator if average is None else average.module)
    bar.close()
    if average is not None:
        generator.load_state_dict(average.module.state_dict())
    generator.eval()
    discriminator.eval()
    history.seconds = time.perf_counter() - start
    return history


# -------------------------------------------------------------------------------------------------------- mode collapse

def modes_hit(x: Tensor, centres: Tensor, radius: float, at_least: int = 1) -> int:
    """How many centres have `at_least` points within `radius`: for the ring of Gaussians, how many modes are drawn.

    x (n, D), centres (K, D) -> 0 ... K.  A point may lie near several centres."""
    above(0, radius=radius)
    whole(1, at_least=at_least)
    same_shape(**{"one point of x": x[:1], "one of the centres": centres[:1]})
    near = (x[:, None] - centres[None]).square().sum(2) <= radius**2                            # (n, K)
    return int((near.sum(0) >= at_least).sum())


def class_entropy(probs: Tensor) -> Tensor:
    """Entropy of the classes in a set of samples, in nats: log K if all are as frequent, 0 if there is only one.

    probs (n, K): a classifier's p(y | x), rows sum to 1 -> ().  exp of it is the number of classes in use; a rare class
    counts for less than 1."""
    share = distributions(probs).mean(0)                                                        # (K,)
    return -torch.special.xlogy(share, share).sum()
