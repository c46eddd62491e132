"""What scikit-learn's users pass as X and y, turned into tables and labels."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any

import numpy as np
import polars as pl

from jointrain.data import as_table, checked_row_weights, is_missing, unmasked
from jointrain.errors import InvalidInputError


def plain_features(X: Any) -> Any:
    """Return X as scikit-learn's checks can take it: masks and objects that are missing as NaN.

    Raises:
        InvalidInputError: It is an array of dates or durations.
    """
    if isinstance(X, np.ma.MaskedArray):
        X = unmasked(X)
    if isinstance(X, np.ndarray) and X.dtype.kind == "O":
        missing = np.frompyfunc(is_missing, 1, 1)(X).astype(bool)
        if missing.any():
            X = np.where(missing, np.nan, X)
    if isinstance(X, np.ndarray) and X.dtype.kind in "mM":
        raise InvalidInputError(
            "X is an array of dates or durations; give a data frame, or numbers such as seconds"
        )
    return X


@dataclass(frozen=True)
class Targets:
    """The columns of y.

    Args:
        names: Their names.
        columns: Their values, [n] each; of any type.
        missing: Where a label is missing, [n] each.
        one_dimensional: Whether y was [n].
        named: Whether the names are those of y; else they are made up.
    """

    names: list[str]
    columns: list[np.ndarray]
    missing: list[np.ndarray]
    one_dimensional: bool
    named: bool = False

    @property
    def rows(self) -> int:
        """The number of rows."""
        return len(self.columns[0])

    def known(self, index: int) -> np.ndarray:
        """Return the labels of a target that are there."""
        known: np.ndarray = self.columns[index][~self.missing[index]]
        return known

    def numbers(self) -> np.ndarray:
        """Return the labels as numbers, [n, t], NaN where one is missing.

        Durations become seconds, with a warning.

        Raises:
            InvalidInputError: A label is no number, or infinite.
        """
        values = np.full((self.rows, len(self.columns)), np.nan)
        for index, name in enumerate(self.names):
            wrong = self._first_wrong_row(index)
            if wrong is not None:
                raise InvalidInputError(
                    f"{name} of y holds {self.columns[index][wrong]!r} in row {wrong}, and y "
                    "holds values that are no numbers; use JointClassifier for classes"
                )
            values[~self.missing[index], index] = self._as_numbers(name, self.known(index))
            infinite = np.isinf(values[:, index])
            if infinite.any():
                raise InvalidInputError(f"{name} of y contains infinity in row {infinite.argmax()}")
        return values

    def _as_numbers(self, name: str, known: np.ndarray) -> np.ndarray:
        if not _are_durations(known):
            return known.astype(np.float64)
        warnings.warn(f"{name} of y holds durations; they are predicted in seconds", stacklevel=4)
        return seconds(known)

    def _first_wrong_row(self, index: int) -> int | None:
        """Return the first row (from 0) whose label is no number; None if there is none."""
        column = self.columns[index]
        if column.dtype.kind in "fiubm":
            return None
        from datetime import timedelta
        from decimal import Decimal
        from numbers import Real

        for row in np.flatnonzero(~self.missing[index]).tolist():
            if not isinstance(column[row], (Real, Decimal, np.bool_, timedelta, np.timedelta64)):
                return row
        return None

    def at(self, places: Sequence[int]) -> Targets:
        """Return the targets at some places, in that order."""
        return replace(
            self,
            names=[self.names[place] for place in places],
            columns=[self.columns[place] for place in places],
            missing=[self.missing[place] for place in places],
        )

    def weights(self, given: Any) -> np.ndarray | None:
        """Return the weights of the labels, see `read_sample_weight`."""
        return read_sample_weight(given, self.rows, self.names, named=self.named)

    def called(self, names: Sequence[str]) -> Targets:
        """Return the targets under other names."""
        return replace(self, names=list(names))

    def check_labelled(self) -> None:
        """Refuse targets without any label.

        Raises:
            InvalidInputError: One of them is named.
        """
        for name, missing in zip(self.names, self.missing, strict=True):
            if missing.all():
                raise InvalidInputError(f"{name} of y has no label: all values are missing")


def is_indicator(y: Any) -> bool:
    """Return whether y is a sparse matrix or array of scipy."""
    return hasattr(y, "toarray") and hasattr(y, "nnz")


def sparse_labels(values: np.ndarray, *, as_matrix: bool) -> Any:
    """Return labels, [n, t], as a sparse matrix or array in rows (CSR)."""
    from scipy.sparse import csr_array, csr_matrix

    return csr_matrix(values) if as_matrix else csr_array(values)


def read_targets(y: Any, *, indicators: bool = False) -> Targets:
    """Return the columns of y.

    Args:
        y: [n] or [n, t]: an array, a list, a series, a data frame or a mapping of names to [n]; or
            a structured array, whose fields are the columns. None, NaN, NaT, pandas.NA and what a
            mask hides are missing labels.
        indicators: Whether y may be sparse: 1 where a label holds, and nothing elsewhere.

    Raises:
        InvalidInputError: It is of another shape, sparse, or holds complex numbers or dates.
    """
    if y is None:
        raise InvalidInputError("requires y to be passed, but the target y is None")
    named = True
    if is_indicator(y):
        y = _dense_indicator(y, allowed=indicators)
    fields = getattr(getattr(y, "dtype", None), "names", None)
    if fields:
        frame = {name: np.asarray(y[name]) for name in fields}
        names, columns, flat = list(fields), list(_by_name(frame).values()), len(fields) == 1
    elif hasattr(y, "columns") or isinstance(y, Mapping):
        frame = _by_name(y) if isinstance(y, Mapping) else _named(y)
        names, columns, flat = list(frame), list(frame.values()), False
    else:
        named = False
        array = _plain(y) if isinstance(y, pl.Series) else _array(y)
        if array.ndim not in (1, 2):
            raise InvalidInputError(f"y must be [n] or [n, t], got shape {array.shape}")
        flat = array.ndim == 1
        columns = list(array.reshape(len(array), -1).T)
        names = [f"target {index}" for index in range(len(columns))]
    if not columns:
        raise InvalidInputError("y has no column; give at least one target")
    for name, column in zip(names, columns, strict=True):
        _check_kind(name, column)
    return Targets(names, columns, [_missing(column) for column in columns], flat, named)


def _dense_indicator(y: Any, *, allowed: bool) -> np.ndarray:
    """Return a sparse indicator matrix as a dense one.

    Raises:
        InvalidInputError: It can't be one here, or holds others than 0 and 1.
    """
    if not allowed:
        raise InvalidInputError(
            "y is sparse, and its zeros may be numbers or missing labels; give y.toarray(), with "
            "NaN where a label is missing"
        )
    dense: np.ndarray = y.toarray()
    wrong = ~np.isin(dense, (0, 1))
    if wrong.any():
        row, column = np.argwhere(wrong)[0]
        raise InvalidInputError(
            f"y is sparse and holds {dense[row, column]!s} in row {row + 1} of target {column}; a "
            "sparse y says which labels hold, by 1; give y.toarray() for other classes"
        )
    return dense


def _array(y: Any) -> np.ndarray:
    if isinstance(y, np.ma.MaskedArray):
        return unmasked(y)
    try:
        array = np.asarray(y)
        # numpy makes text of what stands beside text, and rounds whole numbers beside others
        rounded = array.dtype.kind == "f" and (np.abs(array) >= 2.0**53).any()
        if isinstance(y, (list, tuple)) and (array.dtype.kind in "US" or rounded):
            return np.array(y, dtype=object)
        return _of_pandas(y) if type(y).__module__.startswith("pandas") else array
    except ValueError:
        raise InvalidInputError("the rows of y hold lists of unequal length") from None


def _by_name(y: Mapping[Any, Any]) -> dict[str, np.ndarray]:
    """Return the columns of a mapping of vectors.

    Raises:
        InvalidInputError: One is no vector, or of another length, or two have the same name.
    """
    check_keys(y, "y")
    found = {}
    for name, values in y.items():
        column = _plain(values) if isinstance(values, pl.Series) else _array(values)
        if column.ndim != 1:
            raise InvalidInputError(f"{name} of y must be [n], got shape {column.shape}")
        found[str(name)] = column
    for name, column in found.items():
        rows = len(next(iter(found.values())))
        if len(column) != rows:
            raise InvalidInputError(
                f"{next(iter(found))} of y has {rows} rows and {name} has {len(column)}; they must "
                "be the same"
            )
    return found


def check_keys(given: Mapping[Any, Any], what: str) -> None:
    """Refuse keys that are the same name, such as 1 and "1".

    Raises:
        InvalidInputError: The name is told.
    """
    seen: set[str] = set()
    for name in map(str, given):
        if name in seen:
            raise InvalidInputError(
                f"{what} names column {name!r} more than once, as 1 and '1' are the same name; "
                "give each its own name"
            )
        seen.add(name)


def _named(y: Any) -> dict[str, np.ndarray]:
    """Return the columns of a data frame by name, categories as what they are made of."""
    if type(y).__module__.startswith("pandas"):
        as_table(y.iloc[:0].astype(object))  # checks the names
        values = [_of_pandas(y.iloc[:, index]) for index in range(y.shape[1])]
        return dict(zip(map(str, y.columns), values, strict=True))
    return {column.name: _plain(column) for column in as_table(y)}


def _of_pandas(column: Any) -> np.ndarray:
    """Return the values of a pandas series; nullable whole numbers stay whole."""
    own = isinstance(getattr(column, "dtype", None), np.dtype)
    values: np.ndarray = np.asarray(column) if own else column.to_numpy(dtype=object)
    return values


def _plain(column: pl.Series) -> np.ndarray:
    """Return a column's values; whole numbers and truth values with gaps stay what they are."""
    if column.dtype.is_nested():
        raise InvalidInputError(
            f"{column.name or 'a target'} of y holds {column.dtype}; give a column for each target"
        )
    beyond_numpy = column.dtype in (pl.Int128, pl.UInt128)
    if beyond_numpy or (column.null_count() and not column.dtype.is_float()):
        return np.array(column.to_list(), dtype=object)
    if column.dtype in (pl.Categorical, pl.Enum):
        column = column.cast(pl.String)
    return np.asarray(column.to_numpy())


def _check_kind(name: str, column: np.ndarray) -> None:
    kind: str = column.dtype.kind
    if kind == "O":
        of_type = {
            "complex": "c",
            "complex128": "c",
            "datetime": "M",
            "date": "M",
            "Timestamp": "M",
        }
        samples = {type(value).__name__ for value in column if not is_missing(value)}
        kind = next((of_type[sample] for sample in sorted(samples & of_type.keys())), "O")
    if kind == "c":
        raise InvalidInputError(
            f"Complex data not supported: {name} of y holds complex numbers; give real and "
            "imaginary part as two targets"
        )
    words = {"M": "dates", "V": "records"}
    if kind in words:
        raise InvalidInputError(
            f"{name} of y holds {words[kind]}, which can't be predicted; turn them into numbers, "
            "such as seconds, or into text"
        )


def _are_durations(known: np.ndarray) -> bool:
    from datetime import timedelta

    if known.dtype.kind == "O":
        return any(isinstance(value, (timedelta, np.timedelta64)) for value in known)
    return known.dtype.kind == "m"


def _duration(value: Any) -> np.timedelta64:
    """Return a duration of Python, pandas or numpy as one of numpy; others are refused."""
    try:
        return np.timedelta64(value)
    except (TypeError, ValueError):
        raise InvalidInputError(f"y holds durations and {value!r}; give one kind") from None


def _missing(column: np.ndarray) -> np.ndarray:
    if column.dtype.kind == "f":
        return np.asarray(np.isnan(column))
    if column.dtype.kind == "m":
        return np.asarray(np.isnat(column))
    if column.dtype.kind == "O":
        return np.array([is_missing(value) for value in column], dtype=bool)
    return np.zeros(len(column), dtype=bool)


def sorted_classes(name: str, known: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the distinct labels in order, [c], and the number of each label's class, [n].

    Args:
        name: The target's name.
        known: Its labels, none missing; n >= 1.

    Raises:
        InvalidInputError: The labels are infinite, or of types that have no order among them.
        ValueError: They are numbers with fractions, in the words of scikit-learn.
    """
    from sklearn.utils.multiclass import check_classification_targets

    if _are_durations(known):
        raise InvalidInputError(f"{name} of y holds durations, which are no classes; write text")
    if known.dtype.kind == "O" and not isinstance(known[0], str):
        plain = np.asarray(known.tolist())
        # numbers beyond 64 bits, or of mixed signs there, would be rounded
        exact = plain.dtype.kind != "f" or all(isinstance(v, float) for v in known)
        whole = all(isinstance(v, (int, np.integer)) for v in known)
        if plain.ndim == 1 and plain.dtype.kind != "U" and (exact or not whole):
            known = plain
    decimals = [v for v in known if isinstance(v, Decimal)] if known.dtype.kind == "O" else []
    if (known.dtype.kind == "f" and np.isinf(known).any()) or any(
        v.is_infinite() for v in decimals
    ):
        raise InvalidInputError(f"{name} of y contains infinity, which is no class")
    types = sorted({type(label).__name__ for label in known}) if known.dtype.kind == "O" else []
    try:
        classes, codes = np.unique(known, return_inverse=True)
    except TypeError:
        raise InvalidInputError(
            f"{name} of y holds labels of several types ({', '.join(types)}); write all of them as "
            "text, or all as numbers"
        ) from None
    if any(isinstance(v, Decimal) and v.is_finite() and v % 1 for v in classes):
        known, types = np.array(known.tolist(), dtype=np.float64), []
    if not types or types == ["str"]:
        check_classification_targets(known)
    elif len(types) > 1 and "str" in types:
        raise InvalidInputError(
            f"{name} of y holds labels of several types ({', '.join(types)}); write all of them as "
            "text, or all as numbers"
        )
    return classes, codes.ravel()


def read_sample_weight(
    given: Any, rows: int, names: Sequence[str], *, named: bool
) -> np.ndarray | None:
    """Return the weights of labels, [n, t]; None if there are none.

    Args:
        given: [n] or [n, t]: an array, a list, a series or a data frame, whose columns are found by
            the names of the targets.
        rows: n.
        names: The names of the targets, [t].
        named: Whether y gave these names. Else a data frame with others is taken by its places.

    Raises:
        InvalidInputError: They are text, of another shape, negative or not finite, or all 0; or
            the columns of a data frame are not those of y.
    """
    if given is None:
        return None
    count = len(names)
    try:
        plain = unmasked(given) if isinstance(given, np.ma.MaskedArray) else given
        weights = np.asarray(plain, dtype=np.float64)
    except (TypeError, ValueError):
        raise InvalidInputError("sample_weight holds what is no number; give numbers") from None
    if weights.shape == (rows,):
        weights = np.repeat(weights[:, None], count, axis=1)
    if weights.shape != (rows, count):
        raise InvalidInputError(
            f"sample_weight must be [{rows}] or [{rows}, {count}], as y, got shape "
            f"{list(weights.shape)}"
        )
    if hasattr(given, "columns") and count > 1:
        weights = weights[:, _order_of_weights(given, names, named=named)]
    return checked_row_weights(weights, "sample_weight")


def _order_of_weights(given: Any, names: Sequence[str], *, named: bool) -> list[int]:
    """Return where the weights of each target are in a data frame of as many columns.

    Raises:
        InvalidInputError: y has names, and the columns have others.
    """
    columns = [str(name) for name in getattr(given, "column_names", given.columns)]
    if sorted(columns) == sorted(names):
        return [columns.index(name) for name in names]
    if named:
        raise InvalidInputError(
            f"sample_weight has the columns {', '.join(columns[:8])}, and the targets are "
            f"{', '.join(names[:8])}; give a column for each, under its name"
        )
    return list(range(len(names)))


def of_any_unit(weights: np.ndarray) -> np.ndarray:
    """Return weights in a unit in which their sum is no infinity, without rounding."""
    return np.asarray(np.ldexp(weights, -int(np.frexp(weights.max())[1])))


def read_groups(given: Any, rows: int) -> np.ndarray | None:
    """Return the number of each row's group, [n]; None if there are none.

    Raises:
        InvalidInputError: They are of another shape, or one is missing.
    """
    if given is None:
        return None
    groups = _plain(given) if isinstance(given, pl.Series) else _array(given)
    if groups.shape != (rows,):
        raise InvalidInputError(
            f"groups must be one value a row, [{rows}], got shape {list(groups.shape)}"
        )
    missing = _missing(groups)
    if missing.any():
        raise InvalidInputError(f"groups is empty in row {int(missing.argmax()) + 1}; fill it")
    numbers: dict[Any, int] = {}
    return np.array([numbers.setdefault(value, len(numbers)) for value in groups.tolist()])


def label_column(targets: Targets, index: int, order: Sequence[str] | None = None) -> pl.Series:
    """Return the labels of a target as a column of a table; durations in seconds.

    Args:
        targets: The targets.
        index: Which one.
        order: All its classes, which are text, lowest first; default none.

    Raises:
        InvalidInputError: The labels are of several types.
    """
    name, missing, known = targets.names[index], targets.missing[index], targets.known(index)
    if not len(known):
        return pl.Series(name, [None] * targets.rows, dtype=pl.Null)
    if _are_durations(known):
        values: list[Any] = seconds(known).tolist()
    elif known.dtype.kind == "O":
        values = _of_one_type(name, known)
    else:
        values = known.tolist()
    words = isinstance(values[0], str)
    dtype = pl.Enum(list(order)) if words and order is not None else None
    try:
        column = pl.Series(name, values, dtype=dtype)
    except (TypeError, OverflowError, pl.exceptions.PolarsError):
        raise InvalidInputError(
            f"{name} of y holds values that a table can't, such as {values[0]!r}; write them as "
            "numbers or as text"
        ) from None
    places = np.full(targets.rows, -1)
    places[~missing] = np.arange(len(values))
    return column.gather(pl.Series(places).replace(-1, None))


def _of_one_type(name: str, known: np.ndarray) -> list[Any]:
    """Return objects as values of one type: truth values, whole numbers, numbers or text."""
    from decimal import Decimal
    from numbers import Integral, Real

    values = known.tolist()
    if all(isinstance(value, (bool, np.bool_)) for value in values):
        return [bool(value) for value in values]
    if all(isinstance(value, Integral) for value in values):
        return [int(value) for value in values]
    if all(isinstance(value, (Real, Decimal)) for value in values):
        return [float(value) for value in values]
    if all(isinstance(value, str) for value in values):
        return [str(value) for value in values]
    types = sorted({type(value).__name__ for value in values})
    raise InvalidInputError(
        f"{name} of y holds labels of several types ({', '.join(types)}); write all of them as "
        "text, or all as numbers"
    )


def seconds(durations: np.ndarray) -> np.ndarray:
    """Return durations of numpy, pandas or Python in seconds, [n].

    Raises:
        InvalidInputError: Some are no durations.
    """
    if durations.dtype.kind == "O":
        durations = np.array([_duration(value) for value in durations])
    return np.asarray(durations / np.timedelta64(1, "s"))


def accuracies(
    truth: Targets, predicted: Sequence[np.ndarray], weights: np.ndarray | None
) -> list[float]:
    """Return the share of right classes of each target that has labels.

    Labels are compared as values: 1 is 1.0, and "1" is neither. Weights are [n, t].
    """
    scores = []
    for index, (column, guesses) in enumerate(zip(truth.columns, predicted, strict=True)):
        known = np.flatnonzero(_counted(~truth.missing[index], weights, index))
        if len(known):
            right = np.array([bool(column[row] == guesses[row]) for row in known.tolist()])
            of_rows = None if weights is None else weights[known, index]
            scores.append(float(np.average(right, weights=of_rows)))
    return scores


def r2_scores(
    truth: Targets, predicted: Sequence[np.ndarray], weights: np.ndarray | None
) -> list[float]:
    """Return R2 of each target in which it is defined: with two labels or more.

    NaN with scikit-learn's warning if no target has two labels. Weights are [n, t].
    """
    from sklearn.metrics import r2_score

    if not truth.columns:
        return []
    values = truth.numbers()
    every = np.stack(
        [_counted(np.isfinite(column), weights, index) for index, column in enumerate(values.T)]
    )
    counts = every.sum(1)
    fewest = 2 if (counts >= 2).any() else 1
    scores = []
    for index in np.flatnonzero(counts >= fewest).tolist():
        known = every[index]
        weight = None if weights is None else weights[known, index]
        scores.append(
            float(r2_score(values[known, index], predicted[index][known], sample_weight=weight))
        )
    return scores


def side_by_side(columns: Sequence[np.ndarray]) -> np.ndarray:
    """Return columns as one array, [n, t]: of objects where a common type would change a value."""
    together = np.stack(columns, axis=1) if len({c.dtype.kind for c in columns}) == 1 else None
    if together is None and all(column.dtype.kind in "iuf" for column in columns):
        together = np.stack([column.astype(np.float64) for column in columns], axis=1)
        if any((np.abs(column) > 2**53).any() for column in columns if column.dtype.kind in "iu"):
            together = None
    if together is not None:
        return together
    found = np.empty((len(columns[0]), len(columns)), dtype=object)
    for index, column in enumerate(columns):
        found[:, index] = column.tolist()
    return found


def mean_score(scores: Sequence[float]) -> float:
    """Return the mean over targets.

    Raises:
        InvalidInputError: There is no label at all.
    """
    if not scores:
        raise InvalidInputError("y has no label: there is nothing to score")
    return float(np.mean(scores))


def _counted(known: np.ndarray, weights: np.ndarray | None, index: int) -> np.ndarray:
    """Return which labels count: those that are there with a weight above 0."""
    return known if weights is None else known & (weights[:, index] > 0)
