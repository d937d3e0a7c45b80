"""Lesson 1, images are arrays: one way to solve each exercise."""

import numpy as np


def crop(image, box):
    # Too large an end is cut by NumPy itself, but a negative index would count from the other end.
    x0, y0, x1, y1 = (max(edge, 0) for edge in box)
    return image[y0:y1, x0:x1]


def balanced_accuracy(labels, said):
    right = [(said[labels == k] == k).mean() for k in np.unique(labels)]
    return np.mean(right)


def sample(image, x, y):
    # Along each row at x, which leaves one number a row: a column. Then down this column at y.
    H, W = image.shape
    column = [np.interp(x, np.arange(W) + 0.5, row) for row in image]
    return np.interp(y, np.arange(H) + 0.5, column)


def turn_about(x, y, angle):
    # The turn takes (x, y) to (c * x - s * y, s * x + c * y). The shift is what is missing from there back to (x, y).
    c, s = np.cos(angle), np.sin(angle)
    return np.array([[c, -s, x - (c * x - s * y)], [s, c, y - (s * x + c * y)]])


def batch_for_vgg16(images):
    x = np.stack(images).astype(np.float32)  # the mean, too: float64 in either would make float64
    mean = np.array([103.939, 116.779, 123.68], np.float32)
    return x[..., ::-1] - mean
