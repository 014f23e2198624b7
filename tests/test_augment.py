"""Augmentation: known maps applied to known pictures, and what must never change."""

import math

import pytest
import torch

from course_lib.augment import augment
from course_lib.data import load
from course_lib.device import seed, seeded

NONE = dict(rotate=0, scale=0, shear=0, shift=0, elastic=0)


def digits(n: int) -> torch.Tensor:
    return load("digits").test.x[:n]


def blob(B: int, cx: float = 0.0, sx: float = 3.0, sy: float = 3.0) -> torch.Tensor:
    """B copies of a Gaussian blob, cx pixels to the right of the centre of the picture."""
    p = torch.arange(28) - 13.5
    one = torch.exp(-((p[None, :] - cx) / sx) ** 2 / 2 - (p[:, None] / sy) ** 2 / 2)
    return one.expand(B, 1, 28, 28)


def moments(x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Centre of mass (B, 2) as x, y in pixels from the middle, and covariance (B, 2, 2)."""
    p = torch.arange(x.shape[-1]) - (x.shape[-1] - 1) / 2
    xy = torch.stack(torch.meshgrid(p, p, indexing="xy")).flatten(1)          # (2, H * W)
    w = x.flatten(1) / x.flatten(1).sum(1, keepdim=True)                      # (B, H * W)
    mean = w @ xy.T                                                           # (B, 2)
    d = xy[None] - mean[:, :, None]                                           # (B, 2, H * W)
    return mean, (d * w[:, None]) @ d.transpose(1, 2)


@pytest.mark.parametrize("n", [1, 3])
def test_zero_strength_changes_nothing(n):
    x = digits(n)
    torch.testing.assert_close(augment(x, **NONE), x, rtol=0, atol=1e-4)


@pytest.mark.parametrize("n", [1, 3])
def test_shape_and_range_are_kept(n):
    x = digits(n)
    out = augment(x, seeded(0), rotate=90, scale=0.5, shear=1, shift=10, elastic=5)
    assert out.shape == x.shape and out.dtype == x.dtype
    assert out.min() >= 0 and out.max() <= x.max() + 1e-6
    assert augment(torch.rand(n, 3, 20, 32)).shape == (n, 3, 20, 32)          # colour, and not square


def test_every_image_gets_a_distortion_of_its_own():
    x = digits(1).expand(3, -1, -1, -1)
    for strength in NONE:
        value = 30 if strength == "rotate" else 2.0 if strength in ("shift", "elastic") else 0.3
        a, b, c = augment(x, seeded(0), **NONE | {strength: value})
        changes = [(p - q).abs().max().item() for p, q in ((a, b), (b, c), (c, a), (c, x[0]))]
        assert min(changes) > 0.05, strength


def test_a_generator_makes_it_reproducible_and_leaves_the_global_one_alone():
    x = digits(3)
    seed(0)
    before = torch.get_rng_state()
    first = augment(x, seeded(5))
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(first, augment(x, seeded(5))) and not torch.equal(first, augment(x, seeded(6)))
    seed(3)
    first = augment(x)
    seed(3)
    assert torch.equal(first, augment(x))


def test_shift_is_in_pixels_and_uniform():
    centre, _ = moments(augment(blob(2_000), seeded(0), **NONE | {"shift": 3.0}))
    assert centre.abs().max() <= 3.02 and centre.abs().max() > 2.9
    torch.testing.assert_close(centre.std(0), torch.full((2,), 3 / math.sqrt(3)), rtol=0.05, atol=0)


def test_shift_is_in_pixels_also_where_the_picture_is_not_square():
    x = torch.zeros(500, 1, 28, 56)
    x[:, :, 10:18, 24:32] = 1
    out = augment(x, seeded(0), **NONE | {"shift": 4.0})
    columns, rows = out.sum((1, 2)), out.sum((1, 3))                          # (500, 56), (500, 28)
    cx = (columns * torch.arange(56)).sum(1) / columns.sum(1) - 27.5
    cy = (rows * torch.arange(28)).sum(1) / rows.sum(1) - 13.5
    assert 3.8 < cx.abs().max() <= 4.02 and 3.8 < cy.abs().max() <= 4.02


def test_rotation_turns_about_the_centre_and_keeps_size():
    """A blob 6 pixels from the centre stays on its circle, and turns by at most the angle that was asked for."""
    centre, covariance = moments(augment(blob(1_000, cx=6.0, sx=1.5, sy=1.5), seeded(0), **NONE | {"rotate": 30.0}))
    torch.testing.assert_close(centre.norm(dim=1), torch.full((1_000,), 6.0), rtol=0, atol=0.05)
    angle = torch.rad2deg(torch.atan2(centre[:, 1], centre[:, 0]))
    assert 29 < angle.abs().max() <= 30.3 and abs(angle.mean()) < 2
    torch.testing.assert_close(torch.linalg.det(covariance), torch.full((1_000,), 1.5**4), rtol=0.3, atol=0)


def test_scale_stretches_both_axes_independently():
    _, covariance = moments(augment(blob(1_000), seeded(0), **NONE | {"scale": 0.2}))
    width = covariance.diagonal(dim1=1, dim2=2).sqrt() / 3                    # (1000, 2) 1 where nothing changed
    assert 1 / 1.2 - 0.03 < width.min() < 1 / 1.2 + 0.02 and 1 / 0.8 - 0.03 < width.max() < 1 / 0.8 + 0.03
    assert abs(torch.corrcoef(width.T)[0, 1]) < 0.1


def test_shear_slants_and_keeps_the_area():
    _, covariance = moments(augment(blob(1_000, sx=2.5, sy=2.5), seeded(0), **NONE | {"shear": 0.5}))
    slant = covariance[:, 0, 1] / covariance[:, 1, 1]                         # dx / dy
    assert 0.45 < slant.abs().max() < 0.55
    torch.testing.assert_close(torch.linalg.det(covariance), torch.full((1_000,), 2.5**4), rtol=0.1, atol=0)


def test_elastic_displacement_is_in_pixels_and_smooth():
    """A ramp shows where each pixel was read: its value there, minus its own, is the displacement."""
    ramp = (torch.arange(28.0) / 28).expand(400, 1, 28, 28)
    moved = (augment(ramp, seeded(0), **NONE | {"elastic": 1.0}) - ramp)[:, 0, 8:20, 8:20] * 28      # in pixels
    assert 0.6 < moved.std() < 1.0                                            # between knots the average is less
    assert moved.diff(dim=2).std() < 0.4 * moved.std()                        # neighbours move together


@pytest.mark.parametrize("x", [torch.zeros(2, 1, 28, 28, dtype=torch.uint8), torch.zeros(28, 28), torch.zeros(2, 784)],
                         ids=lambda x: f"{x.dtype} {tuple(x.shape)}")
def test_what_is_no_batch_of_images_is_refused(x):
    with pytest.raises(ValueError, match=r"\(B, C, H, W\), got torch"):
        augment(x)


def test_impossible_strengths_are_refused():
    with pytest.raises(ValueError, match="shift=-1"):
        augment(digits(1), shift=-1)
    with pytest.raises(ValueError, match="n_knot=1"):
        augment(digits(1), n_knot=1)


def test_the_displacement_at_a_corner_is_that_of_its_knot():
    """On a ramp, the value that is read at a place is where it was read."""
    ramp = torch.arange(28.0).expand(40, 1, 28, 28)                            # as the first coordinate
    nothing = dict(rotate=0.0, scale=0.0, shear=0.0, shift=0.0)
    moved = augment(ramp, seeded(3), elastic=1.0, n_knot=3, **nothing)
    g = seeded(3)
    torch.rand(6, 40, generator=g)
    knots = torch.randn(40, 2, 3, 3, generator=g)                              # the displacement in pixels, (x, y)
    inward = (knots[:, 0, 0, 0] > 0) & (knots[:, 1, 0, 0] > 0)
    assert inward.sum() > 5
    torch.testing.assert_close(moved[inward, 0, 0, 0], knots[inward, 0, 0, 0], atol=1e-4, rtol=1e-4)
