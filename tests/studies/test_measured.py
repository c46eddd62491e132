"""Measured: figures that are compared on the folds that both have, in whatever order rows come."""

import numpy as np
import polars as pl
import pytest

from jointrain import InvalidInputError
from jointrain.studies import Measured
from jointrain.task import Task

FOLDS = [(seed, fold) for seed in range(2) for fold in range(3)]


def measured(values: dict[str, dict[tuple[int, int], float]], **settings) -> Measured:
    """Return figures of one regression task by name, and by seed and fold; rows in any order."""
    rows = [
        {
            "recipe": name, "task": "y", "metric": "RMSE", "fold": fold, "seed": seed,
            "value": value, "train_rows": 80 + fold, "test_rows": 20 - fold,
        }
        for name, found in values.items()
        for (seed, fold), value in found.items()
    ]  # fmt: skip
    table = pl.DataFrame(rows).sample(fraction=1, shuffle=True, seed=0)
    return Measured((Task.regression("y"),), tuple(values), table, **settings)


BASE = dict.fromkeys(FOLDS, 2.0)
HALF = {number: 1.0 + 0.1 * place for place, number in enumerate(FOLDS)}


def test_values_are_in_the_order_of_seeds_and_folds():
    found = measured({"base": BASE, "other": HALF})
    np.testing.assert_allclose(found.values("other", "y", "RMSE"), [1.0, 1.1, 1.2, 1.3, 1.4, 1.5])
    assert list(found.runs.iter_rows()) == FOLDS
    # by hand: (2 - value) / 2, in percent
    changes = found.changes("other", "base")["y"]
    np.testing.assert_allclose(changes.values, [50, 45, 40, 35, 30, 25])
    np.testing.assert_array_equal(changes.seeds, [0, 0, 0, 1, 1, 1])
    assert changes.test_over_train == pytest.approx(np.mean([20 / 80, 19 / 81, 18 / 82]))


def test_two_are_compared_on_the_folds_that_both_were_run_on():
    some = {number: HALF[number] for number in FOLDS[:4]}
    overlap = np.arange(36.0).reshape(6, 6)
    found = measured({"base": BASE, "other": some}, overlaps={"y": overlap})
    assert np.isnan(found.values("other", "y", "RMSE")[4:]).all()
    changes = found.changes("other", "base")["y"]
    np.testing.assert_allclose(changes.values, [50, 45, 40, 35])
    np.testing.assert_array_equal(changes.overlap, overlap[:4, :4])


def test_what_was_not_run_yet_has_no_value_and_what_is_unknown_is_refused():
    found = measured({"base": BASE, "later": {}})
    assert np.isnan(found.values("later", "y", "RMSE")).all()
    assert len(found.changes("later", "base")["y"].values) == 0
    with pytest.raises(InvalidInputError, match=r"no recipe 'lateer'.*did you mean"):
        found.judge(["lateer"], "base")


def test_what_lacks_values_is_counted_on_the_folds_that_both_were_run_on():
    some = {number: np.nan if number[1] == 0 else 1.0 for number in FOLDS[:4]}
    found = measured({"base": BASE, "other": some})
    assert found.lacks("other", "base", "y") == 2
    assert found.lacks("base", "other", "y") == 0
