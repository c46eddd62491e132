"""A search of one's own through the door of the room: over learning rates, in 60 lines."""

import inspect
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Unpack

import numpy as np
import polars as pl
import pytest

from jointrain import Recipe, SupervisedTable
from jointrain.data import outer_folds
from jointrain.errors import InvalidInputError
from jointrain.experiments import SEPARATE, AnyExperiment
from jointrain.studies.searches import (
    Candidates,
    SearchOptions,
    apart,
    open_search,
    search_groups,
    search_shared_depth,
    search_weights,
)


@dataclass(frozen=True)
class RateResult:
    """What a search for the learning rate found.

    Args:
        candidates: The figures of all rates, and of separate models.
        rates: The rate of each candidate, by name.
    """

    candidates: Candidates
    rates: dict[str, float]

    @property
    def recommended(self) -> float:
        """The rate to train with, as `Candidates.recommended`; the recipe's is the plain choice."""
        return self.rates[self.candidates.recommended]


def search_learning_rate(
    experiment: AnyExperiment | SupervisedTable,
    recipe: Recipe | None = None,
    factors: Sequence[float] = (0.1, 0.3, 3.0, 10.0),
    **options: Unpack[SearchOptions],
) -> RateResult:
    """Search for the learning rate with the best cross-validated metrics.

    Args:
        experiment: A table, or an `Experiment`; all its rows are inner rows.
        recipe: What to train, but for the rate; default `Recipe()`, joint training.
        factors: By what the recipe's rate is multiplied.
        **options: How it is measured, see `SearchOptions`.

    Raises:
        InvalidInputError: The recipe trains tasks separately, or a number is outside its range.
    """
    why_not = "a rate of several tasks is none of separate models"
    recipe, evaluator = open_search(experiment, recipe, why_not, trials=len(factors), **options)
    given = recipe.optimizer.learning_rate
    rates = {f"rate {given * factor:g}": given * factor for factor in (1.0, *factors)}
    recipes = [
        replace(recipe, name=name, optimizer=replace(recipe.optimizer, learning_rate=rate))
        for name, rate in rates.items()
    ]
    plain = recipes[0]
    evaluator.run_first([apart(recipe), plain], plain.name)
    count = evaluator.affordable(len(factors))
    done = evaluator.run(recipes[1 : 1 + count]) if count else []
    evaluator.fewer_candidates(len(done), len(factors), "rates")
    return RateResult(evaluator.candidates(SEPARATE, plain.name, list(rates)), rates)


def _table():
    x = np.random.default_rng(0).normal(size=(90, 3))
    frame = pl.DataFrame({"a": x[:, 0], "b": x[:, 1], "c": x[:, 2], "y": x[:, 0], "z": x.sum(1)})
    return SupervisedTable.prepare(frame, ["y", "z"])


QUICK = Recipe(width=8, depth=1, epochs=4)


def test_a_search_of_ones_own_is_sixty_lines():
    lines = len(inspect.getsource(RateResult).splitlines()) + 1
    assert lines + len(inspect.getsource(search_learning_rate).splitlines()) <= 60


def test_it_finds_that_a_few_epochs_want_a_larger_rate():
    found = search_learning_rate(_table(), QUICK, folds=3, seeds=1, workers=1)
    rate = QUICK.optimizer.learning_rate
    assert list(found.rates.values()) == pytest.approx([rate * f for f in (1, 0.1, 0.3, 3, 10)])
    assert found.candidates.names == (SEPARATE, *found.rates)
    scores = [found.candidates.score(name) for name in found.rates]
    assert max(scores) == scores[-1]
    assert min(scores) == scores[1]
    assert found.recommended == pytest.approx(10 * rate)


def test_options_reach_what_measures():
    names = []
    found = search_learning_rate(
        _table(), QUICK, (3.0,), folds=2, seeds=2, seed=7, margin=2.5, importance={"y": 0.0},
        workers=1, progress=lambda done, total: names.append(total),
    )  # fmt: skip
    assert sorted(set(found.candidates.table["seed"])) == [7, 8]
    assert sorted(set(found.candidates.table["fold"])) == [0, 1]
    assert found.candidates.measured.margin == 2.5
    assert found.candidates.importance == {"y": 0.0}
    assert names


@pytest.mark.parametrize(
    "given, message",
    [
        ({"recipe": apart(QUICK)}, "a rate of several tasks is none of separate models; give a"),
        ({"factors": ()}, "`trials` must be at least 1, got 0"),
        ({"importance": {"x": 1.0}}, "`importance` names 'x', which is no task"),
        ({"margin": -1.0}, "margin"),
        ({"budget": 0.0}, "the budget must be a positive number of seconds"),
    ],
)
def test_bad_options_are_refused(given, message):
    with pytest.raises(InvalidInputError, match=message):
        search_learning_rate(_table(), **{"recipe": QUICK, **given})


def _told(rows: slice | np.ndarray) -> SupervisedTable:
    """Return two targets of pure noise, and a column that equals them in some rows only."""
    random = np.random.default_rng(0)
    y = random.normal(size=120)
    leak = random.normal(size=120)
    leak[rows] = y[rows]
    frame = pl.DataFrame({"x": random.normal(size=120), "leak": leak, "a": y, "b": 5 - 2 * y})
    return SupervisedTable.prepare(frame, ["a", "b"])


SEARCHES = {
    "weigh": lambda table, recipe, **how: search_weights(table, recipe, trials=1, **how),
    "group": lambda table, recipe, **how: search_groups(table, recipe, **how),
    "share": lambda table, recipe, **how: search_shared_depth(table, recipe, **how),
}


@pytest.mark.parametrize("search", SEARCHES.values(), ids=SEARCHES.keys())
def test_a_column_that_tells_the_test_rows_alone_helps_no_candidate(search):
    """Were a fold's test rows seen in fitting, encoding, stopping or weighing, it would show."""
    recipe = Recipe(width=16, depth=2, epochs=15, batch_size=16, dropout=0.0, bins=0)
    how = {"folds": 2, "seeds": 1, "workers": 1}

    def best(table: SupervisedTable) -> float:
        values = search(table, recipe, **how).candidates.table.filter(
            pl.col("fold") == 0, pl.col("metric") == "R2"
        )["value"]
        return float(values.max())

    plain = _told(slice(0))
    (_, test), *_ = outer_folds(plain.labels(), list(plain.tasks), 2, 0)
    assert best(_told(test)) < 0.2
    if search is SEARCHES["group"]:
        assert best(_told(slice(None))) > 0.8  # told in all rows, it is found
