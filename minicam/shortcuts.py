"""Where does a score come from? Images with a part painted over in the colour of their own skin, to be scored again.

    python -m minicam.evaluate RUN --split validation --without lesion

    lesion    what is left is skin, stickers, rulers, hair and the rim; but the patch still has the lesion's outline
    box       the lesion's bounding box: of its outline only the size is left
    outside   all but the lesion and a margin
    strange   what has another colour than the skin: stickers, pen marks, cloth
    rim       the outer tenth on each side: the edge of the dermatoscope, rulers, what reaches in

All need the lesion's mask, to know where to paint: an image without one stays as it is, and so does one without any lit
skin to take the colour from.
"""

from dataclasses import dataclass, field
from typing import Self

import numpy as np

from minicam import MinicamError
from minicam.cam import mask_at
from minicam.data import Dataset

MARGIN = 0.03  # around a lesion, as a share of the image's shorter side: masks are drawn tight
RIM = 0.1
PARTS = ("lesion", "box", "outside", "strange", "rim")
STRANGE = 0.09  # distance of chromaticities, each of which adds up to 1
LIT = 150  # red, green and blue together: what is darker has no colour to speak of


def parts_of(image: np.ndarray, mask: np.ndarray) -> dict[str, np.ndarray]:
    """Where each of PARTS is, bool (H, W); image uint8 (H, W, 3), mask bool (H, W)."""
    from scipy import ndimage  # here, because it takes longer to import than the rest of the library

    lesion = ndimage.binary_dilation(mask, iterations=_pixels(MARGIN, mask.shape))
    return {
        "lesion": lesion,
        "box": lesion.any(0) & lesion.any(1)[:, None],
        "outside": ~lesion,
        "strange": strange(image, lesion),
        "rim": rim(lesion),
    }


def strange(image: np.ndarray, lesion: np.ndarray) -> np.ndarray:
    """Patches outside the lesion whose colour, whatever its brightness, is far from the median of the skin."""
    from scipy import ndimage

    skin = ~lesion & lit(image)
    if not skin.any():
        return skin
    colour = (image + 1.0) / (image + 1.0).sum(2, keepdims=True)  # chromaticity
    other = skin & (np.linalg.norm(colour - np.median(colour[skin], axis=0), axis=2) > STRANGE)
    patches = ndimage.binary_opening(other, iterations=_pixels(0.012, lesion.shape))  # no hairs, no single pixels
    return ndimage.binary_dilation(patches, iterations=_pixels(0.02, lesion.shape)) & ~lesion


def rim(lesion: np.ndarray) -> np.ndarray:
    """A frame, where it is not lesion."""
    inner = np.zeros(lesion.shape, bool)
    down, across = (int(RIM * side) for side in lesion.shape)
    inner[down : lesion.shape[0] - down, across : lesion.shape[1] - across] = True
    return ~inner & ~lesion


def lit(image: np.ndarray) -> np.ndarray:
    """Where an image is bright enough to have a colour."""
    return image.sum(2, dtype=int) > LIT


@dataclass(frozen=True, eq=False)
class Painted(Dataset):
    """A data set with one of PARTS painted over in each image. It has no `identity`: what is painted depends on more.

    of    the data set
    part  the name
    """

    of: Dataset = field(kw_only=True)
    part: str = field(kw_only=True)

    @classmethod
    def over(cls, dataset: Dataset, part: str) -> Self:
        """The data set, painted over. MinicamError where no image has a mask, and where there is no such part."""
        if part not in PARTS:
            raise MinicamError(f"{part!r} cannot be painted over; choose one of {', '.join(PARTS)}")
        if all(dataset.mask(i) is None for i in range(len(dataset))):
            raise MinicamError("none of the images has a mask that says where its lesion is; leave out --without")
        own = {name: getattr(dataset, name) for name in ("split", "ids", "labels", "classes", "tasks")}
        return cls(**own, of=dataset, part=part)

    def shape(self, i: int) -> tuple[int, int]:
        return self.of.shape(i)

    def image(self, i: int, size: int | None = None, box: tuple[int, int, int, int] | None = None) -> np.ndarray:
        image, mask = self.of.image(i, size, box), self.of.mask(i)
        return image if mask is None else paint_over(image, mask_at(mask, image.shape[:2]), self.part)

    def mask(self, i: int) -> np.ndarray | None:
        return self.of.mask(i)

    def painted(self) -> int:
        """How many of the images have a mask, and so are painted over."""
        return sum(self.mask(i) is not None for i in range(len(self)))

    def subset(self, indices: np.ndarray) -> Self:
        return self._pick(np.arange(len(self))[indices], of=self.of.subset(indices))


def paint_over(image: np.ndarray, mask: np.ndarray, part: str) -> np.ndarray:
    """A copy of the image in which the part has the median colour of the skin: lit, not strange, not the lesion."""
    parts, painted = parts_of(image, mask), image.copy()
    skin = parts["outside"] & ~parts["strange"] & lit(image)
    if skin.any():
        painted[parts[part]] = np.median(image[skin], axis=0).astype(np.uint8)
    return painted


def _pixels(share: float, shape: tuple[int, int]) -> int:
    return max(1, round(share * min(shape)))
