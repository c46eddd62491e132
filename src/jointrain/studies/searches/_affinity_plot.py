"""A picture of affinities: who helps whom."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from jointrain.errors import MissingDependencyError

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def plot_affinity(tasks: Sequence[str], runs: np.ndarray, readable: np.ndarray) -> Figure:
    """Return a heat map of the affinities, in percent of the loss a step: rows help columns.

    A task's affinity onto itself is left out; it is always large, and says nothing of sharing.
    Where two tasks share too few rows, that is said in place of a figure and a colour.

    Args:
        tasks: Names of the tasks.
        runs: Affinities, as those of `Affinity`.
        readable: Whether an affinity may be read.

    Shape:
        runs: [r, t, t]. readable: [t, t].

    Raises:
        MissingDependencyError: matplotlib is not installed.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise MissingDependencyError(
            "plots need matplotlib; install it with: pip install 'jointrain[plots]'"
        ) from None
    count = len(tasks)
    values = 100 * runs.mean(0)
    values[np.eye(count, dtype=bool) | ~readable] = np.nan
    limit = float(np.abs(values[np.isfinite(values)]).max(initial=0.0)) or 1.0
    size = 1.1 * count + 2.2
    figure = Figure(figsize=(size + 0.8, size), layout="constrained")
    axes = figure.subplots()
    image = axes.imshow(values, cmap="RdYlGn", vmin=-limit, vmax=limit)
    for i in range(count):
        for j in range(count):
            if i == j:
                continue
            if not readable[i, j]:
                axes.text(
                    j, i, "too few\nshared rows", ha="center", va="center", fontsize=8, color="grey"
                )
            else:
                text = f"{values[i, j]:+.2g}"
                if len(runs) > 1:
                    text += f"\n± {100 * runs[:, i, j].std(ddof=1):.1g}"
                colour = "white" if abs(values[i, j]) > 0.7 * limit else "black"
                axes.text(j, i, text, ha="center", va="center", fontsize=9, color=colour)
    axes.set_xticks(range(count), tasks, rotation=30, ha="right")
    axes.set_yticks(range(count), tasks)
    axes.set_xlabel("... changes the loss of this target")
    axes.set_ylabel("a training step for this target ...")
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0)
    figure.colorbar(image, shrink=0.8, label="% of its loss a step; green helps, red hurts")
    return figure
