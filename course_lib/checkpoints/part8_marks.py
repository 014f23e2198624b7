"""Part 8: the marked pictures of lesson 84, and how often each mark is found after what befalls a picture."""

from functools import partial

import torch
from torch import Tensor, nn

from course_lib import checkpoint, flow
from course_lib.baselines import Kept, KeptConfig
from course_lib.checkpoints.made import on_one_core
from course_lib.device import seeded
from course_lib.diffusion import autoguided
from course_lib.metrics import control_accuracy, frechet_distance, judge_features
from course_lib.watermark import free_key, key_p_value, ring_key, ring_p_value, rings, spoil, with_ring

KEYS, EACH = 5, 40                                 # keys of each kind, and pictures with each
WHERE = rings(28, 28, 1, 12)                       # where the mark is
MAKERS = {"free": free_key, "rings": ring_key}
ON_THE_WAY = (("levels", 2), ("noise", 0.1), ("noise", 0.2), ("blur", 0.5), ("blur", 1.0), ("crop", 1), ("crop", 4),
              ("turn", 5), ("turn", 20), ("jpeg", 75), ("jpeg", 20), ("wash", 0.8), ("wash", 0.5))


@torch.inference_mode()
def marked():
    """Pictures of the shipped flow, 40 for each of five noises: plain; with a key of free numbers in their noise; with
    a key of rings. Nothing is trained.

    In `trials`, for pictures as they are and after each thing of ON_THE_WAY: how many of the 40 have a p-value below
    0.01, for each of the five keys, by three finders: "distance" goes the whole way back and measures the distance from
    the key, "whole way" the correlation with it; "half way" starts back from t = 0.5. "plain, free" are the plain
    pictures with the same keys: false alarms. Where the key is and where the way back starts was chosen on the first 40
    pictures; the other 160 give the same picture."""
    pipeline = checkpoint.load("flow")
    y = torch.arange(EACH) % 10
    model = Kept(KeptConfig({name: KEYS * EACH for name in ("plain", *MAKERS)}))
    model, seconds = on_one_core(_draw, pipeline, model, y)
    labels = y.repeat(KEYS)
    trials, metrics = {}, {}
    for how, strength in (("as it is", 0), *ON_THE_WAY):
        name = f"{how} {strength}" if strength else how
        trials[name] = _found(pipeline.network, model, how, strength)
    for name in model.config.sizes:
        metrics[f"{name}: control"] = control_accuracy(None, model.of(name), labels)
        if name != "plain":
            metrics[f"{name}: distance from plain"] = frechet_distance(judge_features(model.of(name)),
                                                                       judge_features(model.of("plain")))
            metrics[f"{name}: found"] = sum(trials["as it is"]["half way"][name]) / (KEYS * EACH)
    return model, dict(seed=0, steps=0, seconds=round(seconds, 1), metrics=metrics, trials=trials)


def noise_of(k: int) -> Tensor:
    """The noise of the pictures with key k, before it is marked.  -> (40, 1, 28, 28)"""
    return torch.randn(EACH, 1, 28, 28, generator=seeded(k))


def key_of(kind: str, k: int) -> Tensor:
    """Key number k of a kind, "free" or "rings".  -> (28, 28)"""
    return MAKERS[kind](WHERE, seeded(100 + k))


def washed(network: nn.Module, pictures: Tensor, t: float, generator: torch.Generator, steps: int = 6) -> Tensor:
    """Pictures that go back to the time t on a straight road to fresh noise, and from there to the end by the network,
    which is not told what they show.  (n, C, H, W) in [0, 1] -> the same"""
    eps = torch.randn(pictures.shape, generator=generator)
    x = flow.interpolate(2 * pictures - 1, eps, torch.full((len(pictures),), t))

    def rest(x: Tensor, s: Tensor) -> Tensor:      # the rest of the road, as if it were a whole one
        return (1 - t) * network(x, t + (1 - t) * s)

    return (flow.midpoint(rest, x, steps) / 2 + 0.5).clamp(0, 1)


def _draw(pipeline: nn.Module, model: Kept, y: Tensor) -> Kept:
    labelled = autoguided(partial(pipeline.network, y=y), pipeline.weak, pipeline.config.guidance)
    for name in model.config.sizes:
        parts = []
        for k in range(KEYS):
            noise = noise_of(k) if name == "plain" else with_ring(noise_of(k), key_of(name, k), WHERE)
            parts.append(flow.midpoint(labelled, noise, pipeline.config.steps))
        model.keep(name, (torch.cat(parts) / 2 + 0.5).clamp(0, 1))
    return model


def noise_behind(network: nn.Module, pictures: Tensor, start: float = 1.0, steps: int = 6) -> Tensor:
    """The way back from the time `start`, where a picture stands that has been made fainter by this factor.

    A spoilt picture is none that the network knows at the end of its road; further back it expects noise, and is
    forgiving.  (n, C, H, W) in [0, 1] -> noise of this shape"""
    def fainter(x: Tensor, s: Tensor) -> Tensor:   # s from 0 to 1 is the time from start to 0
        return -start * network(x, start * (1 - s))

    return flow.midpoint(fainter, start * (2 * pictures - 1), steps)


def _found(network: nn.Module, model: Kept, how: str, strength: float) -> dict[str, dict[str, list[int]]]:
    """How many of the 40 pictures of each key have a p-value below 0.01, after this has befallen them."""
    found = {"distance": {}, "whole way": {}, "half way": {}}
    for name in model.config.sizes:
        x = model.of(name)
        if how == "wash":
            x = washed(network, x, strength, seeded(9))
        elif strength:
            x = spoil(x, how, strength, seeded(9))
        whole, half = noise_behind(network, x).split(EACH), noise_behind(network, x, 0.5).split(EACH)
        for kind in MAKERS if name == "plain" else [name]:
            for finder, noise, p_value in (("distance", whole, ring_p_value), ("whole way", whole, key_p_value),
                                           ("half way", half, key_p_value)):
                hits = [int((p_value(noise[k], key_of(kind, k), WHERE) < 0.01).sum()) for k in range(KEYS)]
                found[finder][f"plain, {kind}" if name == "plain" else name] = hits
    return found
