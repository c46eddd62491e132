"""What a baseline is: the interfaces that every one fills, with the reader of its arrays."""

from __future__ import annotations

import inspect
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from copy import copy
from importlib import import_module
from importlib.util import find_spec
from typing import Any, ClassVar, Protocol, Self

import numpy as np

from jointrain.baselines._tree_arrays import Arrays, TreeEnsemble
from jointrain.errors import InvalidInputError, MissingDependencyError
from jointrain.system import array_file
from jointrain.task import Task

_FILE = "baseline.safetensors"


class Baseline(ABC):
    """What a sceptic would use instead of a network: the root of all baselines.

    A baseline derives from `TargetBaseline` or `JointBaseline`, never from this class itself.

    Attributes:
        name: What the command line and reports call it.
        in_words: What sentences call one of jointrain's own, such as ``a linear model``; None: its
            name.
        plural: Whether sentences speak of one of jointrain's own as of several things.
        one_hot: Whether its inputs have a 0/1 column for each category, where trees take codes.
        alone: For a model of all targets: the baseline that has a model for each of them.
        saved: Whether a fitted one can be saved. One that can't is measured, and is no part of the
            saved model.
        family: What it has in common with baselines that predict much alike, as ensembles of trees
            do; see `jointrain.tables.choose_blends`. None: it is one of its own.
        package: The package that it needs beside jointrain's own, None if none.
        extra: What `pip install` is to be given for it; default the package.
        imports: Modules of jointrain's own needs that a fit imports, see `load`.
    """

    name: str
    in_words: ClassVar[str | None] = None
    plural: ClassVar[bool] = False
    one_hot: bool = False
    alone: ClassVar[str | None] = None
    saved: ClassVar[bool] = True
    family: ClassVar[str | None] = None
    package: ClassVar[str | None] = None
    extra: ClassVar[str | None] = None
    imports: ClassVar[tuple[str, ...]] = ()

    @classmethod
    def summary(cls) -> str:
        """Return the one line that says what it is."""
        return (cls.__doc__ or "").strip().partition("\n")[0]

    def renamed(self, name: str) -> Self:
        """Return it, called something else."""
        if getattr(self, "name", None) == name:
            return self
        made = copy(self)
        object.__setattr__(made, "name", name)
        return made

    def told_codes(self, places: Sequence[int]) -> Self:  # noqa: ARG002
        """Return it, told which inputs are ordinal codes of many categories; default as it is."""
        return self

    def check_ready(self, tasks: Sequence[Task]) -> None:  # noqa: ARG002
        """Refuse to go on without what it needs on this machine for the tasks.

        Raises:
            MissingDependencyError: Its package is not installed.
        """
        if self.package is not None and find_spec(self.package) is None:
            raise MissingDependencyError(
                f"baseline {self.name!r} needs the package {self.package}; pip install "
                f"{self.extra or self.package}"
            )

    def load(self) -> None:
        """Import what a fit imports, so that the time of the first one is that of a fit.

        Raises:
            ImportError: Its package is not installed; `check_ready` says so in words.
        """
        for module in (*self.imports, *((self.package,) if self.package else ())):
            import_module(module)

    def versions(self) -> dict[str, str | None]:
        """Return the releases of what its results hang on beside its code, by path."""
        return {}

    def own_code(self) -> list[Any]:
        """Return what of it is no part of jointrain: equal code gives equal results."""
        return [] if type(self).__module__.partition(".")[0] == "jointrain" else [self]

    def check_weights(self) -> None:
        """Refuse weights of rows if its methods take none.

        Raises:
            InvalidInputError: They don't.
        """
        for method in ("fit", "fit_counts"):
            function = getattr(self, method, None)
            if function is not None and "weights" not in inspect.signature(function).parameters:
                raise InvalidInputError(
                    f"baseline {self.name!r} takes no weights of rows; give its `{method}` an "
                    "argument `weights=None`, or leave the baseline out"
                )

    def why_not(self, tasks: Sequence[Task]) -> str | None:  # noqa: ARG002
        """Return why it can't predict the tasks, None if it can."""
        return None


class TargetBaseline(Baseline):
    """A model for each target, kept as plain arrays.

    Classes are numbered from 0; `classes` 0 is regression.

    Attributes:
        arrays: What a fitted model is, and what reads it from a file: `Arrays` check themselves.
        log_rates: Whether `fit_counts` gives a model of the logarithms of rates.
        has_quantiles: Whether there is a `fit_quantile`.
    """

    arrays: ClassVar[type[Arrays]] = TreeEnsemble
    log_rates: ClassVar[bool] = False
    has_quantiles: ClassVar[bool] = False

    def why_not(self, tasks: Sequence[Task]) -> str | None:
        """Return why it can't predict the tasks: it has no quantiles, and one needs them."""
        wanted = [task.name for task in tasks if task.kind == "quantiles"]
        if self.has_quantiles or not wanted:
            return None
        return f"it has no quantiles, which target {wanted[0]!r} is"

    @abstractmethod
    def fit(
        self,
        inputs: np.ndarray,
        target: np.ndarray,
        classes: int,
        seed: int,
        weights: np.ndarray | None = None,
    ) -> Any:
        """Return a fitted model, of type `arrays`, or None for a constant.

        Args:
            inputs: In single precision.
            target: Takes at least two values.
            classes: Number of classes, 0 for a regression.
            seed: Seed of all random choices: the same one gives the same bits.
            weights: How much each row counts, above 0 and of mean 1; given where rows weigh. A
                baseline without this argument is refused there.

        Shape:
            inputs: [n, d]. target, weights: [n].
        """

    def predict(self, model: Any, inputs: np.ndarray, classes: int) -> np.ndarray:
        """Return values [m], or probabilities [m, classes]; here of a model that gives sums."""
        return linked(model.predict(inputs.astype(np.float64)), classes)

    def fit_counts(
        self,
        inputs: np.ndarray,
        target: np.ndarray,
        seed: int,
        weights: np.ndarray | None = None,
    ) -> Any:
        """Return a model fitted to counts; here as to other numbers.

        Args:
            inputs: In single precision.
            target: Whole numbers of 0 or more that take at least two values.
            seed: Seed of all random choices.
            weights: As in `fit`.
        """
        if weights is None:
            return self.fit(inputs, target, 0, seed)
        return self.fit(inputs, target, 0, seed, weights)

    def fit_quantile(
        self,
        inputs: np.ndarray,
        target: np.ndarray,
        level: float,
        seed: int,
        weights: np.ndarray | None = None,
    ) -> Any:
        """Return a model of a quantile of numbers, of which `predict` gives values.

        Args:
            inputs: In single precision.
            target: Takes at least two values.
            level: Which quantile, in (0, 1).
            seed: Seed of all random choices.
            weights: As in `fit`.
        """
        raise NotImplementedError

    def predict_counts(self, model: Any, inputs: np.ndarray) -> np.ndarray:
        """Return the rates, [m]: exponentials if `log_rates`, else no less than 0."""
        found = self.predict(model, inputs, 0)
        return np.asarray(np.exp(found) if self.log_rates else np.maximum(found, 0.0))

    def to_files(self, models: Mapping[str, Any], inputs: int) -> dict[str, bytes]:
        """Return named models, fitted to a number of inputs, as named files.

        Raises:
            DamagedError: `from_files` would refuse them.
        """
        arrays: dict[str, np.ndarray] = {}
        for name, model in models.items():
            self.arrays.from_arrays(model.to_arrays(), inputs)
            arrays |= {f"{name}.{key}": array for key, array in model.to_arrays().items()}
        return {_FILE: array_file.to_bytes(arrays)} if arrays else {}

    def from_files(self, files: Mapping[str, bytes], inputs: int) -> dict[str, Any]:
        """Return the models in files, fitted to a number of inputs.

        Raises:
            DamagedError: The files hold something else.
        """
        if not files:
            return {}
        grouped: dict[str, dict[str, np.ndarray]] = {}
        for name, array in array_file.from_bytes(files[_FILE])[1].items():
            model, _, key = name.partition(".")
            grouped.setdefault(model, {})[key] = array
        return {name: self.arrays.from_arrays(arrays, inputs) for name, arrays in grouped.items()}


class JointModel(Protocol):
    """A fitted model of all targets."""

    def predict(self, inputs: np.ndarray) -> list[np.ndarray]:
        """Return values [n] or probabilities [n, c] of each target."""

    def to_files(self, inputs: int) -> dict[str, bytes]:
        """Return its arrays as named files."""

    def to_json(self) -> dict[str, Any]:
        """Return all but the arrays."""


class JointBaseline(Baseline):
    """One model of all targets."""

    alone: ClassVar[str | None] = None

    @abstractmethod
    def fit(
        self,
        inputs: np.ndarray,
        labels: np.ndarray,
        classes: Sequence[int],
        seed: int,
        weights: np.ndarray | None = None,
    ) -> JointModel:
        """Return a fitted model.

        Args:
            inputs: Encoded features, not all alike.
            labels: NaN where one is missing; classes are numbered from 0.
            classes: Number of classes of each target, 0 for a regression.
            seed: Seed of all random choices.
            weights: As in `TargetBaseline.fit`, the mean over a row's labels.

        Shape:
            inputs: [n, d]. labels: [n, t]. weights: [n].
        """

    @abstractmethod
    def read(
        self,
        files: Mapping[str, bytes],
        described: Mapping[str, Any],
        inputs: int,
        classes: Sequence[int],
    ) -> JointModel:
        """Return the model that `to_files` and `to_json` told.

        Raises:
            DamagedError: They hold something else.
        """


def linked(found: np.ndarray, classes: int) -> np.ndarray:
    """Return the values, or the probabilities of one or several sums."""
    if not classes:
        return found[:, 0]
    from scipy.special import expit, softmax

    if classes == 2 and found.shape[1] == 1:
        positive = expit(found[:, 0])
        return np.stack([1 - positive, positive], axis=1)
    return np.asarray(softmax(found, axis=1))


def one_thread() -> AbstractContextManager[Any]:
    """Keep numerical libraries to one thread: same bits everywhere, and folds run in processes."""
    from threadpoolctl import threadpool_limits

    limits: AbstractContextManager[Any] = threadpool_limits(1)
    return limits
