"""What a notebook shows of studies, results, tables, networks and searches."""

import altair
import numpy as np
import polars as pl
import pytest
from torch import nn

from jointrain import HardSharing, SupervisedTable
from jointrain.errors import InvalidInputError
from jointrain.studies import verdict
from jointrain.studies.searches import Affinity
from jointrain.tables import ColumnImportance
from tests.reports.test_summary import both, make_result


@pytest.fixture(scope="module")
def result():
    return make_result(both(joint=3))


@pytest.fixture(scope="module")
def table():
    frame = pl.DataFrame(
        {"x": [1.5, None, 3.25, 4.0] * 5, "a": [0.5, 1.5, None, 2.5] * 5, "b": ["u", "v"] * 10}
    )
    return SupervisedTable.prepare(frame, ["a", "b"])


def runs():
    rows = [
        {"recipe": recipe, "task": task, "metric": "rmse", "seed": seed,
         "value": value + 0.01 * seed}
        for recipe, value in (("separate", 1.0), ("joint", 0.8))
        for task in ("a", "b<i>")
        for seed in range(3)
    ]  # fmt: skip
    return verdict(pl.DataFrame(rows))


def test_a_result_is_tidy(result):
    frame = result.to_frame()
    assert frame.height == 5 * 2
    joint = frame.row(
        by_predicate=(pl.col("recipe") == "joint") & (pl.col("task") == "a"), named=True
    )
    assert joint["mean"] == pytest.approx(result.values("joint", "a", "RMSE").mean())
    assert joint["verdict"] == "better" == result.comparisons["joint"]["a"].verdict
    assert frame.filter(pl.col("recipe") == "separate")["change"].null_count() == 2
    assert "a by joint" in result._repr_html_()


def test_a_study_says_what_will_run(result):
    assert result.study.to_frame()["runs"].unique().to_list() == [10]
    assert result.study.to_frame()["role"].to_list().count("baseline") == 2
    assert isinstance(result.study.plot(), altair.Chart)


def test_a_table_says_how_columns_are_used(table):
    frame = table.to_frame()
    assert dict(frame.select("column", "role").iter_rows()) == {
        "a": "target",
        "b": "target",
        "x": "feature",
    }
    assert dict(frame.select("column", "missing").iter_rows()) == {"a": 5, "b": 0, "x": 5}
    assert "20 rows" in table._repr_html_()
    table.plot().to_dict()


def test_a_network_says_what_is_shared():
    network = HardSharing(nn.Linear(3, 4), {"a": nn.Linear(4, 1), "b": nn.Linear(4, 2)})
    assert network.to_frame().rows() == [("shared", 16), ("a", 5), ("b", 10)]
    assert "31 parameters" in network._repr_html_()
    network.plot().to_dict()


def test_runs_have_a_chart_for_each_task():
    found = runs()
    assert "b&lt;i&gt;" in found._repr_html_()
    found.plot().to_dict()
    found.plot("b<i>").to_dict()
    with pytest.raises(InvalidInputError, match="no task 'c'"):
        found.plot("c")


def test_affinities_and_importance_are_tidy():
    affinity = Affinity(("a", "b"), np.array([[[0.1, 0.2], [0.3, 0.4]]]), "gradient")
    assert affinity.to_frame().height == 4
    assert "<table" in affinity._repr_html_()
    assert issubclass(ColumnImportance, type(affinity).__mro__[1])
