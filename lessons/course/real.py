"""Real dermoscopy images and the real weights of VGG16, where they have been downloaded; None where not. Real figures.

Lessons show them where they help, and otherwise the built-in pictures: all of them work offline. How to get them:
`python -m minicam.weights download`, and the README on ISIC-2017, to be unpacked into a folder ISIC beside it.
MINICAM_WEIGHTS and MINICAM_ISIC name other places.
"""

import json
import os
from pathlib import Path

from minicam.data import Dataset, isic, synthetic
from minicam.model import Network, vgg16_gap
from minicam.weights import keras
from minicam.weights.download import NAME

ROOT = Path(__file__).parents[2]


def weights_file() -> Path | None:
    """The HDF5 file of VGG16's ImageNet weights."""
    return _there("MINICAM_WEIGHTS", ROOT / "weights" / NAME)


def isic_folder() -> Path | None:
    """The folder of ISIC-2017."""
    return _there("MINICAM_ISIC", ROOT / "ISIC")


def vgg16() -> Network | None:
    """VGG16-GAP for three classes, with the ImageNet weights below its CAM head, which is fresh."""
    file = weights_file()
    if file is None:
        return None
    network = vgg16_gap()
    keras.assign(network.params(), keras.read(file), file, optional=("CAM_conv", "CAM_fc"))
    return network


def photographs(split: str = "validation") -> Dataset | None:
    """The images of ISIC-2017."""
    folder = isic_folder()
    return None if folder is None else isic.load(folder, split)


def lesions(split: str = "validation", count: int | None = None) -> Dataset:
    """Photographs where there are some, the built-in drawings where not. `count` limits the latter only."""
    return photographs(split) or synthetic.load(split, count=count)


def recorded(pattern: str) -> list[dict]:
    """What was measured: the files of results/ whose names match, `cpu-*.json`, read."""
    return [json.loads(path.read_text(encoding="utf-8")) for path in sorted((ROOT / "results").glob(pattern))]


def _there(variable: str, usual: Path) -> Path | None:
    path = Path(os.environ.get(variable) or usual)
    return path if path.exists() else None
