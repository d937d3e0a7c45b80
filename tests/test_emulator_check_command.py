"""`python -m minicam.emulator check`: faults planted into a copy of the kernels must be found, numbers included."""

import re
import shutil
import sys

import numpy as np
import pytest

from minicam import source
from minicam.emulator import __main__ as command
from minicam.emulator.calls import CHECKED, TINY, calls, changed, difference

KERNELS = source.FOLDER


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A copy of all kernels, for `--folder`."""
    monkeypatch.setattr(source, "FOLDER", source.FOLDER)  # back to this after the test
    for path in KERNELS.glob("*.cu*"):
        shutil.copy(path, tmp_path)
    return tmp_path


def plant(folder, file, there, planted):
    """Change one place in a file."""
    text = (folder / file).read_text()
    assert text.count(there) == 1, (file, there)
    (folder / file).write_text(text.replace(there, planted))


def check(capsys, *ops, folder=None):
    """Exit code, and the lines that are printed."""
    code = command.main(["check", *ops, *(["--folder", str(folder)] if folder else [])])
    printed = capsys.readouterr()
    assert printed.err == ""
    return code, printed.out.splitlines()


# -- memory and barriers


def test_all_kernels_pass_and_each_is_named(capsys):
    code, lines = check(capsys)
    assert code == 0, lines
    named = {f"{path.name}: {kernel}: ok" for path in KERNELS.glob("*.cu") for kernel in source.read(path).kernels}
    assert set(lines) == named


def test_of_an_edited_kernel(capsys, folder):
    path = folder / "relu.cu"
    path.write_text(path.read_text().replace("if (i >= size) return;\n", "if (i > size) return;\n"))
    code, lines = check(capsys, "relu", "softmax_loss", folder=folder)
    assert code == 1
    assert len(lines) == 4
    assert re.fullmatch(
        r"relu\.cu: relu_backward: block \(7,0,0\) thread \(146,0,0\): out of bounds: read of 4 bytes at relu.cu:\d+, "
        r"0 bytes past the end of (y|dy), whose shape is \(2, 17, 19, 3\)",
        lines[1],
    )
    assert lines[2:] == ["softmax_loss.cu: softmax_loss_forward: ok", "softmax_loss.cu: softmax_loss_backward: ok"]


def test_what_was_not_launched(capsys, folder):
    with (folder / "relu.cu").open("a") as file:
        file.write('extern "C" __global__ void new_one(real* x) { x[0] = 1; }\n')
    code, lines = check(capsys, "relu", folder=folder)
    assert code == 1
    assert lines == ["relu.cu: relu_forward: ok", "relu.cu: relu_backward: ok", "relu.cu: new_one: was not launched"]


def test_what_was_not_reached(capsys, folder):
    plant(folder, "linear.cu", "dx[n * C + c] = total;", "dx[n * C + c - 1] = total;")
    code, lines = check(capsys, "linear", folder=folder)
    assert code == 1
    assert lines[0] == "linear.cu: linear_forward: ok"
    assert re.match(r"linear.cu: linear_backward_data: .* 4 bytes before the start of dx, ", lines[1])
    assert lines[2:] == ["linear.cu: linear_backward_weights: not reached, because of the error above"]


FAR = "shared[1 << 20] = 0;"
TILES_2 = "__shared__ __align__(16) real shared[TILE_DEPTH * (TILE_M + PAD + TILE_N + PAD)];"
TILES_3 = "extern __shared__ __align__(16) float shared[];"
# what is checked, its file, the file of the fault, what stands before it, and what else must be for it to strike
WIDE = {
    "tiles of conv": ("conv", "conv_tiled.cu", "gemm.cuh", TILES_2, ""),
    "tiles of linear": ("linear", "linear.cu", "gemm.cuh", TILES_2, ""),
    "matrix units": ("conv", "conv_mma.cu", "conv_mma.cu", TILES_3, "&& VECTOR == 4"),
    "matrix units, not in fours": ("conv", "conv_mma.cu", "conv_mma.cu", TILES_3, "&& VECTOR != 4"),
}


@pytest.mark.parametrize("name", WIDE)
def test_wide_tiles_are_launched(name, capsys, folder):
    op, file, faulty, before, when = WIDE[name]
    plant(folder, faulty, before, f"{before} if (blockDim.x == THREADS {when}) {FAR}")
    code, lines = check(capsys, op, folder=folder)
    assert code == 1
    assert re.match(rf"{file}: {op}_forward: .*out of bounds: ", next(line for line in lines if line.startswith(file)))
    assert all(line.startswith(file) or line.endswith(": ok") for line in lines)


def test_several_tiles_in_depth_are_launched(capsys, folder):
    plant(folder, "gemm.cuh", "__syncthreads();  // nobody reads the tiles any more: they may be overwritten", "")
    code, lines = check(capsys, "linear", folder=folder)
    assert code == 1
    assert re.match(r"linear.cu: linear_forward: .*: race on shared ", lines[0])


# -- numbers


WRONG = "of which something wrong is said above"


def test_wrong_numbers(capsys, folder):
    plant(folder, "relu.cu", "dx[i] = y[i] > 0 ", "dx[i] = y[i] > 0 && i != 21 ")
    code, lines = check(capsys, "relu", folder=folder)
    assert code == 1
    assert lines == [
        "relu.cu: relu.backward: wrong numbers: largest error 1.37 at [0,0,7,0], NumPy has 1.366463, the kernels 0",
        "relu.cu: relu_forward: ok",
        f"relu.cu: relu_backward: has a part in relu.backward, {WRONG}",
    ]


def test_wrong_numbers_of_one_of_several_files(capsys, folder):
    plant(folder, "conv_tiled.cu", "dw[tap * K + k] = total;", "dw[tap * K + k] = total * (k < 67);")
    code, lines = check(capsys, "conv", folder=folder)
    assert code == 1
    said = "conv_tiled.cu: conv.backward: wrong numbers in result 2 of 3: largest error "
    assert re.match(re.escape(said) + r"\S+ at \[\d,\d,\d+,(67|68|69|70)\], NumPy has \S+, the kernels 0$", lines[7])
    part = f"has a part in conv.backward, {WRONG}"
    assert [line for line in lines if not line.endswith(": ok")] == [
        lines[7],
        f"conv_tiled.cu: conv_backward_data: {part}",
        f"conv_tiled.cu: conv_backward_weights: {part}",
        f"sum_rows.cu: sum_rows: {part}",
    ]


def test_what_is_not_written(capsys, folder):
    plant(folder, "gap.cu", "y[o] = total / HW;", "if (o != 5) y[o] = total / HW;")
    code, lines = check(capsys, "gap", folder=folder)
    assert code == 1
    said = r"gap.cu: gap.forward: wrong numbers: largest error nan at \[1,2\], NumPy has \S+, the kernels nan"
    assert re.fullmatch(said, lines[0])


def test_a_changed_argument(capsys, folder):
    plant(folder, "relu.cu", "const real* y, real* dx", "real* y, real* dx")
    plant(folder, "relu.cu", "dx[i] = y", "y[i] += 1; dx[i] = y")
    code, lines = check(capsys, "relu", folder=folder)
    assert code == 1
    assert lines[0] == "relu.cu: relu.backward: the kernels change its argument y"


def test_numbers_that_differ():
    a = np.array([[1, 2, 4], [8, 0, -100]], np.float32)
    b = a + np.array([[0, 0, 0.009], [0, -0.008, 0]], np.float32)
    assert difference(a, b, 1e-4) is None
    assert difference((a, a), (a, b), 8e-5) == (
        "wrong numbers in result 2 of 2: largest error 0.009 at [0,2], NumPy has 4, the kernels 4.009"
    )
    whole = np.array([3, 200], np.uint8)
    assert difference(whole, whole, 1e-4) is None
    assert difference(whole, whole - np.uint8([0, 1]), 1e-1) == (
        "wrong numbers: largest error 1 at [1], NumPy has 200, the kernels 199"
    )
    assert difference(a[0, 0], a[0, 1], 1e-4) == "wrong numbers: largest error 1, NumPy has 1, the kernels 2"
    assert difference(a, a[0], 1e-4) == "wrong shape: NumPy has (2, 3), the kernels (3,)"
    assert difference(a, np.where(a == 0, np.inf, a), 1e-4) == (
        "wrong numbers: largest error inf at [1,1], NumPy has 0, the kernels inf"
    )


def test_arguments_that_are_changed():
    a, b = np.arange(3), np.arange(4)
    assert changed((a, (1, 2), b), (a.copy(), (1, 2), b.copy())) is None
    assert changed((a, 0.5, b), (a, 0.5, b + 1)) == 2


def test_calls_are_the_same_each_time():
    for sizes in (TINY, *CHECKED):
        for (_, once), (_, again) in zip(calls("conv", sizes), calls("conv", sizes), strict=True):
            assert changed(once, again) is None


# -- while it runs


def test_what_is_printed_before_it_is_interrupted(capsys, monkeypatch):
    def interrupted(op, files):
        if op == "sgd":
            raise KeyboardInterrupt
        return check_op(op, files)

    check_op = command._check
    monkeypatch.setattr(command, "_check", interrupted)
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    assert command.main(["check", "relu", "sgd"]) == 130
    printed = capsys.readouterr()
    assert printed.out == "relu.cu: relu_forward: ok\nrelu.cu: relu_backward: ok\n"
    assert printed.err == "checking relu ...\nchecking sgd ...\nminicam: interrupted\n"
