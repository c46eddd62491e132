"""Choosing among candidates: no luck of the choice in the verdict, budgets that are kept."""

from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from jointrain import InvalidInputError, Study
from jointrain.experiments import SEPARATE
from jointrain.studies._measured import Measured
from jointrain.studies._pace import Pace
from jointrain.studies.searches import Candidates
from jointrain.studies.searches._evaluator import Evaluator
from jointrain.tables import TableExperiment
from jointrain.tables._fold_runs import FoldJob
from jointrain.task import Task
from jointrain.training.sampling import Separate
from tests.studies._tables import QUICK, mixed_table


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
    measured = Measured((Task.regression("y"),), names, pl.DataFrame(rows))
    return Candidates(measured, names, **settings)


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
    table = pl.concat([first.table, second])
    return replace(first, measured=replace(first.measured, tasks=tasks, table=table))


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


@pytest.mark.parametrize("work", [{}, {"a": 9.0, "b": 1.0, "c": 1.0}])
def test_a_first_look_keeps_the_plain_choice(work):
    """The others are better, and cheaper, on the two folds that there are; with five they win."""
    few = {"a": np.ones(2), "b": np.array([0.5, 0.51]), "c": np.array([0.6, 0.61])}
    found = candidates(few, folds=2, work=work)
    assert found.first_look
    assert (found.chosen, found.recommended) == ("b", "a")
    random = np.random.default_rng(0)
    more = {name: v.mean() + 0.01 * random.normal(size=5) for name, v in few.items()}
    assert candidates(more, work=work).recommended == "b"


def test_which_of_equals_is_cheaper_is_counted_and_not_timed():
    values = {"a": np.ones(10), "b": np.ones(10), "c": np.ones(10)}
    work = {"a": 9.0, "b": 4.0, "c": 3.0}
    for seconds in ({"a": 9.0, "b": 1.0, "c": 2.0}, {"a": 1.0, "b": 9.0, "c": 9.0}):
        assert candidates(values, work=work, seconds=seconds).recommended == "c"


def test_a_slow_moment_of_the_machine_changes_nothing(monkeypatch):
    found = []
    for seed in range(2):
        hours = 3600 * np.random.default_rng(seed).random(10_000).cumsum()
        monkeypatch.setattr("time.perf_counter", iter(hours.tolist()).__next__)
        made = evaluator(seeds=1)
        made.run_first([replace(TWO[0], schedule=Separate()), TWO[1]], "two")
        found.append(made.candidates(SEPARATE, "two"))
        monkeypatch.undo()
    first, second = found
    assert first.seconds != second.seconds
    assert first.work == second.work
    assert 0 < first.work["two"] < first.work[SEPARATE]


TWO = [replace(QUICK, name=SEPARATE), replace(QUICK, name="two", weights={"price": 0.2})]


def evaluator(table=None, **changes) -> Evaluator:
    settings = {"seeds": 2, "workers": 1}
    experiment = TableExperiment(mixed_table() if table is None else table, 3)
    return Evaluator(experiment, **settings | changes)


def cells(made: Evaluator, name: str) -> np.ndarray:
    return made.candidates(SEPARATE, SEPARATE).values(name, "price", "RMSE")


def test_values_are_those_of_a_study():
    made = evaluator()
    made.run_first(TWO, "two")
    later = replace(QUICK, name="later", weights={"price": 3.0})
    assert made.run([later]) == ["later"]
    result = Study(mixed_table(), [*TWO, later], (), folds=3, seeds=2).run(workers=1)
    for name in (SEPARATE, "two", "later"):
        expected = result.values(name, "price", "RMSE")
        np.testing.assert_allclose(cells(made, name), expected, rtol=1e-4)
    assert made.candidates(SEPARATE, SEPARATE).notes == ()


def test_a_large_budget_cuts_nothing(here):
    made, free = evaluator(budget=1000), evaluator()
    for one in (made, free):
        one.run_first(TWO, "two")
        one.run([replace(QUICK, name="later")])
    assert made.affordable(8) == 8
    assert made.candidates(SEPARATE, SEPARATE).notes == ()
    for name in (SEPARATE, "two", "later"):
        np.testing.assert_allclose(cells(made, name), cells(free, name), rtol=1e-4)


@pytest.mark.parametrize("seconds", [1e-6, 1e-3])
def test_the_smallest_budget_has_an_answer_without_a_verdict(here, seconds):
    made = evaluator(budget=seconds)
    made.run_first([replace(one, epochs=40) for one in TWO], "two")
    assert made.affordable(8) == 0
    made.fewer_candidates(0, 8, "things")
    found = made.candidates(SEPARATE, "two")
    assert len(found.values("two", "price", "RMSE")) == 1
    assert np.isfinite(found.values("two", "price", "RMSE")).all()
    assert found.gain_of_choosing.verdict == "undecided"
    assert not np.isfinite(found.gain_of_choosing.low)
    for cut in (
        "networks were trained for 1 epoch of 40",
        "nothing larger was done in time",
        "1 of 3 folds was measured",
        "1 of 2 seeds was measured",
        "0 of 8 things were measured",
    ):
        assert any(note.startswith(f"budget of {seconds:g} s: {cut}") for note in found.notes)


def test_on_a_slow_machine_all_recipes_have_the_same_fewer_epochs_and_rows(here, monkeypatch):
    """The pace of the trial is taken for that of a machine a thousand times as slow."""
    monkeypatch.setattr(Pace, "seconds_together", lambda *_: 1e3)
    made = evaluator(mixed_table(600), budget=300, seeds=1)
    recipes = [replace(one, epochs=40) for one in TWO]
    made.run_first(recipes, "two")
    made.run([replace(recipes[1], name="later")])
    assert len(made.experiment.table.frame) == 400
    assert {recipe.epochs for recipe in made._measured.recipes} == {12}
    notes = made.candidates(SEPARATE, SEPARATE).notes
    assert notes == (
        "budget of 300 s: networks were trained for 12 epochs of 40",
        "budget of 300 s: a sample of 400 of 600 rows was used",
    )


def test_ensembles_shrink_before_folds(here, monkeypatch):
    monkeypatch.setattr(
        Pace, "first_seconds", lambda self, size, folds: size * folds * self.clock.seconds / 15
    )
    made = evaluator(budget=600)
    made.run_first([replace(one, ensemble=4) for one in TWO], "two")
    found = made.candidates(SEPARATE, SEPARATE)
    assert {recipe.ensemble for recipe in made._measured.recipes} == {2}
    text = "budget of 600 s: ensembles of 2 networks were trained in place of ensembles of 4"
    assert text in found.notes
    assert len(found.values("two", "price", "RMSE")) >= 3


def test_what_is_not_done_in_time_is_left_out(here, monkeypatch):
    """A search's last recipe, a rule, and a later seed's run are ended: the rest stays whole."""
    run = FoldJob.run

    def lost(name, seed):
        return name in ("rule", "late") or (name == "slow" and seed == 1)

    def without(job):
        # the trial, of three epochs, is never lost
        trial = job.stacked[0].epochs == 3
        return [one for one in run(job) if trial or not lost(one["name"], one["seed"])]

    monkeypatch.setattr(FoldJob, "run", without)
    made = evaluator(budget=300)
    recipes = [replace(one, epochs=4) for one in [*TWO, replace(QUICK, name="rule")]]
    made.run_first(recipes, "two")
    assert made.names == [SEPARATE, "two"]
    assert "budget of 300 s: rule was left out" in made.cuts.texts
    assert made.run([replace(QUICK, name="late"), replace(QUICK, name="done")]) == ["done"]
    assert made.run([replace(QUICK, name="slow")]) == []
    counts = {name: len(cells(made, name)) for name in made.names}
    assert counts == {SEPARATE: 6, "two": 6, "done": 6}


def test_folds_without_the_reference_are_worth_nothing(here, monkeypatch):
    run = FoldJob.run

    def without(job):
        return [one for one in run(job) if one["name"] != "two" or one["fold"] != 1]

    monkeypatch.setattr(FoldJob, "run", without)
    made = evaluator(budget=300, seeds=1)
    made.run_first(TWO, "two")
    assert {name: len(cells(made, name)) for name in made.names} == {SEPARATE: 2, "two": 2}
    assert "budget of 300 s: 2 of 3 folds were measured" in made.cuts.texts


def test_predictions_are_not_kept():
    made = evaluator(seeds=1)
    made.run_first(TWO, "two")
    assert not any(len(result.test) for result in made._measured._results.values())


@pytest.mark.parametrize("budget", [0, -1.0, float("nan")])
def test_impossible_budgets_are_refused(budget):
    with pytest.raises(InvalidInputError, match="budget must be a positive number of seconds"):
        Evaluator(TableExperiment(mixed_table(), 2), seeds=1, budget=budget)
