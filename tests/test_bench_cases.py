"""bench: what it compares results with, which layers it measures, how it takes time, and its twin in PyTorch."""

import re
import time

import numpy as np
import pytest

from minicam import MinicamError
from minicam.backend import to_cpu
from minicam.bench import step
from minicam.bench.cases import Place, cases, distinct, warp_cases
from minicam.bench.clock import in_turn, spread
from minicam.bench.figures import timed
from minicam.bench.operation import fastest
from minicam.bench.reference import (
    compare,
    conv_at,
    conv_dw_at,
    conv_dx_at,
    maxpool_dx_of,
    maxpool_of,
    places,
    rounding,
    to_float64,
    to_tf32,
)
from minicam.bench.twin import FORMATS, Twin
from minicam.model import small_gap, vgg16_gap
from minicam.ops import conv, maxpool, warp
from minicam.results import table

# -- the reference


@pytest.mark.parametrize(("R", "S"), [(3, 3), (5, 1)])
def test_the_reference_is_the_convolution(R, S, rng):
    x, w = rng.standard_normal((2, 7, 5, 3)), rng.standard_normal((R, S, 3, 4))
    dy = rng.standard_normal((2, 7, 5, 4))
    pixels, rows = list(np.ndindex(2, 7, 5)), list(np.ndindex(R, S, 3))
    y, (dx, dw, _) = conv.forward(x, w, np.zeros(4)), conv.backward(dy, x, w)
    np.testing.assert_allclose(conv_at(x, w, pixels, to_float64), y.reshape(-1, 4), atol=1e-12)
    np.testing.assert_allclose(conv_dx_at(dy, w, pixels, to_float64), dx.reshape(-1, 3), atol=1e-12)
    np.testing.assert_allclose(conv_dw_at(dy, x, R, S, rows, to_float64), dw.reshape(-1, 4), atol=1e-12)


def test_both_factors_are_rounded(rng):
    x, w, dy = (rng.standard_normal(shape, np.float32) for shape in ((2, 4, 3, 5), (3, 3, 5, 2), (2, 4, 3, 2)))
    pixels, rows = [(0, 1, 2), (1, 3, 0)], [(0, 2, 4)]
    for at, a, b, where in ((conv_at, x, w, pixels), (conv_dx_at, dy, w, pixels)):
        np.testing.assert_array_equal(at(a, b, where, to_tf32), at(to_tf32(a), to_tf32(b), where, to_float64))
        assert (at(a, b, where, to_tf32) != at(a, b, where, to_float64)).all()
    by_hand = conv_dw_at(to_tf32(dy), to_tf32(x), 3, 3, rows, to_float64)
    np.testing.assert_array_equal(conv_dw_at(dy, x, 3, 3, rows, to_tf32), by_hand)


def test_tf32_is_the_nearest_of_ten_bits():
    step = 2.0**-10
    given = np.array([1, 1 + step, 1 + 0.49 * step, 1 + 0.5 * step, -1 - 0.5 * step, 1 + 0.51 * step, 0, 3e-39])
    expected = np.array([1, 1 + step, 1, 1 + step, -1 - step, 1 + step, 0, 3e-39])
    np.testing.assert_allclose(to_tf32(given), expected, rtol=1e-12, atol=1e-41)
    assert to_tf32(given).dtype == np.float64
    assert (rounding("tf32"), rounding("float32")) == (to_tf32, to_float64)


def test_the_first_and_the_last_place_are_looked_at(rng):
    found = places(rng, (3, 5, 7))
    assert found[:2] == [(0, 0, 0), (2, 4, 6)]
    assert len(set(found)) > 15
    assert np.max(found, 0).tolist() == [2, 4, 6]
    assert np.min(found, 0).tolist() == [0, 0, 0]


def test_a_difference_is_a_part_of_the_largest_value():
    expected = np.array([1.0, -200.0, 0.0])
    assert compare("it", expected + np.array([0, 0, 0.01]), expected) == pytest.approx(5e-5)
    assert compare("it", np.zeros(3), np.zeros(3)) == 0
    for off in (0.03, np.nan):
        with pytest.raises(MinicamError, match=r"^it is wrong: off by (0.00015|nan) of the largest value, 0.0001 is "):
            compare("it", expected + np.array([0, off, 0]), expected)


@pytest.mark.parametrize(("H", "W"), [(4, 6), (7, 5)])
def test_the_reference_of_max_pooling_is_it(H, W, rng):
    x = rng.integers(0, 3, (2, H, W, 3)).astype(np.float32)  # with ties, of which the first is taken
    y, argmax = maxpool_of(x)
    for mine, expected in zip((y, argmax), maxpool.forward_naive(x), strict=True):
        np.testing.assert_array_equal(mine, expected)
    dy = rng.standard_normal(y.shape)
    np.testing.assert_array_equal(maxpool_dx_of(dy, argmax, H, W), maxpool.backward(dy, argmax, x.shape))


# -- the layers


def test_equal_layers_of_vgg16_are_measured_once():
    found = [(layer.name, shape, count) for layer, shape, count in distinct(vgg16_gap(), 224)]
    assert found[:4] == [
        ("block1_conv1", (224, 224, 3), 1),
        ("block1_conv2", (224, 224, 64), 1),
        ("block1_pool", (224, 224, 64), 1),
        ("block2_conv1", (112, 112, 64), 1),
    ]
    assert ("block3_conv2", (56, 56, 256), 2) in found
    assert ("block5_conv1", (14, 14, 512), 3) in found
    assert found[-3:] == [("CAM_conv", (14, 14, 512), 1), ("GAP", (14, 14, 1024), 1), ("CAM_fc", (1024,), 1)]
    assert sum(count for name, _, count in found if "conv" in name) == 14


def test_the_work_of_a_step_of_vgg16():
    """16.3 G multiply-adds an image forward, twice as much backward but for the gradient of the image."""
    network = vgg16_gap()
    forward, first = 16.27e9, 224 * 224 * 9 * 3 * 64
    assert step.flops(network, 5, 224) == pytest.approx(5 * 2 * (3 * forward - first), rel=1e-3)
    assert step.flops(network, 5, 224, backward=False) == pytest.approx(5 * 2 * forward, rel=1e-3)


def test_the_images_of_the_warp_are_turned_around_their_centres(monkeypatch):
    seen = []
    monkeypatch.setattr(warp, "forward", lambda images, affine, *_: seen.append(affine))
    (case,) = warp_cases(Place("cpu", 5, (), np.random.default_rng(0)), small_gap().colour, 64)
    case.run()
    np.testing.assert_allclose(seen[0] @ (32, 32, 1), np.full((5, 2), 128))
    np.testing.assert_allclose(np.linalg.norm(seen[0] @ (0, 0, 1) - 128, axis=1), np.full(5, 128 * 2**0.5))
    assert len(np.unique(seen[0] @ (0, 0, 1), axis=0)) == 5


# -- time and tables


def test_runs_take_turns_and_the_first_rounds_do_not_count():
    done, durations = [], iter(range(100))

    def clock(run):
        run()
        return next(durations)

    seconds = in_turn(clock, [lambda: done.append("a"), lambda: done.append("b")], repeats=3, warm_up=2)
    assert "".join(done) == "ab" * 5
    assert seconds.tolist() == [[4, 6, 8], [5, 7, 9]]
    assert spread(seconds[0]) == (6000, 2000)


def test_one_measurement_has_no_range():
    assert spread(np.array([2.0])) == (2000, None)
    found = timed(np.array([2.0]), np.array([4.0]))
    assert (found["milliseconds"], found["interquartile"]) == (2000, None)
    assert (found["torch_milliseconds"], found["torch_interquartile"], found["ratio"]) == (4000, None, 0.5)


def test_after_the_deadline_no_round_begins_but_the_first():
    seconds = in_turn(lambda run: run(), [lambda: 3.0, lambda: 2.0], repeats=9, deadline=time.perf_counter() + 4)
    assert seconds.tolist() == [[3], [2]]
    assert in_turn(lambda run: run(), [lambda: 3.0], repeats=2, deadline=time.perf_counter() + 60).shape == (1, 2)


def test_the_faster_one_is_chosen_by_its_second_time():
    times = {"a": iter((9, 1)), "b": iter((1, 2))}
    name, run = fastest(lambda run: next(run), {"a": times["a"], "b": times["b"]})
    assert (name, run) == ("a", times["a"])
    assert fastest(None, {"alone": len}) == ("alone", len)
    assert fastest(None, {}) == (None, None)


def test_a_table_is_aligned():
    assert table(("name", "n"), [("a", "1"), ("bcdef", "-20")]).splitlines() == [
        "| name  |   n |",
        "| ----- | --: |",
        "| a     |   1 |",
        "| bcdef | -20 |",
    ]


# -- the twin in PyTorch


@pytest.fixture
def twins(torch):
    """In both formats, on the CPU; what they set is put back."""
    before = torch.backends.cudnn.benchmark, torch.backends.cudnn.allow_tf32, torch.get_float32_matmul_precision()
    yield [Twin(torch, memory) for memory in FORMATS]
    torch.backends.cudnn.benchmark, torch.backends.cudnn.allow_tf32 = before[:2]
    torch.set_float32_matmul_precision(before[2])


@pytest.mark.oracle
@pytest.mark.parametrize(
    ("device", "ways"), [("cpu", ("forward", "backward")), ("emulator", ("forward", "data", "weights"))]
)
def test_the_twin_of_every_layer_does_the_same(device, ways, twins):
    place = Place(device, 3, twins, np.random.default_rng(0))
    seen = set()
    for group in cases(place, small_gap(), 17):
        for case in group:
            assert list(case.twins) == (list(FORMATS) if case.twins else [])
            for twin in case.twins.values():
                theirs = [as_ours(tensor) for tensor in flat(twin())]
                for mine, other in zip(the_same(case), theirs, strict=True):
                    np.testing.assert_allclose(other, mine, rtol=1e-4, atol=1e-4)
                seen.add(re.sub("block._", "", case.name) + " " + case.direction)
    convs = {f"{name} {way}" for name in ("conv1", "CAM_conv") for way in ways}
    assert seen == convs | {f"{name} {way}" for name in ("pool", "GAP", "CAM_fc") for way in ("forward", "backward")}


def flat(result):
    return result if isinstance(result, tuple) else (result,)


def as_ours(tensor):
    """Features and the gradient of a kernel, in our layout."""
    array = tensor.detach().numpy()
    if array.ndim < 4:
        return array
    return array.transpose(2, 3, 1, 0) if array.shape[2:] == (3, 3) else array.transpose(0, 2, 3, 1)


def the_same(case):
    """Of the result of our own run what the twin computes."""
    result = [to_cpu(array) for array in flat(case.run()) if array is not None]
    return {"data": result[:1], "weights": result[-2:], "forward": result[:1]}.get(case.direction, result)


@pytest.mark.oracle
def test_the_formats_are_what_they_say(twins, rng):
    x, layer = rng.standard_normal((2, 5, 3, 4), np.float32), small_gap().layers[2]
    for twin, strides in zip(twins, ((60, 1, 12, 4), (60, 15, 3, 1)), strict=True):
        assert twin.tensor(x).stride() == strides
        assert twin.weights(layer)[0].is_contiguous(memory_format=twin.format)
        assert (twin.tensor(x).data_ptr() == x.ctypes.data) == (twin.memory == "channels_last")


@pytest.mark.oracle
def test_the_twin_of_a_step_learns_the_same(twins):
    place = Place("cpu", 3, twins, np.random.default_rng(0))
    x, labels = step.batch(place, 17, small_gap())
    runs = step.runs(place, small_gap, x, labels)
    assert len(runs) == 3
    first = [float(run()) for run in runs]
    later = [[float(run()) for run in runs] for _ in range(60)][-1]
    assert first == pytest.approx([first[0]] * 3, rel=1e-5)
    assert later == pytest.approx([later[0]] * 3, rel=1e-5)
    assert first[0] - later[0] > 1e-4 * first[0]  # the update does something


@pytest.mark.oracle
def test_the_twin_of_the_network_says_the_same(twins, rng):
    network, x = step.start(small_gap, "cpu"), rng.standard_normal((3, 17, 17, 3), np.float32)
    for twin in twins:
        np.testing.assert_allclose(twin.network(network, x)().numpy(), network.forward(x), rtol=1e-4, atol=1e-5)


@pytest.mark.oracle
def test_the_precision_of_the_twin(twins, torch):
    twin = twins[0]
    twin.set_precision("tf32")
    assert torch.backends.cudnn.benchmark
    assert (torch.backends.cudnn.allow_tf32, torch.get_float32_matmul_precision()) == (True, "high")
    twin.set_precision("float32")
    assert (torch.backends.cudnn.allow_tf32, torch.get_float32_matmul_precision()) == (False, "highest")


@pytest.mark.oracle
def test_a_bench_beside_the_twin_has_its_figures(twins):
    from minicam.bench import figures, gpu
    from minicam.bench.clock import wall

    place = Place("emulator", 1, twins[:1], np.random.default_rng(0))
    results = gpu.measure(gpu.Bench(place, small_gap, 8, ("float32",), 1, wall, wall, copied=1 << 12, side=19))
    for row in (*results["operations"], *results["steps"]):
        if row.get("layer") not in ("relu", "softmax_loss", "sgd", "warp"):
            assert row.get("torch_format", "channels_last") == "channels_last"
            assert row["ratio"] == pytest.approx(row["milliseconds"] / row["torch_milliseconds"], rel=1e-3)
    (last,) = results["steps"]
    assert last["torch_images_per_second"] == pytest.approx(1e3 / last["torch_milliseconds"], rel=1e-3)
    assert results["peaks"]["tflops"]["float32"] > 0
    assert figures.report(results).endswith(f"{last['ratio']:.2f} of PyTorch's time")
