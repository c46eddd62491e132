"""Samples of rows: every target and class is in them, and groups and times go with their rows."""

import numpy as np
import polars as pl

from jointrain import SupervisedTable
from jointrain.tables._row_sample import sample_rows


def table(rows: int = 1000) -> SupervisedTable:
    generator = np.random.default_rng(0)
    frame = pl.DataFrame(
        {
            "x": np.arange(rows, dtype=float),
            "person": np.arange(rows) // 10,
            "y": np.where(np.arange(rows) % 50 == 7, generator.normal(size=rows), np.nan),
            "kind": np.where(np.arange(rows) < 3, "rare", "usual"),
        }
    ).with_columns(pl.col("y").fill_nan(None))
    return SupervisedTable.prepare(frame, ["y", "kind"], group_column="person")


def test_a_sample_has_labels_of_every_target_and_class():
    sample = sample_rows(table(), 100, 0)
    labels = sample.labels()
    assert np.isfinite(labels[:, 0]).sum() == 20
    assert (labels[:, 1] == sample.tasks[1].classes.index("rare")).sum() == 3
    assert 100 <= len(sample.frame) <= 130
    assert (sample.frame["x"].to_numpy() // 10 == sample.groups).all()
    assert sample.frame["x"].is_sorted()


def test_whole_groups_come_first():
    sample = sample_rows(table(), 100, 0)
    sizes = np.bincount(sample.groups)
    assert (sizes == 10).sum() >= 9


def test_no_more_rows_than_there_are():
    whole = table()
    assert sample_rows(whole, 1000, 0) is whole
