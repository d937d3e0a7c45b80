"""The figures: against scikit-learn, against counting by hand, and what becomes of them where they are undefined."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from minicam.metrics import (
    auc,
    average_precision,
    bootstrap_mean_auc,
    calibration_error,
    interval,
    map_figures,
    mean_auc,
    paired_bootstrap,
    reliability,
    sensitivity_at,
    specificity_at,
    summarise,
    table,
    task_figures,
)


def scored(rng, N, K=3, spread=1.5, digits=None):
    """Labels, all classes among them, and scores (N, K) that know something of them; rounded, they have ties."""
    labels = rng.permutation(np.arange(N) % K)
    scores = rng.standard_normal((N, K)) + spread * np.eye(K)[labels]
    return labels, scores if digits is None else scores.round(digits)


def pairs_in_order(positive, scores):
    """The share of pairs (positive, negative) that the scores put in order, ties counting half: the AUC's meaning."""
    above, below = scores[positive], scores[~positive]
    return np.mean([(a > b) + 0.5 * (a == b) for a in above for b in below])


pairs = st.lists(st.tuples(st.booleans(), st.sampled_from([0.0, 0.25, 0.5, 1.0])), min_size=1, max_size=25)


@given(pairs)
def test_auc_is_the_share_of_pairs_in_order(cases):
    positive, scores = np.array([p for p, _ in cases]), np.array([s for _, s in cases])
    if positive.all() or not positive.any():
        assert auc(positive, scores) is None
    else:
        assert auc(positive, scores) == pytest.approx(pairs_in_order(positive, scores), abs=1e-12)


def test_mean_auc_is_the_mean_over_the_tasks(rng):
    labels, scores = scored(rng, 41)
    figures = mean_auc(labels, scores, (1, 2))
    assert figures.keys() == {1, 2, "mean"}
    for k in (1, 2):
        assert figures[k] == pytest.approx(roc_auc_score(labels == k, scores[:, k]), abs=1e-12)
    assert figures["mean"] == pytest.approx((figures[1] + figures[2]) / 2)
    assert figures[1] != figures[2]


def test_a_task_without_images_makes_the_mean_undefined(rng):
    labels, scores = scored(rng, 20)
    labels[labels == 2] = 0
    assert mean_auc(labels, scores, (1, 2)) == {1: auc(labels == 1, scores[:, 1]), 2: None, "mean": None}


def test_task_figures_by_hand():
    positive = np.array([True, True, True, False, False, False, False])
    scores = np.array([0.9, 0.5, 0.1, 0.6, 0.4, 0.3, 0.2])
    figures = task_figures(positive, scores)
    assert figures == {
        "auc": pytest.approx((4 + 3 + 0) / 12),
        "average_precision": pytest.approx((1 / 1 + 2 / 3 + 3 / 7) / 3),
        "sensitivity": pytest.approx(2 / 3),  # 0.5 itself counts as positive
        "specificity": pytest.approx(3 / 4),
        "sensitivity_at_specificity_0.9": pytest.approx(1 / 3),  # above 0.6
        "specificity_at_sensitivity_0.9": 0,  # only from 0.1 on are all three found
        "calibration_error": pytest.approx(3 / 7),  # each score has a bin to itself
    }


@pytest.mark.parametrize("digits", [0, 1, 8])
def test_average_precision_equals_scikit_learns_ties_or_not(rng, digits):
    from sklearn.metrics import average_precision_score

    for count in (1, 2, 30):
        positive, scores = rng.random(count) < 0.4, rng.random(count).round(digits)
        positive[0] = True
        assert average_precision(positive, scores) == pytest.approx(average_precision_score(positive, scores))


@pytest.mark.parametrize("answer", [True, False])
def test_what_one_kind_of_image_leaves_undefined(answer):
    figures = task_figures(np.full(4, answer), np.array([0.1, 0.6, 0.7, 0.2]))
    assert figures["auc"] is None
    assert (figures["average_precision"], figures["sensitivity"]) == ((1.0, 0.5) if answer else (None, None))
    assert figures["specificity"] == (None if answer else 0.5)


def test_the_bootstraps_auc_equals_scikit_learns_on_the_redrawn_images(rng):
    """With ties, and with how often each image was drawn as rows that repeat, and as weights."""
    labels, scores = scored(rng, 30, digits=0)
    counts = rng.multinomial(30, np.full(30, 1 / 30), 7)
    mine = bootstrap_mean_auc(labels, scores, (1, 2), counts)
    for count, mean in zip(counts, mine, strict=True):
        rows = np.repeat(np.arange(30), count)
        repeated = [roc_auc_score(labels[rows] == k, scores[rows, k]) for k in (1, 2)]
        weighted = [roc_auc_score(labels == k, scores[:, k], sample_weight=count) for k in (1, 2)]
        assert mean == pytest.approx(np.mean(repeated), abs=1e-12)
        assert mean == pytest.approx(np.mean(weighted), abs=1e-12)


def test_a_redrawn_set_without_a_class_is_nan(rng):
    labels, scores = scored(rng, 9)
    counts = np.ones((3, 9), int)
    counts[1, labels == 1] = 0
    counts[2, labels != 2] = 0
    mine = bootstrap_mean_auc(labels, scores, (1, 2), counts)
    assert np.isnan(mine).tolist() == [False, True, True]
    assert mine[0] == pytest.approx(mean_auc(labels, scores, (1, 2))["mean"], abs=1e-12)


def test_equal_scores_differ_by_nothing(rng):
    labels, scores = scored(rng, 50)
    assert paired_bootstrap(labels, scores, scores.copy(), (1, 2)) == {"mean": 0, "low": 0, "high": 0}


def test_the_bootstrap_is_the_same_each_time_and_depends_on_its_seed(rng):
    labels, first = scored(rng, 60, spread=0.5)
    second = first + 1.0 * np.eye(3)[labels]
    one, again = (paired_bootstrap(labels, first, second, (1, 2)) for _ in range(2))
    assert one == again
    other = paired_bootstrap(labels, first, second, (1, 2), seed=1)
    assert other["mean"] == one["mean"]
    assert other["low"] != one["low"]
    back = paired_bootstrap(labels, second, first, (1, 2))
    assert [back[key] for key in ("mean", "low", "high")] == pytest.approx([-one["mean"], -one["high"], -one["low"]])
    assert 0 < one["low"] < one["mean"] < one["high"]
    assert one["mean"] == mean_auc(labels, second, (1, 2))["mean"] - mean_auc(labels, first, (1, 2))["mean"]


def test_pairing_makes_the_interval_of_like_scores_narrow(rng):
    labels, first = scored(rng, 80)
    like = first + 0.05 * rng.standard_normal(first.shape)
    _, unlike = scored(rng, 80)
    unlike = unlike + 1.5 * (np.eye(3)[labels] - np.eye(3)[rng.permutation(labels)])
    widths = [r["high"] - r["low"] for r in (paired_bootstrap(labels, first, s, (1, 2)) for s in (like, unlike))]
    assert 4 * widths[0] < widths[1]


def test_the_interval_covers_the_true_difference_about_as_often_as_it_says():
    """The true difference of two equally good scorers is 0. Of 80 intervals of 95 %, 76 should hold it; 69 is 3 s."""
    held = 0
    for number in range(80):
        rng = np.random.default_rng([number, 5])
        labels = rng.permutation(np.arange(90) % 3)
        first, second = (rng.standard_normal((90, 3)) + np.eye(3)[labels] for _ in range(2))
        figures = paired_bootstrap(labels, first, second, (1, 2), draws=300)
        held += figures["low"] <= 0 <= figures["high"]
    assert 69 <= held < 80


def test_undefined_aucs_have_no_difference(rng):
    labels, scores = scored(rng, 20)
    labels[labels == 2] = 1
    assert paired_bootstrap(labels, scores, scores, (1, 2)) == {"mean": None, "low": None, "high": None}


def test_many_classes_of_one_image_each_have_a_difference_but_no_interval(rng):
    """No redrawn set holds all 40 classes."""
    labels, first = scored(rng, 40, K=40)
    _, second = scored(rng, 40, K=40)
    figures = paired_bootstrap(labels, first, second, range(40))
    assert figures["mean"] is not None
    assert (figures["low"], figures["high"]) == (None, None)
    classes = [f"class {k}" for k in range(40)]
    assert "interval" not in table(summarise(labels, first, second, classes, classes, None, 1.0))


CLASSES, TASKS = ("nevus", "melanoma", "seborrheic_keratosis"), ("melanoma", "seborrheic_keratosis")

def test_operating_points_by_hand():
    positive = np.array([True, True, True, True, False, False, False, False, False])
    scores = np.array([0.9, 0.8, 0.4, 0.1, 0.85, 0.3, 0.3, 0.2, 0.05])
    assert sensitivity_at(positive, scores, 1.0) == 0.25  # above 0.85
    assert sensitivity_at(positive, scores, 0.8) == 0.75  # above 0.3: one of five
    assert sensitivity_at(positive, scores, 0.9) == 0.25
    assert specificity_at(positive, scores, 1.0) == 0.2  # from 0.1 on
    assert specificity_at(positive, scores, 0.75) == 0.8
    assert specificity_at(positive, scores, 0.5) == 0.8
    assert sensitivity_at(np.ones(3, bool), scores[:3]) is None
    assert specificity_at(np.zeros(3, bool), scores[:3]) is None


def test_equal_scores_are_on_one_side_of_a_threshold():
    assert sensitivity_at(np.array([True, False]), np.array([0.5, 0.5]), 0.9) == 0
    assert specificity_at(np.array([True, False]), np.array([0.5, 0.5]), 0.9) == 0


def test_calibration_by_hand():
    positive = np.array([False, True, True, True])
    scores = np.array([0.1, 0.25, 0.35, 1.0])
    assert reliability(positive, scores, 2).tolist() == [[3, pytest.approx(0.7 / 3), pytest.approx(2 / 3)], [1, 1, 1]]
    assert calibration_error(positive, scores, 2) == pytest.approx((2 - 0.7) / 4)
    assert calibration_error(positive, positive.astype(float)) == 0


def test_scores_that_are_probabilities_are_calibrated(rng):
    scores = rng.random(200_000)
    assert calibration_error(rng.random(200_000) < scores, scores) < 0.005
    assert calibration_error(rng.random(200_000) < scores**2, scores) > 0.1


def test_an_interval_covers_a_mean_as_often_as_it_says(rng):
    held = [low < 0 < high for low, high in (interval(np.mean, rng.standard_normal(60), draws=200) for _ in range(200))]
    assert 0.88 < np.mean(held) < 0.98


def test_what_is_undefined_has_no_interval():
    assert interval(auc, np.ones(4, bool), np.zeros(4), draws=10) == (None, None)


def test_map_figures_by_hand():
    heat = np.array([[1, 0.5, 0, 0], [0.5, 0.5, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0]])
    lesion = np.zeros((8, 8), bool)  # twice as large
    lesion[:4, :2] = True  # the left half of the upper left quarter
    assert map_figures(heat, lesion, 0.4) == {"pointing": 1, "iou": 0.5, "inside": 1.5 / 2.5}
    assert map_figures(heat, lesion, 0.6) == {"pointing": 1, "iou": 0.5, "inside": 1.5 / 2.5}
    assert map_figures(heat, ~lesion, 0.6) == {"pointing": 0, "iou": 0, "inside": 1 / 2.5}
    assert map_figures(np.zeros((4, 4)), lesion, 0.4) == {"pointing": 0, "iou": 0, "inside": 0}


def summary_of(rng, labels=None, box_iou=0.5):
    drawn, first = scored(rng, 45)
    labels = drawn if labels is None else labels
    return summarise(labels, first, first + 0.7 * np.eye(3)[labels], CLASSES, TASKS, box_iou, 12.345)


def test_the_summary_has_the_documented_keys(rng):
    summary = json.loads(json.dumps(summary_of(rng), allow_nan=False))
    for stage in ("stage1", "stage2", "both"):
        assert summary[stage].keys() == {"melanoma", "seborrheic_keratosis", "mean"}
    for stage in ("stage1", "stage2"):
        for task in TASKS:
            assert summary["details"][stage][task].keys() == task_figures(np.array([True, False]), np.eye(2)[0]).keys()
            assert summary["details"][stage][task]["auc"] == summary[stage][task]
    assert summary["difference"].keys() == {"mean", "low", "high"}
    assert summary["difference"]["mean"] == pytest.approx(summary["stage2"]["mean"] - summary["stage1"]["mean"])
    assert (summary["box_iou"], summary["seconds"], summary["images"]) == (0.5, 12.3, 45)


def test_both_scores_the_mean_of_the_stages(rng):
    labels, first = scored(rng, 40)
    _, second = scored(rng, 40)
    both = summarise(labels, first, second, CLASSES, TASKS, None, 0.0)["both"]
    assert both["mean"] == mean_auc(labels, first + second, (1, 2))["mean"]
    assert both["melanoma"] == auc(labels == 1, first[:, 1] + second[:, 1])


def test_tasks_are_scored_by_the_column_of_their_class(rng):
    labels, scores = scored(rng, 30)
    swapped = summarise(labels, scores, scores, CLASSES, TASKS[::-1], None, 0.0)
    assert list(swapped["stage1"]) == ["seborrheic_keratosis", "melanoma", "mean"]
    assert swapped["stage1"]["melanoma"] == auc(labels == 1, scores[:, 1])


def test_a_summary_with_undefined_figures_is_valid_json_and_its_table_says_so(rng):
    summary = summary_of(rng, labels=np.arange(45) % 2, box_iou=None)
    text = json.dumps(summary, allow_nan=False)
    assert '"seborrheic_keratosis": null, "mean": null' in text
    assert '"difference": {"mean": null, "low": null, "high": null}, "box_iou": null' in text
    lines = table(summary).splitlines()
    assert lines[2].split() == ["seborrheic_keratosis"] + ["undefined"] * 3
    assert lines[3].split() == ["mean"] + ["undefined"] * 3
    assert lines[4:] == ["mean AUC of both stages' probabilities averaged: undefined", "45 images, 12 s"]


def test_the_table():
    summary = {
        "images": 150,
        "stage1": {"melanoma": 0.75, "mean": 0.75},
        "stage2": {"melanoma": 0.8125, "mean": 0.8125},
        "both": {"melanoma": 0.875, "mean": 0.875},
        "difference": {"mean": 0.0625, "low": -0.0123, "high": 0.14},
        "box_iou": 0.4567,
        "seconds": 61.7,
    }
    assert table(summary).splitlines() == [
        "AUC       stage 1  stage 2  difference",
        "melanoma    0.750    0.812      +0.062",
        "mean        0.750    0.812      +0.062   95 % interval -0.012 to +0.140",
        "mean AUC of both stages' probabilities averaged: 0.875",
        "IoU of the region's box with the lesion's: 0.457",
        "150 images, 62 s",
    ]
