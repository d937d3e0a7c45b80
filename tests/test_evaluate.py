"""`python -m minicam.evaluate`: it says of a run what its training said, takes images from elsewhere, and is clear."""

import csv
import json
import shutil

import numpy as np
import pytest
import tiny
from PIL import Image

from minicam import MinicamError, evaluate, files
from minicam.data import limit, synthetic
from minicam.data.catalogue import open_split
from minicam.inference import loader_for, probabilities_of
from minicam.ops import softmax_loss
from minicam.run import Run
from minicam.weights import checkpoint


@pytest.fixture
def own_run(small_run, tmp_path):
    """A copy of the finished run, to be changed."""
    return shutil.copytree(small_run, tmp_path / "run")


@pytest.fixture
def refused(capsys, tmp_path):
    """Calls the command, which must refuse; gives its one line, and sees that it left nothing behind."""

    def call(*arguments):
        before = sorted(tmp_path.rglob("*"))
        assert evaluate.main([str(argument) for argument in arguments]) == 2
        out, err = capsys.readouterr()
        assert out == ""
        assert err.count("\n") == 1
        assert sorted(tmp_path.rglob("*")) == before
        return err

    return call


def rows(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def without_seconds(path):
    figures = json.loads(path.read_text())
    return {name: value for name, value in figures.items() if name != "seconds"}


def as_folder(place, split, dataset):
    """Write a data set as <place>/<split>/<class>/<id>.png, and give its ids there."""
    ids = []
    for i, name in enumerate(dataset.ids):
        path = place / split / dataset.classes[dataset.labels[i]] / f"{name}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(dataset.image(i)).save(path)
        ids.append(f"{split}/{path.parent.name}/{name}")
    return ids


@pytest.fixture
def own_images(tmp_path):
    """Five validation images of the built-in set as files, and one of each class to train on: folder, data set, ids."""
    folder, whole = tmp_path / "images", synthetic.load("validation")
    some, others = whole.subset(limit(whole.labels, 5)), [list(whole.labels).index(k) for k in range(3)]
    as_folder(folder, "training", whole.subset(others))
    return folder, some, as_folder(folder, "validation", some)


# --- the same figures as training ---


def test_the_validation_images_of_the_run_give_what_training_gave(small_run, tmp_path, capsys):
    out = tmp_path / "out"
    options = ["--split", "validation", "--limit", "24", "--workers", "3", "--out", str(out)]
    assert evaluate.main([str(small_run), *options]) == 0
    assert sorted(path.name for path in out.iterdir()) == sorted(evaluate.FILES)
    of = {"data": None, "split": "validation", "fold": None, "limit": 24}
    assert without_seconds(out / "summary.json") == {"of": of, **without_seconds(small_run / "summary.json")}
    for name in ("predictions_stage1.csv", "predictions_stage2.csv"):
        assert (out / name).read_bytes() == (small_run / name).read_bytes()
    trained = [row for row in rows(small_run / "boxes.csv") if row["split"] == "validation"]
    assert rows(out / "boxes.csv") == trained
    assert len({tuple(row.values())[3:] for row in trained}) > 5  # the boxes are no mere whole images

    summary = json.loads((out / "summary.json").read_text())
    printed = capsys.readouterr().out.splitlines()
    assert printed[0] == f"written to {out}"
    assert printed[1].split() == ["AUC", "stage", "1", "stage", "2", "difference"]
    assert printed[2].split()[:3] == [
        "melanoma", f"{summary['stage1']['melanoma']:.3f}", f"{summary['stage2']['melanoma']:.3f}"
    ]
    assert printed[-1].startswith("24 images, ")


def test_an_evaluation_goes_into_the_folder_of_the_run_and_is_replaced(own_run, tmp_path):
    before = {path.name for path in own_run.iterdir()}
    out = own_run / "evaluation_test_limit_4"
    for again in (False, True):
        if again:  # and somebody was killed while writing
            (out / f"{files.PART}killed").mkdir()
            for name in evaluate.FILES:
                (out / name).write_text("{}")
        assert evaluate.main([str(own_run), "--split", "test", "--limit", "4"]) == 0
        assert {path.name for path in own_run.iterdir()} - before == {out.name}
        assert {path.name for path in out.iterdir()} == set(evaluate.FILES)
        assert len(rows(out / "predictions_stage2.csv")) == 4
        assert json.loads((out / "summary.json").read_text())["images"] == 4
        assert rows(out / "boxes.csv")[0]["split"] == "test"


def test_other_images_from_a_folder_of_the_same_name_replace_nothing(own_run, own_images, tmp_path, capsys):
    folder, *_ = own_images
    options = ["--split", "validation", "--limit", "3"]
    assert evaluate.main([str(own_run), "--data", str(folder), *options]) == 0
    shutil.copytree(folder, tmp_path / "other" / folder.name)
    said = tiny.refused(evaluate.main, capsys, own_run, "--data", tmp_path / "other" / folder.name, *options)
    assert f"evaluation_images_validation_limit_3 holds an evaluation of {folder}; choose another folder" in said


def test_the_folder_is_named_by_what_is_evaluated(own_run, own_images):
    before = {path.name for path in own_run.iterdir()}
    folder, *_ = own_images
    options = [str(own_run), "--data", str(folder), "--split", "validation", "--limit", "3", "--views", "2"]
    assert evaluate.main(options) == 0
    (out,) = {path.name for path in own_run.iterdir()} - before
    assert out == "evaluation_images_validation_limit_3_views_2"
    of = json.loads((own_run / out / "summary.json").read_text())["of"]
    assert of == {"data": str(folder), "split": "validation", "fold": None, "limit": 3, "views": 2}


def test_views_are_the_flips_and_turns_of_an_image_averaged(small_run, tmp_path):
    out = tmp_path / "out"
    assert evaluate.main([*f"{small_run} --split test --limit 3 --views 8 --out {out}".split()]) == 0
    run = Run.open(small_run)
    network, dataset = run.trained(1).network, synthetic.load("test", run.config.seed)
    dataset = dataset.subset(limit(dataset.labels, 3))
    (batch,) = loader_for(network, dataset, run.config, 1, 1).in_order()
    turned = [np.rot90(x, k, (1, 2)) for x in (batch.x, batch.x[:, ::-1]) for k in range(4)]
    logits = [network.forward(np.ascontiguousarray(x)) for x in turned]
    p = np.mean([softmax_loss.forward(z, batch.labels)[1] for z in logits], axis=0)
    found = [float(row["melanoma"]) for row in rows(out / "predictions_stage1.csv")]
    np.testing.assert_allclose(found, p[:, 1], atol=2e-6)
    assert json.loads((out / "summary.json").read_text())["of"]["views"] == 8
    once = tmp_path / "once"
    assert evaluate.main([*f"{small_run} --split test --limit 3 --out {once}".split()]) == 0
    assert (once / "boxes.csv").read_bytes() == (out / "boxes.csv").read_bytes()
    for stage in (1, 2):
        name = f"predictions_stage{stage}.csv"
        assert (once / name).read_bytes() != (out / name).read_bytes()


def test_views_that_are_known_are_not_computed_again(small_run):
    run = Run.open(small_run)
    network, dataset = run.trained(1).network, synthetic.load("test", run.config.seed).subset(np.arange(5))
    loader = loader_for(network, dataset, run.config, 1, 1)
    one, three = (probabilities_of(network, loader, views=views) for views in (1, 3))
    np.testing.assert_array_equal(probabilities_of(network, loader, views=3, known=[one]), three)
    np.testing.assert_array_equal(probabilities_of(None, loader, views=1, known=[one]), one)


def test_an_undefined_figure_is_null(small_run, tmp_path, capsys):
    assert evaluate.main([str(small_run), "--split", "test", "--limit", "1", "--out", str(tmp_path / "out")]) == 0
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert summary["stage2"] == {"melanoma": None, "seborrheic_keratosis": None, "mean": None}
    assert summary["difference"] == {"mean": None, "low": None, "high": None}
    assert "undefined" in capsys.readouterr().out


# --- images from elsewhere ---


def test_a_folder_of_images_with_the_same_classes_in_another_order(small_run, own_images, tmp_path):
    folder, dataset, ids = own_images
    assert open_split(str(folder), "auto", "validation", 0).classes == ("melanoma", "nevus", "seborrheic_keratosis")
    outs = tmp_path / "files", tmp_path / "drawn"
    options = ["--split", "validation", "--limit", "5"]
    assert evaluate.main([str(small_run), *options, "--out", str(outs[0]), "--data", str(folder)]) == 0
    assert evaluate.main([str(small_run), *options, "--out", str(outs[1])]) == 0
    for name in ("predictions_stage1.csv", "predictions_stage2.csv"):
        found = {row["image_id"]: row for row in rows(outs[0] / name)}
        assert found.keys() == set(ids)
        for i, row in zip(ids, rows(outs[1] / name), strict=True):
            assert list(row) == list(found[i]) == ["image_id", "melanoma", "seborrheic_keratosis"]
            for task in dataset.tasks:  # only the rounding of reduced images differs
                assert float(found[i][task]) == pytest.approx(float(row[task]), abs=1e-3)
    summaries = [json.loads((out / "summary.json").read_text()) for out in outs]
    assert summaries[0]["stage1"].keys() == summaries[1]["stage1"].keys() == {*dataset.tasks, "mean"}
    assert summaries[0]["box_iou"] is None  # no masks there


def test_every_image_keeps_the_name_of_its_class(own_images):
    folder, _, _ = own_images
    dataset = open_split(str(folder), "folder", "validation", 0)
    mine = evaluate.in_terms_of(dataset, synthetic.CLASSES, synthetic.CLASSES[1:])
    assert (mine.classes, mine.tasks) == (synthetic.CLASSES, synthetic.CLASSES[1:])
    assert len(mine) == 5
    for name, label in zip(mine.ids, mine.labels, strict=True):
        assert mine.classes[label] == name.split("/")[1]


def test_other_classes_are_refused(small_run, own_images, refused, tmp_path):
    folder, _, _ = own_images
    for split in ("training", "validation"):
        if (folder / split / "nevus").exists():
            (folder / split / "nevus").rename(folder / split / "naevus")
    line = refused(small_run, "--split", "validation", "--data", folder, "--out", tmp_path / "out")
    assert "of the classes melanoma, naevus, seborrheic_keratosis;" in line
    assert "trained on nevus, melanoma, seborrheic_keratosis; evaluate it on images of its own classes" in line
    dataset = synthetic.load("validation", count=4)
    with pytest.raises(MinicamError, match="trained on nevus, melanoma; evaluate"):
        evaluate.in_terms_of(dataset, ("nevus", "melanoma"), ("melanoma",))


def test_a_split_that_a_folder_lacks_is_refused(small_run, own_images, refused, tmp_path):
    line = refused(small_run, "--split", "test", "--data", own_images[0], "--out", tmp_path / "out")
    assert "has no split 'test', only training, validation" in line


# --- what cannot be evaluated ---


@pytest.mark.parametrize("stage", [1, 2])
def test_a_run_that_is_not_finished_is_refused(own_run, refused, stage):
    """Cut off in the middle of a stage, and before it."""
    path = own_run / f"stage{stage}.h5"
    params, state = checkpoint.load(path)
    state["progress"]["finished"] = False
    checkpoint.save(path, params, state)
    what = f"stage {stage} of {own_run} is not finished; finish it with python -m minicam.train --resume {own_run}"
    assert refused(own_run, "--split", "test") == f"minicam: {what}\n"
    path.unlink()
    assert refused(own_run, "--split", "test") == f"minicam: {what}\n"


def test_what_is_no_run_is_refused(small_run, refused, tmp_path):
    assert "is not a folder; give the folder of a run" in refused(tmp_path / "none", "--split", "test")
    assert "is not a folder; give the folder of a run" in refused(small_run / "stage1.h5", "--split", "test")
    (tmp_path / "empty").mkdir()
    assert "is not the folder of a run: it has no config.json" in refused(tmp_path / "empty", "--split", "test")


def test_a_damaged_checkpoint_is_refused(own_run, refused):
    path = own_run / "stage2.h5"
    path.write_bytes(path.read_bytes()[:5000])
    assert str(path) in refused(own_run, "--split", "test")


def test_options_that_cannot_be_are_refused(small_run, refused, tmp_path):
    options = [small_run, "--split", "test", "--out", tmp_path / "out"]
    assert "--workers is 0; it must be at least 1" in refused(*options, "--workers", 0)
    tf32 = "--device", "cpu", "--precision", "tf32"
    assert "--precision tf32 needs the matrix units of a GPU" in refused(*options, *tf32)
    assert "--layout says how the folder of --data is laid out; give" in refused(*options, "--layout", "isic")
    assert "a limit of 0 images leaves none" in refused(*options, "--limit", 0)
    assert "the following arguments are required: --split; --help shows all options" in refused(small_run)


def test_a_folder_with_other_things_in_it_is_refused(small_run, refused, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    (out / "summary.json").write_text("{}")
    (out / "thesis.txt").write_text("")
    options = [small_run, "--split", "test", "--limit", "3", "--out"]
    line = refused(*options, out)
    assert line == f"minicam: {out} is not empty, it holds thesis.txt; choose a new folder with --out\n"
    assert (out / "summary.json").read_text() == "{}"
    assert refused(*options, out / "thesis.txt") == f"minicam: cannot write to {out / 'thesis.txt'}: Not a directory\n"


@pytest.mark.parametrize("there", [False, True])
def test_an_evaluation_that_fails_leaves_all_as_it_was(small_run, refused, tmp_path, monkeypatch, there):
    out = tmp_path / "out"
    if there:
        out.mkdir()
        (out / "summary.json").write_text("{}")

    def full(path, text):
        if path.name == "boxes.csv":
            raise OSError(28, "No space left on device")
        path.write_text(text)

    monkeypatch.setattr(evaluate, "write_text", full)
    line = refused(small_run, "--split", "test", "--limit", 3, "--out", out)
    assert line == f"minicam: cannot write to {out}: No space left on device\n"
    if there:
        assert (out / "summary.json").read_text() == "{}"
