"""Networks of one structure as one: a row of weights for each, forward and backward by hand.

Letters: s members, b rows of a batch, i inputs and o outputs of a layer, p weights of a member.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from math import prod
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from jointrain.networks import Dropout, HardSharing, Network
from jointrain.training.population._stacked_losses import StackedLosses


class Structure(NamedTuple):
    """What networks must have in common to be stacked.

    The width of the input may differ, unless inputs are dropped: the noise is drawn by width.
    """

    layers: tuple[tuple[str, float], ...]
    dtype: torch.dtype

    @staticmethod
    def of(network: Network) -> Structure:
        """Return the structure of a network that can be stacked."""
        layers: list[tuple[str, float]] = []
        modules = trunk_layers(network)
        for module, following in zip(modules, [*modules[1:], None], strict=True):
            if isinstance(module, Dropout) and not layers and isinstance(following, nn.Linear):
                layers.append(("input dropout", following.in_features))
            elif isinstance(module, nn.Linear):
                layers.append(("linear", module.out_features))
            elif isinstance(module, nn.LayerNorm):
                layers.append(("normalisation", module.eps))
            else:
                layers.append((type(module).__name__, 0.0))
        return Structure(tuple(layers), next(network.parameters()).dtype)


def trunk_layers(network: Network) -> list[nn.Module]:
    """Return the layers of a trunk in their order, without those that do nothing."""
    return [
        module
        for module in _unpacked(network.trunk)  # type: ignore[arg-type]
        if not (isinstance(module, Dropout) and not module.threshold)
    ]


def _unpacked(module: nn.Module) -> Iterator[nn.Module]:
    if isinstance(module, nn.Sequential):
        for child in module:
            yield from _unpacked(child)
    else:
        yield module


def head_parameters(network: Network, task: str) -> tuple[nn.Parameter, ...]:
    """Return weight [o, i] and bias [o] of a task's head."""
    module, slices = network.heads.piece(task)
    return tuple(module.parameters()) if slices is None else slices


def why_not_stackable(network: Network) -> str | None:
    """Return what about a network can't be stacked, None if nothing."""
    if type(network) is not HardSharing or network.branches is not None:
        return "its network does more than share one trunk"
    if any(module._forward_hooks or module._forward_pre_hooks for module in network.modules()):
        return "its network has hooks"
    layers = trunk_layers(network)
    kinds = [type(layer) for layer in layers[:2]]
    if kinds[:1] != [nn.Linear] and kinds != [Dropout, nn.Linear]:
        return "its trunk does not begin with a linear layer"
    reasons = (_why_not_layer(layer) for layer in (*layers, *network.heads.layers))
    return next(filter(None, reasons), None) or _why_not_parameters(network)


def _why_not_layer(layer: nn.Module) -> str | None:
    if type(layer) not in (nn.Linear, nn.LayerNorm, nn.ReLU, Dropout):
        return f"its network has a layer {type(layer).__name__}"
    if isinstance(layer, (nn.Linear, nn.LayerNorm)) and layer.bias is None:
        return f"a layer {type(layer).__name__} of its network has no bias"
    if isinstance(layer, nn.LayerNorm) and len(layer.normalized_shape) > 1:
        return "its network normalises over several dimensions"
    return None


def _why_not_parameters(network: Network) -> str | None:
    holders = [*trunk_layers(network), *network.heads.layers, *network.heads.groups]
    held = [parameter for layer in holders for parameter in layer.parameters()]
    parameters = list(network.parameters())
    if len({id(parameter) for parameter in held}) < len(held) or len(held) != len(parameters):
        return "layers of its network share weights"
    if not all(parameter.requires_grad for parameter in parameters):
        return "weights of its network are frozen"
    dtypes = {parameter.dtype for parameter in parameters}
    if len(dtypes) > 1 or dtypes - {torch.float32, torch.float64}:
        return "its weights are of several types or of half precision"
    return None


Views = tuple[Tensor, ...]


class _Layer(ABC):
    """A layer of all members.

    Large results are written to the same memory at each step: fresh memory has to be cleared by
    the system first, which can take longer than a small product.
    """

    shapes: tuple[tuple[int, ...], ...] = ()

    def __init__(self) -> None:
        self._memory: dict[str, Tensor] = {}
        self._rooms: dict[tuple[str | int, ...], Tensor] = {}

    @abstractmethod
    def forward(self, inputs: Tensor, weights: Views) -> tuple[Tensor, Any]:
        """Return the outputs [s, b, o], and what `backward` needs."""

    @abstractmethod
    def backward(
        self, slope: Tensor, kept: Any, weights: Views, gradients: Views, first: bool
    ) -> Tensor:
        """Write the weights' gradients; return the slope of the inputs (of no use if `first`).

        `slope` is overwritten.
        """

    def _room(self, name: str, shape: tuple[int, ...], like: Tensor) -> Tensor:
        """Return memory for a result, which holds until the next result of the same name."""
        room = self._rooms.get((name, *shape))
        if room is None:
            size = prod(shape)
            memory = self._memory.get(name)
            if memory is None or memory.numel() < size:
                memory = self._memory[name] = like.new_empty(size)
            room = self._rooms[name, *shape] = memory[:size].view(shape)
        return room


class _Linear(_Layer):
    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.shapes = ((outputs, inputs), (outputs,))

    def forward(self, inputs: Tensor, weights: Views) -> tuple[Tensor, Any]:
        weight, bias = weights
        room = self._room("outputs", (*inputs.shape[:2], self.shapes[0][0]), inputs)
        return torch.baddbmm(bias, inputs, weight.mT, out=room), inputs

    def backward(
        self, slope: Tensor, kept: Any, weights: Views, gradients: Views, first: bool
    ) -> Tensor:
        # a product written straight into rows that are apart takes three times as long
        room = self._room("gradient", gradients[0].shape, slope)
        gradients[0].copy_(torch.bmm(slope.mT, kept, out=room))
        torch.sum(slope, 1, keepdim=True, out=gradients[1])
        if first:
            return slope
        return torch.bmm(slope, weights[0], out=self._room("slope", kept.shape, slope))


class _LayerNorm(_Layer):
    def __init__(self, width: int, epsilon: float) -> None:
        super().__init__()
        self.shapes = ((width,), (width,))
        self._epsilon = epsilon

    def forward(self, inputs: Tensor, weights: Views) -> tuple[Tensor, Any]:
        # by hand: twice as fast as torch's on rows of 64 to 128
        mean = inputs.mean(-1, keepdim=True)
        unit = inputs.sub_(mean)
        length = torch.linalg.vector_norm(unit, dim=-1, keepdim=True)
        inverse = length.square_().div_(inputs.shape[-1]).add_(self._epsilon).rsqrt_()
        unit.mul_(inverse)
        room = self._room("outputs", inputs.shape, inputs)
        return torch.addcmul(weights[1], unit, weights[0], out=room), (unit, inverse)

    def backward(
        self, slope: Tensor, kept: Any, weights: Views, gradients: Views, first: bool
    ) -> Tensor:
        del first
        unit, inverse = kept
        product = torch.mul(slope, unit, out=self._room("product", slope.shape, slope))
        torch.sum(product, 1, keepdim=True, out=gradients[0])
        torch.sum(slope, 1, keepdim=True, out=gradients[1])
        along = product.mul_(weights[0]).mean(-1, keepdim=True)
        slope.mul_(weights[0])
        slope.sub_(slope.mean(-1, keepdim=True))
        return slope.sub_(unit.mul_(along)).mul_(inverse)


class _ReLU(_Layer):
    def forward(self, inputs: Tensor, weights: Views) -> tuple[Tensor, Any]:
        del weights
        outputs = inputs.relu_()
        return outputs, outputs

    def backward(
        self, slope: Tensor, kept: Any, weights: Views, gradients: Views, first: bool
    ) -> Tensor:
        # dropout that has zeroed some of the outputs since has zeroed their slopes, too
        del weights, gradients, first
        before: Tensor = torch.ops.aten.threshold_backward.grad_input(
            slope, kept, 0, grad_input=slope
        )
        return before


class _Dropout(_Layer):
    """Multiplies by `keep`, which is set for each step; None while evaluating."""

    keep: Tensor | None = None

    def __init__(self, width: int) -> None:
        super().__init__()
        self.width = width

    def forward(self, inputs: Tensor, weights: Views) -> tuple[Tensor, Any]:
        del weights
        return inputs if self.keep is None else inputs.mul_(self.keep), self.keep

    def backward(
        self, slope: Tensor, kept: Any, weights: Views, gradients: Views, first: bool
    ) -> Tensor:
        del weights, gradients, first
        return slope.mul_(kept)


class StackedNetwork:
    """Networks of one structure whose weights are the rows of a matrix [s, p].

    A row holds the trunk's weights in the order of the layers, the weights of all heads, and their
    biases. A narrower input has weights of zero for the columns that it lacks.

    Args:
        example: A network of the structure.
        inputs: Width of the widest input.
        losses: The slots of the heads.
    """

    def __init__(self, example: Network, inputs: int, losses: StackedLosses) -> None:
        self._layers: list[_Layer] = []
        width = inputs
        for module in trunk_layers(example):
            if isinstance(module, nn.Linear):
                self._layers.append(_Linear(width, module.out_features))
                width = module.out_features
            elif isinstance(module, nn.LayerNorm):
                self._layers.append(_LayerNorm(width, module.eps))
            elif isinstance(module, nn.ReLU):
                self._layers.append(_ReLU())
            else:
                self._layers.append(_Dropout(width))
        self._layers.append(_Linear(width, losses.outputs))
        self.dropouts = [layer for layer in self._layers if isinstance(layer, _Dropout)]
        self.structure = Structure.of(example)
        shapes = [shape for layer in self._layers for shape in layer.shapes]
        self._shapes = shapes
        ends = torch.tensor([prod(shape) for shape in shapes]).cumsum(0).tolist()
        self._ranges = list(zip([0, *ends[:-1]], ends, strict=True))
        self.size: int = ends[-1]
        weight, bias = self._ranges[-2][0], self._ranges[-1][0]
        self.trunk = slice(0, weight)
        self.heads = [
            (
                slice(weight + columns.start * width, weight + columns.stop * width),
                slice(bias + columns.start, bias + columns.stop),
            )
            for columns in losses.columns
        ]
        self.penalised = torch.zeros(self.size, dtype=torch.bool)
        for shape, (start, end) in zip(shapes, self._ranges, strict=True):
            self.penalised[start:end] = len(shape) == 2
        self.units = inputs + sum(shape[0] for shape in shapes if len(shape) == 1)

    def read(self, network: Network, slots: Mapping[str, int]) -> Tensor:
        """Return the weights of a network as a row, [p]; its tasks have the given slots."""
        row = torch.zeros(self.size, dtype=self.structure.dtype)
        for part, parameter in self._pairs(row, network, slots):
            part.copy_(parameter.detach())
        return row

    @torch.no_grad()
    def write(self, row: Tensor, network: Network, slots: Mapping[str, int]) -> None:
        """Give a network the weights of a row, [p]."""
        for part, parameter in self._pairs(row, network, slots):
            parameter.copy_(part)

    def _pairs(
        self, row: Tensor, network: Network, slots: Mapping[str, int]
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield each parameter of a network with its place in a row."""
        trunk = [p for module in trunk_layers(network) for p in module.parameters()]
        places = zip(self._shapes, self._ranges, trunk, strict=False)
        for number, (shape, (start, end), parameter) in enumerate(places):
            part = row[start:end].view(shape)
            yield part[:, : parameter.shape[1]] if number == 0 else part, parameter
        for task, slot in slots.items():
            for place, parameter in zip(
                self.heads[slot], head_parameters(network, task), strict=True
            ):
                yield row[place].view(parameter.shape), parameter

    def views(self, rows: Tensor) -> list[Views]:
        """Return the weights of each layer as views of the rows, [s, o, i] or [s, 1, o]."""
        views = []
        for shape, (start, end) in zip(self._shapes, self._ranges, strict=True):
            part = rows[:, start:end]
            views.append(torch.unflatten(part, 1, shape) if len(shape) == 2 else part.unsqueeze(1))
        taken = iter(views)
        return [tuple(next(taken) for _ in layer.shapes) for layer in self._layers]

    def forward(
        self, inputs: Tensor, views: Sequence[Views], keep: Sequence[Tensor] | None = None
    ) -> tuple[Tensor, list[Any]]:
        """Return the outputs of all heads, and what `backward` needs, until the next call.

        Args:
            inputs: Rows for each member; may be overwritten.
            views: What `views` gave.
            keep: Factors of each dropout layer, [s, b, o]; None evaluates.

        Shape:
            inputs: [s, b, i]. returns: [s, b, c].
        """
        for number, dropout in enumerate(self.dropouts):
            dropout.keep = None if keep is None else keep[number]
        kept = []
        values = inputs
        for layer, weights in zip(self._layers, views, strict=True):
            values, needed = layer.forward(values, weights)
            kept.append(needed)
        return values, kept

    def backward(
        self, slope: Tensor, kept: list[Any], views: Sequence[Views], gradients: Sequence[Views]
    ) -> None:
        """Write the gradients of all weights, from the slope of the outputs, [s, b, c]."""
        # a dropout of the inputs has no weights and needs no slope
        first = next(number for number, layer in enumerate(self._layers) if layer.shapes)
        for number in reversed(range(first, len(self._layers))):
            slope = self._layers[number].backward(
                slope, kept[number], views[number], gradients[number], number == first
            )
