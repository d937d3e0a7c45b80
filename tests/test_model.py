"""model: the networks, their names and sizes, where they start, and what makes a CAM of their features."""

import itertools
import math

import numpy as np
import pytest
from networks import deep_gap, fixed_batch, fixed_network

from minicam.layers import GAP, Conv, Linear
from minicam.model import NETWORKS, small_gap, vgg16_gap
from minicam.ops import softmax_loss


@pytest.fixture(scope="module")
def vgg():
    return vgg16_gap()


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


@pytest.mark.parametrize(
    ("name", "frozen"), [(None, 0), ("block1_conv1", 0), ("block1_conv2", 1), ("block2_conv1", 3), ("CAM_conv", 6)]
)
@pytest.mark.parametrize("learning", [False, True])
def test_forward_can_start_above_the_frozen_layers(name, frozen, learning):
    network, (x, _) = fixed_network(deep_gap), fixed_batch()
    network.train_from(name)
    assert network.frozen == frozen
    whole, maps = network.forward(x, learning), network.features
    features = network.forward_frozen(x)
    np.testing.assert_array_equal(network.forward(features, learning, start=frozen), whole)
    np.testing.assert_array_equal(network.features, maps)


def test_where_only_the_last_layer_learns_what_gap_averages_is_still_at_hand():
    network, (x, _) = fixed_network(), fixed_batch()
    network.train_from("CAM_fc")
    assert [layer.name for layer in network.layers[network.frozen :]] == ["GAP", "dropout", "CAM_fc"]
    features = network.forward_frozen(x)
    logits = network.forward(features, learning=True, start=network.frozen)
    np.testing.assert_array_equal(network.features, features)
    network.backward(logits)
    assert network.grads().keys() == {"CAM_fc/kernel", "CAM_fc/bias"}
