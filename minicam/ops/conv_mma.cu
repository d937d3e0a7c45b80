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
constexpr int STAGES = 3;                   // tiles that are in shared memory at a time,
constexpr int SHARED_BYTES = 76800;         // which take so much;
constexpr int NARROW_SHARED_BYTES = 64512;  // of the narrow ones there is room for two blocks

// A tile in shared memory, without bank conflicts. A piece is 4 numbers side by side, 16 bytes; 8 pieces fill the 32
// banks, and are what a copy of 16 bytes writes in one turn. tests/test_bank_conflicts.py counts.
template <int WIDTH, int DEPTH, bool DEPTH_FIRST>
struct Tile {
  static constexpr int LINE = DEPTH_FIRST ? DEPTH : WIDTH + 8;  // [WIDTH][DEPTH] or [DEPTH][WIDTH + 8]
  static constexpr int SIZE = LINE * (DEPTH_FIRST ? WIDTH : DEPTH);

  // A fragment is read by lanes (g, q) = (lane / 4, lane % 4), at index g and depth q, with the same constants added.
  static __device__ int at(int index, int depth) {
    // A line is 8 banks further on than the one before: bank (8 * q + g) % 32.
    if (!DEPTH_FIRST) return depth * LINE + index;
    // 32 / DEPTH lines fill the banks, and the next ones begin at the same banks again. They keep their pieces in
    // another order, so that piece `depth / 4` of 8 lines is in 8 different places.
    return index * LINE + (depth / 4 ^ index * LINE / 32) % (DEPTH / 4) * 4 + depth % 4;
  }

  // at(index + i, depth + d) - at(index, depth) where i is a multiple of 8, and d is 0 if DEPTH_FIRST
  static constexpr __device__ int ahead(int i, int d = 0) { return DEPTH_FIRST ? i * LINE : d * LINE + i; }
};

// total += a @ b for the 64 x 64 of a warp that begin at (warp_m, warp_n) of a tile: 4 x 8 times 16 x 8. Which of the
// elements each lane (g, q) must hold is said in mma.cuh.
template <class TileA, class TileB, int DEPTH>
__device__ void multiply(const float* tile_a, const float* tile_b, int warp_m, int warp_n, float (&total)[4][8][4]) {
  int lane = threadIdx.x % 32, g = lane / 4, q = lane % 4;
#pragma unroll
  for (int d = 0; d < DEPTH; d += 8) {
    unsigned mine_a[4][4], mine_b[8][2];
#pragma unroll
    for (int i = 0; i < 4; i++)
#pragma unroll
      for (int e = 0; e < 4; e++)
        mine_a[i][e] = to_tf32(tile_a[TileA::at(warp_m + g, d + e / 2 * 4 + q) + TileA::ahead(i * 16 + e % 2 * 8)]);
#pragma unroll
    for (int j = 0; j < 8; j++)
#pragma unroll
      for (int e = 0; e < 2; e++)
        mine_b[j][e] = to_tf32(tile_b[TileB::at(warp_n + g, d + e * 4 + q) + TileB::ahead(j * 8)]);
#pragma unroll
    for (int i = 0; i < 4; i++)
#pragma unroll
      for (int j = 0; j < 8; j++) mma_m16n8k8_tf32(total[i][j], mine_a[i], mine_b[j]);
  }
}

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
  float* to_a = shared + TileA::at(share_a.my_index, share_a.my_depth);
  float* to_b = shared + TileB::at(share_b.my_index, share_b.my_depth) + TileA::SIZE;
  auto start_copies = [&](int stage) {
    share_a.next([=](int i, int d, const float* from, bool inside) {
      cp_async<4 * VECTOR>(to_a + stage * STAGE + TileA::ahead(i, d), from, inside);
    });
    share_b.next([=](int i, int d, const float* from, bool inside) {
      cp_async<4 * VECTOR>(to_b + stage * STAGE + TileB::ahead(i, d), from, inside);
    });
  };

  int warp = threadIdx.x / 32, warp_m = warp / (WIDTH / 64) * 64, warp_n = warp % (WIDTH / 64) * 64;
  bool idle = warp_m >= M - first_m || warp_n >= N - first_n;  // all of its 64 x 64 are beyond the last result
  float total[4][8][4] = {};
  int tiles = (end_depth - first_depth - 1) / DEPTH + 1;
  for (int tile = 0; tile < STAGES - 1; tile++) {
    if (tile < tiles) start_copies(tile);
    cp_async_commit();  // a group for each tile, empty where there is none: so the count below is right to the end
  }
  int stage = 0, unused = STAGES - 1;
  for (int tile = 0; tile < tiles; tile++) {
    cp_async_wait<STAGES - 2>();  // what this thread has copied of `tile` is there;
    __syncthreads();              // now what all have. And all have multiplied the tile before: its stage is unused
    if (tile + STAGES - 1 < tiles) start_copies(unused);
    cp_async_commit();
    const float* tile_a = shared + stage * STAGE;
    if (!idle) multiply<TileA, TileB, DEPTH>(tile_a, tile_a + TileA::SIZE, warp_m, warp_n, total);
    unused = stage;
    stage = stage == STAGES - 1 ? 0 : stage + 1;
  }

  int lane = threadIdx.x % 32, g = lane / 4, q = lane % 4;
#pragma unroll
  for (int j = 0; j < 8; j++)
#pragma unroll
    for (int i = 0; i < 8; i++) {
      int m = warp_m + i * 8 + g, n = warp_n + j * 8 + 2 * q;
      const float* pair = total[i / 2][j] + i % 2 * 2;  // the results (m, n) and (m, n + 1)
      if (m >= M - first_m || n >= N - first_n) continue;
      float* to = out + ((first_m + m) * N + first_n + n);  // with a pointer for each row they took too many registers
      if (VECTOR == 4) {
        *reinterpret_cast<float2*>(to) = {finish(first_n + n, pair[0]), finish(first_n + n + 1, pair[1])};
      } else {
        to[0] = finish(first_n + n, pair[0]);
        if (n + 1 < N - first_n) to[1] = finish(first_n + n + 1, pair[1]);
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
  bool pieces = in_pieces(C, K, x, w, y);
  gemm(patches(x, H, W, C, R, S), matrix_by_index(w, K), y, N * H * W, K, 0, R * S * C, pieces, finish);
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
  gemm(patches_transposed(x, H, W, C, R, S), matrix_by_index(dy, K), dw, R * S * C, K, first, end, pieces, finish);
}
