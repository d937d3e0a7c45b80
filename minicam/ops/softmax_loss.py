"""Softmax and cross-entropy in one: logits become probabilities, and the loss is how surprised they are by the labels.

    p[n,k]       = exp(logits[n,k]) / sum over j of exp(logits[n,j])
    loss         = -1/N * sum over n of  log p[n, labels[n]]
    dlogits[n,k] = (p[n,k] - [k == labels[n]]) / N

    logits (N, K)    labels integers (N,), 0 <= label < K    loss a scalar    p (N, K)

The two belong together: apart, log(p) overflows where p underflows, and the gradient of a softmax is a full matrix
for each image; together, what is left of both is a subtraction.
"""

import math
from typing import Any

import numpy as np

from minicam import MinicamError, cuda
from minicam.backend import by_array, empty


def forward_naive(logits: np.ndarray, labels: np.ndarray) -> tuple[np.floating, np.ndarray]:
    """The formula as loops: the specification."""
    N, K = logits.shape
    loss, p = 0.0, np.empty((N, K), logits.dtype)
    for n in range(N):
        top = max(logits[n])  # exp(logit - top) cannot overflow, and the factor exp(top) cancels
        total = sum(math.exp(logits[n, k] - top) for k in range(K))
        for k in range(K):
            p[n, k] = math.exp(logits[n, k] - top) / total
        loss -= (logits[n, labels[n]] - top - math.log(total)) / N
    return logits.dtype.type(loss), p


def forward_numpy(logits: np.ndarray, labels: np.ndarray) -> tuple[np.floating, np.ndarray]:
    """loss and p (N, K)."""
    _check(labels, logits=logits)
    shifted = logits - logits.max(1, keepdims=True)
    log_p = shifted - np.log(np.exp(shifted).sum(1, keepdims=True))  # (N, K)
    return -log_p[np.arange(len(labels)), labels].mean(), np.exp(log_p)


def backward_numpy(p: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """dlogits (N, K), the gradient of the loss itself: there is nothing above it, so no dy."""
    _check(labels, p=p)
    dlogits = p.copy()
    dlogits[np.arange(len(labels)), labels] -= 1
    return dlogits / np.asarray(len(labels), p.dtype)


def _check(labels: np.ndarray, **array: np.ndarray) -> None:
    """MinicamError unless labels are integers, one for each row of the array (N, K), and below K. (The kernels look at
    the range themselves, and make NaN of a label beyond it: from a GPU an error would have to be waited for.)"""
    ((name, values),) = array.items()
    _, K = cuda.sizes(**{name: (values, "NK")}, labels=(labels, "N"))
    if labels.dtype.kind not in "iu":
        raise MinicamError(f"labels is {labels.dtype}; expected integers, the number of the class of each image")
    if labels.min() < 0 or labels.max() >= K:
        raise MinicamError(f"labels are from {labels.min()} to {labels.max()}; expected 0 to {K - 1}, for {K} classes")


def forward_cuda(logits: Any, labels: Any) -> tuple[Any, Any]:
    """loss, an array of no axes, and p (N, K); labels are int64. A label that is no class makes the loss NaN."""
    N, K = cuda.sizes(logits=(logits, "NK"), labels=(labels, "N"))
    p, loss = empty(logits.shape, logits.dtype, like=logits), empty((), logits.dtype, like=logits)
    threads = cuda.constant("softmax_loss.cu", "THREADS")
    args = logits, labels, p, loss, N, K
    cuda.launch("softmax_loss.cu", "softmax_loss_forward", args, blocks=(1,), block=threads)
    return loss, p


def backward_cuda(p: Any, labels: Any) -> Any:
    """dlogits (N, K)."""
    N, K = cuda.sizes(p=(p, "NK"), labels=(labels, "N"))
    dlogits = empty(p.shape, p.dtype, like=p)
    cuda.launch("softmax_loss.cu", "softmax_loss_backward", (p, labels, dlogits, N, K), threads=p.size)
    return dlogits


forward = by_array(forward_numpy, forward_cuda)
backward = by_array(backward_numpy, backward_cuda)
