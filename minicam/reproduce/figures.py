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
    reliability,
    sensitivity_at,
    specificity_at,
)
from minicam.train import task_numbers

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
        for task, k in zip(dataset.tasks, task_numbers(dataset), strict=True):
            p[:, k] = [float(rows[name][task]) for name in dataset.ids]
    except (OSError, KeyError, ValueError, TypeError) as error:
        raise MinicamError(
            f"{path} does not hold predictions of these images ({error!r}); delete it, and run its row again"
        ) from None
    return p


def redrawn(count: int) -> np.ndarray:
    """How often each of `count` images is drawn, (DRAWS, count): the same for all rows, which makes them paired."""
    return np.random.default_rng(0).multinomial(count, np.full(count, 1 / count), DRAWS)


def drawn_aucs(dataset: Dataset, p: np.ndarray) -> dict[str, np.ndarray]:
    """AUC by task and, under "mean", their mean: of the images as they are, then of each redrawn set, (1 + DRAWS,).

    p  probabilities (N, K)
    MinicamError where the images lack a class.
    """
    taken = {"mean", "low", "high", "each"} & set(dataset.tasks)
    if taken:
        raise MinicamError(f"a class is named {taken.pop()}, as a figure of the table is; give it another name")
    counts = np.vstack([np.ones((1, len(dataset)), int), redrawn(len(dataset))])
    numbers = zip(dataset.tasks, task_numbers(dataset), strict=True)
    found = {task: bootstrap_mean_auc(dataset.labels, p, [k], counts) for task, k in numbers}
    found["mean"] = np.mean(list(found.values()), axis=0)
    if np.isnan(found["mean"][0]):
        raise MinicamError(f"the {dataset.split} images lack a class, so there is no AUC; take more of them")
    return found


def aucs(each: Sequence[dict[str, np.ndarray]]) -> dict:
    """The figures that a row's seeds have in the mean, each with its interval; and "each", the mean AUC of every seed.

    each  what `drawn_aucs` returns, of every seed
    """
    return _with_ends(_mean(each)) | {"each": [float(found["mean"][0]) for found in each]}


def difference(each: Sequence[dict[str, np.ndarray]], others: Sequence[dict[str, np.ndarray]]) -> dict:
    """By how much the same figures are above those of other seeds, or of another row, with paired intervals."""
    mine, theirs = _mean(each), _mean(others)
    return _with_ends({name: mine[name] - theirs[name] for name in mine})


def _mean(each: Sequence[dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    return {name: np.mean([found[name] for found in each], axis=0) for name in each[0]}


def _with_ends(values: dict[str, np.ndarray]) -> dict[str, float]:
    """Each figure, and as NAME_low and NAME_high the ends of its interval; those of the mean are "low" and "high"."""
    found = {}
    for name, drawn in values.items():
        low, high = ("low", "high") if name == "mean" else (f"{name}_low", f"{name}_high")
        found[name], (found[low], found[high]) = float(drawn[0]), np.nanpercentile(drawn[1:], [2.5, 97.5]).tolist()
    return found


def details(dataset: Dataset, scores: Sequence[np.ndarray]) -> dict[str, dict[str, list[float | None]]]:
    """For each task DETAILS: the figure and the ends of its interval."""

    def all_of_them(positive: np.ndarray, *columns: np.ndarray) -> np.ndarray | None:
        """The figures (len(DETAILS),), in the mean over seeds; None where one is undefined."""
        if not 0 < positive.sum() < len(positive):
            return None
        return np.mean([[figure(positive, column) for figure in DETAILS.values()] for column in columns], axis=0)

    found: dict = {}
    for task, k in zip(dataset.tasks, task_numbers(dataset), strict=True):
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
    for task, k in zip(dataset.tasks, task_numbers(dataset), strict=True):
        columns = [p[:, k] for p in scores]
        errors = []
        for _ in range(draws):
            u = rng.random(len(dataset))  # one draw an image: all seeds have the same images
            errors.append(np.mean([calibration_error(u < column, column) for column in columns]))
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
    for task, k in zip(dataset.tasks, task_numbers(dataset), strict=True):
        positive = np.tile(dataset.labels == k, len(scores))
        found[task] = reliability(positive, np.concatenate([p[:, k] for p in scores])).tolist()
    return found
