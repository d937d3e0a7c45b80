"""Which images `--data`, `--layout`, `--fold` and `--limit` lead to."""

import numpy as np
import pytest
from PIL import Image

from minicam import MinicamError
from minicam.data import catalogue, synthetic
from minicam.data.catalogue import FOLDS, LAYOUTS, open_fold, open_split


@pytest.fixture
def folder(tmp_path):
    """Two classes of four images."""
    for name in ("a", "b"):
        for i in range(4):
            (tmp_path / name).mkdir(exist_ok=True)
            Image.new("RGB", (4, 5)).save(tmp_path / name / f"{i}.png")
    return tmp_path


@pytest.fixture
def isic(tmp_path):
    """Sixteen images by the official names; the last is a near copy of another."""
    (tmp_path / "ISIC-2017_Training_Data").mkdir()
    rows = ["image_id,melanoma,seborrheic_keratosis"]
    for i, name in enumerate([*(f"ISIC_00000{i:02}" for i in range(15)), "ISIC_0012970"]):
        Image.new("RGB", (4, 5)).save(tmp_path / "ISIC-2017_Training_Data" / f"{name}.jpg")
        rows.append(f"{name},{float(i % 3 == 1)},{float(i % 3 == 2)}")
    (tmp_path / "ISIC-2017_Training_Part3_GroundTruth.csv").write_text("\n".join(rows) + "\n")
    return tmp_path


def test_without_a_folder_the_built_in_set():
    mine, theirs = open_split(None, "auto", "test", seed=6), synthetic.load("test", 6)
    assert (type(mine), mine.ids, mine.seed) == (type(theirs), theirs.ids, 6)
    np.testing.assert_array_equal(mine.labels, theirs.labels)


@pytest.mark.parametrize("layout", ["auto", "folder"])
def test_a_folder_of_ones_own(layout, folder):
    assert open_split(str(folder), layout, "training", seed=1).classes == ("a", "b")
    splits = [open_split(str(folder), layout, split, seed=1).ids for split in ("training", "validation")]
    assert sorted(splits[0] + splits[1]) == [f"{name}/{i}" for name in "ab" for i in range(4)]


@pytest.mark.parametrize("layout", ["auto", "isic"])
def test_isic_is_known_by_its_names(layout, isic):
    assert open_split(str(isic), layout, "training", seed=1).classes == synthetic.CLASSES


def test_near_copies_are_no_training_images(isic):
    ids = open_split(str(isic), "auto", "training", seed=1).ids
    assert len(ids) == 15
    assert "ISIC_0012970" not in ids


def test_each_training_image_is_held_out_once(isic):
    whole = open_split(str(isic), "auto", "training", seed=1)
    pairs = [open_fold(str(isic), "auto", fold, seed=1) for fold in range(FOLDS)]
    assert sorted(name for _, held in pairs for name in held.ids) == list(whole.ids)
    for learned, held in pairs:
        assert sorted(learned.ids + held.ids) == list(whole.ids)
        assert np.bincount(held.labels).tolist() == [1, 1, 1]
        assert learned.split == held.split == "training"
    assert len(open_fold(str(isic), "auto", 0, seed=1, count=6)[0]) == 6


def test_folds_of_the_built_in_data_are_the_same_each_time():
    one, again, other = (open_fold(None, "auto", fold, seed=0)[1].ids for fold in (2, 2, 3))
    assert one == again
    assert not set(one) & set(other)


def test_what_a_fold_holds_out_are_the_training_images_themselves():
    whole, (_, held) = open_split(None, "auto", "training", seed=0), open_fold(None, "auto", 2, seed=0)
    place = whole.ids.index(held.ids[7])
    np.testing.assert_array_equal(held.image(7), whole.image(place))
    np.testing.assert_array_equal(held.mask(7), whole.mask(place))
    assert held.identity(7) == whole.identity(place)


def test_a_folder_of_ones_own_has_no_folds(folder):
    with pytest.raises(MinicamError, match="--fold is for ISIC-2017 and the built-in data; leave it out"):
        open_fold(str(folder), "auto", 0, seed=0)


def test_each_fold_needs_an_image_of_each_class(isic, monkeypatch):
    monkeypatch.setattr(catalogue, "FOLDS", 6)
    with pytest.raises(MinicamError, match="--fold needs 6 training images of each class, and one has 5; leave it out"):
        open_fold(str(isic), "auto", 0, seed=0)


def test_a_limit_keeps_the_shares_of_the_classes():
    dataset = open_split(None, "auto", "training", seed=0, count=9)
    assert np.bincount(dataset.labels).tolist() == [3, 3, 3]
    assert set(dataset.ids) < set(synthetic.load("training", 0).ids)
    assert len(open_split(None, "auto", "training", seed=0, count=10**6)) == synthetic.SIZES["training"]


def test_an_unknown_layout():
    assert LAYOUTS == ("auto", "isic", "folder")
    with pytest.raises(MinicamError) as caught:
        open_split("x", "flat", "training", seed=0)
    assert str(caught.value) == "--layout flat is not known; choose one of auto, isic, folder"
