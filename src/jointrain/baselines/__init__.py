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
    predict_with_baseline,
)
from jointrain.baselines._estimator import EstimatorBaseline
from jointrain.baselines._exported_task import ExportedTask
from jointrain.baselines._forests import forest_arrays, why_not_joint
from jointrain.baselines._gradient_boosting import trees_of_nodes
from jointrain.baselines._kernel_ridge import KERNELS, ROUNDING, KernelFunctions
from jointrain.baselines._names import (
    BASELINE_NAMES,
    BASELINES,
    CONSTANT,
    FIRST_BASELINES,
    JOINT,
    AnyBaseline,
    as_baseline,
    check_predicts,
)
from jointrain.baselines._tree_arrays import Arrays, SymmetricTrees, TreeEnsemble

__all__ = [
    "BASELINES",
    "BASELINE_NAMES",
    "CONSTANT",
    "DEFINITION",
    "FIRST_BASELINES",
    "JOINT",
    "KERNELS",
    "ROUNDING",
    "AnyBaseline",
    "Arrays",
    "Baseline",
    "BaselineModel",
    "EstimatorBaseline",
    "ExportedTask",
    "JointBaseline",
    "JointModel",
    "KernelFunctions",
    "SymmetricTrees",
    "TargetBaseline",
    "TreeEnsemble",
    "as_baseline",
    "baseline_encoder",
    "check_predicts",
    "fit_baseline",
    "forest_arrays",
    "linked",
    "predict_with_baseline",
    "trees_of_nodes",
    "why_not_joint",
]
