"""A chart of what a study shows: change of every recipe against separate training."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from typing import Any

from jointrain.charts import Chart, Row, axis_limit, changes, check_altair, drawable
from jointrain.studies._statistics import Comparison

_PANELS_ACROSS = 3
MOST_PANELS = 20
"""With more targets, those whose change is largest are shown."""

_WIDTH = 230

Panels = dict[str, dict[str, Comparison]]


def plot_changes(panels: Panels, recipes: Collection[str], baselines: Collection[str]) -> Chart:
    """Return a chart of changes with the intervals that decide: all targets first, then each one.

    All panels in percent have one axis. It shows what is said of the recipes of most targets in
    full; what reaches further, most often a baseline, ends in an arrow at the edge. Where there are
    more targets than panels, those with the largest changes by a recipe are shown.

    Args:
        panels: What to show, by title and name, Delta-m first; all of the same names.
        recipes: Names of the recipes.
        baselines: Names of the baselines.

    Raises:
        MissingDependencyError: altair is not installed.
    """
    check_altair()
    import altair as alt

    targets = len(panels) - 1
    panels = _chosen_panels(panels, recipes)
    limit = axis_limit(
        [
            rows_of({name: one for name, one in panel.items() if name not in baselines})
            for panel in panels.values()
        ]
    )
    drawn: list[Any] = []
    for title, comparisons in panels.items():
        rows, own, unit = rows_of(comparisons), limit, "%"
        if any(one.unit == "difference" for one in comparisons.values()):
            own, unit = axis_limit([rows], least=0.0) or 1.0, "difference"
        drawn.append(changes(rows, own, unit, width=_WIDTH).properties(title=drawable(title)))
    shown = len(panels) - 1
    said = [
        "with the interval that decides; right is better",
        "▲ better   ▼ worse   ■ equivalent   ● undecided   ◀ ▶ goes on",
    ]
    if shown < targets:
        said.append(f"{shown} of {targets} targets, those that change most")
    chart: Chart = alt.concat(*drawn, columns=min(len(drawn), _PANELS_ACROSS)).properties(
        title=alt.TitleParams("Change against separate models", subtitle=said, anchor="start")
    )
    return chart


def rows_of(comparisons: Mapping[str, Comparison]) -> list[Row]:
    """Return the rows of a chart of changes, by the name of what is compared."""
    return [
        {"name": name, "change": one.change, "low": one.low, "high": one.high,
         "verdict": one.verdict}
        for name, one in comparisons.items()
    ]  # fmt: skip


def _chosen_panels(panels: Panels, recipes: Collection[str]) -> Panels:
    """Return at most `MOST_PANELS` panels, in the order of the targets."""
    if len(panels) <= MOST_PANELS:
        return panels
    overall, *targets = panels

    def size(target: str) -> float:
        sizes = [
            abs(one.change)
            for name, one in panels[target].items()
            if name in recipes and one.unit == "percent" and math.isfinite(one.change)
        ]
        return max(sizes, default=0.0)

    kept = set(sorted(targets, key=size, reverse=True)[: MOST_PANELS - 1])
    return {name: panels[name] for name in (overall, *(t for t in targets if t in kept))}
