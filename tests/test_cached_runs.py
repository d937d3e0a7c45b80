"""Runs with --cache-features: what is kept changes no byte of a run, whoever has computed it; and what is refused."""

import json
import os
import shutil
import signal
import time
from types import SimpleNamespace

import numpy as np
import pytest
import tiny
from PIL import Image

from minicam import controls, evaluate, shortcuts
from minicam.config import Config
from minicam.data.synthetic import SyntheticDataset
from minicam.layers import Conv
from minicam.run import Run
from minicam.train import main, open_data

FROZEN = {"train-from": "CAM_conv", "augment": "flip,turn"}


def train(folder, cache, **changes):
    """A tiny run with its features in `cache`; None: without the option."""
    return tiny.train(folder, **FROZEN | {"cache-features": cache} | changes)


@pytest.fixture(scope="module")
def cold(tmp_path_factory):
    """A folder with a finished `run` and the `cache` that it has filled. Shared: change a copy of it only."""
    folder = tmp_path_factory.mktemp("cached")
    assert train(folder / "run", folder / "cache") == 0
    return folder


def losses(folder):
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [row["loss"] for row in rows if "loss" in row]


def test_a_run_is_the_same_but_for_rounding(cold, tmp_path):
    assert train(tmp_path / "run", None, limit=12) == 0
    np.testing.assert_allclose(losses(tmp_path / "run"), losses(cold / "run"), rtol=0, atol=2e-3)
    mine, theirs = (Run.open(folder / "run").trained(2).network.params() for folder in (tmp_path, cold))
    for name, array in mine.items():
        np.testing.assert_allclose(array, theirs[name], rtol=0, atol=2e-3)
    configs = [json.loads((folder / "run" / "config.json").read_text()) for folder in (tmp_path, cold)]
    assert [config.pop("float16_features") for config in configs] == [False, True]
    assert configs[0] == configs[1]


def test_a_second_run_reads_no_pixels_and_runs_no_frozen_layer(cold, tmp_path, monkeypatch):
    """But for the pictures that it makes for people."""
    seen, forward, image = [], Conv.forward, SyntheticDataset.image
    monkeypatch.setattr(Conv, "forward", lambda self, *args: seen.append(self.name) or forward(self, *args))
    monkeypatch.setattr(SyntheticDataset, "image", lambda self, *args: seen.append("pixels") or image(self, *args))
    monkeypatch.setattr("minicam.train.sheet_of_cams", lambda *_: Image.new("RGB", (9, 9)))
    assert train(tmp_path / "run", shutil.copytree(cold / "cache", tmp_path / "cache")) == 0
    assert set(seen) == {"CAM_conv"}
    assert tiny.parameters(tmp_path / "run", 2) == tiny.parameters(cold / "run", 2)


def test_a_second_run_is_the_first_byte_for_byte(cold, tmp_path, computed):
    assert train(tmp_path / "run", shutil.copytree(cold / "cache", tmp_path / "cache")) == 0
    tiny.assert_same_run(cold / "run", tmp_path / "run")
    assert computed == []


def test_other_runs_find_the_whole_images_and_change_nothing(cold, tmp_path, computed):
    """Other batches, another learning rate, and so other crops: stage 1 draws the variants of the first two epochs."""
    cache = shutil.copytree(cold / "cache", tmp_path / "cache")
    assert train(tmp_path / "other", cache, batch=7, lr=0.03, workers=1) == 0
    assert 0 < len(computed) <= 3 * 12 + 12  # those of stage 2, at most
    (tmp_path / "empty").mkdir()
    assert train(tmp_path / "before", tmp_path / "empty", batch=7, lr=0.03) == 0
    tiny.assert_same_run(tmp_path / "before", tmp_path / "other")
    assert train(tmp_path / "run", tmp_path / "empty") == 0
    tiny.assert_same_run(cold / "run", tmp_path / "run")


@pytest.mark.parametrize(("stage", "step"), [(1, 0), (1, 4), (2, 1)])
@pytest.mark.parametrize("cached", [True, False], ids=["with its cache", "without"])
def test_stopped_and_resumed(stage, step, cached, stop_after, cold, tmp_path, capsys):
    run, cache = tmp_path / "run", tmp_path / "cache"
    stop_after(stage, step)
    assert train(run, cache) == 130
    line = capsys.readouterr().err.splitlines()[0]
    assert line == f"stopped; continue with: python -m minicam.train --resume {run} --cache-features {cache}"
    assert main(["--resume", str(run), *(["--cache-features", str(cache)] if cached else [])]) == 0
    tiny.assert_same_run(cold / "run", run)


def test_stage_2_that_starts_anew_has_the_same_frozen_layers(tmp_path, computed):
    options = {"stage2-from": "start", "epochs": 1, "threshold": 0.0, "padding": 9}  # so that crops are whole images
    assert train(tmp_path / "run", tmp_path / "cache", **options) == 0
    assert len(list((tmp_path / "cache").iterdir())) == 1
    computed.clear()
    (tmp_path / "run" / "stage2.h5").unlink()
    assert main(["--resume", str(tmp_path / "run"), "--cache-features", str(tmp_path / "cache")]) == 0
    assert computed == []


def test_evaluated_it_says_what_it_said_in_training(cold, tmp_path):
    run, out = cold / "run", tmp_path / "out"
    assert evaluate.main([str(run), "--split", "validation", "--limit", "12", "--out", str(out)]) == 0
    for name in ("predictions_stage1.csv", "predictions_stage2.csv"):
        assert (out / name).read_bytes() == (run / name).read_bytes()


def test_controls_share_a_cache(tmp_path, computed):
    options = [*tiny.options(**FROZEN, epochs=1, seed=None, threshold=0.8), "--seeds", "3"]
    rows = []
    for name in ("a", "b"):
        cache = ["--cache-features", str(tmp_path / "cache")]
        assert controls.main([*options, *cache, "--out", str(tmp_path / name)]) in (0, 1)
        rows.append(json.loads((tmp_path / name / "seed3" / "row.json").read_text()) | {"seconds": 0})
        assert bool(computed) == (name == "a")
        computed.clear()
    assert rows[0] == rows[1]


# -- as processes of their own


def test_two_at_the_same_time(cold, tmp_path):
    options = tiny.options(**FROZEN | {"cache-features": tmp_path / "cache"})
    started = [tiny.start(*options, "--out", tmp_path / name) for name in ("a", "b")]
    for process, name in zip(started, ("a", "b"), strict=True):
        _, error = process.communicate(timeout=60)
        assert (process.returncode, error) == (0, "")
        tiny.assert_same_run(cold / "run", tmp_path / name)
    ours, theirs = ({p.parent.name: p.stat().st_size for p in f.glob("cache/*/arrays")} for f in (tmp_path, cold))
    assert ours == theirs


def test_one_that_is_killed_leaves_what_it_had_computed(cold, tmp_path, computed):
    cache = tmp_path / "cache"
    process = tiny.start(*tiny.options(**FROZEN | {"cache-features": cache}), "--out", tmp_path / "killed")
    deadline = time.monotonic() + 60
    while not any(path.stat().st_size for path in cache.glob("*/index")):
        assert process.poll() is None, process.stderr.read()
        assert time.monotonic() < deadline
        time.sleep(0.002)
    os.kill(process.pid, signal.SIGKILL)
    process.communicate(timeout=60)
    assert train(tmp_path / "run", cache) == 0
    tiny.assert_same_run(cold / "run", tmp_path / "run")
    all_of_them = sum(path.stat().st_size // 20 for path in cache.glob("*/index"))
    assert len(computed) < all_of_them


# -- what is refused


NONE_FROZEN = "--cache-features keeps what the layers below --train-from compute, and here all layers learn; name a"


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"train-from": None}, NONE_FROZEN),
        ({"train-from": "block1_conv1"}, NONE_FROZEN),
        ({"augment": "flip,rotate"}, "--cache-features keeps each variant of an image, and --augment rotate makes the"),
        ({"augment": "colour"}, "--cache-features keeps each variant of an image, and --augment colour makes them wit"),
        ({"cache-features": "file"}, "cannot keep features in file: it is a file; make room or name another folder"),
        ({"cache-features": "file/a"}, "cannot keep features in file/a: HERE/file is a file; make room or name"),
    ],
    ids=str,
)
@pytest.mark.parametrize("command", [main, controls.main], ids=["train", "controls"])
def test_options_that_are_refused(command, changes, said, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("mine")
    options = tiny.options(**FROZEN | {"cache-features": "kept", "seed": None} | changes)
    assert tiny.refused(command, capsys, *options, "--out", "run").startswith(said.replace("HERE", str(tmp_path)))
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_disk_that_is_too_small_is_told_before_a_folder_is_made(tmp_path, monkeypatch, capsys):
    """12 images as they are and in 2 of their variants, 12 of validation; then 2 of each crop, and 12 of validation."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=1))
    line = tiny.refused(main, capsys, *tiny.options(**FROZEN), "--cache-features", "kept")
    assert line == (
        f"--cache-features may need {84 * 1024:,} bytes (84 variants of images, with those of crops, of 1,024 bytes), "
        "and kept has 1 free; make room, name another folder, or leave it out"
    )
    assert list(tmp_path.iterdir()) == []


def test_a_disk_that_is_full_later(cold, tmp_path, monkeypatch, capsys):
    run, cache, pwrite, done = tmp_path / "run", tmp_path / "cache", os.pwrite, []

    def filling(*args):
        done.append(args)
        if len(done) > 30:
            raise OSError(28, "No space left on device")
        return pwrite(*args)

    monkeypatch.setattr(os, "pwrite", filling)
    assert train(run, cache) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert f"cannot keep features in {cache}" in line
    assert "No space left on device; make room or name another folder with --cache-features, or leave it out" in line
    assert main(["--resume", str(run)]) == 0
    tiny.assert_same_run(cold / "run", run)
    monkeypatch.undo()


def test_a_run_that_does_not_round_cannot_begin_to(tmp_path, capsys):
    run = Run.create(tmp_path / "run", Config(train_from="CAM_conv")).folder
    said = "--cache-features rounds, and would change what this run computes; leave it out"
    assert tiny.refused(main, capsys, "--resume", run, "--cache-features", "kept") == said


def test_a_configuration_from_before_there_was_a_cache(tmp_path):
    values = json.loads(Config(train_from="CAM_conv").text())
    del values["float16_features"]
    (tmp_path / "config.json").write_text(json.dumps(values))
    assert Config.load(tmp_path / "config.json") == Config(train_from="CAM_conv")


def test_features_of_painted_images_are_not_kept(cold, tmp_path, monkeypatch):
    """What is painted depends on masks and on the code that paints, of which the name of a feature knows nothing."""
    run = Run.open(cold / "run")
    painted = shortcuts.Painted.over(open_data(run.config)[1], "lesion")

    def predictions(name, cache):
        evaluate.evaluate(run, painted, tmp_path / name, cache=cache)
        return (tmp_path / name / "predictions_stage1.csv").read_bytes()

    cache = shutil.copytree(cold / "cache", tmp_path / "cache")
    first = predictions("first", cache)
    monkeypatch.setattr(shortcuts, "MARGIN", 0.3)
    second = predictions("second", cache)
    assert first != second
    assert second == predictions("third", None)
