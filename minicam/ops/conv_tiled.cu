// Convolution, version 2: a matrix product in tiles (gemm.cuh), without ever making the matrix of patches
// (operands.cuh). Read these two first, then linear.cu, which uses both without patches. What is faster than version 1,
// which reads two numbers from far away for each multiplication:
//
//   shared memory       a tile of 128 pixels x 64 channels reads each of its inputs once for all of its threads
//   register blocking   a thread computes 8 x 8 results from 16 numbers that it holds
//   division            where a patch lies is worked out once a thread; then its place is moved on by additions
//   split depth         dw has few elements, each a sum over all pixels: parts of that sum are blocks of their own
//
// Sizes are those of version 1: x (N, H, W, C)   w (R, S, C, K)   b (K)   y (N, H, W, K)
#include "gemm.cuh"

// y (pixels, K) = patches of x (pixels, R*S*C) @ w (R*S*C, K) + b
extern "C" __global__ void __launch_bounds__(THREADS)
conv_forward(const real* x, const real* w, const real* b, real* y,
             int N, int H, int W, int C, int K, int R, int S, int relu) {
  auto store = [=](int pixel, int k, real total) {
    total += b[k];
    y[pixel * K + k] = relu && total < 0 ? real(0) : total;
  };
  gemm(patches(x, H, W, C, R, S), matrix_by_index(w, K), N * H * W, K, 0, R * S * C, store);
}

// dx (pixels, C) = patches of dy (pixels, R*S*K) @ w turned (R*S*K, C)
extern "C" __global__ void __launch_bounds__(THREADS)
conv_backward_data(const real* dy, const real* w, real* dx, int N, int H, int W, int C, int K, int R, int S) {
  auto store = [=](int pixel, int c, real total) { dx[pixel * C + c] = total; };
  gemm(patches(dy, H, W, K, R, S), turned(w, R, S, C, K), N * H * W, C, 0, R * S * K, store);
}

// dw (R*S*C, K) = transposed patches of x (R*S*C, pixels) @ dy (pixels, K); here part z of the pixels: sums (parts,
// R*S*C, K) are added up by sum_rows.cu, in their order, so that dw has the same bits on every run.
extern "C" __global__ void __launch_bounds__(THREADS)
conv_backward_weights(const real* dy, const real* x, real* sums, int N, int H, int W, int C, int K, int R, int S,
                      int parts) {
  int pixels = N * H * W, step = (pixels - 1) / parts + 1, first = blockIdx.z * step;
  int end = pixels - first < step ? pixels : first + step;
  real* dw = sums + blockIdx.z * (R * S * C * K);
  auto store = [=](int tap, int k, real total) { dw[tap * K + k] = total; };
  gemm(patches_transposed(x, H, W, C, R, S), matrix_by_index(dy, K), R * S * C, K, first, end, store);
}
