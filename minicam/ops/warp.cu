// Warp: bilinear sampling through an affine map, then a colour matrix, in one pass from bytes to what the network eats.
// One thread a number of the output, which gathers its four neighbours in each channel it needs.

#ifndef real
#define real float
#endif
#ifndef pixel
#define pixel unsigned char  // what an image is made of
#endif

// Where a thread looks: the four pixels around a position, as offsets in an image, and how far it is from the first.
struct Place {
  int corner[2][2];
  real down, across;
};

// Positions in double: in float a map of thousands of pixels would be off by thousandths of one.
__device__ Place look(const double* affine, int p, int q, int H, int W, int C) {
  double u = q + 0.5, v = p + 0.5;  // pixel centres are at halves
  double j = fmin(fmax(affine[0] * u + affine[1] * v + affine[2] - 0.5, 0.0), W - 1.0);
  double i = fmin(fmax(affine[3] * u + affine[4] * v + affine[5] - 0.5, 0.0), H - 1.0);
  int i0 = int(i), j0 = int(j);  // not negative: truncation is floor
  int i1 = min(i0 + 1, H - 1), j1 = min(j0 + 1, W - 1);
  return {{{(i0 * W + j0) * C, (i0 * W + j1) * C}, {(i1 * W + j0) * C, (i1 * W + j1) * C}}, real(i - i0), real(j - j0)};
}

__device__ real bilinear(const pixel* image, const Place& at, int c) {
  real top = (1 - at.across) * image[at.corner[0][0] + c] + at.across * image[at.corner[0][1] + c];
  real bottom = (1 - at.across) * image[at.corner[1][0] + c] + at.across * image[at.corner[1][1] + c];
  return (1 - at.down) * top + at.down * bottom;
}

// y[n,p,q,c] = the bilinear mean of the four input pixels around  affine[n] @ (q + 1/2, p + 1/2, 1)
extern "C" __global__ void warp_forward(const pixel* x, const double* affine, real* y,
                                        int N, int H, int W, int C, int P, int Q) {
  int o = blockIdx.x * blockDim.x + threadIdx.x;
  if (o >= N * P * Q * C) return;
  int c = o % C, q = o / C % Q, p = o / C / Q % P, n = o / C / Q / P;
  y[o] = bilinear(x + n * H * W * C, look(affine + n * 6, p, q, H, W, C), c);
}

// y[n,p,q,k] = colour[n,k,C] + sum over c of  colour[n,k,c] * that mean of channel c
extern "C" __global__ void warp_forward_colour(const pixel* x, const double* affine, const double* colour, real* y,
                                               int N, int H, int W, int C, int P, int Q, int K) {
  int o = blockIdx.x * blockDim.x + threadIdx.x;
  if (o >= N * P * Q * K) return;
  int k = o % K, q = o / K % Q, p = o / K / Q % P, n = o / K / Q / P;
  Place at = look(affine + n * 6, p, q, H, W, C);
  const double* row = colour + (n * K + k) * (C + 1);
  real total = real(row[C]);
  for (int c = 0; c < C; c++) total += real(row[c]) * bilinear(x + n * H * W * C, at, c);
  y[o] = total;
}
