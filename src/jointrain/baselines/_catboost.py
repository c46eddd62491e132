"""Gradient boosting of CatBoost."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from jointrain.baselines._baseline import TargetBaseline
from jointrain.baselines._target_unit import SMALLEST, TargetUnit
from jointrain.baselines._tree_arrays import SymmetricTrees


class CatBoost(TargetBaseline):
    """Gradient boosting of CatBoost for each target; needs its package."""

    name = "catboost"
    in_words = "CatBoost"
    family = "trees"
    package = "catboost"
    extra = "'jointrain[boosting]'"
    log_rates = True
    has_quantiles = True
    arrays = SymmetricTrees

    def fit(
        self,
        inputs: np.ndarray,
        target: np.ndarray,
        classes: int,
        seed: int,
        weights: np.ndarray | None = None,
    ) -> SymmetricTrees:
        """Return the symmetric trees, without their link."""
        loss = ("RMSE", "", "Logloss")[classes] if classes < 3 else "MultiClass"
        return _fitted(inputs, target, seed, loss, weights)

    def fit_counts(
        self, inputs: np.ndarray, target: np.ndarray, seed: int, weights: np.ndarray | None = None
    ) -> SymmetricTrees:
        """Return the symmetric trees of the Poisson loss, without their link."""
        return _fitted(inputs, target, seed, "Poisson", weights)

    def fit_quantile(
        self,
        inputs: np.ndarray,
        target: np.ndarray,
        level: float,
        seed: int,
        weights: np.ndarray | None = None,
    ) -> SymmetricTrees:
        """Return the symmetric trees of the pinball loss."""
        return _fitted(inputs, target, seed, f"Quantile:alpha={level}", weights)


def _fitted(
    inputs: np.ndarray, target: np.ndarray, seed: int, loss: str, weights: np.ndarray | None
) -> SymmetricTrees:
    import catboost

    numbers = loss == "RMSE" or loss.startswith("Quantile")
    unit = TargetUnit.of(target, SMALLEST) if numbers else TargetUnit()
    model = catboost.CatBoost(
        {
            "loss_function": loss,
            "thread_count": 1,
            "random_seed": seed % 2**31,
            "verbose": False,
            "allow_writing_files": False,
        }
    )
    fitted = model.fit(inputs, unit.taken(target), sample_weight=weights)
    return unit.put_back(catboost_arrays(fitted))


def catboost_arrays(model: Any) -> SymmetricTrees:
    """Return the trees of a CatBoost model of numbers, without its link."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.json"
        model.save_model(str(path), format="json")
        dumped = json.loads(path.read_text())
    scale, bias = dumped["scale_and_bias"]
    bias = np.ravel(bias).astype(np.float64)
    trees = dumped["oblivious_trees"]
    # its own borders, in the precision in which they are compared
    splits = [tree["splits"] or [] for tree in trees]
    levels = max([1, *(len(split) for split in splits)])
    feature = np.zeros((len(trees), levels), dtype=np.int32)
    border = np.zeros((len(trees), levels), dtype=np.float32)
    for tree, split in enumerate(splits):
        for level, one in enumerate(split):
            feature[tree, level] = one["float_feature_index"]
            border[tree, level] = one["border"]
    depth = np.array([len(split) for split in splits], dtype=np.int64)
    values = [
        np.asarray(tree["leaf_values"], dtype=np.float64).reshape(1 << len(split), -1)
        for tree, split in zip(trees, splits, strict=True)
    ]
    return SymmetricTrees(
        starts=np.cumsum([0, *(len(value) for value in values)], dtype=np.int64),
        feature=feature,
        border=border,
        depth=depth,
        value=np.concatenate(values) * scale,
        base=np.broadcast_to(bias, values[0].shape[1:]).copy(),
    )
