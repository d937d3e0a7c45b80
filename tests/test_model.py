"""model: the networks as a whole, from their names and sizes to what they can learn."""

import itertools
import math

import numpy as np
import pytest
from gradcheck import check_backward, tie_free

from minicam import MinicamError
from minicam.layers import GAP, Conv, Linear
from minicam.model import NETWORKS, _network, small_gap, vgg16_gap
from minicam.ops import conv, softmax_loss

IMAGES = (2, 23, 13, 3)  # pooling makes it 11 x 6, then 5 x 3: odd rows and columns are dropped on the way
LABELS = np.array([2, 0])


@pytest.fixture(scope="module")
def vgg():
    return vgg16_gap()


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


# --- what the networks are ---


def test_vgg16_gap_bears_the_names_of_kerass_weight_file(vgg):
    blocks = {1: 2, 2: 2, 3: 3, 4: 3, 5: 3}
    names = [f"block{b}_conv{c}" for b, count in blocks.items() for c in range(1, count + 1)]
    names += ["CAM_conv", "CAM_fc"]
    assert list(vgg.params()) == [f"{name}/{kind}" for name in names for kind in ("kernel", "bias")]
    assert [layer.name for layer in vgg.layers] == [
        *("block1_conv1", "block1_conv2", "block1_pool"),
        *("block2_conv1", "block2_conv2", "block2_pool"),
        *("block3_conv1", "block3_conv2", "block3_conv3", "block3_pool"),
        *("block4_conv1", "block4_conv2", "block4_conv3", "block4_pool"),
        *("block5_conv1", "block5_conv2", "block5_conv3"),  # no block5_pool: the CAM keeps its 14 x 14
        *("CAM_conv", "GAP", "dropout", "CAM_fc"),
    ]


def test_vgg16_gap_has_the_shapes_of_configuration_d(vgg):
    widths = [3, 64, 64, 128, 128, 256, 256, 256, 512, 512, 512, 512, 512, 512, 1024]
    kernels = [array.shape for array in vgg.params().values() if array.ndim == 4]
    assert kernels == [(3, 3, C, K) for C, K in itertools.pairwise(widths)]
    assert vgg.params()["CAM_fc/kernel"].shape == (1024, 3)
    assert sum(array.size for array in vgg.params().values()) == 19_437_379
    for name, array in vgg.params().items():
        assert array.dtype == np.float32, name
        if name.endswith("bias"):
            assert array.shape == vgg.params()[name.replace("bias", "kernel")].shape[-1:]
            assert not array.any()


def test_vgg16_gap_starts_as_the_paper_of_the_cam_says(vgg):
    params = vgg.params()
    assert params["CAM_conv/kernel"].std() == pytest.approx(0.01, rel=0.01)
    assert not params["CAM_fc/kernel"].any()
    for name in ("block1_conv2/kernel", "block5_conv3/kernel"):  # He: variance 2 / fan-in
        fan_in = params[name][..., 0].size
        assert params[name].std() == pytest.approx(math.sqrt(2 / fan_in), rel=0.02)


@pytest.mark.parametrize("make", NETWORKS.values(), ids=NETWORKS)
def test_the_seed_decides_the_start(make):
    def kernels(seed):
        return {name: array for name, array in make(seed=seed).params().items() if array.ndim == 4}

    mine, same, other = kernels(3), kernels(3), kernels(4)
    assert {"block1_conv1/kernel", "block3_conv1/kernel", "CAM_conv/kernel"} <= mine.keys()
    for name in mine:
        np.testing.assert_array_equal(mine[name], same[name], err_msg=name)
        assert (mine[name] != other[name]).any(), name


@pytest.mark.parametrize("make", NETWORKS.values(), ids=NETWORKS)
@pytest.mark.parametrize("classes", [3, 2])
def test_the_first_loss_is_ln_of_the_classes(make, classes, rng):
    network = make(classes=classes)
    x = rng.uniform(-100, 100, (3, 19, 23, 3)).astype(np.float32)
    logits = network.forward(x, learning=True)
    assert logits.dtype == np.float32
    assert logits.shape == (3, classes)
    loss, _ = softmax_loss.forward(logits, np.array([1, 0, 1]))
    assert loss == pytest.approx(math.log(classes), rel=1e-7)


def test_the_layers_are_those_of_vgg16_gap_in_small(vgg):
    small = small_gap()
    assert {type(layer) for layer in small.layers} == {type(layer) for layer in vgg.layers}
    assert [type(layer) for layer in small.layers[-4:]] == [type(layer) for layer in vgg.layers[-4:]]
    assert isinstance(small.layers[-4], Conv)
    assert isinstance(small.layers[-3], GAP)
    assert isinstance(small.layers[-1], Linear)


def test_small_gap_has_one_convolution_a_block():
    small = small_gap()
    assert [layer.name for layer in small.layers] == [
        *("block1_conv1", "block1_pool"),
        *("block2_conv1", "block2_pool"),
        *("block3_conv1", "CAM_conv", "GAP", "dropout", "CAM_fc"),
    ]
    assert {name: array.shape for name, array in small.params().items()} == {
        "block1_conv1/kernel": (3, 3, 3, 16),
        "block1_conv1/bias": (16,),
        "block2_conv1/kernel": (3, 3, 16, 32),
        "block2_conv1/bias": (32,),
        "block3_conv1/kernel": (3, 3, 32, 32),
        "block3_conv1/bias": (32,),
        "CAM_conv/kernel": (3, 3, 32, 64),
        "CAM_conv/bias": (64,),
        "CAM_fc/kernel": (64, 3),
        "CAM_fc/bias": (3,),
    }


def test_all_convolutions_of_small_gap_start_as_he_says():
    params = small_gap().params()
    for name in ("block1_conv1", "block2_conv1", "block3_conv1", "CAM_conv"):
        kernel = params[f"{name}/kernel"]
        # n draws: the deviation of their standard deviation is 1 / sqrt(2 n) of it
        assert kernel.std() == pytest.approx(math.sqrt(2 / kernel[..., 0].size), rel=4 / math.sqrt(2 * kernel.size))
        assert not params[f"{name}/bias"].any()
    assert not params["CAM_fc/kernel"].any()


def test_a_pixel_of_small_gaps_maps_sees_26_of_the_images():
    """Of 60 images, each has another bright column. No weight is negative, so that no brightness gets lost."""
    network = small_gap(dtype=np.float64)
    for array in network.params().values():
        np.abs(array, out=array)
    network.forward(1 + np.eye(60)[:, None, :, None] * np.ones((8, 1, 3)))
    assert network.features.shape == (60, 2, 15, 64)
    seen = (network.features[:, 1, 7] != network.features[0, 1, 7]).any(1)  # column 0 is out of its sight
    assert np.flatnonzero(seen).tolist() == list(range(17, 43))


@pytest.mark.parametrize(("make", "shape"), [(small_gap, (2, 5, 3, 64)), (deep_gap, (2, 11, 6, 8))])
def test_features_are_what_gap_averages(make, shape):
    network = fixed_network(make)
    logits = network.forward(fixed_batch()[0])
    assert network.features.shape == shape
    params = network.params()
    np.testing.assert_allclose(
        network.features.mean((1, 2)) @ params["CAM_fc/kernel"] + params["CAM_fc/bias"], logits, rtol=1e-12
    )


def test_the_mean_of_a_cam_plus_the_bias_is_the_logit():
    """The identity that makes a CAM: the average of weighted maps is the weighted sum of averages."""
    network = fixed_network()
    logits = network.forward(fixed_batch()[0])
    cam = network.features @ network.params()["CAM_fc/kernel"]  # (N, h, w, K) (K, classes)
    np.testing.assert_allclose(cam.mean((1, 2)) + network.params()["CAM_fc/bias"], logits, rtol=1e-12)


# --- gradients ---


@pytest.mark.parametrize(("make", "shape"), [(small_gap, IMAGES), (deep_gap, (2, 13, 11, 3))])
@pytest.mark.parametrize("dropout", [0.0, 0.3])
def test_gradients_of_every_parameter_and_all_at_once(dropout, make, shape, rng):
    """Through the whole network to the loss, dropout with its mask held fixed.

    The deep network gets smaller images: each activation more is a ReLU whose kink may lie between the two losses of
    a difference (with IMAGES one does: a step a tenth as long agrees to 1e-9).
    """
    network = make(dropout=dropout, dtype=np.float64)
    network.seed_dropout(seed=3, step=14)
    params, x = network.params(), tie_free(shape, rng)

    def forward(*arrays):
        for name, array in zip(params, arrays, strict=True):
            params[name][...] = array
        return softmax_loss.forward(network.forward(x, learning=True), LABELS)

    def backward(dy, *arrays):
        _, p = forward(*arrays)
        network.backward(dy * softmax_loss.backward(p, LABELS))
        return [network.grads()[name] for name in params]

    start = {name: rng.standard_normal(array.shape) * 0.2 for name, array in params.items()}
    check_backward(lambda *arrays: forward(*arrays)[0], backward, start, rng)

    ends = np.cumsum([array.size for array in start.values()])[:-1]

    def apart(everything):
        return [a.reshape(b.shape) for a, b in zip(np.split(everything, ends), start.values(), strict=True)]

    def together(arrays):
        return np.concatenate([array.ravel() for array in arrays])

    check_backward(
        lambda everything: forward(*apart(everything))[0],
        lambda dy, everything: [together(backward(dy, *apart(everything)))],
        {"everything": together(start.values())},
        rng,
    )


def test_backward_twice_is_an_error_and_memory_is_forgotten():
    network = fixed_network()
    x, labels = fixed_batch()
    _, p = softmax_loss.forward(network.forward(x, learning=True), labels)
    dlogits = softmax_loss.backward(p, labels)
    assert all(layer.memory is not None for layer in network.layers)
    network.backward(dlogits)
    assert all(layer.memory is None for layer in network.layers)
    with pytest.raises(RuntimeError, match=r"CAM_fc: backward without a forward\(learning=True\) before it"):
        network.backward(dlogits)
    network.forward(x)
    assert all(layer.memory is None for layer in network.layers)


# --- freezing ---


@pytest.fixture
def conv_backwards(monkeypatch):
    """Every call of conv.backward, as (width of its output, need_dx)."""
    calls, original = [], conv.backward

    def counting(dy, x, w, y=None, need_dx=True):
        calls.append((w.shape[3], need_dx))
        return original(dy, x, w, y, need_dx)

    monkeypatch.setattr(conv, "backward", counting)
    return calls


@pytest.mark.parametrize(
    ("make", "name", "expected"),
    [
        (small_gap, None, [(64, True), (32, True), (32, True), (16, False)]),
        (small_gap, "block1_conv1", [(64, True), (32, True), (32, True), (16, False)]),
        (small_gap, "block2_conv1", [(64, True), (32, True), (32, False)]),
        (small_gap, "block3_conv1", [(64, True), (32, False)]),
        (small_gap, "CAM_conv", [(64, False)]),
        (small_gap, "CAM_fc", []),
        (deep_gap, None, [(8, True), (9, True), (6, True), (7, True), (4, True), (5, False)]),
        (deep_gap, "block1_conv2", [(8, True), (9, True), (6, True), (7, True), (4, False)]),
        (deep_gap, "block2_conv1", [(8, True), (9, True), (6, True), (7, False)]),
        (deep_gap, "block2_conv2", [(8, True), (9, True), (6, False)]),
    ],
)
def test_training_from_a_layer_does_no_work_below_it(make, name, expected, conv_backwards):
    x, labels = fixed_batch()
    _, everything = loss_and_gradients(fixed_network(make), x, labels)
    conv_backwards.clear()

    network = fixed_network(make)
    network.train_from(name)
    _, p = softmax_loss.forward(network.forward(x, learning=True), labels)
    below = [layer.name for layer in network.layers].index(name) if name else 0
    assert [layer.memory is None for layer in network.layers] == [i < below for i in range(len(network.layers))]
    network.backward(softmax_loss.backward(p, labels))

    assert conv_backwards == expected
    assert all(not layer.grads for layer in network.layers[:below])
    assert list(network.grads()) == list(network.params(learning_only=True))
    assert list(network.grads()) == list(everything)[-len(network.grads()) :]
    for parameter, gradient in network.grads().items():
        np.testing.assert_array_equal(gradient, everything[parameter], err_msg=parameter)


def test_the_layer_to_train_from_can_be_changed_back():
    network = fixed_network()
    network.train_from("CAM_fc")
    assert list(network.params(learning_only=True)) == ["CAM_fc/kernel", "CAM_fc/bias"]
    assert len(network.params()) == 10
    network.train_from(None)
    assert network.params(learning_only=True).keys() == network.params().keys()


@pytest.mark.parametrize("name", ["block9_conv1", "GAP", "block1_pool", ""])
def test_training_from_what_is_no_layer_with_parameters_is_refused(name):
    network = small_gap()
    with pytest.raises(MinicamError) as caught:
        network.train_from(name)
    assert str(caught.value) == (
        f"there is no layer {name!r} to train from; choose one of "
        "block1_conv1, block2_conv1, block3_conv1, CAM_conv, CAM_fc"
    )
    assert network.first_learning == 0


# --- dropout in a network ---


def test_dropout_acts_only_in_learning_and_by_seed_and_step():
    x, _ = fixed_batch()
    network, plain = fixed_network(), fixed_network()
    network.layers[-2].rate = 0.5

    def logits(seed, step):
        network.seed_dropout(seed, step)
        return network.forward(x, learning=True)

    np.testing.assert_array_equal(network.forward(x), plain.forward(x))
    np.testing.assert_array_equal(logits(1, 2), logits(1, 2))
    assert (logits(1, 2) != logits(1, 3)).any()
    assert (logits(1, 2) != logits(2, 2)).any()
