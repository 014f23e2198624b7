"""Part 5: the GPT of lesson 54 in other worlds: images and programs (56)."""

from functools import partial

import torch

from course_lib.chat import chat_loss
from course_lib.checkpoint import load as load_checkpoint
from course_lib.checkpoint import metadata
from course_lib.checkpoints.made import generator_row, on_one_core
from course_lib.data import list_programs, load
from course_lib.data.list_programs import END, N_BODY, N_PROMPT, WORDS, Programs, passes
from course_lib.device import bfloat16_is_fast, seed, seeded
from course_lib.gpt import GPT, fast, lm_loss
from course_lib.muon import muon
from course_lib.preferences import answers, pass_at_k
from course_lib.tokens import Encoded, ImageGPT, ImageGPTConfig, join, sentence_bits
from course_lib.train import fit

PRECISION = torch.bfloat16 if bfloat16_is_fast() else torch.float32


# -------------------------------------------------------------------------------------------------------------- images

IMAGE_GPT = dict(n_layer=3, n_head=4, n_embd=96, positions="learned")


def image_gpt():
    """Lesson 56's GPT of images: 3 layers of width 96, fast settings but learned positions, on the codes of `vqvae`,
    with the label in front: 4,400 batches of 32 training digits, distorted a little and encoded on the fly; Muon and
    AdamW with rates falling over the last 80 %, layers in bfloat16. Weights kept as float16. It draws at temperature
    0.85, chosen in runs that showed the test distance.

    `temperatures`: distance, control accuracy and recall of 1,000 samples by temperature."""
    digits = load("digits")
    model, seconds = _image_gpt(4_400)
    model = model.half().float().eval()                                       # what is measured is what is kept
    seconds += metadata("vqvae")["seconds"]
    row = generator_row(model, "GPT", labels=True, lesson=56, steps=4_400, seconds=seconds)
    row["metrics"]["bits"] = round(_bits(model, digits.test), 2)
    temperatures = {"0.85": [row["metrics"][name] for name in ("frechet", "control", "recall")]}
    for temperature in (0.7, 1.0, 1.15):
        model.config.temperature = temperature
        found = generator_row(model, "GPT", labels=True)["metrics"]
        temperatures[f"{temperature:g}"] = [found[name] for name in ("frechet", "control", "recall")]
    model.config.temperature = 0.85
    return model.half(), row | dict(temperatures=temperatures)


def _image_gpt(steps, number=0):
    digits, vqvae = load("digits"), load_checkpoint("vqvae")
    seed(number)
    model = ImageGPT(ImageGPTConfig(vqvae=metadata("vqvae")["config"], gpt=IMAGE_GPT, temperature=0.85))
    model.vqvae.load_state_dict(vqvae.state_dict())
    _, seconds = on_one_core(fit, model.gpt, partial(lm_loss, dtype=PRECISION), Encoded(*digits.train, vqvae), steps,
                             optimizer=muon, decay=0.8, label="images")
    return model, seconds


def _bits(model, part):
    idx = join(part.y, torch.cat([model.vqvae.encode(x) for x in part.x.split(500)]), 10)
    return sentence_bits(model.gpt, idx).mean().item()


# ------------------------------------------------------------------------------------------------------------ programs

def list_coder():
    """Lesson 56's GPT of programs: 3 layers of width 96, fast settings, from descriptions and one example to bodies;
    1,200 batches of 32, of which one body in twenty is careless; the loss on the bodies, Muon and AdamW with rates
    falling over the last 70 %. Weights kept as float16.

    `temperatures`: pass@1 and pass@8 on compositions never trained, of 16 programs a task."""
    seed(0)
    model = GPT(fast(n_layer=3, n_head=4, n_embd=96, vocab_size=len(WORDS), block_size=N_PROMPT + N_BODY))
    _, seconds = on_one_core(fit, model, chat_loss, Programs(32, careless=0.05), 1_200, optimizer=muon, decay=0.7,
                             label="programs")
    model = model.half().float().eval()                                       # what is measured is what is kept
    made = measured_coder(model, seconds)
    return model.half(), made


def measured_coder(model, seconds):
    """What is written beside a model of programs."""
    never, trained = list_programs.tasks(100, seed=5, unseen=True), list_programs.tasks(100, seed=6)
    temperatures = {f"{t:g}": [_passes(model, never, k, t) for k in (1, 8)] for t in (0.2, 0.5, 1.0, 1.5)}
    metrics = {"pass@1": temperatures["0.2"][0], "pass@8": temperatures["1"][1],
               "trained: pass@1": _passes(model, trained, 1, 0.2)}
    return dict(seed=0, steps=1_200, seconds=round(seconds, 1), metrics=metrics, temperatures=temperatures,
                parameters=sum(p.numel() for p in model.parameters()))


def _passes(model, asked, k, temperature):
    idx, _ = answers(model, list_programs.prompts(asked), 16, N_BODY, END, temperature=temperature,
                     generator=seeded(4))
    right = [passes(list_programs.decode(row[N_PROMPT:]), asked[i // 16].hidden) for i, row in enumerate(idx)]
    return round(pass_at_k(torch.tensor(right).view(-1, 16), k).mean().item(), 4)
