"""Part 2: the autoencoders of lesson 21, and of lesson 22 those that put back what was corrupted or hidden."""

import time
from functools import partial

import torch

from course_lib import checkpoint
from course_lib.augment import augment
from course_lib.autoencoder import PCA, Autoencoder, AutoencoderConfig, reconstruction_loss
from course_lib.checkpoints.made import generator_row
from course_lib.classify import classifier_loss, predict
from course_lib.convnet import ConvNet, ConvNetConfig
from course_lib.data import Batches, load
from course_lib.device import seed, seeded
from course_lib.masked import (
    MAE,
    MAEConfig,
    MaskedCodes,
    MaskedCodesConfig,
    RandomFilters,
    add_noise,
    blank,
    choose,
    codes_loss,
    denoising_loss,
    few_labels,
    hidden,
    linear_probe,
    mae_loss,
    patchify,
    salt_and_pepper,
)
from course_lib.muon import muon
from course_lib.train import fit

CORRUPTIONS = {"noise": partial(add_noise, std=0.7), "blank": partial(blank, share=0.75),
               "salt and pepper": partial(salt_and_pepper, share=0.5)}
LABELS = (10, 30, 100, 300, 1_000, 4_000)      # of the label-efficiency curve


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


def dae_noise():
    """Lesson 22's denoising autoencoder: network and training as of `autoencoder`, but what goes in has Gaussian noise
    of deviation 0.7, drawn anew each time, and what shall come out has none."""
    return _denoiser("noise")


def dae_blank():
    """As `dae_noise`, but of what goes in three pixels of four are blank."""
    return _denoiser("blank")


def dae_salt_and_pepper():
    """As `dae_noise`, but of what goes in every second pixel is black or white."""
    return _denoiser("salt and pepper")


def masked_codes():
    """Lesson 22's network that guesses letters of hidden patches: an alphabet of 256 patches by k-means, then 4,000
    batches of 64 training digits, of which each batch keeps another number of patches, from 0 to 48; Muon and AdamW,
    rate falling over the last 70 %, average of the last weights."""
    digits = load("digits")
    seed(0)
    model = MaskedCodes(MaskedCodesConfig(n_code=256)).fit_alphabet(digits.train.x, generator=seeded(0))
    history = fit(model, codes_loss, Batches(digits.train.x, batch_size=64), 4_000, optimizer=muon, warmup=100,
                  decay=0.7, ema=0.998, autocast=True, label="letters")
    model.half().float()                                          # what the file keeps
    made = generator_row(model, "masked codes", lesson=22, steps=len(history), seconds=history.seconds)
    seed(0)
    with torch.no_grad():
        made["metrics"]["surprise"] = round(codes_loss(model, digits.test.x, n_keep=12)["loss"].item(), 4)
    return model.half(), made


def mae_small_mask():
    """Lesson 22's masked autoencoder with a mask that is too small: 5 of 49 patches hidden, 400 batches; otherwise as
    `mae`.

    Beside it, in `trials`, five seeds with 44 and with 12 patches kept: the error of hidden test patches, hidden as in
    training, and the accuracy of a probe with 100 labels. The shipped weights are those of the first seed."""
    digits, trials, models = load("digits"), {}, []
    for n_keep in (44, 12):
        for s in range(5):
            model, history = _mae(n_keep, steps=400, start=s)
            models.append((model, history))
            i = few_labels(digits.train.y, 100, seeded(s))
            told, new = predict(model.features, digits.train.x[i]), predict(model.features, digits.test.x)
            right = _share_right(linear_probe(told, digits.train.y[i], new))
            trials.setdefault(str(n_keep), []).append([_hidden_error(model, n_keep), right])
    model, history = models[0]
    made = dict(seed=0, steps=len(history), seconds=round(history.seconds, 1), trials=trials,
                metrics={"hidden_error": trials["44"][0][0]})
    return model.half(), made


def hundred_labels():
    """Lesson 22's counterpart, which learns from labels alone: lesson 12's network, a third as wide, on 100 labelled
    training digits, each time with another random distortion; 250 batches of 64, AdamW, learning rate falling over the
    last 70 %, average of the last weights.

    Beside it, in `trials`, five seeds of it for each number of labels, with and without distortions: accuracy on the
    test digits. A seed draws the labels, the weights to start from and the batches."""
    digits, trials = load("digits"), {}
    model, seconds = _supervised(few_labels(digits.train.y, 100, seeded(0)), 0, augment)
    for name, change in (("supervised", None), ("supervised, augmented", augment)):
        for n in LABELS:
            tried = [_supervised(few_labels(digits.train.y, n, seeded(s)), s, change)[0] for s in range(5)]
            trials.setdefault(name, {})[str(n)] = [_share_right(predict(m, digits.test.x).argmax(1)) for m in tried]
    metrics = {"test_accuracy": _share_right(predict(model, digits.test.x).argmax(1))}
    return model, dict(seed=0, steps=250, seconds=round(seconds, 1), metrics=metrics, trials=trials)


def mae():
    """Lesson 22's masked autoencoder: a vision transformer of 4 + 2 layers of width 64, 37 of 49 patches of 4x4 pixels
    hidden, 2,000 batches of 64 training digits, Muon and AdamW, rate falling over the last 70 %, average of the last
    weights.

    Beside it, in `trials`, what linear probes make of descriptions: name -> number of labels -> accuracy on the test
    digits of five draws of the labels (and of the random filters). "augmented": the labelled digits come with distorted
    copies, 1,000 in all. The settings of probes and filters were chosen on 800 training digits."""
    model, history = _mae(n_keep=12)
    model.half().float()                                          # what the file keeps
    made = dict(seed=0, steps=len(history), seconds=round(history.seconds, 1), trials=_label_curve(model),
                metrics={"hidden_error": _hidden_error(model, 12)})
    return model.half(), made


def _denoiser(name: str):
    corrupt, x_test = CORRUPTIONS[name], load("digits").test.x
    model, history = _autoencoder(16, partial(denoising_loss, corrupt=corrupt))
    with torch.no_grad():
        error = denoising_loss(model, x_test, partial(corrupt, generator=seeded(0)))["loss"].item()
    made = dict(seed=0, steps=len(history), seconds=round(history.seconds, 1), metrics={"error": round(error, 3)})
    return model, made


def _mae(n_keep: int, steps: int = 2_000, start: int = 0):
    seed(start)
    model = MAE(MAEConfig())
    history = fit(model, partial(mae_loss, n_keep=n_keep), Batches(load("digits").train.x, batch_size=64), steps,
                  optimizer=muon, warmup=min(100, steps // 10), decay=0.7, ema=0.998 if steps > 1_000 else 0.99,
                  autocast=True, label=f"{n_keep} patches kept")
    return model, history


@torch.no_grad()
def _hidden_error(model: MAE, n_keep: int) -> float:
    """Squared error of a hidden patch of the test digits, summed over its pixels."""
    x = load("digits").test.x
    kept = choose(len(x), model.n_patch, n_keep, seeded(0))
    error = (model(x, kept) - patchify(x, model.config.patch)).square().sum(2)
    return round(error[hidden(kept, model.n_patch)].mean().item(), 4)


def _label_curve(model: MAE) -> dict[str, dict[str, list[float]]]:
    """Accuracy on the test digits by description and number of labels, of five draws each."""
    (x, y), (x_test, _) = load("digits")[:2]
    files = {"autoencoder": "autoencoder", "DAE, noise": "dae_noise", "DAE, blank": "dae_blank",
             "DAE, salt and pepper": "dae_salt_and_pepper"}
    kinds = {name: checkpoint.load(file).encoder.layers[:-1] for name, file in files.items()}
    kinds = {"pixels": torch.nn.Flatten(), "random filters": None} | kinds
    kinds |= {"MAE, untrained": None, "MAE": model.features}
    curve = {}
    for name, describe in kinds.items():
        for s in range(5):
            if name == "random filters":                          # others each time
                describe = RandomFilters(generator=seeded(s))
            if name == "MAE, untrained":
                seed(s)
                describe = MAE(MAEConfig()).requires_grad_(False).features
            if s == 0 or "random" in name or "untrained" in name:
                train, test = predict(describe, x), predict(describe, x_test)
            for n in LABELS:
                i = few_labels(y, n, seeded(s))
                rows = curve.setdefault(name, {}).setdefault(str(n), [])
                again = n == len(x) and s > 0 and "random" not in name and "untrained" not in name    # all labels
                rows.append(rows[0] if again else _share_right(linear_probe(train[i], y[i], test)))
                if name in ("random filters", "MAE") and n <= 300:
                    i = i.repeat(1_000 // n)
                    copies = predict(describe, augment(x[i], generator=seeded(s)))
                    rows = curve.setdefault(f"{name}, augmented", {}).setdefault(str(n), [])
                    rows.append(_share_right(linear_probe(copies, y[i], test)))
    return curve


def _share_right(guess: torch.Tensor) -> float:
    return round((guess == load("digits").test.y).double().mean().item(), 4)


def _supervised(i: torch.Tensor, start: int, change=None):
    """A convolutional network that saw training digits i with their labels and nothing else, and its seconds."""
    digits = load("digits")
    seed(start)
    model = ConvNet(ConvNetConfig(n_channel=16)).to(memory_format=torch.channels_last)

    def loss_fn(model, x, y):
        return classifier_loss(model, x if change is None else change(x), y)

    history = fit(model, loss_fn, Batches(digits.train.x[i], digits.train.y[i], batch_size=64), 250, lr=4e-3,
                  betas=(0.9, 0.99), weight_decay=0.02, warmup=20, decay=0.7, ema=0.99, label=f"{len(i)} labels")
    return model, history.seconds


def _autoencoder(n_latent: int, loss_fn=reconstruction_loss):
    x = load("digits").train.x
    seed(0)
    model = Autoencoder(AutoencoderConfig(n_latent)).to(memory_format=torch.channels_last)
    history = fit(model, loss_fn, Batches(x, batch_size=64), steps=2_000, lr=4e-3, betas=(0.9, 0.99),
                  warmup=20, decay=0.7, ema=0.998, label=f"codes of {n_latent}")
    with torch.no_grad():
        model.codes.fit(model.encode(x))
    return model, history


@torch.no_grad()
def _rebuilds(model, made: dict) -> dict:
    """Adds how far the test digits are from their reconstructions: squared error, summed over pixels."""
    error = reconstruction_loss(model, load("digits").test.x)["loss"].item()
    return made | {"metrics": made["metrics"] | {"reconstruction": float(f"{error:.4g}")}}
