"""What commands that train begin with: the table with its targets, and the folder to write."""

from __future__ import annotations

import re
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jointrain.cli._after_saving import skippable
from jointrain.cli._reading import kept_reading
from jointrain.cli._settings import CompareSettings, SearchSettings, TableSettings
from jointrain.errors import InvalidInputError, closest
from jointrain.system.cores import available_cores
from jointrain.system.terminal_streams import say
from jointrain.system.worker_processes import warm_up

if TYPE_CHECKING:
    from jointrain.data import SupervisedTable
    from jointrain.tables import BlendedModel, TableModel


_BY_TARGET = ("task", "metric", "given", "weights", "probabilities", "importance")
"""Settings with something for each target, by its name."""

_OF_TARGETS = ("groups", "auxiliary")
"""Settings that name targets."""


def check_names(settings: TableSettings) -> None:
    """Refuse names that no table can make right, before a long one is read.

    Raises:
        InvalidInputError: What is said of a target is of none that is named, or a kind or a rule is
            unknown.
    """
    from jointrain.data import check_class_weight_rule, said_kind

    for setting in (*_BY_TARGET, *_OF_TARGETS):
        said = getattr(settings, setting, None)
        if not said or isinstance(said, str):
            continue
        names = [name for group in said for name in group] if setting == "groups" else list(said)
        for name in names:
            # what a chain makes of its targets has names of its own
            if name not in settings.targets and not (settings.given and setting != "given"):
                raise InvalidInputError(
                    f"--{setting} names {name!r}, which is no target"
                    f"{closest(name, settings.targets)}"
                )
    for name, kind in settings.task.items():
        said_kind(name, kind)
    if isinstance(settings.class_weights, str):
        check_class_weight_rule(settings.class_weights)


def prepare_table(settings: TableSettings) -> SupervisedTable:
    """Read the table, infer the tasks and say what was inferred."""
    from jointrain.data import SupervisedTable, read_raw

    check_names(settings)
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
        "relabelled": table.relabelled,
    }
    with skippable("what later tables are held against"):
        from jointrain.tables import training_reference

        notes["reference"] = training_reference(model, table)
    return notes
