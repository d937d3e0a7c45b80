"""`python -m minicam.reproduce run`: rows are run once, share what they share, and say how they came about."""

import json
import shutil
from contextlib import contextmanager

import numpy as np
import pytest
import tiny
from tiny_rows import OPTIONS, RUN, predictions

from minicam import evaluate
from minicam.reproduce import __main__ as command
from minicam.reproduce import measure as measuring
from minicam.reproduce.__main__ import main
from minicam.reproduce.place import Place
from minicam.reproduce.records import about
from minicam.reproduce.rows import ROWS
from minicam.run import Run, checked_state
from minicam.train import open_data


@pytest.fixture
def out(finished_rows, tmp_path):
    """A copy of finished rows."""
    return shutil.copytree(finished_rows, tmp_path / "rows")


def test_a_row_says_how_it_came_about(out):
    record = json.loads((out / "recipe" / "seed0_stage1.json").read_text())
    assert record["command"].startswith("python -m minicam.reproduce run stage1 --size 16 --limit 15 ")
    assert record["weights"] is None
    assert [line["stage"] for line in record["trained"]] == [1]
    assert {"date", "commit", "machine", "device"} <= record["trained"][0].keys()
    assert {"date", "commit", "machine", "device", "seconds"} <= record.keys()
    assert record["choices"]["augment"] == ["turn"]
    assert not {"data", "weights"} & record["choices"].keys()


def test_a_row_says_who_trained_all_its_networks(out):
    def record(base, name):
        return json.loads((out / base / f"seed0_{name}.json").read_text())

    def stages(base, name):
        return [line["stage"] for line in record(base, name)["trained"]]

    assert stages("recipe", "stage2") == stages("recipe", "longer") == [1, 2]
    assert stages("recipe", "both") == stages("recipe", "both-longer") == [1, 1, 2]
    assert stages("recipe", "stage1-without-lesion") == [1]
    assert stages("frozen", "regression") == []
    second = [record("recipe", name)["trained"][-1]["date"] for name in ("both", "both-longer")]
    own = [out / "recipe" / folder / "trained.jsonl" for folder in ("seed0", "seed0_longer")]
    assert second == [json.loads(path.read_text().splitlines()[-1])["date"] for path in own]


def test_seconds_of_training_are_those_of_the_stages_that_a_row_trains(out):
    def spent(folder, stage):
        run = Run.open(out / "recipe" / folder)
        return checked_state(run.checkpoint(stage))[1]["progress"]["seconds"]

    def written(name):
        return json.loads((out / "recipe" / f"seed0_{name}.json").read_text()).get("training_seconds")

    first, second, longer = spent("seed0", 1), spent("seed0", 2), spent("seed0_longer", 2)
    assert min(first, second, longer) > 0
    assert written("stage1") == round(first, 1)
    assert written("stage2") == round(first + second, 1)
    assert written("longer") == round(longer, 1)
    assert written("both") is written("stage2-views") is None


def test_what_is_there_is_not_run_again(out, monkeypatch, capsys):
    def never(*_):
        raise AssertionError

    monkeypatch.setattr(measuring, "HOW", dict.fromkeys(measuring.HOW, never))
    monkeypatch.setattr(measuring, "train", never)
    assert main(["run", *RUN, *OPTIONS, "--seeds", "0", "--out", str(out)]) == 0
    assert capsys.readouterr().out.splitlines() == [f"{name}, seed 0: is there already" for name in RUN]


def test_a_row_leaves_what_others_wrote_as_it_is(out):
    written = {name: (out / "recipe" / "seed0" / name).stat().st_mtime_ns for name in measuring.WRITTEN}
    (out / "recipe" / "seed0_longer.json").unlink()
    assert main(["run", "longer", *OPTIONS, "--seeds", "0", "--out", str(out)]) == 0
    assert written == {name: (out / "recipe" / "seed0" / name).stat().st_mtime_ns for name in measuring.WRITTEN}


def test_an_average_has_its_parts_run_each_under_its_own_lock(tmp_path, monkeypatch):
    locks, rows = [], []

    @contextmanager
    def noted(path):
        locks.append(path.name)
        yield

    monkeypatch.setattr(command, "locked", noted)
    monkeypatch.setattr(command, "check", lambda *_: None)
    monkeypatch.setattr(command, "measure", lambda *row: rows.append(row[:2]) or {"seconds": 0})
    assert main(["run", "two-stage1", "both", *OPTIONS, "--seeds", "2", "--out", str(tmp_path)]) == 0
    assert rows == [("stage1", 2), ("stage1", 0), ("two-stage1", 2), ("stage2", 2), ("both", 2)]
    assert locks == [f"seed{seed}.lock" for _, seed in rows]


def test_a_row_that_was_lost_is_made_again_from_the_same_first_stage(out):
    first = (out / "fold" / "seed0" / "stage1.h5").read_bytes()
    before = (out / "fold" / "seed0_screen-middle" / "predictions_stage2.csv").read_bytes()
    shutil.rmtree(out / "fold" / "seed0_screen-middle")
    (out / "fold" / "seed0_screen-middle.json").unlink()
    assert main(["run", "screen-middle", *OPTIONS, "--seeds", "0", "--out", str(out)]) == 0
    assert (out / "fold" / "seed0" / "stage1.h5").read_bytes() == first
    assert (out / "fold" / "seed0_screen-middle" / "predictions_stage2.csv").read_bytes() == before


def test_other_choices_are_refused_in_the_same_folder(out, capsys):
    arguments = ["run", "stage1", *OPTIONS, "--lr", "0.5", "--seeds", "0", "--out", out]
    assert "was made with --lr 0.02, not 0.5" in tiny.refused(main, capsys, *arguments)
    (out / "recipe" / "seed0_stage1.json").unlink()
    assert "has a run with --lr 0.02, not 0.5" in tiny.refused(main, capsys, *arguments)


def test_the_main_rows_are_a_run_of_train_that_evaluate_scores_alike(out, tmp_path):
    run, results = Run.open(out / "recipe" / "seed0"), tmp_path / "scored"
    summary = evaluate.evaluate(run, open_data(run.config)[1], results)
    for stage in (1, 2):
        name = f"predictions_stage{stage}.csv"
        assert (results / name).read_bytes() == (run.folder / name).read_bytes()
    assert summary["stage1"] == json.loads((run.folder / "summary.json").read_text())["stage1"]


def test_the_small_checkpoints_are_a_run_that_can_be_evaluated(out, tmp_path):
    run = Run.open(out / "recipe" / "seed0" / "float16")
    evaluate.evaluate(run, open_data(run.config)[1], tmp_path / "scored")
    for stage in (1, 2):
        name = f"predictions_stage{stage}.csv"
        mine, whole = (predictions(folder / name) for folder in (tmp_path / "scored", out / "recipe" / "seed0"))
        np.testing.assert_allclose(mine, whole, atol=2e-3)
        assert run.checkpoint(stage).stat().st_size < 0.4 * (out / f"recipe/seed0/stage{stage}.h5").stat().st_size


def test_screened_stages_have_the_first_stage_of_their_base_and_choices_of_their_own(out):
    for name in ("screen-middle", "screen-masks"):
        own, base = Run.open(out / "fold" / f"seed0_{name}"), Run.open(out / "fold" / "seed0")
        record = json.loads((out / "fold" / f"seed0_{name}.json").read_text())
        assert record["choices"] == about(own.config, ROWS["stage1"], open_data(own.config)[1])["choices"]
        assert own.config.fold == 1
        assert (own.config.augment, own.config.epochs) == ((), 4)
        if ROWS[name].how == "region":
            assert own.checkpoint(1).read_bytes() == base.checkpoint(1).read_bytes()


def test_kernels_make_the_same_rows(finished_rows, tmp_path):
    rows = ("regression", "stage2", "longer")
    assert main(["run", *rows, *OPTIONS, "--seeds", "0", "--out", str(tmp_path), "--device", "emulator"]) == 0
    for name in rows:
        mine, theirs = (predictions(*Place(out).files(name, 0)) for out in (tmp_path, finished_rows))
        np.testing.assert_allclose(mine, theirs, atol=2e-3)


# -- bad input


def test_a_record_that_was_cut_off_is_told(out, capsys):
    path = out / "recipe" / "seed0_stage1.json"
    path.write_text(path.read_text()[:40])
    for arguments in (["report"], ["run", "stage1", *OPTIONS, "--seeds", "0"]):
        assert tiny.refused(main, capsys, *arguments, "--out", out).startswith(f"{path} cannot be read")


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["run", "stage3"], "there is no row 'stage3'; python -m minicam.reproduce list shows all"),
        (["run"], "the following arguments are required: ROW"),
        (["run", "stage1", "--fold", "2"], "--fold is what the rows named fold- and screen- have; leave it out"),
        (["report", "--results", "page.md"], "--results is page.md; give a name that ends in .json"),
        (["report", "--out", "nowhere"], "nowhere has no finished row; make some with python -m minicam.reproduce run"),
        (["run", "stage1", "--seeds", "0", "--data", "nowhere"], "nowhere"),
    ],
)
def test_bad_input_is_told_in_one_line(arguments, says, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert says in tiny.refused(main, capsys, *arguments)
    assert list(tmp_path.iterdir()) == []


def test_features_that_are_frozen_away_are_told(tmp_path, capsys):
    arguments = ["run", "regression-block4", *OPTIONS, "--train-from", "CAM_conv", "--cache-features", tmp_path / "c"]
    says = "there is no pool4 to be had from CAM_conv on; name a lower --train-from"
    assert says in tiny.refused(main, capsys, *arguments, "--seeds", "0", "--out", tmp_path / "rows")


@pytest.mark.parametrize("content", ["{}", "[]", '{"choices": 3}'])
def test_a_record_that_is_none_is_told(content, out, capsys):
    path = out / "recipe" / "seed0_stage1.json"
    path.write_text(content)
    for arguments in (["report"], ["run", "stage1", *OPTIONS, "--seeds", "0"]):
        assert tiny.refused(main, capsys, *arguments, "--out", out).startswith(f"{path} is not the record of a row")
