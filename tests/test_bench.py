"""bench: what its two commands print and write, their exit codes, and what they say of bad input."""

import json
import os
import re
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from minicam import backend, cuda, nvrtc, source
from minicam.bench import cpu, gpu, kernels, profile
from minicam.bench.__main__ import main
from minicam.model import small_gap
from minicam.provenance import version

needs_nvrtc = pytest.mark.skipif(nvrtc.find() is None, reason="NVRTC is not installed (the extra test has it)")

LEAN = """
#ifndef real
#define real float
#endif
extern "C" __global__ void lean(real* x) { __shared__ real s[37]; s[threadIdx.x] = *x; __syncthreads(); *x = s[3]; }
extern "C" __global__ void second(int* x) { *x = 1; }
"""
GREEDY = """
extern "C" __global__ void __launch_bounds__(1024, 2) greedy(float* x, int n) {
  float a[80], total = 0;
#pragma unroll
  for (int i = 0; i < 80; i++) a[i] = x[3 * i + n];
  __syncthreads();
#pragma unroll
  for (int i = 0; i < 80; i++) total += a[i] * a[79 - i];
  x[0] = total;
}
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder of kernels of its own in the place of minicam/ops."""
    monkeypatch.setattr(source, "FOLDER", tmp_path / "ops")
    source.FOLDER.mkdir()
    return source.FOLDER


@needs_nvrtc
def test_the_table_of_kernels(folder, tmp_path, capsys):
    (folder / "lean.cu").write_text(LEAN)
    path = tmp_path / "new" / "kernels.json"
    assert main(["kernels", "--arch", "sm_80,sm_90", "--json", str(path)]) == 0
    table, verdict = capsys.readouterr().out.split("\n\n")
    header, rule, *lines = [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines()]
    assert header == [
        *("file", "dtype", "arch", "kernel"),
        *("registers", "shared", "stack", "spilled", "compile ms"),
    ]
    assert all(cell.strip(":-") == "" for cell in rule)
    builds = [(dtype, arch) for dtype in ("float32", "float64") for arch in ("sm_80", "sm_90")]
    assert [line[:4] for line in lines[::2]] == [["lean.cu", dtype, arch, "lean"] for dtype, arch in builds]
    assert [line[:4] for line in lines[1::2]] == [["", "", "", "second"]] * 4  # a file is named once
    assert [line[5] for line in lines[::2]] == ["148", "148", "296", "296"]
    assert {line[7] for line in lines} == {"0"}
    assert [bool(line[8]) for line in lines] == [True, False] * 4
    assert verdict == f"2 kernels in 1 files, {nvrtc.version()}: none spills\n"

    written = json.loads(path.read_text())
    assert written.keys() == {"command", "date", "commit", "dirty", "compiler", "rows"}
    assert written["command"] == "python -m minicam.bench kernels --arch sm_80,sm_90"
    assert written["compiler"] == nvrtc.version()
    assert len(written["rows"]) == 8
    first = written["rows"][0]
    assert [str(first[key]) for key in ("file", "dtype", "arch", "kernel", "registers", "shared")] == lines[0][:6]


@needs_nvrtc
def test_a_kernel_that_spills_is_named_and_the_exit_code_is_1(folder, capsys):
    (folder / "greedy.cu").write_text(GREEDY)
    (folder / "lean.cu").write_text(LEAN)
    assert main(["kernels", "--arch", "sm_80"]) == 1
    out = capsys.readouterr().out
    assert out.endswith(f"3 kernels in 2 files, {nvrtc.version()}: spilling: greedy (float32, sm_80)\n")
    (row,) = kernels.spilling(kernels.measure(["sm_80"]))
    assert f" {row['spill_stores'] + row['spill_loads']} |" in out


@needs_nvrtc
def test_what_an_architecture_is_too_old_for_is_left_out_and_dynamic_shared_memory_counts(folder, capsys):
    (folder / "mma.cuh").write_text("__device__ void f() {}")
    (folder / "new.cu").write_text(
        '#include "mma.cuh"\nconstexpr int SHARED_BYTES = 77000;\n'
        'extern "C" __global__ void g(float* x) {\n'
        "  extern __shared__ float held[];\n  held[threadIdx.x] = x[0];\n  x[0] = held[0];\n}\n"
    )
    (folder / "lean.cu").write_text(LEAN)
    rows = kernels.measure(["sm_75", "sm_80"])
    assert [(row["file"], row["arch"]) for row in rows if row["kernel"] == "g"] == [("new.cu", "sm_80")]
    assert {row["dynamic"] for row in rows if row["file"] == "lean.cu"} == {0}
    assert {row["arch"] for row in rows if row["file"] == "lean.cu"} == {"sm_75", "sm_80"}
    assert "|  77000 |" in kernels.report(rows)


@needs_nvrtc
def test_bad_input_of_kernels_is_one_line(folder, tmp_path, capsys):
    assert main(["kernels"]) == 2
    assert capsys.readouterr().err == f"minicam: {folder} has no .cu file; install minicam again\n"
    (folder / "bad.cu").write_text('extern "C" __global__ void f(int* x) {\n  *x = y;\n}\n')
    assert main(["kernels"]) == 2
    assert capsys.readouterr() == ("", 'minicam: bad.cu:2: identifier "y" is undefined\n')
    (folder / "bad.cu").write_text(LEAN)
    assert main(["kernels", "--arch", "sm_12"]) == 2
    assert capsys.readouterr().err.startswith(f"minicam: {nvrtc.version()} cannot compile for 'sm_12'; it knows sm_")
    (tmp_path / "file").touch()
    assert main(["kernels", "--arch", "sm_80", "--json", str(tmp_path / "file" / "x.json")]) == 2
    assert capsys.readouterr().err == f"minicam: cannot write {tmp_path}/file/x.json: File exists\n"


# -- gpu, which the emulator plays


@pytest.fixture
def play(fake_gpu, monkeypatch, tmp_path):
    """Call it to have a GPU and a small network in the place of VGG16, with what only the bench asks of CuPy."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(gpu, "pytorch", lambda device: None)
    monkeypatch.setattr(gpu, "vgg16_gap", small_gap)
    monkeypatch.setattr(gpu, "COPIED", 1 << 12)
    monkeypatch.setattr(gpu, "SIDE", 19)

    class Event:
        def record(self):
            self.time = time.perf_counter()

        def synchronize(self):
            assert self.time

    def use(product=None, **properties):
        fake_gpu(**properties)
        fake = sys.modules["cupy"]
        fake.cuda.Event = Event
        fake.cuda.get_elapsed_time = lambda start, end: (end.time - start.time) * 1e3
        fake.cuda.runtime.driverGetVersion = lambda: 13010
        fake.__version__ = "14.2.0"
        fake.arange = lambda size, dtype: fake.asarray(np.arange(size, dtype=dtype), "C")
        fake.empty_like = lambda array: fake.empty(array.shape, array.dtype)
        fake.copyto = lambda target, values: target.set(values.get())
        fake.matmul = product or np.matmul  # which the stand-in refuses: "needs cuBLAS"
        return fake

    return use


def command(**options):
    """The exit code of the bench with these options, on a small batch."""
    given = {"batch": 2, "size": 16, "repeats": 1, "json": "x.json"} | options
    return main(["gpu", *(f"--{name}={value}" for name, value in given.items() if value is not None)])


def test_the_command_writes_what_it_measured(play, tmp_path, capsys, monkeypatch):
    play()
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)  # what is under way is said on a terminal only
    assert command(json=None) == 0
    out, err = capsys.readouterr()
    assert "| block2_conv1 | data      | tf32      |" in out
    rows = [[cell.strip() for cell in line.split("|")] for line in out.splitlines() if line.startswith("| ")]
    assert {row[6] for row in rows[2:]} == {"-"}  # of one time there is no range
    assert out.endswith("written to results/gpu-fake-gpu.json\n")
    assert "training step, tf32 ...\ntraining step, float32 ...\n" in err
    written = json.loads((tmp_path / "results/gpu-fake-gpu.json").read_text())
    about = {key: written.pop(key) for key in list(written)[:11]}
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\+00:00", about.pop("date"))
    assert {"commit": about.pop("commit"), "dirty": about.pop("dirty")} == version()
    assert about == {
        "command": "python -m minicam.bench gpu --batch 2 --size 16 --repeats 1",
        "gpu": "Fake GPU",
        "compute_capability": 9.0,
        "cuda_driver": 13010,
        "cuda_runtime": 13000,
        "cupy": "14.2.0",
        "torch": None,
        "cudnn": None,
    }
    assert list(written) == ["peaks", "operations", "convolutions", "steps"]
    assert [row["precision"] for row in written["steps"]] == ["tf32", "float32"]
    assert cuda.precision() == "float32"  # as it was


def test_cublas_gives_the_best_product_where_it_is_there(play, tmp_path, monkeypatch, capsys):
    monkeypatch.delenv("CUPY_TF32", raising=False)
    fake = play(product=lambda a, b: fake.asarray(a.get() @ b.get(), "C"))
    out = tmp_path / "mine.json"
    assert command(precision="tf32", json=out) == 0
    written = json.loads(out.read_text())
    assert os.environ["CUPY_TF32"] == "1"
    assert written["command"].endswith("--batch 2 --size 16 --precision tf32 --repeats 1")
    best = written["peaks"]["tflops"]["tf32"]
    row = written["operations"][0]
    assert row["of_matrix_peak"] == pytest.approx(row["tflops"] / best, rel=1e-2)
    assert f"tf32: {best:.1f} TFLOP/s in a product" in capsys.readouterr().out
    monkeypatch.delenv("CUPY_TF32")


def test_a_gpu_without_tf32_is_measured_in_float32(play):
    play(capability="75")
    assert command() == 0
    assert {row["precision"] for row in json.loads(Path("x.json").read_text())["operations"]} == {"float32"}


def test_too_little_memory_is_one_line_and_nothing_is_written(play, capsys):
    play(capacity=50_000)
    assert command(json=None) == 2
    assert capsys.readouterr().err.splitlines()[-1] == (
        "minicam: the GPU has too little memory for 2 images of 16 pixels; give a smaller --batch"
    )
    assert not [path for path in Path().rglob("*") if path.is_file()]
    assert cuda.precision() == "float32"


@pytest.mark.parametrize("name", ["cpu", "profile", "gpu", "kernels"])  # data has its own
def test_nothing_is_measured_where_the_file_cannot_be_written(name, play, tmp_path, monkeypatch, capsys):
    play()
    for module in (cpu, profile, gpu, kernels):
        monkeypatch.setattr(module, "measure", lambda *_, **__: pytest.fail("it is measured"))
    assert main([name, "--json", str(tmp_path)]) == 2
    assert capsys.readouterr().err == f"minicam: cannot write {tmp_path}: it is a folder\n"


def test_bad_options_are_one_line(capsys):
    for option, value, least in (("batch", 0, 1), ("size", 15, 16), ("repeats", -1, 1)):
        assert main(["gpu", f"--{option}", str(value)]) == 2
        assert capsys.readouterr().err == f"minicam: --{option} is {value}; it must be at least {least}\n"


def test_without_a_gpu_it_says_so(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "cupy", None)
    backend.cupy.cache_clear()
    assert main(["gpu"]) == 2
    backend.cupy.cache_clear()
    error = capsys.readouterr().err
    assert error.startswith("minicam: the device cuda needs CuPy, which cannot be imported (")
    assert error.count("\n") == 1
