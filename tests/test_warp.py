"""ops/warp: the cases of it that can be written down otherwise, and SciPy's sampling for those that cannot."""

import numpy as np
import pytest
from gradcheck import relative_error

from minicam import MinicamError
from minicam.model import small_gap
from minicam.ops import warp

IDENTITY = np.array([[1.0, 0, 0], [0, 1, 0]])


def random_affine(N, rng):
    """Any turn, scale, shear and shift, reaching well beyond the image."""
    return IDENTITY + np.concatenate([rng.normal(0, 0.5, (N, 2, 2)), rng.normal(0, 3, (N, 2, 1))], axis=2)


@pytest.mark.parametrize("colours", [None, 1, 2, 4])
@pytest.mark.parametrize("shape", [(2, 7, 5, 3), (1, 1, 6, 1), (3, 4, 1, 2)], ids=str)
def test_forward_equals_the_loops(shape, colours, rng, backend):
    N, *_, C = shape
    x, affine = rng.uniform(0, 255, shape), random_affine(N, rng)
    colour = None if colours is None else rng.standard_normal((N, colours, C + 1))
    naive = warp.forward_naive(x, affine, (6, 9), colour, np.float64)
    y = backend(warp.forward, x, affine, (6, 9), colour, np.float64)
    assert relative_error(y, naive) < 1e-12
    assert relative_error(backend(warp.forward, x.astype(np.float32), affine, (6, 9), colour), naive) < 1e-5


@pytest.mark.parametrize("x_dtype", [np.uint8, np.uint16, np.int64, np.float32, np.float64])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("with_colour", [False, True])
def test_the_result_is_of_the_dtype_asked_for(x_dtype, dtype, with_colour, rng, backend):
    x = rng.integers(0, 256, (2, 7, 5, 3)).astype(x_dtype)
    colour = rng.standard_normal((2, 4, 4)) if with_colour else None
    affine = random_affine(2, rng)
    y = backend(warp.forward, x, affine, (3, 8), colour, dtype)
    assert y.dtype == dtype
    naive = warp.forward_naive(x.astype(np.float64), affine, (3, 8), colour, np.float64)
    assert relative_error(y, naive) < (1e-5 if dtype == np.float32 else 1e-12)


def test_the_result_is_float32_unless_asked_otherwise(backend):
    assert backend(warp.forward, np.zeros((1, 3, 5, 2), np.uint8), IDENTITY[None], (2, 2)).dtype == np.float32


# The image is 7 high and 5 wide; the affine map says where in it each output pixel looks: rows across, down.
EXACT = {
    "identity": (IDENTITY, (7, 5), lambda x: x),
    "flipped left to right": ([[-1, 0, 5], [0, 1, 0]], (7, 5), lambda x: x[:, :, ::-1]),
    "flipped upside down": ([[1, 0, 0], [0, -1, 7]], (7, 5), lambda x: x[:, ::-1]),
    "turned by a quarter": ([[0, -1, 5], [1, 0, 0]], (5, 7), lambda x: np.rot90(x, 1, (1, 2))),
    "turned by a half": ([[-1, 0, 5], [0, -1, 7]], (7, 5), lambda x: np.rot90(x, 2, (1, 2))),
    "turned by three quarters": ([[0, 1, 0], [-1, 0, 7]], (5, 7), lambda x: np.rot90(x, 3, (1, 2))),
    "cropped": ([[1, 0, 2], [0, 1, 3]], (4, 2), lambda x: x[:, 3:7, 2:4]),
    "every second row": ([[1, 0, 0], [0, 2, -0.5]], (4, 5), lambda x: x[:, ::2]),
    "shifted over the edge": ([[1, 0, 0], [0, 1, 5]], (4, 5), lambda x: x[:, [5, 6, 6, 6]]),
}


@pytest.mark.parametrize("case", EXACT)
@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_maps_from_pixel_to_pixel_are_exact(case, dtype, rng, backend):
    affine, size, expected = EXACT[case]
    x = rng.integers(0, 256, (2, 7, 5, 3)).astype(dtype)
    y = backend(warp.forward, x, np.array([affine, affine], float), size)
    np.testing.assert_array_equal(y, expected(x))


# Maps that keep to the axes, in parts of the image's sides, with what they are.
ALONG_AXES = {
    "reduced": [[1, 0, 0], [0, 1, 0]],
    "flipped, enlarged": [[-0.21, 0, 0.68], [0, 0.33, 0.11]],
    "turned, cropped": [[0, -0.6, 0.83], [0.6, 0, 0.21]],
    "turned, flipped": [[0, 1, 0], [1, 0, 0]],
    "beyond the edges": [[2.3, 0, -0.7], [0, -1.9, 1.6]],
    "turned, beyond the edges": [[0, 1.7, -0.4], [-2.2, 0, 1.7]],
    "outside": [[0.5, 0, 1.4], [0, 0.5, -2]],
    "all from one place": [[0, 0, 0.37], [0, 0, 0.61]],
}


def along_axes(case, shape, size):
    """The map (2, 3) in pixels, for images (H, W) and outputs (P, Q)."""
    (H, W), (P, Q) = shape, size
    return np.diag([W, H]) @ ALONG_AXES[case] @ np.diag([1 / Q, 1 / P, 1])


@pytest.mark.parametrize("case", ALONG_AXES)
@pytest.mark.parametrize("shape", [(23, 17), (1, 9), (9, 1), (1, 1)], ids=str)
@pytest.mark.parametrize("dtype", [np.uint8, np.float32, np.float64])
def test_maps_along_the_axes_equal_the_loops_and_any_map(case, shape, dtype, rng):
    """The same map, sheared by next to nothing, goes the way of those that do not keep to the axes."""
    size = (7, 13)
    x, affine = rng.integers(0, 256, (1, *shape, 3)).astype(dtype), along_axes(case, shape, size)
    y = warp.forward(x, affine[None], size, None, np.float64)
    assert relative_error(y, warp.forward_naive(x.astype(float), affine[None], size, None, np.float64)) < 1e-12
    sheared = affine + 1e-13 * np.array([[1, 1, 0], [1, 1, 0]])
    assert relative_error(y, warp.forward(x, sheared[None], size, None, np.float64)) < 1e-10
    assert relative_error(warp.forward(x, affine[None], size), y) < 1e-5


def test_images_of_one_call_have_maps_of_their_own(rng, backend):
    affine = np.stack([*(along_axes(case, (14, 9), (8, 11)) for case in ALONG_AXES), *random_affine(3, rng)])
    affine = affine[rng.permutation(len(affine))]
    x, colour = rng.integers(0, 256, (len(affine), 14, 9, 3), np.uint8), rng.standard_normal((len(affine), 2, 4))
    before = x.copy(), affine.copy(), colour.copy()
    y = backend(warp.forward, x, affine, (8, 11), colour, np.float64)
    assert relative_error(y, warp.forward_naive(x.astype(float), affine, (8, 11), colour, np.float64)) < 1e-12
    for given, kept in zip((x, affine, colour), before, strict=True):
        np.testing.assert_array_equal(given, kept)


@pytest.mark.parametrize("block", [1, 20, 10**6])
def test_blocks_change_nothing(block, rng, monkeypatch):
    x = rng.integers(0, 256, (3, 14, 9, 3), np.uint8)
    affine = np.stack([along_axes("reduced", (14, 9), (7, 8)), IDENTITY[[1, 0]], *random_affine(1, rng)])
    expected = warp.forward(x, affine, (7, 8))
    monkeypatch.setattr(warp, "BLOCK_PIXELS", block)
    np.testing.assert_array_equal(warp.forward(x, affine, (7, 8)), expected)


def test_half_way_between_two_pixels_is_their_mean(backend):
    x = np.array([[10.0, 20, 60], [30, 40, 80]])[None, :, :, None]
    y = backend(warp.forward, x, np.array([[[1, 0, 0.5], [0, 1, 0.5]]]), (1, 2))
    assert y.ravel().tolist() == [25, 50]


def scipy_sampling(image, affine, size):
    """The same definition, by SciPy: an image (H, W, C) and one map -> (P, Q, C)."""
    from scipy.ndimage import map_coordinates

    down, across = np.mgrid[: size[0], : size[1]] + 0.5
    j, i = np.tensordot(affine, np.stack([across, down, np.ones_like(down)]), 1) - 0.5
    return np.stack([map_coordinates(c, [i, j], order=1, mode="nearest") for c in np.moveaxis(image, 2, 0)], 2)


def test_any_map_equals_scipys_sampling(rng, backend):
    x, affine = rng.uniform(0, 255, (4, 9, 7, 3)), random_affine(4, rng)
    y = backend(warp.forward, x, affine, (11, 13), None, np.float64)
    theirs = np.stack([scipy_sampling(image, a, (11, 13)) for image, a in zip(x, affine, strict=True)])
    assert relative_error(y, theirs) < 1e-12


@pytest.mark.parametrize("size", [(7, 5), (14, 15), (17, 3), (3, 11), (1, 1)], ids=str)
def test_resize_equals_scipys_sampling(size, rng, backend):
    x = rng.uniform(0, 255, (2, 7, 5, 3))
    scale = np.array([[5 / size[1], 0, 0], [0, 7 / size[0], 0]])
    y = backend(warp.resize, x, size, dtype=np.float64)
    assert relative_error(y, np.stack([scipy_sampling(image, scale, size) for image in x])) < 1e-12


def test_enlarging_equals_pillows_bilinear(rng, backend):
    """Pillow's has half-pixel centres, too. (Where it reduces, it smooths first, which warp leaves to the reader.)"""
    from PIL import Image

    x = rng.uniform(0, 255, (7, 5)).astype(np.float32)
    theirs = np.asarray(Image.fromarray(x).resize((13, 17), Image.Resampling.BILINEAR))  # width first
    y = backend(warp.resize, x[None, :, :, None], (17, 13))
    assert relative_error(y[0, :, :, 0], theirs) < 1e-5


def test_the_colour_matrix_mixes_channels_and_adds(rng, backend):
    x = rng.integers(0, 256, (2, 3, 4, 3), np.uint8)
    grey = np.array([[0.25, 0.5, 0.25, -7]])
    y = backend(warp.forward, x, np.stack([IDENTITY] * 2), (3, 4), np.stack([grey, 2 * grey]))
    expected = (x * [0.25, 0.5, 0.25]).sum(3, keepdims=True) - 7
    np.testing.assert_allclose(y, expected * np.array([1, 2])[:, None, None, None], rtol=1e-6)


def test_the_networks_colour_matrix_is_the_convention_of_the_weights(backend):
    """BGR, minus the mean of ImageNet; 1/64 of it for the small network."""
    x = np.array([200, 100, 50], np.uint8).reshape(1, 1, 1, 3)
    y = backend(warp.forward, x, IDENTITY[None], (1, 1), small_gap().colour[None])
    np.testing.assert_allclose(y.ravel() * 64, [50 - 103.939, 100 - 116.779, 200 - 123.68], rtol=1e-5)


def test_views_that_are_not_contiguous_give_the_same(rng, backend):
    x = rng.integers(0, 256, (2, 14, 9, 3), np.uint8)
    view = x[:, ::2, 1:-3, ::-1]
    assert not view.flags.c_contiguous
    colour = rng.standard_normal((2, 3, 4))
    for affine in (random_affine(2, rng), np.stack([IDENTITY, IDENTITY[[1, 0]]])):
        y = backend(warp.forward, view, affine, (6, 5), colour)
        np.testing.assert_array_equal(y, backend(warp.forward, view.copy(), affine, (6, 5), colour))


def test_coordinates_are_exact_in_large_images(backend):
    """Far right in a wide image a float32 coordinate would be off by 1/4096 of a pixel, which a step of 1e6 shows."""
    x = np.zeros((1, 1, 6001, 1))
    x[..., 6000, 0] = 1e6
    y = backend(warp.forward, x, np.array([[[1, 0, 5999.3], [0, 1, 0]]]), (1, 1))
    assert y.item() == pytest.approx(0.3e6, rel=1e-6)


def test_maps_and_images_must_be_as_many(backend):
    with pytest.raises(MinicamError, match="where N is 2 as in x"):
        backend(warp.forward, np.zeros((2, 3, 3, 1)), IDENTITY[None], (2, 2))


def test_no_images_are_refused_as_by_every_operation(backend):
    with pytest.raises(MinicamError, match=r"^x has the shape \(0, 3, 5, 2\); every size must be at least 1$"):
        backend(warp.resize, np.zeros((0, 3, 5, 2)), (4, 6))
