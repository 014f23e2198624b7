"""Augmentation: small random distortions that change the picture of a digit, and not which digit it is.
One `grid_sample` distorts a whole batch: an affine map and a smooth random field say where each pixel is read from."""

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from course_lib.expect import finite, whole


def augment(x: Tensor, generator: torch.Generator | None = None, *, rotate: float = 12.0, scale: float = 0.12,
            shear: float = 0.15, shift: float = 2.0, elastic: float = 1.0, n_knot: int = 5) -> Tensor:
    """Give every image its own random affine map and elastic distortion.  x (B, C, H, W) -> (B, C, H, W)

    Each strength is the half-width of a uniform distribution around "no change", and 0 switches it off: `rotate` in
    degrees; `scale` and `shear` as fractions (the two axes are scaled independently); `shift` in pixels. `elastic` is
    the standard deviation, in pixels, of a displacement that is drawn at n_knot x n_knot points and interpolated in
    between: fewer points, smoother distortion. What comes from outside the picture is 0. Values stay within the range
    of x and 0, because a pixel is a weighted mean of its four neighbours.

    Raises ValueError if x is no batch of float images.  After Simard, Steinkraus & Platt (2003), who smooth white noise
    with a Gaussian filter where we interpolate between knots.
    """
    if x.ndim != 4 or not x.is_floating_point() or not x.numel():
        raise ValueError(f"augment needs float images of shape (B, C, H, W), got {x.dtype} of shape {tuple(x.shape)}")
    finite(0, rotate=rotate, scale=scale, shear=shear, shift=shift, elastic=elastic)
    whole(2, n_knot=n_knot)
    B, _, H, W = x.shape
    half = x.new_tensor([W / 2, H / 2])                           # a grid runs from -1 to 1: half a picture is one unit

    u = torch.rand(6, B, generator=generator, device=x.device, dtype=x.dtype) * 2 - 1          # (6, B) in [-1, 1)
    angle, sx, sy, k = math.radians(rotate) * u[0], 1 + scale * u[1], 1 + scale * u[2], shear * u[3]
    cos, sin = angle.cos(), angle.sin()
    rows = [cos * sx, (k * cos - sin) * sy, shift / half[0] * u[4],                            # rotate @ shear @ scale
            sin * sx, (k * sin + cos) * sy, shift / half[1] * u[5]]
    grid = F.affine_grid(torch.stack(rows, dim=1).view(B, 2, 3), list(x.shape), align_corners=False)    # (B, H, W, 2)

    knots = torch.randn(B, 2, n_knot, n_knot, generator=generator, device=x.device, dtype=x.dtype)
    field = F.interpolate(knots, size=(H, W), mode="bicubic", align_corners=True)              # (B, 2, H, W), smooth
    grid = grid + elastic * field.permute(0, 2, 3, 1) / half
    return F.grid_sample(x, grid, align_corners=False)
