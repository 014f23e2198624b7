"""Lesson 85: spectra against sums by hand, samples with equally many of each digit, and what is kept of slow
generators."""

import math

import numpy as np
import pytest
import torch

from course_lib.baselines import Kept, KeptConfig
from course_lib.checkpoint import load, metadata
from course_lib.checkpoints import part8_fakes as recipes
from course_lib.data import load as load_data
from course_lib.device import seeded
from course_lib.metrics import balanced, radial_spectrum

# --- spectra


@pytest.mark.parametrize("H", [1, 5, 8, 28])
def test_the_spectrum_is_a_loop_over_frequencies(H):
    x = torch.rand(2, 3, H, H, generator=seeded(H), dtype=torch.float64)
    power = np.abs(np.fft.fft2(x.numpy()) / H**2) ** 2
    rings = {}
    for u in range(H):
        for v in range(H):
            k = round(math.hypot(min(u, H - u), min(v, H - v)))
            rings.setdefault(k, []).append(power[:, :, u, v].mean(1))
    expected = np.stack([np.mean(rings[k], axis=0) for k in range(len(rings))], axis=1)
    assert radial_spectrum(x).numpy() == pytest.approx(expected)


def test_the_rings_sum_up_to_the_mean_square():
    x = torch.rand(3, 1, 28, 28, generator=seeded(0))
    waves = torch.fft.fftfreq(28, 1 / 28)
    size = torch.bincount(torch.hypot(waves[:, None], waves).round().long().flatten()).double()
    assert (radial_spectrum(x) @ size).tolist() == pytest.approx(x.double().square().mean((1, 2, 3)).tolist())


def test_a_wave_has_one_ring_and_a_chessboard_the_last():
    place = torch.arange(28.0)
    wave = torch.cos(2 * math.pi * 5 * place / 28).expand(1, 1, 28, 28)
    board = ((place[:, None] + place) % 2)[None, None]
    one, last = radial_spectrum(wave)[0], radial_spectrum(board)[0]
    assert one.argmax() == 5 and one[5] > 0.99 * one.sum()
    assert last[1:].argmax() == 19 and last.shape == (21,)         # the root of 14^2 + 14^2 is 19.8, so ring 20


def test_white_noise_is_flat_and_shifting_changes_nothing():
    x = torch.randn(400, 1, 28, 28, generator=seeded(1))
    s = radial_spectrum(x).mean(0) * 28**2
    assert s[1:].tolist() == pytest.approx([1.0] * 20, abs=0.2)
    assert radial_spectrum(x[:3].roll((3, 5), (2, 3))).numpy() == pytest.approx(radial_spectrum(x[:3]).numpy())


@pytest.mark.parametrize("x, words", [(torch.rand(2, 1, 28, 27), "(2, 1, 28, 27)"), (torch.rand(28, 28), "(28, 28)"),
                                      (torch.zeros(1, 1, 4, 4, dtype=torch.uint8), "uint8")])
def test_what_is_no_square_image_has_no_spectrum(x, words):
    with pytest.raises(ValueError) as error:
        radial_spectrum(x)
    assert words in str(error.value)


# --- samples with equally many of each digit

class Mostly:
    """A generator that hands out test digits, ones far more often than others; it remembers what it gave."""

    def __init__(self, digits=range(10)):
        self.x, self.y = load_data("digits").test
        self.weight = torch.tensor([(5.0 if d == 1 else 1.0) * (d in digits) for d in range(10)])[self.y]
        self.given = []

    def sample(self, n, generator=None):
        chosen = self.weight.multinomial(n, generator=generator)
        self.given.append(chosen)
        return self.x[chosen]


def test_balanced_samples_are_the_first_of_each_digit():
    generator = Mostly()
    images = balanced(generator, 40, seeded(3))
    given = torch.cat(generator.given)
    seen = load("judge")(generator.x[given]).argmax(1)
    for digit in range(10):
        assert torch.equal(images[digit::10], generator.x[given[seen == digit][:4]])


def test_a_digit_that_never_comes_is_named():
    with pytest.raises(ValueError, match="of 500 samples only 0 show the digit 7, and 1 are needed"):
        balanced(Mostly(set(range(10)) - {7}), 10, seeded(0), judge=_Label())


class _Label(torch.nn.Module):
    """A judge that never sees a 7."""

    def forward(self, x):
        scores = load("judge")(x)
        scores[:, 7] = -100
        return scores


# --- kept samples, and those that are shipped

def test_what_is_kept_comes_back_within_half_a_grey_level():
    kept, x = Kept(KeptConfig({"a": 3, "b": 1})), torch.rand(3, 1, 28, 28, generator=seeded(0))
    kept.keep("a", x)
    assert (kept.of("a") - x).abs().max() <= 0.5 / 255 + 1e-7 and kept.of("b").eq(0).all()
    again = Kept(kept.config)
    again.load_state_dict(kept.state_dict())
    assert torch.equal(again.of("a"), kept.of("a"))


@pytest.mark.parametrize("name", ["flow", "conditional_ddpm"])
def test_the_first_kept_samples_are_drawn_again(name):
    again = recipes.drawn(name, 10, recipes.TO_TEST)
    kept = load("fakes").of(name)[:50]
    whole = load(name).sample(50, torch.arange(50) % 10, generator=seeded(recipes.TO_TEST))
    assert again.shape == (10, 1, 28, 28)
    assert (whole - kept).abs().mean() < 2 / 255


def test_the_kept_samples_show_every_digit_equally_often():
    digits = load("judge")(load("fakes").of("ddpm")).argmax(1)     # of rounded pictures it may see one or two otherwise
    assert (digits == torch.arange(500) % 10).sum() >= 495


@pytest.mark.parametrize("name, of", [("detector_gan", "gan"), ("detector_flow", "flow")])
def test_a_shipped_detector_does_what_its_metadata_say(name, of):
    real = load_data("digits").test.x
    fake = load("fakes").of("flow")[:500] if of == "flow" else recipes.drawn("gan", 500, recipes.TO_TEST)
    found = recipes.tested(load(name), {of: fake})
    told = metadata(name)["metrics"]
    assert len(real) == 1_000 and found[of][:2] == pytest.approx([told["area"], told["found"]], abs=0.01)
    assert found["accused"] == pytest.approx(told["accused"], abs=0.005)


def test_detectors_are_trained_on_one_half_of_fakes_and_new_ones_get_their_share():
    real, known, new = (torch.full((n, 1, 28, 28), v) for n, v in ((12, 0.0), (5, 0.4), (2, 1.0)))
    x, y = recipes._batches(real, known, new).tensors
    assert y.tolist() == [0] * 12 + [1] * 12
    assert x.mean((1, 2, 3)).tolist() == pytest.approx([0.0] * 12 + [0.4] * 6 + [1.0] * 6)
