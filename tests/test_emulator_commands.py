"""Traces of what threads read and write, the command that prints them, and what both commands refuse.

`python -m minicam.emulator check` has tests of its own, in test_emulator_check_command.py.
"""

import re
import shutil

import numpy as np
import pytest
from emulated import array, empty, kernels, run

from minicam import emulator, ops, source
from minicam.emulator import Access, records
from minicam.emulator.__main__ import main

TEXT = r"""
extern "C" __global__ void pairs(const float2* x, float* y, int* count, const float* nothing, int n) {
  __shared__ float tile[2][2];
  int t = threadIdx.x;
  bool mine = t < n;
  float2 v = mine ? x[t] : float2();
  if (mine) tile[t / 2][t % 2] = v.x + v.y;
  __syncthreads();
  if (mine) y[t] = tile[1 - t / 2][t % 2];
  if (mine) atomicAdd(count, 1);
}
"""


@pytest.fixture
def traced(tmp_path):
    x, y = array(np.arange(8).reshape(2, 2, 2)), empty((4, 1))
    with emulator.trace() as launches:
        run(kernels(tmp_path, TEXT), "pairs", x, y, array(0, np.int32), None, 4, block=(6, 1))
    np.testing.assert_array_equal(y.ravel(), [9, 13, 1, 5])
    (launch,) = launches
    return launch


def test_the_record_of_a_launch(traced):
    assert (traced.file, traced.kernel, traced.grid, traced.block) == ("k.cu", "pairs", (1, 1, 1), (6, 1, 1))
    assert traced.arguments == {"x": (2, 2, 2), "y": (4, 1), "count": (), "nothing": None, "n": 4}
    of_thread_1 = [a for a in traced.accesses if a.thread == (1, 0, 0)]
    who = (0, 0, 0), (1, 0, 0)
    assert of_thread_1 == [
        Access(*who, "read", "x", (0, 1, 0), "k.cu:6", 0),
        Access(*who, "read", "x", (0, 1, 1), "k.cu:6", 0),
        Access(*who, "write", "tile", (0, 1), "k.cu:7", 0),
        Access(*who, "barrier", "", (), "k.cu:8", 0),
        Access(*who, "read", "tile", (1, 1), "k.cu:9", 1),
        Access(*who, "write", "y", (1, 0), "k.cu:9", 1),
        Access(*who, "atomic", "count", (), "k.cu:10", 1),
    ]
    assert len(traced.accesses) == 4 * len(of_thread_1) + 2  # the others do no more than come to the barrier


def test_the_record_of_a_launch_as_text(traced):
    expected = """\
k.cu: pairs
  grid (1,1,1), block (6,1,1): 1 x 6 = 6 threads
  arrays x (2, 2, 2)  y (4, 1)  count ()
  nothing = None  n = 4
  block (0,0,0) thread (0,0,0)  reads  x[0,0,0] x[0,0,1]   k.cu:6
                                writes tile[0,0]   k.cu:7
  block (0,0,0) thread (1,0,0)  reads  x[0,1,0] x[0,1,1]   k.cu:6
                                writes tile[0,1]   k.cu:7
  -- barrier, k.cu:8 --
  block (0,0,0) thread (0,0,0)  reads  tile[1,0]   k.cu:9
                                writes y[0,0]   k.cu:9
                                atomic count   k.cu:10
  block (0,0,0) thread (1,0,0)  reads  tile[1,1]   k.cu:9
                                writes y[1,0]   k.cu:9
                                atomic count   k.cu:10
  and 2 more threads that do something (--threads shows more of them)
  2 threads touch no memory: 4 to 5 of block (0,0,0)"""
    assert records.text(traced, threads=2) == expected
    assert records.text(traced, threads=2, only=(0, 1, 5)) == expected.replace(
        "  and 2 more threads that do something (--threads shows more of them)\n", ""
    )
    head, last = expected.split("\n")[:4], expected.split("\n")[-1]
    assert records.text(traced, only=(5,)).split("\n") == [*head, last]  # it does nothing


LOOP = r"""
extern "C" __global__ void sums(const float* x, float* y) {
  for (int i = 0; i < 3; i++) {
    float v = x[i];
    y[threadIdx.x] += v;
  }
}
"""


def test_a_text_says_where_it_is_not_in_the_order_of_time(tmp_path, traced):
    with emulator.trace() as launches:
        run(kernels(tmp_path, LOOP), "sums", array([1, 2, 3]), array([0, 0]), block=2)
    body = records.text(launches[0], threads=1).split("\n")[4:]
    who = "  block (0,0,0) thread (0,0,0)"
    assert body == [
        f"{who}  reads  x[0] x[1] x[2]   k.cu:4",
        f"{' ' * len(who)}  reads  y[0] y[0] y[0]   k.cu:5",
        f"{' ' * len(who)}  writes y[0] y[0] y[0]   k.cu:5",
        "  and 1 more threads that do something (--threads shows more of them)",
        "  The accesses of a line of code are gathered, so the order of the lines here is not the order in time.",
    ]
    assert "gathered" not in records.text(traced)


def test_a_function_may_take_the_records(tmp_path):
    names = []
    with emulator.options(trace=lambda launch: names.append(launch.kernel)):
        for _ in range(2):
            x = array(np.zeros((1, 2)))
            run(kernels(tmp_path, TEXT), "pairs", x, empty(1), array(0, np.int32), None, 0)
    assert names == ["pairs", "pairs"]


def test_the_kernels_that_were_launched(tmp_path):
    launched = set()
    with emulator.options(launched=launched):
        run(kernels(tmp_path, TEXT), "pairs", array([0, 0]), empty(1), array(0, np.int32), None, 0)
    assert launched == {("k.cu", "pairs")}


# -- the commands


def output(capsys, *command):
    """Exit code, and what is printed."""
    code = main([str(word) for word in command])
    printed = capsys.readouterr()
    return code, printed.out + printed.err


def test_trace(capsys):
    code, out = output(capsys, "trace", "gap", "--threads", 1)
    assert code == 0
    lines = out.splitlines()
    assert lines[0] == "gap.cu: gap_forward"
    reads = re.search(r"  block \(0,0,0\) thread \(0,0,0\)  reads  x(\S+) x\S+ x\S+ \.\.\. x(\S+) \(6 in all\) ", out)
    assert reads.groups() == ("[0,0,0,0]", "[0,1,2,0]")
    assert "writes y[0,0]" in out
    assert lines[-1].startswith("  254 threads touch no memory: 2 to 255 of block (0,0,0)")


def test_trace_of_some_threads(capsys):
    code, out = output(capsys, "trace", "relu", "--thread", 5, 2, 255)
    assert code == 0
    assert re.findall(r"thread \((\d+),0,0\)", out) == ["2", "5"]


def test_trace_of_edited_kernels(capsys, folder):
    path = folder / "relu.cu"
    path.write_text(path.read_text().replace("y[i] = x[i]", "y[size - 1 - i] = x[i]"))
    code, out = output(capsys, "trace", "relu", "--threads", 1, "--folder", folder)
    assert code == 0
    assert "writes y[0,1,2,1]" in out


@pytest.mark.parametrize("op", ops.__all__)
def test_every_operation_can_be_traced_and_checked(op, capsys):
    for direction in ("forward", "backward"):
        code, out = output(capsys, "trace", op, "--direction", direction)
        if hasattr(getattr(ops, op), direction):
            assert (code, out.splitlines()[0].split(":")[0].removesuffix(".cu")) == (0, op)
        else:
            assert (code, out) == (2, f"minicam: {op} has no backward: nothing is learned through it\n")


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A copy of two .cu files, for `--folder`."""
    monkeypatch.setattr(source, "FOLDER", source.FOLDER)  # back to this after the test
    for name in ("relu.cu", "softmax_loss.cu"):
        shutil.copy(source.FOLDER / name, tmp_path)
    return tmp_path


BAD = {
    ("trace", "dropout"): "there is no operation dropout; choose from conv, gap,",
    ("check", "gap", "dropout"): "there is no operation dropout; choose from conv, gap,",
    ("trace", "gap", "--kernels", "conv.cu"): "gap has no conv.cu; it has gap.cu",
    ("check", "--folder", "no/such"): "no/such is no folder; expected one with .cu files",
    ("check", "gap", "--folder", "."): "has no kernels of gap: expected gap.cu there",
    ("trace", "gap", "--folder", "no/such"): "no/such is no folder; expected one with .cu files",
    ("trace", "gap", "--threads", "0"): "--threads is 0; it must be at least 1",
    ("trace", "relu", "--thread", "3", "256"): "--thread is 256; those of a block have the numbers 0 to 255 here",
    ("trace", "relu", "--thread", "-1"): "--thread is -1; those of a block have the numbers 0 to 255 here",
    ("trace",): "the following arguments are required: op; --help shows all options",
}


@pytest.mark.parametrize("words", BAD, ids=" ".join)
def test_commands_that_cannot_be_done(words, capsys, folder, monkeypatch):
    monkeypatch.chdir(folder)
    code, out = output(capsys, *words)
    assert code == 2
    assert out.startswith("minicam: ")
    assert BAD[words] in out
    assert out.count("\n") == 1
