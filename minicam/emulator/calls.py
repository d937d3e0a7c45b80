"""What to call so that every kernel of an operation is launched, and whether it returns what NumPy does."""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from minicam import MinicamError


class Sizes(NamedTuple):
    """N images of H x W pixels and C channels; K channels or classes out; a kernel of R x S."""

    N: int
    H: int
    W: int
    C: int
    K: int
    R: int
    S: int


TINY = Sizes(1, 2, 3, 2, 2, 3, 3)  # to be read
# All of them leave the last block half empty. C and K are odd, or multiples of four, which some kernels take in fours;
# and they are below or above what the kernels in tiles take for narrow. Of the first there are pixels enough for the
# kernels that sum them in parts.
CHECKED = (
    Sizes(2, 17, 19, 3, 11, 3, 5),
    Sizes(3, 5, 9, 8, 20, 3, 3),
    Sizes(1, 2, 3, 67, 71, 3, 1),
    Sizes(4, 3, 2, 68, 72, 1, 3),
)


def calls(op: str, sizes: Sizes) -> Iterator[tuple[str, tuple]]:
    """Pairs of a direction, "forward" or "backward", and the arguments of that function of an operation.

    Arrays are NumPy's, of random numbers, the same ones each time. Raises MinicamError where the operation is unknown.
    """
    rng = np.random.default_rng(0)
    N, H, W, C, K, R, S = sizes

    def f4(*shape: int) -> np.ndarray:
        return rng.standard_normal(shape).astype(np.float32)

    x = f4(N, H, W, C)
    if op == "conv":
        w = f4(R, S, C, K)
        yield "forward", (x, w, f4(K), True)
        yield "backward", (f4(N, H, W, K), x, w)
    elif op == "relu":
        yield "forward", (x,)
        yield "backward", (x, f4(N, H, W, C))
    elif op == "maxpool":
        pooled = N, H // 2, W // 2, C
        yield "forward", (x,)
        yield "backward", (f4(*pooled), rng.integers(0, 4, pooled, np.uint8), x.shape)
    elif op == "gap":
        yield "forward", (x,)
        yield "backward", (f4(N, C), x.shape)
    elif op == "linear":
        x, w = f4(N * H, C), f4(C, K)
        yield "forward", (x, w, f4(K))
        yield "backward", (f4(N * H, K), x, w)
    elif op == "softmax_loss":
        labels = rng.integers(0, K, N * H)
        yield "forward", (f4(N * H, K), labels)
        yield "backward", (f4(N * H, K), labels)
    elif op == "warp":
        image, affine, colour = rng.integers(0, 256, x.shape, np.uint8), f4(N, 2, 3), f4(N, K, C + 1)
        yield "forward", (image, affine.astype(np.float64), (W, H))
        yield "forward", (image, affine.astype(np.float64), (W, H), colour.astype(np.float64))
    elif op == "sgd":
        for size in (4 * x.size + 1, 4 * x.size):  # the second is taken in fours
            yield "forward", (f4(size), f4(size), f4(size), 0.1, 0.9, 0.01)
    else:
        raise MinicamError(f"no launch is known for the operation {op}; add one to minicam/emulator/calls.py")


def difference(expected: Any, found: Any, tolerance: float) -> str | None:
    """In words, where the results of kernels are not those of NumPy; None where they are.

    Both are what an operation returns: an array, or a tuple of them.
    tolerance  for floating-point numbers, as a part of the largest one of the array; others must be equal
    """
    expected, found = (value if isinstance(value, tuple) else (value,) for value in (expected, found))
    for number, (theirs, mine) in enumerate(zip(expected, found, strict=True), 1):
        theirs, mine = np.asarray(theirs), np.asarray(mine)
        which = f" in result {number} of {len(expected)}" if len(expected) > 1 else ""
        if theirs.shape != mine.shape:
            return f"wrong shape{which}: NumPy has {theirs.shape}, the kernels {mine.shape}"
        error = np.abs(theirs.astype(np.float64) - mine)
        allowed = tolerance * np.abs(theirs).max() if theirs.dtype.kind == "f" else 0
        if not error.max() <= allowed:  # a NaN is no more than anything
            at = np.unravel_index(error.argmax(), error.shape)
            place = f" at [{','.join(map(str, at))}]" if at else ""
            return (
                f"wrong numbers{which}: largest error {error[at]:.3g}{place}, "
                f"NumPy has {theirs[at]:.7g}, the kernels {mine[at]:.7g}"
            )
    return None


def changed(before: Sequence[Any], after: Sequence[Any]) -> int | None:
    """The number of the first argument that a call has changed; None where it has left all as they were."""
    for number, (old, new) in enumerate(zip(before, after, strict=True)):
        if isinstance(old, np.ndarray) and not np.array_equal(old, new):
            return number
    return None
