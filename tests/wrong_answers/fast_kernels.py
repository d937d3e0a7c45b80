"""Lesson 10: plausible, and wrong."""

import numpy as np


def tiled_reads__rounds_down(M, N, D, height, width):
    return N // width * M * D + M // height * D * N


def tiled_reads__sides_swapped(M, N, D, height, width):
    return -(-N // height) * M * D + -(-M // width) * D * N


def tiled_reads__whole_tiles_at_the_edge(M, N, D, height, width):
    return -(-M // height) * -(-N // width) * (height + width) * D


def blur_kernel__without_a_barrier(threads):
    return f"constexpr int THREADS = {threads};" + """
extern "C" __global__ void blur(const float* x, float* y, int n) {
  __shared__ float tile[THREADS + 2];
  int t = threadIdx.x, i = blockIdx.x * THREADS + t;
  tile[t + 1] = i < n ? x[i] : 0;
  if (t == 0) tile[0] = i > 0 ? x[i - 1] : 0;
  if (t == THREADS - 1) tile[THREADS + 1] = i + 1 < n ? x[i + 1] : 0;
  if (i < n) y[i] = (tile[t] + tile[t + 1] + tile[t + 2]) / 3;
}"""


def blur_kernel__leaves_before_the_barrier(threads):
    return f"constexpr int THREADS = {threads};" + """
extern "C" __global__ void blur(const float* x, float* y, int n) {
  __shared__ float tile[THREADS + 2];
  int t = threadIdx.x, i = blockIdx.x * THREADS + t;
  if (i >= n) return;
  tile[t + 1] = x[i];
  if (t == 0) tile[0] = i > 0 ? x[i - 1] : 0;
  if (t == THREADS - 1 || i == n - 1) tile[t + 2] = i + 1 < n ? x[i + 1] : 0;
  __syncthreads();
  y[i] = (tile[t] + tile[t + 1] + tile[t + 2]) / 3;
}"""


def blur_kernel__each_block_for_itself(threads):
    return f"constexpr int THREADS = {threads};" + """
extern "C" __global__ void blur(const float* x, float* y, int n) {
  __shared__ float tile[THREADS + 2];
  int t = threadIdx.x, i = blockIdx.x * THREADS + t;
  tile[t + 1] = i < n ? x[i] : 0;
  if (t == 0) tile[0] = tile[THREADS + 1] = 0;
  __syncthreads();
  if (i < n) y[i] = (tile[t] + tile[t + 1] + tile[t + 2]) / 3;
}"""


def blur_kernel__without_a_tile(threads):
    return """extern "C" __global__ void blur(const float* x, float* y, int n) {
  int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i < n) y[i] = ((i > 0 ? x[i - 1] : 0) + x[i] + (i + 1 < n ? x[i + 1] : 0)) / 3;
}"""


def turns__same_word_counted_again(words):
    return max(np.bincount(np.asarray(words) % 32))


def turns__banks_counted(words):
    return 32 - len(np.unique(np.asarray(words) % 32)) + 1


def turned_address__not_turned(depth, c, R, S, C, K):
    return depth // K * C * K + c * K + depth % K


def turned_address__channels_not_swapped(depth, c, R, S, C, K):
    return (R * S - 1 - depth // K) * C * K + depth % K * K + c


def to_tf32__cut(x):
    return (x.view(np.uint32) & 0xFFFFE000).view(np.float32)


def to_tf32__as_float16(x):
    with np.errstate(over="ignore"):
        return x.astype(np.float16).astype(np.float32)


def to_tf32__halves_to_even(x):
    fraction, exponent = np.frexp(x)
    return np.ldexp(np.round(fraction * 2**11) / 2**11, exponent).astype(np.float32)


def to_tf32__float64(x):
    return ((x.view(np.uint32) + 0x1000) & 0xFFFFE000).view(np.float32).astype(np.float64)
