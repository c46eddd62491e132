"""Targets of several columns: what their cells are, and what is refused in one line."""

import numpy as np
import polars as pl
import pytest

from jointrain import InvalidInputError, SupervisedTable
from jointrain.data import encode_targets, infer_tasks, read_raw

FRAME = pl.DataFrame(
    {
        "x": [1.0, 2.0, 3.0, 4.0],
        "years": [1.5, 2.0, None, 4.0],
        "dead": [True, False, True, True],
        "crp": ["12.5", "<0.5", "[3, 7]", None],
        "low": [1.0, None, 2.0, None],
        "high": [1.0, 5.0, None, None],
        "clay": [0.2, 0.5, None, 1.0],
        "sand": [0.8, 0.5, 0.3, 0.0],
        "gout": ["yes", "no", None, "No"],
        "copd": [0, 1, None, 1],
    }
)
NAN = np.nan


def labels(name, kind, frame=FRAME):
    tasks = infer_tasks(frame, [name], {name: kind})
    return tasks[0], encode_targets(frame, tasks)


def test_times_and_events():
    task, found = labels("death", "survival:years:dead:2:4")
    assert task.classes == (2.0, 4.0)
    assert task.columns == ("years", "dead")
    np.testing.assert_array_equal(found, [[1.5, 1], [2, 0], [NAN, 1], [4, 1]])
    assert labels("death", "survival:years:dead")[0].classes == (1.5, 4.0)


def test_ends_of_intervals_hold_about_as_many_events_each():
    times = np.random.default_rng(0).exponential(size=1000)
    frame = pl.DataFrame({"t": times, "e": np.ones(1000, dtype=int)})
    ends = labels("y", "survival:t:e", frame)[0].classes
    counts = np.histogram(times, (0, *ends))[0]
    assert len(ends) == 10
    assert counts.sum() == 1000
    assert counts.min() > 90


def test_bounds_in_one_column_and_in_two():
    _, found = labels("crp", "censored")
    np.testing.assert_array_equal(found, [[12.5, 12.5], [-np.inf, 0.5], [3, 7], [NAN, NAN]])
    _, found = labels("lead", "censored:low:high")
    np.testing.assert_array_equal(found, [[1, 1], [-np.inf, 5], [2, np.inf], [NAN, NAN]])


def test_shares_and_labels():
    task, found = labels("soil", "proportions:clay:sand")
    assert task.classes == ("clay", "sand")
    np.testing.assert_array_equal(found[[0, 3]], [[0.2, 0.8], [1, 0]])
    _, found = labels("diseases", "multilabel:gout:copd")
    np.testing.assert_array_equal(found, [[1, 0], [0, 1], [NAN, NAN], [0, 1]])


def test_files_are_read_as_frames_are(tmp_path):
    path = tmp_path / "table.csv"
    FRAME.write_csv(path)
    kinds = {"death": "survival:years:dead", "crp": "censored", "diseases": "multilabel:gout:copd"}
    expected = SupervisedTable.prepare(FRAME, list(kinds), kinds=kinds)
    found = SupervisedTable.prepare(read_raw(str(path)), list(kinds), kinds=kinds)
    np.testing.assert_array_equal(found.labels(), expected.labels())
    assert found.tasks == expected.tasks
    assert {column.name for column in found.columns} == {"x", "low", "high", "clay", "sand"}


@pytest.mark.parametrize(
    "columns, name, kind, message",
    [
        ({}, "death", "survival:years", "needs the columns of its times and of whether"),
        ({}, "death", "survival:years:died", "column 'died' of target 'death' is not in the table"),
        ({}, "death", "survival:years:dead:x", "ends of intervals that are no numbers, 'x'"),
        ({}, "death", "survival:years:dead:4:2", "ends of its intervals, which rise from above 0"),
        ({"years": [1.0, -2, 3, 4]}, "death", "survival:years:dead", "holds -2 in row 2; times"),
        ({"dead": [1, 2, 0, 1]}, "death", "survival:years:dead", "holds 2 in row 2; it takes"),
        ({"dead": [0, 0, 0, 0]}, "death", "survival:years:dead", "never happens after time 0"),
        ({"years": ["1", "b", "2", "3"]}, "death", "survival:years:dead", "text such as 'b'"),
        ({"crp": ["1", "abc", "2", "3"]}, "crp", "censored", "'abc' in row 2, which is neither"),
        ({"crp": ["1", "2", "[7, 3]", ""]}, "crp", "censored", r"'\[7, 3\]' in row 3, whose lower"),
        ({"crp": ["1", "1,234", "2", "3"]}, "crp", "censored", "'1,234' in row 2, which"),
        ({"low": [1.0, 6, 2, 1]}, "lead", "censored:low:high", "bound 6 above the upper one, 5"),
        ({"clay": [0.2, 0.4, 0, 1]}, "soil", "proportions:clay:sand", r"sum to 0\.9 in row 2, not"),
        ({"clay": [0.2, -0.5, 1, 1]}, "soil", "proportions:clay:sand", r"holds -0\.5 in row 2"),
        ({}, "soil", "proportions:clay", "needs two columns or more; write proportions:FIRST"),
        ({}, "soil", "proportions:clay:clay", "each name once"),
        ({}, "x", "proportions:clay:sand", "there is also a column of its name; give the target"),
        ({"gout": ["yes", "maybe", "no", "no"]}, "d", "multilabel:gout:copd", "'maybe' in row 2"),
        ({"copd": [1, 1, 1, None]}, "d", "multilabel:gout:copd", "label 'copd' of target 'd'"),
        ({}, "years", "quantiles:0.9:0.1", "needs levels that rise from above 0 to below 1"),
        ({}, "years", "quantiles:low", "needs levels between 0 and 1, such as quantiles:0.05"),
        ({"crp": [None] * 4}, "crp", "censored", "all labels of target 'crp' are missing"),
    ],
)  # fmt: skip
def test_what_can_not_be_a_target_is_said_in_one_line(columns, name, kind, message):
    frame = FRAME.with_columns(
        pl.Series(key, value, strict=False) for key, value in columns.items()
    )
    with pytest.raises(InvalidInputError, match=message) as error:
        infer_tasks(frame, [name], {name: kind})
    assert "\n" not in str(error.value)


def test_columns_of_a_target_are_no_features_and_may_be_shared():
    kinds = {"death": "survival:years:dead", "gout free": "survival:years:gout"}
    frame = FRAME.with_columns(gout=pl.Series([1, 0, 1, 0]))
    table = SupervisedTable.prepare(frame, list(kinds), kinds=kinds)
    assert {"years", "dead", "gout"}.isdisjoint(column.name for column in table.columns)
    with pytest.raises(InvalidInputError, match="column 'dead' is a target and also ignored"):
        SupervisedTable.prepare(frame, list(kinds), kinds=kinds, ignore="dead")


def test_a_feature_that_tells_a_time_is_noted():
    rng = np.random.default_rng(0)
    time = rng.exponential(size=60)
    frame = pl.DataFrame(
        {"x": rng.normal(size=60), "days": 365 * time, "years": time, "dead": rng.random(60) < 0.5}
    )
    table = SupervisedTable.prepare(frame, "death", kinds={"death": "survival:years:dead"})
    assert any("column 'days' tells target 'years'" in note for note in table.notes)
