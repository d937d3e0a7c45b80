"""Real dermoscopy images and the real weights of VGG16, where they have been downloaded; None where not. Real figures.

Lessons show them where they help, and otherwise the built-in pictures: all of them work offline. How to get them:
`python -m minicam.weights download`, and the README on ISIC-2017, to be unpacked into a folder ISIC beside it.
MINICAM_WEIGHTS and MINICAM_ISIC name other places, relative to the repository's folder; named as nothing, they hide
what is there. What cannot be used is said once, in a line, and the lesson goes on without it.
"""

import functools
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from minicam import MinicamError
from minicam.data import Dataset, isic, synthetic
from minicam.model import Network, vgg16_gap
from minicam.weights import keras
from minicam.weights.download import NAME

ROOT = Path(__file__).parents[2]


@functools.cache
def weights_file() -> Path | None:
    """The HDF5 file of VGG16's ImageNet weights."""
    file = _place("MINICAM_WEIGHTS", ROOT / "weights" / NAME)
    return file if file and _said(_filled, file) else None


def vgg16() -> Network | None:
    """VGG16-GAP for three classes, with the ImageNet weights below its CAM head, which is fresh."""
    file = weights_file()
    return file and _filled(file)


def _filled(file: Path) -> Network:
    network = vgg16_gap()
    keras.assign(network.params(), keras.read(file), file, optional=("CAM_conv", "CAM_fc"))
    return network


def photographs(split: str = "validation") -> Dataset | None:
    """The images of ISIC-2017, near copies and all, if both training and validation are there."""
    return _isic().get(split)


@functools.cache
def _isic() -> dict[str, Dataset]:
    folder = _place("MINICAM_ISIC", ROOT / "ISIC")
    return (folder and _said(_halves, folder)) or {}


def _halves(folder: Path) -> dict[str, Dataset]:
    return {split: isic.load(folder, split) for split in ("training", "validation")}


def lesions(split: str = "validation", count: int | None = None) -> Dataset:
    """Photographs where there are some, the built-in drawings where not. `count` limits the latter only.

    Of the training images those that have no near copy (`isic.COPIES`): they are learned from.
    """
    found = photographs(split)
    return isic.without_copies(found) if found else synthetic.load(split, count=count)


def recorded(pattern: str) -> list[dict]:
    """What was measured: the files of results/ whose names match, `cpu-*.json`, read."""
    return [json.loads(path.read_text(encoding="utf-8")) for path in sorted((ROOT / "results").glob(pattern))]


def _place(variable: str, usual: Path) -> Path | None:
    """Where to look: the place that is named, though nothing be there, or the usual one if it is there."""
    if variable in os.environ:
        named = os.environ[variable]
        return ROOT / os.path.expanduser(named) if named else None
    return usual if usual.exists() else None


def _said(read: Callable, path: Path) -> Any:
    """What is read; None, and minicam's line printed, where that cannot be done."""
    try:
        return read(path)
    except MinicamError as error:
        print(f"{error}\nThe lesson goes on with what is built in.")
        return None
