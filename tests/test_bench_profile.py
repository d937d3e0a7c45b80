"""`python -m minicam.bench profile`: its parts add up, and it leaves everything as it was."""

import json

import pytest

from minicam.bench import profile
from minicam.bench.__main__ import main
from minicam.layers import Conv
from minicam.ops import winograd


@pytest.fixture(autouse=True)
def always(monkeypatch):
    """Every 3x3 convolution in Winograd's form, small as they are here."""
    monkeypatch.setattr(winograd, "suits", lambda x, w, backward=False: w[:2] == (3, 3))


def test_the_parts_and_the_rest_are_the_total(tmp_path, capsys):
    before = {name: getattr(winograd, name) for name in profile.PARTS}
    path = tmp_path / "profile.json"
    options = "--network small_gap --batch 2 --size 32 --threads 2 --repeats 2 --json"
    assert main(["profile", *options.split(), str(path)]) == 0
    assert {name: getattr(winograd, name) for name in profile.PARTS} == before
    found = json.loads(path.read_text())
    command = "python -m minicam.bench profile --network small_gap --batch 2 --size 32 --repeats 2 --threads 2"
    assert found["command"] == command
    parts = [*profile.PARTS.values(), "rest"]
    for row in found["rows"]:
        assert row["total"] == pytest.approx(sum(row[part] for part in parts), rel=1e-2)
    names = [(row["layer"], row["direction"]) for row in found["rows"]]
    assert names[0] == ("block1_conv1", "forward")
    assert names[-1] == ("block1_conv1", "backward")
    rows = dict(zip(names, found["rows"], strict=True))
    assert all(rows["CAM_conv", "backward"][part] > 0 for part in parts[:-1])
    assert rows["CAM_conv", "forward"]["kernels back"] == 0
    assert rows["block1_conv1", "backward"]["interpolate"] == 0  # images need no gradient
    assert not any(rows["GAP", "forward"][part] for part in parts[:-1])
    sums = found["sums"]
    assert sums["step"] == pytest.approx(sums["total"] + sums["update and loss"], rel=1e-2)
    printed = capsys.readouterr().out
    assert "| CAM_conv     | backward  |" in printed
    assert "a step takes" in printed


def test_the_layers_are_given_back():
    layer = Conv("conv", None, None)
    with profile.watched([layer], 1):
        assert "forward" in vars(layer)
    assert not {"forward", "backward"} & vars(layer).keys()
