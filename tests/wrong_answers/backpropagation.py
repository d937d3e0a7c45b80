"""Lesson 3: plausible, and wrong."""

import numpy as np

from minicam.ops import conv


def input_gradient__negative_index(dy, w):
    dx = np.zeros(len(dy) + len(w) - 1)
    for i in range(len(dx)):
        for s in range(len(w)):
            if i - s < len(dy):
                dx[i] += dy[i - s] * w[s]
    return dx


def input_gradient__kernel_not_turned(dy, w):
    return np.correlate(dy, w, "full")


def input_gradient__same_size(dy, w):
    return np.convolve(dy, w, "same")


def weight_gradient__dy_turned(dy, x):
    return np.convolve(x, dy, "valid"), dy.sum()


def weight_gradient__mean(dy, x):
    return np.correlate(x, dy, "valid"), dy.mean()


def backward_products__kernel_not_turned(dy, patches, w):
    dx = conv.forward(dy, w.swapaxes(2, 3), np.zeros(w.shape[2]))
    return dx, (patches.T @ dy.reshape(-1, w.shape[3])).reshape(w.shape), dy.sum(axis=(0, 1, 2))


def backward_products__reshaped_not_swapped(dy, patches, w):
    R, S, C, K = w.shape
    dx = conv.forward(dy, w[::-1, ::-1].reshape(R, S, K, C), np.zeros(C))
    return dx, (patches.T @ dy.reshape(-1, K)).reshape(w.shape), dy.sum(axis=(0, 1, 2))


def backward_products__dw_transposed(dy, patches, w):
    turned = w[::-1, ::-1].swapaxes(2, 3)
    dx = conv.forward(dy, turned, np.zeros(w.shape[2]))
    return dx, (dy.reshape(-1, w.shape[3]).T @ patches).reshape(w.shape), dy.sum(axis=(0, 1, 2))


def gradient_is_right__dy_of_ones(forward, backward, x, seed):
    v = np.random.default_rng(seed).standard_normal(x.shape)
    dx = backward(np.ones_like(forward(x)), x)
    slope = np.sum(forward(x + 1e-6 * v) - forward(x - 1e-6 * v)) / 2e-6
    return abs(np.sum(dx * v) - slope) <= 1e-6 * np.linalg.norm(dx)


def gradient_is_right__v_of_ones(forward, backward, x, seed):
    dy = np.random.default_rng(seed).standard_normal(forward(x).shape)
    dx = backward(dy, x)
    slope = np.sum((forward(x + 1e-6) - forward(x - 1e-6)) * dy) / 2e-6
    return abs(np.sum(dx) - slope) <= 1e-6 * np.linalg.norm(dx)


def gradient_is_right__absolute(forward, backward, x, seed):
    rng = np.random.default_rng(seed)
    dy, v = rng.standard_normal(forward(x).shape), rng.standard_normal(x.shape)
    slope = np.sum((forward(x + 1e-6 * v) - forward(x - 1e-6 * v)) * dy) / 2e-6
    return abs(np.sum(backward(dy, x) * v) - slope) <= 1e-6


def gradient_is_right__relative_to_the_slope(forward, backward, x, seed):
    rng = np.random.default_rng(seed)
    dy, v = rng.standard_normal(forward(x).shape), rng.standard_normal(x.shape)
    slope = np.sum((forward(x + 1e-6 * v) - forward(x - 1e-6 * v)) * dy) / 2e-6
    return abs(np.sum(backward(dy, x) * v) - slope) <= 1e-6 * abs(slope)


def gradient_is_right__one_sided(forward, backward, x, seed):
    rng = np.random.default_rng(seed)
    dy, v = rng.standard_normal(forward(x).shape), rng.standard_normal(x.shape)
    dx = backward(dy, x)
    slope = np.sum((forward(x + 1e-6 * v) - forward(x)) * dy) / 1e-6
    return abs(np.sum(dx * v) - slope) <= 1e-6 * np.linalg.norm(dx)


def gradient_is_right__a_per_cent_will_do(forward, backward, x, seed):
    rng = np.random.default_rng(seed)
    dy, v = rng.standard_normal(forward(x).shape), rng.standard_normal(x.shape)
    dx = backward(dy, x)
    slope = np.sum((forward(x + 1e-6 * v) - forward(x - 1e-6 * v)) * dy) / 2e-6
    return abs(np.sum(dx * v) - slope) <= 1e-2 * np.linalg.norm(dx)


def gradient_is_right__ten_millionths_will_do(forward, backward, x, seed):
    rng = np.random.default_rng(seed)
    dy, v = rng.standard_normal(forward(x).shape), rng.standard_normal(x.shape)
    dx = backward(dy, x)
    slope = np.sum((forward(x + 1e-6 * v) - forward(x - 1e-6 * v)) * dy) / 2e-6
    return abs(np.sum(dx * v) - slope) <= 1e-5 * np.linalg.norm(dx)


def gradient_is_right__steps_too_large(forward, backward, x, seed):
    rng = np.random.default_rng(seed)
    dy, v = rng.standard_normal(forward(x).shape), rng.standard_normal(x.shape)
    dx = backward(dy, x)
    slope = np.sum((forward(x + 1e-5 * v) - forward(x - 1e-5 * v)) * dy) / 2e-5
    return abs(np.sum(dx * v) - slope) <= 1e-6 * np.linalg.norm(dx)


def gradient_of_chain__remembers_outputs(layers, x, dy):
    outputs = []
    for layer in layers:
        x = layer.forward(x)
        outputs.append(x)
    for layer, y in zip(reversed(layers), reversed(outputs), strict=True):
        dy = layer.backward(dy, y)
    return dy


def gradient_of_chain__not_reversed(layers, x, dy):
    for layer in layers:
        dy, x = layer.backward(dy, x), layer.forward(x)
    return dy


def gradient_of_chain__first_input_for_all(layers, x, dy):
    for layer in reversed(layers):
        dy = layer.backward(dy, x)
    return dy
