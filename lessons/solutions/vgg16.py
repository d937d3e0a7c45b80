"""Lesson 6, VGG16-GAP and its weights: one way to solve each exercise."""

import numpy as np


def bill(layers, side):
    C, parameters, adds = 3, 0, 0
    for K in layers:
        if K == "pool":
            side //= 2
        else:
            parameters += 9 * C * K + K
            adds += side * side * 9 * C * K
            C = K
    return (side, side, C), parameters, adds


def step_cost(costs, first):
    # Forward through all; dw of all that learn; dx of those, but not of the lowest.
    return sum(costs) + sum(costs[first:]) + sum(costs[first + 1 :])


def first_kernel(R, S, C, K, seed):
    # n * deviation**2 / 2 must be 1.
    deviation = np.sqrt(2 / (R * S * C))
    return np.random.default_rng(seed).normal(0, deviation, (R, S, C, K))


def tensors_of(file):
    tensors = {}
    for layer in file.attrs["layer_names"]:
        group = file[layer]
        # A layer without weights has an empty list of names: zip then stops at once.
        for part, name in zip(("kernel", "bias"), group.attrs["weight_names"], strict=False):
            tensors[f"{layer.decode()}/{part}"] = group[name][()]
    return tensors


def by_number(keys):
    def place(key):
        name, _, number = key.rpartition("_")
        # Without a number it is the first of its class. (max_pooling2d has an underscore of its own.)
        return (name, int(number)) if number.isdigit() else (key, 0)

    return sorted(keys, key=place)


def to_network(pixels, mean):
    # NumPy makes floats of bytes minus floats by itself. Bytes minus bytes would stay bytes, and 3 - 5 be 254.
    return pixels[..., ::-1].astype(np.float32) - mean
