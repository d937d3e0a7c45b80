"""What the tests of networks share: small ones whose every number is fixed, and a batch for them."""

import numpy as np

from minicam.model import _network, small_gap
from minicam.ops import softmax_loss

IMAGES = (2, 23, 13, 3)  # pooling makes it 11 x 6, then 5 x 3: odd rows and columns are dropped on the way
LABELS = np.array([2, 0])


def deep_gap(classes=3, seed=0, dropout=0.0, dtype=np.float32):
    """Several convolutions a block, as in VGG16-GAP, and no width twice: what `small_gap` is too short for."""
    return _network([[5, 4], [7, 6, 9]], 8, None, classes, seed, dropout, dtype, scale=1 / 64)


def fixed_network(make=small_gap):
    """A network in float64 with parameters from a formula, not from a generator, which NumPy may change."""
    network = make(dtype=np.float64)
    for index, (name, array) in enumerate(network.params().items()):
        wave = np.sin(index + np.arange(array.size) ** 2).reshape(array.shape)
        fan_in = array[..., 0].size if name.endswith("kernel") else 100
        array[...] = wave * 2 / np.sqrt(fan_in)
    return network


def fixed_batch():
    """Two images (2, 23, 13, 3) of the range that `small_gap` expects, and their labels."""
    return 2 * np.sin(np.arange(np.prod(IMAGES)) ** 2 / 7).reshape(IMAGES), LABELS


def loss_and_gradients(network, x, labels):
    """One forward and one backward pass: the loss, and the network's `grads`."""
    loss, p = softmax_loss.forward(network.forward(x, learning=True), labels)
    network.backward(softmax_loss.backward(p, labels))
    return loss, network.grads()
