"""The rows of the table as they stand: each can be run, and none is called what it is not."""

from dataclasses import replace
from pathlib import Path

import pytest

from minicam.reproduce import measure as measuring
from minicam.reproduce.__main__ import main
from minicam.reproduce.place import Place
from minicam.reproduce.rows import BASES, ROWS, own_seeds, parts


def test_each_row_can_be_run_and_is_compared_with_one_of_the_same_images():
    for name, row in ROWS.items():
        assert row.how in measuring.HOW, name
        assert row.base in BASES, name
        if row.how == "given":
            assert row.what in measuring.GIVEN, name
        if row.how == "average":
            assert all(part in ROWS and ROWS[part].how != "average" for part, _ in parts(name, 0)), name
        for other in row.beside:
            assert other != name
            assert BASES[row.base].choices.get("fold") == BASES[ROWS[other].base].choices.get("fold"), name


def test_every_row_has_files_of_its_own():
    files = [tuple(Place(Path()).files(name, 0)) for name in ROWS]
    assert len(set(files)) == len(files)


def test_an_average_is_made_of_its_parts_predictions():
    place = Place(Path("out"))
    recipe = place.out / "recipe"
    assert parts("both", 2) == [("stage1", 2), ("stage2", 2)]
    assert place.files("both", 2) == [recipe / f"seed2/predictions_stage{stage}.csv" for stage in (1, 2)]
    assert parts("two-stage1", 2) == [("stage1", 2), ("stage1", 0)]
    assert place.files("two-stage1", 0) == [recipe / f"seed{seed}/predictions_stage1.csv" for seed in (0, 1)]
    assert parts("stage1-regression", 2) == [("stage1", 2), ("regression-block4", 0)]
    assert place.files("stage1-regression", 2)[1] == place.out / "frozen" / "seed0_pool4" / "predictions.csv"
    assert parts("stage1", 2) == []


def test_the_base_is_the_recipe_of_train_and_what_is_given_goes_before_it():
    place = Place(None, {"data": "images", "weights": "some.h5"})
    assert place.config("recipe", 3).seed == 3
    assert replace(place.config("fold", 3), fold=None) == place.config("recipe", 3)
    assert place.config("fold", 0).fold == 1
    assert place.config("fine-tuned", 0).size == 112
    assert Place(None, {"data": "images", "size": 64}).config("recipe", 0).size == 64
    assert Place(None, {"data": "images", "size": 64}).config("fine-tuned", 0).size == 112
    assert place.config("from-scratch", 0).weights is None


@pytest.mark.parametrize(
    ("base", "rounded"), [("recipe", True), ("fine-tuned", False), ("fold-free", False)]
)
def test_features_are_rounded_where_they_can_be_kept(base, rounded, tmp_path):
    given = {"data": "images"}
    assert Place(None, given, cache=tmp_path).config(base, 0).float16_features == rounded
    assert not Place(None, given).config(base, 0).float16_features


def test_the_places_of_a_machine_are_not_part_of_the_command():
    given = {"data": "/home/me/isic", "weights": "/a/file", "epochs": 2, "square": False, "augment": ()}
    place = Place(Path("x"), given | {"stage2_from": "stage1", "rates": {"CAM_fc": 2.0}}, cache=Path("c"))
    expected = "python -m minicam.reproduce run both --data ISIC"
    expected += " --cache-features DIR --epochs 2 --no-square --augment none"
    assert place.command("both", 1) == f"{expected} --stage2-from stage1 --rates CAM_fc=2"
    assert " --data ISIC --cache-features DIR --seeds 7 --epochs 2 " in place.command("both", 7)
    assert "--cache-features" not in Place(Path("x"), given).command("both", 1)
    assert "--cache-features" not in place.command("from-scratch", 0)


def test_the_list_shows_every_row_with_its_time(capsys):
    assert main(["list"]) == 0
    printed = capsys.readouterr().out
    for name, row in ROWS.items():
        assert f"| {name} " in printed
        assert row.says in printed


def test_rows_with_seeds_of_their_own_are_run_with_those():
    place = Place(None)
    assert (own_seeds("masks"), own_seeds("stage2"), own_seeds("regression")) == ((0,), (0, 1, 2), (0,))
    assert "--seeds" not in place.command("masks", 0) + place.command("stage2", 2)
    assert place.command("masks", 2).endswith("--seeds 2")
