"""Part 7: CLIP (71)."""

import torch

from course_lib.checkpoints.made import on_one_core
from course_lib.clip import CLIP, CLIPConfig, Pairs, clip_loss, hard_pairs, recall_at_1
from course_lib.data import load
from course_lib.data.avatars import caption, encode
from course_lib.device import seed, seeded
from course_lib.train import fit


def clip():
    """Lesson 71's CLIP: pictures and captions of the 8,000 training faces, each caption drawn anew, 3,000 batches of
    256, equal captions masked, AdamW with the learning rate falling over the last 60 %, average of the last weights,
    bfloat16. Weights kept as float16."""
    return _shipped()


def clip_no_neighbours():
    """The recipe of `clip` with a text encoder that knows a word's place but does not mix it with the one on its right:
    as CLIP's own. Weights kept as float16.

    `trials`: with and without neighbours, with and without hard negatives, 400 batches of 128 each with seeds 0 to 4:
    retrieval and hard pairs of test_seen."""
    trials = {}
    for neighbours in (True, False):
        for hard in (False, True):
            runs = [_clip(400, 128, neighbours, hard, n)[0] for n in range(5)]
            trials[f"neighbours={neighbours}, hard={hard}"] = [measured(run, load("avatars").test_seen) for run in runs]
    model, made = _shipped(neighbours=False)
    return model, made | dict(trials=trials)


def _shipped(**change):
    faces, steps = load("avatars"), 3_000
    model, seconds = _clip(steps, 256, ema=0.998, **change)
    model, metrics = model.half().float(), {}                                 # what is measured is what is kept
    for part in ("test_seen", "test_unseen"):
        metrics |= {f"{part}: {name}": value for name, value in measured(model, getattr(faces, part)).items()}
    return model.half(), dict(seed=0, steps=steps, seconds=round(seconds, 1), metrics=metrics,
                              parameters=sum(p.numel() for p in model.parameters()))


def _clip(steps, batch_size, neighbours=True, hard=False, run=0, ema=0.99):
    train = load("avatars").train
    seed(run)
    model = CLIP(CLIPConfig(text=dict(n_layer=2, neighbours=neighbours)))
    _, seconds = on_one_core(fit, model, clip_loss, Pairs(train.x, train.shown, batch_size, hard), steps, lr=2e-3,
                             betas=(0.9, 0.99), warmup=50, decay=0.6, ema=ema, autocast=True, label="CLIP")
    return model.eval(), seconds


@torch.no_grad()
def measured(model, faces, n=4) -> dict:
    """Retrieval among 256 captions and among 256 pictures, the mean of n draws; hard pairs right; the modality gap."""
    draw, found = seeded(0), []
    for _ in range(n):
        i = torch.randperm(len(faces.x), generator=draw)[:256]
        words = encode([caption(row, draw) for row in faces.shown[i].tolist()])
        image, text = model(faces.x[i], words)
        found.append([recall_at_1(image, text), recall_at_1(text, image), (image.mean(0) - text.mean(0)).norm().item()])
    captions, pictures, gap = torch.tensor(found).mean(0).tolist()
    pairs, _ = hard_pairs(model, faces.x, faces.shown, seeded(0))
    return {"caption of a picture": round(captions, 4), "picture of a caption": round(pictures, 4),
            "hard pairs": round(pairs, 4), "gap": round(gap, 4)}
