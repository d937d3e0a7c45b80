"""Keras itself as the judge: it loads our checkpoint, and we read what it saves."""

import os

import numpy as np
import pytest

from minicam.weights import checkpoint, keras

# Keras 3.15 turns its variables into arrays in a way that NumPy 2 warns about.
pytestmark = [pytest.mark.oracle, pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")]


@pytest.fixture(scope="module")
def vgg16():
    """Keras's VGG16 without its top, on PyTorch, with random weights; and these by full name."""
    os.environ["KERAS_BACKEND"] = "torch"
    pytest.importorskip("torch")
    oracle = pytest.importorskip("keras")
    oracle.utils.set_random_seed(7)
    model = oracle.applications.VGG16(include_top=False, weights=None, input_shape=(32, 32, 3))
    random = np.random.default_rng(7)
    for layer in model.layers:  # biases too, which start at zero
        if layer.get_weights():
            kernel, bias = layer.get_weights()
            layer.set_weights([kernel, random.normal(size=bias.shape)])
    return model


def weights_of(model):
    """A copy by full name."""
    return {
        f"{layer.name}/{part}": np.array(values)
        for layer in model.layers
        for part, values in zip(("kernel", "bias"), layer.get_weights(), strict=False)
    }


def assert_same(found, expected):
    assert list(found) == list(expected)
    for name, values in expected.items():
        np.testing.assert_array_equal(found[name], values, err_msg=name)


def test_names(vgg16):
    assert tuple(layer.name for layer in vgg16.layers if layer.weights) == keras.VGG16_CONVOLUTIONS


def test_keras_loads_our_checkpoint(vgg16, tmp_path):
    before = weights_of(vgg16)
    random = np.random.default_rng(9)
    params = {name: random.normal(size=values.shape).astype("f4") for name, values in before.items()}
    head = {"CAM_conv/kernel": (3, 3, 512, 7), "CAM_conv/bias": (7,), "CAM_fc/kernel": (7, 3), "CAM_fc/bias": (3,)}
    head = {name: random.normal(size=shape).astype("f4") for name, shape in head.items()}
    state = {"step": 3, "velocity": {"block1_conv1/bias": params["block1_conv1/bias"]}}
    checkpoint.save(tmp_path / "c.h5", params | head, state)
    try:
        vgg16.load_weights(tmp_path / "c.h5", by_name=True)
        assert_same(weights_of(vgg16), params)
        vgg16.set_weights(list(before.values()))
        vgg16.load_weights(tmp_path / "c.h5")  # by order works as well: CAM_conv and CAM_fc are out of its sight
        assert_same(weights_of(vgg16), params)
    finally:
        vgg16.set_weights(list(before.values()))


def test_we_read_what_keras_saves(vgg16, tmp_path):
    expected = weights_of(vgg16)
    vgg16.save_weights(tmp_path / "k.weights.h5")
    assert_same(keras.read(tmp_path / "k.weights.h5"), expected)
    vgg16.save(tmp_path / "model.h5")
    assert_same(keras.read(tmp_path / "model.h5"), expected)


def test_we_read_the_legacy_layout_and_keras_3_without_names(vgg16, tmp_path):
    import h5py
    from keras.src.legacy.saving.legacy_h5_format import save_weights_to_hdf5_group

    expected = weights_of(vgg16)
    with h5py.File(tmp_path / "legacy.h5", "w") as file:
        save_weights_to_hdf5_group(file, vgg16)
    assert_same(keras.read(tmp_path / "legacy.h5"), expected)

    vgg16.save_weights(tmp_path / "k.weights.h5")
    with h5py.File(tmp_path / "k.weights.h5", "r+") as file:  # as Keras 3.0 to 3.5 wrote it
        for layer in file["layers"].values():
            del layer["vars"].attrs["name"]
    assert_same(keras.read(tmp_path / "k.weights.h5"), expected)
