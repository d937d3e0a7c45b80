"""How good are the predictions and the maps, and how sure can one be of it?

Scores are probabilities (N, K); a task is one class against the rest. An area under the ROC curve (AUC) needs images
of both kinds: where there are none it is undefined, and None. On 150 images the standard error of a mean AUC is about
0.03, so the difference of two stages comes with an interval from a bootstrap that is paired: both are scored on the
same redrawn images.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from minicam.cam import mask_at


def auc(positive: np.ndarray, scores: np.ndarray) -> float | None:
    """Area under the ROC curve of scores (N,) for `positive`, bool (N,); ties count half. None where undefined."""
    from sklearn.metrics import roc_auc_score  # here, because scikit-learn takes a second to import

    return float(roc_auc_score(positive, scores)) if 0 < positive.sum() < len(positive) else None


def sensitivity_at(positive: np.ndarray, scores: np.ndarray, specificity: float = 0.9) -> float | None:
    """The best sensitivity (share of the positive found) of all thresholds with at least this specificity (share of
    the others not taken for positive). None where one of the two sorts is missing."""
    if not 0 < positive.sum() < len(positive):
        return None
    others = np.sort(scores[~positive])[::-1]
    alarms = int((1 - specificity) * len(others) + 1e-9)  # how many false positives there may be
    return float((scores[positive] > others[alarms]).mean()) if alarms < len(others) else 1.0


def specificity_at(positive: np.ndarray, scores: np.ndarray, sensitivity: float = 0.9) -> float | None:
    """The best specificity of all thresholds with at least this sensitivity. None where one sort is missing."""
    return sensitivity_at(~positive, -scores, sensitivity)


def reliability(positive: np.ndarray, scores: np.ndarray, bins: int = 10) -> np.ndarray:
    """The reliability diagram: a row (count, mean score, share of positive) for each bin of scores that has any.

    Bins are equally wide; a score on an edge belongs to the bin above it.
    """
    place = np.minimum((scores * bins).astype(int), bins - 1)
    members = [place == b for b in np.unique(place)]
    return np.array([(m.sum(), scores[m].mean(), positive[m].mean()) for m in members])


def calibration_error(positive: np.ndarray, scores: np.ndarray, bins: int = 10) -> float:
    """The expected calibration error of one class against the rest: how far its probability and the share of images
    that are of it lie apart, in the mean over the images.

    Source: Guo et al., "On Calibration of Modern Neural Networks" (2017), equation 3, which they take of the predicted
    class; of a given class it is known as class-wise.
    """
    count, score, share = reliability(positive, scores, bins).T
    return float((count * np.abs(score - share)).sum() / len(scores))


def average_precision(positive: np.ndarray, scores: np.ndarray) -> float | None:
    """The area under the curve of precision against recall, in steps. None where no image is positive.

    The sum of P (R - R') over thresholds: precision P, recall R, and R' that of the threshold above. Equal to
    scikit-learn's, and some 30 times as fast, which counts where images are redrawn 500 times.
    """
    if not positive.any():
        return None
    order = np.argsort(-scores, kind="stable")
    found, last = np.cumsum(positive[order]), np.append(np.diff(scores[order]) != 0, True)  # of equal scores
    precision, recall = (found / np.arange(1, len(found) + 1))[last], found[last] / found[-1]
    return float(precision @ np.diff(recall, prepend=0))


def task_figures(positive: np.ndarray, scores: np.ndarray) -> dict[str, float | None]:
    """AUC, average precision, sensitivity and specificity at 0.5 and each where the other is 0.9; calibration error.

    Each is None where it is undefined.
    """
    predicted = scores >= 0.5
    return {
        "auc": auc(positive, scores),
        "average_precision": average_precision(positive, scores),
        "sensitivity": float(predicted[positive].mean()) if positive.any() else None,
        "specificity": float(1 - predicted[~positive].mean()) if not positive.all() else None,
        "sensitivity_at_specificity_0.9": sensitivity_at(positive, scores),
        "specificity_at_sensitivity_0.9": specificity_at(positive, scores),
        "calibration_error": calibration_error(positive, scores),
    }


def mean_auc(labels: np.ndarray, scores: np.ndarray, tasks: Sequence[int]) -> dict[int | str, float | None]:
    """AUC by task (the class's number) and, under "mean", their mean: None where one of them is undefined."""
    each: dict[int | str, float | None] = {k: auc(labels == k, scores[:, k]) for k in tasks}
    values = list(each.values())
    each["mean"] = None if None in values else float(np.mean(values))
    return each


def bootstrap_mean_auc(
    labels: np.ndarray, scores: np.ndarray, tasks: Sequence[int], counts: np.ndarray
) -> np.ndarray:
    """Mean AUC (B,) of B redrawn sets of images. counts (B, N): how often each image was drawn; nan where undefined.

    An AUC is the share of pairs (positive, negative) that the scores put in order; in a redrawn set the pair (i, j)
    counts counts[i] * counts[j] times. So all B of them come out of one matrix product.
    """
    total = np.zeros(len(counts))
    for k in tasks:
        positive = labels == k
        above, below = scores[positive, k][:, None], scores[~positive, k][None, :]
        ordered = (above > below) + 0.5 * (above == below)  # (positives, negatives)
        p, n = counts[:, positive].astype(float), counts[:, ~positive].astype(float)
        pairs = p.sum(1) * n.sum(1)
        right = ((p @ ordered) * n).sum(1)  # (B, positives) (positives, negatives) * (B, negatives)
        total += np.divide(right, pairs, out=np.full(len(counts), np.nan), where=pairs > 0)
    return total / len(tasks)


def paired_bootstrap(
    labels: np.ndarray, first: np.ndarray, second: np.ndarray, tasks: Sequence[int], draws: int = 2000, seed: int = 0
) -> dict[str, float | None]:
    """The difference in mean AUC, second - first, with the 95 % interval (low, high) of a paired bootstrap.

    Images are redrawn one by one, as if independent: where several are of one patient, the interval is too narrow.
    Redrawn sets in which a task has no positive or no negative images are left out; where that leaves none, as with
    many classes of one image each, low and high are None.

    Source: Efron and Tibshirani, "An Introduction to the Bootstrap" (1993), section 13.3, the percentile interval.
    """
    means = [mean_auc(labels, scores, tasks)["mean"] for scores in (first, second)]
    if None in means:
        return {"mean": None, "low": None, "high": None}
    N = len(labels)
    counts = np.random.default_rng(seed).multinomial(N, np.full(N, 1 / N), draws)  # (B, N)
    change = bootstrap_mean_auc(labels, second, tasks, counts) - bootstrap_mean_auc(labels, first, tasks, counts)
    change = change[np.isfinite(change)]
    low, high = np.percentile(change, [2.5, 97.5]).tolist() if len(change) else (None, None)
    return {"mean": means[1] - means[0], "low": low, "high": high}


def interval(
    statistic: Callable[..., Any], *arrays: np.ndarray, draws: int = 1000, seed: int = 0
) -> tuple[Any, Any] | tuple[None, None]:
    """The 95 % interval of `statistic(*arrays)`, arrays (N, ...), from a bootstrap over the N images, taken as
    independent.

    Of a statistic that is an array, its ends are lists. Redrawn sets on which it is None, undefined, are left out;
    (None, None) where that leaves none.
    """
    rng, N = np.random.default_rng(seed), len(arrays[0])
    drawn = (rng.integers(N, size=N) for _ in range(draws))
    values = [value for i in drawn if (value := statistic(*(array[i] for array in arrays))) is not None]
    return tuple(np.percentile(values, [2.5, 97.5], axis=0).tolist()) if values else (None, None)


def map_figures(heat: np.ndarray, mask: np.ndarray, threshold: float) -> dict[str, float]:
    """How well a map shows a lesion: heat (H, W) in 0..1, the lesion's mask, bool (h, w), at any other size.

    pointing  1 where the maximum of the map lies in the lesion, else 0, as for a map of zeros, which points nowhere
              (the pointing game, without tolerance)
    iou       intersection over union of the lesion and what is above the threshold
    inside    the share of the map's sum that lies in the lesion; 0 for a map of zeros

    Source: the pointing game is from Zhang et al., "Top-down Neural Attention by Excitation Backprop" (2016).
    """
    lesion, above = mask_at(mask, heat.shape), heat > threshold
    return {
        "pointing": float(heat.max() > 0 and lesion[np.unravel_index(heat.argmax(), heat.shape)]),
        "iou": float((above & lesion).sum() / max((above | lesion).sum(), 1)),
        "inside": float(heat[lesion].sum() / max(heat.sum(), 1e-12)),
    }


DELETED = (0.0, 0.05, 0.1, 0.2, 0.4, 0.8)


def delete(x: np.ndarray, heat: np.ndarray, share: float) -> np.ndarray:
    """x (H, W, C) with the hottest `share` of its places, by heat (H, W), set to the mean of x: grey, to a network.

    Of equally hot places, those that come first go first.
    """
    first = np.argsort(-heat, axis=None, kind="stable")[: round(share * heat.size)]
    left = x.copy()
    left.reshape(-1, x.shape[-1])[first] = x.mean((0, 1))
    return left


def deletion_area(curve: Sequence[float], shares: Sequence[float] = DELETED) -> float:
    """The area under a deletion curve, probabilities (D,) with so much of the image deleted, over the shares' range.

    The lower, the better the map says what the probability rests on. Source: Petsiuk et al., "RISE: Randomized Input
    Sampling for Explanation of Black-box Models" (2018), section 4.2; they delete pixel by pixel.
    """
    return float(np.trapezoid(curve, shares) / (shares[-1] - shares[0]))


def summarise(
    labels: np.ndarray,
    first: np.ndarray,
    second: np.ndarray,
    classes: Sequence[str],
    tasks: Sequence[str],
    box_iou: float | None,
    seconds: float,
) -> dict:
    """All figures of a run on one labelled set, as they stand in `summary.json`. "both" scores the stages' mean."""
    numbers = [classes.index(task) for task in tasks]

    def stage(scores: np.ndarray) -> dict[str, float | None]:
        figures = mean_auc(labels, scores, numbers)
        return {task: figures[k] for task, k in zip(tasks, numbers, strict=True)} | {"mean": figures["mean"]}

    def details(scores: np.ndarray) -> dict[str, dict]:
        return {task: task_figures(labels == k, scores[:, k]) for task, k in zip(tasks, numbers, strict=True)}

    return {
        "images": len(labels),
        "stage1": stage(first),
        "stage2": stage(second),
        "both": stage((first + second) / 2),
        "difference": paired_bootstrap(labels, first, second, numbers),
        "box_iou": box_iou,
        "seconds": round(seconds, 1),
        "details": {"stage1": details(first), "stage2": details(second)},
    }


def figure(value: float | None, sign: str = "") -> str:
    """A figure as tables show it; `sign` "+" shows that of positive ones, too."""
    return "undefined" if value is None else f"{value:{sign}.3f}"


def table(summary: dict) -> str:
    """The summary as the small table that is printed last."""
    rows = [("AUC", "stage 1", "stage 2", "difference")]
    for task, first in summary["stage1"].items():
        second = summary["stage2"][task]
        change = None if first is None or second is None else second - first
        rows.append((task, figure(first), figure(second), figure(change, "+")))
    widths = [max(len(row[i]) for row in rows) for i in range(4)]
    lines = ["  ".join(f"{cell:{'<' if i == 0 else '>'}{widths[i]}}" for i, cell in enumerate(row)) for row in rows]
    difference = summary["difference"]
    if difference["low"] is not None:
        lines[-1] += f"   95 % interval {difference['low']:+.3f} to {difference['high']:+.3f}"
    lines.append(f"mean AUC of both stages' probabilities averaged: {figure(summary['both']['mean'])}")
    if summary["box_iou"] is not None:
        lines.append(f"IoU of the region's box with the lesion's: {summary['box_iou']:.3f}")
    lines.append(f"{summary['images']} images, {summary['seconds']:.0f} s")
    return "\n".join(lines)
