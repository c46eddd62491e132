"""Gradient boosting of LightGBM."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from jointrain.baselines._baseline import TargetBaseline
from jointrain.baselines._target_unit import SMALLEST, TargetUnit
from jointrain.baselines._tree_arrays import LEAF, TreeEnsemble


class LightGBM(TargetBaseline):
    """Gradient boosting of LightGBM for each target; needs its package."""

    name = "lightgbm"
    in_words = "LightGBM"
    family = "trees"
    package = "lightgbm"
    extra = "'jointrain[boosting]'"
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
        """Return the trees of 100 rounds, without their link."""
        objective = ("regression", "", "binary")[classes] if classes < 3 else "multiclass"
        more = {"num_class": classes} if classes > 2 else {}
        return _fitted(inputs, target, seed, weights, objective=objective, **more)

    def fit_counts(
        self, inputs: np.ndarray, target: np.ndarray, seed: int, weights: np.ndarray | None = None
    ) -> TreeEnsemble:
        """Return the trees of 100 rounds of the Poisson loss, without their link."""
        return _fitted(inputs, target, seed, weights, objective="poisson")

    def fit_quantile(
        self,
        inputs: np.ndarray,
        target: np.ndarray,
        level: float,
        seed: int,
        weights: np.ndarray | None = None,
    ) -> TreeEnsemble:
        """Return the trees of 100 rounds of the pinball loss."""
        return _fitted(inputs, target, seed, weights, objective="quantile", alpha=level)


def _fitted(
    inputs: np.ndarray, target: np.ndarray, seed: int, weights: np.ndarray | None, **settings: Any
) -> TreeEnsemble:
    import lightgbm

    numbers = settings["objective"] in ("regression", "quantile")
    unit = TargetUnit.of(target, SMALLEST) if numbers else TargetUnit()
    settings |= {
        "num_threads": 1,
        "deterministic": True,
        "force_row_wise": True,
        "verbosity": -1,
        "seed": seed % 2**31,
    }
    rows = lightgbm.Dataset(inputs, unit.taken(target), weight=weights)
    return unit.put_back(lightgbm_arrays(lightgbm.train(settings, rows, 100)))


def lightgbm_arrays(model: Any) -> TreeEnsemble:
    """Return the trees of a LightGBM booster, without its link."""
    dumped = model.dump_model()
    each = dumped["num_tree_per_iteration"]
    trees = [_lightgbm_tree(entry["tree_structure"]) for entry in dumped["tree_info"]]
    outputs = [index % each for index in range(len(trees))]
    return TreeEnsemble.of(trees, outputs, [0.0] * each)


def _lightgbm_tree(root: Mapping[str, Any]) -> dict[str, np.ndarray]:
    rows: list[list[float]] = []  # feature, threshold, left, right, value
    waiting: list[tuple[Mapping[str, Any], int, int]] = [(root, -1, 0)]
    while waiting:
        node, parent, side = waiting.pop()
        number = len(rows)
        if parent >= 0:
            rows[parent][2 + side] = number
        if "leaf_value" in node:
            rows.append([LEAF, 0.0, -1, -1, node["leaf_value"]])
            continue
        assert node["decision_type"] == "<=", node["decision_type"]
        rows.append([node["split_feature"], node["threshold"], -1, -1, 0.0])
        waiting += [(node["right_child"], number, 1), (node["left_child"], number, 0)]
    table = np.array(rows, dtype=np.float64)
    return {
        "feature": table[:, 0],
        "threshold": table[:, 1],
        "left": table[:, 2],
        "right": table[:, 3],
        "value": table[:, 4:],
    }
