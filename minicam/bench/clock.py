"""How long does something take? Medians of repeats that take turns, on a GPU by its own events."""

import math
import time
from collections.abc import Callable, Sequence

import numpy as np

from minicam.backend import cupy

Clock = Callable[[Callable[[], object]], float]  # seconds that a function takes


def wall(run: Callable[[], object]) -> float:
    """Seconds by the computer's own clock: for what runs on the CPU."""
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


class GpuClock:
    """Seconds by CUDA events: two marks in the queue of work, which the GPU dates when it comes to them.

    head_start  is queued in front of the first mark. While the GPU is busy with it, Python queues all of the work, so
                the time is that of the kernels, not of the launches; and the caches are cold, for both who compete.
                None measures what a user waits for, launches included
    """

    def __init__(self, head_start: Callable[[], object] | None = None) -> None:
        self.head_start = head_start

    def __call__(self, run: Callable[[], object]) -> float:
        start, end = cupy().cuda.Event(), cupy().cuda.Event()
        if self.head_start is not None:
            self.head_start()
        start.record()
        run()
        end.record()
        end.synchronize()
        return cupy().cuda.get_elapsed_time(start, end) / 1e3


def in_turn(
    clock: Clock, runs: Sequence[Callable[[], object]], repeats: int, warm_up: int = 3, deadline: float = math.inf
) -> np.ndarray:
    """Seconds (len(runs), repeats), measured A B A B: a machine that grows warm and slow does so for all of them.

    The first rounds are not counted: in them kernels are compiled, memory is taken, and libraries try what is best.
    Rounds that would end after the `deadline`, by `time.perf_counter`, are left out, but not the first that counts.
    """
    rounds: list[list[float]] = []
    while len(rounds) < warm_up + repeats:
        if len(rounds) > warm_up and time.perf_counter() + sum(rounds[-1]) > deadline:
            break
        rounds.append([clock(run) for run in runs])
    return np.array(rounds[warm_up:]).T


def spread(seconds: np.ndarray) -> tuple[float, float | None]:
    """Median and interquartile range, in milliseconds. One measurement has no range: it says nothing of the noise."""
    low, middle, high = np.percentile(seconds, (25, 50, 75))
    return float(middle * 1e3), float((high - low) * 1e3) if len(seconds) > 1 else None
