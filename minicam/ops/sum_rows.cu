// Sums over the rows of a matrix a (rows, columns), for each column: the gradient of a bias, and the end of every sum
// that was computed in parts. Part z sums the rows from z * step on and writes row z of sums (parts, columns); a second
// launch sums the parts. The order is fixed, as it would not be with atomics: the same bits on every run.

#ifndef real
#define real float
#endif

constexpr int SUM_COLUMNS = 32;  // of a block: the threads of a warp read neighbouring addresses
constexpr int SUM_THREADS = 256;
constexpr int SUM_ROWS = SUM_THREADS / SUM_COLUMNS;  // that a block reads at a time

extern "C" __global__ void sum_rows(const real* a, real* sums, int rows, int columns, int parts) {
  __shared__ real partial[SUM_ROWS][SUM_COLUMNS];
  int x = threadIdx.x % SUM_COLUMNS, y = threadIdx.x / SUM_COLUMNS;
  int column = blockIdx.x * SUM_COLUMNS + x;
  int step = (rows - 1) / parts + 1, first = blockIdx.y * step;
  int count = rows - first < step ? rows - first : step;
  bool inside = x < columns - int(blockIdx.x * SUM_COLUMNS);
  real total = 0;
  if (inside)
    for (int i = y; i < count; i += SUM_ROWS) total += a[(first + i) * columns + column];
  partial[y][x] = total;
  __syncthreads();  // the first warp needs the totals of all others
  if (y > 0 || !inside) return;
  for (int i = 1; i < SUM_ROWS; i++) total += partial[i][x];
  sums[blockIdx.y * columns + column] = total;
}
