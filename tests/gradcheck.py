"""Is a backward pass right? Two checks, and inputs on which they can be trusted.

`check_backward` compares a backward pass with centred differences of its forward pass. For a random `dy` it takes
the loss L = sum of y * dy, moves one argument a little along a random direction v, and demands

    sum of dx * v  =  (L(x + h v) - L(x - h v)) / 2h

Both are random for a reason. A `dy` of ones is blind to every mistake that only moves its numbers about (dy
transposed or flipped, the batch rolled): ones that change places are still ones; `test_gradcheck` shows it. And one
random direction tests all elements of the gradient in two forward passes: an error anywhere changes the sum, unless
it is orthogonal to v, which has probability zero.

`check_adjoint` is for linear operations A, whose backward pass is the transpose A*: <A x, v> = <x, A* v> for all x
and v. It needs no differences, so that it is exact but for rounding.

Both work in float64 only. In float32 the differences are mostly rounding: 15 % error at h = 1e-3.
"""

from collections.abc import Callable, Sequence

import numpy as np

STEP = 1e-6  # h: truncation (h squared) and rounding (1e-16 / h) then both leave relative errors far under 1e-6


def check_backward(
    forward: Callable,
    backward: Callable,
    arguments: dict[str, np.ndarray],
    rng: np.random.Generator,
    dy: np.ndarray | None = None,
    tolerance: float = 1e-6,
) -> None:
    """Raise AssertionError, naming argument and element, where `backward` is not the gradient of `forward`.

    forward    forward(*arrays) -> y, an array or a number, from the arrays of `arguments`
    backward   backward(dy, *arrays) -> the gradients, one for each of them, in the same order
    arguments  arrays by the names that messages shall call them
    dy         random unless given (which is there to show what goes wrong with ones)
    tolerance  on |mine - theirs|, relative to the size that the sum of dx * v has on average: the norm of dx
    """
    for name, x in arguments.items():
        assert x.dtype == np.float64, f"{name} is {x.dtype}; differences can only be trusted in float64"
    if dy is None:
        dy = rng.standard_normal(np.shape(forward(*arguments.values())))
    for (name, x), dx in zip(arguments.items(), backward(dy, *arguments.values()), strict=True):
        assert dx.shape == x.shape, f"d{name} has the shape {dx.shape}, {name} has {x.shape}"
        for index in np.argwhere(~np.isfinite(dx)):
            raise AssertionError(f"d{name}{index.tolist()}: backward gives {dx[tuple(index)]}")

        def differences(v: np.ndarray, name: str = name, x: np.ndarray = x) -> float:
            above = forward(*{**arguments, name: x + STEP * v}.values())
            below = forward(*{**arguments, name: x - STEP * v}.values())
            return float(np.sum((above - below) * dy)) / (2 * STEP)

        v = rng.standard_normal(x.shape)
        mine, theirs = np.sum(dx * v), differences(v)
        error, size = abs(mine - theirs), max(np.linalg.norm(dx), abs(theirs))
        if not error <= tolerance * size:  # in this form NaN fails
            index = _wrong_element(dx, v, differences)
            unit = np.zeros(x.shape)
            unit[index] = 1
            raise AssertionError(
                f"d{name}{list(index)}: backward gives {dx[index]:.9g}, differences give {differences(unit):.9g}; "
                f"relative error along a random direction {error / size:.1e}, allowed {tolerance:.0e}"
            )


def _wrong_element(dx: np.ndarray, v: np.ndarray, differences: Callable) -> tuple[int, ...]:
    """Index of a wrong element of dx: halve the elements again and again, keep the half that is further off."""

    def error(elements: np.ndarray) -> float:
        part = np.zeros(v.size)
        part[elements] = v.flat[elements]
        part = part.reshape(v.shape)
        return abs(np.sum(dx * part) - differences(part))

    elements = np.arange(dx.size)
    while len(elements) > 1:
        elements = max(np.array_split(elements, 2), key=error)
    return tuple(int(i) for i in np.unravel_index(elements[0], dx.shape))


def check_adjoint(
    forward: Callable,
    adjoint: Callable,
    x_shape: Sequence[int],
    rng: np.random.Generator,
    tolerance: float = 1e-12,
) -> None:
    """Raise AssertionError where <forward(x), v> is not <x, adjoint(v)> for a random x and a random v."""
    x = rng.standard_normal(x_shape)
    y = forward(x)
    v = rng.standard_normal(y.shape)
    left, right = np.sum(y * v), np.sum(x * adjoint(v))
    error = abs(left - right) / np.linalg.norm(y)
    assert error < tolerance, f"<A x, v> is {left:.15g}, <x, A* v> is {right:.15g}: relative error {error:.1e}"


def tie_free(shape: Sequence[int], rng: np.random.Generator) -> np.ndarray:
    """Evenly spaced numbers between -1 and 1 in random order: no two equal (max-pool), none near 0 (ReLU).

    Of n numbers, neighbours are about 2/n apart and the smallest is about 1/n from 0.
    """
    n = int(np.prod(shape))
    numbers = np.linspace(-1, 1, n + n % 2)[:n]  # an odd count would hit 0 in the middle
    return rng.permutation(numbers).reshape(shape)


def relative_error(mine: np.ndarray, theirs: np.ndarray) -> float:
    """The largest difference, relative to the largest of `theirs`. NaN, which no comparison passes, if any is NaN."""
    mine, theirs = np.asarray(mine, np.float64), np.asarray(theirs, np.float64)
    assert mine.shape == theirs.shape, f"shapes {mine.shape} and {theirs.shape}"
    return float(np.abs(mine - theirs).max() / np.abs(theirs).max())
