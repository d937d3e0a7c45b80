"""Max-pooling, 2x2 with stride 2: the largest of four neighbours stands for them all.

    y[n,p,q,c]  = max over i,j in {0,1} of  x[n, 2p+i, 2q+j, c]
    dx          = dy at the position of that maximum, 0 elsewhere

    x (N, H, W, C)    y (N, P, Q, C) with P = H // 2, Q = W // 2    argmax uint8 (N, P, Q, C) = 2i + j

Of equal values the first one (row by row) is the maximum. An odd last row or column is dropped; its gradient is 0.
Of a window with a NaN y is NaN; which position then counts as its maximum is not defined.
"""

from typing import Any

import numpy as np

from minicam import cuda
from minicam.backend import by_array, each, empty
from minicam.ops import relu

BLOCK_BYTES = 1 << 22  # of x that is worked on at a time

Block = tuple[slice, slice]  # images, rows of y


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


def forward_numpy(x: np.ndarray, need_argmax: bool = True) -> tuple[np.ndarray, np.ndarray | None]:
    """y, and argmax: one byte an output, all that backward has to remember; or None, where nobody needs it."""
    N, H, W, C = cuda.sizes(x=(x, "NHWC"))
    y = np.empty((N, H // 2, W // 2, C), x.dtype)
    argmax = np.empty(y.shape, np.uint8) if need_argmax else None

    def alone(here: Block) -> None:
        pixels = x[_twice(here)]
        higher = np.maximum(pixels[:, ::2], pixels[:, 1::2])  # whole rows, which lie side by side in memory
        np.maximum(higher[:, :, : W // 2 * 2 : 2], higher[:, :, 1::2], out=y[here])

    def with_argmax(here: Block) -> None:
        top_left, top_right, bottom_left, bottom_right = _corners(x[_twice(here)])
        top, bottom = np.maximum(top_left, top_right), np.maximum(bottom_left, bottom_right)
        np.maximum(top, bottom, out=y[here])
        # Strictly larger, each time: of equal values the first stays.
        of_top, of_bottom = np.greater(top_right, top_left).view(np.uint8), np.greater(bottom_right, bottom_left)
        of_bottom = of_bottom.view(np.uint8) + np.uint8(2)
        low = np.negative(np.greater(bottom, top).view(np.uint8))  # 0 or 255: a mask, which is faster than np.where
        np.bitwise_xor(of_top, (of_top ^ of_bottom) & low, out=argmax[here])

    each(with_argmax if need_argmax else alone, _blocks(x.shape, x.itemsize))
    return y, argmax


def backward_numpy(
    dy: np.ndarray, argmax: np.ndarray, x_shape: tuple[int, int, int, int], y: np.ndarray | None = None
) -> np.ndarray:
    """dx (N, H, W, C). dy must be finite: an infinite one times 0 is NaN, where the kernel has 0.

    y  the output of `forward`, where x is that of a ReLU: dx is then the gradient below that ReLU. What was the largest
       of its window has the value of y, so it is known here, of a quarter of the pixels, where the ReLU let nothing by.
    """
    _check_windows(x_shape, dy=dy, argmax=argmax, **({} if y is None else {"y": y}))
    dx = np.empty(x_shape, dy.dtype)
    dx[:, 2 * dy.shape[1] :] = 0  # the odd row and column that no window covers
    dx[:, :, 2 * dy.shape[2] :] = 0

    def part(here: Block) -> None:
        of_window = dy[here] if y is None else dy[here] * (y[here] > 0)
        for position, corner in enumerate(_corners(dx[_twice(here)])):
            np.multiply(of_window, argmax[here] == position, out=corner)

    each(part, _blocks(x_shape, dx.itemsize))
    return dx


def _check_windows(x_shape: tuple[int, int, int, int], **arrays: Any) -> list[int]:
    """N, H, W, C. MinicamError where one of the arrays does not hold a number for each window of x."""
    N, H, W, C = cuda.sizes(x=(x_shape, "NHWC"))
    cuda.same_shape(output=(N, H // 2, W // 2, C), **arrays)
    return [N, H, W, C]


def _blocks(x_shape: tuple[int, int, int, int], itemsize: int) -> list[Block]:
    """All windows, in blocks of images and rows that stay in the cache between one step and the next."""
    N, H, W, C = x_shape
    P, row_bytes = H // 2, max(1, 2 * W * C * itemsize)
    n, p = max(1, BLOCK_BYTES // (row_bytes * max(1, P))), max(1, BLOCK_BYTES // row_bytes)
    return [(slice(i, i + n), slice(j, min(j + p, P))) for i in range(0, N, n) for j in range(0, P, p)]


def _twice(here: Block) -> Block:
    """The rows of x that the windows of a block are in."""
    images, rows = here
    return images, slice(2 * rows.start, 2 * rows.stop)


def _corners(x: np.ndarray) -> list[np.ndarray]:
    """Four views (N, P, Q, C) of x: the top left, top right, bottom left and bottom right pixels of all windows."""
    H, W = x.shape[1] // 2 * 2, x.shape[2] // 2 * 2
    return [x[:, i:H:2, j:W:2] for i in (0, 1) for j in (0, 1)]


def forward_cuda(x: Any, need_argmax: bool = True) -> tuple[Any, Any]:
    """y, and argmax or None."""
    N, H, W, C = cuda.sizes(x=(x, "NHWC"))
    y = empty((N, H // 2, W // 2, C), x.dtype, like=x)
    argmax = empty(y.shape, np.uint8, like=x) if need_argmax else None
    if y.size:  # an image of a single row or column has no window
        cuda.launch("maxpool.cu", "maxpool_forward", (x, y, argmax, N, H, W, C), threads=y.size)
    return y, argmax


def backward_cuda(dy: Any, argmax: Any, x_shape: tuple[int, int, int, int], y: Any = None) -> Any:
    """dx (N, H, W, C); `y` as in backward_numpy."""
    N, H, W, C = _check_windows(x_shape, dy=dy, argmax=argmax)
    if y is not None:
        dy = relu.backward_cuda(dy, y)
    dx = empty(x_shape, dy.dtype, like=dy)
    windows = (dy, argmax) if dy.size else (None, None)
    cuda.launch("maxpool.cu", "maxpool_backward", (*windows, dx, N, H, W, C), threads=dx.size)
    return dx


forward = by_array(forward_numpy, forward_cuda)
backward = by_array(backward_numpy, backward_cuda)
