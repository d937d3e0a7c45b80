// ReLU: y = max(x, 0). One thread an element, forward and backward; nothing is shared, so no thread waits for another.

#ifndef real
#define real float
#endif

extern "C" __global__ void relu_forward(const real* x, real* y, int size) {
  int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i >= size) return;  // the last block may have more threads than there are elements left
  y[i] = x[i] < 0 ? real(0) : x[i];  // in this form a NaN stays one, to be seen
}

// dx = dy where y > 0, else 0
extern "C" __global__ void relu_backward(const real* dy, const real* y, real* dx, int size) {
  int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i >= size) return;
  dx[i] = y[i] > 0 ? dy[i] : real(0);
}
