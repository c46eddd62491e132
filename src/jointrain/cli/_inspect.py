"""`jointrain inspect`: what a bundle holds."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from jointrain.cli._bundle_opening import open_table_bundle
from jointrain.cli._flags import FACTORY, JSON
from jointrain.cli._printing import by_task, print_json, print_line, print_rows, range_text

if TYPE_CHECKING:
    from jointrain.tables import BlendedModel, TableModel

_SHOWN_COLUMNS = 30
"""Columns that `inspect` shows the importance of at most."""


def inspect_bundle(
    bundle: Annotated[Path, typer.Argument(help="Folder that fit or compare wrote.")],
    factory: FACTORY = None,
    json_output: JSON = False,
) -> None:
    """Show what a bundle predicts, from which columns, how it was trained and how good it is.

    Of modules of one's own it shows tasks, sizes and what makes them, without running it.
    """
    from jointrain.bundle import describe_bundle
    from jointrain.tables import TableModel

    if json_output:
        print_json(describe_bundle(bundle))
        return
    if describe_bundle(bundle).get("kind") == "modules":
        _print_modules(bundle)
        return
    model, described = open_table_bundle(bundle, factory)
    metrics = described["metrics"]
    rows = [
        [
            task.name,
            task.kind,
            ", ".join(map(str, task.classes)) or "-",
            _metrics_text(metrics.get(task.name, {})),
            _calibration_text(model, task.name),
        ]
        for task in model.tasks
    ]
    print_rows("Tasks", ["task", "kind", "classes", "metrics", "calibration"], rows)
    if "metrics" in described["notes"]:
        print_line(f"Metrics: {described['notes']['metrics']}.\n")
    rows = [[column.name, column.kind, column.dtype] for column in model.columns]
    inputs = len(model.encoder.feature_names)
    print_rows(f"Feature columns ({inputs} inputs)", ["column", "kind", "type"], rows)
    if described["notes"].get("importance"):
        _print_importance(described["notes"]["importance"])
    if isinstance(model, TableModel):
        _print_networks(model)
    else:
        rows = [
            [task.name, *(f"{model.weights[task.name].get(c, 0):.2f}" for c in model.components)]
            for task in model.tasks
        ]
        print_rows("How each task is predicted: weights", ["task", *model.components], rows)
        for name, component in model.components.items():
            if isinstance(component, TableModel):
                print_line(f"Component {name}\n")
                _print_networks(component)
    packages = ", ".join(f"{name} {number}" for name, number in described["packages"].items())
    print_line(f"Written by: {packages}")


def _metrics_text(metrics: Mapping[str, float | None]) -> str:
    return (
        ", ".join(
            f"{name} {'undefined' if value is None else format(value, '.4g')}"
            for name, value in metrics.items()
        )
        or "-"
    )


def _print_modules(bundle: Path) -> None:
    """Print what is known of own modules."""
    from jointrain.bundle import stored_modules

    stored = stored_modules(bundle)
    described = stored.description
    rows = [
        [
            task.name,
            f"{task.kind} (auxiliary)" if task.name in described.auxiliary else task.kind,
            ", ".join(map(str, task.classes)) or "-",
            _metrics_text(described.metrics.get(task.name, {})),
        ]
        for task in described.tasks
    ]
    print_rows("Tasks", ["task", "kind", "classes", "metrics"], rows)
    if "metrics" in described.notes:
        print_line(f"Metrics: {described.notes['metrics']}.\n")
    rows = [
        [
            ", ".join(part.tasks),
            ", ".join(part.network_tasks),
            f"{len(weights):,}",
            f"{sum(values.numel() for values in weights.values()):,}",
            f"{part.epochs[1]}",
        ]
        for part, weights in zip(described.parts, stored.weights, strict=True)
    ]
    headings = ["predicts", "has heads for", "tensors", "numbers", "epoch kept"]
    print_rows(f"Networks of modules of one's own ({len(rows)})", headings, rows)
    factory = described.factory
    told = "".join(f", {name}={value!r}" for name, value in factory.arguments.items())
    release = "" if factory.version is None else f" (release {factory.version})"
    print_line(f"Made by: {factory.path}, called with the tasks{told}{release}")
    name = factory.path.partition(":")[2]
    print_line(f"In Python: jointrain.load_bundle({str(bundle)!r}, factories={{{name!r}: {name}}})")
    packages = ", ".join(f"{name} {number}" for name, number in described.packages.items())
    print_line(f"Written by: {packages}")


def _print_networks(model: TableModel) -> None:
    """Print the networks of a recipe's model, and the recipe."""
    rows = []
    for name, parts in by_task(model.parts).items():
        network = parts[0].network
        shared = sum(p.numel() for p in network.shared_parameters())
        own = sum(p.numel() for p in network.task_parameters(name))
        weight = parts[0].weights.get(name, 1.0)
        kept = range_text([part.epochs[1] for part in parts])
        rows.append([name, f"{len(parts)}", f"{shared:,}", f"{own:,}", f"{weight:.3g}", kept])
    headings = [
        "task", "networks", "trunk parameters", "head parameters", "loss weight", "epoch kept"
    ]  # fmt: skip
    print_rows(f"Networks ({len(model.parts)})", headings, rows)
    recipe = {name: value for name, value in model.recipe.to_words().items() if value is not None}
    print_line("Recipe: " + ", ".join(f"{name} {value}" for name, value in recipe.items()))
    print_line(f"Seed: {model.seed}")


def _print_importance(importance: dict[str, Any]) -> None:
    tasks = importance["tasks"]

    def largest(index: int) -> float:
        """Return the largest share of a task's largest increase."""
        shares = [0.0]
        for task in tasks.values():
            most = max((value or 0.0 for value in task["increase"]), default=0.0)
            if most > 0:
                shares.append((task["increase"][index] or 0.0) / most)
        return max(shares)

    order = sorted(range(len(importance["columns"])), key=largest, reverse=True)
    rows = []
    for index in order[:_SHOWN_COLUMNS]:
        column = importance["columns"][index]
        users = [name for name, task in tasks.items() if column in task["used"]]
        figures = [
            "-" if task["increase"][index] is None else f"{task['increase'][index]:.3g}"
            for task in tasks.values()
        ]
        by = "all" if len(users) == len(tasks) > 1 else ", ".join(users) or "none"
        rows.append([column, *figures, by])
    headings = [
        "column",
        *(f"{name} ({task['metric']})" for name, task in tasks.items()),
        "used by",
    ]
    print_rows(
        "Importance: how much worse the metric is when the column's values change places",
        headings,
        rows,
    )


def _calibration_text(model: TableModel | BlendedModel, task: str) -> str:
    calibration = model.calibration
    if task in calibration.temperatures:
        return f"temperature {calibration.temperatures[task]:.3g}"
    if task in calibration.residuals:
        residuals = calibration.residuals[task]
        low, high = residuals.bounds(0.9)
        if residuals.scale == "log":
            low, high = (math.exp(min(end, 700.0)) for end in (low, high))
            return f"90 % within {low:.3g} to {high:.3g} times"
        return f"90 % within {low:+.4g} to {high:+.4g}"
    return "-"
