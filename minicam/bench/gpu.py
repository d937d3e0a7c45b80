"""How fast the kernels run on a GPU: each operation of VGG16-GAP, and its whole training step.

Beside each time stands what share it is of the GPU's best, for multiplications of its product of two large matrices in
the same precision, for bytes of its copy; and PyTorch's time for the same on the same arrays, taken in turn with ours.
A kernel is timed only after its result has been compared with one in float64.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from minicam import MinicamError, cuda
from minicam.backend import capability, cupy, free_gpu_memory, gpu_name
from minicam.bench import step
from minicam.bench.cases import Place, cases
from minicam.bench.clock import Clock, GpuClock, in_turn
from minicam.bench.figures import images, rates, rounded, sums, timed
from minicam.bench.operation import operation
from minicam.bench.peaks import copier, copy_peak, matrix_peak
from minicam.bench.twin import Twin, pytorch
from minicam.model import Network, vgg16_gap
from minicam.results import progress

COPIED = 1 << 30  # bytes of the copy that is the GPU's best
SIDE = 8192  # of the two matrices


@dataclass(frozen=True)
class Bench:
    """What to measure, where, and by which clocks.

    make          gives a new network, the same each time
    size          pixels of a side of an image
    clock         for an operation
    step_clock    for a whole step, in which the launches count, too
    copied, side  bytes and matrices for the GPU's best
    """

    place: Place
    make: Callable[[], Network]
    size: int
    precisions: Sequence[str]
    repeats: int
    clock: Clock
    step_clock: Clock
    copied: int
    side: int


def on_gpu(batch: int, size: int, precisions: Sequence[str], repeats: int) -> Bench:
    """The bench on the GPU. MinicamError where there is none."""
    cupy()
    torch = pytorch("cuda")
    place = Place("cuda", batch, [Twin(torch)] if torch else [], np.random.default_rng(0))
    copy = copier("cuda", COPIED)

    def head_start() -> None:
        for _ in range(4):  # some milliseconds: longer than Python takes for the launches of any one operation
            copy()

    def network() -> Network:
        return vgg16_gap(dropout=0.0)

    return Bench(place, network, size, precisions, repeats, GpuClock(head_start), GpuClock(), COPIED, SIDE)


def measure(bench: Bench) -> dict:
    """The GPU's best; a row for each operation, direction and precision; all convolutions; the training steps.

    Raises MinicamError where a result is wrong, and where the GPU's memory does not suffice.
    """
    before = cuda.precision()
    try:
        best = peaks(bench)
        rows = list(operations(bench, best))
        return {"peaks": best, "operations": rows, "convolutions": sums(rows, best), "steps": list(steps(bench, best))}
    except Exception as error:
        if type(error).__name__ != "OutOfMemoryError":  # CuPy's or PyTorch's, which have no common type
            raise
        found = f"{bench.place.batch} images of {bench.size} pixels"
        raise MinicamError(f"the GPU has too little memory for {found}; give a smaller --batch") from None
    finally:
        cuda.set_precision(before)


def peaks(bench: Bench) -> dict:
    """The GPU's best: GB/s of a copy, and TFLOP/s of a product by precision, None where no library multiplies."""
    flops = {
        precision: matrix_peak(bench.place, precision, bench.step_clock, bench.side, bench.repeats)
        for precision in bench.precisions
    }
    copied = copy_peak(bench.place.device, bench.step_clock, bench.copied, bench.repeats)
    return {
        "gbytes_per_second": rounded(copied / 1e9),
        "tflops": {precision: rounded(value and value / 1e12) for precision, value in flops.items()},
    }


def operations(bench: Bench, best: dict) -> Iterator[dict]:
    """A row for each case; those that do not multiply are the same in every precision, and have one row."""
    for group in cases(bench.place, bench.make(), bench.size):
        progress(group[0].name)
        while group:
            case = group.pop(0)
            for precision in bench.precisions if case.flops else ("float32",):
                set_precision(bench, precision)
                yield operation(case, precision, best, bench.clock, bench.repeats)
            del case  # or its arrays would live on beside those of the next
        free(bench)


def steps(bench: Bench, best: dict) -> Iterator[dict]:
    """A row for the whole training step in each precision."""
    x, labels = step.batch(bench.place, bench.size, bench.make())
    for precision in bench.precisions:
        progress(f"training step, {precision}")
        set_precision(bench, precision)
        off = step.check(bench.make, x, labels, bench.place.device, precision)
        seconds = in_turn(bench.step_clock, step.runs(bench.place, bench.make, x, labels), bench.repeats)
        free(bench)
        times = timed(seconds[0], seconds[1] if bench.place.twins else None)
        flops = step.flops(bench.make(), len(x), bench.size)
        rate = rates(best, precision, times["milliseconds"], flops, 0)
        yield {"precision": precision} | images(times, len(x)) | times | rate | {"flops": flops, "off": rounded(off)}


def set_precision(bench: Bench, precision: str) -> None:
    """Ours and PyTorch's."""
    cuda.set_precision(precision)
    for twin in bench.place.twins:
        twin.set_precision(precision)


def free(bench: Bench) -> None:
    """Give the GPU's memory back that nobody uses: ours and PyTorch's pools cannot use each other's."""
    if bench.place.device == "cuda":
        free_gpu_memory()
        for twin in bench.place.twins:
            twin.torch.cuda.empty_cache()


def about() -> dict:
    """Which GPU it is, and the software that the figures depend on."""
    runtime, torch = cupy().cuda.runtime, pytorch("cuda")
    return {
        "gpu": gpu_name(),
        "compute_capability": capability() / 10,
        "cuda_driver": runtime.driverGetVersion(),
        "cuda_runtime": runtime.runtimeGetVersion(),
        "cupy": cupy().__version__,
        "torch": torch and torch.__version__,
        "cudnn": torch and torch.backends.cudnn.version(),
    }
