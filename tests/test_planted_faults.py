"""Would the suite notice? The classic faults of CUDA kernels, planted into the real files, must each be found.

Every barrier is taken out, every guard moved by one, and so on; then the tests' own comparison of the operation with
NumPy runs on the emulator in check mode. A fault is found by its name and line where it is one of memory or of
waiting, and by a wrong number where it is one of arithmetic.
"""

import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from test_devices_agree import cases, results

from minicam import cuda, emulator, ops, source

HERE = source.FOLDER
FILES = sorted(path.name for path in HERE.iterdir() if path.suffix in (".cu", ".cuh"))


def sites(pattern):
    """(file, number of the occurrence) of all that the pattern finds in the code of the kernels, comments left out."""
    found = []
    for file in FILES:
        text = (HERE / file).read_text()
        for number, match in enumerate(re.finditer(pattern, text)):
            if "//" not in text[text.rfind("\n", 0, match.start()) + 1 : match.start()]:
                found.append((file, number))
    return found


def plant(folder, file, pattern, replacement, number=0):
    """A copy of all kernels with one fault; returns the line of the fault."""
    for name in FILES:
        shutil.copy(HERE / name, folder)
    text = (folder / file).read_text()
    found = list(re.finditer(pattern, text))[number]
    changed = text[: found.start()] + found.expand(replacement) + text[found.end() :]
    assert changed != text
    (folder / file).write_text(changed)
    return text.count("\n", 0, found.start()) + 1


def find(file, order="forward"):
    """What the comparison with NumPy says of the operations that use a file: a message, or None where all is well."""
    rng = np.random.default_rng(8)
    names = [Path(file).stem] if Path(file).stem in ops.__all__ else ["conv", "linear"]
    matrix_units = "mma" in file
    cuda.set_precision("tf32" if matrix_units else "float32")
    try:
        for name, (function, args) in cases(rng).items():
            if name.partition(".")[0] not in names:
                continue
            with emulator.options(check=True, order=order, seed=1):
                if file == "conv.cu":
                    mine = results(lambda *a, f=function: f(*a, kernels="conv.cu"), args, "emulator")
                else:
                    mine = results(function, args, "emulator")
            for m, t in zip(mine, results(function, args), strict=True):
                if not np.abs(m - t).max() <= (2e-3 if matrix_units else 1e-5) * max(np.abs(t).max(), 1):
                    return f"{name}: wrong numbers"
    except emulator.EmulatorError as error:
        return str(error)
    finally:
        cuda.set_precision("float32")
    return None


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setattr(source, "FOLDER", tmp_path)
    return tmp_path


@pytest.mark.parametrize("file", [file for file in FILES if file.endswith(".cu")])
def test_without_a_fault_nothing_is_found(file):
    assert find(file) is None


BARRIER = r"__syncthreads\(\);"
GUARD = r"if \((\w+) >= ([^;]+)\) return;"
WAIT = r"cp_async_wait<[^>]*>\(\);"


@pytest.mark.parametrize(("file", "number"), sites(BARRIER))
def test_a_missing_barrier_is_found(file, number, folder):
    plant(folder, file, BARRIER, "", number)
    message = find(file)
    assert message is not None
    assert re.search("race|missing barrier", message), message


@pytest.mark.parametrize(("file", "number"), sites(GUARD))
def test_a_guard_that_is_off_by_one_is_found(file, number, folder):
    plant(folder, file, GUARD, r"if (\1 > \2) return;", number)
    message = find(file)
    assert message is not None
    assert "out of bounds" in message


@pytest.mark.parametrize(("file", "number"), sites(WAIT))
def test_a_missing_wait_for_an_asynchronous_copy_is_found(file, number, folder):
    plant(folder, file, WAIT, "", number)
    assert find(file) is not None


# file, what is there, what is planted, what is said of it
OTHERS = {
    "wrong stride": ("maxpool.cu", r"\(at / 2 \* W \+ at % 2\)", "(at / 2 * H + at % 2)", "wrong number|out of"),
    "rows and columns swapped": ("conv.cu", r"\(n \* H \+ h\) \* W \+ v", "(n * W + v) * H + h", "wrong number|out of"),
    "a write past the end": ("relu.cu", r"y\[i\] = x", "y[i + 1] = x", "out of bounds.*relu.cu"),
    "a read before the start": ("gap.cu", r"i = 0; i < HW", "i = -1; i < HW", "out of bounds|wrong numbers"),
    "a float4 that is not at a multiple of 16 bytes": (
        "sgd.cu",
        r"float4 a = w\[i\]",
        "float4 a = *(const float4*)((const float*)(w + i) + 1)",
        "misaligned",
    ),
    "a sum that several threads write": ("gap.cu", r"y\[o\] = total / HW;", "y[0] = total / HW;", "race"),
    "results of a tile beyond the last row": ("gemm.cuh", "m < M - first_m", "m <= M - first_m", "out of bounds|race"),
    "the same on the matrix units": ("conv_mma.cu", r"(?<!_)m >= M - first_m", "m > M - first_m", "out of bounds|race"),
    "a patch one pixel beyond the edge": ("operands.cuh", r"< unsigned\(W\)", "<= unsigned(W)", "out of bounds|wrong"),
    "a tile one depth too long": ("operands.cuh", "more = left > 0", "more = left >= 0", "out of b|wrong"),
    "elements of a fragment swapped": ("conv_mma.cu", r"i \* 16 \+ e % 2 \* 8", "i * 16 + e / 2 * 8", "wrong"),
    "a copy of 16 bytes from elsewhere than a multiple of 16": (
        "conv_mma.cu",
        r"TileA::ahead\(i, d\), from",
        "TileA::ahead(i, d), from + (VECTOR == 4)",
        "misaligned",
    ),
    "a kernel not turned": ("conv.cu", r"h - r \+ R / 2", "h + r - R / 2", "wrong numbers"),
}


@pytest.mark.parametrize("name", OTHERS)
def test_other_faults_are_found(name, folder):
    file, there, planted, said = OTHERS[name]
    plant(folder, file, there, planted)
    message = find(file)
    assert message is not None
    assert re.search(said, message), message


def test_a_fault_is_named_with_kernel_block_thread_and_line(folder):
    line = plant(folder, "relu.cu", r"y\[i\] = x", "y[i + 1] = x")
    message = find("relu.cu")
    assert message.startswith("relu.cu: relu_forward: block (3,0,0) thread (176,0,0): out of bounds: ")
    assert f"relu.cu:{line}" in message
