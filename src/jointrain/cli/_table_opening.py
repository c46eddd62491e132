"""What commands that train begin with: the table with its targets, and the folder to write."""

from __future__ import annotations

import re
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jointrain.cli._after_saving import skippable
from jointrain.cli._reading import kept_reading
from jointrain.cli._settings import CompareSettings, SearchSettings, TableSettings
from jointrain.system.cores import available_cores
from jointrain.system.terminal_streams import say
from jointrain.system.worker_processes import warm_up

if TYPE_CHECKING:
    from jointrain.data import SupervisedTable
    from jointrain.tables import BlendedModel, TableModel


def prepare_table(settings: TableSettings) -> SupervisedTable:
    """Read the table, infer the tasks and say what was inferred."""
    from jointrain.data import SupervisedTable, read_raw

    table = SupervisedTable.prepare(
        read_raw(settings.table, settings.reading),
        settings.targets,
        kinds=settings.task,
        metrics=settings.metric,
        ignore=settings.ignore,
        id_column=settings.id,
        group_column=settings.group,
        time_column=settings.time,
        query_column=settings.query,
        rare=settings.rare,
        rare_rows=getattr(settings, "folds", 5),
        duplicates=settings.duplicates,
        reading=settings.reading,
        row_weight=settings.row_weight,
        class_weights=settings.class_weights,  # type: ignore[arg-type]
        said=settings.said_columns,
        given=settings.given,
    )
    say_table(settings, table)
    return table


def say_table(settings: TableSettings, table: SupervisedTable) -> None:
    """Say what was inferred."""
    if not settings.json_output:
        said = settings.task
        for task in table.tasks:
            source = "as said" if task.name in said else "inferred"
            classes = f": {', '.join(map(str, task.classes))}" if task.classes else ""
            say(f"target {task.name}: {task.kind}{classes} ({source})")
        for name, reason in table.dropped.items():
            say(f"note: column {name} is no feature: {reason}")
        if table.unlabelled_rows:
            rows = "row has" if table.unlabelled_rows == 1 else "rows have"
            say(f"note: {table.unlabelled_rows} {rows} no label at all")
        for note in table.notes:
            say(f"note: {note}")


def start_processes(settings: CompareSettings | SearchSettings) -> float:
    """Let processes start while the rest is imported; return the time of the beginning."""
    started = time.monotonic()
    if settings.executor is not None:
        return started
    workers = settings.workers or available_cores()
    # within a budget, even one worker is a process of its own, so that it can be ended
    if (workers > 1 or settings.budget is not None) and settings.table_may_exist:
        warm_up(workers, "jointrain.studies")
    return started


def output_folder(settings: TableSettings) -> Path:
    """Return the folder to write: the named one, or one named after the table."""
    name = "stdin" if settings.table == "-" else settings.table_name.split(".")[0]
    name = re.sub(r"[*?\[\]]", "", name).strip("-_ ") or "table"
    return settings.out or Path(f"{name}-answer")


def bundle_notes(
    settings: TableSettings, table: SupervisedTable, model: TableModel | BlendedModel
) -> dict[str, Any]:
    """Return what a bundle is to know of the table, its columns and what the model promises."""
    notes: dict[str, Any] = {
        "id": settings.id,
        "time": settings.time,
        "row_weight": settings.row_weight,
        "class_weights": settings.class_weights,
        "reading": kept_reading(settings.reading),
        "table": list(table.notes),
    }
    with skippable("what later tables are held against"):
        from jointrain.tables import training_reference

        notes["reference"] = training_reference(model, table)
    return notes
