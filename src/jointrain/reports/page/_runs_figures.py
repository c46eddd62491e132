"""The figures of a page of given runs: a table of anyone's, or what is kept of a study."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import polars as pl

from jointrain.reports._given_runs import answer_of_runs
from jointrain.reports._summary import mean_and_spread
from jointrain.reports.page._figures import Figures, change_figures, circumstances
from jointrain.studies import RunVerdicts, mean_and_deviation


def runs_figures(result: RunVerdicts, title: str, *, command: str | None = None) -> Figures:
    """Return the figures of a page of judged runs.

    Args:
        result: What they show.
        title: The heading.
        command: What makes it again.
    """
    targets = []
    for task, metric in result.metrics.items():
        rows = []
        for name in (result.baseline, *result.recipes):
            values = result.values.get((name, task))
            if values is None:
                continue
            row: Figures = {"name": name, "role": "recipe", "text": mean_and_spread(values)}
            row |= mean_and_deviation(values)
            if name != result.baseline and task in result.comparisons[name]:
                row |= change_figures(result.comparisons[name][task])
            rows.append(row)
        targets.append(
            {
                "name": task,
                "kind": metric.name,
                "labels": None,
                "metric": metric.name,
                "higher_is_better": metric.higher_is_better,
                "constant": False,
                "rows": rows,
            }
        )
    overall = [
        {"name": name, "role": "recipe", **change_figures(one)}
        for name, one in result.delta_m.items()
    ]
    folds = f"{result.folds} folds, " if result.folds else "one test set, "
    seeds = f"up to {result.seeds} seeds" if result.seeds != 1 else "one seed"
    if result.folds == 1:
        folds, seeds = "", f"{seeds}, each with a fold of its own"
    return _runs_page(title, command, answer_of_runs(result), targets) | {
        "overall": overall,
        "reference": result.baseline,
        "measured_on": f"{folds}{seeds}",
        "notes": list(result.notes),
        "margin": result.margin,
    }


def interim_figures(
    frame: pl.DataFrame,
    title: str,
    *,
    recipes: Sequence[str],
    done: int,
    planned: int,
    higher: Mapping[str, bool | None],
    command: str | None = None,
) -> Figures:
    """Return the figures of a study that is not over: means so far, and no verdict.

    Args:
        frame: recipe, task, metric, fold, seed and value; one metric for each task.
        title: The heading.
        recipes: Names of recipes and baselines, in order.
        done: How many runs are done.
        planned: Of how many.
        higher: Whether more is better, by metric; None where that is not known.
        command: What makes it again.
    """
    targets = []
    for task in frame["task"].unique(maintain_order=True):
        own = frame.filter(pl.col("task") == task)
        metric = own["metric"][0]
        rows: list[dict[str, Any]] = []
        for name in recipes:
            values = own.filter(pl.col("recipe") == name)["value"].to_numpy()
            if len(values):
                text = f"{mean_and_spread(values)} ({len(values)} run{'s' * (len(values) != 1)})"
                rows.append({"name": name, "role": "recipe", "text": text})
                rows[-1] |= mean_and_deviation(np.asarray(values))
        targets.append(
            {
                "name": task,
                "kind": metric,
                "labels": None,
                "metric": metric,
                "higher_is_better": higher.get(metric),
                "constant": False,
                "rows": rows,
            }
        )
    said = f"So far {done} of {planned} runs are done: no verdict before all are in."
    if planned == 1:
        said = f"So far {done} of 1 run is done."
    return _runs_page(title, command, [said], targets) | {"finished": False, "overall": []}


def _runs_page(
    title: str, command: str | None, answer: Sequence[str], targets: Sequence[Figures]
) -> Figures:
    return circumstances(title, "runs", command) | {
        "answer": list(answer),
        "targets": list(targets),
        "curves": [],
        "saved": None,
        "affinity": None,
        "data": None,
        "notes": [],
    }
