"""Budgets: what is run is decided by its cost, and the answer comes in stages."""

import time

import numpy as np
import polars as pl
import pytest

from jointrain import InvalidInputError, Recipe, Study, SupervisedTable
from jointrain.studies import (
    FIRST_BASELINES,
    _budget,
    default_recipes,
    named_recipes,
    run_within_budget,
)
from jointrain.studies._budget import SHARE_OF_RECIPES, _interleaved, _Plan
from jointrain.studies._fold_runs import FoldJob
from jointrain.studies._study import Measurements

QUICK = Recipe(width=8, epochs=3)


def table(rows: int = 60) -> SupervisedTable:
    generator = np.random.default_rng(0)
    x = generator.normal(size=(rows, 2))
    frame = pl.DataFrame({"a": x[:, 0], "b": x[:, 1], "y1": x.sum(1), "y2": x[:, 0] * x[:, 1]})
    return SupervisedTable.prepare(frame, ["y1", "y2"])


def study(**changes) -> Study:
    settings = {"baselines": FIRST_BASELINES, "folds": 3, "seeds": 2} | changes
    return Study(table(), default_recipes(QUICK), **settings)


def plan(seconds: float, **costs: float) -> _Plan:
    made = _Plan(study(), seconds, 2, time.monotonic())
    made.costs = {name.replace("_", " "): cost for name, cost in costs.items()}
    return made


COSTS = {"separate": 2.0, "joint": 1.0, "constant": 0.0, "linear": 0.1, "extra_trees": 1.0}


def test_a_large_budget_runs_recipes_baselines_and_seeds():
    seen = []
    result = run_within_budget(
        study(folds=2),
        300,
        further=False,
        workers=1,
        on_answer=lambda answer, spent: seen.append((answer.recipe_names, spent)),
    )
    assert result.recipe_names == ["separate", "joint", "alternating", *FIRST_BASELINES]
    assert result.study.seeds == 2
    assert {result.runs(name) for name in result.recipe_names} == {4}
    assert all(recipe.ensemble == 8 for recipe in result.study.recipes)
    # the first answer does without alternation
    assert seen[0][0] == ["separate", "joint", *FIRST_BASELINES]
    assert [spent for _, spent in seen] == sorted(spent for _, spent in seen)


def test_a_budget_that_is_too_small_says_what_would_do():
    with pytest.raises(InvalidInputError, match=r"budget of 0\.001 s is too small .* give \d+ s"):
        run_within_budget(study(), 0.001, workers=1)


@pytest.mark.parametrize("workers", [1, 2])
def test_a_slow_study_gives_a_first_answer_of_two_folds_and_single_networks(workers, monkeypatch):
    monkeypatch.setattr(_budget, "FIRST_ANSWER_SECONDS", 0.0)
    seen = []
    run_within_budget(
        study(),
        300,
        further=False,
        workers=workers,
        on_answer=lambda result, _: seen.append(result),
    )
    runs = [{result.runs(name) for name in result.recipe_names} for result in seen]
    assert runs[:2] == [{2}, {3}]
    assert [result.study.recipes[0].ensemble for result in seen[:2]] == [1, 8]


def test_single_networks_of_the_first_folds_are_not_trained_again(monkeypatch):
    choose = _Plan.affordable_size
    monkeypatch.setattr(_Plan, "affordable_size", lambda *given: choose(*given) and (1, 3))
    runs, seen = [], []
    measure = Measurements.run

    def run(self, recipes, baselines, seeds, **settings):
        before = len(self._results)
        measure(self, recipes, baselines, seeds, **settings)
        runs.append(len(self._results) - before)

    monkeypatch.setattr(Measurements, "run", run)
    for workers in (1, 2):
        result = run_within_budget(study(seeds=1), 300, further=False, workers=workers)
        seen.append(result.table)
    # 2 recipes and 3 baselines on a fold with one worker, two folds with two; then the rest
    assert [runs[:2], runs[3:5]] == [[5, 10], [10, 5]]
    assert seen[0].equals(seen[1])


@pytest.mark.parametrize("second", [300, 200])
def test_a_stopped_study_goes_on_from_its_store(tmp_path, second, monkeypatch):
    place = tmp_path / "runs"
    expected = run_within_budget(study(), 300, further=False, workers=1, store=place)
    # a job that is run again would fail
    monkeypatch.setattr(FoldJob, "run", lambda job: 1 / 0)
    result = run_within_budget(study(), second, further=False, workers=1, store=place)
    assert result.table.equals(expected.table)


def test_ensembles_and_folds_shrink_with_the_budget():
    first = default_recipes(QUICK)[:2]
    sizes = [plan(seconds, **COSTS).affordable_size(first) for seconds in (400, 80, 30, 9)]
    assert sizes == [(8, 3), (4, 3), (2, 3), (1, 2)]


def test_an_ensemble_that_was_asked_for_is_not_exceeded():
    first = named_recipes(["separate", "joint"], Recipe(ensemble=3))
    assert plan(1e6, **COSTS).affordable_size(first) == (2, 3)


def test_what_is_too_dear_is_left_out_and_the_rest_goes_on():
    made = plan(40, **COSTS)
    dear, cheap = named_recipes(["balancer-upgrad", "weights-uncertainty"], QUICK)
    queue = [dear, cheap, "random forest"]
    batch = made.next_batch(queue)
    assert dear not in batch
    assert cheap in batch
    assert not queue or batch


def test_half_of_the_budget_is_kept_for_seeds_and_the_last_fit():
    made = plan(60, **COSTS)
    made.started -= SHARE_OF_RECIPES * 60 + 1
    assert made.next_batch(["random forest"]) == []
    assert made.affords(1.0)
    assert not made.affords(40.0)


def test_a_measured_cost_takes_the_place_of_the_guess():
    made = plan(60, **COSTS)
    recipe = named_recipes(["network-mmoe"], QUICK)[0]
    assert made.folds_seconds([recipe], 3) == pytest.approx(3 * 15 / 2)
    made.costs["network-mmoe"] = 4.0
    assert made.folds_seconds([recipe], 3) == pytest.approx(6.0)


def test_baselines_come_between_the_first_recipes():
    recipes = named_recipes(["joint", "alternating", "weights-size"], QUICK)
    assert _interleaved(recipes, ["x", "y"]) == [recipes[0], "x", recipes[1], "y", recipes[2]]
    assert _interleaved([], ["x", "y"]) == ["x", "y"]
