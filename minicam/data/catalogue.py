"""Find the images that `--data`, `--layout` and `--limit` ask for."""

from pathlib import Path

from minicam import MinicamError
from minicam.data import Dataset, folder, isic, limit, synthetic

LAYOUTS = ("auto", "isic", "folder")


def open_split(data: str | None, layout: str, split: str, seed: int, count: int | None = None) -> Dataset:
    """One split of a data set.

    data    a folder; None is the built-in set
    layout  "isic", "folder", or "auto": isic where the folder has the official names
    split   "training", "validation" or "test"
    seed    draws the built-in set, and holds a validation split out of a folder that has none
    count   take this many images, stratified by class; None: all
    """
    if layout not in LAYOUTS:
        raise MinicamError(f"--layout {layout} is not known; choose one of {', '.join(LAYOUTS)}")
    if data is None:
        dataset = synthetic.load(split, seed)
    elif layout == "isic" or (layout == "auto" and isic.is_isic(Path(data))):
        dataset = isic.load(Path(data), split)
    else:
        dataset = folder.load_split(Path(data), split, seed)
    return dataset if count is None else dataset.subset(limit(dataset.labels, count))
