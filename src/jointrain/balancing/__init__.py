"""Balancing: from several task losses to one update. Usable alone in a loop of one's own."""

from jointrain.balancing import aggregation, bilevel, sharpness, weighting
from jointrain.balancing._backward import backward
from jointrain.balancing._balanced_step import BalancedStep
from jointrain.balancing._balancer import (
    Balancer,
    BilevelProblem,
    BilevelWeighting,
    Direction,
    GramianWeighting,
    HeadGuiding,
    JacobianAggregation,
    LossWeighting,
    Needs,
    Weighing,
)
from jointrain.balancing._names import (
    BALANCER_NAMES,
    BALANCERS,
    as_balancer_class,
    balancer_from_name,
)
from jointrain.balancing._sharpness_aware import Landscape, Move, SharpnessAware
from jointrain.balancing._task_losses import TaskLosses, mean_losses
from jointrain.balancing.aggregation import *  # noqa: F403
from jointrain.balancing.bilevel import *  # noqa: F403
from jointrain.balancing.sharpness import *  # noqa: F403
from jointrain.balancing.weighting import *  # noqa: F403

__all__ = [
    "BALANCERS",
    "BALANCER_NAMES",
    "BalancedStep",
    "Balancer",
    "BilevelProblem",
    "BilevelWeighting",
    "Direction",
    "GramianWeighting",
    "HeadGuiding",
    "JacobianAggregation",
    "Landscape",
    "LossWeighting",
    "Move",
    "Needs",
    "SharpnessAware",
    "TaskLosses",
    "Weighing",
    "as_balancer_class",
    "backward",
    "balancer_from_name",
    "mean_losses",
]
# in the form that type checkers read
__all__ += weighting.__all__
__all__ += aggregation.__all__
__all__ += bilevel.__all__
__all__ += sharpness.__all__
