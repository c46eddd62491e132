"""Charts are what Vega-Lite allows, hold the figures they were given, and say what is cut off."""

import json
import subprocess
import sys

import pytest

from jointrain.charts import (
    PALETTE,
    against_truth,
    axis_limit,
    bars,
    calibration,
    changes,
    clean,
    curves,
    heat_map,
    save_picture,
    trade_offs,
)

FAR = {"name": "constant", "change": -1325.4, "low": -1400.0, "high": -1200.0, "verdict": "worse"}
NEAR = {"name": "joint", "change": 14.0, "low": 4.1, "high": 23.9, "verdict": "better"}
OPEN = {"name": "x.y['z']", "change": -1.0, "low": None, "high": None, "verdict": "undecided"}


def values(chart):
    """Return all rows of a chart that Vega-Lite's schema allows."""
    spec = chart.to_dict()
    found = []

    def walk(node):
        if isinstance(node, dict):
            if isinstance(node.get("values"), list):
                found.extend(node["values"])
            for rows in node.get("datasets", {}).values():
                found.extend(rows)
            for one in node.values():
                walk(one)
        elif isinstance(node, list):
            for one in node:
                walk(one)

    walk(spec)
    return found


def test_changes_keep_their_figures_and_say_what_lies_beyond_the_edge():
    limit = axis_limit([[NEAR, OPEN]])
    assert limit == pytest.approx(1.1 * 23.9)
    rows = {row["name"]: row for row in values(changes([NEAR, OPEN, FAR], limit)) if "name" in row}
    assert rows["joint"]["change"] == 14
    assert rows["joint"]["interval"] == "+4.1 to +23.9 %"
    assert rows["joint"]["arrow"] == ""
    assert rows["joint"]["inside"]
    assert rows["constant"]["arrow"] == "◀ -1,325"
    assert not rows["constant"]["inside"]
    assert rows["constant"]["figure"] == "-1,325 %"
    assert rows["x.y['z']"]["interval"] == "none"


def test_one_wide_interval_does_not_hide_the_others():
    wide = NEAR | {"high": 500.0}
    narrow = [[NEAR]] * 5
    assert axis_limit([*narrow, [wide]]) == pytest.approx(1.1 * 2 * 23.9)
    assert axis_limit([]) == pytest.approx(2.2)


def test_undefined_changes_are_left_out():
    rows = values(changes([NEAR, NEAR | {"name": "b", "change": float("nan")}], 30))
    assert [row["name"] for row in rows if "name" in row] == ["joint"]


def test_the_front_is_of_the_two_targets_that_are_chosen():
    given = {
        "p": {"a": 1, "b": 5, "c": 0},
        "q": {"a": 3, "b": 2, "c": 0},
        "r": {"a": 0, "b": 1, "c": 9},
    }
    rows = [row for row in values(trade_offs(given, ["a", "b", "c"])) if "on" in row]

    def front(first, second):
        chosen = [row for row in rows if (row["first"], row["second"]) == (first, second)]
        return {row["name"] for row in chosen if row["on"] == "on the front"}

    assert front("a", "b") == {"p", "q"}
    assert front("a", "c") == {"q", "r"}
    assert front("b", "c") == {"p", "r"}
    assert len(rows) == 3 * 6


def test_a_heat_map_prints_every_figure_and_leaves_unread_ones_without_colour():
    rows = [
        {"row": "a", "column": "b", "value": 2.0, "text": "+2", "tip": "t"},
        {"row": "b", "column": "a", "value": -0.1, "text": "-0.1", "tip": "t"},
        {"row": "a", "column": "a", "value": None, "text": "", "tip": "itself"},
    ]
    found = values(heat_map(rows, down="d", across="a", what="w"))
    assert [row["text"] for row in found] == ["+2", "-0.1", ""]
    assert found[0]["colour"] == PALETTE["positive-3"]
    assert found[0]["ink"] == "white"
    assert found[1]["colour"] == PALETTE["negative-3"]
    assert found[2]["colour"] == PALETTE["paper"]


def test_all_other_charts_are_allowed():
    line = [
        {"x": 1, "y": 0.5, "line": "a", "style": "s", "kept": True},
        {"x": 2, "y": 0.4, "line": "b", "style": "t"},
    ]
    assert len(values(curves(line, across="x", up="y", line="l", style="s", zero=True))) == 3
    assert values(curves(line, across="x", up="y", line="l", logarithmic=True))
    assert values(bars([{"name": "n", "value": 1, "text": "t"}], across="x", down=None))
    assert values(calibration([{"said": 0.1, "found": 0.2, "count": 3}], across="x", up="y"))
    assert values(against_truth([{"truth": 1.0, "predicted": 2.0}], what="t"))


def test_names_of_what_every_object_of_javascript_has_are_drawn(tmp_path):
    names = ["constructor", "toString", "__proto__", "b"]
    pairs = [(row, column) for row in names for column in names]
    cells = [
        {"row": row, "column": column, "value": 1.0, "text": "+1", "tip": ""}
        for row, column in pairs
    ]
    charts = [
        heat_map(cells, down="d", across="a", what="w"),
        bars([{"name": name, "value": 1.0, "text": "t"} for name in names], across="x", down=None),
        changes([NEAR | {"name": name} for name in names], 9.0),
        trade_offs({name: dict.fromkeys(names, 1.0) for name in names}, names),
        curves([{"x": 1, "y": 0.5, "line": name} for name in names], across="x", up="y", line="l"),
    ]
    for number, chart in enumerate(charts):
        shown = str(values(chart))
        assert all(name in shown for name in names)
        save_picture(chart, tmp_path / f"{number}.png")
    # what selectors choose is found among the rows
    spec = charts[3].to_dict()
    chosen = {param["value"] for param in spec["params"]}
    assert chosen < {row["first"] for row in values(charts[3]) if "first" in row}
    lines = charts[4].to_dict()["layer"][0]["encoding"]["color"]["scale"]["domain"]
    assert lines == [row["line"] for row in values(charts[4])]


def test_what_json_can_not_hold_becomes_nothing():
    assert clean([{"a": float("nan"), "b": float("inf"), "c": 1 / 3, "d": "x"}]) == [
        {"a": None, "b": None, "c": 0.33333, "d": "x"}
    ]
    json.dumps(clean([{"a": float("nan")}]), allow_nan=False)


def test_names_of_points_that_lie_close_stand_on_different_sides():
    near = {"first one": 1.0, "second one": 1.001, "third one": 1.002, "far": 9.0}
    chart = trade_offs({name: {"a": at, "b": at} for name, at in near.items()}, ["a", "b"])
    rows = [row for row in values(chart) if row.get("first") == "a"]
    sides = {row["name"]: row["side"] for row in rows}
    assert len(set(sides.values()) - {""}) > 1
    assert sides["far"] == "above"
    close = [sides[name] for name in list(near)[:3]]
    assert len(set(close)) == 3


@pytest.mark.parametrize(
    ("ends", "inside"),
    [((0.2, 0.9), [0.2, 0.5]), ((0.02, 1.5), [0.03, 0.1, 0.3, 1]), ((1e-4, 2.0), 5)],
)
def test_a_logarithmic_axis_has_a_few_lines(ends, inside):
    rows = [{"x": at, "y": y, "line": "a"} for at, y in enumerate(ends)]
    chart = curves(rows, across="epoch", up="loss", line="recipe", logarithmic=True)
    ticks = chart.to_dict()["layer"][0]["encoding"]["y"]["axis"]["values"]
    shown = [tick for tick in ticks if ends[0] <= tick <= ends[1]]
    assert shown == inside or len(shown) == inside


def test_pictures_are_refused_where_the_address_space_is_limited(tmp_path):
    resource = pytest.importorskip("resource")
    limits = resource.getrlimit(resource.RLIMIT_AS)
    code = (
        "import resource\n"
        "from jointrain.charts import check_altair\n"
        "from jointrain.errors import InvalidInputError\n"
        "resource.setrlimit(resource.RLIMIT_AS, (2**36, -1))\n"
        "check_altair()\n"
        "try:\n"
        "    check_altair(pictures=True)\n"
        "except InvalidInputError as error:\n"
        "    print(error)\n"
    )
    if limits[1] != resource.RLIM_INFINITY:
        pytest.skip("the limit can't be raised here")
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "ulimit -v unlimited" in ran.stdout
