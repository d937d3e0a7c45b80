"""Convolution, stride 1, zero padding that keeps the size: every output pixel is a weighted sum of its neighbourhood.

Like every deep-learning library, this is a cross-correlation: the kernel is not flipped. ReLU can be fused into it.

    y[n,p,q,k]  = b[k] + sum over r,s,c of  x[n, p+r-R//2, q+s-S//2, c] * w[r,s,c,k]       x is 0 outside the image
    dx          = convolution of dy with the kernel turned by 180 degrees, its C and K swapped
    dw[r,s,c,k] = sum over n,p,q of  x[n, p+r-R//2, q+s-S//2, c] * dy[n,p,q,k]
    db[k]       = sum over n,p,q of  dy[n,p,q,k]

    x (N, H, W, C)    w (R, S, C, K), R and S odd    b (K,)    y (N, P, Q, K) with P = H, Q = W

NumPy turns it into matrix products. `im2col` makes each output pixel's neighbourhood a row of a matrix; `winograd`, for
3x3 kernels, needs a quarter of these multiplications, and is taken where it is the faster one of the two, unless
`backend.set_exact` forbids it. Both go through the image in pieces that stay in the cache; threads share these, each
with a BLAS of one thread. How the work is cut up depends on the shapes alone, not on the number of threads; so neither
does the order of any sum, nor any bit of the result. (The batch is a part of the shapes: an image alone may go through
the other of the two, and differ in its last digits.)

For the GPU there are three versions (KERNELS), from the loops to the matrix units; each file says what it does.
"""

from types import ModuleType
from typing import Any

import numpy as np

from minicam import MinicamError, cuda
from minicam.backend import by_array, empty, exact
from minicam.ops import im2col, relu, winograd
from minicam.ops._product import sum_rows, tiles

KERNELS = ("conv.cu", "conv_tiled.cu", "conv_mma.cu")  # from clear to fast
# On a GPU dw is summed in parts. How many depends on no GPU, for they are part of the result: they order the sum.
DW_PIXELS = 512  # of a part, at least
DW_BLOCKS = 512  # in flight: some for each multiprocessor of a large GPU
DW_BYTES = 64 << 20  # that the parts may take
DW_MOST_PIXELS = 8192  # of a part, if there is room: the matrix units cut off what others round, with each addition


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
    _sizes(x=(x, "NHWC"), w=(w, "RSCK"), b=(b, "K"))
    return _fastest(x, w, backward=False).forward(x, w, b, relu)


def backward_numpy(
    dy: np.ndarray, x: np.ndarray, w: np.ndarray, y: np.ndarray | None = None, need_dx: bool = True
) -> tuple[np.ndarray | None, np.ndarray, np.ndarray]:
    """dx (N, H, W, C), dw (R, S, C, K), db (K,).

    dy       is taken in the dtype of x, which is that of dx, too
    y        the output of `forward(relu=True)`: dy then counts only where y > 0. None: there was no ReLU.
    need_dx  False leaves out dx, half the work, and returns None in its place: for the lowest layer that learns
    """
    _sizes(dy=(dy, "NHWK"), x=(x, "NHWC"), w=(w, "RSCK"), **({} if y is None else {"y": (y, "NHWK")}))
    return _fastest(x, w, backward=True).backward(dy, x, w, y, need_dx)


def _sizes(**arrays: tuple[Any, str]) -> list[int]:
    """`cuda.sizes` of arrays with the kernel `w` among them. MinicamError, too, where it has no middle."""
    sizes = cuda.sizes(**arrays)
    R, S = cuda.shape_of("w", arrays["w"][0])[:2]
    if R % 2 == 0 or S % 2 == 0:
        raise MinicamError(f"conv: a kernel of {R} x {S} has no middle; both sides must be odd")
    return sizes


def _fastest(x: np.ndarray, w: np.ndarray, backward: bool) -> ModuleType:
    """The module that does it in the least time. In float16, Winograd's numbers would have too few digits."""
    fast = winograd.suits(x.shape, w.shape, backward) and x.dtype.itemsize >= 4
    return winograd if fast and not exact() else im2col


def forward_cuda(x: Any, w: Any, b: Any, relu: bool = False, kernels: str | None = None) -> Any:
    """y (N, P, Q, K), with negative values set to 0 where `relu`.

    kernels  one of KERNELS; None is conv_mma.cu for float32 at the precision tf32, else conv_tiled.cu
    """
    N, H, W, C, R, S, K = _sizes(x=(x, "NHWC"), w=(w, "RSCK"), b=(b, "K"))
    kernels = _kernels(kernels, x)
    y = empty((N, H, W, K), x.dtype, like=x)
    _launch(kernels, "conv_forward", (x, w, b, y, N, H, W, C, K, R, S, relu), N * H * W, K)
    return y


def backward_cuda(
    dy: Any, x: Any, w: Any, y: Any = None, need_dx: bool = True, kernels: str | None = None
) -> tuple[Any, Any, Any]:
    """dx (N, H, W, C) or None, dw (R, S, C, K), db (K,); `y` and `need_dx` as in backward_numpy, `kernels` as above."""
    N, H, W, K, C, R, S = _sizes(dy=(dy, "NHWK"), x=(x, "NHWC"), w=(w, "RSCK"))
    kernels = _kernels(kernels, x)
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


def _kernels(name: str | None, x: Any) -> str:
    """The file of the kernels to use."""
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
