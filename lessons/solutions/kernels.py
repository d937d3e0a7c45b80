"""Lesson 9, from loops to a kernel: one way to solve each exercise."""


def blocks_needed(threads, block):
    # (threads + block - 1) // block is the same; cuda.launch has it in this form.
    blocks = -(-threads // block)
    return blocks, blocks * block - threads


def pointwise(formula):
    # Only the formula differs from kernel to kernel: index, guard, read, write stay.
    return f"""extern "C" __global__ void pointwise(const real* x, real* y, int size) {{
  int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i >= size) return;
  real v = x[i];
  y[i] = {formula};
}}"""


def position(i, H, W, K):
    # As in conv.cu: take an axis off as the remainder, go on with the quotient.
    k, q, p = i % K, i // K % W, i // K // W % H
    return i // K // W // H, p, q, k


def readers(i, P, S, stride):
    # p <= i / stride, and p >= (i - S + 1) / stride, rounded up.
    first = max(0, -(-(i - S + 1) // stride))
    last = min(P - 1, i // stride)
    return list(range(first, last + 1))


def average_backward(S, stride):
    # (i - S) / STRIDE + 1 is the first window that still covers i. It is right for i >= S only: C++ cuts off.
    return f"""constexpr int S = {S}, STRIDE = {stride};
extern "C" __global__ void average_backward(const real* dy, real* dx, int P, int size) {{
  int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i >= size) return;
  int first = i < S ? 0 : (i - S) / STRIDE + 1;
  real total = 0;
  for (int p = first; p < P && p * STRIDE <= i; p++) total += dy[p];
  dx[i] = total / S;
}}"""
