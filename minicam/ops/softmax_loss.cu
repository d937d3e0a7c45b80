// Softmax and cross-entropy. There are few logits, so one block does all of it, and its threads share what they found:
// to add that up they wait for each other once for each halving. The order of the sum is fixed: equal bits every run.

#ifndef real
#define real float
#endif

constexpr int THREADS = 256;  // of the one block; a power of two

// p[n,k] = exp(logits[n,k]) / sum over j of exp(logits[n,j]),   loss = -1/N * sum over n of  log p[n, labels[n]]
extern "C" __global__ void softmax_loss_forward(const real* logits, const long long* labels, real* p, real* loss,
                                                int N, int K) {
  __shared__ real partial[THREADS];
  int t = threadIdx.x;
  real mine = 0;
  for (int n = t; n < N; n += THREADS) {
    const real* row = logits + n * K;
    real top = row[0];
    for (int k = 1; k < K; k++) top = row[k] > top || row[k] != row[k] ? row[k] : top;  // a NaN must not get lost
    real total = 0;
    for (int k = 0; k < K; k++) total += exp(row[k] - top);  // exp(logit - top) cannot overflow; exp(top) cancels
    for (int k = 0; k < K; k++) p[n * K + k] = exp(row[k] - top) / total;
    bool known = 0 <= labels[n] && labels[n] < K;
    mine -= known ? row[labels[n]] - top - log(total) : nan("");
  }
  partial[t] = mine;
  // Add the upper half to the lower half until one number is left; each round needs all of the one before it.
  for (int half = THREADS / 2; half > 0; half /= 2) {
    __syncthreads();
    if (t < half) partial[t] += partial[t + half];
  }
  if (t == 0) loss[0] = partial[0] / N;  // thread 0 wrote partial[0] itself: no need to wait once more
}

// dlogits[n,k] = (p[n,k] - [k == labels[n]]) / N
extern "C" __global__ void softmax_loss_backward(const real* p, const long long* labels, real* dlogits, int N, int K) {
  int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i >= N * K) return;
  int k = i % K, n = i / K;
  dlogits[i] = (p[i] - (k == labels[n] ? 1 : 0)) / N;
}
