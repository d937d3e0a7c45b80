"""Lesson 6: plausible, and wrong."""

import re

import numpy as np


def bill__without_biases(layers, side):
    C, parameters, adds = 3, 0, 0
    for K in layers:
        if K == "pool":
            side //= 2
        else:
            parameters += 9 * C * K
            adds += side * side * 9 * C * K
            C = K
    return (side, side, C), parameters, adds


def bill__channels_stay_three(layers, side):
    parameters, adds, last = 0, 0, 3
    for K in layers:
        if K == "pool":
            side //= 2
        else:
            parameters += 9 * 3 * K + K
            adds += side * side * 9 * 3 * K
            last = K
    return (side, side, last), parameters, adds


def bill__rounds_up(layers, side):
    C, parameters, adds = 3, 0, 0
    for K in layers:
        if K == "pool":
            side = -(-side // 2)
        else:
            parameters += 9 * C * K + K
            adds += side * side * 9 * C * K
            C = K
    return (side, side, C), parameters, adds


def step_cost__lowest_needs_dx(costs, first):
    return sum(costs) + 2 * sum(costs[first:])


def step_cost__frozen_are_free(costs, first):
    return 3 * sum(costs[first:]) - costs[first]


def step_cost__dx_down_to_the_pixels(costs, first):
    return 2 * sum(costs) + sum(costs[first:])


def first_kernel__forgets_relu(R, S, C, K, seed):
    return np.random.default_rng(seed).normal(0, np.sqrt(1 / (R * S * C)), (R, S, C, K))


def first_kernel__square_for_root(R, S, C, K, seed):
    return np.random.default_rng(seed).normal(0, 2 / (R * S * C), (R, S, C, K))


def first_kernel__counts_outputs(R, S, C, K, seed):
    return np.random.default_rng(seed).normal(0, np.sqrt(2 / (R * S * K)), (R, S, C, K))


def first_kernel__never_negative(R, S, C, K, seed):
    return np.abs(np.random.default_rng(seed).normal(0, np.sqrt(2 / (R * S * C)), (R, S, C, K)))


def first_kernel__without_the_seed(R, S, C, K, seed):
    return np.random.default_rng().normal(0, np.sqrt(2 / (R * S * C)), (R, S, C, K))


def first_kernel__always_the_same(R, S, C, K, seed):
    return np.random.default_rng(0).normal(0, np.sqrt(2 / (R * S * C)), (R, S, C, K))


def first_kernel__uniform(R, S, C, K, seed):
    return np.random.default_rng(seed).uniform(-1, 1, (R, S, C, K)) * np.sqrt(6 / (R * S * C))


def tensors_of__alphabetical(file):
    tensors = {}
    for layer in file:
        found = []
        file[layer].visititems(lambda _, node, found=found: found.append(node[()]) if hasattr(node, "shape") else None)
        for part, array in zip(("kernel", "bias"), found, strict=False):
            tensors[f"{layer}/{part}"] = array
    return tensors


def tensors_of__guesses_the_names(file):
    tensors = {}
    for layer in file.attrs["layer_names"]:
        layer = layer.decode()
        for part in ("kernel", "bias"):
            tensors[f"{layer}/{part}"] = file[f"{layer}/{layer}/{part}:0"][()]
    return tensors


def tensors_of__does_not_read(file):
    tensors = {}
    for layer in file.attrs["layer_names"]:
        group = file[layer]
        for part, name in zip(("kernel", "bias"), group.attrs["weight_names"], strict=False):
            tensors[f"{layer.decode()}/{part}"] = group[name]
    return tensors


def by_number__alphabetical(keys):
    return sorted(keys)


def by_number__first_number_found(keys):
    return sorted(keys, key=lambda key: int((re.findall(r"\d+", key) or ["0"])[-1]))


def by_number__number_as_text(keys):
    return sorted(keys, key=lambda key: re.fullmatch(r"(.*?)(?:_(\d+))?", key).groups(""))


def to_network__wraps_around(pixels, mean):
    return (pixels[..., ::-1] - mean.astype(np.uint8)).astype(np.float32)


def to_network__red_first(pixels, mean):
    return pixels.astype(np.float32) - mean


def to_network__mean_turned_too(pixels, mean):
    return pixels[..., ::-1].astype(np.float32) - mean[::-1]
