"""nvrtc: every kernel compiles for two architectures and spills nothing; what it says of one that does not."""

import ctypes
import re
from types import SimpleNamespace

import pytest

from minicam import MinicamError, nvrtc, source
from minicam.bench.kernels import builds

ARCHS = ("sm_80", "sm_90")
BUILDS = [(text, arch) for text, _ in builds() for arch in ARCHS]
REGISTERS, SHARED = 65536, 48 << 10  # of a multiprocessor; bytes of a block that are there without being asked for

needs_nvrtc = pytest.mark.skipif(nvrtc.find() is None, reason="NVRTC is not installed (the extra test has it)")


def name(value):
    return value if isinstance(value, str) else f"{value.name}-{value.types.get('real', 'float32')}"


@needs_nvrtc
@pytest.mark.parametrize(("text", "arch"), BUILDS, ids=name)
def test_every_kernel_compiles_and_spills_nothing(text, arch):
    compiled = nvrtc.compile(text, arch)
    assert compiled.cubin.startswith(b"\x7fELF")
    assert compiled.seconds > 0
    assert text.kernels
    assert compiled.usage.keys() >= text.kernels.keys()
    for function, usage in compiled.usage.items():
        assert (usage.spill_stores, usage.spill_loads) == (0, 0), function
        assert usage.shared <= SHARED, function
    for kernel in text.kernels:
        assert 0 < compiled.usage[kernel].registers <= 255
        if bound := re.search(rf"__launch_bounds__\s*\(\s*(\w+)[^;{{]*?\b{kernel}\s*\(", text.text):
            threads = int(bound[1]) if bound[1].isdigit() else text.constant(bound[1])
            assert compiled.usage[kernel].registers * threads <= REGISTERS, kernel


def test_every_file_is_among_those_that_are_compiled():
    found = {(text.name, str(text.types.get("real"))) for text, _ in BUILDS}
    assert {file for file, _ in found} == {path.name for path in source.FOLDER.glob("*.cu")}
    assert {("gap.cu", "None"), ("gap.cu", "float64"), ("conv.cu", "None"), ("conv.cu", "float64")} <= found


# -- what is said of a kernel


@pytest.fixture
def compiled(tmp_path):
    """Compile a text for sm_80, as a file kernel.cu."""

    def compile_text(text, types=(), arch="sm_80"):
        path = tmp_path / "kernel.cu"
        path.write_text(text)
        return nvrtc.compile(source.read(path, types), arch)

    return compile_text


def refused(function, *args, **kwargs):
    with pytest.raises(MinicamError) as caught:
        function(*args, **kwargs)
    assert "\n" not in str(caught.value)
    return str(caught.value)


SPILLING = """
__device__ __noinline__ float mean(const float* x, int n) {
  float total = 0;
  for (int i = 0; i < n; i++) total += x[i];
  return total / n;
}
extern "C" __global__ void lean(float* x) { x[threadIdx.x] = 1; }
// 2048 threads on a multiprocessor leave 32 registers to each, and 80 values are alive at the same time.
extern "C" __global__ void __launch_bounds__(1024, 2) greedy(float* x, int n) {
  __shared__ float s[37];
  float a[80];
#pragma unroll
  for (int i = 0; i < 80; i++) a[i] = x[3 * i + n];
  s[n] = 1;
  __syncthreads();
  float total = s[n + 1];
#pragma unroll
  for (int i = 0; i < 80; i++) total += a[i] * a[79 - i] * mean(x, n);
  x[0] = total;
}
"""


@needs_nvrtc
def test_registers_shared_memory_and_spills_are_those_of_each_function(compiled):
    usage = compiled(SPILLING).usage
    mean, *others = [function for function in usage if "mean" in function]
    assert not others
    assert usage.keys() == {"lean", "greedy", mean}
    assert usage["lean"].registers < 16
    assert usage["lean"] == nvrtc.Usage(registers=usage["lean"].registers)
    assert usage["greedy"].registers == 32
    assert usage["greedy"].shared == 37 * 4
    assert usage["greedy"].spill_stores > 0
    assert usage["greedy"].spill_loads > 0
    assert usage["greedy"].stack > 0
    assert usage[mean] == nvrtc.Usage()


@needs_nvrtc
def test_the_options_are_those_of_cupy(compiled):
    """C++17, functions that need no __device__, and numbers too small for their exponent taken for zero."""
    text = """
#ifndef __CUDA_FTZ
#error denormals are kept
#endif
template <int n> float times(float x) {
  if constexpr (n > 1) return n * x;
  else return x;
}
extern "C" __global__ void f(float* x) { x[0] = times<3>(x[1]); }
"""
    assert compiled(text).usage.keys() == {"f"}


@needs_nvrtc
def test_types_that_a_file_leaves_open_are_built_as_asked_for(compiled):
    text = 'extern "C" __global__ void f(real* x) { __shared__ real s[64]; s[threadIdx.x] = *x; x[1] = s[5]; }'
    assert compiled(text, (("real", "float64"),)).usage["f"].shared == 64 * 8
    assert compiled(text, (("real", "float32"),)).usage["f"].shared == 64 * 4


# -- errors


@needs_nvrtc
def test_the_first_error_is_named_with_its_file_and_line(compiled, tmp_path):
    (tmp_path / "tile.cuh").write_text("#pragma once\n\n__device__ int f(int i) { return j; }\n")
    assert refused(compiled, '#include "tile.cuh"\nextern "C" __global__ void k(int* x) { x[0] = f(y); }\n') == (
        'tile.cuh:3: identifier "j" is undefined'
    )
    (tmp_path / "tile.cuh").write_text("__device__ int f(int i) { return i; }\n")
    assert refused(compiled, '#include "tile.cuh"\nextern "C" __global__ void k(int* x) { x[0] = f(y); }\n') == (
        'kernel.cu:2: identifier "y" is undefined'
    )


@needs_nvrtc
@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("__shared__ float s[20000]; s[*x] = 1; __syncthreads(); *x = s[3];", "uses too much shared data"),
        ('asm("bogus.x;");', "ptxas application ptx input, line [0-9]+; error : Unknown modifier '.x'"),
    ],
)
def test_an_error_of_the_assembler_has_the_files_name(compiled, text, found):
    message = refused(compiled, f'extern "C" __global__ void f(int* x) {{ {text} }}')
    assert message.startswith(f"kernel.cu: {nvrtc.version()} cannot compile it: ptxas ")
    assert re.search(found, message)


@needs_nvrtc
def test_an_architecture_that_it_does_not_know(compiled):
    known = nvrtc.architectures()
    assert set(ARCHS) < set(known)
    text = 'extern "C" __global__ void f(int* x) { *x = 1; }'
    for arch in ("sm_12", "80", "sm_80x", "compute_80"):
        message = f"{nvrtc.version()} cannot compile for '{arch}'; it knows {', '.join(known)}"
        assert refused(compiled, text, arch=arch) == message
    assert compiled(text, arch="sm_90a").usage["f"].registers > 0


@pytest.fixture
def library(monkeypatch):
    """Make NVRTC be looked for anew; and what becomes of a library is no business of the next test."""
    nvrtc._library.cache_clear()
    yield monkeypatch
    nvrtc._library.cache_clear()


def test_without_nvrtc(library, compiled):
    library.setattr(nvrtc.importlib.util, "find_spec", lambda name: None)
    library.setattr(nvrtc.ctypes.util, "find_library", lambda name: None)
    assert nvrtc.find() is None
    assert refused(compiled, "") == (
        "cannot find NVRTC, the compiler of CUDA kernels; pip install 'nvidia-cuda-nvrtc==13.*' "
        "(or nvidia-cuda-nvrtc-cu12): it needs no GPU"
    )


def test_an_nvrtc_that_cannot_be_loaded(library, compiled, tmp_path):
    path = tmp_path / "libnvrtc.so.13"
    path.write_text("no library")
    library.setattr(nvrtc, "find", lambda: str(path))
    message = refused(compiled, "")
    assert re.fullmatch(r"cannot load NVRTC \(.+\); install the wheel nvidia-cuda-nvrtc again", message)
    assert str(path) in message


def test_a_failure_of_nvrtc_itself(library, compiled):
    def broken(*args):
        return 7

    functions = ("nvrtcGetNumSupportedArchs", "nvrtcVersion", "nvrtcCreateProgram")
    fake = SimpleNamespace(**dict.fromkeys(functions, broken), nvrtcGetErrorString=lambda code: b"error %d" % code)
    library.setattr(nvrtc, "find", lambda: "")
    library.setattr(ctypes, "CDLL", lambda path: fake)
    assert refused(compiled, "") == "NVRTC: nvrtcGetNumSupportedArchs failed: error 7"


def test_the_newest_wheel_is_taken_before_a_toolkit(library, tmp_path):
    def wheel(name):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
        return str(path)

    library.setattr(
        nvrtc.importlib.util, "find_spec", lambda name: SimpleNamespace(submodule_search_locations=[str(tmp_path)])
    )
    library.setattr(nvrtc.ctypes.util, "find_library", lambda name: f"lib{name}.so.11")
    assert nvrtc.find() == "libnvrtc.so.11"
    wheel("cu13/lib/libnvrtc-builtins.so.13.5")
    wheel("cu13/lib/libnvrtc.alt.so.13")
    assert nvrtc.find() == "libnvrtc.so.11"
    older = wheel("cuda_nvrtc/lib/libnvrtc.so.12")
    assert nvrtc.find() == older
    newer = wheel("cu13/lib/libnvrtc.so.13")
    assert nvrtc.find() == newer
