"""Which images `--data`, `--layout` and `--limit` lead to."""

import numpy as np
import pytest
from PIL import Image

from minicam import MinicamError
from minicam.data import synthetic
from minicam.data.catalogue import LAYOUTS, open_split


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
    """Four images by the official names."""
    (tmp_path / "ISIC-2017_Training_Data").mkdir()
    rows = ["image_id,melanoma,seborrheic_keratosis"]
    for i in range(4):
        Image.new("RGB", (4, 5)).save(tmp_path / "ISIC-2017_Training_Data" / f"ISIC_000000{i}.jpg")
        rows.append(f"ISIC_000000{i},{float(i == 1)},{float(i == 2)}")
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
