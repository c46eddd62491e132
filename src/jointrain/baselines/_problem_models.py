"""Targets of several numbers as plain problems, each with a model of its own.

A time with an event, shares, several labels or quantiles are no target that a tree or a line takes.
Their kind says which problems with classes or numbers stand for them, see `PlainProblem`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from jointrain.baselines._baseline import TargetBaseline
from jointrain.baselines._tree_arrays import rising
from jointrain.system.stored_files import DamagedError
from jointrain.task import PlainProblem, Task, of_mean_one


@dataclass(frozen=True)
class ProblemModel:
    """What answers one problem of a task.

    Args:
        constant: [1] or [c], what every row gets; None if there is an estimator.
        present: The class indices that the estimator knows, in its order; empty for numbers.
        classes: How many classes there are; 0 for numbers.
        more: How many inputs it has beside those of a row.
        estimator: A fitted estimator; None if there is a constant.
    """

    constant: np.ndarray | None
    present: np.ndarray
    classes: int
    more: int
    estimator: Any

    def answer(
        self, baseline: TargetBaseline, inputs: np.ndarray, beside: np.ndarray | None
    ) -> np.ndarray:
        """Return values [n], or probabilities [n, c]; `beside`, [e], are inputs of every row."""
        if self.constant is not None:
            tiled = np.tile(self.constant, (len(inputs), 1))
            return tiled if self.classes else tiled[:, 0]
        if beside is not None:
            more = np.broadcast_to(beside.astype(inputs.dtype), (len(inputs), len(beside)))
            inputs = np.concatenate([inputs, more], axis=1)
        found = baseline.predict(self.estimator, inputs, len(self.present))
        if not self.classes:
            return found
        probabilities = np.zeros((len(inputs), self.classes))
        probabilities[:, self.present] = found
        return probabilities

    def to_json(self) -> dict[str, Any]:
        """Return all but the estimator."""
        return {
            "constant": None if self.constant is None else self.constant.tolist(),
            "present": self.present.tolist(),
            "classes": self.classes,
            "more": self.more,
        }

    @classmethod
    def read(cls, told: Mapping[str, Any], estimator: Any) -> ProblemModel:
        """Return the model that `to_json` told, with its estimator.

        Raises:
            DamagedError: It holds something else.
        """
        constant, classes, more = told["constant"], told["classes"], told["more"]
        if type(classes) is not int or type(more) is not int or min(classes, more) < 0:
            raise DamagedError("a problem of a task has no numbers of classes and inputs")
        present = np.asarray(told["present"] or np.zeros(0), dtype=np.int64)
        if constant is not None:
            constant = np.asarray(constant, dtype=np.float64)
            if constant.shape != (classes or 1,) or not np.isfinite(constant).all():
                raise DamagedError("a constant of a problem has another length")
        else:
            inside = not len(present) or (present[0] >= 0 and present[-1] < classes)
            if bool(classes) != bool(len(present)) or not rising(present) or not inside:
                raise DamagedError("a problem of a task has no such classes")
        return cls(constant, present, classes, more, estimator)


def fit_problems(
    baseline: TargetBaseline,
    inputs: np.ndarray,
    labels: np.ndarray,
    task: Task,
    seed: int,
    weights: np.ndarray | None,
) -> tuple[ProblemModel, ...]:
    """Return a model for each plain problem of a task; none where the baseline is a constant.

    Shape:
        inputs: [n, d]. labels: [n, ...], all known. weights: [n].
    """
    models = [
        _fit_problem(baseline, inputs, problem, seed, weights)
        for problem in task.in_table.plain_problems(labels)
    ]
    if all(model.estimator is None for model in models):
        return ()
    return tuple(models)


def _fit_problem(
    baseline: TargetBaseline,
    inputs: np.ndarray,
    problem: PlainProblem,
    seed: int,
    weights: np.ndarray | None,
) -> ProblemModel:
    rows, target, classes = problem.rows, problem.target, problem.classes
    more = 0 if problem.more is None else problem.more.shape[1]
    own = inputs[rows]
    if problem.more is not None:
        own = np.concatenate([own, problem.more.astype(own.dtype)], axis=1)
    counted = None
    if weights is not None or problem.weights is not None:
        counted = np.ones(len(rows)) if weights is None else weights[rows]
        counted = counted if problem.weights is None else counted * problem.weights
        counted = of_mean_one(counted, np.ones(len(rows), dtype=bool))
        counted = None if len(counted) and (counted == counted[0]).all() else counted
    present, codes = np.unique(target, return_inverse=True)
    known = present.astype(np.int64) if classes else np.zeros(0, dtype=np.int64)
    given = {} if counted is None else {"weights": counted}
    estimator = None
    if len(present) > 1 and not (own == own[0]).all():
        if problem.level is not None:
            estimator = baseline.fit_quantile(own, target, problem.level, seed, **given)
        else:
            wanted = codes if classes else target.astype(np.float64)
            estimator = baseline.fit(own, wanted, len(known), seed, **given)
    if estimator is not None:
        return ProblemModel(None, known, classes, more, estimator)
    nothing = np.zeros(0, dtype=np.int64)
    return ProblemModel(_constant(problem, counted), nothing, classes, more, None)


def _constant(problem: PlainProblem, weights: np.ndarray | None) -> np.ndarray:
    """Return the shares of classes, or the mean or quantile of numbers."""
    if not problem.classes:
        if problem.level is not None:
            return np.asarray(np.quantile(problem.target, [problem.level], method="inverted_cdf"))
        return np.array([float(np.average(problem.target, weights=weights))])
    codes = problem.target.astype(np.int64)
    counts = np.bincount(codes, weights, minlength=problem.classes).astype(np.float64)
    counts += 0.0 if counts.sum() else 1.0
    return np.asarray(counts / counts.sum())


def estimators_by_width(
    models: Mapping[str, Sequence[ProblemModel]],
) -> dict[int, dict[str, Any]]:
    """Return the estimators by how many inputs they have beside those of a row, and by name."""
    found: dict[int, dict[str, Any]] = {}
    for name, of_task in models.items():
        for index, model in enumerate(of_task):
            if model.estimator is not None:
                found.setdefault(model.more, {})[f"{name}-{index}"] = model.estimator
    return found


def predicted_by_problems(
    baseline: TargetBaseline, models: Sequence[ProblemModel], task: Task, inputs: np.ndarray
) -> np.ndarray:
    """Return the predictions of a task, by the answers to its problems."""
    kind = task.in_table
    return kind.from_plain(
        [models[index].answer(baseline, inputs, beside) for index, beside in kind.plain_inputs()]
    )
