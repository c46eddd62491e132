"""One step as the engine sees it: the losses, their graph, who owns what, and the passes."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from torch import Tensor

from jointrain.balancing.engine._boundary import Boundary, find_boundary, last_layer
from jointrain.balancing.engine._cotangents import (
    Cotangents,
    DenseCotangents,
    dense_cotangents,
    linear_cotangents,
)
from jointrain.balancing.engine._ghost import (
    GhostLayer,
    LinearLayer,
    find_layers,
    real_view,
)
from jointrain.balancing.engine._gradients import Gradients, grad, no_gradients
from jointrain.balancing.engine._graph import (
    Graph,
    Leaf,
    Walk,
    bytes_of,
    numbers_of,
)
from jointrain.balancing.engine._rows import Rows
from jointrain.balancing.engine._segments import Segment, find_segments
from jointrain.errors import InvalidInputError

GRADIENT_METHODS = ("auto", "per_task", "batched", "ghost", "layerwise")
_CHUNK = 32  # tasks per batched pass: bounds the memory of its intermediate gradients
# on a CPU a batched pass is the faster one for as many tasks and as few numbers per task, at the
# boundary and at all outputs of the shared part: larger ones fall out of its caches
_MANY, _FEW_AT_BOUNDARY, _FEW = 4, 2**14, 2**18

_SEVERAL = 8  # tasks from which on preparing their passes costs less than it saves
HALF = frozenset({torch.float16, torch.bfloat16})
_LOOSE = 4  # tasks whose gradients are not copied to rows: the pairs of them are still few


class Plan(NamedTuple):
    """How passes go through the shared part: what enters it, and segments one after the other."""

    cotangents: Cotangents
    mine: Gradients
    segments: list[Segment]


@dataclass
class Step:
    """The losses of a step with all that is known of their graph.

    Attributes:
        losses: [t] scalars with graph.
        factors: [t] scalars: what each loss's gradient is multiplied by (gradient scaling and the
            derivative of a transform of the loss).
        graph: Their graph.
        shared: The parameters whose gradients are balanced.
        own: For each task the other parameters that it reaches.
        parameters: All parameters that the losses reach.
        inputs: Leaf tensors that are no parameters (inputs that require a gradient) and that two
            or more losses reach. They get the gradient of the weighted losses.
        features: The tensors at the boundary, if the caller named them.
        learned: The gradients of the balancer's own parameters, added together with the update.
        gradient_method: How the gradients are to be got, one of `GRADIENT_METHODS`.
        memory_limit: Bytes that the tasks' gradients may take, or None for half of what is
            free.
        retain_graph: Whether the graph is needed after the step.
        workspace: Where `Rows` keep large buffers from one step to the next; None for nowhere.
        method_used: How the gradients were got, once they are.
        ghost_layers: For how many layers output gradients stood for weight gradients.
    """

    losses: list[Tensor]
    factors: list[Tensor]
    graph: Graph
    shared: list[Leaf]
    own: list[list[Leaf]]
    parameters: list[Leaf]
    inputs: list[Leaf]
    features: list[Tensor] | None = None
    learned: Gradients = field(default_factory=no_gradients)
    gradient_method: str = "auto"
    memory_limit: int | None = None
    retain_graph: bool = False
    workspace: dict[str, Tensor] | None = None
    method_used: str = ""
    ghost_layers: int = 0
    _boundary: list[Boundary | None] = field(default_factory=list)

    @property
    def t(self) -> int:
        """Number of tasks that take part."""
        return len(self.losses)

    def boundary(self) -> Boundary | None:
        """Return where the tasks' own parts begin, found once."""
        if not self._boundary:
            leaves = [*self.shared, *self.inputs]
            self._boundary.append(find_boundary(self.graph, leaves, self.features))
        return self._boundary[0]

    def reaching(self) -> list[tuple[Tensor, int]]:
        """Return all parameters that the losses reach, with the tasks that do, as bits."""
        return [(leaf.tensor, leaf.mask) for leaf in self.parameters]

    def walks(self, leaves: Sequence[Leaf]) -> list[Walk]:
        """Return for each loss these parameters in the order in which it reaches them, [t]."""
        wanted = {id(leaf.tensor) for leaf in leaves}
        return [self.graph.walk_of(k, wanted) for k in range(self.t)]

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
        several = self.t >= _SEVERAL
        ghosts = ghost and not partial
        known = self._known_layers(leaves) if ghosts or several else []
        layers = [x for x in known if self._ghost_pays(x) and x.sees_all()] if ghosts else []
        inside = {leaf.node for layer in layers for leaf in layer.leaves}
        direct = [leaf for leaf in leaves if leaf.node not in inside]
        self.ghost_layers = len(layers)
        keep = again or self.retain_graph
        rows = Rows(
            self.t,
            direct,
            layers,
            [x for x in known if isinstance(x, LinearLayer) and x not in layers and x.fits()]
            if several
            else (),
            self.workspace if ghost else None,
            loose=ghost and self.t <= _LOOSE,
            inputs=() if partial else self.inputs,
            after_pass=self.graph.forgetting(),
        )
        if self._batched_pays():
            heads = self.heads()
            if heads is not None and self._collect_batched(rows, *heads[:2], keep):
                self.method_used = "batched"
                return rows, heads[2]
        if not self.graph.shares_nodes:
            self.method_used = "per_task, a graph of its own for each"
            retain = keep or self.graph.in_vector
            mine = rows.collect_from_losses(self.losses, self.factors, self.own, retain, keep)
            return rows, mine
        self.method_used = "per_task"
        linear = self.heads(dense=False) if several and not partial else None
        if linear is None:
            mine = rows.collect_from_losses(self.losses, self.factors, self.own, True, keep)
            return rows, mine
        rows.collect_from_boundary(linear[0].edges, linear[1].of_task, self.graph.masks, keep)
        return rows, linear[2]

    def _known_layers(self, leaves: Sequence[Leaf]) -> list[GhostLayer]:
        """Return the recognised layers of the part that all tasks share."""
        if not self.graph.shares_nodes:
            return []
        return find_layers(self.graph, leaves, (1 << self.t) - 1)

    def _collect_batched(
        self, rows: Rows, boundary: Boundary, cotangents: Cotangents, keep: bool
    ) -> bool:
        """Try batched passes; return False where an operation can't be batched.

        So too where something isn't finite, and not all tasks reach all edges of the boundary: they
        begin with zeros there, which become NaN where an infinite slope follows.
        """
        everyone = (1 << self.t) - 1
        uneven = any(self.graph.masks[edge.node] != everyone for edge in boundary.edges)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                keep = keep or uneven or self.graph.custom or self._may_fall_back()
                rows.collect_batched(boundary.edges, cotangents.of_tasks, _CHUNK, keep)
        except RuntimeError as error:
            if not self.graph.custom and not self._may_fall_back():
                raise InvalidInputError(
                    "An operation of the shared part can't take several tasks' gradients at once: "
                    f'{error} Pass `gradient_method="per_task"`.'
                ) from error
            return False
        return not uneven or rows.all_finite()

    def _may_fall_back(self) -> bool:
        """Return whether passes may be tried and left: keeping the graph costs little then."""
        return self.gradient_method != "batched" and self.losses[0].device.type == "cpu"

    def heads(self, *, dense: bool = True) -> tuple[Boundary, Cotangents, Gradients] | None:
        """Return the cotangents at the boundary and the gradients of the tasks' own parameters.

        Args:
            dense: Whether a pass per task may be spent on them; if not, None where one pass for all
                tasks doesn't do.
        """
        if self.features is None and not self.graph.shares_nodes:
            return None
        boundary = self.boundary()
        if boundary is None:
            return None
        losses, factors, own = self.losses, self.factors, self.own
        found = linear_cotangents(self.graph, boundary, losses, factors, own)
        if found is not None:
            return boundary, *found
        if not dense:
            return None
        return boundary, *dense_cotangents(self.graph, boundary, losses, factors, own)

    def total_own(self, mine: Gradients) -> Gradients:
        """Return gradients of the tasks' own parameters over all rows: these are all of them."""
        return mine

    def gramian_at(self, cotangents: Cotangents) -> Tensor:
        """Return the inner products [t, t] of the tasks' gradients at the boundary."""
        return cotangents.gramian()

    def plain_rows(self, tensors: Sequence[Tensor]) -> Rows:
        """Return the tasks' gradients of these parameters in this order, by one pass per task."""
        by_id = {id(leaf.tensor): leaf for leaf in self.graph.leaves}
        leaves = [by_id.get(id(x), Leaf(x, None, 0)) for x in tensors]
        rows = Rows(self.t, leaves, after_pass=self.graph.forgetting())
        nothing: list[list[Leaf]] = [[] for _ in self.losses]
        rows.collect_from_losses(self.losses, self.factors, nothing, True, True)
        return rows

    def _ghost_pays(self, layer: GhostLayer) -> bool:
        """Return whether the layer's output gradients are to stand for weight gradients."""
        return self.gradient_method == "ghost" or (
            self.gradient_method == "auto" and layer.pays(self.t)
        )

    def _batched_pays(self) -> bool:
        if self.gradient_method == "per_task" or self.t < 2 or not self.graph.shares_nodes:
            return False
        sparse = any(leaf.sparse for leaf in self.shared)
        if self.gradient_method == "batched" and sparse:
            raise InvalidInputError(
                "A shared table with sparse gradients can't take several tasks' gradients at "
                'once. Pass `gradient_method="per_task"`.'
            )
        if self.gradient_method == "batched" or self.graph.custom or sparse:
            return self.gradient_method == "batched"
        if self.losses[0].device.type != "cpu":
            return not self.graph.has_hooks()
        if self.t < _MANY:
            return False
        boundary = self.boundary()
        if boundary is None:
            return False
        at_boundary = [edge.node._input_metadata[edge.output_nr] for edge in boundary.edges]
        if sum(map(numbers_of, at_boundary)) > _FEW_AT_BOUNDARY:
            return False
        # a checkpoint computes its block anew, and random numbers can't be drawn in such passes
        return self.graph.shared_numbers() <= _FEW and not self.graph.has_hooks()

    def _limit(self) -> float:
        """Return the bytes that a run of parameters is to fill.

        About as many as the largest parameter, or with ``gradient_method="auto"`` as many as its
        gradients may take.
        """
        limit = 1.05 * max(bytes_of(leaf) for leaf in self.shared)
        if self.gradient_method == "auto":
            limit = max(limit, self._allowed() / self.t)
        return limit

    def groups(self, leaves: Sequence[Leaf]) -> list[list[Leaf]]:
        """Cut the parameters into runs of about the same size."""
        limit = self._limit()
        runs: list[list[Leaf]] = [[]]
        size = 0
        for leaf in leaves:
            size += bytes_of(leaf)
            if size > limit and runs[-1]:
                runs.append([])
                size = bytes_of(leaf)
            runs[-1].append(leaf)
        return runs

    def plan(self) -> Plan | None:
        """Return how passes go through the shared part piece by piece; None if they can't.

        That is the case where the tasks' own parts have no clear end.
        """
        heads = self.heads()
        if heads is None:
            return None
        boundary, cotangents, mine = heads
        segments = find_segments(self.graph, boundary, self.shared, self.inputs, self._limit())
        return Plan(cotangents, mine, segments)

    def by_layer(self, see: Callable[[Rows], None], *, inputs: bool = False) -> Gradients:
        """Show `see` the gradients run by run, keeping none; return the tasks' own gradients.

        Args:
            see: Takes a run.
            inputs: Whether a run is to have the gradients of `self.inputs`.
        """
        return self.by_plan(self.plan(), see, inputs=inputs)

    def by_plan(self, plan: Plan | None, see: Callable[[Rows], None], *, inputs: bool) -> Gradients:
        """Do so by this plan; without one, by passes from the losses on for each run."""
        self.method_used = "layerwise"
        if plan is None:
            return self._from_losses(see, inputs=inputs)
        enter = plan.cotangents
        for segment in plan.segments:
            runs = [segment.leaves] if segment.whole else self.groups(segment.leaves)
            below: list[Tensor] = []
            for i, run in enumerate(runs):
                first = i == 0
                rows = self._run(run, inputs=inputs and segment.inputs)
                ends = segment.ends if first else []
                found = rows.collect_from_boundary(
                    segment.starts, enter.of_task, self.graph.masks, True, ends
                )
                below = found if first else below
                if run:
                    see(rows)
            enter = DenseCotangents(below)
        return plan.mine

    def _from_losses(self, see: Callable[[Rows], None], *, inputs: bool) -> Gradients:
        mine = no_gradients()
        for i, run in enumerate(self.groups(self.shared)):
            rows = self._run(run, inputs=inputs and i == 0)
            own: list[list[Leaf]] = self.own if i == 0 else [[] for _ in self.losses]
            found = rows.collect_from_losses(self.losses, self.factors, own, True, True)
            if i == 0:
                mine = found
            see(rows)
        return mine

    def _run(self, leaves: Sequence[Leaf], *, inputs: bool) -> Rows:
        """Return empty rows of a run of parameters."""
        wanted = self.inputs if inputs else ()
        return Rows(self.t, leaves, inputs=wanted, after_pass=self.graph.forgetting())

    def too_large(self) -> bool:
        """Return whether keeping all the tasks' gradients would take more memory than allowed."""
        if self.gradient_method != "auto":
            return self.gradient_method == "layerwise"
        size = self.t * sum(map(bytes_of, self.shared))
        return (size > 2**28 or self.memory_limit is not None) and size > self._allowed()

    def _allowed(self) -> int:
        """Return the bytes that the tasks' gradients may take."""
        if self.memory_limit is not None:
            return self.memory_limit
        return _free_bytes(self.losses[0].device) // 2

    def weighted(self, weights: Tensor, *, own: bool, weigh_own: bool = False) -> Gradients:
        """Return the gradients of the weighted losses by one pass over the shared part.

        Args:
            weights: [t], the weights of the losses.
            own: Whether the gradients of the tasks' own parameters are wanted, too.
            weigh_own: Whether those are to be weighted.
        """
        result = no_gradients()
        heads = self.heads(dense=False) if own else None
        if heads is not None:
            boundary, cotangents, mine = heads
            result.extend(mine.weighted(weights) if weigh_own else mine)
            result.extend(self.from_boundary(boundary, cotangents, weights))
            return result
        numbers = weights.tolist()
        divisors: dict[int, float] = {}
        if own:
            divisors = {} if weigh_own else self._divisors(numbers)
            alone = {
                id(leaf.tensor): leaf.tensor
                for leaves in self.own
                for leaf in leaves
                if not weigh_own and id(leaf.tensor) not in divisors
            }
            result.extend(self._of_the_sum(list(alone.values()), [1.0] * self.t, retain=True))
        tensors = {id(leaf.tensor): leaf.tensor for leaf in (*self.shared, *self.inputs)}
        if own:
            wanted = [leaf for leaves in self.own for leaf in leaves]
            tensors |= {
                id(leaf.tensor): leaf.tensor
                for leaf in wanted
                if weigh_own or id(leaf.tensor) in divisors
            }
        found = self._of_the_sum(list(tensors.values()), numbers, retain=self.retain_graph)
        for i, tensor in enumerate(found.tensors):
            if id(tensor) in divisors:
                found.values[i] = found.values[i] / divisors[id(tensor)]
        result.extend(found)
        return result

    def _divisors(self, weights: Sequence[float]) -> dict[int, float]:
        """Return by what the weighted gradient of an own parameter is to be divided to be plain.

        For parameters of a single task whose weight isn't so small that precision would go, and
        without hooks, which are to see the plain one.
        """
        least = 1e-3 * max(abs(w) for w in weights)
        return {
            id(leaf.tensor): weights[k]
            for k, leaves in enumerate(self.own)
            for leaf in leaves
            if not leaf.mask & (leaf.mask - 1) and abs(weights[k]) > least
            if not leaf.tensor._backward_hooks
        }

    def _of_the_sum(
        self, tensors: Sequence[Tensor], weights: Sequence[float], *, retain: bool
    ) -> Gradients:
        starts = [f * w for f, w in zip(self.factors, weights, strict=True)]
        return Gradients.of(tensors, grad(self.losses, tensors, starts, retain=retain))

    def from_boundary(
        self, boundary: Boundary, cotangents: Cotangents, weights: Tensor
    ) -> Gradients:
        """Return the shared parameters' gradients by one pass from weighted cotangents.

        It begins at those edges alone that some task reaches: zeros at others would become NaN
        where an infinite slope follows.
        """
        tensors = [leaf.tensor for leaf in (*self.shared, *self.inputs)]
        columns = zip(boundary.edges, boundary.users, cotangents.weighted(weights), strict=True)
        starts = [(edge, start) for edge, users, start in columns if users]
        found = grad(
            [edge for edge, _ in starts],
            tensors,
            [start for _, start in starts],
            retain=self.retain_graph,
        )
        return Gradients.of(tensors, found)

    def rounding(self) -> float:
        """Return the relative rounding of the Gramian of the shared parameters' gradients.

        That of a sum of products in float32 or float64. Gradients of half precision, or that
        autocast computed in it, differ from exact ones by a part of their length, whose square
        counts.
        """
        kinds = {real_view(leaf.tensor.detach()).dtype for leaf in self.shared}
        # products of half precision are summed in float32
        found = max(torch.finfo(torch.float32 if k in HALF else k).eps for k in kinds)
        halves = {kind for kind in kinds if kind in HALF}
        if torch.float32 in kinds:
            halves |= self.graph.computed_in(HALF)
        return max([found, *(torch.finfo(kind).eps ** 2 for kind in halves)])

    def last_layer(self) -> list[Leaf]:
        """Return the shared parameters of the layer next to the losses.

        Raises:
            InvalidInputError: There is no layer that all losses reach.
        """
        found = last_layer(self.graph, self.shared)
        if not found:
            raise InvalidInputError(
                "No shared layer was found that all losses reach, as "
                '`compare_at="last_shared_layer"` needs. '
                "Leave `compare_at` out, or name that layer's parameters with `shared=`."
            )
        return found


def _free_bytes(device: torch.device) -> int:
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    try:
        return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (ValueError, OSError):
        return 2**32
