"""What CUDA C++ means in the emulator: every word of it that kernels use, in both kinds of module and in any order."""

import re
import textwrap

import numpy as np
import pytest
from emulated import HOW, array, empty, kernels, run

from minicam import MinicamError, emulator

FEATURES = r"""
#ifndef real
#define real float
#endif
constexpr int WEIGHTS[4] = {3, 1, 4, 1};
static_assert(sizeof(float4) == 16, "four floats");
struct Square { __device__ float operator()(float x) const { return x * x; } };
__device__ __forceinline__ int global_id() { return blockIdx.x * blockDim.x + threadIdx.x; }

extern "C" __global__ void __launch_bounds__(128) positions(int* out) {
  int block = (blockIdx.z * gridDim.y + blockIdx.y) * gridDim.x + blockIdx.x;
  int thread = (threadIdx.z * blockDim.y + threadIdx.y) * blockDim.x + threadIdx.x;
  int* mine = out + 6 * (block * (blockDim.x * blockDim.y * blockDim.z) + thread);
  mine[0] = blockIdx.x; mine[1] = blockIdx.y; mine[2] = blockIdx.z;
  mine[3] = threadIdx.x; mine[4] = threadIdx.y; mine[5] = threadIdx.z;
}

// "__shared__ in a string or a comment": __shared__ stays as it is
extern "C" __global__ void reverse_static(const real* x, real* y, int n) {
  const char* text = "__shared__ float a;"; (void)text;
  __shared__ __align__(16) real tile[2][37], total;
  int t = threadIdx.x;
  if (t < n) tile[1][t] = x[t];
  if (t == 0) total = 0;
  __syncthreads();
  if (t < n) y[t] = tile[1][n - 1 - t] + total;
}

extern "C" __global__ void reverse_dynamic(const real* x, real* y, int n) {
  extern __shared__ real tile[];
  int t = threadIdx.x;
  if (t < n) tile[t] = x[t];
  __syncthreads();
  if (t < n) y[t] = tile[n - 1 - t];
}

template <int N, class T> __device__ T sum_through_shared(T value) {
  alignas(8) __shared__ T values[N];
  values[threadIdx.x] = value;
  __syncthreads();
  T total = 0;
#pragma unroll
  for (int i = 0; i < N; i++) total += values[i];
  __syncthreads();
  return total;
}

extern "C" __global__ void templates(float* floats, double* doubles) {
  float a = sum_through_shared<16>(float(threadIdx.x));
  double b = sum_through_shared<16>(double(threadIdx.x) / 2);
  floats[threadIdx.x] = a;
  doubles[threadIdx.x] = b;
}

extern "C" __global__ void before_it_is_written(float* y) {
  __shared__ float once[32];
  extern __shared__ float raw[];
  y[global_id()] = once[threadIdx.x] + raw[threadIdx.x];
  once[threadIdx.x] = raw[threadIdx.x] = 1;
}

extern "C" __global__ void functions(const float* __restrict__ x, float* y, int n) {
  auto twice = [&](int i) { return 2 * __ldg(&x[i]); };
  int i = global_id();
  if (i >= n) return;
  y[i] = Square()(x[i]) + twice(i) + WEIGHTS[i % 4];
}

extern "C" __global__ void fours(const float4* x, float* y) {
  float4 v = x[threadIdx.x];
  reinterpret_cast<float4*>(y)[threadIdx.x] = make_float4(v.w, v.z, v.y, v.x);
}

extern "C" __global__ void arithmetic(const float* x, float* y) {
  float nan = x[0], two = x[1];
  y[0] = max(nan, two); y[1] = min(two, nan); y[2] = max(2, 3u); y[3] = min(2.5, two);
  y[4] = fmaf(two, 3.0f, 1.0f); y[5] = rsqrtf(two); y[6] = __expf(two); y[7] = __int_as_float(__float_as_int(two));
  y[8] = __popc(0xf0u); y[9] = __ffs(8); y[10] = __clz(1); y[11] = __fdividef(two, 4.0f); y[12] = exp(two);
}

extern "C" __global__ void no_array(const float* x, float* y) { y[0] = x ? 1 : 2; }

extern "C" __global__ void in_place(const float* x, float* y) { y[threadIdx.x] = x[threadIdx.x] + 1; }

extern "C" __global__ void turns(int* order, int* counter) { order[atomicAdd(counter, 1)] = global_id(); }
"""

@pytest.fixture(params=HOW)
def how(request):
    """Every kind of module, and every order."""
    with emulator.options(**HOW[request.param]):
        yield


@pytest.fixture(scope="module")
def features(tmp_path_factory):
    return kernels(tmp_path_factory.mktemp("kernels"), FEATURES)


@pytest.mark.usefixtures("how")
def test_threads_know_where_they_are(features):
    grid, block = (3, 2, 4), (5, 3, 2)
    out = empty((*grid[::-1], *block[::-1], 6), np.int32)
    run(features, "positions", out, grid=grid, block=block)
    for at in np.ndindex(*out.shape[:-1]):
        assert tuple(out[at]) == at[:3][::-1] + at[3:][::-1]


@pytest.mark.usefixtures("how")
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("kernel", ["reverse_static", "reverse_dynamic"])
def test_shared_memory_and_barriers(tmp_path, kernel, dtype):
    x, y = array(np.arange(37), dtype), empty(37, dtype)
    run(kernels(tmp_path, FEATURES, real=dtype), kernel, x, y, 37, block=64, shared=37 * x.itemsize)
    np.testing.assert_array_equal(y, x[::-1])


@pytest.mark.usefixtures("how")
def test_each_instance_of_a_template_has_its_own_shared_arrays(features):
    floats, doubles = empty(16), empty(16, np.float64)
    run(features, "templates", floats, doubles, block=16)
    assert (floats == 120).all()
    assert (doubles == 60).all()


def test_shared_memory_is_nan_at_the_start_of_each_block(features):
    y = array(np.zeros(96))
    run(features, "before_it_is_written", y, grid=3, shared=128)
    assert np.isnan(y).all()


@pytest.mark.usefixtures("how")
def test_functors_lambdas_and_constant_tables(features):
    x, y = array(np.linspace(-1, 1, 45)), empty(45)
    run(features, "functions", x, y, 45, grid=2)
    np.testing.assert_allclose(y, x * x + 2 * x + np.array([3, 1, 4, 1])[np.arange(45) % 4], rtol=1e-6)


@pytest.mark.usefixtures("how")
def test_four_floats_at_once(features):
    x, y = array(np.arange(28)), empty(28)
    run(features, "fours", x, y, block=7)
    np.testing.assert_array_equal(y.reshape(7, 4), x.reshape(7, 4)[:, ::-1])


@pytest.mark.usefixtures("how")
def test_arithmetic(features):
    y = empty(13)
    run(features, "arithmetic", array([np.nan, 2]), y, block=1)
    e2 = np.exp(2)
    np.testing.assert_allclose(y, [2, 2, 3, 2, 7, 0.5**0.5, e2, 2, 4, 4, 31, 0.5, e2], rtol=1e-6)


@pytest.mark.usefixtures("how")
def test_a_pointer_may_be_null(features):
    y = empty(1)
    run(features, "no_array", None, y, block=1)
    assert y == 2
    run(features, "no_array", array([0.5]), y, block=1)
    assert y == 1


@pytest.mark.usefixtures("how")
def test_arrays_are_written_where_they_lie_and_may_be_the_same(features):
    whole = array(np.arange(40))
    x = whole[4:37]
    run(features, "in_place", x, x, block=33)
    np.testing.assert_array_equal(whole, np.arange(40) + ((np.arange(40) >= 4) & (np.arange(40) < 37)))


@pytest.mark.parametrize("apart", [0, 40])
def test_arrays_that_overlap_do_so_in_check_mode_too(features, apart):
    whole = array(np.arange(100))
    x, y = whole[:32], whole[4 + apart : 36 + apart]
    with emulator.options(check=True):
        if apart:
            run(features, "in_place", x, y)
            np.testing.assert_array_equal(y, np.arange(1, 33))
            return
        with pytest.raises(emulator.EmulatorError, match=r"thread \(4,0,0\): race on x\[4\]: read at k.cu:\d+, "):
            run(features, "in_place", x, y)


def turns(features):
    order, counter = empty(160, np.int32), array([0], np.int32)
    run(features, "turns", order, counter, grid=2, block=80)
    assert sorted(order) == list(range(160))
    return order.tolist()


def test_threads_take_turns_forward_backward_and_at_random(features):
    assert turns(features) == list(range(160))
    with emulator.options(order="reverse"):
        assert turns(features) == list(range(160))[::-1]
    drawn = {}
    for seed in (1, 2, 1):
        with emulator.options(order="random", seed=seed):
            found = turns(features), turns(features)
        assert found[0] != found[1]
        assert found == drawn.setdefault(seed, found)
    assert drawn[1] != drawn[2]
    assert turns(features) == list(range(160))  # as before


def test_the_example_of_the_package():
    (example,) = re.findall(r"\n\n((?: {4}(?:import|from) .*\n)+\n(?: {4}.*\n)+)", emulator.__doc__)
    names = {}
    exec(textwrap.dedent(example), names)
    np.testing.assert_array_equal(names["y"], np.ones((1, 4)))
    assert [launch.kernel for launch in names["launches"]] == ["gap_forward"]


def test_an_order_that_there_is_not():
    with (
        pytest.raises(MinicamError, match="order is 'sideways'; choose one of forward, reverse, random"),
        emulator.options(order="sideways"),
    ):
        pass


LIMITS = [
    ({"block": 1025}, "a block of (1025, 1, 1), 1025 threads; each number is at least 1, the last at most 64"),
    ({"block": (1, 2, 65)}, "a block of (1, 2, 65), 130 threads"),
    ({"block": 0}, "a block of (0, 1, 1), 0 threads"),
    ({"grid": 0}, "a grid of (0, 1, 1) blocks"),
    ({"grid": (1, 65536)}, "a grid of (1, 65536, 1) blocks"),
    ({"grid": (2**16, 2**15)}, "a grid of (65536, 32768, 1) blocks; the emulator runs fewer than 2**31 in all"),
    ({"shared": 227 * 1024 + 1}, "232449 bytes of dynamic shared memory; a block has 232448"),
]


@pytest.mark.parametrize(("size", "said"), LIMITS, ids=lambda value: str(value)[:20])
def test_launches_beyond_the_limits(features, size, said):
    with pytest.raises(emulator.EmulatorError) as caught:
        run(features, "no_array", None, empty(1), **size)
    assert f"k.cu: no_array: invalid launch: {said}" in str(caught.value)


def test_static_shared_memory_beyond_the_limit(tmp_path):
    text = kernels(
        tmp_path,
        'extern "C" __global__ void big() {\n'
        "  __shared__ char a[40000], b[9153]; a[0] = b[0] = 1;\n}\n"
        'extern "C" __global__ void just() {\n'
        "  __shared__ char a[40000], b[9152]; a[0] = b[0] = 1;\n}\n",
    )
    run(text, "just")
    run(text, "just", shared=178 * 1024)
    with pytest.raises(emulator.EmulatorError, match=r"49153 bytes of static shared memory, with b; a block has 49152"):
        run(text, "big")
    with pytest.raises(emulator.EmulatorError, match=r"232960 bytes of shared memory, static and dynamic, with b"):
        run(text, "just", shared=180 * 1024 - 512)
