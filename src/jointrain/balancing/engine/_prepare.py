"""A step made ready: who owns which parameter, by the losses' graph and what the caller names."""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.autograd.graph import get_gradient_edge

from jointrain.balancing.engine._graph import Graph, Leaf, Node, walk
from jointrain.balancing.engine._step import Step
from jointrain.errors import InvalidInputError

_OF_THE_CALLER = 7  # calls between a warning here and the user's call to `backward`


NOTHING_SHARED: list[Tensor] = []
"""Stands for `shared` where the caller says that the losses share no parameter."""


def prepare(
    losses: list[Tensor],
    *,
    shared: list[Tensor] | None = None,
    own: list[Tensor] | None = None,
    features: list[Tensor] | None = None,
) -> Step:
    """Walk the losses' graph and sort the parameters into shared and own.

    Parameters are the leaf tensors that are `nn.Parameter` and those that the caller names. If
    there is neither, all leaf tensors are.

    Args:
        losses: [t] scalars with graph.
        shared: The shared parameters, or `NOTHING_SHARED`; by default those below `features`, or
            those that two or more losses reach.
        own: The task-specific parameters that are to get a gradient; by default all others.
        features: The tensors that the tasks' own parts start from.

    Raises:
        InvalidInputError: No loss reaches the shared parameters, or a loss not the features, or
            it can't be told which leaf tensors are shared parameters.
    """
    graph = walk(losses)
    if any(leaf.tensor.layout is not torch.strided for leaf in graph.leaves):
        raise InvalidInputError(
            "A parameter is a sparse tensor, whose gradients can't be compared. Keep its values as "
            "a dense parameter and make the sparse tensor of them (`torch.sparse_coo_tensor`)."
        )
    if features is not None:
        _check_features(graph, features, len(losses))
    inputs = _plain_leaves(graph, [*(shared or ()), *(own or ())])
    picked = _shared_leaves(graph, inputs, shared, features)
    taken = {leaf.node for leaf in picked}
    allowed = None if own is None else {id(x) for x in own}
    by_task: list[list[Leaf]] = [[] for _ in losses]
    for leaf in graph.leaves:
        if leaf.node in taken or (allowed is not None and id(leaf.tensor) not in allowed):
            continue
        mask = leaf.mask
        if leaf.node in inputs and mask & (mask - 1):
            continue
        while mask:
            by_task[(mask & -mask).bit_length() - 1].append(leaf)
            mask &= mask - 1
    common = [leaf for leaf in inputs.values() if leaf.mask & (leaf.mask - 1) and own is None]
    counted = [leaf for leaf in graph.leaves if leaf.node not in inputs]
    return Step(losses, [], graph, picked, by_task, counted, common, features)


def tasks_part_inside() -> InvalidInputError:
    """Return the error of a graph that doesn't say which parameters the tasks share."""
    return InvalidInputError(
        "The tasks part within a compiled function (or one defined in Python), so that it "
        "isn't known which of its parameters they share. Name those with "
        "`shared=trunk.parameters()`, or compile the trunk alone."
    )


def _shared_leaves(
    graph: Graph,
    inputs: dict[Node, Leaf],
    shared: list[Tensor] | None,
    features: list[Tensor] | None,
) -> list[Leaf]:
    """Return the shared parameters: those named, those below the features or those found."""
    if shared is not None:
        wanted = {id(x) for x in shared}
        picked = [leaf for leaf in graph.leaves if id(leaf.tensor) in wanted]
        if not picked and shared is not NOTHING_SHARED:
            raise InvalidInputError(
                "No loss reaches any of the parameters in `shared`. Pass the parameters of the "
                "part of the network that the losses were computed with."
            )
        return picked
    if features is not None:
        below = _nodes_below(graph, features)
        return [leaf for leaf in graph.leaves if leaf.node in below and leaf.node not in inputs]
    if graph.parts_inside():
        raise tasks_part_inside()
    common = [leaf for leaf in graph.leaves if leaf.mask & (leaf.mask - 1)]
    picked = [leaf for leaf in common if leaf.node not in inputs]
    if not picked and common:
        raise InvalidInputError(
            f"The losses share no nn.Parameter, only {len(common)} plain tensor(s) that require "
            f"a gradient, of shape {tuple(common[0].tensor.shape)}. If those are weights, name "
            "them with `shared=[...]`. If they are inputs, the tasks share nothing that could be "
            "balanced: add up the losses."
        )
    return picked


def _plain_leaves(graph: Graph, named: Sequence[Tensor]) -> dict[Node, Leaf]:
    """Return the leaf tensors that are no parameters, by node."""
    known = {id(x) for x in named}
    plain = {
        leaf.node: leaf
        for leaf in graph.leaves
        if not isinstance(leaf.tensor, nn.Parameter) and id(leaf.tensor) not in known
    }
    if len(plain) < len(graph.leaves) or named:
        return plain
    common = sum(1 for leaf in plain.values() if leaf.mask & (leaf.mask - 1))
    if common > 1:
        warnings.warn(
            f"The losses reach no nn.Parameter, so all {common} tensors that they share and that "
            "require a gradient count as shared parameters, inputs too. Name the parameters with "
            "`shared=[...]`.",
            stacklevel=_OF_THE_CALLER,
        )
    return {}


def _nodes_below(graph: Graph, features: Sequence[Tensor]) -> set[Node]:
    below, nested = graph.below([get_gradient_edge(z) for z in features])
    if nested:
        raise InvalidInputError(
            "One of `features` is computed from another one of them. Pass only those that the "
            "tasks' own parts start from."
        )
    return below


def _check_features(graph: Graph, features: Sequence[Tensor], t: int) -> None:
    everyone = 0
    for z in features:
        if z.grad_fn is None:
            raise InvalidInputError(
                "`features` must be computed from the shared parameters, got a tensor without "
                "graph. Pass the trunk's output itself, not a detached copy."
            )
        everyone |= graph.masks.get(z.grad_fn, 0)
    for k in range(t):
        if not everyone >> k & 1:
            raise InvalidInputError(
                f"Loss {k} doesn't depend on `features`. Leave `features` out, and the shared "
                "parameters are found by themselves."
            )
