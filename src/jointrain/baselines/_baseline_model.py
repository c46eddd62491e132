"""Baselines that a sceptic would use: a constant, a linear model and trees, as written by hand."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from jointrain.baselines._baseline import (
    Baseline,
    JointBaseline,
    JointModel,
    TargetBaseline,
    one_thread,
)
from jointrain.baselines._exported_task import ExportedTask
from jointrain.baselines._forests import Forest, JointForest
from jointrain.baselines._kernel_ridge import KernelModel
from jointrain.baselines._names import (
    BASELINE_NAMES,
    BASELINES,
    CONSTANT,
    AnyBaseline,
    as_baseline,
    check_predicts,
    stored_name,
)
from jointrain.baselines._problem_models import (
    ProblemModel,
    estimators_by_width,
    fit_problems,
    predicted_by_problems,
)
from jointrain.baselines._tree_arrays import Arrays, SymmetricTrees, TreeEnsemble, rising
from jointrain.data import PlainEncoder
from jointrain.errors import InvalidInputError, MissingFactoryError
from jointrain.system.stored_files import MISFIT, DamagedError, json_to_bytes, read_file, read_json
from jointrain.task import TABLE_KINDS, Task, labels_of, of_mean_one

DEFINITION = 3
"""Raised when a name comes to mean another model, so that kept runs of the old one are not used."""

_DESCRIPTION = "baseline.json"

_MOST_INPUTS = 10_000_000
"""A trial prediction takes 8 bytes for each."""


@dataclass(frozen=True)
class _TaskModel:
    """What predicts one task.

    Args:
        constant: [1] or [c], what every row gets; None if there is an estimator.
        present: The class indices that the estimator knows, in its order; empty for regression.
        estimator: A fitted estimator; None if there is a constant, or one model for all tasks.
        problems: In place of an estimator, one for each plain problem that stands for the task.
    """

    constant: np.ndarray | None
    present: np.ndarray
    estimator: Any
    problems: tuple[ProblemModel, ...] = ()


@dataclass(frozen=True)
class BaselineModel:
    """A fitted baseline: one model for each task, or one for all of them.

    Args:
        baseline: What was fitted.
        tasks: What it predicts.
        inputs: Number of encoded features.
        models: One for each task.
        joint: The model of all tasks at once.
    """

    baseline: Baseline
    tasks: tuple[Task, ...]
    inputs: int
    models: tuple[_TaskModel, ...]
    joint: JointModel | None = None

    @property
    def name(self) -> str:
        """What the baseline is called."""
        return self.baseline.name

    @property
    def stored_name(self) -> str:
        """What files call the baseline: its name, or ``module:name`` of one's own."""
        return stored_name(self.baseline)

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
        # a stranger's may overflow: who reads predictions refuses what is no number
        with one_thread(), np.errstate(over="ignore", invalid="ignore", divide="ignore"):
            together = None if self.joint is None else self.joint.predict(inputs)
            for index, (task, model) in enumerate(zip(self.tasks, self.models, strict=True)):
                found = None if together is None else together[index]
                values = self._predict_task(task, model, inputs, found)
                predictions[task.name] = values
        return predictions

    def _predict_task(
        self, task: Task, model: _TaskModel, inputs: np.ndarray, found: np.ndarray | None
    ) -> np.ndarray:
        if model.constant is not None:
            return task.in_table.from_columns(np.tile(model.constant, (len(inputs), 1)))
        if not len(inputs):
            return np.zeros((0, *task.in_table.prediction_shape()))
        if model.problems:
            assert isinstance(self.baseline, TargetBaseline)
            return predicted_by_problems(self.baseline, model.problems, task, inputs)
        if found is None:
            assert isinstance(self.baseline, TargetBaseline)
            if _counts(task):
                found = self.baseline.predict_counts(model.estimator, inputs)
            else:
                found = self.baseline.predict(model.estimator, inputs, len(model.present))
        if not task.has_classes:
            # what is scaled may come back as less than nothing, by rounding
            return np.maximum(found, 0.0) if _counts(task) else found
        probabilities = np.zeros((len(inputs), len(task.classes)))
        probabilities[:, model.present] = found
        return task.in_table.from_columns(probabilities)

    def exported(self) -> list[ExportedTask | None]:
        """Return how each task is predicted, None where it is more than arrays can tell."""
        return [
            self._exported_task(index, task, model)
            for index, (task, model) in enumerate(zip(self.tasks, self.models, strict=True))
        ]

    def _exported_task(self, index: int, task: Task, model: _TaskModel) -> ExportedTask | None:
        if model.constant is not None:
            return ExportedTask(constant=model.constant)
        present, counts = tuple(model.present.tolist()), _counts(task)
        if isinstance(self.joint, JointForest):
            width = max(1, *self.joint.classes)
            first, own = index * width, max(1, self.joint.classes[index])
            return ExportedTask(
                model=self.joint.trees,
                single=True,
                columns=tuple(range(first, first + own)),
                scale=(0.0, 1.0)
                if present
                else (self.joint.means[index], self.joint.deviations[index]),
                present=present,
                floor=counts,
            )
        if isinstance(self.joint, KernelModel):
            functions = next(one for one in self.joint.functions if index in one.targets)
            column = functions.targets.tolist().index(index)
            return ExportedTask(model=functions, columns=(column,), floor=counts)
        found = model.estimator
        if model.problems or not _is_plain_model(self.baseline, found):
            return None
        if isinstance(self.baseline, Forest):
            columns = None if present else (0,)
            return ExportedTask(
                model=found, single=True, columns=columns, present=present, floor=counts
            )
        assert isinstance(self.baseline, TargetBaseline)
        single = isinstance(found, SymmetricTrees)
        if not present:
            link: Literal["exp"] | None = "exp" if counts and self.baseline.log_rates else None
            return ExportedTask(model=found, single=single, columns=(0,), link=link, floor=counts)
        sums = len(found.base if hasattr(found, "base") else found.intercept)
        return ExportedTask(
            model=found,
            single=single,
            link="logistic" if len(present) == 2 and sums == 1 else "softmax",
            present=present,
        )

    def save(self, folder: str | Path) -> None:
        """Write the model into an existing folder: a description and the estimators' files.

        Raises:
            DamagedError: `load` would refuse them.
            InvalidInputError: The baseline's models can't be saved.
        """
        if not self.baseline.saved:
            raise InvalidInputError(
                f"a fitted {self.name!r} can't be saved: files of jointrain hold arrays, no code; "
                "save it with the means of its package"
            )
        folder = Path(folder)
        files: dict[str, bytes] = {}
        if self.joint is not None:
            files = self.joint.to_files(self.inputs)
        elif isinstance(self.baseline, TargetBaseline):
            fitted = {
                str(index): model.estimator
                for index, model in enumerate(self.models)
                if model.constant is None and not model.problems
            }
            several = {str(index): model.problems for index, model in enumerate(self.models)}
            for more, estimators in {0: {}, **estimators_by_width(several)}.items():
                named = estimators if more else {**fitted, **estimators}
                found = self.baseline.to_files(named, self.inputs + more)
                files |= {_file_name(name, more): data for name, data in found.items()}
        description = {
            "name": self.stored_name,
            "inputs": self.inputs,
            "tasks": [
                {
                    "name": task.name,
                    "kind": task.kind,
                    "classes": list(task.classes),
                    "constant": None if model.constant is None else model.constant.tolist(),
                    "present": model.present.tolist(),
                    **(
                        {"problems": [one.to_json() for one in model.problems]}
                        if model.problems
                        else {}
                    ),
                }
                for task, model in zip(self.tasks, self.models, strict=True)
            ],
            "digests": {name: hashlib.sha256(data).hexdigest() for name, data in files.items()},
        }
        if self.joint is not None:
            description["joint"] = self.joint.to_json()
        text = json_to_bytes(description, indent=1)
        for name, data in files.items():
            (folder / name).write_bytes(data)
        (folder / _DESCRIPTION).write_bytes(text)

    @classmethod
    def load(
        cls, folder: str | Path, *, factories: Mapping[str, Any] | None = None
    ) -> BaselineModel:
        """Read a model that `save` wrote; nothing in the files is run.

        Args:
            folder: Where it is.
            factories: Baselines of one's own, by the ``module:name`` that the files tell, or by
                the name alone.

        Raises:
            InvalidInputError: A file is missing, damaged, or holds anything but such a model.
            MissingDependencyError: The package of the baseline is not installed.
        """
        folder = Path(folder)
        try:
            described = read_json(folder / _DESCRIPTION, folder=folder)
            digests = described["digests"]
            paths = {name: folder / name for name in digests if _is_plain(name)}
            if len({path.resolve() for path in paths.values()}) < len(paths):
                raise DamagedError("two of its files are links to one")
            files = {name: read_file(path, folder=folder) for name, path in paths.items()}
            if {name: hashlib.sha256(data).hexdigest() for name, data in files.items()} != digests:
                raise DamagedError("a file is not the one that was saved")
            return cls._from_files(described, files, factories or {})
        except OSError as error:
            reason = f"{error.filename} can't be read: {error.strerror}"
        except DamagedError as error:
            reason = str(error)
        except InvalidInputError:
            raise
        except (*MISFIT, RuntimeError):  # links in a circle, too
            reason = "its parts do not fit together"
        raise InvalidInputError(f"{folder} is no whole baseline: {reason}; use another copy")

    @classmethod
    def _from_files(
        cls,
        described: Mapping[str, Any],
        files: Mapping[str, bytes],
        factories: Mapping[str, Any],
    ) -> BaselineModel:
        name, inputs = described["name"], described["inputs"]
        baseline = stored_baseline(name, factories)
        if type(inputs) is not int or not 1 <= inputs <= _MOST_INPUTS:
            raise DamagedError(f"it has a number of inputs beyond 1 to {_MOST_INPUTS:,}")
        tasks = _read_tasks(described["tasks"])
        together = isinstance(baseline, JointBaseline)
        fitted = {}
        if isinstance(baseline, TargetBaseline):
            fitted = _read_estimators(baseline, described["tasks"], files, inputs)
        models = []
        for index, (task, entry) in enumerate(zip(tasks, described["tasks"], strict=True)):
            present = np.asarray(entry["present"] or np.zeros(0), dtype=np.int64)
            constant = entry["constant"]
            if entry.get("problems"):
                models.append(_read_problems(task, entry, fitted, str(index)))
                continue
            if constant is None and task.in_table.objective == "problems":
                raise DamagedError(f"task {task.name!r} has no model")
            if constant is not None:
                constant = _read_constant(task, constant)
            else:
                _check_present(task, present)
            estimator = None if together or constant is not None else fitted[str(index)]
            models.append(_TaskModel(constant, present, estimator))
        joint = None
        if isinstance(baseline, JointBaseline):
            classes = [len(model.present) for model in models]
            joint = baseline.read(files, described["joint"], inputs, classes)
        model = cls(baseline, tasks, inputs, tuple(models), joint)
        model._try()
        return model

    def _try(self) -> None:
        """Refuse estimators of another kind than their tasks': that shows in a prediction."""
        found = self.predict(np.zeros((1, self.inputs)))
        for task, values in zip(self.tasks, found.values(), strict=True):
            if values.shape != (1, *task.in_table.prediction_shape()):
                raise DamagedError(f"the model of task {task.name!r} does not fit its kind")
            if not np.isfinite(values).all():
                raise DamagedError(f"the model of task {task.name!r} predicts what is no number")


def _read_tasks(entries: Sequence[Mapping[str, Any]]) -> tuple[Task, ...]:
    tasks = tuple(Task(entry["name"], entry["kind"], tuple(entry["classes"])) for entry in entries)
    if not tasks or len({task.name for task in tasks}) < len(tasks):
        raise DamagedError("its tasks are not distinct")
    if any(task.kind not in TABLE_KINDS for task in tasks):
        raise DamagedError("it has tasks of kinds that no baseline predicts")
    return tasks


def _file_name(name: str, more: int) -> str:
    """Return the name of a file of models with more inputs than those of a row."""
    return f"{more}-more-{name}" if more else name


def _read_estimators(
    baseline: TargetBaseline,
    entries: Sequence[Mapping[str, Any]],
    files: Mapping[str, bytes],
    inputs: int,
) -> dict[str, Any]:
    """Return the estimators in files by name, whatever inputs they have beside those of a row."""
    widths = {one["more"] for entry in entries for one in entry.get("problems") or ()}
    fitted: dict[str, Any] = {}
    for more in sorted({0, *widths}):
        if type(more) is not int or not 0 <= more <= _MOST_INPUTS:
            raise DamagedError("a problem of a task has no number of inputs")
        begins = _file_name("", more)
        own = {
            name.removeprefix(begins): data
            for name, data in files.items()
            if name.startswith(begins) and (more or "-more-" not in name)
        }
        fitted |= baseline.from_files(own, inputs + more)
    return fitted


def _read_problems(
    task: Task, entry: Mapping[str, Any], fitted: Mapping[str, Any], name: str
) -> _TaskModel:
    """Return the models of the plain problems of a task."""
    kind = task.in_table
    if kind.objective != "problems":
        raise DamagedError(f"task {task.name!r} is one problem")
    told = entry["problems"]
    if len(told) != 1 + max(index for index, _ in kind.plain_inputs()):
        raise DamagedError(f"task {task.name!r} has another number of problems")
    problems = tuple(
        ProblemModel.read(one, None if one["constant"] is not None else fitted[f"{name}-{index}"])
        for index, one in enumerate(told)
    )
    for index, beside in kind.plain_inputs():
        if problems[index].more != (0 if beside is None else len(beside)):
            raise DamagedError(f"a problem of task {task.name!r} has other inputs")
    return _TaskModel(None, np.zeros(0, dtype=np.int64), None, problems)


def _read_constant(task: Task, values: Sequence[float]) -> np.ndarray:
    constant = np.asarray(values, dtype=np.float64)
    wrong = task.in_table.check_constant(constant)
    if wrong is not None:
        raise DamagedError(f"the constant of task {task.name!r} {wrong}")
    return constant


def _check_present(task: Task, present: np.ndarray) -> None:
    """Refuse class indices that an estimator of the task can't know."""
    if task.has_classes != bool(len(present)) or present.ndim != 1:
        raise DamagedError(f"the classes of task {task.name!r} do not fit its kind")
    if len(present) and not (
        rising(present) and present[0] >= 0 and present[-1] < len(task.classes)
    ):
        raise DamagedError(f"task {task.name!r} has no such classes")


def fit_baseline(
    baseline: AnyBaseline,
    inputs: np.ndarray,
    labels: np.ndarray,
    tasks: Sequence[Task],
    seed: int,
    weights: np.ndarray | None = None,
    codes: Sequence[int] = (),
) -> BaselineModel:
    """Fit a baseline to each task by its labelled rows.

    A task whose labels, or whose inputs, are all the same gets a constant. Classes that the rows do
    not hold have probability 0, but for the constant, which counts each class once more than it
    occurs.

    Args:
        baseline: What `as_baseline` takes: one of one's own, an estimator, or a name, each with the
            defaults of its library: ``constant`` (mean, or the classes' shares); ``linear``
            (`RidgeCV` with 13 penalties from 1e-3 to 1e3, of counts `PoissonRegressor`, or
            `LogisticRegression`, on standardised inputs); ``random forest``, ``extra trees`` and
            ``gradient boosting`` (histogram gradient boosting) of scikit-learn; ``catboost``;
            ``lightgbm``; ``xgboost``; ``random forest joint`` and ``extra trees joint``, whose
            trees predict all tasks at once: numbers, which are standardised, or classes. There a
            missing label is filled with what a forest of its task alone predicts. Counts have the
            Poisson loss, but in forests the squared error, which gives their mean, too. Classes in
            an order are classes like others.
        inputs: Encoded features, of `baseline_encoder`.
        labels: NaN where a label is missing.
        tasks: Of the kinds that a table has, in the order of the columns of `labels`.
        seed: Seed of all random choices.
        weights: How much each label counts; default all the same. Baselines get them as their
            library's ``sample_weight``, of mean 1 over the target's labelled rows; one model of
            all targets gets the mean over a row's labels.
        codes: Which inputs are ordinal codes of ids, as the encoder's `code_places`: ``linear`` has
            means of the target in their place, trees split by them as by numbers.

    Shape:
        inputs: [n, d]. labels: [n, w], as `encode_targets` gives them. weights: [n, t].

    Raises:
        InvalidInputError: There is no such baseline, it can't predict the tasks, a task has no
            label, or there are weights and the baseline takes none.
        MissingDependencyError: The package of the baseline is not installed.
    """
    baseline = as_baseline(baseline).told_codes(codes)
    check_predicts(baseline, tasks)
    each = labels_of(labels, tasks)
    for task, own in zip(tasks, each, strict=True):
        if not task.in_table.known(own).any():
            raise InvalidInputError(
                f"task {task.name!r} has no label in the rows that baseline {baseline.name!r} is "
                "to be fitted to"
            )
    # shares are weights
    if weights is not None or any(task.in_table.cells == "shares" for task in tasks):
        baseline.check_weights()
    if isinstance(baseline, JointBaseline) and _alike(inputs):
        baseline = BASELINES[CONSTANT]
    with one_thread():
        if isinstance(baseline, JointBaseline):
            return _fit_joint(baseline, inputs, labels, tasks, seed, weights)
        assert isinstance(baseline, TargetBaseline), baseline
        models = []
        for index, (task, own) in enumerate(zip(tasks, each, strict=True)):
            rows = task.in_table.known(own)
            of_rows = None if weights is None else _even(weights[rows, index])
            models.append(_fit_task(baseline, inputs[rows], own[rows], task, seed, of_rows))
    return BaselineModel(baseline, tuple(tasks), inputs.shape[1], tuple(models))


def baseline_encoder(baseline: AnyBaseline) -> PlainEncoder:
    """Return the encoder of a baseline's inputs, not fitted."""
    return PlainEncoder(codes=not as_baseline(baseline).one_hot)


def _is_plain_model(baseline: Baseline, found: Any) -> bool:
    """Return whether a model is trees or lines, and is predicted with as such are."""
    if not isinstance(baseline, TargetBaseline):
        return False
    own = type(baseline).predict
    if own is not TargetBaseline.predict and not isinstance(baseline, Forest):
        return False
    if isinstance(found, (TreeEnsemble, SymmetricTrees)):
        return True
    arrays = found.to_arrays() if isinstance(found, Arrays) else {}
    # with means in the place of ids there are more
    return set(arrays) == {"mean", "scale", "coefficients", "intercept"}


def _counts(task: Task) -> bool:
    return task.in_table.objective == "poisson"


def _alike(inputs: np.ndarray) -> bool:
    return bool((inputs == inputs[0]).all())


def _fit_joint(
    baseline: JointBaseline,
    inputs: np.ndarray,
    labels: np.ndarray,
    tasks: Sequence[Task],
    seed: int,
    weights: np.ndarray | None,
) -> BaselineModel:
    codes = np.full(labels.shape, np.nan)
    models = []
    for index, task in enumerate(tasks):
        known = np.isfinite(labels[:, index])
        target = labels[known, index]
        codes[known, index] = target
        present = np.zeros(0, dtype=np.int64)
        if task.has_classes:
            found, codes[known, index] = np.unique(target, return_inverse=True)
            present = found.astype(np.int64)
        same = bool((target == target[0]).all())
        of_rows = None if weights is None else weights[known, index]
        constant = task.in_table.constant(target, of_rows) if same else None
        models.append(_TaskModel(constant, present, None))
    classes = [len(model.present) for model in models]
    labelled = np.isfinite(labels)
    of_rows = None
    if weights is not None:
        counted = np.stack(
            [of_mean_one(weights[:, i], labelled[:, i]) for i in range(len(tasks))], axis=1
        )
        with np.errstate(invalid="ignore"):
            means = np.where(labelled, counted, 0).sum(1) / labelled.sum(1)
        of_rows = _even(np.nan_to_num(means, nan=1.0))
    joint = baseline.fit(inputs, codes, classes, seed, **_weighted(of_rows))
    return BaselineModel(baseline, tuple(tasks), inputs.shape[1], tuple(models), joint)


def predict_with_baseline(
    baseline: AnyBaseline,
    inputs: np.ndarray,
    labels: np.ndarray,
    test_inputs: np.ndarray,
    tasks: Sequence[Task],
    seed: int,
    weights: np.ndarray | None = None,
    codes: Sequence[int] = (),
) -> dict[str, np.ndarray]:
    """Fit a baseline as `fit_baseline` and predict the test rows.

    Shape:
        inputs: [n, d]. labels, weights: [n, t]. test_inputs: [m, d]. returns: as
        `TableModel.predict`, m rows.
    """
    model = fit_baseline(baseline, inputs, labels, tasks, seed, weights, codes)
    return model.predict(test_inputs)


def _even(weights: np.ndarray) -> np.ndarray | None:
    """Return weights of mean 1, None where all are equal."""
    if (weights == weights[0]).all():
        return None
    return of_mean_one(weights, np.ones(len(weights), dtype=bool))


def _weighted(weights: np.ndarray | None) -> dict[str, Any]:
    """Return the weights as an argument; none is named where there are none."""
    return {} if weights is None else {"weights": weights}


def _fit_task(
    baseline: TargetBaseline,
    inputs: np.ndarray,
    target: np.ndarray,
    task: Task,
    seed: int,
    weights: np.ndarray | None,
) -> _TaskModel:
    nothing = np.zeros(0, dtype=np.int64)
    if task.in_table.objective == "problems":
        numbers = target.astype(np.float64)
        if problems := fit_problems(baseline, inputs, numbers, task, seed, weights):
            return _TaskModel(None, nothing, None, problems)
        return _TaskModel(task.in_table.constant(numbers, weights), nothing, None)
    present, codes = np.unique(target, return_inverse=True)
    known = present.astype(np.int64) if task.has_classes else nothing
    estimator = None
    if len(present) > 1 and not _alike(inputs):
        if _counts(task):
            numbers = target.astype(np.float64)
            estimator = baseline.fit_counts(inputs, numbers, seed, **_weighted(weights))
        else:
            wanted = codes if task.has_classes else target.astype(np.float64)
            estimator = baseline.fit(inputs, wanted, len(known), seed, **_weighted(weights))
    if estimator is None:
        constant = task.in_table.constant(target, weights)
        return _TaskModel(constant, nothing, None)
    return _TaskModel(None, known, estimator)


def stored_baseline(name: object, factories: Mapping[str, Any]) -> Baseline:
    """Return the baseline that files name; code is imported of installed packages only.

    Raises:
        MissingFactoryError: It is none of theirs, nor among the factories.
    """
    if not isinstance(name, str):
        raise DamagedError("its name is no text")
    if name in BASELINE_NAMES:
        return BASELINE_NAMES.get(name)
    own = factories.get(name, factories.get(name.partition(":")[2]))
    if own is None:
        raise MissingFactoryError(
            f"the model has the baseline {name!r}, and a bundle runs no code: install the package "
            "that brings it, or, if you trust it, give it as a factory"
        )
    return as_baseline(own, name)


def _is_plain(name: str) -> bool:
    """Whether a file lies in the folder itself."""
    if Path(name).name != name:
        raise DamagedError(f"it names a file outside of the folder, {name!r}")
    return True
