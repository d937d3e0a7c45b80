"""`python -m minicam.controls`: two controls beside each run, and the results of all."""

import dataclasses
import json
import shutil

import numpy as np
import pytest
import tiny

from minicam import MinicamError, controls, results, train
from minicam.controls import main
from minicam.data import synthetic
from minicam.run import Run

FIGURES = ("stage1", "stage2", "longer", "shuffled", "box_iou")
OPTIONS = tiny.options(epochs=1, seed=None, threshold=0.8)  # so high that the boxes are not the whole image


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A folder with the runs of two seeds and their results. Shared: change a copy of it only."""
    out = tmp_path_factory.mktemp("controls") / "out"
    assert main([*OPTIONS, "--seeds", "5,3", "--out", str(out)]) in (0, 1)
    return out


@pytest.fixture
def out(finished, tmp_path):
    """A copy of it."""
    return shutil.copytree(finished, tmp_path / "out")


@pytest.fixture
def watched(monkeypatch):
    """A list that is filled with the crops of every second stage."""
    seen = []

    def second_stage(run, network, datasets, crops, workers=2, cache=None):
        seen.append((run.folder.name, {k: v.copy() for k, v in network.params().items()}, datasets, crops))
        return train.second_stage(run, network, datasets, crops, workers)

    monkeypatch.setattr(controls, "second_stage", second_stage)
    return seen


# -- the controls


def test_shuffled_boxes_are_those_of_other_images():
    dataset = synthetic.load("training", count=37)
    crops = np.arange(37 * 4).reshape(37, 4)
    dealt = controls.shuffled(dataset, crops, seed=0)
    assert sorted(dealt.tolist()) == crops.tolist()
    assert not (dealt == crops).all(1).any()
    assert len({int(i) for i in (dealt[:, 0] - crops[:, 0]) // 4}) > 18  # no mere shift of all
    np.testing.assert_array_equal(dealt, controls.shuffled(dataset, crops, seed=0))
    assert (dealt != controls.shuffled(dataset, crops, seed=1)).any()
    assert dealt.dtype == crops.dtype


def test_a_box_from_an_image_of_another_size_keeps_its_place():
    dataset = tiny.pictures([np.zeros((100, 40, 3), np.uint8), np.zeros((50, 80, 3), np.uint8)])
    dealt = controls.shuffled(dataset, np.array([[4, 10, 40, 60], [20, 5, 30, 50]]), seed=0)
    assert dealt.tolist() == [[10, 10, 15, 100], [8, 5, 80, 30]]


def test_one_image_keeps_its_box():
    dataset = tiny.pictures([np.zeros((9, 7, 3), np.uint8)])
    assert controls.shuffled(dataset, np.array([[1, 2, 5, 7]]), seed=0).tolist() == [[1, 2, 5, 7]]


def test_longer_sees_whole_images_and_shuffled_the_boxes_of_others(out, watched):
    run, first = Run.open(out / "seed3"), Run.open(out / "seed3").trained(1).network.params()
    for name in controls.CONTROLS:
        shutil.rmtree(out / f"seed3_{name}")
        controls.control(run, name)
    (longer, start, _, crops), (mixed, other_start, datasets, boxes) = watched
    assert (longer, mixed) == ("seed3_longer", "seed3_shuffled")
    assert crops == (None, None)
    for name, value in first.items():
        np.testing.assert_array_equal(start[name], value)
        np.testing.assert_array_equal(other_start[name], value)
    for dataset, dealt in zip(datasets, boxes, strict=True):
        mine = run.read_crops(dataset)
        assert sorted(map(tuple, dealt)) == sorted(map(tuple, mine))
        assert (dealt != mine).any(1).sum() > len(dataset) / 2


def test_where_stage_2_starts_anew_shuffled_does_too_and_longer_goes_on(out, watched):
    run = Run.open(out / "seed3")
    run.config = dataclasses.replace(run.config, stage2_from="start")
    for name in controls.CONTROLS:
        shutil.rmtree(out / f"seed3_{name}")
        controls.control(run, name)
    (_, longer, *_), (_, mixed, *_) = watched
    fresh = train.build(run.config, 3).params()
    for name, value in run.trained(1).network.params().items():
        np.testing.assert_array_equal(longer[name], value)
        np.testing.assert_array_equal(mixed[name], fresh[name])


def test_with_boxes_that_are_not_shuffled_the_control_is_stage_2_byte_for_byte(out, monkeypatch):
    """So nothing else is different."""
    monkeypatch.setattr(controls, "shuffled", lambda dataset, crops, seed: crops)
    shutil.rmtree(out / "seed3_shuffled")
    auc = controls.control(Run.open(out / "seed3"), "shuffled")
    assert auc == json.loads((out / "seed3" / "summary.json").read_text())["stage2"]["mean"]
    assert tiny.parameters(out / "seed3_shuffled", 2) == tiny.parameters(out / "seed3", 2)


def test_the_controls_have_as_many_steps_as_stage_2_at_the_same_rates(finished):
    def rates(name):
        rows = map(json.loads, (finished / name / "metrics.jsonl").read_text().splitlines())
        return [(row["step"], row["lr"]) for row in rows if row["stage"] == 2 and "lr" in row]

    assert len(rates("seed5")) == 3
    assert rates("seed5_longer") == rates("seed5_shuffled") == rates("seed5")
    assert tiny.parameters(finished / "seed5_longer", 2) != tiny.parameters(finished / "seed5_shuffled", 2)


# -- the results


def test_the_results_are_those_of_the_runs(finished):
    results = json.loads((finished / "results.json").read_text())
    assert results.keys() == {"command", "date", "commit", "dirty", "machine", "device", "precision", "config", "rows"}
    assert results["command"].startswith("python -m minicam.controls --size 16 --limit 12 --epochs 1 ")
    assert results["command"].endswith(" --threshold 0.8 --seeds 5,3")  # where it went is of no interest
    assert results["config"]["epochs"] == 1
    assert "seed" not in results["config"]
    assert [row["seed"] for row in results["rows"]] == [5, 3]
    for row in results["rows"]:
        assert row.keys() == {"seed", "difference", "seconds", "code", *FIGURES}
        summary = json.loads((finished / f"seed{row['seed']}" / "summary.json").read_text())
        assert [row["stage1"], row["stage2"]] == [summary[stage]["mean"] for stage in ("stage1", "stage2")]
        assert [row[k] for k in ("difference", "box_iou", "seconds")] == [
            summary[k] for k in ("difference", "box_iou", "seconds")
        ]
        assert all(0 <= row[name] <= 1 for name in FIGURES)
        assert row["code"] == [{"commit": results["commit"], "dirty": results["dirty"]}]
    page = (finished / "results.md").read_text()
    assert page == controls.page(results)
    assert controls.table(results["rows"]) in page


def test_finished_seeds_are_not_run_again(out, monkeypatch, capsys):
    before = json.loads((out / "results.json").read_text())["rows"]
    monkeypatch.setattr(results, "version", lambda: {"commit": "f" * 40, "dirty": False})
    (out / "seed3" / "row.json").unlink()  # its controls are not finished, as far as one can see
    shutil.rmtree(out / "seed3_longer")
    calls = []
    monkeypatch.setattr(controls, "train", lambda run, workers, on: calls.append(run))
    assert main([*OPTIONS, "--seeds", "5,3,", "--out", str(out)]) == 2
    assert main([*OPTIONS, "--seeds", "5,3", "--out", str(out), "--results", str(out / "new" / "x.json")]) in (0, 1)
    assert calls == []
    after = json.loads((out / "new" / "x.json").read_text())["rows"]
    assert after[0] == before[0]
    assert after[1]["code"] == [*before[1]["code"], {"commit": "f" * 40, "dirty": False}]  # run, and what was missing
    assert {name: after[1][name] for name in FIGURES} == {name: before[1][name] for name in FIGURES}
    made = (out / "new" / "x.md").read_text().splitlines()[-1]
    assert "and commit ffffffffffff" in made


def test_other_choices_in_the_same_folder_are_refused(finished, capsys):
    line = tiny.refused(main, capsys, *OPTIONS, "--seeds", "3", "--out", finished, "--lr", "0.5")
    assert line == f"{finished / 'seed3'} has a run with --lr 0.02, not 0.5; choose another folder with --out"


@pytest.mark.parametrize("name", ["row.json", "summary.json"])
def test_a_damaged_file_is_refused(name, out, capsys):
    (out / "seed3" / "row.json").unlink()
    (out / "seed3" / name).write_text('{"stage1": ')
    line = tiny.refused(main, capsys, *OPTIONS, "--seeds", "3", "--out", out)
    assert line.startswith(f"{out / 'seed3' / name} cannot be read (")
    assert line.endswith("; delete it to measure again")


@pytest.mark.parametrize("content", ["[]", '{"code": {"commit": "abc", "dirty": false}}'])
def test_a_row_that_is_none_is_told(content, out, capsys):
    (out / "seed3" / "row.json").write_text(content)
    line = tiny.refused(main, capsys, *OPTIONS, "--seeds", "3", "--out", out)
    assert line == f"{out / 'seed3' / 'row.json'} is not the row of a seed; delete it to measure again"


@pytest.mark.parametrize("damage", ['"', "split\n"])
def test_boxes_that_are_damaged_are_told(damage, out):
    """A quote that is never closed makes one field of all that follows, which may be longer than a field may be."""
    run = Run.open(out / "seed3")
    path = run.folder / "boxes.csv"
    path.write_text(damage + path.read_text() + 200_000 * " ")
    with pytest.raises(MinicamError, match=r"boxes.csv does not fit the training images \(.*\); delete it to find the"):
        run.read_crops(train.open_data(run.config)[0])


def test_ctrl_c_says_how_to_go_on(tmp_path, monkeypatch, capsys):
    def stopped(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(controls, "train", stopped)
    out = tmp_path / "out"
    assert main([*OPTIONS, "--seeds", "3", "--out", str(out)]) == 130
    said = f"stopped; continue with the same command and --out {out}\nminicam: interrupted\n"
    assert capsys.readouterr().err == said
    assert not (out / "results.json").exists()


def test_results_that_cannot_be_written(finished, capsys, tmp_path):
    (tmp_path / "file").write_text("")
    path = tmp_path / "file" / "x.json"
    line = tiny.refused(main, capsys, *OPTIONS, "--seeds", "3", "--out", finished, "--results", path)
    assert line.startswith(f"cannot write {path}: ")


def test_a_folder_that_is_no_run_is_refused(tmp_path):
    (tmp_path / "seed0").mkdir()
    (tmp_path / "seed0" / "notes.txt").write_text("mine")
    with pytest.raises(MinicamError, match="seed0 exists already; choose a new folder with --out"):
        controls.measure(tmp_path / "seed0", controls.make(), {})
