"""ops/conv: the fast form against the loops, its gradients and its corners. Images this small go through im2col."""

import hypothesis.strategies as st
import numpy as np
import pytest
from gradcheck import check_adjoint, check_backward, relative_error
from hypothesis import given, settings

from minicam.ops import conv, im2col, relu

# N, H, W, C, K, R, S
SHAPES = [
    (2, 7, 5, 3, 4, 3, 3),
    (1, 5, 9, 1, 2, 3, 3),  # one image, one channel
    (3, 4, 7, 5, 1, 1, 1),  # a 1x1 kernel: a matrix product per pixel
    (2, 6, 7, 2, 3, 5, 5),
    (2, 5, 8, 3, 2, 3, 5),
    (2, 9, 4, 2, 5, 5, 1),
    (2, 1, 1, 3, 2, 3, 3),  # images smaller than the kernel
    (1, 2, 3, 2, 3, 5, 5),
    (1, 1, 6, 1, 1, 5, 3),
]
every_shape = pytest.mark.parametrize("shape", SHAPES, ids=str)


def arguments(shape, rng, dtype=np.float64):
    N, H, W, C, K, R, S = shape
    sizes = {"x": (N, H, W, C), "w": (R, S, C, K), "b": (K,)}
    return {name: rng.standard_normal(size).astype(dtype) for name, size in sizes.items()}


@every_shape
@pytest.mark.parametrize("fused", [False, True])
def test_forward_equals_the_loops(shape, fused, rng, backend):
    args = arguments(shape, rng).values()
    naive = conv.forward_naive(*args, relu=fused)
    assert relative_error(backend(conv.forward, *args, relu=fused), naive) < 1e-12

    args32 = [a.astype(np.float32) for a in args]
    y = backend(conv.forward, *args32, relu=fused)
    assert y.dtype == np.float32
    assert relative_error(y, conv.forward_naive(*args32, relu=fused)) < 1e-5
    assert relative_error(y, naive) < 1e-4


def test_forward_on_numbers_worked_out_by_hand(backend):
    """The kernel is not turned: its top left weight looks up and to the left."""
    x = np.arange(1.0, 10).reshape(1, 3, 3, 1)
    w = np.zeros((3, 3, 1, 1))
    w[0, 0], w[1, 2] = 10, 1
    y = backend(conv.forward, x, w, np.array([0.5]))
    # 10 * the pixel up left + the pixel to the right + 0.5
    assert y[0, ..., 0].tolist() == [[2.5, 3.5, 0.5], [5.5, 16.5, 20.5], [8.5, 49.5, 50.5]]


@settings(max_examples=40, deadline=None, derandomize=True)
@given(
    shape=st.tuples(*[st.integers(1, size) for size in (3, 7, 7, 4, 4)], *[st.sampled_from([1, 3, 5])] * 2),
    fused=st.booleans(),
    block_bytes=st.sampled_from([1, 700, 1 << 20]),
    seed=st.integers(0, 99),
)
def test_any_shape_in_any_blocks(shape, fused, block_bytes, seed, backend):
    """Forward equals the loops; backward equals itself in one block, whose gradients the tests below check."""
    rng = np.random.default_rng(seed)
    x, w, b = arguments(shape, rng).values()
    naive = conv.forward_naive(x, w, b, relu=fused)
    dy, y = rng.standard_normal(naive.shape), naive if fused else None
    whole = conv.backward_numpy(dy, x, w, y)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(im2col, "BLOCK_BYTES", block_bytes)
        np.testing.assert_allclose(backend(conv.forward, x, w, b, relu=fused), naive, rtol=0, atol=1e-12)
        for mine, theirs in zip(backend(conv.backward, dy, x, w, y), whole, strict=True):
            np.testing.assert_allclose(mine, theirs, rtol=0, atol=1e-12)


@every_shape
def test_gradients_of_x_w_and_b(shape, rng, backend):
    check_backward(
        lambda x, w, b: backend(conv.forward, x, w, b),
        lambda dy, x, w, b: backend(conv.backward, dy, x, w),
        arguments(shape, rng),
        rng,
    )


@every_shape
def test_gradients_through_the_fused_relu(shape, rng, backend):
    args = arguments(shape, rng)
    before = conv.forward_naive(**args)
    assert np.abs(before).min() > 1e-4  # no kink within reach of the differences
    check_backward(
        lambda x, w, b: backend(conv.forward, x, w, b, relu=True),
        lambda dy, x, w, b: backend(conv.backward, dy, x, w, backend(conv.forward, x, w, b, relu=True)),
        args,
        rng,
    )


@every_shape
def test_dx_is_the_adjoint_of_forward_in_x_and_dw_in_w(shape, rng, backend):
    x, w, b = arguments(shape, rng).values()
    zero = np.zeros_like(b)
    check_adjoint(
        lambda x: backend(conv.forward, x, w, zero), lambda v: backend(conv.backward, v, x, w)[0], x.shape, rng
    )
    check_adjoint(
        lambda w: backend(conv.forward, x, w, zero), lambda v: backend(conv.backward, v, x, w)[1], w.shape, rng
    )


@every_shape
def test_float32_gradients_are_near_those_of_float64(shape, rng, backend):
    x, w, b = arguments(shape, rng, np.float32).values()
    y = backend(conv.forward, x, w, b, relu=True)
    dy = rng.standard_normal(y.shape).astype(np.float32)
    mine = backend(conv.backward, dy, x, w, y)
    theirs = conv.backward_numpy(*(a.astype(np.float64) for a in (dy, x, w, y)))
    for name, m, t in zip(("dx", "dw", "db"), mine, theirs, strict=True):
        assert m.dtype == np.float32, name
        np.testing.assert_allclose(m, t, rtol=0, atol=1e-4 * max(np.abs(t).max(), 1e-30), err_msg=name)


@every_shape
def test_the_fused_relu_equals_conv_then_relu(shape, rng, backend):
    x, w, b = arguments(shape, rng).values()
    y = backend(conv.forward, x, w, b, relu=True)
    np.testing.assert_array_equal(y, backend(relu.forward, backend(conv.forward, x, w, b)))
    dy = rng.standard_normal(y.shape)
    fused = backend(conv.backward, dy, x, w, y)
    apart = backend(conv.backward, backend(relu.backward, dy, y), x, w)
    for mine, theirs in zip(fused, apart, strict=True):
        np.testing.assert_array_equal(mine, theirs)


def test_the_fused_relu_has_gradient_0_at_0(backend):
    """All inputs of the ReLU are 0 here."""
    x, w, b = np.ones((1, 3, 5, 2)), np.zeros((3, 3, 2, 4)), np.zeros(4)
    y = backend(conv.forward, x, w, b, relu=True)
    for gradient in backend(conv.backward, np.ones_like(y), x, w, y):
        assert not gradient.any()


def test_without_dx_the_other_gradients_are_the_same(rng, backend):
    x, w, b = arguments(SHAPES[0], rng).values()
    y = backend(conv.forward, x, w, b, relu=True)
    dy = rng.standard_normal(y.shape)
    dx, dw, db = backend(conv.backward, dy, x, w, y)
    nothing, dw_alone, db_alone = backend(conv.backward, dy, x, w, y, need_dx=False)
    assert dx is not None
    assert nothing is None
    np.testing.assert_array_equal(dw_alone, dw)
    np.testing.assert_array_equal(db_alone, db)


def test_views_that_are_not_contiguous_give_the_same(rng, backend):
    x, w, b = arguments((2, 7, 5, 3, 4, 3, 3), rng).values()
    wide = np.zeros((2, 14, 5, 6))
    wide[:, ::2, :, ::-2] = x
    y, dy = backend(conv.forward, x, w, b), rng.standard_normal((2, 7, 5, 4))
    view, dy_view = wide[:, ::2, :, ::-2], np.asfortranarray(dy)
    w_view = np.ascontiguousarray(w.transpose(3, 2, 0, 1)).transpose(2, 3, 1, 0)  # as PyTorch stores it
    assert not any(a.flags.c_contiguous for a in (view, w_view, dy_view))
    assert relative_error(backend(conv.forward, view, w_view, b), y) < 1e-12
    for mine, theirs in zip(
        backend(conv.backward, dy_view, view, w_view), backend(conv.backward, dy, x, w), strict=True
    ):
        assert relative_error(mine, theirs) < 1e-12
