"""Gradients that are to be added to `.grad`: how they are asked for, and how they get there."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from sys import getrefcount
from typing import NamedTuple

import torch
from torch import Tensor
from torch.autograd.graph import GradientEdge

from jointrain.errors import InvalidInputError


class Gradients(NamedTuple):
    """Parameters and what is to be added to their `.grad`; of which task, where it is one's own."""

    tensors: list[Tensor]
    values: list[Tensor]
    tasks: list[int]

    @staticmethod
    def of(tensors: Sequence[Tensor], values: Sequence[Tensor | None], task: int = -1) -> Gradients:
        """Pair parameters with their gradients, without those that have none."""
        pairs = [(x, g) for x, g in zip(tensors, values, strict=True) if g is not None]
        return Gradients([x for x, _ in pairs], [g for _, g in pairs], [task] * len(pairs))

    def extend(self, other: Gradients) -> None:
        """Take in the entries of `other`."""
        self.tensors.extend(other.tensors)
        self.values.extend(other.values)
        self.tasks.extend(other.tasks)

    def finite(self) -> bool:
        """Return whether all of them are finite."""
        return all(map(is_finite, self.values))

    def weighted(self, weights: Tensor) -> Gradients:
        """Return them times the weights [t] of their tasks."""
        numbers = weights.tolist()
        values = [g * numbers[k] for g, k in zip(self.values, self.tasks, strict=True)]
        return Gradients(self.tensors, values, self.tasks)


def no_gradients() -> Gradients:
    """Return an empty collection."""
    return Gradients([], [], [])


def is_finite(gradient: Tensor) -> bool:
    """Return whether all numbers are finite."""
    if gradient.is_sparse:
        gradient = gradient._values()
    # a sum of finite numbers may overflow
    return bool(gradient.sum().isfinite()) or bool(gradient.isfinite().all())


@contextlib.contextmanager
def explained() -> Iterator[None]:
    """Say in the user's terms what went wrong in a graph.

    Raises:
        InvalidInputError: The graph was used up, or belongs to a transform of torch.func.
    """
    try:
        yield
    except RuntimeError as error:
        for part, message in _EXPLANATIONS.items():
            if part in str(error):
                raise InvalidInputError(message) from error
        raise


_EXPLANATIONS = {
    "backward through the graph a second time": (
        "The losses' graph was used up by a backward pass before this one. Compute the losses "
        "anew for each step, or pass `retain_graph=True` to the first pass."
    ),
    "under selective activation checkpoint": (
        "A selective activation checkpoint can be computed anew only once a step, this way takes a "
        'pass per task. Pass `gradient_method="batched"`, or take plain checkpoints (without '
        "`context_fn`)."
    ),
    "functorch transform": (
        "`backward` can't be called within a transform of torch.func (grad, vmap, ...). Call it "
        "on losses that were computed outside."
    ),
}


def grad(
    outputs: Sequence[Tensor | GradientEdge],
    inputs: Sequence[Tensor | GradientEdge],
    cotangents: Sequence[Tensor],
    *,
    retain: bool,
    batched: bool = False,
) -> Sequence[Tensor | None]:
    """Return the gradients of the outputs, started with the cotangents, None where unreached.

    What an operation or a hook has given out and still holds is copied, as in a backward pass.

    Raises:
        InvalidInputError: A compiled part of the graph can be differentiated only once.
    """
    if not inputs:
        return ()
    try:
        found = torch.autograd.grad(
            outputs,  # type: ignore[arg-type]
            inputs,  # type: ignore[arg-type]
            cotangents,
            retain_graph=retain,
            allow_unused=True,
            is_grads_batched=batched,
        )
    except RuntimeError as error:
        if "donated buffer" not in str(error):
            raise
        raise InvalidInputError(
            "The compiled part of the network can be differentiated only once a step, this way "
            "takes a pass per task. Set `torch._functorch.config.donated_buffer = False` (after "
            "`import torch._functorch.config`) before the network's first call, or choose "
            '`compare_at="features"`.'
        ) from error
    held = _references(found)
    if max(held) > _ALONE:
        return [g.clone() if n > _ALONE else g for g, n in zip(found, held, strict=True)]
    return found


def _references(gradients: Sequence[Tensor | None]) -> list[int]:
    """Return how many refer to each tensor, 0 for None.

    What only torch holds, such as a tensor that a kept graph saved, is referred to by it.
    """
    return [0 if g is None else getrefcount(g) for g in gradients]


_ALONE = _references((torch.empty(0),))[0]
"""What is counted where nobody but the sequence refers to a tensor."""


def add_to_grad(gradients: Gradients, foreign: Sequence[Tensor] = ()) -> None:
    """Add the values to `.grad` as a backward pass does: in place where there is one already.

    A value that is no dense tensor of its own (one tensor for two parameters, an expanded one, or
    one of `foreign`) is copied, since optimisers write to `.grad`.
    """
    seen = {tensor.data_ptr() for tensor in foreign}
    old, new = [], []
    for tensor, value in zip(gradients.tensors, gradients.values, strict=True):
        if value.is_sparse or (tensor.grad is not None and tensor.grad.is_sparse):
            # sums in place and of storages are for dense ones
            before = tensor.grad
            if before is not None and before.is_sparse and not value.is_sparse:
                before, value = value, before
            tensor.grad = value if before is None else before + value
        elif tensor.grad is not None:
            old.append(tensor.grad)
            new.append(value)
        else:
            pointer = value.data_ptr()
            if pointer in seen or not value.is_contiguous():
                value = value.clone(memory_format=torch.contiguous_format)
            seen.add(pointer)
            tensor.grad = value
    with torch.no_grad():
        for grad, value in zip(old, new, strict=True):
            grad.add_(value)
        for tensor in {id(x): x for x in gradients.tensors}.values():
            hooks = getattr(tensor, "_post_accumulate_grad_hooks", None)
            for hook in tuple(hooks.values()) if hooks else ():
                hook(tensor)
