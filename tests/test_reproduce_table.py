"""`python -m minicam.reproduce report`: the figures are those of the rows' predictions, or one line says why not."""

import json
import shutil

import numpy as np
import pytest
import tiny
from PIL import Image
from tiny_rows import OPTIONS, RUN, predictions

from minicam.metrics import auc, mean_auc
from minicam.reproduce.__main__ import main
from minicam.reproduce.place import Place
from minicam.reproduce.rows import ROWS
from minicam.run import Run
from minicam.train import open_data


@pytest.fixture
def out(finished_rows, tmp_path):
    """A copy of finished rows."""
    return shutil.copytree(finished_rows, tmp_path / "rows")


@pytest.fixture(scope="module")
def table(finished_rows, tmp_path_factory):
    """The results made of it."""
    path = tmp_path_factory.mktemp("results") / "table.json"
    assert main(["report", "--out", str(finished_rows), "--results", str(path)]) == 0
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


def test_every_row_has_its_figures_with_intervals(table, finished_rows):
    found = json.loads(table.read_text())
    assert found.keys() == set(RUN)
    for name, row in found.items():
        assert row["seeds"] == [0], name
        assert row["low"] <= row["mean"] <= row["high"], name
        assert row["mean"] == pytest.approx((row["melanoma"] + row["seborrheic_keratosis"]) / 2), name
        assert row["differences"].keys() == set(ROWS[name].beside) & set(RUN), name
        for figures in row["details"].values():
            assert len(figures) == 4, name


def test_the_figures_are_those_of_the_predictions(table, finished_rows):
    found = json.loads(table.read_text())
    dataset = open_data(Run.open(finished_rows / "recipe" / "seed0").config)[1]
    scores = [np.array(predictions(finished_rows / f"recipe/seed0/predictions_stage{stage}.csv")) for stage in (1, 2)]
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


def test_the_page_has_every_row_and_the_pictures(table, finished_rows):
    text = table.with_suffix(".md").read_text()
    for name in RUN:
        assert f"| {name} " in text
    for picture in ("curves", "reliability", "gallery"):
        assert f"(table-{picture}.png)" in text
        with Image.open(table.with_name(f"table-{picture}.png")) as image:
            assert min(image.size) > 300
    assert str(finished_rows) not in text + table.read_text()


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
    assert [seed["seed"] for seed in found["longer"]["origin"]] == [0, 1, 2]
    assert all(seed["training_seconds"] > 0 for seed in found["longer"]["origin"])


def test_seeds_of_other_choices_are_not_averaged(seeds, capsys, tmp_path):
    given, out = seeds
    out = shutil.copytree(out, tmp_path / "rows")
    shutil.rmtree(out / "recipe" / "seed1")
    (out / "recipe" / "seed1_stage1.json").unlink()
    assert main(["run", "stage1", *given, "--lr", "0.3", "--seeds", "1", "--out", str(out)]) == 0
    line = tiny.refused(main, capsys, "report", "--out", out, "--results", tmp_path / "table.json")
    assert line.startswith("the seeds of row stage1 have other choices")


def test_other_images_and_weights_are_refused_in_the_same_folder(seeds, capsys, tmp_path):
    given, out = seeds
    out, data = shutil.copytree(out, tmp_path / "rows"), shutil.copytree(given[1], tmp_path / "images")
    (data / "validation" / "a" / "0.png").unlink()
    other = ["--data", str(data), *given[2:], "--seeds", "0", "--out", str(out)]
    record = out / "recipe" / "seed0_stage1.json"
    assert tiny.refused(main, capsys, "run", "stage1", *other).startswith(f"{record} was made with other images")
    found = json.loads(record.read_text())
    record.write_text(json.dumps(found | {"weights": {"name": "vgg16.h5", "sha256": "0"}}))
    line = tiny.refused(main, capsys, "run", "stage1", *given, "--seeds", "0", "--out", out)
    assert line.startswith(f"{record} was made with other weights")


# -- bad input


def test_metrics_that_are_gone_are_told(out, capsys, tmp_path):
    path = out / "recipe" / "seed0_longer" / "metrics.jsonl"
    path.unlink()
    line = tiny.refused(main, capsys, "report", "--out", out, "--results", tmp_path / "table.json")
    assert line.startswith(f"{path} does not hold the metrics of a run")


@pytest.mark.parametrize("name", ["stage1", "stage2-views", "stage1-without-lesion", "longer", "regression"])
def test_damaged_predictions_are_told_and_made_again(name, out, capsys, tmp_path):
    path = Place(out).files(name, 0)[0]
    path.write_text("image_id,melanoma\n")
    line = tiny.refused(main, capsys, "report", "--out", out, "--results", tmp_path / "table.json")
    assert line.startswith(f"{path} does not hold predictions of these images")
    path.unlink()
    assert main(["run", name, *OPTIONS, "--seeds", "0", "--out", str(out)]) == 0  # as it says
    assert main(["report", "--out", str(out), "--results", str(tmp_path / "table.json")]) == 0


def test_seeds_that_draw_other_images_are_not_averaged(out, capsys, tmp_path):
    assert main(["run", "stage1", *OPTIONS, "--seeds", "1", "--out", str(out)]) == 0
    line = tiny.refused(main, capsys, "report", "--out", out, "--results", tmp_path / "table.json")
    assert "the seeds of row stage1 were not scored on the same images" in line
