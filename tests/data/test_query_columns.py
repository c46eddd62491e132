"""Columns of queries: what they must hold."""

import numpy as np
import polars as pl
import pytest

from jointrain import InvalidInputError, SupervisedTable, Task
from jointrain.data import query_columns, query_numbers

FRAME = pl.DataFrame(
    {
        "user": ["b", "a", "b", "c", "a", "c"],
        "x": [1.0, 2.0, 3.0, 4.0, 5.0, 6.0],
        "click": [0, 1, 1, 0, 0, 1],
        "seen": [0.0, 1.0, 2.0, 0.0, 3.0, 1.0],
    }
)
CLICK = Task.binary("click")


def _prepare(frame=FRAME, query="user", **metrics):
    return SupervisedTable.prepare(
        frame, ["click", "seen"], metrics=metrics or {"click": "recall@2"}, query_column=query
    )


def test_rows_get_the_number_of_their_query():
    tasks = [CLICK.judged_by("recall@2", "user"), Task.regression("seen").judged_by("NDCG@3", "x")]
    assert query_columns(tasks) == ["user", "x"]
    numbers = query_numbers(FRAME, tasks)
    assert numbers["user"].tolist() == [2, 1, 2, 3, 1, 3]
    assert numbers["x"].tolist() == [1, 2, 3, 4, 5, 6]
    assert query_numbers(FRAME, [CLICK]) == {}


def test_a_query_column_stays_a_feature_unless_it_is_ignored():
    table = _prepare(click="group-AUC", seen="NDCG@5")
    assert [task.primary_metric.query for task in table.tasks] == ["user", "user"]
    assert "user" in {column.name for column in table.columns}
    ignoring = SupervisedTable.prepare(
        FRAME,
        ["click", "seen"],
        metrics={"click": "recall@2"},
        query_column="user",
        ignore=["user"],
        group_column="user",
    )
    assert "user" not in {column.name for column in ignoring.columns}
    np.testing.assert_array_equal(ignoring.groups, [1, 0, 1, 2, 0, 2])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"query": "usr"}, "query column 'usr' is not in the table.*did you mean 'user'"),
        ({"query": "x"}, "query column 'x' has another value in every row"),
        ({"query": None}, "'recall@2' of 'click' ranks rows within queries.*--query COLUMN"),
        ({"query": "click"}, "column 'click' is a target and also query"),
        ({"click": "log-loss"}, "query column 'user' has no use: no target is judged within"),
        ({"seen": "recall@2"}, "metric 'recall@2' is none of regression task 'seen'"),
        ({"click": "recall@0.5"}, "must be a whole number of 1 or more; recall@10 is one"),
        (
            {"frame": FRAME.with_columns(user=pl.Series(["b", None, "b", "c", "a", "c"]))},
            "query column 'user' is empty in row 2",
        ),
        (
            {"frame": FRAME.with_columns(user=pl.Series([[1], [1], [2], [2], [3], [3]]))},
            "query column 'user' holds lists",
        ),
    ],
)
def test_what_can_not_be_a_query_is_refused(settings, message):
    with pytest.raises(InvalidInputError, match=message) as caught:
        _prepare(**settings)
    assert "\n" not in str(caught.value)
