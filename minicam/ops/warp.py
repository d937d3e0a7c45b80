"""Warp: sample an image bilinearly through an affine map. Resizing, cropping, flipping, rotating and changing colours
are all cases of it, so that any chain of them touches the pixels once. Nothing is learned through it: no backward.

    (u, v, 1)   the centre of output pixel (p, q): u = q + 1/2, v = p + 1/2
    (i, j)      = affine[n] @ (u, v, 1): where that is in the input; pixel centres are at halves there, too
    y[n,p,q]    = colour[n] @ (s, 1),  s = the bilinear mean of the four input pixels around (i, j)

    x (N, H, W, C)    affine (N, 2, 3), rows x and y    colour (N, K, C+1) or None: y is s itself
    size (P, Q)    y (N, P, Q, K)

Outside the input its edge pixels repeat. Coordinates are computed in float64: in float32 a map of 6000 pixels would
be off by thousandths of a pixel.
"""

import math
from typing import Any

import numpy as np

from minicam import cuda
from minicam.backend import by_array, device_of, empty, to_device


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
    (N, H, W, C), (P, Q) = x.shape, size
    across, down = np.arange(Q) + 0.5, (np.arange(P) + 0.5)[:, None]
    y = np.empty((N, P, Q, C), dtype)
    for image, a, sampled in zip(x, np.asarray(affine, np.float64), y, strict=True):
        i0, i1, i = _neighbours(a[1, 0] * across + a[1, 1] * down + a[1, 2], H, dtype)  # each (P, Q)
        j0, j1, j = _neighbours(a[0, 0] * across + a[0, 1] * down + a[0, 2], W, dtype)
        pixels = image.reshape(H * W, C)
        sampled[...] = (1 - i) * ((1 - j) * pixels[i0 * W + j0] + j * pixels[i0 * W + j1])  # (P, Q, C)
        sampled += i * ((1 - j) * pixels[i1 * W + j0] + j * pixels[i1 * W + j1])
    if colour is None:
        return y
    colour = np.asarray(colour, dtype)
    return y @ colour[:, None, :, :-1].swapaxes(2, 3) + colour[:, None, None, :, -1]  # (N,P,Q,C) (N,1,C,K)


def _neighbours(position: np.ndarray, length: int, dtype: type) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Along one axis: the pixels before and after each position, and how far (P, Q, 1) it is from one to the other."""
    position = np.clip(position - 0.5, 0, length - 1)
    before = position.astype(np.intp)  # positions are not negative here: truncation is floor
    return before, np.minimum(before + 1, length - 1), (position - before).astype(dtype)[..., None]


def forward_cuda(
    x: Any,
    affine: Any,
    size: tuple[int, int],
    colour: Any = None,
    dtype: type = np.float32,
) -> Any:
    """y (N, P, Q, K) of `dtype`, from x of any dtype in `minicam.source.C_TYPES`; affine and colour are float64."""
    (P, Q), shapes = size, {"x": (x, "NHWC"), "affine": (affine, "N23")}
    if colour is None:
        N, H, W, C = cuda.sizes(**shapes)
        y = empty((N, P, Q, C), dtype, like=x)
        cuda.launch("warp.cu", "warp_forward", (x, affine, y, N, H, W, C, P, Q), threads=y.size)
        return y
    N, H, W, C, K, _ = cuda.sizes(**shapes, colour=(colour, "NKD"))
    cuda.same_shape(expected=(N, K, C + 1), colour=colour)
    y = empty((N, P, Q, K), dtype, like=x)
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
