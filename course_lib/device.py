"""Where to compute, how much to compute, in which mode, and which random numbers to draw."""

import os
import random
from contextlib import contextmanager
from itertools import chain

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


def device_of(model) -> torch.device:
    """Where a model's numbers are; the CPU for a function, and for a model that has none."""
    parts = chain(model.parameters(), model.buffers()) if isinstance(model, torch.nn.Module) else ()
    return next((part.device for part in parts), torch.device("cpu"))


@contextmanager
def evaluating(model):
    """Eval mode for a while; afterwards, also after an interruption, every part is in the mode that it was in."""
    modes = [(part, part.training) for part in model.modules()] if isinstance(model, torch.nn.Module) else []
    try:
        if modes:
            model.eval()
        yield model
    finally:
        for part, training in modes:
            part.training = training


def bfloat16_is_fast(on: torch.device | str = "cpu") -> bool:
    """Does this device multiply bfloat16, numbers of 16 bits, by itself? If not, it is slow at it: on a processor with
    AVX2 alone a product of matrices took 70 times as long as in float32, and a step of training a U-Net 8 times.

    True for x86 processors with avx512_bf16 or amx_bf16, and CUDA from Ampere on. Others have not been measured."""
    on = torch.device(on)
    if on.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    known = torch.cpu.get_capabilities() if on.type == "cpu" and hasattr(torch.cpu, "get_capabilities") else {}
    return any(known.get(name, False) for name in ("avx512_bf16", "amx_bf16"))


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
