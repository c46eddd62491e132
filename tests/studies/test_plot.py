"""The picture shows the figures of the comparisons."""

import builtins
from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from jointrain import Study, StudyResult, SupervisedTable
from jointrain.errors import MissingDependencyError

GAINS = {"separate": 0.0, "joint": 0.1, "alternating": -0.1, "constant": -9, "extra trees": -2}


def make_result(targets=("a", "b"), folds=3, noise=0.02, wide=()):
    """A study whose RMSE is 1 but for the recipe's gain; some are 30 times as noisy."""
    frame = pl.DataFrame({"x": range(20), **{name: np.arange(20) / 7 for name in targets}})
    table = SupervisedTable.prepare(frame, list(targets))
    study = Study(table, baselines=("constant", "extra trees"), folds=folds, seeds=2)
    random = np.random.default_rng(0)
    rows = [
        {
            "recipe": recipe, "task": task, "metric": "RMSE", "fold": fold, "seed": seed,
            "value": 1 - gain + noise * (30 if task in wide else 1) * random.normal(),
            "train_rows": 10, "test_rows": 10,
        }
        for recipe, gain in GAINS.items()
        for task in targets
        for fold in range(folds)
        for seed in range(2)
    ]  # fmt: skip
    return StudyResult(study, pl.DataFrame(rows), {})


@pytest.fixture
def result():
    return make_result()


def points(axes):
    return [line.get_xdata()[0] for line in axes.lines if line.get_marker() == "o"]


def test_delta_m_comes_first_then_a_panel_for_each_task(result):
    panels = result.plot().axes
    assert [axes.get_title() for axes in panels] == ["all targets (Delta-m)", "a", "b"]
    labels = [label.get_text() for label in panels[0].get_yticklabels()]
    assert labels == ["joint", "alternating", "extra trees"]
    for axes, changes in (
        (panels[0], result.delta_m),
        (panels[2], {name: result.comparisons[name]["b"] for name in labels}),
    ):
        assert points(axes) == [changes[name].change for name in labels[:2]]
        spans = [line.get_xdata() for line in axes.lines if len(line.get_xdata()) == 2]
        expected = [changes["joint"].low, changes["joint"].high]
        assert any(np.allclose(span, expected) for span in spans)


def test_all_panels_have_one_axis_and_what_goes_on_ends_in_an_arrow(result):
    panels = result.plot().axes
    assert len({axes.get_xlim() for axes in panels}) == 1
    low, high = panels[0].get_xlim()
    shown = max(one.high for one in result.comparisons["joint"].values())
    assert shown < high < 40
    # extra trees are 200 % worse, far beyond the edge
    for axes in panels:
        (arrow,) = [line for line in axes.lines if line.get_marker() == "<"]
        assert low < arrow.get_xdata()[0] < 0


def test_a_few_wide_targets_do_not_squeeze_the_others():
    names = [f"y{number}" for number in range(9)]
    narrow = make_result(names).plot().axes[1].get_xlim()[1]
    figure = make_result(names, wide=("y8",)).plot()
    assert figure.axes[1].get_xlim()[1] < 4 * narrow
    assert any(line.get_marker() == ">" for line in figure.axes[9].lines)


def test_of_many_targets_those_that_change_most_are_shown():
    names = [f"y{number}" for number in range(36)]
    result = make_result(names, wide=("y35", "y3"))
    figure = result.plot()
    titles = [axes.get_title() for axes in figure.axes if axes.get_visible()]
    assert len(titles) == 20
    assert titles[0] == "all targets (Delta-m)"
    assert {"y3", "y35"} <= set(titles)
    assert titles[1:] == [name for name in names if name in titles]
    assert "19 of 36 targets" in figure.get_supxlabel()


def test_differences_have_an_axis_of_their_own(result):
    table = result.table.with_columns(
        value=pl.when(pl.col("task") == "b").then(pl.col("value") - 1).otherwise("value")
    )
    panels = replace(result, table=table).plot().axes
    assert panels[2].get_xlabel() == "difference"
    assert panels[2].get_xlim() != panels[1].get_xlim()


def test_without_intervals_the_changes_are_shown():
    panels = make_result(folds=2).plot().axes
    assert len(points(panels[1])) == 2


def test_without_matplotlib_the_error_says_what_to_install(result, monkeypatch):
    real = builtins.__import__

    def without(name, *rest, **named):
        if name.startswith("matplotlib"):
            raise ImportError(name)
        return real(name, *rest, **named)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(MissingDependencyError, match=r"jointrain\[plots\]"):
        result.plot()
