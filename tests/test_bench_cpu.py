"""bench cpu: what it measures, prints and writes, with PyTorch and without; and that a wrong result is not timed."""

import json
import re

import numpy as np
import pytest
from threadpoolctl import threadpool_limits

from minicam import MinicamError, backend
from minicam.bench import cpu, cpu_report, side
from minicam.bench import twin as twins
from minicam.bench.__main__ import main
from minicam.bench.cpu import Bench, Work
from minicam.layers import Conv
from minicam.ops import conv
from minicam.provenance import machine
from minicam.results import slug

TINY = ("cpu", "--network", "small_gap", "--batch", "2", "--size", "32", "--repeats", "2")


@pytest.fixture(autouse=True)
def _a_small_machine(monkeypatch):
    """A small product, and all that is set for a whole process put back."""
    monkeypatch.setattr(cpu, "MATRIX", 64)
    with threadpool_limits(backend.threads(), user_api="blas"):
        yield
    backend.set_threads(None)


@pytest.fixture
def without_torch(monkeypatch):
    monkeypatch.setattr(twins, "version", lambda: None)


def bench(**changes):
    given = {"network": "small_gap", "batch": 2, "size": 32, "threads": 2, "repeats": 2, "quick": False, "torch": None}
    return Bench(**given | changes)


KEYS = ["command", "date", "commit", "dirty", "machine", "torch", "threads", "step_ratio", "forward_ratio",
        "memory_ratio", "peaks", "gradients_off", "networks", "memory", "operations", "convolutions"]  # fmt: skip


def test_without_pytorch_it_measures_ours_and_says_how_to_get_it(without_torch, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main([*TINY, "--threads", "2"]) == 0
    path = f"results/cpu-{slug(machine()['cpu'])}.json"
    out = capsys.readouterr().out
    assert out.endswith(f'nothing to compare with: pip install -e ".[bench]"\nwritten to {path}\n')
    written = json.loads((tmp_path / path).read_text())
    assert list(written) == KEYS
    assert written["command"] == f"python -m minicam.bench {' '.join(TINY)} --threads 2"
    assert written["machine"] == machine()
    assert (written["torch"], written["threads"]) == (None, 2)
    assert [written[f"{name}_ratio"] for name in ("step", "forward", "memory")] == [None] * 3
    assert written["peaks"]["tflops"]["float32"] > 0
    assert written["gradients_off"] < 1e-4

    rows = written["operations"]
    names = ("block1_conv1", "block1_pool", "block2_conv1", "block2_pool", "block3_conv1", "CAM_conv", "GAP", "CAM_fc")
    ways = ("forward", "backward")
    expected = [(name, way, batch) for batch in (2, 1) for name in names for way in ways]
    assert [(row["layer"], row["direction"], row["batch"]) for row in rows] == expected
    for row in rows:
        assert row["off"] < 1e-4
        assert (row["torch_milliseconds"], row["ratio"], row["torch_format"]) == (None, None, None)
    flops = {(row["layer"], row["direction"]): row["flops"] for row in rows if row["batch"] == 2}
    assert flops["block2_conv1", "forward"] == 2 * 2 * 16 * 16 * 9 * 16 * 32
    assert flops["block2_conv1", "backward"] == 2 * flops["block2_conv1", "forward"]
    assert flops["block1_conv1", "backward"] == flops["block1_conv1", "forward"]  # images need no gradient
    for total, batch in zip(written["convolutions"], (2, 1), strict=True):
        milliseconds = sum(r["milliseconds"] for r in rows if r["batch"] == batch and "conv" in r["layer"])
        assert total["batch"] == batch
        assert total["milliseconds"] == pytest.approx(milliseconds, rel=1e-3)

    works = [(row["what"], row["batch"], row["size"], row["threads"]) for row in written["networks"]]
    assert works == [
        *(("step", 2, 32, 2), ("forward", 2, 32, 2), ("step", 1, 32, 2), ("forward", 1, 32, 2)),
        *(("step", 2, 16, 2), ("step", 2, 32, 1)),
    ]
    for row in written["networks"]:
        assert row["images_per_second"] == pytest.approx(row["batch"] / row["milliseconds"] * 1e3, rel=1e-3)
        assert row["repeats"] == 2
    held = written["memory"]["ours"]
    assert 0 < held["before"] < held["most"]
    table, others = out.split("\n\n", 1)
    assert "| CAM_conv     | backward  |     1 |" in table
    assert re.search(r"^\| step    \|     2 \|     32 \|       1 \|", others, re.MULTILINE)
    assert re.search(r"^seconds of a step, batch 1, 2: \d+\.\d\d, \d+\.\d\d$", others, re.MULTILINE)


@pytest.mark.oracle
def test_beside_pytorch_each_row_has_a_ratio(torch, tmp_path, capsys):
    path = tmp_path / "x.json"
    assert main([*TINY[:-1], "1", "--json", str(path)]) == 0
    written = json.loads(path.read_text())
    assert list(written) == KEYS
    assert written["torch"].partition("+")[0] == torch.__version__.partition("+")[0]  # "+cpu" and its like
    for row in written["operations"] + written["networks"]:
        assert row["ratio"] == pytest.approx(row["milliseconds"] / row["torch_milliseconds"], rel=1e-3)
        assert row["torch_format"] in twins.FORMATS
        assert row["off"] < 1e-4
    step, forward = written["networks"][:2]
    assert (written["step_ratio"], written["forward_ratio"]) == (step["ratio"], forward["ratio"])
    held = written["memory"]
    assert written["memory_ratio"] == pytest.approx(held["ours"]["most"] / held["torch"]["most"], rel=1e-3)
    above = [held[who]["most"] - held[who]["before"] for who in ("ours", "torch")]
    assert held["ratio_above"] == pytest.approx(above[0] / above[1], rel=1e-3)
    assert held["torch"]["before"] > held["ours"]["before"]  # its library is larger
    last = capsys.readouterr().out.splitlines()[-2]
    assert last == "beside PyTorch, batch 2: step {:.2f}, forward {:.2f}, memory {:.2f}".format(
        *(written[f"{name}_ratio"] for name in ("step", "forward", "memory"))
    )


@pytest.mark.oracle
def test_quick_measures_the_whole_network_only(torch, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main([*TINY, "--quick"]) == 0
    written = json.loads((tmp_path / f"results/cpu-{slug(machine()['cpu'])}-quick.json").read_text())
    assert list(written) == KEYS
    assert written["command"].endswith("--quick")
    assert [(row["what"], row["batch"]) for row in written["networks"]] == [("step", 2), ("forward", 2)]
    assert all(written[f"{name}_ratio"] > 0 for name in ("step", "forward", "memory"))
    assert (written["operations"], written["peaks"]["tflops"]["float32"]) == ([], None)


def test_what_is_measured_as_cost_grows():
    found = cpu.works(bench(batch=8, size=224, threads=6))
    assert found[:4] == [Work(what, batch, 224, 6) for batch in (8, 1) for what in ("step", "forward")]
    assert found[4:] == [
        *(Work("step", batch, 224, 6) for batch in (2, 4)),
        *(Work("step", 8, size, 6) for size in (112, 160)),
        *(Work("step", 8, 224, threads) for threads in (1, 2, 4)),
    ]
    assert cpu.works(bench(batch=1, size=16, threads=1)) == [Work("step", 1, 16, 1), Work("forward", 1, 16, 1)]


# -- a wrong result is refused


def test_a_wrong_layer_is_not_timed(monkeypatch, without_torch, capsys):
    def forgets_a_corner(dy, x, w, y=None, need_dx=True):
        dx, dw, db = backward(dy, x, w, y, need_dx)
        if need_dx:
            dx[0, 0, 0] = 0
        return dx, dw, db

    backward = conv.backward
    monkeypatch.setattr(conv, "backward", forgets_a_corner)
    rows = cpu.layers(bench(), {"gbytes_per_second": None, "tflops": {"float32": None}})
    seen = []
    with pytest.raises(MinicamError) as caught:
        seen.extend(row["layer"] + " " + row["direction"] for row in rows)
    assert re.fullmatch(
        r"block2_conv1 backward \(float32\) is wrong: off by [0-9.]+ of the largest value, 0.0001 is allowed; a wrong "
        "result is not timed: find the mistake with `make test`",
        str(caught.value),
    )


def test_a_wrong_gradient_of_the_network_is_one_line(monkeypatch, without_torch, capsys):
    def doubles_the_bias(self, dy, need_dx=True):
        dx = backward(self, dy, need_dx)
        if dy.dtype == np.float32:  # and so not in the reference
            self.grads["bias"] = self.grads["bias"] * 2
        return dx

    backward = Conv.backward
    monkeypatch.setattr(Conv, "backward", doubles_the_bias)
    assert main([*TINY, "--quick"]) == 2
    error = capsys.readouterr().err
    assert re.fullmatch(
        r"minicam: the training step \(float32\) is wrong: the gradient of \w+/bias is off by 1 of its length, 0.02 is "
        "allowed; a wrong result is not timed\n",
        error,
    )


class Played:
    """A side that says what it is told to."""

    def __init__(self, *results):
        self.results = list(results)

    def ask(self, what, **wanted):
        return {"seconds": 2.0, "result": self.results[0]}

    def result(self, what, **wanted):
        return np.array(self.results[0])


class Prepares(Played):
    """A side that takes long for what it has not just done, and longer in one format than in the other."""

    now = None

    def ask(self, what, **wanted):
        before, self.now = self.now, (what, wanted)
        seconds = 3.0 if wanted["memory"] == "contiguous" else 2.0
        return {"seconds": seconds + 7 * (self.now != before), "result": self.results[0]}


def test_what_is_prepared_anew_is_not_timed():
    """One process tries both formats: where the first is the faster, it is the other that was prepared last."""
    work, ours, theirs = Work("step", 2, 32, 2), Prepares([1.0]), Prepares([1.0])
    memory = cpu.better_format(bench(), work, dict.fromkeys(twins.FORMATS, theirs))
    assert memory == twins.FORMATS[0] == "channels_last"
    found = cpu.row(work, ours, theirs, memory, 1, np.inf)
    assert (found["milliseconds"], found["torch_milliseconds"]) == (2000, 2000)


def test_two_sides_that_disagree_are_not_timed():
    work = Work("forward", 4, 32, 1)
    found = cpu.row(work, Played([1.0, 2.0]), Played([1.0, 2.01]), "contiguous", 3, np.inf)
    assert (found["ratio"], found["images_per_second"], found["repeats"], found["off"]) == (1, 2, 3, 0.004975)
    once = cpu.row(work, Played([1.0]), None, None, 1, np.inf)
    assert (once["interquartile"], once["ratio"], once["off"]) == (None, None, None)
    with pytest.raises(MinicamError, match=r"^forward of the network is wrong: off by 0.048 of the largest "):
        cpu.row(work, Played([1.0, 2.0]), Played([1.0, 2.1]), "contiguous", 3, np.inf)


# -- the command


def test_the_command_says_so_where_a_side_has_died(without_torch, monkeypatch, tmp_path, capsys):
    class Dies(side.Side):
        def ask(self, what, **wanted):
            answer = super().ask(what, **wanted)
            self.process.kill()
            self.process.wait()
            return answer

    monkeypatch.setattr(cpu, "Side", Dies)
    assert main([*TINY, "--quick", "--json", str(tmp_path / "x.json")]) == 2
    error = capsys.readouterr().err
    assert error.startswith("minicam: the process that ran minicam has ended with the code -9; where that is -9, ")
    assert error.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_bad_options_are_one_line(capsys):
    for option, value, least in (("batch", 0, 1), ("size", 15, 16), ("repeats", 0, 1), ("threads", 0, 1)):
        assert main(["cpu", f"--{option}", str(value)]) == 2
        assert capsys.readouterr().err == f"minicam: --{option} is {value}; it must be at least {least}\n"
    assert main(["cpu", "--network", "vgg19"]) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_help_names_the_options(capsys):
    with pytest.raises(SystemExit) as caught:
        main(["cpu", "--help"])
    assert caught.value.code == 0
    out = capsys.readouterr().out
    assert all(f"--{name}" in out for name in ("quick", "batch", "size", "threads", "repeats", "network", "json"))


def test_a_system_that_does_not_tell_memory(monkeypatch):
    nothing = {"before": None, "most": None}
    found = cpu.memory_of(*(type("S", (), {"ask": lambda self, what: nothing})() for _ in range(2)))
    assert (found["ratio"], found["ratio_above"]) == (None, None)
    assert cpu_report.memory(found, 8) == ["memory of a step: this system does not say"]
