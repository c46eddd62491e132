"""The tasks' gradients of one step: how they are collected, multiplied and combined."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch._utils import _unflatten_dense_tensors
from torch.autograd.graph import GradientEdge

from jointrain.balancing._float_range import Cast, are_in_range, in_range, widened
from jointrain.balancing.engine._ghost import GhostLayer, LinearLayer, gram, real_view
from jointrain.balancing.engine._gradients import Gradients, grad, is_finite, no_gradients
from jointrain.balancing.engine._graph import Leaf, Node
from jointrain.balancing.engine._sparse import SparseRows

_FRESH = 2**24  # bytes up to which fetching memory anew costs nothing to speak of
_KEPT = 2**28  # bytes above which memory isn't held between steps


class Block(NamedTuple):
    """Gradients [t, n] of some parameters that lie next to each other in its rows."""

    matrix: Tensor
    leaves: list[Leaf]

    def tensors(self) -> list[Tensor]:
        """Return the parameters."""
        return [leaf.tensor for leaf in self.leaves]

    def split(self, row: Tensor) -> Sequence[Tensor]:
        """Cut a row [n] into the parameters' shapes, without a copy."""
        found: Sequence[Tensor] = _unflatten_dense_tensors(row, self.tensors())  # type: ignore[no-untyped-call]
        return found

    def columns(self) -> list[Tensor]:
        """Cut all rows into the parameters' shapes, [t, *shape] each, without a copy."""
        sizes = [x.numel() for x in self.tensors()]
        parts = torch.split(self.matrix, sizes, dim=1)
        return [p.view(len(p), *x.shape) for p, x in zip(parts, self.tensors(), strict=True)]


class Rows:
    """The tasks' gradients of some shared parameters, as far as they are kept.

    Args:
        t: Number of tasks.
        leaves: The parameters whose weight gradients are kept.
        layers: The layers whose output gradients are kept instead.
        written: Linear layers of `leaves` whose weight gradients are to be written straight to
            their rows, where autograd's own would have to be copied.
        workspace: Where large buffers are kept from one step to the next, so that their memory
            isn't asked of the system anew; None if the rows outlive the step.
        loose: Whether gradients may be kept as autograd gives them, for few tasks; only
            :meth:`gramian` and :meth:`combine` are for such rows.
        inputs: Leaf tensors that are no parameters: they get their gradient by :meth:`combine` or
            :meth:`of_inputs`, and count in nothing else.
        after_pass: Called after each pass for one task.
    """

    def __init__(
        self,
        t: int,
        leaves: Sequence[Leaf],
        layers: Sequence[GhostLayer] = (),
        written: Sequence[LinearLayer] = (),
        workspace: dict[str, Tensor] | None = None,
        *,
        loose: bool = False,
        inputs: Sequence[Leaf] = (),
        after_pass: Callable[[], None] = lambda: None,
    ) -> None:
        self.t = t
        self.after_pass = after_pass
        self.inputs = [leaf.tensor for leaf in inputs]
        self.workspace = workspace
        self.written = list(written)
        self._straight = {leaf.node for layer in written for leaf in layer.leaves}
        self.sparse = [SparseRows(leaf) for leaf in leaves if leaf.sparse]
        leaves = [leaf for leaf in leaves if not leaf.sparse]
        groups: dict[tuple[torch.device, torch.dtype], list[Leaf]] = {}
        for leaf in leaves:
            groups.setdefault((leaf.tensor.device, leaf.tensor.dtype), []).append(leaf)
        self.groups = list(groups.values())
        self.layers = list(layers)
        self.loose = loose and bool(leaves) and all(_is_plain(leaf.tensor) for leaf in leaves)
        self.kept: list[list[Tensor]] = []  # of each task, if loose
        self.blocks: list[Block] = []
        self.outputs: list[Tensor] = []  # one [t, *output] per layer
        self.at_inputs: list[list[Tensor | None]] = []  # of each task

    def ordered(self) -> list[Leaf]:
        """Return the leaves whose gradients are kept dense, in the order of the blocks."""
        return [leaf for group in self.groups for leaf in group]

    # --- collecting ------------------------------------------------------------------------------

    def _begin(self) -> None:
        self.kept, self.blocks, self.at_inputs, self.outputs = [], [], [], []
        for group in () if self.loose else self.groups:
            size = sum(leaf.tensor.numel() for leaf in group)
            self.blocks.append(Block(self._empty(group[0].tensor, size), group))
        self._by_autograd = [x for x in self.ordered() if x.node not in self._straight]

    def _empty(self, like: Tensor, size: int) -> Tensor:
        """Return an unfilled [t, size] tensor."""
        wanted = self.t * size * like.element_size()
        if self.workspace is None or like.device.type != "cpu" or not _FRESH < wanted < _KEPT:
            return like.new_empty(self.t, size)
        key = f"rows {like.dtype}"
        kept = self.workspace.get(key)
        if kept is None or kept.numel() < self.t * size:
            kept = self.workspace[key] = like.new_empty(self.t * size)
        return kept[: self.t * size].view(self.t, size)

    def collect_from_losses(
        self,
        losses: Sequence[Tensor],
        factors: Sequence[Tensor],
        own: Sequence[Sequence[Leaf]],
        retain: bool,
        retain_last: bool,
    ) -> Gradients:
        """Fill the rows by one pass per loss; return the gradients of the tasks' own parameters."""
        self._begin()
        mine = no_gradients()
        for k, (loss, factor) in enumerate(zip(losses, factors, strict=True)):
            own_tensors = [leaf.tensor for leaf in own[k]]
            keep = retain and (retain_last or k + 1 < self.t)
            found = self._pass(k, [loss], [factor], own_tensors, keep)
            mine.extend(Gradients.of(own_tensors, found, k))
        return mine

    def collect_from_boundary(
        self,
        edges: Sequence[GradientEdge],
        cotangents: Callable[[int], list[Tensor]],
        masks: Mapping[Node, int],
        retain: bool,
        ends: Sequence[GradientEdge] = (),
    ) -> list[Tensor]:
        """Fill the rows by one pass per task from the boundary on, with the task's cotangents.

        Return the gradients at `ends`, edges further below, [t, *edge] each. A pass begins at those
        edges alone that its task reaches, by `masks`: zeros at others would become NaN where an
        infinite slope follows.
        """
        found = [_output_of(edge, self.t) for edge in ends]
        self._begin()
        for k in range(self.t):
            starts = [
                (edge, start)
                for edge, start in zip(edges, cotangents(k), strict=True)
                if masks[edge.node] >> k & 1
            ]
            keep = retain or k + 1 < self.t
            at_ends = self._pass(k, [e for e, _ in starts], [s for _, s in starts], ends, keep)
            for place, g in zip(found, at_ends, strict=True):
                place[k] = 0.0 if g is None else g
        return found

    def _pass(
        self,
        k: int,
        outputs: Sequence[Tensor | GradientEdge],
        cotangents: Sequence[Tensor],
        further: Sequence[Tensor | GradientEdge],
        retain: bool,
    ) -> Sequence[Tensor | None]:
        """Fill task k's row by a pass; return the gradients of what is `further` wanted."""
        reached = [leaf for leaf in self._by_autograd if leaf.mask >> k & 1]
        wanted: list[Tensor | GradientEdge] = [leaf.tensor for leaf in reached]
        wanted += [layer.edge for layer in (*self.layers, *self.written)]
        others = [*(rows.tensor for rows in self.sparse), *self.inputs]
        inputs = [*wanted, *others, *further]
        if outputs:
            found = grad(outputs, inputs, cotangents, retain=retain)
            self.after_pass()
        else:
            found = [None] * len(inputs)
        middle, end = len(wanted) + len(self.sparse), len(wanted) + len(others)
        for rows, g in zip(self.sparse, found[len(wanted) : middle], strict=True):
            rows.add(g)
        self.at_inputs.append(list(found[middle:end]))
        start, stop = len(reached), len(wanted) - len(self.written)
        gradients = {leaf.node: g for leaf, g in zip(reached, found[:start], strict=True)}
        if self.loose:
            self.kept.append([_dense(gradients.get(x.node), x) for x in self._by_autograd])
        elif self._straight:
            self._write(k, gradients, found[stop : len(wanted)])
        else:
            self._copy(k, gradients)
        self._fill_outputs(k, found[start:stop])
        return found[end:]

    def _copy(self, k: int, gradients: Mapping[Node, Tensor | None]) -> None:
        """Copy task k's gradients to its row."""
        for block in self.blocks:
            parts = [_flat(gradients.get(leaf.node), leaf) for leaf in block.leaves]
            torch.cat(parts, out=block.matrix[k])

    def _write(
        self, k: int, gradients: Mapping[Node, Tensor | None], outputs: Sequence[Tensor | None]
    ) -> None:
        """Write weight gradients from output gradients to task k's row, and copy the others."""
        places = {
            leaf.node: place
            for block in self.blocks
            for leaf, place in zip(block.leaves, block.split(block.matrix[k]), strict=True)
        }
        for leaf in self._by_autograd:
            places[leaf.node].view(-1).copy_(_flat(gradients.get(leaf.node), leaf))
        for layer, output in zip(self.written, outputs, strict=True):
            own = [places[leaf.node] for leaf in layer.leaves]
            if output is not None:
                layer.write(output, own)
            else:
                for place in own:
                    place.zero_()

    def _fill_outputs(self, k: int, found: Sequence[Tensor | None]) -> None:
        if not self.outputs:
            self.outputs = [_output_of(layer.edge, self.t) for layer in self.layers]
        for output, g in zip(self.outputs, found, strict=True):
            if g is None:
                output[k].zero_()
            else:
                output[k].copy_(g)

    def collect_batched(
        self,
        edges: Sequence[GradientEdge],
        cotangents: Callable[[int, int], list[Tensor]],
        chunk: int,
        retain: bool,
    ) -> None:
        """Fill the rows by passes with `chunk` tasks at once, from the boundary on."""
        leaves = self.ordered()
        inputs: list[Tensor | GradientEdge] = [leaf.tensor for leaf in leaves]
        inputs.extend(layer.edge for layer in self.layers)
        pieces: list[list[Tensor]] = [[] for _ in inputs]
        inputs.extend(self.inputs)
        self.at_inputs = []
        for start in range(0, self.t, chunk):
            part = cotangents(start, min(start + chunk, self.t))
            keep = retain or start + chunk < self.t
            found = grad(edges, inputs, part, retain=keep, batched=True)
            rows = [() if g is None else g.unbind() for g in found[len(pieces) :]]
            self.at_inputs += [[r[k] if r else None for r in rows] for k in range(len(part[0]))]
            for i, g in enumerate(found[: len(pieces)]):
                if g is None and i < len(leaves):
                    g = leaves[i].tensor.new_zeros(len(part[0]), *leaves[i].tensor.shape)
                elif g is None:
                    g = _output_of(self.layers[i - len(leaves)].edge, len(part[0])).zero_()
                pieces[i].append(g)
        whole = [p[0] if len(p) == 1 else torch.cat(p) for p in pieces]
        self.blocks = [Block(whole[i].reshape(self.t, -1), [leaf]) for i, leaf in enumerate(leaves)]
        self.outputs = whole[len(leaves) :]

    # --- using -----------------------------------------------------------------------------------

    def gramian(self) -> Tensor:
        """Return the Gramian [t, t] in float64 on the CPU."""
        return in_range(self._products, self._parts)

    def _parts(self, k: int) -> Iterator[Tensor]:
        """Give the parts of task k's gradient, as they are kept."""
        if self.kept:
            yield from self.kept[k]
        for block in self.blocks:
            yield block.matrix[k]
        for rows in self.sparse:
            yield rows.kept[k].values()
        for output in self.outputs:
            yield output[k]

    def _products(self, cast: Cast) -> Tensor:
        """Return the Gramian of the gradients after a cast."""
        kept = [_pairwise([[cast(g) for g in row] for row in self.kept])] if self.kept else []
        if kept and not self.layers and not self.sparse:
            return kept[0]
        parts = [gram(cast(block.matrix)) for block in self.blocks]
        parts += kept
        parts += [rows.gramian(cast) for rows in self.sparse]
        pairs = zip(self.layers, self.outputs, strict=True)
        parts += [layer.gramian(cast(output)) for layer, output in pairs]
        total = functools.reduce(torch.add, [part.cpu() for part in parts])
        return (total + total.T) / 2

    def cross(self, other: Rows) -> Tensor:
        """Return the inner products [t, t'] with the rows of `other` (same leaves), float64."""
        total = self._cross(other, lambda x: x)
        fine = all(are_in_range(x._squares(), x._parts) for x in (self, other))
        return total if fine and bool(total.isfinite().all()) else self._cross(other, widened)

    def _cross(self, other: Rows, cast: Cast) -> Tensor:
        total = torch.zeros(self.t, other.t, dtype=torch.float64)
        for mine, theirs in zip(self.blocks, other.blocks, strict=True):
            total += (_matrix(cast(mine.matrix)) @ _matrix(cast(theirs.matrix)).T).double().cpu()
        for some, others in zip(self.sparse, other.sparse, strict=True):
            total += some.cross(others, cast).cpu()
        return total

    def _squares(self) -> list[float]:
        """Return the squared lengths [t] of the rows that are matrices or sparse."""
        total = torch.zeros(self.t, dtype=torch.float64)
        for block in self.blocks:
            rows = _matrix(block.matrix)
            total += (rows[:, None] @ rows[:, :, None]).flatten().double().cpu()
        for table in self.sparse:
            total += table.gramian(lambda x: x).diagonal().cpu()
        found: list[float] = total.tolist()
        return found

    def combine(self, weights: Tensor) -> Gradients:
        """Return the gradients of the parameters for the weights [t]: the rows' weighted sum."""
        result = no_gradients()
        if self.kept:
            numbers = weights.tolist()
            total = torch._foreach_mul(self.kept[0], numbers[0])
            for number, rows in zip(numbers[1:], self.kept[1:], strict=True):
                torch._foreach_add_(total, rows, alpha=number)
            result.extend(Gradients.of([x.tensor for x in self._by_autograd], total))
        for block in self.blocks:
            update = weights.to(block.matrix) @ block.matrix
            result.extend(Gradients.of(block.tensors(), block.split(update)))
        for layer, output in zip(self.layers, self.outputs, strict=True):
            mixed = torch.tensordot(weights.to(output), output, 1)
            result.extend(Gradients.of([x.tensor for x in layer.leaves], layer.combine(mixed)))
        for table in self.sparse:
            result.extend(Gradients.of([table.tensor], [table.combine(weights)]))
        result.extend(self.of_inputs(weights))
        return result

    def of_inputs(self, weights: Tensor) -> Gradients:
        """Return the gradients of the leaf tensors that are no parameters for the weights [t]."""
        result = no_gradients()
        numbers = weights.tolist()
        for tensor, *column in zip(self.inputs, *self.at_inputs, strict=True):
            parts = [w * g for w, g in zip(numbers, column, strict=True) if g is not None]
            if parts:
                result.extend(Gradients.of([tensor], [sum(parts[1:], start=parts[0])]))
        return result

    def update(self, parameters: Sequence[Tensor], values: Sequence[Tensor]) -> Gradients:
        """Return updates of the parameters, as `per_parameter` gave them, as their gradients."""
        return Gradients.of(parameters, values)

    def finite(self) -> Tensor:
        """Return for each task whether all its gradients are finite, [t], on the CPU."""
        ok = torch.ones(self.t, dtype=torch.bool)
        for block in self.blocks:
            found = torch.isfinite(block.matrix.sum(1)).cpu()
            # a sum of finite numbers may overflow
            ok &= found if bool(found.all()) else torch.isfinite(block.matrix).all(1).cpu()
        for rows in self.sparse:
            ok &= rows.finite()
        return ok

    def all_finite(self) -> bool:
        """Return whether all that is kept is finite."""
        return bool(self.finite().all()) and all(map(is_finite, self.outputs))

    def per_parameter(self) -> list[tuple[Tensor, Tensor]]:
        """Return each parameter with its gradients, dense, [t, *shape]; [t, *shape, 2] if complex.

        A complex number is shown as the two real ones that it consists of.
        """
        found = [
            (leaf.tensor, real_view(part))
            for block in self.blocks
            for leaf, part in zip(block.leaves, block.columns(), strict=True)
        ]
        return found + [(rows.tensor, real_view(rows.dense())) for rows in self.sparse]


def _output_of(edge: GradientEdge, t: int) -> Tensor:
    """Return an unfilled [t, *output] tensor for the gradients at an edge."""
    output = edge.node._input_metadata[edge.output_nr]
    return torch.empty(t, *output.shape, dtype=output.dtype, device=output.device)


def _dense(gradient: Tensor | None, leaf: Leaf) -> Tensor:
    if gradient is None:
        return torch.zeros_like(leaf.tensor)
    return gradient.to_dense() if gradient.is_sparse else gradient


def _flat(gradient: Tensor | None, leaf: Leaf) -> Tensor:
    return _dense(gradient, leaf).reshape(-1)


def _is_plain(tensor: Tensor) -> bool:
    """Return whether a sum of products may be taken of it, number by number, as it is."""
    return tensor.device.type == "cpu" and tensor.dtype in (torch.float32, torch.float64)


def _matrix(rows: Tensor) -> Tensor:
    """Return rows [t, ...] as a matrix of real numbers, in single precision at least."""
    rows = real_view(rows).flatten(1)
    return rows.float() if rows.dtype in (torch.float16, torch.bfloat16) else rows


def _pairwise(rows: Sequence[Sequence[Tensor]]) -> Tensor:
    """Return the inner products [t, t] of few rows, each of a tensor per parameter."""
    numbers = [[0.0] * len(rows) for _ in rows]
    for gradients in zip(*rows, strict=True):  # all pairs of one parameter while it is in a cache
        flat = [g.reshape(-1) for g in gradients]
        for i, left in enumerate(flat):
            for j in range(i + 1):
                numbers[i][j] += torch.dot(left, flat[j]).item()
    for i in range(len(rows)):
        for j in range(i):
            numbers[j][i] = numbers[i][j]
    return torch.tensor(numbers, dtype=torch.float64)
