"""Boxes: made fit to be cropped, taken from masks, compared."""

import math

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from minicam.cam import adjust_box, box_iou, mask_box

EPS = 1e-6


@st.composite
def boxes_in_images(draw):
    """An image's shape (H, W) and a box in it, whose edges need not be whole pixels."""
    H, W = draw(st.integers(1, 300)), draw(st.integers(1, 300))
    edges = []
    for limit in (W, H):
        start = draw(st.floats(0, limit - 0.5))
        edges.append((start, draw(st.floats(start + 0.25, limit))))
    (x0, x1), (y0, y1) = edges
    return (H, W), (x0, y0, x1, y1)


rules = st.fixed_dictionaries(
    {
        "padding": st.sampled_from([0.0, 0.1, 0.37, 2.0]),
        "minimum": st.sampled_from([0.0, 0.2, 0.55, 1.0]),
        "square": st.booleans(),
    }
)


def wanted_sides(box, shape, padding, minimum, square):
    """Width and height that the rule asks for, before the image's edges are looked at."""
    x0, y0, x1, y1 = box
    width = max((x1 - x0) * (1 + 2 * padding), minimum * shape[1])
    height = max((y1 - y0) * (1 + 2 * padding), minimum * shape[0])
    return (max(width, height),) * 2 if square else (width, height)


@given(boxes_in_images(), rules)
def test_the_crop_is_whole_pixels_inside_the_image_around_the_box(case, rule):
    (H, W), box = case
    crop = adjust_box(box, (H, W), **rule)
    assert all(type(edge) is int for edge in crop)
    x0, y0, x1, y1 = crop
    assert 0 <= x0 < x1 <= W
    assert 0 <= y0 < y1 <= H
    assert x0 <= box[0] + EPS
    assert y0 <= box[1] + EPS
    assert x1 >= box[2] - EPS
    assert y1 >= box[3] - EPS


@given(boxes_in_images(), rules)
def test_the_crop_has_the_sides_asked_for_as_far_as_the_image_reaches(case, rule):
    """Moved, not cut: no side is shorter than asked for, or than the image, and rounding adds less than two pixels."""
    shape, box = case
    x0, y0, x1, y1 = adjust_box(box, shape, **rule)
    for side, wanted, limit in zip((x1 - x0, y1 - y0), wanted_sides(box, shape, **rule), shape[::-1], strict=True):
        assert min(wanted, limit) - EPS <= side <= min(wanted + 2, limit)


@given(boxes_in_images(), rules)
def test_where_it_fits_the_crop_contains_the_padded_box(case, rule):
    shape, box = case
    width, height = wanted_sides(box, shape, **rule)
    padded = []
    for (low, high), length, limit in zip((box[::2], box[1::2]), (width, height), shape[::-1], strict=True):
        centre = (low + high) / 2
        assume(centre - length / 2 >= 0)
        assume(centre + length / 2 <= limit)
        padded.append((math.floor(centre - length / 2 + EPS), math.ceil(centre + length / 2 - EPS)))
    x0, y0, x1, y1 = adjust_box(box, shape, **rule)
    for mine, expected in zip((x0, x1, y0, y1), (*padded[0], *padded[1]), strict=True):
        assert abs(mine - expected) <= 1  # where an edge lies within rounding of a whole pixel
    assert x0 <= padded[0][0]
    assert y1 >= padded[1][1]


@given(boxes_in_images(), rules)
def test_a_square_crop_is_square_to_a_pixel_where_it_fits(case, rule):
    shape, box = case
    side, _ = wanted_sides(box, shape, **rule | {"square": True})
    assume(side <= min(shape))
    x0, y0, x1, y1 = adjust_box(box, shape, **rule | {"square": True})
    assert abs((x1 - x0) - (y1 - y0)) <= 1


@given(boxes_in_images())
def test_a_box_of_whole_pixels_without_a_rule_stays_as_it_is(case):
    shape, box = case
    whole = math.floor(box[0]), math.floor(box[1]), math.ceil(box[2]), math.ceil(box[3])
    assert adjust_box(box, shape) == whole
    assert adjust_box(whole, shape) == whole


@pytest.mark.parametrize(
    ("box", "rule", "expected"),
    [
        ((40, 40, 60, 50), {"padding": 0.5}, (30, 35, 70, 55)),
        ((0, 0, 20, 10), {"padding": 0.5}, (0, 0, 40, 20)),  # moved inside, its size kept
        ((180, 90, 200, 100), {"padding": 0.5}, (160, 80, 200, 100)),
        ((100, 50, 102, 52), {"minimum": 0.3}, (71, 36, 131, 66)),  # 60 x 30 of 200 x 100
        ((40, 40, 60, 50), {"square": True}, (40, 35, 60, 55)),
        ((20, 10, 170, 50), {"square": True}, (20, 0, 170, 100)),  # as far as the image reaches
        ((40, 40, 60, 50), {"padding": 9.0}, (0, 0, 200, 100)),
    ],
)
def test_crops_by_hand_in_an_image_of_200_by_100(box, rule, expected):
    assert adjust_box(box, (100, 200), **rule) == expected


masks = arrays.arrays(bool, st.tuples(st.integers(1, 12), st.integers(1, 12)))


@given(masks, st.integers(1, 3), st.integers(1, 3))
def test_the_box_of_a_mask_is_that_of_the_mask_enlarged(mask, across, down):
    large = np.repeat(np.repeat(mask, down, 0), across, 1)
    pixels = np.argwhere(large)
    if not len(pixels):
        assert mask_box(mask, large.shape) is None
        return
    (y0, x0), (y1, x1) = pixels.min(0), pixels.max(0) + 1
    assert mask_box(mask, large.shape) == (x0, y0, x1, y1)


small_boxes = st.tuples(*[st.integers(0, 9)] * 4).map(
    lambda edges: (min(edges[::2]), min(edges[1::2]), max(edges[::2]) + 1, max(edges[1::2]) + 1)
)


@given(small_boxes, small_boxes)
def test_iou_is_what_counting_pixels_gives_and_symmetric(a, b):
    drawn = np.zeros((2, 10, 10), bool)
    for picture, (x0, y0, x1, y1) in zip(drawn, (a, b), strict=True):
        picture[y0:y1, x0:x1] = True
    expected = (drawn[0] & drawn[1]).sum() / (drawn[0] | drawn[1]).sum()
    assert box_iou(a, b) == pytest.approx(expected, abs=1e-12)
    assert box_iou(a, b) == box_iou(b, a)
    assert box_iou(a, a) == 1
