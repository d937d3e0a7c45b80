"""On a machine with an NVIDIA GPU: whole networks on it. The operations have their tests on it in the other files."""

import json

import numpy as np
import pytest
from gradcheck import relative_error

from minicam import MinicamError, cuda, device, model
from minicam.backend import to_cpu, to_device
from minicam.bench.step import TOLERANCE, distance
from minicam.ops import softmax_loss
from minicam.train import main
from minicam.weights import keras

pytestmark = pytest.mark.gpu


@pytest.fixture(autouse=True)
def on_a_gpu():
    """Skip where there is none, and say why."""
    try:
        device.choose("cuda")
    except MinicamError as error:
        pytest.skip(str(error))
    yield
    cuda.set_precision("float32")


def step(network, x, labels):
    """Loss and gradients of one step, as NumPy arrays."""
    x, labels = (to_device(a, network.device) for a in (x, labels))
    loss, p = softmax_loss.forward(network.forward(x, learning=True), labels)
    network.backward(softmax_loss.backward(p, labels))
    return float(loss), {name: to_cpu(dw) for name, dw in network.grads().items()}


def vgg16(rng):
    """VGG16-GAP whose last layer has weights, so that there is something to learn below it."""
    network = model.vgg16_gap(dropout=0.0)
    w = network.params()["CAM_fc/kernel"]
    w[...] = rng.normal(0, 0.1, w.shape)
    return network


@pytest.mark.parametrize(("precision", "tolerance"), TOLERANCE.items())
def test_vgg16_on_the_gpu_is_vgg16_on_the_cpu(precision, tolerance, rng):
    """How far rounding to TF32 may lead a whole network is said, with its measurements, beside TOLERANCE."""
    device.prepare(1, "cuda", precision)
    x, labels = rng.normal(0, 60, (2, 64, 80, 3)).astype(np.float32), np.array([0, 2])
    network = vgg16(rng)
    loss, grads = step(network, x, labels)
    loss_gpu, grads_gpu = step(network.to("cuda"), x, labels)
    assert loss_gpu == pytest.approx(loss, rel=1e-2)
    assert grads.keys() == grads_gpu.keys()
    for name, dw in grads.items():
        assert distance(grads_gpu[name], dw) < tolerance, name


@pytest.mark.parametrize("precision", ["float32", "tf32"])
def test_two_steps_on_the_gpu_have_the_same_bits(precision, rng):
    device.prepare(1, "cuda", precision)
    x, labels = rng.normal(0, 60, (5, 96, 96, 3)).astype(np.float32), np.array([0, 2, 1, 1, 0])
    network = vgg16(rng).to("cuda")
    (loss, grads), (again, grads_again) = step(network, x, labels), step(network, x, labels)
    assert loss == again
    for name, dw in grads.items():
        assert dw.tobytes() == grads_again[name].tobytes(), name


def test_training_on_the_gpu_is_training_on_the_cpu(tmp_path):
    losses = []
    for name in ("cpu", "cuda"):
        options = "--limit 32 --epochs 1 --seed 3 --precision float32 --device"
        assert main([*options.split(), name, "--out", str(tmp_path / name)]) == 0
        rows = [json.loads(line) for line in (tmp_path / name / "metrics.jsonl").read_text().splitlines()]
        losses.append([row["loss"] for row in rows if "loss" in row])
    np.testing.assert_allclose(losses[1], losses[0], rtol=0, atol=1e-3)


@pytest.mark.real
def test_the_real_weights_on_a_real_image(real):
    from PIL import Image

    network = model.vgg16_gap()
    path = real / "weights" / "vgg16_weights_tf_dim_ordering_tf_kernels_notop.h5"
    keras.assign(network.params(), keras.read(path), path, optional=("CAM_conv", "CAM_fc"))
    photo = next((real / "isic2017" / "ISIC-2017_Training_Data").glob("*.jpg"))
    pixels = np.asarray(Image.open(photo).resize((224, 224)), np.float32)
    x = (pixels @ network.colour[:, :3].T + network.colour[:, 3]).astype(np.float32)[None]
    network.forward(x)
    features = network.features
    network.to("cuda").forward(to_device(x, "cuda"))
    assert relative_error(to_cpu(network.features), features) < 1e-4
