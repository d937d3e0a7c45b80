"""Convolution as a product of matrices, in NumPy, for kernels of any odd size. `conv` chooses it.

A row of the matrix of patches ("im2col") holds the R*S*C inputs of one output pixel, so that `patches @ w` is the
convolution, and `patches.T @ dy` the gradient of its kernel. All patches of one VGG16 layer would take 116 MB an image;
they are made in blocks of about a megabyte, which also stay in the cache between being written and being multiplied.

    x (N, H, W, C)    w (R, S, C, K)    b (K,)    y, dy (N, H, W, K)
"""

from collections.abc import Iterator

import numpy as np

from minicam.backend import each, in_parts

BLOCK_BYTES = 1 << 20  # patches made at a time: about the size of a core's L2 cache
PARTS = 16  # of the work, for as many threads as there are: enough for these to end at about the same time
DW_PIXELS = 512  # a part of backward has at least: each makes a dw of its own, and these are then summed
DW_BYTES = 64 << 20  # that all of these may take

Block = tuple[slice, slice]  # images, rows


def forward(x: np.ndarray, w: np.ndarray, b: np.ndarray, relu: bool = False) -> np.ndarray:
    """y (N, H, W, K), with negative values set to 0 where `relu`."""
    (N, H, W, _), (R, S, _, K) = x.shape, w.shape
    y = np.empty((N, H, W, K), x.dtype)
    w = w.reshape(-1, K)  # (R*S*C, K)
    biases, zeros = np.tile(b.astype(y.dtype), W), np.zeros(W * K, y.dtype)  # for a row of pixels: long loops are fast

    def part(blocks: list[Block]) -> None:
        for images, rows, patches in _patches(x, R, S, blocks):
            lines = y[images, rows].reshape(-1, W * K)  # a view: a block is rows of one image, or whole images
            np.matmul(patches, w, out=lines.reshape(-1, K))  # (pixels, R*S*C) (R*S*C, K) -> (pixels, K)
            lines += biases
            if relu:
                np.maximum(lines, zeros, out=lines)

    each(part, _parts(x, R, S, PARTS))
    return y


def backward(
    dy: np.ndarray, x: np.ndarray, w: np.ndarray, y: np.ndarray | None = None, need_dx: bool = True
) -> tuple[np.ndarray | None, np.ndarray, np.ndarray]:
    """dx (N, H, W, C) or None, dw (R, S, C, K), db (K,); `y` and `need_dx` as in `conv.backward_numpy`."""
    R, S, _, K = w.shape
    dy = dy.astype(x.dtype, copy=False)
    if y is not None:
        dy = _masked(dy, y)

    def part(blocks: list[Block]) -> tuple[np.ndarray, np.ndarray]:
        dw, db = np.zeros((w.size // K, K), w.dtype), np.zeros(K, w.dtype)
        for images, rows, patches in _patches(x, R, S, blocks):
            block = dy[images, rows].reshape(-1, K)
            dw += patches.T @ block  # (R*S*C, pixels) (pixels, K) -> (R*S*C, K)
            db += np.ones(len(block), dy.dtype) @ block
        return dw, db

    parts = max(1, min(PARTS, dy.size // K // DW_PIXELS, DW_BYTES // w.nbytes))
    dw, db = (sum(sums) for sums in zip(*each(part, _parts(x, R, S, parts)), strict=True))
    dx = None
    if need_dx:
        turned = np.ascontiguousarray(w[::-1, ::-1].swapaxes(2, 3))  # (R, S, K, C)
        dx = forward(dy, turned, np.zeros(x.shape[3], x.dtype))
    return dx, dw.reshape(w.shape), db


def _masked(dy: np.ndarray, y: np.ndarray) -> np.ndarray:
    """dy where y > 0, and 0 elsewhere."""
    masked = np.empty_like(dy)
    each(lambda n: np.multiply(dy[n], y[n] > 0, out=masked[n]), range(len(dy)))
    return masked


def _parts(x: np.ndarray, R: int, S: int, parts: int) -> list[list[Block]]:
    """Cut the work on x into blocks, some rows of one image or some whole images, these into up to so many parts."""
    N, H, W, C = x.shape
    row_bytes = W * R * S * C * x.itemsize
    n, p = max(1, BLOCK_BYTES // (row_bytes * H)), min(H, max(1, BLOCK_BYTES // row_bytes))
    blocks = [
        (slice(i, min(i + n, N)), slice(j, min(j + p, H))) for i in range(0, N, n) for j in range(0, H, p)
    ]
    return in_parts(blocks, max(1, min(parts, len(blocks))))


def _patches(x: np.ndarray, R: int, S: int, blocks: list[Block]) -> Iterator[tuple[slice, slice, np.ndarray]]:
    """For each block its images, its rows, and its patches (pixels, R*S*C), which hold until the next are asked for."""
    _, H, W, C = x.shape
    above, left = R // 2, S // 2
    for images, rows in blocks:
        count, height = images.stop - images.start, rows.stop - rows.start
        padded = np.zeros((count, height + R - 1, W + S - 1, C), x.dtype)
        top, bottom = max(rows.start - above, 0), min(rows.stop + R - 1 - above, H)  # rows that there are
        first = top - (rows.start - above)
        padded[:, first : first + bottom - top, left : left + W] = x[images, top:bottom]
        # A row of a patch, S pixels of C channels, is S*C numbers side by side in memory; the next patch starts C on.
        step = padded.strides
        windows = np.lib.stride_tricks.as_strided(
            padded, (count, height, W, R, S * C), (step[0], step[1], step[2], step[1], step[3]), writeable=False
        )
        yield images, rows, windows.reshape(count * height * W, R * S * C)  # here they are copied
