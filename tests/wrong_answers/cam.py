"""Lesson 7: plausible, and wrong."""

import numpy as np
from scipy import ndimage


def maps_of__all_classes(features, w_fc, classes):
    return (features @ w_fc)[..., classes]


def maps_of__class_of_the_first(features, w_fc, classes):
    return (features @ w_fc)[..., classes[0]]


def normalise__min_to_max(m):
    return (m - m.min()) / max(m.max() - m.min(), 1e-9)


def normalise__all_negative_divided(m):
    return np.maximum(m, 0) / m.max() if m.max() != 0 else np.zeros_like(m)


def largest_box__closed(heat, threshold):
    islands, count = ndimage.label(heat > threshold * heat.max())
    if not count:
        return 0, 0, heat.shape[1], heat.shape[0]
    rows, columns = np.nonzero(islands == 1 + np.bincount(islands.ravel())[1:].argmax())
    return columns.min(), rows.min(), columns.max(), rows.max()


def largest_box__of_all_islands(heat, threshold):
    rows, columns = np.nonzero(heat > threshold * heat.max())
    if not len(rows):
        return 0, 0, heat.shape[1], heat.shape[0]
    return columns.min(), rows.min(), columns.max() + 1, rows.max() + 1


def largest_box__corners_connect(heat, threshold):
    islands, count = ndimage.label(heat > threshold * heat.max(), np.ones((3, 3)))
    if not count:
        return 0, 0, heat.shape[1], heat.shape[0]
    rows, columns = np.nonzero(islands == 1 + np.bincount(islands.ravel())[1:].argmax())
    return columns.min(), rows.min(), columns.max() + 1, rows.max() + 1


def largest_box__equal_counts_as_above(heat, threshold):
    islands, count = ndimage.label((heat >= threshold * heat.max()) & (heat > 0))
    if not count:
        return 0, 0, heat.shape[1], heat.shape[0]
    rows, columns = np.nonzero(islands == 1 + np.bincount(islands.ravel())[1:].argmax())
    return columns.min(), rows.min(), columns.max() + 1, rows.max() + 1


def largest_box__last_of_equals(heat, threshold):
    islands, count = ndimage.label(heat > threshold * heat.max())
    if not count:
        return 0, 0, heat.shape[1], heat.shape[0]
    rows, columns = np.nonzero(islands == 1 + np.argsort(np.bincount(islands.ravel())[1:], kind="stable")[-1])
    return columns.min(), rows.min(), columns.max() + 1, rows.max() + 1


def largest_box__area_of_the_box(heat, threshold):
    boxes = ndimage.find_objects(ndimage.label(heat > threshold * heat.max())[0])
    if not boxes:
        return 0, 0, heat.shape[1], heat.shape[0]
    rows, columns = max(boxes, key=lambda box: heat[box].size)
    return columns.start, rows.start, columns.stop, rows.stop


def largest_box__most_heat(heat, threshold):
    islands, count = ndimage.label(heat > threshold * heat.max())
    if not count:
        return 0, 0, heat.shape[1], heat.shape[0]
    rows, columns = np.nonzero(islands == 1 + np.bincount(islands.ravel(), heat.ravel())[1:].argmax())
    return columns.min(), rows.min(), columns.max() + 1, rows.max() + 1


def iou__two_negatives(a, b):
    both = (min(a[2], b[2]) - max(a[0], b[0])) * (min(a[3], b[3]) - max(a[1], b[1]))
    return both / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - both)


def iou__shared_counted_twice(a, b):
    both = max(min(a[2], b[2]) - max(a[0], b[0]), 0) * max(min(a[3], b[3]) - max(a[1], b[1]), 0)
    return both / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]))


def square_crop__cut(box, shape):
    side = max(box[2] - box[0], box[3] - box[1])
    x, y = (box[0] + box[2] - side) // 2, (box[1] + box[3] - side) // 2
    return max(x, 0), max(y, 0), min(x + side, shape[1]), min(y + side, shape[0])


def square_crop__axes_swapped(box, shape):
    side = max(box[2] - box[0], box[3] - box[1])
    x, y = (
        max(min((first + last - side) // 2, limit - side), 0)
        for first, last, limit in ((box[0], box[2], shape[0]), (box[1], box[3], shape[1]))
    )
    return x, y, min(x + side, shape[0]), min(y + side, shape[1])


def square_crop__halves_to_even(box, shape):
    side = max(box[2] - box[0], box[3] - box[1])
    x, y = (
        max(min(round((first + last - side) / 2), limit - side), 0)
        for first, last, limit in ((box[0], box[2], shape[1]), (box[1], box[3], shape[0]))
    )
    return x, y, min(x + side, shape[1]), min(y + side, shape[0])
