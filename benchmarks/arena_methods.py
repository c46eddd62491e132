"""The methods of the arena: each by its own library at its defaults, fed as its users would.

A method fits the rows that have a label of each target. One that predicts all targets at once, and
can't take missing labels, has no result on tables where labels are missing; nor has one on tables
with kinds of targets that it has no way to predict. `Method.why_not` says so.

Inputs: linear models get numbers with the median for what is missing, an indicator of it, and a
standard deviation of 1, and categories as one column each; so do chains. Forests get numbers with
their gaps and categories by number. LightGBM, CatBoost, the networks of pytabkit, AutoGluon and
jointrain get numbers with gaps and categories as such. What takes groups gets those of the table.
All run on one thread. `jointrain networks` and `jointrain separate` are parts of jointrain: its
networks alone, with all targets or one target each.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import polars as pl
from arena_scores import errors
from arena_tables import NUMBERS, ArenaTable

BUDGET = 60.0
"""Seconds of methods that take a budget."""

INNER_FOLDS = 5
"""Of stacked targets: each row's first predictions come from models without it."""


@dataclass(frozen=True)
class Task:
    """What a method is given: a fold of a table.

    Args:
        table: The table; only its kinds are looked at here.
        features, targets: Of the training rows.
        test: Features of the rows to predict.
        groups: Of the training rows, as in `ArenaTable`.
        seed: Seed.
        budget: Seconds, of methods that take a budget.
    """

    table: ArenaTable
    features: pl.DataFrame
    targets: pl.DataFrame
    test: pl.DataFrame
    groups: np.ndarray | None = None
    seed: int = 0
    budget: float = BUDGET

    @classmethod
    def of(cls, table: ArenaTable, fold: int, budget: float = BUDGET) -> Task:
        """Return the task of a fold."""
        train, test = table.folds()[fold]
        groups = None if table.groups is None else table.groups[train]
        return cls(
            table,
            table.features[train],
            table.targets[train],
            table.features[test],
            groups,
            fold,
            budget,
        )

    @property
    def kinds(self) -> Mapping[str, str]:
        """Kind of each target."""
        return self.table.kinds

    def known(self, name: str) -> np.ndarray:
        """Return the training rows with a label of a target."""
        return np.flatnonzero(self.targets[name].is_not_null().to_numpy())

    def labels(self, name: str) -> np.ndarray:
        """Return a target's labels, of the rows that have one: floats, or numbers of classes."""
        column = self.targets[name].drop_nulls()
        if self.kinds[name] in NUMBERS:
            return column.to_numpy()
        place = {label: index for index, label in enumerate(self.classes(name))}
        return np.array([place[label] for label in column])

    def classes(self, name: str) -> list[Any]:
        """Return the classes of the training rows, in their order."""
        return sorted(self.targets[name].drop_nulls().unique().to_list())

    # --- inputs -----------------------------------------------------------------------------------

    @cached_property
    def linear(self) -> tuple[np.ndarray, np.ndarray]:
        """Training and test inputs of linear models."""
        from sklearn.compose import make_column_transformer
        from sklearn.impute import SimpleImputer
        from sklearn.pipeline import make_pipeline
        from sklearn.preprocessing import OneHotEncoder, StandardScaler

        numbers, texts = self._by_type
        encoder = make_column_transformer(
            (
                make_pipeline(
                    SimpleImputer(strategy="median", add_indicator=True), StandardScaler()
                ),
                numbers,
            ),
            (OneHotEncoder(handle_unknown="infrequent_if_exist", sparse_output=False), texts),
        )
        train, test = (_pandas(frame, missing="missing") for frame in (self.features, self.test))
        return encoder.fit_transform(train), encoder.transform(test)

    @cached_property
    def trees(self) -> tuple[np.ndarray, np.ndarray]:
        """Training and test inputs of forests."""
        from sklearn.compose import make_column_transformer
        from sklearn.preprocessing import OrdinalEncoder

        numbers, texts = self._by_type
        ordinal = OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1)
        encoder = make_column_transformer(("passthrough", numbers), (ordinal, texts))
        train, test = (_pandas(frame, missing="missing") for frame in (self.features, self.test))
        found = encoder.fit_transform(train), encoder.transform(test)
        return found[0].astype(np.float32), found[1].astype(np.float32)

    @cached_property
    def categories(self) -> tuple[Any, Any]:
        """Training and test inputs as frames of pandas, with text as categories."""
        import pandas as pd

        train, test = _pandas(self.features), _pandas(self.test)
        for name in self._by_type[1]:
            known = pd.CategoricalDtype(sorted(self.features[name].drop_nulls().unique()))
            for frame in (train, test):  # a new one in the test rows is a gap
                frame[name] = pd.Categorical(
                    frame[name].where(frame[name].isin(known.categories)), dtype=known
                )
        # LightGBM refuses some signs in names
        names = [f"x{index}" for index in range(train.shape[1])]
        return train.set_axis(names, axis=1), test.set_axis(names, axis=1)

    @property
    def _by_type(self) -> tuple[list[str], list[str]]:
        texts = [c.name for c in self.features if c.dtype == pl.String]
        return [c for c in self.features.columns if c not in texts], texts


def _pandas(frame: pl.DataFrame, missing: str | None = None) -> Any:
    """Return a frame of pandas; missing text is `missing`."""
    import pandas as pd

    return pd.DataFrame(
        {
            column.name: np.array(
                column.fill_null(missing).to_list() if missing else column.to_list(), dtype=object
            )
            if column.dtype == pl.String
            else column.fill_null(np.nan).to_numpy()
            for column in frame
        }
    )


Predictions = dict[str, Any]
"""By target: values [m]; or probabilities [m, c] and the classes."""


# --- each target alone ----------------------------------------------------------------------------


def _alone(
    task: Task, make: Callable[[bool], Any], inputs: tuple[Any, Any], **fit: Any
) -> Predictions:
    """Fit a model for each target to its labelled rows.

    Args:
        task: What to fit to.
        make: Gives a model of scikit-learn's interface: for classes, or for numbers.
        inputs: Of training and test rows.
        **fit: Further arguments of `fit`.
    """
    found: Predictions = {}
    for name, kind in task.kinds.items():
        rows, labels = task.known(name), task.labels(name)
        train = inputs[0].iloc[rows] if hasattr(inputs[0], "iloc") else inputs[0][rows]
        classes = task.classes(name)
        if len(classes) == 1:
            constant = labels[0] if kind in NUMBERS else 1.0
            column = np.full(len(task.test), constant)
            found[name] = column if kind in NUMBERS else (column[:, None], classes)
            continue
        model = make(kind not in NUMBERS).fit(train, labels, **fit)
        if kind in NUMBERS:
            found[name] = np.asarray(model.predict(inputs[1])).reshape(-1)
        else:
            found[name] = (np.asarray(model.predict_proba(inputs[1])), classes)
    return found


def ridge(task: Task) -> Predictions:
    from sklearn.linear_model import LogisticRegression, RidgeCV

    return _alone(
        task,
        lambda classes: LogisticRegression(max_iter=1000) if classes else RidgeCV(),
        task.linear,
    )


def forest(kind: str) -> Callable[[Task], Predictions]:
    def fit(task: Task) -> Predictions:
        from sklearn import ensemble

        def make(classes: bool) -> Any:
            name = kind + ("Classifier" if classes else "Regressor")
            return getattr(ensemble, name)(random_state=task.seed)

        return _alone(task, make, task.trees)

    return fit


def lightgbm(task: Task) -> Predictions:
    from lightgbm import LGBMClassifier, LGBMRegressor

    def make(classes: bool) -> Any:
        cls = LGBMClassifier if classes else LGBMRegressor
        return cls(random_state=task.seed, n_jobs=1, verbose=-1)

    return _alone(task, make, task.categories)


def _catboost_inputs(task: Task) -> tuple[Any, Any, list[str]]:
    _, texts = task._by_type
    return _pandas(task.features, missing="missing"), _pandas(task.test, missing="missing"), texts


def catboost(task: Task) -> Predictions:
    from catboost import CatBoostClassifier, CatBoostRegressor

    train, test, texts = _catboost_inputs(task)

    def make(classes: bool) -> Any:
        cls = CatBoostClassifier if classes else CatBoostRegressor
        return cls(
            random_seed=task.seed,
            thread_count=1,
            verbose=False,
            allow_writing_files=False,
            cat_features=texts,
        )

    return _alone(task, make, (train, test))


# --- all targets at once --------------------------------------------------------------------------


def _matrix(task: Task) -> np.ndarray:
    return np.stack([task.labels(name) for name in task.kinds], axis=1)


def _columns(task: Task, values: np.ndarray) -> Predictions:
    return {name: values[:, index] for index, name in enumerate(task.kinds)}


def partial_least_squares(task: Task) -> Predictions:
    from sklearn.cross_decomposition import PLSRegression

    train, test = task.linear
    model = PLSRegression(n_components=min(2, train.shape[1])).fit(train, _matrix(task))
    return _columns(task, np.asarray(model.predict(test)).reshape(len(test), -1))


def joint_forest(kind: str) -> Callable[[Task], Predictions]:
    """Numbers are standardised, or the target of the largest unit would choose all splits."""

    def fit(task: Task) -> Predictions:
        from sklearn import ensemble

        labels, (train, test) = _matrix(task), task.trees
        if set(task.kinds.values()) <= {*NUMBERS}:
            mean, deviation = labels.mean(0), labels.std(0)
            deviation[deviation == 0] = 1
            model = getattr(ensemble, kind + "Regressor")(random_state=task.seed)
            found = model.fit(train, (labels - mean) / deviation).predict(test)
            return _columns(task, found * deviation + mean)
        model = getattr(ensemble, kind + "Classifier")(random_state=task.seed)
        probabilities = model.fit(train, labels).predict_proba(test)
        return {
            name: (p, task.classes(name)) for name, p in zip(task.kinds, probabilities, strict=True)
        }

    return fit


def joint_catboost(task: Task) -> Predictions:
    from catboost import CatBoostClassifier, CatBoostRegressor

    train, test, texts = _catboost_inputs(task)
    settings = {
        "random_seed": task.seed, "thread_count": 1, "verbose": False,
        "allow_writing_files": False, "cat_features": texts,
    }  # fmt: skip
    labels = _matrix(task)
    if set(task.kinds.values()) <= {*NUMBERS}:
        # in standard deviations: the loss is a sum over targets
        mean, deviation = labels.mean(0), np.maximum(labels.std(0), 1e-12)
        model = CatBoostRegressor(loss_function="MultiRMSE", **settings)
        model.fit(train, (labels - mean) / deviation)
        return _columns(task, model.predict(test) * deviation + mean)
    model = CatBoostClassifier(loss_function="MultiLogloss", **settings).fit(train, labels)
    p = model.predict_proba(test)
    return {
        name: (np.stack([1 - p[:, index], p[:, index]], axis=1), task.classes(name))
        for index, name in enumerate(task.kinds)
    }


def chains(task: Task) -> Predictions:
    """Ten chains of random order over bagged trees, averaged: the ensemble of Spyromitros-Xioufis.

    Source: "Multi-target regression via input space expansion: treating targets as inputs", Machine
        Learning 104, 2016: ERC, with the true targets in training. Chains of classes: Read et al.,
        "Classifier chains for multi-label classification", Machine Learning 85, 2011.
    """
    from sklearn.ensemble import RandomForestClassifier, RandomForestRegressor
    from sklearn.multioutput import ClassifierChain, RegressorChain

    labels, (train, test) = _matrix(task), task.linear  # chains take no gaps
    numbers = set(task.kinds.values()) <= {*NUMBERS}
    total: Any = 0.0
    for chain in range(10):
        seed = 10 * task.seed + chain
        if numbers:
            base = RandomForestRegressor(random_state=seed)  # its default: bagged trees
            model = RegressorChain(base, order="random", random_state=seed)
            total = total + model.fit(train, labels).predict(test) / 10
        else:
            base = RandomForestClassifier(random_state=seed)
            model = ClassifierChain(base, order="random", random_state=seed)
            total = total + model.fit(train, labels).predict_proba(test) / 10
    if numbers:
        return _columns(task, total)
    return {
        name: (np.stack([1 - total[:, i], total[:, i]], axis=1), task.classes(name))
        for i, name in enumerate(task.kinds)
    }


def stacked_targets(task: Task) -> Predictions:
    """Predict all targets, then each from the features and these predictions.

    Those of training rows come from models that were fitted without them.

    Source: stacked single-target of the same paper, its variant with cross-validation; bagged trees
        as there.
    """
    from sklearn.ensemble import RandomForestClassifier, RandomForestRegressor
    from sklearn.model_selection import KFold

    train, test = task.trees

    def model(name: str) -> Any:
        cls = RandomForestRegressor if task.kinds[name] in NUMBERS else RandomForestClassifier
        return cls(random_state=task.seed)

    def values(fitted: Any, name: str, rows: np.ndarray) -> np.ndarray:
        if task.kinds[name] in NUMBERS:
            return fitted.predict(rows)[:, None]
        found = np.zeros((len(rows), len(task.classes(name))))
        found[:, fitted.classes_] = fitted.predict_proba(rows)
        return found

    of_train, of_test = [train], [test]
    for name in task.kinds:
        known, labels = task.known(name), task.labels(name)
        whole = model(name).fit(train[known], labels)
        first = values(whole, name, train)
        splits = KFold(INNER_FOLDS, shuffle=True, random_state=task.seed).split(known)
        for part, left in splits:
            fitted = model(name).fit(train[known[part]], labels[part])
            first[known[left]] = values(fitted, name, train[known[left]])
        of_train.append(first)
        of_test.append(values(whole, name, test))
    inputs = np.hstack(of_train), np.hstack(of_test)

    def make(classes: bool) -> Any:
        return (RandomForestClassifier if classes else RandomForestRegressor)(
            random_state=task.seed
        )

    return _alone(task, make, inputs)


# --- jointrain ------------------------------------------------------------------------------------


def jointrain_estimator(**settings: Any) -> Callable[[Task], Predictions]:
    """`JointRegressor` or `JointClassifier`; of targets of several kinds `JointEstimator`."""

    def fit(task: Task) -> Predictions:
        from jointrain import JointClassifier, JointEstimator, JointRegressor

        settings["random_state"] = task.seed
        classes = [kind not in NUMBERS for kind in task.kinds.values()]
        if not any(classes):
            labels = np.stack(
                [task.targets[name].fill_null(np.nan).to_numpy() for name in task.kinds], axis=1
            )
            model = JointRegressor(**settings).fit(task.features, labels, groups=task.groups)
            return _columns(task, model.predict(task.test))
        if all(classes):
            model = JointClassifier(**settings)
            model.fit(task.features, task.targets, groups=task.groups)
            return {
                name: (p, list(known))
                for name, p, known in zip(
                    task.kinds, model.predict_proba(task.test), model.classes_, strict=True
                )
            }
        model = JointEstimator(dict(task.kinds), **settings)
        model.fit(task.features, task.targets, groups=task.groups)
        predicted, probabilities = model.predict(task.test), model.predict_proba(task.test)
        return {
            name: predicted[name].to_numpy()
            if kind in NUMBERS
            else (probabilities[name], list(model.classes_[name]))
            for name, kind in task.kinds.items()
        }

    return fit


COVERAGE = 0.9
"""Which share of the true values the intervals are to hold."""


@dataclass(frozen=True)
class Promising:
    """A fitted model, with what its user was promised of it.

    Args:
        predictions: Of the test rows.
        intervals: By target of numbers that has them: [m, 2], which are to hold `COVERAGE`.
        held_out: By target of numbers that has them: how many errors its intervals come from.
        chosen: The one recipe or baseline that the inner folds find best over all targets.
        predict_chosen: Fits it to all training rows, and predicts the test rows.
        by_component: Predictions of it as it is in the model, where it has all targets; it may have
            had less time there than alone.
    """

    predictions: Predictions
    intervals: Mapping[str, np.ndarray]
    held_out: Mapping[str, int]
    chosen: str
    predict_chosen: Callable[[], Predictions]
    by_component: Predictions = field(default_factory=dict)


def jointrain_compare(task: Task) -> Predictions:
    """The model that ``jointrain compare --budget 60s`` saves, by the steps of that command."""
    return promising_compare(task).predictions


def promising_compare(task: Task) -> Promising:
    """As `jointrain_compare`, with the intervals and what inner folds would choose in its place."""
    from jointrain import Study, default_recipes, fit_shipped, run_within_budget
    from jointrain.baselines import FIRST_BASELINES
    from jointrain.studies import rows_to_fit

    started = time.monotonic()
    table = _supervised(task)
    study = Study(table, default_recipes(), FIRST_BASELINES)
    result = run_within_budget(study, task.budget, workers=1, started=started)
    spent = time.monotonic() - started
    seconds = max(0.7 * (task.budget - 2 - spent), 1.0)
    until = started + max(task.budget, spent + 2)

    def fit(of: Any, until: float | None) -> Any:
        # a study may have had a sample of the rows
        sampled = len(of.study.table.frame) < len(table.frame)
        rows = rows_to_fit(of, table, seconds, 1) if sampled else None
        return fit_shipped(of, device="cpu", workers=1, seconds=seconds, until=until, table=rows)

    model = fit(result, until)
    chosen = inner_choice(result, task.kinds)

    def predict_chosen() -> Predictions:
        # the same fit, of one component that predicts all targets; nothing ends it
        alone = result.with_weights({name: {chosen: 1.0} for name in task.kinds})
        return _of_model(task, fit(alone, None))

    residuals = model.calibration.residuals
    return Promising(
        _of_model(task, model),
        model.predict_interval(task.test, COVERAGE) if residuals else {},
        {name: one.rows for name, one in residuals.items()},
        chosen,
        predict_chosen,
        _of_component(task, model, chosen),
    )


def inner_choice(result: Any, kinds: Mapping[str, str]) -> str:
    """Return the recipe or baseline with the lowest mean error over targets on held-out rows.

    Errors are those of the arena, over the rows that all were measured on; of equals, the first.

    Args:
        result: A `StudyResult` with its predictions.
        kinds: Kind of each target.
    """
    table = result.study.table
    names: list[str] = result.components
    seeds = set.intersection(
        *({seed for of, seed, _ in result.fold_results if of == name} for name in names)
    )
    given = {name: result.held_out_predictions(name, seeds) for name in names}
    scores = dict.fromkeys(names, 0.0)
    for index, target in enumerate(kinds):
        assert table.tasks[index].name == target
        values = table.labels()[:, index]
        rows = np.isfinite(values)
        for one in given.values():
            rows &= np.isfinite(one[target].reshape(len(rows), -1)).all(1)
        labels = values[rows].tolist()
        for name, one in given.items():
            found: Any = one[target][rows]
            if kinds[target] not in NUMBERS:
                found = np.stack([1 - found, found], axis=1) if found.ndim == 1 else found
                found = (found, list(range(found.shape[1])))
            of_kind = {target: kinds[target]}
            error = errors({target: found}, of_kind, {target: labels}, {target: labels})[target]
            scores[name] += 0.0 if error is None else error
    return min(names, key=lambda name: scores[name])


def _supervised(task: Task) -> Any:
    """Return the training rows as jointrain reads a table, with roles for groups and time."""
    from jointrain import SupervisedTable

    frame = pl.concat([task.features, task.targets], how="horizontal")
    roles: dict[str, Any] = {}
    if task.groups is not None:
        frame = frame.with_columns(pl.Series("arena groups", task.groups))
        roles["group_column"] = "arena groups"
    if task.table.ordered:
        frame = frame.with_columns(pl.Series("arena order", np.arange(len(frame))))
        roles["time_column"] = "arena order"
    return SupervisedTable.prepare(frame, list(task.kinds), kinds=task.kinds, **roles)


def _of_component(task: Task, model: Any, name: str) -> Predictions:
    """Return what a component predicts; nothing where it isn't there for all targets."""
    from jointrain.tables import BlendedModel

    component = model.components.get(name) if isinstance(model, BlendedModel) else None
    if component is None:
        return {}
    tasks = getattr(component, "predicted_tasks", component.tasks)
    if {one.name for one in tasks} != {*task.kinds}:
        return {}
    return _of_values(task, component.predict(model.conformed(task.test)), tasks)


def _of_model(task: Task, model: Any) -> Predictions:
    return _of_values(task, model.predict(task.test), model.predicted_tasks)


def _of_values(task: Task, predicted: Mapping[str, Any], tasks: Iterable[Any]) -> Predictions:
    classes = {one.name: one.classes for one in tasks}
    found: Predictions = {}
    for name, kind in task.kinds.items():
        values = np.asarray(predicted[name])
        if kind in NUMBERS:
            found[name] = values
            continue
        if values.ndim == 1:
            values = np.stack([1 - values, values], axis=1)
        known = classes[name]
        if kind != "ordinal":  # labels may have been read as numbers
            known = [str(label) for label in known]
        found[name] = (values, list(known))
    return found


# --- heavy methods, in an environment of their own ------------------------------------------------


def _pytabkit(name: str) -> Callable[[Task], Predictions]:
    def fit(task: Task) -> Predictions:
        import pytabkit

        def make(classes: bool) -> Any:
            cls = getattr(pytabkit, f"{name}_{'Classifier' if classes else 'Regressor'}")
            return cls(device="cpu", random_state=task.seed, n_threads=1)

        return _alone(task, make, task.categories)

    return fit


def autogluon(task: Task) -> Predictions:
    """A predictor of best quality for each target, which share the budget."""
    import tempfile

    from autogluon.tabular import TabularDataset, TabularPredictor

    train, test = task.categories
    found: Predictions = {}
    for name, kind in task.kinds.items():
        rows, numbers = task.known(name), kind in NUMBERS
        classes = task.classes(name)
        if len(classes) == 1:
            column = np.full(len(test), task.labels(name)[0] if numbers else 1.0)
            found[name] = column if numbers else (column[:, None], classes)
            continue
        data = TabularDataset(train.iloc[rows].assign(target=task.labels(name)))
        problem = "regression" if numbers else "binary" if len(classes) == 2 else "multiclass"
        with tempfile.TemporaryDirectory() as folder:
            predictor = TabularPredictor(
                "target",
                problem_type=problem,
                path=folder,
                verbosity=0,
                eval_metric="rmse" if numbers else "log_loss",
            ).fit(
                data,
                presets="best_quality",
                time_limit=task.budget / len(task.kinds),
                num_cpus=1,
                num_gpus=0,
            )
            if numbers:
                found[name] = predictor.predict(test).to_numpy()
            else:
                p = predictor.predict_proba(test)
                found[name] = (p.to_numpy(), [classes[int(label)] for label in p.columns])
    return found


# --- the list -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Method:
    """A method of the arena.

    Args:
        fit: Fits a task and predicts its test rows.
        libraries: What it imports; loaded before the clock starts.
        at_once: Whether it predicts all targets at once, so that all rows need all labels.
        only: Kinds of targets that it can predict: all alike of one of these families.
        budget: Whether it takes a budget of `BUDGET` seconds; it may then take half as long again.
        heavy: Whether it runs on the twelve tables of `HEAVY` only, by an interpreter of its own.
        promising: As `fit`, of a method whose promises are kept, too.
    """

    fit: Callable[[Task], Predictions]
    libraries: tuple[str, ...]
    at_once: bool = False
    only: tuple[str, ...] = ()
    budget: bool = False
    heavy: bool = False
    promising: Callable[[Task], Promising] | None = None

    def why_not(self, table: ArenaTable) -> str | None:
        """Return why it has no result on a table; None if it has."""
        missing = any(column.null_count() for column in table.targets)
        if self.at_once and missing:
            return "labels are missing"
        if self.only and family(table) not in self.only:
            return f"targets are {family(table)}"
        return None


def family(table: ArenaTable) -> str:
    """Return what kinds a table's targets are of: numbers, binary, classes or mixed."""
    kinds = {*table.kinds.values()}
    if kinds <= {*NUMBERS}:
        return "numbers"
    if kinds == {"binary"}:
        return "binary"
    return "mixed" if kinds & {*NUMBERS} else "classes"


_FOREST, _BOOST = ("sklearn.ensemble", "pandas"), ("pandas",)
_OURS = ("jointrain.estimators", "jointrain.tables")
ONE_KIND = ("numbers", "binary", "classes")

METHODS: dict[str, Method] = {
    "jointrain": Method(jointrain_estimator(), _OURS),
    "jointrain networks": Method(jointrain_estimator(components="network"), _OURS),
    "jointrain separate": Method(
        jointrain_estimator(components="network", schedule="separate"), _OURS
    ),
    "jointrain compare": Method(
        jointrain_compare,
        ("jointrain.studies", "jointrain.baselines"),
        budget=True,
        promising=promising_compare,
    ),
    "ridge": Method(ridge, ("sklearn.linear_model", "pandas")),
    "PLS": Method(
        partial_least_squares,
        ("sklearn.cross_decomposition", "pandas"),
        at_once=True,
        only=("numbers",),
    ),
    "random forest": Method(forest("RandomForest"), _FOREST),
    "random forest joint": Method(
        joint_forest("RandomForest"), _FOREST, at_once=True, only=ONE_KIND
    ),
    "extra trees": Method(forest("ExtraTrees"), _FOREST),
    "extra trees joint": Method(joint_forest("ExtraTrees"), _FOREST, at_once=True, only=ONE_KIND),
    "LightGBM": Method(lightgbm, ("lightgbm", *_BOOST)),
    "CatBoost": Method(catboost, ("catboost", *_BOOST)),
    "CatBoost joint": Method(
        joint_catboost, ("catboost", *_BOOST), at_once=True, only=("numbers", "binary")
    ),
    "chains": Method(
        chains, ("sklearn.multioutput", *_FOREST), at_once=True, only=("numbers", "binary")
    ),
    "stacked targets": Method(stacked_targets, _FOREST),
    "RealMLP": Method(_pytabkit("RealMLP_TD"), ("pytabkit",), heavy=True),
    "TabM": Method(_pytabkit("TabM_D"), ("pytabkit",), heavy=True),
    "AutoGluon": Method(autogluon, ("autogluon.tabular",), budget=True, heavy=True),
}


def predict(method: Method, task: Task) -> Predictions | Promising:
    """Fit and predict, without warnings; with promises where the method has them."""
    warnings.filterwarnings("ignore")
    return method.fit(task) if method.promising is None else method.promising(task)
