"""Lesson 1: plausible, and wrong."""

import numpy as np


def crop__axes_swapped(image, box):
    x0, y0, x1, y1 = (max(edge, 0) for edge in box)
    return image[x0:x1, y0:y1]


def crop__end_included(image, box):
    x0, y0, x1, y1 = (max(edge, 0) for edge in box)
    return image[y0 : y1 + 1, x0 : x1 + 1]


def crop__negative_counts_from_the_end(image, box):
    x0, y0, x1, y1 = box
    return image[y0:y1, x0:x1]


def crop__only_the_beginning_is_cut(image, box):
    x0, y0, x1, y1 = box
    return image[max(y0, 0) : y1, max(x0, 0) : x1]


def balanced_accuracy__plain_accuracy(labels, said):
    return (labels == said).mean()


def balanced_accuracy__of_what_was_said(labels, said):
    return np.mean([(labels[said == k] == k).mean() for k in np.unique(said)])


def sample__axes_swapped(image, x, y):
    H, W = image.shape
    column = [np.interp(y, np.arange(W) + 0.5, row) for row in image]
    return np.interp(x, np.arange(H) + 0.5, column)


def sample__centres_at_whole_numbers(image, x, y):
    H, W = image.shape
    column = [np.interp(x, np.arange(W), row) for row in image]
    return np.interp(y, np.arange(H), column)


def sample__nearest_pixel(image, x, y):
    return image[int(y), int(x)]


def turn_about__about_the_origin(x, y, angle):
    c, s = np.cos(angle), np.sin(angle)
    return np.array([[c, -s, 0], [s, c, 0]])


def turn_about__the_other_way(x, y, angle):
    c, s = np.cos(angle), np.sin(angle)
    return np.array([[c, s, x - c * x - s * y], [-s, c, y + s * x - c * y]])


def turn_about__only_moves_the_centre(x, y, angle):
    c, s = np.cos(angle), np.sin(angle)
    return np.array([[c, -s, x], [s, c, y]])


def batch_for_vgg16__rgb(images):
    return np.stack(images).astype(np.float32) - np.array([123.68, 116.779, 103.939], np.float32)


def batch_for_vgg16__mean_of_the_other_order(images):
    return np.stack(images).astype(np.float32)[..., ::-1] - np.array([123.68, 116.779, 103.939], np.float32)


def batch_for_vgg16__float64(images):
    return np.stack(images)[..., ::-1] - np.array([103.939, 116.779, 123.68])


def batch_for_vgg16__columns_reversed(images):
    return np.stack(images).astype(np.float32)[:, :, ::-1] - np.array([103.939, 116.779, 123.68], np.float32)
