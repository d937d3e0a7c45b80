"""The fully connected layer: every output is a weighted sum of all inputs.

    y[n,k]  = b[k] + sum over c of  x[n,c] * w[c,k]
    dx[n,c] = sum over k of  dy[n,k] * w[c,k]
    dw[c,k] = sum over n of  x[n,c] * dy[n,k]
    db[k]   = sum over n of  dy[n,k]

    x (N, C)    w (C, K)    b (K,)    y (N, K)
"""

from typing import Any

import numpy as np

from minicam import cuda
from minicam.backend import blas_on_one_thread, by_array, empty
from minicam.ops._product import sum_rows, tiles


def forward_naive(x: np.ndarray, w: np.ndarray, b: np.ndarray) -> np.ndarray:
    """The formula as loops: the specification."""
    (N, C), K = x.shape, w.shape[1]
    y = np.empty((N, K), x.dtype)
    for n, k in np.ndindex(N, K):
        y[n, k] = b[k] + sum(x[n, c] * w[c, k] for c in range(C))
    return y


def forward_numpy(x: np.ndarray, w: np.ndarray, b: np.ndarray) -> np.ndarray:
    """y (N, K)."""
    cuda.sizes(x=(x, "NC"), w=(w, "CK"), b=(b, "K"))
    with blas_on_one_thread():
        return x @ w + b  # (N, C) (C, K) -> (N, K)


def backward_numpy(dy: np.ndarray, x: np.ndarray, w: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """dx (N, C), dw (C, K), db (K,)."""
    cuda.sizes(dy=(dy, "NK"), x=(x, "NC"), w=(w, "CK"))
    with blas_on_one_thread():
        return dy @ w.T, x.T @ dy, dy.sum(0)


def forward_cuda(x: Any, w: Any, b: Any) -> Any:
    """y (N, K)."""
    N, C, K = cuda.sizes(x=(x, "NC"), w=(w, "CK"), b=(b, "K"))
    y = empty((N, K), x.dtype, like=x)
    cuda.launch("linear.cu", "linear_forward", (x, w, b, y, N, C, K), **tiles("linear.cu", N, K))
    return y


def backward_cuda(dy: Any, x: Any, w: Any) -> tuple[Any, Any, Any]:
    """dx (N, C), dw (C, K), db (K,)."""
    N, K, C = cuda.sizes(dy=(dy, "NK"), x=(x, "NC"), w=(w, "CK"))
    dx, dw = empty(x.shape, x.dtype, like=x), empty(w.shape, w.dtype, like=w)
    cuda.launch("linear.cu", "linear_backward_data", (dy, w, dx, N, C, K), **tiles("linear.cu", N, C))
    cuda.launch("linear.cu", "linear_backward_weights", (dy, x, dw, N, C, K), **tiles("linear.cu", C, K))
    return dx, dw, sum_rows(dy)


forward = by_array(forward_numpy, forward_cuda)
backward = by_array(backward_numpy, backward_cuda)
