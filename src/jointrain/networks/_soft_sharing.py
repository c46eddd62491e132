"""Soft parameter sharing: a network per task, kept close to each other."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn

from jointrain.errors import InvalidInputError, closest
from jointrain.networks._network import Network, Part
from jointrain.networks._stages import copies, refuse_tied
from jointrain.networks._table_settings import MLPSettings
from jointrain.task import Task

DISTANCES = ("l2", "trace")


class SoftSharing(Network):
    r"""Each task has a trunk of its own; a penalty draws the trunks together.

    For tasks that are related but not alike enough to share layers. With :math:`\theta_i` the
    parameters of task i's trunk, `penalty` is :math:`\lambda` times

    .. math::
        \text{l2:}\quad \sum_{i<j} \lVert \theta_i - \theta_j \rVert_2^2
        \qquad
        \text{trace:}\quad \sum_l \lVert [\mathrm{vec}\,\theta_1^l \dots
        \mathrm{vec}\,\theta_t^l] \rVert_*

    with l over the parameters of a trunk and :math:`\lVert\cdot\rVert_*` the sum of singular
    values. l2 wants equal trunks; the trace norm wants trunks that are combinations of few, and
    draws all weights towards 0 as well.

    Args:
        trunk: One module, of which each task gets a copy, or a mapping of modules by task name
            with the same parameter names and shapes.
        heads: Each task's head.
        distance: ``l2`` (default) or ``trace``.
        strength: :math:`\lambda`, >= 0; default 1e-3.
        reinitialize: Draw new weights for the copies; default False: all start from the same.

    Shape:
        forward: inputs as the trunks take them -> [b, o] for each task.

    Raises:
        InvalidInputError: The distance is unknown, `strength` is negative, a task has no trunk, or
            the trunks' parameters differ in name or shape.

    Cost: a trunk a task, in time and memory. l2 adds O(t p), the trace norm O(t^2 p).

    Source: Duong et al., "Low Resource Dependency Parsing: Cross-lingual Parameter Sharing in a
        Neural Network Parser", ACL 2015, eq. 2 (l2); Yang & Hospedales, "Trace Norm Regularised
        Deep Multi-Task Learning", ICLR 2017 workshop, arXiv:1606.04038, eq. 4 (last axis
        flattening). Written from the papers.
    Differs from the source: l2 takes all pairs of tasks and all of the trunk's parameters (theirs:
        one pair, chosen layers); the strength has no published default.

    Examples:
        >>> network = SoftSharing(nn.Linear(8, 4), {"a": nn.Linear(4, 1), "b": nn.Linear(4, 1)})
        >>> float(network.penalty())
        0.0
    """

    name = "soft"
    summary = "a trunk for each task, drawn to the others"

    def __init__(
        self,
        trunk: nn.Module | Mapping[str, nn.Module],
        heads: Mapping[str, nn.Module],
        *,
        distance: Literal["l2", "trace"] = "l2",
        strength: float = 1e-3,
        reinitialize: bool = False,
    ) -> None:
        super().__init__(heads)
        if distance not in DISTANCES:
            raise InvalidInputError(
                f"`distance` must be one of {', '.join(DISTANCES)}, got {distance!r}"
                f"{closest(distance, DISTANCES)}"
            )
        if not 0 <= strength < math.inf:
            raise InvalidInputError(f"`strength` must be at least 0, got {strength}")
        self.distance = distance
        self.strength = strength
        if isinstance(trunk, nn.Module):
            if len(heads) > 1:
                refuse_tied([trunk], heads.values())
            trunks = copies(trunk, len(heads), reinitialize=reinitialize)
        else:
            check_names("trunk", trunk, self.task_names)
            trunks = [trunk[name] for name in self.task_names]
        self.trunks = nn.ModuleList(trunks)
        first = _shapes(self.trunks[0])
        for name, other in zip(self.task_names, self.trunks, strict=True):
            if _shapes(other) != first:
                different = set(_shapes(other).items()) ^ set(first.items())
                example = min(key for key, _ in different)
                raise InvalidInputError(
                    f"the trunk of task {name!r} differs from that of {self.task_names[0]!r} in "
                    f"parameter {example!r}: {_shapes(other).get(example)} against "
                    f"{first.get(example)}; soft sharing needs trunks of one form"
                )

    @classmethod
    def for_table(
        cls,
        in_features: int,
        tasks: Sequence[Task],
        mlp: MLPSettings,
        *,
        distance: Literal["l2", "trace"] = "l2",
        strength: float = 1e-3,
    ) -> SoftSharing:
        """Return one of MLPs."""
        trunk, heads = mlp.trunk(in_features), mlp.heads(tasks)
        return cls(trunk, heads, distance=distance, strength=strength)

    def features(self, inputs: Any, tasks: Sequence[str]) -> dict[str, Any]:
        """Return what each task's trunk gives."""
        return {name: self.trunks[self.index_of(name)](inputs) for name in tasks}

    def parts(self) -> list[Part]:
        """Return each task's trunk."""
        return [
            Part(("trunks", name), (name,), trunk, own=True)
            for name, trunk in zip(self.task_names, self.trunks, strict=True)
        ]

    def penalty(self, tasks: Sequence[str] | None = None) -> Tensor | None:
        """Return the strength times the distance between the trunks, None where it is 0.

        Args:
            tasks: The tasks of the step; the trunks of the others are constants in it.
        """
        if not self.strength or len(self.trunks) == 1:
            return None
        moving = {self.index_of(name) for name in (self.task_names if tasks is None else tasks)}
        total = next(self.parameters()).new_zeros(())
        for tensors in zip(*(trunk.parameters() for trunk in self.trunks), strict=True):
            stacked = torch.stack(
                [
                    p.flatten() if i in moving else p.detach().flatten()
                    for i, p in enumerate(tensors)
                ]
            )  # [t, p]
            total = total + (l2_distance(stacked) if self.distance == "l2" else trace_norm(stacked))
        return self.strength * total


def l2_distance(rows: Tensor) -> Tensor:
    r"""Return :math:`\sum_{i<j} \lVert r_i - r_j \rVert^2 = t \sum_i \lVert r_i - \bar r\rVert^2`.

    Shape:
        rows: [t, p]. returns: [].
    """
    return len(rows) * (rows - rows.mean(0)).square().sum()


def trace_norm(rows: Tensor) -> Tensor:
    """Return the sum of singular values.

    Shape:
        rows: [t, p]. returns: [].
    """
    values: Tensor = torch.linalg.svdvals(rows)
    return values.sum()


def check_names(argument: str, given: Mapping[str, Any], tasks: Sequence[str]) -> None:
    """Refuse a mapping by task name that lacks a task or has an unknown one.

    Raises:
        InvalidInputError: Names and tasks differ.
    """
    for name in tasks:
        if name not in given:
            raise InvalidInputError(
                f"`{argument}` has no entry for task {name!r}; it needs one for each head"
            )
    for name in given:
        if name not in tasks:
            raise InvalidInputError(
                f"`{argument}` names {name!r}, for which there is no head{closest(name, tasks)}; "
                f"add a head for the task or drop the entry"
            )


def _shapes(module: nn.Module) -> dict[str, tuple[int, ...]]:
    return {name: tuple(p.shape) for name, p in module.named_parameters()}
