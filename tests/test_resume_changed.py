"""A run that is resumed where something has changed around it: its images, weights, checkpoints, or the folder."""

import json
import shutil

import numpy as np
import pytest
import tiny
from PIL import Image

from minicam import evaluate
from minicam.model import small_gap
from minicam.run import Run
from minicam.train import main
from minicam.weights import checkpoint, keras

OWN = {"network": "small_gap", "weights": "none", "limit": None, "epochs": 1}


def pictures(place, count):
    """Pictures of noise: place/0.png and so on."""
    place.mkdir(parents=True)
    rng = np.random.default_rng(count)
    for i in range(count):
        Image.fromarray(rng.integers(0, 255, (23, 31, 3), np.uint8)).save(place / f"{i}.png")


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A folder with the finished `run` of the images in `data`. Shared: change a copy of it only."""
    folder = tmp_path_factory.mktemp("changed")
    for split, count in (("training", 3), ("validation", 2)):
        for label in ("blue", "red"):
            pictures(folder / "data" / split / label, count)
    assert tiny.train(folder / "run", **OWN, data=folder / "data") == 0
    return folder


@pytest.fixture
def copy(finished, tmp_path):
    """A copy of it, whose run is of the copied images, with the second stage still to do."""
    folder = shutil.copytree(finished, tmp_path / "copy")
    config = (folder / "run" / "config.json").read_text()
    (folder / "run" / "config.json").write_text(config.replace(str(finished), str(folder)))
    (folder / "run" / "stage2.h5").unlink()
    return folder


def failure(capsys, *arguments, command=main):
    """What the command says when it refuses."""
    capsys.readouterr()
    assert command([str(argument) for argument in arguments]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    return line.removeprefix("minicam: ")


def renamed(data):
    (data / "training" / "red" / "1.png").rename(data / "training" / "red" / "one.png")


def of_another_class(data):
    (data / "training" / "red" / "1.png").rename(data / "training" / "blue" / "a.png")


def one_less(data):
    (data / "validation" / "red" / "1.png").unlink()


def another_class(data):
    pictures(data / "training" / "green", 2)


@pytest.mark.parametrize("change", [renamed, of_another_class, one_less, another_class])
def test_other_images_are_refused(change, copy, capsys):
    change(copy / "data")
    assert failure(capsys, "--resume", copy / "run") == (
        f"the images in {copy / 'data'} are not those the run was trained on (their names, labels or classes differ); "
        "put those back, or start a new run"
    )
    assert not (copy / "run" / "stage2.h5").exists()


@pytest.mark.parametrize("change", [renamed, of_another_class, one_less])
def test_other_images_are_not_evaluated_as_those_of_the_run(change, finished, copy, capsys):
    """They may be dealt out anew, and what was learned from then stands among those that are scored."""
    shutil.copy(finished / "run" / "stage2.h5", copy / "run")
    run = [copy / "run", "--split", "validation", "--out"]
    assert evaluate.main([str(part) for part in [*run, copy / "before"]]) == 0
    change(copy / "data")
    line = failure(capsys, *run, copy / "after", command=evaluate.main)
    assert line.startswith(f"the images in {copy / 'data'} are not those the run was trained on (")
    assert not (copy / "after").exists()
    assert evaluate.main([str(part) for part in [*run, copy / "after", "--data", copy / "data"]]) == 0


def test_the_same_images_are_not(copy, finished):
    assert main(["--resume", str(copy / "run")]) == 0
    assert tiny.parameters(copy / "run", 2) == tiny.parameters(finished / "run", 2)


def test_other_built_in_images_are_refused(tmp_path, capsys):
    """As those of another version of minicam would be."""
    assert tiny.train(tmp_path / "run", epochs=1) == 0
    params, state = checkpoint.load(tmp_path / "run" / "stage1.h5")
    checkpoint.save(tmp_path / "run" / "stage1.h5", params, state | {"data": "0" * 16})
    line = failure(capsys, "--resume", tmp_path / "run")
    assert line.startswith("the built-in images are not those the run was trained on (")


@pytest.mark.parametrize("name", ["progress", "velocity", "classes", "tasks", "data"])
def test_a_checkpoint_that_is_none_of_a_run_is_refused(name, copy, capsys):
    path = copy / "run" / "stage1.h5"
    params, state = checkpoint.load(path)
    said = f"{path} is not the checkpoint of a training run of this version: its state lacks {name}; put the run's own "
    for changed in ({k: v for k, v in state.items() if k != name}, state | {name: None}):
        checkpoint.save(path, params, changed)
        assert failure(capsys, "--resume", copy / "run").startswith(said)
        assert failure(capsys, copy / "run", "--split", "validation", command=evaluate.main).startswith(said)


def test_a_checkpoint_with_half_a_progress_is_refused(copy, capsys):
    path = copy / "run" / "stage1.h5"
    params, state = checkpoint.load(path)
    checkpoint.save(path, params, state | {"progress": {"finished": True}})
    assert "its state lacks progress; put the run's own file back" in failure(capsys, "--resume", copy / "run")


@pytest.fixture
def weights(tmp_path):
    """A file of weights with a last layer that is not zero."""
    params = small_gap(seed=8).params()
    params["CAM_fc/kernel"] += 0.01
    keras.write(tmp_path / "w.h5", params)
    return tmp_path / "w.h5"


def test_the_weights_may_be_gone_where_a_checkpoint_takes_their_place(weights, tmp_path):
    whole, run = tmp_path / "whole", tmp_path / "run"
    assert tiny.train(whole, weights=weights, epochs=1) == 0
    shutil.copytree(whole, run)
    (run / "stage2.h5").unlink()
    weights.unlink()
    assert main(["--resume", str(run)]) == 0
    tiny.assert_same_run(whole, run)


def test_the_weights_are_needed_where_stage_2_starts_with_them(weights, tmp_path, capsys):
    run = tmp_path / "run"
    assert tiny.train(run, weights=weights, epochs=1, stage2_from="start") == 0
    before = tiny.parameters(run, 2)
    weights.rename(tmp_path / "hidden.h5")
    assert main(["--resume", str(run)]) == 0
    (run / "stage2.h5").unlink()
    assert failure(capsys, "--resume", run).startswith(f"{weights} is not there; fetch it with")
    (tmp_path / "hidden.h5").rename(weights)
    assert main(["--resume", str(run)]) == 0
    assert tiny.parameters(run, 2) == before


def test_a_run_goes_on_from_another_folder(weights, finished, tmp_path, monkeypatch, capsys):
    shutil.copytree(finished / "data", tmp_path / "data")
    monkeypatch.chdir(tmp_path)
    assert tiny.train("run", **OWN | {"weights": "w.h5"}, data="data", stage2_from="start") == 0
    config = json.loads((tmp_path / "run" / "config.json").read_text())
    assert (config["data"], config["weights"]) == (str(tmp_path / "data"), str(weights))
    (tmp_path / "run" / "stage2.h5").unlink()
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert main(["--resume", "../run"]) == 0
    assert evaluate.main(["../run", "--split", "validation"]) == 0


def test_what_a_killed_process_left_is_removed_by_the_stage_that_goes_on(copy):
    """Not when a run is only looked at: another process may be writing that file right now."""
    left = copy / "run" / "stage2.h5.12345.tmp"
    left.write_bytes(b"half")
    Run.open(copy / "run")
    assert left.exists()
    assert main(["--resume", str(copy / "run")]) == 0
    assert not left.exists()
