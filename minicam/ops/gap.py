"""Global average pooling (GAP): each feature map becomes one number, its mean. This is what makes a CAM possible.

    y[n,c]      = 1/(HW) * sum over i,j of  x[n,i,j,c]
    dx[n,i,j,c] = dy[n,c] / (HW)                                 every pixel gets an equal share

    x (N, H, W, C)    y (N, C)

Source: Lin, Chen and Yan, "Network in Network" (2014), section 3.2.
"""

import numpy as np

from minicam.backend import by_array


def forward_naive(x: np.ndarray) -> np.ndarray:
    """The formula as loops: the specification."""
    N, H, W, C = x.shape
    y = np.zeros((N, C), x.dtype)
    for n, i, j, c in np.ndindex(*x.shape):
        y[n, c] += x[n, i, j, c]
    return y / np.asarray(H * W, x.dtype)


def forward_numpy(x: np.ndarray) -> np.ndarray:
    """y (N, C)."""
    return x.mean((1, 2))


def backward_numpy(dy: np.ndarray, x_shape: tuple[int, int, int, int]) -> np.ndarray:
    """dx (N, H, W, C)."""
    _, H, W, _ = x_shape
    share = dy / np.asarray(H * W, dy.dtype)
    return np.broadcast_to(share[:, None, None, :], x_shape).copy()


forward = by_array(forward_numpy)
backward = by_array(backward_numpy)
