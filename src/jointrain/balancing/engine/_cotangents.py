"""The tasks' gradients where their own parts of the graph meet the shared part."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.autograd.graph import GradientEdge

from jointrain.balancing._float_range import Cast, in_range
from jointrain.balancing.engine._boundary import Boundary, has_hook
from jointrain.balancing.engine._ghost import gram
from jointrain.balancing.engine._gradients import Gradients, grad, no_gradients
from jointrain.balancing.engine._graph import Graph, Leaf, Node, kind_of, saved


class Cotangents(ABC):
    """What enters the shared part of the graph: a gradient per task and edge of the boundary."""

    @abstractmethod
    def of_task(self, k: int) -> list[Tensor]:
        """Return task k's gradient at each edge."""

    @abstractmethod
    def of_tasks(self, start: int, stop: int) -> list[Tensor]:
        """Return the gradients of a range of tasks at each edge, [stop - start, *edge]."""

    @abstractmethod
    def gramian(self) -> Tensor:
        """Return the inner products [t, t] in float64 on the CPU."""

    @abstractmethod
    def weighted(self, weights: Tensor) -> list[Tensor]:
        """Return the weighted sum over tasks at each edge."""


class DenseCotangents(Cotangents):
    """Kept as they are: one tensor [t, *edge] for each edge."""

    def __init__(self, edges: list[Tensor]) -> None:
        self.edges = edges

    def of_task(self, k: int) -> list[Tensor]:
        return [c[k] for c in self.edges]

    def of_tasks(self, start: int, stop: int) -> list[Tensor]:
        return [c[start:stop] for c in self.edges]

    def gramian(self) -> Tensor:
        def products(cast: Cast) -> Tensor:
            return torch.stack([gram(cast(c).reshape(len(c), -1)).cpu() for c in self.edges]).sum(0)

        return in_range(products, self.of_task)

    def weighted(self, weights: Tensor) -> list[Tensor]:
        return [torch.tensordot(weights.to(c), c, 1) for c in self.edges]


class _Product(NamedTuple):
    """Task `task`'s gradient at an edge as ``left @ right``, [n, c] times [c, d]."""

    task: int
    left: Tensor
    right: Tensor


class LinearCotangents(Cotangents):
    """Kept as products: where each task's own part begins with a linear layer.

    With gradients D_k [n, c] at that layer's output and its weight W_k [c, d], the gradient at its
    input is D_k W_k; inner products are sums over (D_k^T D_l) * (W_k W_l^T), which never form it.
    """

    def __init__(self, t: int, edges: list[list[_Product]]) -> None:
        self.t = t
        self.edges = edges
        self._joined = [
            (torch.cat([p.left for p in edge], 1), torch.cat([p.right for p in edge], 0))
            for edge in edges
        ]  # [n, all c], [all c, d]

    def of_task(self, k: int) -> list[Tensor]:
        result = []
        for edge in self.edges:
            # one output: a product of broadcasting does, in less time
            parts = [
                p.left * p.right if len(p.right) == 1 else p.left @ p.right
                for p in edge
                if p.task == k
            ]
            if not parts:
                parts = [edge[0].left.new_zeros(len(edge[0].left), edge[0].right.shape[1])]
            result.append(sum(parts[1:], start=parts[0]))
        return result

    def of_tasks(self, start: int, stop: int) -> list[Tensor]:
        rows = [self.of_task(k) for k in range(start, stop)]
        return [torch.stack(column) for column in zip(*rows, strict=True)]

    def gramian(self) -> Tensor:
        return in_range(self._products, self.of_task)

    def _products(self, cast: Cast) -> Tensor:
        total = torch.zeros(self.t, self.t, dtype=torch.float64)
        for edge, factors in zip(self.edges, self._joined, strict=True):
            left, right = map(cast, factors)
            if left.dtype in (torch.float16, torch.bfloat16):
                left, right = left.float(), right.float()
            products = ((left.T @ left) * (right @ right.T)).double().cpu()
            owner = _owner(edge)
            rows = torch.zeros(self.t, len(owner), dtype=torch.float64)
            rows.index_add_(0, owner, products)
            total.index_add_(1, owner, rows)
        return total

    def weighted(self, weights: Tensor) -> list[Tensor]:
        return [
            (left * weights[_owner(edge)].to(left)) @ right
            for edge, (left, right) in zip(self.edges, self._joined, strict=True)
        ]


def _owner(edge: Sequence[_Product]) -> Tensor:
    """Return the task that each column of the joined products belongs to."""
    return torch.tensor([p.task for p in edge for _ in range(p.left.shape[1])])


def linear_cotangents(
    graph: Graph,
    boundary: Boundary,
    losses: Sequence[Tensor],
    factors: Sequence[Tensor],
    own: Sequence[Sequence[Leaf]],
) -> tuple[LinearCotangents, Gradients] | None:
    """Return the cotangents as products, and the own parameters' gradients, by a single pass.

    One pass does for all tasks since their own parts have nothing in common. None where a task's
    own part doesn't begin with a linear layer without hooks, or two tasks share one of `own`.
    """
    entries = _linear_entries(graph, boundary)
    leaves = [leaf for task in own for leaf in task]
    if entries is None or any(leaf.mask & (leaf.mask - 1) for leaf in leaves):
        return None
    nodes = [node for entry in entries for _, node, _ in entry]
    tensors = [leaf.tensor for leaf in leaves]
    wanted = [GradientEdge(node, 0) for node in nodes]
    if has_hook(wanted):
        return None
    found = grad(losses, [*wanted, *tensors], factors, retain=True)
    outputs = iter(found[: len(nodes)])
    edges = []
    for entry in entries:
        products = []
        for task, _, weight in entry:
            left = next(outputs)
            if left is None:
                return None
            products.append(_Product(task, left, weight))
        edges.append(products)
    mine = Gradients.of(tensors, found[len(nodes) :])
    mine.tasks[:] = [
        leaf.mask.bit_length() - 1
        for leaf, g in zip(leaves, found[len(nodes) :], strict=True)
        if g is not None
    ]
    return LinearCotangents(len(losses), edges), mine


def _linear_entries(
    graph: Graph, boundary: Boundary
) -> list[list[tuple[int, Node, Tensor]]] | None:
    """Return for each edge the (task, node, weight [c, d]) of the layers that take it."""
    place = {(edge.node, edge.output_nr): i for i, edge in enumerate(boundary.edges)}
    if any(root in place for root in graph.roots):
        return None
    entries: list[list[tuple[int, Node, Tensor]]] = [[] for _ in boundary.edges]
    for node, mask in graph.masks.items():
        for slot, child in enumerate(graph.children[node]):
            if child not in place:
                continue
            weight = None if mask & (mask - 1) else _weight_of(node, slot)
            if weight is None:
                return None  # not linear, or what several tasks do with features that were named
            entries[place[child]].append((mask.bit_length() - 1, node, weight))
    return entries if all(entries) else None


def _weight_of(node: Node, slot: int) -> Tensor | None:
    name = kind_of(node)
    plain = name == "AddmmBackward0" and slot == 1 and node._saved_alpha == 1
    found = saved(node, "mat2") if plain or (name == "MmBackward0" and slot == 0) else None
    return None if found is None or found.is_complex() else found.detach().T


def _below(edge: GradientEdge) -> GradientEdge:
    """Return an edge that leads on from the operation at `edge`.

    Where its gradient is wanted as well, that at `edge` is the one before its hooks, which the
    pass that starts there will call.
    """
    return next(GradientEdge(n, number) for n, number in edge.node.next_functions if n is not None)


def dense_cotangents(
    graph: Graph,
    boundary: Boundary,
    losses: Sequence[Tensor],
    factors: Sequence[Tensor],
    own: Sequence[Sequence[Leaf]],
) -> tuple[DenseCotangents, Gradients]:
    """Return the cotangents and the own parameters' gradients by a pass per task.

    Each pass stops at the boundary, so that the trunk is not entered.
    """
    t = len(losses)
    below = [_below(edge) if has_hook([edge]) else None for edge in boundary.edges]
    found_by_task = []
    mine = no_gradients()
    forget = graph.forgetting()
    for k, (loss, factor) in enumerate(zip(losses, factors, strict=True)):
        mask = [users >> k & 1 for users in boundary.users]
        used = [edge for edge, uses in zip(boundary.edges, mask, strict=True) if uses]
        further = [edge for edge, uses in zip(below, mask, strict=True) if uses and edge]
        tensors = [leaf.tensor for leaf in own[k]]
        found = grad([loss], [*used, *further, *tensors], [factor], retain=True)
        forget()
        found_by_task.append(list(found[: len(used)]))
        mine.extend(Gradients.of(tensors, found[len(used) + len(further) :], k))
    edges = []
    for edge, users in zip(boundary.edges, boundary.users, strict=True):
        rows = [found_by_task[k].pop(0) if users >> k & 1 else None for k in range(t)]
        model = next((row for row in rows if row is not None), None)
        if model is None:
            metadata = edge.node._input_metadata[edge.output_nr]
            model = losses[0].new_zeros(metadata.shape, dtype=metadata.dtype)
        edges.append(torch.stack([torch.zeros_like(model) if r is None else r for r in rows]))
    return DenseCotangents(edges), mine
