"""cuda: what is checked before a kernel is launched, so that no kernel ever runs on what it does not expect."""

import numpy as np
import pytest

from minicam import MinicamError, cuda, source
from minicam.backend import EmulatorArray, to_device

KERNELS = """
#ifndef real
#define real float
#endif
extern "C" __global__ void scale(const real* x, real* y, real factor, int size) {
  int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i < size) y[i] = x ? factor * x[i] : factor;
}
extern "C" __global__ void fours(const float4* x, float4* y) { y[threadIdx.x] = x[threadIdx.x]; }
extern "C" __global__ void number(int* y, long long n) { y[0] = n % 1000; }
extern "C" __global__ void anything(const item* x, int* y) { y[0] = sizeof(item); }
extern "C" __global__ void count(const unsigned* x, int* y, unsigned n) { y[0] = x[0] + n; }
extern "C" __global__ void shared(int* y) {
  extern __shared__ int held[];
  held[threadIdx.x] = blockIdx.x * 100 + blockIdx.y * 10 + threadIdx.x;
  __syncthreads();
  if (threadIdx.x == 0) y[blockIdx.y * gridDim.x + blockIdx.x] = held[blockDim.x - 1];
}
"""


@pytest.fixture(autouse=True)
def file(tmp_path, monkeypatch):
    (tmp_path / "k.cu").write_text("#ifndef item\n#define item float\n#endif\n" + KERNELS)
    monkeypatch.setattr(source, "FOLDER", tmp_path)


def device(array):
    return to_device(np.asarray(array), "emulator")


def launch(kernel, *args, threads=1, **options):
    if "blocks" not in options:
        options["threads"] = threads
    cuda.launch("k.cu", kernel, args, **options)


def refused(function, *args, **kwargs):
    with pytest.raises(MinicamError) as caught:
        function(*args, **kwargs)
    assert "\n" not in str(caught.value)
    return str(caught.value)


# --- launch ---


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("size", [1, 255, 256, 257, 1000])
def test_every_element_has_its_thread_in_every_dtype(dtype, size, rng):
    x, y = device(rng.standard_normal(size).astype(dtype)), device(np.full(size, np.nan, dtype))
    launch("scale", x, y, 0.5, size, threads=size)
    np.testing.assert_array_equal(y, x * 0.5)


def test_numbers_become_the_type_of_the_parameter():
    y = device(np.zeros(1, np.int32))
    launch("number", y, 2**40 + 7)
    assert y[0] == (2**40 + 7) % 1000
    launch("number", y, np.int8(5))
    assert y[0] == 5
    launch("number", y, 6.0)
    assert y[0] == 6
    y = device(np.zeros(1, np.float32))
    launch("scale", None, y, 3, np.int64(1))  # None: a pointer to nothing
    assert y[0] == 3


@pytest.mark.parametrize("dtype", ["uint8", "int64", "float64"])
def test_types_that_a_file_leaves_open_follow_the_arrays(dtype):
    y = device(np.zeros(1, np.int32))
    launch("anything", device(np.zeros(3, dtype)), y)
    assert y[0] == np.dtype(dtype).itemsize


def test_a_keyword_of_c_stays_what_it_is():
    y = device(np.zeros(1, np.int32))
    launch("count", device(np.array([40], np.uint32)), y, 2)
    assert y[0] == 42
    for values in (np.array([0.5], np.float32), np.array([40], np.int32)):
        said = f"k.cu: count: x is {values.dtype}; here `unsigned* x` takes uint32"
        assert refused(launch, "count", device(values), y, 2) == said


def test_an_open_type_that_no_array_tells():
    said = "k.cu: item is open, and no array says what it is"
    assert refused(launch, "anything", None, device(np.zeros(1, np.int32))) == said


def test_blocks_in_two_directions_and_dynamic_shared_memory():
    y = device(np.zeros((2, 3), np.int32))
    launch("shared", y, blocks=(3, 2), block=4, shared=16)
    assert y.tolist() == [[3, 103, 203], [13, 113, 213]]


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (([1.0], "y", 1.0, 3), "k.cu: scale: x is a list; the kernel takes an array"),
        ((2.0, "y", 1.0, 3), "k.cu: scale: x is a float; the kernel takes an array"),
        ((np.zeros(3, np.float32), "y", 1.0, 3), "k.cu: scale takes arrays that are all on one GPU, or all in th"),
        (("x", np.zeros(3, np.float32), 1.0, 3), "or; found x on emulator, y on cpu"),
        ((None, None, 1.0, 3), "found no array at all"),
        ((device([1.0, 2, 3]), "y", 1.0, 3), "k.cu: scale: y is float32; here `real* y` takes float64"),
        ((device([1, 2, 3]), "y", 1.0, 3), "k.cu: scale: x is int64; the kernel takes float32 or float64"),
        ((device(np.zeros((3, 2), np.float32))[:, 0], "y", 1.0, 3), "k.cu: scale: x is not C-contiguous; a kernel c"),
        ((device(np.zeros((0, 2), np.float32)), "y", 1.0, 3), "k.cu: scale: x has the shape (0, 2); a kernel takes 1"),
        (("x", "y", 1.0, 2**31), "k.cu: scale: size is 2147483648; the kernel takes a whole number from -2147483648"),
        (("x", "y", 1.0, 2.5), "k.cu: scale: size is 2.5; the kernel takes a whole number"),
        (("x", "y", 1.0, float("inf")), "k.cu: scale: size is inf; the kernel takes a whole number"),
        (("x", "y", None, 3), "k.cu: scale: factor is None; the kernel takes a number"),
        (("x", "y", b"1", 3), "k.cu: scale: factor is b'1'; the kernel takes a number"),
        (("x", "y", 1e300, 3), "k.cu: scale: factor is 1e+300, more than a float32 can hold"),
        (("x", "y", 1.0, [3]), "k.cu: scale: size is [3]; the kernel takes a number"),
        (("x", "y", 1.0), "k.cu: scale takes 4 arguments, got 3"),
    ],
    ids=lambda value: value[:40] if isinstance(value, str) else "",
)
def test_what_a_kernel_must_not_get(args, said):
    arrays = {name: device(np.zeros(3, np.float32)) for name in "xy"}
    args = [arrays[a] if isinstance(a, str) else a for a in args]
    assert said in refused(launch, "scale", *args)


def test_an_array_of_more_elements_than_an_int_can_count():
    """Its memory is never touched: one number, seen 2**31 times."""
    large = np.lib.stride_tricks.as_strided(np.zeros(1, np.uint8), (2**31,), (0,))

    class Whole(EmulatorArray):
        flags = type("flags", (), {"c_contiguous": True})

    y = device(np.zeros(1, np.int32))
    assert "x has the shape (2147483648,); a kernel takes 1 to 2**31 - 1 elements" in refused(
        launch, "anything", large.view(Whole), y
    )


def test_fours_must_be_fours():
    x = np.arange(12, dtype=np.float32)
    y = device(np.zeros(8, np.float32))
    launch("fours", device(x[:8]), y, threads=2, block=2)
    assert y.tolist() == list(range(8))
    assert "k.cu: fours: x is read in fours, and has 7 elements from address 0x" in refused(
        launch, "fours", device(x[:7]), y
    )
    message = refused(launch, "fours", x[1:9].view(EmulatorArray), y)
    assert "x is read in fours, and has 8 elements from address 0x" in message
    assert message.endswith("both must be multiples, of 4 and of 16")
    assert "here `float4* y` takes float32" in refused(launch, "fours", device(x[:8]), device(np.zeros(8)))


def test_a_kernel_or_a_grid_that_there_is_not():
    y = device(np.zeros(1, np.int32))
    assert refused(launch, "grow", y) == "k.cu has no kernel grow; it has scale, fours, number, anything, count, shared"
    for blocks in [(0,), (2**31,), (1, 65536), (1, 1, 70000)]:
        assert "blocks; each is at least 1, x under 2**31, y and z under 65536" in refused(
            launch, "number", y, 1, blocks=blocks
        )


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({}, "k.cu: shared: threads is None and blocks (); give one of the two"),
        ({"threads": 4, "blocks": (2,)}, "k.cu: shared: threads is 4 and blocks (2,); give one of the two"),
        ({"threads": 4, "block": 0}, "k.cu: shared: a block of 0 threads; it has 1 to 1024"),
        ({"blocks": (1,), "block": 1025}, "k.cu: shared: a block of 1025 threads; it has 1 to 1024"),
    ],
)
def test_threads_or_blocks_and_a_block_that_there_can_be(options, said):
    assert refused(cuda.launch, "k.cu", "shared", (device(np.zeros(1, np.int32)),), **options) == said


# --- sizes ---


def test_sizes_in_the_order_of_their_letters():
    x, w, b = np.zeros((5, 7)), np.zeros((7, 3)), np.zeros(3)
    assert cuda.sizes(x=(x, "NC"), w=(w, "CK"), b=(b, "K")) == [5, 7, 3]
    assert cuda.sizes(shape=((4, 2, 3), "N23")) == [4]
    assert cuda.same_shape(a=x, b=(5, 7)) == 35


@pytest.mark.parametrize(
    ("arrays", "said"),
    [
        ({"x": ((5, 7), "N")}, "x has the shape (5, 7); expected (N)"),
        ({"x": ((5, 7), "NC"), "w": ((6, 3), "CK")}, "w has the shape (6, 3); expected (C, K), where C is 7 as in x"),
        ({"affine": ((5, 2, 4), "N23")}, "affine has the shape (5, 2, 4); expected (N, 2, 3)"),
        ({"x": ((5, 0), "NC")}, "x has the shape (5, 0); every size must be at least 1"),
        ({"x": ((5, -1), "NC")}, "x has the shape (5, -1); expected (N, C)"),
        ({"b": (None, "K")}, "b is None; expected an array (K)"),
        ({"x": ((3, 4), "NN")}, "x has the shape (3, 4); expected (N, N)"),
    ],
)
def test_sizes_that_do_not_fit(arrays, said):
    assert refused(cuda.sizes, **arrays) == said


def test_shapes_that_differ():
    said = "dy has the shape (3, 2), y has (2, 3); they must be the same"
    assert refused(cuda.same_shape, y=np.zeros((2, 3)), dy=np.zeros((3, 2))) == said
    assert refused(cuda.same_shape, y=np.zeros(3), dy=[3]) == "dy is [3]; expected an array"
