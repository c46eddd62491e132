import numpy as np
import polars as pl
import pytest

from jointrain.data import SupervisedTable, outer_folds
from jointrain.errors import InvalidInputError


def species() -> pl.DataFrame:
    names = ["oak"] * 20 + ["elm"] * 12 + ["yew"] * 3 + ["fir"] * 2 + ["ash"]
    return pl.DataFrame(
        {
            "x": np.random.default_rng(0).normal(size=38),
            "name": names,
            "code": [{"oak": 1, "elm": 2, "yew": 3, "fir": 4, "ash": 5}[name] for name in names],
            "rare": ["no"] * 36 + ["yes"] * 2,
            "y": np.random.default_rng(1).normal(size=38),
        }
    )


def prepared(targets, **more):
    kinds = {"code": "multiclass"} if "code" in targets else None
    return SupervisedTable.prepare(species().select("x", *targets), targets, kinds=kinds, **more)


def test_rare_classes_are_kept_and_all_are_named_at_once():
    table = prepared(["name", "rare", "y"])
    (note,) = (note for note in table.notes if "fewer than 5 rows" in note)
    assert "target 'name': 'ash' (1 row), 'fir' (2 rows), 'yew' (3 rows)" in note
    assert "target 'rare': 'yes' (2 rows)" in note
    assert table.tasks[0].classes == ("ash", "elm", "fir", "oak", "yew")
    folds = outer_folds(table.labels(), table.tasks, 5, 0)
    ash, fir, yew = (table.tasks[0].classes.index(name) for name in ("ash", "fir", "yew"))
    for train, test in folds:
        assert {ash, fir, yew} <= set(table.labels()[train, 0])
        assert ash not in table.labels()[test, 0]


def test_what_is_rare_depends_on_the_folds():
    assert not prepared(["name"], rare_rows=1).notes
    assert "'fir' (2 rows)" not in prepared(["name"], rare_rows=2).notes[0]


def test_rare_classes_are_merged():
    table = prepared(["name", "y"], rare="merge")
    assert table.tasks[0].classes == ("elm", "oak", "other")
    assert np.bincount(table.labels()[:, 0].astype(int)).tolist() == [12, 20, 6]
    assert "are merged into the class 'other': target 'name': 'ash' (1 row)" in table.notes[0]
    numbers = prepared(["code"], rare="merge")
    assert numbers.tasks[0].classes == ("1", "2", "other")
    assert "the classes of 'code' are text now, not numbers" in numbers.notes


def test_a_class_other_that_is_there_takes_the_rare_ones_in():
    frame = species().with_columns(name=pl.col("name").replace({"elm": "other", "yew": "oak"}))
    frame = frame.with_columns(name=pl.col("name").replace({"ash": "oak"}))
    table = SupervisedTable.prepare(frame, ["name"], rare="merge")
    assert table.tasks[0].classes == ("oak", "other")
    assert np.bincount(table.labels()[:, 0].astype(int)).tolist() == [24, 14]


def test_labels_of_rare_classes_are_dropped_and_rows_stay_that_have_others():
    table = prepared(["name", "y"], rare="drop")
    assert (table.tasks[0].kind, table.tasks[0].classes) == ("binary", ("elm", "oak"))
    assert len(table.frame) == 38
    assert np.isnan(table.labels()[:, 0]).sum() == 6
    assert "their labels are dropped: target 'name': 'ash' (1 row)" in table.notes[0]
    alone = prepared(["name"], rare="drop")
    assert (len(alone.frame), alone.unlabelled_rows) == (32, 6)


@pytest.mark.parametrize(
    "targets, how, message",
    [
        (["rare", "name"], "merge", "can't be merged: target 'rare' has two classes only; keep"),
        (["rare"], "drop", "can't be dropped: target 'rare' would have fewer than two classes"),
        (["name"], "remove", "got 'remove', use keep, merge or drop"),
    ],
)
def test_what_makes_no_sense_is_refused(targets, how, message):
    with pytest.raises(InvalidInputError, match=message):
        prepared(targets, rare=how)


def test_a_single_rare_class_is_not_renamed():
    frame = species().filter(pl.col("name").is_in(["oak", "elm", "ash"]))
    with pytest.raises(InvalidInputError, match="target 'name' has one rare class only, 'ash'"):
        SupervisedTable.prepare(frame, ["name"], rare="merge")
