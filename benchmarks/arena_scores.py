"""Scores of the arena: errors of targets and tables, ranks, Elo, and critical differences."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from arena_tables import NUMBERS

LEAST_PROBABILITY = 1e-3
"""Probabilities are raised to this before log-loss: one zero of a forest would decide all."""

ANCHOR, ANCHOR_ELO = "random forest", 1000.0

Labels = Mapping[str, np.ndarray]
Classes = tuple[np.ndarray, list[Any]]
"""Probabilities [n, c], and the classes that they are of."""


# --- errors ---------------------------------------------------------------------------------------


def rrmse(predicted: np.ndarray, truth: np.ndarray, mean: float) -> float | None:
    """Return the RMSE over that of a constant; None where the constant makes no error.

    Args:
        predicted: Values.
        truth: Values.
        mean: The constant: the mean of the training rows.

    Source: Spyromitros-Xioufis, Tsoumakas, Groves and Vlahavas, "Multi-target regression via input
        space expansion: treating targets as inputs", Machine Learning 104, 2016, equation 3.
    """
    base = float(((truth - mean) ** 2).sum())
    return math.sqrt(float(((truth - predicted) ** 2).sum()) / base) if base > 0 else None


def log_loss(probabilities: np.ndarray, classes: Sequence[Any], truth: Sequence[Any]) -> float:
    """Return the mean log-loss; probabilities of classes that are not there are 0, then raised."""
    place = {label: index for index, label in enumerate(classes)}
    found = [
        probabilities[row, place[label]] if label in place else 0.0
        for row, label in enumerate(truth)
    ]
    return float(-np.log(np.clip(found, LEAST_PROBABILITY, 1)).mean())


def relative_log_loss(given: Classes, train: Sequence[Any], truth: Sequence[Any]) -> float:
    """Return the log-loss over that of a constant: how frequent each class is in training, plus 1.

    The constant knows all classes, those that only test rows have, too.
    """
    known = list(dict.fromkeys([*train, *truth]))
    counts = np.array([sum(label == one for label in train) + 1.0 for one in known])
    shares = np.tile(counts / counts.sum(), (len(truth), 1))
    return log_loss(*given, truth) / log_loss(shares, known, truth)


def errors(
    predictions: Mapping[str, Any],
    kinds: Mapping[str, str],
    train: Mapping[str, Sequence[Any]],
    test: Mapping[str, Sequence[Any]],
) -> dict[str, float | None]:
    """Return the error of each target relative to a constant; None where it is not defined.

    Args:
        predictions: Values [m], or probabilities and classes, by target.
        kinds: Kind of each target.
        train: Labels by target, None where one is missing.
        test: Those of the predicted rows.
    """
    found: dict[str, float | None] = {}
    for name, kind in kinds.items():
        known = [row for row, label in enumerate(test[name]) if label is not None]
        truth = [test[name][row] for row in known]
        seen = [label for label in train[name] if label is not None]
        if not truth:
            found[name] = None
        elif kind in NUMBERS:
            values = np.asarray(predictions[name], dtype=np.float64)[known]
            found[name] = rrmse(values, np.array(truth), float(np.mean(seen)))
        else:
            probabilities, classes = predictions[name]
            found[name] = relative_log_loss(
                (np.asarray(probabilities)[known], list(classes)), seen, truth
            )
    return found


def table_score(by_target: Mapping[str, float | None]) -> float:
    """Return the mean over targets: aRRMSE where all are numbers; infinite if one is no number."""
    values = [value for value in by_target.values() if value is not None]
    return float(np.mean(values)) if values and np.isfinite(values).all() else math.inf


# --- over tables ----------------------------------------------------------------------------------


def ranks(scores: np.ndarray) -> np.ndarray:
    """Return the ranks along each row, 1 for the lowest; ties share; NaN where there is no score.

    A score of infinity (a method that did not end) has the last rank.
    """
    from scipy.stats import rankdata

    return rankdata(scores, axis=1, nan_policy="omit")


def wins(scores: np.ndarray) -> np.ndarray:
    """Return how often each method beats each other, [k, k]; every table counts 1 in all.

    A tie is half a win of both. A table's battles are those of methods that have a score on it;
    two that both failed have none.
    """
    total = np.zeros((scores.shape[1],) * 2)
    for row in scores:
        first, second = row[:, None], row[None, :]
        fought = ~np.isnan(first) & ~np.isnan(second) & ~(np.isinf(first) & np.isinf(second))
        np.fill_diagonal(fought, False)
        won = np.where(fought, (first < second) + 0.5 * (first == second), 0.0)
        if fought.any():
            total += won / (fought.sum() / 2)
    return total


def elo_of(won: np.ndarray, anchor: int, penalty: float = 1e-6) -> np.ndarray:
    """Return the ratings that make the wins most likely; 400 points are odds of 10 to 1.

    Args:
        won: Wins, [k, k].
        anchor: The method whose rating is `ANCHOR_ELO`.
        penalty: Of squared log-odds, so that one that always wins has a finite rating.

    Source: Bradley and Terry, Biometrika 39, 1952; as ratings and with the random forest at 1000 in
        Erickson et al., "TabArena: A Living Benchmark for Machine Learning on Tabular Data",
        NeurIPS 2025, arXiv 2506.16791, section 2.4 and appendix.
    """
    from scipy.optimize import minimize

    def loss(strengths: np.ndarray) -> tuple[float, np.ndarray]:
        gaps = strengths[:, None] - strengths[None, :]
        losing = 1 / (1 + np.exp(np.clip(gaps, -500, 500)))
        slope = -(won * losing).sum(1) + (won * losing).sum(0) + 2 * penalty * strengths
        value = (won * np.logaddexp(0, -gaps)).sum() + penalty * (strengths**2).sum()
        return float(value), slope

    found = minimize(
        loss,
        np.zeros(len(won)),
        jac=True,
        method="L-BFGS-B",
        options={"gtol": 1e-10, "ftol": 1e-14},
    )
    points = found.x * 400 / math.log(10)
    return points - points[anchor] + ANCHOR_ELO


@dataclass(frozen=True)
class Elo:
    """A rating, with the ends of an interval of 95 %."""

    rating: float
    low: float
    high: float


def elo(scores: np.ndarray, methods: Sequence[str], rounds: int = 200, seed: int = 0) -> list[Elo]:
    """Return the rating of each method; intervals are quantiles over resampled tables.

    Args:
        scores: [tables, methods], NaN where a method does not apply.
        methods: Their names; `ANCHOR` has 1000, or the first one if it is not there.
        rounds: Resamples; 200 as TabArena's.
        seed: Of the resamples.
    """
    anchor = list(methods).index(ANCHOR) if ANCHOR in methods else 0
    whole = elo_of(wins(scores), anchor)
    random = np.random.default_rng(seed)
    drawn = [
        elo_of(wins(scores[random.integers(0, len(scores), len(scores))]), anchor)
        for _ in range(rounds)
    ]
    low, high = np.quantile(drawn, [0.025, 0.975], axis=0) if drawn else (whole, whole)
    return [Elo(*map(float, values)) for values in zip(whole, low, high, strict=True)]


def critical_difference(methods: int, tables: int, level: float = 0.05) -> float:
    """Return by how much two mean ranks differ where Nemenyi's test finds a difference.

    Source: Demsar, "Statistical Comparisons of Classifiers over Multiple Data Sets", JMLR 7, 2006,
        section 3.2.2.
    """
    from scipy.stats import studentized_range

    quantile = studentized_range.ppf(1 - level, methods, np.inf) / math.sqrt(2)
    return float(quantile * math.sqrt(methods * (methods + 1) / (6 * tables)))


def friedman(scores: np.ndarray) -> float:
    """Return the p-value that all methods are alike, over tables that all have a score on."""
    from scipy.stats import friedmanchisquare

    whole = scores[~np.isnan(scores).any(axis=1)]
    # infinite scores are ties at the end
    return float(friedmanchisquare(*ranks(whole).T).pvalue)
