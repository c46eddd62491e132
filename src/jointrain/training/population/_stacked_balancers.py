"""Balancers of many runs at once: each weighs its own losses, one backward pass serves all."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from jointrain.balancing import LossWeighting
from jointrain.training.population._stacked_optimizer import OptimizerKind, fused_step

_ADAM = OptimizerKind("adam", 0.0, 0.9, 0.999, 1e-8)
"""What `Trainer` moves the parameters of a balancer with."""


class MemberBalancer:
    """A member's balancer, with what Adam knows of its parameters, if it has any.

    Args:
        balancer: Weighs the member's losses.
        rate: Learning rate of its parameters.
    """

    def __init__(self, balancer: LossWeighting, rate: float) -> None:
        self.balancer = balancer
        self.rate = rate
        self.parameters = [p for p in balancer.parameters() if p.requires_grad]
        self.first = [torch.zeros_like(p) for p in self.parameters]
        self.second = [torch.zeros_like(p) for p in self.parameters]
        self.steps = [torch.zeros((), dtype=torch.float32) for _ in self.parameters]

    def objective(self, losses: Tensor, tasks: tuple[str, ...]) -> Tensor:
        """Return the scalar that a step of the given tasks minimises, for their losses [t]."""
        with self.balancer.taking_part(self.balancer.positions_of(tasks)):
            return self.balancer.checked_objective(losses)


def balance(
    members: Sequence[MemberBalancer],
    tasks: Sequence[tuple[str, ...]],
    slots: Sequence[Tensor],
    losses: Tensor,
) -> Tensor:
    """Return what the balancers multiply losses by, and move their own parameters.

    Args:
        members: The balancers.
        tasks: The tasks of each one's step.
        slots: Their places, [number of them] each.
        losses: Finite where there is a task; times the tasks' weights.

    Shape:
        losses: [s, t]. returns: [s, t], 0 where a member has no task.
    """
    with torch.enable_grad():
        leaf = losses.detach().requires_grad_()
        objectives = [
            member.objective(row[places], names)
            for member, names, places, row in zip(members, tasks, slots, leaf, strict=True)
        ]
    learning = [member for member in members if member.parameters]
    parameters = [parameter for member in learning for parameter in member.parameters]
    # an objective may leave out the parameters of tasks that are not in the step
    found = torch.autograd.grad(objectives, [leaf, *parameters], allow_unused=True)
    _learn(learning, found[1:])
    return found[0]


def _learn(members: Sequence[MemberBalancer], gradients: Sequence[Tensor | None]) -> None:
    by_rate: dict[float, list[tuple[Tensor, ...]]] = {}
    given = iter(gradients)
    for member in members:
        for number, parameter in enumerate(member.parameters):
            gradient = next(given)
            if gradient is None:
                continue
            step = member.steps[number].add_(1)
            state = (member.first[number], member.second[number], step)
            moving = by_rate.setdefault(member.rate, [])
            moving.append((parameter.detach(), gradient, *state))
    for rate, moving in by_rate.items():
        fused_step(_ADAM, rate, *(list(part) for part in zip(*moving, strict=True)))
