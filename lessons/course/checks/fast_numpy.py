"""Lesson 11, fast NumPy."""

from collections.abc import Callable
from typing import Any

import numpy as np

from course.exercise import Case, case, differs, exercise
from minicam.ops import conv, winograd


@exercise
def product_by_points():
    """The matrix is square, n rows for n points. g and h each need only as many of its columns as they are long."""
    rng = np.random.default_rng(111)
    values = "The product's values at these points are 2, 18, 2, 68. From them follow its coefficients, lowest first."
    g, h, points = np.array([1.0, 2, 3]), np.array([2.0, 1]), np.array([0.0, 1, -1, 2])
    yield case(g, h, points, gives=np.array([2.0, 5, 8, 3]), hint=values)
    yield case(np.array([1.0, 2]), np.array([3.0]), np.array([0.0, 1]), gives=np.array([3.0, 6]))
    for lengths in [(3, 4), (5, 2), (2, 2)]:
        g, h = map(rng.standard_normal, lengths)
        points = rng.permutation(np.linspace(-1, 1, sum(lengths) - 1))
        yield case(g, h, points, gives=np.convolve(g, h), hint="The points are given: use these.")


@exercise
def winograd_row():
    """G g is the same for all tiles: compute it once.

    With the patches of all tiles as rows, (tiles, n), B d for each is patches @ B.T, and the way back ends with @ A.
    """
    rng = np.random.default_rng(112)
    for points, length, hint in [
        ((0, 1, -1), 4, "This is a single tile: two outputs from four inputs."),
        ((0, 1, -1), 10, "Four tiles of two outputs; they begin at 0, 2, 4 and 6."),
        ((0, 1, -1, 2, -2), 14, "Three tiles of four outputs."),
        ((0, 1, -1, 2, -2), 12, "Ten outputs: the third tile has two too many."),
        ((0, 1, -1), 3, "A single output: a tile of which half is cut off."),
        ((1, 2, 3, -1), 9, "Three tiles of three outputs, the last with two too many."),
    ]:
        x, g = rng.standard_normal(length), rng.standard_normal(3)
        matrices = winograd.matrices(points)
        yield case(x, g, *matrices, gives=np.correlate(x, g, "valid"), hint=hint)
    A, B, G = winograd.matrices()
    x, g = rng.standard_normal(10), rng.standard_normal(3)
    twice = np.correlate(x, g, "valid") * 2
    yield case(x, g, A, B, 2 * G, gives=twice, hint="This G is twice as large, so the result must be, too.")


@exercise
def from_points():
    """Give the first axis its two points, the second its images, rows and columns of tiles.

    Then A applies to each point, and each pixel of a tile gets its place behind its row or column of tiles.
    """
    rng = np.random.default_rng(113)
    four, two = winograd.matrices()[0], winograd.matrices((0, 1, -1))[0]
    for A, N, H, W, K, hint in [
        (four, 1, 4, 4, 1, "This is one tile of one channel: A.T @ M.reshape(6, 6) @ A."),
        (four, 1, 4, 12, 2, "Three tiles side by side."),
        (four, 2, 12, 8, 3, "Two images, each three rows of two tiles."),
        (four, 2, 14, 9, 3, "The last tiles overhang: cut off what lies outside."),
        (two, 2, 5, 3, 2, "n and m are those of A: here tiles of 2 from 4 points."),
    ]:
        n, m = A.shape
        P, Q = -(-H // m), -(-W // m)
        M = rng.standard_normal((n * n, N * P * Q, K))
        y = np.zeros((N, P * m, Q * m, K))
        for tile, (i, p, q) in enumerate(np.ndindex(N, P, Q)):
            for k in range(K):
                y[i, m * p : m * p + m, m * q : m * q + m, k] = A.T @ M[:, tile, k].reshape(n, n) @ A
        yield case(M, A, N, H, W, gives=y[:, :H, :W], hint=hint)
    # And as the last step of a whole convolution.
    x, w, (A, B, G) = rng.standard_normal((1, 4, 4, 3)), rng.standard_normal((3, 3, 3, 2)), winograd.matrices()
    padded = np.pad(x[0], ((1, 1), (1, 1), (0, 0))).reshape(36, 1, 3)
    M = np.tensordot(np.kron(B, B), padded, 1) @ np.tensordot(np.kron(G, G), w.reshape(9, 3, 2), 1)
    yield case(M, A, 1, 4, 4, gives=conv.forward_naive(x, w, np.zeros(2)))


@exercise
def share_of_multiplications():
    """How many tiles lie along a side, the last one overhanging or not?

    Each tile of the image needs one multiplication for each of its (m + r - 1) squared pairs of points.
    """
    yield case(224, 4, 3, gives=0.25)
    yield case(14, 4, 3, gives=16 * 36 / (14 * 14 * 9), hint="Four tiles along a side: round up.")
    yield case(224, 2, 3, gives=16 / 36)
    yield case(7, 6, 3, gives=4 * 64 / (49 * 9), hint="Two tiles of 6 along a side of 7.")
    yield case(10, 1, 5, gives=1.0, hint="Tiles of one output save nothing.")
    yield case(12, 4, 5, gives=9 * 64 / (144 * 25))


@exercise
def fair_ratio():
    """Each round times ours and then theirs. One round more than repeats, of which the first is thrown away."""
    slow, busy = "This machine grows slower with every call.", "Twice, something else kept this machine busy."
    yield _on(_Machine(), 2, 0.5, hint="How long a run takes on this machine, only clock can tell.")
    yield _on(_Machine(first=30.0), 1, 0.5, hint="On this machine, the first call of each is slow.")
    ratio = 1 / 2.2  # each call takes 1.1 times as long as the one before
    yield _on(_Machine(slower=1.1), 5, ratio, hint=f"{slow} Take turns, ours first.")
    yield _on(_Machine(odd={4: 50, 8: 50}), 5, 0.5, hint=f"{busy} A median takes no notice of it.")
    yield _on(_Machine(odd={10: 50}), 5, 0.5, hint="The last round was disturbed. It is one of several.")
    yield _on(_Machine(odd={6: 0.02}), 5, 0.5, hint="Once this machine was far too fast. A median is not the smallest.")
    medians = "Here a single round was disturbed. First the two medians, then their ratio; not a median of ratios."
    yield _on(_Machine(slower=1.1, odd={2: 50}), 3, 1.1 / 2, hint=medians)
    yield _on(_Machine(theirs=1.0), 3, 2.0, hint="Ours by theirs, not theirs by ours.")


def _on(machine: "_Machine", repeats: int, ratio: float, hint: str = "") -> Case:
    def ours() -> None:
        machine.run("ours")

    def theirs() -> None:
        machine.run("theirs")

    def clock(run: Callable) -> float:
        start = machine.time
        run()
        return machine.time - start

    def is_fair(found: Any) -> bool | str:
        if differs(found, ratio):
            return f"expected {ratio:.6g}"
        runs = [machine.runs.count(name) for name in ("ours", "theirs")]
        return runs == [repeats + 1] * 2 or (
            f"the number is right, but ours was run {runs[0]} times and theirs {runs[1]} times; "
            f"of each, one that does not count and {repeats} that do were expected"
        )

    return case(clock, ours, theirs, repeats, holds=is_fair, hint=hint)


class _Machine:
    """A computer on which time is what it is told to be. `odd`: run number n takes so many times as long."""

    def __init__(self, theirs: float = 4.0, first: float = 0.0, slower: float = 1.0, odd: dict | None = None) -> None:
        self.seconds, self.first, self.slower, self.odd = {"ours": 2.0, "theirs": theirs}, first, slower, odd or {}
        self.time, self.runs = 0.0, []

    def run(self, name: str) -> None:
        taken = self.seconds[name] * self.slower ** len(self.runs) * self.odd.get(len(self.runs), 1)
        self.time += taken + self.first * (name not in self.runs)
        self.runs.append(name)
