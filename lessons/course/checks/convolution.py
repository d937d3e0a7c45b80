"""Lesson 2, convolution by hand."""

import numpy as np

from course.exercise import case, exercise
from minicam.ops import conv


@exercise
def output_size():
    """Padding makes the row longer, on both sides. The kernel fits once, and once more for each whole stride left."""
    yield case(6, 3, 1, 0, gives=4)
    yield case(224, 3, 1, 1, gives=224, hint="This is VGG16's case: padding by 1 keeps the size under a 3x3 kernel.")
    yield case(7, 3, 2, 0, gives=3)
    yield case(8, 3, 2, 0, gives=3, hint="A step that does not fit is left out: round down.")
    yield case(8, 5, 3, 2, gives=3)
    yield case(5, 5, 4, 0, gives=1)


@exercise
def shift_kernel():
    """Begin with (0, 0), which must change nothing. Then take one output: which weight lies on what it must show?"""
    up = "For down = 1 the output looks up, so the 1 stands above the middle. Down is the first axis."
    for down, right in [(0, 0), (1, 0), (0, 1), (-1, 1), (1, -1), (-1, -1)]:
        goal = [2 + down, 2 + right]
        yield case(down, right, holds=lambda w, goal=goal: _moves_to(w, goal), hint=up if down or right else "")


def _moves_to(w: np.ndarray, goal: list[int]) -> bool | str:
    w = np.asarray(w, np.float64)
    if w.shape != (3, 3):
        return f"its shape is {w.shape}, not (3, 3)"
    dot = np.zeros((1, 5, 5, 1))
    dot[0, 2, 2, 0] = 1
    found = conv.forward_naive(dot, w[:, :, None, None], np.zeros(1))[0, :, :, 0]
    places = np.argwhere(found).tolist()
    if places != [goal]:
        return f"a dot at [2, 2] comes out at {' and '.join(map(str, places)) or 'no place'}, not at {goal}"
    return bool(np.isclose(found.max(), 1)) or f"a dot of 1 becomes one of {found[tuple(goal)]:g}"


@exercise
def multiplications():
    """Each output number is a sum of R * S * C products. How many output numbers are there?"""
    yield case(1, 1, 1, 1, 1, 3, 3, gives=9)
    yield case(2, 5, 7, 3, 4, 3, 3, gives=2 * 5 * 7 * 4 * 27)
    yield case(8, 224, 224, 64, 64, 3, 3, gives=8 * 224 * 224 * 64 * 576, hint="VGG16's second layer, a batch of 8.")
    yield case(1, 6, 6, 2, 5, 5, 1, gives=36 * 5 * 10)


@exercise
def patches_of():
    """Pad rows and columns only. If the numbers are right but in another order, the channel is not the last axis."""
    rng = np.random.default_rng(22)
    for shape, R, S in [((1, 3, 3, 1), 3, 3), ((2, 5, 4, 3), 3, 3), ((1, 4, 6, 2), 5, 1), ((3, 2, 2, 2), 1, 3)]:
        x = rng.standard_normal(shape)
        one_hot = np.eye(R * S * shape[3]).reshape(R, S, shape[3], -1)  # kernels that each pick one number of a patch
        picked = conv.forward_naive(x, one_hot, np.zeros(one_hot.shape[-1]))
        yield case(x, R, S, gives=picked.reshape(-1, picked.shape[-1]))


@exercise
def receptive_field():
    """Without any layer you see one pixel. Which of your two numbers does a layer's size change, which its stride?"""
    adds = "A layer adds size - 1 steps to the field; its stride then multiplies the step."
    above = "Above the pooling, two pixels of the image are one step."
    yield case([(3, 1)], gives=3)
    yield case([(3, 1), (3, 1)], gives=5, hint=adds)
    yield case([(3, 1), (2, 2)], gives=4, hint=adds)
    yield case([(3, 1), (2, 2), (3, 1)], gives=8, hint=f"{above} {adds}")
    yield case([(7, 2), (3, 2), (3, 1)], gives=19, hint="A convolution can have a stride, too.")
    vgg16 = [(3, 1)] * 2 + [(2, 2)] + [(3, 1)] * 2 + [(2, 2)] + ([(3, 1)] * 3 + [(2, 2)]) * 2 + [(3, 1)] * 3
    yield case(vgg16, gives=196, hint="All of VGG16 up to block5_conv3.")
