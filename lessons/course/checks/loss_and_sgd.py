"""Lesson 5, loss and gradient descent."""

import numpy as np
from scipy.special import log_softmax, softmax

from course.exercise import case, exercise
from minicam.layers import Dropout
from minicam.ops import sgd
from minicam.optim import schedule


@exercise
def log_probabilities():
    """Subtract each row's largest logit first. Then log p is the logit minus the log of the row's sum of exponentials.

    `keepdims=True` keeps a sum over axis 1 as a column.
    """
    rng = np.random.default_rng(51)
    for shape in ((1, 3), (4, 2), (3, 5)):
        x = rng.standard_normal(shape)
        yield case(x, gives=log_softmax(x, axis=1))
    x = np.array([[60.0, 59, 58], [-60, -59, -61]])
    yield case(x, gives=log_softmax(x, axis=1), hint="Each row has a largest logit of its own.")
    for row in ([900.0, 901, 902], [-900.0, -901, -902]):
        x = np.array([row, [0.0, 1, 2]])
        yield case(x, gives=log_softmax(x, axis=1), hint="exp(900) is inf, exp(-900) is 0: subtract before exp.")
    x = np.array([[800.0, 0, -800]])
    yield case(x, gives=log_softmax(x, axis=1), hint="The logarithm of a p that has become 0 is -inf: avoid p.")


@exercise
def logit_gradient():
    """For each image p - onehot: 1 is taken from the p of the right class, and from no other.

    The loss is a mean over N images.
    """
    rng = np.random.default_rng(52)
    for N, K in ((1, 3), (5, 3), (4, 2), (3, 7)):
        logits, labels = 2 * rng.standard_normal((N, K)), rng.integers(0, K, N)
        wanted = (softmax(logits, axis=1) - np.eye(K)[labels]) / N
        hint = "Row n loses 1 at labels[n] only; all is divided by N." if N > 1 else ""
        yield case(logits, labels, gives=wanted, hint=hint)
    logits, labels = np.array([[500.0, 0, -500], [0, 0, 900]]), np.array([1, 2])
    wanted = (softmax(logits, axis=1) - np.eye(3)[labels]) / 2
    yield case(logits, labels, gives=wanted, hint="Logits may be large: subtract each row's largest, as in 5.1.")


@exercise
def linear_backward():
    """Three matrix products or sums.

    Compare shapes: dx (N, C) from dy (N, K) and w (C, K); dw (C, K) from x (N, C) and dy (N, K).
    """
    rng = np.random.default_rng(53)
    for N, C, K in ((1, 2, 3), (4, 5, 3), (3, 3, 3), (6, 2, 1)):
        dy, x, w = rng.standard_normal((N, K)), rng.standard_normal((N, C)), rng.standard_normal((C, K))
        gives = np.einsum("nk,ck->nc", dy, w), np.einsum("nc,nk->ck", x, dy), np.einsum("nk->k", dy)
        hint = "All three sizes are 3 here, so a product that is transposed wrongly fits, too." if N == C == K else ""
        yield case(dy, x, w, gives=gives, hint=hint)


@exercise
def update():
    """First the velocity, of the old one, the gradient and the decay; then the weights, by the new velocity.

    Make new arrays.
    """
    rng = np.random.default_rng(54)
    settings = {
        (0.1, 0.0, 0.0): "Without momentum and decay this is the plain step, and v' is dw.",
        (0.1, 0.9, 0.0): "The rate is not part of the velocity.",
        (0.5, 0.0, 0.1): "The decay pulls at the old w, and counts as part of the gradient.",
        (0.02, 0.9, 5e-4): "",
        (0.3, 0.5, 0.2): "",
    }
    for (lr, momentum, decay), hint in settings.items():
        w, dw, v = rng.standard_normal((3, 3, 2))
        gives = sgd.forward_naive(w, dw, v, lr, momentum, decay)
        yield case(w, dw, v, lr, momentum, decay, gives=gives, hint=hint)


@exercise
def factor_of():
    """Count the batches of an epoch, the last one too, however small; times the epochs is the steps of the stage.

    Then multiply the rise by the half cosine.
    """
    cases = {
        (0, 300, 16, 16, 0): "",
        (152, 300, 16, 16, 0): "300 / 16 is 18.75: that is 19 batches. The rise is 1 at most.",
        (0, 300, 16, 16, 20): "A warm-up of 20: step 0 has 1/21 of the rate.",
        (9, 300, 16, 16, 20): "Step 9 is the tenth.",
        (30, 300, 16, 16, 20): "After the warm-up the rise is 1, not more.",
        (40, 2000, 32, 6, 20): "2000 / 32 is 62.5: that is 63 batches.",
        (2, 64, 8, 5, 20): "A stage of 40 steps warms up for 4 of them, not for 20.",
        (0, 5, 8, 3, 20): "3 steps; the tenth part, rounded down, is none.",
    }
    for (step, images, batch, epochs, warmup), hint in cases.items():
        steps = epochs * int(np.ceil(images / batch))
        rise = np.interp(step + 1, [0, 1 + min(warmup, int(steps / 10))], [0, 1])
        yield case(step, images, batch, epochs, warmup, gives=rise * schedule("cosine", step / steps), hint=hint)


@exercise
def dropout():
    """Draw a number from 0 to 1 for each number of x; where it is below the rate, x becomes 0. Others become larger."""
    rng = np.random.default_rng(55)
    for shape, rate, seed, step in (((1, 8), 0.5, 0, 0), ((3, 5), 0.25, 0, 7), ((4, 4), 0.8, 3, 1), ((6,), 0.1, 2, 2)):
        layer, x = Dropout("dropout", rate), rng.uniform(1, 2, shape)
        layer.seed, layer.step = seed, step
        hint = f"What is kept is multiplied by {1 / (1 - rate):.4g} here."
        yield case(x, rate, seed, step, gives=layer.forward(x, learning=True), hint=hint)
    x = np.arange(1.0, 5)
    yield case(x, 0.0, 0, 0, gives=x, hint="At a rate of 0 nothing goes, and nothing is scaled.")
