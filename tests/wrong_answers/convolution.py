"""Lesson 2: plausible, and wrong."""

import numpy as np


def output_size__rounds_up(W, S, stride, padding):
    return -(-(W + 2 * padding - S) // stride) + 1


def output_size__pads_one_side(W, S, stride, padding):
    return (W + padding - S) // stride + 1


def shift_kernel__turned(down, right):
    w = np.zeros((3, 3))
    w[1 + down, 1 + right] = 1
    return w


def shift_kernel__axes_swapped(down, right):
    w = np.zeros((3, 3))
    w[1 - right, 1 - down] = 1
    return w


def multiplications__without_channels(N, H, W, C, K, R, S):
    return N * H * W * K * R * S


def patches_of__channels_first(x, R, S):
    padded = np.pad(x, ((0, 0), (R // 2, R // 2), (S // 2, S // 2), (0, 0)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (R, S), axis=(1, 2))
    return windows.reshape(-1, R * S * x.shape[3])


def patches_of__not_padded(x, R, S):
    windows = np.lib.stride_tricks.sliding_window_view(x, (R, S), axis=(1, 2))
    return np.moveaxis(windows, 3, -1).reshape(-1, R * S * x.shape[3])


def receptive_field__stride_counts_at_once(layers):
    field, step = 1, 1
    for size, stride in layers:
        step *= stride
        field += (size - 1) * step
    return field


def receptive_field__forgets_strides(layers):
    return 1 + sum(size - 1 for size, _ in layers)
