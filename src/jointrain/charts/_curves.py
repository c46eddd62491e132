"""Lines over the course of training."""

from __future__ import annotations

import math
from collections.abc import Sequence

from jointrain.charts._altair import WIDTH, Chart, Row, check_altair, data_of, drawable
from jointrain.charts._palette import FAINT, SERIES

DASHES = ([1, 0], [5, 3], [2, 2], [8, 3, 2, 3], [1, 3], [10, 4], [4, 1])


def curves(
    rows: Sequence[Row],
    *,
    across: str,
    up: str,
    line: str,
    style: str | None = None,
    zero: bool = False,
    logarithmic: bool = False,
) -> Chart:
    """Return a chart of lines, each of a colour and, for it must not be colour alone, a dash.

    Args:
        rows: x, y, line, and style where lines of one colour differ; optionally ``kept`` (true
            at the point to be marked).
        across: What x is.
        up: What y is.
        line: What the lines are.
        style: What the styles are; default: lines differ by colour and dash together.
        zero: Draw a line at 0, which the axis then holds.
        logarithmic: Whether y is on a logarithmic axis.
    """
    check_altair()
    import altair as alt

    lines = list(dict.fromkeys(drawable(row["line"]) for row in rows))
    styles = lines if style is None else list(dict.fromkeys(drawable(row["style"]) for row in rows))
    of = "line" if style is None else "style"
    scale = alt.Scale(type="log", nice=False) if logarithmic else alt.Scale(zero=zero)
    dashes = [list(DASHES[number % len(DASHES)]) for number in range(len(styles))]
    colours = [SERIES[number % len(SERIES)] for number in range(len(lines))]
    # a stroke shows the dash, too; it would be a dotted disc else
    legend = alt.Legend(
        orient="bottom",
        symbolType="stroke",
        symbolSize=400,
        symbolStrokeWidth=2,
        symbolFillColor=None,
    )
    ticks = alt.Axis(values=_log_ticks([row["y"] for row in rows])) if logarithmic else alt.Axis()
    base = alt.Chart().encode(
        x=alt.X(
            "x:Q",
            title=across,
            scale=alt.Scale(nice=False),
            axis=alt.Axis(grid=False, tickMinStep=1),
        ),
        y=alt.Y("y:Q", title=up, scale=scale, axis=ticks),
        color=alt.Color(
            "line:N", title=line, scale=alt.Scale(domain=lines, range=colours), legend=legend
        ),
        tooltip=[
            alt.Tooltip("line:N", title=line),
            *([] if style is None else [alt.Tooltip("style:N", title=style)]),
            alt.Tooltip("x:Q", title=across),
            alt.Tooltip("y:Q", title=up, format=".4g"),
        ],
    )
    layers = [
        base.mark_line(strokeWidth=2, clip=True).encode(
            strokeDash=alt.StrokeDash(
                f"{of}:N",
                title=line if style is None else style,
                scale=alt.Scale(domain=styles, range=dashes),
                legend=legend,
            )
        ),
        # wide and unseen: a thin line is hard to hit
        base.mark_point(size=120, opacity=0, filled=True),
    ]
    if any(row.get("kept") for row in rows):
        layers.append(base.transform_filter("datum.kept").mark_point(size=70, strokeWidth=2))
    if zero:
        layers.insert(
            0, alt.Chart(data_of([{"zero": 0}])).mark_rule(color=FAINT).encode(y="zero:Q")
        )
    return alt.layer(*layers, data=data_of(rows)).properties(width=WIDTH, height=220)


def _log_ticks(values: Sequence[float]) -> list[float]:
    """Return where the lines of a logarithmic axis lie: a few, not one for each digit."""
    low, high = math.log10(min(values)), math.log10(max(values))
    digits = (1, 2, 5) if high - low < 1.5 else (1, 3) if high - low < 3 else (1,)
    return [
        float(f"{digit}e{power}")
        for power in range(math.floor(low), math.ceil(high) + 1)
        for digit in digits
    ]
