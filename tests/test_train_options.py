"""`python -m minicam.train`: what its options do, and what its help says of them."""

import json
import math

import numpy as np
import pytest
import tiny

from minicam.choices import _shown
from minicam.model import small_gap
from minicam.train import main, parser
from minicam.weights import checkpoint, keras


def test_stage_2_starts_from_stage_1_or_from_the_start(tmp_path):
    """With a learning rate of next to nothing its parameters stay where they started."""
    slow = {"lr": 1e-30, "epochs": 1}
    assert tiny.train(tmp_path / "a", stage2_from="stage1", epochs=1) == 0
    assert tiny.train(tmp_path / "b", stage2_from="start", epochs=1, **{"dropout": 0}) == 0
    first = json.loads((tmp_path / "b" / "metrics.jsonl").read_text().splitlines()[4])
    assert (first["stage"], first["step"]) == (2, 0)
    assert first["loss"] == pytest.approx(math.log(3), rel=1e-6)
    again = json.loads((tmp_path / "a" / "metrics.jsonl").read_text().splitlines()[4])
    assert abs(again["loss"] - math.log(3)) > 1e-4
    assert tiny.train(tmp_path / "c", **slow) == 0
    start = small_gap(3, tiny.OPTIONS["seed"]).params()
    for stage in (1, 2):
        params, _ = checkpoint.load(tmp_path / "c" / f"stage{stage}.h5")
        for name, array in params.items():
            np.testing.assert_allclose(array, start[name], atol=1e-20)


def test_train_from_leaves_the_layers_below_as_they_were(tmp_path):
    assert tiny.train(tmp_path / "run", train_from="block3_conv1", stage2_from="stage1", epochs=1) == 0
    start = small_gap(3, tiny.OPTIONS["seed"]).params()
    for stage in (1, 2):
        params, state = checkpoint.load(tmp_path / "run" / f"stage{stage}.h5")
        same = {name for name, array in params.items() if array.tobytes() == start[name].tobytes()}
        below = {f"{layer}/{kind}" for layer in ("block1_conv1", "block2_conv1") for kind in ("kernel", "bias")}
        assert same == below
        assert state["velocity"].keys() == params.keys() - below


def test_weights_are_where_stage_1_starts(small_run, tmp_path):
    """A checkpoint of minicam is a file of weights, too."""
    weights = small_run / "stage2.h5"
    assert tiny.train(tmp_path / "run", weights=weights, lr=1e-30, epochs=1) == 0
    mine, _ = checkpoint.load(tmp_path / "run" / "stage1.h5")
    theirs, _ = checkpoint.load(weights)
    for name, array in theirs.items():
        np.testing.assert_allclose(mine[name], array, atol=1e-20)


def test_a_weights_file_of_other_classes_gives_all_but_the_last_layer(tmp_path):
    weights = small_gap(classes=2, seed=9).params()
    weights["CAM_fc/kernel"] += 1
    keras.write(tmp_path / "two.h5", weights)
    assert tiny.train(tmp_path / "run", weights=tmp_path / "two.h5", lr=1e-30, epochs=1) == 0
    params, _ = checkpoint.load(tmp_path / "run" / "stage1.h5")
    for name, array in params.items():
        np.testing.assert_allclose(array, 0 if name.startswith("CAM_fc") else weights[name], atol=1e-20)


def test_rates_may_be_none():
    assert parser().parse_args(["--rates", "none"]).rates == {}


def test_rates_of_single_layers_are_used(tmp_path):
    assert tiny.train(tmp_path / "run", rates="block1_conv1=0,CAM_conv=2,block2_conv1/bias=0", epochs=1) == 0
    params, _ = checkpoint.load(tmp_path / "run" / "stage1.h5")
    start = small_gap(3, tiny.OPTIONS["seed"]).params()
    same = [name for name, array in params.items() if array.tobytes() == start[name].tobytes()]
    assert same == ["block1_conv1/kernel", "block1_conv1/bias", "block2_conv1/bias"]


@pytest.fixture
def help_text(capsys, monkeypatch):
    """What --help says, its words with single spaces between, whatever the terminal."""
    monkeypatch.setenv("COLUMNS", "80")
    with pytest.raises(SystemExit) as caught:
        main(["--help"])
    assert caught.value.code == 0
    return " ".join(capsys.readouterr().out.split())


def test_help_names_every_option(help_text):
    for name in (*tiny.OPTIONS, "data", "layout", "weights", "out", "train-from", "workers", "device", "resume"):
        assert f"--{name} " in help_text, name
    assert "{auto,cpu,cuda,emulator}" in help_text


@pytest.mark.parametrize(
    "said",
    [
        "as published, or your own (the built-in set)",
        "of that folder (auto)",
        "stratified by class (all)",
        "or none (none; with --data: weights/vgg16_weights_tf_dim_ordering_tf_kernels_notop.h5)",
        "those below stay as they are (all; with --data: block5_conv1)",
        "everything that is drawn at random (0)",
    ],
)
def test_help_says_what_is_done_without_an_option(help_text, said):
    assert said in help_text


@pytest.mark.parametrize(
    ("name", "value", "shown"),
    [
        ("data", None, "the built-in set"),
        ("weights", None, "none"),
        ("limit", None, "all"),
        ("dropout", 0.0, "0.0"),
        ("lr", 1.0, "1.0"),
        ("seed", 0, "0"),
        ("epochs", 1, "1"),
        ("square", True, "yes"),
        ("square", False, "no"),
        ("schedule", "cosine", "cosine"),
        ("augment", ("flip", "turn"), "flip,turn"),
        ("augment", (), "none"),
        ("rates", {"CAM_conv": 10.0, "CAM_fc": 0.5}, "CAM_conv=10,CAM_fc=0.5"),
        ("rates", {}, "none"),
    ],
)
def test_defaults_in_help(name, value, shown):
    assert _shown(name, value) == shown
