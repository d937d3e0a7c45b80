"""Lesson 6, VGG16-GAP and its weights."""

import io

import h5py
import numpy as np

from course.exercise import case, exercise
from minicam.layers import Conv, MaxPool

VGG16_GAP = [64, 64, "pool", 128, 128, "pool", 256, 256, 256, "pool", 512, 512, 512, "pool", 512, 512, 512, 1024]


@exercise
def bill():
    """Result 1 is (h, w, C), 2 the parameters, 3 the multiply-adds. Keep the side and C as you go up.

    A pooling changes the side and costs nothing here."""
    yield case([4], 5, gives=(np.array([5, 5, 4]), 9 * 3 * 4 + 4, 5 * 5 * 4 * 27))
    yield case([2, 3], 4, gives=_billed([2, 3], 4), hint="The second layer's C is the first layer's K.")
    for layers, side in [([3, "pool", 5], 8), (["pool", 4, 4], 9), ([2, "pool", 3, "pool", 1], 7), (["pool"], 6)]:
        yield case(layers, side, gives=_billed(layers, side), hint="An odd side is halved and rounded down.")
    shape = np.array([14, 14, 1024])
    yield case(VGG16_GAP, 224, gives=(shape, 19_434_304, 16_271_474_688), hint="All of VGG16-GAP but its last layer.")


def _billed(layers: list, side: int) -> tuple:
    """The same from real layers and real arrays."""
    x, parameters, adds = np.zeros((1, side, side, 3)), 0, 0
    for K in layers:
        if K == "pool":
            x = MaxPool("pool").forward(x)
        else:
            layer = Conv("conv", np.zeros((3, 3, x.shape[3], K)), np.zeros(K))
            x = layer.forward(x)
            parameters += sum(array.size for array in layer.params.values())
            adds += x.size * layer.params["kernel"][..., 0].size
    return np.array(x.shape[1:]), parameters, adds


@exercise
def step_cost():
    """Three sums: of all layers, for forward; of those from `first` on, for dw; of those above `first`, for dx."""
    yield case([1, 2, 3], 1, gives=6 + 5 + 3)
    yield case([1, 2, 3], 0, gives=6 + 6 + 5, hint="The lowest layer of all has pixels below it: they do not learn.")
    yield case([10, 20, 30, 40], 3, gives=100 + 40, hint="Where one layer learns, there is one dw and no dx.")
    forward = [7, 0, 5, 11, 2]
    for first in range(5):
        learning = [n >= first for n in range(5)]
        passes = sum(cost * (1 + learns) for cost, learns in zip(forward, learning, strict=True))
        passes += sum(cost for cost, below in zip(forward[1:], learning[:-1], strict=True) if below)
        yield case(forward, first, gives=passes, hint="Frozen layers still cost their forward pass.")


@exercise
def first_kernel():
    """After ReLU the mean square is n * deviation**2 / 2 times the input's: make that 1. n is R * S * C."""
    for n, shape in enumerate([(3, 3, 64, 128), (3, 3, 128, 64), (5, 5, 16, 32), (1, 3, 256, 64), (1, 1, 8, 4096)]):
        hint = "rng.normal takes the deviation, not its square." if n == 0 else "n depends on R, S and C, not on K."
        yield case(*shape, n, holds=lambda w, shape=shape: _lasts(w, shape), hint=hint)
    seen = {}
    for seed in (1, 2, 1):
        hint = "All numbers come from np.random.default_rng(seed)."
        yield case(2, 3, 4, 5, seed, holds=lambda w, seed=seed: _is_of_its_seed(w, seed, seen), hint=hint)


def _lasts(w: np.ndarray, shape: tuple[int, ...]) -> bool | str:
    """Whether the mean square of a ReLU's outputs is that of the inputs, as far as so many numbers can tell."""
    w = np.asarray(w, np.float64)
    if w.shape != shape:
        return f"expected the shape {shape}"
    if abs(w.mean()) > 0.05 * w.std():
        return "its mean is not 0"
    factor = np.mean(w**2) * w[..., 0].size / 2
    if abs(factor - 1) >= 0.08:
        return f"each layer would multiply the mean square by about {factor:.2g}"
    near = 100 * np.mean(np.abs(w) < w.std())
    return abs(near - 68.3) < 2 or (
        f"{near:.0f} % of the numbers are less than one deviation from 0; of normally distributed ones, 68 % would be"
    )


def _is_of_its_seed(w: np.ndarray, seed: int, seen: dict[int, np.ndarray]) -> bool | str:
    """Whether it is what this seed gave before, and what no other did. seen: by seed; this is added"""
    if any((seed == other) != np.array_equal(w, before) for other, before in seen.items()):
        return "the same seed must draw the same kernel again, and another seed another one"
    seen[seed] = np.array(w)
    return True


@exercise
def tensors_of():
    """Go through file.attrs["layer_names"], and for each layer through the attribute weight_names of its group.

    Each name in there is a path below that group."""
    rng = np.random.default_rng(61)
    shapes = {"second": (3, 3, 2, 4), "a_third": (4, 3), "pool": None, "b_first": (2, 5)}
    for n, (layers, names) in enumerate([
        (["second", "a_third"], ("{}/kernel:0", "{}/bias:0")),
        (["second", "pool", "a_third"], ("{}_W_1:0", "{}_b_1:0")),
        (["b_first", "a_third", "second"], ("2", "1")),
    ]):  # fmt: skip
        file, expected = h5py.File(_Memory(f"file {n}"), "w"), {}
        file.attrs["layer_names"] = np.array([layer.encode() for layer in layers])
        for layer in layers:
            group, paths = file.create_group(layer), [name.format(layer) for name in names if shapes[layer]]
            group.attrs["weight_names"] = np.array([path.encode() for path in paths], None if paths else "S1")
            for part, path in zip(("kernel", "bias"), paths, strict=False):
                shape = shapes[layer] if part == "kernel" else shapes[layer][-1:]
                group[path] = expected[f"{layer}/{part}"] = rng.standard_normal(shape)
        hint = "" if n == 0 else "The names differ from file to file: follow the attributes."
        yield case(file, holds=lambda found, expected=expected: _same(found, expected), hint=hint)


class _Memory(io.BytesIO):
    """A file that is nowhere, and is shown by its name."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self.name = name

    def __repr__(self) -> str:
        return self.name


def _same(found: dict, expected: dict) -> bool | str:
    if not isinstance(found, dict):
        return "expected a dictionary"
    if list(found) != list(expected):
        return f"its names are {', '.join(map(str, found)) or 'none'}, expected {', '.join(expected)}"
    for name, array in expected.items():
        if not isinstance(found[name], np.ndarray):
            return f"{name} is a {type(found[name]).__name__}, not an array"
        if not np.array_equal(found[name], array):
            return f"{name} holds other numbers"
    return True


@exercise
def by_number():
    """Give `sorted` a key: a pair of the class and the number as an int, 0 where there is none.

    "conv2d_10".rpartition("_") is ("conv2d", "_", "10"), and "10".isdigit() is True."""
    yield case(["conv2d", "conv2d_1", "conv2d_10", "conv2d_2"], gives=("conv2d", "conv2d_1", "conv2d_2", "conv2d_10"))
    rng = np.random.default_rng(62)
    for counts in ({"dense": 3, "conv2d": 14}, {"max_pooling2d": 12, "conv2d": 2}, {"dense": 101, "conv1d": 11}):
        right = [f"{name}_{n}" if n else name for name in sorted(counts) for n in range(counts[name])]
        hint = "The 2 of conv2d is no number of a layer." if "dense" in counts else ""
        yield case(rng.permutation(right).tolist(), gives=tuple(right), hint=hint)


@exercise
def to_network():
    """pixels[..., ::-1] turns the colours around. Take the mean off as it is, in floats."""
    rng = np.random.default_rng(63)
    mean = np.array([103.939, 116.779, 123.68])
    order = "mean is in the order blue, green, red already."
    bytes_stay = "(Bytes minus floats are floats. Bytes minus bytes stay bytes, and 3 - 5 is 254 there.)"
    for shape, means in [((3,), mean), ((4, 5, 3), mean), ((2, 3, 3, 3), np.array([10.0, 20, 240]))]:
        pixels = rng.integers(0, 256, shape).astype(np.uint8)
        right = np.stack([pixels[..., 2 - c].astype(np.float64) - means[c] for c in range(3)], axis=-1)
        yield case(pixels, means, gives=right, hint=f"{order} {bytes_stay}")
