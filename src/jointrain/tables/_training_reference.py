"""What a saved model keeps of its training table, for later tables to be held against."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import asdict
from typing import Any

import numpy as np

from jointrain.data import KnownRows, SupervisedTable, column_shares
from jointrain.tables._blended_model import BlendedModel
from jointrain.tables._table_model import TableModel
from jointrain.task import labels_of

_KEPT_COLUMNS = 2000
"""Columns of which it is kept how they are spread, at most; rows are known by them."""


def training_reference(model: TableModel | BlendedModel, table: SupervisedTable) -> dict[str, Any]:
    """Return promised losses, constants, spread of columns and known rows, as JSON can hold them.

    `jointrain evaluate` takes them from the notes of a bundle, where they are called ``reference``.

    Args:
        model: The fitted model.
        table: The table that it was fitted to, or a sample of it.
    """
    labels, weights = table.labels(), table.fit_weights()
    constants = {}
    for index, (task, own) in enumerate(
        zip(table.tasks, labels_of(labels, table.tasks), strict=True)
    ):
        known = task.in_table.known(own)
        of_rows = None if weights is None else weights[known, index]
        constant = task.in_table.constant(own[known], of_rows).ravel()
        if np.isfinite(constant).all():
            constants[task.name] = constant.tolist()
    spread = column_shares(table.frame, model.columns[:_KEPT_COLUMNS])
    rows = KnownRows.of(table.frame.select(names_to_know_rows_by(model, table.frame.columns)))
    return {
        "promises": {name: asdict(one) for name, one in model.calibration.promises.items()},
        "constants": constants,
        "columns": {name: shares.to_json() for name, shares in spread.items()},
        "known_rows": rows and rows.to_json(),
    }


def names_to_know_rows_by(
    model: TableModel | BlendedModel, present: Collection[str]
) -> tuple[str, ...]:
    """Return the feature and target columns by which a row of training is known again.

    Args:
        model: The fitted model.
        present: The columns of the table.
    """
    targets = [name for task in model.predicted_tasks for name in task.target_columns]
    # bags are lists in one file and text in another
    features = [one.name for one in model.columns[:_KEPT_COLUMNS] if one.kind != "bag"]
    return tuple(dict.fromkeys(name for name in (*features, *targets) if name in present))
