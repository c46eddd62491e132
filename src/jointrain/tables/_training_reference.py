"""What a saved model keeps of its training table, for later tables to be held against."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import numpy as np

from jointrain.data import SupervisedTable, column_shares
from jointrain.tables._blended_model import BlendedModel
from jointrain.tables._table_model import TableModel
from jointrain.task import labels_of

_KEPT_COLUMNS = 2000
"""Columns of which it is kept how they are spread, at most."""


def training_reference(model: TableModel | BlendedModel, table: SupervisedTable) -> dict[str, Any]:
    """Return promised losses, constants and the spread of the columns, as JSON can hold them.

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
    return {
        "promises": {name: asdict(one) for name, one in model.calibration.promises.items()},
        "constants": constants,
        "columns": {name: shares.to_json() for name, shares in spread.items()},
    }
