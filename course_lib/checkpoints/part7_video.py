"""Part 7: films of moving digits (78)."""

import time
from dataclasses import replace

import torch

from course_lib.checkpoints.made import on_one_core
from course_lib.data.moving import MovingDigits, draw
from course_lib.device import seed, seeded
from course_lib.diffusion import drop_labels
from course_lib.flow import flow_loss
from course_lib.train import fit
from course_lib.video import (
    Video,
    VideoConfig,
    across_frames,
    bounces_obeyed,
    centres,
    constancy,
    copy_last,
    muon_video,
    named,
    nearest_course,
    roll_out,
    straight_on,
    velocity_error,
    video_loss,
)

FRAMES, FILMS = 800, 10_000                     # batches of single frames, then of films


def video():
    """Lesson 78's films: the network of `video_alone`, which then looks along time; 10,000 batches of 8 new films of
    one training digit, of which seven in ten begin with 1 to 6 known frames; three labels in ten left out; flow
    matching with logit-normal times whose odds are divided by 3, or, in half of the films with known frames, by 30;
    Muon and AdamW with rates falling over the last 60 %, average of the last weights, bfloat16. Drawn in 8 steps of
    the midpoint method, with guidance 3 where there is a label, and 2 by known frames. Weights kept as float16.

    `stages`: after so many batches and processor seconds, the scores of 20 films; `trials`: of the finished model, of
    40 films with seeds 0 to 4, from labels, and continued from three frames of test films; `baselines`: those of real
    films and of two baselines; `known`: continued from so many frames; `guidance`: from labels, at other scales;
    `hold`: continued from three frames, at other scales; `rolled`: films of 36 frames, frame by frame, for so many
    known frames a piece."""
    model, first = _drawing()
    stages, seconds = _looking(model)
    model = model.half().float().to(memory_format=torch.channels_last)        # what is measured is what is kept
    trials = [_scores(model, n) for n in range(5)]
    metrics = {f"{way}: {name}": round(sum(one[way][name] for one in trials) / 5, 4)
               for way in trials[0] for name in trials[0][way]}
    more = dict(trials=trials, stages=stages, baselines=_baselines(),
                known={k: _continued(model, 0, k) for k in (1, 2, 3, 6)},
                guidance={scale: _labelled(model, 0, scale) for scale in (1.0, 1.5, 2.0)},
                hold={scale: _continued(model, 0, 3, hold=scale) for scale in (1.0, 1.5, 3.0)},
                rolled={keep: _rolled(model, keep) for keep in (1, 2, 3, 6)})
    return model.half(), dict(seed=0, steps=FRAMES + FILMS, seconds=round(first + seconds, 1), metrics=metrics,
                              parameters=sum(p.numel() for p in model.parameters())) | more


def video_alone():
    """A U-Net of 48 channels on squares of 4x4 pixels that draws the frames of lesson 78 one by one: 800 batches of
    64 new frames with their labels, one in ten left out; flow matching with logit-normal times, Muon and AdamW with
    rates falling over the last 60 %, average of the last weights, bfloat16. Weights kept as float16."""
    model, seconds = _drawing()
    model = model.half().float().to(memory_format=torch.channels_last)
    metrics = {f"{way}: {name}": value for way, scores in _scores(model, 0).items() for name, value in scores.items()}
    return model.half(), dict(seed=0, steps=FRAMES, seconds=round(seconds, 1), metrics=metrics)


def _drawing():
    """A network that draws each frame alone, and the processor seconds of its training."""
    def frame_loss(model, x, y):
        y = drop_labels(y, 10)
        return flow_loss(lambda x, t: model.network(x, t, y), 2 * x[:, 0] - 1)

    seed(0)
    model = Video(VideoConfig(sizes=dict(n_channel=48), guidance=3.0, hold=2.0, across=False))
    model = model.to(memory_format=torch.channels_last)
    _, seconds = on_one_core(fit, model, frame_loss, MovingDigits(64, n_frame=1), FRAMES, optimizer=muon_video,
                             warmup=50, decay=0.6, ema=0.995, autocast=True, label="frames")
    return model, seconds


def _looking(model):
    """Train a network that draws to look along time. [step, processor seconds, scores] at some of the steps; and the
    processor seconds."""
    stages, measuring, counted = [], [], iter(range(200, FILMS + 1, 200))

    def look(model):
        if (step := next(counted)) in (200, 600, 1_800, 4_000, 7_000, FILMS):
            start = time.process_time()
            stages.append([step, round(start - begun - sum(measuring), 1), _scores(model, 0, 20)])
            measuring.append(time.process_time() - start)
        return {}

    seed(0)
    model.config = replace(model.config, across=True)
    across_frames(model.network, model.config.n_frame)
    begun = time.process_time()
    _, seconds = on_one_core(fit, model, video_loss, MovingDigits(8), FILMS, optimizer=muon_video, warmup=50, decay=0.6,
                             ema=0.998, autocast=True, evaluate=look, eval_every=200, label="films")
    return stages, seconds - sum(measuring)


def _scores(model, n, n_film=40):
    return {"from a label": _labelled(model, n, model.config.guidance, n_film),
            "continued": _continued(model, n, 3, n_film)}


def _labelled(model, n, guidance, n_film=40):
    """Films of every digit: one digit in all frames; the digit that was asked for, mean over frames; and how far
    velocities are from those of the nearest lawful course."""
    y = torch.arange(n_film) % 10
    x = model.sample(n_film, y, seeded(n), guidance=guidance)
    names, places = named(x), centres(x)
    return _rounded(constancy=constancy(names), asked=(names == y[:, None]).double().mean().item(),
                    velocity=velocity_error(places, nearest_course(places)))


def _continued(model, n, k, n_film=40, hold=None):
    films = draw(n_film, seeded(100 + n), part="test")
    return _against(model.sample(n_film, known=films.x[:, :k], generator=seeded(n), hold=hold), films, k)


def _against(x, films, k):
    """What `x`, whose first k frames were given, is worth beside the real films: one digit in all frames, the right
    one, mean over the frames that are new; the error of velocities in pixels a frame; bounces obeyed."""
    names, places, true = named(x), centres(x), films.place[:, :, 0]
    return _rounded(constancy=constancy(names), right=(names[:, k:] == films.y).double().mean().item(),
                    velocity=velocity_error(places, true, k), bounces=bounces_obeyed(places, true, k))


def _baselines():
    films = draw(500, seeded(100), part="test")
    ways = {"real": films.x, "copied": copy_last(films.x[:, :3], 12), "straight on": straight_on(films.x[:, :3], 12)}
    return {name: _against(x, films, 3) for name, x in ways.items()}


def _rolled(model, keep, n_film=24, n_frame=36):
    """For each frame of long films that began with 9 real ones: the right digit, and the error of the velocity with
    which it was reached."""
    films = draw(n_film, seeded(200), part="test", n_frame=n_frame)
    x = roll_out(model, films.x[:, :9], n_frame, seeded(0), keep=keep)
    off = (centres(x) - films.place[:, :, 0]).diff(dim=1).abs().mean(0)
    return dict(right=[round(v, 4) for v in (named(x) == films.y).double().mean(0).tolist()],
                velocity=[round(v, 4) for v in off.tolist()])


def _rounded(**scores):
    return {name: round(value, 4) for name, value in scores.items()}
