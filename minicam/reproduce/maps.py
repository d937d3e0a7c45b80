"""How well maps and boxes find the lesions of a set of images, and whether what a map shows is what counts.

Images without a mask are left out; where there are none with one, the figures are None.
"""

from dataclasses import fields, replace

import numpy as np

from minicam import cam
from minicam.backend import to_cpu, to_device
from minicam.data import Dataset, limit
from minicam.data.loader import Loader
from minicam.inference import locate_batches
from minicam.metrics import DELETED, delete, deletion_area, interval, map_figures
from minicam.model import Network
from minicam.ops import softmax_loss

DELETION_IMAGES = 150  # each is looked at once for every share that is deleted

Figures = dict[str, list[float] | None]  # the mean over images, and the ends of its 95 % interval


def figures_of_maps(network: Network, loader: Loader, rule: cam.CropRule, deletion: bool = False) -> Figures:
    """The `metrics.map_figures` of the map that the rule looks at, in what the loader shows: images, or crops.

    deletion  whether to measure the deletion curve, too: of the predicted class's probability, for some of the images
    """
    rows, dataset = [], loader.dataset
    for indices, _, heats, _ in locate_batches(network, loader, rule, f"maps of {rule.region}"):
        for i, heat in zip(indices, heats, strict=True):
            lesion = lesion_in(dataset, i, None if loader.boxes is None else loader.boxes[i])
            if lesion is not None:
                rows.append(map_figures(heat, lesion, rule.threshold))
    found = {name: mean_of(np.array([row[name] for row in rows])) for name in ("pointing", "iou", "inside")}
    return found | {"deletion": mean_of(deletion_areas(network, loader, rule))} if deletion else found


def figures_of_boxes(dataset: Dataset, boxes: np.ndarray, crops: np.ndarray) -> Figures:
    """IoU of boxes (N, 4) with the boxes of the lesions' masks, and the share of a lesion that is kept in its crop."""
    overlaps, kept = [], []
    for i, (box, crop) in enumerate(zip(boxes, crops, strict=True)):
        mask = dataset.mask(i)
        truth = None if mask is None else cam.mask_box(mask, dataset.shape(i))
        if truth is not None:
            overlaps.append(cam.box_iou(tuple(box), truth))
            kept.append(lesion_in(dataset, i, crop).sum() / mask.sum())
    return {"iou": mean_of(np.array(overlaps)), "kept": mean_of(np.array(kept))}


def lesion_in(dataset: Dataset, i: int, box: np.ndarray | None) -> np.ndarray | None:
    """The mask, bool (h, w), of what lies in a box of image number i; None where it has none."""
    mask = dataset.mask(i)
    if mask is None or box is None:
        return mask
    H, W = dataset.shape(i)
    across, down = mask.shape[1] / W, mask.shape[0] / H
    x0, y0, x1, y1 = box
    left, top = int(x0 * across), int(y0 * down)
    return mask[top : max(round(y1 * down), top + 1), left : max(round(x1 * across), left + 1)]


def deletion_areas(network: Network, loader: Loader, rule: cam.CropRule) -> np.ndarray:
    """The area under each image's deletion curve (see `metrics.deletion_area`), of at most DELETION_IMAGES."""
    chosen = limit(loader.dataset.labels, DELETION_IMAGES)
    boxes = None if loader.boxes is None else loader.boxes[chosen]
    # Pixels are wanted, so this is a plain loader, even where that one shows features.
    plain = {field.name: getattr(loader, field.name) for field in fields(Loader) if field.init}
    pixels = Loader(**plain | {"dataset": loader.dataset.subset(chosen), "boxes": boxes, "kept": {}})
    some = replace(loader, dataset=pixels.dataset, boxes=boxes, kept={})
    areas = []
    located = locate_batches(network, some, rule, f"deletion by {rule.region}")
    for batch, (_, _, heats, found) in zip(pixels.in_order(), located, strict=True):
        x, curves = to_cpu(batch.x), []
        for share in DELETED:
            left = np.stack([delete(image, heat, share) for image, heat in zip(x, heats, strict=True)])
            logits = network.forward(to_device(left, network.device))
            _, p = softmax_loss.forward(logits, to_device(np.zeros(len(left), np.int64), network.device))
            curves.append(to_cpu(p)[np.arange(len(left)), found.classes])
        areas += [deletion_area(curve) for curve in np.transpose(curves)]
    return np.array(areas)


def mean_of(values: np.ndarray) -> list[float] | None:
    """The mean of values (N,), and the ends of its 95 % interval; None where there are none."""
    if not len(values):
        return None
    return [float(values.mean()), *interval(lambda v: float(v.mean()), values)]
