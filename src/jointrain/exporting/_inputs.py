"""Inputs of an exported model: which columns are numbers, and which take one of a few values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from jointrain.data import Block, TableEncoder
from jointrain.errors import InvalidInputError
from jointrain.tables import BlendedModel, TableModel

UNSEEN, MISSING, FIRST = 0, 1, 2
"""Rows of a table of values: a value that training never saw, a missing one, the first known."""

_NEVER = "\x00a value that training never saw"

_NUMBERS = ("numeric",)
_VALUES = ("boolean", "category", "id")


@dataclass(frozen=True)
class Inputs:
    """What an exported model is given.

    Args:
        kinds: Of the feature columns, in their order: ``number``, ``boolean`` or ``category``.
        values: The known values of the columns that are no numbers, in the order of their codes.
        as_codes: Whether categories are given as codes in place of text.
    """

    kinds: Mapping[str, str]
    values: Mapping[str, tuple[Any, ...]]
    as_codes: bool = False

    @classmethod
    def of(cls, model: TableModel | BlendedModel, *, as_codes: bool = False) -> Inputs:
        """Return the inputs of a model.

        Raises:
            InvalidInputError: It has a column that an exported model can't take.
        """
        encoders: list[tuple[str, TableEncoder]] = [("the model", model.encoder)]
        if isinstance(model, BlendedModel):
            encoders = [(name, one.encoder) for name, one in model.components.items()]
        kinds: dict[str, str] = {}
        values: dict[str, list[Any]] = {}
        for column in model.columns:
            if column.kind not in (*_NUMBERS, *_VALUES):
                raise InvalidInputError(
                    f"column {column.name!r} is {column.kind}, whose encoding an exported model "
                    "can't carry; fit without it (--ignore), or predict with jointrain"
                )
            kinds[column.name] = "number" if column.kind in _NUMBERS else "category"
            if column.kind == "boolean":
                kinds[column.name], values[column.name] = "boolean", [False, True]
        for component, encoder in encoders:
            for block in encoder.blocks:
                for name in block.names if block.kind in ("category", "id") else ():
                    known = _known(block, name, component)
                    before = values.setdefault(name, [])
                    before += [value for value in known if value not in set(before)]
        return cls(kinds, {name: tuple(known) for name, known in values.items()}, as_codes)

    def feeds(self, frame: pl.DataFrame) -> dict[str, np.ndarray]:
        """Return the arrays of a table's columns, by name, [n] each.

        Args:
            frame: A table with the types of training, as `TablePredictor.conformed` gives it.
        """
        return {name: self._feed(frame[name], kind) for name, kind in self.kinds.items()}

    def _feed(self, column: pl.Series, kind: str) -> np.ndarray:
        if kind != "category":
            if column.dtype == pl.Duration:
                column = column.dt.total_microseconds().cast(pl.Float64) / 1e6
            return column.cast(pl.Float64).to_numpy().copy()
        text = column.cast(pl.String)
        if self.as_codes:
            return self.codes(text) - FIRST
        return np.asarray(text.fill_null("").to_list(), dtype=object)

    def codes(self, column: pl.Series) -> np.ndarray:
        """Return the rows of the table of a column's values, [n]: `UNSEEN`, `MISSING` or later."""
        known = self.values[column.name]
        places = column.cast(pl.String).replace_strict(
            pl.Series(known, dtype=pl.String),
            pl.Series(range(FIRST, FIRST + len(known)), dtype=pl.Int64),
            default=UNSEEN,
            return_dtype=pl.Int64,
        )
        found = places.to_numpy().copy()
        found[column.is_null().to_numpy()] = MISSING
        return found

    def to_json(self) -> dict[str, Any]:
        """Return what is written into the file, so that others know what to give."""
        return {
            "inputs": dict(self.kinds),
            "categories": {
                name: list(values)
                for name, values in self.values.items()
                if self.kinds[name] == "category"
            },
            "categories_given_as": "codes" if self.as_codes else "text",
        }


def _known(block: Block, name: str, component: str) -> list[str]:
    settings, _ = block.state()
    if settings.get("hashed", {}).get(name):
        raise InvalidInputError(
            f"column {name!r} has so many values that {component} hashes them, which an exported "
            "model can't carry; predict with jointrain"
        )
    if "values" in settings:
        return [*settings["values"][name], *settings["rare"][name]]
    return block.categories[name]


def table_of_values(block: Block, name: str, inputs: Inputs) -> np.ndarray:
    """Return what a block makes of each value of a column, [values, outputs of the column].

    The block itself is asked, so that nothing of its rules is written twice.
    """
    known = inputs.values[name]
    if inputs.kinds[name] == "boolean":
        # there is no other truth value; as missing
        column = pl.Series(name, [None, None, *known], dtype=pl.Boolean)
    else:
        column = pl.Series(name, [_NEVER, None, *known], dtype=pl.String)
    others = [
        column if other == name else pl.Series(other, [None] * len(column), dtype=column.dtype)
        for other in block.names
    ]
    found = np.empty((len(column), len(block.features)))
    block.transform(pl.DataFrame(others), found)
    return found[:, outputs_of(block, name)]


def outputs_of(block: Block, name: str) -> list[int]:
    """Return which outputs of a block come from a column."""
    return [place for place, (_, source) in enumerate(block.features) if source == name]
