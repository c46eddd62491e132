"""Rows that repeat each other: how many there are, and on which side of a split they go."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple, get_args

import numpy as np
import polars as pl

from jointrain.data._columns import Column
from jointrain.errors import InvalidInputError, closest

Duplicates = Literal["together", "apart", "drop"]
"""What becomes of rows that repeat each other."""

NEARLY_ALL = 0.95
"""Repeats are unlikely by chance where columns of numbers have so many distinct values a row ..."""

CHANCE = 0.01
"""... and are written so finely that so many repeats have at most this probability, ..."""

SHARE = 0.1
"""... which explains at most this share of them."""

_FINEST = 3
"""Columns of numbers that are looked at together, at most."""

_ALIKE = 0.9
"""Of columns with a higher correlation than this, one alone counts."""

FEWEST_DISTINCT = 20
"""With fewer distinct rows, repeats are not kept together by default: folds would run short."""

_FEWEST_SAID = 0.01
"""Repeats that chance explains are told from this share of the rows."""


class Repeats(NamedTuple):
    """What is to be done about rows that repeat each other.

    Args:
        groups: New group of each row, [n]; None leaves the groups as they are.
        kept: Which rows stay, [n] of bool; None keeps all.
        notes: What was found and done, for the user.
    """

    groups: np.ndarray | None = None
    kept: np.ndarray | None = None
    notes: tuple[str, ...] = ()


def treat_duplicates(
    frame: pl.DataFrame,
    columns: Sequence[Column],
    targets: Sequence[str],
    how: Duplicates | None,
    groups: np.ndarray | None = None,
    time: np.ndarray | None = None,
) -> Repeats:
    """Count the rows that repeat an earlier one, and say what is to be done about them.

    Args:
        frame: The rows.
        columns: The features; rows repeat each other if these are equal.
        targets: Names of the targets.
        how: As in `SupervisedTable.prepare`.
        groups: Group of each row, if there are groups already. Rows that are kept together bring
            their groups together; by default they are not.
        time: Time of each row, if splits go by time; by default repeats are not kept together then.

    Raises:
        InvalidInputError: `how` is unknown.
    """
    if how is not None and how not in get_args(Duplicates):
        raise InvalidInputError(
            f"rows that repeat each other are kept together, apart, or dropped: got {how!r}"
            f"{closest(str(how), get_args(Duplicates))}, use {', '.join(get_args(Duplicates))}"
        )
    names = [column.name for column in columns]
    features = _numbered(frame.select(names))
    rows = frame.height
    same_features = rows - int(features.max(initial=-1)) - 1
    if not same_features:
        return Repeats()
    marks = [
        pl.Series(f"_{role}", values)
        for role, values in (("group", groups), ("time", time))
        if values is not None
    ]
    first = first_rows(frame.select(dict.fromkeys([*names, *targets]).keys()).with_columns(marks))
    same_everything = rows - int(first.sum())
    unlikely = repeats_are_unlikely(frame, columns, np.bincount(features))
    chosen = how
    if chosen is None:
        free = groups is None and time is None and rows - same_features >= FEWEST_DISTINCT
        chosen = "together" if unlikely and free else "apart"
    said = (
        f"{same_features} of {rows} rows repeat an earlier row in all features, "
        f"{same_everything or 'none'} of them in the targets, too"
    )
    if chosen == "drop":
        return Repeats(kept=first, notes=(f"{said}; {same_everything or 'none'} are left out",))
    if chosen == "together":
        together = features if groups is None else _merged(groups, features)
        return Repeats(
            groups=together,
            notes=(
                f"{said}: repeats stay on one side of every split; --duplicates apart deals them "
                "out like other rows, --duplicates drop leaves them out",
            ),
        )
    if how is not None or (not unlikely and same_everything < _FEWEST_SAID * rows):
        return Repeats()
    advice = "--duplicates together keeps them on one side of every split"
    if unlikely:
        why = "which chance does not explain: where they lie on both sides of a split, a model is "
        return Repeats(notes=(f"{said}, {why}asked what it was told; {advice}",))
    return Repeats(
        notes=(f"{said}, as chance has it in columns of few values: they are dealt out; {advice}",)
    )


def repeats_are_unlikely(
    frame: pl.DataFrame, columns: Sequence[Column], repeats: np.ndarray
) -> bool:
    """Return whether rows that are equal in all features can hardly be equal by chance.

    The rule: look at the columns of numbers that, among the distinct rows, have a value of their
    own in at least `NEARLY_ALL` of the rows. By chance, two rows agree in such a column with the
    probability of its step (the last decimal that it is written with) over the distance of its
    quartiles. Over the finest columns that are not copies of each other, these probabilities
    multiply. Repeats are unlikely if as many equal pairs have a probability of at most `CHANCE`
    (their number has a Poisson distribution), and at most the share `SHARE` of them is expected.
    Tables of few categories, or of numbers that are rounded far, repeat rows by chance.

    Args:
        frame: The rows.
        columns: The features.
        repeats: How often each distinct row is there.
    """
    names = [column.name for column in columns if column.kind == "numeric"]
    distinct = frame.select(column.name for column in columns).unique(maintain_order=True)
    found = []
    for name in names:
        column = distinct[name]
        if column.dtype == pl.Duration:
            column = column.dt.total_microseconds()
        values = column.cast(pl.Float64).to_numpy()
        known = values[np.isfinite(values)]
        if len(known) < max(distinct.height / 2, 2) or len(np.unique(known)) < NEARLY_ALL * len(
            known
        ):
            continue
        low, high = np.quantile(known, (0.25, 0.75))
        if high > low:
            found.append((min(1.0, _step(known) / (high - low)), values))
    chosen: list[np.ndarray] = []
    chance = 1.0
    for probability, values in sorted(found, key=lambda one: one[0]):
        if len(chosen) < _FINEST and not any(_alike(values, other) for other in chosen):
            chosen.append(values)
            chance *= probability
    from scipy.special import gammainc

    equal = (repeats * (repeats - 1) / 2).sum()
    expected = chance * frame.height * (frame.height - 1) / 2
    unlikely = gammainc(equal, expected) <= CHANCE  # the probability of so many, or more
    return bool(chosen) and bool(unlikely and expected <= SHARE * equal)


def _step(known: np.ndarray) -> float:
    """Return the last decimal that numbers are written with: 0.01 for 1.25 and 7.5."""
    size = float(np.abs(known).max())
    for decimals in range(16):
        scaled = known * 10.0**decimals
        if (np.abs(scaled - np.round(scaled)) <= 1e-9 * max(1.0, size)).all():
            return float(10.0**-decimals)
    return 1e-16


def _alike(one: np.ndarray, other: np.ndarray) -> bool:
    both = np.isfinite(one) & np.isfinite(other)
    if both.sum() < 3:
        return False
    first, second = (np.argsort(np.argsort(v[both])).astype(np.float64) for v in (one, other))
    return bool(abs(np.corrcoef(first, second)[0, 1]) > _ALIKE)


def first_rows(frame: pl.DataFrame) -> np.ndarray:
    """Return which rows repeat no earlier one, [n] of bool."""
    first = np.zeros(frame.height, dtype=bool)
    first[np.unique(_numbered(frame), return_index=True)[1]] = True
    return first


def _numbered(frame: pl.DataFrame) -> np.ndarray:
    """Return a number for each row, [n]: the same for equal rows, in the order of the first."""
    _, first, inverse = np.unique(
        frame.hash_rows().to_numpy(), return_index=True, return_inverse=True
    )
    # hashes differ from machine to machine, and groups decide on folds
    place = np.empty(len(first), dtype=np.int64)
    place[np.argsort(first)] = np.arange(len(first))
    numbers: np.ndarray = place[inverse.ravel()]
    return numbers


def _merged(groups: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Return groups of rows that share a value of either, [n]."""
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    left = np.unique(groups, return_inverse=True)[1].ravel()
    right = np.unique(others, return_inverse=True)[1].ravel() + left.max() + 1
    size = int(right.max()) + 1
    links = coo_matrix((np.ones(len(left)), (left, right)), shape=(size, size))
    found: np.ndarray = connected_components(links, directed=False)[1][left]
    return found.astype(np.int64)
