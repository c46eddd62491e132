"""Experiments of one's own loop."""

import math
import os

import numpy as np
import pytest
import torch

from jointrain import InvalidInputError, Recipe, Study, Task
from jointrain.experiments import Experiment, named_recipes
from jointrain.reports import answer, render_page, study_figures
from jointrain.studies import KeptRuns, run_within_budget
from jointrain.studies.searches import search_groups, search_shared_depth, search_weights

TASKS = [Task.regression("a"), Task.binary("b")]


def figures(name, seed, split=0):
    """Return figures that hang on the arguments alone."""
    noise = np.random.default_rng([seed, split or 0, len(name)]).normal(size=2)
    better = name != "separate"
    return {
        "a": {"RMSE": 2 - 0.5 * better + 0.05 * noise[0]},
        "b": {"ROC-AUC": 0.8 + 2e-4 * noise[1]},
    }


def loop(recipe, seed, split):
    return figures(recipe if isinstance(recipe, str) else recipe["name"], seed, split)


def test_a_study_of_a_loop():
    experiment = Experiment.of(run=loop, tasks=TASKS, splits=5)
    found = Study(experiment, ["separate", {"name": "joint", "rate": 0.1}], seeds=2).run(workers=1)
    assert found.verdict() == {"a": "better", "b": "equivalent", "Delta-m": "better"}
    for index, (seed, split) in enumerate((s, f) for s in (0, 1) for f in range(5)):
        assert (
            found.values("joint", "a", "RMSE")[index] == figures("joint", seed, split)["a"]["RMSE"]
        )
    assert "12" in answer(found)[0]  # a changes by 25 %, b by nothing


def test_recipes_of_other_settings_have_other_keys():
    experiment = Experiment.of(run=loop, tasks=TASKS)
    study = Study(experiment, ["separate", {"name": "joint", "rate": 0.1}])
    other = Study(experiment, ["separate", {"name": "joint", "rate": 0.2}])
    folds = experiment.folds_of(0)
    keys = [
        [job.key for job in one.experiment.jobs(folds, one.recipes, (), one.recipes[0])]
        for one in (study, other)
    ]
    assert keys[0][0] == keys[1][0]
    assert keys[0][1] != keys[1][1]


def test_recipes_that_are_recipes_reach_the_loop_as_they_are():
    seen = []

    def run(recipe, seed, split):
        seen.append((recipe.name, recipe.epochs, seed, split))
        return figures(recipe.name, seed)

    recipes = named_recipes(["separate", "joint"], Recipe(epochs=7))
    Study(Experiment.of(run=run, tasks=TASKS, splits=["x"]), recipes, seeds=2).run(workers=1)
    assert sorted(seen) == [(n, 7, s, "x") for n in ("joint", "separate") for s in (0, 1)]


def test_row_numbers_tell_the_statistics_how_large_the_parts_are():
    parts = [(list(range(20, 100)), list(range(20))), (range(80), range(80, 100))]
    experiment = Experiment.of(run=lambda *_: figures("x", 0), tasks=TASKS, splits=parts)
    found = Study(experiment, ["separate"], seeds=1).run(workers=1)
    assert set(found.table["test_rows"]) == {20}
    assert set(found.table["train_rows"]) == {80}
    assert experiment.row_count == 100


def test_the_recipe_is_chosen_by_validation_figures_where_there_are_some():
    def run(recipe, seed, split):
        test = figures(recipe, seed)
        held_out = figures("separate" if recipe == "good on test" else "joint", seed)
        return test, held_out, {"parameters": 10.0 if recipe == "separate" else 30}

    experiment = Experiment.of(run=run, tasks=TASKS)
    names = ["good on test", "separate"]
    found = Study(experiment, names, seeds=4).run(workers=1)
    assert found.verdict("good on test")["a"] == "better"
    assert found.best().name == "separate"
    assert found.costs()["parameters"].to_list() == [30, 10]


def test_a_call_that_raises_leaves_the_other_recipes():
    def run(recipe, seed, split):
        if recipe == "broken" and seed == 1:
            raise ZeroDivisionError("division by zero")
        return figures(recipe, seed)

    experiment = Experiment.of(run=run, tasks=TASKS)
    found = Study(experiment, ["separate", "joint", "broken"], seeds=3).run(workers=1)
    assert found.failed == {"broken": "ZeroDivisionError: division by zero"}
    assert found.recipe_names == ["separate", "joint"]


good = {"a": {"RMSE": 1.0}, "b": {"ROC-AUC": 0.5}}


@pytest.mark.parametrize(
    ("returned", "message"),
    [
        (None, "must return {task: {metric: value}}, got NoneType"),
        ({"a": {"RMSE": 1.0}}, "no ROC-AUC of task 'b'"),
        ({"a": {"rmse": 1.0}, "b": {"ROC-AUC": 0.5}}, "no RMSE of task 'a'"),
        ({"a": {"RMSE": "1"}, "b": {"ROC-AUC": 0.5}}, "returned '1' as RMSE of task 'a'"),
        ({"c": {}}, "figures of 'c', which is no task"),
        ((1, 2, 3, 4), "tuple of test figures, validation figures"),
        (good | {"b": {"ROC-AUC": 80.0}}, r"80 as ROC-AUC of task 'b', .* 0 and 1; give shares"),
        (good | {"a": {"RMSE": -1}}, "returned -1 as RMSE of task 'a', which lies between 0 and"),
        ((good, good, {"work": "much"}), "returned 'much' as the cost 'work'"),
        ((good, good, 3.0), "must return costs as {name: number}, got 3.0"),
    ],
)
def test_figures_that_are_none(returned, message):
    experiment = Experiment.of(run=lambda *_: returned, tasks=TASKS)
    with pytest.raises(InvalidInputError, match=message):
        Study(experiment, ["separate", "joint"], seeds=1).run(workers=1)


def test_a_loop_that_ends_the_program_is_an_error_like_others():
    def run(recipe, seed, split):
        if recipe == "joint":
            raise SystemExit("usage: train.py")
        return figures(recipe, seed)

    found = Study(Experiment.of(run=run, tasks=TASKS), ["separate", "joint"]).run(workers=1)
    assert found.failed == {"joint": "SystemExit: usage: train.py"}


def test_a_recipe_that_diverges_is_named():
    def run(recipe, seed, split):
        diverges = recipe == "joint" and split == 1
        return figures(recipe, seed, split) | ({"a": {"RMSE": float("nan")}} if diverges else {})

    found = Study(Experiment.of(run=run, tasks=TASKS, splits=4), ["separate", "joint"], seeds=2)
    (note,) = found.run(workers=1).notes
    assert note.startswith("RMSE of a is undefined on split 1 of seed 0, by joint, and in 1 more")


def test_rows_that_are_not_known_are_not_counted():
    def run(recipe, seed, split):
        noise = np.random.default_rng([seed, split, len(recipe)]).normal()
        return {"a": {"RMSE": 2 + 0.1 * noise}, "b": {"ROC-AUC": 0.8 + 0.01 * noise}}

    study = Study(Experiment.of(run=run, tasks=TASKS, splits=4), ["separate", "joint"], seeds=1)
    first, second = answer(study.run(workers=1))
    assert first.endswith("could not be seen with four splits.")
    assert second == "Stay apart, and where such a difference matters add seeds or rows."


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"run": 3}, "must be called with recipe, seed and split"),
        ({"tasks": []}, "at least one task"),
        ({"splits": []}, "`splits` is empty"),
        ({"tasks": [*TASKS, TASKS[0]]}, "two tasks are named 'a'"),
    ],
)
def test_loops_that_can_not_be(arguments, message):
    with pytest.raises(InvalidInputError, match=message):
        Experiment.of(**{"run": loop, "tasks": TASKS} | arguments)
    with pytest.raises(InvalidInputError, match="is a name, a mapping or an object with"):
        Study(Experiment.of(run=loop, tasks=TASKS), [3])


def by_weights(recipe, seed, split):
    """Return figures that are best where the weight of a is 4 times that of b."""
    weights = {} if isinstance(recipe.weights, str) else dict(recipe.weights)
    ratio = np.log(weights.get("a", 1.0) / weights.get("b", 1.0)) - np.log(4)
    noise = np.random.default_rng([seed, split]).normal(size=2) * 1e-3
    return {"a": {"RMSE": 2 + abs(ratio) + noise[0]}, "b": {"ROC-AUC": 0.8 + noise[1]}}


def test_weights_are_searched_with_a_loop():
    experiment = Experiment.of(run=by_weights, tasks=TASKS, splits=4)
    found = search_weights(experiment, trials=16, seeds=1, workers=1)
    weights = found.weights()
    assert 2 < weights["a"] / weights["b"] < 8
    assert not {"difficulty", "gradients", "size"} & set(found.candidates.names)


def test_searches_that_ask_for_more_than_figures():
    experiment = Experiment.of(run=by_weights, tasks=TASKS, splits=3)
    with pytest.raises(InvalidInputError, match="trained by a loop of one's own"):
        search_groups(experiment, seeds=1, workers=1)
    with pytest.raises(InvalidInputError, match="can't be asked of a loop"):
        search_shared_depth(experiment)
    with pytest.raises(InvalidInputError, match="a search would choose by the test rows"):
        search_weights(Experiment.of(run=by_weights, tasks=TASKS))


@pytest.mark.parametrize("splits", [None, 3])
def test_a_budget_pays_for_seeds_of_a_loop(splits):
    study = Study(
        Experiment.of(run=loop, tasks=TASKS, splits=splits), ["separate", "joint"], seeds=3
    )
    found = run_within_budget(study, 60, workers=1)
    assert found.study.seeds == 3
    assert found.notes == ()
    whole = study.run(workers=1)
    assert found.table.equals(whole.table)


def test_a_loop_that_failed_is_called_again_with_the_same_store(tmp_path, monkeypatch):
    def run(recipe, seed, split):
        if recipe == "joint" and split == 1 and os.environ.get("MACHINE_IS_FULL"):
            raise MemoryError("no room")
        return figures(recipe, seed, split)

    study = Study(Experiment.of(run=run, tasks=TASKS, splits=3), ["separate", "joint"], seeds=1)
    monkeypatch.setenv("MACHINE_IS_FULL", "1")
    assert list(study.run(workers=1, store=tmp_path).failed) == ["joint"]
    monkeypatch.delenv("MACHINE_IS_FULL")
    for _ in range(2):
        assert not study.run(workers=1, store=tmp_path).failed


def test_a_loop_has_one_thread_in_this_process_as_in_others():
    seen = []

    def run(recipe, seed, split):
        seen.append(torch.get_num_threads())
        return figures(recipe, seed)

    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        Study(Experiment.of(run=run, tasks=TASKS), ["separate"], seeds=1).run(workers=1)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
    assert seen == [1]


@pytest.mark.parametrize("name", ["work", "parameters"])
@pytest.mark.parametrize("value", [-1.0, math.nan, math.inf])
def test_costs_that_can_not_be_are_refused_where_they_are_returned(name, value):
    def run(recipe, seed, split):
        return {"y": {"RMSE": 1.0}}, None, {name: value}

    experiment = Experiment.of(run=run, tasks=[Task.regression("y")], splits=3)
    with pytest.raises(InvalidInputError, match=f"as the cost '{name}' of recipe 'separate'"):
        Study(experiment, ["separate", "joint"], seeds=1).run(workers=1)


def test_splits_may_be_a_whole_number_of_numpy():
    def of(splits):
        return Experiment.of(run=print, tasks=[Task.regression("y")], splits=splits)

    assert of(np.int64(5)).folds == 5
    for wrong in (True, 2.5, np.float64(3)):
        with pytest.raises(InvalidInputError, match="`splits` must be a whole number"):
            of(wrong)


@pytest.mark.parametrize("settings", [{("x", 1): 2}, {"x": {("y", 1): 2}}])
def test_settings_that_are_not_named_by_a_text_are_refused(settings):
    experiment = Experiment.of(run=print, tasks=[Task.regression("y")])
    with pytest.raises(InvalidInputError, match="settings of recipe 'a' can't be told apart"):
        Study(experiment, ["separate", {"name": "a"} | settings])


def test_runs_that_are_kept_tell_by_which_metric_to_judge(tmp_path):
    def run(recipe, seed, split):
        return {"b": {"log-loss": 0.5 + 0.01 * split, "ROC-AUC": 0.8 + 0.01 * split}}

    experiment = Experiment.of(run=run, tasks=[Task.binary("b")], splits=3)
    Study(experiment, ["separate", "joint"]).run(workers=1, store=tmp_path / "kept")
    assert set(KeptRuns.of_store(tmp_path / "kept").table["metric"]) == {"ROC-AUC"}


def test_two_splits_ask_for_more_splits_of_the_experiment():
    study = Study(Experiment.of(run=loop, tasks=TASKS, splits=2), ["separate", "joint"])
    first = answer(study.run(workers=1))[0]
    assert first == (
        "Two folds give no interval: these figures are a first look. Give the experiment five "
        "splits."
    )


def test_small_differences_that_could_not_be_seen_keep_two_digits():
    def run(recipe, seed, split):
        noise = np.random.default_rng([seed, split, len(recipe)]).normal(scale=0.004)
        return {name: {"R2": 0.01 + noise} for name in "ab"}

    tasks = [Task.regression(name).judged_by("R2") for name in "ab"]
    study = Study(Experiment.of(run=run, tasks=tasks, splits=5), ["separate", "joint"], seeds=2)
    found = study.run(workers=1)
    change = found.delta_m["joint"]
    assert (change.unit, change.verdict) == ("difference", "undecided")
    seen = f"differences under {change.smallest_visible:.2g} could not be seen"
    assert seen in answer(found)[0]
    assert 0 < change.smallest_visible < 0.1


def test_a_study_of_separate_alone_is_not_called_unfinished():
    study = Study(Experiment.of(run=loop, tasks=TASKS, splits=3), ["separate"])
    page = render_page(study_figures(study.run(workers=1), "alone"))
    assert "before all runs are in" not in page
    assert "nothing else was measured to be compared with separate" in page
