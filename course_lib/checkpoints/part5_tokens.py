"""Part 5: the GPT of lesson 54 in other worlds: images and programs (56)."""

import copy
from functools import partial

import torch

from course_lib.chat import chat_loss
from course_lib.checkpoint import load as load_checkpoint
from course_lib.checkpoint import metadata
from course_lib.checkpoints.made import generator_row, on_one_core
from course_lib.data import list_programs, load
from course_lib.data.list_programs import END, N_BODY, N_PROMPT, WORDS, Programs, parses, passes
from course_lib.device import bfloat16_is_fast, seed, seeded
from course_lib.gpt import GPT, fast, lm_loss
from course_lib.muon import muon
from course_lib.preferences import Rollouts, answers, grpo_loss, pass_at_k
from course_lib.tokens import Encoded, ImageGPT, ImageGPTConfig, join, sentence_bits
from course_lib.train import fit

SEEDS = range(5)
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

TEST, SEEN = list_programs.tasks(100, seed=5, unseen=True), list_programs.tasks(100, seed=6)
ASKED = list_programs.tasks(1_000, seed=7)                                    # for policy gradients


def list_coder():
    """Lesson 56's GPT of programs: 3 layers of width 96, fast settings, from descriptions and one example to bodies;
    1,400 batches of 32, of which one body in five is careless; the loss on the bodies, Muon and AdamW with rates
    falling over the last 80 %, layers in bfloat16. Weights kept as float16.

    `temperatures`: pass@1 and pass@8 on compositions never trained, of 16 programs a task."""
    model, seconds = _coder(1_400)
    model = model.half().float().eval()                                       # what is measured is what is kept
    temperatures = {}
    for temperature in (0.2, 0.5, 1.0, 1.5):
        right, _ = written(model, TEST, 16, temperature)
        temperatures[f"{temperature:g}"] = [_mean(pass_at_k(right, k)) for k in (1, 8)]
    metrics = {"pass@1": temperatures["0.2"][0], "pass@8": temperatures["1"][1],
               "seen: pass@1": _mean(written(model, SEEN, 4, 0.2)[0])} | _judged(model)
    return model.half(), dict(seed=0, steps=1_400, seconds=round(seconds, 1), metrics=metrics,
                              parameters=sum(p.numel() for p in model.parameters()), temperatures=temperatures)


def list_coder_example():
    """`list_coder` after 20 steps of GRPO on a reward that asks for the example in the prompt, and for few words: 8
    programs for each of 8 tasks a step, AdamW, rate 3e-4. Weights kept as float16.

    `trials`: for three rewards (is it a program; is the example right; are five hidden examples right; each less 0.01 a
    word), what is found on compositions never trained every 10 steps, for each of five seeds."""
    policy, trials = load_checkpoint("list_coder"), {}
    for name in REWARDS:
        trials[name] = []
        for number in SEEDS:
            (model, rows), seconds = on_one_core(_rewarded, policy, name, number)
            trials[name].append(rows)
            print(name, number, rows, flush=True)
            if (name, number) == ("example", 0):
                kept, took = model.half().float().eval(), seconds
    return kept.half(), dict(seed=0, steps=20, seconds=round(took, 1), metrics=_judged(kept), trials=trials)


REWARDS = {                                                                   # of a program, by the task that it is for
    "parses": lambda text, one: parses(text),
    "example": lambda text, one: passes(text, [one.example]),
    "hidden": lambda text, one: passes(text, one.hidden),
}


def _rewarded(policy, name, number, steps=20, every=10):
    """A copy of a policy after GRPO on one of the rewards.  -> model, rows of what `_judged` says, the first before"""
    model, rows = copy.deepcopy(policy), [_judged(policy)]

    def reward(which, idx, mask):
        texts = [list_programs.decode(row) for row in idx[:, N_PROMPT:]]
        return torch.tensor([REWARDS[name](text, ASKED[k]) - 0.01 * len(text.split())
                             for text, k in zip(texts, which.tolist())])

    def look(model):
        rows.append(_judged(model))
        return {}

    seed(number)
    loader = Rollouts(model, list_programs.prompts(ASKED), reward, policy, end=END, n_new=N_BODY,
                      generator=seeded(number))
    fit(model, grpo_loss, loader, steps, lr=3e-4, evaluate=look, eval_every=every, label=f"GRPO, {name}")
    return model, rows


def _coder(steps, number=0):
    seed(number)
    model = GPT(fast(n_layer=3, n_head=4, n_embd=96, vocab_size=len(WORDS), block_size=N_PROMPT + N_BODY))
    _, seconds = on_one_core(fit, model, partial(chat_loss, dtype=PRECISION), Programs(32, careless=0.2), steps,
                             optimizer=muon, decay=0.8, label="programs")
    return model, seconds


def written(model, asked, n, temperature=1.0, number=4):
    """n programs for each task: which of them are right on the hidden examples, (P, n) bool, and their texts."""
    idx, _ = answers(model, list_programs.prompts(asked), n, N_BODY, END, temperature=temperature,
                     generator=seeded(number))
    texts = [list_programs.decode(row) for row in idx[:, N_PROMPT:]]
    return torch.tensor([passes(text, asked[k // n].hidden) for k, text in enumerate(texts)]).view(-1, n), texts


def _judged(model):
    """Four programs for each of 50 tasks never trained: shares that are right on hidden examples, on the example, that
    are programs, that return x, and that do not look at x at all."""
    asked = TEST[:50]
    right, texts = written(model, asked, 4)
    shares = [[parses(text), passes(text, [asked[k // 4].example]), text == "x", "x" not in text.split()]
              for k, text in enumerate(texts)]
    names = "parses", "example", "x", "constant"
    return {"hidden": _mean(right)} | {name: _mean(part) for name, part in zip(names, torch.tensor(shares).T)}


def _mean(values):
    return round(values.double().mean().item(), 4)
