"""Lesson 12, your own images: one way to solve each exercise."""

import numpy as np


def leaks(groups, held):
    training = {group for group, out in zip(groups, held, strict=True) if not out}
    return sum(group in training for group, out in zip(groups, held, strict=True) if out)


def calibration_error(p, y, bins):
    place = np.minimum((p * bins).astype(int), bins - 1)  # a probability of 1 belongs to the last bin
    error = 0
    for b in np.unique(place):  # so that empty bins do not come up
        here = place == b
        error += here.mean() * abs(p[here].mean() - y[here].mean())  # here.mean() is n_b / N
    return error


def temperature(z, y, candidates):
    losses = []
    for T in candidates:
        p = 1 / (1 + np.exp(-z / T))
        losses.append(-np.log(np.where(y, p, 1 - p)).mean())  # the probability of what was true
    return candidates[np.argmin(losses)]


def threshold_for(p, y, sensitivity):
    # Sorting and math.ceil(sensitivity * len(ill)) would do, but for rounding: math.ceil(0.07 * 100) is 8.
    ill = p[y]
    return max(t for t in ill if (ill >= t).mean() >= sensitivity)


def predictive_values(sensitivity, specificity, prevalence):
    found = sensitivity * prevalence
    missed = prevalence - found
    left_alone = specificity * (1 - prevalence)
    false_alarms = (1 - prevalence) - left_alone
    return found / (found + false_alarms), left_alone / (left_alone + missed)
