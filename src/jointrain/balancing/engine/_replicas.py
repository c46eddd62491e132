"""How a network's parameters lie over processes: copies of all of them, or shards."""

from __future__ import annotations

import gc
import sys
import weakref
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils.weak import WeakIdKeyDictionary

from jointrain.errors import InvalidInputError

Group = dist.ProcessGroup | Literal["auto"] | None
"""Which processes train together: a group, none, or that of the wrapper or of all processes."""


@dataclass(frozen=True)
class Replicas:
    """Where the parameters of a step lie.

    Attributes:
        group: The processes that hold copies or shards of them.
        order: The parameters in an order that all processes share; None if none is known.
        wrapper: The ``DistributedDataParallel`` around them, if there is one.
        sharded: For parameters of `fully_shard`, by the id of the tensor that the graph knows:
            what manages them, and the group of parameters that is gathered together.
    """

    group: dist.ProcessGroup
    order: Sequence[Tensor] | None = None
    wrapper: DistributedDataParallel | None = None
    sharded: dict[int, Any] | None = None


def several_processes() -> bool:
    """Return whether this process is one of a group of torch.distributed."""
    return dist.is_available() and dist.is_initialized()


def find_replicas(
    leaves: Sequence[Tensor], module: nn.Module | None, group: Group
) -> Replicas | None:
    """Return how the leaves of a step's graph lie over processes, None for a process by itself.

    Args:
        leaves: The parameters that the losses reach here.
        module: The module that holds the parameters of all processes, if it was named.
        group: The processes, as the caller named them.

    Raises:
        InvalidInputError: The parameters lie in a way that the engine isn't exact for.
    """
    _refuse_unknown(leaves)
    sharded = _sharded(leaves)
    if sharded:
        return _of_shards(leaves, sharded, module, group)
    if any(is_distributed(leaf) for leaf in leaves):
        raise InvalidInputError(
            "A parameter is a DTensor that `fully_shard` doesn't manage (tensor or pipeline "
            "parallel). Gradients are balanced over copies (DistributedDataParallel) and over "
            "shards of `fully_shard` only."
        )
    if group is None:
        return None
    wrapper = module if isinstance(module, DistributedDataParallel) else None
    if wrapper is None:
        wrapper = _wrapper_of(leaves)
    known = module if module is not None else wrapper
    order = None if known is None else parameters_of(known)
    if group == "auto":
        found = dist.group.WORLD if wrapper is None else wrapper.process_group
    else:
        found = group
        if wrapper is not None and _members(wrapper.process_group) != _members(group):
            raise InvalidInputError(
                "`process_group` is not the group that DistributedDataParallel was given. Leave "
                "`process_group` out."
            )
    if found is None or dist.get_world_size(found) == 1:
        return None
    return Replicas(found, order, wrapper)


def _members(group: dist.ProcessGroup) -> list[int]:
    return dist.get_process_group_ranks(group)


def is_distributed(tensor: Tensor) -> bool:
    """Return whether a tensor is a DTensor; without their module, whose import is slow, none is."""
    module = sys.modules.get("torch.distributed.tensor")
    return module is not None and isinstance(tensor, module.DTensor)


def _refuse_unknown(leaves: Sequence[Tensor]) -> None:
    for leaf in leaves:
        if getattr(leaf, "_is_flat_param", False) or type(leaf).__name__ == "FlatParameter":
            raise InvalidInputError(
                "FullyShardedDataParallel (FSDP1) gathers all tasks' gradients into one flat "
                "parameter, which can't be balanced. Use `torch.distributed.fsdp.fully_shard` "
                "(FSDP2) or DistributedDataParallel."
            )


# --- copies --------------------------------------------------------------------------------------

_known_wrappers: dict[int, tuple[weakref.ref[Tensor], weakref.ref[Any] | None]] = {}


def _wrapper_of(leaves: Sequence[Tensor]) -> DistributedDataParallel | None:
    """Return the one wrapper that holds all the leaves, looked for once per network.

    Torch keeps no list of its wrappers, but they refer to their class.
    """
    if not leaves:
        return None
    first = leaves[0]
    known = _known_wrappers.get(id(first))
    if known is None or known[0]() is not first:
        classes = _with_subclasses(DistributedDataParallel)
        wrappers = [x for x in gc.get_referrers(*classes) if type(x) in classes]
        holding = [w for w in wrappers if any(first is p for p in w.parameters())]
        found = weakref.ref(holding[0]) if len(holding) == 1 else None
        for key in [key for key, (ref, _) in _known_wrappers.items() if ref() is None]:
            del _known_wrappers[key]
        known = _known_wrappers[id(first)] = (weakref.ref(first), found)
    wrapper = None if known[1] is None else known[1]()
    if wrapper is None:
        return None
    inside = {id(p) for p in parameters_of(wrapper)}
    return wrapper if all(id(leaf) in inside for leaf in leaves) else None


_known_parameters: WeakIdKeyDictionary = WeakIdKeyDictionary()


def parameters_of(module: nn.Module) -> list[Tensor]:
    """Return the module's parameters; those of a wrapper, which must not change, looked up once."""
    if not isinstance(module, DistributedDataParallel):
        return list(module.parameters())
    if module not in _known_parameters:
        _known_parameters[module] = list(module.parameters())
    found: list[Tensor] = _known_parameters[module]
    return found


def _with_subclasses(cls: type) -> set[type]:
    return {cls}.union(*map(_with_subclasses, cls.__subclasses__()))


# --- shards --------------------------------------------------------------------------------------


def _states() -> list[Any]:
    """Return the states of all modules that `fully_shard` manages in this process."""
    from torch.distributed._composable_state import _module_state_mapping
    from torch.distributed.fsdp._fully_shard._fsdp_state import FSDPState

    found = {id(state): state for ref in _module_state_mapping.values() if (state := ref())}
    return [state for state in found.values() if isinstance(state, FSDPState)]


def _sharded(leaves: Sequence[Tensor]) -> dict[int, Any]:
    """Return for the leaves that are a gathered parameter of `fully_shard` what manages them."""
    if not torch.distributed.is_available() or not leaves:
        return {}
    wanted = {id(leaf) for leaf in leaves}
    return {
        id(parameter._unsharded_param): (parameter, group)
        for parameter, group in _managed()
        if id(getattr(parameter, "_unsharded_param", None)) in wanted
    }


def _of_shards(
    leaves: Sequence[Tensor], sharded: dict[int, Any], module: nn.Module | None, group: Group
) -> Replicas:
    outside = [leaf for leaf in leaves if id(leaf) not in sharded]
    if any(isinstance(leaf, nn.Parameter) for leaf in outside):
        shape = tuple(outside[0].shape)
        raise InvalidInputError(
            f"A parameter of shape {shape} is outside of what `fully_shard` manages. Apply "
            "`fully_shard` to the module that holds all parameters of the step."
        )
    meshes = {id(g.mesh_info): g.mesh_info for _, g in sharded.values()}
    groups = {tuple(_members(m.shard_process_group)): m for m in meshes.values() if _is_plain(m)}
    if len(groups) != 1 or not all(map(_is_plain, meshes.values())):
        raise InvalidInputError(
            "The parameters are sharded over several process groups (a mesh of two dimensions). "
            "Gradients are balanced over a mesh of one dimension: `fully_shard(module, mesh=...)`."
        )
    mesh = next(iter(groups.values()))
    if group is None:
        raise InvalidInputError(
            "`process_group=None` says that this process trains by itself, but its parameters are "
            "shards of `fully_shard`. Leave `process_group` out."
        )
    if group != "auto" and _members(group) != _members(mesh.shard_process_group):
        raise InvalidInputError(
            "`process_group` is not the mesh that `fully_shard` was given. Leave it out."
        )
    holders = [module] if module is not None else _roots({id(g) for _, g in sharded.values()})
    order = shards_of([p for holder in holders for p in holder.parameters()])
    return Replicas(mesh.shard_process_group, order, sharded=sharded)


def shards_of(tensors: Sequence[Tensor]) -> list[Tensor]:
    """Return the shards in place of gathered parameters, others as they are."""
    found = {id(getattr(p, "_unsharded_param", None)): p.sharded_param for p, _ in _managed()}
    return [found.get(id(x), x) for x in tensors]


def gathered(tensors: Sequence[Tensor]) -> list[Tensor]:
    """Return the gathered parameters, which graphs know, in place of shards, others as they are."""
    found = {id(p.sharded_param): getattr(p, "_unsharded_param", None) for p, _ in _managed()}
    return [x if (whole := found.get(id(x))) is None else whole for x in tensors]


def _managed() -> list[tuple[Any, Any]]:
    """Return all parameters that `fully_shard` manages, with the group each is gathered in."""
    return [
        (parameter, group)
        for state in _states()
        for group in _groups_of(state)
        for parameter in group.fsdp_params
    ]


def _groups_of(state: Any) -> list[Any]:
    several = getattr(state, "_fsdp_param_groups", None)
    if several is not None:
        return list(several)
    one = state._fsdp_param_group  # of torch before 2.10
    return [] if one is None else [one]


def _is_plain(mesh: Any) -> bool:
    from torch.distributed.fsdp._fully_shard._fsdp_common import DDPMeshInfo, FSDPMeshInfo

    return isinstance(mesh, FSDPMeshInfo) and not isinstance(mesh, DDPMeshInfo)


def _roots(groups: set[int]) -> list[nn.Module]:
    """Return the outermost modules that `fully_shard` was applied to and that own the groups."""
    roots = []
    for state in _states():
        inner = [id(g) for s in state._state_ctx.all_states for g in _groups_of(s)]
        if state._is_root and groups & set(inner):
            roots.append(state)
    if len(roots) != 1:
        raise InvalidInputError(
            "The step's parameters belong to several networks of `fully_shard`. Name the module "
            "that holds them all: `backward(..., module=...)`."
        )
    return list(roots[0]._modules)
