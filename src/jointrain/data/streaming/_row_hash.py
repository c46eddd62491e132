"""Numbers of rows that look random and never change: which rows are kept for validation."""

from __future__ import annotations

import hashlib

import numpy as np
import polars as pl

_ODD = np.uint64(0x9E3779B97F4A7C15)
_FIRST = np.uint64(0xBF58476D1CE4E5B9)
_SECOND = np.uint64(0x94D049BB133111EB)


def shares_by_place(content: int, first: int, rows: int, salt: int) -> np.ndarray:
    """Return a number in [0, 1) for each of the rows of a file that follow each other, [n].

    It depends on the file's content and the row's number in it alone.

    Args:
        content: The number of the file's content.
        first: Number of the first row in the file, from 0.
        rows: How many.
        salt: Another one gives other numbers.

    Source: Steele, Lea & Flood, "Fast splittable pseudorandom number generators", OOPSLA 2014
        (SplitMix64).
    """
    numbers = np.arange(first, first + rows, dtype=np.uint64)
    start = _mixed(np.array([content ^ _salt(salt)], dtype=np.uint64))
    return _share(_mixed(start + (numbers + np.uint64(1)) * _ODD))


def shares_by_value(values: pl.Series, salt: int) -> np.ndarray:
    """Return a number in [0, 1) for each value, [n]; equal values have equal numbers.

    It depends on the value as text alone.
    """
    text = values.cast(pl.String)
    distinct = text.unique()
    key = _salt(salt).to_bytes(8, "little")
    digests = [
        int.from_bytes(hashlib.blake2b(one.encode(), digest_size=8, key=key).digest(), "little")
        for one in distinct.fill_null("").to_list()
    ]
    found = pl.Series(digests, dtype=pl.UInt64)
    numbers = pl.DataFrame({"value": text}).join(
        pl.DataFrame({"value": distinct, "number": found}),
        on="value", how="left", nulls_equal=True, maintain_order="left",
    )["number"]  # fmt: skip
    return _share(numbers.to_numpy())


def _mixed(numbers: np.ndarray) -> np.ndarray:
    """Return numbers whose bits are mixed: the end of SplitMix64."""
    numbers = (numbers ^ (numbers >> np.uint64(30))) * _FIRST
    numbers = (numbers ^ (numbers >> np.uint64(27))) * _SECOND
    return np.asarray(numbers ^ (numbers >> np.uint64(31)))


def _share(numbers: np.ndarray) -> np.ndarray:
    """Return the upper 53 bits as a number in [0, 1)."""
    return np.asarray((numbers >> np.uint64(11)) / 2.0**53)


def _salt(salt: int) -> int:
    digest = hashlib.blake2b(str(salt).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little")
