"""A shared trunk of layers with linear heads, many as one: forward and backward by hand.

Letters: s members, b rows of a batch, i inputs, c columns of the outputs, p weights of a member.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from math import prod
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from jointrain.networks import (
    MLP,
    Dropout,
    GroupedLinear,
    HardSharing,
    Network,
    TaskHeads,
    why_not_plain,
)
from jointrain.training.population._stacked_layers import (
    ACTIVATIONS,
    ActivationLayer,
    DropoutLayer,
    Layer,
    LayerNormLayer,
    LinearLayer,
    ReLULayer,
    Views,
)
from jointrain.training.population._stacked_losses import StackedLosses
from jointrain.training.population._stacked_model import StackedModel, Weigh

_LARGEST = 32
_CACHE = 10 * 2**20


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
            if type(module) is Dropout and not layers and type(following) is nn.Linear:
                layers.append(("input dropout", following.in_features))
            elif type(module) is nn.Linear:
                layers.append(("linear", module.out_features))
            elif type(module) is nn.LayerNorm:
                layers.append(("normalisation", module.eps))
            elif type(module) in ACTIVATIONS:
                layers.append((repr(module), 0.0))
            else:
                layers.append((type(module).__name__, 0.0))
        return Structure(tuple(layers), next(network.parameters()).dtype)


def trunk_layers(network: Network) -> list[nn.Module]:
    """Return the layers of a trunk in their order, without those that do nothing."""
    return [
        module
        for module in _unpacked(network.trunk)  # type: ignore[arg-type]
        if not (type(module) is Dropout and not module.threshold)
    ]


def _unpacked(module: nn.Module) -> Iterator[nn.Module]:
    # a subclass may do more than call its layers in turn
    if isinstance(module, nn.Sequential) and type(module) in (nn.Sequential, MLP):
        for child in module:
            yield from _unpacked(child)
    else:
        yield module


def head_parameters(network: Network, task: str) -> tuple[nn.Parameter, ...]:
    """Return weight [o, i] and bias [o] of a task's head."""
    module, slices = network.heads.piece(task)
    return tuple(module.parameters()) if slices is None else slices


def why_not_by_hand(network: Network) -> str | None:
    """Return what about a network `StackedMLP` can't do, None if nothing."""
    if type(network) is not HardSharing or network.branches is not None:
        return "its network does more than share one trunk"
    if network.linked:
        return "tasks of its network are given others"
    reason = why_not_plain(network)
    if reason is not None:
        return f"its network has {reason}"
    if type(network.heads) is not TaskHeads:
        return f"its network has a layer {type(network.heads).__name__}"
    for head in (*network.heads.layers, *network.heads.groups):
        if type(head) not in (nn.Linear, GroupedLinear):
            return f"a head of its network is a {type(head).__name__}"
    layers = trunk_layers(network)
    kinds = [type(layer) for layer in layers[:2]]
    if kinds[:1] != [nn.Linear] and kinds != [Dropout, nn.Linear]:
        return "its trunk does not begin with a linear layer"
    reasons = (_why_not_layer(layer) for layer in (*layers, *network.heads.layers))
    return next(filter(None, reasons), None) or _why_not_parameters(network)


def _why_not_layer(layer: nn.Module) -> str | None:
    if type(layer) not in (nn.Linear, nn.LayerNorm, nn.ReLU, Dropout, *ACTIVATIONS):
        return f"its network has a layer {type(layer).__name__}"
    if type(layer) in (nn.Linear, nn.LayerNorm) and layer.bias is None:
        return f"a layer {type(layer).__name__} of its network has no bias"
    if type(layer) is nn.LayerNorm and len(layer.normalized_shape) > 1:
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


class StackedMLP(StackedModel):
    """Networks of one structure with a shared trunk of layers, and linear heads.

    A row holds the trunk's weights in the order of the layers, the weights of all heads, and their
    biases. A narrower input has weights of zero for the columns that it lacks.

    Args:
        example: A network of the structure.
        inputs: Width of the widest input.
        losses: The slots of the heads.
    """

    def __init__(self, example: Network, inputs: int, losses: StackedLosses) -> None:
        super().__init__(losses)
        self._layers: list[Layer] = []
        width = inputs
        for module in trunk_layers(example):
            if type(module) is nn.Linear:
                self._layers.append(LinearLayer(width, module.out_features))
                width = module.out_features
            elif type(module) is nn.LayerNorm:
                self._layers.append(LayerNormLayer(width, module.eps))
            elif type(module) is nn.ReLU:
                self._layers.append(ReLULayer())
            elif type(module) in ACTIVATIONS:
                self._layers.append(ActivationLayer(module))
            else:
                self._layers.append(DropoutLayer(width))
        self._layers.append(LinearLayer(width, losses.outputs))
        self._dropouts = [layer for layer in self._layers if isinstance(layer, DropoutLayer)]
        self.dropout_units = [layer.width for layer in self._dropouts]
        self.dtype = next(example.parameters()).dtype
        shapes = [shape for layer in self._layers for shape in layer.shapes]
        self._shapes = shapes
        ends = torch.tensor([prod(shape) for shape in shapes]).cumsum(0).tolist()
        self._ranges = list(zip([0, *ends[:-1]], ends, strict=True))
        self.size = ends[-1]
        self.trained = slice(0, self.size)
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
        self._units = inputs + sum(shape[0] for shape in shapes if len(shape) == 1)

    def dropouts_in(self, network: Network) -> list[Dropout]:
        """Return the dropout layers of a network, in the order in which they draw noise."""
        return [module for module in trunk_layers(network) if type(module) is Dropout]

    def pairs(
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

    def places(self, batch: int) -> int:
        """Return how many to train at the same time: as many as fit into the cache."""
        # what a step of one member reads and writes, and its best weights
        numbers = 7 * self.size + 4 * batch * self._units
        return max(1, min(_LARGEST, _CACHE // (numbers * self.dtype.itemsize)))

    def use(self, weights: Tensor, gradients: Tensor) -> None:
        """Compute with these rows from now on."""
        self._weights = weights
        self._weight_views, self._gradient_views = self._views(weights), self._views(gradients)

    def _views(self, rows: Tensor) -> list[Views]:
        """Return the weights of each layer as views of the rows, [s, o, i] or [s, 1, o]."""
        views = []
        for shape, (start, end) in zip(self._shapes, self._ranges, strict=True):
            part = rows[:, start:end]
            views.append(torch.unflatten(part, 1, shape) if len(shape) == 2 else part.unsqueeze(1))
        taken = iter(views)
        return [tuple(next(taken) for _ in layer.shapes) for layer in self._layers]

    def outputs(self, inputs: Tensor, rows: Tensor | None = None) -> Tensor:
        """Return the outputs of all heads in evaluation mode."""
        views = self._weight_views if rows is None else self._views(self._weights[rows])
        return self._forward(inputs, views, [None] * len(self._dropouts))[0]

    def loss_and_gradients(
        self,
        inputs: Tensor,
        table: Tensor,
        keep: Sequence[Tensor],
        weigh: Weigh,
        present: Tensor | None,
    ) -> None:
        """Write the gradients of each member's weighted losses."""
        del present
        outputs, kept = self._forward(inputs, self._weight_views, keep)
        sums, labelled, slope = self.losses(outputs, table)
        slope.mul_(self.losses.by_column(weigh(sums, labelled)).unsqueeze(1))
        # a dropout of the inputs has no weights and needs no slope
        first = next(number for number, layer in enumerate(self._layers) if layer.shapes)
        for number in reversed(range(first, len(self._layers))):
            slope = self._layers[number].backward(
                slope,
                kept[number],
                self._weight_views[number],
                self._gradient_views[number],
                number == first,
            )

    def _forward(
        self, inputs: Tensor, views: Sequence[Views], keep: Sequence[Tensor | None]
    ) -> tuple[Tensor, list[Any]]:
        """Return the outputs, and what the layers keep for the way back, until the next call."""
        for dropout, factors in zip(self._dropouts, keep, strict=True):
            dropout.keep = factors
        kept = []
        values = inputs
        for layer, weights in zip(self._layers, views, strict=True):
            values, needed = layer.forward(values, weights)
            kept.append(needed)
        return values, kept
