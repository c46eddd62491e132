from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from jointrain.balancing._balancer import JacobianAggregation
from jointrain.errors import InvalidInputError

_PART = 2**18  # numbers


def kept_rows(balancer: JacobianAggregation, name: str, block: Tensor) -> Tensor:
    """Return what the balancer keeps as `name` for the step's tasks, [t, *shape]; first zeros.

    Give it back with ``balancer.set_entries`` when it has changed.

    Shape:
        block: [t, *shape], the model of what is kept for them; kept is [T, *shape].

    Raises:
        InvalidInputError: What is kept is of other parameters.
    """
    kept = balancer.recall(name)
    if kept is None:
        balancer.present(len(block))  # binds the tasks where no one has named them
        balancer.remember(name, block.new_zeros(len(balancer.task_names or ()), *block.shape[1:]))
    elif kept.shape[1:] != block.shape[1:]:
        raise InvalidInputError(
            f"{type(balancer).__name__} keeps gradients of a shared parameter of shape "
            f"{tuple(kept.shape[1:])}, now it is {tuple(block.shape[1:])}. For other parameters "
            "build a new balancer or call `reset()`."
        )
    return balancer.entries(name, len(block))


def average_rows(
    balancer: JacobianAggregation, blocks: Sequence[Tensor], new: float
) -> list[Tensor]:
    """Move the balancer's averages of the gradients towards `blocks` and return them.

    The averages start at zero; those of absent tasks stay as they are.

    Shape:
        blocks: [t, *shape] each; `new`: the share of the new gradients, in [0, 1]; returns
        [t, *shape] each.
    """
    rows = []
    for i, block in enumerate(blocks):
        name = f"kept_rows_{i}"
        kept = kept_rows(balancer, name, block)
        rows.append(kept.lerp_(block.to(kept), new))
        balancer.set_entries(name, kept)
    return rows


def flat(block: Tensor) -> Tensor:
    """Return a block [t, *shape] as a matrix [t, n], of scalars ([t]) too."""
    return block.reshape(len(block), -1)


def cut(block: Tensor) -> tuple[Tensor, ...]:
    """Cut a block [t, *shape] into parts of some rows, whose copies stay in a processor's cache."""
    return torch.split(block, max(1, _PART // max(1, block[0].numel())))


def products(blocks: Sequence[Tensor], others: Sequence[Tensor]) -> Tensor:
    """Return the rows' inner products [t] with `others`, in float64 on the CPU.

    Shape:
        blocks: [t, *shape] each; others: [*shape] each.
    """
    total = torch.zeros(len(blocks[0]), dtype=torch.float64)
    for block, other in zip(blocks, others, strict=True):
        total += torch.mv(flat(block), other.flatten()).to(total)
    if not bool(total.isfinite().all()) and blocks[0].dtype != torch.float64:
        # squares of 1e20 are infinite in float32
        return products([x.double() for x in blocks], [x.double() for x in others])
    return total


def combine(blocks: Sequence[Tensor], weights: Tensor) -> list[Tensor]:
    """Return the weighted sums [*shape] of blocks [t, *shape], for weights [t]."""
    return [(weights.to(block) @ flat(block)).view(block.shape[1:]) for block in blocks]
