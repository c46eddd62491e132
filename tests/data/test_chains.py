"""Tables with chains: labels over all rows, and a note where a chain is missing."""

import numpy as np
import polars as pl
import pytest

from jointrain.data import SupervisedTable
from jointrain.errors import InvalidInputError


def exposures(rows=300, **columns) -> pl.DataFrame:
    rng = np.random.default_rng(0)
    click = rng.random(rows) < 0.3
    buy = rng.random(rows) < 0.5
    return pl.DataFrame(
        {
            "x": rng.normal(size=rows),
            "click": np.where(click, "yes", "no"),
            "buy": [int(b) if c else None for b, c in zip(buy, click, strict=True)],
            "price": [i / 7 if c else None for i, c in enumerate(click)],
            **columns,
        }
    )


def test_rows_without_a_click_are_labelled_no():
    table = SupervisedTable.prepare(exposures(), ["click", "buy"], given={"buy": "click"})
    labels = table.labels()
    assert not np.isnan(labels).any()
    assert (labels[labels[:, 0] == 0, 1] == 0).all()
    assert not [note for note in table.notes if "at random" in note]
    # a table with the one target has its labels, too
    alone = table.only(["buy"])
    np.testing.assert_array_equal(alone.labels()[:, 0], labels[:, 1])


def test_a_target_that_is_labelled_by_another_one_is_noted():
    notes = SupervisedTable.prepare(exposures(), ["click", "buy", "price"]).notes
    (buy, price) = (note for note in notes if "not missing at random" in note)
    assert buy == (
        "target buy is labelled only where click is yes, so labels are not missing at random: the "
        "estimate for all rows is biased; use --given buy=click"
    )
    assert price.startswith("target price is labelled only where click is yes")
    assert "--given" not in price


def test_labels_that_are_missing_by_chance_are_not_noted():
    rng = np.random.default_rng(1)
    known = pl.Series(rng.random(300) < 0.3)
    buy = pl.Series(rng.integers(2, size=300))
    frame = exposures().with_columns(buy=pl.when(known).then(buy))
    few = exposures(30)
    for table, targets in ((frame, ["click", "buy"]), (few, ["click", "buy"])):
        notes = SupervisedTable.prepare(table, targets).notes
        assert not [note for note in notes if "at random" in note]


def test_a_purchase_without_a_click_is_refused():
    frame = (
        exposures()
        .with_columns(buy=1)
        .with_columns(buy=pl.when(pl.int_range(pl.len()) == 5).then(0).otherwise("buy"))
    )
    with pytest.raises(InvalidInputError, match="'buy' is given 'click', but row 1 has 'buy' with"):
        SupervisedTable.prepare(frame, ["click", "buy"], given={"buy": "click"})
