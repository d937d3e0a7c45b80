"""From a .cu file to a loaded module: what is rewritten, what compilers are used, what they say, what is kept."""

import os
import re
import shutil
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from emulated import array, empty, kernels, run

from minicam import MinicamError, emulator
from minicam.emulator import build
from minicam.emulator.rewrite import to_cpp

ADD = 'extern "C" __global__ void add(const float* x, float* y) { y[threadIdx.x] = x[threadIdx.x] + 1; }\n'


@pytest.fixture
def pretended(tmp_path, monkeypatch):
    """An empty cache, and a compiler that only pretends. The list gets the name of all that is compiled or linked."""
    monkeypatch.setenv("MINICAM_CACHE", str(tmp_path / "cache"))
    compiled = []

    def run_command(name, command, folder):
        compiled.append(name)
        time.sleep(0.01)
        (folder / (command[-1] if command[-2] == "-o" else "runtime.o")).write_text("")

    monkeypatch.setattr(build, "_run", run_command)
    return compiled


def error(folder, text):
    """What is said of a file that cannot be compiled, and that no test has compiled before."""
    with pytest.raises(MinicamError) as caught:
        run(kernels(folder, f"{text}\n// {folder}\n"), "add", array(np.zeros(32)), empty(32))
    assert "\n" not in str(caught.value)
    return str(caught.value)


# -- __shared__

DECLARATIONS = {
    "__shared__ float a[4][8];": "float (&a)[4][8] = *(float (*)[4][8])emulator_shared(a__shared); ",
    "__shared__ int a, b[N + 1];": "int (&a) = *(int (*))emulator_shared(a__shared); ",
    "__shared__ int  c, b[N * (K + 1)];": "int (&b)[N * (K + 1)] = *(int (*)[N * (K + 1)])emulator_shared(b__shared); ",
    "__shared__ __align__(16) float a[8];": 'emulator_declare<float[8]>("a", 16, false); ',
    "alignas(sizeof(float4)) __shared__ float a[8];": 'emulator_declare<float[8]>("a", sizeof(float4), false); ',
    "static __shared__ unsigned long long a[8];": 'emulator_declare<unsigned long long[8]>("a", 0, false); ',
    "volatile __shared__ float a[8];": "volatile float (&a)[8] = ",
    "__shared__ Pair<int, float> a[8];": "Pair<int, float> (&a)[8] = ",
    "extern __shared__ __align__(8) char raw[];": 'emulator_declare<char>("raw", 8, true); char* raw = (char*)',
    'puts("__shared__ x;");': 'puts("__shared__ x;");',
    "// __shared__ float a[4]; is a comment": "// __shared__ float a[4]; is a comment",
    "/* __shared__ float a[4]; too */": "/* __shared__ float a[4]; too */",
}


@pytest.mark.parametrize("declaration", DECLARATIONS)
def test_a_declaration_of_shared_memory(declaration, tmp_path):
    cpp = to_cpp(kernels(tmp_path, f"before\n{declaration}\nafter\n"))
    line = re.search(r"before\n(.*)\nafter\n", cpp)[1]
    assert DECLARATIONS[declaration] in line


def test_a_declaration_over_several_lines_moves_no_line(tmp_path):
    lines = to_cpp(kernels(tmp_path, "__shared__ float\n  a[4],\n  b[5];\nafter\n")).split("\n")
    assert lines[lines.index('#line 1 "k.cu"') + 4] == "after"


def test_a_declaration_that_cannot_be_read(tmp_path):
    said = error(tmp_path, ADD + "__shared__ float (*a)[4];\n")
    assert said.startswith("k.cu: cannot read `__shared__ float (*a)[4];`; expected `__shared__ type name[length]...;`")


# -- compilers


def test_no_compiler(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", "")
    monkeypatch.delenv("CXX", raising=False)
    monkeypatch.setattr(build, "find_spec", lambda name: None)
    said = error(tmp_path, ADD)
    assert said.startswith("the emulator needs a C++ compiler and found none; install g++ or clang++")
    assert said.endswith("or name one in CXX")


def test_a_compiler_that_is_not_there(tmp_path, monkeypatch):
    monkeypatch.setenv("CXX", '"g++')
    assert error(tmp_path, ADD) == 'CXX is "g++, which is no command (No closing quotation)'
    monkeypatch.setenv("CXX", "ccache no-such-g++")
    monkeypatch.setenv("PATH", "")
    assert error(tmp_path, ADD).startswith("CXX names ccache, which is not there; let it name a C++ compiler")


def test_where_compilers_are_looked_for(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CXX", raising=False)
    monkeypatch.setattr(build, "find_spec", lambda name: name == "ziglang")
    assert build.compiler()[1:] == ("-m", "ziglang", "c++")
    for name in ("clang++", "g++", "my c++"):
        (tmp_path / name).write_text("")
        (tmp_path / name).chmod(0o755)
        if name == "my c++":
            monkeypatch.setenv("CXX", f"'{name}' -O3")
        assert build.compiler()[0] == name
    assert build.compiler() == ("my c++", "-O3")


def test_a_compiler_that_fails_without_a_word(tmp_path, monkeypatch):
    (tmp_path / "silent").write_text("#!/bin/sh\nexit 3\n")
    (tmp_path / "silent").chmod(0o755)
    monkeypatch.setenv("CXX", f"{tmp_path}/silent -O3")
    assert error(tmp_path, ADD) == (
        f"cannot compile the emulator's runtime: {tmp_path}/silent -O3 ended with exit code 3 and without a message; "
        "let CXX name a C++ compiler"
    )


def test_a_compiler_that_is_no_program(tmp_path, monkeypatch):
    (tmp_path / "text").write_text("no program\n")
    (tmp_path / "text").chmod(0o755)
    monkeypatch.setenv("CXX", f"{tmp_path}/text")
    said = error(tmp_path, ADD)
    assert said == f"cannot run {tmp_path}/text: Exec format error; let CXX name a C++ compiler, or unset it"


COMPILE_ERRORS = {
    ADD + "\n__device__ float f() { return unknown; }\n": r"k\.cu:3: .*unknown",
    ADD + "#include <cuda_fp16.h>\n": r"k\.cu:2: .*cuda_fp16\.h",
    ADD + "\n\n__device__ float f(dim3 d) {\n  return max(1.0f, d); }\n": r"k\.cu:5: ",
    ADD + '__device__ void f() { asm volatile("cp.async.wait_all;"); }\n': r"k\.cu.*cp\.async\.wait_all",
}


@pytest.mark.parametrize("text", COMPILE_ERRORS)
def test_an_error_of_the_compiler_is_named_with_its_line(text, tmp_path):
    said = error(tmp_path, text)
    assert said.startswith("cannot compile k.cu")
    assert re.search(COMPILE_ERRORS[text], said), said


@pytest.mark.parametrize("check", [False, True])
def test_the_runtime_compiles_without_a_warning(check, tmp_path):
    define = ["-DEMULATOR_CHECK"] if check else []
    files = [path for path in build.HERE.glob("*.cpp") if check or path.name not in build.CHECKER]
    flags = [*build.FLAGS, *build.RUNTIME_FLAGS, "-O0", "-Werror", "-c"]
    done = subprocess.run([*build.compiler(), *flags, *define, *files], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


# -- what is kept


def test_a_file_is_compiled_once_and_again_after_a_change(tmp_path, pretended):
    source = kernels(tmp_path, ADD)
    first = build.module(source, check=False)
    assert sorted(pretended) == ["k.cu", "k.cu", "the emulator's runtime"]  # compiled and linked
    assert first.is_relative_to(tmp_path / "cache" / "emulator")
    assert build.module(source, check=False) == first
    assert len(pretended) == 3
    assert build.module(kernels(tmp_path, ADD + "// changed\n"), check=False) != first
    assert len(pretended) == 5
    assert sorted(os.listdir(first.parent)) == ["kernels.cpp", "module.so"]
    assert len(os.listdir(tmp_path / "cache" / "emulator")) == 3  # and nothing unfinished


def test_what_makes_another_module(tmp_path, pretended, monkeypatch):
    source, made = kernels(tmp_path, ADD), set()
    made.add(build.module(source, check=False))
    made.add(build.module(kernels(tmp_path, ADD, name="other.cu"), check=False))
    made.add(build.module(kernels(tmp_path, ADD, real="float64"), check=False))
    monkeypatch.setattr(build, "FAST", [*build.FAST, "-O1"])
    made.add(build.module(source, check=False))
    monkeypatch.setattr(build, "version", lambda command: "g++ of tomorrow")
    made.add(build.module(source, check=False))
    assert len(made) == 5


def test_a_failed_compilation_leaves_nothing_behind(tmp_path, pretended, monkeypatch):
    def fails(name, command, folder):
        (folder / "half.o").write_text("")
        raise MinicamError("cannot compile k.cu:1: oops")

    monkeypatch.setattr(build, "_run", fails)
    assert error(tmp_path, ADD) == "cannot compile k.cu:1: oops"
    assert os.listdir(tmp_path / "cache" / "emulator") == []


def test_several_may_compile_the_same_at_the_same_time(tmp_path, pretended):
    source = kernels(tmp_path, ADD)
    with ThreadPoolExecutor(5) as pool:
        made = list(pool.map(lambda _: build.module(source, check=False), range(5)))
    assert len(set(made)) == 1
    assert len(pretended) > 3  # more than one was at it
    assert made[0].exists()
    assert len(os.listdir(tmp_path / "cache" / "emulator")) == 2


@pytest.mark.parametrize("name", ["file", "n" * 300])
def test_a_cache_that_cannot_be_written(name, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("MINICAM_CACHE", str(tmp_path / name))
    said = error(tmp_path, ADD)
    assert said.startswith(f"cannot keep compiled kernels in {tmp_path / name}/emulator: ")
    assert said.endswith("; name another folder in MINICAM_CACHE")


@pytest.mark.parametrize(
    ("environment", "folder"),
    [
        ({"MINICAM_CACHE": "/m", "XDG_CACHE_HOME": "/x", "HOME": "/h"}, "/m/emulator"),
        ({"XDG_CACHE_HOME": "/x", "HOME": "/h"}, "/x/minicam/emulator"),
        ({"HOME": "/h"}, "/h/.cache/minicam/emulator"),
    ],
)
def test_the_folder_of_the_cache(environment, folder, monkeypatch):
    for name in ("MINICAM_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert str(build.cache_folder()) == folder


def test_lines_are_named_where_the_path_of_the_cache_has_a_space(tmp_path, monkeypatch):
    runtime, kept = build._runtime(check=True), tmp_path / "with space" / "emulator"
    shutil.copytree(runtime, kept / runtime.name)  # it need not be compiled again
    monkeypatch.setenv("MINICAM_CACHE", str(kept.parent))
    with emulator.trace() as launches:
        run(kernels(tmp_path, f"// {tmp_path}\n{ADD}"), "add", array([1]), empty(1), block=1)
    assert len(os.listdir(kept)) == 2
    assert {access.line for access in launches[0].accesses} == {"k.cu:2"}


def test_an_edited_file_is_compiled_anew_in_the_same_process(tmp_path):
    x, y = array(np.arange(32)), empty(32)
    for number in (1, 5):
        run(kernels(tmp_path, ADD.replace("+ 1", f"+ {number}")), "add", x, y)
        np.testing.assert_array_equal(y, x + number)
    with emulator.options(check=True):
        run(kernels(tmp_path, ADD.replace("+ 1", "- 2")), "add", x, y)
    np.testing.assert_array_equal(y, x - 2)
