"""Baselines: what a sceptic would use instead of a network."""

from jointrain.baselines._baselines import (
    BASELINES,
    CONSTANT,
    DEFINITION,
    FIRST_BASELINES,
    BaselineModel,
    baseline_encoder,
    check_baseline,
    check_predicts,
    fit_baseline,
    predict_with_baseline,
)
from jointrain.baselines._joint_forest import JOINT, why_not_joint

__all__ = [
    "BASELINES",
    "CONSTANT",
    "DEFINITION",
    "FIRST_BASELINES",
    "JOINT",
    "BaselineModel",
    "baseline_encoder",
    "check_baseline",
    "check_predicts",
    "fit_baseline",
    "predict_with_baseline",
    "why_not_joint",
]
