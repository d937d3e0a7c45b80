"""Where the time of a training step on the CPU goes: into which layers, and in convolutions into which of their steps.

The functions of `ops/winograd` are timed in each thread, and layers as a whole. What is left of a layer's time on all
threads is the rest: waiting for each other, Python itself, other operations, and `im2col` where it does the work.
"""

import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from threading import Lock
from typing import Any

import numpy as np

from minicam.backend import keep_memory
from minicam.bench import step
from minicam.bench.cases import Place
from minicam.bench.figures import rounded
from minicam.bench.side import make, use_threads
from minicam.layers import Layer
from minicam.ops import winograd
from minicam.results import figure, percent, progress, table

PARTS = {
    "_columns": "gather",
    "_evaluate": "evaluate",
    "_multiply": "multiply",
    "_interpolate": "interpolate",
    "_inner_sum": "bias",
    "_kernels": "kernels",
    "_kernels_back": "kernels back",
}
ON_ALL_THREADS = ("_kernels", "_kernels_back")  # these spread their work themselves


class Watch:
    """Seconds by (layer, direction, part), summed over threads."""

    def __init__(self, threads: int) -> None:
        self.threads, self.now, self.lock = threads, ("", ""), Lock()
        self.seconds: dict[tuple[str, str, str], float] = defaultdict(float)

    def timed(self, function: Callable, part: str, weight: int = 1) -> Callable:
        """The function, with its time added to this part of what is being done."""

        def run(*args: Any, **kwargs: Any) -> Any:
            start = time.perf_counter()
            result = function(*args, **kwargs)
            with self.lock:
                self.seconds[*self.now, part] += weight * (time.perf_counter() - start)
            return result

        return run

    def layer(self, layer: Layer, direction: str) -> Callable:
        """A direction of the layer, named while it runs, and timed as a whole."""
        whole = self.timed(getattr(layer, direction), "total", self.threads)

        def run(*args: Any, **kwargs: Any) -> Any:
            self.now = layer.name, direction
            return whole(*args, **kwargs)

        return run


@contextmanager
def watched(layers: Sequence[Layer], threads: int) -> Iterator[Watch]:
    """Layers and the functions of `ops/winograd`, each replaced by one that takes its time, until the block ends."""
    watch, before = Watch(threads), {name: getattr(winograd, name) for name in PARTS}
    for name, function in before.items():
        setattr(winograd, name, watch.timed(function, PARTS[name], threads if name in ON_ALL_THREADS else 1))
    for layer in layers:
        layer.forward, layer.backward = watch.layer(layer, "forward"), watch.layer(layer, "backward")
    try:
        yield watch
    finally:
        for name, function in before.items():
            setattr(winograd, name, function)
        for layer in layers:
            del layer.forward, layer.backward  # the class's own are behind them


def measure(network: str, batch: int, size: int, threads: int, repeats: int) -> dict:
    """Milliseconds of a step, of its layers in both directions, and of the parts of these; means of the repeats.

    A part's are those of all threads, divided by their number: as if they had never waited for each other.
    """
    keep_memory()
    use_threads(threads)
    place, made = Place("cpu", batch, (), np.random.default_rng(0)), step.start(lambda: make(network), "cpu")
    run = step.training_step(made, *step.batch(place, size, made), step.optimiser())
    progress("a step, to warm up")
    run()
    with watched(made.layers, threads) as watch:
        start = time.perf_counter()
        for i in range(repeats):
            progress(f"step {i + 1} of {repeats}")
            run()
        whole = time.perf_counter() - start
    scale = 1e3 / repeats / threads
    rows = []
    for direction, layers in (("forward", made.layers), ("backward", made.layers[::-1])):
        for layer in layers:
            parts = {part: watch.seconds.get((layer.name, direction, part), 0.0) * scale for part in PARTS.values()}
            total = watch.seconds[layer.name, direction, "total"] * scale
            rows.append({"layer": layer.name, "direction": direction, "total": total, **parts,
                         "rest": total - sum(parts.values())})  # fmt: skip
    sums = {key: sum(row[key] for row in rows) for key in ("total", *PARTS.values(), "rest")}
    step_ms = whole * 1e3 / repeats
    sums = {"step": step_ms, **sums, "update and loss": step_ms - sums["total"]}
    for found in (sums, *rows):
        found.update({key: rounded(value) for key, value in found.items() if not isinstance(value, str)})
    return {"sums": sums, "rows": rows}


def report(found: dict) -> str:
    """What was measured as a table, and in a line the shares of the whole step."""
    keys = ("total", *PARTS.values(), "rest")
    rows = [(row["layer"], row["direction"], *(figure(row[key], 1) for key in keys)) for row in found["rows"]]
    sums = found["sums"]
    rows.append(("all", "", *(figure(sums[key], 1) for key in keys)))
    shares = ", ".join(f"{key} {percent(sums[key] / sums['step'])}" for key in (*keys[1:], "update and loss"))
    return f"{table(('ms', 'direction', *keys), rows, left=2)}\n\na step takes {sums['step']:.0f} ms: {shares}"
