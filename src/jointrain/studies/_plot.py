"""A picture of what a study shows: change of every recipe against separate training."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from jointrain.errors import MissingDependencyError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from jointrain.studies._study_result import StudyResult

_COLORS = {"helps": "#1b7837", "hurts": "#b2182b", "no evidence": "#666666"}


def plot_changes(result: StudyResult, recipes: tuple[str, ...] = ()) -> Figure:
    """Return a figure with a panel for each task and one for all: changes with their intervals.

    Args:
        result: What to show.
        recipes: Which recipes and baselines, from top to bottom; default all but the constant.

    Raises:
        MissingDependencyError: matplotlib is not installed.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise MissingDependencyError(
            "plots need matplotlib; install it with: pip install 'jointrain[plots]'"
        ) from None
    names = recipes or tuple(name for name in result.comparisons if name != "constant")
    tasks = [task.name for task in result.study.table.tasks]
    panels = {task: {name: result.compare(name)[task] for name in names} for task in tasks}
    panels["all targets (Delta-m)"] = {name: result.delta_m[name] for name in names}
    figure = Figure(
        figsize=(2.9 * len(panels) + 1.2, 0.42 * len(names) + 1.3), layout="constrained"
    )
    for position, (axes, (title, comparisons)) in enumerate(
        zip(figure.subplots(1, len(panels), squeeze=False)[0], panels.items(), strict=True)
    ):
        axes.axvline(0, color="black", linewidth=0.8)
        for row, comparison in enumerate(comparisons.values()):
            color = _COLORS[comparison.verdict]
            if np.isfinite(comparison.low):
                axes.plot([comparison.low, comparison.high], [row, row], color=color, linewidth=2)
            axes.plot([comparison.change], [row], "o", color=color)
        axes.set_title(title, fontsize=10)
        axes.set_yticks(range(len(names)), names if position == 0 else [""] * len(names))
        axes.set_ylim(len(names) - 0.5, -0.5)
        axes.spines[["top", "right", "left"]].set_visible(False)
        axes.tick_params(axis="y", length=0)
        axes.grid(axis="x", alpha=0.3)
    figure.supxlabel(
        "change against separate models in %, with 95 % interval; right is better   "
        "(green: helps, red: hurts, grey: no evidence)",
        fontsize=9,
    )
    return figure
