"""Reports of searches say what was measured, and what can't be read."""

from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from jointrain import Recipe, Task
from jointrain.experiments import SEPARATE
from jointrain.reports import report_groups
from jointrain.studies import Cut, Measured
from jointrain.studies.searches import Affinity, Candidates, GroupResult

TASKS = ("a", "b", "c")


@pytest.fixture
def found():
    """A search for groups of three tasks, of which a and b share 10 % of their rows."""
    random = np.random.default_rng(0)
    recipes = {
        SEPARATE: Recipe(name=SEPARATE, partition=tuple((task,) for task in TASKS)),
        "together": Recipe(name="together", partition=(TASKS,)),
    }
    rows = [
        {
            "recipe": name, "task": task, "metric": metric, "fold": fold, "seed": 0,
            "value": 1 + 0.01 * random.normal(), "train_rows": 80, "test_rows": 20,
        }
        for name in recipes
        for task in TASKS
        for metric in ("RMSE", "R2")
        for fold in range(5)
    ]  # fmt: skip
    names = tuple(recipes)
    measured = Measured(tuple(map(Task.regression, TASKS)), names, pl.DataFrame(rows))
    candidates = Candidates(measured, names, SEPARATE, SEPARATE)
    shared = np.array([[55, 10, 40], [10, 55, 50], [40, 50, 95]])
    affinity = Affinity(TASKS, np.full((1, 3, 3), 0.015), "gradient", shared)
    return GroupResult(candidates, recipes, affinity)


def test_affinities_are_printed_with_the_rows_that_two_targets_share(found):
    report = report_groups(found)
    tables = {title: rows for title, _, rows in report.tables}
    affinities = tables["Affinity, in % of the loss a step"]
    assert affinities[0] == ["a", "", "too few shared rows", "+1.5"]
    assert affinities[2] == ["c", "+1.5", "+1.5", ""]
    assert tables["Shared rows"][0] == ["a", "55 (100 %)", "10 (10 %)", "40 (36 %)"]
    assert "Affinities of a and b are not read: they share under 30 %" in " ".join(report.answer)
    assert report.json["affinity"]["shared_rows"][0] == [55, 10, 40]
    assert report.json["affinity"]["overlap"][0] == pytest.approx([1, 0.1, 40 / 110])
    assert report.json["affinity"]["readable"][0] == [True, False, True]


def test_where_all_rows_are_shared_nothing_is_said_of_them(found):
    whole = replace(found.affinity, shared=np.full((3, 3), 90))
    report = report_groups(replace(found, affinity=whole))
    assert "Shared rows" not in [title for title, _, _ in report.tables]
    assert "not read" not in " ".join(report.answer)


def test_where_nothing_is_shared_it_is_said_of_all_targets(found):
    apart = replace(found.affinity, shared=np.diag([30, 30, 30]))
    assert "Affinities of any two targets are not read" in " ".join(
        report_groups(replace(found, affinity=apart)).answer
    )


def test_what_a_budget_cut_is_said_and_one_fold_is_a_first_look(found):
    one = found.candidates.table.filter(pl.col("fold") == 0)
    cut = "budget of 30 s: 1 of 5 folds was measured"
    measured = replace(found.candidates.measured, table=one)
    candidates = replace(
        found.candidates, measured=measured, notes=(cut,), cuts=(Cut("folds", cut),)
    )
    report = report_groups(replace(found, candidates=candidates))
    assert report.json["notes"] == [cut]
    assert "- Budget of 30 s: 1 of 5 folds was measured." in report.markdown("which?").splitlines()
    assert ": too few folds to decide between 2 groupings" in report.answer[0]
    assert report.answer[1] == "These figures are a first look: give a larger --budget."
    assert report_groups(found).json["notes"] == []


def test_what_failed_without_a_budget_asks_for_no_larger_one(found):
    one = found.candidates.table.filter(pl.col("fold") == 0)
    measured = replace(found.candidates.measured, table=one)
    failed = "recipe own failed and was left out: ValueError"
    candidates = replace(found.candidates, measured=measured, notes=(failed,))
    report = report_groups(replace(found, candidates=candidates))
    assert report.answer[1] == "These figures are a first look: give more --folds."
