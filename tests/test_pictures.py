"""Pictures for people: where the colours of a CAM lie, where boxes are drawn, and how sheets are laid out."""

import numpy as np
import pytest
import tiny
from PIL import Image

from minicam import pictures
from minicam.cam import CropRule
from minicam.data.loader import Loader
from minicam.model import small_gap

GREY = np.full((60, 90, 3), 100, np.uint8)


def test_the_scale_of_colours_runs_from_dark_to_bright():
    colours = pictures.colours_of(np.linspace(0, 1, 50)[None])
    assert colours.shape == (1, 50, 3)
    assert colours.min() >= 0
    assert colours.max() <= 255
    assert np.all(np.diff(colours[0] @ [0.299, 0.587, 0.114]) > 0)
    np.testing.assert_array_equal(pictures.colours_of(np.array([[-1.0, 2.0]])), pictures.COLOURS[None, [0, -1]])


def test_an_overlay_leaves_cold_places_as_they_are_and_colours_hot_ones():
    heat = np.zeros((6, 9), np.float32)
    heat[2, 3] = 1
    mine = pictures.overlay(GREY, heat)
    assert (mine.shape, mine.dtype) == (GREY.shape, np.uint8)
    np.testing.assert_array_equal(mine[:10], 100)
    np.testing.assert_array_equal(mine[:, 50:], 100)
    np.testing.assert_array_equal(pictures.overlay(GREY, np.zeros((6, 9))), GREY)
    down, across = np.unravel_index(np.abs(mine.astype(int) - 100).sum(2).argmax(), (60, 90))
    assert 20 <= down < 30
    assert 30 <= across < 40
    hottest = pictures.overlay(GREY, np.ones((6, 9)))
    assert np.abs(hottest - (0.4 * 100 + 0.6 * pictures.COLOURS[-1])).max() <= 0.5


def test_boxes_are_drawn_at_their_edges_inside_in_the_scale_of_the_picture():
    """The original is 120 x 180, so everything is halved."""
    mine = pictures.with_boxes(GREY, [((20, 40, 60, 80), (255, 0, 0)), (None, (0, 255, 0))], (120, 180))
    red = (mine == (255, 0, 0)).all(2)
    down, across = np.nonzero(red)
    assert (across.min(), down.min(), across.max() + 1, down.max() + 1) == (10, 20, 30, 40)
    assert not red[22:38, 12:28].any()
    assert (mine[~red] == 100).all()
    assert (GREY == 100).all()


@pytest.mark.parametrize("box", [(0, 0, 1, 1), (89, 59, 90, 60), (0, 0, 90, 60)])
def test_the_smallest_and_the_largest_box_can_be_drawn(box):
    mine = pictures.with_boxes(GREY, [(box, (255, 0, 0))], (60, 90))
    assert (mine == (255, 0, 0)).all(2)[box[1], box[0]]


@pytest.mark.parametrize("shape", [(60, 90), (300, 20), (7, 5), (40, 40)])
def test_fitted_into_a_square_its_proportions_are_kept(shape):
    mine = pictures.fit_into(np.full((*shape, 3), 200, np.uint8), 40)
    assert mine.shape == (40, 40, 3)
    filled = (mine == 200).all(2)
    height, width = filled.any(1).sum(), filled.any(0).sum()
    assert max(height, width) == 40
    assert abs(height - 40 * shape[0] / max(shape)) <= 1
    assert abs(width - 40 * shape[1] / max(shape)) <= 1
    assert (mine[~filled] == 60).all()


def test_a_sheet_has_a_place_for_every_tile():
    rows = [[np.full((20, 20, 3), 10 * (3 * i + j), np.uint8) for j in range(3)] for i in range(5)]
    sheet = np.asarray(pictures.sheet(rows, ["caption"] * 5, "legend"))
    places = {}
    for value in range(0, 150, 10):
        down, across = np.nonzero((sheet == value).all(2))
        corners = zip(down, across, strict=True)
        places[value] = next((y, x) for y, x in corners if (sheet[y : y + 20, x : x + 20] == value).all())
        assert (sheet == value).all(2).sum() >= 400
    tops = [places[30 * i][0] for i in range(5)]
    assert tops[0] == tops[1] < tops[2] == tops[3] < tops[4]
    assert places[0][1] < places[10][1] < places[20][1] < places[30][1]


def test_the_sheet_of_cams_shows_each_image_its_cam_and_its_crop():
    """The third tile is the crop's pixels out of the original; here the crop is as large as a tile."""
    rng = np.random.default_rng(8)
    images = [rng.integers(0, 256, (200, 200, 3), np.uint8) for _ in range(3)]
    dataset = tiny.pictures(images, labels=[0, -1, 2])
    network = small_gap(seed=1)
    loader = Loader(dataset, 16, 2, network.colour, workers=1)
    # CAM_fc is zero, so every map is, and every box the whole image
    sheet = pictures.sheet_of_cams(network, loader, CropRule(), side=200)
    assert isinstance(sheet, Image.Image)
    found = np.asarray(sheet)
    corners = {}
    for i, image in enumerate(images):
        core = image[100, 100:140]
        rows = np.flatnonzero((found[:, :, 0] == core[0, 0]).any(1))
        corners[i] = [
            (y - 100, x - 100)
            for y in rows
            for x in np.flatnonzero((found[y] == core[0]).all(1))
            if (found[y, x : x + 40] == core).all()
        ]
    for i, image in enumerate(images):
        assert len(corners[i]) == 3  # with its boxes, with its CAM (which is zero), and its crop (which is all of it)
        for place, (y, x) in enumerate(corners[i]):
            margin = 2 if place == 0 else 0  # of the first tile the boxes cover the edge
            part = np.s_[margin : 200 - margin]
            np.testing.assert_array_equal(found[y : y + 200, x : x + 200][part, part], image[part, part])
    assert corners[0][0][0] == corners[1][0][0] < corners[2][0][0]


def test_a_crop_in_a_picture_is_the_originals_pixels():
    image = tiny.coordinates(90, 110)
    heat = np.zeros((9, 11), np.float32)
    heat[3:5, 4:7] = 1
    boxed, overlaid, crop = pictures.cam_pictures(
        tiny.pictures([image]), 0, heat, (40, 30, 70, 50), (33, 20, 81, 63), side=50, crop_side=None
    )
    np.testing.assert_array_equal(crop, image[20:63, 33:81])
    assert boxed.shape == overlaid.shape == image.shape
    assert (boxed[30, 40] == pictures.CAM_BOX).all()
    assert (boxed[20, 33] == pictures.CROP).all()
