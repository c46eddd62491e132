"""Penalties: the gradients of the L1 and L2 norms of weight matrices."""

from __future__ import annotations

from collections.abc import Collection, Iterable

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase

from jointrain.networks import Network

_NORMALISATION = (_NormBase, nn.LayerNorm, nn.GroupNorm, getattr(nn, "RMSNorm", nn.LayerNorm))


def weight_matrices(module: nn.Module) -> set[int]:
    """Return the `id` of each parameter that is a weight matrix, or several.

    Those of grouped heads and of ensembles have a dimension more than those of one layer, and so
    have their biases.
    """
    return {
        id(parameter)
        for part in module.modules()
        if not isinstance(part, _NORMALISATION)
        for name, parameter in part.named_parameters(recurse=False)
        if parameter.ndim > 1 and "bias" not in name
    }


class Penalties:
    """Adds the gradients of the penalties of a network's weight matrices.

    Args:
        network: Whose matrices.
        parameters: Those that are trained.
        l1: Factor of the sum of the absolute weights.
        l2: Factor of the sum of their squares.
    """

    def __init__(
        self, network: Network, parameters: Iterable[nn.Parameter], l1: float, l2: float
    ) -> None:
        matrices = weight_matrices(network)
        self._matrices = [one for one in parameters if id(one) in matrices]
        self._tasks = network.heads.tasks_of_groups()
        self._l1, self._l2 = l1, l2

    @torch.no_grad()
    def add(self, tasks: Collection[str]) -> None:
        """Add them for the weights that a step on `tasks` has reached."""
        for parameter in self._matrices:
            if parameter.grad is None:
                continue
            if parameter.grad.is_sparse:
                # of a table, the rows that were looked up
                parameter.grad = parameter.grad.coalesce()
                looked_up = parameter[parameter.grad._indices()[0]]
                self._add_to(parameter.grad._values(), looked_up)
                continue
            members = self._tasks.get(id(parameter), ())
            rows = [row for row, name in enumerate(members) if name in tasks]
            if len(rows) == len(members):
                self._add_to(parameter.grad, parameter)
                continue
            # the heads of other tasks are in the same parameter
            for row in rows:
                self._add_to(parameter.grad[row], parameter[row])

    def _add_to(self, gradient: Tensor, weights: Tensor) -> None:
        if self._l1:
            gradient.add_(weights.sign(), alpha=self._l1)
        if self._l2:
            gradient.add_(weights, alpha=2 * self._l2)
