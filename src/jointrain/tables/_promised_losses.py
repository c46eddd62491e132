"""What a model promises of its losses, and a test of it that stays valid however often it is made.

The promise is what rows that had no part in a model's training told; the test is a bet against it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from jointrain.task import Task

FEWEST_PROMISED = 30
"""With fewer rows there is no promise."""

_BETS = np.array([0.02, 0.05, 0.1, 0.2, 0.4, 0.7])
"""Shares of the capital that are put against the promise; the mean over them counts."""

_ONE_SIDED = 1.6448536269514722
"""The 95 % quantile of a standard normal number."""

ERROR = 0.05
"""How likely a model as good as promised is ever accused, over all its targets."""


@dataclass(frozen=True)
class Promise:
    """What rows that a model was not trained on tell of its loss of a target.

    Args:
        loss: What the loss is called.
        mean: Its mean over those rows.
        upper: What the mean of all rows is below, by 95 % (one-sided, of a normal mean).
        rows: How many there were.
    """

    loss: str
    mean: float
    upper: float
    rows: int


def row_losses(
    task: Task, predicted: np.ndarray, labels: np.ndarray
) -> tuple[str, np.ndarray] | None:
    """Return the loss of each row and what it is called, for a test of a promise.

    Args:
        task: What is predicted.
        predicted: As `TableModel.predict`; NaN where nothing is.
        labels: NaN where one is missing.

    Shape:
        labels: [n] or [n, m]. returns: [n], NaN for rows without label or prediction; None for
            kinds without such a loss.
    """
    how = task.in_table.calibrated_by
    labels = labels.astype(np.float64)
    if how == "errors" and predicted.ndim == labels.ndim == 1:
        return "absolute error", np.abs(predicted - labels)
    if how != "temperature":
        return None
    if predicted.shape == labels.shape:  # of two classes, or several labels
        squares = (predicted - labels) ** 2
        if squares.ndim == 2:
            known = np.isfinite(squares)
            squares = np.where(known, squares, 0).sum(1) / np.where(known.any(1), known.sum(1), 1)
            squares = np.where(known.any(1), squares, np.nan)
        return "Brier score", squares
    known = np.isfinite(labels)
    classes = np.where(known, labels, 0).astype(np.int64)
    chosen = np.take_along_axis(predicted, classes[:, None], axis=1)[:, 0]
    squares = (predicted**2).sum(1) - 2 * chosen + 1
    return "Brier score", np.where(known, squares, np.nan)


def promise_of(task: Task, predicted: np.ndarray, labels: np.ndarray) -> Promise | None:
    """Return what held-out rows promise; None if they are few or all are predicted exactly.

    Shape:
        as in `row_losses`.
    """
    found = row_losses(task, predicted, labels)
    if found is None:
        return None
    losses = found[1][np.isfinite(found[1])]
    if len(losses) < FEWEST_PROMISED:
        return None
    mean = float(losses.mean())
    upper = mean + _ONE_SIDED * float(losses.std(ddof=1)) / len(losses) ** 0.5
    if not 0 < upper < np.inf:
        return None
    return Promise(found[0], mean, upper, len(losses))


@dataclass(frozen=True)
class PromiseTest:
    """A bet that a target's loss is above what was promised, over one table after another.

    If the mean loss of each row, given all before it, is at most m, then the product of
    1 + c (loss / m - 1) over the rows is a martingale or falls, for each c in [0, 1): its mean over
    several c is an e-value, and it is ever above 1 / a with a probability of at most a (Ville). So
    it may be looked at after every table, for ever. Losses need no upper bound, for what is bet on
    is only that they are high.

    With each table j a new bet begins with 1 / (j (j + 1)) of the capital, for a model may be good
    for long before it is not; what has not been bet yet, 1 / (j + 1) after table j, is kept.

    Args:
        log_capital: Logarithm of what the bets that have begun have come to, for each c.
        tables: How many there were.
        rows: Rows that counted.
        total: The sum of their losses.
        highest: Logarithm of the largest e-value after any table.

    Source: Waudby-Smith and Ramdas, "Estimating means of bounded random variables by betting",
        JRSS B 86(1), 2024, section 4 (the bet); Shin, Ramdas and Rinaldo, "E-detectors", 2024
        (bets that begin later, of which this is a mixture).
    """

    log_capital: tuple[float, ...] = (-np.inf,) * len(_BETS)
    tables: int = 0
    rows: int = 0
    total: float = 0.0
    highest: float = 0.0

    def after(self, losses: np.ndarray, promised: float) -> PromiseTest:
        """Return the test after another table.

        Args:
            losses: Of its rows, 0 or more.
            promised: The mean that is promised, above 0.

        Shape:
            losses: [n], any n.
        """
        j = self.tables + 1
        begun = np.logaddexp(self.log_capital, -np.log(j * (j + 1.0)))
        gains = [np.log1p(bet * (losses / promised - 1)).sum() for bet in _BETS]
        made = replace(
            self,
            log_capital=tuple(map(float, begun + np.array(gains))),
            tables=j,
            rows=self.rows + len(losses),
            total=self.total + float(losses.sum()),
        )
        return replace(made, highest=max(self.highest, made.log_e_value))

    @property
    def log_e_value(self) -> float:
        """The logarithm of the e-value after the last table."""
        from scipy.special import logsumexp  # an import that who only predicts is spared

        if not self.tables:
            return 0.0
        bet = logsumexp(self.log_capital) - np.log(len(_BETS))
        return float(np.logaddexp(bet, -np.log(self.tables + 1.0)))

    def broken(self, targets: int) -> bool:
        """Return whether the promise was ever shown to be broken, one of so many targets."""
        return bool(self.highest >= np.log(targets / ERROR))

    def to_json(self) -> dict[str, Any]:
        """Return what `from_json` reads."""
        kept = [None if value == -np.inf else value for value in self.log_capital]
        return {
            "log_capital": kept,
            "tables": self.tables,
            "rows": self.rows,
            "total": self.total,
            "highest": self.highest,
        }

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> PromiseTest:
        """Return what `to_json` returned.

        Raises:
            ValueError, TypeError, KeyError: It is something else.
        """
        capital = [-np.inf if value is None else float(value) for value in stored["log_capital"]]
        if len(capital) != len(_BETS):
            raise ValueError("another number of bets")
        made = cls(
            tuple(capital),
            int(stored["tables"]),
            int(stored["rows"]),
            float(stored["total"]),
            float(stored["highest"]),
        )
        if made.tables < 0 or made.rows < 0 or not np.isfinite([made.total, made.highest]).all():
            raise ValueError("figures that can't be")
        return made
