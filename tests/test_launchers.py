"""The CUDA forms of all operations: every one is there, and refuses what it cannot take."""

import inspect

import numpy as np
import pytest

from minicam import MinicamError, ops
from minicam.backend import EmulatorArray, to_cpu, to_device
from minicam.ops import conv, gap, linear, maxpool, relu, sgd, softmax_loss, warp


def device(array):
    return to_device(array, "emulator")


@pytest.mark.parametrize("name", ops.__all__)
def test_every_operation_has_its_cuda_form_with_the_same_parameters(name):
    op = getattr(ops, name)
    for direction in ("forward", "backward"):
        numpy_form = getattr(op, f"{direction}_numpy", None)
        cuda_form = getattr(op, f"{direction}_cuda", None)
        assert (numpy_form is None) == (cuda_form is None), direction
        if numpy_form is not None:
            mine, theirs = (list(inspect.signature(f).parameters.values()) for f in (cuda_form, numpy_form))
            assert [(p.name, p.default) for p in mine[: len(theirs)]] == [(p.name, p.default) for p in theirs]
            assert all(p.default is not p.empty for p in mine[len(theirs) :])
            assert getattr(op, direction).__wrapped__ is numpy_form


def f4(*shape):
    return np.zeros(shape, np.float32)


WRONG_SHAPES = [
    (lambda d: relu.backward(d(f4(2, 3)), d(f4(3, 2))), "y has the shape (3, 2), dy has (2, 3)"),
    (lambda d: maxpool.forward(d(f4(4, 4))), "x has the shape (4, 4); expected (N, H, W, C)"),
    (lambda d: maxpool.backward(d(f4(1, 2, 2, 3)), d(np.zeros((1, 2, 2, 3), np.uint8)), (1, 7, 5, 3)), "dy has the"),
    (lambda d: gap.backward(d(f4(2, 3)), (2, 4, 4, 5)), "dy has the shape (2, 3); expected (N, C), where C is 5"),
    (lambda d: conv.forward(d(f4(2, 5, 5, 3)), d(f4(3, 3, 4, 6)), d(f4(6))), "w has the shape (3, 3, 4, 6)"),
    (lambda d: conv.forward(d(f4(2, 5, 5, 3)), d(f4(3, 3, 3, 6)), d(f4(5))), "b has the shape (5,)"),
    (lambda d: conv.forward(d(f4(2, 5, 5, 3)), d(f4(2, 3, 3, 6)), d(f4(6))), "odd"),
    (lambda d: conv.backward(d(f4(2, 5, 4, 6)), d(f4(2, 5, 5, 3)), d(f4(3, 3, 3, 6))), "has the shape (2, 5, "),
    (lambda d: linear.forward(d(f4(2, 5)), d(f4(4, 3)), d(f4(3))), "w has the shape (4, 3)"),
    (lambda d: linear.backward(d(f4(3, 3)), d(f4(2, 5)), d(f4(5, 3))), "N is"),
    (lambda d: softmax_loss.forward(d(f4(2, 3)), d(np.zeros(3, np.int64))), "labels has the shape (3,); expected (N)"),
    (lambda d: softmax_loss.forward(d(f4(2, 3)), d(np.zeros(2, np.int32))), "labels is int32; here `long long*"),
    (lambda d: sgd.forward(d(f4(2, 3)), d(f4(2, 3)), d(f4(3, 2)), 0.1), "v has the shape (3, 2), w has (2, 3)"),
    (lambda d: warp.forward(d(f4(2, 5, 5, 3)), d(np.zeros((2, 3, 3))), (4, 4)), "affine has the shape (2, 3, 3)"),
    (lambda d: warp.forward(d(f4(1, 5, 5, 3)), d(np.zeros((1, 2, 3))), (4, 4), d(np.zeros((1, 3, 3)))), "colour has"),
]


@pytest.mark.parametrize(("call", "said"), WRONG_SHAPES, ids=lambda value: value[:30] if isinstance(value, str) else "")
def test_shapes_that_an_operation_cannot_take(call, said):
    with pytest.raises(MinicamError) as caught:
        call(device)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


NOTHING = [
    lambda d, a, b, c: conv.forward(d(f4(2, a, 5, b)), d(f4(3, 3, b, c)), d(f4(c))),
    lambda d, a, b, c: conv.backward(d(f4(2, a, 5, c)), d(f4(2, a, 5, b)), d(f4(3, 3, b, c)), need_dx=False),
    lambda d, a, b, c: conv.backward(d(f4(2, a, 5, c)), d(f4(2, a, 5, b)), d(f4(3, 3, b, c)), d(f4(2, a, 5, c))),
    lambda d, a, b, c: linear.forward(d(f4(a, b)), d(f4(b, c)), d(f4(c))),
    lambda d, a, b, c: linear.backward(d(f4(a, c)), d(f4(a, b)), d(f4(b, c))),
    lambda d, a, b, c: maxpool.forward(d(f4(a, 4 * b, 4, c))),
    lambda d, a, b, c: gap.forward(d(f4(a, b, 5, c))),
    lambda d, a, b, c: gap.backward(d(f4(a, c)), (a, b, 5, c)),
    lambda d, a, b, c: relu.backward(d(f4(a, b, c)), d(f4(a, b, c))),
    lambda d, a, b, c: softmax_loss.forward(d(f4(a, b * c)), d(np.zeros(a, np.int64))),
    lambda d, a, b, c: sgd.forward(*[d(f4(a, b, c))] * 3, 0.1),
    lambda d, a, b, c: warp.forward(d(f4(a, b, 5, c)), d(np.zeros((a, 2, 3))), (4, 4)),
]


@pytest.mark.parametrize("number", range(len(NOTHING)))
@pytest.mark.parametrize("sizes", [(0, 2, 3), (2, 0, 3), (2, 3, 0)], ids=str)
def test_arrays_without_elements_are_refused(number, sizes):
    with pytest.raises(MinicamError, match=r"has the shape .*a kernel (needs at least one element|takes 1 to )"):
        NOTHING[number](device, *sizes)


def test_parameters_that_do_not_start_at_a_multiple_of_16_bytes_are_updated_all_the_same():
    """They cannot be read in fours."""
    w, dw, v = (np.arange(9, dtype=np.float32)[1:] * factor for factor in (1, 2, 3))
    views = [np.concatenate([[np.float32(0)], a]).view(EmulatorArray)[1:] for a in (w, dw, v)]
    assert any(view.ctypes.data % 16 for view in views)
    for mine, theirs in zip(sgd.forward(*views, 0.5, 0.9, 0.1), sgd.forward(w, dw, v, 0.5, 0.9, 0.1), strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=1e-6)


def test_a_label_that_is_no_class_makes_the_loss_nan():
    for label in (-1, 3):
        loss, p = softmax_loss.forward(device(f4(2, 3)), device(np.array([0, label])))
        assert np.isnan(to_cpu(loss))
        np.testing.assert_allclose(p, 1 / 3, rtol=1e-6)


@pytest.mark.parametrize("op", [relu, maxpool], ids=["relu", "maxpool"])
def test_a_nan_is_not_lost_on_the_way_up(op):
    for i in range(4):
        x = -np.ones((1, 2, 2, 1), np.float32)
        x.flat[i] = np.nan
        y = op.forward(device(x))
        assert np.isnan(y if op is relu else y[0]).any()
