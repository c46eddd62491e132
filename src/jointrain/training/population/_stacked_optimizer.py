"""Optimiser steps of many networks at once, each at its own learning rate."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import accumulate, pairwise
from typing import NamedTuple

import torch
from torch import Tensor
from torch.optim import SGD, Adam, AdamW, Optimizer

from jointrain.networks import Network, replaced_methods
from jointrain.training import Optimizers, OptimizerSettings


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
    if optimizers.settings is not None:
        return _kind_of_settings(optimizers.settings)
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


def _kind_of_settings(settings: OptimizerSettings) -> OptimizerKind:
    """Return the kind of the optimisers that are made from settings, without making one."""
    if settings.name == "sgd":
        return OptimizerKind("sgd", settings.weight_decay, momentum=settings.momentum)
    # torch's own defaults, which the settings leave alone
    return OptimizerKind(settings.name, settings.weight_decay, 0.9, 0.999, 1e-8)


def _kind(optimizer: Optimizer) -> OptimizerKind | None:
    hooks = optimizer._optimizer_step_pre_hooks or optimizer._optimizer_step_post_hooks
    if len(optimizer.param_groups) > 1 or hooks or replaced_methods(optimizer):
        return None
    group = optimizer.param_groups[0]
    unusual = ("amsgrad", "maximize", "nesterov", "dampening", "differentiable")
    if any(group.get(name) for name in unusual) or isinstance(group["lr"], Tensor):
        return None
    decay = group["weight_decay"]
    if type(optimizer) in (Adam, AdamW):
        decoupled = type(optimizer) is AdamW or group.get("decoupled_weight_decay", False)
        name = "adamw" if decoupled else "adam"
        beta1, beta2 = group["betas"]
        return OptimizerKind(name, decay, beta1, beta2, group["eps"])
    if type(optimizer) is SGD:
        return OptimizerKind("sgd", decay, momentum=group["momentum"])
    return None


class Piece(NamedTuple):
    """A part of one member's weights that moves as one, and the state that goes with it."""

    weights: Tensor
    copy: Tensor
    gradient: Tensor
    first: Tensor
    second: Tensor
    step: Tensor


Pieces = list[list[Tensor]]
"""Pieces by what they hold: all weights, all copies, all gradients, ..."""


class StackedOptimizer:
    """Moves the rows of a weight matrix, each by its own optimiser.

    Torch's fused kernels take one learning rate. Where the members' rates differ, the kernels make
    a step of rate 1 on a copy, and each member goes its own rate's share of the way there: a step
    is in proportion to the rate.

    A member moves as a whole, or its trunk and the heads of some tasks; each of these counts its
    own steps, as torch's parameters do.

    Args:
        weights, gradients: [s, p].
        trained: Where what moves lies in a row.
        trunk: Where the weights of the trunk are in a row.
        heads: Where each head's own weights lie, in one piece or several.
    """

    def __init__(
        self,
        weights: Tensor,
        gradients: Tensor,
        trained: slice,
        trunk: slice,
        heads: Sequence[tuple[slice, ...]],
    ) -> None:
        self._weights = weights
        self._copy = torch.empty_like(weights)
        self._first = torch.zeros_like(weights)
        self._second = torch.zeros_like(weights)
        parts = [trained, trunk, *(part for head in heads for part in head)]
        # where the parts of each head begin, and whose each of them is
        ends = list(accumulate((len(head) for head in heads), initial=2))
        self._of_head = [slice(a, b) for a, b in pairwise(ends)]
        self._head_of = torch.tensor([n for n, head in enumerate(heads) for _ in head])
        self._steps = torch.zeros(len(weights), len(parts), dtype=torch.float32)
        self._pieces = [
            [
                Piece(
                    weights[row, part],
                    self._copy[row, part],
                    gradients[row, part],
                    self._first[row, part],
                    self._second[row, part],
                    self._steps[row, number],
                )
                for number, part in enumerate(parts)
            ]
            for row in range(len(weights))
        ]

    def clear(self, row: int) -> None:
        """Forget what was learned about a row."""
        for state in (self._first, self._second, self._steps):
            state[row] = 0

    def copy(self, source: int, target: int) -> None:
        """Give one row the state of another."""
        for state in (self._first, self._second, self._steps):
            state[target] = state[source]

    def pieces(self, moving: Iterable[tuple[int, Sequence[int] | None]]) -> Pieces:
        """Return the pieces of rows that move: trunk and the given heads; None for the whole."""
        chosen: list[Piece] = []
        for row, heads in moving:
            pieces = self._pieces[row]
            if heads is None:
                chosen.append(pieces[0])
                continue
            chosen.append(pieces[1])
            for head in heads:
                chosen += pieces[self._of_head[head]]
        return [list(part) for part in zip(*chosen, strict=True)]

    def step(
        self,
        moving: Sequence[tuple[OptimizerKind, Pieces]],
        rates: Tensor,
        active: Tensor | None = None,
    ) -> None:
        """Move the given pieces of the first rows, by kind of optimiser.

        Args:
            moving: What `pieces` gave.
            rates: Learning rates.
            active: 1 for each head that moves; None if all members move as a whole.

        Shape:
            rates: [s, 1]. active: [s, t].
        """
        count = len(rates)
        if active is None:
            self._steps[:count, 0] += 1
        else:
            self._steps[:count, :2] += 1
            self._steps[:count, 2:] += active[:, self._head_of]
        rate = float(rates[0])
        if bool((rates == rate).all()):
            for kind, (weights, _, *state) in moving:
                fused_step(kind, rate, weights, *state)
            return
        self._copy[:count].copy_(self._weights[:count])
        for kind, (_, copies, *state) in moving:
            fused_step(kind, 1.0, copies, *state)
        self._weights[:count].lerp_(self._copy[:count], rates)


def fused_step(
    kind: OptimizerKind,
    rate: float,
    weights: list[Tensor],
    gradients: list[Tensor],
    first: list[Tensor],
    second: list[Tensor],
    steps: list[Tensor],
) -> None:
    """Move weights at a learning rate; `steps` counts this one already."""
    if kind.name == "sgd":
        # with momentum's buffer at zero, the first step is like any other
        torch._fused_sgd_(
            weights, gradients, first if kind.momentum else [], weight_decay=kind.weight_decay,
            momentum=kind.momentum, lr=rate, dampening=0.0, nesterov=False, maximize=False,
            is_first_step=False,
        )  # fmt: skip
        return
    fused = torch._fused_adamw_ if kind.name == "adamw" else torch._fused_adam_
    fused(
        weights, gradients, first, second, [], steps, lr=rate, beta1=kind.beta1, beta2=kind.beta2,
        weight_decay=kind.weight_decay, eps=kind.epsilon, amsgrad=False, maximize=False,
    )  # fmt: skip
