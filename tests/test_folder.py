"""Labelled images in a folder: the three layouts, what is held out for validation, and what each fault says."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from minicam import MinicamError
from minicam.data import folder as folders
from minicam.data.folder import hold_out, load, load_split


def image(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (6, 4)).save(path)


def in_class_folders(root, **counts):
    for name, count in counts.items():
        for n in range(count):
            image(root / name / f"{n:02}.png")
    return root


def with_table(root, rows, header="image,label", name="labels.csv", images=()):
    for row in [*rows, *images]:
        image(root / row.split(",")[0])
    (root / name).write_text("\n".join([header, *rows, ""]))
    return root


def fails(root, words, split=None, **options):
    with pytest.raises(MinicamError, match=words) as failure:
        load(root, 0, **options) if split is None else load_split(root, split, 0, **options)
    assert "\n" not in str(failure.value)


def counts(dataset):
    return dict(zip(dataset.classes, np.bincount(dataset.labels, minlength=len(dataset.classes)), strict=True))


# a folder for each class


def test_a_folder_for_each_class(tmp_path):
    training, validation = load(in_class_folders(tmp_path, wart=10, cyst=20, mole=5), seed=0)
    assert (training.split, validation.split) == ("training", "validation")
    for part in (training, validation):
        assert part.classes == part.tasks == ("cyst", "mole", "wart")
        assert list(part.ids) == sorted(part.ids)
        assert [part.classes[label] for label in part.labels] == [i.split("/")[0] for i in part.ids]
        assert [f"{path.parent.name}/{path.stem}" for path in part.paths] == list(part.ids)
        assert part.labels.dtype == np.int64
        assert part.image(0).shape == (4, 6, 3)
    assert counts(training) == {"cyst": 16, "mole": 4, "wart": 8}
    assert counts(validation) == {"cyst": 4, "mole": 1, "wart": 2}
    assert not set(training.ids) & set(validation.ids)


def test_of_two_classes_the_second_is_the_task(tmp_path):
    training, _ = load(in_class_folders(tmp_path, malignant=4, benign=4), seed=0)
    assert (training.classes, training.tasks) == (("benign", "malignant"), ("malignant",))


def test_hidden_files_other_files_and_loose_images_are_ignored(tmp_path):
    in_class_folders(tmp_path, a=3, b=3)
    image(tmp_path / "overview.png")
    image(tmp_path / "a" / ".hidden.png")
    image(tmp_path / ".cache" / "x.png")
    image(tmp_path / "a" / ".thumbs" / "x.png")
    (tmp_path / "b" / "notes.txt").write_text("x")
    (tmp_path / "ages.csv").write_text("image,age\n")
    assert sum(len(part) for part in load(tmp_path, 0)) == 6


def test_images_deeper_in_a_class_folder_and_equal_stems(tmp_path):
    for name in ("a/p1/x.png", "a/p2/x.png", "b/x.png", "b/x.bmp", "b/y.png"):
        image(tmp_path / name)
    ids = {i for part in load(tmp_path, 0) for i in part.ids}
    assert ids == {"a/p1/x", "a/p2/x", "b/x.png", "b/x.bmp", "b/y"}


def test_a_mask_lies_at_the_id_of_its_image(tmp_path):
    in_class_folders(tmp_path, a=2, b=2)
    (tmp_path / "masks" / "a").mkdir(parents=True)
    Image.new("1", (6, 4), 1).save(tmp_path / "masks" / "a" / "01.png")
    masks = {i: part.mask(n) for part in load(tmp_path, 0) for n, i in enumerate(part.ids)}
    assert masks.pop("a/01").shape == (4, 6)
    assert list(masks.values()) == [None] * 3


@pytest.mark.parametrize("name", ["Val", "valid", "validation"])
def test_a_split_given_by_folders(tmp_path, name):
    in_class_folders(tmp_path / "train", a=4, b=3)
    in_class_folders(tmp_path / name, a=2)
    in_class_folders(tmp_path / "test", b=5)
    in_class_folders(tmp_path / "masks", train=1)
    (tmp_path / "__MACOSX").mkdir()
    (tmp_path / "test" / "a").mkdir()
    training, validation = load(tmp_path, 0)
    assert counts(training) == {"a": 4, "b": 3}
    assert counts(validation) == {"a": 2, "b": 0}
    assert validation.ids == (f"{name}/a/00", f"{name}/a/01")
    assert counts(load_split(tmp_path, "test", seed=0)) == {"a": 0, "b": 5}
    assert load_split(tmp_path, "training", seed=0).ids == training.ids


def test_where_only_a_test_split_is_given_validation_comes_from_training(tmp_path):
    in_class_folders(tmp_path / "training", a=5, b=5)
    in_class_folders(tmp_path / "test", a=5, b=5)
    training, validation = load(tmp_path, 0)
    assert (counts(training), counts(validation)) == ({"a": 4, "b": 4}, {"a": 1, "b": 1})
    assert all(i.startswith("training/") for i in validation.ids)


def test_a_class_may_be_called_test(tmp_path):
    assert load(in_class_folders(tmp_path / "a", test=3, control=3), 0)[0].classes == ("control", "test")
    assert load(in_class_folders(tmp_path / "b", invalid=3, valid=3), 0)[0].classes == ("invalid", "valid")


def test_no_class_may_be_called_mean(tmp_path):
    fails(in_class_folders(tmp_path, mean=3, mode=3), "has a class 'mean', as the mean AUC .* is called; rename the")


def test_faults_of_class_folders(tmp_path):
    fails(tmp_path, "holds no labelled images: expected a CSV file with the columns image,label, or images in a")
    in_class_folders(tmp_path, only=3)
    fails(tmp_path, "has only the class 'only' to train on; at least two classes need images")
    (tmp_path / "empty").mkdir()
    fails(tmp_path, "the class folder .*empty holds no images; fill it or remove it")
    image(tmp_path / "empty" / "0.png")
    fails(tmp_path, "has no split 'test', only training, validation; put images in test/<class>/", split="test")
    fails(tmp_path / "nowhere", "the data folder .*nowhere is not there")
    for share in (0, 1, -0.1):
        fails(tmp_path, f"a share of {share} for validation was asked for; it lies between 0 and 1", validation=share)


def test_faults_of_given_folders(tmp_path):
    in_class_folders(tmp_path / "train", a=2, b=2)
    (tmp_path / "val").mkdir()
    fails(tmp_path, "val holds no images in class folders; fill it or remove it")
    in_class_folders(tmp_path / "val", c=1)
    fails(tmp_path, r"val/c/00\.png is of class 'c', which has no training images; add some")
    (tmp_path / "training").mkdir()
    fails(tmp_path, "has both train/ and training/; keep one of them")


def test_splits_without_training_are_no_classes(tmp_path):
    in_class_folders(tmp_path / "validation", a=2, b=2)
    fails(tmp_path, "holds validation/, but there is no training/; add it, with a folder for each class")
    in_class_folders(tmp_path / "Test", a=2, b=2)
    fails(tmp_path, "holds Test/ and validation/, but there is no training/")
    in_class_folders(tmp_path / "training_set", a=2, b=2)
    fails(tmp_path, "holds Test/ and validation/, but there is no training/")


def test_images_beside_training_in_a_folder_that_is_no_split(tmp_path):
    in_class_folders(tmp_path / "train", a=4, b=4)
    in_class_folders(tmp_path / "Holdout", a=1)
    words = "train, training, val, valid, validation, test, or remove it"
    fails(tmp_path, f"Holdout is no split, and lies beside train/; call it one of {words}")


def test_one_image_of_each_class_cannot_be_split(tmp_path):
    fails(in_class_folders(tmp_path, a=1, b=1), "too few images or groups to hold any out for validation; add some")


# a table


def test_a_table_of_images(tmp_path):
    rows = [f"images/{n}.png,{'ab'[n % 2]}" for n in range(10)]
    training, validation = load(with_table(tmp_path, rows, images=["images/unused.png"]), 0)
    assert sorted(training.ids + validation.ids) == [f"images/{n}" for n in range(10)]
    for part in (training, validation):
        assert [int(i[-1]) % 2 for i in part.ids] == part.labels.tolist()
    assert counts(validation) == {"a": 1, "b": 1}


def test_any_one_table_with_the_columns_will_do(tmp_path):
    with_table(tmp_path, ["0.png,a", "1.png,a", "2.png,b"], name="truth.csv")
    (tmp_path / "ages.csv").write_text("image,age\n0.png,50\n")
    (tmp_path / ".truth.csv").write_text("image,label\n")
    assert len(load(tmp_path, 0)[0]) == 2
    (tmp_path / "truth_old.csv").write_text("image,label\n")
    fails(tmp_path, r"several CSV files with labels, truth\.csv, truth_old\.csv; name the one to use labels\.csv")
    (tmp_path / "truth.csv").rename(tmp_path / "labels.csv")
    assert len(load(tmp_path, 0)[0]) == 2


def test_names_without_suffix_with_backslashes_and_further_columns(tmp_path):
    for name in ("s/0.PNG", "s/1.png", "s/2.png", "3.png"):
        image(tmp_path / name)
    (tmp_path / "labels.csv").write_text("age,image,label\n9,s/0,a\n8,s\\1.png,a\n7,./s/2,b\n6,3,b\n")
    assert sorted(load(tmp_path, 0)[0].ids + load(tmp_path, 0)[1].ids) == ["3", "s/0", "s/1", "s/2"]


def test_a_split_given_by_a_column(tmp_path):
    rows = ["0.png,a,train", "1.png,b,Training", "2.png,b,val", "3.png,a,test", "4.png,a,train"]
    training, validation = load(with_table(tmp_path, rows, "image,label,split"), 0)
    assert (training.ids, validation.ids) == (("0", "1", "4"), ("2",))
    assert load_split(tmp_path, "test", 0).ids == ("3",)


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ("../x.png,a,g,train", r"line 4: the image '\.\./x\.png' leads out of .*; name one in it"),
        ("s/../../x.png,a,g,train", "line 4: the image .* leads out of"),
        ("..\\x.png,a,g,train", "line 4: the image .* leads out of"),
        ("/etc/x.png,a,g,train", "line 4: the image '/etc/x.png' leads out of"),
        ("C:\\x.png,a,g,train", "line 4: the image .* leads out of"),
        ("9.png,a,g,train", r"line 4: .* holds no image '9\.png' \(a file ending in \.jpg, .*\); add it or delete"),
        (",a,g,train", "line 4: .* holds no image ''"),
        ("twice,a,g,train", "line 4: several images are called 'twice'; name one with its suffix"),
        ("./0.png,a,g,train", r"line 4: 0\.png stands here for the second time; delete one of the two rows"),
        ("0,b,g,train", r"line 4: 0\.png stands here for the second time"),
        ("2.png,,g,train", r"line 4: 2\.png has no label; fill it in"),
        ("2.png,a,,train", r"line 4: 2\.png has no group; fill it in"),
        ("2.png,a,g,", r"line 4: 2\.png has no split; fill it in"),
        ("2.png,a,g,holdout", "line 4: the split is 'holdout'; expected training, validation or test"),
        ("2.png,a,g,val", "the group 'g' has images in train.* and in validation; keep it in one"),
        ("2.png,c,h,val", r"2\.png is of class 'c', which has no training images; add some"),
    ],
)
def test_faults_of_a_table(tmp_path, row, words):
    with_table(tmp_path, ["0.png,a,g,train", "1.png,b,g,train"], "image,label,group,split", images=["2.png"])
    image(tmp_path / "twice.png")
    image(tmp_path / "twice.bmp")
    with open(tmp_path / "labels.csv", "a") as table:
        table.write(row + "\n")
    fails(tmp_path, words)


def test_a_table_that_is_bad_as_a_whole(tmp_path):
    with_table(tmp_path, ["0.png,a,test", "1.png,b,test"], "image,label,split")
    fails(tmp_path, r"labels\.csv has no images to train on; at least two classes need images")
    (tmp_path / "labels.csv").write_text("image;label\n0.png;a\n")
    fails(tmp_path, r"labels\.csv has the columns image;label; expected image,label, separated by commas")
    (tmp_path / "labels.csv").write_text("")
    fails(tmp_path, r"labels\.csv is empty; expected a header with the columns image,label")


# what is held out


def test_the_split_is_the_same_for_a_seed_and_another_for_another(tmp_path):
    in_class_folders(tmp_path, a=20, b=20)
    again = {seed: load(tmp_path, seed) for seed in (0, 1)}
    for split, part in zip(("training", "validation"), again[0], strict=True):
        assert load_split(tmp_path, split, seed=0).ids == part.ids
    assert again[0][1].ids != again[1][1].ids
    assert len(load(tmp_path, 0, validation=0.5)[1]) == 20


def test_the_order_in_which_files_and_rows_come_does_not_matter(tmp_path, monkeypatch):
    rows = [f"{n}.png,{'ab'[n % 2]},{n // 3}" for n in range(30)]
    ids = load(with_table(tmp_path / "x", rows, "image,label,group"), 3)[1].ids
    assert load(with_table(tmp_path / "y", rows[::-1], "image,label,group"), 3)[1].ids == ids

    in_class_folders(tmp_path / "z", a=9, b=9)
    ids = load(tmp_path / "z", 3)[1].ids
    monkeypatch.setattr(folders, "_images_under", lambda path, listed=folders._images_under: listed(path)[::-1])
    assert load(tmp_path / "z", 3)[1].ids == ids


def test_groups_are_never_divided(tmp_path):
    rows = [f"{n}.png,{'ab'[n % 2]},patient {n // 4}" for n in range(40)]
    for seed in range(5):
        parts = load(with_table(tmp_path, rows, "image,label,group"), seed)
        training, validation = ({int(i) // 4 for i in part.ids} for part in parts)
        assert not training & validation
        assert len(validation) == 2


@settings(deadline=None)
@given(st.data())
def test_hold_out_keeps_groups_whole_and_leaves_every_class_to_train_on(data):
    N = data.draw(st.integers(4, 40))
    drawn = data.draw(st.lists(st.integers(0, 2), min_size=N, max_size=N))
    labels = np.unique(drawn, return_inverse=True)[1]
    groups = [f"g{g}" for g in data.draw(st.lists(st.integers(0, 12), min_size=N, max_size=N))]
    held = hold_out(labels, groups, data.draw(st.floats(0.05, 0.6)), seed=data.draw(st.integers(0, 9)))
    assert not {g for g, h in zip(groups, held, strict=True) if h} & {
        g for g, h in zip(groups, held, strict=True) if not h
    }
    assert set(labels[~held]) == set(labels)


@settings(deadline=None)
@given(st.lists(st.integers(2, 30), min_size=2, max_size=4), st.floats(0.01, 0.99), st.integers(0, 9), st.randoms())
def test_without_groups_each_class_gives_its_share_and_at_least_one(sizes, share, seed, random):
    labels = np.repeat(np.arange(len(sizes)), sizes)
    random.shuffle(labels)
    held = hold_out(labels, [f"image {n}" for n in range(len(labels))], share, seed)
    for c, size in enumerate(sizes):
        number = held[labels == c].sum()
        assert 1 <= number < size
        assert abs(number - share * size) <= 0.5 + 1e-6 or number in (1, size - 1)
