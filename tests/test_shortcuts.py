"""Parts of images painted over: what is painted, with what colour, and what stays."""

import json

import numpy as np
import pytest
from tiny import pictures

from minicam import MinicamError, evaluate, shortcuts
from minicam.data import synthetic
from minicam.data.loader import Loader

DRAWN = synthetic.load("validation", count=9)
SKIN, LESION, STICKER, DARK = (200, 150, 120), (90, 60, 50), (30, 90, 200), (5, 5, 5)


@pytest.fixture
def image():
    """Skin with a lesion in the middle, a sticker at the right edge, and dark corners."""
    image = np.empty((100, 120, 3), np.uint8)
    image[:] = SKIN
    image[40:60, 50:70] = LESION
    image[20:50, 100:] = STICKER
    image[:10, :10] = image[-10:, :10] = DARK
    return image


@pytest.fixture
def mask():
    mask = np.zeros((100, 120), bool)
    mask[40:60, 50:70] = True
    return mask


def is_colour(image, colour):
    return (image == colour).all(2)


def test_without_the_lesion_the_rest_is_as_it_was(image, mask):
    painted = shortcuts.paint_over(image, mask, "lesion")
    assert not is_colour(painted, LESION).any()
    np.testing.assert_array_equal(painted[~mask], image[~mask])
    assert is_colour(painted, SKIN)[mask].all()


def test_the_box_hides_the_outline(image, mask):
    image[40, 50], mask[40, 50] = SKIN, False  # a corner that is not lesion
    painted = shortcuts.paint_over(image, mask, "box")
    patch = (painted != image).any(2) | mask
    rows, columns = np.flatnonzero(patch.any(1)), np.flatnonzero(patch.any(0))
    assert (rows[0], rows[-1], columns[0], columns[-1]) == (40, 59, 50, 69)
    other = mask.copy()
    other[40:45, 50:60] = False
    np.testing.assert_array_equal(shortcuts.parts_of(image, other)["box"], shortcuts.parts_of(image, mask)["box"])
    assert (shortcuts.parts_of(image, other)["lesion"] != shortcuts.parts_of(image, mask)["lesion"]).any()


def test_without_the_outside_only_lesion_and_margin_are_left(image, mask):
    painted = shortcuts.paint_over(image, mask, "outside")
    np.testing.assert_array_equal(painted[mask], image[mask])
    assert is_colour(painted, SKIN)[~mask].all()


def test_stickers_are_strange_but_skin_and_shadow_are_not(image, mask):
    image[70:75, 20:50] = np.array(SKIN) // 2  # a shadow: the same colour, darker
    image[80, :] = STICKER  # a thread
    found = shortcuts.strange(image, mask)
    assert found[20:50, 102:].all()
    assert not found[:, :90].any()
    painted = shortcuts.paint_over(image, mask, "strange")
    assert is_colour(painted, SKIN)[20:50, 102:].all()
    np.testing.assert_array_equal(painted[mask], image[mask])


def test_the_rim_is_painted_over_but_for_the_lesion(image, mask):
    mask[:, 55:65] = True  # a lesion from edge to edge
    image[mask] = LESION
    painted = shortcuts.paint_over(image, mask, "rim")
    assert is_colour(painted, LESION)[mask].all()
    assert not is_colour(painted, DARK).any()
    assert is_colour(painted, STICKER)[20:50, 100:108].all()
    assert not is_colour(painted, STICKER)[:, 108:].any()


def test_the_image_itself_stays(image, mask):
    before = image.copy()
    for part in shortcuts.PARTS:
        shortcuts.paint_over(image, mask, part)
        np.testing.assert_array_equal(image, before)


def test_an_image_without_skin_is_left_alone(image, mask):
    dark = np.zeros_like(image)
    for part in shortcuts.PARTS:
        np.testing.assert_array_equal(shortcuts.paint_over(dark, mask, part), dark)
        np.testing.assert_array_equal(shortcuts.paint_over(image, np.ones_like(mask), part), image)


def test_a_painted_data_set_is_a_data_set():
    dataset = DRAWN
    painted = shortcuts.Painted.over(dataset, "lesion")
    assert (painted.ids, painted.classes, painted.tasks) == (dataset.ids, dataset.classes, dataset.tasks)
    few = painted.subset(np.array([7, 2]))
    assert few.ids == (dataset.ids[7], dataset.ids[2])
    np.testing.assert_array_equal(few.image(0, 64), painted.image(7, 64))
    assert few.image(0, 64).shape == dataset.image(7, 64).shape
    assert few.shape(0) == dataset.shape(7)
    mask = dataset.mask(7)
    np.testing.assert_array_equal(few.mask(0), mask)
    changed = (few.image(0) != dataset.image(7)).any(2)
    assert changed[mask].mean() > 0.9
    assert changed[~mask].mean() < 0.1
    (batch,) = Loader(few, 32, 2, np.eye(3, 4)).in_order()
    assert batch.x.shape == (2, 32, 32, 3)


def test_an_image_without_a_mask_stays():
    class Half(type(DRAWN)):
        def mask(self, i):
            return super().mask(i) if i else None

    dataset = Half(**vars(DRAWN))
    painted = shortcuts.Painted.over(dataset, "lesion")
    np.testing.assert_array_equal(painted.image(0), dataset.image(0))
    assert (painted.image(1) != dataset.image(1)).any()
    assert painted.painted() == len(dataset) - 1


def test_images_without_masks_are_refused():
    with pytest.raises(MinicamError, match="none of the images has a mask that says where its lesion is"):
        shortcuts.Painted.over(pictures([np.full((10, 12, 3), 90, np.uint8)]), "lesion")


def test_a_run_is_scored_without_a_part(small_run, tmp_path, capsys):
    out = tmp_path / "out"
    options = f"{small_run} --split test --limit 6 --without outside --out {out}"
    assert evaluate.main(options.split()) == 0
    assert "6 images" in capsys.readouterr().out
    plain = tmp_path / "plain"
    assert evaluate.main(f"{small_run} --split test --limit 6 --out {plain}".split()) == 0
    name = "predictions_stage1.csv"
    assert (out / name).read_bytes() != (plain / name).read_bytes()
    boxes = [(folder / "boxes.csv").read_text().splitlines() for folder in (out, plain)]
    assert [line.split(",")[3:] for line in boxes[0]] == [line.split(",")[3:] for line in boxes[1]]  # not the class
    assert (out / name).read_text().splitlines()[1].split(",")[0] == synthetic.load("test", 0).ids[0]


def test_an_unknown_part():
    with pytest.raises(MinicamError, match="'hair' cannot be painted over; choose one of lesion, box, outside"):
        shortcuts.Painted.over(DRAWN, "hair")


def test_where_some_images_have_no_mask_it_is_said(small_run, tmp_path, capsys, monkeypatch):
    of = type(DRAWN)
    masks = of.mask
    monkeypatch.setattr(of, "mask", lambda self, i: masks(self, i) if i < 4 else None)
    out = tmp_path / "out"
    assert evaluate.main(f"{small_run} --split test --limit 6 --without lesion --out {out}".split()) == 0
    assert "only 4 images have a mask, and were painted over\n" in capsys.readouterr().out
    of = json.loads((out / "summary.json").read_text())["of"]
    assert (of["without"], of["painted"]) == ("lesion", 4)
