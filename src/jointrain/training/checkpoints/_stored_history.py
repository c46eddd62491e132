"""A history as few tensors: a run of many epochs is stored and read in no time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import Any

import torch

from jointrain.training.callbacks import EpochRecord


def history_to_plain(history: Sequence[EpochRecord]) -> list[dict[str, Any]]:
    """Return the records: those of the same tasks and phase, one after another, in one table."""
    return [_table(list(records)) for _, records in groupby(history, _kind)]


def history_from_plain(tables: Sequence[Mapping[str, Any]]) -> list[EpochRecord]:
    """Return the records that `history_to_plain` was given."""
    return [record for table in tables for record in _records(table)]


def _kind(record: EpochRecord) -> tuple[Any, ...]:
    scored = record.score is not None
    return record.phase, tuple(record.training), tuple(record.validation), scored, *record.weights


def _table(records: Sequence[EpochRecord]) -> dict[str, Any]:
    first = records[0]
    return {
        "phase": first.phase,
        "training": list(first.training),
        "validation": list(first.validation),
        "weights": list(first.weights),
        "scored": first.score is not None,
        "counts": torch.tensor([[r.epoch, r.step, r.best, r.skipped] for r in records]),
        "values": torch.tensor(
            [
                [
                    *r.training.values(),
                    *r.validation.values(),
                    *r.weights.values(),
                    r.score or 0.0,
                ]
                for r in records
            ],
            dtype=torch.float64,
        ),
        "bad_rows": [[i, r.bad_rows] for i, r in enumerate(records) if r.bad_rows],
        "converged": [[i, list(r.converged)] for i, r in enumerate(records) if r.converged],
    }  # fmt: skip


def _records(table: Mapping[str, Any]) -> list[EpochRecord]:
    training, validation = table["training"], table["validation"]
    weights = table.get("weights", [])  # of a release that kept none
    losses = len(training) + len(validation)
    converged = {index: tuple(names) for index, names in table["converged"]}
    bad_rows = dict(table.get("bad_rows", []))  # likewise
    rows = zip(table["counts"].tolist(), table["values"].tolist(), strict=True)
    return [
        EpochRecord(
            epoch,
            step,
            dict(zip(training, values, strict=False)),
            dict(zip(validation, values[len(training) :], strict=False)),
            values[-1] if table["scored"] else None,
            bool(best),
            table["phase"],
            converged.get(index, ()),
            skipped=skipped[0] if skipped else 0,
            bad_rows=bad_rows.get(index, 0),
            weights=dict(zip(weights, values[losses:], strict=False)),
        )
        for index, ((epoch, step, best, *skipped), values) in enumerate(rows)
    ]
