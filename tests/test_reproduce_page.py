"""What the page says beside the figures: over which seeds they are, who made them, where more is to be read."""

import json
import re

import numpy as np
import pytest
import tiny

from minicam import MinicamError
from minicam.reproduce import figures, page, records, report
from minicam.reproduce.rows import ROWS

LINE = {"commit": "0123456789abcdef", "dirty": False}


@pytest.fixture
def collected(monkeypatch, rng, tmp_path):
    """A table of rows of other seeds, with made-up predictions of 40 images."""
    dataset = tiny.pictures(np.zeros((40, 2, 2, 3), np.uint8))
    monkeypatch.setattr(figures, "DRAWS", 50)
    monkeypatch.setattr(figures, "DETAIL_DRAWS", 5)
    monkeypatch.setattr(report, "open_data", lambda _: (None, dataset))
    monkeypatch.setattr(report.Run, "open", lambda _: type("", (), {"config": None}))
    monkeypatch.setattr(figures, "read_predictions", lambda *_: rng.random((40, 3)))
    choices = {"fold": None, "train_from": "block5_conv1", "float16_features": True, "region": "foreground"}
    record = {
        **{"command": "c", "date": "2026-01-02T03:04", "machine": {"cpu": "X", "cores": 1}, "device": "cpu"},
        **{"gpu": None, "precision": "float32", **LINE},
        **{"choices": choices, "weights": None, "images": report.digest([dataset]), "trained": [LINE]},
    }
    changed = {"commit": "fedcba9876", "dirty": True}
    later = {**record, **changed, "date": "2026-01-05T00:00", "trained": [LINE, changed], "training_seconds": 12.3}
    validated = {"C": 0.01, "cross_validated": 0.83, "cross_validated_in_blocks": 0.74}
    found = {
        "regression": {0: record | {"trained": []} | validated},
        "regression-block4": {0: record | {"trained": []}},
        "stage1": {0: record, 1: later, 2: record},
        "longer": {1: record, 2: record},
        "predicted": {0: record},
    }
    return report.collect(tmp_path, found)


def row_with(text, *cells):
    """The line of a table that begins with these cells."""
    rows = {line: tuple(cell.strip() for cell in line.split("|")[1:-1]) for line in text.splitlines()}
    (line,) = (line for line, row in rows.items() if row[: len(cells)] == cells)
    return line


def test_seeds_are_named_where_they_are_not_those_of_the_row(collected, tmp_path):
    text = page.page(collected, [], tmp_path / "table.json")
    assert row_with(text, "longer", ROWS["longer"].says).endswith("(seed 1, 2) |")
    assert "(seed" not in row_with(text, "predicted", ROWS["predicted"].says)  # it is run with one
    assert "40 images of 2 x 2 pixels, the validation images" in text
    assert "(seed" not in row_with(text, "stage1", ROWS["stage1"].says)
    assert collected["longer"]["differences"]["stage1"]["seeds"] == [1, 2]
    assert row_with(text, "longer", "stage1 (seed 1, 2)")
    assert row_with(text, "predicted", "stage1 (seed 0)")
    assert row_with(text, "stage1", "regression-block4")  # its one seed goes with all three


def test_the_table_is_json(collected):
    assert json.loads(json.dumps(collected)).keys() == collected.keys()


def test_a_difference_is_that_of_the_seeds_that_both_have(collected):
    found = collected["longer"]["differences"]["stage1"]
    assert found["seeds"] == [1, 2]
    mine, theirs = collected["longer"]["each"], collected["stage1"]["each"][1:]
    assert found["mean"] == pytest.approx(np.mean(mine) - np.mean(theirs))


def test_all_that_made_a_row_is_named(collected, tmp_path):
    line = page.page(collected, [], tmp_path / "table.json").split("## Where the figures come from")[1]
    line = row_with(line, "stage1", "`c`")
    assert "| 01234567 fedcba98, changed | 01234567 fedcba98, changed |" in line  # who trained it, and who scored it
    assert "| 2026-01-02 2026-01-05 |" in line
    assert line.endswith(" 12 |")


def test_regressions_have_what_cross_validation_says(collected, tmp_path):
    text = page.page(collected, [], tmp_path / "table.json")
    assert re.search(r"\| regression +\| +0.830 \| +0.740 \| +0.01 \|", text)


def test_only_what_stands_beside_the_page_is_linked(collected, tmp_path):
    assert "(isic2017-notes.md)" not in page.page(collected, [], tmp_path / "table.json")
    (tmp_path / "isic2017-notes.md").touch()
    assert "[the notes](isic2017-notes.md)" in page.page(collected, [], tmp_path / "table.json")
    assert "the protocol (results/isic2017-protocol.md)" in page.page(collected, [], tmp_path / "table.json")


def test_seeds_of_other_images_are_refused():
    alike = {"images": "a", "choices": {}, "weights": None}
    report.demand_alike("stage1", {0: alike, 1: alike})
    with pytest.raises(MinicamError, match="the seeds of row stage1 were not scored on the same images"):
        report.demand_alike("stage1", {0: alike, 1: alike | {"images": "b"}})


def test_images_of_many_sizes_have_the_smallest_and_the_largest_named():
    images = [np.zeros((*size, 3), np.uint8) for size in ((8, 9), (30, 20), (5, 40))]
    assert report.pixels_of(tiny.pictures(images)) == "9 x 8 to 20 x 30"


def test_commits_are_named_once_and_in_order():
    assert records.commits([LINE, {"commit": None, "dirty": None}, LINE]) == ["01234567", "unknown"]
