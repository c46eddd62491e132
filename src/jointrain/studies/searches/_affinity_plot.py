"""A chart of affinities: who helps whom."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from jointrain.charts import Chart, Row, heat_map


def plot_affinity(tasks: Sequence[str], runs: np.ndarray, readable: np.ndarray) -> Chart:
    """Return a heat map of the affinities, in percent of the loss a step: rows help columns.

    A task's affinity onto itself is left out; it is always large, and says nothing of sharing.
    Where two tasks share too few rows, there is a question mark in place of a figure and a colour.

    Args:
        tasks: Names of the tasks.
        runs: Affinities, as those of `Affinity`.
        readable: Whether an affinity may be read.

    Shape:
        runs: [r, t, t]. readable: [t, t].

    Raises:
        MissingDependencyError: altair is not installed.
    """
    means = 100 * runs.mean(0)
    rows: list[Row] = []
    for i, source in enumerate(tasks):
        for j, target in enumerate(tasks):
            if i == j:
                value, text, tip = None, "", "itself"
            elif not readable[i, j]:
                value, text, tip = None, "?", "too few shared rows"
            else:
                value = float(means[i, j])
                text = f"{value:+.2g}"
                if len(runs) > 1:
                    text += f" ± {100 * runs[:, i, j].std(ddof=1):.1g}"
                tip = f"{text} % of its loss a step"
            rows.append({"row": source, "column": target, "value": value, "text": text, "tip": tip})
    count = len(tasks)
    return heat_map(
        rows,
        down="a training step for this target ...",
        across="... changes the loss of this target, % (blue helps, orange hurts, ? too few rows)",
        what="change of the loss",
        width=max(420, 90 * count),
    )
