"""The arguments of :func:`jointrain.balancing.backward`: losses, parameters, the scaler."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from jointrain.balancing._task_losses import TaskLosses
from jointrain.errors import InvalidInputError, NonFiniteError

Losses = Mapping[str, Tensor] | Sequence[Tensor] | Tensor
"""Task losses: by name, or in order, or as one vector."""


def named(losses: Losses) -> tuple[tuple[str, ...], list[Tensor]]:
    if isinstance(losses, Mapping):
        names = tuple(map(str, losses))
        if len(set(names)) < len(names):
            twice = next(name for i, name in enumerate(names) if name in names[:i])
            raise InvalidInputError(
                f"Two keys of `losses` are written {twice!r}, as 1 and '1' are. Give every task a "
                "name of its own."
            )
        return names, list(losses.values())
    if isinstance(losses, Tensor):
        if losses.ndim != 1:
            raise InvalidInputError(
                "`losses` as one tensor must be a vector with one loss per task, got shape "
                f"{tuple(losses.shape)}. Reduce each task's loss to a scalar."
            )
        losses = list(losses.unbind())
    losses = list(losses)
    return tuple(map(str, range(len(losses)))), losses


def checked_losses(losses: Losses) -> tuple[tuple[str, ...], list[Tensor], Tensor]:
    """Return the names of the tasks, and their losses as scalars and as a vector [t]."""
    if isinstance(losses, TaskLosses) and losses.together.requires_grad:
        values = list(losses.values())
        half = losses.together.dtype in (torch.float16, torch.bfloat16)
        return losses.names, values, losses.together.float() if half else losses.together
    names, values = named(losses)
    return names, *check_losses(names, values)


def check_losses(names: Sequence[str], values: list[Tensor]) -> tuple[list[Tensor], Tensor]:
    """Return the losses as scalars and as a vector [t], after checking that they have gradients."""
    if not values:
        raise InvalidInputError("`losses` must hold at least one loss, got none. Skip the step.")
    device = values[0].device if isinstance(values[0], Tensor) else None
    for name, value in zip(names, values, strict=True):
        if (
            isinstance(value, Tensor)
            and value.requires_grad
            and not value.ndim
            and value.is_floating_point()
            and value.device == device
        ):
            continue  # fine, as nearly always: every look at a tensor costs
        if not isinstance(value, Tensor) or value.numel() != 1 or value.ndim > 1:
            got = tuple(value.shape) if isinstance(value, Tensor) else type(value).__name__
            raise InvalidInputError(
                f"The loss of task {name!r} must be a scalar tensor, got {got}. "
                "Take its mean or sum first."
            )
        if not value.is_floating_point():
            raise InvalidInputError(
                f"The loss of task {name!r} must be a floating-point number, got {value.dtype}."
                " Take a loss of the network's real-valued output."
            )
        if not value.requires_grad:
            raise InvalidInputError(
                f"The loss of task {name!r} has no graph, so it has no gradient. Compute it "
                "outside `torch.no_grad()` and without `.detach()` or `.item()`."
            )
        if value.device != values[0].device:
            raise InvalidInputError(
                f"The losses must be on one device, that of task {names[0]!r} is on "
                f"{values[0].device}, that of task {name!r} on {value.device}. "
                "Move them with `.to(...)`."
            )
    values = [v if v.ndim == 0 else v.reshape(()) for v in values]
    return values, stacked(values)


def losses_of(closure: Callable[[], Losses], tasks: Sequence[str], name: str) -> list[Tensor]:
    """Return the losses that the argument `name`, a closure, gives for the tasks, [t] scalars.

    Raises:
        InvalidInputError: It gives none for one of them.
    """
    with torch.enable_grad():
        names, values = named(closure())
    found = dict(zip(names, values, strict=True))
    missing = [task for task in tasks if task not in found]
    if missing:
        raise InvalidInputError(
            f"`{name}` returned no loss for the tasks {missing}. Return the losses of all tasks of "
            "the step, in the same form as `losses`."
        )
    return check_losses(tasks, [found[task] for task in tasks])[0]


def without_infinite(
    names: tuple[str, ...], values: list[Tensor], numbers: Tensor, fine: list[bool], policy: str
) -> tuple[tuple[str, ...], list[Tensor], tuple[str, ...]]:
    """Return the tasks with finite losses and the names of the others."""
    if policy == "raise":
        first = fine.index(False)
        raise NonFiniteError(
            f"The loss of task {names[first]!r} is {float(numbers[first])}. Lower the learning "
            'rate or look at its data, or pass `non_finite="skip"` to leave such tasks out of the '
            "step."
        )
    kept = [k for k, ok in enumerate(fine) if ok]
    bad = tuple(name for name, ok in zip(names, fine, strict=True) if not ok)
    return tuple(names[k] for k in kept), [values[k] for k in kept], bad


def scale_of(scaler: Any, device: torch.device) -> float:
    """Return what the scaler multiplies losses by; its first use of `scale` also prepares it."""
    if scaler is None or not scaler.is_enabled():
        return 1.0
    # a factor such as 1 / 3 is to have all its digits, where the device has numbers with as many
    kind = torch.float32 if device.type == "mps" else torch.float64
    return float(scaler.scale(torch.ones((), dtype=kind, device=device)))


def on_cpu(tensor: Tensor) -> Tensor:
    """Return the tensor's values in float64 on the CPU, without graph."""
    return tensor.detach().to("cpu", torch.float64)


def stacked(values: Sequence[Tensor]) -> Tensor:
    """Return the losses as a vector [t] with graph, in single precision at least."""
    vector = torch.stack(list(values))
    half = vector.dtype in (torch.float16, torch.bfloat16)
    return vector.float() if half else vector


def listed(tensors: Iterable[Tensor] | None) -> list[Tensor] | None:
    return None if tensors is None else list(tensors)


def checked_parameters(
    tensors: Tensor | nn.Module | Iterable[Tensor | nn.Module] | None, name: str
) -> list[Tensor] | None:
    """Return the parameters among `tensors`, those of modules for the modules.

    Raises:
        InvalidInputError: There is something else among them.
    """
    if tensors is None:
        return None
    given = [tensors] if isinstance(tensors, (Tensor, nn.Module)) else list(tensors)
    found: list[Tensor] = []
    for tensor in given:
        if isinstance(tensor, nn.Module):
            found.extend(tensor.parameters())
            continue
        if not isinstance(tensor, Tensor):
            raise InvalidInputError(
                f"`{name}` must hold parameters, got {type(tensor).__name__}. "
                "Pass `module.parameters()`."
            )
        if not tensor.is_leaf:
            raise InvalidInputError(
                f"`{name}` must hold parameters, got a tensor that was computed from others, of "
                f"shape {tuple(tensor.shape)}. Pass `module.parameters()`; outputs of the trunk go "
                "to `features`."
            )
        found.append(tensor)
    return [x for x in found if x.requires_grad]


def checked_penalty(penalty: Tensor | None) -> Tensor | None:
    """Return the penalty if it has a gradient.

    Raises:
        InvalidInputError: It is no scalar.
    """
    if penalty is None:
        return None
    if not isinstance(penalty, Tensor) or penalty.numel() != 1:
        got = tuple(penalty.shape) if isinstance(penalty, Tensor) else type(penalty).__name__
        raise InvalidInputError(
            f"`penalty` must be a scalar tensor, got {got}. Take its mean or sum first."
        )
    return penalty if penalty.requires_grad else None


def check_overlap(shared: list[Tensor] | None, own: list[Tensor] | None) -> None:
    both = {id(x) for x in shared or ()} & {id(x) for x in own or ()}
    if both:
        shape = next(tuple(x.shape) for x in shared or () if id(x) in both)
        raise InvalidInputError(
            f"A parameter of shape {shape} is named as shared and as a task's own. Take it out of "
            "`own`."
        )
