"""Launch a kernel in the emulator, the way that `options` says."""

import random
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

import numpy as np

from minicam import MinicamError
from minicam.emulator.module import ORDERS, EmulatorError, load
from minicam.emulator.records import Launch, record
from minicam.source import Source

# The limits of a launch on every GPU that minicam is for; CUDA programming guide, "Compute Capabilities".
THREADS, BLOCK_Z, GRID = 1024, 64, (2**31 - 1, 65535, 65535)
SHARED = 227 << 10  # bytes of a block, on an H100

_one_at_a_time = threading.Lock()  # a module has one set of threads, one block, one shared memory


@dataclass(frozen=True)
class _Options:
    check: bool
    order: str
    random: random.Random
    trace: Callable[[Launch], None] | None
    launched: set[tuple[str, str]] | None


_DEFAULT = _Options(check=False, order="forward", random=random.Random(0), trace=None, launched=None)
_options: ContextVar[_Options] = ContextVar("options", default=_DEFAULT)


@contextmanager
def options(
    check: bool = False,
    order: str = "forward",
    seed: int = 0,
    trace: list[Launch] | Callable[[Launch], None] | None = None,
    launched: set[tuple[str, str]] | None = None,
) -> Iterator[None]:
    """How kernels are launched within `with options(...)`, by this thread of Python (it is a context variable).

    check     look at every access to memory; about ten times slower
    order     in which blocks and threads take turns: "forward", "reverse" or "random"
    seed      of the random order, which is another one for each launch, and the same ones for the same seed
    trace     a list, or a function, that gets a record of each launch with all its accesses to memory; implies check
    launched  a set that gets the file and kernel of each launch
    """
    if order not in ORDERS:
        raise MinicamError(f"order is {order!r}; choose one of {', '.join(ORDERS)}")
    keep = trace.append if isinstance(trace, list) else trace
    before = _options.set(_Options(check or trace is not None, order, random.Random(seed), keep, launched))
    try:
        yield
    finally:
        _options.reset(before)


@contextmanager
def trace() -> Iterator[list[Launch]]:
    """Record what kernels read and write: `with trace() as launches: ...` fills the list, in the order of launches."""
    launches: list[Launch] = []
    with options(trace=launches):
        yield launches


def launch(
    source: Source,
    kernel: str,
    grid: tuple[int, int, int],
    block: tuple[int, int, int],
    args: Sequence[Any],
    shared: int = 0,
) -> None:
    """Run a kernel to its end.

    source  the file, from `minicam.source.read`
    grid    blocks, and
    block   threads of a block, in x, y and z
    args    in the order of the kernel's parameters: C-contiguous arrays, which are used in place; NumPy scalars of the
            exact type; None for a pointer to nothing
    shared  bytes of dynamic shared memory of a block

    Raises EmulatorError where the kernel does what it must not, naming the block, thread and line; MinicamError where
    there is no C++ compiler, or the file does not compile.
    """
    how = _options.get()
    _check_limits(source.name, kernel, grid, block, shared)
    module = load(source, how.check)
    if how.launched is not None:
        how.launched.add((source.name, kernel))
    order, seed = how.order, how.random.getrandbits(62)
    with _one_at_a_time:
        if not how.check:
            module.run(kernel, grid, block, args, shared, order, seed)
            return
        moved = _apart(args)
        try:
            module.run(kernel, grid, block, moved, shared, order, seed, trace=how.trace is not None)
        finally:
            for parameter, original, copy in zip(source.kernels[kernel], args, moved, strict=True):
                if parameter.pointer and original is not None and not parameter.const:
                    original[...] = copy
        done = record(module, kernel, grid, block, args) if how.trace is not None else None
    if how.trace is not None:
        how.trace(done)


def _check_limits(file: str, kernel: str, grid: Sequence[int], block: Sequence[int], shared: int) -> None:
    threads = block[0] * block[1] * block[2]
    wrong = None
    if min(grid) < 1 or any(size > most for size, most in zip(grid, GRID, strict=True)):
        wrong = f"a grid of {tuple(grid)} blocks; each number is at least 1, and at most that in {GRID}"
    elif grid[0] * grid[1] * grid[2] >= 2**31:
        wrong = f"a grid of {tuple(grid)} blocks; the emulator runs fewer than 2**31 in all"
    elif min(block) < 1 or threads > THREADS or block[2] > BLOCK_Z:
        wrong = (
            f"a block of {tuple(block)}, {threads} threads; each number is at least 1, the last at most {BLOCK_Z}, "
            f"and a block has at most {THREADS} threads"
        )
    elif not 0 <= shared <= SHARED:
        wrong = f"{shared} bytes of dynamic shared memory; a block has {SHARED}"
    if wrong is not None:
        raise EmulatorError(file, kernel, f"invalid launch: {wrong}")


def _apart(args: Sequence[Any]) -> list[Any]:
    """Copies of the arrays far from each other, so that who runs over the end of one does not end up in another.

    Arrays that overlap still do, and the alignment of each to 16 bytes, the widest access of a thread, stays.
    """
    arrays = sorted({(a.ctypes.data, a.nbytes) for a in args if isinstance(a, np.ndarray)})
    spans: list[list[int]] = []  # start, end; arrays that overlap share one
    for start, size in arrays:
        if spans and start < spans[-1][1]:
            spans[-1][1] = max(spans[-1][1], start + size)
        else:
            spans.append([start, start + size])
    gap = 4096 + max((end - start for start, end in spans), default=0)
    memory = np.full(sum(end - start + gap + 512 for start, end in spans) + gap, 0xFF, np.uint8)
    place, moved = gap, {}
    for start, end in spans:
        place += -(memory.ctypes.data + place) % 256 + start % 16
        moved[start] = place
        place += end - start + gap
    result = []
    for value in args:
        if isinstance(value, np.ndarray):
            start = max(s for s, _ in spans if s <= value.ctypes.data)
            at = moved[start] + value.ctypes.data - start
            copy = memory[at : at + value.nbytes].view(value.dtype).reshape(value.shape)
            copy[...] = value
            value = copy
        result.append(value)
    return result
