"""The estimators behind the baselines: how each is fitted, asked, written and read."""

from __future__ import annotations

import tempfile
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from jointrain.data import _skops_file
from jointrain.data._skops_file import DamagedError
from jointrain.errors import MissingDependencyError

_SKOPS = "baseline.skops"


def one_thread() -> AbstractContextManager[Any]:
    """Keep numerical libraries to one thread: same bits everywhere, and folds run in processes."""
    from threadpoolctl import threadpool_limits

    limits: AbstractContextManager[Any] = threadpool_limits(1)
    return limits


class Estimator(ABC):
    """One kind of model of one target. Classes are numbered from 0; `classes` 0 is regression."""

    @abstractmethod
    def fit(self, inputs: np.ndarray, target: np.ndarray, classes: int, seed: int) -> Any:
        """Return a fitted model; the target takes at least two values.

        Shape:
            inputs: [n, d]. target: [n].
        """

    @abstractmethod
    def predict(self, model: Any, inputs: np.ndarray, classes: int) -> np.ndarray:
        """Return values [m], or probabilities [m, classes]."""

    @abstractmethod
    def to_files(self, models: Mapping[str, Any]) -> dict[str, bytes]:
        """Return named models as named files."""

    @abstractmethod
    def from_files(self, files: Mapping[str, bytes], inputs: int) -> dict[str, Any]:
        """Return the models in files, fitted to a number of inputs.

        Raises:
            DamagedError: The files hold something else.
        """


class _ScikitLearn(Estimator):
    """scikit-learn's models, through skops, of the types that they consist of and no other."""

    types: tuple[str, ...]
    """The classes of scikit-learn of which the models consist, without ``sklearn.``."""

    @abstractmethod
    def make(self, rows: int, classes: int, seed: int) -> Any:
        """Return the estimator, not fitted."""

    def fit(self, inputs: np.ndarray, target: np.ndarray, classes: int, seed: int) -> Any:
        model = self.make(len(inputs), classes, seed)
        return model.fit(inputs.astype(np.float64), target)

    def predict(self, model: Any, inputs: np.ndarray, classes: int) -> np.ndarray:
        inputs = inputs.astype(np.float64)
        return np.asarray(model.predict_proba(inputs) if classes else model.predict(inputs))

    def to_files(self, models: Mapping[str, Any]) -> dict[str, bytes]:
        return {_SKOPS: _skops_file.to_bytes(dict(models))}

    def from_files(self, files: Mapping[str, bytes], inputs: int) -> dict[str, Any]:
        loaders = _PLAIN_LOADERS | {f"sklearn.{name}": _CLASS_LOADERS for name in self.types}
        models = _skops_file.from_bytes(files[_SKOPS], loaders)
        if not isinstance(models, dict):
            raise DamagedError("it holds no models")
        for model in models.values():
            steps = model if isinstance(model, list) else [model]
            if any(step.n_features_in_ != inputs for step in steps):
                raise DamagedError("its models have another number of inputs")
            self.check(model, inputs)
        return models

    def check(self, model: Any, inputs: int) -> None:
        """Refuse a model whose prediction would read outside of its arrays."""


_PLAIN_LOADERS = {
    "builtins.dict": ("DictNode",),
    "builtins.list": ("ListNode",),
    "builtins.tuple": ("TupleNode",),
    "builtins.str": ("JsonNode", "TypeNode"),
    "numpy.ndarray": ("NdArrayNode",),
    "numpy.float32": ("NdArrayNode",),
    "numpy.float64": ("NdArrayNode",),
    "numpy.int64": ("NdArrayNode",),
    "numpy.uint64": ("NdArrayNode",),
    "numpy.random._generator.Generator": ("RandomGeneratorNode",),
}
_CLASS_LOADERS = ("ObjectNode", "LossNode")


class _Linear(_ScikitLearn):
    """A scaler and a line, as a list: a pipeline's file would depend on what its parts share."""

    types = (
        "preprocessing._data.StandardScaler",
        "linear_model._ridge.RidgeCV",
        "linear_model._logistic.LogisticRegression",
    )

    def make(self, rows: int, classes: int, seed: int) -> Any:  # noqa: ARG002
        from sklearn.linear_model import LogisticRegression, RidgeCV

        if classes:
            return LogisticRegression(max_iter=1000)
        return RidgeCV(np.logspace(-3, 3, 13))

    def fit(self, inputs: np.ndarray, target: np.ndarray, classes: int, seed: int) -> Any:
        from sklearn.preprocessing import StandardScaler

        scaler = StandardScaler().fit(inputs.astype(np.float64))
        return [scaler, super().fit(scaler.transform(inputs), target, classes, seed)]

    def predict(self, model: Any, inputs: np.ndarray, classes: int) -> np.ndarray:
        if isinstance(model, list):
            scaler, line = model
            return super().predict(line, scaler.transform(inputs.astype(np.float64)), classes)
        return super().predict(model, inputs, classes)  # of a bundle of version 0.1

    def check(self, model: Any, inputs: int) -> None:
        line = model
        if isinstance(model, list):
            scaler, line = model
            if scaler.mean_.shape != (inputs,) or scaler.scale_.shape != (inputs,):
                raise DamagedError("its scales have another number of inputs")
        if line.coef_.shape[-1] != inputs:
            raise DamagedError("its coefficients have another number of inputs")


class Forest(Estimator):
    """Forests of scikit-learn; what is kept and written of them is the nodes of their trees.

    Args:
        kind: ``RandomForest`` or ``ExtraTrees``.
    """

    def __init__(self, kind: str) -> None:
        self._kind = kind

    def fit(self, inputs: np.ndarray, target: np.ndarray, classes: int, seed: int) -> Any:
        """Return the trees of a forest; `target` may also be [n, t], of one kind."""
        from sklearn import ensemble

        forest = getattr(ensemble, self._kind + ("Classifier" if classes else "Regressor"))(
            n_estimators=TREES, random_state=seed
        )
        return [member.tree_ for member in forest.fit(inputs, target).estimators_]

    def predict(self, model: Any, inputs: np.ndarray, classes: int) -> np.ndarray:
        total = mean_of_trees(model, inputs)[:, 0, : max(classes, 1)]
        return total if classes else total[:, 0]

    def to_files(self, models: Mapping[str, Any]) -> dict[str, bytes]:
        arrays = {}
        for name, trees in models.items():
            states = [tree.__getstate__() for tree in trees]
            nodes = np.concatenate([state["nodes"] for state in states])
            for field in ("impurity", "n_node_samples", "weighted_n_node_samples"):
                nodes[field] = 0  # of no use in prediction, and zeros are packed to nothing
            arrays[f"{name}.nodes"] = nodes
            arrays[f"{name}.values"] = np.concatenate([state["values"] for state in states])
            arrays[f"{name}.counts"] = np.array([tree.node_count for tree in trees])
            arrays[f"{name}.depths"] = np.array([tree.max_depth for tree in trees])
        return {_SKOPS: _skops_file.to_bytes(arrays)}

    def from_files(self, files: Mapping[str, bytes], inputs: int) -> dict[str, Any]:
        return self.read(files, inputs)

    def read(
        self, files: Mapping[str, bytes], inputs: int, outputs: Sequence[int] | None = None
    ) -> dict[str, Any]:
        """Return the models in files, as `from_files`.

        Args:
            files: What `to_files` made.
            inputs: Number of inputs that they were fitted to.
            outputs: Number of classes of each output; None for a single output, of any number.
        """
        arrays = _skops_file.from_bytes(files[_SKOPS], _PLAIN_LOADERS)
        names = {name.partition(".")[0] for name in arrays}
        return {
            name: _trees(
                arrays[f"{name}.nodes"],
                arrays[f"{name}.values"],
                arrays[f"{name}.counts"],
                arrays[f"{name}.depths"],
                inputs,
                outputs,
            )
            for name in names
        }


TREES = 100
"""Trees of a forest: scikit-learn's default."""


def mean_of_trees(trees: Sequence[Any], inputs: np.ndarray) -> np.ndarray:
    """Return what a forest predicts, [n, t, c]: the mean over its trees."""
    inputs = np.ascontiguousarray(inputs, dtype=np.float32)
    total = np.zeros((len(inputs), *trees[0].value.shape[1:]))
    for tree in trees:
        total += tree.predict(inputs).reshape(total.shape)
    total /= len(trees)
    return total


def _trees(
    nodes: np.ndarray,
    values: np.ndarray,
    counts: np.ndarray,
    depths: np.ndarray,
    inputs: int,
    outputs: Sequence[int] | None,
) -> list[Any]:
    """Return the trees in arrays, none of which reads outside of them.

    Raises:
        DamagedError: The arrays hold something else.
    """
    from sklearn.tree._tree import Tree

    if values.ndim != 3 or not len(counts) or (counts < 1).any():
        raise DamagedError("its arrays are no trees")
    classes = np.array([values.shape[2]] if outputs is None else outputs, dtype=np.intp)
    if values.shape[1:] != (len(classes), max(classes)):
        raise DamagedError("its arrays are no trees of so many targets and classes")
    if not len(nodes) == len(values) == counts.sum():
        raise DamagedError("its trees have not a value for each node")
    trees = []
    for end, count, depth in zip(counts.cumsum(), counts, depths, strict=True):
        own = nodes[end - count : end]
        inner = np.flatnonzero(own["left_child"] != -1)
        for side in ("left_child", "right_child"):
            _check_children(own[side][inner], inner, count)
        if (own["feature"][inner] < 0).any() or (own["feature"][inner] >= inputs).any():
            raise DamagedError("a tree splits by an input that is not there")
        tree = Tree(inputs, classes, len(classes))
        tree.__setstate__(
            {
                "max_depth": int(depth),
                "node_count": int(count),
                "nodes": np.ascontiguousarray(own),
                "values": np.ascontiguousarray(values[end - count : end]),
            }
        )
        trees.append(tree)
    return trees


class _GradientBoosting(_ScikitLearn):
    types = (
        "ensemble._hist_gradient_boosting.gradient_boosting.HistGradientBoostingRegressor",
        "ensemble._hist_gradient_boosting.gradient_boosting.HistGradientBoostingClassifier",
        "ensemble._hist_gradient_boosting.binning._BinMapper",
        "ensemble._hist_gradient_boosting.predictor.TreePredictor",
        "preprocessing._label.LabelEncoder",
        "_loss.link.IdentityLink",
        "_loss.link.LogitLink",
        "_loss.link.MultinomialLogit",
        "_loss.link.Interval",
        "_loss.loss.HalfSquaredError",
        "_loss.loss.HalfBinomialLoss",
        "_loss.loss.HalfMultinomialLoss",
        "_loss._loss.CyHalfSquaredError",
        "_loss._loss.CyHalfBinomialLoss",
        "_loss._loss.CyHalfMultinomialLoss",
    )

    def make(self, rows: int, classes: int, seed: int) -> Any:  # noqa: ARG002
        from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor

        kind = HistGradientBoostingClassifier if classes else HistGradientBoostingRegressor
        return kind(random_state=seed)

    def fit(self, inputs: np.ndarray, target: np.ndarray, classes: int, seed: int) -> Any:
        model = self.make(len(inputs), classes, seed)
        if classes and np.bincount(target).min() < 2:
            # early stopping, the default beyond 10,000 rows, can't split off a class of one row
            model.set_params(early_stopping=False)
        return model.fit(inputs.astype(np.float64), target)

    def check(self, model: Any, inputs: int) -> None:
        for step in model._predictors:
            for predictor in step:
                nodes = predictor.nodes
                inner = np.flatnonzero(nodes["is_leaf"] == 0)
                _check_children(nodes["left"][inner].astype(np.int64), inner, len(nodes))
                _check_children(nodes["right"][inner].astype(np.int64), inner, len(nodes))
                if (nodes["feature_idx"][inner] >= inputs).any() or nodes["is_categorical"].any():
                    raise DamagedError("a tree splits by an input that is not there")


class _LightGBM(Estimator):
    def fit(self, inputs: np.ndarray, target: np.ndarray, classes: int, seed: int) -> Any:
        lightgbm = _package("lightgbm")
        settings = {
            "objective": ("regression", "", "binary")[classes] if classes < 3 else "multiclass",
            "num_threads": 1,
            "deterministic": True,
            "force_row_wise": True,
            "verbosity": -1,
            "seed": seed % 2**31,
        }
        if classes > 2:
            settings["num_class"] = classes
        return lightgbm.train(settings, lightgbm.Dataset(inputs, target), 100)

    def predict(self, model: Any, inputs: np.ndarray, classes: int) -> np.ndarray:
        values = np.asarray(model.predict(inputs, num_threads=1), dtype=np.float64)
        return np.stack([1 - values, values], axis=1) if classes == 2 else values

    def to_files(self, models: Mapping[str, Any]) -> dict[str, bytes]:
        return {f"{name}.txt": model.model_to_string().encode() for name, model in models.items()}

    def from_files(self, files: Mapping[str, bytes], inputs: int) -> dict[str, Any]:
        lightgbm = _package("lightgbm")
        models = {}
        for name, data in files.items():
            try:
                model = lightgbm.Booster(model_str=data.decode())
            except (lightgbm.basic.LightGBMError, UnicodeDecodeError) as error:
                raise DamagedError(f"{name} is no model of LightGBM") from error
            if model.num_feature() != inputs:
                raise DamagedError("its models have another number of inputs")
            models[name.removesuffix(".txt")] = model
        return models


class _CatBoost(Estimator):
    def fit(self, inputs: np.ndarray, target: np.ndarray, classes: int, seed: int) -> Any:
        catboost = _package("catboost")
        model = catboost.CatBoost(
            {
                "loss_function": ("RMSE", "", "Logloss")[classes] if classes < 3 else "MultiClass",
                "thread_count": 1,
                "random_seed": seed % 2**31,
                "verbose": False,
                "allow_writing_files": False,
            }
        )
        return model.fit(inputs, target)

    def predict(self, model: Any, inputs: np.ndarray, classes: int) -> np.ndarray:
        kind = "Probability" if classes else "RawFormulaVal"
        return np.asarray(
            model.predict(inputs, prediction_type=kind, thread_count=1), dtype=np.float64
        )

    def to_files(self, models: Mapping[str, Any]) -> dict[str, bytes]:
        # its binary format, a checked flat buffer: JSON does not give the same bits back
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "model.cbm"
            files = {}
            for name, model in models.items():
                model.save_model(str(path))
                files[f"{name}.cbm"] = path.read_bytes()
        return files

    def from_files(self, files: Mapping[str, bytes], inputs: int) -> dict[str, Any]:
        catboost = _package("catboost")
        models = {}
        for name, data in files.items():
            model = catboost.CatBoost()
            try:
                model.load_model(blob=data)
            except catboost.CatBoostError as error:
                raise DamagedError(f"{name} is no model of CatBoost") from error
            if len(model.feature_names_) != inputs:
                raise DamagedError("its models have another number of inputs")
            models[name.removesuffix(".cbm")] = model
        return models


def _check_children(children: np.ndarray, parents: np.ndarray, count: int) -> None:
    if ((children <= parents) | (children >= count)).any():
        raise DamagedError("the nodes of a tree do not form a tree")


def _package(name: str) -> Any:
    try:
        return import_module(name)
    except ImportError:
        raise MissingDependencyError(
            f"baseline {name!r} needs the package {name}; pip install 'jointrain[boosting]'"
        ) from None


ESTIMATORS: dict[str, Estimator] = {
    "linear": _Linear(),
    "random forest": Forest("RandomForest"),
    "extra trees": Forest("ExtraTrees"),
    "gradient boosting": _GradientBoosting(),
    "catboost": _CatBoost(),
    "lightgbm": _LightGBM(),
}
"""By name of the baseline."""

ONE_HOT = ("linear",)
"""Baselines that need a 0/1 column for each category, where trees take ordinal codes."""
