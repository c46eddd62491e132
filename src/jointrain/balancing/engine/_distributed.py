"""A step over several processes that hold copies: gradients are summed before anyone sees them."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import Tensor

from jointrain.balancing.engine._agreement import Agreement, Place
from jointrain.balancing.engine._boundary import Boundary
from jointrain.balancing.engine._cotangents import Cotangents
from jointrain.balancing.engine._gradients import Gradients, grad, no_gradients
from jointrain.balancing.engine._graph import Leaf, Walk, reached, walk
from jointrain.balancing.engine._ranks import EarlySums, Ranks
from jointrain.balancing.engine._rows import Block, Rows
from jointrain.balancing.engine._sparse import as_sparse
from jointrain.balancing.engine._step import Step
from jointrain.errors import InvalidInputError

_SMALL = 2**28  # bytes that all tasks' gradients may take without a look at the memory


@dataclass
class DistributedStep(Step):
    """A step whose methods return what one process would on the rows of all of them.

    The factors of the losses hold this process's share of the rows, so that sums over the
    processes are means over the rows. Passes are those of the step of this process alone; what
    they give is summed in the order of the agreement. Sent are: the rows [t, n] of the parameters
    where they are wanted, else the t x t inner products or one update [n]; and the gradients of
    the tasks' own parameters.
    """

    local: Step = field(kw_only=True)
    agreement: Agreement = field(kw_only=True)

    def reaching(self) -> list[tuple[Tensor, int]]:
        """Return all parameters that some process reaches, with the tasks that do, as bits."""
        of_tasks = (1 << self.t) - 1  # a place has a bit for the penalty, too
        return [(place.tensor, place.mask & of_tasks) for place in self.agreement.places]

    def walks(self, leaves: Sequence[Leaf]) -> list[Walk]:
        """Return those of the first process that has the loss, the same on all of them."""
        return walks_of_all(super().walks(leaves), leaves, self.agreement)

    def rows(
        self, leaves: Sequence[Leaf] | None = None, *, ghost: bool = True, again: bool = False
    ) -> tuple[Rows, Gradients]:
        """Return the tasks' gradients over all rows; output gradients can't stand for them."""
        del ghost
        rows, mine = self._here().rows(
            self.shared if leaves is None else leaves, ghost=False, again=again
        )
        self.method_used = self.local.method_used
        return self._summed(rows), self._own(mine)

    def by_layer(self, see: Callable[[Rows], None], *, inputs: bool = False) -> Gradients:
        """Show `see` the gradients run by run, as summed; the runs are the same everywhere."""
        local = self._here()
        plan = local.plan()
        places = {id(leaf.tensor): i for i, leaf in enumerate(self.shared)}
        segments = [] if plan is None else plan.segments
        words = repr([[places[id(x.tensor)] for x in s.leaves] + [s.whole] for s in segments])
        digest = hashlib.blake2b(words.encode(), digest_size=6).digest()
        found = self.agreement.ranks.gather([float(int.from_bytes(digest, "big"))])
        if found.count(found[0]) < len(found):
            plan = None
        mine = local.by_plan(plan, lambda rows: see(self._summed(rows)), inputs=inputs)
        self.method_used = self.local.method_used
        return self._own(mine)

    def plain_rows(self, tensors: Sequence[Tensor]) -> Rows:
        """Return the tasks' gradients of these parameters in this order."""
        return self._summed(self._here().plain_rows(tensors))

    def heads(self, *, dense: bool = True) -> tuple[Boundary, Cotangents, Gradients] | None:
        """Return the cotangents of this process, and the summed gradients of own parameters."""
        found = self._here().heads(dense=dense)
        if found is None:
            return None
        boundary, cotangents, mine = found
        return boundary, cotangents, self._own(mine)

    def total_own(self, mine: Gradients) -> Gradients:
        """Return gradients of the tasks' own parameters over all rows."""
        return self._own(mine)

    def gramian_at(self, cotangents: Cotangents) -> Tensor:
        """Return the inner products at the features: those of all rows add up."""
        return self.agreement.ranks.add_up(cotangents.gramian())

    def weighted(self, weights: Tensor, *, own: bool, weigh_own: bool = False) -> Gradients:
        """Return the gradients of the weighted losses by one pass on each process."""
        found = self._here().weighted(weights, own=own, weigh_own=weigh_own)
        return self._update(found, own=own)

    def from_boundary(
        self, boundary: Boundary, cotangents: Cotangents, weights: Tensor
    ) -> Gradients:
        """Return the shared parameters' gradients by one pass from weighted cotangents."""
        return self._update(self._here().from_boundary(boundary, cotangents, weights), own=False)

    def last_layer(self) -> list[Leaf]:
        """Return the shared parameters of the layer next to the losses."""
        if not self.agreement.alike:
            raise InvalidInputError(
                '`compare_at="last_shared_layer"` needs the same tasks on every process at every '
                'step. Pass `compare_at="shared"`, or a loss of every task on each process.'
            )
        return self._here().last_layer()

    def too_large(self) -> bool:
        """Return whether keeping all the tasks' gradients would take more than some process has."""
        if self.gradient_method != "auto":
            return self.gradient_method == "layerwise"
        size = self.t * sum(x.tensor.numel() * x.tensor.element_size() for x in self.shared)
        if size <= _SMALL and self.memory_limit is None:
            return False
        # runs are cut by it, so it must be the same everywhere
        self.memory_limit = int(self.agreement.ranks.least(self._allowed()))
        return size > self.memory_limit

    def _here(self) -> Step:
        """Return the step of this process alone, set as this one is."""
        local = self.local
        local.factors, local.retain_graph = self.factors, self.retain_graph
        local.gradient_method, local.memory_limit = self.gradient_method, self.memory_limit
        local.workspace = self.workspace
        return local

    # --- sums ------------------------------------------------------------------------------------

    def _summed(self, rows: Rows) -> Rows:
        """Sum the rows over the processes, a matrix for each kind of parameters."""
        blocks = []
        left = list(rows.blocks)
        for group in rows.groups:
            n = sum(leaf.tensor.numel() for leaf in group)
            parts: list[Tensor] = []
            while sum(part.shape[1] for part in parts) < n:
                parts.append(left.pop(0).matrix)
            whole = parts[0] if len(parts) == 1 else torch.cat(parts, 1)
            blocks.append(Block(whole, group))
        self.agreement.ranks.sum_in_place([block.matrix for block in blocks])
        rows.blocks = blocks
        for table in rows.sparse:
            table.kept = [self.agreement.ranks.sum_sparse(row) for row in table.kept]
        return rows

    def _own(self, mine: Gradients) -> Gradients:
        """Return the summed gradients of the tasks' own parameters, and those of inputs as is."""
        wanted = [
            (leaf.tensor, k)
            for k, leaves in enumerate(self.own)
            for leaf in leaves
            if id(leaf.tensor) in self._places
        ]
        places = {(id(tensor), k) for tensor, k in wanted}
        found: dict[tuple[int, int], Tensor] = {}
        rest = no_gradients()
        for tensor, value, k in zip(mine.tensors, mine.values, mine.tasks, strict=True):
            if (id(tensor), k) in places:
                found[id(tensor), k] = value
            else:
                rest.extend(Gradients([tensor], [value], [k]))
        tensors = [tensor for tensor, _ in wanted]
        total = self._sum_of(tensors, [found.get((id(tensor), k)) for tensor, k in wanted])
        result = Gradients(tensors, total, [k for _, k in wanted])
        result.extend(rest)
        return result

    def _update(self, found: Gradients, *, own: bool) -> Gradients:
        """Return the summed update of the shared parameters and, if wanted, of all others."""
        wanted = {id(leaf.tensor): leaf.tensor for leaf in self.shared}
        if own:
            wanted |= {
                id(leaf.tensor): leaf.tensor
                for leaves in self.own
                for leaf in leaves
                if id(leaf.tensor) in self._places
            }
        total: dict[int, Tensor] = {}
        rest = no_gradients()
        for tensor, value in zip(found.tensors, found.values, strict=True):
            if id(tensor) not in wanted:
                rest.extend(Gradients.of([tensor], [value]))
                continue
            before = total.get(id(tensor))
            total[id(tensor)] = value if before is None else before + value
        tensors = list(wanted.values())
        result = Gradients.of(tensors, self._sum_of(tensors, [total.get(id(x)) for x in tensors]))
        result.extend(rest)
        return result

    @property
    def _places(self) -> set[int]:
        """The parameters that are summed; what else requires a gradient is this process's own."""
        return {id(place.tensor) for place in self.agreement.places}

    def _sum_of(self, tensors: Sequence[Tensor], values: Sequence[Tensor | None]) -> list[Tensor]:
        return sum_gradients(self.agreement, tensors, values)


def walks_of_all(walks: Sequence[Walk], leaves: Sequence[Leaf], agreement: Agreement) -> list[Walk]:
    """Return for each loss the walk of the first process that has one, the same everywhere.

    Args:
        walks: Those of this process, [t].
        leaves: The parameters that they are of, in one order for all.
        agreement: What the processes agree on.
    """
    places = {id(leaf.tensor): i for i, leaf in enumerate(leaves)}
    mine = [(walk.custom, [places[id(x)] for x in walk.tensors]) for walk in walks]
    found = []
    for of_task in zip(*agreement.ranks.gather_objects(mine), strict=True):
        custom, order = next((some for some in of_task if some[1]), of_task[0])
        found.append(Walk(custom, [leaves[i].tensor for i in order]))
    return found


def sum_gradients(
    agreement: Agreement, tensors: Sequence[Tensor], values: Sequence[Tensor | None]
) -> list[Tensor]:
    """Return the sums over the processes of the gradients of these parameters; None is zero.

    They are new tensors, sparse ones for tables of which only some rows have a gradient.
    """
    tables = _tables(agreement)
    found = []
    for tensor, value in zip(tensors, values, strict=True):
        if id(tensor) in tables:
            continue
        if value is None:
            value = torch.zeros_like(tensor)
        found.append(value.to_dense() if value.is_sparse else value)
    return _with_tables(agreement, tensors, values, agreement.ranks.sums(found))


def sum_after_pass(
    agreement: Agreement,
    losses: Sequence[Tensor],
    tensors: Sequence[Tensor],
    others: Sequence[Tensor],
    starts: Sequence[Tensor],
    *,
    retain: bool,
) -> tuple[list[Tensor], Sequence[Tensor | None]]:
    """Take a pass; return the sums of these parameters' gradients, and the others' as here."""
    found = grad(losses, [*tensors, *others], starts, retain=retain)
    n = len(tensors)
    return sum_gradients(agreement, tensors, found[:n]), found[n:]


def sum_during_pass(
    agreement: Agreement,
    losses: Sequence[Tensor],
    tensors: Sequence[Tensor],
    others: Sequence[Tensor],
    starts: Sequence[Tensor],
    *,
    retain: bool,
) -> tuple[list[Tensor], Sequence[Tensor | None]]:
    """Do so, and send gradients while those of other parameters are still being computed.

    Only where all processes go through the same graph, and nothing in it sends by itself.
    """
    tables = _tables(agreement)
    dense = [tensor for tensor in tensors if id(tensor) not in tables]
    early = EarlySums(agreement.ranks, dense)
    hooks = _sent_as_they_come(early, dense)
    try:
        found = grad(losses, [*tensors, *others], starts, retain=retain)
    finally:
        for hook in hooks:
            hook.remove()
    n = len(tensors)
    return _with_tables(agreement, tensors, found[:n], early.finished()), found[n:]


def sum_over_copies(
    ranks: Ranks,
    losses: Sequence[Tensor],
    starts: Sequence[Tensor],
    parameters: Sequence[Tensor],
) -> Gradients:
    """Return the gradients by these parameters, summed over the processes.

    Nothing is agreed on before the pass: each process sends what it has for each of the parameters,
    zeros where its losses do not reach one, and with them which it reaches. A parameter that no
    process reaches has no gradient.

    Args:
        ranks: The processes.
        losses: Those of this process; none if it has no row of any task.
        starts: What the gradient of each of them is multiplied by.
        parameters: Dense, the same in the same order everywhere, about as their gradients come.
    """
    reached_here = torch.zeros(
        len(parameters), dtype=parameters[-1].dtype, device=parameters[-1].device
    )
    early = EarlySums(ranks, [*parameters, reached_here])
    # an operation of another's making may itself send something, or take a pass
    custom = reached(losses)[1]
    hooks = [] if custom else _sent_as_they_come(early, parameters)
    found: Sequence[Tensor | None] = [None] * len(parameters)
    try:
        if losses:
            found = grad(losses, parameters, starts, retain=False)
    finally:
        for hook in hooks:
            hook.remove()
    for place, value in enumerate(found):
        if custom:
            early.take(place, value)
        if value is not None:
            reached_here[place] = 1
    early.take(len(parameters), reached_here)
    *sums, reached_by = early.finished()
    flags = (reached_by != 0).tolist()
    return Gradients.of(parameters, [g if r else None for g, r in zip(sums, flags, strict=True)])


def _sent_as_they_come(early: EarlySums, tensors: Sequence[Tensor]) -> list[Any]:
    """Let a pass give the gradients of these tensors to be sent; return the hooks."""
    # hooks of the user come before these
    return [
        x.register_hook(partial(early.take, i))  # type: ignore[no-untyped-call]
        for i, x in enumerate(tensors)
    ]


def _tables(agreement: Agreement) -> set[int]:
    return {id(place.tensor) for place in agreement.places if place.sparse}


def _with_tables(
    agreement: Agreement,
    tensors: Sequence[Tensor],
    values: Sequence[Tensor | None],
    dense: Sequence[Tensor],
) -> list[Tensor]:
    """Return the sums of dense gradients and, in their places, those of tables."""
    tables, left = _tables(agreement), iter(dense)
    return [
        agreement.ranks.sum_sparse(as_sparse(x, value)) if id(x) in tables else next(left)
        for x, value in zip(tensors, values, strict=True)
    ]


def distributed(
    step: Step | None,
    losses: list[Tensor],
    agreement: Agreement,
    *,
    shared_named: bool,
    own: Sequence[Tensor] | None,
    features: list[Tensor] | None,
) -> DistributedStep:
    """Return the step that all processes take together.

    Args:
        step: The step of this process, if it has the losses of all tasks.
        losses: This process's loss of each task, [t]; a leaf that is no parameter where it has
            none.
        agreement: What the processes agree on.
        shared_named: Whether the caller said which parameters are shared.
        own: The parameters that are to get a gradient beside the shared ones; None for all.
        features: The tensors at the boundary, if named.
    """
    graph = walk(losses) if step is None else step.graph
    here = {id(leaf.tensor): leaf for leaf in graph.leaves}
    allowed = None if own is None else {id(x) for x in own}

    def leaf_of(place: Place) -> Leaf:
        leaf = here.pop(id(place.tensor), None) or Leaf(place.tensor, None, 0)
        return leaf._replace(sparse=place.sparse)

    shared, by_task, parameters = agreement.sort(leaf_of, allowed, named=shared_named)
    inputs = []
    absent = {id(loss) for loss in losses}
    for leaf in here.values() if own is None else ():
        if leaf.mask & (leaf.mask - 1):
            inputs.append(leaf)
        elif id(leaf.tensor) not in absent:
            by_task[leaf.mask.bit_length() - 1].append(leaf)
    local = Step(losses, [], graph, shared, by_task, parameters, inputs, features)
    return DistributedStep(
        losses, [], graph, shared, by_task, parameters, inputs, features,
        local=local, agreement=agreement,
    )  # fmt: skip
