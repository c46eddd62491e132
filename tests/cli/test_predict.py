"""`jointrain predict` of many rows in one file: piece by piece, as if they were one."""

from contextlib import contextmanager

import numpy as np
import polars as pl
import pytest
from polars.testing import assert_frame_equal

from jointrain.cli import _streamed_use, run
from jointrain.data import read_table
from jointrain.errors import InvalidInputError
from jointrain.tables import TableModel

ROWS = 50


@pytest.fixture(scope="module")
def fitted(tmp_path_factory):
    """A folder with a table and a bundle that was fitted to it."""
    folder = tmp_path_factory.mktemp("predict")
    random = np.random.default_rng(0)
    frame = pl.DataFrame({"x": random.normal(size=ROWS), "town": ["a", "b"] * (ROWS // 2)})
    frame = frame.with_columns(y=2 * pl.col("x"), z=pl.lit("=1"))
    frame.write_csv(folder / "rows.csv")
    fit = ["fit", str(folder / "rows.csv"), "--targets", "y", "--ignore", "z", "--epochs", "1"]
    assert run([*fit, "--width", "4", "--depth", "1", "--out", str(folder / "bundle")]) == 0
    return folder


@pytest.fixture
def inside(fitted, monkeypatch):
    monkeypatch.chdir(fitted)
    return fitted


def predicted(out: str, *more: str) -> pl.DataFrame:
    command = ["predict", "bundle", "rows.csv", "--keep", "z", "--escape-formulas", "--force"]
    assert run([*command, "--out", out, *more]) == 0
    return read_table(out)


@pytest.mark.parametrize("out", ["out.csv", "out.jsonl", "out.parquet"])
def test_pieces_are_the_whole_and_move_a_bar(inside, monkeypatch, out):
    seen = []

    @contextmanager
    def bar(unit):
        seen.append(unit)
        yield lambda done, total: seen.append((done, total))

    monkeypatch.setattr(_streamed_use, "progress_bar", bar)
    whole = predicted(out, "--intervals", "0.9")
    assert seen == []  # few rows are through before a bar could be read
    monkeypatch.setattr(_streamed_use, "_ROWS_AT_ONCE", 20)
    assert_frame_equal(predicted(out, "--intervals", "0.9"), whole)
    assert seen == ["predicting 50 rows", (20, 50), (40, 50), (50, 50)]


def test_a_fault_in_a_later_piece_names_the_row_of_the_table(inside, monkeypatch, capsys):
    rows = pl.read_csv("rows.csv")["x"].to_list()
    bad = rows.index(min(rows[10:]), 10)
    predict = TableModel.predict

    def failing(model, frame):
        if rows[bad] not in (own := frame["x"].to_list()):
            return predict(model, frame)
        row = own.index(rows[bad]) + 1
        raise InvalidInputError(f"the model gives no number for 'y' in row {row}: too large")

    monkeypatch.setattr(TableModel, "predict", failing)
    monkeypatch.setattr(_streamed_use, "_ROWS_AT_ONCE", 10)
    assert run(["predict", "bundle", "rows.csv", "--out", "faulty.csv"]) == 2
    assert f"in row {bad + 1} (line {bad + 2}): too large" in capsys.readouterr().err
