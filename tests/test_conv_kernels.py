"""The CUDA kernels of conv and linear: each version against float64, the choice among them, and their bad input.

They run in the emulator, in its check mode, and with `-m gpu` on a GPU.
"""

import numpy as np
import pytest
from gradcheck import check_backward, relative_error

from minicam import MinicamError, cuda, emulator
from minicam.backend import to_cpu, to_device
from minicam.bench.reference import to_tf32
from minicam.ops import conv, linear
from minicam.ops._product import sum_rows

# N, H, W, C, K, R, S; with the tiles and copies that they meet in conv_tiled.cu and conv_mma.cu
SHAPES = [
    (2, 7, 5, 3, 4, 3, 3),  # narrow tiles, 4-byte copies
    (1, 2, 3, 2, 3, 5, 5),  # an image smaller than the kernel
    (3, 4, 7, 5, 1, 1, 1),
    (1, 9, 13, 8, 20, 5, 3),  # narrow tiles, 16-byte copies
    (1, 9, 31, 12, 68, 1, 3),  # wide tiles, 16-byte copies; two tiles of pixels
    (1, 5, 11, 4, 71, 3, 1),  # wide tiles, 4-byte copies because of K alone
    (1, 3, 5, 33, 6, 3, 3),  # two tiles of taps in dw
]
every_shape = pytest.mark.parametrize("shape", SHAPES, ids=str)
every_version = pytest.mark.parametrize("kernels", conv.KERNELS)


def arguments(shape, rng, dtype=np.float32):
    """x, w, b, dy"""
    N, H, W, C, K, R, S = shape
    return [rng.standard_normal(size).astype(dtype) for size in ((N, H, W, C), (R, S, C, K), (K,), (N, H, W, K))]


def seen_by(kernels, *arrays):
    """What the kernels multiply, in float64: for conv_mma.cu the nearest TF32 of each number, halves away from 0."""
    return [to_tf32(a) if kernels == "conv_mma.cu" else a.astype(np.float64) for a in arrays]


# --- numbers


@pytest.mark.parametrize("shape", [SHAPES[0], SHAPES[1], SHAPES[6]], ids=str)
@pytest.mark.parametrize("kernels", conv.KERNELS[:2])
def test_gradients_of_x_w_and_b_in_double(kernels, shape, rng, gpu):
    """Of the kernels themselves: their own backward against differences of their own forward, through the ReLU."""
    x, w, b, _ = arguments(shape, rng, np.float64)

    def forward(x, w, b):
        return gpu(conv.forward, x, w, b, relu=True, kernels=kernels)

    def backward(dy, x, w, b):
        return gpu(conv.backward, dy, x, w, forward(x, w, b), kernels=kernels)

    assert np.abs(conv.forward_numpy(x, w, b)).min() > 1e-4  # no kink within reach of the differences
    check_backward(forward, backward, {"x": x, "w": w, "b": b}, rng)


@every_shape
@every_version
def test_forward_and_backward_in_float32(kernels, shape, rng, gpu):
    x, w, b, dy = arguments(shape, rng)
    x64, w64 = seen_by(kernels, x, w)
    y = gpu(conv.forward, x, w, b, kernels=kernels)
    y64 = conv.forward_numpy(x64, w64, b.astype(np.float64))
    assert y.dtype == np.float32
    assert relative_error(y, y64) < 1e-5
    np.testing.assert_array_equal(gpu(conv.forward, x, w, b, relu=True, kernels=kernels), np.maximum(y, 0))

    masked = dy * (y > 0)
    (masked64,) = seen_by(kernels, masked)
    dx64, dw64, _ = conv.backward_numpy(masked64, x64, w64)
    db64 = masked.sum((0, 1, 2), dtype=np.float64)
    mine = gpu(conv.backward, dy, x, w, y, kernels=kernels)
    for name, m, t in zip(("dx", "dw", "db"), mine, (dx64, dw64, db64), strict=True):
        assert m.dtype == np.float32, name
        assert relative_error(m, t) < 1e-5, name


@every_shape
@pytest.mark.parametrize("kernels", ["conv.cu", "conv_tiled.cu"])
def test_forward_and_backward_in_float64(kernels, shape, rng, gpu):
    x, w, b, dy = arguments(shape, rng, np.float64)
    y = gpu(conv.forward, x, w, b, kernels=kernels)
    assert relative_error(y, conv.forward_numpy(x, w, b)) < 1e-13
    for mine, theirs in zip(gpu(conv.backward, dy, x, w, kernels=kernels), conv.backward_numpy(dy, x, w), strict=True):
        assert relative_error(mine, theirs) < 1e-13


def test_the_matrix_units_round_to_the_nearest_tf32_and_sum_in_float32(gpu):
    x = np.zeros((1, 1, 7, 1), np.float32)
    x[0, 0, :, 0] = 1 + 2**-11, -1 - 2**-11, 1 + 2**-11 - 2**-20, 3, 2**-20, np.nan, np.inf
    w, b = np.ones((1, 1, 1, 1), np.float32), np.full(1, 2.0**-22, np.float32)
    y = gpu(conv.forward, x, w, b, kernels="conv_mma.cu")[0, 0, :, 0]
    # 10 bits of mantissa; halves go away from 0. The bias is added in float32, which has 23.
    expected = np.float32([1 + 2**-10, -1 - 2**-10, 1, 3, 2**-20, np.nan, np.inf]) + b
    np.testing.assert_array_equal(y, expected)


@every_version
def test_without_dx_the_other_gradients_are_the_same(kernels, rng, gpu):
    x, w, _, dy = arguments(SHAPES[0], rng)
    _, dw, db = gpu(conv.backward, dy, x, w, kernels=kernels)
    nothing, dw_alone, db_alone = gpu(conv.backward, dy, x, w, need_dx=False, kernels=kernels)
    assert nothing is None
    np.testing.assert_array_equal(dw_alone, dw)
    np.testing.assert_array_equal(db_alone, db)


def test_arrays_that_begin_between_multiples_of_16_bytes(rng, gpu):
    """C and K allow copies of 16 bytes; the addresses do not."""
    x, w, b, dy = arguments(SHAPES[3], rng)
    expected = gpu(conv.forward, x, w, b, kernels="conv_mma.cu")
    expected_back = gpu(conv.backward, dy, x, w, kernels="conv_mma.cu")

    def moved(array):
        """The array in device memory, one number after the start of a larger one."""
        shifted = to_device(np.concatenate([np.zeros(1, array.dtype), array.ravel()]), gpu.device)
        return shifted[1:].reshape(array.shape)

    with emulator.options(check=True):
        y = conv.forward(moved(x), to_device(w, gpu.device), to_device(b, gpu.device), kernels="conv_mma.cu")
        back = conv.backward(moved(dy), to_device(x, gpu.device), moved(w), kernels="conv_mma.cu")
    assert relative_error(to_cpu(y), expected) < 1e-6  # the tiles are less deep: sums are in another order
    for mine, theirs in zip(back, expected_back, strict=True):
        assert relative_error(to_cpu(mine), theirs) < 1e-6


# --- dw in parts


@pytest.mark.parametrize("kernels", ["conv_tiled.cu", "conv_mma.cu"])
def test_dw_of_many_parts_has_the_same_bits_in_any_order_of_threads(kernels, rng):
    x, w, _, dy = arguments((3, 41, 37, 3, 5, 3, 3), rng)
    assert conv._parts_of_dw(kernels, dy.size // 5, w) == 9
    _, expected, _ = conv.backward_numpy(*seen_by(kernels, dy, x, w), need_dx=False)
    placed = [to_device(a, "emulator") for a in (dy, x, w)]
    results = []
    for order in ("forward", "reverse", "random"):
        with emulator.options(order=order):
            results.append(conv.backward(*placed, need_dx=False, kernels=kernels))
    for _, dw, db in results:
        np.testing.assert_array_equal(to_cpu(dw), to_cpu(results[0][1]))
        np.testing.assert_array_equal(to_cpu(db), to_cpu(results[0][2]))
    assert relative_error(to_cpu(results[0][1]), expected) < 1e-5


def test_no_part_of_dw_is_empty_and_all_of_them_fit_in_memory():
    for pixels in (1, 511, 513, 12544, 64 * 224 * 224):
        for shape in ((3, 3, 3, 64), (3, 3, 64, 64), (3, 3, 512, 1024), (1, 1, 2048, 8192)):
            w = np.empty(shape, np.float32)
            for kernels in ("conv_tiled.cu", "conv_mma.cu"):
                parts = conv._parts_of_dw(kernels, pixels, w)
                step = -(-pixels // parts)
                assert (parts - 1) * step < pixels
                assert parts * w.nbytes <= max(conv.DW_BYTES, w.nbytes)


@pytest.mark.parametrize("rows", [1, 63, 65, 5003])
@pytest.mark.parametrize("columns", [1, 31, 33, 70])
def test_sum_rows(rows, columns, rng, gpu):
    a = rng.integers(-99, 99, (rows, columns)).astype(np.float32)
    with emulator.options(check=True, order="random"):
        sums = to_cpu(sum_rows(to_device(a, gpu.device)))
    assert sums.tolist() == a.sum(0).tolist()  # of whole numbers: exact in any order


# --- linear


@pytest.mark.parametrize("shape", [(1, 1, 1), (5, 7, 3), (131, 70, 67), (3, 200, 17)], ids=str)
@pytest.mark.parametrize(("dtype", "limit"), [(np.float32, 1e-5), (np.float64, 1e-13)])
def test_linear(shape, dtype, limit, rng, gpu):
    N, C, K = shape
    x, w, b, dy = (rng.standard_normal(size).astype(dtype) for size in ((N, C), (C, K), (K,), (N, K)))
    x64, w64, b64, dy64 = (a.astype(np.float64) for a in (x, w, b, dy))
    y = gpu(linear.forward, x, w, b)
    assert y.dtype == dtype
    assert relative_error(y, linear.forward_numpy(x64, w64, b64)) < limit
    for mine, theirs in zip(gpu(linear.backward, dy, x, w), linear.backward_numpy(dy64, x64, w64), strict=True):
        assert mine.dtype == dtype
        assert relative_error(mine, theirs) < limit


# --- choice, and bad input


@pytest.fixture
def precision():
    """cuda.set_precision, undone after the test."""
    before = cuda.precision()
    yield cuda.set_precision
    cuda.set_precision(before)


def test_the_precision_chooses_the_version(precision, rng, gpu):
    x, w, b, _ = arguments(SHAPES[0], rng)
    by_version = {kernels: gpu(conv.forward, x, w, b, kernels=kernels) for kernels in conv.KERNELS}
    assert (by_version["conv_tiled.cu"] != by_version["conv_mma.cu"]).any()
    for name, kernels in (("float32", "conv_tiled.cu"), ("tf32", "conv_mma.cu")):
        precision(name)
        np.testing.assert_array_equal(gpu(conv.forward, x, w, b), by_version[kernels])
    x, w, b, _ = arguments(SHAPES[0], rng, np.float64)  # the matrix units know no float64 that would be of use here
    assert relative_error(gpu(conv.forward, x, w, b), conv.forward_numpy(x, w, b)) < 1e-13


BAD = [
    ({"w": (2, 3, 3, 4)}, "a kernel of 2 x 3 has no middle; both sides must be odd"),
    ({"w": (3, 4, 3, 4)}, "a kernel of 3 x 4 has no middle; both sides must be odd"),
    ({"w": (3, 3, 2, 4)}, r"w has the shape \(3, 3, 2, 4\); expected \(R, S, C, K\), where C is 3 as in x"),
    ({"w": (3, 3, 12)}, r"w has the shape \(3, 3, 12\); expected \(R, S, C, K\)"),
    ({"b": (5,)}, r"b has the shape \(5,\); expected \(K\), where K is 4 as in w"),
    ({"kernels": "fast.cu"}, "kernels 'fast.cu' are not known; choose one of conv.cu, conv_tiled.cu, conv_mma.cu"),
]


@pytest.mark.parametrize(("change", "message"), BAD, ids=[str(change) for change, _ in BAD])
def test_bad_input_of_forward(change, message):
    kernels = change.get("kernels", "conv_tiled.cu")
    shapes = {"x": (2, 7, 5, 3), "w": (3, 3, 3, 4), "b": (4,)} | {k: v for k, v in change.items() if k != "kernels"}
    with pytest.raises(MinicamError, match=message):
        conv.forward(*(to_device(np.ones(s, np.float32), "emulator") for s in shapes.values()), kernels=kernels)


@pytest.mark.parametrize(
    ("dy", "w", "y", "message"),
    [
        ((2, 7, 5, 5), (3, 3, 3, 4), None, r"w has the shape .*; expected \(R, S, C, K\), where K is 5 as in dy"),
        ((2, 7, 6, 4), (3, 3, 3, 4), None, r"x has the shape .*; expected \(N, H, W, C\), where W is 6 as in dy"),
        ((2, 7, 5, 4), (3, 2, 3, 4), None, "a kernel of 3 x 2 has no middle"),
        ((2, 7, 5, 4), (3, 3, 3, 4), (2, 7, 5, 1), r"y has the shape \(2, 7, 5, 1\), dy has \(2, 7, 5, 4\)"),
    ],
)
def test_bad_input_of_backward(dy, w, y, message):
    given = [None if s is None else to_device(np.ones(s, np.float32), "emulator") for s in (dy, (2, 7, 5, 3), w, y)]
    with pytest.raises(MinicamError, match=message):
        conv.backward(*given)


def test_the_matrix_units_take_float32_only():
    x, w, b, _ = (to_device(a, "emulator") for a in arguments(SHAPES[0], np.random.default_rng(0), np.float64))
    with pytest.raises(MinicamError, match=r"conv_mma.cu: conv_forward: x is float64; here `float\* x` takes float32"):
        conv.forward(x, w, b, kernels="conv_mma.cu")


def test_bad_input_of_linear():
    x, w, b = (to_device(np.ones(s, np.float32), "emulator") for s in ((5, 7), (6, 3), (3,)))
    with pytest.raises(MinicamError, match=r"w has the shape \(6, 3\); expected \(C, K\), where C is 7 as in x"):
        linear.forward(x, w, b)
