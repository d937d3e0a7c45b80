"""The update of plain SGD, with momentum and weight decay where asked for. Nothing is learned through it: no backward.

    g  = dw + weight_decay * w
    v' = momentum * v + g
    w' = w - lr * v'                                             momentum 0: w' = w - lr * g

    w, dw, v (velocity) of one shape

Source: Sutskever et al., "On the importance of initialization and momentum in deep learning" (2013), equation 1, with
the learning rate outside the velocity, so that a change of rate acts at once (the form of Caffe's successors).
"""

from typing import Any

import numpy as np

from minicam import cuda
from minicam.backend import by_array, empty


def forward_naive(
    w: np.ndarray, dw: np.ndarray, v: np.ndarray, lr: float, momentum: float = 0.0, weight_decay: float = 0.0
) -> tuple[np.ndarray, np.ndarray]:
    """The formula as a loop: the specification. Returns the new w and v."""
    w, v = w.copy(), v.copy()
    for i in np.ndindex(*w.shape):
        v[i] = momentum * v[i] + dw[i] + weight_decay * w[i]
        w[i] = w[i] - lr * v[i]
    return w, v


def forward_numpy(
    w: np.ndarray,
    dw: np.ndarray,
    v: np.ndarray,
    lr: float,
    momentum: float = 0.0,
    weight_decay: float = 0.0,
    out: tuple[np.ndarray, np.ndarray] | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """The new w and v; in new arrays, or in `out`, which may be (w, v) themselves."""
    new_w, new_v = out if out is not None else (np.empty_like(w), np.empty_like(v))
    cuda.same_shape(w=w, dw=dw, v=v, new_w=new_w, new_v=new_v)
    np.multiply(v, w.dtype.type(momentum), out=new_v)
    new_v += dw
    if weight_decay:
        new_v += w.dtype.type(weight_decay) * w
    np.subtract(w, w.dtype.type(lr) * new_v, out=new_w)
    return new_w, new_v


def forward_cuda(
    w: Any,
    dw: Any,
    v: Any,
    lr: float,
    momentum: float = 0.0,
    weight_decay: float = 0.0,
    out: tuple[Any, Any] | None = None,
) -> tuple[Any, Any]:
    """The new w and v; in new arrays, or in `out`, which may be (w, v) themselves."""
    new_w, new_v = out if out is not None else (empty(w.shape, w.dtype, like=w), empty(v.shape, v.dtype, like=v))
    size = cuda.same_shape(w=w, dw=dw, v=v, new_w=new_w, new_v=new_v)
    args = w, dw, v, new_w, new_v, lr, momentum, weight_decay
    if cuda.in_fours(*args[:5]):
        cuda.launch("sgd.cu", "sgd_forward4", (*args, size // 4), threads=size // 4)
    else:
        cuda.launch("sgd.cu", "sgd_forward", (*args, size), threads=size)
    return new_w, new_v


forward = by_array(forward_numpy, forward_cuda)
