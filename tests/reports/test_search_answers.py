"""The answers of weigh, group and share follow from their own tables."""

import numpy as np
import polars as pl
import pytest

from jointrain import Recipe, Task
from jointrain.reports import report_groups, report_shared_depth, report_weights
from jointrain.studies import Measured
from jointrain.studies.searches import Affinity, Candidates, GroupResult, ShareResult, WeighResult

TASKS = (Task.regression("a"), Task.regression("b"))
DEPTHS = {"2 of 2 shared": 2, "1 of 2 shared": 1, "0 of 2 shared": 0}


def candidates(errors, *, choices, reference, seconds=None, noise=0.02, seed=0):
    """Two tasks with these errors, by candidate, on 5 folds of 2 seeds."""
    random = np.random.default_rng(seed)
    rows = [
        {
            "recipe": name, "task": task.name, "metric": metric.name, "fold": fold, "seed": seed,
            "value": error + random.normal(scale=noise), "train_rows": 80, "test_rows": 20,
        }
        for name, error in errors.items()
        for task in TASKS
        for metric in task.metrics
        for seed in range(2)
        for fold in range(5)
    ]  # fmt: skip
    return Candidates(
        Measured(TASKS, tuple(errors), pl.DataFrame(rows)), tuple(choices), "separate", reference,
        seconds=seconds or dict.fromkeys(errors, 1.0),
    )  # fmt: skip


def share(errors, **more):
    found = candidates(errors, choices=DEPTHS, reference="2 of 2 shared", **more)
    return report_shared_depth(ShareResult(found, DEPTHS))


def test_a_split_point_that_is_shown_to_be_better_is_the_answer():
    report = share({"separate": 1, "2 of 2 shared": 1, "1 of 2 shared": 0.7, "0 of 2 shared": 0.9})
    assert report.answer[0].startswith("Share 1 of 2 layers: the best of 3 split points, ")
    assert "% better than sharing all 2 [" in report.answer[0]
    assert report.flag == "--depth 2 --shared-depth 1"
    assert report.answer[1] == "By target: better for a and b."


def test_undecided_keeps_the_plain_choice_and_says_what_could_not_be_seen():
    errors = {"separate": 1, "2 of 2 shared": 1, "1 of 2 shared": 1, "0 of 2 shared": 1}
    found = share(errors, noise=0.2, seed=3)
    first = found.answer[0]
    last = found.tables[0][2][-1][0]
    # the last row of its own table is no answer
    shared = {"2": "Share all 2 layers", "1": "Share 1 of 2 layers", "0": "Share 0 of 2 layers"}
    assert not first.startswith(shared.get(last[0], "-"))
    assert "the data do not decide between 3 split points, differences under " in first


@pytest.mark.parametrize("seed", range(8))
def test_the_last_row_is_never_the_answer(seed):
    errors = {"separate": 1, "2 of 2 shared": 1.02, "1 of 2 shared": 1, "0 of 2 shared": 1}
    report = share(errors, noise=0.1, seed=seed)
    choices = [row for row in report.tables[0][2] if row[0] != "separate"]
    assert report.json["recommended"] != choices[-1][0]


def test_separate_models_that_beat_all_split_points_are_named():
    errors = {"separate": 0.5, "2 of 2 shared": 1, "1 of 2 shared": 1, "0 of 2 shared": 1}
    report = share(errors)
    assert report.answer[-1].startswith("But separate models are ")
    assert report.answer[-1].endswith("better than that: see jointrain compare.")


def test_equal_groupings_take_the_cheapest_one():
    together, apart = "together", "separate"
    recipes = {
        together: Recipe(partition=[["a", "b"]]),
        apart: Recipe(partition=[["a"], ["b"]]),
    }
    found = candidates(
        {apart: 1, together: 1}, choices=[apart, together], reference=apart, noise=0.001,
        seconds={apart: 4.0, together: 1.0},
    )  # fmt: skip
    affinity = Affinity(("a", "b"), np.zeros((1, 2, 2)), "lookahead", np.full((2, 2), 90))
    report = report_groups(GroupResult(found, recipes, affinity))
    assert report.answer[0] == (
        "Train all targets together: beyond 1 % it makes no difference which of 2 groupings is "
        "taken; it costs a quarter of separate models."
    )
    assert report.flag == "--groups a,b"


def test_weights_that_are_shown_to_be_better_and_those_that_are_not():
    recipes = {
        "equal": Recipe(),
        "size": Recipe(weights="size"),
        "gradients": Recipe(weights="gradients"),
    }
    names = {"separate": 1.0, "equal": 1.0, "size": 0.6, "gradients": 1.1}
    found = candidates(names, choices=list(recipes), reference="equal")
    report = report_weights(WeighResult(found, recipes, False))
    assert report.answer[0].startswith(
        "Weigh size: the best of 3 weightings, 41 % better than equal"
    )
    assert report.flag == "--weights size"
    found = candidates(names | {"size": 1.0}, choices=list(recipes), reference="equal", noise=0.1)
    report = report_weights(WeighResult(found, recipes, False))
    assert "the data do not decide between 3 weightings" in report.answer[0]
    assert report.flag in ("--weights equal", "--weights size")
