"""A step over several processes that hold shards of `fully_shard` (FSDP2)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor

from jointrain.balancing.engine._agreement import Agreement
from jointrain.balancing.engine._boundary import Boundary
from jointrain.balancing.engine._cotangents import Cotangents
from jointrain.balancing.engine._distributed import walks_of_all
from jointrain.balancing.engine._gradients import Gradients, no_gradients
from jointrain.balancing.engine._graph import Leaf, Walk, walk
from jointrain.balancing.engine._replicas import gathered, is_distributed, shards_of
from jointrain.balancing.engine._rows import Rows
from jointrain.balancing.engine._step import HALF, Step
from jointrain.errors import InvalidInputError

if TYPE_CHECKING:
    from torch.distributed.tensor import DTensor


class ShardedRows(Rows):
    """The tasks' gradients of this process's shards, summed over the rows of all processes.

    Inner products of shards add up to those of the parameters, so only t x t numbers are sent.

    Args:
        t: Number of tasks.
        shards: The sharded parameters.
        inputs: Leaf tensors that are no parameters.
        agreement: What the processes agree on.
    """

    def __init__(
        self, t: int, shards: Sequence[DTensor], inputs: Sequence[Leaf], agreement: Agreement
    ) -> None:
        leaves = [Leaf(shard.to_local(), object(), (1 << t) - 1) for shard in shards]
        super().__init__(t, leaves, inputs=inputs)
        self._ranks = agreement.ranks
        self._whole = {id(leaf.tensor): p for leaf, p in zip(leaves, shards, strict=True)}
        self._nodes = {id(p): leaf.node for leaf, p in zip(leaves, shards, strict=True)}
        self._begin()

    def fill(self, k: int, gradients: Gradients, at_inputs: list[Tensor | None]) -> None:
        """Take in task k's gradients of the shards and of the inputs."""
        pairs = zip(gradients.tensors, gradients.values, strict=True)
        found = {self._nodes[id(p)]: local(g) for p, g in pairs if id(p) in self._nodes}
        self._copy(k, found)
        self.at_inputs.append(at_inputs)

    def gramian(self) -> Tensor:
        """Return the Gramian [t, t] in float64 on the CPU."""
        return self._ranks.add_up(super().gramian())

    def combine(self, weights: Tensor) -> Gradients:
        """Return the shards' gradients for the weights [t]."""
        result = no_gradients()
        for block in self.blocks:
            update = weights.to(block.matrix) @ block.matrix
            parts = zip(block.tensors(), block.split(update), strict=True)
            for tensor, value in parts:
                shard = self._whole[id(tensor)]
                result.extend(Gradients.of([shard], [as_shard(value, shard)]))
        result.extend(self.of_inputs(weights))
        return result

    def finite(self) -> Tensor:
        """Return for each task whether all its gradients are finite on all processes, [t]."""
        flags = self._ranks.gather(super().finite().double().tolist())
        return torch.tensor(flags).min(0).values > 0

    def per_parameter(self) -> list[tuple[Tensor, Tensor]]:
        """Return each parameter with its whole gradients [t, *shape], gathered from the shards."""
        from torch.distributed.tensor import DTensor, Shard

        found: list[tuple[Tensor, Tensor]] = []
        for block in self.blocks:
            for tensor, part in zip(block.tensors(), block.columns(), strict=True):
                shard = self._whole[id(tensor)]
                shape = torch.Size([self.t, *shard.shape])
                whole = DTensor.from_local(
                    part.contiguous(),
                    shard.device_mesh,
                    [Shard(p.dim + 1) for p in shard.placements],  # type: ignore[attr-defined]
                    run_check=False,
                    shape=shape,
                    stride=torch.empty(shape, device="meta").stride(),
                )
                found.append((shard, whole.full_tensor()))
        return found

    def update(self, parameters: Sequence[Tensor], values: Sequence[Tensor]) -> Gradients:
        """Return whole updates as gradients of the shards."""
        from torch.distributed.tensor import DTensor, Replicate

        parts = []
        for parameter, value in zip(parameters, values, strict=True):
            assert isinstance(parameter, DTensor)
            mesh = parameter.device_mesh
            whole = DTensor.from_local(value, mesh, [Replicate()], run_check=False)
            parts.append(whole.redistribute(mesh, parameter.placements))
        return Gradients.of(parameters, parts)


@dataclass
class ShardedStep(Step):
    """A step whose passes are whole backward passes: only those gather and reduce the shards.

    After each the gradients of the shards are read and taken away. What was in `.grad` before
    stays there.
    """

    agreement: Agreement = field(kw_only=True)

    def rows(
        self, leaves: Sequence[Leaf] | None = None, *, ghost: bool = True, again: bool = False
    ) -> tuple[Rows, Gradients]:
        """Return the tasks' gradients of the shards of all shared parameters."""
        del ghost
        assert leaves is None
        shards = [leaf.tensor for leaf in self.shared]
        rows = ShardedRows(self.t, shards, self.inputs, self.agreement)  # type: ignore[arg-type]
        mine = no_gradients()
        for k in range(self.t):
            one = [0.0] * self.t
            one[k] = 1.0
            found, at_inputs = self._pass(one, again or k + 1 < self.t)
            rows.fill(k, found, at_inputs)
            own = {id(leaf.tensor) for leaf in self.own[k]}
            for tensor, value in zip(found.tensors, found.values, strict=True):
                if id(tensor) in own:
                    mine.extend(Gradients.of([tensor], [value], k))
        self.method_used = "per_task, over shards"
        return rows, mine

    def walks(self, leaves: Sequence[Leaf]) -> list[Walk]:
        """Return those of the first process, the same on all of them."""
        shards = [leaf.tensor for leaf in leaves]
        shard_of = {id(x): p for x, p in zip(gathered(shards), shards, strict=True)}
        walks = [self.graph.walk_of(k, shard_of) for k in range(self.t)]
        found = [Walk(w.custom, [shard_of[id(x)] for x in w.tensors]) for w in walks]
        return walks_of_all(found, leaves, self.agreement)

    def weighted(self, weights: Tensor, *, own: bool, weigh_own: bool = False) -> Gradients:
        """Return the gradients of the weighted losses, those of own parameters by a pass more."""
        apart = own and not weigh_own and any(self.own)
        found, at_inputs = self._pass(weights.tolist(), apart)
        shared = {id(leaf.tensor) for leaf in self.shared}
        result = no_gradients()
        for tensor, value in zip(found.tensors, found.values, strict=True):
            if id(tensor) in shared or (own and not apart):
                result.extend(Gradients.of([tensor], [value]))
        if apart:
            alone, _ = self._pass([1.0] * self.t, False)
            for tensor, value in zip(alone.tensors, alone.values, strict=True):
                if id(tensor) not in shared:
                    result.extend(Gradients.of([tensor], [value]))
        result.extend(Gradients.of([leaf.tensor for leaf in self.inputs], at_inputs))
        return result

    def rounding(self) -> float:
        """Return the relative rounding of the Gramian.

        Gathered parameters may be of less precision than shards (`MixedPrecisionPolicy`).
        """
        halves = {leaf.tensor.dtype for leaf in self.graph.leaves} & HALF
        return max([super().rounding(), *(torch.finfo(kind).eps ** 2 for kind in halves)])

    def too_large(self) -> bool:
        """Return False: each process keeps the rows of its shards alone."""
        if self.gradient_method not in ("auto", "per_task"):
            raise refuse_sharded(f'gradient_method="{self.gradient_method}"')
        return False

    def heads(self, *, dense: bool = True) -> tuple[Boundary, Cotangents, Gradients] | None:
        """Refuse: a pass that stops at features does not reduce the shards."""
        del dense
        raise refuse_sharded('compare_at="features"')

    def last_layer(self) -> list[Leaf]:
        """Refuse likewise."""
        raise refuse_sharded('compare_at="last_shared_layer"')

    def plain_rows(self, tensors: Sequence[Tensor]) -> Rows:  # noqa: ARG002
        """Refuse methods of two batches, whose graphs would be gathered at once."""
        raise refuse_sharded("extra=")

    def _pass(
        self, weights: Sequence[float], retain: bool
    ) -> tuple[Gradients, list[Tensor | None]]:
        """Return the gradients of the weighted losses by a whole backward pass."""
        places = [leaf.tensor for leaf in self.parameters]
        leaves = [*places, *(leaf.tensor for leaf in self.inputs)]
        before = [leaf.grad for leaf in leaves]
        for leaf in leaves:
            leaf.grad = None
        chosen = [k for k, w in enumerate(weights) if w]
        factor = divisor(self.agreement)
        try:
            torch.autograd.backward(
                [self.losses[k] for k in chosen],
                [self.factors[k] * (weights[k] * factor) for k in chosen],
                retain_graph=retain or self.retain_graph,
            )
            found = [leaf.grad for leaf in leaves]
        finally:
            for leaf, old in zip(leaves, before, strict=True):
                leaf.grad = old
        return Gradients.of(places, found[: len(places)]), found[len(places) :]


def refuse_sharded(argument: str) -> InvalidInputError:
    """Return the error for an argument that isn't exact over shards."""
    return InvalidInputError(
        f"`{argument}` is not exact for parameters that `fully_shard` manages. Leave it out, "
        "choose another method, or use DistributedDataParallel."
    )


def divisor(agreement: Agreement) -> float:
    """Return by what `fully_shard` divides the sum of the processes' gradients."""
    assert agreement.replicas.sharded is not None
    groups = [group for _, group in agreement.replicas.sharded.values()]
    found = {getattr(group, "gradient_divide_factor", None) for group in groups}
    if len(found) != 1:
        raise InvalidInputError(
            "The modules divide their gradients by different factors. Call "
            "`set_gradient_divide_factor` with one number on all of them, or not at all."
        )
    factor = found.pop()
    return float(agreement.ranks.size if factor is None else factor)


def local(gradient: Tensor) -> Tensor:
    """Return this process's part of a sharded gradient."""
    return cast("DTensor", gradient).to_local() if is_distributed(gradient) else gradient


def as_shard(value: Tensor, shard: DTensor) -> DTensor:
    """Return this process's part of a gradient as one of the sharded parameter."""
    from torch.distributed.tensor import DTensor

    return DTensor.from_local(
        value.contiguous(),
        shard.device_mesh,
        shard.placements,
        run_check=False,
        shape=shard.shape,
        stride=shard.stride(),
    )


def sharded(
    losses: list[Tensor],
    agreement: Agreement,
    *,
    shared_named: bool,
    own: Sequence[Tensor] | None,
) -> ShardedStep:
    """Return the step that all processes take together over their shards.

    Args:
        losses: This process's loss of each task, [t].
        agreement: What the processes agree on.
        shared_named: Whether the caller said which parameters are shared.
        own: The parameters that are to get a gradient beside the shared ones; None for all.
    """
    managed: dict[int, Any] = agreement.replicas.sharded or {}
    allowed = None if own is None else {id(x) for x in shards_of(own)}
    shared, by_task, parameters = agreement.sort(
        lambda place: Leaf(place.tensor, None, place.mask), allowed, named=shared_named
    )
    graph = walk(losses)
    inputs = [leaf for leaf in graph.leaves if id(leaf.tensor) not in managed]
    return ShardedStep(losses, [], graph, shared, by_task, parameters, inputs, agreement=agreement)
