"""The checker, checked: the classic bugs, planted in a toy convolution's backward pass, must all be found."""

import re

import numpy as np
import pytest
from gradcheck import check_adjoint, check_backward, relative_error, tie_free

BUGS = (
    "dy transposed",
    "dy flipped",
    "batch rolled",
    "filters reversed",
    "kernel not turned",
    "corner scaled",
    "last channel zero",
)
MOVES_ONLY = BUGS[:4]  # what these do to dy, or to a sum over the filters, a dy of ones cannot show


def toy_forward(x, w):
    """A 3x3 convolution, zero padded: x (N, H, W, C), w (3, 3, C, K) -> y (N, H, W, K)."""
    _, H, W, _ = x.shape
    padded = np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
    return sum(padded[:, r : r + H, s : s + W] @ w[r, s] for r in range(3) for s in range(3))


def toy_backward(dy, x, w, bug=None):
    """Its dx and dw, with one of the BUGS in it."""
    _, H, W, _ = x.shape
    if bug == "dy transposed":
        dy = dy.swapaxes(1, 2)
    if bug == "dy flipped":
        dy = dy[:, ::-1, ::-1]
    if bug == "batch rolled":
        dy = np.roll(dy, 1, axis=0)
    if bug == "filters reversed":
        w = w[..., ::-1]
    turned = w if bug == "kernel not turned" else w[::-1, ::-1]
    dx = toy_forward(dy, turned.swapaxes(2, 3))
    if bug == "corner scaled":
        dx[:, 0, 0] *= 1.5
    if bug == "last channel zero":
        dx[..., -1] = 0
    padded = np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
    patches = np.stack([[padded[:, r : r + H, s : s + W] for s in range(3)] for r in range(3)])
    dw = np.einsum("rsnpqc,npqk->rsck", patches, dy)
    return dx, dw


def toy_arguments(rng):
    return {"x": rng.standard_normal((2, 6, 6, 3)), "w": rng.standard_normal((3, 3, 3, 4))}


def finds(bug, rng, dy=None):
    """Does the checker object?"""
    try:
        check_backward(toy_forward, lambda dy, x, w: toy_backward(dy, x, w, bug), toy_arguments(rng), rng, dy)
    except AssertionError:
        return True
    return False


@pytest.mark.parametrize("bug", BUGS)
def test_every_planted_bug_is_found_on_every_seed(bug):
    assert all(finds(bug, np.random.default_rng(seed)) for seed in range(100))


def test_correct_code_passes_on_every_seed():
    assert not any(finds(None, np.random.default_rng(seed)) for seed in range(100))


def test_a_dy_of_ones_lets_four_of_the_seven_pass(rng):
    ones = np.ones((2, 6, 6, 4))
    assert tuple(bug for bug in BUGS if not finds(bug, rng, dy=ones)) == MOVES_ONLY


@pytest.mark.parametrize("bug", ["kernel not turned", "batch rolled", "filters reversed"])
def test_even_a_thousandth_of_a_bug_is_found(bug, rng):

    def slightly_wrong(dy, x, w):
        right, wrong = toy_backward(dy, x, w), toy_backward(dy, x, w, bug)
        return [0.999 * r + 0.001 * w for r, w in zip(right, wrong, strict=True)]

    with pytest.raises(AssertionError, match="backward gives"):
        check_backward(toy_forward, slightly_wrong, toy_arguments(rng), rng)


def test_the_message_names_argument_element_and_both_values(rng):
    """One wrong number among 108: halving finds it."""
    arguments = toy_arguments(rng)
    dy = rng.standard_normal((2, 6, 6, 4))
    right = toy_backward(dy, **arguments)[1][1, 0, 2, 3]

    def wrong_in_one_place(dy, x, w):
        dx, dw = toy_backward(dy, x, w)
        dw[1, 0, 2, 3] += 0.5
        return dx, dw

    with pytest.raises(AssertionError, match=r"dw\[1, 0, 2, 3\]: backward gives ") as caught:
        check_backward(toy_forward, wrong_in_one_place, arguments, rng, dy)
    mine, theirs = (float(n) for n in re.findall(r"give[s]? (-?[\d.e-]+\d)", str(caught.value)))
    assert mine == pytest.approx(right + 0.5, rel=1e-6)
    assert theirs == pytest.approx(right, rel=1e-6)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_gradient_that_is_not_finite_is_found_and_named(value, rng):
    def broken(dy, x, w):
        dx, dw = toy_backward(dy, x, w)
        dx[1, 5, 0, 2] = value
        return dx, dw

    with pytest.raises(AssertionError, match=rf"dx\[1, 5, 0, 2\]: backward gives {value}"):
        check_backward(toy_forward, broken, toy_arguments(rng), rng)


def test_a_gradient_of_zeros_is_found(rng):
    with pytest.raises(AssertionError, match=r"dx\[.*\]: backward gives 0,"):
        check_backward(toy_forward, lambda dy, x, w: (np.zeros_like(x), np.zeros_like(w)), toy_arguments(rng), rng)


def test_float32_is_refused(rng):
    arguments = {name: a.astype(np.float32) for name, a in toy_arguments(rng).items()}
    with pytest.raises(AssertionError, match="x is float32; differences can only be trusted in float64"):
        check_backward(toy_forward, toy_backward, arguments, rng)


def test_a_gradient_of_another_shape_is_refused(rng):
    with pytest.raises(AssertionError, match=r"dx has the shape \(6, 6, 3\), x has \(2, 6, 6, 3\)"):
        check_backward(toy_forward, lambda dy, x, w: (x[0], w), toy_arguments(rng), rng)


def test_the_adjoint_check_passes_the_transpose_and_finds_the_bugs(rng):
    w = rng.standard_normal((3, 3, 3, 4))
    shape = (2, 6, 6, 3)

    def check(bug):
        check_adjoint(
            lambda x: toy_forward(x, w), lambda dy: toy_backward(dy, np.zeros(shape), w, bug)[0], shape, rng
        )

    check(None)
    for bug in BUGS:
        with pytest.raises(AssertionError, match=r"<A x, v> is .*, <x, A\* v> is .*: relative error "):
            check(bug)


@pytest.mark.parametrize("shape", [(1,), (2,), (3, 5), (2, 7, 5, 3), (4, 6)])
def test_tie_free_numbers_are_distinct_not_near_zero_and_shuffled(shape, rng):
    x = tie_free(shape, rng)
    assert x.shape == shape
    n = x.size
    assert np.abs(x).min() >= 1 / (n + 1)
    if n > 1:
        assert np.diff(np.sort(x.ravel())).min() >= 2 / (n + 1)
    if n > 3:
        assert not np.array_equal(x.ravel(), np.sort(x.ravel()))


def test_relative_error_is_nan_where_a_number_is_missing():
    theirs = np.array([1.0, -4.0])
    assert relative_error(np.array([1.0, -4.2]), theirs) == pytest.approx(0.05)
    assert np.isnan(relative_error(np.array([np.nan, -4.0]), theirs))
    with pytest.raises(AssertionError, match="shapes"):
        relative_error(np.zeros((1, 2)), theirs)
