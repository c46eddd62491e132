"""Where tensors of a state lie: whole, or as each process's shards of them."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from jointrain.balancing.engine import is_distributed

if TYPE_CHECKING:
    from torch.distributed.tensor import DTensor


def whole_state(module: nn.Module) -> dict[str, Any]:
    """Return a module's weights, all of its buffers, and extra state; no copies.

    `state_dict` leaves out the buffers that are not persistent, which training may change, too.
    """
    stored = module.state_dict()
    return {**stored, **{n: b for n, b in module.named_buffers() if n not in stored}}


def copied_state(module: nn.Module, device: str | None = None) -> dict[str, Any]:
    """Return a copy of what `whole_state` returns.

    Args:
        module: The module.
        device: Where the copies lie; default where the tensors do.
    """
    return {name: _copy_of(value, device) for name, value in whole_state(module).items()}


def update_state(copies: dict[str, Any], module: nn.Module) -> None:
    """Set copies to the module's state of now, in their place where the sizes are the same."""
    for name, value in whole_state(module).items():
        kept = copies.get(name)
        if isinstance(kept, Tensor) and isinstance(value, Tensor) and kept.shape == value.shape:
            with torch.no_grad():
                kept.copy_(value)
        else:
            copies[name] = _copy_of(value)


def put_state(module: nn.Module, state: Mapping[str, Any]) -> None:
    """Set a module to what `whole_state` gave; buffers that it has no value of stay."""
    there = module.state_dict()
    module.load_state_dict(weights_like({n: v for n, v in state.items() if n in there}, module))
    load_unstored_buffers(module, state)


def _copy_of(value: Any, device: str | None = None) -> Any:
    if not isinstance(value, Tensor):
        return copy.deepcopy(value)
    return value.detach().clone() if device is None else value.detach().to(device, copy=True)


def unstored_buffers(module: nn.Module) -> dict[str, Tensor]:
    """Return the buffers that the state of a module leaves out, which training may change."""
    stored = module.state_dict()
    return {name: value for name, value in module.named_buffers() if name not in stored}


@torch.no_grad()
def load_unstored_buffers(module: nn.Module, stored: Mapping[str, Tensor]) -> None:
    """Set them to what `unstored_buffers` gave, whatever their sizes are now."""
    for name, value in unstored_buffers(module).items():
        if name not in stored:
            continue
        if value.shape == stored[name].shape:
            value.copy_(stored[name])
        else:  # such as a table of positions, which grows with the longest row
            path, _, last = name.rpartition(".")
            setattr(module.get_submodule(path), last, stored[name].to(value, copy=True))


def placed_like(stored: Tensor, like: Tensor) -> Tensor:
    """Return a whole tensor as a shard where `like` is one; nothing is sent."""
    if not is_distributed(like) or is_distributed(stored):
        return stored
    from torch.distributed.tensor import distribute_tensor

    target = cast("DTensor", like)
    whole = stored.to(device=target.device, dtype=target.dtype)
    return distribute_tensor(whole, target.device_mesh, target.placements, src_data_rank=None)


def weights_like(stored: Mapping[str, Tensor], module: nn.Module) -> dict[str, Tensor]:
    """Return stored weights as those of a module lie."""
    there = module.state_dict()
    return {n: placed_like(v, there[n]) if n in there else v for n, v in stored.items()}


def state_like(stored: Mapping[str, Any], optimizer: Optimizer) -> dict[str, Any]:
    """Return the stored state of an optimiser as what it moves lies.

    Whether its kernels are fused is not of the state: those of SGD take no shards.
    """
    groups = [
        {**of_stored, "fused": own["fused"]} if "fused" in own else of_stored
        for of_stored, own in zip(stored["param_groups"], optimizer.param_groups, strict=False)
    ]
    moved = [p for group in optimizer.param_groups for p in group["params"]]

    def placed(number: int, value: Any) -> Any:
        parameter = moved[number] if number < len(moved) else None
        if parameter is None or not isinstance(value, Tensor) or value.shape != parameter.shape:
            return value
        return placed_like(value, parameter)

    state = {
        number: {name: placed(int(number), value) for name, value in values.items()}
        for number, values in stored["state"].items()
    }
    same = len(groups) == len(stored["param_groups"])
    return {**stored, "state": state, **({"param_groups": groups} if same else {})}


def made_whole(value: Any) -> Any:
    """Return a state with whole tensors on the CPU in place of shards.

    Every process calls it in the same order.
    """
    if isinstance(value, Tensor):
        return cast("DTensor", value).full_tensor().cpu() if is_distributed(value) else value
    if isinstance(value, Mapping):
        return {name: made_whole(one) for name, one in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(made_whole(one) for one in value)
    return value
