"""Draws the strip at the top of the README, from shipped checkpoints:   python authoring/readme.py

What each family of generators makes of nothing but noise, and the first lines that the GPT writes."""

import textwrap
from pathlib import Path

import matplotlib.pyplot as plt
import torch

from course_lib import checkpoint
from course_lib.data.text import decode, encode
from course_lib.decoding import generate
from course_lib.device import seeded
from course_lib.plots import tile

HERE = Path(__file__).parent
FAMILIES = {"Gaussian mixture (13)": "gaussian_mixture", "VAE (31)": "vae_mixture", "GAN (41)": "conditional_gan",
            "flow matching (64)": "flow"}
WISHES = ["a happy person with a red hat and dark glasses", "a sad person with long blue hair",
          "green hair and a black shirt"]        # the last two occur together in no training face
N, SEED = 12, 2                                # images of each family; of the writing
DPI = 110


def samples(name: str) -> torch.Tensor:
    model = checkpoint.load(name)
    labels = (torch.arange(N) % 10,) if checkpoint.metadata(name)["config"].get("n_class") or name == "flow" else ()
    return model.sample(N, *labels, generator=seeded(1))


def faces() -> torch.Tensor:
    """What the text-to-image model of lesson 65 draws for each wish.  -> (N, 3, 16, 16)"""
    captions = [wish for wish in WISHES for _ in range(N // len(WISHES))]
    return checkpoint.load("text_to_image").sample(captions, seeded(1))


def writing() -> str:
    """What the GPT of lesson 54, which has read Jane Austen, writes after a name; up to the end of a sentence."""
    words = decode(generate(checkpoint.load("gpt"), [encode("\n\nElizabeth ")], 400, temperature=0.5,
                            generator=seeded(SEED))[0])
    return "Elizabeth " + " ".join(words.split()).rpartition(".")[0] + "."


def strip() -> plt.Figure:
    """One row a family, drawn inch by inch: titles of 2 inches, then the images, 0.55 inch high; the faces with their
    captions below; then the writing."""
    text = textwrap.fill(writing(), 88)
    rows = {title: tile(samples(name), N, pad=3).numpy() for title, name in FAMILIES.items()}
    rows["text to image (65)"] = tile(faces(), N, pad=2).numpy()
    height = 0.6 * len(rows) + 0.3 + 0.19 * (text.count("\n") + 1) + 0.2
    fig = plt.figure(figsize=(9, height), layout="none")
    for row, (title, picture) in enumerate(rows.items()):
        bottom = 1 - 0.6 * (row + 1) / height
        fig.text(1.9 / 9, bottom + 0.28 / height, title, ha="right", va="center", fontsize=11)
        ax = fig.add_axes((2 / 9, bottom, 6.9 / 9, 0.55 / height))
        ax.imshow(picture, cmap="gray_r", vmin=0, vmax=1, interpolation="nearest")
        ax.axis("off")
    for place, wish in enumerate(WISHES):
        words = textwrap.fill(wish, 30)
        fig.text((2.05 + 2.3 * place) / 9, bottom - 0.02 / height, words, va="top", fontsize=8, style="italic")
    top = 1 - (0.6 * len(rows) + 0.4) / height
    fig.text(1.9 / 9, top, "GPT (54)", ha="right", va="top", fontsize=11)
    fig.text(2.05 / 9, top, text, va="top", fontsize=10, family="serif", style="italic", linespacing=1.3)
    return fig


if __name__ == "__main__":
    strip().savefig(HERE / "readme.png", dpi=DPI, metadata={"Software": None})
