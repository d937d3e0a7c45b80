// Convolution, version 1: one thread an output element, which gathers all that it needs. The loops are those of
// forward_naive; only the outer ones are gone, for every thread knows from its number which output is its own.
//
//   conv.cu         this one: the specification, and slow, as every thread reads its inputs from far away
//   conv_tiled.cu   as a matrix product in tiles: what is read once serves a whole tile
//   conv_mma.cu     the same on the matrix units, in TF32
//
// x (N, H, W, C)   w (R, S, C, K)   b (K)   y (N, H, W, K), all channels last: the threads of a warp, whose numbers
// follow each other, have neighbouring k, and so read and write neighbouring addresses.

#ifndef real
#define real float
#endif

// y[n,p,q,k] = b[k] + sum over r,s,c of  x[n, p+r-R/2, q+s-S/2, c] * w[r,s,c,k]
extern "C" __global__ void conv_forward(const real* x, const real* w, const real* b, real* y,
                                        int N, int H, int W, int C, int K, int R, int S, int relu) {
  int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i >= N * H * W * K) return;
  int k = i % K, q = i / K % W, p = i / K / W % H, n = i / K / W / H;
  real total = b[k];
  for (int r = 0; r < R; r++)
    for (int s = 0; s < S; s++) {
      int h = p + r - R / 2, v = q + s - S / 2;
      if (h < 0 || h >= H || v < 0 || v >= W) continue;  // x is 0 outside the image
      for (int c = 0; c < C; c++) total += x[((n * H + h) * W + v) * C + c] * w[((r * S + s) * C + c) * K + k];
    }
  y[i] = relu && total < 0 ? real(0) : total;
}

// dx[n,h,v,c] = sum over r,s,k of  dy[n, h-r+R/2, v-s+S/2, k] * w[r,s,c,k]: each input asks which outputs it went into
extern "C" __global__ void conv_backward_data(const real* dy, const real* w, real* dx,
                                              int N, int H, int W, int C, int K, int R, int S) {
  int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i >= N * H * W * C) return;
  int c = i % C, v = i / C % W, h = i / C / W % H, n = i / C / W / H;
  real total = 0;
  for (int r = 0; r < R; r++)
    for (int s = 0; s < S; s++) {
      int p = h - r + R / 2, q = v - s + S / 2;
      if (p < 0 || p >= H || q < 0 || q >= W) continue;
      for (int k = 0; k < K; k++) total += dy[((n * H + p) * W + q) * K + k] * w[((r * S + s) * C + c) * K + k];
    }
  dx[i] = total;
}

// dw[r,s,c,k] = sum over n,p,q of  x[n, p+r-R/2, q+s-S/2, c] * dy[n,p,q,k]
extern "C" __global__ void conv_backward_weights(const real* dy, const real* x, real* dw,
                                                 int N, int H, int W, int C, int K, int R, int S) {
  int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i >= R * S * C * K) return;
  int k = i % K, c = i / K % C, s = i / K / C % S, r = i / K / C / S;
  real total = 0;
  for (int n = 0; n < N; n++)
    for (int p = 0; p < H; p++)
      for (int q = 0; q < W; q++) {
        int h = p + r - R / 2, v = q + s - S / 2;
        if (h < 0 || h >= H || v < 0 || v >= W) continue;
        total += x[((n * H + h) * W + v) * C + c] * dy[((n * H + p) * W + q) * K + k];
      }
  dw[i] = total;
}

// db[k] = sum over n,p,q of  dy[n,p,q,k]
extern "C" __global__ void conv_backward_bias(const real* dy, real* db, int pixels, int K) {
  int k = blockIdx.x * blockDim.x + threadIdx.x;
  if (k >= K) return;
  real total = 0;
  for (int i = 0; i < pixels; i++) total += dy[i * K + k];
  db[k] = total;
}
