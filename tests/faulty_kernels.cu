// Kernels that each have a fault, but for the first. A comment such as "@early_read" names a line that a message must
// name; what else is said of each stands in test_emulator_checks.py.

const unsigned ALL = 0xffffffff;

extern "C" __global__ void right(const float* x, float* y, int n) {
  __shared__ float tile[64];
  int t = threadIdx.x;
  tile[t] = t < n ? x[t] : 0;
  __syncthreads();
  if (t < n) y[t] = tile[63 - t];
}

extern "C" __global__ void read_too_early(const float* x, float* y) {
  __shared__ float tile[2][32];
  int t = threadIdx.x;
  tile[t / 32][t % 32] = x[t];  // @early_write
  y[t] = tile[1 - t / 32][t % 32];  // @early_read
}

extern "C" __global__ void overwritten_too_early(const float* x, float* y) {
  __shared__ float tile[64];
  int t = threadIdx.x;
  for (int i = 0; i < 2; i++) {
    tile[t] = x[t + i];  // @war_write
    __syncthreads();
    y[t] = tile[63 - t];  // @war_read
  }
}

extern "C" __global__ void two_writers(float* y) {
  y[threadIdx.x / 2] = threadIdx.x;  // @two
}

extern "C" __global__ void blocks_add(float* y) {
  y[threadIdx.x] += 1;  // @blocks
}

extern "C" __global__ void atomic_and_plain(float* y) {
  if (threadIdx.x < 40) atomicAdd(y, 1.0f);  // @atomic
  else y[0] = 2;  // @plain
}

extern "C" __global__ void within_a_warp(float* y) {
  __shared__ float s[32];
  int t = threadIdx.x;
  s[t] = t;
  __syncwarp();
  if (t < 16) s[t] += s[t + 16];  // @warp_before
  if (t < 8) s[t] += s[t + 8];  // @warp
  __syncwarp();
  y[t] = s[0];
}

extern "C" __global__ void past_the_end(const float* x, float* y, int n) {
  int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i <= n) y[i] = x[0];  // @past
}

extern "C" __global__ void before_the_start(const float* x, float* y) {
  y[threadIdx.x] = x[int(threadIdx.x) - 3];  // @before
}

extern "C" __global__ void wrong_stride(const float* x, float* y) {
  y[threadIdx.x] = x[threadIdx.x * 7];  // @stride
}

extern "C" __global__ void four_past_the_end(const float* x, float4* y) {
  y[threadIdx.x] = *reinterpret_cast<const float4*>(x + 4 * threadIdx.x);  // @four
}

extern "C" __global__ void null_pointer(const float* x, float* y) {
  y[0] = x[5];  // @null
}

extern "C" __global__ void past_shared(float* y) {
  __shared__ float tile[4][5];
  float* all = &tile[0][0];
  all[threadIdx.x + 4] = 0;  // @shared
}

extern "C" __global__ void past_dynamic(float* y) {
  extern __shared__ float tile[];
  tile[threadIdx.x] = 0;  // @dynamic
}

extern "C" __global__ void past_a_row(float* y, int k) {
  __shared__ float tile[4][5];
  tile[1][threadIdx.x + k] = 0;  // @row
}

extern "C" __global__ void misaligned(const float* x, float* y) {
  float4 v = *reinterpret_cast<const float4*>(x + threadIdx.x);  // @misaligned
  y[threadIdx.x] = v.x + v.y + v.z + v.w;
}

extern "C" __global__ void misaligned_shared(const float* x, float* y) {
  __shared__ float tile[64];
  tile[threadIdx.x] = x[threadIdx.x];
  __syncthreads();
  y[threadIdx.x] = reinterpret_cast<float4*>(tile)[threadIdx.x / 4].y;  // @tile
}

extern "C" __global__ void diverged(float* y) {
  if (threadIdx.x < 33) __syncthreads();  // @one
  __syncthreads();  // @other
  y[0] = 1;
}

extern "C" __global__ void skipped(float* y) {
  if (threadIdx.x < 33) __syncthreads();  // @half
  y[threadIdx.x] = 1;
}

extern "C" __global__ void left(float* y, int n) {
  if (threadIdx.x >= n) return;
  __syncthreads();  // @left
  y[threadIdx.x] = 1;
}

extern "C" __global__ void exited_lane(int* y) {
  if (threadIdx.x < 16) y[threadIdx.x] = __shfl_down_sync(ALL, 1, 4);  // @exited
}

extern "C" __global__ void outside_the_mask(int* y) {
  if (threadIdx.x < 16) y[threadIdx.x] = __shfl_sync(0x0000ffff, 1, 20);  // @outside
}

extern "C" __global__ void not_in_its_mask(int* y) {
  y[threadIdx.x] = __ballot_sync(0x0000ffff, 1);  // @mask
}

extern "C" __global__ void stuck(int* y) {
  if (threadIdx.x < 16) y[threadIdx.x] = __shfl_sync(ALL, 1, 0);  // @stuck
  __syncthreads();
}

extern "C" __global__ void half_a_product(float* y) {
  float d[4] = {};
  unsigned a[4] = {}, b[2] = {};
  if (threadIdx.x < 16) emulator_mma_m16n8k8_tf32(d, a, b);  // @product
  y[threadIdx.x] = d[0];
}

extern "C" __global__ void two_products(float* y) {
  float d[4] = {};
  unsigned a[4] = {}, b[2] = {};
  if (threadIdx.x < 16) {
    emulator_mma_m16n8k8_tf32(d, a, b);  // @low_lanes
  } else {
    d[0] = 1;
    emulator_mma_m16n8k8_tf32(d, a, b);  // @high_lanes
  }
  y[threadIdx.x] = d[0];
}

extern "C" __global__ void overflow(int* y, int n) {
  y[0] = n * 65536 - 1;  // @overflow
}

extern "C" __global__ void add_overflow(int* y, int n) { y[0] = n + 2147483647; }  // @add

extern "C" __global__ void division(int* y, int n) { y[0] = 7 / (n - 65536); }  // @division

extern "C" __global__ void shift(int* y, int n) { y[0] = 1 << n; }  // @shift

extern "C" __global__ void no_wait(const float* x, float* y) {
  __shared__ __align__(16) float tile[2][128];
  for (int i = 0; i < 2; i++) {
    emulator_cp_async(&tile[i][4 * threadIdx.x], x + 4 * (threadIdx.x % 16), 16, 16);  // @copy
    emulator_cp_async_commit();
  }
  emulator_cp_async_wait(1);
  __syncthreads();
  y[threadIdx.x] = tile[0][127 - threadIdx.x];
  y[threadIdx.x] = tile[1][127 - threadIdx.x];  // @no_wait
}

extern "C" __global__ void wait_without_barrier(const float* x, float* y) {
  __shared__ float tile[64];
  emulator_cp_async(&tile[threadIdx.x], x + threadIdx.x, 4, 4);  // @without
  emulator_cp_async_commit();
  emulator_cp_async_wait(0);
  y[threadIdx.x] = tile[63 - threadIdx.x];  // @barrier
}

extern "C" __global__ void misaligned_copy(const float* x, float* y) {
  __shared__ __align__(16) float tile[8];
  emulator_cp_async(tile, x + 1, 16, 16);  // @copy_misaligned
}

extern "C" __global__ void bad_copy(const float* x, float* y) {
  __shared__ __align__(16) float tile[8];
  emulator_cp_async(tile, x, 12, 12);  // @copy_bytes
}

extern "C" __global__ void copy_past_the_end(const float* x, float* y) {
  __shared__ __align__(16) float tile[8];
  emulator_cp_async(tile, x + 68, 16, 16);  // @copy_past
}
