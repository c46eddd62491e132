"""What baselines of pre-trained networks share: their weights are taken from this disk alone."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from jointrain.baselines._baseline import TargetBaseline
from jointrain.baselines._estimator import estimated
from jointrain.errors import InvalidInputError
from jointrain.task import Task


class PretrainedBaseline(TargetBaseline):
    """An estimator whose weights lie on this disk; it is refused where they do not.

    Attributes:
        estimators: Names, in its package, of the regressor and of the classifier.
        offline: Settings that keep it from downloading anything.
    """

    package: ClassVar[str]
    estimators: ClassVar[tuple[str, str]]
    offline: ClassVar[Mapping[str, Any]] = {}
    saved: ClassVar[bool] = False

    @abstractmethod
    def weights_file(self, classifier: bool) -> Path:
        """Return where the weights of the classifier, or the regressor, are expected."""

    def made_by(self, classifier: bool) -> Any:
        """Return the class of the estimator."""
        return getattr(import_module(self.package), self.estimators[classifier])

    def check_ready(self, tasks: Sequence[Task]) -> None:
        """Refuse to go on without its package or its weights.

        Raises:
            MissingDependencyError: Its package is not installed.
            InvalidInputError: The weights are not on this disk.
        """
        super().check_ready(tasks)
        for classifier in sorted({task.has_classes for task in tasks}):
            self._found_weights(classifier)

    def _found_weights(self, classifier: bool) -> Path:
        file = self.weights_file(classifier)
        if not file.is_file():
            raise InvalidInputError(
                f"baseline {self.name!r} has no weights at {file}; put them there (jointrain "
                "downloads none), or leave it out"
            )
        return file

    def fit(  # type: ignore[override]  # it takes no weights of rows
        self, inputs: np.ndarray, target: np.ndarray, classes: int, seed: int
    ) -> Any:
        """Return the fitted estimator; it trains nothing, and keeps the rows."""
        classifier = bool(classes)
        file = self._found_weights(classifier)
        made = self.made_by(classifier)(
            model_path=str(file), device="cpu", random_state=seed % 2**31, **self.offline
        )
        return made.fit(inputs, target)

    def predict(self, model: Any, inputs: np.ndarray, classes: int) -> np.ndarray:
        """Return values [m], or probabilities [m, classes]."""
        return estimated(self.name, model, inputs, classes)
