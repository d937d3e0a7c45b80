"""How `winograd` cuts a convolution into pieces, and the memory that these use again and again."""

import math
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from minicam.backend import each, in_parts

TILE = 4  # output pixels of a tile, along one side

# Many tiles at a time: Python's part of the work is then small, and only one thread can do that at a time. But not more
# than stay in the cache between the steps, nor so many that some threads have nothing to do.
MOST_TILES = 224
LEAST_TILES = 112
PIECES = 8
SHARED_BYTES = 16 << 20  # of transformed kernels from which on all threads work on the same tiles
GROUP_BYTES = 48 << 20  # of these tiles, transformed


@dataclass(frozen=True)
class Tiles:
    """Some rows of tiles of some images, and where they stand among the tiles of their group."""

    images: slice
    rows: slice
    columns: int
    start: int = 0

    @property
    def shape(self) -> tuple[int, int, int]:
        """Images, rows and columns."""
        return self.images.stop - self.images.start, self.rows.stop - self.rows.start, self.columns

    def __len__(self) -> int:
        return math.prod(self.shape)

    @property
    def within(self) -> slice:
        """Their places among those of the group."""
        return slice(self.start, self.start + len(self))


@dataclass(frozen=True)
class Group:
    """Tiles that are in memory at the same time, `count` of them, and how the work on them is shared out.

    pieces  of them, for the transforms
    points  parts of the 36 pairs of points, for the products
    run     function, items -> results: calls the function with each of the items
    """

    count: int
    pieces: list[Tiles]
    points: list[slice]
    run: Callable[[Callable, Sequence], list]


@dataclass(frozen=True)
class Plan:
    """Groups of all tiles, and how these are run: at the same time or, each on all threads, one after the other."""

    groups: list[Group]
    run: Callable[[Callable, Sequence], list]


def plan(shape: Sequence[int], kernel_bytes: int, width: int, itemsize: int, points: int) -> Plan:
    """How to cut up the work on images of a shape (N, H, W, _), of up to `width` channels.

    Where the transformed kernels are small, every thread takes tiles of its own through all steps. Where they are
    large, reading them for only a part of the tiles would take longer than the products: there, all threads work on the
    same tiles, and share out the points. It depends on the shapes alone, for it orders the sums over tiles.
    """
    N, rows, columns = range(shape[0]), range(-(-shape[1] // TILE)), -(-shape[2] // TILE)
    if kernel_bytes < SHARED_BYTES:
        most = min(MOST_TILES, max(LEAST_TILES, len(N) * len(rows) * columns // PIECES))
        pieces = [replace(tiles, start=0) for tiles in _pieces(N, rows, columns, most)]
        return Plan([Group(len(tiles), [tiles], [slice(0, points)], alone) for tiles in pieces], each)
    groups, threes = [], [slice(i, i + 3) for i in range(0, points, 3)]
    for tiles in _pieces(N, rows, columns, GROUP_BYTES // (points * width * itemsize)):
        within = range(shape[0])[tiles.images], range(tiles.rows.start, tiles.rows.stop)
        groups.append(Group(len(tiles), _pieces(*within, columns, len(tiles) // PIECES), threes, each))
    return Plan(groups, alone)


def _pieces(images: range, rows: range, columns: int, most: int) -> list[Tiles]:
    """All tiles in some rows of some images, in even pieces: of whole images, or of rows of one. None has more than
    `most` tiles, unless a row has."""
    if most >= len(rows) * columns:
        cuts = [(i, rows) for i in _cut(images, most // (len(rows) * columns))]
    else:
        cuts = [(range(i, i + 1), r) for i in images for r in _cut(rows, max(1, most // columns))]
    pieces, start = [], 0
    for i, r in cuts:
        pieces.append(Tiles(slice(i.start, i.stop), slice(r.start, r.stop), columns, start))
        start += len(pieces[-1])
    return pieces


def _cut(whole: range, most: int) -> list[range]:
    """A range in as few parts as have at most `most` each."""
    return in_parts(whole, -(-len(whole) // most))


def alone(function: Callable, items: Sequence) -> list:
    """What `backend.each` does, on this thread."""
    return [function(item) for item in items]


_held = threading.local()
LARGE_PAGE = 1 << 21


def scratch(name: str, shape: Sequence[int], dtype: np.dtype) -> np.ndarray:
    """An array for what is made on the way. Each thread has the memory for one of each name: the next call takes it.

    It begins where a large page of memory (2 MB) may, and is long enough for NumPy to ask the system for such pages. In
    small ones (4 kB) the transforms, which write to 36 places in turn, took half as much time again, as the processor
    keeps the addresses of only so many pages at hand.
    """
    size = math.prod(shape) * np.dtype(dtype).itemsize
    if getattr(_held, name, np.empty(0)).nbytes < size:
        setattr(_held, name, None)  # so that it is given back first
        memory = np.empty(size + 2 * LARGE_PAGE, np.uint8)
        setattr(_held, name, memory[-memory.ctypes.data % LARGE_PAGE :])
    return getattr(_held, name)[:size].view(dtype).reshape(shape)
