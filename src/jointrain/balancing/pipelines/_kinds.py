"""Which pipeline each kind of method has."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from jointrain.balancing._balanced_step import BalancedStep
from jointrain.balancing._balancer import (
    Balancer,
    BilevelWeighting,
    GramianWeighting,
    JacobianAggregation,
    LossWeighting,
)
from jointrain.balancing._call import Call
from jointrain.balancing._sharpness_aware import SharpnessAware
from jointrain.balancing.pipelines._gramian import by_gramian
from jointrain.balancing.pipelines._held_out import by_held_out
from jointrain.balancing.pipelines._jacobian import by_jacobian
from jointrain.balancing.pipelines._losses import by_losses
from jointrain.balancing.pipelines._nearby import by_nearby
from jointrain.balancing.pipelines._parts import Without

PIPELINES: dict[type[Balancer], Callable[[Call, Any], BalancedStep | Without]] = {
    LossWeighting: by_losses,
    GramianWeighting: by_gramian,
    JacobianAggregation: by_jacobian,
    BilevelWeighting: by_held_out,
    SharpnessAware: lambda call, balancer: by_nearby(call, balancer, run),
}


def run(call: Call) -> BalancedStep:
    """Make the step with the tasks of the call, or those of them whose gradients are finite."""
    balancer = call.balancer
    pipeline = next(made for kind, made in PIPELINES.items() if isinstance(balancer, kind))
    while call.names:
        with balancer.taking_part(balancer.positions_of(call.names)):
            found = pipeline(call, balancer)
        if isinstance(found, BalancedStep):
            return found
        call = call.without(found.bad)
    return BalancedStep(
        (), None, torch.zeros(0), gradient_method="all skipped", skipped=call.skipped
    )
