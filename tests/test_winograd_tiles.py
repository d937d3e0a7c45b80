"""ops/_tiles: how the work of ops/winograd is cut up, for any number of threads, and the memory that it uses again."""

import numpy as np
import pytest
from test_winograd import arguments

from minicam import backend
from minicam.ops import _tiles, winograd

SIZES = [(1, 14, 14), (8, 14, 14), (8, 56, 56), (3, 224, 224), (2, 9, 200), (70, 8, 8)]


@pytest.mark.parametrize("shape", SIZES, ids=str)
@pytest.mark.parametrize("kernel_bytes", [1, 1 << 30])
def test_a_plan_has_each_tile_once_and_each_point(shape, kernel_bytes):
    N, H, W = shape
    whole = _tiles.plan((*shape, 3), kernel_bytes, 512, 4, 36)
    assert whole.run is (_tiles.alone if kernel_bytes > 1 else backend.each)
    count = np.zeros((N, -(-H // 4), -(-W // 4)), int)
    for group in whole.groups:
        places = []
        for tiles in group.pieces:
            count[tiles.images, tiles.rows, : tiles.columns] += 1
            places += range(group.count)[tiles.within]
        assert places == list(range(group.count))
        assert [p for points in group.points for p in range(36)[points]] == list(range(36))
        assert group.run is (backend.each if kernel_bytes > 1 else _tiles.alone)
    assert (count == 1).all()


def test_many_threads_find_work():
    """Of an image of 224 pixels there are pieces for eight; of a batch there are as many groups."""
    assert len(_tiles.plan((1, 224, 224, 64), 1, 64, 4, 36).groups) >= 8
    assert len(_tiles.plan((8, 56, 56, 256), 1, 256, 4, 36).groups) >= 8
    shared = _tiles.plan((8, 14, 14, 512), 1 << 30, 512, 4, 36)
    assert [len(group.pieces) >= 8 and len(group.points) == 12 for group in shared.groups] == [True]


def test_a_group_is_no_more_than_it_may_be():
    """Not even where a single image is."""
    for shape in ((1, 1000, 1000, 512), (40, 28, 28, 512)):
        groups = _tiles.plan(shape, 1 << 30, 512, 4, 36).groups
        assert len(groups) > 1
        assert all(36 * 512 * 4 * group.count <= _tiles.GROUP_BYTES for group in groups)


@pytest.mark.parametrize("shared_bytes", [0, 1 << 40])
def test_the_number_of_threads_changes_no_bit(shared_bytes, rng, monkeypatch):
    monkeypatch.setattr(_tiles, "SHARED_BYTES", shared_bytes)
    monkeypatch.setattr(_tiles, "LEAST_TILES", 4)
    x, w, b = arguments((5, 17, 15, 6, 7), rng, np.float32).values()
    dy = rng.standard_normal((5, 17, 15, 7)).astype(np.float32)
    results = []
    try:
        for threads in (1, 3):
            backend.set_threads(threads)
            results.append([winograd.forward(x, w, b), *winograd.backward(dy, x, w)])
    finally:
        backend.set_threads(None)
    for one, three in zip(*results, strict=True):
        assert one.tobytes() == three.tobytes()


def test_scratch_memory_is_taken_again_and_grows():
    first = _tiles.scratch("test", (3, 5), np.float32)
    again = _tiles.scratch("test", (15,), np.float32)
    assert np.shares_memory(first, again)
    assert first.ctypes.data % _tiles.LARGE_PAGE == 0
    assert _tiles.scratch("test", (1 << 20,), np.float64).shape == (1 << 20,)
    assert not np.shares_memory(_tiles.scratch("other", (15,), np.float32), again)
