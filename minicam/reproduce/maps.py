"""How well maps and boxes find the lesions of a set of images, and whether what a map shows is what counts.

Images without a mask are left out.
"""

from dataclasses import fields, replace

import numpy as np

from minicam import cam
from minicam.backend import to_cpu, to_device
from minicam.data import Dataset, limit
from minicam.data.loader import Loader
from minicam.inference import box_ious, locate_batches
from minicam.metrics import DELETED, delete, deletion_area, map_figures
from minicam.model import Network
from minicam.ops import softmax_loss

DELETION_IMAGES = 100  # each is looked at once for every share that is deleted

Values = dict[str, list[float]]  # one for each image


def values_of_maps(network: Network, loader: Loader, rule: cam.CropRule, deletion: bool = False) -> Values:
    """The `metrics.map_figures` of the map that the rule looks at, in what the loader shows: images, or crops.

    Beside them "lesion", the lesion's share of what is shown, which is what a map that knows nothing would have inside.

    deletion  whether to measure the deletion curve, too, of the predicted class's probability, for some of the images:
              its area, and by how much it is below that of the map `middle`, which knows nothing either
    """
    found: Values = {name: [] for name in ("pointing", "iou", "inside", "lesion")}
    dataset = loader.dataset
    for indices, _, heats, _ in locate_batches(network, loader, rule, f"maps of {rule.region}"):
        for i, heat in zip(indices, heats, strict=True):
            lesion = lesion_in(dataset, i, None if loader.boxes is None else loader.boxes[i])
            if lesion is not None:
                values = map_figures(heat, lesion, rule.threshold) | {"lesion": float(lesion.mean())}
                for name, value in values.items():
                    found[name].append(value)
    if deletion:
        areas, middle = deletion_areas(network, loader, rule), replace(rule, region="middle")
        blind = areas if rule == middle else deletion_areas(network, loader, middle)
        found |= {"deletion": areas.tolist(), "deletion_gain": (blind - areas).tolist()}
    return found


def values_of_boxes(dataset: Dataset, boxes: np.ndarray | None, crops: np.ndarray) -> Values:
    """IoU of tight boxes (N, 4), where given, with those of the lesions' masks; a lesion's share kept in its crop."""
    kept = []
    for i, crop in enumerate(crops):
        mask = dataset.mask(i)
        if mask is not None and mask.any():
            kept.append(float(lesion_in(dataset, i, crop).sum() / mask.sum()))
    return ({} if boxes is None else {"iou": box_ious(dataset, boxes)}) | {"kept": kept}


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
