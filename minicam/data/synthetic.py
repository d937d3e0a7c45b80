"""The built-in data: dermoscopy-like lesions on skin, drawn in memory from a seed, so that everything runs offline.

THIS SET IS BUILT SO THAT CROPPING CAN HELP, as in the real task. Three classes of lesions are drawn at 384 px with
their masks. What tells them apart lies inside the lesion, and most of it at a scale of a few pixels:

    nevus                  smooth and symmetric, one colour that fades towards a soft border
    melanoma               a pigment network (a mesh of thin dark lines) and an irregular border
    seborrheic_keratosis   milia-like cysts (small bright dots), dark pits, and a sharp edge

The tints of the three differ a little, too, but overlap. Squashed to the 64 px that the small network sees, most of
the fine evidence blurs away; a crop around the lesion brings it back. Position, size and skin tone vary independently
of the class, and hairs, ruler ticks, dark corners, gel bubbles and coloured stickers distract. The set teaches the
method; it says nothing about real skin. How the pictures are painted is in `paint.py`.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from PIL import Image

from minicam.data import Dataset
from minicam.data.images import reduction
from minicam.data.paint import SIDE, paint

CLASSES = ("nevus", "melanoma", "seborrheic_keratosis")
SIZES = {"training": 300, "validation": 150, "test": 150}


@dataclass(frozen=True, eq=False)
class SyntheticDataset(Dataset):
    """The images with these `numbers` out of the split that `seed` draws; a number and a seed are one picture."""

    seed: int = 0
    numbers: tuple[int, ...] = ()

    def shape(self, i: int) -> tuple[int, int]:
        return SIDE, SIDE

    def image(self, i: int, size: int | None = None, box: tuple[int, int, int, int] | None = None) -> np.ndarray:
        x0, y0, x1, y1 = box or (0, 0, SIDE, SIDE)
        return _reduced(*self._picture(i), reduction(min(x1 - x0, y1 - y0), size))

    def identity(self, i: int) -> str:
        return str(self._picture(i))

    def mask(self, i: int) -> np.ndarray:
        return _draw(*self._picture(i))[1]

    def subset(self, indices: np.ndarray) -> "SyntheticDataset":
        return self._pick(indices, numbers=tuple(self.numbers[i] for i in indices))

    def _picture(self, i: int) -> tuple[str, tuple[int, ...]]:
        # + 1: NumPy fills short seeds with zeros, so that 0 would be the stream that the labels are drawn from.
        return CLASSES[self.labels[i]], (self.seed, list(SIZES).index(self.split), self.numbers[i] + 1)


def load(split: str, seed: int = 0, count: int | None = None) -> SyntheticDataset:
    """The built-in set: the classes in equal shares, in an order that the seed shuffles."""
    count = SIZES[split] if count is None else count
    labels = np.random.default_rng([seed, list(SIZES).index(split)]).permutation(np.arange(count) % len(CLASSES))
    ids = tuple(f"{split}_{i:04d}" for i in range(count))
    return SyntheticDataset(split, ids, labels, CLASSES, CLASSES[1:], seed, tuple(range(count)))


@lru_cache(maxsize=1024)  # 0.6 MB each: the whole built-in job is drawn once
def _draw(label: str, seed: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    image, mask = paint(label, np.random.default_rng(seed))
    image.flags.writeable = mask.flags.writeable = False  # they are shared
    return image, mask


@lru_cache(maxsize=2048)
def _reduced(label: str, seed: tuple[int, ...], factor: int) -> np.ndarray:
    """The picture with each block of factor x factor pixels replaced by its mean."""
    image = _draw(label, seed)[0]
    if factor == 1:
        return image
    image = np.asarray(Image.fromarray(image).reduce(factor))
    image.flags.writeable = False
    return image
