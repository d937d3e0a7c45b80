"""Images and their labels, read one at a time: what every data set looks like to the rest of the library."""

from dataclasses import dataclass, replace
from typing import Self

import numpy as np

from minicam import MinicamError


@dataclass(frozen=True, eq=False)
class Dataset:
    """A set of N images. A subclass says where the pixels come from, by `shape`, `image`, `identity` and `mask`.

    split    "training", "validation", "test", or whatever the images are
    ids      N names, unique; they stand in the CSV files that a run writes
    labels   int64 (N,): the class of each image, -1 where it is not known
    classes  the names of the classes, in the order of the network's outputs
    tasks    the classes that are scored, each against the rest ("melanoma against the rest")
    """

    split: str
    ids: tuple[str, ...]
    labels: np.ndarray
    classes: tuple[str, ...]
    tasks: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.ids)

    def shape(self, i: int) -> tuple[int, int]:
        """Height and width in pixels of the original image, as a person sees it (EXIF rotation applied)."""
        raise NotImplementedError

    def image(self, i: int, size: int | None = None, box: tuple[int, int, int, int] | None = None) -> np.ndarray:
        """The whole image, uint8 (h, w, 3), RGB: the original, or the original reduced.

        size   None, or the side in pixels of the square that will be sampled from `box`: the image may then be
               reduced by 2, 4 or 8, as long as the box keeps `size` pixels on both sides (or all it has, if fewer).
               Sampling from the reduced image is faster, and aliases less. A side of the box may still have more
               than 2 * size pixels, for both are reduced alike: the loader averages these, too, along each axis.
        box    x0, y0, x1, y1, half-open, in pixels of the original; None is the whole image
        """
        raise NotImplementedError

    def identity(self, i: int) -> str:
        """A text for the pixels of the original, found without reading them: where they change, so does it."""
        raise NotImplementedError

    def mask(self, i: int) -> np.ndarray | None:
        """The lesion mask, bool (H, W) at the original size or evenly reduced from it; None where there is none."""
        raise NotImplementedError

    def subset(self, indices: np.ndarray) -> Self:
        """The same data set with only these images, in this order."""
        raise NotImplementedError

    def _pick(self, indices: np.ndarray, **fields: object) -> Self:
        """What `subset` of a subclass calls, with the fields of its own already picked."""
        return replace(self, ids=tuple(self.ids[i] for i in indices), labels=self.labels[indices], **fields)


def limit(labels: np.ndarray, count: int) -> np.ndarray:
    """Indices of `count` images, in order, that keep the share of every class as nearly as whole numbers can.

    Every class that is present keeps at least one image where count allows. Of each class the images are taken at even
    steps through the set, as neighbours often come from one source: the first nevi of ISIC-2017 all wear a sticker.
    """
    if count < 1:
        raise MinicamError(f"a limit of {count} images leaves none; give 1 or more, or no limit")
    classes, sizes = np.unique(labels, return_counts=True)
    if count >= len(labels):
        return np.arange(len(labels))
    quota = count * sizes / len(labels)
    take = np.maximum(np.floor(quota).astype(int), 1 if count >= len(classes) else 0)
    while take.sum() != count:  # hand out what rounding left to the class that is owed most, or take it back
        short = take.sum() < count
        owed = np.where(take < sizes, quota - take, -np.inf) if short else np.where(take > 1, take - quota, -np.inf)
        take[np.argmax(owed)] += 1 if short else -1
    kept = [np.flatnonzero(labels == c)[np.arange(n) * s // n] for c, n, s in zip(classes, take, sizes, strict=True)]
    return np.sort(np.concatenate(kept))
