"""TableService: a model that reads the rows of requests and predicts those of several together."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import polars as pl

from jointrain.data import RawTable, ReadingOptions, kept_columns, with_kept
from jointrain.errors import InvalidInputError
from jointrain.serving._limits import Limits
from jointrain.serving._request_rows import JSON, RowReader, RowsError
from jointrain.serving._row_types import example_row, predictions_type
from jointrain.system.stored_files import json_to_bytes
from jointrain.system.text_pairs import numbers_by_name
from jointrain.tables import (
    BlendedModel,
    TableModel,
    for_read_rows,
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
class Asked:
    """What a request asks.

    Args:
        raw: Its rows as they were sent.
        names: All columns that they have.
        coverage: Of the intervals; None for none.
        shares: Of the targets, by name, where a trade-off is asked for.
        readable_together: Whether how a row is read hangs on nothing but the types of its columns.
    """

    raw: RawTable
    names: tuple[str, ...]
    coverage: float | None
    shares: tuple[tuple[str, float], ...] | None
    readable_together: bool

    @property
    def height(self) -> int:
        """How many rows there are."""
        return self.raw.frame.height

    @property
    def key(self) -> Hashable:
        """What requests that are answered together have in common; none is like any other."""
        if not self.readable_together:
            return id(self)
        return self.coverage, self.shares, self.raw.is_text, tuple(self.raw.frame.schema.items())


@dataclass(frozen=True)
class Answer:
    """The answer to a request.

    Args:
        table: A row for each of the request's.
        notes: What is to be said of them, a sentence each.
    """

    table: pl.DataFrame
    notes: list[str]


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
        self.reader = RowReader(
            self.model, self._names, self.options, self.limits.rows, self.limits.bytes
        )
        self._without_intervals: InvalidInputError | None = None
        self.example = self._example()
        plain, predicted = self._predicted_example()
        self.predictions_type = predictions_type(predicted, plain)

    def read(
        self, body: bytes, kind: str, coverage: float | None = None, preference: str | None = None
    ) -> Asked:
        """Return what a request asks.

        Args:
            body: Its rows.
            kind: What they are written in.
            coverage: Of the intervals that it asks for; default none.
            preference: How much each target counts, such as ``a=0.7,b=0.3``; default as saved.

        Raises:
            InvalidInputError: As in `RowReader.read`, there are no intervals, or the preference
                does not fit the model.
        """
        if coverage is not None and self._without_intervals is not None:
            raise InvalidInputError(str(self._without_intervals))
        shares = None if preference is None else self._shares(preference)
        raw, names = self.reader.read(body, kind)
        together = self.model.schema is not None and not raw.quoted
        return Asked(raw, tuple(names), coverage, shares, together)

    @property
    def takes_preference(self) -> bool:
        """Whether the model has several trade-offs between its targets."""
        try:
            self.model.preferred_shares({task.name: 1.0 for task in self.model.tasks})
        except InvalidInputError:
            return False
        return True

    def _shares(self, preference: str) -> tuple[tuple[str, float], ...]:
        try:
            said = numbers_by_name(preference, "the preference")
            return tuple(self.model.preferred_shares(said).items())
        except InvalidInputError as error:
            fault = {"loc": ["query", "preference"], "msg": str(error), "type": "invalid_input"}
            raise RowsError([fault]) from None

    def answer(self, asked: Sequence[Asked]) -> list[Answer]:
        """Return the answers to requests of the same key, in their order.

        Raises:
            InvalidInputError: A cell can't be read, a column is missing or of another type, or a
                column that is kept has the name of a prediction.
        """
        model, coverage, shares = self.model, asked[0].coverage, asked[0].shares
        if shares is not None:
            model = model.preferring(dict(shares))
        frame = self._typed(asked)
        any_unseen = bool(model.encoder.unseen(frame))
        features = frame.select([column.name for column in model.columns])
        predictions = for_read_rows(model).predict_table(features, coverage)
        preferring = shares is not None
        said = interval_notes(model, coverage, self.bundle_notes, preferring=preferring)
        answers, start = [], 0
        for one in asked:
            end = start + one.height
            kept = kept_columns(one.raw, self._names, [])
            table = with_kept(predictions[start:end], kept)
            answers.append(Answer(table, [*self._notes(one, frame[start:end], any_unseen), *said]))
            start = end
        return answers

    def _typed(self, asked: Sequence[Asked]) -> pl.DataFrame:
        """Return the rows of all requests, read as those of training were."""
        raw = asked[0].raw
        if len(asked) > 1:
            raw = replace(raw, frame=pl.concat([one.raw.frame for one in asked]))
        return read_as_trained(self.model, raw, self.options, [self._names])

    def _notes(self, one: Asked, frame: pl.DataFrame, any_unseen: bool) -> list[str]:
        notes = [f"note: {note}" for note in one.raw.notes]
        if self._names is not None and self._names not in one.names:
            notes.append(
                f"note: the table has no column {self._names!r}, which named the rows in training"
            )
        notes += reading_notes(self.model)
        notes += total_notes(frame)
        if any_unseen:
            notes += unseen_notes(self.model.encoder.unseen(frame))
        roles = [self.bundle_notes.get(role) for role in ("id", "time", "row_weight")]
        return notes + unused_notes(self.model, one.names, roles)

    def _example(self) -> dict[str, Any]:
        """Return an example row that can be predicted; a value that can't be read is missing."""
        row = example_row(self.model)
        try:
            self._try(row)
            return row
        except InvalidInputError:
            nothing = dict.fromkeys(row)
        for name, value in row.items():
            try:
                self._try({**nothing, name: value})
            except InvalidInputError:
                row[name] = None
        return row

    def _try(self, row: Mapping[str, Any], coverage: float | None = None) -> pl.DataFrame:
        """Return the answer to one row."""
        asked = self.read(json_to_bytes({"rows": [row]}), JSON, coverage)
        return self.answer([asked])[0].table

    def _predicted_example(self) -> tuple[pl.DataFrame, pl.DataFrame]:
        """Return the example's answer without intervals, and with them if there are any."""
        plain = self._try(self.example)
        try:
            return plain, self._try(self.example, _COVERAGE)
        except InvalidInputError as error:
            self._without_intervals = error
            return plain, plain
