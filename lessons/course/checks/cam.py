"""Lesson 7, the class activation map."""

import numpy as np

from course.exercise import case, exercise
from minicam import cam


@exercise
def maps_of():
    """Of maps (N, h, w, K), image n needs class classes[n]: index the first and the last axis with arrays of length N.

    The mean of a map must be the logit without its bias."""
    rng = np.random.default_rng(71)
    for N, h, w, C, K in [(1, 2, 3, 4, 2), (3, 4, 2, 5, 3), (4, 3, 3, 2, 6)]:
        features, w_fc = rng.standard_normal((N, h, w, C)), rng.standard_normal((C, K))
        classes = rng.integers(K, size=N)
        loops = np.zeros((N, h, w))
        for n, i, j in np.ndindex(N, h, w):
            loops[n, i, j] = sum(features[n, i, j, c] * w_fc[c, classes[n]] for c in range(C))
        yield case(features, w_fc, classes, gives=loops)


@exercise
def normalise():
    """Cut off below 0, then divide by the maximum, but look at the maximum first: may one divide by it?"""
    yield case(np.array([[1.0, 4.0], [2.0, 0.0]]), gives=[[0.25, 1], [0.5, 0]])
    yield case(np.array([[-3.0, 5.0], [1.0, -1.0]]), gives=[[0, 1], [0.2, 0]], hint="Negative numbers become 0.")
    yield case(np.array([[-3.0, -5.0, -1.0]]), gives=[[0, 0, 0]], hint="Nothing here speaks for the class.")
    yield case(np.full((2, 2), 7.0), gives=np.zeros((2, 2)), hint="This map is the same everywhere.")
    yield case(np.zeros((2, 3)), gives=np.zeros((2, 3)))
    m = np.random.default_rng(72).standard_normal((5, 4))
    yield case(m, gives=cam.normalise(m))


@exercise
def largest_box():
    """Label what is above; number 0 is what is not. Rows are y, columns are x, and the ends are one past the last."""
    heat = np.array([[1, 0, 0, 0, 0], [0, 0, 0.9, 0.5, 0], [0, 0, 0.6, 0.8, 0]])
    yield case(heat, 0.4, gives=(2, 1, 4, 3), hint="The hottest pixel is an island of its own here, but a small one.")
    yield case(heat, 0.7, gives=(0, 0, 1, 1), hint="Pixels that touch only at a corner are not connected.")
    yield case(np.zeros((3, 7)), 0.2, gives=(0, 0, 7, 3), hint="A map of zeros: the whole image.")
    yield case(heat / 2, 0.4, gives=(2, 1, 4, 3), hint="The threshold is a fraction of the map's own maximum.")
    row = np.array([[0, 1, 0.5, 0, 1]])
    yield case(row, 0.5, gives=(1, 0, 2, 1), hint="0.5 is not above 0.5; and of two equal islands the first counts.")
    bent = np.zeros((5, 8))
    bent[:, 0] = bent[4, :5] = bent[:3, 4:] = 1
    most = "The L has 9 pixels, the block 12: "
    yield case(bent, 0.5, gives=(4, 0, 8, 3), hint=f"{most}pixels count, not the area of a box around them.")
    faint = np.where(np.arange(8) < 4, 1, 0.6) * bent
    faint[4, 4] = 1
    yield case(faint, 0.5, gives=(4, 0, 8, 3), hint=f"{most}how hot they are does not count.")
    rng = np.random.default_rng(73)
    for threshold in (0.2, 0.5):
        heat = cam.normalise(cam.upsample(rng.standard_normal((1, 4, 5)), (16, 30)))[0]
        yield case(heat, threshold, gives=cam.find_box(heat, threshold))


@exercise
def iou():
    """Shared width: the smaller right end minus the larger left end. In the union the shared area counts once."""
    yield case((0, 0, 4, 2), (0, 0, 4, 2), gives=1)
    yield case((0, 0, 4, 2), (2, 0, 6, 2), gives=1 / 3, hint="Shifted by half the width: 4 shared, 12 covered.")
    yield case((0, 0, 2, 2), (5, 5, 8, 8), gives=0, hint="These boxes do not touch; two negative sides have a product.")
    yield case((0, 0, 2, 2), (2, 0, 4, 2), gives=0)
    rng = np.random.default_rng(74)
    for _ in range(3):
        corners = rng.integers(0, 8, (2, 2)), rng.integers(9, 20, (2, 2))
        a, b = (tuple(np.concatenate([start, end]).tolist()) for start, end in zip(*corners, strict=True))
        inside = [_filled(box) for box in (a, b)]
        yield case(a, b, gives=(inside[0] & inside[1]).sum() / (inside[0] | inside[1]).sum())


def _filled(box: tuple[int, ...]) -> np.ndarray:
    """The pixels of a box, counted one by one: the other way to an area."""
    picture = np.zeros((20, 20), bool)
    picture[box[1] : box[3], box[0] : box[2]] = True
    return picture


@exercise
def square_crop():
    """For both axes: start = middle - side / 2, moved to lie between 0 and limit - side. W limits x, H limits y."""
    yield case((10, 20, 20, 40), (100, 80), gives=(5, 20, 25, 40))
    yield case((0, 20, 10, 40), (100, 80), gives=(0, 20, 20, 40), hint="It would start at -5: it is moved, not cut.")
    yield case((60, 90, 80, 98), (100, 80), gives=(60, 80, 80, 100), hint="It would end at 104; the image ends at 100.")
    yield case((4, 4, 9, 6), (30, 30), gives=(4, 2, 9, 7), hint="Middle 5, side 5: start at 2.5, rounded down.")
    yield case((5, 5, 10, 7), (30, 30), gives=(5, 3, 10, 8), hint="y starts at 3.5, rounded down. round(3.5) is 4.")
    yield case((5, 30, 15, 90), (100, 50), gives=(0, 30, 50, 90), hint="A side of 60 does not fit into 50 columns.")
    rng = np.random.default_rng(75)
    for _ in range(3):
        x0, y0 = 2 * rng.integers(0, 20, 2)
        x1, y1 = x0 + 2 * rng.integers(1, 20), y0 + 2 * rng.integers(1, 20)
        box = tuple(int(edge) for edge in (x0, y0, x1, y1))
        yield case(box, (80, 120), gives=cam.adjust_box(box, (80, 120), square=True))
