"""Layers that write into what they are given: into the data of the user, or other heads' features.

Torch counts the writes into a tensor, and all views of one memory share the count.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any
from weakref import WeakSet

import torch
from torch import Tensor, nn

from jointrain.data import map_tensors
from jointrain.errors import InvalidInputError
from jointrain.networks import MLP, GroupedLinear, Network, TaskHeads

_looked_at: WeakSet[nn.Module] = WeakSet()


@contextmanager
def refusing_writes(network: Network, inputs: Any) -> Iterator[Any]:
    """Look at the first pass of a network inside the block, whose inputs are those that it gives.

    Heads are looked at once in the life of a network, as each of them is computed once more.

    Args:
        network: It, in evaluation mode.
        inputs: Those of the pass; copies are given, so the data stay as they are.

    Raises:
        InvalidInputError: A layer writes into the inputs, or a head into what others are given.
    """
    # those of inference mode have no count
    with torch.inference_mode(False):
        copies = map_tensors(lambda x: x.clone() if isinstance(x, Tensor) else x, inputs)
    before = _writes(copies)
    # torch would compile the look, too
    looks = network not in _looked_at and network._compiled_call_impl is None
    handle = network.heads.register_forward_pre_hook(_look_at_heads) if looks else None
    try:
        yield copies
    finally:
        if handle is not None:
            handle.remove()
    _looked_at.add(network)
    if _writes(copies) != before:
        raise InvalidInputError(
            "a layer of the network changes its inputs in place, and with them the data; let it "
            "make new tensors (`x = x - 5`, not `x.sub_(5)` or `x -= 5`; no inplace=True in the "
            "first layer)"
        )


def _look_at_heads(heads: nn.Module, given: tuple[Any, ...]) -> None:
    assert isinstance(heads, TaskHeads)
    features, tasks, inputs = given
    for name in tasks:
        first, _ = heads.piece(name)
        while isinstance(first, nn.Sequential) and type(first) in (nn.Sequential, MLP) and first:
            first = first[0]
        if type(first) in (nn.Linear, GroupedLinear):
            continue
        others = {other: features[other] for other in tasks if other != name}
        before = _writes((others, inputs))
        heads.forward(features, (name,), inputs)
        if _writes((others, inputs)) != before:
            raise InvalidInputError(
                f"the head of task {name!r} changes in place what other heads are given, too; let "
                f"it make new tensors (no inplace=True in its first layers, no `x.add_(1)` or "
                f"`x += 1`)"
            )


def _writes(value: Any) -> Sequence[int]:
    """Return how often each tensor was written into; those of inference mode do not count."""
    found: list[int] = []

    def count(tensor: Tensor) -> Tensor:
        if isinstance(tensor, Tensor) and not tensor.is_inference():
            found.append(tensor._version)
        return tensor

    map_tensors(count, value)
    return found
