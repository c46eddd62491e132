"""Optimiser steps of many networks at once, each at its own learning rate."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.optim import SGD, Adam, AdamW, Optimizer

from jointrain.networks import Network
from jointrain.training import Optimizers


class OptimizerKind(NamedTuple):
    """The settings of an optimiser, apart from its learning rate."""

    name: str
    weight_decay: float
    beta1: float = 0.0
    beta2: float = 0.0
    epsilon: float = 0.0
    momentum: float = 0.0


def optimizer_kind(optimizers: Optimizers, network: Network) -> OptimizerKind | str:
    """Return the settings of a network's optimisers, or why they can't be stacked."""
    if optimizers.layout == "per_task" and len(network.task_names) > 1:
        return "each task has an optimiser of its own"
    kinds = {_kind(optimizer) for optimizer in optimizers.all}
    rates = {group["lr"] for optimizer in optimizers.all for group in optimizer.param_groups}
    if len(kinds) > 1 or len(rates) > 1:
        return "its optimisers differ from each other"
    kind = kinds.pop()
    if kind is None:
        return "its optimiser is not AdamW, Adam or SGD in plain form"
    if any(optimizer.state for optimizer in optimizers.all):
        return "its optimiser has already made steps"
    return kind


def _kind(optimizer: Optimizer) -> OptimizerKind | None:
    if len(optimizer.param_groups) > 1:
        return None
    group = optimizer.param_groups[0]
    unusual = ("amsgrad", "maximize", "nesterov", "dampening", "differentiable")
    if any(group.get(name) for name in unusual) or isinstance(group["lr"], Tensor):
        return None
    decay = group["weight_decay"]
    if type(optimizer) in (Adam, AdamW):
        decoupled = type(optimizer) is AdamW or group.get("decoupled_weight_decay", False)
        name = "adamw" if decoupled else "adam"
        return OptimizerKind(name, decay, *group["betas"], group["eps"])
    if type(optimizer) is SGD:
        return OptimizerKind("sgd", decay, momentum=group["momentum"])
    return None


class Piece(NamedTuple):
    """A stretch of one member's weights that moves as one, and the state that goes with it."""

    moved: Tensor
    gradient: Tensor
    first: Tensor
    second: Tensor
    step: Tensor


class StackedOptimizer:
    """Moves the rows of a weight matrix, each by its own optimiser.

    An optimiser's step is in proportion to the learning rate. So torch's fused kernels make a step
    of rate 1 on a copy, and each member goes its own rate's share of the way there.

    A member moves as a whole (piece 0), or in pieces: the trunk (1) and the heads of some tasks
    (2, 3, ...); each piece counts its own steps, as torch's parameters do.

    Args:
        weights, gradients: [s, p].
        pieces: The stretches of a row that pieces 1, 2, ... are; of several slices each.
    """

    def __init__(
        self, weights: Tensor, gradients: Tensor, pieces: Sequence[Sequence[slice]]
    ) -> None:
        self._weights = weights
        self._moved = torch.empty_like(weights)
        self._first = torch.zeros_like(weights)
        self._second = torch.zeros_like(weights)
        # a count for each slice, since torch's kernels take one for each tensor
        self._slices = [slice(None), *(part for piece in pieces for part in piece)]
        self._steps = torch.zeros(len(weights), len(self._slices), dtype=torch.float32)
        ends = [1]
        for piece in pieces:
            ends.append(ends[-1] + len(piece))
        self._members = [range(1), *(range(a, b) for a, b in zip(ends, ends[1:], strict=False))]
        matrices = (self._moved, gradients, self._first, self._second)
        self._pieces = [
            [
                Piece(*(matrix[row, part] for matrix in matrices), self._steps[row, number])
                for number, part in enumerate(self._slices)
            ]
            for row in range(len(weights))
        ]

    def clear(self, row: int) -> None:
        """Forget what was learned about a row."""
        self._first[row].zero_()
        self._second[row].zero_()
        self._steps[row].zero_()

    def copy(self, source: int, target: int) -> None:
        """Give one row the state of another."""
        for state in (self._first, self._second, self._steps):
            state[target] = state[source]

    def pieces(self, row: int, numbers: Sequence[int]) -> list[Piece]:
        """Return the pieces of a row with the given numbers."""
        return [self._pieces[row][part] for number in numbers for part in self._members[number]]

    def step(
        self, moving: Sequence[tuple[OptimizerKind, Sequence[Piece]]], rates: Tensor
    ) -> None:
        """Move the given pieces of the first rows, by kind of optimiser.

        Shape:
            rates: [s, 1].
        """
        count = len(rates)
        weights, moved = self._weights[:count], self._moved[:count]
        moved.copy_(weights)
        for kind, pieces in moving:
            copies, gradients, first, second, steps = map(list, zip(*pieces, strict=True))
            if kind.name == "sgd":
                # with momentum's buffer at zero, the first step is like any other
                torch._fused_sgd_(
                    copies, gradients, first if kind.momentum else [],
                    weight_decay=kind.weight_decay, momentum=kind.momentum, lr=1.0, dampening=0.0,
                    nesterov=False, maximize=False, is_first_step=False,
                )  # fmt: skip
                continue
            torch._foreach_add_(steps, 1)
            fused = torch._fused_adamw_ if kind.name == "adamw" else torch._fused_adam_
            fused(
                copies, gradients, first, second, [], steps, lr=1.0, beta1=kind.beta1,
                beta2=kind.beta2, weight_decay=kind.weight_decay, eps=kind.epsilon,
                amsgrad=False, maximize=False,
            )  # fmt: skip
        weights.lerp_(moved, rates)
