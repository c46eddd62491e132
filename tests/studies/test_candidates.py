"""Choosing among candidates: no luck of the choice in the verdict, budgets that are kept."""

from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from jointrain import InvalidInputError, Study
from jointrain.studies import Candidates
from jointrain.studies._candidates import Evaluator
from jointrain.task import Task

from ._tables import QUICK, mixed_table


def candidates(values: dict[str, np.ndarray], folds: int = 5, **more) -> Candidates:
    """Return candidates of one regression task, RMSE [folds * seeds] each, seed after seed."""
    rows = [
        {
            "recipe": name, "task": "y", "metric": "RMSE", "fold": i % folds, "seed": i // folds,
            "value": float(value), "train_rows": 80, "test_rows": 20,
        }
        for name, found in values.items()
        for i, value in enumerate(found)
    ]  # fmt: skip
    names = tuple(values)
    settings = {"baseline": names[0], "reference": names[0], **more}
    return Candidates((Task.regression("y"),), names, names, pl.DataFrame(rows), **settings)


def test_the_best_of_many_equals_is_rarely_called_better():
    generator = np.random.default_rng(0)
    helps, flattered = 0, 0
    for _ in range(100):
        found = candidates({f"c{i}": 1 + 0.1 * generator.normal(size=10) for i in range(20)})
        helps += found.gain_of_choosing.verdict == "better"
        flattered += found.score(found.chosen) > 1
    # looked at on the folds that chose it, the best of 20 equals is nearly always 'better'
    assert flattered > 90
    assert helps <= 7


def test_a_candidate_that_is_better_is_found():
    generator = np.random.default_rng(0)
    values = {f"c{i}": 1 + 0.05 * generator.normal(size=10) for i in range(10)}
    values["c7"] = 0.7 + 0.05 * generator.normal(size=10)
    found = candidates(values)
    assert found.chosen == found.recommended == "c7"
    assert found.gain_of_choosing.change == pytest.approx(30, abs=6)
    assert found.gain_of_choosing_by_task["y"].verdict == "better"


def test_each_fold_is_judged_by_the_others_of_its_seed():
    found = candidates({"a": np.ones(3), "b": np.array([0.0, 0.9, 0.9])}, folds=3)
    # on each fold, b is the better one of the other two
    np.testing.assert_allclose(found.gains_of_choosing["y"], [100, 10, 10])
    turned = candidates({"a": np.ones(3), "b": np.array([0.5, 1.2, 1.2])}, folds=3)
    # without fold 0, b is worse: a is taken there, and b on the folds where it is worse
    np.testing.assert_allclose(turned.gains_of_choosing["y"], [0, -20, -20])


def test_of_equals_the_first_is_chosen_and_undefined_values_do_not_count():
    found = candidates({"a": np.ones(4), "b": np.ones(4)}, folds=2)
    assert found.chosen == "a"
    assert found.gain_of_choosing.verdict == "undecided"
    holes = candidates({"a": np.ones(4), "b": np.array([np.nan, 0.5, 0.5, np.nan])}, folds=2)
    assert holes.chosen == "b"
    nothing = candidates({"a": np.ones(4), "b": np.full(4, np.nan)}, folds=2)
    assert nothing.chosen == "a"


def two_tasks(values: dict[str, np.ndarray], undefined: np.ndarray, noise: float) -> Candidates:
    """Return candidates of two tasks, [10] each for five folds and two seeds; one has gaps."""
    first = candidates(values)
    random = np.random.default_rng(1)
    second = first.table.with_columns(
        task=pl.lit("z"), value=1 + noise * random.normal(size=len(first.table))
    )
    gaps = pl.Series(np.tile(undefined, len(values)))
    second = second.with_columns(value=pl.when(gaps).then(np.nan).otherwise("value"))
    tasks = (Task.regression("y"), Task.regression("z"))
    return replace(first, tasks=tasks, table=pl.concat([first.table, second]))


def test_a_task_that_can_hardly_be_scored_has_no_say():
    values = {"a": np.ones(10), "b": np.full(10, 0.9) + 0.001 * np.arange(10)}
    once = np.arange(10) != 3
    found = two_tasks(values, once, 100.0)
    assert found.score("b") == pytest.approx(100 * (1 - values["b"].mean()))
    assert found.gain_of_choosing.left_out == ("z",)
    assert found.recommended == "b"
    assert found.gain_of_choosing_by_task["z"].defined == 1


def test_a_noisy_task_with_gaps_makes_the_gain_unsure():
    values = {"a": np.ones(10), "b": np.full(10, 0.9) + 0.001 * np.arange(10)}
    gaps = np.isin(np.arange(10) % 5, (0, 1))
    found = two_tasks(values, gaps, 0.5)
    assert found.gain_of_choosing.left_out == ()
    assert found.gain_of_choosing.defined == 6
    assert found.gain_of_choosing.verdict == "undecided"
    assert found.gain_of_choosing.smallest_visible > 10


def test_candidates_are_judged_together():
    random = np.random.default_rng(0)
    found = candidates({name: 1 + 0.05 * random.normal(size=10) for name in "abc"})
    tasks, overall = found.judge(["b", "c"])
    alone = found.judge(["b"])[1]["b"]
    assert overall["b"].change == alone.change == tasks["b"]["y"].change
    assert overall["b"].smallest_visible > alone.smallest_visible
    assert found.judge(["b"], "c")[1]["b"].change != alone.change


def test_unknown_candidates_are_refused():
    with pytest.raises(InvalidInputError, match="did you mean 'equal'"):
        candidates({"equal": np.ones(2), "size": np.ones(2)}).changes("equl")


def test_values_are_those_of_a_study():
    table = mixed_table()
    recipes = [replace(QUICK, name="one"), replace(QUICK, name="two", weights={"price": 0.2})]
    evaluator = Evaluator(table, folds=2, seeds=2, workers=1)
    evaluator.run(recipes[:1])
    evaluator.run(recipes[1:])
    found = evaluator.candidates("one", "one")
    study = Study(table, [replace(QUICK, name="separate"), recipes[1]], (), folds=2, seeds=2)
    result = study.run(workers=1)
    for name, same in (("one", "separate"), ("two", "two")):
        expected = result.values(same, "price", "RMSE")
        np.testing.assert_allclose(found.values(name, "price", "RMSE"), expected, rtol=1e-4)


def test_a_budget_buys_seeds_and_recipes():
    evaluator = Evaluator(mixed_table(), folds=2, seeds=3, workers=1, budget=1000)
    evaluator.run_first([QUICK], "one recipe")
    assert evaluator.candidates("joint", "joint").table["seed"].n_unique() == 3
    assert evaluator.affordable(8) == 8
    evaluator.budget = 1e-6
    assert evaluator.affordable(8) == 0


def test_a_budget_that_is_too_small_says_what_it_would_need():
    evaluator = Evaluator(mixed_table(), folds=2, seeds=3, workers=1, budget=1e-6)
    with pytest.raises(
        InvalidInputError, match=r"too small: one recipe on 2 folds took .* give \d+ s or more"
    ):
        evaluator.run_first([QUICK], "one recipe")


@pytest.mark.parametrize("budget", [0, -1.0, float("nan")])
def test_impossible_budgets_are_refused(budget):
    with pytest.raises(InvalidInputError, match="budget must be a positive number of seconds"):
        Evaluator(mixed_table(), folds=2, seeds=1, budget=budget)
