"""What a trained network says of a set of images: probabilities, class activation maps, and the crops they lead to."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from tqdm import tqdm

from minicam import cam
from minicam.config import Config
from minicam.data import Dataset
from minicam.data.loader import Loader
from minicam.metrics import summarise
from minicam.model import Network
from minicam.ops import softmax_loss


@dataclass(frozen=True)
class Located:
    """What `locate` found for N images.

    probabilities (N, K)
    classes (N,)            the class whose CAM was looked at: the most probable one, unless another was asked for
    boxes (N, 4)            the tight box of that CAM, in pixels of the original
    crops (N, 4)            that box made fit to be cropped: padded, squared and so on
    """

    probabilities: np.ndarray
    classes: np.ndarray
    boxes: np.ndarray
    crops: np.ndarray

    @classmethod
    def joined(cls, parts: Sequence["Located"]) -> "Located":
        """What was found for several sets of images, as one."""
        return cls(*(np.concatenate([getattr(part, field.name) for part in parts]) for field in fields(cls)))


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

    Nothing of a batch is kept, so the memory needed does not grow with the number of images. A bar shows how far it is
    where there is a title for it.
    """
    w_fc = network.params()["CAM_fc/kernel"]
    with tqdm(total=len(loader.dataset), desc=title, unit="image", leave=False, disable=None if title else True) as bar:
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


def locate_batches(
    network: Network, loader: Loader, rule: cam.CropRule, title: str = "", asked: int | None = None
) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray, Located]]:
    """Batch by batch: indices (B,), maps (B, h, w, K), normalised maps (B, size, size) of one class, and their boxes.

    asked  the class whose CAM gives the boxes; None: the most probable one of each image
    """
    for indices, p, maps in predict(network, loader, title):
        classes = p.argmax(1) if asked is None else np.full(len(p), asked)
        heats = heat_of(maps, classes, loader.size)
        pairs = [cam.boxes_of(h, loader.dataset.shape(i), rule) for i, h in zip(indices, heats, strict=True)]
        boxes, crops = np.array(pairs).swapaxes(0, 1)  # (B, 2, 4) -> two of (B, 4)
        yield indices, maps, heats, Located(p, classes, boxes, crops)


def locate(network: Network, loader: Loader, rule: cam.CropRule, title: str = "") -> Located:
    """Probabilities of whole images, and the boxes that the CAM of the most probable class leads to."""
    return Located.joined([found for *_, found in locate_batches(network, loader, rule, title)])


def mean_box_iou(dataset: Dataset, boxes: Any) -> float | None:
    """The mean IoU of boxes (N, 4) with the tight boxes of the lesion masks; None where there are no masks."""
    overlaps = []
    for i, box in enumerate(boxes):
        mask = dataset.mask(i)
        truth = None if mask is None else cam.mask_box(mask, dataset.shape(i))
        if truth is not None:
            overlaps.append(cam.box_iou(tuple(box), truth))
    return float(np.mean(overlaps)) if overlaps else None


def summary_of(
    dataset: Dataset, located: Located, probabilities: np.ndarray, box_iou: float | None, seconds: float
) -> dict:
    """The figures of `summary.json`: what was located in stage 1, and the probabilities (N, K) of stage 2."""
    return summarise(
        dataset.labels,
        located.probabilities,
        probabilities,
        dataset.classes,
        dataset.tasks,
        box_iou,
        seconds,
    )
