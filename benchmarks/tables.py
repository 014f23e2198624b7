"""The table of a comparison: ours and a peer take turns, so that a slow moment of the machine hits both."""

import platform
import time

import numpy as np
import torch

ROUNDS = 9
THREADS = torch.get_num_threads()


def seconds(f) -> float:
    begin = time.perf_counter()
    f()
    return time.perf_counter() - begin


def table(rows) -> dict[tuple[str, str], float]:
    """-> median of peer / ours by (task, peer)"""
    print(f"{platform.machine()}, {THREADS} threads, torch {torch.__version__}; median of {ROUNDS} rounds\n")
    print("| task | ours | peer | peer / ours | quartiles |\n|---|---|---|---:|---|")
    found = {}
    for task, ours_name, ours, peer_name, peer in rows:
        ours(), peer()                                                        # warm up
        ratios = [1 / (seconds(ours) / seconds(peer)) for _ in range(ROUNDS)]
        low, middle, high = np.quantile(ratios, [0.25, 0.5, 0.75])
        print(f"| {task} | {ours_name} | {peer_name} | {middle:.2f} | {low:.2f} – {high:.2f} |", flush=True)
        found[task, peer_name] = middle
    return found


def verdict(value: float, sign: str, must: float, aim: float) -> str:
    if value != value:
        return "not measured"
    must_met, aim_met = (value <= limit if sign == "<=" else value >= limit for limit in (must, aim))
    return "aim" if aim_met else "must" if must_met else "**missed**"
