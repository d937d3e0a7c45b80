"""source: CUDA C++ files as text, their headers, and what can be read off their kernels."""

import numpy as np
import pytest

from minicam import MinicamError, source
from minicam.source import Parameter

FILES = sorted(path.name for path in source.FOLDER.glob("*.cu"))


@pytest.fixture
def write(tmp_path):
    """Write files into a folder; returns the path of the first."""

    def write(**texts):
        for name, text in texts.items():
            (tmp_path / name.replace("__", ".")).write_text(text)
        return tmp_path / next(iter(texts)).replace("__", ".")

    return write


def refused(function, *args):
    with pytest.raises(MinicamError) as caught:
        function(*args)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_the_parameters_of_a_kernel(write):
    path = write(
        a__cu="""
        // extern "C" __global__ void not_this(int n) {}
        /* extern "C" __global__ void nor_this(int n) {} */
        __device__ int helper(int n) { return n; }
        extern "C" __global__ void first(const real* x, real *__restrict__ y,
                                         const unsigned char* mask,  // a comment, with a comma
                                         const float4* fours, long long n, double lr) {}
        extern "C" __global__ void __launch_bounds__(8 * (4 + 4), 2)
        second(int n) {}
        extern "C" __global__ __launch_bounds__(64) void third() {}
        """
    )
    text = source.read(path, (("real", "float64"),))
    assert text.name == "a.cu"
    assert list(text.kernels) == ["first", "second", "third"]
    assert text.kernels["first"] == (
        Parameter("x", "real", pointer=True, const=True),
        Parameter("y", "real", pointer=True, const=False),
        Parameter("mask", "unsigned char", pointer=True, const=True),
        Parameter("fours", "float4", pointer=True, const=True),
        Parameter("n", "long long", pointer=False, const=False),
        Parameter("lr", "double", pointer=False, const=False),
    )
    assert [text.dtype(p) for p in text.kernels["first"]] == [
        np.dtype(name) for name in ("float64", "float64", "uint8", "float32", "int64", "float64")
    ]
    assert text.kernels["third"] == ()
    assert text.text.startswith("#define real double\n#line 1")


def test_headers_are_spliced_in_once_and_lines_stay_true(write):
    path = write(
        a__cu='// one\n#include "b.cuh"\n#  include "c.cuh"  // again\nint last;\n',
        b__cuh='#pragma once\n#include "c.cuh"\nint b;\n',
        c__cuh="int c;",
    )
    lines = source.read(path).text.splitlines()
    assert sum(line == "int c;" for line in lines) == 1
    assert not any("#include" in line or "#pragma once" in line for line in lines)
    file, number, places = None, 0, {}
    for line in lines:
        if line.startswith("#line"):
            _, at, file = line.split()
            number = int(at)
            continue
        places[line] = (file.strip('"'), number)
        number += 1
    assert places["int last;"] == ("a.cu", 4)
    assert places["int b;"] == ("b.cuh", 3)
    assert places["int c;"] == ("c.cuh", 1)


def test_a_file_is_read_again_after_a_change_of_it_or_of_a_header(write):
    path = write(a__cu='#include "b.cuh"\nextern "C" __global__ void one() {}', b__cuh="// old")
    first = source.read(path)
    assert source.read(path) is first
    write(b__cuh="// new")
    import os

    os.utime(path.with_name("b.cuh"), ns=(1, 1))
    second = source.read(path)
    assert "// new" in second.text
    assert "// old" in first.text


def test_a_number_that_kernels_are_built_around(write):
    path = write(a__cu="constexpr int TILE_M = 64;\nconstexpr int TILE_N = 2 * TILE_M;\n")
    assert source.read(path).constant("TILE_M") == 64
    for name in ("TILE_N", "TILE"):
        assert refused(source.read(path).constant, name) == f"a.cu has no line `constexpr int {name} = <number>;`"


def test_what_cannot_be_read(write, tmp_path):
    assert refused(source.read, "nowhere.cu").startswith(f"cannot read {source.FOLDER / 'nowhere.cu'}: No such file")
    path = write(a__cu='#include "gone.cuh"')
    assert refused(source.read, path).startswith(f"cannot read {tmp_path / 'gone.cuh'}: No such file")
    path = write(b__cu='extern "C" __global__ void k(const real x[4], int n) {}')
    assert refused(source.read, path) == "b.cu: cannot read the parameter `const real x[4]` of k"
    for c_type, found in ("const bool*", "bool"), ("bool", "bool"), ("size_t", "size_t"), ("item*", "item"):
        path = write(e__cu=f'#ifndef real\n#define real float\n#endif\nextern "C" __global__ void k({c_type} x) {{}}')
        said = refused(source.read, path)
        assert said.startswith(f"e.cu: k takes x as `{found}`; a type is real, one of float, double, ")
        assert said.endswith(", unsigned, or a name for which the file has an #ifndef")
    path = write(c__cu='extern "C" __global__ void k(const real* x) {}')
    assert refused(source.read, path, (("real", "complex64"),)).startswith("c.cu: real is complex64; a kernel can")
    (tmp_path / "d.cu").write_bytes(b"\xff\xfe")
    assert refused(source.read, tmp_path / "d.cu").startswith(f"cannot read {tmp_path / 'd.cu'}: 'utf-8' codec")


@pytest.mark.parametrize("file", FILES)
def test_every_file_of_the_library_can_be_read(file):
    text = source.read(file)
    assert text.kernels, "a file without kernels belongs into a header"
    assert len(text.kernels) == text.text.count('extern "C" __global__')


@pytest.mark.parametrize("file", FILES)
def test_every_file_opens_with_what_it_is(file):
    assert (source.FOLDER / file).read_text().startswith("// ")
