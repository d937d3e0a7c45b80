"""The class activation map (CAM), and the way from it to a crop: region -> box -> crop.

    cam[n,i,j,k] = sum over c of  features[n,i,j,c] * w_fc[c,k]

Because GAP is linear, `mean over i,j of cam[n,:,:,k] + b_fc[k]` is exactly the logit of class k: the map says how much
each place contributes to it. Boxes are x0, y0, x1, y1, half-open, in pixels. Everything here takes plain arrays.

The paper crops "the region with maximum activation", and does not say of which map. REGIONS are readings of that; most
take a CAM. `foreground` is a CAM of a class that nobody has labelled: what is in the middle of images, against what
surrounds it. `middle` looks at no image at all.

Source: Zhou et al., "Learning Deep Features for Discriminative Localization" (2016): the map is their equation 2, the
rule for boxes (20 % of the maximum, largest connected component) their section 3.2.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from minicam import MinicamError
from minicam.backend import blas_on_one_thread, to_cpu
from minicam.ops import warp

Box = tuple[int, int, int, int]


@dataclass(frozen=True)
class CropRule:
    """How an image becomes a crop: `threshold` is `find_box`'s; padding, minimum and square are `adjust_box`'s.

    region      the name in REGIONS of the map in which the box is found
    foreground  (C,): the weights of the region "foreground"
    """

    threshold: float = 0.2
    padding: float = 0.0
    minimum: float = 0.0
    square: bool = False
    region: str = "predicted"
    foreground: np.ndarray | None = field(default=None, compare=False, repr=False)


def cam(features: Any, w_fc: Any) -> Any:
    """Maps (N, h, w, K), one a class, of features (N, h, w, C) and the weights w_fc (C, K) of the last layer."""
    with blas_on_one_thread():
        return features @ w_fc  # (N, h, w, C) (C, K) -> (N, h, w, K)


# -- the region: which map shows where to crop


@dataclass(frozen=True)
class Seen:
    """What a network says of N images, for a rule to find the region in.

    probabilities  (N, K)
    maps           (N, h, w, K): the CAMs
    pooled         (N, h, w, C), on the network's device: what came out of the last pooling; None where the network
                   was entered above it
    """

    probabilities: np.ndarray
    maps: np.ndarray
    pooled: Any


def region_of(seen: Seen, rule: CropRule) -> np.ndarray:
    """The map (N, h, w) of each image in which the rule looks for its box."""
    return REGIONS[rule.region](seen, rule)


def pooled(seen: Seen, rule: CropRule) -> np.ndarray:
    """`seen.pooled` for a rule that looks at it, on the CPU. MinicamError where it is not there."""
    if seen.pooled is None:
        raise MinicamError(
            f"--region {rule.region} looks at what comes out of the last pooling, and the network began above it; "
            "let it begin lower, or take another --region"
        )
    return to_cpu(seen.pooled)


def predicted(seen: Seen, rule: CropRule) -> np.ndarray:
    """The CAM of each image's most probable class: Zhou et al.'s way, and the nearest reading of the paper."""
    return of_class(seen.maps, seen.probabilities.argmax(1))


def centred(seen: Seen, rule: CropRule) -> np.ndarray:
    """The same times a Gaussian about the middle: who takes a picture of a lesion, aims at it."""
    return np.maximum(predicted(seen, rule), 0) * centre_prior(*seen.maps.shape[1:3])


def evidence(seen: Seen, rule: CropRule) -> np.ndarray:
    """What speaks for any class: the sum over the classes of the positive part of their CAMs."""
    return np.maximum(seen.maps, 0).sum(-1)


def energy(seen: Seen, rule: CropRule) -> np.ndarray:
    """Where most of the features are active, whatever they speak for, times the same Gaussian."""
    features = pooled(seen, rule)
    return features.sum(-1) * centre_prior(*features.shape[1:3])


def middle(seen: Seen, rule: CropRule) -> np.ndarray:
    """That Gaussian alone, the same for every image: what any other region has to beat."""
    N, h, w = seen.maps.shape[:3]
    return np.broadcast_to(centre_prior(h, w), (N, h, w))


def foreground(seen: Seen, rule: CropRule) -> np.ndarray:
    """How unlike the rim of its image each place is along the learned weights, times the same Gaussian."""
    features = pooled(seen, rule)
    if rule.foreground.shape != features.shape[3:]:
        raise MinicamError(
            f"the weights of --region foreground are {rule.foreground.shape}, and of this network's features "
            f"{features.shape[3:]} were expected; delete foreground.npy in the folder of the run, and resume it"
        )
    return foreground_maps(features, rule.foreground)


REGIONS: dict[str, Callable[[Seen, CropRule], np.ndarray]] = {
    rule.__name__: rule for rule in (predicted, centred, evidence, energy, middle, foreground)
}
FROM_POOLED = ("energy", "foreground")  # the others look at the CAMs
LEAST_SIDE = 4  # of what `foreground` is learned from: smaller, it has no middle and no ring


def of_class(maps: np.ndarray, classes: np.ndarray) -> np.ndarray:
    """Of maps (N, h, w, K) that of one class an image, classes (N,): (N, h, w)."""
    return np.take_along_axis(maps, classes[:, None, None, None], 3)[..., 0]


def centre_prior(h: int, w: int, deviation: float = 0.3) -> np.ndarray:
    """A Gaussian about the middle, float32 (h, w), 1 at its top. `deviation` is in sides of the image."""
    x, y = _places(h, w)
    return np.exp(-(x * x + y * y) / (2 * deviation**2)).astype(np.float32)


def foreground_maps(features: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Maps (N, h, w) of features (N, h, w, C) and weights (C,), each above the mean of its outermost places, in which
    the background shows, and then times `centre_prior`."""
    with blas_on_one_thread():
        maps = features @ weights  # (N, h, w, C) (C,) -> (N, h, w)
    rim = np.ones(maps.shape[1:], bool)
    rim[1:-1, 1:-1] = False
    return np.maximum(maps - maps[:, rim].mean(1)[:, None, None], 0) * centre_prior(*maps.shape[1:])


def learn_foreground(features: np.ndarray, rounds: int = 6) -> np.ndarray:
    """Weights (C,), float32, by which features (N, h, w, C) tell what images show from what surrounds it.

    No label is needed, and no mask: at first the middle of every image is told from a ring around it; then, in each
    round, the places that these weights find from those they do not. The ring leaves out the outermost places, which
    features know by the zeros that pad them; the rounds do not. MinicamError for maps below 4 x 4, and for even ones.
    """
    x, y = _places(*features.shape[1:3])
    ring = np.maximum(np.abs(x), np.abs(y))
    regions = np.hypot(x, y) < 0.2, (ring > 0.27) & (ring < 0.42)
    inside, outside = (np.broadcast_to(region, features.shape[:3]) for region in regions)
    for _ in range(rounds):
        maps = foreground_maps(features, discriminant(features[inside], features[outside]))
        top = maps.max((1, 2), keepdims=True)
        inside, outside = maps > 0.4 * top, maps < 0.2 * top
    return discriminant(features[inside], features[outside])


def discriminant(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """The direction (C,), float32, along which a (M, C) and b (N, C) lie apart, measured by their spread.

    The covariance within the two gets a hundredth of its mean variance added to its diagonal, to be solvable.
    Source: Fisher, "The Use of Multiple Measurements in Taxonomic Problems" (1936).
    """
    if len(a) and len(b):
        a, b = a.astype(np.float32), b.astype(np.float32)  # copies, for they are centred in place
        means = a.mean(0), b.mean(0)
        for x, mean in zip((a, b), means, strict=True):
            x -= mean
        with blas_on_one_thread():
            spread = sum(x.T @ x for x in (a, b)).astype(float) / (len(a) + len(b))
            spread += 0.01 * spread.trace() / len(spread) * np.eye(len(spread))
            if spread.any():
                return np.linalg.solve(spread, means[0] - means[1]).astype(np.float32)
    raise MinicamError("these images show no foreground: their maps are too small, or even; take another --region")


def _places(h: int, w: int) -> tuple[np.ndarray, np.ndarray]:
    """x and y (h, w) of the middles of the places, from the middle of the image, in its sides: -0.5..0.5."""
    y, x = np.meshgrid(*((np.arange(n) + 0.5) / n - 0.5 for n in (h, w)), indexing="ij")
    return x, y


# -- from the map to a box, from the box to a crop


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


def mask_at(mask: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """A lesion mask, bool (h, w), at another size (H, W): of each pixel there, the value in the place of its middle."""
    down, across = ((np.arange(n) + 0.5) * m / n for n, m in zip(shape, mask.shape, strict=True))
    return mask[np.ix_(down.astype(int), across.astype(int))]


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
