"""Lesson 8, the two stages: one way to solve each exercise."""

import numpy as np


def auc(positive, scores):
    if positive.all() or not positive.any():  # no pairs
        return np.nan
    above, below = scores[positive][:, None], scores[~positive]  # a column and a row: every pair meets
    return np.mean((above > below) + 0.5 * (above == below))


def sensitivity_at(positive, scores, specificity):
    best = 0
    for threshold in np.unique(scores):
        called = scores >= threshold
        if (~called[~positive]).mean() >= specificity:
            best = max(best, called[positive].mean())
    return best


def standard_error(auc, positives, negatives):
    q1, q2 = auc / (2 - auc), 2 * auc**2 / (1 + auc)
    shared = (positives - 1) * (q1 - auc**2) + (negatives - 1) * (q2 - auc**2)  # pairs with an image in common
    variance = (auc * (1 - auc) + shared) / (positives * negatives)
    return np.sqrt(variance)


def redraw(labels, first, second, seed):
    rng, N = np.random.default_rng(seed), len(labels)
    drawn = rng.integers(N, size=N)  # numbers of images; the same one may come more than once
    return labels[drawn], first[drawn], second[drawn]


def interval(differences, level):
    defined = differences[np.isfinite(differences)]
    outside = 100 * (1 - level) / 2  # in per cent, on each side
    return tuple(np.percentile(defined, [outside, 100 - outside]))
