"""The loader: threads read, crop and augment the next batches while the network works on this one.

Every image's randomness comes from the seed, the epoch and the image's own number, and batches come out in order, so
a run is the same whatever the number of threads, and can be resumed at any batch.
"""

import math
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from minicam.data import Dataset, augment
from minicam.ops import warp

READ_AHEAD = 2  # batches being made beside the one in use


@dataclass(frozen=True)
class Batch:
    """x float32 (B, size, size, 3), ready for the network; labels int64 (B,); indices (B,) into the data set."""

    x: np.ndarray
    labels: np.ndarray
    indices: np.ndarray


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
    """

    dataset: Dataset
    size: int
    batch: int
    colour: np.ndarray
    boxes: np.ndarray | None = None
    names: tuple[str, ...] = ()
    seed: Sequence[int] = (0,)
    workers: int = 2

    def __len__(self) -> int:
        """Batches in an epoch."""
        return -(-len(self.dataset) // self.batch)

    def in_order(self) -> Iterator[Batch]:
        """All images once, in their order, not augmented."""
        return self._batches(np.arange(len(self.dataset)), None, 0)

    def shuffled(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        """All images once, in the order of this epoch, augmented; from batch number `start` on."""
        order = np.random.default_rng([*self.seed, epoch]).permutation(len(self.dataset))
        return self._batches(order, epoch, start)

    def _batches(self, order: np.ndarray, epoch: int | None, start: int) -> Iterator[Batch]:
        parts = [order[i : i + self.batch] for i in range(start * self.batch, len(order), self.batch)]
        pool = ThreadPoolExecutor(self.workers, thread_name_prefix="loader")
        ahead: deque[list[Future]] = deque()
        try:
            for number, indices in enumerate(parts):
                while number + len(ahead) < min(len(parts), number + 1 + READ_AHEAD):
                    ahead.append([pool.submit(self._sample, i, epoch) for i in parts[number + len(ahead)]])
                x = np.stack([future.result() for future in ahead.popleft()])
                yield Batch(x, self.dataset.labels[indices], indices)
        finally:
            pool.shutdown(cancel_futures=True)

    def _sample(self, i: int, epoch: int | None) -> np.ndarray:
        """Image number i as the network wants it, float32 (size, size, 3)."""
        geometry, colours = np.eye(3), np.eye(4)
        if epoch is not None:
            # i + 1: NumPy fills short seeds with zeros, so that 0 would be the stream that `shuffled` draws from.
            geometry, colours = augment.sample(self.names, np.random.default_rng([*self.seed, epoch, i + 1]))
        H, W = self.dataset.shape(i)
        box = (0, 0, W, H) if self.boxes is None else tuple(int(edge) for edge in self.boxes[i])
        image = self.dataset.image(i, self.size, box)
        # It may have been read at 1/2, 1/4 or 1/8, its sides rounded up: their quotient is only about that factor.
        factor = 2 ** round(math.log2(W / image.shape[1]))
        affine = augment.affine(geometry, tuple(edge / factor for edge in box), (self.size, self.size))
        return warp.forward(image[None], affine[None], (self.size, self.size), (self.colour @ colours)[None])[0]
