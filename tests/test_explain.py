"""`python -m minicam.explain`: its files fit together, and agree with evaluation."""

import csv
import json
import shutil
import subprocess
import sys
import time
import tracemalloc

import numpy as np
import pytest
from PIL import Image

from minicam import cam, evaluate, explain, pictures
from minicam.data import synthetic
from minicam.data.images import image_shape, images_in, read_image
from minicam.inference import heat_of, locate_batches
from minicam.run import Run

KINDS = ("maps", "overlays", "boxes", "crops")
CLASSES = synthetic.CLASSES
TURNED = 6  # EXIF: the camera was held upright


def command(*arguments):
    return explain.main([str(argument) for argument in arguments])


def rows(path):
    with path.open(newline="") as file:
        return {row["image_id"]: row for row in csv.DictReader(file)}


def numbers(row, prefix):
    return np.array([float(row[f"{prefix}{name}"]) for name in CLASSES])


def box_of(row, prefix=""):
    return tuple(int(row[f"{prefix}{edge}"]) for edge in ("x0", "y0", "x1", "y1"))


def lesion(i, width, height):
    """A picture of a lesion that nobody has seen, of any size."""
    return Image.fromarray(synthetic.load("test", 5).image(i)).resize((width, height))


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    """Seven images of all sorts; one is a photograph held upright, two differ in nothing but their suffix."""
    folder = tmp_path_factory.mktemp("images")
    lesion(0, 1301, 1101).save(folder / "large.png")
    exif = Image.Exif()
    exif[0x0112] = TURNED
    lesion(1, 401, 203).save(folder / "turned.jpg", exif=exif)
    lesion(2, 131, 97).convert("L").save(folder / "grey.png")
    lesion(3, 311, 307).save(folder / "twin.png")
    lesion(4, 311, 211).save(folder / "twin.jpg")
    lesion(5, 29, 17).save(folder / "tiny, really.png")
    lesion(6, 384, 384).save(folder / "built-in.png")
    (folder / "notes.txt").write_text("no image")
    return folder


IDS = ["built-in", "grey", "large", "tiny, really", "turned", "twin.jpg", "twin.png"]


@pytest.fixture(scope="module")
def explained(small_run, images, tmp_path_factory):
    out = tmp_path_factory.mktemp("explained") / "out"
    assert command(small_run, images, "--out", out) == 0
    return out


# --- what is written ---


def test_every_image_has_every_file_and_a_row_in_each_table(explained):
    assert {path.name for path in explained.iterdir()} == {*KINDS, "probabilities.csv", "boxes.csv", "bias.npy"}
    for kind in KINDS:
        suffix = ".npy" if kind == "maps" else ".png"
        assert sorted(path.name for path in (explained / kind).iterdir()) == sorted(name + suffix for name in IDS)
    probabilities, boxes = rows(explained / "probabilities.csv"), rows(explained / "boxes.csv")
    assert list(probabilities) == list(boxes) == IDS
    columns = [f"stage{stage}_{name}" for stage in (1, 2) for name in CLASSES]
    for row in probabilities.values():
        assert list(row) == ["image_id", *columns, "predicted"]
        for stage in (1, 2):
            assert numbers(row, f"stage{stage}_").sum() == pytest.approx(1, abs=2e-6)
        assert row["predicted"] == CLASSES[numbers(row, "stage2_").argmax()]
    for name, row in boxes.items():
        assert row["split"] == "unlabelled"
        assert row["class"] == CLASSES[numbers(probabilities[name], "stage1_").argmax()]


def test_the_mean_of_a_map_and_its_bias_are_the_logit(explained):
    bias = np.load(explained / "bias.npy")
    for name, row in rows(explained / "probabilities.csv").items():
        maps = np.load(explained / "maps" / f"{name}.npy")
        assert (maps.dtype, maps.shape) == (np.float32, (8, 8, 3))
        logits = maps.mean((0, 1), dtype=np.float64) + bias
        p = np.exp(logits - logits.max())
        np.testing.assert_allclose(p / p.sum(), numbers(row, "stage1_"), atol=2e-6)


def test_boxes_crops_and_overlays_follow_from_the_maps(explained, images, small_run):
    config = Run.open(small_run).config
    dataset = images_in(images)
    crops = []
    for i, (name, row) in enumerate(rows(explained / "boxes.csv").items()):
        maps = np.load(explained / "maps" / f"{name}.npy")
        heat = heat_of(maps[None], np.array([CLASSES.index(row["class"])]), config.size)[0]
        box, crop = cam.boxes_of(heat, dataset.shape(i), config.crop_rule)
        assert (box_of(row), box_of(row, "crop_")) == (box, crop)
        crops.append(crop)
        x0, y0, x1, y1 = crop
        cut = read_image(dataset.paths[i])[y0:y1, x0:x1]
        np.testing.assert_array_equal(read_image(explained / "crops" / f"{name}.png"), cut)
        overlay = pictures.overlay(read_image(dataset.paths[i], explain.SIDE), heat)
        np.testing.assert_array_equal(read_image(explained / "overlays" / f"{name}.png"), overlay)
    assert dataset.shape(IDS.index("turned")) == (401, 203)  # as a person sees it
    assert sum(crop != (0, 0, *dataset.shape(i)[::-1]) for i, crop in enumerate(crops)) > 2  # no mere whole images


def test_a_large_original_is_reduced_in_overlay_and_boxes_alone(explained):
    for kind in ("overlays", "boxes"):
        assert image_shape(explained / kind / "large.png") == (551, 651)  # half of 1101 x 1301
        assert image_shape(explained / kind / "turned.png") == (401, 203)
    x0, y0, x1, y1 = box_of(rows(explained / "boxes.csv")["large"], "crop_")
    assert image_shape(explained / "crops" / "large.png") == (y1 - y0, x1 - x0)


def test_the_box_and_the_crop_are_drawn_where_the_table_says(explained, images):
    row = rows(explained / "boxes.csv")["built-in"]
    drawn = read_image(explained / "boxes" / "built-in.png")
    original = read_image(images / "built-in.png")
    changed = (drawn != original).any(2)
    expected = np.zeros_like(changed)
    for prefix, colour in (("crop_", pictures.CROP), ("", pictures.CAM_BOX)):
        x0, y0, x1, y1 = box_of(row, prefix)
        frame = np.zeros_like(changed)
        frame[y0:y1, x0:x1] = True
        frame[y0 + 2 : y1 - 2, x0 + 2 : x1 - 2] = False
        expected |= frame
        assert tuple(drawn[y0, x0]) == tuple(drawn[y1 - 1, x1 - 1]) == colour
    np.testing.assert_array_equal(changed, expected)


# --- the same numbers whichever way they are asked for ---


def test_an_evaluation_of_the_same_images_gives_the_same(small_run, tmp_path):
    flat, sorted_by_class = tmp_path / "flat", tmp_path / "sorted"
    flat.mkdir()
    for i in range(9):
        name = CLASSES[i % 3]
        for split in ("training", "validation"):
            (sorted_by_class / split / name).mkdir(parents=True, exist_ok=True)
        lesion(i, 211 + 10 * i, 307).save(flat / f"{i}.png")
        shutil.copy(flat / f"{i}.png", sorted_by_class / "validation" / name / f"{i}.png")
        shutil.copy(flat / f"{i}.png", sorted_by_class / "training" / name / f"{i}.png")
    assert command(small_run, flat, "--out", tmp_path / "out", "--batch", 4) == 0
    options = ["--split", "validation", "--data", str(sorted_by_class), "--out", str(tmp_path / "evaluated")]
    assert evaluate.main([str(small_run), *options]) == 0
    probabilities, boxes = rows(tmp_path / "out" / "probabilities.csv"), rows(tmp_path / "out" / "boxes.csv")
    for stage in (1, 2):
        for name, row in rows(tmp_path / "evaluated" / f"predictions_stage{stage}.csv").items():
            mine = probabilities[name.split("/")[-1]]
            for task in CLASSES[1:]:  # in other batches a product of matrices may round otherwise
                assert float(mine[f"stage{stage}_{task}"]) == pytest.approx(float(row[task]), abs=2e-6)
    for name, row in rows(tmp_path / "evaluated" / "boxes.csv").items():
        assert list(boxes[name.split("/")[-1]].values())[2:] == list(row.values())[2:]


def test_one_image_alone(small_run, images, explained, tmp_path, capsys):
    assert command(small_run, images / "turned.jpg", "--out", tmp_path / "out", "--workers", 1) == 0
    assert capsys.readouterr().out == f"1 of 1 images explained in {tmp_path / 'out'}\n"
    assert rows(tmp_path / "out" / "boxes.csv") == {"turned": rows(explained / "boxes.csv")["turned"]}
    assert [path.name for path in (tmp_path / "out" / "crops").iterdir()] == ["turned.png"]


def test_another_class_gives_the_boxes_of_its_own_cam(small_run, images, explained, tmp_path):
    usual = rows(explained / "boxes.csv")
    asked = next(name for name in CLASSES if name not in {row["class"] for row in usual.values()})
    assert command(small_run, images, "--out", tmp_path / "out", "--class", asked) == 0
    config, dataset = Run.open(small_run).config, images_in(images)
    before, again = rows(explained / "probabilities.csv"), rows(tmp_path / "out" / "probabilities.csv")
    for i, (name, row) in enumerate(rows(tmp_path / "out" / "boxes.csv").items()):
        maps = np.load(tmp_path / "out" / "maps" / f"{name}.npy")
        np.testing.assert_array_equal(maps, np.load(explained / "maps" / f"{name}.npy"))
        heat = heat_of(maps[None], np.array([CLASSES.index(asked)]), config.size)[0]
        assert row["class"] == asked
        assert (box_of(row), box_of(row, "crop_")) == cam.boxes_of(heat, dataset.shape(i), config.crop_rule)
        assert numbers(again[name], "stage1_").tolist() == numbers(before[name], "stage1_").tolist()
    assert any(box_of(row) != box_of(usual[name]) for name, row in rows(tmp_path / "out" / "boxes.csv").items())


def test_a_class_that_is_asked_for_is_cut_as_a_cam_whatever_the_runs_region(small_run, images, tmp_path):
    run = shutil.copytree(small_run, tmp_path / "run")
    config = json.loads((run / "config.json").read_text())
    for name, choices in (("middle", {"region": "middle", "threshold": 0.7}), ("predicted", {"threshold": 0.2})):
        (run / "config.json").write_text(json.dumps(config | choices))
        assert command(run, images, "--out", tmp_path / name, "--class", CLASSES[1]) == 0
    found = [(tmp_path / name / "boxes.csv").read_bytes() for name in ("middle", "predicted")]
    assert found[0] == found[1]


def test_the_memory_needed_does_not_grow_with_the_number_of_images(small_run, tmp_path, monkeypatch):
    """What an image adds is its row in the tables, below a kilobyte; its maps alone are three, its pixels sixteen."""
    (tmp_path / "images").mkdir()
    for i in range(200):
        Image.fromarray(np.full((61, 89, 3), i, np.uint8)).save(tmp_path / "images" / f"{i:03d}.png")
    in_use = []

    def watched(*arguments):
        for found in locate_batches(*arguments):
            in_use.append(tracemalloc.get_traced_memory()[0])
            yield found

    monkeypatch.setattr(explain, "locate_batches", watched)
    tracemalloc.start()
    try:
        assert command(small_run, tmp_path / "images", "--out", tmp_path / "out", "--batch", 4) == 0
    finally:
        tracemalloc.stop()
    assert len(in_use) == 50
    # Means of ten batches, 30 batches of 4 images apart: threads read ahead, now more and now less.
    assert (np.mean(in_use[-10:]) - np.mean(in_use[10:20])) / (30 * 4) < 2000


def test_images_that_cannot_be_read_are_named_and_left_out(small_run, images, explained, tmp_path, capsys):
    folder, out = shutil.copytree(images, tmp_path / "images"), tmp_path / "out"
    whole = (folder / "built-in.png").read_bytes()
    (folder / "cut.png").write_bytes(whole[: len(whole) // 2])
    (folder / "empty.jpg").write_bytes(b"")
    (folder / "letter.jpg").write_text("Dear Sir")
    assert command(small_run, folder, "--out", out, "--batch", 8) == 2
    printed, err = capsys.readouterr()
    lines = err.splitlines()
    assert len(lines) == 4
    assert lines[0].startswith(f"minicam: left out: {folder / 'cut.png'} is damaged or cut short (")
    assert lines[1].startswith(f"minicam: left out: {folder / 'empty.jpg'} is empty (0 bytes)")
    assert lines[2].startswith(f"minicam: left out: {folder / 'letter.jpg'} is no image of a format that is read here")
    assert lines[3] == "minicam: 3 of 10 images could not be read, as said above"
    assert printed == f"7 of 10 images explained in {out}\n"
    assert rows(out / "boxes.csv") == rows(explained / "boxes.csv")
    for kind in KINDS:
        assert len(list((out / kind).iterdir())) == 7


def test_help_answers_at_once():
    seconds = []
    for _ in range(3):
        start = time.perf_counter()
        done = subprocess.run([sys.executable, "-m", "minicam.explain", "--help"], capture_output=True, text=True)
        seconds.append(time.perf_counter() - start)
        assert done.returncode == 0, done.stderr
        for word in ("--out DIR", "--class NAME", "--batch", "IMAGE_OR_FOLDER", "probabilities.csv"):
            assert word in done.stdout
    assert min(seconds) < 1
