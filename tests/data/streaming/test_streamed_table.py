"""A table larger than memory, and what one pass finds, against the same table in memory."""

import numpy as np
import pandas as pd
import polars as pl
import pytest

from jointrain.data import SupervisedTable, TableEncoder
from jointrain.data.streaming import StreamedTable, _table_scan, table_files
from jointrain.errors import InvalidInputError
from tests.data.streaming.tables import in_files, mixed_frame

TARGETS = ["y", "z", "w"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return in_files(mixed_frame(), tmp_path_factory.mktemp("table") / "t")


@pytest.fixture(scope="module")
def table(folder):
    return StreamedTable.prepare(table_files(folder), TARGETS, id_column="row")


@pytest.fixture(scope="module")
def in_memory():
    return SupervisedTable.prepare(mixed_frame(), TARGETS, id_column="row", duplicates="apart")


def rows_of(table):
    return pl.concat([table.read(n).frame for n in range(len(table.files.pieces))])


def test_tasks_features_and_schema_are_those_of_the_table_in_memory(table, in_memory):
    assert table.tasks == in_memory.tasks
    assert table.columns == in_memory.columns
    assert table.sample.schema == in_memory.schema
    assert table.labels.keys() == {"y", "z", "w"}


def test_the_encoder_is_that_of_all_rows(table, in_memory):
    frame = in_memory.frame
    own = TableEncoder(0).fit(frame, list(in_memory.columns))
    found = table.encoder(0)
    assert found.feature_names == own.feature_names
    assert found.code_columns == own.code_columns
    one, other = found.transform(frame), own.transform(frame)
    # few rows are all kept by the sketch of quantiles, which gives values that came; so medians
    # and quartiles differ by neighbours
    assert np.abs(one - other).max() < 0.03


def test_encoders_with_bins_can_be_saved(table, tmp_path):
    found = table.encoder(None)
    found.save(tmp_path / "encoder")
    again = TableEncoder.load(tmp_path / "encoder")
    frame = table.sample.frame
    assert (again.transform(frame) == found.transform(frame)).all()


def test_scaling_is_that_of_all_labels(table):
    labels = mixed_frame()["y"].drop_nulls().to_numpy()
    assert table.scaling["y"] == pytest.approx((labels.mean(), labels.std()), rel=1e-9)


def test_rows_are_trained_on_or_kept_for_validation(table):
    trained, kept = set(rows_of(table)["row"]), set(table.validation.frame["row"])
    assert not trained & kept
    assert trained | kept == set(mixed_frame()["row"])
    assert 0.10 < len(kept) / 600 < 0.20
    assert table.rows == len(trained)
    labelled = mixed_frame().filter(pl.col("row").is_in(list(trained)), pl.col("y").is_not_null())
    assert table.labels["y"] == len(labelled)


@pytest.mark.parametrize("id_column", ["row", None])
def test_validation_rows_stay_when_files_are_renamed(folder, tmp_path, id_column):
    ignore = () if id_column else ("row",)
    options = {"id_column": id_column, "ignore": ignore}
    one = StreamedTable.prepare(table_files(folder), ["z"], **options)
    for number, path in enumerate(sorted(folder.iterdir())):
        (tmp_path / f"{9 - number}.parquet").write_bytes(path.read_bytes())
    other = StreamedTable.prepare(table_files(tmp_path), ["z"], **options)
    assert one.validation.frame.equals(other.validation.frame)
    assert one.training_rows == other.training_rows


def test_by_id_they_stay_when_rows_are_put_in_other_files(folder, tmp_path, table):
    again = in_files(mixed_frame().sort("x0"), tmp_path / "t", files=2, group_rows=77)
    other = StreamedTable.prepare(table_files(again), TARGETS, id_column="row")
    assert set(other.validation.frame["row"]) == set(table.validation.frame["row"])


def test_rows_of_a_group_are_kept_together(folder):
    found = StreamedTable.prepare(table_files(folder), ["z"], group_column="user", id_column="row")
    assert not set(rows_of(found)["user"]) & set(found.validation.frame["user"])
    # so are they in a study of the sample, and where validation rows are halved
    for part in (found.sample, found.validation):
        pairs = set(zip(part.frame["user"], part.groups.tolist(), strict=True))
        assert len(pairs) == len({user for user, _ in pairs}) == len({group for _, group in pairs})


def test_an_empty_cell_of_the_groups_is_refused_with_its_place(tmp_path):
    frame = mixed_frame().with_columns(
        user=pl.when(pl.int_range(600) == 555).then(None).otherwise("user")
    )
    files = table_files(in_files(frame, tmp_path / "t"))
    with pytest.raises(InvalidInputError, match=r"'user' is empty in row 156 of .*part-2\.parquet"):
        StreamedTable.prepare(files, ["z"], group_column="user", id_column="row")


@pytest.mark.parametrize("index", [False, True])
def test_repeated_rows_are_told_and_kept_together_in_a_study(tmp_path, index):
    once = mixed_frame().drop("row", "user")
    frame = pl.concat([once, once])
    if index:
        frame = frame.with_columns(number=pl.int_range(1200))
    files = table_files(in_files(frame, tmp_path / "t"))
    found = StreamedTable.prepare(files, ["z"]).sample
    (note,) = [note for note in found.notes if "repeat" in note]
    assert note.startswith("600 of 1200 rows that were looked at repeat an earlier row in all")
    assert "--group" in note
    assert len(np.unique(found.groups)) == 600
    assert not any("repeat" in note for note in _notes(once, tmp_path / "u"))


def _notes(frame, folder):
    return StreamedTable.prepare(table_files(in_files(frame, folder)), ["z"]).sample.notes


def test_classes_and_values_that_a_sample_misses_are_found(tmp_path, monkeypatch):
    monkeypatch.setattr(_table_scan, "SAMPLE_ROWS", 32)
    rows = 400
    index = np.arange(rows)
    frame = pl.DataFrame(
        {
            "x": index.astype(float),
            # none of these rows is among the first that are looked at
            "late": np.where(index == 333, 5.0, 1.0),
            "absent": pl.Series([None if i != 207 else 1.5 for i in range(rows)]),
            "c": np.where(index % 97 == 51, "rare", np.where(index % 2 == 0, "a", "b")),
            "n": np.where(index == 211, 7, index % 2),
        }
    )
    files = table_files(in_files(frame, tmp_path / "t", files=2, group_rows=100))
    found = StreamedTable.prepare(files, ["c", "n"])
    assert found.tasks[0].classes == ("a", "b", "rare")
    # two values make classes, a third one makes numbers
    assert found.tasks[1].kind == "regression"
    assert found.scaling["n"] == pytest.approx((frame["n"].mean(), frame["n"].std(ddof=0)))
    assert [column.name for column in found.columns] == ["x", "late", "absent"]
    assert found.encoder(0).transform(frame).shape == (400, 4)


def test_ids_that_hardly_repeat_in_a_sample_are_ids_all_the_same(tmp_path, monkeypatch):
    monkeypatch.setattr(_table_scan, "SAMPLE_ROWS", 100)
    random = np.random.default_rng(0)
    users = [f"u{n:06d}" for n in random.integers(0, 900, 4000)]
    frame = pl.DataFrame({"user": users, "y": random.normal(size=4000)})
    found = StreamedTable.prepare(
        table_files(in_files(frame, tmp_path / "t", group_rows=1000)), ["y"]
    )
    assert found.columns[0].kind == "id"
    own = SupervisedTable.prepare(frame, ["y"], duplicates="apart")
    assert own.columns[0].kind == "id"
    encoder = TableEncoder(0).fit(frame, list(own.columns))
    assert (found.encoder(0).transform(frame) == encoder.transform(frame)).all()


def test_weights_and_balanced_classes_are_counted_over_all_rows(folder, tmp_path):
    frame = mixed_frame(rows=300).with_columns(
        weight=pl.Series(np.random.default_rng(1).uniform(0, 2, 300).round(1))
    )
    frame = frame.with_columns(
        pl.when(pl.int_range(300) % 10 == 0).then(0.0).otherwise("weight").alias("weight")
    )
    files = table_files(in_files(frame, tmp_path / "t"))
    options = {"row_weight": "weight", "class_weights": "balanced", "id_column": "row"}
    found = StreamedTable.prepare(files, ["y", "w"], **options)
    own = SupervisedTable.prepare(frame, ["y", "w"], duplicates="apart", **options)
    factors = own.fit_weights() / own.weights
    codes = [own.tasks[1].classes.index(label) for label in own.frame["w"]]
    expected = [factors[codes.index(code), 1] for code in range(3)]
    assert found.class_factors["w"] == pytest.approx(expected)
    trained = own.frame.filter(~pl.col("row").is_in(list(found.validation.frame["row"])))
    assert found.labels["w"] == len(trained)
    of_numbers = trained.filter(pl.col("y").is_not_null())["weight"].mean()
    assert found.mean_weights["y"] == pytest.approx(of_numbers)


def test_what_cannot_be_used_is_named_with_file_and_row(tmp_path):
    frame = mixed_frame(200)
    broken = frame.with_columns(
        pl.when(pl.int_range(200) == 171).then(float("inf")).otherwise("x0").alias("x0")
    )
    files = table_files(in_files(broken, tmp_path / "t", files=1))
    with pytest.raises(InvalidInputError, match=r"'x0' holds inf in row 172 of .*part-0.parquet"):
        StreamedTable.prepare(files, ["y"])
    late = frame.with_columns(
        pl.when(pl.int_range(200) == 113).then(-1.0).otherwise(1.0).alias("weight")
    )
    files = table_files(in_files(late, tmp_path / "u", files=1))
    with pytest.raises(InvalidInputError, match=r"'weight' holds -1 in row 114 of .*part-0"):
        StreamedTable.prepare(files, ["y"], row_weight="weight")
    with pytest.raises(InvalidInputError, match="ignored column 'x9' is not in the table"):
        StreamedTable.prepare(files, ["y"], ignore=["x9"])
    with pytest.raises(InvalidInputError, match="'yy' is not in the table"):
        StreamedTable.prepare(files, ["yy"])


def test_a_file_that_changes_while_it_is_read_is_refused(tmp_path):
    frame = mixed_frame(100)
    folder = in_files(frame, tmp_path / "t", files=1, group_rows=100)
    found = StreamedTable.prepare(table_files(folder), ["y"])
    in_files(frame.with_columns(y=pl.lit(1.0)), folder, files=1, group_rows=100)
    with pytest.raises(InvalidInputError, match=r"part-0\.parquet"):
        found.read(0)


@pytest.mark.parametrize("word, why", [("Total", "it is called 'Total'"), (None, "are the sums")])
@pytest.mark.parametrize("rows", [7, 50])  # in a row group; the total alone in the last one
def test_a_row_of_sums_at_the_end_of_any_file_is_refused(tmp_path, word, why, rows):
    for number in range(2):
        x = np.random.default_rng(number).integers(1, 100, rows).astype(float)
        frame = pl.DataFrame(
            {"x": x, "y": 2 * x + 1, "c": ["r", "b"] * (rows // 2) + ["r"] * (rows % 2)}
        )
        assert StreamedTable.prepare(_file(frame, tmp_path / f"{number}.parquet"), "y").rows
        if number:
            last = pl.DataFrame({"x": [x.sum()], "y": [frame["y"].sum()], "c": [word]})
            _file(pl.concat([frame, last], how="vertical_relaxed"), tmp_path / f"{number}.parquet")
    with pytest.raises(InvalidInputError, match=rf"last row of \S+1.parquet is no case.*{why}"):
        StreamedTable.prepare(table_files(tmp_path), "y")


def _file(frame, path):
    frame.write_parquet(path, row_group_size=50)
    return table_files(path)


def test_the_index_of_pandas_is_left_out(tmp_path):
    frame = pd.DataFrame({"x": range(40), "y": [0.5, 1.5, 2.5, 4] * 10})
    frame.index = [f"r{i % 9}" for i in range(40)]
    for name in "ab":
        frame.to_parquet(tmp_path / f"{name}.parquet")
    table = StreamedTable.prepare(table_files(tmp_path), "y")
    assert [column.name for column in table.columns] == ["x"]
    assert any(note.startswith("__index_level_0__: the index") for note in table.sample.notes)
    named = StreamedTable.prepare(table_files(tmp_path), "y", group_column="__index_level_0__")
    assert [column.name for column in named.columns] == ["x"]
