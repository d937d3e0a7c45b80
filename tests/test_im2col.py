"""ops/im2col: the blocks that it works in. Its numbers and gradients are tested through `conv`, in test_conv.py."""

import numpy as np
import pytest
from gradcheck import relative_error
from test_conv import arguments

from minicam import backend
from minicam.ops import conv, im2col


# Block sizes of the NumPy path, for x (5, 7, 5, 3) in float64 under a 3x3 kernel: a row of patches takes 1080 bytes.
@pytest.mark.parametrize(
    ("block_bytes", "blocks"),
    [
        (1, [(1, 1)] * 35),  # never less than a row
        (2 * 1080, [(1, 2), (1, 2), (1, 2), (1, 1)] * 5),  # rows, and a remainder of rows
        (7 * 1080, [(1, 7)] * 5),  # whole images
        (15 * 1080, [(2, 7), (2, 7), (1, 7)]),  # several images, and a remainder of images
        (1 << 20, [(5, 7)]),
    ],
)
def test_blocks_of_patches(block_bytes, blocks, rng, monkeypatch):
    x, w, b = arguments((5, 7, 5, 3, 4, 3, 3), rng).values()
    dy = rng.standard_normal((5, 7, 5, 4))
    naive, gradients = conv.forward_naive(x, w, b), im2col.backward(dy, x, w)
    monkeypatch.setattr(im2col, "BLOCK_BYTES", block_bytes)
    monkeypatch.setattr(im2col, "DW_PIXELS", 30)  # several parts for dw, too
    parts = im2col._parts(x, 3, 3, 4)
    assert len(parts) == min(4, len(blocks))
    assert [(i.stop - i.start, r.stop - r.start) for part in parts for i, r in part] == blocks
    assert relative_error(im2col.forward(x, w, b), naive) < 1e-12
    for mine, theirs in zip(im2col.backward(dy, x, w), gradients, strict=True):
        assert relative_error(mine, theirs) < 1e-12


def test_the_number_of_threads_changes_no_bit(rng, monkeypatch):
    x, w, b = (a.astype(np.float32) for a in arguments((5, 17, 15, 6, 7, 3, 3), rng).values())
    dy = rng.standard_normal((5, 17, 15, 7)).astype(np.float32)
    monkeypatch.setattr(im2col, "BLOCK_BYTES", 5000)
    monkeypatch.setattr(im2col, "DW_PIXELS", 100)
    results = []
    try:
        for threads in (1, 3):
            backend.set_threads(threads)
            results.append([im2col.forward(x, w, b), *im2col.backward(dy, x, w)])
    finally:
        backend.set_threads(None)
    for one, three in zip(*results, strict=True):
        assert one.tobytes() == three.tobytes()


@pytest.mark.parametrize("shape", [(1, 5, 5, 3), (8, 28, 28, 64)], ids=str)
@pytest.mark.parametrize("dtype", [np.float64, np.float16])
def test_gradients_have_the_dtype_of_what_they_are_of(shape, dtype, rng):
    """Whatever that of dy is, and whichever form the size of the image chooses: the large one is Winograd's."""
    x, w, _ = (a.astype(np.float32) for a in arguments((*shape, shape[3], 3, 3), rng).values())
    dy = rng.standard_normal(shape).astype(dtype)
    expected = conv.backward(dy.astype(np.float32), x, w)
    for mine, theirs in zip(conv.backward(dy, x, w), expected, strict=True):
        assert mine.dtype == np.float32
        np.testing.assert_array_equal(mine, theirs)


def test_memory_does_not_grow_with_the_batch(rng):
    """Beside its output, the NumPy path holds one block of patches and one padded image, or a few small ones."""
    import tracemalloc

    x, w, b = (a.astype(np.float32) for a in arguments((6, 64, 64, 8, 8, 3, 3), rng).values())
    all_patches = x.nbytes * 9
    tracemalloc.start()
    im2col.forward(x, w, b)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < x.nbytes + 3 * im2col.BLOCK_BYTES < all_patches
