"""Part 7: unCLIP (72), a prior over CLIP's vectors and a decoder that draws from them."""

from types import SimpleNamespace

import torch

from course_lib.checkpoint import load as load_checkpoint
from course_lib.checkpoints.made import on_one_core
from course_lib.checkpoints.part6 import _bound, _obeyed
from course_lib.data import Batches, load
from course_lib.data.avatars import ATTRIBUTES, NAMES, UNSAID, caption, said
from course_lib.device import seed, seeded
from course_lib.reader import read
from course_lib.train import fit
from course_lib.unclip import UnCLIP, UnCLIPConfig, muon_decoder, vector_loss


def unclip():
    """Lesson 72's miniature DALL-E 2: the CLIP of `clip`, and the latents of `avatar_latents`. Decoder: U-Net of 32
    channels, 4,000 batches of 32 training faces, Muon and AdamW. Prior: 3,000 batches of 256 vectors of training faces,
    with eight captions each, AdamW. Both by flow matching with logit-normal times, the vector left out in one of ten,
    rates falling over the last 60 %, average of the last weights, bfloat16 in the decoder. Drawn in 8 steps of the
    midpoint method, the decoder with guidance 2. Weights kept as float16.

    `ways`: scores of 1,000 captions of each test part, for each way in which the decoder can come by a vector."""
    faces = load("avatars")
    model, gap, seconds = _unclip("clip", 0, 4_000, 3_000, ema=0.998)
    model = model.half().float()                                              # what is measured is what is kept
    ways = {name: {part: _obeyed(way(getattr(faces, part)), getattr(faces, part), 1_000, 2.0)
                   for part in ("test_seen", "test_unseen")} for name, way in _ways(model, gap).items()}
    metrics = {f"{part}: {name}": share for part, scores in ways["prior"].items() for name, share in scores.items()}
    return model.half(), dict(seed=0, steps=7_000, seconds=round(sum(seconds), 1), metrics=metrics, ways=ways,
                              decoder_seconds=round(seconds[0], 1), prior_seconds=round(seconds[1], 1),
                              bound=_bound(model), parameters=_trained(model))


def unclip_no_neighbours():
    """The recipe of `unclip` on the vectors of `clip_no_neighbours`, whose text encoder cannot tell whose colour is
    whose; 800 batches for the decoder and 1,000 for the prior. Weights kept as float16.

    `trials`: this training, and the same on the vectors of `clip`, with seeds 0 to 4: whole captions right, seen and
    unseen, for each way in which the decoder can come by a vector (250 captions); `_variety` of two of them; and pairs
    of two colours right of those right or exchanged."""
    trials = {name: [_trial(name, n) for n in range(5)] for name in ("clip", "clip_no_neighbours")}
    model, _, seconds = _unclip("clip_no_neighbours", 0, 800, 1_000)
    model = model.half().float()
    metrics = {f"{part}: whole caption": _obeyed(model, getattr(load("avatars"), part), 500, 2.0)["whole caption"]
               for part in ("test_seen", "test_unseen")}
    return model.half(), dict(seed=0, steps=1_800, seconds=round(sum(seconds), 1), metrics=metrics, trials=trials,
                              parameters=_trained(model))


def _unclip(clip, n, steps, prior_steps, ema=0.995):
    """A model after a training, the gap between the mean vectors of pictures and captions, and processor seconds of
    decoder and prior."""
    faces = load("avatars").train
    seed(n)
    model = UnCLIP(UnCLIPConfig(clip=load_checkpoint(clip).config.__dict__)).to(memory_format=torch.channels_last)
    model.clip.load_state_dict(load_checkpoint(clip).state_dict())
    model.latents.load_state_dict(load_checkpoint("avatar_latents").state_dict())
    model.eval()                                                              # CLIP's batch norms stay as they are
    told, shown = seeded(n), faces.shown.tolist()
    with torch.no_grad():
        z = torch.cat([model.latents.encode(part) for part in faces.x.split(500)])
        image = torch.cat([model.image(part) for part in faces.x.split(500)])                      # (8000, 64)
        text = torch.cat([model.text([caption(row, told) for row in shown]) for _ in range(8)])    # (64000, 64)
    _, seconds = on_one_core(fit, model.decoder, vector_loss, Batches(z, image, batch_size=32), steps,
                             optimizer=muon_decoder, warmup=50, decay=0.6, ema=ema, autocast=True, label="decoder")
    _, more = on_one_core(fit, model.prior, vector_loss, Batches(image.repeat(8, 1), text, batch_size=256), prior_steps,
                          lr=2e-3, betas=(0.9, 0.99), warmup=50, decay=0.6, ema=0.99, label="prior")
    return model, image.mean(0) - text.mean(0), (seconds, more)


def _ways(model, gap):
    """How the decoder can come by a vector: name -> function of faces -> what `_obeyed` can draw from."""
    def drawn(vector):
        return lambda faces: SimpleNamespace(sample=lambda captions, generator, guidance, steps: model.draw(
            vector(captions, faces), generator, guidance=guidance, steps=steps))

    def own(captions, faces):                                                 # of the pictures that `_obeyed` chooses
        return model.image(faces.x[torch.randperm(len(faces.x), generator=seeded(5))[:len(captions)]])

    return {"prior": lambda faces: model, "text": drawn(lambda captions, faces: model.text(captions)),
            "text and gap": drawn(lambda captions, faces: model.text(captions) + gap), "picture": drawn(own)}


def _trial(clip, n):
    model, gap, seconds = _unclip(clip, n, 800, 1_000)
    faces, ways = load("avatars"), _ways(model, gap)
    parts = faces.test_seen, faces.test_unseen
    shares = {name: [_obeyed(way(part), part, 250, 2.0)["whole caption"] for part in parts]
              for name, way in ways.items()}
    variety = {name: _variety(ways[name](faces).sample) for name in ("prior", "text and gap")}
    return dict(seconds=round(sum(seconds), 1), shares=shares, variety=variety, bound=_bound(model))


LITTLE = ("a person with a red hat", "a person with long hair", "a happy person with dark glasses",
          "a person with a beard")


@torch.no_grad()
def _variety(sample, n=60):
    """Of captions that say little: the standard deviation of a pixel among pictures of one caption; and how far the
    shares of shirts, skins and moods, where nobody asked for one, are from those of the training faces with what was
    asked for (total variation: 0 the same, 1 nothing in common). Means over all."""
    attributes, spread, far = load("avatars").train.attributes, [], []
    for text in LITTLE:
        wanted = said(text)
        pictures = sample([text] * n, seeded(3), guidance=2.0, steps=8)
        alike = ((attributes == wanted) | (wanted == UNSAID)).all(1)
        spread.append(pictures.std(0).mean().item())
        for name in ("shirt", "skin", "mood"):
            k, size = NAMES.index(name), len(ATTRIBUTES[name])
            if wanted[k] == UNSAID:
                real, drawn = (torch.bincount(values, minlength=size) / len(values)
                               for values in (attributes[alike, k], read(pictures)[:, k]))
                far.append((real - drawn).abs().sum().item() / 2)
    return [round(sum(spread) / len(spread), 4), round(sum(far) / len(far), 4)]


def _trained(model):
    return sum(p.numel() for part in (model.prior, model.decoder) for p in part.parameters())
