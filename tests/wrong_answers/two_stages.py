"""Lesson 8: plausible, and wrong."""

import numpy as np


def auc__ties_do_not_count(positive, scores):
    if positive.all() or not positive.any():
        return np.nan
    return np.mean(scores[positive][:, None] > scores[~positive])


def auc__undefined_is_a_half(positive, scores):
    if positive.all() or not positive.any():
        return 0.5
    above, below = scores[positive][:, None], scores[~positive]
    return np.mean((above > below) + 0.5 * (above == below))


def auc__sorted_pairs_only(positive, scores):
    n = min(positive.sum(), (~positive).sum())
    return np.mean(scores[positive][:n] > scores[~positive][:n]) if n else np.nan


def sensitivity_at__threshold_from_positives(positive, scores, specificity):
    return (scores[positive] >= np.quantile(scores[positive], 1 - specificity)).mean()


def sensitivity_at__first_that_serves(positive, scores, specificity):
    for threshold in np.unique(scores)[::-1]:
        called = scores >= threshold
        if (~called[~positive]).mean() >= specificity:
            return called[positive].mean()
    return 0


def sensitivity_at__more_than(positive, scores, specificity):
    best = 0
    for threshold in np.unique(scores):
        called = scores > threshold
        if (~called[~positive]).mean() >= specificity:
            best = max(best, called[positive].mean())
    return best


def standard_error__of_a_share(auc, positives, negatives):
    return np.sqrt(auc * (1 - auc) / (positives + negatives))


def standard_error__variance(auc, positives, negatives):
    q1, q2 = auc / (2 - auc), 2 * auc**2 / (1 + auc)
    shared = (positives - 1) * (q1 - auc**2) + (negatives - 1) * (q2 - auc**2)
    return (auc * (1 - auc) + shared) / (positives * negatives)


def redraw__each_by_itself(labels, first, second, seed):
    rng = np.random.default_rng(seed)
    return tuple(a[rng.integers(len(a), size=len(a))] for a in (labels, first, second))


def redraw__without_replacement(labels, first, second, seed):
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(labels))
    return labels[order], first[order], second[order]


def redraw__always_the_same_set(labels, first, second, seed):
    drawn = np.random.default_rng(0).integers(len(labels), size=len(labels))
    return labels[drawn], first[drawn], second[drawn]


def redraw__never_the_same_set(labels, first, second, seed):
    drawn = np.random.default_rng().integers(len(labels), size=len(labels))
    return labels[drawn], first[drawn], second[drawn]


def redraw__never_the_last(labels, first, second, seed):
    drawn = np.random.default_rng(seed).integers(len(labels) - 1, size=len(labels))
    return labels[drawn], first[drawn], second[drawn]


def redraw__first_three_quarters(labels, first, second, seed):
    drawn = np.random.default_rng(seed).integers(3 * len(labels) // 4, size=len(labels))
    return labels[drawn], first[drawn], second[drawn]


def interval__both_ends_whole(differences, level):
    defined = differences[np.isfinite(differences)]
    return tuple(np.percentile(defined, [100 * (1 - level), 100 * level]))


def interval__nan_stays(differences, level):
    outside = 100 * (1 - level) / 2
    return tuple(np.percentile(differences, [outside, 100 - outside]))
