"""A table with its roles: taking some of its targets."""

import numpy as np
import polars as pl

from jointrain import SupervisedTable


def table() -> SupervisedTable:
    frame = pl.DataFrame(
        {
            "a": [1.0, 2.0, 3.0, 4.0],
            "who": ["x", "y", "x", "z"],
            "y1": [0.1, None, 0.3, 0.5],
            "y2": [None, 1.0, 2.0, None],
        }
    )
    kinds = {"y1": "regression", "y2": "regression"}
    return SupervisedTable.prepare(frame, ["y1", "y2"], kinds=kinds, group_column="who")


def test_only_keeps_the_rows_that_have_a_label_of_the_chosen_targets():
    fewer = table().only(["y2"])
    assert [task.name for task in fewer.tasks] == ["y2"]
    assert fewer.frame["a"].to_list() == [2.0, 3.0]
    assert fewer.unlabelled_rows == 2
    np.testing.assert_array_equal(fewer.groups, [1, 0])
    np.testing.assert_array_equal(fewer.labels(), [[1.0], [2.0]])


def test_only_of_all_targets_is_the_table_itself():
    whole = table()
    assert whole.only(["y2", "y1"]) is whole
