"""The class activation map (CAM), and the way from it to a crop: map -> box -> crop.

    cam[n,i,j,k] = sum over c of  features[n,i,j,c] * w_fc[c,k]

Because GAP is linear, `mean over i,j of cam[n,:,:,k] + b_fc[k]` is exactly the logit of class k: the map says how much
each place contributes to it. Boxes are x0, y0, x1, y1, half-open, in pixels. Everything here takes plain arrays.

Source: Zhou et al., "Learning Deep Features for Discriminative Localization" (2016): the map is their equation 2, the
rule for boxes (20 % of the maximum, largest connected component) their section 3.2.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from minicam.ops import warp

Box = tuple[int, int, int, int]


@dataclass(frozen=True)
class CropRule:
    """How a CAM becomes a crop: `threshold` is `find_box`'s, the others are `adjust_box`'s."""

    threshold: float = 0.2
    padding: float = 0.0
    minimum: float = 0.0
    square: bool = False


def cam(features: Any, w_fc: Any) -> Any:
    """Maps (N, h, w, K), one a class, of features (N, h, w, C) and the weights w_fc (C, K) of the last layer."""
    return features @ w_fc  # (N, h, w, C) (C, K) -> (N, h, w, K)


def normalise(maps: np.ndarray) -> np.ndarray:
    """max(cam, 0) / max(cam), each map (h, w) of maps (..., h, w) on its own: values in 0..1.

    A map that is constant, or nowhere positive, gives zeros: it shows no place above another.
    """
    top, bottom = maps.max((-2, -1), keepdims=True), maps.min((-2, -1), keepdims=True)
    shows = (top > 0) & (top > bottom)
    return np.where(shows, np.maximum(maps, 0) / np.where(shows, top, 1), 0).astype(maps.dtype)


def upsample(maps: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Maps (N, h, w) at the given size (N, height, width): bilinear, half-pixel centres, edges repeated."""
    large = warp.resize(maps[..., None], size, maps.dtype.type)[..., 0]
    # Means lie between what they are means of, but for rounding, which must not make a constant map uneven.
    return np.clip(large, maps.min((-2, -1), keepdims=True), maps.max((-2, -1), keepdims=True))


def find_box(heat: np.ndarray, threshold: float = 0.2) -> Box:
    """The tight box of the largest connected component (4 neighbours) of heat (H, W) above `threshold` * its maximum.

    heat is a normalised map. One of zeros has the whole image as its box. Of equal components the first counts.
    """
    from scipy import ndimage  # here, because it takes longer to import than the rest of the library

    H, W = heat.shape
    above = heat > threshold * heat.max()
    labels, count = ndimage.label(above)
    if count == 0:
        return 0, 0, W, H
    largest = 1 + int(np.argmax(np.bincount(labels.ravel())[1:]))
    rows, columns = ndimage.find_objects(labels, largest)[largest - 1]
    return columns.start, rows.start, columns.stop, rows.stop


def adjust_box(
    box: tuple[float, float, float, float],
    shape: tuple[int, int],
    padding: float = 0.0,
    minimum: float = 0.0,
    square: bool = False,
) -> Box:
    """`box` made fit to be cropped from an image of `shape` (H, W), in whole pixels and inside the image.

    padding  is added on each side, as a fraction of the box's width and height
    minimum  the least width and height, as a fraction of the image's
    square   the shorter side is grown to the longer one (in pixels), as far as the image reaches

    A box that would reach over an edge of the image is moved inside, not cut, as long as it fits.
    """
    x0, y0, x1, y1 = box
    H, W = shape
    width = max((x1 - x0) * (1 + 2 * padding), minimum * W)
    height = max((y1 - y0) * (1 + 2 * padding), minimum * H)
    if square:
        width = height = max(width, height)
    left, right = _place((x0 + x1) / 2, width, W)
    top, bottom = _place((y0 + y1) / 2, height, H)
    return left, top, right, bottom


def _place(centre: float, length: float, limit: int) -> tuple[int, int]:
    """An interval of whole pixels around `centre`, at least `length` long, moved to lie in 0..limit."""
    start = min(max(centre - length / 2, 0), max(limit - length, 0))
    first = int(np.floor(start + 1e-9))
    return first, min(max(int(np.ceil(start + length - 1e-9)), first + 1), limit)


def boxes_of(heat: np.ndarray, shape: tuple[int, int], rule: CropRule) -> tuple[Box, Box]:
    """From an up-sampled normalised map `heat` (h, w): its tight box, and the crop that the rule makes of that box.

    Both in pixels of the original image, of `shape` (H, W).
    """
    x0, y0, x1, y1 = find_box(heat, rule.threshold)
    across, down = shape[1] / heat.shape[1], shape[0] / heat.shape[0]
    box = adjust_box((x0 * across, y0 * down, x1 * across, y1 * down), shape)
    return box, adjust_box(box, shape, rule.padding, rule.minimum, rule.square)


def mask_box(mask: np.ndarray, shape: tuple[int, int]) -> Box | None:
    """The tight box of a lesion mask, bool (h, w), in pixels of the original (H, W); None where the mask is empty."""
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    if not len(rows):
        return None
    across, down = shape[1] / mask.shape[1], shape[0] / mask.shape[0]
    box = columns[0] * across, rows[0] * down, (columns[-1] + 1) * across, (rows[-1] + 1) * down
    return adjust_box(box, shape)


def box_iou(a: Box, b: Box) -> float:
    """Intersection over union of two boxes: 1 where they are equal, 0 where they do not touch."""
    width, height = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    both = max(width, 0) * max(height, 0)
    return both / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - both)
