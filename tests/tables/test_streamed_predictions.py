"""Predictions and metrics of a table larger than memory, against those of one in memory."""

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from jointrain.data import StreamedTable, table_files
from jointrain.errors import InvalidInputError
from jointrain.experiments import Recipe
from jointrain.tables import (
    _streamed_predictions,
    evaluate_streamed,
    fit_streamed,
    predict_streamed,
)
from tests.data.streaming.tables import in_files, mixed_frame

FEATURES = ["x0", "x1", "x2", "letter"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    frame = (
        mixed_frame(500).select(*FEATURES, "y", "z", "w").with_columns(weight=pl.int_range(500) % 3)
    )
    return in_files(frame, tmp_path_factory.mktemp("table") / "t", group_rows=60)


@pytest.fixture(scope="module")
def files(folder):
    return table_files(folder)


@pytest.fixture(scope="module")
def frame(folder):
    return pl.concat([pl.read_parquet(path) for path in sorted(folder.iterdir())])


@pytest.fixture(scope="module")
def model(files):
    table = StreamedTable.prepare(files, ["y", "z", "w"], row_weight="weight")
    return fit_streamed(table, Recipe(name="joint", epochs=1, width=8, bins=0), device="cpu")


def test_predictions_are_those_of_the_whole_table_in_the_order_of_names(model, files, frame):
    found = pl.concat(list(predict_streamed(model, files, 0.8, ["letter"])))
    expected = pl.concat(
        [frame.select("letter"), model.predict_table(frame, 0.8)], how="horizontal"
    )
    assert_frame_equal(found, expected, rel_tol=1e-9)


@pytest.mark.parametrize("weights", [None, "weight"])
def test_metrics_are_those_of_the_whole_table(model, files, frame, weights):
    found = evaluate_streamed(model, files, weights)
    for task, metrics in model.evaluate(frame, weights).items():
        assert found.values[task] == pytest.approx(metrics, rel=1e-9)
    assert (found.rows, found.sampled) == (500, ())


@pytest.mark.parametrize("weights", [None, "weight"])
def test_of_many_rows_means_are_of_all_and_other_metrics_of_a_part(
    model, files, frame, weights, monkeypatch
):
    monkeypatch.setattr(_streamed_predictions, "EXACT_ROWS", 100)
    found = evaluate_streamed(model, files, weights)
    assert (found.rows, found.sampled_rows) == (500, 100)
    assert found.sampled == ("ROC-AUC", "macro-F1")
    expected = model.evaluate(frame, weights)
    for task, name in (("y", "RMSE"), ("y", "R2"), ("z", "log-loss"), ("w", "accuracy")):
        assert found.values[task][name] == pytest.approx(expected[task][name], rel=1e-9), name
    assert found.values["z"]["ROC-AUC"] == pytest.approx(expected["z"]["ROC-AUC"], abs=0.2)


def test_a_column_that_is_not_there_is_named(model, files, tmp_path):
    with pytest.raises(InvalidInputError, match=r"'lettr' is not in .*did you mean 'letter'"):
        list(predict_streamed(model, files, keep=["lettr"]))
    bare = pl.DataFrame({"x0": [1.0], "x1": [1.0], "x2": [1.0]})
    with pytest.raises(InvalidInputError, match="'letter' is not in"):
        list(predict_streamed(model, table_files(in_files(bare, tmp_path / "t", files=1))))
