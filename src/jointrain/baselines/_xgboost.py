"""Gradient boosting of XGBoost."""

from __future__ import annotations

import json
from typing import Any

import numpy as np

from jointrain.baselines._baseline import TargetBaseline
from jointrain.baselines._target_unit import TargetUnit
from jointrain.baselines._tree_arrays import LEAF, TreeEnsemble


class XGBoost(TargetBaseline):
    """Gradient boosting of XGBoost for each target; needs its package."""

    name = "xgboost"
    in_words = "XGBoost"
    family = "trees"
    package = "xgboost"
    extra = "'jointrain[xgboost]'"
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
        objective = ("reg:squarederror", "", "binary:logistic")[classes] if classes < 3 else ""
        more = {} if objective else {"num_class": classes}
        return _fitted(
            inputs, target, seed, weights, objective=objective or "multi:softprob", **more
        )

    def fit_counts(
        self, inputs: np.ndarray, target: np.ndarray, seed: int, weights: np.ndarray | None = None
    ) -> TreeEnsemble:
        """Return the trees of 100 rounds of the Poisson loss, without their link."""
        return _fitted(inputs, target, seed, weights, objective="count:poisson")

    def fit_quantile(
        self,
        inputs: np.ndarray,
        target: np.ndarray,
        level: float,
        seed: int,
        weights: np.ndarray | None = None,
    ) -> TreeEnsemble:
        """Return the trees of 100 rounds of the quantile loss."""
        more = {"objective": "reg:quantileerror", "quantile_alpha": level}
        return _fitted(inputs, target, seed, weights, **more)


def _fitted(
    inputs: np.ndarray, target: np.ndarray, seed: int, weights: np.ndarray | None, **settings: Any
) -> TreeEnsemble:
    import xgboost

    numbers = settings["objective"] in ("reg:squarederror", "reg:quantileerror")
    # it makes no split that gains less than 1e-6
    unit = TargetUnit.of(target, 0.1) if numbers else TargetUnit()
    settings |= {"nthread": 1, "seed": seed % 2**31, "verbosity": 0}
    rows = xgboost.DMatrix(inputs, unit.taken(target), weight=weights, nthread=1)
    return unit.put_back(xgboost_arrays(xgboost.train(settings, rows, 100)))


def xgboost_arrays(model: Any) -> TreeEnsemble:
    """Return the trees of an XGBoost booster, without its link."""
    learner = json.loads(model.save_raw("json"))["learner"]
    trees = learner["gradient_booster"]["model"]
    classes = int(learner["learner_model_param"]["num_class"])
    said = str(learner["learner_model_param"]["base_score"]).strip("[]").split(",")
    base = np.array([float(value) for value in said])
    objective = learner["objective"]["name"]
    if objective == "binary:logistic":
        base = np.log(base / (1 - base))
    elif objective == "count:poisson":
        base = np.log(base)
    return TreeEnsemble.of(
        [_tree(one) for one in trees["trees"]],
        trees["tree_info"],
        np.broadcast_to(base, max(classes, 1)).tolist(),
    )


def _tree(told: dict[str, Any]) -> dict[str, np.ndarray]:
    left = np.array(told["left_children"])
    splits = np.array(told["split_conditions"], dtype=np.float32)
    leaves = left == -1
    # its left side is below the number, in single precision; here it is up to it
    below = np.nextafter(splits, np.float32(-np.inf)).astype(np.float64)
    return {
        "feature": np.where(leaves, LEAF, told["split_indices"]),
        "threshold": np.where(leaves, 0.0, below),
        "left": left,
        "right": np.array(told["right_children"]),
        "value": np.where(leaves, splits, 0.0).astype(np.float64)[:, None],
    }
