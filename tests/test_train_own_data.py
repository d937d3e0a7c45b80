"""Training on images of one's own: folders, a CSV with groups, ISIC's layout, and what is missing in them."""

import csv
import json
from collections import Counter

import numpy as np
import pytest
import tiny
from PIL import Image

from minicam.train import main

OWN = {"network": "small_gap", "weights": "none", "limit": None, "dropout": 0, "augment": "flip"}


def draw(path, colour, rng, spot=True):
    """A picture of noise, with a round spot of a colour at some place."""
    side = (48, 40)
    rows, columns = np.mgrid[: side[0], : side[1]]
    picture = rng.integers(90, 130, (*side, 3))
    y, x = rng.integers(12, 28, 2)
    if spot:
        picture[np.hypot(rows - y, columns - x) < 9] = colour
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(picture.astype(np.uint8)).save(path)


COLOURS = {"blue": (20, 20, 230), "red": (230, 20, 20), "green": (20, 200, 20)}


@pytest.fixture
def table(tmp_path):
    """labels.csv with two classes, and groups of two images."""
    rng = np.random.default_rng(3)
    rows = ["image,label,group"]
    for i in range(24):
        label = "red" if i % 4 < 2 else "blue"
        draw(tmp_path / "data" / f"picture{i}.png", COLOURS[label], rng)
        rows.append(f"picture{i}.png,{label},patient{i // 2}")
    (tmp_path / "data" / "labels.csv").write_text("\n".join(rows) + "\n")
    return tmp_path / "data"


def test_two_classes_out_of_a_table_are_learnt_and_no_group_is_split(table, tmp_path, capsys):
    """One task, that of the second class. What tells the two apart is plain, so that it must be learnt."""
    out = tmp_path / "run"
    assert tiny.train(out, **OWN, data=table, epochs=12, lr=0.05, batch=6) == 0
    assert capsys.readouterr().err == ""
    summary = json.loads((out / "summary.json").read_text())
    assert summary["stage1"] == {"red": 1.0, "mean": 1.0}
    assert summary["stage2"]["red"] == 1.0
    assert summary["box_iou"] is None
    with (out / "boxes.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    group = {f"picture{i}": i // 2 for i in range(24)}
    split = {group[row["image_id"]]: row["split"] for row in rows}
    assert all(split[group[row["image_id"]]] == row["split"] for row in rows)
    assert Counter(row["split"] for row in rows)["validation"] >= 4
    assert (out / "predictions_stage2.csv").read_text().splitlines()[0] == "image_id,red"
    losses = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    assert [row["loss"] for row in losses if "loss" in row and row["stage"] == 1][-1] < 0.1


def folders(root, counts):
    rng = np.random.default_rng(4)
    for place, number in counts.items():
        for i in range(number):
            draw(root / place / f"{i}.png", COLOURS[place.split("/")[-1]], rng)


def test_a_class_without_validation_images_leaves_its_auc_null(tmp_path):
    counts = {"training/blue": 3, "training/green": 3, "training/red": 3, "validation/blue": 2, "validation/red": 2}
    folders(tmp_path / "data", counts)
    out = tmp_path / "run"
    assert tiny.train(out, **OWN, data=tmp_path / "data", epochs=1) == 0
    summary = json.loads((out / "summary.json").read_text(), parse_constant=pytest.fail)
    for stage in ("stage1", "stage2"):
        assert summary[stage].keys() == {"blue", "green", "red", "mean"}
        assert summary[stage]["green"] is None
        assert summary[stage]["mean"] is None
        assert summary[stage]["red"] is not None
    assert summary["difference"] == {"mean": None, "low": None, "high": None}
    rows = [json.loads(line, parse_constant=pytest.fail) for line in (out / "metrics.jsonl").read_text().splitlines()]
    validated = [row["validation"] for row in rows if "epoch" in row]
    assert [(row["green"], row["mean"]) for row in validated] == [(None, None)] * 2


def test_masks_beside_the_images_give_the_boxes_iou(tmp_path):
    folders(tmp_path / "data", {"blue": 4, "red": 4})
    for label in ("blue", "red"):
        (tmp_path / "data" / "masks" / label).mkdir(parents=True)
        for i in range(4):
            Image.fromarray(np.full((48, 40), 255, np.uint8)).save(tmp_path / "data" / "masks" / label / f"{i}.png")
    out = tmp_path / "run"
    assert tiny.train(out, **OWN, data=tmp_path / "data", epochs=1) == 0
    summary = json.loads((out / "summary.json").read_text())
    with (out / "boxes.csv").open(newline="") as file:
        boxes = [row for row in csv.DictReader(file) if row["split"] == "validation"]
    areas = [(int(r["x1"]) - int(r["x0"])) * (int(r["y1"]) - int(r["y0"])) for r in boxes]
    assert summary["box_iou"] == pytest.approx(np.mean(areas) / (48 * 40))  # the masks are the whole images


def test_a_mask_that_cannot_be_read_is_told_before_stage_2(tmp_path, monkeypatch, capsys):
    """Even where its image is not one of those that are drawn."""
    monkeypatch.setattr("minicam.train.SHEET_IMAGES", 1)
    counts = {"training/blue": 3, "training/red": 3, "validation/blue": 2, "validation/red": 2}
    folders(tmp_path / "data", counts)
    (tmp_path / "data" / "masks" / "validation" / "red").mkdir(parents=True)
    (tmp_path / "data" / "masks" / "validation" / "red" / "1.png").write_bytes(b"no picture")
    assert tiny.train(tmp_path / "run", **OWN, data=tmp_path / "data", epochs=1) == 2
    assert "masks/validation/red/1.png is no image of a format that is read here" in capsys.readouterr().err
    assert (tmp_path / "run" / "stage1.h5").exists()
    assert not (tmp_path / "run" / "stage2.h5").exists()


def test_the_layout_of_isic_with_masks_of_its_own(tmp_path):
    rng = np.random.default_rng(5)
    for split, first in (("Training", 0), ("Validation", 50)):
        rows = ["image_id,melanoma,seborrheic_keratosis"]
        for i in range(first, first + 6):
            folder = tmp_path / "data" / f"ISIC-2017_{split}_Data"
            draw(folder / f"ISIC_{i:07}.jpg", list(COLOURS.values())[i % 3], rng)
            rows.append(f"ISIC_{i:07},{float(i % 3 == 1)},{float(i % 3 == 2)}")
        (tmp_path / "data" / f"ISIC-2017_{split}_Part3_GroundTruth.csv").write_text("\n".join(rows) + "\n")
    out = tmp_path / "run"
    assert tiny.train(out, **OWN, data=tmp_path / "data", epochs=1) == 0
    lines = (out / "predictions_stage1.csv").read_text().splitlines()
    assert lines[0] == "image_id,melanoma,seborrheic_keratosis"
    assert [line.split(",")[0] for line in lines[1:]] == [f"ISIC_{i:07}" for i in range(50, 56)]


def test_a_run_on_own_data_can_be_resumed(table, tmp_path):
    """The split that the seed held out is found again."""
    for name in ("whole", "stopped"):
        assert tiny.train(tmp_path / name, **OWN, data=table) == 0
    for name in ("stage2.h5", "summary.json", "predictions_stage2.csv"):
        (tmp_path / "stopped" / name).unlink()
    assert main(["--resume", str(tmp_path / "stopped")]) == 0
    tiny.assert_same_run(tmp_path / "whole", tmp_path / "stopped")


def test_images_that_are_gone_when_a_run_is_resumed(table, tmp_path, capsys):
    assert tiny.train(tmp_path / "run", **OWN, data=table) == 0
    (tmp_path / "data").rename(tmp_path / "elsewhere")
    capsys.readouterr()
    assert main(["--resume", str(tmp_path / "run")]) == 2
    assert capsys.readouterr().err == f"minicam: the data folder {table} is not there; check the path\n"


@pytest.mark.real
def test_the_real_images_and_weights(real, tmp_path, capsys):
    (weights,) = (real / "weights").glob("vgg16*.h5")
    arguments = ["--data", real / "isic2017", "--weights", weights, "--train-from", "block5_conv1"]
    arguments += ["--limit", 8, "--epochs", 1, "--size", 64, "--batch", 4, "--out", tmp_path / "run"]
    assert main([str(argument) for argument in arguments]) == 0
    printed = capsys.readouterr()
    assert printed.err == ""
    assert printed.out.splitlines()[1].split() == ["AUC", "stage", "1", "stage", "2", "difference"]
    assert {path.name for path in (tmp_path / "run").iterdir()} == {
        "config.json",
        "metrics.jsonl",
        "trained.jsonl",
        "foreground.npy",
        "stage1.h5",
        "stage2.h5",
        "boxes.csv",
        "predictions_stage1.csv",
        "predictions_stage2.csv",
        "summary.json",
        "cams.png",
    }
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert summary["images"] == 8
    assert 0 <= summary["box_iou"] <= 1  # the masks were found
    with Image.open(tmp_path / "run" / "cams.png") as sheet:
        sheet.load()
