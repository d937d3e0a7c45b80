"""Layouts of Keras read and written, and tensors assigned to a network: small files made by hand with h5py."""

import os
from pathlib import Path

import h5py
import numpy as np
import pytest

from minicam import MinicamError
from minicam.weights import hdf5, keras
from minicam.weights.download import NAME, NUMBERS_SHA256, digest_of_numbers


def network(layers, dtype=np.float32, seed=3):
    """Random parameters: a name to (R, S, C, K) or (C, K)."""
    random = np.random.default_rng(seed)
    tensors = {}
    for layer, shape in layers.items():
        tensors[f"{layer}/kernel"] = random.normal(size=shape).astype(dtype)
        tensors[f"{layer}/bias"] = random.normal(size=shape[-1:]).astype(dtype)
    return tensors


SMALL = network({"block1_conv1": (3, 3, 2, 5), "block1_conv2": (1, 3, 5, 7), "CAM_fc": (7, 3)})


def put_legacy(group, tensors, spelling, text=False):
    """A legacy layout as Keras's versions spell it, with a layer that has no weights, as pools have none."""
    layers = list(dict.fromkeys(name.split("/")[0] for name in tensors))
    attribute = (lambda names: names) if text else (lambda names: np.array([name.encode() for name in names], "S"))
    group.attrs["layer_names"] = attribute([*layers, "block1_pool"])
    group.create_group("block1_pool").attrs["weight_names"] = np.array([])
    for layer in layers:
        names = [spelling.format(layer=layer, part=part, letter=part[0]) for part in ("kernel", "bias")]
        names = [name.replace("_k_1", "_W_1") for name in names]
        below = group.create_group(layer)
        below.attrs["weight_names"] = attribute(names)
        for name, part in zip(names, ("kernel", "bias"), strict=True):
            below[name] = tensors[f"{layer}/{part}"]


def assert_same(found, expected, dtype=np.float32):
    assert list(found) == list(expected)
    for name, values in expected.items():
        assert found[name].dtype == dtype
        np.testing.assert_array_equal(found[name], values, err_msg=name)


@pytest.mark.parametrize("text", [False, True], ids=["bytes", "str"])
@pytest.mark.parametrize("root", ["/", "model_weights"])
@pytest.mark.parametrize("spelling", ["{layer}_{letter}_1:0", "{layer}/{part}:0", "{layer}/{part}"])
def test_legacy_layouts(tmp_path, spelling, root, text):
    with h5py.File(tmp_path / "w.h5", "w") as file:
        put_legacy(file.require_group(root), SMALL, spelling, text)
        file.create_group("optimizer_weights").attrs["weight_names"] = ["ignored"]
    assert_same(keras.read(tmp_path / "w.h5"), SMALL)


def test_weights_are_taken_by_order_not_by_name(tmp_path):
    with h5py.File(tmp_path / "w.h5", "w") as file:
        file.attrs["layer_names"] = ["a"]
        below = file.create_group("a")
        below.attrs["weight_names"] = ["z:0", "b:0"]
        below["z:0"], below["b:0"] = np.ones((2, 3)), np.zeros(3)
    assert {name: values.shape for name, values in keras.read(tmp_path / "w.h5").items()} == {
        "a/kernel": (2, 3),
        "a/bias": (3,),
    }


@pytest.mark.parametrize("dtype", ["<f2", "<f8", ">f4"])
def test_other_float_types_become_float32(tmp_path, dtype):
    tensors = {name: values.astype(dtype) for name, values in SMALL.items()}
    keras.write(tmp_path / "w.h5", tensors)
    with h5py.File(tmp_path / "w.h5") as file:
        assert file["block1_conv1/block1_conv1/kernel:0"].dtype == dtype
    assert_same(keras.read(tmp_path / "w.h5"), {name: values.astype("f4") for name, values in tensors.items()})


def test_write_then_read_and_equal_bytes(tmp_path):
    keras.write(tmp_path / "a.h5", SMALL)
    keras.write(tmp_path / "b.h5", SMALL)
    assert_same(keras.read(tmp_path / "a.h5"), SMALL)
    assert (tmp_path / "a.h5").read_bytes() == (tmp_path / "b.h5").read_bytes()
    assert sorted(os.listdir(tmp_path)) == ["a.h5", "b.h5"]


def test_long_lists_of_names_are_split_as_keras_splits_them(tmp_path):
    tensors = network({f"{i:04d}" * 1100: (1, 2) for i in range(17)})
    keras.write(tmp_path / "w.h5", tensors)
    with h5py.File(tmp_path / "w.h5") as file:
        names = [name for name in file.attrs if name.startswith("layer_names")]
        assert names == ["layer_names0", "layer_names1"]
        assert all(file.attrs[name].nbytes <= 64512 for name in names)
    assert_same(keras.read(tmp_path / "w.h5"), tensors)


@pytest.mark.parametrize(
    ("tensors", "message"),
    [
        ({"a/kernel": np.ones((2, 3), "f4")}, "a/kernel: expected both layer/kernel and layer/bias"),
        ({"kernel": np.ones((2, 3), "f4")}, "kernel: expected both layer/kernel and layer/bias"),
        ({"a/kernel": np.ones((2, 3), "i4"), "a/bias": np.ones(3)}, "a/kernel: int32, expected float32 or float64"),
        ({"a/kernel": np.ones((2, 3)), "a/bias": np.array([0, np.nan, 0])}, "a/bias: it holds NaN or infinity"),
        ({"a/kernel": np.ones((2, 3)), "a/bias": np.ones(2)}, r"layer a: it holds tensors of shapes \(2, 3\) and"),
        ({"a" * 70000 + "/kernel": np.ones((2, 3)), "a" * 70000 + "/bias": np.ones(3)}, "is over 64,512 bytes"),
        ({"./kernel": np.ones((2, 3)), "./bias": np.ones(3)}, "cannot write"),
    ],
)
def test_write_refuses_and_leaves_the_old_file(tmp_path, tensors, message):
    (tmp_path / "w.h5").write_bytes(b"old")
    with pytest.raises(MinicamError, match=message):
        keras.write(tmp_path / "w.h5", tensors)
    assert os.listdir(tmp_path) == ["w.h5"]
    assert (tmp_path / "w.h5").read_bytes() == b"old"


def test_write_refuses_a_name_that_keras_would_misread(tmp_path):
    with pytest.raises(MinicamError, match=r"Keras takes \.weights\.h5 for its newer layout; choose a name in \.h5"):
        keras.write(tmp_path / "a.weights.h5", SMALL)


# Keras 3


def put_keras3(file, keys, names=None):
    """Layers by Keras 3's own keys; kernel values tell the order. `names` are what Keras 3.6 adds."""
    for number, key in enumerate(keys):
        variables = file.create_group(f"layers/{key}/vars")
        shape = (number + 1, 2) if key.startswith("dense") else (1, 1, number + 1, 2)
        variables["0"], variables["1"] = np.full(shape, number, "f4"), np.full(2, -number, "f4")
        if names:
            variables.attrs["name"] = names[number]
    file.create_group("layers/max_pooling2d/vars")
    file.create_group("layers/dropout/seed_generator/vars")["0"] = np.array([1, 2], "u4")
    file.create_group("optimizer/vars")["0"] = np.int64(3)


def conv_keys(count):
    return ["conv2d", *(f"conv2d_{i}" for i in range(1, count))]


def test_keras3_with_names(tmp_path):
    names = [f"layer{i}" for i in range(12)]
    with h5py.File(tmp_path / "w.weights.h5", "w") as file:
        put_keras3(file, conv_keys(12), names)
    tensors = keras.read(tmp_path / "w.weights.h5")
    assert list(tensors) == [f"{name}/{part}" for name in names for part in ("kernel", "bias")]
    assert [tensors[f"{name}/kernel"].flat[0] for name in names] == list(range(12))


@pytest.mark.parametrize(("convolutions", "dense"), [(13, 0), (14, 1), (13, 3)])
def test_keras3_without_names_goes_by_order(tmp_path, convolutions, dense):
    keys = conv_keys(convolutions) + ["dense", "dense_1", "dense_2"][:dense]
    with h5py.File(tmp_path / "w.weights.h5", "w") as file:
        put_keras3(file, keys)
    tensors = keras.read(tmp_path / "w.weights.h5")
    expected = [*keras.VGG16_CONVOLUTIONS, *(["CAM_conv", "CAM_fc"] if dense == 1 else keys[13:])]
    assert [tensors[f"{name}/kernel"].flat[0] for name in expected] == list(range(len(keys)))
    assert [tensors[f"{name}/bias"][1] for name in expected] == [-i for i in range(len(keys))]
    assert len(tensors) == 2 * len(keys)


def test_keras3_without_names_of_another_network(tmp_path):
    with h5py.File(tmp_path / "w.weights.h5", "w") as file:
        put_keras3(file, conv_keys(5))
    with pytest.raises(MinicamError, match=r"does not name its layers .* holds 5 convolutions; VGG16 has 13 and"):
        keras.read(tmp_path / "w.weights.h5")


def test_keras3_with_a_model_in_the_model(tmp_path):
    """Its layers come in its place, which is that of its class in the alphabet."""
    path = tmp_path / "w.weights.h5"
    places = {"conv2d": "CAM_conv", "functional/layers/conv2d": "a", "functional/layers/conv2d_1": "b"}
    places |= {"functional/layers/sequential/layers/conv2d": "c", "sequential/layers/dense": "CAM_fc"}
    with h5py.File(path, "w") as file:
        for number, (place, name) in enumerate(places.items()):
            variables = file.create_group(f"layers/{place}/vars")
            variables["0"], variables["1"] = np.full((number + 1, 2), number, "f4"), np.full(2, -number, "f4")
            variables.attrs["name"] = name
        file.create_group("layers/functional/vars")
    tensors = keras.read(path)
    assert list(tensors) == [f"{name}/{part}" for name in places.values() for part in ("kernel", "bias")]
    assert [tensors[f"{name}/kernel"].flat[0] for name in places.values()] == list(range(5))
    with h5py.File(path, "r+") as file:
        for place in places:
            del file[f"layers/{place}/vars"].attrs["name"]
    said = r"does not name its layers .* and some are those of a model in the model, functional/conv2d; save"
    with pytest.raises(MinicamError, match=said):
        keras.read(path)


def test_names_of_vgg16():
    assert len(keras.VGG16_CONVOLUTIONS) == 13
    assert keras.VGG16_CONVOLUTIONS[:5] == (
        *("block1_conv1", "block1_conv2"),
        *("block2_conv1", "block2_conv2"),
        "block3_conv1",
    )
    assert keras.VGG16_CONVOLUTIONS[-1] == "block5_conv3"


# assign


def test_assign_copies_in_place_and_ignores_other_layers():
    params = network({"block1_conv1": (3, 3, 2, 5), "CAM_fc": (7, 3)}, np.float64, seed=8)
    arrays = dict(params)
    assert keras.assign(params, SMALL, "w.h5") == []
    for name, values in params.items():
        assert values is arrays[name]
        assert values.dtype == np.float64
        np.testing.assert_array_equal(values, SMALL[name])


def test_assign_leaves_optional_layers():
    params = network({"block1_conv1": (3, 3, 2, 5), "CAM_conv": (3, 3, 5, 7), "CAM_fc": (7, 4)}, seed=8)
    before = {name: values.copy() for name, values in params.items()}
    assert keras.assign(params, SMALL, "w.h5", optional=("CAM_conv", "CAM_fc")) == ["CAM_conv", "CAM_fc"]
    np.testing.assert_array_equal(params["block1_conv1/bias"], SMALL["block1_conv1/bias"])
    for name in ("CAM_conv/kernel", "CAM_conv/bias", "CAM_fc/kernel", "CAM_fc/bias"):
        np.testing.assert_array_equal(params[name], before[name])


@pytest.mark.parametrize(
    ("layer", "message"),
    [
        ({"block4_conv2": (3, 3, 2, 5)}, "has no layer block4_conv2; it holds block1_conv1, block1_conv2, CAM_fc: is "),
        ({"CAM_fc": (7, 4)}, r"w.h5 has CAM_fc/kernel of shape \(7, 3\), expected \(7, 4\): is it another network\?"),
    ],
)
def test_assign_changes_nothing_on_error(layer, message):
    params = network({"block1_conv1": (3, 3, 2, 5), **layer}, seed=8)
    before = {name: values.copy() for name, values in params.items()}
    with pytest.raises(MinicamError, match=message):
        keras.assign(params, SMALL, "w.h5")
    for name, values in params.items():
        np.testing.assert_array_equal(values, before[name])


def test_assign_counts_many_layers():
    tensors = network({f"dense_{i}": (1, 2) for i in range(9)})
    with pytest.raises(MinicamError, match=r"holds dense_0, dense_1, dense_2, dense_3, dense_4, \.\.\. \(9 layers\)"):
        keras.assign(SMALL, tensors, "w.h5")
    tensors = {"block1_conv1/kernel": SMALL["block1_conv1/kernel"]}
    with pytest.raises(MinicamError, match=r"w\.h5 has no block1_conv1/bias; it holds block1_conv1: is it"):
        keras.assign(SMALL, tensors, "w.h5")


@pytest.mark.real
def test_the_real_file():
    """The numbers that Keras publishes for VGG16, and through the digest all the others."""
    folder = os.environ.get("MINICAM_REAL")
    if not folder:
        pytest.skip("MINICAM_REAL names no folder")
    tensors = keras.read(Path(folder) / "weights" / NAME)
    assert list(tensors) == [f"{layer}/{part}" for layer in keras.VGG16_CONVOLUTIONS for part in ("kernel", "bias")]
    assert tensors["block1_conv1/kernel"][0, 0, 0, :3].tolist() == pytest.approx(
        [0.42947057, 0.11727387, 0.03401296], rel=1e-7
    )
    bias = tensors["block5_conv3/bias"].astype(np.float64)
    assert [bias.mean(), bias.std(), bias.min()] == pytest.approx([0.14986369, 0.4928213, -0.50036746], rel=1e-6)
    assert digest_of_numbers(tensors) == NUMBERS_SHA256
    assert sum(values.size for values in tensors.values()) == 14_714_688
    assert hdf5.MAX_NUMBERS > 30 * 14_714_688
