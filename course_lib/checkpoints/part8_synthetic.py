"""Part 8, lesson 81: does generated data help, and what becomes of models that are trained on models?"""

import time
from collections.abc import Callable

import torch
from torch import Tensor

from course_lib.augment import augment
from course_lib.checkpoint import load as load_checkpoint
from course_lib.classify import classifier_loss, predict
from course_lib.convnet import ConvNet, ConvNetConfig
from course_lib.data import Batches, load
from course_lib.device import seed, seeded
from course_lib.gaussians import ClassGaussians, GaussianMixture
from course_lib.masked import few_labels
from course_lib.metrics import control_accuracy, frechet_distance, judge_features, precision_recall, the_judge
from course_lib.muon import muon_unet
from course_lib.pipeline import Pipeline, PipelineConfig, pipeline_loss
from course_lib.train import fit
from course_lib.vae import VAE, MixtureVAE, VAEConfig, annealed

LABELS = (30, 100, 1_000)
ASKED = torch.arange(1_000) % 10               # of a generator: 100 digits of each class
COMMON, RARE = 120, {4: 30, 6: 10}             # how many digits of a class the first round sees, of 1,000
COLUMNS = ["distance", "recall", "variance", "share of 4", "share of 6", "largest share"]


def flow_hundred():
    """Lesson 81's flow, which learns from 100 labelled training digits and no others: network as of `flow`, 1,000
    batches of 32 distorted digits, with Muon for the U-Net's inside, average of the last weights. Weights kept as
    float16.

    Beside it, in `trials`, five seeds of it (labels, weights and batches) at the work of helping the classifier of
    `hundred_labels` that has the same 100 labels: accuracy on the test digits. Each batch of the classifier is half
    real, half drawn from 1,000 generated digits. `control` is the share of the generated digits in which the judge, who
    knows more, sees the digit that was asked for; nothing was chosen by it. In a first try with one seed, 500 batches,
    the flow helped no more (0.951 with augmentation), nor did a VAE with one Gaussian of codes a class (0.953)."""
    trials, kept, start = {"control": {"100": []}}, None, time.perf_counter()
    for s in range(5):
        x, y = labelled(100, s)
        model = flow_of(x, y, s)
        kept = kept or model
        made = model.sample(1_000, ASKED, generator=seeded(s))
        trials["control"]["100"].append(control_accuracy(None, made, ASKED))
        _add(trials, 100, s, {"flow of the same": (x, y, made, None), "augmented, flow of the same":
                              (x, y, made, augment), "flow of the same, no real": (x[:0], y[:0], made, None)})
    metrics = {"control": trials["control"]["100"][0]}
    return kept.half(), dict(seed=0, steps=1_000, seconds=round((time.perf_counter() - start) / 5, 1), metrics=metrics,
                             trials=trials)


def generated_hundred():
    """Lesson 81's cheat: the classifier of `hundred_labels` with 100 labelled digits and 1,000 digits of `flow`, which
    saw 4,000 labels; half of each batch is real. Otherwise trained as `hundred_labels`, with augmentation.

    Beside it, in `trials`, five seeds for each number of labels, with other generators in its place: Gaussians of the
    same labelled digits, and of 40 distorted copies of each; with and without augmentation; and with no real digits at
    all. The digits of `flow` are the same 1,000 for all seeds."""
    trials = {}
    flow = load_checkpoint("flow").sample(1_000, ASKED, generator=seeded(0))
    for n in LABELS:
        for s in range(5):
            x, y = labelled(n, s)
            copies = augment(x.repeat(40, 1, 1, 1), generator=seeded(s))
            own = gaussians_of(x, y).sample(1_000, ASKED, generator=seeded(s))
            bent = gaussians_of(copies, y.repeat(40)).sample(1_000, ASKED, generator=seeded(s))
            ways = {"Gaussians": (x, y, own, None), "Gaussians of copies": (x, y, bent, None),
                    "augmented, Gaussians": (x, y, bent, augment), "shipped flow": (x, y, flow, None),
                    "augmented, shipped flow": (x, y, flow, augment)}
            if n == 100:
                ways |= {"Gaussians, no real": (x[:0], y[:0], own, None),
                         "shipped flow, no real": (x[:0], y[:0], flow, None)}
            _add(trials, n, s, ways)
    x, y = labelled(100, 0)
    model, seconds = classifier(*mixed(x, y, flow, ASKED), 0, augment)
    metrics = {"test_accuracy": trials["augmented, shipped flow"]["100"][0]}
    return model, dict(seed=0, steps=250, seconds=round(seconds, 1), metrics=metrics, trials=trials)


def mixture_tenth():
    """Lesson 81's mixture of Gaussians that is the tenth in a row: the first was fitted to 1,000 digits, 120 of each
    class but 30 fours and 10 sixes, each next one to 1,000 samples of the one before. 20 Gaussians on 50 axes.

    Beside it, in `trials`, five such rows, and five with 4,000 samples a round; of the first digits and of each round's
    samples what `columns` says."""
    model, made = _rounds("replace", mixture_of, 5)
    made["trials"]["replace, 4,000"] = [generations(mixture_of, rare_digits(s), 10, 4_000, False, seeded(s))[1]
                                        for s in range(5)]
    return model, made | dict(steps=15)


def mixture_kept():
    """As `mixture_tenth`, but nothing is thrown away: each mixture is fitted to the digits and to 1,000 samples of each
    one before it. Five such rows in `trials`."""
    model, made = _rounds("accumulate", mixture_of, 5)
    return model, made | dict(steps=15)


def vae_tenth():
    """Lesson 81's VAE that is the tenth in a row: as `mixture_tenth`, with the network of `vae` and the prior of
    `vae_mixture` in place of the mixture, each trained for 350 batches of 64 from a new start. Kept as float16.

    Beside it, in `trials`, this row, and one in which nothing is thrown away. One seed."""
    model, made = _rounds("replace", vae_of, 1)
    made["trials"] |= _rounds("accumulate", vae_of, 1)[1]["trials"]
    return model.half(), made | dict(steps=350)


# ------------------------------------------------------------------------------------------------- does it help?

def labelled(n: int, s: int) -> tuple[Tensor, Tensor]:
    """n labelled training digits, n / 10 of each class, those of lesson 22's draw number s."""
    (x, y), i = load("digits").train, few_labels(load("digits").train.y, n, seeded(s))
    return x[i], y[i]


def gaussians_of(x: Tensor, y: Tensor) -> ClassGaussians:
    """One Gaussian a class, on as many axes as half of the digits, 50 at most."""
    return ClassGaussians.fit(x, y, n_axis=min(50, len(x) // 2))


def flow_of(x: Tensor, y: Tensor, s: int, steps: int = 1_000) -> Pipeline:
    """A flow with labels that sees distorted copies of these digits and nothing else."""
    seed(s)
    model = Pipeline(PipelineConfig(steps=10, sizes=dict(n_class=10))).to(memory_format=torch.channels_last)
    fit(model, lambda model, x, y: pipeline_loss(model, augment(x), y), Batches(x, y, batch_size=32), steps, lr=2e-3,
        betas=(0.9, 0.99), warmup=50, decay=0.6, ema=0.995, autocast=True, optimizer=muon_unet, label=f"flow {s}")
    return model.half().float().eval()                            # what the file keeps


def mixed(x: Tensor, y: Tensor, made: Tensor, asked: Tensor) -> tuple[Tensor, Tensor]:
    """Real and generated digits, the real ones repeated until there are as many: half of each batch, on average, is
    real. With no real digits, the generated ones alone."""
    times = max(len(made) // len(x), 1) if len(x) else 1
    return torch.cat([x.repeat(times, 1, 1, 1), made]), torch.cat([y.repeat(times), asked])


def classifier(x: Tensor, y: Tensor, s: int, change: Callable | None = None) -> tuple[ConvNet, float]:
    """Lesson 22's classifier of few labels and its seconds: 250 batches of 64, whatever it is given."""
    seed(s)
    model = ConvNet(ConvNetConfig(n_channel=16)).to(memory_format=torch.channels_last)

    def loss_fn(model, x, y):
        return classifier_loss(model, x if change is None else change(x), y)

    history = fit(model, loss_fn, Batches(x, y, batch_size=64), 250, lr=4e-3, betas=(0.9, 0.99), weight_decay=0.02,
                  warmup=20, decay=0.7, ema=0.99, label=f"{len(x)} digits")
    return model, history.seconds


def _add(trials: dict, n: int, s: int, ways: dict) -> None:
    """Accuracy on the test digits of classifiers that were given (real x, y, generated x, change)."""
    test = load("digits").test
    for name, (x, y, made, change) in ways.items():
        model, _ = classifier(*mixed(x, y, made, ASKED), s, change)
        right = (predict(model, test.x).argmax(1) == test.y).double().mean().item()
        trials.setdefault(name, {}).setdefault(str(n), []).append(round(right, 4))


# ------------------------------------------------------------------------------------------ models trained on models

def rare_digits(s: int) -> Tensor:
    """1,000 training digits of which 30 are fours and 10 are sixes, in draw number s.  -> (1000, 1, 28, 28)"""
    x, y = load("digits").train
    order = torch.randperm(len(y), generator=seeded(s))
    return torch.cat([x[order[y[order] == k][:RARE.get(k, COMMON)]] for k in range(10)])


def rare_test() -> Tensor:
    """Test digits with the same shares: 100 of each class, but 25 fours and 8 sixes.  -> (833, 1, 28, 28)"""
    x, y = load("digits").test
    return torch.cat([x[y == k][:RARE.get(k, COMMON) * 100 // COMMON] for k in range(10)])


def mixture_of(x: Tensor, generator: torch.Generator) -> GaussianMixture:
    return GaussianMixture.fit(x, n_axis=50, n_gaussian=20, steps=15, generator=generator)[0]


def vae_of(x: Tensor, generator: torch.Generator) -> MixtureVAE:
    seed(int(torch.randint(1_000_000, (), generator=generator)))
    vae = VAE(VAEConfig(sharpness=2.0)).to(memory_format=torch.channels_last)
    fit(vae, annealed(35), Batches(x, batch_size=64), 350, lr=4e-3, betas=(0.9, 0.99), warmup=20, decay=0.6, ema=0.99,
        label=f"{len(x)} digits")
    return MixtureVAE.fit(vae.eval(), x, generator=generator)


def _rounds(name: str, model_of: Callable, n_seed: int):
    """Rows of ten models, with what `columns` says of them, and the tenth of the first row."""
    start = time.perf_counter()
    rows = [generations(model_of, rare_digits(s), 10, 1_000, name == "accumulate", seeded(s)) for s in range(n_seed)]
    seconds, trials = time.perf_counter() - start, [row for _, row in rows]
    return rows[0][0], dict(seed=0, seconds=round(seconds / n_seed, 1), trials={name: trials}, columns=COLUMNS,
                            metrics=dict(zip(COLUMNS, trials[0][-1])))


def generations(model_of: Callable, x: Tensor, rounds: int, n: int, keep: bool, generator: torch.Generator) -> tuple:
    """Each round fits a model to the data and draws n samples, which replace the data, or are added (keep=True).

    -> the last model, and rows of `COLUMNS`: of the first data, and of 1,000 samples of each round."""
    real, data, rows = judge_features(rare_test()), x, [look(x)]
    for _ in range(rounds):
        model = model_of(data, generator)
        samples = model.sample(n, generator=generator)
        data = torch.cat([data, samples]) if keep else samples
        rows.append(look(samples[:1_000], real))
    return model, rows


def look(x: Tensor, real: Tensor | None = None) -> list[float]:
    """A row of `COLUMNS` for digits x: distance from test digits with the same rare classes and the share of these that
    are covered, to the judge's eye; the variance of a pixel, summed over pixels; shares as the judge reads them."""
    seen, real = judge_features(x), judge_features(rare_test()) if real is None else real
    share = torch.bincount(predict(the_judge(), x).argmax(1), minlength=10) / len(x)
    row = [frechet_distance(seen, real), precision_recall(real, seen)[1], x.flatten(1).var(0).sum().item(),
           share[4].item(), share[6].item(), share.max().item()]
    return [round(value, 4) for value in row]
