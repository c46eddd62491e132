"""Whether a network computes rows one by one, so that processes can share those of a batch."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.instancenorm import _InstanceNorm
from torch.utils._python_dispatch import TorchDispatchMode

from jointrain.errors import InvalidInputError
from jointrain.networks import JoinedRows, Network, Piece, random_state, rows_drawn_for
from jointrain.task import Task
from jointrain.training._device import seeded
from jointrain.training._freezing import keep_running_statistics
from jointrain.training._losses import compute_losses
from jointrain.training.sampling import Batch, RandomNumbers

_FEW, _MORE = 2, 3
"""Rows of two batches that are tried: what is drawn for rows is more for more of them."""


class _Draws(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Notes what random numbers are drawn, but for those that are drawn for a whole batch.

    Attributes:
        made: The operations, and how many numbers each has given.
        generators: Generators of the network's own, with their states beforehand.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.made: list[tuple[str, int]] = []
        self.generators: list[tuple[torch.Generator, torch.Tensor]] = []

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        if torch.Tag.nondeterministic_seeded not in func.tags:
            return func(*args, **kwargs)
        if func.namespace == "jointrain" and rows_drawn_for(len(args[0])) is not None:
            return func(*args, **kwargs)
        own = kwargs.get("generator")
        if own is not None:
            self.generators.append((own, own.get_state()))
        tensors = [one for one in args if isinstance(one, torch.Tensor)]
        device = tensors[0].device if tensors else torch.device(kwargs.get("device") or "cpu")
        before = random_state(device)
        found = func(*args, **kwargs)
        # attention has such operations that draw nothing
        if own is not None or not torch.equal(before, random_state(device)):
            given = found if isinstance(found, torch.Tensor) else found[0]
            name = args[1] if func.namespace == "jointrain" else func.overloadpacket.__name__
            self.made.append((name.strip("_"), given.numel()))
        return found


def check_rows_apart(
    network: Network,
    tasks: Mapping[str, Task],
    batches: Iterable[Batch],
    device: torch.device,
    *,
    in_phases: bool,
) -> None:
    """Refuse a network that does something else with a part of a batch than with all of it.

    It is looked for by going through the network in training mode; weights, buffers and random
    states stay as they are.

    Args:
        network: Whose dropout draws for whole batches already.
        tasks: The tasks by name.
        batches: Some rows of each data set.
        device: Where the network is.
        in_phases: Whether it is trained in phases, which leave frozen statistics alone.

    Raises:
        InvalidInputError: There is batch normalisation over the rows of this process, there are
            running statistics of them, or random numbers are drawn for its rows alone.
    """
    network.train()
    if in_phases:
        keep_running_statistics(network)
    for name, layer in network.named_modules():
        if isinstance(layer, _BatchNorm) and not isinstance(layer, nn.SyncBatchNorm):
            _refuse_batch_norm(name, layer)
        if isinstance(layer, nn.SyncBatchNorm) and layer.training and device.type == "cpu":
            raise InvalidInputError(
                f"{name!r} is SyncBatchNorm, which torch has for GPUs alone; give nn.GroupNorm or "
                "nn.LayerNorm, or train on one process"
            )
        if isinstance(layer, _InstanceNorm) and layer.training and layer.track_running_stats:
            raise InvalidInputError(
                f"{name!r} is {type(layer).__name__} with running statistics, which each process "
                "would take of its rows alone; give track_running_stats=False, or train on one "
                "process"
            )
        # cuDNN has random states of its own, which are not seen
        if isinstance(layer, nn.RNNBase) and layer.dropout and layer.num_layers > 1:
            raise _draws_apart(f"{type(layer).__name__} {name!r}")
    kept = [(buffer, buffer.clone()) for buffer in network.buffers()]
    try:
        for batch in batches:
            few, more = (_drawn_by(network, tasks, batch, n, device) for n in (_FEW, _MORE))
            if few != more:
                changed = [b for a, b in zip(few, more, strict=False) if a != b]
                what = (changed or more[len(few) :] or few[len(more) :])[0][0]
                raise _draws_apart(what)
    finally:
        with torch.no_grad():
            for buffer, value in kept:
                buffer.copy_(value)
        network.eval()


def _draws_apart(what: str) -> InvalidInputError:
    return InvalidInputError(
        f"the network draws random numbers for the rows of one process ({what}), which are others "
        f"than one process would draw for all of them; use nn.Dropout, 1d to 3d, or "
        f"jointrain.networks.Dropout, as layers whose inputs have the rows first, or train on one "
        f"process"
    )


def _refuse_batch_norm(name: str, layer: nn.Module) -> None:
    if layer.training:
        kind = type(layer).__name__.removeprefix("FSDP")
        raise InvalidInputError(
            f"{name!r} is {kind}, which would normalise by the rows of one process "
            f"where one process normalises by all of them; give nn.GroupNorm or nn.LayerNorm, on "
            f"GPUs torch's nn.SyncBatchNorm.convert_sync_batchnorm(network), or train on one "
            f"process"
        )


@torch.no_grad()
def _drawn_by(
    network: Network, tasks: Mapping[str, Task], batch: Batch, rows: int, device: torch.device
) -> list[tuple[str, int]]:
    """Return what is drawn for a batch of so many rows, all of them the first one."""
    where = batch.data.device
    several = replace(
        batch,
        data=batch.data.take(torch.zeros(rows, dtype=torch.int64, device=where)),
        joined=JoinedRows((Piece(rows, 0, rows),)),
    )
    draws = _Draws()
    try:
        with RandomNumbers().active(0), seeded(0, device), draws:
            compute_losses(network, tasks, [several])
    finally:
        for generator, state in reversed(draws.generators):
            generator.set_state(state)
    return draws.made
