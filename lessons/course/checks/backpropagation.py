"""Lesson 3, backpropagation through a convolution."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from course.exercise import case, exercise


@exercise
def input_gradient():
    """Input i touched output i - s by weight s, where there is an output of that number."""
    rng = np.random.default_rng(31)
    first = "The numbers of the lesson. Python takes dy[-1] for the last number, without a word."
    yield case(np.array([1, -2, 0, 3.0]), np.array([2, -1, 3.0]), gives=np.array([2, -5, 5, 0, -3, 9.0]), hint=first)
    for outputs, S in [(1, 3), (5, 1), (2, 5), (7, 4)]:
        dy, w = rng.standard_normal(outputs), rng.standard_normal(S)
        yield case(dy, w, gives=np.convolve(dy, w), hint="Is i - s below 0, or beyond the last output?")


@exercise
def weight_gradient():
    """Weight s lay on x[s], x[s + 1], and so on, one input for each output. len(w) is len(x) - len(dy) + 1."""
    rng = np.random.default_rng(32)
    x = np.array([1, 2, 0, 3, 1, 3.0])
    first = "dy is not turned, and db is a sum, not a mean."
    yield case(np.array([1, -2, 0, 3.0]), x, gives=(np.array([6, 5, 3.0]), 2.0), hint=first)
    for outputs, S in [(1, 3), (6, 1), (3, 5), (8, 2)]:
        dy, x = rng.standard_normal(outputs), rng.standard_normal(outputs + S - 1)
        dw = [np.correlate(x, one, "valid") @ dy for one in np.eye(S)]  # y is linear in w: one weight at a time
        yield case(dy, x, gives=(np.array(dw), dy.sum()))


@exercise
def backward_products():
    """Result 1 is dx, 2 is dw, 3 is db.

    For dx, reverse the first two axes of the kernel and swap the last two. For dw, make dy a matrix with a row for each
    pixel; the product has a row for each place of a patch."""
    rng = np.random.default_rng(33)
    for (N, H, W, C), (R, S, K) in [
        ((1, 4, 4, 1), (3, 3, 1)), ((2, 5, 4, 3), (3, 3, 2)), ((1, 6, 3, 2), (5, 1, 2)), ((3, 2, 5, 1), (1, 3, 4)),
    ]:  # fmt: skip
        x, dy = rng.standard_normal((N, H, W, C)), rng.standard_normal((N, H, W, K))
        w = rng.standard_normal((R, S, C, K))
        padded = np.pad(x, ((0, 0), (R // 2, R // 2), (S // 2, S // 2), (0, 0)))
        dx, dw, shifted = np.zeros_like(padded), np.zeros_like(w), []
        for r, s in np.ndindex(R, S):  # scattered: each place of the kernel adds what it carried
            seen = np.s_[:, r : r + H, s : s + W]
            dx[seen] += dy @ w[r, s].T
            dw[r, s] = np.tensordot(padded[seen], dy, axes=((0, 1, 2), (0, 1, 2)))
            shifted.append(padded[seen])
        patches = np.concatenate(shifted, axis=3).reshape(N * H * W, R * S * C)
        dx = dx[:, R // 2 : R // 2 + H, S // 2 : S // 2 + W]
        same = "With as many channels in as out, a swap that is missing changes no shape." if C == K else ""
        yield case(dy, patches, w, gives=(dx, dw, dy.sum(axis=(0, 1, 2))), hint=same)


@exercise
def gradient_is_right():
    """dy has the shape of forward(x), v that of x. Two numbers are to agree.

    One is the sum of dx * v. The other is the difference of two losses over 2h: sums of forward(...) * dy. How far
    apart they may be depends on the norm of dx."""
    x, square = np.random.default_rng(34).standard_normal((2, 5, 5))

    def shear(x: np.ndarray) -> np.ndarray:
        return x @ square

    def shear_back(dy: np.ndarray, x: np.ndarray) -> np.ndarray:
        return dy @ square.T

    def tanh(x: np.ndarray) -> np.ndarray:
        return np.tanh(x)

    def tanh_back(dy: np.ndarray, x: np.ndarray) -> np.ndarray:
        return dy * (1 - np.tanh(x) ** 2)

    yield case(shear, shear_back, x, 1, gives=True)
    yield case(tanh, tanh_back, x, 2, gives=True)
    blind = "This one is wrong only in where its numbers are. Are dy and v both random?"
    wrong = {
        "not_transposed": (shear, lambda dy, x: dy @ square, ""),
        "dy_reversed": (shear, lambda dy, x: shear_back(dy[::-1], x), blind),
        "dx_reversed": (tanh, lambda dy, x: tanh_back(dy, x)[:, ::-1], blind),
        "zeros": (shear, lambda dy, x: np.zeros_like(x), ""),
        "a_thousandth_off": (tanh, lambda dy, x: 1.001 * tanh_back(dy, x), "An error of 1/1000 is an error."),
        "one_number_off": (shear, lambda dy, x: shear_back(dy, x) + 0.01 * (x == x.max()), "One number is wrong."),
        "millionths_off": (tanh, lambda dy, x: (1 + 3e-6) * tanh_back(dy, x), "Off by 4.5 millionths of the norm."),
    }
    for seed, (name, (forward, backward, hint)) in enumerate(wrong.items(), start=3):
        backward.__name__ = name
        yield case(forward, backward, x, seed, gives=False, hint=hint)

    def large(x: np.ndarray) -> np.ndarray:
        return 1e6 * shear(x)

    def large_back(dy: np.ndarray, x: np.ndarray) -> np.ndarray:
        return 1e6 * shear_back(dy, x)

    def small(x: np.ndarray) -> np.ndarray:
        return 1e-7 * shear(x)

    def small_and_doubled(dy: np.ndarray, x: np.ndarray) -> np.ndarray:
        return 2e-7 * shear_back(dy, x)

    def ripple(x: np.ndarray) -> np.ndarray:
        return np.sin(300 * x)

    def ripple_back(dy: np.ndarray, x: np.ndarray) -> np.ndarray:
        return 300 * np.cos(300 * x) * dy

    # Along this v the slope is 0: dx, which is dy * weights, is at right angles to it.
    rng = np.random.default_rng(14)
    dy_v = rng.standard_normal(x.shape) * rng.standard_normal(x.shape)
    weights = square - np.sum(square * dy_v) / np.sum(dy_v**2) * dy_v

    def level(x: np.ndarray) -> np.ndarray:
        return weights * x

    def level_back(dy: np.ndarray, x: np.ndarray) -> np.ndarray:
        return weights * dy

    size = "This layer's slopes are not of the size of 1."
    yield case(large, large_back, x, 11, gives=True, hint=size)
    yield case(small, small_and_doubled, x, 12, gives=False, hint=size)
    yield case(ripple, ripple_back, x, 13, gives=True, hint="A curve that bends much: centred, and with the h given?")
    yield case(level, level_back, x, 14, gives=True, hint="Along this v the slope is 0, the norm of dx is not.")


@dataclass(frozen=True)
class Step:
    """A layer without parameters. Its backward pass needs what went in."""

    name: str
    forward: Callable[[np.ndarray], np.ndarray]
    backward: Callable[[np.ndarray, np.ndarray], np.ndarray]

    def __repr__(self) -> str:
        return self.name


@exercise
def gradient_of_chain():
    """Two loops. The first runs forward, and appends the input of each layer to a list.

    The second goes through layers and inputs in reverse: dy = layer.backward(dy, its own input)."""
    rng = np.random.default_rng(35)
    wide, tall = rng.standard_normal((4, 6)), rng.standard_normal((6, 3))
    square = Step("square", np.square, lambda dy, x: 2 * x * dy)
    triple = Step("triple", lambda x: 3 * x, lambda dy, x: 3 * dy)
    wave = Step("wave", np.sin, lambda dy, x: np.cos(x) * dy)
    widen = Step("widen", lambda x: x @ wide, lambda dy, x: dy @ wide.T)
    narrow = Step("narrow", lambda x: x @ tall, lambda dy, x: dy @ tall.T)
    for layers, width, hint in [
        ([square], 4, ""),
        ([triple, square], 4, "Square needs what went into square, which is not what came in at the start."),
        ([square, wave], 4, "Each layer needs its own input, and not its output."),
        ([widen, wave, narrow], 3, "The last layer's backward comes first."),
        ([wave, widen, square, narrow, square], 3, ""),
    ]:
        x, dy = rng.standard_normal((2, 4)), rng.standard_normal((2, width))
        yield case(layers, x, dy, gives=_by_trying(layers, x, dy), hint=hint, tolerance=1e-6)


def _by_trying(layers: list[Step], x: np.ndarray, dy: np.ndarray, h: float = 1e-5) -> np.ndarray:
    """The gradient of sum of y * dy, number by number."""

    def loss(x: np.ndarray) -> float:
        for layer in layers:
            x = layer.forward(x)
        return np.sum(x * dy)

    ones = np.eye(x.size).reshape(-1, *x.shape)
    return np.array([(loss(x + h * one) - loss(x - h * one)) / (2 * h) for one in ones]).reshape(x.shape)
