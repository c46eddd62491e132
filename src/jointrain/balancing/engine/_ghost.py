"""Layers whose Gramian comes from their inputs and output gradients, without weight gradients.

For a linear layer with inputs a [n, i] and output gradients D_k [n, o] the weight gradients of two
tasks have the inner product <a^T D_k, a^T D_l> = <(a a^T) D_k, D_l>: where n is smaller than i this
is cheaper in time and memory than the weight gradients themselves.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Sequence

import torch
from torch import Tensor
from torch.autograd.graph import GradientEdge
from torch.nn import functional
from torch.nn.grad import conv2d_weight

from jointrain.balancing.engine._boundary import has_hook
from jointrain.balancing.engine._graph import Graph, Leaf, Node, kind_of, saved


class GhostLayer(ABC):
    """A layer with its node in the graph and its input; gradients are those at its output."""

    def __init__(self, node: Node, leaves: list[Leaf]) -> None:
        self.edge = GradientEdge(node, 0)
        self.leaves = leaves

    def sees_all(self) -> bool:
        """Return whether the gradient at the output is what the layer's operation gets."""
        return not has_hook([self.edge])

    @abstractmethod
    def pays(self, t: int) -> bool:
        """Return whether this way is cheaper than weight gradients for t tasks."""

    @abstractmethod
    def gramian(self, gradients: Tensor) -> Tensor:
        """Return the Gramian [t, t] of the layer's parameters from output gradients [t, ...]."""

    @abstractmethod
    def combine(self, gradient: Tensor) -> list[Tensor]:
        """Return the gradients of `leaves` from one output gradient [...]."""


class LinearLayer(GhostLayer):
    """``a @ weight.T + bias``; the weight may be stored as [o, i] or (`turned`) as [i, o]."""

    def __init__(self, node: Node, leaves: list[Leaf], inputs: Tensor, turned: bool) -> None:
        super().__init__(node, leaves)
        self.inputs = inputs  # [n, i]
        self.turned = turned
        self.has_bias = len(leaves) == 2
        weight = leaves[0].tensor
        self.o = weight.shape[1] if turned else weight.shape[0]

    def pays(self, t: int) -> bool:
        n, i = self.inputs.shape
        return _ghost_pays(n, i, self.o, t)

    def gramian(self, gradients: Tensor) -> Tensor:
        return _linear_gramian(self.inputs, gradients, self.has_bias)

    def fits(self) -> bool:
        """Return whether weight gradients are autograd's, in the parameters' type and place."""
        kinds = {(x.dtype, x.device) for x in (self.inputs, *(leaf.tensor for leaf in self.leaves))}
        return len(kinds) == 1 and self.sees_all()

    def write(self, gradient: Tensor, places: list[Tensor]) -> None:
        """Write the gradients of `leaves` for one output gradient to where they belong."""
        left, right = (self.inputs, gradient) if self.turned else (gradient, self.inputs)
        torch.mm(left.T, right, out=places[0])
        if self.has_bias:
            torch.sum(gradient, 0, out=places[1])

    def combine(self, gradient: Tensor) -> list[Tensor]:
        left, right = (self.inputs, gradient) if self.turned else (gradient, self.inputs)
        found = [left.T @ right]
        if self.has_bias:
            found.append(gradient.sum(0))
        return found


class ConvLayer(GhostLayer):
    """A two-dimensional convolution without groups: a linear layer on patches."""

    def __init__(self, node: Node, leaves: list[Leaf], inputs: Tensor) -> None:
        super().__init__(node, leaves)
        self.inputs = inputs  # [b, c, h, w]
        self.weight = leaves[0].tensor
        self.has_bias = len(leaves) == 2
        self.geometry = {
            "dilation": _pair(node._saved_dilation),
            "padding": _pair(node._saved_padding),
            "stride": _pair(node._saved_stride),
        }

    def places(self) -> int:
        """Return the number of output positions, over the batch."""
        n = len(self.inputs)
        for axis, size in enumerate(self.inputs.shape[2:]):
            reach = self.geometry["dilation"][axis] * (self.weight.shape[2 + axis] - 1)
            room = size + 2 * self.geometry["padding"][axis] - reach - 1
            n *= room // self.geometry["stride"][axis] + 1
        return n

    def pays(self, t: int) -> bool:
        o, *rest = self.weight.shape
        return _ghost_pays(self.places(), rest[0] * rest[1] * rest[2], o, t)

    def gramian(self, gradients: Tensor) -> Tensor:
        patches = functional.unfold(self.inputs, self.weight.shape[2:], **self.geometry)
        inputs = patches.transpose(1, 2).flatten(0, 1)  # [n, i]
        flat = gradients.flatten(3).transpose(2, 3).flatten(1, 2)  # [t, n, o]
        return _linear_gramian(inputs, flat, self.has_bias)

    def combine(self, gradient: Tensor) -> list[Tensor]:
        shape = self.weight.shape
        weight = conv2d_weight(self.inputs, shape, gradient, **self.geometry)  # type: ignore[no-untyped-call]
        return [weight, gradient.sum((0, 2, 3))] if self.has_bias else [weight]


def _pair(numbers: Sequence[int]) -> tuple[int, int]:
    """Return a number for each axis, where one may stand for both, as with padding="valid"."""
    return numbers[0], numbers[-1]


class EmbeddingLayer(GhostLayer):
    """Rows of a table: only those that the batch uses have a gradient."""

    def __init__(self, node: Node, leaves: list[Leaf], indices: Tensor, padding: int) -> None:
        super().__init__(node, leaves)
        self.table = leaves[0].tensor
        self.rows, self.places = torch.unique(indices.flatten(), return_inverse=True)
        self.padding = padding

    def pays(self, t: int) -> bool:  # noqa: ARG002
        return len(self.rows) < len(self.table)

    def _summed(self, gradients: Tensor) -> Tensor:
        t, d = len(gradients), self.table.shape[1]
        summed = gradients.new_zeros(t, len(self.rows), d)
        summed.index_add_(1, self.places, gradients.reshape(t, -1, d))
        summed[:, self.rows == self.padding] = 0.0
        return summed

    def gramian(self, gradients: Tensor) -> Tensor:
        return gram(self._summed(gradients).flatten(1))

    def combine(self, gradient: Tensor) -> list[Tensor]:
        table = torch.zeros_like(self.table)
        table[self.rows] = self._summed(gradient.unsqueeze(0))[0]
        return [table]


def real_view(tensor: Tensor) -> Tensor:
    """Return complex numbers as pairs of real ones, [..., 2]; real ones as they are."""
    return torch.view_as_real(tensor.resolve_conj()) if tensor.is_complex() else tensor


def gram(rows: Tensor) -> Tensor:
    """Return ``rows @ rows.T`` in float64 for rows [t, p], by halves where that is faster.

    A complex number counts as the two real ones that it consists of.
    """
    rows = real_view(rows).flatten(1)
    if rows.dtype in (torch.float16, torch.bfloat16):
        rows = rows.float()
    t = len(rows)
    if t < 5 or 12 < t < 64:  # sizes at which the whole product is the faster
        return (rows @ rows.T).double()
    half = t // 2
    top, bottom = rows[:half], rows[half:]
    below = bottom @ top.T
    upper = torch.cat([top @ top.T, below.T], 1)
    lower = torch.cat([below, bottom @ bottom.T], 1)
    return torch.cat([upper, lower]).double()


def _linear_gramian(inputs: Tensor, gradients: Tensor, has_bias: bool) -> Tensor:
    if gradients.dtype in (torch.float16, torch.bfloat16):
        gradients = gradients.float()
    inputs = inputs.to(gradients)
    kernel = inputs @ inputs.T  # [n, n]
    if has_bias:
        kernel += 1.0
    return (torch.matmul(kernel, gradients).flatten(1) @ gradients.flatten(1).T).double()


def _ghost_pays(n: int, i: int, o: int, t: int) -> bool:
    ghost = n * n * (i + t * o) + t * t * n * o + n * i * o
    weights = t * n * i * o + t * t * i * o + t * i * o
    return ghost < 0.9 * weights


def find_layers(graph: Graph, shared: Collection[Leaf], tasks: int) -> list[GhostLayer]:
    """Return the recognised layers that just these tasks use, with parameters that they use once.

    Args:
        graph: The graph of the losses.
        shared: The parameters whose gradients are wanted. Those with hooks on their gradients are
            left to autograd, which calls them, and so are complex ones.
        tasks: The tasks, as bits.
    """
    by_node = {
        leaf.node: leaf
        for leaf in shared
        if leaf.mask & tasks == tasks
        and not leaf.tensor._backward_hooks
        and not leaf.tensor.is_complex()
    }
    found = []
    for node, mask in graph.masks.items():
        build = _BUILDERS.get(kind_of(node)) if mask == tasks else None
        layer = None if build is None else build(node, graph, by_node)
        if layer is not None:
            found.append((layer, node))
    if not found:
        return []
    uses: dict[Node, int] = {}
    for node, below in graph.children.items():
        if graph.masks[node] & tasks:
            for child, _ in below:
                uses[child] = uses.get(child, 0) + 1
    return [layer for layer, node in found if _used_once(layer, node, graph, uses)]


def _used_once(layer: GhostLayer, node: Node, graph: Graph, uses: dict[Node, int]) -> bool:
    """Return whether the layer's parameters, and their transposes, enter nowhere else."""
    transposes = [c for c, _ in graph.children[node] if kind_of(c) == "TBackward0"]
    nodes = [leaf.node for leaf in layer.leaves] + transposes
    return all(uses.get(n, 0) == 1 for n in nodes)


def _leaf(node: Node, graph: Graph, by_node: dict[Node, Leaf]) -> tuple[Leaf | None, bool]:
    """Return the leaf behind an edge and whether it is transposed on the way."""
    if node in by_node:
        return by_node[node], False
    if kind_of(node) == "TBackward0":
        return by_node.get(graph.children[node][0][0]), True
    return None, False


def _linear(node: Node, graph: Graph, by_node: dict[Node, Leaf]) -> GhostLayer | None:
    (bias_node, _), _, (weight_node, _) = graph.children[node]
    weight, transposed = _leaf(weight_node, graph, by_node)
    bias = by_node.get(bias_node)
    plain = node._saved_alpha == 1 and node._saved_beta == 1
    if weight is None or not plain or (bias_node is not None and bias is None):
        return None
    if bias is not None and bias.tensor.shape != (weight.tensor.shape[0 if transposed else 1],):
        return None  # one that is broadcast
    leaves = [weight] if bias is None else [weight, bias]
    inputs = saved(node, "mat1")
    if inputs is None:
        return None
    return LinearLayer(node, leaves, inputs.detach(), turned=not transposed)


def _linear_without_bias(node: Node, graph: Graph, by_node: dict[Node, Leaf]) -> GhostLayer | None:
    weight, transposed = _leaf(graph.children[node][1][0], graph, by_node)
    inputs = None if weight is None else saved(node, "self")
    if weight is None or inputs is None:
        return None
    return LinearLayer(node, [weight], inputs.detach(), turned=not transposed)


def _conv(node: Node, graph: Graph, by_node: dict[Node, Leaf]) -> GhostLayer | None:
    _, (weight_node, _), (bias_node, _) = graph.children[node]
    weight, bias = by_node.get(weight_node), by_node.get(bias_node)
    axes = len(node._input_metadata[0].shape) - 2
    odd = node._saved_transposed or node._saved_groups != 1 or axes != 2
    if weight is None or odd or (bias_node is not None and bias is None):
        return None
    leaves = [weight] if bias is None else [weight, bias]
    inputs = saved(node, "input")
    return None if inputs is None else ConvLayer(node, leaves, inputs.detach())


def _embedding(node: Node, graph: Graph, by_node: dict[Node, Leaf]) -> GhostLayer | None:
    table = by_node.get(graph.children[node][0][0])
    if table is None or node._saved_scale_grad_by_freq or node._saved_sparse:
        return None
    padding, indices = node._saved_padding_idx, saved(node, "indices")
    if indices is None:
        return None
    return EmbeddingLayer(node, [table], indices, -1 if padding >= 2**63 else padding)


_BUILDERS = {
    "AddmmBackward0": _linear,
    "MmBackward0": _linear_without_bias,
    "ConvolutionBackward0": _conv,
    "EmbeddingBackward0": _embedding,
}
