"""The loader: threads read, crop and augment the next batches while the network works on this one.

Every image's randomness comes from the seed, the epoch and the image's own number, and batches come out in order, so
a run is the same whatever the number of threads, and can be resumed at any batch.

For a network on a GPU the threads only read; pixels go there as bytes, and stay for the epochs of a stage: 2000 images
of 256 px take 400 MB. Of these, nothing is read from the second epoch on, and augmentation is one launch a batch.
"""

import math
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from PIL import Image

from minicam.backend import empty, gpu_memory, stack, to_device
from minicam.data import Dataset, augment
from minicam.ops import warp

READ_AHEAD = 2  # batches being made beside the one in use
KEPT_BYTES = 4 << 30  # of pixels that stay on a device, at most: images beyond that are read again in each epoch
KEPT_SHARE = 4  # and at most the fourth part of a GPU's memory


@dataclass(frozen=True)
class Batch:
    """x float32, ready for the network; labels int64 (B,); indices (B,) into the data set.

    start  the number of the layer that x enters: 0 where it is pixels (B, size, size, 3)
    x and labels are on the loader's device.
    """

    x: Any
    labels: Any
    indices: np.ndarray
    start: int = 0


@dataclass(frozen=True)
class Source:
    """What an image is sampled from: pixels uint8 (h, w, 3), and its box there, x0, y0, x1, y1, in these pixels."""

    pixels: Any
    box: tuple[float, float, float, float]

    @property
    def nbytes(self) -> int:
        """What the pixels take."""
        return self.pixels.nbytes


@dataclass(frozen=True)
class Sample:
    """An image before it is sampled, and how to do that: affine (2, 3) and colour (3, 4) as in `ops/warp`."""

    source: Source
    affine: np.ndarray
    colour: np.ndarray


@dataclass(frozen=True)
class Loader:
    """Batches of a data set.

    size     side in pixels of the network's input
    batch    images a batch; the last batch of an epoch may be smaller
    colour   (3, 4): the network's own colour matrix, applied after the augmentation's
    boxes    (N, 4): the crop of each image, in pixels of the original; None: whole images, squashed to a square
    names    the augmentations (see `augment`)
    seed     numbers that the drawings depend on: (seed of the run, stage)
    workers  threads
    device   where the batches shall be: "cpu", "cuda" or "emulator"
    view     the flip and turn in which images that are not augmented are seen, a number of `augment.VIEWS`
    """

    dataset: Dataset
    size: int
    batch: int
    colour: np.ndarray
    boxes: np.ndarray | None = None
    names: tuple[str, ...] = ()
    seed: Sequence[int] = (0,)
    workers: int = 2
    device: str = "cpu"
    view: int = 0
    kept: dict[int, Source] = field(default_factory=dict, repr=False)  # on the device, by image

    def __len__(self) -> int:
        """Batches in an epoch."""
        return -(-len(self.dataset) // self.batch)

    def in_order(self) -> Iterator[Batch]:
        """All images once, in their order, not augmented, all in the loader's view."""
        return self._batches(np.arange(len(self.dataset)), None, 0)

    def shuffled(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        """All images once, in the order of this epoch, augmented; from batch number `start` on."""
        order = np.random.default_rng([*self.seed, epoch]).permutation(len(self.dataset))
        return self._batches(order, epoch, start)

    def _batches(self, order: np.ndarray, epoch: int | None, start: int) -> Iterator[Batch]:
        with closing(self._read_ahead(lambda i: self._pixels(i, epoch), order, start)) as parts:
            for indices, pixels in parts:
                x = self._together(indices, pixels, keep=epoch is not None)
                yield Batch(x, to_device(self.dataset.labels[indices], self.device), indices)

    def _read_ahead(
        self, read: Callable[[int], Any], order: np.ndarray, start: int
    ) -> Iterator[tuple[np.ndarray, list]]:
        """Of each batch, from number `start` on, its indices and what threads have read: [read(i) for i in indices]."""
        parts = [order[i : i + self.batch] for i in range(start * self.batch, len(order), self.batch)]
        pool = ThreadPoolExecutor(self.workers, thread_name_prefix="loader")
        ahead: deque[list[Future]] = deque()
        try:
            for number, indices in enumerate(parts):
                while number + len(ahead) < min(len(parts), number + 1 + READ_AHEAD):
                    ahead.append([pool.submit(read, i) for i in parts[number + len(ahead)]])
                yield indices, [future.result() for future in ahead.popleft()]
        finally:
            pool.shutdown(cancel_futures=True)

    def _pixels(self, i: int, epoch: int | None) -> np.ndarray | Sample:
        """Image number i as the network wants it, or all that a device needs to make that."""
        return self._sampled(i, epoch) if self.device == "cpu" else self._sample(i, epoch)

    def _together(self, indices: np.ndarray, pixels: list, keep: bool) -> Any:
        """A batch, float32 (B, size, size, 3), of what `_pixels` has made; `keep` as in `_sampled_on_device`."""
        return np.stack(pixels) if self.device == "cpu" else self._sampled_on_device(indices, pixels, keep)

    def _drawn(self, i: int, epoch: int | None) -> tuple[np.ndarray, np.ndarray]:
        """The augmentation of image number i (see `augment.sample`); where there is no epoch, the view."""
        if epoch is None:
            return augment.VIEWS[self.view], np.eye(4)
        # i + 1: NumPy fills short seeds with zeros, so that 0 would be the stream that `shuffled` draws from.
        return augment.sample(self.names, np.random.default_rng([*self.seed, epoch, i + 1]))

    def _sample(self, i: int, epoch: int | None) -> Sample:
        """Image number i, and how to sample it."""
        geometry, colours = self._drawn(i, epoch)
        source = self.kept[i] if i in self.kept else self._source(i)
        affine = augment.affine(geometry, source.box, (self.size, self.size))
        return Sample(source, affine, self.colour @ colours)

    def _source(self, i: int) -> Source:
        """Image number i, read, and reduced by a whole number along each axis: its box keeps `size` to 2 * size pixels.

        With more, bilinear sampling would leave pixels out between its samples, and alias. (At 2 * size, a sample is
        the mean of the four pixels around it.)
        """
        H, W = self.dataset.shape(i)
        x0, y0, x1, y1 = (0, 0, W, H) if self.boxes is None else (int(edge) for edge in self.boxes[i])
        pixels = self.dataset.image(i, self.size, (x0, y0, x1, y1))
        # It may have been read at 1/2, 1/4 or 1/8, its sides rounded up: their quotient is only about that factor.
        factor = 2 ** round(math.log2(W / pixels.shape[1]))
        size = factor * self.size  # in pixels of the original
        across, down = (side // size if side > 2 * size else 1 for side in (x1 - x0, y1 - y0))
        if across > 1 or down > 1:
            pixels = np.asarray(Image.fromarray(pixels).reduce((across, down)))  # means of blocks
        across, down = factor * across, factor * down
        return Source(pixels, (x0 / across, y0 / down, x1 / across, y1 / down))

    def _sampled(self, i: int, epoch: int | None) -> np.ndarray:
        """Image number i as the network wants it, float32 (size, size, 3)."""
        s = self._sample(i, epoch)
        return warp.forward(s.source.pixels[None], s.affine[None], (self.size, self.size), s.colour[None])[0]

    def _sampled_on_device(self, indices: np.ndarray, samples: list[Sample], keep: bool) -> Any:
        """The batch, float32 (B, size, size, 3), on the device. `keep`: these images will be wanted again."""
        placed = [to_device(s.source.pixels, self.device) for s in samples]
        most = min(KEPT_BYTES, gpu_memory()[1] // KEPT_SHARE) if self.device == "cuda" else KEPT_BYTES
        room = most - sum(source.nbytes for source in self.kept.values())
        for i, s, pixels in zip(indices, samples, placed, strict=True):
            if keep and i not in self.kept and pixels.nbytes <= room:
                self.kept[i] = Source(pixels, s.source.box)
                room -= pixels.nbytes
        affine, colour = (np.stack([getattr(s, name) for s in samples]) for name in ("affine", "colour"))
        x = empty((len(samples), self.size, self.size, len(self.colour)), np.float32, like=placed[0])
        shapes = [pixels.shape for pixels in placed]
        for shape in dict.fromkeys(shapes):  # one launch for all images of a shape: mostly one for all
            alike = [place for place, other in enumerate(shapes) if other == shape]
            x[alike] = warp.forward(
                stack([placed[place] for place in alike]),
                to_device(affine[alike], self.device),
                (self.size, self.size),
                to_device(colour[alike], self.device),
            )
        return x
