"""Bars from 0."""

from __future__ import annotations

from collections.abc import Sequence

from jointrain.charts._altair import WIDTH, Chart, Row, check_altair, data_of, drawable
from jointrain.charts._palette import SERIES


def bars(rows: Sequence[Row], *, across: str, down: str | None) -> Chart:
    """Return a chart of a bar for each name, in order.

    Args:
        rows: name, value, and text: what is said of it.
        across: What the value is.
        down: What the names are; None for no title.
    """
    check_altair()
    import altair as alt

    names = [drawable(row["name"]) for row in rows]
    chart: Chart = (
        alt.Chart(data_of(rows))
        .mark_bar(color=SERIES[0], cornerRadiusEnd=2)
        .encode(
            x=alt.X("value:Q", title=across),
            y=alt.Y("name:N", sort=names, title=down, axis=alt.Axis(labelLimit=170, grid=False)),
            tooltip=[alt.Tooltip("name:N", title=down or "name"),
                     alt.Tooltip("text:N", title=across)],
        )
        .properties(width=WIDTH, height=22 * max(len(names), 1))
    )  # fmt: skip
    return chart
