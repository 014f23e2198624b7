"""The text-to-image model of lesson 65 beside diffusers' network:  TQDM_DISABLE=1 python benchmarks/faces.py

`after()` is a part of `make bench`. Each model is trained for 120 seconds of processor time on the same faces, whose
captions are drawn anew each time, in the same latents, with the same text encoder, optimiser, decay and average of the
weights, and with one caption in ten left out. Network, noise schedule, loss and sampler are their own; both draw with
guidance 3. The reader of the course says which captions were obeyed, those of combinations never seen apart.
"""

import importlib.util
from functools import partial

import torch
from images import processor_seconds
from torch import Tensor, nn
from torch.nn import functional as F

from course_lib.checkpoint import load as load_checkpoint
from course_lib.data import load
from course_lib.data.avatars import NAMES, caption, said
from course_lib.device import bfloat16_is_fast, seed, seeded
from course_lib.diffusion import drop_labels
from course_lib.muon import OUTSIDE, muon_unet
from course_lib.reader import score
from course_lib.text_to_image import Captioned, TextToImage, TextToImageConfig, muon_text_to_image, text_to_image_loss
from course_lib.train import fit

SECONDS, GUIDANCE, N_CHANNEL = 120.0, 3.0, 40
faces = load("avatars")


def beginner() -> TextToImage:
    """Lesson 65's model before its training, in the latents that are shipped."""
    seed(0)
    model = TextToImage(TextToImageConfig(network=dict(n_channel=N_CHANNEL), guidance=GUIDANCE))
    model.latents.load_state_dict(load_checkpoint("avatar_latents").state_dict())
    return model


@torch.no_grad()
def latents(model: TextToImage) -> Tensor:
    return torch.cat([model.latents.encode(part) for part in faces.train.x.split(500)])


def trained(model, loss_fn, z: Tensor, steps: int, optimizer, autocast: bool):
    fit(model, loss_fn, Captioned(z, faces.train.shown, 32), steps, optimizer=optimizer, warmup=50, decay=0.6,
        ema=0.995, autocast=autocast, progress=False)
    return model


def ours(steps: int):
    model = beginner().to(memory_format=torch.channels_last)
    return trained(model, text_to_image_loss, latents(model), steps, muon_text_to_image, bfloat16_is_fast())


class Diffusers(nn.Module):
    """UNet2DConditionModel of 1.7 million numbers, predicts the noise, drawn by its DDIM in 50 steps. Text encoder and
    latents are those of lesson 65."""

    def __init__(self):
        from diffusers import DDIMScheduler, DDPMScheduler, UNet2DConditionModel

        super().__init__()
        lesson = beginner()
        self.words, self.latents, self.text = lesson.words, lesson.latents, lesson.text
        channels, size, _ = self.latents.shape
        self.network = UNet2DConditionModel(
            sample_size=size, in_channels=channels, out_channels=channels, layers_per_block=1, norm_num_groups=8,
            block_out_channels=(N_CHANNEL, 2 * N_CHANNEL), attention_head_dim=4,
            down_block_types=("CrossAttnDownBlock2D",) * 2, up_block_types=("CrossAttnUpBlock2D",) * 2,
            cross_attention_dim=self.text.config.n_embd)
        self.noising, self.sampler = DDPMScheduler(1_000), DDIMScheduler(1_000, clip_sample=False)

    def loss(self, z: Tensor, words: Tensor) -> dict[str, Tensor]:
        words = drop_labels(words, torch.zeros_like(words[0]), 0.1)
        t, eps = torch.randint(1_000, (len(z),)), torch.randn_like(z)
        told = self.network(self.noising.add_noise(z, eps, t), t, encoder_hidden_states=self.text(words)).sample
        return {"loss": F.mse_loss(told, eps)}

    @torch.no_grad()
    def sample(self, captions: list[str], generator=None) -> Tensor:
        self.sampler.set_timesteps(50)
        pictures = []
        for part in self.text(self.words(captions)).split(100):
            null = self.text(self.words("")).expand_as(part)
            z = torch.randn(len(part), *self.latents.shape, generator=generator)
            for t in self.sampler.timesteps:
                both = self.network(torch.cat([z, z]), t, encoder_hidden_states=torch.cat([part, null])).sample
                with_words, without = both.chunk(2)
                z = self.sampler.step(without + GUIDANCE * (with_words - without), t, z).prev_sample
            pictures.append(self.latents.decode(z))
        return torch.cat(pictures).clamp(0, 1)


def diffusers(steps: int):
    seed(0)
    model = Diffusers()
    outside = (*OUTSIDE, "words", "places", "latents", "conv_in", "conv_out", "time_embedding", "time_emb_proj")
    return trained(model, Diffusers.loss, latents(model), steps, partial(muon_unet, outside=outside), False)


CONTENDERS = {"flow in latents, lesson 65": ours}
if importlib.util.find_spec("diffusers"):
    CONTENDERS["diffusers, UNet2DConditionModel"] = diffusers


def obeyed(model, part, n: int) -> dict[str, float]:
    """Scores of the pictures of n captions of these faces, their mean, and how many were drawn in a second."""
    told, chosen = seeded(5), torch.randperm(len(part.x), generator=seeded(5))[:n]
    captions = [caption(row, told) for row in part.shown[chosen].tolist()]
    pictures, spent = processor_seconds(model.sample, captions, seeded(1))
    scores = score(pictures, torch.stack([said(text) for text in captions]))
    return scores | {"mean": sum(scores[name] for name in NAMES) / len(NAMES), "drawn/s": n / spent}


def after(seconds: float = SECONDS, n: int = 500) -> dict[str, dict]:
    """Every contender trained for so many seconds, then read.  -> its row, by its name"""
    print(f"\n| faces after {seconds:.0f} s | parameters | steps | drawn/s | whole caption | ... never "
          "seen | mean over attributes |\n|---|---:|---:|---:|---:|---:|---:|")
    found = {}
    for name, train in CONTENDERS.items():
        train(10)                                                             # warm up
        (_, short), (_, long) = (processor_seconds(train, k) for k in (10, 40))
        step = (long - short) / 30
        steps = int((seconds - short + 10 * step) / step)
        model = train(steps)
        seen, unseen = (obeyed(model, part, n) for part in (faces.test_seen, faces.test_unseen))
        count = sum(p.numel() for p in [*model.network.parameters(), *model.text.parameters()])
        print(f"| {name} | {count:,} | {steps} | {seen['drawn/s']:.0f} | {seen['whole caption']:.3f} | "
              f"{unseen['whole caption']:.3f} | {seen['mean']:.3f} |", flush=True)
        found[name] = {"seen": seen["whole caption"], "unseen": unseen["whole caption"], "steps": steps}
    return found


if __name__ == "__main__":
    after()
