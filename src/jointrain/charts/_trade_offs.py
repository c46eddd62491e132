"""What recipes give for one target and take from another: the Pareto front of two, as chosen."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from typing import Any

from jointrain.charts._altair import WIDTH, Chart, check_altair, data_of, drawable
from jointrain.charts._palette import FAINT, INK, OPEN, SERIES

_WIDEST = 100
"""Pixels of a name, at most."""

_PLACES: dict[str, dict[str, Any]] = {
    "above": {"align": "center", "dx": 0, "dy": -12},
    "below": {"align": "center", "dx": 0, "dy": 14},
    "right": {"align": "left", "dx": 9, "dy": 0},
    "left": {"align": "right", "dx": -9, "dy": 0},
    "": {"align": "center", "dx": 0, "dy": 0},
}
"""Where the name of a point may stand; nowhere if there is no room."""


def trade_offs(changes: Mapping[str, Mapping[str, float]], tasks: Sequence[str]) -> Chart:
    """Return a chart of recipes by their changes of two targets, which selectors choose.

    Recipes on the front of the chosen two, which none beats on both, are filled diamonds.

    Args:
        changes: By recipe and target, positive is better.
        tasks: The targets, at least two; the first two are chosen first.
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
    shown = [drawable(task) for task in tasks]
    across = alt.param(
        name="across", value=shown[0], bind=alt.binding_select(options=shown, name="Across: ")
    )
    up = alt.param(name="up", value=shown[1], bind=alt.binding_select(options=shown, name="Up: "))
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
    # a layer for each side would warn where it is empty
    names = base.mark_text(
        color=INK,
        fontSize=11,
        limit=_WIDEST,
        dx=alt.expr("datum.dx"),
        dy=alt.expr("datum.dy"),
        align=alt.expr("datum.align"),
    ).encode(text="label:N")
    none = data_of([{"zero": 0}])
    lines = [
        alt.Chart(none).mark_rule(color=FAINT, strokeDash=[3, 3]).encode(x="zero:Q"),
        alt.Chart(none).mark_rule(color=FAINT, strokeDash=[3, 3]).encode(y="zero:Q"),
    ]
    return (
        alt.layer(*lines, points, names, data=data_of([*_with_sides(pairs)]))
        .add_params(across, up)
        .properties(width=WIDTH, height=300)
    )


def _with_sides(pairs: Sequence[Mapping[str, Any]]) -> Iterator[dict[str, Any]]:
    """Give each point the side on which its name covers no other; none where there is no room.

    It is counted in pixels of a plot as narrow as on a phone.
    """
    width, height, letter, line = 230.0, 270.0, 6.0, 12.0

    def box(side: str, x: float, y: float, name: str) -> tuple[float, float, float, float]:
        half = min(len(name) * letter, _WIDEST) / 2
        across = {"right": 9 + half, "left": -9 - half}.get(side, 0)
        up = {"above": 12, "below": -14}.get(side, 0)
        return x + across - half, y + up - line / 2, x + across + half, y + up + line / 2

    for _, group in groupby(sorted(pairs, key=_targets), key=_targets):
        points = list(group)
        across, up = ([point[of] for point in points] for of in ("x", "y"))
        wide, high = (max(values) - min(values) or 1.0 for values in (across, up))
        places = [
            (width * (x - min(across)) / wide, height * (y - min(up)) / high)
            for x, y in zip(across, up, strict=True)
        ]
        taken = [(x - 5, y - 5, x + 5, y + 5) for x, y in places]
        for point, (x, y) in zip(points, places, strict=True):
            free = (
                (side, found)
                for side in _PLACES
                if side
                for found in [box(side, x, y, point["name"])]
                if not any(_meet(found, other) for other in taken)
            )
            side, found = next(free, ("", None))
            taken += [found] if found else []
            yield {**point, **_PLACES[side], "side": side, "label": point["name"] if side else ""}


def _targets(pair: Mapping[str, Any]) -> tuple[str, str]:
    return pair["first"], pair["second"]


def _meet(one: tuple[float, ...], other: tuple[float, ...]) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]
