"""CAM, from features to crops: the identity with the logits, and each rule on the way."""

from types import SimpleNamespace

import numpy as np
import pytest
from gradcheck import relative_error
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from tiny import coordinates, pictures

from minicam import cam
from minicam.data.loader import Batch, Loader
from minicam.inference import heat_of, locate, mean_box_iou, predict
from minicam.model import small_gap, vgg16_gap


def random_network(make, rng):
    """A float64 network whose last layer is not zero, as it is at the start."""
    network = make(classes=4, seed=7, dropout=0.5, dtype=np.float64)
    for name, array in network.params().items():
        if name.startswith("CAM_fc") or name.endswith("bias"):
            array[...] = rng.standard_normal(array.shape)
    return network


@pytest.mark.parametrize("make", [small_gap, vgg16_gap])
def test_the_mean_of_a_map_and_the_bias_are_the_logit(make, rng):
    network = random_network(make, rng)
    logits = network.forward(rng.standard_normal((3, 35, 50, 3)))
    params = network.params()
    maps = cam.cam(network.features, params["CAM_fc/kernel"])
    assert maps.shape[1] > 1
    assert maps.shape[1] != maps.shape[2]
    assert relative_error(maps.mean((1, 2)) + params["CAM_fc/bias"], logits) < 1e-12


@pytest.mark.parametrize("make", [small_gap, vgg16_gap])
def test_predict_hands_out_maps_whose_means_are_the_logits_of_its_probabilities(make, rng):
    network = random_network(make, rng)
    batches = [Batch(0.1 * rng.standard_normal((n, 33, 33, 3)), np.zeros(n, int), np.arange(n)) for n in (2, 1)]
    loader = SimpleNamespace(dataset=range(3), in_order=lambda: iter(batches))
    for batch, (indices, probabilities, maps) in zip(batches, predict(network, loader), strict=True):
        assert indices is batch.indices
        logits = maps.mean((1, 2)) + network.params()["CAM_fc/bias"]
        powers = np.exp(logits - logits.max(1, keepdims=True))
        np.testing.assert_allclose(probabilities, powers / powers.sum(1, keepdims=True), atol=1e-12, rtol=0)


def test_normalised_maps_are_cut_at_zero_and_reach_one_each_on_its_own():
    maps = np.array([[[-3, 2], [4, 0]], [[-1, 0.5], [0.25, -8]]], np.float32)
    mine = cam.normalise(maps)
    assert mine.dtype == np.float32
    np.testing.assert_array_equal(mine, [[[0, 0.5], [1, 0]], [[0, 1], [0.5, 0]]])


@pytest.mark.parametrize(
    "flat",
    [np.full((3, 5), 7.0), np.zeros((3, 5)), np.full((3, 5), -2.0), -np.arange(1.0, 16).reshape(3, 5)],
    ids=["positive", "zero", "negative", "uneven but all negative"],
)
def test_a_map_that_shows_no_place_is_zeros_and_its_box_the_whole_image(flat):
    heat = cam.normalise(np.stack([flat, np.eye(3, 5)]))
    np.testing.assert_array_equal(heat, [np.zeros((3, 5)), np.eye(3, 5)])
    assert cam.find_box(heat[0]) == (0, 0, 5, 3)


@given(st.floats(-10, 10, width=32))
def test_a_constant_map_stays_constant_when_it_is_enlarged(value):
    maps = np.full((1, 7, 5, 2), value, np.float32)
    np.testing.assert_array_equal(heat_of(maps, np.array([1]), 31), 0)


def test_heat_of_is_the_map_of_the_chosen_class_enlarged(rng):
    maps = rng.standard_normal((3, 5, 4, 3)).astype(np.float32)
    heat = heat_of(maps, np.array([2, 0, 1]), 19)
    assert heat.shape == (3, 19, 19)
    for n, k in enumerate((2, 0, 1)):
        np.testing.assert_array_equal(heat[n], cam.normalise(cam.upsample(maps[n : n + 1, ..., k], (19, 19)))[0])


@pytest.mark.parametrize("size", [(17, 13), (14, 10), (7, 5)])
def test_upsampling_equals_scipys_and_pillows(size, rng):
    from PIL import Image
    from scipy.ndimage import map_coordinates

    maps = rng.standard_normal((2, 7, 5)).astype(np.float32)
    mine = cam.upsample(maps, size)
    assert mine.dtype == np.float32
    down, across = np.mgrid[: size[0], : size[1]] + 0.5
    places = [down * 7 / size[0] - 0.5, across * 5 / size[1] - 0.5]
    for one, large in zip(maps, mine, strict=True):
        assert relative_error(large, map_coordinates(one, places, order=1, mode="nearest")) < 1e-5
        pillow = Image.fromarray(one).resize(size[::-1], Image.Resampling.BILINEAR)
        assert relative_error(large, np.asarray(pillow)) < 1e-5


def largest_component(above):
    """The tight box of the largest component, by flooding from each pixel in reading order."""
    best, box, seen = 0, None, set()
    for start in zip(*np.nonzero(above), strict=True):
        found, front = set(), [start]
        while front:
            i, j = front.pop()
            inside = 0 <= i < above.shape[0] and 0 <= j < above.shape[1]
            if inside and above[i, j] and (i, j) not in seen:
                seen.add((i, j))
                found.add((i, j))
                front += [(i - 1, j), (i + 1, j), (i, j - 1), (i, j + 1)]
        if len(found) > best:
            rows, columns = zip(*found, strict=True)
            best, box = len(found), (min(columns), min(rows), max(columns) + 1, max(rows) + 1)
    return box


sides = st.integers(1, 9)
heats = arrays.arrays(np.float32, st.tuples(sides, sides), elements=st.sampled_from([0, 0.25, 1]))


@given(heats, st.sampled_from([0.0, 0.2, 0.25, 0.5]))
def test_the_box_is_that_of_the_largest_component_found_by_flooding(heat, threshold):
    H, W = heat.shape
    expected = largest_component(heat > threshold * heat.max()) or (0, 0, W, H)
    assert cam.find_box(heat, threshold) == expected


@pytest.mark.parametrize(
    ("rows", "box"),
    [
        (("11000", "00000", "00111"), (2, 2, 5, 3)),  # the largest, not the first
        (("11000", "00000", "00011"), (0, 0, 2, 1)),  # the first of equals
        (("11000", "00110", "00011"), (2, 1, 5, 3)),  # corners do not connect
        (("22000", "00000", "00111"), (0, 0, 2, 1)),  # above the threshold of the maximum
    ],
    ids=["largest", "first", "corners", "threshold"],
)
def test_boxes_by_hand(rows, box):
    heat = np.array([[int(digit) for digit in row] for row in rows], float)
    assert cam.find_box(heat / heat.max(), 0.5 if heat.max() == 2 else 0.2) == box


def test_a_pixel_at_the_threshold_itself_is_not_above_it():
    assert cam.find_box(np.array([[1, 0.5, 0.25, 0.5]]), 0.5) == (0, 0, 1, 1)


def test_boxes_of_are_in_pixels_of_the_original():
    """A map of 8 x 8 over an image of 400 x 120: 50 pixels across and 15 down for each of its own."""
    heat = np.zeros((8, 8))
    heat[2:4, 3:7] = 1
    box, crop = cam.boxes_of(heat, (120, 400), cam.CropRule(padding=0.25))
    assert box == (150, 30, 350, 60)
    assert crop == (100, 22, 400, 68)  # 7.5 rows more above and below, in whole pixels
    assert cam.boxes_of(np.zeros((8, 8)), (120, 400), cam.CropRule())[1] == (0, 0, 400, 120)


def test_the_threshold_of_the_rule_is_used():
    heat = np.array([[0.3, 1], [0, 0]])
    assert cam.boxes_of(heat, (20, 20), cam.CropRule(threshold=0.2))[0] == (0, 0, 20, 10)
    assert cam.boxes_of(heat, (20, 20), cam.CropRule(threshold=0.5))[0] == (10, 0, 20, 10)


def test_locate_takes_the_map_of_the_predicted_class_and_the_originals_size(rng):
    """Images of one bright place each, and a network that answers with the image itself as its features."""
    images = [np.zeros((40, 60, 3), np.uint8), np.zeros((80, 20, 3), np.uint8)]
    images[0][10:20, 30:45, 0] = 255
    images[1][40:60, 0:5, 1] = 255

    class Mirror:
        pooled = None

        def forward(self, x, start):
            self.features = x
            return x.mean((1, 2))

        def params(self):
            return {"CAM_fc/kernel": np.eye(3, dtype=np.float32)}

    dataset = pictures(images)
    loader = Loader(dataset, 20, 2, np.eye(3, 4), workers=1)
    located = locate(Mirror(), loader, cam.CropRule(threshold=0.5, padding=0.1))
    assert located.classes.tolist() == [0, 1]
    assert located.probabilities.argmax(1).tolist() == [0, 1]
    assert located.boxes.tolist() == [[30, 10, 45, 20], [0, 40, 5, 60]]
    assert located.crops.tolist() == [[28, 9, 47, 21], [0, 38, 6, 62]]


def test_a_crop_is_cut_out_of_the_original_image():
    """At the crop's own size the network's input is the original's pixels, all of them, untouched."""
    image = coordinates(90, 110)
    x0, y0, x1, y1 = box = (37, 51, 68, 82)
    loader = Loader(pictures([image]), 31, 1, np.eye(3, 4), np.array([box]), workers=1)
    np.testing.assert_array_equal(next(loader.in_order()).x[0], image[y0:y1, x0:x1])


def test_mean_box_iou_is_over_the_images_with_a_lesion_in_their_mask():
    masks = [np.zeros((10, 20), bool) for _ in range(3)]
    masks[0][2:6, 4:12] = True
    masks[1][0:10, 0:10] = True
    dataset = SimpleNamespace(mask=lambda i: [*masks, None][i], shape=lambda i: (10, 20))
    boxes = np.array([(4, 2, 12, 6), (5, 0, 15, 10), (0, 0, 5, 5), (0, 0, 5, 5)])
    assert mean_box_iou(dataset, boxes) == pytest.approx((1 + 1 / 3) / 2)
    assert mean_box_iou(SimpleNamespace(mask=lambda i: None), boxes) is None
