"""A picture of what a study shows: change of every recipe against separate training."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from jointrain.errors import MissingDependencyError
from jointrain.studies._statistics import Comparison

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_PANELS_ACROSS = 5
MOST_PANELS = 20
"""With more targets, those whose change is largest are shown."""

_LEAST = 2.0
"""The axis reaches at least so many percent to either side."""

_COLORS = {
    "better": "#1b7837",
    "worse": "#b2182b",
    "equivalent": "#2166ac",
    "undecided": "#666666",
}

Panels = dict[str, dict[str, Comparison]]


def plot_changes(panels: Panels, recipes: Collection[str], baselines: Collection[str]) -> Figure:
    """Return a figure of changes with the intervals that decide: all targets first, then each one.

    All panels in percent have one axis. It shows what is said of the recipes of most targets in
    full; what reaches further, most often a baseline, ends in an arrow at the edge. Where there are
    more targets than panels, those with the largest changes by a recipe are shown.

    Args:
        panels: What to show, by title and name, Delta-m first; all of the same names.
        recipes: Names of the recipes.
        baselines: Names of the baselines.

    Raises:
        MissingDependencyError: matplotlib is not installed.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise MissingDependencyError(
            "plots need matplotlib; install it with: pip install 'jointrain[plots]'"
        ) from None
    names = list(next(iter(panels.values())))
    targets = len(panels) - 1
    panels = _chosen_panels(panels, recipes)
    limit = _limit(panels, [name for name in names if name not in baselines])
    across = min(len(panels), _PANELS_ACROSS)
    down = math.ceil(len(panels) / across)
    figure = Figure(
        figsize=(2.9 * across + 1.2, (0.42 * len(names) + 0.7) * down + 0.6), layout="constrained"
    )
    cells = figure.subplots(down, across, squeeze=False).ravel()
    for axes in cells[len(panels) :]:
        axes.set_visible(False)
    for position, (axes, (title, comparisons)) in enumerate(
        zip(cells[: len(panels)], panels.items(), strict=True)
    ):
        if any(one.unit == "difference" for one in comparisons.values()):
            own = _limit({title: comparisons}, list(comparisons), least=0.0)
            _draw(axes, comparisons, own or 1.0)
            axes.set_xlabel("difference", fontsize=8)
        else:
            _draw(axes, comparisons, limit)
        axes.set_title(title, fontsize=10, fontweight="bold" if position == 0 else None)
        first = position % across == 0
        axes.set_yticks(range(len(names)), names if first else [""] * len(names))
        axes.set_ylim(len(names) - 0.5, -0.5)
        axes.spines[["top", "right", "left"]].set_visible(False)
        axes.tick_params(axis="y", length=0)
        axes.grid(axis="x", alpha=0.3)
    shown = len(panels) - 1
    more = "" if shown == targets else f"{shown} of {targets} targets, those that change most   "
    figure.supxlabel(
        f"{more}change against separate models in %, with the interval that decides; right is "
        "better\n(green: better, red: worse, blue: equivalent, grey: undecided; arrow: goes on)",
        fontsize=9,
    )
    return figure


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


def _limit(panels: Panels, names: Sequence[str], least: float = _LEAST) -> float:
    """Return how far the axis of all panels reaches: as far as most of what is shown needs."""
    of_panels = [
        [
            abs(bound)
            for name, one in comparisons.items()
            if name in names
            for bound in (one.change, one.low, one.high)
            if math.isfinite(bound)
        ]
        for comparisons in panels.values()
    ]
    largest = [max(bounds) for bounds in of_panels if bounds]
    # a few targets of wide intervals would leave nothing to see of the others
    wanted = max(largest[0], 2 * float(np.median(largest))) if largest else 0.0
    return 1.1 * max(min(wanted, max(largest, default=0.0)), least)


def _draw(axes: Axes, comparisons: Mapping[str, Comparison], limit: float) -> None:
    """Draw changes and intervals, cut at the limit of the axis."""
    axes.axvline(0, color="black", linewidth=0.8)
    for row, one in enumerate(comparisons.values()):
        color = _COLORS[one.verdict]
        if not math.isfinite(one.change):
            continue
        bounds = [one.low, one.high] if math.isfinite(one.low) else [one.change, one.change]
        low, high = np.clip(bounds, -limit, limit)
        axes.plot([low, high], [row, row], color=color, linewidth=2)
        if bounds[0] < -limit:
            axes.plot([-limit], [row], "<", color=color)
        if bounds[1] > limit:
            axes.plot([limit], [row], ">", color=color)
        if abs(one.change) <= limit:
            axes.plot([one.change], [row], "o", color=color)
    axes.set_xlim(-1.05 * limit, 1.05 * limit)
