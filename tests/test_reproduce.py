"""`python -m minicam.reproduce`: rows are run once, share what they share, and end in a table that can be checked."""

import csv
import json
import shutil

import numpy as np
import pytest
import tiny
from PIL import Image

from minicam import evaluate
from minicam.metrics import auc, mean_auc
from minicam.reproduce import measure as measuring
from minicam.reproduce.__main__ import main
from minicam.reproduce.measure import choices_of
from minicam.reproduce.place import Place
from minicam.reproduce.rows import ROWS
from minicam.run import Run
from minicam.train import open_data

OPTIONS = tiny.options(epochs=1, limit=15, augment="turn", threshold=0.6, seed=None)
# Each kind of row, and each kind of crops.
RUN = (
    *("regression", "stage2", "stage1", "both", "longer", "both-longer", "stage2-views", "stage1-without-lesion"),
    *("screen-whole", "screen-middle", "screen-masks", "screen-shuffled", "fold-start"),
)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """The folder of rows that have been run. Shared: change a copy of it only."""
    out = tmp_path_factory.mktemp("reproduce") / "rows"
    assert main(["run", *RUN, *OPTIONS, "--seeds", "0", "--out", str(out)]) == 0
    return out


@pytest.fixture
def out(finished, tmp_path):
    """A copy of it."""
    return shutil.copytree(finished, tmp_path / "rows")


@pytest.fixture(scope="module")
def table(finished, tmp_path_factory):
    """The results made of it."""
    path = tmp_path_factory.mktemp("results") / "table.json"
    assert main(["report", "--out", str(finished), "--results", str(path)]) == 0
    return path


@pytest.fixture(scope="module")
def seeds(tmp_path_factory):
    """Rows of several seeds, of images in a folder: the options that made them, and the folder."""
    data, rng = tmp_path_factory.mktemp("images"), np.random.default_rng(0)
    for split, count in (("training", 8), ("validation", 6)):
        for name, level in (("a", 60), ("b", 120)):
            (data / split / name).mkdir(parents=True)
            for i in range(count):
                pixels = rng.integers(level, level + 100, (20, 20, 3), np.uint8)
                Image.fromarray(pixels).save(data / split / name / f"{i}.png")
    out = tmp_path_factory.mktemp("seeds") / "rows"
    given = ["--data", str(data), "--network", "small_gap", *tiny.options(epochs=1, limit=None, seed=None)]
    assert main(["run", "two-stage1", "longer", *given, "--seeds", "0-2", "--out", str(out)]) == 0
    return given, out


def predictions(path):
    with path.open(newline="") as file:
        return [[float(cell) for cell in list(row.values())[1:]] for row in csv.DictReader(file)]


# -- what was run


def test_a_row_says_how_it_came_about(out):
    record = json.loads((out / "recipe" / "seed0_stage1.json").read_text())
    assert record["command"].startswith("python -m minicam.reproduce run stage1 --size 16 --limit 15 ")
    assert record["weights"] is None
    assert [line["stage"] for line in record["trained"]] == [1, 2]  # stage2 was run before
    assert {"date", "commit", "machine", "device"} <= record["trained"][0].keys()
    assert {"date", "commit", "machine", "device", "seconds"} <= record.keys()
    assert record["choices"]["augment"] == ["turn"]
    assert not {"data", "weights"} & record["choices"].keys()


def test_what_is_there_is_not_run_again(out, monkeypatch):
    def never(*_):
        raise AssertionError

    monkeypatch.setattr(measuring, "HOW", dict.fromkeys(measuring.HOW, never))
    monkeypatch.setattr(measuring, "train", never)
    assert main(["run", *RUN, *OPTIONS, "--seeds", "0", "--out", str(out)]) == 0


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
    assert "was made with lr 0.02, not 0.5" in tiny.refused(main, capsys, *arguments)
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
    for name in ("screen-middle", "screen-masks", "fold-start"):
        own, base = Run.open(out / "fold" / f"seed0_{name}"), Run.open(out / "fold" / "seed0")
        record = json.loads((out / "fold" / f"seed0_{name}.json").read_text())
        assert record["choices"] == choices_of(own.config, ROWS["stage1"])
        assert own.config.fold == 1
        assert (own.config.augment, own.config.epochs) == ((("turn",), 1) if name == "fold-start" else ((), 4))
        if ROWS[name].how == "region":
            assert own.checkpoint(1).read_bytes() == base.checkpoint(1).read_bytes()
    assert own.config.stage2_from == "start"
    losses = [(out / "fold" / f / "metrics.jsonl").read_text().splitlines() for f in ("seed0_fold-start", "seed0")]
    assert json.loads(losses[0][0])["loss"] == pytest.approx(np.log(3))  # it starts from nothing learned
    assert json.loads(losses[1][0])["loss"] == pytest.approx(np.log(3))


def test_kernels_make_the_same_rows(finished, tmp_path):
    rows = ("regression", "stage2", "longer")
    assert main(["run", *rows, *OPTIONS, "--seeds", "0", "--out", str(tmp_path), "--device", "emulator"]) == 0
    for name in rows:
        mine, theirs = (predictions(*Place(out).files(name, 0)) for out in (tmp_path, finished))
        np.testing.assert_allclose(mine, theirs, atol=2e-3)


# -- the table


def test_every_row_has_its_figures_with_intervals(table, finished):
    found = json.loads(table.read_text())
    assert found.keys() == set(RUN)
    for name, row in found.items():
        assert row["seeds"] == [0], name
        assert row["low"] <= row["mean"] <= row["high"], name
        assert row["mean"] == pytest.approx((row["melanoma"] + row["seborrheic_keratosis"]) / 2), name
        assert row["differences"].keys() == set(ROWS[name].beside) & set(RUN), name
        for figures in row["details"].values():
            assert len(figures) == 4, name


def test_the_figures_are_those_of_the_predictions(table, finished):
    found = json.loads(table.read_text())
    dataset = open_data(Run.open(finished / "recipe" / "seed0").config)[1]
    scores = [np.array(predictions(finished / f"recipe/seed0/predictions_stage{stage}.csv")) for stage in (1, 2)]
    for name, p in (("stage1", scores[0]), ("stage2", scores[1]), ("both", np.mean(scores, axis=0))):
        padded = np.hstack([np.zeros((len(p), 1)), p])
        assert found[name]["mean"] == pytest.approx(mean_auc(dataset.labels, padded, (1, 2))["mean"])
    change = found["stage2"]["mean"] - found["stage1"]["mean"]
    assert found["stage2"]["differences"]["stage1"]["mean"] == pytest.approx(change)
    assert found["stage2"]["differences"].keys() == {"stage1", "longer"}


def test_maps_and_boxes_are_beside_the_rows_that_have_them(table):
    found = json.loads(table.read_text())
    assert found["screen-masks"]["box"]["kept"][0] == pytest.approx(1, abs=0.02)
    assert found["screen-masks"]["box"].keys() == {"kept"}  # crops, of which no tight box is known
    assert found["screen-middle"]["box"].keys() == {"iou", "kept"}
    maps = {"pointing", "iou", "inside", "lesion", "deletion", "deletion_gain"}
    assert found["stage2"]["region"].keys() == maps
    assert found["screen-middle"]["region"]["deletion_gain"] == [0, 0, 0]
    assert 0 <= found["stage1"]["cam"]["inside"][0] <= 1


def test_the_page_has_every_row_and_the_pictures(table, finished):
    text = table.with_suffix(".md").read_text()
    for name in RUN:
        assert f"| {name} " in text
    for picture in ("curves", "reliability", "gallery"):
        assert f"(table-{picture}.png)" in text
        with Image.open(table.with_name(f"table-{picture}.png")) as image:
            assert min(image.size) > 300
    assert str(finished) not in text + table.read_text()


def test_seeds_are_averaged_and_paired_with_the_next(seeds, tmp_path):
    _, out = seeds
    assert main(["report", "--out", str(out), "--results", str(tmp_path / "table.json")]) == 0
    found = json.loads((tmp_path / "table.json").read_text())
    dataset = open_data(Run.open(out / "recipe" / "seed0").config)[1]
    each = [np.array(predictions(out / f"recipe/seed{seed}/predictions_stage1.csv"))[:, 0] for seed in range(3)]
    alone = [auc(dataset.labels == 1, p) for p in each]
    pairs = [auc(dataset.labels == 1, (each[seed] + each[(seed + 1) % 3]) / 2) for seed in range(3)]
    assert found["stage1"]["each"] == pytest.approx(alone)
    assert found["stage1"]["mean"] == pytest.approx(np.mean(alone))
    assert found["two-stage1"]["each"] == pytest.approx(pairs)
    assert found["two-stage1"]["differences"]["stage1"]["seeds"] == [0, 1, 2]
    assert len(found["longer"]["seconds"]) == 3


def test_seeds_of_other_choices_are_not_averaged(seeds, capsys, tmp_path):
    given, out = seeds
    out = shutil.copytree(out, tmp_path / "rows")
    shutil.rmtree(out / "recipe" / "seed1")
    (out / "recipe" / "seed1_stage1.json").unlink()
    assert main(["run", "stage1", *given, "--lr", "0.3", "--seeds", "1", "--out", str(out)]) == 0
    line = tiny.refused(main, capsys, "report", "--out", out, "--results", tmp_path / "table.json")
    assert line.startswith("the seeds of row stage1 have other choices")


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


def test_damaged_predictions_are_told(out, capsys, tmp_path):
    path = out / "recipe" / "seed0" / "predictions_stage1.csv"
    path.write_text("image_id,melanoma\n")
    line = tiny.refused(main, capsys, "report", "--out", out, "--results", tmp_path / "table.json")
    assert line.startswith(f"{path} does not hold predictions of these images")
    path.unlink()
    assert main(["run", "stage1", *OPTIONS, "--seeds", "0", "--out", str(out)]) == 0  # as it says
    assert main(["report", "--out", str(out), "--results", str(tmp_path / "table.json")]) == 0


def test_seeds_that_draw_other_images_are_not_averaged(out, capsys, tmp_path):
    assert main(["run", "stage1", *OPTIONS, "--seeds", "1", "--out", str(out)]) == 0
    line = tiny.refused(main, capsys, "report", "--out", out, "--results", tmp_path / "table.json")
    assert "the seeds of row stage1 were not scored on the same images" in line
