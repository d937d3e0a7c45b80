// The matrix product  total[m,n] = sum over d of  a[m,d] * b[d,n],  in tiles: what makes version 2 fast.
//
//   shared memory       A block computes a tile of TILE_M x TILE_N results. For each TILE_DEPTH of the sum its threads
//                       together copy what they need into shared memory once, and then all read it there: each number
//                       of `a` serves TILE_N results, each of `b` TILE_M.
//   register blocking   A thread computes 8 x 8 results. For 64 multiplications it reads 16 numbers from shared memory,
//                       where one result a thread would have to read 128.
//
// Where the product is narrow, so is the tile, and a thread computes 4 x 8 results. The number of threads of the block
// says which tile it is. Each sum is in the order of depth: the same bits on every run.
#pragma once

#include "operands.cuh"

constexpr int TILE_M = 128;
constexpr int TILE_DEPTH = 8;
constexpr int TILE_N = 64;
constexpr int THREADS = 128;  // of a block
constexpr int NARROW = 16;    // the width of a narrow tile
constexpr int NARROW_THREADS = 64;
constexpr int SHARED_BYTES = 0, NARROW_SHARED_BYTES = 0;  // dynamic shared memory: the tiles are static

// Numbers at the end of each line of a tile in shared memory, so that the writes of a warp that copies 8 depths of 4
// indices each go to 32 different banks: bank (4 * depth + index) % 32.
constexpr int PAD = 4;

// The 8 rows or columns of a thread are two groups of 4 that lie half a tile apart: so the threads side by side in a
// warp read groups side by side in shared memory, 16 bytes each, and not every other one, which would take two turns.
__device__ inline int spread(int group, int i, int width) { return i / 4 * (width / 2) + group * 4 + i % 4; }

// The tile TILE_M x WIDTH, by BLOCK threads, each of them ROWS x 8 results.
template <int WIDTH, int BLOCK, class A, class B, class Store>
__device__ void gemm_tile(const A& a, const B& b, int M, int N, int first_depth, int end_depth, real* shared,
                          Store store) {
  constexpr int ROWS = TILE_M * WIDTH / 8 / BLOCK, LINE_A = TILE_M + PAD, LINE_B = WIDTH + PAD;
  real* tile_a = shared;                        // [TILE_DEPTH][LINE_A]
  real* tile_b = shared + TILE_DEPTH * LINE_A;  // [TILE_DEPTH][LINE_B]
  int first_m = blockIdx.x * TILE_M, first_n = blockIdx.y * WIDTH;
  Share<TILE_M, TILE_DEPTH, BLOCK, 1, A> share_a(a, first_m, M, first_depth, end_depth);
  Share<WIDTH, TILE_DEPTH, BLOCK, 1, B> share_b(b, first_n, N, first_depth, end_depth);
  real* to_a = tile_a + share_a.my_depth * LINE_A + share_a.my_index;
  real* to_b = tile_b + share_b.my_depth * LINE_B + share_b.my_index;
  int group_m = threadIdx.x / (WIDTH / 8), group_n = threadIdx.x % (WIDTH / 8);
  real total[ROWS][8] = {};
  for (int left = end_depth - first_depth; left > 0; left -= TILE_DEPTH) {
    share_a.next([=](int i, int d, const real* from, bool inside) { to_a[d * LINE_A + i] = inside ? *from : 0; });
    share_b.next([=](int i, int d, const real* from, bool inside) { to_b[d * LINE_B + i] = inside ? *from : 0; });
    __syncthreads();  // the tiles are complete
#pragma unroll
    for (int d = 0; d < TILE_DEPTH; d++) {
      real mine_a[ROWS], mine_b[8];
#pragma unroll
      for (int i = 0; i < ROWS; i++) mine_a[i] = tile_a[d * LINE_A + spread(group_m, i, TILE_M)];
#pragma unroll
      for (int j = 0; j < 8; j++) mine_b[j] = tile_b[d * LINE_B + spread(group_n, j, WIDTH)];
#pragma unroll
      for (int i = 0; i < ROWS; i++)
#pragma unroll
        for (int j = 0; j < 8; j++) total[i][j] += mine_a[i] * mine_b[j];
    }
    __syncthreads();  // nobody reads the tiles any more: they may be overwritten
  }
#pragma unroll
  for (int i = 0; i < ROWS; i++)
#pragma unroll
    for (int j = 0; j < 8; j++) {
      int m = spread(group_m, i, TILE_M), n = spread(group_n, j, WIDTH);
      if (m < M - first_m && n < N - first_n) store(first_m + m, first_n + n, total[i][j]);
    }
}

// The tile of this block of M x N results, summed from first_depth to end_depth; store(m, n, total) gets each result.
template <class A, class B, class Store>
__device__ void gemm(const A& a, const B& b, int M, int N, int first_depth, int end_depth, Store store) {
  __shared__ __align__(16) real shared[TILE_DEPTH * (TILE_M + PAD + TILE_N + PAD)];
  if (blockDim.x == THREADS)
    gemm_tile<TILE_N, THREADS>(a, b, M, N, first_depth, end_depth, shared, store);
  else
    gemm_tile<NARROW, NARROW_THREADS>(a, b, M, N, first_depth, end_depth, shared, store);
}
