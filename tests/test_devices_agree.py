"""Every operation and direction: NumPy's result and that of the CUDA kernels, on the same float32 numbers.

And the same bits whatever the order in which threads and warps are run, which is what "ordered reductions" promise.
"""

import numpy as np
import pytest
from gradcheck import tie_free

from minicam import cuda, emulator
from minicam.backend import is_array, to_cpu, to_device
from minicam.ops import conv, gap, linear, maxpool, relu, sgd, softmax_loss, warp

IMAGES = (3, 9, 7, 5)


def cases(rng):
    """name -> (function, arguments), a case for each operation and direction."""

    def f4(*shape):
        return rng.standard_normal(shape).astype(np.float32)

    x, w, b = f4(*IMAGES), f4(3, 3, 5, 11), f4(11)
    fours, w4, b4 = f4(3, 9, 7, 8), f4(3, 3, 8, 12), f4(12)  # what some kernels take in fours
    y, y4 = conv.forward(x, w, b), conv.forward(fours, w4, b4, relu=True)
    pooled, argmax = maxpool.forward(tie_free(IMAGES, rng).astype(np.float32))
    labels = rng.integers(0, 3, 37)
    p = softmax_loss.forward(f4(37, 3), labels)[1]
    bytes_ = rng.integers(0, 256, (2, 13, 11, 3), np.uint8)
    affine = np.array([[[0.7, 0.2, 1], [-0.3, 0.9, 2]], [[-1, 0, 11], [0, 1, 0.5]]])
    return {
        "conv.forward": (conv.forward, (x, w, b)),
        "conv.forward relu": (conv.forward, (fours, w4, b4, True)),
        "conv.backward": (conv.backward, (f4(*y.shape), x, w)),
        "conv.backward relu": (conv.backward, (f4(*y4.shape), fours, w4, y4)),
        "relu.forward": (relu.forward, (x,)),
        "relu.backward": (relu.backward, (f4(*y4.shape), y4)),
        "maxpool.forward": (maxpool.forward, (tie_free(IMAGES, rng).astype(np.float32),)),
        "maxpool.backward": (maxpool.backward, (f4(*pooled.shape), argmax, IMAGES)),
        "gap.forward": (gap.forward, (x,)),
        "gap.backward": (gap.backward, (f4(3, 5), IMAGES)),
        "linear.forward": (linear.forward, (f4(37, 19), f4(19, 3), f4(3))),
        "linear.backward": (linear.backward, (f4(37, 3), f4(37, 19), f4(19, 3))),
        "softmax_loss.forward": (softmax_loss.forward, (f4(37, 3), labels)),
        "softmax_loss.backward": (softmax_loss.backward, (p, labels)),
        "warp.forward": (warp.forward, (bytes_, affine, (6, 9))),
        "warp.forward colour": (warp.forward, (bytes_, affine, (6, 9), rng.standard_normal((2, 4, 4)))),
        "sgd.forward": (sgd.forward, (f4(5, 7), f4(5, 7), f4(5, 7), 0.1, 0.9, 0.01)),
        "sgd.forward fours": (sgd.forward, (f4(4, 7), f4(4, 7), f4(4, 7), 0.1, 0.9, 0.01)),
    }


NAMES = list(cases(np.random.default_rng(0)))
every_case = pytest.mark.parametrize("name", NAMES)


def results(function, args, device="cpu"):
    found = function(*(to_device(a, device) if is_array(a) else a for a in args))
    return [to_cpu(r) if is_array(r) else r for r in (found if isinstance(found, tuple) else (found,))]


def test_every_operation_and_direction_has_a_case():
    from minicam import ops

    ways = [(op, way) for op in ops.__all__ for way in ("forward", "backward") if hasattr(getattr(ops, op), way)]
    assert {name.split()[0] for name in NAMES} == {f"{op}.{way}" for op, way in ways}


@every_case
def test_the_kernels_agree_with_numpy(name, rng, gpu):
    function, args = cases(rng)[name]
    mine, theirs = results(function, args, gpu.device), results(function, args)
    for m, t in zip(mine, theirs, strict=True):
        assert m.dtype == t.dtype
        assert m.shape == np.shape(t)
        if m.dtype.kind == "f":
            np.testing.assert_allclose(m, t, rtol=0, atol=1e-5 * max(np.abs(t).max(), 1))
        else:
            np.testing.assert_array_equal(m, t)


@pytest.mark.parametrize(
    ("precision", "name"),
    [("float32", name) for name in NAMES] + [("tf32", name) for name in NAMES if name.startswith("conv")],
)
def test_the_order_of_the_threads_changes_no_bit(precision, name, rng):
    function, args = cases(rng)[name]
    found = []
    cuda.set_precision(precision)
    try:
        for order, seed in [("forward", 0), ("reverse", 0), ("random", 1), ("random", 2)]:
            with emulator.options(order=order, seed=seed):
                found.append([np.asarray(r).tobytes() for r in results(function, args, "emulator")])
    finally:
        cuda.set_precision("float32")
    assert all(other == found[0] for other in found[1:])


@every_case
def test_the_same_call_gives_the_same_bits(name, rng, gpu):
    function, args = cases(rng)[name]
    once, again = (results(function, args, gpu.device) for _ in range(2))
    assert [np.asarray(r).tobytes() for r in once] == [np.asarray(r).tobytes() for r in again]
