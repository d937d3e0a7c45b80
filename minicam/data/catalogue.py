"""Find the images that `--data`, `--layout`, `--fold` and `--limit` ask for."""

from pathlib import Path

import numpy as np

from minicam import MinicamError
from minicam.data import Dataset, folder, isic, limit, synthetic

LAYOUTS = ("auto", "isic", "folder")
FOLDS = 5


def open_split(data: str | None, layout: str, split: str, seed: int, count: int | None = None) -> Dataset:
    """One split of a data set.

    data    a folder; None is the built-in set
    layout  "isic", "folder", or "auto": isic where the folder has the official names
    split   "training", "validation" or "test"
    seed    draws the built-in set, and holds a validation split out of a folder that has none
    count   take this many images, stratified by class; None: all
    Of ISIC-2017, training images that are near copies of others are left out.
    """
    if layout not in LAYOUTS:
        raise MinicamError(f"--layout {layout} is not known; choose one of {', '.join(LAYOUTS)}")
    if data is None:
        dataset = synthetic.load(split, seed)
    elif _is_isic(data, layout):
        dataset = isic.load(Path(data), split)
        dataset = isic.without_copies(dataset) if split == "training" else dataset
    else:
        dataset = folder.load_split(Path(data), split, seed)
    return dataset if count is None else dataset.subset(limit(dataset.labels, count))


def open_fold(data: str | None, layout: str, fold: int, seed: int, count: int | None = None) -> tuple[Dataset, Dataset]:
    """The training images in two parts: those to learn from, and fold number 0..4 of five, to be held out.

    Choices that are made on the second part leave the validation images untouched. The folds are stratified by class,
    and always the same. The others are as in `open_split`. MinicamError for a folder of one's own, in which images of
    one patient would be torn apart.
    """
    if data is not None and not _is_isic(data, layout):
        raise MinicamError(
            "--fold is for ISIC-2017 and the built-in data; leave it out: of a folder of your own, a share is held out "
            "anyway, whole groups together"
        )
    from sklearn.model_selection import StratifiedKFold  # here, because scikit-learn takes a second to import

    training = open_split(data, layout, "training", seed)
    fewest = np.bincount(training.labels).min()
    if fewest < FOLDS:
        raise MinicamError(f"--fold needs {FOLDS} training images of each class, and one has {fewest}; leave it out")
    folds = StratifiedKFold(FOLDS, shuffle=True, random_state=0).split(np.zeros(len(training)), training.labels)
    parts = [training.subset(indices) for indices in list(folds)[fold]]
    if count is not None:
        parts = [part.subset(limit(part.labels, count)) for part in parts]
    return parts[0], parts[1]


def _is_isic(data: str, layout: str) -> bool:
    return layout == "isic" or (layout == "auto" and isic.is_isic(Path(data)))
