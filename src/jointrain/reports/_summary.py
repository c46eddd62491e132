"""The figures of a study result, rounded and worded once for all kinds of report."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import polars as pl

from jointrain.experiments import SEPARATE
from jointrain.reports._circumstances import MOST_TABLES
from jointrain.reports._study_answer import answer
from jointrain.reports._words import listed, metric_heading, signed, unit
from jointrain.studies import (
    SHIPPED,
    VERDICTS,
    Comparison,
    StudyResult,
    mean_and_deviation,
    together_of,
)
from jointrain.task import Task

SHOWN_TARGETS = 5
"""How many targets such a summary names at either end."""


@dataclass(frozen=True)
class SummaryTable:
    """A table of figures, rounded and worded.

    Args:
        title: What it is about.
        headings: Of the columns.
        rows: Of cells, as many as there are headings.
    """

    title: str
    headings: list[str]
    rows: list[list[str]]


def summary_tables(result: StudyResult, *, interim: bool = False) -> list[SummaryTable]:
    """Return the tables of a report: of each target, or of all where they are many; and of all.

    Args:
        result: What was measured.
        interim: Leave out intervals and verdicts.
    """
    if len(result.study.tasks) > MOST_TABLES:
        return _tables_of_many(result, interim)
    return [*_tables_of_tasks(result, interim), _table_of_all(result, interim)]


def _compared(result: StudyResult) -> dict[str, Mapping[str, Comparison]]:
    """Return how each recipe, baseline and the shipped model compare with separate training."""
    against: dict[str, Mapping[str, Comparison]] = dict(result.comparisons)
    if result.ships:
        against[SHIPPED] = result.shipped_comparisons
    return against


def _tables_of_tasks(result: StudyResult, interim: bool) -> list[SummaryTable]:
    """Return a table for each target: metrics, change against separate training, verdict."""
    labels = result.study.experiment.label_counts()
    against = {} if interim else _compared(result)
    shown = [*result.recipe_names, *([] if interim or not result.ships else [SHIPPED])]
    tables = []
    for task in result.study.tasks:
        known = set(result.table.filter(pl.col("task") == task.name)["metric"])
        metrics = [metric for metric in task.metrics or () if metric.name in known]
        headings = [
            "recipe",
            *map(metric_heading, metrics),
            *([] if interim else ["change against separate", "verdict"]),
        ]
        rows = []
        for recipe in shown:
            cells = [recipe]
            for index, metric in enumerate(metrics):
                values = result.values(recipe, task.name, metric.name)
                cells.append(mean_and_spread(values, spread=index == 0))
            if recipe == SEPARATE and not interim:
                cells += ["", ""]
            elif not interim:
                comparison = against[recipe][task.name]
                cells += [change_and_interval(comparison), comparison.verdict]
            rows.append(cells)
        tables.append(SummaryTable(_title(task, labels.get(task.name), result), headings, rows))
    return tables


def _title(task: Task, labels: int | None, result: StudyResult) -> str:
    title = f"{task.name}: {task.rules.in_words()}"
    title += "" if labels is None else f", {labels} label{'s' * (labels != 1)}"
    metric, runs = task.primary_metric.name, result.runs(SEPARATE)
    defined = int(np.isfinite(result.values(SEPARATE, task.name, metric)).sum())
    if defined < runs:
        title += f", {metric} defined in {defined} of {runs} fold{'s' * (runs != 1)}"
    return title


def _table_of_all(result: StudyResult, interim: bool) -> SummaryTable:
    """Return the table over all targets: Delta-m and time."""
    against = dict(result.delta_m)
    if result.ships and not interim:
        against[SHIPPED] = result.shipped_delta_m
    rows, sized = [], _parameters(result)
    but, without = tasks_left_out(against, {name: one.left_out for name, one in against.items()})
    for name in [*result.recipe_names, *([SHIPPED] if SHIPPED in against else [])]:
        comparison = against.get(name)
        if comparison is None:
            cells = [""] if interim else ["", ""]
        elif interim:
            cells = [change_and_interval(replace(comparison, low=math.nan, high=math.nan))]
        else:
            cells = [change_and_interval(comparison), comparison.verdict]
        runs = 0 if name == SHIPPED else result.runs(name)
        rows.append(
            [
                name,
                *cells,
                *sized.get(name, []),
                f"{result.seconds[name] / runs:.2f} s" if runs else "",
                *([without.get(name, "")] if without else []),
            ]
        )
    verdict = [] if interim else ["verdict"]
    size = ["parameters"] if sized else []
    headings = [
        "recipe",
        "Delta-m",
        *verdict,
        *size,
        "time per run" if result.study.experiment.fixed_test else "time per fold",
        *(["without"] if without else []),
    ]
    return SummaryTable(f"All targets{but}", headings, rows)


def tasks_left_out(
    delta_m: Mapping[str, Comparison], left_out: Mapping[str, Sequence[str]]
) -> tuple[str, dict[str, str]]:
    """Return what a heading says of tasks that Delta-m leaves out, and each row where they differ.

    Args:
        delta_m: By name; those without a figure have no say.
        left_out: The tasks, by name.
    """
    found = {name: tuple(left_out[name]) for name, d in delta_m.items() if math.isfinite(d.change)}
    if len(set(found.values())) > 1:
        return "", {name: listed(tasks) if tasks else "" for name, tasks in found.items()}
    tasks = next(iter(found.values()), ())
    return f" but {listed(tasks)}" if tasks else "", {}


def _parameters(result: StudyResult) -> dict[str, list[str]]:
    """Return the parameters of each recipe, and their share of those that it is compared with."""
    if result.study.experiment.ships:
        return {}
    costs = result.costs()
    if "parameters" not in costs.columns:
        return {}
    counts = dict(costs.select("recipe", "parameters").iter_rows())
    of = counts[SEPARATE]
    return {
        name: [f"{count:,.0f}" + (f" ({count / of:.2g} x)" if count != of else "")]
        for name, count in counts.items()
    }


def _tables_of_many(result: StudyResult, interim: bool) -> list[SummaryTable]:
    """Return how often each verdict was reached, and which targets gain and lose most."""
    overall = _table_of_all(result, interim)
    if interim:
        return [overall]
    against, tasks = _compared(result), result.study.tasks
    counts = [
        [name, *(str(sum(c.verdict == word for c in by_task.values())) for word in VERDICTS)]
        for name, by_task in against.items()
    ]
    tables = [
        SummaryTable(
            f"{len(tasks)} targets: how many are better or worse than by separate models",
            ["recipe", *VERDICTS],
            counts,
        )
    ]
    together = together_of(result)
    if together is not None:
        changes = result.comparisons[together]
        ordered = sorted(
            (task for task in tasks if math.isfinite(changes[task.name].change)),
            key=lambda task: -changes[task.name].change,
        )
        ends = [
            *ordered[:SHOWN_TARGETS],
            *ordered[max(SHOWN_TARGETS, len(ordered) - SHOWN_TARGETS) :],
        ]
        rows = []
        for task in ends:
            metric, change = task.primary_metric, changes[task.name]
            means = (
                mean_and_spread(result.values(name, task.name, metric.name), spread=False)
                for name in (SEPARATE, together)
            )
            cells = [metric_heading(metric), *means, change_and_interval(change), change.verdict]
            rows.append([task.name, *cells])
        headings = ["target", "metric", SEPARATE, together, "change", "verdict"]
        first, last = (
            [changes[task.name].change for task in part]
            for part in (ends[:SHOWN_TARGETS], ends[SHOWN_TARGETS:])
        )
        most = "gain most" if max(first, default=0.0) > 0 else "lose least"
        least = "lose most" if min(last, default=-1.0) < 0 else "gain least"
        title = (
            f"The {SHOWN_TARGETS} targets that {most} by {together}, and the {SHOWN_TARGETS} "
            f"that {least} (all of them are in results.parquet and --json)"
        )
        tables.append(SummaryTable(title, headings, rows))
    return [*tables, overall]


def folds_and_seeds(result: StudyResult) -> str:
    """Return on how many folds and seeds a study was measured, in words."""
    study, done = result.study, result.folds_done
    if study.experiment.fixed_test:
        return f"one test set x {study.seeds} seed{'s' if study.seeds > 1 else ''}"
    planned = f"{study.folds} fold{'s' if study.folds != 1 else ''}"
    of = f"{done} of " if done < study.folds else ""
    return f"{of}{planned} x {study.seeds} seed{'s' if study.seeds > 1 else ''}"


def result_to_json(result: StudyResult) -> dict[str, Any]:
    """Return all figures of a result as values that JSON can hold; undefined ones are None."""
    study = result.study
    return {
        "rows": study.experiment.row_count,
        "folds": result.folds_done,
        "notes": [*study.experiment.notes, *result.notes],
        "seeds": study.seeds,
        "best": result.best().name,
        "answer": " ".join(answer(result, written=True)),
        "decision": {
            **result.decision.to_json(),
            "saved": {task: dict(blend.weights) for task, blend in result.blends.items()}
            if result.ships
            else None,
        },
        "tasks": [
            {
                "name": task.name,
                "kind": task.kind,
                "classes": list(task.classes),
                "metric": task.metrics[0].name if task.metrics else None,
                "recipes": {
                    recipe: {
                        "metrics": {
                            metric.name: mean_and_deviation(
                                result.values(recipe, task.name, metric.name)
                            )
                            for metric in task.metrics or ()
                        },
                        "against_separate": None
                        if recipe == SEPARATE
                        else comparison_to_json(result.comparisons[recipe][task.name]),
                    }
                    for recipe in result.recipe_names
                },
            }
            for task in study.tasks
        ],
        "delta_m": {recipe: comparison_to_json(value) for recipe, value in result.delta_m.items()},
        "shipped": None
        if not result.ships
        else {
            "weights": {task: dict(blend.weights) for task, blend in result.blends.items()},
            "delta_m": comparison_to_json(result.shipped_delta_m),
            "tasks": {
                task: comparison_to_json(comparison)
                for task, comparison in result.shipped_comparisons.items()
            },
        },
        "seconds": {name: round(spent, 3) for name, spent in result.seconds.items()},
    }


def mean_and_spread(values: np.ndarray, *, spread: bool = True) -> str:
    """Return the mean, with the standard deviation over folds and seeds, to three digits."""
    finite = values[np.isfinite(values)]
    if not len(finite):
        return "undefined"
    mean = float(finite.mean())
    if not spread or len(finite) < 2:
        return _digits(mean, abs(mean))
    deviation = float(finite.std(ddof=1))
    scale = abs(mean)
    if scale < _SMALLEST:  # a mean near 0 may have a spread that is not
        scale = max(scale, deviation)
    return f"{_digits(mean, scale)} ± {_digits(deviation, scale)}"


def change_and_interval(comparison: Comparison) -> str:
    """Return a change with the interval that decides: in percent, or the metric's difference."""
    if not math.isfinite(comparison.change):
        return "undefined"
    change, low, high = (
        signed(value, comparison.unit, comparison.verdict, bound=index > 0)
        for index, value in enumerate((comparison.change, comparison.low, comparison.high))
    )
    change += unit(comparison)
    return f"{change} [{low}, {high}]" if math.isfinite(comparison.low) else change


def comparison_to_json(comparison: Comparison) -> dict[str, Any]:
    """Return a comparison as values that JSON can hold."""
    return {
        "change": finite(comparison.change),
        "low": finite(comparison.low),
        "high": finite(comparison.high),
        "unit": comparison.unit,
        "smallest_visible": finite(comparison.smallest_visible),
        "p_value": finite(comparison.p_value),
        "verdict": comparison.verdict,
        "margin": finite(comparison.margin),
        "left_out": list(comparison.left_out),
        "defined": comparison.defined,
        "total": comparison.total,
    }


def finite(value: float) -> float | None:
    """Return a number, None if it is none that JSON can hold."""
    return value if math.isfinite(value) else None


_SMALLEST, _LARGEST = 1e-4, 1e7
"""What is smaller, or as large, is written with an exponent: 4.02e-10."""


def _digits(value: float, scale: float) -> str:
    """Write a number with three digits of the scale's magnitude."""
    if scale == 0:
        return f"{value:.3f}"
    if not _SMALLEST <= scale < _LARGEST:
        return f"{value:.3g}"
    decimals = max(0, 2 - math.floor(math.log10(scale)))
    return f"{value:.{decimals}f}"
