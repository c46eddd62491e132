"""What names of metrics say, and what they don't."""

from __future__ import annotations

import numpy as np
import pytest

from jointrain import InvalidInputError, Task
from jointrain.studies._metric_names import known_name, named_metric
from jointrain.task import DENSE_KINDS, KINDS, metric_names


@pytest.mark.parametrize(
    ("name", "known"),
    [
        ("accuracy", "accuracy"),
        ("val/Acc_top1", "acc"),
        ("test_r2_score", "r2"),
        ("R²", "r2"),
        ("ROC-AUC", "roc_auc"),
        ("macro-F1", "f1"),
        ("log-loss", "log_loss"),
        ("valid.mean_squared_error", "mean_squared_error"),
        ("average_precision", "average_precision"),
        ("best_val_loss", "loss"),
        ("NDCG@10", "ndcg"),
        ("test/recall@5", "recall"),
        ("pinball-0.9", "pinball"),
        ("F2", "fscore"),
        ("val_f0.5", "fscore"),
        ("F1", "f1"),
        ("group AUC", "group_auc"),
        ("10", None),
        ("f16", "fscore"),
        ("neg_mean_squared_error", None),
        ("val", None),
        ("lr", None),
        ("accuracy_loss", None),
        ("", None),
        ("top5", None),
        ("pass@1", None),
        ("acc@5", "acc"),
        ("top-1 accuracy", "accuracy"),
        ("top-5-accuracy", "accuracy"),
        ("top 1-accuracy", "accuracy"),
        ("acc@1/val", "acc"),
        ("recall@5-mean", "recall"),
        ("recall-5", "recall"),
        ("hit-rate", "hit_rate"),
        ("f1-score", "f1"),
        ("val-acc", "acc"),
        ("val - acc", "acc"),
        ("epoch-5-acc", "acc"),
        ("neg_log_loss", None),
    ],
)
def test_qualifiers_do_not_hide_a_known_name(name, known):
    assert known_name(name) == known


@pytest.mark.parametrize(
    "name",
    ["1-accuracy", "1-auc", "1 - AUC", "100-acc", "-accuracy", "1-R2", "1-dice", "1-f1", "1-F0.5",
     "1.0-acc", "1 - (acc)", "(1-acc)", "1/accuracy", "accuracy^-1", "acc**-1", "acc\u207b\u00b9",
     "1\u2212accuracy", "\u2212accuracy", "1\u2013accuracy", "val/1-acc", "val_1-acc",
     "val/-acc", "val -acc", "acc * -1", "-1 * acc", "1 - val_acc", "-rmse", "-loss",
     "-log loss", "1-error", "\u0394acc"],
)  # fmt: skip
def test_a_known_name_that_is_turned_is_asked_about(name):
    assert known_name(name) is None
    with pytest.raises(InvalidInputError, match=r"is better is not known; say --higher"):
        named_metric(name, np.array([0.5]))
    assert not named_metric(name, np.array([0.5]), lower=[name])[0].higher_is_better


@pytest.mark.parametrize(
    ("name", "higher"),
    [("accuracy", True), ("auc", True), ("f1", True), ("r2", True), ("mcc", True),
     ("rmse", False), ("mae", False), ("loss", False), ("log-loss", False), ("wer", False)],
)  # fmt: skip
def test_directions(name, higher):
    metric, note = named_metric(name, np.array([0.5, 0.6]))
    assert metric.higher_is_better == higher
    assert note is None
    with pytest.raises(InvalidInputError, match="known by its name only"):
        metric.compute(None, None)


def test_shares_in_percent_have_a_highest_value_of_100():
    metric, note = named_metric("accuracy", np.array([91.5, 93]))
    assert (metric.highest, metric.percent_above) == (100, 10)
    assert note == "accuracy reaches 93, so it is taken as percent"


def test_a_word_of_the_caller_wins():
    assert named_metric("quality", np.ones(1), higher=["quality"])[0].higher_is_better
    # log-likelihoods that someone calls loss
    found, _ = named_metric("loss", np.ones(1), higher=["loss"])
    assert found.higher_is_better
    # the direction that is known anyway leaves the bounds
    assert named_metric("accuracy", np.ones(1), higher=["accuracy"])[0].highest == 1


@pytest.mark.parametrize(("name", "value"), [("accuracy", 153), ("rmse", -3), ("r2", 101)])
def test_values_beyond_the_bounds_are_refused(name, value):
    with pytest.raises(InvalidInputError, match=f"metric '{name}' is {value} in a run, which"):
        named_metric(name, np.array([0.5, value]))


def test_the_metrics_of_every_kind_of_task_are_known_as_they_are():
    for kind in KINDS:
        if kind == "custom" or kind in DENSE_KINDS:
            continue
        levels = (0.1, 0.5, 0.9) if kind == "quantiles" else (1.0, 2.0)
        classes = levels if kind in ("quantiles", "survival") else (0, 1)
        numbers = ("regression", "count", "mean-variance", "negative-binomial", "censored")
        task = Task("y", kind, () if kind in numbers else classes)
        for name in metric_names(task.rules):
            metric = task.judged_by(name, "query").primary_metric
            found, _ = named_metric(name, np.array([0.5]))
            assert found.higher_is_better == metric.higher_is_better, name
            assert found.lowest <= 0 or found.lowest == metric.lowest, name
