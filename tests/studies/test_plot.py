"""The picture shows the figures of the comparisons."""

import builtins

import numpy as np
import polars as pl
import pytest

from jointrain import Study, StudyResult, SupervisedTable
from jointrain.errors import MissingDependencyError


@pytest.fixture
def result():
    frame = pl.DataFrame({"x": range(20), "a": np.arange(20) / 7, "b": np.arange(20) % 9 / 4})
    study = Study(SupervisedTable.prepare(frame, ["a", "b"]), folds=2, seeds=2)
    gains = {"separate": 0.0, "joint": 0.1, "alternating": -0.1, "constant": 9, "extra trees": 0}
    rows = [
        {
            "recipe": recipe, "task": task, "metric": "RMSE", "fold": fold, "seed": seed,
            "value": 1 - gain + 0.001 * (fold + 2 * seed), "train_rows": 10, "test_rows": 10,
        }
        for recipe, gain in gains.items()
        for task in "ab"
        for fold in range(2)
        for seed in range(2)
    ]  # fmt: skip
    return StudyResult(study, pl.DataFrame(rows), {})


def test_a_panel_for_each_task_and_one_for_all_shows_changes_and_intervals(result):
    panels = result.plot().axes
    assert [axes.get_title() for axes in panels] == ["a", "b", "all targets (Delta-m)"]
    labels = [label.get_text() for label in panels[0].get_yticklabels()]
    assert labels == ["joint", "alternating", "extra trees"]
    lines = panels[1].lines
    points = [line.get_xdata()[0] for line in lines if line.get_marker() == "o"]
    expected = [result.comparisons[name]["b"].change for name in labels]
    assert points == expected
    assert expected[0] == pytest.approx(10, rel=0.01)


def test_without_matplotlib_the_error_says_what_to_install(result, monkeypatch):
    real = builtins.__import__

    def without(name, *rest, **named):
        if name.startswith("matplotlib"):
            raise ImportError(name)
        return real(name, *rest, **named)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(MissingDependencyError, match=r"jointrain\[plots\]"):
        result.plot()
