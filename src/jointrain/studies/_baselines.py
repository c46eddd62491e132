"""Baselines that a sceptic would use: a constant, a linear model and trees, a model per target."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from jointrain.data._skops_file import DamagedError
from jointrain.errors import InvalidInputError, closest
from jointrain.studies._baseline_estimators import ESTIMATORS, one_thread
from jointrain.task import Task

BASELINES = ("constant", *ESTIMATORS)
"""Names of the baselines; ``catboost`` and ``lightgbm`` need the packages of these names."""

_DESCRIPTION = "baseline.json"


@dataclass(frozen=True)
class _TaskModel:
    """What predicts one task.

    Args:
        constant: [1] or [c], what every row gets; None if there is an estimator.
        present: The class indices that the estimator knows, in its order; empty for regression.
        estimator: A fitted estimator.
    """

    constant: np.ndarray | None
    present: np.ndarray
    estimator: Any


@dataclass(frozen=True)
class BaselineModel:
    """A fitted baseline: one model for each task.

    Args:
        name: Which baseline, one of `BASELINES`.
        tasks: What it predicts.
        inputs: Number of encoded features.
        models: One for each task.
    """

    name: str
    tasks: tuple[Task, ...]
    inputs: int
    models: tuple[_TaskModel, ...]

    def predict(self, inputs: np.ndarray) -> dict[str, np.ndarray]:
        """Return the predictions of each task.

        Args:
            inputs: Encoded features.

        Shape:
            inputs: [n, d]. returns: as `TableModel.predict`: [n] for regression, in the target's
            unit; [n] for binary, the probability of the second class; [n, c] for multiclass.

        Raises:
            InvalidInputError: The inputs have another number of columns than in fitting.
        """
        if inputs.ndim != 2 or inputs.shape[1] != self.inputs:
            raise InvalidInputError(
                f"baseline {self.name!r} was fitted to {self.inputs} inputs, got an array of shape "
                f"{inputs.shape}"
            )
        predictions = {}
        with one_thread():
            for task, model in zip(self.tasks, self.models, strict=True):
                values = self._predict_task(task, model, inputs)
                predictions[task.name] = values[:, 1] if task.kind == "binary" else values
        return predictions

    def _predict_task(self, task: Task, model: _TaskModel, inputs: np.ndarray) -> np.ndarray:
        if model.constant is not None:
            values = np.tile(model.constant, (len(inputs), 1))
            return values if task.has_classes else values[:, 0]
        if not len(inputs):
            return np.zeros((0, len(task.classes)) if task.has_classes else 0)
        found = ESTIMATORS[self.name].predict(model.estimator, inputs, len(model.present))
        if not task.has_classes:
            return found
        probabilities = np.zeros((len(inputs), len(task.classes)))
        probabilities[:, model.present] = found
        return probabilities

    def save(self, folder: str | Path) -> None:
        """Write the model into an existing folder: a description and the estimators' files."""
        folder = Path(folder)
        files: dict[str, bytes] = {}
        if self.name != "constant":
            fitted = {
                str(index): model.estimator
                for index, model in enumerate(self.models)
                if model.constant is None
            }
            files = ESTIMATORS[self.name].to_files(fitted)
        description = {
            "name": self.name,
            "inputs": self.inputs,
            "tasks": [
                {
                    "name": task.name,
                    "kind": task.kind,
                    "classes": list(task.classes),
                    "constant": None if model.constant is None else model.constant.tolist(),
                    "present": model.present.tolist(),
                }
                for task, model in zip(self.tasks, self.models, strict=True)
            ],
            "digests": {name: hashlib.sha256(data).hexdigest() for name, data in files.items()},
        }
        for name, data in files.items():
            (folder / name).write_bytes(data)
        text = json.dumps(description, indent=1, ensure_ascii=False)
        (folder / _DESCRIPTION).write_text(text + "\n", encoding="utf-8")

    @classmethod
    def load(cls, folder: str | Path) -> BaselineModel:
        """Read a model that `save` wrote; nothing in the files is run.

        Raises:
            InvalidInputError: A file is missing, damaged, or holds anything but such a model.
            MissingDependencyError: The package of the baseline is not installed.
        """
        folder = Path(folder)
        try:
            described = json.loads((folder / _DESCRIPTION).read_text(encoding="utf-8"))
            digests = described["digests"]
            files = {name: (folder / name).read_bytes() for name in digests if _is_plain(name)}
            if {name: hashlib.sha256(data).hexdigest() for name, data in files.items()} != digests:
                raise DamagedError("a file is not the one that was saved")
            return cls._from_files(described, files)
        except OSError as error:
            reason = f"{error.filename} can't be read: {error.strerror}"
        except DamagedError as error:
            reason = str(error)
        except InvalidInputError:
            raise
        except (ValueError, TypeError, KeyError, IndexError, AttributeError, RecursionError):
            reason = "its parts do not fit together"
        raise InvalidInputError(f"{folder} is no whole baseline: {reason}; use another copy")

    @classmethod
    def _from_files(cls, described: Mapping[str, Any], files: Mapping[str, bytes]) -> BaselineModel:
        name, inputs = check_baseline(described["name"]), int(described["inputs"])
        tasks = tuple(
            Task(entry["name"], entry["kind"], tuple(entry["classes"]))
            for entry in described["tasks"]
        )
        fitted = {} if name == "constant" else ESTIMATORS[name].from_files(files, inputs)
        models = []
        for index, (task, entry) in enumerate(zip(tasks, described["tasks"], strict=True)):
            present = np.asarray(entry["present"], dtype=np.int64)
            constant = entry["constant"]
            if constant is not None:
                constant = np.asarray(constant, dtype=np.float64)
                if constant.shape != (len(task.classes) if task.has_classes else 1,):
                    raise DamagedError(f"the constant of task {task.name!r} has another length")
            elif task.has_classes != bool(len(present)):
                raise DamagedError(f"the classes of task {task.name!r} do not fit its kind")
            elif len(present) and not (
                (np.diff(present) > 0).all() and present[0] >= 0 and present[-1] < len(task.classes)
            ):
                raise DamagedError(f"task {task.name!r} has no such classes")
            estimator = None if constant is not None else fitted[str(index)]
            models.append(_TaskModel(constant, present, estimator))
        model = cls(name, tasks, inputs, tuple(models))
        # an estimator of another kind than the task's shows in its first prediction
        for task, values in zip(tasks, model.predict(np.zeros((1, inputs))).values(), strict=True):
            if values.shape != ((1, len(task.classes)) if task.kind == "multiclass" else (1,)):
                raise DamagedError(f"the model of task {task.name!r} does not fit its kind")
        return model


def fit_baseline(
    name: str, inputs: np.ndarray, labels: np.ndarray, tasks: Sequence[Task], seed: int
) -> BaselineModel:
    """Fit a baseline to each task by its labelled rows.

    A task whose labels, or whose inputs, are all the same gets a constant. Classes that the rows do
    not hold have probability 0, but for the constant, which counts each class once more than it
    occurs.

    Args:
        name: One of `BASELINES`: ``constant`` (mean, or the classes' shares); ``linear`` (ridge
            regression with its penalty chosen by leave-one-out; logistic regression); ``random
            forest``, ``extra trees`` and ``gradient boosting`` (histogram gradient boosting) of
            scikit-learn; ``catboost``; ``lightgbm``.
        inputs: Encoded features, `TableEncoder(bins=0)`.
        labels: NaN where a label is missing.
        tasks: Of kind regression, binary or multiclass, in the order of the columns of `labels`.
        seed: Seed of all random choices.

    Shape:
        inputs: [n, d]. labels: [n, t].

    Raises:
        InvalidInputError: There is no such baseline, or a task has no label.
        MissingDependencyError: The package of the baseline is not installed.
    """
    check_baseline(name)
    models = []
    with one_thread():
        for index, task in enumerate(tasks):
            rows = np.isfinite(labels[:, index])
            if not rows.any():
                raise InvalidInputError(
                    f"task {task.name!r} has no label in the rows that baseline {name!r} is to be "
                    f"fitted to"
                )
            models.append(_fit_task(name, inputs[rows], labels[rows, index], task, seed))
    return BaselineModel(name, tuple(tasks), inputs.shape[1], tuple(models))


def predict_with_baseline(
    name: str,
    inputs: np.ndarray,
    labels: np.ndarray,
    test_inputs: np.ndarray,
    tasks: Sequence[Task],
    seed: int,
) -> dict[str, np.ndarray]:
    """Fit a baseline as `fit_baseline` and predict the test rows.

    Shape:
        inputs: [n, d]. labels: [n, t]. test_inputs: [m, d]. returns: as `TableModel.predict`, m
        rows.
    """
    return fit_baseline(name, inputs, labels, tasks, seed).predict(test_inputs)


def _fit_task(
    name: str, inputs: np.ndarray, target: np.ndarray, task: Task, seed: int
) -> _TaskModel:
    present, codes = np.unique(target, return_inverse=True)
    if name == "constant" or len(present) == 1 or (inputs == inputs[0]).all():
        if task.has_classes:
            # add-one smoothing, so that a class absent from the rows does not cost infinite loss
            counts = np.bincount(target.astype(np.int64), minlength=len(task.classes)) + 1.0
            constant = counts / counts.sum()
        else:
            constant = np.array([target.mean(dtype=np.float64)])
        return _TaskModel(constant, np.zeros(0, dtype=np.int64), None)
    if task.has_classes:
        estimator = ESTIMATORS[name].fit(inputs, codes, len(present), seed)
        return _TaskModel(None, present.astype(np.int64), estimator)
    estimator = ESTIMATORS[name].fit(inputs, target.astype(np.float64), 0, seed)
    return _TaskModel(None, np.zeros(0, dtype=np.int64), estimator)


def check_baseline(name: str) -> str:
    """Return the name of a baseline.

    Raises:
        InvalidInputError: There is no such baseline.
    """
    if name not in BASELINES:
        raise InvalidInputError(
            f"unknown baseline {name!r}{closest(str(name), BASELINES)}; known are "
            f"{', '.join(BASELINES)}"
        )
    return name


def _is_plain(name: str) -> bool:
    """Whether a file lies in the folder itself."""
    if Path(name).name != name:
        raise DamagedError(f"it names a file outside of the folder, {name!r}")
    return True
