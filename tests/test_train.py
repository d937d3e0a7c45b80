"""`python -m minicam.train`: what a run leaves behind, and that it is the same each time."""

import csv
import json
import math

import numpy as np
import pytest
import tiny
from PIL import Image

from minicam.config import Config
from minicam.data import synthetic
from minicam.inference import loader_for
from minicam.model import small_gap
from minicam.weights import checkpoint


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A finished tiny run."""
    folder = tmp_path_factory.mktemp("train") / "new" / "run"
    assert tiny.train(folder) == 0
    return folder


def test_the_folder_holds_what_is_documented_and_no_more(run):
    assert {path.name for path in run.iterdir()} == {
        "config.json",
        "metrics.jsonl",
        "trained.jsonl",
        "stage1.h5",
        "stage2.h5",
        "boxes.csv",
        "predictions_stage1.csv",
        "predictions_stage2.csv",
        "summary.json",
        "cams.png",
    }


def test_metrics_has_a_row_a_step_and_a_row_an_epoch(run):
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    steps = [row for row in rows if "epoch" not in row]
    epochs = [row for row in rows if "epoch" in row]
    assert [(row["stage"], row["step"]) for row in steps] == [(s, n) for s in (1, 2) for n in range(tiny.STEPS)]
    for row in steps:
        assert row.keys() == {"stage", "step", "loss", "lr"}
        assert math.isfinite(row["loss"])
    assert [(row["stage"], row["epoch"], row["step"]) for row in epochs] == [(1, 1, 2), (1, 2, 5), (2, 1, 2), (2, 2, 5)]
    for row in epochs:
        assert row["validation"].keys() == {"melanoma", "seborrheic_keratosis", "mean"}
    assert [("epoch" in row) for row in rows] == [False, False, False, True] * 4


@pytest.mark.parametrize(
    ("options", "steps", "rise"),
    [
        ({"warmup": 0}, 6, []),
        ({"warmup": 5}, 6, []),  # a tenth of 6 steps is less than one
        ({"warmup": 2, "batch": 1, "epochs": 3}, 36, [1 / 3, 2 / 3]),
        ({"warmup": 9, "batch": 1, "epochs": 3}, 36, [1 / 4, 2 / 4, 3 / 4]),  # at most a tenth of the 36
    ],
)
def test_the_learning_rate_rises_and_then_follows_its_schedule(options, steps, rise, tmp_path):
    assert tiny.train(tmp_path / "run", **options) == 0
    rows = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    rates = [row["lr"] for row in rows if "lr" in row]
    warmup = rise + [1] * (steps - len(rise))
    cosine = [0.5 + 0.5 * math.cos(math.pi * step / steps) for step in range(steps)]
    assert rates == pytest.approx([0.02 * a * b for a, b in zip(warmup, cosine, strict=True)] * 2)


def test_the_first_loss_is_ln_3_as_cam_fc_starts_at_zero(run):
    first = json.loads((run / "metrics.jsonl").read_text().splitlines()[0])
    assert first["loss"] == pytest.approx(math.log(3), rel=1e-6)


def test_the_last_thing_printed_is_the_table_and_summary_says_the_same(tmp_path, capsys):
    assert tiny.train(tmp_path / "run") == 0
    printed = capsys.readouterr()
    assert printed.err == ""
    lines = printed.out.splitlines()
    assert lines[0] == f"run: {tmp_path / 'run'}"
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert summary.keys() == {"images", "stage1", "stage2", "both", "difference", "box_iou", "seconds", "details"}
    for row, name in zip(lines[2:5], ("melanoma", "seborrheic_keratosis", "mean"), strict=True):
        one, two = summary["stage1"][name], summary["stage2"][name]
        assert row.split()[:4] == [name, f"{one:.3f}", f"{two:.3f}", f"{two - one:+.3f}"]
    difference = summary["difference"]
    assert lines[4].endswith(f"interval {difference['low']:+.3f} to {difference['high']:+.3f}")
    assert lines[6] == f"IoU of the region's box with the lesion's: {summary['box_iou']:.3f}"
    assert lines[5] == f"mean AUC of both stages' probabilities averaged: {summary['both']['mean']:.3f}"
    assert lines[7].startswith("12 images, ")
    assert len(lines) == 8


def test_predictions_are_in_the_format_of_the_challenge(run):
    validation = synthetic.load("validation", tiny.OPTIONS["seed"])
    for stage in (1, 2):
        with (run / f"predictions_stage{stage}.csv").open(newline="") as file:
            header, *rows = csv.reader(file)
        assert header == ["image_id", "melanoma", "seborrheic_keratosis"]
        assert len(rows) == 12
        assert {name for name, *_ in rows} < set(validation.ids)
        for _, *values in rows:
            assert all("." in value and 0 < float(value) < 1 for value in values)
            assert sum(map(float, values)) < 1


def test_the_figures_are_those_of_the_predictions(run):
    validation = synthetic.load("validation", tiny.OPTIONS["seed"])
    label_of = dict(zip(validation.ids, validation.labels, strict=True))
    from sklearn.metrics import roc_auc_score

    summary = json.loads((run / "summary.json").read_text())
    for stage in ("stage1", "stage2"):
        with (run / f"predictions_{stage}.csv").open(newline="") as file:
            rows = list(csv.DictReader(file))
        for k, task in ((1, "melanoma"), (2, "seborrheic_keratosis")):
            truth = [label_of[row["image_id"]] == k for row in rows]
            scores = [float(row[task]) for row in rows]
            # to 6 digits two scores may be equal that are not: as much as one pair in 32
            assert summary[stage][task] == pytest.approx(roc_auc_score(truth, scores), abs=1 / 32)


def test_boxes_are_inside_the_images_and_crops_around_boxes(run):
    with (run / "boxes.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["split"] for row in rows] == ["training"] * 12 + ["validation"] * 12
    for row in rows:
        box = [int(row[name]) for name in ("x0", "y0", "x1", "y1")]
        crop = [int(row[f"crop_{name}"]) for name in ("x0", "y0", "x1", "y1")]
        assert row["class"] in synthetic.CLASSES
        for x0, y0, x1, y1 in (box, crop):
            assert 0 <= x0 < x1 <= 384
            assert 0 <= y0 < y1 <= 384
        assert all(c <= b for c, b in zip(crop[:2], box[:2], strict=True))
        assert all(c >= b for c, b in zip(crop[2:], box[2:], strict=True))
        assert min(crop[2] - crop[0], crop[3] - crop[1]) >= 0.2 * 384 - 1


def test_stage_1_sees_whole_images_and_stage_2_the_crops(tmp_path, monkeypatch):
    """Whatever looks at images, in training and in evaluation, does so through a loader made here."""
    made = []

    def watched(network, dataset, config, stage, workers, crops=None, cache=None):
        made.append((dataset.split, stage, crops))
        return loader_for(network, dataset, config, stage, workers, crops)

    monkeypatch.setattr("minicam.train.loader_for", watched)
    out = tmp_path / "run"
    assert tiny.train(out, epochs=1) == 0
    with (out / "boxes.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    for split in ("training", "validation"):
        boxes = [[int(row[f"crop_{e}"]) for e in ("x0", "y0", "x1", "y1")] for row in rows if row["split"] == split]
        used = {stage: [crops for s, n, crops in made if (s, n) == (split, stage)] for stage in (1, 2)}
        assert used[1]
        assert all(crops is None for crops in used[1])
        assert len(used[2]) == 1
        np.testing.assert_array_equal(used[2][0], boxes)


def test_the_stages_draw_different_numbers():
    dataset, network = synthetic.load("training", count=30), small_gap()
    first, second = (loader_for(network, dataset, Config(seed=4), stage, 1) for stage in (1, 2))
    orders = [[*map(int, np.random.default_rng([*loader.seed, 0]).permutation(30))] for loader in (first, second)]
    assert orders[0] != orders[1]


def test_the_sheet_of_cams_is_a_picture_of_all_validation_images(run):
    with Image.open(run / "cams.png") as sheet:
        sheet.load()
        assert sheet.width > 900
        assert sheet.height > 6 * 160
        assert len(sheet.convert("RGB").resize((300, 300)).getcolors(90000)) > 5000


def test_limit_is_stratified(run):
    with (run / "boxes.csv").open(newline="") as file:
        names = [row["image_id"] for row in csv.DictReader(file)]
    for split, part in (("training", names[:12]), ("validation", names[12:])):
        data = synthetic.load(split, tiny.OPTIONS["seed"])
        assert np.bincount(data.labels[[data.ids.index(name) for name in part]]).tolist() == [4, 4, 4]


def test_checkpoints_say_what_they_were_trained_on(run):
    for stage in (1, 2):
        _, state = checkpoint.load(run / f"stage{stage}.h5")
        assert state["stage"] == stage
        assert state["classes"] == list(synthetic.CLASSES)
        assert state["tasks"] == list(synthetic.CLASSES[1:])
        assert state["progress"] | {"seconds": 0} == {"epoch": 2, "batch": 0, "finished": True, "seconds": 0}


@pytest.mark.parametrize("workers", [2, 5])
def test_the_same_seed_gives_the_same_bytes_whatever_the_workers(workers, run, tmp_path):
    assert tiny.train(tmp_path / "run", workers=workers) == 0
    tiny.assert_same_run(run, tmp_path / "run")


def test_another_seed_gives_another_run(run, tmp_path):
    assert tiny.train(tmp_path / "run", seed=4) == 0
    mine, theirs = tiny.parameters(run, 1), tiny.parameters(tmp_path / "run", 1)
    assert all(mine[name] != theirs[name] for name in mine if name.endswith("kernel"))


@pytest.mark.parametrize("lr", ["1e30", "1e39"])
@pytest.mark.parametrize("batch", [5, 12], ids=["within an epoch", "at its end"])
def test_a_loss_that_is_not_finite_stops_with_one_line_and_a_good_checkpoint(batch, lr, tmp_path, capsys):
    """Where an epoch is one step, it is the validation that first sees what became of the network."""
    out = tmp_path / "run"
    assert tiny.train(out, lr=lr, batch=batch, warmup=0) == 2
    (line,) = capsys.readouterr().err.splitlines()
    what = "the loss is nan at step 1" if batch == 5 else "a probability of the validation is not finite at step 0"
    assert line == (
        f"minicam: {what} of stage 1, so training stopped; {out / 'stage1.h5'} holds the last good state; "
        f"try a lower --lr than {float(lr)}"
    )
    params, _ = checkpoint.load(out / "stage1.h5")
    assert all(np.isfinite(array).all() for array in params.values())
    assert all(math.isfinite(json.loads(row)["loss"]) for row in (out / "metrics.jsonl").read_text().splitlines())
