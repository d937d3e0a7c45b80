"""Lesson 9, from loops to a kernel. Kernels that are answers are compiled and run in the emulator, in check mode."""

from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np

from course import emulated
from course.exercise import case, differs, exercise
from minicam import MinicamError
from minicam.backend import empty, to_device

BLOCKS = 64, 32  # threads of a block: one launch with each


def _runs(text: Any, kernel: str, parameters: str, x: np.ndarray, numbers: tuple, expected: np.ndarray) -> bool | str:
    """True, or what is wrong with the kernel of a text, launched on an array, one for its output, and numbers."""
    if refused := emulated.refusal(text, kernel, parameters):
        return refused
    x = to_device(x, "emulator")
    for block in BLOCKS:
        y = empty(expected.shape, np.float32, like=x)  # NaN: what is not written shows
        try:
            done = emulated.launch(text, (x, y, *numbers), (-(-y.size // block),), block, trace=True)
        except MinicamError as error:
            return f"the emulator says: {error}"
        if fault := differs(y, expected, 1e-5):
            return fault.replace("returned", f"launched for {y.size} numbers in blocks of {block}, it left", 1)
        output = list(done.arguments)[1]  # whatever it is called
        written = {(a.block, a.thread, a.index) for a in done.accesses if a.array == output and a.kind != "read"}
        most = max(Counter(place[:2] for place in written).values())
        if most > 1:
            return f"the numbers are right, but one thread writes {most} of them; there is a thread for each"
    return True


@exercise
def blocks_needed():
    """Divide, and round up: a last block that is needed for one thread only is a whole block."""
    idle = "Idle are all threads of all blocks, less those that have work."
    for threads, block, expected, hint in [
        (21, 8, (3, 3), idle),
        (24, 8, (3, 0), "Where blocks fit exactly, none is added."),
        (1, 256, (1, 255), idle),
        (2 * 224 * 224 * 64, 256, (25088, 0), ""),
        (1000, 96, (11, 56), idle),
    ]:
        yield case(threads, block, gives=expected, hint=hint)


@exercise
def pointwise():
    """It is the kernel of relu.cu, with x[i] under the name v. In an f-string, a brace of C++ is written twice."""
    formulas: list[tuple[str, Callable, int]] = [
        ("2 * v", lambda v: 2 * v, 128),
        ("v < 0 ? v / 10 : v", lambda v: np.where(v < 0, v / 10, v), 100),
        ("v * v + 1", lambda v: v * v + 1, 1),
    ]
    rng = np.random.default_rng(92)
    for formula, function, size in formulas:
        x = rng.standard_normal(size).astype(np.float32)
        asked = "pointwise", "const real* x, real* y, int size", x, (size,), function(x)
        blocks = f"in blocks of {BLOCKS[0]} and then of {BLOCKS[1]}"
        hint = f"(It is launched for {size} numbers, {blocks}, which blockDim.x knows.)"
        yield case(formula, holds=lambda text, asked=asked: _runs(text, *asked), hint=hint)


@exercise
def position():
    """The last axis turns fastest: k is the remainder of i by K, and i // K goes on as the number of a pixel."""
    for i, H, W, K in [(0, 3, 4, 2), (5, 3, 4, 2), (23, 3, 4, 2), (59, 3, 4, 5), (500, 5, 7, 6), (4321, 9, 2, 11)]:
        expected = tuple(map(int, np.unravel_index(i, (1 + i // (H * W * K), H, W, K))))
        yield case(i, H, W, K, gives=expected, hint="Only n is a quotient without a remainder after it.")


@exercise
def readers():
    """Window p reads i if p * stride <= i and i <= p * stride + S - 1. Solve both for p, which is whole: where do you
    have to round up, and where down? And p goes from 0 to P - 1 only."""
    for i, P, S, stride in [(2, 3, 3, 2), (3, 3, 3, 2), (0, 3, 3, 2), (6, 3, 3, 2), (4, 9, 4, 1), (7, 3, 2, 3),
                            (5, 3, 2, 3), (9, 4, 5, 2), (11, 4, 5, 2)]:  # fmt: skip
        reads = [[p * stride + s for s in range(S)] for p in range(P)]
        expected = [p for p in range(P) if i in reads[p]]
        reach = ", ".join(f"window {p} reads {own[0]} to {own[-1]}" for p, own in enumerate(reads[:4]))
        yield case(i, P, S, stride, gives=expected, hint=f"Here {reach}{', and so on' * (P > 4)}.")


@exercise
def average_backward():
    """Thread i adds up the dy of its readers, as in exercise 9.4, divides by S, and writes dx[i] once, be it 0.

    In C++, -3 / 2 is -1: division of whole numbers cuts off, it does not round down."""
    rng = np.random.default_rng(95)
    for P, S, stride in [(3, 3, 2), (40, 3, 2), (50, 5, 2), (30, 2, 3), (30, 4, 1)]:
        dy = rng.standard_normal(P).astype(np.float32)
        dx = np.zeros((P - 1) * stride + S + 1)  # one more than the windows reach
        for p in range(P):
            dx[p * stride : p * stride + S] += dy[p] / S
        asked = "average_backward", "const real* dy, real* dx, int P, int size", dy, (P, dx.size), dx
        hint = f"Numbers that no window reads, as number {S} here, get 0." if stride > S else ""
        yield case(S, stride, holds=lambda text, asked=asked: _runs(text, *asked), hint=hint)
