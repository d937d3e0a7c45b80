"""ops/sgd and optim: the update by hand, which parameters it touches, and the schedules."""

import numpy as np
import pytest
from gradcheck import relative_error

from minicam import MinicamError
from minicam.backend import to_cpu, to_device
from minicam.ops import sgd
from minicam.optim import SCHEDULES, SGD, schedule

SETTINGS = [(0.1, 0.0, 0.0), (0.05, 0.9, 0.0), (0.1, 0.0, 0.01), (0.3, 0.5, 0.2)]  # lr, momentum, weight decay
every_setting = pytest.mark.parametrize("setting", SETTINGS, ids=str)


@every_setting
def test_update_equals_the_loop(setting, rng, backend):
    w, dw, v = rng.standard_normal((3, 3, 5, 7, 2))
    naive = sgd.forward_naive(w, dw, v, *setting)
    for mine, theirs in zip(backend(sgd.forward, w, dw, v, *setting), naive, strict=True):
        assert relative_error(mine, theirs) < 1e-12
    singles = [a.astype(np.float32) for a in (w, dw, v)]
    naive = sgd.forward_naive(*singles, *setting)
    double = sgd.forward_naive(*(a.astype(np.float64) for a in singles), *setting)
    for mine, n, d in zip(backend(sgd.forward, *singles, *setting), naive, double, strict=True):
        assert mine.dtype == np.float32
        assert relative_error(mine, n) < 1e-5
        assert relative_error(mine, d) < 1e-4


@every_setting
def test_out_receives_the_same_numbers_in_place_or_not(setting, rng, backend):
    w, dw, v = rng.standard_normal((3, 5, 7))
    new_w, new_v = backend(sgd.forward, w, dw, v, *setting)
    other = np.full_like(w, np.nan), np.full_like(v, np.nan)
    placed = [to_device(a, backend.device) for a in (w.copy(), dw, v.copy(), *other)]
    assert sgd.forward(*placed[:3], *setting, out=tuple(placed[3:]))[0] is placed[3]
    np.testing.assert_array_equal(to_cpu(placed[0]), w)  # only out was written
    np.testing.assert_array_equal(to_cpu(placed[2]), v)
    sgd.forward(*placed[:3], *setting, out=(placed[0], placed[2]))
    for a, expected in zip(placed, (new_w, dw, new_v, new_w, new_v), strict=True):
        np.testing.assert_array_equal(to_cpu(a), expected)


def test_two_steps_by_hand(backend):
    """lr 0.5, momentum 0.5, decay 0.25: v = 2 + 0.25 * 4 = 3, w = 2.5; v = 1.5 + 1 + 0.625 = 3.125, w = 0.9375."""
    w, v = np.array([4.0]), np.array([0.0])
    w, v = backend(sgd.forward, w, np.array([2.0]), v, 0.5, 0.5, 0.25)
    assert (w.item(), v.item()) == (2.5, 3)
    w, v = backend(sgd.forward, w, np.array([1.0]), v, 0.5, 0.5, 0.25)
    assert (w.item(), v.item()) == (0.9375, 3.125)


def parameters(value=1.0):
    shapes = {"low/kernel": (3, 3, 2, 4), "low/bias": (4,), "top/kernel": (4, 3), "top/bias": (3,)}
    return {name: np.full(shape, value) for name, shape in shapes.items()}


def test_plain_sgd_moves_against_the_gradient_in_place():
    params, grads = parameters(), parameters(2.0)
    arrays = dict(params)
    SGD(lr=0.25).step(params, grads)
    for name, array in params.items():
        assert array is arrays[name]
        np.testing.assert_array_equal(array, 0.5)
        np.testing.assert_array_equal(grads[name], 2)


def test_biases_are_not_decayed():
    params = parameters()
    SGD(lr=0.5, weight_decay=0.5).step(params, parameters(0.0))
    assert {name: array.flat[0] for name, array in params.items()} == {
        "low/kernel": 0.75,
        "low/bias": 1,
        "top/kernel": 0.75,
        "top/bias": 1,
    }


def test_rates_of_single_layers_and_the_factor_multiply_the_learning_rate():
    params = parameters(0.0)
    SGD(lr=0.5, rates={"top": 10.0}).step(params, parameters(1.0), factor=0.5)
    assert [array.flat[-1] for array in params.values()] == [-0.25, -0.25, -2.5, -2.5]


def test_momentum_is_kept_by_name_and_follows_the_formula(rng):
    params, optimiser = parameters(), SGD(lr=0.1, momentum=0.9, weight_decay=0.02)
    w, v = 1.0, 0.0
    for gradient in rng.standard_normal(5):
        optimiser.step(params, parameters(gradient))
        v = 0.9 * v + gradient + 0.02 * w
        w = w - 0.1 * v
        np.testing.assert_allclose(params["top/kernel"], w, rtol=1e-13)
    assert optimiser.velocity.keys() == params.keys()
    np.testing.assert_allclose(optimiser.velocity["top/kernel"], v, rtol=1e-13)


def test_only_parameters_with_a_gradient_change():
    params = parameters()
    SGD(lr=0.5, momentum=0.9, weight_decay=0.5).step(params, {"top/kernel": np.ones((4, 3))})
    assert [array.flat[0] for array in params.values()] == [1, 1, 0.25, 1]


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("constant", [1, 1, 1, 1, 1]),
        ("cosine", [1, 0.75, 0.5, 0.25, 0]),
        ("step", [1, 1, 1, 0.1, 0.1]),
    ],
)
def test_schedules_at_0_a_third_a_half_two_thirds_and_1(name, values):
    mine = [schedule(name, progress) for progress in (0, 1 / 3, 1 / 2, 2 / 3, 1)]
    assert mine == pytest.approx(values, abs=1e-15)


def test_the_names_of_the_schedules_are_those_tested_here():
    assert SCHEDULES == ("constant", "cosine", "step")


def test_an_unknown_schedule_is_refused():
    with pytest.raises(MinicamError) as caught:
        schedule("linear", 0.5)
    assert str(caught.value) == "there is no schedule 'linear'; choose one of constant, cosine, step"
