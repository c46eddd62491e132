"""The answers of weigh, group and share follow from their own tables."""

from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from jointrain import Recipe, Task
from jointrain.metrics import Metric
from jointrain.reports import (
    report_groups,
    report_shared_depth,
    report_weights,
    search_figures,
)
from jointrain.reports.page._search_figures import search_sections
from jointrain.studies import Measured
from jointrain.studies.searches import Affinity, Candidates, GroupResult, ShareResult, WeighResult

TASKS = (Task.regression("a"), Task.regression("b"))
DEPTHS = {"2 of 2 shared": 2, "1 of 2 shared": 1, "0 of 2 shared": 0}


def candidates(errors, *, choices, reference, work=None, noise=0.02, seed=0):
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
        work=work or dict.fromkeys(errors, 1.0),
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
        work={apart: 4.0, together: 1.0},
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


def by_fold(values):
    """Candidates with these errors of both tasks on 5 folds of 2 seeds; the first is plain."""
    rows = [
        {
            "recipe": name, "task": task.name, "metric": metric.name, "fold": fold, "seed": seed,
            "value": value + 0.003 * seed, "train_rows": 80, "test_rows": 20,
        }
        for name, errors in values.items()
        for task in TASKS
        for metric in task.metrics
        for seed in range(2)
        for fold, value in enumerate(errors)
    ]  # fmt: skip
    names = tuple(values)
    plain = candidates(dict.fromkeys(names, 1.0), choices=names, reference=names[0])
    measured = replace(plain.measured, table=pl.DataFrame(rows))
    return replace(plain, measured=measured, baseline=names[0])


def weighed(found):
    recipes = {"equal": Recipe(), **{n: Recipe(weights="size") for n in found.names[1:]}}
    return report_weights(WeighResult(found, recipes, False)).answer


def test_a_choice_that_makes_things_worse_is_said_once_with_its_figure():
    # each weighting fails on one fold, and is the best on all others: it is chosen where it fails
    errors = {"equal": [1.0] * 5}
    for fold in range(5):
        errors[f"search {fold}"] = [
            1.3 + 0.02 * fold if other == fold else 0.9 for other in range(5)
        ]
    errors["much worse"] = [2.0] * 5  # so that the plain choice does not come last
    answer = weighed(by_fold(errors))
    assert "choosing among 7 weightings by these figures is " in answer[0]
    assert sum(sentence.count("% worse") for sentence in answer) == 1
    assert answer[1].endswith("may owe its place to chance.")


def test_the_plain_choice_that_is_always_the_best_is_not_called_no_different():
    answer = weighed(by_fold({"equal": [1.0] * 5, "search 0": [1.3, 1.2, 1.4, 1.3, 1.2]}))
    assert answer == [
        "Keep equal weights: none of 2 weightings is better, whichever fold is left out."
    ]


def test_a_first_row_that_is_the_plain_choice_is_not_compared_with_itself():
    together, apart = "together", "separate"
    recipes = {
        apart: Recipe(partition=[["a"], ["b"]]),
        together: Recipe(partition=[["a", "b"]]),
    }
    found = by_fold({apart: [1.0] * 5, together: [1.0, 0.9, 1.4, 1.0, 1.2]})
    found = replace(found, work={apart: 4.0, together: 1.0})
    affinity = Affinity(("a", "b"), np.zeros((1, 2, 2)), "lookahead", np.full((2, 2), 90))
    answer = report_groups(GroupResult(found, recipes, affinity)).answer
    assert answer[:2] == [
        "Train all targets together: it is not shown to be worse; it costs a quarter of separate "
        "models.",
        "The first row of the table (separate models) may owe its place to chance.",
    ]
    assert "0 % better" not in " ".join(answer)


def test_the_best_choice_below_separate_models_is_not_called_the_first_row():
    errors = {"equal": [1.0] * 5, "search 0": [1.0, 0.9, 1.3, 0.7, 1.05], "search 1": [1.2] * 5}
    assert "The first row of the table (" in weighed(by_fold(errors))[1]
    found = by_fold(errors | {"separate": [0.9] * 5})
    found = replace(found, baseline="separate", choices=tuple(errors))
    recipes = {name: Recipe() for name in errors}
    answer = report_weights(WeighResult(found, recipes, False)).answer
    assert "The best of the weightings (" in answer[1]


def test_page_and_json_have_what_the_answer_recommends():
    errors = {"separate": 1, "2 of 2 shared": 1, "1 of 2 shared": 0.9, "0 of 2 shared": 1.5}
    found = candidates(errors, choices=DEPTHS, reference="2 of 2 shared", noise=0.3)
    report = report_shared_depth(ShareResult(found, DEPTHS))
    assert found.chosen != found.recommended == "2 of 2 shared"
    assert report.json["shared_depth"] == 2
    recipes = {"equal": Recipe(), "size": Recipe(weights="size"), "bad": Recipe(weights="size")}
    errors = {"separate": 1, "equal": 1, "size": 0.9, "bad": 1.5}
    weights = candidates(errors, choices=recipes, reference="equal", noise=0.3)
    assert weights.chosen != weights.recommended == "equal"
    assert report_weights(WeighResult(weights, recipes, False)).json["weights"] == "equal"
    partitions = {
        "separate": Recipe(partition=[["a"], ["b"]]),
        "together": Recipe(partition=[["a", "b"]]),
    }
    groups = candidates(
        {"separate": 1, "together": 0.7}, choices=partitions, reference="separate", noise=0.5
    )
    assert groups.chosen != groups.recommended == "separate"
    affinity = Affinity(("a", "b"), np.zeros((1, 2, 2)), "lookahead", np.full((2, 2), 90))
    report = report_groups(GroupResult(groups, partitions, affinity))
    assert report.flag == "--groups 'a;b'"
    assert report.json["groups"] == [("a",), ("b",)]


def test_a_choice_that_gains_nothing_is_not_called_no_difference_where_one_is_bad():
    recipes = {"equal": Recipe(), "size": Recipe(weights="size"), "bad": Recipe(weights="size")}
    errors = {"separate": 1, "equal": 1, "size": 1, "bad": 1.44}
    found = candidates(errors, choices=recipes, reference="equal", noise=0.002)
    assert report_weights(WeighResult(found, recipes, False)).answer[0] == (
        "Keep equal weights: choosing the best of 3 weightings gains nothing beyond 1 %."
    )


@pytest.mark.parametrize(
    ("work", "said"),
    [
        (1.0, " and costs no less."),
        (1.05, " and costs about as much."),
        (1.97, ", though this costs 2 times as much."),
    ],
)
def test_what_a_plain_choice_that_comes_last_costs_is_said(work, said):
    errors = {"separate": 1, "2 of 2 shared": 1.02, "1 of 2 shared": 1, "0 of 2 shared": 1}
    dear = {"separate": 1.0, "2 of 2 shared": 1.0, "1 of 2 shared": work, "0 of 2 shared": work}
    answer = share(errors, noise=0.1, seed=5, work=dear).answer[0]
    assert answer.endswith(f"; sharing all 2, the plain choice, comes last of them{said}")


def test_a_tiny_cost_is_that_of_the_plain_choice():
    recipes = {
        "together": Recipe(partition=[["a", "b"]]),
        "separate": Recipe(partition=[["a"], ["b"]]),
    }
    found = candidates(
        {"separate": 1, "together": 1}, choices=recipes, reference="separate", noise=0.001,
        work={"separate": 20.0, "together": 1.0},
    )  # fmt: skip
    affinity = Affinity(("a", "b"), np.zeros((1, 2, 2)), "lookahead", np.full((2, 2), 90))
    answer = report_groups(GroupResult(found, recipes, affinity)).answer[0]
    assert answer.endswith("; it costs 0.05 times as much as separate models.")


def rare():
    """Equal and other weights of a target with rare labels, by average precision, and of b."""
    precision = Metric(
        "AP", lambda p, t: 0.0, higher_is_better=True, lowest=0, highest=1, percent_above=0.1
    )
    tasks = (replace(Task.binary("a"), metrics=(precision,)), TASKS[1])
    found = candidates(
        {"separate": 1, "equal": 1, "size": 0.9}, choices=["equal", "size"], reference="equal"
    )
    low = pl.col("value") * 0.03
    table = found.table.filter(pl.col("metric") == TASKS[1].primary_metric.name).with_columns(
        value=pl.when(pl.col("task") == "a").then(low).otherwise("value"),
        metric=pl.when(pl.col("task") == "a").then(pl.lit("AP")).otherwise("metric"),
    )
    return replace(found, measured=replace(found.measured, tasks=tasks, table=table))


def test_differences_are_no_percentages_and_what_delta_m_leaves_out_is_named():
    recipes = {"equal": Recipe(), "size": Recipe(weights="size")}
    found = rare()
    assert found.units == {"a": "difference", "b": "percent"}
    report = report_weights(WeighResult(found, recipes, True))
    front = next(rows for title, _, rows in report.tables if title.startswith("Pareto"))
    assert [cell.endswith(" %") for cell in front[0][1:]] == [False, True, True]
    assert "against separate in percent, without a, positive is better" in report.notes[0]
    assert "(a not counted)" in report.answer[0]
    assert report.json["delta_m_left_out"] == ["a"]
    size = next(one for one in report.json["candidates"] if one["name"] == "size")
    assert size["change_percent"]["a"] is None
    assert size["change_difference"] == {"a": pytest.approx(-0.003, abs=0.001)}


def test_the_page_of_a_search_gives_differences_as_such():
    figures = search_figures(
        report_weights(WeighResult(rare(), {"equal": Recipe(), "size": Recipe()}, False)), "which?"
    )
    sections = {section.key: section for section in search_sections(figures)}
    # one target alone has changes in percent
    assert sections["front"].missing
    bars_of = sections["tried"].figures[0].table
    assert all(text.endswith(" %") for _, text in bars_of.rows)
