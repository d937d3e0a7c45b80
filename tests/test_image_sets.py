"""Images in files as a data set: a folder of unlabelled ones, subsets, masks."""

import os

import numpy as np
import pytest
from PIL import Image

from minicam import MinicamError
from minicam.data import images
from minicam.data.images import FileDataset, ids_of, images_in


def noise(height, width, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def saved(path, pixels, **options):
    Image.fromarray(pixels).save(path, **options)
    return path


def test_ids_are_stems_where_stems_are_unique():
    assert ids_of(["b.jpg", "c/d.png"]) == ("b", "c/d")
    assert ids_of(["a.jpg", "a.png", "b.jpg"]) == ("a.jpg", "a.png", "b")
    assert ids_of(["a.jpg", "a.jpg.png"]) == ("a", "a.jpg.png")  # the second one's stem is the first one's name


def test_a_name_that_is_not_utf8_is_refused(tmp_path):
    odd = tmp_path / os.fsdecode(b"l\xe9sion.png")
    try:
        saved(odd, noise(4, 6))
    except OSError:
        pytest.skip("this file system refuses such names itself")
    saved(tmp_path / "lésion.png", noise(4, 6))
    for place in (tmp_path, odd):
        with pytest.raises(MinicamError) as caught:
            images_in(place)
        assert str(caught.value) == r"the file name 'l\udce9sion.png' is not valid UTF-8; rename the file"
    odd.unlink()
    assert images_in(tmp_path).ids == ("lésion",)


def test_images_in_a_folder_are_sorted_and_unlabelled(tmp_path):
    for name in ("b.png", "a.JPG", "c.tiff", "c.bmp", ".hidden.jpg", "a_superpixels.png"):
        saved(tmp_path / name, noise(4, 6), format="png")
    (tmp_path / "notes.txt").touch()
    (tmp_path / "inner").mkdir()
    saved(tmp_path / "inner" / "d.jpg", noise(4, 6))
    (tmp_path / "folder.jpg").mkdir()
    found = images_in(tmp_path)
    assert found.ids == ("a", "b", "c.bmp", "c.tiff")
    assert (found.classes, found.tasks, found.labels.tolist()) == ((), (), [-1] * 4)
    assert found.labels.dtype == np.int64
    assert found.shape(0) == (4, 6)
    assert found.mask(0) is None


def test_a_single_image_may_have_any_name(tmp_path):
    found = images_in(saved(tmp_path / "lesion.photo", noise(4, 6), format="png"))
    assert (len(found), found.ids, found.image(0).shape) == (1, ("lesion",), (4, 6, 3))


def test_images_in_nothing(tmp_path):
    with pytest.raises(MinicamError, match=r"holds no images \(files ending in \.jpg, .*\); name another folder"):
        images_in(tmp_path)
    with pytest.raises(MinicamError, match="nowhere: there is no such image or folder; check the path"):
        images_in(tmp_path / "nowhere")


def test_a_folder_that_may_not_be_listed(tmp_path, monkeypatch):
    monkeypatch.setattr(images.os, "access", lambda *args: False)
    with pytest.raises(MinicamError, match="cannot be listed; check its permissions"):
        images_in(tmp_path)


def file_set(tmp_path, mask):
    paths = tuple(saved(tmp_path / f"{i}.png", noise(20, 30, seed=i)) for i in range(3))
    masks = (saved(tmp_path / "mask.png", mask), None, None)
    return FileDataset("training", ("p", "q", "r"), np.array([2, 0, 1]), ("x", "y", "z"), ("y",), paths, masks)


def test_a_subset_keeps_everything_together(tmp_path):
    dataset = file_set(tmp_path, noise(20, 30)[..., 0] > 100)
    for indices in (np.array([2, 0]), np.array([-1, 0])):
        part = dataset.subset(indices)
        assert (part.ids, part.labels.tolist(), part.classes, part.split) == (
            ("r", "p"),
            [1, 2],
            ("x", "y", "z"),
            "training",
        )
        np.testing.assert_array_equal(part.image(0), noise(20, 30, seed=2))
        assert part.mask(0) is None
        assert part.mask(1).shape == (20, 30)
    assert dataset.subset(np.array([False, True, False])).ids == ("q",)


def test_a_mask_may_be_evenly_reduced_but_not_of_other_proportions(tmp_path):
    assert file_set(tmp_path, np.ones((7, 10), bool)).mask(0).shape == (7, 10)
    for shape in [(30, 20), (10, 30), (40, 60)]:
        with pytest.raises(MinicamError, match=rf"mask\.png is {shape[1]} x {shape[0]} pixels and its image 30 x 20"):
            file_set(tmp_path, np.ones(shape, bool)).mask(0)
