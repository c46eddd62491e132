"""Where the tasks' own parts of the graph end, and what they share begins."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.autograd.graph import GradientEdge, get_gradient_edge

from jointrain.balancing.engine._graph import Graph, Leaf, Node, kind_of


def has_hook(edges: Sequence[GradientEdge]) -> bool:
    """Return whether a tensor hook would change the gradient at one of the edges.

    Autograd hands out the gradient at an edge before such hooks where operations below take part
    in the pass, and after them where the pass ends there. No attribute of a node tells whether
    there are any, so they are tried on zeros.

    Args:
        edges: Edges none of which lies below another; if one does, the answer is yes.
    """
    zeros = []
    for edge in edges:
        output = edge.node._input_metadata[edge.output_nr]
        if output.is_nested_tensor:
            return True  # without a shape there are no zeros to try with
        zeros.append(torch.zeros((), dtype=output.dtype, device=output.device).expand(output.shape))
    found = torch.autograd.grad(edges, edges, zeros, retain_graph=True)
    return any(after is not before for after, before in zip(found, zeros, strict=True))


class Boundary(NamedTuple):
    """Where the tasks' own parts of the graph end and what they share begins.

    Attributes:
        edges: The tensors that the tasks' own parts take from the shared part, as edges.
        users: For each edge, the tasks that use it directly, as bits.
    """

    edges: list[GradientEdge]
    users: list[int]


def find_boundary(
    graph: Graph, leaves: Sequence[Leaf], features: Sequence[Tensor] | None = None
) -> Boundary | None:
    """Return the boundary, or None where the graph has none that passes can start from.

    It has none if one edge of it lies below another (a skip connection around a part of the
    trunk into a head, a weight used in both), since gradients by both would count a path twice.
    It has none if a loss reaches one of `leaves` around all edges, since that path would not be
    counted; nor at nested tensors, and at tables whose gradients are sparse.

    Args:
        graph: The graph of the losses.
        leaves: The leaf tensors whose gradients are wanted.
        features: The tensors at the boundary, if known; found otherwise.
    """
    if features is not None:
        edges = list(dict.fromkeys(map(get_gradient_edge, features)))  # each once
        users = [graph.masks.get(edge.node, 0) for edge in edges]
    else:
        edges, users = _found_edges(graph)
    if not edges or graph.below(edges)[1]:
        return None
    if any(_is_leaf_with_hook(edge.node) for edge in edges):
        return None  # it would be called for the gradient at the boundary, and for that of the leaf
    tables = {leaf.node for leaf in leaves if leaf.sparse}
    if any(edge.node in tables or _is_nested(edge) for edge in edges):
        return None  # the tasks' gradients there can't be kept as one tensor
    # the edges that were found cut off all that two or more losses reach
    doubtful = leaves if features is not None else [x for x in leaves if not x.mask & (x.mask - 1)]
    if doubtful:
        around = graph.around(edges)
        if any(leaf.node in around for leaf in doubtful):
            return None
    return Boundary(edges, users)


def _is_nested(edge: GradientEdge) -> bool:
    return bool(edge.node._input_metadata[edge.output_nr].is_nested_tensor)


def _is_leaf_with_hook(node: Node) -> bool:
    tensor = getattr(node, "variable", None)
    return tensor is not None and bool(tensor._backward_hooks)


def _found_edges(graph: Graph) -> tuple[list[GradientEdge], list[int]]:
    masks = graph.masks
    users: dict[tuple[Node, int], int] = {}
    for k, root in enumerate(graph.roots):
        if masks[root[0]] & (masks[root[0]] - 1):
            users[root] = users.get(root, 0) | 1 << k
    for node, below in graph.children.items():
        mask = masks[node]
        if mask & (mask - 1):
            continue
        for child, number in below:
            if child is not None and masks[child] & (masks[child] - 1):
                key = (child, number)
                users[key] = users.get(key, 0) | mask
    return [GradientEdge(node, nr) for node, nr in users], list(users.values())


def last_layer(graph: Graph, shared: Collection[Leaf]) -> list[Leaf]:
    """Return the shared leaves of the layer that is closest to the losses; none if it isn't found.

    That is the first operation, from the losses on, that all of them reach and that takes shared
    leaves as they are, cast, transposed or, pairs of real numbers, as complex ones.
    """
    everyone = (1 << len(graph.roots)) - 1
    by_node = {leaf.node: leaf for leaf in shared}
    for node, mask in graph.masks.items():
        if mask != everyone:
            continue
        found = []
        for child, _ in graph.children[node]:
            inner = child
            while inner is not None and inner not in by_node and len(graph.children[inner]) == 1:
                if kind_of(inner) not in _CASTS:
                    break
                inner = graph.children[inner][0][0]
            if inner in by_node:
                found.append(by_node[inner])
        if found:
            return found
    return []


_CASTS = frozenset(
    {"TBackward0", "ToCopyBackward0", "TransposeBackward0", "ViewAsComplexBackward0"}
)
