"""Blends: which components predict a task, with which weights, by rows that they have not seen."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from jointrain.baselines import CONSTANT
from jointrain.task import Task, known_labels, labels_of, of_mean_one

SMALLEST_WEIGHT = 0.05
"""A component with less weight is left out: it changes little and costs its whole time."""

PARTS = 5
"""Parts of the rows for the cross-fitted loss of a blend."""

PULL = 40
"""How strongly a task's weights are drawn to those of all tasks: as by so many rows."""

ORDERS = 50
"""In how many other orders the labels are looked at."""

BEYOND_CHANCE = 2.0
"""How many standard deviations of those a model's mean loss lies below theirs, to be kept."""

TRIMMED = 0.02
"""Share of the rows at either end of the gains that has no say in whether a blend is kept."""


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
    """

    task: Task
    stacked: np.ndarray
    target: np.ndarray
    rows: np.ndarray
    weights: np.ndarray

    def take(self, kept: np.ndarray) -> _Given:
        """Return the rows where `kept`, [m], is true."""
        return _Given(
            self.task,
            self.stacked[kept],
            self.target[kept],
            self.rows[kept],
            self.weights[kept],
        )

    def only(self, components: np.ndarray) -> _Given:
        """Return what the components where `components`, [k], is true have given."""
        return self._replace(stacked=self.stacked[:, components])


def choose_blends(
    tasks: Sequence[Task],
    predictions: Mapping[str, Mapping[str, np.ndarray]],
    labels: np.ndarray,
    reference: str,
    constants: Mapping[str, np.ndarray],
    row_weights: np.ndarray | None = None,
) -> dict[str, Blend]:
    """Return for each task the weighted mean of components that predicts best, or the reference.

    Where that is no better than a constant, or could be so by chance, the constant: its mean loss
    must be lower, and lower than with the labels in another order by two standard deviations.

    The weights of a task are those of the lowest squared error or log-loss of its rows, drawn to
    those that are best for all tasks of its kind together: a few rows tell little of one task. What
    they gain is measured on parts of the rows in turn, with weights from the other parts. If it is
    nothing there, in the trimmed mean over rows, the reference is kept: by the plain mean, a few
    rows far out would decide alone.

    Args:
        tasks: The tasks.
        predictions: Of rows that the components have not seen, by task and component; regression
            [n], binary [n], multiclass [n, c].
        labels: [n, w], NaN where one is missing.
        reference: The component that is kept unless another way is better.
        constants: What a constant predicts of the same rows, by task.
        row_weights: How much each row counts, [n, t]; default all the same. Means are weighted
            then, and trimmed by weight.

    Source: Ojala and Garriga, "Permutation Tests for Studying Classifier Performance", JMLR 11,
        2010 (labels in another order); Wolpert, "Stacked Generalization", Neural Networks 5, 1992;
        Breiman, "Stacked Regressions", Machine Learning 24, 1996 (weights that are not negative).
    """
    given: list[_Given] = []
    for index, (task, own) in enumerate(zip(tasks, labels_of(labels, tasks), strict=True)):
        components = predictions[task.name]
        names = [reference, *(name for name in components if name != reference)]
        known = task.in_table.known(own)
        stacked = np.stack([components[name][known].astype(np.float64) for name in names], axis=1)
        target = own[known].astype(np.float64)
        counted = of_mean_one(None if row_weights is None else row_weights[:, index], known)[known]
        given.append(_Given(task, stacked, target, np.flatnonzero(known), counted))
    labelled = np.flatnonzero(known_labels(labels, tasks).any(1))
    parts = np.zeros(len(labels), dtype=np.int64)
    parts[labelled] = np.random.default_rng(0).permutation(np.arange(len(labelled)) % PARTS)
    blends = {}
    for way in ("probabilities", "errors", "losses"):
        alike = [one for one in given if one.task.in_table.blended_by == way]
        enough = [one for one in alike if len(one.rows) >= 2 * PARTS]
        losses = {one.task.name: np.empty(len(one.rows)) for one in enough}
        found = {one.task.name: np.empty(one.stacked[:, 0].shape) for one in enough}
        for part in range(PARTS) if enough else ():
            inside = [parts[one.rows] == part for one in enough]
            others = [one.take(~rows) for one, rows in zip(enough, inside, strict=True)]
            common = _common_weights(others)
            for one, other, rows in zip(enough, others, inside, strict=True):
                weights = blend_weights(
                    other.task, other.stacked, other.target, common, other.weights
                )
                found[one.task.name][rows] = blended(one.stacked[rows], weights)
                losses[one.task.name][rows] = one.task.in_table.row_losses(
                    found[one.task.name][rows], one.target[rows]
                )
        for one in alike:
            blends[one.task.name] = Blend({reference: 1.0}, 0.0)
            if not len(one.rows):
                continue
            before = one.task.in_table.row_losses(one.stacked[:, 0], one.target)
            after = losses.get(one.task.name, before)
            counted = one.weights
            gain = _trimmed_mean(before - after, counted)
            constant = one.task.in_table.row_losses(constants[one.task.name][one.rows], one.target)
            losses_of = after if gain > 0 else before
            predicted = found.get(one.task.name) if gain > 0 else None
            if np.average(constant - losses_of, weights=counted) <= 0 or not _beyond_chance(
                one, one.stacked[:, 0] if predicted is None else predicted, losses_of
            ):
                change = 100 * _trimmed_mean(before - constant, counted)
                change /= _trimmed_mean(before, counted)
                blends[one.task.name] = Blend({CONSTANT: 1.0}, change)
            elif gain > 0:
                names = [reference, *(n for n in predictions[one.task.name] if n != reference)]
                weights = _final_weights(one, enough)
                chosen = {
                    name: weight
                    for name, weight in zip(names, weights.tolist(), strict=True)
                    if weight > 0
                }
                blends[one.task.name] = Blend(chosen, 100 * gain / _trimmed_mean(before, counted))
    return {task.name: blends[task.name] for task in tasks}


EVEN = 0.5
"""Share of what weights are drawn to, by `steady_weights`, that is the same for all components."""


def steady_weights(
    tasks: Sequence[Task],
    predictions: Mapping[str, Mapping[str, np.ndarray]],
    labels: np.ndarray,
    row_weights: np.ndarray | None = None,
) -> dict[str, dict[str, float]]:
    """Return for each task the weights of its components; they are above 0 and sum to 1.

    A task's weights are those that are best for its rows, drawn (see `PULL`) to weights of all
    tasks of its kind with the same components: half of these are even, half are best for these
    tasks together. A few hundred rows tell little more than which component is poor, and the plain
    mean is hard to beat by weights that follow them further.

    Args:
        tasks: The tasks.
        predictions: Of rows that the components have not seen, by task and component, as in
            `choose_blends`; NaN for a row that something has seen.
        labels: [n, w], NaN where one is missing.
        row_weights: How much each row counts, [n, t]; default all the same.

    Source: Clemen, "Combining forecasts: A review and annotated bibliography", International
        Journal of Forecasting 5, 1989 (the even mean); Wolpert, "Stacked Generalization", Neural
        Networks 5, 1992.
    """
    alike: dict[tuple[str, tuple[str, ...]], list[_Given]] = {}
    found = {}
    for index, (task, own) in enumerate(zip(tasks, labels_of(labels, tasks), strict=True)):
        names = tuple(predictions[task.name])
        found[task.name] = dict.fromkeys(names, 1 / len(names))
        stacked = np.stack(list(predictions[task.name].values()), axis=1).astype(np.float64)
        known = task.in_table.known(own) & np.isfinite(stacked.reshape(len(own), -1)).all(1)
        if known.sum() >= 2 * PARTS:
            counted = of_mean_one(None if row_weights is None else row_weights[:, index], known)
            one = _Given(
                task,
                stacked[known],
                own[known].astype(np.float64),
                np.flatnonzero(known),
                counted[known],
            )
            alike.setdefault((task.in_table.blended_by, names), []).append(one)
    for (_, names), given in alike.items():
        common = EVEN / len(names) + (1 - EVEN) * _common_weights(given)
        for one in given:
            weights = blend_weights(one.task, one.stacked, one.target, common, one.weights)
            found[one.task.name] = {
                name: weight
                for name, weight in zip(names, (weights / weights.sum()).tolist(), strict=True)
                if weight > 0
            }
    return found


def _beyond_chance(one: _Given, predicted: np.ndarray, losses: np.ndarray) -> bool:
    """Return whether predictions fit the labels better than labels in another order.

    On noise, every second gain over a constant is above zero, and a model that was taken for it
    costs. The spread of the gains over rows tells that much worse: it hides rankings that are far
    from chance where a class is rare.

    Args:
        one: The labels.
        predicted: Of each row, as one component of `one.stacked`.
        losses: Of each row.
    """
    if (one.target == one.target[0]).all():  # there is no other order
        return True
    random = np.random.default_rng(0)
    by_chance = []
    for _ in range(ORDERS):
        order = random.permutation(len(losses))
        drawn = one.task.in_table.row_losses(predicted, one.target[order])
        by_chance.append(np.average(drawn, weights=one.weights[order]))
    mean = np.average(losses, weights=one.weights)
    return bool(np.mean(by_chance) - mean > BEYOND_CHANCE * np.std(by_chance))


def _final_weights(one: _Given, alike: Sequence[_Given]) -> np.ndarray:
    """Return the weights of a task by all rows, 0 for components that would have little."""
    weights = blend_weights(one.task, one.stacked, one.target, _common_weights(alike), one.weights)
    kept = weights >= SMALLEST_WEIGHT
    common = _common_weights([other.only(kept) for other in alike])
    final = np.zeros_like(weights)
    final[kept] = blend_weights(one.task, one.only(kept).stacked, one.target, common, one.weights)
    return final


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
        from scipy.stats import trim_mean

        return float(trim_mean(values, TRIMMED))
    order = np.argsort(values, kind="stable")
    ends = np.cumsum(weights[order]) / weights.sum()
    # of the rows on which a bound falls, the part inside
    inside = np.diff(np.clip(ends, TRIMMED, 1 - TRIMMED), prepend=TRIMMED)
    return float((values[order] * inside).sum() / inside.sum())


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
    scales = [1.0] * len(alike)
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
