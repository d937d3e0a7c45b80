"""Lesson 4: plausible, and wrong."""

import numpy as np


def relu_backward__cuts_off_dy(dy, y):
    return np.maximum(dy, 0) * (y > 0)


def relu_backward__slope_one_at_zero(dy, y):
    return dy * (y >= 0)


def max_pool__takes_the_last_of_equal_ones(x):
    y, argmax = (np.zeros((x.shape[0] // 2, x.shape[1] // 2)) for _ in range(2))
    for p, q in np.ndindex(y.shape):
        window = x[2 * p : 2 * p + 2, 2 * q : 2 * q + 2].ravel()
        argmax[p, q] = 3 - np.argmax(window[::-1])
        y[p, q] = window.max()
    return y, argmax


def max_pool__begins_with_zero(x):
    y, argmax = (np.zeros((x.shape[0] // 2, x.shape[1] // 2)) for _ in range(2))
    for p, q, i, j in np.ndindex(*y.shape, 2, 2):
        if x[2 * p + i, 2 * q + j] > y[p, q]:
            argmax[p, q], y[p, q] = 2 * i + j, x[2 * p + i, 2 * q + j]
    return y, argmax


def max_pool__windows_overlap(x):
    y, argmax = (np.zeros((x.shape[0] // 2, x.shape[1] // 2)) for _ in range(2))
    for p, q in np.ndindex(y.shape):
        window = x[p : p + 2, q : q + 2].ravel()
        argmax[p, q], y[p, q] = np.argmax(window), window.max()
    return y, argmax


def max_pool_backward__to_all_four(dy, argmax, shape):
    dx = np.zeros(shape)
    for p, q in np.ndindex(dy.shape):
        dx[2 * p : 2 * p + 2, 2 * q : 2 * q + 2] = dy[p, q]
    return dx


def max_pool_backward__column_first(dy, argmax, shape):
    dx = np.zeros(shape)
    for p, q in np.ndindex(dy.shape):
        j, i = divmod(argmax[p, q], 2)
        dx[2 * p + i, 2 * q + j] = dy[p, q]
    return dx


def gap_backward__not_divided(dy, shape):
    return np.ones(shape) * dy[:, None, None, :]


def gap_backward__divided_by_the_height(dy, shape):
    return np.ones(shape) * dy[:, None, None, :] / shape[1]


def evidence_in_box__mean_of_the_box(features, w, box):
    x0, y0, x1, y1 = box
    return (features @ w)[y0:y1, x0:x1].mean(axis=(0, 1))


def evidence_in_box__rows_and_columns_swapped(features, w, box):
    x0, y0, x1, y1 = box
    return (features @ w)[x0:x1, y0:y1].sum(axis=(0, 1)) / (features.shape[0] * features.shape[1])
