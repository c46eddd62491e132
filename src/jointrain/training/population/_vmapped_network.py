"""Any network of known layers, many as one: `torch.func.vmap` forward, autograd backward.

It takes more time than `StackedMLP` on the same layers, and less than one network after the other
as long as what a step computes fits into the cache.

Letters: s members, b rows of a batch, i inputs, c columns of the outputs, p numbers of a member's
row.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap

from jointrain.networks import (
    CGC,
    PLE,
    CrossStitch,
    Dropout,
    HardSharing,
    MMoE,
    Network,
    Sluice,
    SoftSharing,
    why_not_plain,
)
from jointrain.training._penalties import weight_matrices
from jointrain.training.population._stacked_layers import ACTIVATIONS
from jointrain.training.population._stacked_losses import StackedLosses
from jointrain.training.population._stacked_model import PASSES, StackedModel, Weigh

_NETWORKS = (HardSharing, MMoE, CGC, PLE, CrossStitch, Sluice, SoftSharing)
"""TabM is not among them: a step of one fills a core. Many as one gained at 32 rows only."""

_LAYERS = (
    *ACTIVATIONS, nn.BatchNorm1d, nn.Flatten, nn.Identity, nn.LayerNorm, nn.Linear, nn.PReLU,
    nn.ReLU,
)  # fmt: skip
"""Layers that do with each row what they would do with it alone, but for the normalisation."""

MOST = 50e6
"""Multiplications of a step of one network up to which many as one take less time.

By `benchmarks/population_networks.py`, with widths 128 and 256 and batches of 32 to 256: up to this
bound 1.2 to 3.7 times as fast as one after the other, beyond twice of it mostly slower.
"""

FEWEST = 4
"""Networks of which a step of all takes less time than their own."""

_PLACES = 16

_PREFIX = "network."
_ROWS = 4
"""Of the batch that tells what a network computes."""


class GivenDropout(nn.Module):
    """Multiplies by factors that are given: vmap can't draw what each member would draw alone."""

    keep: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("keep", torch.ones(()))

    def forward(self, inputs: Tensor) -> Tensor:
        """Return the product while training."""
        return inputs * self.keep.view(inputs.shape) if self.training else inputs


class PresentBatchNorm(nn.Module):
    """Batch normalisation over the rows that are there: members' batches differ in length.

    Args:
        layer: What it stands for.
    """

    present: Tensor
    running_mean: Tensor
    running_var: Tensor
    num_batches_tracked: Tensor

    def __init__(self, layer: nn.BatchNorm1d) -> None:
        super().__init__()
        self.weight, self.bias = layer.weight, layer.bias
        assert layer.momentum is not None
        self.epsilon, self.momentum = layer.eps, layer.momentum
        for name, buffer in layer.named_buffers():
            self.register_buffer(name, buffer)
        self.register_buffer("present", torch.ones(1, 1))

    def forward(self, inputs: Tensor) -> Tensor:
        """Return the normalised inputs, [b, d]."""
        if self.training:
            there = self.present.to(inputs.dtype)
            count = there.sum()
            mean = (inputs * there).sum(0) / count
            centred = inputs - mean
            variance = (centred.square() * there).sum(0) / count
            with torch.no_grad():
                unbiased = variance * count / (count - 1)
                for running, now in ((self.running_mean, mean), (self.running_var, unbiased)):
                    running.mul_(1 - self.momentum).add_(now.detach() * self.momentum)
                self.num_batches_tracked.add_(1)
        else:
            centred, variance = inputs - self.running_mean, self.running_var
        return centred * (variance + self.epsilon).rsqrt() * self.weight + self.bias


class _Whole(nn.Module):
    """A network's outputs side by side in the order of the slots, and what it adds to the loss."""

    def __init__(self, network: Network, tasks: Sequence[str], by_slot: Sequence[str]) -> None:
        super().__init__()
        self.network = network
        self._tasks, self._by_slot = tasks, by_slot

    def forward(self, inputs: Tensor) -> tuple[Tensor, Tensor]:
        """Return outputs [b, c], and the penalty, []."""
        outputs = self.network(inputs, self._tasks)
        penalty = self.network.penalty() if self.training else None
        return (
            torch.cat([outputs[name] for name in self._by_slot], -1),
            inputs.new_zeros(()) if penalty is None else penalty,
        )


class Form(NamedTuple):
    """What networks must have in common to be computed as one."""

    modules: tuple[object, ...]
    tensors: tuple[object, ...]

    @staticmethod
    def of(network: Network) -> Form:
        """Return the form of a network."""
        modules = tuple((name, *_signature(m)) for name, m in network.named_modules())
        tensors = (*network.named_parameters(), *network.named_buffers())
        return Form(modules, tuple((name, t.shape, t.dtype) for name, t in tensors))


def _signature(module: nn.Module) -> tuple[object, ...]:
    """Return the type of a module with its settings that are plain values."""
    if type(module) is Dropout:
        # probabilities may differ
        return Dropout, bool(module.threshold)
    plain = {
        name: value
        for name, value in vars(module).items()
        if name != "training"
        and (
            isinstance(value, (bool, int, float, str))
            or (isinstance(value, tuple) and all(isinstance(entry, int) for entry in value))
        )
    }
    return type(module), tuple(sorted(plain.items()))


def multiplications(network: Network, batch: int) -> int:
    """Return how many a step of a network makes on so many rows."""
    return PASSES * batch * sum(parameter.numel() for parameter in network.parameters())


def why_not_vmapped(network: Network, in_turn: bool) -> str | None:
    """Return what about a network can't be vmapped, None if nothing.

    Args:
        network: The network.
        in_turn: Whether there are steps without some of its tasks.
    """
    if type(network) not in _NETWORKS:
        return f"its network is a {type(network).__name__}"
    modules = list(network.modules())
    reason = why_not_plain(network)
    if reason is not None:
        return f"its network has {reason}"
    reason = next(filter(None, map(_why_not_module, modules)), None)
    if reason is not None:
        return reason
    parameters = list(network.parameters())
    if len(list(network.named_parameters(remove_duplicate=False))) != len(parameters):
        return "layers of its network share weights"
    if len(list(network.named_modules(remove_duplicate=False))) != len(modules):
        return "its network uses a layer twice"
    if not all(parameter.requires_grad for parameter in parameters):
        return "weights of its network are frozen"
    dtypes = {parameter.dtype for parameter in parameters}
    if len(dtypes) > 1 or dtypes - {torch.float32, torch.float64}:
        return "its weights are of several types or of half precision"
    return _why_not_in_turn(network) if in_turn else None


def _why_not_module(module: nn.Module) -> str | None:
    kind = type(module)
    if kind is nn.BatchNorm1d and not (
        module.affine and module.track_running_stats and module.momentum is not None
    ):
        return "its batch normalisation is not in plain form"
    rooms = ("jointrain.networks", "rtdl_num_embeddings", "torch.nn.modules.container")
    if kind in _LAYERS or kind.__module__.startswith(rooms):
        return None
    return f"its network has a layer {kind.__name__}"


def _why_not_in_turn(network: Network) -> str | None:
    """Return why a step without some of the tasks can't be one of all whose others have weight 0.

    What is made for one task is not computed in a step without it: it draws no noise, sees no
    batch, and does not move.
    """
    if type(network).penalty is not Network.penalty:
        return "tasks take turns, and its network adds a penalty to those of the step"
    if len(network.heads.groups):
        return "tasks take turns, and its heads are grouped"
    for part in network.all_parts():
        if not part.own and set(part.tasks) != set(network.task_names):
            return "tasks take turns, and some of them share layers that others do not"
        if part.own and any(
            isinstance(module, nn.BatchNorm1d) or (isinstance(module, Dropout) and module.threshold)
            for module in (part.module.modules() if part.module is not None else ())
        ):
            return "tasks take turns, and have dropout or batch normalisation of their own"
    return None


class VmappedNetwork(StackedModel):
    """Networks of one form, each a row of weights.

    A row holds the shared weights, those of each task alone, and running statistics.

    Args:
        example: A network of the form.
        tasks: Its tasks in the order of a step.
        slots: The slot of each.
        inputs: Width of the inputs.
        losses: The slots.
    """

    def __init__(
        self,
        example: Network,
        tasks: Sequence[str],
        slots: Sequence[int],
        inputs: int,
        losses: StackedLosses,
    ) -> None:
        super().__init__(losses)
        by_slot = [name for _, name in sorted(zip(slots, tasks, strict=True))]
        self._whole = _Whole(copy.deepcopy(example), tasks, by_slot)
        self._dropouts = _dropouts_by_call(self._whole, inputs)
        for name, module in list(self._whole.named_modules()):
            parent, _, last = name.rpartition(".")
            if name in self._dropouts:
                setattr(self._whole.get_submodule(parent), last, GivenDropout())
            elif isinstance(module, nn.BatchNorm1d):
                setattr(self._whole.get_submodule(parent), last, PresentBatchNorm(module))
        self._present = [
            f"{name}.present"
            for name, module in self._whole.named_modules()
            if isinstance(module, PresentBatchNorm)
        ]
        self.needs_present = bool(self._present)
        self.dropout_units = list(self._dropouts.values())
        self._place(example, dict(zip(tasks, slots, strict=True)))

    def _place(self, example: Network, slots: Mapping[str, int]) -> None:
        """Give each tensor of a network its place in a row."""
        named = dict(example.named_parameters())
        self.dtype = next(iter(named.values())).dtype
        owned = example.parameters_by_task()
        ids = {name: {id(p) for p in parameters} for name, parameters in owned.items()}
        by_slot = {slot: ids[name] for name, slot in slots.items()}
        every = set().union(*by_slot.values())
        blocks = [[n for n, p in named.items() if id(p) not in every]]
        blocks += [
            [n for n, p in named.items() if id(p) in own] for _, own in sorted(by_slot.items())
        ]
        statistics = dict(example.named_buffers())
        self._ranges: dict[str, tuple[slice, torch.Size]] = {}
        ends = []
        end = 0
        for block in (*blocks, list(statistics)):
            for name in block:
                tensor = named[name] if name in named else statistics[name]
                self._ranges[name] = slice(end, end + tensor.numel()), tensor.shape
                end += tensor.numel()
            ends.append(end)
        self.size = end
        self.trained = slice(0, ends[-2])
        self.trunk = slice(0, ends[0])
        self.heads = [(slice(a, b),) for a, b in pairwise(ends[:-1])]
        self.penalised = torch.zeros(self.size, dtype=torch.bool)
        matrices = weight_matrices(example)
        for name, parameter in named.items():
            self.penalised[self._ranges[name][0]] = id(parameter) in matrices
        self._trained_names = list(named)

    def dropouts_in(self, network: Network) -> list[Dropout]:
        """Return the dropout layers of a network, in the order in which they draw noise."""
        modules = dict(network.named_modules())
        found = [modules[name.removeprefix(_PREFIX)] for name in self._dropouts]
        return [module for module in found if isinstance(module, Dropout)]

    def pairs(
        self, row: Tensor, network: Network, slots: Mapping[str, int]
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield each parameter and statistic of a network with its place in a row."""
        del slots
        for name, tensor in (*network.named_parameters(), *network.named_buffers()):
            place, shape = self._ranges[name]
            yield row[place].view(shape), tensor

    def places(self, batch: int) -> int:
        """Return how many to train at the same time."""
        del batch
        return _PLACES

    def use(self, weights: Tensor, gradients: Tensor) -> None:
        """Compute with these rows from now on."""
        self._weights = weights
        self._tensors = self._views(weights)
        self._leaves = [
            self._tensors[_PREFIX + name].requires_grad_() for name in self._trained_names
        ]
        found = self._views(gradients)
        self._gradients = [found[_PREFIX + name] for name in self._trained_names]

    def _views(self, rows: Tensor) -> dict[str, Tensor]:
        """Return the tensors of all members by name, [s, ...] each.

        By way of `data`, so that autograd does not take statistics that move for weights that do.
        """
        return {
            _PREFIX + name: torch.unflatten(rows.data[:, place], 1, shape)
            if shape
            else rows.data[:, place.start]
            for name, (place, shape) in self._ranges.items()
        }

    def outputs(self, inputs: Tensor, rows: Tensor | None = None) -> Tensor:
        """Return the outputs of all heads in evaluation mode."""
        self._whole.eval()
        tensors = self._tensors if rows is None else self._views(self._weights[rows])
        outputs, _ = self._compute(tensors, inputs)
        return outputs

    def loss_and_gradients(
        self,
        inputs: Tensor,
        table: Tensor,
        keep: Sequence[Tensor],
        weigh: Weigh,
        present: Tensor | None,
    ) -> None:
        """Write the gradients of each member's weighted losses."""
        self._whole.train()
        given = dict(zip((f"{name}.keep" for name in self._dropouts), keep, strict=True))
        if present is not None:
            given.update(dict.fromkeys(self._present, present))
        with torch.enable_grad():
            outputs, penalty = self._compute({**self._tensors, **given}, inputs)
        sums, labelled, slope = self.losses(outputs.detach(), table)
        slope.mul_(self.losses.by_column(weigh(sums, labelled)).unsqueeze(1))
        ends, slopes = [outputs], [slope]
        if penalty.requires_grad:
            ends.append(penalty)
            slopes.append(torch.ones_like(penalty))
        found = torch.autograd.grad(ends, self._leaves, slopes)
        torch._foreach_copy_(self._gradients, list(found))

    def _compute(self, tensors: Mapping[str, Tensor], inputs: Tensor) -> tuple[Tensor, Tensor]:
        """Return the outputs [s, b, c] and penalties [s]."""
        outputs, penalty = vmap(self._of_one)(dict(tensors), inputs)
        return outputs, penalty

    def _of_one(self, tensors: dict[str, Tensor], inputs: Tensor) -> tuple[Tensor, Tensor]:
        found: tuple[Tensor, Tensor] = functional_call(self._whole, tensors, (inputs,))
        return found


def _dropouts_by_call(whole: nn.Module, inputs: int) -> dict[str, int]:
    """Return the names of dropout layers in the order of their calls, and the units of each."""
    units: dict[str, int] = {}
    handles = [
        module.register_forward_hook(
            lambda _, given, __, name=name: units.__setitem__(name, given[0].numel() // _ROWS)
        )
        for name, module in whole.named_modules()
        if isinstance(module, Dropout) and module.threshold
    ]
    example = torch.zeros(_ROWS, inputs, dtype=next(whole.parameters()).dtype)
    with torch.no_grad():
        whole.eval()(example)
    for handle in handles:
        handle.remove()
    return units
