"""Lesson 8, the two stages."""

import numpy as np
from sklearn.metrics import roc_auc_score

from course.exercise import case, exercise
from minicam import metrics


@exercise
def auc():
    """All pairs at once: the positives' scores as a column, [:, None], against the negatives' as a row.

    Count what is above, and half of what is equal."""
    mixed = np.array([True, False, True, False])
    yield case(mixed, np.array([0.9, 0.2, 0.6, 0.4]), gives=1)
    yield case(mixed, np.array([0.1, 0.2, 0.6, 0.4]), gives=0.5)
    yield case(mixed, np.array([0.4, 0.2, 0.4, 0.4]), gives=0.75, hint="Two of these four pairs are ties.")
    yield case(mixed, np.zeros(4), gives=0.5, hint="All scores are equal here: nothing but ties.")
    rng = np.random.default_rng(81)
    for N in (30, 101):
        positive, scores = rng.random(N) < 0.4, rng.normal(size=N).round(1)
        yield case(positive, scores, gives=roc_auc_score(positive, scores))
    only = "These images are all of one kind: there are no pairs to count."
    yield case(np.array([True, True]), np.array([0.3, 0.4]), gives=np.nan, hint=only)
    yield case(np.array([False, False]), np.array([0.3, 0.4]), gives=np.nan, hint=only)


@exercise
def sensitivity_at():
    """Try each score as a threshold: who is called positive, and what share of the negatives is not?

    Of the thresholds that serve keep the one that finds most."""
    positive = np.array([True, True, False, True, False, False, False])
    scores = np.array([0.9, 0.8, 0.7, 0.6, 0.4, 0.3, 0.1])
    yield case(positive, scores, 1.0, gives=2 / 3)
    yield case(positive, scores, 0.75, gives=1, hint="Exactly this specificity is enough.")
    yield case(~positive, scores, 0.5, gives=0, hint="No threshold but one above all scores serves here.")
    yield case(~positive, scores, 0.0, gives=1, hint="A score equal to the threshold is called positive.")
    rng = np.random.default_rng(82)
    for N, specificity in ((40, 0.8), (75, 0.9), (75, 0.5)):
        positive = rng.random(N) < 0.3
        scores = (rng.normal(size=N) + positive).round(1)  # with ties
        yield case(positive, scores, specificity, gives=metrics.sensitivity_at(positive, scores, specificity))


@exercise
def standard_error():
    """Compute Q1 and Q2 first, then the numerator. Positives go with Q1, negatives with Q2; SE is the root."""
    yield case(0.5, 1, 1, gives=0.5, hint="One pair: the numerator is A * (1 - A).")
    for A, P, N in ((0.85, 30, 120), (0.85, 42, 108), (0.7, 10, 10), (0.97, 500, 20)):
        above_one, above_two = A / (2 - A) - A * A, 2 * A * A / (1 + A) - A * A
        yield case(A, P, N, gives=((A - A * A + P * above_one - above_one + N * above_two - above_two) / P / N) ** 0.5)


@exercise
def redraw():
    """Draw numbers of images, rng.integers(N, size=N), once, and index all three arrays with them.

    Of what comes back, every row must be a row of what was given, some twice, and about a third be missing."""
    rng = np.random.default_rng(83)
    for N, K in ((40, 3), (90, 2)):
        arrays = rng.integers(3, size=N), rng.random((N, K)), rng.random((N, K))
        seen = {}
        for seed in (1, 2, 1):
            yield case(*arrays, seed, holds=lambda found, a=arrays, s=seed, seen=seen: _is_redrawn(found, a, s, seen))
    few, met = (rng.integers(3, size=4), rng.random((4, 2)), rng.random((4, 2))), set()
    for seed in range(40):
        hint = "With N = 4, rng.integers(N, size=N) draws from 0, 1, 2 and 3."
        yield case(*few, seed, holds=lambda found, s=seed: _meets_all(found, few, met, sets=s + 1), hint=hint)


def _is_redrawn(found: object, arrays: tuple[np.ndarray, ...], seed: int, seen: dict[int, np.ndarray]) -> bool | str:
    """Are these rows of the arrays, each with its own, some of them twice, and the same ones for the same seed?

    seen  what came back before, by seed; this is added
    """
    if not isinstance(found, tuple | list) or [np.shape(a) for a in found] != [a.shape for a in arrays]:
        return "expected three arrays of the shapes that were given"
    rows, drawn = (np.column_stack(three) for three in (arrays, found))
    kept = {tuple(row) for row in drawn}
    if not kept <= {tuple(row) for row in rows}:
        return "some rows are put together from different images"
    if not 0.4 < len(kept) / len(rows) < 0.9:  # 0.63 is expected
        return f"{len(kept)} of {len(rows)} images are in the set; with replacement, it would be about two thirds"
    if any((seed == other) != np.array_equal(drawn, before) for other, before in seen.items()):
        return "the same seed must draw the same set again, and another seed another one"
    seen[seed] = drawn
    return True


def _meets_all(found: tuple, arrays: tuple[np.ndarray, ...], met: set, sets: int, enough: int = 40) -> bool | str:
    """Has every image come up, after enough sets? met: the rows that have; these are added"""
    met.update(map(tuple, np.column_stack(found)))
    missing = [n for n, row in enumerate(np.column_stack(arrays)) if tuple(row) not in met]
    return sets < enough or not missing or f"in {sets} sets of these images, number {missing[0]} never came up"


@exercise
def interval():
    """What is outside, 1 - level, is shared by the two ends. np.percentile takes numbers from 0 to 100."""
    steps = np.arange(101) / 100  # its percentiles can be read off
    yield case(steps, 0.9, gives=(0.05, 0.95))
    yield case(steps[::-1], 0.5, gives=(0.25, 0.75))
    rng = np.random.default_rng(85)
    for level in (0.95, 0.8):
        differences = rng.normal(0.05, 0.03, 400)
        ends = np.quantile(differences, [0.5 - level / 2, 0.5 + level / 2])
        yield case(differences, level, gives=tuple(ends.tolist()))
        holes = np.insert(differences, [0, 100, 250], np.nan)
        yield case(holes, level, gives=tuple(ends.tolist()), hint="Three of these are nan: leave them out first.")
