"""Estimators: scikit-learn's interface."""

from jointrain.estimators._estimators import JointClassifier, JointRegressor

__all__ = [
    "JointClassifier",
    "JointRegressor",
]
