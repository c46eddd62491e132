"""A figure for each pair of names, in colour and in print."""

from __future__ import annotations

from collections.abc import Sequence

from jointrain.charts._altair import WIDTH, Chart, Row, check_altair, data_of, drawable
from jointrain.charts._palette import INK, NEGATIVE, PAPER, POSITIVE

_STRONG = 0.6
"""From which share of the largest figure the darkest colours are taken."""

_FAINT = 0.2

ON_PALE = "#15191e"


def heat_map(
    rows: Sequence[Row],
    *,
    down: str,
    across: str,
    what: str,
    width: int = WIDTH,
    signed: bool = True,
) -> Chart:
    """Return a chart of a figure for each pair: orange below 0, blue above, printed in each cell.

    Args:
        rows: row, column, value (None: nothing to read), and text and tip: what is printed, and
            what is said of it.
        down: What the rows are.
        across: What the columns are.
        what: What the figure is.
        width: In pixels.
        signed: Whether figures may lie below 0.
    """
    check_altair()
    import altair as alt

    names = list(dict.fromkeys(drawable(row["row"]) for row in rows))
    columns = list(dict.fromkeys(drawable(row["column"]) for row in rows))
    values = [abs(row["value"]) for row in rows if row["value"] is not None]
    most = max(values, default=0.0) or 1.0
    ends = [-_STRONG * most, -_FAINT * most, 0.0, _FAINT * most, _STRONG * most]
    colours = [*NEGATIVE, *POSITIVE]
    if not signed:
        ends, colours = [1e-12, _FAINT * most, _STRONG * most], [PAPER, *POSITIVE]
    strong = {NEGATIVE[0], POSITIVE[2]}
    shown = []
    for row in rows:
        value, colour = row["value"], PAPER
        if value is not None and value != 0:
            colour = colours[sum(value >= end for end in ends)]
        # the pale ones are pale in light and in dark
        ink = "white" if colour in strong else INK if colour == PAPER else ON_PALE
        shown.append({**row, "colour": colour, "ink": ink})
    flat = len(columns) < 4 and all(len(name) < 9 for name in columns)
    base = alt.Chart().encode(
        x=alt.X("column:N", sort=columns, title=across, axis=alt.Axis(
            orient="top", labelAngle=0 if flat else 35, labelAlign="center" if flat else "right",
            labelLimit=110, grid=False)),
        y=alt.Y("row:N", sort=names, title=down, axis=alt.Axis(labelLimit=150, grid=False)),
        tooltip=[
            alt.Tooltip("row:N", title=down),
            alt.Tooltip("column:N", title=across),
            alt.Tooltip("tip:N", title=what),
        ],
    )  # fmt: skip
    cells = base.mark_rect(stroke="white", strokeWidth=2).encode(
        color=alt.Color("colour:N", scale=None)
    )
    text = base.mark_text(fontSize=11).encode(text="text:N", color=alt.Color("ink:N", scale=None))
    return alt.layer(cells, text, data=data_of(shown)).properties(
        width=width, height=34 * max(len(names), 1)
    )
