"""Predictions of the arena's runs, kept so that they can be scored by other measures later."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from arena_methods import Predictions, Promising
from arena_tables import ArenaTable

PARTS = ("predictions", "chosen_predictions", "component_predictions")


@dataclass(frozen=True)
class Kept:
    """What a run predicted of its test rows, in their order; no label is in it.

    Args:
        predictions: Of the method.
        intervals: By target: [m, 2]. Of methods that have them.
        held_out: By target: how many errors the intervals come from.
        chosen: What the inner folds find best; empty of methods without.
        chosen_predictions: Those of that; empty as long as it is not fitted.
        component_predictions: Those of that as a component of the method's model, where it is one.
    """

    predictions: Predictions
    intervals: Mapping[str, np.ndarray] = field(default_factory=dict)
    held_out: Mapping[str, int] = field(default_factory=dict)
    chosen: str = ""
    chosen_predictions: Predictions = field(default_factory=dict)
    component_predictions: Predictions = field(default_factory=dict)

    @classmethod
    def of(cls, table: ArenaTable, predictions: Predictions, promising: Promising | None) -> Kept:
        """Return what is kept of a run whose chosen method is not fitted yet."""
        own = {name: predictions[name] for name in table.kinds}
        if promising is None:
            return cls(own)
        return cls(
            own,
            promising.intervals,
            promising.held_out,
            promising.chosen,
            component_predictions=promising.by_component,
        )

    def write(self, folder: Path, table: str, method: str, fold: int) -> None:
        """Write it; what a stop left half written is not read."""
        arrays: dict[str, Any] = {}
        facts: dict[str, Any] = {"chosen": self.chosen, "held_out": dict(self.held_out)}
        for part in PARTS:
            facts[part] = {}
            for name, given in getattr(self, part).items():
                values, classes = given if isinstance(given, tuple) else (given, None)
                arrays[f"array {len(arrays)}"] = np.asarray(values, np.float64)
                plain = None if classes is None else [_plain(label) for label in classes]
                facts[part][name] = [f"array {len(arrays) - 1}", plain]
        facts["intervals"] = {}
        for name, ends in self.intervals.items():
            arrays[f"array {len(arrays)}"] = np.asarray(ends, np.float64)
            facts["intervals"][name] = f"array {len(arrays) - 1}"
        folder.mkdir(parents=True, exist_ok=True)
        file = _file(folder, table, method, fold)
        half = file.with_suffix(".half")
        with half.open("wb") as stream:
            np.savez_compressed(stream, facts=np.array(json.dumps(facts)), **arrays)
        half.replace(file)

    @classmethod
    def read(cls, folder: Path, table: str, method: str, fold: int) -> Kept | None:
        """Return what was kept of a run; None if nothing was."""
        file = _file(folder, table, method, fold)
        if not file.exists():
            return None
        with np.load(file) as arrays:
            facts = json.loads(str(arrays["facts"]))
            parts: list[Predictions] = [
                {
                    name: arrays[key] if classes is None else (arrays[key], classes)
                    for name, (key, classes) in facts.get(part, {}).items()
                }
                for part in PARTS
            ]
            intervals = {name: arrays[key] for name, key in facts["intervals"].items()}
        return cls(parts[0], intervals, facts["held_out"], facts["chosen"], *parts[1:])


def _file(folder: Path, table: str, method: str, fold: int) -> Path:
    return folder / f"{table}, {method}, {fold}.npz"


def _plain(label: Any) -> Any:
    return label.item() if isinstance(label, np.generic) else label
