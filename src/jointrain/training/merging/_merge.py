"""Merge: a schedule that trains every task apart and then makes one network of all."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import torch

from jointrain.errors import InvalidInputError, closest
from jointrain.networks import HardSharing, Network
from jointrain.training.merging._task_vectors import (
    State,
    dropped,
    sign_elected_mean,
    trimmed,
    weighted_mean,
    weighted_sum,
)

Method = Literal["mean", "arithmetic", "ties", "dare"]

COEFFICIENTS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0, 1.2, 1.5, 2.0)
"""Those that are tried where none is given."""

WEIGHTS = (0.0, 0.5, 1.0, 1.5, 2.0)
"""Weights of a task that are tried, one task after another, where they are searched."""

_DENSITIES = {"ties": 0.2, "dare": 0.5}


@dataclass(frozen=True)
class Merge:
    r"""Every task is trained apart from one initialisation; their shared layers become one network.

    A value, given as a trainer's schedule. Each task trains a copy of the network by itself, with
    the trainer's settings, early stopping and seed, as a trainer of that task alone would. With
    :math:`\tau_i` what the training of task i has added to the shared weights :math:`\theta_0`, the
    merged ones are :math:`\theta_0 + \lambda \tau`, where :math:`\tau` is

    - ``mean``: the mean of :math:`\tau_i`, and :math:`\lambda = 1`: the mean of the weights.
    - ``arithmetic``: the sum of :math:`\tau_i`.
    - ``ties``: of each :math:`\tau_i` the largest values are kept; of each value the mean of those
      that have the sign of their sum.
    - ``dare``: of each :math:`\tau_i` random values are dropped and the others enlarged to match;
      then as `then` says.

    What belongs to a single task (its head, its layers above the trunk) stays as its own training
    left it.

    Args:
        method: Default ``mean``.
        density: Share of the values that ``ties`` (default 0.2) and ``dare`` (default 0.5) keep, in
            (0, 1].
        coefficient: :math:`\lambda` > 0. None (default) takes of 0.1, 0.2, ..., 1, 1.2, 1.5 and 2
            the one with the best validation score, as early stopping counts it; without validation
            data 1 for ``ties``, and 1 / t for a sum of t tasks.
        weights: :math:`w_i`, the factor of each task's :math:`\tau_i`. ``equal`` (default);
            ``searched``, for each task in turn of 0, 0.5, 1, 1.5 and 2 the one with the best
            validation score; or pairs of (task, weight >= 0), where a mapping is accepted and tasks
            left out have 1. In means they are relative.
        then: What ``dare`` does with the values that are left: ``arithmetic`` (default) or
            ``ties``, by their signs alone.
        head_epochs: Epochs of joint training of the tasks' own layers afterwards, the merged ones
            frozen; default 0.
        kind: What stored values call it; it has no other value.

    Raises:
        InvalidInputError: The method is unknown, a number lies outside its range, or a setting does
            not go with the method.

    Source: Ilharco et al., "Editing Models with Task Arithmetic", ICLR 2023 (``arithmetic``; the
        coefficient by held-out data); Yadav et al., "TIES-Merging: Resolving Interference When
        Merging Models", NeurIPS 2023 (``ties``); Yu et al., "Language Models are Super Mario",
        ICML 2024 (``dare``); Wortsman et al., "Model soups", ICML 2022 (``mean``).
    Differs from the source: these start from a large pretrained network, which a trunk of one's own
        may be; from random weights the tasks' networks end far from each other. All but the heads
        is merged; classifiers of CLIP there are frozen, here each task has its own. ``head_epochs``
        is no part of these methods: it is the probing that papers on representations after merging
        use, such as Yang et al., "Representation Surgery for Multi-Task Model Merging", ICML 2024,
        who train a layer for each task instead. ``weights="searched"`` is ours.

    Examples:
        >>> Merge("ties", density=0.3)
        Merge(method='ties', density=0.3, coefficient=None, weights='equal', then=None, head_epochs=0)
    """  # noqa: E501

    # unknown keys in stored values are errors
    __pydantic_config__ = {"extra": "forbid"}  # noqa: RUF012

    method: Method = "mean"
    density: float | None = None
    coefficient: float | None = None
    weights: Literal["equal", "searched"] | tuple[tuple[str, float], ...] = "equal"
    then: Literal["arithmetic", "ties"] | None = None
    head_epochs: int = 0
    kind: Literal["merge"] = "merge"

    def __post_init__(self) -> None:
        known = get_args(Method)
        if self.method not in known:
            raise InvalidInputError(
                f"`method` of Merge() must be one of {', '.join(known)}, got {self.method!r}"
                f"{closest(str(self.method), known)}"
            )
        if self.method in _DENSITIES:
            density = _DENSITIES[self.method] if self.density is None else self.density
            object.__setattr__(self, "density", density)
            if not 0 < density <= 1:
                raise InvalidInputError(f"`density` must lie in (0, 1], got {density}")
        elif self.density is not None:
            raise InvalidInputError(f"`density` goes with 'ties' and 'dare', not {self.method!r}")
        self._check_numbers()
        self._check_weights()

    def _check_numbers(self) -> None:
        if self.method == "dare" and self.then is None:
            object.__setattr__(self, "then", "arithmetic")
        if self.method != "dare" and self.then is not None:
            raise InvalidInputError(f"`then` goes with 'dare', not {self.method!r}")
        if self.then not in (None, "arithmetic", "ties"):
            raise InvalidInputError(f"`then` must be 'arithmetic' or 'ties', got {self.then!r}")
        if self.coefficient is not None:
            if self.method == "mean":
                raise InvalidInputError(
                    "method 'mean' has no `coefficient`; leave it out, or use 'arithmetic'"
                )
            if not 0 < self.coefficient < math.inf:
                raise InvalidInputError(f"`coefficient` must be positive, got {self.coefficient}")
        if self.head_epochs < 0:
            raise InvalidInputError(f"`head_epochs` must be at least 0, got {self.head_epochs}")

    def _check_weights(self) -> None:
        if isinstance(self.weights, str):
            if self.weights not in ("equal", "searched"):
                raise InvalidInputError(
                    f"`weights` of Merge() must be 'equal', 'searched' or pairs of (task, weight), "
                    f"got {self.weights!r}"
                )
            return
        pairs = tuple((str(name), float(value)) for name, value in dict(self.weights).items())
        object.__setattr__(self, "weights", pairs)
        for name, value in pairs:
            if not 0 <= value < math.inf:
                raise InvalidInputError(
                    f"`weights` of Merge() gives {name!r} {value}, must be >= 0"
                )

    def check(self, network: Network, tasks: Sequence[str]) -> None:
        """Refuse a network that can't be merged, and weights of what is no task.

        Raises:
            InvalidInputError: The network is not hard sharing, has no weights that all tasks share,
                or a weight names no task.
        """
        if not isinstance(network, HardSharing):
            raise InvalidInputError(
                f"Merge() makes one shared trunk of several, and {type(network).__name__} shares "
                f"in another way; use HardSharing (network 'hard')"
            )
        if not any(parameter.requires_grad for parameter in network.shared_parameters()):
            raise InvalidInputError("Merge() has nothing to merge: no shared weights are trained")
        if isinstance(self.weights, str):
            return
        for name, _ in self.weights:
            if name not in tasks:
                raise InvalidInputError(
                    f"`weights` of Merge() names {name!r}, which is no task{closest(name, tasks)}"
                )
        if not any(self.first_weights(tasks)):
            raise InvalidInputError("`weights` of Merge() must not all be 0")

    def first_weights(self, tasks: Sequence[str]) -> tuple[float, ...]:
        """Return the weight of each task; 1 where they are searched."""
        given: Mapping[str, float] = {} if isinstance(self.weights, str) else dict(self.weights)
        return tuple(given.get(name, 1.0) for name in tasks)

    def coefficients(self, tasks: int, *, validates: bool) -> tuple[float, ...]:
        """Return the coefficients to choose from, for so many tasks."""
        if self.coefficient is not None:
            return (self.coefficient,)
        if self.method == "mean":
            return (1.0,)
        if validates:
            return COEFFICIENTS
        return (1.0,) if "ties" in (self.method, self.then) else (1 / tasks,)

    def sparse(self, vectors: Sequence[State], generator: torch.Generator) -> list[State]:
        """Return the task vectors without the values that the method leaves out."""
        if self.density is None:
            return list(vectors)
        if self.method == "ties":
            return [trimmed(vector, self.density) for vector in vectors]
        return [dropped(vector, self.density, generator) for vector in vectors]

    def combined(
        self, vectors: Sequence[State], weights: Sequence[float]
    ) -> dict[str, torch.Tensor]:
        """Return one vector for all tasks, of what `sparse` has left."""
        if self.method == "mean":
            return weighted_mean(vectors, weights)
        if "ties" in (self.method, self.then):
            return sign_elected_mean(vectors, weights)
        return weighted_sum(vectors, weights)


def merges_by_name() -> dict[str, Merge]:
    """Return a merge by each method as it is called where names are wanted: ``merge-ties``, ..."""
    return {f"merge-{method}": Merge(method) for method in get_args(Method)}


@dataclass(frozen=True)
class MergeChoice:
    """What a merge was made with.

    Args:
        coefficient: Of the common vector.
        weights: Of the tasks' vectors, by name.
        scores: The validation score of each coefficient that was tried, at the first weights; empty
            without validation data or choice.
    """

    coefficient: float
    weights: Mapping[str, float]
    scores: Mapping[float, float]


def one_weight_changed(weights: tuple[float, ...], task: int) -> Iterator[tuple[float, ...]]:
    """Yield the weights with other ones of a task, never all 0."""
    for value in WEIGHTS:
        changed = (*weights[:task], value, *weights[task + 1 :])
        if changed != weights and any(changed):
            yield changed
