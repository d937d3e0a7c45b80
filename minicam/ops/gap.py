"""Global average pooling (GAP): each feature map becomes one number, its mean. This is what makes a CAM possible.

    y[n,c]      = 1/(HW) * sum over i,j of  x[n,i,j,c]
    dx[n,i,j,c] = dy[n,c] / (HW)                                 every pixel gets an equal share

    x (N, H, W, C)    y (N, C)

Source: Lin, Chen and Yan, "Network in Network" (2014), section 3.2.
"""

from typing import Any

import numpy as np

from minicam import cuda
from minicam.backend import by_array, empty


def forward_naive(x: np.ndarray) -> np.ndarray:
    """The formula as loops: the specification."""
    N, H, W, C = x.shape
    y = np.zeros((N, C), x.dtype)
    for n, i, j, c in np.ndindex(*x.shape):
        y[n, c] += x[n, i, j, c]
    return y / np.asarray(H * W, x.dtype)


def forward_numpy(x: np.ndarray) -> np.ndarray:
    """y (N, C)."""
    cuda.sizes(x=(x, "NHWC"))
    return x.mean((1, 2))


def backward_numpy(dy: np.ndarray, x_shape: tuple[int, int, int, int]) -> np.ndarray:
    """dx (N, H, W, C)."""
    _, H, W, _ = cuda.sizes(x=(x_shape, "NHWC"), dy=(dy, "NC"))
    share = dy / np.asarray(H * W, dy.dtype)
    return np.broadcast_to(share[:, None, None, :], x_shape).copy()


def forward_cuda(x: Any) -> Any:
    """y (N, C)."""
    N, H, W, C = cuda.sizes(x=(x, "NHWC"))
    y = empty((N, C), x.dtype, like=x)
    cuda.launch("gap.cu", "gap_forward", (x, y, N, H * W, C), threads=y.size)
    return y


def backward_cuda(dy: Any, x_shape: tuple[int, int, int, int]) -> Any:
    """dx (N, H, W, C)."""
    N, H, W, C = cuda.sizes(x=(x_shape, "NHWC"), dy=(dy, "NC"))
    dx = empty(x_shape, dy.dtype, like=dy)
    cuda.launch("gap.cu", "gap_backward", (dy, dx, N, H * W, C), threads=dx.size)
    return dx


forward = by_array(forward_numpy, forward_cuda)
backward = by_array(backward_numpy, backward_cuda)
