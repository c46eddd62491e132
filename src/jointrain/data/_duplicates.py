"""Rows that repeat each other: how many there are, and on which side of a split they go."""

from __future__ import annotations

from collections.abc import Collection, Sequence
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

_SHARED = 0.1
"""Rows of one thing are looked for where at least this share of the rows repeats others."""

_LOOKED_AT = 200
"""Columns that are looked at for that, at most."""

_NAMED = 3
"""Columns that are named, at most, where rows repeat each other in some."""

_FEWEST_SAID = 0.01
"""Repeats that chance explains are told from this share of the rows."""


class Repeats(NamedTuple):
    """What is to be done about rows that repeat each other.

    Args:
        groups: New group of each row, [n]; None leaves the groups as they are.
        kept: Which rows stay, [n] of bool; None keeps all.
        notes: What was found and done, for the user.
        units: Of what each row is, [n]: rows of a unit tell each other; None if all are apart.
    """

    groups: np.ndarray | None = None
    kept: np.ndarray | None = None
    notes: tuple[str, ...] = ()
    units: np.ndarray | None = None


def treat_duplicates(
    frame: pl.DataFrame,
    columns: Sequence[Column],
    targets: Sequence[str],
    how: Duplicates | None,
    groups: np.ndarray | None = None,
    time: np.ndarray | None = None,
    indices: Collection[str] = (),
) -> Repeats:
    """Count the rows that repeat an earlier one, and say what is to be done about them.

    Rows that repeat each other in several columns of numbers alone may be of the same thing (a
    patient, a mixture, a place), which gets a word. With `time` it gets none: the rows of a thing
    are its past and future then.

    Args:
        frame: The rows.
        columns: The features; rows repeat each other if these are equal.
        targets: Names of the targets.
        how: As in `SupervisedTable.prepare`.
        groups: Group of each row, if there are groups already. Rows that are kept together bring
            their groups together; by default they are not.
        time: Time of each row, if splits go by time; by default repeats are not kept together then.
        indices: Features that count the rows; they are not compared.

    Raises:
        InvalidInputError: `how` is unknown.
    """
    if how is not None and how not in get_args(Duplicates):
        raise InvalidInputError(
            f"rows that repeat each other are kept together, apart, or dropped: got {how!r}"
            f"{closest(str(how), get_args(Duplicates))}, use {', '.join(get_args(Duplicates))}"
        )
    columns = [column for column in columns if column.name not in indices]
    names = [column.name for column in columns]
    features = _numbered(frame.select(names)) if names else np.arange(frame.height)
    repeats = Repeats()
    if features.max(initial=-1) + 1 < frame.height:
        repeats = _equal_rows(frame, columns, targets, how, groups, time, indices, features)
    if groups is not None:
        return repeats._replace(units=groups)
    things = _things(frame, columns, features)
    if things is None:
        return repeats
    note, units = things
    told = () if time is not None or how is not None else (note,)
    return repeats._replace(units=units, notes=(*repeats.notes, *told))


def _equal_rows(
    frame: pl.DataFrame,
    columns: Sequence[Column],
    targets: Sequence[str],
    how: Duplicates | None,
    groups: np.ndarray | None,
    time: np.ndarray | None,
    indices: Collection[str],
    features: np.ndarray,
) -> Repeats:
    """Return what `treat_duplicates` does about rows with the same number in `features`, [n]."""
    names, rows = [column.name for column in columns], frame.height
    same_features = rows - int(features.max()) - 1
    compared = [frame[name] for name in dict.fromkeys([*names, *targets])]
    compared += [pl.Series(values) for values in (groups, time) if values is not None]
    # under numbers: any name that a role had could be a column's, too
    first = first_rows(pl.DataFrame([one.alias(str(i)) for i, one in enumerate(compared)]))
    same_everything = rows - int(first.sum())
    unlikely = repeats_are_unlikely(frame, columns, np.bincount(features))
    found = Repeats(units=features if unlikely else None)
    chosen = how
    if chosen is None:
        free = groups is None and time is None and rows - same_features >= FEWEST_DISTINCT
        chosen = "together" if unlikely and free else "apart"
    besides = f" but {', '.join(indices)}" if indices else ""
    said = (
        f"{same_features} of {rows} rows repeat an earlier row in all features{besides}, "
        f"{same_everything or 'none'} of them in the targets, too"
    )
    if chosen == "drop":
        note = f"{said}; {same_everything or 'none'} are left out"
        return found._replace(kept=first, notes=(note,))
    if chosen == "together":
        note = (
            f"{said}: repeats stay on one side of every split; --duplicates apart deals them "
            "out like other rows, --duplicates drop leaves them out"
        )
        together = features if groups is None else _merged(groups, features)
        return found._replace(groups=together, notes=(note,))
    if how is not None or (not unlikely and same_everything < _FEWEST_SAID * rows):
        return found
    advice = "--duplicates together keeps them on one side of every split"
    if unlikely:
        why = "which chance does not explain: where they lie on both sides of a split, a model is "
        return found._replace(notes=(f"{said}, {why}asked what it was told; {advice}",))
    why = "as chance has it in columns of few values: they are dealt out"
    return found._replace(notes=(f"{said}, {why}; {advice}",))


def _things(
    frame: pl.DataFrame, columns: Sequence[Column], features: np.ndarray
) -> tuple[str, np.ndarray] | None:
    """Return a note and the thing that each row is of, [n], if rows seem to be of fewer things.

    The rule: of the columns of numbers that come again in at least `_SHARED` of the rows and have
    `FEWEST_DISTINCT` values or more, take the one that is written most finely, and each further one
    with which at least `_SHARED` of the rows still repeat an earlier one. If there are two or more,
    rows that are equal in all of them are of one thing, where chance does not explain that
    (`repeats_are_unlikely`) and it holds for more rows than are equal in all `features`, [n].
    """
    rows = frame.height
    steps = {}
    for column in columns[:_LOOKED_AT]:
        values = frame[column.name]
        if (
            column.kind == "numeric"
            and FEWEST_DISTINCT <= values.n_unique() <= (1 - _SHARED) * rows
            and (step := _relative_step(_numbers(values))) is not None
        ):
            steps[column.name] = step
    names: list[str] = []
    for name in sorted(steps, key=steps.__getitem__):
        if frame.select([*names, name]).n_unique() <= (1 - _SHARED) * rows:
            names.append(name)
    if len(names) < 2:
        return None
    shared = [column for column in columns if column.name in names]
    units = _numbered(frame.select(names))
    distinct = int(units.max()) + 1
    if features.max() + 1 - distinct < _SHARED * rows or not repeats_are_unlikely(
        frame, shared, np.bincount(units)
    ):
        return None
    shown = ", ".join(names[:_NAMED]) + (" and others" if len(names) > _NAMED else "")
    note = (
        f"{rows - distinct} of {rows} rows repeat an earlier row in {shown}, and differ in other "
        "columns: if they are of the same thing (a person, a machine, a place), name the column "
        "that tells which with --group, else a model is asked what it was told"
    )
    return note, units


def unlikely_repeats(frame: pl.DataFrame, columns: Sequence[Column]) -> np.ndarray | None:
    """Return a number for each row, [n], the same for rows that are equal in all features.

    Returns:
        None where no rows are, or where chance explains it (`repeats_are_unlikely`).
    """
    if not frame.height or not columns:
        return None
    numbers = _numbered(frame.select(column.name for column in columns))
    repeated = numbers.max() + 1 < frame.height
    if repeated and repeats_are_unlikely(frame, columns, np.bincount(numbers)):
        return numbers
    return None


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
        values = _numbers(distinct[name])
        known = values[np.isfinite(values)]
        if len(known) < max(distinct.height / 2, 2) or len(np.unique(known)) < NEARLY_ALL * len(
            known
        ):
            continue
        step = _relative_step(values)
        if step is not None:
            found.append((step, values))
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


def _numbers(column: pl.Series) -> np.ndarray:
    """Return a column of numbers or durations, NaN where one is missing, [n]."""
    if column.dtype == pl.Duration:
        column = column.dt.total_microseconds()
    return column.cast(pl.Float64).to_numpy()


def _relative_step(values: np.ndarray) -> float | None:
    """Return the step over the distance of the quartiles, 1 at most; None if these are equal."""
    known = values[np.isfinite(values)]
    if len(known) < 2:
        return None
    low, high = np.quantile(known, (0.25, 0.75))
    return min(1.0, _step(known) / (high - low)) if high > low else None


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
