// Max-pooling, 2x2 with stride 2. One thread an output forward; one thread an input backward, which asks whether it was
// the maximum of its window. Scattering dy to the maxima would work as well here, since windows do not overlap, but
// would leave the pixels in between to another kernel.

#ifndef real
#define real float
#endif

// y[n,p,q,c] = max over i,j of  x[n, 2p+i, 2q+j, c],   argmax = 2i + j of the first maximum, unless it is null
extern "C" __global__ void maxpool_forward(const real* x, real* y, unsigned char* argmax,
                                           int N, int H, int W, int C) {
  int P = H / 2, Q = W / 2;
  int o = blockIdx.x * blockDim.x + threadIdx.x;
  if (o >= N * P * Q * C) return;
  int c = o % C, q = o / C % Q, p = o / C / Q % P, n = o / C / Q / P;
  const real* corner = x + ((n * H + 2 * p) * W + 2 * q) * C + c;
  real best = corner[0];
  int position = 0;
  for (int at = 1; at < 4; at++) {
    real value = corner[(at / 2 * W + at % 2) * C];
    // Strictly larger, as of equal values the first stays; and a NaN wins, to be seen.
    if (value > best || value != value) best = value, position = at;
  }
  y[o] = best;
  if (argmax) argmax[o] = position;
}

// dx = dy at the position of the maximum, 0 elsewhere, and in an odd last row or column, which no window covers
extern "C" __global__ void maxpool_backward(const real* dy, const unsigned char* argmax, real* dx,
                                            int N, int H, int W, int C) {
  int P = H / 2, Q = W / 2;
  int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i >= N * H * W * C) return;
  int c = i % C, w = i / C % W, h = i / C / W % H, n = i / C / W / H;
  int p = h / 2, q = w / 2, o = ((n * P + p) * Q + q) * C + c;
  bool covered = p < P && q < Q;
  dx[i] = covered && argmax[o] == h % 2 * 2 + w % 2 ? dy[o] : real(0);
}
