"""Loss curves: how the runs of a recipe went, epoch by epoch, as a few numbers in its result."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

from jointrain.training import Run

_PARTS = ("training", "validation", "weight")


@dataclass(frozen=True)
class LossCurve:
    """The losses and the weight of a task at the end of each epoch.

    Args:
        training: Mean loss over the epoch's batches, without the weight; None where there was none.
        validation: Likewise on the rows for early stopping.
        weight: What the loss was multiplied by, at the last step of the epoch.
        kept: The epoch whose weights were kept; of several runs their mean.
        runs: Of how many runs it is the mean.
    """

    training: Sequence[float | None]
    validation: Sequence[float | None]
    weight: Sequence[float | None]
    kept: float
    runs: int = 1

    @classmethod
    def mean(cls, curves: Sequence[LossCurve]) -> Self:
        """Return the mean of curves, as long as at least half of the runs were training.

        So each of its points is a mean of about the same runs.
        """
        counted = [length for one in curves for length in [len(one.training)] * one.runs]
        length = sorted(counted, reverse=True)[(len(counted) - 1) // 2]
        runs = len(counted)
        parts = {
            part: [
                _mean([(getattr(one, part)[epoch], one.runs) for one in curves
                       if epoch < len(one.training)])
                for epoch in range(length)
            ]
            for part in _PARTS
        }  # fmt: skip
        kept = sum(one.kept * one.runs for one in curves) / runs
        return cls(**parts, kept=kept, runs=runs)

    @classmethod
    def of_plain(cls, values: Mapping[str, Any]) -> Self:
        """Return the curve that `vars` was taken of.

        Raises:
            ValueError: It is none.
        """
        parts = [values[part] for part in _PARTS]
        good = all(
            isinstance(part, list)
            and len(part) == len(parts[0]) > 0
            and all(value is None or type(value) is float for value in part)
            for part in parts
        )
        kept, runs = values["kept"], values["runs"]
        if not good or type(kept) is not float or type(runs) is not int or runs < 1:
            raise ValueError("a loss curve that is none")
        return cls(**dict(zip(_PARTS, parts, strict=True)), kept=kept, runs=runs)


def curves_of_runs(runs: Iterable[Run]) -> dict[str, list[LossCurve]]:
    """Return the curves of finished runs, by task."""
    found: dict[str, list[LossCurve]] = {}
    for run in runs:
        trainer = run.trainer
        for task in trainer.tasks:
            records = [one for one in trainer.history if task in one.training]
            if not records:
                continue
            best = [number for number, one in enumerate(records, 1) if one.best]
            given = trainer.weights[task]
            found.setdefault(task, []).append(
                LossCurve(
                    [_rounded(one.training[task]) for one in records],
                    [_rounded(one.validation.get(task)) for one in records],
                    [_rounded(one.weights.get(task, given)) for one in records],
                    float(best[-1] if best else len(records)),
                )
            )
    return found


def _mean(values: Sequence[tuple[float | None, int]]) -> float | None:
    known = [(value, runs) for value, runs in values if value is not None]
    if not known:
        return None
    total = sum(value * runs for value, runs in known)
    return _rounded(total / sum(runs for _, runs in known))


def _rounded(value: float | None) -> float | None:
    """Return a number with five digits, which is more than is seen and half of the space."""
    if value is None or not math.isfinite(value):
        return None
    return float(f"{value:.5g}")
