"""ISIC-2017, "Skin Lesion Analysis Toward Melanoma Detection" (Codella et al., arXiv 1710.05006), Part 3.

One folder holds what the challenge's archives unpack to (masks are optional, in either place):

    ISIC-2017_Training_Data/ISIC_0000000.jpg                   also Validation and Test_v2, here and below
    ISIC-2017_Training_Part3_GroundTruth.csv                   image_id,melanoma,seborrheic_keratosis
    ISIC-2017_Training_Part1_GroundTruth/ISIC_0000000_segmentation.png
    masks/training/ISIC_0000000_segmentation.png               also masks/validation and masks/test

The truth marks melanoma and seborrheic keratosis; a lesion that is neither is a benign nevus, here the class
0. The challenge scores two tasks, melanoma against the rest and seborrheic keratosis against the rest.
"""

import os
import re
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from minicam import MinicamError
from minicam.data.images import FileDataset, as_folder, is_image
from minicam.data.table import read_table

CLASSES = ("nevus", "melanoma", "seborrheic_keratosis")
TASKS = ("melanoma", "seborrheic_keratosis")
NAMES = {"training": "Training", "validation": "Validation", "test": "Test_v2"}
COLUMNS = ("image_id", "melanoma", "seborrheic_keratosis")

# Training images that are the same picture as another one, or nearly, often in other colours. With them, an image that
# is to be held out would stand among those that are learned from. The first four have theirs in validation, the others
# in training. Found by the correlation of what is fine in all pairs of the 2000 training and 150 validation images, at
# 96 pixels a side, up to three pixels apart, flipped and turned; the 80 pairs that correlated most were looked at, for
# lesions may be alike and be two. The 600 test images were not at hand, and were compared with none.
COPIES = {
    "ISIC_0012970": "ISIC_0012127",
    "ISIC_0000171": "ISIC_0015124",
    "ISIC_0000157": "ISIC_0014946",
    "ISIC_0000215": "ISIC_0015313",
    "ISIC_0013594": "ISIC_0012290",
    "ISIC_0013184": "ISIC_0012756",
    "ISIC_0012673": "ISIC_0012672",
    "ISIC_0014795": "ISIC_0000164",
    "ISIC_0014788": "ISIC_0000165",
    "ISIC_0014657": "ISIC_0000177",
    "ISIC_0014748": "ISIC_0000204",
    "ISIC_0014742": "ISIC_0000205",
    "ISIC_0014739": "ISIC_0000206",
    "ISIC_0014846": "ISIC_0000222",
    "ISIC_0014818": "ISIC_0000223",
    "ISIC_0014791": "ISIC_0000224",
    "ISIC_0014778": "ISIC_0000225",
    "ISIC_0014771": "ISIC_0000229",
    "ISIC_0010016": "ISIC_0001134",
}

ADDRESSES = (
    "https://isic-challenge-data.s3.amazonaws.com/2017/",
    "https://isic-archive.s3.amazonaws.com/challenges/2017/",  # a newer mirror
)
MD5 = {
    "ISIC-2017_Training_Data.zip": "a14a7e622c67a358797ae59abb8a0b0c",
    "ISIC-2017_Validation_Data.zip": "8d6419d942112f709894c0d82f6c9038",
    "ISIC-2017_Test_v2_Data.zip": "5f6a0b5e1f2972bd1f5ea02680489f09",
    "ISIC-2017_Training_Part3_GroundTruth.csv": "0cb4add57c65c22ca1a1cb469ad1f0c5",
    "ISIC-2017_Validation_Part3_GroundTruth.csv": "8d4826a76adcd8fb928ca52a23ebae4c",
    "ISIC-2017_Test_v2_Part3_GroundTruth.csv": "9e957b72a0c4f9e0d924889fd03b36ed",
}


def is_isic(folder: str | Path) -> bool:
    """Whether a folder is meant as ISIC-2017: it has the challenge's names in it.

    So has one that is a level too high or too low; `load` then says which folder to name instead.
    """
    folder = Path(folder)
    return _has_names(folder) or _one_level_off(folder) is not None


def load(folder: str | Path, split: str) -> FileDataset:
    """The "training", "validation" or "test" images, labels and masks, sorted by id.

    Ids and images are checked both ways: each row has its image, each image its row. Superpixel maps and
    metadata are ignored. Raises MinicamError for what is missing or wrong; of a training set every class must
    have images.
    """
    if split not in NAMES:
        raise MinicamError(f"ISIC-2017 has no split {split!r}; choose one of {', '.join(NAMES)}")
    folder = as_folder(folder)
    images = folder / f"ISIC-2017_{NAMES[split]}_Data"
    table = folder / f"ISIC-2017_{NAMES[split]}_Part3_GroundTruth.csv"
    for part in (images, table):
        if not part.exists():
            raise MinicamError(_how_to_get(part))

    labels = _labels(table)
    paths = _paths(images)
    _demand_none(labels.keys() - paths.keys(), f"ids of {table} have no image in {images}", "add the images")
    _demand_none(paths.keys() - labels.keys(), f"images in {images} have no row in {table}", "add the rows")
    ids = tuple(sorted(labels))
    classes = np.array([labels[i] for i in ids], np.int64)
    if split == "training":
        count = np.bincount(classes, minlength=len(CLASSES))
        empty = [name for name, n in zip(CLASSES, count, strict=True) if n == 0]
        if empty:
            raise MinicamError(
                f"{table} has no image of {' or '.join(empty)}; every class needs images to train on"
            )
    masks = _masks(folder, split)
    return FileDataset(
        split=split,
        ids=ids,
        labels=classes,
        classes=CLASSES,
        tasks=TASKS,
        paths=tuple(paths[i] for i in ids),
        masks=tuple(masks.get(i) for i in ids),
    )


def without_copies(dataset: FileDataset) -> FileDataset:
    """The images of a training set that have no near copy elsewhere: 1981 of the 2000 (see COPIES)."""
    return dataset.subset(np.array([i for i, name in enumerate(dataset.ids) if name not in COPIES], np.int64))


def _labels(table: Path) -> dict[str, int]:
    """The class of each id of a truth file."""
    labels = {}
    for line, row in read_table(table, COLUMNS):
        where, image_id = f"{table}, line {line}", row["image_id"]
        if not re.fullmatch("ISIC_[0-9]{7}", image_id):
            raise MinicamError(f"{where}: the id is {image_id!r}; expected ISIC_ and 7 digits")
        if image_id in labels:
            raise MinicamError(
                f"{where}: {image_id} stands here for the second time; delete one of the two rows"
            )
        marks = [_mark(row[task], f"{where}: {task}") for task in TASKS]
        if sum(marks) > 1:
            raise MinicamError(f"{where}: {image_id} is both {' and '.join(TASKS)}; at most one can be 1")
        labels[image_id] = CLASSES.index(TASKS[marks.index(1)]) if any(marks) else 0
    return labels


def _mark(cell: str, where: str) -> int:
    try:
        value = float(cell)
    except ValueError:
        value = None
    if value not in (0, 1):
        raise MinicamError(f"{where} is {cell!r}; expected 0 or 1")
    return int(value)


def _paths(images: Path) -> dict[str, Path]:
    """The file of each id; any other image file too, by its stem, so that `load` finds it without a row."""
    paths = {}
    for path in sorted(as_folder(images).iterdir()):
        if is_image(path):
            if path.stem in paths:
                raise MinicamError(
                    f"{images} holds both {paths[path.stem].name} and {path.name}; delete one of them"
                )
            paths[path.stem] = path
    return paths


def _masks(folder: Path, split: str) -> dict[str, Path]:
    """The lesion mask of each id that has one; where both places do, it is that in masks/."""
    end = "_segmentation.png"
    official = folder / f"ISIC-2017_{NAMES[split]}_Part1_GroundTruth"
    places = [place for place in (official, folder / "masks" / split) if place.is_dir()]
    return {path.name.removesuffix(end): path for place in places for path in place.glob(f"ISIC_*{end}")}


def _demand_none(ids: Iterable[str], fault: str, remedy: str) -> None:
    ids = sorted(ids)
    if ids:
        shown = ", ".join(ids[:3]) + (", ..." if len(ids) > 3 else "")
        raise MinicamError(f"{len(ids)} {fault}: {shown}; {remedy}, or take the archive's files again")


def _how_to_get(part: Path) -> str:
    """The line for a part of the data that is not where it should be."""
    other = _one_level_off(part.parent)
    if other is not None:
        return f"{part.parent} does not hold {part.name}, but {other} has ISIC-2017's files; name that folder"
    archive = part.name if part.suffix else f"{part.name}.zip"
    if part.with_name(archive).exists():
        return f"{part} is not there, but {archive} is; unpack it there"
    unpack = "unpack it" if archive.endswith(".zip") else "put it"
    return f"{part} is not there; get {ADDRESSES[0]}{archive} (MD5 {MD5[archive]}) and {unpack} there"


def _has_names(folder: Path) -> bool:
    names = (
        f"ISIC-2017_{name}_{part}" for name in NAMES.values() for part in ("Data", "Part3_GroundTruth.csv")
    )
    return any(os.path.exists(folder / name) for name in names)


def _one_level_off(folder: Path) -> Path | None:
    """The folder with ISIC-2017's names that lies around, or in, one that has none; None if none does."""
    if _has_names(folder):
        return None
    real = Path(os.path.realpath(folder))  # not folder.resolve(): of links in a loop Python 3.11 makes a RuntimeError
    around = [real.parent] if real.name.startswith("ISIC-2017_") else []
    inside = sorted({path.parent for path in folder.glob("*/ISIC-2017_*")})
    return next((path for path in (*around, *inside) if _has_names(path)), None)
