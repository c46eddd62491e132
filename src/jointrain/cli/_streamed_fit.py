"""`jointrain fit` of a folder: a table larger than memory."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

from jointrain.cli._after_saving import skippable
from jointrain.cli._fit_checkpoints import FitCheckpoints
from jointrain.cli._live import live_view
from jointrain.cli._printing import progress_bar
from jointrain.cli._ranks import started_by_torchrun
from jointrain.cli._table_opening import check_names, say_table
from jointrain.errors import InvalidInputError
from jointrain.system.terminal_streams import say

if TYPE_CHECKING:
    from pathlib import Path

    from jointrain.cli._logs import Logs
    from jointrain.cli._settings import CompareSettings, FitSettings, TableSettings
    from jointrain.data import StreamedTable, SupervisedTable
    from jointrain.experiments import Recipe
    from jointrain.studies import StudyResult
    from jointrain.tables import BlendedModel, TableModel
    from jointrain.training import Strategy

STUDIED_ROWS = 20_000
"""A study of a table larger than memory is of so many rows."""

_NEED_ALL_ROWS = {
    "time": "--time orders all rows",
    "query": "--query ranks rows among each other",
    "duplicates": "--duplicates compares all rows",
    "given": "--given labels the rows of chains",
}


def prepare_streamed(settings: TableSettings, recipe: Recipe) -> StreamedTable:
    """Go through a table larger than memory once, and say what was inferred.

    Raises:
        InvalidInputError: A setting needs all rows in memory, or the table can't be used.
    """
    from jointrain.data import StreamedTable, table_files
    from jointrain.tables import check_streamable

    for name, why in _NEED_ALL_ROWS.items():
        if getattr(settings, name):
            raise InvalidInputError(
                f"{why}, and those of {settings.table} are streamed; leave it out, or give a file "
                "that fits into memory"
            )
    if settings.rare != "keep":
        raise InvalidInputError(
            f"--rare {settings.rare} counts classes before anything else, and the rows of "
            f"{settings.table} are streamed; leave it out"
        )
    check_names(settings)
    check_streamable(recipe)
    files = table_files(settings.table, settings.reading)
    with progress_bar(f"reading {settings.table}") as advance:
        table = StreamedTable.prepare(
            files,
            settings.targets,
            kinds=settings.task,
            metrics=settings.metric,
            ignore=settings.ignore,
            id_column=settings.id,
            group_column=settings.group,
            reading=settings.reading,
            row_weight=settings.row_weight,
            class_weights=settings.class_weights,  # type: ignore[arg-type]
            said=settings.said_columns,
            validation_fraction=recipe.validation_fraction,
            seed=settings.seed,
            progress=advance,
        )
    say_table(settings, table.sample)
    return table


def fit_rows(
    table: StreamedTable, recipe: Recipe, settings: FitSettings, logs: Logs | None
) -> TableModel:
    """Train a recipe on all rows, with checkpoints and logs where they are wanted."""
    from jointrain.tables import fit_streamed, table_digest

    strategy: Strategy | None = "ddp" if started_by_torchrun() else None
    callbacks = () if logs is None else (logs.callback(),)
    if settings.checkpoints is None:
        with live_view(f"training {recipe.name} on all rows"):
            return fit_streamed(
                table,
                recipe,
                seed=settings.seed,
                device=settings.device,
                callbacks=callbacks,
                strategy=strategy,
            )
    contents = [file.content for file in table.files.files]
    digest = " ".join([table_digest(table.sample), *map(str, contents)])
    digest = hashlib.sha256(digest.encode()).hexdigest()
    kept = FitCheckpoints(settings.checkpoints, digest, recipe, settings)
    with kept.told_when_stopped(), live_view(f"training {recipe.name} on all rows"):
        return fit_streamed(
            table,
            recipe,
            seed=settings.seed,
            device=settings.device,
            callbacks=callbacks,
            checkpoints=kept.of_stream,
            resume=True,
            strategy=strategy,
        )


def study_sample(table: StreamedTable, seed: int) -> SupervisedTable:
    """Return the rows of a table larger than memory that a study is of, and say how many."""
    from jointrain.tables import TableExperiment

    sample = TableExperiment(table.sample).sample(STUDIED_ROWS, seed).table
    say(
        f"note: the study is of {len(sample.frame)} rows, drawn evenly from all "
        f"{table.files.rows}; the model to save is trained on all"
    )
    return sample


def fit_best(
    result: StudyResult,
    table: StreamedTable,
    settings: CompareSettings,
    until: float | None = None,
) -> tuple[TableModel, StudyResult]:
    """Train the recipe that a study of a sample speaks for on all rows.

    Args:
        result: The study.
        table: All rows.
        settings: Of the command.
        until: `time.monotonic()` at which training ends; None for no limit.

    Returns:
        The model, and the result with that recipe as what is saved.
    """
    from dataclasses import replace

    from jointrain.tables import TimeLimit, check_streamable, fit_streamed

    best = replace(result.best(), ensemble=1)
    check_streamable(best)
    networks = len(best.groups([task.name for task in table.tasks]))
    limits = [] if until is None else [TimeLimit(until, networks)]
    with live_view(f"training {best.name} on all rows", until=until):
        model = fit_streamed(
            table, best, seed=settings.seed, device=settings.device, callbacks=limits
        )
    for made, steps in [cut for limit in limits for cut in limit.cut]:
        say(
            f"note: budget of {settings.budget_seconds:g} s: {best.name} was trained on all rows "
            f"for {made} of {steps} steps; the best weights of these are saved"
        )
    saved = {task.name: {best.name: 1.0} for task in table.tasks}
    return model, result.with_weights(saved, cut_short=False)


def add_streamed_importance(
    model: TableModel | BlendedModel, table: StreamedTable, bundle: Path
) -> dict[str, Any] | None:
    """Measure the importance of the columns on validation rows, for the notes of a saved bundle.

    Returns:
        What was added; None if nothing was.
    """
    from jointrain.bundle import add_notes
    from jointrain.tables import column_importance, for_read_rows

    validation = table.validation
    with skippable("column importance"):
        if validation is None:
            raise InvalidInputError("no row was kept for validation")
        found: dict[str, Any] = column_importance(for_read_rows(model), validation.frame).to_json()
        add_notes(bundle, {"importance": found})
        return found
    return None
