"""The order of shared parameters for methods that keep gradients from one step to the next."""

from __future__ import annotations

from collections.abc import Sequence

from torch.utils.weak import WeakIdKeyDictionary

from jointrain.balancing._balancer import Balancer
from jointrain.balancing.engine import (
    Leaf,
)
from jointrain.errors import InvalidInputError


def in_kept_order(balancer: Balancer, leaves: Sequence[Leaf]) -> list[Leaf]:
    """Return the leaves in the order in which the balancer first saw them.

    The walk over a graph finds parameters in an order that depends on which losses there are.

    Raises:
        InvalidInputError: The balancer keeps gradients of other parameters than these.
    """
    if not balancer.task_state:
        return list(leaves)
    known = balancer.block_order
    if known is None or not any(name.startswith("kept_") for name in balancer._buffers):
        known = balancer.block_order = WeakIdKeyDictionary()
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
