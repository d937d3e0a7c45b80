"""Lesson 2, convolution by hand: one way to solve each exercise."""

import numpy as np


def output_size(W, S, stride, padding):
    # The kernel's left end may stand at 0, stride, 2 * stride, ... up to W + 2 * padding - S.
    return (W + 2 * padding - S) // stride + 1


def shift_kernel(down, right):
    # The output at p looks at p + r - 1. To show what stood at p - down, r must be 1 - down.
    w = np.zeros((3, 3))
    w[1 - down, 1 - right] = 1
    return w


def multiplications(N, H, W, C, K, R, S):
    return N * H * W * K * R * S * C


def patches_of(x, R, S):
    padded = np.pad(x, ((0, 0), (R // 2, R // 2), (S // 2, S // 2), (0, 0)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (R, S), axis=(1, 2))  # (N, H, W, C, R, S)
    windows = np.moveaxis(windows, 3, -1)  # (N, H, W, R, S, C)
    return windows.reshape(-1, R * S * x.shape[3])


def receptive_field(layers):
    field, step = 1, 1
    for size, stride in layers:
        field += (size - 1) * step
        step *= stride
    return field
