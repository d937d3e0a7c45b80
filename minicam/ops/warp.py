"""Warp: sample an image bilinearly through an affine map. Resizing, cropping, flipping, rotating and changing colours
are all cases of it, so that any chain of them touches the pixels once. Nothing is learned through it: no backward.

    (u, v, 1)   the centre of output pixel (p, q): u = q + 1/2 across, v = p + 1/2 down
    (j, i)      = affine[n] @ (u, v, 1): where that is in the input, across and down; centres are at halves there, too
    y[n,p,q]    = colour[n] @ (s, 1),  s = the bilinear mean of the four input pixels around (i, j)

    x (N, H, W, C)    affine (N, 2, 3), whose first row gives j    colour (N, K, C+1) or None: y is s itself
    size (P, Q)    y (N, P, Q, K)

Outside the input its edge pixels repeat. Coordinates are computed in float64: in float32 a map of 6000 pixels would
be off by thousandths of a pixel.

Most maps keep to the axes: resizing, crops, flips, quarter turns. There the mean of four is a mean of two along the
rows, and then one down the columns. Which pixels it takes, and how much of each, follows from P + Q positions instead
of P * Q pairs of them, and a row is read as a whole. Other maps take twice as long: each sample has four pixels of its
own, which are read one by one.
"""

import math
from typing import Any

import numpy as np

from minicam import cuda
from minicam.backend import by_array, device_of, empty, to_device

BLOCK_PIXELS = 1 << 13


def forward_naive(
    x: np.ndarray,
    affine: np.ndarray,
    size: tuple[int, int],
    colour: np.ndarray | None = None,
    dtype: type = np.float32,
) -> np.ndarray:
    """The formula as loops: the specification."""
    (N, H, W, C), (P, Q) = x.shape, size
    K = C if colour is None else colour.shape[1]
    y = np.empty((N, P, Q, K), dtype)
    for n, p, q in np.ndindex(N, P, Q):
        j, i = affine[n] @ (q + 0.5, p + 0.5, 1)  # across, down
        i, j = min(max(i - 0.5, 0), H - 1), min(max(j - 0.5, 0), W - 1)
        i0, j0 = math.floor(i), math.floor(j)
        i1, j1 = min(i0 + 1, H - 1), min(j0 + 1, W - 1)
        top = (1 - (j - j0)) * x[n, i0, j0] + (j - j0) * x[n, i0, j1]
        bottom = (1 - (j - j0)) * x[n, i1, j0] + (j - j0) * x[n, i1, j1]
        sample = (1 - (i - i0)) * top + (i - i0) * bottom
        y[n, p, q] = sample if colour is None else colour[n] @ (*sample, 1)
    return y


def forward_numpy(
    x: np.ndarray,
    affine: np.ndarray,
    size: tuple[int, int],
    colour: np.ndarray | None = None,
    dtype: type = np.float32,
) -> np.ndarray:
    """y (N, P, Q, K) of `dtype`, float32 or float64, from x of any real dtype, uint8 among them."""
    N, *_, K = _sizes(x, affine, colour)
    colours = [None] * N if colour is None else np.asarray(colour, dtype)  # (N, K, C+1)
    y = np.empty((N, *size, K), dtype)
    for image, a, matrix, out in zip(x, np.asarray(affine, np.float64), colours, y, strict=True):
        sampled = _sampled(image, a, size, dtype)
        if matrix is None:
            out[...] = sampled
        else:
            np.matmul(sampled, matrix[:, :-1].T, out=out)  # (P, Q, C) (C, K) -> (P, Q, K)
            out.reshape(len(out), -1)[...] += np.tile(matrix[:, -1], size[1])  # long rows: K numbers at a time are slow
    return y


def _sizes(x: Any, affine: Any, colour: Any) -> list[int]:
    """N, H, W, C and K. MinicamError where the shapes do not fit."""
    shapes = {"x": (x, "NHWC"), "affine": (affine, "N23")}
    if colour is None:
        N, H, W, C = cuda.sizes(**shapes)
        return [N, H, W, C, C]
    N, H, W, C, K, _ = cuda.sizes(**shapes, colour=(colour, "NKD"))
    cuda.same_shape(expected=(N, K, C + 1), colour=colour)
    return [N, H, W, C, K]


def _sampled(image: np.ndarray, a: np.ndarray, size: tuple[int, int], dtype: type) -> np.ndarray:
    """The samples (P, Q, C) of one image (H, W, C) through one map (2, 3)."""
    if a[0, 1] == a[1, 0] == 0:
        return _along_axes(image, a, size, dtype)
    if a[0, 0] == a[1, 1] == 0:  # a quarter turn: the transpose of a map that keeps to the axes
        return _along_axes(image, a[:, [1, 0, 2]], size[::-1], dtype).swapaxes(0, 1)
    return _anyhow(image, a, size, dtype)


def _along_axes(image: np.ndarray, a: np.ndarray, size: tuple[int, int], dtype: type) -> np.ndarray:
    """The same where rows stay rows and columns columns: i is one for each row, j for each column."""
    (H, W, C), (P, Q) = image.shape, size
    i0, i1, i = _neighbours(a[1, 1] * _centres(P) + a[1, 2], H, dtype)  # each (P,)
    j0, j1, j = _neighbours(a[0, 0] * _centres(Q) + a[0, 2], W, dtype)  # each (Q,)
    j0, j1 = ((C * column[:, None] + np.arange(C)).ravel() for column in (j0, j1))  # of numbers in a row, (Q*C,)
    i, j, image = i[:, None], np.repeat(j, C), image.reshape(H, W * C)

    def across(rows: np.ndarray) -> np.ndarray:
        rows = image.take(rows, 0)
        left, right = (rows.take(column, 1, mode="clip").astype(dtype, copy=False) for column in (j0, j1))
        return _mean(left, right, j)

    y = np.empty((P, Q * C), dtype)
    for rows in _blocks(size):
        y[rows] = _mean(across(i0[rows]), across(i1[rows]), i[rows])
    return y.reshape(P, Q, C)


def _anyhow(image: np.ndarray, a: np.ndarray, size: tuple[int, int], dtype: type) -> np.ndarray:
    """The same through any map: every sample has four pixels of its own."""
    (H, W, C), (P, Q) = image.shape, size
    pixels, u, v = image.reshape(H * W, C), _centres(Q), _centres(P)[:, None]
    y = np.empty((P, Q * C), dtype)
    for rows in _blocks(size):
        i0, i1, i = _neighbours(a[1, 0] * u + a[1, 1] * v[rows] + a[1, 2], H, dtype)  # each (rows, Q)
        j0, j1, j = _neighbours(a[0, 0] * u + a[0, 1] * v[rows] + a[0, 2], W, dtype)
        i, j = np.repeat(i, C, 1), np.repeat(j, C, 1)  # (rows, Q*C)
        corners = (pixels.take(row * W + column, 0, mode="clip") for row in (i0, i1) for column in (j0, j1))
        top_left, top_right, bottom_left, bottom_right = (c.reshape(i.shape).astype(dtype, copy=False) for c in corners)
        y[rows] = _mean(_mean(top_left, top_right, j), _mean(bottom_left, bottom_right, j), i)
    return y.reshape(P, Q, C)


def _blocks(size: tuple[int, int]) -> list[slice]:
    """The rows of the output in blocks, for what is made of them to stay in the cache between one step and the next."""
    rows = max(1, BLOCK_PIXELS // size[1])
    return [slice(p, p + rows) for p in range(0, size[0], rows)]


def _centres(count: int) -> np.ndarray:
    return np.arange(count) + 0.5


def _neighbours(position: np.ndarray, length: int, dtype: type) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Along one axis: the pixels before and after each position, and how far it is from one to the other."""
    position = np.clip(position - 0.5, 0, length - 1)
    before = position.astype(np.intp)  # positions are not negative here: truncation is floor
    return before, np.minimum(before + 1, length - 1), (position - before).astype(dtype)


def _mean(first: np.ndarray, second: np.ndarray, share: np.ndarray) -> np.ndarray:
    """(1 - share) * first + share * second, which are both overwritten."""
    first *= 1 - share
    second *= share
    first += second
    return first


def forward_cuda(
    x: Any,
    affine: Any,
    size: tuple[int, int],
    colour: Any = None,
    dtype: type = np.float32,
) -> Any:
    """y (N, P, Q, K) of `dtype`, from x of any dtype in `minicam.source.C_TYPES`; affine and colour are float64."""
    (N, H, W, C, K), (P, Q) = _sizes(x, affine, colour), size
    y = empty((N, P, Q, K), dtype, like=x)
    if colour is None:
        cuda.launch("warp.cu", "warp_forward", (x, affine, y, N, H, W, C, P, Q), threads=y.size)
        return y
    args = x, affine, colour, y, N, H, W, C, P, Q, K
    cuda.launch("warp.cu", "warp_forward_colour", args, threads=y.size)
    return y


forward = by_array(forward_numpy, forward_cuda)


def resize(x: np.ndarray, size: tuple[int, int], dtype: type = np.float32) -> np.ndarray:
    """x (N, H, W, C) resampled to (N, P, Q, C), bilinearly with half-pixel centres (it does not smooth first)."""
    (N, H, W, _), (P, Q) = x.shape, size
    scale = np.array([[W / Q, 0, 0], [0, H / P, 0]])
    affine = to_device(np.broadcast_to(scale, (N, 2, 3)), device_of(x))
    return forward(x, affine, size, dtype=dtype)
