"""What maps and boxes are measured against: the lesion in what the network sees, and what is deleted of that."""

import numpy as np
import pytest
import tiny

from minicam import cam
from minicam.data import synthetic
from minicam.data.loader import Loader
from minicam.metrics import DELETED, auc, calibration_error, delete, deletion_area, sensitivity_at
from minicam.model import small_gap
from minicam.reproduce.figures import aucs, calibrated_error, details, difference, drawn_aucs, mean_of, redrawn
from minicam.reproduce.maps import deletion_areas, lesion_in, values_of_boxes, values_of_maps

DRAWN = synthetic.load("validation", count=6)


@pytest.fixture
def network(rng):
    """One whose last layer says something."""
    network = small_gap(3, 0)
    network.layers[-1].params["kernel"][:] = rng.standard_normal((64, 3)).astype(np.float32)
    return network


def loader(network, boxes=None, dataset=DRAWN):
    return Loader(dataset, 32, 4, network.colour, boxes)


def whole(dataset):
    return np.array([(0, 0, *dataset.shape(i)[::-1]) for i in range(len(dataset))])


# -- what is deleted


def test_the_hottest_places_become_the_mean(rng):
    x, heat = rng.standard_normal((4, 5, 3)), rng.permutation(20).reshape(4, 5).astype(float)
    left = delete(x, heat, 0.25)
    hottest = heat >= 15
    np.testing.assert_allclose(left[hottest], np.broadcast_to(x.mean((0, 1)), (5, 3)))
    np.testing.assert_array_equal(left[~hottest], x[~hottest])
    np.testing.assert_array_equal(delete(x, heat, 0), x)


def test_of_equal_heat_the_first_places_go():
    x = np.arange(12.0).reshape(2, 2, 3)
    left = delete(x, np.ones((2, 2)), 0.5)
    np.testing.assert_array_equal(left[1], x[1])
    assert (left[0] == x.mean((0, 1))).all()


def test_the_area_is_the_mean_height_of_the_curve():
    assert deletion_area([0.7] * len(DELETED)) == pytest.approx(0.7)
    assert deletion_area([1, 0], [0, 0.5]) == pytest.approx(0.5)
    assert deletion_area([1, 1, 0], [0, 0.25, 1]) == pytest.approx(0.25 + 0.75 / 2)


def test_a_map_of_what_counts_has_a_lower_area_than_its_opposite(network):
    rule = cam.CropRule(region="predicted")
    hot = deletion_areas(network, loader(network), rule)
    assert hot.shape == (6,)
    assert ((hot > 0) & (hot < 1)).all()
    cam.REGIONS["opposite"] = lambda seen, rule: -cam.predicted(seen, rule) + np.abs(seen.maps).max()
    try:
        cold = deletion_areas(network, loader(network), cam.CropRule(region="opposite"))
    finally:
        del cam.REGIONS["opposite"]
    assert hot.mean() < cold.mean()


def test_deletion_begins_at_the_probability_of_the_image_as_it_is(network, monkeypatch):
    import minicam.reproduce.maps as maps
    from minicam.inference import predict

    curves = []
    monkeypatch.setattr(maps, "deletion_area", lambda curve: curves.append(curve) or 0.0)
    deletion_areas(network, loader(network), cam.CropRule())
    expected = np.concatenate([p for _, p, _ in predict(network, loader(network))]).max(1)
    np.testing.assert_allclose([curve[0] for curve in curves], expected, rtol=1e-5)


def test_the_gain_is_over_the_middle_of_the_same_images(network):
    found = values_of_maps(network, loader(network), cam.CropRule(), deletion=True)
    blind = values_of_maps(network, loader(network), cam.CropRule(region="middle"), deletion=True)
    np.testing.assert_allclose(found["deletion_gain"], np.subtract(blind["deletion"], found["deletion"]))
    assert blind["deletion_gain"] == [0] * 6


# -- lesions in images and in crops


def test_the_lesion_in_a_crop_is_the_part_of_its_mask():
    mask, (H, W) = DRAWN.mask(0), DRAWN.shape(0)
    box = (W // 4, H // 8, W, H // 2)
    np.testing.assert_array_equal(lesion_in(DRAWN, 0, np.array(box)), mask[box[1] : box[3], box[0] : box[2]])
    np.testing.assert_array_equal(lesion_in(DRAWN, 0, None), mask)


def test_a_crop_of_less_than_a_pixel_of_the_mask_has_one(monkeypatch):
    small = tiny.pictures([np.zeros((100, 100, 3), np.uint8)])
    monkeypatch.setattr(type(small), "mask", lambda self, i: np.eye(5, dtype=bool))
    assert lesion_in(small, 0, np.array((41, 41, 45, 45))).tolist() == [[True]]


def test_whole_images_as_crops_have_the_figures_of_whole_images(network):
    rule = cam.CropRule(region="predicted")
    one, other = (values_of_maps(network, loader(network, boxes), rule) for boxes in (None, whole(DRAWN)))
    assert one.keys() == {"pointing", "iou", "inside", "lesion"}
    np.testing.assert_allclose(one["lesion"], [DRAWN.mask(i).mean() for i in range(6)])
    for name, values in one.items():
        np.testing.assert_allclose(values, other[name], rtol=1e-6)


def test_boxes_around_the_masks_are_right_and_keep_all():
    boxes = np.array([cam.mask_box(DRAWN.mask(i), DRAWN.shape(i)) for i in range(len(DRAWN))])
    found = values_of_boxes(DRAWN, boxes, whole(DRAWN))
    assert found == {"iou": [1] * 6, "kept": [1] * 6}
    halves = boxes.copy()
    halves[:, 2] = (boxes[:, 0] + boxes[:, 2]) // 2
    found = values_of_boxes(DRAWN, halves, halves)
    assert 0.3 < np.mean(found["kept"]) < 0.7
    assert 0.4 < np.mean(found["iou"]) < 0.6
    assert values_of_boxes(DRAWN, None, halves) == {"kept": found["kept"]}


def test_without_masks_there_are_no_figures(network):
    plain = tiny.pictures([np.full((20, 20, 3), 9 * i, np.uint8) for i in range(4)])
    found = values_of_maps(network, loader(network, dataset=plain), cam.CropRule())
    assert found == {"pointing": [], "iou": [], "inside": [], "lesion": []}
    assert values_of_boxes(plain, whole(plain), whole(plain)) == {"iou": [], "kept": []}
    assert mean_of([[], []]) is None


def test_a_mean_has_its_interval(rng):
    mean, low, high = mean_of([rng.standard_normal(400) + 3])
    assert low < mean < high
    assert high - low == pytest.approx(2 * 1.96 / 20, rel=0.25)


# -- figures of several seeds


@pytest.fixture
def scores(rng):
    """Two seeds' probabilities for 60 images that know something."""
    dataset = tiny.pictures(np.zeros((60, 2, 2, 3), np.uint8))
    return dataset, [0.5 * rng.random((60, 3)) + 0.3 * np.eye(3)[dataset.labels] for _ in range(2)]


def test_aucs_of_seeds_are_averaged(scores):
    dataset, each = scores
    found = aucs([drawn_aucs(dataset, p) for p in each])
    by_hand = [[auc(dataset.labels == k, p[:, k]) for k in (1, 2)] for p in each]
    assert found["each"] == pytest.approx(np.mean(by_hand, axis=1))
    assert found["mean"] == pytest.approx(np.mean(by_hand))
    assert (found["b"], found["c"]) == pytest.approx(tuple(np.mean(by_hand, axis=0)))
    assert found["low"] < found["mean"] < found["high"]
    assert found["b_low"] < found["b"] < found["b_high"]


def test_the_difference_is_paired(scores):
    dataset, each = scores
    better = [drawn_aucs(dataset, p + 0.05 * np.eye(3)[dataset.labels]) for p in each]
    each = [drawn_aucs(dataset, p) for p in each]
    assert set(difference(each, each).values()) == {0}
    found = difference(better, each)
    alone = np.ptp([aucs(each)[end] for end in ("low", "high")])
    assert 0 < found["low"] < found["mean"] < found["high"]
    assert found["high"] - found["low"] < 0.6 * alone
    assert found["mean"] == pytest.approx((found["b"] + found["c"]) / 2)
    assert found["b"] == pytest.approx(aucs(better)["b"] - aucs(each)["b"])
    assert found["b_low"] < found["b"] < found["b_high"]


def test_all_rows_are_redrawn_alike():
    np.testing.assert_array_equal(redrawn(20), redrawn(20))
    assert (redrawn(20).sum(1) == 20).all()


def test_details_are_means_over_seeds_with_intervals(scores):
    dataset, each = scores
    found = details(dataset, each)
    value, low, high = found["b"]["sensitivity_at_specificity_0.9"]
    assert value == pytest.approx(np.mean([sensitivity_at(dataset.labels == 1, p[:, 1]) for p in each]))
    assert low <= value <= high


def test_the_mean_of_seeds_is_that_of_each_image_first():
    mean, low, high = mean_of([[0.0, 1.0] * 50, [1.0, 0.0] * 50])
    assert (mean, low, high) == (0.5, 0.5, 0.5)


def test_calibrated_scores_have_an_error_of_about_that_size(rng):
    dataset = tiny.pictures(np.zeros((600, 2, 2, 3), np.uint8))
    p = rng.random((600, 3))
    labels = np.where(rng.random(600) < p[:, 1], 1, 0)
    mean, high = calibrated_error(dataset, [p])["b"]
    assert 0 < calibration_error(labels == 1, p[:, 1]) < high
    assert 0.02 < mean < high < 0.1
    assert calibrated_error(dataset, [p, p]) == calibrated_error(dataset, [p])  # two seeds, but the same images
