"""Networks of which each process holds a part of every parameter (FSDP2)."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, TypeVar, cast

import torch
from torch import Tensor, nn

from jointrain.balancing import Balancer, Needs
from jointrain.errors import InvalidInputError
from jointrain.networks import Network
from jointrain.training._device import random_state_kept
from jointrain.training._optimizer import OptimizerList, OptimizerSettings, vectors_of_ids
from jointrain.training._phases import Phases
from jointrain.training._placement import (
    load_unstored_buffers,
    made_whole,
    placed_like,
    unstored_buffers,
)
from jointrain.training._settings import TrainingSettings
from jointrain.training.merging import Merge

if TYPE_CHECKING:
    from torch.distributed.device_mesh import DeviceMesh

ModuleT = TypeVar("ModuleT", bound=nn.Module)


def check_shardable(
    strategy: str | None,
    network: Network,
    settings: TrainingSettings,
    schedule: Any,
    balancer: Balancer | None,
) -> None:
    """Refuse what ``fsdp`` does not train as one process does.

    Raises:
        InvalidInputError: Something is not.
    """
    if strategy != "fsdp":
        return
    kind, method = type(network).__name__, type(balancer).__name__
    again = balancer is not None and (
        balancer.extra_batches > 0 or balancer.needs in (Needs.HELD_OUT, Needs.NEARBY)
    )
    refused = {
        "Phases": isinstance(schedule, Phases),
        "Merge": isinstance(schedule, Merge),
        f"{method}, which computes losses several times a step,": again,
        f"{method}, which differentiates heads twice,": balancer is not None
        and balancer.needs is Needs.HEADS,
        f"{method} with `accumulate`": balancer is not None and settings.accumulate > 1,
        "`compile`": settings.compile,
        "precision='fp16'": settings.precision == "fp16",
        "a network with grouped heads": len(network.heads.groups) > 0,
        "a network with vectors of ids": bool(vectors_of_ids(network)),
        f"{kind}, which has a penalty,": type(network).penalty is not Network.penalty,
    }
    for what, there in refused.items():
        if there:
            raise InvalidInputError(
                f"{what} can't be trained by strategy='fsdp'; leave it out, or give strategy='ddp'"
            )


def shard(network: ModuleT, device: torch.device) -> ModuleT:
    """Return a copy of a network whose parameters are shards, over all processes.

    Layers of a plain `nn.Sequential` are gathered one by one, all else at once.

    Raises:
        InvalidInputError: Torch can't shard it.
    """
    from torch.distributed.fsdp import fully_shard

    mesh = mesh_of(device)
    sharded = copy.deepcopy(network)
    try:
        for layer in [] if _has_ties(sharded) else list(_layers(sharded)):
            fully_shard(layer, mesh=mesh)
        # by default torch leaves the outermost group gathered, where it would stand in for shards
        fully_shard(sharded, mesh=mesh, reshard_after_forward=True)
    except (NotImplementedError, ValueError) as error:
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise InvalidInputError(
            f"torch can't shard {type(network).__name__} ({reason}); give strategy='ddp'"
        ) from error
    return sharded


def check_steps_of_shards(
    settings: TrainingSettings, network: Network, device: torch.device
) -> None:
    """Refuse optimisers of the caller's that don't move shards as they move whole parameters.

    Two steps of small parameters tell, with as many dimensions as the network's; every process
    calls it.

    Raises:
        InvalidInputError: The optimiser fails on shards, or moves them to other places.
    """
    if isinstance(settings.optimizer, OptimizerSettings):
        return
    rows = 1 + torch.distributed.get_world_size()  # of which the processes hold unequal parts
    kinds = {(p.ndim, p.dtype) for p in network.parameters() if p.requires_grad}
    whole = nn.Module()
    whole.tried = nn.ParameterList(
        torch.linspace(-1, 1, rows * 3 ** (ndim - 1), dtype=dtype, device=device).view(
            rows, *[3] * (ndim - 1)
        )
        for ndim, dtype in sorted(kinds, key=str)
    )
    sharded = shard(whole, device)
    devices = [device] if device.type == "cuda" else []
    with random_state_kept(devices):
        expected, name = _after_two_steps(whole, settings)
        try:
            found, _ = _after_two_steps(sharded, settings)
        except (RuntimeError, NotImplementedError, TypeError, ValueError, AttributeError) as error:
            reason = (str(error) or type(error).__name__).splitlines()[0]
        else:
            reason = "it moves them to other places than whole ones"
            if all(map(torch.allclose, found, expected)):
                return
    raise InvalidInputError(
        f"the optimiser {name} can't move parameters of which each process holds a part "
        f"({reason}); take another one, or give strategy='ddp'"
    )


def _after_two_steps(module: nn.Module, settings: TrainingSettings) -> tuple[list[Tensor], str]:
    """Return a module's whole parameters after two steps, and the name of the optimiser."""
    parameters = list(module.parameters())
    in_groups = settings.parameter_groups is not None
    factory = cast("Callable[[Any], torch.optim.Optimizer]", settings.optimizer)
    optimizer = factory([{"params": parameters}] if in_groups else parameters)
    for factor in (1.0, -0.3):
        for parameter in parameters:
            gradient = factor * made_whole(parameter.detach()).sin().add(0.1)
            parameter.grad = placed_like(gradient, parameter.detach())
        optimizer.step()
    return [made_whole(p.detach()) for p in parameters], type(optimizer).__name__


def mesh_of(device: torch.device) -> DeviceMesh:
    """Return all processes in one row, each with its device."""
    from torch.distributed.device_mesh import init_device_mesh

    return init_device_mesh(device.type, (torch.distributed.get_world_size(),))


def _has_ties(network: nn.Module) -> bool:
    """Return whether a parameter has two names: all of them are to be gathered at once then."""
    every = [id(p) for _, p in network.named_parameters(remove_duplicate=False)]
    return len(set(every)) < len(every)


def _layers(module: nn.Module) -> Iterator[nn.Module]:
    """Return the outermost layers of sequences, which are called one after another."""
    for child in module.children():
        if type(module) is nn.Sequential and type(child) is not nn.Sequential:
            if next(child.parameters(), None) is not None:
                yield child
        else:
            yield from _layers(child)


@torch.no_grad()
def gather_weights(sharded: nn.Module, whole: nn.Module) -> None:
    """Copy weights and buffers into a network of whole parameters; every process calls it."""
    into = whole.state_dict()
    extra = {}
    for name, value in sharded.state_dict().items():
        if isinstance(value, Tensor):
            into[name].copy_(made_whole(value))
        else:
            extra[name] = value
    if extra:
        whole.load_state_dict(extra, strict=False)
    load_unstored_buffers(whole, unstored_buffers(sharded))


def gather_optimizers(sharded: OptimizerList, whole: OptimizerList) -> None:
    """Copy the states of optimisers likewise; they lie on the CPU until they are loaded again."""
    for mine, theirs in zip(sharded.all, whole.all, strict=True):
        state = made_whole(mine.state_dict())
        for group, into in zip(state["param_groups"], theirs.param_groups, strict=True):
            into.update({n: value for n, value in group.items() if n not in ("params", "fused")})
        moved = [p for group in theirs.param_groups for p in group["params"]]
        theirs.state.clear()
        theirs.state.update({moved[number]: values for number, values in state["state"].items()})
