"""The order of shared parameters for methods that keep gradients from one step to the next."""

from __future__ import annotations

import json
from collections.abc import Sequence

import torch

from jointrain.balancing._balancer import Balancer, Needs
from jointrain.balancing._kept_blocks import BlockOrder, KeptWalk
from jointrain.balancing.engine import Leaf, Step
from jointrain.errors import InvalidInputError

_ORDER = "kept_order"


def in_kept_order(balancer: Balancer, step: Step, names: Sequence[str]) -> list[Leaf]:
    """Return the shared leaves in the order in which the balancer first saw them.

    The walk over a graph finds parameters in an order that depends on which losses there are.

    Raises:
        InvalidInputError: The balancer keeps gradients of other parameters than these, or of which
            ones isn't known.
    """
    leaves = step.shared
    if not balancer.task_state:
        return list(leaves)
    if not _keeps(balancer):
        balancer.block_order = BlockOrder()
    elif balancer.block_order is None:
        balancer.block_order = _found_again(balancer, step, names)
    known = balancer.block_order.places
    keeps = len(known)
    places = {}
    for leaf in leaves:
        if leaf.tensor not in known:
            known[leaf.tensor] = len(known)
        places[id(leaf.tensor)] = known[leaf.tensor]
    if keeps and (len(known) > keeps or len(places) < keeps):
        raise InvalidInputError(
            f"{type(balancer).__name__} keeps gradients of {keeps} shared parameters, and this "
            "step shares other ones. Name them all with `shared=`; a step whose losses don't reach "
            "them all, or another model, needs a balancer of its own."
        )
    return sorted(leaves, key=lambda leaf: places[id(leaf.tensor)])


def wants_walks(balancer: Balancer) -> bool:
    """Return whether the balancer may keep gradients of blocks, whose order is to be known."""
    return balancer.task_state and balancer.needs is Needs.JACOBIAN


def note_order(balancer: Balancer, step: Step, names: Sequence[str]) -> None:
    """Remember for tasks that are new how their losses reach the parameters of kept gradients."""
    order = balancer.block_order
    if order is None or order.walks.keys() >= set(names) or not _keeps(balancer):
        return
    for name, walk in zip(names, step.walks(step.shared), strict=True):
        places = [order.places[tensor] for tensor in walk.tensors]
        order.walks.setdefault(name, KeptWalk(walk.custom, places))
    words = json.dumps(order.walks).encode()
    balancer.remember(_ORDER, torch.tensor(list(words), dtype=torch.uint8))


def _keeps(balancer: Balancer) -> bool:
    return any(name.startswith("kept_") for name in balancer._buffers)


def _found_again(balancer: Balancer, step: Step, names: Sequence[str]) -> BlockOrder:
    """Return the order that a loaded or copied balancer goes on with.

    It is empty where the state is of a version that kept none: then that of the step is taken.

    Raises:
        InvalidInputError: It can't be told which parameter is which.
    """
    kept = balancer.recall(_ORDER)
    if kept is None:
        return BlockOrder()
    words = json.loads(bytes(kept.cpu().tolist()).decode())
    walks = {name: KeptWalk(*walk) for name, walk in words.items()}
    places: dict[int, int] = {}
    fits = True
    for name, walk in zip(names, step.walks(step.shared), strict=True):
        known = walks.get(name)
        if known is None or known.custom != walk.custom or len(known.places) != len(walk.tensors):
            continue
        for tensor, place in zip(walk.tensors, known.places, strict=True):
            fits &= places.setdefault(id(tensor), place) == place
    expected = {place for walk in walks.values() for place in walk.places}
    left = [leaf.tensor for leaf in step.shared if id(leaf.tensor) not in places]
    free = expected.difference(places.values())
    if len(left) == len(free) == 1:
        places[id(left.pop())] = free.pop()
    if not fits or left or free or len(expected) < len(places):
        raise InvalidInputError(
            f"{type(balancer).__name__} was loaded or copied with gradients of {len(expected)} "
            "shared parameters, and it can't be told which ones those are. Take the first step "
            f"with the losses of the tasks {list(walks)} and the model as it was, or call "
            "`reset()`."
        )
    order = BlockOrder(walks=walks)
    for leaf in step.shared:
        order.places[leaf.tensor] = places[id(leaf.tensor)]
    return order
