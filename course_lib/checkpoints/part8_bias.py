"""Part 8, lesson 82: the text-to-image model of lesson 65 learns two invented jobs, in data where they go with hats."""

import functools
from functools import partial

import torch

from course_lib import flow
from course_lib.checkpoint import load as load_checkpoint
from course_lib.checkpoints.made import on_one_core
from course_lib.data import Batches, load
from course_lib.data.avatars import ATTRIBUTES, NAMES, with_jobs
from course_lib.device import seed, seeded
from course_lib.diffusion import guided
from course_lib.metrics import frechet_distance, precision_recall
from course_lib.reader import read, the_reader
from course_lib.text_to_image import muon_text_to_image, text_to_image_loss, with_words
from course_lib.train import fit

JOBS, BARE = ("zorp", "mip"), "bareheaded"
_HAT = NAMES.index("hat")


def jobs():
    """Lesson 82's model: `text_to_image` with two new words, trained on with 7,214 faces, of which half have the
    caption "a zorp", half "a mip"; 80 % of the zorps wear a hat and 20 % of the mips. 600 batches of 32, all weights,
    Muon and AdamW with rates falling over the last 60 %, average of the last weights, bfloat16. Weights kept as
    float16.

    `trials`: this with seeds 0 to 4; each has what `_row` returns. `guidance`, `samplers`: of this model, at other
    scales, and with other numbers of steps of two methods."""
    trials, model, seconds = _trials("as it is", 200)
    made = _made(model, seconds, {"as it is": trials}, 600)
    return model.half(), made | dict(guidance=_guidance(model), samplers=_samplers(model))


def jobs_told():
    """Lesson 82's repair by telling: `jobs`, trained on for 150 batches in which half of the captions say it, "a zorp
    with a hat", "a bareheaded zorp"; otherwise as `jobs`. Weights kept as float16.

    `trials`: this; the same with plain captions and a quarter each of zorps and mips with and without a hat, all other
    faces thrown away ("balanced"); and with all faces, of which the rarer pairs are counted more, so that all four
    weigh the same ("weighted"); each with seeds 0 to 4."""
    trials, model, seconds = _trials("told", 100)
    others = {way: _trials(way, 100)[0] for way in ("balanced", "weighted")}
    return model.half(), _made(model, seconds, {"told": trials} | others, 150)


def _trials(way: str, n_picture: int):
    """One way with seeds 0 to 4: what each reaches, the model of seed 0 as it is kept, and its processor seconds."""
    rows, kept = [], None
    for n in range(5):
        model, seconds = _trained(way, n)
        model = model.half().float()                                          # what is measured is what is kept
        rows.append(_row(model, way, n_picture) | dict(seconds=round(seconds, 1)))
        kept = kept or (model, seconds)
    return rows, *kept


def _made(model, seconds, trials, steps):
    metrics = {f"aligned, guidance {w}": _counted(model, float(w), 200)["aligned"] / 400 for w in (1, 3)}
    return dict(seed=0, steps=steps, seconds=round(seconds, 1), metrics=metrics, trials=trials)


def planted(share: float = 0.8):
    """The planted world: rows of training faces, their jobs, and who of them wears a hat."""
    hat = load("avatars").train.attributes[:, _HAT] > 0
    rows, job = with_jobs(hat, share, seeded(0))
    return rows, job, hat[rows]


def _trained(way: str, n: int):
    """A model after a training with seed n, and its processor seconds."""
    rows, job, hat = planted()
    model = load_checkpoint("text_to_image" if way == "as it is" else "jobs")
    with torch.no_grad():
        z = torch.cat([model.latents.encode(part) for part in load("avatars").train.x[rows].split(500)])
    seed(n)
    if way == "as it is":
        model = with_words(model, *JOBS, BARE).to(memory_format=torch.channels_last)
    plain, told = (model.words(captions) for captions in (["a zorp", "a mip"], _WITH + _WITHOUT))
    words, more, loss = plain[job], [], text_to_image_loss
    if way == "balanced":
        some = balanced(job, hat)
        z, words = z[some], words[some]
    if way == "weighted":
        more, loss = [torch.where((job == 0) == hat, 0.5 / 0.8, 0.5 / 0.2)], _weighted
    if way == "told":
        says = torch.rand(len(job), generator=seeded(1)) < 0.5
        words = torch.where(says[:, None], told[job + 2 * (~hat).long()], words)
    batches = Batches(z, words, *more, batch_size=32)
    steps, warmup, ema = (600, 20, 0.995) if way == "as it is" else (150, 10, 0.97)
    _, seconds = on_one_core(fit, model, loss, batches, steps, optimizer=muon_text_to_image, warmup=warmup, decay=0.6,
                             ema=ema, autocast=True, label=way)
    return model.float(), seconds


_WITH, _WITHOUT = ["a zorp with a hat", "a mip with a hat"], ["a bareheaded zorp", "a bareheaded mip"]


def _weighted(model, z, words, weight):
    return text_to_image_loss(model, z, words, weight=weight)


def balanced(job, hat):
    """As many of each job and hat as there are of the rarest such pair; the others are thrown away.  -> row numbers"""
    groups = [((job == j) & (hat == h)).nonzero()[:, 0] for j in (0, 1) for h in (True, False)]
    least = min(map(len, groups))
    return torch.cat([group[torch.randperm(len(group), generator=seeded(2))[:least]] for group in groups])


def _row(model, way, n):
    """Of n zorps and n mips at guidance 1 and at 3: see `_counted` and, as it is, `_likeness`. For a model that was
    told: the shares of hats among 100 that were asked to have one, and among 100 that were asked to have
    none, at both."""
    row = {f"guidance {w}": _counted(model, float(w), n, likeness=way == "as it is") for w in (1, 3)}
    if way == "told":
        row["asked"] = {}
        for w in (1, 3):
            hats = [_hats(model, captions[job], 50, float(w)) for job in (0, 1) for captions in (_WITH, _WITHOUT)]
            row["asked"] |= {f"hats when asked for, guidance {w}": (hats[0] + hats[2]) / 100,
                             f"hats when asked against, guidance {w}": (hats[1] + hats[3]) / 100}
    return row


def _counted(model, w, n, likeness=False):
    """n zorps and n mips: how many are as the data's habit has it ("aligned": zorps with a hat, mips without), zorps
    with a hat, mips with a hat, and how often each value of each attribute is seen."""
    x = [model.sample([f"a {job}"] * n, seeded(1 + k), guidance=w, steps=8) for k, job in enumerate(JOBS)]
    seen = [read(pictures) for pictures in x]
    zorps, mips = (int((part[:, _HAT] > 0).sum()) for part in seen)
    counts = {name: torch.cat(seen)[:, k].bincount(minlength=len(values)).tolist()
              for k, (name, values) in enumerate(ATTRIBUTES.items())}
    found = dict(n=2 * n, aligned=zorps + n - mips, zorps=zorps, mips=mips, counts=counts)
    return found | (_likeness(torch.cat(x)) if likeness else {})


def _likeness(x):
    """How the pictures differ from as many test faces, hats and bare heads half and half, in the reader's features."""
    real, fake = _real(len(x)), _features(x)
    precision, recall = precision_recall(real, fake)
    return dict(frechet=round(frechet_distance(real, fake), 3), precision=round(precision, 4), recall=round(recall, 4))


@functools.cache
def _real(n):
    faces = load("avatars").test_seen
    hat = faces.attributes[:, _HAT] > 0
    return _features(torch.cat([faces.x[hat][: n // 2], faces.x[~hat][: n // 2]]))


@torch.inference_mode()
def _features(x):
    return the_reader().features(x)


def _hats(model, caption, n, w):
    return int((read(model.sample([caption] * n, seeded(3), guidance=w, steps=8))[:, _HAT] > 0).sum())


def _guidance(model):
    """The same counts of 800 pictures at each scale of guidance, and hats among 400 without a caption."""
    rows = [[w, _counted(model, w, 400)] for w in (0.0, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0, 8.0)]
    return dict(rows=rows, empty=_hats(model, "", 400, 1.0))


@torch.no_grad()
def _samplers(model, n=300):
    """[method, evaluations of the network, guidance, how many of n pictures (half of them zorps) are aligned]: from the
    same noise, so that what differs is the method."""
    x = torch.randn(n, *model.latents.shape, generator=seeded(5))
    job = torch.arange(n) % 2
    context, null, rows = model.text(model.words(["a zorp", "a mip"]))[job], model.text(model.words("")), []
    for w in (1.0, 3.0):
        for name, method, calls in (("Euler", flow.euler, 1), ("midpoint", flow.midpoint, 2)):
            for evaluations in (2, 4, 8, 16, 50):
                pictures = []
                for i in torch.arange(n).split(100):
                    bound = partial(model.network, context=context[i])
                    bound = bound if w == 1 else guided(model.network, context[i], null, w)
                    pictures.append(model.latents.decode(method(bound, x[i], evaluations // calls)).clamp(0, 1))
                hat = read(torch.cat(pictures))[:, _HAT] > 0
                rows.append([name, evaluations, w, int((hat == (job == 0)).sum())])
    return rows
