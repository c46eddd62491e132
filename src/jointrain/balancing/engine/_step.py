"""One step as the engine sees it: the losses, their graph, who owns what, and the passes."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from jointrain.balancing.engine._ghost import GhostLayer, find_layers
from jointrain.balancing.engine._graph import (
    Boundary,
    Graph,
    Leaf,
    find_boundary,
    last_layer,
    walk,
)
from jointrain.balancing.engine._rows import Gradients, Rows, boundary_cotangents
from jointrain.errors import InvalidInputError

WAYS = ("auto", "per_task", "batched", "ghost", "layerwise")
_CHUNK = 32  # tasks per batched pass: bounds the memory of its intermediate gradients
_SMALL = 16_384  # numbers at the boundary per task below which a CPU pass is mostly overhead


@dataclass
class Step:
    """The losses of a step with all that is known of their graph.

    Attributes:
        losses: [t] scalars with graph.
        factors: [t] scalars: what each loss's gradient is multiplied by (gradient scaling and the
            derivative of a transform of the loss).
        shared: The parameters whose gradients are balanced.
        own: For each task the other parameters that it reaches.
        features: The tensors at the boundary, if the caller named them.
        way: How the gradients are to be got, one of `WAYS`.
        memory_limit: Bytes that the tasks' gradients may take, or None for a quarter of what is
            free.
    """

    losses: list[Tensor]
    factors: list[Tensor]
    graph: Graph
    shared: list[Leaf]
    own: list[list[Leaf]]
    features: list[Tensor] | None = None
    way: str = "auto"
    memory_limit: int | None = None
    retain_graph: bool = False
    took: str = ""
    ghost_layers: int = 0
    _boundary: list[Boundary | None] = field(default_factory=list)

    @property
    def t(self) -> int:
        """Number of tasks that take part."""
        return len(self.losses)

    def boundary(self) -> Boundary | None:
        """Return where the tasks' own parts begin, found once."""
        if not self._boundary:
            self._boundary.append(find_boundary(self.graph, self.features))
        return self._boundary[0]

    # --- passes ----------------------------------------------------------------------------------

    def rows(
        self, leaves: Sequence[Leaf] | None = None, *, ghost: bool = True, again: bool = False
    ) -> tuple[Rows, Gradients]:
        """Return the tasks' gradients of `leaves` (all shared ones) and of their own parameters.

        Args:
            leaves: The parameters whose gradients are wanted.
            ghost: Whether output gradients may stand for weight gradients.
            again: Whether the graph is needed afterwards.
        """
        partial = leaves is not None
        leaves = self.shared if leaves is None else leaves
        layers = self._layers(leaves) if ghost and not partial else []
        inside = {leaf.node for layer in layers for leaf in layer.leaves}
        rows = Rows(self.t, [leaf for leaf in leaves if leaf.node not in inside], layers)
        self.ghost_layers = len(layers)
        if self._batched_pays():
            mine = self._batched(rows)
            if mine is not None:
                self.took = "batched"
                return rows, mine
        retain = self.graph.shares_nodes()
        keep = again or self.retain_graph
        self.took = "per_task" if retain else "per_task, a graph of its own for each"
        mine = rows.collect_per_task(self.losses, self.factors, self.own, retain or keep, keep)
        return rows, mine

    def plain_rows(self, tensors: Sequence[Tensor]) -> Rows:
        """Return the tasks' gradients of these parameters in this order, by one pass per task."""
        by_id = {id(leaf.tensor): leaf for leaf in self.graph.leaves}
        leaves = [by_id.get(id(x), Leaf(x, None, 0)) for x in tensors]
        rows = Rows(self.t, leaves)
        nothing: list[list[Leaf]] = [[] for _ in self.losses]
        rows.collect_per_task(self.losses, self.factors, nothing, True, True)
        return rows

    def _layers(self, leaves: Sequence[Leaf]) -> list[GhostLayer]:
        if self.way not in ("auto", "ghost") or not self.graph.shares_nodes():
            return []
        layers = find_layers(self.graph, leaves, (1 << self.t) - 1)
        return layers if self.way == "ghost" else [x for x in layers if x.pays(self.t)]

    def _batched_pays(self) -> bool:
        if self.way == "per_task" or self.t < 2 or not self.graph.shares_nodes():
            return False
        if self.way == "batched":
            return True
        if self.losses[0].device.type != "cpu":
            return True
        boundary = self.boundary()
        return boundary is not None and _numbers(boundary) <= _SMALL

    def _batched(self, rows: Rows) -> Gradients | None:
        """Try batched passes; None where the graph has no boundary or an operation no batching."""
        boundary = self.boundary()
        if boundary is None:
            return None
        cotangents, mine = boundary_cotangents(boundary, self.losses, self.factors, self.own)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                rows.collect_batched(boundary, cotangents, _CHUNK)
        except RuntimeError:
            return None
        return mine

    def groups(self) -> list[list[Leaf]]:
        """Cut the shared parameters into runs about as large as the largest of them."""
        limit = 1.05 * max(leaf.tensor.numel() for leaf in self.shared)
        runs: list[list[Leaf]] = [[]]
        size = 0
        for leaf in self.shared:
            size += leaf.tensor.numel()
            if size > limit and runs[-1]:
                runs.append([])
                size = leaf.tensor.numel()
            runs[-1].append(leaf)
        return runs

    def by_layer(self, see: Callable[[Rows], None]) -> Gradients:
        """Show `see` the gradients run by run, keeping none; return the tasks' own gradients."""
        mine = Gradients([], [])
        for i, run in enumerate(self.groups()):
            rows = Rows(self.t, run)
            own: list[list[Leaf]] = self.own if i == 0 else [[] for _ in self.losses]
            found = rows.collect_per_task(self.losses, self.factors, own, True, True)
            if i == 0:
                mine = found
            see(rows)
        self.took = "layerwise"
        return mine

    def too_large(self) -> bool:
        """Return whether keeping all the tasks' gradients would take more memory than allowed."""
        if self.way != "auto":
            return self.way == "layerwise"
        size = sum(leaf.tensor.numel() * leaf.tensor.element_size() for leaf in self.shared)
        size *= self.t
        if self.memory_limit is not None:
            return size > self.memory_limit
        return size > 2**28 and size > _free_bytes(self.losses[0].device) // 4

    def weighted(self, weights: Tensor, *, own: bool, weigh_own: bool = False) -> Gradients:
        """Return the gradients of the weighted losses by one pass.

        Args:
            weights: [t], the weights of the losses.
            own: Whether the gradients of the tasks' own parameters are wanted, too.
            weigh_own: Whether those are to be weighted; if not, the weight is divided out again,
                and tasks of weight zero get a pass over their own part.
        """
        numbers = [float(w) for w in weights]
        result = Gradients([], [])
        alone: list[int] = []
        if own and not weigh_own:
            largest = max((abs(w) for w in numbers), default=0.0)
            alone = [k for k, w in enumerate(numbers) if abs(w) <= 1e-3 * largest or w == 0.0]
            tasks_of = _count(leaf for leaves in self.own for leaf in leaves)
            for k, leaves in enumerate(self.own):
                if any(tasks_of[leaf.node] > 1 for leaf in leaves):
                    alone.append(k)
            alone = sorted(set(alone))
            self._plain(alone, result)
        together = [k for k in range(self.t) if own and k not in alone]
        owners = [(leaf, k) for k in together for leaf in self.own[k]]
        tensors = [leaf.tensor for leaf in self.shared] + [leaf.tensor for leaf, _ in owners]
        seen: dict[int, int] = {}
        unique = [x for x in tensors if seen.setdefault(id(x), len(seen)) == len(seen) - 1]
        found = torch.autograd.grad(
            self.losses,
            unique,
            [f * w for f, w in zip(self.factors, numbers, strict=True)],
            retain_graph=self.retain_graph,
            allow_unused=True,
        )
        divide = {} if weigh_own else {id(leaf.tensor): numbers[k] for leaf, k in owners}
        for tensor, value in zip(unique, found, strict=True):
            if value is None:
                continue
            weight = divide.get(id(tensor), 1.0)
            result.tensors.append(tensor)
            result.values.append(value if weight == 1.0 else value / weight)
        return result

    def _plain(self, tasks: Sequence[int], result: Gradients) -> None:
        tensors = list({id(x.tensor): x.tensor for k in tasks for x in self.own[k]}.values())
        if not tensors:
            return
        found = torch.autograd.grad(
            [self.losses[k] for k in tasks],
            tensors,
            [self.factors[k] for k in tasks],
            retain_graph=True,
            allow_unused=True,
        )
        for tensor, value in zip(tensors, found, strict=True):
            if value is not None:
                result.tensors.append(tensor)
                result.values.append(value)

    def from_boundary(
        self, boundary: Boundary, cotangents: Sequence[Tensor], weights: Tensor
    ) -> Gradients:
        """Return the shared parameters' gradients by one pass from weighted cotangents."""
        tensors = [leaf.tensor for leaf in self.shared]
        found = torch.autograd.grad(
            boundary.edges,
            tensors,
            [torch.tensordot(weights.to(c), c, 1) for c in cotangents],
            retain_graph=self.retain_graph,
            allow_unused=True,
        )
        pairs = [(x, g) for x, g in zip(tensors, found, strict=True) if g is not None]
        return Gradients([x for x, _ in pairs], [g for _, g in pairs])

    def last_layer(self) -> list[Leaf]:
        """Return the shared parameters of the layer next to the losses."""
        return last_layer(self.graph, self.shared)


def prepare(
    losses: list[Tensor],
    *,
    shared: list[Tensor] | None = None,
    own: list[Tensor] | None = None,
    features: list[Tensor] | None = None,
) -> Step:
    """Walk the losses' graph and sort the parameters into shared and own.

    Args:
        losses: [t] scalars with graph.
        shared: The shared parameters; by default those below `features`, or those that two or
            more losses reach.
        own: The task-specific parameters that are to get a gradient; by default all others.
        features: The tensors that the tasks' own parts start from.

    Raises:
        InvalidInputError: No loss reaches the shared parameters, or a loss not the features.
    """
    graph = walk(losses)
    if features is not None:
        _check_features(graph, features, len(losses))
    if shared is not None:
        wanted = {id(x) for x in shared}
        picked = [leaf for leaf in graph.leaves if id(leaf.tensor) in wanted]
        if not picked:
            raise InvalidInputError(
                "No loss reaches any of the parameters in `shared`. Pass the parameters of the "
                "part of the network that the losses were computed with."
            )
    elif features is not None:
        boundary = find_boundary(graph, features)
        if boundary is None:
            raise InvalidInputError(
                "One of `features` is computed from another one of them. Pass only those that the "
                "tasks' own parts start from."
            )
        below = graph.below(boundary.edges)
        picked = [leaf for leaf in graph.leaves if leaf.node in below]
    else:
        picked = [leaf for leaf in graph.leaves if leaf.mask & (leaf.mask - 1)]
    taken = {leaf.node for leaf in picked}
    allowed = None if own is None else {id(x) for x in own}
    by_task: list[list[Leaf]] = [[] for _ in losses]
    for leaf in graph.leaves:
        if leaf.node in taken or (allowed is not None and id(leaf.tensor) not in allowed):
            continue
        for k in range(len(losses)):
            if leaf.mask >> k & 1:
                by_task[k].append(leaf)
    return Step(losses, [], graph, picked, by_task, features)


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


def _numbers(boundary: Boundary) -> int:
    """Return how many numbers one task's gradient at the boundary has."""
    total = 0
    for edge in boundary.edges:
        metadata = edge.node._input_metadata[edge.output_nr]
        size = 1
        for length in metadata.shape:
            size *= int(length)
        total += size
    return total


def _count(leaves: Iterable[Leaf]) -> dict[object, int]:
    counts: dict[object, int] = {}
    for leaf in leaves:
        counts[leaf.node] = counts.get(leaf.node, 0) + 1
    return counts


def _free_bytes(device: torch.device) -> int:
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    try:
        return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (ValueError, OSError):
        return 2**32
