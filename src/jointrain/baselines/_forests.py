"""Forests of scikit-learn: of each target alone, and of all targets at once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np

from jointrain.baselines._baseline import JointBaseline, TargetBaseline
from jointrain.baselines._target_unit import TargetUnit, feature_units
from jointrain.baselines._tree_arrays import LEAF, TreeEnsemble
from jointrain.system.stored_files import DamagedError
from jointrain.task import Task

TREES = 100
"""Trees of a forest: scikit-learn's default."""

_SMALLEST_DEVIATION, _SMALLEST_RANGE = 1e-3, 1e-4
"""Below, scikit-learn's trees take differences of targets (variances to 2e-16) or of features (to
1e-7) for none."""


def forest_arrays(trees: Sequence[Any]) -> TreeEnsemble:
    """Return a forest whose sum is the mean over the trees.

    Inputs are to be compared in single precision, as scikit-learn does.

    Args:
        trees: Of a forest of scikit-learn.
    """
    width = int(np.prod(trees[0].value.shape[1:]))
    return TreeEnsemble.of(
        [
            {
                "feature": np.where(tree.children_left == -1, LEAF, tree.feature),
                "threshold": tree.threshold,
                "left": tree.children_left,
                "right": tree.children_right,
                "value": tree.value.reshape(-1, width) / len(trees),
            }
            for tree in trees
        ],
        [0] * len(trees),
        [0.0] * width,
    )


class Forest(TargetBaseline):
    """A forest of scikit-learn for each target.

    Attributes:
        kind: ``RandomForest`` or ``ExtraTrees``.
    """

    kind: ClassVar[str]
    family = "trees"
    imports = ("sklearn.ensemble",)

    def fit(
        self,
        inputs: np.ndarray,
        target: np.ndarray,
        classes: int,
        seed: int,
        weights: np.ndarray | None = None,
    ) -> TreeEnsemble:
        """Return the trees of a forest; `target` may also be [n, t], of one kind."""
        from sklearn import ensemble

        forest = getattr(ensemble, self.kind + ("Classifier" if classes else "Regressor"))(
            n_estimators=TREES, random_state=seed
        )
        # it splits by no smaller differences
        units = feature_units(inputs.astype(np.float32), _SMALLEST_RANGE)
        # several targets are standardised
        own = classes or target.ndim > 1
        unit = TargetUnit() if own else TargetUnit.of(target, _SMALLEST_DEVIATION)
        fitted = forest.fit(inputs / units, unit.taken(target), sample_weight=weights)
        trees = forest_arrays([member.tree_ for member in fitted.estimators_])
        sizes = np.where(trees.feature == LEAF, 1.0, units[trees.feature])
        return unit.put_back(replace(trees, threshold=trees.threshold * sizes))

    def predict(self, model: Any, inputs: np.ndarray, classes: int) -> np.ndarray:
        """Return values [m], or probabilities [m, classes]: the means over the trees."""
        found = model.predict(inputs.astype(np.float32))
        return np.asarray(found if classes else found[:, 0])


class RandomForest(Forest):
    """A random forest of scikit-learn for each target."""

    name = "random forest"
    in_words = "a random forest"
    kind = "RandomForest"


class ExtraTrees(Forest):
    """Extremely randomised trees of scikit-learn for each target."""

    name = "extra trees"
    plural = True
    kind = "ExtraTrees"


def why_not_joint(tasks: Sequence[Task]) -> str | None:
    """Return why no tree can predict all tasks at once, None if one can."""
    if len(tasks) < 2:
        return "there is one target only"
    if any(task.in_table.objective == "problems" for task in tasks):
        return "some targets have several numbers a row"
    if len({task.has_classes for task in tasks}) > 1:
        return "some targets are numbers and some are classes"
    return None


@dataclass(frozen=True)
class JointForest:
    """A fitted forest of all targets.

    Args:
        trees: Its trees; their value is [t * c], the classes of each target side by side.
        classes: Number of classes of each target that the rows held, 0 for a regression.
        means, deviations: Of each target, which is standardised: 0 and 1 for classes.
    """

    trees: TreeEnsemble
    classes: tuple[int, ...]
    means: tuple[float, ...]
    deviations: tuple[float, ...]

    @classmethod
    def fit(
        cls,
        forest: Forest,
        inputs: np.ndarray,
        labels: np.ndarray,
        classes: Sequence[int],
        seed: int,
        weights: np.ndarray | None = None,
    ) -> JointForest:
        """Fit a forest to all rows.

        A label that is missing is filled with what a forest of its target alone predicts.

        Args:
            forest: The forest of a target alone.
            inputs: Encoded features.
            labels: NaN where one is missing; classes are numbered from 0.
            classes: Number of classes of each target, 0 for a regression.
            seed: Seed of all random choices.
            weights: How much each row counts; default all the same.

        Shape:
            inputs: [n, d]. labels: [n, t]. weights: [n].
        """
        means, deviations = np.zeros(len(classes)), np.ones(len(classes))
        filled = labels.astype(np.float64)
        for index, count in enumerate(classes):
            known = np.isfinite(labels[:, index])
            own = filled[known, index]
            if not known.all():
                target = own.astype(np.int64) if count else own
                of_known = None if weights is None else weights[known]
                alone = forest.fit(inputs[known], target, count, seed, of_known)
                found = forest.predict(alone, inputs[~known], count)
                filled[~known, index] = found.argmax(1) if count else found
            if not count:
                counted = None if weights is None else weights[known]
                mean = float(np.average(own, weights=counted))
                deviation = float(np.sqrt(np.average((own - mean) ** 2, weights=counted)))
                means[index] = mean
                deviations[index] = deviation if deviation > 0 else 1.0
        targets: np.ndarray = (filled - means) / deviations
        joint = targets.astype(np.int64) if classes[0] else targets
        trees = forest.fit(inputs, joint, classes[0], seed, weights)
        return cls(trees, tuple(classes), tuple(means.tolist()), tuple(deviations.tolist()))

    def predict(self, inputs: np.ndarray) -> list[np.ndarray]:
        """Return values [n] or probabilities [n, c] of each target."""
        found = self.trees.predict(inputs.astype(np.float32))
        targets = len(self.classes)
        found = found.reshape(len(inputs), targets, np.prod(found.shape[1:], dtype=int) // targets)
        return [
            found[:, index, :count] if count else found[:, index, 0] * deviation + mean
            for index, (count, mean, deviation) in enumerate(
                zip(self.classes, self.means, self.deviations, strict=True)
            )
        ]

    def to_files(self, inputs: int) -> dict[str, bytes]:
        """Return the trees as named files."""
        return RandomForest().to_files({"joint": self.trees}, inputs)

    def to_json(self) -> dict[str, Any]:
        """Return all but the trees."""
        return {"means": list(self.means), "deviations": list(self.deviations)}

    @classmethod
    def read(
        cls,
        files: Mapping[str, bytes],
        described: Mapping[str, Any],
        inputs: int,
        classes: Sequence[int],
    ) -> JointForest:
        """Return the forest that `to_files` and `to_json` made.

        Raises:
            DamagedError: The files hold something else.
        """
        trees = RandomForest().from_files(files, inputs)["joint"]
        if trees.value.shape[1] != len(classes) * max(1, *classes):
            raise DamagedError("its trees predict other targets or classes")
        means, deviations = (
            tuple(float(value) for value in described[key]) for key in ("means", "deviations")
        )
        if not len(means) == len(deviations) == len(classes):
            raise DamagedError("its scales are not those of its targets")
        if not (np.isfinite([*means, *deviations]).all() and min(deviations) > 0):
            raise DamagedError("its scales are no numbers above 0")
        return cls(trees, tuple(classes), means, deviations)


class _JointForests(JointBaseline):
    forest: ClassVar[type[Forest]]
    family = "trees"
    imports = ("sklearn.ensemble",)

    def why_not(self, tasks: Sequence[Task]) -> str | None:
        return why_not_joint(tasks)

    def fit(
        self,
        inputs: np.ndarray,
        labels: np.ndarray,
        classes: Sequence[int],
        seed: int,
        weights: np.ndarray | None = None,
    ) -> JointForest:
        return JointForest.fit(self.forest(), inputs, labels, classes, seed, weights)

    def read(
        self,
        files: Mapping[str, bytes],
        described: Mapping[str, Any],
        inputs: int,
        classes: Sequence[int],
    ) -> JointForest:
        return JointForest.read(files, described, inputs, classes)


class RandomForestJoint(_JointForests):
    """A random forest whose trees predict all targets at once."""

    name = "random forest joint"
    in_words = "a random forest of all targets at once"
    alone = RandomForest.name
    forest = RandomForest


class ExtraTreesJoint(_JointForests):
    """Extremely randomised trees that predict all targets at once."""

    name = "extra trees joint"
    in_words = "extra trees of all targets at once"
    plural = True
    alone = ExtraTrees.name
    forest = ExtraTrees
