"""Augmentations: each is what it says, and a chain of them in one pass is the chain of its passes."""

import itertools

import numpy as np
import pytest
from gradcheck import relative_error

from minicam import MinicamError
from minicam.data import augment
from minicam.ops import warp

SEEDS = range(200)


def drawn(name, seed):
    """The geometry that `name` draws from a seed."""
    return augment.sample((name,), np.random.default_rng(seed))[0]


def applied(geometry, image, size=None, colours=None):
    """The image (H, W, 3) through the map, in float64."""
    size = size or image.shape[:2]
    affine = augment.affine(geometry, (0, 0, image.shape[1], image.shape[0]), size)
    colours = None if colours is None else colours[None, :3]
    return warp.forward(image[None].astype(float), affine[None], size, colours, np.float64)[0]


def kinds_of(name, images):
    """Which of the named images each seed's augmentation makes of the first of them; all must be among them."""
    original = next(iter(images.values()))
    found = set()
    for seed in SEEDS:
        mine = applied(drawn(name, seed), original)
        fits = [kind for kind, image in images.items() if np.abs(mine - image).max() < 1e-9]
        assert len(fits) == 1
        found.add(fits[0])
    return found


def test_flips_mirror_each_way_or_not(rng):
    image = rng.uniform(0, 255, (5, 7, 3))
    images = {"none": image, "left-right": image[:, ::-1], "top-bottom": image[::-1], "both": image[::-1, ::-1]}
    assert kinds_of("flip", images) == set(images)


def test_turns_of_a_square_are_exactly_its_quarter_turns(rng):
    image = rng.uniform(0, 255, (7, 7, 3))
    images = {quarters: np.rot90(image, quarters) for quarters in range(4)}
    assert kinds_of("turn", images) == {0, 1, 2, 3}


def test_flips_and_turns_are_in_whole_numbers_so_that_their_maps_keep_to_the_axes():
    for seed in SEEDS:
        geometry, _ = augment.sample(("flip", "turn"), np.random.default_rng(seed))
        np.testing.assert_array_equal(geometry, geometry.round())
        affine = augment.affine(geometry, (10.3, 20, 47.1, 81), (7, 7))
        assert (affine[0, 1] == affine[1, 0] == 0) != (affine[0, 0] == affine[1, 1] == 0)


@pytest.mark.parametrize("name", ["flip", "turn"])
def test_flips_and_turns_undone_give_the_image_back(name, rng):
    image = rng.uniform(0, 255, (6, 6, 3))
    for seed in SEEDS[:20]:
        geometry = drawn(name, seed)
        times = 2 if name == "flip" else 4
        again = image
        for _ in range(times):
            again = applied(geometry, again)
        assert relative_error(again, image) < 1e-9


def test_free_rotations_keep_centre_and_distances_and_take_every_angle():
    angles = []
    for seed in SEEDS:
        geometry = drawn("rotate", seed)
        np.testing.assert_allclose(geometry @ geometry.T, np.eye(3), atol=1e-12)
        assert np.linalg.det(geometry) == pytest.approx(1)
        angles.append(np.arctan2(geometry[1, 0], geometry[0, 0]))
    assert np.histogram(angles, 8, (-np.pi, np.pi))[0].min() > 10


CORNERS = np.array([[-0.5, -0.5, 1], [0.5, -0.5, 1], [-0.5, 0.5, 1], [0.5, 0.5, 1]]).T


def test_crops_stay_within_the_image_and_reach_its_edges():
    edges = []
    for seed in SEEDS:
        window = drawn("crop", seed) @ CORNERS
        width, height = np.ptp(window[:2], axis=1)
        assert (width, height) == pytest.approx((7 / 8, 7 / 8))
        assert np.abs(window[:2]).max() <= 0.5 + 1e-12
        edges.append(window[:2, 0])
    assert np.ptp(edges, axis=0) == pytest.approx((1 / 8, 1 / 8), abs=0.01)


def test_zooms_lie_within_a_factor_1_25_both_ways_about_the_centre():
    factors = []
    for seed in SEEDS:
        geometry = drawn("scale", seed)
        np.testing.assert_array_equal(geometry, np.diag([geometry[0, 0], geometry[0, 0], 1]))
        factors.append(geometry[0, 0])
    assert 0.8 <= min(factors) < 0.82
    assert 1.22 < max(factors) <= 1.25


def test_colours_change_within_their_limits():
    """A grey stays grey; between two greys contrast scales the distance; saturation that from grey to a colour."""
    changes = []
    for seed in SEEDS:
        geometry, matrix = augment.sample(("colour",), np.random.default_rng(seed))
        np.testing.assert_array_equal(geometry, np.eye(3))
        np.testing.assert_array_equal(matrix[3], [0, 0, 0, 1])

        def change(*rgb, matrix=matrix):
            return (matrix @ [*rgb, 1])[:3]

        middle, light, red = change(127.5, 127.5, 127.5), change(200, 200, 200), change(200, 20, 20)
        assert np.ptp(middle) < 1e-9
        assert np.ptp(light) < 1e-9
        contrast = (light[0] - middle[0]) / 72.5
        grey = change(*[augment.LUMA @ [200, 20, 20]] * 3)[0]
        assert augment.LUMA @ red == pytest.approx(grey)  # its luminance is that of its grey
        changes.append((middle[0] - 127.5, contrast, (red[0] - red[1]) / 180 / contrast))
    brightness, contrast, saturation = np.array(changes).T
    assert -25.5 <= brightness.min() < -23
    assert 23 < brightness.max() <= 25.5
    for factor in (contrast, saturation):
        assert 0.8 <= factor.min() < 0.82
        assert 1.18 < factor.max() <= 1.2
    assert np.abs(np.corrcoef(np.array(changes).T) - np.eye(3)).max() < 0.25


def test_the_order_of_the_names_draws_the_same():
    for names in itertools.permutations(("flip", "rotate", "scale", "colour")):
        mine = augment.sample(names, np.random.default_rng(5))
        theirs = augment.sample(("colour", "scale", "flip", "rotate"), np.random.default_rng(5))
        for one, other in zip(mine, theirs, strict=True):
            np.testing.assert_array_equal(one, other)


def test_no_names_change_nothing():
    geometry, colours = augment.sample((), np.random.default_rng(5))
    np.testing.assert_array_equal(geometry, np.eye(3))
    np.testing.assert_array_equal(colours, np.eye(4))


def smooth_image(side):
    """Waves longer than the side, so that sampling twice blurs next to nothing."""
    rows, columns = (np.mgrid[:side, :side] + 0.5) / side
    waves = [np.cos(2 * rows + 3 * columns), np.sin(4 * rows - columns), np.cos(3 * rows * columns)]
    return 127.5 + 100 * np.stack(waves, -1)


def in_passes(names, seed, image):
    """One pass for each augmentation, drawing from the same generator."""
    rng = np.random.default_rng(seed)
    for name in augment.NAMES:
        if name in names:
            geometry, colours = augment.sample((name,), rng)
            image = applied(geometry, image, colours=colours)
    return image


def in_one_pass(names, seed, image):
    geometry, colours = augment.sample(names, np.random.default_rng(seed))
    return applied(geometry, image, colours=colours)


@pytest.mark.parametrize("seed", range(12))
def test_flips_turns_and_colours_in_one_pass_are_exactly_one_after_another(seed, rng):
    image, names = rng.uniform(0, 255, (9, 9, 3)), ("flip", "turn", "colour")
    assert relative_error(in_one_pass(names, seed, image), in_passes(names, seed, image)) < 1e-9


@pytest.mark.parametrize("seed", range(12))
def test_all_augmentations_in_one_pass_are_one_after_another_up_to_interpolation(seed):
    """Compared in the middle, which no edge that repeats has reached."""
    image = smooth_image(120)
    mine, theirs = in_one_pass(augment.NAMES, seed, image), in_passes(augment.NAMES, seed, image)
    middle = np.s_[45:75, 45:75]
    assert np.abs(mine - theirs)[middle].max() < 0.5
    assert np.abs(mine - image)[middle].max() > 5


def test_a_box_is_stretched_over_the_output():
    affine = augment.affine(np.eye(3), (10, 20, 40, 80), (6, 5))
    for (u, v), expected in {(0, 0): (10, 20), (5, 6): (40, 80), (2.5, 3): (25, 50), (1, 0): (16, 20)}.items():
        assert affine @ [u, v, 1] == pytest.approx(expected)


def test_a_map_of_a_box_keeps_to_its_centre_and_proportions():
    """A quarter turn of a box twice as wide as high takes its corners to its corners."""
    quarter = np.array([[0, -1, 0], [1, 0, 0], [0, 0, 1.0]])
    affine = augment.affine(quarter, (10, 20, 50, 40), (8, 8))
    assert affine @ [4, 4, 1] == pytest.approx((30, 30))
    assert {tuple((affine @ [u, v, 1]).round(9)) for u in (0, 8) for v in (0, 8)} == {
        (10, 20),
        (50, 20),
        (10, 40),
        (50, 40),
    }


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("flip,turn", ("flip", "turn")),
        (" colour , flip ", ("colour", "flip")),
        ("none", ()),
        ("", ()),
        ("flip,", ("flip",)),
    ],
)
def test_parse(text, names):
    assert augment.parse(text) == names


@pytest.mark.parametrize("text", ["flop", "flip,flop", "Flip flop"])
def test_an_unknown_augmentation_is_refused(text):
    with pytest.raises(MinicamError) as caught:
        augment.parse(text)
    found = text.split(",")[-1]
    assert str(caught.value) == (
        f"augmentation {found!r} is not known; choose from flip, turn, rotate, crop, scale, colour, or none"
    )


@pytest.mark.parametrize(
    ("names", "count"), [((), 1), (("flip",), 4), (("turn",), 4), (("flip", "turn"), 8), (("turn", "flip"), 8)]
)
def test_variants_are_all_that_can_be_drawn(names, count):
    variants = augment.variants(names)
    assert len(variants) == count
    np.testing.assert_array_equal(variants[0], np.eye(3))
    drawings = [augment.sample(names, np.random.default_rng(seed))[0] for seed in SEEDS]
    for geometry in drawings:
        assert sum(np.abs(geometry - variant).max() < 1e-12 for variant in variants) == 1
    assert {tuple(geometry.round().flat) for geometry in drawings} == {tuple(variant.flat) for variant in variants}


@pytest.mark.parametrize("name", ["rotate", "crop", "scale", "colour"])
def test_variants_without_end_are_refused(name):
    said = f"--augment {name} makes them without end; choose from flip, turn, or none"
    with pytest.raises(MinicamError, match=said):
        augment.variants(("flip", name))
