"""Convolution, stride 1, zero padding that keeps the size: every output pixel is a weighted sum of its neighbourhood.

Like every deep-learning library, this is a cross-correlation: the kernel is not flipped. ReLU can be fused into it.

    y[n,p,q,k]  = b[k] + sum over r,s,c of  x[n, p+r-R//2, q+s-S//2, c] * w[r,s,c,k]       x is 0 outside the image
    dx          = convolution of dy with the kernel turned by 180 degrees, its C and K swapped
    dw[r,s,c,k] = sum over n,p,q of  x[n, p+r-R//2, q+s-S//2, c] * dy[n,p,q,k]
    db[k]       = sum over n,p,q of  dy[n,p,q,k]

    x (N, H, W, C)    w (R, S, C, K), R and S odd    b (K,)    y (N, P, Q, K) with P = H, Q = W

NumPy turns it into matrix products: a row of the matrix of patches ("im2col") holds the R*S*C inputs of one output
pixel, so that `patches @ w` is the convolution. All patches of one VGG16 layer would take 116 MB an image; they are
made in blocks of about a megabyte, which also stay in the cache between being written and being multiplied.
"""

from collections.abc import Iterator

import numpy as np

from minicam.backend import by_array

BLOCK_BYTES = 1 << 20  # patches made at a time: about the size of a core's L2 cache


def forward_naive(x: np.ndarray, w: np.ndarray, b: np.ndarray, relu: bool = False) -> np.ndarray:
    """The formula as loops: the specification."""
    (N, H, W, C), (R, S, _, K) = x.shape, w.shape
    y = np.empty((N, H, W, K), x.dtype)
    for n in range(N):
        for p in range(H):
            for q in range(W):
                for k in range(K):
                    total = b[k]
                    for r in range(R):
                        for s in range(S):
                            i, j = p + r - R // 2, q + s - S // 2
                            if 0 <= i < H and 0 <= j < W:
                                for c in range(C):
                                    total += x[n, i, j, c] * w[r, s, c, k]
                    y[n, p, q, k] = max(total, 0) if relu else total
    return y


def forward_numpy(x: np.ndarray, w: np.ndarray, b: np.ndarray, relu: bool = False) -> np.ndarray:
    """y (N, P, Q, K), with negative values set to 0 where `relu`."""
    (N, H, W, _), (R, S, _, K) = x.shape, w.shape
    y = np.empty((N, H, W, K), x.dtype)
    w = w.reshape(-1, K)  # (R*S*C, K)
    for images, rows, patches in _blocks_of_patches(x, R, S):
        block = patches @ w  # (pixels, R*S*C) (R*S*C, K) -> (pixels, K)
        block += b
        if relu:
            np.maximum(block, 0, out=block)
        y[images, rows] = block.reshape(y[images, rows].shape)
    return y


def backward_numpy(
    dy: np.ndarray, x: np.ndarray, w: np.ndarray, y: np.ndarray | None = None, need_dx: bool = True
) -> tuple[np.ndarray | None, np.ndarray, np.ndarray]:
    """dx (N, H, W, C), dw (R, S, C, K), db (K,).

    y        the output of `forward(relu=True)`: dy then counts only where y > 0. None: there was no ReLU.
    need_dx  False leaves out dx, half the work, and returns None in its place: for the lowest layer that learns
    """
    R, S, _, K = w.shape
    if y is not None:
        dy = dy * (y > 0)
    dw = np.zeros((w.size // K, K), w.dtype)  # (R*S*C, K)
    for images, rows, patches in _blocks_of_patches(x, R, S):
        dw += patches.T @ dy[images, rows].reshape(-1, K)  # (R*S*C, pixels) (pixels, K) -> (R*S*C, K)
    dx = None
    if need_dx:
        turned = np.ascontiguousarray(w[::-1, ::-1].swapaxes(2, 3))  # (R, S, K, C)
        dx = forward_numpy(dy, turned, np.zeros(x.shape[3], x.dtype))
    return dx, dw.reshape(w.shape), dy.sum((0, 1, 2))


def _blocks_of_patches(x: np.ndarray, R: int, S: int) -> Iterator[tuple[slice, slice, np.ndarray]]:
    """Go over x in blocks: some rows of one image, or some whole images where these are small.

    Yields the slice of the images, the slice of the rows, and their patches (pixels, R*S*C). The array of patches is
    reused: it holds until the next one is asked for.
    """
    N, H, W, C = x.shape
    row_bytes = W * R * S * C * x.itemsize
    rows_at_once = min(H, max(1, BLOCK_BYTES // row_bytes))
    images_at_once = min(N, max(1, BLOCK_BYTES // (row_bytes * H)))
    buffer = np.empty((images_at_once * rows_at_once * W, R * S * C), x.dtype)
    padded = np.zeros((images_at_once, H + R - 1, W + S - 1, C), x.dtype)
    for n in range(0, N, images_at_once):
        images = slice(n, min(n + images_at_once, N))
        count = images.stop - n
        padded[:count, R // 2 : R // 2 + H, S // 2 : S // 2 + W] = x[images]
        # A row of a patch, S pixels of C channels, is S*C numbers side by side in memory; the next patch starts C on.
        step = padded.strides
        windows = np.lib.stride_tricks.as_strided(
            padded, (count, H, W, R, S * C), (step[0], step[1], step[2], step[1], step[3]), writeable=False
        )
        for p in range(0, H, rows_at_once):
            rows = slice(p, min(p + rows_at_once, H))
            pixels = count * (rows.stop - p) * W
            patches = buffer[:pixels]
            patches.reshape(count, -1, W, R, S * C)[...] = windows[:, rows]
            yield images, rows, patches


forward = by_array(forward_numpy)
backward = by_array(backward_numpy)
