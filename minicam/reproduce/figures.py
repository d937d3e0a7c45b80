"""From the predictions of a row's seeds to its figures, each with the interval that a bootstrap over the images gives.

A figure of several seeds is their mean, in each redrawn set of images, too.
"""

import csv
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from minicam import MinicamError
from minicam.data import Dataset
from minicam.metrics import (
    average_precision,
    bootstrap_mean_auc,
    calibration_error,
    interval,
    mean_auc,
    reliability,
    sensitivity_at,
    specificity_at,
)

DRAWS = 2000
DETAILS: dict[str, Callable[[np.ndarray, np.ndarray], float]] = {
    "average_precision": average_precision,
    "sensitivity_at_specificity_0.9": sensitivity_at,
    "specificity_at_sensitivity_0.9": specificity_at,
    "calibration_error": calibration_error,
}
DETAIL_DRAWS = 500


def read_predictions(path: Path, dataset: Dataset) -> np.ndarray:
    """Probabilities (N, K) from a file in the challenge's format; columns that it lacks are nan."""
    try:
        with path.open(newline="", encoding="utf-8") as file:
            rows = {row["image_id"]: row for row in csv.DictReader(file)}
        p = np.full((len(dataset), len(dataset.classes)), np.nan)
        for task in dataset.tasks:
            p[:, dataset.classes.index(task)] = [float(rows[name][task]) for name in dataset.ids]
    except (OSError, KeyError, ValueError, TypeError) as error:
        raise MinicamError(
            f"{path} does not hold predictions of these images ({error!r}); delete it, and run its row again"
        ) from None
    return p


def redrawn(count: int) -> np.ndarray:
    """How often each of `count` images is drawn, (DRAWS, count): the same for all rows, which makes them paired."""
    return np.random.default_rng(0).multinomial(count, np.full(count, 1 / count), DRAWS)


def aucs(dataset: Dataset, scores: Sequence[np.ndarray]) -> dict:
    """AUC by task and mean AUC, with their intervals; and "each", the mean AUC of every seed.

    scores  a seed each, (N, K)
    """
    taken = {"mean", "low", "high", "each"} & set(dataset.tasks)
    if taken:
        raise MinicamError(f"a class is named {taken.pop()}, as a figure of the table is; give it another name")
    if mean_auc(dataset.labels, scores[0], [dataset.classes.index(task) for task in dataset.tasks])["mean"] is None:
        raise MinicamError(f"the {dataset.split} images lack a class, so there is no AUC; take more of them")
    numbers = {task: [dataset.classes.index(task)] for task in dataset.tasks}
    numbers["mean"] = [k for (k,) in numbers.values()]
    found: dict = {}
    for name, tasks in numbers.items():
        found[name] = float(np.mean([mean_auc(dataset.labels, p, tasks)["mean"] for p in scores]))
        found[f"{name}_low"], found[f"{name}_high"] = _ends(drawn_auc(dataset, scores, tasks))
    found["low"], found["high"] = found.pop("mean_low"), found.pop("mean_high")
    return found | {"each": [mean_auc(dataset.labels, p, numbers["mean"])["mean"] for p in scores]}


def drawn_auc(dataset: Dataset, scores: Sequence[np.ndarray], tasks: Sequence[int] | None = None) -> np.ndarray:
    """The mean AUC of each redrawn set, (DRAWS,), in the mean over seeds."""
    tasks = [dataset.classes.index(task) for task in dataset.tasks] if tasks is None else tasks
    counts = redrawn(len(dataset))
    return np.mean([bootstrap_mean_auc(dataset.labels, p, tasks, counts) for p in scores], axis=0)


def difference(dataset: Dataset, scores: Sequence[np.ndarray], others: Sequence[np.ndarray]) -> dict:
    """By how much the mean AUC is above that of other scores of the same images, with its paired interval."""
    low, high = _ends(drawn_auc(dataset, scores) - drawn_auc(dataset, others))
    tasks = [dataset.classes.index(task) for task in dataset.tasks]
    means = (np.mean([mean_auc(dataset.labels, p, tasks)["mean"] for p in each]) for each in (scores, others))
    return {"mean": float(np.subtract(*means)), "low": low, "high": high}


def details(dataset: Dataset, scores: Sequence[np.ndarray]) -> dict[str, dict[str, list[float | None]]]:
    """For each task DETAILS: the figure and the ends of its interval."""

    def all_of_them(positive: np.ndarray, *columns: np.ndarray) -> np.ndarray | None:
        """The figures (len(DETAILS),), in the mean over seeds; None where one is undefined."""
        if not 0 < positive.sum() < len(positive):
            return None
        return np.mean([[figure(positive, column) for figure in DETAILS.values()] for column in columns], axis=0)

    found: dict = {}
    for task in dataset.tasks:
        k = dataset.classes.index(task)
        arrays = dataset.labels == k, *(p[:, k] for p in scores)
        lows, highs = interval(all_of_them, *arrays, draws=DETAIL_DRAWS)
        values = all_of_them(*arrays)
        found[task] = {
            name: [float(values[i]), lows[i], highs[i]] if values is not None else None
            for i, name in enumerate(DETAILS)
        }
    return found


def calibrated_error(dataset: Dataset, scores: Sequence[np.ndarray], draws: int = 200) -> dict[str, list[float]]:
    """For each task the calibration error that scores would have if they were right: its mean and its 97.5 % point.

    With few images in a bin even the shares of calibrated scores are off. The bootstrap does not see that.
    """
    rng, found = np.random.default_rng(0), {}
    for task in dataset.tasks:
        columns = [p[:, dataset.classes.index(task)] for p in scores]
        errors = [
            np.mean([calibration_error(rng.random(len(column)) < column, column) for column in columns])
            for _ in range(draws)
        ]
        found[task] = [float(np.mean(errors)), float(np.percentile(errors, 97.5))]
    return found


def mean_of(each: Sequence[Sequence[float]]) -> list[float] | None:
    """The mean of what was measured on N images by each of S seeds (S, N), and the ends of its 95 % interval.

    None where there are none.
    """
    values = np.mean(each, axis=0)
    if not values.size:
        return None
    return [float(values.mean()), *interval(lambda v: float(v.mean()), values)]


def reliabilities(dataset: Dataset, scores: Sequence[np.ndarray]) -> dict[str, list[list[float]]]:
    """For each task the rows of `metrics.reliability`, of all seeds together."""
    found = {}
    for task in dataset.tasks:
        k = dataset.classes.index(task)
        positive = np.tile(dataset.labels == k, len(scores))
        found[task] = reliability(positive, np.concatenate([p[:, k] for p in scores])).tolist()
    return found


def _ends(values: np.ndarray) -> tuple[float, float]:
    return tuple(np.nanpercentile(values, [2.5, 97.5]).tolist())
