"""What a trained network says of a set of images: probabilities, class activation maps, and the crops they lead to."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from tqdm import tqdm

from minicam import cam
from minicam.config import Config
from minicam.data import Dataset
from minicam.data.loader import Loader
from minicam.model import Network
from minicam.ops import softmax_loss


@dataclass(frozen=True)
class Located:
    """What `locate` found for N images.

    probabilities (N, K)    predicted (N,): the most probable class
    boxes (N, 4)            the tight box of the CAM of that class, in pixels of the original
    crops (N, 4)            that box made fit to be cropped: padded, squared and so on
    """

    probabilities: np.ndarray
    predicted: np.ndarray
    boxes: np.ndarray
    crops: np.ndarray


def loader_for(
    network: Network,
    dataset: Dataset,
    config: Config,
    stage: int,
    workers: int,
    crops: np.ndarray | None = None,
) -> Loader:
    """The loader of a stage of a run, for its training as for looking at other images with what it learned."""
    seed = (config.seed, stage)
    return Loader(dataset, config.size, config.batch, network.colour, crops, config.augment, seed, workers)


def predict(network: Network, loader: Loader, title: str = "") -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Batch by batch, in order: indices (B,), probabilities (B, K), and maps (B, h, w, K) at the network's own size.

    Nothing of a batch is kept, so the memory needed does not grow with the number of images.
    """
    w_fc = network.params()["CAM_fc/kernel"]
    with tqdm(total=len(loader.dataset), desc=title, unit="image", leave=False, disable=None) as bar:
        for batch in loader.in_order():
            logits = network.forward(batch.x)
            # The probabilities are wanted, not the loss: any labels do.
            _, probabilities = softmax_loss.forward(logits, np.zeros(len(logits), np.int64))
            yield batch.indices, probabilities, cam.cam(network.features, w_fc)
            bar.update(len(batch.indices))


def probabilities_of(network: Network, loader: Loader, title: str = "") -> np.ndarray:
    """Probabilities (N, K) of all images of the loader."""
    return np.concatenate([probabilities for _, probabilities, _ in predict(network, loader, title)])


def heat_of(maps: np.ndarray, classes: np.ndarray, size: int) -> np.ndarray:
    """The normalised maps (B, size, size) of one class an image, classes (B,), from maps (B, h, w, K)."""
    chosen = np.take_along_axis(maps, classes[:, None, None, None], 3)[..., 0]  # (B, h, w)
    return cam.normalise(cam.upsample(chosen, (size, size)))


def locate(network: Network, loader: Loader, rule: cam.CropRule, title: str = "") -> Located:
    """Probabilities of whole images, and the boxes that the CAM of the predicted class leads to."""
    probabilities, boxes, crops = [], [], []
    for indices, p, maps in predict(network, loader, title):
        probabilities.append(p)
        for i, heat in zip(indices, heat_of(maps, p.argmax(1), loader.size), strict=True):
            box, crop = cam.boxes_of(heat, loader.dataset.shape(i), rule)
            boxes.append(box)
            crops.append(crop)
    p = np.concatenate(probabilities)
    return Located(p, p.argmax(1), np.array(boxes), np.array(crops))


def mean_box_iou(dataset: Dataset, boxes: Any) -> float | None:
    """The mean IoU of boxes (N, 4) with the tight boxes of the lesion masks; None where there are no masks."""
    overlaps = []
    for i, box in enumerate(boxes):
        mask = dataset.mask(i)
        truth = None if mask is None else cam.mask_box(mask, dataset.shape(i))
        if truth is not None:
            overlaps.append(cam.box_iou(tuple(box), truth))
    return float(np.mean(overlaps)) if overlaps else None
