"""model and optim together: what a few steps of training must do, and the numbers they must give."""

import math

import numpy as np
import pytest
from gradcheck import relative_error
from networks import fixed_batch, fixed_network, loss_and_gradients

from minicam.model import small_gap
from minicam.optim import SGD


def test_eight_images_are_learnt_by_heart(rng):
    tints, noise = rng.standard_normal((8, 1, 1, 3)), rng.standard_normal((8, 16, 16, 3))
    x = (tints + noise).astype(np.float32)
    labels = np.array([0, 1, 2, 1, 0, 2, 2, 1])
    network, optimiser = small_gap(), SGD(lr=0.01, momentum=0.9)
    losses = []
    for _ in range(100):
        loss, grads = loss_and_gradients(network, x, labels)
        optimiser.step(network.params(), grads)
        losses.append(float(loss))
    assert losses[0] == pytest.approx(math.log(3), rel=1e-6)
    assert losses[-1] < 0.001
    assert (network.forward(x).argmax(1) == labels).all()


# Losses of the first three steps, and the norm of each gradient of the first one. The same training in PyTorch gives
# them, too (test_oracle): they are right, and not merely what the code happened to give once.
GOLDEN_LOSSES = [1.5623997986230305, 0.6326078729799967, 0.4463554167419468]
GOLDEN_NORMS = {
    "block1_conv1/kernel": 1.0477221930120193,
    "block1_conv1/bias": 0.24572220809082174,
    "block2_conv1/kernel": 4.4958739377993595,
    "block2_conv1/bias": 0.18508218958290934,
    "block3_conv1/kernel": 8.851082242504008,
    "block3_conv1/bias": 0.1948686106657035,
    "CAM_conv/kernel": 11.063039800116584,
    "CAM_conv/bias": 0.3751665626052417,
    "CAM_fc/kernel": 6.302661602853169,
    "CAM_fc/bias": 0.5621034197557838,
}


def first_losses(steps=3):
    """SGD with momentum and weight decay on the fixed batch, from the fixed network."""
    network, optimiser = fixed_network(), SGD(lr=0.01, momentum=0.9, weight_decay=0.01)
    losses = []
    for _ in range(steps):
        loss, grads = loss_and_gradients(network, *fixed_batch())
        optimiser.step(network.params(), grads)
        losses.append(float(loss))
    return losses


def test_the_first_losses_are_golden():
    assert first_losses() == pytest.approx(GOLDEN_LOSSES, rel=1e-9)


def test_the_first_gradients_are_golden_by_name():
    _, grads = loss_and_gradients(fixed_network(), *fixed_batch())
    assert grads.keys() == GOLDEN_NORMS.keys()
    for name, gradient in grads.items():
        assert np.linalg.norm(gradient) == pytest.approx(GOLDEN_NORMS[name], rel=1e-9), name


def test_float32_follows_float64_within_rounding():
    """2e-2, as rounding may flip single ReLU signs and pooling maxima; layer by layer they agree to 1e-4."""
    x, labels = fixed_batch()
    loss, theirs = loss_and_gradients(fixed_network(), x, labels)
    single = small_gap()
    for name, array in fixed_network().params().items():
        single.params()[name][...] = array
    loss32, mine = loss_and_gradients(single, x.astype(np.float32), labels)
    assert loss32 == pytest.approx(loss, rel=1e-4)
    for name in theirs:
        assert mine[name].dtype == np.float32
        assert relative_error(mine[name], theirs[name]) < 2e-2, name
