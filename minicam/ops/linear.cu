// The fully connected layer: three matrix products, each in tiles (gemm.cuh).
// x (N, C)   w (C, K)   b (K)   y (N, K)
#include "gemm.cuh"

// y (N, K) = x (N, C) @ w (C, K) + b
extern "C" __global__ void __launch_bounds__(THREADS)
linear_forward(const real* x, const real* w, const real* b, real* y, int N, int C, int K) {
  auto store = [=](int n, int k, real total) { y[n * K + k] = total + b[k]; };
  gemm(matrix_by_depth(x, C), matrix_by_index(w, K), N, K, 0, C, store);
}

// dx (N, C) = dy (N, K) @ w.T (K, C): a row of w is a column of w.T
extern "C" __global__ void __launch_bounds__(THREADS)
linear_backward_data(const real* dy, const real* w, real* dx, int N, int C, int K) {
  auto store = [=](int n, int c, real total) { dx[n * C + c] = total; };
  gemm(matrix_by_depth(dy, K), matrix_by_depth(w, K), N, C, 0, K, store);
}

// dw (C, K) = x.T (C, N) @ dy (N, K)
extern "C" __global__ void __launch_bounds__(THREADS)
linear_backward_weights(const real* dy, const real* x, real* dw, int N, int C, int K) {
  auto store = [=](int c, int k, real total) { dw[c * K + k] = total; };
  gemm(matrix_by_index(x, C), matrix_by_index(dy, K), C, K, 0, N, store);
}
