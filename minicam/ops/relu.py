"""ReLU: negative values become 0. The network uses the form that is fused into `conv`; this one is for teaching it.

    y  = max(x, 0)
    dx = dy where x > 0, else 0                                  the gradient at x = 0 is 0, by choice

    x, y of any shape
"""

import numpy as np

from minicam.backend import by_array


def forward_naive(x: np.ndarray) -> np.ndarray:
    """The formula as a loop: the specification."""
    return np.array([max(value, 0) for value in x.ravel()], x.dtype).reshape(x.shape)


def forward_numpy(x: np.ndarray) -> np.ndarray:
    """y, of the shape and dtype of x."""
    return np.maximum(x, 0)


def backward_numpy(dy: np.ndarray, y: np.ndarray) -> np.ndarray:
    """dx. The output y says where x was positive, so that x need not be remembered."""
    return dy * (y > 0)


forward = by_array(forward_numpy)
backward = by_array(backward_numpy)
