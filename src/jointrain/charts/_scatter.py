"""What was predicted against what was true, for numbers and for probabilities."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from jointrain.charts._altair import WIDTH, Chart, Row, check_altair, data_of
from jointrain.charts._palette import FAINT, SERIES

if TYPE_CHECKING:
    import altair as alt


def against_truth(rows: Sequence[Row], *, what: str) -> Chart:
    """Return a chart of predictions over true values, with the line where they are equal.

    Args:
        rows: truth and predicted.
        what: What is predicted.
    """
    check_altair()
    import altair as alt

    ends = [row[name] for row in rows for name in ("truth", "predicted")]
    low, high = min(ends), max(ends)
    scale = alt.Scale(domain=[low, high], nice=True, zero=False)
    points = (
        alt.Chart(data_of(rows))
        .mark_circle(size=28, opacity=0.55, color=SERIES[0])
        .encode(
            x=alt.X("truth:Q", title=f"true {what}", scale=scale, axis=alt.Axis(tickCount=5)),
            y=alt.Y("predicted:Q", title="predicted, rows not trained on", scale=scale),
            tooltip=[
                alt.Tooltip("truth:Q", title="true", format=".4g"),
                alt.Tooltip("predicted:Q", title="predicted", format=".4g"),
            ],
        )
    )
    return alt.layer(_diagonal(low, high, "truth", "predicted"), points).properties(
        width=WIDTH, height=260
    )


def calibration(rows: Sequence[Row], *, across: str, up: str) -> Chart:
    """Return a chart of how often something came true over how sure the model was of it.

    Larger points are of more rows.

    Args:
        rows: said and found, between 0 and 1, and count: of how many rows.
        across: What `said` is.
        up: What `found` is.
    """
    check_altair()
    import altair as alt

    scale = alt.Scale(domain=[0, 1], nice=False)
    percent = alt.Axis(format="%", tickCount=5)
    base = alt.Chart().encode(
        x=alt.X("said:Q", title=across, scale=scale, axis=percent),
        y=alt.Y("found:Q", title=up, scale=scale, axis=percent),
        tooltip=[
            alt.Tooltip("said:Q", title=across, format=".1%"),
            alt.Tooltip("found:Q", title=up, format=".1%"),
            alt.Tooltip("count:Q", title="rows"),
        ],
    )
    line = base.mark_line(color=SERIES[0], strokeWidth=2)
    most = max((row["count"] for row in rows), default=1)
    sizes = alt.Scale(domain=[0, most], range=[15, 110])
    points = base.mark_circle(color=SERIES[0], opacity=1).encode(
        size=alt.Size("count:Q", scale=sizes, legend=None)
    )
    return alt.layer(_diagonal(0, 1, "said", "found"), line, points, data=data_of(rows)).properties(
        width=WIDTH, height=240
    )


def _diagonal(low: float, high: float, x: str, y: str) -> alt.Chart:
    check_altair()
    import altair as alt

    ends = data_of([{x: low, y: low}, {x: high, y: high}])
    line = alt.Chart(ends).mark_line(color=FAINT, strokeDash=[4, 4])
    drawn: alt.Chart = line.encode(x=f"{x}:Q", y=f"{y}:Q")
    return drawn
