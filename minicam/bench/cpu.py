"""How fast VGG16-GAP runs and trains on the CPU: layer by layer, as a whole, in how much memory, and as what grows.

Beside each time stands PyTorch's for the same work with as many threads, taken in turn with ours, in the memory format
that was the faster for just this. A layer is timed once its result has been compared with one in float64, the whole
network once its gradients have been, and once both sides have come to the same result.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial

import numpy as np

from minicam.backend import keep_memory
from minicam.bench import step
from minicam.bench.cases import Place, layer_cases
from minicam.bench.clock import in_turn, wall
from minicam.bench.figures import images, rates, rounded, sums, timed
from minicam.bench.operation import operation
from minicam.bench.peaks import matrix_peak
from minicam.bench.reference import compare
from minicam.bench.side import Side, make, use_threads
from minicam.bench.twin import FORMATS, Twin, pytorch
from minicam.model import Network
from minicam.ops import winograd
from minicam.results import progress

MATRIX = 4096  # side of the two matrices whose product is the machine's best
QUICK = 50  # seconds after which --quick begins no further round
PROPORTIONS = (1 / 2, 5 / 7)  # of the size, at which the step is measured, too: 112 and 160 of 224
ADVICE = "make test"  # what finds a mistake in an operation


@dataclass(frozen=True)
class Bench:
    """What to measure.

    network      "vgg16_gap" or "small_gap"
    batch, size  images, and pixels of a side of one
    threads      ours and PyTorch's
    repeats      times that each thing is timed
    quick        only the whole network with this batch, and its memory, and as often as QUICK seconds allow
    torch        the version of PyTorch, or None
    """

    network: str
    batch: int
    size: int
    threads: int
    repeats: int
    quick: bool
    torch: str | None


@dataclass(frozen=True)
class Work:
    """Something that the whole network does: "step" or "forward"."""

    what: str
    batch: int
    size: int
    threads: int

    def seconds(self, side: Side, memory: str | None) -> float:
        """How long one side takes for it, now."""
        return side.ask(self.what, **self.asked(), memory=memory)["seconds"]

    def asked(self) -> dict:
        """What it is, for `Side.ask` and for a row."""
        return {"batch": self.batch, "size": self.size, "threads": self.threads}


def measure(bench: Bench) -> dict:
    """The machine's best product, a row for each layer and direction, the whole network, and its memory.

    `step_ratio`, `forward_ratio` and `memory_ratio` are ours by PyTorch's for the whole batch; None without PyTorch.
    Raises MinicamError where a result is wrong, and where memory does not suffice.
    """
    deadline = time.perf_counter() + QUICK if bench.quick else np.inf
    keep_memory()
    use_threads(bench.threads)
    best = {"gbytes_per_second": None, "tflops": {"float32": None}}
    if not bench.quick:
        progress("the best product of two matrices")
        place = Place("cpu", 1, (), np.random.default_rng(0))
        flops = matrix_peak(place, "float32", wall, MATRIX, bench.repeats)
        best["tflops"]["float32"] = rounded(flops / 1e12)
    off = check(bench)
    found = whole(bench, best, deadline)
    rows = [] if bench.quick else list(layers(bench, best))
    totals = [{"batch": batch} | total for batch in batches(bench) for total in sums(of_batch(rows, batch), best)]
    ratios = {f"{row['what']}_ratio": row["ratio"] for row in found["networks"][:2]}
    return {
        **ratios,
        "memory_ratio": found["memory"]["ratio"],
        "peaks": best,
        "gradients_off": off,
        **found,
        "operations": rows,
        "convolutions": totals if rows else [],
    }


def check(bench: Bench) -> float:
    """Compare the gradients of a step with float64; returns the largest relative difference.

    For --quick of one image of half the sides.
    """
    progress("gradients in float64")
    least, winograd.LEAST = winograd.LEAST, dict.fromkeys(winograd.LEAST, (1, 1))  # as for the many images to come
    place = Place("cpu", 1 if bench.quick else step.CHECKED, (), np.random.default_rng(0))
    x, labels = step.batch(place, max(16, bench.size // 2) if bench.quick else bench.size, make(bench.network))
    try:
        return rounded(step.check(lambda: make(bench.network), x, labels, "cpu", "float32"))
    finally:
        winograd.LEAST = least


# -- layer by layer


def batches(bench: Bench) -> list[int]:
    """The sizes of batch that layers are measured with."""
    return list(dict.fromkeys((bench.batch, 1)))


def of_batch(rows: list[dict], batch: int) -> list[dict]:
    """The rows of one size of batch."""
    return [row for row in rows if row["batch"] == batch]


def layers(bench: Bench, best: dict) -> Iterator[dict]:
    """A row for each layer and direction that differs, in batches of several images and of one."""
    twins = [Twin(pytorch("cpu"), form) for form in FORMATS if bench.torch]
    use_threads(bench.threads)  # PyTorch's, too, now that it is there
    for batch in batches(bench):
        place = Place("cpu", batch, twins, np.random.default_rng(0))
        for group in layer_cases(place, make(bench.network), bench.size):
            progress(f"{group[0].name}, batch {batch}")
            while group:
                case = operation(group.pop(0), "float32", best, rested, bench.repeats, warm_up=1, advice=ADVICE)
                yield {"batch": batch} | case | {"repeats": bench.repeats}


def rested(run: Callable[[], object]) -> float:
    """Seconds, after a pause: the threads of whoever ran before go on for a while, looking for more to do."""
    time.sleep(0.005)
    return wall(run)


# -- the whole network


def whole(bench: Bench, best: dict, deadline: float) -> dict:
    """Rows for the whole network, the step and the forward pass with the whole batch first; and the step's memory.

    Ours has its own process, and each of PyTorch's memory formats: the step is the first thing that is done there, so
    that nothing else has taken memory. The faster of the two formats stays.
    """
    main, *others = works(bench)
    with ExitStack() as stack:
        ours = stack.enter_context(Side("ours", bench.network))
        sides = {form: stack.enter_context(Side("torch", bench.network)) for form in FORMATS if bench.torch}
        for side in (ours, *sides.values()):
            side.ask("memory")  # it answers when it has started
        memory = better_format(bench, main, sides)
        for form in sides.keys() - {memory}:
            sides[form].close()
        theirs = sides.get(memory)
        rows = [row(main, ours, theirs, memory, bench.repeats, deadline)]
        held = memory_of(ours, theirs)
        for work in others:
            memory = better_format(bench, work, dict.fromkeys(sides, theirs))
            rows.append(row(work, ours, theirs, memory, repeats_of(bench, work), deadline))
    network = make(bench.network)
    return {"networks": [rated(found, network, best) for found in rows], "memory": held}


def works(bench: Bench) -> list[Work]:
    """What is done with the whole network: with the whole batch first, then one image, then as each of them grows."""
    sizes = [max(16, round(bench.size * part / 16) * 16) for part in PROPORTIONS]
    main = bench.size, bench.threads
    found = [Work(what, batch, *main) for batch in batches(bench) for what in ("step", "forward")]
    if bench.quick:
        return found[:2]
    found += [Work("step", batch, *main) for batch in powers_of_2(bench.batch)]
    found += [Work("step", bench.batch, size, bench.threads) for size in sizes if size < bench.size]
    found += [Work("step", bench.batch, bench.size, threads) for threads in powers_of_2(bench.threads)]
    return list(dict.fromkeys(found))


def powers_of_2(most: int) -> list[int]:
    """1, 2, 4 and so on, below `most`."""
    return [1 << i for i in range(most.bit_length()) if 1 << i < most]


def repeats_of(bench: Bench, work: Work) -> int:
    """Rows that only show how cost grows are measured three times at most."""
    main = work.size == bench.size and work.threads == bench.threads and work.batch in batches(bench)
    return bench.repeats if main else min(bench.repeats, 3)


def better_format(bench: Bench, work: Work, sides: dict[str, Side]) -> str | None:
    """The memory format in which PyTorch does it in less time, when each has done it twice; None without PyTorch.

    Once must do for --quick, and for what only shows how cost grows.
    """
    progress(f"{work.what}, batch {work.batch}, in PyTorch's memory formats")
    times = 1 if bench.quick or repeats_of(bench, work) < bench.repeats else 2
    seconds = {form: [work.seconds(side, form) for _ in range(times)][-1] for form, side in sides.items()}
    return min(seconds, key=seconds.get, default=None)


def row(work: Work, ours: Side, theirs: Side | None, memory: str | None, repeats: int, deadline: float) -> dict:
    """Have both sides do it, compare what first came out, and then time them in turn."""
    progress(f"{work.what}, batch {work.batch}, {work.size} pixels, {work.threads} threads")
    sides = [(ours, None), *([(theirs, memory)] if theirs else [])]
    runs = [partial(work.seconds, *side) for side in sides]
    for run in runs:  # cold, and not counted: whoever did something else last prepares this anew
        run()
    first = [side.result(work.what, **work.asked(), memory=form) for side, form in sides]
    off = None
    if theirs:
        off = compare(f"{work.what} of the network", *first, tolerance=step.TOLERANCE["float32"], advice=ADVICE)
    seconds = in_turn(lambda run: run(), runs, repeats, warm_up=0, deadline=deadline)
    times = timed(seconds[0], seconds[1] if theirs else None)
    names = {"what": work.what, **work.asked(), "repeats": seconds.shape[1]}
    return names | images(times, work.batch) | times | {"torch_format": memory, "off": rounded(off)}


def rated(found: dict, network: Network, best: dict) -> dict:
    """A row with its multiplications and additions, and what share of the machine's best they are."""
    flops = step.flops(network, found["batch"], found["size"], backward=found["what"] == "step")
    return found | rates(best, "float32", found["milliseconds"], flops, 0) | {"flops": flops}


def memory_of(ours: Side, theirs: Side | None) -> dict:
    """Bytes that each side held at most, and before it built the network; and ours by PyTorch's.

    `ratio` is that of all that the processes held, `ratio_above` that of what came on top once there was a network.
    """
    mine, other = (side and side.ask("memory") for side in (ours, theirs))
    found = {"ours": mine, "torch": other, "ratio": None, "ratio_above": None}
    if other and other["most"] and mine["most"]:
        found["ratio"] = rounded(mine["most"] / other["most"])
        found["ratio_above"] = rounded((mine["most"] - mine["before"]) / (other["most"] - other["before"]))
    return found
