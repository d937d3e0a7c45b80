"""A run's folder: names, rows that are kept and forgotten, tables, and files that are whole or not there."""

import csv
import io
import json
import os
import subprocess
import sys
import time
from dataclasses import replace

import numpy as np
import pytest
import tiny

from minicam import MinicamError
from minicam.config import Config
from minicam.files import as_csv, locked, whole_folder, write_text
from minicam.inference import Located
from minicam.run import Run, new_folder, predictions_csv


@pytest.fixture
def run(tmp_path):
    return Run.create(tmp_path / "runs" / "one", Config(seed=5))


def test_a_new_run_opened_again_has_its_configuration(run):
    assert Run.open(run.folder).config == run.config
    assert [path.name for path in run.folder.iterdir()] == ["config.json"]


def test_a_new_folder_is_named_by_the_time_and_never_taken(tmp_path, monkeypatch):
    monkeypatch.setattr(time, "strftime", lambda pattern: "2017-03-03_10-00-00")
    names = []
    for _ in range(3):
        folder = new_folder(tmp_path)
        folder.mkdir()
        names.append(folder.name)
    assert names == ["2017-03-03_10-00-00", "2017-03-03_10-00-00_2", "2017-03-03_10-00-00_3"]


def full(*_, **__):
    raise OSError(28, "No space left on device")


def test_a_new_run_that_cannot_be_written_leaves_no_folder(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(MinicamError, match=r"cannot write .*config.json: No space left on device"):
        Run.create(tmp_path / "runs" / "one", Config())
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "mine").mkdir()
    with pytest.raises(MinicamError, match=r"cannot write .*config.json: No space left on device"):
        Run.create(tmp_path / "mine" / "one", Config())
    assert [path.name for path in tmp_path.rglob("*")] == ["mine"]


def test_a_row_that_cannot_be_written_is_told_in_one_line(run):
    (run.folder / "metrics.jsonl").mkdir()
    with pytest.raises(MinicamError, match=r"cannot write .*metrics.jsonl: Is a directory"):
        run.log(stage=1, step=0)


def rows_of(run):
    return [json.loads(line) for line in (run.folder / "metrics.jsonl").read_text().splitlines()]


def log_two_stages(run):
    """Two epochs of two steps in each of two stages."""
    for stage in (1, 2):
        for step in range(4):
            run.log(stage=stage, step=step, loss=0.5, lr=0.1)
            if step % 2:
                run.log(stage=stage, epoch=(step + 1) // 2, step=step, validation={})


@pytest.mark.parametrize(
    ("stage", "step", "epoch", "kept"),
    [(1, 0, 0, 0), (1, 1, 0, 1), (1, 2, 0, 2), (1, 2, 1, 3), (1, 3, 1, 4), (1, 4, 2, 6), (2, 0, 0, 6), (2, 3, 1, 10)],
)
def test_rows_after_the_checkpoint_are_forgotten(stage, step, epoch, kept, run):
    log_two_stages(run)
    before = rows_of(run)
    run.forget_after(stage, step, epoch)
    assert rows_of(run) == before[:kept]


def test_a_row_cut_short_is_forgotten(run):
    log_two_stages(run)
    before = rows_of(run)
    with (run.folder / "metrics.jsonl").open("a") as file:
        file.write('{"stage": 2, "step": 4, "lo')
    run.forget_after(2, 9, 9)
    assert rows_of(run) == before
    run.log(stage=2, step=4)
    assert rows_of(run) == [*before, {"stage": 2, "step": 4}]


def test_rows_that_are_none_are_forgotten(run):
    log_two_stages(run)
    before = rows_of(run)
    path = run.folder / "metrics.jsonl"
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join([*lines[:3], b'{"loss": 3}\n', b"[1]\n", b"\xff\xfe\n", *lines[3:]]))
    run.forget_after(2, 9, 9)
    assert rows_of(run) == before


@pytest.mark.parametrize("line", ['{"sta', "3", "[1]", '{"stage": 1}'])
def test_lines_of_trained_jsonl_that_are_none_are_told(line, run):
    signed = {"stage": 1, "commit": None, "dirty": None}
    run.sign(signed)
    assert run.trained_by() == [signed]
    (run.folder / "trained.jsonl").write_text(f"{json.dumps(signed)}\n{line}")
    with pytest.raises(MinicamError, match=r"trained.jsonl cannot be read \(.*\); put the run's own file back, or del"):
        run.sign(signed)


def test_there_may_be_no_rows_yet(run):
    run.forget_after(1, 0, 0)
    assert rows_of(run) == []


def data_set(names, split):
    images = [np.zeros((300, 400, 3), np.uint8)] * len(names)
    return replace(tiny.pictures(images), ids=tuple(names), split=split)


def test_boxes_are_written_and_crops_read_back_by_image(run):
    training, validation = data_set(["x", "y, z", "ü"], "training"), data_set(["x", "w"], "validation")
    found = []
    for dataset, first in ((training, 0), (validation, 20)):
        N = len(dataset)
        boxes = first + np.arange(4 * N).reshape(N, 4)
        found.append(Located(np.full((N, 3), 1 / 3), np.arange(N) % 3, boxes, boxes + 100))
    assert run.read_crops(training) is None
    run.write_boxes((training, validation), found)
    for dataset, located in ((training, found[0]), (validation, found[1])):
        np.testing.assert_array_equal(run.read_crops(dataset), located.crops)
    np.testing.assert_array_equal(run.read_crops(training.subset(np.array([2, 0]))), found[0].crops[[2, 0]])
    text = (run.folder / "boxes.csv").read_text(encoding="utf-8").splitlines()
    assert text[0] == "image_id,split,class,x0,y0,x1,y1,crop_x0,crop_y0,crop_x1,crop_y1"
    assert text[1] == "x,training,a,0,1,2,3,100,101,102,103"
    assert text[2].startswith('"y, z",training,b,')


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("training", "test"),
        ("100,", "?,"),
        ("crop_x0", "left"),
        ("image_id", "id"),
        ("100,", "102,"),  # where x1 is
        ("100,", "-1,"),
        ("103", "301"),  # below the image
    ],
)
def test_boxes_that_do_not_fit_are_refused(old, new, run):
    dataset = data_set(["x"], "training")
    boxes = np.array([[0, 1, 2, 3]])
    run.write_boxes((dataset,), (Located(np.ones((1, 3)), np.zeros(1, int), boxes, boxes + 100),))
    path = run.folder / "boxes.csv"
    path.write_text(path.read_text().replace(old, new))
    with pytest.raises(MinicamError, match=r"boxes.csv does not fit the training images \(.*\); delete it to find"):
        run.read_crops(dataset)


def test_predictions_have_a_column_a_task_and_always_a_decimal_point():
    dataset = data_set(["one", "two"], "test")
    text = predictions_csv(dataset, np.array([[0, 1, 0], [0.1, 0.3, 0.6]]))
    assert text == "image_id,b,c\none,1.000000,0.000000\ntwo,0.300000,0.600000\n"


def test_csv_that_a_reader_understands():
    rows = [("a,b", 'say "x"'), ("line\nbreak", "ä")]
    text = as_csv(("one", "two"), rows)
    assert [tuple(row) for row in csv.reader(io.StringIO(text))] == [("one", "two"), *rows]
    assert "\r" not in text


def test_a_file_that_cannot_be_written_leaves_nothing(tmp_path):
    with pytest.raises(MinicamError, match=r"cannot write .*: No such file or directory"):
        write_text(tmp_path / "missing" / "file", "text")
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_cannot_be_replaced_stays_as_it_was(tmp_path, monkeypatch):
    path = tmp_path / "file"
    write_text(path, "old")

    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(MinicamError, match=r"cannot write .*: No space left on device"):
        write_text(path, "new")
    monkeypatch.setattr(os, "replace", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write_text(path, "new")
    assert path.read_text() == "old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["file"]


def test_a_lock_is_held_by_one_process_at_a_time(tmp_path):
    path = tmp_path / "new" / "lock"
    with locked(path):
        code = "import sys, pathlib, minicam.files\nwith minicam.files.locked(pathlib.Path(sys.argv[1])): print('in')"
        other = subprocess.Popen([sys.executable, "-c", code, str(path)], stdout=subprocess.PIPE, text=True)
        with pytest.raises(subprocess.TimeoutExpired):
            other.wait(timeout=2)
    assert other.communicate(timeout=30)[0] == "in\n"


def test_a_folder_that_another_process_writes_into_is_left_to_it(tmp_path):
    """A lock is of whoever opens the folder: here that is the same process, twice."""
    with whole_folder(tmp_path / "out") as part:
        (part / "a.txt").write_text("mine")
        with pytest.raises(MinicamError, match=r"another process is writing into .*out; wait for it, or choose"):
            whole_folder(tmp_path / "out").__enter__()
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["a.txt"]
