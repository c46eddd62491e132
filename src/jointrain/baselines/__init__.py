"""Baselines: what a sceptic would use instead of a network. One file each, found by this folder."""

from jointrain.baselines._baseline import (
    Baseline,
    JointBaseline,
    JointModel,
    TargetBaseline,
    linked,
)
from jointrain.baselines._baseline_model import (
    DEFINITION,
    BaselineModel,
    baseline_encoder,
    fit_baseline,
    fit_model,
    predict_with_baseline,
)
from jointrain.baselines._forests import forest_arrays, why_not_joint
from jointrain.baselines._names import (
    BASELINE_NAMES,
    BASELINES,
    CONSTANT,
    FIRST_BASELINES,
    JOINT,
    as_baseline,
    check_predicts,
    find_baseline,
    is_joint,
)
from jointrain.baselines._tree_arrays import Arrays, SymmetricTrees, TreeEnsemble

__all__ = [
    "BASELINES",
    "BASELINE_NAMES",
    "CONSTANT",
    "DEFINITION",
    "FIRST_BASELINES",
    "JOINT",
    "Arrays",
    "Baseline",
    "BaselineModel",
    "JointBaseline",
    "JointModel",
    "SymmetricTrees",
    "TargetBaseline",
    "TreeEnsemble",
    "as_baseline",
    "baseline_encoder",
    "check_predicts",
    "find_baseline",
    "fit_baseline",
    "fit_model",
    "forest_arrays",
    "is_joint",
    "linked",
    "predict_with_baseline",
    "why_not_joint",
]
