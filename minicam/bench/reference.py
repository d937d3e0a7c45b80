"""What a convolution must give, at some places, in float64: at the size of VGG16 all of it would take a CPU minutes.

Formulas and sizes are those of `ops/conv`. Where the GPU multiplies in TF32 it first rounds both factors to ten bits
behind the point; the reference does the same, so that what is left of a difference is how the GPU adds.
"""

from collections.abc import Callable, Sequence

import numpy as np

from minicam import MinicamError

Rounding = Callable[[np.ndarray], np.ndarray]  # to float64, by way of what the multiplier takes

# Of the largest value. Adding thousands of products in float32 leaves some 1e-6; the matrix units, which cut off where
# others round, some 1e-5. A product that is missing, or TF32 cut off and not rounded, shows as 3e-4 and more.
TOLERANCE = 1e-4
ADVICE = "python -m minicam.emulator check"  # what finds a mistake in a kernel


def rounding(precision: str) -> Rounding:
    """What happens to a factor before it is multiplied in this precision."""
    return to_tf32 if precision == "tf32" else to_float64


def to_float64(x: np.ndarray) -> np.ndarray:
    """x as it is, in float64."""
    return x.astype(np.float64)


def to_tf32(x: np.ndarray) -> np.ndarray:
    """x rounded to TF32, in float64: 13 of the 23 bits of the fraction go, a half is rounded away from zero."""
    bits = np.ascontiguousarray(x, np.float32).view(np.uint32)
    return ((bits + np.uint32(1 << 12)) & np.uint32(0xFFFFE000)).view(np.float32).astype(np.float64)


def places(rng: np.random.Generator, shape: Sequence[int], count: int = 24) -> list[tuple[int, ...]]:
    """Indices to look at: the first and the last, where mistakes of a border show, and others drawn at random."""
    ends = [(0,) * len(shape), tuple(size - 1 for size in shape)]
    return ends + [tuple(int(rng.integers(size)) for size in shape) for _ in range(count)]


def conv_at(x: np.ndarray, w: np.ndarray, pixels: Sequence[tuple[int, ...]], exact: Rounding) -> np.ndarray:
    """Output pixels (len(pixels), K) of the convolution of x with w, without the bias."""
    R, S, C, K = w.shape
    patches = np.zeros((len(pixels), R, S, C))
    for patch, (n, p, q) in zip(patches, pixels, strict=True):
        for r, s in np.ndindex(R, S):
            i, j = p + r - R // 2, q + s - S // 2
            if 0 <= i < x.shape[1] and 0 <= j < x.shape[2]:
                patch[r, s] = exact(x[n, i, j])
    return patches.reshape(len(pixels), -1) @ exact(w).reshape(-1, K)


def conv_dx_at(dy: np.ndarray, w: np.ndarray, pixels: Sequence[tuple[int, ...]], exact: Rounding) -> np.ndarray:
    """Pixels (len(pixels), C) of the gradient of the input: a convolution with the kernel turned."""
    return conv_at(dy, w[::-1, ::-1].swapaxes(2, 3), pixels, exact)


def conv_dw_at(
    dy: np.ndarray, x: np.ndarray, R: int, S: int, rows: Sequence[tuple[int, ...]], exact: Rounding
) -> np.ndarray:
    """Rows (r, s, c) of the gradient of the kernel (len(rows), K). An image at a time: all in float64 are too many."""
    _, H, W, _ = x.shape
    dw = np.zeros((len(rows), dy.shape[3]))
    for image, its_dy in zip(x, dy, strict=True):
        padded = np.pad(image, ((R // 2,) * 2, (S // 2,) * 2, (0, 0)))
        seen = np.stack([padded[r : r + H, s : s + W, c].reshape(-1) for r, s, c in rows])  # (rows, HW)
        dw += exact(seen) @ exact(its_dy).reshape(H * W, -1)
    return dw


def maxpool_of(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """y and argmax (N, P, Q, C) of max-pooling, from the four pixels of each window side by side."""
    N, P, Q, C = len(x), x.shape[1] // 2, x.shape[2] // 2, x.shape[3]
    windows = x[:, : 2 * P, : 2 * Q].reshape(N, P, 2, Q, 2, C).swapaxes(2, 3).reshape(N, P, Q, 4, C)
    return windows.max(3), windows.argmax(3)


def maxpool_dx_of(dy: np.ndarray, argmax: np.ndarray, H: int, W: int) -> np.ndarray:
    """dx (N, H, W, C) of max-pooling."""
    N, P, Q, C = dy.shape
    windows = np.where(argmax[..., None, :] == np.arange(4)[:, None], dy[..., None, :], 0)  # (N, P, Q, 4, C)
    dx = windows.reshape(N, P, Q, 2, 2, C).swapaxes(2, 3).reshape(N, 2 * P, 2 * Q, C)
    return np.pad(dx, ((0, 0), (0, H - 2 * P), (0, W - 2 * Q), (0, 0)))


def compare(
    what: str, got: np.ndarray, expected: np.ndarray, tolerance: float = TOLERANCE, advice: str = ADVICE
) -> float:
    """The largest difference, as a part of the largest expected value. MinicamError where it is not small enough."""
    off = float(np.abs(got - expected).max() / max(np.abs(expected).max(), np.finfo(np.float32).tiny))
    if not off <= tolerance:  # so that a NaN fails, too
        raise MinicamError(
            f"{what} is wrong: off by {off:.2g} of the largest value, {tolerance:g} is allowed; a wrong result is not "
            f"timed: find the mistake with `{advice}`"
        )
    return off
