"""Estimators: scikit-learn's interface."""

from jointrain.estimators._joint_classifier import JointClassifier
from jointrain.estimators._joint_estimator import JointEstimator
from jointrain.estimators._joint_regressor import JointRegressor

__all__ = [
    "JointClassifier",
    "JointEstimator",
    "JointRegressor",
]
