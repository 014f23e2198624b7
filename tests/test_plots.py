"""Figures: the pixels that can be known are known, and bad input is named."""

import matplotlib.pyplot as plt
import pytest
import torch

from course_lib.plots import confusion, curves, diagram, field, grid, scatter, strip, tile


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
    with pytest.raises(ValueError, match=r"points of shape \(3, 4\)"):
        scatter(torch.zeros(3, 4))


def test_strip_and_confusion_check_their_input():
    ax = strip({"a": torch.rand(3, 1, 4, 4), "b": torch.rand(3, 1, 4, 4)})
    assert [t.get_text() for t in ax.get_yticklabels()] == ["a", "b"]
    with pytest.raises(ValueError, match="same number and size"):
        strip({"a": torch.rand(3, 1, 4, 4), "b": torch.rand(2, 1, 4, 4)})
    ax = confusion(torch.tensor([[5, 1], [0, 6]]), ("cat", "dog"))
    assert sorted(t.get_text() for t in ax.texts) == ["1", "5", "6"]
    with pytest.raises(ValueError, match="do not belong to 3 classes"):
        confusion(torch.zeros(2, 2), ("a", "b", "c"))


def test_a_diagram_has_its_boxes_and_arrows_from_edge_to_edge():
    ax = diagram({"a": (0, 0), "b": (2, 1)}, [("a", "b")], {"b": "#0072B2"})
    ax.figure.canvas.draw()
    boxes = {t.get_text(): t.get_bbox_patch() for t in ax.texts if t.get_text()}
    assert set(boxes) == {"a", "b"} and boxes["b"].get_edgecolor()[:3] == pytest.approx((0, 0x72 / 255, 0xb2 / 255))
    arrow = ax.texts[-1].arrow_patch.get_window_extent()
    assert boxes["a"].get_window_extent().x1 < arrow.x0 < arrow.x1 < boxes["b"].get_window_extent().x0
    with pytest.raises(ValueError, match="none called 'c'"):
        diagram({"a": (0, 0)}, [("a", "c")])
