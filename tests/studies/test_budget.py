"""Budgets: what is run is decided by its cost, and the answer comes in stages."""

import math
import time

import numpy as np
import polars as pl
import pytest

from jointrain import InvalidInputError, Recipe, Study, SupervisedTable
from jointrain.baselines import BASELINES
from jointrain.experiments import SEPARATE, default_recipes, named_recipes
from jointrain.studies import _budget, _pace, run_within_budget
from jointrain.studies._budget import SHARE_OF_RECIPES, _interleaved, _Plan
from jointrain.studies._cuts import ROWS, Cuts
from jointrain.studies._measurements import Measurements
from jointrain.studies._pace import Clock, Level, chosen_level
from jointrain.tables._fold_runs import FoldJob

QUICK = Recipe(width=8, epochs=3)


def names_of(job: FoldJob) -> list[str]:
    return [baseline.name for baseline in job.baselines]


def table(rows: int = 60) -> SupervisedTable:
    generator = np.random.default_rng(0)
    x = generator.normal(size=(rows, 2))
    frame = pl.DataFrame({"a": x[:, 0], "b": x[:, 1], "y1": x.sum(1), "y2": x[:, 0] * x[:, 1]})
    return SupervisedTable.prepare(frame, ["y1", "y2"])


def study(**changes) -> Study:
    settings = {
        "experiment": table(),
        "recipes": default_recipes(QUICK),
        "baselines": ("constant", "linear"),
        "folds": 3,
        "seeds": 2,
    }
    return Study(**settings | changes)


def plan(seconds: float, **costs: float) -> _Plan:
    made = _Plan(study(), Clock(seconds, time.monotonic()), 2)
    made.costs = {name.replace("_", " "): cost for name, cost in costs.items()}
    made._single = dict(made.costs)
    return made


COSTS = {"separate": 2.0, "joint": 1.0, "constant": 0.0, "linear": 0.1, "extra_trees": 1.0}


def test_a_large_budget_runs_recipes_baselines_and_seeds(here):
    seen = []
    result = run_within_budget(
        study(folds=2),
        300,
        further=False,
        workers=1,
        on_answer=lambda answer, spent, planned: seen.append((answer.recipe_names, spent, planned)),
    )
    assert result.recipe_names == ["separate", "joint", "alternating", "constant", "linear"]
    assert result.study.seeds == 2
    assert {result.runs(name) for name in result.recipe_names} == {4}
    assert all(recipe.ensemble == 8 for recipe in result.study.recipes)
    assert result.notes == ()
    # the first answer does without alternation
    assert seen[0][0] == ["separate", "joint", "constant", "linear"]
    assert [spent for _, spent, _ in seen] == sorted(spent for _, spent, _ in seen)
    assert {planned for _, _, planned in seen} == {2}


def test_with_many_rows_gradient_boosting_is_among_the_first_baselines(here, monkeypatch):
    def first_answer() -> list[str]:
        seen: list[list[str]] = []
        run_within_budget(
            study(folds=2, recipes=default_recipes(QUICK)[:2]), 100, workers=1,
            on_answer=lambda answer, spent, planned: seen.append(answer.recipe_names),
        )  # fmt: skip
        return seen[0]

    monkeypatch.setattr(_budget, "SHARE_OF_RECIPES", 0.0)  # nothing is added later
    few = first_answer()
    monkeypatch.setattr(_budget, "MANY_ROWS", 60)
    assert first_answer() == [*few, "gradient boosting"]


def test_with_many_rows_gradient_boosting_takes_the_place_of_the_forest_unless_baselines_are_named(
    monkeypatch,
):
    def first(baselines: tuple[str, ...] | None, *, further: bool = True) -> list[str]:
        made = study(baselines=baselines)
        return _budget._for_many_rows(made, further=further).baseline_names

    assert first(None) == ["constant", "linear", "extra trees"]
    monkeypatch.setattr(_budget, "MANY_ROWS", 60)
    assert first(None) == ["constant", "linear", "gradient boosting"]
    assert first(("extra trees",)) == ["extra trees", "gradient boosting"]
    # nor does it where recipes are named, and nothing is added to them
    assert first(("extra trees",), further=False) == ["extra trees"]
    assert first(None, further=False) == ["constant", "linear", "gradient boosting"]


def test_a_forest_that_was_not_measured_costs_ten_times_gradient_boosting():
    known = plan(60, **{**COSTS, "gradient_boosting": 4.0})
    assert known.cost("extra trees joint") == known.cost("kernel ridge") == 1.0
    assert known.cost("random forest") == 3.0
    del known.costs["extra trees"]
    assert known.cost(_budget.FOREST) == 40.0
    assert known.cost("random forest") == 120.0


@pytest.mark.parametrize("seconds", [1e-6, 1e-3])
def test_the_smallest_budget_has_an_answer_too(here, seconds):
    """It is a constant beside networks of one epoch, and says so."""
    result = run_within_budget(study(), seconds, workers=1)
    assert result.recipe_names == ["separate", "joint", "constant"]
    assert result.folds_done == 1
    assert all(recipe.epochs == 1 for recipe in result.study.recipes)
    notes = " ".join(result.notes)
    assert f"budget of {seconds:g} s: nothing larger was done in time" in notes
    assert "1 of 3 folds was measured" in notes
    assert all(sum(blend.weights.values()) == pytest.approx(1) for blend in result.blends.values())
    assert result.shipped_table.height
    assert math.isnan(result.overall("joint", SEPARATE).low)


def test_epochs_are_cut_before_rows():
    recipe = Recipe(epochs=100)
    assert chosen_level(recipe, 10_000, 1e-5, 10.1) == Level()
    assert chosen_level(recipe, 10_000, 1e-5, 5.05) == Level(None, 50)
    assert chosen_level(recipe, 10_000, 1e-5, 1.21) == Level(None, 12)
    assert chosen_level(recipe, 10_000, 1e-5, 0.60001) == Level(5_000, 12)
    assert chosen_level(recipe, 10_000, 1e-5, 1e-9) == Level(400, 12)
    assert chosen_level(Recipe(epochs=5), 10_000, 1e-5, 0.100001) == Level(2_000)


def test_a_slow_machine_trains_fewer_epochs_on_a_sample_of_rows(here, monkeypatch):
    """The pace of the trial is taken for that of a machine a thousand times as slow."""
    monkeypatch.setattr(_Plan, "seconds_together", lambda *_: 1e3)
    result = run_within_budget(
        study(
            experiment=table(600), recipes=default_recipes(Recipe(width=8, epochs=40, ensemble=2))
        ),
        300,
        further=False,
        workers=1,
    )
    assert len(result.study.table.frame) == 400
    assert {recipe.epochs for recipe in result.study.recipes} == {12}
    notes = " ".join(result.notes)
    assert "networks were trained for 12 epochs of 40" in notes
    assert "a sample of 400 of 600 rows was used" in notes
    assert result.sampled
    assert {"epochs", "rows"} <= {cut.key for cut in result.cuts}
    assert result.notes[: len(result.cuts)] == tuple(cut.text for cut in result.cuts)


def test_what_is_not_done_in_time_is_left_out_in_words(here, monkeypatch):
    """A linear model never ends; the rest is compared on folds that all of it has."""
    run = FoldJob.run

    def without_lines(job):
        return [] if "linear" in names_of(job) else run(job)

    monkeypatch.setattr(FoldJob, "run", without_lines)
    result = run_within_budget(study(seeds=1), 300, further=False, workers=1)
    assert "linear" not in result.recipe_names
    assert "budget of 300 s: linear was left out" in result.notes
    assert {result.runs(name) for name in result.recipe_names} == {3}


def test_a_pilot_that_is_never_done_leaves_the_trial(here, monkeypatch):
    run = FoldJob.run
    monkeypatch.setattr(
        FoldJob, "run", lambda job: run(job) if ((job.stacked or job.single) and any(
            recipe.epochs == 1 for recipe in (*job.stacked, *job.single)
        )) or "constant" in names_of(job) else []
    )  # fmt: skip
    monkeypatch.setattr(_pace, "TRIAL", Level(400, 1))
    result = run_within_budget(study(), 300, workers=1)
    assert result.folds_done == 1
    assert "nothing larger was done in time" in " ".join(result.notes)


@pytest.mark.parametrize("workers", [1, 2])
def test_a_slow_study_gives_a_first_answer_of_one_fold_a_process_and_single_networks(
    here, workers, monkeypatch
):
    monkeypatch.setattr(_budget, "FIRST_ANSWER_SECONDS", 0.0)
    seen = []
    run_within_budget(
        study(),
        300,
        further=False,
        workers=workers,
        on_answer=lambda result, *_: seen.append(result),
    )
    runs = [{result.runs(name) for name in result.recipe_names} for result in seen]
    assert runs[:2] == [{workers}, {3}]
    assert [result.study.recipes[0].ensemble for result in seen[:2]] == [1, 8]


def test_single_networks_of_the_first_folds_are_not_trained_again(here, monkeypatch):
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
    # the trial of one epoch, then of three; 2 recipes and 2 baselines on a fold with one worker, on
    # two folds with two; the rest
    assert [runs[:4], runs[5:9]] == [[3, 3, 4, 8], [3, 3, 8, 4]]
    assert seen[0].equals(seen[1])


@pytest.mark.parametrize("second", [300, 200])
def test_a_stopped_study_goes_on_from_its_store(here, tmp_path, second, monkeypatch):
    place = tmp_path / "runs"
    expected = run_within_budget(study(), 300, further=False, workers=1, store=place)
    run = FoldJob.run
    # a job that is run again would fail, but for the trial
    monkeypatch.setattr(
        FoldJob,
        "run",
        lambda job: (
            run(job)
            if any(recipe.ensemble == 1 for recipe in job.stacked) or "constant" in names_of(job)
            else 1 / 0
        ),
    )
    result = run_within_budget(study(), second, further=False, workers=1, store=place)
    assert result.table.equals(expected.table)


@pytest.mark.integration
@pytest.mark.parametrize("seconds", [4.0, 20.0])
def test_processes_are_ended_when_the_time_is_over(seconds, monkeypatch):
    """A fold that takes for ever ends with the budget; what is known is kept."""
    started = time.monotonic()
    slow = study(recipes=default_recipes(Recipe(width=512, depth=6, epochs=100_000)))
    result = run_within_budget(slow, seconds, workers=2)
    assert time.monotonic() - started < 10 * seconds  # no figure: it does end
    assert result.notes
    assert result.folds_done >= 1


def test_ensembles_and_folds_shrink_with_the_budget():
    first = default_recipes(QUICK)[:2]
    sizes = [plan(seconds, **COSTS).affordable_size(first) for seconds in (400, 80, 30, 9)]
    assert sizes == [(8, 3), (4, 3), (2, 3), (1, 1)]


def test_an_ensemble_that_was_asked_for_is_not_exceeded():
    first = named_recipes(["separate", "joint"], Recipe(ensemble=3))
    assert plan(1e6, **COSTS).affordable_size(first) == (2, 3)
    alone = plan(1e6, **COSTS)
    alone.single = True
    assert alone.affordable_size(named_recipes(["separate", "joint"], Recipe())) == (1, 3)


def test_a_stage_that_takes_longer_than_its_parts_makes_the_plan_longer():
    made = plan(100, **COSTS)
    before = made.first_seconds(1, 2)
    measured = Measurements(study(), workers=2)
    measured.newest_seconds, measured.newest_jobs = 10.0, 4
    made.learn(measured, 7.5)
    assert made.first_seconds(1, 2) == pytest.approx(1.5 * before)
    made.learn(measured, 1e4)
    assert made.first_seconds(1, 2) == pytest.approx(3 * before)


def test_progress_begins_with_nothing_done():
    told = []
    made = study()
    measured = Measurements(made, workers=1, progress=lambda *so_far: told.append(so_far))
    measured.run(made.recipes[:1], [BASELINES["constant"]], [0], folds=1)
    assert (told[0], told[-1]) == ((0, 2), (2, 2))
    assert told == sorted(told)


def test_what_is_too_dear_is_left_out_and_the_rest_goes_on():
    made = plan(40, **COSTS)
    dear, cheap = named_recipes(["balancer-upgrad", "weights-uncertainty"], QUICK)
    queue = [dear, cheap, "random forest"]
    batch = made.next_batch(queue, 3)
    assert dear not in batch
    assert cheap in batch
    assert not queue or batch


def test_half_of_the_budget_is_kept_for_seeds_and_the_last_fit():
    made = plan(60, **COSTS)
    made.clock = Clock(60, time.monotonic() - SHARE_OF_RECIPES * 60 - 1)
    assert made.next_batch(["random forest"], 3) == []
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


@pytest.mark.parametrize(
    "done, folds, planned, text",
    [
        (5, 5, 5, ()),
        (1, 5, 5, ("1 of 5 folds was measured",)),
        (3, 3, 5, ("the rows were cut into 3 folds in place of 5",)),
        (2, 3, 5, ("the rows were cut into 3 folds in place of 5", "2 of 3 folds were measured")),
    ],
)
def test_fewer_folds_are_counted_as_the_table_counts_them(done, folds, planned, text):
    cuts = Cuts(9.0)
    cuts.fewer_folds(done, folds, planned)
    assert cuts.texts == tuple(f"budget of 9 s: {one}" for one in text)


def test_a_recipe_that_is_called_as_a_key_is_left_out_like_others():
    cuts = Cuts(9.0)
    cuts.say(ROWS, "a sample of 4 of 9 rows was used")
    cuts.leave_out(["rows"])
    assert [cut.key for cut in cuts.all] == ["rows", "without rows"]
    assert cuts.texts[1] == "budget of 9 s: rows was left out"


@pytest.mark.parametrize("seconds", [math.nan, 0, -1.0, "10"])
def test_a_budget_without_time_is_refused(seconds):
    with pytest.raises(InvalidInputError, match="`seconds` must be a number above 0"):
        run_within_budget(None, seconds)
