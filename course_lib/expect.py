"""What a function may be given. A check is one line where it is needed, `whole(1, steps=steps)`, and ValueError in one
line that holds the wrong number where it fails.

Shapes and types are looked at everywhere, values of tensors on the CPU only: a GPU would have to be waited for.
"""

import math
from dataclasses import fields
from numbers import Integral, Real

import torch
from torch import Tensor

# ------------------------------------------------------------------------------------------------------------- numbers

def whole(low: int, high: float = math.inf, /, **given) -> None:
    """Whole numbers from `low` to `high`, both included."""
    _check(lambda v: isinstance(v, Integral) and not isinstance(v, bool) and low <= v <= high,
           f"a whole number, at least {low}" if high == math.inf else f"a whole number between {low} and {high}", given)


def finite(low: float = -math.inf, /, **given) -> None:
    """Numbers that are at least `low`, neither infinite nor nan."""
    _check(lambda v: low <= v < math.inf and v > -math.inf, "a finite number" + f", at least {low}" * (low > -math.inf),
           given)


def above(low: float, /, **given) -> None:
    """Finite numbers greater than `low`."""
    _check(lambda v: low < v < math.inf, f"a finite number greater than {low}", given)


def between(low: float, high: float, /, **given) -> None:
    """Numbers from `low` to `high`, both included."""
    _check(lambda v: low <= v <= high, f"a number between {low} and {high}", given)


def sizes(config, *may_be_0: str) -> None:
    """The numbers of a configuration: whole ones at least 1 (0 layers will do, and 0 of what is named), others finite
    and not negative."""
    for field in fields(config):
        if field.type is int:
            whole(0 if field.name in ("n_layer", *may_be_0) else 1, **{field.name: getattr(config, field.name)})
        elif field.type is float:
            finite(0, **{field.name: getattr(config, field.name)})


# ------------------------------------------------------------------------------------------------------------- tensors

def same_shape(n_axis: int | None = None, /, **tensors: Tensor) -> None:
    """Floating-point tensors of one shape, with n_axis axes: nothing is broadcast, and none is empty."""
    first = next(iter(tensors.values()))
    for t in tensors.values():
        if not isinstance(t, Tensor) or (t.shape != first.shape or not t.is_floating_point() or not t.numel()
                                         or n_axis not in (None, t.ndim)):
            raise ValueError(" and ".join(f"{name} is {_kind(t)}" for name, t in tensors.items()) + ": needed are "
                             f"floating-point numbers of one shape{f' with {n_axis} axes' if n_axis else ''}")


def floats(x: Tensor, *shape: int, like: Tensor, what: str = "images") -> Tensor:
    """A batch (B, *shape) of floating-point numbers, in the precision of `like`: what is going to multiply it."""
    if not isinstance(x, Tensor) or not x.numel() or x.shape[1:] != shape or not x.is_floating_point():
        raise ValueError(f"{what} must be floating-point numbers of shape (B, {', '.join(map(str, shape))}), got "
                         f"{_kind(x)}")
    return x.to(like.dtype)


def probabilities(x: Tensor, what: str = "images") -> Tensor:
    """Floating-point numbers in [0, 1]. Where they are not on the CPU, what lies outside becomes nan, which no loss
    hides and nobody waits for."""
    if not x.is_floating_point() or x.numel() == 0:
        raise ValueError(f"{what} must be floating-point numbers in [0, 1], at least one: got {_kind(x)}")
    if not x.is_cpu:
        return x.where((x >= -1e-4) & (x <= 1 + 1e-4), math.nan)
    low, high = (v.item() for v in x.detach().aminmax())
    if not (-1e-4 <= low and high <= 1 + 1e-4):                    # nan is caught too
        raise ValueError(f"{what} must lie in [0, 1], and these reach from {low:.4g} to {high:.4g}: clamp or rescale "
                         f"them")
    return x


def distributions(probs: Tensor) -> Tensor:
    """Rows (N, K) of numbers in [0, 1] that sum to 1, N and K at least 1."""
    if logits(probs).is_cpu and not (probs.min() >= -1e-4 and (probs.sum(1) - 1).abs().max() <= 1e-2):
        raise ValueError(f"probabilities are at least 0, and a row sums to 1: the smallest is {probs.min():.4g}, the "
                         f"first row sums to {probs[0].sum():.4g}; apply .softmax(1) to logits")
    return probs


def indices(what: str, i: Tensor, n: int | None, *shape: int | str) -> Tensor:
    """Whole numbers from 0 to n - 1 (None: no matter how large) of this shape, in which a name is any size -> int64"""
    rule = f"{what} must be whole numbers from 0" + (f" to {n - 1}" if n else "")
    if isinstance(i, str):
        raise ValueError(f"{rule}, got {_short(i)}: course_lib.data.text.encode makes some of a string")
    if (not isinstance(i, Tensor) or i.is_floating_point() or i.is_complex() or i.dtype == torch.bool
            or i.ndim != len(shape) or any(a != b for a, b in zip(shape, i.shape) if not isinstance(a, str))):
        raise ValueError(f"{rule}, of shape {_shape(shape)}: got {_kind(i)}")
    if i.is_cpu and i.numel():
        low, high = (v.item() for v in i.aminmax())
        if low < 0 or n and high >= n:
            raise ValueError(f"{rule}, got {low}" + f" to {high}" * (high > low))
    return i.long()


def logits(scores: Tensor) -> Tensor:
    """Floating-point numbers (B, K), of which the highest belongs to the most probable of K classes."""
    if not isinstance(scores, Tensor) or scores.ndim != 2 or scores.numel() == 0 or not scores.is_floating_point():
        raise ValueError(f"logits are floating-point numbers of shape (B, K), got {_kind(scores)}")
    return scores


def classes(y, n: int, n_class: int, device: torch.device) -> Tensor:
    """The classes that are asked for, one for all or (n,) -> (n,) int64"""
    whole(1, n=n)
    y = torch.as_tensor(y, device=device)
    return indices("classes y", y.expand(n) if y.ndim == 0 else y, n_class, n)


def _check(fits, rule: str, given: dict) -> None:
    for name, value in given.items():
        if not isinstance(value, Real) and not (isinstance(value, Tensor) and value.ndim == 0) or not fits(value):
            raise ValueError(f"{name}={_short(value)} must be {rule}")


def _short(value) -> str:
    text = " ".join(repr(value).split())
    return text if len(text) <= 60 else text[:57] + "..."


def _shape(shape) -> str:
    return f"({', '.join(map(str, shape))}{',' * (len(shape) == 1)})"


def _kind(x) -> str:
    return f"{_shape(x.shape)} of {str(x.dtype).removeprefix('torch.')}" if isinstance(x, Tensor) else _short(x)
