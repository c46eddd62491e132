import numpy as np
import polars as pl
import pytest

from jointrain.data import SupervisedTable, outer_folds
from jointrain.errors import InvalidInputError


def measured(repeats: int = 4, rows: int = 40, **more) -> pl.DataFrame:
    random = np.random.default_rng(0)
    once = pl.DataFrame(
        {
            "a": random.normal(size=rows).round(4),
            "b": random.normal(size=rows).round(4),
            "cls": random.choice(["u", "v"], rows),
            "val": random.normal(size=rows).round(3),
        }
    )
    return pl.concat([once] * repeats).with_columns(**more)


def categories(rows: int = 300) -> pl.DataFrame:
    random = np.random.default_rng(1)
    return pl.DataFrame(
        {name: random.integers(0, 3, rows) for name in ("a", "b", "y", "z")}
        | {"c": random.choice(["u", "v"], rows)}
    )


def sides(table: SupervisedTable, folds: int = 4) -> int:
    """Return how many test rows have an equal row in training."""
    names = [column.name for column in table.columns]
    features = [str(row) for row in table.frame.select(names).rows()]
    count = 0
    for train, test in outer_folds(
        table.labels(), table.tasks, folds, 0, groups=table.groups, time=table.time
    ):
        known = {features[row] for row in train}
        count += sum(features[row] in known for row in test)
    return count


def test_repeats_that_chance_does_not_explain_stay_together():
    table = SupervisedTable.prepare(measured(), ["cls", "val"])
    assert sides(table) == 0
    assert len(set(table.groups)) == 40
    (note,) = table.notes
    assert note.startswith("120 of 160 rows repeat an earlier row in all features, 120 of them in")
    assert "stay on one side of every split; --duplicates apart" in note


def test_repeats_in_the_features_alone_are_counted_apart():
    random = np.random.default_rng(5)
    frame = measured(2, val=pl.Series(random.normal(size=80)))
    table = SupervisedTable.prepare(frame, ["cls", "val"])
    assert table.notes[0].startswith("40 of 80 rows repeat an earlier row in all features, none of")
    assert sides(table) == 0


def test_they_are_dealt_out_or_left_out_on_request():
    apart = SupervisedTable.prepare(measured(), ["cls", "val"], duplicates="apart")
    assert apart.groups is None
    assert apart.notes == ()
    assert sides(apart) > 80
    dropped = SupervisedTable.prepare(measured(), ["cls", "val"], duplicates="drop")
    assert dropped.frame.equals(measured(1))
    assert dropped.groups is None
    assert "120 of them in the targets, too; 120 are left out" in dropped.notes[0]
    with pytest.raises(InvalidInputError, match=r"got 'dropp'.*did you mean 'drop'"):
        SupervisedTable.prepare(measured(), ["cls"], duplicates="dropp")


def test_tables_of_few_categories_keep_their_folds():
    frame = categories()
    kinds = {"y": "multiclass", "z": "multiclass"}
    table = SupervisedTable.prepare(frame, ["y", "z"], kinds=kinds)
    assert table.groups is None
    (note,) = table.notes
    assert "as chance has it in columns of few values: they are dealt out" in note
    together = SupervisedTable.prepare(frame, ["y", "z"], kinds=kinds, duplicates="together")
    assert sides(table) > 0
    assert sides(together, 2) == 0


def test_by_group_and_time_repeats_are_told_and_dealt_out_unless_asked():
    frame = measured(4, g=pl.int_range(160) // 20, t=pl.int_range(160))
    more = {"kinds": {"cls": "binary"}, "ignore": ["g", "t"]}
    by_group = SupervisedTable.prepare(frame, ["cls", "val"], group_column="g", **more)
    assert len(set(by_group.groups)) == 8
    assert "which chance does not explain" in by_group.notes[0]
    merged = SupervisedTable.prepare(
        frame, ["cls", "val"], group_column="g", duplicates="together", **more
    )
    # rows 0 to 39 are in groups 0 and 1 and come again in 2 and 3, ...
    assert len(set(merged.groups)) == 2
    assert sides(merged, 2) == 0
    by_time = SupervisedTable.prepare(frame, ["cls", "val"], time_column="t", **more)
    assert by_time.groups is None
    assert sides(by_time) > 0
    both = SupervisedTable.prepare(
        frame, ["cls", "val"], time_column="t", duplicates="together", **more
    )
    assert sides(both) == 0
    assert (both.time == np.arange(160)).all()


def test_groups_of_repeats_do_not_depend_on_hashes():
    table = SupervisedTable.prepare(measured(2), ["cls"], ignore=["val"])
    assert table.groups.tolist() == [*range(40), *range(40)]


def test_a_large_table_takes_moments():
    random = np.random.default_rng(0)
    frame = pl.DataFrame({f"c{i}": random.normal(size=20_000) for i in range(20)})
    frame = pl.concat([frame, frame.head(100)])
    table = SupervisedTable.prepare(frame, ["c0", "c1"])
    assert len(set(table.groups)) == 20_000
    sizes = [len(test) for _, test in outer_folds(
        table.labels(), table.tasks, 5, 0, groups=table.groups)]  # fmt: skip
    assert max(sizes) - min(sizes) <= 2


def test_few_distinct_rows_are_not_kept_together_by_default():
    table = SupervisedTable.prepare(measured(20, rows=6), ["val"], ignore=["cls"])
    assert table.groups is None
    assert "which chance does not explain" in table.notes[0]


@pytest.mark.parametrize("decimals, together", [(1, False), (3, False), (9, True)])
def test_repeats_of_a_single_number_depend_on_its_decimals(decimals, together):
    x = np.random.default_rng(3).normal(size=150).round(decimals)
    x[:5] = x[5:10]
    frame = pl.DataFrame({"x": x, "twice": 2 * x, "y": np.random.default_rng(4).normal(size=150)})
    table = SupervisedTable.prepare(frame, ["y"])
    assert (table.groups is not None) is together


def test_rounded_measurements_are_told_from_categories_by_several_columns():
    frame = measured().with_columns(pl.col("a", "b").round(3))
    assert SupervisedTable.prepare(frame, ["cls", "val"]).groups is not None
    coarse = measured().with_columns(pl.col("a", "b").round(1))
    assert SupervisedTable.prepare(coarse, ["cls", "val"]).groups is None


def test_spectra_that_repeat_are_kept_together_though_their_columns_are_copies_of_each_other():
    random = np.random.default_rng(0)
    level = random.uniform(2, 5, 193)
    spectra = {f"x{i}": (level * (1 + 0.01 * i)).round(5) for i in range(20)}
    frame = pl.DataFrame({**spectra, "fat": random.normal(size=193)})
    frame = pl.concat([frame, frame[:22]])
    table = SupervisedTable.prepare(frame, ["fat"])
    assert len(np.unique(table.groups)) == 193
    assert any(
        "22 of 215 rows repeat" in note and "stay on one side" in note for note in table.notes
    )


@pytest.mark.parametrize("index", [range(160), [f"row {i}" for i in range(160)]])
def test_an_index_does_not_hide_repeats(index):
    frame = measured(index=pl.Series(list(index)))
    table = SupervisedTable.prepare(frame, ["cls", "val"])
    first, second = table.notes
    assert first.startswith("120 of 160 rows repeat an earlier row in all features but index, 120")
    assert "repeats stay on one side of every split" in first
    assert "column 'index' looks like an index" in second
    assert len(np.unique(table.groups)) == 40


@pytest.mark.parametrize("role", ["time", "group"])
def test_a_feature_may_be_called_as_a_role_is(role):
    frame = pl.DataFrame({f"_{role}": [*"abcdefghij"] * 2, "r": [1, 2] * 10, "y": [0.0, 1.0] * 10})
    roles = {f"{role}_column": "r"}
    table = SupervisedTable.prepare(frame, "y", duplicates="drop", **roles)
    assert len(table.frame) == 10
