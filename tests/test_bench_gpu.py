"""bench gpu: its figures; and that a wrong result is not timed. The emulator stands in for the GPU."""

import re
import shutil

import numpy as np
import pytest

from minicam import MinicamError, source
from minicam.backend import device_of, to_cpu
from minicam.bench import figures, gpu, operation, step
from minicam.bench.cases import Place
from minicam.bench.clock import wall
from minicam.layers import Conv
from minicam.model import small_gap


def bench(batch=3, precisions=("float32",), size=17):
    """A bench that is quick in the emulator; its sizes are odd."""
    place = Place("emulator", batch, (), np.random.default_rng(0))
    return gpu.Bench(place, small_gap, size, precisions, 2, wall, wall, copied=1 << 12, side=19)


PEAKS = {"gbytes_per_second": 1.0, "tflops": {"tf32": None, "float32": None}}


@pytest.fixture(scope="module")
def measured():
    """What the bench measures in both precisions."""
    return gpu.measure(bench(precisions=("tf32", "float32")))


LAYERS = {
    **{name: ("forward", "data", "weights") for name in ("block2_conv1", "block3_conv1", "CAM_conv")},
    "block1_conv1": ("forward", "weights"),
    **{name: ("forward", "backward") for name in ("block1_pool", "block2_pool", "GAP", "CAM_fc", "softmax_loss")},
    "relu": ("backward",),
    **{name: ("forward",) for name in ("sgd", "warp")},
}


def test_there_is_a_row_for_each_operation_direction_and_precision(measured):
    rows = measured["operations"]
    found = [(row["layer"], row["direction"], row["precision"]) for row in rows]
    assert len(found) == len(set(found))
    for precision in ("tf32", "float32"):
        own = {(layer, direction) for layer, direction, p in found if p == precision}
        expected = {(name, way) for name, ways in LAYERS.items() for way in ways}
        assert own == {(name, way) for name, way in expected if precision == "float32" or "_conv" in name}
    for row in rows:
        assert row["count"] == 1
        assert row["off"] < 1e-5
        assert row["milliseconds"] > 0 or row["direction"] == "data"  # a difference of times
        assert (row["torch_milliseconds"], row["ratio"], row["of_matrix_peak"]) == (None, None, None)


def test_the_figures_of_a_row_are_those_of_its_layer(measured):
    rows = measured["operations"]
    of = ("block2_conv1", "weights", "tf32")
    (row,) = [row for row in rows if (row["layer"], row["direction"], row["precision"]) == of]
    flops, size = 2 * 3 * 8 * 8 * 9 * 16 * 32, 4 * (3 * 8 * 8 * (16 + 32) + 9 * 16 * 32 + 32)
    assert row["tflops"] == pytest.approx(flops / row["milliseconds"] / 1e9, rel=1e-3)
    assert row["gbytes_per_second"] == pytest.approx(size / row["milliseconds"] / 1e6, rel=1e-3)
    best = measured["peaks"]["gbytes_per_second"]
    assert row["of_copy_peak"] == pytest.approx(row["gbytes_per_second"] / best, rel=1e-3)
    assert measured["peaks"]["tflops"] == {"tf32": None, "float32": None}  # nothing there to multiply with


def test_the_training_step_and_all_convolutions(measured):
    assert [row["precision"] for row in measured["steps"]] == ["tf32", "float32"]
    for row in measured["steps"]:
        assert row["images_per_second"] == pytest.approx(3 / row["milliseconds"] * 1e3, rel=1e-3)
        assert row["torch_images_per_second"] is None
        pixels = (17 * 17 * 3 * 16 * 2, 8 * 8 * 16 * 32 * 3, 4 * 4 * 32 * 32 * 3, 4 * 4 * 32 * 64 * 3)
        flops = 2 * 3 * (9 * sum(pixels) + 3 * 64 * 3)
        assert row["tflops"] == pytest.approx(flops / row["milliseconds"] / 1e9, rel=1e-3)
    off = {row["precision"]: row["off"] for row in measured["steps"]}
    assert off["float32"] < 1e-5 < off["tf32"] < 0.3
    for total in measured["convolutions"]:
        mine = [r for r in measured["operations"] if r["precision"] == total["precision"] and "conv" in r["layer"]]
        milliseconds = sum(row["milliseconds"] for row in mine)
        assert total["milliseconds"] == pytest.approx(milliseconds, rel=1e-3)
        flops = 2 * 3 * 9 * sum(pixels)  # all of the step's but those of the linear layer
        assert total["tflops"] == pytest.approx(flops / milliseconds / 1e9, rel=1e-3)


def test_the_report_shows_what_was_measured(measured):
    above, below = figures.report(measured).split("\n\n")
    (table, legend), lines = above.rsplit("\n", 1), below.splitlines()
    header, _, *rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines()]
    assert header[:5] == ["layer", "direction", "precision", "times", "ms"]
    assert "below 1 is faster" in legend
    assert len(rows) == len(measured["operations"])
    assert [row[2] for row in rows] == sorted((row[2] for row in rows), reverse=True)
    first = measured["operations"][0]
    assert rows[0][:5] == [first["layer"], first["direction"], "tf32", "1", f"{first['milliseconds']:.3f}"]
    assert lines[0] == f"the GPU's best: {measured['peaks']['gbytes_per_second']:.0f} GB/s in a copy"
    assert lines[1] == "the GPU's best, tf32: - TFLOP/s in a product"
    last = measured["steps"][1]
    images, tflops = last["images_per_second"], last["tflops"]
    assert lines[-1] == f"training step, float32: {images:.1f} images/s, {tflops:.1f} TFLOP/s, - of the best"


# -- a wrong result is refused


@pytest.fixture
def planted(tmp_path, monkeypatch):
    """Call it to have a mistake in a kernel's file for the rest of the test."""

    def plant(file, old, new):
        folder = tmp_path / "ops"
        shutil.copytree(source.FOLDER, folder)
        text = (folder / file).read_text()
        assert old in text
        (folder / file).write_text(text.replace(old, new))
        monkeypatch.setattr(source, "FOLDER", folder)

    return plant


@pytest.mark.parametrize(
    ("file", "old", "new", "what"),
    [
        ("gap.cu", "y[o] = total / HW;", "y[o] = total / (HW - 1);", "GAP forward (float32)"),
        ("gap.cu", "dx[i] = dy[n * C + c] / HW;", "dx[i] = dy[c] / HW;", "GAP backward (float32)"),
        ("maxpool.cu", "value > best", "value >= best - 0.001f", "block1_pool backward (float32)"),
        ("conv_tiled.cu", "total += b[k];", "total += k ? b[k] : 0;", "block1_conv1 forward (float32)"),
        ("sgd.cu", "next = momentum * v +", "next = v +", "sgd forward (float32)"),
        ("softmax_loss.cu", "? 1 : 0)) / N", "? 1 : 0))", "softmax_loss backward (float32)"),
        ("warp.cu", "double u = q + 0.5, v = p + 0.5;", "double u = q + 0.5, v = p;", "warp forward (float32)"),
        # The matrix units take any float and cut it off: TF32, but not the nearest.
        ("mma.cuh", "emulator_to_tf32(value);", "*(unsigned*)&value;", "block1_conv1 forward (tf32)"),
    ],
)
def test_a_mistake_in_a_kernel_is_not_timed(file, old, new, what, planted, monkeypatch):
    planted(file, old, new)
    timed = []
    monkeypatch.setattr(operation, "in_turn", lambda clock, runs, repeats, _: np.ones((len(runs), repeats)))

    def measure():
        for row in gpu.operations(bench(precisions=("tf32" if "tf32" in what else "float32",)), PEAKS):
            timed.append("{layer} {direction} ({precision})".format(**row))

    with pytest.raises(MinicamError) as caught:
        measure()
    assert re.fullmatch(
        f"{re.escape(what)} is wrong: off by [0-9.e-]+ of the largest value, 0.0001 is allowed; a wrong result is "
        "not timed: find the mistake with `python -m minicam.emulator check`",
        str(caught.value),
    )
    assert what not in timed


def test_a_wrong_training_step_is_not_timed(monkeypatch):
    def forgets_the_bias(self, dy, need_dx=True):
        dx = backward(self, dy, need_dx)
        if device_of(dy) == "emulator":
            self.grads["bias"] = self.grads["bias"] * 0
        return dx

    backward = Conv.backward
    monkeypatch.setattr(Conv, "backward", forgets_the_bias)
    monkeypatch.setattr(gpu, "in_turn", None)
    with pytest.raises(MinicamError) as caught:
        list(gpu.steps(bench(), PEAKS))
    assert re.fullmatch(
        r"the training step \(float32\) is wrong: the gradient of \w+/bias is off by 1 of its length, 0.02 is allowed; "
        "a wrong result is not timed",
        str(caught.value),
    )


def test_a_gradient_that_is_no_number_is_wrong(monkeypatch):
    given = bench()
    x, labels = step.batch(given.place, given.size, small_gap())
    monkeypatch.setattr(step, "to_cpu", lambda array: to_cpu(array) * (np.nan if array.size == 16 else 1))
    with pytest.raises(MinicamError, match="the gradient of block1_conv1/bias is off by nan of its length"):
        step.check(small_gap, x, labels, "cpu", "tf32")
