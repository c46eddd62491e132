"""`jointrain fit` of a folder: a table larger than memory."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from jointrain.cli._after_saving import skippable
from jointrain.cli._fit_checkpoints import FitCheckpoints
from jointrain.cli._printing import progress_bar
from jointrain.cli._ranks import started_by_torchrun
from jointrain.cli._table_opening import say_table
from jointrain.errors import InvalidInputError

if TYPE_CHECKING:
    from pathlib import Path

    from jointrain.cli._settings import FitSettings, TableSettings
    from jointrain.data import StreamedTable
    from jointrain.experiments import Recipe
    from jointrain.tables import TableModel
    from jointrain.training import Strategy

_NEED_ALL_ROWS = {
    "time": "--time orders all rows",
    "query": "--query ranks rows among each other",
    "duplicates": "--duplicates compares all rows",
}


def prepare_streamed(settings: TableSettings, recipe: Recipe) -> StreamedTable:
    """Go through a table larger than memory once, and say what was inferred.

    Raises:
        InvalidInputError: A setting needs all rows in memory, or the table can't be used.
    """
    from jointrain.data import StreamedTable, table_files
    from jointrain.tables import check_streamable

    for name, why in _NEED_ALL_ROWS.items():
        if getattr(settings, name) is not None:
            raise InvalidInputError(
                f"{why}, and those of {settings.table} are streamed; leave it out, or give a file "
                "that fits into memory"
            )
    if settings.rare != "keep":
        raise InvalidInputError(
            f"--rare {settings.rare} counts classes before anything else, and the rows of "
            f"{settings.table} are streamed; leave it out"
        )
    check_streamable(recipe)
    files = table_files(settings.table)
    with progress_bar(f"reading {files.rows} rows") as advance:
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


def fit_rows(table: StreamedTable, recipe: Recipe, settings: FitSettings) -> TableModel:
    """Train a recipe on all rows, with checkpoints where they are wanted."""
    from jointrain.tables import fit_streamed, table_digest

    strategy: Strategy | None = "ddp" if started_by_torchrun() else None
    if settings.checkpoints is None:
        return fit_streamed(
            table, recipe, seed=settings.seed, device=settings.device, strategy=strategy
        )
    contents = [file.content for file in table.files.files]
    digest = " ".join([table_digest(table.sample), *map(str, contents)])
    digest = hashlib.sha256(digest.encode()).hexdigest()
    kept = FitCheckpoints(settings.checkpoints, digest, recipe, settings)
    with kept.told_when_stopped():
        return fit_streamed(
            table,
            recipe,
            seed=settings.seed,
            device=settings.device,
            checkpoints=kept.of_stream,
            resume=True,
            strategy=strategy,
        )


def add_streamed_importance(model: TableModel, table: StreamedTable, bundle: Path) -> None:
    """Measure the importance of the columns on validation rows, for the notes of a saved bundle."""
    from jointrain.bundle import add_notes
    from jointrain.tables import column_importance

    validation = table.validation
    with skippable("column importance"):
        if validation is None:
            raise InvalidInputError("no row was kept for validation")
        add_notes(bundle, {"importance": column_importance(model, validation.frame).to_json()})
