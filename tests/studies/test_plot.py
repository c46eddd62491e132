"""The chart shows the figures of the comparisons."""

from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from jointrain import Study, StudyResult, SupervisedTable
from jointrain.charts import VERDICT_MARKS, save_picture
from jointrain.errors import MissingDependencyError
from jointrain.studies import Comparison
from jointrain.studies._plot import plot_changes

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


def charts(result):
    return result.plot().to_dict(validate=False)["concat"]


def titles(drawn):
    return [chart["title"] for chart in drawn]


def rows(chart):
    """What a panel shows, by name."""
    return {row["name"]: row for row in chart["data"]["values"]}


def axis(chart):
    """The axis of a panel: title, and how far it reaches."""
    (x,) = [
        layer["encoding"]["x"]
        for layer in chart["layer"]
        if "title" in layer["encoding"].get("x", {})
    ]
    return x["title"], tuple(x["scale"]["domain"])


def test_delta_m_comes_first_then_a_panel_for_each_task(result):
    drawn = charts(result)
    assert titles(drawn) == ["all targets (Delta-m)", "a", "b"]
    labels = list(rows(drawn[0]))
    assert labels == ["joint", "alternating", "extra trees"]
    for chart, changes in (
        (drawn[0], result.delta_m),
        (drawn[2], {name: result.comparisons[name]["b"] for name in labels}),
    ):
        for name in labels[:2]:
            shown = rows(chart)[name]
            expected = [changes[name].change, changes[name].low, changes[name].high]
            assert [shown["change"], shown["low"], shown["high"]] == pytest.approx(
                expected, rel=1e-4
            )
            assert shown["verdict"] == changes[name].verdict


def test_all_panels_have_one_axis_and_what_goes_on_ends_in_an_arrow(result):
    drawn = charts(result)
    assert len({axis(chart) for chart in drawn}) == 1
    low, high = axis(drawn[0])[1]
    shown = max(one.high for one in result.comparisons["joint"].values())
    assert shown < high < 40
    # extra trees are 200 % worse, far beyond the edge
    for chart in drawn:
        far = rows(chart)["extra trees"]
        assert far["arrow"].startswith("◀ -2")
        assert far["edge"] == pytest.approx(low, rel=1e-4)
        assert not far["inside"]


def test_a_few_wide_targets_do_not_squeeze_the_others():
    names = [f"y{number}" for number in range(9)]
    narrow = axis(charts(make_result(names))[1])[1][1]
    drawn = charts(make_result(names, wide=("y8",)))
    assert axis(drawn[1])[1][1] < 4 * narrow
    assert any("▶" in row["arrow"] + row["also"] for row in rows(drawn[9]).values())


def test_targets_may_be_called_as_what_javascript_has(tmp_path):
    save_picture(make_result(["constructor", "a"]).plot(), tmp_path / "changes.png")


def test_of_many_targets_those_that_change_most_are_shown():
    names = [f"y{number}" for number in range(36)]
    result = make_result(names, wide=("y35", "y3"))
    chart = result.plot().to_dict(validate=False)
    shown = titles(chart["concat"])
    assert len(shown) == 20
    assert shown[0] == "all targets (Delta-m)"
    assert {"y3", "y35"} <= set(shown)
    assert shown[1:] == [name for name in names if name in shown]
    assert "19 of 36 targets" in str(chart["title"])


def test_differences_have_an_axis_of_their_own(result):
    table = result.table.with_columns(
        value=pl.when(pl.col("task") == "b").then(pl.col("value") - 1).otherwise("value")
    )
    drawn = charts(replace(result, table=table))
    assert axis(drawn[2])[0].endswith(", difference")
    assert axis(drawn[2])[1] != axis(drawn[1])[1]


def test_without_intervals_the_changes_are_shown():
    shown = rows(charts(make_result(folds=2))[1])
    assert sum(row["inside"] for row in shown.values()) == 2
    assert {row["interval"] for row in shown.values()} == {"none"}


def test_without_altair_the_error_says_what_to_install(result, monkeypatch):
    monkeypatch.setattr("jointrain.charts._altair.find_spec", lambda name: None)
    with pytest.raises(MissingDependencyError, match=r"jointrain\[plots\]"):
        result.plot()
    with pytest.raises(MissingDependencyError, match=r"jointrain\[plots\]"):
        result.study.plot()


def test_a_picture_is_a_png(result, tmp_path):
    save_picture(result.plot(), tmp_path / "changes.png")
    assert (tmp_path / "changes.png").read_bytes().startswith(b"\x89PNG")


def made(change, low, high, verdict):
    return Comparison(change, low, high, p_value=0.5, verdict=verdict)


def test_a_verdict_has_the_same_mark_in_all_panels(result):
    """Panels side by side share their scales, of which each must be whole."""
    panels = {
        "all targets": {"joint": made(1.0, 0.5, 1.5, "better")},
        "a": {"joint": made(1.0, -0.5, 2.5, "undecided"), "linear": made(-1.0, -2, -0.5, "worse")},
    }
    drawn = plot_changes(panels, ["joint"], ["linear"]).to_dict(validate=False)["concat"]
    scales = {
        channel: [
            layer["encoding"][channel]["scale"]
            for chart in drawn
            for layer in chart["layer"]
            if channel in layer["encoding"]
        ]
        for channel in ("color", "shape")
    }
    for channel, part in (("color", 0), ("shape", 1)):
        assert len(scales[channel]) >= 2
        for scale in scales[channel]:
            marks = dict(zip(scale["domain"], scale["range"], strict=True))
            assert marks == {word: both[part] for word, both in VERDICT_MARKS.items()}
