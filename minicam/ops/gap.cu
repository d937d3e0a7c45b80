// Global average pooling. One thread a feature map: it walks over the pixels and adds. That looks slow, and is not:
// channels are last, so at each step the 32 threads of a warp read 32 neighbouring numbers.

#ifndef real
#define real float
#endif

// y[n,c] = 1/(HW) * sum over i of  x[n,i,c],   i numbers the H x W pixels
extern "C" __global__ void gap_forward(const real* x, real* y, int N, int HW, int C) {
  int o = blockIdx.x * blockDim.x + threadIdx.x;
  if (o >= N * C) return;
  int c = o % C, n = o / C;
  real total = 0;
  for (int i = 0; i < HW; i++) total += x[(n * HW + i) * C + c];
  y[o] = total / HW;
}

// dx[n,i,c] = dy[n,c] / (HW): one thread an element of dx
extern "C" __global__ void gap_backward(const real* dy, real* dx, int N, int HW, int C) {
  int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i >= N * HW * C) return;
  int c = i % C, n = i / C / HW;
  dx[i] = dy[n * C + c] / HW;
}
