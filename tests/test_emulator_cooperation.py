"""What threads do together in the emulator: atomics, warp operations, asynchronous copies and matrix units."""

import numpy as np
import pytest
from emulated import HOW, array, empty, kernels, run

from minicam import emulator

TEXT = r"""
const unsigned ALL = 0xffffffff;

extern "C" __global__ void shuffles(const double* x, double* y, int width) {
  double v = x[threadIdx.x];
  y[threadIdx.x] = __shfl_sync(ALL, v, 5, width);
  y[blockDim.x + threadIdx.x] = __shfl_up_sync(ALL, v, 3, width);
  y[2 * blockDim.x + threadIdx.x] = __shfl_down_sync(ALL, v, 3, width);
  y[3 * blockDim.x + threadIdx.x] = __shfl_xor_sync(ALL, v, 6, width);
}

extern "C" __global__ void warp_sums(const float* x, float* y) {
  float total = x[threadIdx.x];
  for (int d = 16; d > 0; d /= 2) total += __shfl_xor_sync(ALL, total, d);
  if (threadIdx.x % 32 == 0) y[threadIdx.x / 32] = total;
}

extern "C" __global__ void half_warps(int* y) {
  int lane = threadIdx.x;
  if (lane < 16) y[lane] = __shfl_sync(0x0000ffff, lane, 15);
  else y[lane] = __ballot_sync(0xffff0000, lane % 4 == 0);
}

extern "C" __global__ void votes(int* y) {
  int lane = threadIdx.x;
  if (lane >= 20) return;  // the others vote without them
  unsigned odd = __ballot_sync(ALL, lane % 2);
  y[0] = odd; y[1] = __any_sync(ALL, lane == 19); y[2] = __any_sync(ALL, lane == 20);
  y[3] = __all_sync(ALL, lane < 20); y[4] = __all_sync(ALL, lane < 19);
  if (lane == 0) y[5] = __activemask();
}

extern "C" __global__ void block_votes(int* y) {
  int t = threadIdx.x, count = __syncthreads_count(t % 3 == 0);
  int any = __syncthreads_or(t == 44), none = __syncthreads_or(t == 45);
  int all = __syncthreads_and(t < 45), not_all = __syncthreads_and(t < 44);
  if (t == 0) { y[0] = count; y[1] = any; y[2] = none; y[3] = all; y[4] = not_all; }
}

extern "C" __global__ void leave_early(const float* x, float* y, int n) {
  __shared__ float tile[64];
  int t = threadIdx.x;
  if (t >= n) return;
  tile[t] = x[t];
  __syncthreads();
  y[t] = tile[n - 1 - t];
}

extern "C" __global__ void atomics(int* y, float* sum, unsigned long long* big) {
  int t = threadIdx.x + blockIdx.x * blockDim.x;
  atomicAdd(&y[0], t); atomicSub(&y[1], t); atomicMax(&y[2], t); atomicMin(&y[3], -t); atomicOr(&y[4], 1 << t % 8);
  atomicAnd(&y[5], ~(1 << t % 4)); atomicXor(&y[6], t); atomicExch(&y[7], 9); atomicCAS(&y[8], 0, 7);
  atomicAdd(sum, 0.5f); atomicAdd(big, 1ull << 40);
}

// Each thread copies four numbers, of which `valid` bytes are there, in a group; then four more in another.
extern "C" __global__ void copies(const float* x, float* y, int valid) {
  __shared__ __align__(16) float tile[2][32][4];
  int t = threadIdx.x;
  emulator_cp_async(&tile[0][t], valid ? &x[4 * t] : nullptr, 16, valid);
  emulator_cp_async_commit();
  emulator_cp_async(&tile[1][t], &x[4 * t], 8, 8);
  emulator_cp_async(&tile[1][t][2], &x[4 * t + 3], 4, 4);
  emulator_cp_async_commit();
  emulator_cp_async_wait(1);
  __syncthreads();
  for (int i = 0; i < 4; i++) y[4 * t + i] = tile[0][31 - t][i];
  emulator_cp_async_wait(0);
  for (int i = 0; i < 3; i++) y[128 + 4 * t + i] = tile[1][t][i];
}

extern "C" __global__ void not_waited_for(const float* x, float* y) {
  __shared__ float tile[32];
  emulator_cp_async(&tile[threadIdx.x], &x[threadIdx.x], 4, 4);
  emulator_cp_async_commit();
  y[threadIdx.x] = tile[threadIdx.x];
}

extern "C" __global__ void to_tf32(const float* x, float* y) {
  y[threadIdx.x] = __uint_as_float(emulator_to_tf32(x[threadIdx.x]));
}

// d (16, 8) = a (16, 8) @ b (8, 8) + d, each warp its own
extern "C" __global__ void matrix_product(const float* a, const float* b, float* d) {
  int lane = threadIdx.x % 32, warp = threadIdx.x / 32, group = lane / 4, in_group = lane % 4;
  a += warp * 128, b += warp * 64, d += warp * 128;
  unsigned fa[4], fb[2];
  float fd[4];
  for (int i = 0; i < 4; i++) fa[i] = __float_as_uint(a[(group + i % 2 * 8) * 8 + in_group + i / 2 * 4]);
  for (int i = 0; i < 2; i++) fb[i] = __float_as_uint(b[(in_group + i * 4) * 8 + group]);
  for (int i = 0; i < 4; i++) fd[i] = d[(group + i / 2 * 8) * 8 + in_group * 2 + i % 2];
  emulator_mma_m16n8k8_tf32(fd, fa, fb);
  for (int i = 0; i < 4; i++) d[(group + i / 2 * 8) * 8 + in_group * 2 + i % 2] = fd[i];
}
"""

@pytest.fixture(params=HOW)
def how(request):
    """Both kinds of module, and every order."""
    with emulator.options(**HOW[request.param]):
        yield


@pytest.fixture(scope="module")
def text(tmp_path_factory):
    return kernels(tmp_path_factory.mktemp("kernels"), TEXT)


@pytest.mark.usefixtures("how")
@pytest.mark.parametrize("width", [32, 8])
def test_shuffles(text, width):
    x, y = array(np.arange(64) + 0.5, np.float64), empty((4, 64), np.float64)
    run(text, "shuffles", x, y, width, block=64)
    lane = np.arange(64)
    start = lane // width * width
    for row, source in zip(y, (start + 5, lane - 3, lane + 3, lane ^ 6), strict=True):
        np.testing.assert_array_equal(row, np.where(source // width * width == start, source, lane) + 0.5)


@pytest.mark.usefixtures("how")
def test_a_sum_over_each_warp(text, rng):
    x, y = array(rng.standard_normal(96)), empty(3)
    run(text, "warp_sums", x, y, block=96)
    np.testing.assert_allclose(y, x.reshape(3, 32).sum(1), rtol=1e-5)


@pytest.mark.usefixtures("how")
def test_two_halves_of_a_warp_can_do_different_things(text):
    y = empty(32, np.int32)
    run(text, "half_warps", y)
    assert (y[:16] == 15).all()
    assert (y[16:] == 0x11110000).all()


def test_votes_without_the_lanes_that_have_left(text):
    y = empty(6, np.int32)
    run(text, "votes", y)
    np.testing.assert_array_equal(y, [0xAAAAA, 1, 0, 1, 0, 0xFFFFF])


@pytest.mark.usefixtures("how")
def test_votes_of_a_block(text):
    y = empty(5, np.int32)
    run(text, "block_votes", y, block=45)
    np.testing.assert_array_equal(y, [15, 1, 0, 1, 0])


@pytest.mark.parametrize("order", emulator.ORDERS)
def test_a_barrier_does_not_wait_for_threads_that_have_left(text, order):
    """As on GPUs since Volta. Check mode objects: see test_emulator_checks.py."""
    x, y = array(np.arange(64)), empty(64)
    with emulator.options(order=order):
        run(text, "leave_early", x, y, 45, block=64)
    np.testing.assert_array_equal(y[:45], x[:45][::-1])
    assert np.isnan(y[45:]).all()


@pytest.mark.usefixtures("how")
def test_atomics(text):
    y, total, big = array([0, 0, 0, 0, 0, 255, 0, 0, 0], np.int32), array([0.0]), array([0], np.uint64)
    run(text, "atomics", y, total, big, grid=3, block=21)
    n = np.arange(63)
    np.testing.assert_array_equal(y, [n.sum(), -n.sum(), 62, -62, 255, 240, np.bitwise_xor.reduce(n), 9, 7])
    assert total == 31.5
    assert big == 63 << 40


@pytest.mark.usefixtures("how")
@pytest.mark.parametrize("valid", [16, 8, 4, 0])
def test_asynchronous_copies(text, valid):
    x, y = array(np.arange(1, 129)), empty((2, 32, 4))
    run(text, "copies", x, y, valid)
    expected = np.array(x).reshape(32, 4)
    cut = np.where(np.arange(4) < valid / 4, expected, 0)
    np.testing.assert_array_equal(y[0], cut[::-1])
    np.testing.assert_array_equal(y[1, :, :3], expected[:, [0, 1, 3]])


def test_the_destination_of_a_copy_holds_nan_until_the_wait(text):
    y = array(np.zeros(32))
    run(text, "not_waited_for", array(np.ones(32)), y)
    assert np.isnan(y).all()


def tf32(x):
    """Rounded to 10 bits after the binary point, ties away from zero: in units of the last bit, add a half and cut."""
    mantissa, exponent = np.frexp(np.asarray(x, np.float64))
    return np.ldexp(np.trunc(mantissa * 2**11 + np.copysign(0.5, mantissa)) / 2**11, exponent)


def test_rounding_to_tf32(text, rng):
    ties = 1 + np.array([1, 2, 3, 5]) / 2**11
    x = array(np.r_[rng.standard_normal(20), ties, -ties, 0, np.inf, -np.inf, 1e-30])
    y = empty(32)
    run(text, "to_tf32", x, y)
    np.testing.assert_array_equal(y, np.where(np.isfinite(x), tf32(np.where(np.isfinite(x), x, 0)), x))
    assert (y[20:24] > ties)[[0, 2, 3]].all()  # away from zero
    y = empty(1)
    run(text, "to_tf32", array([np.nan]), y, block=1)
    assert np.isnan(y)


@pytest.mark.usefixtures("how")
def test_the_matrix_units(text, rng):
    a, b, d = (array(rng.standard_normal((3, *size))) for size in ((16, 8), (8, 8), (16, 8)))
    rounded_a, rounded_b, result = array(tf32(a)), array(tf32(b)), array(d)
    run(text, "matrix_product", rounded_a, rounded_b, result, block=96)
    expected = tf32(a) @ tf32(b) + np.asarray(d, np.float64)
    np.testing.assert_allclose(result, expected, rtol=0, atol=1e-6 * np.abs(expected).max())
    assert np.abs(result - (a @ b + d)).max() > 1e-5  # the bits that TF32 lacks are missed


def test_the_matrix_units_cut_what_nobody_has_rounded(text):
    a, b, d = array(np.full((16, 8), 1 + 1.9 / 2**10)), array(np.eye(8)), array(np.zeros((16, 8)))
    run(text, "matrix_product", a, b, d)
    assert (d == np.float32(1 + 1 / 2**10)).all()
