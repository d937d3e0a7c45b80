"""Bad input to `python -m minicam.train`: exit code 2, one line that says what is wrong, and no folder left behind."""

import json

import numpy as np
import pytest
import tiny
from PIL import Image

from minicam.train import main
from minicam.weights import keras


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    """An empty folder, in which the command runs."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def refusal(capsys, *arguments):
    """What the command says when it refuses."""
    assert main([str(argument) for argument in arguments]) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    (line,) = printed.err.splitlines()
    return line.removeprefix("minicam: ")


@pytest.mark.parametrize(
    ("option", "value", "wanted"),
    [
        ("size", "0", "at least 1"),
        ("epochs", "0", "at least 1"),
        ("epochs", "-3", "at least 1"),
        ("batch", "0", "at least 1"),
        ("limit", "0", "at least 1"),
        ("lr", "0.0", "a positive number"),
        ("lr", "-1.0", "a positive number"),
        ("lr", "nan", "a positive number"),
        ("lr", "inf", "a positive number"),
        ("momentum", "1.0", "at least 0 and less than 1"),
        ("momentum", "nan", "at least 0 and less than 1"),
        ("dropout", "1.0", "at least 0 and less than 1"),
        ("threshold", "-0.1", "at least 0 and less than 1"),
        ("weight-decay", "-0.5", "0 or more"),
        ("weight-decay", "inf", "0 or more"),
        ("padding", "-0.5", "0 or more"),
        ("minimum", "1.5", "from 0 to 1"),
        ("minimum", "nan", "from 0 to 1"),
        ("seed", "-1", "0 or more"),
        ("warmup", "-1", "0 or more"),
    ],
)
def test_a_value_that_cannot_be(option, value, wanted, capsys, here):
    assert refusal(capsys, f"--{option}", value) == f"--{option} is {value}; it must be {wanted}"
    assert list(here.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--epochs", "many"], "argument --epochs: invalid int value: 'many'; --help shows all options"),
        (["--device", "tpu"], "argument --device: invalid choice: 'tpu'"),
        (["--layout", "flat"], "argument --layout: invalid choice: 'flat'"),
        (["--schedule", "linear"], "argument --schedule: invalid choice: 'linear'"),
        (["--network", "vgg"], "argument --network: invalid choice: 'vgg'"),
        (["--batches", "3"], "unrecognized arguments: --batches 3; --help shows all options"),
        (["--rates", "CAM_fc"], "argument --rates: 'CAM_fc' is not a list such as CAM_conv=10,CAM_fc=10; --help"),
        (["--rates", "CAM_fc=-1"], "--rates is {'CAM_fc': -1.0}; it must be factors of 0 or more"),
        (["--rates", "CAM_fc=nan"], "--rates is {'CAM_fc': nan}; it must be factors of 0 or more"),
        (["--rates", "CAM_fc/scale=2"], "--rates names CAM_fc/scale, which is no layer; choose from block1_conv1, bl"),
        (["--rates", "CAM=2"], "--rates names CAM, which is no layer; choose from block1_conv1, block2_conv1, block3_"),
        (["--augment", "flip,spin"], "augmentation 'spin' is not known; choose from flip, turn, rotate, crop, scale,"),
        (["--train-from", "block9"], "there is no layer 'block9' to train from; choose one of block1_conv1, block2_c"),
        (["--size", "3"], "--size is 3; small_gap needs at least 4"),
        (
            ["--network", "vgg16_gap", "--weights", "none", "--region", "predicted", "--size", "15"],
            "--size is 15; vgg16_gap needs at least 16",
        ),
        (["--workers", "0"], "--workers is 0; it must be at least 1"),
        (["--device", "cpu", "--precision", "tf32"], "--precision tf32 needs the matrix units of a GPU"),
        (["--data", "nowhere"], "the data folder HERE/nowhere is not there; check the path"),
        (["--layout", "folder"], "--layout says how the folder of --data is laid out; give --data DIR, or leave out"),
        (["--data", ".", "--layout", "isic"], "HERE/ISIC-2017_Training_Data is not there; get https://"),
        (["--data", "."], "HERE holds no labelled images: expected a CSV file with the columns image,label, or images"),
        (["--weights", "w.h5"], "HERE/w.h5 is not there; fetch it with `python -m minicam.weights download`, name"),
        (["--resume", "nowhere"], "nowhere is not a folder; give the folder of a run, as minicam.train printed it"),
        (["--resume", "."], ". is not the folder of a run: it has no config.json"),
        (["--resume", ".", "--epochs", "3"], "--resume continues a run as it was configured; leave out --epochs, or"),
        (["--resume", ".", "--no-square"], "--resume continues a run as it was configured; leave out --square, or"),
        (["--resume", ".", "--train-from", "x"], "--resume continues a run as it was configured; leave out --train-fr"),
        (["--resume", ".", "--out", "x"], "--resume continues a run as it was configured; leave out --out, or start a"),
    ],
    ids=" ".join,
)
def test_options_that_are_refused(arguments, said, capsys, here):
    assert refusal(capsys, *arguments).startswith(said.replace("HERE", str(here)))
    assert list(here.iterdir()) == []


def test_out_that_holds_something(capsys, here):
    (here / "full").mkdir()
    (here / "full" / "notes.txt").write_text("mine")
    said = "full exists already; choose a new folder with --out, or continue it with --resume"
    assert refusal(capsys, *tiny.options(), "--out", "full") == said
    assert [path.name for path in (here / "full").iterdir()] == ["notes.txt"]
    assert refusal(capsys, *tiny.options(), "--out", "full/notes.txt") == said.replace("full", "full/notes.txt")
    assert (here / "full" / "notes.txt").read_text() == "mine"
    assert refusal(capsys, *tiny.options(), "--out", "full/notes.txt/run").startswith("cannot write the run to full/")


@pytest.mark.parametrize("name", ["data", "weights"])
def test_a_place_without_a_name(name, capsys, here):
    """As a variable of the shell that is not set gives it, and not the folder in which one stands."""
    said = f"--{name} is empty, as where a variable of the shell is not set; name a place"
    assert refusal(capsys, *tiny.options(), f"--{name}", "") == said


@pytest.mark.parametrize("name", ["out", "resume", "cache-features"])
def test_a_folder_without_a_name(name, capsys, here):
    said = refusal(capsys, *tiny.options(), f"--{name}", "")
    assert said.startswith(f"argument --{name}: it is empty, as where a variable of the shell is not set")
    assert list(here.iterdir()) == []


def test_an_empty_folder_as_out_is_taken(here):
    (here / "empty").mkdir()
    assert tiny.train("empty", epochs=1) == 0
    assert (here / "empty" / "summary.json").exists()


def test_without_out_a_new_folder_under_runs(here, capsys):
    assert main(tiny.options(epochs=1)) == 0
    (folder,) = (here / "runs").iterdir()
    assert capsys.readouterr().out.splitlines()[0] == f"run: runs/{folder.name}"


def test_weights_of_another_network(capsys, here):
    kernel, bias = np.ones((3, 3, 3, 5), np.float32), np.ones(5, np.float32)
    keras.write("other.h5", {"block1_conv1/kernel": kernel, "block1_conv1/bias": bias})
    assert "other.h5" in refusal(capsys, *tiny.options(), "--weights", "other.h5", "--out", "run")
    assert not (here / "run").exists()


def test_weights_that_are_damaged(capsys, here):
    (here / "bad.h5").write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(100))
    assert "bad.h5 is damaged" in refusal(capsys, *tiny.options(), "--weights", "bad.h5", "--out", "run")
    assert not (here / "run").exists()


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"augment": [], "epochz": 3}'])
def test_a_configuration_of_something_else(text, capsys, here):
    (here / "run").mkdir()
    (here / "run" / "config.json").write_text(text)
    said = refusal(capsys, "--resume", "run")
    assert said.startswith("run/config.json is not a configuration of this version of minicam: ")


def test_a_configuration_with_a_value_that_cannot_be(capsys, here):
    (here / "run").mkdir()
    (here / "run" / "config.json").write_text(json.dumps({"augment": [], "batch": -2}))
    assert refusal(capsys, "--resume", "run") == "run/config.json: --batch is -2; it must be at least 1"
    (here / "run" / "config.json").write_text(json.dumps({"augment": [], "lr": "x"}))
    assert refusal(capsys, "--resume", "run") == "run/config.json: --lr is x; it must be a number"
    (here / "run" / "config.json").write_text(json.dumps({"augment": [], "network": "resnet"}))
    said = "run/config.json: --network is resnet; it must be one of vgg16_gap, small_gap"
    assert refusal(capsys, "--resume", "run") == said


def failure(capsys, *arguments):
    """What the command says when it finds something wrong on the way."""
    assert main([str(argument) for argument in arguments]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    return line.removeprefix("minicam: ")


def test_a_damaged_checkpoint(capsys, here):
    assert tiny.train("run", epochs=1) == 0
    data = (here / "run" / "stage2.h5").read_bytes()
    (here / "run" / "stage2.h5").write_bytes(data[: len(data) // 2])
    capsys.readouterr()
    assert failure(capsys, "--resume", "run").startswith("run/stage2.h5 is truncated")


def test_boxes_of_other_images(capsys, here):
    assert tiny.train("run", epochs=1) == 0
    path = here / "run" / "boxes.csv"
    path.write_text(path.read_text().replace("training", "test"))
    capsys.readouterr()
    said = failure(capsys, "--resume", "run")
    assert said.startswith("run/boxes.csv does not fit the training images (")
    assert said.endswith("); delete it to find the boxes again")


def test_a_damaged_image_found_while_training(capsys, here):
    for name in ("a", "b"):
        (here / "data" / name).mkdir(parents=True)
        for i in range(4):
            Image.fromarray(np.full((20, 30, 3), 50 * i + 10, np.uint8)).save(here / "data" / name / f"{i}.png")
            whole = (here / "data" / name / f"{i}.png").read_bytes()
            (here / "data" / name / f"{i}.png").write_bytes(whole[:-30])
    options = tiny.options(data="data", network="small_gap", weights="none", limit=None)
    assert "is damaged or cut short" in failure(capsys, *options, "--out", "run")
