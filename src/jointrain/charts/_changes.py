"""Changes against separate models, each with the interval that decides."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from jointrain.charts._altair import WIDTH, Chart, Row, check_altair, data_of, drawable
from jointrain.charts._palette import FAINT, INK, VERDICT_MARKS

LEAST_LIMIT = 2.0
"""The axis reaches at least so many percent to either side."""


def axis_limit(panels: Sequence[Sequence[Row]], least: float = LEAST_LIMIT) -> float:
    """Return how far the axis of several charts reaches: as far as most of what is shown needs.

    Args:
        panels: The rows of each chart, as `changes` takes them; of the first one all are shown.
        least: The axis reaches at least so far.
    """
    largest: list[float] = []
    for rows in panels:
        ends = [
            abs(end)
            for row in rows
            for end in (row["change"], row["low"], row["high"])
            if end is not None and math.isfinite(end)
        ]
        if ends:
            largest.append(max(ends))
    if not largest:
        return 1.1 * least
    middle = sorted(largest)[len(largest) // 2]
    # a few targets of wide intervals would leave nothing to see of the others
    wanted = max(largest[0], 2 * middle)
    return 1.1 * max(min(wanted, max(largest)), least)


def changes(
    rows: Sequence[Row],
    limit: float,
    unit: str = "%",
    *,
    against: str = "separate",
    width: int = WIDTH,
) -> Chart:
    """Return a chart of changes with intervals; what reaches further than the axis says so.

    Args:
        rows: name, change, low, high and verdict of each recipe, in order; low and high None
            where there is no interval.
        limit: The axis reaches so far to either side.
        unit: What the changes are in.
        against: What they are changes from.
        width: In pixels.
    """
    check_altair()
    import altair as alt

    shown = [
        _drawn(row, limit, unit)
        for row in rows
        if row["change"] is not None and math.isfinite(row["change"])
    ]
    names = [drawable(row["name"]) for row in shown]
    # all of them, shown or not: charts side by side share these scales
    words = list(VERDICT_MARKS)
    colours, shapes = ([marks[part] for marks in VERDICT_MARKS.values()] for part in (0, 1))
    y = alt.Y("name:N", sort=names, title=None, axis=alt.Axis(labelLimit=170, grid=False))
    x_scale = alt.Scale(domain=[-limit, limit], nice=False)
    colour = alt.Color("verdict:N", scale=alt.Scale(domain=words, range=colours), legend=None)
    tooltip = [
        alt.Tooltip("name:N", title="recipe"),
        alt.Tooltip("figure:N", title="change"),
        alt.Tooltip("interval:N", title="interval"),
        alt.Tooltip("verdict:N", title="verdict"),
    ]
    base = alt.Chart()
    zero = alt.Chart(data_of([{"zero": 0}])).mark_rule(color=INK).encode(x="zero:Q")
    span = (
        base.transform_filter("datum.inside || datum.low < datum.high")
        .mark_rule(strokeWidth=2.5)
        .encode(
            x=alt.X("low:Q", scale=x_scale, title=f"change against {against}, {unit}"),
            x2="high:Q",
            y=y,
            color=colour,
        )
    )
    points = base.transform_filter("datum.inside").mark_point(
        filled=True, size=90, opacity=1
    ).encode(
        x=alt.X("change:Q", scale=x_scale),
        y=y,
        color=colour,
        shape=alt.Shape("verdict:N", scale=alt.Scale(domain=words, range=shapes), legend=None),
        tooltip=tooltip,
    )  # fmt: skip
    arrows = _arrows(shown, base, x_scale, y, tooltip)
    return alt.layer(zero, span, points, *arrows, data=data_of(shown)).properties(
        width=width, height=27 * max(len(names), 1)
    )


def _drawn(row: Row, limit: float, unit: str) -> Row:
    """Return what is drawn of a change: what lies beyond the axis ends there, with an arrow."""
    change, ends = row["change"], [row["low"], row["high"]]
    known = all(end is not None and math.isfinite(end) for end in ends)
    low, high = ends if known else (change, change)
    left, right = low < -limit, high > limit
    # where its line is seen, a figure would lie on it
    if high < -limit:
        arrow = f"◀ {_short(change)}"
    elif low > limit:
        arrow = f"{_short(change)} ▶"
    else:
        arrow = "◀" if left else "▶" if right else ""
    return {
        "name": row["name"],
        "change": max(-limit, min(limit, change)),
        "low": max(-limit, min(limit, low)),
        "high": max(-limit, min(limit, high)),
        "verdict": row["verdict"],
        "figure": f"{_short(change)} {unit}",
        "interval": f"{_short(low)} to {_short(high)} {unit}" if known else "none",
        "edge": -limit if left else limit,
        "arrow": arrow,
        "side": "left" if left else "right",
        "also": "▶" if left and right else "",
        "end": limit,
        "inside": abs(change) < limit,
    }


def _arrows(shown: Sequence[Row], base: Any, x_scale: Any, y: Any, tooltip: Any) -> list[Any]:
    """Return a layer for each side of the axis that something reaches beyond."""
    import altair as alt

    def layer(text: str, where: str, x: str, side: str) -> Any:
        marks = base.transform_filter(where).mark_text(
            align=side, baseline="middle", fontSize=11, color=FAINT
        )
        return marks.encode(
            x=alt.X(f"{x}:Q", scale=x_scale), y=y, text=f"{text}:N", tooltip=tooltip
        )

    found = [
        layer("arrow", f"datum.arrow != '' && datum.side == '{side}'", "edge", side)
        for side in ("left", "right")
        if any(row["arrow"] and row["side"] == side for row in shown)
    ]
    if any(row["also"] for row in shown):
        found.append(layer("also", "datum.also != ''", "end", "right"))
    return found


def _short(value: float) -> str:
    """Return a figure with three digits, or all before the point."""
    return f"{value:+,.0f}" if abs(value) >= 1000 else f"{value:+.3g}"
