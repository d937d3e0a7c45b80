"""Lesson 5: plausible, and wrong."""

import numpy as np


def log_probabilities__overflows(logits):
    with np.errstate(all="ignore"):
        return logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))


def log_probabilities__through_p(logits):
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    with np.errstate(all="ignore"):
        return np.log(powers / powers.sum(axis=1, keepdims=True))


def log_probabilities__sums_over_images(logits):
    shifted = logits - logits.max(axis=0, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=0, keepdims=True))


def logit_gradient__not_a_mean(logits, labels):
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True) - np.eye(logits.shape[1])[labels]


def logit_gradient__takes_from_all(logits, labels):
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    p = powers / powers.sum(axis=1, keepdims=True)
    p[:, labels] -= 1  # from these columns of every row
    return p / len(labels)


def logit_gradient__uphill(logits, labels):
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return (np.eye(logits.shape[1])[labels] - powers / powers.sum(axis=1, keepdims=True)) / len(labels)


def linear_backward__not_transposed(dy, x, w):
    return dy @ w, x.T @ dy, dy.sum(axis=0)


def linear_backward__bias_a_mean(dy, x, w):
    return dy @ w.T, x.T @ dy, dy.mean(axis=0)


def update__rate_in_the_velocity(w, dw, v, lr, momentum, weight_decay):
    v = momentum * v + lr * (dw + weight_decay * w)
    return w - v, v


def update__old_velocity(w, dw, v, lr, momentum, weight_decay):
    return w - lr * v, momentum * v + dw + weight_decay * w


def update__decay_after_the_step(w, dw, v, lr, momentum, weight_decay):
    v = momentum * v + dw
    return (w - lr * v) * (1 - lr * weight_decay), v


def update__in_place(w, dw, v, lr, momentum, weight_decay):
    v *= momentum
    v += dw + weight_decay * w
    return w - lr * v, v


def factor_of__drops_the_last_batch(step, images, batch, epochs, warmup):
    steps = max(epochs * (images // batch), 1)
    return min(1, (step + 1) / (min(warmup, steps // 10) + 1)) * (1 + np.cos(np.pi * step / steps)) / 2


def factor_of__warms_up_all_the_way(step, images, batch, epochs, warmup):
    steps = epochs * -(-images // batch)
    return min(1, (step + 1) / (warmup + 1)) * (1 + np.cos(np.pi * step / steps)) / 2


def factor_of__tenth_not_rounded(step, images, batch, epochs, warmup):
    steps = epochs * -(-images // batch)
    return min(1, (step + 1) / (min(warmup, steps / 10) + 1)) * (1 + np.cos(np.pi * step / steps)) / 2


def factor_of__starts_at_zero(step, images, batch, epochs, warmup):
    steps = epochs * -(-images // batch)
    warmup = min(warmup, steps // 10)
    rise = min(1, step / warmup) if warmup else 1
    return rise * (1 + np.cos(np.pi * step / steps)) / 2


def dropout__not_scaled(x, rate, seed, step):
    return x * (np.random.default_rng([seed, step]).random(x.shape) >= rate)


def dropout__keeps_the_rate(x, rate, seed, step):
    return x * (np.random.default_rng([seed, step]).random(x.shape) < rate) / max(rate, 1e-9)


def dropout__same_at_every_step(x, rate, seed, step):
    return x * (np.random.default_rng([seed, 0]).random(x.shape) >= rate) / (1 - rate)
