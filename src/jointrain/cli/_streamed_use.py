"""`jointrain predict` and `evaluate` of a folder: tables larger than memory."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from jointrain.cli._bundle_opening import say_all
from jointrain.cli._printing import progress_bar
from jointrain.cli._reading import with_kept_reading
from jointrain.system.terminal_streams import say

if TYPE_CHECKING:
    import polars as pl

    from jointrain.data import ReadingOptions, TableFiles
    from jointrain.tables import BlendedModel, StreamedMetrics, TableModel


def streamed_predictions(
    model: TableModel | BlendedModel,
    files: TableFiles,
    kept: Sequence[str],
    intervals: float | None,
    *,
    escape: bool,
) -> Iterator[pl.DataFrame]:
    """Yield predictions with the kept columns before them, part by part."""
    from jointrain.data import formulas_escaped
    from jointrain.tables import predict_streamed, unseen_notes

    done, unseen = 0, Counter[str]()
    with progress_bar(f"predicting {files.rows} rows") as advance:
        for part in predict_streamed(
            model, files, intervals, kept, lambda rows: unseen.update(model.encoder.unseen(rows))
        ):
            done += len(part)
            advance(done, files.rows)
            yield formulas_escaped(part) if escape else part
    say_all(unseen_notes(unseen))


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


def opened_files(
    source: str,
    model: TableModel | BlendedModel,
    options: ReadingOptions,
    notes: Mapping[str, Any],
) -> TableFiles:
    """Return the files of a table, read as that of training was, where nothing else is said."""
    from jointrain.data import read_files

    return read_files(source, model.schema, with_kept_reading(options, notes))
