"""Figures: the pixels that can be known are known, and bad input is named."""

import base64
import io
import re
import wave

import matplotlib.pyplot as plt
import pytest
import torch
from PIL import Image, ImageSequence

from course_lib.plots import (
    animate,
    confusion,
    curves,
    diagram,
    field,
    film,
    grid,
    listen,
    player,
    scatter,
    spectrogram,
    strip,
    tile,
)


@pytest.fixture(autouse=True)
def close():
    yield
    plt.close("all")


def test_tile_places_every_image():
    x = torch.arange(1, 6).view(5, 1, 1, 1).expand(5, 1, 2, 2) / 5
    picture = tile(x, n_col=3, pad=1)
    assert picture.shape == (5, 8)                            # rows and columns of 2 + 1, less the last pad
    assert torch.equal(picture[0, :2], torch.tensor([0.2, 0.2]))
    assert torch.equal(picture[3:, 3:5], torch.full((2, 2), 1.0))  # the fifth image: second row, second column
    assert picture[:, 2].eq(0).all() and picture[3:, 6:].eq(0).all()


def test_tile_keeps_colour_and_clamps():
    assert tile(torch.full((1, 3, 4, 4), 2.0)).shape == (4, 4, 3)
    assert tile(torch.zeros(2, 3, 4, 4))[:, 4:6].min() == 1 and tile(torch.ones(2, 1, 4, 4))[:, 4:6].max() == 0
    assert tile(torch.full((1, 1, 4, 4), -1.0)).min() == 0


@pytest.mark.parametrize("shape", [(28, 28), (4, 2, 28, 28), (0, 1, 28, 28)])
def test_a_wrong_shape_is_named(shape):
    with pytest.raises(ValueError, match="expected .n, 1 or 3, height, width."):
        grid(torch.zeros(shape))


def test_field_puts_the_first_coordinate_to_the_right():
    ax = field(lambda p: p[:, 0], n=5, extent=2.0)
    shown = ax.images[0].get_array()
    assert shown[0].tolist() == [-2, -1, 0, 1, 2] and shown[:, 0].tolist() == [-2] * 5


def test_curves_smooth_long_lines_and_keep_short_ones():
    ax = curves({"short": ([1, 2, 3], [1.0, 2.0, 3.0])})
    assert ax.get_ylabel() == "short" and list(ax.lines[0].get_ydata()) == [1, 2, 3]
    ax = curves({"long": (range(1, 201), torch.arange(200.0)), "other": ([0], [1.0])}, smooth=25)
    assert len(ax.lines) == 3 and list(ax.lines[1].get_xdata())[:2] == [13, 14]
    assert list(ax.lines[1].get_ydata())[:2] == [12, 13]          # the mean of 0 ... 24 belongs in their middle


def test_scatter_draws_one_group_per_label():
    ax = scatter(torch.randn(6, 2), torch.tensor([0, 0, 2, 2, 2, 5]))
    assert [len(c.get_offsets()) for c in ax.collections] == [2, 3, 1]


def test_a_strip_has_the_names_of_its_rows_and_a_table_of_confusions_its_counts():
    ax = strip({"a": torch.rand(3, 1, 4, 4), "b": torch.rand(3, 1, 4, 4)})
    assert [t.get_text() for t in ax.get_yticklabels()] == ["a", "b"]
    ax = confusion(torch.tensor([[5, 1], [0, 6]]), ("cat", "dog"))
    assert sorted(t.get_text() for t in ax.texts) == ["1", "5", "6"]


def test_a_diagram_has_its_boxes_and_arrows_from_edge_to_edge():
    ax = diagram({"a": (0, 0), "b": (2, 1)}, [("a", "b")], {"b": "#0072B2"})
    ax.figure.canvas.draw()
    boxes = {t.get_text(): t.get_bbox_patch() for t in ax.texts if t.get_text()}
    assert set(boxes) == {"a", "b"} and boxes["b"].get_edgecolor()[:3] == pytest.approx((0, 0x72 / 255, 0xb2 / 255))
    arrow = ax.texts[-1].arrow_patch.get_window_extent()
    assert boxes["a"].get_window_extent().x1 < arrow.x0 < arrow.x1 < boxes["b"].get_window_extent().x0


def tone(frequency):
    return 0.5 * torch.sin(2 * torch.pi * frequency * torch.arange(4_000) / 8_000)


def test_a_spectrogram_has_its_axes_in_hertz_and_seconds():
    ax = spectrogram(tone(1_000), 8_000)
    left, right, low, high = ax.images[0].get_extent()
    assert (low, high) == (0, 4_000) and 0 <= left < right <= 0.5
    picture = ax.images[0].get_array()                            # rows from the highest frequency down
    heights = torch.linspace(4_000, 0, picture.shape[0])
    assert all(abs(heights[row] - 1_000) <= 32 for row in picture.argmax(0))
    assert ax.get_xlabel() == "time (s)" and ax.get_ylabel() == "frequency (Hz)"
    spectrogram(torch.zeros(500), 8_000)                          # silence can be drawn as well


def test_what_is_in_the_page_is_the_sound(monkeypatch):
    pages = []
    monkeypatch.setattr("IPython.display.display", lambda data, raw: pages.append(data))
    sounds = torch.stack([tone(440), -tone(880)])
    listen(sounds, 8_000, ["<low>", "high"])
    assert "&lt;low&gt;" in pages[0]["text/html"] and pages[0]["text/plain"] == "sounds: <low>, high"
    files = re.findall(r"base64,([^\"]+)", pages[0]["text/html"])
    for x, file in zip(sounds, files, strict=True):
        with wave.open(io.BytesIO(base64.b64decode(file))) as played:
            assert (played.getframerate(), played.getnchannels(), played.getsampwidth()) == (8_000, 1, 2)
            data = torch.frombuffer(bytearray(played.readframes(9_999)), dtype=torch.int16) / 32767
        torch.testing.assert_close(data, x, atol=2e-5, rtol=0)
    player(tone(440), 8_000, ["one"])
    assert len(pages) == 2


@pytest.mark.parametrize("sounds, rate, titles, message", [
    (torch.tensor([0.0, torch.nan]), 8_000, ["a"], "its largest value is nan"),
    (torch.zeros(2, 50), 8_000, ["a"], "2 sounds need as many titles, got 1"),
    (torch.zeros(50, dtype=torch.int16), 8_000, ["a"], "int16 cannot be played"),
    ([torch.zeros(2, 50)], 8_000, ["a"], r"\(2, 50\)"),
    (torch.zeros(0), 8_000, ["a"], r"\(0,\)"),
    (torch.zeros(0, 50), 8_000, [], "0 sounds"),
    (torch.zeros(50), 800, ["a"], "rate=800"),
])
def test_what_cannot_be_played_is_named(sounds, rate, titles, message):
    with pytest.raises(ValueError, match=message):
        listen(sounds, rate, titles)


def test_the_frames_in_the_page_are_those_of_the_film(monkeypatch):
    pages = []
    monkeypatch.setattr("IPython.display.display", lambda data, raw: pages.append(data))
    for films in (torch.rand(2, 5, 1, 6, 4), torch.rand(2, 5, 3, 6, 4)):
        animate(films, ["<one>", "two"], seconds=0.2)
        animate(films, ["<one>", "two"], seconds=0.2)
        assert pages[-1] == pages[-2] and "&lt;one&gt;, two" in pages[-1]["text/html"]                  # byte for byte
        data = re.search(r"base64,([^\"]+)", pages[-1]["text/html"]).group(1)
        with Image.open(io.BytesIO(base64.b64decode(data))) as gif:
            assert (gif.n_frames, gif.size, gif.info["duration"], gif.info["loop"]) == (5, (10, 6), 200, 0)
            frames = [torch.tensor([*frame.convert("RGB").tobytes()]) for frame in ImageSequence.Iterator(gif)]
        shown = torch.stack(frames).view(5, 6, 10, 3).permute(0, 3, 1, 2) / 255
        ink = 1 - films if films.shape[2] == 1 else films
        step = 1 / 31 if films.shape[2] == 1 else 1 / 5
        for left, film_of in ((0, ink[0]), (6, ink[1])):
            assert (shown[..., left:left + 4] - film_of).abs().max() <= step / 2 + 0.003
        assert (shown[..., 4:6] == 1).all()                       # white between them


def test_a_film_is_a_strip_and_a_moving_picture(monkeypatch):
    pages = []
    monkeypatch.setattr("IPython.display.display", lambda data, raw: pages.append(data))
    film(torch.rand(3, 4, 1, 6, 6), ["a", "b", "c"])
    assert [label.get_text() for label in plt.gcf().axes[0].get_yticklabels()] == ["a", "b", "c"]
    assert len(pages) == 1
    plt.close("all")


@pytest.mark.parametrize("films, titles, seconds, message", [
    (torch.rand(2, 4, 2, 6, 6), ["a", "b"], 0.1, r"\(2, 4, 2, 6, 6\)"),
    (torch.rand(1, 4, 1, 6, 6), ["a"], 0.001, "seconds=0.001"),
])
def test_what_is_no_film_is_named(films, titles, seconds, message):
    with pytest.raises(ValueError, match=message):
        film(films, titles, seconds)
