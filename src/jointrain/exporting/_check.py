"""An exported model beside the one that it was made of: how far apart, and how fast each."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
import torch

from jointrain.errors import InvalidInputError
from jointrain.exporting._inputs import Inputs
from jointrain.tables import BlendedModel, TableModel

_ROWS = 10_000
"""Rows that are predicted at a time: what lies between the layers stays small."""


@dataclass(frozen=True)
class Comparison:
    """What `compare_exported` found.

    Args:
        predictions: Of the exported model, by task.
        difference: The largest one to `predict`, by task: of numbers in standard deviations of
            what is predicted, of probabilities as it is.
        rows: How many were predicted.
        seconds: That the exported model took.
        seconds_of_predict: That `predict` took.
    """

    predictions: dict[str, np.ndarray]
    difference: dict[str, float]
    rows: int
    seconds: float
    seconds_of_predict: float


def compare_exported(
    model: TableModel | BlendedModel, path: str | Path, inputs: Inputs, frame: pl.DataFrame
) -> Comparison:
    """Predict rows by an exported model and by its origin.

    Args:
        model: The origin.
        path: The exported file, ONNX if its name or content says so, else of torch.
        inputs: What `export_model` returned.
        frame: The rows, read as those of training; at least one.

    Raises:
        InvalidInputError: There are no rows.
    """
    if not len(frame):
        raise InvalidInputError("the exported model can't be compared: the table has no rows")
    table = model.conformed(frame)
    started = time.perf_counter()
    expected = model.predict(table)
    middle = time.perf_counter()
    names = [task.name for task in model.predicted_tasks]
    run = _torch(path, inputs) if _is_archive(Path(path)) else _onnx(path)
    loaded = time.perf_counter()
    parts = [
        run(inputs.feeds(table[start : start + _ROWS])) for start in range(0, len(table), _ROWS)
    ]
    ended = time.perf_counter()
    found = {
        name: np.concatenate([np.asarray(part[place]) for part in parts])
        for place, name in enumerate(names)
    }
    apart = {}
    for task in model.predicted_tasks:
        unit = 1.0
        if not (task.has_classes or task.in_table.label_shape()):
            unit = float(np.std(expected[task.name])) or 1.0
        apart[task.name] = float(np.abs(found[task.name] - expected[task.name]).max()) / unit
    return Comparison(found, apart, len(table), ended - loaded, middle - started)


def _is_archive(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(2) == b"PK"


def _onnx(path: str | Path):  # type: ignore[no-untyped-def]  # noqa: ANN202
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return lambda feeds: session.run(None, feeds)


def _torch(path: str | Path, inputs: Inputs):  # type: ignore[no-untyped-def]  # noqa: ANN202
    module = torch.export.load(path).module()
    numbers = [name for name, kind in inputs.kinds.items() if kind != "category"]
    categories = [name for name, kind in inputs.kinds.items() if kind == "category"]

    def run(feeds: dict[str, np.ndarray]) -> list[np.ndarray]:
        rows = len(next(iter(feeds.values())))
        given = [
            np.stack([feeds[name] for name in names], axis=1)
            if names
            else np.zeros((rows, 0), kind)
            for names, kind in ((numbers, np.float64), (categories, np.int64))
        ]
        with torch.no_grad():
            return [one.numpy() for one in module(*map(torch.from_numpy, given))]

    return run
