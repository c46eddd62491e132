"""A picture of what a study shows: change of every recipe against separate training."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from jointrain.errors import MissingDependencyError
from jointrain.studies._statistics import Comparison

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from jointrain.studies._study_result import StudyResult

_PANELS_ACROSS = 5

_COLORS = {
    "better": "#1b7837",
    "worse": "#b2182b",
    "equivalent": "#2166ac",
    "undecided": "#666666",
}


def plot_changes(result: StudyResult, recipes: tuple[str, ...] = ()) -> Figure:
    """Return a figure with a panel for each task and one for all: changes with their intervals.

    Args:
        result: What to show.
        recipes: Which recipes and baselines, from top to bottom; default all but the constant.

    Raises:
        MissingDependencyError: matplotlib is not installed.
    """
    from jointrain.studies._study_result import SHIPPED

    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise MissingDependencyError(
            "plots need matplotlib; install it with: pip install 'jointrain[plots]'"
        ) from None
    names = recipes or tuple(name for name in result.comparisons if name != "constant")
    tasks = [task.name for task in result.study.table.tasks]
    baselines = result.study.baselines
    by_recipe = {name: result.compare(name) for name in names}
    panels = {task: {name: by_recipe[name][task] for name in names} for task in tasks}
    panels["all targets (Delta-m)"] = {name: result.delta_m[name] for name in names}
    if result.fold_results and not recipes:
        names = (*names, SHIPPED)
        for task in tasks:
            panels[task][SHIPPED] = result.shipped_comparisons[task]
        panels["all targets (Delta-m)"][SHIPPED] = result.shipped_delta_m
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
        axes.axvline(0, color="black", linewidth=0.8)
        for row, comparison in enumerate(comparisons.values()):
            color = _COLORS[comparison.verdict]
            if np.isfinite(comparison.low):
                axes.plot([comparison.low, comparison.high], [row, row], color=color, linewidth=2)
            axes.plot([comparison.change], [row], "o", color=color)
        axes.set_title(title, fontsize=10)
        _limit(axes, [one for name, one in comparisons.items() if name not in baselines])
        first = position % across == 0
        axes.set_yticks(range(len(names)), names if first else [""] * len(names))
        axes.set_ylim(len(names) - 0.5, -0.5)
        axes.spines[["top", "right", "left"]].set_visible(False)
        axes.tick_params(axis="y", length=0)
        axes.grid(axis="x", alpha=0.3)
    figure.supxlabel(
        "change against separate models in %, with 95 % interval; right is better   "
        "(green: better, red: worse, grey: undecided, blue: equivalent)",
        fontsize=9,
    )
    return figure


def _limit(axes: Axes, comparisons: Sequence[Comparison]) -> None:
    """Keep the axis to what the recipes need: a baseline may be many times worse."""
    bounds = [abs(b) for c in comparisons for b in (c.change, c.low, c.high) if math.isfinite(b)]
    widest = max(1.3 * max(bounds, default=0.0), 10.0)
    low, high = axes.get_xlim()
    axes.set_xlim(max(low, -widest), min(high, widest))
