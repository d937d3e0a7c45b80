"""Lesson 7, the class activation map: one way to solve each exercise."""

import numpy as np
from scipy import ndimage


def maps_of(features, w_fc, classes):
    maps = np.einsum("nijc,ck->nijk", features, w_fc)  # the same as features @ w_fc
    return maps[np.arange(len(maps)), :, :, classes]  # two index arrays go together: image n with class classes[n]


def normalise(m):
    if m.max() <= 0 or m.max() == m.min():  # nothing speaks for the class, or no place more than another
        return np.zeros_like(m)
    return np.maximum(m, 0) / m.max()


def largest_box(heat, threshold):
    islands, count = ndimage.label(heat > threshold * heat.max())
    if not count:  # heat is zero everywhere: nothing is above a fraction of nothing
        return 0, 0, heat.shape[1], heat.shape[0]
    sizes = np.bincount(islands.ravel())[1:]  # without number 0, which is the sea
    rows, columns = np.nonzero(islands == 1 + sizes.argmax())
    return columns.min(), rows.min(), columns.max() + 1, rows.max() + 1


def iou(a, b):
    width = max(min(a[2], b[2]) - max(a[0], b[0]), 0)
    height = max(min(a[3], b[3]) - max(a[1], b[1]), 0)
    areas = [(x1 - x0) * (y1 - y0) for x0, y0, x1, y1 in (a, b)]
    return width * height / (sum(areas) - width * height)  # what is shared was counted twice


def square_crop(box, shape):
    x0, y0, x1, y1 = box
    side, edges = max(x1 - x0, y1 - y0), []
    for first, last, limit in ((x0, x1, shape[1]), (y0, y1, shape[0])):
        start = (first + last - side) // 2  # the middle of the box, less half a side
        start = max(min(start, limit - side), 0)  # moved inside; 0 counts where the side is longer than the image
        edges.append((start, min(start + side, limit)))
    return edges[0][0], edges[1][0], edges[0][1], edges[1][1]
