"""TableService: a model that reads the rows of requests and predicts those of several together."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import polars as pl

from jointrain.data import RawTable, ReadingOptions, kept_columns, with_kept
from jointrain.errors import InvalidInputError
from jointrain.serving._limits import Limits
from jointrain.serving._request_rows import JSON, RowReader
from jointrain.serving._row_types import example_row, predictions_type
from jointrain.system.stored_files import json_to_bytes
from jointrain.tables import (
    BlendedModel,
    TableModel,
    in_double,
    interval_notes,
    read_as_trained,
    reading_notes,
    total_notes,
    unseen_notes,
    unused_notes,
)

_COVERAGE = 0.9
"""Of the intervals of the example."""


@dataclass(frozen=True)
class Rows:
    """The rows of a request.

    Args:
        features: The model's columns, read as those of training were.
        kept: Columns that go to the answer as they are.
        notes: What is to be said of them, a sentence each.
    """

    features: pl.DataFrame
    kept: pl.DataFrame
    notes: tuple[str, ...]


class TableService:
    """Answers requests with the model of a bundle.

    Args:
        model: The model of a table.
        notes: Those of its bundle.
        options: How CSV is written, where not as the table of training was.
        limits: What is taken from strangers.
        name: What the page of the interface is called.

    Examples:
        >>> from jointrain.bundle import read_bundle
        >>> bundle = read_bundle("model")  # doctest: +SKIP
        >>> service = TableService(bundle.model, bundle.description["notes"])  # doctest: +SKIP
        >>> app = make_app(service)  # doctest: +SKIP
    """

    def __init__(
        self,
        model: TableModel | BlendedModel,
        notes: Mapping[str, Any] | None = None,
        options: ReadingOptions | None = None,
        limits: Limits | None = None,
        name: str = "model",
    ) -> None:
        self.model = in_double(model)
        self.bundle_notes = dict(notes or {})
        self.options = options or ReadingOptions()
        self.limits = limits or Limits()
        self.name = name
        self._names = self.bundle_notes.get("id")
        self.reader = RowReader(self.model, self._names, self.options, self.limits.rows)
        self.example = self._example()
        self._without_intervals: InvalidInputError | None = None
        plain, predicted = self._predicted_example()
        self.predictions_type = predictions_type(predicted, plain)

    def read(self, body: bytes, kind: str) -> Rows:
        """Return the rows of a request's body.

        Raises:
            InvalidInputError: As in `RowReader.read`, or a cell can't be read, or a column is
                missing or of another type.
        """
        raw, names = self.reader.read(body, kind)
        return self._typed(raw, names)

    def _typed(self, raw: RawTable, names: list[str]) -> Rows:
        model = self.model
        kept = kept_columns(raw, self._names, [])
        frame = read_as_trained(model, raw, self.options, [self._names])
        notes = [f"note: {note}" for note in raw.notes]
        if self._names is not None and self._names not in names:
            notes.append(
                f"note: the table has no column {self._names!r}, which named the rows in training"
            )
        notes += reading_notes(model)
        notes += total_notes(frame)
        notes += unseen_notes(model.encoder.unseen(frame))
        roles = [self.bundle_notes.get(role) for role in ("id", "time", "row_weight")]
        notes += unused_notes(model, names, roles)
        return Rows(frame.select([column.name for column in model.columns]), kept, tuple(notes))

    def predict(self, features: pl.DataFrame, coverage: float | None) -> pl.DataFrame:
        """Return the predictions of rows as `TablePredictor.predict_table` does."""
        return self.model.predict_table(features, coverage)

    def check_coverage(self, coverage: float | None) -> None:
        """Refuse intervals of a model without numbers to predict.

        Raises:
            InvalidInputError: No task has intervals.
        """
        if coverage is not None and self._without_intervals is not None:
            raise InvalidInputError(str(self._without_intervals))

    def answer(
        self, rows: Rows, predictions: pl.DataFrame, coverage: float | None
    ) -> tuple[pl.DataFrame, list[str]]:
        """Return the table of an answer, and what is to be said of it."""
        notes = [*rows.notes, *interval_notes(self.model, coverage, self.bundle_notes)]
        return with_kept(predictions, rows.kept), notes

    def _example(self) -> dict[str, Any]:
        """Return an example row that can be read; a value that can't is missing."""
        row = example_row(self.model)
        try:
            self._example_rows = self.read(json_to_bytes({"rows": [row]}), JSON)
            return row
        except InvalidInputError:
            nothing = dict.fromkeys(row)
        for name, value in row.items():
            try:
                self.read(json_to_bytes({"rows": [{**nothing, name: value}]}), JSON)
            except InvalidInputError:
                row[name] = None
        self._example_rows = self.read(json_to_bytes({"rows": [row]}), JSON)
        return row

    def _predicted_example(self) -> tuple[pl.DataFrame, pl.DataFrame]:
        """Return predictions of the example without intervals, and with them if there are any."""
        features = self._example_rows.features
        plain = self.predict(features, None)
        try:
            return plain, self.predict(features, _COVERAGE)
        except InvalidInputError as error:
            self._without_intervals = error
            return plain, plain
