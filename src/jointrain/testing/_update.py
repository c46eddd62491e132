"""One way to call a method of any kind on a Jacobian: what it would make of the step."""

from __future__ import annotations

import torch
from torch import Tensor

from jointrain.balancing import (
    Balancer,
    BilevelProblem,
    BilevelWeighting,
    GramianWeighting,
    JacobianAggregation,
    LossWeighting,
    SharpnessAware,
    backward,
)


def update_and_weights(
    balancer: Balancer, matrix: Tensor, losses: Tensor
) -> tuple[Tensor, Tensor | None]:
    """Return the update [p] and the weights [t] (or None) for the Jacobian [t, p]."""
    if isinstance(balancer, LossWeighting):
        leaf = losses.clone().requires_grad_()
        (weights,) = torch.autograd.grad(balancer.objective(leaf), leaf)
        return matrix.T @ weights, weights
    if isinstance(balancer, BilevelWeighting):
        return _bilevel(balancer, matrix, losses)
    if isinstance(balancer, SharpnessAware):
        return _nearby(balancer, matrix, losses)
    assert isinstance(balancer, (GramianWeighting, JacobianAggregation)), type(balancer)
    leaf = losses.clone().requires_grad_()
    changed = balancer.transform(leaf)
    (factor,) = torch.autograd.grad(changed.sum(), leaf)
    matrix = factor.detach()[:, None] * matrix
    if isinstance(balancer, GramianWeighting):
        weights = balancer.weights(matrix @ matrix.T, changed.detach())
        return matrix.T @ weights, weights
    half = matrix.shape[1] // 2
    blocks = [matrix[:, :half].clone(), matrix[:, half:].reshape(len(matrix), 2, -1).clone()]
    update, found = balancer.aggregate(blocks, changed.detach())
    return torch.cat([block.flatten() for block in update]), found


def _bilevel(balancer: BilevelWeighting, matrix: Tensor, losses: Tensor) -> tuple[Tensor, Tensor]:
    theta = torch.zeros(matrix.shape[1], dtype=matrix.dtype, requires_grad=True)

    def train() -> Tensor:
        return losses + matrix @ theta + 0.5 * theta.square().sum()

    problem = BilevelProblem(train(), [theta], train, train)
    weights = balancer.weights(problem)
    update = matrix.T @ weights.to(matrix)
    return update if problem.added is None else update + problem.added[0], weights


def _nearby(
    balancer: SharpnessAware, matrix: Tensor, losses: Tensor
) -> tuple[Tensor, Tensor | None]:
    theta = torch.zeros(matrix.shape[1], dtype=matrix.dtype, requires_grad=True)
    known = balancer.task_names or tuple(map(str, range(len(losses))))
    names = [known[i] for i in balancer.present(len(losses))]

    def train() -> dict[str, Tensor]:
        values = losses + matrix @ theta + 0.5 * theta.square().sum()
        return dict(zip(names, values, strict=True))

    step = backward(train, balancer, shared=[theta], process_group=None)
    assert theta.grad is not None
    return theta.grad, step.weights
