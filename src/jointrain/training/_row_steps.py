"""Optimisers of which embeddings move row by row: only those that a step looked up."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import SGD, Adam, AdamW, Optimizer

_RATE = "rate_of_rows"
"""The entry of a group of rows that multiplies its learning rate; others do not have it."""


class _RowSteps(Optimizer):
    """Lets each row of some parameters move as a parameter of its own.

    A row without a gradient stays: its momentum does not go on, its weight does not decay, and its
    number of steps, by which Adam corrects its averages, does not rise. So a rare id is decayed as
    often as it is seen, and a step costs what its batch looks up, not the length of the table.

    Equal to torch's optimiser of a list with a parameter for each row.
    """

    def step(self, closure: Any = None) -> Any:
        """Move rows that have a gradient, and all other parameters as ever."""
        gradients = [
            (group, weights, weights.grad)
            for group in self.param_groups
            if _RATE in group
            for weights in group["params"]
        ]
        for _, weights, _ in gradients:
            weights.grad = None
        result = super().step(closure)
        for group, weights, gradient in gradients:
            weights.grad = gradient
            if gradient is not None:
                self._move(weights, gradient, group)
        return result

    @torch.no_grad()
    def _move(self, weights: nn.Parameter, gradient: Tensor, group: dict[str, Any]) -> None:
        if gradient.is_sparse:
            gradient = gradient.coalesce()
            rows, values = gradient.indices()[0], gradient.values()
        else:
            rows = gradient.any(1).nonzero()[:, 0]
            values = gradient[rows]
        if len(rows):
            moved = weights[rows]
            rate = group[_RATE] * group["lr"]
            self._move_rows(moved, values, weights, rows, {**group, "lr": rate})
            weights[rows] = moved

    def _kept(self, weights: nn.Parameter, name: str) -> Tensor:
        """Return what is known of each row, [n, d]; zeros at first."""
        state = self.state[weights]
        if name not in state:
            state[name] = torch.zeros_like(weights)
        kept: Tensor = state[name]
        return kept

    def _counted(self, weights: nn.Parameter, rows: Tensor) -> Tensor:
        """Return the number of steps that each row has made, this one too, [r, 1]."""
        state = self.state[weights]
        if "step" not in state:
            # by torch's name: it is kept in single precision when a state is read
            state["step"] = weights.new_zeros(len(weights), 1)
        state["step"][rows] += 1
        counted: Tensor = state["step"][rows]
        return counted

    def _move_rows(
        self,
        moved: Tensor,
        gradient: Tensor,
        weights: nn.Parameter,
        rows: Tensor,
        group: dict[str, Any],
    ) -> None:
        """Move rows in place, [r, d] by their gradients, [r, d]."""
        raise NotImplementedError


class _RowAdam(_RowSteps):
    def _move_rows(
        self,
        moved: Tensor,
        gradient: Tensor,
        weights: nn.Parameter,
        rows: Tensor,
        group: dict[str, Any],
    ) -> None:
        rate, decay = group["lr"], group["weight_decay"]
        if decay and isinstance(self, AdamW):
            moved.mul_(1 - rate * decay)
        elif decay:
            gradient = gradient + decay * moved
        beta1, beta2 = group["betas"]
        averages = []
        for name, beta, value in (
            ("exp_avg", beta1, gradient),
            ("exp_avg_sq", beta2, gradient.square()),
        ):
            kept = self._kept(weights, name)
            averages.append(kept[rows].lerp_(value, 1 - beta))
            kept[rows] = averages[-1]
        first, second = averages
        steps = self._counted(weights, rows)
        root = (second / (1 - beta2**steps)).sqrt_().add_(group["eps"])
        moved.addcdiv_(first / (1 - beta1**steps), root, value=-rate)


class RowAdamW(_RowAdam, AdamW):
    """AdamW whose weight decay reaches the rows that a step looked up."""


class RowAdam(_RowAdam, Adam):
    """Adam, likewise."""


class RowSGD(_RowSteps, SGD):
    """SGD with momentum and weight decay, likewise."""

    def _move_rows(
        self,
        moved: Tensor,
        gradient: Tensor,
        weights: nn.Parameter,
        rows: Tensor,
        group: dict[str, Any],
    ) -> None:
        if group["weight_decay"]:
            gradient = gradient + group["weight_decay"] * moved
        if group["momentum"]:
            kept = self._kept(weights, "momentum_buffer")
            gradient = kept[rows].mul_(group["momentum"]).add_(gradient)
            kept[rows] = gradient
        moved.add_(gradient, alpha=-group["lr"])


def by_row(
    optimizer: Optimizer,
    parameters: Collection[nn.Parameter],
    *,
    rate: float = 1.0,
    decay: float | None = None,
    given: Mapping[int, Mapping[str, Any]] | None = None,
) -> Optimizer:
    """Let the rows of some of an optimiser's parameters move each by itself.

    They become groups of their own, after the others.

    Args:
        optimizer: Adam, AdamW or SGD that has not made a step.
        parameters: [n, d] each.
        rate: What the learning rate of their group is multiplied by.
        decay: Their weight decay; default that of their group.
        given: Options that some of them were given, by `id`: a rate or a decay among them is taken
            as it is. Default none.
    """
    kinds: dict[type[Optimizer], type[_RowSteps]] = {AdamW: RowAdamW, Adam: RowAdam, SGD: RowSGD}
    optimizer.__class__ = kinds[type(optimizer)]
    moved, given = set(map(id, parameters)), {} if given is None else given
    others, of_rows = [], []
    for group in optimizer.param_groups:
        rest = [one for one in group["params"] if id(one) not in moved]
        if rest:
            others.append({**group, "params": rest})
        for one in group["params"]:
            if id(one) in moved:
                own = given.get(id(one), {})
                keeps = decay is None or "weight_decay" in own
                changed = {
                    _RATE: 1.0 if "lr" in own else rate,
                    "weight_decay": group["weight_decay"] if keeps else decay,
                }
                of_rows.append({**group, **changed, "params": [one]})
    optimizer.param_groups = others + of_rows
    return optimizer
