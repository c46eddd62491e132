"""Explanations: how much each column moves each prediction of a row, by shap's own explainers."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any, NamedTuple

import numpy as np
import polars as pl

from jointrain.charts import InNotebook
from jointrain.errors import InvalidInputError, MissingDependencyError
from jointrain.tables._blended_model import BlendedModel
from jointrain.tables._rows_as_trained import in_double
from jointrain.tables._table_model import TableModel
from jointrain.tables._table_predictor import AnyPredictor
from jointrain.task import Task

EXACT_COLUMNS = 8
"""Of so many columns all sets are tried; of more, columns are added in random orders."""

_PREDICTED_ROWS = 20_000
"""Rows that are predicted at a time."""

_MOST_ROWS = 100_000
"""Explained rows and background: shap takes larger codes of cells for equal (``np.isclose``)."""

_MOST_CELLS = 50_000_000
"""Of the rows that shap makes for one order, as double numbers: 400 MB."""


class ExplainedOutput(NamedTuple):
    """A number that is predicted for each row.

    Args:
        target: The target.
        name: The target's name, of classes with the class: ``species=Gentoo``. Of two classes the
            second alone: the other one's contributions are those with the other sign.
        unit: ``number`` in the target's unit, ``probability``, ``share`` or ``quantile``.
    """

    target: str
    name: str
    unit: str


@dataclass(frozen=True)
class Explanations(InNotebook):
    """How much each column moves the predictions of rows away from those of the background.

    Of each row and output, `base` and the contributions of all columns sum to the prediction.

    Args:
        outputs: What is explained.
        columns: The feature columns.
        contributions: Shapley values in the unit of the output.
        errors: Standard errors of the contributions; None where all sets of columns were tried.
        base: The mean prediction of the background.
        predictions: Those of the rows.
        rows: The rows' features.
        background_rows: How many rows stand for values that are not known.
        seconds: That it took.

    Shape:
        contributions, errors: [n, c, o]. base: [o]. predictions: [n, o].
    """

    outputs: tuple[ExplainedOutput, ...]
    columns: tuple[str, ...]
    contributions: np.ndarray
    errors: np.ndarray | None
    base: np.ndarray
    predictions: np.ndarray
    rows: pl.DataFrame
    background_rows: int
    seconds: float

    @property
    def exact(self) -> bool:
        """Whether all sets of columns were tried."""
        return self.errors is None

    @property
    def strength(self) -> np.ndarray:
        """The mean size of the contributions over the rows, [c, o]."""
        return np.asarray(np.abs(self.contributions).mean(0))

    def to_frame(self) -> pl.DataFrame:
        """Return a line for each row (from 1), output and column.

        Its columns: ``row``, ``output``, ``unit``, ``base``, ``prediction``, ``column``, ``value``
        (as text: durations in seconds, lists with ``|`` between their items), ``contribution``, and
        ``error`` where contributions are estimates.
        """
        count, columns, outputs = self.contributions.shape
        shape = (count, outputs, columns)
        values = [_in_words(self.rows[name]).to_list() for name in self.columns]
        frame = pl.DataFrame(
            {
                "row": np.repeat(np.arange(1, count + 1), outputs * columns),
                "output": [o.name for o in self.outputs for _ in self.columns] * count,
                "unit": [o.unit for o in self.outputs for _ in self.columns] * count,
                "base": np.broadcast_to(self.base[:, None], shape).ravel(),
                "prediction": np.broadcast_to(self.predictions[:, :, None], shape).ravel(),
                "column": [*self.columns] * (count * outputs),
                "value": [v for row in zip(*values, strict=True) for v in row * outputs],
                "contribution": self.contributions.swapaxes(1, 2).ravel(),
            },
            schema_overrides={"value": pl.String},
        )
        if self.errors is None:
            return frame
        return frame.with_columns(pl.Series("error", self.errors.swapaxes(1, 2).ravel()))

    def to_json(self) -> dict[str, Any]:
        """Return all of it but the rows' values as what JSON can hold."""
        return {
            "rows": len(self.rows),
            "background_rows": self.background_rows,
            "exact": self.exact,
            "seconds": self.seconds,
            "columns": list(self.columns),
            "outputs": [
                {
                    **output._asdict(),
                    "base": float(self.base[place]),
                    "strength": self.strength[:, place].tolist(),
                    "predictions": self.predictions[:, place].tolist(),
                    "contributions": self.contributions[:, :, place].tolist(),
                    "errors": None if self.errors is None else self.errors[:, :, place].tolist(),
                }
                for place, output in enumerate(self.outputs)
            ],
        }


def _in_words(column: pl.Series) -> pl.Series:
    """Return values as text."""
    if column.dtype == pl.Duration:
        column = column.dt.total_microseconds() / 1e6
    if isinstance(column.dtype, pl.Array):
        column = column.arr.to_list()
    if isinstance(column.dtype, pl.List):
        column = column.cast(pl.List(pl.String)).list.join("|", ignore_nulls=True)
    return column.cast(pl.String)


def explain(
    model: AnyPredictor,
    frame: Any,
    background: Any = None,
    *,
    rows: int = 100,
    background_rows: int = 100,
    orders: int = 10,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> Explanations:
    """Explain the predictions of rows by Shapley values, one for each column of the table.

    A column that is not known has the values of the background's rows, and predictions are the mean
    over these. A column's contribution is what knowing it adds, the mean over all orders in which
    columns come to be known. All targets are explained by the same predictions.

    Args:
        model: A `TableModel`, a `BlendedModel`, or anything with `columns`, `predicted_tasks`,
            `predict` and `conformed`.
        frame: The rows: a table with the feature columns.
        background: A table with them, whose rows the others are held against, such as that of
            training. Default: the rows themselves.
        rows: The first ones of `frame` are explained, so many at most; default 100.
        background_rows: So many rows at most are drawn from the background; default 100. Fewer
            where there are hundreds of columns.
        orders: With more than 8 columns: how many random orders columns are added and taken away
            in, for each row; default 10.
        seed: Of the draws and the orders.
        progress: Called with how many rows are done, and of how many.

    Raises:
        InvalidInputError: A number is below 1 or the seed below 0, there are no rows, no two rows
            of them and the background differ, or a column is missing or of another type.
        MissingDependencyError: The package shap is not installed.

    Source: Lundberg & Lee, "A Unified Approach to Interpreting Model Predictions", NeurIPS 2017;
        Strumbelj & Kononenko, "Explaining prediction models and individual predictions with
        feature contributions", Knowledge and Information Systems 41, 2014 (random orders);
        Mitchell, Cooper, Frank & Holmes, "Sampling Permutations for Shapley Value Estimation",
        JMLR 23, 2022 (each order forwards and backwards).
    """
    for number, name in (
        (rows, "rows"),
        (background_rows, "background_rows"),
        (orders, "orders"),
    ):
        if number < 1:
            raise InvalidInputError(f"`{name}` must be 1 or more, got {number}")
    if not 0 <= seed < 2**32:
        raise InvalidInputError(f"`seed` must be 0 or more and below 2^32, got {seed}")
    if find_spec("shap") is None:
        raise MissingDependencyError(
            "explaining needs the package shap; pip install 'jointrain[explain]'"
        )
    started = time.perf_counter()
    if isinstance(model, TableModel | BlendedModel):
        model = in_double(model)
    names = [column.name for column in model.columns]
    given = model.conformed(frame)
    explained = given.head(rows)
    if not len(explained):
        raise InvalidInputError("there is no row to explain")
    outputs = _outputs(model, explained.head(1))
    predictions = _numbers(model, explained)
    others = given if background is None else model.conformed(background)
    most = max(1, _MOST_CELLS // ((2 * len(names) + 1) * len(names)))
    if len(others) > (drawn := min(background_rows, most)):
        chosen = np.random.default_rng(seed).choice(len(others), drawn, replace=False)
        others = others[np.sort(chosen)]
    if not len(others):
        raise InvalidInputError("the background has no row")
    base = _numbers(model, others).mean(0)
    both = [explained.select(names), others.select(names)]
    values = _Values(pl.concat(both, how="vertical_relaxed"))
    if (values.codes == values.codes[0]).all():
        raise InvalidInputError(
            "all rows are the same, so nothing tells what moves their predictions; give other rows "
            "as `background` (--background TABLE)"
        )
    found, errors = _shapley_values(
        lambda codes: _numbers(model, values.rows_of(codes)),
        values.codes[: len(explained)],
        values.codes[len(explained) :],
        orders,
        seed,
        progress,
    )
    return Explanations(
        outputs,
        tuple(names),
        found,
        errors,
        base,
        predictions,
        explained.select(names),
        len(others),
        time.perf_counter() - started,
    )


class _Values:
    """A table as whole numbers: explainers mix rows of numbers, and its columns are of any type.

    The code of a cell is the first row with the same value in the column.
    """

    def __init__(self, table: pl.DataFrame) -> None:
        if len(table) >= _MOST_ROWS:
            raise InvalidInputError(
                f"{len(table):,} rows with those of the background are too many at a time, fewer "
                f"than {_MOST_ROWS:,} are explained; give smaller `rows` (--rows)"
            )
        rows = pl.Series(range(len(table)))
        first = pl.col("row").min().over("value")
        codes = [
            pl.DataFrame({"value": column, "row": rows}).select(first)["row"].to_numpy()
            for column in table
        ]
        self.table = table
        self.codes = np.stack(codes, axis=1).astype(np.float64)

    def rows_of(self, codes: np.ndarray) -> pl.DataFrame:
        """Return the rows that codes, [n, c], stand for."""
        whole = codes.astype(np.int64)
        return pl.DataFrame(
            [column.gather(whole[:, place]) for place, column in enumerate(self.table)]
        )


def _outputs(model: AnyPredictor, row: pl.DataFrame) -> tuple[ExplainedOutput, ...]:
    return tuple(
        ExplainedOutput(task.name, task.name + suffix, what or "number")
        for task, suffix, what, _ in _columns(model, row)
    )


def _numbers(model: AnyPredictor, table: pl.DataFrame) -> np.ndarray:
    """Return all that is predicted of rows, [n, o]."""
    parts = [
        np.stack([values for *_, values in _columns(model, table[start : start + _PREDICTED_ROWS])])
        for start in range(0, len(table), _PREDICTED_ROWS)
    ]
    return np.concatenate(parts, axis=1).T


def _columns(model: AnyPredictor, table: pl.DataFrame) -> list[tuple[Task, str, str, np.ndarray]]:
    """Return what is predicted, column by column: of which task, its suffix, a word for it."""
    found = []
    predictions = model.predict(table)
    for task in model.predicted_tasks:
        columns = task.in_table.predicted_columns(predictions[task.name])
        if task.has_classes:
            # the chosen class is no number, and two probabilities say the same
            columns = columns[2:] if len(task.classes) == 2 else columns[1:]
        found += [
            (task, suffix, what, np.asarray(values, dtype=np.float64))
            for suffix, what, values in columns
        ]
    return found


def _shapley_values(
    predict: Callable[[np.ndarray], np.ndarray],
    rows: np.ndarray,
    background: np.ndarray,
    orders: int,
    seed: int,
    progress: Callable[[int, int], None] | None,
) -> tuple[np.ndarray, np.ndarray | None]:
    """Return the contributions to the outputs, [n, c, o], and their standard errors.

    Args:
        predict: From codes, [m, c], to outputs, [m, o].
        rows: Codes of the rows, [n, c].
        background: Codes of the background, [b, c].
        orders: Random orders, where not all sets are tried.
        seed: Theirs.
        progress: As in `explain`.
    """
    import shap

    count = rows.shape[1]
    exact = count <= EXACT_COLUMNS
    masker = shap.maskers.Independent(background, max_samples=len(background))
    before = np.random.get_state()  # shap draws from the state that all of a program share
    try:
        if exact:
            explainer = shap.ExactExplainer(predict, masker)
        else:
            explainer = shap.PermutationExplainer(predict, masker, seed=seed)
        found, errors = [], []
        for place, row in enumerate(rows):
            if exact:
                of_row = explainer(row[None], max_evals=2**count, silent=True)
            else:
                # shap looks at columns alone whose value some row of the background lacks
                most = orders * (2 * int((background != row).any(0).sum()) + 1)
                of_row = explainer(row[None], max_evals=most, error_bounds=True, silent=True)
                # the spread is of single passes, of which an order has two
                errors.append(of_row.error_std[0].reshape(count, -1) / np.sqrt(2 * orders))
            # of one output alone shap returns [1, c]
            found.append(of_row.values[0].reshape(count, -1))
            if progress is not None:
                progress(place + 1, len(rows))
    finally:
        np.random.set_state(before)
    return np.stack(found), None if exact else np.stack(errors)
