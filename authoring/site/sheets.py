"""Pictures to play with: every setting of two or three knobs, drawn once from the shipped weights and put on one sheet
(a PNG), from which static/play.js shows the one that the reader chooses. No server, and no model in the browser."""

import json
from dataclasses import dataclass
from html import escape
from itertools import product
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from course_lib import diffusion
from course_lib.checkpoint import load as load_checkpoint
from course_lib.data import load
from course_lib.data.avatars import ATTRIBUTES
from course_lib.device import seeded

COLUMNS = 16                                       # pictures in a row of the sheet


@dataclass
class Sheet:
    """knobs: name -> what its settings are called; pictures (number of all combinations, C, H, W), the last knob the
    fastest. A knob of `choices` is a list to choose from, any other a slider. caption: {0} is the first knob's setting."""
    pictures: Tensor
    knobs: dict[str, list[str]]
    caption: str
    start: tuple[int, ...]
    choices: tuple[str, ...] = ()
    zoom: int = 4
    moves: int = 0                                 # milliseconds a picture, where the first knob plays by itself

    def html(self, name: str, folder: str) -> str:
        n, _, h, w = self.pictures.shape
        controls = []
        for start, (knob, settings) in zip(self.start, self.knobs.items()):
            if knob in self.choices:
                options = "".join(f'<option value="{i}"{" selected" if i == start else ""}>{escape(s)}</option>'
                                  for i, s in enumerate(settings))
                control = f"<select>{options}</select>"
            else:
                control = (f'<input type="range" min="0" max="{len(settings) - 1}" value="{start}" '
                           f"data-names='{escape(json.dumps(settings))}'>")
            controls.append(f"<label>{escape(knob)} {control}</label>")
        if self.moves:
            controls.append('<button type="button">Play again</button>')
        shape = ",".join(str(len(settings)) for settings in self.knobs.values())
        return (f'<figure class="sheet" id="{name}" data-shape="{shape}" data-size="{w},{h}" data-columns="{COLUMNS}" '
                f'data-zoom="{self.zoom}" data-pause="{self.moves}" data-caption="{escape(self.caption)}">'
                f'<canvas role="img" aria-label="{escape(self.caption)}"></canvas>'
                f'<img src="{folder}{name}.png" alt="" hidden>'
                f'<div class="controls">{"".join(controls)}</div><output aria-live="polite"></output></figure>')

    def save(self, path: Path) -> None:
        n, C, h, w = self.pictures.shape
        if n != torch.tensor([len(s) for s in self.knobs.values()]).prod():
            raise ValueError(f"{n} pictures do not fit to the knobs {[len(s) for s in self.knobs.values()]}")
        x = self.pictures.clamp(0, 1).cpu()
        x = (255 * (1 - x if C == 1 else x)).round().to(torch.uint8)         # grey pictures: dark ink on white
        rows = -(-n // COLUMNS)
        whole = torch.full((C, rows * h, COLUMNS * w), 255, dtype=torch.uint8)
        for k in range(n):
            top, left = k // COLUMNS * h, k % COLUMNS * w
            whole[:, top:top + h, left:left + w] = x[k]
        image = Image.fromarray(whole[0].numpy() if C == 1 else whole.permute(1, 2, 0).numpy())
        if C == 1:
            image = image.quantize(16)
        image.save(path, optimize=True)


@torch.no_grad()
def latent() -> Sheet:
    """Lesson 31: two numbers of a VAE's code are moved, the others stay those of a real digit."""
    vae = load_checkpoint("vae")
    digits = load("digits").test
    first = torch.stack([digits.x[digits.y == k][1] for k in range(10)])
    codes = vae.encode(first)[0]                                  # (10, 8) means
    steps = torch.linspace(-3, 3, 13)
    z = torch.stack([code.clone() for code in codes for _ in range(169)])     # (1690, 8)
    for i, (a, b) in enumerate(product(steps, steps)):
        z[i::169, 7], z[i::169, 5] = a, b
    names = [f"{s:.1f}" for s in steps.tolist()]
    return Sheet(vae.decode(z), {"digit": [str(k) for k in range(10)], "number 7": names, "number 5": names},
                 "The code of a {0}, with its number 7 set to {1} and its number 5 to {2}", (3, 6, 6), ("digit",), zoom=7)


@torch.no_grad()
def guidance() -> Sheet:
    """Lesson 63: four digits from the same noise, at eleven scales."""
    model = load_checkpoint("conditional_ddpm")
    scales = [0, 0.5, 1, 1.5, 2, 3, 4, 6, 8, 12, 16]
    wanted = torch.arange(10).repeat_interleave(4)
    by_scale = [model.sample(40, wanted, seeded(3), guidance=s, steps=12).view(10, 4, 1, 28, 28) for s in scales]
    four = torch.stack(by_scale, 1)                               # (10, 11, 4, 1, 28, 28)
    row = four.permute(0, 1, 3, 4, 2, 5).reshape(110, 1, 28, 112)
    return Sheet(row, {"asked for": [str(k) for k in range(10)], "scale": [f"{s:g}" for s in scales]},
                 "Asked for a {0}, from four noises, at scale {1}", (5, 4), ("asked for",), zoom=4)


@torch.no_grad()
def faces() -> Sheet:
    """Lesson 65: a caption made of four choices, and the face that the model paints from it."""
    model = load_checkpoint("text_to_image")
    hair = [f"{length} {colour} hair" for length in ("long", "short") for colour in ATTRIBUTES["hair colour"]]
    hats = ["", *(f"a {colour} hat" for colour in ATTRIBUTES["hat"][1:])]
    glasses = ["", "dark glasses"]
    shirts = [f"a {colour} shirt" for colour in ATTRIBUTES["shirt"]]
    captions = [f"a person with {', '.join(filter(None, words[:-1]))} and {words[-1]}"
                for words in product(hair, hats, glasses, shirts)]
    pictures = model.sample(captions, guidance=2.0, steps=8, noise=torch.randn(1, *model.latents.shape,
                                                                              generator=seeded(4)))
    none = [["no hat", *hats[1:]], ["no glasses", "dark glasses"]]
    knobs = {"hair": hair, "hat": none[0], "glasses": none[1], "shirt": shirts}
    return Sheet(pictures, knobs, "A person with {0}, {1}, {2} and {3}", (11, 1, 0, 2), tuple(knobs), zoom=12)


@torch.no_grad()
def noise_to_digits() -> Sheet:
    """Lesson 64, for the home page: forty digits on their way from noise."""
    model = load_checkpoint("flow")
    wanted, steps = torch.arange(40) % 10, 24
    x = torch.randn(40, 1, 28, 28, generator=seeded(7))
    velocity = diffusion.autoguided(lambda x, t: model.network(x, t, y=wanted), model.weak, model.config.guidance)
    frames = [x]
    for i in range(steps):
        half = x + velocity(x, torch.full((40,), i / steps)) / (2 * steps)
        x = x + velocity(half, torch.full((40,), (i + 0.5) / steps)) / steps
        frames.append(x)
    film = (torch.stack(frames) / 2 + 0.5).view(25, 4, 10, 28, 28).permute(0, 1, 3, 2, 4).reshape(25, 1, 112, 280)
    return Sheet(film, {"time": [f"{i / steps:.2f}" for i in range(steps + 1)]},
                 "Forty digits at time {0} on the way from noise (0.00) to handwriting (1.00)", (0,), zoom=2, moves=170)


SHEETS = {"noise-to-digits": noise_to_digits, "latent": latent, "guidance": guidance, "faces": faces}


def draw_all(folder: Path) -> dict[str, Sheet]:
    """Draw every sheet into the folder; the result says how to show them."""
    folder.mkdir(parents=True, exist_ok=True)
    drawn = {name: make() for name, make in SHEETS.items()}
    for name, sheet in drawn.items():
        sheet.save(folder / f"{name}.png")
    return drawn
