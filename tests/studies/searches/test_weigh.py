"""The search for task weights: fair, seeded, and honest about what it found."""

import math
from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from jointrain import Alternating, InvalidInputError, Separate
from jointrain.experiments import SEPARATE
from jointrain.studies.searches import search_weights
from jointrain.studies.searches._evaluator import Evaluator
from jointrain.studies.searches._weigh import _Sampler
from tests.studies._tables import NARROW, QUICK, mixed_table

FEW = {"folds": 2, "seeds": 1, "workers": 1}


@pytest.fixture(scope="module")
def result():
    return search_weights(mixed_table(), QUICK, trials=4, **FEW)


def test_equal_weights_the_rules_and_all_trials_are_measured_alike(result):
    names = result.candidates.names
    assert names[:5] == ("equal", SEPARATE, "size", "difficulty", "gradients")
    assert len(names) == 5 + 4
    counts = result.candidates.table.group_by("recipe").len()["len"]
    assert counts.n_unique() == 1
    trained = {replace(recipe, name="", weights="equal") for recipe in result.recipes.values()}
    # but for their weights, all recipes are the same one; separate models train apart
    assert len(trained) == 2


def test_vectors_have_mean_one_and_lie_within_the_range(result):
    for number in range(1, 5):
        weights = list(result.weights(f"search {number}").values())
        assert np.mean(weights) == pytest.approx(1, abs=0.01)
        assert 1 < max(weights) / min(weights) < 300


def test_the_chosen_one_has_the_highest_delta_m_and_leads_the_front(result):
    scores = {name: result.candidates.score(name) for name in result.candidates.choices}
    assert SEPARATE not in scores
    assert scores[result.chosen] == max(scores.values())
    assert result.pareto_front()[0] == result.chosen
    assert result.recommended in (result.chosen, "equal")


def test_the_front_holds_just_what_nothing_dominates(result):
    means = {
        name: np.array(list(result.candidates.mean_changes(name).values()))
        for name in result.candidates.choices
    }
    for name, point in means.items():
        beaten = any((q >= point).all() and (q > point).any() for q in means.values())
        assert (name in result.pareto_front()) == (not beaten)


def test_the_same_seed_finds_the_same(result):
    again = search_weights(mixed_table(), QUICK, trials=4, **FEW)
    assert again.candidates.table.equals(result.candidates.table)
    assert again.weights("search 4") == result.weights("search 4")
    other = search_weights(mixed_table(), QUICK, trials=1, seed=1, **FEW)
    assert other.weights("search 1") != result.weights("search 1")


def test_importance_moves_the_choice(result):
    for task in ("price", "size", "sold"):
        others = {name: 0.0 for name in ("price", "size", "sold") if name != task}
        moved = replace(result.candidates, importance=others)
        best = max(moved.choices, key=lambda name: moved.mean_changes(name)[task])
        assert moved.mean_changes(moved.chosen)[task] == moved.mean_changes(best)[task]
        assert moved.chosen in result.pareto_front() or any(
            moved.mean_changes(name)[task] == moved.mean_changes(moved.chosen)[task]
            for name in result.pareto_front()
        )


@pytest.mark.parametrize("pareto", [False, True])
def test_the_sampler_learns_where_the_changes_are_best(pareto):
    class Figures:
        """Changes are best where the first task weighs a fourth of the second."""

        def __init__(self, drawn):
            self.changes = {
                str(i): {"a": -abs(math.log(4 * w["a"] / w["b"])), "b": 0.0}
                for i, w in enumerate(drawn)
            }

        def mean_changes(self, name):
            return self.changes[name]

        def score(self, name):
            return self.changes[name]["a"]

    sampler = _Sampler(["a", "b"], pareto=pareto, seed=0)
    sampler.add({"a": 1.0, "b": 1.0}, Figures([{"a": 1.0, "b": 1.0}]), "0")
    means = []
    for _ in range(6):
        figures = Figures(sampler.ask(8))
        sampler.tell(list(figures.changes), figures)
        means.append(np.mean([change["a"] for change in figures.changes.values()]))
    assert np.mean(means[3:]) > np.mean(means[:2]) / 2


def test_a_task_that_is_drowned_gets_more_weight():
    """The second task's noise swamps the shared layer unless its weight is small."""
    generator = np.random.default_rng(0)
    x = generator.normal(size=(90, 4))
    frame = pl.DataFrame({f"x{i}": x[:, i] for i in range(4)}).with_columns(
        clean=pl.Series(np.tanh(x[:, 0] - x[:, 1])),
        noise=pl.Series(generator.standard_t(2, size=90)),
    )
    from jointrain import SupervisedTable

    table = SupervisedTable.prepare(frame, ["clean", "noise"])
    found = search_weights(
        table, replace(NARROW, epochs=8), trials=4, importance={"noise": 0}, **FEW
    )
    assert "size" not in found.candidates.names
    chosen = found.weights()
    if isinstance(chosen, dict):
        assert chosen["clean"] > chosen["noise"]
    assert found.candidates.score(found.chosen) > found.candidates.score("equal")


def test_alternating_training_can_be_weighed():
    recipe = replace(QUICK, schedule=Alternating("round_robin"))
    found = search_weights(mixed_table(), recipe, trials=1, **FEW)
    assert math.isfinite(found.candidates.score("search 1"))


@pytest.mark.parametrize(
    "settings, message",
    [
        ({"trials": 0}, "`trials` must be at least 1"),
        ({"importance": {"prise": 2}}, "`importance` names 'prise'.*did you mean 'price'"),
        ({"importance": {"price": -1}}, "importance of task 'price' must be >= 0"),
        ({"importance": {"price": 1e308, "size": 1e308}}, "at most 1e100"),
        ({"importance": {"price": 0, "size": 0, "sold": 0}}, "an importance above 0"),
        ({"budget": 0}, "budget must be a positive number of seconds"),
    ],
)
def test_bad_settings_are_refused(settings, message):
    with pytest.raises(InvalidInputError, match=message):
        search_weights(mixed_table(), QUICK, **{**FEW, **settings})


def test_the_smallest_budget_compares_the_rules(here):
    found = search_weights(mixed_table(), QUICK, budget=1e-9, **FEW)
    assert set(found.recipes) == {"equal", "separate", "size", "difficulty", "gradients"}
    assert set(found.candidates.names) == set(found.recipes)
    assert found.weights(found.recommended)
    assert "0 of 24 searched weightings were measured" in " ".join(found.candidates.notes)


def test_a_search_that_is_ended_keeps_what_was_done(here, monkeypatch):
    affordable = iter([1, 1, 0])
    monkeypatch.setattr(Evaluator, "affordable", lambda self, wanted: next(affordable))
    found = search_weights(mixed_table(), QUICK, budget=300, **FEW)
    assert found.candidates.choices[-2:] == ("search 1", "search 2")
    assert "budget of 300 s: 2 of 24 searched weightings were measured" in found.candidates.notes


def test_what_has_no_weights_is_refused():
    with pytest.raises(InvalidInputError, match="weights change nothing"):
        search_weights(mixed_table(), replace(QUICK, schedule=Separate()), **FEW)
    from jointrain import SupervisedTable

    one = SupervisedTable.prepare(mixed_table().frame, ["price"])
    with pytest.raises(InvalidInputError, match="there is one task, 'price'"):
        search_weights(one, QUICK, **FEW)
