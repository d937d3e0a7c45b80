"""Convolution, stride 1, zero padding that keeps the size: every output pixel is a weighted sum of its neighbourhood.

Like every deep-learning library, this is a cross-correlation: the kernel is not flipped. ReLU can be fused into it.

    y[n,p,q,k]  = b[k] + sum over r,s,c of  x[n, p+r-R//2, q+s-S//2, c] * w[r,s,c,k]       x is 0 outside the image
    dx          = convolution of dy with the kernel turned by 180 degrees, its C and K swapped
    dw[r,s,c,k] = sum over n,p,q of  x[n, p+r-R//2, q+s-S//2, c] * dy[n,p,q,k]
    db[k]       = sum over n,p,q of  dy[n,p,q,k]

    x (N, H, W, C)    w (R, S, C, K), R and S odd    b (K,)    y (N, P, Q, K) with P = H, Q = W

NumPy turns it into matrix products: a row of the matrix of patches ("im2col") holds the R*S*C inputs of one output
pixel, so that `patches @ w` is the convolution. All patches of one VGG16 layer would take 116 MB an image; they are
made in blocks of about a megabyte, which also stay in the cache between being written and being multiplied. Threads
share the blocks, each with a BLAS of one thread. For the GPU there are three versions (KERNELS), from the loops to the
matrix units; each file says what it does.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np

from minicam import MinicamError, cuda
from minicam.backend import by_array, each, empty
from minicam.ops import relu
from minicam.ops._product import sum_rows, tiles

BLOCK_BYTES = 1 << 20  # patches made at a time: about the size of a core's L2 cache
PARTS = 16  # of the work, for as many threads as there are: enough for these to end at about the same time
DW_PIXELS = 512  # a part of backward has at least: each makes a dw of its own, and these are then summed

KERNELS = ("conv.cu", "conv_tiled.cu", "conv_mma.cu")  # from clear to fast
# On a GPU, too, dw is summed in parts. How many depends on no GPU, for they are part of the result: they order the sum.
DW_BLOCKS = 512  # in flight: some for each multiprocessor of a large GPU
DW_BYTES = 64 << 20  # that the parts may take
DW_MOST_PIXELS = 8192  # of a part, if there is room: the matrix units cut off what others round, with each addition

Block = tuple[slice, slice]  # images, rows


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

    def part(blocks: list[Block]) -> None:
        for images, rows, patches in _patches(x, R, S, blocks):
            block = patches @ w  # (pixels, R*S*C) (R*S*C, K) -> (pixels, K)
            block += b
            if relu:
                np.maximum(block, 0, out=block)
            y[images, rows] = block.reshape(y[images, rows].shape)

    each(part, _parts(x, R, S, PARTS))
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

    def part(blocks: list[Block]) -> np.ndarray:
        dw = np.zeros((w.size // K, K), w.dtype)
        for images, rows, patches in _patches(x, R, S, blocks):
            dw += patches.T @ dy[images, rows].reshape(-1, K)  # (R*S*C, pixels) (pixels, K) -> (R*S*C, K)
        return dw

    parts = min(PARTS, max(1, dy.size // K // DW_PIXELS))
    dw = sum(each(part, _parts(x, R, S, parts)))
    dx = None
    if need_dx:
        turned = np.ascontiguousarray(w[::-1, ::-1].swapaxes(2, 3))  # (R, S, K, C)
        dx = forward_numpy(dy, turned, np.zeros(x.shape[3], x.dtype))
    return dx, dw.reshape(w.shape), dy.sum((0, 1, 2))


def _parts(x: np.ndarray, R: int, S: int, parts: int) -> list[list[Block]]:
    """Cut the work on x into blocks, and these into so many parts, to be done at the same time.

    A block is some rows of one image, or some whole images where these are small. The cut depends on the shapes
    alone, not on the number of threads; so neither does the order in which dw is summed, nor any bit of it.
    """
    N, H, W, C = x.shape
    row_bytes = W * R * S * C * x.itemsize
    n, p = max(1, BLOCK_BYTES // (row_bytes * H)), min(H, max(1, BLOCK_BYTES // row_bytes))
    blocks = [
        (slice(i, min(i + n, N)), slice(j, min(j + p, H))) for i in range(0, N, n) for j in range(0, H, p)
    ]
    return [blocks[i * len(blocks) // parts : (i + 1) * len(blocks) // parts] for i in range(parts)]


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


def forward_cuda(x: Any, w: Any, b: Any, relu: bool = False, kernels: str | None = None) -> Any:
    """y (N, P, Q, K), with negative values set to 0 where `relu`.

    kernels  one of KERNELS; None is conv_mma.cu for float32 at the precision tf32, else conv_tiled.cu
    """
    N, H, W, C, R, S, K = cuda.sizes(x=(x, "NHWC"), w=(w, "RSCK"), b=(b, "K"))
    kernels = _kernels(kernels, x, R, S)
    y = empty((N, H, W, K), x.dtype, like=x)
    _launch(kernels, "conv_forward", (x, w, b, y, N, H, W, C, K, R, S, relu), N * H * W, K)
    return y


def backward_cuda(
    dy: Any, x: Any, w: Any, y: Any = None, need_dx: bool = True, kernels: str | None = None
) -> tuple[Any, Any, Any]:
    """dx (N, H, W, C) or None, dw (R, S, C, K), db (K,); `y` and `need_dx` as in backward_numpy, `kernels` as above."""
    N, H, W, K, C, R, S = cuda.sizes(dy=(dy, "NHWK"), x=(x, "NHWC"), w=(w, "RSCK"))
    kernels = _kernels(kernels, x, R, S)
    if y is not None:
        dy = relu.backward_cuda(dy, y)  # once, for all three that need it
    sizes, taps, pixels = (N, H, W, C, K, R, S), R * S * C, N * H * W
    dx = None
    if need_dx:
        dx = empty(x.shape, x.dtype, like=x)
        _launch(kernels, "conv_backward_data", (dy, w, dx, *sizes), pixels, C)
    if kernels == "conv.cu":
        dw, db = empty(w.shape, w.dtype, like=w), empty((K,), dy.dtype, like=dy)
        _launch(kernels, "conv_backward_weights", (dy, x, dw, *sizes), taps, K)
        _launch(kernels, "conv_backward_bias", (dy, db, pixels, K), 1, K)
        return dx, dw, db
    parts = _parts_of_dw(kernels, pixels, w)
    sums = empty((parts, w.size), w.dtype, like=w)
    _launch(kernels, "conv_backward_weights", (dy, x, sums, *sizes, parts), taps, K, parts)
    return dx, sum_rows(sums).reshape(w.shape), sum_rows(dy)


def _kernels(name: str | None, x: Any, R: int, S: int) -> str:
    """The file of the kernels to use."""
    if R % 2 == 0 or S % 2 == 0:
        raise MinicamError(f"conv: a kernel of {R} x {S} has no middle; both sides must be odd")
    if name is None:
        return KERNELS[2] if cuda.precision() == "tf32" and x.dtype == np.float32 else KERNELS[1]
    if name not in KERNELS:
        raise MinicamError(f"conv: kernels {name!r} are not known; choose one of {', '.join(KERNELS)}")
    return name


def _launch(kernels: str, kernel: str, args: tuple, rows: int, columns: int, parts: int = 1) -> None:
    """Launch a kernel whose result is a matrix (rows, columns): a thread an element, or in tiles."""
    if kernels == "conv.cu":
        cuda.launch(kernels, kernel, args, threads=rows * columns)
    else:
        cuda.launch(kernels, kernel, args, **tiles(kernels, rows, columns, parts))


def _parts_of_dw(kernels: str, pixels: int, w: Any) -> int:
    """How many parts of the pixels are summed at the same time; none of them is empty."""
    K = w.shape[-1]
    across, down, _ = tiles(kernels, w.size // K, K)["blocks"]
    wanted = max(-(-DW_BLOCKS // (across * down)), -(-pixels // DW_MOST_PIXELS))
    parts = min(wanted, max(1, DW_BYTES // w.nbytes), -(-pixels // DW_PIXELS))
    return -(-pixels // -(-pixels // parts))


forward = by_array(forward_numpy, forward_cuda)
backward = by_array(backward_numpy, backward_cuda)
