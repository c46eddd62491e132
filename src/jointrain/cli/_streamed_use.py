"""`jointrain predict` and `evaluate` of a folder: tables larger than memory."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

from jointrain.cli._bundle_opening import as_written, say_all
from jointrain.cli._printing import progress_bar
from jointrain.errors import InvalidInputError
from jointrain.system.terminal_streams import say

if TYPE_CHECKING:
    import polars as pl

    from jointrain.cli._bundle_opening import TableBundle
    from jointrain.data import RawTable, ReadingOptions, TableFiles, TextFiles
    from jointrain.tables import BlendedModel, StreamedMetrics, TableModel


def streamed_predictions(
    model: TableModel | BlendedModel,
    files: TableFiles,
    kept: Sequence[str],
    intervals: float | None,
) -> Iterator[pl.DataFrame]:
    """Yield predictions with the kept columns before them, part by part."""
    from jointrain.tables import predict_streamed, unseen_notes

    done, unseen = 0, Counter[str]()
    with progress_bar(f"predicting {files.rows} rows") as advance:
        for part in predict_streamed(
            model, files, intervals, kept, lambda rows: unseen.update(model.encoder.unseen(rows))
        ):
            done += len(part)
            advance(done, files.rows)
            yield part
    say_all(unseen_notes(unseen))


class Counted:
    """Parts of a table that are counted as they pass by.

    Args:
        parts: The parts.
    """

    def __init__(self, parts: Iterable[pl.DataFrame]) -> None:
        self._parts = parts
        self.rows = 0

    def __iter__(self) -> Iterator[pl.DataFrame]:
        for part in self._parts:
            self.rows += len(part)
            yield part


def text_predictions(
    opened: TableBundle,
    files: TextFiles,
    options: ReadingOptions,
    keep: Sequence[str],
    intervals: float | None,
) -> Iterator[pl.DataFrame]:
    """Yield the predictions of a large text file, part by part, with a progress bar."""
    total, done = files.bytes, 0
    with progress_bar(f"predicting {total >> 20} MB") as advance:

        def see(count: int) -> None:
            nonlocal done
            done += count
            advance(done, total)

        yield from _raw_predictions(opened, files.parts(see), options, keep, intervals)


def whole_predictions(
    opened: TableBundle,
    raw: RawTable,
    options: ReadingOptions,
    keep: Sequence[str],
    intervals: float | None,
) -> Iterator[pl.DataFrame]:
    """Yield the predictions of a table that is in memory, with a progress bar if it has many rows.

    Args:
        opened: The bundle.
        raw: The table as it is written.
        options: Where it is written in another way than in training.
        keep: Columns to put before the predictions, as they are written, after that of names.
        intervals: As for `TablePredictor.predict_table`.
    """
    rows, done = len(raw.frame), 0
    shown = progress_bar(f"predicting {rows} rows") if rows > _ROWS_AT_ONCE else nullcontext()
    with shown as advance:
        for part in _raw_predictions(opened, [raw], options, keep, intervals):
            done += len(part)
            if advance is not None:
                advance(done, rows)
            yield part


_ROWS_AT_ONCE = 8 * 8192
"""So many rows are predicted at a time: a multiple of what a network predicts in one pass, so that
the last bits are those of the whole table."""


def _raw_predictions(
    opened: TableBundle,
    parts: Iterable[RawTable],
    options: ReadingOptions,
    keep: Sequence[str],
    intervals: float | None,
) -> Iterator[pl.DataFrame]:
    """Yield the predictions of a table that is read in parts, and say what there is to say.

    Arguments are those of `whole_predictions`; all parts have the same columns.
    """
    from jointrain.data import kept_columns, with_kept
    from jointrain.tables import (
        for_read_rows,
        read_as_trained,
        reading_notes,
        total_notes,
        unseen_notes,
        unused_notes,
    )

    model, notes = opened.model, opened.description["notes"]
    predicting = for_read_rows(model)
    name = notes.get("id")
    unseen, totals, unused, first = Counter[str](), dict[str, list[str]](), list[str](), True
    for raw in parts:
        kept = kept_columns(raw, name, keep)
        if first:
            first = False
            if name is not None and name not in raw.frame.columns:
                say(f"note: the table has no column {name!r}, which named the rows in training")
            say_all(reading_notes(model))
        frame = read_as_trained(model, raw, options, [name])
        totals[raw.where] = total_notes(frame)
        unseen.update(model.encoder.unseen(frame))
        roles = (name, notes.get("time"), notes.get("row_weight"), *kept.columns)
        unused = unused_notes(model, frame.columns, roles)
        for start in range(0, len(frame), _ROWS_AT_ONCE):
            rows = frame.slice(start, _ROWS_AT_ONCE)
            try:
                predictions = predicting.predict_table(rows, intervals)
            except InvalidInputError as error:
                raise _located(error, raw, start) from None
            yield with_kept(predictions, kept.slice(start, _ROWS_AT_ONCE))
    for where, found in totals.items():
        say_all(found if len(totals) == 1 else [f"{note} ({where})" for note in found])
    say_all(unseen_notes(unseen))
    say_all(unused)


def _located(error: InvalidInputError, raw: RawTable, first: int) -> InvalidInputError:
    """Return an error that counts rows from `first` on as one that counts those of the table."""
    return InvalidInputError(
        re.sub(r"\brow (\d+)", lambda row: raw.place(first + int(row[1]) - 1), str(error), count=1)
    )


def streamed_metrics(
    model: TableModel | BlendedModel, files: TableFiles, weight: str | None
) -> StreamedMetrics:
    """Return the metrics of a model on a table larger than memory, and say what they are of."""
    from jointrain.tables import evaluate_streamed

    with progress_bar(f"reading {files.rows} rows") as advance:
        found = evaluate_streamed(model, files, weight, progress=advance)
    if found.sampled:
        say(
            f"note: {', '.join(found.sampled)} of {found.sampled_rows} rows, evenly spread over "
            f"all {found.rows}; the others are of all"
        )
    return found


_SAMPLED = 100_000
"""Of so many rows, evenly spread over a table larger than memory, all but metrics are told."""


def sample_of(
    files: TableFiles, model: TableModel | BlendedModel, weight: str | None
) -> pl.DataFrame:
    """Return rows that are evenly spread over a table, with the columns that a model needs."""
    import polars as pl

    targets = [name for task in model.predicted_tasks for name in task.target_columns]
    needed = [*(column.name for column in model.columns), *targets]
    needed += [] if weight is None else [weight]
    every = max(1, -(-files.rows // _SAMPLED))
    if every > 1:
        say(
            f"note: constant, intervals, drift and promises are of one row in {every}; the "
            "metrics are of all"
        )
    parts, passed = [], 0
    for _, frame in files.frames(list(dict.fromkeys(needed))):
        parts.append(frame[-passed % every :: every])
        passed += len(frame)
    return pl.concat(parts)


def files_in_parts(
    source: str,
    model: TableModel | BlendedModel,
    options: ReadingOptions,
    notes: Mapping[str, Any],
) -> TableFiles | TextFiles | None:
    """Return the files of a table that is predicted part by part; None for any other.

    Text stays as it is written, so that the columns to keep come back byte for byte.
    """
    from jointrain.data import is_streamed, large_table, table_files

    read = as_written(options, model, notes)
    if model.schema is None:  # an old bundle: parts could be read in different ways
        return opened_files(source, model, options, notes)[0] if is_streamed(source) else None
    return table_files(source, read) if is_streamed(source) else large_table(source, read)


def opened_files(
    source: str,
    model: TableModel | BlendedModel,
    options: ReadingOptions,
    notes: Mapping[str, Any],
) -> tuple[TableFiles, TableModel | BlendedModel]:
    """Return the files of a table, read as that of training was, and the model for them."""
    from jointrain.data import TableFiles, TableSchema, table_files
    from jointrain.tables import for_read_rows

    files = table_files(source, as_written(options, model, notes))
    if isinstance(files, TableFiles):
        return files, model
    schema = model.schema or TableSchema()
    return files.as_parquet(schema, options), for_read_rows(model)
