"""LossScale: the factor that keeps gradients in the range of float16, while a step makes them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from jointrain.errors import InvalidInputError, NonFiniteError


class LossScale:
    """Torch's `GradScaler`, for any number of optimisers that share parameters.

    A step multiplies its losses by the scale, and `unscale` divides the gradients by it, before
    anything looks at them. Where they do not fit in float16 the step is left out and the scale
    halved; it doubles after 2,000 steps without.

    Args:
        device: Where the losses are.

    Attributes:
        scaler: Holds the scale.
        left_out: Whether the last step was left out.
        count: How many were.
        in_epoch: How many of them in this epoch.

    Source: Micikevicius et al., "Mixed Precision Training", ICLR 2018, section 3.2.
    """

    def __init__(self, device: torch.device) -> None:
        self.scaler = torch.amp.GradScaler(device.type)
        self.left_out = False
        self.count = 0
        self.in_epoch = 0

    def of(self, loss: Tensor) -> Tensor:
        """Return a loss times the scale."""
        return self.scaler.scale(loss)

    def unscale(self, parameters: Iterable[nn.Parameter]) -> bool:
        """Divide all gradients by the scale; return whether the step can be made.

        Raises:
            NonFiniteError: A gradient is not finite though the scale is down at 1.
        """
        moved = [parameter for parameter in parameters if parameter.grad is not None]
        if not moved:
            self.left_out = False
            return True
        step: Any = _Step(moved)
        scale = self.scaler.get_scale()
        self.scaler.unscale_(step)
        self.left_out = self.scaler.step(step) is None
        self.scaler.update()
        if self.left_out and scale <= 1:
            raise NonFiniteError(
                "a gradient is NaN or infinite in float16, though it was not scaled up"
            )
        self.count += self.left_out
        self.in_epoch += self.left_out
        return not self.left_out

    def refuse_nothing_made(self, steps: int) -> None:
        """Refuse to end a run of so many steps that were all left out.

        Raises:
            InvalidInputError: They were.
        """
        if 0 < steps <= self.count:
            raise InvalidInputError(
                f"none of the {steps} steps could be made: their gradients did not fit in "
                f"float16, where the scale of losses came down to {self.scaler.get_scale():g}; "
                f"train for more steps, or take precision='bf16'"
            )

    def state_dict(self) -> dict[str, Any]:
        """Return the scale, how long it has held, and the counts."""
        return {
            "scaler": self.scaler.state_dict(), "count": self.count, "in_epoch": self.in_epoch
        }  # fmt: skip

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Set them to what `state_dict` gave."""
        self.scaler.load_state_dict(dict(state["scaler"]))
        self.count, self.in_epoch = state["count"], state["in_epoch"]


class _Step:
    """What `GradScaler` takes for an optimiser: gradients are divided once, whoever moves them."""

    def __init__(self, parameters: list[nn.Parameter]) -> None:
        self.param_groups = [{"params": parameters}]

    def step(self) -> bool:
        return True


def check_precision(precision: str, device: torch.device, module: nn.Module) -> None:
    """Refuse a precision in which torch can't compute on a device.

    Raises:
        InvalidInputError: It can't, or weights are of half precision by themselves.
    """
    dtype = AUTOCAST.get(precision)
    if dtype is None:
        return
    if precision == "fp16" and any(p.dtype == torch.float16 for p in module.parameters()):
        raise InvalidInputError(
            "`precision` 'fp16' computes in float16 with weights that are float32, and the "
            "network's are float16; leave it in float32 (network.float())"
        )
    try:
        with torch.autocast(device.type, dtype=dtype):
            works = torch.is_autocast_enabled(device.type)
    except (RuntimeError, UserWarning):  # a warning may be an error
        works = False
    if not works:
        raise InvalidInputError(
            f"torch {torch.__version__} does not compute in {precision} on {device.type}; take "
            f"precision='32'"
        )


AUTOCAST = {"bf16": torch.bfloat16, "fp16": torch.float16}
"""The type in which losses are computed, by precision."""
