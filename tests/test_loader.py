"""The loader: the same batches whatever the threads, the batch size and where it starts; and no thread left behind."""

import threading
import time
from dataclasses import dataclass, field, replace

import numpy as np
import pytest
from PIL import Image
from tiny import Pictures, coordinates, pictures

from minicam import MinicamError
from minicam.data import augment
from minicam.data.images import images_in
from minicam.data.loader import READ_AHEAD, Loader
from minicam.ops import warp

EVERYTHING = ("flip", "turn", "rotate", "crop", "scale", "colour")
PLAIN = np.eye(3, 4)


@dataclass(frozen=True, eq=False)
class Watched(Pictures):
    """Pictures that are slow to read, in no even measure, and tell which were read; one may be broken."""

    read: list = field(default_factory=list)
    broken: int = -1

    def image(self, i, size=None, box=None):
        time.sleep((i * 7 % 5) / 1000)
        self.read.append(i)
        if i == self.broken:
            raise MinicamError(f"picture {i} is damaged")
        return self.images[i]


def loader(count=17, batch=4, workers=2, names=EVERYTHING, broken=-1, **fields):
    """Batches of images that differ, in shape too."""
    rng = np.random.default_rng(11)
    images = [rng.integers(0, 256, (20 + i, 31 - i, 3), np.uint8) for i in range(count)]
    dataset = pictures(images, cls=Watched, broken=broken)
    return Loader(dataset, 8, batch, PLAIN, None, names, (3, 1), workers, **fields)


def threads_of_loaders():
    return [thread for thread in threading.enumerate() if thread.name.startswith("loader")]


@pytest.fixture(autouse=True)
def _no_thread_is_left():
    assert threads_of_loaders() == []
    yield
    assert threads_of_loaders() == []


def assert_same(mine, theirs):
    mine, theirs = list(mine), list(theirs)
    assert len(mine) == len(theirs)
    for one, other in zip(mine, theirs, strict=True):
        for name in ("x", "labels", "indices"):
            np.testing.assert_array_equal(getattr(one, name), getattr(other, name))


@pytest.mark.parametrize("workers", [1, 5])
def test_the_number_of_threads_changes_nothing(workers):
    assert_same(loader(workers=workers).shuffled(2), loader(workers=2).shuffled(2))
    assert_same(loader(workers=workers).in_order(), loader(workers=2).in_order())


@pytest.mark.parametrize("start", [0, 1, 3, 4, 5])
def test_starting_later_is_the_same_as_skipping(start):
    batches = list(loader().shuffled(1))
    assert len(batches) == len(loader()) == 5
    assert_same(loader().shuffled(1, start), batches[start:])


def test_an_epoch_holds_every_image_once_and_epochs_differ():
    epochs = [list(loader().shuffled(epoch)) for epoch in (0, 1)]
    orders = [np.concatenate([batch.indices for batch in epoch]) for epoch in epochs]
    for order in orders:
        assert sorted(order) == list(range(17))
        assert order.tolist() != list(range(17))
    assert orders[0].tolist() != orders[1].tolist()
    assert [len(batch.indices) for batch in epochs[0]] == [4, 4, 4, 4, 1]


def test_batches_are_what_the_network_wants():
    dataset = loader().dataset
    for batch in loader().shuffled(0):
        assert batch.x.dtype == np.float32
        assert batch.x.shape == (len(batch.indices), 8, 8, 3)
        assert batch.labels.dtype == np.int64
        np.testing.assert_array_equal(batch.labels, dataset.labels[batch.indices])


def by_image(batches):
    return {i: x for batch in batches for i, x in zip(batch.indices, batch.x, strict=True)}


def test_an_images_augmentation_depends_on_seed_epoch_and_image_alone():
    mine, theirs = by_image(loader(batch=4).shuffled(6)), by_image(loader(batch=7).shuffled(6))
    for i, x in mine.items():
        np.testing.assert_array_equal(x, theirs[i])
    for seed, epoch in (((3, 1), 5), ((3, 2), 6), ((4, 1), 6)):
        changed = by_image(replace(loader(), seed=seed).shuffled(epoch))
        assert all(np.abs(x - changed[i]).max() > 1 for i, x in mine.items())


def test_images_of_one_epoch_are_augmented_differently():
    image = coordinates(250, 250)
    same = Loader(pictures([image] * 6), 8, 6, PLAIN, None, EVERYTHING, (3,), 2)
    x = next(same.shuffled(0)).x
    assert all(np.abs(x[i] - x[j]).max() > 1 for i in range(6) for j in range(i))


def test_in_order_nothing_is_augmented():
    assert_same(loader(names=EVERYTHING).in_order(), loader(names=()).in_order())
    order = np.concatenate([batch.indices for batch in loader().in_order()])
    assert order.tolist() == list(range(17))


def test_boxes_are_where_the_pixels_come_from():
    """Red says the column and green the row: sampled at the centres of an even grid over the box."""
    boxes = [(10, 20, 50, 90), (0, 0, 120, 100), (113, 95, 120, 100)]
    images = [coordinates(100, 120, offset=i) for i in range(3)]
    size = 61  # more than half of any of the sides: nothing is averaged before
    batch = next(Loader(pictures(images), size, 3, PLAIN, np.array(boxes), workers=2).in_order())
    for i, (x0, y0, x1, y1) in enumerate(boxes):
        across = np.clip(x0 + (np.arange(size) + 0.5) * (x1 - x0) / size - 0.5, 0, 119)
        down = np.clip(y0 + (np.arange(size) + 0.5) * (y1 - y0) / size - 0.5, 0, 99)
        np.testing.assert_allclose(batch.x[i, :, :, 0], np.broadcast_to(across, (size, size)), atol=1e-4)
        np.testing.assert_allclose(batch.x[i, :, :, 1], np.broadcast_to(down[:, None], (size, size)), atol=1e-4)
        np.testing.assert_array_equal(batch.x[i, :, :, 2], i)


@pytest.mark.parametrize("box", [(3, 7, 203, 127), (31, 0, 51, 240), (1, 2, 20, 190), (0, 0, 39, 39)])
def test_large_boxes_are_averaged_along_each_axis_and_lie_where_they_did(box):
    """The mean of a block of columns is its middle, but for the rounding of bytes. Most factors leave a rest of 250."""
    (x0, y0, x1, y1), size, middles = box, 10, (np.arange(10) + 0.5) / 10
    x = next(Loader(pictures([coordinates(250, 250)]), size, 1, PLAIN, np.array([box]), workers=1).in_order()).x[0]
    across, down = x0 + middles * (x1 - x0) - 0.5, y0 + middles * (y1 - y0) - 0.5
    np.testing.assert_allclose(x[..., 0], np.broadcast_to(across, (size, size)), atol=0.51)
    np.testing.assert_allclose(x[..., 1], np.broadcast_to(down[:, None], (size, size)), atol=0.51)


@pytest.mark.parametrize("period", [22, 30])
@pytest.mark.parametrize("suffix", ["jpg", "png"])
@pytest.mark.parametrize("upright", [True, False])
def test_fine_stripes_do_not_become_coarse_ones(period, suffix, upright, tmp_path):
    """A pixel of the input is 27 x 18 of these, which are read at 1/8: too many still for bilinear sampling.

    The stripes' deviation of 71 is 9 to 36 in Pillow's means over each of these, and was 38 to 50 without means.
    """
    wave = 127 + 100 * np.sin(2 * np.pi * np.arange(1500 if upright else 1000) / period)
    pixels = np.broadcast_to(wave[:, None] if upright else wave[:, None, None], (1000, 1500, 3)).astype(np.uint8)
    Image.fromarray(pixels).save(tmp_path / f"a.{suffix}", **({"quality": 95} if suffix == "jpg" else {}))
    x = next(Loader(images_in(tmp_path), 56, 1, PLAIN, workers=1).in_order()).x[0]
    means = np.asarray(Image.fromarray(pixels).resize((56, 56), Image.Resampling.BOX))
    assert x.std() < means.std() + 8


def test_without_boxes_whole_images_are_squashed():
    images = [coordinates(100, 120), coordinates(50, 30)]
    whole = np.array([(0, 0, 120, 100), (0, 0, 30, 50)])
    assert_same(
        Loader(pictures(images), 9, 2, PLAIN, None).in_order(), Loader(pictures(images), 9, 2, PLAIN, whole).in_order()
    )


def test_the_networks_colours_come_after_the_augmentations():
    colour = np.array([[0, 0, 2, -7], [1, 0, 0, 3], [0, -1, 0, 0.5]])
    plain = by_image(loader(names=("flip", "colour")).shuffled(0))
    mine = by_image(replace(loader(names=("flip", "colour")), colour=colour).shuffled(0))
    for i, x in plain.items():
        np.testing.assert_allclose(mine[i], x @ colour[:, :3].T + colour[:, 3], atol=1e-3)


@pytest.mark.parametrize("suffix", ["jpg", "png"])
def test_reduced_reads_give_nearly_the_same(suffix, tmp_path):
    """A file is read at 1/8 or 1/4 of its sides; sampling from the whole of it differs by little more than the
    rounding of PNGs, and of JPEG's coefficients. Sides are rounded up, to 51 of 403: to take 51/403 for the scale would
    be half a pixel of the reduced image off at its far edge, which shows as 4 here.
    """
    rows, columns = np.mgrid[:403, :517] / 400
    waves = 127 + 100 * np.stack([np.sin(4 * columns), np.cos(3 * rows), np.sin(2 * rows + 3 * columns)], -1)
    Image.fromarray(waves.astype(np.uint8)).save(tmp_path / f"a.{suffix}", **{"quality": 95} if suffix == "jpg" else {})
    dataset = images_in(tmp_path)
    whole, geometry = dataset.image(0), augment.sample(("flip", "turn"), np.random.default_rng([1, 0, 1]))[0]
    for box, side in [((0, 0, 517, 403), 51), ((101, 53, 411, 377), 101)]:
        assert dataset.image(0, 40, box).shape[0] == side
        reduced = next(Loader(dataset, 40, 1, PLAIN, np.array([box]), names=("flip", "turn"), seed=(1,)).shuffled(0)).x
        full = warp.forward(whole[None], augment.affine(geometry, box, (40, 40))[None], (40, 40))
        assert np.abs(reduced - full).max() < (1.5 if suffix == "png" else 3)
        assert np.abs(reduced - full).mean() < 0.6


@pytest.mark.parametrize("workers", [1, 3])
def test_an_error_in_a_thread_reaches_the_caller(workers):
    batches = loader(workers=workers, broken=9).in_order()
    assert [len(next(batches).indices) for _ in range(2)] == [4, 4]
    with pytest.raises(MinicamError, match="picture 9 is damaged"):
        next(batches)


def test_a_consumer_that_stops_early_stops_the_threads():
    mine = loader(count=19, batch=2)
    batches = mine.shuffled(0)
    next(batches)
    assert threads_of_loaders()
    batches.close()
    assert threads_of_loaders() == []
    assert len(mine.dataset.read) <= 2 * (1 + READ_AHEAD)


def test_it_reads_ahead_but_not_far():
    mine = loader(count=19, batch=2)
    batches = mine.in_order()
    next(batches)
    deadline = time.monotonic() + 10
    while len(mine.dataset.read) < 2 * (1 + READ_AHEAD) and time.monotonic() < deadline:
        time.sleep(0.001)
    time.sleep(0.02)  # were there more to read, it would have begun
    assert sorted(mine.dataset.read) == list(range(2 * (1 + READ_AHEAD)))
    batches.close()


@dataclass(frozen=True, eq=False)
class Slow(Pictures):
    """Each picture takes a while, in which the processor has nothing to do."""

    def image(self, i, size=None, box=None):
        time.sleep(0.02)
        return self.images[i]


def test_reading_and_the_networks_work_overlap():
    """Reading a batch takes 40 ms, working on it another 40: together little more than one of the two.

    The best of three, and a wide margin, as the machine may be busy.
    """
    mine = Loader(pictures([coordinates(8, 8)] * 40, cls=Slow), 8, 4, PLAIN, workers=2)
    reading = working = len(mine) * 0.04
    seconds = []
    for _ in range(3):
        start = time.perf_counter()
        for _ in mine.in_order():
            time.sleep(0.04)
        seconds.append(time.perf_counter() - start)
    assert working < min(seconds) < 0.8 * (reading + working)


@dataclass(frozen=True, eq=False)
class Counted(Pictures):
    """Pictures that note each question about them."""

    asked: list = field(default_factory=list)

    def shape(self, i):
        self.asked.append(("shape", i))
        return super().shape(i)

    def image(self, i, size=None, box=None):
        self.asked.append(("image", i))
        return super().image(i, size, box)


def test_what_a_device_keeps_is_not_asked_for_again():
    dataset = pictures([coordinates(40, 9), coordinates(17, 30), coordinates(8, 8)], cls=Counted)
    mine, plain = (Loader(dataset, 8, 2, PLAIN, None, ("flip",), (1,), 1, device) for device in ("emulator", "cpu"))
    list(mine.shuffled(0))
    assert sorted(dataset.asked) == [(what, i) for what in ("image", "shape") for i in range(3)]
    again = list(mine.shuffled(1))
    assert len(dataset.asked) == 6
    for one, other in zip(again, plain.shuffled(1), strict=True):
        np.testing.assert_allclose(one.x, other.x, rtol=0, atol=1e-4)


def test_a_batch_larger_than_the_data_is_all_of_it():
    (batch,) = loader(count=5, batch=64).shuffled(0)
    assert sorted(batch.indices) == [0, 1, 2, 3, 4]
