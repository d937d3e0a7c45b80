"""Whole networks with ops/winograd in all their 3x3 convolutions, beside the same with im2col in them."""

import numpy as np
import pytest
from gradcheck import relative_error
from networks import deep_gap, fixed_batch, fixed_network, loss_and_gradients

from minicam import backend
from minicam.config import make
from minicam.inference import loader_for
from minicam.model import small_gap, vgg16_gap
from minicam.ops import im2col, winograd
from minicam.optim import SGD
from minicam.train import build, open_data

WEIGHTS = "vgg16_weights_tf_dim_ordering_tf_kernels_notop.h5"


@pytest.fixture(autouse=True)
def always(monkeypatch):
    """Every 3x3 convolution in this form."""
    monkeypatch.setattr(winograd, "suits", lambda x, w, backward=False: w[:2] == (3, 3))


@pytest.mark.parametrize("network", [small_gap, deep_gap])
def test_whole_networks_have_the_same_gradients_in_float64(network):
    loss, gradients = loss_and_gradients(fixed_network(network), *fixed_batch())
    backend.set_exact(True)
    try:
        exact_loss, exact = loss_and_gradients(fixed_network(network), *fixed_batch())
    finally:
        backend.set_exact(False)
    assert loss == pytest.approx(exact_loss, rel=1e-10)
    for name, gradient in gradients.items():
        assert 0 < relative_error(gradient, exact[name]) < 1e-8, name


def test_vgg16_gap_in_float32_layer_by_layer_and_as_a_whole(rng):
    """Each layer on the same input and dy to 1e-4; all together to 2e-2, as single ReLUs and maxima flip."""
    x, labels = rng.uniform(-120, 130, (2, 33, 46, 3)).astype(np.float32), np.array([2, 0])
    network = vgg16_gap(dropout=0.0)
    kernel = network.params()["CAM_fc/kernel"]
    kernel[...] = 0.02 * rng.standard_normal(kernel.shape)
    _, whole = loss_and_gradients(network, x, labels)
    convolutions = []
    for layer in network.layers:
        y = layer.forward(x)
        if layer.name.startswith(("block", "CAM_conv")) and layer.params:
            convolutions.append((layer, x, y))
        x = y
    for layer, x, y in convolutions:
        w, b, dy = *layer.params.values(), rng.standard_normal(y.shape).astype(np.float32)
        assert relative_error(y, im2col.forward(x, w, b, relu=True)) < 1e-4, layer.name
        grads = zip(("dx", "dw", "db"), winograd.backward(dy, x, w, y), im2col.backward(dy, x, w, y), strict=True)
        for name, mine, theirs in grads:
            assert relative_error(mine, theirs) < 1e-4, f"{layer.name} {name}"
    backend.set_exact(True)
    try:
        _, exact = loss_and_gradients(network, convolutions[0][1], labels)
    finally:
        backend.set_exact(False)
    for name, gradient in whole.items():
        assert relative_error(gradient, exact[name]) < 2e-2, name


@pytest.mark.real
def test_fine_tuning_from_the_real_weights_has_the_losses_of_the_exact_form(real):
    """Six steps of four images; from the second on, they depend on all gradients before."""
    losses = []
    for exact in (False, True):
        config = make(data=str(real / "isic2017"), weights=str(real / "weights" / WEIGHTS), limit=24, batch=4, size=96)
        training, _ = open_data(config)
        network = build(config, len(training.classes))
        optimiser, found = SGD(config.lr, config.momentum, config.weight_decay, config.rates), []
        backend.set_exact(exact)
        try:
            for step, batch in enumerate(loader_for(network, training, config, 1, 2).shuffled(0)):
                network.seed_dropout(0, step)
                loss, gradients = loss_and_gradients(network, batch.x, batch.labels)
                optimiser.step(network.params(), gradients)
                found.append(float(loss))
        finally:
            backend.set_exact(False)
        losses.append(found)
    assert len(losses[0]) == 6
    assert losses[0] != losses[1]
    np.testing.assert_allclose(losses[0], losses[1], rtol=0, atol=1e-3)
