"""The other operations with a gradient: relu, maxpool, gap, linear, softmax_loss; and how an op is chosen."""

import math

import hypothesis.strategies as st
import numpy as np
import pytest
from gradcheck import check_adjoint, check_backward, relative_error, tie_free
from hypothesis import given, settings

from minicam import MinicamError
from minicam.backend import device_of, set_threads, to_device
from minicam.ops import conv, gap, linear, maxpool, relu, sgd, softmax_loss, warp

IMAGES = [(2, 7, 5, 3), (3, 6, 9, 2), (1, 5, 4, 1), (1, 3, 2, 7), (2, 2, 2, 5)]
images = pytest.mark.parametrize("shape", IMAGES, ids=str)
matrices = pytest.mark.parametrize("shape", [(3, 7, 5), (1, 4, 3), (5, 1, 2), (2, 9, 1)], ids=str)  # N, C, K


def near_float64(backend, op, *arrays, tolerance=1e-4):
    """float32 in, float32 out, and close to what the same numbers give in float64."""
    arrays = [a.astype(np.float32) if np.issubdtype(a.dtype, np.floating) else a for a in arrays]
    doubles = [a.astype(np.float64) if a.dtype == np.float32 else a for a in arrays]
    mine, theirs = backend(op, *arrays), backend(op, *doubles)
    pairs = zip(mine, theirs, strict=True) if isinstance(mine, tuple) else [(mine, theirs)]
    for m, t in pairs:
        if np.issubdtype(t.dtype, np.floating):
            assert m.dtype == np.float32
            assert relative_error(m, t) < tolerance


# --- relu ---


@images
def test_relu(shape, rng, backend):
    x, dy = tie_free(shape, rng), rng.standard_normal(shape)
    y = backend(relu.forward, x)
    np.testing.assert_array_equal(y, relu.forward_naive(x))
    check_backward(
        lambda x: backend(relu.forward, x), lambda dy, x: [backend(relu.backward, dy, relu.forward(x))], {"x": x}, rng
    )
    near_float64(backend, relu.forward, x)
    near_float64(backend, relu.backward, dy, y)


def test_relu_has_gradient_0_at_0(backend):
    x = np.array([-1.0, -0.0, 0.0, 2.0])
    y = backend(relu.forward, x)
    assert y.tolist() == [0, 0, 0, 2]
    assert backend(relu.backward, np.full(4, 5.0), y).tolist() == [0, 0, 0, 5]


# --- maxpool ---


@images
def test_maxpool(shape, rng, backend):
    x = tie_free(shape, rng)
    y, argmax = backend(maxpool.forward, x)
    naive, naive_argmax = maxpool.forward_naive(x)
    np.testing.assert_array_equal(y, naive)
    np.testing.assert_array_equal(argmax, naive_argmax)
    assert y.shape == (shape[0], shape[1] // 2, shape[2] // 2, shape[3])
    assert argmax.dtype == np.uint8
    check_backward(
        lambda x: backend(maxpool.forward, x)[0],
        lambda dy, x: [backend(maxpool.backward, dy, argmax, shape)],
        {"x": x},
        rng,
    )
    near_float64(backend, maxpool.forward, x)
    dy = rng.standard_normal(y.shape)
    near_float64(backend, lambda dy, argmax: maxpool.backward(dy, argmax, shape), dy, argmax)


@pytest.mark.parametrize("shape", [(2, 7, 5, 3), (1, 1, 4, 2), (3, 6, 6, 1)], ids=str)
def test_maxpool_without_argmax(shape, rng, backend):
    x = tie_free(shape, rng)
    y, argmax = backend(maxpool.forward, x, need_argmax=False)
    assert argmax is None
    np.testing.assert_array_equal(y, backend(maxpool.forward, x)[0])


def test_maxpool_above_a_relu_takes_its_gradient(rng, backend):
    """Where nothing in a window was positive, the ReLU below lets nothing by."""
    x = np.maximum(tie_free((2, 7, 5, 3), rng) - 0.5, 0)
    y, argmax = backend(maxpool.forward, x)
    dy = rng.standard_normal(y.shape)
    assert 0.1 < (y == 0).mean() < 0.9
    below = backend(relu.backward, backend(maxpool.backward, dy, argmax, x.shape), x)
    np.testing.assert_array_equal(backend(maxpool.backward, dy, argmax, x.shape, y), below)


@settings(max_examples=30, deadline=None, derandomize=True)
@given(shape=st.tuples(*[st.integers(1, n) for n in (3, 7, 7, 4)]), seed=st.integers(0, 99))
def test_maxpool_with_ties_on_any_shape(shape, seed, backend):
    """Numbers of three values only: most windows hold ties. A single row or column has no window at all."""
    x = np.random.default_rng(seed).integers(-1, 2, shape).astype(np.float64)
    y, argmax = backend(maxpool.forward, x)
    naive, naive_argmax = maxpool.forward_naive(x)
    np.testing.assert_array_equal(y, naive)
    np.testing.assert_array_equal(argmax, naive_argmax)
    dx = backend(maxpool.backward, np.ones_like(y), argmax, shape)
    assert dx.shape == shape
    assert dx.sum() == y.size  # each dy goes to exactly one pixel


def test_of_equal_values_the_first_is_the_maximum(backend):
    x = np.array([[3.0, 3, 1, 2, 0, 1, 0, 0], [3, 3, 2, 2, 1, 1, 0, 7]])[None, :, :, None]
    y, argmax = backend(maxpool.forward, x)
    assert y.ravel().tolist() == [3, 2, 1, 7]
    assert argmax.ravel().tolist() == [0, 1, 1, 3]
    dx = backend(maxpool.backward, np.array([1.0, 2, 3, 4]).reshape(y.shape), argmax, x.shape)
    assert dx[0, ..., 0].tolist() == [[1, 0, 0, 2, 0, 3, 0, 0], [0, 0, 0, 0, 0, 0, 0, 4]]


def test_an_odd_last_row_and_column_are_dropped(backend):
    x = np.arange(15.0).reshape(1, 3, 5, 1)
    y, argmax = backend(maxpool.forward, x)
    assert y.ravel().tolist() == [6, 8]
    dx = backend(maxpool.backward, np.array([1.0, 2]).reshape(y.shape), argmax, x.shape)
    assert dx[0, ..., 0].tolist() == [[0, 0, 0, 0, 0], [0, 1, 0, 2, 0], [0, 0, 0, 0, 0]]


# --- gap ---


@images
def test_gap(shape, rng, backend):
    x = rng.standard_normal(shape)
    y = backend(gap.forward, x)
    assert relative_error(y, gap.forward_naive(x)) < 1e-12
    x32 = x.astype(np.float32)
    assert relative_error(backend(gap.forward, x32), gap.forward_naive(x32)) < 1e-5

    def backward(dy):
        return backend(gap.backward, dy, shape)

    check_backward(lambda x: backend(gap.forward, x), lambda dy, x: [backward(dy)], {"x": x}, rng)
    check_adjoint(lambda x: backend(gap.forward, x), backward, shape, rng)
    near_float64(backend, gap.forward, x)
    near_float64(backend, lambda dy: gap.backward(dy, shape), rng.standard_normal(y.shape))


# --- linear ---


@matrices
def test_linear(shape, rng, backend):
    N, C, K = shape
    arguments = {name: rng.standard_normal(s) for name, s in {"x": (N, C), "w": (C, K), "b": (K,)}.items()}
    x, w, b = arguments.values()
    assert relative_error(backend(linear.forward, x, w, b), linear.forward_naive(x, w, b)) < 1e-12
    singles = [a.astype(np.float32) for a in (x, w, b)]
    assert relative_error(backend(linear.forward, *singles), linear.forward_naive(*singles)) < 1e-5
    check_backward(
        lambda x, w, b: backend(linear.forward, x, w, b),
        lambda dy, x, w, b: backend(linear.backward, dy, x, w),
        arguments,
        rng,
    )
    zero = np.zeros(K)
    check_adjoint(
        lambda x: backend(linear.forward, x, w, zero), lambda v: backend(linear.backward, v, x, w)[0], (N, C), rng
    )
    check_adjoint(
        lambda w: backend(linear.forward, x, w, zero), lambda v: backend(linear.backward, v, x, w)[1], (C, K), rng
    )
    near_float64(backend, linear.forward, x, w, b)
    near_float64(backend, linear.backward, rng.standard_normal((N, K)), x, w)


@pytest.mark.parametrize("shape", [(64, 1024, 9), (32, 1024, 20), (8, 1024, 100), (1, 1024, 1000)], ids=str)
def test_the_number_of_threads_changes_no_bit_of_a_linear_layer(shape, rng):
    N, C, K = shape
    x, w, b, dy = (rng.standard_normal(s).astype(np.float32) for s in ((N, C), (C, K), (K,), (N, K)))
    results = set()
    try:
        for count in (1, 2, 3, 4):
            set_threads(count)
            arrays = linear.forward(x, w, b), *linear.backward(dy, x, w)
            results.add(b"".join(a.tobytes() for a in arrays))
    finally:
        set_threads(None)
    assert len(results) == 1


# --- softmax_loss ---


@pytest.mark.parametrize("shape", [(3, 5), (1, 2), (7, 3)], ids=str)
def test_softmax_loss(shape, rng, backend):
    logits, labels = 3 * rng.standard_normal(shape), rng.integers(0, shape[1], shape[0])
    loss, p = backend(softmax_loss.forward, logits, labels)
    naive_loss, naive_p = softmax_loss.forward_naive(logits, labels)
    assert loss == pytest.approx(naive_loss, rel=1e-12)
    assert relative_error(p, naive_p) < 1e-12
    np.testing.assert_allclose(p.sum(1), 1, rtol=1e-12)

    singles = logits.astype(np.float32)
    loss32, p32 = backend(softmax_loss.forward, singles, labels)
    naive_loss, naive_p = softmax_loss.forward_naive(singles, labels)
    assert loss32.dtype == p32.dtype == np.float32
    assert loss32 == pytest.approx(naive_loss, rel=1e-5)
    assert relative_error(p32, naive_p) < 1e-5

    check_backward(
        lambda logits: backend(softmax_loss.forward, logits, labels)[0],
        lambda dy, logits: [dy * backend(softmax_loss.backward, p, labels)],  # dy of a scalar is a factor
        {"logits": logits},
        rng,
    )
    near_float64(backend, softmax_loss.forward, logits, labels)
    near_float64(backend, softmax_loss.backward, p, labels)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_huge_logits_neither_overflow_nor_lose_the_loss(dtype, backend):
    logits = np.array([[1e4, 0, -1e4], [-1e4, 1e4, 1e4], [1e4, 1e4, 1e4], [-1e4, -1e4, -1e4]], dtype)
    loss, p = backend(softmax_loss.forward, logits, np.array([2, 0, 1, 0]))
    np.testing.assert_allclose(p, [[1, 0, 0], [0, 0.5, 0.5], [1 / 3] * 3, [1 / 3] * 3], rtol=1e-6)
    assert loss == pytest.approx((2e4 + (2e4 + math.log(2)) + 2 * math.log(3)) / 4, rel=1e-6)
    assert np.isfinite(backend(softmax_loss.backward, p, np.array([2, 0, 1, 0]))).all()


@pytest.mark.parametrize("K", [2, 3, 7])
def test_the_loss_of_equal_logits_is_ln_k(K, backend):
    loss, p = backend(softmax_loss.forward, np.zeros((5, K)), np.arange(5) % K)
    assert loss == pytest.approx(math.log(K), rel=1e-15)
    np.testing.assert_allclose(p, 1 / K, rtol=1e-15)


def test_the_gradient_of_the_loss_sums_to_0_for_each_image(rng, backend):
    labels = np.array([0, 2, 1, 1, 0])
    _, p = backend(softmax_loss.forward, rng.standard_normal((5, 3)), labels)
    np.testing.assert_allclose(backend(softmax_loss.backward, p, labels).sum(1), 0, atol=1e-16)


# --- dispatch ---

ENTRIES = [(op, entry) for op in (conv, gap, linear, maxpool, relu, softmax_loss) for entry in ("forward", "backward")]
ENTRIES += [(sgd, "forward"), (warp, "forward")]


@pytest.mark.parametrize(("op", "entry"), ENTRIES, ids=lambda value: getattr(value, "__name__", value))
def test_what_is_no_array_is_refused(op, entry):
    with pytest.raises(MinicamError) as caught:
        getattr(op, entry)([1.0, 2.0])
    expected = f"{op.__name__}.{entry} takes a numpy.ndarray, a cupy.ndarray or an EmulatorArray, not list"
    assert str(caught.value) == expected


def test_no_argument_at_all():
    with pytest.raises(MinicamError, match=r"^minicam\.ops\.conv\.forward takes a numpy.* not nothing$"):
        conv.forward()


def test_arrays_in_a_tuple_are_looked_at_too():
    here, there = np.zeros((2, 2)), to_device(np.zeros((2, 2)), "emulator")
    for out in ((there, here), (here, there)):
        with pytest.raises(MinicamError, match="the first array is on the device 'cpu', another on 'emulator'"):
            sgd.forward(here, here, here, 0.1, out=out)
    w = sgd.forward(here, here, here, 0.1, out=(np.ones((2, 2)), np.ones((2, 2))))[0]
    assert not w.any()


@pytest.mark.parametrize(("op", "entry"), ENTRIES, ids=lambda value: getattr(value, "__name__", value))
def test_arrays_on_two_devices_are_refused(op, entry):
    here, there = np.zeros((2, 2)), to_device(np.zeros((2, 2)), "emulator")
    for first, second in ((here, there), (there, here)):
        with pytest.raises(MinicamError) as caught:
            getattr(op, entry)(first, second)
        assert str(caught.value) == (
            f"{op.__name__}.{entry}: the first array is on the device '{device_of(first)}', another on "
            f"'{device_of(second)}'; bring both to one with backend.to_device"
        )
