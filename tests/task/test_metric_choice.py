"""Metrics by name: what a kind of task can be judged by."""

import pickle

import numpy as np
import pytest
import torch

from jointrain import InvalidInputError, Task
from jointrain.task import check_metric, metric_names
from tests.task.examples import EXAMPLES, outputs_and_target


@pytest.mark.parametrize(
    ("task", "said", "name"),
    [
        (Task.regression("y"), "mae", "MAE"),
        (Task.regression("y"), "R²", "R2"),
        (Task.regression("y"), "c_index", "C-index"),
        (Task.regression("y"), "Pinball 0.25", "pinball-0.25"),
        (Task.count("y"), "spearman", "Spearman"),
        (Task.count("y"), "MAE", "MAE"),
        (Task.binary("y"), "log loss", "log-loss"),
        (Task.binary("y"), "balanced-accuracy", "balanced accuracy"),
        (Task.binary("y"), "f0.5", "F0.5"),
        (Task.multiclass("y", 3), "F1", "F1"),
        (Task.multiclass("y", 3), "brier", "Brier"),
        (Task.ordinal("y", 3), "quadratic-kappa", "quadratic kappa"),
    ],
)
def test_the_named_metric_comes_first_and_the_kinds_own_follow(task, said, name):
    chosen = task.judged_by(said)
    assert chosen.primary_metric.name == name
    own = [metric.name for metric in task.metrics]
    assert [metric.name for metric in chosen.metrics[1:]] == [one for one in own if one != name]
    assert pickle.loads(pickle.dumps(chosen)) == chosen


def test_all_that_is_listed_can_be_chosen_and_computed():
    for task in EXAMPLES.values():
        outputs, target = outputs_and_target(task, 40)
        prediction = task.predict(outputs)
        if not task.classes:
            target = target + 1  # MAPE divides by it
        for name in metric_names(task.rules):
            chosen = task.judged_by(name, "who")
            assert chosen.primary_metric.name == name
            who = {"who": torch.arange(40) % 4}
            value = chosen.evaluate(prediction, target, queries=who)[name]
            metric = chosen.primary_metric
            assert (metric.query == "who") == ("@" in name or name == "group AUC")
            assert metric.lowest - 1e-9 <= value <= metric.highest + 1e-9


@pytest.mark.parametrize(
    ("task", "name", "message"),
    [
        (
            Task.regression("price"),
            "MAEE",
            "metric 'MAEE' is none of regression task 'price'.*'MAE'",
        ),
        (Task.regression("price"), "Brier", "known are RMSE, R2, MAE, MAPE, pinball-0.9"),
        (Task.binary("sold"), "MAE", "none of binary task 'sold'"),
        (
            Task.regression("price"),
            "pinball-1.5",
            "must be a quantile between 0 and 1; pinball-0.9",
        ),
        (Task.binary("sold"), "F0", "must be above 0; F2 is one"),
    ],
)
def test_what_a_kind_does_not_have_is_refused(task, name, message):
    with pytest.raises(InvalidInputError, match=message):
        task.judged_by(name)


def test_percentages_of_a_target_of_nothing_are_refused():
    metric = Task.count("visits").judged_by("MAPE").primary_metric
    check_metric(metric, "visits", np.array([1.0, np.nan, 2.0]))
    with pytest.raises(InvalidInputError, match="divides by target 'visits', which is 0 in row 2"):
        check_metric(metric, "visits", np.array([1.0, 0.0, 2.0]))


def test_gains_below_nothing_are_refused():
    metric = Task.regression("stars").judged_by("NDCG@5", "user").primary_metric
    check_metric(metric, "stars", np.array([0.0, np.nan, 2.0]))
    with pytest.raises(InvalidInputError, match=r"'NDCG@5' takes .* and 'stars' is -1 in row 3"):
        check_metric(metric, "stars", np.array([0.0, np.nan, -1.0]))


def test_a_metric_of_queries_needs_them():
    task = Task.binary("click").judged_by("group AUC", "user")
    with pytest.raises(InvalidInputError, match=r"'group AUC' ranks rows within queries.*'user'"):
        task.evaluate(torch.rand(4), torch.tensor([0.0, 1.0, 0.0, 1.0]))
    rows = {"user": torch.tensor([1, 1, 2, 2])}
    # the row without a label has no part: one query is right, of the other nothing is known
    target = torch.tensor([0.0, 1.0, torch.nan, 1.0])
    found = task.evaluate(torch.tensor([0.1, 0.9, 0.5, 0.6]), target, queries=rows)
    assert found["group AUC"] == 1
