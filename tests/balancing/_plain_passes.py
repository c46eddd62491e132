"""A network whose gradients `backward` is compared with, got by one plain pass per task."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from jointrain.balancing import Balancer, Equal, GramianWeighting, backward


def dense(gradient: Tensor | None, like: Tensor) -> Tensor:
    if gradient is None:
        return torch.zeros_like(like)
    return gradient.to_dense() if gradient.is_sparse else gradient


def real(tensor: Tensor) -> Tensor:
    return torch.view_as_real(tensor.resolve_conj()) if tensor.is_complex() else tensor


class Case:
    """A network with the losses that it computes, and which of its parameters are shared."""

    def __init__(self, net: nn.Module, losses: Callable[[], list[Tensor]]) -> None:
        self.net = net.double()
        self._losses = losses
        self.parameters = list(net.parameters())

    def losses(self) -> list[Tensor]:
        torch.manual_seed(5)
        return self._losses()

    def jacobian(self) -> tuple[list[Tensor], list[bool]]:
        """Return for each parameter the gradients [t, *shape], and whether it is shared."""
        losses = self.losses()
        rows = [
            torch.autograd.grad(v, self.parameters, retain_graph=True, allow_unused=True)
            for v in losses
        ]
        columns = list(zip(*rows, strict=True))
        shared = [sum(g is not None for g in column) > 1 for column in columns]
        pairs = zip(columns, self.parameters, strict=True)
        return [torch.stack([dense(g, p) for g in column]) for column, p in pairs], shared

    def check(self, balancer: Balancer, **options) -> None:
        jacobian, shared = self.jacobian()
        self.net.zero_grad()
        step = backward(self.losses(), balancer, **{"accumulate": "per-batch"} | options)
        if isinstance(balancer, GramianWeighting):
            flat = [real(j).flatten(1) for j, s in zip(jacobian, shared, strict=True) if s]
            rows = torch.cat(flat, 1)
            torch.testing.assert_close(step.gramian, rows @ rows.T)
        weights = step.weights
        for p, j, s in zip(self.parameters, jacobian, shared, strict=True):
            both = s or isinstance(balancer, Equal)
            factors = weights.to(j) if both else torch.ones(len(j)).to(j)
            torch.testing.assert_close(dense(p.grad, p), torch.tensordot(factors, j, 1))
