"""Lesson 9: plausible, and wrong."""


def blocks_needed__one_too_many(threads, block):
    blocks = threads // block + 1
    return blocks, blocks * block - threads


def blocks_needed__remainder_is_idle(threads, block):
    return -(-threads // block), threads % block


def pointwise__no_guard(formula):
    return f"""extern "C" __global__ void pointwise(const real* x, real* y, int size) {{
  int i = blockIdx.x * blockDim.x + threadIdx.x;
  real v = x[i];
  y[i] = {formula};
}}"""


def pointwise__number_in_the_block(formula):
    return f"""extern "C" __global__ void pointwise(const real* x, real* y, int size) {{
  int i = threadIdx.x;
  if (i >= size) return;
  real v = x[i];
  y[i] = {formula};
}}"""


def pointwise__always_relu(formula):
    return """extern "C" __global__ void pointwise(const real* x, real* y, int size) {
  int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i >= size) return;
  y[i] = x[i] < 0 ? real(0) : x[i];
}"""


def pointwise__blocks_of_64(formula):
    return f"""extern "C" __global__ void pointwise(const real* x, real* y, int size) {{
  int i = blockIdx.x * 64 + threadIdx.x;
  if (i >= size) return;
  real v = x[i];
  y[i] = {formula};
}}"""


def pointwise__one_thread_for_all(formula):
    return f"""extern "C" __global__ void pointwise(const real* x, real* y, int size) {{
  if (blockIdx.x + threadIdx.x > 0) return;
  for (int i = 0; i < size; i++) {{
    real v = x[i];
    y[i] = {formula};
  }}
}}"""


def position__first_axis_fastest(i, H, W, K):
    return i // H // W // K, i % H, i // H % W, i // H // W % K


def position__row_not_reduced(i, H, W, K):
    return i // K // W // H, i // K // W, i // K % W, i % K


def readers__own_window(i, P, S, stride):
    return [p for p in range(P) if i * stride <= p < i * stride + S]


def readers__stride_forgotten(i, P, S, stride):
    return list(range(max(0, i - S + 1), min(P - 1, i) + 1))


def average_backward__scatter(S, stride):
    return f"""extern "C" __global__ void average_backward(const real* dy, real* dx, int P, int size) {{
  int p = blockIdx.x * blockDim.x + threadIdx.x;
  if (p >= P) return;
  for (int s = 0; s < {S}; s++) dx[p * {stride} + s] += dy[p] / {S};
}}"""


def average_backward__cut_off_is_not_rounded_down(S, stride):
    return f"""extern "C" __global__ void average_backward(const real* dy, real* dx, int P, int size) {{
  int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i >= size) return;
  real total = 0;
  for (int p = (i - {S} + {stride}) / {stride}; p < P && p * {stride} <= i; p++) total += dy[p];
  dx[i] = total / {S};
}}"""


def average_backward__blocks_of_64(S, stride):
    return f"""extern "C" __global__ void average_backward(const real* dy, real* dx, int P, int size) {{
  int i = blockIdx.x * 64 + threadIdx.x;
  if (i >= size) return;
  real total = 0;
  for (int p = 0; p < P && p * {stride} <= i; p++) total += i < p * {stride} + {S} ? dy[p] : 0;
  dx[i] = total / {S};
}}"""


def average_backward__one_thread_for_all(S, stride):
    return f"""extern "C" __global__ void average_backward(const real* dy, real* dx, int P, int size) {{
  if (blockIdx.x + threadIdx.x > 0) return;
  for (int i = 0; i < size; i++) dx[i] = 0;
  for (int p = 0; p < P; p++)
    for (int s = 0; s < {S}; s++) dx[p * {stride} + s] += dy[p] / {S};
}}"""
