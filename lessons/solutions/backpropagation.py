"""Lesson 3, backpropagation through a convolution: one way to solve each exercise."""

import numpy as np

from minicam.ops import conv


def input_gradient(dy, w):
    dx = np.zeros(len(dy) + len(w) - 1)
    for i in range(len(dx)):
        for s in range(len(w)):
            if 0 <= i - s < len(dy):  # is there an output at p = i - s?
                dx[i] += dy[i - s] * w[s]
    return dx


def weight_gradient(dy, x):
    S = len(x) - len(dy) + 1
    dw = [np.sum(dy * x[s : s + len(dy)]) for s in range(S)]  # np.correlate(x, dy, "valid") is the same
    return np.array(dw), dy.sum()


def backward_products(dy, patches, w):
    turned = w[::-1, ::-1].swapaxes(2, 3)  # (R, S, K, C)
    dx = conv.forward(dy, turned, np.zeros(w.shape[2]))
    dw = (patches.T @ dy.reshape(-1, w.shape[3])).reshape(w.shape)  # (RSC, pixels) (pixels, K)
    return dx, dw, dy.sum(axis=(0, 1, 2))


def gradient_is_right(forward, backward, x, seed):
    rng = np.random.default_rng(seed)
    dy, v = rng.standard_normal(forward(x).shape), rng.standard_normal(x.shape)
    dx = backward(dy, x)
    slope = np.sum((forward(x + 1e-6 * v) - forward(x - 1e-6 * v)) * dy) / 2e-6
    return abs(np.sum(dx * v) - slope) <= 1e-6 * np.linalg.norm(dx)


def gradient_of_chain(layers, x, dy):
    inputs = []
    for layer in layers:
        inputs.append(x)
        x = layer.forward(x)
    for layer, x in zip(reversed(layers), reversed(inputs), strict=True):
        dy = layer.backward(dy, x)
    return dy
