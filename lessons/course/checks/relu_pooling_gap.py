"""Lesson 4, ReLU, max-pooling, global average pooling."""

import numpy as np

from course.exercise import case, exercise
from minicam.ops import gap, maxpool, relu


@exercise
def relu_backward():
    """The formula asks where x > 0. What is y there, and what is it everywhere else?"""
    dy, positive = np.array([2.0, -3, 1]), np.array([1.0, 4, 0.1])
    yield case(dy, positive, gives=dy, hint="(dy may be negative; that is fine.)")
    rng = np.random.default_rng(41)
    for shape in ((6,), (3, 4), (2, 3, 3, 2)):
        x = rng.standard_normal(shape)
        dy = rng.standard_normal(shape)
        slope = "Where y is positive, x was, and the slope is 1; everywhere else it is 0."
        yield case(dy, np.maximum(x, 0), gives=np.where(x > 0, dy, 0), hint=slope)
    at_zero = np.array([0.0, 2, 0, -3])
    yield case(np.ones(4), relu.forward(at_zero), gives=np.array([0.0, 1, 0, 0]), hint="At 0 the slope is 0.")


@exercise
def max_pool():
    """Window (p, q): x[2p, 2q], x[2p, 2q + 1], x[2p + 1, 2q], x[2p + 1, 2q + 1]; argmax is 0 to 3 in this order."""
    rng = np.random.default_rng(42)
    yield case(np.array([[1.0, 2], [4, 3]]), gives=(np.array([[4.0]]), np.array([[2]])))
    hints = {(4, 6): "", (5, 4): "An odd last row has no window.", (2, 7): "An odd last column has no window."}
    for shape, hint in hints.items():
        yield _pooling(rng.permutation(np.arange(np.prod(shape)) - 7.0).reshape(shape), hint)
    yield _pooling(rng.integers(0, 2, (8, 8)).astype(float), "Of equal numbers the first counts.")
    yield _pooling(-1.0 - rng.permutation(16).reshape(4, 4), "All four of a window may be negative.")


def _pooling(x: np.ndarray, hint: str):
    y, argmax = maxpool.forward_naive(x[None, :, :, None])
    return case(x, gives=(y[0, :, :, 0], argmax[0, :, :, 0]), hint=hint)


@exercise
def max_pool_backward():
    """The winner of window (p, q) is in row 2p + argmax // 2 and column 2q + argmax % 2."""
    rng = np.random.default_rng(43)
    for shape in ((2, 2), (4, 6), (5, 5), (6, 3)):
        x, dy = rng.standard_normal(shape), rng.standard_normal((shape[0] // 2, shape[1] // 2))
        argmax = maxpool.forward_naive(x[None, :, :, None])[1]
        dx = maxpool.backward(dy[None, :, :, None], argmax, (1, *shape, 1))[0, :, :, 0]
        hint = "The odd row or column stays 0." if shape[0] % 2 or shape[1] % 2 else ""
        yield case(dy, argmax[0, :, :, 0], shape, gives=dx + 0.0, hint=hint)  # + 0.0: no -0


@exercise
def gap_backward():
    """dy[n, c] / (H W) at every pixel. `np.broadcast_to`, or a product with an array of ones, repeats it."""
    rng = np.random.default_rng(44)
    for shape in ((1, 2, 2, 1), (2, 3, 5, 4), (3, 1, 7, 2)):
        dy = rng.standard_normal((shape[0], shape[3]))
        yield case(dy, shape, gives=gap.backward(dy, shape))


@exercise
def evidence_in_box():
    """Make the map of each class, features @ w. The logit is the map's mean; what part of it is in the box?"""
    rng = np.random.default_rng(45)
    for (H, W, C, K), box in (((4, 6, 3, 2), (0, 0, 6, 4)), ((4, 6, 3, 2), (1, 0, 4, 3)), ((7, 5, 4, 3), (2, 1, 5, 7))):
        features, w = rng.standard_normal((H, W, C)), rng.standard_normal((C, K))
        x0, y0, x1, y1 = box
        inside = np.zeros((H, W, 1))
        inside[y0:y1, x0:x1] = 1
        part = "Divide by all pixels of the map, not by those of the box; row y1 and column x1 are not inside."
        hint = part if box != (0, 0, W, H) else "Rows are y, columns x; the mean is over all H W pixels."
        yield case(features, w, box, gives=(features * inside).mean(axis=(0, 1)) @ w, hint=hint)
