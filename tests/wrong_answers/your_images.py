"""Lesson 12: plausible, and wrong."""

import math

import numpy as np


def leaks__counts_groups(groups, held):
    training = {group for group, out in zip(groups, held, strict=True) if not out}
    return len(training & {group for group, out in zip(groups, held, strict=True) if out})


def leaks__counts_the_training_images(groups, held):
    out = {group for group, is_held in zip(groups, held, strict=True) if is_held}
    return sum(group in out for group, is_held in zip(groups, held, strict=True) if not is_held)


def leaks__any_other_image_of_the_group(groups, held):
    return sum(list(groups).count(group) > 1 for group, out in zip(groups, held, strict=True) if out)


def calibration_error__of_all_at_once(p, y, bins):
    return abs(p.mean() - y.mean())


def calibration_error__bins_not_weighted(p, y, bins):
    place = np.minimum((p * bins).astype(int), bins - 1)
    return np.mean([abs(p[place == b].mean() - y[place == b].mean()) for b in np.unique(place)])


def calibration_error__middle_of_the_bin(p, y, bins):
    place = np.minimum((p * bins).astype(int), bins - 1)
    return sum((place == b).mean() * abs((b + 0.5) / bins - y[place == b].mean()) for b in np.unique(place))


def calibration_error__one_is_lost(p, y, bins):
    place = (p * bins).astype(int)
    bins_of = [place == b for b in range(bins) if (place == b).any()]
    return sum(here.mean() * abs(p[here].mean() - y[here].mean()) for here in bins_of)


def temperature__times_instead_of_divided(z, y, candidates):
    losses = [-np.log(np.where(y, 1 / (1 + np.exp(-z * T)), 1 / (1 + np.exp(z * T)))).mean() for T in candidates]
    return candidates[np.argmin(losses)]


def temperature__only_what_was_true(z, y, candidates):
    losses = [-np.log(1 / (1 + np.exp(-z[y] / T))).mean() for T in candidates]
    return candidates[np.argmin(losses)]


def temperature__by_accuracy(z, y, candidates):
    right = [((1 / (1 + np.exp(-z / T)) >= 0.5) == y).mean() for T in candidates]
    return candidates[np.argmax(right)]


def threshold_for__rounds_down(p, y, sensitivity):
    ill = np.sort(p[y])[::-1]
    return ill[max(math.floor(sensitivity * len(ill)), 1) - 1]


def threshold_for__of_all(p, y, sensitivity):
    everyone = np.sort(p)[::-1]
    return everyone[math.ceil(sensitivity * len(everyone)) - 1]


def threshold_for__one_too_low(p, y, sensitivity):
    ill = np.sort(p[y])[::-1]
    return ill[min(math.ceil(sensitivity * len(ill)), len(ill) - 1)]


def predictive_values__prevalence_ignored(sensitivity, specificity, prevalence):
    return sensitivity / (sensitivity + 1 - specificity), specificity / (specificity + 1 - sensitivity)


def predictive_values__negative_of_the_ill(sensitivity, specificity, prevalence):
    found, false_alarms = sensitivity * prevalence, (1 - specificity) * (1 - prevalence)
    return found / (found + false_alarms), (prevalence - found) / prevalence


def predictive_values__the_other_way_round(sensitivity, specificity, prevalence):
    found, left_alone = sensitivity * prevalence, specificity * (1 - prevalence)
    false_alarms, missed = (1 - prevalence) - left_alone, prevalence - found
    return left_alone / (left_alone + missed), found / (found + false_alarms)
