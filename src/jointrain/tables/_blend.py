"""Blends: which components predict a task, with which weights, by rows that they have not seen."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from jointrain.baselines import CONSTANT
from jointrain.data import effective_rows
from jointrain.task import Task, known_labels, labels_of, of_mean_one

SMALLEST_WEIGHT = 0.05
"""A component with less weight is left out: it changes little and costs its whole time."""

PARTS = 5
"""Parts of the rows for the cross-fitted loss of a blend."""

PULL = 40
"""How strongly a task's weights are drawn to those of all tasks: as by so many rows."""

EVEN = 0.5
"""Share of what weights are drawn to that is the same for all components, or their families."""

ORDERS = 50
"""In how many other orders the labels are looked at."""

BEYOND_CHANCE = 2.0
"""How many standard deviations tell a difference from chance."""

TRIMMED = 0.02
"""Share of the rows at either end of the gains that has no say in whether a blend is kept."""

_NETWORKS = "networks"
"""The family of components that have no other."""


@dataclass(frozen=True)
class Blend:
    """How one task is predicted.

    Args:
        weights: Weight of each component that takes part, by name; they sum to 1. ``constant``
            alone where nothing was better than the mean, or the shares of the classes.
        change: Change of the mean loss against the reference on rows that had no part in the
            weights, in percent, positive is better; 0 for the reference itself. The means are
            trimmed.
    """

    weights: Mapping[str, float]
    change: float


class _Given(NamedTuple):
    """What the components gave for the labelled rows of a task.

    Args:
        task: The task.
        stacked: Predictions, [m, k] or [m, k, c]; the reference is the first component.
        target: [m], or [m, w] of several numbers.
        rows: Numbers of the rows, [m].
        weights: How much each row counts, [m], of mean 1.
        names: Of the components.
    """

    task: Task
    stacked: np.ndarray
    target: np.ndarray
    rows: np.ndarray
    weights: np.ndarray
    names: tuple[str, ...] = ()

    def take(self, kept: np.ndarray) -> _Given:
        """Return the rows where `kept`, [m], is true."""
        return self._replace(
            stacked=self.stacked[kept],
            target=self.target[kept],
            rows=self.rows[kept],
            weights=self.weights[kept],
        )

    def losses(self, predicted: np.ndarray) -> np.ndarray:
        """Return the loss of each row, [m]."""
        return self.task.in_table.row_losses(predicted, self.target)


class _Candidate(NamedTuple):
    """A way to predict a task, before it is set beside a constant.

    Args:
        given: What the components gave.
        weights: Of the components.
        predicted: Of each row, without a part of the row in the weights.
        gain: Its mean loss below the reference's, trimmed.
    """

    given: _Given
    weights: Mapping[str, float]
    predicted: np.ndarray
    gain: float


def choose_blends(
    tasks: Sequence[Task],
    predictions: Mapping[str, Mapping[str, np.ndarray]],
    labels: np.ndarray,
    reference: str,
    constants: Mapping[str, np.ndarray],
    row_weights: np.ndarray | None = None,
    families: Mapping[str, str] | None = None,
) -> dict[str, Blend]:
    """Return for each task the weighted mean of components that predicts best, or the reference.

    The weights are those of `steady_weights`, without components that have next to none. What they
    gain is measured on parts of the rows in turn, with weights from the other parts. Where they
    are worse than the reference there, by two standard errors of the trimmed mean over rows, the
    reference is kept: by the plain mean, a few rows far out would decide alone.

    Where that is no better than a constant, or could be so by chance, the constant: its mean loss
    must be lower, and lower than with the labels in another order by two standard deviations. Of
    tasks that are not so by themselves, their sum may be.

    Args:
        tasks: The tasks.
        predictions: Of rows that the components have not seen, by task and component; regression
            [n], binary [n], multiclass [n, c].
        labels: [n, w], NaN where one is missing.
        reference: The component that is kept unless another way is better.
        constants: What a constant predicts of the same rows, by task.
        row_weights: How much each row counts, [n, t]; default all the same. Means are weighted
            then, and trimmed by weight.
        families: As in `steady_weights`; components without one are of one family, as networks are.

    Source: Ojala and Garriga, "Permutation Tests for Studying Classifier Performance", JMLR 11,
        2010 (labels in another order); Wolpert, "Stacked Generalization", Neural Networks 5, 1992;
        Breiman, "Stacked Regressions", Machine Learning 24, 1996 (weights that are not negative);
        Yuen, "The two-sample trimmed t for unequal population variances", Biometrika 61, 1974 (the
        standard error of a trimmed mean).
    """
    ordered = {
        task: {name: of_task[name] for name in (reference, *of_task) if name != CONSTANT}
        for task, of_task in predictions.items()
    }
    labelled = np.flatnonzero(known_labels(labels, tasks).any(1))
    parts = np.zeros(len(labels), dtype=np.int64)
    parts[labelled] = np.random.default_rng(0).permutation(np.arange(len(labelled)) % PARTS)
    names = {name for of_task in ordered.values() for name in of_task}
    families = dict.fromkeys(names, _NETWORKS) | dict(families or {})
    blends = {task.name: Blend({reference: 1.0}, 0.0) for task in tasks}
    candidates: list[_Candidate] = []
    for alike in _alike(_given(tasks, ordered, labels, row_weights)):
        enough = [one for one in alike if len(one.rows) >= 2 * PARTS]
        weights = _steady(enough, families)
        unseen = _cross_fitted(enough, parts, families)
        candidates += [
            _candidate(*of_task) for of_task in zip(enough, weights, unseen, strict=True)
        ]
        candidates += [_reference(one) for one in alike if 0 < len(one.rows) < 2 * PARTS]
    known = _beyond_chance(candidates, len(labels))
    for given, weights_of, predicted, gain in candidates:
        name = given.task.name
        before = given.losses(given.stacked[:, 0])
        constant = given.losses(constants[name][given.rows])
        above = np.average(constant - given.losses(predicted), weights=given.weights)
        if above <= 0 or name not in known:
            weights_of, gain = {CONSTANT: 1.0}, _trimmed_mean(before - constant, given.weights)
        if gain:
            gain *= 100 / _trimmed_mean(before, given.weights)
        blends[name] = Blend(weights_of, gain)
    return blends


def steady_weights(
    tasks: Sequence[Task],
    predictions: Mapping[str, Mapping[str, np.ndarray]],
    labels: np.ndarray,
    row_weights: np.ndarray | None = None,
    families: Mapping[str, str] | None = None,
) -> dict[str, dict[str, float]]:
    """Return for each task the weights of its components; they are above 0 and sum to 1.

    A task's weights are those of the lowest squared error or log-loss of its rows, drawn (see
    `PULL`) to weights of all tasks of its kind with the same components: half of these are even,
    half are best for these tasks together. A few hundred rows tell little more than which component
    is poor, and the plain mean is hard to beat by weights that follow them further.

    Args:
        tasks: The tasks.
        predictions: Of rows that the components have not seen, by task and component, as in
            `choose_blends`; NaN for a row that something has seen.
        labels: [n, w], NaN where one is missing.
        row_weights: How much each row counts, [n, t]; default all the same.
        families: Of components that predict much alike, as ensembles of trees do, the name of their
            family. What is even is so over families, and goes to the best of each. Default: each
            is one of its own.

    Source: Clemen, "Combining forecasts: A review and annotated bibliography", International
        Journal of Forecasting 5, 1989 (the even mean); Wolpert, "Stacked Generalization", Neural
        Networks 5, 1992.
    """
    found = {
        task: dict.fromkeys(of_task, 1 / len(of_task)) for task, of_task in predictions.items()
    }
    for alike in _alike(_given(tasks, predictions, labels, row_weights)):
        enough = [one for one in alike if len(one.rows) >= 2 * PARTS]
        for one, weights in zip(enough, _steady(enough, families), strict=True):
            found[one.task.name] = _named(one.names, weights)
    return {task.name: found[task.name] for task in tasks}


def _given(
    tasks: Sequence[Task],
    predictions: Mapping[str, Mapping[str, np.ndarray]],
    labels: np.ndarray,
    row_weights: np.ndarray | None,
) -> list[_Given]:
    """Return what the components gave for each task, of the rows that none of them has seen."""
    found = []
    for index, (task, own) in enumerate(zip(tasks, labels_of(labels, tasks), strict=True)):
        components = predictions[task.name]
        stacked = np.stack(list(components.values()), axis=1).astype(np.float64)
        known = task.in_table.known(own) & np.isfinite(stacked).all(tuple(range(1, stacked.ndim)))
        counted = of_mean_one(None if row_weights is None else row_weights[:, index], known)
        found.append(
            _Given(
                task,
                stacked[known],
                own[known].astype(np.float64),
                np.flatnonzero(known),
                counted[known],
                tuple(components),
            )
        )
    return found


def _alike(given: Sequence[_Given]) -> list[list[_Given]]:
    """Return the tasks that are blended in the same way and have the same components, together."""
    found: dict[tuple[str, tuple[str, ...]], list[_Given]] = {}
    for one in given:
        found.setdefault((one.task.in_table.blended_by, one.names), []).append(one)
    return list(found.values())


def _steady(alike: Sequence[_Given], families: Mapping[str, str] | None) -> list[np.ndarray]:
    """Return the weights of `steady_weights` for tasks with the same components, [k] each."""
    if not alike:
        return []
    common = EVEN * _even(alike, families or {}) + (1 - EVEN) * _common_weights(alike)
    found = (blend_weights(one.task, one.stacked, one.target, common, one.weights) for one in alike)
    return [weights / weights.sum() for weights in found]


def _even(alike: Sequence[_Given], families: Mapping[str, str]) -> np.ndarray:
    """Return weights that are the same for the best component of each family, [k]."""
    names = alike[0].names
    of_each = [families.get(name, name) for name in names]
    ranks = np.zeros(len(names))
    if len({*of_each}) < len(names):
        for one in alike:
            means = [
                np.average(one.losses(one.stacked[:, place]), weights=one.weights)
                for place in range(len(names))
            ]
            # losses of several tasks have no unit in common
            ranks += len(one.rows) * np.argsort(np.argsort(means))
    best = {
        family: min((p for p, of in enumerate(of_each) if of == family), key=ranks.__getitem__)
        for family in of_each
    }
    even = np.zeros(len(names))
    even[list(best.values())] = 1 / len(best)
    return even


def _cross_fitted(
    alike: Sequence[_Given], parts: np.ndarray, families: Mapping[str, str] | None
) -> list[np.ndarray]:
    """Return what the tasks' blends predict of each part of the rows with weights of the others."""
    found = [np.empty(one.stacked[:, 0].shape) for one in alike]
    for part in range(PARTS):
        inside = [parts[one.rows] == part for one in alike]
        others = [one.take(~rows) for one, rows in zip(alike, inside, strict=True)]
        for one, rows, weights, unseen in zip(
            alike, inside, _steady(others, families), found, strict=True
        ):
            unseen[rows] = blended(one.stacked[rows], weights)
    return found


def _candidate(given: _Given, weights: np.ndarray, unseen: np.ndarray) -> _Candidate:
    """Return the blend of a task by its weights, or the reference where the blend is worse.

    Args:
        given: What the components gave.
        weights: By all rows, [k].
        unseen: What the blend predicts of each row with weights of other rows.
    """
    kept = _named(given.names, np.where(weights < SMALLEST_WEIGHT, 0, weights))
    gains = given.losses(given.stacked[:, 0]) - given.losses(unseen)
    gain = _trimmed_mean(gains, given.weights)
    worse = gain < -BEYOND_CHANCE * _standard_error(gains, given.weights)
    if gain == 0 or worse or [*kept] == [given.names[0]]:
        return _reference(given)
    return _Candidate(given, kept, unseen, gain)


def _reference(given: _Given) -> _Candidate:
    """Return the first component alone."""
    return _Candidate(given, {given.names[0]: 1.0}, given.stacked[:, 0], 0.0)


def _named(names: Sequence[str], weights: np.ndarray) -> dict[str, float]:
    """Return the weights above 0 by component, of sum 1."""
    shares = (weights / weights.sum()).tolist()
    return {name: share for name, share in zip(names, shares, strict=True) if share > 0}


def _beyond_chance(candidates: Sequence[_Candidate], count: int) -> set[str]:
    """Return the tasks whose predictions fit the labels better than labels in another order.

    On noise, every second gain over a constant is above zero, and a model that was taken for it
    costs. The spread of the gains over rows tells that much worse: it hides rankings that are far
    from chance where a class is rare. Tasks that tell too little one by one are taken together:
    rows change places in all of them alike, so that tasks that are much the same count as one.

    Args:
        candidates: One of each task.
        count: Rows of the table.
    """
    orders = np.random.default_rng(0).random((ORDERS, count))
    found, unclear = set(), {}
    for one in candidates:
        given, name = one.given, one.given.task.name
        if (given.target == given.target[0]).all():  # there is no other order
            found.add(name)
            continue
        by_chance = np.empty(ORDERS)
        for number, keys in enumerate(orders):
            order = np.argsort(keys[given.rows])
            drawn = given._replace(target=given.target[order])
            by_chance[number] = np.average(
                drawn.losses(one.predicted), weights=given.weights[order]
            )
        mean = np.average(given.losses(one.predicted), weights=given.weights)
        below = (by_chance.mean() - np.append(by_chance, mean)) / (by_chance.std() or 1.0)
        if below[-1] > BEYOND_CHANCE:
            found.add(name)
        else:
            unclear[name] = below
    if len(unclear) > 1:
        together = np.sum([*unclear.values()], axis=0)
        if together[-1] > BEYOND_CHANCE * together[:-1].std():
            found |= {*unclear}
    return found


def _common_weights(alike: Sequence[_Given]) -> np.ndarray:
    """Return the weights that are best for all tasks together, each as important by row."""
    way = alike[0].task.in_table.blended_by
    if way == "probabilities":
        evidence = [
            one.task.in_table.evidence(one.stacked, one.target, one.weights) for one in alike
        ]
        given, counted = (np.concatenate(parts) for parts in zip(*evidence, strict=True))
        return _most_likely(given, None, counted)
    if way == "losses":
        return _least_loss(alike)
    rows = np.concatenate([one.weights for one in alike])
    errors: list[np.ndarray] = [
        (one.stacked - one.target[:, None]) / (one.target.std() or 1.0) for one in alike
    ]
    return _least_squares(np.concatenate(errors), None, rows)


def _trimmed_mean(values: np.ndarray, weights: np.ndarray) -> float:
    """Return the weighted mean without the share `TRIMMED` of the weight at either end."""
    if (weights == weights[0]).all():
        # scipy.stats has it, but its import takes longer than the blends of a small table
        cut = int(TRIMMED * len(values))
        inner = np.partition(values, (cut, len(values) - cut - 1))[cut : len(values) - cut]
        return float(inner.mean())
    order = np.argsort(values, kind="stable")
    ends = np.cumsum(weights[order]) / weights.sum()
    # of the rows on which a bound falls, the part inside
    inside = np.diff(np.clip(ends, TRIMMED, 1 - TRIMMED), prepend=TRIMMED)
    return float((values[order] * inside).sum() / inside.sum())


def _standard_error(values: np.ndarray, weights: np.ndarray) -> float:
    """Return that of `_trimmed_mean`: rows at either end count as the last that have a say."""
    inside = np.clip(values, *np.quantile(values, [TRIMMED, 1 - TRIMMED]))
    centred = inside - np.average(inside, weights=weights)
    spread = np.sqrt(np.average(centred**2, weights=weights))
    return float(spread / np.sqrt(effective_rows(weights)) / (1 - 2 * TRIMMED))


def blend_predictions(
    predictions: Mapping[str, np.ndarray], weights: Mapping[str, float]
) -> np.ndarray:
    """Return the weighted mean of the predictions that have a weight.

    Shape:
        predictions: [n] or [n, c] each. returns: the same.
    """
    stacked = np.stack([predictions[name] for name in weights], axis=1)
    return blended(stacked.astype(np.float64), np.array(list(weights.values())))


def blended(stacked: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Return the weighted mean over components.

    Shape:
        stacked: [n, k] or [n, k, c]. weights: [k]. returns: [n] or [n, c].
    """
    return np.asarray(np.tensordot(stacked, weights, axes=(1, 0)))


def blend_weights(
    task: Task,
    stacked: np.ndarray,
    target: np.ndarray,
    common: np.ndarray | None = None,
    row_weights: np.ndarray | None = None,
) -> np.ndarray:
    """Return weights >= 0 of sum 1 with the lowest squared error or log-loss.

    Args:
        task: The task.
        stacked: What the components predict.
        target: What is true.
        common: Weights that these are drawn to with the strength `PULL`; None draws to nothing.
        row_weights: How much each row counts, of mean 1; default all the same.

    Shape:
        stacked: [n, k] or [n, k, c]. target: [n] or [n, w]. row_weights: [n]. common: [k].
        returns: [k].
    """
    if stacked.shape[1] == 1:
        return np.ones(1)
    kind, count = task.in_table, len(target)
    if kind.blended_by == "probabilities":
        counted = np.ones(count) if row_weights is None else row_weights
        given, counted = kind.evidence(stacked, target, counted)
        return _most_likely(given, common, counted, count)
    if kind.blended_by == "losses":
        counted = np.ones(count) if row_weights is None else row_weights
        return _least_loss([_Given(task, stacked, target, np.arange(count), counted)], common)
    return _least_squares(stacked - target[:, None], common, row_weights)


def _most_likely(
    given: np.ndarray,
    common: np.ndarray | None = None,
    rows: np.ndarray | None = None,
    count: int | None = None,
) -> np.ndarray:
    """Return the weights of the mixture with the lowest log-loss, by what each gave, [m, k].

    Args:
        given: Probabilities.
        common: Weights that these are drawn to.
        rows: How much each counts, [m].
        count: Of how many rows of a table they are; default m.
    """
    count = len(given) if count is None else count
    # the log-loss is convex in the weights, and these steps never raise it
    weights = np.full(given.shape[1], 1 / given.shape[1])
    counted = np.ones(len(given)) if rows is None else rows / rows.mean()
    for _ in range(_MOST_STEPS):
        # the mean over rows of each component's share in the probability
        updated = weights * (given.T @ (counted / (given @ weights))) / len(given)
        if common is not None:
            # as if there were more rows, whose shares are the common weights
            updated = (count * updated + PULL * common) / (count + PULL)
        done = np.abs(updated - weights).max() < 1e-4
        weights = updated
        if done:
            break
    return weights


_MOST_STEPS = 200


def _least_loss(alike: Sequence[_Given], common: np.ndarray | None = None) -> np.ndarray:
    """Return the weights of the lowest mean of `row_losses`, each task as important by row."""
    from scipy.optimize import minimize

    count = alike[0].stacked.shape[1]
    rows = sum(len(one.rows) for one in alike)

    def of_weights(weights: np.ndarray) -> float:
        losses = sum(
            float(
                one.weights
                @ one.task.in_table.row_losses(blended(one.stacked, weights), one.target)
            )
            / scale
            for one, scale in zip(alike, scales, strict=True)
        )
        pull = 0.0 if common is None else PULL * float(((weights - common) ** 2).sum())
        return (losses + pull) / rows

    even = np.full(count, 1 / count)
    scales = [
        float(one.weights @ one.task.in_table.row_losses(blended(one.stacked, even), one.target))
        / len(one.rows)
        or 1.0
        for one in alike
    ]
    found = minimize(
        of_weights, even, method="SLSQP", bounds=[(0.0, 1.0)] * count,
        constraints={"type": "eq", "fun": lambda weights: weights.sum() - 1},
    ).x  # fmt: skip
    found = np.clip(found, 0.0, None)
    # the losses have kinks, at which a search may stop early
    tried = [found / found.sum(), even, *np.eye(count)]
    return min(tried, key=of_weights)


def _least_squares(
    errors: np.ndarray, common: np.ndarray | None = None, rows: np.ndarray | None = None
) -> np.ndarray:
    """Return the weights of the lowest squared error, by the components' errors, [n, k]."""
    from scipy.optimize import nnls

    if rows is not None:
        errors = errors * np.sqrt(rows / rows.mean())[:, None]
    # errors, not values: with weights of sum 1 they have no offset, and less is lost in rounding
    count = errors.shape[1]
    scale = np.sqrt((errors**2).sum(0).mean()) or 1.0
    # one more row, heavy, holds the sum at 1: min |E w|^2 + 1e6 scale^2 (sum w - 1)^2
    system = np.vstack([errors, np.full(count, 1e3 * scale)])
    wanted = np.append(np.zeros(len(errors)), 1e3 * scale)
    if common is not None:
        pull = np.sqrt(PULL / len(errors)) * scale
        system = np.vstack([system, pull * np.eye(count)])
        wanted = np.append(wanted, pull * common)
    weights, _ = nnls(system, wanted)
    return np.asarray(weights / weights.sum())
