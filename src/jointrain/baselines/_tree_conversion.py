"""From the fitted trees of scikit-learn, LightGBM and CatBoost to plain arrays."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from jointrain.baselines._tree_arrays import LEAF, SymmetricTrees, TreeEnsemble


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


def boosting_arrays(model: Any) -> TreeEnsemble:
    """Return the trees of a histogram gradient boosting of scikit-learn, without its link."""
    trees, outputs = [], []
    for step in model._predictors:
        for output, predictor in enumerate(step):
            nodes = predictor.nodes
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
    return TreeEnsemble.of(trees, outputs, np.ravel(model._baseline_prediction).tolist())


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
