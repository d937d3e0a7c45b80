"""Checkpoints: bit for bit back, equal bytes for equal contents, whole or not at all."""

import os
import time

import h5py
import numpy as np
import pytest

from minicam import MinicamError
from minicam.weights import checkpoint, hdf5, keras


def make_params(dtype="f4"):
    random = np.random.default_rng(5)
    shapes = {"block1_conv1": (3, 3, 2, 5), "block2_conv1": (3, 3, 5, 3), "CAM_conv": (3, 3, 3, 7), "CAM_fc": (7, 3)}
    params = {}
    for layer, shape in shapes.items():
        params[f"{layer}/kernel"] = random.normal(size=shape).astype(dtype)
        params[f"{layer}/bias"] = random.normal(size=shape[-1:]).astype(dtype)
    return params


def make_state(params):
    generator = np.random.default_rng(11)
    generator.random(3)
    return {
        "stage": 1,
        "step": 1234,
        "lr": 0.1 + 0.2,
        "done": False,
        "best": None,
        "name": "Läsion/β",
        "empty": {},
        "config": {"train_from": "block5_conv1", "sizes": [224, 96.5, [True, None]], "nothing": []},
        "generator": generator.bit_generator.state,  # holds integers of 128 bits
        "velocity": {name: np.full_like(values, -0.0) + values / 3 for name, values in params.items()},
        "order": np.arange(11)[::-1],
        "seen": np.array([True, False, True]),
        "losses": [np.float32([1.5, np.nan, np.inf]), np.zeros((0, 3)), np.array(2, "u1")],
    }


def assert_equal(found, expected, place="state"):
    assert type(found) is type(expected), place
    if isinstance(expected, dict):
        assert list(found) == list(expected), place
        for key in expected:
            assert_equal(found[key], expected[key], f"{place}/{key}")
    elif isinstance(expected, list | tuple):
        assert len(found) == len(expected), place
        for i, (a, b) in enumerate(zip(found, expected, strict=True)):
            assert_equal(a, b, f"{place}/{i}")
    elif isinstance(expected, np.ndarray):
        assert (found.dtype, found.shape) == (expected.dtype, expected.shape), place
        assert found.tobytes() == expected.tobytes(), place
    else:
        assert found == expected, place


@pytest.mark.parametrize("dtype", ["f4", "f8", ">f4"])
def test_everything_comes_back_bit_for_bit(tmp_path, dtype):
    params = make_params(dtype)
    state = make_state(params)
    checkpoint.save(tmp_path / "c.h5", params, state)
    found_params, found_state = checkpoint.load(tmp_path / "c.h5")
    assert_equal(found_params, params)
    assert_equal(found_state, state)
    generator = np.random.default_rng()
    generator.bit_generator.state = found_state["generator"]
    assert os.listdir(tmp_path) == ["c.h5"]


def test_arrays_come_back_writable_and_owned(tmp_path):
    params = make_params()
    checkpoint.save(tmp_path / "c.h5", params, {"velocity": params})
    found_params, found_state = checkpoint.load(tmp_path / "c.h5")
    for values in (*found_params.values(), *found_state["velocity"].values()):
        values += 1


def test_read_takes_all_layers_of_a_checkpoint(tmp_path):
    params = make_params("f8")
    checkpoint.save(tmp_path / "c.h5", params, {})
    found = keras.read(tmp_path / "c.h5")
    assert list(found) == list(params)
    for name, values in params.items():
        np.testing.assert_array_equal(found[name], values.astype("f4"))


def test_keras_sees_only_the_blocks(tmp_path):
    checkpoint.save(tmp_path / "c.h5", make_params(), {"velocity": make_params()})
    with h5py.File(tmp_path / "c.h5") as file:
        assert list(file.attrs["layer_names"]) == [b"block1_conv1", b"block2_conv1"]
        assert list(file) == ["block1_conv1", "block2_conv1", "minicam"]
        assert file["block1_conv1/block1_conv1/kernel:0"].shape == (3, 3, 2, 5)
        assert list(file["minicam/layers"].attrs["layer_names"]) == [b"CAM_conv", b"CAM_fc"]
        assert file["minicam/state/velocity/CAM_fc/bias"].shape == (3,)


def test_equal_contents_give_equal_bytes(tmp_path):
    params = make_params()
    checkpoint.save(tmp_path / "a.h5", params, make_state(params))
    time.sleep(1.1)  # HDF5 keeps times in whole seconds
    checkpoint.save(tmp_path / "b.h5", params, make_state(params))
    assert (tmp_path / "a.h5").read_bytes() == (tmp_path / "b.h5").read_bytes()


def test_a_network_without_blocks(tmp_path):
    params = {name: values for name, values in make_params().items() if name.startswith("CAM")}
    checkpoint.save(tmp_path / "c.h5", params, {})
    assert_equal(checkpoint.load(tmp_path / "c.h5"), (params, {}))
    assert list(keras.read(tmp_path / "c.h5")) == list(params)


def test_a_long_state_is_no_trouble(tmp_path):
    state = {"history": [0.1 * i for i in range(20_000)]}  # more text than an attribute of HDF5 holds
    checkpoint.save(tmp_path / "c.h5", make_params(), state)
    assert_equal(checkpoint.load(tmp_path / "c.h5")[1], state)


def test_nan_is_refused_and_the_last_good_checkpoint_stays(tmp_path):
    params = make_params()
    checkpoint.save(tmp_path / "c.h5", params, {"step": 1})
    good = (tmp_path / "c.h5").read_bytes()
    params["CAM_fc/bias"][1] = np.nan
    with pytest.raises(MinicamError, match="cannot save parameter CAM_fc/bias: it holds NaN or infinity"):
        checkpoint.save(tmp_path / "c.h5", params, {"step": 2})
    assert (tmp_path / "c.h5").read_bytes() == good
    assert os.listdir(tmp_path) == ["c.h5"]


@pytest.mark.parametrize(
    ("state", "message"),
    [
        ({"a": {"b": (1, 2)}}, "cannot save the state: a/b is a tuple; expected an array of numbers, str, int"),
        ({"a": [0, {1}]}, "cannot save the state: a/1 is a set; expected"),
        ({"a": np.int64(3)}, "a is a int64; expected"),
        ({"a": np.array(["x"])}, "a is an array of <U1; expected"),
        ({"a": np.array([None])}, "a is an array of object; expected"),
        ({"a": np.ones(2, "c16")}, "a is an array of complex128; expected"),
        ({"a": {3: 1}}, "cannot save the state: 3 in a is not a name"),
        ({"$array": "a"}, r"cannot save the state: '\$array' in it is not a name"),
        ({"a": np.ones(2), "a/b": np.ones(3)}, "cannot save the state: a would be an array and hold arrays"),
        ({"a": {"b": np.ones(2)}, "a/b": np.ones(3)}, "'a/b' names two arrays, or has a nameless part"),
        ({"a": {"..": np.ones(2)}}, r"'a/\.\.' names two arrays, or has a nameless part"),
        ({"a/": np.ones(2)}, "'a/' names two arrays, or has a nameless part"),
    ],
)
def test_a_state_that_cannot_be_saved(tmp_path, state, message):
    with pytest.raises(MinicamError, match=message):
        checkpoint.save(tmp_path / "c.h5", make_params(), state)
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_a_failure_while_writing_leaves_the_old_file(tmp_path, monkeypatch, step):
    checkpoint.save(tmp_path / "c.h5", make_params(), {"step": 1})

    def fail(*args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(hdf5.os, step, fail)
    with pytest.raises(MinicamError, match=r"cannot write .*c\.h5: No space left on device"):
        checkpoint.save(tmp_path / "c.h5", make_params(), {"step": 2})
    monkeypatch.undo()
    assert os.listdir(tmp_path) == ["c.h5"]
    assert checkpoint.load(tmp_path / "c.h5")[1] == {"step": 1}


def test_an_interrupted_write_leaves_the_old_file(tmp_path, monkeypatch):
    checkpoint.save(tmp_path / "c.h5", make_params(), {"step": 1})

    def interrupt(*args):
        raise KeyboardInterrupt

    monkeypatch.setattr(hdf5, "write_names", interrupt)
    with pytest.raises(KeyboardInterrupt):
        checkpoint.save(tmp_path / "c.h5", make_params(), {"step": 2})
    assert os.listdir(tmp_path) == ["c.h5"]
    assert checkpoint.load(tmp_path / "c.h5")[1] == {"step": 1}


def test_load_refuses_other_files(tmp_path):
    keras.write(tmp_path / "w.h5", make_params())
    with pytest.raises(MinicamError, match=r"w\.h5 is not a minicam checkpoint; weights alone are given by --weights"):
        checkpoint.load(tmp_path / "w.h5")


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda own: own.attrs.modify("format", 2), "was written by a newer minicam: its format is 2, this"),
        (lambda own: own.attrs.modify("format", 0), "is not a minicam checkpoint"),
        (lambda own: own.attrs.__delitem__("format"), "is not a minicam checkpoint"),
        (lambda own: own.__delitem__("json"), "/minicam has no dataset json"),
        (lambda own: own.__delitem__("layers"), "/minicam has no group layers"),
        (lambda own: own.__delitem__("state"), "/minicam has no dataset state/v"),
        (lambda own: own["state/v"].write_direct(np.zeros(3)) or own.move("state/v", "v"), "has no dataset state/v"),
        (lambda own: own["layers/CAM_fc/CAM_fc/bias:0"].write_direct(np.full(3, np.nan, "f4")), "bias:0 holds NaN"),
        (lambda own: own.__delitem__("json") or own.create_dataset("json", data=np.bytes_("{")), "is damaged"),
        (lambda own: own.__delitem__("json") or own.create_dataset("json", data=3), "json holds int64, expected text"),
    ],
)
def test_load_refuses_spoilt_checkpoints(tmp_path, spoil, message):
    checkpoint.save(tmp_path / "c.h5", make_params(), {"v": np.ones(3)})
    with h5py.File(tmp_path / "c.h5", "r+") as file:
        spoil(file["minicam"])
    with pytest.raises(MinicamError, match=message):
        checkpoint.load(tmp_path / "c.h5")


def test_load_follows_no_links(tmp_path):
    checkpoint.save(tmp_path / "c.h5", make_params(), {"v": np.ones(3)})
    with h5py.File(tmp_path / "c.h5", "r+") as file:
        del file["minicam/state/v"]
        file["minicam/state/v"] = h5py.ExternalLink("nowhere.h5", "/v")
    with pytest.raises(MinicamError, match="/minicam/state has a soft or external link, v: refused"):
        checkpoint.load(tmp_path / "c.h5")
