"""ops/winograd: its matrices, the loops, its gradients, all ways of cutting up the work, and when it is chosen."""

import numpy as np
import pytest
from gradcheck import check_adjoint, check_backward, relative_error

from minicam import MinicamError, backend
from minicam.ops import _tiles, conv, im2col, winograd

# N, H, W, C, K
SHAPES = [
    (2, 8, 12, 3, 4),  # whole tiles
    (2, 7, 9, 3, 5),  # odd sizes
    (3, 17, 6, 2, 3),  # far from square
    (1, 5, 14, 1, 1),  # one image, one channel
    (2, 1, 1, 3, 2),  # a pixel
    (2, 3, 2, 2, 3),  # less than a tile
    (5, 4, 4, 2, 2),  # one tile an image
]
every_shape = pytest.mark.parametrize("shape", SHAPES, ids=str)

CUTS = {
    "as it is": {},
    "a row of tiles at a time": {"MOST_TILES": 1, "LEAST_TILES": 1},
    "a few tiles at a time": {"MOST_TILES": 5, "LEAST_TILES": 5},
    "all threads on the same tiles": {"SHARED_BYTES": 0},
    "on those of one image": {"SHARED_BYTES": 0, "GROUP_BYTES": 1},
    "on those of a few images": {"SHARED_BYTES": 0, "GROUP_BYTES": 1 << 14, "PIECES": 3},
}


@pytest.fixture(params=CUTS.values(), ids=CUTS)
def cut(request, monkeypatch):
    """Every way of cutting up the work."""
    for name, value in request.param.items():
        monkeypatch.setattr(_tiles, name, value)


@pytest.fixture(params=["its own scratch", "scratch full of NaN"])
def any_cut(request, cut, monkeypatch):
    """The same, with the memory that is used again and again, and with memory that shows what is not written."""
    if request.param == "scratch full of NaN":
        monkeypatch.setattr(winograd, "scratch", lambda name, shape, dtype: poisoned(shape, dtype))


def poisoned(shape, dtype):
    return np.full(shape, True if np.dtype(dtype) == bool else np.nan, dtype)


def arguments(shape, rng, dtype=np.float64):
    N, H, W, C, K = shape
    sizes = {"x": (N, H, W, C), "w": (3, 3, C, K), "b": (K,)}
    return {name: rng.standard_normal(size).astype(dtype) for name, size in sizes.items()}


# --- the matrices ---


def test_the_matrices_are_those_of_lavin_and_gray():
    """Their section 4.3 writes out B and G; A's last row is the point at infinity."""
    A, B, G = winograd.matrices()
    assert B.tolist() == [
        [4, 0, -5, 0, 1, 0],
        [0, -4, -4, 1, 1, 0],
        [0, 4, -4, -1, 1, 0],
        [0, -2, -1, 2, 1, 0],
        [0, 2, -1, -2, 1, 0],
        [0, 4, 0, -5, 0, 1],
    ]
    np.testing.assert_allclose(
        24 * G, [[6, 0, 0], [-4, -4, -4], [-4, 4, -4], [1, 2, 4], [1, -2, 4], [0, 0, 24]], rtol=1e-15
    )
    assert A.T.tolist() == [
        [1, 1, 1, 1, 1, 0],
        [0, 1, -1, 2, -2, 0],
        [0, 1, 1, 4, 4, 0],
        [0, 1, -1, 8, -8, 1],
    ]


@pytest.mark.parametrize(("points", "taps"), [((0, 1, -1), 3), (winograd.POINTS, 3), ((0, 1, -1, 2, -2, 0.5), 3),
                                              ((0, 1, -1, 2, -2), 2), ((0, 1, -1, 2, -2), 5), ((3,), 2)])  # fmt: skip
def test_any_points_give_the_convolution(points, taps, rng):
    A, B, G = winograd.matrices(points, taps)
    d, g = rng.standard_normal(len(points) + 1), rng.standard_normal(taps)
    directly = [np.dot(d[i : i + taps], g) for i in range(A.shape[1])]
    np.testing.assert_allclose(A.T @ ((G @ g) * (B @ d)), directly, rtol=0, atol=1e-12)


# --- against the loops ---


@every_shape
@pytest.mark.parametrize("fused", [False, True])
def test_forward_equals_the_loops(shape, fused, rng, any_cut):
    args = arguments(shape, rng)
    naive = conv.forward_naive(**args, relu=fused)
    before = {name: a.copy() for name, a in args.items()}
    assert relative_error(winograd.forward(**args, relu=fused), naive) < 1e-10
    for name, a in args.items():
        np.testing.assert_array_equal(a, before[name])
    y = winograd.forward(*(a.astype(np.float32) for a in args.values()), relu=fused)
    assert y.dtype == np.float32
    assert relative_error(y, naive) < 1e-4


@every_shape
@pytest.mark.parametrize("fused", [False, True])
def test_backward_equals_that_of_im2col(shape, fused, rng, any_cut):
    x, w, b = arguments(shape, rng).values()
    y = im2col.forward(x, w, b, relu=fused)
    dy = rng.standard_normal(y.shape)
    given = [dy, x, w, y if fused else None]
    before = [a.copy() for a in given[:3]]
    expected = im2col.backward(*given)
    for mine, theirs in zip(winograd.backward(*given), expected, strict=True):
        assert relative_error(mine, theirs) < 1e-10
    for a, was in zip(given, before, strict=False):
        np.testing.assert_array_equal(a, was)
    nothing, dw, db = winograd.backward(*given, need_dx=False)
    assert nothing is None
    assert relative_error(dw, expected[1]) < 1e-10
    assert relative_error(db, expected[2]) < 1e-10
    in_float32 = winograd.backward(*(None if a is None else a.astype(np.float32) for a in given))
    for mine, theirs in zip(in_float32, expected, strict=True):
        assert mine.dtype == np.float32
        assert relative_error(mine, theirs) < 1e-4


@every_shape
def test_gradients(shape, rng):
    check_backward(winograd.forward, lambda dy, x, w, b: winograd.backward(dy, x, w), arguments(shape, rng), rng)


@every_shape
def test_gradients_through_the_fused_relu(shape, rng):
    args = arguments(shape, rng)
    assert np.abs(conv.forward_naive(**args)).min() > 1e-4  # no kink within reach of the differences
    check_backward(
        lambda x, w, b: winograd.forward(x, w, b, relu=True),
        lambda dy, x, w, b: winograd.backward(dy, x, w, winograd.forward(x, w, b, relu=True)),
        args,
        rng,
    )


@every_shape
def test_dx_is_the_adjoint_of_forward_in_x_and_dw_in_w(shape, rng):
    x, w, b = arguments(shape, rng).values()
    zero = np.zeros_like(b)
    check_adjoint(lambda x: winograd.forward(x, w, zero), lambda v: winograd.backward(v, x, w)[0], x.shape, rng)
    check_adjoint(lambda w: winograd.forward(x, w, zero), lambda v: winograd.backward(v, x, w)[1], w.shape, rng)


def test_views_that_are_not_contiguous_give_the_same(rng):
    x, w, b = arguments((2, 7, 9, 3, 5), rng).values()
    wide = np.zeros((2, 14, 9, 6))
    wide[:, ::2, :, ::-2] = x
    y = winograd.forward(x, w, b)
    dy = rng.standard_normal(y.shape)
    view, w_view = wide[:, ::2, :, ::-2], np.ascontiguousarray(w.transpose(3, 2, 0, 1)).transpose(2, 3, 1, 0)
    np.testing.assert_array_equal(winograd.forward(view, w_view, b), y)
    for mine, theirs in zip(
        winograd.backward(np.asfortranarray(dy), view, w_view), winograd.backward(dy, x, w), strict=True
    ):
        np.testing.assert_array_equal(mine, theirs)


def test_in_float32_the_error_is_a_hundred_thousandth_of_the_largest_output(rng):
    """What the docstring says that it costs. The inputs are like those of a layer of VGG16: a ReLU's, He kernels."""
    x = np.maximum(rng.standard_normal((1, 28, 28, 256)), 0)
    w, b = rng.normal(0, np.sqrt(2 / (9 * 256)), (3, 3, 256, 256)), np.zeros(256)
    dy = rng.standard_normal(x.shape)
    exact = [im2col.forward(x, w, b), *im2col.backward(dy, x, w)[:2]]
    x, w, b, dy = (a.astype(np.float32) for a in (x, w, b, dy))
    errors = []
    for form in (winograd, im2col):
        rounded = [form.forward(x, w, b), *form.backward(dy, x, w)[:2]]
        errors.append([relative_error(*pair) for pair in zip(rounded, exact, strict=True)])
    for fast, direct in zip(*errors, strict=True):
        assert 2e-6 < fast < 4e-5
        assert 10 < fast / direct < 50


@pytest.mark.parametrize("dtype", [np.float64, np.float16])
def test_a_gradient_of_another_type_counts_as_it_is(dtype, rng):
    x, w, b = arguments((2, 8, 12, 3, 4), rng, np.float32).values()
    dy = rng.standard_normal((2, 8, 12, 4)).astype(dtype)
    y = winograd.forward(x, w, b)
    expected = im2col.backward(dy.astype(np.float32), x, w, y)
    for mine, theirs in zip(winograd.backward(dy, x, w, y), expected, strict=True):
        assert relative_error(mine, theirs) < 1e-4


# --- when it is chosen ---

LAYERS = [  # of VGG16-GAP at 224 pixels, and of the small network at 64: side, C, K; forward, backward at batch 8
    ((224, 3, 64), False, False),
    *((layer, True, True) for layer in ((224, 64, 64), (112, 64, 128), (56, 256, 256), (28, 512, 512))),
    ((14, 512, 1024), True, True),
    *((layer, False, False) for layer in ((64, 3, 16), (32, 16, 32))),
]


@pytest.mark.parametrize(("layer", "forward", "backward"), LAYERS, ids=str)
def test_what_suits(layer, forward, backward):
    side, C, K = layer
    shapes = (8, side, side, C), (3, 3, C, K)
    assert (winograd.suits(*shapes), winograd.suits(*shapes, backward=True)) == (forward, backward)
    assert not winograd.suits(shapes[0], (5, 5, C, K), backward=True)


def test_float16_has_too_few_digits_for_it(rng, monkeypatch):
    x, w, b = arguments((8, 28, 28, 128, 128), rng, np.float16).values()
    monkeypatch.setattr(winograd, "forward", None)
    assert conv.forward(x, w, b).dtype == np.float16


@pytest.mark.parametrize("side", [1, 28])
def test_shapes_that_do_not_fit_are_one_clear_line(side, rng):
    """Small or large, whichever form would be chosen."""
    x, w, b = arguments((8, side, side, 128, 128), rng, np.float32).values()
    dy = np.zeros_like(x)
    with pytest.raises(MinicamError, match="C is 160 as in x"):
        conv.forward(np.zeros((8, side, side, 160), np.float32), w, b)
    with pytest.raises(MinicamError, match="where K is 128 as in w"):
        conv.forward(x, w, b[1:])
    with pytest.raises(MinicamError, match="where N is 7 as in dy"):
        conv.backward(dy[1:], x, w)


def test_a_single_small_image_is_not_worth_the_kernels():
    assert not winograd.suits((1, 14, 14, 512), (3, 3, 512, 512))
    assert winograd.suits((1, 14, 14, 512), (3, 3, 512, 512), backward=True)


def test_conv_chooses_it_unless_exactness_is_demanded(rng, monkeypatch):
    x, w, b = arguments((8, 28, 28, 128, 128), rng, np.float32).values()
    called = []
    for form in (winograd, im2col):
        for direction in ("forward", "backward"):
            function = getattr(form, direction)

            def noted(*args, name=f"{form.__name__}.{direction}", function=function):
                called.append(name.removeprefix("minicam.ops."))
                return function(*args)

            monkeypatch.setattr(form, direction, noted)
    try:
        for exact in (False, True):
            backend.set_exact(exact)
            conv.backward(conv.forward(x, w, b), x, w, need_dx=False)
    finally:
        backend.set_exact(False)
    assert called == ["winograd.forward", "winograd.backward", "im2col.forward", "im2col.backward"]
