"""Products of gradients whose squares are out of the range of float32: below 1e-38, above 3e38."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence

import torch
from torch import Tensor

Cast = Callable[[Tensor], Tensor]


def in_range(
    products: Callable[[Cast], Tensor], parts: Callable[[int], Iterable[Tensor]]
) -> Tensor:
    """Return a Gramian [t, t], in double precision where squares are out of float32's range.

    Args:
        products: Gives the Gramian of the gradients after a cast.
        parts: Gives the parts of a task's gradient.
    """
    total = products(lambda x: x)
    if are_in_range(total.diagonal().tolist(), parts) and math.isfinite(float(total.sum())):
        return total
    return products(widened)


def are_in_range(squares: Sequence[float], parts: Callable[[int], Iterable[Tensor]]) -> bool:
    """Return whether float32 holds the squared lengths [t] of these gradients, if finite.

    One of zero may be that of a gradient of 1e-25: whether there is any is looked for then.
    """
    return not any(
        x < 1e-30 and (x != 0.0 or any(bool(part.any()) for part in parts(k)))
        for k, x in enumerate(squares)
    )


def widened(tensor: Tensor) -> Tensor:
    """Return numbers in double precision."""
    return tensor.to(torch.promote_types(tensor.dtype, torch.float64))
