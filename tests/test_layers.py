"""layers: what each remembers and forgets, the gradients it fills, and dropout."""

import numpy as np
import pytest
from gradcheck import check_backward, relative_error, tie_free

from minicam import MinicamError
from minicam.layers import GAP, Conv, Dropout, Linear, MaxPool, ReLU
from minicam.ops import conv, gap, linear, maxpool, relu

IMAGE, VECTOR = (2, 5, 7, 3), (2, 3)


def make(kind, rng):
    """One layer of each kind, in float64, that takes three channels."""
    kernel, bias = rng.standard_normal((3, 3, 3, 4)), rng.standard_normal(4)
    return {
        "conv": lambda: Conv("conv", kernel, bias, fused_relu=False),
        "conv and relu": lambda: Conv("conv", kernel, bias),
        "relu": lambda: ReLU("relu"),
        "maxpool": lambda: MaxPool("maxpool"),
        "gap": lambda: GAP("gap"),
        "dropout": lambda: Dropout("dropout", 0.4),
        "linear": lambda: Linear("linear", kernel[0, 0], bias),
    }[kind]()


KINDS = {
    "conv": IMAGE,
    "conv and relu": IMAGE,
    "relu": IMAGE,
    "maxpool": IMAGE,
    "gap": IMAGE,
    "dropout": VECTOR,
    "linear": VECTOR,
}
every_kind = pytest.mark.parametrize("kind", KINDS)


@every_kind
def test_gradients_of_input_and_parameters(kind, rng):
    layer = make(kind, rng)

    def forward(x, *arrays):
        layer.params = dict(zip(layer.params, arrays, strict=True))
        return layer.forward(x, learning=True)

    def backward(dy, x, *arrays):
        forward(x, *arrays)
        return [layer.backward(dy), *(layer.grads[name] for name in layer.params)]

    check_backward(forward, backward, {"x": tie_free(KINDS[kind], rng), **layer.params}, rng)
    assert layer.grads.keys() == layer.params.keys()


@every_kind
def test_without_dx_it_returns_none_and_the_same_gradients(kind, rng):
    layer, x = make(kind, rng), tie_free(KINDS[kind], rng)
    dy = rng.standard_normal(layer.forward(x, learning=True).shape)
    assert layer.backward(dy).shape == x.shape
    grads = layer.grads
    layer.grads = {}
    layer.forward(x, learning=True)
    assert layer.backward(dy, need_dx=False) is None
    for name in layer.params:
        np.testing.assert_array_equal(layer.grads[name], grads[name])


@every_kind
def test_memory_lasts_from_a_learning_forward_to_its_backward(kind, rng):
    layer, x = make(kind, rng), tie_free(KINDS[kind], rng)
    assert layer.memory is None
    y = layer.forward(x, learning=True)
    assert layer.memory is not None
    layer.backward(np.ones_like(y))
    assert layer.memory is None
    with pytest.raises(RuntimeError, match=rf"^{layer.name}: backward without a forward\(learning=True\) before it$"):
        layer.backward(np.ones_like(y))
    layer.forward(x, learning=True)
    layer.forward(x)  # an evaluation forgets what was there: it must not be taken for that of a later backward
    assert layer.memory is None


@every_kind
def test_forward_and_backward_change_no_argument_and_no_parameter(kind, rng):
    layer, x = make(kind, rng), tie_free(KINDS[kind], rng)
    dy = rng.standard_normal(layer.forward(x, learning=True).shape)
    arrays = [x, dy, *layer.params.values()]
    before = [a.copy() for a in arrays]
    layer.backward(dy)
    for now, was in zip(arrays, before, strict=True):
        np.testing.assert_array_equal(now, was)


def test_layers_are_their_operations(rng):
    """A layer adds no arithmetic of its own."""
    x, v = tie_free(IMAGE, rng), tie_free(VECTOR, rng)
    layer = make("conv and relu", rng)
    w, b = layer.params.values()
    np.testing.assert_array_equal(layer.forward(x), conv.forward(x, w, b, relu=True))
    np.testing.assert_array_equal(make("relu", rng).forward(x), relu.forward(x))
    np.testing.assert_array_equal(make("maxpool", rng).forward(x), maxpool.forward(x)[0])
    np.testing.assert_array_equal(make("gap", rng).forward(x), gap.forward(x))
    layer = make("linear", rng)
    np.testing.assert_array_equal(layer.forward(v), linear.forward(v, *layer.params.values()))


def test_max_pooling_remembers_a_byte_an_output_and_not_its_input(rng):
    layer = make("maxpool", rng)
    layer.forward(tie_free(IMAGE, rng), learning=True)
    argmax, shape, y = layer.memory
    assert (argmax.dtype, argmax.shape, shape, y) == (np.uint8, (2, 2, 3, 3), IMAGE, None)


def test_the_gradient_of_a_relu_is_the_same_when_the_pooling_above_takes_it(rng):
    """Half of the windows hold nothing that is positive."""
    w, b, x = rng.standard_normal((3, 3, 3, 4)), np.full(4, -4.0), tie_free((2, 7, 6, 3), rng)
    gradients = []
    for pooled in (False, True):
        below, above = Conv("conv", w, b, pooled=pooled), MaxPool("maxpool", relu=pooled)
        y = above.forward(below.forward(x, learning=True), learning=True)
        assert 0.2 < (y == 0).mean() < 0.8
        assert (below.memory[1] is None) == pooled
        dy = np.random.default_rng(5).standard_normal(y.shape)
        gradients.append([below.backward(above.backward(dy)), *below.grads.values()])
    for mine, theirs in zip(*gradients, strict=True):
        np.testing.assert_array_equal(mine, theirs)


# --- dropout ---


def dropout(rate=0.4, seed=5, step=9):
    layer = Dropout("dropout", rate)
    layer.seed, layer.step = seed, step
    return layer


def test_dropout_does_nothing_in_evaluation(rng):
    x = rng.standard_normal((3, 7))
    np.testing.assert_array_equal(dropout().forward(x), x)


def test_the_mask_depends_on_seed_and_step_and_on_nothing_else():
    ones = np.ones((6, 50))
    mask = dropout().forward(ones, learning=True)
    np.random.default_rng(1).random(100)
    layer = dropout()
    for _ in range(2):  # not on what was drawn before
        np.testing.assert_array_equal(layer.forward(ones, learning=True), mask)
    np.testing.assert_array_equal(dropout().forward(-3 * ones, learning=True), -3 * mask)  # nor on the input
    singles = dropout().forward(ones.astype(np.float32), learning=True)
    assert singles.dtype == np.float32
    np.testing.assert_array_equal(singles != 0, mask != 0)  # nor on the precision
    for other in (dropout(seed=6), dropout(step=10), dropout(seed=9, step=5)):
        assert (other.forward(ones, learning=True) != mask).any()


def test_what_is_kept_is_scaled_so_that_the_mean_stays():
    y = dropout(rate=0.4).forward(np.ones((200, 500)), learning=True)
    kept = y != 0
    np.testing.assert_allclose(y[kept], 1 / 0.6, rtol=1e-15)
    # 100,000 draws: the deviation of the share is sqrt(0.4 * 0.6 / 1e5) = 0.0015, of the mean 1/0.6 of it
    assert kept.mean() == pytest.approx(0.6, abs=5 * 0.0015)
    assert y.mean() == pytest.approx(1, abs=5 * 0.0026)


def test_backward_uses_the_mask_of_forward(rng):
    layer, x, dy = dropout(), tie_free((4, 9), rng), rng.standard_normal((4, 9))
    mask = layer.forward(x, learning=True) / x
    layer.step += 1  # the next forward pass would draw another
    assert relative_error(layer.backward(dy), dy * mask) < 1e-15


@pytest.mark.parametrize("rate", [1, 1.5, -0.1, float("nan")])
def test_a_rate_that_leaves_nothing_to_scale_is_refused(rate):
    with pytest.raises(MinicamError, match=rf"^dropout: the rate is {rate}; it must be at least 0 and less than 1$"):
        dropout(rate=rate)


def test_a_rate_of_0_keeps_everything(rng):
    x = rng.standard_normal((3, 7))
    np.testing.assert_array_equal(dropout(rate=0.0).forward(x, learning=True), x)
