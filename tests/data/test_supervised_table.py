"""A table with its roles: taking some of its targets."""

import math

import numpy as np
import polars as pl
import pytest

from jointrain import SupervisedTable
from jointrain.data import ReadingOptions, TableEncoder, outer_folds, read_raw
from jointrain.errors import InvalidInputError


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


def dated(rows: int = 60, step: str = "1d") -> pl.DataFrame:
    from datetime import datetime

    random = np.random.default_rng(0)
    start = datetime(2024, 1, 1)
    day = pl.datetime_range(start, datetime(2034, 1, 1), step, eager=True)[:rows]
    return pl.DataFrame({"day": day, "x": random.normal(size=rows), "y": random.normal(size=rows)})


def test_a_time_column_stays_a_feature_by_its_calendar_parts():
    table = SupervisedTable.prepare(dated(), ["y"], time_column="day")
    assert [(column.name, column.kind) for column in table.columns] == [
        ("x", "numeric"),
        ("day", "calendar"),
    ]
    assert table.time.tolist() == list(range(60))
    assert table.notes == (
        "time column 'day' orders the splits, and its month, weekday are features; ignore the "
        "column to leave them out",
    )
    encoder = TableEncoder().fit(table.frame, list(table.columns))
    names = list(encoder.feature_names)
    assert names == ["x", "day month sin", "day month cos", "day weekday sin", "day weekday cos"]
    values = encoder.transform(table.frame)
    np.testing.assert_allclose(values[:, 3], np.sin(2 * np.pi * (np.arange(60) % 7) / 7), atol=1e-6)


def test_an_ignored_time_column_orders_the_splits_only():
    table = SupervisedTable.prepare(dated(), ["y"], time_column="day", ignore=["day"])
    assert [column.name for column in table.columns] == ["x"]
    assert table.time is not None
    assert table.notes == ()


def test_times_without_calendar_parts_are_no_feature_and_ties_are_told():
    frame = dated().with_columns(day=pl.int_range(60) // 2)
    table = SupervisedTable.prepare(frame, ["y"], time_column="day")
    assert [column.name for column in table.columns] == ["x"]
    assert table.notes == (
        "time column 'day' has 30 distinct values in 60 rows: rows of the same time stay on one "
        "side of a cut, so parts may differ in size",
        "time column 'day' orders the splits and is no feature: it has no month, weekday or hour "
        "that varies",
    )


def test_a_calendar_may_be_the_only_feature():
    table = SupervisedTable.prepare(dated().drop("x"), ["y"], time_column="day")
    assert [column.name for column in table.columns] == ["day"]


def test_missing_times_are_counted_and_those_without_label_do_not_matter():
    frame = dated().with_columns(
        day=pl.when(pl.int_range(60).is_in([4, 9])).then(None).otherwise("day"),
        y=pl.when(pl.int_range(60) == 4).then(None).otherwise("y"),
    )
    with pytest.raises(InvalidInputError, match="'day' is empty in row 10; fill it or leave"):
        SupervisedTable.prepare(frame, ["y"], time_column="day")
    more = frame.with_columns(y=pl.lit(1.0) * pl.int_range(60))
    with pytest.raises(InvalidInputError, match="is empty in 2 rows, the first is row 5;"):
        SupervisedTable.prepare(more, ["y"], time_column="day")
    few = frame.filter(pl.int_range(60) != 9)
    assert SupervisedTable.prepare(few, ["y"], time_column="day").unlabelled_rows == 1


def test_groups_and_time_go_together():
    frame = dated().with_columns(who=pl.int_range(60) // 6)
    table = SupervisedTable.prepare(frame, ["y"], time_column="day", group_column="who")
    for train, test in outer_folds(
        table.labels(), table.tasks, 3, 0, groups=table.groups, time=table.time
    ):
        assert not set(table.groups[train]) & set(table.groups[test])
        assert table.time[train].max() < table.time[test].min()


def test_one_target_may_be_given_by_its_name_alone():
    frame = dated().rename({"y": "umsatz"})
    table = SupervisedTable.prepare(frame, "umsatz", ignore="day")
    assert [task.name for task in table.tasks] == ["umsatz"]
    assert [column.name for column in table.columns] == ["x"]


@pytest.mark.parametrize(
    "more, message",
    [
        ({"targets": [3]}, "target columns are given by their names, as text: got 3, of type int"),
        ({"targets": ["y"], "ignore": [None]}, "ignored columns are given by their names"),
        ({"targets": ["y"], "group_column": 3}, "group columns are given by their names"),
        ({"targets": 3}, "target columns are given by their names, as text or a list of texts"),
        ({"targets": None}, "got None"),
        ({"targets": ["y"], "kinds": ["binary"]}, "`kinds` gives the kind of a target by the"),
        ({"targets": ["y"], "kinds": {3: "binary"}}, "`kinds` gives the kind of a target by the"),
        ({"targets": "umsatz"}, "target column 'umsatz' is not in the table"),
        ({"targets": []}, "no target is named"),
        ({"targets": ["y"], "kinds": {"y": "class"}}, "unknown kind 'class'"),
    ],
)
def test_what_names_no_column_is_told(more, message):
    with pytest.raises(InvalidInputError, match=message):
        SupervisedTable.prepare(dated(), **more)


@pytest.mark.parametrize(
    "role, values, message",
    [
        (
            "time",
            pl.Series([[1]] * 60),
            "holds lists of whole numbers; it needs one date or number",
        ),
        ("time", pl.Series([True, False] * 30), "it needs one date or number a row"),
        ("time", pl.Series(["a", "b"] * 30), "holds text such as 'a'"),
        ("group", pl.Series([[1]] * 60), "holds lists of whole numbers; it needs one value a row"),
    ],
)
def test_what_can_be_no_time_or_group_is_told(role, values, message):
    frame = dated().with_columns(values.alias("t"))
    with pytest.raises(InvalidInputError, match=message):
        SupervisedTable.prepare(frame, ["y"], **{f"{role}_column": "t"})


def numbers_as_text():
    text = [f"{index},5" for index in range(30)]
    return pl.DataFrame({"x": text, "code": ["a"] * 29 + ["b"], "n": range(30), "y": range(30)})


def test_text_of_numbers_in_a_table_with_types_is_noted_and_read_where_that_is_said():
    frame = numbers_as_text()
    notes = SupervisedTable.prepare(frame, ["y"]).notes
    note = "text that looks like numbers: x (0,5); --column x=number reads numbers"
    assert note in notes
    options = ReadingOptions(columns={"x": "number"})
    table = SupervisedTable.prepare(frame, ["y"], reading=options)
    assert table.frame["x"].to_list() == [index + 0.5 for index in range(30)]
    assert note not in table.notes
    assert table.schema is not None
    assert table.schema.conform(frame)["x"].to_list() == table.frame["x"].to_list()


@pytest.mark.parametrize(
    "columns, message",
    [
        ({"code": "number"}, "column 'code' is said to hold numbers, but 'a' in row 1"),
        ({"n": "date"}, "column 'n' is said to hold 'date', but it has the type Int64 in this"),
        ({"z": "text"}, "it is said how column 'z' is to be read, but it is not in the table"),
    ],
)
def test_what_a_column_with_a_type_can_not_hold_is_refused(columns, message):
    with pytest.raises(InvalidInputError, match=message):
        SupervisedTable.prepare(numbers_as_text(), ["y"], reading=ReadingOptions(columns=columns))


def test_a_last_row_of_sums_is_left_out_of_tables_with_types():
    frame = pl.DataFrame({"region": ["a", "b", "c", "Total"], "y": [1, 2, 4, 7]})
    table = SupervisedTable.prepare(frame, ["y"])
    assert table.frame["y"].to_list() == [1, 2, 4]
    assert any("the last row is left out: it is called 'Total'" in note for note in table.notes)
    kept = SupervisedTable.prepare(frame.with_columns(y=pl.Series([1, 2, 4, 9])), ["y"])
    assert kept.frame.height == 4


def test_nan_in_a_file_with_types_is_a_missing_value(tmp_path):
    whole = [math.nan if row % 3 else float(row) for row in range(30)]
    frame = pl.DataFrame({"f": whole, "x": range(30), "y": range(30)})
    for name, write in (("t.parquet", frame.write_parquet), ("t.arrow", frame.write_ipc)):
        write(tmp_path / name)
        raw = read_raw(tmp_path / name)
        table = SupervisedTable.prepare(raw, ["y"])
        assert table.frame["f"].null_count() == 20
        assert table.schema.read(raw)["f"].null_count() == 20
        for role in ("group", "time"):
            message = f"{role} column 'f' is empty in 20 rows, the first is row 2; fill it"
            with pytest.raises(InvalidInputError, match=message):
                SupervisedTable.prepare(raw, ["y"], **{f"{role}_column": "f"})


def test_a_target_is_judged_by_the_metric_that_is_named():
    frame = pl.DataFrame({"a": [1.0, 2.0, 3.0, 4.0], "y": [0.5, 1.5, 2.0, 0.0], "z": list("abab")})
    metrics = {"y": "MAE", "z": "log-loss"}
    prepared = SupervisedTable.prepare(frame, ["y", "z"], metrics=metrics)
    assert [task.primary_metric.name for task in prepared.tasks] == ["MAE", "log-loss"]
    assert prepared.only(["y"]).tasks[0].primary_metric.name == "MAE"
    with pytest.raises(InvalidInputError, match="metric is given for 'yy', which is no target"):
        SupervisedTable.prepare(frame, ["y", "z"], metrics={"yy": "MAE"})
    with pytest.raises(InvalidInputError, match="divides by target 'y', which is 0 in row 4"):
        SupervisedTable.prepare(frame, ["y", "z"], metrics={"y": "MAPE"})


@pytest.mark.parametrize(
    "cells, options",
    [
        ({"r": [None if i == 30 else i // 4 for i in range(40)]}, {"group_column": "r"}),
        ({"r": [None if i == 30 else i for i in range(40)]}, {"time_column": "r"}),
        (
            {"y": [float(i != 30) for i in range(40)]},
            {"metrics": {"y": "MAPE"}, "kinds": {"y": "regression"}},
        ),
        (
            {"z": [i == 30 for i in range(40)], "c": [i % 2 == 1 for i in range(40)]},
            {"given": {"z": "c"}},
        ),
    ],
)
def test_rows_are_those_of_the_table_though_some_have_no_weight(cells, options):
    frame = pl.DataFrame(
        {"x": range(40), "w": [0] * 10 + [1] * 30, "y": [i + 0.5 for i in range(40)], **cells}
    )
    targets = ["y", *({"z", "c"} & set(cells))]
    with pytest.raises(InvalidInputError, match=r"\brow 31\b"):
        SupervisedTable.prepare(frame, targets, row_weight="w", **options)
