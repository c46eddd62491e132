"""A factor per task beside the scaler's: float16 gradients of tasks whose losses differ in size."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from jointrain.balancing._balancer import Balancer

_MOST = 24  # largest exponent
_GROWTH = 8  # what the exponent grows by where all of a task's gradient has underflowed


def scales_of(balancer: Balancer, names: Sequence[str]) -> Tensor:
    """Return the factors of the tasks, [t], powers of two, so that they cancel without rounding.

    They bring each task's gradient to the length of the longest, by the lengths of the step
    before. One factor for all tasks, as the scaler has, leaves in float16 nothing of a gradient
    that is a million times shorter than another one.
    """
    exponents = [balancer.task_scales.get(name, 0) for name in names]
    return torch.tensor([2.0**e for e in exponents], dtype=torch.float64)


def learn_scales(balancer: Balancer, names: Sequence[str], lengths: Sequence[float]) -> None:
    """Choose the factors of the next step by the lengths of the gradients, [t], before scaling.

    A task whose gradient overflowed starts from 1 again; one without a gradient may have one that
    is too short to be seen.
    """
    longest = max((x for x in lengths if math.isfinite(x)), default=0.0)
    for name, length in zip(names, lengths, strict=True):
        if not math.isfinite(length) or not longest:
            exponent = 0
        elif length:
            exponent = round(math.log2(longest / length))
        else:
            exponent = balancer.task_scales.get(name, 0) + _GROWTH
        balancer.task_scales[name] = min(exponent, _MOST)
