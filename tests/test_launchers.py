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


@pytest.fixture(params=["cpu", "emulator"])
def place(request):
    """A function that brings an array to each device in turn."""
    return lambda array: to_device(array, request.param)


def f4(*shape):
    return np.zeros(shape, np.float32)


WRONG_SHAPES = [
    (lambda d: relu.backward(d(f4(2, 3)), d(f4(3, 2))), "y has the shape (3, 2), dy has (2, 3)"),
    (lambda d: relu.backward(d(f4(2, 3)), d(f4(2, 1))), "y has the shape (2, 1), dy has (2, 3)"),
    (lambda d: maxpool.forward(d(f4(4, 4))), "x has the shape (4, 4); expected (N, H, W, C)"),
    (lambda d: maxpool.backward(d(f4(1, 2, 2, 3)), d(np.zeros((1, 2, 2, 3), np.uint8)), (1, 7, 5, 3)), "dy has the"),
    (
        lambda d: maxpool.backward(d(f4(1, 2, 2, 1)), d(np.zeros((1, 2, 2, 3), np.uint8)), (1, 4, 4, 3)),
        "dy has the shape (1, 2, 2, 1), output has (1, 2, 2, 3)",
    ),
    (
        lambda d: maxpool.backward(d(f4(1, 2, 2, 3)), d(np.zeros((1, 2, 2, 3), np.uint8)), (1, 4, 4, 3), d(f4(1))),
        "y has the shape (1,)",
    ),
    (lambda d: gap.forward(d(f4(2, 3))), "x has the shape (2, 3); expected (N, H, W, C)"),
    (lambda d: gap.backward(d(f4(1, 5)), (4, 4, 4, 5)), "dy has the shape (1, 5); expected (N, C), where N is 4"),
    (lambda d: gap.backward(d(f4(2, 3)), (2, 4, 4, 5)), "dy has the shape (2, 3); expected (N, C), where C is 5"),
    (lambda d: conv.forward(d(f4(2, 5, 5, 3)), d(f4(3, 3, 4, 6)), d(f4(6))), "w has the shape (3, 3, 4, 6)"),
    (lambda d: conv.forward(d(f4(2, 5, 5, 3)), d(f4(3, 3, 3, 6)), d(f4(5))), "b has the shape (5,)"),
    (lambda d: conv.forward(d(f4(2, 5, 5, 3)), d(f4(2, 3, 3, 6)), d(f4(6))), "odd"),
    (lambda d: conv.forward(d(f4(2, 5, 5, 3)), d(f4(3, 2, 3, 6)), d(f4(6))), "a kernel of 3 x 2 has no middle"),
    (lambda d: conv.backward(d(f4(2, 5, 5, 6)), d(f4(2, 5, 5, 3)), d(f4(2, 2, 3, 6))), "a kernel of 2 x 2 has no"),
    (
        lambda d: conv.backward(d(f4(2, 5, 5, 6)), d(f4(2, 5, 5, 3)), d(f4(3, 3, 3, 6)), d(f4(2, 5, 5, 1))),
        "y has the shape (2, 5, 5, 1)",
    ),
    (lambda d: conv.backward(d(f4(2, 5, 4, 6)), d(f4(2, 5, 5, 3)), d(f4(3, 3, 3, 6))), "has the shape (2, 5, "),
    (lambda d: linear.forward(d(f4(2, 5)), d(f4(4, 3)), d(f4(3))), "w has the shape (4, 3)"),
    (lambda d: linear.forward(d(f4(2, 5)), d(f4(5, 3)), d(f4(1))), "b has the shape (1,); expected (K), where K is 3"),
    (lambda d: linear.forward(d(f4(2, 5)), d(f4(5, 3)), d(f4(2, 1))), "b has the shape (2, 1); expected (K)"),
    (lambda d: linear.backward(d(f4(3, 3)), d(f4(2, 5)), d(f4(5, 3))), "N is"),
    (lambda d: linear.backward(d(f4(2, 4)), d(f4(2, 3)), d(f4(7, 4))), "w has the shape (7, 4); expected (C, K)"),
    (lambda d: softmax_loss.forward(d(f4(2, 3)), d(np.zeros(3, np.int64))), "labels has the shape (3,); expected (N)"),
    (lambda d: softmax_loss.backward(d(f4(2, 3)), d(np.zeros(1, np.int64))), "labels has the shape (1,); expected (N)"),
    (lambda d: softmax_loss.forward(d(f4(2, 3)), d(np.zeros(2))), "labels is float64; "),
    (lambda d: softmax_loss.backward(d(f4(2, 3)), d(np.zeros(2))), "labels is float64; "),
    (lambda d: sgd.forward(d(f4(3)), d(f4(1)), d(f4(3)), 0.1), "dw has the shape (1,), w has (3,)"),
    (lambda d: sgd.forward(d(f4(3)), d(f4(3)), d(f4(3)), 0.1, out=(d(f4(3)), d(f4(2)))), "new_v has the shape (2,)"),
    (lambda d: sgd.forward(d(f4(2, 3)), d(f4(2, 3)), d(f4(3, 2)), 0.1), "v has the shape (3, 2), w has (2, 3)"),
    (lambda d: warp.forward(d(f4(2, 5, 5, 3)), d(np.zeros((2, 3, 3))), (4, 4)), "affine has the shape (2, 3, 3)"),
    (lambda d: warp.forward(d(f4(2, 5, 5, 3)), d(np.zeros((2, 2, 5))), (4, 4)), "affine has the shape (2, 2, 5)"),
    (lambda d: warp.forward(d(f4(1, 5, 5, 3)), d(np.zeros((1, 2, 3))), (4, 4), d(np.zeros((1, 3, 3)))), "colour has"),
]


@pytest.mark.parametrize(("call", "said"), WRONG_SHAPES, ids=lambda value: value[:30] if isinstance(value, str) else "")
def test_shapes_that_an_operation_cannot_take(call, said, place):
    with pytest.raises(MinicamError) as caught:
        call(place)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_kernel_takes_labels_of_one_dtype_only():
    with pytest.raises(MinicamError, match="labels is int32; here `long long"):
        softmax_loss.forward(device(f4(2, 3)), device(np.zeros(2, np.int32)))


NOTHING = [
    lambda d, a, b, c: conv.forward(d(f4(2, a, 5, b)), d(f4(3, 3, b, c)), d(f4(c))),
    lambda d, a, b, c: conv.backward(d(f4(2, a, 5, c)), d(f4(2, a, 5, b)), d(f4(3, 3, b, c)), need_dx=False),
    lambda d, a, b, c: conv.backward(d(f4(2, a, 5, c)), d(f4(2, a, 5, b)), d(f4(3, 3, b, c)), d(f4(2, a, 5, c))),
    lambda d, a, b, c: linear.forward(d(f4(a, b)), d(f4(b, c)), d(f4(c))),
    lambda d, a, b, c: linear.backward(d(f4(a, c)), d(f4(a, b)), d(f4(b, c))),
    lambda d, a, b, c: maxpool.forward(d(f4(a, 4 * b, 4, c))),
    lambda d, a, b, c: gap.forward(d(f4(a, b, 5, c))),
    lambda d, a, b, c: gap.backward(d(f4(a, c)), (a, b, 5, c)),
    lambda d, a, b, c: softmax_loss.forward(d(f4(a, b * c)), d(np.zeros(a, np.int64))),
    lambda d, a, b, c: warp.forward(d(f4(a, b, 5, c)), d(np.zeros((a, 2, 3))), (4, 4)),
]
BY_ELEMENT = [  # NumPy does nothing to no elements
    lambda d, a, b, c: relu.backward(d(f4(a, b, c)), d(f4(a, b, c))),
    lambda d, a, b, c: sgd.forward(*[d(f4(a, b, c))] * 3, 0.1),
]


@pytest.mark.parametrize("number", range(len(NOTHING)))
@pytest.mark.parametrize("sizes", [(0, 2, 3), (2, 0, 3), (2, 3, 0)], ids=str)
def test_arrays_without_elements_are_refused(number, sizes, place):
    with pytest.raises(MinicamError, match=r"has the shape .*every size must be at least 1"):
        NOTHING[number](place, *sizes)


@pytest.mark.parametrize("number", range(len(BY_ELEMENT)))
@pytest.mark.parametrize("sizes", [(0, 2, 3), (2, 0, 3), (2, 3, 0)], ids=str)
def test_kernels_without_elements_are_refused(number, sizes):
    with pytest.raises(MinicamError, match=r"has the shape .*a kernel takes 1 to "):
        BY_ELEMENT[number](device, *sizes)


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


@pytest.mark.parametrize("label", [-1, 3])
def test_on_the_cpu_a_label_that_is_no_class_is_refused(label):
    labels = np.array([0, label])
    for call in (softmax_loss.forward, softmax_loss.backward):
        with pytest.raises(MinicamError) as caught:
            call(f4(2, 3), labels)
        found = f"labels are from {min(0, label)} to {max(0, label)}"
        assert str(caught.value) == f"{found}; expected 0 to 2, for 3 classes"


@pytest.mark.parametrize("op", [relu, maxpool], ids=["relu", "maxpool"])
def test_a_nan_is_not_lost_on_the_way_up(op):
    for i in range(4):
        x = -np.ones((1, 2, 2, 1), np.float32)
        x.flat[i] = np.nan
        y = op.forward(device(x))
        assert np.isnan(y if op is relu else y[0]).any()
