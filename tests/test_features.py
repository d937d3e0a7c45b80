"""Features in place of pixels: the right ones, rounded, found again where nothing has changed, and only there."""

from dataclasses import replace

import numpy as np
import pytest
import tiny
from cached import COUNT, SIZE, Pictures, dataset, loader, network
from PIL import Image

from minicam import MinicamError, cuda, features
from minicam.backend import device_of, to_cpu
from minicam.config import Config
from minicam.data import augment
from minicam.data.images import images_in
from minicam.data.loader import Loader
from minicam.features import demand_room
from minicam.inference import locate
from minicam.layers import Conv


def plain(mine):
    """The loader of pixels that draws the same."""
    names = ("dataset", "size", "batch", "colour", "boxes", "names", "seed", "workers", "device")
    return Loader(**{name: getattr(mine, name) for name in names})


def assert_same(mine, theirs):
    for one, other in zip(mine, theirs, strict=True):
        assert one.start == other.start
        for name in ("x", "labels", "indices"):
            np.testing.assert_array_equal(getattr(one, name), getattr(other, name))


# -- what the features are


@pytest.mark.parametrize("train_from", ["block2_conv1", "block3_conv1", "CAM_conv", "CAM_fc"])
@pytest.mark.parametrize("names", [(), ("flip",), ("turn",), ("flip", "turn")], ids=",".join)
def test_they_are_what_frozen_layers_make_of_the_augmented_image(train_from, names, tmp_path):
    net = network(train_from)
    mine = loader(tmp_path, net, names=names)
    for _ in range(2):  # computed, and then found
        for batches, theirs in (
            (mine.shuffled(4), plain(mine).shuffled(4)),
            (mine.shuffled(4, 1), plain(mine).shuffled(4, 1)),
            (mine.in_order(), plain(mine).in_order()),
        ):
            for batch, pixels in zip(batches, theirs, strict=True):
                np.testing.assert_array_equal(batch.indices, pixels.indices)
                np.testing.assert_array_equal(batch.labels, pixels.labels)
                assert batch.start == net.frozen
                assert batch.x.dtype == np.float32
                assert batch.x.shape == (len(batch.indices), *mine.shape)
                expected = net.forward_frozen(pixels.x)
                np.testing.assert_allclose(batch.x, expected, rtol=2**-10, atol=1e-3)
                np.testing.assert_array_equal(batch.x, batch.x.astype(np.float16))
                logits = net.forward(batch.x, start=batch.start)
                np.testing.assert_allclose(logits, net.forward(pixels.x), rtol=0, atol=0.02)


def test_all_eight_variants_come_and_each_has_its_own_features(tmp_path, computed):
    """Made here by turning and mirroring pixels, with no geometry: from a square image, so that they are exact."""
    net = network("block2_conv1")
    picture = np.random.default_rng(5).integers(0, 256, (SIZE, SIZE, 3), np.uint8)
    mine = loader(tmp_path, net, tiny.pictures([picture], cls=Pictures))
    x = next(plain(mine).in_order()).x[0]
    variants = [np.rot90(side, quarters) for side in (x, x[:, ::-1]) for quarters in range(4)]
    expected = [net.forward_frozen(np.ascontiguousarray(variant)[None])[0] for variant in variants]
    seen = []
    for epoch in range(40):
        (batch,) = mine.shuffled(epoch)
        (drawn,) = plain(mine).shuffled(epoch)
        fits = [n for n, y in enumerate(expected) if np.abs(batch.x[0] - y).max() < 2**-10 * np.abs(y).max()]
        seen += fits
        assert len(fits) == 1
        np.testing.assert_allclose(variants[fits[0]], drawn.x[0], atol=1e-4)
    assert set(seen) == set(range(8))
    assert len(computed) == 8


def test_two_ways_to_a_variant_are_one():
    """Two flips are a half turn, but for the rounding of sines: pixels would be others in their last bits."""
    mine, variants = loader(), [tuple(variant.flat) for variant in augment.variants(("flip", "turn"))]
    drawn = [tuple(mine._drawn(i, epoch)[0].flat) for i in range(COUNT) for epoch in range(30)]
    assert set(drawn) == set(variants)


@pytest.mark.parametrize("batch", [1, 2, 5, 7])
def test_the_batch_changes_no_bit_of_them(batch, tmp_path):
    for net in (network("CAM_conv"), network("block2_conv1")):
        mine, theirs = (
            {i: x for part in loader(net=net, batch=size).in_order() for i, x in zip(part.indices, part.x, strict=True)}
            for size in (batch, 3)
        )
        assert all(mine[i].tobytes() == theirs[i].tobytes() for i in range(COUNT))


def test_what_float16_cannot_hold_is_told():
    net = network()
    net.params()["block3_conv1/kernel"][...] *= 1e6
    said = r"the features of picture_0 reach .*, and float16 ends at 65504; start a new run without --cache-features"
    with pytest.raises(MinicamError, match=said):
        next(loader(net=net).in_order())


# -- found again


def test_what_is_found_is_what_was_computed_and_takes_no_pixel_and_no_layer(tmp_path, computed, monkeypatch):
    epochs = [list(loader(tmp_path).shuffled(epoch)) for epoch in range(3)]
    order = list(loader(tmp_path).in_order())
    assert len(computed) <= 4 * COUNT
    computed.clear()

    def unwanted(*_, **__):
        raise AssertionError

    monkeypatch.setattr(Pictures, "image", unwanted)
    monkeypatch.setattr(Conv, "forward", unwanted)
    for epoch in range(3):
        assert_same(loader(tmp_path, batch=3).shuffled(epoch), epochs[epoch])
    assert_same(loader(tmp_path).in_order(), order)
    whole = np.concatenate([batch.x for batch in order])
    np.testing.assert_array_equal(np.concatenate([b.x for b in loader(tmp_path, batch=2).in_order()]), whole)
    assert computed == []


def test_without_a_cache_they_are_the_same(tmp_path, computed):
    for _ in range(2):
        assert_same(loader(tmp_path).shuffled(0), loader(None).shuffled(0))
    assert len(computed) == 3 * COUNT


def test_only_what_is_missing_of_a_batch_is_computed(tmp_path, computed):
    expected = list(loader(batch=COUNT).in_order())
    computed.clear()
    for _ in loader(tmp_path, data=dataset().subset(np.array([1, 4, 5]))).in_order():
        pass
    computed.clear()
    assert_same(loader(tmp_path, batch=COUNT).in_order(), expected)
    assert computed == [0, 2, 3, 6]


@pytest.mark.parametrize("damage", [lambda data: data[: len(data) // 2], lambda data: b"", lambda data: data[::-1]])
@pytest.mark.parametrize("name", ["arrays", "index"])
def test_what_is_damaged_is_computed_again(damage, name, tmp_path, computed):
    expected = list(loader(tmp_path).in_order())
    (path,) = tmp_path.glob(f"*/{name}")
    path.write_bytes(damage(path.read_bytes()))
    computed.clear()
    assert_same(loader(tmp_path).in_order(), expected)
    assert computed
    computed.clear()
    assert_same(loader(tmp_path).in_order(), expected)
    assert computed == []


def another_weight(mine, net):
    net.params()["block1_conv1/kernel"][0, 0, 0, 0] += 1e-3


def another_layer_to_train_from(mine, net):
    net.train_from("block3_conv1")


def another_size(mine, net):
    return replace(mine, size=SIZE + 1)  # whose features are as many: pools round down


def another_colour(mine, net):
    return replace(mine, colour=mine.colour * 1.01)


def crops(mine, net):
    return replace(mine, boxes=np.array([[0, 0, 9, 9]] * COUNT))


def other_images(mine, net):
    return replace(mine, dataset=dataset(12))


def another_precision(mine, net):
    cuda.set_precision("tf32")


CHANGES = (
    *(another_weight, another_layer_to_train_from, another_size, another_colour),
    *(crops, other_images, another_precision),
)


@pytest.mark.parametrize("change", CHANGES)
def test_where_something_has_changed_nothing_is_found(change, tmp_path, computed):
    net = network()
    mine = loader(tmp_path, net)
    for _ in mine.in_order():
        pass
    computed.clear()
    try:
        changed = change(mine, net) or mine
        assert_same(changed.in_order(), list(replace(changed, cache=None).in_order()))
    finally:
        cuda.set_precision("float32")
    assert len(computed) == 2 * COUNT


def test_what_does_not_matter_may_change(tmp_path, computed):
    for _ in loader(tmp_path).in_order():
        pass
    computed.clear()
    net = network()
    net.params()["CAM_conv/kernel"][...] += 1  # it learns
    mine = loader(tmp_path, net, batch=5, names=(), workers=5)
    for other in (mine, replace(mine, seed=(9, 2)), replace(mine, dataset=replace(mine.dataset, split="test"))):
        for _ in other.in_order():
            pass
    assert computed == []


def test_an_image_file_that_has_changed_is_computed_again(tmp_path, computed):
    (tmp_path / "images").mkdir()
    for i in range(4):
        Image.fromarray(np.full((20, 30, 3), 40 * i, np.uint8)).save(tmp_path / "images" / f"{i}.bmp")
    data = images_in(tmp_path / "images")
    for _ in range(2):
        for _ in loader(tmp_path / "cache", data=data).in_order():
            pass
        assert computed == [0, 1, 2, 3]
    computed.clear()
    Image.fromarray(np.full((20, 30, 3), 77, np.uint8)).save(tmp_path / "images" / "2.bmp")
    assert_same(loader(tmp_path / "cache", data=data).in_order(), list(loader(data=data).in_order()))
    assert computed == [0, 1, 2, 3, 2]


def test_what_a_network_says_is_found_as_it_was_computed(tmp_path):
    rule = Config().crop_rule
    cold, warm, without = (locate(network(), loader(cache), rule) for cache in (tmp_path, tmp_path, None))
    for name in ("probabilities", "classes", "boxes", "crops"):
        np.testing.assert_array_equal(getattr(cold, name), getattr(warm, name))
        np.testing.assert_array_equal(getattr(cold, name), getattr(without, name))


# -- what is refused


@pytest.mark.parametrize("train_from", [None, "block1_conv1"])
def test_where_nothing_is_frozen(train_from):
    with pytest.raises(MinicamError, match="compute, and here all layers learn; name a higher layer with --train-from"):
        loader(net=network(train_from))


@pytest.mark.parametrize(("names", "count"), [((), 1), (("flip",), 4), (("flip", "turn"), 8)])
def test_the_room_that_is_demanded(names, count, tmp_path, monkeypatch):
    """Of one image and variant 4 x 4 x 32 numbers of 2 bytes."""
    training = loader(tmp_path / "new", names=names)
    validation = loader(tmp_path / "new", names=names, data=dataset(12))
    for epochs, whole in ((1, min(2, count)), (3, min(4, count)), (99, count)):
        entries = COUNT * whole + COUNT + 2 * (COUNT * min(epochs, count) + COUNT)
        monkeypatch.setattr(features, "room_in", lambda folder, free=1024 * entries: free)
        demand_room(training, validation, epochs, crops=2)
        monkeypatch.setattr(features, "room_in", lambda folder, free=1024 * entries: free - 1)
        with pytest.raises(MinicamError) as caught:
            demand_room(training, validation, epochs, crops=2)
        assert str(caught.value).startswith(
            f"--cache-features may need {1024 * entries:,} bytes ({entries:,} variants of images, with those of crops, "
        )
    assert list(tmp_path.iterdir()) == []


def test_what_is_there_needs_no_room(tmp_path):
    mine = loader(tmp_path)
    assert mine.missing(99) == 8 * COUNT
    assert (mine.missing(0), mine.missing(2)) == (COUNT, 3 * COUNT)
    for _ in mine.in_order():
        pass
    assert (mine.missing(0), mine.missing(2), mine.missing(99)) == (0, 2 * COUNT, 7 * COUNT)
    for epoch in range(80):
        for _ in mine.shuffled(epoch):
            pass
    assert mine.missing(99) == 0


# -- on a GPU


@pytest.mark.parametrize("device", ["emulator", "cuda"])
def test_on_a_device_they_are_its_own(device, fake_gpu, tmp_path, computed):
    fake_gpu()
    here = list(loader(tmp_path).shuffled(0))
    theirs = loader(tmp_path, network().to(device), device=device)
    computed.clear()
    for _ in range(2):
        for mine, other in zip(theirs.shuffled(0), here, strict=True):
            assert device_of(mine.x) == device_of(mine.labels) == device
            np.testing.assert_allclose(to_cpu(mine.x), other.x, rtol=2**-9, atol=1e-3)
            np.testing.assert_array_equal(to_cpu(mine.labels), other.labels)
            assert theirs.network.forward(mine.x, start=mine.start).shape == (len(mine.indices), 3)
    assert len(computed) == COUNT
