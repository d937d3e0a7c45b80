"""The same mathematics in PyTorch, an implementation that shares nothing with ours, op by op and network by network."""

from types import SimpleNamespace

import numpy as np
import pytest
from gradcheck import relative_error, tie_free
from test_learning import GOLDEN_LOSSES, GOLDEN_NORMS, first_losses
from test_model import LABELS, deep_gap, fixed_batch, fixed_network

from minicam.layers import GAP, Conv, Dropout, Linear, MaxPool
from minicam.model import small_gap, vgg16_gap
from minicam.ops import conv, gap, linear, maxpool, relu, softmax_loss, warp

pytestmark = pytest.mark.oracle


@pytest.fixture(scope="module")
def torch():
    return pytest.importorskip("torch")


# --- each op, forward and backward, in float64 ---


def nchw(torch, x):
    return x.permute(0, 3, 1, 2)


def nhwc(torch, x):
    return x.permute(0, 2, 3, 1)


def torch_conv(torch, x, w, b, fused=False):
    y = torch.nn.functional.conv2d(nchw(torch, x), w.permute(3, 2, 0, 1), b, padding="same")
    return nhwc(torch, y.relu() if fused else y)


# name: sizes of the arguments, ours forward, ours backward, PyTorch's forward
IMAGE = (2, 7, 5, 3)
OPS = {
    "conv": (
        {"x": IMAGE, "w": (3, 3, 3, 4), "b": (4,)},
        conv.forward,
        lambda dy, x, w, b: conv.backward(dy, x, w),
        torch_conv,
    ),
    "conv 5x3 and relu": (
        {"x": (3, 6, 9, 2), "w": (5, 3, 2, 7), "b": (7,)},
        lambda x, w, b: conv.forward(x, w, b, relu=True),
        lambda dy, x, w, b: conv.backward(dy, x, w, conv.forward(x, w, b, relu=True)),
        lambda torch, x, w, b: torch_conv(torch, x, w, b, fused=True),
    ),
    "conv 1x1": (
        {"x": IMAGE, "w": (1, 1, 3, 2), "b": (2,)},
        conv.forward,
        lambda dy, x, w, b: conv.backward(dy, x, w),
        torch_conv,
    ),
    "relu": (
        {"x": IMAGE},
        relu.forward,
        lambda dy, x: [relu.backward(dy, relu.forward(x))],
        lambda torch, x: x.relu(),
    ),
    "maxpool": (
        {"x": IMAGE},
        lambda x: maxpool.forward(x)[0],
        lambda dy, x: [maxpool.backward(dy, maxpool.forward(x)[1], x.shape)],
        lambda torch, x: nhwc(torch, torch.nn.functional.max_pool2d(nchw(torch, x), 2)),
    ),
    "gap": (
        {"x": IMAGE},
        gap.forward,
        lambda dy, x: [gap.backward(dy, x.shape)],
        lambda torch, x: x.mean((1, 2)),
    ),
    "linear": (
        {"x": (3, 7), "w": (7, 5), "b": (5,)},
        linear.forward,
        lambda dy, x, w, b: linear.backward(dy, x, w),
        lambda torch, x, w, b: torch.nn.functional.linear(x, w.T, b),
    ),
    "softmax_loss": (
        {"logits": (2, 3)},
        lambda logits: softmax_loss.forward(logits, LABELS)[0],
        lambda dy, logits: [dy * softmax_loss.backward(softmax_loss.forward(logits, LABELS)[1], LABELS)],
        lambda torch, logits: torch.nn.functional.cross_entropy(logits, torch.as_tensor(LABELS)),
    ),
}


@pytest.mark.parametrize("name", OPS)
def test_each_op_equals_pytorch_forward_and_backward(name, torch, rng):
    sizes, forward, backward, theirs = OPS[name]
    arguments = {argument: tie_free(size, rng) for argument, size in sizes.items()}
    tensors = {argument: torch.tensor(a, requires_grad=True) for argument, a in arguments.items()}
    y, torch_y = forward(*arguments.values()), theirs(torch, **tensors)
    assert relative_error(y, torch_y.detach().numpy()) < 1e-12
    dy = rng.standard_normal(np.shape(y))
    torch_y.backward(torch.tensor(dy))
    for argument, gradient in zip(arguments, backward(dy, *arguments.values()), strict=True):
        assert relative_error(gradient, tensors[argument].grad.numpy()) < 1e-12, argument


def test_maxpool_gives_ties_to_the_pixel_that_pytorch_chooses(torch, rng):
    x = rng.integers(-1, 2, (2, 8, 6, 5)).astype(np.float64)
    tensor = torch.tensor(x, requires_grad=True)
    y = torch.nn.functional.max_pool2d(nchw(torch, tensor), 2)
    dy = rng.standard_normal(y.shape)
    y.backward(torch.tensor(dy))
    mine = maxpool.backward(dy.transpose(0, 2, 3, 1), maxpool.forward(x)[1], x.shape)
    np.testing.assert_array_equal(mine, tensor.grad.numpy())


def test_resizing_equals_pytorchs_bilinear_interpolation(torch, rng):
    x = rng.uniform(0, 255, IMAGE)
    theirs = torch.nn.functional.interpolate(
        nchw(torch, torch.tensor(x)), (11, 4), mode="bilinear", align_corners=False, antialias=False
    )
    assert relative_error(warp.resize(x, (11, 4), np.float64), nhwc(torch, theirs).numpy()) < 1e-12


# --- whole networks ---


def mirror(torch, network):
    """The parameters of `network` as tensors of the same names, layout and dtype."""
    return {name: torch.tensor(array, requires_grad=True) for name, array in network.params().items()}


def mirror_layer(torch, layer, params, x):
    """What `layer` does, in PyTorch, on x (N, H, W, C). Dropout uses the mask that our forward pass drew."""
    if isinstance(layer, Conv):
        return torch_conv(torch, x, params[f"{layer.name}/kernel"], params[f"{layer.name}/bias"], layer.fused_relu)
    if isinstance(layer, MaxPool):
        return nhwc(torch, torch.nn.functional.max_pool2d(nchw(torch, x), 2))
    if isinstance(layer, GAP):
        return x.mean((1, 2))
    if isinstance(layer, Dropout):
        return x if layer.memory is None else x * torch.tensor(layer.memory[0])
    assert isinstance(layer, Linear)
    return x @ params[f"{layer.name}/kernel"] + params[f"{layer.name}/bias"]


def both(torch, network, x, labels):
    """Loss and gradients of a learning step: ours and PyTorch's."""
    ours, theirs = SimpleNamespace(), SimpleNamespace()
    ours.logits = network.forward(x, learning=True)
    params, y = mirror(torch, network), torch.tensor(x)
    for layer in network.layers:
        y = mirror_layer(torch, layer, params, y)
    theirs.logits = y.detach().numpy()
    loss = torch.nn.functional.cross_entropy(y, torch.as_tensor(labels))
    loss.backward()
    theirs.loss, theirs.grads = loss.item(), {name: tensor.grad.numpy() for name, tensor in params.items()}
    ours.loss, p = softmax_loss.forward(ours.logits, labels)
    network.backward(softmax_loss.backward(p, labels))
    ours.grads = network.grads()
    return ours, theirs


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
    """Our own forward and backward pass supply the inputs and the dy of every layer."""
    x, chain = caffe_like((1, 45, 34, 3), rng).astype(np.float32), []
    network = with_a_head(vgg16_gap(), x, rng)
    params = mirror(torch, network)
    for layer in network.layers:
        tensor = torch.tensor(x, requires_grad=True)
        x = layer.forward(x, learning=True)
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
