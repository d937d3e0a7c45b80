"""What a trained network says of a set of images: probabilities, class activation maps, and the crops they lead to."""

import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from minicam import MinicamError, cam
from minicam.backend import device_of, first_line, free_gpu_memory, gpu_memory, to_cpu, to_device
from minicam.config import Config
from minicam.data import Dataset
from minicam.data.loader import Loader
from minicam.features import FeatureLoader
from minicam.model import Network
from minicam.ops import softmax_loss


@dataclass(frozen=True)
class Located:
    """What `locate` found for N images.

    probabilities (N, K)
    classes (N,)            the most probable class, unless another was asked for
    boxes (N, 4)            the tight box of the map that the crop rule looks at, in pixels of the original
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
    cache: Path | None = None,
) -> Loader:
    """The loader of a stage of a run, for its training as for looking at other images with what it learned.

    cache  folder for features, where the run rounds them so that they can be kept; None: computed each time
    """
    seed, device = (config.seed, stage), network.device
    given = dataset, config.size, config.batch, network.colour, crops, config.augment, seed, workers, device
    if config.float16_features:
        return FeatureLoader(*given, network=network, cache=cache)
    return Loader(*given)


def predict(network: Network, loader: Loader, title: str = "") -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Batch by batch, in order: indices (B,), probabilities (B, K), and maps (B, h, w, K) at the network's own size."""
    for indices, seen in look(network, loader, title):
        yield indices, seen.probabilities, seen.maps


def look(network: Network, loader: Loader, title: str = "") -> Iterator[tuple[np.ndarray, cam.Seen]]:
    """Batch by batch, in order: indices (B,), and what the network says of these images.

    Nothing of a batch is kept, so the memory needed does not grow with the number of images. A bar shows how far it is
    where there is a title for it. MinicamError where a batch is too large for the GPU.
    """
    with enough_memory(network, loader):
        yield from _look(network, loader, title)


def _look(network: Network, loader: Loader, title: str) -> Iterator[tuple[np.ndarray, cam.Seen]]:
    w_fc = to_cpu(network.params()["CAM_fc/kernel"])
    progress = tqdm(total=len(loader.dataset), desc=title, unit="image", leave=False, disable=None if title else True)
    with progress as bar:
        for batch in loader.in_order():
            logits = network.forward(batch.x, start=batch.start)
            # The probabilities are wanted, not the loss: any labels do.
            labels = to_device(np.zeros(len(logits), np.int64), device_of(logits))
            _, probabilities = softmax_loss.forward(logits, labels)
            maps = cam.cam(to_cpu(network.features), w_fc)
            yield batch.indices, cam.Seen(to_cpu(probabilities), maps, network.pooled)
            bar.update(len(batch.indices))


@contextmanager
def enough_memory(network: Network, loader: Loader, learning: bool = False) -> Iterator[None]:
    """Where the GPU runs out of memory in the block, which runs batches of the loader, say which batch would fit.

    The block is best one call: what the functions in it hold can be given up then, and what fits be measured.

    learning  whether the block runs backward, too
    """
    try:
        yield
    except MemoryError as error:
        if network.device != "cuda":
            raise
        reason = first_line(error)
        traceback.clear_frames(error.__traceback__)  # which hold what the failed step had allocated
    else:
        return
    fits = batch_that_fits(network, (loader.size, loader.size, 3), learning)
    advice = f"--batch {fits} would fit" if fits else "not even one image fits: try a smaller --size, or --device cpu"
    raise MinicamError(f"the GPU's memory is too small for a batch of {loader.batch} images ({reason}); {advice}")


def batch_that_fits(network: Network, image_shape: Sequence[int], learning: bool) -> int:
    """How many images (H, W, 3) a batch may have on this GPU, reckoned from what batches of one and of two take."""
    taken = []
    try:
        for count in (1, 2):
            network.forget()
            free_gpu_memory()
            before, free = gpu_memory()[0], gpu_memory()[2]
            x = to_device(np.zeros((count, *image_shape), np.float32), network.device)
            logits = network.forward(x, learning)
            if learning:
                network.backward(logits)
            taken.append(gpu_memory()[0] - before)
            del x, logits
    except MemoryError:
        return len(taken)
    finally:
        network.forget()
        free_gpu_memory()
    if learning:
        free -= sum(array.nbytes for array in network.params(learning_only=True).values())  # SGD's velocities
    one_more = taken[1] - taken[0]
    return 1 + int((0.95 * free - taken[0]) // max(one_more, 1))  # the pool's blocks leave gaps


def probabilities_of(
    network: Network, loader: Loader, title: str = "", views: int = 1, known: Sequence[np.ndarray] = ()
) -> np.ndarray:
    """Probabilities (N, K) of all images of the loader, averaged over the first so many of `augment.VIEWS`.

    known  those of the first views, where they have been computed before
    """
    turned = (replace(loader, view=view) for view in range(len(known), views))
    found = (np.concatenate([p for _, p, _ in predict(network, one, title)]) for one in turned)
    return np.mean([*known, *found], axis=0)


def heat_of(maps: np.ndarray, classes: np.ndarray, size: int) -> np.ndarray:
    """The normalised maps (B, size, size) of one class an image, classes (B,), from maps (B, h, w, K)."""
    return _heat(cam.of_class(maps, classes), size)


def _heat(maps: np.ndarray, size: int) -> np.ndarray:
    return cam.normalise(cam.upsample(maps, (size, size)))


def locate_batches(
    network: Network, loader: Loader, rule: cam.CropRule, title: str = "", asked: int | None = None
) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray, Located]]:
    """Batch by batch: indices (B,), CAMs (B, h, w, K), the normalised maps (B, size, size) that boxes are found in, and
    these boxes.

    asked  the class whose CAM gives the boxes; None: they are found as the rule says
    """
    for indices, seen in look(network, loader, title):
        p, maps = seen.probabilities, seen.maps
        classes = p.argmax(1) if asked is None else np.full(len(p), asked)
        region = cam.region_of(seen, rule) if asked is None else cam.of_class(maps, classes)
        heats = _heat(region, loader.size)
        pairs = [cam.boxes_of(h, loader.dataset.shape(i), rule) for i, h in zip(indices, heats, strict=True)]
        boxes, crops = np.array(pairs).swapaxes(0, 1)  # (B, 2, 4) -> two of (B, 4)
        yield indices, maps, heats, Located(p, classes, boxes, crops)


def locate(network: Network, loader: Loader, rule: cam.CropRule, title: str = "") -> Located:
    """Probabilities of whole images, and the boxes that the rule finds."""
    return Located.joined([found for *_, found in locate_batches(network, loader, rule, title)])


def learn_foreground(network: Network, loader: Loader, title: str = "") -> np.ndarray:
    """The weights (C,) of the region "foreground", from all images of the loader; see `cam.learn_foreground`."""
    rule = cam.CropRule(region="foreground")
    return cam.learn_foreground(np.concatenate([cam.pooled(seen, rule) for _, seen in look(network, loader, title)]))


def mean_box_iou(dataset: Dataset, boxes: Any) -> float | None:
    """The mean IoU of boxes (N, 4) with the tight boxes of the lesion masks; None where there are no masks."""
    overlaps = box_ious(dataset, boxes)
    return float(np.mean(overlaps)) if overlaps else None


def box_ious(dataset: Dataset, boxes: Any) -> list[float]:
    """The IoU of each of boxes (N, 4) with the tight box of its image's lesion; images without a mask are left out."""
    overlaps = []
    for i, box in enumerate(boxes):
        mask = dataset.mask(i)
        truth = None if mask is None else cam.mask_box(mask, dataset.shape(i))
        if truth is not None:
            overlaps.append(cam.box_iou(tuple(box), truth))
    return overlaps
