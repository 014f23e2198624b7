"""Part 7: the listener that judges sounds, and the flows that draw spectrograms of notes and of spoken digits (77)."""

import time

import torch

from course_lib.audio import RATE, cents, griffin_lim, magnitude_of, note_frequency, picture_of, pitch
from course_lib.checkpoints.made import on_one_core
from course_lib.data import Batches
from course_lib.data.sounds import INSTRUMENTS, NOTES, load_sounds
from course_lib.device import seed, seeded
from course_lib.listener import Listener, ListenerConfig, listener_features, listener_loss, share_heard
from course_lib.metrics import frechet_distance
from course_lib.muon import OUTSIDE, muon_unet
from course_lib.sound_flow import SoundFlow, SoundFlowConfig, sound_loss
from course_lib.train import fit

NOTES_CONFIG = dict(values=(22, 13, 2), n_fft=512, hop=128)       # 256 rows of 15.6 Hz, 32 columns of 16 ms
SPOKEN_CONFIG = dict(values=(10, 4), note=None, n_fft=256, hop=64)           # 128 rows of 31 Hz, 64 columns of 8 ms


def listener():
    """Lesson 77's judge: a CNN on mel bands of the training notes and digits, 1,500 batches of 64, moved in time and in
    some noise; AdamW with the learning rate falling over the last 60 %, average of the last weights, bfloat16. Weights
    kept as float16.

    Its own test sounds: notes that the instrument does not play in training, variants of digits that are not there."""
    parts = [load_sounds(name) for name in ("notes", "spoken")]
    x, y = (torch.cat(t) for t in zip(*((part.train.x, wanted(part.train)) for part in parts)))
    steps = 1_500
    seed(0)
    model = Listener(ListenerConfig())
    _, seconds = on_one_core(fit, model, listener_loss, Batches(x, y, batch_size=64), steps, lr=2e-3, warmup=50,
                             decay=0.6, weight_decay=0.05, ema=0.99, autocast=True, label="listener")
    model, metrics = model.half().float().eval(), {}
    for name, part in zip(("instrument", "digit"), parts):
        metrics[f"{name}: train"] = share_heard(part.train.x, wanted(part.train), model)
        metrics[f"{name}: test"] = share_heard(part.test.x, wanted(part.test), model)
    return model.half(), dict(seed=0, steps=steps, seconds=round(seconds, 1), metrics=metrics,
                              parameters=sum(p.numel() for p in model.parameters()))


def notes_flow():
    """Lesson 77's flow for notes: told instrument, note and loudness, which one in ten is not told, shown the height of
    each row and a comb of the note's overtones, 2,000 batches of 16 spectrograms, Muon with the learning rate falling
    over the last 60 %, average of the last weights, bfloat16. Weights kept as float16.

    The guidance is the best of 1.5, 2 and 3 for 32 training notes: the share that is in tune times the share played
    by the right instrument. Without height and comb, 4,000 batches ended with 0.60 of the notes never heard within 20
    cents, and 0.67 played by the right instrument."""
    return _shipped("notes", 2_000)


def spoken_flow():
    """Lesson 77's flow for spoken digits: the recipe of `notes_flow`, told digit and voice, 3,000 batches."""
    return _shipped("spoken", 3_000)


def wanted(sounds) -> torch.Tensor:
    """The class of each of these notes or digits, a number into listener.CLASSES."""
    return sounds.what[:, 0] + (len(INSTRUMENTS) if sounds.what.shape[1] == 2 else 0)


def _shipped(name, steps):
    model, seconds = _flow(name, steps)
    model = model.half().float().eval()                                       # what is measured is what is kept
    parts, metrics, tried = load_sounds(name), {}, {}
    for guidance in (1.5, 2.0, 3.0):
        row = measured(model, parts.train, n=32, guidance=guidance)
        tried[guidance] = row["heard"] * row.get("within 20 cents", 1.0) - 1e-3 * row["Frechet"]
    model.config.guidance = max(tried, key=tried.get)
    for part in ("train", "test"):
        metrics |= {f"{part}: {key}": value for key, value in measured(model, getattr(parts, part)).items()}
    return model.half(), dict(seed=0, steps=steps, seconds=round(seconds, 1), metrics=metrics,
                              parameters=sum(p.numel() for p in model.parameters()))


def _flow(name, steps, run=0, batch_size=16):
    sounds, config = load_sounds(name).train, SoundFlowConfig(**NOTES_CONFIG if name == "notes" else SPOKEN_CONFIG)
    pictures = picture_of(sounds.x, config.n_fft, config.hop)
    seed(run)
    model = SoundFlow(config).fit_scale(pictures).to(memory_format=torch.channels_last)
    _, seconds = on_one_core(fit, model, sound_loss, Batches(pictures, sounds.what, batch_size=batch_size), steps,
                             optimizer=muon_sound, warmup=50, decay=0.6, ema=0.998, autocast=True, label=name)
    return model, seconds


def muon_sound(model):
    """Muon inside the U-Net, AdamW for the things that are asked for and both ends."""
    return muon_unet(model, outside=(*OUTSIDE, "things"))


def measured(model, sounds, n=100, **settings) -> dict:
    """What n sounds are that were asked for as these are, and what these are, to the same ears."""
    i = torch.randperm(len(sounds.x), generator=seeded(0))[:n]
    what, real, label = sounds.what[i], sounds.x[i], wanted(sounds)[i]
    start = time.perf_counter()
    x = model.sample(what, seeded(1), **settings)
    seconds = time.perf_counter() - start
    again = griffin_lim(magnitude_of(picture_of(real, model.config.n_fft, model.config.hop)), model.config.rounds,
                        generator=seeded(2), hop=model.config.hop).clamp(-1, 1)
    row = {"n": float(len(i)), "seconds a second": seconds * RATE / x.numel()}
    for name, sound in (("", x), (", real", real), (", real through Griffin-Lim", again)):
        row[f"heard{name}"] = share_heard(sound, label)
        row[f"Frechet{name}"] = frechet_distance(listener_features(sound), listener_features(real))
        if what.shape[1] == 3:
            off = cents(pitch(sound), note_frequency(NOTES[0] + what[:, 1])).abs()
            row[f"within 20 cents{name}"] = (off < 20).double().mean().item()
            row[f"cents{name}"] = off.nanmedian().item()
    return {name: float(f"{value:.6g}") for name, value in row.items()}
