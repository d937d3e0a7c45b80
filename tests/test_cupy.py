"""backend and cuda with CuPy: what goes to it and what comes back, through a stand-in that is as strict as CuPy is."""

from types import SimpleNamespace

import numpy as np
import pytest

from minicam import MinicamError, backend, cuda, source
from minicam.ops import relu, sgd

KERNELS = """
extern "C" __global__ void plain(const float* x, float* y) { y[threadIdx.x] = x ? x[threadIdx.x] : 7; }
extern "C" __global__ void fours(const float4* x, float4* y) { y[threadIdx.x] = x[threadIdx.x]; }
extern "C" __global__ void large(float* y, int n) {
  extern __shared__ float held[];
  for (int i = threadIdx.x; i < n; i += blockDim.x) held[i] = i;
  __syncthreads();
  if (threadIdx.x == 0) y[0] = held[n - 1];
}
"""


@pytest.fixture
def kernels(tmp_path, monkeypatch, fake_gpu):
    """A file of kernels, and a GPU to run them on."""
    (tmp_path / "k.cu").write_text(KERNELS)
    monkeypatch.setattr(source, "FOLDER", tmp_path)
    fake_gpu()
    return tmp_path / "k.cu"


def on_gpu(*values):
    return backend.to_device(np.array(values, np.float32), "cuda")


def refused(*args, **kwargs):
    with pytest.raises(MinicamError) as caught:
        cuda.launch("k.cu", *args, **kwargs)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_to_the_gpu_and_back(fake_gpu, rng):
    fake_gpu()
    x = rng.standard_normal((3, 5)).astype(np.float32)
    there = backend.to_device(x, "cuda")
    assert backend.device_of(there) == "cuda"
    assert backend.is_array(there)
    assert backend.to_device(there, "cuda") is there
    assert type(backend.to_cpu(there)) is np.ndarray
    np.testing.assert_array_equal(backend.to_cpu(there), x)
    emulated = backend.to_device(there, "emulator")
    assert backend.device_of(emulated) == "emulator"
    assert backend.device_of(backend.to_device(emulated, "cpu")) == "cpu"
    backend.assign(there, 2 * x.astype(np.float64))
    np.testing.assert_array_equal(backend.to_cpu(there), 2 * x)
    assert backend.device_of(backend.stack([there, there])) == "cuda"
    assert backend.device_of(backend.empty((2, 3), np.uint8, like=there)) == "cuda"
    strided = backend.to_device(np.asfortranarray(x), "cuda")
    assert strided.flags.c_contiguous


def test_kernels_get_pointers_to_nothing_and_exact_numbers(kernels):
    y = on_gpu(0, 0)
    cuda.launch("k.cu", "plain", (on_gpu(3, 4), y), threads=2, block=2)
    assert backend.to_cpu(y).tolist() == [3, 4]
    cuda.launch("k.cu", "plain", (None, y), threads=2, block=2)
    assert backend.to_cpu(y).tolist() == [7, 7]


def test_more_shared_memory_than_every_gpu_gives_is_asked_for(kernels):
    y = on_gpu(0)
    for n in (100, 13000, 25000):  # 25000 floats: 97.7 KB
        cuda.launch("k.cu", "large", (y, n), blocks=(1,), block=32, shared=4 * n)
        assert backend.to_cpu(y)[0] == n - 1


def test_two_gpus_at_once(kernels, monkeypatch):
    x, y = on_gpu(1, 2), on_gpu(0, 0)
    y.device = SimpleNamespace(id=1)
    assert refused("plain", (x, y), threads=2, block=2) == (
        "k.cu: plain takes arrays that are all on one GPU, or all in the emulator; found x on cuda:0, y on cuda:1"
    )


def test_a_gpu_that_is_not_the_current_one(kernels):
    x, y = on_gpu(1, 2), on_gpu(0, 0)
    x.device = y.device = SimpleNamespace(id=1)
    said = "k.cu: plain: the arrays are on cuda:1, which is not the current GPU of CuPy"
    assert refused("plain", (x, y), threads=2, block=2) == said


def test_a_gpu_and_the_emulator_at_once(kernels):
    x, y = on_gpu(1, 2), backend.to_device(np.zeros(2, np.float32), "emulator")
    assert "found x on cuda:0, y on emulator" in refused("plain", (x, y), threads=2, block=2)
    with pytest.raises(MinicamError, match="the first array is on the device 'cuda', another on 'emulator'"):
        relu.backward(x, y)


def test_fours_that_do_not_start_at_a_multiple_of_16_bytes(kernels):
    x = on_gpu(*range(9))
    assert "x is read in fours, and has 8 elements from address 0x" in refused("fours", (x[1:], x), threads=2)


def test_an_error_in_the_file_is_one_line(kernels):
    kernels.write_text(KERNELS + "// syntax error\n")
    said = refused("plain", (on_gpu(1), on_gpu(1)), threads=1)
    assert said.startswith('cannot compile k.cu for this GPU with NVRTC: file.cu(3): error: expected a ";"; ')


def test_a_missing_nvrtc_is_one_line(kernels, monkeypatch):
    class Missing:
        def __init__(self, **_):
            pass

        def compile(self):
            raise RuntimeError("Failure finding 'libnvrtc.so': tried\na, b and c")

    monkeypatch.setattr(backend.cupy(), "RawModule", Missing)
    said = refused("plain", (on_gpu(1), on_gpu(1)), threads=1)
    assert said.startswith("cannot compile k.cu for this GPU with NVRTC: Failure finding 'libnvrtc.so': tried;")


def test_a_file_is_compiled_once_for_its_dtypes(fake_gpu, monkeypatch):
    fake_gpu()
    compiled = []
    module = backend.cupy().RawModule
    monkeypatch.setattr(backend.cupy(), "RawModule", lambda **given: compiled.append(given) or module(**given))
    for dtype in (np.float32, np.float64, np.float32):
        x = backend.to_device(np.ones((3, 5), dtype), "cuda")
        relu.backward(x, relu.forward(x))
        sgd.forward(x, x, x, 0.1)
    assert len(compiled) == 4  # two files, two dtypes
    assert all(given["options"] == ("-std=c++17",) for given in compiled)
