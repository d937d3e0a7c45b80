"""Whole networks against PyTorch: every layer, every gradient, training, and the real weights on a real image."""

import numpy as np
import pytest
from gradcheck import relative_error
from in_torch import both, mirror, mirror_layer
from networks import LABELS, deep_gap, fixed_batch, fixed_network
from test_learning import GOLDEN_LOSSES, GOLDEN_NORMS, first_losses

from minicam.layers import Conv
from minicam.model import small_gap, vgg16_gap
from minicam.ops import warp, winograd

pytestmark = pytest.mark.oracle


@pytest.fixture(autouse=True, params=["as chosen", "winograd"])
def form(request, monkeypatch):
    """Everything here twice: as conv chooses, which is im2col for such small images, and with Winograd's form."""
    if request.param == "winograd":
        monkeypatch.setattr(winograd, "suits", lambda x, w, backward=False: w[:2] == (3, 3))


def with_a_head(network, x, rng):
    """CAM_fc starts at zero, where no gradient passes it: give it numbers that bring the logits to -1..1."""
    kernel = network.params()["CAM_fc/kernel"]
    kernel[...] = rng.standard_normal(kernel.shape)
    kernel /= np.abs(network.forward(x)).max()
    return network


def caffe_like(shape, rng):
    """Images in the range that VGG16's weights expect."""
    return rng.uniform(-120, 130, shape)


def test_every_gradient_of_vgg16_gap_equals_pytorchs_in_float64(torch, rng):
    x = caffe_like((2, 43, 50, 3), rng)
    network = with_a_head(vgg16_gap(dtype=np.float64), x, rng)
    network.seed_dropout(seed=1, step=2)
    ours, theirs = both(torch, network, x, LABELS)
    assert ours.loss == pytest.approx(theirs.loss, rel=1e-10)
    assert ours.grads.keys() == theirs.grads.keys()
    for name, gradient in ours.grads.items():
        assert np.abs(theirs.grads[name]).max() > 1e-6, name
        assert relative_error(gradient, theirs.grads[name]) < 1e-8, name


@pytest.mark.parametrize("make", [small_gap, deep_gap])
def test_every_gradient_of_the_fixed_networks_equals_pytorchs_in_float64(make, torch):
    ours, theirs = both(torch, fixed_network(make), *fixed_batch())
    assert ours.loss == pytest.approx(theirs.loss, rel=1e-10)
    assert ours.grads.keys() == theirs.grads.keys()
    for name, gradient in ours.grads.items():
        assert np.abs(theirs.grads[name]).max() > 1e-6, name
        assert relative_error(gradient, theirs.grads[name]) < 1e-8, name


def test_every_layer_of_vgg16_gap_equals_pytorchs_in_float32_on_the_same_inputs(torch, rng):
    """Our own forward and backward pass supply the inputs and the dy of every layer, and say where a ReLU let pass.

    Of a million inputs of ReLUs some lie so near 0 that rounding decides on which side, here otherwise than there.
    """
    x, chain = caffe_like((1, 45, 34, 3), rng).astype(np.float32), []
    network = with_a_head(vgg16_gap(), x, rng)
    params = mirror(torch, network)
    for layer in network.layers:
        tensor = torch.tensor(x, requires_grad=True)
        x = layer.forward(x, learning=True)
        if isinstance(layer, Conv):
            before = mirror_layer(torch, layer, params, tensor, fused_relu=False)
            assert relative_error(x, before.detach().relu().numpy()) < 1e-4, layer.name
            theirs = before * torch.tensor(x > 0)
        else:
            theirs = mirror_layer(torch, layer, params, tensor)
            assert relative_error(x, theirs.detach().numpy()) < 1e-4, layer.name
        chain.append((layer, tensor, theirs))
    dy = np.array([[0.5, -0.75, 0.25]], np.float32)
    for layer, tensor, theirs in reversed(chain):
        theirs.backward(torch.tensor(dy))
        dy = layer.backward(dy)
        assert dy.dtype == np.float32
        assert relative_error(dy, tensor.grad.numpy()) < 1e-4, layer.name
        for key, gradient in layer.grads.items():
            assert relative_error(gradient, params[f"{layer.name}/{key}"].grad.numpy()) < 1e-4, f"{layer.name}/{key}"


def test_all_of_vgg16_gap_equals_pytorchs_in_float32(torch, rng):
    """To 2e-2 only: rounding flips single ReLU signs and pooling maxima, and their effect grows on the way down."""
    x = caffe_like((2, 43, 50, 3), rng).astype(np.float32)
    ours, theirs = both(torch, with_a_head(vgg16_gap(), x, rng), x, LABELS)
    assert ours.loss == pytest.approx(theirs.loss, rel=1e-4)
    for name, gradient in ours.grads.items():
        assert relative_error(gradient, theirs.grads[name]) < 2e-2, name


def test_the_golden_numbers_are_pytorchs(torch):
    """The training of test_learning, by torch.optim.SGD with the biases in a group without weight decay."""
    network = fixed_network()
    x, labels = fixed_batch()
    params, losses = mirror(torch, network), []
    groups = [
        {"params": [p for name, p in params.items() if name.endswith("kernel")], "weight_decay": 0.01},
        {"params": [p for name, p in params.items() if name.endswith("bias")], "weight_decay": 0.0},
    ]
    optimiser = torch.optim.SGD(groups, lr=0.01, momentum=0.9)
    for _ in GOLDEN_LOSSES:
        y = torch.tensor(x)
        for layer in network.layers:
            y = mirror_layer(torch, layer, params, y)
        loss = torch.nn.functional.cross_entropy(y, torch.as_tensor(labels))
        optimiser.zero_grad()
        loss.backward()
        if not losses:
            norms = {name: tensor.grad.norm().item() for name, tensor in params.items()}
        optimiser.step()
        losses.append(loss.item())
    assert norms == pytest.approx(GOLDEN_NORMS, rel=1e-9)
    assert losses == pytest.approx(GOLDEN_LOSSES, rel=1e-9)
    assert losses == pytest.approx(first_losses(), rel=1e-9)


# --- the real weights and a real image ---


@pytest.fixture(scope="module")
def real_network(real):
    """A function: VGG16-GAP of a dtype with the ImageNet weights, read here without the library's reader."""
    import h5py

    def make(dtype):
        network = vgg16_gap(dtype=dtype)
        with h5py.File(real / "weights" / "vgg16_weights_tf_dim_ordering_tf_kernels_notop.h5") as file:
            for layer in network.layers:
                if layer.name.startswith("block") and layer.params:
                    for key, name in zip(layer.params, file[layer.name].attrs["weight_names"], strict=True):
                        layer.params[key][...] = file[layer.name][name][()]
        return network

    return make


def real_image(real, network, size, dtype):
    from PIL import Image

    with Image.open(real / "isic2017" / "ISIC-2017_Training_Data" / "ISIC_0000000.jpg") as image:
        x = np.asarray(image.convert("RGB"))[None]
    resize = np.array([[[x.shape[2] / size, 0, 0], [0, x.shape[1] / size, 0]]])
    return warp.forward(x, resize, (size, size), network.colour[None], dtype)


@pytest.mark.real
def test_block5_conv3_of_a_real_image_equals_pytorchs(torch, real, real_network):
    network = real_network(np.float32)
    x = real_image(real, network, 224, np.float32)
    assert (x.shape, x.dtype) == ((1, 224, 224, 3), np.float32)
    top = [layer.name for layer in network.layers].index("block5_conv3") + 1
    params, y, theirs = mirror(torch, network), x, torch.tensor(x)
    with torch.no_grad():
        for layer in network.layers[:top]:
            y, theirs = layer.forward(y), mirror_layer(torch, layer, params, theirs)
    assert y.shape == (1, 14, 14, 512)
    assert 0.01 < (y > 0).mean() < 0.5  # what the ImageNet weights give: sparse, and not dead
    assert relative_error(y, theirs.numpy()) < 1e-4


@pytest.mark.real
def test_every_gradient_with_the_real_weights_equals_pytorchs(torch, real, real_network, rng):
    network = real_network(np.float64)
    x = real_image(real, network, 75, np.float64)
    ours, theirs = both(torch, with_a_head(network, x, rng), x, LABELS[:1])
    assert ours.loss == pytest.approx(theirs.loss, rel=1e-10)
    for name, gradient in ours.grads.items():
        assert np.abs(theirs.grads[name]).max() > 1e-6, name
        assert relative_error(gradient, theirs.grads[name]) < 1e-8, name
