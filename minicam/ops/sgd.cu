// SGD with momentum and weight decay in one pass: each number is read once and written once, with nothing in between.
//
//   sgd_forward    one thread a parameter
//   sgd_forward4   one thread four parameters, read and written 16 bytes at a time: fewer, wider accesses keep more of
//                  the memory busy. Where the number of parameters is a multiple of four, in float32.
//
// g = dw + weight_decay * w,   v' = momentum * v + g,   w' = w - lr * v'      new_w may be w, and new_v may be v

#ifndef real
#define real float
#endif

template <class T>
__device__ void update(T w, T dw, T v, T* new_w, T* new_v, T lr, T momentum, T weight_decay) {
  T next = momentum * v + (dw + weight_decay * w);
  *new_v = next;
  *new_w = w - lr * next;
}

extern "C" __global__ void sgd_forward(const real* w, const real* dw, const real* v, real* new_w, real* new_v,
                                       real lr, real momentum, real weight_decay, int size) {
  int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i >= size) return;
  update(w[i], dw[i], v[i], &new_w[i], &new_v[i], lr, momentum, weight_decay);
}

extern "C" __global__ void sgd_forward4(const float4* w, const float4* dw, const float4* v,
                                        float4* new_w, float4* new_v,
                                        float lr, float momentum, float weight_decay, int fours) {
  int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i >= fours) return;
  float4 a = w[i], g = dw[i], u = v[i], next_w, next_v;
  update(a.x, g.x, u.x, &next_w.x, &next_v.x, lr, momentum, weight_decay);
  update(a.y, g.y, u.y, &next_w.y, &next_v.y, lr, momentum, weight_decay);
  update(a.z, g.z, u.z, &next_w.z, &next_v.z, lr, momentum, weight_decay);
  update(a.w, g.w, u.w, &next_w.w, &next_v.w, lr, momentum, weight_decay);
  new_w[i] = next_w;
  new_v[i] = next_v;
}
