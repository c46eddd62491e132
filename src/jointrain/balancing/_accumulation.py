"""Several batches a step: their tasks' gradients are summed before the balancer sees them."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from jointrain.balancing._balancer import Balancer
from jointrain.balancing.engine import (
    Gradients,
    Graph,
    Leaf,
    Rows,
    Step,
    Walk,
    no_gradients,
)
from jointrain.errors import InvalidInputError

ACCUMULATIONS = ("exact", "per-batch")


def refuse_gradients_before(shared: Sequence[Leaf]) -> None:
    """Refuse `.grad` of the shared parameters that holds what another batch has left.

    Raises:
        InvalidInputError: It does.
    """
    for leaf in shared:
        if _is_filled(leaf.tensor.grad):
            raise InvalidInputError(
                "`.grad` of the shared parameters isn't empty. Call `optimizer.zero_grad()` before "
                'each step. To accumulate batches, pass `accumulate="exact"`, which balances their '
                'summed gradients as if they were one batch, or `accumulate="per-batch"`, which '
                "adds up what each batch's own balancing gives and is another method."
            )


def refuse_what_would_be_lost(tensors: Sequence[Tensor]) -> None:
    """Refuse `.grad` that holds more than the batches so far: it is emptied for each of them.

    Raises:
        InvalidInputError: It does.
    """
    if any(_is_filled(tensor.grad) for tensor in tensors):
        raise InvalidInputError(
            '`accumulate="exact"` found `.grad` filled by something else than the batches of this '
            "step. Call `optimizer.zero_grad()` before each step, for all parameters that the "
            "losses reach."
        )


def _is_filled(gradient: Tensor | None) -> bool:
    return gradient is not None and bool(gradient.any())


@dataclass
class Accumulated:
    """What the batches of a step have left so far, kept with the balancer until `.grad` is emptied.

    Attributes:
        losses: The sum of each task's losses, by name.
        rows: Each task's summed gradients, by name and by the id of the parameter.
        parameters: The parameters by their ids; the flags say which are shared.
        reached_by: The names of the tasks that reach a parameter, by its id.
        left_out: The parameters that a batch reached and that were to get no gradient, by id.
        spread: Whether a parameter is shared by tasks of several batches, of none alone.
        walks: For methods that keep gradients: how each task's loss reaches parameters, by name.
        parts_known: Whether it is known which parameters operations defined in Python read.
        penalty: The summed gradients of the penalties, by the id of the parameter.
        before: The balancer's state before the first of the batches.
        scale: What the scaler multiplied all of it by.
        written: The parameters whose `.grad` was written, with that tensor and its version.
    """

    before: dict[str, Any]
    scale: float
    losses: dict[str, float] = field(default_factory=dict)
    rows: dict[str, dict[int, Tensor]] = field(default_factory=dict)
    parameters: dict[int, tuple[Tensor, bool]] = field(default_factory=dict)
    reached_by: dict[int, set[str]] = field(default_factory=dict)
    left_out: set[int] = field(default_factory=set)
    spread: bool = False
    parts_known: bool = True
    walks: dict[str, Walk] = field(default_factory=dict)
    penalty: dict[int, Tensor] = field(default_factory=dict)
    written: list[tuple[Tensor, Tensor, int]] = field(default_factory=list)

    def sort(self, names: Sequence[str], step: Step, *, named: bool) -> None:
        """Take in which parameters the tasks of a batch reach, and which are shared by now.

        Args:
            names: The tasks of the batch.
            step: The step of the batch.
            named: Whether the caller said which parameters are shared; if not, those are that two
                or more tasks reach, be it in batches of their own.

        Raises:
            InvalidInputError: A shared parameter was to get no gradient from one of the batches.
        """
        shared = {id(leaf.tensor) for leaf in step.shared}
        wanted = shared.union(id(leaf.tensor) for leaves in step.own for leaf in leaves)
        for tensor, mask in step.reaching():
            key = id(tensor)
            tasks = self.reached_by.setdefault(key, set())
            tasks.update(name for k, name in enumerate(names) if mask >> k & 1)
            _, is_shared = self.parameters.get(key, (tensor, False))
            is_shared |= key in shared
            if not named and not is_shared and len(tasks) > 1:
                is_shared = self.spread = True
            if key not in wanted:
                self.left_out.add(key)
            if key in wanted or is_shared:
                self.parameters[key] = tensor, is_shared
            if is_shared and key in self.left_out:
                raise InvalidInputError(
                    "Tasks share a parameter that isn't in `own` and that they reach in batches of "
                    'their own, so that `accumulate="exact"` lacks gradients. Name the shared '
                    "parameters with `shared=`, or leave out `own`."
                )

    def add(self, names: Sequence[str], losses: Tensor, rows: Rows) -> None:
        """Add the losses [t] and the shared parameters' gradients of a batch."""
        for name, loss in zip(names, losses.tolist(), strict=True):
            self.losses[name] = self.losses.get(name, 0.0) + loss
            self.rows.setdefault(name, {})
        for tensor, part in rows.per_parameter():
            for name, row in zip(names, part, strict=True):
                self._add(name, tensor, row)

    def add_own(self, names: Sequence[str], mine: Gradients) -> None:
        """Add the gradients of the tasks' own parameters."""
        for tensor, value, k in zip(mine.tensors, mine.values, mine.tasks, strict=True):
            self._add(names[k], tensor, value.to_dense() if value.is_sparse else value)

    def add_penalty(self, found: Gradients) -> None:
        """Add the gradients of a penalty."""
        for tensor, value in zip(found.tensors, found.values, strict=True):
            self.parameters.setdefault(id(tensor), (tensor, False))
            old = self.penalty.get(id(tensor))
            self.penalty[id(tensor)] = value if old is None else old + value

    def penalty_so_far(self) -> Gradients:
        """Return the summed gradients of the penalties, as new tensors."""
        tensors = [self.parameters[key][0] for key in self.penalty]
        return Gradients.of(tensors, [value.clone() for value in self.penalty.values()])

    def _add(self, name: str, tensor: Tensor, value: Tensor) -> None:
        row = self.rows[name]
        old = row.get(id(tensor))
        if old is None:
            row[id(tensor)] = value.clone()
        else:
            old.add_(value)

    def goes_on(self) -> bool:
        """Return whether `.grad` is what the batches so far have left in it.

        Raises:
            InvalidInputError: It was changed in between, but not emptied.
        """
        same = [tensor.grad is g and g._version == version for tensor, g, version in self.written]
        if self.written and all(same):
            return True
        if not any(_is_filled(tensor.grad) for tensor, _, _ in self.written):
            return False
        raise InvalidInputError(
            '`accumulate="exact"` found `.grad` changed since the last batch. Clip and add '
            "penalties after the last one (or pass `penalty=`), and call `zero_grad()` after each "
            "step."
        )

    def take_back(self, balancer: Balancer) -> None:
        """Empty `.grad`, which is to be written anew, and set the balancer back."""
        for tensor, _, _ in self.written:
            tensor.grad = None
        for parameter in balancer.parameters():
            parameter.grad = None
        balancer.load_state_dict(self.before)

    def note(self, tensors: Sequence[Tensor]) -> None:
        """Note what was written to `.grad`."""
        self.written = [(x, x.grad, x.grad._version) for x in tensors if x.grad is not None]


class AccumulatedStep(Step):
    """A step whose gradients are known already: they are multiplied and combined, no more."""

    @staticmethod
    def of(kept: Accumulated, names: Sequence[str], device: torch.device) -> AccumulatedStep:
        """Return the step of the named tasks."""
        t = len(names)
        shared, parameters = [], []
        own: list[list[Leaf]] = [[] for _ in names]
        for key, (tensor, is_shared) in kept.parameters.items():
            mask = sum(1 << k for k, name in enumerate(names) if key in kept.rows[name])
            leaf = Leaf(tensor, object(), mask)
            parameters.append(leaf)
            if is_shared:
                shared.append(leaf)
            else:
                for k in range(t):
                    if mask >> k & 1:
                        own[k].append(leaf)
        losses = [torch.zeros((), device=device, requires_grad=True) for _ in names]
        step = AccumulatedStep(losses, [], Graph([]), shared, own, parameters, [])
        step.kept, step.names = kept, tuple(names)
        return step

    kept: Accumulated
    names: tuple[str, ...]

    def _multiplied(self, k: int, tensor: Tensor) -> Tensor | None:
        row = self.kept.rows[self.names[k]].get(id(tensor))
        # the scaler's factor is in the row already
        return None if row is None else row * (float(self.factors[k]) / self.kept.scale)

    def rows(
        self, leaves: Sequence[Leaf] | None = None, *, ghost: bool = True, again: bool = False
    ) -> tuple[Rows, Gradients]:
        """Return the summed gradients."""
        del ghost, again
        leaves = self.shared if leaves is None else leaves
        rows = Rows(self.t, [leaf._replace(sparse=False) for leaf in leaves])
        rows._begin()
        mine = no_gradients()
        for k in range(self.t):
            rows._copy(k, {leaf.node: self._multiplied(k, leaf.tensor) for leaf in leaves})
            rows.at_inputs.append([])
            own = [leaf.tensor for leaf in self.own[k]]
            mine.extend(Gradients.of(own, [self._multiplied(k, x) for x in own], k))
        self.method_used = "accumulated"
        return rows, mine

    def weighted(self, weights: Tensor, *, own: bool, weigh_own: bool = False) -> Gradients:
        """Return the weighted sum of the shared parameters' gradients, and the others'."""
        rows, mine = self.rows()
        result = rows.combine(weights)
        if own:
            result.extend(mine.weighted(weights) if weigh_own else mine)
        return result

    def walks(self, leaves: Sequence[Leaf]) -> list[Walk]:
        """Return how the losses reached these, each loss in the first batch that had it, [t]."""
        wanted = {id(leaf.tensor) for leaf in leaves}
        walks = [self.kept.walks[name] for name in self.names]
        return [Walk(w.custom, [x for x in w.tensors if id(x) in wanted]) for w in walks]

    def too_large(self) -> bool:
        """Return False: they are all kept anyway."""
        return False


def begun(balancer: Balancer, scale: float) -> Accumulated:
    """Return what the batches before this one have left, with the balancer as it was before them.

    Raises:
        InvalidInputError: `.grad` was changed in between, or the scaler's factor.
    """
    kept: Accumulated | None = balancer.accumulated
    if kept is None or not kept.goes_on():
        return Accumulated(copy.deepcopy(balancer.state_dict()), scale)
    if kept.scale != scale:
        raise InvalidInputError(
            "The factor of the scaler, or what the scalar is multiplied by, has changed between "
            'two batches of a step, which `accumulate="exact"` can\'t add up. Call '
            "`scaler.update()` after each step only."
        )
    kept.take_back(balancer)
    return kept
