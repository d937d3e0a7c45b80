"""device: what --device and --precision mean, on machines of all kinds."""

import argparse
import sys

import pytest

from minicam import MinicamError, backend, cuda, device
from minicam.ops import relu

INSTALL = "install the extra cuda13 (NVIDIA driver 580 or newer) or cuda12, or compute without a GPU"


@pytest.fixture
def commands_run_on_the_cpu():
    """Not here: this is about what they do."""


@pytest.fixture
def no_cupy(monkeypatch):
    """A machine without CuPy."""
    monkeypatch.setitem(sys.modules, "cupy", None)
    backend.cupy.cache_clear()
    yield
    backend.cupy.cache_clear()


def refused(function, *args):
    with pytest.raises(MinicamError) as caught:
        function(*args)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_device_that_there_is_not():
    assert refused(device.choose, "tpu") == "device 'tpu' is not known; choose one of auto, cpu, cuda, emulator"


def test_without_cupy(no_cupy):
    assert device.choose("cpu") == device.choose("auto") == "cpu"
    message = refused(device.choose, "cuda")
    assert message.startswith("the device cuda needs CuPy, which cannot be imported (")
    assert message.endswith(INSTALL)


@pytest.mark.parametrize("count", [RuntimeError("cudaErrorInsufficientDriver: too old\nmore"), 0])
def test_without_a_gpu(count, fake_gpu):
    fake_gpu(count=count)
    assert device.choose("auto") == "cpu"
    why = " that it can use (cudaErrorInsufficientDriver: too old)" if count else ""
    assert refused(device.choose, "cuda") == f"CuPy finds no NVIDIA GPU{why}; {INSTALL}"


def test_a_gpu_without_a_compiler(fake_gpu, monkeypatch):
    class Missing:
        def __init__(self, **_):
            pass

        def compile(self):
            raise RuntimeError("Failure finding libnvrtc.so")

    fake_gpu()
    monkeypatch.setattr(backend.cupy(), "RawModule", Missing)
    for name in ("cuda", "auto"):
        said = "cannot compile a kernel for this GPU with NVRTC: Failure finding libnvrtc.so; install the extra cuda13"
        assert refused(device.choose, name).startswith(said)


def test_with_a_gpu(fake_gpu):
    fake_gpu()
    assert device.choose("auto") == device.choose("cuda") == "cuda"
    assert device.choose("cpu") == "cpu"


def test_a_gpu_too_old_for_this_cuda(fake_gpu):
    fake_gpu(capability="70", runtime=13020)
    for name in ("cuda", "auto"):
        assert refused(device.choose, name) == (
            "this GPU has the compute capability 7.0, and CUDA 13 needs 7.5; install the extra cuda12 instead of "
            "cuda13, or use --device cpu"
        )
    fake_gpu(capability="70", runtime=12090)
    assert device.choose("cuda") == "cuda"


@pytest.mark.parametrize(
    ("name", "capability", "asked", "precision"),
    [
        ("cpu", "90", None, "float32"),
        ("emulator", "90", None, "float32"),
        ("emulator", "75", "tf32", "tf32"),
        ("cuda", "80", None, "tf32"),
        ("cuda", "90", "float32", "float32"),
        ("cuda", "75", None, "float32"),
    ],
)
def test_precision(name, capability, asked, precision, fake_gpu):
    fake_gpu(capability=capability)
    assert device.prepare(1, name, asked) == name
    assert cuda.precision() == precision


@pytest.mark.parametrize(("name", "what"), [("cpu", "the CPU"), ("cuda", "a GPU of compute capability 7.5")])
def test_tf32_where_there_is_none(name, what, fake_gpu):
    fake_gpu(capability="75")
    assert refused(device.prepare, 1, name, "tf32") == (
        "--precision tf32 needs the matrix units of a GPU of compute capability 8.0 or more (Ampere), or the emulator; "
        f"this is {what}: leave the option out"
    )
    assert cuda.precision() == "float32"


def test_a_precision_that_there_is_not():
    assert refused(cuda.set_precision, "fp8") == "precision 'fp8' is not known; choose one of float32, tf32"


def test_the_emulator_needs_a_compiler(monkeypatch):
    monkeypatch.setenv("CXX", "no-such-compiler")
    assert refused(device.choose, "emulator").startswith("CXX names no-such-compiler, which is not there")


def test_workers_are_checked():
    assert refused(device.prepare, 0, "cpu", None) == "--workers is 0; it must be at least 1"


def test_the_options():
    p = argparse.ArgumentParser()
    device.add_options(p, "read images")
    options = p.parse_args(["--device", "emulator", "--precision", "tf32"])
    assert (options.workers, options.device, options.precision) == (2, "emulator", "tf32")
    assert p.parse_args([]).device == "auto"
    assert p.parse_args([]).precision is None
    assert "threads that read images" in p.format_help()


def test_the_report_of_a_run(fake_gpu, rng):
    fake_gpu(capacity=3 << 30)
    x = backend.to_device(rng.standard_normal((1 << 15, 128)), "cuda")
    device.prepare(1, "cuda", None)
    assert device.report() == "Fake GPU, tf32, at most 0.03 of 3 GiB taken"
    relu.forward(x)
    assert device.report() == "Fake GPU, tf32, at most 0.06 of 3 GiB taken"  # what is free again counts as taken


def test_threads_are_set_and_checked(monkeypatch):
    monkeypatch.setattr(backend, "_threads", None)
    every = backend.threads()
    device.prepare(1, "cpu", None, threads=3)
    assert (backend.threads(), backend._pool()._max_workers) == (3, 2)  # and the one that calls
    device.prepare(1, "cpu", None)
    assert backend.threads() == every
    assert refused(device.prepare, 1, "cpu", None, 0) == "--threads is 0; it must be at least 1"
    assert backend.threads() == every


def test_exactness_is_set_for_this_command_only(monkeypatch):
    monkeypatch.setattr(backend, "_exact", False)
    device.prepare(1, "cpu", None, exact=True, out="an option that others look at")
    assert backend.exact()
    device.prepare(1, "cpu", None)
    assert not backend.exact()
