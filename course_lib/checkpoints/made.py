"""What every recipe writes beside its weights: a generator's row of the leaderboard, and processor seconds."""

import time

import torch

from course_lib.checkpoint import metadata
from course_lib.device import seeded
from course_lib.metrics import measure


def generator_row(model, family: str, *, labels: bool = False, steps: int = 0, seconds: float = 0.0, lesson: int = 13,
                  **more) -> dict:
    """What is written beside a generator: its row of the leaderboard, of 1,000 samples with seed 0, and who judged.
    labels: it can be asked for a class, and is, for 100 of each."""
    y = torch.arange(1_000) % 10 if labels else None
    x = model.sample(1_000, y, generator=seeded(0)) if labels else model.sample(1_000, generator=seeded(0))
    parameters = sum(t.numel() for t in model.state_dict().values())
    return dict(seed=0, steps=steps, seconds=round(seconds, 1), metrics=measure(x, y), family=family, lesson=lesson,
                parameters=parameters, judge=metadata("judge")["sha256"]) | more


def on_one_core(train, *settings, **named):
    """What `train(*settings, **named)` returns, and the processor's seconds that it took with one thread: the time on
    the clock of a machine that does nothing else."""
    threads, start = torch.get_num_threads(), time.process_time()
    torch.set_num_threads(1)
    try:
        return train(*settings, **named), time.process_time() - start
    finally:
        torch.set_num_threads(threads)
