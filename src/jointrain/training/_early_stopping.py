"""Early stopping: the best weights of a network, and of each task that has converged."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from jointrain.errors import InvalidInputError
from jointrain.networks import Network
from jointrain.training._placement import copied_state, placed_like, put_state, update_state

_LEAST = 1e-12
"""Smallest loss before training that scores are relative to."""

_ROUNDING = 1e-5
"""How far below 0 a loss may be that has no such values but by rounding."""


class BestScore:
    """Keeps the lowest score, and counts the epochs since it was seen."""

    def __init__(self) -> None:
        self.value = math.inf
        self.epochs_since = 0

    def offer(self, score: float | None) -> bool:
        """Return whether the score is the lowest so far; None counts for nothing."""
        if score is None:
            return False
        if score < self.value:
            self.value, self.epochs_since = score, 0
            return True
        self.epochs_since += 1
        return False

    def state_dict(self) -> dict[str, Any]:
        """Return the score and the epochs since."""
        return {"value": self.value, "epochs_since": self.epochs_since}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Set them to what `state_dict` gave."""
        self.value, self.epochs_since = state["value"], state["epochs_since"]


class BestWeights(BestScore):
    """Keeps a copy of the weights with the lowest score.

    Args:
        module: Whose weights, with its buffers.
        active: Whether to keep any; without validation data there is no score.

    Attributes:
        copy: The weights and buffers with the lowest score, by name; empty if none are kept.
    """

    def __init__(self, module: nn.Module, active: bool) -> None:
        super().__init__()
        self._module = module
        self.copy = copied_state(module) if active else {}

    def offer(self, score: float | None) -> bool:
        """Keep the weights if the score is the lowest so far; return whether it is."""
        improved = bool(self.copy) and super().offer(score)
        if improved:
            update_state(self.copy, self._module)
        return improved

    def restore(self) -> None:
        """Put back the best weights, if any was offered."""
        if self.value < math.inf:
            put_state(self._module, self.copy)

    def state_dict(self) -> dict[str, Any]:
        """Return the weights too; not copies."""
        return {**super().state_dict(), "copy": dict(self.copy)}

    @torch.no_grad()
    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Set score and weights to what `state_dict` gave."""
        super().load_state_dict(state)
        for name, value in self.copy.items():
            # states of earlier versions lack buffers that are not persistent
            stored = state["copy"].get(name, value)
            if not isinstance(value, Tensor):
                self.copy[name] = copy.deepcopy(stored)
            elif value.shape == stored.shape:
                value.copy_(placed_like(stored, value))
            else:
                self.copy[name] = stored.to(value, copy=True)


class ConvergedTasks:
    """Notices tasks whose validation loss no longer falls, each by itself.

    Args:
        network: Whose tasks.
        tasks: Names of those that are watched.
        patience: Epochs without a lower validation loss after which a task has converged.

    Attributes:
        names: The converged tasks, in the order in which they converged.
    """

    def __init__(self, network: Network, tasks: Sequence[str], patience: int) -> None:
        self._patience = patience
        self._own = own_tensors(network, tasks)
        self._best: dict[str, tuple[float, list[Tensor]]] = {}
        self._epochs_since = dict.fromkeys(tasks, 0)
        self.names: list[str] = []

    @torch.no_grad()
    def offer(self, losses: Mapping[str, float]) -> list[str]:
        """Take in the validation losses of an epoch; return the tasks that have just converged."""
        found = []
        for name, loss in losses.items():
            if name not in self._own or name in self.names:
                continue
            if name not in self._best or loss < self._best[name][0]:
                copies = [tensor.detach().clone() for tensor in self._own[name]]
                self._best[name] = loss, copies
                self._epochs_since[name] = 0
                continue
            self._epochs_since[name] += 1
            if self._epochs_since[name] >= self._patience:
                found.append(name)
        self.names.extend(found)
        return found

    @torch.no_grad()
    def restore(self, task: str) -> None:
        """Put a task's own parameters and buffers back to where its loss was lowest."""
        for tensor, kept in zip(self._own[task], self._best[task][1], strict=True):
            tensor.copy_(kept)

    def state_dict(self) -> dict[str, Any]:
        """Return the lowest losses with their tensors, and which tasks have converged."""
        return {
            "best": {name: [loss, list(copies)] for name, (loss, copies) in self._best.items()},
            "epochs_since": dict(self._epochs_since),
            "names": list(self.names),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Set them to what `state_dict` gave."""
        for name, (loss, stored) in state["best"].items():
            pairs = zip(self._own[name], stored, strict=True)
            self._best[name] = (
                loss,
                [placed_like(value.to(own.device), own) for own, value in pairs],
            )
        self._epochs_since = dict(state["epochs_since"])
        self.names = list(state["names"])


def own_tensors(network: Network, tasks: Iterable[str]) -> dict[str, list[Tensor]]:
    """Return the parameters and buffers that belong to each of the tasks alone."""
    own = network.parameters_by_task()
    found: dict[str, list[Tensor]] = {name: [*own[name]] for name in tasks}
    for part in network.all_parts():
        if part.own and part.parameters is None and part.module is not None:
            (name,) = part.tasks
            if name in found:
                found[name].extend(part.module.buffers())
    return found


def relative_score(
    losses: Mapping[str, float], initial: Mapping[str, float], tasks: Iterable[str]
) -> float | None:
    """Return the mean over tasks of the loss over that before training; None without losses.

    Raises:
        InvalidInputError: Several tasks count, and one began with a loss that nothing can be
            measured by.
    """
    names = [name for name in tasks if name in losses]
    for name in names if len(names) > 1 else ():
        # those of jointrain's own kinds are 0 or more, up to rounding
        if initial[name] < _LEAST and min(initial[name], losses[name]) < -_ROUNDING:
            raise InvalidInputError(
                f"the validation loss of task {name!r} was {initial[name]:.4g} before training, "
                "which tells nothing of its scale, and the score is the mean over tasks of the "
                "loss over that before training; add a constant to its loss function, so that it "
                "begins above 0"
            )
    relative = [losses[name] / max(initial[name], _LEAST) for name in names]
    return sum(relative) / len(relative) if relative else None
