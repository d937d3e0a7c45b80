"""The fully connected layer: every output is a weighted sum of all inputs.

    y[n,k]  = b[k] + sum over c of  x[n,c] * w[c,k]
    dx[n,c] = sum over k of  dy[n,k] * w[c,k]
    dw[c,k] = sum over n of  x[n,c] * dy[n,k]
    db[k]   = sum over n of  dy[n,k]

    x (N, C)    w (C, K)    b (K,)    y (N, K)
"""

import numpy as np

from minicam.backend import by_array


def forward_naive(x: np.ndarray, w: np.ndarray, b: np.ndarray) -> np.ndarray:
    """The formula as loops: the specification."""
    (N, C), K = x.shape, w.shape[1]
    y = np.empty((N, K), x.dtype)
    for n, k in np.ndindex(N, K):
        y[n, k] = b[k] + sum(x[n, c] * w[c, k] for c in range(C))
    return y


def forward_numpy(x: np.ndarray, w: np.ndarray, b: np.ndarray) -> np.ndarray:
    """y (N, K)."""
    return x @ w + b  # (N, C) (C, K) -> (N, K)


def backward_numpy(dy: np.ndarray, x: np.ndarray, w: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """dx (N, C), dw (C, K), db (K,)."""
    return dy @ w.T, x.T @ dy, dy.sum(0)


forward = by_array(forward_numpy)
backward = by_array(backward_numpy)
