"""The fully connected layer: every output is a weighted sum of all inputs.

    y[n,k]  = b[k] + sum over c of  x[n,c] * w[c,k]
    dx[n,c] = sum over k of  dy[n,k] * w[c,k]
    dw[c,k] = sum over n of  x[n,c] * dy[n,k]
    db[k]   = sum over n of  dy[n,k]

    x (N, C)    w (C, K)    b (K,)    y (N, K)

All but the last are matrix products. So are convolutions: how a product is shared out among the blocks of a GPU, and
how sums over rows are, is said here for both.
"""

from typing import Any

import numpy as np

from minicam import cuda
from minicam.backend import by_array, empty

# How sum_rows cuts its rows. They depend on no GPU, for they are part of the result: they order the sum.
SUM_BLOCKS = 512  # parts in flight: some for each multiprocessor of a large GPU
SUM_STEP = 64  # rows of a part at least


def forward_naive(x: np.ndarray, w: np.ndarray, b: np.ndarray) -> np.ndarray:
    """The formula as loops: the specification."""
    (N, C), K = x.shape, w.shape[1]
    y = np.empty((N, K), x.dtype)
    for n, k in np.ndindex(N, K):
        y[n, k] = b[k] + sum(x[n, c] * w[c, k] for c in range(C))
    return y


def forward_numpy(x: np.ndarray, w: np.ndarray, b: np.ndarray) -> np.ndarray:
    """y (N, K)."""
    return x @ w + b  # (N, C) (C, K) -> (N, K)


def backward_numpy(dy: np.ndarray, x: np.ndarray, w: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """dx (N, C), dw (C, K), db (K,)."""
    return dy @ w.T, x.T @ dy, dy.sum(0)


def forward_cuda(x: Any, w: Any, b: Any) -> Any:
    """y (N, K)."""
    N, C, K = cuda.sizes(x=(x, "NC"), w=(w, "CK"), b=(b, "K"))
    y = empty((N, K), x.dtype, like=x)
    cuda.launch("linear.cu", "linear_forward", (x, w, b, y, N, C, K), **tiles("linear.cu", N, K))
    return y


def backward_cuda(dy: Any, x: Any, w: Any) -> tuple[Any, Any, Any]:
    """dx (N, C), dw (C, K), db (K,)."""
    N, K, C = cuda.sizes(dy=(dy, "NK"), x=(x, "NC"), w=(w, "CK"))
    dx, dw = empty(x.shape, x.dtype, like=x), empty(w.shape, w.dtype, like=w)
    cuda.launch("linear.cu", "linear_backward_data", (dy, w, dx, N, C, K), **tiles("linear.cu", N, C))
    cuda.launch("linear.cu", "linear_backward_weights", (dy, x, dw, N, C, K), **tiles("linear.cu", C, K))
    return dx, dw, sum_rows(dy)


def tiles(file: str, rows: int, columns: int, parts: int = 1) -> dict[str, Any]:
    """The blocks and threads that `launch` needs for a product (rows, columns) in the tiles of a file, wide or narrow.

    parts  of the sum over depth, each of them blocks of their own
    """
    narrow = columns <= cuda.constant(file, "TILE_N") // 2
    names = ("TILE_M", "NARROW", "NARROW_THREADS") if narrow else ("TILE_M", "TILE_N", "THREADS")
    height, width, block = (cuda.constant(file, name) for name in names)
    return {"blocks": (-(-rows // height), -(-columns // width), parts), "block": block}


def sum_rows(a: Any) -> Any:
    """Sums (columns,) over the rows of a device array whose last axis is the columns, in an order fixed by its shape.

    Tall ones in two launches: many parts of the rows at the same time, and then the sums of these parts.
    """
    columns = a.shape[-1]
    rows = a.size // columns
    wide = -(-columns // cuda.constant("sum_rows.cu", "SUM_COLUMNS"))  # blocks side by side
    step = max(-(-rows * wide // SUM_BLOCKS), SUM_STEP)  # rows of a part
    for parts in (-(-rows // step), 1):
        sums = empty((parts, columns), a.dtype, like=a)
        args, block = (a, sums, rows, columns, parts), cuda.constant("sum_rows.cu", "SUM_THREADS")
        cuda.launch("sum_rows.cu", "sum_rows", args, blocks=(wide, parts), block=block)
        if parts == 1:
            return sums.reshape(columns)
        a, rows = sums, parts


forward = by_array(forward_numpy, forward_cuda)
backward = by_array(backward_numpy, backward_cuda)
