"""Rows of a table that are known again in another one, whatever file they come from."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
import polars.selectors as cs

from jointrain.system.stored_files import DamagedError

_KEPT = 1000
"""Rows that are kept of a table, at most."""

_LOOKED_UP = 100_000
"""Rows of another table that are looked up, at most."""

_UNLIKE = 0.9
"""The least share of rows that are like no other: of others, chance alone finds them again."""


@dataclass(frozen=True)
class KnownRows:
    """Digests of some rows of a table that are like no other of its rows.

    Args:
        rows: How many such rows the table has; those of `digests` stand for them.
        digests: Of some of them, at random.
        by_chance: About the share of new rows that are like one of the table's by chance alone.
    """

    rows: int
    digests: frozenset[str]
    by_chance: float = 0.0

    @classmethod
    def of(cls, frame: pl.DataFrame) -> KnownRows | None:
        """Return what is kept of a table; None where over a tenth of its rows are alike.

        Args:
            frame: The table, of the columns to know rows by.
        """
        values = _comparable(frame)
        if not values.width or not len(values):
            return None
        unlike = np.flatnonzero(values.is_unique().to_numpy())
        if len(unlike) < _UNLIKE * len(values):
            return None
        random = np.random.default_rng(0)
        kept = random.choice(unlike, min(_KEPT, len(unlike)), replace=False)
        # as many new rows are like one of these as rows of the table are like another: Good 1953
        by_chance = 1 - len(unlike) / len(values)
        return cls(len(unlike), frozenset(_digests(values[np.sort(kept)])), by_chance)

    def share_of(self, frame: pl.DataFrame) -> float:
        """Return the estimated share of the rows of a table that are rows of the first one.

        Args:
            frame: The other table, with the same columns.
        """
        if not len(frame):
            return 0.0
        step = -(-len(frame) // _LOOKED_UP)
        looked_up = _digests(_comparable(frame.gather_every(step)))
        found = sum(digest in self.digests for digest in looked_up)
        return min(1.0, found * self.rows / len(self.digests) / len(looked_up))

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON can hold it."""
        return {"rows": self.rows, "digests": sorted(self.digests), "by_chance": self.by_chance}

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> KnownRows:
        """Return what `to_json` gave.

        Raises:
            DamagedError: It can't have given that.
        """
        rows, digests = stored["rows"], frozenset(map(str, stored["digests"]))
        by_chance = float(stored.get("by_chance", 0))
        if type(rows) is not int or not 1 <= len(digests) <= rows or not 0 <= by_chance <= 1:
            raise DamagedError("what it keeps of rows is none of rows")
        return cls(rows, digests, by_chance)


def digest_of_rows(frame: pl.DataFrame) -> str:
    """Return the digest of a table, the same for any order of its rows.

    Args:
        frame: The table.
    """
    values, buffer = _comparable(frame), io.BytesIO()
    values.sort(values.columns).write_ipc(buffer)
    return hashlib.sha256(buffer.getvalue()).hexdigest()


def _comparable(frame: pl.DataFrame) -> pl.DataFrame:
    """Return numbers, instants and text, each in one way, so that files of all kinds give the same.

    Numbers are float32 as some files hold them, instants microseconds in UTC.
    """
    plain = frame.select(~cs.nested() & ~cs.object() & ~cs.binary())
    numbers, spans = cs.numeric() | cs.boolean(), cs.duration()
    instants, days = cs.datetime(), cs.date()
    comparable = plain.select(
        # -0 and 0 are one number, and NaN is a missing one
        numbers.cast(pl.Float32).replace(0.0, 0.0).fill_nan(None),
        spans.dt.total_microseconds(),  # there is no text of them
        (instants | days).cast(pl.Datetime("us")).to_physical(),
        (~numbers & ~spans & ~instants & ~days).cast(pl.String),
    )
    return comparable.select(plain.columns)


def _digests(values: pl.DataFrame) -> list[str]:
    return [
        hashlib.blake2b(repr(row).encode(), digest_size=6).hexdigest() for row in values.iter_rows()
    ]
