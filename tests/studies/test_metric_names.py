"""What names of metrics say, and what they don't."""

from __future__ import annotations

import numpy as np
import pytest

from jointrain import InvalidInputError
from jointrain.studies._metric_names import known_name, named_metric


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
        ("neg_mean_squared_error", None),
        ("val", None),
        ("lr", None),
        ("accuracy_loss", None),
        ("", None),
    ],
)
def test_qualifiers_do_not_hide_a_known_name(name, known):
    assert known_name(name) == known


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
