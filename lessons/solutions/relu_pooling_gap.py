"""Lesson 4, ReLU, max-pooling, global average pooling: one way to solve each exercise."""

import numpy as np


def relu_backward(dy, y):
    # y > 0 exactly where x > 0; where x was 0 or less, y is 0.
    return dy * (y > 0)


def max_pool(x):
    y, argmax = (np.zeros((x.shape[0] // 2, x.shape[1] // 2), dtype) for dtype in (x.dtype, int))
    for p, q in np.ndindex(y.shape):  # an odd last row or column is never reached
        window = x[2 * p : 2 * p + 2, 2 * q : 2 * q + 2].ravel()  # row by row
        argmax[p, q] = np.argmax(window)  # the first of equal ones
        y[p, q] = window[argmax[p, q]]
    return y, argmax


def max_pool_backward(dy, argmax, shape):
    dx = np.zeros(shape)
    for p, q in np.ndindex(dy.shape):
        i, j = divmod(argmax[p, q], 2)
        dx[2 * p + i, 2 * q + j] = dy[p, q]
    return dx


def gap_backward(dy, shape):
    _, H, W, _ = shape
    return np.ones(shape) * dy[:, None, None, :] / (H * W)


def evidence_in_box(features, w, box):
    H, W, _ = features.shape
    x0, y0, x1, y1 = box
    M = features @ w  # (H, W, K)
    return M[y0:y1, x0:x1].sum(axis=(0, 1)) / (H * W)
