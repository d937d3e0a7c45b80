"""Max-pooling, 2x2 with stride 2: the largest of four neighbours stands for them all.

    y[n,p,q,c]  = max over i,j in {0,1} of  x[n, 2p+i, 2q+j, c]
    dx          = dy at the position of that maximum, 0 elsewhere

    x (N, H, W, C)    y (N, P, Q, C) with P = H // 2, Q = W // 2    argmax uint8 (N, P, Q, C) = 2i + j

Of equal values the first one (row by row) is the maximum. An odd last row or column is dropped; its gradient is 0.
"""

from typing import Any

import numpy as np

from minicam import cuda
from minicam.backend import by_array, empty


def forward_naive(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The formula as loops: the specification."""
    N, H, W, C = x.shape
    y = np.empty((N, H // 2, W // 2, C), x.dtype)
    argmax = np.empty(y.shape, np.uint8)
    for n, p, q, c in np.ndindex(*y.shape):
        window = [x[n, 2 * p + i, 2 * q + j, c] for i in (0, 1) for j in (0, 1)]
        y[n, p, q, c] = max(window)
        argmax[n, p, q, c] = window.index(max(window))
    return y, argmax


def forward_numpy(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """y and argmax, one byte an output: all that backward has to remember."""
    top_left, top_right, bottom_left, bottom_right = _corners(x)
    top, bottom = np.maximum(top_left, top_right), np.maximum(bottom_left, bottom_right)
    y = np.maximum(top, bottom)  # (N, P, Q, C)
    # Strictly larger, each time: of equal values the first stays.
    in_top, in_bottom = top_right > top_left, bottom_right > bottom_left
    return y, np.where(bottom > top, in_bottom.view(np.uint8) + np.uint8(2), in_top.view(np.uint8))


def backward_numpy(dy: np.ndarray, argmax: np.ndarray, x_shape: tuple[int, int, int, int]) -> np.ndarray:
    """dx (N, H, W, C)."""
    dx = np.empty(x_shape, dy.dtype)
    dx[:, 2 * dy.shape[1] :] = 0  # the odd row and column that no window covers
    dx[:, :, 2 * dy.shape[2] :] = 0
    for position, corner in enumerate(_corners(dx)):
        np.multiply(dy, argmax == position, out=corner)
    return dx


def _corners(x: np.ndarray) -> list[np.ndarray]:
    """Four views (N, P, Q, C) of x: the top left, top right, bottom left and bottom right pixels of all windows."""
    H, W = x.shape[1] // 2 * 2, x.shape[2] // 2 * 2
    return [x[:, i:H:2, j:W:2] for i in (0, 1) for j in (0, 1)]


def forward_cuda(x: Any) -> tuple[Any, Any]:
    """y and argmax."""
    N, H, W, C = cuda.sizes(x=(x, "NHWC"))
    y = empty((N, H // 2, W // 2, C), x.dtype, like=x)
    argmax = empty(y.shape, np.uint8, like=x)
    if y.size:  # an image of a single row or column has no window
        cuda.launch("maxpool.cu", "maxpool_forward", (x, y, argmax, N, H, W, C), threads=y.size)
    return y, argmax


def backward_cuda(dy: Any, argmax: Any, x_shape: tuple[int, int, int, int]) -> Any:
    """dx (N, H, W, C)."""
    N, H, W, C = x_shape
    cuda.same_shape(y=(N, H // 2, W // 2, C), dy=dy, argmax=argmax)
    dx = empty(x_shape, dy.dtype, like=dy)
    windows = (dy, argmax) if dy.size else (None, None)
    cuda.launch("maxpool.cu", "maxpool_backward", (*windows, dx, N, H, W, C), threads=dx.size)
    return dx


forward = by_array(forward_numpy, forward_cuda)
backward = by_array(backward_numpy, backward_cuda)
