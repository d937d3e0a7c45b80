// Convolution, version 3: the matrix product of version 2 on the matrix units. The inputs are rounded to TF32 (a
// mantissa of 10 bits), products and sums are float32. What is faster than version 2:
//
//   matrix units          one instruction of a warp multiplies 16 x 8 by 8 x 8 numbers: 1024 multiplications, where
//                         the 32 threads would need 32 instructions each
//   asynchronous copies   a thread starts the copies for a tile STAGES - 1 ahead and computes meanwhile; version 2
//                         waits for its tile each time
//   larger tiles          256 x 128: each number that comes from the L2 cache is used 128 or 256 times. A warp computes
//                         64 x 64, so that reading its operands from shared memory takes no longer than multiplying
//   no bank conflicts     the layout of tiles lets each access of a warp to shared memory go through in one turn
//   pieces of 16 bytes    where C and K are multiples of 4: one copy in place of four
//   fused                 bias and ReLU are applied to the sums while they are in registers
//
// Backward data needs no turned copy of w: a tile of it is read where it lies, and only its places run backwards.
#include "mma.cuh"
#include "operands.cuh"

constexpr int TILE_M = 256;
constexpr int TILE_N = 128;
constexpr int THREADS = 256;  // of a block: a warp for each 64 x 64 of the tile
constexpr int NARROW = 64;    // the width of a narrow tile
constexpr int NARROW_THREADS = 128;
constexpr int STAGES = 3;  // tiles that are in shared memory at a time
constexpr int SHARED_BYTES = 76800;  // of a block; a multiprocessor of sm_80 has 164 KB
constexpr int NARROW_SHARED_BYTES = 64512;  // so that there can be two blocks

// A tile in shared memory, without bank conflicts. A piece is 4 numbers side by side, 16 bytes; 8 pieces fill the 32
// banks, and are what a copy of 16 bytes writes in one turn. tests/test_conv_kernels.py counts.
template <int WIDTH, int DEPTH, bool DEPTH_FIRST>
struct Tile {
  static constexpr int PAD = DEPTH_FIRST ? 0 : 8, SIZE = (WIDTH + PAD) * DEPTH;

  // A fragment is read by lanes (g, q) = (lane / 4, lane % 4), at index g and depth q, with the same constants added.
  static __device__ int at(int index, int depth) {
    // [DEPTH][WIDTH + 8]: a line is 8 banks further on than the one before: bank (8 * q + g) % 32.
    if (!DEPTH_FIRST) return depth * (WIDTH + PAD) + index;
    // [WIDTH][DEPTH]: 32 / DEPTH lines fill the banks, and the next ones begin at the same banks again. They keep their
    // pieces in another order, so that piece `depth / 4` of 8 lines is in 8 different places.
    return index * DEPTH + (depth / 4 ^ index * DEPTH / 32) % (DEPTH / 4) * 4 + depth % 4;
  }
};

// out[m,n] = finish(n, sum over d of a[m,d] * b[d,n]), one tile of it; d from first_depth to end_depth.
template <int WIDTH, int BLOCK, int VECTOR, class A, class B, class Finish>
__device__ void gemm_tile(const A& a, const B& b, float* out, int M, int N, int first_depth, int end_depth,
                          Finish finish) {
  constexpr int DEPTH = VECTOR == 4 ? 16 : 8;  // less where each number is a copy of its own
  using TileA = Tile<TILE_M, DEPTH, A::DEPTH_FIRST>;
  using TileB = Tile<WIDTH, DEPTH, B::DEPTH_FIRST>;
  constexpr int STAGE = TileA::SIZE + TileB::SIZE;
  static_assert(STAGES * STAGE * 4 <= (WIDTH == NARROW ? NARROW_SHARED_BYTES : SHARED_BYTES), "too many stages");
  extern __shared__ __align__(16) float shared[];
  int first_m = blockIdx.x * TILE_M, first_n = blockIdx.y * WIDTH;
  Share<TILE_M, DEPTH, BLOCK, VECTOR, A> share_a(a, first_m, M, first_depth, end_depth);
  Share<WIDTH, DEPTH, BLOCK, VECTOR, B> share_b(b, first_n, N, first_depth, end_depth);
  auto start_copies = [&](int tile) {
    float* stage = shared + tile % STAGES * STAGE;
    share_a.next([=](int i, int d, const float* from, bool inside) {
      cp_async<4 * VECTOR>(stage + TileA::at(i, d), from, inside);
    });
    share_b.next([=](int i, int d, const float* from, bool inside) {
      cp_async<4 * VECTOR>(stage + TileA::SIZE + TileB::at(i, d), from, inside);
    });
  };

  int lane = threadIdx.x % 32, g = lane / 4, q = lane % 4, warp = threadIdx.x / 32;
  int warp_m = warp / (WIDTH / 64) * 64, warp_n = warp % (WIDTH / 64) * 64;  // where its 64 x 64 begin in the tile
  bool idle = warp_m >= M - first_m || warp_n >= N - first_n;                // all of them are beyond the last result
  float total[4][8][4] = {};                                                 // 64 x 64 as 4 x 8 times 16 x 8

  int tiles = (end_depth - first_depth - 1) / DEPTH + 1;
  for (int tile = 0; tile < STAGES - 1; tile++) {
    if (tile < tiles) start_copies(tile);
    cp_async_commit();  // a group for each tile, empty where there is none: so the count below is right to the end
  }
  for (int tile = 0; tile < tiles; tile++) {
    cp_async_wait<STAGES - 2>();  // what this thread copied of `tile` has arrived;
    __syncthreads();              // what all threads did. And all are done with tile - 1, whose place is free now:
    if (tile + STAGES - 1 < tiles) start_copies(tile + STAGES - 1);
    cp_async_commit();
    const float* tile_a = shared + tile % STAGES * STAGE;
    const float* tile_b = tile_a + TileA::SIZE;
    if (idle) continue;
#pragma unroll
    for (int d = 0; d < DEPTH; d += 8) {
      unsigned mine_a[4][4], mine_b[8][2];
#pragma unroll
      for (int i = 0; i < 4; i++)
#pragma unroll
        for (int e = 0; e < 4; e++)
          mine_a[i][e] = to_tf32(tile_a[TileA::at(warp_m + i * 16 + e % 2 * 8 + g, d + e / 2 * 4 + q)]);
#pragma unroll
      for (int j = 0; j < 8; j++)
#pragma unroll
        for (int e = 0; e < 2; e++) mine_b[j][e] = to_tf32(tile_b[TileB::at(warp_n + j * 8 + g, d + e * 4 + q)]);
#pragma unroll
      for (int i = 0; i < 4; i++)
#pragma unroll
        for (int j = 0; j < 8; j++) mma_m16n8k8_tf32(total[i][j], mine_a[i], mine_b[j]);
    }
  }

#pragma unroll
  for (int j = 0; j < 8; j++) {
    int n = warp_n + j * 8 + 2 * q, columns = N - first_n - n;  // columns from there on
    if (columns <= 0) continue;
    float2 result;
#pragma unroll
    for (int i = 0; i < 8; i++) {
      int m = warp_m + i * 8 + g;
      if (m >= M - first_m) continue;
      result.x = finish(first_n + n, total[i / 2][j][i % 2 * 2]);
      float* to = out + (first_m + m) * N + first_n + n;
      if (columns > 1) result.y = finish(first_n + n + 1, total[i / 2][j][i % 2 * 2 + 1]);
      if (VECTOR == 4) *reinterpret_cast<float2*>(to) = result;
      if (VECTOR == 1) to[0] = result.x;
      if (VECTOR == 1 && columns > 1) to[1] = result.y;
    }
  }
}

// The tile of this block: its width is told by the number of threads. `pieces`: copies may be of 16 bytes.
template <class A, class B, class Finish>
__device__ void gemm(const A& a, const B& b, float* out, int M, int N, int first_depth, int end_depth, bool pieces,
                     Finish finish) {
  if (blockDim.x == THREADS && pieces) gemm_tile<TILE_N, THREADS, 4>(a, b, out, M, N, first_depth, end_depth, finish);
  if (blockDim.x == THREADS && !pieces) gemm_tile<TILE_N, THREADS, 1>(a, b, out, M, N, first_depth, end_depth, finish);
  if (blockDim.x != THREADS && pieces)
    gemm_tile<NARROW, NARROW_THREADS, 4>(a, b, out, M, N, first_depth, end_depth, finish);
  if (blockDim.x != THREADS && !pieces)
    gemm_tile<NARROW, NARROW_THREADS, 1>(a, b, out, M, N, first_depth, end_depth, finish);
}

// May rows of C and of K numbers be copied 16 bytes at a time?
__device__ bool in_pieces(int C, int K, const void* a, const void* b, const void* out) {
  using address = unsigned long long;
  return C % 4 == 0 && K % 4 == 0 && (address(a) | address(b) | address(out)) % 16 == 0;
}

// y (pixels, K) = patches of x (pixels, R*S*C) @ w (R*S*C, K) + b
extern "C" __global__ void __launch_bounds__(THREADS)
conv_forward(const float* x, const float* w, const float* b, float* y,
             int N, int H, int W, int C, int K, int R, int S, int relu) {
  auto finish = [=](int k, float total) {
    total += b[k];
    return relu && total < 0 ? 0.0f : total;
  };
  gemm(patches(x, H, W, C, R, S), matrix<false>(w, K), y, N * H * W, K, 0, R * S * C, in_pieces(C, K, x, w, y), finish);
}

// dx (pixels, C) = patches of dy (pixels, R*S*K) @ w turned (R*S*K, C)
extern "C" __global__ void __launch_bounds__(THREADS)
conv_backward_data(const float* dy, const float* w, float* dx, int N, int H, int W, int C, int K, int R, int S) {
  auto finish = [](int, float total) { return total; };
  bool pieces = in_pieces(C, K, dy, w, dx);
  gemm(patches(dy, H, W, K, R, S), turned(w, R, S, C, K), dx, N * H * W, C, 0, R * S * K, pieces, finish);
}

// dw (R*S*C, K) = transposed patches of x (R*S*C, pixels) @ dy (pixels, K); here part z of the pixels: sums (parts,
// R*S*C, K) are added up by sum_rows.cu, in their order, so that dw has the same bits on every run.
extern "C" __global__ void __launch_bounds__(THREADS)
conv_backward_weights(const float* dy, const float* x, float* sums, int N, int H, int W, int C, int K, int R, int S,
                      int parts) {
  int pixels = N * H * W, step = (pixels - 1) / parts + 1, first = blockIdx.z * step;
  int end = pixels - first < step ? pixels : first + step;
  auto finish = [](int, float total) { return total; };
  float* dw = sums + blockIdx.z * (R * S * C * K);
  bool pieces = in_pieces(C, K, dy, x, sums);
  gemm(patches_transposed(x, H, W, C, R, S), matrix<false>(dy, K), dw, R * S * C, K, first, end, pieces, finish);
}
