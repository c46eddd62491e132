"""The figures of a study result, rounded and worded once for all kinds of report."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from jointrain.studies import SEPARATE, SHIPPED, Blend, Comparison, StudyResult
from jointrain.task import Task


@dataclass(frozen=True)
class TaskSummary:
    """What a study shows about one task.

    Args:
        task: The task.
        labels: Number of labelled rows.
        columns: Headings of the figures.
        rows: A row of cells for each recipe and baseline.
    """

    task: Task
    labels: int
    columns: list[str]
    rows: list[list[str]]

    @property
    def heading(self) -> str:
        """The task's name, kind and number of labels."""
        classes = f" of {len(self.task.classes)} classes" if self.task.kind == "multiclass" else ""
        return f"{self.task.name}: {self.task.kind}{classes}, {self.labels} labels"


def summarize_tasks(result: StudyResult) -> list[TaskSummary]:
    """Return the figures of every task: metrics, change against separate training, verdict."""
    labels = np.isfinite(result.study.table.labels()).sum(0)
    shipped = [SHIPPED] if result.fold_results else []
    against = dict(result.comparisons)
    if shipped:
        against[SHIPPED] = result.shipped_comparisons
    summaries = []
    for task, count in zip(result.study.table.tasks, labels, strict=True):
        metrics = task.metrics or ()
        columns = [
            "recipe",
            *(f"{metric.name} {'↑' if metric.higher_is_better else '↓'}" for metric in metrics),
            "change against separate",
            "verdict",
        ]
        rows = []
        for recipe in [*result.recipe_names, *shipped]:
            cells = [recipe]
            for index, metric in enumerate(metrics):
                cells.append(
                    mean_and_spread(
                        result.values(recipe, task.name, metric.name), spread=index == 0
                    )
                )
            if recipe == SEPARATE:
                cells += ["", ""]
            else:
                comparison = against[recipe][task.name]
                cells += [change_and_interval(comparison), comparison.verdict]
            rows.append(cells)
        summaries.append(TaskSummary(task, int(count), columns, rows))
    return summaries


def summarize_recipes(result: StudyResult) -> tuple[list[str], list[list[str]]]:
    """Return headings and rows of the table over all tasks: Delta-m and time."""
    rows = []
    for recipe in result.recipe_names:
        comparison = result.delta_m.get(recipe)
        cells = ["", ""] if comparison is None else [
            change_and_interval(comparison), comparison.verdict
        ]  # fmt: skip
        rows.append([recipe, *cells, f"{result.seconds[recipe] / result.runs(recipe):.2f} s"])
    if result.fold_results:
        comparison = result.shipped_delta_m
        rows.append([SHIPPED, change_and_interval(comparison), comparison.verdict, ""])
    return ["recipe", "Delta-m", "verdict", "time per fold"], rows


_PHRASES = {
    "better": "It helps",
    "worse": "It hurts",
    "equivalent": "It does not matter for",
    "undecided": "Undecided for",
}


def answer(result: StudyResult) -> list[str]:
    """Return what a study says in sentences that need no knowledge of statistics."""
    return study_answer(result) + shipped_sentences(result)


def study_answer(result: StudyResult) -> list[str]:
    """Return the answer of a study, and what it says against baselines; the first says most."""
    best = result.best()
    tasks = [task.name for task in result.study.table.tasks]
    sentences = []
    if best.name == SEPARATE:
        sentences.append("Train the targets separately: training them together was no better.")
        sentences += _cheaper_alternatives(result)
    else:
        overall = result.delta_m[best.name]
        way = {"joint": "jointly", "alternating": "in alternation"}.get(
            best.schedule.kind, f"with recipe {best.name!r}"
        )
        strength = (
            "which the data show to be better than separate models"
            if overall.verdict == "better"
            else "though the data do not show that it beats separate models"
        )
        sentences.append(
            f"Train {listed(tasks)} {way}: Delta-m {change_and_interval(overall)}, {strength}."
        )
        comparisons = result.comparisons[best.name]
        for word in ("better", "worse", "equivalent", "undecided"):
            names = [name for name in tasks if comparisons[name].verdict == word]
            if names:
                phrase = _PHRASES[word]
                sentences.append(f"{phrase} {listed(names)}.")
    return sentences + _against_baselines(result)


def shipped_sentences(result: StudyResult) -> list[str]:
    """Say how the saved model predicts each task, and what that was shown to be worth."""
    if not result.fold_results:
        return []
    ways: dict[str, list[str]] = {}
    for task, blend in result.blends.items():
        ways.setdefault(blend_words(blend), []).append(task)
    phrases = [f"{listed(tasks)} by {way}" for way, tasks in ways.items()]
    if len(phrases) > 4:
        phrases = [*phrases[:3], f"{len(phrases) - 3} more ways for the others"]
    overall = result.shipped_delta_m
    shown = {
        "better": "shown to be better than separate models",
        "worse": "shown to be worse than separate models",
        "equivalent": "equivalent to separate models",
        "undecided": "not shown to differ from separate models",
    }[overall.verdict]
    return [
        f"The saved model predicts {'; '.join(phrases)}.",
        f"On test folds that had no say in that choice: Delta-m {change_and_interval(overall)}, "
        f"{shown}.",
    ]


def blend_words(blend: Blend) -> str:
    """Return the components of a blend with their weights, the heaviest first."""
    if len(blend.weights) == 1:
        return next(iter(blend.weights))
    ordered = sorted(blend.weights.items(), key=lambda pair: -pair[1])
    return " + ".join(f"{weight:.2f} {name}" for name, weight in ordered)


def _against_baselines(result: StudyResult) -> list[str]:
    """Name the tasks on which a baseline beats the best recipe, or a constant is not beaten."""
    best = result.best().name
    sentences = []
    for name in result.study.baselines:
        verdicts = {task: c.verdict for task, c in result.compare(best, name).items()}
        beaten = [task for task, word in verdicts.items() if word == "worse"]
        even = [task for task, word in verdicts.items() if word == "undecided"]
        if beaten:
            sentences.append(f"Beware: {name} did better than {best} on {listed(beaten)}.")
        if even and name == "constant":
            sentences.append(
                f"Beware: the data do not show that {best} beats a constant on {listed(even)}."
            )
        elif even:
            sentences.append(f"No evidence that {best} differs from {name} on {listed(even)}.")
    return sentences


def _cheaper_alternatives(result: StudyResult) -> list[str]:
    """Name the recipes that cost less than separate models and show no difference from them."""
    sentences = []
    for recipe in result.study.recipes:
        if recipe.name == SEPARATE or result.delta_m[recipe.name].verdict not in (
            "equivalent",
            "undecided",
        ):
            continue
        ratio = result.seconds[recipe.name] / result.seconds[SEPARATE]
        if ratio < 0.8:
            change = change_and_interval(result.delta_m[recipe.name])
            sentences.append(
                f"The data show no difference of {recipe.name} from it (Delta-m {change}), and "
                f"{recipe.name} took {ratio:.2f} times its time."
            )
    return sentences


def result_to_json(result: StudyResult) -> dict[str, Any]:
    """Return all figures of a result as values that JSON can hold; undefined ones are None."""
    study = result.study
    return {
        "rows": len(study.table.frame),
        "folds": study.folds,
        "seeds": study.seeds,
        "best": result.best().name,
        "answer": " ".join(answer(result)),
        "tasks": [
            {
                "name": task.name,
                "kind": task.kind,
                "classes": list(task.classes),
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
            for task in study.table.tasks
        ],
        "delta_m": {recipe: comparison_to_json(value) for recipe, value in result.delta_m.items()},
        "shipped": None
        if not result.fold_results
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
    return f"{_digits(mean, abs(mean))} ± {_digits(deviation, abs(mean))}"


def change_and_interval(comparison: Comparison) -> str:
    """Return a relative change in percent with its 95 % confidence interval."""
    if not math.isfinite(comparison.change):
        return "undefined"
    if not math.isfinite(comparison.low):
        return f"{comparison.change:+.1f} %"
    return f"{comparison.change:+.1f} % [{comparison.low:+.1f}, {comparison.high:+.1f}]"


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
        "defined": comparison.defined,
        "total": comparison.total,
    }


def mean_and_deviation(values: np.ndarray) -> dict[str, float | None]:
    """Return mean and standard deviation as values that JSON can hold."""
    defined = values[np.isfinite(values)]
    return {
        "mean": float(defined.mean()) if len(defined) else None,
        "deviation": float(defined.std(ddof=1)) if len(defined) > 1 else None,
    }


def finite(value: float) -> float | None:
    """Return a number, None if it is none that JSON can hold."""
    return value if math.isfinite(value) else None


def _digits(value: float, scale: float) -> str:
    """Write a number with three digits of the scale's magnitude."""
    if scale == 0:
        return f"{value:.3f}"
    decimals = min(6, max(0, 2 - math.floor(math.log10(scale))))
    return f"{value:.{decimals}f}"


def listed(names: Sequence[str]) -> str:
    """Return names as they are listed in a sentence, the first five of more than six."""
    if len(names) > 6:
        return f"{', '.join(names[:5])} and {len(names) - 5} more"
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
