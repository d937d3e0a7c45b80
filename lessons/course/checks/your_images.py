"""Lesson 12, your own images."""

import numpy as np
from scipy.special import expit
from sklearn.metrics import log_loss, roc_curve

from course.exercise import case, exercise
from minicam import metrics
from minicam.data.folder import hold_out


@exercise
def leaks():
    """First the set of the groups that are not held out. Then count the held-out images whose group is in it."""
    groups = ["a", "a", "a", "b", "b", "c"]
    yield case(groups, np.array([True, True, False, False, False, True]), gives=2, hint="Both of group a count.")
    yield case(groups, np.array([True, True, True, False, False, False]), gives=0, hint="No group is on both sides.")
    yield case(groups, np.array([False, False, True, True, False, False]), gives=2)
    rng = np.random.default_rng(121)
    for N, patients in [(40, 15), (60, 12), (30, 30)]:
        numbers, held = rng.integers(0, patients, N), rng.random(N) < 0.3
        gives = int(np.isin(numbers[held], numbers[~held]).sum())
        yield case([f"patient {n}" for n in numbers], held, gives=gives)
    numbers = rng.integers(0, 20, 60)
    whole = hold_out(np.arange(60) % 2, [str(n) for n in numbers], 0.3, seed=0)
    yield case([str(n) for n in numbers], whole, gives=0, hint="These were divided by minicam's hold_out, by groups.")


@exercise
def calibration_error():
    """The bin of each p is int(p * bins), at most bins - 1.

    Of each bin that is not empty: its share of all cases, times the distance of its mean p from its mean y."""
    p, y = np.array([0.2, 0.2, 0.9, 0.9]), np.array([False, False, True, False])
    yield case(p, y, 2, gives=0.5 * 0.2 + 0.5 * 0.4, hint="Two bins of two: 0.2 was said and 0 came; 0.9 and 0.5.")
    p, y = np.array([0.1, 0.3, 0.5, 0.7, 1.0]), np.array([False, False, True, True, False])
    gives = 2 / 5 * 0.2 + 3 / 5 * (2.2 / 3 - 2 / 3)
    yield case(p, y, 2, gives=gives, hint="0.5 belongs to the upper of two bins, and 1 to the last.")
    rng = np.random.default_rng(122)
    for N, bins, power in [(200, 10, 1.0), (150, 5, 2.0), (40, 20, 0.5)]:
        p = rng.random(N)
        y = rng.random(N) < p**power
        yield case(p, y, bins, gives=metrics.calibration_error(y, p, bins), hint="Bins with more cases count more.")


@exercise
def temperature():
    """For each candidate T: p from z / T, then the mean of -log of the probability that was given to what was true."""
    rng = np.random.default_rng(123)
    for N, factor, hint in [(300, 2.5, ""), (400, 0.4, "Here the best T is below 1."), (300, 1.0, ""), (50, 4.0, "")]:
        honest = rng.normal(0, 1.5, N)
        y = rng.random(N) < expit(honest)
        candidates = factor * np.geomspace(0.5, 2.5, 25)
        losses = [log_loss(y, expit(factor * honest / T)) for T in candidates]
        yield case(factor * honest, y, candidates, gives=candidates[np.argmin(losses)], hint=hint)


@exercise
def threshold_for():
    """Only the ill count. Go down their probabilities from the highest: which is the first with enough at or above?"""
    p = np.array([0.9, 0.8, 0.3, 0.6, 0.2, 0.7])
    y = np.array([True, False, True, True, True, False])
    yield case(p, y, 0.5, gives=0.6, hint="Two of the four who are ill are at 0.6 or above.")
    yield case(p, y, 0.6, gives=0.3, hint="Two of four are not enough for 60 %: it takes three.")
    yield case(p, y, 1.0, gives=0.2, hint="To find all, go down to the lowest of the ill.")
    rng = np.random.default_rng(124)
    for N, wanted in [(100, 0.9), (61, 0.83), (40, 0.71)]:
        y = rng.random(N) < 0.4
        p = np.clip(rng.normal(0.4 + 0.2 * y, 0.2), 0, 1)
        _, found, thresholds = roc_curve(y, p, drop_intermediate=False)
        yield case(p, y, wanted, gives=thresholds[np.argmax(found >= wanted)])


@exercise
def predictive_values():
    """All people are 1, the ill `prevalence`. Found: sensitivity * the ill. False alarms: (1 - specificity) * the well.

    The first result is found / (found + false alarms)."""
    yield case(0.9, 0.9, 0.01, gives=(9 / 108, 891 / 892), hint="The 1000 people of the text.")
    yield case(0.9, 0.9, 0.5, gives=(0.9, 0.9), hint="In a clinic where every second one is ill.")
    rng = np.random.default_rng(125)
    for _ in range(4):
        ill, well = rng.integers(5, 500, 2)
        found, left_alone = rng.integers(1, ill), rng.integers(1, well)
        alarms, others = found + well - left_alone, left_alone + ill - found
        shares = float(found / ill), float(left_alone / well), float(ill / (ill + well))
        yield case(*shares, gives=(found / alarms, left_alone / others))
