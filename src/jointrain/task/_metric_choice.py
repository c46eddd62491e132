"""Which metric a task is judged by, chosen by name."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from jointrain.errors import InvalidInputError, closest
from jointrain.metrics import Metric
from jointrain.task._kind import TaskKind
from jointrain.task._offered_metrics import plain_name


def metric_names(rules: TaskKind) -> list[str]:
    """Return the names of the metrics that a task can be judged by, its kind's own first."""
    own = [metric.name for metric in rules.default_metrics()]
    return own + [one.shown for one in rules.more_metrics if one.shown not in own]


def chosen_metrics(rules: TaskKind, name: str, query: str | None = None) -> tuple[Metric, ...]:
    """Return the metric of a name, then those that the kind has of its own.

    Args:
        rules: What kind of task it is.
        name: Of the metric; case, spaces, hyphens and underscores make no difference.
        query: The column that tells the queries, for metrics within them.

    Raises:
        InvalidInputError: The kind has no such metric, or it needs a query.
    """
    own = rules.default_metrics()
    found = next((one for one in own if plain_name(one.name) == plain_name(name)), None)
    for offered in rules.more_metrics:
        if found is None and (metric := offered.named(name)) is not None:
            found = _within(metric, query, rules.task.name) if offered.of_queries else metric
    if found is None:
        known = metric_names(rules)
        raise InvalidInputError(
            f"metric {name!r} is none of {rules.name} task {rules.task.name!r}"
            f"{closest(name, known)}; known are {', '.join(known)}"
        )
    return (found, *(one for one in own if one.name != found.name))


def _within(metric: Metric, query: str | None, task: str) -> Metric:
    if query is None:
        raise InvalidInputError(
            f"metric {metric.name!r} of {task!r} ranks rows within queries; name the column that "
            "tells them (--query COLUMN)"
        )
    return replace(metric, query=query)


def check_metric(metric: Metric, target: str, labels: np.ndarray) -> None:
    """Refuse a metric that the labels of a column leave undefined.

    Shape:
        labels: [n], NaN where one is missing.

    Raises:
        InvalidInputError: They do.
    """
    if metric.name.startswith("NDCG@") and (labels < 0).any():
        row = int(np.flatnonzero(labels < 0)[0])
        raise InvalidInputError(
            f"metric {metric.name!r} takes the targets as gains, of 0 or more, and "
            f"{target!r} is {labels[row]:g} in row {row + 1}; take Spearman, or shift them"
        )
    if metric.name == "MAPE" and (labels == 0).any():
        row = int(np.flatnonzero(labels == 0)[0])
        raise InvalidInputError(
            f"metric 'MAPE' divides by target {target!r}, which is 0 in row {row + 1}; take MAE, "
            "or leave those rows out"
        )
