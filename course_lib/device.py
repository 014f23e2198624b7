"""Where to compute, how much to compute, and which random numbers to draw."""

import os
import random

import numpy as np
import torch


def device() -> torch.device:
    """The fastest device of this machine: cuda, then mps (Apple), then cpu. The environment variable COURSE_DEVICE
    overrides it, for example COURSE_DEVICE=cpu to get the very numbers that the notebooks were saved with."""
    if chosen := os.environ.get("COURSE_DEVICE"):
        try:
            return torch.empty(0, device=chosen).device
        except (RuntimeError, AssertionError):
            raise ValueError(f"COURSE_DEVICE={chosen!r} is not available here: unset it, or set it to cpu") from None
    if torch.cuda.is_available():
        return torch.device("cuda")
    if torch.backends.mps.is_available():
        return torch.device("mps")
    return torch.device("cpu")


def profile() -> str:
    """"cpu" or "gpu": what `budget` plans for. The environment variable COURSE_PROFILE overrides the machine."""
    chosen = os.environ.get("COURSE_PROFILE", "").lower() or ("cpu" if device().type == "cpu" else "gpu")
    if chosen not in ("cpu", "gpu"):
        raise ValueError(f"COURSE_PROFILE={chosen!r} is unknown: set it to cpu or gpu, or unset it")
    return chosen


def budget(*, cpu, gpu):
    """One of two values by speed profile: `steps = budget(cpu=500, gpu=5_000)`."""
    return cpu if profile() == "cpu" else gpu


def seed(n: int = 0) -> None:
    """Seed every source of randomness that a lesson may touch: Python, NumPy, and PyTorch on all devices."""
    random.seed(n)
    np.random.seed(n % 2**32)
    torch.manual_seed(n)


def seeded(n: int = 0, device: torch.device | str = "cpu") -> torch.Generator:
    """A random generator of its own, so that one draw does not depend on how many were made before it."""
    return torch.Generator(device=device).manual_seed(n)
