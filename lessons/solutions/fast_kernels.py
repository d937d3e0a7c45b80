"""Lesson 10, fast kernels: one way to solve each exercise."""

import numpy as np


def tiled_reads(M, N, D, height, width):
    # The tiles of one row of tiles all need the same rows of a, those of one column the same columns of b.
    across, down = -(-N // width), -(-M // height)
    return across * M * D + down * D * N


def blur_kernel(threads):
    # All threads come to the barrier, those beyond the end, too: they put a 0 into the tile.
    return f"constexpr int THREADS = {threads};" + """
extern "C" __global__ void blur(const float* x, float* y, int n) {
  __shared__ float tile[THREADS + 2];
  int t = threadIdx.x, i = blockIdx.x * THREADS + t;
  tile[t + 1] = i < n ? x[i] : 0;
  if (t == 0) tile[0] = i > 0 ? x[i - 1] : 0;
  if (t == THREADS - 1) tile[THREADS + 1] = i + 1 < n ? x[i + 1] : 0;
  __syncthreads();
  if (i < n) y[i] = (tile[t] + tile[t + 1] + tile[t + 2]) / 3;
}"""


def turns(words):
    # Each word once; then how many of them are in each bank.
    return max(np.bincount(np.unique(words) % 32))


def turned_address(depth, c, R, S, C, K):
    r, s, k = depth // K // S, depth // K % S, depth % K
    r, s = R - 1 - r, S - 1 - s
    return ((r * S + s) * C + c) * K + k


def to_tf32(x):
    bits = x.view(np.uint32)
    # 0x1000 is half of the last bit that stays. A carry may go up into the exponent, which is right: 1.9999 becomes 2.
    return ((bits + 0x1000) & 0xFFFFE000).view(np.float32)
