"""Histogram gradient boosting of scikit-learn."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from jointrain.baselines._baseline import TargetBaseline
from jointrain.baselines._target_unit import SMALLEST, TargetUnit
from jointrain.baselines._tree_arrays import LEAF, TreeEnsemble


class GradientBoosting(TargetBaseline):
    """Histogram gradient boosting of scikit-learn for each target."""

    name = "gradient boosting"
    family = "trees"
    imports = ("sklearn.ensemble",)
    log_rates = True
    has_quantiles = True

    def fit(
        self,
        inputs: np.ndarray,
        target: np.ndarray,
        classes: int,
        seed: int,
        weights: np.ndarray | None = None,
    ) -> TreeEnsemble:
        """Return the trees, without their link."""
        from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor

        kind = HistGradientBoostingClassifier if classes else HistGradientBoostingRegressor
        model = kind(random_state=seed)
        if classes and np.bincount(target).min() < 2:
            # early stopping, the default beyond 10,000 rows, can't split off a class of one row
            model.set_params(early_stopping=False)
        unit = TargetUnit() if classes else TargetUnit.of(target, SMALLEST)
        fitted = model.fit(inputs.astype(np.float64), unit.taken(target), sample_weight=weights)
        return unit.put_back(boosting_arrays(fitted))

    def fit_counts(
        self, inputs: np.ndarray, target: np.ndarray, seed: int, weights: np.ndarray | None = None
    ) -> TreeEnsemble:
        """Return the trees of the Poisson loss, without their link."""
        from sklearn.ensemble import HistGradientBoostingRegressor

        model = HistGradientBoostingRegressor(loss="poisson", random_state=seed)
        return boosting_arrays(model.fit(inputs.astype(np.float64), target, sample_weight=weights))

    def fit_quantile(
        self,
        inputs: np.ndarray,
        target: np.ndarray,
        level: float,
        seed: int,
        weights: np.ndarray | None = None,
    ) -> TreeEnsemble:
        """Return the trees of the pinball loss."""
        from sklearn.ensemble import HistGradientBoostingRegressor

        model = HistGradientBoostingRegressor(loss="quantile", quantile=level, random_state=seed)
        unit = TargetUnit.of(target, SMALLEST)
        fitted = model.fit(inputs.astype(np.float64), unit.taken(target), sample_weight=weights)
        return unit.put_back(boosting_arrays(fitted))


def boosting_arrays(model: Any) -> TreeEnsemble:
    """Return the trees of a histogram gradient boosting of scikit-learn, without its link."""
    steps = [[predictor.nodes for predictor in step] for step in model._predictors]
    return trees_of_nodes(steps, model._baseline_prediction)


def trees_of_nodes(steps: Sequence[Sequence[np.ndarray]], baseline: np.ndarray) -> TreeEnsemble:
    """Return trees whose nodes are scikit-learn's.

    Args:
        steps: The nodes of each step's trees, one tree for each output, as
            `HistGradientBoostingRegressor` keeps them.
        baseline: What the outputs begin with.

    Shape:
        steps: [number of nodes] each. baseline: as many values as outputs.
    """
    trees, outputs = [], []
    for step in steps:
        for output, nodes in enumerate(step):
            leaf = nodes["is_leaf"] == 1
            trees.append(
                {
                    "feature": np.where(leaf, LEAF, nodes["feature_idx"].astype(np.int64)),
                    # a threshold beyond all values is infinite there
                    "threshold": np.nan_to_num(np.where(leaf, 0, nodes["num_threshold"])),
                    "left": nodes["left"],
                    "right": nodes["right"],
                    "value": nodes["value"][:, None],
                }
            )
            outputs.append(output)
    return TreeEnsemble.of(trees, outputs, np.ravel(baseline).tolist())
