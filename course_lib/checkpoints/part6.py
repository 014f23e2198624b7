"""Part 6: diffusion (61, 63), flow matching (64), words into pictures and the reader that judges faces (65)."""

import time
from copy import deepcopy

import torch
from torch.nn import functional as F

from course_lib.checkpoint import load as load_checkpoint
from course_lib.checkpoint import metadata
from course_lib.checkpoints.made import generator_row, on_one_core
from course_lib.data import Batches, load
from course_lib.data.avatars import ATTRIBUTES, NAMES, caption, said
from course_lib.data.build_avatars import CLOTHES
from course_lib.device import seed, seeded
from course_lib.muon import Muon, Together, muon_unet
from course_lib.pipeline import Pipeline, PipelineConfig, beside, pipeline_loss
from course_lib.reader import Reader, ReaderConfig, read, reader_loss, score
from course_lib.text_to_image import (
    Captioned,
    Latents,
    LatentsConfig,
    TextToImage,
    TextToImageConfig,
    latent_loss,
    muon_text_to_image,
    text_to_image_loss,
)
from course_lib.train import fit


def ddpm():
    """Lesson 61's U-Net: 12,000 batches of 32 training digits, target v, cosine schedule, AdamW with the learning rate
    falling over the last 60 %, average of the last weights, bfloat16. Drawn in 30 of the 1,000 steps with fresh noise.

    Cosine was chosen before linear, v before eps, and fresh noise before none in runs of 2,400 batches that showed the
    test distance (12.2 and 15.4; 14.0 and 17.9 before the network had its overview; 9.5 and 12.2)."""
    return _digit_pipeline(PipelineConfig(path="v", steps=30), lesson=61, steps=12_000)


def conditional_ddpm():
    """Lesson 63's U-Net: the recipe of `ddpm` with labels, of which one in ten is left out, and 8,000 batches. Drawn
    with guidance 1.5.

    The guidance is the best of 1, 1.25, 1.5, 1.75, 2 and 2.5 for 1,000 training digits."""
    config = PipelineConfig(path="v", steps=30, guidance=1.5, sizes=dict(n_class=10))
    return _digit_pipeline(config, lesson=63, steps=8_000)


def flow():
    """Lesson 64's U-Net: the recipe of `conditional_ddpm` with flow matching and 16,000 batches. Drawn in 15 steps of
    the midpoint method, guided with scale 1.35 away from what the network of `flow_minute` says without a label.
    Weights kept as float16.

    The scale is the best of 1.25, 1.35, 1.5 and 1.7 for the training digits (0.276; with the network's own guess
    without a label, at its best scale 1.5, 0.356)."""
    model, seconds = _trained(PipelineConfig(sizes=dict(n_class=10)), 16_000)
    model = beside(model, load_checkpoint("flow_minute").network, guidance=1.35).half().float()    # what is kept
    seconds += metadata("flow_minute")["seconds"]
    made = generator_row(model, "flow", lesson=64, steps=16_000, seconds=seconds, labels=True)
    return model.half(), made


def _muon(pipeline):
    """Muon for the matrices that tokens pass through: after two minutes the training loss was 0.187, and 0.227 with
    AdamW for all. With the matrices of the modulation among them, a run of 7,500 batches diverged."""
    matrices = {name: p for name, p in pipeline.named_parameters()
                if ".blocks." in name and p.ndim == 2 and "modulation" not in name}
    others = [p for name, p in pipeline.named_parameters() if name not in matrices]
    return Together(Muon(matrices.values()),
                    torch.optim.AdamW(others, lr=2e-3, betas=(0.9, 0.99), weight_decay=0.0))


def _digit_pipeline(config, lesson, steps):
    model, seconds = _trained(config, steps)
    labels, family = "n_class" in config.sizes, "flow" if config.path == "flow" else "diffusion"
    return model, generator_row(model, family, lesson=lesson, steps=steps, seconds=seconds, labels=labels)


def _trained(config, steps, ema=0.998, data=None, optimizer=None, early=None):
    """early: after so many steps a copy of the average is taken, and at the end the model is guided away from it."""
    def look(model):
        if early and not kept:
            kept.append(deepcopy(model.network))
        return {}

    data, kept = load("digits").train[:2 if "n_class" in config.sizes else 1] if data is None else data, []
    seed(0)
    model = Pipeline(config).to(memory_format=torch.channels_last)
    history = fit(model, pipeline_loss, Batches(*data, batch_size=32), steps, lr=2e-3, betas=(0.9, 0.99), warmup=50,
                  decay=0.6, ema=ema, autocast=True, optimizer=optimizer, evaluate=look, eval_every=early,
                  label=config.path)
    return beside(model, kept[0], config.guidance) if early else model, history.seconds


def in_a_minute(config, steps, optimizer=muon_unet, data=None, early=None):
    """A short training: Muon and a shorter average.

    After 600 batches of flow matching with labels the loss is 0.181, with AdamW alone 0.199 (after 780, 0.189; with
    Muon a batch takes an eighth longer). Its rate was chosen among 0.005, 0.01, 0.02 and 0.04. Long runs end alike:
    that of `flow` with 0.141 on training digits and 0.150 on test digits, and after 12,000 batches with Muon 0.139
    and 0.149 (Fréchet distance, mean of four seeds of drawing, 0.54 and 0.56)."""
    return _trained(config, steps, 0.995, data, optimizer, early)


def ddpm_minute():
    """The recipe of `ddpm` with 1,200 batches, with Muon for the U-Net's inside and a shorter average, about a minute
    of one processor core, for the table of lesson 64. Its seconds are those of the processor."""
    config = PipelineConfig(path="v", steps=30)
    (model, _), seconds = on_one_core(in_a_minute, config, 1_200)
    return model, generator_row(model, "diffusion", lesson=64, steps=1_200, seconds=seconds)


def flow_minute():
    """The recipe of `flow` with 1,200 batches, with Muon for the U-Net's inside and a shorter average, about a minute
    of one processor core, for the table of lesson 64. Its seconds are those of the processor."""
    config = PipelineConfig(guidance=2.0, sizes=dict(n_class=10))
    (model, _), seconds = on_one_core(in_a_minute, config, 1_200)
    return model, generator_row(model, "flow", lesson=64, steps=1_200, seconds=seconds, labels=True)


def dit_minute():
    """The recipe of `flow_minute` with a DiT of 4 layers and width 64 in place of the U-Net: 1,300 batches, about a
    minute of one processor core, for lesson 64. Its seconds are those of the processor.

    Beside it is written what the U-Net reaches with as many operations: 684 batches, since one costs it 1.9 times as
    many (lesson 64 counts them)."""
    config = PipelineConfig(network="dit", guidance=2.0, sizes=dict(n_class=10, n_layer=4, n_embd=64))
    (model, _), seconds = on_one_core(in_a_minute, config, 1_300, _muon)
    made = generator_row(model, "flow", lesson=64, steps=1_300, seconds=seconds, labels=True)
    config = PipelineConfig(guidance=2.0, sizes=dict(n_class=10))
    (rival, _), seconds = on_one_core(in_a_minute, config, 684)
    unet = generator_row(rival, "flow", steps=684, seconds=seconds, labels=True)
    return model, made | {"unet_with_equal_flops": {k: unet[k] for k in ("steps", "seconds", "metrics")}}


def reader():
    """Lesson 65's reader of avatars: the 8,000 training faces, each time with other blur, brightness and noise and with
    the colours of hat and shirt exchanged, 4,000 batches of 64, AdamW, learning rate falling over the last 70 %,
    average of the last weights. Weights kept as float16.

    Without the exchange it reads 95.9 % of the colours of hair in `test_unseen`, and 99.8 % in `test_seen`: where
    little hair is left under a blue hat, it has learnt that it is never blond."""
    def loss_fn(model, x, shown, place):
        return reader_loss(model, *_noisy(*_dyed(x, shown, place)))

    faces, steps = load("avatars"), 4_000
    seed(0)
    model = Reader(ReaderConfig()).to(memory_format=torch.channels_last)
    train = Batches(faces.train.x, faces.train.shown, _clothes(faces.train.x), batch_size=64)
    _, seconds = on_one_core(fit, model, loss_fn, train, steps, lr=4e-3, betas=(0.9, 0.99), weight_decay=0.02,
                             warmup=50, decay=0.7, ema=0.998, label="reader")
    model = model.half().float()                                              # what is measured is what is kept
    metrics = {f"{part}: {name}": round(share, 4) for part in ("test_seen", "test_unseen")
               for name, share in score(getattr(faces, part).x, getattr(faces, part).shown, model).items()}
    return model.half(), dict(seed=0, steps=steps, seconds=round(seconds, 1), metrics=metrics)


# The colours that hats and shirts share, each plain and with the design's white over it.  (5, 4, 3)
_COLOURS = torch.tensor([[*bytes.fromhex(rgb)] for name, rgb in CLOTHES.items() if name != "purple"]) / 255
_SHADES = torch.stack([torch.lerp(_COLOURS, torch.ones(3), white) for white in (0.0, 0.2, 0.3, 0.5)], dim=1)


def _clothes(x):
    """Which pixels are cloth, and of which shade: its number in _SHADES, or -1.  (N, 3, 16, 16) -> (N, 16, 16)"""
    found = []
    for part in x.permute(0, 2, 3, 1).split(500):                             # bounds the memory
        distance, shade = (part[..., None, :] - _SHADES.flatten(0, 1)).abs().amax(-1).min(-1)
        found.append(shade.masked_fill(distance > 2 / 255, -1))
    return torch.cat(found)


def _dyed(x, shown, place):
    """Each face with another exchange of the five colours, so that none goes with a colour of hair or with glasses."""
    exchange = torch.rand(len(x), len(_SHADES)).argsort(1)                    # (B, 5) old colour -> new colour
    colour = exchange.gather(1, place.clamp(min=0).flatten(1) // 4).view_as(place)
    x = torch.where((place >= 0)[:, None], _SHADES[colour, place % 4].permute(0, 3, 1, 2), x)
    shown, hat, shirt = shown.clone(), NAMES.index("hat"), NAMES.index("shirt")
    worn = (shown[:, hat] - 1).clamp(0, 4)                                    # hats are none, these five, purple
    new = exchange.gather(1, worn[:, None])[:, 0] + 1
    shown[:, hat] = torch.where(shown[:, hat] == worn + 1, new, shown[:, hat])
    shown[:, shirt] = exchange.gather(1, shown[:, shirt, None])[:, 0]
    return x, shown


def _noisy(x, shown):
    """As models draw: a little blurred, darker or paler, and with noise."""
    def up_to(most):
        return most * torch.rand(len(x), 1, 1, 1)

    x = torch.lerp(x, F.avg_pool2d(F.pad(x, (1, 1, 1, 1), mode="replicate"), 3, stride=1), up_to(0.4))
    x = torch.lerp(x, torch.full((), 0.5), up_to(0.1)) + up_to(0.06) - 0.03
    return x + up_to(0.15) * torch.randn_like(x), shown


def avatar_latents():
    """Lesson 65's autoencoder of faces, 3x16x16 to 4x8x8: 8,000 batches of 32 training faces, latents shaken by 0.05,
    AdamW with the learning rate falling over the last 60 %, average of the last weights, bfloat16; then mean and
    deviation of each channel, measured on all training faces. Weights kept as float16.

    Its `deviation` is that of latents before they are scaled, of all channels together: Stable Diffusion's is
    1 / 0.18215."""
    faces, steps = load("avatars"), 8_000
    seed(0)
    model = Latents(LatentsConfig()).to(memory_format=torch.channels_last)
    _, seconds = on_one_core(fit, model, latent_loss, Batches(faces.train.x, batch_size=32), steps, lr=4e-3,
                             betas=(0.9, 0.99), warmup=50, decay=0.6, ema=0.995, autocast=True, label="latents")
    model = model.half().float().fit_scale(faces.train.x)                     # what is measured is what is kept
    model = model.half().float()
    metrics = {}
    with torch.no_grad():
        for part in ("test_seen", "test_unseen"):
            x, shown = getattr(faces, part).x, getattr(faces, part).shown
            rebuilt = model(x).clamp(0, 1)
            metrics[f"{part}: error"] = round((rebuilt - x).square().mean().sqrt().item(), 5)
            metrics |= {f"{part}: {name}": round(share, 4) for name, share in score(rebuilt, shown).items()}
        deviation = round(model.raw(faces.train.x[:2_000]).std().item(), 4)
    return model.half(), dict(seed=0, steps=steps, seconds=round(seconds, 1), metrics=metrics, deviation=deviation)


def text_to_image():
    """Lesson 65's text-to-image model: text encoder of one layer with neighbours, U-Net of 40 channels, in the latents
    of `avatar_latents`; 8,000 batches of 32 faces whose captions are drawn anew each time and left out whole in one of
    ten; flow matching with logit-normal times, Muon and AdamW with rates falling over the last 60 %, average of the
    last weights, bfloat16. Drawn in 8 steps of the midpoint method with guidance 3. Weights kept as float16.

    `stages`: after so many batches and processor seconds, the scores of 250 captions of each test part. `guidance`: the
    same scores of the finished model, of 500 captions, at other scales of guidance."""
    faces, steps = load("avatars"), 8_000
    model, stages, seconds = _illustrator(40, 0, steps, (100, 200, 400, 800, 1_600, 3_200, 8_000))
    model = model.half().float()
    metrics = {f"{part}: {name}": share for part in ("test_seen", "test_unseen")
               for name, share in _obeyed(model, getattr(faces, part), 1_000).items()}
    guidance = [[scale, *(_obeyed(model, part, 500, scale) for part in (faces.test_seen, faces.test_unseen))]
                for scale in (1.0, 2.0, 3.0, 5.0, 8.0)]
    return model.half(), dict(seed=0, steps=steps, seconds=round(seconds, 1), metrics=metrics, stages=stages,
                              guidance=guidance, parameters=sum(p.numel() for p in model.parameters()))


# The trials of lesson 65: what is changed in a small network of 32 channels that is trained for 800 batches.
_TRIALS = {
    "latents": {},
    "pixels": dict(pixels=True),
    "no neighbours": dict(text=dict(neighbours=False)),
    "bag of words": dict(text=dict(neighbours=False, n_layer=0, bag=True)),
    "deviation 5": dict(scale=5.0),
    "deviation 0.1": dict(scale=0.1),
}


def text_to_image_bag():
    """The recipe of `text_to_image` with the mean of the word vectors in place of the words, a U-Net of 32 channels and
    800 batches: what lesson 65 proves cannot know whose colour is whose. Weights kept as float16.

    `trials`: this and five other changes to that small model, each with seeds 0 to 4: [batches, processor seconds,
    whole captions right, seen, unseen, and pairs of two colours right of those right or exchanged] at each stage."""
    trials = {}
    for name, change in _TRIALS.items():
        trials[name] = []
        for n in range(5):
            model, stages, seconds = _illustrator(32, n, 800, (100, 200, 400, 800), **change)
            rows = [[step, spent, *(part["whole caption"] for part in scores)] for step, spent, *scores in stages]
            trials[name].append([rows, _bound(model)])
            if name == "bag of words" and n == 0:
                kept, made = model, dict(seed=0, steps=800, seconds=round(seconds, 1))
    metrics = {part: trials["bag of words"][0][0][-1][k] for part, k in (("test_seen", 2), ("test_unseen", 3))}
    return kept.half(), made | dict(metrics=metrics, trials=trials)


def _illustrator(n_channel, n, steps, stops, scale=1.0, pixels=False, text=None):
    """A text-to-image model after a training, its scores at some of the steps, and the processor seconds.

    scale: the deviation that the latents are given, where 1 is right."""
    faces, stages, measuring, counted = load("avatars"), [], [], iter(range(100, steps + 1, 100))

    def look(model):
        if (step := next(counted)) in stops:
            start = time.process_time()
            scores = [_obeyed(model, part, 250) for part in (faces.test_seen, faces.test_unseen)]
            stages.append([step, round(start - begun - sum(measuring), 1), *scores])
            measuring.append(time.process_time() - start)
        return {}

    seed(n)
    model = TextToImage(TextToImageConfig(pixels=pixels, text=text or {}, network=dict(n_channel=n_channel)))
    model = model.to(memory_format=torch.channels_last)
    if not pixels:
        model.latents.load_state_dict(load_checkpoint("avatar_latents").state_dict())
        model.latents.scale *= scale
    with torch.no_grad():
        z = torch.cat([model.latents.encode(part) for part in faces.train.x.split(500)])
    begun = time.process_time()
    _, seconds = on_one_core(fit, model, text_to_image_loss, Captioned(z, faces.train.shown, 32), steps,
                             optimizer=muon_text_to_image, warmup=50, decay=0.6, ema=0.998 if steps > 2_000 else 0.995,
                             autocast=True, evaluate=look, eval_every=100, label="text to image")
    return model, stages, seconds - sum(measuring)


def _obeyed(model, faces, n, guidance=3.0):
    """Scores of the pictures of n captions of these faces, drawn in 8 steps."""
    told, chosen = seeded(5), torch.randperm(len(faces.x), generator=seeded(5))[:n]
    captions = [caption(row, told) for row in faces.shown[chosen].tolist()]
    wanted = torch.stack([said(text) for text in captions])
    scores = score(model.sample(captions, seeded(1), guidance=guidance, steps=8), wanted)
    return {name: round(share, 4) for name, share in scores.items()}


def _bound(model):
    """Of pictures of a hat and a shirt of two colours that show these two colours: the share that has them where they
    were asked for, and how many such pictures there were of 200."""
    colours = ("red", "blue", "green", "yellow", "black")
    pairs = [(a, b) for a in colours for b in colours if a != b] * 10
    captions = [f"a {hat} hat and a {shirt} shirt" for hat, shirt in pairs]
    seen = read(model.sample(captions, seeded(2), guidance=3.0, steps=8))
    hats, shirts = ATTRIBUTES["hat"], ATTRIBUTES["shirt"]
    shown = [(hats[row[NAMES.index("hat")]], shirts[row[NAMES.index("shirt")]]) for row in seen.tolist()]
    right = sum(found == asked for found, asked in zip(shown, pairs))
    exchanged = sum(found == asked[::-1] for found, asked in zip(shown, pairs))
    return [round(right / max(1, right + exchanged), 4), right + exchanged]
