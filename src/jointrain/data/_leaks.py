"""Leaks: columns that tell what is to be predicted, or the order of the rows. They get a word."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import NamedTuple

import numpy as np
import polars as pl

from jointrain.data._columns import Column
from jointrain.data._duplicates import first_rows
from jointrain.task import Task, labels_of

FEWEST_ROWS = 20
"""Tables with fewer rows are not looked at: there, anything fits."""

LARGEST_ERROR = 0.01
"""A column tells a class if it is wrong in at most this share of the rows that the most frequent
class is wrong in ..."""

LARGEST_VARIANCE = 1e-4
"""... and a number if at most this share of its variance is left."""

_MOST_ROWS = 20_000
"""Rows that are looked at, at most, evenly spaced over the table."""

_MOST_PAIRS = 20_000
"""Pairs of target and column that are looked at, at most: the first columns of a wider table."""

_CONTINUOUS = 20
"""Numbers with as many distinct values are compared by their order, too."""

_SUSPICIOUS = 0.9
"""Correlations above this are looked at closely; missing values lower them."""

_ROW_PAIRS = 512
"""Pairs of rows by which columns that do not put them into the same order are left out."""

_SHOWN = 10
"""Leaks that are told one by one, at most."""

_PIECES_SHOWN = 5
"""Columns that are named, at most, where several tell a target together."""


class _Values(NamedTuple):
    """A column as numbers.

    Args:
        name: Its name.
        codes: Rank of each value among the distinct ones, -1 where missing, [n]; in the order of
            numbers, any order of others.
        values: The numbers, NaN where missing, [n]; None for categories.
        distinct: How many distinct values there are.
        again: Which of them are those of two units, [distinct], see `leak_notes`.
    """

    name: str
    codes: np.ndarray
    values: np.ndarray | None
    distinct: int
    again: np.ndarray


def index_columns(frame: pl.DataFrame, columns: Sequence[Column]) -> dict[str, str]:
    """Return in which way a feature counts the rows, by its name, for those that do."""
    if frame.height < FEWEST_ROWS:
        return {}
    return {column.name: what for column in columns if (what := _counts_rows(frame[column.name]))}


def leak_notes(
    frame: pl.DataFrame,
    columns: Sequence[Column],
    tasks: Sequence[Task],
    labels: np.ndarray,
    indices: Mapping[str, str],
    units: np.ndarray | None = None,
) -> tuple[str, ...]:
    """Return a sentence for each thing that looks like a leak; nothing is changed or refused.

    What is looked for: a feature that counts the rows; a feature that tells a target (a copy, also
    with another unit, rounded, in bands, or with other names for the classes); features of which
    each tells one class, as dummy variables do; a target that another one tells. See
    `LARGEST_ERROR` and `LARGEST_VARIANCE`.

    Args:
        frame: The rows that have labels.
        columns: The features.
        tasks: The targets.
        labels: As `encode_targets` gives them.
        indices: The features that count the rows, see `index_columns`.
        units: Of what each row is (a patient, a repeated measurement): a value that only the rows
            of one unit have tells the unit, and through it whatever target. Default: all are apart.

    Shape:
        labels: [n, t], NaN where a label is missing. units: [n], whole numbers from 0.
    """
    if frame.height < FEWEST_ROWS:
        return ()
    notes = [
        f"column {name!r} looks like an index: it {what}; if it only numbers the rows, name it "
        "with --id, or ignore it"
        for name, what in indices.items()
    ]
    others = [column for column in columns if column.name not in indices]
    others = others[: _MOST_PAIRS // len(tasks)]
    rows = np.unique(np.linspace(0, frame.height - 1, _MOST_ROWS).round().astype(np.int64))
    names = [column.name for column in others]
    names += [name for task in tasks for name in task.target_columns]
    sample = frame[rows].select(dict.fromkeys(names).keys())
    # a row that is there several times would tell itself
    distinct = first_rows(sample)
    sample, known = sample.filter(pl.Series(distinct)), labels[rows][distinct]
    of_rows = np.arange(len(sample)) if units is None else units[rows][distinct]
    targets = [
        one
        for task, own in zip(tasks, labels_of(known, tasks), strict=True)
        for one in _targets(task, own, of_rows)
    ]
    features = _features(sample, others, of_rows)
    if not len(sample):
        return tuple(notes)
    suspects = _Suspects(features or targets, targets)
    found = [
        f"column {feature.name!r} tells target {target.name!r} ({how}): is it known at prediction "
        "time? if not, ignore it"
        for i, feature in enumerate(features)
        for j, target in enumerate(targets)
        if (how := _tells(feature, target, suspects, (i, j)))
    ]
    found += [note for target in targets if (note := _told_in_pieces(features, target))]
    few = targets[: int(_MOST_PAIRS**0.5)]
    suspects = _Suspects(few, few)
    for i, j in combinations(range(len(few)), 2):
        for pair in ((i, j), (j, i)):
            first, second = few[pair[0]], few[pair[1]]
            if how := _tells(first, second, suspects, pair):
                found.append(
                    f"target {first.name!r} tells target {second.name!r} ({how}): if it is known "
                    "at prediction time, make it a feature; if not, one of the two is enough"
                )
                break
    if len(found) > _SHOWN:
        found = [*found[:_SHOWN], f"{len(found) - _SHOWN} more columns tell a target like that"]
    return (*notes, *found)


class _Suspects:
    """Which pairs of columns may lie on a line or in the same order: all that do, and few others.

    Args:
        sources: s columns.
        targets: t columns.
    """

    def __init__(self, sources: Sequence[_Values], targets: Sequence[_Values]) -> None:
        lines = [np.stack([_unit(one) for one in columns]) for columns in (sources, targets)]
        # where values are missing, the correlation is lower than that of the known ones
        self.line = np.abs(lines[0] @ lines[1].T) > _SUSPICIOUS  # [s, t]
        chosen = np.random.default_rng(0).integers(0, len(sources[0].codes), (2, _ROW_PAIRS))
        signs = [
            np.stack([_signs(one, *chosen) for one in columns]) for columns in (sources, targets)
        ]
        rises = [(of_columns > 0).astype(np.float32) for of_columns in signs]
        falls = [(of_columns < 0).astype(np.float32) for of_columns in signs]
        self.up = rises[0] @ falls[1].T + falls[0] @ rises[1].T == 0  # [s, t]
        self.down = rises[0] @ rises[1].T + falls[0] @ falls[1].T == 0


def _unit(column: _Values) -> np.ndarray:
    """Return numbers of mean 0 and length 1, 0 where missing, [n]; zeros for categories."""
    if column.values is None or not np.isfinite(column.values).any():
        return np.zeros(len(column.codes))
    with np.errstate(all="ignore"):
        values = column.values / (np.nanmax(np.abs(column.values)) or 1.0)
        values = np.nan_to_num(values - np.nanmean(values))
        return np.nan_to_num(values / np.linalg.norm(values))


def _signs(column: _Values, left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Return in which pairs of rows a value rises (1) or falls (-1); 0 where one is missing."""
    one, other = column.codes[left], column.codes[right]
    return np.where((one < 0) | (other < 0), 0, np.sign(other - one))


def _counts_rows(column: pl.Series) -> str | None:
    """Return in which way a column numbers the rows, None if it does not."""
    rows = len(column)
    if column.null_count():
        return None
    if column.dtype == pl.String:
        parts = column.str.extract_groups(r"^(\D*)(\d{1,18})$").struct.unnest()
        if parts.to_series(0).n_unique() > 1 or parts.to_series(1).null_count():
            return None
        column = parts.to_series(1).cast(pl.Int64)
    elif column.dtype.is_float():
        if not (column == column.round()).all() or column.abs().max() >= 2.0**53:  # type: ignore[operator]
            return None
        column = column.cast(pl.Int64)
    elif not column.dtype.is_integer():
        return None
    if column.n_unique() < rows:
        return None
    smallest, largest = (int(end) for end in (column.min(), column.max()))  # type: ignore[arg-type]
    counted = f"has the values {smallest} to {largest}, each once"
    if smallest in (0, 1) and largest - smallest == rows - 1:
        return counted
    if column.is_sorted() or column.is_sorted(descending=True):
        return "is a whole number, different in every row, in the order of the rows"
    return counted if largest - smallest == rows - 1 else None


def _features(frame: pl.DataFrame, columns: Sequence[Column], units: np.ndarray) -> list[_Values]:
    found = []
    for column in columns:
        values = frame[column.name]
        # text tells a class only through values that come again, as categories do
        numbers = None
        if column.kind in ("numeric", "datetime", "time"):
            if values.dtype.is_temporal():
                values = values.to_physical()
            numbers = values.cast(pl.Float64).to_numpy()
        elif column.kind not in ("boolean", "category", "text", "id"):
            continue
        codes = values.cast(pl.String) if values.dtype in (pl.Categorical, pl.Enum) else values
        ranks = codes.rank("dense").fill_null(0).to_numpy().astype(np.int64) - 1
        found.append(_with_units(column.name, ranks, numbers, units))
    return found


def _with_units(
    name: str, codes: np.ndarray, values: np.ndarray | None, units: np.ndarray
) -> _Values:
    distinct = int(codes.max(initial=-1)) + 1
    known = codes >= 0
    wide = int(units.max(initial=0)) + 1
    pairs = np.unique(codes[known] * wide + units[known]) // wide
    return _Values(name, codes, values, distinct, np.bincount(pairs, minlength=distinct) > 1)


def _targets(task: Task, labels: np.ndarray, units: np.ndarray) -> list[_Values]:
    """Return the labels of a task, [n] or [n, m], as columns; bounds that are none are missing."""
    if labels.ndim == 1:
        return [_target(task.name, labels, units, numbers=not task.has_classes)]
    each = [np.where(np.isfinite(column), column, np.nan) for column in labels.T]
    if len(task.target_columns) != len(each):
        return [_target(task.name, each[0], units, numbers=True)]
    numbers = task.in_table.cells != "yes or no"
    named = zip(task.target_columns, each, strict=True)
    return [
        # whether it happened is two values
        _target(
            name, column, units, numbers=numbers and len(np.unique(column[~np.isnan(column)])) > 2
        )
        for name, column in named
    ]


def _target(name: str, labels: np.ndarray, units: np.ndarray, *, numbers: bool) -> _Values:
    ranks = np.full(len(labels), -1)
    known = np.isfinite(labels)
    ranks[known] = np.unique(labels[known], return_inverse=True)[1].ravel()
    return _with_units(name, ranks, labels if numbers else None, units)


def _tells(
    source: _Values, target: _Values, suspects: _Suspects, pair: tuple[int, int]
) -> str | None:
    """Return how a column tells a target, None if it does not; `pair` is their place there."""
    known = (source.codes >= 0) & (target.codes >= 0)
    if known.sum() < FEWEST_ROWS or target.distinct < 2 or source.distinct < 2:
        return None
    codes, wanted = source.codes[known], target.codes[known]
    if target.values is None:
        by_value = _tells_class(codes, wanted, source.again, target.distinct)
    else:
        values = target.values[known]
        if suspects.line[pair] and _is_line(source.values[known], values):  # type: ignore[index]
            return "the same number, up to unit and rounding"
        by_value = _tells_number(codes, values, source.again)
    if by_value:
        return "each of its values goes with one of the target's"
    ordered = source.values is not None
    if ordered and max(source.distinct, target.distinct) >= _CONTINUOUS:
        if target.values is None:
            if source.distinct >= _CONTINUOUS and _in_stretches(codes, wanted, target.distinct):
                return "cuts of it part the classes without an error"
        elif (suspects.up[pair] and _same_order(codes, wanted)) or (
            suspects.down[pair] and _same_order(codes, -wanted)
        ):
            return "both put the rows into the same order"
    return None


def _tells_class(codes: np.ndarray, wanted: np.ndarray, again: np.ndarray, classes: int) -> bool:
    """Return whether the other rows of a value tell a row's class."""
    distinct = len(again)
    if distinct * classes > 50 * len(codes):
        return False
    counts = np.bincount(codes * classes + wanted, minlength=distinct * classes)
    counts = counts.reshape(distinct, classes)
    counts = counts[again & (counts.sum(1) > 1)]
    covered = counts.sum()
    base = covered - counts.sum(0).max(initial=0)
    if covered < 0.9 * len(codes) or base < 10:
        return False
    # the class of most others of the value is a row's own, even without itself
    others = np.sort(counts, axis=1)[:, -2] if classes > 1 else np.zeros(len(counts))
    most = counts.max(1)
    right = most[most > others + 1].sum()
    return bool(covered - right <= LARGEST_ERROR * base)


def _tells_number(codes: np.ndarray, values: np.ndarray, again: np.ndarray) -> bool:
    """Return whether a number hardly varies among the rows of a value."""
    distinct = len(again)
    if distinct > 0.55 * len(codes):
        return False  # at least a tenth of the rows has a value of its own
    sizes = np.bincount(codes, minlength=distinct)
    counted = again[codes] & (sizes[codes] > 1)
    if counted.sum() < 0.9 * len(codes):
        return False
    codes, values = codes[counted], values[counted]
    values = values - values.mean()
    scale = np.abs(values).max()
    if not scale > 0:
        return False
    values = values / scale
    means = np.bincount(codes, values, distinct) / np.maximum(sizes, 1)
    free = len(codes) - len(np.unique(codes))
    left = ((values - means[codes]) ** 2).sum() / free
    return bool(left <= LARGEST_VARIANCE * values.var())


def _told_in_pieces(features: Sequence[_Values], target: _Values) -> str | None:
    """Return a note if columns of two values each tell a class, all but one at least."""
    if target.values is not None or target.distinct < 3:
        return None
    pieces: dict[int, str] = {}
    for column in features:
        if column.distinct != 2:
            continue
        known = (column.codes >= 0) & (target.codes >= 0)
        if known.sum() < FEWEST_ROWS:
            continue
        pairs = column.codes[known] * target.distinct + target.codes[known]
        counts = np.bincount(pairs, minlength=2 * target.distinct).reshape(2, -1)
        # of each value: its rows of other classes, and the class's rows of the other value
        wrong = counts.sum(1, keepdims=True) - counts + counts[::-1]
        right = (wrong <= LARGEST_ERROR * counts) & (counts > 1)
        for told in np.flatnonzero(right.any(0)).tolist():
            pieces.setdefault(told, column.name)
    if len(pieces) < target.distinct - 1:
        return None
    names = list(dict.fromkeys(pieces.values()))
    shown = ", ".join(names[:_PIECES_SHOWN])
    more = f" and {len(names) - _PIECES_SHOWN} more" if len(names) > _PIECES_SHOWN else ""
    return (
        f"columns {shown}{more} together tell target {target.name!r} (each of them one of its "
        "classes): are they known at prediction time? if not, ignore them"
    )


def _is_line(one: np.ndarray, other: np.ndarray) -> bool:
    """Return whether two numbers lie on a line."""
    with np.errstate(all="ignore"):
        one, other = (v / np.abs(v).max() for v in (one - one.mean(), other - other.mean()))
        correlation = (one @ other) ** 2 / ((one @ one) * (other @ other))
    return bool(1 - correlation <= LARGEST_VARIANCE)


def _same_order(one: np.ndarray, other: np.ndarray) -> bool:
    """Return whether neither of two rankings ever falls while the other rises."""
    order = np.lexsort((other, one))
    return bool((np.diff(other[order]) >= 0).all())


def _in_stretches(codes: np.ndarray, wanted: np.ndarray, classes: int) -> bool:
    """Return whether each class is one stretch of the ranking, none with fewer than 5 rows."""
    if np.bincount(wanted, minlength=classes).min() < 5:
        return False
    if len(codes) > _ROW_PAIRS and not _in_stretches_of(codes[::50], wanted[::50], classes):
        return False
    return _in_stretches_of(codes, wanted, classes)


def _in_stretches_of(codes: np.ndarray, wanted: np.ndarray, classes: int) -> bool:
    order = np.lexsort((wanted, codes))
    changes = np.diff(wanted[order]) != 0
    return bool(changes.sum() < classes and (np.diff(codes[order])[changes] > 0).all())
