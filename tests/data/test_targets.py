import datetime as dt
import math
from decimal import Decimal

import numpy as np
import polars as pl
import pytest

from jointrain.data import SupervisedTable, encode_targets, infer_tasks, load_penguins, read_raw
from jointrain.errors import InvalidInputError
from jointrain.task import Task


def test_penguins():
    frame = load_penguins()
    tasks = infer_tasks(frame, ["species", "sex", "body_mass_g"])
    assert tasks == [
        Task.multiclass("species", ["Adelie", "Chinstrap", "Gentoo"]),
        Task.binary("sex", ["female", "male"]),
        Task.regression("body_mass_g"),
    ]
    labels = encode_targets(frame, tasks)
    assert labels.shape == (344, 3)
    np.testing.assert_array_equal(np.isnan(labels).sum(0), [0, 11, 2])
    assert labels[0].tolist() == [0, 1, 3750]


@pytest.mark.parametrize(
    "values, kind, classes",
    [
        ([0, 1, None], "binary", (0, 1)),
        ([2.0, 1.0, math.nan], "binary", (1, 2)),
        ([0.5, 1.5, 0.5], "binary", (0.5, 1.5)),
        ([True, False, None], "binary", (False, True)),
        (["b", "a", None], "binary", ("a", "b")),
        (["b", "a", "c"], "multiclass", ("a", "b", "c")),
        (pl.Series(["b", "a", "c"], dtype=pl.Categorical), "multiclass", ("a", "b", "c")),
        (pl.Series(["b", "a", "c"], dtype=pl.Enum(["c", "b", "a"])), "multiclass", ("a", "b", "c")),
        ([0, 1, 2], "regression", ()),
        ([0.5, 1, 2], "regression", ()),
    ],
)
def test_kind_is_inferred(values, kind, classes):
    (task,) = infer_tasks(pl.DataFrame({"y": values}), ["y"])
    assert (task.kind, task.classes) == (kind, classes)
    assert [type(label) for label in task.classes] == [type(label) for label in classes]


@pytest.mark.parametrize(
    "values, kind, classes, encoded",
    [
        ([3, 1, None, 2], "multiclass", (1, 2, 3), [2, 0, math.nan, 1]),
        ([3.0, 1.0, math.nan, 2.0], "multiclass", (1, 2, 3), [2, 0, math.nan, 1]),
        ([0, 1, None], "regression", (), [0, 1, math.nan]),
        ([True, False, None], "regression", (), [1, 0, math.nan]),
        ([" 1.5", "2", None], "regression", (), [1.5, 2, math.nan]),
        (["x", "y", None], "multiclass", ("x", "y"), [0, 1, math.nan]),
    ],
)
def test_kind_can_be_given(values, kind, classes, encoded):
    frame = pl.DataFrame({"y": values})
    (task,) = infer_tasks(frame, ["y"], {"y": kind})
    assert (task.kind, task.classes) == (kind, classes)
    np.testing.assert_array_equal(encode_targets(frame, [task])[:, 0], encoded)


@pytest.mark.parametrize(
    "fitted, given, encoded",
    [
        (["1", "2", "x"], [1, 2], [0, 1]),
        (["1", "2", "x"], [1.0, None], [0, math.nan]),
        ([1, 2], ["1", "2"], [0, 1]),
        ([1, 2], [2.0, math.nan], [1, math.nan]),
        ([True, False], [1, 0], [1, 0]),
        ([True, False], ["true", "False"], [1, 0]),
        (["a", "b"], pl.Series([None, None], dtype=pl.Null), [math.nan, math.nan]),
        ([1, 2], pl.Series([None, None], dtype=pl.Null), [math.nan, math.nan]),
        ([1.5, 2.5, 3.5], pl.Series([None, None], dtype=pl.Null), [math.nan, math.nan]),
        ([1.5, 2.5, 3.5], [1, 2], [1, 2]),
    ],
)
def test_labels_of_another_table(fitted, given, encoded):
    tasks = infer_tasks(pl.DataFrame({"y": fitted}), ["y"])
    labels = encode_targets(pl.DataFrame({"y": given}), tasks)
    np.testing.assert_array_equal(labels[:, 0], encoded)


def test_large_values_are_not_rounded():
    frame = pl.DataFrame({"y": [1234567890.5, 1234567891.5, 3.0]})
    labels = encode_targets(frame, infer_tasks(frame, ["y"]))
    assert labels[0, 0] == 1234567890.5


@pytest.mark.parametrize(
    "values, kinds, message",
    [
        ([None, None], None, "all labels of target 'y' are missing"),
        ([math.nan, None], None, "all labels of target 'y' are missing"),
        ([1, 1, None], None, "target 'y' has one value only, 1"),
        (["a", "a"], None, "target 'y' has one value only, 'a'"),
        ([1.0, math.inf, 2.0], None, "target 'y' holds inf in row 2"),
        (["1", "inf", "2"], {"y": "regression"}, "target 'y' holds inf in row 2"),
        (["1", "2", "old"], {"y": "regression"}, "'y' holds the text 'old' in row 3; put a"),
        ([*map(str, range(30)), "x"], None, "mostly numbers but holds 'x' in row 31; mend it"),
        ([*map(str, range(30)), "inf"], None, "mostly numbers but holds 'inf' in row 31; mend it"),
        ([*map(str, range(30)), None], None, "'y' is text, but all its values are numbers, such"),
        ([1, 2, 3], {"y": "binary"}, r"'y' has 3 distinct values \(1, 2, 3\)"),
        ([1, 2, 2.5], {"y": "multiclass"}, r"'y' holds 2\.5 in row 3, which is no class"),
        ([1, 2], {"y": "regresion"}, "unknown kind 'regresion'.*did you mean 'regression'"),
        (
            [1, 2, -3],
            {"y": "count"},
            "count target 'y' holds -3 in row 3; counts are whole numbers",
        ),
        ([1, None, 2.5], {"y": "count"}, r"count target 'y' holds 2\.5 in row 3; counts are"),
        (
            [1, None, 2.5],
            {"y": "negative-binomial"},
            r"negative-binomial target 'y' holds 2\.5 in row 3; counts are",
        ),
        (["1", "x", "3"], {"y": "mean-variance"}, "target 'y' holds the text 'x' in row 2"),
        (
            [1, 2, 3],
            {"y": "sequence"},
            "'y' can't be sequence: a target of a table is",
        ),
        ([1, 2, 3], {"y": "mean-variance:1:2"}, "takes nothing after the kind, got"),
        (["1", "2", "x"], {"y": "count"}, "count target 'y' holds the text 'x' in row 3"),
        (
            ["low", "top"],
            {"y": "ordinal"},
            "holds text, such as 'low', whose order is not known; name all classes in their order, "
            "as ordinal:LOWEST:...:HIGHEST .they are 'low', 'top'.",
        ),
        (["a", "b", "c"], {"y": "ordinal:a:b"}, "'y' holds 'c' in row 3, which its order does not"),
        ([1, 2, 3], {"y": "ordinal:1:x"}, "holds values such as 1, but its order names 'x'"),
        ([1, 2, 3], {"y": "ordinal:1"}, "must name two or more classes, each once"),
        ([1, 2, 3], {"y": "ordinal:1:1:2:3"}, "must name two or more classes, each once"),
        ([1, 2, 3], {"y": "multiclass:1:2:3"}, "takes nothing after the kind, got"),
        ([1, 2], {"z": "binary"}, "a kind is given for 'z', which is no target"),
        ([[1], [2]], None, r"target 'y' holds lists of whole numbers, which can't be predicted"),
        ([dt.date(2020, 1, 1)] * 2, None, "target 'y' holds dates, which"),
    ],
)
def test_columns_that_are_no_target(values, kinds, message):
    with pytest.raises(InvalidInputError, match=message):
        infer_tasks(pl.DataFrame({"y": values}, strict=False), ["y"], kinds)


def test_codes_are_classes_however_many_there_are():
    codes = [f"{index:03d}" for index in range(90, 120)] * 3
    (task,) = infer_tasks(pl.DataFrame({"y": codes}), ["y"])
    assert task.kind == "multiclass"
    assert task.classes == tuple(sorted(codes[:30]))


def test_targets_are_named_once_and_exist():
    frame = load_penguins()
    with pytest.raises(InvalidInputError, match=r"'sexx' is not in the table.*did you mean 'sex'"):
        infer_tasks(frame, ["sexx"])
    with pytest.raises(InvalidInputError, match="target 'sex' is named twice"):
        infer_tasks(frame, ["sex", "year", "sex"])
    with pytest.raises(InvalidInputError, match="no target is named"):
        infer_tasks(frame, [])


@pytest.mark.parametrize(
    "fitted, given, message",
    [
        (
            ["a", "b"],
            ["a", "c"],
            "target 'y' holds 'c' in row 2, which is none of its classes a, b",
        ),
        ([1, 2], [1, 3], "target 'y' holds 3 in row 2"),
        ([1, 2], ["1", "x"], "target 'y' holds 'x' in row 2"),
        ([1.5, 2.5, 3.5], ["1", "x"], "regression target 'y' holds the text 'x' in row 2"),
        ([1.5, 2.5, 3.5], [1.0, math.inf], "target 'y' holds inf in row 2"),
        ([1.5, 2.5, 3.5], [1.0, None, -1e308], r"as large as 1e\+308 \(row 3 holds -1e\+308\)"),
    ],
)
def test_labels_that_do_not_fit(fitted, given, message):
    tasks = infer_tasks(pl.DataFrame({"y": fitted}), ["y"])
    with pytest.raises(InvalidInputError, match=message):
        encode_targets(pl.DataFrame({"y": given}), tasks)


def test_missing_target_column():
    with pytest.raises(InvalidInputError, match="'y' is not in the table"):
        encode_targets(pl.DataFrame({"x": [1]}), [Task.regression("y")])


@pytest.mark.parametrize("dtype", [pl.Int64, pl.UInt64, pl.Int128])
def test_whole_numbers_beyond_floating_point_are_classes_of_their_own(dtype):
    large = 2**53
    frame = pl.DataFrame({"c": pl.Series([large, large + 1, None, large + 2] * 2, dtype=dtype)})
    (task,) = infer_tasks(frame, ["c"], {"c": "multiclass"})
    assert task.classes == (large, large + 1, large + 2)
    np.testing.assert_array_equal(
        encode_targets(frame, [task])[:, 0], [0, 1, np.nan, 2, 0, 1, np.nan, 2]
    )
    text = frame.select(pl.col("c").cast(pl.String))
    np.testing.assert_array_equal(
        encode_targets(text, [task])[:, 0], [0, 1, np.nan, 2, 0, 1, np.nan, 2]
    )
    with pytest.raises(InvalidInputError, match=f"holds {large + 3} in row 1"):
        encode_targets(pl.DataFrame({"c": [large + 3]}), [task])


def test_large_classes_stay_apart_whatever_fraction_of_zeros_they_have():
    large = 2**53
    decimals = [Decimal(f"{large + row % 3}.00") for row in range(6)]
    frame = pl.DataFrame({"c": pl.Series(decimals, dtype=pl.Decimal(20, 2))})
    (task,) = infer_tasks(frame, ["c"], {"c": "multiclass"})
    assert task.classes == (large, large + 1, large + 2)
    np.testing.assert_array_equal(encode_targets(frame, [task])[:, 0], [0, 1, 2] * 2)
    text = pl.DataFrame({"c": [f"{large + 1}.0", f"{large + 2}.", f"{large}"]})
    np.testing.assert_array_equal(encode_targets(text, [task])[:, 0], [1, 2, 0])
    floats = pl.DataFrame({"c": [large + 2.0 * (row % 3) for row in range(6)]})
    message = "'c' holds 9007199254740992.0 in row 1; floating-point numbers of that size can't be"
    with pytest.raises(InvalidInputError, match=message):
        infer_tasks(floats, ["c"], {"c": "multiclass"})


def test_large_classes_of_a_text_file_stay_apart(tmp_path):
    classes = [str(2**53 + row % 4) for row in range(40)]
    for last, kind in ((classes[-1] + ".0", int), (f"{2**53 + 3:.16e}", str)):
        lines = [f"{name},{row}\n" for row, name in enumerate([*classes[:-1], last])]
        (tmp_path / "t.csv").write_text("c,x\n" + "".join(lines))
        raw = read_raw(tmp_path / "t.csv")
        (task,) = SupervisedTable.prepare(raw, ["c"], kinds={"c": "multiclass"}).tasks
        assert {kind(2**53 + row) for row in range(4)} <= {*task.classes}


def test_classes_that_are_numbers_are_read_from_text_as_they_are_written():
    task = Task.multiclass("c", [0, 1, 10])
    frame = pl.DataFrame({"c": ["0", "1.0", " 10", None]})
    np.testing.assert_array_equal(encode_targets(frame, [task])[:, 0], [0, 1, 2, np.nan])
    for wrong in ("1_0", "ten", "nan", ""):
        with pytest.raises(InvalidInputError, match="in row 1, which is none of its classes"):
            encode_targets(pl.DataFrame({"c": [wrong]}), [task])


@pytest.mark.parametrize(
    "values, kind, classes",
    [
        ([3, 1, 2], "ordinal", (1, 2, 3)),
        ([2.0, 10.0, 1.0], "ordinal", (1, 2, 10)),
        ([1.3, 1.0, 1.7], "ordinal", (1.0, 1.3, 1.7)),
        ([3, 1, 2], "ordinal:3:2:1", (3, 2, 1)),
        ([3, 1], "ordinal:1:2:3", (1, 2, 3)),
        ([1.5, 1.0], "ordinal:1:1.5", (1.0, 1.5)),
        ([True, False], "ordinal", (False, True)),
        (["top", "low", "mid"], "ordinal:low:mid:top", ("low", "mid", "top")),
        (
            pl.Series(["top", "low"], dtype=pl.Enum(["low", "mid", "top"])),
            "ordinal",
            ("low", "top"),
        ),
    ],
)
def test_classes_have_the_order_of_numbers_or_the_one_that_is_said(values, kind, classes):
    frame = pl.DataFrame({"y": values})
    (task,) = infer_tasks(frame, ["y"], {"y": kind})
    assert (task.kind, task.classes) == ("ordinal", classes)
    assert {type(label) for label in task.classes} == {type(classes[0])}
    labels = encode_targets(frame, [task])[:, 0]
    assert [task.classes[int(index)] for index in labels] == list(values)


def test_counts_are_numbers():
    frame = pl.DataFrame({"y": [0, None, 7]})
    (task,) = infer_tasks(frame, ["y"], {"y": "count"})
    assert task == Task.count("y")
    np.testing.assert_array_equal(encode_targets(frame, [task])[:, 0], [0, np.nan, 7])


def test_a_count_is_only_assumed_where_it_is_said():
    assert infer_tasks(pl.DataFrame({"y": [0, 1, 7]}), ["y"])[0].kind == "regression"


def test_a_gap_between_ordered_numbers_gets_a_word():
    frame = pl.DataFrame({"y": [1, 2, 5, 1] * 5, "x": [*range(20)]})
    said = SupervisedTable.prepare(frame, "y", kinds={"y": "ordinal"}).notes
    assert any("never holds 3, 4" in note and "y=ordinal:1:2:3:4:5 keeps" in note for note in said)
    said = SupervisedTable.prepare(frame, "y", kinds={"y": "ordinal:1:2:3:4:5"})
    assert said.tasks[0].classes == (1, 2, 3, 4, 5)
    assert not any("never holds" in note or "rare" in note for note in said.notes)


@pytest.mark.parametrize(
    ("values", "note"),
    [
        ([1, 2, 3, 99], "nothing between 3 and 99, so they are neighbours; if 99 stands for a"),
        ([-999, 1, 2, 3], "nothing between -999 and 1, so they are neighbours; if -999 stands"),
        ([1, 2, 3, 4], None),
        ([10, 20, 30, 40], None),
        ([0, 100, 1000, 5000], None),
    ],
)
def test_a_number_far_from_an_order_may_stand_for_a_missing_label(values, note):
    frame = pl.DataFrame({"y": values * 5, "x": [7 * row % 20 / 3 for row in range(20)]})
    said = SupervisedTable.prepare(frame, "y", kinds={"y": "ordinal"}).notes
    assert any(note in one and len(one) < 200 for one in said) if note else not said


def test_stages_without_rows_get_a_word():
    frame = pl.DataFrame(
        {"y": ["low", "high", "top", "low"] * 5, "x": [7 * row % 20 / 3 for row in range(20)]}
    )
    said = SupervisedTable.prepare(frame, "y", kinds={"y": "ordinal:low:mid:high:top"}).notes
    assert said == (
        "no row holds mid of ordinal target y, which its order names: how probable it is can't be "
        "learned, and comes out near 0",
    )
    typed = frame.with_columns(pl.col("y").cast(pl.Enum(["low", "mid", "high", "top"])))
    said = SupervisedTable.prepare(typed, "y", kinds={"y": "ordinal"}).notes
    assert said == (
        "ordinal target y never holds mid of its type, so the classes around it are neighbours; "
        "--task y=ordinal:low:mid:high:top keeps a place",
    )


def test_rare_classes_of_an_order_are_not_merged():
    frame = pl.DataFrame({"y": [1, 2, 3, 3, 3, 3, 3] * 2, "x": [*range(14)]})
    with pytest.raises(InvalidInputError, match="ordinal target 'y' has no place for 'other'"):
        SupervisedTable.prepare(frame, "y", kinds={"y": "ordinal"}, rare="merge")


def test_classes_beyond_64_bits_are_refused():
    frame = pl.DataFrame({"y": pl.Series([2**70, 2**70 + 1] * 10, dtype=pl.Int128)})
    with pytest.raises(InvalidInputError, match=r"'y' holds the class .*--column y=text"):
        infer_tasks(frame, ["y"])
