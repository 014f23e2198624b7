"""Part 8, lesson 85: samples that slow generators drew once, and detectors of fakes."""

import copy

import torch
from torch import Tensor, nn

from course_lib import checkpoint
from course_lib.baselines import Kept, KeptConfig
from course_lib.classify import classifier_loss, predict
from course_lib.convnet import ConvNet, ConvNetConfig
from course_lib.data import Batches, load
from course_lib.device import seed, seeded
from course_lib.metrics import balanced
from course_lib.privacy import auc
from course_lib.train import History, fit

GENERATORS = ("gaussian_mixture", "autoencoder", "vae", "vae_mixture", "image_gpt", "gan", "conditional_gan", "ddpm",
              "conditional_ddpm", "flow")
DIFFUSION = ("ddpm", "conditional_ddpm", "flow")                   # slow, too: their test samples are kept
ASKED = ("image_gpt", "conditional_gan", "conditional_ddpm", "flow")           # for a digit
TO_LEARN, TO_TEST = 1, 2                                           # seeds of samples: never the same for both
N_LEARN = 1_500                                                    # fakes of each generator to learn from
NEW = (10, 50, 200, 1_500)                                         # of the flow's fakes, to adapt to it


def fakes():
    """Lesson 85's samples of three generators that take their time, as bytes: 500 of the DDPM and of the conditional
    DDPM, and 1,500 of the flow, equally many of each digit. Detectors are tested on the first 500."""
    model = Kept(KeptConfig({"ddpm": 500, "conditional_ddpm": 500, "flow": 1_500}))
    for name, n in model.config.sizes.items():
        model.keep(name, drawn(name, n, TO_TEST))
    return model, dict(seed=TO_TEST, steps=0, seconds=0.0, metrics={})


def detector_gan():
    """Lesson 85's detector of the GAN's fakes: lesson 12's network with 32 channels and two classes, 4,000 training
    digits against 1,500 fakes, repeated until they are as many, 16 grey levels, 600 batches of 64, AdamW, rate falling
    over the last 60 %, average of the last weights.

    Beside it, in `trials`, five seeds of it, and one each of detectors of six other generators, all tested on all ten
    (see `tested`). Under "adapted", the five after 200 more batches in which half of the fakes are the flow's, of which
    there are only so many: how many -> five seeds of [area under the ROC curve for the flow, for the GAN]."""
    test, trials = _test_fakes(), {}
    for name in ("gaussian_mixture", "autoencoder", "vae", "vae_mixture", "image_gpt", "conditional_gan"):
        trials[name] = [tested(trained(drawn(name, N_LEARN, TO_LEARN))[0], test)]
    known, new = drawn("gan", N_LEARN, TO_LEARN), drawn("flow", N_LEARN, TO_LEARN)
    models, histories = zip(*(trained(known, s) for s in range(5)))
    trials["gan"] = [tested(model, test) for model in models]
    both, trials["adapted"] = {name: test[name] for name in ("flow", "gan")}, {}
    for n in NEW:
        rows = [tested(adapted(model, known, new[:n], s), both) for s, model in enumerate(models)]
        trials["adapted"][str(n)] = [[row[name][0] for name in both] for row in rows]
    return _shipped(models[0], trials, "gan", histories[0])


def detector_flow():
    """As `detector_gan`, of the flow's fakes.

    Beside it, in `trials`, one seed of it and of detectors of two other diffusion models; under "all", of all ten
    generators, 150 fakes of each, and, under "no diffusion", of the seven that are no diffusion models, 214 of each."""
    test, trials = _test_fakes(), {}
    slow = {name: drawn(name, N_LEARN, TO_LEARN) for name in DIFFUSION}
    for name, x in slow.items():
        model, history = trained(x)
        trials[name] = [tested(model, test)]
    others = {name: drawn(name, 220, TO_LEARN) for name in GENERATORS if name not in DIFFUSION}
    everything = torch.cat([x[:150] for x in (slow | others).values()])
    trials["all"] = [tested(trained(everything)[0], test)]
    trials["no diffusion"] = [tested(trained(torch.cat([x[:214] for x in others.values()]))[0], test)]
    return _shipped(model, trials, "flow", history)


# ------------------------------------------------------------------------------------------------------------ the parts

def drawn(name: str, n: int, start: int) -> Tensor:
    """n samples of a shipped generator, image i of the digit i % 10; a batch of 50 after the other, from one seed."""
    model, generator = checkpoint.load(name), seeded(start)
    if name not in ASKED:
        return balanced(model, n, generator)
    return torch.cat([model.sample(len(y), y, generator=generator) for y in (torch.arange(n) % 10).split(50)])


def _test_fakes() -> dict[str, Tensor]:
    kept = checkpoint.load("fakes")
    return {name: kept.of(name)[:500] if name in DIFFUSION else drawn(name, 500, TO_TEST) for name in GENERATORS}


def in_levels(x: Tensor, levels: int = 16) -> Tensor:
    """Images in [0, 1] with so many grey levels."""
    return (x * (levels - 1)).round() / (levels - 1)


def trained(fake: Tensor, start: int = 0, steps: int = 600) -> tuple[nn.Module, History]:
    """A detector of these fakes: logits of real (0) and generated (1)."""
    seed(start)
    model = ConvNet(ConvNetConfig(n_channel=32, n_class=2)).to(memory_format=torch.channels_last)
    history = fit(model, classifier_loss, _batches(load("digits").train.x, fake), steps, lr=2e-3, warmup=50, decay=0.6,
                  ema=0.99, label="detector")
    return model, history


def adapted(model: nn.Module, known: Tensor, new: Tensor, start: int = 0) -> nn.Module:
    """A copy that has learned on: 200 batches, in which a quarter are known fakes, and a quarter new ones."""
    model, real = copy.deepcopy(model), load("digits").train.x
    seed(start)
    fit(model, classifier_loss, _batches(real, known, new), 200, lr=5e-4, warmup=20, decay=0.6, ema=0.98)
    return model


def suspicion(model: nn.Module, x: Tensor) -> Tensor:
    """The logit of "generated", in float64.  (n, 1, 28, 28) in [0, 1] -> (n,)"""
    z = predict(model, in_levels(x)).double()
    return z[:, 1] - z[:, 0]


def tested(model: nn.Module, test: dict[str, Tensor]) -> dict:
    """Of the 1,000 test digits, the share that is accused; of each generator, the area under the ROC curve, the share
    of its fakes that is found, and the half width of the area's 95 % interval (1,000 bootstrap draws)."""
    real = suspicion(model, load("digits").test.x)
    scores = {name: suspicion(model, x) for name, x in test.items()}
    row = {name: [round(auc(s, real), 4), round((s > 0).double().mean().item(), 4), round(half_width(s, real), 4)]
           for name, s in scores.items()}
    return row | {"accused": round((real > 0).double().mean().item(), 4)}


def half_width(fake: Tensor, real: Tensor, n: int = 1_000) -> float:
    """1.96 standard errors of the area under the ROC curve, from n bootstrap draws of both sides. One matrix of all
    pairs serves all draws: a draw is how often each picture counts."""
    pairs, draw = (fake[:, None] > real).double() + 0.5 * (fake[:, None] == real), seeded(0)     # (N, M)
    counts = [torch.stack([torch.bincount(torch.randint(len(x), (len(x),), generator=draw), minlength=len(x))
                           for _ in range(n)]).double() for x in (fake, real)]                   # (n, N), (n, M)
    return 1.96 * (((counts[0] @ pairs) * counts[1]).sum(1) / pairs.numel()).std().item()


def _batches(real: Tensor, *fakes: Tensor) -> Batches:
    """As many fakes as real images, the same share of each kind, repeated as often as needed."""
    share = len(real) // len(fakes)
    x = torch.cat([real, *(fake[torch.arange(share) % len(fake)] for fake in fakes)])
    return Batches(in_levels(x), (torch.arange(len(x)) >= len(real)).long(), batch_size=64)


def _shipped(model: nn.Module, trials: dict, name: str, history: History) -> tuple[nn.Module, dict]:
    model.half().float()                                          # what the file keeps
    found = tested(model, {name: _test_fakes()[name]})
    made = dict(seed=0, steps=600, seconds=round(history.seconds, 1), trials=trials,
                metrics={"area": found[name][0], "found": found[name][1], "accused": found["accused"]})
    return model.half(), made
