"""ReLU: negative values become 0. The network uses the form that is fused into `conv`; this one is for teaching it.

    y  = max(x, 0)
    dx = dy where x > 0, else 0                                  the gradient at x = 0 is 0, by choice

    x, y of any shape
"""

from typing import Any

import numpy as np

from minicam import cuda
from minicam.backend import by_array, empty


def forward_naive(x: np.ndarray) -> np.ndarray:
    """The formula as a loop: the specification."""
    return np.array([max(value, 0) for value in x.ravel()], x.dtype).reshape(x.shape)


def forward_numpy(x: np.ndarray) -> np.ndarray:
    """y, of the shape and dtype of x."""
    return np.maximum(x, 0)


def backward_numpy(dy: np.ndarray, y: np.ndarray) -> np.ndarray:
    """dx. The output y says where x was positive, so that x need not be remembered.

    dy must be finite: an infinite one times 0 is NaN, where the kernel has 0. Selecting would take three times as long.
    """
    cuda.same_shape(dy=dy, y=y)
    return dy * (y > 0)


def forward_cuda(x: Any) -> Any:
    """y, of the shape and dtype of x."""
    y = empty(x.shape, x.dtype, like=x)
    cuda.launch("relu.cu", "relu_forward", (x, y, x.size), threads=x.size)
    return y


def backward_cuda(dy: Any, y: Any) -> Any:
    """dx."""
    size = cuda.same_shape(dy=dy, y=y)
    dx = empty(dy.shape, dy.dtype, like=dy)
    cuda.launch("relu.cu", "relu_backward", (dy, y, dx, size), threads=size)
    return dx


forward = by_array(forward_numpy, forward_cuda)
backward = by_array(backward_numpy, backward_cuda)
