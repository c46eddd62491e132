"""What recipes give for one target and take from another: the Pareto front of two, as chosen."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from jointrain.charts._altair import Chart, check_altair, data_of
from jointrain.charts._palette import FAINT, INK, OPEN, SERIES


def trade_offs(
    changes: Mapping[str, Mapping[str, float]], tasks: Sequence[str], width: int = 420
) -> Chart:
    """Return a chart of recipes by their changes of two targets, which selectors choose.

    Recipes on the front of the chosen two, which none beats on both, are filled diamonds.

    Args:
        changes: By recipe and target, positive is better.
        tasks: The targets, at least two; the first two are chosen first.
        width: In pixels.
    """
    check_altair()
    import altair as alt

    pairs = [
        {
            "name": name,
            "first": first,
            "second": second,
            "x": of[first],
            "y": of[second],
            "on": "on the front" if not any(
                other[first] >= of[first] and other[second] >= of[second]
                and (other[first] > of[first] or other[second] > of[second])
                for other in changes.values()
                if first in other and second in other
            ) else "beaten on both",
        }
        for name, of in changes.items()
        for first in tasks
        for second in tasks
        if first != second and first in of and second in of
    ]  # fmt: skip
    across = alt.param(
        name="across",
        value=tasks[0],
        bind=alt.binding_select(options=list(tasks), name="Across: "),
    )
    up = alt.param(
        name="up", value=tasks[1], bind=alt.binding_select(options=list(tasks), name="Up: ")
    )
    base = (
        alt.Chart()
        .transform_filter("datum.first == across && datum.second == up")
        .encode(
            x=alt.X("x:Q", title="change of the target across, %", scale=alt.Scale(padding=25)),
            y=alt.Y("y:Q", title="change of the target up, %", scale=alt.Scale(padding=25)),
            tooltip=[
                alt.Tooltip("name:N", title="recipe"),
                alt.Tooltip("first:N", title="across"),
                alt.Tooltip("x:Q", title="change across, %", format="+.3g"),
                alt.Tooltip("second:N", title="up"),
                alt.Tooltip("y:Q", title="change up, %", format="+.3g"),
                alt.Tooltip("on:N", title="Pareto front"),
            ],
        )
    )
    domain = ["on the front", "beaten on both"]
    points = base.mark_point(filled=True, size=110, opacity=1).encode(
        color=alt.Color(
            "on:N",
            title=None,
            scale=alt.Scale(domain=domain, range=[SERIES[0], OPEN]),
            legend=alt.Legend(orient="bottom"),
        ),
        shape=alt.Shape(
            "on:N", title=None, scale=alt.Scale(domain=domain, range=["diamond", "circle"])
        ),
    )
    # long names, as of weights, would cover the axis and each other; tooltip and table have all
    names = base.mark_text(dy=-12, color=INK, fontSize=11, limit=100).encode(text="name:N")
    none = data_of([{"zero": 0}])
    lines = [
        alt.Chart(none).mark_rule(color=FAINT, strokeDash=[3, 3]).encode(x="zero:Q"),
        alt.Chart(none).mark_rule(color=FAINT, strokeDash=[3, 3]).encode(y="zero:Q"),
    ]
    return (
        alt.layer(*lines, points, names, data=data_of(pairs))
        .add_params(across, up)
        .properties(width=width, height=300)
    )
