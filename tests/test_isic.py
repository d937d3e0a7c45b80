"""ISIC-2017's folders and truth files: what is found, and what each fault in them says."""

import numpy as np
import pytest
from PIL import Image
from scipy import ndimage

from minicam import MinicamError
from minicam.data import isic
from minicam.data.catalogue import open_split

HEADER = "image_id,melanoma,seborrheic_keratosis"
ROWS = ["ISIC_0000003,0.0,0.0", "ISIC_0000001,1.0,0.0", "ISIC_0000002,0.0,1.0"]


def a_split(root, name="Training", rows=ROWS, header=HEADER, ids=None):
    """A truth file of these rows, and an image for each id (by default, the rows')."""
    folder = root / f"ISIC-2017_{name}_Data"
    folder.mkdir(parents=True)
    for number, image_id in enumerate(ids if ids is not None else [row.split(",")[0] for row in rows]):
        Image.new("RGB", (7, 5), (number, 0, 0)).save(folder / f"{image_id}.jpg")
    (root / f"ISIC-2017_{name}_Part3_GroundTruth.csv").write_text("\n".join([header, *rows, ""]))
    return folder


def truth(root):
    return root / "ISIC-2017_Training_Part3_GroundTruth.csv"


def fails(root, words, split="training"):
    with pytest.raises(MinicamError, match=words) as failure:
        isic.load(root, split)
    assert "\n" not in str(failure.value)


def test_the_three_splits_with_their_classes_and_tasks(tmp_path):
    for split, name in [("training", "Training"), ("validation", "Validation"), ("test", "Test_v2")]:
        a_split(tmp_path, name)
        found = isic.load(tmp_path, split)
        assert found.split == split
        assert found.ids == ("ISIC_0000001", "ISIC_0000002", "ISIC_0000003")
        assert found.labels.tolist() == [1, 2, 0]
        assert found.labels.dtype == np.int64
        assert found.classes == ("nevus", "melanoma", "seborrheic_keratosis")
        assert found.tasks == ("melanoma", "seborrheic_keratosis")
        assert found.shape(0) == (5, 7)
        assert found.image(0)[0, 0, 0] == pytest.approx(1, abs=1)
        assert [path.stem for path in found.paths] == list(found.ids)
    fails(tmp_path, "has no split 'val'; choose one of training, validation, test", split="val")


def test_superpixels_metadata_and_hidden_files_are_ignored(tmp_path):
    folder = a_split(tmp_path)
    Image.new("RGB", (7, 5)).save(folder / "ISIC_0000001_superpixels.png")
    (folder / "ISIC-2017_Training_Data_metadata.csv").write_text("image_id,age_approximate,sex\n")
    (folder / "._ISIC_0000001.jpg").touch()
    assert len(isic.load(tmp_path, "training")) == 3


def test_masks_are_found_in_either_place(tmp_path):
    a_split(tmp_path)
    official, ours = tmp_path / "ISIC-2017_Training_Part1_GroundTruth", tmp_path / "masks" / "training"
    assert isic.load(tmp_path, "training").masks == (None, None, None)
    for place, names in [(official, ["ISIC_0000001", "ISIC_0000003"]), (ours, ["ISIC_0000003"])]:
        place.mkdir(parents=True)
        for name in names:
            Image.new("1", (7, 5), place is ours).save(place / f"{name}_segmentation.png")
    found = isic.load(tmp_path, "training")
    assert not found.mask(0).any()
    assert found.mask(1) is None
    assert found.mask(2).all()


def test_a_mark_order_windows_lines_and_blank_lines_are_no_faults(tmp_path):
    a_split(tmp_path)
    rows = [
        "seborrheic_keratosis,image_id,melanoma",
        *("0,ISIC_0000003,0", "0,ISIC_0000001, 1", ""),
        "1,ISIC_0000002,0",
    ]
    truth(tmp_path).write_bytes(("\ufeff" + "\r\n".join(rows) + "\r\n\r\n,,\r\n\r\n").encode())
    assert isic.load(tmp_path, "training").labels.tolist() == [1, 2, 0]


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ("../ISIC_0000009,0.0,0.0", r"line 5: the id is '\.\./ISIC_0000009'; expected ISIC_ and 7 digits"),
        ("/etc/ISIC_0000009,0.0,0.0", "line 5: the id is '/etc/ISIC_0000009'; expected"),
        ("ISIC_000000٣,0.0,0.0", "line 5: the id is .*; expected"),
        ("ISIC_0000001,0.0,0.0", "line 5: ISIC_0000001 stands here for the second time; delete one"),
        ("ISIC_0000009,1.0,1.0", "line 5: ISIC_0000009 is both melanoma and seborrheic_keratosis; at most one"),
        ("ISIC_0000009,2.0,0.0", "line 5: melanoma is '2.0'; expected 0 or 1"),
        ("ISIC_0000009,0.0,-1", "line 5: seborrheic_keratosis is '-1'; expected 0 or 1"),
        ("ISIC_0000009,0.5,0", "line 5: melanoma is '0.5'; expected 0 or 1"),
        ("ISIC_0000009,nan,0", "line 5: melanoma is 'nan'; expected 0 or 1"),
        ("ISIC_0000009,yes,0", "line 5: melanoma is 'yes'; expected 0 or 1"),
        ("ISIC_0000009,,0", "line 5: melanoma is ''; expected 0 or 1"),
        ("ISIC_0000009,0.0", "line 5: 2 cells, where the header has 3"),
        ('"ISIC_0000009,0.0,0.0', r"line 5: not CSV \(unexpected end of data\); correct it"),
    ],
)
def test_bad_rows_are_named_by_their_line(tmp_path, row, words):
    a_split(tmp_path, rows=[*ROWS, row], ids=[row.split(",")[0] for row in ROWS])
    fails(tmp_path, words)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "GroundTruth.csv is empty; expected a header with the columns " + HEADER),
        (b"\n\n", "GroundTruth.csv is empty"),
        (HEADER.encode() + b"\n", "has a header but no rows; expected a row for each image"),
        (b"image,label\na,b\n", "has the columns image,label; expected " + HEADER),
        (HEADER.replace(",", ";").encode() + b"\n", "has the columns image_id;melanoma;.*separated by commas"),
        (HEADER.encode() + b",melanoma\n", "has the columns .*,melanoma; expected .* each once"),
        ((HEADER + "\n").encode("utf-16"), "is not a CSV file in UTF-8; save it as one"),
    ],
)
def test_bad_tables(tmp_path, content, words):
    a_split(tmp_path)
    truth(tmp_path).write_bytes(content)
    fails(tmp_path, words)


def test_ids_and_images_are_checked_both_ways(tmp_path):
    folder = a_split(tmp_path)
    (folder / "ISIC_0000002.jpg").rename(folder / "ISIC_0000007.jpg")
    fails(tmp_path, "1 ids of .*GroundTruth.csv have no image in .*Training_Data: ISIC_0000002; add the images")
    (folder / "ISIC_0000007.jpg").rename(folder / "ISIC_0000002.jpg")
    for n in range(4):
        Image.new("RGB", (7, 5)).save(folder / f"ISIC_000001{n}.jpg")
    fails(
        tmp_path,
        r"4 images in .*Training_Data have no row in .*GroundTruth.csv: "
        r"ISIC_0000010, ISIC_0000011, ISIC_0000012, \.\.\.; add the rows",
    )


def test_two_files_of_one_id_and_files_of_other_names(tmp_path):
    folder = a_split(tmp_path)
    (folder / "ISIC_0000001.png").touch()
    fails(tmp_path, r"holds both ISIC_0000001\.jpg and ISIC_0000001\.png; delete one of them")
    (folder / "ISIC_0000001.png").rename(folder / "ISIC_0000001 (1).png")
    fails(tmp_path, r"1 images in .* have no row in .*: ISIC_0000001 \(1\); add the rows")


def test_every_class_needs_images_to_train_on_but_not_to_validate_on(tmp_path):
    for name in ("Training", "Validation"):
        a_split(tmp_path, name, rows=["ISIC_0000001,0.0,0.0", "ISIC_0000002,0.0,0.0"])
    fails(tmp_path, "has no image of melanoma or seborrheic_keratosis; every class needs images to train on")
    assert isic.load(tmp_path, "validation").labels.tolist() == [0, 0]


def test_what_is_missing_and_where_to_get_it(tmp_path):
    a_split(tmp_path)
    fails(
        tmp_path,
        "ISIC-2017_Test_v2_Data is not there; get https://.*/2017/ISIC-2017_Test_v2_Data.zip "
        r"\(MD5 5f6a0b5e1f2972bd1f5ea02680489f09\) and unpack it there",
        split="test",
    )
    (tmp_path / "ISIC-2017_Validation_Data.zip").touch()
    fails(tmp_path, "Validation_Data is not there, but ISIC-2017_Validation_Data.zip is; unpack it there", "validation")
    truth(tmp_path).unlink()
    fails(tmp_path, r"GroundTruth.csv is not there; get https.*GroundTruth.csv \(MD5 0cb4add.*\) and put it there")
    fails(tmp_path / "nowhere", "the data folder .*nowhere is not there; check the path")
    (tmp_path / "file").touch()
    fails(tmp_path / "file", "the data folder .*file is a file, where a folder was expected; check the path")


def test_a_file_where_the_image_folder_should_be(tmp_path):
    folder = a_split(tmp_path)
    folder.rename(tmp_path / "elsewhere")
    folder.touch()
    fails(tmp_path, "Training_Data is a file, where a folder was expected")


def test_a_folder_one_level_too_high_or_too_low(tmp_path):
    inside = a_split(tmp_path / "isic2017")
    fails(tmp_path, "does not hold ISIC-2017_Training_Data, but .*isic2017 has ISIC-2017's files; name that folder")
    fails(inside, "does not hold ISIC-2017_Training_Data, but .*isic2017 has ISIC-2017's files; name that folder")
    for folder in (tmp_path, tmp_path / "isic2017", inside):
        assert isic.is_isic(folder)


def test_other_folders_are_not_isic(tmp_path):
    (tmp_path / "melanoma").mkdir()
    (tmp_path / "ISIC_0000001.jpg").touch()
    assert not isic.is_isic(tmp_path)
    assert not isic.is_isic(tmp_path / "nowhere")


def test_links_that_lead_nowhere(tmp_path):
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    assert not isic.is_isic(tmp_path / "a")
    fails(tmp_path / "a", "the data folder .*a is a link that leads nowhere; check the path")
    for layout in ("auto", "isic", "folder"):
        with pytest.raises(MinicamError, match="a is a link that leads nowhere; check the path"):
            open_split(str(tmp_path / "a"), layout, "training", 0)


def test_every_file_of_the_challenge_has_a_checksum():
    assert len(isic.MD5) == len({*isic.MD5.values()}) == 6
    assert all(len(md5) == 32 and int(md5, 16) for md5 in isic.MD5.values())


@pytest.mark.real
@pytest.mark.parametrize(("split", "counts"), [("training", [1372, 374, 254]), ("validation", [78, 30, 42])])
def test_the_real_images(real, split, counts):
    folder = real / "isic2017"
    assert isic.is_isic(folder)
    found = isic.load(folder, split)
    assert np.bincount(found.labels).tolist() == counts
    assert len(isic.without_copies(found)) == len(found) - len(isic.COPIES) * (split == "training")
    assert None not in found.masks
    for i in range(0, len(found), len(found) // 10):
        assert found.image(i).shape == (*found.shape(i), 3)
        assert 0 < found.mask(i).mean() < 1
        assert found.mask(i).shape == found.shape(i)


@pytest.mark.real
def test_the_copies_look_alike(real):
    """What is fine in them correlates, at the best of a few shifts, as it does not in two pictures of two lesions."""

    def fine(name):
        (path,) = (real / "isic2017").glob(f"ISIC-2017_*_Data/{name}.jpg")
        with Image.open(path) as image:
            grey = np.log(np.asarray(image.convert("L").resize((48, 48), Image.Resampling.BOX), np.float32) + 10)
        return (ndimage.gaussian_filter(grey, 0.6) - ndimage.gaussian_filter(grey, 2))[3:-3, 3:-3]

    def likeness(a, b):
        shifts = [(y, x) for y in range(-2, 3) for x in range(-2, 3)]
        return max(np.corrcoef(a.ravel(), np.roll(b, shift, (0, 1)).ravel())[0, 1] for shift in shifts)

    pairs = [(fine(a), fine(b)) for a, b in isic.COPIES.items()]
    assert min(likeness(a, b) for a, b in pairs) > 0.65
    others = [likeness(a, pairs[(i + 1) % len(pairs)][1]) for i, (a, _) in enumerate(pairs)]
    assert np.mean(others) < 0.35
