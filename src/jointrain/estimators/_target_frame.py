"""What y was given as, and predictions in the same form: container, names and types."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import polars as pl
from scipy.sparse import isspmatrix

from jointrain.estimators._estimator_data import Targets, is_indicator, side_by_side, sparse_labels
from jointrain.estimators._target_layout import PredictedTarget

Container = Literal[
    "pandas", "pandas series", "polars", "polars series", "arrow", "dict", "array", "records",
    "sparse",
]  # fmt: skip


@dataclass(frozen=True)
class TargetForm:
    """The form that y was given in.

    Args:
        container: Of what kind y was.
        labels: What its columns are called there, by any type.
        dtypes: The type of each, as the container has it.
        one_dimensional: Whether y was [n].
        is_matrix: Whether a sparse y was a matrix of scipy, and no array.
    """

    container: Container
    labels: tuple[Any, ...]
    dtypes: tuple[Any, ...]
    one_dimensional: bool
    is_matrix: bool = False

    @classmethod
    def of(cls, y: Any, targets: Targets) -> TargetForm:
        """Return the form of y, from which `targets` were read."""
        own = tuple(column.dtype for column in targets.columns)
        names = tuple(targets.names)
        if is_indicator(y):
            return cls("sparse", names, own, one_dimensional=False, is_matrix=isspmatrix(y))
        if isinstance(y, Mapping):
            return cls("dict", tuple(y), own, one_dimensional=False)
        if isinstance(y, pl.Series):
            return cls("polars series", (y.name,), (y.dtype,), one_dimensional=True)
        if isinstance(y, pl.DataFrame):
            return cls("polars", names, tuple(y.dtypes), one_dimensional=False)
        module = type(y).__module__.partition(".")[0]
        if module == "pandas" and hasattr(y, "columns"):
            return cls("pandas", tuple(y.columns), tuple(y.dtypes), one_dimensional=False)
        if module == "pandas" and hasattr(y, "dtype") and hasattr(y, "index"):
            return cls("pandas series", (y.name,), (y.dtype,), one_dimensional=True)
        if module == "pyarrow" and hasattr(y, "schema"):
            types = tuple(pl.from_arrow(y.schema.empty_table()).dtypes)  # type: ignore[union-attr]
            return cls("arrow", names, types, one_dimensional=False)
        if hasattr(y, "columns"):
            return cls("polars", names, (None,) * len(names), one_dimensional=False)
        if getattr(getattr(y, "dtype", None), "names", None):
            return cls("records", names, own, targets.one_dimensional)
        return cls("array", names, own, targets.one_dimensional)

    def of_predictions(self, columns: Sequence[PredictedTarget]) -> TargetForm:
        """Return the form of predictions: names and types of y's columns, or float64 of their own.

        Args:
            columns: What is predicted.
        """
        of_polars = self.container in ("polars", "polars series", "arrow")
        number = pl.Float64() if of_polars else np.dtype(np.float64)
        found = [
            (column.name, number)
            if column.place is None
            else (self.labels[column.place], self.dtypes[column.place])
            for column in columns
        ]
        labels, dtypes = zip(*found, strict=True)
        # the fields of a structured array may be those of one target, as of survival
        flat = (self.one_dimensional or self.container == "records") and len(found) == 1
        return replace(self, labels=labels, dtypes=dtypes, one_dimensional=flat)

    def order(self, index: int) -> list[str] | None:
        """Return the categories of a column whose type has them in an order; None without one."""
        dtype = self.dtypes[index]
        if isinstance(dtype, pl.Enum):
            return list(dtype.categories)
        if not getattr(dtype, "ordered", False):
            return None
        return [str(label) for label in dtype.categories]

    def kind(self, index: int, classes: int) -> str | None:
        """Return the kind that a column's type says: categories of pandas are classes.

        Args:
            index: Which column.
            classes: How many values it has.
        """
        dtype = self.dtypes[index]
        if isinstance(dtype, pl.DataType) or getattr(dtype, "categories", None) is None:
            return None
        return "binary" if classes == 2 else "multiclass"

    def rises(self, index: int) -> bool:
        """Return whether the categories of a column rise; without ordered ones of pandas, True."""
        dtype = self.dtypes[index]
        if isinstance(dtype, pl.DataType) or not getattr(dtype, "ordered", False):
            return True
        return bool(dtype.categories.is_monotonic_increasing)

    def filled(self, values: Sequence[np.ndarray], classes: Sequence[bool], index: Any) -> Any:
        """Return predictions in this form.

        Args:
            values: Of each target.
            classes: Whether they are classes, which have the type of the labels; numbers have it
                where it is one of fractions or durations, else they are float64.
            index: The rows' index in pandas; None for numbers from 0.

        Shape:
            values: [n] each.
        """
        columns = [
            _typed(found, dtype, is_class, self.container, index)
            for found, dtype, is_class in zip(values, self.dtypes, classes, strict=True)
        ]
        if self.container == "dict":
            return dict(zip(self.labels, columns, strict=True))
        if self.container == "sparse":
            return sparse_labels(np.stack(columns, axis=1), as_matrix=self.is_matrix)
        if self.container in ("array", "records") and self.one_dimensional:
            return columns[0]
        if self.container == "array":
            return side_by_side(columns)
        if self.container == "records":
            return _records(columns, self.labels)
        if self.container == "polars series":
            return columns[0].alias(self.labels[0])
        if self.container in ("polars", "arrow"):
            frame = pl.DataFrame(
                [column.alias(name) for column, name in zip(columns, self.labels, strict=True)]
            )
            return frame if self.container == "polars" else frame.to_arrow()
        if self.container == "pandas series":
            return columns[0].rename(self.labels[0])
        import pandas as pd

        frame = pd.concat(columns, axis=1, ignore_index=True)
        frame.columns = pd.Index(self.labels)
        return frame


def _records(columns: Sequence[np.ndarray], names: Sequence[str]) -> np.ndarray:
    """Return columns as a structured array, [n]."""
    types = [(name, column.dtype) for name, column in zip(names, columns, strict=True)]
    found = np.empty(len(columns[0]), dtype=types)
    for name, column in zip(names, columns, strict=True):
        found[name] = column
    return found


def _typed(values: np.ndarray, dtype: Any, is_class: bool, container: Container, index: Any) -> Any:
    """Return a column of predictions, with the type of its labels where they can have it."""
    if container.startswith("pandas"):
        return _in_pandas(values, dtype, is_class, index)
    if container in ("polars", "polars series", "arrow"):
        return _in_polars(values, dtype, is_class)
    if is_class:
        return values.astype(object) if dtype.kind == "O" else values.astype(dtype)
    if dtype.kind == "m":
        return _durations(values).astype(dtype)
    return values.astype(dtype if dtype.kind == "f" else np.float64)


def _in_pandas(values: np.ndarray, dtype: Any, is_class: bool, index: Any) -> Any:
    import pandas as pd

    if is_class:
        return pd.Series(values.tolist(), index=index, dtype=dtype)
    if pd.api.types.is_timedelta64_dtype(dtype):
        return pd.Series(_durations(values), index=index).astype(dtype)
    fractions = pd.api.types.is_float_dtype(dtype)
    return pd.Series(values, index=index, dtype=dtype if fractions else np.float64)


def _in_polars(values: np.ndarray, dtype: Any, is_class: bool) -> pl.Series:
    if is_class:
        found = pl.Series(values.tolist())
        return found if dtype is None else found.cast(dtype)
    if dtype is not None and isinstance(dtype, pl.Duration):
        return pl.Series(_durations(values)).cast(dtype)
    found = pl.Series(values)
    return found.cast(dtype) if dtype is not None and dtype.is_float() else found


def _durations(seconds: np.ndarray) -> np.ndarray:
    return np.asarray(np.round(seconds * 1e6).astype("timedelta64[us]"))
